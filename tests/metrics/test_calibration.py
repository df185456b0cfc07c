"""Calibration errors and proper scores against golden numbers, slow definitions, scikit-learn, and the shared rules."""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from sfjax.metrics import calibration
from sfjax.metrics.calibration import (
    brier,
    brier_decomposition,
    brier_of_images,
    ece,
    ece_classwise,
    ece_equal_mass,
    mce,
    nll,
    nll_of_images,
)
from sfjax.metrics.performance import accuracy, balanced_accuracy

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "calibration.json").read_text(encoding="utf-8"))
N, C = 40, 4
ALTERNATING = np.arange(100) % 2.0


def some(values: np.ndarray) -> np.ndarray:
    return np.where(np.arange(100) % 3 > 0, values, np.nan)


INPUTS = {
    "all_confid": np.ones(100),
    "none_confid": np.zeros(100),
    "med_confid": np.repeat(np.arange(10) * 0.1, 10),
    "some_confid": ALTERNATING,
    "some_confid_inv": 1 - ALTERNATING,
    "unnormalized_confid": np.arange(-50.0, 50),
    "all_nan_confid": np.full(100, np.nan),
    "some_nan_confid": some(ALTERNATING),
    "all_correct": np.ones(100),
    "some_correct": ALTERNATING,
    "none_correct": np.zeros(100),
    "all_nan_correct": np.full(100, np.nan),
    "some_nan_correct": some(ALTERNATING),
}


def name(case: dict) -> str:
    return f"{case['correct']}-{case['confidence']}"


@pytest.fixture(params=[False, True], ids=["float32", "float64"])
def close(request):
    """A comparison with golden values: in doubles with their stated tolerance."""
    with jax.enable_x64(request.param):
        yield lambda value: pytest.approx(
            float(value),
            rel=0 if request.param else 1e-6,
            abs=GOLDEN["tolerance"] if request.param else 1e-6,
            nan_ok=True,
        )


@pytest.mark.parametrize("metric", ["ece", "mce"])
def test_golden_calibration_errors(metric, close):
    for case in GOLDEN[metric]:
        # The reference clips what is no probability; here the caller says so, or gets NaN.
        probability, failure = INPUTS[case["confidence"]], 1 - INPUTS[case["correct"]]
        function = getattr(calibration, metric)
        value = float(function(np.clip(probability, 0, 1), failure))
        assert value == close(case.get("in_truth", case["value"])), name(case)
        if case["confidence"] == "unnormalized_confid":
            assert np.isnan(function(probability, failure))


def reference_fail_nll(probability: np.ndarray, correct: np.ndarray) -> float:
    """-mean(correct log(p + 1e-7) + (1 - correct) log(1 - p + 1e-7)), from our likelihood of two classes.

    1e-7 makes them add up to 1 + 2e-7, which is divided out there and in here.
    """
    with np.errstate(invalid="ignore"):
        logs = np.log(np.stack([1 - probability + 1e-7, probability + 1e-7], axis=1))
    return float(nll(np.where(np.isnan(correct)[:, None], np.nan, logs), np.nan_to_num(correct).astype(int))) - 2e-7


def test_golden_likelihoods_of_being_right(close):
    assert len(GOLDEN["fail_nll"]) == 40
    for case in GOLDEN["fail_nll"]:
        value = reference_fail_nll(INPUTS[case["confidence"]], INPUTS[case["correct"]])
        assert value == close(case["value"]), name(case)


@pytest.mark.parametrize("case", GOLDEN["small"], ids=["no ties", "ties"])
def test_golden_small_sets(case, close):
    probability, correct = np.array(case["confidence"]), np.array(case["correct"])
    assert float(ece(probability, 1 - correct)) == close(case["ece"])
    assert float(mce(probability, 1 - correct)) == close(case["mce"])
    assert reference_fail_nll(probability, correct) == close(case["fail-NLL"])


def test_golden_performance(close):
    case, expected = GOLDEN["performance"], GOLDEN["performance"]["expected"]
    softmax, labels = np.array(case["softmax"]), np.array(case["labels"])
    assert float(accuracy(softmax.argmax(1), labels)) == close(expected["accuracy"])
    assert float(balanced_accuracy(softmax.argmax(1), labels, num_classes=3)) == close(expected["b-accuracy"])
    assert float(brier(softmax, labels)) == close(expected["brier_score"])
    # The reference adds 1e-7 to each probability, and divides by the number of classes besides.
    proper = float(nll(np.log(softmax), labels))
    assert proper == close(-np.log([0.7, 0.8, 0.4, 0.3]).mean())
    assert proper == pytest.approx(expected["nll_proper_mean_over_N"], abs=1e-6)
    epsilon = nll_of_images(np.log(softmax + 1e-7), labels).mean() - 3e-7
    assert float(epsilon) == close(expected["nll_proper_mean_over_N"])
    assert float(epsilon / 3) == close(expected["nll_reference_mean_over_NxD"])


def draw(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns probabilities of classes with ties in them, labels, and integer weights with zeros among them."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(C, 0.4), 9)[rng.integers(0, 9, N)]
    weight = rng.integers(0, 4, N)
    weight[:2] = 1
    return probabilities, rng.integers(0, C, N), weight


def of_being_right(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return probabilities.max(axis=1), probabilities.argmax(axis=1) != labels


def part(number: int) -> Callable:
    return lambda probability, failure, weight=None: brier_decomposition(probability, failure, weight=weight)[number]


BINARY = {
    "ece": ece,
    "mce": mce,
    "ece_equal_mass": ece_equal_mass,
    **{field: part(i) for i, field in enumerate(calibration.BrierDecomposition._fields)},
}
OF_CLASSES = {
    "ece_classwise": ece_classwise,
    "brier_of_classes": brier,
    "nll": nll,  # any numbers are logits
}
every_metric = pytest.mark.parametrize("metric", [*BINARY, *OF_CLASSES])


def images_for(metric: str, seed: int = 0) -> tuple[Callable, list[np.ndarray], np.ndarray]:
    """Returns a metric, its arrays in float32 and integers, and weights."""
    *arrays, weight = draw(seed)
    chosen = of_being_right(*arrays) if metric in BINARY else arrays
    return (BINARY | OF_CLASSES)[metric], [chosen[0].astype(np.float32), chosen[1]], weight.astype(np.float32)


def slow_ece(probability: np.ndarray, success: np.ndarray, bins: int) -> tuple[float, float]:
    gaps, shares = [0.0], [0.0]
    for k in range(bins):
        inside = (probability > k / bins + 1e-8) & (probability <= (k + 1) / bins + 1e-8)
        inside |= (k == 0) & (probability <= 1e-8)
        if inside.any():
            gaps.append(abs(success[inside].mean() - probability[inside].mean()))
            shares.append(inside.mean())
    return float(np.dot(gaps, shares)), max(gaps)


def slow_equal_mass(probability: np.ndarray, success: np.ndarray, bins: int) -> float:
    """Each image in as many pieces as there are bins, so that bins of equally many pieces are there."""
    shared = np.array([success[probability == one].mean() for one in probability])
    order = np.argsort(probability)
    gap = np.repeat((shared - probability)[order], bins).reshape(bins, -1)
    return np.abs(gap.mean(axis=1)).mean()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_metric_equals_its_slow_definition_on_the_repeated_images(seed):
    probabilities, labels, weight = draw(seed)
    p, y = np.repeat(probabilities, weight, axis=0), np.repeat(labels, weight)
    probability, failure = of_being_right(probabilities, labels)
    stated, failed = of_being_right(p, y)
    for function, index in ((ece, 0), (mce, 1)):
        expected = slow_ece(stated, 1.0 - failed, 20)[index]
        assert float(function(probability, failure, weight=weight)) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    for bins in (15, 4):
        value = ece_equal_mass(probability, failure, bins=bins, weight=weight)
        assert float(value) == pytest.approx(slow_equal_mass(stated, 1.0 - failed, bins), rel=1e-5, abs=1e-6)
    expected = np.mean([slow_ece(p[:, k], (y == k).astype(float), 15)[0] for k in range(C)])
    assert float(ece_classwise(probabilities, labels, weight=weight)) == pytest.approx(expected, rel=1e-5)
    expected = np.mean(np.sum((p - np.eye(C)[y]) ** 2, axis=1))
    assert float(brier(probabilities, labels, weight=weight)) == pytest.approx(expected, rel=1e-5)
    expected = -np.log(np.maximum(p[np.arange(len(y)), y], 1e-300)).mean()
    assert float(nll(np.log(probabilities), labels, weight=weight)) == pytest.approx(expected, rel=1e-5)


def test_scores_equal_scikit_learn():
    probabilities, labels, weight = draw(3)
    probability, failure = of_being_right(probabilities, labels)
    parts = brier_decomposition(probability, failure, weight=weight)
    expected = reference.brier_score_loss(~failure, probability, sample_weight=weight)
    assert float(parts.brier) == pytest.approx(expected, rel=1e-5)
    expected = reference.log_loss(labels, probabilities, sample_weight=weight, labels=range(C))
    assert float(nll(np.log(probabilities), labels, weight=weight)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bins", [1, 3, 20])
def test_parts_add_up_to_the_brier_score(bins):
    probabilities, labels, weight = draw(5)
    probability, failure = of_being_right(probabilities, labels)
    with jax.enable_x64(True):
        parts = brier_decomposition(probability, failure, bins=bins, weight=weight)
        total = parts.reliability - parts.resolution + parts.uncertainty + parts.remainder
        assert float(total) == pytest.approx(float(parts.brier), abs=1e-14)
        right = np.average(~failure, weights=weight)
        assert float(parts.uncertainty) == pytest.approx(right * (1 - right), abs=1e-14)
        if bins == 1:
            assert float(parts.resolution) == pytest.approx(0, abs=1e-14)
        # Without a remainder the parts are Murphy's: each bin of one probability.
        distinct = brier_decomposition(np.round(probability, 1), failure, bins=10, weight=weight)
        assert float(distinct.remainder) == pytest.approx(0, abs=1e-14)


def test_bins_are_those_of_the_reference_in_both_precisions():
    hundredths = np.arange(101) / 100
    expected = np.digitize(hundredths, np.linspace(0, 1 + 1e-8, 21)) - 1
    assert expected[30] == 5  # 0.3 is in (0.25, 0.3]
    for x64 in (False, True):
        with jax.enable_x64(x64):
            np.testing.assert_array_equal(calibration._bin(calibration.floating(hundredths), 20), expected)
    values = np.random.default_rng(0).random(10_000)
    expected = np.digitize(values, np.linspace(0, 1 + 1e-8, 21)) - 1
    np.testing.assert_array_equal(calibration._bin(calibration.floating(values), 20), expected)


def test_images_that_tie_are_divided_without_order():
    # One tie group over two bins of equal mass: each has half of its failures, however they are sorted.
    failure = np.array([True, False, False, False])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        value = ece_equal_mass(np.full(4, 0.5), failure[order], bins=2)
        assert float(value) == pytest.approx(0.25)


@every_metric
def test_order_of_the_images_changes_nothing(metric):
    function, arrays, weight = images_for(metric)
    order = np.random.default_rng(1).permutation(N)
    one = function(*arrays, weight=weight)
    other = function(*(array[order] for array in arrays), weight=weight[order])
    assert float(one) == pytest.approx(float(other), rel=1e-5, abs=1e-6)


@every_metric
def test_an_image_of_weight_0_is_not_there_and_nan_comes_out_of_any_other(metric):
    function, arrays, weight = images_for(metric)
    expected = float(function(*(array[weight > 0] for array in arrays), weight=weight[weight > 0]))
    arrays = [array.astype(np.float32) for array in arrays]
    absent = int(np.flatnonzero(weight == 0)[0])
    for k in (0, 1):
        gone = [array.copy() for array in arrays]
        gone[k][absent] = np.nan
        assert float(function(*gone, weight=weight)) == pytest.approx(expected, rel=1e-5, abs=1e-6)
        gone[k][0] = np.nan
        assert np.isnan(function(*gone, weight=weight))
        assert np.isnan(function(*gone))
    for bad in (np.nan, -1, np.inf):
        assert np.isnan(function(*arrays, weight=np.r_[np.float32(bad), weight[1:]]))
    assert np.isnan(function(*arrays, weight=0 * weight))


@every_metric
def test_jit_and_vmap_say_the_same(metric):
    function, arrays, weight = images_for(metric)
    weights = np.stack([weight, np.roll(weight, 3), np.ones_like(weight)])
    eager = [float(function(*arrays, weight=one)) for one in weights]
    vmapped = jax.jit(jax.vmap(lambda one: function(*map(jnp.asarray, arrays), weight=one)))(weights)
    np.testing.assert_allclose(vmapped, eager, rtol=2e-6, atol=1e-6)
    assert float(jax.jit(function)(*arrays)) == pytest.approx(eager[2], rel=2e-6, abs=1e-6)
    slope = jax.grad(lambda one: function(*map(jnp.asarray, arrays), weight=one))(jnp.asarray(weight))
    assert np.isfinite(slope).all()  # which the bootstrap reads


@every_metric
def test_types_that_people_have(metric):
    function, (values, second), _ = images_for(metric)
    half = jnp.asarray(values, jnp.float16)
    expected = float(function(half.astype(jnp.float32), second))
    kinds = [jnp.int32, jnp.float32, *([bool] if metric in BINARY else [jnp.uint8])]
    for kind in kinds:
        assert float(function(half, jnp.asarray(second, kind))) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    whole = np.eye(C, dtype=int)[:3] if metric in OF_CLASSES else np.array([1, 0, 1])
    one, other = function(whole, np.array([0, 1, 1])), function(whole.astype(np.float32), np.array([0, 1, 1]))
    np.testing.assert_array_equal(one, other)


@every_metric
def test_a_million_images_in_float32(metric):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1_000_000, 3)) * 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    arrays = of_being_right(p, labels) if metric in BINARY else (p, labels)
    function = (BINARY | OF_CLASSES)[metric]
    single = float(function(*arrays))
    with jax.enable_x64(True):
        double = float(function(*arrays))
    assert single == pytest.approx(double, rel=1e-5, abs=3e-7)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_all_right_all_wrong_and_one_image(probability):
    for n in (1, 7):
        for failure in (False, True):
            images = np.full(n, probability), np.full(n, failure)
            gap = abs((not failure) - probability)
            for function in (ece, mce, ece_equal_mass):
                assert float(function(*images)) == pytest.approx(gap, abs=1e-6)
            parts = brier_decomposition(*images)
            np.testing.assert_allclose(parts, [gap**2, gap**2, 0, 0, 0], atol=1e-6)


def test_probabilities_out_of_bounds_are_none():
    failure = np.array([False, True])
    for function in (ece, mce, ece_equal_mass):
        assert np.isnan(function(np.array([3.1, 0.2]), failure)) and np.isnan(function(np.array([0.5, -0.2]), failure))
        assert np.isnan(function(np.array([0.5, 0.2]), np.array([2, 0])))
        rounded = float(function(np.array([1.0000001, 0.0]), failure))  # as a softmax may add up
        assert rounded == pytest.approx(0, abs=1e-6)
    assert np.isnan(brier(np.array([[2.0, -1.0]]), np.array([0])))


def test_likelihood_far_out_in_float32():
    value = nll_of_images(np.array([[25.0, 0], [0, 1000], [1e4, 0], [0, -np.inf]]), np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(value, [np.exp(-25), 1000, 0, np.inf], rtol=1e-6)
    assert float(nll_of_images(np.array([[3.0]]), np.array([0]))[0]) == 0


def test_a_class_that_the_classifier_does_not_know():
    probabilities, labels = np.array([[0.9, 0.1], [0.9, 0.1], [1, 0]]), np.array([-1, 2, 1])
    np.testing.assert_allclose(brier_of_images(probabilities, labels), [1.82, 1.82, 2], rtol=1e-6)
    assert np.isinf(nll(np.log([[0.9, 0.1], [0.5, 0.5]]), np.array([-1, 0])))
    assert np.isnan(nll(np.array([[np.nan, 1]]), np.array([-1])))
    assert float(nll(np.log([[0.9, 0.1], [0.5, 0.5]]), np.array([-1, 0]), weight=np.array([0, 1]))) == pytest.approx(
        np.log(2)
    )
    # None of its classes is the true one: their probabilities are all too much.
    assert float(ece_classwise(np.array([[0.9, 0.1]]), np.array([-1]))) == pytest.approx(0.5)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"probability \(0,\)"):
        ece(np.zeros(0), np.zeros(0))
    for function in (ece, ece_equal_mass):
        with pytest.raises(ValueError, match="at least one bin; got bins=0"):
            function(np.zeros(2), np.zeros(2), bins=0)
    with pytest.raises(ValueError, match=r"got \(2, 0\) and labels \(2,\)"):
        brier(np.zeros((2, 0)), np.zeros(2, int))
    with pytest.raises(ValueError, match="labels"):
        nll(np.zeros((0, 2)), np.zeros(0, int))
