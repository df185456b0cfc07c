"""The report: one offline page of all tasks of a run."""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, UInt8

from sfjax import latent, views
from sfjax.files import write_whole
from sfjax.views.tables import csf_names

GALLERY_PIXELS: Final = 96
HOVER_PIXELS: Final = 64
CARDS: Final = 24
"""Of each test set and csf, so many failures and successes have a card with a larger image."""
LARGE: Final = 5.0
"""Megabytes above which a page says that it is large."""
RANKED: Final = "aurc"
MOST_RANKED: Final = 24
"""Of more scores, those with the best mean ranks are in the table of ranks."""


class TaskReport(NamedTuple):
    """What the report shows of one task.

    Attributes:
        name: Of the task.
        classes: Their names.
        points: One row an embedded image, as `points_table` makes it.
        thumbnails: From ids of points to images, uint8 (m, h, w, 3); None for a page without images.
        curves: As `curves_table` makes it.
        probabilities: The scores whose confidence is a probability of being right, not a rank.
        notes: Sentences below the task's views.
        promises: What became of promises about risk (`sfjax.study.overviews.promise_cells`); may be empty.
        diagnosis: Findings by numbers; may be empty. For its columns, and those of the tables below, see
            `sfjax.views.TaskPage`.
        slices: Groups of images with more silent failures than the rest; may be empty.
        strips: What csfs say of images through the levels of corruptions; may be empty.
        strip_images: From the column image of `strips` to WebP data URIs.
        bins: Accuracy against confidence in bins; may be empty.
        histogram: Counts of correct predictions and failures by confidence; may be empty.
        confusion: Counts of classes and predictions; may be empty.
        operating: What thresholds that are chosen on i.i.d. images do elsewhere; may be empty. For these four, see
            `sfjax.report.bins`.
    """

    name: str
    classes: tuple[str, ...]
    points: pd.DataFrame
    thumbnails: Callable[[Int[np.ndarray, " m"]], UInt8[np.ndarray, "m h w 3"]] | None
    curves: pd.DataFrame
    probabilities: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    promises: pd.DataFrame = pd.DataFrame()
    diagnosis: pd.DataFrame = pd.DataFrame()
    slices: pd.DataFrame = pd.DataFrame()
    strips: pd.DataFrame = pd.DataFrame()
    strip_images: Mapping[int, str] = {}
    bins: pd.DataFrame = pd.DataFrame()
    histogram: pd.DataFrame = pd.DataFrame()
    confusion: pd.DataFrame = pd.DataFrame()
    operating: pd.DataFrame = pd.DataFrame()


def write_report(
    path: str | os.PathLike[str],
    tasks: Sequence[TaskReport],
    results: pd.DataFrame,
    *,
    title: str,
    subtitle: str = "",
    max_megabytes: float = 25,
    strict_csp: bool = False,
) -> None:
    """Writes one offline HTML page of all tasks, whole or not at all.

    A page above `LARGE` megabytes a task says so, and a warning does: what a tab holds is read when it is opened. Above
    `max_megabytes` it loses the images that only hovering shows, then all images, and says that too.

    Args:
        path: Where to; the folder exists.
        tasks: At least one.
        results: Tidy results with the column task; or their summary over seeds, with best and tied.
        title: Of the page.
        subtitle: Below it: what was run.
        max_megabytes: How large the file may become.
        strict_csp: Whether the page forbids code made at run time; see `sfjax.views.page`.

    Raises:
        ValueError: A table is not what its view wants, or the page is too large without any image.
    """
    without = [task.name for task in tasks if task.name not in set(results["task"])]
    if without:
        raise ValueError(f"The results hold no row of the task {', '.join(without)}. Leave it out or score it.")
    pages = [_task_page(task, results[results["task"] == task.name]) for task in tasks]
    too_large = f"with them the page would exceed {max_megabytes:g} MB."
    ways = (
        (_as_is, ()),
        (_gallery_images, (f"Images are shown in galleries only, not on hovering: {too_large}",)),
        (_no_images, (f"Images are left out: {too_large}",)),
    )
    size = 0.0
    for way, said in ways:
        shown = [way(page)._replace(notes=(*page.notes, *said)) for page in pages]
        content = views.page(shown, title=title, subtitle=subtitle, strict_csp=strict_csp).encode()
        size = len(content) / 1e6
        if size > max_megabytes:
            continue
        if size > LARGE * len(tasks):
            note = f"This page has {size:.1f} MB: it opens slowly. Embed fewer images to make it smaller."
            warnings.warn(f"{path}: {note}", UserWarning, stacklevel=2)
            shown = [page._replace(notes=(*page.notes, note)) for page in shown]
            content = views.page(shown, title=title, subtitle=subtitle, strict_csp=strict_csp).encode()
        return write_whole(Path(path), lambda file, content=content: file.write_bytes(content))
    raise ValueError(
        f"The report would have {size:.1f} MB without any image, more than {max_megabytes:g}. "
        "Embed fewer images or raise max_megabytes."
    )


def _task_page(task: TaskReport, results: pd.DataFrame) -> views.TaskPage:
    points = task.points if "weight" in task.points.columns else task.points.assign(weight=1.0)
    points = _clustered(points.reset_index(drop=True))
    csfs = csf_names(points)
    for csf in csfs:
        if f"rank_{csf}" not in points.columns:
            points[f"rank_{csf}"] = points[f"confidence_{csf}"].rank(method="min", ascending=False).astype(np.int64)
    images: dict[int, str] = {}
    if task.thumbnails is not None:
        ids = points["id"].to_numpy()
        pixels = task.thumbnails(ids)
        gallery = _in_galleries(points, csfs)
        for where, size in ((gallery, GALLERY_PIXELS), (~gallery, HOVER_PIXELS)):
            images |= zip(ids[where].tolist(), views.thumbnails(pixels[where], pixels=size), strict=True)
    return views.TaskPage(
        name=task.name,
        classes=tuple(str(name) for name in task.classes),
        points=points,
        curves=task.curves,
        results=results,
        images=images,
        probabilities=task.probabilities,
        notes=task.notes,
        promises=task.promises,
        diagnosis=task.diagnosis,
        slices=task.slices,
        strips=task.strips,
        strip_images=task.strip_images,
        charts=_charts(task, results),
    )


def _charts(task: TaskReport, results: pd.DataFrame) -> tuple[views.LinkedChart, ...]:
    """Returns the sections of charts whose tables have rows."""
    known = (
        (views.operating_point, task.operating, "Working points",
         "A threshold that is chosen on i.i.d. images, and what it does on every test set: what is still accepted, the "
         "risk among that, and the failures that it misses. Circle: the target is kept; triangle: above it, as chance "
         "may explain; cross: broken, the whole interval is above.", {"width": 220}),
        (views.reliability, task.bins, "Reliability",
         "Accuracy against stated confidence in bins of equal mass, with 95 % intervals. Below the diagonal the score "
         "is overconfident.", {"size": 230}),
        (views.confidence_histogram, task.histogram, "Confidence",
         "How confident correct predictions (upwards) and failures (downwards) are. Failures at the right are silent.",
         {"width": 300, "height": 190}),
        (views.confusion, task.confusion, "Confusion",
         "Rows: the true class. Orange cells are wrong, and the stronger the more confident on average.", {}),
    )  # fmt: skip
    charts = [
        views.linked_chart(view, table, title=title, hint=hint, **sizes)
        for view, table, title, hint, sizes in known
        if len(table)
    ]
    if (results["metric"] == RANKED).any():
        hint = (
            "AURC × 1000 of every score and test set, lower is better; color is the rank within a row. Framed: the "
            "best; dashed: as good as the best, for all these images can tell."
        )
        ranked = results.drop(columns="task")
        options = {"metric": RANKED, "csfs": MOST_RANKED}
        charts.append(views.linked_chart(views.aurc_table, ranked, title="Ranks", hint=hint, **options))
    return tuple(charts)


def _clustered(points: pd.DataFrame) -> pd.DataFrame:
    """Returns the points with their concept cluster within class and test set, and whether they stand for it."""
    cluster, representative = np.zeros(len(points), np.int64), np.zeros(len(points), np.int64)
    coordinates = points[["x", "y", "z"]].to_numpy(dtype=float)
    for rows in points.groupby(["test_set", "label"], sort=True).indices.values():
        clusters = latent.representatives(coordinates[rows], seed=0)
        cluster[rows] = clusters.assignment
        representative[rows[clusters.representatives]] = 1
    return points.assign(cluster=cluster, representative=representative)


def _in_galleries(points: pd.DataFrame, csfs: Sequence[str]) -> Bool[np.ndarray, " n"]:
    """Returns which points have a card: representatives, surest and costliest failures, least sure successes."""
    shown = points["representative"].to_numpy() == 1
    for csf in csfs:
        ranked = points.sort_values(f"rank_{csf}", kind="stable")
        failures = ranked[ranked[f"correct_{csf}"] == 0].groupby("test_set").head(CARDS)
        successes = ranked[ranked[f"correct_{csf}"] == 1].groupby("test_set").tail(CARDS)
        shown[failures.index] = shown[successes.index] = True
        if f"cost_{csf}" in points.columns:
            wrong = points[points[f"correct_{csf}"] == 0]
            costly = wrong.sort_values([f"cost_{csf}", f"rank_{csf}"], ascending=[False, True], kind="stable")
            shown[costly.groupby("test_set").head(CARDS).index] = True
    return shown


def _as_is(page: views.TaskPage) -> views.TaskPage:
    return page


def _gallery_images(page: views.TaskPage) -> views.TaskPage:
    shown = page.points["id"].to_numpy()[_in_galleries(page.points, csf_names(page.points))]
    return page._replace(images={key: page.images[key] for key in shown.tolist() if key in page.images})


def _no_images(page: views.TaskPage) -> views.TaskPage:
    return page._replace(images={}, strip_images={})
