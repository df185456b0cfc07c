"""Responses: what a fixed classifier's metrics do while one cause is turned up, and which scores see that cause.

All values of a dial share images, dropout masks and resamples, so that what a metric is at one of them less what it is
at the undisturbed one has an interval of its own, which is narrower than those of the two.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float

from sfjax import inference, keys, metrics, shifts
from sfjax.metrics import Estimate
from sfjax.models import Variables
from sfjax.phantoms import CAUSES, draw_under
from sfjax.shifts import lookup
from sfjax.study import networks, scores, storage
from sfjax.study.config import Config
from sfjax.study.evaluation import Evaluated, evaluate, thresholds
from sfjax.study.evidence import EVENT, FEW_FAILURES, evidence
from sfjax.study.measures import ALL_DOMAINS, ALWAYS
from sfjax.study.networks import Task
from sfjax.study.run import plan_of
from sfjax.study.tasks import TestSet
from sfjax.training import Labelled

METRICS: Final = ("auroc_f", "silent_failure_rate")
"""What is computed besides accuracy and AURC."""
MARGIN: Final = 0.1
"""A failure AUROC that is lower by less than this has survived."""
VERDICTS: Final = ("sees", "misses", "unclear", "no failures")


class Dial(NamedTuple):
    """A cause, or a corruption, and the values that it is set to.

    Attributes:
        name: In `sfjax.phantoms.CAUSES` of the task, or in `sfjax.shifts.SHIFTS`.
        kind: Which of the two.
        unit: What it counts.
        values: The first one leaves the images as they are.
    """

    name: str
    kind: Literal["cause", "corruption"]
    unit: str
    values: tuple[float, ...]


def dials_of(task: str, *, causes: Sequence[str], corruptions: Sequence[str], steps: int) -> list[Dial]:
    """Returns the dials of a phantom task.

    Args:
        task: A key of `CAUSES`.
        causes: Their names, or `all`. Those that the task does not have are left out: `check_dials` is for all tasks.
        corruptions: Names in `sfjax.shifts.SHIFTS`, or several joined by `+`, from strength 0 to that of level 5.
        steps: Values of each dial, from 2 up.
    """
    own = CAUSES[task]
    wanted = [name for name in own if "all" in causes or name in causes]
    strengths = {name: np.linspace(0, lookup(name).strengths[-1], steps).round(6).tolist() for name in corruptions}
    return [
        *(Dial(name, "cause", own[name].unit, own[name].dials(steps)) for name in wanted),
        *(Dial(name, "corruption", "strength", tuple(values)) for name, values in strengths.items()),
    ]


def check_dials(tasks: Sequence[str], *, causes: Sequence[str], corruptions: Sequence[str], steps: int) -> None:
    """Raises ValueError where no task has a cause, there is no such corruption, or nothing is left to turn."""
    known = {name: None for task in tasks for name in CAUSES.get(task, ())}
    for name in corruptions:
        lookup(name)
    for what, names, allowed in (("tasks", tasks, tuple(CAUSES)), ("causes", causes, ("all", *known))):
        unknown = [name for name in names if name not in allowed]
        if unknown:
            raise ValueError(f"{what} must be among {', '.join(allowed)}; got {', '.join(unknown)}.")
    if steps < 2:
        raise ValueError(f"steps must be at least 2, the undisturbed images and one value more; got {steps}.")
    empty = [task for task in tasks if not dials_of(task, causes=causes, corruptions=corruptions, steps=steps)]
    if empty:
        raise ValueError(
            f"{', '.join(empty)} would have nothing to turn. Name a cause that each task has, such as noise, or leave "
            "the task out."
        )


def responses_path(task: Task, dial: Dial) -> Path:
    """Returns where the responses of a dial are."""
    return task.folder / "responses" / f"{dial.name}-{len(dial.values)}.parquet"


def run_dials(config: Config, task: Task, dials: Sequence[Dial]) -> Iterator[tuple[str, float]]:
    """Trains the task's networks and turns its dials where that is missing.

    Yields what was done and the share of the task that is done. The first method's networks are asked.

    Args:
        config: The run.
        task: A phantom, with no other test sets than those that are to be stored.
        dials: What to turn.
    """
    training, epochs = 0.5, len(config.seeds) * task.settings.recipe.epochs
    method, done = config.methods[0], 0.0
    for seed in config.seeds:
        for step, number in networks.train_network(config, task, method, seed):
            done += training * number / epochs
            yield f"seed {seed}: {step}", min(done, training)
        for step, _ in networks.store_outputs(config, task, method, seed):
            yield f"seed {seed}: {step}", min(done, training)
    bench: _Bench | None = None
    for i, dial in enumerate(dials):
        path = responses_path(task, dial)
        if path.exists():
            yield f"{dial.name} is there", training + (1 - training) * (i + 1) / len(dials)
            continue
        bench = bench or _bench(config, task)
        steps = [bench.undisturbed]
        for value in dial.values[1:]:
            steps.append(_turned(bench, dial, value))
            share = (i + len(steps) / (len(dial.values) + 1)) / len(dials)
            yield f"{dial.name} at {value:g}", training + (1 - training) * share
        found = response_table(dial, steps, bench.accepted_above, bench.table, bench.plan)
        storage.write_table(path, found.assign(task=task.name))
        yield f"scores under {dial.name}", training + (1 - training) * (i + 1) / len(dials)


class _Bench(NamedTuple):
    """What all dials of a task share: the fixed networks with their scores, and the undisturbed images."""

    config: Config
    task: Task
    variables: Sequence[Variables]
    plan: scores.Plan
    accepted_above: Sequence[np.ndarray]
    images: np.ndarray
    labels: np.ndarray
    table: pd.DataFrame
    undisturbed: list[Evaluated]


def _bench(config: Config, task: Task) -> _Bench:
    plan, method, name = plan_of(config, task), config.methods[0], next(iter(CAUSES[task.name]))
    images, columns = _drawn(config, task, name, CAUSES[task.name][name].usual)
    index = {label: i for i, label in enumerate(task.dataset.classes)}
    validation = [task.said(config, seed, "val") for seed in config.seeds]
    bench = _Bench(
        config=config,
        task=task,
        variables=[networks.variables_of(config, task, method, seed) for seed in config.seeds],
        plan=plan,
        accepted_above=[thresholds(evaluate(said, one)) for said, one in zip(validation, plan.scorers, strict=True)],
        images=images,
        labels=np.asarray([index[label] for label in columns["label"]], np.int32),
        table=pd.DataFrame({"patient_id": columns["patient_id"], "label": columns["label"], "loss_weight": 1.0}),
        undisturbed=[],
    )
    return bench._replace(undisturbed=_evaluated(bench, images, None))


def _turned(bench: _Bench, dial: Dial, value: float) -> list[Evaluated]:
    """Returns what the scores of each seed say where a dial stands at a value."""
    if dial.kind == "corruption":
        return _evaluated(bench, bench.images, corruption_at(bench.config, dial.name, value))
    return _evaluated(bench, _drawn(bench.config, bench.task, dial.name, value)[0], None)


def _drawn(config: Config, task: Task, cause: str, value: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    size, count = task.settings.image_size, config.phantom_test
    return draw_under(task.name, cause, value, seed=config.data_seed, size=size, count=count)


def _evaluated(bench: _Bench, images: np.ndarray, transform: inference.Transform | None) -> list[Evaluated]:
    # Numbered rather than known by their content: dropout masks are the same however the images are disturbed.
    data = Labelled(images, bench.labels, np.arange(len(images), dtype=np.uint32))
    method, found = bench.config.methods[0], []
    for seed, variables, scorers in zip(bench.config.seeds, bench.variables, bench.plan.scorers, strict=True):
        said = networks.ask(bench.config, bench.task, method, variables, seed, data, transform=transform)
        found.append(evaluate({method: said}, scorers))
    return found


def corruption_at(config: Config, name: str, strength: float) -> inference.Transform:
    """Returns a corruption of batches at any strength, clipped to [0, 1]; at strength 0 the images themselves."""
    key = keys.stream(jax.random.key(config.data_seed), "corruption")
    return lambda images, ids: shifts.apply(name, key, images, ids, strength=strength)


def response_table(
    dial: Dial,
    steps: Sequence[Sequence[Evaluated]],
    accepted_above: Sequence[Float[np.ndarray, " s"]],
    table: pd.DataFrame,
    plan: scores.Plan,
) -> pd.DataFrame:
    """Returns a row a value of the dial, csf and metric: the mean over networks and its paired difference.

    Columns: `kind`, `cause`, `unit`, `dial`, `csf`, `metric`; `value`, `low`, `high`; `difference` from the first value
    of the dial, `difference_low`, `difference_high`; `lowest_seed`, `highest_seed`; `n`, `failures` (mean over
    networks), `few_failures`. Intervals of 95 % by patient: BCa, of differences percentiles.

    Args:
        dial: What was turned.
        steps: For each value, what the scores of each seed's networks say of the same images in the same order.
        accepted_above: Of each seed's networks, the scores' thresholds from validation images.
        table: `patient_id`, `label` and `loss_weight` of the images.
        plan: How they are scored.
    """
    whole = scores.Part("domain", ALL_DOMAINS, np.arange(len(table)))
    images = TestSet("iid_test", "iid_test", "none", "iid")
    rows: list[Mapping[str, object]] = []
    first: dict[str, Estimate] = {}
    for value, per_seed in zip(dial.values, steps, strict=True):
        # One key for all values: the same patients are drawn.
        found = scores.estimates_of(per_seed, accepted_above, table, whole, images, plan)
        counts = evidence(per_seed, accepted_above, table, plan.csfs)
        for name in (*ALWAYS, *METRICS):
            mean = metrics.mean([found[name].at(k) for k in range(len(plan.seeds))])
            low, high, _ = scores.interval_of(name, mean, counts)
            first.setdefault(name, mean)
            change = metrics.difference(mean, first[name])
            ends = metrics.interval(change, method="percentile")
            rarer = counts.rarer[EVENT.get(name, "failure")].min(0)
            for i, csf in enumerate(plan.csfs):
                rows.append(
                    {
                        "kind": dial.kind,
                        "cause": dial.name,
                        "unit": dial.unit,
                        "dial": value,
                        "csf": csf,
                        "metric": name,
                        "value": float(mean.value[i]),
                        "low": float(low[i]),
                        "high": float(high[i]),
                        "difference": float(change.value[i]),
                        "difference_low": float(ends.low[i]),
                        "difference_high": float(ends.high[i]),
                        "lowest_seed": float(found[name].value[:, i].min()),
                        "highest_seed": float(found[name].value[:, i].max()),
                        "n": len(table),
                        "failures": float(counts.failures[:, i].mean()),
                        "few_failures": bool(rarer[i] < FEW_FAILURES),
                    }
                )
    return pd.DataFrame(rows)


def sights(responses: pd.DataFrame) -> pd.DataFrame:
    """Returns a row a task, cause and csf: what is left at the far end of the dial, and whether the csf sees the cause.

    Columns: `task`, `kind`, `cause`, `dial`, `csf`; of each metric `METRIC_usual`, `METRIC_far`, `METRIC_low` and
    `METRIC_high`, the ends being those of the paired difference; `few_failures`, or few successes, at either end of the
    dial; `verdict` (see there).

    Args:
        responses: What `response_table` returned, of one task or several, with the column `task`.
    """
    rows = []
    for (task, cause, csf), some in responses.groupby(["task", "cause", "csf"], sort=False):
        dials = some["dial"]
        far, usual = (some[dials == end].set_index("metric") for end in (dials.max(), dials.min()))
        row = {"task": task, "kind": some["kind"].iloc[0], "cause": cause, "dial": dials.max(), "csf": csf}
        for name in far.index:
            row[f"{name}_usual"], row[f"{name}_far"] = usual.loc[name, "value"], far.loc[name, "value"]
            row[f"{name}_low"] = far.loc[name, "difference_low"]
            row[f"{name}_high"] = far.loc[name, "difference_high"]
        area = far.loc["auroc_f"]
        row["few_failures"] = bool(area["few_failures"] or usual.loc["auroc_f", "few_failures"])
        row["verdict"] = verdict(
            accuracy_change_high=far.loc["accuracy", "difference_high"],
            auroc=(area["low"], area["high"]),
            auroc_change=(area["difference_low"], area["difference_high"]),
        )
        rows.append(row)
    return pd.DataFrame(rows)


def verdict(*, accuracy_change_high: float, auroc: tuple[float, float], auroc_change: tuple[float, float]) -> str:
    """Returns whether a score sees a cause: one of `VERDICTS`.

    `no failures`: accuracy is not surely lower than on the undisturbed images. `sees`: the failure AUROC is surely
    above one half, and surely less than `MARGIN` below the undisturbed one: failures are still ranked below successes.
    `misses`: it is surely lower, or surely at most one half. `unclear`: the intervals allow both.

    Args:
        accuracy_change_high: Upper end of the interval of the change in accuracy.
        auroc: Interval of the failure AUROC at the far end.
        auroc_change: Interval of its paired difference from the undisturbed one.

    Example:
        >>> verdict(accuracy_change_high=-0.2, auroc=(0.8, 0.9), auroc_change=(-0.06, 0.01))
        'sees'
        >>> verdict(accuracy_change_high=-0.2, auroc=(0.5, 0.6), auroc_change=(-0.4, -0.2))
        'misses'
    """
    if not accuracy_change_high < 0:
        return "no failures"
    if auroc[0] > 0.5 and auroc_change[0] > -MARGIN:
        return "sees"
    return "misses" if auroc_change[1] < 0 or auroc[1] <= 0.5 else "unclear"
