"""Conformance of every kind of network, in sizes that compile fast, and what the full networks promise."""

import functools
import re

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from networks import heads

from sfjax.models import MODELS, Classifier, dropout
from sfjax.models.efficientnet import Stage


@pytest.fixture(scope="module", params=networks.KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def classifier(kind) -> Classifier:
    return networks.small(kind)


@pytest.fixture(scope="module")
def images() -> jax.Array:
    """Two images with odd sides and two channels."""
    return jnp.asarray(networks.images(35, 33, 2))


@pytest.fixture(scope="module")
def variables(classifier):
    return networks.filled(classifier, channels=2)


@functools.partial(jax.jit, static_argnums=0, static_argnames="batch_statistics")
def train_forward(classifier, variables, images, keys, *, batch_statistics):
    return classifier.train_forward(variables, images, keys, batch_statistics=batch_statistics)


@functools.partial(jax.jit, static_argnums=0)
def gradient(classifier, variables, images, keys):
    def loss(params):
        heads, _ = classifier.train_forward({**variables, "params": params}, images, keys, batch_statistics=True)
        return (heads.logits**2).mean() + (heads.features**2).mean()

    return jax.value_and_grad(loss)(variables["params"])


def keys_of(seed: int) -> jax.Array:
    return jax.random.split(jax.random.key(seed), 2)


def test_prefix_then_suffix_is_the_whole_and_an_image_stands_alone(classifier, variables, images):
    parts = heads(classifier, variables, images)
    whole, _ = train_forward(classifier, variables, images, None, batch_statistics=False)
    np.testing.assert_allclose(parts.logits, whole.logits, rtol=1e-6, atol=1e-6)
    assert parts.logits.shape == (2, 3) and parts.features.shape[0] == 2
    assert float(jnp.abs(parts.logits[0] - parts.logits[1]).max()) > 0.01
    alone = heads(classifier, variables, images[1:2])
    np.testing.assert_allclose(alone.logits[0], parts.logits[1], atol=1e-5)


def test_the_head_is_the_last_layer(classifier, variables, images):
    found = heads(classifier, variables, images)
    weight, bias = classifier.head(variables)
    np.testing.assert_allclose(found.features @ weight + bias[None], found.logits, atol=1e-5)


def test_batch_statistics_and_dropout_are_two_switches(classifier, variables, images):
    dropped, statistics = train_forward(classifier, variables, images, keys_of(1), batch_statistics=False)
    jax.tree.map(np.testing.assert_array_equal, statistics, variables["batch_stats"])
    plain, _ = train_forward(classifier, variables, images, None, batch_statistics=False)
    assert float(jnp.abs(dropped.logits - plain.logits).max()) > 1e-3
    _, statistics = train_forward(classifier, variables, images, None, batch_statistics=True)
    changed = jax.tree.map(lambda new, old: bool((new != old).any()), statistics, variables["batch_stats"])
    assert all(jax.tree.leaves(changed))


def test_masks_belong_to_images(classifier, variables, images):
    forward = heads(classifier, variables, images, keys_of(2)).logits
    backward = heads(classifier, variables, images[::-1], keys_of(2)[::-1]).logits
    np.testing.assert_allclose(backward[::-1], forward, atol=1e-5)
    assert float(jnp.abs(forward - heads(classifier, variables, images, keys_of(3)).logits).max()) > 1e-3


def test_without_dropout_every_pass_is_the_deterministic_one(kind, variables, images):
    classifier = networks.small(kind, dropout_rate=0.0)
    plain = heads(classifier, variables, images)
    np.testing.assert_allclose(heads(classifier, variables, images, keys_of(4)).logits, plain.logits, atol=1e-6)


def test_doubles_stay_doubles(classifier, variables, images):
    single = heads(classifier, variables, images)
    with jax.enable_x64(True):
        double = jax.tree.map(lambda x: np.asarray(x, np.float64), (variables, images))
        found, statistics = train_forward(classifier, *double, None, batch_statistics=True)
        assert {x.dtype for x in jax.tree.leaves((found, statistics))} == {jnp.dtype(jnp.float64)}
        np.testing.assert_allclose(heads(classifier, *double).logits, single.logits, rtol=1e-4, atol=1e-5)


def test_bfloat16_inside_and_float32_around(kind, classifier, variables, images):
    short = networks.small(kind, dtype=jnp.bfloat16)
    found, statistics = train_forward(short, variables, images, None, batch_statistics=True)
    expected, wanted = train_forward(classifier, variables, images, None, batch_statistics=True)
    trained = jax.eval_shape(lambda: gradient(short, variables, images, keys_of(5)))
    assert {x.dtype for x in jax.tree.leaves((found, statistics, trained))} == {jnp.dtype(jnp.float32)}
    products = [line for line in str(jax.make_jaxpr(short.prefix)(variables, images)).splitlines() if "conv_" in line]
    assert products and all("bf16" in line for line in products)
    difference = jnp.abs(found.logits - expected.logits).max() / jnp.abs(expected.logits).max()
    assert 0 < float(difference) < 0.1
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0.05, atol=0.05), statistics, wanted)


def test_recomputation_changes_no_gradient(kind, classifier, variables, images):
    again = networks.small(kind, checkpoint=True)
    forward = functools.partial(train_forward, again, variables, keys=keys_of(6), batch_statistics=True)
    traced = str(jax.make_jaxpr(forward)(images))
    # A block, a dense layer and an inverted bottleneck are what is computed again.
    parts = {"small_cnn": 3, "densenet": 4, "efficientnet": 2}[kind]
    assert len(re.findall(r"= (?:remat|checkpoint)\w*\[", traced)) == parts
    (loss, slope), (expected, wanted) = (gradient(c, variables, images, None) for c in (again, classifier))
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    scale = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(wanted))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * scale), slope, wanted)


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_any_number_of_channels(classifier, channels):
    image = jnp.asarray(networks.images(32, 32, channels)[0])
    found = heads(classifier, networks.filled(classifier, channels), image[None])
    assert found.logits.shape == (1, 3) and bool(jnp.isfinite(found.logits).all())


def test_weights_begin_at_random(kind):
    shallow = {"small_cnn": {}, "densenet": {"block_sizes": (1,)}, "efficientnet": {"stages": (Stage(1, 3, 2, 8, 1),)}}
    classifier = networks.small(kind, **shallow[kind])
    image = jnp.asarray(networks.images(32, 32)[0])
    first, second = (classifier.init(jax.random.key(seed), image) for seed in (0, 1))
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(first), jax.tree.leaves(second), strict=True):
        assert path[-1].key in ("scale", "bias", "mean", "var") or (float(a.std()) > 0 and bool((a != b).any())), path
    # Rectified layers keep the size of what goes through them, so that training starts from logits near 1.
    assert 0.01 < float(jnp.abs(heads(classifier, first, image[None]).logits).max()) < 10


def test_too_small_images_are_refused(classifier, variables):
    with pytest.raises(ValueError, match=r"at least \d+ x \d+ px, and they are 35 x 12"):
        classifier.prefix(variables, jnp.zeros((1, 35, 12, 2)))


@pytest.mark.parametrize("name", MODELS)
def test_full_networks(name):
    features = {"small_cnn": 128, "densenet121": 1024, "densenet161": 2208, "efficientnet_b4": 1792}[name]
    # Parameters with 1000 classes, as torchvision counts them.
    parameters = {"densenet121": 7_978_856, "densenet161": 28_681_000, "efficientnet_b4": 19_341_616}
    classifier = MODELS[name](num_classes=1000)
    image = jax.ShapeDtypeStruct((32, 47, 3), jnp.float32)
    variables = jax.eval_shape(classifier.init, jax.random.key(0), image)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == parameters.get(name, count)
    images = jax.ShapeDtypeStruct((2, 32, 47, 3), jnp.float32)
    found = jax.eval_shape(lambda v, x: classifier.suffix(v, classifier.prefix(v, x), None), variables, images)
    assert found.features.shape == (2, features) and found.logits.shape == (2, 1000)


@pytest.mark.parametrize("name", MODELS)
def test_one_network_a_setting_and_no_other_settings(name):
    assert MODELS[name](num_classes=3) is MODELS[name](num_classes=3)  # so that jitted functions of it compile once
    assert MODELS[name](num_classes=3) is not MODELS[name](num_classes=3, checkpoint=True)
    with pytest.raises(ValueError, match="num_classes must be at least 2, and it is 1"):
        MODELS[name](num_classes=1)
    for rate in (1.0, -0.1):
        with pytest.raises(ValueError, match="dropout_rate must be in"):
            MODELS[name](num_classes=2, dropout_rate=rate)


def test_dropout_drops_its_share_and_keeps_the_mean():
    x = jnp.ones((2, 20_000))
    y = np.asarray(dropout(x, jax.random.split(jax.random.key(0), 2), 0.3))
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01) and y.mean() == pytest.approx(1, abs=0.02)
    assert not (y[0] == y[1]).all()
    np.testing.assert_array_equal(dropout(x, None, 0.3), x)
    with pytest.raises(ValueError, match=r"below 1; got 0\.999999"):
        dropout(x, jax.random.split(jax.random.key(0), 2), 0.999999)
