"""Shifts of sharpness: movement, lenses out of focus, smoothing.

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

LONGEST_BLUR = 0.25
"""Share of the shorter side; fixes the border that motion blur needs, which must be known when compiling."""
BLUR_TAPS = 15
LARGEST_DISK = 0.1
"""Share of the shorter side; fixes how many pixels a point can reach out of focus."""


def motion_blur(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the mean of the image along a straight movement in a random direction, with edges repeated.

    Args:
        key: Draws the direction.
        image: Values in [0, 1].
        strength: Length of the movement as a share of the shorter side, at most `LONGEST_BLUR`; more is taken as that.
    """
    h, w, _ = image.shape
    side = min(h, w)
    border = int(LONGEST_BLUR * side / 2) + 2
    padded = jnp.pad(image, ((border, border), (border, border), (0, 0)), mode="edge")
    angle = jax.random.uniform(key, (), image.dtype, 0, jnp.pi)
    length = jnp.minimum(strength, LONGEST_BLUR) * side
    direction = length * jnp.stack([jnp.sin(angle), jnp.cos(angle)])

    def shifted(position: Float[Array, ""]) -> Float[Array, "h w k"]:
        offset = direction * position
        whole = jnp.floor(offset)
        dy, dx = offset - whole
        top, left = (whole.astype(jnp.int32) + border).astype(jnp.int32)
        window = jax.lax.dynamic_slice(padded, (top, left, 0), (h + 1, w + 1, image.shape[2]))
        rows = window[:-1] + dy * (window[1:] - window[:-1])
        return rows[:, :-1] + dx * (rows[:, 1:] - rows[:, :-1])

    # Unrolled: XLA fuses the taps into one pass over the image, which a loop would not.
    return (
        sum((shifted(position) for position in jnp.linspace(-0.5, 0.5, BLUR_TAPS)), jnp.zeros_like(image)) / BLUR_TAPS
    )


def gaussian_blur(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image after diffusion, which is blur by a Gaussian on the pixels' grid, with mirrored edges.

    The kernel has the variance that is asked for even where that is a fraction of a pixel, where a sampled Gaussian has
    none. The mean of the image stays.

    Args:
        key: Not used.
        image: Values in [0, 1].
        strength: Standard deviation of the Gaussian, as a share of the shorter side.

    References:
        Lindeberg, Scale-space for discrete signals, IEEE TPAMI 1990.
    """
    del key
    h, w, _ = image.shape
    variance = (jnp.asarray(strength, image.dtype) * min(h, w)) ** 2

    def diffusion(n: int) -> Float[Array, "n n"]:
        basis = jnp.asarray(_cosines(n), image.dtype)
        decay = jnp.exp(variance * jnp.asarray(np.cos(_frequencies(n)) - 1, image.dtype))
        return jnp.matmul(basis.T * decay[None, :], basis, precision="highest")

    return along_both_axes(image, diffusion(h), diffusion(w))


def defocus(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the mean of the image over a disk around each pixel, linear between pixels, with mirrored edges.

    Computed as a product of cosine transforms, in which any even kernel is one factor a frequency. The mean of the
    image stays.

    Args:
        key: Not used.
        image: Values in [0, 1].
        strength: Radius of the disk as a share of the shorter side, at most `LARGEST_DISK`; more is taken as that.
    """
    del key
    h, w, _ = image.shape
    side = min(h, w)
    radius = jnp.minimum(jnp.asarray(strength, image.dtype), LARGEST_DISK) * side
    reach = int(LARGEST_DISK * side) + 2
    pixels = jnp.arange(reach, dtype=image.dtype)
    # Points that fill a disk evenly, about four a pixel; by symmetry one quadrant stands for all.
    count = 64 + 4 * reach**2
    place, turn = np.sqrt((np.arange(count) + 0.5) / count), np.arange(count) * np.pi * (3 - np.sqrt(5))
    points = [jnp.asarray(np.abs(place * of(turn)), image.dtype) for of in (np.sin, np.cos)]
    rows, columns = (jnp.maximum(1 - jnp.abs(radius * at[:, None] - pixels[None, :]), 0) for at in points)
    kernel = jnp.matmul(rows.T, columns, precision="highest") / count
    waves = [jnp.asarray(np.cos(np.outer(_frequencies(n), np.arange(reach))), image.dtype) for n in (h, w)]
    response = jnp.matmul(jnp.matmul(waves[0], kernel, precision="highest"), waves[1].T, precision="highest")
    bases = [jnp.asarray(_cosines(n), image.dtype) for n in (h, w)]
    spectrum = along_both_axes(image, *bases)
    # The difference from the image, so that strength 0 is the image itself.
    return image + along_both_axes(spectrum * (response - 1)[..., None], bases[0].T, bases[1].T)


def _frequencies(n: int) -> np.ndarray:
    """Returns the angles a pixel of the n cosines that are even about the edges of a row of n pixels."""
    return np.pi * np.arange(n) / n


def _cosines(n: int) -> np.ndarray:
    """Returns those cosines as rows of an orthogonal matrix (the type 2 discrete cosine transform)."""
    waves = np.cos(np.outer(_frequencies(n), np.arange(n) + 0.5))
    return waves / np.linalg.norm(waves, axis=1, keepdims=True)


CORRUPTIONS: Final[Mapping[str, Corruption]] = MappingProxyType(
    {
        "motion_blur": Corruption(
            motion_blur, (0.05, 0.1, 0.15, 0.2, 0.25), "length, share of the shorter side", "even steps to a quarter"
        ),
        "gaussian_blur": Corruption(
            gaussian_blur,
            tuple(round(sigma / 224, 4) for sigma in (1, 2, 3, 4, 6)),
            "standard deviation, share of the shorter side",
            "ImageNet-C: 1, 2, 3, 4 and 6 of 224 pixels",
        ),
        "defocus": Corruption(
            defocus,
            tuple(round(radius / 224, 4) for radius in (3, 4, 6, 8, 10)),
            "radius of the disk, share of the shorter side",
            "ImageNet-C: 3, 4, 6, 8 and 10 of 224 pixels",
        ),
    }
)
"""The shifts of this module, with their levels."""
