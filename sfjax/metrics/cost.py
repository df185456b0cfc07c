"""What failures cost, by true and predicted class, and whether the costly ones are the confident ones.

`sfjax.data.costs` reads a table of costs from a file. With a cost an image, the areas of `sfjax.metrics.risk_coverage`
are costs too: give it as their `loss`. What holds of NaN and of weights stands in `sfjax.metrics.ordering`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from sfjax.metrics.ordering import Ordering, PerImage, Weight, check_lengths, cumulative, defined, floating, prepare


def cost_of_failures(
    costs: Shaped[Array | np.ndarray, "t c"], labels: PerImage, predicted: PerImage
) -> Float[Array, " n"]:
    """Returns what each image's prediction costs, in the units of `costs`: 0 where it is right.

    Args:
        costs: Of true class x predicted class. The first c rows are the classifier's classes in its order, further ones
            are classes that it does not know.
        labels: Row of the true class. NaN comes out for a label without a row, such as -1.
        predicted: Column of the predicted class. NaN comes out for one without a column.

    Raises:
        ValueError: Costs that are no table, unequal lengths, or no images.

    Example:
        >>> import jax.numpy as jnp
        >>> costs = jnp.array([[0, 1], [10, 0], [5, 5]])
        >>> cost_of_failures(costs, jnp.array([0, 0, 1, 2]), jnp.array([0, 1, 0, 1])).tolist()
        [0.0, 1.0, 10.0, 5.0]
    """
    check_lengths(labels=labels, predicted=predicted)
    shape = jnp.shape(costs)
    if len(shape) != 2 or 0 in shape or shape[0] < shape[1]:
        raise ValueError(
            f"Costs have the shape (t, c): a row for each of the classifier's c classes at least; got {shape}. "
            "Rows are true classes, columns predicted ones."
        )
    costs = floating(costs)
    (row, row_there), (column, column_there) = _index(labels, shape[0]), _index(predicted, shape[1])
    cost = jnp.where(row == column, 0, costs[row, column])
    return jnp.where(row_there & column_there, cost, jnp.nan)


def _index(codes: PerImage, length: int) -> tuple[Int[Array, " n"], Bool[Array, " n"]]:
    """Returns the codes as indices, and which of them are any."""
    codes = jnp.asarray(codes)
    index = codes.astype(jnp.int32)
    there = ~jnp.isnan(codes) & (index >= 0) & (index < length)
    return jnp.where(there, index, 0), there


def confident_cost_correlation(
    score: PerImage, failure: PerImage, cost: PerImage, *, weight: Weight = None
) -> Float[Array, ""]:
    """Returns the rank correlation of score and cost among failures, in [-1, 1]: lower is better.

    Spearman's, with mean ranks of ties. Above 0 the costly failures are those that the classifier is sure of, and a
    threshold on the score lets them through; below 0 they are the first that it holds back. NaN where there are fewer
    than two failures, or all their scores or all their costs are equal.

    Args:
        score: Higher is surer.
        failure: Whether the prediction is wrong.
        cost: Of each image, from 0 up; that of successes says nothing, but may not be NaN.
        weight: How much each image counts; 1 if left out.

    Raises:
        ValueError: Unequal lengths, or no images.

    Example:
        >>> import jax.numpy as jnp
        >>> failure = jnp.array([True, True, False, True])
        >>> round(float(confident_cost_correlation(jnp.array([4, 3, 2, 1]), failure, jnp.array([5, 9, 0, 1]))), 4)
        0.5

    References:
        Spearman, The proof and measurement of association between two things, American Journal of Psychology 1904.
    """
    check_lengths(score=score, failure=failure, cost=cost, weight=weight)
    failure, cost = (floating(x).astype(floating(score).dtype) for x in (failure, cost))
    by_score, by_cost = prepare(score, failure, weight), prepare(cost, cost, weight)
    return _correlation(*by_score, *by_cost)


@jax.jit
def _correlation(
    by_score: Ordering,
    failure: Float[Array, " n"],
    weight: Float[Array, " n"],
    by_cost: Ordering,
    cost: Float[Array, " n"],
    weight_by_cost: Float[Array, " n"],
) -> Float[Array, ""]:
    failure, undefined = defined(by_score, failure, weight)
    _, undefined_cost = defined(by_cost, cost, weight_by_cost)
    counted = jnp.zeros_like(weight).at[by_score.order].set(weight * failure)
    return correlation_of(by_score, by_cost, counted) + undefined + undefined_cost


def correlation_of(by_score: Ordering, by_cost: Ordering, counted: Float[Array, " n"]) -> Float[Array, ""]:
    """Returns `confident_cost_correlation` of images that are ordered already.

    Args:
        by_score: Of the images' scores.
        by_cost: Of their costs.
        counted: How much each image counts, in the order that both of these are of; 0 where the prediction is right.
    """
    (score_rank, scores_differ), (cost_rank, costs_differ) = (_rank(one, counted) for one in (by_score, by_cost))
    covariance, score_variance, cost_variance = (
        jnp.sum(counted * x) for x in (score_rank * cost_rank, score_rank**2, cost_rank**2)
    )
    ok = scores_differ & costs_differ
    scale = jnp.sqrt(jnp.where(ok, score_variance, 1)) * jnp.sqrt(jnp.where(ok, cost_variance, 1))
    return jnp.where(ok, jnp.clip(covariance / scale, -1, 1), jnp.nan)


def _rank(ordering: Ordering, counted: Float[Array, " n"]) -> tuple[Float[Array, " n"], Bool[Array, ""]]:
    """Returns the mean rank of each image's tie group as a share of all, less the mean 1/2, and whether ranks differ.

    Args:
        ordering: Of what is ranked, highest first.
        counted: How much each image counts, in the images' own order.
    """
    here = counted[ordering.order]
    before, through = cumulative(here, ordering)
    share = 0.5 - (before + through) / 2 / jnp.where(through[-1] > 0, through[-1], 1)
    group = jnp.asarray(ordering.before)  # by places, which are exact where sums are rounded
    first = jnp.min(jnp.where(here > 0, group, here.shape[0]))
    last = jnp.max(jnp.where(here > 0, group, -1))
    return jnp.zeros_like(share).at[ordering.order].set(share), last > first
