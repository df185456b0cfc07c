"""Accuracies against scikit-learn, and the rules that all metrics share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as reference

from sfjax.metrics.performance import accuracy, balanced_accuracy

N = 60
METRICS = {
    "accuracy": accuracy,
    "balanced": lambda predicted, labels, weight=None: balanced_accuracy(
        predicted, labels, num_classes=6, weight=weight
    ),
}
both = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def draw(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns predictions and labels of four classes of six, and integer weights with zeros among them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, N)
    weight = rng.integers(0, 4, N).astype(np.float32)
    weight[:4], labels[:4] = 1, range(4)
    return np.where(rng.random(N) < 0.6, labels, rng.integers(0, 6, N)), labels, weight


@pytest.mark.parametrize("seed", range(5))
def test_against_scikit_learn(seed):
    predicted, labels, weight = draw(seed)
    expected = reference.accuracy_score(labels, predicted, sample_weight=weight)
    assert float(accuracy(predicted, labels, weight=weight)) == pytest.approx(expected, rel=1e-6)
    # scikit-learn warns of predictions of classes without images.
    seen = np.where(predicted > 3, (labels + 1) % 4, predicted)
    expected = reference.balanced_accuracy_score(labels, seen, sample_weight=weight)
    assert float(balanced_accuracy(seen, labels, num_classes=6, weight=weight)) == pytest.approx(expected, rel=1e-6)


@both
def test_weights_repeat_images_in_any_order(metric):
    predicted, labels, weight = draw(1)
    repeated = [np.repeat(array, weight.astype(int))[::-1] for array in (predicted, labels)]
    assert float(metric(predicted, labels, weight=weight)) == pytest.approx(float(metric(*repeated)), rel=1e-6)


@both
def test_an_image_of_weight_0_is_not_there_and_nan_comes_out_of_any_other(metric):
    predicted, labels, weight = draw(2)
    expected = float(metric(predicted[weight > 0], labels[weight > 0], weight=weight[weight > 0]))
    absent = int(np.flatnonzero(weight == 0)[0])
    for k in (0, 1):
        arrays = [predicted.astype(np.float32), labels.astype(np.float32)]
        arrays[k][absent] = np.nan
        assert float(metric(*arrays, weight=weight)) == pytest.approx(expected, rel=1e-6)
        arrays[k][0] = np.nan
        assert np.isnan(metric(*arrays, weight=weight))
    for bad in (np.nan, -1, np.inf):
        assert np.isnan(metric(predicted, labels, weight=np.r_[np.float32(bad), weight[1:]]))
    assert np.isnan(metric(predicted, labels, weight=0 * weight))


@both
def test_jit_and_vmap_say_the_same(metric):
    predicted, labels, weight = draw(3)
    weights = np.stack([weight, weight[::-1]])
    eager = [float(metric(predicted, labels, weight=one)) for one in weights]
    vmapped = jax.jit(jax.vmap(lambda one: metric(jnp.asarray(predicted), jnp.asarray(labels), weight=one)))(weights)
    np.testing.assert_allclose(vmapped, eager, rtol=1e-6)


@both
def test_classes_in_any_type_of_integer(metric):
    predicted, labels, _ = draw(4)
    for one, other in ((np.uint8, np.int32), (np.int64, np.int8), (np.float32, np.int32)):
        value = metric(predicted.astype(one), labels.astype(other))
        assert float(value) == pytest.approx(float(metric(predicted, labels)))
    assert float(metric(np.array([True, False, True]), np.array([1, 0, 0]))) == pytest.approx(
        2 / 3 if metric is accuracy else 0.75
    )


def test_edges():
    one = np.array([2])
    assert float(accuracy(one, one)) == 1 and float(accuracy(one, one + 1)) == 0
    assert np.isnan(balanced_accuracy(one, one, num_classes=3))
    labels = np.array([0, 1, 1])
    for predicted, value in ((labels, 1), (1 - labels, 0)):
        assert float(accuracy(predicted, labels)) == float(balanced_accuracy(predicted, labels, num_classes=2)) == value
    with pytest.raises(ValueError, match=r"predicted \(0,\)"):
        accuracy(np.zeros(0, int), np.zeros(0, int))


def test_labels_of_no_class():
    predicted, labels = np.array([0, 1, 1]), np.array([0, 1, -1])
    assert float(accuracy(predicted, labels)) == pytest.approx(2 / 3)  # a failure
    assert np.isnan(balanced_accuracy(predicted, labels, num_classes=2))  # of which class?
    assert np.isnan(balanced_accuracy(predicted, np.array([0, 1, 2]), num_classes=2))
    assert float(balanced_accuracy(predicted, labels, num_classes=2, weight=np.array([1, 1, 0]))) == 1
    many = np.arange(200, dtype=np.uint8)
    assert float(balanced_accuracy(many, many, num_classes=1139)) == 1


def test_a_million_images_and_a_rare_class():
    rng = np.random.default_rng(0)
    labels = (rng.random(1_000_000) < 1e-4).astype(np.int32)
    predicted = np.where(rng.random(len(labels)) < 0.7, labels, 1 - labels)
    weight = rng.random(len(labels)).astype(np.float32)
    recall = [np.average(predicted[labels == k] == k, weights=weight[labels == k].astype(float)) for k in (0, 1)]
    value = balanced_accuracy(predicted, labels, num_classes=2, weight=weight)
    assert float(value) == pytest.approx(np.mean(recall), rel=1e-6)
    expected = np.average(predicted == labels, weights=weight.astype(float))
    assert float(accuracy(predicted, labels, weight=weight)) == pytest.approx(expected, rel=1e-6)
