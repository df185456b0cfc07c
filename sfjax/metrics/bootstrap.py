"""Intervals by resampling patients: weights on ranked images instead of sorting every resample anew.

All scores are weighted by the same resamples, so that differences between them are paired.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from sfjax.metrics.failure_detection import auroc_of, fpr_of, silent_failure_rate
from sfjax.metrics.performance import accuracy, balanced_accuracy
from sfjax.metrics.ranking import rank
from sfjax.metrics.risk_coverage import area, curve_of

RESAMPLES_AT_ONCE = 32
UNDEFINED_ALLOWED = 0.05


class Interval(NamedTuple):
    """An interval, and the share of resamples in which the metric was not defined."""

    low: float
    high: float
    undefined: float


def resample_weights(key: Key[Array, ""], groups: Int[Array, " n"], num_resamples: int) -> Float[Array, "r n"]:
    """Returns how often each image is in each resample: as many patients as there are, drawn with replacement.

    Args:
        key: Draws them.
        groups: One code a patient, from 0 without gaps.
        num_resamples: How many.

    References:
        Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 8.
    """
    number = int(jnp.max(groups)) + 1
    slots = -(-number // 256) * 256  # sets of similar size share one compilation
    return _group_counts(key, jnp.asarray(number, jnp.int32), slots, num_resamples)[:, groups]


@functools.partial(jax.jit, static_argnums=(2, 3))
def _group_counts(key: Key[Array, ""], number: Int[Array, ""], slots: int, num_resamples: int) -> Float[Array, "r g"]:
    def counts(key: Key[Array, ""]) -> Float[Array, " g"]:
        drawn = jax.random.randint(key, (slots,), 0, number)
        counted = (jnp.arange(slots) < number).astype(jnp.float32)
        return jnp.zeros(slots, jnp.float32).at[drawn].add(counted)

    return jax.lax.map(counts, jax.random.split(key, num_resamples), batch_size=RESAMPLES_AT_ONCE)


def percentile_interval(resamples: Float[np.ndarray, " r"], *, level: float = 0.95) -> Interval:
    """Returns the percentile interval of a metric's values on resamples.

    Resamples in which it is not defined (NaN) are left out. If they are more than 5 %, there is no interval: both ends
    are NaN.

    Args:
        resamples: Its values.
        level: Chance that the interval aims at.
    """
    defined = resamples[~np.isnan(resamples)]
    undefined = 1 - len(defined) / len(resamples)
    if undefined > UNDEFINED_ALLOWED + 1e-9:
        return Interval(np.nan, np.nan, undefined)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), undefined)


@functools.partial(jax.jit, static_argnames="num_classes")
def bootstrap_metrics(
    *,
    scores: Float[Array, "s n"],
    predicted: Int[Array, "s n"],
    probabilities: Float[Array, "s n"],
    thresholds: Float[Array, " s"],
    labels: Int[Array, " n"],
    loss_weight: Float[Array, " n"],
    weights: Float[Array, "r n"],
    num_classes: int,
) -> dict[str, Float[Array, "s r"]]:
    """Returns eight metrics of several scores under each row of weights. Images of weight 0 change nothing.

    Args:
        scores: Higher is surer; one row a score.
        predicted: The classes that each score speaks of.
        probabilities: Of being right; NaN where a score has none, and then its silent failure rate is NaN.
        thresholds: Each score's, for `accepted_failure_rate`.
        labels: True classes, from 0.
        loss_weight: What a failure on each image costs in `aurc` and `augrc`.
        weights: How much each image counts, one row a resample.
        num_classes: At least one more than the largest label.
    """

    def of_score(score: Array, predicted: Array, probability: Array, threshold: Array) -> dict[str, Float[Array, " r"]]:
        ranking = rank(score)
        failure = (predicted != labels).astype(jnp.float32)

        def of_resample(weight: Array) -> dict[str, Float[Array, ""]]:
            curve = curve_of(ranking, failure * loss_weight, weight)
            return {
                "accuracy": accuracy(predicted, labels, weight=weight),
                "balanced_accuracy": balanced_accuracy(predicted, labels, num_classes=num_classes, weight=weight),
                "aurc": area(curve.coverage, curve.selective_risk),
                "augrc": area(curve.coverage, curve.generalized_risk),
                "auroc_f": auroc_of(ranking, failure, weight),
                "fpr_at_95tpr": fpr_of(ranking, failure, weight),
                "silent_failure_rate": silent_failure_rate(probability, failure, weight=weight),
                "accepted_failure_rate": silent_failure_rate(score, failure, threshold, weight=weight),
            }

        return jax.lax.map(of_resample, weights, batch_size=RESAMPLES_AT_ONCE)

    return jax.lax.map(lambda one: of_score(*one), (scores, predicted, probabilities, thresholds))
