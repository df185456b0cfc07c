"""How far probabilities are from what happens: calibration errors in bins, and proper scores.

`probability` is that of being right, as a CSF states it, against the event of being right; `probabilities` and `logits`
are a classifier's, of all its classes. A probability outside [0, 1] gives NaN: it is a score that is no probability,
and to clip it would make a number of it all the same. `SLACK` beyond is rounding. What else holds of NaN and of weights
stands in `sfjax.metrics.ordering`.

A label that is none of the columns, such as -1, is a class to which the classifier gives the probability 0.

Bins of equal width are (0, 1/k], ... (1 - 1/k, 1], and 0 in the first (Guo et al., On calibration of modern neural
networks, ICML 2017). What is within `SLACK` above an edge is below it, so that 0.3 is in (0.25, 0.3] in float32 as in
float64. FD-Shifts (Jaeger et al., ICLR 2023) does the same by edges at k/20 x (1 + 1e-8). It also takes a set without
failures for one without successes: its ECE is 1 where all are right with probability 1, here it is 0.
"""

import functools
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from sfjax.metrics.grouped import mean_of_images, sum_by_group, total_weight, weight_like
from sfjax.metrics.ordering import Ordering, PerImage, Weight, check_lengths, cumulative, floating, prepare, ratio

SLACK: Final = 5e-7
"""What float32 may add to a probability by rounding; bins and bounds are read with it."""
PerClass = Shaped[Array | np.ndarray, "n c"]
"""One number a class of each image."""


def ece(probability: PerImage, failure: PerImage, *, bins: int = 20, weight: Weight = None) -> Float[Array, ""]:
    """Returns the expected calibration error: lower is better, in [0, 1].

    The mean over images of how far the mean probability of the image's bin is from the share of successes in it.

    Args:
        probability: Of being right.
        failure: Whether the prediction is wrong.
        bins: Number of bins of equal width.
        weight: How much each image counts; 1 if left out.

    Raises:
        ValueError: Unequal lengths, no images, or no bins.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(ece(jnp.array([0.9, 0.9, 0.6, 0.6]), jnp.array([False, False, False, True]))), 4)
        0.1

    References:
        Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015.
    """
    gap, _, total = _binned(*_checked(probability, failure, bins, weight), bins=bins)
    return jnp.sum(jnp.abs(gap)) / total


def mce(probability: PerImage, failure: PerImage, *, bins: int = 20, weight: Weight = None) -> Float[Array, ""]:
    """Returns the maximum calibration error, that of the worst bin with images: lower is better, in [0, 1].

    It rests on the images of that one bin, however few.

    Args:
        probability: Of being right.
        failure: Whether the prediction is wrong.
        bins: Number of bins of equal width.
        weight: How much each image counts; 1 if left out.

    Raises:
        ValueError: Unequal lengths, no images, or no bins.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(mce(jnp.array([0.9, 0.9, 0.9, 0.6]), jnp.array([False, False, False, True]))), 4)
        0.6

    References:
        Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015.
    """
    gap, of_bin, total = _binned(*_checked(probability, failure, bins, weight), bins=bins)
    return jnp.max(ratio(jnp.abs(gap), of_bin)) + 0 * total


def ece_equal_mass(
    probability: PerImage, failure: PerImage, *, bins: int = 15, weight: Weight = None
) -> Float[Array, ""]:
    """Returns the expected calibration error in bins of equal weight: lower is better, in [0, 1].

    Networks are sure of most images, so that bins of equal width hold nearly all of them in the last one. Images of
    equal probability share their outcome: a bin's edge divides them by weight, in no order.

    Args:
        probability: Of being right.
        failure: Whether the prediction is wrong.
        bins: Number of bins, each with the same share of the images.
        weight: How much each image counts; 1 if left out.

    Raises:
        ValueError: Unequal lengths, no images, or no bins.

    Example:
        >>> import jax.numpy as jnp
        >>> probability, failure = jnp.array([1, 0.9, 0.8, 0.6]), jnp.array([False, True, False, False])
        >>> round(float(ece_equal_mass(probability, failure, bins=2)), 4)  # (|0.5 - 0.95| + |1 - 0.7|) / 2
        0.375

    References:
        Nixon et al., Measuring calibration in deep learning, CVPR workshops 2019; Kumar et al., Verified uncertainty
        calibration, NeurIPS 2019.
    """
    check_lengths(probability=probability, failure=failure, weight=weight)
    _check_bins(bins)
    failure = floating(failure).astype(floating(probability).dtype)
    return ece_equal_mass_of(*prepare(probability, failure, weight), bins=bins)


@functools.partial(jax.jit, static_argnames="bins")
def ece_equal_mass_of(
    ordering: Ordering, failure: Float[Array, " n"], weight: Float[Array, " n"], *, bins: int
) -> Float[Array, ""]:
    """Returns `ece_equal_mass` of images that are ordered by their probability."""
    probability = floating(ordering.threshold).astype(failure.dtype)
    total = total_weight(weight, _improper(probability) | _improper(failure))
    gap = jnp.where(weight != 0, 1 - failure - probability, 0)
    start = jnp.zeros(1, failure.dtype)
    # Both sums rise or fall evenly within a tie group, which is what divides it by weight.
    mass, gaps = (jnp.concatenate([start, cumulative(x, ordering)[1]]) for x in (weight, weight * gap))
    edges = jnp.linspace(0, 1, bins + 1, dtype=mass.dtype) * mass[-1]
    return jnp.sum(jnp.abs(jnp.diff(jnp.interp(edges, mass, gaps)))) / total


@functools.partial(jax.jit, static_argnames="bins")
def ece_classwise(
    probabilities: PerClass, labels: PerImage, *, bins: int = 15, weight: Weight = None
) -> Float[Array, ""]:
    """Returns the mean over classes of the `ece` of each class against the rest: lower is better, in [0, 1].

    It sees what `ece` does not, probabilities of the classes that come second and later. Of many classes most
    probabilities are near 0, and so is it: compare it only where the number of classes is the same.

    Args:
        probabilities: Of each class.
        labels: True classes, from 0.
        bins: Number of bins of equal width.
        weight: How much each image counts; 1 if left out.

    Raises:
        ValueError: Unequal lengths, no images, or no bins.

    Example:
        >>> import jax.numpy as jnp
        >>> probabilities = jnp.array([[0.9, 0.1], [0.9, 0.1]])
        >>> round(float(ece_classwise(probabilities, jnp.array([0, 1]))), 4)  # (|0.9 - 0.5| + |0.1 - 0.5|) / 2
        0.4

    References:
        Kull et al., Beyond temperature scaling, NeurIPS 2019.
    """
    probabilities, labels = _of_classes(probabilities, labels, weight)
    weight = weight_like(probabilities[:, 0], weight)

    def of_class(one: Int[Array, ""]) -> Float[Array, ""]:  # one at a time, so that memory is that of one
        return ece(probabilities[:, one], labels != one, bins=bins, weight=weight)

    return jnp.mean(jax.lax.map(of_class, jnp.arange(probabilities.shape[1], dtype=jnp.int32)))


def brier(probabilities: PerClass, labels: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the mean squared distance of the probabilities from the true class's: lower is better, in [0, 2].

    Args:
        probabilities: Of each class.
        labels: True classes, from 0; see `brier_of_images` for others.
        weight: How much each image counts; 1 if left out.

    Raises:
        ValueError: Unequal lengths, or no images.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(brier(jnp.array([[0.8, 0.2], [0.4, 0.6]]), jnp.array([0, 0]))), 4)  # (0.08 + 0.72) / 2
        0.4

    References:
        Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 1950.
    """
    check_lengths(labels=labels, weight=weight)
    return mean_of_images(brier_of_images(probabilities, labels), weight)


@jax.jit
def brier_of_images(probabilities: PerClass, labels: PerImage) -> Float[Array, " n"]:
    """Returns the squared distance of an image's probabilities from the true class's: lower is better, in [0, 2].

    With a label that is none of the columns it is 1 + the sum of squares: that of one more column of probability 0,
    so that being sure and wrong costs 2 whether the classifier knows the class or not.

    Args:
        probabilities: Of each class.
        labels: True classes, from 0.

    Raises:
        ValueError: Unequal lengths, or no images.
    """
    probabilities, labels = _of_classes(probabilities, labels)
    probabilities = jnp.where(_improper(probabilities), jnp.nan, probabilities)
    true = _true(probabilities, labels)
    others = jnp.sum(jnp.where(true, 0, probabilities) ** 2, axis=1)
    return others + (1 - jnp.sum(jnp.where(true, probabilities, 0), axis=1)) ** 2


def nll(logits: PerClass, labels: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the mean negative log-likelihood of the true class: lower is better, in nats from 0 up.

    It is infinite where one true class has probability 0, as where a label is none of the columns: no such classifier
    has said that this could be. Where classes are unknown read the Brier score, which is bounded.

    Args:
        logits: Of each class, or logarithms of probabilities.
        labels: True classes, from 0; see `nll_of_images` for others.
        weight: How much each image counts; 1 if left out.

    Raises:
        ValueError: Unequal lengths, or no images.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(nll(jnp.log(jnp.array([[0.5, 0.5], [0.25, 0.75]])), jnp.array([0, 0]))), 4)  # 1.5 ln 2
        1.0397

    References:
        Good, Rational decisions, Journal of the Royal Statistical Society B 1952.
    """
    check_lengths(labels=labels, weight=weight)
    return mean_of_images(nll_of_images(logits, labels), weight)


@jax.jit
def nll_of_images(logits: PerClass, labels: PerImage) -> Float[Array, " n"]:
    """Returns the negative log-likelihood of an image's true class: lower is better, in nats from 0 up.

    From the logits, without softmax or epsilon: 1e-10 and 1000 are told as they are, also in float32. With a label that
    is none of the columns it is infinite.

    Args:
        logits: Of each class, or logarithms of probabilities.
        labels: True classes, from 0.

    Raises:
        ValueError: Unequal lengths, or no images.
    """
    logits, labels = _of_classes(logits, labels)
    true = _true(logits, labels)
    own = jnp.max(jnp.where(true, logits, -jnp.inf), axis=1)
    rest = jax.nn.logsumexp(jnp.where(true, -jnp.inf, logits), axis=1)
    return jax.nn.softplus(rest - own)


class BrierDecomposition(NamedTuple):
    """What the Brier score of being right is made of: reliability - resolution + uncertainty + remainder.

    Attributes:
        brier: Mean squared distance of the probability from the event; lower is better, in [0, 1].
        reliability: Mean squared distance of a bin's probability from its share of successes; lower is better.
        resolution: Mean squared distance of a bin's share of successes from that of all; higher is better.
        uncertainty: Variance of the event, accuracy x (1 - accuracy): the classifier's, not the score's.
        remainder: Of probabilities within bins: their variance less twice their covariance with the event. Below 0
            where they tell successes from failures within a bin.
    """

    brier: Float[Array, ""]
    reliability: Float[Array, ""]
    resolution: Float[Array, ""]
    uncertainty: Float[Array, ""]
    remainder: Float[Array, ""]


def brier_decomposition(
    probability: PerImage, failure: PerImage, *, bins: int = 20, weight: Weight = None
) -> BrierDecomposition:
    """Returns the Brier score of the event of being right and its parts, which add up to it.

    Args:
        probability: Of being right.
        failure: Whether the prediction is wrong.
        bins: Number of bins of equal width.
        weight: How much each image counts; 1 if left out.

    Raises:
        ValueError: Unequal lengths, no images, or no bins.

    Example:
        >>> import jax.numpy as jnp
        >>> parts = brier_decomposition(jnp.array([0.9, 0.9, 0.6, 0.6]), jnp.array([False, False, False, True]))
        >>> [round(float(part), 4) for part in parts]  # mean of .01, .01, .16, .36; of .01, .01; .25 squared; 3/16
        [0.135, 0.01, 0.0625, 0.1875, 0.0]

    References:
        Murphy, A new vector partition of the probability score, Journal of Applied Meteorology 1973; Stephenson et
        al., Two extra components in the Brier score decomposition, Weather and Forecasting 2008.
    """
    return _decomposed(*_checked(probability, failure, bins, weight), bins=bins)


@functools.partial(jax.jit, static_argnames="bins")
def _decomposed(
    probability: Float[Array, " n"], success: Float[Array, " n"], weight: Float[Array, " n"], *, bins: int
) -> BrierDecomposition:
    probability, success, total = _there(probability, success, weight)
    place = _bin(probability, bins)
    of_bin = sum_by_group(weight, place, bins)
    stated, seen = (ratio(sum_by_group(weight * x, place, bins), of_bin) for x in (probability, success))
    right = jnp.sum(weight * success) / total
    within = probability - stated[place]
    return BrierDecomposition(
        brier=jnp.sum(weight * (probability - success) ** 2) / total,
        reliability=jnp.sum(of_bin * (stated - seen) ** 2) / total,
        resolution=jnp.sum(of_bin * (seen - right) ** 2) / total,
        uncertainty=jnp.sum(weight * (success - right) ** 2) / total,
        remainder=jnp.sum(weight * within * (within - 2 * (success - seen[place]))) / total,
    )


@functools.partial(jax.jit, static_argnames="bins")
def _binned(
    probability: Float[Array, " n"], success: Float[Array, " n"], weight: Float[Array, " n"], *, bins: int
) -> tuple[Float[Array, " b"], Float[Array, " b"], Float[Array, ""]]:
    """Returns each bin's successes less its summed probability, each bin's weight, and the total or NaN."""
    probability, success, total = _there(probability, success, weight)
    place = _bin(probability, bins)
    gap = sum_by_group(weight * (success - probability), place, bins)
    return gap, sum_by_group(weight, place, bins), total


def _bin(probability: Float[Array, " n"], bins: int) -> Int[Array, " n"]:
    """Returns the bin of equal width that each probability lies in, as the module describes."""
    place = jnp.ceil((probability - SLACK) * bins) - 1
    return jnp.clip(place, 0, bins - 1).astype(jnp.int32)


def _checked(
    probability: PerImage, failure: PerImage, bins: int, weight: Weight
) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " n"]]:
    """Returns probabilities, successes and weights in one type."""
    check_lengths(probability=probability, failure=failure, weight=weight)
    _check_bins(bins)
    probability = floating(probability)
    success = 1 - floating(failure).astype(probability.dtype)
    return probability, success, weight_like(probability, weight)


def _check_bins(bins: int) -> None:
    if bins < 1:
        raise ValueError(f"Calibration is measured in at least one bin; got bins={bins}. Usual are 10 to 20.")


def _there(
    probability: Float[Array, " n"], success: Float[Array, " n"], weight: Float[Array, " n"]
) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, ""]]:
    """Returns probabilities and successes with 0 for images of weight 0, and the total weight or NaN."""
    total = total_weight(weight, _improper(probability) | _improper(success))
    there = weight != 0
    return jnp.where(there, probability, 0), jnp.where(there, success, 0), total


def _improper(probability: Float[Array, "*shape"]) -> Bool[Array, "*shape"]:
    """Returns where a probability is NaN or outside [0, 1] by more than rounding."""
    return ~((probability >= -SLACK) & (probability <= 1 + SLACK))


def _of_classes(
    values: PerClass, labels: PerImage, weight: Weight = None
) -> tuple[Float[Array, "n c"], Int[Array, " n"]]:
    """Returns values of classes as floats and labels as integers; ValueError unless both are of the same images."""
    shape = jnp.shape(values)
    if len(shape) != 2 or 0 in shape or jnp.shape(labels) != shape[:1]:
        raise ValueError(
            "Values of classes have the shape (n, c), a row an image, with one label each; got "
            f"{shape} and labels {jnp.shape(labels)}."
        )
    check_lengths(labels=labels, weight=weight)
    values, labels = floating(values), jnp.asarray(labels)
    if jnp.issubdtype(labels.dtype, jnp.inexact):
        values = jnp.where(jnp.isnan(labels)[:, None], jnp.nan, values)
    return values, labels.astype(jnp.int32)


def _true(values: Float[Array, "n c"], labels: Int[Array, " n"]) -> Bool[Array, "n c"]:
    """Returns where the true class is; nowhere in the row of a label that is none of the columns."""
    return labels[:, None] == jnp.arange(values.shape[1], dtype=jnp.int32)[None]
