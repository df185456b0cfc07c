import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax import inference
from sfjax.models import small_cnn

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
    mc = inference.mc_statistics(lambda i: jnp.asarray(passes)[i], num_samples=9, passes_at_once=4)
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
