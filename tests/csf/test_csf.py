"""What every score of CSFS and FITTED keeps to; values and the cases that they exist for are beside their modules."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import worlds
from worlds import fit, plain, sample

from sfjax.csf import CSFS, FITTED, PAPER, monte_carlo
from sfjax.csf.compose import of_images
from sfjax.outputs import Outputs, take
from sfjax.passes import of_stored_passes

NAMES = [*sorted(CSFS), *sorted(FITTED)]
OF_PASSES = {name for name in NAMES if name.startswith(("mcd_", "tta_", "dg_mcd_", "ensemble_"))}
# Some names are of one function, for another method.
DISTINCT = [*{id(CSFS[name].score) if name in CSFS else name: name for name in reversed(NAMES)}.values()][::-1]
N = 12

# A constant added to all logits changes these; it changes no probability. Those of features with the last layer make
# their own logits.
OF_TRUE_LOGITS = {"mls", "energy", "mcd_mls", "tta_mls", "ensemble_mls", "vim", "nnguide"}

# What becomes of a score where the softmax is 1 to float32, features held fixed: it tells such images apart (exact),
# has a bound that they reach (bounded), has few values at all (discrete), or reads something else (elsewhere).
EXACT = ("msr", "pe", "margin", "mls", "energy", "gini", "gen", "dg_res", "dg_msr", "dg_mcd_msr", "dg_mcd_ee")
RESOLUTION = {
    **dict.fromkeys(EXACT, "exact"),
    **{f"{of}_{name}": "exact" for of in ("mcd", "tta", "ensemble") for name in ("msr", "pe", "ee", "mi", "mls")},
    # Squares of differences of small probabilities underflow.
    **{f"{of}_{name}": "bounded" for of in ("mcd", "tta", "ensemble") for name in ("sv", "waic")},
    **{f"{of}_vr": "discrete" for of in ("mcd", "tta", "ensemble")},
    "gradnorm": "bounded",
    **dict.fromkeys(("confidnet", "devries", "mcd_confidnet", "mcd_confidnet_waic"), "elsewhere"),
    **dict.fromkeys(("temp_msr", "maxlogit_pnorm", "rel_u", "vim", "fdbd", "nnguide"), "exact"),
    **dict.fromkeys(("sirc", "sirc_residual", "sirc_knn", "sirc_plus"), "exact"),
    **dict.fromkeys(("mahalanobis", "relative_mahalanobis", "knn", "trust_score", "residual"), "elsewhere"),
    **dict.fromkeys(("nci", "react", "ash", "scale", "she"), "elsewhere"),
    **dict.fromkeys(("average_msr_mahalanobis", "product_msr_mahalanobis"), "bounded"),
    **dict.fromkeys(("rank_average_msr_knn", "both_msr_knn"), "bounded"),
}


@pytest.fixture(scope="module")
def outputs() -> Outputs:
    return sample(7, N)


def functions(name: str):
    csf = fit(name)
    return [f for f in (csf.score, csf.predict, csf.probability, csf.log_probabilities) if f is not None]


def close(values, expected, *, rtol: float = 2e-5):
    """But for rounding in sums, whose order depends on how many images are side by side."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def test_every_score_has_its_resolution_declared():
    assert sorted(RESOLUTION) == sorted(NAMES) and set(PAPER) <= set(CSFS)


@pytest.mark.parametrize("name", NAMES)
def test_scores_follow_the_images_and_are_finite(name, outputs):
    order = np.random.default_rng(2).permutation(N)
    for function in functions(name):
        values = np.asarray(function(outputs))
        assert len(values) == N and np.isfinite(values).all()
        close(function(take(outputs, order)), values[order])


@pytest.mark.parametrize("name", DISTINCT)
def test_jit_equals_eager(name, outputs):
    csf = fit(name)
    for function in (csf.score, csf.probability):
        if function is not None:
            close(jax.jit(function)(outputs), function(outputs))


@pytest.mark.parametrize("name", NAMES)
def test_a_score_reads_no_label(name, outputs):
    relabeled = dataclasses.replace(outputs, labels=outputs.labels[::-1] - 1)
    for function in functions(name):
        np.testing.assert_array_equal(function(relabeled), function(outputs))


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_classes_and_probabilities_lie_between_0_and_1(name, outputs):
    csf = fit(name)
    predicted = np.asarray(csf.predict(outputs))
    assert np.issubdtype(predicted.dtype, np.integer) and (predicted >= 0).all() and (predicted < worlds.C).all()
    if csf.probability is not None:
        probability = np.asarray(csf.probability(outputs))
        assert (probability >= 0).all() and (probability <= 1).all() and len(np.unique(probability)) > N // 2
    if csf.log_probabilities is not None:
        classes = np.exp(np.asarray(csf.log_probabilities(outputs)))
        np.testing.assert_allclose(classes.sum(-1), 1, atol=1e-5)
        np.testing.assert_array_equal(classes.argmax(-1), predicted)
        np.testing.assert_allclose(classes.max(-1), csf.probability(outputs), rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_added_to_the_logits_changes_only_the_scores_of_true_logits(name, outputs):
    moved = dataclasses.replace(
        outputs,
        logits=outputs.logits + 4,
        # The reservation is one more logit beside the classes'.
        reservation=outputs.reservation + 4,
        mc=dataclasses.replace(outputs.mc, mean_logits=outputs.mc.mean_logits + 4),
        tta=dataclasses.replace(outputs.tta, mean_logits=outputs.tta.mean_logits + 4),
    )
    score = np.asarray(fit(name).score(outputs))
    apart = np.abs(np.asarray(fit(name).score(moved)) - score)
    if name in OF_TRUE_LOGITS:
        assert (apart > 1e-2 * np.abs(score).max()).all()
    else:
        assert (apart <= 2e-5 * np.abs(score).max() + 2e-6).all()


MARGINS = (17.0, 20.0, 30.0, 50.0, 80.0)


@pytest.fixture(scope="module")
def sure(outputs) -> Outputs:
    """Returns images of ever larger margins and, but for the logits, equal fields; their passes disagree a little.

    As many as other tests have, so that nothing is compiled for them.
    """
    m = np.resize(MARGINS, N)
    logits = np.stack([m, 0 * m, 0 * m - 1, 0 * m - 2], axis=-1)
    passes = logits[:, None] + np.array([0.0, 2])[:, None] * np.eye(worlds.C)[0]
    mc = of_stored_passes(jnp.asarray(passes, jnp.float32))
    of_passes = {
        field: jnp.repeat(getattr(outputs.mc, field)[:1], N) for field in ("confidence_mean", "confidence_std")
    }
    mc = dataclasses.replace(mc, **of_passes)
    made = take(outputs, np.zeros(N, int))
    return dataclasses.replace(made, logits=jnp.asarray(logits, jnp.float32), mc=mc, tta=mc)


@pytest.mark.parametrize("name", NAMES)
def test_confident_images_are_told_apart_as_declared(name, outputs, sure):
    assert len(np.unique(np.asarray(jax.nn.softmax(sure.logits)).max(-1))) == 1  # the reason for log domains
    score = np.asarray(fit(name).score(sure))[: len(MARGINS)]
    declared = RESOLUTION[name]
    if declared == "exact":
        assert (np.diff(score) > 0).all()
    elif declared == "bounded":
        assert (np.diff(score) >= 0).all() and score[-1] == score[-2]
    elif declared == "discrete":
        votes = np.asarray(fit(name).score(outputs)) * worlds.T
        np.testing.assert_allclose(votes, np.round(votes), atol=1e-5)
        assert (score == 1).all()
    else:
        assert np.ptp(score) == 0


@pytest.mark.parametrize("name", DISTINCT)
def test_a_score_does_not_depend_on_how_many_images_are_scored_together(name, outputs):
    # 1025 are one more than are taken at once.
    many = take(outputs, np.arange(1025) % N)
    score = np.asarray(fit(name).score(outputs))
    together = jax.jit(fit(name).score)
    close(together(many), score[np.arange(1025) % N])
    close(together(take(outputs, slice(3, 4))), score[3:4], rtol=1e-4)


@pytest.mark.parametrize("name", DISTINCT)
def test_two_classes_do(name):
    score = np.asarray(jax.jit(fit(name, c=2, n=100).score)(sample(8, 30, c=2)))
    # Not by rounding alone.
    assert np.isfinite(score).all() and (np.ptp(score) > 1e-3 * np.abs(score).max() or RESOLUTION[name] == "discrete")


@pytest.mark.parametrize("name", DISTINCT)
def test_1139_classes_do(name):
    c = 1139
    outputs = sample(8, 30, c=c, d=4)
    csf = fit(name, c=c, d=4, n=2 * c)
    score, predicted = np.asarray(jax.jit(csf.score)(outputs)), np.asarray(csf.predict(outputs))
    assert np.isfinite(score).all() and np.ptp(score) > 0 and (predicted < c).all() and predicted.max() >= 256


@pytest.fixture(scope="module")
def probabilities(outputs) -> Outputs:
    return worlds.as_probabilities(outputs)


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_serve_where_no_true_logits_are_needed(name, outputs, probabilities):
    # They have no copies, so that their passes stand for them.
    kept = dataclasses.replace(outputs, tta=outputs.mc)
    if name in OF_TRUE_LOGITS:
        with pytest.raises(ValueError, match=r"needs true logits.*Take a score of probabilities"):
            fit(name).score(probabilities)
        return
    csf = fit(name)
    close(csf.score(probabilities), csf.score(kept), rtol=1e-4)
    np.testing.assert_array_equal(csf.predict(probabilities), csf.predict(kept))


@pytest.mark.parametrize("name", sorted(FITTED))
def test_a_score_can_be_fitted_with_probabilities_where_no_true_logits_are_needed(name, outputs):
    train, validation = (worlds.as_probabilities(plain(seed, n)) for seed, n in ((0, 200), (1, 100)))
    if name in OF_TRUE_LOGITS:
        with pytest.raises(ValueError, match="needs true logits"):
            FITTED[name](train, head=worlds.head(), validation=validation)
        return
    csf = FITTED[name](train, head=worlds.head(), validation=validation)
    close(csf.score(outputs), fit(name).score(outputs), rtol=1e-3)


OF_FITTED_RULES = ("mahalanobis", "relative_mahalanobis", "knn", "trust_score", "vim", "residual", "fdbd", "nci")
OF_FITTED_RULES += ("nnguide", "react", "ash", "scale", "she", "sirc_residual", "sirc_knn", "sirc_plus")


@pytest.mark.parametrize("name", OF_FITTED_RULES)
def test_another_fit_compiles_nothing_anew(name, outputs):
    first = fit(name).score(outputs)
    compiled = of_images._cache_size()  # pyright: ignore
    other = FITTED[name](plain(5, 200), head=worlds.head(), validation=plain(6, 100))
    second = other.score(outputs)
    assert of_images._cache_size() == compiled  # pyright: ignore
    if name not in ("ash", "scale"):  # what they learn is the head, which is the same
        assert np.abs(np.asarray(first) - np.asarray(second)).max() > 0


@pytest.mark.parametrize("name", sorted(OF_PASSES - {"dg_mcd_msr", "dg_mcd_ee"}))
def test_scores_of_passes_say_how_to_get_them(name, outputs):
    remedy = "augmentations=10" if name.startswith("tta_") else "num_samples=50"
    with pytest.raises(ValueError, match=re.escape(remedy)):
        fit(name).score(Outputs(logits=outputs.logits, labels=outputs.labels))


@pytest.mark.parametrize("name", ["confidnet", "devries", "dg_res", "mcd_confidnet", "mcd_confidnet_waic"])
def test_learned_scores_say_which_method_makes_them(name, outputs):
    mc = of_stored_passes(outputs.mc_logits)
    with pytest.raises(ValueError, match=r"confidnet or devries|deep_gamblers|method confidnet"):
        CSFS[name].score(Outputs(logits=outputs.logits, labels=outputs.labels, mc=mc))


OF_FEATURES = sorted(set(FITTED) - {"temp_msr", "maxlogit_pnorm", "rel_u"})


@pytest.mark.parametrize("name", ["gradnorm", *OF_FEATURES])
def test_scores_of_features_say_how_to_keep_them(name, outputs):
    bare = Outputs(logits=outputs.logits, labels=outputs.labels)
    with pytest.raises(ValueError, match="Keep the penultimate layer"):
        fit(name).score(bare)
    if name in FITTED:
        with pytest.raises(ValueError, match="Keep the penultimate layer"):
            FITTED[name](bare, head=worlds.head(), validation=outputs)


OF_VALIDATION = ("temp_msr", "maxlogit_pnorm", "rel_u", "average_msr_mahalanobis", "product_msr_mahalanobis")
OF_VALIDATION += ("rank_average_msr_knn", "both_msr_knn")


@pytest.mark.parametrize("name", OF_VALIDATION)
def test_tuned_scores_ask_for_labelled_validation_outputs(name, outputs):
    unlabelled = dataclasses.replace(outputs, labels=jnp.full_like(outputs.labels, -1))
    for validation in (None, unlabelled):
        with pytest.raises(ValueError, match=rf"{name} is tuned on labelled validation.*Give validation="):
            FITTED[name](outputs, head=worlds.head(), validation=validation)


@pytest.mark.parametrize("name", sorted(set(FITTED) - set(OF_VALIDATION)))
def test_other_fitted_scores_take_training_outputs_alone(name, outputs):
    csf = FITTED[name](plain(0, 200), head=worlds.head())
    np.testing.assert_array_equal(csf.score(outputs), fit(name).score(outputs))


@pytest.mark.parametrize("table", [CSFS, FITTED])
def test_the_tables_are_read_only(table):
    with pytest.raises(TypeError):
        table["new"] = table[next(iter(table))]


def test_a_class_of_logit_minus_infinity_is_only_ruled_out():
    logits = np.array([[2.0, 0, -np.inf], [5, 1, -np.inf], [0.5, 0, -np.inf]])
    with_and_without = worlds.of(logits), worlds.of(logits[:, :2])
    for name in ("msr", "pe", "margin", "gini", "gen", "energy", "mls"):
        np.testing.assert_allclose(*(CSFS[name].score(o) for o in with_and_without), rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", sorted(set(FITTED) - set(OF_VALIDATION)))
def test_scores_that_learn_take_images_on_which_a_class_is_ruled_out(name, outputs):
    ruled_out = dataclasses.replace(outputs, logits=outputs.logits.at[:, 0].set(-jnp.inf))
    train = plain(0, 200)
    train = dataclasses.replace(train, logits=train.logits.at[:, 0].set(-jnp.inf))
    score = np.asarray(FITTED[name](train, head=worlds.head()).score(ruled_out))
    assert np.isfinite(score).all() and np.ptp(score) > 0


# Both have the softmax 0.6 and 0.4 of the rest, which `msr` cannot tell apart: of the first two classes alone, or of
# all; the second with a constant added, which `mls` and `energy` see.
NARROW, WIDE = 1 + np.log([0.6, 0.4, 1e-30, 1e-30]), 1 + np.log([0.6, 0.4 / 3, 0.4 / 3, 0.4 / 3])


@pytest.mark.parametrize(
    ("name", "surer", "less_sure"),
    [
        ("pe", NARROW, WIDE),
        ("gini", NARROW, WIDE),
        ("gen", NARROW, WIDE),
        ("margin", WIDE, NARROW),
        ("mls", WIDE + 5, WIDE),
        ("energy", NARROW + 5, NARROW),
    ],
)
def test_rules_tell_apart_what_msr_does_not(name, surer, less_sure):
    pair = worlds.of([surer, less_sure])
    msr, score = (np.asarray(CSFS[one].score(pair)) for one in ("msr", name))
    assert msr[0] == pytest.approx(msr[1], abs=1e-5) and score[0] > score[1] + 0.01


def test_agreement_tells_a_vote_from_a_mean():
    # The mean softmax is the same: three passes that lean one way, or two of which one is alone and sure.
    steady = np.log([[0.6, 0.4]] * 3)
    split = np.log([[0.9, 0.1], [0.45, 0.55], [0.45, 0.55]])
    outputs = Outputs.from_numpy(
        [[0.6, 0.4]] * 2, [0, 0], mc_logits=np.exp([steady, split]), logits_are="probabilities"
    )
    mean, votes = (np.asarray(CSFS[name].score(outputs)) for name in ("mcd_msr", "mcd_vr"))
    assert mean[0] == pytest.approx(mean[1], abs=1e-5) and votes[0] == 1 > votes[1]


def test_scores_rank_alike_on_every_device(outputs):
    others = [device for device in jax.devices() if device.platform != "cpu"]
    if not others:
        pytest.skip("one kind of device only: run this on a machine with an accelerator")
    for name in DISTINCT:
        here, there = (
            np.asarray(fit(name).score(jax.device_put(outputs, device)))
            for device in (jax.devices("cpu")[0], others[0])
        )
        close(there, here, rtol=1e-4)
        apart = np.abs(here[:, None] - here[None]) > 1e-3 * np.abs(here).max()
        assert ((np.sign(there[:, None] - there[None]) == np.sign(here[:, None] - here[None])) | ~apart).all(), name


def test_scores_of_passes_speak_of_the_mean_softmax_or_of_the_votes():
    # Two passes lean a little to class 1, one is sure of class 0.
    passes = jnp.asarray([[[0.0, 1.0], [0.0, 1.0], [9.0, 0.0]]])
    outputs = Outputs(logits=jnp.zeros((1, 2)), labels=jnp.zeros(1, jnp.int32), mc=of_stored_passes(passes))
    assert {name: int(CSFS[name].predict(outputs)[0]) for name in ("mcd_msr", "mcd_ee", "mcd_vr")} == {
        "mcd_msr": 0,
        "mcd_ee": 0,
        "mcd_vr": 1,
    }
    assert float(monte_carlo.agreement(outputs.mc)[0]) == pytest.approx(2 / 3)
