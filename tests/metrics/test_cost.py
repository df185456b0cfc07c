"""Costs of failures by hand, and their rank correlation with confidence against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sfjax.metrics.cost import confident_cost_correlation, cost_of_failures

N = 50
COSTS = np.array([[0, 1, 2], [10, 0, 3], [4, 20, 0], [7, 8, 9]])


def draw(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns scores and costs with ties, failures, and integer weights with zeros among them."""
    rng = np.random.default_rng(seed)
    failure, weight = rng.random(N) < 0.6, rng.integers(0, 4, N)
    score, cost = rng.integers(0, 7, N), rng.integers(0, 5, N) * 2.5
    failure[:3], weight[:3], score[:2], cost[:2] = True, 1, [0, 1], [0, 1]
    return score.astype(np.float32), failure, cost, weight


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_correlation_equals_scipy_on_the_failures(seed):
    score, failure, cost, weight = draw(seed)
    expected = stats.spearmanr(score[failure], cost[failure])[0]
    assert float(confident_cost_correlation(score, failure, cost)) == pytest.approx(expected, abs=1e-5)
    s, f, c = (np.repeat(array, weight) for array in (score, failure, cost))
    expected = stats.spearmanr(s[f], c[f])[0]
    value = float(confident_cost_correlation(score, failure, cost, weight=weight))
    assert value == pytest.approx(expected, abs=1e-5)
    order = np.random.default_rng(seed).permutation(N)
    permuted = (array[order] for array in (score, failure, cost))
    assert float(confident_cost_correlation(*permuted, weight=weight[order])) == pytest.approx(value, abs=1e-6)


def test_the_direction():
    failure = np.ones(4, bool)
    assert float(confident_cost_correlation(np.arange(4), failure, np.array([1, 2, 3, 50]))) == 1
    assert float(confident_cost_correlation(np.arange(4), failure, np.array([9, 5, 3, 0]))) == -1


def test_jit_and_vmap_say_the_same():
    score, failure, cost, weight = draw(3)
    weights = np.stack([weight, weight[::-1]]).astype(np.float32)
    eager = [float(confident_cost_correlation(score, failure, cost, weight=one)) for one in weights]
    arrays = [jnp.asarray(array) for array in (score, failure, cost)]
    vmapped = jax.jit(jax.vmap(lambda one: confident_cost_correlation(*arrays, weight=one)))(weights)
    np.testing.assert_allclose(vmapped, eager, rtol=1e-5)
    slope = jax.grad(lambda one: confident_cost_correlation(*arrays, weight=one))(jnp.asarray(weights[0]))
    assert np.isfinite(slope).all()


def test_an_image_of_weight_0_is_not_there_and_nan_comes_out_of_any_other():
    score, failure, cost, weight = draw(4)
    there = weight > 0
    expected = float(confident_cost_correlation(score[there], failure[there], cost[there], weight=weight[there]))
    absent = int(np.flatnonzero(weight == 0)[0])
    for k in range(3):
        arrays = [array.astype(np.float32) for array in (score, failure, cost)]
        arrays[k][absent] = np.nan
        assert float(confident_cost_correlation(*arrays, weight=weight)) == pytest.approx(expected, abs=1e-6)
        arrays[k][0] = np.nan
        assert np.isnan(confident_cost_correlation(*arrays, weight=weight))
    for bad in (np.nan, -1, np.inf):
        weights = np.r_[np.float32(bad), weight[1:]].astype(np.float32)
        assert np.isnan(confident_cost_correlation(score, failure, cost, weight=weights))


@pytest.mark.parametrize("seed", range(3))
def test_no_correlation_without_two_failures_that_differ(seed):
    rng = np.random.default_rng(seed)
    n = 1000  # so that sums of weights are rounded, and equal ranks are equal all the same
    score, cost, weight = rng.random(n), rng.random(n), rng.random(n)
    failure = rng.random(n) < 0.3
    constant = np.where(failure, 0.3, score), np.where(failure, 2.0, 0)
    assert np.isnan(confident_cost_correlation(constant[0], failure, cost, weight=weight))
    assert np.isnan(confident_cost_correlation(score, failure, constant[1], weight=weight))
    assert np.isnan(confident_cost_correlation(score, np.arange(n) == 7, cost, weight=weight))
    assert np.isnan(confident_cost_correlation(score, np.zeros(n), cost))
    assert np.isnan(confident_cost_correlation(score[:1], failure[:1], cost[:1]))


def test_a_million_images_in_float32():
    rng = np.random.default_rng(0)
    n = 1_000_000
    score, failure = rng.random(n).astype(np.float32), rng.random(n) < 0.3
    cost = np.floor(8 * score + 10 * rng.random(n)).astype(np.float32)
    expected = stats.spearmanr(score[failure], cost[failure])[0]
    assert float(confident_cost_correlation(score, failure, cost)) == pytest.approx(expected, abs=1e-5)


def test_costs_by_hand():
    labels, predicted = np.array([0, 1, 2, 2, 3, 3]), np.array([0, 0, 2, 1, 0, 2])
    for kind in (np.int64, np.int32, np.uint8):
        assert cost_of_failures(COSTS, labels.astype(kind), predicted).tolist() == [0, 10, 0, 20, 7, 9]
    jitted = jax.jit(cost_of_failures)(COSTS, labels, predicted)
    assert jitted.tolist() == [0, 10, 0, 20, 7, 9]
    vmapped = jax.vmap(cost_of_failures, in_axes=(0, None, None))(jnp.stack([COSTS, 2 * COSTS]), labels, predicted)
    assert vmapped[1].tolist() == [0, 20, 0, 40, 14, 18]


def test_being_right_costs_nothing_whatever_the_table_says():
    assert cost_of_failures(COSTS + 1, np.array([0, 1, 3]), np.array([0, 1, 2])).tolist() == [0, 0, 10]


def test_a_class_without_a_row_or_column_has_no_cost():
    labels, predicted = np.array([-1, 4, 0, 1, np.nan]), np.array([0, 0, 3, -1, 0])
    assert np.isnan(cost_of_failures(COSTS, labels, predicted)).all()


def test_what_cannot_be_is_refused():
    for costs in (COSTS.T, np.zeros((0, 0))):
        with pytest.raises(ValueError, match=r"got \(\d, \d\)"):
            cost_of_failures(costs, np.array([0]), np.array([0]))
    with pytest.raises(ValueError, match=r"labels \(0,\)"):
        cost_of_failures(COSTS, np.zeros(0, int), np.zeros(0, int))
    with pytest.raises(ValueError, match="at least one image"):
        confident_cost_correlation(np.zeros(0), np.zeros(0), np.zeros(0))
