"""The joint embedding, its sample and its clusters."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from sfjax.latent import (
    Embedding,
    Features,
    embed,
    embedding,
    feature_clusters,
    fit_components,
    join,
    principal_components,
    quality,
    representatives,
    stratified_sample,
)


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


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_noised_copy_is_placed_on_its_original(rng, dimensions):
    """In the components and coordinates of the fit, and each image independently of the others."""
    source = blobs(rng, 120)
    later = source[:50] + rng.normal(size=(50, 16)).astype(np.float32) * 0.02
    found = embed(source, seed=0, placed=later, dimensions=dimensions)
    radius = np.linalg.norm(found.coordinates, axis=1).max()
    apart = np.linalg.norm(found.placed - found.coordinates[:50], axis=1)
    assert np.quantile(apart, 0.95) < 0.1 * radius and not found.joined
    assert np.linalg.norm(found.placed[::-1] - found.coordinates[:50], axis=1).mean() > 0.3 * radius
    few = embed(source, seed=0, placed=later[:7], dimensions=dimensions)
    np.testing.assert_allclose(few.placed, found.placed[:7], atol=1e-6 * radius)
    assert np.array_equal(few.coordinates, embed(source, seed=0, dimensions=dimensions).coordinates)
    assert few.id == found.id


def test_images_far_from_all_others_are_placed_somewhere_finite(rng):
    source = blobs(rng, 60)
    found = embed(source, seed=0, placed=np.concatenate([source[:3] * 1e4, source[:1] * 0]))
    assert np.isfinite(found.placed).all()
    assert np.linalg.norm(found.placed, axis=1).max() < 3 * np.linalg.norm(found.coordinates, axis=1).max()


def test_same_seed_same_bits_for_any_number_of_threads(rng, monkeypatch):
    monkeypatch.setattr(embedding, "STEPS", 20)  # threads that wait for each other take long on a busy machine
    monkeypatch.setattr(embedding, "EARLY_STEPS", 10)
    monkeypatch.setattr(embedding, "PLACING_STEPS", 10)
    features, later = blobs(rng, 60), blobs(rng, 8)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(embed(features, seed=3, placed=later, dimensions=2, num_jobs=threads))
    one, two = found
    assert np.array_equal(one.coordinates, two.coordinates) and np.array_equal(one.placed, two.placed)
    assert one.quality == two.quality and one.id == two.id


def test_scikit_learn_cannot_place_and_says_so(rng):
    source = blobs(rng, 40)
    found = embed(source, seed=0, placed=source[:10] + 0.01, method="sklearn", dimensions=2)
    assert found.joined and found.method == "sklearn"
    assert found.coordinates.shape == (40, 2) and found.placed.shape == (10, 2)
    assert found.quality.trustworthiness > 0.8
    together = embed(np.concatenate([source, source[:10] + 0.01]), seed=0, method="sklearn", dimensions=2)
    assert np.array_equal(np.concatenate([found.coordinates, found.placed]), together.coordinates)
    assert found.id == together.id


def test_features_of_two_networks_are_refused(rng):
    one, other = Features(blobs(rng, 20), "skin seed 0"), Features(blobs(rng, 20), "skin seed 1")
    for mix in (lambda: join([one, other]), lambda: embed(one, seed=0, placed=other)):
        with pytest.raises(ValueError, match="networks skin seed 0, skin seed 1"):
            mix()
    with pytest.raises(ValueError, match="widths 3, 16"):
        embed(one, seed=0, placed=one._replace(values=one.values[:, :3]))
    with pytest.raises(ValueError, match="networks none"):
        join([])


def test_what_is_kept_is_found_again_and_nothing_else(rng, tmp_path, monkeypatch):
    features, later = Features(blobs(rng, 40), "seed 0"), Features(blobs(rng, 6), "seed 0")
    fits, steps = [], []
    whole = embedding.openTSNE.TSNE.fit
    monkeypatch.setattr(embedding.openTSNE.TSNE, "fit", lambda *a, **k: (fits.append(1), whole(*a, **k))[1])

    def made(of=features, **options) -> Embedding:
        return embed(of, **{"seed": 0, "placed": later, "dimensions": 2, "cache": tmp_path / "kept", **options})

    first = made(progress=lambda *place: steps.append(place))
    assert len(fits) == 1 and len(list((tmp_path / "kept").iterdir())) == 2
    assert steps[-1][0] == steps[-1][1] and steps == sorted(steps) and len(set(steps)) == len(steps) > 10
    again = made(progress=lambda *place: steps.append("fitted again"))
    assert len(fits) == 1 and "fitted again" not in steps
    assert np.array_equal(first.coordinates, again.coordinates) and np.array_equal(first.placed, again.placed)
    assert first[2:] == again[2:]
    made(placed=later._replace(values=later.values[:5]))  # placed anew into the fit that is kept
    assert len(fits) == 1 and len(list((tmp_path / "kept").iterdir())) == 4 - 1
    changed = features.values.copy()
    changed[0, 0] = np.nextafter(changed[0, 0], 9)
    others = [
        made(features._replace(values=changed)),
        made(seed=1),
        made(pca_dimensions=5),
        made(dimensions=3),
        made(Features(features.values, "seed 1"), placed=None),
    ]
    assert len(fits) == 6 and len({first.id, *(one.id for one in others)}) == 6


def test_quality_is_that_of_its_definition(rng):
    space, coordinates = rng.normal(size=(60, 5)), rng.normal(size=(60, 2))
    coordinates[:, 0] = 3 * space[:, 0]

    def ranks(points: np.ndarray) -> np.ndarray:
        distance = np.linalg.norm(points[:, None] - points[None], axis=2)
        np.fill_diagonal(distance, np.inf)
        return distance.argsort(axis=1).argsort(axis=1) + 1

    there, here, k, n = ranks(space), ranks(coordinates), 12, 60
    found = quality(space, coordinates, seed=0)
    assert found.preservation == pytest.approx(((there <= k) & (here <= k)).sum() / (n * k))
    intruders = (there - k)[(here <= k) & (there > k)].sum()
    assert found.trustworthiness == pytest.approx(1 - 2 / (n * k * (2 * n - 3 * k - 1)) * intruders)
    assert quality(space, space, seed=0) == (1, 1)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_neighbors_stay_neighbors(rng, dimensions):
    embedding = embed(blobs(rng, 150), seed=0, dimensions=dimensions)
    assert embedding.coordinates.shape == (150, dimensions)
    assert embedding.quality.trustworthiness > 0.9


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


def test_many_features_have_the_same_components(rng):
    """Found by random projections, up to the noise that is left."""
    strong = rng.normal(size=(600, 5)) @ rng.normal(size=(5, 560)) * np.arange(1, 561) ** 0.2
    features = strong + 0.01 * rng.normal(size=(600, 560))
    found, axes = principal_components(features, 5), fit_components(features, 5).axes
    left, scale, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found), np.abs(left * scale)[:, :5], atol=1e-6 * scale[0])
    assert (axes[np.abs(axes).argmax(axis=0), np.arange(5)] > 0).all()
    for threads in (1, 2):  # whose products differ in their last bits at this size
        with threadpool_limits(threads):
            assert np.array_equal(principal_components(features, 5), found)


def test_clusters_of_features_are_those_of_the_network(rng):
    features = np.concatenate([blobs(rng, 90), blobs(rng, 30) + 20])
    clusters = feature_clusters(features, 4, seed=0)
    assert np.bincount(clusters).tolist() == sorted(np.bincount(clusters), reverse=True)
    for block in (np.arange(0, 90, 3), np.arange(1, 90, 3), np.arange(2, 90, 3)):
        assert len(set(clusters[block])) == 1
    assert set(clusters[:90]) | set(clusters[90:]) == {0, 1, 2, 3}
    with threadpool_limits(2):
        assert np.array_equal(feature_clusters(features, 4, seed=0), clusters)
    with pytest.raises(ValueError, match="finite matrix"):
        feature_clusters(features * np.nan, 4, seed=0)


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
