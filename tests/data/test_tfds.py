import dataclasses
import io
import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import grain
import numpy as np
import pandas as pd
import pydicom
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from sfjax.data import ManifestError, ManifestSource, load_dataset, load_tfds, read_rows, tfds_builder
from sfjax.data.splits import SOURCE_SPLITS
from sfjax.study import PRESETS, tasks
from sfjax.study.config import check
from sfjax.study.run import digest_of

SPLITS = (*SOURCE_SPLITS, "acq_b.2")


def png(seed: int, mode: str = "RGB") -> bytes:
    """Returns an encoded image of 20 x 24 px, another one for each seed."""
    shape = (20, 24, 3) if mode == "RGB" else (20, 24)
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint16 if mode == "I;16" else np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels * 256 if mode == "I;16" else pixels).save(file, "png")
    return file.getvalue()


def write_manifest(folder: Path, channels: int = 1, mode: str = "RGB") -> pd.DataFrame:
    """Writes a manifest of five sets of four images, two of each class, and their files; returns its rows."""
    folder.mkdir(exist_ok=True)
    names = [[f"ü{i}_w{channel}.png" for channel in range(channels)] for i in range(20)]
    for i, files in enumerate(names):
        for channel, name in enumerate(files):
            (folder / name).write_bytes(png(100 * i + channel, mode))
    table = pd.DataFrame(
        {
            "image_path": [";".join(files) for files in names],
            "label": ["benign", "malignant"] * 10,
            "split": [split for split in SPLITS for _ in range(4)],
            "patient_id": [f"{i:03d}" for i in range(20)],
            "age": [50.5 + i for i in range(20)],
            "image": "a column that is called like a feature",
        }
    )
    table.to_csv(folder / "manifest.csv", index=False)
    return table


def build(builder):
    builder.download_and_prepare()
    return builder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    write_manifest(folder)
    return folder


@pytest.fixture(scope="module")
def rows(folder):
    return read_rows(folder / "manifest.csv", seed=0)


@pytest.fixture(scope="module")
def copy(folder, rows):
    return build(tfds_builder(rows, name="copied", data_dir=folder / "tfds"))


with tfds.core.registered.skip_registration():

    class Standard(tfds.core.GeneratorBasedBuilder):
        """A set as other people write them; `examples` are its splits with their examples."""

        VERSION = tfds.core.Version("1.0.0")

        def __init__(self, data_dir, examples, pair=None, **features):
            self.examples, self.pair = examples, pair
            names = tfds.features.ClassLabel(names=["nevus", "melanoma"])
            image = tfds.features.Image(shape=(None, None, 3))
            self.given = {"image": image, "label": names, "site": tfds.features.Text(), **features}
            super().__init__(data_dir=str(data_dir), file_format="array_record")

        def _info(self):
            features = tfds.features.FeaturesDict(self.given)
            return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=self.pair)

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in self.examples}

        def _generate_examples(self, split):
            yield from enumerate(self.examples[split])


def examples(count: int, first: int = 0, **more) -> list[dict]:
    return [
        {"image": png(first + i), "label": i % 2, "site": "ab"[i // 2 % 2]}
        | {name: value(i) if callable(value) else value for name, value in more.items()}
        for i in range(count)
    ]


def test_nothing_needs_tensorflow(folder):
    program = f"""
import sys, sfjax.data
assert "tensorflow_datasets" not in sys.modules  # it is imported where it is used
from sfjax.data import load_tfds, read_rows, tfds_builder
builder = tfds_builder(read_rows({str(folder / "manifest.csv")!r}, seed=0), name="alone", data_dir={str(folder)!r})
builder.download_and_prepare()
assert builder.as_data_source("train")[0]["image"].shape == (20, 24, 3)
assert len(load_tfds("alone", size=16, seed=0, data_dir={str(folder)!r}).images) == 20
assert "tensorflow_datasets" in sys.modules and "tensorflow" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_rows_are_those_of_the_benchmark(folder, rows):
    dataset = load_dataset(folder / "manifest.csv", size=16, seed=0)
    assert rows.classes == dataset.classes and rows.splits == tuple(sorted(SPLITS))
    shared = [column for column in dataset.table if column in rows.table]
    assert {"image_id", "sha256", "split", "age"} <= set(shared)
    pd.testing.assert_frame_equal(rows.table[shared], dataset.table[shared])


@pytest.mark.parametrize("drawn", [False, True])
def test_drawn_and_held_out_sets_are_those_of_the_benchmark(folder, tmp_path, drawn):
    table = pd.read_csv(folder / "manifest.csv", dtype=str).assign(
        image_path=lambda t: str(folder) + "/" + t["image_path"]
    )
    table["split"] = "" if drawn else table["split"].replace("cal", "val")
    table["subclass"] = ["rare"] * 2 + ["common"] * 18
    table.to_csv(tmp_path / "manifest.csv", index=False)
    options = {"seed": 3, "hold_out": ["subclass=rare"]}
    found = read_rows(tmp_path / "manifest.csv", **options)
    expected = load_dataset(tmp_path / "manifest.csv", size=16, **options)
    assert found.table["split"].tolist() == expected.table["split"].tolist()
    assert "manif_rare" in found.splits and found.notes == tuple(n for n in expected.notes if "square" not in n)


def test_the_view_gives_the_bytes_of_the_files(folder, rows):
    source = ManifestSource(rows, "val")
    assert len(source) == 4
    table = rows.table[rows.table["split"] == "val"]
    for i, row in enumerate(table.itertuples()):
        example = source[i]
        assert example["image"] == (folder / row.image_path).read_bytes()
        assert rows.classes[example["label"]] == row.label and example["image_id"] == row.image_id
        assert example["patient_id"] == row.patient_id.encode() and example["age"] == str(row.age).encode()
        assert example["manifest_image"] == b"a column that is called like a feature"
        assert not any(row.image_path.encode() in value for value in example.values() if isinstance(value, bytes))
    assert source.__getitems__([3, 0]) == [source[3], source[0]] and source[-1] == source[3]
    assert list(source)[1] == source[1]
    with pytest.raises(IndexError):
        source[4]
    with pytest.raises(ValueError, match=r"no set 'test'. There are acq_b.2, cal"):
        ManifestSource(rows, "test")


def test_the_copy_is_the_view(rows, copy):
    assert set(copy.info.splits) == {"acq_b_2", *SOURCE_SPLITS}
    for split in rows.splits:
        copied = copy.as_data_source(split.replace(".", "_"), decoders={"image": tfds.decode.SkipDecoding()})
        assert list(copied) == list(ManifestSource(rows, split))
    decoded = copy.as_data_source("train")[2]["image"]
    np.testing.assert_array_equal(decoded, Image.open(io.BytesIO(ManifestSource(rows, "train")[2]["image"])))
    assert copy.info.features["label"].names == ["benign", "malignant"]
    assert copy.info.supervised_keys == ("image", "label")


def test_loaders_take_the_view(rows):
    source = pickle.loads(pickle.dumps(ManifestSource(rows, "train")))
    ids = [example["image_id"] for example in grain.MapDataset.source(source).map(lambda example: example)]
    assert ids == rows.table["image_id"][rows.table["split"] == "train"].tolist()


def test_the_copy_is_loaded_as_the_manifest_is(folder, copy):
    expected = load_dataset(folder / "manifest.csv", size=16, seed=0)
    found = load_tfds("copied", size=16, seed=0, data_dir=folder / "tfds")
    np.testing.assert_array_equal(found.images, expected.images)
    assert found.classes == expected.classes
    renamed = expected.table.replace({"split": {"acq_b.2": "acq_b_2"}})
    columns = [column for column in renamed if column not in ("row", "image_path", "image")]
    pd.testing.assert_frame_equal(found.table[columns], renamed[columns])
    assert found.notes == expected.notes  # of 20 images that were cut to a square


def test_six_channels(tmp_path):
    write_manifest(tmp_path, channels=6, mode="L")
    rows = read_rows(tmp_path / "manifest.csv", seed=0)
    source = ManifestSource(rows, "train")
    names = rows.table["image_path"][rows.table["split"] == "train"].iloc[0].split(";")
    assert source[0]["channels"] == [(tmp_path / name).read_bytes() for name in names] and "image" not in source[0]
    copy = build(tfds_builder(rows, name="cells", data_dir=tmp_path))
    decoded = copy.as_data_source("train")[0]["channels"]
    pixels = np.stack([np.asarray(Image.open(tmp_path / name)) for name in names], axis=-1)
    np.testing.assert_array_equal(np.concatenate(list(decoded), axis=-1), pixels)
    dataset = load_tfds("cells", size=20, seed=0, data_dir=tmp_path)
    assert dataset.images.shape == (20, 20, 20, 6)
    place = dataset.table["sha256"].tolist().index(rows.table["sha256"][rows.table["split"] == "train"].iloc[0])
    np.testing.assert_array_equal(dataset.images[place], pixels[:, 2:22])


def write_dicom(path: Path, pixels: np.ndarray) -> None:
    """Writes a gray image of 16 bit whose header names a person."""
    header = pydicom.Dataset()
    header.PatientName = "Doe^Jane"
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit, header.PixelRepresentation = 15, 0
    header.PixelData = pixels.tobytes()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[path.name])
    header.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("kind", ["dicom", "array", "channels"])
def test_what_is_no_picture_is_png_of_its_values(tmp_path, kind):
    table = write_manifest(tmp_path)
    pixels = np.random.default_rng(5).integers(0, 2**16, (20, 18, 18, 4 if kind == "channels" else 1)).astype(np.uint16)
    if kind == "dicom":
        table["image_path"] = [f"{i}.dcm" for i in range(20)]
        for i in range(20):
            write_dicom(tmp_path / f"{i}.dcm", pixels[i, :, :, 0])
    else:
        table["image_path"] = [f"all.npz::images::{i}" for i in range(20)]
        np.savez(tmp_path / "all.npz", images=pixels)
    table.to_csv(tmp_path / "manifest.csv", index=False)
    rows = read_rows(tmp_path / "manifest.csv", seed=0)
    dataset = load_dataset(tmp_path / "manifest.csv", size=18, seed=0)
    assert rows.table["sha256"].tolist() == dataset.table["sha256"].tolist()
    example = ManifestSource(rows, "train")[0]
    parts = example["channels"] if kind == "channels" else [example["image"]]
    assert not any(b"Doe" in part for part in parts) and len(parts) == pixels.shape[-1]
    position = ManifestSource(rows, "train").positions[0]
    decoded = np.stack([np.asarray(Image.open(io.BytesIO(part))) for part in parts], axis=-1)
    np.testing.assert_array_equal(decoded, pixels[rows.table["row"].iloc[position] - 2])
    build(tfds_builder(rows, name="values", data_dir=tmp_path))
    copied = load_tfds("values", size=18, seed=0, data_dir=tmp_path)
    assert {image.tobytes() for image in copied.images} == {image.tobytes() for image in pixels}


def test_the_library_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"Install it with pip install 'sfjax\[data\]'; TensorFlow is not needed"):
        load_tfds("mnist", size=16, seed=0)


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", (1, np.uint8)), ("RGB", (3, np.uint8)), ("I;16", (1, np.uint16)), ("TIFF", None)]
)
def test_images_are_features_that_tfds_decodes_or_bytes(tmp_path, mode, kind):
    write_manifest(tmp_path, mode="L" if mode == "TIFF" else mode)
    if mode == "TIFF":
        Image.open(tmp_path / "ü7_w0.png").save(tmp_path / "other.tif")
        (tmp_path / "other.tif").replace(tmp_path / "ü7_w0.png")
    rows = read_rows(tmp_path / "manifest.csv", seed=0)
    feature = tfds_builder(rows, name="kinds", data_dir=tmp_path).info.features["image"]
    if kind is None:
        assert type(feature) is tfds.features.Scalar and feature.np_dtype == np.object_
    else:
        assert type(feature) is tfds.features.Image and (feature.shape[-1], feature.np_dtype) == kind


def test_sixteen_bits_survive(tmp_path):
    write_manifest(tmp_path, mode="I;16")
    build(tfds_builder(read_rows(tmp_path / "manifest.csv", seed=0), name="deep", data_dir=tmp_path))
    dataset = load_tfds("deep", size=20, seed=0, data_dir=tmp_path)
    assert dataset.images.dtype == np.uint16 and dataset.images.max() > 60_000
    np.testing.assert_array_equal(dataset.images, load_dataset(tmp_path / "manifest.csv", size=20, seed=0).images)


def test_rows_with_faults(tmp_path):
    table = write_manifest(tmp_path)
    (tmp_path / "ü0_w0.png").unlink()
    (tmp_path / "ü1_w0.png").write_bytes(b"no image")
    table.loc[5, "image_path"] += ";ü6_w0.png"
    table.loc[9, "label"] = ""
    table.to_csv(tmp_path / "manifest.csv", index=False)
    with pytest.raises(ManifestError) as error:
        read_rows(tmp_path / "manifest.csv", seed=0)
    for expected in (
        "row 2: ü0_w0.png: no such file as ü0_w0.png",
        "row 3: ü1_w0.png: UnidentifiedImageError: cannot identify image file",
        "another number of channels (1). All images of a set have equally many channels",
        "files or channels of an image are 1 in row 21, 2 in row 7",
        "blank label (1)",
    ):
        assert expected in str(error.value)


def test_files_that_change_are_noticed(tmp_path):
    write_manifest(tmp_path)
    rows = read_rows(tmp_path / "manifest.csv", seed=0)
    source = ManifestSource(rows, "train")
    path = tmp_path / rows.table["image_path"].iloc[source.positions[0]]
    content = path.read_bytes()
    path.write_bytes(png(7777))
    with pytest.raises(ValueError, match=r"Row \d+: the content of .* has changed since"):
        source[0]
    path.unlink()
    with pytest.raises(ValueError, match=r"cannot be read: .*No such file"):
        source[0]
    path.write_bytes(content)
    assert source[0]["image"] == content


def test_a_copy_of_other_rows_is_refused(folder, copy, tmp_path):
    table = pd.read_csv(folder / "manifest.csv", dtype=str).assign(
        image_path=lambda t: str(folder) + "/" + t["image_path"]
    )
    table.to_csv(tmp_path / "manifest.csv", index=False)
    moved = read_rows(tmp_path / "manifest.csv", seed=0)
    tfds_builder(moved, name="copied", data_dir=folder / "tfds")  # the same rows from another place
    table.assign(age=1).to_csv(tmp_path / "manifest.csv", index=False)
    changed = read_rows(tmp_path / "manifest.csv", seed=0)
    with pytest.raises(ValueError, match=r"copied/1.0.0 in .* was prepared from other rows. Give the new ones another"):
        tfds_builder(changed, name="copied", data_dir=folder / "tfds")
    tfds_builder(changed, name="copied", data_dir=folder / "tfds", version="1.0.1")


def test_what_cannot_be_named(folder, rows, tmp_path):
    with pytest.raises(ValueError, match="lower-case letters, digits and underscores; got 'My set'"):
        tfds_builder(rows, name="My set", data_dir=tmp_path)
    twins = dataclasses.replace(rows, table=rows.table.replace({"split": {"cal": "acq_b_2"}}))
    with pytest.raises(ValueError, match=r"TFDS cannot tell the sets acq_b.2, acq_b_2, .* apart"):
        tfds_builder(twins, name="twins", data_dir=tmp_path)
    with pytest.raises(ValueError, match="leave_out names height, and the columns are row, image_path"):
        read_rows(folder / "manifest.csv", seed=0, leave_out=["height"])
    seen = []
    without = read_rows(
        folder / "manifest.csv", seed=0, leave_out=["age"], progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(i + 1, 20) for i in range(20)]
    assert "age" not in ManifestSource(without, "train")[0]


def test_a_set_of_others_is_loaded(tmp_path):
    sets = {"train": examples(8), "validation": examples(8, 8), "test": examples(4, 16), "acq_c": examples(4, 20)}
    sets["acq_c"] = [{**example, "site": "c"} for example in sets["acq_c"]]
    sets["hidden"] = examples(2, 24, label=-1)
    boxes = {"box": tfds.features.BBoxFeature()}
    given = {
        name: [one | {"box": tfds.features.BBox(0.0, 0.0, 1.0, 1.0)} for one in of_set] for name, of_set in sets.items()
    }
    build(Standard(tmp_path, given, **boxes))
    dataset = load_tfds("standard", size=20, seed=0, data_dir=tmp_path, columns={"domain": "site"})
    assert dataset.classes == ("melanoma", "nevus") and dataset.name == "standard"
    counts = dataset.table["split"].value_counts().to_dict()
    assert counts == {"train": 8, "val": 4, "cal": 4, "iid_test": 4, "acq_c": 4}
    assert dataset.table["shift_kind"][dataset.table["split"] == "acq_c"].unique() == ["acquisition"]
    encoded = {example["image"]: example for of_set in sets.values() for example in of_set}
    by_pixels = {np.asarray(Image.open(io.BytesIO(image)))[:, 2:22].tobytes(): one for image, one in encoded.items()}
    for image, row in zip(dataset.images, dataset.table.itertuples(), strict=True):
        example = by_pixels[image.tobytes()]
        assert (row.label, row.domain) == (["nevus", "melanoma"][example["label"]], example["site"])
    notes = "\n".join(dataset.notes)
    assert "The split hidden has no labels and was left out: 2 images." in notes
    assert "not one value an image are not used: box." in notes
    assert "No cal was given: 4 of 8 images of val are cal now." in notes


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"train": 40}, {"train": 24, "iid_test": 8, "val": 4, "cal": 4}),
        ({"train": 40, "test": 6}, {"train": 32, "iid_test": 6, "val": 4, "cal": 4}),
        ({"train": 40, "validation": 6}, {"train": 32, "iid_test": 6, "val": 4, "cal": 4}),
    ],
)
def test_sets_that_are_missing_are_drawn(tmp_path, sizes, expected):
    build(Standard(tmp_path, {split: examples(n, 1000 * i) for i, (split, n) in enumerate(sizes.items())}))
    found = [load_tfds("standard", size=16, seed=seed, data_dir=tmp_path) for seed in (0, 0, 1)]
    assert found[0].table["split"].value_counts().to_dict() == expected
    assert found[0].table["split"].tolist() == found[1].table["split"].tolist() != found[2].table["split"].tolist()
    assert any(note.startswith("There is no validation split: the 40 images of train") for note in found[0].notes)
    given = next((split for split in sizes if split != "train"), None)
    if given is not None:
        places = found[0].table["image_path"][found[0].table["split"] == "iid_test"]
        assert all(place.startswith(f"{given}/") for place in places)


def test_tfrecord_files_are_read_too(tmp_path):
    source = build(Standard(tmp_path, {"train": examples(40)}))
    expected = load_tfds("standard", size=16, seed=0, data_dir=tmp_path)
    # The file format by itself: length, checksum, record, checksum, little-endian.
    records = list(source.as_data_source("train", deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES))
    framed = b"".join(struct.pack("<QI", len(one), 1) + one + struct.pack("<I", 2) for one in records)
    folder = Path(source.data_dir)
    for shard in folder.glob("*array_record*"):
        shard.unlink()
    shard = folder / "standard-train.tfrecord-00000-of-00001"
    shard.write_bytes(framed)
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    found = load_tfds("standard", size=16, seed=0, data_dir=tmp_path)
    np.testing.assert_array_equal(found.images, expected.images)
    pd.testing.assert_frame_equal(found.table, expected.table)
    for cut, message in ((1, "ends within a record"), (len(records[-1]) + 16, "has 39 examples instead of 40")):
        shard.write_bytes(framed[:-cut])
        with pytest.raises(ValueError, match=message):
            load_tfds("standard", size=16, seed=0, data_dir=tmp_path)
    (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "riegeli"}))
    with pytest.raises(ValueError, match=r"is stored as riegeli. Prepare it with file_format='array_record'"):
        load_tfds("standard", size=16, seed=0, data_dir=tmp_path)


def test_broken_images_are_faults_or_left_out(tmp_path):
    given = examples(40)
    given[0]["image"], given[1]["image"] = b"no image", png(1)[:99]
    build(Standard(tmp_path, {"train": given}))
    with pytest.raises(ManifestError, match=r"undecodable image \(2\)") as error:
        load_tfds("standard", size=16, seed=0, data_dir=tmp_path)
    assert len(error.value.faults) == 2 and "standard/1.0.0: train/0000" in str(error.value)
    dataset = load_tfds("standard", size=16, seed=0, data_dir=tmp_path, skip_bad_images=True)
    assert len(dataset.images) == len(dataset.table) == 38
    assert "2 of 40 images are broken and were left out: train/0000" in dataset.notes[0]
    assert dataset.images.reshape(38, -1).any(axis=1).all()


def test_which_features_are_meant(tmp_path):
    second = {"mask": tfds.features.Image(shape=(None, None, 1)), "grade": tfds.features.ClassLabel(num_classes=3)}
    given = {"train": examples(40, mask=lambda i: png(i + 500, "L"), grade=lambda i: i % 3)}
    build(Standard(tmp_path / "plain", given, **second))
    build(Standard(tmp_path / "pair", given, ("image", "label"), **second))

    def load(folder="plain", **columns):
        return load_tfds("standard", size=16, seed=0, data_dir=tmp_path / folder, columns=columns)

    with pytest.raises(ValueError, match=r"2 features that are images: image, mask; .* with --image-path-column"):
        load()
    with pytest.raises(ValueError, match=r"2 features that are class labels: grade, label; .* with --label-column"):
        load(image_path="mask")
    assert load("pair").images.shape[-1] == 3 and load("pair").classes == ("melanoma", "nevus")
    chosen = load(image_path="mask", label="grade")
    assert chosen.images.shape[-1] == 1 and chosen.classes == ("0", "1", "2")
    assert set(chosen.table["tfds_label"]) == {"nevus", "melanoma"}  # the other label is a column beside it
    with pytest.raises(ValueError, match="has no feature scanner; there are grade, image, label, mask, site"):
        load("pair", domain="scanner")
    with pytest.raises(ValueError, match=r"The feature site of standard/1.0.0 is no image"):
        load(image_path="site")
    with pytest.raises(ValueError, match=r"The features mask of standard/1.0.0 are not one value an image"):
        load("pair", domain="mask")


def test_a_set_that_is_not_prepared_is_not_downloaded(folder, copy):
    with pytest.raises(ValueError, match="No TFDS set 'mnist' is prepared in") as error:
        load_tfds("mnist", size=16, seed=0, data_dir=folder / "tfds")
    assert "there are copied. Nothing is downloaded" in str(error.value)
    assert "tensorflow_datasets.builder('mnist', data_dir=" in str(error.value)
    with pytest.raises(ValueError, match=r"No TFDS set 'copied:2.0.0' is prepared"):
        load_tfds("copied:2.0.0", size=16, seed=0, data_dir=folder / "tfds")


def test_the_benchmark_reads_it(folder, copy):
    def config(**data):
        plain = PRESETS["tiny"].config
        return dataclasses.replace(plain, image_size=16, data=dataclasses.replace(plain.data, **data))

    of_set = config(tfds="copied:1.0.0", tfds_data_dir=folder / "tfds")
    check(of_set)
    assert tasks.task_names(of_set) == ("copied_1.0.0",)
    dataset = tasks.load_task(of_set, "copied_1.0.0")
    expected = load_dataset(folder / "manifest.csv", size=16, seed=0)
    np.testing.assert_array_equal(dataset.images, expected.images)
    assert [one.name for one in tasks.test_sets(of_set, dataset)][:2] == ["iid_test", "acq_b_2"]
    # What a run was begun with is told by the table's digest: another image, another digest.
    other = dataset.table.assign(sha256=["0" * 64, *dataset.table["sha256"][1:]])
    assert digest_of(other) != digest_of(dataset.table)
    with pytest.raises(ValueError, match="manifest and tfds are two sources"):
        check(config(tfds="copied", manifest=folder / "manifest.csv"))
    with pytest.raises(ValueError, match="tfds_data_dir is where the set of tfds is"):
        check(config(tfds_data_dir=folder))
    with pytest.raises(
        ValueError, match="split_column speak of a manifest's files, and the images are in the TFDS set"
    ):
        check(config(tfds="copied", split_column="fold"))
    with pytest.raises(ValueError, match="published gives each phantom task settings of its own, so that tfds cannot"):
        check(dataclasses.replace(PRESETS["paper-phantoms"].config, data=of_set.data))
