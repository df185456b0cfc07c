"""From a preparation's table to a finished one: one row an image, every image there and whole, patients united.

What is left out is counted with its reason. Reading and decoding hundreds of thousands of files takes hours: what was
learned of each file is kept in a cache, so that a preparation that was stopped goes on where it was.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sfjax.data.findings import listing
from sfjax.data.image_paths import normalized, sources, within
from sfjax.data.images import decode_images
from sfjax.data.preparation.base import Account, Preparation, Progress
from sfjax.data.preparation.originals import archives, describe, found, missing, passed_over
from sfjax.files import write_whole

COLUMNS = ("image_path", "label", "domain", "subclass", "patient_id", "source")
"""What every preparation's table has."""

_AT_A_TIME = 500
"""Files between two looks at the clock."""

_SECONDS_BETWEEN_WRITES = 30.0
"""Of the cache, which is written whole; stopped by a signal that can be caught, it is written as well."""

_DECODED_SIZE = 8
"""Side in pixels of the images that a decoding check makes and drops: the file is decoded in full first."""


class Prepared(NamedTuple):
    """A finished table.

    Attributes:
        table: `COLUMNS` and the originals' own columns, one row an image; `image_path` relative to the raw folder.
        lines: What became of every row, for people.
    """

    table: pd.DataFrame
    lines: list[str]


class Seen(NamedTuple):
    """What is known of an image: where it is, what its files were like when it was looked at, and what was found.

    Attributes:
        image_path: As in the table.
        stamp: Size in bytes and time of last change in nanoseconds of each of its files.
        sha256: Of its content, in hexadecimal, as `sfjax.data.decoding.load` has it; "" where it could not be read.
        problem: Why there is no image, "" where there is one or nothing was decoded.
        decoded: Whether that was tried.
    """

    image_path: str
    stamp: str
    sha256: str = ""
    problem: str = ""
    decoded: bool = False


def prepare(
    preparation: Preparation,
    raw: Path,
    *,
    cache: Path | None = None,
    decode: bool = True,
    workers: int | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Prepared:
    """Returns the task's table with one row an image, and what became of every row of the originals.

    Left out and counted are rows whose file is not there, further rows of one image (by `image_key` or by content),
    images whose rows contradict each other's label, and files that cannot be decoded. The first row of an image stays.
    Patients of two sources who share an image are one patient from then on, whose name is the first.

    Args:
        preparation: The task's.
        raw: The folder of the downloads.
        cache: A Parquet file for what is known of each file; None keeps nothing.
        decode: Decode every file in full; False only reads it, so that a truncated file stays.
        workers: Threads; None leaves the number to Python.
        progress: Called with (what is being done, things done, things in all).

    Raises:
        ValueError: No source is there, or only a part of one; every missing file is named.
    """
    account = Account()
    for source in absent_sources(preparation, raw):
        account.note(f"{source}: left out, because nothing of it is there.")
    for source, needs in preparation.needed.items():
        for needed in needs:
            if unread := passed_over(raw, needed):
                read = found(raw, needed)
                account.note(f"{source}: {read and read.name} is read, {listing([path.name for path in unread])} not.")
    table = preparation.tables(raw, account, progress).reset_index(drop=True)
    if lacking := [name for name in COLUMNS if name not in table]:
        raise RuntimeError(f"The table of {preparation.name} lacks {listing(lacking)}.")
    texts = [name for name in table.columns if pd.api.types.is_string_dtype(table[name].dropna())]
    table = table.assign(**{str(name): table[name].fillna("") for name in texts})  # what another source has not
    keys = table["image_key"].where(table["image_key"] != "", table["image_path"]) if "image_key" in table else None
    table = _united(table, table["image_path"] if keys is None else keys, account)

    files_of = {path: [source.file for source in sources(path)] for path in pd.unique(table["image_path"])}
    stamps = dict(_listed(raw, sorted({file for files in files_of.values() for file in files}), progress))
    whole = {path for path, files in files_of.items() if all(file in stamps for file in files)}
    there = table["image_path"].isin(whole)
    _lose(table[~there], "image missing", account)
    table = table[there]
    table = _one_row_each(table, table["image_path"] if keys is None else keys[table.index], "row again", account)

    wanted = [Seen(path, " ".join(stamps[file] for file in files_of[path])) for path in table["image_path"]]
    known = _examined(raw, wanted, cache, decode, workers, progress)
    seen = [known[path] for path in table["image_path"]]
    # What could not even be read has no content to compare.
    content = pd.Series([one.sha256 or one.image_path for one in seen], index=table.index, dtype=object)
    broken = pd.Series([bool(one.problem) for one in seen], index=table.index, dtype=bool)
    _lose(table[broken], "image unreadable", account)
    table = _united(table[~broken], content[~broken], account)
    table = _one_row_each(table, content[table.index], "image again under another name", account)
    if table.empty:
        lost = "; ".join(account.lines({}))
        raise ValueError(f"No image of {preparation.name} is left. {lost}. Check the folder: {raw}")
    kept = {str(source): int(count) for source, count in table["source"].value_counts().items()}
    lines = [*account.lines(kept), *account.notes]
    others = [name for name in table if name not in (*COLUMNS, "image_key")]
    return Prepared(table[[*COLUMNS, *others]].reset_index(drop=True), lines)


def absent_sources(preparation: Preparation, raw: Path) -> list[str]:
    """Returns the sources of which nothing is there.

    Raises:
        ValueError: Nothing is there at all, or a source is there in part; every missing file is named.
    """
    absent = missing(preparation, raw)
    whole = [source for source in preparation.needed if len(absent.get(source, ())) == len(preparation.needed[source])]
    partial = {source: needs for source, needs in absent.items() if source not in whole}
    if len(whole) == len(preparation.needed):
        named = absent
        text = f"No original of {preparation.name} is below {raw}. One source is enough; each is whole or not there."
    elif partial:
        named = partial
        text = f"Of {listing(list(partial))} only a part is below {raw}. Add the rest, or remove what is there."
    else:
        return whole
    files = [f"  {source}: {describe(needed)}" for source, needs in named.items() for needed in needs]
    lines = [text, "Missing:", *files]
    if packed := archives(raw):
        lines.append(
            f"There are archives, which are not read: unpack {listing(packed)} in the folders that they are in."
        )
    raise ValueError("\n".join(lines))


def located(table: pd.DataFrame, raw: Path, folder: Path) -> tuple[pd.DataFrame, bool]:
    """Returns the table with paths relative to `folder` and True, or absolute ones and False if `raw` is not below it.

    Args:
        table: With paths relative to `raw`.
        raw: The folder of the downloads.
        folder: Where the manifest will be.
    """
    raw, folder = raw.absolute(), folder.absolute()
    inside = raw.is_relative_to(folder)
    start = raw.relative_to(folder) if inside else raw
    paths = [normalized(within(start, path)) for path in table["image_path"]]
    return table.assign(image_path=pd.Series(paths, index=table.index, dtype=object)), inside


def _listed(raw: Path, files: Sequence[str], progress: Progress) -> Iterator[tuple[str, str]]:
    """Yields the files that are there, each with its size and time; every folder is listed once."""
    folders: dict[str, dict[str, str]] = {}
    for file in files:
        parent, _, name = file.rpartition("/")
        folders.setdefault(parent, {})[name] = file
    for i, (parent, names) in enumerate(folders.items(), start=1):
        progress("listing folders", i, len(folders))
        try:
            with os.scandir(raw / parent) as entries:
                for entry in entries:
                    if entry.name in names and entry.is_file():
                        status = entry.stat()
                        yield names[entry.name], f"{status.st_size}:{status.st_mtime_ns}"
        except (FileNotFoundError, NotADirectoryError):
            continue


def _examined(
    raw: Path, images: Sequence[Seen], cache: Path | None, decode: bool, workers: int | None, progress: Progress
) -> dict[str, Seen]:
    """Returns what is known of each image, from the cache where its files have not changed since."""
    cached = _read_cache(cache)
    known: dict[str, Seen] = {}
    for image in images:
        before = cached.get(image.image_path, image)
        if before.stamp == image.stamp and (before.decoded or (before.sha256 and not decode)):
            known[image.image_path] = before if decode else _undecoded(before)
    left = [image for image in images if image.image_path not in known]
    what = "reading and decoding images" if decode else "reading images"
    last = time.monotonic()
    try:
        for start in range(0, len(left), _AT_A_TIME):
            part = left[start : start + _AT_A_TIME]
            progress(what, len(known), len(images))
            looked = _decoded(raw, part, workers) if decode else _hashed(raw, part, workers)
            known |= {image.image_path: image for image in looked}
            cached |= {image.image_path: image for image in looked}
            if time.monotonic() - last > _SECONDS_BETWEEN_WRITES:
                _write_cache(cache, cached)
                last = time.monotonic()
        progress(what, len(images), len(images))
    finally:
        if left:
            _write_cache(cache, cached)
    return known


def _decoded(raw: Path, images: Sequence[Seen], workers: int | None) -> list[Seen]:
    paths = [within(raw, image.image_path) for image in images]
    read = decode_images(paths, size=_DECODED_SIZE, images_in="disk", workers=workers)
    problems = [read.problems[i].detail if i in read.problems else "" for i in range(len(images))]
    return [
        image._replace(sha256=sha256, problem=problem, decoded=True)
        for image, sha256, problem in zip(images, read.sha256, problems, strict=True)
    ]


def _hashed(raw: Path, images: Sequence[Seen], workers: int | None) -> list[Seen]:
    """Returns the images with the hashes that decoding gives; what is in an array file is unpacked for that."""

    def look(image: Seen) -> Seen:
        digest = hashlib.sha256()
        try:
            for source in sources(image.image_path):
                digest.update((raw / source.file).read_bytes())
        except OSError as error:
            return image._replace(problem=f"the file cannot be opened: {error.strerror}")
        return image._replace(sha256=digest.hexdigest())

    packed = [image for image in images if any(source.array is not None for source in sources(image.image_path))]
    with ThreadPoolExecutor(workers) as pool:
        plain = list(pool.map(look, (image for image in images if image not in packed)))
    return plain + list(map(_undecoded, _decoded(raw, packed, workers)))


def _undecoded(image: Seen) -> Seen:
    """Returns what is known without decoding: only what cannot even be read has a problem."""
    return image._replace(problem="") if image.sha256 else image


def _read_cache(cache: Path | None) -> dict[str, Seen]:
    if cache is None or not cache.exists():
        return {}
    try:
        table = pd.read_parquet(cache, columns=list(Seen._fields))
    except (OSError, ValueError) as error:
        raise ValueError(f"{cache} is not the cache of a preparation ({error}). Remove or rename it.") from error
    return {image.image_path: image for image in map(Seen._make, table.itertuples(index=False, name=None))}


def _write_cache(cache: Path | None, images: dict[str, Seen]) -> None:
    if cache is not None:
        table = pd.DataFrame(list(images.values()), columns=pd.Index(Seen._fields))
        write_whole(cache, lambda path: table.to_parquet(path, index=False))


def _lose(rows: pd.DataFrame, reason: str, account: Account) -> None:
    for source, lost in rows.groupby("source", sort=False):
        account.lose(str(source), reason, list(lost["image_path"]))


def _one_row_each(table: pd.DataFrame, key: pd.Series, reason: str, account: Account) -> pd.DataFrame:
    """Returns the first row of each key; no row where the labels of a key's rows contradict each other."""
    contradicted = table["label"].groupby(key).transform("nunique") > 1
    _lose(table[contradicted], "label contradicted by another row of the image", account)
    again = key.duplicated() & ~contradicted
    _lose(table[again], reason, account)
    return table[~contradicted & ~again]


def _united(table: pd.DataFrame, key: pd.Series, account: Account) -> pd.DataFrame:
    """Returns the table in which patients who share a key have one `patient_id`: the first that is not blank."""
    blank = table["patient_id"] == ""
    if blank.all():
        return table
    # A row without a patient is a patient of its own, whose name is no text.
    own = pd.Series(list(table.index), index=table.index, dtype=object)
    patients, names = pd.factorize(table["patient_id"].astype(object).where(~blank, own))
    keys = pd.factorize(key)[0]
    nodes = len(names) + keys.max() + 1
    edges = coo_array((np.ones(len(table)), (patients, len(names) + keys)), shape=(nodes, nodes))
    group = pd.Series(connected_components(edges, directed=False)[1][patients], index=table.index)
    first = table["patient_id"][~blank].groupby(group[~blank]).first()
    united = group.map(first).fillna("").astype(object)
    changed = (united != table["patient_id"]) & ~blank
    if changed.any():
        pairs = [f"{a} is {b}" for a, b in zip(table["patient_id"][changed], united[changed], strict=True)]
        pairs = list(dict.fromkeys(pairs))
        account.note(f"{len(pairs)} patients share an image with another and are one with them: {listing(pairs, 3)}.")
    return table.assign(patient_id=united)
