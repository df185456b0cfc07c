"""Conformance of every corruption, and what each one is for."""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax import shifts
from sfjax.shifts import SHIFTS, STRENGTHS
from sfjax.shifts.corruptions import brightness, elastic, gaussian_noise, motion_blur

NAMES = sorted(SHIFTS)
IDS = jnp.array([5, 9, 4_000_000_000], jnp.uint32)


def images(channels: int = 3, height: int = 24, width: int = 20) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).uniform(0.2, 0.6, (3, height, width, channels)), jnp.float32)


@pytest.mark.parametrize("name", NAMES)
def test_signature(name):
    parameters = inspect.signature(SHIFTS[name]).parameters
    assert list(parameters) == ["key", "image", "strength"]
    assert parameters["strength"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("name", NAMES)
def test_shape_and_type_stay_at_any_number_of_channels(name, channels):
    result = SHIFTS[name](jax.random.key(0), images(channels)[0], strength=0.1)
    assert result.shape == (24, 20, channels) and result.dtype == jnp.float32


@pytest.mark.parametrize("name", NAMES)
def test_strength_zero_is_the_image(name):
    image = images()[0]
    np.testing.assert_allclose(SHIFTS[name](jax.random.key(0), image, strength=0.0), image, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_levels_grow(name):
    assert list(STRENGTHS[name]) == sorted(STRENGTHS[name]) and len(STRENGTHS[name]) == shifts.NUM_LEVELS
    smooth = jnp.asarray(np.random.default_rng(1).normal(size=(64, 6, 6, 3)), jnp.float32)
    # Dark and smooth, so that neither clipping nor aliasing sets a bound.
    batch = 0.3 + 0.05 * jax.image.resize(smooth, (64, 32, 32, 3), "cubic")
    ids = jnp.arange(64, dtype=jnp.uint32)
    distance = [
        float(jnp.sqrt(jnp.mean((shifts.apply(name, jax.random.key(0), batch, ids, level=level) - batch) ** 2)))
        for level in range(1, 6)
    ]
    assert (np.diff(distance) > 0).all() and distance[0] > 0


@pytest.mark.parametrize("name", NAMES)
def test_an_image_does_not_depend_on_its_batch(name):
    batch = images()
    whole = shifts.apply(name, jax.random.key(3), batch, IDS, level=3)
    turned = shifts.apply(name, jax.random.key(3), batch[::-1], IDS[::-1], level=3)
    np.testing.assert_allclose(turned[::-1], whole, atol=1e-6)
    alone = shifts.apply(name, jax.random.key(3), batch[1:2], IDS[1:2], level=3)
    np.testing.assert_allclose(alone[0], whole[1], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_all_levels_share_one_compilation(name):
    shift = chex.assert_max_traces(SHIFTS[name], n=1)
    function = jax.jit(lambda key, image, strength: shift(key, image, strength=strength))
    for strength in STRENGTHS[name]:
        function(jax.random.key(0), images()[0], jnp.float32(strength))


def test_apply_clips_and_primitives_do_not():
    bright = brightness(jax.random.key(0), images()[0], strength=1.5)
    assert float(bright.max()) > 1
    assert float(shifts.apply("brightness", jax.random.key(0), images(), IDS, level=5).max()) == 1


def test_brightness_level_1_is_the_measured_factor():
    np.testing.assert_allclose(
        shifts.apply("brightness", jax.random.key(0), images(), IDS, level=1), 1.25 * images(), rtol=1e-6
    )


def test_noise_has_the_deviation_it_is_given():
    flat = jnp.full((128, 128, 3), 0.5)
    noise = gaussian_noise(jax.random.key(0), flat, strength=0.12) - flat
    assert float(noise.std()) == pytest.approx(0.12, rel=0.02) and abs(float(noise.mean())) < 0.003


def test_motion_blur_moves_a_point_along_a_line_and_keeps_its_mass():
    point = jnp.zeros((41, 41, 1)).at[20, 20].set(1.0)
    blurred = np.asarray(motion_blur(jax.random.key(4), point, strength=0.25))[..., 0]
    assert blurred.sum() == pytest.approx(1, rel=1e-4)
    y, x = np.nonzero(blurred > 1e-4)
    covariance = np.cov(np.stack([y - 20.0, x - 20.0]), aweights=blurred[y, x], ddof=0)
    along, across = np.linalg.eigvalsh(covariance)[::-1]
    assert along == pytest.approx(10.25**2 / 12, rel=0.25)  # uniform over a quarter of 41 px
    assert across < 0.35


def test_elastic_is_smooth_and_leaves_a_flat_image_alone():
    np.testing.assert_allclose(elastic(jax.random.key(0), jnp.full((30, 30, 1), 0.4), strength=0.1), 0.4, atol=1e-6)
    ramp = jnp.broadcast_to(jnp.arange(64.0)[:, None, None], (64, 64, 1))
    moved = np.asarray(elastic(jax.random.key(0), ramp, strength=0.03))[..., 0] - np.asarray(ramp)[..., 0]
    assert 0.3 < moved[8:-8, 8:-8].std() / (0.03 * 64) < 1.7
    assert np.abs(np.diff(moved[8:-8, 8:-8], axis=0)).max() < 1  # no folds


@pytest.mark.parametrize(("name", "level", "words"), [("fog", 1, "brightness"), ("elastic", 0, "from 1 to 5")])
def test_unknown_names_and_levels(name, level, words):
    with pytest.raises(ValueError, match=words):
        shifts.apply(name, jax.random.key(0), images(), IDS, level=level)
