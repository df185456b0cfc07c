"""Shifts of how images are stored: lossy compression and lost resolution.

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
from sfjax.shifts.sampling import along_both_axes

LUMINANCE_STEPS: Final = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
"""Quantization steps of the standard's Annex K at quality 50, rows by vertical frequency."""

CHROMINANCE_STEPS: Final = np.full((8, 8), 99)
CHROMINANCE_STEPS[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

_YCBCR: Final = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
_RGB: Final = np.linalg.inv(_YCBCR)

HALVED_FROM: Final = 0.2
"""Strength (quality 90) from which on color has half of the resolution; below, it loses it gradually."""


def jpeg(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image after JPEG compression: cosines of squares of 8 pixels, rounded to multiples of a step.

    Three channels are taken for red, green and blue, whose color is stored at half the resolution (4:2:0). Any other
    number of channels is so many grey images. Results are not rounded to 8 bits.

    Args:
        key: Not used.
        image: Taken to [0, 1] first.
        strength: Factor of the standard's quantization steps: 50 / quality for qualities up to 50, and
            2 - quality / 50 above; 0 is no compression, 1 is quality 50, 5 is quality 10.

    References:
        Wallace, The JPEG still picture compression standard, Communications of the ACM 1991.
    """
    del key
    h, w, k = image.shape
    # Filled up by repeated edges to whole squares, of 16 pixels where color is halved.
    padded = jnp.pad(jnp.clip(image, 0, 1), ((0, -h % 16), (0, -w % 16), (0, 0)), mode="edge") * 255
    if k != 3:
        return _quantized(padded - 128, LUMINANCE_STEPS, strength)[:h, :w] / 255 + 128 / 255
    planes = _mixed(padded, _YCBCR)
    color = planes[..., 1:]
    halved = color.reshape(color.shape[0] // 2, 2, color.shape[1] // 2, 2, 2).mean((1, 3))
    lost = jnp.minimum(strength / HALVED_FROM, 1)
    stored = _doubled(_quantized(halved, CHROMINANCE_STEPS, strength)) + (1 - lost) * (color - _doubled(halved))
    grey = _quantized(planes[..., :1] - 128, LUMINANCE_STEPS, strength) + 128
    return _mixed(jnp.concatenate([grey, stored], axis=-1), _RGB)[:h, :w] / 255


def pixelation(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image in squares of one color each, the mean over the square.

    Strength speaks of the image's own resolution and not of shares of its side: compared with an image of 224 pixels,
    one of 28 is made of squares already.

    Args:
        key: Not used.
        image: Values in [0, 1].
        strength: Share of the rows and columns that is lost, below 1; 0.75 makes squares of 4 pixels.
    """
    del key

    def means(n: int) -> Float[Array, "n n"]:
        square = jnp.floor((jnp.arange(n, dtype=image.dtype) + 0.5) * (1 - strength))
        same = (square[:, None] == square[None, :]).astype(image.dtype)
        return same / same.sum(1, keepdims=True)

    return along_both_axes(image, means(image.shape[0]), means(image.shape[1]))


def _quantized(planes: Float[Array, "h w c"], steps: np.ndarray, strength: Strength) -> Float[Array, "h w c"]:
    """Returns planes of whole squares of 8 with the cosines of each square rounded to multiples of their step."""
    h, w, c = planes.shape
    squares = planes.reshape(h // 8, 8, w // 8, 8, c).transpose(0, 2, 4, 1, 3).reshape(-1, 64)
    # Both directions as one product with 64 x 64: products of matrices of 8 are slow. Steps end at 255, as in files.
    # The least one is there so that strength 0 divides by something; it changes nothing that is seen.
    step = jnp.clip(strength * jnp.asarray(steps.ravel(), planes.dtype), 1e-4, 255)[None]
    cosines = jnp.asarray(_COSINES_OF_A_SQUARE, planes.dtype)
    coefficients = jnp.round(jnp.matmul(squares, cosines.T, precision="highest") / step) * step
    restored = jnp.matmul(coefficients, cosines, precision="highest")
    return restored.reshape(h // 8, w // 8, c, 8, 8).transpose(0, 3, 1, 4, 2).reshape(h, w, c)


def _cosines_of_a_square() -> np.ndarray:
    waves = np.cos(np.pi * np.outer(np.arange(8), np.arange(8) + 0.5) / 8)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    return np.kron(waves, waves)


_COSINES_OF_A_SQUARE: Final = _cosines_of_a_square()


def _mixed(planes: Float[Array, "h w 3"], weights: np.ndarray) -> Float[Array, "h w 3"]:
    """Returns three linear combinations of three planes."""
    first, second, third = planes[..., 0], planes[..., 1], planes[..., 2]
    return jnp.stack([a * first + b * second + c * third for a, b, c in weights.tolist()], axis=-1)


def _doubled(planes: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
    """Returns planes with twice the rows and columns, linear in between as decoders do it."""
    for axis in (0, 1):
        padded = jnp.pad(planes, [(int(axis == at), int(axis == at)) for at in range(3)], mode="edge")
        before, after = (jax.lax.slice_in_dim(padded, at, at + planes.shape[axis], axis=axis) for at in (0, 2))
        both = jnp.stack([0.75 * planes + 0.25 * before, 0.75 * planes + 0.25 * after], axis + 1)
        planes = both.reshape(*planes.shape[:axis], -1, *planes.shape[axis + 1 :])
    return planes


CORRUPTIONS: Final[Mapping[str, Corruption]] = MappingProxyType(
    {
        "jpeg": Corruption(
            jpeg,
            tuple(round(50 / quality, 3) for quality in (25, 18, 15, 10, 7)),
            "factor of the quantization steps, 1 is quality 50",
            "ImageNet-C: qualities 25, 18, 15, 10 and 7",
        ),
        "pixelation": Corruption(
            pixelation,
            (0.4, 0.5, 0.6, 0.7, 0.75),
            "share of rows and columns that is lost",
            "ImageNet-C: 0.6, 0.5, 0.4, 0.3 and 0.25 of the resolution",
        ),
    }
)
"""The shifts of this module, with their levels."""
