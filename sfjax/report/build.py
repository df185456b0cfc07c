"""What the report shows of a task, made of outputs: every table of every view, in one place."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import jax
import numpy as np
import pandas as pd
from jaxtyping import Int, UInt8

from sfjax import keys
from sfjax.outputs import Outputs
from sfjax.report.attributes import CLUSTER, check_attributes, slice_attributes
from sfjax.report.bins import operating_table, score_tables
from sfjax.report.diagnosis import diagnose
from sfjax.report.keeping import Keep
from sfjax.report.page import TaskReport
from sfjax.report.slices import failure_slices
from sfjax.report.strips import Draw, strip_pictures, strips_table
from sfjax.report.tables import curves_table, points_table
from sfjax.study.evaluation import FailureCosts, Said, Scorers, first_network
from sfjax.study.tasks import TestSet
from sfjax.views.slices import ATTRIBUTE
from sfjax.views.tables import SOURCE, csf_names

NAMES = "file_name"
"""The column of images' names, which is shown only if it is asked for."""
PLACES: Final = ("test_set", CLUSTER)
"""What slices are told by that is no column of a manifest."""
NO_FEATURES = (
    "No features were kept: images lie by their class scores, so that a confident failure lies among the images of the "
    "class that it was taken for."
)


def describe(
    name: str,
    classes: Sequence[str],
    test_sets: Sequence[TestSet],
    outputs: Mapping[str, Said],
    tables: Mapping[str, pd.DataFrame],
    scorers: Callable[[], Scorers],
    *,
    validation: Callable[[], Said | None] = lambda: None,
    summary: pd.DataFrame | None = None,
    promised: pd.DataFrame | None = None,
    network: str = "",
    costs: FailureCosts | None = None,
    draw: Draw | None = None,
    show: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    size: int = 2000,
    seed: int = 0,
    num_jobs: int = 1,
    notes: Sequence[str] = (),
    cache: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], object] | None = None,
    keep: Keep = lambda name, make: make(),
) -> TaskReport:
    """Returns what the report shows of a task.

    Of each corruption the views show the middle level, but for the strips, which show all.

    Args:
        name: Of the task.
        classes: Their names, in the order of the logits.
        test_sets: The i.i.d. one first.
        outputs: By test set: what one network says, or the networks of one seed. Read only where a table is made, so
            that the mapping may load them then.
        tables: By test set, a row an image: label and, where known, domain, subclass, patient_id and further columns.
        scorers: Returns the scores of these networks; called once, and only where a table is made.
        validation: Returns what the networks say of validation images; None for nothing.
        summary: The task's results over networks.
        promised: What became of promises about risk.
        network: Which one the features are of, for the note.
        costs: What failures cost, if known: then galleries can be ranked by it.
        draw: Makes the images; None for a report without any.
        show: Further columns of the tables that are shown with an image that is picked; names are among them only if
            asked for.
        columns: By which slices tell images apart, besides label, domain, subclass and cluster; None for all that name
            nobody.
        size: How many images are embedded at most.
        seed: Of samples, embedding and resamples.
        num_jobs: Processor cores.
        notes: Sentences below the views.
        cache: Folder that keeps embeddings, by what they are made of: other sizes and pairs do not pay twice.
        progress: Called with (steps done, steps in all) of the embedding.
        keep: Where tables are kept that take long.

    Raises:
        ValueError: Outputs and tables do not go together.
    """
    drawn = [one for one in test_sets if one.kind != "corruption"] + middle_levels(test_sets)
    about = {one.name: tables[one.name].assign(kind=one.kind, level=one.level) for one in drawn}
    check_attributes(about, columns or ())
    of_source = [one for one in drawn if one.kind == SOURCE]
    # Made once, and only if a table is not there.
    learned, tuned = functools.cache(scorers), functools.cache(validation)
    said = functools.cache(lambda: {one.name: outputs[one.name] for one in drawn})
    counts = functools.cache(lambda: score_tables(said(), about, classes, learned()))

    def points() -> pd.DataFrame:
        features, lacking = _with_features(said())
        options = {
            "costs": costs,
            "size": size,
            "placed": size // 4,
            "seed": seed,
            "network": network,
            "num_jobs": num_jobs,
        }
        options |= {"cache": cache, "progress": progress}
        made = points_table(features, about, classes, learned(), **options)
        made.table.attrs["note"] = f"{made.note} {lacking}".strip()  # Parquet keeps these with the table
        made.table.attrs["probabilities"] = [csf for csf in learned().csfs if learned().has_probability(csf)]
        return made.table

    def slices() -> pd.DataFrame:
        able = learned()
        if tuned() is None:  # a threshold of the others would be set on images that are tested
            able = able._replace(csfs={csf: one for csf, one in able.csfs.items() if able.has_probability(csf)})
        if not able.csfs:
            return pd.DataFrame()
        return failure_slices(said(), about, able, validation=tuned(), points=table, seed=seed, columns=columns)

    def signs() -> pd.DataFrame:
        return diagnose(said(), about, learned(), validation=tuned(), summary=summary, seed=seed)

    bands = keys.stream(jax.random.key(seed), "bands")
    table = keep("points", points)
    found = keep("slices", slices)
    attributes = [one for one in dict.fromkeys(found["attribute"] if len(found) else ()) if one not in PLACES]
    further = (
        keep("attributes", lambda: _attributes(about, table, attributes, columns)) if attributes else pd.DataFrame()
    )
    table = table.assign(**{str(name): of for name, of in further.items()}, **_columns(table, about, show))
    in_strips, strips, pictures = aligned(test_sets, tables), pd.DataFrame(), {}
    if len(of_source) == 1 and any(one.kind == "corruption" for one in in_strips):
        strips = keep("strips", lambda: strips_table(outputs, in_strips, classes, learned(), None).table)
    if len(strips) and draw is not None:
        drawing = functools.partial(strip_pictures, strips, in_strips, draw)
        stored = keep("strip_images", lambda: pd.DataFrame(drawing().items(), columns=pd.Index(["image", "uri"])))
        pictures = dict(zip(stored["image"].tolist(), stored["uri"].tolist(), strict=True))
    return TaskReport(
        name=name,
        classes=tuple(classes),
        points=table,
        thumbnails=None if draw is None else _thumbnails(draw, drawn, table),
        curves=keep("curves", lambda: curves_table(said(), about, learned(), key=bands)),
        probabilities=frozenset(table.attrs["probabilities"]),
        notes=(table.attrs["note"], *filter(None, [found.attrs.get("note", "")]), *notes),
        promises=pd.DataFrame() if promised is None else promised,
        # What holds test sets against the i.i.d. one needs one.
        diagnosis=keep("diagnosis", signs) if len(of_source) == 1 else pd.DataFrame(),
        slices=found,
        strips=strips,
        strip_images=pictures,
        bins=keep("bins", lambda: counts().bins),
        histogram=keep("histogram", lambda: counts().histogram),
        confusion=keep("confusion", lambda: counts().confusion),
        operating=keep("operating", lambda: operating_table(said(), about, learned())) if of_source else pd.DataFrame(),
    )


def in_percent(show: Callable[[str], object], *, step: int = 10) -> Callable[[int, int], object]:
    """Returns a `progress` that says so many percent of the embedding are done, once a step.

    Args:
        show: Called with what to say.
        step: Percent.
    """
    said = 0

    def progress(done: int, total: int) -> None:
        nonlocal said
        if (now := 100 * done // total // step * step) > said:
            said = now
            show(f"embedding: {now} %")

    return progress


def middle_levels(test_sets: Sequence[TestSet]) -> list[TestSet]:
    """Returns of each corruption its set in the middle, which stands for it."""
    levels: dict[str, list[TestSet]] = {}
    for one in sorted(test_sets, key=lambda one: one.level):
        if one.kind == "corruption":
            levels.setdefault(one.shift, []).append(one)
    middle = [some[len(some) // 2] for some in levels.values()]
    return [one for one in test_sets if one in middle]


def aligned(test_sets: Sequence[TestSet], tables: Mapping[str, pd.DataFrame]) -> list[TestSet]:
    """Returns the i.i.d. sets and those corruptions that are of the same images in the same order, as labels say."""
    source = [one for one in test_sets if one.kind == SOURCE]
    if not source:
        return []
    labels = tables[source[0].name]["label"].tolist()
    return [
        one
        for one in test_sets
        if one in source or (one.kind == "corruption" and tables[one.name]["label"].tolist() == labels)
    ]


def only_csfs(report: TaskReport, csfs: Sequence[str]) -> TaskReport:
    """Returns the report of a task with some of its scores.

    Args:
        report: Of a task.
        csfs: Those that stay.
    """
    others = [csf for csf in csf_names(report.points) if csf not in csfs]
    dropped = [f"{column}_{csf}" for column in ("predicted", "correct", "confidence", "rank", "cost") for csf in others]
    by_csf = ("curves", "diagnosis", "slices", "strips", "bins", "histogram", "confusion", "operating", "promises")
    tables = {name: getattr(report, name) for name in by_csf}
    return report._replace(
        points=report.points.drop(columns=dropped, errors="ignore"),
        probabilities=report.probabilities.intersection(csfs),
        # A finding that is of no score has a blank one.
        **{name: one[one["csf"].isin([*csfs, ""])] if len(one) else one for name, one in tables.items()},
    )


def _with_features(outputs: Mapping[str, Said]) -> tuple[Mapping[str, Said], str]:
    """Returns the outputs, with the class scores as features where a network's were not kept, and says so."""
    if all(first_network(said).features is not None for said in outputs.values()):
        return outputs, ""

    def filled(said: Outputs) -> Outputs:
        return dataclasses.replace(said, features=said.logits)

    return {
        name: filled(said) if isinstance(said, Outputs) else {method: filled(one) for method, one in said.items()}
        for name, said in outputs.items()
    }, NO_FEATURES


def _attributes(
    tables: Mapping[str, pd.DataFrame], points: pd.DataFrame, attributes: Sequence[str], columns: Sequence[str] | None
) -> pd.DataFrame:
    """Returns of every point what slices tell images apart by, under names that hide no column of the points."""
    values, _ = slice_attributes(tables, columns=columns)
    places = list(zip(points["test_set"], points["row"], strict=True))
    found = {one: [values[name][one][row] for name, row in places] for one in attributes}
    return pd.DataFrame(found).add_prefix(ATTRIBUTE)


def _columns(points: pd.DataFrame, tables: Mapping[str, pd.DataFrame], columns: Sequence[str]) -> dict[str, list[str]]:
    """Returns further columns of the points' images as text.

    Raises:
        ValueError: No table has one of them.
    """
    more = {}
    for column in columns:
        if not any(column in table for table in tables.values()):
            raise ValueError(f"No table has the column {column} that is to be shown. Name one that is there.")
        having = {name: table[column] for name, table in tables.items() if column in table}
        texts = {name: values.fillna("").astype(str).to_numpy() for name, values in having.items()}
        places = zip(points["test_set"], points["row"], strict=True)
        more[column] = [texts[name][row] if name in texts else "" for name, row in places]
    return more


def _thumbnails(
    draw: Draw, test_sets: Sequence[TestSet], points: pd.DataFrame
) -> Callable[[Int[np.ndarray, " m"]], UInt8[np.ndarray, "m h w 3"]]:
    """Returns the function from ids of points to their images."""
    place, by_name = points.set_index("id")[["test_set", "row"]], {one.name: one for one in test_sets}

    def of(ids: np.ndarray) -> np.ndarray:
        chosen = place.loc[ids].reset_index(drop=True)
        images: dict[int, np.ndarray] = {}
        for name, rows in chosen.groupby("test_set", sort=False):
            images |= zip(rows.index, draw(by_name[str(name)], rows["row"].to_numpy()), strict=True)
        return np.stack([images[i] for i in range(len(chosen))])

    return of
