"""The layers against slow definitions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax.models import layers
from sfjax.models.small_cnn import squares_as_channels


def test_pooling_and_squares_at_odd_sizes():
    x = jnp.arange(15.0).reshape(1, 3, 5, 1)
    np.testing.assert_array_equal(layers.maximum_of_2x2(x)[0, :, :, 0], [[6, 8]])
    np.testing.assert_array_equal(layers.average_of_2x2(x)[0, :, :, 0], [[3, 5]])
    np.testing.assert_array_equal(layers.maximum_of_3x3(-x)[0, :, :, 0], [[0, -1, -3], [-5, -6, -8]])
    np.testing.assert_array_equal(layers.maximum_of_3x3(x)[0, :, :, 0], [[6, 8, 9], [11, 13, 14]])
    np.testing.assert_array_equal(squares_as_channels(x)[0, 0], [[0, 1, 5, 6], [2, 3, 7, 8]])


@pytest.mark.parametrize("shape", [(7, 8), (8, 5)])
def test_maximum_of_3x3_hands_each_slope_to_the_largest(rng, shape):
    x = rng.permutation(2 * shape[0] * shape[1]).reshape(2, *shape, 1).astype(np.float32) - 30
    value, back = jax.vjp(layers.maximum_of_3x3, jnp.asarray(x))
    slope = rng.uniform(size=value.shape).astype(np.float32)
    expected, expected_slope = np.zeros(value.shape), np.zeros(x.shape)
    for n, i, j, c in np.ndindex(value.shape):
        places = [
            (n, p, q, c)
            for p in range(2 * i - 1, 2 * i + 2)
            for q in range(2 * j - 1, 2 * j + 2)
            if 0 <= p < shape[0] and 0 <= q < shape[1]
        ]
        largest = max(places, key=lambda place: x[place])
        expected[n, i, j, c] = x[largest]
        expected_slope[largest] += slope[n, i, j, c]
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_allclose(back(jnp.asarray(slope))[0], expected_slope, rtol=1e-6)


def test_normalization_of_three_and_of_other_channels():
    # torchvision's means and standard deviations of red, green and blue
    images = jnp.full((1, 1, 1, 3), 0.5)
    expected = [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
    np.testing.assert_allclose(layers.normalize(images)[0, 0, 0], expected, rtol=1e-5)
    for channels in (1, 2, 6):
        found = layers.normalize(jnp.full((1, 1, 1, channels), 0.5))[0, 0, 0]
        np.testing.assert_allclose(found, [(0.5 - 0.449) / 0.226] * channels, rtol=1e-5)


def test_batch_normalization_by_hand():
    norm = layers.BatchNorm()
    x = jnp.asarray([1.0, 3.0, 5.0, 7.0]).reshape(2, 1, 2, 1)
    variables = {
        "params": {"scale": jnp.asarray([2.0]), "bias": jnp.asarray([1.0])},
        "batch_stats": {"mean": jnp.asarray([2.0]), "var": jnp.asarray([4.0])},
    }

    def apply(x, batch_statistics):
        return norm.apply(variables, x, batch_statistics, mutable=["batch_stats"])

    running, unchanged = apply(x, False)
    np.testing.assert_allclose(running[..., 0].ravel(), [0, 2, 4, 6], atol=1e-5)  # 2 (x - 2) / 2 + 1
    assert unchanged["batch_stats"] == variables["batch_stats"]
    batch, updated = apply(x, True)
    np.testing.assert_allclose(batch[..., 0].ravel(), 2 * np.array([-3, -1, 1, 3]) / 5**0.5 + 1, atol=1e-5)
    # A tenth of the way towards mean 4 and variance 5.
    np.testing.assert_allclose(updated["batch_stats"]["mean"], [2.2], rtol=1e-6)
    np.testing.assert_allclose(updated["batch_stats"]["var"], [4.1], rtol=1e-6)
    short, _ = apply(x.astype(jnp.bfloat16), False)
    assert short.dtype == jnp.bfloat16


@pytest.mark.parametrize(("size", "stride", "shape"), [(3, 1, (5, 6)), (3, 2, (6, 7)), (5, 2, (7, 8)), (5, 1, (2, 9))])
def test_shifted_products_are_the_grouped_convolution(rng, monkeypatch, size, stride, shape):
    x = jnp.asarray(rng.normal(size=(2, *shape, 3)), jnp.float32)
    layer = layers.Depthwise(size, stride)
    params = {"params": {"kernel": jnp.asarray(rng.normal(size=(size, size, 1, 3)), jnp.float32)}}

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_slopes(backend, slope):
        monkeypatch.setattr(jax, "default_backend", lambda: backend)
        value, back = jax.vjp(layer.apply, params, x)
        return value, back(slope)

    slope = jnp.asarray(rng.normal(size=(2, -(-shape[0] // stride), -(-shape[1] // stride), 3)), jnp.float32)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4),
        value_and_slopes("cpu", slope),
        value_and_slopes("gpu", slope),
    )
