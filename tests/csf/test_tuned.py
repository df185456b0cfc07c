"""Scores tuned on validation outputs: slow definitions, known answers, edges, and the cases that they exist for."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from worlds import auroc, float64, of, plain, softmax64

from sfjax.csf import CSFS, FITTED
from sfjax.csf.rules import log_odds
from sfjax.csf.tuned import best_temperature, normalized_maximum
from sfjax.metrics import aurc

VALIDATION, TEST = plain(1, 100), plain(2, 60)
tune = {name: functools.partial(FITTED[name], VALIDATION) for name in ("temp_msr", "maxlogit_pnorm", "rel_u")}


def drawn_from_softmax(seed: int, n: int, c: int, temperature: float):
    """Returns logits and labels that are drawn from their softmax at a temperature."""
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(n, c)) * 4).astype(np.float32)
    gumbel = rng.gumbel(size=(n, c))
    return logits, (logits / temperature + gumbel).argmax(-1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_that_which_labels_were_drawn_at(temperature):
    logits, labels = drawn_from_softmax(0, 5000, 5, temperature)
    assert best_temperature(jnp.asarray(logits), labels) == pytest.approx(temperature, rel=0.07)


def test_the_temperature_is_scipys_of_least_negative_log_likelihood():
    logits, labels = np.float64(VALIDATION.logits), np.asarray(VALIDATION.labels)

    def nll(t):
        return -np.log(softmax64(logits / t[0]))[np.arange(len(labels)), labels].mean()

    expected = minimize(nll, [1.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-14}).x[0]
    assert best_temperature(VALIDATION.logits, labels) == pytest.approx(expected, rel=1e-4)


def test_images_of_unknown_class_do_not_move_the_temperature():
    logits, labels = drawn_from_softmax(1, 100, 3, 2.0)
    more = jnp.asarray(np.concatenate([logits, logits]))
    expected = best_temperature(jnp.asarray(logits), labels)
    assert best_temperature(more, np.concatenate([labels, np.full(100, -1)])) == pytest.approx(expected, rel=1e-6)


def test_a_validation_set_without_failures_takes_the_lowest_temperature_and_one_without_success_the_highest():
    logits = jnp.asarray([[5.0, 0], [0, 5]])
    assert best_temperature(logits, [0, 1]) < 0.1
    assert best_temperature(logits, [1, 0]) > 900


def test_temp_msr_is_msr_of_the_logits_over_the_temperature():
    for temperature in (0.5, 4.0):
        csf = tune["temp_msr"](temperature=temperature)
        scaled = of(np.asarray(TEST.logits) / temperature)
        np.testing.assert_allclose(csf.score(TEST), CSFS["msr"].score(scaled), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(csf.probability(TEST), softmax64(scaled.logits).max(-1), rtol=1e-5)
        np.testing.assert_allclose(np.exp(csf.log_probabilities(TEST)), softmax64(scaled.logits), atol=1e-6)


def test_a_temperature_changes_the_order_of_three_classes_and_not_that_of_two():
    # One rival near, or two a little farther: at a high temperature the two weigh more.
    outputs = of([[3.0, 1.0, -9.0], [3.0, 0.5, 0.5]])
    cold, hot = (np.asarray(tune["temp_msr"](temperature=t).score(outputs)) for t in (0.25, 4.0))
    assert cold[0] < cold[1] and hot[0] > hot[1]
    two = of(np.random.default_rng(3).normal(size=(50, 2)) * 3)
    orders = [np.argsort(tune["temp_msr"](temperature=t).score(two)) for t in (0.25, 4.0)]
    np.testing.assert_array_equal(*orders)


def test_temp_msr_takes_the_validation_temperature():
    best = best_temperature(VALIDATION.logits, VALIDATION.labels)
    expected = tune["temp_msr"](temperature=best).score(TEST)
    np.testing.assert_allclose(tune["temp_msr"](validation=VALIDATION).score(TEST), expected, rtol=1e-6)


@pytest.mark.parametrize("p", range(6))
def test_the_normalized_maximum_is_its_definition_in_float64(p):
    z = float64(TEST.logits)
    z = z - z.mean(-1, keepdims=True)
    expected = z.max(-1) / (1 if p == 0 else (np.abs(z) ** p).sum(-1) ** (1 / p))
    score = jax.vmap(functools.partial(normalized_maximum, p=p))(TEST.logits)
    np.testing.assert_allclose(score, expected, rtol=1e-5)


def test_the_normalized_maximum_of_equal_logits_is_0_and_of_large_ones_finite():
    for p in (0, 1, 9):
        assert float(normalized_maximum(jnp.full(3, 4.0), p=p)) == 0
    # The 9th power of 1e30 is beyond float32; the norm of (2, -1, -1) is (2^9 + 2)^(1/9).
    expected = 2 / (2.0**9 + 2) ** (1 / 9)
    assert float(normalized_maximum(jnp.array([3e30, 0, 0]), p=9)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("p", [0, 1, 2, 9])
def test_a_class_that_is_ruled_out_does_not_change_the_normalized_maximum(p):
    without = float(normalized_maximum(jnp.array([3.0, 1, -1]), p=p))
    assert float(normalized_maximum(jnp.array([3.0, 1, -jnp.inf, -1]), p=p)) == pytest.approx(without, rel=1e-6)


def test_maxlogit_pnorm_takes_the_candidate_of_least_validation_aurc():
    failed = np.asarray(VALIDATION.logits).argmax(-1) != np.asarray(VALIDATION.labels)
    rules = [log_odds] + [functools.partial(normalized_maximum, p=p) for p in (0, 1, 2, 5)]
    areas = [float(aurc(jax.vmap(rule)(VALIDATION.logits), failed)) for rule in rules]
    expected = jax.vmap(rules[int(np.argmin(areas))])(TEST.logits)
    csf = tune["maxlogit_pnorm"](validation=VALIDATION, norms=(0, 1, 2, 5))
    np.testing.assert_array_equal(csf.score(TEST), expected)
    assert csf.probability is None and csf.log_probabilities is None


def sized_up(scales, labels_of):
    """Returns images whose logits have been scaled one by one: their shape says who is right, their size does not."""
    rng = np.random.default_rng(5)
    shapes = np.where(rng.uniform(size=200)[:, None] < 0.5, [3.0, 0.2, 0, -0.2], [3.0, 2.6, 0, -0.2])
    return of(shapes * scales(rng)[:, None], labels_of(shapes))


def test_maxlogit_pnorm_beats_msr_where_the_size_of_logits_misleads():
    def make(shapes):
        return np.where(shapes[:, 1] > 1, 1, 0)  # wrong where there is a near rival

    outputs = sized_up(lambda rng: rng.uniform(0.2, 8, 200), make)
    right = np.asarray(outputs.labels) == 0
    csf = FITTED["maxlogit_pnorm"](outputs, validation=outputs)
    assert auroc(csf.score(outputs), right) == 1 > 0.9 > auroc(CSFS["msr"].score(outputs), right)


def test_maxlogit_pnorm_of_two_classes_is_msr():
    # Centered logits are a and -a: over their norm they are one number, and what is left of it is rounding.
    rng = np.random.default_rng(3)
    for _ in range(10):
        two = of(rng.normal(size=(80, 2)) * 3, rng.integers(0, 2, 80))
        score = FITTED["maxlogit_pnorm"](two, validation=two).score(two)
        np.testing.assert_array_equal(score, CSFS["msr"].score(two))


def test_images_whose_class_is_ruled_out_do_not_move_the_temperature():
    logits, labels = drawn_from_softmax(0, 300, 4, 2.0)
    expected = best_temperature(jnp.asarray(logits[1:]), labels[1:])
    logits[0, labels[0]] = -np.inf
    assert best_temperature(jnp.asarray(logits), labels) == pytest.approx(expected, rel=1e-5)
    assert best_temperature(jnp.asarray(logits[:1]), labels[:1]) == 1


def test_maxlogit_pnorm_falls_back_to_msr_where_nothing_is_better():
    # Right where the size is large: a norm takes just that away.
    sizes = np.random.default_rng(6).uniform(0.1, 6, 100)
    logits = sizes[:, None] * np.array([1.0, 0, 0])
    outputs = of(logits, np.where(sizes > 2, 0, 1))
    csf = FITTED["maxlogit_pnorm"](outputs, validation=outputs, norms=(1, 2, 3))
    np.testing.assert_array_equal(csf.score(outputs), CSFS["msr"].score(outputs))


@pytest.mark.parametrize("weight", [0.3, 0.5, 0.9])
def test_rel_u_is_its_definition_in_float64(weight):
    p, labels = softmax64(VALIDATION.logits), np.asarray(VALIDATION.labels)
    failed = p.argmax(-1) != labels
    matrix = np.zeros((4, 4))
    for i, j in itertools.permutations(range(4), 2):
        mixed = p[:, i] * p[:, j]
        matrix[i, j] = max(weight * mixed[failed].mean() - (1 - weight) * mixed[~failed].mean(), 0)
    matrix /= np.sqrt((matrix**2).sum())
    q = softmax64(TEST.logits)
    expected = -np.einsum("ni,ij,nj->n", q, matrix, q)
    score = tune["rel_u"](validation=VALIDATION, weight=weight).score(TEST)
    np.testing.assert_allclose(score, expected, rtol=1e-4, atol=1e-7)


def test_rel_u_without_failures_or_successes_or_with_nothing_mixed_up_is_gini():
    predicted = np.asarray(VALIDATION.logits).argmax(-1)
    gini = CSFS["gini"].score(TEST)
    for labels in (predicted, (predicted + 1) % 4):
        csf = tune["rel_u"](validation=of(VALIDATION.logits, labels))
        np.testing.assert_array_equal(csf.score(TEST), gini)
    np.testing.assert_array_equal(tune["rel_u"](validation=VALIDATION, weight=0.0).score(TEST), gini)


@pytest.mark.parametrize("weight", [-0.1, 1.1])
def test_the_weight_of_failures_lies_between_0_and_1(weight):
    with pytest.raises(ValueError, match=rf"must lie in \[0, 1\]; got {weight}"):
        tune["rel_u"](validation=VALIDATION, weight=weight)


def test_rel_u_beats_gini_where_two_classes_are_mixed_up_systematically():
    # The network wavers between 0 and 1 when it fails, and between 2 and 3 just as much when it is right.
    def draw(seed):
        rng = np.random.default_rng(seed)
        pair = rng.integers(0, 2, 300)
        logits = np.full((300, 4), -4.0)
        rows = np.arange(300)
        logits[rows, 2 * pair] = 2 + rng.normal(size=300) * 0.5
        logits[rows, 2 * pair + 1] = 1 + rng.normal(size=300) * 0.5
        top = logits.argmax(-1)
        return of(logits, np.where(pair == 0, 1 - top, top)), pair == 1

    validation, _ = draw(0)
    outputs, right = draw(1)
    assert auroc(FITTED["rel_u"](validation, validation=validation).score(outputs), right) > 0.9
    assert auroc(CSFS["gini"].score(outputs), right) < 0.6
