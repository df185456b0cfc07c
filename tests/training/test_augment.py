import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax.training import PUBLISHED, Augmentation, augment
from sfjax.training.augment import check

NOTHING = Augmentation(flips="none", max_shift=0.0)


def drawn(image, augmentation, n=60):
    function = jax.jit(jax.vmap(lambda key: augment(key, image, augmentation)))
    return np.asarray(function(jax.random.split(jax.random.key(0), n)))


@pytest.mark.parametrize("flips", ["none", "horizontal", "all"])
def test_flips_only_move_pixels(flips):
    image = jnp.arange(36.0).reshape(6, 6, 1) / 36
    seen = {tuple(one.ravel().tolist()) for one in drawn(image, dataclasses.replace(NOTHING, flips=flips))}
    assert len(seen) == {"none": 1, "horizontal": 2, "all": 8}[flips]
    assert all(np.allclose(sorted(pixels), np.arange(36) / 36) for pixels in seen)


def test_movement_is_by_at_most_its_share():
    image = jnp.zeros((20, 20, 1)).at[10, 10].set(1.0)
    places = [np.argwhere(one[..., 0])[0] for one in drawn(image, dataclasses.replace(NOTHING, max_shift=0.1), 80)]
    offsets = np.array(places) - 10
    assert offsets.min() == -2 and offsets.max() == 2


def test_turning_by_up_to_half_a_circle_keeps_the_center_and_the_distance_from_it():
    image = jnp.zeros((21, 21, 1)).at[10, 10].set(1.0).at[10, 16].set(1.0)
    turned = drawn(image, dataclasses.replace(NOTHING, max_rotation=180.0))[..., 0]
    np.testing.assert_allclose(turned[:, 10, 10], 1, atol=1e-4)
    rows, columns = np.mgrid[:21, :21] - 10
    away = np.hypot(rows, columns) > 2
    weight = turned * away
    x, y = (weight * columns).sum((1, 2)) / weight.sum((1, 2)), (weight * rows).sum((1, 2)) / weight.sum((1, 2))
    np.testing.assert_allclose(np.hypot(x, y), 6, atol=0.3)
    angles = np.arctan2(y, x)
    assert angles.min() < -2 and angles.max() > 2


def test_a_cut_out_shows_its_share_of_the_image():
    # On a ramp of unit slope a cut-out's slope is the share of the side that it shows.
    ramp = jnp.broadcast_to(jnp.linspace(0, 1, 33)[None, :, None], (33, 33, 1))
    cut = drawn(ramp, dataclasses.replace(NOTHING, area=(0.25, 0.25)))[..., 0]
    np.testing.assert_allclose(cut[:, 5, -1] - cut[:, 5, 0], 0.5, atol=0.01)
    assert cut.min() < 0.1 and cut.max() > 0.9  # cut out anywhere


def test_brightness_contrast_and_saturation_by_their_definitions():
    image = jnp.asarray(np.random.default_rng(0).uniform(0.3, 0.6, (4, 4, 3)), jnp.float32)
    pixels = np.asarray(image)
    for name, center in (
        ("brightness", 0 * pixels),
        ("contrast", pixels.mean()),
        ("saturation", pixels.mean(-1, keepdims=True)),
    ):
        seen = drawn(image, dataclasses.replace(NOTHING, **{name: 0.2}))
        factors = ((seen - center) / (pixels - center)).reshape(len(seen), -1)
        np.testing.assert_allclose(factors, np.median(factors, axis=1, keepdims=True).repeat(48, 1), atol=2e-2)
        assert np.median(factors, 1).min() < 0.85 and np.median(factors, 1).max() > 1.15


def test_half_of_the_images_lose_a_square():
    seen = drawn(jnp.ones((32, 32, 1)), dataclasses.replace(NOTHING, erase=0.5), 200)
    lost = (seen == 0.5).mean((1, 2, 3))
    assert (lost > 0).mean() == pytest.approx(0.47, abs=0.1) and lost.max() <= 0.26


@pytest.mark.parametrize("task", sorted(PUBLISHED))
def test_the_studys_augmentations_keep_shape_and_range_and_depend_on_the_key(task):
    image = jnp.asarray(np.random.default_rng(1).uniform(size=(24, 24, 3)), jnp.float32)
    check(PUBLISHED[task].recipe.augmentation)
    seen = drawn(image, PUBLISHED[task].recipe.augmentation, 6)
    assert seen.shape == (6, 24, 24, 3) and seen.min() >= 0 and seen.max() <= 1
    assert len({one.tobytes() for one in seen}) == 6


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_shift", 0.5), ("max_rotation", 181.0), ("area", (0.5, 0.2)), ("aspect", 0.5), ("noise", -0.1)],
)
def test_numbers_out_of_range_are_named(field, value):
    with pytest.raises(ValueError, match=f"{field} must be"):
        check(dataclasses.replace(NOTHING, **{field: value}))
