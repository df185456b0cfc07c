"""Arrays by name in a folder, and in memory: layouts that are read, and what is wrong with others."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sfjax.interop import from_arrays, read, recognize
from sfjax.outputs import Outputs
from sfjax.report.scoring import crossed_tile, drawn_from_files

SETS = {"iid_test": ("iid", 6), "blurred": ("corruption", 6), "val": ("", 4)}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A manifest, three sets of outputs, and images."""
    rng, rows = np.random.default_rng(0), []
    for name, (kind, n) in SETS.items():
        labels = np.arange(n) % 2
        np.savez(
            tmp_path / f"{name}.npz", logits=rng.normal(size=(n, 2)), labels=labels, features=rng.normal(size=(n, 3))
        )
        for i in range(n):
            rows.append({"test_set": name, "kind": kind, "label": ("benign", "malignant")[labels[i]],
                         "image_path": f"images/{name}_{i}.png", "scanner": "A"})  # fmt: skip
    (tmp_path / "images").mkdir()
    for row in rows[:-1]:
        Image.new("RGB", (8, 8), (10, 200, 30)).save(tmp_path / row["image_path"])
    pd.DataFrame(rows).to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path


def logits_of(experiment, name: str) -> np.ndarray:
    return np.asarray(experiment.outputs[name]["cross_entropy"].logits)


def test_a_manifest_with_arrays(folder):
    assert recognize(folder) == "arrays"
    found = read(folder)
    assert found.classes == ("benign", "malignant")
    assert [(one.name, one.kind, one.level) for one in found.test_sets] == [("iid_test", "iid", 0),
                                                                            ("blurred", "corruption", 1)]  # fmt: skip
    with np.load(folder / "blurred.npz") as stored:
        np.testing.assert_allclose(logits_of(found, "blurred"), stored["logits"], rtol=1e-6)
    assert found.tables["iid_test"]["scanner"].tolist() == ["A"] * 6
    assert found.notes == ("1 of 16 images are not shown, because they are not there.",)  # and no folder's name


def test_rows_may_say_which_output_is_theirs(folder):
    table = pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)
    table["row"] = table.groupby("test_set").cumcount()
    table.sample(frac=1, random_state=0).to_csv(folder / "manifest.csv", index=False)
    assert read(folder).tables["blurred"]["file_name"].tolist() == [f"images/blurred_{i}.png" for i in range(6)]
    table.assign(row=0).to_csv(folder / "manifest.csv", index=False)
    with pytest.raises(ValueError, match="row of iid_test from 0 to 5, each once"):
        read(folder)


def test_columns_of_parquet_are_arrays(folder):
    with np.load(folder / "val.npz") as stored:
        arrays = dict(stored)
    passes = np.random.default_rng(1).normal(size=(4, 3, 2))
    columns = {f"logits_{i}": arrays["logits"][:, i] for i in range(2)}
    columns |= {f"mc_logits_{t}_{i}": passes[:, t, i] for t in range(3) for i in range(2)}
    columns |= {f"features_{i}": arrays["features"][:, i] for i in range(3)} | {"labels": arrays["labels"]}
    expected = logits_of(read(folder), "val")
    (folder / "val.npz").unlink()
    for name in ("iid_test", "blurred"):
        change(folder, name, mc_logits=np.full((6, 3, 2), 2.0))
    pd.DataFrame(columns).to_parquet(folder / "val.parquet")
    said = read(folder).outputs["val"]["cross_entropy"]
    np.testing.assert_allclose(said.logits, expected, rtol=1e-6)
    np.testing.assert_allclose(said.mc_logits, passes, rtol=1e-6)


def test_classes_may_have_a_file_and_labels_be_names(folder):
    for name in SETS:
        with np.load(folder / f"{name}.npz") as stored:
            np.savez(
                folder / f"{name}.npz",
                probabilities=np.exp(stored["logits"]) / np.exp(stored["logits"]).sum(1, keepdims=True),
            )
    with pytest.raises(ValueError, match=r"expected the array labels, or classes\.csv"):
        read(folder)
    pd.DataFrame({"class": ["malignant", "benign"]}).to_csv(folder / "classes.csv", index=False)
    found = read(folder)
    said = found.outputs["val"]["cross_entropy"]
    assert np.asarray(said.labels).tolist() == [1, 0, 1, 0] and said.logits_are == "log_probabilities"
    assert found.tables["val"]["label"].tolist() == ["benign", "malignant"] * 2


def test_all_faults_of_a_folder_at_once(folder):
    np.savez(folder / "iid_test.npz", logits=np.zeros((5, 2)), labels=np.zeros(5, int))
    np.savez(folder / "blurred.npz", logits=np.zeros((6, 2)), probabilities=np.full((6, 2), 0.5))
    np.savez(folder / "val.npz", logits=np.full((4, 2), np.nan), labels=np.zeros(4, int))
    table = pd.read_csv(folder / "manifest.csv", dtype=str).drop(columns="label")
    table.to_csv(folder / "manifest.csv", index=False)
    with pytest.raises(ValueError) as raised:
        read(folder)
    for words in (
        "3 faults",
        "iid_test.npz: expected 6 rows, as manifest.csv has of iid_test, found 5",
        "blurred.npz: expected one of logits, probabilities, log_probabilities, found logits and probabilities",
        "val.npz: logits must be finite",
    ):
        assert words in str(raised.value)
    (folder / "val.npz").unlink()
    np.savez(folder / "later.npz", logits=np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"(?s)val\.npz: expected the outputs of the 4 images.*test_set later"):
        read(folder)


def change(folder: Path, name: str, **arrays: np.ndarray | None) -> None:
    """Writes a set's file with other arrays; None is none."""
    with np.load(folder / f"{name}.npz") as stored:
        changed = dict(stored) | arrays
    np.savez(folder / f"{name}.npz", **{key: one for key, one in changed.items() if one is not None})


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"features": None}, "blurred.npz: expected features (n, 3), as iid_test.npz has, found no features"),
        (
            {"features": np.zeros((6, 4))},
            "blurred.npz: expected features (n, 3), as iid_test.npz has, found features (n, 4)",
        ),
        ({"logits": np.zeros((6, 3))}, "blurred.npz: expected logits (n, 2), as iid_test.npz has, found logits (n, 3)"),
        ({"confidence": np.zeros(6)}, "blurred.npz: expected no confidence, as iid_test.npz has, found confidence (n)"),
        (
            {"logits": None, "probabilities": np.full((6, 2), 0.5)},
            "blurred.npz: expected logits, as iid_test.npz has, found probabilities",
        ),
        ({"labels": np.int64(1)}, "blurred.npz: expected labels with a row an image, found a single value"),
    ],
)
def test_sets_must_have_the_same_fields(folder, arrays, words):
    change(folder, "blurred", **arrays)
    change(folder, "val", logits=np.full((4, 2), np.nan))
    with pytest.raises(ValueError) as raised:
        read(folder)
    assert "2 faults" in str(raised.value) and words in str(raised.value)
    assert "val.npz: logits must be finite" in str(raised.value)


def test_a_label_that_differs_is_told_by_its_row(folder):
    """What most rows say is right; the header is row 1. With a list of classes too."""
    labels = np.arange(6) % 2
    labels[3] = 0
    change(folder, "blurred", labels=labels)
    words = (
        r"manifest\.csv: expected in row 11 the label benign, of which blurred\.npz has the number 0 there, found "
        r"malignant \(1 of 6 rows of blurred differ\)"
    )
    with pytest.raises(ValueError, match=words):
        read(folder)
    pd.DataFrame({"class": ["benign", "malignant"]}).to_csv(folder / "classes.csv", index=False)
    with pytest.raises(ValueError, match=words):
        read(folder)
    change(folder, "blurred", labels=np.arange(6) % 2)
    pd.DataFrame({"class": ["benign", "malignant", "other"]}).to_csv(folder / "classes.csv", index=False)
    with pytest.raises(ValueError, match=r"classes\.csv: expected 2 classes, as many as the scores have, found 3"):
        read(folder)


def test_the_last_layer_goes_from_the_features_to_the_classes(folder):
    weight, bias = np.arange(6.0).reshape(3, 2), np.array([0.5, 1.0])
    np.savez(folder / "head.npz", weight=weight, bias=bias)
    np.testing.assert_allclose(read(folder).heads["cross_entropy"].weight, weight)
    np.savez(folder / "head.npz", weight=weight.T, bias=np.zeros(3))
    with pytest.raises(ValueError) as raised:
        read(folder)
    for words in (
        "2 faults",
        "head.npz: expected weight (3, 2), features and classes of the sets, found (2, 3). Transpose it.",
        "head.npz: expected bias (2,), features and classes of the sets, found (3,)",
    ):
        assert words in str(raised.value)
    for name in SETS:
        change(folder, name, features=None)
    found = read(folder)
    assert not found.heads and "head.npz is left out" in found.notes[0]


def test_what_is_no_archive_is_told_in_own_words(folder):
    (folder / "val.npz").write_text("logits,labels")
    np.savez(folder / "blurred.npz", logits=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError) as raised:
        read(folder)
    assert "val.npz: expected an .npz of plain arrays, which is a zip archive, found none" in str(raised.value)
    assert "blurred.npz: expected an .npz of plain arrays, found arrays of Python objects" in str(raised.value)
    assert "allow_pickle" not in str(raised.value)


def test_nothing_is_unpickled(folder):
    np.savez(folder / "val.npz", logits=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"val\.npz: expected an \.npz of plain arrays"):
        read(folder)


def test_folders_of_no_known_kind(tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        recognize(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"it holds notes\.txt"):
        recognize(tmp_path)
    with pytest.raises(ValueError, match="is no folder, and images"):
        read(tmp_path, data=tmp_path / "nowhere")


def test_images_are_drawn_and_a_crossed_tile_where_there_is_none(folder):
    (folder / "images" / "iid_test_2.png").write_bytes(b"no image")
    found = read(folder)
    draw = drawn_from_files(found)
    assert draw is not None
    shown = draw(found.test_sets[0], np.array([5, 0, 2]))
    assert (shown[:2] == [10, 200, 30]).all() and (shown[2] == crossed_tile(96)).all()
    gone = found._replace(tables={name: table.assign(image_path="") for name, table in found.tables.items()})
    assert drawn_from_files(gone) is None


def test_arrays_in_memory_must_go_together():
    said = Outputs.from_numpy(np.array([[2.0, -1.0], [0.0, 1.5]]), [0, 1])
    with pytest.raises(ValueError, match="Nothing is tested: the sets are val"):
        from_arrays({"val": said})
    with pytest.raises(ValueError, match="3 classes with 3 names, and the logits have 2"):
        from_arrays({"iid_test": said}, classes=["a", "b", "c"])
    with pytest.raises(ValueError, match="tables of sets without outputs: blurred"):
        from_arrays({"iid_test": said}, {"blurred": pd.DataFrame()})
    with pytest.raises(ValueError, match="label 'b' in row 0 of the table, and class 'a' in the outputs"):
        from_arrays({"iid_test": said}, {"iid_test": pd.DataFrame({"label": ["b", "a"]})}, classes=["a", "b"])
    with pytest.raises(ValueError, match="1 rows of its table, 2 outputs"):
        from_arrays({"iid_test": said}, {"iid_test": pd.DataFrame({"label": ["a"]})}, classes=["a", "b"])
    with pytest.raises(ValueError, match="one kind among iid, corruption"):
        from_arrays({"iid_test": said}, {"iid_test": pd.DataFrame({"kind": ["iid", "sunny"]})})
