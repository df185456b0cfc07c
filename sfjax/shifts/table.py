"""All corruptions by name, and how several in order are one."""

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax import keys
from sfjax.shifts import (
    blur,
    color,
    compression,
    dermoscopy,
    geometry,
    histopathology,
    intensity,
    microscopy,
    noise,
    overlay,
    radiology,
)
from sfjax.shifts.base import Corruption, Shift, Strength

NUM_LEVELS: Final = 5

_MODULES: Final = (
    *(intensity, color, blur, geometry, noise, compression, overlay),
    *(dermoscopy, histopathology, radiology, microscopy),
)

SHIFTS: Final[Mapping[str, Corruption]] = MappingProxyType(
    {name: corruption for module in _MODULES for name, corruption in module.CORRUPTIONS.items()}
)
"""Corruptions of one image with all that is known about them, by the names that tables use."""

STRENGTHS: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType(
    {name: corruption.strengths for name, corruption in SHIFTS.items()}
)
"""Strength of levels 1 to 5, in the unit that the corruption names."""

STUDY_CORRUPTIONS: Final = ("brightness", "motion_blur", "elastic", "gaussian_noise")
"""The study's corruptions that every task has."""

JOINT: Final = "+"


def chain(*parts: tuple[str, float]) -> Shift:
    """Returns the corruption that applies others in order, `(key, image, *, strength) -> image`.

    Its strength is a common factor of the parts' strengths: 1 is as given here, 0 is the image itself. Every part has a
    stream of the key of its own. Nothing is clipped between parts, except where a part needs values in [0, 1].

    Args:
        *parts: Names in `SHIFTS`, each with its strength.

    Raises:
        ValueError: There is no such corruption, or no part.

    Example:
        >>> import jax
        >>> twice = chain(("brightness", 0.5), ("brightness", 1.0))
        >>> float(twice(jax.random.key(0), jnp.full((2, 2, 1), 0.25), strength=1.0)[0, 0, 0])
        0.75
    """
    if not parts:
        raise ValueError("A chain of corruptions needs at least one part, such as ('brightness', 0.25).")
    for name, _ in parts:
        _known(name)

    def shift(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
        for place, (name, own) in enumerate(parts):
            image = SHIFTS[name].shift(keys.stream(key, place, name), image, strength=own * strength)
        return image

    return shift


@functools.cache
def lookup(name: str) -> Corruption:
    """Returns the corruption of a name in `SHIFTS`, or of several joined by `+`, applied in that order.

    The strength of several is a level: at 3 all parts are at their level 3, at 2.5 halfway between levels 2 and 3, at 0
    nothing happens, beyond 5 they stay at level 5.

    Raises:
        ValueError: There is no such corruption, or no number of channels suits all of them.

    Example:
        >>> lookup("motion_blur+gaussian_noise").strengths
        (1.0, 2.0, 3.0, 4.0, 5.0)
    """
    names = name.split(JOINT)
    parts = [_known(part) for part in names]
    if len(parts) == 1:
        return parts[0]
    limits = [set(part.channels) for part in parts if part.channels]
    channels = tuple(sorted(set.intersection(*limits))) if limits else ()
    if limits and not channels:
        raise ValueError(f"The parts of {name} take different numbers of channels, so that no image suits all of them.")

    def shift(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
        level = jnp.asarray(strength, image.dtype)
        levels = jnp.arange(NUM_LEVELS + 1, dtype=image.dtype)
        for place, (part, corruption) in enumerate(zip(names, parts, strict=True)):
            own = jnp.interp(level, levels, jnp.asarray((0.0, *corruption.strengths), image.dtype))
            image = corruption.shift(keys.stream(key, place, part), image, strength=own)
        return image

    named = [part.modalities for part in parts if part.modalities]
    return Corruption(
        shift,
        (1.0, 2.0, 3.0, 4.0, 5.0),
        "level of every part",
        "the parts' levels",
        tuple(modality for modality in dict.fromkeys(sum(named, ())) if all(modality in one for one in named)),
        channels,
    )


def _known(name: str) -> Corruption:
    if name not in SHIFTS:
        raise ValueError(
            f"A corruption must be one of {', '.join(SHIFTS)}, or several of them joined by {JOINT}; it is {name!r}."
        )
    return SHIFTS[name]
