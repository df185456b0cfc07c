"""LIDC-IDRI in miniature, as The Cancer Imaging Archive ships it: DICOM series with annotations in XML."""

import shutil

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from scipy import ndimage

from sfjax.data import decode_images, load_dataset
from sfjax.data.manifest import class_order
from sfjax.data.preparation import lung_ct, nodules
from sfjax.data.preparation.base import Account
from sfjax.data.preparation.ct_series import find_series
from sfjax.data.preparation.lidc_annotations import read_annotations

ORDINARY = {
    "subtlety": 4,
    "internalStructure": 1,
    "calcification": 6,
    "sphericity": 4,
    "margin": 4,
    "lobulation": 1,
    "spiculation": 1,
    "texture": 5,
    "malignancy": 3,
}
SPACING = (2.5, 2.0, 2.0)
SHAPE = (20, 24, 24)
LUNG, TISSUE = -850, 0


def distance(center_mm, spacing=SPACING, shape=SHAPE) -> np.ndarray:
    places = np.stack(np.meshgrid(*(np.arange(n) * step for n, step in zip(shape, spacing)), indexing="ij"))
    return np.linalg.norm(places - np.reshape(center_mm, (3, 1, 1, 1)), axis=0)


def ball(center_mm, radius_mm) -> np.ndarray:
    return distance(center_mm) <= radius_mm


def scan(*balls) -> np.ndarray:
    volume = np.full(SHAPE, LUNG, np.int16)
    for mask in balls:
        volume[mask] = TISSUE
    return volume


def write_series(folder, volume, uid="1.2.840.1", patient="LIDC-IDRI-0001", spacing=SPACING, modality="CT"):
    folder.mkdir(parents=True, exist_ok=True)
    for i, plane in enumerate(volume):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = f"{uid}.{i + 1}"
        data.SeriesInstanceUID, data.Modality, data.PatientID = uid, modality, patient
        data.PatientName, data.Manufacturer = "Curie^Marie", "SIEMENS "
        data.Rows, data.Columns, data.SamplesPerPixel = *plane.shape, 1
        data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
        data.RescaleSlope, data.RescaleIntercept = 1, -1400
        if modality == "CT":
            data.ImagePositionPatient = [-20, -30, -100 + spacing[0] * i]
            data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            data.PixelSpacing = list(spacing[1:])
        data.PixelData = (plane + 1400).astype("<u2").tobytes()
        data["PixelData"].VR = "OW"
        # Names of files do not follow the body.
        data.save_as(folder / f"1-{(i * 11) % len(volume) + 1:03d}.dcm", enforce_file_format=True)


def outline(mask: np.ndarray) -> list[tuple[int, int]]:
    """The first pixels outside of a disc, around it."""
    rows, columns = np.nonzero(ndimage.binary_dilation(mask) & ~mask)
    center = np.argwhere(mask).mean(axis=0)
    order = np.argsort(np.arctan2(rows - center[0], columns - center[1]))
    return [(int(columns[i]), int(rows[i])) for i in order]


def roi(i: int, points, uid="1.2.840.1", included="TRUE", step=SPACING[0]) -> str:
    edges = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>\n" for x, y in points)
    where = f"<imageZposition>{-100 + step * i} </imageZposition>\n<imageSOP_UID>{uid}.{i + 1}</imageSOP_UID>"
    return f"<roi>{where}<inclusion>{included}</inclusion>{edges}</roi>"


def marked(name: str, mask: np.ndarray, uid="1.2.840.1", step=SPACING[0], without=(), **ratings) -> str:
    rois = "".join(roi(i, outline(plane), uid, step=step) for i, plane in enumerate(mask) if plane.any())
    values = {**ORDINARY, **ratings}
    rated = "".join(f"<{key}>{value}</{key}>" for key, value in values.items() if key not in without)
    return (
        f"<unblindedReadNodule><noduleID>{name}</noduleID><characteristics>{rated}</characteristics>{rois}"
        "</unblindedReadNodule>\n"
    )


def point(name: str) -> str:
    return f"<unblindedReadNodule><noduleID>{name}</noduleID>{roi(5, [(4, 4)])}</unblindedReadNodule>"


NON_NODULE = "<nonNodule><nonNoduleID>none</nonNoduleID><imageZposition>-90</imageZposition></nonNodule>"


def annotations(sessions: list[str], uid="1.2.840.1") -> str:
    read = "".join(
        f"<readingSession><servicingRadiologistID>anon</servicingRadiologistID>{one}</readingSession>\n"
        for one in sessions
    )
    header = f"<ResponseHeader><Version>1.8.1</Version><SeriesInstanceUid>{uid}</SeriesInstanceUid></ResponseHeader>\n"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<LidcReadMessage xmlns="http://www.nih.gov">\n{header}{read}</LidcReadMessage>'


def series_folder(raw, patient="LIDC-IDRI-0001", name="3000566.000000-03192"):
    return raw / "lidc_idri/LIDC-IDRI" / patient / "01-01-2000-30178" / name


def prepared(raw):
    account = Account()
    table = lung_ct.tables(raw, account, lambda what, done, total: None)
    return table, account


def lost(account) -> dict[str, int]:
    lines = account.lines({"lidc_idri": account.rows.get("lidc_idri", 0) - _count(account, "lidc_idri")})
    assert all("Curie" not in line for line in lines)
    return {reason: len(names) for reasons in account.lost.values() for reason, names in reasons.items()}


def _count(account, source) -> int:
    return sum(map(len, account.lost.get(source, {}).values()))


def pixels(raw, table) -> np.ndarray:
    decoded = decode_images([raw / path for path in table["image_path"]], size=64)
    assert not decoded.problems and decoded.pixels.dtype == np.uint8
    return decoded.pixels[..., 0]


ONE = ball((25, 26, 20), 8)


@pytest.fixture
def raw(tmp_path):
    """One patient, one scan, one nodule that all four radiologists saw."""
    write_series(series_folder(tmp_path), scan(ONE))
    (series_folder(tmp_path) / "069.xml").write_text(annotations([marked(f"n{k}", ONE) for k in range(4)]))
    return tmp_path


# --- geometry


@pytest.mark.parametrize("spacing", [(2.5, 2.0, 2.0), (3.0, 1.5, 2.0), (1.0, 1.25, 1.25)])
def test_a_ball_is_round_and_in_the_middle_of_all_three_planes(tmp_path, spacing):
    shape = tuple(int(np.ceil(70 / step)) for step in spacing)
    center, radius = (30, 41, 35), 10
    away = distance(center, spacing, shape)
    mask = away <= radius
    # A slope of 6 mm, half way at the radius, so that voxels of up to 3 mm can show where it is.
    volume = LUNG + (TISSUE - LUNG) * np.clip(0.5 + (radius - away) / 6, 0, 1)
    write_series(series_folder(tmp_path), volume.astype(np.int16), spacing=spacing)
    sessions = [marked(f"n{k}", mask, step=spacing[0]) for k in range(4)]
    (series_folder(tmp_path) / "069.xml").write_text(annotations(sessions))
    table, _ = prepared(tmp_path)
    images = pixels(tmp_path, table)
    assert list(table["plane"]) == ["axial"] * 5 + ["coronal"] * 5 + ["sagittal"] * 5
    assert list(table["offset_mm"]) == ["-2", "-1", "0", "1", "2"] * 3
    for i in (2, 7, 12):
        disc = np.argwhere(images[i] > 255 * ((LUNG + TISSUE) / 2 + 1350) / 1500)
        np.testing.assert_allclose(disc.mean(axis=0), 31.5, atol=1.0)
        extent = disc.max(axis=0) - disc.min(axis=0) + 1
        np.testing.assert_allclose(extent, 2 * radius, atol=1.0)
        np.testing.assert_allclose(len(disc), np.pi * radius**2, rtol=0.06)


def marks_and_series(raw):
    series = next(iter(find_series(raw / "lidc_idri", lambda *_: None).series.values()))
    (path,) = (raw / "lidc_idri").rglob("*.xml")
    reading = read_annotations(path.read_bytes())
    return [nodules.marked(annotation, series) for annotation in reading.annotations], series


def test_rows_go_from_head_to_feet_and_offsets_along_the_axes(raw):
    volume = scan(ONE)
    # One voxel brighter than all: 7.5 mm above the center, and 4 mm behind and to the left of it.
    volume[13, 15, 12] = 1000
    write_series(series_folder(raw), volume)
    table, _ = prepared(raw)
    images = pixels(raw, table)
    assert (table["plane"][7], table["offset_mm"][7]) == ("coronal", "0")
    brightest = [int(np.argmax(images[5 * axis + 4].astype(int) - images[5 * axis])) for axis in range(3)]
    rows, columns = np.unravel_index(brightest, (64, 64))
    # Towards higher rows (coronal) and higher columns (sagittal) the voxel comes nearer; rows start at the head.
    assert rows[1] < 31 and columns[1] > 32 and rows[2] < 31 and columns[2] > 32


def test_axial_offsets_go_from_the_feet_to_the_head(raw):
    volume = np.broadcast_to(np.arange(-1300, 100, 70, dtype=np.int16)[:, None, None], SHAPE)
    write_series(series_folder(raw), volume)
    axial = pixels(raw, prepared(raw)[0])[:5, 32, 32].astype(int)
    # 70 HU a slice of 2.5 mm are 4.8 levels of 255 a mm.
    np.testing.assert_allclose(np.diff(axial), 70 / 2.5 / 1500 * 255, atol=1)


def test_every_plane_shows_the_nodule_where_it_is_largest_along_its_axis(raw):
    plates = np.zeros(SHAPE, bool)
    plates[14:16, 5:19, 5:19] = plates[5:16, 6:8, 5:19] = plates[5:16, 5:19, 16:18] = True
    write_series(series_folder(raw), scan(plates))
    _, series = marks_and_series(raw)
    marks = [nodules.Marked(k, np.argwhere(plates)) for k in range(4)]
    area = (nodules.cut(marks, series) > 157).sum(axis=(1, 2))
    # Each plate is 10 mm away from the middle; a slice that misses it shows two edges of 28 mm x 5 mm.
    assert (area[[2, 7, 12]] > 25 * 25).all()


def test_hounsfield_units_are_seen_through_the_lung_window(tmp_path):
    volume = np.where(ONE, 150, -1350).astype(np.int16)
    volume[:, :2] = -600
    write_series(series_folder(tmp_path), volume)
    (series_folder(tmp_path) / "a.xml").write_text(annotations([marked(f"n{k}", ONE) for k in range(4)]))
    table, _ = prepared(tmp_path)
    axial = pixels(tmp_path, table)[2]
    assert axial[32, 32] == 255 and axial[32, 54] == 0
    # Row 0 of the CT is 26 mm before the ball's center: 0.5 mm before row 6. Where the scan ends, all is black.
    assert axial[6, 32] == 128 and axial[:6].max() == 0


def test_each_axis_has_its_own_middle_slice():
    share = np.zeros((64, 64, 64))
    share[18:23, 30:34, 30:34] = 1  # a stem,
    share[20, 25:50, 28:33] = 1  # largest across the first axis at 20,
    share[10:40, 44, 20:50] = 1  # across the second at 44,
    share[15:50, 20:60, 37] = 1  # and across the third at 37
    assert nodules._middles(share) == [20, 44, 37]
    share = np.zeros((64, 64, 64))
    share[30:35, 0:2, 63] = 0.25  # what fewer than half of the radiologists see counts where there is nothing else
    assert nodules._middles(share) == [32, 2, 61]


def test_a_hole_is_not_of_the_nodule_and_a_line_without_inside_is(raw):
    hole = roi(10, [(9, 12), (10, 11), (11, 12), (11, 13), (11, 14), (10, 15), (9, 14), (9, 13)], included="FALSE")
    text = annotations([marked("a", ONE).replace("<roi>", hole + "<roi>", 1)])
    text = text.replace(
        "</readingSession>",
        marked("b", ONE).partition("<roi>")[0] + roi(3, [(1, 2), (2, 2)]) + "</unblindedReadNodule></readingSession>",
    )
    (series_folder(raw) / "069.xml").write_text(text)
    (large, small), _ = marks_and_series(raw)
    expected = {tuple(voxel) for voxel in np.argwhere(ONE).tolist()} - {(10, y, 10) for y in (12, 13, 14)}
    assert set(map(tuple, large.voxels.tolist())) == expected
    assert small.voxels.tolist() == [[3, 2, 1], [3, 2, 2]]


def test_a_nodule_that_is_larger_than_its_cube_is_left_out(raw):
    long = np.zeros((30, *SHAPE[1:]), bool)
    long[1:29, 10:13, 10:13] = True  # 27 x 2.5 mm from the middle of the first slice to that of the last
    write_series(series_folder(raw), np.where(long, TISSUE, LUNG).astype(np.int16))
    (series_folder(raw) / "069.xml").write_text(annotations([marked(f"n{k}", long) for k in range(4)]))
    table, account = prepared(raw)
    assert table.empty and lost(account) == {"slices of a nodule larger than 64 mm": 15}


# --- radiologists and nodules


def test_annotations_of_one_nodule_are_matched_and_neighbors_are_not(raw):
    shifted = [ball((25, 26 + dy, 20 + dx), 8) for dy, dx in [(0, 0), (2, 0), (0, 2), (-2, 0)]]
    far = ball((25, 26, 38), 3)
    sessions = [marked(f"n{k}", mask) + marked(f"far{k}", far) for k, mask in enumerate(shifted)]
    sessions[2] += marked("again", ball((25, 26, 24), 5))  # one radiologist twice: a nodule of its own
    (series_folder(raw) / "069.xml").write_text(annotations(sessions))
    marks, series = marks_and_series(raw)
    names = ["n0", "far0", "n1", "far1", "n2", "far2", "again", "n3", "far3"]
    groups = nodules.match(marks, series)
    assert [[names[i] for i in group] for group in groups] == [
        ["n0", "n1", "n2", "n3"],
        ["far0", "far1", "far2", "far3"],
        ["again"],
    ]
    turned = nodules.match(marks[::-1], series)
    assert {frozenset(names[::-1][i] for i in group) for group in turned} == {
        frozenset(names[i] for i in g) for g in groups
    }


def test_nodules_without_overlap_are_one_where_their_centers_are_closer_than_a_radius(raw):
    flat = np.zeros(SHAPE, bool)
    flat[8, 8:13, 8:13] = True
    next_to_it = np.roll(flat, 1, axis=0)  # 2.5 mm higher; a ball of its volume has a radius of 3.9 mm
    away = np.roll(flat, 3, axis=0)
    sessions = [marked("a", flat), marked("b", next_to_it), marked("c", away)]
    (series_folder(raw) / "069.xml").write_text(annotations(sessions))
    marks, series = marks_and_series(raw)
    assert nodules.match(marks, series) == [[0, 1], [2]]


@pytest.mark.parametrize(
    ("malignancy", "label", "subclass"),
    [
        ((1, 2, 3, 3), "benign", "indeterminate"),
        ((5, 4, 5, 5), "malignant", "highly suspicious"),
        ((1, 1, 1, 5), "benign", "highly unlikely"),
        ((3, 4, 4, 5), "malignant", "moderately suspicious"),
    ],
)
def test_a_class_means_what_its_name_says(raw, malignancy, label, subclass):
    sessions = [marked(f"n{k}", ONE, malignancy=rating, calcification=3 + k) for k, rating in enumerate(malignancy)]
    (series_folder(raw) / "069.xml").write_text(annotations(sessions))
    table, account = prepared(raw)
    assert len(table) == 15 and set(table["label"]) == {label} and set(table["subclass"]) == {subclass}
    assert set(table["patient_id"]) == {"LIDC-IDRI-0001"} and set(table["domain"]) == {"SIEMENS"}
    assert set(table["calcification"]) == {"calcified"} and set(table["calcification_ratings"]) == {"3 4 5 6"}
    assert set(table["texture"]) == {"solid"} and set(table["spiculation"]) == {"not spiculated"}
    assert table["malignancy_ratings"][0] == " ".join(map(str, sorted(malignancy))) and "malignancy" not in table
    # The study's file has 1 for what most radiologists rate 1 to 3.
    assert lung_ct.PREPARATION.classes == class_order(["malignant", "benign"]) == ("benign", "malignant")
    assert lost(account) == {}


def test_ties_absent_radiologists_and_points_are_counted(raw):
    other, third = ball((12, 12, 40), 6), ball((38, 40, 12), 6)
    tie = [marked(f"n{k}", ONE, malignancy=3 + k // 2) for k in range(4)]
    split_spiculation = [marked(f"o{k}", other, spiculation=2 + k // 2) for k in range(4)]
    three = [*(marked(f"t{k}", third) for k in range(3)), ""]
    sessions = ["".join(parts) for parts in zip(tie, split_spiculation, three)]
    sessions[0] += point("small") + NON_NODULE
    sessions[3] += point("smaller")
    (series_folder(raw) / "069.xml").write_text(annotations(sessions))
    table, account = prepared(raw)
    assert set(table["nodule"]) == {"LIDC-IDRI-0001_2"} and set(table["spiculation"]) == {""}
    assert lost(account) == {
        "slices of a nodule whose radiologists tie on malignancy": 15,
        "slices of a nodule marked by fewer than 4 radiologists": 15,
        "mark of a nodule below 3 mm": 2,
        "mark of what is no nodule": 1,
    }
    assert account.lines({"lidc_idri": 15})[-1].startswith("lidc_idri: 45 rows read, 15 kept")


def test_a_missing_or_impossible_rating_leaves_the_nodule_out(raw):
    for bad in (
        marked("n3", ONE, without=["margin"]),
        marked("n3", ONE, calcification=7),
        marked("n3", ONE, texture=0),
    ):
        sessions = [*(marked(f"n{k}", ONE) for k in range(3)), bad]
        (series_folder(raw) / "069.xml").write_text(annotations(sessions))
        table, account = prepared(raw)
        assert table.empty and list(table.columns[:2]) == ["image_path", "label"]
        assert lost(account) == {"slices of a nodule with a missing rating": 15}


# --- what real trees contain


def slice_at(raw, i: int):
    return next(
        path
        for path in series_folder(raw).glob("*.dcm")
        if pydicom.dcmread(path).SOPInstanceUID == f"1.2.840.1.{i + 1}"
    )


def test_a_missing_slice_is_noticed_where_it_matters(raw):
    outlined = slice_at(raw, 10)
    data = outlined.read_bytes()
    outlined.unlink()
    table, account = prepared(raw)
    assert table.empty and lost(account) == {"annotation in a slice that is missing": 4}
    outlined.write_bytes(data)
    slice_at(raw, 15).unlink()  # in the cube, beyond the nodule
    table, account = prepared(raw)
    assert table.empty and lost(account) == {"slices of a slice missing beside the nodule": 15}


def test_a_slice_that_is_there_twice_counts_once_and_another_at_its_place_is_a_fault(raw):
    again = series_folder(raw) / "1-900.dcm"
    shutil.copy(slice_at(raw, 10), again)
    before, _ = prepared(raw)
    images = pixels(raw, before)
    assert lost(prepared(raw)[1]) == {"slice that repeats another": 1}
    again.unlink()
    np.testing.assert_array_equal(pixels(raw, prepared(raw)[0]), images)
    data = pydicom.dcmread(slice_at(raw, 10))
    data.PixelData = bytes(len(data.PixelData))
    data.save_as(again)
    table, account = prepared(raw)
    assert table.empty
    assert lost(account)["annotation of a CT with two different slices at one position"] == 4


def test_truncated_files_other_modalities_and_unmarked_scans_are_counted(raw):
    path = slice_at(raw, 9)
    (series_folder(raw) / "1-901.dcm").write_bytes(slice_at(raw, 3).read_bytes()[:200])
    (series_folder(raw) / "1-902.dcm").write_bytes(b"")
    (series_folder(raw) / "LICENSE").write_text("CC BY 3.0")
    write_series(series_folder(raw, name="3000567.000000-1"), scan()[:2], uid="1.2.840.9", modality="CR")
    write_series(series_folder(raw, "LIDC-IDRI-0002"), scan(), uid="1.2.840.7", patient="LIDC-IDRI-0002")
    table, account = prepared(raw)
    assert len(table) == 15
    assert lost(account) == {"file that is no whole DICOM": 2, "series that is no CT": 1, "CT without annotations": 1}
    path.write_bytes(path.read_bytes()[:-100])
    shutil.rmtree(raw / "prepared")
    table, account = prepared(raw)
    assert table.empty and lost(account)["slices of a slice that cannot be decoded beside the nodule"] == 15


def test_annotations_may_have_windows_line_ends_a_mark_and_a_folder_of_their_own(raw):
    expected, _ = prepared(raw)
    path = series_folder(raw) / "069.xml"
    text = path.read_text()
    path.unlink()
    apart = raw / "lidc_idri/tcia-lidc-xml/157"
    apart.mkdir(parents=True)
    (apart / "158.xml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    pd.testing.assert_frame_equal(prepared(raw)[0], expected)
    path.write_text(text)
    (apart / "159.xml").write_text(text.replace("<malignancy>3", "<malignancy>5"))
    (apart / "160.xml").write_text('<IdriReadMessage xmlns="http://www.nih.gov"></IdriReadMessage>')
    (apart / "161.xml").write_text(annotations([marked("x", ONE)], uid="1.2.840.55"))
    table, account = prepared(raw)
    pd.testing.assert_frame_equal(table, expected)
    assert lost(account) == {
        "annotation file that repeats another": 1,
        "annotation file that contradicts another of its CT": 1,
        "annotation file of a chest radiograph": 1,
        "annotation whose CT is missing": 1,
    }


def test_broken_and_dangerous_annotation_files_are_refused(raw):
    text = (series_folder(raw) / "069.xml").read_text()
    with pytest.raises(ValueError, match="no whole XML"):
        read_annotations(text[: len(text) // 2].encode())
    bomb = text.replace("<LidcReadMessage", '<!DOCTYPE x [<!ENTITY a "b">]>\n<LidcReadMessage', 1).replace(
        "anon", "&a;"
    )
    for encoding in ("utf-8", "utf-16"):
        with pytest.raises(ValueError, match="declares a document type"):
            read_annotations(bomb.replace("UTF-8", encoding).encode(encoding))
    with pytest.raises(ValueError, match="its root is html"):
        read_annotations(b"<html></html>")
    with pytest.raises(ValueError, match="a coordinate of n0 is no number"):
        read_annotations(text.replace("<xCoord>", "<xCoord>x", 1).encode())
    (series_folder(raw) / "069.xml").write_text(text[:500])
    table, account = prepared(raw)
    assert table.empty and lost(account) == {"annotation file that cannot be read": 1, "CT without annotations": 1}


# --- files


def test_nodules_are_cut_once_and_anew_when_something_has_changed(raw, monkeypatch):
    table, _ = prepared(raw)
    (path,) = (raw / lung_ct.FOLDER).iterdir()
    assert table["image_path"][7] == "prepared/lung_ct/nodules/LIDC-IDRI-0001_1.npz::slices::7"
    images, data = pixels(raw, table), path.read_bytes()
    cuts = []
    original = lung_ct.cut
    monkeypatch.setattr(lung_ct, "cut", lambda *arguments: cuts.append(1) or original(*arguments))
    prepared(raw)
    assert not cuts
    path.write_bytes(data[:-200])  # as a program leaves it that was not ours
    prepared(raw)
    assert len(cuts) == 1 and path.read_bytes() == data
    xml = series_folder(raw) / "069.xml"
    xml.write_text(annotations([marked(f"n{k}", np.roll(ONE, 2, axis=2)) for k in range(4)]))
    assert (pixels(raw, prepared(raw)[0]) != images).any() and len(cuts) == 2
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_two_scans_of_a_patient_are_one_patient_with_nodules_of_different_names(raw):
    write_series(series_folder(raw, name="2"), scan(ONE), uid="1.2.840.3")
    text = annotations([marked(f"n{k}", ONE, uid="1.2.840.3", malignancy=5) for k in range(4)], uid="1.2.840.3")
    (series_folder(raw, name="2") / "070.xml").write_text(text)
    table, _ = prepared(raw)
    assert list(table["nodule"].unique()) == ["LIDC-IDRI-0001_1", "LIDC-IDRI-0001_2"]
    assert table["patient_id"].nunique() == 1 and table.groupby("label").size().to_dict() == {
        "benign": 15,
        "malignant": 15,
    }
    split = ["train", "val", "cal", "iid_test", "iid_test"] * 6
    table.assign(split=split, patient_id="").to_csv(raw / "manifest.csv", index=False)
    same = table["image_path"].str.partition("::")[0].nunique()
    assert same == 2  # both scans show one ball, so that their slices are equal and the leak is found
    with pytest.raises(ValueError, match="one image with two labels"):
        load_dataset(raw / "manifest.csv", size=64, seed=0)


# --- the study's splits


@pytest.fixture(scope="module")
def many() -> pd.DataFrame:
    """400 patients with one to three nodules of three slices."""
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(400):
        for _ in range(rng.integers(1, 4)):
            row = {"patient_id": f"LIDC-IDRI-{patient:04d}"}
            for name in ("calcification", "spiculation", "texture"):
                votes = lung_ct.VOTES[name]
                row[name] = rng.choice([votes.usual, votes.unusual, ""], p=[0.85, 0.1, 0.05])
            rows += [row] * 3
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("name", "count"), [("calcification", 48), ("spiculation", 49), ("texture", 49)])
def test_reference_splits_keep_the_held_out_away_from_training(many, name, count):
    split = lung_ct.reference_splits(many, name)
    usual = many[name] == lung_ct.VOTES[name].usual
    assert ((split == "") == ~usual).all()
    patients = {side: set(many["patient_id"][split == side]) for side in ("train", "iid_test")}
    affected = set(many["patient_id"][many[name] == lung_ct.VOTES[name].unusual])
    assert not patients["train"] & patients["iid_test"] and not patients["train"] & affected
    # Which file is which: the study's two of calcification are swapped.
    unaffected = pd.unique(many["patient_id"][usual & ~many["patient_id"].isin(affected)])
    state = np.random.get_state()
    np.random.seed(2)
    drawn = set(np.random.choice(unaffected, count, replace=False))
    np.random.set_state(state)
    assert patients["iid_test"] - affected == drawn and len(drawn) == count
    assert patients["train"] == set(unaffected) - drawn


def test_of_all_nodules_ninety_patients_are_the_test(many):
    split = lung_ct.reference_splits(many, "all")
    assert many["patient_id"][split == "iid_test"].nunique() == 90 and set(split) == {"train", "iid_test"}
    assert many.groupby("patient_id").apply(lambda rows: split[rows.index].nunique()).max() == 1
    with pytest.raises(ValueError, match="draws 90 patients for its test, and there are 30"):
        lung_ct.reference_splits(many[many["patient_id"] < "LIDC-IDRI-0030"], "all")


def test_training_sets_name_columns_and_values_that_are_there():
    for name, chosen in lung_ct.PREPARATION.training_sets.items():
        assert chosen.name == name
        for hold_out in chosen.hold_out:
            column, _, value = hold_out.where.partition("=")
            votes = lung_ct.VOTES[column]
            assert value == votes.unusual and chosen.pool == f"{column}={votes.usual}|{votes.unusual}"
