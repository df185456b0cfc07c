"""The benchmark as a generator of units of work: each leaves files, and none is done twice.

A task's units are the epochs of its networks, the outputs of each network on each test set, the scores of each test set
over all networks, and the latent embedding. Whoever iterates shows the progress; stopping between two units loses
nothing, and being killed within one loses that one.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from sfjax import keys, outputs
from sfjax.csf import FITTED
from sfjax.data import Dataset, patient_groups
from sfjax.data.costs import load_costs
from sfjax.data.identifying import named_for_identity
from sfjax.metrics import resamples_needed
from sfjax.models import pretrained
from sfjax.outputs import Head
from sfjax.study import promises, scores, storage
from sfjax.study.config import Config, entries_of, settings_of
from sfjax.study.entries import csf_name, method_of
from sfjax.study.evaluation import FailureCosts, Said, Scorers, learn
from sfjax.study.networks import Task, store_outputs, stored_sets, train_network
from sfjax.study.tasks import TestSet, check_tables, load_task, task_names, test_sets
from sfjax.training import METHODS
from sfjax.training.fit import num_epochs

MOST_GROUPS = 50
KEPT_COLUMNS = frozenset(
    ("row", "image_id", "label", "label_index", "split", "domain", "subclass", "shift_kind", "loss_weight")
)


def load_tasks(config: Config, folder: Path, progress: Callable[[str, int, int], object]) -> Iterator[Task]:
    """Yields the run's tasks with their data, and stores each one's table.

    Args:
        config: The run.
        folder: The run folder.
        progress: Called with task, images read and images in all.

    Raises:
        ManifestError: The images have faults.
        ImportError: The library that reads the pretrained weights is not installed.
        ValueError: The images are not those that the run was begun with.
    """
    # Before hours of work, not after.
    if config.pretrained is not None:
        pretrained.read(config.pretrained)
    check_tables(config)
    for name in task_names(config):
        dataset = load_task(config, name, progress=lambda done, total, name=name: progress(name, done, total))
        costs, group_columns = failure_costs(config, dataset), config.data.group_columns
        check_groups(name, dataset.table, group_columns)
        task_folder = folder / name
        path, digest = task_folder / "images.parquet", digest_of(dataset.table, costs)
        if path.exists():
            if (task_folder / "images.sha256").read_text(encoding="utf-8").strip() != digest:
                raise ValueError(
                    f"The images of {name}, what the manifest says of them or what failures cost are not what the run "
                    f"in {folder} was begun with. Choose another --out for the new ones."
                )
        elif jax.process_index() == 0:
            storage.write_text(task_folder / "images.sha256", digest + "\n")
            storage.write_table(path, shareable(dataset.table, group_columns))
        yield Task(name, dataset, settings_of(config, name), test_sets(config, dataset), task_folder, costs)


def failure_costs(config: Config, dataset: Dataset) -> FailureCosts | None:
    """Returns what failures cost, or None where each costs 1.

    Raises:
        ValueError: The matrix has faults, or the loss weights have no bound or are above it.
    """
    weights = dataset.table["loss_weight"].to_numpy(float)
    weighted = bool((weights != 1).any())
    if config.cost_matrix is None and not weighted:
        return None
    stated = config.max_loss_weight
    if weighted and not (stated is not None and weights.max() <= stated < np.inf):
        found = "none is given" if stated is None else f"{stated:g} is none, or below that"
        raise ValueError(
            f"Loss weights go up to {weights.max():g}, and guarantees about cost need a bound on them that was stated "
            f"beforehand; {found}. Give --max-loss-weight, the largest weight that any image can have."
        )
    most = stated if weighted and stated is not None else 1.0
    if config.cost_matrix is None:
        return FailureCosts(None, (), most)
    labels = sorted(set(dataset.table["label"]))
    matrix, classes = load_costs(config.cost_matrix, dataset.classes, labels)
    if not matrix.max() > 0:
        raise ValueError(
            f"In {config.cost_matrix.name} no failure costs anything. Give those that matter a cost above 0."
        )
    return FailureCosts(matrix, tuple(classes), float(matrix.max()) * most)


def shareable(table: pd.DataFrame, group_columns: Sequence[str] = ()) -> pd.DataFrame:
    """Returns what a run keeps of a table: what its scores depend on, and the factors of phantoms.

    No file name, no patient and no other column of a manifest but those asked for, which may hold anything: rows of the
    manifest and numbers stand for them.
    """
    wanted = KEPT_COLUMNS | set(group_columns)
    kept = [column for column in table if column in wanted or str(column).startswith("factor_")]
    return table[kept].assign(patient=patient_groups(table))


def digest_of(table: pd.DataFrame, costs: FailureCosts | None = None) -> str:
    """Returns the SHA-256 of a data set's whole table, but for the rows' numbers, which may move, and of its costs."""
    text = table.drop(columns=["row", "image_path"]).to_csv(index=False)
    if costs is not None and costs.matrix is not None:
        text += f"{costs.classes} {costs.matrix.tolist()}"
    return hashlib.sha256(text.encode()).hexdigest()


def check_groups(name: str, table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raises ValueError if a column to group by is missing, names images or patients, or has too many values."""
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(
            f"The images of {name} have no column {', '.join(missing)} to group by; "
            f"there are {', '.join(table.columns)}."
        )
    naming = sorted(column for column in columns if named_for_identity(column))
    if naming:
        raise ValueError(f"Results by {', '.join(naming)} would name images or patients. Group by another column.")
    for column in columns:
        values = table[column].nunique()
        if values > MOST_GROUPS:
            raise ValueError(
                f"The column {column} of {name} has {values} values; results are told apart by {MOST_GROUPS} at most. "
                "Put them into fewer groups in the manifest, such as ages into decades."
            )


def run(config: Config, task: Task) -> Iterator[tuple[str, float]]:
    """Does what is missing of a task; yields after each unit what it was and the share of the task that is done."""
    work = _Work(config, task)
    for seed in config.seeds:
        for method in config.methods:
            title = f"seed {seed}" if len(config.methods) == 1 else f"{method}, seed {seed}"
            for step, epochs in train_network(config, task, method, seed):
                yield work(f"{title}: {step}", epochs * work.epoch[method])
            for step, stored in store_outputs(config, task, method, seed):
                yield work(f"{title}: {step}", sum(work.outputs[method][one.name] for one in stored))
    # One process scores; the others' part was training.
    if jax.process_index() == 0:
        yield from _scores(config, task, work)


class _Work:
    """Keeps account of the share that is done, in images passed through the network once."""

    def __init__(self, config: Config, task: Task) -> None:
        size, recipe = (lambda split: len(task.dataset.rows(split))), task.settings.recipe
        members = {method: recipe.members if METHODS[method].ensemble else 1 for method in config.methods}
        self.epoch = {method: 3 * number * size("train") for method, number in members.items()}
        self.outputs = {
            method: {one.name: 2 * number * size(one.split) for one in stored_sets(task)}
            for method, number in members.items()
        }
        self.scores = 500
        per_seed = sum(
            num_epochs(METHODS[method], recipe, len(task.dataset.classes)) * self.epoch[method]
            + sum(self.outputs[method].values())
            for method in config.methods
        )
        self.total = len(config.seeds) * per_seed + len(scored_together(task.test_sets)) * self.scores
        self.done = 0

    def __call__(self, step: str, cost: int) -> tuple[str, float]:
        self.done += cost
        return step, self.done / self.total


def scored_together(sets: list[TestSet]) -> dict[str, list[TestSet]]:
    """Returns the test sets in named groups: the levels of a corruption are one, every other set is its own."""
    groups: dict[str, list[TestSet]] = {}
    for test_set in sets:
        groups.setdefault(test_set.shift if test_set.kind == "corruption" else test_set.name, []).append(test_set)
    return groups


def plan_of(config: Config, task: Task) -> scores.Plan:
    """Returns how the task's test sets are scored."""
    return scores.Plan(
        seeds=config.seeds,
        scorers=[scorers_of(config, task, seed) for seed in config.seeds],
        resamples=num_resamples(config),
        key=keys.stream(jax.random.key(config.data_seed), "bootstrap"),
        costs=task.costs,
        group_columns=config.data.group_columns,
        only=config.metrics,
    )


def scorers_of(config: Config, task: Task, seed: int) -> Scorers:
    """Returns the scores of one seed's networks, with what they learn from the stored outputs on train and val."""
    names = entries_of(config)
    fitted = any(csf_name(name) in FITTED for name in names)
    stored = {method: outputs.read_npz(task.network_folder(method, seed) / "head.npz") for method in config.methods}
    heads = {method: Head(jnp.asarray(one["weight"]), jnp.asarray(one["bias"])) for method, one in stored.items()}
    train = task.said(config, seed, "train") if fitted else None
    return learn(names, train, task.said(config, seed, "val"), heads, calibrate=config.calibrate)


def num_resamples(config: Config) -> int:
    """Returns the resamples of the bootstrap: those asked for, or as many as comparing all CSFs with one needs."""
    compared = len(entries_of(config)) - 1
    return max(config.resamples, resamples_needed(max(compared, 1)))


TABLES = ("results", "summary", "comparisons", "groups", "guarantees")
"""Tables that every group of test sets has."""


def _scores(config: Config, task: Task, work: _Work) -> Iterator[tuple[str, float]]:
    plan, validation, promised = None, [], None
    for name, group in scored_together(task.test_sets).items():
        folder = task.folder / "scores"
        paths = [folder / f"{name}.{table}.parquet" for table in TABLES]
        if not all(path.exists() for path in (*paths, folder / f"{name}.resamples.npz")):
            if plan is None:  # a run that has all its scores learns none again
                plan = plan_of(config, task)
                validation = [task.said(config, seed, "val") for seed in config.seeds]
            said = [[task.said(config, seed, one.name) for seed in config.seeds] for one in group]
            _, table = task.dataset.subset(group[0].split)
            *tables, resamples = scores.score_test_sets(group, said, validation, table, plan)
            promised = promised or _promises(config, task, validation, plan)
            tables.append(promises.keep_promises(promised, group, said, table, plan))
            about = {"task": task.name, "training_set": task.name, "network": task.settings.network}
            folder.mkdir(exist_ok=True)
            outputs.write_npz(folder / f"{name}.resamples.npz", resamples)
            for path, scored in zip(paths, tables, strict=True):
                methods = [method_of(csf, config.methods) for csf in scored["csf"]] if len(scored) else []
                storage.write_table(path, scored.assign(**about, method=methods))
        yield work(f"scores on {name}", work.scores)


def _promises(config: Config, task: Task, validation: Sequence[Said], plan: scores.Plan) -> list[promises.Promise]:
    calibration = [task.said(config, seed, "cal") for seed in config.seeds]
    return promises.make_promises(
        calibration,
        validation,
        task.dataset.subset("cal")[1],
        plan,
        target_risks=config.target_risks,
        delta=config.delta,
        seed=config.data_seed,
    )


LEADING_COLUMNS = [
    *("task", "training_set", "network", "method", "seed", "test_set", "shift", "kind", "level", "domain"),
    *("column", "group", "csf", "metric", "value", "low", "high", "n"),
]


def collect(tasks: Sequence[Task], what: str) -> pd.DataFrame:
    """Returns one of `TABLES` of all tasks, in the order of the run."""
    parts = []
    for task in tasks:
        for name in scored_together(task.test_sets):
            parts.append(pd.read_parquet(task.folder / "scores" / f"{name}.{what}.parquet"))
    table = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    order = [column for column in LEADING_COLUMNS if column in table]
    return table[[*order, *(column for column in table if column not in order)]]


def collect_resamples(task: Task) -> dict[str, np.ndarray]:
    """Returns by `TEST_SET.METRIC` what the metrics that CSFs are ranked by were on each resample, a row a CSF."""
    found: dict[str, np.ndarray] = {}
    for name in scored_together(task.test_sets):
        found |= outputs.read_npz(task.folder / "scores" / f"{name}.resamples.npz")
    return found
