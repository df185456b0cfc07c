"""Histopathology: patches of lymph node sections of five hospitals (CAMELYON17-WILDS), with tumor or without.

A patch has tumor if its central third has. The domain is the hospital, from 0 as in the download (the paper counts from
1 and calls the test hospital 5). WILDS' own split, kept as `original_split`, has patches of one slide on both of its
i.i.d. sides; splits drawn here are by patient.

References:
    P. Bandi et al., "From detection of individual metastases to classification of lymph node status at the patient
    level: the CAMELYON17 challenge", IEEE Transactions on Medical Imaging, 2018.
    P. W. Koh et al., "WILDS: a benchmark of in-the-wild distribution shifts", ICML, 2021.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pandas as pd

from sfjax.data.preparation.base import Account, HoldOut, Needed, Preparation, Progress, TrainingSet
from sfjax.data.preparation.originals import any_of, found, read_original, with_standard

CLASSES = ("normal", "tumor")
SOURCE = "camelyon17_wilds"
HOSPITALS = ("0", "1", "2", "3", "4")

_FOLDERS = ("camelyon17_v1.0", "camelyon17", "camelyon17_wilds", "wilds/camelyon17_v1.0", "data/camelyon17_v1.0")
_ACCESS = "WILDS, camelyon17_v1.0; free, CC0"
NEEDED: Final[Mapping[str, tuple[Needed, ...]]] = MappingProxyType(
    {
        SOURCE: (
            Needed(any_of(_FOLDERS, "metadata.csv"), "20 MB", _ACCESS),
            Needed(any_of(_FOLDERS, "patches/**/patch_*.png"), "10 GB, 455 954 patches", _ACCESS),
        )
    }
)


def tables(raw: Path, account: Account, progress: Progress) -> pd.DataFrame:
    """Returns one row a patch."""
    metadata = found(raw, NEEDED[SOURCE][0])
    if metadata is None:
        raise ValueError(f"{NEEDED[SOURCE][0].path} is not below {raw}.")
    progress(f"reading {SOURCE}", 0, 1)
    rows = read_original(metadata, ["patient", "node", "x_coord", "y_coord", "tumor", "center"])
    # 4 is written 004 in names of files; spreadsheet programs drop the zeros.
    patient = rows["patient"].str.zfill(3)
    node = "patient_" + patient + "_node_" + rows["node"]
    names = "patch_" + node + "_x_" + rows["x_coord"] + "_y_" + rows["y_coord"] + ".png"
    standard = {
        "image_path": f"{metadata.parent.relative_to(raw).as_posix()}/patches/" + node + "/" + names,
        "image_key": names,
        "domain": "hospital_" + rows["center"],
        "subclass": "",
        "patient_id": f"{SOURCE}:" + patient,
        "source": SOURCE,
    }
    account.read(SOURCE, len(rows))
    label = rows["tumor"].map({"0": "normal", "1": "tumor"})
    account.lose(SOURCE, "tumor is neither 0 nor 1", list(names[label.isna()]))
    return with_standard(rows, standard)[label.notna()].assign(label=label[label.notna()])


def _hold_out(hospital: str) -> HoldOut:
    return HoldOut(f"hospital_{hospital}", "acquisition", f"domain=hospital_{hospital}")


_SETS = (
    TrainingSet("all", corruptions=("brightness", "darkness", "motion_blur", "elastic", "gaussian_noise")),
    # As in WILDS: trained on 0, 3 and 4; 1 is its validation hospital, 2 its test hospital.
    TrainingSet("wilds", hold_out=(_hold_out("1"), _hold_out("2"))),
    *(TrainingSet(f"but_hospital_{hospital}", hold_out=(_hold_out(hospital),)) for hospital in HOSPITALS),
)

PREPARATION = Preparation(
    name="histopathology",
    title="Histopathology (CAMELYON17-WILDS)",
    classes=CLASSES,
    needed=NEEDED,
    tables=tables,
    training_sets=MappingProxyType({chosen.name: chosen for chosen in _SETS}),
)
