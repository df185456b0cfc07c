"""Tables that are kept between reports for as long as they would come out the same."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

import sfjax
from sfjax.study import storage

Keep = Callable[[str, Callable[[], pd.DataFrame]], pd.DataFrame]
"""Returns the table of a name, made by the function, or kept from before."""


def keep_in(folder: Path, settings: Mapping[str, Any], files: Iterable[Path]) -> Keep:
    """Returns what keeps tables as Parquet in a folder, after throwing away those that were made of something else.

    `digest.txt` beside the tables says what they were made of: the settings, the files' content, the code of this
    package and the libraries' versions. Where it differs or is missing, all tables go.

    Args:
        folder: Of nothing but these tables; it is made where it is missing.
        settings: Whatever the tables depend on besides, as JSON has it.
        files: What they are made of; by content, so that a run may be moved.
    """
    # Another device rounds otherwise, which is no reason to make all anew where a run was copied to.
    versions = {name: of for name, of in storage.versions().items() if name != "device"}
    whole = hashlib.sha256(json.dumps([settings, _code(), versions], sort_keys=True).encode())
    for path in sorted(files):
        whole.update(path.name.encode())
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    digest, place = whole.hexdigest(), folder / "digest.txt"
    if not place.exists() or place.read_text(encoding="utf-8").strip() != digest:
        for table in folder.glob("*.parquet"):
            table.unlink()
        storage.write_text(place, f"{digest}\n")

    def keep(name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        path = folder / f"{name}.parquet"
        if not path.exists():
            storage.write_table(path, make())
        return pd.read_parquet(path)

    return keep


@functools.cache
def _code() -> str:
    """Returns the digest of this package's sources: no version number changes with every line."""
    whole = hashlib.sha256()
    root = Path(sfjax.__file__).parent
    for path in sorted(root.rglob("*.py")):
        whole.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return whole.hexdigest()
