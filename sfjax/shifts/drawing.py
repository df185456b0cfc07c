"""What artifacts are drawn with: coordinates, soft edges, smooth random fields and blurs.

Coordinates start in the middle of the image, rows downwards, and they and all lengths are shares of the image's shorter
side, so that the same key draws the same artifact at every size. An edge is as soft as a pixel is wide, and what is
thinner than a pixel grows pale instead of vanishing.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

Scalar = Float[Array, ""] | float


def axes(image: Float[Array, "h w k"]) -> tuple[Float[Array, "h 1"], Float[Array, "1 w"], float]:
    """Returns the rows' and the columns' coordinates of the pixel centers, and the width of a pixel.

    Example:
        >>> y, x, pixel = axes(jnp.zeros((2, 4, 1)))
        >>> y.ravel().tolist(), x.ravel().tolist(), pixel
        ([-0.25, 0.25], [-0.75, -0.25, 0.25, 0.75], 0.5)
    """
    h, w, _ = image.shape
    side = min(h, w)
    rows, columns = ((jnp.arange(n, dtype=image.dtype) + (0.5 - n / 2)) / side for n in (h, w))
    return rows[:, None], columns[None, :], 1 / side


def inside(depth: Float[Array, "h w"], pixel: float) -> Float[Array, "h w"]:
    """Returns the share of each pixel that lies inside of a shape, in [0, 1].

    Args:
        depth: Distance of the pixel's center from the shape's border, positive inside.
        pixel: Width of a pixel.
    """
    return jnp.clip(depth * (1 / pixel) + 0.5, 0, 1)


def stroke(distance: Float[Array, "h w"], width: Float[Array, "h w"] | Scalar, pixel: float) -> Float[Array, "h w"]:
    """Returns the share of each pixel that a line covers, in [0, 1]; a line of width 0 covers nothing.

    Args:
        distance: Of the pixel's center from the line's middle, at least 0.
        width: Full width of the line, at least 0.
        pixel: Width of a pixel.
    """
    return inside(jnp.maximum(width, pixel) / 2 - distance, pixel) * jnp.minimum(1, width * (1 / pixel))


def tint(red: float, green: float, blue: float, image: Float[Array, "h w k"]) -> Float[Array, " k"]:
    """Returns a color for the channels of `image`: its mean in every channel unless there are three."""
    k = image.shape[2]
    rgb = (red, green, blue) if k == 3 else ((red + green + blue) / 3,) * k
    return jnp.asarray(rgb, image.dtype)


def smooth_field(key: Key[Array, ""], image: Float[Array, "h w k"], cells: int) -> Float[Array, "h w"]:
    """Returns a smooth random field in the image's height and width, zero mean and unit variance in every pixel.

    Args:
        key: Draws the field.
        image: What the field is for; only its shape and type matter.
        cells: Random values along the shorter side: the higher, the finer.
    """
    h, w, _ = image.shape
    rows, columns = (jnp.asarray(_lattice_weights(n, n * cells / min(h, w)), image.dtype) for n in (h, w))
    values = jax.random.normal(key, (rows.shape[1], columns.shape[1]), image.dtype)
    return rows @ values @ columns.T


def _lattice_weights(size: int, cells: float) -> np.ndarray:
    """Returns the weights of random values on a lattice, one beyond either end, in a row of pixels: (size, values)."""
    pixel = (np.arange(size) + 0.5) / size * cells
    value = np.arange(-1, int(np.ceil(cells)) + 1) + 0.5
    weights = np.exp(-0.5 * ((pixel[:, None] - value[None, :]) / 0.62) ** 2)
    return weights / np.sqrt((weights**2).sum(1, keepdims=True))


def gaussian_taps(sigma: float) -> np.ndarray:
    """Returns the weights of a Gaussian at whole pixels up to three deviations either way, of sum 1.

    Args:
        sigma: Standard deviation in pixels, above 0.
    """
    reach = int(np.ceil(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return taps / taps.sum()


def separable(
    padded: Float[Array, "i j k"], taps: Sequence[float] | np.ndarray, step: int = 1
) -> Float[Array, "h w k"]:
    """Returns the image filtered by the same taps along rows and columns, without the border that the taps need.

    Args:
        padded: The image with a border of `step * (len(taps) - 1) / 2` pixels on all sides.
        taps: An odd number of weights.
        step: Pixels between neighboring taps.
    """
    reach = step * (len(taps) - 1)
    h, w = padded.shape[0] - reach, padded.shape[1] - reach
    # Sums of shifted images: XLA's convolution of single channels takes ten times as long on a CPU.
    rows = sum(float(tap) * padded[step * i : step * i + h] for i, tap in enumerate(taps))
    rows = jax.lax.optimization_barrier(jnp.asarray(rows))  # or the second pass would repeat the first for every tap
    return jnp.asarray(sum(float(tap) * rows[:, step * i : step * i + w] for i, tap in enumerate(taps)))


def padded_by(image: Float[Array, "h w k"], border: int) -> Float[Array, "i j k"]:
    """Returns the image with its edges repeated `border` pixels outwards on all sides."""
    return jnp.pad(image, ((border, border), (border, border), (0, 0)), mode="edge")
