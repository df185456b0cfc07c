"""Sums over groups that do not drift, and metrics of each group."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax.metrics.calibration import brier_decomposition, ece
from sfjax.metrics.failure_detection import auroc_f
from sfjax.metrics.grouped import by_group, sum_by_group
from sfjax.metrics.risk_coverage import aurc


@pytest.mark.parametrize("groups", [1, 20, 1139])
@pytest.mark.parametrize("sort", [False, True])
def test_sums_do_not_drift(groups, sort):
    group = np.random.default_rng(0).integers(0, groups, 1_000_000).astype(np.int32)
    group = np.sort(group) if sort else group
    sums = sum_by_group(jnp.full(len(group), 0.1), group, groups)
    # One addition after the other is off by 1e-2 here.
    np.testing.assert_allclose(sums, np.bincount(group) * np.float64(np.float32(0.1)), rtol=2e-6)


def test_counts_beyond_2_to_the_24():
    n = 2**24 + 1000
    assert float(sum_by_group(jnp.ones(n), np.zeros(n, np.int8), 1)[0]) == n


def test_groups_that_are_none_are_in_none():
    sums = sum_by_group(jnp.tile(jnp.array([1.0, 2, 4, 8, 16]), 100), np.tile([0, -1, 2, 3, 0], 100), 3)
    assert sums.tolist() == [1700, 0, 400]


@pytest.fixture
def images(rng):
    probability, group = rng.random(90).astype(np.float32), np.repeat([0, 1, 3], 30)
    return probability, rng.random(90) > probability, group


@pytest.mark.parametrize("metric", [aurc, auroc_f, ece])
def test_each_group_is_what_its_images_alone_are(metric, images):
    probability, failure, group = images
    weight = np.random.default_rng(1).integers(0, 3, 90)
    expected = [
        float(metric(probability[here], failure[here], weight=weight[here])) if here.any() else np.nan
        for here in (group == k for k in range(5))
    ]
    value = by_group(metric, group, 5)(probability, failure, weight=weight)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    jitted = jax.jit(by_group(metric, group, 5))(jnp.asarray(probability), jnp.asarray(failure), weight=weight)
    np.testing.assert_allclose(jitted, expected, rtol=1e-5)


def test_nan_stays_in_its_group(images):
    probability, failure, group = images
    probability[0] = np.nan
    value = by_group(aurc, group, 4)(probability, failure)
    assert np.isnan(value).tolist() == [True, False, True, False]
    group[0] = -1
    assert np.isnan(by_group(aurc, group, 4)(probability, failure)).tolist() == [False, False, True, False]


def test_metrics_with_options_and_several_values(images):
    probability, failure, group = images
    parts = by_group(brier_decomposition, group, 4)(probability, failure, bins=3)
    expected = brier_decomposition(probability[group == 3], failure[group == 3], bins=3)
    np.testing.assert_allclose([part[3] for part in parts], expected, rtol=1e-5)


def test_codes_of_one_byte_are_not_counted_twice():
    group = np.array([0, 0, 1, 1], np.uint8)
    value = by_group(aurc, group, 300)(np.arange(4.0), np.array([0, 1, 1, 1]))
    assert np.isfinite(value).sum() == 2


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"integers from 0 below 2; got float"):
        by_group(aurc, np.array([0.0, 1.0]), 2)
    with pytest.raises(ValueError, match=r"group \(2,\), weight \(3,\)"):
        by_group(aurc, np.array([0, 1]), 2)(np.zeros(2), np.zeros(2), weight=np.ones(3))
