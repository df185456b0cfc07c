"""Shifts of stained tissue and blood cells under white light."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from sfjax.keys import stream
from sfjax.shifts.base import Corruption, Strength

HEMATOXYLIN: Final = (0.65, 0.70, 0.29)
EOSIN: Final = (0.07, 0.99, 0.11)
"""Optical densities of the two stains in red, green and blue. Blood's azure and eosin lie close to them."""

TILT: Final = 0.25
"""How far a stain's color turns, in radians, where its amount changes by a factor of e."""

DARKEST: Final = 1 / 255
"""Transmitted light below which an optical density cannot be read from 8 bits."""


def stain_shift(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image as stained by another laboratory: other amounts of the two stains, in slightly other colors.

    In optical density, where stains add up, the image is taken apart into hematoxylin, eosin and what is neither;
    the amounts of the two stains are multiplied and their colors turned. Unstained background stays white. Densities
    are read from the image clipped to [1/255, 1].

    Args:
        key: Draws which stain changes how much, up or down, and which way colors turn.
        image: Transmitted light, 1 is white; red, green and blue.
        strength: Length of the vector of the two logarithms of factors: 0.5 may be both stains by 1.42, or one by 1.65.

    Raises:
        ValueError: The image has another number of channels than 3.

    References:
        Ruifrok and Johnston, Quantification of histochemical staining by color deconvolution, Analytical and
        Quantitative Cytology and Histology 2001.
        Tellez et al., Whole-slide mitosis detection in H&E breast histology using PHH3 as a reference to train
        distilled stain-invariant convolutional networks, IEEE Transactions on Medical Imaging 2018.
    """
    if image.shape[2] != 3:
        raise ValueError(
            f"Stains are told apart by color, so stain_shift needs the 3 channels red, green and blue, and the image "
            f"has {image.shape[2]}. Leave this corruption out for such images."
        )
    stains, unmixing = (jnp.asarray(matrix, image.dtype) for matrix in _stain_matrices())
    angle = 2 * jnp.pi * jax.random.uniform(stream(key, "amounts"), (), image.dtype)
    log_factor = strength * jnp.stack([jnp.cos(angle), jnp.sin(angle)])[:, None]
    turn = jax.random.normal(stream(key, "colors"), (2, 3), image.dtype)
    turn = turn - (turn * stains).sum(1, keepdims=True) * stains  # across the stain's own color
    turn = strength * TILT * turn / jnp.sqrt((turn**2).sum(1, keepdims=True))
    # What is added to the density of a unit of each stain: exactly nothing at strength 0.
    added = jnp.expm1(log_factor) * stains + jnp.exp(log_factor) * turn
    density = -jnp.log(jnp.clip(image, DARKEST, 1))
    change = unmixing @ added
    # By hand: a product with a 3 x 3 matrix is slower than nine multiplications.
    more = sum(density[..., i, None] * change[i][None, None, :] for i in range(3))
    return image * jnp.exp(-jnp.asarray(more))


def _stain_matrices() -> tuple[np.ndarray, np.ndarray]:
    """Returns the two stains' unit vectors, (2, 3), and what takes densities apart into their amounts, (3, 2)."""
    stains = np.array([HEMATOXYLIN, EOSIN])
    stains = stains / np.linalg.norm(stains, axis=1, keepdims=True)
    rest = np.cross(*stains)
    basis = np.stack([*stains, rest / np.linalg.norm(rest)])
    return stains, np.linalg.inv(basis)[:, :2]


CORRUPTIONS: Final[Mapping[str, Corruption]] = MappingProxyType(
    {
        "stain_shift": Corruption(
            stain_shift,
            (0.15, 0.3, 0.45, 0.6, 0.75),
            "length of the vector of log factors of the two stains",
            "even steps; the strong augmentation of Tellez et al. (Medical Image Analysis 2019), factors from 0.8 "
            "to 1.2, ends at level 2; level 5 is one stain doubled or halved, as between laboratories",
            channels=(3,),
        ),
    }
)
"""The shifts of histopathology by name. Blood films on glass, too, are seen in transmitted light."""
