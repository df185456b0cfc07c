"""Ranks, their spread, critical differences and tau: by hand, against scipy, and against published tables."""

import itertools

import numpy as np
import pytest
from scipy import stats

from sfjax.metrics.rank import critical_difference, kendall_tau, rank_distribution, ranks, tau_interval

Q_05 = (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)
"""Demšar 2006, table 5a: of 2 to 10 classifiers."""
Q_10 = (1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920)


# --- Ranks ------------------------------------------------------------------------------------------------------------


def test_ranks_by_hand():
    values = np.array([0.3, 0.1, 0.2, 0.1])
    np.testing.assert_array_equal(ranks(values, higher_is_better=False), [4, 1.5, 3, 1.5])
    np.testing.assert_array_equal(ranks(values, higher_is_better=True), [1, 3.5, 2, 3.5])
    np.testing.assert_array_equal(ranks(np.full(5, 2.0), higher_is_better=True), np.full(5, 3))
    np.testing.assert_array_equal(ranks(np.array([7.0]), higher_is_better=True), [1])


def test_ranks_are_those_of_scipy(rng):
    values = rng.integers(0, 6, (3, 4, 7)).astype(float)
    np.testing.assert_array_equal(ranks(values, higher_is_better=False), stats.rankdata(values, axis=-1))
    np.testing.assert_array_equal(ranks(values, higher_is_better=True), stats.rankdata(-values, axis=-1))


def test_a_row_with_an_undefined_value_has_no_ranks():
    found = ranks(np.array([[1.0, np.nan, 2.0], [1.0, 3.0, 2.0]]), higher_is_better=False)
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1], [1, 3, 2])


# --- Over resamples ---------------------------------------------------------------------------------------------------


def test_the_distribution_of_ranks_by_hand():
    # Lower is better. In order of the columns: a b c; b a c; a and b tie, c; all tie.
    resamples = np.array([[1.0, 2, 1, 5], [2, 1, 1, 5], [3, 3, 2, 5]])
    found = rank_distribution(resamples, higher_is_better=False)
    third = 1 / 3
    counts = [[1 + 0.5 + third, 1 + 0.5 + third, third]] * 2 + [[third, third, 3 + third]]
    np.testing.assert_allclose(found.distribution, np.array(counts) / 4)
    np.testing.assert_allclose(found.mean, np.array([1 + 2 + 1.5 + 2, 2 + 1 + 1.5 + 2, 3 + 3 + 3 + 2]) / 4)
    np.testing.assert_allclose(found.best, np.array([1.5 + third, 1.5 + third, third]) / 4)
    np.testing.assert_array_equal(found.low, [1, 1, 2])
    np.testing.assert_array_equal(found.high, [2, 2, 3])
    assert found.undefined == 0


def test_the_distribution_is_that_of_scipys_ranks(rng):
    resamples = rng.normal(size=(5, 400)) + np.array([0, 0.5, 1, 2, 9])[:, None]
    found = rank_distribution(resamples, higher_is_better=True, level=0.8)
    place = stats.rankdata(-resamples, axis=0)
    np.testing.assert_allclose(found.mean, place.mean(axis=1))
    for rank in range(5):
        np.testing.assert_allclose(found.distribution[:, rank], (place == rank + 1).mean(axis=1))
    for csf in range(5):
        ordered = np.sort(place[csf])
        assert (found.low[csf], found.high[csf]) == (ordered[39], ordered[359])
    np.testing.assert_allclose(found.distribution.sum(axis=0), 1)
    assert found.best[4] == 1 and found.best[0] < found.best[3] + 1e-9


def test_all_tied_share_every_rank():
    found = rank_distribution(np.ones((4, 10)), higher_is_better=True)
    np.testing.assert_allclose(found.distribution, 0.25)
    np.testing.assert_allclose(np.stack([found.mean, found.low, found.high]), 2.5)
    np.testing.assert_allclose(found.best, 0.25)


def test_one_csf_is_always_first(rng):
    found = rank_distribution(rng.normal(size=(1, 10)), higher_is_better=True)
    assert (found.mean, found.low, found.high, found.best, found.distribution) == (1, 1, 1, 1, 1)


def test_undefined_resamples_are_left_out_and_too_many_leave_no_interval(rng):
    resamples = rng.normal(size=(3, 100))
    whole = rank_distribution(resamples[:, 5:], higher_is_better=True)
    resamples[1, :5] = np.nan
    found = rank_distribution(resamples, higher_is_better=True)
    assert found.undefined == pytest.approx(0.05)
    for field, expected in zip(found[:5], whole[:5], strict=True):
        np.testing.assert_allclose(field, expected)
    resamples[2, 5] = np.nan
    more = rank_distribution(resamples, higher_is_better=True)
    assert np.isnan([more.low, more.high]).all() and np.isfinite([more.mean, more.best]).all()
    resamples[0] = np.nan
    nothing = rank_distribution(resamples, higher_is_better=True)
    assert nothing.undefined == 1 and np.isnan(nothing.mean).all() and np.isnan(nothing.distribution).all()


def test_mean_ranks_over_blocks_are_ranked_like_a_metric(rng):
    """The recipe of the docstring, against a loop."""
    resamples = rng.normal(size=(6, 50, 3)) + np.array([0, 0.3, 2])
    mean = ranks(resamples, higher_is_better=True).mean(axis=0)
    firsts = np.zeros(3)
    for r in range(50):
        place = np.mean([stats.rankdata(-resamples[block, r]) for block in range(6)], axis=0)
        firsts[place == place.min()] += 1 / (place == place.min()).sum()
    found = rank_distribution(mean.T, higher_is_better=False)
    np.testing.assert_allclose(found.best, firsts / 50)


def test_ranks_of_nothing_are_refused():
    with pytest.raises(ValueError, match="got 2 CSFs and 0 resamples"):
        rank_distribution(np.zeros((2, 0)), higher_is_better=True)
    with pytest.raises(ValueError, match="between 0 and 1; got 95"):
        rank_distribution(np.zeros((2, 3)), higher_is_better=True, level=95)


# --- Over blocks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "table"), [(0.95, Q_05), (0.9, Q_10)])
def test_the_critical_difference_is_that_of_the_published_table(rng, level, table):
    for number, q in zip(range(2, 11), table, strict=True):
        found = critical_difference(rng.normal(size=(14, number)), higher_is_better=True, level=level)
        assert found.difference == pytest.approx(q * (number * (number + 1) / (6 * 14)) ** 0.5, rel=6e-4)


def test_the_example_of_the_reference():
    """Demšar 2006, table 6: AUC of four classifiers on 14 data sets.

    Of two that are 0.975 on the last but one, he ranks the third classifier before the fourth.
    """
    auc = np.array(
        [
            [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.000, 0.940, 0.619, 0.972, 0.957],
            [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.000, 0.962, 0.666, 0.981, 0.978],
            [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.000, 0.965, 0.614, 0.9751, 0.946],
            [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.000, 0.962, 0.669, 0.975, 0.970],
        ]
    ).T
    found = critical_difference(auc, higher_is_better=True)
    np.testing.assert_allclose(found.mean, [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    assert found.difference == pytest.approx(1.25, abs=5e-3)
    assert critical_difference(auc, higher_is_better=True, level=0.9).difference == pytest.approx(1.12, abs=5e-3)
    assert found.groups == ((3, 1, 2, 0),)
    # At 10 %, C4.5 (0) differs from both variants of it that tune m (1 and 3).
    assert critical_difference(auc, higher_is_better=True, level=0.9).groups == ((3, 1, 2), (2, 0))
    # His chi-squared of 9.28 and F of 3.69 leave out that ties are corrected for, which makes both larger.
    assert found.p_friedman < stats.chi2.sf(9.28, 3) and found.p_iman_davenport < stats.f.sf(3.69, 3, 39)


@pytest.mark.parametrize("highest", [4, 1000])
def test_friedman_is_scipys_and_iman_davenport_an_analysis_of_variance_of_the_ranks(rng, highest):
    values = rng.integers(0, highest, (9, 5)) + np.array([0, 0, 1, 1, highest / 2])
    found = critical_difference(values, higher_is_better=False)
    assert found.p_friedman == pytest.approx(stats.friedmanchisquare(*values.T).pvalue)
    place = stats.rankdata(values, axis=1)
    between = 9 * ((place.mean(axis=0) - 3) ** 2).sum() / 4
    rest = ((place - place.mean(axis=0)) ** 2).sum() / (4 * 8)
    assert found.p_iman_davenport == pytest.approx(stats.f.sf(between / rest, 4, 4 * 8))


def test_two_csfs_that_never_change_places_and_all_that_tie():
    # Chi-squared of 6 with one degree of freedom.
    always = critical_difference(np.tile([0.1, 0.2], (6, 1)), higher_is_better=False)
    assert always.p_friedman == pytest.approx(0.0143059, rel=1e-5) and always.p_iman_davenport == 0
    np.testing.assert_array_equal(always.mean, [1, 2])
    assert always.groups == ()  # 1.96 / sqrt(6) = 0.80
    tied = critical_difference(np.ones((6, 3)), higher_is_better=False)
    assert (tied.p_friedman, tied.p_iman_davenport) == (1, 1) and tied.groups == ((0, 1, 2),)


def test_groups_are_the_maximal_sets_that_lie_within_the_critical_difference(rng):
    """Against all subsets."""
    for _ in range(10):
        values = rng.normal(size=(12, 6)) + rng.permutation(np.arange(6) * 0.45)
        found = critical_difference(values, higher_is_better=True)
        together = [
            set(subset)
            for size in range(2, 7)
            for subset in itertools.combinations(range(6), size)
            if np.ptp(found.mean[list(subset)]) < found.difference
        ]
        maximal = [group for group in together if not any(group < other for other in together)]
        assert sorted(map(sorted, found.groups)) == sorted(map(sorted, maximal))
        for group in found.groups:
            assert (np.diff(found.mean[list(group)]) >= 0).all()


def test_friedman_errs_as_often_as_it_says(rng):
    """Seven equal CSFs on twelve blocks; the groups tell apart any two of them as seldom."""
    runs = [critical_difference(rng.normal(size=(12, 7)), higher_is_better=True) for _ in range(500)]
    assert 0.02 <= np.mean([run.p_iman_davenport <= 0.05 for run in runs]) <= 0.085
    assert np.mean([run.groups != (tuple(np.argsort(run.mean, kind="stable").tolist()),) for run in runs]) <= 0.08


def test_blocks_that_cannot_be_ranked_are_refused():
    with pytest.raises(ValueError, match="got 1 blocks and 3 CSFs"):
        critical_difference(np.zeros((1, 3)), higher_is_better=True)
    with pytest.raises(ValueError, match="got 4 blocks and 1 CSFs"):
        critical_difference(np.zeros((4, 1)), higher_is_better=True)
    holes = np.zeros((4, 3))
    holes[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"1 are NaN, in blocks \[2\] and CSFs \[1\]"):
        critical_difference(holes, higher_is_better=True)
    with pytest.raises(ValueError, match="between 0 and 1; got 0"):
        critical_difference(np.zeros((4, 3)), higher_is_better=True, level=0)


# --- Between test sets ------------------------------------------------------------------------------------------------


def test_tau_by_hand():
    # Of six pairs, one is the other way round: (5 - 1) / 6.
    one = np.array([1.0, 2, 3, 4])
    assert kendall_tau(one, np.array([1.0, 2, 4, 3])) == pytest.approx(2 / 3)
    assert kendall_tau(one, 7 * one - 3) == 1
    assert kendall_tau(one, -one) == -1
    # A tie in one of them: 5 pairs agree, 6 and 5 are told apart.
    assert kendall_tau(one, np.array([1.0, 2, 3, 3])) == pytest.approx(5 / 30**0.5)


def test_tau_is_scipys_over_leading_axes(rng):
    one, other = rng.integers(0, 9, (2, 3, 8)).astype(float), rng.integers(0, 9, (1, 3, 8)).astype(float)
    found = kendall_tau(one, other)
    assert found.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        assert found[i, j] == pytest.approx(stats.kendalltau(one[i, j], other[0, j]).statistic)


def test_where_there_is_no_ranking_there_is_no_tau():
    one = np.array([1.0, 2, 3])
    for other in (np.ones(3), np.array([1.0, np.nan, 2.0])):
        assert np.isnan(kendall_tau(one, other)) and np.isnan(kendall_tau(other, one))
    assert np.isnan(kendall_tau(np.array([1.0]), np.array([2.0])))
    with pytest.raises(ValueError, match="got 3 and 2"):
        kendall_tau(one, one[:2])


def test_the_interval_of_tau_is_the_percentiles_of_the_resamples(rng):
    worth = np.arange(5.0)[:, None]
    one, other = worth + rng.normal(size=(5, 200)), worth + rng.normal(size=(5, 200))
    taus = [stats.kendalltau(one[:, r], other[:, r]).statistic for r in range(200)]
    found = tau_interval(one, other, level=0.5)
    np.testing.assert_allclose([found.low, found.high], np.quantile(taus, [0.25, 0.75]))
    assert found.undefined == 0
    other[:, :11] = 0  # all tie in 5.5 %
    holes = tau_interval(one, other)
    assert np.isnan([holes.low, holes.high]).all() and holes.undefined == pytest.approx(0.055)
    with pytest.raises(ValueError, match=r"got the shapes \(5, 200\) and \(5, 199\)"):
        tau_interval(one, other[:, 1:])
