"""The rows of a manifest for people who work with TensorFlow Datasets: as a data source, and as a builder.

`ManifestSource` is a view: it reads the images from the manifest's own files when it is asked for them. A copy of the
images is made by `tfds_builder(...).download_and_prepare()` alone. Both give the same examples in the same order, the
manifest's sets as splits, and neither needs TensorFlow or names a file. They do tell patients apart.

An example has `image`, the file's bytes, or `channels`, those of one file a channel (arrays and DICOM files are PNG of
their values); `label`, a number; `image_id`, which is the benchmark's own; and every other column of the manifest as
text, in bytes of UTF-8 as TFDS has it.
"""

import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, SupportsIndex

import numpy as np
import pandas as pd
from jaxtyping import Int
from PIL import Image

from sfjax.data import arrays
from sfjax.data.check import UnknownClasses, check_rows, check_sets
from sfjax.data.decoding import Problem
from sfjax.data.dicom import decode_dicom, is_dicom
from sfjax.data.findings import Findings, listing
from sfjax.data.image_paths import sources, within
from sfjax.data.images import image_ids
from sfjax.data.manifest import class_order, read_manifest
from sfjax.data.pictures import FORMATS, from_array
from sfjax.data.splits import assign_splits
from sfjax.data.tfds_sets import import_tfds

OWN_FEATURES: Final = ("image", "channels", "label", "image_id")

_DECODED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"PNG": ("L", "RGB", "I;16"), "JPEG": ("L", "RGB"), "BMP": ("RGB",)}
)
"""Formats, each with the pixel modes of Pillow, that TFDS decodes as they are: with OpenCV, Pillow or TensorFlow."""


class Encoding(NamedTuple):
    """How the images of a manifest are stored.

    Attributes:
        parts: Encoded images of each: 1, or one a channel.
        mode: Pillow's pixel mode of all parts, "" where they differ or TFDS does not decode them.
    """

    parts: int
    mode: str


@dataclass(frozen=True, eq=False)
class ManifestRows:
    """The rows of a manifest, checked and divided into sets, and where their images are.

    Attributes:
        folder: Where relative paths of images begin.
        classes: Names of the labels; those that training does not have come last.
        encoding: How the images are stored.
        table: As `sfjax.data.Dataset` has it, in the same order.
        notes: What did not stop, but must be said.
    """

    folder: Path
    classes: tuple[str, ...]
    encoding: Encoding
    table: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the sets, in alphabetical order."""
        return tuple(sorted(set(self.table["split"])))


def read_rows(
    manifest: str | PathLike[str],
    *,
    seed: int,
    metadata: Sequence[str | PathLike[str]] = (),
    columns: Mapping[str, str] | None = None,
    hold_out: Sequence[str] = (),
    unknown_classes: UnknownClasses = "error",
    leave_out: Sequence[str] = (),
    progress: Callable[[int, int], object] | None = None,
) -> ManifestRows:
    """Returns the rows of a manifest with the sets that the benchmark makes of them, or raises one `ManifestError`.

    Every file is read once, for its hash: draws of splits, `image_id` and the order depend on it. Pictures are not
    decoded, so that a file which begins well and is broken further on is not noticed here.

    Args:
        manifest: CSV or Parquet, one row an image; `image_path` has a form of `sfjax.data.image_paths`, and relative
            ones start at its folder.
        seed: Of the splits, where they are drawn; the benchmark's is its `data_seed`.
        metadata: Further tables, joined on `image_path` (see `sfjax.data.read_manifest`).
        columns: Standard name -> name in the files.
        hold_out: Entries `domain=NAME` or `subclass=NAME` that become shifted test sets.
        unknown_classes: "failure" keeps images of shifted sets whose label is not in train.
        leave_out: Further columns that examples shall not have, such as those that name people or files.
        progress: Called with (images read, images in all).
    """
    path = Path(manifest)
    findings = Findings(path.name)
    table = read_manifest(path, findings, metadata=metadata, columns=columns)
    check_rows(table, findings)
    if unknown := sorted(set(leave_out) - set(table)):
        raise ValueError(f"leave_out names {listing(unknown)}, and the columns are {listing(list(table), 30)}.")
    table = table[(table["image_path"] != "") & (table["label"] != "")].reset_index(drop=True)
    table = table.drop(columns=[*leave_out])
    folder = path.absolute().parent
    contents = []
    for image in table["image_path"]:
        contents.append(_content(folder, image))
        if progress is not None:
            progress(len(contents), len(table))
    for row, image, content in zip(table["row"], table["image_path"], contents, strict=True):
        if content.problem is not None:
            findings.fault(content.problem.kind, f"{image}: {content.problem.detail}", row=int(row))
    # One row of each number of parts, to be named where they differ.
    counts = {content.parts: row for row, content in zip(table["row"], contents, strict=True) if content.parts}
    if len(counts) > 1:
        found = listing([f"{count} in row {row}" for count, row in sorted(counts.items())])
        findings.fault("another number of channels", f"files or channels of an image are {found}")
    table["sha256"] = [content.sha256 for content in contents]
    table = table[[content.problem is None for content in contents]]
    order = np.lexsort((table["image_path"], table["sha256"]))
    table = assign_splits(table.iloc[order].reset_index(drop=True), findings, seed=seed, hold_out=hold_out)
    check_sets(table, findings, unknown_classes=unknown_classes)
    findings.raise_faults()
    known = class_order(list(table["label"][table["split"] == "train"]))
    unknown = class_order(list(table["label"][~table["label"].isin(known)]))
    modes = set().union(*(content.modes for content in contents))
    encoding = Encoding(next(iter(counts)), modes.pop() if len(modes) == 1 else "")
    table["image_id"] = image_ids(list(table["sha256"]))
    return ManifestRows(folder, known + unknown, encoding, table, tuple(findings.notes))


@dataclass(frozen=True, eq=False)
class ManifestSource:
    """The examples of one set, read from the manifest's files when they are asked for; it can be pickled.

    A data source as TFDS, Grain and PyTorch have it: `len`, an example for an index, examples for several.

    Attributes:
        rows: The manifest's rows.
        split: Name of the set.
    """

    rows: ManifestRows
    split: str

    def __post_init__(self) -> None:
        if self.split not in self.rows.splits:
            raise ValueError(f"The manifest has no set {self.split!r}. There are {', '.join(self.rows.splits)}.")

    @cached_property
    def positions(self) -> Int[np.ndarray, " n"]:
        """Of the set's images in the table."""
        return np.flatnonzero(self.rows.table["split"] == self.split)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Returns an example: bytes, numbers, and text as bytes.

        Raises:
            IndexError: There are fewer images.
            ValueError: A file is gone or is not the one that was read first.
        """
        return _example(self.rows, int(self.positions[index.__index__()]))

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Returns several examples, for loaders that ask for a batch at once."""
        return [self[index] for index in indices]


def tfds_builder(
    rows: ManifestRows, *, name: str, data_dir: str | PathLike[str], version: str = "1.0.0", description: str = ""
) -> Any:
    """Returns a `tfds.core.GeneratorBasedBuilder` of a manifest's rows; `download_and_prepare()` copies the images.

    It downloads nothing, and writes array_record files, whose examples stay in the order of `ManifestSource`. `image`
    and `channels` are features that TFDS decodes where all files are PNG, JPEG or BMP of one pixel mode, else bytes. A
    split's name has its characters other than letters, digits, `_` and `-` replaced by `_`, since TFDS knows no others.

    Args:
        rows: Of a manifest, from `read_rows`.
        name: Of the set, in letters, digits and underscores, beginning with a letter.
        data_dir: Folder of prepared sets; the copy goes to `NAME/VERSION` in it.
        version: Another one for changed rows.
        description: For the set's information.

    Raises:
        ImportError: TensorFlow Datasets is not installed.
        ValueError: A name cannot be one, or other rows were prepared under this name and version.
    """
    tfds = import_tfds()
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"The name of a TFDS set is lower-case letters, digits and underscores; got {name!r}.")
    names = _split_names(rows.splits)
    digest = _digest(rows)

    with tfds.core.registered.skip_registration():  # it is no set that tfds.load could find

        class ManifestBuilder(tfds.core.GeneratorBasedBuilder):
            """Copies the rows of a manifest into a TFDS set."""

            VERSION = tfds.core.Version(version)
            # No package around this class has a description or checksums, and looking for them needs one library more.
            pkg_dir_path = None
            code_path = None

            def _info(self) -> Any:
                return tfds.core.DatasetInfo(
                    builder=self,
                    description=description or f"Rows of the manifest behind {name}.",
                    features=tfds.features.FeaturesDict(_features(tfds, rows)),
                    supervised_keys=("image" if rows.encoding.parts == 1 else "channels", "label"),
                    disable_shuffling=True,
                    metadata=tfds.core.MetadataDict(rows_sha256=digest),
                )

            def _split_generators(self, dl_manager: Any) -> Any:
                return {names[split]: self._generate_examples(split) for split in rows.splits}

            def _generate_examples(self, split: str) -> Any:
                source = ManifestSource(rows, split)
                yield from ((i, source[i]) for i in range(len(source)))

    ManifestBuilder.name = name
    prepared = ManifestBuilder(data_dir=str(data_dir), file_format="array_record")
    if prepared.info.metadata.get("rows_sha256") != digest:  # read from the disk, where a copy is there already
        raise ValueError(
            f"{name}/{version} in {data_dir} was prepared from other rows. Give the new ones another version, or "
            "another data_dir."
        )
    return prepared


class _Content(NamedTuple):
    """What is known of an image: its hash, its parts and their pixel modes, and what is wrong with it."""

    sha256: str
    parts: int
    modes: frozenset[str]
    problem: Problem | None = None


def _read(folder: Path, image_path: str) -> tuple[list[bytes], str]:
    """Returns an image's encoded parts, one or one a channel, and the hash of what the manifest names.

    Pictures are the bytes of their files. Arrays, and DICOM files, whose headers may name people, are PNG of their
    values.

    Raises:
        Exception: Of the file's system, or whatever decoders raise of a broken file.
    """
    parts, digest = [], hashlib.sha256()
    for source in sources(within(folder, image_path)):
        if source.array is not None:
            pixels = arrays.read_image(source.file, source.array, source.item)
            digest.update(arrays.content(pixels))
            parts += map(_png, from_array(arrays.levels(pixels)))
            continue
        data = Path(source.file).read_bytes()
        digest.update(data)
        parts += map(_png, from_array(decode_dicom(data, source.window))) if is_dicom(data) else [data]
    return parts, digest.hexdigest()


def _png(image: Image.Image) -> bytes:
    """Returns a picture of `sfjax.data.pictures` as PNG, which loses nothing."""
    file = io.BytesIO()
    levels = Image.fromarray(np.asarray(image).astype(np.uint16)) if image.mode == "F" else image
    levels.save(file, "PNG")
    return file.getvalue()


def _content(folder: Path, image_path: str) -> _Content:
    try:
        parts, sha256 = _read(folder, image_path)
        return _Content(sha256, len(parts), frozenset(map(_mode, parts)))
    except FileNotFoundError as error:
        problem = Problem("missing file", f"no such file as {Path(error.filename).name}")
    except Exception as error:  # decoders of broken files raise anything; the text goes into the report
        problem = Problem("undecodable image", f"{error.__class__.__name__}: {error}")
    return _Content("", 0, frozenset(), problem)


def _mode(data: bytes) -> str:
    """Returns the pixel mode of an encoded image, "" where TFDS does not decode it as it is.

    Raises:
        OSError: It is none.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        layout = str(image.tile[0].args) if image.format == "PNG" and image.tile else image.mode
        # Pillow reads 16-bit color as 8 bit, others do not; transparency and further pictures are not TFDS's.
        plain = not layout.startswith("RGB;16") and not image.has_transparency_data
        plain &= getattr(image, "n_frames", 1) == 1 and image.mode in _DECODED.get(image.format or "", ())
        return image.mode if plain else ""


def _example(rows: ManifestRows, position: int) -> dict[str, Any]:
    row = rows.table.iloc[position]
    try:
        parts, sha256 = _read(rows.folder, row["image_path"])
    except Exception as error:
        raise ValueError(
            f"Row {row['row']}: {row['image_path']} cannot be read: {error}. Put the file back."
        ) from error
    if sha256 != row["sha256"]:
        raise ValueError(
            f"Row {row['row']}: the content of {row['image_path']} has changed since the rows were read. Put the file "
            "back, or read the rows again."
        )
    image = {"image": parts[0]} if rows.encoding.parts == 1 else {"channels": parts}
    own = {"label": rows.classes.index(row["label"]), "image_id": np.uint32(row["image_id"])}
    return image | own | {feature: str(row[column]).encode() for column, feature in _text_features(rows).items()}


def _text_features(rows: ManifestRows) -> dict[str, str]:
    """Returns the columns that are text features, with their names there."""
    columns = [
        str(column) for column in rows.table if column not in ("row", "image_path", "sha256", "label", "image_id")
    ]
    return {column: f"manifest_{column}" if column in OWN_FEATURES else column for column in columns}


def _features(tfds: Any, rows: ManifestRows) -> dict[str, Any]:
    parts, mode = rows.encoding
    one: Any = tfds.features.Scalar(np.object_)
    if mode:
        dtype = np.uint16 if mode == "I;16" else np.uint8
        one = tfds.features.Image(shape=(None, None, 3 if mode == "RGB" else 1), dtype=dtype)
    image = {"image": one} if parts == 1 else {"channels": tfds.features.Sequence(one, length=parts)}
    own = {"label": tfds.features.ClassLabel(names=list(rows.classes)), "image_id": np.uint32}
    return image | own | {feature: tfds.features.Text() for feature in _text_features(rows).values()}


def _split_names(splits: Sequence[str]) -> dict[str, str]:
    """Returns what TFDS calls the sets."""
    names = {split: re.sub(r"[^\w-]", "_", split) for split in splits}
    if len(set(names.values())) < len(names) or "all" in names.values():
        raise ValueError(
            f"TFDS cannot tell the sets {', '.join(splits)} apart: it calls them {', '.join(names.values())}, and "
            "'all' is all of them. Rename them in the split column."
        )
    return names


def _digest(rows: ManifestRows) -> str:
    """Returns the SHA-256 of all that examples hold, wherever the files are."""
    text = rows.table.drop(columns=["row", "image_path"]).to_csv(index=False) + repr((rows.classes, rows.encoding))
    return hashlib.sha256(text.encode()).hexdigest()
