"""What the phantoms are drawn with: shapes, textures, marks and the faults of cameras.

Coordinates are relative: both axes of an image run from -1 to 1 whatever its size, rows downwards, and a length is a
share of half the usual field of view. The same dice draw the same structure at every size, only finer. Fields are
float32 of shape (h, w) or (h, w, k), and nothing is clipped before the image leaves its renderer.

A `zoom` of z, from 1 up, shows the middle of the scene z times as large: the image's axes then run from -1/z to 1/z.
None is the usual field, in whose program no zoom occurs: an image of it has the same bits with and without this choice.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt32

Scalar = Float[Array, ""] | float
Field = Float[Array, "h w"]
Image = Float[Array, "h w k"]


def grid(size: int, zoom: Scalar | None = None) -> tuple[Field, Field]:
    """Returns the rows' and the columns' coordinates of the pixel centers, both (size, size), in (-1, 1) unless zoomed.

    Example:
        >>> y, x = grid(2)
        >>> y.tolist(), x.tolist()
        ([[-0.5, -0.5], [0.5, 0.5]], [[-0.5, 0.5], [-0.5, 0.5]])
    """
    axis = _axis(size, zoom)
    y, x = jnp.meshgrid(axis, axis, indexing="ij")
    return y, x


def _axis(size: int, zoom: Scalar | None) -> Float[Array, " size"]:
    usual = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (2.0 / size) - 1.0
    return usual if zoom is None else usual / zoom


def _pixel(size: int, zoom: Scalar | None) -> Scalar:
    """Returns the side of a pixel."""
    return 2.0 / size if zoom is None else 2.0 / size / zoom


def local(y: Field, x: Field, cy: Scalar, cx: Scalar, angle: Scalar) -> tuple[Field, Field]:
    """Returns the coordinates of the same pixels seen from (cy, cx) and turned by `angle` radians."""
    dy, dx = y - cy, x - cx
    c, s = jnp.cos(angle), jnp.sin(angle)
    return c * dy - s * dx, s * dy + c * dx


def soft(level: Field, width: Scalar) -> Field:
    """Returns 1 where `level` is above 0 and 0 below, with an edge about `width` wide (in the unit of `level`)."""
    return jax.nn.sigmoid(level * (4.0 / width))


def mix(low: Array, high: Array, share: Array) -> Array:
    """Returns `low` where `share` is 0, `high` where it is 1 and what lies between elsewhere.

    A share of shape (h, w) also blends images and colors of k channels.
    """
    share = share[..., None] if 0 < share.ndim < max(low.ndim, high.ndim) else share
    return low + (high - low) * share


def color(*rgb: float) -> Image:
    """Returns one color as an image of one pixel, which broadcasts to any size."""
    return jnp.asarray(rgb, jnp.float32)[None, None, :]


def _normal(bits: UInt32[Array, "..."]) -> Float[Array, "..."]:
    """Returns about standard normal numbers: the sum of the four bytes of each word, within 3.45 deviations."""
    # A quarter of the time of the inverse error function, which is most of what a noisy image costs.
    total = (bits & 255) + ((bits >> 8) & 255) + ((bits >> 16) & 255) + (bits >> 24)
    return (total.astype(jnp.float32) - 510.0) / 147.8


class Dice:
    """Random numbers, handed out in turn from one draw.

    One draw for all the shapes of an image compiles ten times faster than one for each of them. A zoom changes where
    the numbers are seen, and none of them.
    """

    def __init__(self, key: Key[Array, ""], count: int, zoom: Scalar | None = None):
        self.zoom = zoom
        self._bits = jax.random.bits(key, (count,), jnp.uint32)
        self._used = 0

    def _take(self, *shape: int) -> UInt32[Array, "..."]:
        first, self._used = self._used, self._used + math.prod(shape)
        if self._used > self._bits.size:
            raise ValueError(f"These dice have {self._bits.size} numbers and {self._used} are asked for. Make more.")
        return self._bits[first : self._used].reshape(shape)

    def normal(self, *shape: int) -> Float[Array, "..."]:
        """Returns the next numbers of about a standard normal law, in `shape`."""
        return _normal(self._take(*shape))

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Float[Array, "..."]:
        """Returns the next numbers of a uniform law in [low, high), in `shape`."""
        return low + (high - low) * ((self._take(*shape) >> 8).astype(jnp.float32) * 2.0**-24)

    def noise(self, size: int, cells: int, octaves: int = 1) -> Field:
        """Returns a smooth random field of zero mean and unit standard deviation, shape (size, size).

        Args:
            size: Pixels a side.
            cells: Random values a side of the coarsest layer: the higher, the finer.
            octaves: Number of layers, each twice as fine and half as strong as the one before.
        """
        total, power = jnp.zeros((size, size), jnp.float32), 0.0
        for octave in range(octaves):
            weights = _weights_of_values(size, cells * 2**octave, self.zoom)
            side = weights.shape[1]
            total += 0.5**octave * (weights @ self.normal(side, side) @ weights.T)
            power += 0.25**octave
        return total / power**0.5


def _weights_of_values(size: int, cells: int, zoom: Scalar | None) -> Float[Array, "size values"]:
    """Returns the weights of random values on a lattice, one beyond either end, in a smooth row of pixels."""
    if zoom is None:
        return jnp.asarray(_usual_weights(size, cells))
    pixel = (_axis(size, zoom) + 1.0) * (0.5 * cells)
    value = jnp.arange(-1, cells + 1, dtype=jnp.float32) + 0.5
    weights = jnp.exp(-0.5 * ((pixel[:, None] - value[None, :]) / 0.62) ** 2)
    return weights / jnp.sqrt((weights**2).sum(1, keepdims=True))


@functools.cache
def _usual_weights(size: int, cells: int) -> Float[np.ndarray, "size values"]:
    """Returns those of the usual field, in the program a constant."""
    pixel = (np.arange(size) + 0.5) / size * cells
    value = np.arange(-1, cells + 1) + 0.5
    weights = np.exp(-0.5 * ((pixel[:, None] - value[None, :]) / 0.62) ** 2)
    return (weights / np.sqrt((weights**2).sum(1, keepdims=True))).astype(np.float32)  # unit variance in every pixel


def star(dice: Dice, y: Field, x: Field, radius: Scalar, irregularity: Scalar, *, modes: int = 6) -> Field:
    """Returns the level of a round shape with a wavy border: 1 in its middle, 0 on the border, negative outside.

    Args:
        dice: Where the waves of the border come from.
        y: Rows, seen from the shape's center.
        x: Columns, seen from the shape's center.
        radius: Mean radius of the border, above 0.
        irregularity: Standard deviation of the border's radius as a share of `radius`; 0 is a circle.
        modes: Number of Fourier modes of the border, from two waves a turn on.
    """
    r = jnp.sqrt(y * y + x * x) + 1e-6
    c, s = x / r, y / r
    weights = dice.normal(modes, 2)
    wave, real, imaginary, power = jnp.zeros_like(r), c, s, 0.0
    for m in range(modes):  # cos and sin of one more multiple of the angle in each turn, without trigonometry
        real, imaginary = real * c - imaginary * s, real * s + imaginary * c
        wave += (weights[m, 0] * real + weights[m, 1] * imaginary) / (m + 1.0)
        power += 1.0 / (m + 1.0) ** 2
    return 1.0 - r / (radius * jnp.maximum(1.0 + irregularity * wave / power**0.5, 0.3))


def spots(cy: Float[Array, " m"], cx: Float[Array, " m"], radius: Float[Array, " m"], height: Float[Array, " m"],
          size: int, zoom: Scalar | None = None) -> Field:  # fmt: skip
    """Returns the sum of m round Gaussian spots, shape (size, size).

    Args:
        cy: Rows of the centers.
        cx: Columns of the centers.
        radius: Standard deviations, above 0.
        height: Values in the centers.
        size: Pixels a side.
        zoom: As of `grid`.
    """
    axis = _axis(size, zoom)
    rows = height[:, None] * jnp.exp(-0.5 * ((axis[None, :] - cy[:, None]) / radius[:, None]) ** 2)
    columns = jnp.exp(-0.5 * ((axis[None, :] - cx[:, None]) / radius[:, None]) ** 2)
    return rows.T @ columns  # a round Gaussian is a product of one along the rows and one along the columns


def strokes(
    y: Field,
    x: Field,
    segments: Float[Array, "m 4"],
    width: Float[Array, " m"],
    *,
    taper: float = 0.0,
    zoom: Scalar | None = None,
) -> Field:
    """Returns how far each pixel is covered by m straight strokes with round ends, in [0, 1].

    Args:
        y: Rows.
        x: Columns.
        segments: From where to where: y, x, y, x.
        width: Full widths at the start. A stroke thinner than a pixel grows pale instead of vanishing.
        taper: Share of the width that is lost towards the end, in [0, 1].
        zoom: As of `grid`.
    """
    pixel = _pixel(y.shape[0], zoom)

    # One after another: a CPU takes a third of the time of a maximum over all strokes at once.
    def draw(covered: Field, stroke: tuple[Float[Array, " 4"], Float[Array, ""]]) -> tuple[Field, None]:
        (ay, ax, by, bx), full = stroke
        dy, dx, py, px = by - ay, bx - ax, y - ay, x - ax
        along = jnp.clip((py * dy + px * dx) / (dy * dy + dx * dx + 1e-9), 0.0, 1.0)
        distance = jnp.sqrt((py - along * dy) ** 2 + (px - along * dx) ** 2 + 1e-12)
        here = full * (1.0 - taper * along)
        coverage = jnp.clip((0.5 * here - distance) / pixel + 0.5, 0.0, 1.0) * jnp.minimum(1.0, here / pixel)
        return jnp.maximum(covered, coverage), None

    return jax.lax.scan(draw, jnp.zeros_like(y), (segments, width))[0]


def arcs(
    dice: Dice, y: Field, x: Field, shown: Float[Array, " m"], *, bend: float, width: float, zoom: Scalar | None = None
) -> Field:
    """Returns how far each pixel is covered by m long bent threads (hairs, cables) strewn at random, in [0, 1].

    Args:
        dice: Where their places come from.
        y: Rows.
        x: Columns.
        shown: How opaque each is, in [0, 1].
        bend: Standard deviation of the curvature.
        width: Full width, above 0.
        zoom: As of `grid`.
    """
    pixel = _pixel(y.shape[0], zoom)
    faded = min(1.0, width / pixel) if isinstance(pixel, float) else jnp.minimum(1.0, width / pixel)
    m = shown.shape[0]
    center = dice.uniform(m, 2, low=-1.1, high=1.1)
    angle = dice.uniform(m, high=math.pi)
    curvature = bend * dice.normal(m)

    def draw(covered: Field, thread: tuple[Array, Array, Array, Array]) -> tuple[Field, None]:
        (cy, cx), turn, curve, opacity = thread
        along, across = local(y, x, cy, cx, turn)
        distance = jnp.abs(across - curve * along * along)
        inside = jax.nn.sigmoid((0.9 - jnp.abs(along)) * 30.0)
        coverage = jnp.clip((0.5 * width - distance) / pixel + 0.5, 0.0, 1.0) * faded
        return jnp.maximum(covered, coverage * inside * opacity), None

    return jax.lax.scan(draw, jnp.zeros_like(y), (center, angle, curvature, shown))[0]


LETTERS = {
    "L": ((-1, -0.6, 1, -0.6), (1, -0.6, 1, 0.6)),
    "R": ((-1, -0.6, 1, -0.6), (-1, -0.6, -1, 0.4), (-1, 0.4, 0, 0.4), (0, 0.4, 0, -0.6), (0, -0.2, 1, 0.6)),
    "A": ((1, -0.7, -1, 0), (-1, 0, 1, 0.7), (0.3, -0.4, 0.3, 0.4)),
    "P": ((-1, -0.6, 1, -0.6), (-1, -0.6, -1, 0.5), (-1, 0.5, 0, 0.5), (0, 0.5, 0, -0.6)),
}
"""The strokes of the letters that mark radiographs: y, x, y, x in a box two high and two wide."""


def text(word: str, y: Field, x: Field, cy: Scalar, cx: Scalar, height: float) -> Field:
    """Returns how far each pixel is covered by `word`, written in `LETTERS` around (cy, cx), in [0, 1]."""
    half = height / 2
    lines = [
        (top, left + 1.8 * place, bottom, right + 1.8 * place)
        for place, letter in enumerate(word)
        for top, left, bottom, right in LETTERS[letter]
    ]
    segments = jnp.asarray(lines, jnp.float32) * half
    middle = 0.9 * (len(word) - 1) * half
    start = jnp.stack([jnp.asarray(v, jnp.float32) for v in (cy, cx - middle, cy, cx - middle)])
    return strokes(y, x, segments + start[None, :], jnp.full((len(lines),), 0.18 * height, jnp.float32))


def blur(image: Image, sigma: Scalar) -> Image:
    """Returns `image` blurred by a Gaussian.

    Args:
        image: The image.
        sigma: Standard deviation, in the coordinates' unit; below a fifth of a pixel nothing changes.
    """
    size = image.shape[0]
    axis = jnp.arange(size, dtype=jnp.float32) * (2.0 / size)
    distance = axis[:, None] - axis[None, :]
    kernel = jnp.exp(-0.5 * (distance / jnp.maximum(sigma, 0.2 / size)) ** 2)
    kernel = kernel / kernel.sum(1, keepdims=True)  # the border loses no light
    return jnp.einsum("ij,jwk,vw->ivk", kernel, image, kernel)


def vignette(y: Field, x: Field, radius: Scalar, softness: Scalar) -> Field:
    """Returns 1 inside the circle of `radius` around the middle and 0 outside, over a border `softness` wide."""
    return soft(radius - jnp.sqrt(y * y + x * x), softness)


def sensor(key: Key[Array, ""], image: Image, sigma: Scalar) -> Image:
    """Returns `image` as a sensor reads it: with noise of standard deviation `sigma`, more in the light.

    Args:
        key: The noise's key.
        image: The image, about in [0, 1].
        sigma: Standard deviation at the value 1; at 0 it is 0.55 of that.
    """
    gain = jnp.sqrt(0.3 + 0.7 * jnp.clip(image, 0.0, 1.0))
    return image + sigma * gain * _normal(jax.random.bits(key, image.shape, jnp.uint32))
