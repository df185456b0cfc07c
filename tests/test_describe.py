"""Everything that the report shows of a task: what is kept, what costs, and columns called like the page's own."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from sfjax.outputs import Outputs
from sfjax.report import build, describe, in_percent, keep_in, keeping
from sfjax.study import TestSet
from sfjax.study.evaluation import FailureCosts, Scorers, learn

CLASSES = ("benign", "malignant")
SETS = [
    TestSet("iid_test", "iid_test", "none", "iid"),
    TestSet("other", "other", "other", "acquisition"),
    *(TestSet(f"blur-{level}", "iid_test", "blur", "corruption", level) for level in (1, 5)),
]


def outputs_of(name: str) -> Outputs:
    """Two blobs; in the other set and under blur, images of the group q are surely wrong."""
    n = 40 if name == "other" else 80
    labels = np.arange(n) % 2
    features = np.random.default_rng(n).normal(size=(n, 5)) + 3 * (2 * labels[:, None] - 1) * [1, 0, 0, 0, 0]
    bad = (group_of(n) == "q") & (name in ("other", "blur-5"))
    margin = np.where(bad, -1.0, 1.0) * (4 + np.random.default_rng(1).random(n)) * (2 * labels - 1)
    return Outputs(
        logits=jnp.asarray(np.stack([-margin, margin], axis=1) / 2, jnp.float32),
        labels=jnp.asarray(labels, jnp.int32),
        features=jnp.asarray(features, jnp.float32),
    )


def group_of(n: int) -> np.ndarray:
    return np.where(np.arange(n) // 2 % 2 == 0, "p", "q")


def table_of(name: str) -> pd.DataFrame:
    """The group is in columns that are called like two of the page."""
    said = outputs_of(name)
    labels = np.asarray(said.labels)
    return pd.DataFrame(
        {"label": np.asarray(CLASSES)[labels], "cluster": group_of(len(labels)), "x": np.arange(len(labels)) % 3,
         "loss_weight": 1.0 + (np.arange(len(labels)) % 5 == 0)}
    )  # fmt: skip


COSTS = FailureCosts(np.array([[0.0, 1.0], [5.0, 0.0]]), CLASSES, 10.0)
TABLES = {one.name: table_of(one.name) for one in SETS}


def draw(test_set: TestSet, rows: np.ndarray) -> np.ndarray:
    return np.full((len(rows), 8, 8, 3), 40 * test_set.level, np.uint8)


def scorers() -> Scorers:
    return learn(("msr", "pe"), None, None)


def described(**options):
    outputs = {one.name: outputs_of(one.name) for one in SETS}
    return describe("skin", CLASSES, SETS, outputs, TABLES, scorers, costs=COSTS, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="module")
def said() -> list[str]:
    """What is said while the embedding is made."""
    return []


@pytest.fixture(scope="module")
def twice(folder, said):
    """The task without images, then with them, what is kept in between, and how often strips were made."""
    kept: dict[str, pd.DataFrame] = {}
    made = []
    real = build.strips_table
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "strips_table", lambda *a, **k: (made.append(1), real(*a, **k))[1])

        def keep(name, make):
            return kept[name] if name in kept else kept.setdefault(name, make())

        first = described(keep=keep, cache=folder, progress=in_percent(said.append, step=25))
        return first, described(keep=keep, draw=draw), made


def test_a_slice_has_its_images_whatever_its_attribute_is_called(twice):
    points, slices = twice[0].points, twice[0].slices
    assert {"cluster", "x"} & set(slices["attribute"])
    source = points["kind"] != "corruption"
    for row in slices.itertuples():
        own = f"attribute_{row.attribute}"
        values = points[own if own in points else row.attribute].astype(str)
        inside = (values == row.value) & (source if row.test_set == "all" else points["test_set"] == row.test_set)
        assert inside.sum() == row.n, row.text
    # The coordinates are still those of the embedding.
    assert points["x"].nunique() > 50


def test_points_have_what_their_predictions_cost(twice):
    points = twice[0].points
    for row in points.itertuples():
        weight = TABLES[row.test_set]["loss_weight"].iloc[row.row]
        missed = 0.0 if row.predicted_pe == row.label else 5.0 if row.label == "malignant" else 1.0
        assert row.cost_pe == missed * weight
    assert set(points["cost_msr"]) == {0, 1, 2, 5, 10}
    assert "cost_pe" not in build.only_csfs(twice[0], ["msr"]).points


def test_strips_are_made_once_and_pictures_of_them_later(twice):
    without, images, made = twice
    assert made == [1] and not without.strip_images
    pd.testing.assert_frame_equal(without.strips, images.strips)
    assert set(images.strip_images) == set(images.strips["image"])
    # Of each image one picture a level: the same level, the same gray.
    by_level = images.strips.groupby("level")["image"].agg(lambda some: {images.strip_images[key] for key in some})
    assert by_level.map(len).tolist() == [1, 1, 1] and len(set.union(*by_level)) == 3


def test_an_embedding_is_kept_and_says_how_far_it_is(twice, folder, said):
    assert said == [f"embedding: {percent} %" for percent in (25, 50, 75, 100)]
    # In three dimensions and in two, the fit and what was placed into it.
    assert len(list(folder.glob("embedding_*.npy"))) == 4


def test_kept_tables_are_made_anew_when_what_they_are_made_of_changes(tmp_path, monkeypatch):
    source = tmp_path / "outputs.npz"
    source.write_bytes(b"one")
    made = []

    def ask(**settings):
        def make() -> pd.DataFrame:
            made.append(len(made))
            return pd.DataFrame({"n": [len(made)]})

        return keep_in(tmp_path / "kept", settings, [source])("points", make)["n"].item()

    assert [ask(size=5), ask(size=5)] == [1, 1]
    assert [ask(size=6), ask(size=6)] == [2, 2]
    source.touch()
    assert ask(size=6) == 2  # a copy with another date
    source.write_bytes(b"two")  # as many bytes
    assert [ask(size=6), ask(size=6)] == [3, 3]
    monkeypatch.setattr(keeping, "_code", lambda: "another")
    assert ask(size=6) == 4
    (tmp_path / "kept" / "digest.txt").unlink()
    assert ask(size=6) == 5
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"points.parquet", "digest.txt"}
