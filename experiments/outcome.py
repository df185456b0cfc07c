"""What a finished run leaves for people: results, tables, figures and the report."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from sfjax import report, study, views
from sfjax.study import Config, Task, overviews, storage, tables
from sfjax.study.evaluation import Said
from sfjax.study.measures import RANKED
from sfjax.study.networks import corruption
from sfjax.study.rankings import Rankings, rankings

TITLE: Final = "Silent failures: where, how confident, and why"
"""Of a report."""


def write_outcome(
    config: Config,
    tasks: Sequence[Task],
    out: Path,
    *,
    images: bool,
    progress: Callable[[str], object] = lambda step: None,
) -> Iterator[str]:
    """Writes results, tables, figures and the report; yields what it is about to do, once a task.

    Args:
        config: The run.
        tasks: Its tasks, all scored.
        out: The run folder.
        images: Put thumbnails into the report.
        progress: Called with how far an embedding is.
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
    for task in tasks:
        yield f"{task.name}: embedding and figures"
        # All is kept, and the report below reads it again.
        own = found["summary"][found["summary"]["task"] == task.name]
        curves = task_report(config, task, own, images=False, progress=progress).curves
        chart = views.risk_coverage(curves, title=f"{task.name}: selective risk against coverage")
        save_figure(out / "figures" / f"risk_coverage_{task.name}", chart)
    yield "report"
    write_run_report(config, tasks, out / "report.html", images=images)


def write_run_report(
    config: Config,
    tasks: Sequence[Task],
    path: Path,
    *,
    images: bool,
    show: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    size: int | None = None,
    csfs: Sequence[str] = (),
    per_pair: bool = False,
    max_megabytes: float = 25,
    progress: Callable[[str], object] = lambda step: None,
) -> None:
    """Writes the report of a run, the same file whenever it is asked for.

    Args:
        config: The run.
        tasks: Those that are shown, all scored.
        path: Of the report.
        images: Put thumbnails into it.
        show: Columns of the images' tables that are shown with each image.
        columns: By which slices tell images apart, if not by all that name nobody: then nothing is kept.
        size: How many images are embedded at most, if not as many as the run says: then nothing is kept.
        csfs: Scores that are shown, of those of the run; none is all.
        per_pair: A latent space for each shift with the i.i.d. images, each a page of its own; then nothing is kept.
        max_megabytes: How large the file may become.
        progress: Called with how far an embedding is.
    """
    summary = whole = study.collect(tasks, "summary")
    guarantees = study.collect(tasks, "guarantees")
    if csfs:
        entries = study.entries_of(config)
        if unknown := [csf for csf in csfs if csf not in entries]:
            raise ValueError(f"The run has the scores {', '.join(entries)}, and not {', '.join(unknown)}.")
        summary, guarantees = (table[table["csf"].isin(csfs)] for table in (summary, guarantees))
    results = []
    options: dict[str, Any] = {"images": images, "show": show, "columns": columns, "size": size, "progress": progress}
    pages = []
    for task in tasks:
        own = summary[summary["task"] == task.name]
        promises = overviews.promise_cells(guarantees, task.name)
        made = [(task.name, task.test_sets)]
        if per_pair:
            source = [one for one in task.test_sets if one.kind == "iid"]
            shifts = dict.fromkeys(one.shift for one in task.test_sets if one.kind != "iid")
            made = [
                (f"{task.name}: {shift}", [*source, *(one for one in task.test_sets if one.shift == shift)])
                for shift in shifts
            ]
        for name, test_sets in made:
            shown = own[own["shift"].isin([one.shift for one in test_sets])].assign(task=name)
            # What is kept is of all scores, whichever are shown.
            of_all = whole[whole["task"] == task.name]
            page = task_report(config, task._replace(test_sets=test_sets), of_all, pair=per_pair, **options)
            pages.append(
                report.only_csfs(page._replace(name=name, promises=promises), csfs or study.entries_of(config))
            )
            results.append(shown)
    networks = ", ".join(dict.fromkeys(task.settings.network for task in tasks))
    subtitle = (
        f"{networks}; trained by {', '.join(config.methods)}; {len(config.seeds)} seeds, {config.num_samples} Monte "
        f"Carlo passes; the views show seed {config.seeds[0]}, embedded by the features of {config.methods[0]}"
    )
    report.write_report(path, pages, pd.concat(results), title=TITLE, subtitle=subtitle, max_megabytes=max_megabytes)


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


def task_report(
    config: Config,
    task: Task,
    summary: pd.DataFrame,
    *,
    images: bool,
    show: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    size: int | None = None,
    pair: bool = False,
    progress: Callable[[str], object] = lambda step: None,
) -> report.TaskReport:
    """Returns what the report shows of a task, from the files of its first network; what is computed is kept.

    Args:
        config: The run.
        task: Scored.
        summary: Its results over networks.
        images: Whether there are to be thumbnails.
        show: Columns of the images' table that are shown with each image.
        columns: By which slices tell images apart, if not by all that name nobody: then nothing is kept.
        size: How many images are embedded at most, if not as many as the run says: then nothing is kept.
        pair: The task is one with some of its test sets: then nothing is kept but the embedding, as with a size.
        progress: Called with how far the embedding is.
    """
    seed, dataset = config.seeds[0], task.dataset
    whole = dataset.table.assign(file_name=dataset.table["image_path"])
    return report.describe(
        task.name,
        dataset.classes,
        task.test_sets,
        Stored(config, task, seed),
        {one.name: whole.iloc[dataset.rows(one.split)].reset_index(drop=True) for one in task.test_sets},
        lambda: study.scorers_of(config, task, seed),
        validation=lambda: task.said(config, seed, "val"),
        summary=summary,
        network=f"{task.settings.network}, seed {seed}",
        costs=task.costs,
        draw=report.corrupted_images(dataset, lambda one: corruption(config, one)) if images else None,
        show=show,
        columns=columns,
        size=config.embedded_images if size is None else size,
        seed=config.data_seed,
        num_jobs=os.cpu_count() or 1,
        notes=dataset.notes,
        cache=task.folder / "report",
        progress=report.in_percent(lambda step: progress(f"{task.name}: {step}")),
        keep=kept(config, task, summary)
        if size is None and columns is None and not pair
        else lambda name, make: make(),
    )


class Stored(Mapping[str, Said]):
    """What the networks of one seed say, by test set; read from its file whenever it is asked for."""

    def __init__(self, config: Config, task: Task, seed: int) -> None:
        self.config, self.task, self.seed = config, task, seed
        self.names = [one.name for one in task.test_sets]

    def __getitem__(self, name: str) -> Said:
        return self.task.said(self.config, self.seed, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def kept(config: Config, task: Task, summary: pd.DataFrame) -> report.Keep:
    """Returns what keeps a task's tables beside its scores for as long as nothing that they are made of changes."""
    seed = config.seeds[0]
    folders = [task.network_folder(method, seed) for method in config.methods]
    settings = {
        "size": config.embedded_images,
        "seeds": [seed, config.data_seed],
        "methods": list(config.methods),
        "csfs": [*study.entries_of(config)],
        "calibrate": config.calibrate,
        "network": task.settings.network,
        "test_sets": [[*one] for one in task.test_sets],
        "images": (task.folder / "images.sha256").read_text(encoding="utf-8"),
        "summary": summary.to_csv(index=False),
    }
    files = [file for folder in folders for file in (folder / "head.npz", *(folder / "outputs").glob("*.npz"))]
    return report.keep_in(task.folder / "report", settings, files)
