import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax import metrics

N, PADDED, S, R, C = 60, 4, 3, 5, 4


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    arrays = {
        "scores": rng.integers(0, 9, (S, N)).astype(np.float32),
        "predicted": rng.integers(0, C - 1, (S, N)).astype(np.int32),
        "probabilities": rng.uniform(0.7, 1, (S, N)).astype(np.float32),
        "labels": rng.integers(0, C, N).astype(np.int32),
        "loss_weight": rng.uniform(0.5, 2, N).astype(np.float32),
        "weights": rng.integers(0, 3, (R, N)).astype(np.float32),
    }
    arrays["probabilities"][1] = np.nan
    padded = {
        name: jnp.asarray(np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, PADDED)])) for name, array in arrays.items()
    }
    thresholds = jnp.array([2.0, 4.0, 6.0])
    return arrays, metrics.bootstrap_metrics(**padded, thresholds=thresholds, num_classes=C), thresholds


def test_every_value_is_the_public_metric_under_those_weights(problem):
    arrays, result, thresholds = problem
    for s in range(S):
        failure = arrays["predicted"][s] != arrays["labels"]
        cost = (failure * arrays["loss_weight"]).astype(np.float32)
        score = arrays["scores"][s]
        for r in range(R):
            weight = arrays["weights"][r]
            expected = {
                "accuracy": metrics.accuracy(arrays["predicted"][s], arrays["labels"], weight=weight),
                "balanced_accuracy": metrics.balanced_accuracy(
                    arrays["predicted"][s], arrays["labels"], num_classes=C, weight=weight
                ),
                "aurc": metrics.aurc(score, cost, weight=weight),
                "augrc": metrics.augrc(score, cost, weight=weight),
                "auroc_f": metrics.auroc_f(score, failure, weight=weight),
                "fpr_at_95tpr": metrics.fpr_at_95tpr(score, failure, weight=weight),
                "silent_failure_rate": metrics.silent_failure_rate(arrays["probabilities"][s], failure, weight=weight),
                "accepted_failure_rate": metrics.accepted_failure_rate(score, failure, thresholds[s], weight=weight),
            }
            assert set(result) == set(expected)
            for name, value in expected.items():
                np.testing.assert_allclose(result[name][s, r], value, rtol=1e-5, err_msg=name)
    assert np.isnan(result["silent_failure_rate"][1]).all() and not np.isnan(result["silent_failure_rate"][0]).any()


def test_a_patients_images_are_drawn_together_and_the_mean_weight_is_one():
    groups = jnp.array([0, 0, 1, 2, 2, 2, 3], jnp.int32)
    weights = np.asarray(metrics.resample_weights(jax.random.key(0), groups, 4000))
    assert weights.shape == (4000, 7)
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3, 6]].sum(1) == 4).all()
    np.testing.assert_allclose(weights.mean(0), 1, atol=0.05)


def test_percentiles_leave_out_undefined_resamples_up_to_a_share():
    values = np.arange(1000.0)
    assert metrics.percentile_interval(values)[:2] == pytest.approx((24.975, 974.025))
    values[:50] = np.nan
    low, high, undefined = metrics.percentile_interval(values)
    assert undefined == pytest.approx(0.05) and low > 50 and high < 1000
    values[:51] = np.nan
    assert np.isnan(metrics.percentile_interval(values)[:2]).all()


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Accuracy 0.8 at n = 200: of 200 data sets, the interval of about 190 holds the truth."""
    rng = np.random.default_rng(0)
    weights = np.asarray(metrics.resample_weights(jax.random.key(1), jnp.arange(200, dtype=jnp.int32), 400))
    held = 0
    for _ in range(200):
        right = rng.random(200) < 0.8
        low, high, _ = metrics.percentile_interval(weights @ right / weights.sum(1))
        held += low <= 0.8 <= high
    assert 180 <= held <= 199
