"""Counts of an event in overlapping slices of images, with intervals and an exact test that know of patients."""

from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import hypergeom

from sfjax.metrics.by_patient import clopper_pearson

DRAWS: Final = 50
"""Of one image a patient, where some have several."""


def slice_counts(
    event: Bool[np.ndarray, "s n"],
    member: Float[np.ndarray, "n k"],
    patients: Int[np.ndarray, " n"],
    generator: np.random.Generator,
) -> tuple[np.ndarray, ...]:
    """Returns events in and outside each slice, both ends of the 95 % interval of its rate, and p; a row an event.

    p is of Fisher's exact test, of one side. Where patients have several images it is done on one image a patient,
    drawn `DRAWS` times, and p is twice the median.

    Args:
        event: Which images it happens on.
        member: 1 where an image is of a slice, else 0.
        patients: One code a patient.
        generator: Draws the images.

    References:
        Meinshausen, Meier and Bühlmann, p-values for high-dimensional regression, JASA 2009 (twice the median).
        Korn and Graubard, Confidence intervals for proportions with small expected number of positive counts estimated
        from survey data, Survey Methodology 1998.
    """
    count, size = event.astype(np.float32) @ member, member.sum(axis=0)
    total = event.sum(axis=1, keepdims=True)
    rate, rest = count / size, (total - count) / (len(member) - size)
    codes = np.unique(patients, return_inverse=True)[1]
    single = codes.max() + 1 == len(codes)
    low, high = _interval(event, member, codes, count, size)
    draws = [np.arange(len(codes))] if single else [_one_a_patient(codes, generator) for _ in range(DRAWS)]
    p = _fisher(event, member, np.stack(draws))
    p = p[0] if single else np.minimum(2 * np.median(p, axis=0), 1)
    whole = (np.rint(x).astype(np.int64) for x in (count, total - count))
    return *whole, low, high, np.where(rate > rest, p, 1.0)


def _one_a_patient(codes: Int[np.ndarray, " n"], rng: np.random.Generator) -> Int[np.ndarray, " g"]:
    shuffled = rng.permutation(len(codes))
    return shuffled[np.unique(codes[shuffled], return_index=True)[1]]


def _fisher(
    event: Bool[np.ndarray, "s n"], member: Float[np.ndarray, "n k"], draws: Int[np.ndarray, "d m"]
) -> Float[np.ndarray, "d s k"]:
    """Returns of the images of each draw the chance of as many events in each slice or more, if they fell anywhere."""
    base = draws.shape[1] + 1
    cells = []
    for rows in draws:
        drawn = event[:, rows]
        count, size = (
            np.rint(x).astype(np.int64) for x in (drawn.astype(np.float32) @ member[rows], member[rows].sum(0))
        )
        cells.append((count * base + drawn.sum(axis=1, keepdims=True)) * base + size)
    # Many scores and draws agree on every number, and each distribution is slow.
    distinct, place = np.unique(np.stack(cells), return_inverse=True)
    rest, size = np.divmod(distinct, base)
    count, total = np.divmod(rest, base)
    p = hypergeom.sf(count - 1, base - 1, total, size)
    return np.clip(p, 0, 1)[place].reshape(len(draws), len(event), member.shape[1])


def _interval(
    event: Bool[np.ndarray, "s n"],
    member: Float[np.ndarray, "n k"],
    codes: Int[np.ndarray, " n"],
    count: Float[np.ndarray, "s k"],
    size: Float[np.ndarray, " k"],
) -> tuple[Float[np.ndarray, "s k"], Float[np.ndarray, "s k"]]:
    """Returns Clopper and Pearson's 95 % interval of each rate, of as many images as the slice's patients are worth."""
    worth = np.broadcast_to(size.astype(np.float64), count.shape)
    if codes.max() + 1 < len(codes):
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        per_patient = np.add.reduceat(member[order], starts, axis=0)
        patients = (per_patient > 0).sum(axis=0)
        rows = []
        for failed, rate in zip(event, count / size, strict=True):
            failures = np.add.reduceat(member[order] * failed[order, None], starts, axis=0)
            spread = ((failures - per_patient * rate) ** 2).sum(axis=0) / size**2
            plain = rate * (1 - rate)
            rows.append(np.where(plain > 0, plain / np.where(spread > 0, spread, 1), patients))
        worth = np.clip(np.stack(rows), 1, np.maximum(size, patients))
    failures = count / size * worth
    return clopper_pearson(failures, worth)
