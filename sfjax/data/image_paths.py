"""What an `image_path` may say: a picture, one file a channel, a DICOM file or an array in an `.npz` file.

| `image_path` | image |
|---|---|
| `a.png` | PNG, JPEG, TIFF or BMP, gray or RGB; also a DICOM file of one frame |
| `a_w1.png;a_w2.png;a_w3.png` | one gray file a channel, 2 to 16 of them, stacked in this order |
| `a.dcm?window=-600,1500` | a DICOM file seen through the window of this center and width (of CT: in HU) |
| `a.npz::NAME` | an array of shape (h, w) or (h, w, k) |
| `a.npz::NAME::INDEX` | one item, from 0, of an array of shape (n, h, w) or (n, h, w, k) |
"""

import math
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

MAX_CHANNELS = 16
"""Of one image."""

_ARRAY = re.compile(r"(?P<file>.*?\.npz)::(?P<array>.*)", re.IGNORECASE | re.DOTALL)
_WINDOW = re.compile(r"(?P<file>.*)\?window=(?P<window>.*)", re.DOTALL)
_SYNTAX = "write FILE.npz::NAME for an image, FILE.npz::NAME::INDEX for one of many"


class Source(NamedTuple):
    """Where the pixels of an image, or of one of its channels, are.

    Attributes:
        file: Path of the file.
        array: Name of the array in an `.npz` file; None for other files.
        item: Index of the image along the array's first axis; None where the array is one image.
        window: Center and width, in the units of the file's values, that a DICOM file is seen through; None is its own.
    """

    file: str
    array: str | None = None
    item: int | None = None
    window: tuple[float, float] | None = None


def sources(image_path: str) -> tuple[Source, ...]:
    """Returns where each channel of an image is, or the one place where all are.

    Raises:
        ValueError: The text has none of the forms.

    Example:
        >>> sources("a.npz::train::7")
        (Source(file='a.npz', array='train', item=7, window=None),)
        >>> [source.file for source in sources("a_w1.png;a_w2.png")]
        ['a_w1.png', 'a_w2.png']
    """
    parts = image_path.split(";")
    if len(parts) > MAX_CHANNELS:
        raise ValueError(f"it names {len(parts)} files, one a channel, and {MAX_CHANNELS} are the most")
    if "" in map(str.strip, parts):
        raise ValueError("a file is missing between its semicolons: they stand between one file a channel")
    return tuple(map(_source, parts))


def normalized(image_path: str) -> str:
    """Returns the same image's path in one spelling: "/" between folders, no "./".

    Example:
        >>> normalized(r".\\a\\w1.png; ./a/w2.png")
        'a/w1.png;a/w2.png'
    """
    return ";".join(
        # Windows writes "\\" and tools write "./": one file has one spelling.
        posixpath.normpath(file.replace("\\", "/")) + rest if file else rest
        for file, rest in map(_file_and_rest, map(str.strip, image_path.split(";")))
    )


def within(folder: Path, image_path: str) -> str:
    """Returns the image's path with each of its files below `folder`, except those that are absolute already."""
    return with_files(image_path, lambda file: str(folder / file))


def with_files(image_path: str, place: Callable[[str], str]) -> str:
    """Returns the image's path with each of its files where `place` puts it.

    Example:
        >>> with_files("a.npz::train::7", lambda file: f"data/{file}")
        'data/a.npz::train::7'
    """
    return ";".join(place(file) + rest if file else rest for file, rest in map(_file_and_rest, image_path.split(";")))


def _file_and_rest(part: str) -> tuple[str, str]:
    match = _ARRAY.fullmatch(part) or _WINDOW.fullmatch(part)
    file = match["file"] if match else part
    return file, part[len(file) :]


def _source(part: str) -> Source:
    if match := _ARRAY.fullmatch(part):
        array, colons, index = match["array"].partition("::")
        if not array or (colons and not re.fullmatch(r"[0-9]{1,12}", index)):
            raise ValueError(f"'::{match['array']}' names no array and index; {_SYNTAX}")
        return Source(match["file"], array, int(index) if colons else None)
    if part.lower().endswith(".npz"):
        raise ValueError(f"an .npz file holds several arrays; {_SYNTAX}")
    if match := _WINDOW.fullmatch(part):
        try:
            center, width = map(float, match["window"].split(","))
        except ValueError:
            center = width = math.nan
        if not (math.isfinite(center) and 0 < width < math.inf):
            raise ValueError(f"'{match['window']}' is no window; write ?window=CENTER,WIDTH with a width above 0")
        return Source(match["file"], window=(center, width))
    return Source(part)
