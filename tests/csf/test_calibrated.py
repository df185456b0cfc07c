"""Probabilities of being right: golden values, scikit-learn, known answers and edges."""

import dataclasses
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from worlds import of, plain, sample, softmax64

from sfjax.csf import CSFS, FITTED, isotonic, platt, temperature
from sfjax.csf.calibrated import isotonic_steps, platt_line
from sfjax.csf.tuned import best_temperature

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "csf.json").read_text(encoding="utf-8"))
VALIDATION, TEST = plain(1, 100), plain(2, 60)
MSR = CSFS["msr"]
FAILED = np.asarray(VALIDATION.logits).argmax(-1) != np.asarray(VALIDATION.labels)


def outputs_of(margins, right):
    """Returns outputs of two classes whose msr score is `margins`."""
    margins = np.asarray(margins, float)
    return of(np.stack([margins, 0 * margins], axis=-1), np.where(right, 0 * margins, 1).astype(int))


@pytest.mark.parametrize("case", GOLDEN["platt"], ids=["confidence", "entropy"])
def test_golden_platt_scaling(case):
    sign = -np.sign(case["a"])  # of an uncertainty, the score is its negative
    line = platt_line(sign * np.array(case["val_confids"]), np.array(case["val_correct"]) == 0)
    expected = -sign * case["a"], -case["b"]
    assert (line.slope, line.offset) == pytest.approx(expected, abs=GOLDEN["platt_tolerance"])
    at = line(jnp.asarray(sign * np.array(case["apply_to"]), jnp.float32))
    np.testing.assert_allclose(at, case["expected"], atol=GOLDEN["platt_tolerance"])


def test_platt_is_scikit_learns_logistic_regression_with_platts_targets():
    score = np.float64(MSR.score(VALIDATION))
    right, wrong = (~FAILED).sum(), FAILED.sum()
    target = np.where(FAILED, 1 / (wrong + 2), (right + 1) / (right + 2))
    # A target t is t of a success and 1 - t of a failure.
    n = len(score)
    weight = np.concatenate([target, 1 - target])
    model = LogisticRegression(C=1e12, tol=1e-10, max_iter=10_000)
    model.fit(np.tile(score, 2)[:, None], np.repeat([1, 0], n), sample_weight=weight)
    line = platt_line(score, FAILED)
    assert line.slope == pytest.approx(model.coef_[0, 0], rel=1e-3)
    assert line.offset == pytest.approx(model.intercept_[0], rel=1e-3, abs=1e-3)


def test_platt_rises_with_the_score_and_leaves_score_and_prediction():
    for name in ("msr", "energy"):
        csf = CSFS[name]
        calibrated = platt(csf, VALIDATION)
        order = np.argsort(csf.score(TEST))
        assert (np.diff(np.asarray(calibrated.probability(TEST))[order]) >= 0).all()
        np.testing.assert_array_equal(calibrated.score(TEST), csf.score(TEST))
        np.testing.assert_array_equal(calibrated.predict(TEST), csf.predict(TEST))
        assert calibrated.methods == csf.methods and calibrated.log_probabilities is None


def test_without_any_failure_or_success_probabilities_stay_off_1_and_0():
    margins = np.linspace(1, 5, 20)
    all_right = np.asarray(platt(MSR, outputs_of(margins, True)).probability(outputs_of(margins, True)))
    # Platt's target of a success is then 21 / 22 for every image.
    np.testing.assert_allclose(all_right, 21 / 22, rtol=1e-4)
    all_wrong = np.asarray(platt(MSR, outputs_of(margins, False)).probability(outputs_of(margins, False)))
    np.testing.assert_allclose(all_wrong, 1 / 22, rtol=1e-3)


def test_platt_never_falls_with_the_score():
    score, failed = np.linspace(-3, 3, 40), np.arange(40) >= 25  # the surest fail
    line = platt_line(score, failed)
    # Platt's targets have the mean (25 * 26 / 27 + 15 / 17) / 40.
    assert line.slope == 0
    np.testing.assert_allclose(line(jnp.asarray([-9.0, 9.0, np.inf])), (25 * 26 / 27 + 15 / 17) / 40, rtol=1e-5)


def test_scores_that_are_not_finite_are_left_out_of_what_is_learned():
    score, failed = np.array([0.5, 1.0, 2.0, 3.0]), np.array([True, True, False, False])
    more = np.append(score, [np.inf, np.nan]), np.append(failed, [True, True])
    assert platt_line(*more) == platt_line(score, failed)
    np.testing.assert_array_equal(isotonic_steps(*more).probability, isotonic_steps(score, failed).probability)
    with pytest.raises(ValueError, match="finite scores, and there are none"):
        platt_line(np.array([np.inf]), np.array([True]))


def test_platt_of_a_threshold_that_tells_all_stays_off_0_and_1():
    margins = np.arange(1.0, 21)
    outputs = outputs_of(margins, margins > 10)
    probability = np.asarray(platt(MSR, outputs).probability(outputs))
    assert (probability > 0).all() and (probability < 1).all() and (np.diff(probability) > 0).all()


def test_equal_scores_have_the_share_of_successes():
    outputs = outputs_of(np.full(10, 2.0), np.arange(10) < 7)
    # 7 targets of 8/9 and 3 of 1/5.
    expected = (7 * 8 / 9 + 3 / 5) / 10
    np.testing.assert_allclose(platt(MSR, outputs).probability(outputs), expected, rtol=1e-5)
    np.testing.assert_allclose(isotonic(MSR, outputs).probability(outputs), 0.7, rtol=1e-6)


def test_a_large_offset_of_scores_does_not_matter():
    score = np.random.default_rng(3).normal(size=200)
    failed = np.random.default_rng(4).uniform(size=200) > 1 / (1 + np.exp(-score))
    near, off = platt_line(score, failed), platt_line(score * 1e-3 + 1e4, failed)
    assert off.slope * 1e-3 == pytest.approx(near.slope, rel=1e-6)
    assert off.offset + off.slope * 1e4 == pytest.approx(near.offset, abs=1e-4)


def test_scores_that_are_not_finite_are_left_out_of_the_fit():
    logits = np.array([[2.0, 0], [1, 0], [3, 0], [0.5, 0], [4, -np.inf]])
    outputs = of(logits, [0, 1, 0, 1, 1])
    fewer = of(logits[:4], [0, 1, 0, 1])
    for calibrate in (platt, isotonic):
        expected = calibrate(MSR, fewer).probability(fewer)
        np.testing.assert_allclose(calibrate(MSR, outputs).probability(fewer), expected, rtol=1e-6)


def test_isotonic_is_scikit_learns():
    score = np.round(np.float64(MSR.score(VALIDATION)), 1)  # with ties
    reference = IsotonicRegression(out_of_bounds="clip").fit(score, ~FAILED)
    at = np.linspace(score.min() - 1, score.max() + 1, 300)
    steps = isotonic_steps(score, FAILED)
    np.testing.assert_allclose(steps(jnp.asarray(at, jnp.float32)), reference.predict(at), atol=1e-4)
    # Of whole CSFs too, on other images.
    reference.fit(np.float64(MSR.score(VALIDATION)), ~FAILED)
    expected = reference.predict(np.float64(MSR.score(TEST)))
    np.testing.assert_allclose(isotonic(MSR, VALIDATION).probability(TEST), expected, atol=1e-4)


def test_isotonic_pools_what_falls_by_hand():
    # Shares 0, 1, 0, 1 rise as 0, 1/2, 1/2, 1.
    steps = isotonic_steps(np.array([1.0, 2, 3, 4], np.float32), np.array([True, False, True, False]))
    at = jnp.array([0.0, 1, 1.5, 2, 2.5, 3, 3.5, 9])
    np.testing.assert_allclose(steps(at), [0, 0, 0.25, 0.5, 0.5, 0.5, 0.75, 1], atol=1e-6)


def test_isotonic_leaves_the_score_that_its_steps_would_tie():
    calibrated = isotonic(MSR, VALIDATION)
    assert len(np.unique(np.asarray(calibrated.probability(TEST)))) < len(TEST)
    assert len(np.unique(np.asarray(calibrated.score(TEST)))) == len(TEST)


@pytest.mark.parametrize("name", ["msr", "mcd_msr"])
def test_temperature_scales_the_class_probabilities_and_leaves_the_score(name):
    validation, outputs = sample(1, 100), sample(7, 12)
    csf = temperature(CSFS[name], validation)
    logits, of_validation = (CSFS[name].log_probabilities(o) for o in (outputs, validation))
    best = best_temperature(of_validation, validation.labels)
    expected = softmax64(np.float64(logits) / best)
    assert abs(best - 1) > 0.02
    np.testing.assert_allclose(np.exp(csf.log_probabilities(outputs)), expected, atol=1e-5)
    np.testing.assert_allclose(csf.probability(outputs), expected.max(-1), rtol=1e-5)
    np.testing.assert_array_equal(csf.score(outputs), CSFS[name].score(outputs))


def test_temperature_mends_probabilities_of_logits_three_times_too_large():
    rng = np.random.default_rng(5)
    truth = rng.normal(size=(5000, 4)) * 2
    labels = (truth + rng.gumbel(size=truth.shape)).argmax(-1)
    outputs = of(3 * truth, labels)
    right = (truth.argmax(-1) == labels).mean()
    csf = temperature(MSR, outputs)
    assert float(np.mean(csf.probability(outputs))) == pytest.approx(right, abs=0.01)
    assert float(np.mean(MSR.probability(outputs))) > right + 0.1


def test_calibration_needs_validation_images():
    nothing = dataclasses.replace(TEST, logits=TEST.logits[:0], labels=TEST.labels[:0], features=TEST.features[:0])
    for calibrate in (platt, isotonic, temperature):
        with pytest.raises(ValueError, match="learned from validation images"):
            calibrate(MSR, nothing)


def test_a_temperature_needs_images_of_known_class():
    with pytest.raises(ValueError, match="of known class"):
        temperature(MSR, dataclasses.replace(VALIDATION, labels=jnp.full_like(VALIDATION.labels, -1)))


@pytest.mark.parametrize("csf", [CSFS["pe"], CSFS["confidnet"], FITTED["knn"](VALIDATION)])
def test_a_temperature_is_of_class_probabilities(csf):
    with pytest.raises(ValueError, match="Take platt or isotonic"):
        temperature(csf, VALIDATION)


@pytest.mark.parametrize("calibrate", [platt, isotonic])
def test_a_distance_gets_a_probability_near_the_share_of_successes(calibrate):
    csf = calibrate(FITTED["mahalanobis"](plain(0, 120)), VALIDATION)
    probability = np.asarray(csf.probability(VALIDATION))
    assert (probability >= 0).all() and (probability <= 1).all()
    assert probability.mean() == pytest.approx((~FAILED).mean(), abs=0.02)
