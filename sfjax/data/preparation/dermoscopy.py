"""Dermoscopy: HAM10000, Derm7pt, ISIC 2020 and PH2, benign or malignant.

A lesion stands for its patient in HAM10000, which names none, a case in Derm7pt, an image in PH2. Rows with one ISIC
identifier are one image, in whichever archive they came. The domain is HAM10000's own (`dataset`, where the download
has it), the institution for ISIC 2020, and the source for the other two.

References:
    P. Tschandl, C. Rosendahl, H. Kittler, "The HAM10000 dataset", Scientific Data, 2018.
    J. Kawahara et al., "Seven-point checklist and skin lesion classification using multitask multimodal neural nets",
    IEEE Journal of Biomedical and Health Informatics, 2019.
    V. Rotemberg et al., "A patient-centric dataset of images and metadata for identifying melanomas using clinical
    context", Scientific Data, 2021.
    T. Mendonca et al., "PH2: a dermoscopic image database for research and benchmarking", EMBC, 2013.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pandas as pd

from sfjax.data.findings import Findings, listing
from sfjax.data.preparation.base import Account, HoldOut, Needed, Preparation, Progress, TrainingSet
from sfjax.data.preparation.originals import any_of, files_by_name, found, read_original, with_standard
from sfjax.data.preparation.training_sets import study_splits, training_set

CLASSES = ("benign", "malignant")

HAM_DIAGNOSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "akiec": "malignant",
        "bcc": "malignant",
        "bkl": "benign",
        "df": "benign",
        "mel": "malignant",
        "nv": "benign",
        "vasc": "benign",
    }
)
"""Diagnosis of HAM10000 -> class."""

DERM7PT_MALIGNANT = ("basal cell carcinoma", "melanoma")
"""What a malignant diagnosis of Derm7pt begins with; `melanosis` does not."""

PH2_KINDS = ("Common Nevus", "Atypical Nevus", "Melanoma")
"""Columns of PH2, one of which is marked with an X."""

INSTITUTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "barcelona": "barcelona",
        "mskcc": "mskcc",
        "memorial sloan": "mskcc",
        "vienna": "vienna",
        "queensland": "queensland",
        "guitera": "pascal",
        "sydney melanoma": "pascal",
    }
)
"""What ISIC's attribution contains, in lower case -> domain; exports of different years write it differently."""

HAM10000_OF_VIENNA = ("vidir_modern", "vidir_molemax", "vienna_dias")

_HAM = ("ham10000", "HAM10000")
_DERM7PT = ("d7p", "derm7pt", "d7p/release_v0", "derm7pt/release_v0", "release_v0")
_ISIC = ("isic_2020", "ISIC_2020", "isic2020", "siim-isic-melanoma-classification")
_PH2 = ("ph2", "ph2/PH2Dataset", "PH2Dataset", "ph2/PH2 Dataset")
_ISIC_TABLES = (
    "challenge-2020-training_metadata*.csv",
    "ISIC_2020_Training_GroundTruth_v2.csv",
    "ISIC_2020_Training_GroundTruth.csv",
    "train.csv",
)
_NON_COMMERCIAL = "free, CC BY-NC"
NEEDED: Final[Mapping[str, tuple[Needed, ...]]] = MappingProxyType(
    {
        "ham10000": (
            Needed(any_of(_HAM, "HAM10000_metadata*"), "1 MB", f"Harvard Dataverse DBW86T; {_NON_COMMERCIAL}"),
            Needed(
                any_of(_HAM, "**/ISIC_*.jpg"), "2.6 GB, 10 015 images", f"Harvard Dataverse DBW86T; {_NON_COMMERCIAL}"
            ),
        ),
        "d7p": (
            Needed(any_of(_DERM7PT, "meta/meta.csv"), "0.2 MB", "derm.cs.sfu.ca; free for research, by form"),
            Needed(
                any_of(_DERM7PT, "images/**/*.jpg"), "0.2 GB, 1 011 cases", "derm.cs.sfu.ca; free for research, by form"
            ),
        ),
        "isic_2020": (
            Needed(any_of(_ISIC, *_ISIC_TABLES), "2 MB", f"ISIC Challenge 2020, training metadata; {_NON_COMMERCIAL}"),
            Needed(
                any_of(_ISIC, "**/ISIC_*.jpg"),
                "23 GB, 33 126 images",
                f"ISIC Challenge 2020, training JPEG; {_NON_COMMERCIAL}",
            ),
        ),
        "ph2": (
            Needed(any_of(_PH2, "PH2_dataset.xlsx"), "0.1 MB", "ADDI project, University of Porto; free for research"),
            Needed(
                any_of(_PH2, "**/*_Dermoscopic_Image/*.bmp"),
                "0.2 GB, 200 images",
                "ADDI project, University of Porto; free for research",
            ),
        ),
    }
)


def tables(raw: Path, account: Account, progress: Progress) -> pd.DataFrame:
    """Returns the rows of all sources that are there, in the study's order: HAM10000, Derm7pt, PH2, ISIC 2020."""
    readers = {"ham10000": _ham10000, "d7p": _derm7pt, "ph2": _ph2, "isic_2020": _isic_2020}
    parts = []
    for i, (source, read) in enumerate(readers.items()):
        metadata, image = (found(raw, needed) for needed in NEEDED[source])
        if metadata is not None and image is not None:
            progress(f"reading {source}", i, len(readers))
            parts.append(read(raw, metadata, account))
    return pd.concat(parts, ignore_index=True)


def _labelled(source: str, rows: pd.DataFrame, label: pd.Series, names: pd.Series, account: Account) -> pd.DataFrame:
    """Returns the rows that have a class, and counts the others."""
    account.read(source, len(rows))
    known = label.isin(CLASSES)
    account.lose(source, "neither benign nor malignant", list(names[~known]))
    return rows[known].assign(label=label[known])


def _ham10000(raw: Path, metadata: Path, account: Account) -> pd.DataFrame:
    rows = read_original(metadata, ["lesion_id", "image_id", "dx"]).sort_values("image_id", kind="stable")
    images = files_by_name(raw, metadata.parent, (".jpg",))
    folder = metadata.parent.relative_to(raw).as_posix()
    standard = {
        "image_path": [images.get(f"{name}.jpg", f"{folder}/{name}.jpg") for name in rows["image_id"]],
        "image_key": rows["image_id"],
        "domain": rows.get("dataset", pd.Series("", index=rows.index)),
        "subclass": rows["dx"],
        "patient_id": _prefixed("ham10000", rows["lesion_id"]),
        "source": "ham10000",
    }
    if "dataset" not in rows:
        account.note(
            f"ham10000: {metadata.name} has no column dataset, so that its domains are not known: training sets that "
            "hold out a domain leave all of it out. Harvard Dataverse's metadata has the column."
        )
    label = rows["dx"].map(HAM_DIAGNOSES).fillna("")
    return _labelled("ham10000", with_standard(rows, standard), label, rows["image_id"], account)


def _derm7pt(raw: Path, metadata: Path, account: Account) -> pd.DataFrame:
    rows = read_original(metadata, ["case_num", "diagnosis", "derm"])
    images = (metadata.parent.parent / "images").relative_to(raw).as_posix()
    standard = {
        "image_path": f"{images}/" + rows["derm"],
        "image_key": _prefixed("d7p", rows["derm"]),
        "domain": "d7p",
        "subclass": rows["diagnosis"],
        "patient_id": _prefixed("d7p", rows["case_num"]),
        "source": "d7p",
    }
    malignant = rows["diagnosis"].str.match(rf"({'|'.join(DERM7PT_MALIGNANT)})\b")
    label = malignant.map({True: "malignant", False: "benign"}).where(rows["diagnosis"] != "", "")
    return _labelled("d7p", with_standard(rows, standard), label, rows["derm"], account)


def _isic_2020(raw: Path, metadata: Path, account: Account) -> pd.DataFrame:
    rows = read_original(metadata, ["patient_id"])
    name = _first_column(rows, ("isic_id", "image_name"), metadata)
    truth = _first_column(rows, ("benign_malignant", "diagnosis_1", "target"), metadata)
    images = files_by_name(raw, metadata.parent, (".jpg", ".jpeg"))
    folder = metadata.parent.relative_to(raw).as_posix()
    diagnosis = next((name for name in ("diagnosis", "diagnosis_3", "diagnosis_2") if name in rows), None)
    copies = _listed_copies(metadata.parent)
    standard = {
        "image_path": [images.get(f"{one}.jpg", f"{folder}/train/{one}.jpg") for one in rows[name]],
        "image_key": [copies.get(one, one) for one in rows[name]],
        "domain": [_institution(one) for one in rows["attribution"]] if "attribution" in rows else "",
        "subclass": "" if diagnosis is None else rows[diagnosis],
        "patient_id": _prefixed("isic_2020", rows["patient_id"]),
        "source": "isic_2020",
    }
    if "attribution" not in rows:
        account.note(
            f"isic_2020: {metadata.name} has no attribution, so that institutions cannot be held out; the metadata of "
            "the ISIC archive (challenge-2020-training_metadata*.csv) has it."
        )
    label = rows[truth].str.lower().replace({"0": "benign", "1": "malignant"})
    return _labelled("isic_2020", with_standard(rows, standard), label, rows[name], account)


def _first_column(rows: pd.DataFrame, names: Sequence[str], path: Path) -> str:
    """Returns the first of the names that is a column; exports of different years have different ones."""
    there = [name for name in names if name in rows]
    if not there:
        findings = Findings(path.name)
        findings.fault("column missing", f"{' or '.join(names)}; there are {listing(list(rows.columns), 30)}")
        findings.raise_faults()
    return there[0]


def _listed_copies(folder: Path) -> dict[str, str]:
    """Returns the images that ISIC itself lists as copies of another one in the set, where its list is there."""
    path = folder / "ISIC_2020_Training_Duplicates.csv"
    if not path.exists():
        return {}
    pairs = read_original(path, ["image_name_1", "image_name_2"])
    original: dict[str, str] = {}
    for first, second in zip(map(str, pairs["image_name_1"]), map(str, pairs["image_name_2"]), strict=True):
        original[second] = original.get(first, first)
    return original


def _institution(attribution: str) -> str:
    text = attribution.lower()
    return next((domain for part, domain in INSTITUTIONS.items() if part in text), attribution)


def _ph2(raw: Path, metadata: Path, account: Account) -> pd.DataFrame:
    rows = _ph2_rows(metadata)
    images = files_by_name(raw, metadata.parent, (".bmp",))
    folder = metadata.parent.relative_to(raw).as_posix()
    marked = rows[list(PH2_KINDS)].apply(lambda column: column.str.upper() == "X")
    kind = marked.idxmax(axis=1).where(marked.sum(axis=1) == 1, "")
    standard = {
        "image_path": [images.get(f"{name}.bmp", f"{folder}/{name}.bmp") for name in rows["Image Name"]],
        "image_key": _prefixed("ph2", rows["Image Name"]),
        "domain": "ph2",
        "subclass": kind.str.lower(),
        "patient_id": _prefixed("ph2", rows["Image Name"]),
        "source": "ph2",
    }
    label = (kind == "Melanoma").map({True: "malignant", False: "benign"}).where(kind != "", "")
    return _labelled("ph2", with_standard(rows, standard), label, rows["Image Name"], account)


def _ph2_rows(path: Path) -> pd.DataFrame:
    """Returns the table of PH2's sheet as text: it begins below a legend, at the row that says "Image Name"."""
    import openpyxl  # here, because nothing else needs it

    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        cells = [
            ["" if cell is None else " ".join(str(cell).split()) for cell in row]
            for row in book.worksheets[0].iter_rows(values_only=True)
        ]
    finally:
        book.close()
    start = next((i for i, row in enumerate(cells) if "Image Name" in row), 0)
    header = [name or f"column_{i}" for i, name in enumerate(cells[start] if cells else [], start=1)]
    findings = Findings(path.name)
    for name in ("Image Name", *PH2_KINDS):
        if name not in header:
            findings.fault("column missing", f"{name!r}; there are {listing(header, 30)}")
    findings.raise_faults()
    rows = pd.DataFrame(cells[start + 1 :], columns=pd.Index(header), dtype=object)
    return rows[rows["Image Name"] != ""].reset_index(drop=True)


def _prefixed(source: str, names: pd.Series) -> pd.Series:
    """Returns `SOURCE:NAME`, so that equal numbers of two sources are two people, and blank where the name is."""
    return (f"{source}:" + names).where(names != "", "")


CORRUPTIONS = ("brightness", "darkness", "motion_blur", "elastic", "gaussian_noise")


def _but(name: str, where: str) -> TrainingSet:
    return TrainingSet(f"but_{name}", f"dermoscopyallbut{name}", "", (HoldOut(name, "acquisition", where),))


_RARE_DIAGNOSES = HoldOut("bkl_akiec", "manifestation", "subclass=bkl|akiec")
_SETS = (
    TrainingSet("all", "dermoscopyall", corruptions=CORRUPTIONS),
    _but("barcelona", "domain=barcelona"),
    _but("mskcc", "domain=mskcc"),
    TrainingSet("ham10000_subclass", "dermoscopyallham10000subclass", "source=ham10000", (_RARE_DIAGNOSES,)),
    TrainingSet("ham10000_multiclass", "dermoscopyallham10000multi", "source=ham10000", label="dx"),
    # Prepared by the study, and not in its list of runs. Three of HAM10000's domains are Vienna's too.
    _but("vienna", f"domain={'|'.join(('vienna', *HAM10000_OF_VIENNA))}"),
    _but("queensland", "domain=queensland"),
    _but("pascal", "domain=pascal"),
    _but("ph2", "domain=ph2"),
    _but("d7p", "domain=d7p"),
    *(
        TrainingSet(name, f"dermoscopyall{name}", f"source=isic_2020 & domain={name}")
        for name in ("barcelona", "mskcc", "vienna", "queensland")
    ),
)
TRAINING_SETS: Final[Mapping[str, TrainingSet]] = MappingProxyType({chosen.name: chosen for chosen in _SETS})


def reference_splits(table: pd.DataFrame, name: str) -> pd.Series:
    """Returns the study's draw: 80 % of the patients train."""
    return study_splits(table, training_set(PREPARATION, name), 0.8)


PREPARATION = Preparation(
    name="dermoscopy",
    title="Dermoscopy (HAM10000, Derm7pt, ISIC 2020, PH2)",
    classes=CLASSES,
    needed=NEEDED,
    tables=tables,
    training_sets=TRAINING_SETS,
    reference_splits=reference_splits,
)
