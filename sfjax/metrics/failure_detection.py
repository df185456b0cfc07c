"""How well a score separates failures from successes, and how many failures a threshold lets through.

What holds of NaN and of weights stands in `sfjax.metrics.ordering`.
"""

from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sfjax.metrics.ordering import Ordering, PerImage, Scalar, Weight, cumulative, defined, prepare, ratio, running_sum
from sfjax.metrics.working_points import at_threshold

TRUE_POSITIVE_RATE: Final = 0.95


def auroc_f(score: PerImage, failure: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the chance that a success scores above a failure, ties counting half: higher is better, 0.5 is blind.

    It is the area under the ROC curve with successes as positives; NaN without a failure or without a success.

    Args:
        score: Higher is surer.
        failure: Whether the prediction is wrong.
        weight: How much each image counts; 1 if left out.

    Example:
        >>> import jax.numpy as jnp
        >>> float(auroc_f(jnp.array([3, 2, 1]), jnp.array([False, True, False])))
        0.5
    """
    return auroc_of(*prepare(score, failure, weight))


@jax.jit
def auroc_of(ordering: Ordering, failure: Float[Array, " n"], weight: Float[Array, " n"]) -> Float[Array, ""]:
    """Returns `auroc_f` of ordered images."""
    failure, undefined = defined(ordering, failure, weight)
    before, through = cumulative(weight * (1 - failure), ordering)
    failures = weight * failure
    # Shares first: the product of two sums of 10^7 images would round more.
    wins = jnp.sum(failures * (before + through) / 2) / _or_nan(through[-1])
    return wins / _or_nan(jnp.sum(failures)) + undefined


def _or_nan(x: Float[Array, ""]) -> Float[Array, ""]:
    return jnp.where(x > 0, x, jnp.nan)


def ap_success(score: PerImage, failure: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the average precision of finding successes by high scores: higher is better, blind is the accuracy.

    The mean over successes of the share of successes among the images that score as high or higher. NaN without a
    success.

    Args:
        score: Higher is surer.
        failure: Whether the prediction is wrong.
        weight: How much each image counts; 1 if left out.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(ap_success(jnp.array([3, 2, 1]), jnp.array([False, True, False]))), 4)  # (1 + 2/3) / 2
        0.8333
    """
    return ap_success_of(*prepare(score, failure, weight))


@jax.jit
def ap_success_of(ordering: Ordering, failure: Float[Array, " n"], weight: Float[Array, " n"]) -> Float[Array, ""]:
    """Returns `ap_success` of ordered images."""
    failure, undefined = defined(ordering, failure, weight)
    successes = weight * (1 - failure)
    precision = ratio(cumulative(successes, ordering)[1], cumulative(weight, ordering)[1])
    return jnp.sum(successes * precision) / _or_nan(jnp.sum(successes)) + undefined


def ap_error(score: PerImage, failure: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the average precision of finding failures by low scores: higher is better, blind is the error rate.

    The mean over failures of the share of failures among the images that score as low or lower. NaN without a failure.

    Args:
        score: Higher is surer.
        failure: Whether the prediction is wrong.
        weight: How much each image counts; 1 if left out.

    Example:
        >>> import jax.numpy as jnp
        >>> float(ap_error(jnp.array([3, 2, 1]), jnp.array([False, True, False])))
        0.5
    """
    return ap_error_of(*prepare(score, failure, weight))


@jax.jit
def ap_error_of(ordering: Ordering, failure: Float[Array, " n"], weight: Float[Array, " n"]) -> Float[Array, ""]:
    """Returns `ap_error` of ordered images."""
    failure, undefined = defined(ordering, failure, weight)
    failures = weight * failure
    # Sums from the end, not the total less those from the start, which would cancel.
    at_most = [_from_the_end(x, ordering) for x in (failures, weight)]
    return jnp.sum(failures * ratio(*at_most)) / _or_nan(jnp.sum(failures)) + undefined


def _from_the_end(x: Float[Array, " n"], ordering: Ordering) -> Float[Array, " n"]:
    """Returns for each place the sum of `x` over the places of equal or lower score."""
    sums = jnp.concatenate([running_sum(x[::-1])[::-1], jnp.zeros(1, x.dtype)])
    return sums[ordering.before]


def fpr_at_95tpr(score: PerImage, failure: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the share of failures accepted by the highest threshold that accepts 95 % of successes: lower is better.

    NaN without a failure or without a success.

    Args:
        score: Higher is surer.
        failure: Whether the prediction is wrong.
        weight: How much each image counts; 1 if left out.

    Example:
        >>> import jax.numpy as jnp
        >>> float(fpr_at_95tpr(jnp.array([4, 3, 2, 1]), jnp.array([False, True, False, True])))
        0.5
    """
    return fpr_of(*prepare(score, failure, weight))


@jax.jit
def fpr_of(ordering: Ordering, failure: Float[Array, " n"], weight: Float[Array, " n"]) -> Float[Array, ""]:
    """Returns `fpr_at_95tpr` of ordered images."""
    failure, undefined = defined(ordering, failure, weight)
    accepted_successes = cumulative(weight * (1 - failure), ordering)[1]
    accepted_failures = cumulative(weight * failure, ordering)[1]
    successes, failures = accepted_successes[-1], accepted_failures[-1]
    enough = accepted_successes >= (TRUE_POSITIVE_RATE - 1e-6) * successes
    rate = accepted_failures[jnp.argmax(enough)] / _or_nan(failures)
    return jnp.where(successes > 0, rate, jnp.nan) + undefined


def silent_failure_rate(
    probability: PerImage,
    failure: PerImage,
    threshold: Scalar = 0.9,
    *,
    weight: Weight = None,
) -> Float[Array, ""]:
    """Returns the share of all images that fail with a probability of being right above a threshold: lower is better.

    Args:
        probability: Of being right, in [0, 1].
        failure: Whether the prediction is wrong.
        threshold: What counts as confident.
        weight: How much each image counts; 1 if left out.

    Example:
        >>> import jax.numpy as jnp
        >>> float(silent_failure_rate(jnp.array([0.95, 0.95, 0.6, 0.5]), jnp.array([True, False, True, False])))
        0.25
    """
    return at_threshold(probability, failure, threshold, weight=weight).generalized_risk


def accepted_failure_rate(
    score: PerImage,
    failure: PerImage,
    threshold: Scalar,
    *,
    weight: Weight = None,
) -> Float[Array, ""]:
    """Returns the share of all images that fail with a score above a threshold: lower is better.

    It is `silent_failure_rate` for scores that are no probabilities; the threshold comes from validation images.

    Args:
        score: Higher is surer.
        failure: Whether the prediction is wrong.
        threshold: In units of the score.
        weight: How much each image counts; 1 if left out.
    """
    return at_threshold(score, failure, threshold, weight=weight).generalized_risk
