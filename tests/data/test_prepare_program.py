"""`python -m experiments.prepare`, from miniature downloads to a data set."""

import json
from pathlib import Path

import pandas as pd
import pytest
import raw_trees as trees

from experiments import prepare as program
from sfjax.data import load_dataset
from sfjax.data.preparation import finish


@pytest.fixture
def raw(tmp_path) -> Path:
    """Dermoscopy with a missing image, a truncated one, a row that is there twice and a patient of two sources."""
    folder = tmp_path / "raw"
    diagnoses = ["nv", "mel", "bkl", "bcc"]
    trees.ham10000(
        folder,
        [(f"HAM_{i // 2}", f"ISIC_{i:07d}", diagnoses[i // 2 % 4], "rosendahl") for i in range(64)],
        windows=True,
    )
    where = [trees.BARCELONA, trees.QUEENSLAND]
    isic = [(f"ISIC_01{i:05d}", f"IP_{i // 2}", ("benign", "malignant")[i % 2], where[i // 2 % 2]) for i in range(64)]
    trees.isic_2020(folder, [*isic, isic[-1]])
    next(folder.glob("ham10000/*/ISIC_0000000.jpg")).unlink()
    trees.truncate(next(folder.glob("ham10000/*/ISIC_0000003.jpg")))
    trees.image(folder / "isic_2020/train/ISIC_0100009.jpg", 10)  # the content of HAM10000's ISIC_0000010
    return folder


def run(*arguments: object) -> int:
    return program.main([str(argument) for argument in arguments])


def test_from_downloads_to_a_data_set_with_a_held_out_hospital(raw, capsys):
    assert run("dermoscopy", "--raw", raw) == 0
    printed = capsys.readouterr().out
    ham = "ham10000: 64 rows read, 62 kept; 1 image missing (ham10000/ISIC_0000000.jpg); 1 image unreadable ("
    assert ham in printed
    isic = "isic_2020: 65 rows read, 63 kept; 1 row again (isic_2020/train/ISIC_0100063.jpg); 1 image again under"
    assert isic in printed and "isic_2020:IP_4 is ham10000:HAM_5" in printed
    assert "ph2: left out" in printed and "Paths of images are relative" in printed
    record = json.loads((raw / "dermoscopy.preparation.json").read_text())
    assert record["images"] == 62 + 63 and record["account"][0].startswith("ham10000: 64 rows read")
    in_all = record["training_sets"]["but_barcelona"]
    assert sum(one["images"] for one in in_all) == 125 and [one["set"] for one in in_all] == ["source", "acq_barcelona"]
    assert sum(in_all[1]["classes"].values()) == in_all[1]["images"] == 31

    dataset = load_dataset(raw / "dermoscopy.csv", size=8, seed=0, hold_out=["domain=barcelona"])
    assert dataset.splits[4:] == ("acq_barcelona", "held_out_patients") and len(dataset.table) == 125
    assert set(dataset.table["domain"][dataset.table["split"] == "train"]) == {"rosendahl", "queensland"}
    # HAM_5 is the patient IP_4 of Barcelona: its images are with neither side.
    assert set(dataset.table["patient_id"][dataset.table["split"] == "held_out_patients"]) == {"ham10000:HAM_5"}
    assert dataset.table["sha256"].is_unique and "localization" in dataset.table


def test_a_second_run_decodes_nothing_and_writes_the_same(raw, tmp_path, monkeypatch):
    out = tmp_path / "m.csv"
    assert run("dermoscopy", "--raw", raw, "--out", out) == 0
    before = out.read_bytes(), out.with_suffix(".preparation.json").read_bytes()

    def refuse(*_, **__):
        raise AssertionError

    monkeypatch.setattr(finish, "decode_images", refuse)
    assert run("dermoscopy", "--raw", raw, "--out", out) == 0
    assert (out.read_bytes(), out.with_suffix(".preparation.json").read_bytes()) == before
    assert pd.read_csv(out)["image_path"].str.startswith("raw/").all()


def test_reference_splits_of_a_training_set(raw, tmp_path, capsys):
    out = tmp_path / "elsewhere" / "m.parquet"
    command = ("dermoscopy", "--raw", raw, "--out", out, "--training-set", "ham10000_subclass", "--reference-splits")
    assert run(*command) == 0
    printed = capsys.readouterr().out
    assert "63 images of other sources are not in it" in printed and "Paths of images are absolute" in printed
    manifest = pd.read_parquet(out)
    assert set(manifest["split"]) == {"train", "val", "iid_test", "manif_bkl_akiec"}
    patients = manifest.groupby("patient_id")["split"].nunique()
    assert patients.max() == 1
    # Without akiec, of 23 lesions with an image 80 % train.
    source = manifest[manifest["split"] != "manif_bkl_akiec"]
    training = source[source["split"] != "iid_test"]["patient_id"].nunique()
    assert training == int(0.8 * source["patient_id"].nunique())
    dataset = load_dataset(out, size=8, seed=0)
    assert dataset.table["shift_kind"][dataset.table["split"] == "manif_bkl_akiec"].unique().tolist() == [
        "manifestation"
    ]


def test_stopped_by_ctrl_c(raw, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(finish, "decode_images", interrupt)
    out = tmp_path / "m.csv"
    assert run("dermoscopy", "--raw", raw, "--out", out) == 130
    assert "The same command continues" in capsys.readouterr().err and not out.exists()


def test_what_is_wrong_is_one_text_and_status_2(raw, tmp_path, capsys):
    def error(*arguments: object) -> str:
        assert run(*arguments) == 2
        return capsys.readouterr().err

    (tmp_path / "empty").mkdir()
    assert "PH2_dataset.xlsx" in error("dermoscopy", "--raw", tmp_path / "empty")
    assert "is no folder" in error("dermoscopy", "--raw", tmp_path / "nowhere")
    assert "A task must be one of dermoscopy, " in error("derm", "--raw", raw)
    assert "ends with .csv or .parquet" in error("dermoscopy", "--raw", raw, "--out", tmp_path / "m.txt")
    assert "Add --training-set, one of all," in error("dermoscopy", "--raw", raw, "--reference-splits")
    no_image = "The training set but_d7p has no image in acq_d7p. Choose another one"
    for more in ((), ("--reference-splits",)):
        assert no_image in error("dermoscopy", "--raw", raw, "--training-set", "but_d7p", *more)
    assert "no training set 'x'" in error("dermoscopy", "--raw", raw, "--training-set", "x")
    assert not [*tmp_path.glob("*.csv"), *raw.glob("*.csv")]


def test_training_sets_of_sources_that_are_not_there_are_named(tmp_path, capsys):
    trees.isic_2020(
        tmp_path, [(f"ISIC_01{i:05d}", f"IP_{i}", ("benign", "malignant")[i % 2], trees.BARCELONA) for i in range(4)]
    )
    assert run("dermoscopy", "--raw", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "Not to be made of these sources, because a set has no image: but_barcelona (source), " in printed
    assert "ham10000_multiclass (source)" in printed and "but_mskcc (acq_mskcc)" in printed
    assert "all:\n  source: 4 images, 4 patients; 2 benign, 2 malignant" in printed


def test_without_a_task_the_tasks_are_listed_with_sizes_and_access(capsys):
    for command in ((), ("--help",)):
        assert run(*command) == 0
        printed = capsys.readouterr().out
        assert "histopathology" in printed and "credentialed access" in printed and "570 GB" in printed
    with pytest.raises(SystemExit):
        run("dermoscopy", "--help")
    printed = capsys.readouterr().out
    assert "--reference-splits" in printed and "33 126 images" in printed and "credentialed" not in printed
