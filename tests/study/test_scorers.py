"""Which scores a run has, and what each seed's networks teach them."""

import jax.numpy as jnp
import numpy as np
import pytest

from sfjax.csf import CSFS, FITTED
from sfjax.csf.calibrated import platt
from sfjax.outputs import Head, Outputs
from sfjax.study.entries import csf_name, entries, method_of
from sfjax.study.evaluation import evaluate, learn

HEAD = Head(jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)), jnp.float32), jnp.zeros(3))
METHODS = ("cross_entropy", "deep_gamblers")


def draw(n: int, seed: int) -> Outputs:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    features = rng.normal(size=(n, 6)) + 0.5 * np.asarray(HEAD.weight).T[labels]
    logits = features @ np.asarray(HEAD.weight, np.float64)
    parts = {"logits": logits, "features": features, "reservation": rng.normal(size=n)}
    return Outputs(labels=jnp.asarray(labels, jnp.int32), **{k: jnp.asarray(v, jnp.float32) for k, v in parts.items()})


def networks(n: int, seed: int) -> dict[str, Outputs]:
    return {method: draw(n, seed + i) for i, method in enumerate(METHODS)}


def test_all_is_every_score_that_the_methods_allow_once():
    named = entries(["all"], ["confidnet"])
    assert {"msr", "confidnet", "mcd_confidnet", *FITTED} <= set(named)
    assert not any(name.startswith(("ensemble_", "dg_", "tta_")) or name == "devries" for name in named)
    # On a gambler's network dg_msr is msr; beside another network it is not.
    assert "dg_msr" not in entries(["all"], ["deep_gamblers"]) and "dg_msr" in entries(["all"], METHODS)
    assert "tta_msr" in entries(["all"], ["confidnet"], augmented=True)


def test_paper_is_what_the_paper_has_of_them():
    assert entries(["paper"], ["confidnet", "deep_gamblers"]) == ("msr", "mcd_msr", "confidnet", "dg_mcd_msr")
    assert entries(["paper", "knn"], ["cross_entropy"]) == ("msr", "mcd_msr", "knn")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["nonsense"], "csfs must be among all, paper, msr"),
        (["msr", "msr"], "got msr and msr"),
        (["all", "cross_entropy_msr"], "got msr and cross_entropy_msr"),
        (["dg_msr", "deep_gamblers_msr"], "got dg_msr and deep_gamblers_msr"),
        (["cross_entropy_dg_res"], "dg_res reads what networks trained by deep_gamblers have"),
        (["devries"], "scored on networks trained by devries"),
        (["tta_msr"], "num_augmentations"),
    ],
)
def test_names_that_cannot_be_are_refused(names, words):
    with pytest.raises(ValueError, match=words):
        entries(names, METHODS)


def test_each_entry_learns_from_its_own_method_s_network():
    train, validation, test = networks(90, 1), networks(60, 11), networks(30, 21)
    heads = dict.fromkeys(METHODS, HEAD)
    scorers = learn(["knn", "deep_gamblers_knn", "deep_gamblers_vim", "dg_res"], train, validation, heads)
    said = evaluate(test, scorers)
    for i, entry in enumerate(scorers.csfs):
        method, name = method_of(entry, METHODS), csf_name(entry)
        csf = CSFS[name] if name in CSFS else FITTED[name](train[method], head=HEAD, validation=validation[method])
        np.testing.assert_allclose(said.score[i], csf.score(test[method]), rtol=1e-5)
        np.testing.assert_array_equal(said.predicted[i], csf.predict(test[method]))
    assert not np.allclose(said.score[0], said.score[1])


def test_scores_without_a_probability_get_one_from_validation_and_others_keep_theirs():
    validation, test = draw(300, 1), draw(50, 2)
    scorers = learn(["msr", "energy", "pe"], None, validation, calibrate="platt")
    assert set(scorers.calibration) == {"energy", "pe"}
    said = evaluate(test, scorers)
    np.testing.assert_allclose(said.probability[0], CSFS["msr"].probability(test), rtol=1e-6)
    np.testing.assert_allclose(said.probability[1], platt(CSFS["energy"], validation).probability(test), rtol=1e-5)
    assert np.isnan(evaluate(test, learn(["energy"], None, validation)).probability).all()
    steps = evaluate(test, learn(["pe"], None, validation, calibrate="isotonic")).probability[0]
    order = np.argsort(said.score[2])
    assert (np.diff(steps[order]) >= 0).all() and steps.min() >= 0 and steps.max() <= 1


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="knn learns from the outputs on training images"):
        learn(["knn"], None, None)
    with pytest.raises(ValueError, match="Give head=Head"):
        learn(["vim"], draw(60, 1), draw(60, 2))
    with pytest.raises(ValueError, match="Give validation="):
        learn(["rel_u"], draw(60, 1), None)
