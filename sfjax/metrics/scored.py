"""What one CSF says of n images, in the order of its score, and every metric as a function of that and of weights.

This is what makes resampling cheap: images are sorted once, and each resample changes their weights alone.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sfjax.metrics.calibration import ece
from sfjax.metrics.class_balanced import augrc_balanced_of, aurc_balanced_of
from sfjax.metrics.cost import correlation_of
from sfjax.metrics.failure_detection import ap_error_of, ap_success_of, auroc_of, fpr_of
from sfjax.metrics.grouped import mean_of_images, sum_by_group
from sfjax.metrics.ordering import Ordering, PerImage, Scalar, check_lengths, on_host, order_by_score, ratio
from sfjax.metrics.risk_coverage import augrc_of, aurc_of, best_aurc_at, curve_of
from sfjax.metrics.working_points import TOLERANCE, at_threshold_of
from sfjax.pytree import pytree_dataclass

SILENT_ABOVE: Final = 0.9
"""Failures of higher probability are silent."""


@pytree_dataclass
class Scored:
    """What one CSF says of n images in float32, all in the order of its score; a leading axis makes it several CSFs.

    Attributes:
        ordering: Of the score.
        failure: 1 where the prediction is wrong, else 0.
        cost: What it costs; 0 where the prediction is right.
        by_cost: Ordering of the images, as they stand here, by falling cost.
        probability: Of being right; NaN where the CSF has none.
        accepted: 1 where the score is above the threshold from validation images.
        label: True classes, from 0.
        nll: Negative log-likelihood of the true class, in nats; NaN where it is not given.
        brier: Squared distance of the probabilities from the true class's; NaN where it is not given.
        classes: 0, 1, ... up to the number of classes.
    """

    ordering: Ordering
    failure: Float[Array | np.ndarray, " n"]
    cost: Float[Array | np.ndarray, " n"]
    by_cost: Ordering
    probability: Float[Array | np.ndarray, " n"]
    accepted: Float[Array | np.ndarray, " n"]
    label: Int[Array | np.ndarray, " n"]
    nll: Float[Array | np.ndarray, " n"]
    brier: Float[Array | np.ndarray, " n"]
    classes: Int[Array | np.ndarray, " c"]


def scored(
    score: PerImage,
    failure: PerImage,
    *,
    cost: PerImage | None = None,
    probability: PerImage | None = None,
    accepted_above: Scalar = np.nan,
    label: PerImage | None = None,
    num_classes: int = 1,
    nll: PerImage | None = None,
    brier: PerImage | None = None,
) -> Scored:
    """Returns what a CSF says of n images, sorted, ready to be weighed. What is left out makes its metrics NaN.

    Args:
        score: Higher is surer.
        failure: Whether the prediction is wrong.
        cost: What a failure costs, from 0 up; 1 if left out. It is not looked at where the prediction is right.
        probability: Of being right, in [0, 1].
        accepted_above: A threshold of the score, from validation images.
        label: True classes, from 0 below `num_classes`.
        num_classes: How many there are.
        nll: Of each image, see `sfjax.metrics.calibration`.
        brier: Of each image.

    Raises:
        ValueError: Unequal lengths, or no images.
    """
    check_lengths(score=score, failure=failure, cost=cost, probability=probability, label=label, nll=nll, brier=brier)
    given = [x for x in (score, failure, cost, probability, label, nll, brier, accepted_above) if x is not None]
    xp = np if all(map(on_host, given)) else jnp
    ordering = order_by_score(score)
    n = jnp.shape(score)[0]

    def sorted_or(values: PerImage | None, missing: float) -> Float[Array | np.ndarray, " n"]:
        return xp.full(n, missing, np.float32) if values is None else xp.asarray(values, np.float32)[ordering.order]

    failed = sorted_or(failure, 0)
    costs = xp.where(failed == 0, 0, failed * sorted_or(cost, 1))
    above = xp.asarray(accepted_above, np.result_type(ordering.threshold.dtype, np.float32))
    unknown = xp.isnan(above) | ordering.nan
    return Scored(
        ordering=ordering._replace(threshold=xp.asarray(ordering.threshold, np.float32)),
        failure=failed,
        cost=costs,
        by_cost=order_by_score(costs),
        probability=sorted_or(probability, np.nan),
        accepted=xp.where(unknown, np.float32(np.nan), (ordering.threshold > above).astype(np.float32)),
        label=xp.zeros(n, np.int32) if label is None else xp.asarray(label, np.int32)[ordering.order],
        nll=sorted_or(nll, np.nan),
        brier=sorted_or(brier, np.nan),
        classes=xp.arange(num_classes, dtype=np.int32),
    )


class Metric(NamedTuple):
    """A metric that can be resampled.

    Attributes:
        value: From scored images and their weights, in the same order, to the metric.
        higher_is_better: Its direction.
        smooth: Whether its derivative with respect to the weights says how it answers to them. That of a metric with a
            quantile in it misses that the quantile moves.
        biased: Whether resamples lie to one side of the value, as those of a sum of absolute gaps lie above it. Then
            their quantiles are no interval: in a simulation at an ECE of 1.5 % none of 120 held the truth.
    """

    value: Callable[[Scored, Float[Array, " n"]], Float[Array, ""]]
    higher_is_better: bool = False
    smooth: bool = True
    biased: bool = False


def _balanced_accuracy(images: Scored, weight: Float[Array, " n"]) -> Float[Array, ""]:
    number = images.classes.shape[0]
    of_class, right = (sum_by_group(x, images.label, number) for x in (weight, weight * (1 - images.failure)))
    present = jnp.sum(of_class > 0, dtype=weight.dtype)
    return jnp.where(present >= 2, jnp.sum(ratio(right, of_class)) / present, jnp.nan)


def _silent(loss: Float[Array, " n"], images: Scored, weight: Float[Array, " n"]) -> Float[Array, ""]:
    nan = jnp.isnan(images.probability)
    return at_threshold_of(images.probability > SILENT_ABOVE, loss, nan, weight).generalized_risk


def _accepted(loss: Float[Array, " n"], images: Scored, weight: Float[Array, " n"]) -> Float[Array, ""]:
    return at_threshold_of(images.accepted > 0, loss, jnp.isnan(images.accepted), weight).generalized_risk


def _ece(images: Scored, weight: Float[Array, " n"]) -> Float[Array, ""]:
    return ece(images.probability, images.failure, weight=weight)


def _eaurc(images: Scored, weight: Float[Array, " n"]) -> Float[Array, ""]:
    return aurc_of(images.ordering, images.failure, weight) - best_aurc_at(
        mean_of_images(jnp.asarray(images.failure), weight)
    )


def _cost_correlation(images: Scored, weight: Float[Array, " n"]) -> Float[Array, ""]:
    by_score = images.ordering._replace(order=jnp.arange(weight.shape[0], dtype=jnp.int32))  # as they stand here
    return correlation_of(by_score, images.by_cost, weight * images.failure)


METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {
        "accuracy": Metric(lambda x, w: mean_of_images(1 - x.failure, w), higher_is_better=True),
        "balanced_accuracy": Metric(_balanced_accuracy, higher_is_better=True),
        "nll": Metric(lambda x, w: mean_of_images(x.nll, w)),
        "brier": Metric(lambda x, w: mean_of_images(x.brier, w)),
        "ece": Metric(_ece, biased=True),
        "aurc": Metric(lambda x, w: aurc_of(x.ordering, x.failure, w)),
        "eaurc": Metric(_eaurc),
        "augrc": Metric(lambda x, w: augrc_of(x.ordering, x.failure, w)),
        "aurc_balanced": Metric(
            lambda x, w: aurc_balanced_of(x.ordering, x.failure, x.label, w, num_classes=x.classes.shape[0])
        ),
        "augrc_balanced": Metric(
            lambda x, w: augrc_balanced_of(x.ordering, x.failure, x.label, w, num_classes=x.classes.shape[0])
        ),
        "auroc_f": Metric(lambda x, w: auroc_of(x.ordering, x.failure, w), higher_is_better=True),
        "ap_error": Metric(lambda x, w: ap_error_of(x.ordering, x.failure, w), higher_is_better=True),
        "ap_success": Metric(lambda x, w: ap_success_of(x.ordering, x.failure, w), higher_is_better=True),
        "fpr_at_95tpr": Metric(lambda x, w: fpr_of(x.ordering, x.failure, w), smooth=False),
        "silent_failure_rate": Metric(lambda x, w: _silent(x.failure, x, w)),
        "accepted_failure_rate": Metric(lambda x, w: _accepted(x.failure, x, w)),
        "mean_cost": Metric(lambda x, w: mean_of_images(x.cost, w)),
        "aurc_cost": Metric(lambda x, w: aurc_of(x.ordering, x.cost, w)),
        "augrc_cost": Metric(lambda x, w: augrc_of(x.ordering, x.cost, w)),
        "silent_cost": Metric(lambda x, w: _silent(x.cost, x, w)),
        "accepted_cost": Metric(lambda x, w: _accepted(x.cost, x, w)),
        "cost_correlation": Metric(_cost_correlation),
    }
)
"""Metrics that the bootstrap knows by name. A metric of one's own is a `Metric` like these."""


def risk_at(coverage: float) -> Metric:
    """Returns the metric "selective risk at the smallest reachable coverage of at least `coverage`"."""

    def value(images: Scored, weight: Float[Array, " n"]) -> Float[Array, ""]:
        curve = curve_of(images.ordering, images.failure, weight)
        return curve.selective_risk[jnp.argmax(curve.coverage >= coverage - TOLERANCE)]

    return Metric(value, smooth=False)


def coverage_at(risk: float) -> Metric:
    """Returns the metric "largest coverage whose selective risk is at most `risk`"."""

    def value(images: Scored, weight: Float[Array, " n"]) -> Float[Array, ""]:
        curve = curve_of(images.ordering, images.failure, weight)
        return jnp.max(jnp.where(curve.selective_risk <= risk, curve.coverage, 0)) + 0 * curve.coverage[-1]

    return Metric(value, higher_is_better=True, smooth=False)
