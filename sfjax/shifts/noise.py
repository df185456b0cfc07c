"""Shifts of the noise of a sensor: electronic, of counted photons, of coherent waves.

What a shift keeps is said in `sfjax.shifts`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax.shifts.base import Corruption, Strength
from sfjax.shifts.draws import coarse_normal, normal


def gaussian_noise(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image plus independent normal noise in every pixel and channel.

    Args:
        key: Draws the noise.
        image: Values in [0, 1].
        strength: Standard deviation, in units of the full range.
    """
    return image + strength * normal(key, image)


def speckle_noise(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image with every pixel and channel multiplied by 1 plus independent normal noise.

    Args:
        key: Draws the noise.
        image: Values in [0, 1].
        strength: Standard deviation of the factor.
    """
    return image + strength * image * coarse_normal(key, image)


def shot_noise(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image as counted photons show it: the variance is `strength^2` times the intensity.

    The counts are no draws of the Poisson distribution, which are slow, but a quadratic in one normal number: mean and
    variance are a Poisson count's at any mean m, its third central moment to 1/54 from m = 1/18 on. A few counts fall
    below 0 where m is small; the clip at the end of the chain takes them to 0.

    Args:
        key: Draws the noise.
        image: Taken to [0, 1] first.
        strength: Standard deviation at full intensity; `1 / strength^2` photons make a pixel white.

    References:
        Cornish and Fisher, Moments and cumulants in the specification of distributions, Revue de l'Institut
        International de Statistique 1938.
    """
    image = jnp.clip(image, 0, 1)
    variance = jnp.square(strength) * image
    # In counts: m + sqrt(m - 2 b^2) z + b (z^2 - 1) with b = 1/6, or less where the variance m does not suffice.
    skew = jnp.minimum(jnp.square(strength) / 6, jnp.sqrt(variance / 2))
    drawn = coarse_normal(key, image)
    return image + jnp.sqrt(jnp.maximum(variance - 2 * skew**2, 0)) * drawn + skew * (drawn**2 - 1)


CORRUPTIONS: Final[Mapping[str, Corruption]] = MappingProxyType(
    {
        "gaussian_noise": Corruption(
            gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38), "standard deviation, full range is 1", "ImageNet-C"
        ),
        "shot_noise": Corruption(
            shot_noise,
            tuple(round(photons**-0.5, 3) for photons in (60, 25, 12, 5, 3)),
            "standard deviation at full intensity",
            "ImageNet-C: 60, 25, 12, 5 and 3 photons at full intensity",
        ),
        "speckle_noise": Corruption(
            speckle_noise, (0.15, 0.2, 0.35, 0.45, 0.6), "standard deviation of the factor", "ImageNet-C"
        ),
    }
)
"""The shifts of this module, with their levels."""
