"""Shifts of images as pure functions: the corruptions, their levels, and `apply` for batches."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32

from sfjax import keys
from sfjax.shifts.corruptions import brightness, elastic, gaussian_noise, motion_blur
from sfjax.shifts.severity import NUM_LEVELS, STRENGTHS

Shift = Callable[..., Float[Array, "h w k"]]

SHIFTS: Final[Mapping[str, Shift]] = MappingProxyType(
    {"brightness": brightness, "motion_blur": motion_blur, "elastic": elastic, "gaussian_noise": gaussian_noise}
)
"""Corruptions of one image, `(key, image, *, strength) -> image`, by the names that tables use."""


def apply(
    name: str,
    key: Key[Array, ""],
    images: Float[Array, "n h w k"],
    image_ids: UInt32[Array, " n"],
    *,
    level: int,
) -> Float[Array, "n h w k"]:
    """Returns the images under a corruption, clipped to [0, 1].

    What happens to an image depends on `key`, the corruption's name and the image's id; not on its batch-mates, and the
    levels of one corruption share their random numbers, so that a strip of levels shows one movement growing.

    Args:
        name: A name in `SHIFTS`.
        key: The stream of all corruptions.
        images: Values in [0, 1].
        image_ids: One number an image, from its content.
        level: 1 to 5.

    Raises:
        ValueError: There is no such corruption or level.
    """
    if name not in SHIFTS:
        raise ValueError(f"A corruption must be one of {', '.join(SHIFTS)}, and it is {name!r}.")
    if not 1 <= level <= NUM_LEVELS:
        raise ValueError(f"A level must be from 1 to {NUM_LEVELS}, and it is {level}.")
    image_keys = keys.per_image(keys.stream(key, name), image_ids)
    return _apply(SHIFTS[name], image_keys, images, jnp.asarray(STRENGTHS[name][level - 1], images.dtype))


@functools.partial(jax.jit, static_argnums=0)
def _apply(shift: Shift, image_keys: Array, images: Array, strength: Array) -> Array:
    shifted = jax.vmap(lambda key, image: shift(key, image, strength=strength))(image_keys, images)
    return jnp.clip(shifted, 0, 1)


__all__ = [
    "NUM_LEVELS",
    "SHIFTS",
    "STRENGTHS",
    "Shift",
    "apply",
    "brightness",
    "elastic",
    "gaussian_noise",
    "motion_blur",
]
