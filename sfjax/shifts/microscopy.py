"""Shifts of microscopes: leaking filters, uneven lamps and cells out of focus.

Images have values in [0, 1] and any number of channels, unless a function says otherwise.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax.keys import stream
from sfjax.shifts.base import Corruption, Strength
from sfjax.shifts.drawing import axes, padded_by, separable, smooth_field

MOST_BLUR: Final = 0.04
"""Share of the shorter side; fixes how many blurs are computed, which must be known when compiling."""
SPLINE: Final = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""Taps of the cubic B-spline: variance 1."""


def bleed_through(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image with light of each channel added to its neighbors, as by filters that overlap.

    Channels are in the order of their wavelengths. Emission has its tail at long wavelengths: most of what leaks goes
    to the next channel, up to a quarter as much to the one before.

    Args:
        key: Draws how much each channel leaks.
        image: Values in [0, 1], at least two channels.
        strength: Share of a channel that the next one gets at most; each gets from half to all of it.

    Raises:
        ValueError: The image has one channel.
    """
    k = image.shape[2]
    if k < 2:
        raise ValueError(
            f"Light bleeds through from one channel to another, so at least 2 are needed, and the image has {k}. "
            "Leave this corruption out for such images."
        )
    onwards, back = jax.random.uniform(stream(key, "leaks"), (2, k - 1), image.dtype)
    # Neighbors by turning the channels round, of which the ends get nothing: a product with a k x k matrix is slow.
    to_next, to_last = jnp.pad(0.5 + 0.5 * onwards, (1, 0)), jnp.pad(0.25 * back, (0, 1))
    leaked = to_next[None, None] * jnp.roll(image, 1, -1) + to_last[None, None] * jnp.roll(image, -1, -1)
    return image + strength * leaked


def illumination_field(
    key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength
) -> Float[Array, "h w k"]:
    """Returns the image under a lamp that is brightest off the middle and falls off smoothly, without symmetry.

    Args:
        key: Draws the brightest place and the field's shape.
        image: Values in [0, 1], 0 where no light is.
        strength: Share of the light that is lost in the darkest place, at most 1; the brightest keeps all.

    References:
        Singh et al., Pipeline for illumination correction of images for high-throughput microscopy, Journal of
        Microscopy 2014.
    """
    y, x, _ = axes(image)
    place = 0.25 * jax.random.uniform(stream(key, "lamp"), (2,), image.dtype, -1, 1)
    falling = (y - place[0]) ** 2 + (x - place[1]) ** 2 + 0.08 * smooth_field(stream(key, "shape"), image, 2)
    lost = (falling - falling.min()) / (falling.max() - falling.min())
    return image * (1 - strength * lost)[..., None]


def defocused_cells(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image with parts of the field out of focus, as where cells lie in another plane, edges repeated.

    Between a sharp image and blurs of standard deviations 1, 2.2, 4.6, ... pixels, each pixel takes the mixture of
    neighboring ones whose variance is the wanted one.

    Args:
        key: Draws which parts, about half of the field; between sharp and blurred parts blur grows smoothly.
        image: Values in [0, 1].
        strength: Standard deviation of the blur where it is strongest, as a share of the shorter side, at most
            `MOST_BLUR`; more is taken as that.

    References:
        Starck et al., The undecimated wavelet decomposition and its reconstruction, IEEE Transactions on Image
        Processing 2007, for blurs by splines with holes.
    """
    side = min(image.shape[:2])
    out_of_focus = jnp.clip(0.4 + 0.8 * smooth_field(stream(key, "planes"), image, 3), 0, 1)
    variance = (jnp.minimum(strength, MOST_BLUR) * side * out_of_focus) ** 2
    result, blurred, reached, step = image, image, 0.0, 1
    while reached < (MOST_BLUR * side) ** 2:
        more = separable(padded_by(blurred, 2 * step), SPLINE, step)
        share = jnp.clip((variance - reached) / step**2, 0, 1)
        result = result + share[..., None] * (more - blurred)
        blurred, reached, step = more, reached + float(step**2), 2 * step
    return result


CORRUPTIONS: Final[Mapping[str, Corruption]] = MappingProxyType(
    {
        "bleed_through": Corruption(
            bleed_through,
            (0.1, 0.2, 0.3, 0.4, 0.5),
            "share of a channel in the next one",
            "even steps; level 5 is a pair of dyes with half-overlapping spectra, as RNA and reticulum stains have",
            modalities=("microscopy",),
            channels=(2, 3, 4, 5, 6),
        ),
        "illumination_field": Corruption(
            illumination_field,
            (0.12, 0.24, 0.36, 0.48, 0.6),
            "share of light lost in the darkest place",
            "even steps; aligned lamps lose 10 to 30 % at the edges (levels 1 and 2), level 5 is a misaligned lamp",
            modalities=("microscopy",),
        ),
        "defocused_cells": Corruption(
            defocused_cells,
            (0.006, 0.012, 0.018, 0.024, 0.03),
            "standard deviation of the strongest blur, shares of the shorter side",
            "even steps; at level 5 organelles are gone in blurred parts and nuclei are still there",
            modalities=("microscopy",),
        ),
    }
)
"""The shifts of microscopes by name."""
