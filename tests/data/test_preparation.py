"""What all preparations share: nothing lost unsaid, one row an image, patients united, and going on after a stop."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from raw_trees import image, table, truncate

from sfjax.data.findings import Findings, ManifestError
from sfjax.data.manifest import read_table
from sfjax.data.preparation import PREPARATIONS, finish
from sfjax.data.preparation.base import Account, HoldOut, Needed, Preparation, TrainingSet
from sfjax.data.preparation.finish import absent_sources, located, prepare
from sfjax.data.preparation.originals import describe, files_by_name, found, read_original, with_standard
from sfjax.data.preparation.training_sets import (
    draw,
    only,
    overview,
    set_names,
    study_splits,
    with_reference_splits,
)
from sfjax.shifts import SHIFTS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/preparation.json").read_text())


def rows_of(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    """A table of (path, label, patient, source), with another path's key where a path is PATH@KEY."""
    paths = [row[0].partition("@") for row in rows]
    columns = {
        "image_path": [path for path, _, _ in paths],
        "label": [row[1] for row in rows],
        "domain": "",
        "subclass": "",
        "patient_id": [row[2] for row in rows],
        "source": [row[3] for row in rows],
        "image_key": [key or path for path, _, key in paths],
    }
    return pd.DataFrame(columns).astype(object)


def preparation_of(rows: pd.DataFrame, *, read: int | None = None) -> Preparation:
    def tables(raw, account, progress):
        for source, part in rows.groupby("source", sort=False):
            account.read(str(source), len(part))
        if read is not None:
            account.rows[str(rows["source"].iloc[0])] = read
        return rows

    return Preparation("toy", "Toy", ("a", "b"), {"s": (Needed("**/*.jpg|**/*.png|a.npz", "", ""),)}, tables)


def prepared(raw: Path, rows: pd.DataFrame, **options):
    return prepare(preparation_of(rows), raw, **options)


# ---- what is left out, and that it is said


def test_missing_truncated_and_unreadable_images_are_left_out_and_counted(tmp_path):
    image(tmp_path / "x/1.jpg", 1)
    truncate(image(tmp_path / "x/2.jpg", 2))
    (tmp_path / "x/4.jpg").write_bytes(b"no picture")
    rows = rows_of(*((f"x/{i}.jpg", "a", f"p{i}", "s") for i in (1, 2, 3, 4)), ("y/5.jpg", "a", "p5", "s"))
    result = prepared(tmp_path, rows)
    assert result.table["image_path"].tolist() == ["x/1.jpg"]
    said = "s: 5 rows read, 1 kept; 2 image missing (x/3.jpg, y/5.jpg); 2 image unreadable (x/2.jpg, x/4.jpg)"
    assert result.lines == [said]


def test_without_decoding_a_truncated_image_stays_and_content_still_counts_once(tmp_path):
    truncate(image(tmp_path / "1.jpg", 1))
    image(tmp_path / "2.jpg", 2)
    image(tmp_path / "3.jpg", 2)
    rows = rows_of(*((f"{i}.jpg", "a", f"p{i}", "s") for i in (1, 2, 3)))
    assert prepared(tmp_path, rows, decode=False).table["image_path"].tolist() == ["1.jpg", "2.jpg"]


def test_a_row_that_a_preparation_drops_in_silence_is_an_error(tmp_path):
    image(tmp_path / "1.jpg", 1)
    with pytest.raises(RuntimeError, match="2 rows read, 1 kept"):
        prepare(preparation_of(rows_of(("1.jpg", "a", "p", "s")), read=2), tmp_path)


def test_mended_one_row_an_image_by_identifier(tmp_path):
    # The reference's table had one row up to four times, next to each other.
    image(tmp_path / "1.jpg", 1)
    image(tmp_path / "2.jpg", 2)
    rows = rows_of(*[("1.jpg", "a", "p", "s")] * 4, ("2.jpg", "b", "q", "s"))
    result = prepared(tmp_path, rows)
    assert result.table["image_path"].tolist() == ["1.jpg", "2.jpg"]
    assert result.lines == ["s: 5 rows read, 2 kept; 3 row again (1.jpg, 1.jpg, 1.jpg)"]


def test_mended_one_row_an_image_by_content(tmp_path):
    for name, content in (("1.jpg", 1), ("2.jpg", 2), ("copy.jpg", 1)):
        image(tmp_path / name, content)
    rows = rows_of(("1.jpg", "a", "p", "s"), ("2.jpg", "b", "q", "s"), ("copy.jpg", "a", "p", "t"))
    result = prepared(tmp_path, rows)
    assert result.table["image_path"].tolist() == ["1.jpg", "2.jpg"]
    assert result.lines[1] == "t: 1 rows read, 0 kept; 1 image again under another name (copy.jpg)"


def test_an_image_whose_rows_contradict_each_other_is_left_out_whole(tmp_path):
    for name, content in (("1.jpg", 1), ("2.jpg", 2), ("3.jpg", 2), ("4.jpg", 4)):
        image(tmp_path / name, content)
    rows = rows_of(
        ("1.jpg@k", "a", "p", "s"),
        ("1.jpg@k", "b", "p", "t"),
        ("2.jpg", "a", "q", "s"),
        ("3.jpg", "b", "q", "s"),
        ("4.jpg", "a", "r", "s"),
    )
    result = prepared(tmp_path, rows)
    assert result.table["image_path"].tolist() == ["4.jpg"]
    assert sum("label contradicted by another row" in line for line in result.lines) == 2


def test_nothing_left_is_an_error_that_says_why(tmp_path):
    image(tmp_path / "other.jpg", 1)
    with pytest.raises(ValueError, match=r"No image of toy is left\. s: 1 rows read, 0 kept; 1 image missing"):
        prepared(tmp_path, rows_of(("1.jpg", "a", "p", "s")))


def test_an_image_of_several_files_needs_them_all_and_their_order_counts(tmp_path):
    for name, content in (("1.png", 1), ("2.png", 2)):
        image(tmp_path / name, content, gray=True)
    rows = rows_of(("1.png;2.png", "a", "p", "s"), ("2.png;1.png", "b", "q", "s"), ("1.png;3.png", "a", "r", "s"))
    result = prepared(tmp_path, rows)
    assert result.table["image_path"].tolist() == ["1.png;2.png", "2.png;1.png"]
    assert "1 image missing (1.png;3.png)" in result.lines[0]


# ---- patients


def test_patients_of_two_sources_who_share_an_image_are_one(tmp_path):
    for i in (1, 2, 3, 4, 5):
        image(tmp_path / f"{i}.jpg", i)
    image(tmp_path / "2_again.jpg", 2)
    rows = rows_of(
        ("1.jpg@k", "a", "s:7", "s"),
        ("2.jpg", "a", "s:8", "s"),
        ("missing.jpg@k", "a", "t:7", "t"),  # the same image by its identifier, though its file is not there
        ("3.jpg", "a", "t:7", "t"),
        ("2_again.jpg", "a", "t:9", "t"),  # the same image by its content
        ("4.jpg", "b", "t:9", "t"),
        ("5.jpg", "b", "t:8", "t"),  # an equal number, another person
    )
    result = prepared(tmp_path, rows)
    patients = dict(zip(result.table["image_path"], result.table["patient_id"], strict=True))
    assert patients == {"1.jpg": "s:7", "2.jpg": "s:8", "3.jpg": "s:7", "4.jpg": "s:8", "5.jpg": "t:8"}
    assert any("t:7 is s:7" in line for line in result.lines) and any("t:9 is s:8" in line for line in result.lines)


def test_blank_patients_are_not_united(tmp_path):
    for i in (1, 2):
        image(tmp_path / f"{i}.jpg", i)
    result = prepared(tmp_path, rows_of(("1.jpg", "a", "", "s"), ("2.jpg", "b", "", "s")))
    assert result.table["patient_id"].tolist() == ["", ""] and len(result.lines) == 1


# ---- stopped and continued


def test_a_stopped_preparation_goes_on_where_it_was(tmp_path, monkeypatch):
    for i in range(6):
        image(tmp_path / f"{i}.jpg", i)
    rows = rows_of(*((f"{i}.jpg", "a", f"p{i}", "s") for i in range(6)))
    decoded: list[str] = []
    decode_images = finish.decode_images

    def counted(paths, **options):
        decoded.extend(Path(path).name for path in paths)
        return decode_images(paths, **options)

    monkeypatch.setattr(finish, "decode_images", counted)
    monkeypatch.setattr(finish, "_AT_A_TIME", 2)

    def interrupt(what, done, total):
        if "decoding" in what and done == 4:
            raise KeyboardInterrupt

    cache = tmp_path / "m.files.parquet"
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path, rows, cache=cache, progress=interrupt)
    assert decoded == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    decoded.clear()
    result = prepared(tmp_path, rows, cache=cache)
    assert decoded == ["4.jpg", "5.jpg"]
    pd.testing.assert_frame_equal(result.table, prepared(tmp_path, rows).table)
    decoded.clear()
    truncate(tmp_path / "3.jpg")  # a file that has changed is looked at again
    assert len(prepared(tmp_path, rows, cache=cache).table) == 5
    assert decoded == ["3.jpg"]


def test_files_that_were_only_read_are_decoded_later(tmp_path):
    truncate(image(tmp_path / "1.jpg", 1))
    image(tmp_path / "2.jpg", 2)
    rows = rows_of(("1.jpg", "a", "p", "s"), ("2.jpg", "a", "q", "s"))
    cache = tmp_path / "cache.parquet"
    assert len(prepared(tmp_path, rows, cache=cache, decode=False).table) == 2
    assert len(prepared(tmp_path, rows, cache=cache).table) == 1
    assert len(prepared(tmp_path, rows, cache=cache, decode=False).table) == 2


def test_a_cache_that_is_none_is_not_overwritten(tmp_path):
    image(tmp_path / "1.jpg", 1)
    (tmp_path / "cache.parquet").write_text("mine")
    with pytest.raises(ValueError, match=r"is not the cache of a preparation .*Remove or rename it"):
        prepared(tmp_path, rows_of(("1.jpg", "a", "p", "s")), cache=tmp_path / "cache.parquet")
    assert (tmp_path / "cache.parquet").read_text() == "mine"


# ---- reading originals


def test_tables_with_gzip_byte_order_mark_windows_lines_and_trailing_commas(tmp_path):
    for compress in (False, True):
        path = table(tmp_path / "t.csv.gz", "a,b,", ["1,é,", ""], windows=True, compress=compress)
        rows = read_original(path, ["a"])
        assert rows.columns.tolist() == ["a", "b"] and rows.iloc[0].tolist() == ["1", "é"] and len(rows) == 1


def test_a_truncated_gzip_is_an_unreadable_table(tmp_path):
    path = table(tmp_path / "t.csv.gz", "a,b", [f"{i},{i * i}" for i in range(1000)], compress=True)
    truncate(path)
    with pytest.raises(ManifestError, match=r"unreadable table .*\n.*t\.csv\.gz: EOFError"):
        read_table(path, Findings("t"))


def test_a_column_without_a_name_that_holds_something_is_kept(tmp_path):
    assert read_original(table(tmp_path / "t.csv", ",a", ["7,x"]), [])["unnamed"].tolist() == ["7"]


def test_missing_columns_and_ragged_rows_name_the_file_and_the_row(tmp_path):
    with pytest.raises(ManifestError, match=r"column missing .*\n.*t\.csv: 'dx'; there are a, b"):
        read_original(table(tmp_path / "t.csv", "a,b", ["1,2"]), ["dx"])
    with pytest.raises(ManifestError, match=r"t\.csv row 3: 3 fields, header has 2"):
        read_original(table(tmp_path / "t.csv", "a,b", ["1,2", "1,2,3"]), [])


def test_original_columns_with_our_names_are_kept_under_another():
    rows = pd.DataFrame({"split": ["train"], "source": ["x"], "age": ["7"]})
    result = with_standard(rows, {"source": "s", "domain": ["d"]})
    assert result.iloc[0].to_dict() == {
        "source": "s",
        "domain": "d",
        "original_split": "train",
        "original_source": "x",
        "age": "7",
    }


def test_of_two_files_with_one_name_the_first_path_counts(tmp_path):
    image(tmp_path / "x/b/1.JPG", 1)
    image(tmp_path / "x/a/1.JPG", 1)
    (tmp_path / "x/a/2.txt").write_text("")
    assert files_by_name(tmp_path, tmp_path / "x", (".jpg",)) == {"1.JPG": "x/a/1.JPG"}


def test_found_takes_the_first_alternative_and_its_latest_file(tmp_path):
    for name in ("b/t_2020.csv", "b/t_2021.csv", "c/t_2022.csv"):
        table(tmp_path / name, "a", ["1"])
    assert found(tmp_path, Needed("a/t*.csv|b/t*.csv|c/t*.csv", "", "")) == tmp_path / "b/t_2021.csv"
    assert found(tmp_path, Needed("a/t*.csv", "", "")) is None


@pytest.mark.parametrize("name", PREPARATIONS)
def test_an_empty_folder_is_told_every_file_with_size_and_access(name, tmp_path):
    with pytest.raises(ValueError, match=f"No original of {name} is below") as error:
        absent_sources(PREPARATIONS[name], tmp_path)
    for source, needs in PREPARATIONS[name].needed.items():
        for needed in needs:
            assert f"{source}: {describe(needed)}" in str(error.value)
            assert needed.size and needed.access and needed.path.split("|")[0] in str(error.value)


@pytest.mark.parametrize("name", PREPARATIONS)
def test_training_sets_are_named_as_they_are_keyed_and_corrupted_by_shifts_that_exist(name):
    for key, chosen in PREPARATIONS[name].training_sets.items():
        assert key == chosen.name and set(chosen.corruptions) <= set(SHIFTS)
        names = [hold_out.name for hold_out in chosen.hold_out]
        assert len(names) == len(set(names))


# ---- training sets and splits


def test_draws_are_the_references():
    assert draw(10, 0.8).tolist() == GOLDEN["choice(10,8)"]
    assert draw(1000, 0.8)[:10].tolist() == GOLDEN["choice(1000,800) first 10"]


def many(count: int) -> pd.DataFrame:
    """Two images a patient, three domains, two labels."""
    patients = np.repeat(np.arange(count), 2)
    return pd.DataFrame(
        {
            "image_path": [f"{i}.jpg" for i in range(2 * count)],
            "label": np.where(patients % 2 == 0, "a", "b"),
            "kind": np.where(patients % 3 == 0, "u", "v"),
            "domain": [("x", "y", "z")[patient % 5 % 3] for patient in patients],
            "subclass": "",
            "patient_id": [f"s:{patient}" for patient in patients],
            "source": "s",
        }
    ).astype(object)


HELD = TrainingSet("t", pool="domain=x|y", hold_out=(HoldOut("y", "acquisition", "domain=y"),))


def splitting(chosen: TrainingSet) -> Preparation:
    sets = {chosen.name: chosen}
    reference = lambda rows, name: study_splits(rows, sets[name], 0.8)  # noqa: E731
    return Preparation("toy", "Toy", (), {}, lambda *_: pd.DataFrame(), sets, reference)


def test_the_study_numbers_patients_in_order_of_first_appearance():
    rows = many(10)
    splits = study_splits(rows, TrainingSet("all"), 0.8)
    training = {f"s:{i}" for i in GOLDEN["choice(10,8)"]}
    assert set(rows["patient_id"][splits == "train"]) == training
    assert set(rows["patient_id"][splits == "iid_test"]) == {"s:8", "s:9"}
    renamed = rows.assign(patient_id=rows["patient_id"].map({f"s:{i}": f"t:{9 - i}" for i in range(10)}))
    assert study_splits(renamed, TrainingSet("all"), 0.8).tolist() == splits.tolist()


def test_mended_validation_is_disjoint_from_test_by_patient():
    rows, lines = with_reference_splits(splitting(HELD), many(100), "t")
    by_split = {split: set(part["patient_id"]) for split, part in rows.groupby("split")}
    assert set(by_split) == {"train", "val", "iid_test", "acq_y", ""}
    drawn = study_splits(many(100), HELD, 0.8)
    assert by_split["iid_test"] == set(many(100)["patient_id"][drawn == "iid_test"])
    assert by_split["train"] | by_split["val"] == set(many(100)["patient_id"][drawn == "train"])
    for a in by_split:
        for b in set(by_split) - {a}:
            assert not by_split[a] & by_split[b]
    assert 0.15 < len(by_split["val"]) / len(by_split["train"] | by_split["val"]) < 0.25
    assert set(rows["label"][rows["split"] == "val"]) == {"a", "b"}
    assert set(rows["shift_kind"][rows["split"] == "acq_y"]) == {"acquisition"} and "val is a fifth" in lines[0]


def test_training_has_no_patient_of_a_held_out_image():
    rows = many(100)
    rows.loc[0, "domain"] = "y"  # the other image of this patient stays in x
    rows.loc[1, "domain"] = "x"
    rows["patient_id"] = rows["patient_id"].replace("s:0", "s:00")
    result, lines = with_reference_splits(splitting(HELD), rows, "t")
    held = set(result["patient_id"][result["split"] == "acq_y"])
    assert not held & set(result["patient_id"][result["split"].isin(["train", "val"])])
    assert result["split"][1] == "held_out_patients" and "1 images of held-out patients" in lines[-1]


def test_only_the_pool_stays_and_its_label_column_is_the_class():
    rows, lines = only(many(10), HELD._replace(label="kind"))
    assert set(rows["domain"]) == {"x", "y"} and set(rows["label"]) == {"u", "v"}
    assert rows["default_label"].tolist() == many(10)["label"][rows.index].tolist()
    assert lines == [f"t: {20 - len(rows)} images of other sources are not in it."]


def test_a_row_is_held_out_for_the_first_set_that_it_fits():
    holds = (HoldOut("y", "acquisition", "domain=y"), HoldOut("u", "manifestation", "kind=u"))
    rows = many(20)
    names = set_names(rows, TrainingSet("t", hold_out=holds))
    assert set(names[rows["domain"] == "y"]) == {"acq_y"}
    assert set(names[(rows["domain"] != "y") & (rows["kind"] == "u")]) == {"manif_u"}


def test_the_overview_names_sets_without_an_image():
    holds = (HoldOut("w", "acquisition", "domain=w"), HoldOut("y", "acquisition", "domain=y"))
    chosen = TrainingSet("t", pool="kind=u", hold_out=holds, label="kind")
    rows = many(10)
    source, w, y = overview(rows, chosen, set_names(rows, chosen))
    assert (w["set"], w["images"], w["classes"]) == ("acq_w", 0, {})
    # Patients 0, 3, 6, 9 are u; of their domains x, x, y, y (0, 3, 1, 4 -> 0, 0, 1, 1), two images each.
    assert source == {"set": "source", "images": 4, "patients": 2, "classes": {"u": 4}}
    assert (y["set"], y["images"], y["patients"]) == ("acq_y", 4, 2)


def test_an_array_file_counts_each_of_its_images(tmp_path):
    arrays = np.random.default_rng(0).integers(0, 256, (3, 9, 9)).astype(np.uint8)
    arrays[2] = arrays[0]
    np.savez(tmp_path / "a.npz", x=arrays)
    rows = rows_of(*((f"a.npz::x::{i}", "a", f"p{i}", "s") for i in range(4)), ("b.npz::x::0", "a", "q", "s"))
    for decode in (True, False):
        result = prepared(tmp_path, rows, decode=decode)
        assert result.table["image_path"].tolist() == ["a.npz::x::0", "a.npz::x::1"]
        assert "1 image missing (b.npz::x::0)" in result.lines[0]
        assert "1 image again under another name (a.npz::x::2)" in result.lines[0]
    assert located(rows, tmp_path, tmp_path.parent)[0]["image_path"][0] == f"{tmp_path.name}/a.npz::x::0"


def test_hashes_are_the_same_with_and_without_decoding(tmp_path):
    for i in (1, 2):
        image(tmp_path / f"{i}.png", i, gray=True)
    paths = ["1.png", "1.png;2.png"]
    read = finish._hashed(tmp_path, [finish.Seen(path, "") for path in paths], None)
    decoded = finish._decoded(tmp_path, [finish.Seen(path, "") for path in paths], None)
    assert [one.sha256 for one in read] == [one.sha256 for one in decoded]


def test_unknown_training_sets_and_tasks_without_a_draw_are_told():
    with pytest.raises(ValueError, match=r"toy has no training set 'x'\. There are t\."):
        with_reference_splits(splitting(HELD), many(10), "x")
    with pytest.raises(ValueError, match="draws no splits of histopathology"):
        with_reference_splits(PREPARATIONS["histopathology"], many(10), "all")


def test_paths_are_relative_to_the_manifest_where_they_can_be(tmp_path):
    rows = pd.DataFrame({"image_path": ["x/1.png;x/2.png"]})
    assert located(rows, tmp_path / "raw", tmp_path)[0]["image_path"][0] == "raw/x/1.png;raw/x/2.png"
    assert located(rows, tmp_path, tmp_path)[0]["image_path"][0] == "x/1.png;x/2.png"
    outside, relative = located(rows, tmp_path / "raw", tmp_path / "elsewhere")
    assert outside["image_path"][0].startswith(f"{tmp_path}/raw/x/1.png;") and not relative


def test_an_account_adds_up():
    account = Account()
    account.read("s", 2)
    account.read("s", 1)
    account.lose("s", "gone", ["x"])
    account.lose("s", "gone", [])
    assert account.lines({"s": 2}) == ["s: 3 rows read, 2 kept; 1 gone (x)"]
    with pytest.raises(RuntimeError):
        account.lines({"s": 3})
