"""Scores made of several: slow definitions, edges, and the cases that they exist for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import worlds
from worlds import auroc, clusters, far, float64, of, plain, read, softmax64

from sfjax.csf import CSFS, FITTED, accept, average, both, combined, platt, product, rank_average, sirc
from sfjax.csf.combined import FEATURE_NORM, LOG_UNCERTAINTY
from sfjax.outputs import concatenate, take

TRAIN, VALIDATION, TEST, HEAD = plain(0, 120), plain(1, 100), plain(2, 60), worlds.head()
MSR, KNN = CSFS["msr"], FITTED["knn"](TRAIN, k=5)
RESIDUAL = FITTED["residual"](TRAIN, head=HEAD)


def lacking(primary, logits):
    """Returns what a bounded score lacks to its bound, in float64."""
    p = softmax64(logits)
    of = {"msr": 1 - p.max(-1), "pe": -(p * np.log(p)).sum(-1), "gini": 1 - (p**2).sum(-1)}
    return of[primary]


@pytest.mark.parametrize("primary", sorted(LOG_UNCERTAINTY))
@pytest.mark.parametrize("secondaries", [[FEATURE_NORM], [RESIDUAL], [FEATURE_NORM, RESIDUAL, KNN]])
def test_sirc_is_minus_the_logarithm_of_its_product(primary, secondaries):
    expected = lacking(primary, TEST.logits)
    for csf in secondaries:
        seen = float64(csf.score(TRAIN))
        start, slope = seen.mean() - 3 * seen.std(), 1 / seen.std()
        expected = expected * (1 + np.exp(-slope * (float64(csf.score(TEST)) - start)))
    score = sirc(primary, secondaries, TRAIN).score(TEST)
    np.testing.assert_allclose(score, -np.log(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("primary", sorted(LOG_UNCERTAINTY))
def test_sirc_orders_where_the_product_is_0_in_float32(primary):
    margins = np.array([17.0, 20, 30, 50, 80])
    logits = np.stack([margins, 0 * margins, 0 * margins], axis=-1)
    outputs = of(logits, features=np.ones((5, worlds.D)))
    linear = 1 - np.asarray(jax.nn.softmax(outputs.logits)).max(-1)
    assert (linear == 0).all()
    assert (np.diff(np.asarray(sirc(primary, [FEATURE_NORM], TRAIN).score(outputs))) > 0).all()


def test_sirc_names_of_the_table_have_their_secondaries():
    expected = {
        "sirc": [FEATURE_NORM],
        "sirc_residual": [RESIDUAL],
        "sirc_knn": [FITTED["knn"](TRAIN)],
        "sirc_plus": [FEATURE_NORM, RESIDUAL, FITTED["knn"](TRAIN)],
    }
    for name, secondaries in expected.items():
        for primary in ("msr", "gini"):
            score = FITTED[name](TRAIN, head=HEAD, primary=primary).score(TEST)
            np.testing.assert_array_equal(score, sirc(primary, secondaries, TRAIN).score(TEST), err_msg=name)


def test_a_secondary_that_does_not_vary_leaves_the_order_of_the_primary():
    same = of(np.asarray(TRAIN.logits), features=np.ones((len(TRAIN), worlds.D)))
    score = sirc("msr", [FEATURE_NORM], same).score(TEST)
    np.testing.assert_array_equal(np.argsort(score), np.argsort(jax.nn.log_sigmoid(MSR.score(TEST))))


@pytest.mark.parametrize(("primary", "secondaries"), [("energy", [FEATURE_NORM]), ("msr", [])])
def test_sirc_has_a_bounded_primary_and_a_secondary(primary, secondaries):
    with pytest.raises(ValueError, match=rf"among msr, pe, gini and at least one secondary; got {primary}"):
        sirc(primary, secondaries, TRAIN)


def test_sirc_beats_msr_and_its_secondary_on_misclassified_and_unknown_images_together():
    # Known images between two classes fail; unknown ones are far, and msr is sure of them.
    known, unknown = clusters(1, 200), far(2, 60)
    rng = np.random.default_rng(3)
    between = np.array(known.features[:60])
    labels = np.array(known.labels[:60])
    between[np.arange(60), labels] = 2 + rng.normal(size=60) * 0.02
    between[np.arange(60), (labels + 1) % 3] = 2.3 + rng.normal(size=60) * 0.02
    outputs = concatenate([known, read(between, labels), unknown])
    right = np.asarray(outputs.logits).argmax(-1) == np.asarray(outputs.labels)
    assert right[:200].all() and not right[200:].any()
    train, head = clusters(0, 200), worlds.last_layer()
    residual = FITTED["residual"](train, head=head)
    both_kinds = auroc(FITTED["sirc_residual"](train, head=head).score(outputs), right)
    assert both_kinds > 0.95
    assert auroc(MSR.score(outputs), right) < 0.75 and auroc(residual.score(outputs), right) < 0.9


def test_average_and_product_are_of_probabilities():
    other = platt(KNN, VALIDATION)
    p, q = float64(MSR.probability(TEST)), float64(other.probability(TEST))
    mean, times = average([MSR, other]), product([MSR, other])
    for function in (mean.score, mean.probability):
        np.testing.assert_allclose(function(TEST), (p + q) / 2, rtol=1e-5)
    np.testing.assert_allclose(times.score(TEST), np.log(p) + np.log(q), rtol=1e-5, atol=1e-6)
    assert times.probability is None  # p q is less than the probability of one event that both speak of
    np.testing.assert_array_equal(mean.predict(TEST), MSR.predict(TEST))


def test_one_doubt_is_enough_for_the_product_and_not_for_the_average():
    def of_probability(values):
        return MSR._replace(probability=lambda outputs: jnp.asarray(values))

    # One image has a sure and a doubting score, the other two that are so-so.
    csfs = [of_probability([0.99, 0.5]), of_probability([0.05, 0.5])]
    outputs = take(TEST, slice(0, 2))
    mean, times = (np.asarray(combine(csfs).score(outputs)) for combine in (average, product))
    assert mean[0] > mean[1] and times[0] < times[1]


def test_a_probability_of_0_leaves_the_product_finite():
    nothing = MSR._replace(probability=lambda outputs: jnp.zeros(len(outputs)))
    score = np.asarray(product([nothing, MSR]).score(TEST))
    assert np.isfinite(score).all() and (score < np.log(1e-20)).all()


def test_two_thresholds_accept_what_both_scores_accept():
    msr, near = (float64(csf.score(TEST)) for csf in (MSR, KNN))
    thresholds = float(np.median(msr)), float(np.quantile(near, 0.2))
    accepted = np.asarray(accept([MSR, KNN], thresholds)(TEST))
    np.testing.assert_array_equal(accepted, (msr >= thresholds[0]) & (near >= thresholds[1]))
    assert 0 < accepted.sum() < min((msr >= thresholds[0]).sum(), (near >= thresholds[1]).sum())
    for csfs, given in (([MSR], thresholds), ([], ())):
        with pytest.raises(ValueError, match="Every score has a threshold; got"):
            accept(csfs, given)


def test_a_combined_score_applies_where_all_of_its_members_do():
    confidnet, gambler = CSFS["confidnet"], CSFS["dg_res"]
    assert average([MSR, confidnet]).methods == {"confidnet"} and average([MSR, MSR]).methods == MSR.methods
    assert rank_average([MSR, KNN], VALIDATION).methods == MSR.methods
    with pytest.raises(ValueError, match="no training method has all of these: confidnet; deep_gamblers"):
        average([confidnet, gambler._replace(probability=confidnet.probability)])


def test_sirc_takes_its_gates_from_so_many_training_images(monkeypatch):
    whole = sirc("msr", [KNN], TRAIN).score(TEST)
    monkeypatch.setattr(combined, "MOST_SEEN", len(TRAIN) // 2)
    half = sirc("msr", [KNN], TRAIN).score(TEST)
    # Other images, other mean and deviation, and yet about the same.
    assert 0 < np.abs(float64(whole) - float64(half)).max() < 0.5 * np.ptp(float64(whole))


@pytest.mark.parametrize("combine", [average, product])
def test_what_is_averaged_has_a_probability(combine):
    with pytest.raises(ValueError, match=r"1 of 2 scores have none. Give them one by platt"):
        combine([MSR, KNN])
    with pytest.raises(ValueError, match="probabilities of being right"):
        combine([])


@pytest.mark.parametrize("combine", [rank_average, both])
def test_what_is_ranked_is_at_least_one_score(combine):
    with pytest.raises(ValueError, match="must be at least one"):
        combine([], VALIDATION)


def shares(csf):
    """Returns the middle rank of each of the validation images' scores among themselves, as a share."""
    score = float64(csf.score(VALIDATION))
    return (score[:, None] > score).mean(1) + (score[:, None] == score).mean(1) / 2


def test_rank_average_and_both_are_the_mean_and_the_least_of_shares():
    of_each = np.stack([shares(MSR), shares(KNN)])
    np.testing.assert_allclose(rank_average([MSR, KNN], VALIDATION).score(VALIDATION), of_each.mean(0), atol=1e-6)
    np.testing.assert_allclose(both([MSR, KNN], VALIDATION).score(VALIDATION), of_each.min(0), atol=1e-6)


def test_ties_have_half_of_their_number_below():
    # Votes of three passes tie: shares of 2 images at the bottom and 3 at the top.
    agreement = CSFS["mcd_vr"]
    passes = np.zeros((5, 3, 2))
    passes[:, :, 0] = 5
    passes[:2, 0] = [0, 5]
    outputs = worlds.Outputs.from_numpy(passes[:, 0], np.zeros(5, int), mc_logits=passes)
    np.testing.assert_allclose(rank_average([agreement], outputs).score(outputs), [0.2, 0.2, 0.7, 0.7, 0.7], rtol=1e-6)


@pytest.mark.parametrize("t", [0.1, 0.35, 0.8])
def test_both_accepts_where_every_score_is_above_its_own_threshold(t):
    accepted = np.asarray(both([MSR, KNN], VALIDATION).score(TEST)) > t
    expected = np.ones(len(TEST), bool)
    for csf in (MSR, KNN):
        # The score below which a share t of validation images is, images at the middle of their steps.
        threshold = np.quantile(float64(csf.score(VALIDATION)), t, method="hazen")
        expected &= float64(csf.score(TEST)) > threshold
    np.testing.assert_array_equal(accepted, expected)
    assert 0 < accepted.sum() < len(TEST)


def test_ranks_do_not_depend_on_which_images_are_tested_and_end_where_validation_does():
    csf = rank_average([MSR, KNN], VALIDATION)
    np.testing.assert_allclose(csf.score(take(TEST, slice(0, 5))), csf.score(TEST)[:5], rtol=1e-6)
    surest = of(np.eye(4)[:2] * 90)
    np.testing.assert_allclose(rank_average([MSR], VALIDATION).score(surest), 1 - 0.5 / 100, rtol=1e-6)


def test_combined_names_of_the_table_are_made_of_what_they_say():
    knn, mahalanobis = FITTED["knn"](TRAIN), platt(FITTED["mahalanobis"](TRAIN), VALIDATION)
    expected = {
        "average_msr_mahalanobis": average([MSR, mahalanobis]),
        "product_msr_mahalanobis": product([MSR, mahalanobis]),
        "rank_average_msr_knn": rank_average([MSR, knn], VALIDATION),
        "both_msr_knn": both([MSR, knn], VALIDATION),
    }
    for name, csf in expected.items():
        score = FITTED[name](TRAIN, validation=VALIDATION).score(TEST)
        np.testing.assert_array_equal(score, csf.score(TEST), err_msg=name)


@pytest.mark.parametrize("combine", ["rank_average", "both", "product"])
def test_two_scores_find_failures_that_either_alone_misses(combine):
    # Half of the failures are unsure, the other half far from all training images.
    known, unknown = clusters(1, 200), far(2, 60)
    between = np.array(clusters(3, 60).features)
    between[:, :2] = np.array([2.0, 2.2])
    outputs = concatenate([known, read(between, np.zeros(60, int)), unknown])
    right = np.asarray(outputs.logits).argmax(-1) == np.asarray(outputs.labels)
    distance = FITTED["residual"](clusters(0, 200), head=worlds.last_layer())
    validation = take(outputs, slice(0, None, 2))
    calibrated = [platt(csf, validation) for csf in (MSR, distance)]
    made = {
        "rank_average": functools.partial(rank_average, [MSR, distance], validation),
        "both": functools.partial(both, [MSR, distance], validation),
        "product": functools.partial(product, calibrated),
    }
    combined = auroc(made[combine]().score(outputs), right)
    assert combined > max(auroc(csf.score(outputs), right) for csf in (MSR, distance))
