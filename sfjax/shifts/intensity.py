"""Shifts of how intensities are shown: exposure, contrast, gamma and the light at the corners.

What a shift keeps is said in `sfjax.shifts`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax.shifts.base import Corruption, Strength


def brightness(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image with all intensities multiplied by `1 + strength`.

    Args:
        key: Not used; there so that all corruptions are called alike.
        image: Values in [0, 1].
        strength: At least -1; 0.25 multiplies by 1.25, negative values darken.
    """
    del key
    return image * (1 + strength)


def darkness(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image with all intensities divided by `1 + strength`: what `brightness` undoes.

    Args:
        key: Not used.
        image: Values in [0, 1].
        strength: Above -1; 0.25 multiplies by 0.8.
    """
    del key
    return image / (1 + strength)


def contrast(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image with every channel drawn towards its mean over the image.

    Args:
        key: Not used.
        image: Values in [0, 1].
        strength: Share of the contrast that is lost; 1 leaves a flat image.
    """
    del key
    mean = image.mean((0, 1), keepdims=True)
    return image + strength * (mean - image)


def gamma(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image to the power `1 + strength`: black and white stay, what is between darkens.

    Args:
        key: Not used.
        image: Taken to [0, 1] first.
        strength: Above -1; 1 squares intensities, negative values brighten.
    """
    del key
    # Several times faster than `power`. The logarithm of 0 is minus infinity, whose exponential is 0 again.
    return jnp.exp((1 + strength) * jnp.log(jnp.clip(image, 0, 1)))


def vignetting(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image with less light towards its corners, by the square of the distance from the center.

    Args:
        key: Not used.
        image: Values in [0, 1].
        strength: Share of the light that the outermost corner loses, at most 1.
    """
    del key
    h, w, _ = image.shape
    rows = jnp.arange(h, dtype=image.dtype) - (h - 1) / 2
    columns = jnp.arange(w, dtype=image.dtype) - (w - 1) / 2
    squares = rows[:, None] ** 2 + columns[None, :] ** 2
    return image * (1 - strength * squares / (((h - 1) ** 2 + (w - 1) ** 2) / 4))[..., None]


CORRUPTIONS: Final[Mapping[str, Corruption]] = MappingProxyType(
    {
        "brightness": Corruption(
            brightness,
            (0.25, 0.5, 0.75, 1.0, 1.5),
            "factor of intensities, minus 1",
            "level 1 measured from stored figures of the study; even steps, then a larger one",
        ),
        "darkness": Corruption(
            darkness,
            (0.25, 0.5, 0.75, 1.0, 1.5),
            "divisor of intensities, minus 1",
            "undoes `brightness` of that level",
        ),
        "contrast": Corruption(
            contrast, (0.6, 0.7, 0.8, 0.9, 0.95), "share of the contrast that is lost", "ImageNet-C"
        ),
        "gamma": Corruption(
            gamma,
            (0.17, 0.37, 0.6, 0.88, 1.2),
            "exponent, minus 1",
            "even steps of the difference; level 5 is a display's gamma of 2.2 once too often",
        ),
        "vignetting": Corruption(
            vignetting,
            (0.2, 0.4, 0.6, 0.8, 1.0),
            "share of light lost in a corner",
            "even steps; level 5 has black corners",
        ),
    }
)
"""The shifts of this module, with their levels."""
