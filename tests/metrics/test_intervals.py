"""Intervals and p-values from resamples: against SciPy, and their rules."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sfjax.metrics.intervals import UNDEFINED_ALLOWED, Estimate, accelerations, difference, interval, mean, p_value

SEEDS = st.integers(0, 2**32 - 1)
METHODS = pytest.mark.parametrize("method", ["percentile", "bca"])


def of_a_mean(seed: int, r: int = 999, n: int = 40) -> tuple[np.ndarray, Estimate]:
    """Returns skewed numbers and their mean with its resamples; the influence of one is how far it lies from that."""
    rng = np.random.default_rng(seed)
    x = rng.gamma(0.7, 1, n)
    resamples = x[rng.integers(0, n, (r, n))].mean(-1)
    return x, Estimate(np.asarray(x.mean()), resamples, x - x.mean())


@METHODS
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_a_mean_as_scipy_has_it(method, seed, level):
    x, estimate = of_a_mean(seed)
    theirs = stats.bootstrap(
        (x,),
        np.mean,
        n_resamples=0,
        bootstrap_result=type("Resamples", (), {"bootstrap_distribution": estimate.resamples}),
        confidence_level=level,
        method={"percentile": "percentile", "bca": "BCa"}[method],
    ).confidence_interval
    low, high, undefined = interval(estimate, level=level, method=method)
    np.testing.assert_allclose([low, high], theirs, rtol=1e-9)
    assert undefined == 0
    other = interval(estimate, level=level, method="bca" if method == "percentile" else "percentile")
    assert abs(low - other.low) > 1e-4


def test_percentiles_of_a_thousand_resamples():
    low, high, _ = interval(Estimate(np.asarray(499.5), np.arange(1000.0), np.zeros(3)), method="percentile")
    assert (low, high) == pytest.approx((24.975, 974.025))


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.floats(0.3, 0.95), st.sampled_from(["percentile", "bca"]))
def test_p_values_are_where_intervals_begin_to_leave_the_null_out(seed, level, method):
    r = 4999
    _, estimate = of_a_mean(seed, r)
    # A quantile lies between two resamples: a few of their steps.
    for end in interval(estimate, level=level, method=method)[:2]:
        assert p_value(estimate, null=float(end), method=method) == pytest.approx(1 - level, abs=20 / r)
    null = float(np.random.default_rng(seed).choice(estimate.resamples))
    p = float(p_value(estimate, null=null, method=method))
    if 2 / (r + 1) < p < 1:
        ends = interval(estimate, level=1 - p, method=method)[:2]
        steps = np.searchsorted(np.sort(estimate.resamples), [*ends, null])
        assert min(abs(steps[:2] - steps[2])) <= 2


@METHODS
def test_p_values_are_uniform_under_the_null(method):
    rng = np.random.default_rng(0)
    x = rng.gamma(4, 1, (300, 50)) - 4
    resamples = np.stack([one[rng.integers(0, 50, (500, 50))].mean(-1) for one in x])
    p = p_value(Estimate(x.mean(-1), resamples, x - x.mean(-1, keepdims=True)), method=method)
    assert p.shape == (300,)
    # Binomial: 5 % of 300 within 3.5 standard deviations, on the side of too many for n = 50.
    assert 3 <= (p <= 0.05).sum() <= 30
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_the_least_and_the_largest_p_value():
    _, estimate = of_a_mean(0)
    for null in (-1, 9):
        assert p_value(estimate, null=null, method="percentile") == pytest.approx(2 / 1000)
    assert p_value(estimate, null=-1) == pytest.approx(2 / 1000)
    # BCa's upper end is the last resample from some level on; no level leaves out what lies beyond.
    p = float(p_value(estimate, null=9))
    assert p > 0.01
    assert (estimate.resamples > interval(estimate, level=1 - p).high).sum() <= 1
    assert (estimate.resamples > interval(estimate, level=1 - 2 * p).high).sum() > 1
    equal = Estimate(np.zeros(2), np.zeros((2, 50)), np.zeros((2, 7)))
    assert p_value(equal).tolist() == [1, 1]
    assert p_value(equal, null=0.1).tolist() == pytest.approx([2 / 51] * 2)
    assert np.array(interval(equal)).tolist() == [[0, 0]] * 3
    assert p_value(equal._replace(value=np.ones(2))).tolist() == [1, 1]
    # Half of the resamples equal to the null: no side.
    half = Estimate(np.asarray(0.0), np.repeat([-1.0, 0, 1], [20, 60, 20]), np.array([-1.0, 1]))
    assert p_value(half, method="percentile") == pytest.approx(1)


def test_a_null_beyond_what_acceleration_reaches():
    # The least acceleration, -1/6, and nearly all resamples above the value: moved quantiles end before the null.
    influence = np.r_[np.zeros(10_000), -1.0]
    resamples = np.r_[-1.0, np.linspace(1, 2, 9999)]
    estimate = Estimate(np.asarray(0.0), resamples, influence)
    assert p_value(estimate, null=3) == pytest.approx(2 / 10_001)
    low, high, _ = interval(estimate, level=1 - 1e-9)
    assert -1 <= low <= high <= 2


@METHODS
def test_quantities_on_leading_axes_are_each_their_own(method):
    many = [[of_a_mean(3 * i + j)[1] for j in range(3)] for i in range(2)]
    stacked = Estimate(*(np.array([[one[k] for one in row] for row in many]) for k in range(3)))
    found, p = interval(stacked, method=method), p_value(stacked, null=0.7, method=method)
    assert found.low.shape == found.high.shape == found.undefined.shape == p.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            alone = interval(many[i][j], method=method)
            assert (found.low[i, j], found.high[i, j]) == (alone.low, alone.high)
            assert p[i, j] == p_value(many[i][j], null=0.7, method=method)
            at = stacked.at(i, j)
            assert at.value == many[i][j].value and (at.influence == many[i][j].influence).all()


@METHODS
def test_undefined_resamples_are_left_out_up_to_a_share(method):
    assert UNDEFINED_ALLOWED == 0.05
    _, estimate = of_a_mean(1, r=1000)
    some = estimate.resamples.copy()
    some[np.random.default_rng(0).permutation(1000)[:50]] = np.nan
    found = interval(estimate._replace(resamples=some), method=method)
    without = estimate._replace(resamples=some[~np.isnan(some)])
    np.testing.assert_allclose(found[:2], interval(without, method=method)[:2])
    assert found.undefined == pytest.approx(0.05)
    assert p_value(estimate._replace(resamples=some), null=0.5, method=method) == pytest.approx(
        p_value(without, null=0.5, method=method)
    )
    some[np.flatnonzero(~np.isnan(some))[0]] = np.nan
    one_more = estimate._replace(resamples=some)
    assert np.isnan(interval(one_more, method=method)[:2]).all() and np.isnan(p_value(one_more, method=method))
    assert interval(one_more, method=method).undefined == pytest.approx(0.051)
    none = estimate._replace(resamples=np.full(9, np.nan))
    assert np.isnan(interval(none, method=method)[:2]).all() and np.isnan(p_value(none, method=method))


def test_infinite_values_have_an_interval_without_a_difference():
    infinite = Estimate(np.asarray(np.inf), np.r_[np.arange(10.0), np.full(990, np.inf)], np.full(4, np.nan))
    for method in ("percentile", "bca"):
        assert interval(infinite, method=method)[:2] == (np.inf, np.inf)
    assert interval(infinite, level=0.99999, method="percentile").low < 1
    assert np.isnan(difference(infinite, infinite).value)


def test_accelerations():
    # Of 0, 0, 0, 4: about the mean -1, -1, -1, 3 and so (27 - 3) / (6 (9 + 3)^1.5).
    influence = np.array([0.0, 0, 0, 4])
    expected = 24 / (6 * 12**1.5)
    assert accelerations(influence) == pytest.approx(expected)
    assert accelerations(-influence) == pytest.approx(-expected)
    scales = np.array([[1e-200], [1], [1e200]])
    np.testing.assert_allclose(accelerations(scales * influence), expected)
    assert accelerations(np.r_[influence, np.nan, np.inf]) == pytest.approx(expected)
    assert accelerations(np.array([[2.0, 2, 2], [np.nan] * 3])).tolist() == [0, 0]


def test_the_sign_of_the_acceleration_is_that_of_the_skewness():
    # Resamples without median bias: only the acceleration moves the ends, up for a tail above.
    resamples = np.linspace(-1, 1, 1001)
    for sign in (1, -1):
        bca = interval(Estimate(np.asarray(0.0), resamples, sign * np.array([0.0, 0, 0, 4])))
        plain = interval(Estimate(np.asarray(0.0), resamples, np.zeros(4)))
        assert sign * bca.low > sign * plain.low and sign * bca.high > sign * plain.high


def test_differences_and_means():
    one, other = (of_a_mean(seed)[1] for seed in (0, 1))
    less, half = difference(one, other), mean([one, other])
    for k in range(3):
        np.testing.assert_allclose(less[k], one[k] - other[k])
        np.testing.assert_allclose(half[k], (one[k] + other[k]) / 2)
    # Paired: what both share cancels, in the interval too.
    shifted = Estimate(other.value + 0.1, other.resamples + 0.1, other.influence)
    np.testing.assert_allclose(interval(difference(shifted, other))[:2], 0.1)
    assert p_value(difference(other, other)) == 1


@pytest.mark.parametrize("level", [0, 1, -0.5, 95])
def test_a_level_is_a_share(level):
    with pytest.raises(ValueError, match="between 0 and 1; got"):
        interval(of_a_mean(0)[1], level=level)
