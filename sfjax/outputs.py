"""What one classifier says about `n` images: the arrays that every confidence scoring function and metric reads.

Logits are kept in float32 and never as softmax, whose maximum is exactly 1 from a logit margin of 17 on, which is where
silent failures are. Predictions and correctness are derived, not stored.
"""

import dataclasses
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sfjax.files import write_whole
from sfjax.passes import MCStatistics
from sfjax.pytree import pytree_dataclass

SCHEMA = 1


@pytree_dataclass
class Outputs:
    """What one classifier says about `n` images. Every field has the images on its first axis.

    Attributes:
        logits: The pass without dropout.
        labels: True classes, from 0; -1 where the true class is none of the classifier's.
        features: The penultimate layer, if kept.
        mc: What Monte Carlo dropout passes amount to, if there were any.
        reservation: The logit of not betting on any class, of a network trained as a deep gambler.
        confidence: The logit of a learned confidence head.
        mc_logits: The passes themselves, kept on request: t times the memory of the logits.
        mc_reservation: The same of the reservation.
        mc_confidence: The same of the confidence.
    """

    logits: Float[Array, "n c"]
    labels: Int[Array, " n"]
    features: Float[Array, "n d"] | None = None
    mc: MCStatistics | None = None
    reservation: Float[Array, " n"] | None = None
    confidence: Float[Array, " n"] | None = None
    mc_logits: Float[Array, "n t c"] | None = None
    mc_reservation: Float[Array, "n t"] | None = None
    mc_confidence: Float[Array, "n t"] | None = None

    def __len__(self) -> int:
        return self.labels.shape[0]


class Head(NamedTuple):
    """The last linear layer, `logits = features @ weight + bias`, for scores that read features."""

    weight: Float[Array, "d c"]
    bias: Float[Array, " c"]


def take(outputs: Outputs, index: Int[Array, " m"] | Int[np.ndarray, " m"] | slice) -> Outputs:
    """Returns the outputs of the images at `index`, in that order, with every field that there is."""
    return jax.tree.map(lambda field: field[index], outputs)


def concatenate(parts: Sequence[Outputs]) -> Outputs:
    """Returns the outputs of several sets of images as one, in the order given.

    Args:
        parts: At least one, all with the same fields.

    Raises:
        ValueError: There is nothing to put together, or the parts have different fields.
    """
    if not parts:
        raise ValueError("Outputs to concatenate must be at least one set, and there is none.")
    structures = {jax.tree.structure(part) for part in parts}
    if len(structures) > 1:
        raise ValueError(
            "Outputs to concatenate must have the same fields, and these differ: "
            f"{sorted(str(structure) for structure in structures)}. Compute those missing, or leave them out."
        )
    return jax.tree.map(lambda *fields: jnp.concatenate(fields), *parts)


def save(outputs: Outputs, path: str | os.PathLike[str]) -> None:
    """Writes the outputs as an `.npz` of named arrays, whole or not at all.

    Args:
        outputs: What to write.
        path: Where to. A file of that name is replaced in one step.
    """
    named = {"schema": np.asarray(SCHEMA)}
    for keys, value in jax.tree_util.tree_leaves_with_path(outputs):
        named[".".join(key.name for key in keys)] = np.asarray(value)
    write_npz(path, named)


def load(path: str | os.PathLike[str]) -> Outputs:
    """Returns the outputs that `save` wrote.

    Args:
        path: An `.npz` file.

    Raises:
        ValueError: The file is cut short, or is no outputs file.
    """
    arrays = read_npz(path)
    if "schema" not in arrays or int(arrays.pop("schema")) != SCHEMA or not {"logits", "labels"} <= set(arrays):
        raise ValueError(f"{path} is no outputs file of this version (schema {SCHEMA}); it holds {sorted(arrays)}.")
    fields = {name: jnp.asarray(value) for name, value in arrays.items() if "." not in name}
    mc = {name.removeprefix("mc."): jnp.asarray(value) for name, value in arrays.items() if name.startswith("mc.")}
    unknown = set(fields) - {field.name for field in dataclasses.fields(Outputs)}  # pyright: ignore[reportArgumentType]
    if unknown:
        raise ValueError(f"{path} holds fields that outputs do not have: {sorted(unknown)}.")
    return Outputs(**fields, mc=MCStatistics(**mc) if mc else None)


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays to `path` in one step: a reader finds the old file or the new one, never half of it."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
            file.flush()
            os.fsync(file.fileno())

    write_whole(Path(path), write)


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Returns the named arrays of an `.npz`; never unpickles.

    Raises:
        ValueError: The file is cut short or no `.npz`.
    """
    try:
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as .npz ({error}). Delete it to have it computed again.") from error
