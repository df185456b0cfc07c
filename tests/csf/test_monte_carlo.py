"""Scores of passes: golden values, values by hand, slow definitions in float64, and the cases that they exist for."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from worlds import auroc, sample, softmax64

from sfjax.csf import CSFS
from sfjax.outputs import Outputs
from sfjax.passes import Passes, mc_statistics, of_stored_passes

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "csf.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def golden_outputs() -> Outputs:
    logits = jnp.asarray(np.array(GOLDEN["logits"]), jnp.float32)  # images, classes, passes
    confidence = np.array(GOLDEN["confidences"])
    logit = jnp.asarray(np.log(confidence / (1 - confidence)), jnp.float32)
    mc, _ = mc_statistics(lambda t: Passes(logits[:, :, t], confidence=logit[:, t]), 5, 2)
    return Outputs(logits=logits[:, :, 0], labels=jnp.zeros(4, jnp.int32), mc=mc)


def negative(score):
    return -np.asarray(score)


@pytest.mark.parametrize(
    ("name", "golden", "to_golden"),
    [
        ("msr", "mcd_mcp", lambda score: 1 / (1 + np.exp(-np.asarray(score)))),
        ("pe", "mcd_pe", lambda score: np.exp(-np.asarray(score))),
        ("ee", "mcd_ee", negative),
        ("mi", "mcd_mi", negative),
        ("sv", "mcd_sv", negative),
        ("mls", "mcd_mls", np.asarray),
        ("waic", "mcd_waic_intended", np.asarray),
        ("confidnet", "ext_mcd", np.asarray),
        ("confidnet_waic", "ext_waic", np.asarray),
    ],
)
def test_golden_scores_of_dropout_passes(name, golden, to_golden, golden_outputs):
    score = CSFS[f"mcd_{name}"].score(golden_outputs)
    np.testing.assert_allclose(to_golden(score), GOLDEN["expected"][golden], atol=GOLDEN["tolerance"])


def entropy(p):
    return -(p * np.log(p)).sum(-1)


def test_scores_of_passes_are_their_definitions_in_float64():
    outputs = sample(7, 12)
    z = np.float64(outputs.mc_logits)
    p = softmax64(z)
    mean = p.mean(1)
    top = mean.argmax(-1)
    images = np.arange(12)
    votes = (z.argmax(-1)[:, :, None] == np.arange(4)).mean(1)
    expected = {
        "msr": np.log(mean.max(-1) / (1 - mean.max(-1))),
        "pe": -np.log(entropy(mean)),
        "ee": -entropy(p).mean(1),
        "mi": entropy(p).mean(1) - entropy(mean),
        "sv": -p.std(1).mean(-1),
        "waic": mean.max(-1) - p.std(1)[images, top],
        "mls": z.mean(1).max(-1),
        "vr": votes.max(-1),
    }
    for name, value in expected.items():
        for of in ("mcd", "ensemble"):
            score = CSFS[f"{of}_{name}"].score(outputs)
            np.testing.assert_allclose(score, value, rtol=2e-4, atol=2e-6, err_msg=f"{of}_{name}")
        if name != "vr":
            np.testing.assert_array_equal(CSFS[f"mcd_{name}"].predict(outputs), top)
    np.testing.assert_array_equal(CSFS["mcd_vr"].predict(outputs), votes.argmax(-1))
    np.testing.assert_allclose(CSFS["mcd_msr"].probability(outputs), mean.max(-1), rtol=1e-5)


def test_scores_over_augmented_copies_read_those_passes_and_no_others():
    outputs = sample(7, 12)
    as_dropout = Outputs(logits=outputs.logits, labels=outputs.labels, mc=outputs.tta)
    for name in ("msr", "pe", "ee", "mi", "sv", "waic", "mls", "vr"):
        score = np.asarray(CSFS[f"tta_{name}"].score(outputs))
        np.testing.assert_array_equal(score, CSFS[f"mcd_{name}"].score(as_dropout))
        assert (score != np.asarray(CSFS[f"mcd_{name}"].score(outputs))).any()


def test_scores_apply_to_the_methods_that_make_their_passes():
    assert CSFS["ensemble_mi"].methods == {"ensemble"}
    assert "ensemble" not in CSFS["mcd_mi"].methods | CSFS["tta_mi"].methods
    assert CSFS["mcd_confidnet"].methods == {"confidnet"} and CSFS["dg_mcd_ee"].methods == {"deep_gamblers"}


def test_two_passes_of_opposite_opinion_by_hand():
    # Shares 3/4 and 1/4 of class 0: the mean is one half, the deviation one quarter.
    passes = np.log(np.array([[[3.0, 1], [1, 3]]]))
    outputs = Outputs.from_numpy([[0.0, 0]], [0], mc_logits=passes)
    of_pass = 2 * np.log(2) - 0.75 * np.log(3)
    expected = {"msr": 0.0, "ee": -of_pass, "mi": of_pass - np.log(2), "sv": -0.25, "waic": 0.25, "vr": 0.5}
    expected |= {"pe": -np.log(np.log(2)), "mls": np.log(3) / 2}
    for name, value in expected.items():
        assert float(CSFS[f"mcd_{name}"].score(outputs)[0]) == pytest.approx(value, abs=1e-6), name


def test_mutual_information_tells_disagreement_from_noise():
    agree = jnp.zeros((1, 2, 2))
    disagree = jnp.array([[[9.0, -9.0], [-9.0, 9.0]]])
    scores = []
    for passes in (agree, disagree):
        outputs = Outputs(logits=passes[:, 0], labels=jnp.zeros(1, jnp.int32), mc=of_stored_passes(passes))
        scores.append({name: float(CSFS[name].score(outputs)[0]) for name in ("mcd_mi", "mcd_ee", "mcd_pe")})
    noise, disagreement = scores
    assert noise["mcd_mi"] == pytest.approx(0, abs=1e-6)
    # Each pass is sure, together they know nothing.
    assert disagreement["mcd_mi"] == pytest.approx(-np.log(2), rel=1e-4)
    assert noise["mcd_ee"] == pytest.approx(-np.log(2), rel=1e-5) and disagreement["mcd_ee"] > -1e-5
    assert noise["mcd_pe"] == pytest.approx(disagreement["mcd_pe"], rel=1e-5)


def test_disagreement_finds_the_unknown_among_images_that_are_as_unsure_by_nature():
    # Known images have two classes that mix; of unknown ones every pass is sure of one, but not of the same.
    rng = np.random.default_rng(6)
    known = rng.normal(size=(100, 8, 3)) * 0.2 + np.array([2.0, 2, -2])
    unknown = rng.normal(size=(100, 8, 3)) * 0.2 + 6 * np.eye(3)[rng.integers(0, 2, (100, 8))]
    passes = np.concatenate([known, unknown])
    outputs = Outputs.from_numpy(passes.mean(1), np.zeros(200, int), mc_logits=passes)
    is_known = np.arange(200) < 100
    for name in ("mi", "sv", "waic"):
        assert auroc(CSFS[f"mcd_{name}"].score(outputs), is_known) > 0.9, name
    assert auroc(CSFS["mcd_msr"].score(outputs), is_known) < 0.6
    assert auroc(CSFS["mcd_ee"].score(outputs), is_known) < 0.1
