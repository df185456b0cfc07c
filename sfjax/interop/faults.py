"""What is wrong with the files of an experiment, collected so that it is said all at once."""

import csv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from sfjax.data import Findings, ManifestError, read_table
from sfjax.outputs import read_npz

SHOWN = 20
"""So many faults an error lists."""


class Faults:
    """Collects faults of the files below a folder.

    Example:
        >>> faults = Faults(Path("run"))
        >>> faults.add(Path("run/val.npz"), "10 rows", "9 rows", "Write all images.")
        >>> faults.lines
        ['val.npz: expected 10 rows, found 9 rows. Write all images.']
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []

    def add(self, file: Path, expected: str, found: str, remedy: str = "") -> None:
        """Adds a fault of a file: what was expected and found there, and what to do."""
        self.say(file, f"expected {expected}, found {found}.{f' {remedy}' if remedy else ''}")

    def say(self, file: Path, text: str) -> None:
        """Adds a fault of a file in words of its own."""
        name = file.relative_to(self.folder) if file.is_relative_to(self.folder) else file
        self.lines.append(f"{name}: {text}")

    def raise_any(self) -> None:
        """Raises ValueError with all faults, if there are any."""
        if self.lines:
            more = [f"and {len(self.lines) - SHOWN} more"] * (len(self.lines) > SHOWN)
            listed = "\n".join(f"  - {line}" for line in [*self.lines[:SHOWN], *more])
            many = f"{len(self.lines)} fault{'s' * (len(self.lines) > 1)}"
            raise ValueError(f"{self.folder} cannot be read: {many}.\n{listed}")

    def arrays(self, file: Path) -> Mapping[str, np.ndarray]:
        """Returns the arrays of an `.npz`, none where it cannot be read, which is a fault."""
        try:
            if file.is_file() and not zipfile.is_zipfile(file):
                self.add(file, "an .npz of plain arrays, which is a zip archive", "none, or one cut short")
                return {}
            found = read_npz(file)
        except OSError as error:
            self.add(file, "a file that can be read", str(error.strerror))
        except ValueError as error:  # its words are about files that are made again
            said = str(error.__cause__ or error)
            # NumPy's advice is to allow pickles, which are programs.
            found = "arrays of Python objects, which are not unpickled" if "pickle" in said else said
            self.add(file, "an .npz of plain arrays", found, "Store numbers by numpy.savez.")
        else:
            return found
        return {}

    def table(self, file: Path) -> pd.DataFrame:
        """Returns a CSV or Parquet file, CSV as text, with the column `row`; empty where it cannot be read: a fault."""
        try:
            findings = Findings(file.name)
            table = read_table(file, findings)
            findings.raise_faults()
        except ManifestError as error:
            self.lines += [fault.where for fault in error.faults]
        except (OSError, csv.Error) as error:
            self.say(file, f"cannot be read ({error}).")
        else:
            return table
        return pd.DataFrame()
