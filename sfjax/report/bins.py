"""From outputs to the tables of calibration, confidence, confusion and working points: counts, with exact intervals.

Intervals are Clopper and Pearson's, of 95 %. Images of one patient count as one image: exact where there is one of each
patient, and wide rather than narrow where there are several.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from sfjax.data import patient_groups
from sfjax.metrics.by_patient import clopper_pearson
from sfjax.metrics.calibration import SLACK
from sfjax.report.tables import check_outputs, verdicts_of
from sfjax.study.evaluation import Said, Scorers, first_network
from sfjax.views.tables import SOURCE


class ScoreTables(NamedTuple):
    """What the confidence of every csf is worth on every test set.

    Attributes:
        bins: Equal shares of the images by rising probability: `csf`, `test_set`, `kind`, `bin`; `confidence`, their
            mean probability; `accuracy` with the interval from `low` to `high`; `n`. Only of a csf with a probability:
            a rank cannot be compared with a share of successes.
        histogram: Bins of equal width, above `start` up to `end`: `csf`, `test_set`, `kind`; `correct` and `failures`,
            how many images. Confidences are those of `sfjax.report.tables.confidences`. Bins without images have no
            row.
        confusion: `csf`, `test_set`, `kind`, `label`, `predicted`; `n` images, and their mean `confidence`. Pairs of
            classes without images have no row.
    """

    bins: pd.DataFrame
    histogram: pd.DataFrame
    confusion: pd.DataFrame


def score_tables(
    outputs: Mapping[str, Said],
    tables: Mapping[str, pd.DataFrame],
    classes: Sequence[str],
    scorers: Scorers,
    *,
    num_bins: int = 10,
    num_steps: int = 20,
) -> ScoreTables:
    """Returns counts and means of what every csf says on every test set.

    Args:
        outputs: By test set: what one network says, or the networks of one seed.
        tables: By test set, a row an image: kind, label (a class name); further, where known, patient_id.
        classes: Names of the classes that the outputs number.
        scorers: The scores of these networks.
        num_bins: Bins of equal mass; fewer where there are fewer images.
        num_steps: Bins of equal width.

    Raises:
        ValueError: The test sets differ or are of unequal length.
    """
    check_outputs(outputs, tables)
    said = _confidences(outputs, tables, scorers)
    bins, histogram, confusion = [], [], []
    for name, here in _places(outputs).items():
        table = tables[name]
        about = {"test_set": name, "kind": str(table["kind"].iloc[0])}
        failure, confidence = said.failure[:, here], said.confidence[:, here]
        stated = [i for i, csf in enumerate(scorers.csfs) if scorers.has_probability(csf)]
        if stated:
            found = _equal_mass(confidence[stated], failure[stated], _patients(table), num_bins)
            bins.append(_table([said.csfs[i] for i in stated], about, found))
        histogram.append(_table(said.csfs, about, _equal_width(confidence, failure, num_steps)))
        confusion.append(_confused(said, here, table["label"].to_numpy(str), classes, about))
    histograms = pd.concat(histogram, ignore_index=True)
    columns = ["csf", "test_set", "kind", "bin", "confidence", "accuracy", "low", "high", "n"]
    return ScoreTables(
        bins=pd.concat(bins, ignore_index=True) if bins else pd.DataFrame(columns=pd.Index(columns)),
        histogram=histograms[histograms["correct"] + histograms["failures"] > 0].reset_index(drop=True),
        confusion=pd.concat(confusion, ignore_index=True),
    )


def operating_table(
    outputs: Mapping[str, Said],
    tables: Mapping[str, pd.DataFrame],
    scorers: Scorers,
    *,
    num_points: int = 50,
) -> pd.DataFrame:
    """Returns what thresholds that are chosen on the i.i.d. test set do on every test set.

    Columns: `csf`, `test_set`, `kind`; `point`, from 1, and `threshold`: of the i.i.d. images, the share
    point / num_points has a score above it, or less where images share a score; `coverage`, the share that is accepted,
    and `accepted`, how many these are; `selective_risk`, the share of failures among those, with the interval from
    `low` to `high`: NaN where none is.

    Args:
        outputs: By test set: what one network says, or the networks of one seed.
        tables: By test set, a row an image: kind; further, where known, patient_id.
        scorers: The scores of these networks.
        num_points: Thresholds of a csf; the last one accepts all images.

    Raises:
        ValueError: The test sets differ, are of unequal length, or none is i.i.d.
    """
    check_outputs(outputs, tables)
    places = _places(outputs)
    source = next((name for name in outputs if tables[name]["kind"].iloc[0] == SOURCE), None)
    if source is None:
        raise ValueError(
            f"Thresholds are chosen on a test set of kind {SOURCE}, and there is none among {', '.join(outputs)}. Add "
            "it."
        )
    said = _confidences(outputs, tables, scorers)
    of_source = -np.sort(-said.score[:, places[source]], axis=1)
    n = of_source.shape[1]
    taken = np.round(np.arange(1, num_points + 1) / num_points * n).astype(int)
    # Above the best score that is left out: images of equal score are accepted together, or not at all.
    threshold = np.where(taken < n, of_source[:, np.minimum(taken, n - 1)], -np.inf)
    parts = []
    for name, here in places.items():
        table = tables[name]
        score, failure = said.score[:, here], said.failure[:, here]
        patients = _patients(table)
        by_patient = np.argsort(patients, kind="stable")
        first = np.searchsorted(patients[by_patient], np.arange(patients.max() + 1))
        surest = np.maximum.reduceat(score[:, by_patient], first, axis=1)
        accepted, wrong = _above(score, threshold), _above(score, threshold, failure)
        risk = np.divide(wrong, accepted, out=np.full(wrong.shape, np.nan), where=accepted > 0)
        people = _above(surest, threshold)
        low, high = clopper_pearson(np.nan_to_num(risk) * people, people)
        found = {
            "point": np.broadcast_to(np.arange(1, num_points + 1), risk.shape),
            "threshold": threshold,
            "coverage": accepted / score.shape[1],
            "accepted": accepted.astype(np.int64),
            "selective_risk": risk,
            "low": low,
            "high": high,
        }
        parts.append(_table(said.csfs, {"test_set": name, "kind": str(table["kind"].iloc[0])}, found))
    return pd.concat(parts, ignore_index=True)


class _Said(NamedTuple):
    """What s csfs say of all images, one test set after the other."""

    csfs: tuple[str, ...]
    score: Float[np.ndarray, "s n"]
    confidence: Float[np.ndarray, "s n"]
    predicted: Int[np.ndarray, "s n"]
    failure: Float[np.ndarray, "s n"]


def _confidences(outputs: Mapping[str, Said], tables: Mapping[str, pd.DataFrame], scorers: Scorers) -> _Said:
    verdicts = verdicts_of(outputs, tables, scorers)
    labels = np.concatenate([np.asarray(first_network(said).labels) for said in outputs.values()])
    predicted = np.stack([verdict.predicted for verdict in verdicts.values()])
    return _Said(
        csfs=tuple(verdicts),
        score=np.stack([verdict.score for verdict in verdicts.values()]),
        confidence=np.stack([verdict.confidence for verdict in verdicts.values()]),
        predicted=predicted,
        failure=(predicted != labels).astype(np.float64),
    )


def _places(outputs: Mapping[str, Said]) -> dict[str, slice]:
    """Returns where each test set stands among all images."""
    ends = np.cumsum([len(first_network(said)) for said in outputs.values()])
    return {
        name: slice(end - len(first_network(said)), end)
        for (name, said), end in zip(outputs.items(), ends, strict=True)
    }


def _patients(table: pd.DataFrame) -> Int[np.ndarray, " n"]:
    return patient_groups(table.fillna({"patient_id": ""})) if "patient_id" in table.columns else np.arange(len(table))


def _table(csfs: Sequence[str], about: Mapping[str, str], found: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Returns arrays of csfs x rows as one table."""
    rows = next(iter(found.values())).shape[1]
    long = {name: np.asarray(values).reshape(-1) for name, values in found.items()}
    return pd.DataFrame({"csf": np.repeat(np.asarray(csfs, dtype=object), rows), **about, **long})


def _equal_mass(
    confidence: Float[np.ndarray, "s n"], failure: Float[np.ndarray, "s n"], patients: Int[np.ndarray, " n"], bins: int
) -> dict[str, np.ndarray]:
    """Returns means in bins of equal mass, a row a csf. Images of equal confidence share their outcome."""
    csfs, n = confidence.shape
    order = np.argsort(confidence, axis=1, kind="stable")
    confidence, right = (np.take_along_axis(x, order, axis=1) for x in (confidence, 1 - failure))
    alike = np.concatenate([np.ones((csfs, 1), bool), np.diff(confidence, axis=1) > 0], axis=1).cumsum() - 1
    right = (np.bincount(alike, right.ravel()) / np.bincount(alike))[alike].reshape(csfs, n)
    bins = min(bins, n)
    edges = np.round(np.arange(bins + 1) / bins * n).astype(int)
    count = np.diff(edges)
    accuracy, mean = (np.add.reduceat(x, edges[:-1], axis=1) / count for x in (right, confidence))
    # How many patients each bin has: pairs of a bin and a patient, each once.
    cell = np.arange(csfs)[:, None] * bins + np.repeat(np.arange(bins), count)
    pairs = np.unique(cell * (patients.max() + 1) + patients[order])
    people = np.bincount(pairs // (patients.max() + 1), minlength=csfs * bins).reshape(csfs, bins)
    low, high = clopper_pearson(accuracy * people, people.astype(np.float64))
    number, counts = (np.broadcast_to(x, accuracy.shape) for x in (np.arange(bins), count))
    return {"bin": number, "confidence": mean, "accuracy": accuracy, "low": low, "high": high, "n": counts}


def _equal_width(
    confidence: Float[np.ndarray, "s n"], failure: Float[np.ndarray, "s n"], steps: int
) -> dict[str, np.ndarray]:
    """Returns how many images are right and wrong in each bin, a row a csf; 0 is in the first bin."""
    csfs = len(confidence)
    step = np.clip(np.ceil((confidence - SLACK) * steps).astype(int) - 1, 0, steps - 1)
    cell = (np.arange(csfs)[:, None] * steps + step).ravel()
    number, wrong = (
        np.bincount(cell, weights, csfs * steps).reshape(csfs, steps) for weights in (None, failure.ravel())
    )
    failures = wrong.astype(np.int64)
    start = np.broadcast_to(np.arange(steps) / steps, number.shape)
    return {
        "start": start,
        "end": start + 1 / steps,
        "correct": number.astype(np.int64) - failures,
        "failures": failures,
    }


def _confused(
    said: _Said, here: slice, labels: np.ndarray, classes: Sequence[str], about: Mapping[str, str]
) -> pd.DataFrame:
    """Returns a row a csf and pair of true and predicted class that there is."""
    names, label = np.unique(labels, return_inverse=True)
    predicted, confidence = said.predicted[:, here], said.confidence[:, here]
    shape = (len(said.csfs), len(names), len(classes))
    cell = np.ravel_multi_index((np.arange(shape[0])[:, None], label[None, :], predicted), shape).ravel()
    number, summed = (np.bincount(cell, weights, np.prod(shape)) for weights in (None, confidence.ravel()))
    there = np.flatnonzero(number)
    csf, true, called = np.unravel_index(there, shape)
    return pd.DataFrame(
        {
            "csf": np.asarray(said.csfs, dtype=object)[csf],
            **about,
            "label": names[true],
            "predicted": np.asarray([str(name) for name in classes])[called],
            "n": number[there].astype(np.int64),
            "confidence": summed[there] / number[there],
        }
    )


def _above(
    score: Float[np.ndarray, "s n"],
    threshold: Float[np.ndarray, "s p"],
    weight: Float[np.ndarray, "s n"] | None = None,
) -> Float[np.ndarray, "s p"]:
    """Returns how many images have a score above each threshold, or what they weigh."""
    order = np.argsort(score, axis=1)
    weights = np.ones(score.shape) if weight is None else np.take_along_axis(weight, order, axis=1)
    beyond = np.pad(np.cumsum(weights[:, ::-1], axis=1)[:, ::-1], [(0, 0), (0, 1)])
    rows = zip(np.take_along_axis(score, order, axis=1), threshold, strict=True)
    place = np.stack([np.searchsorted(sorted_score, one, side="right") for sorted_score, one in rows])
    return np.take_along_axis(beyond, place, axis=1)
