"""Tables of costs as people write them, and everything that may be wrong with one."""

import numpy as np
import pytest

from sfjax.data.costs import load_costs

CLASSES = ("nevus", "melanoma", "7")


@pytest.fixture
def load(tmp_path):
    def write_and_load(content: str | bytes, classes=CLASSES, found=CLASSES):
        path = tmp_path / "costs.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_costs(path, classes, found)

    return write_and_load


def test_order_free_and_with_classes_that_the_classifier_does_not_know(load):
    text = "true,7,nevus,melanoma\nscar,.5,5,1e1\nmelanoma,3,20,0\n7,0,1.5,2\n\nnevus,4,0,1\nwart,6,6,6\n"
    costs, names = load(text, found=["nevus", "wart", "nevus"])
    assert names == ("nevus", "melanoma", "7", "scar", "wart")
    assert costs.dtype == np.float64
    assert costs.tolist() == [[0, 1, 4], [20, 0, 3], [1.5, 2, 0], [5, 10, 0.5], [6, 6, 6]]


def test_byte_order_mark_windows_line_ends_quotes_and_blanks(load):
    content = '\ufeff"true, predicted",nævus,"a, b"\r\nnævus , 0, 2\r\n"a, b",1,0.0\r\n,,\r\n'.encode()
    costs, names = load(content, ["nævus", "a, b"], ["nævus"])
    assert names == ("nævus", "a, b") and costs.tolist() == [[0, 2], [1, 0]]


def test_all_faults_at_once(load):
    text = (
        "true,nevus,melonoma,7,7,\n"
        "nevus,3,1,1,1,1\n"
        "melanoma,-1,nan,1e999,\"0,5\",\n"
        "melanoma,1,1\n"
        ",1,1,1,1,1_0\n"
    )  # fmt: skip
    with pytest.raises(ValueError) as error:
        load(text, found=["scar", "nevus"])
    lines = str(error.value).splitlines()
    assert lines[0].startswith("costs.csv: 15 faults to correct in the table of costs.")
    assert lines[1:] == [
        "  - several columns for 7: keep one of them",
        "  - 1 of the columns have no name: fill in the class",
        "  - several rows for melanoma: keep one of them",
        "  - 1 of the rows have no name: fill in the class",
        "  - no column for melanoma, which the classifier predicts: add it",
        "  - the classifier does not predict melonoma: correct the name or remove the column",
        "  - no row for the true class 7, scar: add it",
        "  - row 2, column nevus: being right costs 0, not 3",
        "  - row 3, column nevus: '-1' is no finite number from 0 up",
        "  - row 3, column melonoma: 'nan' is no finite number from 0 up",
        "  - row 3, column 7: '1e999' is no finite number from 0 up",
        "  - row 3, column 7: '0,5' is no finite number from 0 up",
        "  - row 3, column : '' is no finite number from 0 up",
        "  - row 4: 3 fields, header has 6",
        "  - row 5, column : '1_0' is no finite number from 0 up",
    ]


def test_a_label_of_the_images_needs_a_row(load):
    with pytest.raises(ValueError, match=r"1 fault to correct[\s\S]*no row for the true class wart: add it"):
        load("true,nevus\nnevus,0\n", ["nevus"], ["wart"])


@pytest.mark.parametrize("content", ["", "\n\n", "true,nevus\n"])
def test_a_table_without_rows(load, content):
    with pytest.raises(ValueError, match="it has no rows"):
        load(content, ["nevus"], [])


@pytest.mark.parametrize("content", [b"true,n\xe6vus\nx,0\n", b'true,"nevus\nx,0\n'])
def test_a_file_that_cannot_be_read(load, content):
    with pytest.raises(ValueError, match=r"costs.csv: 1 fault[\s\S]*no readable CSV file in UTF-8"):
        load(content, ["nevus"], [])


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"none.csv: 1 fault[\s\S]*No such file"):
        load_costs(tmp_path / "none.csv", ["a"], [])
