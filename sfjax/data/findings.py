"""What is wrong with the images and their manifest, collected so that it is reported all at once and before training.

A *fault* stops: it stands in the one `ManifestError` with its file and row. A *note* does not stop, but is said.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

SHOWN = 10
"""How many faults of one kind an error message lists."""

REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "unreadable table": "A table is a CSV file in UTF-8 with a header row and commas, or a Parquet file.",
        "column missing": "Add the column, or say what the file calls it (columns; --label-column and the like).",
        "no rows": "The table needs one row an image.",
        "ragged row": "Give every row as many fields as the header; put quotes around a value that holds a comma.",
        "metadata key twice": "Metadata has one row an image: keep one of the rows.",
        "metadata without a match": "The image_path of metadata and manifest must be written alike.",
        "metadata contradicts manifest": "Correct one of the two, or remove the column from the metadata.",
        "blank image_path": "Fill in the path or remove the row.",
        "blank label": "Fill in the label (NaN counts as blank) or remove the row.",
        "blank split": "Give every row a split, or none, and the splits are drawn.",
        "image listed twice": "An image has one row: remove the others.",
        "unusable split name": "A set's name becomes a file's name: letters, digits, blank, and . _ + - only.",
        "unknown shift_kind": "It is blank, acquisition, manifestation, acquisition+manifestation or named.",
        "several shift_kinds in one set": "A test set has one kind: divide the set or correct the column.",
        "reserved domain": "'all' stands for all domains together in the results: rename the domain.",
        "unusable loss_weight": "A weight is a finite number from 0 on; blank means 1.",
        "missing file": "Correct the path (relative paths start at the manifest's folder), or go on without the image "
        "(skip_bad_images, --skip-bad-images).",
        "undecodable image": "Replace or convert the file, or go on without it (skip_bad_images, --skip-bad-images).",
        "another number of channels": "All images of a set have equally many channels, except that gray and RGB may be "
        "mixed. Name as many files in each row, or remove the row (skip_bad_images, --skip-bad-images, leaves it out).",
        "no image of the set is readable": "Correct the files, or remove the set's rows from the manifest.",
        "unreadable array": "An array file is an .npz of plain arrays, without objects, which are pickled.",
        "arrays without a partner": "Each split has SPLIT_images and SPLIT_labels, and every other array of a split "
        "has one value an image.",
        "unusable images": "Images are uint8 or uint16 of shape (n, h, w) or (n, h, w, k), all alike. Multiply images "
        "in [0, 1] by 255 and round.",
        "volumes": "Networks here look at images of two dimensions: store slices or projections of a volume as images.",
        "several labels an image": "An image has one class here. Of a set with several labels an image, make one with "
        "one of them, such as a finding against none.",
        "unusable labels": "A label is a whole number or text.",
        "hold-out matches no image": "Hold out a value that is there.",
        "shift leaks into training": "A set of unseen domains or subclasses has none that train, val or cal have: "
        "remove those rows from training, or, where the set differs in something else, call its shift_kind named.",
        "empty set": "Needed are train, val, iid_test (cal is made from val if it is missing). Rename the sets of the "
        "split column, or leave it out and the splits are drawn.",
        "fewer than two classes": "Failures cannot be told from successes here: move or add images of another class. "
        "Where splits are drawn, a class needs four patients to be in all four sets.",
        "label unseen in training": "Add the class to train or remove the rows. In shifted sets it may count as "
        "failures (unknown_classes='failure', --unknown-classes failure).",
        "one image with two labels": "The files are equal byte for byte: correct the label or remove one.",
        "image on both sides of a split": "The files are equal byte for byte: keep them in one of the sets.",
        "patient on both sides of a split": "Put all images of a patient into one set. If these are different people "
        "with equal numbers, put the site before the number; leave patient_id blank where it is not known.",
    }
)
"""Every kind of fault there is, with what to do about it."""


class Fault(NamedTuple):
    """One fault: its kind, a key of `REMEDIES`, and where it is and what was found."""

    kind: str
    where: str


class ManifestError(ValueError):
    """All faults of a manifest and its images, grouped by kind, each kind with its remedy.

    Attributes:
        faults: All of them, also those that the message leaves out.
    """

    def __init__(self, source: str, faults: list[Fault]):
        self.faults = tuple(faults)
        groups: dict[str, list[str]] = {}
        for kind, where in faults:
            groups.setdefault(kind, []).append(where)
        lines = [f"{source}: {len(faults)} fault{'s' * (len(faults) > 1)} to correct before training."]
        for kind, places in groups.items():
            lines += [f"\n{kind} ({len(places)}). {REMEDIES[kind]}", *(f"  - {place}" for place in places[:SHOWN])]
            lines += [f"  - and {len(places) - SHOWN} more"] * (len(places) > SHOWN)
        super().__init__("\n".join(lines))


@dataclass
class Findings:
    """Collects faults and notes about the table `source`.

    Example:
        >>> findings = Findings("manifest.csv")
        >>> findings.fault("blank label", "images/7.png", row=8)
        >>> findings.faults
        [Fault(kind='blank label', where='manifest.csv row 8: images/7.png')]
    """

    source: str
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fault(self, kind: str, what: str, *, row: int | None = None, source: str | None = None) -> None:
        """Adds a fault of a kind that `REMEDIES` has; the header is row 1."""
        if kind not in REMEDIES:
            raise KeyError(kind)
        place = (source or self.source) + ("" if row is None else f" row {row}")
        self.faults.append(Fault(kind, f"{place}: {what}"))

    def note(self, text: str) -> None:
        """Adds something that does not stop, but that must be said."""
        self.notes.append(text)

    def raise_faults(self) -> None:
        """Raises `ManifestError` with all faults, if there are any."""
        if self.faults:
            raise ManifestError(self.source, self.faults)


def listing(values: list, shown: int = SHOWN) -> str:
    """Returns the first values with commas between them and how many more there are.

    Example:
        >>> listing([2, 3, 5, 7], shown=2)
        '2, 3 and 2 more'
    """
    text = ", ".join(str(value) for value in values[:shown])
    return text + (f" and {len(values) - shown} more" if len(values) > shown else "")
