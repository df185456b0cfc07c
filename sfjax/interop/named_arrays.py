"""A folder of arrays by name: a manifest with a row an image, and a file of what the network says for each set.

manifest.csv        (or .parquet) test_set, row, kind, label, image_path, domain, subclass, patient_id, ...
iid_test.npz        logits (or probabilities, or log_probabilities), labels, features, mc_logits, ...
other_scanner.npz   (or .parquet: columns logits_0, logits_1, ..., features_0, ..., labels)
val.npz             and train, cal: for thresholds, scores that learn, and guarantees
classes.csv         column class: names in the order of the logits
head.npz            weight and bias of the last linear layer
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, get_args

import jax.numpy as jnp
import numpy as np
import pandas as pd

from sfjax.foreign import Kind
from sfjax.interop.experiment import Experiment, from_arrays
from sfjax.interop.faults import Faults
from sfjax.interop.images import locate
from sfjax.interop.recognize import MANIFESTS
from sfjax.outputs import Head, Outputs

SCORES: Final = get_args(Kind)
"""What the scores of classes are called; a file has one of them, and Monte Carlo passes are of the same kind."""
FIELDS: Final = (
    *("labels", "features", "mc_logits", "tta_logits", "reservation", "confidence", "mc_reservation", "mc_confidence"),
)
_COLUMN: Final = re.compile(rf"(?P<field>{'|'.join((*SCORES, *FIELDS))})(?P<place>(_\d+)*)")


def read_arrays(path: Path, *, data: Path | None = None) -> Experiment:
    """Returns a folder's outputs by set.

    Args:
        path: As above.
        data: Where the images of the manifest lie, if not below `path`.

    Raises:
        ValueError: Files are missing or do not go together; all faults are listed.
    """
    faults = Faults(path)
    file = next(path / name for name in MANIFESTS if (path / name).exists())
    manifest = faults.table(file)
    if len(manifest) and "test_set" not in manifest:
        faults.add(file, "the column test_set", ", ".join(manifest.columns[1:]))
    faults.raise_any()
    tables = {str(name): rows for name, rows in manifest.groupby("test_set", sort=False)}
    stored = {one.stem: one for one in sorted(path.iterdir()) if _is_set(one)}
    for name in [name for name in tables if name not in stored]:
        faults.add(path / f"{name}.npz", f"the outputs of the {len(tables[name])} images of {name} in {file.name}",
                   "no file, nor one of Parquet")  # fmt: skip
    for name in [name for name in stored if name not in tables]:
        faults.add(file, f"rows with test_set {name}, of which there is {stored[name].name}", "none")
    faults.raise_any()
    arrays = {name: _read(stored[name], faults) for name in tables}
    tables = {name: _in_order(table, manifest, file, name, faults) for name, table in tables.items()}
    faults.raise_any()
    classes = _classes(path, arrays, tables, stored, faults)
    faults.raise_any()
    said = {}
    for name, found in arrays.items():
        kinds = [kind for kind in SCORES if kind in found]
        if len(kinds) != 1:
            faults.add(
                stored[name], f"one of {', '.join(SCORES)}", " and ".join(kinds) or ", ".join(found) or "nothing"
            )
            continue
        scores = found.pop(kinds[0])
        labels = found.pop("labels", None)
        if labels is None:
            labels = _numbers(tables[name], classes)
        if len(scores) != len(tables[name]):
            faults.add(stored[name], f"{len(tables[name])} rows, as {file.name} has of {name}", f"{len(scores)}")
            continue
        try:
            said[name] = Outputs.from_numpy(scores, labels, logits_are=kinds[0], **found)
        except ValueError as error:
            faults.say(stored[name], str(error))
    faults.raise_any()
    located, notes = locate(tables, [path, *([data] if data is not None else [])])
    head = _head(path / "head.npz", faults)
    faults.raise_any()
    try:
        made = from_arrays(said, located, classes=classes, name=path.resolve().name, notes=notes)
    except ValueError as error:
        faults.say(file, str(error))
        faults.raise_any()
        raise
    return made if head is None else made._replace(heads=dict.fromkeys(made.methods, head))


def _is_set(file: Path) -> bool:
    return file.suffix in (".npz", ".parquet") and file.stem not in ("manifest", "head")


def _read(file: Path, faults: Faults) -> dict[str, np.ndarray]:
    is_npz = file.suffix == ".npz"
    found = dict(faults.arrays(file)) if is_npz else _from_columns(faults.table(file), file, faults)
    if unknown := sorted(set(found) - {*SCORES, *FIELDS}):
        faults.add(file, f"arrays named {', '.join((*SCORES, *FIELDS))}", ", ".join(unknown), "Rename or remove them.")
    return found


def _from_columns(table: pd.DataFrame, file: Path, faults: Faults) -> dict[str, np.ndarray]:
    """Returns the arrays that columns such as `logits_0` and `mc_logits_0_1` (pass, class) are of."""
    places: dict[str, dict[tuple[int, ...], str]] = {}
    for column in table.columns.drop("row", errors="ignore"):
        if (match := _COLUMN.fullmatch(str(column))) is None:
            faults.add(file, "columns such as logits_0, features_0 and labels", str(column), "Rename or remove it.")
            continue
        place = tuple(int(number) for number in match["place"].split("_")[1:])
        places.setdefault(match["field"], {})[place] = column
    found = {}
    for field, columns in places.items():
        shape = tuple(np.max(list(columns), axis=0).astype(int) + 1) if () not in columns else ()
        if {len(place) for place in columns} != {len(shape)} or len(columns) != int(np.prod(shape)):
            faults.add(file, f"all columns of {field}, numbered from 0", ", ".join(map(str, columns.values())))
            continue
        found[field] = table[[columns[place] for place in np.ndindex(*shape)]].to_numpy().reshape(len(table), *shape)
    return found


def _in_order(table: pd.DataFrame, manifest: pd.DataFrame, file: Path, name: str, faults: Faults) -> pd.DataFrame:
    """Returns a set's rows in the order of its outputs: as they stand, or by their column `row`, from 0."""
    column = "manifest_row"  # what a file calls row; `row` is the place in the file
    if column not in manifest:
        return table.drop(columns=["row", "test_set"]).reset_index(drop=True)
    rows = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
    if not np.array_equal(np.sort(rows), np.arange(len(rows))):
        faults.add(file, f"row of {name} from 0 to {len(rows) - 1}, each once", "others", "Number rows or drop row.")
        return table
    ordered = table.iloc[np.argsort(rows)]
    return ordered.drop(columns=["row", "test_set", column]).reset_index(drop=True)


def _classes(
    path: Path,
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    tables: Mapping[str, pd.DataFrame],
    stored: Mapping[str, Path],
    faults: Faults,
) -> list[str]:
    """Returns the names of classes: of `classes.csv`, or those that the manifest has beside the labels' numbers."""
    if (path / "classes.csv").exists():
        table = faults.table(path / "classes.csv")
        if len(table) and "class" not in table:
            faults.add(path / "classes.csv", "the column class", ", ".join(table.columns[1:]))
            return []
        return table["class"].tolist() if len(table) else []
    widths = [one[kind].shape[-1] for one in arrays.values() for kind in SCORES if kind in one and one[kind].ndim == 2]
    names = [str(i) for i in range(max(widths, default=0))]
    for name, found in arrays.items():
        if "label" not in tables[name]:
            continue
        labels = tables[name]["label"].astype(str)
        if "labels" not in found:
            if not set(labels) <= {*names, "-1"}:
                faults.add(stored[name], "the array labels, or classes.csv with the names in the order of the logits",
                           "neither")  # fmt: skip
            continue
        pairs = {(int(i), text) for i, text in zip(found["labels"].ravel(), labels) if 0 <= i < len(names)}
        for i, text in sorted(pairs):
            if names[i] not in (str(i), text) or (text != str(i) and text in names and names.index(text) != i):
                faults.add(stored[name], f"one name for each label, {names[i]} for {i}", text,
                           "Give both in one order, or classes.csv.")  # fmt: skip
                break
            names[i] = text
    return names


def _numbers(table: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """Returns the numbers of the manifest's labels; -1 for a class that the network does not know."""
    place = {name: i for i, name in enumerate(classes)}
    labels = table["label"].astype(str) if "label" in table else []
    return np.array([place.get(label, -1) for label in labels], np.int64)


def _head(file: Path, faults: Faults) -> Head | None:
    if not file.exists():
        return None
    found = faults.arrays(file)
    if not {"weight", "bias"} <= set(found):
        faults.add(file, "the arrays weight (d, c) and bias (c,)", ", ".join(found) or "none")
        return None
    return Head(jnp.asarray(found["weight"], jnp.float32), jnp.asarray(found["bias"], jnp.float32))
