"""Corruptions of one image, `(key, image, *, strength) -> image`.

Images are float, shape (h, w, k), with values in [0, 1] and any number of channels. A corruption at strength 0 returns
the image as it is. Results are not clipped, so that corruptions chain without loss: who ends the chain clips, as
`sfjax.shifts.apply` does. Lengths are shares of the image's shorter side, so that a level means the same at any size.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax.shifts.sampling import bilinear

Strength = Float[Array, ""] | float

LONGEST_BLUR = 0.25
"""Share of the shorter side; fixes the border that motion blur needs, which must be known when compiling."""
BLUR_TAPS = 15
ELASTIC_GRID = 6
"""Displacements are drawn on a grid of this many points a side and are smooth in between."""


def brightness(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image with all intensities multiplied by `1 + strength`.

    Args:
        key: Not used; there so that all corruptions are called alike.
        image: Values in [0, 1].
        strength: At least -1; 0.25 multiplies by 1.25, negative values darken.
    """
    del key
    return image * (1 + strength)


def gaussian_noise(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image plus independent normal noise in every pixel and channel.

    Args:
        key: Draws the noise.
        image: Values in [0, 1].
        strength: Standard deviation, in units of the full range.
    """
    return image + strength * jax.random.normal(key, image.shape, image.dtype)


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
