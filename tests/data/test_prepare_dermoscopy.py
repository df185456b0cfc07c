"""Dermoscopy from miniature downloads in the providers' layout."""

import pytest
import raw_trees as trees
from raw_trees import BARCELONA, QUEENSLAND

from sfjax.data.findings import ManifestError
from sfjax.data.preparation import dermoscopy
from sfjax.data.preparation.dermoscopy import HAM_DIAGNOSES, PREPARATION
from sfjax.data.preparation.finish import prepare
from sfjax.data.preparation.training_sets import only, set_names, with_reference_splits

HAM = [
    ("HAM_3", "ISIC_0000003", "mel", "rosendahl"),
    ("HAM_1", "ISIC_0000001", "nv", "vidir_modern"),
    ("HAM_1", "ISIC_0000002", "nv", "vidir_modern"),
    ("HAM_4", "ISIC_0000004", "bkl", ""),
    ("HAM_5", "ISIC_0000005", "akiec", "vienna_dias"),
]
ISIC = [
    ("ISIC_0100001", "IP_1", "benign", BARCELONA),
    ("ISIC_0100002", "IP_1", "malignant", BARCELONA),
    ("ISIC_0100003", "IP_2", "benign", "Memorial Sloan Kettering Cancer Center"),
    ("ISIC_0100004", "IP_3", "benign", QUEENSLAND),
]


def column(result, name):
    """The column by file name."""
    table = result.table
    return {path.rpartition("/")[2]: value for path, value in zip(table["image_path"], table[name], strict=True)}


def test_all_four_sources(tmp_path):
    trees.ham10000(tmp_path, HAM, windows=True)
    trees.isic_2020(tmp_path, ISIC)
    trees.derm7pt(
        tmp_path,
        [
            ("1", "melanoma (in situ)", "NEL/Nel026.jpg"),
            ("2", "clark nevus", "NEL/Nel028.jpg"),
            ("3", "melanosis", "NEL/Nel030.jpg"),
            ("4", "basal cell carcinoma", "Aal/Aal01.jpg"),
        ],
    )
    trees.ph2(tmp_path, [("IMD003", "common"), ("IMD417", "melanoma"), ("IMD009", "atypical")])
    result = prepare(PREPARATION, tmp_path)
    assert result.lines == [
        "ham10000: 5 rows read, 5 kept",
        "d7p: 4 rows read, 4 kept",
        "ph2: 3 rows read, 3 kept",
        "isic_2020: 4 rows read, 4 kept",
    ]
    malignant = {name for name, label in column(result, "label").items() if label == "malignant"}
    expected = {"ISIC_0000003.jpg", "ISIC_0000005.jpg", "ISIC_0100002.jpg", "Nel026.jpg", "Aal01.jpg", "IMD417.bmp"}
    assert malignant == expected and set(result.table["label"]) == {"benign", "malignant"}
    domains = column(result, "domain")
    assert [domains[f"ISIC_000000{i}.jpg"] for i in (1, 3, 4)] == ["vidir_modern", "rosendahl", ""]
    assert [domains[f"ISIC_010000{i}.jpg"] for i in (1, 3, 4)] == ["barcelona", "mskcc", "queensland"]
    assert domains["Nel026.jpg"] == "d7p" and domains["IMD003.bmp"] == "ph2"
    patients = column(result, "patient_id")
    assert patients["ISIC_0000001.jpg"] == patients["ISIC_0000002.jpg"] == "ham10000:HAM_1"
    assert patients["ISIC_0100002.jpg"] == "isic_2020:IP_1" and patients["IMD003.bmp"] == "ph2:IMD003"
    assert column(result, "attribution")["ISIC_0100001.jpg"] == BARCELONA  # as it was written
    assert column(result, "localization")["ISIC_0000001.jpg"] == "scalp"
    assert column(result, "Asymmetry (0/1/2)")["IMD003.bmp"] == "0"
    assert column(result, "original_patient_id")["ISIC_0100001.jpg"] == "IP_1"
    # In the study's order, which its draws depend on: HAM10000 by image, then Derm7pt, PH2, ISIC 2020.
    assert result.table["source"].drop_duplicates().tolist() == ["ham10000", "d7p", "ph2", "isic_2020"]
    assert list(column(result, "label"))[:2] == ["ISIC_0000001.jpg", "ISIC_0000002.jpg"]


def test_sources_that_are_not_there_are_said_and_parts_of_one_refused(tmp_path):
    trees.ham10000(tmp_path, HAM)
    lines = prepare(PREPARATION, tmp_path).lines
    absent = [f"{source}: left out, because nothing of it is there." for source in ("d7p", "isic_2020", "ph2")]
    assert lines == ["ham10000: 5 rows read, 5 kept", *absent]
    trees.table(tmp_path / "isic_2020/train.csv", trees.KAGGLE_HEADER, [])
    with pytest.raises(ValueError, match=r"Of isic_2020 only a part is below(.|\n)*ISIC_\*\.jpg.*23 GB") as error:
        prepare(PREPARATION, tmp_path)
    assert "archives" not in str(error.value)
    (tmp_path / "isic_2020/ISIC_2020_Training_JPEG.zip").write_bytes(b"PK")
    with pytest.raises(
        ValueError, match=r"unpack isic_2020/ISIC_2020_Training_JPEG\.zip in the folders that they are in"
    ):
        prepare(PREPARATION, tmp_path)


def test_unknown_diagnoses_are_left_out_and_counted(tmp_path):
    trees.ham10000(tmp_path, [*HAM, ("HAM_6", "ISIC_0000006", "scc", "")])
    result = prepare(PREPARATION, tmp_path)
    assert result.lines[0] == "ham10000: 6 rows read, 5 kept; 1 neither benign nor malignant (ISIC_0000006)"


def test_an_isic_image_in_two_archives_is_one_and_its_patients_are_united(tmp_path):
    trees.ham10000(tmp_path, HAM)
    trees.isic_2020(tmp_path, [*ISIC, ("ISIC_0000001", "IP_2", "benign", "MSKCC")])
    result = prepare(PREPARATION, tmp_path)
    assert column(result, "source")["ISIC_0000001.jpg"] == "ham10000"
    assert column(result, "patient_id")["ISIC_0100003.jpg"] == "ham10000:HAM_1"  # IP_2's other image
    assert any(line.startswith("isic_2020: 5 rows read, 4 kept; 1 row again") for line in result.lines)


def test_copies_that_isic_lists_itself_count_once(tmp_path):
    trees.isic_2020(tmp_path, ISIC)
    pairs = ["ISIC_0100003,ISIC_0100004", "ISIC_0100004,ISIC_0100009"]
    trees.table(tmp_path / "isic_2020/ISIC_2020_Training_Duplicates.csv", "image_name_1,image_name_2", pairs)
    result = prepare(PREPARATION, tmp_path)
    assert "ISIC_0100004.jpg" not in column(result, "label") and "1 row again" in result.lines[0]


@pytest.mark.parametrize(
    "name, header, rows",
    [
        ("train.csv", trees.KAGGLE_HEADER, ["{0},IP_1,male,45,head/neck,nevus,benign,0", "{1},IP_2,,,,,malignant,1"]),
        ("ISIC_2020_Training_GroundTruth.csv", "image_name,patient_id,target", ["{0},IP_1,0", "{1},IP_2,1"]),
        (
            "challenge-2020-training_metadata_2026-04-09.csv",
            "isic_id,attribution,diagnosis_1,diagnosis_3,patient_id",
            ["{0},MSKCC,Benign,Nevus,IP_1", "{1},MSKCC,Malignant,Melanoma,IP_2", "{0}0,MSKCC,Indeterminate,,IP_3"],
        ),
    ],
)
def test_tables_of_isic_as_they_were_published_over_the_years(tmp_path, name, header, rows):
    images = "ISIC_0100001", "ISIC_0100002"
    trees.table(tmp_path / "isic_2020" / name, header, [row.format(*images) for row in rows])
    for i, one in enumerate(images):
        trees.image(tmp_path / f"isic_2020/jpeg/train/{one}.jpg", i)
    result = prepare(PREPARATION, tmp_path)
    assert column(result, "label") == {"ISIC_0100001.jpg": "benign", "ISIC_0100002.jpg": "malignant"}
    has_institutions = "attribution" in header
    assert set(result.table["domain"]) == {"mskcc" if has_institutions else ""}
    assert any("institutions cannot be held out" in line for line in result.lines) != has_institutions
    if has_institutions:
        assert "1 neither benign nor malignant (ISIC_01000010)" in result.lines[0]


def test_of_several_exports_the_latest_is_read_and_the_others_are_said(tmp_path):
    trees.isic_2020(tmp_path, ISIC)
    twice = tmp_path / "isic_2020/challenge-2020-training_metadata_2022-06-29(1).csv"
    trees.table(twice, "isic_id", ["ISIC_0100001"])
    result = prepare(PREPARATION, tmp_path)
    said = "isic_2020: challenge-2020-training_metadata_2022-06-29.csv is read, "
    assert f"{said}challenge-2020-training_metadata_2022-06-29(1).csv not." in result.lines and len(result.table) == 4


def test_tables_without_an_answer_are_refused(tmp_path):
    trees.table(tmp_path / "isic_2020/train.csv", "image_name,patient_id", ["ISIC_1,IP_1"])
    trees.image(tmp_path / "isic_2020/train/ISIC_1.jpg", 1)
    with pytest.raises(ManifestError, match="benign_malignant or diagnosis_1 or target; there are image_name"):
        prepare(PREPARATION, tmp_path)


def test_a_sheet_of_ph2_without_its_columns_is_refused(tmp_path):
    trees.ph2(tmp_path, [("IMD003", "common")])
    import openpyxl

    book = openpyxl.load_workbook(tmp_path / "ph2/PH2_dataset.xlsx")
    assert book.active is not None
    book.active["A13"] = "Name"
    book.save(tmp_path / "ph2/PH2_dataset.xlsx")
    with pytest.raises(ManifestError, match=r"PH2_dataset\.xlsx: 'Image Name'"):
        prepare(PREPARATION, tmp_path)


def ham_of_many(tmp_path, lesions=60):
    """Two images a lesion, all diagnoses."""
    names = list(HAM_DIAGNOSES)
    rows = [(f"HAM_{i // 2:03d}", f"ISIC_{i:07d}", names[i // 2 % 7], "rosendahl") for i in range(2 * lesions)]
    trees.ham10000(tmp_path, rows)
    return prepare(PREPARATION, tmp_path, decode=False).table


def test_mended_held_out_subclasses_are_absent_from_training(tmp_path):
    # The reference compared with one string "bkl,akiec", which no diagnosis is: nothing was held out.
    rows, _ = with_reference_splits(PREPARATION, ham_of_many(tmp_path), "ham10000_subclass")
    rows, _ = only(rows, dermoscopy.TRAINING_SETS["ham10000_subclass"])
    held = rows["subclass"].isin(["bkl", "akiec"])
    assert held.sum() == 2 * (9 + 9) and set(rows["split"][held]) == {"manif_bkl_akiec"}
    assert set(rows["split"][~held]) == {"train", "val", "iid_test"}
    assert set(rows["shift_kind"][held]) == {"manifestation"} and set(rows["shift_kind"][~held]) == {""}


def test_seven_diagnoses_as_classes(tmp_path):
    rows, _ = only(ham_of_many(tmp_path), dermoscopy.TRAINING_SETS["ham10000_multiclass"])
    assert set(rows["label"]) == set(HAM_DIAGNOSES) and set(rows["default_label"]) == {"benign", "malignant"}


def test_mended_classes_mean_what_their_names_say():
    assert PREPARATION.classes[1] == "malignant"
    malignant = {dx for dx, label in HAM_DIAGNOSES.items() if label == "malignant"}
    assert malignant == {"mel", "bcc", "akiec"}


def test_a_held_out_hospital_takes_its_other_sources_along(tmp_path):
    trees.ham10000(tmp_path, HAM)
    vienna = "ViDIR Group, Department of Dermatology, Medical University of Vienna"
    trees.isic_2020(tmp_path, [*ISIC, ("ISIC_0100009", "IP_9", "benign", vienna)])
    table = prepare(PREPARATION, tmp_path).table
    held = table["domain"][set_names(table, dermoscopy.TRAINING_SETS["but_vienna"]) == "acq_vienna"]
    assert set(held) == {"vienna", "vidir_modern", "vienna_dias"}
