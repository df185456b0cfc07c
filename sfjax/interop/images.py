"""Where images lie: below the folders that were named, and nowhere else, wherever a table points to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from sfjax.data.image_paths import sources, with_files

REASONS = {
    "outside": "lie outside the folders that were given",
    "missing": "are not there",
    "unreadable": "have paths that cannot be read",
}


def locate(
    tables: Mapping[str, pd.DataFrame], folders: Sequence[Path]
) -> tuple[dict[str, pd.DataFrame], tuple[str, ...]]:
    """Returns the tables with `image_path` where images lie, and how many were left out, as sentences.

    An absolute path of another machine is looked for by its end, the longest first. Symbolic links and `..` are
    followed before it is asked whether an image is below a folder. `file_name` keeps what the table said.

    Args:
        tables: By set, each with `image_path` in a form of `sfjax.data.image_paths`, "" where there is no image.
        folders: Which may be opened; relative paths start at each in turn.
    """
    finder, left_out, total = _Finder(folders), Counter[str](), 0
    located = {}
    for name, table in tables.items():
        if "image_path" not in table:
            located[name] = table
            continue
        named = table["image_path"].fillna("").astype(str)
        found = [finder.find(path) for path in named]
        total += sum(path != "" for path in named)
        left_out.update(path[1:] for path in found if path.startswith("!"))
        paths = ["" if path.startswith("!") else path for path in found]
        located[name] = table.assign(file_name=named, image_path=pd.Series(paths, index=table.index, dtype=object))
    notes = [
        f"{count} of {total} images are not shown, because they {REASONS[reason]}."
        for reason, count in sorted(left_out.items())
    ]
    return located, tuple(notes)


class _Finder:
    """Finds files below folders, and remembers how much of the paths of a folder is another machine's."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = [folder.resolve() for folder in folders]
        self.known: dict[Path, tuple[Path, int]] = {}

    def find(self, image_path: str) -> str:
        """Returns the path with its files resolved, "" for none, or why not, after an exclamation mark."""
        if not image_path:
            return ""
        try:
            sources(image_path)
            return with_files(image_path, lambda file: str(self._file(Path(file))))
        except _LeftOut as error:
            return f"!{error}"
        except (ValueError, OSError, RuntimeError):  # no form of a path; a name too long, a circle of links
            return "!unreadable"

    def _file(self, file: Path) -> Path:
        outside = False
        for folder, skipped in self._candidates(file):
            candidate = folder / Path(*file.parts[skipped:])
            if candidate.is_file():
                resolved = candidate.resolve()
                if any(resolved.is_relative_to(one) for one in self.folders):
                    self.known[file.parent] = folder, skipped
                    return resolved
                outside = True
        raise _LeftOut("outside" if outside or _is_elsewhere(file) else "missing")

    def _candidates(self, file: Path) -> list[tuple[Path, int]]:
        first = [self.known[file.parent]] if file.parent in self.known else []
        if not file.is_absolute():
            return [*first, *((folder, 0) for folder in self.folders)]
        ends = range(1, len(file.parts))
        return [*first, (Path(), 0), *((folder, end) for end in ends for folder in self.folders)]


class _LeftOut(Exception):
    """Why an image is left out."""


def _is_elsewhere(file: Path) -> bool:
    return file.is_absolute() and file.is_file()
