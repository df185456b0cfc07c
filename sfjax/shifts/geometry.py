"""Shifts of where things are: tissue that was pressed or pulled.

What a shift keeps is said in `sfjax.shifts`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax.shifts.base import Corruption, Strength
from sfjax.shifts.sampling import bilinear

ELASTIC_GRID = 6
"""Displacements are drawn on a grid of this many points a side and are smooth in between."""


def elastic(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image with its pixels moved by a smooth random field, with edges repeated.

    Args:
        key: Draws the field.
        image: Values in [0, 1].
        strength: Standard deviation of the displacement at the field's grid points, as a share of the shorter side.

    References:
        Simard et al., Best practices for convolutional neural networks applied to visual document analysis, ICDAR 2003.
    """
    h, w, _ = image.shape
    coarse = jax.random.normal(key, (ELASTIC_GRID, ELASTIC_GRID, 2), image.dtype)
    field = strength * min(h, w) * jax.image.resize(coarse, (h, w, 2), "cubic")
    rows, columns = jnp.meshgrid(jnp.arange(h, dtype=image.dtype), jnp.arange(w, dtype=image.dtype), indexing="ij")
    return bilinear(image, rows + field[..., 0], columns + field[..., 1])


CORRUPTIONS: Final[Mapping[str, Corruption]] = MappingProxyType(
    {
        "elastic": Corruption(
            elastic,
            (0.01, 0.02, 0.03, 0.04, 0.05),
            "standard deviation of the displacement, share of the shorter side",
            "even steps; beyond a twentieth the field begins to fold",
        )
    }
)
"""The shifts of this module, with their levels."""
