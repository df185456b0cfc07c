"""Shifts of what was put over the image: the letters of side markers.

What a shift keeps is said in `sfjax.shifts`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax.shifts.base import Corruption, Strength

INSET: Final = 0.1
"""Largest distance of a letter from the edges, as a share of the sides."""

_HALF_STROKE: Final = 0.09
_HALF_WIDTH: Final = 0.28
_BOWL: Final = 0.24
"""Of a letter of height 1: half of a stroke's width, of the letter's, and the radius of the R's bowl."""


def letter(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image with a white side marker burned into a corner: an R on the left or an L on the right.

    The sides are those of radiographs, which show patients face to face: the left of the image is the patient's right.

    Args:
        key: Draws the corner and the distances from the edges.
        image: Values in [0, 1].
        strength: Height of the letter as a share of the shorter side, at most 1.
    """
    h, w, _ = image.shape
    side = min(h, w)
    draw = jax.random.uniform(key, (4,), image.dtype)
    right, bottom = draw[0] < 0.5, draw[1] < 0.5
    height = jnp.maximum(jnp.asarray(strength, image.dtype) * side, 1e-3)
    from_edge = 0.5 + _HALF_STROKE

    def center(length: int, half: float, share: Float[Array, ""], far: Array) -> Float[Array, ""]:
        near = half * height + jnp.minimum(INSET * share * length, jnp.maximum(length / 2 - half * height, 0))
        return jnp.where(far, length - near, near)

    # From here on in units of the letter's height, from its center, x to the right and y down.
    y = ((jnp.arange(h, dtype=image.dtype) + 0.5 - center(h, from_edge, draw[2], bottom)) / height)[:, None]
    x = jnp.arange(w, dtype=image.dtype) + 0.5 - center(w, _HALF_WIDTH + _HALF_STROKE, draw[3], right)
    x = (x / height)[None, :]
    distance = jnp.where(right, _to_l(y, x), _to_r(y, x))
    # Edges fall off within a pixel, and a letter thinner than that is as faint as it is thin.
    stroke = _HALF_STROKE * height
    coverage = jnp.clip(stroke - distance * height + 0.5, 0, 1) * jnp.minimum(2 * stroke, 1)
    coverage = jnp.where(jnp.asarray(strength) > 0, coverage, 0)
    return image + coverage[..., None] * (1 - image)


def _to_l(y: Float[Array, "h 1"], x: Float[Array, "1 w"]) -> Float[Array, "h w"]:
    """Returns the distance to the lines of an L."""
    stem = _to_segment(y, x, (-0.5, -_HALF_WIDTH), (0.5, -_HALF_WIDTH))
    return jnp.minimum(stem, _to_segment(y, x, (0.5, -_HALF_WIDTH), (0.5, _HALF_WIDTH)))


def _to_r(y: Float[Array, "h 1"], x: Float[Array, "1 w"]) -> Float[Array, "h w"]:
    """Returns the distance to the lines of an R: stem, leg, and a bowl of two bars and half of a circle."""
    turn = _HALF_WIDTH - _BOWL  # where the bars end and the half circle begins
    waist = 2 * _BOWL - 0.5
    lines = [
        ((-0.5, -_HALF_WIDTH), (0.5, -_HALF_WIDTH)),
        ((-0.5, -_HALF_WIDTH), (-0.5, turn)),
        ((waist, -_HALF_WIDTH), (waist, turn)),
        ((waist, turn - _BOWL / 2), (0.5, _HALF_WIDTH)),
    ]
    distance = jnp.abs(jnp.hypot(y - (_BOWL - 0.5), x - turn) - _BOWL)
    # Left of its center the circle is not there; the bars' ends are nearer to what lies there anyway.
    distance = jnp.where(x < turn, jnp.inf, distance)
    for start, end in lines:
        distance = jnp.minimum(distance, _to_segment(y, x, start, end))
    return distance


def _to_segment(
    y: Float[Array, "h 1"], x: Float[Array, "1 w"], start: tuple[float, float], end: tuple[float, float]
) -> Float[Array, "h w"]:
    """Returns the distance to the line from `start` to `end`, both (y, x)."""
    down, across = end[0] - start[0], end[1] - start[1]
    along = jnp.clip(((y - start[0]) * down + (x - start[1]) * across) / (down**2 + across**2), 0, 1)
    return jnp.hypot(y - start[0] - along * down, x - start[1] - along * across)


CORRUPTIONS: Final[Mapping[str, Corruption]] = MappingProxyType(
    {
        "letter": Corruption(
            letter,
            (0.22, 0.32, 0.39, 0.45, 0.5),
            "height, share of the shorter side",
            "even steps of the area; level 5 is half as high as the image",
            modalities=("chest_xray",),
        )
    }
)
"""The shifts of this module, with their levels."""
