"""Shifts of X-ray images and of computed tomography.

Images have values in [0, 1], of the displayed gray: bone is white, air is black. Channels of a gray image are copies of
one another, so noise is one field for all channels.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from sfjax.keys import stream
from sfjax.shifts.base import Corruption, Strength
from sfjax.shifts.drawing import axes, gaussian_taps, separable

GRAIN: Final = 0.007
"""Deviation of the finer of the two Gaussians whose difference is the grain of CT noise, as a share of the side."""
FINEST_GRAIN: Final = 0.4
"""The same in pixels, at least: below, a Gaussian is one pixel and the difference would be all that is left."""
ORGAN: Final = 0.06
"""How far around a pixel the attenuation counts for its noise, as a share of the side."""

GAMMA: Final = 1.6
"""Slope of the logit of the displayed gray over the log of exposure: in the middle of the curve, film of maximal
density 3 then has a gradient of 2.8 per factor of ten, as screen-film systems for the chest have."""
MOTTLE: Final = 0.05
"""Relative noise of one pixel's exposure at middle gray, of 400 effective quanta."""

LINE_SPACING: Final = 0.03
LINE_DEPTH: Final = 0.35
"""Stops that the grid's lines take away at their darkest, where its cutoff takes one stop."""


def ct_noise(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image plus the noise of a CT at a lower dose: grainy, and stronger where the body absorbs more.

    An approximation in the image, without projections: normal noise, filtered by a difference of two Gaussians, whose
    power rises with frequency and falls again, as after filtered backprojection; its variance grows linearly with the
    attenuation around, here the gray smoothed over an organ's width, from a fifth in air to all in bone. Streaks of
    photon starvation are not modeled.

    Args:
        key: Draws the noise.
        image: A windowed slice, values in [0, 1].
        strength: Standard deviation of the noise in the densest tissue, in widths of the window.

    References:
        Kijewski and Judy, The noise power spectrum of CT images, Physics in Medicine and Biology 1987.
    """
    h, w, _ = image.shape
    fine, coarse = _grain_taps(min(h, w))
    reach = len(coarse) // 2
    white = jax.random.normal(stream(key, "quanta"), (h + 2 * reach, w + 2 * reach, 1), image.dtype)
    inner = reach - len(fine) // 2
    grain = separable(white[inner : inner + h + len(fine) - 1, inner : inner + w + len(fine) - 1], fine)
    grain = grain - separable(white, coarse)
    grain = grain / _grain_deviation(fine, coarse)
    attenuation = jnp.clip(_smoothed(image.mean(2, keepdims=True)), 0, 1)
    return image + strength * grain * jnp.sqrt(0.2 + 0.8 * attenuation)


def _grain_taps(side: int) -> tuple[np.ndarray, np.ndarray]:
    sigma = max(GRAIN * side, FINEST_GRAIN)
    return gaussian_taps(sigma), gaussian_taps(2 * sigma)


def _grain_deviation(fine: np.ndarray, coarse: np.ndarray) -> float:
    """Returns the standard deviation of white noise of unit variance after the difference of the two filters."""
    kernel = -np.outer(coarse, coarse)
    inner = len(coarse) // 2 - len(fine) // 2
    kernel[inner : inner + len(fine), inner : inner + len(fine)] += np.outer(fine, fine)
    return float(np.sqrt((kernel**2).sum()))


def _smoothed(gray: Float[Array, "h w 1"]) -> Float[Array, "h w 1"]:
    """Returns the image smoothed over an organ's width, by products with matrices, since the filter is wide."""
    h, w, _ = gray.shape
    weights = []
    for n in (h, w):
        offset = np.arange(n)[:, None] - np.arange(n)[None, :]
        kernel = np.exp(-0.5 * (offset / (ORGAN * min(h, w))) ** 2)
        weights.append(jnp.asarray(kernel / kernel.sum(1, keepdims=True), gray.dtype))
    return (weights[0] @ gray[..., 0] @ weights[1].T)[..., None]


def ct_window(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image in a window of another center and width: a linear map of its gray.

    What the old window had cut off stays cut off: a wider window shows no more than there is.

    Args:
        key: Draws the direction: how much of the change is the center's, how much the width's, up or down.
        image: A windowed slice, values in [0, 1].
        strength: How far the center moves, in widths of the window, where the width stays; where the center stays, the
            width changes by the factor `exp(2 * strength)` or its inverse.
    """
    angle = 2 * jnp.pi * jax.random.uniform(stream(key, "direction"), (), image.dtype)
    gain = jnp.exp(-2 * strength * jnp.sin(angle))
    return image + (image - 0.5) * (gain - 1) - strength * jnp.cos(angle) * gain


def xray_exposure(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image over- or underexposed: darker or paler along the film's curve, and mottled if underexposed.

    The curve is logistic in the log of exposure (Hurter and Driffield's toe, slope and shoulder), so that detail drowns
    at both ends. What an underexposed image has in quantum noise above the image as given is added to its log exposure,
    as a normal number, more where fewer quanta pass. Gray that is fully black or white holds no detail to bring back
    and stays as it is. Detectors that rescale their range hide the paleness, not the noise.

    Args:
        key: Draws over or under, and the noise.
        image: Displayed gray, values in [0, 1]; what lies outside is taken to the nearer end.
        strength: Stops, factors of 2 of the exposure.
    """
    h, w, _ = image.shape
    over = jax.random.bernoulli(stream(key, "over"))
    stops = jnp.where(over, strength, -jnp.asarray(strength, image.dtype))
    # Mean over the channels: copies of one gray have the same noise.
    gray = jnp.clip(image.mean(2), 0.002, 0.998)
    fewer = jnp.exp2(jnp.maximum(-stops, 0)) - 1  # variance above what the image has, 1 / exposure
    deviation = MOTTLE * jnp.sqrt(fewer) * (gray / (1 - gray)) ** (0.5 / GAMMA)
    noise = deviation * jax.random.normal(stream(key, "quanta"), (h, w), image.dtype)
    return _exposed(image, stops * jnp.log(jnp.asarray(2, image.dtype)) + noise)


def xray_grid(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image behind a misaligned anti-scatter grid: pale fine lines, and paler towards one side (cutoff).

    Lines and cutoff take exposure away, and the film's curve turns that into gray. The spacing of visible lines is that
    of the moire between the grid and the pixels, hence free; it is at least 3 pixels, so that the lines stay lines.

    Args:
        key: Draws the lines' direction (rows or columns), spacing and place, and the side that is cut off.
        image: Displayed gray, values in [0, 1]; what lies outside is taken to the nearer end.
        strength: Stops that are lost at the edge farthest from the grid's focus.
    """
    y, x, pixel = axes(image)
    tall, wide = image.shape[0] * pixel, image.shape[1] * pixel
    across_rows, mirrored = jax.random.bernoulli(stream(key, "pose"), shape=(2,))
    spacing, phase, focus = jax.random.uniform(stream(key, "lines"), (3,), image.dtype)
    # Position across the lines, in [-0.5, 0.5], and in shares of the shorter side.
    place = jnp.where(across_rows, y, x)
    share = jnp.where(across_rows, y / tall, x / wide) * jnp.where(mirrored, -1.0, 1.0).astype(image.dtype)
    period = max(LINE_SPACING, 3 * pixel) * (1 + 0.5 * spacing)
    lines = 0.5 + 0.5 * jnp.cos(2 * jnp.pi * (place / period + phase))
    middle = -0.3 * focus  # the grid's focus lies off the middle, on the other side
    cutoff = jnp.maximum(share - middle, 0) / (0.5 - middle)
    lost = strength * (cutoff + LINE_DEPTH * lines)
    return _exposed(image, -lost * jnp.log(jnp.asarray(2, image.dtype)))


def _exposed(image: Float[Array, "h w k"], log_factor: Float[Array, "h w"]) -> Float[Array, "h w k"]:
    """Returns the image where the exposure is multiplied: exactly the image where the factor is 1."""
    inside = jnp.clip(image, 0, 1)
    growth = jnp.expm1(-GAMMA * log_factor)[..., None]  # of the odds of the displayed gray, white against black
    return image + inside * (1 - inside) * growth / (1 + inside * growth)


CORRUPTIONS: Final[Mapping[str, Corruption]] = MappingProxyType(
    {
        "ct_noise": Corruption(
            ct_noise,
            (0.03, 0.06, 0.09, 0.12, 0.15),
            "standard deviation, widths of the window",
            "even steps; level 5 is 60 HU in a soft-tissue window of 400 HU, and in a lung window of 1500 HU an "
            "ultra-low dose with a sharp kernel",
            modalities=("lung_ct",),
        ),
        "ct_window": Corruption(
            ct_window,
            (0.06, 0.12, 0.18, 0.24, 0.3),
            "shift of the center, widths of the window",
            "even steps; level 5 goes two thirds of the way in center from a lung window (-600, 1500 HU) to a "
            "soft-tissue window (40, 400 HU)",
            modalities=("lung_ct",),
        ),
        "xray_exposure": Corruption(
            xray_exposure,
            (0.4, 0.8, 1.2, 1.6, 2.0),
            "stops",
            "even steps; level 5 is a quarter or four times of the exposure, where films are taken again",
            modalities=("chest_xray",),
        ),
        "xray_grid": Corruption(
            xray_grid,
            (0.3, 0.6, 0.9, 1.2, 1.5),
            "stops lost at the edge",
            "even steps; level 5 loses two thirds of the exposure at the edge, as a focused grid some centimeters off "
            "its center",
            modalities=("chest_xray",),
        ),
    }
)
"""The shifts of radiology by name."""
