"""A phantom's data set: which images there are in which split, and their pixels.

An image depends on the seed, its split and its place in the split, and on nothing else: not on how many images there
are, in its own split or in another.
"""

import functools
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from sfjax.keys import stream
from sfjax.phantoms import chest_xray, dermoscopy, lung_ct, microscopy
from sfjax.phantoms.base import Phantom, sample

PHANTOMS: Final[Mapping[str, Phantom]] = MappingProxyType(
    {module.PHANTOM.name: module.PHANTOM for module in (dermoscopy, chest_xray, microscopy, lung_ct)}
)
"""The tasks by name."""

COUNTS: Final[Mapping[str, int]] = MappingProxyType(
    {"train": 1500, "val": 250, "cal": 250, "iid_test": 500, "acquisition": 300, "manifestation": 300}
)
"""Images in each split, where the two shifted sets go by their kind."""

RETURNS: Final = 0.4
"""Chance that an image in the second or third round of subclasses shows a patient of the first one again."""


def generate(
    name: str, *, seed: int, size: int, counts: Mapping[str, int] | None = None
) -> tuple[UInt8[np.ndarray, "n h w k"], dict[str, np.ndarray]]:
    """Returns the images of a task and, row by row, what each of them shows and why it looks as it does.

    The columns: `label`, `split`, `domain`, `subclass`, `patient_id`, `shift_kind` (text) and for every factor of the
    image a number, `factor_<name>`.

    Args:
        name: A key of `PHANTOMS`.
        seed: The data set's seed, not negative. The same seed gives the same bits on one machine.
        size: Pixels a side.
        counts: Other numbers of images than those in `COUNTS`, by its keys; 0 leaves a split out.

    Raises:
        ValueError: There is no such task or split, or a number is out of its range.
    """
    phantom, numbers = checked(name, seed, size, counts)
    draw = drawer(name, size)
    images = np.empty((sum(numbers.values()), size, size, phantom.channels), np.uint8)
    tables, start = [], 0
    for split, count in numbers.items():
        if count:
            rows = design(phantom, split, count, seed)
            tables.append(draw_split(phantom, split, rows, draw, seed=seed, images=images[start : start + count]))
        start += count
    return images, {column: np.concatenate([table[column] for table in tables]) for column in tables[0]}


def draw_split(
    phantom: Phantom,
    split: str,
    rows: Mapping[str, np.ndarray],
    draw: Callable[..., Any],
    *,
    seed: int,
    images: UInt8[np.ndarray, "n h w k"],
) -> dict[str, np.ndarray]:
    """Draws the images of a split into `images`, and returns their columns.

    Args:
        phantom: The task.
        split: Its name in `COUNTS`.
        rows: What each image shows (`design`).
        draw: A chunk of images (`drawer`).
        seed: The data set's seed.
        images: Where to.
    """
    count, size = images.shape[:2]
    key = stream(jax.random.key(seed), phantom.name, split)
    chunk = max(4, min(64, 2**18 // size**2))  # of the size alone: the last bits of an image may depend on it
    factors = []
    for first in range(0, count, chunk):
        last = min(chunk, count - first)
        part = [rows[what][first : first + last].astype(np.int32) for what in ("patient", "subclass", "domain")]
        filled = [np.pad(column, (0, chunk - last), mode="edge") for column in part]
        pixels, values = draw(key, np.arange(first, first + chunk, dtype=np.int32), *filled)
        images[first : first + last] = np.asarray(pixels)[:last]
        factors.append(values)
    return _columns(phantom, split, rows, factors)


def design(phantom: Phantom, split: str, count: int, seed: int) -> dict[str, np.ndarray]:
    """Returns what the first `count` images of a split show: their `subclass`, `domain` and `patient`, as indices.

    The subclasses take turns, so that even a small set has all of them. A patient's images share subclass and domain.

    Args:
        phantom: The task.
        split: `"acquisition"` has the usual subclasses on the last domain, `"manifestation"` the rare ones on the other
            domains, every other name the usual ones on the other domains.
        count: Number of images.
        seed: The data set's seed.
    """
    rare = split == "manifestation"
    shares = [int(subclass.share == 0) if rare else subclass.share for subclass in phantom.subclasses]
    turn = np.repeat(np.arange(len(shares)), shares)
    # A stream for each column, so that its first numbers do not depend on how many follow.
    returns, domains = (
        np.random.default_rng([seed, zlib.crc32(f"{phantom.name} {split} {what}".encode())]).random(count)
        for what in ("returns", "domain")
    )
    image = np.arange(count)
    rounds = image // len(turn) % 3
    patient = np.where((rounds > 0) & (returns < RETURNS), image - rounds * len(turn), image)
    last = len(phantom.domains) - 1
    domain = np.full(count, last) if split == "acquisition" else (domains[patient] * last).astype(int)
    return {"subclass": turn[image % len(turn)], "domain": domain, "patient": patient}


def checked(name: str, seed: int, size: int, counts: Mapping[str, int] | None) -> tuple[Phantom, dict[str, int]]:
    """Returns the task and how many images each split has.

    Raises:
        ValueError: There is no such task or split, or a number is out of its range.
    """
    if name not in PHANTOMS:
        raise ValueError(f"There is no phantom {name!r}. Use one of: {', '.join(PHANTOMS)}.")
    if seed < 0 or size < 8:
        raise ValueError(f"A phantom needs a seed from 0 and a size from 8 pixels; here seed={seed}, size={size}.")
    numbers = dict(COUNTS) | dict(counts or {})
    if unknown := [split for split in numbers if split not in COUNTS]:
        raise ValueError(f"counts names {unknown}, which a phantom does not have. Use: {', '.join(COUNTS)}.")
    if min(numbers.values()) < 0 or not any(numbers.values()):
        raise ValueError(f"counts needs numbers from 0 and one above it; here it is {numbers}.")
    return PHANTOMS[name], numbers


@functools.cache
def drawer(name: str, size: int, *, disturbed: bool = False) -> Callable[..., Any]:
    """Returns the compiled drawing of one chunk: (key, image, patient, subclass, domain) -> pixels, factors.

    Args:
        name: Of the phantom.
        size: Pixels a side.
        disturbed: Two arguments more, for all images: by factor, what is added to it (it stays between its least and
            its greatest value), and how many times as large the scene is shown.
    """
    phantom = PHANTOMS[name]

    def one(
        key: Key[Array, ""], image: Int[Array, ""], patient: Int[Array, ""], subclass: Int[Array, ""],
        domain: Int[Array, ""], added: Mapping[str, Float[Array, ""]] | None = None,
        zoom: Float[Array, ""] | None = None,
    ) -> tuple[UInt8[Array, "h w k"], dict[str, Array]]:  # fmt: skip
        own = stream(jax.random.fold_in(stream(key, "image"), image))
        factors = sample(jax.random.fold_in(stream(key, "patient"), patient), own, subclass, domain, phantom=phantom)
        if added is not None:
            laws = phantom.factors
            factors = {name: jnp.clip(x + added[name], laws[name].low, laws[name].high) for name, x in factors.items()}
        pixels = phantom.render(stream(own, "render"), factors, size, zoom=zoom)
        return jnp.round(jnp.clip(pixels, 0.0, 1.0) * 255.0).astype(jnp.uint8), factors

    # Full optimization takes two to three times as long to compile and draws no faster (CPU, 32 to 224 pixels).
    options = {"xla_backend_optimization_level": 1}
    axes = (None, 0, 0, 0, 0, *((None, None) if disturbed else ()))
    return jax.jit(jax.vmap(one, in_axes=axes), compiler_options=options)


def _columns(
    phantom: Phantom, split: str, rows: Mapping[str, np.ndarray], factors: list[dict[str, Array]]
) -> dict[str, np.ndarray]:
    count = len(rows["patient"])
    names = {"acquisition": phantom.acquisition, "manifestation": phantom.manifestation}
    label = np.asarray([subclass.label for subclass in phantom.subclasses])
    subclass = np.asarray([subclass.name for subclass in phantom.subclasses])
    columns = {
        "label": label[rows["subclass"]],
        "split": np.full(count, names.get(split, split)),
        "domain": np.asarray(phantom.domains)[rows["domain"]],
        "subclass": subclass[rows["subclass"]],
        "patient_id": np.asarray([f"{split}-{patient:05d}" for patient in rows["patient"]]),
        "shift_kind": np.full(count, split if split in names else "iid"),
    }
    for name in phantom.factors:
        columns[f"factor_{name}"] = np.concatenate([np.asarray(part[name]) for part in factors])[:count]
    return columns
