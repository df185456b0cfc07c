import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax.models import small_cnn
from sfjax.training import Recipe, augment, initial_state, train
from sfjax.training.checkpoints import Checkpoints

RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=1e-2)


@pytest.fixture(scope="module")
def data():
    """Bright images are of class 1: learned in a few steps."""
    rng = np.random.default_rng(0)
    labels = np.arange(24, dtype=np.int32) % 2
    images = rng.integers(0, 128, (24, 16, 16, 1)) + 120 * labels[:, None, None, None]
    return images.astype(np.uint8), labels, rng.integers(0, 2**32, 24, dtype=np.uint32)


@pytest.fixture(scope="module")
def epochs(data):
    return list(train(small_cnn(num_classes=2), *data, recipe=RECIPE, key=jax.random.key(0)))


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def test_the_loss_falls_and_epochs_are_counted(epochs):
    assert [epoch.number for epoch in epochs] == [1, 2, 3]
    assert epochs[-1].loss < 0.7 * epochs[0].loss


def test_the_same_key_gives_the_same_bits_and_another_key_others(data, epochs):
    again = list(train(small_cnn(num_classes=2), *data, recipe=RECIPE, key=jax.random.key(0)))
    assert all((a == b).all() for a, b in zip(leaves(again[-1].state), leaves(epochs[-1].state), strict=True))
    other = next(train(small_cnn(num_classes=2), *data, recipe=RECIPE, key=jax.random.key(1)))
    assert other.loss != epochs[0].loss


def test_from_a_checkpoint_it_goes_on_bit_for_bit(data, epochs, tmp_path):
    classifier = small_cnn(num_classes=2)
    like = initial_state(classifier, RECIPE, (16, 16, 1), 24, jax.random.key(0))
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest(like) is None
        for epoch in epochs[:2]:
            checkpoints.save(epoch.state)
    with Checkpoints(tmp_path) as checkpoints:
        state = checkpoints.latest(like)
    assert int(state.epoch) == 2
    resumed = list(train(classifier, *data, recipe=RECIPE, key=jax.random.key(0), state=state))
    assert [epoch.number for epoch in resumed] == [3]
    assert all((a == b).all() for a, b in zip(leaves(resumed[-1].state), leaves(epochs[-1].state), strict=True))


def test_a_broken_checkpoint_gives_way_to_the_one_before(epochs, tmp_path):
    like = initial_state(small_cnn(num_classes=2), RECIPE, (16, 16, 1), 24, jax.random.key(0))
    with Checkpoints(tmp_path) as checkpoints:
        for epoch in epochs[:2]:
            checkpoints.save(epoch.state)
    for file in (tmp_path / "2").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with Checkpoints(tmp_path) as checkpoints:
        assert int(checkpoints.latest(like).epoch) == 1
        checkpoints.save(epochs[1].state)  # in the place of the broken one
    with Checkpoints(tmp_path) as checkpoints:
        assert int(checkpoints.latest(like).epoch) == 2


def test_another_networks_checkpoint_is_refused_with_its_folder(epochs, tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(epochs[0].state)
    other = initial_state(small_cnn(num_classes=5), RECIPE, (16, 16, 1), 24, jax.random.key(0))
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(ValueError, match="Delete the folder") as error:
        checkpoints.latest(other)
    assert str(tmp_path) in str(error.value) and "(128, 2)" in str(error.value)


def test_a_loss_that_is_no_number_stops_with_its_place(data):
    images, labels, ids = data
    broken = (images / 255).astype(np.float32)
    broken[3] = np.nan
    with pytest.raises(ValueError, match=r"in epoch 1 it is nan from step [123] of 3"):
        list(train(small_cnn(num_classes=2), broken, labels, ids, recipe=RECIPE, key=jax.random.key(0)))


@pytest.mark.parametrize("flips", ["none", "horizontal", "all"])
def test_augmentation_only_moves_pixels(flips):
    image = jnp.arange(36.0).reshape(6, 6, 1)
    seen = {
        tuple(np.asarray(augment(jax.random.key(i), image, flips=flips, shift=0.0)).ravel().tolist()) for i in range(60)
    }
    assert len(seen) == {"none": 1, "horizontal": 2, "all": 8}[flips]
    assert all(sorted(pixels) == list(range(36)) for pixels in seen)


def test_augmentation_moves_by_at_most_its_share():
    image = jnp.zeros((20, 20, 1)).at[10, 10].set(1.0)
    places = [
        np.argwhere(np.asarray(augment(jax.random.key(i), image, flips="none", shift=0.1))[..., 0])[0]
        for i in range(80)
    ]
    offsets = np.array(places) - 10
    assert offsets.min() == -2 and offsets.max() == 2


def test_a_set_smaller_than_a_batch_trains(data):
    images, labels, ids = (field[:5] for field in data)
    recipe = Recipe(epochs=1, batch_size=64)
    (epoch,) = train(small_cnn(num_classes=2), images, labels, ids, recipe=recipe, key=jax.random.key(0))
    assert np.isfinite(epoch.loss)
