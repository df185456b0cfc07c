"""From resamples to intervals and p-values: percentile and BCa. NumPy's arithmetic in float64, over leading axes.

Resamples in which a quantity is not defined (NaN) are left out and their share is reported; where it is above 5 %,
there is no interval.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

UNDEFINED_ALLOWED: Final = 0.05
Method = Literal["percentile", "bca"]
Values = np.ndarray | np.floating | float


class Estimate(NamedTuple):
    """Quantities on one set of images, with what their intervals are made of.

    Differences and means of estimates from one set of resamples are estimates: see `difference` and `mean`.

    Attributes:
        value: On the images as they are, of any shape.
        resamples: On each resample; the last axis is the resamples'.
        influence: How the value moves with the weight of each patient, in any unit; the last axis is the patients'.
    """

    value: Float[np.ndarray, "*shape"]
    resamples: Float[np.ndarray, "*shape r"]
    influence: Float[np.ndarray, "*shape g"]

    def at(self, *index: Any) -> "Estimate":
        """Returns the quantities at an index of the leading axes."""
        return Estimate(*(np.asarray(field)[(*index, ...)] for field in self))


class Interval(NamedTuple):
    """Both ends, and the share of resamples in which the quantity was not defined; each of the quantities' shape."""

    low: Float[np.ndarray, "*shape"]
    high: Float[np.ndarray, "*shape"]
    undefined: Float[np.ndarray, "*shape"]


def difference(one: Estimate, other: Estimate) -> Estimate:
    """Returns the first less the second. Both are from one set of resamples, so that the difference is paired."""
    with np.errstate(invalid="ignore"):  # infinite values have no difference: NaN
        return Estimate(*(np.asarray(np.subtract(a, b)) for a, b in zip(one, other, strict=True)))


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """Returns the mean of estimates from one set of resamples: over networks, or over levels of a corruption."""
    return Estimate(*(np.asarray(np.mean(np.stack(fields), axis=0)) for fields in zip(*estimates, strict=True)))


def interval(estimate: Estimate, *, level: float = 0.95, method: Method = "bca") -> Interval:
    """Returns the bootstrap interval of each quantity.

    Args:
        estimate: Of quantities.
        level: Chance that the interval aims at.
        method: `percentile`, the quantiles of the resamples; or `bca`, whose quantiles are moved by the median bias
            and by the acceleration, the skewness of the patients' influences over 6.

    References:
        Efron, Better bootstrap confidence intervals, JASA 1987.
    """
    if not 0 < level < 1:
        raise ValueError(f"The level of an interval must lie between 0 and 1; got {level}.")
    _check_method(method)
    resamples, count, undefined = _defined(estimate)
    normal = ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    levels = ndtr(normal)
    ends = [np.broadcast_to(one, count.shape) for one in levels]
    if method == "bca":
        bias, acceleration = _bias(estimate.value, resamples, count), accelerations(estimate.influence)
        ends = [np.asarray(ndtr(_moved(bias, acceleration, z))) for z in normal]
    low, high = (_quantile(resamples, count, end) for end in ends)
    given = undefined <= UNDEFINED_ALLOWED + 1e-9
    return Interval(np.where(given, low, np.nan), np.where(given, high, np.nan), undefined)


def p_value(estimate: Estimate, *, null: float = 0.0, method: Method = "bca") -> Float[np.ndarray, "*shape"]:
    """Returns the two-sided p-value of each quantity: 1 less the largest level whose interval leaves `null` out.

    It is at least 2 / (r + 1) of r resamples, NaN where there is no interval, and 1 where all resamples are equal to
    `null`.

    Args:
        estimate: Of quantities, as a rule of differences.
        null: The value that is tested.
        method: As of `interval`.
    """
    _check_method(method)
    resamples, count, undefined = _defined(estimate)
    below, equal = ((compare(resamples, null) & np.isfinite(resamples)).sum(-1) for compare in (np.less, np.equal))
    share = (below + equal / 2 + 0.5) / (count + 1)
    fewest = 1 / (np.maximum(count, 1) + 1)
    tail = ndtri(np.clip(share, fewest, 1 - fewest))
    if method == "bca":
        bias, acceleration = _bias(estimate.value, resamples, count), accelerations(estimate.influence)
        tail = _moved(-bias, -acceleration, tail)  # the z whose moved quantile is the null: the inverse
    p = np.clip(2 * ndtr(-np.abs(tail)), 2 / (count + 1), 1)
    p = np.where(equal == count, 1.0, p)
    return np.where(undefined <= UNDEFINED_ALLOWED + 1e-9, p, np.nan)


def accelerations(influence: Float[np.ndarray, "*shape g"]) -> Float[np.ndarray, "*shape"]:
    """Returns BCa's acceleration: the third moment of the patients' influences over 6 times the second to 3/2.

    Influences that are not defined are left out; 0 where there is none, or all are equal.
    """
    influence = np.asarray(influence, np.float64)
    some = np.isfinite(influence)
    centered = np.where(some, influence, 0)
    centered = np.where(
        some, centered - centered.sum(-1, keepdims=True) / np.maximum(some.sum(-1, keepdims=True), 1), 0
    )
    largest = np.abs(centered).max(-1, keepdims=True, initial=0)
    scaled = centered / np.where(largest > 0, largest, 1)  # so that no power underflows
    second, third = (scaled**2).sum(-1), (scaled**3).sum(-1)
    return np.where(second > 0, third / (6 * np.where(second > 0, second, 1) ** 1.5), 0)


def _check_method(method: str) -> None:
    if method not in ("percentile", "bca"):
        raise ValueError(f"An interval is made by percentile or bca; got {method!r}.")


def _defined(estimate: Estimate) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the resamples sorted with NaN last, how many are defined, and the share that is not."""
    resamples = np.sort(np.asarray(estimate.resamples, np.float64), axis=-1)
    count = np.asarray((~np.isnan(resamples)).sum(-1))
    return resamples, count, np.asarray(1 - count / resamples.shape[-1])


def _bias(value: np.ndarray, resamples: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Returns BCa's z0, from the share of resamples below the value; those equal to it count half."""
    value = np.asarray(value, np.float64)[..., None]
    # Rounding must not tell apart what is equal: the resamples of a set are computed in float32.
    near = np.isclose(resamples, value, rtol=1e-6, atol=1e-12)
    below = ((resamples < value) & ~near).sum(-1) + near.sum(-1) / 2
    number = np.maximum(count, 1)
    return np.asarray(ndtri(np.clip(below / number, 0.5 / number, 1 - 0.5 / number)))


def _moved(bias: Values, acceleration: Values, z: Values) -> np.ndarray:
    shifted = bias + z
    room = 1 - acceleration * shifted
    return np.where(room > 0, bias + shifted / np.where(room > 0, room, 1), np.copysign(np.inf, shifted))


def _quantile(resamples: np.ndarray, count: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Returns the quantile at a level of each quantity's sorted resamples, between two of them by a straight line."""
    place = np.clip(level, 0, 1) * np.maximum(count - 1, 0)
    lower = np.floor(place).astype(np.int64)
    upper = np.minimum(lower + 1, np.maximum(count - 1, 0))
    low, high = (np.take_along_axis(resamples, index[..., None], axis=-1)[..., 0] for index in (lower, upper))
    with np.errstate(invalid="ignore"):  # infinite values, such as of a likelihood: their own neighbors
        return np.where((low == high) | (place == lower), low, low + (place - lower) * (high - low))
