"""A classification set of TensorFlow Datasets that is prepared on this machine, read without TensorFlow.

Images are decoded from their encoded bytes as the files of a manifest are, whatever decoders TFDS would find installed.
Nothing is downloaded: a set that is not prepared is an error that says how to prepare it.
"""

import hashlib
import re
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Shaped
from PIL import Image

from sfjax.data.check import UnknownClasses
from sfjax.data.dataset import Dataset
from sfjax.data.decoding import convert, convertible
from sfjax.data.findings import Findings, listing
from sfjax.data.pictures import picture, square
from sfjax.data.split_arrays import dataset_of_splits, remarks_as_notes

_AT_A_TIME: Final = 64
"""Examples whose encoded images are in memory at once."""


def import_tfds() -> ModuleType:
    """Returns the library TensorFlow Datasets, which is imported where it is used because that takes half a second."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            "TensorFlow Datasets is not installed. Install it with pip install 'sfjax[data]'; TensorFlow is not needed."
        ) from error
    return tensorflow_datasets


def load_tfds(
    name: str,
    *,
    size: int,
    seed: int,
    data_dir: str | PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
    hold_out: Sequence[str] = (),
    skip_bad_images: bool = False,
    unknown_classes: UnknownClasses = "error",
    workers: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Dataset:
    """Returns the images of a TFDS set, divided into sets, or raises one `ManifestError` with all that is wrong.

    Its image is the only feature that is one, and its label the only class label; of several, those of its supervised
    pair. A sequence of gray images of fixed length is one image with as many channels. Every other feature that is a
    single value is a column of the table. How splits become sets is in `sfjax.data.split_arrays`. An image's hash, and
    with it its random numbers, is that of its encoded bytes, as of a file.

    Args:
        name: `NAME`, `NAME/CONFIG` or `NAME/CONFIG:VERSION`.
        size: Side of the square images in pixels.
        seed: Of the splits, where they are drawn.
        data_dir: Folder of prepared sets; None is TFDS's own (`TFDS_DATA_DIR`, or `tensorflow_datasets` at home).
        columns: Standard name of a manifest's column -> feature; `image_path` and `label` choose among several.
        hold_out: Entries `domain=NAME` or `subclass=NAME` that become shifted test sets.
        skip_bad_images: Go on without images that cannot be decoded, and note which.
        unknown_classes: "failure" keeps images of shifted sets whose label is not in train.
        workers: Threads that decode.
        progress: Called with (images read, images in all).

    Raises:
        ImportError: TensorFlow Datasets is not installed.
        ValueError: The set is not prepared, is stored in a format that needs TensorFlow, or has no such features.
    """
    tfds = import_tfds()
    prepared = _prepared(tfds, name, data_dir)
    features = _features(tfds, prepared.info, columns or {})
    findings = Findings(prepared.info.full_name)
    total = sum(split.num_examples for split in prepared.info.splits.values())
    pixels = np.zeros((total, size, size, features.channels), features.dtype)
    rows: list[dict[str, Any]] = []
    remarks: Counter[str] = Counter()
    problems: dict[int, str] = {}
    for place, split, example, image in _decoded_examples(tfds, prepared, features, size, workers):
        row = {name: _value(features.all[feature], example[feature]) for feature, name in features.columns.items()}
        sha256 = hashlib.sha256(b"".join(_parts(example[features.image]))).hexdigest()
        rows.append({**row, "image_path": place, "split": split, "sha256": sha256})
        if isinstance(image, str):
            problems[len(rows) - 1] = f"{place}: {image}"
        else:
            pixels[len(rows) - 1] = image[0]
            remarks.update(image[1])
        if progress is not None:
            progress(len(rows), total)
    table = pd.DataFrame(rows, columns=[*features.columns.values(), "image_path", "split", "sha256"], dtype=object)
    table = table.drop(index=_left_out(table, problems, skip_bad_images, findings))
    findings.notes += remarks_as_notes(remarks, total - len(problems))
    if features.unused:
        findings.note(f"Features that are not one value an image are not used: {listing(features.unused)}.")
    findings.raise_faults()
    return dataset_of_splits(
        re.sub(r"[^\w.+-]+", "_", name),
        pixels if len(table) == total else pixels[table.index],
        {str(column): table[column].to_numpy() for column in table if column != "sha256"},
        sha256=list(table["sha256"]),
        seed=seed,
        hold_out=hold_out,
        unknown_classes=unknown_classes,
        notes=findings.notes,
    )


class _Features(NamedTuple):
    """What is read of each example.

    Attributes:
        all: The set's features by name.
        image: Name of the image, or of the sequence of its channels.
        channels: How many it has.
        dtype: uint8 or uint16.
        columns: Name of a feature -> name in the table.
        unused: Names of those that are not read.
    """

    all: Mapping[str, Any]
    image: str
    channels: int
    dtype: np.dtype
    columns: dict[str, str]
    unused: list[str]


def _prepared(tfds: ModuleType, name: str, data_dir: str | PathLike[str] | None) -> Any:
    """Returns the builder of a set on this disk, which only reads."""
    folder = None if data_dir is None else str(Path(data_dir).expanduser())
    where = folder or str(tfds.core.constants.DATA_DIR)
    try:
        return tfds.core.read_only_builder.builder_from_files(name, data_dir=folder)
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
        there = sorted(path.name for path in Path(where).glob("*") if path.is_dir() and path.name != "downloads")
        keywords = "" if folder is None else f", data_dir={folder!r}"
        raise ValueError(
            f"No TFDS set {name!r} is prepared in {where}; there are {listing(there, 30) or 'none'}. Nothing is "
            f"downloaded here: where there is a network, run tensorflow_datasets.builder({name!r}{keywords})"
            ".download_and_prepare(file_format='array_record') in Python, or choose the folder with --tfds-data-dir. "
            "A set with configurations is NAME/CONFIG."
        ) from error


def _features(tfds: ModuleType, info: Any, named: Mapping[str, str]) -> _Features:
    """Returns which feature is what.

    Raises:
        ValueError: One that is needed is missing, or one that was named, or it is not clear which it is.
    """
    features = dict(info.features.items())
    if missing := sorted({feature for name, feature in named.items() if feature not in features}):
        raise ValueError(
            f"The TFDS set {info.full_name} has no feature {listing(missing)}; there are {listing(sorted(features))}."
        )

    def of_kind(kind: str, option: str, fits: Callable[[Any], bool]) -> str:
        found = [name for name, feature in features.items() if fits(feature)]
        pair = [name for name in info.supervised_keys or () if name in found]
        if len(pair) == 1:
            found = pair
        if len(found) == 1:
            return found[0]
        raise ValueError(
            f"The TFDS set {info.full_name} has {len(found)} features that are {kind}"
            f"{': ' + listing(sorted(found)) if found else ''}; there are {listing(sorted(features))}. "
            f"Choose one with {option}, or make one image of one class a row of a manifest."
        )

    def is_image(feature: Any) -> bool:
        return type(feature) is tfds.features.Image or _channels_of_sequence(tfds, feature) > 0

    image = named.get("image_path") or of_kind("images", "--image-path-column", is_image)
    if not is_image(features[image]):
        raise ValueError(f"The feature {image} of {info.full_name} is no image but {features[image]}.")
    label = named.get("label") or of_kind(
        "class labels", "--label-column", lambda feature: isinstance(feature, tfds.features.ClassLabel)
    )
    channels = _channels_of_sequence(tfds, features[image]) or (1 if features[image].shape[-1] == 1 else 3)
    dtype = np.dtype(features[image].np_dtype)
    if dtype not in (np.uint8, np.uint16):
        raise ValueError(f"The feature {image} of {info.full_name} is {dtype}; images are uint8 or uint16.")
    columns = {named[name]: name for name in named if name != "image_path"} | {label: "label"}
    single = {name for name, feature in features.items() if not is_image(feature) and feature.shape == ()}
    # The set's own splits count, and a column that has a standard name gives way to the feature that was named for it.
    for name in sorted(single - set(columns) - {"split"}):
        columns[name] = f"tfds_{name}" if name in columns.values() else name
    if wrong := sorted(set(columns) - single):
        raise ValueError(f"The features {listing(wrong)} of {info.full_name} are not one value an image.")
    return _Features(features, image, channels, dtype, columns, sorted(set(features) - single - {image}))


def _channels_of_sequence(tfds: ModuleType, feature: Any) -> int:
    """Returns how many gray images a feature is a sequence of, 0 if it is none."""
    if type(feature) is not tfds.features.Sequence or type(feature.feature) is not tfds.features.Image:
        return 0
    return feature.shape[0] or 0 if feature.feature.shape[-1] == 1 else 0


def _decoded_examples(
    tfds: ModuleType, prepared: Any, features: _Features, size: int, workers: int | None
) -> Iterator[tuple[str, str, dict[str, Any], tuple[np.ndarray, frozenset[str]] | str]]:
    """Yields SPLIT/POSITION, split, example with encoded images, and the image with remarks, or why there is none."""

    class Encoded(tfds.decode.SkipDecoding):
        """Leaves a sequence of images encoded too."""

        def decode_batch_example_np(self, example: Any) -> Any:
            return example

    image = tfds.features.Image
    images = [name for name, of_name in features.all.items() if isinstance(getattr(of_name, "feature", of_name), image)]
    decoders = {name: Encoded() for name in images}

    def decode(example: dict[str, Any]) -> tuple[np.ndarray, frozenset[str]] | str:
        return _decoded(_parts(example[features.image]), size, features.channels, features.dtype)

    # Filters belong to the process, so that they are set around all threads (see `decode_images`).
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for split in prepared.info.splits:
            records, position = _records(tfds, prepared, split), 0
            while batch := list(islice(records, _AT_A_TIME)):
                examples = [prepared.info.features.deserialize_example_np(one, decoders=decoders) for one in batch]
                for example, image in zip(examples, pool.map(decode, examples), strict=True):
                    yield f"{split}/{position:06d}", split, example, image
                    position += 1


def _records(tfds: ModuleType, prepared: Any, split: str) -> Iterator[bytes]:
    """Yields the examples of a split, serialized.

    Raises:
        ValueError: They are stored in a format that TensorFlow alone reads, or some are missing.
    """
    info = prepared.info
    formats = {file_format.value for file_format in info.available_file_formats()}
    if "array_record" in formats:
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        yield from prepared.as_data_source(split, deserialize_method=raw, file_format="array_record")
    elif "tfrecord" in formats:
        expected, count = info.splits[split].num_examples, 0
        for path in info.splits[split].filepaths:
            for record in _tfrecords(Path(path)):
                yield record
                count += 1
        if count != expected:
            raise ValueError(f"The split {split} of {info.full_name} has {count} examples instead of {expected}.")
    else:
        raise ValueError(
            f"{info.full_name} is stored as {listing(sorted(formats))}. Prepare it with file_format='array_record'."
        )


def _tfrecords(path: Path) -> Iterator[bytes]:
    """Yields the records of a TFRecord file: length (8 bytes), checksum (4), record, checksum (4).

    The checksums (CRC-32C) are not compared: in Python that would take longer than decoding the images, which have
    checksums of their own where they are PNG.
    """
    with path.open("rb") as file:
        while header := file.read(12):
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else -1
            record = file.read(length + 4) if length >= 0 else b""
            if len(record) != length + 4:
                raise ValueError(f"The TFRecord file {path.name} ends within a record. Prepare the set again.")
            yield record[:-4]


def _decoded(
    parts: Sequence[bytes], size: int, channels: int, dtype: np.dtype
) -> tuple[Shaped[np.ndarray, "s s k"], frozenset[str]] | str:
    """Returns the image in one part, or one a channel, and what was done to it, or why there is none."""
    try:
        pictures, reduced = zip(*map(picture, parts), strict=True)
        pixels, cut = zip(*(square(one, size) for one in pictures), strict=True)
    except Exception as error:  # decoders of broken files raise anything; the text goes into the report
        return f"{error.__class__.__name__}: {error}"
    if len({one.size for one in pictures}) > 1 or (len(parts) > 1 and any(part.shape[2] > 1 for part in pixels)):
        return "its channels are not gray images of one size"
    image = np.concatenate(pixels, axis=2)
    if not convertible(image.shape[2], channels):
        return f"it has {image.shape[2]} channels, and the feature says {channels}"
    if image.dtype == np.uint16 and dtype == np.uint8:
        return "it has 16 bit, and the feature says 8"
    return convert(image, channels, dtype), frozenset().union(*reduced, *cut)


def _parts(encoded: bytes | Sequence[bytes] | np.ndarray) -> list[bytes]:
    return [encoded] if isinstance(encoded, bytes) else list(encoded)


def _value(feature: Any, value: Any) -> str | int | float | bool:
    """Returns a feature's value as a manifest holds it: the name of a class, "" where it is not known (-1)."""
    if hasattr(feature, "int2str"):
        return feature.int2str(int(value)) if value >= 0 else ""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return np.asarray(value).item()


def _left_out(table: pd.DataFrame, problems: Mapping[int, str], skip: bool, findings: Findings) -> list[int]:
    """Returns the rows that a data set goes without, and says so; broken images are faults unless they are skipped."""
    if skip and problems:
        places = listing(list(table["image_path"][list(problems)]), len(problems))
        findings.note(f"{len(problems)} of {len(table)} images are broken and were left out: {places}.")
    for problem in problems.values() if not skip else ():
        findings.fault("undecodable image", problem)
    rows = set(problems)
    for split, of_split in table.groupby("split", sort=False):
        if (of_split["label"] == "").all():
            findings.note(f"The split {split} has no labels and was left out: {len(of_split)} images.")
            rows |= set(of_split.index)
    return sorted(rows)
