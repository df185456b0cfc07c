"""Arrays of other programs, checked and brought to the types of `sfjax.outputs`.

Each error names the field, the rule, what was found and where. The one that would pass unseen is softmax, or its
logarithm, in place of logits: every score would still be a number.
"""

from typing import Any, Final, Literal, get_args

import jax.numpy as jnp
import numpy as np

Kind = Literal["logits", "probabilities", "log_probabilities"]

SUM_TOLERANCE: Final = 1e-2
"""How far from 1 the probabilities of an image may add up: what bfloat16 leaves of a softmax."""
LOG_SUM_TOLERANCE: Final = 1e-5
"""The same where logits are suspected to be log-probabilities, of float32 and longer: logits may come near that by
chance."""
MOST_UNSUSPECTED: Final = 30
"""So few numbers may all lie from 0 to 1 and be logits."""
LEAST_PROBABILITY: Final = float(np.finfo(np.float32).tiny)
"""The smallest normal float32, 1.2e-38, which stands for smaller probabilities, so that logarithms are finite."""


def class_scores(value: Any, field: str, axes: str, kind: Kind) -> np.ndarray:
    """Returns logits, or log-probabilities where probabilities are given, as float32 of at least two classes.

    Args:
        value: Array-like with the classes on its last axis.
        field: What to call it.
        axes: Its shape in words, such as `(n, c)`.
        kind: What the entries are.

    Raises:
        ValueError: Wrong shape, no image, NaN or infinite entries other than logits of -inf; probabilities given for
            logits, or rows that are none for probabilities.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"logits_are must be one of {', '.join(get_args(Kind))}; got {kind!r}.")
    array = _floats(value, field)
    if array.ndim != axes.count(", ") + 1 or array.shape[-1] < 2 or 0 in array.shape:
        raise ValueError(
            f"{field} must have the shape {axes}, at least one image and at least 2 classes; got {array.shape}. "
            "Two classes with one logit z have the logits 0 and z: np.stack([0 * z, z], axis=-1)."
        )
    _finite(array, field, but_minus_infinity=kind != "probabilities")
    if kind == "logits":
        _check_logits(array, field, _rounding(value))
        return array
    if kind == "log_probabilities":
        _check_log_probabilities(array, field)
        # No class that is ruled out comes before one that has a probability, however small.
        least = min(float(np.log(LEAST_PROBABILITY)), float(array[np.isfinite(array)].min(initial=0.0)))
        return np.where(np.isneginf(array), np.float32(least), array)
    wrong = np.logical_not(_are_probabilities(array))
    if wrong.any():
        place = _first(wrong)
        row = array[tuple(place)]
        raise ValueError(
            f"{field} must be probabilities, at least 0 and adding up to 1 within {SUM_TOLERANCE} in every row, and "
            f"{field}{place} has the least entry {row.min():.6g} and the sum {row.sum(dtype=np.float64):.6g}. "
            "Give the softmax over all classes, or logits with logits_are='logits'."
        )
    return np.log(np.maximum(array, np.float32(LEAST_PROBABILITY)))


def numbers(value: Any, field: str, axes: str) -> np.ndarray:
    """Returns features or other numbers as float32, all finite.

    Args:
        value: Array-like.
        field: What to call it.
        axes: Its shape in words, such as `(n, d)`.

    Raises:
        ValueError: Wrong shape, or NaN or infinite entries.
    """
    array = _floats(value, field)
    if array.ndim != axes.count(", ") + 1:
        raise ValueError(f"{field} must have the shape {axes}; got {array.shape}.")
    if 0 in array.shape:
        raise ValueError(f"{field} must have the shape {axes} with something in it; got {array.shape}.")
    _finite(array, field, but_minus_infinity=False)
    return array


def classes(value: Any, num_classes: int) -> np.ndarray:
    """Returns labels as int32, shape (n,).

    Args:
        value: Array-like of integers.
        num_classes: How many classes the logits have.

    Raises:
        ValueError: Wrong shape, no integers, or a class that there is not.
    """
    array = _array(value, "labels")
    if array.ndim != 1:
        raise ValueError(
            f"labels must have the shape (n,), one class an image; got {array.shape}. "
            "Of one-hot labels, shape (n, c), give labels.argmax(1)."
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"labels must be integers; got {array.dtype}. Where they are whole, give labels.astype(int).")
    outside = (array < -1) | (array >= num_classes)
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(
            f"labels must be from 0 to {num_classes - 1}, as logits have {num_classes} classes, or -1 for a class that "
            f"the network does not know; row {row} has {array[row]}."
        )
    return array.astype(np.int32)


def check_rows(fields: dict[str, np.ndarray | None]) -> None:
    """Raises ValueError where a field has not as many rows as the first one; the message names it and both numbers."""
    (first, *others) = fields.items()
    expected = len(first[1]) if first[1] is not None else 0
    for field, array in others:
        if array is not None and len(array) != expected:
            raise ValueError(
                f"{field} must have one row an image, as many as {first[0]}: expected {expected}, found {len(array)}."
            )


def check_passes(fields: dict[str, np.ndarray | None]) -> None:
    """Raises ValueError where fields of passes have other classes than the logits, or another number of passes."""
    logits, passes = fields["logits"], fields["mc_logits"]
    classes = 0 if logits is None else logits.shape[-1]
    for name in ("mc_logits", "tta_logits"):
        if (array := fields[name]) is not None and array.shape[-1] != classes:
            raise ValueError(
                f"{name} must have the classes of logits: expected {classes}, found {array.shape[-1]}. Their shape is "
                "(n, t, c), passes before classes."
            )
    for name in ("mc_reservation", "mc_confidence"):
        if (array := fields[name]) is not None and (passes is None or array.shape[1] != passes.shape[1]):
            found = "there are none" if passes is None else f"expected {passes.shape[1]}, found {array.shape[1]}"
            raise ValueError(f"{name} must have the passes of mc_logits: {found}.")


def from_tensor(value: Any, *, as_float: bool) -> Any:
    """Returns a torch tensor as a NumPy array, and anything else as it is; torch itself is not asked for.

    Args:
        value: Whatever has `detach()`, `cpu()`, `float()` and `numpy()`, or an array-like.
        as_float: Make it float32 first: NumPy has no bfloat16.
    """
    if not hasattr(value, "detach"):
        return value
    tensor = value.detach().cpu()
    return (tensor.float() if as_float and "bfloat16" in str(tensor.dtype) else tensor).numpy()


def _check_logits(array: np.ndarray, field: str, rounding: float) -> None:
    if _are_probabilities(array).all():
        raise ValueError(
            f"{field} must be logits, and all entries are from 0 to 1 and add up to 1 in every row, as softmax's do. "
            "Give what went into the softmax, or say logits_are='probabilities' where that is lost."
        )
    if array.size > MOST_UNSUSPECTED and array.min() >= 0 and array.max() <= 1:
        raise ValueError(
            f"{field} must be logits, and all {array.size} entries are from 0 to 1, as those of a sigmoid are, or of a "
            "softmax without one of its columns. Give what went into it. Logits that happen to be so go into "
            "Outputs(...), which takes them unchecked."
        )
    if _are_log_probabilities(array, max(LOG_SUM_TOLERANCE, rounding)).all():
        raise ValueError(
            f"{field} must be logits, and the exponentials of all rows add up to 1, as those of log-softmax do. Give "
            "what went into it, or say logits_are='log_probabilities' where that is lost."
        )
    hopeless = np.all(np.isneginf(array), axis=-1)
    if hopeless.any():
        place = _first(hopeless)
        raise ValueError(
            f"{field} must have a finite logit in every row, and all of row {place[0]} ({field}{place}) are -inf. "
            "Leave such images out."
        )


def _check_log_probabilities(array: np.ndarray, field: str) -> None:
    wrong = np.logical_not(_are_log_probabilities(array, SUM_TOLERANCE))
    if wrong.any():
        place = _first(wrong)
        raise ValueError(
            f"{field} must be natural logarithms of probabilities that add up to 1 within {SUM_TOLERANCE} in every "
            f"row, and {field}{place} is no such row: {array[tuple(place)][:4]}. Give log-softmax over all classes."
        )


def _are_log_probabilities(array: np.ndarray, tolerance: float) -> np.ndarray:
    small = array.max(-1, keepdims=True) <= tolerance
    # Exponentials of what is no logarithm of a probability may be infinite: they are not taken.
    total = np.exp(np.where(small, array, 0).astype(np.float64)).sum(-1)
    return small[..., 0] & (np.abs(total - 1) <= tolerance)


def _are_probabilities(array: np.ndarray) -> np.ndarray:
    return (array >= 0).all(-1) & (np.abs(array.sum(-1, dtype=np.float64) - 1) <= SUM_TOLERANCE)


def _array(value: Any, field: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{field} must be an array, or lists that make one; it is none ({error}).") from error


def _floats(value: Any, field: str) -> np.ndarray:
    array = _array(value, field)
    # As JAX sees it, because bfloat16 is no number to NumPy.
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise ValueError(f"{field} must be real numbers; got {array.dtype}.")
    with np.errstate(over="ignore"):  # what float32 does not hold becomes infinite, and is found
        return array.astype(np.float32)


def _finite(array: np.ndarray, field: str, *, but_minus_infinity: bool) -> None:
    bad = np.logical_or(np.isnan(array), np.isposinf(array) if but_minus_infinity else np.isinf(array))
    if bad.any():
        place = _first(bad)
        raise ValueError(
            f"{field} must be finite as float32{', or -inf' if but_minus_infinity else ''}, and row {place[0]} is not: "
            f"{field}{place} is {array[tuple(place)]} ({int(bad.any(tuple(range(1, bad.ndim))).sum())} of {len(array)} "
            "rows have such entries). Find out what the network met there, or leave these images out."
        )


def _rounding(value: Any) -> float:
    """Returns twice the relative rounding of what was given, where its floats are short, else 0."""
    dtype = getattr(value, "dtype", None)
    short = dtype in (jnp.float16, jnp.bfloat16)
    return 2 * float(jnp.finfo(dtype).eps) if short else 0.0


def _first(where: np.ndarray) -> list[int]:
    return np.argwhere(where)[0].tolist()
