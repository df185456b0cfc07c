"""Which CSF comes first? Ranks, how sure they are, and which of them differ over many test sets.

Rank 1 is the best. CSFs that tie share the mean of the ranks that they take.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import chdtrc, fdtrc

from sfjax.metrics.intervals import UNDEFINED_ALLOWED, Estimate, Interval, interval


class RankDistribution(NamedTuple):
    """The ranks of s CSFs over resamples of the images.

    Attributes:
        mean: Mean rank.
        low: Lower end of the rank's interval, a rank that occurs.
        high: Upper end.
        best: Share of resamples in which the CSF is the best; t CSFs that tie for it count 1 / t each.
        distribution: Share of resamples at each rank, one row a CSF, one column a rank from 1; CSFs that tie spread
            over the ranks that they take, so that rows and columns sum to 1.
        undefined: Share of resamples left out, because a CSF is not defined in them.
    """

    mean: Float[np.ndarray, " s"]
    low: Float[np.ndarray, " s"]
    high: Float[np.ndarray, " s"]
    best: Float[np.ndarray, " s"]
    distribution: Float[np.ndarray, "s s"]
    undefined: float


class CriticalDifference(NamedTuple):
    """What a critical-difference diagram shows.

    Attributes:
        mean: Mean rank of each CSF over the blocks.
        difference: Mean ranks less apart than this are not told apart.
        p_friedman: Of the hypothesis that all CSFs rank alike, by Friedman's chi-squared.
        p_iman_davenport: The same by Iman and Davenport's F, less conservative with few blocks.
        groups: Largest sets of CSFs that are not told apart, as their places, best mean rank first.
    """

    mean: Float[np.ndarray, " s"]
    difference: float
    p_friedman: float
    p_iman_davenport: float
    groups: tuple[tuple[int, ...], ...]


def ranks(values: Float[np.ndarray, "*shape s"], *, higher_is_better: bool) -> Float[np.ndarray, "*shape s"]:
    """Returns the rank of each CSF among those of its row, 1 for the best; ties share their mean rank.

    A row in which any CSF is NaN is NaN: without one of them the others' ranks would not mean the same.

    Args:
        values: One metric; the last axis is the CSFs'.
        higher_is_better: The metric's direction.
    """
    better, equal = _better_and_equal(values, higher_is_better=higher_is_better)
    place = better + (equal + 1) / 2
    return np.where(np.isnan(values).any(-1, keepdims=True), np.nan, place)


def rank_distribution(
    resamples: Float[np.ndarray, "s r"], *, higher_is_better: bool, level: float = 0.95
) -> RankDistribution:
    """Returns how the ranks of the CSFs vary over resamples of the images.

    Resampling adds noise, so that mean ranks are drawn to the middle and near ties look even nearer: between CSFs of
    equal worth, no CSF keeps the first place however many images there are. Resamples in which a CSF is NaN are left
    out; where they are more than 5 %, the interval is NaN.

    Mean ranks over blocks are ranked like a metric: `ranks(resamples).mean(0)` of shape (blocks, r, s) gives one row a
    resample, and lower is better.

    Args:
        resamples: One metric, one row a CSF; resample by resample on the same images.
        higher_is_better: The metric's direction.
        level: Chance that the interval aims at.

    Raises:
        ValueError: There is no CSF or no resample, or the level lies outside (0, 1).

    References:
        Hall and Miller, Using the bootstrap to quantify the authority of an empirical ranking, Annals of Statistics
        2009.
    """
    number, count = np.shape(resamples)
    if number == 0 or count == 0:
        raise ValueError(f"Ranks need a CSF and a resample; got {number} CSFs and {count} resamples. Give some.")
    _check_level(level)
    rows = np.asarray(resamples).T
    rows = rows[~np.isnan(rows).any(-1)]
    undefined = 1 - len(rows) / count
    if not len(rows):
        nothing = np.full(number, np.nan)
        return RankDistribution(nothing, nothing, nothing, nothing, np.full((number, number), np.nan), undefined)
    better, equal = _better_and_equal(rows, higher_is_better=higher_is_better)
    shares = [((better <= rank) & (rank < better + equal)) / equal for rank in range(number)]
    distribution = np.stack([share.mean(axis=0) for share in shares], axis=-1)
    ends = np.quantile(better + (equal + 1) / 2, [(1 - level) / 2, (1 + level) / 2], axis=0, method="inverted_cdf")
    low, high = ends if undefined <= UNDEFINED_ALLOWED + 1e-9 else np.full_like(ends, np.nan)
    mean = distribution @ np.arange(1.0, number + 1)
    return RankDistribution(mean, low, high, distribution[:, 0], distribution, undefined)


def critical_difference(
    values: Float[np.ndarray, "blocks s"], *, higher_is_better: bool, level: float = 0.95
) -> CriticalDifference:
    """Returns mean ranks over blocks with the difference that Nemenyi's test asks of two of them.

    Nemenyi's test holds its level over all pairs by itself; the p-values say whether there is any difference at all.
    Both take the blocks for independent. Mean ranks of two CSFs depend on which others are ranked with them.

    Args:
        values: One metric; one row a block (a task, or a task and a shift), one column a CSF.
        higher_is_better: The metric's direction.
        level: Chance of no wrong difference among all pairs.

    Raises:
        ValueError: There are fewer than 2 blocks or 2 CSFs, a value is NaN, or the level lies outside (0, 1).

    References:
        Demšar, Statistical comparisons of classifiers over multiple data sets, JMLR 2006.
        Iman and Davenport, Approximations of the critical region of the Friedman statistic, Communications in
        Statistics 1980.
        Benavoli et al., Should we really use post-hoc tests based on mean-ranks?, JMLR 2016.
    """
    blocks, number = np.shape(values)
    if blocks < 2 or number < 2:
        raise ValueError(
            f"A critical difference needs at least 2 blocks and 2 CSFs; got {blocks} blocks and {number} CSFs. "
            "Rank over more test sets, or compare by paired differences."
        )
    _check_level(level)
    missing = np.isnan(values)
    if missing.any():
        raise ValueError(
            f"Every CSF needs a value in every block; {int(missing.sum())} are NaN, in blocks "
            f"{np.flatnonzero(missing.any(axis=1)).tolist()} and CSFs {np.flatnonzero(missing.any(axis=0)).tolist()}. "
            "Leave out those blocks or those CSFs."
        )
    from scipy.stats import studentized_range  # here, because it takes a second

    place = ranks(values, higher_is_better=higher_is_better)
    mean = place.mean(axis=0)
    quantile = studentized_range.ppf(level, number, np.inf) / math.sqrt(2)
    apart = float(quantile * math.sqrt(number * (number + 1) / (6 * blocks)))
    return CriticalDifference(mean, apart, *_friedman(place), _groups(mean, apart))


def kendall_tau(one: Float[np.ndarray, "... s"], other: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Returns Kendall's tau-b between the values of CSFs on two test sets: 1 for the same ranking, -1 for its reverse.

    It answers whether the ranking on i.i.d. images holds under a shift. NaN where a value is NaN, or where all CSFs tie
    on a test set: then there is no ranking.

    Args:
        one: A metric on a test set; the last axis is the CSFs'.
        other: The same metric, and the same CSFs, on another test set.

    Raises:
        ValueError: They are not equally many CSFs.

    References:
        Kendall, The treatment of ties in ranking problems, Biometrika 1945.
    """
    if np.shape(one)[-1] != np.shape(other)[-1]:
        raise ValueError(
            f"Kendall's tau compares the same CSFs on two test sets; got {np.shape(one)[-1]} and "
            f"{np.shape(other)[-1]}. Leave out those that only one has."
        )
    signs = [np.sign(values[..., :, None] - values[..., None, :]) for values in (one, other)]
    agreement = (signs[0] * signs[1]).sum((-2, -1))
    pairs = np.sqrt((signs[0] ** 2).sum((-2, -1)) * (signs[1] ** 2).sum((-2, -1)))
    return np.where(pairs > 0, agreement / np.where(pairs > 0, pairs, 1), np.nan)


def tau_interval(one: Float[np.ndarray, "s r"], other: Float[np.ndarray, "..."], *, level: float = 0.95) -> Interval:
    """Returns the percentile interval of Kendall's tau-b over resamples of both test sets.

    Noise of the resamples comes on top of that of the images and draws tau to 0, so that the interval errs to that
    side; the tau of the images themselves may lie above it.

    Args:
        one: A metric on resamples of a test set, one row a CSF.
        other: The same on as many resamples of another test set, drawn as the images were: apart, or together
            where both are of the same images.
        level: Chance that the interval aims at.

    Raises:
        ValueError: They are not equally many CSFs or resamples, or the level lies outside (0, 1).
    """
    if np.shape(one) != np.shape(other):
        raise ValueError(
            f"Both test sets must have the same CSFs and as many resamples; got the shapes {np.shape(one)} and "
            f"{np.shape(other)}. Leave out what only one has."
        )
    # Percentiles ask neither for the value nor for influences.
    tau = Estimate(np.array(np.nan), kendall_tau(one.T, other.T), np.zeros(0))
    return Interval(*(end[0] for end in interval(tau.at(None), level=level, method="percentile")))


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"The level must lie between 0 and 1; got {level}. Give 0.95 for 95 %.")


def _better_and_equal(values: np.ndarray, *, higher_is_better: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each CSF how many of its row are better, and how many are as good, itself among them."""
    mine, others = values[..., :, None], values[..., None, :]
    better = others > mine if higher_is_better else others < mine
    return better.sum(-1), (others == mine).sum(-1)


def _friedman(place: np.ndarray) -> tuple[float, float]:
    """Returns the p-values of Friedman, corrected for ties, and of Iman and Davenport; 1 where all CSFs tie."""
    blocks, number = place.shape
    # Variances of the ranks: of the CSFs' mean ranks, and of all ranks, smaller where there are ties.
    between = blocks * ((place.mean(axis=0) - (number + 1) / 2) ** 2).sum()
    within = ((place - (number + 1) / 2) ** 2).sum() / (blocks * (number - 1))
    if within == 0:
        return 1.0, 1.0
    chi_squared, most = between / within, blocks * (number - 1)
    rest = most - chi_squared
    f = (blocks - 1) * chi_squared / rest if rest > 1e-9 * most else np.inf
    return float(chdtrc(number - 1, chi_squared)), float(fdtrc(number - 1, (number - 1) * (blocks - 1), f))


def _groups(mean: np.ndarray, apart: float) -> tuple[tuple[int, ...], ...]:
    """Returns the largest runs of mean ranks less than `apart` from their first to their last."""
    order = np.argsort(mean, kind="stable")
    ends = np.searchsorted(mean[order], mean[order] + apart, side="left")
    runs = [(start, end) for start, end in enumerate(ends) if start == 0 or end > ends[start - 1]]
    return tuple(tuple(order[start:end].tolist()) for start, end in runs if end - start > 1)
