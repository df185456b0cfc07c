"""Which image trains, tunes, calibrates or tests: splits by patient that do not depend on the order of the rows.

Draws are keyed by the content of the images, so that a shuffled or renamed manifest gives the same splits. Images that
are equal byte for byte count as one patient's.
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sfjax.data.findings import Findings, listing
from sfjax.data.selection import HoldOut, as_text, held_out_set, known, matches, parse, parse_hold_out

SOURCE_SPLITS = ("train", "val", "cal", "iid_test")
"""The i.i.d. sets; every other name is a shifted test set."""

FRACTIONS = {"train": 0.6, "iid_test": 0.2, "val": 0.1, "cal": 0.1}
"""Shares of the images where the manifest has no splits."""

SHIFT_KINDS = ("acquisition", "manifestation", "acquisition+manifestation", "named")

HELD_OUT_PATIENTS = "held_out_patients"
"""The shifted set (kind `named`) of images whose patient also has images that were held out."""


def shift_kind(split: str, given: str = "") -> str:
    """Returns the kind of a set: `iid` for source sets, else `given`, else what its name begins with, else `named`.

    Example:
        >>> shift_kind("iid_test"), shift_kind("acq_manif_x"), shift_kind("acq_x"), shift_kind("hospital_b")
        ('iid', 'acquisition+manifestation', 'acquisition', 'named')
        >>> shift_kind("hospital_b", "acquisition")
        'acquisition'
    """
    if split in SOURCE_SPLITS:
        return "iid"
    by_name = {"acq_manif": "acquisition+manifestation", "acq": "acquisition", "manif": "manifestation"}
    return given or next((kind for prefix, kind in by_name.items() if split.startswith(prefix)), "named")


def patient_groups(table: pd.DataFrame) -> Int[np.ndarray, " n"]:
    """Returns one code a patient, from 0, for each row; a row with a blank `patient_id` is a patient of its own.

    Example:
        >>> patient_groups(pd.DataFrame({"patient_id": ["ann", "", "bob", "ann", ""]})).tolist()
        [0, 1, 2, 0, 3]
    """
    patients = np.empty(len(table), dtype=object)
    # A row's own number is no text, so that it can be nobody's name.
    patients[:] = [patient or i for i, patient in enumerate(table["patient_id"])]
    return pd.factorize(patients)[0]


def assign_splits(table: pd.DataFrame, findings: Findings, *, seed: int, hold_out: Sequence[str] = ()) -> pd.DataFrame:
    """Returns the table with `split` and `shift_kind` filled in; all images of a patient get one of the drawn sets.

    Without splits in the table, they are drawn with `FRACTIONS`, stratified by label. With splits, they stay, but `val`
    is drawn into `val` and `cal`, half each, if there is no `cal`.

    Held-out images leave the source sets for the set of their hold-out, such as `acq_NAME` (domain) or `manif_NAME`
    (subclass), or, where several apply, for one of their own, such as `acq_manif_DOMAIN_SUBCLASS`; given shifted sets
    keep theirs, and must differ from training in their domains or subclasses where they say that these shift. What else
    there is of held-out images' patients goes to
    `HELD_OUT_PATIENTS` where it would be in `train`, `val` or `cal` (or, where splits are drawn, in any source set), so
    that nothing is learned from a patient who is tested on.

    Args:
        table: `label`, `split`, `domain`, `subclass`, `patient_id`, `shift_kind` and `sha256`; "" where blank.
        findings: Collects faults (a hold-out without an image) and notes.
        seed: Of the draws.
        hold_out: Entries `domain=NAME`, `subclass=NAME` or of any other column (`sfjax.data.selection.parse_hold_out`).
    """
    split = table["split"].to_numpy(dtype=object).copy()
    given = bool((split != "").any())
    source = np.isin(split, SOURCE_SPLITS) if given else np.ones(len(table), bool)
    groups = _linked(table)
    held, names, of_held = _held_out(table, source, hold_out, findings)
    split[held], kinds = names[held], table["shift_kind"].to_numpy(dtype=object).copy()
    kinds[held] = of_held[held]
    rest = np.isin(groups, groups[held]) & ~held & (np.isin(split, ["train", "val", "cal"]) if given else True)
    if rest.any():
        split[rest], kinds[rest] = HELD_OUT_PATIENTS, ""
        findings.note(
            f"{int(rest.sum())} further images of held-out patients (or byte-for-byte copies) are in the test set "
            f"{HELD_OUT_PATIENTS}."
        )
    if not given:
        drawn = ~held & ~rest
        split[drawn] = _divide(table[drawn], groups[drawn], FRACTIONS, f"{seed}:splits")
    elif "cal" not in split and "val" in split:
        val = split == "val"
        split[val] = _divide(table[val], groups[val], {"val": 0.5, "cal": 0.5}, f"{seed}:cal")
        findings.note(f"No cal was given: {int((split == 'cal').sum())} of {int(val.sum())} images of val are cal now.")
    table = table.assign(split=pd.Series(split, index=table.index, dtype=object))
    table = table.assign(shift_kind=_kinds(split, kinds, findings, table.index))
    _check_leaks(table, held, findings)
    return table


def _held_out(
    table: pd.DataFrame, source: np.ndarray, hold_out: Sequence[str], findings: Findings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns which rows are held out, under which set's name, and of which kind that is."""
    wanted = [parse_hold_out(entry) for entry in hold_out]
    named = [held_out_set([one])[0] for one in wanted]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise ValueError(f"Each hold-out makes a set of its own name; {listing(twice)} would be made twice.")
    meeting = np.array([matches(table, one.where) & source for one in wanted]).reshape(len(wanted), len(table))
    for one, rows in zip(wanted, meeting, strict=True):
        if not rows.any():
            findings.fault("hold-out matches no image", f"{one.where}; {_values(table[source], one)}")
        if unknown := int((source & ~known(table, one.where)).sum()):
            findings.note(f"Of {unknown} images it is not known whether {one.where} holds: they are not held out.")
    names, kinds = (np.full(len(table), "", dtype=object) for _ in range(2))
    held = np.asarray(meeting.any(axis=0))
    for i in np.flatnonzero(held):
        names[i], kinds[i] = held_out_set([one for one, rows in zip(wanted, meeting, strict=True) if rows[i]])
    return held, names, kinds


def _values(table: pd.DataFrame, hold_out: HoldOut) -> str:
    """Returns in words which values there are in the columns that a hold-out asks for."""
    found = []
    for condition in parse(hold_out.where):
        counts = pd.Series(as_text(table, condition.column, hold_out.where)).value_counts()
        there = listing([f"{value} ({count})" for value, count in sorted(counts.items()) if value], 30)
        found.append(f"of {condition.column} there are {there or 'no values'}")
    return ", ".join(found)


def _check_leaks(table: pd.DataFrame, held: np.ndarray, findings: Findings) -> None:
    """Adds a fault for every given shifted set of which training has seen what is said to shift."""
    learned = table["split"].isin(["train", "val", "cal"])
    for column, kind in (("domain", "acquisition"), ("subclass", "manifestation")):
        seen = set(table[column][learned]) - {""}
        shifted = table["shift_kind"].str.contains(kind, regex=False) & ~learned & ~held
        for name, rows in table[shifted & table[column].isin(seen)].groupby("split"):
            values = listing([f"{value} ({count})" for value, count in rows[column].value_counts().items()])
            findings.fault("shift leaks into training", f"{name}, {kind}: training has seen {column} {values}")


def _linked(table: pd.DataFrame) -> np.ndarray:
    """Returns one code for all images that must stay together: of one patient, or equal byte for byte."""
    if table.empty:
        return patient_groups(table)
    patients, contents = patient_groups(table), pd.factorize(table["sha256"])[0]
    offset = patients.max() + 1
    nodes = offset + contents.max() + 1
    edges = coo_array((np.ones(len(table)), (patients, offset + contents)), shape=(nodes, nodes))
    return connected_components(edges, directed=False)[1][patients]


def _divide(table: pd.DataFrame, groups: np.ndarray, fractions: Mapping[str, float], purpose: str) -> np.ndarray:
    """Returns one of the names in `fractions` for each row, the same for the rows of a group.

    A group counts for its rarest label. Within a label, groups come in random order and each goes to the set that has
    the smallest part of what it is due (Adams' apportionment), so that four groups suffice to fill four sets.
    """
    frequency = table["label"].map(table["label"].value_counts())
    rows = pd.DataFrame({"group": groups, "rarity": frequency, "label": table["label"], "sha256": table["sha256"]})
    summary = rows.sort_values(["rarity", "label", "sha256"]).groupby("group")
    summary = summary.agg(stratum=("label", "first"), content=("sha256", "min"), images=("label", "size"))
    summary["draw"] = [hashlib.sha256(f"{purpose}:{content}".encode()).hexdigest() for content in summary["content"]]
    chosen: dict[Hashable, str] = {}
    for _, stratum in summary.sort_values("draw").groupby("stratum"):
        counts = dict.fromkeys(fractions, 0)
        for group, images in stratum["images"].items():
            name = min(fractions, key=lambda split: counts[split] / fractions[split])
            chosen[group], counts[name] = name, counts[name] + images
    return np.array([chosen[group] for group in groups], dtype=object)


def _kinds(split: np.ndarray, given: np.ndarray, findings: Findings, index: pd.Index) -> pd.Series:
    kinds: dict[str, str] = {}
    for name in sorted(set(split)):
        found = sorted(set(given[split == name]) - {""}) if name not in SOURCE_SPLITS else []
        if len(found) > 1:
            findings.fault("several shift_kinds in one set", f"{name} has {listing(found)}")
        kinds[name] = shift_kind(name, found[0] if found else "")
    return pd.Series([kinds[name] for name in split], index=index, dtype=object)
