"""How well a score separates failures from successes, and how many failures a threshold lets through."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sfjax.metrics.ranking import PerImage, Ranking, cumulative, rank
from sfjax.metrics.risk_coverage import Weight, arrays

TRUE_POSITIVE_RATE = 0.95


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
    score, failure, weight = arrays(score, failure, weight)
    return auroc_of(rank(score), failure, weight)


def auroc_of(ranking: Ranking, failure: Float[Array, " n"], weight: Float[Array, " n"]) -> Float[Array, ""]:
    """Returns `auroc_f` of images that are ranked already."""
    before, through = cumulative(weight * (1 - failure), ranking)
    failures = (weight * failure)[ranking.order]
    pairs = jnp.sum(failures) * through[-1]
    return jnp.where(ranking.defined & (pairs > 0), jnp.sum(failures * (before + through) / 2) / pairs, jnp.nan)


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
    score, failure, weight = arrays(score, failure, weight)
    return fpr_of(rank(score), failure, weight)


def fpr_of(ranking: Ranking, failure: Float[Array, " n"], weight: Float[Array, " n"]) -> Float[Array, ""]:
    """Returns `fpr_at_95tpr` of images that are ranked already."""
    accepted_successes = cumulative(weight * (1 - failure), ranking)[1]
    accepted_failures = cumulative(weight * failure, ranking)[1]
    successes, failures = accepted_successes[-1], accepted_failures[-1]
    enough = accepted_successes >= (TRUE_POSITIVE_RATE - 1e-6) * successes
    rate = jnp.min(jnp.where(enough, accepted_failures, jnp.inf)) / failures
    return jnp.where(ranking.defined & (successes > 0) & (failures > 0), rate, jnp.nan)


def silent_failure_rate(
    probability: PerImage,
    failure: PerImage,
    threshold: Float[Array, ""] | float = 0.9,
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
    probability, failure, weight = arrays(probability, failure, weight)
    silent = jnp.sum(jnp.where(probability > threshold, weight * failure, 0)) / jnp.sum(weight)
    return jnp.where(jnp.isnan(probability).any() | jnp.isnan(failure).any(), jnp.nan, silent)


def accepted_failure_rate(
    score: PerImage,
    failure: PerImage,
    threshold: Float[Array, ""] | float,
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
    return silent_failure_rate(score, failure, threshold, weight=weight)
