import dataclasses
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfjax.data import ManifestError, is_array_file, load_array_file, load_dataset
from sfjax.study import PRESETS, tasks

COUNTS = {"train": 24, "val": 12, "test": 12}


def medmnist(shape: tuple[int, ...] = (28, 28, 3), seed: int = 0) -> dict[str, np.ndarray]:
    """Returns arrays as MedMNIST names and shapes them: labels are (n, 1), and there is no name of a class."""
    rng, arrays = np.random.default_rng(seed), {}
    for split, count in COUNTS.items():
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 3).astype(np.uint8)[:, None]
    return arrays


def write(folder: Path, arrays: dict[str, np.ndarray], name: str = "pathmnist.npz") -> Path:
    np.savez(folder / name, **arrays)
    return folder / name


def load(folder: Path, arrays: dict[str, np.ndarray], **options):
    return load_array_file(write(folder, arrays), **{"size": 28, "seed": 0, **options})


def faults(folder: Path, arrays: dict[str, np.ndarray], **options) -> str:
    with pytest.raises(ManifestError) as error:
        load(folder, arrays, **options)
    return str(error.value)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (28, 28, 3), (64, 64, 3)])
def test_images_and_labels_belong_together(tmp_path, shape):
    arrays = medmnist(shape)
    arrays |= {key: array * 8 + 1 for key, array in arrays.items() if key.endswith("labels")}
    seen = []
    dataset = load(tmp_path, arrays, size=shape[0], progress=lambda done, total: seen.append((done, total)))
    assert dataset.name == "pathmnist" and dataset.images.shape == (48, *shape[:2], (*shape, 1)[2])
    assert dataset.classes == ("1", "9", "17")  # numbers in their order
    assert dataset.table["split"].value_counts().to_dict() == {"train": 24, "val": 6, "cal": 6, "iid_test": 12}
    for image, row in zip(dataset.images, dataset.table.itertuples(), strict=True):
        array, index = row.image_path.split("/")
        np.testing.assert_array_equal(image.squeeze(), arrays[array][int(index)].squeeze())
        split = array.removesuffix("_images")
        assert row.label == str(arrays[f"{split}_labels"][int(index), 0])
        assert row.split == "iid_test" if split == "test" else row.split in (split, "cal")
    assert dataset.notes == ("No cal was given: 6 of 12 images of val are cal now.",)
    assert seen[0] == (1, 48) and seen[-1] == (48, 48)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [20, 28, 40])
def test_images_are_resized_as_those_of_a_manifest_are(tmp_path, size, dtype):
    arrays = medmnist((28, 36))
    arrays = {key: array.astype(dtype) * (257 if dtype == np.uint16 else 1) for key, array in arrays.items()}
    found = load(tmp_path, arrays, size=size)
    rows = ["image_path,label,split"]
    for split, count in COUNTS.items():
        for i in range(count):
            Image.fromarray(arrays[f"{split}_images"][i]).save(tmp_path / f"{split}{i}.png")
            name = {"test": "iid_test"}.get(split, split)
            rows.append(f"{split}{i}.png,{arrays[f'{split}_labels'][i, 0]},{name}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    expected = load_dataset(tmp_path / "manifest.csv", size=size, seed=0)
    assert found.images.dtype == expected.images.dtype == dtype
    for name in ("iid_test", "train"):  # val and cal are drawn by content, which here is an array and there a file
        pairs = [(dataset.images[dataset.table["split"] == name]) for dataset in (found, expected)]
        assert {image.tobytes() for image in pairs[0]} == {image.tobytes() for image in pairs[1]}
    assert [note for note in found.notes if "48 of" in note] == [note for note in expected.notes if "48 of" in note]


def test_random_numbers_do_not_depend_on_the_size(tmp_path):
    small, large = (load(tmp_path, medmnist(), size=size) for size in (16, 28))
    assert small.table["image_id"].tolist() == large.table["image_id"].tolist()


def test_other_splits_and_columns(tmp_path):
    arrays = medmnist()
    shifted = medmnist(seed=1)
    arrays |= {"acq_b_images": shifted["val_images"], "acq_b_labels": shifted["val_labels"]}
    arrays |= {"acq_b_far_images": shifted["test_images"], "acq_b_far_labels": shifted["test_labels"]}
    arrays |= {"train_scanner": np.array(["x", "y"] * 12), "acq_b_far_scanner": np.array(["z"] * 12)}
    arrays |= {f"{split}_patient_id": np.arange(12)[:, None] + i for i, split in ((0, "val"), (100, "test"))}
    arrays["class_names"] = np.array(["a", "b", "c"])
    dataset = load(tmp_path, arrays, columns={"domain": "scanner"})
    assert dataset.splits == ("train", "val", "cal", "iid_test", "acq_b", "acq_b_far")
    domains = dataset.table.groupby("split")["domain"].unique().map(sorted).to_dict()
    assert domains["train"] == ["x", "y"] and domains["acq_b_far"] == ["z"] and domains["acq_b"] == [""]
    assert set(dataset.table["shift_kind"]) == {"iid", "acquisition"}
    patients = dataset.table.set_index("image_path")["patient_id"]
    assert patients["test_images/000003"] == "103" and patients["train_images/000003"] == ""
    assert "Arrays of no split are not used: class_names." in dataset.notes
    held_out = load(tmp_path, arrays, columns={"domain": "scanner"}, hold_out=["domain=y"])
    assert (held_out.table["split"] == "acq_y").sum() == 12


def test_a_column_gives_way_to_the_one_that_was_named_for_it(tmp_path):
    arrays = medmnist() | {f"{split}_grade": np.arange(count) % 2 for split, count in COUNTS.items()}
    dataset = load(tmp_path, arrays, columns={"label": "grade"})
    assert dataset.classes == ("0", "1") and set(dataset.table["labels"]) == {0, 1, 2}
    arrays |= {f"{split}_domain": np.full(count, "d") for split, count in COUNTS.items()}
    dataset = load(tmp_path, arrays, columns={"domain": "grade"})
    assert set(dataset.table["domain"]) == {"0", "1"} and set(dataset.table["array_domain"]) == {"d"}


def test_text_and_unknown_classes(tmp_path):
    arrays = medmnist()
    names = np.array(["nevus", "melanoma", "other"])
    arrays |= {key: names[array[:, 0]] for key, array in arrays.items() if key.endswith("labels")}
    arrays |= {"manif_x_images": medmnist(seed=3)["val_images"], "manif_x_labels": np.array(["rare"] * 12)}
    assert "label unseen in training (1)" in faults(tmp_path, arrays)
    dataset = load(tmp_path, arrays, unknown_classes="failure")
    assert dataset.classes == ("melanoma", "nevus", "other")


def test_all_faults_are_reported_at_once(tmp_path):
    arrays = medmnist()
    arrays["val_labels"] = np.zeros((12, 14), np.uint8)  # as of ChestMNIST
    arrays["test_images"] = np.zeros((12, 28, 28, 28), np.uint8)  # as of the 3-D sets
    arrays["test_labels"] = np.linspace(0, 1, 12)
    arrays["extra_labels"] = np.zeros(3, np.uint8)
    arrays["train_domain"] = np.array(["x"] * 23)
    arrays["ext_images"] = np.zeros((4, 28, 28), np.float32)
    text = faults(tmp_path, arrays, columns={"subclass": "finding"})
    for expected in (
        "pathmnist.npz: 8 faults to correct before training.",
        "several labels an image (1)",
        "pathmnist.npz: val_labels has shape (12, 14)",
        "volumes (1). Networks here look at images of two dimensions",
        "pathmnist.npz: test_images has shape (12, 28, 28, 28)",
        "unusable labels (1)",
        "pathmnist.npz: test_labels is float64",
        "arrays without a partner (3)",
        "pathmnist.npz: extra_labels without images",
        "pathmnist.npz: train_domain has shape (23,), and there are 24 images",
        "pathmnist.npz: ext without labels",
        "unusable images (1)",
        "pathmnist.npz: ext_images is float32 of shape (4, 28, 28)",
        "column missing (1)",
        "no array SPLIT_finding",
    ):
        assert expected in text, text


@pytest.mark.parametrize(
    ("key", "array", "message"),
    [
        ("test_images", np.zeros((12, 9, 28, 28, 3), np.uint8), "volumes (1)"),
        ("test_images", np.zeros((12, 28), np.uint8), "test_images is uint8 of shape (12, 28)"),
        ("test_images", np.zeros((12, 28, 28), np.uint8), "different channels: test uint8 (12, 28, 28, 1)"),
        ("test_images", np.zeros((12, 28, 28, 3), np.uint16), "different types: test uint16 (12, 28, 28, 3)"),
        ("test_labels", np.zeros((11, 1), np.uint8), "test_labels has shape (11, 1), and there are 12 images"),
        ("test_labels", np.zeros((), np.uint8), "test_labels has shape (), and there are 12 images"),
    ],
)
def test_one_fault(tmp_path, key, array, message):
    text = faults(tmp_path, medmnist() | {key: array})
    assert "1 fault to correct" in text and message in text


def test_files_that_are_none(tmp_path):
    assert "no SPLIT_images; there are a" in faults(tmp_path, {"a": np.zeros(3)})
    path = write(tmp_path, medmnist())
    assert is_array_file(path) and not is_array_file(tmp_path) and not is_array_file(tmp_path / "gone.npz")
    path.write_bytes(path.read_bytes()[:5000])
    assert is_array_file(path)
    with pytest.raises(ManifestError, match=r"unreadable array \(1\)"):
        load_array_file(path, size=28, seed=0)
    (tmp_path / "manifest.npz").write_text("image_path,label\n")
    assert not is_array_file(tmp_path / "manifest.npz")  # the content counts, not the name


def test_nothing_is_unpickled(tmp_path):
    path = write(tmp_path, medmnist())
    marker = tmp_path / "ran"

    class Harmful:
        def __reduce__(self):
            return Path.touch, (marker,)

    objects = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": (12,)}
    np.lib.format.write_array_header_1_0(objects, header)
    objects.write(pickle.dumps(Harmful()))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("test_domain.npy", objects.getvalue())
    with pytest.raises(ManifestError, match="test_domain: Object arrays cannot be loaded"):
        load_array_file(path, size=28, seed=0)
    assert not marker.exists()


def test_the_benchmark_reads_it(tmp_path):
    arrays = medmnist() | {f"{split}_site": np.full(count, "s") for split, count in COUNTS.items()}
    path = write(tmp_path, arrays, "bloodmnist.npz")

    def config(**data):
        plain = PRESETS["tiny"].config
        return dataclasses.replace(plain, image_size=16, data=dataclasses.replace(plain.data, manifest=path, **data))

    assert tasks.task_names(config()) == ("bloodmnist",)
    dataset = tasks.load_task(config(domain_column="site"), "bloodmnist")
    assert dataset.images.shape == (48, 16, 16, 3) and set(dataset.table["domain"]) == {"s"}
    given = {"metadata": (path,), "images_in": "disk", "image_path_column": "x", "skip_bad_images": True}
    with pytest.raises(
        ValueError, match=r"metadata, images_in, image_path_column, skip_bad_images speak of a manifest"
    ):
        tasks.load_task(config(**given), "bloodmnist")
