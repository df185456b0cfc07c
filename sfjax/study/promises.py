"""What a promise about risk, made on calibration images, becomes on every test set.

Thresholds are fitted on `cal` alone, one image a patient; what they might be (the candidates of learn-then-test) is
stated beforehand by `val`. On a test set like the calibration set, a promise of confidence 1 - delta is broken with
chance delta at most. Under a shift nothing is promised any more: the table says what became of it.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from sfjax import keys, metrics
from sfjax.data import patient_groups
from sfjax.metrics import Estimate
from sfjax.metrics.guarantees import Guarantee, crc_threshold, ltt_threshold, one_per_patient, sgr_threshold
from sfjax.study.evaluation import Evaluated, Said, evaluate
from sfjax.study.measures import ALL_DOMAINS
from sfjax.study.scores import Plan
from sfjax.study.tasks import TestSet

CANDIDATES: Final = 50
"""Thresholds that learn-then-test chooses from: quantiles of the validation scores."""
SIGMAS: Final = 1.96
KINDS: Final = {"sgr": "selective", "ltt": "selective", "crc": "generalized"}
"""Which risk each kind of promise is about."""


class Promise(NamedTuple):
    """One promise about one CSF of one network.

    Attributes:
        seed: The network's.
        csf: Its place among the CSFs.
        loss: `failure` or `cost`.
        guarantee: Threshold and target.
        share: The target as a share of the largest loss.
        noise: Standard error of its risk by the chance of the calibration images, where the promise leaves that open:
            conformal risk control promises a mean over calibration sets. Else 0.
    """

    seed: int
    csf: int
    loss: str
    guarantee: Guarantee
    share: float
    noise: float


def make_promises(
    calibration: Sequence[Said],
    validation: Sequence[Said],
    table: pd.DataFrame,
    plan: Plan,
    *,
    target_risks: Sequence[float],
    delta: float,
    seed: int,
) -> list[Promise]:
    """Returns every promise: of each network, CSF, target and kind; about costs too where failures have some.

    A target is a risk of failures; for costs it is that share of the largest cost.

    Args:
        calibration: What the networks of each seed say of the calibration set.
        validation: What they say of the validation set.
        table: A row a calibration image.
        plan: Networks, CSFs and costs.
        target_risks: In (0, 1].
        delta: Chance that a promise about the selective risk may be broken.
        seed: Of the draw of one image a patient.
    """
    rows = one_per_patient(patient_groups(table), seed=seed)
    images = table.iloc[rows]
    promises = []
    for network, outputs, val, scorers in zip(plan.seeds, calibration, validation, plan.scorers, strict=True):
        cal = evaluate(outputs, scorers).take(rows)
        candidates = np.quantile(evaluate(val, scorers).score, np.arange(CANDIDATES) / CANDIDATES, axis=1).T
        losses = _losses(cal, images, plan)
        for i in range(len(plan.csfs)):
            for loss, bound in losses:
                for target in target_risks:
                    score, lost = cal.score[i], losses[loss, bound][i]
                    for one in _fit(score, lost, candidates[i], target, delta, bound):
                        accepted = np.where(score > one.threshold, lost, 0.0)
                        noise = float(accepted.std() / np.sqrt(one.n)) if one.kind == "crc" else 0.0
                        promises.append(Promise(network, i, loss, one, target, noise))
    return promises


def _losses(images: Evaluated, table: pd.DataFrame, plan: Plan) -> dict[tuple[str, float | None], np.ndarray]:
    """Returns by name and bound the loss of each image, a row a CSF; a failure's bound is known to be 1."""
    found: dict[tuple[str, float | None], np.ndarray] = {("failure", None): images.predicted != images.labels}
    if plan.costs is not None:
        weights = table["loss_weight"].to_numpy(np.float64)
        found["cost", plan.costs.bound] = plan.costs.of(table["label"].to_numpy(str), weights, images)
    return found


def _fit(
    score: np.ndarray, loss: np.ndarray, candidates: np.ndarray, target: float, delta: float, bound: float | None
) -> list[Guarantee]:
    # A cost is promised as a share of the largest one.
    scaled = target * (1.0 if bound is None else bound)
    learned = ltt_threshold(score, loss, target=scaled, delta=delta, candidates=np.unique(candidates), bound=bound)
    fitted = [learned, crc_threshold(score, loss, target=scaled, bound=bound)]
    return fitted if bound is not None else [sgr_threshold(score, loss, target=target, delta=delta), *fitted]


class Became(NamedTuple):
    """What thresholds do on a test set: the images as they are first, then each resample; a column a promise."""

    coverage: Float[np.ndarray, "1+r p"]
    risk: Float[np.ndarray, "1+r p"]


def keep_promises(
    promises: Sequence[Promise],
    test_sets: Sequence[TestSet],
    outputs: Sequence[Sequence[Said]],
    table: pd.DataFrame,
    plan: Plan,
) -> pd.DataFrame:
    """Returns a row a promise and test set: coverage and risk of its threshold there, with intervals by patient.

    Every patient counts the same, however many images there are of one: the promise is of one image a patient. Several
    test sets are the levels of one corruption, of the same images; their mean, level 0, is a test set too.

    `kept` is where the risk is at most the target, empty where nothing is promised or accepted; `broken` where chance
    does not explain that it is above: the lower end of its 95 % interval is, widened by `Promise.noise`.

    Args:
        promises: From `make_promises`.
        test_sets: Which.
        outputs: For each test set, what the networks of each seed say.
        table: A row an image.
        plan: Networks, CSFs, costs and resamples: those of the scores.
    """
    key = keys.stream(plan.key, test_sets[0].split, ALL_DOMAINS)
    patients = patient_groups(table)
    weights = np.asarray(metrics.resample_weights(key, patients, plan.resamples))
    # An image of ten of one patient counts a tenth.
    weights = np.concatenate([np.ones((1, len(table)), np.float32), weights]) / np.bincount(patients)[patients]
    became = [_became(promises, per_seed, table, weights, plan) for per_seed in outputs]
    sets = list(zip(test_sets, became, strict=True))
    if test_sets[0].kind == "corruption":
        whole = test_sets[0]._replace(name=test_sets[0].shift, level=0)
        sets.append((whole, Became(*(_mean(fields) for fields in zip(*became, strict=True)))))
    return pd.DataFrame([row for one, found in sets for row in _rows(promises, one, len(table), found, plan)])


def _became(
    promises: Sequence[Promise], outputs: Sequence[Said], table: pd.DataFrame, weights: np.ndarray, plan: Plan
) -> Became:
    networks = zip(plan.seeds, outputs, plan.scorers, strict=True)
    evaluated = {seed: evaluate(one, scorers) for seed, one, scorers in networks}
    losses = {
        seed: {name: loss for (name, _), loss in _losses(one, table, plan).items()} for seed, one in evaluated.items()
    }
    accepted = np.stack([evaluated[one.seed].score[one.csf] > one.guarantee.threshold for one in promises])
    lost = accepted * np.stack([losses[one.seed][one.loss][one.csf] for one in promises])
    # All promises and resamples at once: sums of accepted images and of their losses are products of matrices.
    kept, summed = (weights @ x.T.astype(weights.dtype) for x in (accepted, lost))
    total = weights.sum(1, keepdims=True)
    selective = np.array([KINDS[one.guarantee.kind] == "selective" for one in promises])
    return Became(kept / total, summed / np.where(selective, np.where(kept > 0, kept, np.nan), total))


def _mean(levels: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the mean over those levels that have a value."""
    values = np.stack(levels)
    count = (~np.isnan(values)).sum(0)
    return np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan)


def _rows(
    promises: Sequence[Promise], test_set: TestSet, n: int, became: Became, plan: Plan
) -> Iterator[dict[str, object]]:
    for j, (seed, csf, loss, promised, share, noise) in enumerate(promises):
        risk, *resampled = became.risk[:, j]
        low, high, _ = metrics.interval(
            Estimate(np.asarray(risk), np.asarray(resampled), np.zeros(1)), method="percentile"
        )
        yield {
            "seed": seed,
            "csf": plan.csfs[csf],
            "kind": promised.kind,
            "loss": loss,
            "target": promised.target,
            "target_share": share,
            "delta": promised.delta,
            "threshold": promised.threshold,
            "exists": promised.exists,
            "calibration_images": promised.n,
            "calibration_coverage": promised.coverage,
            "calibration_risk": promised.risk,
            "test_set": test_set.name,
            "shift": test_set.shift,
            "shift_kind": test_set.kind,
            "level": test_set.level,
            "n": n,
            "coverage": float(became.coverage[0, j]),
            "risk": float(risk),
            "low": float(low),
            "high": float(high),
            # Nothing is kept where nothing is promised, or nothing is accepted.
            "kept": bool(risk <= promised.target) if promised.exists and np.isfinite(risk) else None,
            "broken": bool(risk - np.hypot(risk - low, SIGMAS * noise) > promised.target),
        }
