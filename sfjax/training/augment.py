"""Augmentation of one training image, on the device and keyed by image and epoch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax import keys
from sfjax.shifts.blur import motion_blur
from sfjax.shifts.geometry import elastic
from sfjax.shifts.noise import gaussian_noise
from sfjax.shifts.sampling import bilinear

Flips = Literal["none", "horizontal", "all"]

CORRUPTIONS: Final[dict[str, Callable]] = {"elastic": elastic, "motion_blur": motion_blur, "noise": gaussian_noise}
"""Those of the shifts that serve training too, mild and of random strength."""


@dataclass(frozen=True)
class Augmentation:
    """What happens to training images at random. Everything at its neutral value is left out of the program.

    Attributes:
        flips: Mirroring: none, where left and right mean something; horizontal (left and right), or all (also up and
            down, and transposed).
        max_shift: Largest movement along each side, as a share of it.
        max_rotation: Largest turn in degrees, either way.
        area: Least and largest share of the image that is shown, cut out at a random place and enlarged.
        aspect: Largest ratio of how rows and columns are stretched.
        brightness: Largest share by which all intensities rise or fall.
        contrast: Largest share by which differences from the mean intensity grow or shrink.
        saturation: Largest share by which channels move away from their mean or towards it.
        elastic: Largest standard deviation of smooth displacements, as a share of the shorter side.
        motion_blur: Longest movement blur, as a share of the shorter side.
        noise: Largest standard deviation of noise, in units of the full range.
        erase: Largest side of a gray square over a random place, as a share of the shorter side; half of the images
            have one.
    """

    flips: Flips = "horizontal"
    max_shift: float = 0.06
    max_rotation: float = 0.0
    area: tuple[float, float] = (1.0, 1.0)
    aspect: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    elastic: float = 0.0
    motion_blur: float = 0.0
    noise: float = 0.0
    erase: float = 0.0


def check(augmentation: Augmentation) -> None:
    """Raises ValueError where a number is out of its range; the message names it, its range and what was given."""
    one = augmentation
    low, high = one.area
    for name, good, rule in (
        ("max_shift", 0 <= one.max_shift < 0.5, "at least 0 and below 0.5"),
        ("max_rotation", 0 <= one.max_rotation <= 180, "from 0 to 180 degrees"),
        ("area", 0 < low <= high <= 1, "two shares above 0 and up to 1, the smaller first"),
        ("aspect", one.aspect >= 1, "at least 1"),
        *(
            (name, 0 <= getattr(one, name) <= 1, "from 0 to 1")
            for name in ("brightness", "contrast", "saturation", "elastic", "motion_blur", "noise", "erase")
        ),
    ):
        if not good:
            raise ValueError(f"{name} must be {rule}; got {getattr(one, name)}.")


def augment(key: Key[Array, ""], image: Float[Array, "h w k"], augmentation: Augmentation) -> Float[Array, "h w k"]:
    """Returns the image as it is shown in one epoch, with edges repeated where it moved, clipped to [0, 1].

    Args:
        key: Draws what happens.
        image: One image, in [0, 1].
        augmentation: What may happen.
    """
    image = _flip(keys.stream(key, "flip"), image, augmentation.flips)
    if augmentation.max_rotation == 0 and augmentation.area == (1.0, 1.0) and augmentation.aspect == 1:
        image = _move(keys.stream(key, "shift"), image, augmentation.max_shift)
    else:
        image = _warp(keys.stream(key, "warp"), image, augmentation)
    for name, corruption in CORRUPTIONS.items():
        if (most := getattr(augmentation, name)) > 0:
            strength_key, own_key = jax.random.split(keys.stream(key, name))
            strength = jax.random.uniform(strength_key, (), image.dtype, 0, most)
            image = corruption(own_key, image, strength=strength)
    for name, center in (("brightness", None), ("contrast", (0, 1, 2)), ("saturation", 2)):
        if (most := getattr(augmentation, name)) > 0:
            factor = 1 + jax.random.uniform(keys.stream(key, name), (), image.dtype, -most, most)
            middle = jnp.zeros_like(image) if center is None else image.mean(center, keepdims=True)
            middle = jnp.broadcast_to(middle, image.shape)
            image = middle + factor * (image - middle)
    if augmentation.erase > 0:
        image = _erase(keys.stream(key, "erase"), image, augmentation.erase)
    return jnp.clip(image, 0, 1)


def _flip(key: Array, image: Array, flips: Flips) -> Array:
    horizontal, vertical, transpose = jax.random.bernoulli(key, shape=(3,))
    if flips != "none":
        image = jnp.where(horizontal, image[:, ::-1], image)
    if flips == "all":
        image = jnp.where(vertical, image[::-1], image)
        if image.shape[0] == image.shape[1]:
            image = jnp.where(transpose, image.swapaxes(0, 1), image)
    return image


def _move(key: Array, image: Array, most: float) -> Array:
    """Returns the image moved by whole pixels, which no interpolation blurs."""
    border = tuple(int(most * side) for side in image.shape[:2])
    padded = jnp.pad(image, ((border[0],) * 2, (border[1],) * 2, (0, 0)), mode="edge")
    start = jax.random.randint(key, (2,), 0, 2 * jnp.array(border, jnp.int32) + 1, jnp.int32)
    return jax.lax.dynamic_slice(padded, (start[0], start[1], jnp.zeros_like(start[0])), image.shape)


def _warp(key: Array, image: Array, augmentation: Augmentation) -> Array:
    """Returns a turned, stretched and moved cut-out of the image, enlarged to its size."""
    h, w, _ = image.shape
    draw = jax.random.uniform(key, (6,), image.dtype)
    angle = jnp.deg2rad(augmentation.max_rotation * (2 * draw[0] - 1))
    low, high = augmentation.area
    shown, ratio = jnp.sqrt(low + (high - low) * draw[1]), augmentation.aspect ** (draw[2] - 0.5)
    scale = jnp.minimum(jnp.stack([shown * ratio, shown / ratio]), 1)
    # A cut-out lies anywhere within the image, and all of it may move on top of that.
    center = (2 * draw[3:5] - 1) * ((1 - scale) / 2 + augmentation.max_shift) * jnp.array([h, w], image.dtype)
    rows, columns = jnp.meshgrid(
        jnp.arange(h, dtype=image.dtype) - (h - 1) / 2, jnp.arange(w, dtype=image.dtype) - (w - 1) / 2, indexing="ij"
    )
    rows, columns = scale[0] * rows, scale[1] * columns
    return bilinear(
        image,
        jnp.cos(angle) * rows - jnp.sin(angle) * columns + center[0] + (h - 1) / 2,
        jnp.sin(angle) * rows + jnp.cos(angle) * columns + center[1] + (w - 1) / 2,
    )


def _erase(key: Array, image: Array, most: float) -> Array:
    h, w, _ = image.shape
    draw = jax.random.uniform(key, (4,), image.dtype)
    half = jnp.where(draw[0] < 0.5, 0, most * min(h, w) * draw[1] / 2)
    rows = jnp.abs(jnp.arange(h, dtype=image.dtype) - draw[2] * h) < half
    columns = jnp.abs(jnp.arange(w, dtype=image.dtype) - draw[3] * w) < half
    return jnp.where((rows[:, None] & columns[None])[..., None], 0.5, image)
