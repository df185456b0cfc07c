"""A finished run of the benchmark, from its folder alone: its outputs of one seed, without images."""

import json
from pathlib import Path

import jax.numpy as jnp
import pandas as pd

from sfjax import outputs
from sfjax.interop.experiment import LEARNED_FROM, Experiment, from_arrays
from sfjax.outputs import Head
from sfjax.study.tasks import TestSet


def read_run(path: Path, *, task: str | None = None, seed: int | None = None) -> Experiment:
    """Returns what the networks of one seed of a run say.

    Its folder holds no file names; the images are with whoever has the manifest.

    Args:
        path: The run folder.
        task: Which, of several.
        seed: Of the networks; the run's first one without it.

    Raises:
        ValueError: There is no such task or seed, or the run is not finished.
    """
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))["config"]
    tasks = sorted(file.parent.name for file in path.glob("*/images.parquet"))
    if task is None and len(tasks) == 1:
        task = tasks[0]
    if task not in tasks:
        found = "none of them is named" if task is None else f"got {task}"
        raise ValueError(f"{path} has the tasks {', '.join(tasks) or 'none'}, and {found}. Name one (task, --task).")
    seed = config["seeds"][0] if seed is None else seed
    if seed not in config["seeds"]:
        raise ValueError(f"{path} has the seeds {', '.join(map(str, config['seeds']))}; got {seed}.")
    folder, methods = path / task, config["methods"]
    results = [pd.read_parquet(file) for file in sorted((folder / "scores").glob("*.results.parquet"))]
    networks = {method: folder / method / f"seed_{seed}" for method in methods}
    if not results or not all((network / "head.npz").exists() for network in networks.values()):
        raise ValueError(f"The run in {path} is not finished. Give its command again: it goes on where it was.")
    sets = pd.concat(results)[["test_set", "shift", "kind", "level"]].drop_duplicates()
    images = pd.read_parquet(folder / "images.parquet")
    known = images[images["label_index"] >= 0].drop_duplicates("label_index").sort_values("label_index")
    tested, left_out = [], []
    for row in sets.sort_values("kind", key=lambda kind: kind != "iid", kind="stable").itertuples():
        one = TestSet(str(row.test_set), str(row.shift), str(row.shift), str(row.kind), int(str(row.level)))
        # Which images a resampled set has does not stand in the folder.
        (left_out if one.kind == "prevalence" else tested).append(one._replace(split=_split(one)))
    said, tables = {}, {}
    for name, split in {**{name: name for name in LEARNED_FROM}, **{one.name: one.split for one in tested}}.items():
        rows = images[images["split"] == split].reset_index(drop=True)
        if len(rows):
            said[name] = {
                method: outputs.load(network / "outputs" / f"{name}.npz") for method, network in networks.items()
            }
            tables[name] = rows.assign(patient_id=rows["patient"].astype(str)).drop(columns="row")
    heads = {method: outputs.read_npz(network / "head.npz") for method, network in networks.items()}
    notes = [f"{one.name} is left out: the run does not keep which images it has." for one in left_out]
    return from_arrays(
        said,
        tables,
        classes=known["label"].tolist(),
        test_sets=tested,
        heads={method: Head(jnp.asarray(one["weight"]), jnp.asarray(one["bias"])) for method, one in heads.items()},
        name=task,
        notes=notes,
    )


def _split(test_set: TestSet) -> str:
    return "iid_test" if test_set.kind in ("iid", "corruption") else test_set.name
