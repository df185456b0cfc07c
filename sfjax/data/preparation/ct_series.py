"""CT series below a folder, sorted by position, and parts of them in Hounsfield units.

No tag that names a person is read.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from sfjax.data.preparation.base import Progress

SAME_POSITION_MM = 1e-3

_TAGS = (
    *("SOPInstanceUID", "SeriesInstanceUID", "Modality", "PatientID", "Manufacturer", "ManufacturerModelName"),
    *("ConvolutionKernel", "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("Rows", "Columns"),
)
_PIXEL_TAGS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelData", "RescaleSlope", "RescaleIntercept"),
)


class Slice(NamedTuple):
    """One file of a series: where it is and, in mm, its position along the body's axis."""

    path: Path
    sop_uid: str
    z: float


class Series(NamedTuple):
    """A CT series.

    Attributes:
        uid: SeriesInstanceUID.
        patient_id: The public pseudonym, such as `LIDC-IDRI-0001`; "" where there is none.
        about: Scanner and reconstruction, by column.
        slices: From the feet to the head, one a position.
        spacing: Between rows and between columns, in mm.
        shape: Rows and columns.
        repeated: Names of files that repeat another slice, value for value.
        fault: Why it cannot be used; "" where it can.
    """

    uid: str
    patient_id: str
    about: dict[str, str]
    slices: tuple[Slice, ...]
    spacing: tuple[float, float]
    shape: tuple[int, int]
    repeated: tuple[str, ...] = ()
    fault: str = ""


class Scans(NamedTuple):
    """What is below a folder.

    Attributes:
        series: CT series by uid.
        others: Folders' names and modalities of the other series.
        broken: Names of files that are no readable DICOM.
    """

    series: dict[str, Series]
    others: list[str]
    broken: list[str]


def find_series(folder: Path, progress: Progress) -> Scans:
    """Returns the CT series whose files end with `.dcm`, whatever their folders are called.

    Args:
        folder: Searched with everything below it.
        progress: Called with (what is being done, folders done, folders in all).
    """
    pydicom = imported_pydicom()
    folders = list(_folders(folder))
    headers: dict[str, list[tuple[Path, Any]]] = {}
    others: dict[str, str] = {}
    broken = []
    for done, (parent, names) in enumerate(folders, start=1):
        for name in names:
            try:
                header = pydicom.dcmread(parent / name, stop_before_pixels=True, specific_tags=list(_TAGS))
                uid, modality = str(header.SeriesInstanceUID), str(header.Modality)
                if modality == "CT":
                    float(header.ImagePositionPatient[2])
            except Exception:  # of broken files pydicom raises anything
                broken.append((parent / name).relative_to(folder).as_posix())
                continue
            if modality == "CT":
                headers.setdefault(uid, []).append((parent / name, header))
            else:
                others[uid] = f"{parent.relative_to(folder).as_posix()} {modality}"
        progress("reading DICOM headers", done, len(folders))
    series = {uid: _series(uid, files) for uid, files in sorted(headers.items())}
    return Scans(series, sorted(others.values()), broken)


def imported_pydicom() -> Any:
    """Returns the package, or raises an error that says how to get it."""
    try:
        import pydicom
    except ModuleNotFoundError:
        raise ValueError("CT series are DICOM files, which need the package pydicom: pip install pydicom") from None
    return pydicom


def read_hounsfield(
    slices: Sequence[Slice], rows: slice, columns: slice, shape: tuple[int, int]
) -> Float32[np.ndarray, "z y x"]:
    """Returns a part of some slices in Hounsfield units.

    Args:
        slices: In the order of the first axis.
        rows: Of each slice.
        columns: Of each slice.
        shape: Rows and columns that each slice must have.

    Raises:
        ValueError: A file cannot be decoded.
    """
    pydicom = imported_pydicom()
    parts = []
    for one in slices:
        try:
            header = pydicom.dcmread(one.path, specific_tags=list(_PIXEL_TAGS))
            stored = header.pixel_array
            slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
        except Exception as error:  # of broken files pydicom raises anything, perhaps with their values
            raise ValueError(f"{one.path.name} cannot be decoded ({error.__class__.__name__})") from None
        if stored.shape != shape:
            raise ValueError(f"{one.path.name} has the shape {stored.shape}, other slices of the series {shape}")
        parts.append(stored[rows, columns].astype(np.float32) * np.float32(slope) + np.float32(intercept))
    return np.stack(parts)


def _folders(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    for parent, below, names in os.walk(folder, followlinks=True):
        below.sort()
        if files := sorted(name for name in names if name.lower().endswith(".dcm")):
            yield Path(parent), files


def _series(uid: str, files: Sequence[tuple[Path, Any]]) -> Series:
    header = files[0][1]
    patient_id = str(header.get("PatientID") or "").strip()
    found = sorted(
        (Slice(path, str(one.SOPInstanceUID), float(one.ImagePositionPatient[2])) for path, one in files),
        key=lambda one: (one.z, one.path),
    )
    about = {
        "manufacturer": str(header.get("Manufacturer") or "").strip(),
        "scanner": str(header.get("ManufacturerModelName") or "").strip(),
        "kernel": str(header.get("ConvolutionKernel") or "").strip(),
        "slice_thickness": str(header.get("SliceThickness") or ""),
    }
    grids = {_grid(one) for _, one in files}
    if len(grids) > 1 or None in grids:
        return Series(uid, patient_id, about, tuple(found), (0, 0), (0, 0), fault=_NOT_ONE_GRID)
    ((spacing, shape),) = (grid for grid in grids if grid is not None)
    slices, repeated, fault = [], [], ""
    for one in found:
        if slices and one.z - slices[-1].z < SAME_POSITION_MM:
            if not _same_pixels(one, slices[-1]):
                fault = "CT with two different slices at one position"
            repeated.append(one.path.name)
        else:
            slices.append(one)
    if len(slices) < 2:
        fault = "CT of one slice"
    return Series(uid, patient_id, about, tuple(slices), spacing, shape, tuple(repeated), fault)


_NOT_ONE_GRID = "CT whose slices are not axial, or not all of one size and spacing"


def _grid(header: Any) -> tuple[tuple[float, float], tuple[int, int]] | None:
    """Returns spacing and shape of a slice, None where it is not axial or says neither."""
    try:
        along_row, along_column = np.reshape(np.asarray(header.ImageOrientationPatient, float), (2, 3))
        across = np.cross(along_row, along_column)
        spacing = float(header.PixelSpacing[0]), float(header.PixelSpacing[1])
        shape = int(header.Rows), int(header.Columns)
    except (AttributeError, TypeError, ValueError):
        return None
    return (spacing, shape) if abs(across[2]) > 0.999 and min(spacing) > 0 else None


def _same_pixels(one: Slice, other: Slice) -> bool:
    pydicom = imported_pydicom()
    try:
        data = [pydicom.dcmread(each.path, specific_tags=list(_PIXEL_TAGS)).PixelData for each in (one, other)]
    except Exception:  # a broken file is not the same as another
        return False
    return data[0] == data[1]
