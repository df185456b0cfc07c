"""Shifts of images as pure functions: the corruptions, their levels, and `apply` for batches.

A corruption is `(key, image, *, strength) -> image` for one image: float, shape (h, w, k), values in [0, 1], from 28
pixels a side, with any number of channels unless `Corruption.channels` names some. All of them keep this:

- At strength 0 the image comes back as it is, and from there it changes without a jump.
- Strength is traced: one compilation serves all strengths.
- A key means the same at all strengths, so that one movement grows.
- Lengths are shares of the image's shorter side, so that a level means the same at any size.
- Results are not clipped, so that corruptions chain without loss: who ends the chain clips, as `apply` does. Where an
  operation needs values in [0, 1] it clips what it is given, and says so.

The strengths of the study's corrupted images were never published. One could be measured from stored figures: its
brighter dermoscopy images are the clean ones times 1.25. That is level 1 of `brightness`. Where the other levels come
from stands in `Corruption.source`; what they do to images is measured in `docs/shifts.md`.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32

from sfjax import keys
from sfjax.shifts.base import Corruption, Shift
from sfjax.shifts.table import NUM_LEVELS, SHIFTS, STRENGTHS, STUDY_CORRUPTIONS, chain, lookup


def apply(
    name: str,
    key: Key[Array, ""],
    images: Float[Array, "n h w k"],
    image_ids: UInt32[Array, " n"],
    *,
    level: int | None = None,
    strength: float | None = None,
) -> Float[Array, "n h w k"]:
    """Returns the images under a corruption, clipped to [0, 1].

    What happens to an image depends on `key`, the corruption's name and the image's id; not on its batch-mates, and the
    levels of one corruption share their random numbers, so that a strip of levels shows one movement growing.

    Args:
        name: A name in `SHIFTS`, or several joined by `+`, applied in that order.
        key: The stream of all corruptions.
        images: Values in [0, 1].
        image_ids: One number an image, from its content.
        level: 1 to 5.
        strength: Instead of a level, a strength in the corruption's unit, from 0; of several, a level between levels.

    Raises:
        ValueError: There is no such corruption, level or strength, it does not suit the images' channels, or images are
            no floats.
    """
    corruption = lookup(name)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"A corruption needs images of floats from 0 to 1; got {images.dtype}. Divide by its largest.")
    channels = images.shape[-1]
    if corruption.channels and channels not in corruption.channels:
        suited = " or ".join(map(str, corruption.channels))
        raise ValueError(f"The corruption {name} needs images with {suited} channels, and these have {channels}.")
    if (level is None) == (strength is None):
        raise ValueError(f"A corruption needs a level or a strength, one of the two; got {level=}, {strength=}.")
    if level is not None:
        if not 1 <= level <= NUM_LEVELS:
            raise ValueError(f"A level must be from 1 to {NUM_LEVELS}, and it is {level}.")
        strength = corruption.strengths[level - 1]
    elif strength is not None and not (strength >= 0 and math.isfinite(strength)):
        raise ValueError(f"A strength must be a number from 0, and it is {strength}.")
    image_keys = keys.per_image(keys.stream(key, name), image_ids)
    return _apply(corruption.shift, image_keys, images, jnp.asarray(strength, images.dtype))


@functools.partial(jax.jit, static_argnums=0)
def _apply(shift: Shift, image_keys: Array, images: Array, strength: Array) -> Array:
    shifted = jax.vmap(lambda key, image: shift(key, image, strength=strength))(image_keys, images)
    return jnp.clip(shifted, 0, 1)


__all__ = [
    "NUM_LEVELS",
    "SHIFTS",
    "STRENGTHS",
    "STUDY_CORRUPTIONS",
    "Corruption",
    "Shift",
    "apply",
    "chain",
    "lookup",
]
