"""Which rows of a prepared table a training set is about, and the splits that the study drew of them."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int

from sfjax.data.findings import listing
from sfjax.data.preparation.base import Preparation, TrainingSet
from sfjax.data.selection import held_out_set, matches
from sfjax.data.splits import HELD_OUT_PATIENTS, SOURCE_SPLITS

STUDY_SEED = 2

_VALIDATION_SHARE = 0.2
"""Of the training patients: `val` is divided into `val` and `cal` when the manifest is loaded."""


def set_names(table: pd.DataFrame, chosen: TrainingSet) -> pd.Series:
    """Returns for each row `source`, the name of the shifted set that it is held out for, or "" outside of the pool.

    The first hold-out that a row fits has it.
    """
    names = np.where(matches(table, chosen.pool), "source", "").astype(object)
    for name, hold_out in zip(held_out_names(chosen), chosen.hold_out, strict=True):
        names[matches(table, hold_out.where) & (names == "source")] = name
    return pd.Series(names, index=table.index, dtype=object)


def held_out_names(chosen: TrainingSet) -> list[str]:
    """Returns the names of the shifted sets that a training set leaves out: `acq_NAME` or `manif_NAME`."""
    return [held_out_set([hold_out])[0] for hold_out in chosen.hold_out]


def overview(table: pd.DataFrame, chosen: TrainingSet, sets: pd.Series) -> list[dict[str, object]]:
    """Returns for each set its images, patients and number of images of each class.

    Args:
        table: As prepared.
        chosen: Its `label` is the class. Its own sets are in the overview even where they have no image.
        sets: The set of each row; rows with "" are left out.
    """
    drawn = [name for name in (*SOURCE_SPLITS, HELD_OUT_PATIENTS) if (sets == name).any()]
    rows = []
    for name in (*(drawn or ["source"]), *held_out_names(chosen)):
        inside = table[sets == name] if chosen.label in table else table[:0]
        classes = inside.get(chosen.label, pd.Series(dtype=object)).value_counts().sort_index()
        counted = {str(label): int(count) for label, count in classes.items()}
        rows.append({"set": name, "images": len(inside), "patients": len(set(_patients(inside))), "classes": counted})
    return rows


def draw(count: int, share: float) -> Int[np.ndarray, " k"]:
    """Returns the positions that the study draws: `int(count * share)` of `count`, without replacement, seed 2.

    Args:
        count: How many patients there are.
        share: Of them to draw.
    """
    return np.random.RandomState(STUDY_SEED).choice(count, int(count * share), replace=False)


def study_splits(table: pd.DataFrame, chosen: TrainingSet, train_share: float) -> pd.Series:
    """Returns `train`, `iid_test`, or "" (held out or not used) for each row, drawn by patient as the study does.

    Patients are numbered in order of first appearance, so that the draw depends on the order of the table, and on what
    is in it: the study's own tables had repeated rows, whose patients are the same, and no other rule for files that
    are missing.

    Args:
        table: In the study's order of sources and rows.
        chosen: Whose rows are divided.
        train_share: Of the patients.
    """
    source = set_names(table, chosen) == "source"
    patients = pd.unique(_patients(table[source]))
    training = set(patients[draw(len(patients), train_share)])
    drawn = _patients(table).map(lambda patient: "train" if patient in training else "iid_test")
    return drawn.where(source, "")


def with_reference_splits(preparation: Preparation, table: pd.DataFrame, name: str) -> tuple[pd.DataFrame, list[str]]:
    """Returns the rows of a training set with `split` and `shift_kind` as the study draws them, and what to say of it.

    `val` is a fifth of the training patients, by a draw of ours within classes: the study's validation images lie
    inside its i.i.d. test set. Held-out sets are whole; some of the study's were the test part of their source.

    Args:
        preparation: Whose draw it is.
        table: As prepared.
        name: Of the training set.
    """
    if preparation.reference_splits is None:
        raise ValueError(f"The study draws no splits of {preparation.name}. Leave out --reference-splits.")
    chosen = training_set(preparation, name)
    only(table, chosen)  # refuses what cannot be made
    sets = set_names(table, chosen)
    split = preparation.reference_splits(table, name).where(sets == "source", sets)
    patients = _patients(table)
    train = split == "train"
    split[train & patients.isin(_validation_patients(patients[train], table[chosen.label][train]))] = "val"
    held = (sets != "source") & (sets != "")
    shared = split.isin(["train", "val"]) & patients.isin(set(patients[held]))
    split[shared] = HELD_OUT_PATIENTS
    kinds = {name: one.kind for name, one in zip(held_out_names(chosen), chosen.hold_out, strict=True)}
    table = table.assign(split=split, shift_kind=split.map(kinds).fillna(""))
    lines = [f"{name}: train and iid_test as the study draws them; val is a fifth of the training patients."]
    if shared.any():
        lines.append(f"{int(shared.sum())} images of held-out patients are in {HELD_OUT_PATIENTS}, not in training.")
    return table, lines


def only(table: pd.DataFrame, chosen: TrainingSet) -> tuple[pd.DataFrame, list[str]]:
    """Returns the rows that a training set is about, with its classes as `label`, and what to say of it.

    Where its classes are another column's, what was `label` becomes `default_label`.

    Raises:
        ValueError: The column of its classes is not there, or one of its sets has no image.
    """
    needed = ["source", *held_out_names(chosen)]
    counts = set_names(table, chosen).value_counts() if chosen.label in table else pd.Series(0, index=needed)
    if lacking := [name for name in needed if not counts.get(name, 0)]:
        raise ValueError(
            f"The training set {chosen.name} has no image in {listing(lacking)}. Choose another one, or add the source "
            "that has them."
        )
    inside = (set_names(table, chosen) != "").to_numpy() & (table[chosen.label] != "").to_numpy()
    outside = len(table) - int(inside.sum())
    table = table[inside]
    if chosen.label != "label":
        table = table.assign(default_label=table["label"], label=table[chosen.label])
    return table, [f"{chosen.name}: {outside} images of other sources are not in it."] if outside else []


def training_set(preparation: Preparation, name: str) -> TrainingSet:
    """Returns the training set of a name, or raises an error that lists all."""
    if name not in preparation.training_sets:
        there = ", ".join(preparation.training_sets)
        raise ValueError(f"{preparation.name} has no training set {name!r}. There are {there}.")
    return preparation.training_sets[name]


def _patients(table: pd.DataFrame) -> pd.Series:
    return table["patient_id"].where(table["patient_id"] != "", table["image_path"])


def _validation_patients(patients: pd.Series, labels: pd.Series) -> set[str]:
    """Returns a fifth of the patients of each class, at least two where a class has four."""
    rarity = labels.map(labels.value_counts())
    rows = pd.DataFrame({"patient": patients, "label": labels, "rarity": rarity}).sort_values(["rarity", "label"])
    chosen: set[str] = set()
    for _, stratum in rows.drop_duplicates("patient").groupby("label"):
        ordered: Sequence[str] = sorted(
            stratum["patient"], key=lambda patient: hashlib.sha256(f"val:{patient}".encode()).hexdigest()
        )
        wanted = round(_VALIDATION_SHARE * len(ordered))
        chosen |= set(ordered[: max(wanted, 2) if len(ordered) >= 4 else wanted])
    return chosen
