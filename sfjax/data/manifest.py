"""The manifest: one table with one row an image, from CSV or Parquet, with standard column names.

Identifiers and labels stay text from the file to the end, so that `007` keeps its zeros and a column of numbers with a
gap does not turn 7 into 7.0.
"""

import csv
import gzip
import io
import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pandas as pd

from sfjax.data.findings import Findings, listing
from sfjax.data.image_paths import normalized

REQUIRED = ("image_path", "label")
TEXT_COLUMNS = ("image_path", "label", "split", "domain", "subclass", "patient_id", "shift_kind")
STANDARD_COLUMNS = (*TEXT_COLUMNS, "loss_weight")
COMPUTED_COLUMNS = ("row", "sha256", "image_id", "label_index")
"""Columns that a data set adds; one of these names in a file becomes `manifest_<name>`."""

_NUMBER = re.compile(r"[+-]?(0|[1-9]\d{0,14})(\.\d*)?([eE][+-]?\d{1,3})?")
_FLOAT_OF_INTEGER = re.compile(r"(-?\d+)\.0+")


def read_table(path: str | PathLike[str], findings: Findings) -> pd.DataFrame:
    """Returns the rows of a CSV or Parquet file with a column `row`: the row's number in the file, the header being 1.

    CSV is UTF-8 with or without a byte-order mark and with any line ends, and may be compressed with gzip; its values
    are stripped text, `""` where blank. Rows without any value are left out (and counted). Parquet columns
    keep their types.

    Args:
        path: The file. Its first bytes, not its name, say whether it is Parquet or compressed.
        findings: Collects the faults. A file that cannot be read at all raises `ManifestError`.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(4)
        is_parquet, is_gzip = start == b"PAR1", start.startswith(b"\x1f\x8b")
        table = pd.read_parquet(path).reset_index(drop=True) if is_parquet else _read_csv(path, findings, is_gzip)
    except (OSError, EOFError, ValueError, csv.Error) as error:
        findings.fault("unreadable table", f"{error.__class__.__name__}: {error}", source=path.name)
        findings.raise_faults()
        raise
    if is_parquet:
        table.columns = [str(name).strip() for name in table.columns]
        table = _displace(table, ["row"])
        table.insert(0, "row", np.arange(2, len(table) + 2))
    if table.empty:
        findings.fault("no rows", "there is no row below the header", source=path.name)
        findings.raise_faults()
    return table


def _read_csv(path: Path, findings: Findings, is_gzip: bool) -> pd.DataFrame:
    # The csv module rather than pandas: it numbers rows as the file does and tells rows of a wrong length.
    with path.open("rb") as stored, gzip.GzipFile(fileobj=stored) if is_gzip else stored as data:
        file = io.TextIOWrapper(cast(BinaryIO, data), encoding="utf-8-sig", newline="")
        records = [[value.strip() for value in record] for record in csv.reader(file, strict=True)]
    header = records[0] if records else []
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice or not header:
        raise ValueError(f"the header names {listing(twice)} twice" if twice else "the file is empty")
    rows, kept = [], []
    for number, record in enumerate(records[1:], start=2):
        if not any(record):
            continue
        if len(record) != len(header):
            findings.fault(
                "ragged row", f"{len(record)} fields, header has {len(header)}", row=number, source=path.name
            )
            record = (record + [""] * len(header))[: len(header)]
        rows.append(number)
        kept.append(record)
    table = _displace(pd.DataFrame(kept, columns=pd.Index(header), dtype=object), ["row"])
    table.insert(0, "row", np.array(rows, dtype=np.int64))
    return table


def read_manifest(
    path: str | PathLike[str],
    findings: Findings,
    *,
    metadata: Sequence[str | PathLike[str]] = (),
    columns: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Returns the manifest with the columns `row`, `STANDARD_COLUMNS` and every other column of the files.

    A missing optional column is filled with "" (not known), `loss_weight` with 1. Text columns hold stripped text;
    "" and "nan" are blank, words such as "none" are values. Paths are written with "/" and relative to the manifest's
    folder. Other columns of a CSV become numbers if all their values are.

    Args:
        path: CSV or Parquet, one row an image.
        findings: Collects the faults. A missing required column raises `ManifestError` at once.
        metadata: Further tables, joined on `image_path`. Where both have a column, the manifest's value counts and the
            metadata fills its blanks; different values are a fault in a standard column and noted in any other.
        columns: Standard name -> name in the files. A column that had the standard name becomes `manifest_<name>`.
    """
    columns = dict(columns or {})
    if unknown := sorted(set(columns) - set(STANDARD_COLUMNS)):
        raise ValueError(f"No standard column is named {listing(unknown)}. There are {', '.join(STANDARD_COLUMNS)}.")
    table = _with_key(read_table(path, findings), columns, Path(path).name, findings)
    for file in metadata:
        more = _with_key(read_table(file, findings), columns, Path(file).name, findings)
        table = _join(table, more, columns, Path(file).name, findings)
    missing = {columns.get(name, name) for name in (*REQUIRED, *columns)} - {*table.columns, columns.get("image_path")}
    if missing:
        for name in sorted(missing):
            findings.fault("column missing", f"{name!r}; there are {listing(list(table.columns[1:]), 30)}")
        findings.raise_faults()

    return standardize(table, findings, columns=columns)


def standardize(table: pd.DataFrame, findings: Findings, *, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Returns a table that has `row` and `image_path` with the columns and defaults that `read_manifest` describes."""
    columns = {name: source for name, source in (columns or {}).items() if name != "image_path"}
    source = {name: table[columns.get(name, name)] for name in STANDARD_COLUMNS if columns.get(name, name) in table}
    moved = [name for name in columns if columns[name] != name]
    others = _displace(table.drop(columns="row"), [*moved, *COMPUTED_COLUMNS])
    others = others[[name for name in others if name not in STANDARD_COLUMNS]].apply(_numbers)
    blank = pd.Series("", index=table.index, dtype=object)
    standard = {name: _text(source.get(name, blank)) for name in TEXT_COLUMNS}
    for name in ("label", "patient_id"):
        standard[name] = _integers(standard[name])
    standard["loss_weight"] = _weights(source.get("loss_weight", blank), table["row"], findings)
    return pd.concat([table[["row"]], pd.DataFrame(standard), others], axis=1)


def class_order(labels: Sequence[str]) -> tuple[str, ...]:
    """Returns the distinct labels in order: by value if all are numbers, else alphabetically.

    Example:
        >>> class_order(["10", "9", "9"]), class_order(["nevus", "10"])
        (('9', '10'), ('10', 'nevus'))
    """
    distinct = sorted(set(labels))
    return tuple(sorted(distinct, key=float) if all(map(_NUMBER.fullmatch, distinct)) else distinct)


def _displace(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    return table.rename(columns={name: f"manifest_{name}" for name in names})


def _with_key(table: pd.DataFrame, columns: Mapping[str, str], source: str, findings: Findings) -> pd.DataFrame:
    """Returns the table with its paths normalized and under the name `image_path`."""
    name = columns.get("image_path", "image_path")
    if name not in table:
        name = "image_path"
    if name not in table:
        what = f"{columns.get('image_path', name)!r}; there are {listing(list(table.columns[1:]), 30)}"
        findings.fault("column missing", what, source=source)
        findings.raise_faults()
    if name != "image_path":
        table = _displace(table, ["image_path"]).rename(columns={name: "image_path"})
    paths = [normalized(path) if path else "" for path in _text(table["image_path"])]
    return table.assign(image_path=pd.Series(paths, index=table.index, dtype=object))


def _join(
    table: pd.DataFrame, more: pd.DataFrame, columns: Mapping[str, str], source: str, findings: Findings
) -> pd.DataFrame:
    more = more[more["image_path"] != ""]
    repeated = more["image_path"].duplicated()
    for row, path in zip(more["row"][repeated], more["image_path"][repeated], strict=True):
        findings.fault("metadata key twice", path, row=int(row), source=source)
    more = more[~repeated].set_index("image_path")
    matched = table["image_path"].isin(more.index)
    if not matched.any():
        first = [*table["image_path"][:1], *more.index[:1]]
        findings.fault("metadata without a match", f"not one image_path is the manifest's: {first}", source=source)
        return table
    if not matched.all():
        rows = list(table["row"][~matched])
        findings.note(f"{source} has no row for {len(rows)} images of the manifest: rows {listing(rows)}.")
    if surplus := int((~more.index.isin(table["image_path"])).sum()):
        findings.note(f"{source} has {surplus} rows for images that the manifest does not have; they are not used.")
    rows = more["row"].reindex(table["image_path"]).set_axis(table.index)
    aligned = more.drop(columns="row").reindex(table["image_path"]).set_axis(table.index)
    standard = {columns.get(name, name) for name in STANDARD_COLUMNS}
    table = table.copy()
    for name in aligned:
        values = aligned[name]
        if name in table:
            ours, theirs = _text(table[name]), _text(values)
            differ = (ours != "") & (theirs != "") & (ours != theirs)
            if name in standard:
                for i in table.index[differ]:
                    what = f"{name} of {table['image_path'][i]} is {theirs[i]!r}, in the manifest {ours[i]!r}"
                    findings.fault("metadata contradicts manifest", what, row=int(rows[i]), source=source)
            elif differ.any():
                count = int(differ.sum())
                findings.note(f"{source} differs from the manifest in {name} for {count} images; not used there.")
            values = table[name].astype(object).where(ours != "", values.astype(object)).infer_objects()
        is_text = pd.api.types.is_object_dtype(values) or pd.api.types.is_string_dtype(values)
        table[name] = values.where(values.notna(), "") if is_text else values
    return table


def _text(column: pd.Series) -> pd.Series:
    """Returns the values as stripped text, "" where blank, and integers without a decimal point."""

    def text(value: object) -> str:
        if value is None or value is pd.NA or value is pd.NaT:
            return ""
        if isinstance(value, float | np.floating):
            value = int(value) if float(value).is_integer() else float(value)
        stripped = str(value).strip()
        return "" if stripped.lower() == "nan" else stripped

    return pd.Series([text(value) for value in column], index=column.index, dtype=object)


def _integers(column: pd.Series) -> pd.Series:
    """Returns "7" for "7.0" where the whole column is integers, some written so by a tool that had blanks to fill."""
    values = column[column != ""]
    if not all(re.fullmatch(r"-?\d+(\.0+)?", value) for value in values):
        return column
    return pd.Series([_FLOAT_OF_INTEGER.sub(r"\1", value) for value in column], index=column.index, dtype=object)


def _numbers(column: pd.Series) -> pd.Series:
    """Returns a text column as numbers, NaN where blank, if all its values are numbers of ordinary length."""
    if column.dtype != object or not all(isinstance(value, str) for value in column):
        return column
    blank = column.str.lower().isin(["", "nan"])
    if blank.all() or not all(map(_NUMBER.fullmatch, column[~blank])):
        return column
    return pd.to_numeric(column.mask(blank, None))


def _weights(column: pd.Series, rows: pd.Series, findings: Findings) -> pd.Series:
    # NaN is not a blank here: somebody computed this weight, and it went wrong.
    filled = [1.0 if value is None or value is pd.NA or value == "" else value for value in column]
    weights = pd.to_numeric(pd.Series(filled, index=column.index, dtype=object), errors="coerce").astype(np.float64)
    for i in weights.index[~np.isfinite(weights) | (weights < 0)]:
        findings.fault("unusable loss_weight", repr(column[i]), row=int(rows[i]))
    return weights
