"""Experiments of FD-Shifts, of its first release (study of 2023) and of the present one, as their files are.

Rows are aligned by position across all files. The first sets are the validation images, where `eval.val_tuning` is set,
and the i.i.d. test images; the sets of `eval.query_studies` follow. Logits of a later date are in half precision, which
makes ties; labels stand in the same array.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from sfjax.interop.experiment import Experiment, from_arrays
from sfjax.interop.faults import Faults
from sfjax.interop.fd_shifts_arrays import HALF_EXACT, METHODS, raw_name, read_stored, read_train
from sfjax.interop.fd_shifts_config import Settings, StudySet, read_settings
from sfjax.interop.images import locate
from sfjax.outputs import Outputs
from sfjax.study.tasks import TestSet

NOISE_KINDS, NOISE_LEVELS = 15, 5
"""How the images of a noise study lie: kind by kind, in each level by level."""


def read_fd_shifts(path: Path, *, data: Path | None = None) -> Experiment:
    """Returns an experiment folder's outputs by test set.

    Args:
        path: With `hydra/config.yaml` and `test_results`.
        data: Where the images of the tables lie, FD-Shifts' `DATASET_ROOT_DIR`; relative and foreign absolute paths
            are looked for there, and in `path`.

    Raises:
        ValueError: Files are missing or do not go together; all faults are listed.
    """
    faults, notes = Faults(path), []
    settings = read_settings(path / "hydra" / "config.yaml", faults)
    results = path / "test_results"
    if (stored := read_stored(results, settings, faults, notes)) is None or settings is None:
        faults.raise_any()
        raise AssertionError("what cannot be read is a fault")
    rows = _rows(results, stored.place, settings, faults)
    tables, labels = _tables(results, rows, stored.labels, settings, faults, notes)
    method = METHODS.get(settings.confidence, "cross_entropy")
    outputs = None
    try:
        outputs = stored.outputs(labels)
    except ValueError as error:
        faults.say(results / raw_name(results), str(error))
    faults.raise_any()
    said, whole, tested = {}, {}, []
    for name, study_set, some in _divided(rows, settings, notes):
        # On the host: each set has a shape of its own, and nothing is compiled for it.
        said[name] = {method: jax.tree.map(lambda field, some=some: jnp.asarray(np.asarray(field)[some]), outputs)}
        if (table := tables.get(study_set.name)) is not None:
            whole[name] = table.iloc[np.searchsorted(rows[study_set.name], some)].reset_index(drop=True)
        if name != "val":
            tested.append(_test_set(name, study_set))
    classes = stored.scores.shape[1]
    train, heads = read_train(results, stored, method, faults, notes)
    faults.raise_any()
    located, left_out = locate(whole, [path, *([data] if data is not None else [])])
    notes += [*_repeated(whole), *left_out]
    return from_arrays(
        {**train, **said},
        located,
        classes=[str(i) for i in range(classes)],
        test_sets=_levels(tested, said),
        heads=heads,
        name=path.resolve().name,
        notes=notes,
    )


def _rows(results: Path, place: np.ndarray, settings: Settings, faults: Faults) -> dict[str, np.ndarray]:
    """Returns by set its rows in the arrays."""
    names, raw = [one.name for one in settings.sets], results / raw_name(results)
    found = sorted(set(place.tolist()))
    if found != list(range(len(names))):
        listed = ", ".join(f"{i} {name}" for i, name in enumerate(names))
        faults.add(raw, f"rows of the sets {listed}", f"rows of {', '.join(map(str, found))}",
                   "eval.query_studies and the outputs are of one test run.")  # fmt: skip
    return {name: np.flatnonzero(place == i) for i, name in enumerate(names)}


def _tables(
    results: Path,
    rows: Mapping[str, np.ndarray],
    labels: np.ndarray,
    settings: Settings,
    faults: Faults,
    notes: list[str],
) -> tuple[dict[str, pd.DataFrame], np.ndarray]:
    """Returns by set what its table says of its images, and the labels of all rows; -1 for unknown classes."""
    tables, exact = {}, labels.astype(np.int64)
    inexact = bool(labels.dtype == np.float16 and labels.max(initial=0) >= HALF_EXACT)
    for number, one in enumerate(settings.sets):
        some, file = rows[one.name], results / f"attributions{number}.csv"
        table = faults.table(file) if file.exists() else pd.DataFrame()
        if len(table):
            cut, target = _aligned(table, exact[some], file, inexact, faults, notes)
            if cut is not None:
                renamed = {"filepath": "image_path", "attribution": "domain"}
                kept = [column for column in cut if column not in ("row", "target", *renamed.values())]
                tables[one.name] = cut[kept].rename(columns=renamed)
            if target is not None:
                exact[some] = target
        elif inexact:
            faults.add(
                file,
                f"the labels, which half precision does not hold from {HALF_EXACT} on",
                "no file",
                "Store the outputs in 32 bit (test.output_precision).",
            )
        if one.study == "new_class_study":
            exact[some] = -1
    return tables, exact


def _aligned(
    table: pd.DataFrame, labels: np.ndarray, file: Path, inexact: bool, faults: Faults, notes: list[str]
) -> tuple[pd.DataFrame | None, np.ndarray | None]:
    """Returns the rows of a set's table that its outputs are of, and their labels where the table has them.

    The table may be of more images than were tested. Which ones these are, the labels must say: those from the top, as
    the first release tests them, or else those from the bottom.
    """
    n = len(labels)
    if len(table) < n:
        faults.add(file, f"{n} rows, as many as the set has outputs", f"{len(table)}")
        return None, None
    if "target" not in table:
        if inexact or len(table) != n:
            faults.add(file, "the column target", f"{', '.join(table.columns[1:])} and {len(table)} rows for {n}")
            return None, None
        return table, None
    target = pd.to_numeric(table["target"], errors="coerce").to_numpy(np.float64)
    rounded = target.astype(np.float16).astype(np.float64) if inexact else target
    for start, which in ((0, "first"), (len(table) - n, "last")):
        if np.array_equal(rounded[start : start + n], labels):
            if len(table) > n:
                notes.append(f"{file.name} has {len(table)} rows; its {which} {n} are the images of the outputs.")
            cut = slice(start, start + n)
            return table.iloc[cut].reset_index(drop=True), target[cut].astype(np.int64)
    faults.add(file, f"the labels of the set's {n} outputs in the column target", "others",
               "Write it in the order in which the images were tested.")  # fmt: skip
    return None, None


def _divided(
    rows: Mapping[str, np.ndarray], settings: Settings, notes: list[str]
) -> Iterator[tuple[str, StudySet, np.ndarray]]:
    """Yields each set with its rows; one of a noise study in its levels."""
    for one in settings.sets:
        some = rows[one.name]
        if one.study == "noise_study" and len(some) % (NOISE_KINDS * NOISE_LEVELS) == 0:
            levels = np.arange(len(some)).reshape(NOISE_KINDS, NOISE_LEVELS, -1)
            for level in range(NOISE_LEVELS):
                yield f"{one.name}-{level + 1}", one, some[levels[:, level].reshape(-1)]
            continue
        if one.study == "noise_study":
            notes.append(f"{one.name} is not of {NOISE_KINDS} kinds in {NOISE_LEVELS} levels: it is one set.")
        yield one.name, one, some


def _test_set(name: str, one: StudySet) -> TestSet:
    if one.study == "noise_study":
        level = re.search(r"-(\d)$", name)
        return TestSet(name, one.name, one.name, "corruption", int(level[1]) if level else 1)
    if one.kind == "corruption":
        return TestSet(name, one.shift, one.shift, "corruption", one.level)
    return TestSet(name, name, "none" if one.kind == "iid" else name, one.kind)


def _levels(tested: list[TestSet], said: Mapping[str, Mapping[str, Outputs]]) -> list[TestSet]:
    """Returns the test sets; levels of a corruption whose images are not the same ones are corruptions of their own."""
    labels = {name: np.asarray(next(iter(one.values())).labels) for name, one in said.items()}
    result = []
    for one in tested:
        same = [labels[other.name] for other in tested if (other.kind, other.shift) == ("corruption", one.shift)]
        apart = any(not np.array_equal(labels[one.name], other) for other in same)
        result.append(one._replace(shift=one.name, split=one.name) if apart else one)
    return result


def _repeated(tables: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """Yields what is to be known of images that come more than once."""
    paths = {name: table["image_path"] for name, table in tables.items() if "image_path" in table}
    for name, some in paths.items():
        if count := int(some.duplicated().sum()):
            yield f"{name}: {count} of {len(some)} rows repeat an image."
    if {"val", "iid_test"} <= set(paths) and (count := int(paths["val"].isin(set(paths["iid_test"])).sum())):
        yield f"{count} of {len(paths['val'])} validation images are i.i.d. test images too."
