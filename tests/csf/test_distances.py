"""Scores of distances to training features: slow definitions, scikit-learn, edges, and their cases."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import worlds
from sklearn.neighbors import NearestNeighbors
from worlds import auroc, clusters, far, float64, of, plain

from sfjax.csf import CSFS, FITTED
from sfjax.csf.distances import _dense, training_of  # pyright: ignore[reportPrivateUsage]
from sfjax.outputs import concatenate

TRAIN, TEST = plain(0, 120), plain(1, 40)
X, Y, Z = float64(TRAIN.features), np.asarray(TRAIN.labels), float64(TEST.features)
MEANS = np.stack([X[c == Y].mean(0) for c in range(worlds.C)])


def squares(at, means, covariance):
    """Returns squared Mahalanobis distances to every mean, shape (n, m)."""
    apart = at[:, None] - means
    return np.einsum("nmd,de,nme->nm", apart, np.linalg.pinv(covariance, rcond=1e-10, hermitian=True), apart)


def within(features, labels, means):
    deviations = features - means[labels]
    return deviations.T @ deviations / len(deviations)


def test_mahalanobis_is_the_distance_to_the_nearest_class_mean():
    expected = -squares(Z, MEANS, within(X, Y, MEANS)).min(-1)
    np.testing.assert_allclose(FITTED["mahalanobis"](TRAIN).score(TEST), expected, rtol=1e-4)


def test_relative_mahalanobis_takes_that_from_the_distance_to_the_mean_of_all():
    of_all = squares(Z, X.mean(0)[None], np.cov(X.T, bias=True))[:, 0]
    expected = of_all - squares(Z, MEANS, within(X, Y, MEANS)).min(-1)
    np.testing.assert_allclose(FITTED["relative_mahalanobis"](TRAIN).score(TEST), expected, rtol=1e-4, atol=1e-4)


def test_classes_a_thousand_deviations_apart_keep_their_distances():
    rng = np.random.default_rng(2)
    labels = np.arange(60) % 3
    features = (1000 * np.eye(3)[labels] + rng.normal(size=(60, 3))).astype(np.float32)
    train = of(5 * np.eye(3)[labels], labels, features)
    at = float64(features)
    means = np.stack([at[labels == c].mean(0) for c in range(3)])
    expected = -squares(at, means, within(at, labels, means)).min(-1)
    np.testing.assert_allclose(FITTED["mahalanobis"](train).score(train), expected, rtol=2e-3)


@pytest.mark.parametrize("name", ["mahalanobis", "relative_mahalanobis"])
@pytest.mark.parametrize("constant", [0.0, 7.3])
def test_features_that_never_vary_have_no_say(name, constant):
    def widened(outputs):
        return dataclasses.replace(
            outputs, features=jnp.concatenate([outputs.features, jnp.full((len(outputs), 2), constant)], axis=-1)
        )

    score = FITTED[name](widened(TRAIN)).score(widened(TEST))
    np.testing.assert_allclose(score, FITTED[name](TRAIN).score(TEST), rtol=1e-3, atol=1e-3)


def test_fewer_images_than_dimensions_take_the_pseudo_inverse():
    rng = np.random.default_rng(3)
    features, labels = rng.normal(size=(10, 25)).astype(np.float32), np.arange(10) % 2
    train = of(rng.normal(size=(10, 2)), labels, features)
    at = float64(features)
    means = np.stack([at[labels == c].mean(0) for c in range(2)])
    expected = -squares(at, means, within(at, labels, means)).min(-1)
    np.testing.assert_allclose(FITTED["mahalanobis"](train).score(train), expected, rtol=1e-3)


def test_classes_of_one_image_or_none_leave_the_others_their_distances():
    # Class 2 has one image, which is its mean and adds no spread; class 3 has none.
    labels = np.where(Y == 3, 0, Y)
    first = np.flatnonzero(labels == 2)[0]
    kept = np.flatnonzero((labels != 2) | (np.arange(len(Y)) == first))
    some = of(np.asarray(TRAIN.logits)[kept], labels[kept], X[kept])
    means = np.stack([X[kept][labels[kept] == c].mean(0) for c in range(3)])
    expected = -squares(Z, means, within(X[kept], labels[kept], means)).min(-1)
    np.testing.assert_allclose(FITTED["mahalanobis"](some).score(TEST), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["trust_score", "she"])
def test_scores_that_look_up_the_predicted_class_need_every_class(name):
    with pytest.raises(ValueError, match=f"{name} needs training images of every class, and there are none of 2, 3"):
        FITTED[name](of(np.asarray(TRAIN.logits), np.minimum(Y, 1), X))


@pytest.mark.parametrize("name", ["mahalanobis", "relative_mahalanobis", "knn", "nnguide"])
def test_scores_that_look_up_no_class_do_without_one(name):
    score = FITTED[name](of(np.asarray(TRAIN.logits), np.minimum(Y, 1), X)).score(TEST)
    assert np.isfinite(np.asarray(score)).all()


@pytest.mark.parametrize("name", ["mahalanobis", "relative_mahalanobis"])
def test_equal_features_have_no_covariance(name):
    with pytest.raises(ValueError, match=r"vary around their means, and none does. Give more"):
        FITTED[name](of(np.asarray(TRAIN.logits), Y, np.full_like(X, 2.5)))


@pytest.mark.parametrize("name", ["knn", "trust_score", "she", "nnguide"])
def test_equal_features_are_equally_near(name):
    same = of(np.asarray(TRAIN.logits), Y, np.ones_like(X))
    score = np.asarray(FITTED[name](same).score(dataclasses.replace(same, logits=jnp.ones_like(same.logits))))
    assert np.isfinite(score).all() and np.ptp(score) < 1e-5


@pytest.mark.parametrize("name", ["mahalanobis", "knn", "trust_score", "she", "nnguide"])
def test_training_features_must_be_finite_where_a_class_is_known(name):
    features = X.astype(np.float32)
    features[7, 2] = np.nan
    spoiled = dataclasses.replace(TRAIN, features=jnp.asarray(features))
    with pytest.raises(ValueError, match=f"{name} learns from finite features, and those of training image 7"):
        FITTED[name](spoiled)
    unknown = dataclasses.replace(spoiled, labels=TRAIN.labels.at[7].set(-1))
    assert np.isfinite(np.asarray(FITTED[name](unknown).score(TEST))).all()


@pytest.mark.parametrize("name", ["mahalanobis", "knn", "trust_score", "she", "nnguide"])
def test_training_images_must_have_labels(name):
    with pytest.raises(ValueError, match=f"{name} learns from labelled training images, and there are none"):
        FITTED[name](dataclasses.replace(TRAIN, labels=jnp.full_like(TRAIN.labels, -1)))


def units(features):
    return features / np.linalg.norm(features, axis=-1, keepdims=True)


@pytest.mark.parametrize("k", [1, 7, 120, 500])
def test_knn_is_scikit_learns_distance_to_the_kth_neighbor(k):
    reference = NearestNeighbors(n_neighbors=min(k, len(X))).fit(units(X))
    expected = -reference.kneighbors(units(Z))[0][:, -1]
    np.testing.assert_allclose(FITTED["knn"](TRAIN, k=k).score(TEST), expected, atol=1e-5)


def test_knn_of_a_coreset_is_that_of_so_many_training_images():
    score = np.asarray(FITTED["knn"](TRAIN, k=2000, coreset=1, seed=3).score(TEST))
    to_each = -np.linalg.norm(units(Z)[:, None] - units(X), axis=-1)
    assert (np.abs(to_each - score[:, None]).max(0) < 1e-5).sum() == 1
    assert np.abs(score - np.asarray(FITTED["knn"](TRAIN, coreset=1, seed=4).score(TEST))).max() > 0.01
    everything = FITTED["knn"](TRAIN, k=5, coreset=120).score(TEST)
    np.testing.assert_array_equal(everything, FITTED["knn"](TRAIN, k=5).score(TEST))


def test_knn_does_not_lose_a_near_neighbor_to_rounding():
    # At an angle of 1e-4, where 2 - 2 cos is 1e-8 and float32's cosine 1.
    outputs = of(5 * np.eye(2), [0, 1], [[1.0, 0], [0, 1]])
    at = of([[5.0, 0]], [0], [[1.0, 1e-4]])
    assert float(FITTED["knn"](outputs, k=1).score(at)[0]) == pytest.approx(-1e-4, rel=1e-3)


def test_features_of_norm_0_are_at_distance_1_of_all():
    nothing = of([[5.0, 0, 0, 0]], [0], np.zeros((1, worlds.D)))
    assert float(FITTED["knn"](TRAIN).score(nothing)[0]) == pytest.approx(-1)
    assert float(FITTED["nnguide"](TRAIN).score(nothing)[0]) == 0
    assert np.isfinite(np.asarray(FITTED["knn"](concatenate([TRAIN, nothing]), k=1).score(TEST))).all()


@pytest.mark.parametrize("options", [{"k": 0}, {"coreset": 0}])
def test_numbers_of_neighbors_are_at_least_1(options):
    with pytest.raises(ValueError, match="must be at least 1; got"):
        FITTED["knn"](TRAIN, **options)
    if "k" in options:
        for name in ("nnguide", "trust_score"):
            with pytest.raises(ValueError, match="at least 1; got"):
                FITTED[name](TRAIN, **options)


def by_brute_force(features, labels):
    distances = np.linalg.norm(Z[:, None] - features, axis=-1)
    own = labels == np.asarray(TEST.logits).argmax(-1)[:, None]
    return np.log(np.where(own, np.inf, distances).min(-1) / np.where(own, distances, np.inf).min(-1))


def test_trust_score_is_the_log_ratio_of_distances_to_another_and_the_predicted_class():
    np.testing.assert_allclose(FITTED["trust_score"](TRAIN).score(TEST), by_brute_force(X, Y), rtol=1e-4, atol=1e-4)


def test_trust_score_leaves_out_each_classes_images_in_thin_places():
    kept = []
    for c in range(worlds.C):
        rows = np.flatnonzero(c == Y)
        among = np.sort(np.linalg.norm(X[rows][:, None] - X[rows], axis=-1), axis=-1)
        kept += list(rows[np.argsort(among[:, 3])[: len(rows) - int(0.25 * len(rows))]])
    score = np.asarray(FITTED["trust_score"](TRAIN, left_out=0.25, k=3).score(TEST))
    np.testing.assert_allclose(score, by_brute_force(X[kept], Y[kept]), rtol=1e-4, atol=1e-4)
    assert np.abs(score - by_brute_force(X, Y)).max() > 0.01


def test_a_class_of_few_images_keeps_them_all():
    training = training_of(of(5 * np.eye(2)[[0, 0, 0, 1]], [0, 0, 0, 1], [[0.0], [1], [50], [3]]), "trust_score")
    np.testing.assert_array_equal(_dense(training, 0, 0.5, 3), [0, 1, 2])
    # Of three images with one neighbor each, the lone one goes.
    np.testing.assert_array_equal(np.sort(_dense(training, 0, 0.5, 1)), [0, 1])


@pytest.mark.parametrize("left_out", [-0.1, 1.0])
def test_a_share_left_out_lies_in_its_range(left_out):
    with pytest.raises(ValueError, match=rf"left_out must be in \[0, 1\).*{left_out}"):
        FITTED["trust_score"](TRAIN, left_out=left_out)


def test_trust_score_on_a_training_image_is_large_and_finite():
    score = np.asarray(FITTED["trust_score"](clusters(0, 60)).score(clusters(0, 60)))
    assert np.isfinite(score).all() and (score > 50).all()


def test_she_is_the_inner_product_with_the_mean_of_what_the_predicted_class_gets_right():
    right = np.asarray(TRAIN.logits).argmax(-1) == Y
    patterns = np.stack([X[right & (c == Y)].mean(0) for c in range(worlds.C)])
    predicted = np.asarray(TEST.logits).argmax(-1)
    expected = (patterns[predicted] * Z).sum(-1)
    np.testing.assert_allclose(FITTED["she"](TRAIN).score(TEST), expected, rtol=1e-5)


def test_she_takes_all_of_a_class_that_is_never_predicted():
    train = of([[5.0, 0], [5, 0], [5, 0]], [0, 1, 1], [[1.0, 0], [0, 2], [0, 4]])
    # Class 1's mean is (0, 3).
    assert float(FITTED["she"](train).score(of([[0.0, 5]], [1], [[5.0, 2]]))[0]) == pytest.approx(6)


def test_nnguide_is_the_energy_times_the_mean_guidance_of_the_nearest():
    def energy(outputs):
        return np.log(np.exp(float64(outputs.logits)).sum(-1))

    guidance = np.sort(units(Z) @ (units(X) * energy(TRAIN)[:, None]).T, axis=-1)[:, -5:].mean(-1)
    np.testing.assert_allclose(FITTED["nnguide"](TRAIN, k=5).score(TEST), energy(TEST) * guidance, rtol=1e-4)


@pytest.mark.parametrize("name", ["mahalanobis", "relative_mahalanobis", "knn", "trust_score", "nnguide"])
def test_distances_rank_a_new_cluster_last_where_msr_is_sure_of_it(name):
    known, unknown = clusters(1, 100), far(2, 100)
    outputs, is_known = concatenate([known, unknown]), np.arange(200) < 100
    assert auroc(CSFS["msr"].score(outputs), is_known) < 0.6
    options = {"k": 5} if name == "knn" else {}
    assert auroc(FITTED[name](clusters(0, 200), **options).score(outputs), is_known) > 0.9


def test_she_ranks_weak_features_last_where_msr_is_sure_of_them():
    # Its claim: features of unknown images agree less with the pattern, here as half of them is missing.
    known, unknown = clusters(1, 100), clusters(2, 100)
    unknown = dataclasses.replace(unknown, features=unknown.features * 0.5)
    outputs, is_known = concatenate([known, unknown]), np.arange(200) < 100
    assert auroc(CSFS["msr"].score(outputs), is_known) < 0.6
    assert auroc(FITTED["she"](clusters(0, 200)).score(outputs), is_known) > 0.9
