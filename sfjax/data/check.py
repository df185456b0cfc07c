"""What must hold for a manifest's rows before the images are looked at, and for the sets after they are divided."""

import re
from typing import Literal

import numpy as np
import pandas as pd

from sfjax.data.findings import Findings, listing
from sfjax.data.splits import SHIFT_KINDS, SOURCE_SPLITS

UnknownClasses = Literal["error", "failure"]

_SET_NAME = re.compile(r"\w[\w.+ -]*")


def check_rows(table: pd.DataFrame, findings: Findings) -> None:
    """Adds the faults that single rows of a manifest have (see `read_manifest` for the columns)."""
    for name in ("image_path", "label"):
        for row, path in _places(table, table[name] == ""):
            findings.fault(f"blank {name}", path or "no path", row=row)
    if (table["split"] != "").any():
        for row, path in _places(table, table["split"] == ""):
            findings.fault("blank split", path, row=row)
    first = dict(zip(table["image_path"][::-1], table["row"][::-1], strict=True))
    for row, path in _places(table, table["image_path"].duplicated() & (table["image_path"] != "")):
        findings.fault("image listed twice", f"{path}, also in row {first[path]}", row=row)
    for name in sorted(set(table["split"]) - {""}):
        if not _SET_NAME.fullmatch(name):
            findings.fault("unusable split name", repr(name), row=int(table["row"][table["split"] == name].iloc[0]))
    unknown = ~table["shift_kind"].isin(["", *SHIFT_KINDS]) & ~table["split"].isin(SOURCE_SPLITS)
    for kind, rows in table[unknown].groupby("shift_kind"):
        findings.fault("unknown shift_kind", f"{kind!r} ({len(rows)} rows)", row=int(rows["row"].iloc[0]))
    for row, path in _places(table, table["domain"] == "all"):
        findings.fault("reserved domain", path, row=row)


def check_sets(table: pd.DataFrame, findings: Findings, *, unknown_classes: UnknownClasses = "error") -> None:
    """Adds the faults that the sets have: too few images or classes, unseen labels, leaks from one set to another.

    `train`, `val`, `cal` and the test sets are the four sides that no image and no patient may share. Two test sets may
    (one lesion under two cameras); that is noted.

    Args:
        table: One row a readable image, every row with `label`, `split` and `sha256`.
        findings: Collects faults and notes.
        unknown_classes: "failure" allows labels in shifted sets that train does not have.
    """
    table = table.sort_values("row")
    _check_classes(table, findings, unknown_classes)
    table = table.assign(side=table["split"].where(table["split"].isin(["train", "val", "cal"]), "test"))
    for _, rows in table[table["sha256"].duplicated(keep=False)].groupby("sha256", sort=False):
        if rows["label"].nunique() > 1:
            findings.fault("one image with two labels", _describe(rows, "label"), row=int(rows["row"].iloc[0]))
        if rows["side"].nunique() > 1:
            findings.fault("image on both sides of a split", _describe(rows, "split"), row=int(rows["row"].iloc[0]))
        else:
            # Notes go into the report, which names no files: rows only.
            where = listing([f"{split} row {row}" for split, row in zip(rows["split"], rows["row"], strict=True)])
            findings.note(f"The same image, byte for byte, counts {len(rows)} times: {where}.")
    patients = table[table["patient_id"] != ""].groupby("patient_id")
    sides, sets = patients["side"].nunique(), patients["split"].nunique()
    for patient in sides.index[sides > 1]:
        rows = patients.get_group(patient).drop_duplicates("split")
        findings.fault(
            "patient on both sides of a split", f"{patient} in {_describe(rows, 'split')}", row=int(rows["row"].iloc[0])
        )
    if shared := int(((sides == 1) & (sets > 1)).sum()):
        findings.note(f"{shared} patients have images in two or more test sets, which are therefore not independent.")


def _check_classes(table: pd.DataFrame, findings: Findings, unknown_classes: UnknownClasses) -> None:
    there = {str(name): set(rows["label"]) for name, rows in table.groupby("split")}
    for name in SOURCE_SPLITS:
        if name not in there:
            findings.fault("empty set", f"{name} has no image; there are {listing(sorted(there), 30) or 'no sets'}")
        elif len(there[name]) < 2:
            findings.fault("fewer than two classes", f"{name} has only {listing(sorted(there[name]))}")
    known = there.get("train", set())
    for name, labels in sorted(there.items()):
        in_source = name in SOURCE_SPLITS
        for label in sorted(labels - known) if known else []:
            rows = table[(table["split"] == name) & (table["label"] == label)]
            what = f"{label!r}, {len(rows)} images of {name}"
            if in_source or unknown_classes == "error":
                findings.fault("label unseen in training", what, row=int(rows["row"].iloc[0]))
            else:
                findings.note(f"Label {what}, is unseen in training: these images count as failures.")
        if in_source and len(labels) > 1 and (absent := sorted(known - labels)):
            findings.note(f"{name} has no image of {listing(absent)}.")
        if not in_source and len(labels) == 1:
            findings.note(f"{name} holds one class ({min(labels)}): metrics that need two are NaN.")


def _places(table: pd.DataFrame, where: pd.Series | np.ndarray) -> list[tuple[int, str]]:
    return [(int(row), path) for row, path in zip(table["row"][where], table["image_path"][where], strict=True)]


def _describe(rows: pd.DataFrame, column: str) -> str:
    places = zip(rows[column], rows["row"], rows["image_path"], strict=True)
    return listing([f"{value} (row {row}, {path})" for value, row, path in places])
