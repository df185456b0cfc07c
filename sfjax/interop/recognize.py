"""What a folder holds, by what lies in it."""

import json
from pathlib import Path
from typing import Literal

Kind = Literal["run", "fd_shifts", "arrays"]
MANIFESTS = ("manifest.csv", "manifest.parquet")
RAW = ("raw_logits.npz", "raw_output.npz")
"""What an FD-Shifts experiment has at least one of, in `test_results`; the first one that is there counts."""


def recognize(path: Path) -> Kind:
    """Returns what a folder is: a run of the benchmark, an FD-Shifts experiment, or a manifest with arrays.

    Args:
        path: The folder.

    Raises:
        ValueError: It is none of these, or no folder; the message says what each would hold.
    """
    if not path.is_dir():
        raise ValueError(f"{path} is no folder. Give the folder of a run, of an FD-Shifts experiment, or of arrays.")
    if _is_run(path / "config.json"):
        return "run"
    results = path / "test_results"
    if results.is_dir() or (path / "hydra" / "config.yaml").exists():
        return "fd_shifts"
    if any((path / name).exists() for name in MANIFESTS):
        return "arrays"
    there = sorted(entry.name for entry in path.iterdir())
    shown = ", ".join(there[:10]) + (f" and {len(there) - 10} more" if len(there) > 10 else "")
    raise ValueError(
        f"{path} is nothing that can be read; it holds {shown or 'nothing'}. A run of the benchmark has config.json; "
        f"an FD-Shifts experiment has hydra/config.yaml and test_results/{' or '.join(RAW)}; a folder of arrays has "
        f"{' or '.join(MANIFESTS)} beside one .npz or .parquet a set."
    )


def _is_run(path: Path) -> bool:
    try:
        return "config" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False
