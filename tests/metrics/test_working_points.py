"""Thresholds by hand: what they accept, and which one is chosen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfjax.metrics import (
    accepted_failure_rate,
    at_threshold,
    coverage_at_risk,
    risk_at_coverage,
    risk_coverage_curve,
    silent_failure_rate,
    working_point,
)

SCORE = np.array([9, 8, 8, 7, 6, 5, 5, 4], np.float32)
LOSS = np.array([0, 1, 0, 0, 0, 1, 1, 0])
# Points: 1/8 at risk 0, 3/8 at 1/3, 4/8 at 1/4, 5/8 at 1/5, 7/8 at 3/7, 1 at 3/8.


def same(value: object, expected: object) -> None:
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (-np.inf, (1, 3 / 8, 3 / 8)),
        (5, (5 / 8, 1 / 5, 1 / 8)),  # above, not at
        (4.5, (7 / 8, 3 / 7, 3 / 8)),
        (8.9, (1 / 8, 0, 0)),
        (9, (0, np.nan, 0)),
        (np.inf, (0, np.nan, 0)),
    ],
)
def test_at_a_threshold(threshold, expected):
    same(at_threshold(SCORE, LOSS, threshold), expected)
    same(jax.jit(at_threshold)(SCORE, LOSS, jnp.float32(threshold)), expected)
    same(accepted_failure_rate(SCORE, LOSS, threshold), expected[2])
    same(silent_failure_rate(SCORE, LOSS, threshold), expected[2])
    many = jax.vmap(lambda one: at_threshold(SCORE, LOSS, one))(jnp.array([threshold, 7.5]))
    same(jnp.stack(many)[:, 0], expected)
    same(jnp.stack(many)[:, 1], (3 / 8, 1 / 3, 1 / 8))


def test_costs_and_weights_at_a_threshold():
    # Accepted are two of weight 1 and cost 2 and 0, and one of weight 4 and cost 1, of 10.
    score, cost, weight = np.array([3, 3, 2, 1, 1]), np.array([2, 0, 1, 7, 0]), np.array([1, 1, 4, 3, 1])
    same(at_threshold(score, cost, 1, weight=weight), (0.6, 1, 0.6))
    # The last image is not there.
    score, cost, weight = np.array([3, 2, np.nan]), np.array([1, 0, np.nan]), np.array([1, 1, 0])
    same(at_threshold(score, cost, 2, weight=weight), (0.5, 1, 0.5))
    assert np.isnan(at_threshold(score, np.zeros(3), 2)).all()
    assert np.isnan(at_threshold(SCORE, LOSS, np.nan)).all()
    assert np.isnan(at_threshold(score[:2], cost[:2], 2, weight=np.zeros(2))).all()
    assert np.isnan(at_threshold(score[:2], -cost[:2], 2)).all()


def test_a_probability_of_0_9_is_not_silent_and_0_9_is_the_rule():
    probability, failure = np.array([0.95, 0.9, 0.91, 0.5], np.float32), np.array([True, True, False, True])
    same(silent_failure_rate(probability, failure), 1 / 4)
    same(silent_failure_rate(probability, failure, 0.5), 2 / 4)


@pytest.mark.parametrize("threshold", [0.1, 0.6, 0.7, 0.8, 0.9])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_score_equal_to_the_threshold_is_not_above_it_traced_or_not(threshold, dtype):
    # The float32 of some of these is above the float64 of the same digits, and the float16 above the float32.
    score, failure = np.array([threshold, 1], dtype), np.array([True, False])
    expected = (dtype == np.float16 and np.float16(threshold) > np.float32(threshold)) / 2
    for function in (accepted_failure_rate, jax.jit(accepted_failure_rate)):
        same(function(score, failure, threshold), expected)


def test_numbers_of_numpy_are_compared_in_float64():
    score, failure = 1 - 1e-12 * np.arange(4), np.array([True, True, False, True])
    same(accepted_failure_rate(score, failure, score[2]), 2 / 4)
    same(accepted_failure_rate(np.array([2**24, 2**24 + 1]), np.array([True, True]), 2**24), 1 / 2)
    same(at_threshold(np.array([1e300, -1e300]), np.array([1, 0]), 0), (0.5, 1, 0.5))


@pytest.mark.parametrize(
    ("coverage", "risk"),
    [(0.01, 0), (0.125, 0), (0.2, 1 / 3), (0.375, 1 / 3), (0.4, 1 / 4), (0.5, 1 / 4), (0.8, 3 / 7), (1.0, 3 / 8)],
)
def test_risk_at_a_coverage(coverage, risk):
    same(risk_at_coverage(SCORE, LOSS, coverage), risk)


@pytest.mark.parametrize(
    ("risk", "point"),
    [
        (0, (1 / 8, 0, 9)),
        (0.19, (1 / 8, 0, 9)),
        (0.2, (5 / 8, 1 / 5, 6)),
        (0.37, (5 / 8, 1 / 5, 6)),
        (0.375, (1, 3 / 8, 4)),
        (1, (1, 3 / 8, 4)),
    ],
)
def test_most_coverage_at_a_risk(risk, point):
    same(working_point(SCORE, LOSS, risk=risk), point)
    same(coverage_at_risk(SCORE, LOSS, risk), point[0])


@pytest.mark.parametrize(
    ("coverage", "point"),
    [
        (0.01, (1 / 8, 0, 9)),
        (0.125, (1 / 8, 0, 9)),
        (0.13, (5 / 8, 1 / 5, 6)),
        (0.7, (1, 3 / 8, 4)),
        (1, (1, 3 / 8, 4)),
    ],
)
def test_least_risk_at_a_coverage(coverage, point):
    same(working_point(SCORE, LOSS, coverage=coverage), point)


def test_of_equal_risk_it_is_the_larger_coverage():
    same(working_point(np.array([4, 3, 2, 1]), np.array([1, 0, 1, 0]), coverage=0.4), (1, 1 / 2, 1))
    same(working_point(np.array([4, 3, 2, 1]), np.zeros(4), coverage=0.4), (1, 0, 1))


def test_where_no_point_is_reached():
    same(working_point(SCORE, np.ones(8), risk=0.99), (0, np.nan, np.inf))
    same(coverage_at_risk(SCORE, np.ones(8), 0.99), 0)


def test_images_of_weight_0_have_no_threshold():
    nan = np.nan
    score, loss, weight = (
        np.array([9, 3, 2.5, 2, 1, nan]),
        np.array([nan, 0, nan, 1, nan, nan]),
        np.array([0, 2, 0, 2, 0, 0]),
    )
    for options in ({"coverage": 1.0}, {"risk": 0.5}):
        same(working_point(score, loss, weight=weight, **options), (1, 1 / 2, 2))
    for options in ({"coverage": 0.3}, {"risk": 0.0}):
        same(working_point(score, loss, weight=weight, **options), (1 / 2, 0, 3))
    same(risk_at_coverage(score, loss, 0.1, weight=weight), 0)
    same(coverage_at_risk(score, loss, 0.1, weight=weight), 1 / 2)


def test_nan_in_is_nan_out():
    score = np.where(SCORE == 6, np.nan, SCORE)
    for options in ({"coverage": 0.5}, {"risk": 0.5}):
        assert np.isnan(working_point(score, LOSS, **options)).all()
        assert np.isnan(working_point(SCORE, LOSS, weight=np.zeros(8), **options)).all()
    assert np.isnan(risk_at_coverage(score, LOSS, 0.5)) and np.isnan(coverage_at_risk(score, LOSS, 0.5))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_points_are_the_best_of_the_curve(seed):
    rng = np.random.default_rng(seed)
    score, loss, weight = rng.integers(0, 9, 30), rng.integers(0, 3, 30), rng.integers(0, 3, 30)
    target, limit = rng.uniform(0.05, 1), rng.uniform(0.2, 1.8)
    curve = risk_coverage_curve(score, loss, weight=weight).distinct()
    coverage, risk = curve.coverage[1:], curve.selective_risk[1:]
    least = working_point(score, loss, coverage=target, weight=weight)
    same(least.selective_risk, risk[coverage >= target - 1e-6].min())
    allowed = coverage[risk <= limit]
    most = working_point(score, loss, risk=limit, weight=weight)
    same(most.coverage, allowed.max(initial=0))
    for point in (least, most):
        kept = score >= float(point.threshold)
        same(point.coverage, (weight * kept).sum() / weight.sum())
        if kept.any():
            same(point.selective_risk, (weight * loss * kept).sum() / (weight * kept).sum())


@pytest.mark.parametrize("coverage", [0.0, -0.1, 1.5, float("nan")])
def test_a_coverage_that_is_none_is_refused(coverage):
    score, failure = jnp.array([2.0, 1.0]), jnp.array([False, True])
    for function in (risk_at_coverage, lambda *x: working_point(x[0], x[1], coverage=x[2])):
        with pytest.raises(ValueError, match=r"lies in \(0, 1\]"):
            function(score, failure, coverage)


def test_the_threshold_of_a_working_point_is_met_just_below():
    score, failure = np.array([3.0, 2.0, 2.0, 1.0], np.float32), np.array([False, False, True, True])
    point = working_point(score, failure, coverage=0.75)
    below = np.nextafter(np.float32(point.threshold), np.float32(-np.inf))
    assert float(at_threshold(score, failure, below).coverage) == float(point.coverage) == 0.75
