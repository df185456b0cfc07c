"""EfficientNet: stochastic depth in training alone, and a prefix that is nearly all of it."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from sfjax.models.efficientnet import EfficientNet, MBConv


def filled(block: MBConv, x: jax.Array):
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), x, None, False))
    return networks.by_rule_throughout(shapes)


def test_stochastic_depth_drops_whole_blocks_of_single_images(rng):
    block = MBConv(inputs=4, width=4, expansion=2, size=3, stride=1, drop_rate=0.25)
    x = jnp.asarray(rng.normal(size=(400, 4, 4, 4)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 400)
    variables = filled(block, x)
    plain = jax.jit(lambda x: block.apply(variables, x, None, False))(x)
    dropped = np.asarray(jax.jit(lambda x: block.apply(variables, x, keys, False))(x))
    skipped = np.asarray([bool((a == b).all()) for a, b in zip(dropped, x, strict=True)])
    assert skipped.mean() == pytest.approx(0.25, abs=0.07)
    kept = np.asarray(x + (plain - x) / 0.75)[~skipped]
    np.testing.assert_allclose(dropped[~skipped], kept, atol=1e-4)


@pytest.mark.parametrize(("stride", "width"), [(2, 4), (1, 8)])
def test_a_block_without_a_way_around_is_never_dropped(rng, stride, width):
    block = MBConv(inputs=4, width=width, expansion=1, size=3, stride=stride, drop_rate=0.9)
    x = jnp.asarray(rng.normal(size=(3, 4, 4, 4)), jnp.float32)
    variables = filled(block, x)
    keys = jax.random.split(jax.random.key(0), 3)
    apply = jax.jit(lambda keys: block.apply(variables, x, keys, False))
    np.testing.assert_array_equal(apply(keys), apply(None))


def test_rates_grow_to_a_fifth_over_the_32_blocks():
    bound = EfficientNet(num_classes=2).bind({})
    rates = [block.drop_rate for stage in bound.blocks for block in stage]
    np.testing.assert_allclose(rates, 0.2 * np.arange(32) / 32)


def test_stochastic_depth_is_in_training_and_in_no_monte_carlo_pass():
    classifier = networks.small("efficientnet", dropout_rate=0.0, drop_rate=0.9)
    variables, images = networks.filled(classifier), jnp.asarray(networks.images(32, 32))
    plain = jax.jit(lambda: classifier.suffix(variables, classifier.prefix(variables, images), None))()
    keys = jax.random.split(jax.random.key(1), 2)
    passed = classifier.suffix(variables, classifier.prefix(variables, images), keys)
    np.testing.assert_allclose(passed.logits, plain.logits, atol=1e-5)
    trained, _ = jax.jit(lambda: classifier.train_forward(variables, images, keys, batch_statistics=False))()
    assert float(jnp.abs(trained.logits - plain.logits).max()) > 1e-2


def test_features_come_before_the_dropout_and_the_suffix_is_the_last_layer():
    classifier = networks.small("efficientnet", dropout_rate=0.5)
    variables = networks.filled(classifier)
    features = jnp.asarray(np.random.default_rng(0).normal(size=(2, 24)), jnp.float32)
    heads = classifier.suffix(variables, features, jax.random.split(jax.random.key(1), 2))
    np.testing.assert_array_equal(heads.features, features)
    weight, bias = classifier.head(variables)
    assert float(jnp.abs(features @ weight + bias[None] - heads.logits).max()) > 1e-2
