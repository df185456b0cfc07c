"""What training leaves to read: a CSV of its epochs, and a TensorBoard log where it is wanted."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sfjax.files import write_whole

COLUMNS: Final[tuple[str, ...]] = ("stage", "epoch", "loss", "val_accuracy", "val_aurc")

Row = Mapping[str, Any]


class History:
    """The epochs of one training run, a row each, in a CSV file that is always whole.

    Args:
        path: Of the file; rows that it holds already are read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[Row] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                self._rows = [
                    {**row, "epoch": int(row["epoch"]), **{name: float(row[name]) for name in COLUMNS[2:]}}
                    for row in csv.DictReader(file)
                ]

    def of(self, stage: str, *, until: int) -> list[Row]:
        """Returns the rows of a stage up to an epoch, and forgets its later ones, which will be done again."""
        self._rows = [row for row in self._rows if row["stage"] != stage or row["epoch"] <= until]
        return [row for row in self._rows if row["stage"] == stage]

    def add(self, row: Row) -> None:
        """Adds a row and writes the file in one step."""
        self._rows.append(row)
        text = io.StringIO()
        writer: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_whole(self._path, lambda file: file.write_text(text.getvalue(), encoding="utf-8"))


class TensorBoard:
    """A log for TensorBoard, by tensorboardX.

    Args:
        folder: Where it is.

    Raises:
        ValueError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ValueError("A TensorBoard log needs tensorboardX: pip install tensorboardX.") from error
        self._writer = SummaryWriter(str(folder))

    def add(self, row: Row, step: int) -> None:
        """Adds an epoch's numbers.

        Args:
            row: As in `History`.
            step: Epochs of all stages that are done.
        """
        for name in COLUMNS[2:]:
            self._writer.add_scalar(f"{row['stage']}/{name}", row[name], step)
        self._writer.flush()

    def close(self) -> None:
        """Lets go of the file."""
        self._writer.close()
