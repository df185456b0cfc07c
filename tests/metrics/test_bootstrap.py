"""Resamples of every metric against the metric itself, their influences against differences, and how patients go."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from sfjax import metrics
from sfjax.metrics import METRICS, Metric, bootstrap, interval, resample_weights, scored
from sfjax.metrics.bootstrap import MAX_DELETED, SLOTS
from sfjax.metrics.calibration import brier_of_images, nll_of_images

N, PADDED, S, R, C, PATIENTS = 56, 4, 3, 7, 4, 25
SCORE_ALONE, ONE_FAILS = 1, 2
"""A CSF of which nothing but its score is known, and one whose network fails for one patient alone."""
NOT_OF_SCORES = {"ece", "nll", "brier", "silent_failure_rate", "silent_cost", "accepted_failure_rate", "accepted_cost"}
EXTRA = {"risk_at": metrics.risk_at(0.6), "coverage_at": metrics.coverage_at(0.3)}


GROUPS = np.random.default_rng(1).permutation(
    np.r_[np.arange(PATIENTS), np.random.default_rng(2).integers(0, PATIENTS, N - PATIENTS)]
)


def draw() -> dict[str, np.ndarray]:
    """Returns what S CSFs, of a network each, say of N images: scores with ties, and what goes with them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, C - 1, N)
    logits = rng.standard_normal((S, N, C)) + 1.5 * (labels[:, None] == np.arange(C))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    probability = probabilities.max(-1) + 0.15
    probability[:, ::3], probability[:, 1::7] = 0.905, 0.9  # silent, and not
    arrays = {
        "score": rng.integers(0, 9, (S, N)),
        "cost": rng.integers(1, 6, (S, N)) / 2,
        "logits": logits,
        "probabilities": probabilities,
        "probability": probability,
        "threshold": np.array([2.0, 4, 6]),
    }
    predicted = logits.argmax(-1)
    for name in ("logits", "probabilities", "probability", "threshold"):
        arrays[name][SCORE_ALONE] = np.nan
    predicted[ONE_FAILS] = np.where(GROUPS == 7, C - 1, labels)
    whole = {"predicted": predicted.astype(np.int32), "labels": np.tile(labels, (S, 1)).astype(np.int32)}
    return {
        name: array.astype(np.float32).clip(None, 1 if name == "probability" else None)
        for name, array in arrays.items()
    } | whole


ARRAYS = draw()


def stacked(images: list) -> metrics.Scored:
    return jax.tree.map(lambda *fields: jnp.asarray(np.stack(fields)), *images)


def as_scored(padding: int = 0) -> metrics.Scored:
    """Returns the CSFs; behind the images are so many others that are not there, as bad as can be."""

    def padded(values: np.ndarray, worst: float = np.nan) -> np.ndarray:
        return np.pad(values, (0, padding), constant_values=worst)

    images = []
    for score, cost, logits, probabilities, probability, threshold, predicted, labels in zip(
        *ARRAYS.values(), strict=True
    ):
        known = {
            "probability": padded(probability),
            "accepted_above": threshold,
            "nll": padded(np.asarray(nll_of_images(logits, labels))),
            "brier": padded(np.asarray(brier_of_images(probabilities, labels))),
        }
        images.append(
            scored(
                padded(score),
                padded(predicted != labels, True),
                cost=padded(cost),
                label=padded(labels, 0),
                num_classes=C,
                **(known if len(images) != SCORE_ALONE else {}),
            )
        )
    return stacked(images)


def public(score, cost, logits, probabilities, probability, threshold, predicted, labels, weight) -> dict:
    """Returns every metric that is resampled, by its public function."""
    failure = (predicted != labels).astype(jnp.float32)
    loss = failure * cost
    every = {"weight": weight}
    return {
        "accuracy": metrics.accuracy(predicted, labels, **every),
        "balanced_accuracy": metrics.balanced_accuracy(predicted, labels, num_classes=C, **every),
        "nll": metrics.nll(logits, labels, **every),
        "brier": metrics.brier(probabilities, labels, **every),
        "ece": metrics.ece(probability, failure, **every),
        **{
            name: getattr(metrics, name)(score, failure, **every)
            for name in ("aurc", "eaurc", "augrc", "auroc_f", "ap_error", "ap_success", "fpr_at_95tpr")
        },
        "aurc_balanced": metrics.aurc_balanced(score, failure, labels, num_classes=C, **every),
        "augrc_balanced": metrics.augrc_balanced(score, failure, labels, num_classes=C, **every),
        "silent_failure_rate": metrics.silent_failure_rate(probability, failure, **every),
        "accepted_failure_rate": metrics.accepted_failure_rate(score, failure, threshold, **every),
        "mean_cost": metrics.risk_coverage_curve(score, loss, **every).selective_risk[-1],
        "aurc_cost": metrics.aurc(score, loss, **every),
        "augrc_cost": metrics.augrc(score, loss, **every),
        "silent_cost": metrics.silent_failure_rate(probability, loss, **every),
        "accepted_cost": metrics.accepted_failure_rate(score, loss, threshold, **every),
        "cost_correlation": metrics.confident_cost_correlation(score, failure, cost, **every),
        "risk_at": metrics.risk_at_coverage(score, failure, 0.6, **every),
        "coverage_at": metrics.coverage_at_risk(score, failure, 0.3, **every),
    }


@pytest.fixture(scope="module")
def found():
    return bootstrap(
        jax.random.key(3), as_scored(PADDED), GROUPS, num_resamples=R, metrics={**METRICS, **EXTRA}, padding=PADDED
    )


@pytest.fixture(scope="module")
def without():
    """Every metric of each CSF with the weight of one patient's images moved: down to 0, and a little both ways."""
    patient = jnp.asarray(GROUPS[None] == np.arange(PATIENTS)[:, None], jnp.float32)
    step = 0.05
    weights = 1 + jnp.concatenate([-patient, -step * patient, step * patient])
    csfs = as_scored()

    def of_csf(one: metrics.Scored) -> dict:
        return {
            name: jax.vmap(lambda weight, value=metric.value: value(one, weight[one.ordering.order]))(weights)
            for name, metric in {**METRICS, **EXTRA}.items()
        }

    values = jax.tree.map(lambda x: np.asarray(x).reshape(S, 3, PATIENTS), jax.jit(jax.vmap(of_csf))(csfs))
    return {name: (value[:, 0], (value[:, 2] - value[:, 1]) / (2 * step)) for name, value in values.items()}


def test_every_value_is_the_public_metric_under_the_weights_of_the_key(found):
    drawn = resample_weights(jax.random.key(3), jnp.asarray(GROUPS), R)
    weights = jnp.concatenate([jnp.ones((1, N)), drawn])
    by_weight = jax.vmap(public, in_axes=(None,) * len(ARRAYS) + (0,))
    by_csf = jax.vmap(by_weight, in_axes=(0,) * len(ARRAYS) + (None,))
    expected = jax.jit(by_csf)(*ARRAYS.values(), weights)
    assert set(found) == set(expected) == {*METRICS, *EXTRA}
    for name, values in expected.items():
        estimate = found[name]
        assert estimate.value.shape == (S,) and estimate.resamples.shape == (S, R)
        np.testing.assert_allclose(estimate.value, values[:, 0], rtol=2e-6, atol=1e-7, err_msg=name)
        np.testing.assert_allclose(estimate.resamples, values[:, 1:], rtol=2e-6, atol=2e-7, err_msg=name)
        undefined = np.isnan(estimate.resamples)
        if name in ("auroc_f", "fpr_at_95tpr", "ap_error"):
            without_failure = drawn[:, np.argmax(GROUPS == 7)] == 0
            np.testing.assert_array_equal(undefined[ONE_FAILS], without_failure)
            given = interval(estimate)
            assert given.undefined[ONE_FAILS] == pytest.approx(without_failure.mean()) and without_failure.any()
            assert np.isnan(given.low[ONE_FAILS])
        assert undefined[SCORE_ALONE].all() == (name in NOT_OF_SCORES)
        assert not undefined[0].any()


def test_influences_of_smooth_metrics_are_their_derivatives(found, without):
    for name, metric in METRICS.items():
        if metric.smooth:
            defined = ~np.isnan(found[name].value)
            influence, expected = found[name].influence[defined], without[name][1][defined]
            assert influence.shape[1] == SLOTS and np.isnan(influence[:, PATIENTS:]).all()
            scale = np.abs(expected).max()
            assert scale > 1e-3
            np.testing.assert_allclose(influence[:, :PATIENTS], expected, rtol=0.01, atol=0.002 * scale, err_msg=name)


def test_influences_of_other_metrics_are_what_deleting_a_patient_takes(found, without):
    names = [name for name, metric in {**METRICS, **EXTRA}.items() if not metric.smooth]
    assert names == ["fpr_at_95tpr", "risk_at", "coverage_at"]
    for name in names:
        influence = found[name].influence
        assert np.isnan(influence[:, PATIENTS:]).all()
        lost = found[name].value[:, None] - without[name][0]
        np.testing.assert_allclose(np.diff(influence[:, :PATIENTS]), np.diff(lost), rtol=2e-6, atol=1e-6, err_msg=name)
        assert np.nanmax(np.abs(lost)) > 0.01


def test_accelerations_of_derivatives_are_those_of_the_jackknife(found, without):
    for name in ("accuracy", "augrc", "auroc_f", "aurc"):
        jackknife = metrics.intervals.accelerations(-without[name][0])
        np.testing.assert_allclose(
            metrics.intervals.accelerations(found[name].influence), jackknife, atol=0.02, err_msg=name
        )


def test_a_patients_images_are_drawn_together_and_the_mean_weight_is_one():
    groups = jnp.array([0, 0, 1, 2, 2, 2, 3], jnp.int32)
    weights = np.asarray(resample_weights(jax.random.key(0), groups, 4000))
    assert weights.shape == (4000, 7)
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 3] == weights[:, 5]).all()
    drawn = weights[:, [0, 2, 3, 6]]
    assert (drawn.sum(1) == 4).all()
    # Binomial of 4 draws, a quarter each: variance 3/4, and -1/4 between patients.
    np.testing.assert_allclose(weights.mean(0), 1, atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), np.eye(4) - 0.25, atol=0.05)


def mean_of_failures(images: metrics.Scored, weight: jax.Array) -> jax.Array:
    return jnp.sum(weight * images.failure) / jnp.sum(weight)


def test_more_patients_than_slots_and_than_are_deleted_one_by_one():
    patients = MAX_DELETED + 76
    rng = np.random.default_rng(0)
    groups = np.r_[rng.permutation(patients), rng.integers(0, patients, 30)]
    failure = rng.random(len(groups)) < 0.3
    images = stacked([scored(rng.random(len(groups)), failure) for _ in range(2)])
    table = {"smooth": Metric(mean_of_failures), "rough": Metric(mean_of_failures, smooth=False)}
    found = bootstrap(jax.random.key(0), images, groups, num_resamples=67, metrics=table)
    weights = np.asarray(resample_weights(jax.random.key(0), jnp.asarray(groups), 67))
    for estimate in found.values():
        # The same for differently scored CSFs: pairs.
        np.testing.assert_allclose(estimate.resamples, np.tile(weights @ failure / weights.sum(1), (2, 1)), rtol=1e-6)
    influence = found["rough"].influence
    assert influence.shape == (2, MAX_DELETED) and np.isfinite(influence).all()
    deleted = groups % MAX_DELETED == 5
    assert influence[0, 5] == pytest.approx(-failure[~deleted].mean(), rel=1e-6)
    assert np.isfinite(found["smooth"].influence).sum() == 2 * patients


def test_scored_on_the_host_and_traced_are_the_same():
    score, threshold = np.array([0.6, np.nan, 0.2, 0.9], np.float32), np.float32(0.6)
    failure, cost = np.array([True, False, True, False]), np.array([2.0, np.nan, 1.0, np.nan])
    host = scored(score, failure, cost=cost, accepted_above=threshold)
    traced = jax.jit(lambda s: scored(s, failure, cost=cost, accepted_above=threshold))(score)
    jax.tree.map(np.testing.assert_array_equal, host, traced)
    # By falling score, NaN last: which is neither accepted nor not.
    np.testing.assert_array_equal(host.accepted, [1, 0, 0, np.nan])
    np.testing.assert_array_equal(host.cost, [0, 2, 1, 0])
    # What is left out: costs are 1, labels 0.
    np.testing.assert_array_equal(scored(score, failure).cost, [0, 1, 1, 0])
    np.testing.assert_array_equal(scored(score, failure).label, np.zeros(4))
    with pytest.raises(ValueError, match=r"label \(3,\)"):
        inspect.unwrap(scored)(score, failure, label=np.zeros(3))


def test_codes_and_padding_are_as_many_as_the_images():
    images = stacked([scored(np.arange(5), np.zeros(5))])
    for groups, padding in ((np.arange(4), 0), (np.arange(5), 1)):
        with pytest.raises(ValueError, match=r"got \(1, 5\)"):
            bootstrap(jax.random.key(0), images, groups, num_resamples=2, metrics=("accuracy",), padding=padding)
    with pytest.raises(ValueError, match=r"got \(5,\)"):
        bootstrap(jax.random.key(0), scored(np.arange(5), np.zeros(5)), np.arange(5), num_resamples=2)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """Scores of successes are normal, those of failures lie 1.5 below: the AUGRC then has a closed form."""
    rng = np.random.default_rng(0)
    sets, n, error = 150, 200, 0.2
    failure = rng.random((sets, n)) < error
    score = rng.standard_normal((sets, n)) - 1.5 * failure
    images = stacked([scored(*one) for one in zip(score, failure, strict=True)])
    found = bootstrap(jax.random.key(1), images, np.arange(n), num_resamples=400, metrics=("accuracy", "augrc"))
    misranked = ndtr(-1.5 / np.sqrt(2))
    truth = {"accuracy": 1 - error, "augrc": misranked * error * (1 - error) + error**2 / 2}
    for name, true in truth.items():
        for method in ("percentile", "bca"):
            low, high, _ = interval(found[name], method=method)
            held = ((low <= true) & (true <= high)).sum()
            # Binomial: 142.5 of 150 within 3.5 standard deviations.
            assert 133 <= held <= 149, (name, method)
