from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sfjax.data import ImageFiles, ManifestError, dataset_from_arrays, load_dataset
from sfjax.data.findings import REMEDIES, Findings


def write_images(folder: Path, count: int) -> list[str]:
    """Writes distinct gray images of 6 px and returns their paths relative to the folder."""
    (folder / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (count, 6, 6), dtype=np.uint8)
    names = [f"images/ü {i:03d}.png" for i in range(count)]
    for name, image in zip(names, pixels, strict=True):
        Image.fromarray(image).save(folder / name)
    return names


@pytest.fixture
def manifest(tmp_path: Path) -> pd.DataFrame:
    """A faultless manifest of files in tmp_path: five sets of four images, two of each class."""
    splits = [split for split in ("train", "val", "cal", "iid_test", "acq_b") for _ in range(4)]
    columns = {"label": ["benign", "malignant"] * 10, "split": splits, "patient_id": "", "domain": "", "shift_kind": ""}
    return pd.DataFrame({"image_path": write_images(tmp_path, 20), **columns})


def load(manifest: pd.DataFrame, folder: Path, **options):
    manifest.to_csv(folder / "manifest.csv", index=False)
    return load_dataset(folder / "manifest.csv", **{"size": 6, "seed": 0, **options})


def faults(manifest: pd.DataFrame, folder: Path, **options) -> str:
    with pytest.raises(ManifestError) as error:
        load(manifest, folder, **options)
    return str(error.value)


def put(manifest: pd.DataFrame, row: int, **values) -> pd.DataFrame:
    """Changes values of a row, counted as in the file."""
    for name, value in values.items():
        manifest.loc[row - 2, name] = value
    return manifest


def test_rows_and_images_belong_together(manifest, tmp_path):
    dataset = load(manifest.assign(age=range(20)), tmp_path)
    assert (dataset.name, dataset.classes, dataset.notes) == (tmp_path.name, ("benign", "malignant"), ())
    assert dataset.splits == ("train", "val", "cal", "iid_test", "acq_b")
    table = dataset.table
    assert table.columns[:6].tolist() == ["row", "image_path", "image_id", "sha256", "label", "label_index"]
    assert table["image_id"].dtype == np.uint32 and table["label_index"].dtype == np.int32
    assert table["sha256"].is_monotonic_increasing
    for image, row in zip(dataset.images, table.itertuples(), strict=True):
        np.testing.assert_array_equal(image[:, :, 0], np.asarray(Image.open(tmp_path / row.image_path)))
        assert row.age == row.row - 2
        assert row.label_index == ("benign", "malignant").index(row.label) == row.age % 2
    images, rows = dataset.subset("acq_b")
    assert images.shape == (4, 6, 6, 1) and sorted(rows["row"]) == [18, 19, 20, 21]
    assert set(rows["shift_kind"]) == {"acquisition"}
    with pytest.raises(ValueError, match=r"has no set 'test'\. There are train, val"):
        dataset.subset("test")


@pytest.mark.parametrize(("drawn", "images_in"), [(True, "memory"), (False, "memory"), (True, "disk")])
def test_a_shuffled_manifest_gives_the_same_data_set(manifest, tmp_path, drawn, images_in):
    manifest["patient_id"] = ["p", "", "p", "q", "", "q"] + [""] * 14 if drawn else ""
    manifest["domain"] = ["x"] * 16 + ["y"] * 4
    manifest["split"] = "" if drawn else manifest["split"].replace("cal", "val")
    options = {"hold_out": ["domain=y"] if drawn else [], "images_in": images_in}
    first = load(manifest, tmp_path, **options, unknown_classes="failure")
    second = load(manifest.sample(frac=1, random_state=1), tmp_path, **options, unknown_classes="failure")
    np.testing.assert_array_equal(first.images[:], second.images[:])
    pd.testing.assert_frame_equal(first.table.drop(columns="row"), second.table.drop(columns="row"))
    assert first.table["row"].tolist() != second.table["row"].tolist()


def test_all_faults_are_reported_at_once_with_file_and_row(manifest, tmp_path):
    put(manifest, 2, image_path="images/gone.png")
    put(manifest, 3, label="")
    put(manifest, 4, label="nan")
    put(manifest, 6, image_path="")
    put(manifest, 7, patient_id="p")
    put(manifest, 11, patient_id="p")
    put(manifest, 18, label="other", domain="all", shift_kind="strange")
    put(manifest, 19, shift_kind="named")
    put(manifest, 20, split="a/b")
    (tmp_path / manifest["image_path"][12]).write_bytes(b"broken")
    data = (tmp_path / manifest["image_path"][13]).read_bytes()
    (tmp_path / manifest["image_path"][14]).write_bytes(data)
    text = faults(manifest, tmp_path, hold_out=["domain=q"])
    for expected in (
        "manifest.csv: 18 faults to correct before training.",
        "missing file (1). Correct the path",
        "  - manifest.csv row 2: images/gone.png: no such file",
        "blank label (2)",
        "  - manifest.csv row 4: images/ü 002.png",
        "blank image_path (1)",
        "  - manifest.csv row 6: no path",
        "undecodable image (1)",
        "  - manifest.csv row 14: images/ü 012.png: not a PNG, JPEG, TIFF or BMP file",
        "fewer than two classes (1)",
        "  - manifest.csv: train has only malignant",
        "one image with two labels (1)",
        "malignant (row 15, images/ü 013.png)",
        "patient on both sides of a split (1)",
        "p in val (row 7, images/ü 005.png), cal (row 11, images/ü 009.png)",
        "label unseen in training (5)",
        "reserved domain (1)",
        "unknown shift_kind (1)",
        "several shift_kinds in one set (1)",
        "unusable split name (1)",
        "hold-out matches no image (1)",
    ):
        assert expected in text, text


def test_long_lists_are_cut_and_counted(manifest, tmp_path):
    manifest["image_path"] = [f"gone/{i}.png" for i in range(20)]
    text = faults(manifest, tmp_path)
    assert "missing file (20)" in text and "gone/9.png" in text and "gone/10.png" not in text
    assert "  - and 10 more" in text
    assert "empty set (4)" in text and "no image of the set is readable (1)" in text


def test_sets_without_images_or_classes(manifest, tmp_path):
    text = faults(manifest.replace({"split": {"iid_test": "test"}}), tmp_path)
    assert "empty set (1)" in text and "iid_test has no image; there are acq_b, cal, test, train, val" in text
    for split in ("train", "val", "cal", "iid_test"):
        kept = manifest[(manifest["split"] != split) | (manifest["label"] == "benign")]
        assert "fewer than two classes (1)" in (text := faults(kept, tmp_path))
        assert f"{split} has only benign" in text
    one_class = manifest[(manifest["split"] != "acq_b") | (manifest["label"] == "benign")]
    assert load(one_class, tmp_path).notes == ("acq_b holds one class (benign): metrics that need two are NaN.",)


def test_an_image_on_both_sides(manifest, tmp_path):
    data = (tmp_path / manifest["image_path"][0]).read_bytes()
    (tmp_path / manifest["image_path"][18]).write_bytes(data)
    text = faults(manifest, tmp_path)
    assert "image on both sides of a split (1)" in text
    assert "train (row 2, images/ü 000.png)" in text and "acq_b (row 20, images/ü 018.png)" in text
    # Twice on one side, or in two test sets: counted twice, and said.
    (tmp_path / manifest["image_path"][18]).write_bytes((tmp_path / manifest["image_path"][12]).read_bytes())
    assert "The same image, byte for byte, counts 2 times: " in load(manifest, tmp_path).notes[0]


def test_a_row_twice(manifest, tmp_path):
    text = faults(pd.concat([manifest, manifest[:1]]), tmp_path)
    assert "image listed twice (1)" in text and "row 22: images/ü 000.png, also in row 2" in text


def test_patients_of_test_sets(manifest, tmp_path):
    put(manifest, 14, patient_id="p")
    put(manifest, 18, patient_id="p")
    assert "1 patients have images in two or more test sets" in load(manifest, tmp_path).notes[0]
    put(manifest, 2, patient_id="p")
    assert "patient on both sides of a split (1)" in faults(manifest, tmp_path)


def test_blank_patients_are_different_people(manifest, tmp_path):
    assert load(manifest.assign(patient_id=[""] * 19 + ["nan"]), tmp_path).notes == ()


def test_partly_blank_split(manifest, tmp_path):
    text = faults(put(manifest, 9, split=""), tmp_path)
    assert "blank split (1)" in text and "row 9: images/ü 007.png" in text


def test_unseen_labels(manifest, tmp_path):
    put(manifest, 18, label="rare")
    text = faults(manifest, tmp_path)
    assert "label unseen in training (1)" in text and "row 18: 'rare', 1 images of acq_b" in text
    assert "--unknown-classes failure" in text
    dataset = load(manifest, tmp_path, unknown_classes="failure")
    assert dataset.classes == ("benign", "malignant")
    assert dataset.table.set_index("row")["label_index"][18] == -1
    assert dataset.notes == ("Label 'rare', 1 images of acq_b, is unseen in training: these images count as failures.",)
    text = faults(put(manifest, 8, label="rare"), tmp_path, unknown_classes="failure")
    assert "label unseen in training (1)" in text and "row 8: 'rare', 1 images of val" in text


def test_bad_images_are_skipped_on_request_and_counted(manifest, tmp_path):
    extra = manifest.iloc[[0, 1]].assign(image_path=["images/gone.png", "images/bad.png"])
    (tmp_path / "images/bad.png").write_bytes(b"bad")
    more = pd.concat([extra, manifest])
    assert "missing file (1)" in (text := faults(more, tmp_path)) and "undecodable image (1)" in text
    dataset = load(more, tmp_path, skip_bad_images=True)
    assert dataset.notes == ("2 of 22 images are missing or broken and were left out: rows 2, 3.",)
    assert len(dataset.images) == len(dataset.table) == 20
    complete = load(manifest, tmp_path)
    np.testing.assert_array_equal(dataset.images, complete.images)
    shifted_gone = manifest.assign(
        image_path=manifest["image_path"].where(manifest["split"] != "acq_b", "images/bad.png")
    )
    assert "no image of the set is readable (1)" in faults(shifted_gone, tmp_path, skip_bad_images=True)


@pytest.mark.parametrize("size", [6, 9])
def test_a_data_set_on_disk_is_the_one_in_memory(manifest, tmp_path, size):
    extra = manifest.iloc[[0, 1, 2]].assign(image_path=["images/gone.png", "images/bad.png", "images/color.png"])
    (tmp_path / "images/bad.png").write_bytes(b"bad")
    Image.fromarray(np.full((6, 8, 3), [9, 99, 199], np.uint8)).save(tmp_path / "images/color.png")
    more = pd.concat([extra, manifest], ignore_index=True)
    assert faults(more, tmp_path, images_in="disk") == faults(more, tmp_path)
    seen: dict[str, list] = {"memory": [], "disk": []}

    def opened(where: str):
        calls = seen[where]
        options = {"size": size, "skip_bad_images": True, "progress": lambda *call: calls.append(call)}
        return load(more, tmp_path, images_in=where, **options)

    in_memory, on_disk = opened("memory"), opened("disk")
    assert seen["disk"] == seen["memory"] == [(i, 23) for i in range(1, 24)]
    assert isinstance(on_disk.images, ImageFiles) and isinstance(in_memory.images, np.ndarray)
    pd.testing.assert_frame_equal(on_disk.table, in_memory.table)
    assert (on_disk.notes, on_disk.classes, on_disk.splits) == (in_memory.notes, in_memory.classes, in_memory.splits)
    assert any("20 gray and 1 RGB images: all are RGB now" in note for note in on_disk.notes)
    assert any("2 of 23 images are missing or broken" in note for note in on_disk.notes)
    np.testing.assert_array_equal(on_disk.images[:], in_memory.images, strict=True)
    for split in on_disk.splits:
        (files, rows), (images, same_rows) = on_disk.subset(split), in_memory.subset(split)
        assert isinstance(files, ImageFiles) and files.shape == images.shape
        pd.testing.assert_frame_equal(rows, same_rows)
        for batch, array in zip(files.prefetch([np.arange(len(rows))], workers=2), [images], strict=True):
            np.testing.assert_array_equal(batch, array, strict=True)
    gone = on_disk.table.iloc[0]
    (tmp_path / gone["image_path"]).unlink()
    with pytest.raises(
        ValueError, match=rf"^manifest\.csv row {gone['row']}: {gone['image_path']}: no such file\. Files"
    ):
        on_disk.images[0]


def test_arrays_get_the_checks_and_defaults_of_files():
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 6), dtype=np.uint8)
    columns = {"label": np.arange(20) % 2, "split": ["train", "val", "cal", "iid_test"] * 5, "factor_x": np.ones(20)}
    columns["label"] = np.arange(20) // 4 % 2
    dataset = dataset_from_arrays("cells", images, columns)
    assert dataset.classes == ("0", "1") and dataset.table["factor_x"].dtype == np.float64
    for image, row in zip(dataset.images, dataset.table.itertuples(), strict=True):
        np.testing.assert_array_equal(image, images[row.row])
        assert row.image_path == f"cells/{row.row:06d}"
    with pytest.raises(ManifestError, match=r"cells: 1 fault to[\s\S]*unusable loss_weight \(1\)"):
        dataset_from_arrays("cells", images, {**columns, "loss_weight": [np.nan] + [1.0] * 19})
    with pytest.raises(ValueError, match="Multiply images in"):
        dataset_from_arrays("cells", images.astype(np.float32), columns)
    with pytest.raises(ValueError, match="one entry for each of 20 images"):
        dataset_from_arrays("cells", images, {"label": ["a"] * 19})


def test_every_kind_of_fault_has_a_remedy_and_is_used():
    sources = [path.read_text() for path in (Path(__file__).parents[2] / "sfjax" / "data").glob("*.py")]
    for kind, remedy in REMEDIES.items():
        quoted = sum(text.count(f'"{kind}"') for text in sources) + (kind in ("blank image_path", "blank label"))
        assert remedy.endswith((".", ")")) and quoted >= 2, kind
    with pytest.raises(KeyError):
        Findings("m.csv").fault("no such kind", "x")
