"""Reading what providers ship: which of it is there, its tables as text, its image files by name."""

import os
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import pandas as pd

from sfjax.data.findings import Findings, listing
from sfjax.data.manifest import COMPUTED_COLUMNS, STANDARD_COLUMNS, read_table
from sfjax.data.preparation.base import Needed, Preparation

OURS = ("image_key", "source", "row", *STANDARD_COLUMNS)
"""Columns that a prepared table means in its own way: an original column of the name becomes `original_<name>`."""

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
"""What providers pack images in."""

MANY = (".png", ".jpg", ".bmp", ".dcm", ".xml")
"""What patterns end with that many files are meant to fit."""


def any_of(folders: Sequence[str], *names: str) -> str:
    """Returns the pattern that every name in every folder matches, names first.

    Example:
        >>> any_of(("a", "b"), "x.csv", "y*.csv")
        'a/x.csv|b/x.csv|a/y*.csv|b/y*.csv'
    """
    return "|".join(f"{folder}/{name}" for name in names for folder in folders)


def found(raw: Path, needed: Needed) -> Path | None:
    """Returns the file that stands for what is needed, or None.

    Of alternatives, the first that is there counts; of several matches of it the last in alphabetical order, which is
    the latest of files with a date in their name.

    Args:
        raw: The folder of the downloads.
        needed: What is looked for.
    """
    for pattern in needed.path.split("|"):
        # One is enough to know; to find all would take minutes.
        matches = islice(raw.glob(pattern), 1) if pattern.endswith(MANY) else sorted(raw.glob(pattern))
        if matches := list(matches):
            return matches[-1]
    return None


def passed_over(raw: Path, needed: Needed) -> list[Path]:
    """Returns the files that fit as well as the one that `found` takes, and are not read."""
    patterns = [pattern for pattern in needed.path.split("|") if not pattern.endswith(MANY)]
    return next((matches[:-1] for pattern in patterns if (matches := sorted(raw.glob(pattern)))), [])


def missing(preparation: Preparation, raw: Path) -> dict[str, list[Needed]]:
    """Returns what is not there, by source; a source with everything is not named."""
    absent = {
        source: [needed for needed in all_needed if found(raw, needed) is None]
        for source, all_needed in preparation.needed.items()
    }
    return {source: needs for source, needs in absent.items() if needs}


def archives(raw: Path) -> list[str]:
    """Returns the packed files in a folder and in the folders in it, relative to it: they may hold what is missing."""
    names = [path for pattern in ("*", "*/*") for path in raw.glob(pattern) if path.name.lower().endswith(ARCHIVES)]
    return sorted(path.relative_to(raw).as_posix() for path in names)


def describe(needed: Needed) -> str:
    """Returns a line for people: the accepted names in their usual folder, other folders, size, access.

    Example:
        >>> describe(Needed("a/x.csv|a/2/x.csv|b/x.csv|a/y.csv", "1 MB", "example.org, free"))
        'a/x.csv or a/y.csv (or in b): 1 MB; example.org, free'
    """
    alternatives = needed.path.split("|")
    by_name: dict[str, str] = {}
    for pattern in alternatives:
        by_name.setdefault(pattern.rpartition("/")[2], pattern)
    _, *others = dict.fromkeys(pattern.partition("/")[0] for pattern in alternatives)
    elsewhere = f" (or in {', '.join(others)})" if others else ""
    return f"{' or '.join(by_name.values())}{elsewhere}: {needed.size}; {needed.access}"


def read_original(path: Path, required: Sequence[str]) -> pd.DataFrame:
    """Returns the rows of a provider's CSV (compressed or not) as text, "" where blank.

    Columns without a name are called `unnamed`, or left out where they hold nothing: a comma at the end of each line.

    Args:
        path: The file.
        required: Columns that must be there.

    Raises:
        ManifestError: The file cannot be read, a row has too few or too many fields, or a column is missing.
    """
    findings = Findings(path.name)
    table = read_table(path, findings).drop(columns="row")
    for name in required:
        if name not in table:
            findings.fault("column missing", f"{name!r}; there are {listing(list(table.columns), 30)}")
    findings.raise_faults()
    if "" in table and (table[""] == "").all():
        table = table.drop(columns="")
    return table.rename(columns={"": "unnamed"})


def with_standard(table: pd.DataFrame, standard: Mapping[str, object]) -> pd.DataFrame:
    """Returns our columns and then all original ones, those with a name of ours as `original_<name>`.

    Args:
        table: An original table.
        standard: Our columns: a value for all rows, or one a row.
    """
    originals = table.rename(columns={name: f"original_{name}" for name in (*OURS, *COMPUTED_COLUMNS)})
    return pd.concat([pd.DataFrame(dict(standard), index=table.index), originals], axis=1)


def files_by_name(raw: Path, folder: Path, suffixes: Sequence[str]) -> dict[str, str]:
    """Returns for each file name below a folder its path relative to `raw`, with "/".

    Every folder is listed once. Of files with one name, the first in alphabetical order of paths counts.

    Args:
        raw: The folder of the downloads.
        folder: In it.
        suffixes: What the names end with, in lower case.
    """
    paths: dict[str, str] = {}
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        where = Path(parent).relative_to(raw).as_posix()
        for name in sorted(names):
            if name.lower().endswith(tuple(suffixes)):
                paths.setdefault(name, f"{where}/{name}")
    return paths
