"""Intervals in closed form, of images that patients share: a share of the images, and an AUROC.

For tables of many small groups, where resampling each would take long. NumPy on the host, in float64.
"""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import betaincinv, expit, logit, stdtrit

_TAIL: Final = 0.025


class Measured(NamedTuple):
    """A value with both ends of its 95 % interval; NaN where they are not defined."""

    value: float
    low: float
    high: float


def share(hits: Bool[np.ndarray, " n"], patients: Int[np.ndarray, " n"]) -> Measured:
    """Returns the share of images that are hit, with Clopper and Pearson's interval.

    The interval is of as many images as these are worth: with one image a patient their number; else as many as would
    give the variance that the patients have, at most their number, or where all or none are hit, as many as there are
    patients.

    Args:
        hits: Whether it happens on an image.
        patients: One code a patient.

    References:
        Korn and Graubard, Confidence intervals for proportions with small expected number of positive counts estimated
        from survey data, Survey Methodology 1998.

    Example:
        >>> import numpy as np
        >>> [round(end, 3) for end in share(np.array([True] + [False] * 19), np.arange(20))]
        [0.05, 0.001, 0.249]
    """
    n = len(hits)
    if not n:
        return Measured(np.nan, np.nan, np.nan)
    value = float(hits.mean())
    sums, number = _by_patient(hits - value, patients)
    worth = float(n)
    if number < n:
        spread = (sums**2).sum() / n**2 * number / max(number - 1, 1)
        plain = value * (1 - value)
        worth = float(number) if plain == 0 or number == 1 else min(plain / spread, n) if spread > 0 else float(n)
        worth *= (stdtrit(n - 1, _TAIL) / stdtrit(max(number - 1, 1), _TAIL)) ** 2
    low, high = clopper_pearson(np.float64(value * worth), np.float64(worth))
    return Measured(value, float(low), float(high))


def clopper_pearson(
    hits: Float[np.ndarray, "*s"] | np.floating, n: Float[np.ndarray, "*s"] | np.floating
) -> tuple[Float[np.ndarray, "*s"], Float[np.ndarray, "*s"]]:
    """Returns both ends of the exact 95 % interval of a share; NaN where n is 0.

    Args:
        hits: Need not be whole, where images are worth less than their number.
        n: Of how many.

    References:
        Clopper and Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial,
        Biometrika 1934.
    """
    with np.errstate(invalid="ignore"):
        low = np.where(hits > 0, betaincinv(hits, n - hits + 1, _TAIL), 0.0)
        high = np.where(hits < n, betaincinv(hits + 1, np.maximum(n - hits, 0), 1 - _TAIL), 1.0)
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def placements(
    score: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]
) -> tuple[float, Float[np.ndarray, " n"]]:
    """Returns the chance that a positive scores above a negative, ties counting half, and each image's influence on it.

    The influence is an image's own share of the comparisons won, less the mean, over the number of its side.

    Args:
        score: Finite.
        positive: Which side an image is of; both sides have one at least.
    """
    influence = np.empty(len(score))
    sides = np.sort(score[~positive]), np.sort(score[positive])
    value = np.nan
    for side, other in ((positive, sides[0]), (~positive, sides[1])):
        won = (np.searchsorted(other, score[side], "left") + np.searchsorted(other, score[side], "right")) / 2
        won = won / len(other) if side is positive else 1 - won / len(other)
        value = float(won.mean())
        influence[side] = (won - value) / len(won)
    return value, influence


def auroc(
    score: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], patients: Int[np.ndarray, " n"]
) -> Measured:
    """Returns the AUROC with its interval; NaN without a positive, without a negative or with a score of NaN.

    Args:
        score: Higher is more positive.
        positive: Which images should score high.
        patients: One code a patient.

    References:
        DeLong, DeLong and Clarke-Pearson, Comparing the areas under two or more correlated ROC curves, Biometrics 1988.
        Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 1997.

    Example:
        >>> import numpy as np
        >>> auroc(np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False]), np.arange(4)).value
        0.75
    """
    if positive.all() or not positive.any() or np.isnan(score).any():
        return Measured(np.nan, np.nan, np.nan)
    value, influence = placements(score, positive)
    return auroc_interval(value, influence, positive, patients)


def auroc_interval(
    value: float, influence: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], patients: Int[np.ndarray, " n"]
) -> Measured:
    """Returns the interval of an AUROC, or of a mean of several, from the influences of all images.

    It is symmetric on the logit scale, with Student's quantile of as many patients as the rarer side has. Where every
    comparison is won the lower end is the chance that would let so many patients win all with chance 2.5 %; where
    all images weigh the same, as under one score for all, there is none.

    Args:
        value: In [0, 1].
        influence: As of `placements`.
        positive: Which side an image is of.
        patients: One code a patient.
    """
    fewest = min(len(np.unique(patients[positive])), len(np.unique(patients[~positive])))
    if value in (0.0, 1.0):
        tail = _TAIL ** (1 / fewest)
        return Measured(value, tail if value else 0.0, 1.0 if value else 1 - tail)
    sums, number = _by_patient(influence, patients)
    error = np.sqrt((sums**2).sum() * number / max(number - 1, 1))
    if fewest < 2 or error == 0:
        return Measured(value, np.nan, np.nan)
    reach = -stdtrit(fewest - 1, _TAIL) * error / (value * (1 - value))
    low, high = expit(logit(value) + np.array([-reach, reach]))
    return Measured(value, float(low), float(high))


def _by_patient(values: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, int]:
    codes = np.unique(patients, return_inverse=True)[1]
    sums = np.bincount(codes, weights=values)
    return sums, len(sums)
