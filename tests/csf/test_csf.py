"""Conformance of every entry of CSFS, and hand-computed values."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax.csf import CSFS, rules
from sfjax.inference import Passes, mc_statistics
from sfjax.outputs import Outputs, take

NAMES = sorted(CSFS)
OF_PASSES = [name for name in NAMES if "mcd" in name or name.startswith("ensemble")]


@pytest.fixture(scope="module")
def outputs() -> Outputs:
    rng = np.random.default_rng(1)
    passes = jnp.asarray(rng.normal(size=(7, 12, 4)) * 3, jnp.float32)
    mc, _ = mc_statistics(lambda i: Passes(passes[i]), num_samples=7, passes_at_once=3)
    labels = jnp.asarray(rng.integers(0, 4, 12), jnp.int32)
    logits, reservation, confidence = (
        jnp.asarray(rng.normal(size=size) * 3, jnp.float32) for size in ((12, 4), 12, 12)
    )
    features = jnp.asarray(rng.normal(size=(12, 5)), jnp.float32)
    heads = {"reservation": reservation, "confidence": confidence}
    return Outputs(logits=logits, labels=labels, features=features, mc=mc, tta=mc, **heads)


@pytest.mark.parametrize("name", NAMES)
def test_scores_follow_the_images_and_are_finite(name, outputs):
    order = np.random.default_rng(2).permutation(12)
    csf = CSFS[name]
    for function in (csf.score, csf.predict, csf.probability):
        if function is not None:
            values = np.asarray(function(outputs))
            assert values.shape == (12,) and np.isfinite(values).all()
            np.testing.assert_array_equal(np.asarray(function(take(outputs, order))), values[order])


@pytest.mark.parametrize("name", NAMES)
def test_jit_equals_eager(name, outputs):
    np.testing.assert_allclose(jax.jit(CSFS[name].score)(outputs), CSFS[name].score(outputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_score_reads_no_label(name, outputs):
    fields = {field.name: getattr(outputs, field.name) for field in dataclasses.fields(outputs)}
    relabeled = Outputs(**{**fields, "labels": outputs.labels[::-1]})
    np.testing.assert_array_equal(CSFS[name].score(relabeled), CSFS[name].score(outputs))


@pytest.mark.parametrize("name", [name for name in NAMES if CSFS[name].log_probabilities is not None])
def test_probability_orders_as_the_score_and_is_the_largest_softmax_of_the_predicted_class(name, outputs):
    csf = CSFS[name]
    logits = outputs.mc.log_mean if name in OF_PASSES else outputs.logits
    np.testing.assert_allclose(csf.log_probabilities(outputs), jax.nn.log_softmax(logits), atol=1e-6)
    softmax = np.asarray(jax.nn.softmax(logits))
    np.testing.assert_allclose(csf.probability(outputs), softmax.max(-1), rtol=1e-5)
    np.testing.assert_array_equal(csf.predict(outputs), softmax.argmax(-1))
    assert (np.argsort(csf.score(outputs)) == np.argsort(softmax.max(-1))).all()


@pytest.mark.parametrize("name", OF_PASSES)
def test_mc_scores_say_how_to_get_the_passes(name, outputs):
    with pytest.raises(ValueError, match="num_samples=50"):
        CSFS[name].score(Outputs(logits=outputs.logits, labels=outputs.labels))


@pytest.mark.parametrize("rule", [rules.log_odds, rules.negative_log_entropy])
def test_confident_logits_keep_their_order_where_softmax_ties(rule):
    margins = jnp.array([17.0, 20.0, 30.0, 50.0, 80.0])
    logits = jnp.stack([margins, jnp.zeros(5), jnp.zeros(5)], axis=-1)
    scores = np.asarray(jax.vmap(rule)(logits))
    assert (np.diff(scores) > 0).all()
    assert len(np.unique(np.asarray(jax.nn.softmax(logits)).max(-1))) == 1  # the reason to exist


def test_entropy_against_float64():
    logits = np.random.default_rng(3).normal(size=(50, 6)) * 4
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    entropy = -(p * np.log(p)).sum(-1)
    ours = np.exp(-np.asarray(jax.vmap(rules.negative_log_entropy)(jnp.asarray(logits, jnp.float32))))
    np.testing.assert_allclose(ours, entropy, rtol=2e-5)


def test_a_class_of_probability_zero_adds_no_entropy():
    value = rules.negative_log_entropy(jnp.array([0.0, 0.0, -jnp.inf]))
    np.testing.assert_allclose(np.exp(-np.asarray(value)), np.log(2), rtol=1e-6)


def test_mutual_information_tells_disagreement_from_noise():
    agree = jnp.zeros((2, 1, 2))
    disagree = jnp.array([[[9.0, -9.0]], [[-9.0, 9.0]]])
    scores = []
    for passes in (agree, disagree):
        mc, _ = mc_statistics(lambda i, passes=passes: Passes(passes[i]), num_samples=2, passes_at_once=2)
        outputs = Outputs(logits=passes[0], labels=jnp.zeros(1, jnp.int32), mc=mc)
        scores.append({name: float(CSFS[name].score(outputs)[0]) for name in ("mcd_mi", "mcd_ee", "mcd_pe")})
    noise, disagreement = scores
    assert noise["mcd_mi"] == pytest.approx(0, abs=1e-6)
    assert disagreement["mcd_mi"] == pytest.approx(
        -np.log(2), rel=1e-4
    )  # each pass is sure, together they know nothing
    assert noise["mcd_ee"] == pytest.approx(-np.log(2), rel=1e-5) and disagreement["mcd_ee"] > -1e-5
    assert noise["mcd_pe"] == pytest.approx(disagreement["mcd_pe"], rel=1e-5)


def test_the_table_is_read_only():
    with pytest.raises(TypeError):
        CSFS["new"] = CSFS["msr"]  # pyright: ignore


@pytest.mark.parametrize("name", ["confidnet", "devries", "dg_res"])
def test_learned_scores_say_which_method_makes_them(name, outputs):
    with pytest.raises(ValueError, match=r"confidnet or devries|deep_gamblers"):
        CSFS[name].score(Outputs(logits=outputs.logits, labels=outputs.labels))


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


@pytest.mark.parametrize("name", NAMES)
def test_log_probabilities_give_the_same_score_or_are_refused(name, outputs):
    probable = dataclasses.replace(
        outputs,
        logits=jax.nn.log_softmax(outputs.logits),
        # The reservation is on the scale of the logits.
        reservation=outputs.reservation - jax.nn.logsumexp(outputs.logits, axis=-1),
        logits_are="log_probabilities",
    )
    score = CSFS[name].score
    if name == "energy" or name.endswith("mls"):
        with pytest.raises(ValueError, match=r"needs true logits.*such as msr"):
            score(probable)
        with pytest.raises(ValueError, match="needs true logits"):
            jax.jit(score)(probable)
    else:
        np.testing.assert_allclose(score(probable), score(outputs), rtol=1e-4, atol=1e-5)
