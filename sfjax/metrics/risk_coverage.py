"""Risk-coverage curves and the areas under them.

Images are accepted from the surest down, those of equal score together. At coverage c, the *selective risk* is the mean
loss of the accepted images, the *generalized risk* their summed loss over all images. `loss` is whether the image is a
failure, or any cost from 0 up. Everything is in natural units (the literature prints areas x 1000). What holds of NaN
and of weights stands in `sfjax.metrics.ordering`.

A function `*_of` is the metric of images that are ordered already; resamples change the weights alone and call those.
"""

import functools
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from sfjax.metrics.grouped import weight_like
from sfjax.metrics.ordering import (
    Ordering,
    PerImage,
    Weight,
    check_lengths,
    cumulative,
    defined,
    floating,
    prepare,
    ratio,
    running_sum,
)

WHOLE: Final = (0.0, 1.0)
"""The coverage range of a whole area."""
Coverages = tuple[float, float]


class RiskCoverageCurve(NamedTuple):
    """A curve of n + 1 points by rising coverage; images of equal score repeat their group's point.

    Attributes:
        coverage: Accepted share of the images, from 0 to 1.
        selective_risk: Mean loss of the accepted; at coverage 0 that of the first group.
        generalized_risk: Summed loss of the accepted over all images.
        threshold: The lowest accepted score; infinity at coverage 0.
    """

    coverage: Float[Array | np.ndarray, " m"]
    selective_risk: Float[Array | np.ndarray, " m"]
    generalized_risk: Float[Array | np.ndarray, " m"]
    threshold: Shaped[Array | np.ndarray, " m"]

    def distinct(self) -> "RiskCoverageCurve":
        """Returns the curve on the host with one point a tie group (arrays of NumPy, not for jit)."""
        threshold = np.asarray(self.threshold)
        keep = np.concatenate([threshold[1:] != threshold[:-1], [True]])
        return RiskCoverageCurve(*(np.asarray(field)[keep] for field in self))


def risk_coverage_curve(score: PerImage, loss: PerImage, *, weight: Weight = None) -> RiskCoverageCurve:
    """Returns the risk at every coverage that a threshold on the score can give.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        weight: How much each image counts; 1 if left out.

    Raises:
        ValueError: Unequal lengths, or no images.

    References:
        El-Yaniv and Wiener, On the foundations of noise-free selective classification, JMLR 2010.
    """
    ordering, loss, weight = prepare(score, loss, weight)
    curve = curve_of(ordering, loss, weight)
    if isinstance(ordering.threshold, np.ndarray):  # in the score's own precision
        return curve._replace(threshold=np.concatenate([[np.inf], ordering.threshold], dtype=ordering.threshold.dtype))
    return curve


@jax.jit
def curve_of(ordering: Ordering, loss: Float[Array, " n"], weight: Float[Array, " n"]) -> RiskCoverageCurve:
    """Returns the curve of ordered images."""
    loss, undefined = defined(ordering, loss, weight)
    accepted, lost = (cumulative(x, ordering)[1] for x in (weight, weight * loss))
    # Where nothing is accepted yet the first accepted group's risk holds, as it does at coverage 0.
    selective = ratio(lost, accepted)
    selective = jnp.where(accepted > 0, selective, selective[jnp.argmax(accepted > 0)])
    start = jnp.zeros(1, loss.dtype)
    return RiskCoverageCurve(
        coverage=jnp.concatenate([start, accepted / accepted[-1]]) + undefined,
        selective_risk=jnp.concatenate([selective[:1], selective]) + undefined,
        generalized_risk=jnp.concatenate([start, lost / accepted[-1]]) + undefined,
        threshold=jnp.concatenate([start + jnp.inf, jnp.asarray(ordering.threshold, loss.dtype)]),
    )


class Steps(NamedTuple):
    """The curve as one step an image: risk at the tie group before it, and at its own; with the image's weight."""

    weight: Float[Array, " n"]
    before: Float[Array, " n"]
    through: Float[Array, " n"]


def area_of(ordering: Ordering, steps: Steps, between: Coverages) -> Float[Array, ""]:
    """Returns the area under the straight lines that join a curve's points, over a range of coverage.

    It adds images' weights and takes no differences of coverages, of which float32 leaves nothing at 10^7 images.
    """
    weight, before, through = steps
    if between == WHOLE:
        return jnp.sum(weight * (before + through)) / (2 * jnp.sum(weight))
    low, high = between
    sums = jnp.concatenate([jnp.zeros(1, weight.dtype), running_sum(weight)])
    coverage = sums / sums[-1]
    start, end = coverage[:-1], coverage[1:]
    inside = (start >= low) & (end <= high)
    left, right = (jnp.clip(x, low, high) for x in (start, end))
    width = jnp.where(inside, weight / sums[-1], right - left)
    group_start, group_end = coverage[ordering.before], coverage[ordering.through]
    along = ratio((left + right) / 2 - group_start, group_end - group_start)
    return jnp.sum(width * (before + (through - before) * along))


def aurc(score: PerImage, loss: PerImage, *, weight: Weight = None, between: Coverages = WHOLE) -> Float[Array, ""]:
    """Returns the area under the curve of selective risk: lower is better, at least 0.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        weight: How much each image counts; 1 if left out.
        between: Lowest and highest coverage; ranges add up to the whole.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(aurc(jnp.array([3, 2, 1]), jnp.array([False, False, True]))), 4)  # (0 + 1/3) / 2 / 3
        0.0556

    References:
        Geifman, Uziel and El-Yaniv, Bias-reduced uncertainty estimation for deep neural classifiers, ICLR 2019.
    """
    return aurc_of(*prepare(score, loss, weight), between=check_range(between))


@functools.partial(jax.jit, static_argnames="between")
def aurc_of(
    ordering: Ordering, loss: Float[Array, " n"], weight: Float[Array, " n"], *, between: Coverages = WHOLE
) -> Float[Array, ""]:
    """Returns `aurc` of ordered images."""
    loss, undefined = defined(ordering, loss, weight)
    accepted_before, accepted = cumulative(weight, ordering)
    lost_before, lost = cumulative(weight * loss, ordering)
    through = ratio(lost, accepted)
    before = jnp.where(accepted_before > 0, ratio(lost_before, accepted_before), through)
    return area_of(ordering, Steps(weight, before, through), between) + undefined


def augrc(score: PerImage, loss: PerImage, *, weight: Weight = None, between: Coverages = WHOLE) -> Float[Array, ""]:
    """Returns the area under the curve of generalized risk: lower is better, at least 0.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        weight: How much each image counts; 1 if left out.
        between: Lowest and highest coverage; ranges add up to the whole.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(augrc(jnp.array([3, 2, 1]), jnp.array([False, False, True]))), 4)  # (1/3)^2 / 2
        0.0556

    References:
        Traub et al., Overcoming common flaws in the evaluation of selective classification systems, NeurIPS 2024.
    """
    return augrc_of(*prepare(score, loss, weight), between=check_range(between))


@functools.partial(jax.jit, static_argnames="between")
def augrc_of(
    ordering: Ordering, loss: Float[Array, " n"], weight: Float[Array, " n"], *, between: Coverages = WHOLE
) -> Float[Array, ""]:
    """Returns `augrc` of ordered images."""
    loss, undefined = defined(ordering, loss, weight)
    before, through = cumulative(weight * loss, ordering)
    return area_of(ordering, Steps(weight, before, through), between) / jnp.sum(weight) + undefined


def eaurc(score: PerImage, loss: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the AURC above that of a score that knows the losses: lower is better, 0 is perfect.

    For failures it is the AURC less `err + (1 - err) log(1 - err)`, the limit for many images, as in its source, so
    that it can fall a little below 0 for few; for other losses the AURC less that of these images in order of loss.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        weight: How much each image counts; 1 if left out.

    References:
        Geifman, Uziel and El-Yaniv, Bias-reduced uncertainty estimation for deep neural classifiers, ICLR 2019.
    """
    return aurc(score, loss, weight=weight) - best_aurc(loss, weight=weight)


def naurc(score: PerImage, loss: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the excess AURC as a share of that of a score that knows nothing: lower is better, 0 is perfect.

    1 is as good as chance; NaN where all losses are equal, since then no score can be better or worse than another.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        weight: How much each image counts; 1 if left out.

    References:
        Cattelan and Silva, How to fix a broken confidence estimator, UAI 2024.
    """
    best, chance = best_aurc(loss, weight=weight), mean_loss(loss, weight=weight)
    room = chance - best
    some = room > 1e-6 * chance
    return jnp.where(some, (aurc(score, loss, weight=weight) - best) / jnp.where(some, room, 1), jnp.nan)


def eaugrc(score: PerImage, loss: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the AUGRC above that of a score that knows the losses: lower is better, 0 is perfect.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        weight: How much each image counts; 1 if left out.

    References:
        Traub et al., Overcoming common flaws in the evaluation of selective classification systems, NeurIPS 2024.
    """
    ordering, ideal_loss, ideal_weight = _ideal(loss, weight)
    limit = mean_loss(loss, weight=weight) ** 2 / 2
    ideal = augrc_of(ordering, ideal_loss, ideal_weight)
    return augrc(score, loss, weight=weight) - jnp.where(_binary(ideal_loss, ideal_weight), limit, ideal)


def best_aurc(loss: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the AURC that no score can beat: what `eaurc` subtracts."""
    ordering, ideal_loss, ideal_weight = _ideal(loss, weight)
    limit = best_aurc_at(mean_loss(loss, weight=weight))
    return jnp.where(_binary(ideal_loss, ideal_weight), limit, aurc_of(ordering, ideal_loss, ideal_weight))


def best_aurc_at(error: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns the best AURC of failures at an error rate: `err + (1 - err) log(1 - err)`."""
    right = 1 - error
    return error + right * jnp.log1p(-jnp.where(right > 0, error, 0))


def mean_loss(loss: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the weighted mean loss: the risk at full coverage."""
    loss = floating(loss)
    return risk_coverage_curve(jnp.zeros_like(loss), loss, weight=weight).selective_risk[-1]


def _binary(loss: Float[Array, " n"], weight: Float[Array, " n"]) -> Shaped[Array, ""]:
    return jnp.all((loss == 0) | (loss == 1) | (weight == 0))


def _ideal(loss: PerImage, weight: Weight) -> tuple[Ordering, Float[Array, " n"], Float[Array, " n"]]:
    """Returns the images in order of rising loss, each a group of its own; equal losses in order of weight."""
    check_lengths(loss=loss, weight=weight)
    loss = floating(loss)
    weight = weight_like(loss, weight)
    order = jnp.lexsort((weight, loss)).astype(jnp.int32)
    place = jnp.arange(len(order), dtype=jnp.int32)
    ordering = Ordering(order, place, place + 1, -place.astype(loss.dtype), jnp.isnan(loss[order]))
    return ordering, loss[order], weight[order]


def scod_loss(failure: PerImage, unknown: PerImage, *, unknown_cost: float = 1.0) -> Float[Array, " n"]:
    """Returns the loss of selective classification on images of which some are of no known class.

    Accepting a failure costs 1, accepting an image of an unknown class `unknown_cost`, whatever was predicted; both
    count at once, so that neither the classifier's own mistakes nor the unknown images go unseen. Give it to `aurc`
    or `augrc`.

    Args:
        failure: Whether the prediction is wrong; not looked at where the class is unknown.
        unknown: Whether the true class is none of the classifier's.
        unknown_cost: What accepting such an image costs, at least 0.

    Raises:
        ValueError: The cost is negative, or the lengths differ.

    Example:
        >>> import jax.numpy as jnp
        >>> failure, unknown = jnp.array([False, True, False]), jnp.array([False, False, True])
        >>> loss = scod_loss(failure, unknown, unknown_cost=2.0)
        >>> round(float(augrc(jnp.array([1, 2, 3]), loss)), 4)  # (1 + 2.5 + 3) / 9
        0.7222

    References:
        Narasimhan et al., Plugin estimators for selective classification with out-of-distribution detection,
        ICLR 2024.
    """
    check_lengths(failure=failure, unknown=unknown)
    if not unknown_cost >= 0:
        raise ValueError(f"The cost of accepting an unknown image must be at least 0; got {unknown_cost}.")
    return jnp.where(jnp.asarray(unknown, bool), jnp.float32(unknown_cost), floating(failure).astype(jnp.float32))


def check_range(between: Coverages) -> Coverages:
    """Returns a range of coverage.

    Raises:
        ValueError: It is no range within 0 and 1.
    """
    low, high = between
    if not 0 <= low < high <= 1:
        raise ValueError(f"A range of coverage must rise within 0 and 1, such as (0.5, 1.0); got {between}.")
    return float(low), float(high)
