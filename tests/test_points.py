"""Embedded images: corrupted ones among them, their clusters, and what must not be mixed."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from sfjax import latent
from sfjax.outputs import Outputs
from sfjax.report import Points, cluster_images, points_table
from sfjax.study.evaluation import learn
from sfjax.views.tables import check_points

CLASSES = ("benign", "malignant")
SCORERS = learn(("msr", "mls"), None, None)
KINDS = {"iid_test": "iid", "other_scanner": "acquisition", "blur-1": "corruption", "blur-5": "corruption"}


def make_outputs(n: int, seed: int, noise: float = 0.0) -> Outputs:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    features = rng.normal(size=(n, 5)) + 3 * (2 * labels[:, None] - 1) * [1, 0, 0, 0, 0]
    features = features + noise * np.random.default_rng(9).normal(size=features.shape)
    logits = features[:, :2] @ np.array([[-1.0, 1.0], [0.3, -0.3]])
    return Outputs(
        logits=jnp.asarray(logits, jnp.float32),
        labels=jnp.asarray(labels, jnp.int32),
        features=jnp.asarray(features, jnp.float32),
    )


@pytest.fixture(scope="module")
def outputs() -> dict[str, Outputs]:
    return {
        "iid_test": make_outputs(80, 0),
        "blur-1": make_outputs(80, 0, noise=0.01),
        "other_scanner": make_outputs(40, 1),
        "blur-5": make_outputs(80, 0, noise=2.0),
    }


@pytest.fixture(scope="module")
def tables(outputs) -> dict[str, pd.DataFrame]:
    return {
        name: pd.DataFrame(
            {
                "kind": KINDS[name],
                "domain": "A",
                "subclass": "",
                "label": np.asarray(CLASSES)[np.asarray(output.labels)],
                "level": int(name[-1]) if name.startswith("blur") else 0,
                "age": np.arange(len(output)) % 5 * 10.0,
                "patient_id": "somebody",
            }
        )
        for name, output in outputs.items()
    }


@pytest.fixture(scope="module")
def points(outputs, tables) -> Points:
    options = {"network": "skin seed 0", "shown": ("age", "label")}
    return points_table(outputs, tables, CLASSES, SCORERS, placed=60, **options)


def test_corrupted_images_are_placed_and_not_fitted(outputs, tables, points):
    table = check_points(points.table)
    by_set = table.groupby("test_set", sort=False)
    sizes = by_set.size().to_dict()
    assert list(sizes) == ["iid_test", "other_scanner", "blur-1", "blur-5"]
    assert (sizes["iid_test"], sizes["other_scanner"], sizes["blur-1"] + sizes["blur-5"]) == (80, 40, 60)
    assert by_set["placed"].unique().str[0].tolist() == [0, 0, 1, 1]
    assert by_set["level"].unique().str[0].tolist() == [0, 0, 1, 5]
    assert table["embedding"].nunique() == 1
    own = {name: outputs[name] for name in ("iid_test", "other_scanner")}
    alone = points_table(own, {name: tables[name] for name in own}, CLASSES, SCORERS, network="skin seed 0").table
    fitted = points.table[points.table["placed"] == 0]
    columns = [*"xyzuv", "embedding", "feature_cluster", "confidence_msr", "confidence_mls", "weight"]
    pd.testing.assert_frame_equal(fitted[columns], alone[columns])
    assert "60 of 160 corrupted images placed" in points.note and "skin seed 0" in points.note
    # A faint corruption leaves an image where it was, in both embeddings; a strong one does not.
    moved = points.table.merge(fitted[fitted["test_set"] == "iid_test"], on="row", suffixes=("", "_clean"))
    for axes in ("xyz", "uv"):
        apart = np.linalg.norm(moved[[*axes]].to_numpy() - moved[[f"{a}_clean" for a in axes]].to_numpy(), axis=1)
        radius = np.linalg.norm(fitted[[*axes]].to_numpy(), axis=1).max()
        faint, strong = (np.median(apart[moved["test_set"] == name]) for name in ("blur-1", "blur-5"))
        assert faint < 0.05 * radius < strong
    # The corrupted images stand for all of theirs too.
    assert by_set["weight"].sum().to_dict() == pytest.approx(
        {name: len(one) for name, one in outputs.items()}, abs=0.01
    )


def test_a_score_without_a_probability_is_ranked_among_iid_images(outputs, points):
    logits = {name: np.asarray(output.logits).max(axis=1) for name, output in outputs.items()}
    for row in points.table.itertuples():
        expected = (logits["iid_test"] <= logits[row.test_set][row.row]).mean()
        assert row.confidence_mls == pytest.approx(expected)


def test_clusters_are_of_all_uncorrupted_images(outputs, tables, points):
    clusters = cluster_images(outputs, tables)
    assert {name: len(some) for name, some in clusters.items()} == {"iid_test": 80, "other_scanner": 40}
    few = points_table(outputs, tables, CLASSES, SCORERS, size=30, placed=10).table
    for table in (points.table, few):
        for name, some in clusters.items():
            rows = table[table["test_set"] == name]
            assert rows["feature_cluster"].tolist() == some[rows["row"]].tolist()
        assert (table.loc[table["placed"] == 1, "feature_cluster"] == -1).all()
    assert len(few) == 40


def test_columns_are_shown_on_request_and_as_text(outputs, tables, points):
    assert points.table["age"].tolist()[:3] == ["0.0", "10.0", "20.0"]
    assert "patient_id" not in points.table.columns
    for column in ("no_such", "weight", "rank_of"):
        with pytest.raises(ValueError, match=f"{column} cannot be shown"):
            points_table(outputs, tables, CLASSES, SCORERS, shown=(column,))


def test_networks_are_not_mixed_and_levels_must_fit(outputs, tables):
    mixed = {"iid_test": {"cross_entropy": outputs["iid_test"]}, "other_scanner": {"devries": outputs["other_scanner"]}}
    with pytest.raises(ValueError, match="networks cross_entropy, devries"):
        cluster_images(mixed, {name: tables[name] for name in mixed})
    with pytest.raises(ValueError, match="level of blur-1 must be 1 or more"):
        points_table(outputs, tables | {"blur-1": tables["blur-1"].drop(columns="level")}, CLASSES, SCORERS)
    corrupted = {name: outputs[name] for name in ("blur-1", "blur-5")}
    with pytest.raises(ValueError, match="All images are corrupted"):
        points_table(corrupted, {name: tables[name] for name in corrupted}, CLASSES, SCORERS)


def test_scikit_learn_lets_corrupted_images_join(outputs, tables, monkeypatch):
    real = latent.embed
    seen = []

    def embed(features, **options):
        seen.append((options["method"], len(features.values), len(options["placed"].values)))
        return real(features, **options | {"method": "opentsne"})._replace(joined=True, method="sklearn")

    monkeypatch.setattr(latent, "embed", embed)
    own = {name: outputs[name] for name in ("iid_test", "blur-5")}
    made = points_table(own, {name: tables[name] for name in own}, CLASSES, SCORERS, placed=20, method="sklearn")
    assert seen == [("sklearn", 80, 20)] * 2
    assert "20 of 80 corrupted images in the same fit" in made.note
