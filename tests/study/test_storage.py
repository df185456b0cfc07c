import dataclasses
import json

import pandas as pd
import pytest

from sfjax.study import PRESETS, open_folder, storage
from sfjax.study.config import differences

TINY = PRESETS["tiny"].config


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "table.csv"
    storage.write_text(path, "old")

    def fail(file):
        file.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        storage.write(path, fail)
    assert path.read_text() == "old" and [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_tables_come_back_as_they_were(tmp_path):
    table = pd.DataFrame({"a": [1, 2], "b": ["x, y", 'q"'], "c": [0.1, float("nan")]})
    for suffix, read in (("parquet", pd.read_parquet), ("csv", pd.read_csv)):
        storage.write_table(tmp_path / f"t.{suffix}", table)
        pd.testing.assert_frame_equal(read(tmp_path / f"t.{suffix}"), table, check_dtype=False)


def test_a_folder_without_work_takes_a_corrected_configuration(tmp_path):
    open_folder(tmp_path / "run", TINY, command=["first"])
    changed = dataclasses.replace(TINY, seeds=(5,))
    open_folder(tmp_path / "run", changed, command=["second"])
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["seeds"] == [5]
    (tmp_path / "run" / "dermoscopy").mkdir()
    with pytest.raises(ValueError, match=r"seeds: \[5\] -> \[0\]"):
        open_folder(tmp_path / "run", TINY, command=["third"])


def test_foreign_folders_and_broken_configurations_are_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="holds no run"):
        open_folder(tmp_path, TINY, command=[])
    for foreign in ("{", '{"model_type": "bert"}', "[]"):
        (tmp_path / "config.json").write_text(foreign)
        with pytest.raises(ValueError, match="no configuration of a run"):
            open_folder(tmp_path, TINY, command=[])
        assert (tmp_path / "config.json").read_text() == foreign


def test_differences_are_named_with_their_path():
    assert differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}, "d": None}) == ["b.c: 2 -> 3"]
