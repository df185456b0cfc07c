"""Shifts of color: white balance and faded stains. They need red, green and blue.

What a shift keeps is said in `sfjax.shifts`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from sfjax.shifts.base import Corruption, Strength

YIQ: Final = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
"""Luminance and two axes of color from red, green and blue (NTSC)."""

_GREY: Final = np.ones((3, 1)) * YIQ[:1]
"""A color to the grey of its luminance."""
_ACROSS: Final = np.linalg.inv(YIQ) @ np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ YIQ
"""A color to the color a quarter turn further, without its luminance."""


def hue(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image with its colors turned around the grey axis, either way, their luminance kept.

    Args:
        key: Draws the sense of the turn.
        image: Red, green and blue.
        strength: Share of a full turn; 0.5 shows each color as its opposite.

    Raises:
        ValueError: The image has no three channels.
    """
    _need_rgb("hue", image)
    sense = jnp.where(jax.random.bernoulli(key), 1, -1).astype(image.dtype)
    angle = 2 * jnp.pi * sense * strength
    along, across = (jnp.asarray(matrix, image.dtype) for matrix in (np.eye(3) - _GREY, _ACROSS))
    # Multiples of the difference from no turn, so that strength 0 is the image itself.
    turn = jnp.eye(3, dtype=image.dtype) + (jnp.cos(angle) - 1) * along + jnp.sin(angle) * across
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    # Written out: a product of matrices of three is slow on a CPU.
    return jnp.stack([row[0] * red + row[1] * green + row[2] * blue for row in turn], axis=-1)


def saturation(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image with its colors drawn towards grey of their luminance.

    Args:
        key: Not used.
        image: Red, green and blue.
        strength: Share of the color that is lost; 1 leaves grey, negative values strengthen colors.

    Raises:
        ValueError: The image has no three channels.
    """
    del key
    _need_rgb("saturation", image)
    red, green, blue = (float(weight) for weight in YIQ[0])
    luminance = red * image[..., :1] + green * image[..., 1:2] + blue * image[..., 2:]
    return image + strength * (luminance - image)


def _need_rgb(name: str, image: Array) -> None:
    if image.shape[-1] != 3:
        raise ValueError(
            f"The corruption {name} needs 3 channels, red, green and blue, and the image has {image.shape[-1]}. "
            "Leave it out for other images."
        )


CORRUPTIONS: Final[Mapping[str, Corruption]] = MappingProxyType(
    {
        "hue": Corruption(
            hue,
            (0.06, 0.13, 0.2, 0.3, 0.5),
            "share of a full turn",
            "even steps of the distance between a color and its turned one; level 5 shows opposite colors",
            modalities=("dermoscopy",),
            channels=(3,),
        ),
        "saturation": Corruption(
            saturation,
            (0.2, 0.4, 0.6, 0.8, 1.0),
            "share of the color that is lost",
            "even steps; level 5 is grey",
            modalities=("dermoscopy",),
            channels=(3,),
        ),
    }
)
"""The shifts of this module, with their levels."""
