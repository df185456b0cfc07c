"""What the report shows of a task, made of outputs: of a run of the benchmark, or of any other program's.

from sfjax import interop, report

experiment = interop.read("their_experiment", data="their_images")
scored = report.score(experiment)
report.write_report("report.html", [scored.report], scored.summary, title=experiment.name)
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import Int, UInt8

from sfjax import keys
from sfjax.csf import CSFS
from sfjax.data import decode_images
from sfjax.interop import Experiment
from sfjax.metrics import resamples_needed
from sfjax.outputs import Outputs, take
from sfjax.report.page import TaskReport
from sfjax.report.tables import curves_table, points_table
from sfjax.study import overviews, promises
from sfjax.study.entries import GROUPS, csf_name, entries, method_of
from sfjax.study.evaluation import Said, Scorers, first_network, learn
from sfjax.study.measures import ALWAYS, METRICS
from sfjax.study.run import scored_together
from sfjax.study.scores import Plan, score_test_sets
from sfjax.study.tasks import displayable
from sfjax.views.tables import csf_names

USUAL: Final = (
    *("msr", "mls", "energy", "pe", "mcd_msr", "mcd_pe", "mcd_mi", "confidnet", "mcd_confidnet", "devries"),
    *("dg_res", "dg_mcd_msr", "mahalanobis", "vim"),
)
"""The scores of an experiment where none are asked for: those of these that its outputs allow."""
THUMBNAIL: Final = 96
"""Pixels a side of images that are read from files."""
Thumbnails = Callable[[Int[np.ndarray, " m"]], UInt8[np.ndarray, "m h w 3"]]


Keep = Callable[[str, Callable[[], pd.DataFrame]], pd.DataFrame]
"""Returns the table of a name, made by the function, or kept from before."""


def describe(
    name: str,
    classes: Sequence[str],
    outputs: Mapping[str, Said],
    tables: Mapping[str, pd.DataFrame],
    scorers: Callable[[], Scorers],
    *,
    size: int = 2000,
    seed: int = 0,
    num_jobs: int = 1,
    show: Sequence[str] = (),
    thumbnails: Callable[[pd.DataFrame], Thumbnails | None] | None = None,
    notes: Sequence[str] = (),
    promised: pd.DataFrame | None = None,
    keep: Keep = lambda name, make: make(),
) -> TaskReport:
    """Returns what the report shows of a task.

    Args:
        name: Of the task.
        classes: Their names, in the order of the logits.
        outputs: By test set, the i.i.d. one first: what one network says, or the networks of one seed.
        tables: By test set, a row an image: kind, domain, subclass, label; further, where known, patient_id.
        scorers: Returns the scores of these networks; called once, and only where a table is made.
        size: How many images are embedded at most.
        seed: Of sample, embedding and resamples.
        num_jobs: Processor cores.
        show: Columns of the tables that are shown with each image, as text; file names are among them only if asked
            for.
        thumbnails: From the table of points to the function that has their images; None for a report without any.
        notes: Sentences below the views.
        promised: What became of promises about risk.
        keep: Where tables are kept that take long.

    Raises:
        ValueError: Outputs and tables do not go together.
    """
    learned = functools.cache(scorers)
    uncorrupted = [one for one, table in tables.items() if str(table["kind"].iloc[0]) != "corruption"] or [*tables]
    embedded, said_of_features = _with_features({one: outputs[one] for one in uncorrupted})

    def points() -> pd.DataFrame:
        of_sets = {one: tables[one] for one in uncorrupted}
        made = points_table(embedded, of_sets, classes, learned(), size=size, seed=seed, num_jobs=num_jobs)
        made.table.attrs["note"] = made.note  # Parquet keeps these with the table
        made.table.attrs["probabilities"] = [csf for csf in learned().csfs if learned().has_probability(csf)]
        return made.table

    def curves() -> pd.DataFrame:
        return curves_table(outputs, tables, learned(), key=keys.stream(jax.random.key(seed), "bands"))

    table = keep("points", points)
    return TaskReport(
        name=name,
        classes=tuple(classes),
        points=_with_columns(table, tables, show),
        thumbnails=None if thumbnails is None else thumbnails(table),
        curves=keep("curves", curves),
        probabilities=frozenset(table.attrs["probabilities"]),
        notes=(table.attrs["note"], *said_of_features, *notes),
        promises=pd.DataFrame() if promised is None else promised,
    )


def only_csfs(report: TaskReport, csfs: Sequence[str]) -> TaskReport:
    """Returns the report of a task with some of its scores.

    Args:
        report: Of a task.
        csfs: Those that stay.
    """
    others = [csf for csf in csf_names(report.points) if csf not in csfs]
    dropped = [f"{column}_{csf}" for column in ("predicted", "correct", "confidence", "rank") for csf in others]
    return report._replace(
        points=report.points.drop(columns=dropped, errors="ignore"),
        curves=report.curves[report.curves["csf"].isin(csfs)],
        probabilities=report.probabilities.intersection(csfs),
    )


def _with_features(outputs: Mapping[str, Said]) -> tuple[Mapping[str, Said], tuple[str, ...]]:
    """Returns the outputs, and of networks whose features were not kept with the logits in their place, which is said.

    The first network's are shown.
    """
    if all(first_network(said).features is not None for said in outputs.values()):
        return outputs, ()

    def filled(said: Outputs) -> Outputs:
        return dataclasses.replace(said, features=said.logits)

    whole = {
        name: filled(said) if isinstance(said, Outputs) else {method: filled(one) for method, one in said.items()}
        for name, said in outputs.items()
    }
    return whole, ("No features were kept: images lie by their class scores, so that a confident failure lies among "
                   "the images of the class that it was taken for.",)  # fmt: skip


def _with_columns(points: pd.DataFrame, tables: Mapping[str, pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Returns the points with further columns of their images as text."""
    more = {}
    for column in columns:
        if not any(column in table for table in tables.values()):
            raise ValueError(f"No table has the column {column} that is to be shown. Name one that is there.")
        texts = {
            name: table[column].fillna("").astype(str).to_numpy() for name, table in tables.items() if column in table
        }
        places = zip(points["test_set"], points["row"], strict=True)
        more[column] = [texts[name][row] if name in texts else "" for name, row in places]
    return points.assign(**more)


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
        progress: Called with what comes next.

    Raises:
        ValueError: A score is asked for that the outputs do not allow.

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
    drawn = [one.name for one in tested if one.kind != "corruption"] + _middle_levels(experiment)
    report = describe(
        experiment.name,
        experiment.classes,
        {name: outputs[name] for name in drawn},
        {name: experiment.tables[name] for name in drawn},
        lambda: scorers,
        size=size,
        seed=seed,
        num_jobs=num_jobs,
        show=show,
        thumbnails=(lambda points: thumbnails_of(experiment, points)) if images else None,
        notes=notes,
        promised=None if promised is None else overviews.promise_cells(whole["guarantees"], experiment.name),
    )
    return Scored(report, **whole)


def _middle_levels(experiment: Experiment) -> list[str]:
    """Returns of each corruption its set in the middle, whose curve stands for it."""
    groups = scored_together([one for one in experiment.test_sets if one.kind == "corruption"])
    return [sorted(group, key=lambda one: one.level)[len(group) // 2].name for group in groups.values()]


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


def thumbnails_of(experiment: Experiment, points: pd.DataFrame) -> Thumbnails | None:
    """Returns the function from ids of points to their images in RGB; None where none can be shown.

    A crossed tile stands for an image that is not there.

    Args:
        experiment: Whose tables say where images lie.
        points: With `id`, `test_set` and `row`.
    """
    place = points.set_index("id")[["test_set", "row"]]
    paths = {name: table["image_path"].to_numpy(object) for name, table in experiment.tables.items()}
    if not any(paths[name][row] for name, row in place.itertuples(index=False)):
        return None

    def of(ids: np.ndarray) -> np.ndarray:
        named = [paths[name][row] for name, row in place.loc[ids].itertuples(index=False)]
        known = [i for i, path in enumerate(named) if path]
        found = decode_images([named[i] for i in known], size=THUMBNAIL)
        shown = np.repeat(crossed_tile(THUMBNAIL)[None], len(ids), axis=0)
        good = [i for i in range(len(known)) if i not in found.problems]
        if good:
            shown[[known[i] for i in good]] = displayable(np.asarray(found.pixels)[good])
        return shown

    return of


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
