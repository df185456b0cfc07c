"""Array files (.npz) with `SPLIT_images` and `SPLIT_labels`, as MedMNIST is published, to a data set.

References:
    Jiancheng Yang et al., "MedMNIST v2: A large-scale lightweight benchmark for 2D and 3D biomedical image
    classification", Scientific Data, 2023.
"""

import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Shaped

from sfjax.data.arrays import sha256_of_array
from sfjax.data.check import UnknownClasses
from sfjax.data.dataset import Dataset
from sfjax.data.findings import Findings, listing
from sfjax.data.image_paths import MAX_CHANNELS
from sfjax.data.pictures import from_array, square
from sfjax.data.split_arrays import dataset_of_splits, remarks_as_notes

ARRAYS: Final[Mapping[str, str]] = MappingProxyType({"label": "labels"})
"""What arrays of a standard column are called behind their split; those of every other column have its name."""

_IMAGES = "_images"


def is_array_file(path: str | PathLike[str]) -> bool:
    """Returns whether a file is an archive of arrays, by its first bytes, not by its name."""
    try:
        with Path(path).open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False  # whoever opens it as a manifest says what is wrong


def load_array_file(
    path: str | PathLike[str],
    *,
    size: int,
    seed: int,
    columns: Mapping[str, str] | None = None,
    hold_out: Sequence[str] = (),
    unknown_classes: UnknownClasses = "error",
    progress: Callable[[int, int], object] | None = None,
    name: str | None = None,
) -> Dataset:
    """Returns the images of an array file, divided into sets, or raises one `ManifestError` with all that is wrong.

    The file has `SPLIT_images` of shape (n, h, w) or (n, h, w, k), uint8 or uint16, and `SPLIT_labels` of shape (n,)
    or (n, 1) for each split; how splits become sets is in `sfjax.data.split_arrays`. Any `SPLIT_domain`,
    `SPLIT_subclass`, `SPLIT_patient_id` and so on are columns of the table. Labels are the classes' names, numbers as
    they are. An image's hash, and with it its random numbers, is that of its array before it is resized.

    Args:
        path: The file.
        size: Side of the square images in pixels.
        seed: Of the splits, where they are drawn.
        columns: Standard name -> what arrays are called behind their split, such as `{"domain": "scanner"}`.
        hold_out: Entries `domain=NAME` or `subclass=NAME` that become shifted test sets.
        unknown_classes: "failure" keeps images of shifted sets whose label is not in train.
        progress: Called with (images read, images in all).
        name: Of the data set; the file's name.
    """
    path = Path(path)
    findings = Findings(path.name)
    arrays = _read(path, findings)
    splits = sorted(key.removesuffix(_IMAGES) for key in arrays if key.endswith(_IMAGES) and key != _IMAGES)
    if not splits:
        findings.fault("arrays without a partner", f"no SPLIT_images; there are {listing(sorted(arrays), 30)}")
        findings.raise_faults()
    of_split = {split: _images(f"{split}{_IMAGES}", arrays, findings) for split in splits}
    table = _columns({split: len(images) for split, images in of_split.items()}, arrays, columns or {}, findings)
    for what in ("channels", "types"):
        found = {images.shape[3:] if what == "channels" else images.dtype.name for images in of_split.values()}
        if len(found) > 1 and not findings.faults:
            each = [f"{split} {images.dtype} {images.shape}" for split, images in of_split.items()]
            findings.fault("unusable images", f"different {what}: {'; '.join(each)}")
    findings.raise_faults()
    total, done = sum(map(len, of_split.values())), 0
    first = of_split[splits[0]]
    squares = np.empty((total, size, size, first.shape[3]), first.dtype)
    sha256: list[str] = []
    remarks: Counter[str] = Counter()
    for images in of_split.values():
        for image in images:
            channels, said = zip(*(square(part, size) for part in from_array(image)), strict=True)
            squares[done] = np.concatenate(channels, axis=2)
            remarks.update(frozenset().union(*said))
            sha256.append(sha256_of_array(image))
            done += 1
            if progress is not None:
                progress(done, total)
    return dataset_of_splits(
        name or path.stem,
        squares,
        table,
        sha256=sha256,
        seed=seed,
        hold_out=hold_out,
        unknown_classes=unknown_classes,
        notes=findings.notes + remarks_as_notes(remarks, total),
    )


def _read(path: Path, findings: Findings) -> dict[str, np.ndarray]:
    """Returns all arrays of the file but those that are pickled, which are a fault because they can run programs."""
    arrays = {}
    try:
        # Opened here, because NumPy leaves the file open where it is no archive.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            for key in file.files:
                try:
                    arrays[key] = file[key]
                except ValueError as error:
                    findings.fault("unreadable array", f"{key}: {error}")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        findings.fault("unreadable array", f"{error.__class__.__name__}: {error}")
    findings.raise_faults()
    return arrays


def _images(key: str, arrays: Mapping[str, np.ndarray], findings: Findings) -> Shaped[np.ndarray, "n h w k"]:
    """Returns the images of a split, or none and a fault."""
    images = arrays[key]
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim == 5 or (images.ndim == 4 and images.shape[3] > MAX_CHANNELS):
        findings.fault("volumes", f"{key} has shape {arrays[key].shape}")
    elif images.ndim != 4 or images.dtype not in (np.uint8, np.uint16) or 0 in images.shape[1:]:
        findings.fault("unusable images", f"{key} is {images.dtype} of shape {arrays[key].shape}")
    else:
        return images
    return np.zeros((len(images) if images.ndim else 0, 1, 1, 1), np.uint8)


def _columns(
    counts: Mapping[str, int], arrays: Mapping[str, np.ndarray], named: Mapping[str, str], findings: Findings
) -> dict[str, np.ndarray]:
    """Returns the table's columns over all splits in their order, blank where a split has no such array."""
    standard = {named.get(name, ARRAYS.get(name, name)): name for name in {*ARRAYS, *named}}
    columns: dict[str, dict[str, np.ndarray]] = {}
    unused = []
    for key in sorted(arrays):
        split = max((split for split in counts if key.startswith(f"{split}_")), key=len, default=None)
        if split is None:
            unused.append(key)
        elif key != f"{split}{_IMAGES}":
            column = key.removeprefix(f"{split}_")
            values = _values(key, arrays[key], counts[split], findings, label=standard.get(column) == "label")
            # An array that has a standard name gives way to the one that was named for it.
            name = standard.get(column) or (f"array_{column}" if column in standard.values() else column)
            columns.setdefault(name, {})[split] = values
    if partners := [key for key in unused if key.endswith("_labels")]:
        findings.fault("arrays without a partner", f"{listing(partners)} without images")
    elif unused:
        findings.note(f"Arrays of no split are not used: {listing(unused)}.")
    for column, name in standard.items():
        if missing := [split for split in counts if split not in columns.get(name, {})]:
            if name == "label":
                findings.fault("arrays without a partner", f"{listing(missing)} without {listing([column])}")
            elif name not in columns:
                findings.fault("column missing", f"no array SPLIT_{column}; there are {listing(sorted(arrays), 30)}")
    splits = [split for split, count in counts.items() for _ in range(count)]
    places = [f"{split}{_IMAGES}/{i:06d}" for split, count in counts.items() for i in range(count)]
    blank = {split: np.full(count, "", dtype=object) for split, count in counts.items()}
    joined = {
        name: np.concatenate([of_split.get(split, blank[split]).astype(object) for split in counts])
        for name, of_split in columns.items()
    }
    return joined | {"split": np.array(splits, dtype=object), "image_path": np.array(places, dtype=object)}


def _values(key: str, values: np.ndarray, count: int, findings: Findings, *, label: bool) -> np.ndarray:
    """Returns one value an image, or blanks and a fault."""
    flat = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if label and flat.ndim == 2:
        findings.fault("several labels an image", f"{key} has shape {values.shape}")
    elif flat.ndim != 1 or len(flat) != count:
        findings.fault("arrays without a partner", f"{key} has shape {values.shape}, and there are {count} images")
    elif label and flat.dtype.kind not in "biuU":
        findings.fault("unusable labels", f"{key} is {values.dtype}")
    else:
        return flat
    return np.full(count, "", dtype=object)
