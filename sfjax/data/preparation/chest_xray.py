"""Chest X-ray: MIMIC-CXR-JPG, NIH ChestX-ray14 and CheXpert, one of eight classes an image.

One rule for the three sources. An image has the one of seven findings that is positive. It is `No Finding` where its
source says so in words and no other finding is positive; a supporting device is no finding. Images with several of the
eight and images with none of them are left out, counted apart. A label that is uncertain (-1) or blank is not positive.
Findings beyond the eight do not take an image out of its class, but out of `No Finding`.

The study's rule was another for each source: CheXpert's images without any positive label were its `No Finding`, which
the other two sources left out.

References:
    A. E. W. Johnson et al., "MIMIC-CXR-JPG, a large publicly available database of labeled chest radiographs", 2019.
    X. Wang et al., "ChestX-ray8: hospital-scale chest X-ray database and benchmarks on weakly-supervised classification
    and localization of common thorax diseases", CVPR, 2017.
    J. Irvin et al., "CheXpert: a large chest radiograph dataset with uncertainty labels and expert comparison", AAAI,
    2019.
"""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pandas as pd

from sfjax.data.findings import Findings
from sfjax.data.preparation.base import Account, HoldOut, Needed, Preparation, Progress, TrainingSet
from sfjax.data.preparation.originals import any_of, files_by_name, found, read_original, with_standard
from sfjax.data.preparation.training_sets import study_splits, training_set

NO_FINDING = "No Finding"
FINDINGS = (
    "Cardiomegaly",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
)
CLASSES = (NO_FINDING, *FINDINGS)

OTHER_FINDINGS = ("Enlarged Cardiomediastinum", "Lung Opacity", "Lung Lesion", "Pleural Other", "Fracture")
"""Of CheXpert and MIMIC-CXR, besides the classes; their fourteenth label, Support Devices, is no finding."""

NIH_NAMES: Final[Mapping[str, str]] = MappingProxyType({"Effusion": "Pleural Effusion"})
"""Findings that ChestX-ray14 calls otherwise."""

_CHEXPERT = (
    "chexpert",
    "chexpert/CheXpert-v1.0-small",
    "chexpert/CheXpert-v1.0",
    "CheXpert-v1.0-small",
    "CheXpert-v1.0",
)
_BATCHES = ("chexpert", "chexpert/chexpertchestxrays-u20210408", "chexpertchestxrays-u20210408")
_FIRST_BATCH = "CheXpert-v1.0 batch 1 (validate & csv)"
"""Of the full-size archives, which unpack beside each other and have patients of `train` without that folder."""

_NIH = ("nih14", "nih14/archive", "ChestX-ray14", "archive")
_MIMIC = (
    "mimic",
    "mimic/files/mimic-cxr-jpg/2.*",
    "mimic/physionet.org/files/mimic-cxr-jpg/2.*",
    "physionet.org/files/mimic-cxr-jpg/2.*",
    "mimic-cxr-jpg",
)
_CREDENTIALED = "PhysioNet, MIMIC-CXR-JPG 2; credentialed access: training in human research and a signed agreement"
_STANFORD = "Stanford AIMI; free for research after registration"
_NIH_BOX = "NIH Clinical Center's download site; free, cite the paper"
NEEDED: Final[Mapping[str, tuple[Needed, ...]]] = MappingProxyType(
    {
        "mimic": (
            Needed(any_of(_MIMIC, "mimic-cxr-2.0.0-chexpert.csv*"), "12 MB", _CREDENTIALED),
            Needed(
                any_of(_MIMIC, "mimic-cxr-2.0.0-split.csv*", "mimic-cxr-2.0.0-metadata.csv*"), "25 MB", _CREDENTIALED
            ),
            Needed(any_of(_MIMIC, "files/p1*/p*/s*/**/*.jpg"), "570 GB, 377 110 images", _CREDENTIALED),
        ),
        "nih14": (
            Needed(any_of(_NIH, "Data_Entry_2017*.csv"), "8 MB", _NIH_BOX),
            Needed(any_of(_NIH, "images*/**/*.png"), "45 GB, 112 120 images", _NIH_BOX),
        ),
        "chexpert": (
            Needed(
                f"{any_of(_CHEXPERT, 'train.csv')}|{any_of(_BATCHES, f'{_FIRST_BATCH}/train.csv')}", "30 MB", _STANFORD
            ),
            Needed(
                f"{any_of(_CHEXPERT, 'valid.csv')}|{any_of(_BATCHES, f'{_FIRST_BATCH}/valid.csv')}", "1 MB", _STANFORD
            ),
            Needed(
                f"{any_of(_CHEXPERT, 'train/**/*.jpg')}|{any_of(_BATCHES, 'CheXpert-v1.0 batch * (train *)/**/*.jpg')}",
                "11 GB (small) or 439 GB, 224 316 images with valid",
                _STANFORD,
            ),
        ),
    }
)


def tables(raw: Path, account: Account, progress: Progress) -> pd.DataFrame:
    """Returns the rows of all sources that are there, in the study's order: MIMIC-CXR, ChestX-ray14, CheXpert."""
    readers = {"mimic": _mimic, "nih14": _nih14, "chexpert": _chexpert}
    parts = []
    for i, (source, read) in enumerate(readers.items()):
        metadata = found(raw, NEEDED[source][0])
        if metadata is not None and all(found(raw, needed) for needed in NEEDED[source]):
            progress(f"reading {source}", i, len(readers))
            parts.append(read(raw, metadata, account))
    return pd.concat(parts, ignore_index=True)


def _labelled(source: str, rows: pd.DataFrame, positive: pd.DataFrame, account: Account) -> pd.DataFrame:
    """Returns the rows that have one class, and counts the others by the reason that they have none.

    Args:
        source: Of the rows.
        rows: With `image_path`.
        positive: Booleans: `CLASSES`, and whatever other findings the source has.
        account: Counts.
    """
    account.read(source, len(rows))
    number = positive[list(CLASSES)].sum(axis=1)
    another = positive.drop(columns=list(CLASSES)).any(axis=1)
    several, none = number > 1, number == 0
    contradicted = (number == 1) & positive[NO_FINDING] & another
    for reason, lost in (
        ("several of the eight classes", several),
        ("none of the eight classes", none),
        ("No Finding beside a finding", contradicted),
    ):
        account.lose(source, reason, list(rows["image_path"][lost]))
    label = positive[list(CLASSES)].idxmax(axis=1)
    kept = (number == 1) & ~contradicted
    return rows[kept].assign(label=label[kept])


def _positive(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns which labels of CheXpert's labeler are 1, Support Devices left out."""
    return rows[[*CLASSES, *OTHER_FINDINGS]].apply(lambda column: pd.to_numeric(column, errors="coerce") == 1)


def _view(position: pd.Series, lateral: Sequence[str]) -> pd.Series:
    """Returns AP, PA, lateral, or "" for other and unknown positions of the patient."""
    return position.where(position.isin(["AP", "PA"]), "").mask(position.isin(lateral), "lateral")


def _mimic(raw: Path, metadata: Path, account: Account) -> pd.DataFrame:
    study = ["subject_id", "study_id"]
    labels = read_original(metadata, [*study, *CLASSES, *OTHER_FINDINGS])
    twice = labels[study].duplicated()
    findings = Findings(metadata.name)
    for study_id in labels["study_id"][twice]:
        findings.fault("metadata key twice", f"study {study_id}")
    findings.raise_faults()
    rows = None
    for name in ("split", "metadata"):
        path = found(raw, Needed(any_of(_MIMIC, f"mimic-cxr-2.0.0-{name}.csv*"), "", ""))
        if path is not None:
            images = read_original(path, ["dicom_id", *study])
            new = ["dicom_id", *(column for column in images if rows is None or column not in rows)]
            rows = images if rows is None else rows.merge(images[new], on="dicom_id", how="left", validate="m:1")
    assert rows is not None  # one of the two is needed
    rows = rows.merge(labels, on=study, how="left", indicator="labels")
    root = metadata.parent.relative_to(raw).as_posix()
    subject = rows["subject_id"]
    folder = f"{root}/files/p" + subject.str[:2] + "/p" + subject + "/s" + rows["study_id"]
    position = rows["ViewPosition"].fillna("") if "ViewPosition" in rows else pd.Series("", index=rows.index)
    standard = {
        "image_path": folder + "/" + rows["dicom_id"] + ".jpg",
        "image_key": "mimic:" + rows["dicom_id"],
        "domain": "mimic",
        "subclass": "",
        "patient_id": "mimic:" + subject,
        "source": "mimic",
        "view": _view(position, ["LATERAL", "LL", "RL"]),
    }
    unlabelled = rows["labels"] == "left_only"
    if surplus := len(labels) - len(rows[study][~unlabelled].drop_duplicates()):
        account.note(f"mimic: {surplus} studies of {metadata.name} have no image in the list of images.")
    account.read("mimic", int(unlabelled.sum()))
    account.lose("mimic", "study without labels", list(standard["image_path"][unlabelled]))
    table = with_standard(rows.drop(columns="labels"), standard)[~unlabelled]
    return _labelled("mimic", table, _positive(table), account)


def _nih14(raw: Path, metadata: Path, account: Account) -> pd.DataFrame:
    rows = read_original(metadata, ["Image Index", "Finding Labels", "Patient ID"])
    images = files_by_name(raw, metadata.parent, (".png",))
    folder = metadata.parent.relative_to(raw).as_posix()
    words = [[NIH_NAMES.get(word.strip(), word.strip()) for word in cell.split("|")] for cell in rows["Finding Labels"]]
    names = dict.fromkeys([*CLASSES, *(word for cell in words for word in cell if word)])
    positive = pd.DataFrame({name: [name in cell for cell in words] for name in names}, index=rows.index)
    view = rows["View Position"] if "View Position" in rows else pd.Series("", index=rows.index)
    standard = {
        "image_path": [images.get(name, f"{folder}/images/{name}") for name in rows["Image Index"]],
        "image_key": "nih14:" + rows["Image Index"],
        "domain": "nih14",
        "subclass": "",
        # 00000013 in one release of the table is 13 in another.
        "patient_id": "nih14:" + rows["Patient ID"].str.lstrip("0"),
        "source": "nih14",
        "view": _view(view, ["LL", "RL"]),
    }
    return _labelled("nih14", with_standard(rows, standard), positive, account)


def _chexpert(raw: Path, metadata: Path, account: Account) -> pd.DataFrame:
    parts = []
    for name in ("train", "valid"):
        part = read_original(
            metadata.with_name(f"{name}.csv"), ["Path", "Frontal/Lateral", "AP/PA", *CLASSES, *OTHER_FINDINGS]
        )
        parts.append(part.assign(split=name))
    rows = pd.concat(parts, ignore_index=True).fillna("")
    # "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg", whatever the first folder is called here.
    inside = rows["Path"].str.replace("\\", "/").str.extract(r"((?:train|valid|test)/(patient\d+)/.*)$")
    findings = Findings(metadata.name)
    for path in rows["Path"][inside[0].isna()]:
        findings.fault("blank image_path", f"no path of CheXpert: {path!r}")
    findings.raise_faults()
    batches = _chexpert_batches(raw, metadata.parent)
    root = metadata.parent.relative_to(raw).as_posix()
    standard = {
        "image_path": [
            f"{batches[patient]}/{path.partition('/')[2]}"
            if path.startswith("train/") and batches
            else f"{root}/{path}"
            for path, patient in zip(inside[0], inside[1], strict=True)
        ],
        "image_key": "chexpert:" + inside[0],
        "domain": "chexpert",
        "subclass": "",
        "patient_id": "chexpert:" + inside[1],
        "source": "chexpert",
        "view": _view(rows["AP/PA"].mask(rows["Frontal/Lateral"] == "Lateral", "LL"), ["LL", "RL"]),
    }
    table = with_standard(rows, standard)
    return _labelled("chexpert", table, _positive(table), account)


def _chexpert_batches(raw: Path, folder: Path) -> dict[str, str]:
    """Returns the folder of each patient's batch of the full-size archives; nothing where all is in one folder."""
    batches = sorted(folder.parent.glob("CheXpert-v1.0 batch * (train *)")) if folder.name == _FIRST_BATCH else []
    patients: dict[str, str] = defaultdict(lambda: batches[0].relative_to(raw).as_posix())
    for batch in batches:
        patients |= {entry.name: batch.relative_to(raw).as_posix() for entry in os.scandir(batch)}
    return patients


CORRUPTIONS = ("brightness", "darkness", "motion_blur", "elastic", "gaussian_noise", "letter")
SOURCES = ("mimic", "nih14", "chexpert")


def _but(source: str) -> TrainingSet:
    held = HoldOut(source, "acquisition", f"source={source}")
    return TrainingSet(f"but_{source}", f"xray_chestallbut{source}", "", (held,))


_SETS = (
    TrainingSet("all", "xray_chestall", corruptions=CORRUPTIONS),
    _but("chexpert"),
    _but("nih14"),
    # Prepared by the study, and not in its list of runs.
    _but("mimic"),
    *(TrainingSet(source, f"xray_chestall{source}", f"source={source}") for source in SOURCES),
)
TRAINING_SETS: Final[Mapping[str, TrainingSet]] = MappingProxyType({chosen.name: chosen for chosen in _SETS})

TRAIN_SHARES: Final[Mapping[str, float]] = MappingProxyType(
    {
        "all": 0.98,
        "mimic": 0.95,
        "but_mimic": 0.95,
        "chexpert": 0.95,
        "but_chexpert": 0.96,
        "nih14": 0.8,
        "but_nih14": 0.975,
    }
)
"""Of the patients, in the study."""


def reference_splits(table: pd.DataFrame, name: str) -> pd.Series:
    """Returns the study's draw; its share of training patients differs from set to set."""
    return study_splits(table, training_set(PREPARATION, name), TRAIN_SHARES[name])


PREPARATION = Preparation(
    name="chest_xray",
    title="Chest X-ray (MIMIC-CXR-JPG, NIH ChestX-ray14, CheXpert)",
    classes=CLASSES,
    needed=NEEDED,
    tables=tables,
    training_sets=TRAINING_SETS,
    reference_splits=reference_splits,
)
