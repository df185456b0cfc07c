"""Chest X-ray from miniature downloads in the providers' layout."""

import shutil

import pytest
import raw_trees as trees

from sfjax.data.findings import ManifestError
from sfjax.data.preparation import chest_xray
from sfjax.data.preparation.chest_xray import CLASSES, PREPARATION
from sfjax.data.preparation.finish import prepare
from sfjax.data.preparation.training_sets import set_names

CHEXPERT = [
    ("patient00001/study1/view1_frontal.jpg", {"Frontal_Lateral": "Frontal", "AP_PA": "PA", "Edema": "1.0"}),
    ("patient00001/study1/view2_lateral.jpg", {"Frontal_Lateral": "Lateral", "Edema": "1.0", "Fracture": "1.0"}),
    ("patient00002/study1/view1_frontal.jpg", {"AP_PA": "AP", "No_Finding": "1.0", "Support_Devices": "1.0"}),
    ("patient00003/study1/view1_frontal.jpg", {"Edema": "-1.0", "Pneumonia": "1.0", "Cardiomegaly": "0.0"}),
    ("patient00004/study1/view1_frontal.jpg", {"Lung_Opacity": "1.0"}),  # none of the eight
    ("patient00005/study1/view1_frontal.jpg", {"Edema": "-1.0"}),  # nothing is certain
    ("patient00006/study1/view1_frontal.jpg", {"Edema": "1.0", "Atelectasis": "1.0"}),
    ("patient00007/study1/view1_frontal.jpg", {"No_Finding": "1.0", "Fracture": "1.0"}),
]
NIH = [
    ("00000001_000.png", "Effusion", "1"),
    ("00000001_001.png", "Effusion|Infiltration", "00000001"),
    ("00000002_000.png", "No Finding", "2"),
    ("00000003_000.png", "Hernia", "3"),
    ("00000004_000.png", "Edema|Pneumonia", "4"),
]
MIMIC = [
    ("aaaa-1", "10000032", "50414267", {"Pneumothorax": "1.0"}),
    ("aaaa-2", "10000032", "50414267", {"Pneumothorax": "1.0"}),
    ("bbbb-1", "10000980", "50985099", {"No_Finding": "1.0"}),
    ("cccc-1", "11000980", "51985099", {"Fracture": "1.0"}),
]


def labels(result):
    """Class by the end of the path."""
    return {
        "/".join(path.split("/")[-3:] if "patient" in path else path.split("/")[-1:]): label
        for path, label in zip(result.table["image_path"], result.table["label"], strict=True)
    }


def test_chexpert(tmp_path):
    trees.chexpert(tmp_path, CHEXPERT)
    result = prepare(PREPARATION, tmp_path)
    assert labels(result) == {
        "patient00001/study1/view1_frontal.jpg": "Edema",
        "patient00001/study1/view2_lateral.jpg": "Edema",  # a finding beyond the eight does not change the class
        "patient00002/study1/view1_frontal.jpg": "No Finding",  # a device is no finding
        "patient00003/study1/view1_frontal.jpg": "Pneumonia",  # uncertain is not positive
        "patient64541/study1/view1_frontal.jpg": "Cardiomegaly",
    }
    said = result.lines[0]
    assert said.startswith("chexpert: 9 rows read, 5 kept; 1 several of the eight classes (")
    assert "; 2 none of the eight classes (" in said and "; 1 No Finding beside a finding (" in said
    assert result.table["view"].tolist() == ["PA", "lateral", "AP", "", "AP"]
    assert result.table["patient_id"].iloc[0] == "chexpert:patient00001"
    assert result.table["original_split"].tolist() == ["train"] * 4 + ["valid"]
    assert result.table["Sex"].iloc[0] == "Female"


@pytest.mark.parametrize("folder", ["CheXpert-v1.0", "."])
def test_chexpert_at_full_size_or_without_its_folder(tmp_path, folder):
    trees.chexpert(tmp_path, CHEXPERT[:1], folder=folder)
    assert len(prepare(PREPARATION, tmp_path).table) == 2


def test_chexpert_as_unpacked_from_its_full_size_batches(tmp_path):
    trees.chexpert(tmp_path, [CHEXPERT[0], CHEXPERT[2], CHEXPERT[3]], folder="CheXpert-v1.0")
    root = tmp_path / "chexpert/CheXpert-v1.0"
    for batch, patients in (("2 (train 1)", ["patient00001"]), ("3 (train 2)", ["patient00002"])):
        folder = tmp_path / f"chexpert/CheXpert-v1.0 batch {batch}"
        folder.mkdir()
        for patient in patients:
            (root / "train" / patient).rename(folder / patient)
    shutil.rmtree(root / "train")
    root.rename(tmp_path / "chexpert/CheXpert-v1.0 batch 1 (validate & csv)")
    result = prepare(PREPARATION, tmp_path)
    assert result.table["label"].tolist() == ["Edema", "No Finding", "Cardiomegaly"]
    missing = "1 image missing (chexpert/CheXpert-v1.0 batch 2 (train 1)/patient00003/study1/view1_frontal.jpg)"
    assert result.lines[0] == f"chexpert: 4 rows read, 3 kept; {missing}"


def test_paths_that_are_none_of_chexpert_are_refused(tmp_path):
    trees.chexpert(tmp_path, CHEXPERT[:1])
    path = tmp_path / "chexpert/CheXpert-v1.0-small/valid.csv"
    path.write_text(path.read_text().replace("patient64541", "p"))
    with pytest.raises(ManifestError, match=r"no path of CheXpert: 'CheXpert-v1\.0-small/valid/p/"):
        prepare(PREPARATION, tmp_path)


@pytest.mark.parametrize("folders", [True, False])
def test_nih14(tmp_path, folders):
    trees.nih14(tmp_path, NIH, folders=folders)
    result = prepare(PREPARATION, tmp_path)
    assert labels(result) == {
        "00000001_000.png": "Pleural Effusion",
        "00000001_001.png": "Pleural Effusion",
        "00000002_000.png": "No Finding",
    }
    assert set(result.table["patient_id"]) == {"nih14:1", "nih14:2"}
    assert "1 several of the eight classes" in result.lines[0] and "1 none of the eight classes" in result.lines[0]
    assert result.table["OriginalImage[Width"].iloc[0] == "2682" and "" not in result.table


@pytest.mark.parametrize("with_split", [True, False])
def test_mimic(tmp_path, with_split):
    trees.mimic(tmp_path, MIMIC, with_split=with_split)
    result = prepare(PREPARATION, tmp_path)
    assert labels(result) == {"aaaa-1.jpg": "Pneumothorax", "aaaa-2.jpg": "Pneumothorax", "bbbb-1.jpg": "No Finding"}
    assert result.table["patient_id"].tolist() == ["mimic:10000032"] * 2 + ["mimic:10000980"]
    assert set(result.table["view"]) == {"lateral"} and ("original_split" in result.table) == with_split
    assert result.table["image_path"].iloc[0].endswith("2.0.0/files/p10/p10000032/s50414267/aaaa-1.jpg")
    assert result.lines[0].startswith("mimic: 4 rows read, 3 kept; 1 none of the eight classes (")


def test_mimic_studies_without_labels_and_without_images_are_said(tmp_path):
    trees.mimic(tmp_path, MIMIC)
    root = tmp_path / "mimic/files/mimic-cxr-jpg/2.0.0"
    (root / "mimic-cxr-2.0.0-metadata.csv.gz").unlink()
    rows = ["aaaa-1,50414267,10000032,train", "dddd-1,59999999,10000032,test"]
    (root / "mimic-cxr-2.0.0-split.csv.gz").unlink()
    trees.table(root / "mimic-cxr-2.0.0-split.csv", "dicom_id,study_id,subject_id,split", rows)  # unpacked by hand
    result = prepare(PREPARATION, tmp_path)
    assert "1 study without labels" in result.lines[0]
    assert any("2 studies of mimic-cxr-2.0.0-chexpert" in line for line in result.lines)


def test_a_study_with_two_rows_of_labels_is_refused(tmp_path):
    trees.mimic(tmp_path, MIMIC)
    row = trees.record(trees.MIMIC_HEADER, subject_id="10000032", study_id="50414267")
    path = tmp_path / "mimic/files/mimic-cxr-jpg/2.0.0/mimic-cxr-2.0.0-chexpert.csv.gz"
    trees.table(path, trees.MIMIC_HEADER, [row, row], compress=True)
    with pytest.raises(ManifestError, match="study 50414267"):
        prepare(PREPARATION, tmp_path)


def test_mended_one_rule_for_no_finding(tmp_path):
    """An image without any of the eight labels is left out of all three sources; the reference kept CheXpert's."""
    trees.chexpert(tmp_path, [*CHEXPERT[:2], ("patient00009/study1/view1_frontal.jpg", {})])
    trees.nih14(tmp_path, [NIH[0], NIH[3]])
    trees.mimic(tmp_path, [MIMIC[0], MIMIC[3]])
    result = prepare(PREPARATION, tmp_path)
    for source in ("mimic", "nih14", "chexpert"):
        line = next(line for line in result.lines if line.startswith(source))
        assert "; 1 none of the eight classes" in line
    assert "No Finding" not in set(result.table["label"])
    # In the study's order, which its draws depend on.
    assert result.table["source"].drop_duplicates().tolist() == ["mimic", "nih14", "chexpert"]


def test_mended_classes_are_named_and_in_the_studys_order():
    assert CLASSES[:2] == ("No Finding", "Cardiomegaly") and CLASSES[-1] == "Pleural Effusion" and len(CLASSES) == 8


def test_equal_numbers_of_two_sources_are_two_people(tmp_path):
    trees.nih14(tmp_path, [("00000001_000.png", "Edema", "10000032")])
    trees.mimic(tmp_path, MIMIC)
    assert {"nih14:10000032", "mimic:10000032"} <= set(prepare(PREPARATION, tmp_path).table["patient_id"])


def test_shares_are_there_for_every_training_set_and_sources_are_held_out(tmp_path):
    assert set(chest_xray.TRAIN_SHARES) == set(PREPARATION.training_sets)
    trees.chexpert(tmp_path, CHEXPERT)
    trees.nih14(tmp_path, NIH)
    table = prepare(PREPARATION, tmp_path).table
    sets = set_names(table, PREPARATION.training_sets["but_nih14"])
    assert (sets == "acq_nih14").tolist() == (table["source"] == "nih14").tolist()
    assert PREPARATION.reference_splits is not None
    splits = PREPARATION.reference_splits(table, "but_nih14")
    assert set(splits[table["source"] == "nih14"]) == {""}
    chexpert = table[table["source"] == "chexpert"]
    # 0.975 of four patients are three.
    assert chexpert["patient_id"].nunique() == 4
    assert chexpert["patient_id"][splits[chexpert.index] == "train"].nunique() == 3
