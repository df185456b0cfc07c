"""What the radiologists wrote of a chest CT: the XML files of LIDC-IDRI.

Up to four radiologists, who are not named, read each scan. Of a nodule of 3 mm or more each has drawn outlines, slice
by slice, and rated nine characteristics. Smaller nodules and what is no nodule have one point.

References:
    S. G. Armato III et al., "The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative (IDRI): a
    completed reference database of lung nodules on CT scans", Medical Physics, 2011.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple
from xml.parsers import expat

HIGHEST_RATING: Final[Mapping[str, int]] = MappingProxyType(
    {
        "subtlety": 5,
        "internalStructure": 4,
        "calcification": 6,
        "sphericity": 5,
        "margin": 5,
        "lobulation": 5,
        "spiculation": 5,
        "texture": 5,
        "malignancy": 5,
    }
)
"""Of each characteristic, by its name in the files; the lowest is 1."""


class Outline(NamedTuple):
    """A closed line of pixels around a nodule in one slice, or around a hole in it.

    The pixels of the line are the first ones outside of the nodule.

    Attributes:
        sop_uid: Which slice it is drawn in.
        z: Position of the slice in mm.
        included: False for a hole.
        points: (column, row) of each pixel, from 0.
    """

    sop_uid: str
    z: float
    included: bool
    points: tuple[tuple[int, int], ...]


class Annotation(NamedTuple):
    """What one radiologist says of one nodule.

    Attributes:
        reader: Which radiologist, from 0; the number means nothing in another scan.
        nodule: Its name in the file, different for each radiologist.
        ratings: Characteristic -> 1 to `HIGHEST_RATING`; one that is missing or out of range is not in it.
        outlines: At least one has more than one point.
    """

    reader: int
    nodule: str
    ratings: Mapping[str, int]
    outlines: tuple[Outline, ...]


class Reading(NamedTuple):
    """What one file says of one scan.

    Attributes:
        series_uid: Of the scan.
        annotations: Of nodules of 3 mm or more.
        points: Names of marks of smaller nodules.
        non_nodules: Names of marks of what is no nodule.
    """

    series_uid: str
    annotations: tuple[Annotation, ...]
    points: tuple[str, ...]
    non_nodules: tuple[str, ...]


def read_annotations(data: bytes) -> Reading | None:
    """Returns what a file says, or None where it is about a chest radiograph.

    Args:
        data: The file's bytes.

    Raises:
        ValueError: It is no XML, or not such a file, or it declares entities, which such files do not.
    """
    _refuse_declarations(data)
    root = ET.fromstring(data)
    if _name(root) != "LidcReadMessage":
        if _name(root) == "IdriReadMessage":
            return None
        raise ValueError(f"its root is {_name(root)}, and annotations of a CT are a LidcReadMessage")
    series_uid = _text(root, "./{*}ResponseHeader/{*}SeriesInstanceUid")
    if not series_uid:
        raise ValueError("it does not say which series it is about (SeriesInstanceUid)")
    annotations, points, non_nodules = [], [], []
    for reader, session in enumerate(root.findall("./{*}readingSession")):
        non_nodules += [_text(mark, "./{*}nonNoduleID") for mark in session.findall("./{*}nonNodule")]
        for mark in session.findall("./{*}unblindedReadNodule"):
            nodule = _text(mark, "./{*}noduleID")
            outlines = tuple(_outline(roi, nodule) for roi in mark.findall("./{*}roi"))
            if max((len(outline.points) for outline in outlines), default=0) > 1:
                annotations.append(Annotation(reader, nodule, _ratings(mark), outlines))
            else:
                points.append(nodule)
    return Reading(series_uid, tuple(annotations), tuple(points), tuple(non_nodules))


def _refuse_declarations(data: bytes) -> None:
    """Raises where a document is broken, or has a document type: entities could expand without bounds."""

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type, which annotations do not have; it is not read")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"it is no whole XML ({error}); download it again") from None


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(element: ET.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _outline(roi: ET.Element, nodule: str) -> Outline:
    try:
        z = float(_text(roi, "./{*}imageZposition"))
        points = tuple(
            (int(_text(edge, "./{*}xCoord")), int(_text(edge, "./{*}yCoord"))) for edge in roi.findall("./{*}edgeMap")
        )
    except ValueError:
        raise ValueError(f"a coordinate of {nodule} is no number") from None
    included = _text(roi, "./{*}inclusion").upper() != "FALSE"
    return Outline(_text(roi, "./{*}imageSOP_UID"), z, included, points)


def _ratings(mark: ET.Element) -> dict[str, int]:
    ratings = {}
    for name, highest in HIGHEST_RATING.items():
        value = _text(mark, f"./{{*}}characteristics/{{*}}{name}")
        if value.isdecimal() and 1 <= int(value) <= highest:
            ratings[name] = int(value)
    return ratings
