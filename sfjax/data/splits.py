"""Which image trains, tunes, calibrates or tests: splits by patient that do not depend on the order of the rows.

Draws are keyed by the content of the images, so that a shuffled or renamed manifest gives the same splits. Images that
are equal byte for byte count as one patient's.
"""

import hashlib
import re
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sfjax.data.findings import Findings, listing

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

    Held-out images leave the source sets for `acq_NAME` (domain), `manif_NAME` (subclass) or, where both apply,
    `acq_manif_DOMAIN_SUBCLASS`; given shifted sets keep theirs. What else there is of their patients goes to
    `HELD_OUT_PATIENTS` where it would be in `train`, `val` or `cal` (or, where splits are drawn, in any source set), so
    that nothing is learned from a patient who is tested on.

    Args:
        table: `label`, `split`, `domain`, `subclass`, `patient_id`, `shift_kind` and `sha256`; "" where blank.
        findings: Collects faults (a hold-out without an image) and notes.
        seed: Of the draws.
        hold_out: Entries `domain=NAME` or `subclass=NAME`.
    """
    split = table["split"].to_numpy(dtype=object).copy()
    given = bool((split != "").any())
    source = np.isin(split, SOURCE_SPLITS) if given else np.ones(len(table), bool)
    groups = _linked(table)
    held, names = _held_out(table, source, hold_out, findings)
    split[held], kinds = names[held], table["shift_kind"].to_numpy(dtype=object).copy()
    kinds[held] = ""  # the names made here say the kind
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
    return table.assign(shift_kind=_kinds(split, kinds, findings, table.index))


def _held_out(
    table: pd.DataFrame, source: np.ndarray, hold_out: Sequence[str], findings: Findings
) -> tuple[np.ndarray, np.ndarray]:
    """Returns which rows are held out, and under which set's name."""
    wanted: Mapping[str, list[str]] = {"domain": [], "subclass": []}
    for entry in hold_out:
        column, _, name = entry.partition("=")
        if column not in wanted or not name:
            raise ValueError(f"A hold-out is domain=NAME or subclass=NAME, and this one is {entry!r}.")
        wanted[column].append(name)
        if not (source & (table[column] == name).to_numpy()).any():
            values = table.loc[source & (table[column] != "").to_numpy(), column].value_counts()
            there = listing([f"{value} ({count})" for value, count in sorted(values.items())], 30)
            findings.fault("hold-out matches no image", f"{entry}; of {column} there are {there or 'no values'}")
    of_domain = table["domain"].isin(wanted["domain"]).to_numpy() & source
    of_subclass = table["subclass"].isin(wanted["subclass"]).to_numpy() & source
    names = np.full(len(table), "", dtype=object)
    for i in np.flatnonzero(of_domain | of_subclass):
        parts = ["acq"] * bool(of_domain[i]) + ["manif"] * bool(of_subclass[i])
        parts += [table["domain"].iloc[i]] * bool(of_domain[i]) + [table["subclass"].iloc[i]] * bool(of_subclass[i])
        names[i] = re.sub(r"[^\w.+-]+", "_", "_".join(parts))  # a set's name becomes a file's name
    return of_domain | of_subclass, names


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
