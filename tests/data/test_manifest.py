import numpy as np
import pandas as pd
import pytest

from sfjax.data.findings import Findings, ManifestError
from sfjax.data.manifest import STANDARD_COLUMNS, class_order, read_manifest, read_table


def read(path, **options):
    findings = Findings(path.name)
    return read_manifest(path, findings, **options), findings


def message(findings: Findings) -> str:
    with pytest.raises(ManifestError) as error:
        findings.raise_faults()
    return str(error.value)


def test_csv_with_byte_order_mark_windows_line_ends_and_unicode(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes('\ufeffimage_path,label,note\r\nBücher/図 1.png, nævus ,"a, ""b"""\r\n'.encode())
    table, findings = read(path)
    assert table.columns.tolist() == ["row", *STANDARD_COLUMNS, "note"]
    assert table.iloc[0][["row", "image_path", "label", "note"]].tolist() == [2, "Bücher/図 1.png", "nævus", 'a, "b"']
    assert table.iloc[0]["split"] == table.iloc[0]["patient_id"] == "" and table["loss_weight"][0] == 1.0
    assert not findings.faults and not findings.notes


def test_blank_lines_are_left_out_and_counted(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("image_path,label\na.png,x\n\n,\nb.png,y\n")
    assert read(path)[0]["row"].tolist() == [2, 5]


def test_parquet_gives_what_csv_gives(tmp_path):
    frame = pd.DataFrame(
        {
            "image_path": ["a.png", "b.png", "c.png"],
            "label": [0, 1, 1],
            "patient_id": [7, None, 9],  # a float column, as pandas makes of integers with a gap
            "domain": ["x", None, "x"],
            "age": [50.5, np.nan, 60.0],
            "loss_weight": [1.0, 2.0, 0.0],
        }
    )
    frame.to_csv(tmp_path / "m.csv", index=False)
    frame.to_parquet(tmp_path / "m.parquet")
    from_csv, _ = read(tmp_path / "m.csv")
    from_parquet, _ = read(tmp_path / "m.parquet")
    pd.testing.assert_frame_equal(from_csv, from_parquet)
    assert from_csv["patient_id"].tolist() == ["7", "", "9"]
    assert from_csv["label"].tolist() == ["0", "1", "1"]


def test_one_patient_written_as_integer_and_as_float(tmp_path):
    (tmp_path / "m.csv").write_text("image_path,label,patient_id\na,x,7\nb,x,7.0\nc,x,\n")
    assert read(tmp_path / "m.csv")[0]["patient_id"].tolist() == ["7", "7", ""]


def test_identifiers_keep_their_zeros_and_other_columns_become_numbers(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("image_path,label,patient_id,site,dose,uid\na,x,007,01,1.5,1.2.3\nb,none,7,02,,4\n")
    table, _ = read(path)
    assert table["patient_id"].tolist() == ["007", "7"]
    assert table["label"].tolist() == ["x", "none"]  # a word, not a blank
    assert table["site"].tolist() == ["01", "02"]
    assert table["uid"].tolist() == ["1.2.3", "4"]
    np.testing.assert_array_equal(table["dose"], [1.5, np.nan])


def test_columns_are_mapped_and_displaced_ones_kept(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("file,dx,split,fold,sha256,row\na,x,,train,ab,1\n")
    table, _ = read(path, columns={"image_path": "file", "label": "dx", "split": "fold"})
    values = table.iloc[0]
    assert [values[name] for name in ("image_path", "label", "split", "dx", "fold")] == [
        "a",
        "x",
        "train",
        "x",
        "train",
    ]
    assert values["manifest_split"] == "" and values["manifest_sha256"] == "ab" and values["manifest_row"] == 1
    assert values["row"] == 2


def test_paths_of_windows_are_normalized(tmp_path):
    (tmp_path / "m.csv").write_text("image_path,label\nimages\\a.png,x\n./images//b.png,x\n")
    assert read(tmp_path / "m.csv")[0]["image_path"].tolist() == ["images/a.png", "images/b.png"]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (
            b"image_path;label\na;x\n",
            ["column missing", "'image_path'", "there are image_path;label", "--label-column"],
        ),
        (b"image_path,diagnosis\na,x\n", ["column missing", "'label'", "there are image_path, diagnosis"]),
        (b"image_path,label\n", ["no rows"]),
        (b"", ["unreadable table", "empty"]),
        (b"image_path,label,label\na,x,y\n", ["unreadable table", "names label twice"]),
        ("image_path,label\na,nævus\n".encode("latin-1"), ["unreadable table", "utf-8"]),
        (b'image_path,label\n"a,x\n', ["unreadable table", "unexpected end"]),
        (b"PAR1 and nothing else", ["unreadable table"]),
    ],
)
def test_unusable_tables(tmp_path, content, parts):
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(ManifestError) as error:
        read(path)
    assert all(part in str(error.value) for part in ["m.csv", *parts])


def test_missing_table(tmp_path):
    with pytest.raises(ManifestError, match=r"unreadable table[\s\S]*m\.csv: FileNotFoundError"):
        read_table(tmp_path / "m.csv", Findings("m.csv"))


def test_rows_of_a_wrong_length_and_unusable_weights_are_collected(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("image_path,label,loss_weight\na,x,1,2\nb,x,-1\nc,x,nan\nd,x,heavy\ne,x,inf\nf,x,\n")
    table, findings = read(path)
    text = message(findings)
    assert "ragged row (1)" in text and "m.csv row 2: 4 fields, header has 3" in text
    assert "unusable loss_weight (4)" in text
    assert all(part in text for part in ["row 3: '-1'", "row 4: 'nan'", "row 5: 'heavy'", "row 6: 'inf'"])
    assert table["loss_weight"].iloc[-1] == 1.0


def test_unknown_standard_name(tmp_path):
    (tmp_path / "m.csv").write_text("image_path,label\na,x\n")
    with pytest.raises(ValueError, match="No standard column is named patient"):
        read(tmp_path / "m.csv", columns={"patient": "pid"})
    with pytest.raises(ManifestError, match=r"column missing[\s\S]*'pid'; there are image_path, label"):
        read(tmp_path / "m.csv", columns={"patient_id": "pid"})


def test_metadata_fills_blanks_and_adds_columns(tmp_path):
    (tmp_path / "m.csv").write_text("image_path,label,domain,site\na,x,,s\nb,y,two,s\nc,y,,s\n")
    (tmp_path / "d.csv").write_text("image_path,domain,subclass,age,site\n./b,two,q,30,s\na,one,p,20,other\nz,,r,1,s\n")
    table, findings = read(tmp_path / "m.csv", metadata=[tmp_path / "d.csv"])
    assert table["domain"].tolist() == ["one", "two", ""]
    assert table["subclass"].tolist() == ["p", "q", ""]
    assert table["site"].tolist() == ["s", "s", "s"]
    np.testing.assert_array_equal(table["age"], [20, 30, np.nan])
    assert not findings.faults
    assert findings.notes == [
        "d.csv has no row for 1 images of the manifest: rows 4.",
        "d.csv has 1 rows for images that the manifest does not have; they are not used.",
        "d.csv differs from the manifest in site for 1 images; not used there.",
    ]


def test_metadata_in_parquet_under_mapped_names(tmp_path):
    (tmp_path / "m.csv").write_text("image_path,label,patient_id\na,x,\nb,y,\n")
    more = pd.DataFrame({"file": ["b", "a"], "image_path": ["no", "no"], "lesion": [12, 11], "patient_id": [1.0, None]})
    more.to_parquet(tmp_path / "d.parquet")
    columns = {"image_path": "file", "patient_id": "lesion"}
    table, _ = read(tmp_path / "m.csv", metadata=[tmp_path / "d.parquet"], columns=columns)
    assert table["patient_id"].tolist() == ["11", "12"]
    assert table["image_path"].tolist() == ["a", "b"]


def test_faults_of_metadata(tmp_path):
    (tmp_path / "m.csv").write_text("image_path,label\na,x\nb,y\n")
    (tmp_path / "d.csv").write_text("image_path,label\na,x\nb,z\na,x\n")
    (tmp_path / "e.csv").write_text("image_path,age\nimages/a,1\n")
    _, findings = read(tmp_path / "m.csv", metadata=[tmp_path / "d.csv", tmp_path / "e.csv"])
    text = message(findings)
    assert "metadata contradicts manifest (1)" in text and "d.csv row 3: label of b is 'z', in the manifest 'y'" in text
    assert "metadata key twice (1)" in text and "d.csv row 4: a" in text
    assert "metadata without a match (1)" in text and "e.csv: not one image_path" in text and "images/a" in text


def test_class_order():
    assert class_order(["b", "a", "b"]) == ("a", "b")
    assert class_order(["10", "9", "-1"]) == ("-1", "9", "10")
    assert class_order(["10", "9", "x"]) == ("10", "9", "x")
