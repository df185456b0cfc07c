"""What preparing a task means: from the original downloads to one table with one row an image, nothing lost unsaid.

A preparation reads what the providers ship, in the layout that people get from them. Its table has `image_path`
(relative to the raw folder, with "/"; one file a channel is several paths with ";" between them), `label` (a class
name), `domain`, `subclass`, `patient_id`, `source` and every column of the originals under its own name. It may have
`image_key`, which leaves with the finished table: rows with equal keys are one image, whatever their files are called.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd

from sfjax.data.selection import HoldOut

Progress = Callable[[str, int, int], object]
"""Called with (what is being done, things done, things in all)."""


class Needed(NamedTuple):
    """A file or folder that a preparation reads.

    Attributes:
        path: Relative to the raw folder; may hold wildcards, and "|" between alternatives of which one is enough.
        size: About how large the download is, in words.
        access: Where it comes from and under which conditions.
    """

    path: str
    size: str
    access: str


class TrainingSet(NamedTuple):
    """What one set of networks is trained on.

    Attributes:
        name: Ours.
        study_name: In the study's code; "" where it has none.
        pool: Which rows it is about, an expression of `sfjax.data.selection`; "" is all.
        hold_out: What is kept out of training and tested on.
        corruptions: Of its i.i.d. test set, names in `sfjax.shifts.SHIFTS`.
        label: The column that is the class.
    """

    name: str
    study_name: str = ""
    pool: str = ""
    hold_out: tuple[HoldOut, ...] = ()
    corruptions: tuple[str, ...] = ()
    label: str = "label"


@dataclass
class Account:
    """Counts what became of every row of every source: kept, or lost for a reason.

    Example:
        >>> account = Account()
        >>> account.read("ham10000", 3)
        >>> account.lose("ham10000", "image missing", ["ISIC_7"])
        >>> account.lines({"ham10000": 2})
        ['ham10000: 3 rows read, 2 kept; 1 image missing (ISIC_7)']
    """

    rows: dict[str, int] = field(default_factory=dict)
    lost: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def read(self, source: str, count: int) -> None:
        """Adds rows that were read of a source."""
        self.rows[source] = self.rows.get(source, 0) + count

    def lose(self, source: str, reason: str, names: Sequence[str]) -> None:
        """Adds rows that were left out: why, and which."""
        if len(names):
            self.lost.setdefault(source, {}).setdefault(reason, []).extend(map(str, names))

    def note(self, text: str) -> None:
        """Adds what changed no count, but must be said."""
        self.notes.append(text)

    def lines(self, kept: Mapping[str, int]) -> list[str]:
        """Returns a line a source.

        Args:
            kept: Rows of each source that are in the table.

        Raises:
            RuntimeError: Rows read are not those kept and those lost: the preparation has dropped some in silence.
        """
        lines = []
        for source, read in self.rows.items():
            reasons = self.lost.get(source, {})
            if read != kept.get(source, 0) + sum(map(len, reasons.values())):
                raise RuntimeError(f"{source}: {read} rows read, {kept.get(source, 0)} kept, lost {reasons}.")
            said = [f"{len(names)} {reason} ({', '.join(names[:3])})" for reason, names in reasons.items()]
            lines.append("; ".join([f"{source}: {read} rows read, {kept.get(source, 0)} kept", *said]))
        return lines


class Preparation(NamedTuple):
    """How one task is made of its downloads.

    Attributes:
        name: `dermoscopy`, `chest_xray`, `microscopy`, `lung_ct` or `histopathology`.
        title: As in a heading.
        classes: Names of the classes, by the study's indices (a data set numbers them by name); empty where there are
            too many to name.
        needed: What is read, by source; a source that is not there at all is left out, and that is said.
        tables: (raw folder, account, progress) -> the table.
        training_sets: By name.
        reference_splits: (table, training set's name) -> `train` or `iid_test` or "" (held out or not used) for each
            row, drawn as the study draws them; None where it draws none.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    needed: Mapping[str, tuple[Needed, ...]]
    tables: Callable[[Path, Account, Progress], pd.DataFrame]
    training_sets: Mapping[str, TrainingSet] = MappingProxyType({})
    reference_splits: Callable[[pd.DataFrame, str], pd.Series] | None = None
