"""Histopathology from a miniature of CAMELYON17-WILDS."""

import raw_trees as trees

from sfjax.data.preparation.finish import prepare
from sfjax.data.preparation.histopathology import PREPARATION
from sfjax.data.preparation.training_sets import set_names

ROWS = [("004", 10, 1, 0), ("004", 20, 0, 0), ("010", 10, 0, 1), ("051", 30, 1, 2), ("072", 40, 0, 3), ("090", 5, 1, 4)]


def test_patches_with_hospital_patient_and_their_own_split(tmp_path):
    trees.camelyon17(tmp_path, ROWS)
    result = prepare(PREPARATION, tmp_path)
    assert result.lines == ["camelyon17_wilds: 6 rows read, 6 kept"]
    assert result.table["label"].tolist() == ["tumor", "normal", "normal", "tumor", "normal", "tumor"]
    assert result.table["domain"].tolist() == [f"hospital_{i}" for i in (0, 0, 1, 2, 3, 4)]
    assert result.table["patient_id"].nunique() == 5
    assert result.table["original_split"].tolist() == ["0", "1"] * 3 and result.table["unnamed"].tolist() == list(
        "012345"
    )


def test_zeros_that_a_spreadsheet_dropped(tmp_path):
    trees.camelyon17(tmp_path, ROWS)
    path = tmp_path / "camelyon17_v1.0/metadata.csv"
    path.write_text(path.read_text().replace(",004,", ",4,"))
    assert len(prepare(PREPARATION, tmp_path).table) == 6


def test_a_blank_answer_is_counted(tmp_path):
    trees.camelyon17(tmp_path, ROWS)
    path = tmp_path / "camelyon17_v1.0/metadata.csv"
    path.write_text(path.read_text().replace("0,004,1,10,64,1,", "0,004,1,10,64,,"))
    assert (
        "1 tumor is neither 0 nor 1 (patch_patient_004_node_1_x_10_y_64.png)" in prepare(PREPARATION, tmp_path).lines[0]
    )


def test_hospitals_held_out_as_in_wilds(tmp_path):
    trees.camelyon17(tmp_path, ROWS)
    table = prepare(PREPARATION, tmp_path).table
    sets = set_names(table, PREPARATION.training_sets["wilds"])
    assert sets.tolist() == ["source", "source", "acq_hospital_1", "acq_hospital_2", "source", "source"]
