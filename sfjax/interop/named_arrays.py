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
    # All that can be compared before anything is computed, so that all faults are told at once.
    widths = _compare(arrays, stored, faults)
    classes = _classes(path, file, arrays, tables, stored, widths, faults)
    head, notes = _head(path / "head.npz", widths, faults)
    said = {}
    for name, found in arrays.items():
        kinds = [kind for kind in SCORES if kind in found]
        if len(kinds) != 1 or any(not one.ndim for one in found.values()):
            continue  # a fault already
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
    images = {name: table.drop(columns="row") for name, table in tables.items()}
    located, left_out = locate(images, [path, *([data] if data is not None else [])])
    try:
        made = from_arrays(said, located, classes=classes, name=path.resolve().name, notes=[*notes, *left_out])
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
    """Returns a set's rows in the order of its outputs: as they stand, or by their column `row`, from 0.

    The column `row` of what is returned is the place in the file.
    """
    column = "manifest_row"  # what a file calls row
    if column not in manifest:
        return table.drop(columns="test_set").reset_index(drop=True)
    rows = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
    if not np.array_equal(np.sort(rows), np.arange(len(rows))):
        faults.add(file, f"row of {name} from 0 to {len(rows) - 1}, each once", "others", "Number rows or drop row.")
        return table
    ordered = table.iloc[np.argsort(rows)]
    return ordered.drop(columns=["test_set", column]).reset_index(drop=True)


def _compare(
    arrays: Mapping[str, Mapping[str, np.ndarray]], stored: Mapping[str, Path], faults: Faults
) -> dict[str, tuple[int, ...]]:
    """Returns the fields of all sets with their shapes but for the rows, and says which sets differ from the first.

    Scores of classes are called `scores`. Passes over training images, which no score reads, may be left out.
    """
    given = {name: _shapes(found, stored[name], faults) for name, found in arrays.items()}
    whole = [name for name in given if "scores" in given[name]] or list(given)
    first = next((name for name in whole if name != "train"), whole[0])
    expected = given[first]
    for name, shapes in given.items():
        for field in dict.fromkeys([*expected, *shapes]):
            here, there = shapes.get(field), expected.get(field)
            of_passes = field not in ("scores", "features")
            if here == there or (here is None and (field == "scores" or (name == "train" and of_passes))):
                continue
            called = next((kind for kind in SCORES if kind in arrays[name]), field) if field == "scores" else field
            shown = ("none" if one is None else f"({', '.join(['n', *map(str, one)])})" for one in (there, here))
            wanted, found = (f"{called} {one}" if one != "none" else f"no {called}" for one in shown)
            faults.add(stored[name], f"{wanted}, as {stored[first].name} has", found, "All sets are of one network.")
    kinds = {
        name: kind for name, found in arrays.items() for kind in SCORES if kind in found and "scores" in given[name]
    }
    for name, kind in kinds.items():
        if (usual := kinds.get(first, kind)) != kind:
            faults.add(stored[name], f"{usual}, as {stored[first].name} has", kind, "Store the same of all sets.")
    return expected


def _shapes(found: Mapping[str, np.ndarray], file: Path, faults: Faults) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a set's fields but for the rows; labels may stand in the manifest, and are left out."""
    shapes = {}
    scores = [kind for kind in SCORES if kind in found]
    if len(scores) != 1:
        faults.add(file, f"one of {', '.join(SCORES)}", " and ".join(scores) or ", ".join(found) or "nothing")
    for field, array in found.items():
        if not array.ndim:
            faults.add(file, f"{field} with a row an image", "a single value")
        elif field not in ("labels", *(SCORES if len(scores) != 1 else ())):
            shapes["scores" if field in SCORES else field] = array.shape[1:]
    return shapes


def _classes(
    path: Path,
    manifest: Path,
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    tables: Mapping[str, pd.DataFrame],
    stored: Mapping[str, Path],
    widths: Mapping[str, tuple[int, ...]],
    faults: Faults,
) -> list[str]:
    """Returns the names of classes: of `classes.csv`, or those that the manifest has beside the labels' numbers."""
    width = widths.get("scores", ())
    names = [str(i) for i in range(*width)] if len(width) == 1 else []
    both = pd.concat([_labels(name, arrays[name], tables[name]) for name in arrays], ignore_index=True)
    both = both[both["number"].between(0, len(names) - 1)]
    if (path / "classes.csv").exists():
        table = faults.table(path / "classes.csv")
        if len(table) and "class" not in table:
            faults.add(path / "classes.csv", "the column class", ", ".join(table.columns[1:]))
        if not len(table) or "class" not in table:
            return names
        listed = table["class"].astype(str).tolist()
        if names and len(listed) != len(names):
            faults.add(path / "classes.csv", f"{len(names)} classes, as many as the scores have", f"{len(listed)}")
            return names
        names = listed
    else:
        for name, found in arrays.items():
            unnamed = "label" in tables[name] and "labels" not in found and bool(names)
            if unnamed and not set(tables[name]["label"].astype(str)) <= {*names, "-1"}:
                faults.add(stored[name], "the array labels, or classes.csv with the names in the order of the logits",
                           "neither")  # fmt: skip
        for number, rows in both.groupby("number"):
            names[int(str(number))] = str(rows["text"].mode()[0])
    wrong = both[both["text"] != np.array(names, dtype=object)[both["number"]]] if names else both
    for name, rows in wrong.groupby("set", sort=False):
        number, text, row = int(rows["number"].iloc[0]), rows["text"].iloc[0], rows["row"].iloc[0]
        of = stored[str(name)].name
        faults.add(manifest, f"in row {row} the label {names[number]}, of which {of} has the number {number} there",
                   f"{text} ({len(rows)} of {len(tables[str(name)])} rows of {name} differ)",
                   "Give both in one order, or classes.csv with the names in the order of the logits.")  # fmt: skip
    return names


def _labels(name: str, found: Mapping[str, np.ndarray], table: pd.DataFrame) -> pd.DataFrame:
    """Returns label numbers of a set's file beside the label and row of its manifest, where both have them."""
    numbers = found.get("labels", np.array([]))
    if "label" not in table or numbers.dtype.kind not in "iuf" or numbers.shape != (len(table),):
        return pd.DataFrame({"set": [], "number": np.array([], int), "text": [], "row": []})
    whole = np.where(np.isfinite(numbers), numbers, -1).astype(np.int64)
    return pd.DataFrame({"set": name, "number": whole, "text": table["label"].astype(str), "row": table["row"]})


def _numbers(table: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """Returns the numbers of the manifest's labels; -1 for a class that the network does not know."""
    place = {name: i for i, name in enumerate(classes)}
    labels = table["label"].astype(str) if "label" in table else []
    return np.array([place.get(label, -1) for label in labels], np.int64)


def _head(file: Path, widths: Mapping[str, tuple[int, ...]], faults: Faults) -> tuple[Head | None, list[str]]:
    """Returns the last layer, which must go from the features to the classes, and what is to be said of it."""
    if not file.exists():
        return None, []
    found = faults.arrays(file)
    if not {"weight", "bias"} <= set(found):
        if found:
            faults.add(file, "the arrays weight (d, c) and bias (c,)", ", ".join(found))
        return None, []
    if "features" not in widths:
        return None, [f"{file.name} is left out: it goes from features to classes, and there are no features."]
    shapes = {"weight": widths["features"] + widths.get("scores", ()), "bias": widths.get("scores", ())}
    for name, shape in shapes.items():
        array = found[name]
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            faults.add(file, f"{name} of finite numbers", f"{array.dtype}, or some that are not finite")
        elif array.shape != shape:
            turned = "Transpose it." if array.T.shape == shape else "It is logits = features @ weight + bias."
            faults.add(file, f"{name} {shape}, features and classes of the sets", f"{array.shape}", turned)
    if faults.lines:
        return None, []
    return Head(jnp.asarray(found["weight"], jnp.float32), jnp.asarray(found["bias"], jnp.float32)), []
