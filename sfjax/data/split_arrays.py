"""Images in memory whose source has splits of its own, as array files and TFDS sets have, to a data set.

Such sources name their splits `train`, `validation` and `test`, and often have only some of them. They are mapped like
this, and what was done is noted:

- `validation`, `valid` and `val` are `val`, `test` is `iid_test`; any other name is a shifted test set;
- without a test split the validation split is `iid_test`;
- without a validation split `val` and `cal` are drawn from `train`, a tenth of it each;
- with `train` alone all four sets are drawn from it, as from a manifest without splits.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from sfjax.data.check import UnknownClasses
from sfjax.data.dataset import Dataset, dataset_from_arrays
from sfjax.data.findings import Findings
from sfjax.data.splits import assign_splits

SET_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"validation": "val", "valid": "val", "val": "val", "test": "iid_test"}
)
"""What the usual names of splits are here; every other name stays."""


def dataset_of_splits(
    name: str,
    images: Shaped[np.ndarray, "n h w k"],
    columns: Mapping[str, Sequence[str] | np.ndarray],
    *,
    sha256: Sequence[str],
    seed: int,
    hold_out: Sequence[str] = (),
    unknown_classes: UnknownClasses = "error",
    notes: Sequence[str] = (),
) -> Dataset:
    """Returns a data set with the sets that the module describes, and with the checks of a manifest's.

    Args:
        name: Of the data set.
        images: uint8 or uint16, square.
        columns: `label` and `split` (the source's names), and any other columns of a manifest.
        sha256: Hash in hexadecimal of what each image was made of.
        seed: Of the splits, where they are drawn.
        hold_out: Entries `domain=NAME` or `subclass=NAME` (see `sfjax.data.assign_splits`).
        unknown_classes: As in `sfjax.data.load_dataset`.
        notes: What must be said of how the images were read.

    Raises:
        ManifestError: The images or their columns have faults; all of them are listed.
    """
    splits = np.array([SET_NAMES.get(str(split), str(split)) for split in columns["split"]], dtype=object)
    said = list(notes)
    if "val" in splits and "iid_test" not in splits:
        splits[splits == "val"] = "iid_test"
        said.append("There is no test split: the validation split is the i.i.d. test set.")
    if "train" in splits and "val" not in splits:
        splits, drawn = _with_validation(splits, columns, sha256, seed)
        said.append(drawn)
    dataset = dataset_from_arrays(
        name,
        images,
        {**columns, "split": splits},
        sha256=sha256,
        seed=seed,
        hold_out=hold_out,
        unknown_classes=unknown_classes,
    )
    return dataclasses.replace(dataset, notes=(*said, *dataset.notes))


def _with_validation(
    splits: np.ndarray, columns: Mapping[str, Sequence[str] | np.ndarray], sha256: Sequence[str], seed: int
) -> tuple[np.ndarray, str]:
    """Returns the splits with those that are missing drawn from train, and what was done."""
    train = splits == "train"
    blank = np.full(len(splits), "", dtype=object)
    table = pd.DataFrame({"label": columns["label"], "patient_id": columns.get("patient_id", blank), "sha256": sha256})
    rows = table[train].astype(str).assign(split="", domain="", subclass="", shift_kind="")
    drawn = assign_splits(rows, Findings("train"), seed=seed)["split"].to_numpy(dtype=object)
    # What the source has already is not drawn: those images train, or tune where calibration images are given.
    if "iid_test" in splits:
        drawn = np.where(drawn == "iid_test", "train", drawn)
    if "cal" in splits:
        drawn = np.where(drawn == "cal", "val", drawn)
    splits = splits.copy()
    splits[train] = drawn
    names, counts = np.unique(drawn.astype(str), return_counts=True)
    made = ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))
    return splits, f"There is no validation split: the {train.sum()} images of train were divided into {made}."


def remarks_as_notes(remarks: Mapping[str, int], count: int) -> list[str]:
    """Returns what was done to images, by how many of `count` images there are of each remark."""
    return [f"{remarks[remark]} of {count} images are {remark}." for remark in sorted(remarks)]
