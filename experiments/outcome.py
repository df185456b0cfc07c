"""What a finished run leaves for people: results, tables, figures and the report."""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from sfjax import keys, report, study, views
from sfjax.study import Config, Task, TestSet, overviews, storage, tables
from sfjax.study.measures import RANKED
from sfjax.study.rankings import Rankings, rankings
from sfjax.study.tasks import displayable


def write_outcome(config: Config, tasks: Sequence[Task], out: Path, *, images: bool) -> Iterator[str]:
    """Writes results, tables, figures and the report; yields what it is about to do, once a task.

    Args:
        config: The run.
        tasks: Its tasks, all scored.
        out: The run folder.
        images: Put thumbnails into the report.
    """
    found = {name: study.collect(tasks, name) for name in study.TABLES}
    csfs = study.entries_of(config)
    summary = found["summary"]
    ranked = [metric for metric in RANKED if metric in set(summary["metric"])]
    ranks = rankings(summary, {task.name: study.collect_resamples(task) for task in tasks}, csfs, ranked)
    found |= {f"ranks_{name}": table for name, table in ranks._asdict().items()}
    for name, table in found.items():
        for suffix in ("parquet", "csv"):
            storage.write_table(out / f"{name}.{suffix}", table)
    for name, text in texts(found, ranks, config, tasks):
        storage.write_text(out / "tables" / name, text)
    for name, chart in rank_figures(ranks):
        save_figure(out / "figures" / f"ranks_{name}", chart)
    pages = []
    for task in tasks:
        yield f"{task.name}: embedding and figures"
        promises = overviews.promise_cells(found["guarantees"], task.name)
        pages.append(task_report(config, task, images=images)._replace(promises=promises))
        chart = views.risk_coverage(pages[-1].curves, title=f"{task.name}: selective risk against coverage")
        save_figure(out / "figures" / f"risk_coverage_{task.name}", chart)
    networks = ", ".join(dict.fromkeys(task.settings.network for task in tasks))
    subtitle = (
        f"{networks}; trained by {', '.join(config.methods)}; {len(config.seeds)} seeds, {config.num_samples} Monte "
        f"Carlo passes; the views show seed {config.seeds[0]}, embedded by the features of {config.methods[0]}"
    )
    report.write_report(
        out / "report.html", pages, summary, title="Silent failures: where, how confident, and why", subtitle=subtitle
    )


def texts(
    found: Mapping[str, pd.DataFrame], ranks: Rankings, config: Config, tasks: Sequence[Task]
) -> Iterator[tuple[str, str]]:
    """Yields the run's tables for people: file name and text."""
    summary, comparisons = found["summary"], found["comparisons"]
    for metric in dict.fromkeys(summary["metric"][summary["metric"] != "cost_correlation"]):
        yield f"{metric}.md", tables.metric_table(summary, comparisons, metric)
        yield f"{metric}.tex", tables.latex_table(summary, comparisons, metric)
    for task in tasks:
        yield f"{task.name}.md", tables.detail_table(summary, task.name)
        yield f"seeds_{task.name}.md", overviews.seed_table(summary, task.name)
        if len(comparisons):
            yield f"comparisons_{task.name}.md", overviews.comparison_table(comparisons, task.name)
            legend, cells = overviews.comparison_legend(comparisons), overviews.comparison_cells(comparisons, task.name)
            yield f"comparisons_{task.name}.tex", tables.tabular(task.name, legend, *cells)
        yield f"guarantees_{task.name}.md", overviews.guarantee_table(found["guarantees"], task.name)
    yield "ranks.md", overviews.ranking_tables(ranks)
    baseline = study.baseline(study.entries_of(config))
    yield "groups.md", overviews.group_table(found["groups"], baseline)
    if any(task.costs is not None for task in tasks):
        yield "costs.md", overviews.cost_table(summary)


def rank_figures(ranks: Rankings) -> Iterator[tuple[str, Any]]:
    """Yields by metric the figure of mean ranks with critical differences; none with fewer than two blocks."""
    if not len(ranks.overall):
        return
    shared = "Blocks of one task share networks and images, so that they are not independent"
    several = ranks.overall["variant"].nunique() > 1
    beside = f"{shared}: the variant with a block a task stands beside." if several else f"{shared}; this is one task."
    for metric, chosen in ranks.overall.groupby("metric", sort=False):
        groups = ranks.groups[ranks.groups["metric"] == metric] if len(ranks.groups) else ranks.groups
        columns = pd.Index(["variant", "group", "start", "end"])
        yield (
            str(metric),
            views.rank_plot(
                chosen,
                groups if len(groups) else pd.DataFrame(columns=columns),
                title=f"Mean ranks of the confidence scores by {tables.TITLES[str(metric)]}",
                subtitle=f"{beside} Bars join scores that the blocks do not tell apart (Nemenyi, 5 %).",
            ),
        )


def save_figure(stem: Path, chart: Any) -> None:
    """Writes a chart as SVG and as Vega-Lite."""
    for suffix in ("svg", "json"):
        storage.write(stem.with_name(f"{stem.name}.{suffix}"), lambda file: views.save(chart, file))


def task_report(config: Config, task: Task, *, images: bool) -> report.TaskReport:
    """Returns what the report shows of a task, from the files of its first network; what is computed is kept.

    Args:
        config: The run.
        task: Scored.
        images: Whether there are to be thumbnails.
    """
    seed = config.seeds[0]
    uncorrupted = [one for one in task.test_sets if one.kind != "corruption"]
    middle = config.levels[len(config.levels) // 2] if config.levels else 0
    drawn = uncorrupted + [one for one in task.test_sets if one.kind == "corruption" and one.level == middle]
    scorers = functools.cache(lambda: study.scorers_of(config, task, seed))  # not where all is there already
    said = {one.name: task.said(config, seed, one.name) for one in drawn}
    about = {one.name: task.dataset.subset(one.split)[1].assign(kind=one.kind) for one in drawn}

    def points() -> pd.DataFrame:
        made = report.points_table(
            {one.name: said[one.name] for one in uncorrupted},
            {one.name: about[one.name] for one in uncorrupted},
            task.dataset.classes,
            scorers(),
            size=config.embedded_images,
            seed=config.data_seed,
            num_jobs=os.cpu_count() or 1,
        )
        made.table.attrs["note"] = made.note  # Parquet keeps these with the table
        made.table.attrs["probabilities"] = [csf for csf in scorers().csfs if scorers().has_probability(csf)]
        return made.table

    def curves() -> pd.DataFrame:
        key = keys.stream(jax.random.key(config.data_seed), "bands")
        return report.curves_table(said, about, scorers(), key=key)

    table = kept(task.folder / "points.parquet", points)
    return report.TaskReport(
        name=task.name,
        classes=task.dataset.classes,
        points=table,
        thumbnails=thumbnails(task, uncorrupted, table) if images else None,
        curves=kept(task.folder / "curves.parquet", curves),
        probabilities=frozenset(table.attrs["probabilities"]),
        notes=(table.attrs["note"], *task.dataset.notes),
    )


def kept(path: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Returns the table at `path`, made and written first where it is missing."""
    if not path.exists():
        storage.write_table(path, make())
    return pd.read_parquet(path)


def thumbnails(task: Task, test_sets: Sequence[TestSet], points: pd.DataFrame) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function from points' ids to their images as the network saw them, in RGB.

    Args:
        task: Whose images.
        test_sets: Those that the points come from.
        points: With `id`, `test_set` and `row`.
    """
    place = points.set_index("id")[["test_set", "row"]]
    by_name = {one.name: task.dataset.subset(one.split)[0] for one in test_sets}

    def of(ids: np.ndarray) -> np.ndarray:
        rows = place.loc[ids]
        return displayable(np.stack([by_name[name][row] for name, row in rows.itertuples(index=False)]))

    return of
