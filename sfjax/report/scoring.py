"""The benchmark's tables and the report of an experiment of any program.

from sfjax import interop, report

experiment = interop.read("their_experiment", data="their_images")
scored = report.score(experiment)
report.write_report("report.html", [scored.report], scored.summary, title=experiment.name)
"""

import os
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import UInt8

from sfjax import keys
from sfjax.csf import CSFS
from sfjax.data import decode_images
from sfjax.interop import Experiment
from sfjax.metrics import resamples_needed
from sfjax.outputs import take
from sfjax.report.attributes import check_attributes
from sfjax.report.build import describe, in_percent
from sfjax.report.page import TaskReport
from sfjax.report.strips import Draw
from sfjax.study import overviews, promises
from sfjax.study.entries import GROUPS, csf_name, entries, method_of
from sfjax.study.evaluation import learn
from sfjax.study.measures import ALWAYS, METRICS
from sfjax.study.run import scored_together
from sfjax.study.scores import Plan, score_test_sets
from sfjax.study.tasks import TestSet, displayable

USUAL: Final = (
    *("msr", "mls", "energy", "pe", "mcd_msr", "mcd_pe", "mcd_mi", "confidnet", "mcd_confidnet", "devries"),
    *("dg_res", "dg_mcd_msr", "mahalanobis", "vim"),
)
"""The scores of an experiment where none are asked for: those of these that its outputs allow."""
THUMBNAIL: Final = 96
"""Pixels a side of images that are read from files."""


class Scored(NamedTuple):
    """What the scores of an experiment are.

    Attributes:
        report: What the report shows.
        results: A row a test set, domain, CSF and metric.
        summary: The same with intervals, the best of a row and its ties: what the report's tables are made of.
        comparisons: Paired differences from the first score.
        groups: The summary by class, subclass and domain.
        guarantees: What became of promises about risk, where there are images to calibrate with.
    """

    report: TaskReport
    results: pd.DataFrame
    summary: pd.DataFrame
    comparisons: pd.DataFrame
    groups: pd.DataFrame
    guarantees: pd.DataFrame


def score(
    experiment: Experiment,
    csfs: Sequence[str] = (),
    *,
    resamples: int = 1000,
    target_risks: Sequence[float] = (0.05, 0.1),
    size: int = 2000,
    seed: int = 0,
    metrics: Sequence[str] = (),
    num_jobs: int = 1,
    images: bool = True,
    show: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: Callable[[str], object] = lambda step: None,
) -> Scored:
    """Returns the benchmark's tables of an experiment, and what the report shows of it.

    Args:
        experiment: From `sfjax.interop`.
        csfs: Names of scores, as `sfjax.study.Config.csfs`; without them those of `USUAL` that the outputs allow.
        resamples: Of the bootstrap; more where the comparison of all scores needs them.
        target_risks: What is promised, where there is a set `cal`.
        size: How many images are embedded at most.
        seed: Of everything.
        metrics: Those besides accuracy and AURC (`sfjax.study.measures.METRICS`); none is all.
        num_jobs: Processor cores.
        images: Read the images for the report.
        show: Columns of the experiment's tables that the report shows with each image.
        columns: By which slices tell images apart, besides label, domain, subclass and cluster; None for all that name
            nobody.
        cache: Folder that keeps embeddings, by what they are made of; None keeps nothing.
        progress: Called with what comes next.

    Raises:
        ValueError: A score is asked for that the outputs do not allow, or a column that is not there.

    Example:
        >>> import numpy as np
        >>> from sfjax.interop import from_arrays
        >>> draw, labels = np.random.default_rng(0), np.tile([0, 1], 20)
        >>> said = lambda noise: Outputs.from_numpy(2 * np.eye(2)[labels] + noise * draw.normal(size=(40, 2)), labels)
        >>> experiment = from_arrays({"val": said(1.0), "iid_test": said(1.0), "blurred": said(2.0)})
        >>> found = score(experiment, ["msr", "energy"], resamples=50, metrics=["auroc_f"]).summary
        >>> found.query("metric == 'aurc' and domain == 'all'")[["test_set", "csf"]].drop_duplicates().shape
        (4, 2)
    """
    notes = list(experiment.notes)
    names = _chosen(experiment, csfs, notes)
    outputs, tested = experiment.outputs, experiment.test_sets
    train, validation = outputs.get("train"), outputs.get("val")
    check_attributes({one.name: experiment.tables[one.name] for one in tested}, columns or ())  # before all the work
    scorers = learn(names, train, validation, experiment.heads, calibrate="platt" if validation is not None else "none")
    only = tuple(metrics) or METRICS
    if unknown := sorted(set(only) - set(METRICS)):
        raise ValueError(f"metrics must be among {', '.join(METRICS)}; got {', '.join(unknown)}.")
    if validation is None:
        # A threshold is learned from images that are not tested, or not at all.
        only = tuple(metric for metric in only if metric != "accepted_failure_rate") or ALWAYS
        notes.append(
            "There is no set val: no threshold is set on validation images, and scores without a probability of being "
            "right have none."
        )
    key = jax.random.key(seed)
    resamples = max(resamples, resamples_needed(max(len(names) - 1, 1)))
    plan = Plan((seed,), [scorers], resamples, keys.stream(key, "bootstrap"), only=only)
    limits = validation if validation is not None else outputs[tested[0].name]
    promised = None
    if "cal" in outputs and validation is not None:
        calibration = experiment.tables["cal"]
        promised = promises.make_promises(
            [outputs["cal"]], [validation], calibration, plan, target_risks=target_risks, delta=0.1, seed=seed
        )
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in (*Scored._fields[1:],)}
    for name, group in scored_together([*tested]).items():
        progress(f"scores on {name}")
        said, table = [[outputs[one.name]] for one in group], experiment.tables[group[0].name]
        scored = score_test_sets(group, said, [limits], table, plan)
        for part in ("results", "summary", "comparisons", "groups"):
            parts[part].append(getattr(scored, part))
        if promised is not None:
            parts["guarantees"].append(promises.keep_promises(promised, group, said, table, plan))
    methods = experiment.methods
    whole = {}
    for part, some in parts.items():
        table = pd.concat([one for one in some if len(one)] or [pd.DataFrame()], ignore_index=True)
        if len(table):
            table = table.assign(task=experiment.name, method=[method_of(csf, methods) for csf in table["csf"]])
        whole[part] = table
    progress("embedding")
    report = describe(
        experiment.name,
        experiment.classes,
        tested,
        outputs,
        experiment.tables,
        lambda: scorers,
        validation=lambda: validation,
        summary=whole["summary"],
        promised=None if promised is None else overviews.promise_cells(whole["guarantees"], experiment.name),
        network=experiment.name,
        draw=drawn_from_files(experiment) if images else None,
        show=show,
        columns=columns,
        size=size,
        seed=seed,
        num_jobs=num_jobs,
        notes=notes,
        cache=cache,
        progress=in_percent(progress),
    )
    return Scored(report, **whole)


def _chosen(experiment: Experiment, csfs: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    """Returns the scores: those asked for, all of which must be possible, or of a group those that are.

    Raises:
        ValueError: A score that is named needs what the outputs do not have, or none is possible.
    """
    methods = experiment.methods
    groups = [name for name in csfs if name in GROUPS]
    if csfs:
        wanted = entries(csfs, methods, augmented=True)
    else:
        wanted = [name for name in USUAL if name not in CSFS or CSFS[name].methods.intersection(methods)]
    refused = {name: reason for name in wanted if (reason := _refusal(experiment, name)) is not None}
    if csfs and not groups and refused:
        listed = "\n".join(f"  - {name}: {reason}" for name, reason in refused.items())
        raise ValueError(f"{experiment.name} does not have what these scores read. Leave them out.\n{listed}")
    found = tuple(name for name in wanted if name not in refused)
    if not found:
        raise ValueError(f"{experiment.name} allows none of the scores {', '.join(wanted)}. Name others (--csfs).")
    if groups and refused:
        notes.append(f"Scores that these outputs do not allow: {', '.join(refused)}.")
    return found


def _refusal(experiment: Experiment, name: str) -> str | None:
    """Returns why a score is not possible, None where it is: asked on two images."""
    outputs = experiment.outputs
    method = method_of(name, experiment.methods)
    tested = outputs[experiment.test_sets[0].name][method]
    try:
        if csf_name(name) in CSFS:
            CSFS[csf_name(name)].score(take(tested, np.arange(min(2, len(tested)))))
        else:
            learn([name], outputs.get("train"), outputs.get("val"), experiment.heads, calibrate="none")
    except ValueError as error:
        return str(error)
    return None


def drawn_from_files(experiment: Experiment) -> Draw | None:
    """Returns the function that draws an experiment's images, None where it has none.

    A crossed tile stands for an image that is not there or cannot be read.

    Args:
        experiment: Whose tables say where images lie.
    """
    paths = {one.name: experiment.tables[one.name]["image_path"].to_numpy(object) for one in experiment.test_sets}
    if not any(path for some in paths.values() for path in some):
        return None

    def draw(test_set: TestSet, rows: np.ndarray) -> np.ndarray:
        named = paths[test_set.name][rows]
        known = np.flatnonzero(named != "")
        found = decode_images(list(named[known]), size=THUMBNAIL)
        shown = np.repeat(crossed_tile(THUMBNAIL)[None], len(rows), axis=0)
        good = [i for i in range(len(known)) if i not in found.problems]
        if good:
            shown[known[good]] = displayable(np.asarray(found.pixels)[good])
        return shown

    return draw


def crossed_tile(size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Returns a gray tile with a cross, for an image that cannot be shown.

    Args:
        size: Pixels a side.
    """
    tile = np.full((size, size, 3), 200, np.uint8)
    line = np.arange(size)
    for shift in (0, 1):
        across = np.minimum(line + shift, size - 1)
        tile[line, across] = tile[line, size - 1 - across] = 120
    return tile
