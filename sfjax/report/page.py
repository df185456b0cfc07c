"""The report: one offline page of all tasks of a run."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, UInt8

from sfjax import latent, views
from sfjax.files import write_whole
from sfjax.report.tables import GALLERY
from sfjax.views.tables import csf_names

GALLERY_PIXELS: Final = 96
HOVER_PIXELS: Final = 64


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
    """

    name: str
    classes: tuple[str, ...]
    points: pd.DataFrame
    thumbnails: Callable[[Int[np.ndarray, " m"]], UInt8[np.ndarray, "m h w 3"]] | None
    curves: pd.DataFrame
    probabilities: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    promises: pd.DataFrame = pd.DataFrame()


def write_report(
    path: str | os.PathLike[str],
    tasks: Sequence[TaskReport],
    results: pd.DataFrame,
    *,
    title: str,
    subtitle: str = "",
    max_megabytes: float = 25,
) -> None:
    """Writes one offline HTML page of all tasks, whole or not at all.

    A page above `max_megabytes` loses the images that only hovering shows, then all images, and says so.

    Args:
        path: Where to; the folder exists.
        tasks: At least one.
        results: Tidy results with the column task; or their summary over seeds, with best and tied.
        title: Of the page.
        subtitle: Below it: what was run.
        max_megabytes: How large the file may become.

    Raises:
        ValueError: A table is not what its view wants, or the page is too large without any image.
    """
    without = [task.name for task in tasks if task.name not in set(results["task"])]
    if without:
        raise ValueError(f"The results hold no row of the task {', '.join(without)}. Leave it out or score it.")
    pages = [_task_page(task, results[results["task"] == task.name]) for task in tasks]
    too_large = f"with them the page would exceed {max_megabytes:g} MB."
    ways = (
        (_all_images, ()),
        (_gallery_images, (f"Images are shown in galleries only, not on hovering: {too_large}",)),
        (_no_images, (f"Images are left out: {too_large}",)),
    )
    size = 0.0
    for images, said in ways:
        shown = [page._replace(images=images(page), notes=(*page.notes, *said)) for page in pages]
        content = views.page(shown, title=title, subtitle=subtitle).encode()
        size = len(content) / 1e6
        if size <= max_megabytes:
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
    )


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
    """Returns which points have a card: representatives, and the most confident failures of a test set."""
    shown = points["representative"].to_numpy() == 1
    for csf in csfs:
        failures = points[points[f"correct_{csf}"] == 0].sort_values(f"rank_{csf}", kind="stable")
        shown[failures.groupby("test_set").head(GALLERY).index] = True
    return shown


def _all_images(page: views.TaskPage) -> Mapping[int, str]:
    return page.images


def _gallery_images(page: views.TaskPage) -> Mapping[int, str]:
    shown = page.points["id"].to_numpy()[_in_galleries(page.points, csf_names(page.points))]
    return {key: page.images[key] for key in shown.tolist() if key in page.images}


def _no_images(_: views.TaskPage) -> Mapping[int, str]:
    return {}
