"""Each metric against a slow definition in float64 on scores with many ties, and its edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from sfjax import metrics
from sfjax.metrics.ranking import check_lengths

N = 40


def draw(seed: int, levels: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns scores with ties, failures of both kinds, and integer weights with zeros among them."""
    rng = np.random.default_rng(seed)
    failure = rng.random(N) < rng.uniform(0.1, 0.9)
    failure[:2] = [True, False]
    weight = rng.integers(0, 4, N)
    weight[:2] = 1
    return rng.integers(0, levels, N).astype(np.float32), failure, weight.astype(np.float32)


def slow_curve(score: np.ndarray, loss: np.ndarray) -> tuple[list, list, list]:
    coverage, selective, generalized = [], [], []
    for threshold in sorted(set(score), reverse=True):
        kept = score >= threshold
        coverage.append(kept.mean())
        selective.append(loss[kept].mean())
        generalized.append(loss[kept].sum() / len(loss))
    return [0, *coverage], [selective[0], *selective], [0, *generalized]


def repeated(weight: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    return [np.repeat(array, weight.astype(int)).astype(np.float64) for array in arrays]


AREAS = jax.jit(
    lambda score, loss, weight: (metrics.aurc(score, loss, weight=weight), metrics.augrc(score, loss, weight=weight))
)
DETECTION = jax.jit(
    lambda score, failure, weight: (
        metrics.auroc_f(score, failure, weight=weight),
        metrics.fpr_at_95tpr(score, failure, weight=weight),
        metrics.accepted_failure_rate(score, failure, 3.0, weight=weight),
    )
)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 7, 1000]))
def test_areas_equal_the_slow_definition_of_the_repeated_images(seed, levels):
    score, failure, weight = draw(seed, levels)
    loss = failure * np.random.default_rng(seed).uniform(0.5, 3, N)
    coverage, selective, generalized = slow_curve(*repeated(weight, score, loss))
    aurc, augrc = AREAS(jnp.asarray(score), jnp.asarray(loss, jnp.float32), jnp.asarray(weight))
    assert float(aurc) == pytest.approx(np.trapezoid(selective, coverage), rel=1e-5)
    assert float(augrc) == pytest.approx(np.trapezoid(generalized, coverage), rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 7, 1000]))
def test_detection_equals_scikit_learn(seed, levels):
    score, failure, weight = draw(seed, levels)
    auroc, fpr, accepted = DETECTION(jnp.asarray(score), jnp.asarray(failure), jnp.asarray(weight))
    assert float(auroc) == pytest.approx(reference.roc_auc_score(~failure, score, sample_weight=weight), rel=1e-5)
    rates, hits, _ = reference.roc_curve(~failure, score, sample_weight=weight, drop_intermediate=False)
    assert float(fpr) == pytest.approx(rates[hits >= 0.95 - 1e-9].min(), rel=1e-5, abs=1e-7)
    assert float(accepted) == pytest.approx((weight * (failure & (score > 3))).sum() / weight.sum(), rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_augrc_is_what_auroc_and_accuracy_make_of_it(seed):
    score, failure, weight = draw(seed)
    _, augrc = AREAS(jnp.asarray(score), jnp.asarray(failure, jnp.float32), jnp.asarray(weight))
    auroc, *_ = DETECTION(jnp.asarray(score), jnp.asarray(failure), jnp.asarray(weight))
    error = (weight * failure).sum() / weight.sum()
    assert float(augrc) == pytest.approx((1 - float(auroc)) * error * (1 - error) + error**2 / 2, rel=1e-4)


def test_order_of_the_images_changes_nothing():
    score, failure, weight = draw(5)
    order = np.random.default_rng(1).permutation(N)
    one = [*AREAS(score, failure.astype(np.float32), weight), *DETECTION(score, failure, weight)]
    other = [
        *AREAS(score[order], failure[order].astype(np.float32), weight[order]),
        *DETECTION(score[order], failure[order], weight[order]),
    ]
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_balanced_accuracy_against_scikit_learn():
    rng = np.random.default_rng(0)
    labels, predicted, weight = rng.integers(0, 3, N), rng.integers(0, 3, N), rng.integers(1, 4, N)
    ours = metrics.balanced_accuracy(
        jnp.asarray(predicted), jnp.asarray(labels), num_classes=6, weight=jnp.asarray(weight)
    )
    expected = reference.balanced_accuracy_score(labels, predicted, sample_weight=weight)
    assert float(ours) == pytest.approx(expected, rel=1e-5)
    assert float(metrics.accuracy(jnp.asarray(predicted), jnp.asarray(labels))) == pytest.approx(
        (labels == predicted).mean()
    )


def test_curve_by_hand():
    curve = metrics.risk_coverage_curve(jnp.array([0.9, 0.5, 0.5, 0.1]), jnp.array([False, True, False, True]))
    assert curve.coverage.shape == (5,)
    coverage, selective, generalized, threshold = curve.distinct()
    np.testing.assert_allclose(coverage, [0, 0.25, 0.75, 1])
    np.testing.assert_allclose(selective, [0, 0, 1 / 3, 0.5], rtol=1e-6)
    np.testing.assert_allclose(generalized, [0, 0, 0.25, 0.5])
    np.testing.assert_allclose(threshold, [np.inf, 0.9, 0.5, 0.1])


def test_working_points_by_hand():
    score, failure = jnp.array([4.0, 3, 2, 1]), jnp.array([False, True, False, True])
    assert float(metrics.risk_at_coverage(score, failure, 0.75)) == pytest.approx(1 / 3)
    assert float(metrics.risk_at_coverage(score, failure, 0.6)) == pytest.approx(1 / 3)
    assert float(metrics.coverage_at_risk(score, failure, 0.34)) == pytest.approx(0.75)
    assert float(metrics.coverage_at_risk(jnp.array([2.0, 1]), jnp.array([True, True]), 0.5)) == 0


@pytest.mark.parametrize(("failure", "aurc", "augrc"), [(False, 0.0, 0.0), (True, 1.0, 0.5)])
def test_all_right_and_all_wrong(failure, aurc, augrc):
    score, failures = jnp.arange(9.0), jnp.full(9, failure)
    assert float(metrics.aurc(score, failures)) == pytest.approx(aurc)
    assert float(metrics.augrc(score, failures)) == pytest.approx(augrc)
    assert float(metrics.eaurc(score, failures)) == pytest.approx(0, abs=1e-6)
    assert np.isnan(metrics.auroc_f(score, failures)) and np.isnan(metrics.fpr_at_95tpr(score, failures))


def test_one_image():
    assert float(metrics.aurc(jnp.array([0.3]), jnp.array([True]))) == 1
    assert float(metrics.augrc(jnp.array([0.3]), jnp.array([True]))) == 0.5


def test_nan_comes_out_and_infinities_are_ordered():
    failure = jnp.array([False, True, False])
    for function in (metrics.aurc, metrics.augrc, metrics.auroc_f, metrics.fpr_at_95tpr):
        assert np.isnan(function(jnp.array([1.0, jnp.nan, 0.0]), failure))
    infinite = jnp.array([jnp.inf, -jnp.inf, 0.0])
    assert float(metrics.auroc_f(infinite, failure)) == 1
    assert float(metrics.aurc(infinite, failure)) == float(metrics.aurc(jnp.array([2.0, 0.0, 1.0]), failure))


def test_types_that_people_have():
    score, failure, _ = draw(3)
    values = [
        float(metrics.aurc(s, f))
        for s in (jnp.asarray(score), jnp.asarray(score, jnp.float16), jnp.asarray(score, jnp.int32), score)
        for f in (jnp.asarray(failure), jnp.asarray(failure, jnp.int32), failure)
    ]
    np.testing.assert_allclose(values, values[0], rtol=1e-6)


def test_unequal_lengths_and_no_images_are_refused():
    # Without the shape checks of the tests, as a user meets it.
    with pytest.raises(ValueError, match=r"score \(3,\), loss \(2,\)"):
        check_lengths(score=jnp.zeros(3), loss=jnp.zeros(2))
    with pytest.raises(ValueError, match="at least one image"):
        metrics.auroc_f(jnp.zeros(0), jnp.zeros(0))


def test_a_million_images_in_float32():
    rng = np.random.default_rng(0)
    n = 1_000_000
    score = rng.permutation(n).astype(np.float32)
    failure = rng.random(n) < 0.2 + 0.1 * (score < n / 2)
    by_score = failure[np.argsort(-score)].astype(np.float64)
    risk = np.cumsum(by_score) / np.arange(1, n + 1)
    expected = (np.concatenate([risk[:1], risk[:-1]]) + risk).sum() / 2 / n
    assert float(metrics.aurc(jnp.asarray(score), jnp.asarray(failure))) == pytest.approx(expected, rel=1e-5)
