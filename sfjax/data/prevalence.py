"""Prevalence shift: images of a set resampled to other shares of the classes."""

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from jaxtyping import Int, Shaped


def parse_prior(text: str) -> Mapping[str, float]:
    """Returns the shares that a text gives: `CLASS=SHARE`, several with commas between them.

    Raises:
        ValueError: A part is no such pair, or a share is not between 0 and 1.

    Example:
        >>> dict(parse_prior("malignant=0.02"))
        {'malignant': 0.02}
    """
    prior: dict[str, float] = {}
    for part in text.split(","):
        label, equals, share = (piece.strip() for piece in part.rpartition("="))
        try:
            value = float(share)
        except ValueError:
            value = -1.0
        if not equals or not label or label in prior or not 0 < value < 1:
            raise ValueError(
                f"A prior is CLASS=SHARE, or several with commas between them, each class once and each share between "
                f"0 and 1; got {text!r}."
            )
        prior[label] = value
    return MappingProxyType(prior)


def complete(prior: Mapping[str, float], labels: Shaped[np.ndarray, " n"]) -> Mapping[str, float]:
    """Returns the shares of all classes of a set; those not named share the rest as they do in the set.

    Args:
        prior: By class.
        labels: Names of the images' classes.

    Raises:
        ValueError: A class is not in the set, or the shares cannot add up to 1.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if unknown := sorted(set(prior) - set(classes)):
        raise ValueError(f"A prior speaks of classes of the set, {', '.join(classes)}; got {', '.join(unknown)}.")
    rest = 1 - sum(prior.values())
    others = {str(name): int(count) for name, count in zip(classes, counts, strict=True) if name not in prior}
    if rest < -1e-9 or (rest > 1e-9) != bool(others):
        raise ValueError(
            f"Shares of classes add up to 1, or to less where classes are left to share the rest; got {dict(prior)} of "
            f"the classes {', '.join(classes)}."
        )
    return {**prior, **{name: rest * count / sum(others.values()) for name, count in others.items()}}


def resample_to_prior(
    labels: Shaped[np.ndarray, " n"], prior: Mapping[str, float], *, sha256: Sequence[str], seed: int
) -> Int[np.ndarray, " m"]:
    """Returns the positions, ascending, of the most images whose classes have the given shares.

    No image is taken twice, so that resampling by patient stays honest. Which of a class are taken depends on their
    content and the seed, not on their order. The images of a smaller share of a class are among those of a larger one
    as long as the other classes keep as many.

    Args:
        labels: Names of the images' classes.
        prior: By class, as for `complete`.
        sha256: Of each image, in hexadecimal.
        seed: Of the draw.

    Raises:
        ValueError: See `complete`; or a class would keep no image.

    Example:
        >>> labels = np.array(["ill"] * 5 + ["well"] * 5)
        >>> rows = resample_to_prior(labels, {"ill": 0.2}, sha256=[str(i) for i in range(10)], seed=0)
        >>> labels[rows].tolist()
        ['ill', 'well', 'well', 'well', 'well', 'well']
    """
    shares = complete(prior, labels)
    there = {name: np.flatnonzero(labels == name) for name in shares}
    total = min(len(rows) / shares[name] for name, rows in there.items())
    kept = {name: min(round(shares[name] * total), len(rows)) for name, rows in there.items()}
    if lost := [f"{name} ({len(there[name])} images)" for name, count in kept.items() if not count]:
        raise ValueError(f"With the shares {dict(shares)} no image is left of {', '.join(lost)}. Choose larger ones.")
    chosen = []
    for name, rows in there.items():
        drawn = [hashlib.sha256(f"{seed}:prevalence:{sha256[row]}".encode()).hexdigest() for row in rows.tolist()]
        chosen.append(rows[np.argsort(np.array(drawn), kind="stable")[: kept[name]]])
    return np.sort(np.concatenate(chosen))
