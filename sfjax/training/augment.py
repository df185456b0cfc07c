"""Augmentation of one training image, on the device and keyed by image and epoch."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax import keys

Flips = Literal["none", "horizontal", "all"]


def augment(key: Key[Array, ""], image: Float[Array, "h w k"], *, flips: Flips, shift: float) -> Float[Array, "h w k"]:
    """Returns the image mirrored at random and moved by whole pixels, with edges repeated.

    Args:
        key: Draws what happens.
        image: One image.
        flips: `none` where left and right mean something, as in a chest X-ray; `all` also swaps rows and columns where
            no direction means anything.
        shift: Largest movement as a share of each side.
    """
    horizontal, vertical, transpose = jax.random.bernoulli(keys.stream(key, "flip"), shape=(3,))
    if flips != "none":
        image = jnp.where(horizontal, image[:, ::-1], image)
    if flips == "all":
        image = jnp.where(vertical, image[::-1], image)
        if image.shape[0] == image.shape[1]:
            image = jnp.where(transpose, image.swapaxes(0, 1), image)
    border = tuple(int(shift * side) for side in image.shape[:2])
    padded = jnp.pad(image, ((border[0],) * 2, (border[1],) * 2, (0, 0)), mode="edge")
    start = jax.random.randint(keys.stream(key, "shift"), (2,), 0, 2 * jnp.array(border, jnp.int32) + 1, jnp.int32)
    return jax.lax.dynamic_slice(padded, (start[0], start[1], 0), image.shape)
