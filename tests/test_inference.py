import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax import inference
from sfjax.models import small_cnn
from sfjax.models.confidence_heads import with_confidence, with_reservation

NUM_CLASSES = 3


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 16, 16, 1), dtype=np.uint8)
    return images, rng.integers(0, NUM_CLASSES, 7).astype(np.int32), rng.integers(0, 2**32, 7, dtype=np.uint32)


@pytest.fixture(scope="module")
def network():
    classifier = small_cnn(num_classes=NUM_CLASSES)
    return classifier, classifier.init(jax.random.key(0), jnp.zeros((16, 16, 1)))


def run(network, data, **options):
    return inference.run(*network, *data, key=jax.random.key(5), **options)


def test_batch_size_and_order_change_nothing(network, data):
    whole = run(network, data, num_samples=4, batch_size=7)
    parts = run(network, data, num_samples=4, batch_size=3)
    order = np.array([6, 2, 0, 1, 5, 4, 3])
    shuffled = run(network, [field[order] for field in data], num_samples=4, batch_size=3)
    for a, b, c in zip(*(jax.tree.leaves(one) for one in (whole, parts, shuffled)), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5)
        np.testing.assert_allclose(c, np.asarray(a)[order], atol=1e-5)


def test_chunks_of_passes_change_nothing(network, data):
    one = run(network, data, num_samples=7, passes_at_once=7)
    many = run(network, data, num_samples=7, passes_at_once=3)
    for a, b in zip(jax.tree.leaves(one.mc), jax.tree.leaves(many.mc), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5)


def test_statistics_are_those_of_the_passes():
    passes = np.random.default_rng(1).normal(size=(9, 5, 3)).astype(np.float32) * 3
    mc, _ = inference.mc_statistics(lambda i: inference.Passes(jnp.asarray(passes)[i]), num_samples=9, passes_at_once=4)
    p = np.exp(passes.astype(np.float64))
    p /= p.sum(-1, keepdims=True)
    np.testing.assert_allclose(np.exp(mc.log_mean), p.mean(0), rtol=1e-5)
    np.testing.assert_allclose(mc.mean_logits, passes.mean(0), atol=1e-5)
    np.testing.assert_allclose(mc.expected_entropy, -(p * np.log(p)).sum(-1).mean(0), rtol=1e-4)
    np.testing.assert_allclose(mc.std, p.std(0), atol=1e-5)
    np.testing.assert_array_equal(
        mc.votes, [[(passes[:, i].argmax(-1) == c).sum() for c in range(3)] for i in range(5)]
    )
    assert mc.num_samples.tolist() == [9] * 5


def test_without_dropout_every_pass_is_the_plain_one(data):
    classifier = small_cnn(num_classes=NUM_CLASSES, dropout_rate=0.0)
    variables = classifier.init(jax.random.key(0), jnp.zeros((16, 16, 1)))
    outputs = run((classifier, variables), data, num_samples=3)
    np.testing.assert_allclose(outputs.mc.mean_logits, outputs.logits, atol=1e-6)
    np.testing.assert_allclose(outputs.mc.std, 0, atol=1e-6)
    with_dropout = run((small_cnn(num_classes=NUM_CLASSES), variables), data, num_samples=3)
    assert float(with_dropout.mc.std.max()) > 1e-3


def test_passes_differ_between_keys_and_images(network, data):
    first = run(network, data, num_samples=2)
    images, labels, ids = data
    moved = inference.run(*network, images, labels, ids + np.uint32(1), key=jax.random.key(5), num_samples=2)
    np.testing.assert_array_equal(first.logits, moved.logits)
    assert (np.abs(first.mc.mean_logits - moved.mc.mean_logits).max(1) > 1e-4).all()


def test_integer_images_are_scaled_by_their_type(network, data):
    images, labels, ids = data
    eight = run(network, data)
    sixteen = run(network, (images.astype(np.uint16) * 257, labels, ids))
    real = run(network, ((images / 255).astype(np.float32), labels, ids))
    np.testing.assert_allclose(sixteen.logits, eight.logits, atol=1e-5)
    np.testing.assert_allclose(real.logits, eight.logits, atol=1e-5)


def test_transform_sees_float_images_and_their_ids(network, data):
    images, labels, ids = data
    darkened = run(
        network, data, transform=lambda batch, ids: jnp.where(ids[:, None, None, None] == ids[0], 0.0, batch)
    )
    by_hand = run(network, (np.where(np.arange(7)[:, None, None, None] == 0, 0, images).astype(np.uint8), labels, ids))
    np.testing.assert_allclose(darkened.logits, by_hand.logits, atol=1e-6)


def test_unequal_lengths_and_nothing_at_all_are_refused(network, data):
    images, labels, ids = data
    with pytest.raises(ValueError, match="7, 6 and 7"):
        run(network, (images, labels[:6], ids))
    with pytest.raises(ValueError, match="at least one"):
        run(network, (images[:0], labels[:0], ids[:0]))


def test_passes_are_kept_on_request_and_statistics_are_theirs(network, data):
    kept = run(network, data, num_samples=5, passes_at_once=2, batch_size=3, keep_passes=True)
    assert kept.mc_logits.shape == (7, 5, NUM_CLASSES) and run(network, data, num_samples=5).mc_logits is None
    np.testing.assert_allclose(kept.mc_logits.mean(1), kept.mc.mean_logits, atol=1e-5)
    softmax = np.asarray(jax.nn.softmax(kept.mc_logits))
    np.testing.assert_allclose(softmax.std(1), kept.mc.std, atol=1e-5)
    assert len(np.unique(kept.mc_logits[0, :, 0])) == 5


def test_reservation_and_confidence_have_statistics_over_passes(data):
    gambler = with_reservation(small_cnn(num_classes=NUM_CLASSES + 1))
    sure = with_confidence(small_cnn(num_classes=NUM_CLASSES), widths=(5,))
    image = jnp.zeros((16, 16, 1))
    bet = run(
        (gambler, gambler.init(jax.random.key(0), image)), data, num_samples=4, passes_at_once=3, keep_passes=True
    )
    assert bet.logits.shape == (7, NUM_CLASSES) and bet.confidence is None
    whole = np.concatenate([bet.mc_logits, bet.mc_reservation[..., None]], axis=-1)
    share = np.asarray(jax.nn.softmax(whole))[..., -1]
    np.testing.assert_allclose(bet.mc.reservation_mean, share.mean(1), atol=1e-6)
    np.testing.assert_allclose(bet.mc.reservation_std, share.std(1), atol=1e-6)
    variables = sure.init(jax.random.key(0), image)
    said = run((sure, variables), data, num_samples=4, passes_at_once=3, keep_passes=True)
    confidence = np.asarray(jax.nn.sigmoid(said.mc_confidence))
    np.testing.assert_allclose(said.mc.confidence_mean, confidence.mean(1), atol=1e-6)
    np.testing.assert_allclose(said.mc.confidence_std, confidence.std(1), atol=1e-6)
    # With an encoder of its own, confidence changes and classes do not.
    encoder = jax.tree.map(lambda leaf: leaf * 1.5, variables["params"]["network"])
    tuned = {**variables, "params": {**variables["params"], "encoder": encoder}}
    other = run((sure, tuned), data, num_samples=4)
    np.testing.assert_allclose(other.logits, said.logits, atol=1e-6)
    assert float(jnp.abs(other.confidence - said.confidence).max()) > 1e-3
    assert float(jnp.abs(other.mc.confidence_mean - said.mc.confidence_mean).max()) > 1e-4


def test_what_comes_before_the_first_mask_is_computed_once(network, data):
    classifier, variables = network
    calls = []

    def prefix(variables, images):
        calls.append(images.shape)
        return classifier.prefix(variables, images)

    run((classifier._replace(prefix=prefix), variables), data, num_samples=6, passes_at_once=2)
    assert len(calls) == 1  # traced once for all batches and passes, outside of their loop


def test_images_that_prefetch_are_asked_for_all_batches_ahead(network, data):
    images, labels, ids = data

    class Ahead:
        asked: list

        def __len__(self):
            return len(images)

        def prefetch(self, indices):
            self.asked = indices
            return (images[index] for index in indices)

    source = Ahead()
    np.testing.assert_array_equal(
        run(network, (source, labels, ids), batch_size=3).logits, run(network, data, batch_size=3).logits
    )
    assert [index.tolist() for index in source.asked] == [[0, 1, 2], [3, 4, 5], [6, 6, 6]]


@pytest.mark.parametrize("option", [{"num_samples": -1}, {"batch_size": 0}, {"passes_at_once": 0}])
def test_numbers_out_of_range_are_named(network, data, option):
    (name,) = option
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        run(network, data, **option)
