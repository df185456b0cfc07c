"""Scores of logits: golden values, values by hand, slow definitions in float64, and the cases that they exist for."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import worlds
from worlds import auroc, of, softmax64

from sfjax.csf import CSFS, rules
from sfjax.csf.learned import learned_confidence
from sfjax.outputs import Outputs

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "csf.json").read_text(encoding="utf-8"))
DRAWN = np.random.default_rng(3).normal(size=(50, 6)).astype(np.float32) * 4
P = softmax64(DRAWN)
LARGEST_FIRST = -np.sort(-P)
# What a top class near 1 lacks to 1, as its others' sum, which nothing cancels in float64 either.
REST = LARGEST_FIRST[:, 1:].sum(-1)


@pytest.mark.parametrize(
    ("name", "golden", "to_golden"),
    [
        ("msr", "det_mcp", lambda score: 1 / (1 + np.exp(-score))),
        ("pe", "det_pe", lambda score: np.exp(-score)),
        ("mls", "det_mls", lambda score: score),
        ("energy", "energy_mls", lambda score: score),
    ],
)
def test_golden_scores_of_the_plain_pass(name, golden, to_golden):
    logits = np.array(GOLDEN["logits"])[:, :, 0]
    score = np.asarray(CSFS[name].score(of(logits)))
    np.testing.assert_allclose(to_golden(score), GOLDEN["expected"][golden], atol=GOLDEN["tolerance"])


SLOW = {
    "msr": np.log(LARGEST_FIRST[:, 0]) - np.log(REST),
    "pe": -np.log(-(P * np.log(P)).sum(-1)),
    "margin": -np.log(LARGEST_FIRST[:, 1] + REST),
    "gini": np.log(
        (P**2).sum(-1) / (LARGEST_FIRST[:, 0] * REST + (LARGEST_FIRST * (1 - LARGEST_FIRST))[:, 1:].sum(-1))
    ),
    "gen": -(P**0.1 * np.where(P.max(-1, keepdims=True) == P, REST[:, None], 1 - P) ** 0.1).sum(-1),
    "mls": DRAWN.max(-1),
    "energy": np.log(np.exp(np.float64(DRAWN)).sum(-1)),
}


@pytest.mark.parametrize("name", sorted(SLOW))
def test_a_score_is_its_definition_in_float64(name):
    np.testing.assert_allclose(CSFS[name].score(of(DRAWN)), SLOW[name], rtol=2e-5, atol=2e-6)


def test_the_margin_orders_as_the_difference_of_the_two_largest_probabilities():
    difference = LARGEST_FIRST[:, 0] - LARGEST_FIRST[:, 1]
    np.testing.assert_array_equal(np.argsort(CSFS["margin"].score(of(DRAWN))), np.argsort(difference))


def test_probabilities_of_a_half_and_two_quarters_by_hand():
    outputs = of(np.log([[0.5, 0.25, 0.25]]) + 1)
    expected = {
        "msr": 0.0,
        "margin": -np.log(0.75),
        # The sum of squares is 3/8, and 5/8 are lacking.
        "gini": np.log(3 / 5),
        "pe": -np.log(1.5 * np.log(2)),
        "gen": -(0.25**0.1 + 2 * (3 / 16) ** 0.1),
    }
    for name, value in expected.items():
        assert float(CSFS[name].score(outputs)[0]) == pytest.approx(value, abs=1e-6), name


def test_equal_top_classes_have_no_margin():
    np.testing.assert_allclose(CSFS["margin"].score(of([[3.0, 3, -60], [0, 0, -np.inf]])), 0, atol=1e-6)


def test_of_two_classes_all_scores_of_probabilities_have_one_order():
    logits = np.random.default_rng(4).normal(size=(40, 2)) * 5
    order = np.argsort(CSFS["msr"].score(of(logits)))
    for name in ("pe", "margin", "gini", "gen"):
        np.testing.assert_array_equal(np.argsort(CSFS[name].score(of(logits))), order, err_msg=name)


def test_a_class_of_probability_zero_adds_no_entropy():
    value = rules.negative_log_entropy(jnp.array([0.0, 0.0, -jnp.inf]))
    np.testing.assert_allclose(np.exp(-np.asarray(value)), np.log(2), rtol=1e-6)


def test_the_share_of_others_is_exact_near_both_ends():
    logits = jnp.array([40.0, 0.0, 0.0])
    shares = np.asarray(rules.log_share_of_others(logits))
    np.testing.assert_allclose(shares, [np.log(2) - 40, -np.exp(-40), -np.exp(-40)], rtol=1e-6)


def test_the_generalized_entropy_counts_only_the_most_probable_classes():
    p = np.array([0.6, 0.25, 0.1, 0.05])
    for most in (1, 2, 4):
        expected = -np.sqrt(p * (1 - p))[:most].sum()
        value = rules.negative_generalized_entropy(jnp.log(jnp.asarray(p, jnp.float32)), gamma=0.5, most=most)
        assert float(value) == pytest.approx(expected, rel=1e-5)


def test_a_small_gamma_sees_how_many_small_probabilities_there_are():
    # Of one image all of the rest is with one class, of the other it is spread over nine: its tail is heavier.
    narrow = np.log(np.array([0.9, 0.1 - 8e-9, *[1e-9] * 8]))
    spread = np.log(np.array([0.89, *[0.11 / 9] * 9]))
    gen = np.asarray(CSFS["gen"].score(of([narrow + 1, spread + 1])))
    at_one = np.asarray(
        jax.vmap(lambda z: rules.negative_generalized_entropy(z, gamma=1.0))(jnp.stack([narrow, spread]))
    )
    assert gen[0] / gen[1] < 0.5 and at_one[0] / at_one[1] > 0.85


def test_gradient_norm_is_that_of_the_cross_entropy_with_uniform_labels():
    outputs = worlds.plain(3, 20)
    weight, bias = worlds.head()

    def loss(weight, features):
        return -jax.nn.log_softmax(features @ weight + bias).mean()

    gradients = jax.vmap(jax.grad(loss), in_axes=(None, 0))(weight, outputs.features)
    expected = np.abs(np.asarray(gradients)).sum((1, 2))
    np.testing.assert_allclose(np.exp(CSFS["gradnorm"].score(outputs)), expected, rtol=1e-4)


def test_gradient_norm_of_no_features_is_least_and_finite():
    outputs = of([[1.0, 0], [1, 0], [0, 0]], features=[[0.0, 0], [1, 1], [1, 1]])
    score = np.asarray(CSFS["gradnorm"].score(outputs))
    # log of |p - 1/2| summed over both classes, times a 1-norm of 2.
    assert score[1] == pytest.approx(np.log(2 * (np.tanh(0.5))), abs=1e-5)
    assert np.isfinite(score).all() and score[0] < -60 and score[2] < -60


def test_learned_scores_by_hand():
    outputs = Outputs(
        logits=jnp.array([[0.0, 0.0], [50.0, 0.0]]),
        labels=jnp.array([0, 0]),
        reservation=jnp.array([0.0, 0.0]),
        confidence=jnp.array([0.0, 40.0]),
    )
    # Two classes and the reservation share alike: the odds of betting are 2 to 1. And 1 - r is 1 to float32 at 50.
    np.testing.assert_allclose(CSFS["dg_res"].score(outputs), [np.log(2), 50.0], rtol=1e-6)
    np.testing.assert_allclose(CSFS["confidnet"].probability(outputs), [0.5, 1.0], rtol=1e-6)
    assert CSFS["confidnet"].methods == {"confidnet"} and CSFS["dg_mcd_msr"].methods == {"deep_gamblers"}


def test_a_confidence_equal_to_the_true_classes_probability_beats_the_largest_one():
    # That is what a ConfidNet is trained to give: above 1/2 it is right, wherever it is wrong it is the rest's.
    rng = np.random.default_rng(5)
    logits, labels = rng.normal(size=(400, 4)) * 2, rng.integers(0, 4, 400)
    truly = softmax64(logits)[np.arange(400), labels]
    outputs = Outputs.from_numpy(logits, labels, confidence=np.log(truly / (1 - truly)))
    right = logits.argmax(-1) == labels
    csf = learned_confidence("confidnet")
    np.testing.assert_allclose(csf.probability(outputs), truly, rtol=1e-4)
    assert auroc(csf.score(outputs), right) > 0.95 > 0.75 > auroc(CSFS["msr"].score(outputs), right)
