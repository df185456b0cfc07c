import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax import inference, keys
from sfjax.models import small_cnn
from sfjax.models.confidence_heads import with_confidence, with_reservation
from sfjax.training import Augmentation, augment

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


NEUTRAL = functools.partial(augment, augmentation=Augmentation(flips="none", max_shift=0.0))
MOVED = functools.partial(augment, augmentation=Augmentation(flips="all", max_shift=0.2))


def flipped(key, image):
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


@pytest.mark.parametrize("num_samples", [0, 3])
def test_copies_like_the_image_say_what_the_pass_without_dropout_says(network, data, num_samples):
    said = run(network, data, num_samples=num_samples, augmentations=5, augmentation=NEUTRAL, passes_at_once=2)
    log_p = np.asarray(jax.nn.log_softmax(said.logits))
    np.testing.assert_allclose(said.tta.log_mean, log_p, atol=1e-5)
    np.testing.assert_allclose(said.tta.mean_logits, said.logits, atol=1e-5)
    np.testing.assert_allclose(said.tta.std, 0, atol=1e-6)
    np.testing.assert_allclose(said.tta.expected_entropy, -(np.exp(log_p) * log_p).sum(1), rtol=1e-4)
    np.testing.assert_array_equal(said.tta.votes, 5 * (log_p == log_p.max(1, keepdims=True)))
    assert said.tta.num_samples.tolist() == [5] * 7 and (said.mc is None) == (num_samples == 0)


def test_copies_leave_everything_else_as_it_is(network, data):
    without, said = (
        run(network, data, num_samples=3),
        run(network, data, num_samples=3, augmentations=2, augmentation=MOVED),
    )
    assert without.tta is None and said.tta is not None
    assert run(network, data, augmentation=MOVED).tta is None
    for name in ("logits", "features", "mc"):
        for a, b in zip(*(jax.tree.leaves(getattr(one, name)) for one in (without, said)), strict=True):
            np.testing.assert_allclose(b, a, atol=1e-6)


def test_copies_depend_on_no_batch_order_or_chunk(network, data):
    order = np.array([6, 2, 0, 1, 5, 4, 3])
    asked = functools.partial(run, network, augmentations=5, augmentation=MOVED)
    whole = asked(data, batch_size=7)
    parts = asked(data, batch_size=3, passes_at_once=2)
    shuffled = asked([field[order] for field in data], batch_size=3, passes_at_once=5)
    assert float(whole.tta.std.max()) > 1e-3
    for a, b, c in zip(*(jax.tree.leaves(one.tta) for one in (whole, parts, shuffled)), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5)
        np.testing.assert_allclose(c, np.asarray(a)[order], atol=1e-5)


def test_copies_are_those_of_a_loop_by_hand(network, data):
    images, _, ids = data
    # A network that left and right are not the same to: some images are flipped in a pass, and others are not.
    said = run(network, data, augmentations=6, augmentation=flipped, passes_at_once=4, batch_size=3)
    classifier, variables = network
    softmax, turned = [], []
    for number in range(6):
        image_keys = keys.per_image(
            jax.random.fold_in(keys.stream(jax.random.key(5), "tta"), number), jnp.asarray(ids, jnp.uint32)
        )
        turned.append([bool(jax.random.bernoulli(key)) for key in image_keys])
        copies = np.where(np.array(turned[-1])[:, None, None, None], images[:, :, ::-1], images)
        hidden = classifier.prefix(variables, jnp.asarray(copies, jnp.float32) / 255)
        softmax.append(np.asarray(jax.nn.softmax(classifier.suffix(variables, hidden, None).logits)))
    turned, softmax = np.array(turned), np.array(softmax)
    assert 0 < turned.sum() < turned.size and (turned.any(0) & ~turned.all(0)).sum() >= 5
    assert len(np.unique(turned, axis=0)) > 1 and len(np.unique(turned, axis=1).T) > 1
    np.testing.assert_allclose(np.exp(said.tta.log_mean), softmax.mean(0), rtol=1e-4)
    np.testing.assert_allclose(said.tta.std, softmax.std(0), atol=1e-5)
    mixed = turned.any(0) & ~turned.all(0)
    assert (np.asarray(said.tta.std).max(1)[mixed] > 1e-4).all()


def test_a_copy_is_of_the_transformed_image(network, data):
    dark = run(
        network, data, augmentations=2, augmentation=lambda key, image: image + 0.25, transform=lambda x, ids: x * 0
    )
    images, labels, ids = data
    gray = run(network, (np.full(images.shape, 0.25, np.float32), labels, ids))
    np.testing.assert_allclose(dark.tta.mean_logits, gray.logits, atol=1e-5)


def test_copies_have_statistics_of_reservation_and_confidence(data):
    image = jnp.zeros((16, 16, 1))
    gambler = with_reservation(small_cnn(num_classes=NUM_CLASSES + 1))
    sure = with_confidence(small_cnn(num_classes=NUM_CLASSES), widths=(5,))
    for classifier, name in ((gambler, "reservation"), (sure, "confidence")):
        variables = classifier.init(jax.random.key(0), image)
        said = run((classifier, variables), data, augmentations=2, augmentation=NEUTRAL)
        expected = jax.nn.sigmoid(
            said.confidence if name == "confidence" else said.reservation - jax.nn.logsumexp(said.logits, axis=-1)
        )
        np.testing.assert_allclose(getattr(said.tta, f"{name}_mean"), expected, atol=1e-5)
        np.testing.assert_allclose(getattr(said.tta, f"{name}_std"), 0, atol=1e-6)


DEVICES = """
import os, sys
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
import functools
import jax, jax.numpy as jnp, numpy as np
from sfjax import inference
from sfjax.models import small_cnn
from sfjax.training import Augmentation, augment
classifier = small_cnn(num_classes=3)
variables = classifier.init(jax.random.key(0), jnp.zeros((16, 16, 1)))
rng = np.random.default_rng(0)
data = rng.random((7, 16, 16, 1), np.float32), np.zeros(7, np.int32), np.arange(7)
said = [
    inference.run(classifier, variables, *data, key=jax.random.key(5), augmentations=5, passes_at_once=2, batch_size=5,
                  augmentation=functools.partial(augment, augmentation=Augmentation()), devices=devices)
    for devices in (jax.devices()[:1], None)
]
assert jax.device_count() == 4 and float(said[0].tta.std.max()) > 1e-3
for a, b in zip(*map(jax.tree.leaves, said), strict=True):
    np.testing.assert_allclose(b, a, atol=1e-5)
"""


def test_copies_depend_on_no_number_of_devices():
    done = subprocess.run([sys.executable, "-c", DEVICES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_copies_without_a_function_that_makes_them_are_refused(network, data):
    with pytest.raises(ValueError, match=r"got 4 and no function\. Give one, such as functools\.partial\(augment"):
        run(network, data, augmentations=4)


@pytest.mark.parametrize(
    "option", [{"num_samples": -1}, {"augmentations": -1}, {"batch_size": 0}, {"passes_at_once": 0}]
)
def test_numbers_out_of_range_are_named(network, data, option):
    (name,) = option
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        run(network, data, **option)
