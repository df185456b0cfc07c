"""The run folder: every file appears whole or not at all, and what is there is not made again."""

import json
import platform
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import pandas as pd

from sfjax.files import write_whole
from sfjax.study.config import Config, as_json, check, differences


def write(path: Path, writer: Callable[[Path], object]) -> None:
    """Has `writer` write a file, whole or not at all, in a folder that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, writer)


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8."""
    write(path, lambda file: file.write_text(text, encoding="utf-8"))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Writes a table as Parquet or CSV, by the path's suffix."""
    if path.suffix == ".parquet":
        write(path, lambda file: table.to_parquet(file, index=False))
    else:
        write(path, lambda file: table.to_csv(file, index=False))


def open_folder(folder: Path, config: Config, *, command: Sequence[str]) -> None:
    """Makes the run folder, or checks that it was begun with the same configuration.

    Args:
        folder: Where the run is.
        config: What is to be run.
        command: How it was called; stored for the record.

    Raises:
        ValueError: A setting is out of its range, or the folder holds another run, or something else.
    """
    check(config)
    path = folder / "config.json"
    if path.exists():
        try:
            stored = dict(json.loads(path.read_text(encoding="utf-8"))["config"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no configuration of a run ({error!r}). Choose another --out.") from error
        changed = differences(stored, as_json(config))
        # Where nothing but the configuration is there, nothing was done, and a corrected command may replace it.
        if changed and any(entry.is_dir() for entry in folder.iterdir()):
            raise ValueError(
                f"{folder} holds a run with another configuration (stored -> wanted):\n  "
                + "\n  ".join(changed)
                + "\nGive the same settings to continue it, or choose another --out."
            )
        if not changed:
            return
    elif folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty and holds no run (no config.json). Choose another --out.")
    record: dict[str, Any] = {"config": as_json(config), "command": list(command), "versions": versions()}
    write_text(path, json.dumps(record, indent=2) + "\n")


def versions() -> dict[str, str]:
    """Returns what the numbers may depend on: Python, the packages and the device."""
    packages = ("sfjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn", "openTSNE")
    found = {name: metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **found, "device": jax.devices()[0].device_kind}
