"""Fluorescence microscopy: cells under 1 138 genetic perturbations and none, six stains an image (RxRx1).

A class is a `sirna_id`, as text, so that the order of the classes is the study's: 0 to 1 107 are treatments, then come
the controls, which the study classifies as well. All sites of a well stay together. The six channels are nuclei,
endoplasmic reticulum, actin, nucleoli, mitochondria and Golgi apparatus, in the order that
`sfjax.phantoms.microscopy.composite` has colors for.

References:
    M. Sypetkowski et al., "RxRx1: a dataset for evaluating experimental batch correction methods", CVPR workshops,
    2023.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd

from sfjax.data.preparation.base import Account, HoldOut, Needed, Preparation, Progress, TrainingSet
from sfjax.data.preparation.originals import read_original, with_standard
from sfjax.data.preparation.training_sets import STUDY_SEED
from sfjax.data.selection import matches

SOURCE = "rxrx1"
NUM_CHANNELS = 6
CELL_TYPES = ("HEPG2", "HUVEC", "U2OS", "RPE")

STUDY_EXPERIMENTS = 51
STUDY_BATCH_SET_ENDS = (11, 21, 31, 41)
"""Where, in the study's order of its 51 experiments, one batch set ends and the next begins."""

TEST_SHARE = 0.2
"""Of the wells, as the study divides them; of all wells that is its 12 551."""

_REQUIRED = ("site_id", "well_id", "cell_type", "experiment", "plate", "well", "site", "sirna_id")


def tables(raw: Path, account: Account, progress: Progress) -> pd.DataFrame:
    """Returns one row a site of a well, with the batch set of its experiment in `batch_set`."""
    progress(f"reading {SOURCE}", 0, 1)
    rows = read_original(raw / SOURCE / "metadata.csv", _REQUIRED)
    account.read(SOURCE, len(rows))
    # Before any row is lost: the study draws from all.
    batch_set = rows["experiment"].map(batch_sets(rows))
    folder = f"{SOURCE}/images/" + rows["experiment"] + "/Plate" + rows["plate"] + "/"
    stem = folder + rows["well"] + "_s" + rows["site"] + "_w"
    channels = [stem + f"{channel}.png" for channel in range(1, NUM_CHANNELS + 1)]
    standard = {
        "image_path": [";".join(paths) for paths in zip(*channels, strict=True)],
        # A program that met a blank has written 7.0 for 7.
        "label": rows["sirna_id"].str.replace(r"\.0+$", "", regex=True),
        "domain": rows["experiment"],
        "subclass": rows["cell_type"],
        "patient_id": rows["well_id"],
        "source": SOURCE,
        "batch_set": batch_set,
    }
    table = with_standard(rows.rename(columns={"batch_set": "original_batch_set"}), standard)
    blank = (rows[list(_REQUIRED[:-1])] == "").any(axis=1)
    unlabeled = ~table["label"].str.fullmatch(r"\d+") & ~blank
    account.lose(SOURCE, "a blank that names the image or its well", list(rows["site_id"][blank]))
    account.lose(SOURCE, "sirna_id is no class", list(rows["site_id"][unlabeled]))
    return table[~blank & ~unlabeled].reset_index(drop=True)


def batch_sets(rows: pd.DataFrame) -> dict[str, str]:
    """Returns the batch set, "1" to "5", of each experiment.

    The study permutes the experiments with the generator as its draw of wells of all but the RPE cells has left it, so
    that the sets depend on how many wells there are. Of another number of experiments the sets have the same shares.

    Args:
        rows: The whole of `metadata.csv`.
    """
    generator = np.random.RandomState(STUDY_SEED)
    _draw_wells(generator, rows["well_id"][rows["cell_type"] != "RPE"])
    experiments = np.asarray(pd.unique(rows["experiment"]))
    order = generator.choice(len(experiments), len(experiments), replace=False)
    ends = [end * len(experiments) // STUDY_EXPERIMENTS for end in STUDY_BATCH_SET_ENDS]
    parts = np.split(experiments[order], ends)
    return {str(name): str(i) for i, part in enumerate(parts, start=1) for name in part}


def reference_splits(table: pd.DataFrame, name: str) -> pd.Series:
    """Returns `train`, `iid_test` or "" (held out) for each row: a fifth of the wells is drawn for the test.

    Wells are numbered in order of first appearance. Where rows were lost, the draw is another than the study's.

    Args:
        table: As prepared.
        name: Of the training set.
    """
    chosen = PREPARATION.training_sets[name]
    held_out = np.zeros(len(table), bool)
    for hold_out in chosen.hold_out:
        held_out |= matches(table, hold_out.where)
    drawn = _draw_wells(np.random.RandomState(STUDY_SEED), table["patient_id"][~held_out])
    split = np.where(table["patient_id"].isin(drawn), "iid_test", "train")
    return pd.Series(np.where(held_out, "", split), index=table.index, dtype=object)


def _draw_wells(generator: np.random.RandomState, wells: pd.Series) -> set[str]:
    distinct = np.asarray(pd.unique(wells))
    return set(distinct[generator.choice(len(distinct), int(len(distinct) * TEST_SHARE), replace=False)])


_SETS = (
    TrainingSet("all", "rxrx1all", corruptions=("brightness", "darkness", "motion_blur", "elastic", "gaussian_noise")),
    *(
        TrainingSet(
            f"large_set{k}",
            f"rxrx1all_large_set{k}",
            hold_out=(HoldOut(f"small_set{k}", "acquisition", f"batch_set={k}"),),
        )
        for k in range(1, len(STUDY_BATCH_SET_ENDS) + 2)
    ),
    *(
        TrainingSet(
            f"but_{cell_type.lower()}",
            hold_out=(HoldOut(f"only_{cell_type.lower()}", "manifestation", f"cell_type={cell_type}"),),
        )
        for cell_type in CELL_TYPES
    ),
)

NEEDED: Final[Mapping[str, tuple[Needed, ...]]] = MappingProxyType(
    {
        SOURCE: (
            Needed(f"{SOURCE}/metadata.csv", "10 MB", "rxrx.ai, rxrx1-metadata; free, CC BY-NC-SA 4.0"),
            Needed(f"{SOURCE}/images/*/Plate*/*_w1.png", "46 GB, 125 510 sites", "rxrx.ai, rxrx1-images; the same"),
        )
    }
)

PREPARATION: Final[Preparation] = Preparation(
    name="microscopy",
    title="Fluorescence microscopy (RxRx1)",
    classes=(),
    needed=NEEDED,
    tables=tables,
    training_sets=MappingProxyType({chosen.name: chosen for chosen in _SETS}),
    reference_splits=reference_splits,
)
