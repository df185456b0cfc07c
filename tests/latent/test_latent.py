"""The joint embedding, its sample and its clusters."""

import numpy as np
import pytest

from sfjax.latent import embed, principal_components, representatives, stratified_sample


def blobs(rng: np.random.Generator, n: int, d: int = 16) -> np.ndarray:
    centers = rng.normal(size=(3, d)) * 4
    return (centers[np.arange(n) % 3] + rng.normal(size=(n, d))).astype(np.float32)


def test_a_set_and_its_noised_copy_coincide(rng):
    """Embedded apart, the same image lies anywhere; embedded together it lies where it belongs."""
    source = blobs(rng, 120)
    target = source + rng.normal(size=source.shape).astype(np.float32) * 0.02
    coordinates = embed(np.concatenate([source, target]), seed=0).coordinates
    apart = np.linalg.norm(coordinates[:120] - coordinates[120:], axis=1)
    radius = np.linalg.norm(coordinates - coordinates.mean(axis=0), axis=1).max()
    assert np.quantile(apart, 0.95) < 0.1 * radius


def test_same_seed_same_bits_for_any_number_of_jobs(rng):
    features = blobs(rng, 60)
    one, two = (embed(features, seed=3, num_jobs=jobs) for jobs in (1, 2))
    assert np.array_equal(one.coordinates, two.coordinates)
    assert one.quality == two.quality


@pytest.mark.parametrize("dimensions", [2, 3])
def test_neighbors_stay_neighbors(rng, dimensions):
    embedding = embed(blobs(rng, 150), seed=0, dimensions=dimensions)
    assert embedding.coordinates.shape == (150, dimensions)
    assert embedding.quality.trustworthiness > 0.9


def test_scikit_learn_embeds_too(rng):
    embedding = embed(blobs(rng, 40), seed=0, method="sklearn")
    assert embedding.method == "sklearn"
    assert embedding.quality.trustworthiness > 0.8


@pytest.mark.parametrize("n", [1, 2, 4, 5, 7, 12])
def test_few_images_are_embedded(rng, n):
    embedding = embed(blobs(rng, n), seed=0)
    assert embedding.coordinates.shape == (n, 3)
    assert np.isfinite(embedding.coordinates).all()
    assert embedding.method == ("pca" if n < 5 else "opentsne")
    assert np.isnan(embedding.quality).all()


def test_equal_features_lie_in_one_place():
    embedding = embed(np.ones((20, 4), np.float32), seed=0)
    assert embedding.method == "pca"
    assert not embedding.coordinates.any()


def test_features_that_are_not_finite_are_refused():
    features = np.ones((6, 2), np.float32)
    features[2, 1] = np.nan
    with pytest.raises(ValueError, match="1 values that are not finite"):
        embed(features, seed=0)


def test_principal_components_are_those_of_the_covariance(rng):
    features = blobs(rng, 50)
    components = principal_components(features, 4)
    values = np.linalg.eigvalsh(np.cov(features.astype(np.float64).T))[::-1][:4]
    np.testing.assert_allclose(components.var(axis=0, ddof=1), values, rtol=1e-5)
    np.testing.assert_allclose(np.corrcoef(components.T), np.eye(4), atol=1e-6)


def test_sample_keeps_failures_up_to_half_and_every_group():
    groups = np.repeat(["a", "b", "c"], [900, 95, 5])
    keep = np.zeros(1000, bool)
    keep[::5] = True  # 200 failures
    few = stratified_sample(groups, 500, 0, keep=keep)
    assert keep[few].sum() == 200
    many = stratified_sample(groups, 100, 0, keep=keep)
    assert keep[many].sum() == 50
    assert set(groups[many]) == {"a", "b", "c"}
    assert len(np.unique(many)) == 100 and (np.diff(many) > 0).all()


def test_sample_is_in_proportion_and_seeded():
    groups = np.repeat(["a", "b"], [800, 200])
    chosen = stratified_sample(groups, 100, 7)
    assert np.unique(groups[chosen], return_counts=True)[1].tolist() == [80, 20]
    assert np.array_equal(chosen, stratified_sample(groups, 100, 7))
    assert not np.array_equal(chosen, stratified_sample(groups, 100, 8))


def test_sample_fills_up_with_failures_where_others_are_too_few():
    keep = np.ones(50, bool)
    keep[:3] = False
    chosen = stratified_sample(np.zeros(50, np.int64), 20, 0, keep=keep)
    assert len(chosen) == 20
    assert set(range(3)) <= set(chosen.tolist())


def test_more_groups_than_places():
    chosen = stratified_sample(np.arange(100), 10, 0)
    assert len(np.unique(chosen)) == 10


def test_representatives_are_nearest_the_center_of_their_cluster(rng):
    coordinates = rng.normal(size=(200, 3))
    clusters = representatives(coordinates, seed=0)
    assert clusters.sizes.sum() == 200 and (np.diff(clusters.sizes) <= 0).all()
    for cluster, chosen in enumerate(clusters.representatives):
        members = np.flatnonzero(clusters.assignment == cluster)
        assert len(members) == clusters.sizes[cluster]
        distance = np.linalg.norm(coordinates[members] - coordinates[members].mean(axis=0), axis=1)
        assert np.linalg.norm(coordinates[chosen] - coordinates[members].mean(axis=0)) <= distance.min() + 0.05


@pytest.mark.parametrize("n", [1, 4, 9])
def test_fewer_images_than_clusters(rng, n):
    clusters = representatives(rng.normal(size=(n, 3)), seed=0)
    assert sorted(clusters.representatives.tolist()) == list(range(n))
    assert (clusters.sizes == 1).all()


def test_equal_images_are_one_cluster():
    clusters = representatives(np.zeros((30, 3)), seed=0)
    assert clusters.sizes.tolist() == [30]
