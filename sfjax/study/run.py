"""The benchmark as a generator of units of work: each leaves files, and none is done twice.

A task's units are the epochs of its networks, the outputs of each network on each test set, the scores of each test set
over all networks, and the latent embedding. Whoever iterates shows the progress; stopping between two units loses
nothing, and being killed within one loses that one.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd

from sfjax import inference, keys, outputs, shifts
from sfjax.data import Dataset, patient_groups
from sfjax.data.costs import load_costs
from sfjax.metrics import resamples_needed
from sfjax.models import MODELS, Classifier, Variables
from sfjax.outputs import Outputs
from sfjax.study import promises, scores, storage
from sfjax.study.config import Config
from sfjax.study.evaluation import FailureCosts
from sfjax.study.tasks import TestSet, load_task, task_names, test_sets
from sfjax.training import initial_state, train
from sfjax.training.checkpoints import Checkpoints

METHOD = "cross_entropy"
IDENTIFYING = frozenset({"row", "image_path", "image_id", "sha256", "patient_id", "patient"})
MOST_GROUPS = 50
KEPT_COLUMNS = frozenset(
    ("row", "image_id", "label", "label_index", "split", "domain", "subclass", "shift_kind", "loss_weight")
)


class Task(NamedTuple):
    """A task at work: its data and where its files are."""

    name: str
    dataset: Dataset
    classifier: Classifier
    test_sets: list[TestSet]
    folder: Path
    costs: FailureCosts | None = None

    def outputs_path(self, seed: int, test_set: str) -> Path:
        return self.folder / f"seed_{seed}" / "outputs" / f"{test_set}.npz"


def load_tasks(config: Config, folder: Path, progress: Callable[[str, int, int], object]) -> Iterator[Task]:
    """Yields the run's tasks with their data, and stores each one's table.

    Args:
        config: The run.
        folder: The run folder.
        progress: Called with task, images read and images in all.

    Raises:
        ManifestError: The images have faults.
        ValueError: The images are not those that the run was begun with.
    """
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
        else:
            storage.write_text(task_folder / "images.sha256", digest + "\n")
            storage.write_table(path, shareable(dataset.table, group_columns))
        classifier = MODELS[config.network](num_classes=len(dataset.classes))
        yield Task(name, dataset, classifier, test_sets(config, dataset), task_folder, costs)


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
    naming = sorted(IDENTIFYING.intersection(columns))
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
        yield from _train(config, task, seed, work)
        yield from _outputs(config, task, seed, work)
    yield from _scores(config, task, work)


class _Work:
    """Keeps account of the share that is done, in images passed through the network once."""

    def __init__(self, config: Config, task: Task) -> None:
        sizes = task.dataset.table["split"].value_counts()
        self.epoch = 3 * int(sizes["train"])
        self.outputs = {test_set.name: 2 * int(sizes[test_set.split]) for test_set in stored_sets(task)}
        self.scores = 500
        groups = len(scored_together(task.test_sets))
        per_seed = config.recipe.epochs * self.epoch + sum(self.outputs.values())
        self.total = len(config.seeds) * per_seed + groups * self.scores
        self.done = 0

    def __call__(self, step: str, cost: int) -> tuple[str, float]:
        self.done += cost
        return step, self.done / self.total


def stored_sets(task: Task) -> list[TestSet]:
    """Returns all sets whose outputs are stored: train, val and cal too."""
    source = [TestSet(split, split, "none", "iid") for split in ("train", "val", "cal")]
    return source + task.test_sets


def scored_together(sets: list[TestSet]) -> dict[str, list[TestSet]]:
    """Returns the test sets in named groups: the levels of a corruption are one, every other set is its own."""
    groups: dict[str, list[TestSet]] = {}
    for test_set in sets:
        groups.setdefault(test_set.shift if test_set.kind == "corruption" else test_set.name, []).append(test_set)
    return groups


def _train(config: Config, task: Task, seed: int, work: _Work) -> Iterator[tuple[str, float]]:
    folder = task.folder / f"seed_{seed}"
    history_path = folder / "history.csv"
    if (folder / "head.npz").exists():
        yield work(f"seed {seed}: trained", config.recipe.epochs * work.epoch)
        return
    images, table = task.dataset.subset("train")
    labels, ids = table["label_index"].to_numpy(np.int32), table["image_id"].to_numpy(np.uint32)
    key = keys.stream(jax.random.key(seed), "train")
    start = initial_state(task.classifier, config.recipe, images.shape[1:], len(images), key)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        state = checkpoints.latest(start) or start
        done = int(state.epoch)
        history = pd.read_csv(history_path).iloc[:done].to_dict("records") if done and history_path.exists() else []
        if done:
            yield work(f"seed {seed}: epoch {done} from its checkpoint", done * work.epoch)
        for epoch in train(task.classifier, images, labels, ids, recipe=config.recipe, key=key, state=state):
            state = epoch.state
            accuracy = _accuracy(task, state.variables)
            history.append({"epoch": epoch.number, "loss": epoch.loss, "val_accuracy": accuracy})
            storage.write_table(history_path, pd.DataFrame(history))
            checkpoints.save(state)
            step = f"seed {seed}: epoch {epoch.number} of {config.recipe.epochs}, val accuracy {accuracy:.3f}"
            yield work(step, work.epoch)
    weight, bias = task.classifier.head(state.variables)
    outputs.write_npz(folder / "head.npz", {"weight": np.asarray(weight), "bias": np.asarray(bias)})


def _accuracy(task: Task, variables: Variables) -> float:
    images, table = task.dataset.subset("val")
    said = inference.run(
        task.classifier,
        variables,
        images,
        table["label_index"].to_numpy(np.int32),
        table["image_id"].to_numpy(np.uint32),
        key=jax.random.key(0),
    )
    return float(np.mean(np.asarray(said.logits).argmax(-1) == table["label_index"].to_numpy()))


def _outputs(config: Config, task: Task, seed: int, work: _Work) -> Iterator[tuple[str, float]]:
    missing = [one for one in stored_sets(task) if not task.outputs_path(seed, one.name).exists()]
    finished = sum(work.outputs.values()) - sum(work.outputs[one.name] for one in missing)
    if finished:
        yield work(f"seed {seed}: outputs there", finished)
    if not missing:
        return
    variables = _variables(config, task, seed)
    for test_set in missing:
        said = classify(config, task, variables, seed, test_set)
        path = task.outputs_path(seed, test_set.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        outputs.save(said, path)
        yield work(f"seed {seed}: outputs on {test_set.name}", work.outputs[test_set.name])


def _variables(config: Config, task: Task, seed: int) -> Variables:
    images, _ = task.dataset.subset("train")
    key = keys.stream(jax.random.key(seed), "train")
    like = initial_state(task.classifier, config.recipe, images.shape[1:], len(images), key)
    with Checkpoints(task.folder / f"seed_{seed}" / "checkpoints") as checkpoints:
        state = checkpoints.latest(like)
    if state is None or int(state.epoch) != config.recipe.epochs:
        folder = task.folder / f"seed_{seed}"
        raise ValueError(f"The last checkpoint in {folder} cannot be read. Delete that folder to train it again.")
    return state.variables


def classify(config: Config, task: Task, variables: Variables, seed: int, test_set: TestSet) -> Outputs:
    """Returns what a network says about a set; about the training set without Monte Carlo passes."""
    images, table = task.dataset.subset(test_set.split)
    transform = None
    if test_set.kind == "corruption":
        transform = corruption(config, test_set)
    return inference.run(
        task.classifier,
        variables,
        images,
        table["label_index"].to_numpy(np.int32),
        table["image_id"].to_numpy(np.uint32),
        key=keys.stream(jax.random.key(seed), "mc_dropout"),
        num_samples=0 if test_set.split == "train" else config.num_samples,
        transform=transform,
    )


def corruption(config: Config, test_set: TestSet) -> inference.Transform:
    """Returns the corruption of a test set for batches: the same for every network."""
    key = keys.stream(jax.random.key(config.data_seed), "corruption")
    return lambda images, ids: shifts.apply(test_set.shift, key, images, ids, level=test_set.level)


def plan_of(config: Config, task: Task) -> scores.Plan:
    """Returns how the task's test sets are scored."""
    return scores.Plan(
        seeds=config.seeds,
        csfs=config.csfs,
        resamples=num_resamples(config),
        key=keys.stream(jax.random.key(config.data_seed), "bootstrap"),
        costs=task.costs,
        group_columns=config.data.group_columns,
    )


def num_resamples(config: Config) -> int:
    """Returns the resamples of the bootstrap: those asked for, or as many as comparing all CSFs with one needs."""
    return max(config.resamples, resamples_needed(max(len(config.csfs) - 1, 1)))


TABLES = ("results", "summary", "comparisons", "groups", "guarantees")
"""Tables that every group of test sets has."""


def _scores(config: Config, task: Task, work: _Work) -> Iterator[tuple[str, float]]:
    plan = plan_of(config, task)
    validation = [outputs.load(task.outputs_path(seed, "val")) for seed in config.seeds]
    promised = None
    for name, group in scored_together(task.test_sets).items():
        folder = task.folder / "scores"
        paths = [folder / f"{name}.{table}.parquet" for table in TABLES]
        if not all(path.exists() for path in (*paths, folder / f"{name}.resamples.npz")):
            said = [[outputs.load(task.outputs_path(seed, one.name)) for seed in config.seeds] for one in group]
            _, table = task.dataset.subset(group[0].split)
            *tables, resamples = scores.score_test_sets(group, said, validation, table, plan)
            promised = promised or _promises(config, task, validation, plan)
            tables.append(promises.keep_promises(promised, group, said, table, plan))
            about = {"task": task.name, "training_set": task.name, "network": config.network, "method": METHOD}
            folder.mkdir(exist_ok=True)
            outputs.write_npz(folder / f"{name}.resamples.npz", resamples)
            for path, scored in zip(paths, tables, strict=True):
                storage.write_table(path, scored.assign(**about))
        yield work(f"scores on {name}", work.scores)


def _promises(config: Config, task: Task, validation: Sequence[Outputs], plan: scores.Plan) -> list[promises.Promise]:
    calibration = [outputs.load(task.outputs_path(seed, "cal")) for seed in config.seeds]
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
