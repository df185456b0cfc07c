"""Conformance of every classifier, with images of a few pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax.models import MODELS, Classifier, dropout, small_cnn
from sfjax.models.small_cnn import maximum_of_2x2, squares_as_channels

NAMES = sorted(MODELS)


@pytest.fixture(scope="module", params=NAMES)
def classifier(request) -> Classifier:
    return MODELS[request.param](num_classes=3)


@pytest.fixture(scope="module")
def images() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).uniform(size=(4, 18, 16, 2)), jnp.float32)


@pytest.fixture(scope="module")
def variables(classifier, images):
    return classifier.init(jax.random.key(0), images[0])


def test_prefix_then_suffix_is_the_whole_and_an_image_stands_alone(classifier, variables, images):
    heads = classifier.suffix(variables, classifier.prefix(variables, images), None)
    whole, _ = classifier.train_forward(variables, images, None, batch_statistics=False)
    np.testing.assert_array_equal(heads.logits, whole.logits)
    assert heads.logits.shape == (4, 3) and heads.features.shape[0] == 4
    alone = classifier.suffix(variables, classifier.prefix(variables, images[1:2]), None)
    np.testing.assert_allclose(alone.logits[0], heads.logits[1], atol=1e-5)


def test_the_head_is_the_last_layer(classifier, variables, images):
    heads = classifier.suffix(variables, classifier.prefix(variables, images), None)
    weight, bias = classifier.head(variables)
    np.testing.assert_allclose(heads.features @ weight + bias[None], heads.logits, atol=1e-5)


def test_batch_statistics_and_dropout_are_two_switches(classifier, variables, images):
    keys = jax.random.split(jax.random.key(1), 4)
    dropped, statistics = classifier.train_forward(variables, images, keys, batch_statistics=False)
    for new, old in zip(jax.tree.leaves(statistics), jax.tree.leaves(variables["batch_stats"]), strict=True):
        np.testing.assert_array_equal(new, old)
    plain, _ = classifier.train_forward(variables, images, None, batch_statistics=False)
    assert float(jnp.abs(dropped.logits - plain.logits).max()) > 1e-3
    _, statistics = classifier.train_forward(variables, images, None, batch_statistics=True)
    changed = [
        bool((new != old).any())
        for new, old in zip(jax.tree.leaves(statistics), jax.tree.leaves(variables["batch_stats"]), strict=True)
    ]
    assert all(changed)


def test_masks_belong_to_images(classifier, variables, images):
    hidden = classifier.prefix(variables, images)
    forward = classifier.suffix(variables, hidden, jax.random.split(jax.random.key(2), 4)).logits
    backward = classifier.suffix(variables, hidden[::-1], jax.random.split(jax.random.key(2), 4)[::-1]).logits
    np.testing.assert_allclose(backward[::-1], forward, atol=1e-6)


def test_dropout_drops_its_share_and_keeps_the_mean():
    x = jnp.ones((2, 20_000))
    y = np.asarray(dropout(x, jax.random.split(jax.random.key(0), 2), 0.3))
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01) and y.mean() == pytest.approx(1, abs=0.02)
    assert not (y[0] == y[1]).all()
    np.testing.assert_array_equal(dropout(x, None, 0.3), x)


def test_pooling_and_squares_at_odd_sizes():
    x = jnp.arange(15.0).reshape(1, 3, 5, 1)
    np.testing.assert_array_equal(maximum_of_2x2(x)[0, :, :, 0], [[6, 8]])
    np.testing.assert_array_equal(squares_as_channels(x)[0, 0], [[0, 1, 5, 6], [2, 3, 7, 8]])


def test_one_network_a_setting():
    assert small_cnn(num_classes=3) is small_cnn(num_classes=3)  # so that jitted functions of it compile once
