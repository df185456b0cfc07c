"""A data set: the images of all sets, in memory or on disk, with what is known about each, checked as a whole."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped

from sfjax.data.arrays import sha256_of_array
from sfjax.data.check import UnknownClasses, check_rows, check_sets
from sfjax.data.findings import Findings, listing
from sfjax.data.image_paths import within
from sfjax.data.images import Images, ImagesIn, decode_images, image_ids
from sfjax.data.manifest import STANDARD_COLUMNS, class_order, read_manifest, standardize
from sfjax.data.selection import matches
from sfjax.data.splits import SOURCE_SPLITS, assign_splits

UNKNOWN = -1
"""The label index of a class that was not in training."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and their table, row by row, in an order that depends on the content of the images only.

    Attributes:
        name: For titles and file names.
        classes: Names of the classes of `train`; a label index counts here.
        images: uint8 or uint16; the type's full range is 0 to 1. An array, or `ImageFiles`, which is indexed like one.
        table: `row` (in the manifest, the header being 1), `image_path`, `image_id` (uint32), `sha256`, `label` (name),
            `label_index` (int32, `UNKNOWN` for a class outside `classes`), `split`, `domain`, `subclass`, `patient_id`,
            `shift_kind`, `loss_weight`, and every other column of the manifest and its metadata. Blank text: not known.
        notes: What did not stop, but must be said.
        resampled: Further test sets, of images that another set has too: their rows of the table, by name.
    """

    name: str
    classes: tuple[str, ...]
    images: Shaped[Images, "n h w k"]
    table: pd.DataFrame
    notes: tuple[str, ...] = ()
    resampled: Mapping[str, Int[np.ndarray, " _"]] = field(default_factory=dict)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the sets: the source sets, then the shifted test sets in alphabetical order."""
        return (*SOURCE_SPLITS, *sorted(set(self.table["split"]) - set(SOURCE_SPLITS)))

    def subset(self, split: str) -> tuple[Shaped[Images, "m h w k"], pd.DataFrame]:
        """Returns the images of one set, in memory or on disk as all are, and their rows of the table, from 0."""
        rows = self.rows(split)
        return self.images.take(rows, axis=0), self.table.iloc[rows].reset_index(drop=True)

    def rows(self, split: str) -> Int[np.ndarray, " _"]:
        """Returns where the images of one set are in `images` and `table`."""
        if split not in (*self.splits, *self.resampled):
            there = ", ".join((*self.splits, *self.resampled))
            raise ValueError(f"{self.name} has no set {split!r}. There are {there}.")
        if split in self.resampled:
            return self.resampled[split]
        return np.flatnonzero(self.table["split"] == split)


def load_dataset(
    manifest: str | PathLike[str],
    *,
    size: int,
    seed: int,
    metadata: Sequence[str | PathLike[str]] = (),
    columns: Mapping[str, str] | None = None,
    where: str = "",
    hold_out: Sequence[str] = (),
    channels: Literal[1, 3] | None = None,
    images_in: ImagesIn = "memory",
    skip_bad_images: bool = False,
    unknown_classes: UnknownClasses = "error",
    workers: int | None = None,
    progress: Callable[[int, int], object] | None = None,
    name: str | None = None,
) -> Dataset:
    """Returns the images of a manifest, divided into sets, or raises one `ManifestError` with all that is wrong.

    Args:
        manifest: CSV or Parquet, one row an image; `image_path` has a form of `sfjax.data.image_paths`, and relative
            ones start at its folder.
        size: Side of the square images in pixels.
        seed: Of the splits, where they are drawn.
        metadata: Further tables, joined on `image_path` (see `read_manifest`).
        columns: Standard name -> name in the files.
        where: Which rows it is about (`sfjax.data.selection`); "" is all.
        hold_out: Entries `domain=NAME`, `subclass=NAME` or of another column, that become shifted test sets (see
            `assign_splits`).
        channels: 1 or 3 to convert; None keeps gray sets gray.
        images_in: "disk" for more images than memory holds: all are read, checked and decoded here as well, and decoded
            again whenever they are used. Everything else is the same.
        skip_bad_images: Go on without the files that are missing or cannot be decoded, and note which.
        unknown_classes: "failure" keeps images of shifted sets whose label is not in train, with index `UNKNOWN`.
        workers: Threads that decode.
        progress: Called with (files read, files in all).
        name: Of the data set; the file's name, or the folder's where the file is called manifest.
    """
    path = Path(manifest)
    findings = Findings(path.name)
    table = read_manifest(path, findings, metadata=metadata, columns=columns)
    if where:
        chosen = matches(table, where)
        findings.note(f"{int(chosen.sum())} of {len(table)} rows are of {where}.")
        table = table[chosen].reset_index(drop=True)
    check_rows(table, findings)
    table = table[(table["image_path"] != "") & (table["label"] != "")].reset_index(drop=True)
    decoded = decode_images(
        [within(path.parent, image) for image in table["image_path"]],
        size=size,
        channels=channels,
        images_in=images_in,
        names=[f"{path.name} row {row}: {image}" for row, image in zip(table["row"], table["image_path"], strict=True)],
        workers=workers,
        progress=progress,
    )
    findings.notes += decoded.notes
    broken = table.loc[list(decoded.problems)]
    for (_, entry), problem in zip(broken.iterrows(), decoded.problems.values(), strict=True):
        if not skip_bad_images:
            findings.fault(problem.kind, f"{entry['image_path']}: {problem.detail}", row=int(entry["row"]))
    if skip_bad_images and len(broken):
        rows = listing(list(broken["row"]), len(broken))
        findings.note(f"{len(broken)} of {len(table)} images are missing or broken and were left out: rows {rows}.")
    readable = ~table.index.isin(broken.index)
    for lost in sorted(set(table["split"]) - set(table["split"][readable]) - set(SOURCE_SPLITS)):
        findings.fault("no image of the set is readable", lost)
    table["sha256"] = decoded.sha256
    default = path.resolve().parent.name if path.stem == "manifest" else path.stem
    return _build(name or default, decoded.pixels, table[readable], findings, seed, hold_out, unknown_classes)


def dataset_from_arrays(
    name: str,
    images: Shaped[np.ndarray, "n h w k"],
    columns: Mapping[str, Sequence | np.ndarray],
    *,
    sha256: Sequence[str] | None = None,
    seed: int = 0,
    hold_out: Sequence[str] = (),
    unknown_classes: UnknownClasses = "error",
) -> Dataset:
    """Returns a data set of images in memory, with the columns, defaults and checks of a manifest's.

    Args:
        name: Of the data set; `image_path` is NAME/POSITION if there is no such column, `row` the position.
        images: uint8 or uint16.
        columns: `label` and, optionally, the other columns of a manifest, with one entry an image.
        sha256: Hash in hexadecimal of what each image was made of; None is that of the image itself.
        seed: Of the splits, where they are drawn.
        hold_out: As in `load_dataset`.
        unknown_classes: As in `load_dataset`.
    """
    if images.dtype not in (np.uint8, np.uint16) or images.ndim != 4:
        raise ValueError(
            f"Images are uint8 or uint16 of shape (n, h, w, k), and these are {images.dtype} of shape {images.shape}. "
            "Multiply images in [0, 1] by 255 and round."
        )
    findings = Findings(name)
    arrays = {key: np.asarray(values) for key, values in columns.items()}
    # Objects stay objects: as in a manifest, text that is all numbers becomes numbers.
    series = {key: pd.Series(array, dtype=object if array.dtype == object else None) for key, array in arrays.items()}
    table = pd.DataFrame(series)
    if "label" not in table or len(table) != len(images):
        raise ValueError(f"Columns need a label and one entry for each of {len(images)} images; found {table.shape}.")
    if "image_path" not in table:
        table["image_path"] = [f"{name}/{i:06d}" for i in range(len(table))]
    table["row"] = np.arange(len(table))
    table = standardize(table, findings)
    table["sha256"] = [sha256_of_array(image) for image in images] if sha256 is None else list(sha256)
    check_rows(table, findings)
    return _build(name, images, table, findings, seed, hold_out, unknown_classes)


def _build(
    name: str,
    images: Images,
    table: pd.DataFrame,
    findings: Findings,
    seed: int,
    hold_out: Sequence[str],
    unknown_classes: UnknownClasses,
) -> Dataset:
    """Returns the data set of a table whose index says which image a row has."""
    # One order for all manifests of the same images: nothing downstream can depend on how rows or files are arranged.
    order = np.lexsort((table["image_path"], table["sha256"]))
    places = table.index.to_numpy()[order]
    table = table.iloc[order].reset_index(drop=True)
    table = assign_splits(table, findings, seed=seed, hold_out=hold_out)
    check_sets(table, findings, unknown_classes=unknown_classes)
    findings.raise_faults()
    classes = class_order(list(table["label"][table["split"] == "train"]))
    index = {label: i for i, label in enumerate(classes)}
    computed = {
        "image_id": image_ids(list(table["sha256"])),
        "label_index": np.array([index.get(label, UNKNOWN) for label in table["label"]], dtype=np.int32),
    }
    table = table.assign(**computed)
    first = ["row", "image_path", "image_id", "sha256", "label", "label_index", *STANDARD_COLUMNS[2:]]
    table = table[[*first, *(column for column in table if column not in first)]]
    return Dataset(name, classes, images.take(places, axis=0), table, tuple(findings.notes))
