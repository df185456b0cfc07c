"""What one classifier says about `n` images: the arrays that every confidence scoring function and metric reads.

Logits are kept in float32 and never as softmax, whose maximum is exactly 1 from a logit margin of 17 on, which is where
silent failures are. Predictions and correctness are derived, not stored.
"""

import dataclasses
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sfjax import foreign
from sfjax.files import write_whole
from sfjax.passes import MCStatistics, of_stored_passes
from sfjax.pytree import STATIC, pytree_dataclass, static_fields

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
        tta: What passes over augmented copies amount to, without dropout, if there were any.
        logits_are: Whether the logits, those of passes too, are a network's, or logarithms of its probabilities, which
            is what is left where the logits were not kept. Those are logits up to a number an image, which scores that
            do not go through the softmax read. Static: part of the tree's structure.
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
    tta: MCStatistics | None = None
    logits_are: Literal["logits", "log_probabilities"] = dataclasses.field(default="logits", metadata=STATIC)

    @classmethod
    def from_numpy(
        cls,
        logits: Any,
        labels: Any,
        *,
        features: Any = None,
        mc_logits: Any = None,
        mc_reservation: Any = None,
        mc_confidence: Any = None,
        tta_logits: Any = None,
        reservation: Any = None,
        confidence: Any = None,
        logits_are: foreign.Kind = "logits",
    ) -> "Outputs":
        """Returns the outputs of a network of any other program, from its arrays.

        Floats of any width become float32. A logit may be -inf, where a network rules a class out.

        Args:
            logits: Shape (n, c), of at least 2 classes.
            labels: True classes, integers from 0 to c - 1, or -1 for a class that the network does not know; shape
                (n,).
            features: The penultimate layer, shape (n, d).
            mc_logits: Passes of Monte Carlo dropout, or the members of an ensemble, whose mean softmax, as
                log-probabilities, then stands in `logits`; shape (n, t, c). They are kept, and `mc` has their
                statistics.
            mc_reservation: The reservation of every pass, shape (n, t).
            mc_confidence: The confidence of every pass, shape (n, t).
            tta_logits: Passes over augmented copies, without dropout; shape (n, t, c). `tta` has their statistics.
            reservation: The logit of not betting on any class, on the scale of the logits; with probabilities the
                log-odds of reserving. Shape (n,).
            confidence: The logit of a learned confidence, shape (n,).
            logits_are: `probabilities` or `log_probabilities` where only the softmax or its logarithm was kept, in
                `logits` and `mc_logits` alike. Logarithms are stored, and of probabilities below the smallest normal
                float32 (1.2e-38, also of 0) that one's, -87.3. Scores that need true logits then refuse the outputs.

        Raises:
            ValueError: A shape is wrong, the fields have different numbers of rows, a label is no class, an entry is
                NaN or infinite, or softmax or its logarithm is given for logits; the message names the field and the
                row.
        """
        scores = foreign.class_scores(logits, "logits", "(n, c)", logits_are)
        passes = None if mc_logits is None else foreign.class_scores(mc_logits, "mc_logits", "(n, t, c)", logits_are)
        copies = None if tta_logits is None else foreign.class_scores(tta_logits, "tta_logits", "(n, t, c)", logits_are)
        given = {
            "features": (features, "(n, d)"),
            "reservation": (reservation, "(n,)"),
            "confidence": (confidence, "(n,)"),
            "mc_reservation": (mc_reservation, "(n, t)"),
            "mc_confidence": (mc_confidence, "(n, t)"),
        }
        arrays: dict[str, np.ndarray | None] = {
            "logits": scores,
            "labels": foreign.classes(labels, scores.shape[-1]),
            "mc_logits": passes,
            "tta_logits": copies,
            **{name: None if one is None else foreign.numbers(one, name, axes) for name, (one, axes) in given.items()},
        }
        foreign.check_rows(arrays)
        foreign.check_passes(arrays)
        fields: dict[str, Any] = {name: jnp.asarray(array) for name, array in arrays.items() if array is not None}
        of_copies = fields.pop("tta_logits", None)
        of_heads = (fields.get(name) for name in ("mc_reservation", "mc_confidence"))
        return cls(
            **fields,
            mc=of_stored_passes(fields["mc_logits"], *of_heads) if passes is not None else None,
            tta=of_stored_passes(of_copies) if of_copies is not None else None,
            logits_are="logits" if logits_are == "logits" else "log_probabilities",
        )

    @classmethod
    def from_torch(
        cls,
        logits: Any,
        labels: Any,
        *,
        features: Any = None,
        mc_logits: Any = None,
        mc_reservation: Any = None,
        mc_confidence: Any = None,
        tta_logits: Any = None,
        reservation: Any = None,
        confidence: Any = None,
        logits_are: foreign.Kind = "logits",
    ) -> "Outputs":
        """Returns the outputs of a torch network, from its tensors on any device, with gradients or without.

        Args:
            logits: This and the others as in `from_numpy`; tensors of any float type, bfloat16 too. Arrays are taken
                as well.
            labels: Integer tensor, shape (n,).
            features: Shape (n, d).
            mc_logits: Shape (n, t, c).
            mc_reservation: Shape (n, t).
            mc_confidence: Shape (n, t).
            tta_logits: Shape (n, t, c).
            reservation: Shape (n,).
            confidence: Shape (n,).
            logits_are: As in `from_numpy`.

        Raises:
            ValueError: As in `from_numpy`.
        """
        return cls.from_numpy(
            foreign.from_tensor(logits, as_float=True),
            foreign.from_tensor(labels, as_float=False),
            features=foreign.from_tensor(features, as_float=True),
            mc_logits=foreign.from_tensor(mc_logits, as_float=True),
            mc_reservation=foreign.from_tensor(mc_reservation, as_float=True),
            mc_confidence=foreign.from_tensor(mc_confidence, as_float=True),
            tta_logits=foreign.from_tensor(tta_logits, as_float=True),
            reservation=foreign.from_tensor(reservation, as_float=True),
            confidence=foreign.from_tensor(confidence, as_float=True),
            logits_are=logits_are,
        )

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
        ValueError: There is nothing to put together, or the parts have different fields or logits of different kinds.
    """
    if not parts:
        raise ValueError("Outputs to concatenate must be at least one set, and there is none.")
    kinds = {part.logits_are for part in parts}
    if len(kinds) > 1:
        raise ValueError(
            f"Outputs to concatenate must all have logits or all log_probabilities; got {' and '.join(sorted(kinds))}. "
            "Keep them apart, or make log-probabilities of the logits with jax.nn.log_softmax and say so in logits_are."
        )
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
    named |= {name: np.asarray(getattr(outputs, name)) for name in static_fields(Outputs)}
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
    # Files of before a static field came have none, and its default is what they meant.
    static: dict[str, Any] = {name: arrays.pop(name).item() for name in static_fields(Outputs) if name in arrays}
    fields: dict[str, Any] = {name: jnp.asarray(value) for name, value in arrays.items() if "." not in name}
    for field in ("mc", "tta"):
        prefix = f"{field}."
        found = {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
        if found:
            fields[field] = MCStatistics(**{name: jnp.asarray(value) for name, value in found.items()})
    unknown = set(fields) - {field.name for field in dataclasses.fields(Outputs)}  # pyright: ignore[reportArgumentType]
    if unknown:
        raise ValueError(f"{path} holds fields that outputs do not have: {sorted(unknown)}.")
    return Outputs(**fields, **static)


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
