"""The table of results as a heat map: tasks and test sets against CSFs, with ranks and ties."""

import math
import textwrap
from collections.abc import Sequence
from typing import Final, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from sfjax.views import inline, theme
from sfjax.views.palette import themed
from sfjax.views.results import METRICS, Metric
from sfjax.views.tables import require, source_first

RESULTS: Final = ("test_set", "shift", "kind", "level", "domain", "csf", "metric", "value")
COLOR_BY: Final = ("rank", "value")
DIGITS: Final = 6
"""Decimals of the values that are ranked: scores of one order differ by rounding, which is no difference."""
ROW: Final = 22
"""Pixels of a row."""
NUMBER: Final = 4
"""Characters of a row's number, which orders the rows of all tasks."""
FEW: Final = 12
"""Of more CSFs, columns are narrower and their names upright."""


class Cells(NamedTuple):
    """What the heat map draws.

    Attributes:
        table: A row a task, test set and csf: `value` in the shown unit, `rank` (1 is the best of all CSFs), `text`,
            `best`, `tied`, and `strength` (0 to 1) of the color by rank and by value.
        csfs: Columns, in order.
        ranked: How many CSFs were ranked.
        marked: Whether ties are known.
    """

    table: pd.DataFrame
    csfs: list[str]
    ranked: int
    marked: bool


def aurc_table(
    results: pd.DataFrame,
    *,
    metric: str = "aurc",
    csfs: Sequence[str] | int | None = None,
    color_by: str = "rank",
    title: str = "",
    subtitle: str = "",
    linked: bool = False,
) -> alt.FacetChart | alt.LayerChart:
    """Returns a metric of every csf on every test set of every task, one cell each.

    The best of a row is bold and framed; `=` and a dashed grey frame mark those that a paired comparison does not tell
    from it, `†` rests on few failures. By rank, the best are the strongest blue; by value, the worst are the strongest
    orange, on one scale for all rows. Ranks are among all CSFs, whichever are shown.

    Args:
        results: Tidy results, or their summary over seeds, as `cells` wants them.
        metric: One of the table's, by `sfjax.views.results.METRICS` shown in its unit.
        csfs: Which, in this order; or the so many with the best mean rank; or all.
        color_by: `rank` or `value`, at first (`sf_color_by`).
        title: Above the chart; the metric if empty.
        subtitle: Below the title; it is broken into lines.
        linked: A page sets `sf_color_by`; else the chart has an input.

    Raises:
        ValueError: The table holds what it must not, or no such metric or csf.
    """
    if color_by not in COLOR_BY:
        raise ValueError(f"color_by must be one of {', '.join(COLOR_BY)}; got {color_by!r}.")
    found = cells(results, metric=metric, csfs=csfs)
    about = METRICS.get(metric, Metric(metric, metric, 1, 4, True))
    table, names = found.table, found.csfs
    wide = 46 if len(names) <= FEW else 38
    ink, muted, back = (
        alt.expr(themed(color)) for color in (lambda p: p.ink, lambda p: p.muted, lambda p: p.background)
    )
    strength = "(sf_color_by == 'rank' ? datum.by_rank : datum.by_value)"
    place = f"[min(8, floor({strength} * 9))]"
    fill = (
        f"!datum.known ? {themed(lambda p: p.surface)} : sf_color_by == 'rank' ? {themed(lambda p: p.correct)}{place} "
        f": {themed(lambda p: p.failure)}{place}"
    )
    text_fill = f"datum.known && {strength} > 0.5 ? {back.expr} : {ink.expr}"
    x = alt.X(
        "csf:N",
        title=None,
        scale=alt.Scale(domain=names, paddingInner=0, paddingOuter=0),
        axis=alt.Axis(orient="top", labelAngle=-90 if len(names) > FEW else -40, labelLimit=180, labelOverlap=False,
                      domain=False, ticks=False),
    )  # fmt: skip
    y = alt.Y(
        "row:N",
        title=None,
        sort="ascending",  # rows begin with their number
        scale=alt.Scale(paddingInner=0, paddingOuter=0),
        axis=alt.Axis(
            labelExpr=f"slice(datum.label, {NUMBER})", labelLimit=260, labelOverlap=False, domain=False, ticks=False
        ),
    )
    tooltip = [
        alt.Tooltip("task:N"),
        alt.Tooltip("test_set:N", title="test set"),
        alt.Tooltip("kind:N"),
        alt.Tooltip("csf:N"),
        alt.Tooltip("value:Q", title=about.short, format=f".{about.digits}f"),
        alt.Tooltip("rank:Q", title=f"rank of {found.ranked}"),
    ]
    base = alt.Chart()
    layers = [
        base.mark_rect(fill=alt.expr(fill), stroke=back, strokeWidth=1, aria=False)
        .encode(x=x, y=y, tooltip=tooltip)
        .properties(name="sf_cells"),
        # Frames of no width are no frames: with rows of their own, layers would not share the rows' scale.
        base.mark_rect(
            filled=False,
            stroke=muted,
            strokeDash=[3, 2],
            aria=False,
            tooltip=None,
            strokeWidth=alt.expr("datum.tied && !datum.best ? 1.5 : 0"),
        )
        .encode(x=x, y=y)
        .properties(name="sf_tied"),
        base.mark_rect(filled=False, stroke=ink, strokeWidth=alt.expr("datum.best ? 2.5 : 0"), aria=False, tooltip=None)
        .encode(x=x, y=y)
        .properties(name="sf_best"),
        base.mark_text(
            fill=alt.expr(text_fill),
            fontSize=11 if len(names) <= FEW else 10,
            fontWeight=alt.expr("datum.best ? 'bold' : 'normal'"),
            aria=False,
            tooltip=None,
        )
        .encode(x=x, y=y, text="text:N")
        .properties(name="sf_numbers"),
    ]
    layers = alt.LayerChart(layer=layers, data=inline.reference(table, "sf_results"))
    tasks = table["task"].unique().tolist()
    title = title or (f"{tasks[0]}: {about.title}" if len(tasks) == 1 and tasks[0] else about.title)
    lines = _legend(found, about, table)
    spoken = " ".join([*lines, subtitle])
    wrapped = [
        line for text in (*lines, subtitle) for line in textwrap.wrap(text, max(90, 40 + len(names) * wide // 6))
    ]
    heading = {} if linked else {"title": alt.Title(title, subtitle=wrapped, offset=14)}
    radio = alt.binding_radio(options=list(COLOR_BY), name="Color by ")
    return (
        by_task(layers.properties(width=alt.Step(wide), height=alt.Step(ROW)), tasks)
        .add_params(theme.setting("sf_color_by", color_by, radio, linked=linked), theme.dark_param(linked=linked))
        .properties(
            datasets=inline.dataset(table, "sf_results"), description=f"{title}. {_in_words(table)} {spoken}", **heading
        )
        .configure(**theme.config())
    )


def by_task(rows: alt.LayerChart, tasks: list[str]) -> alt.FacetChart | alt.LayerChart:
    """Returns a heat map with the rows of each task together, below one row of names; as it is where there is one."""
    if len(tasks) == 1:
        return rows
    header = alt.Header(labelAngle=0, labelAlign="left", labelOrient="left", labelPadding=6)
    panels = rows.facet(row=alt.Row("task:N", title=None, sort=tasks, header=header), spacing=10)
    return panels.resolve_scale(y="independent")


def cells(results: pd.DataFrame, *, metric: str = "aurc", csfs: Sequence[str] | int | None = None) -> Cells:
    """Returns one metric as the heat map draws it: of all levels of a corruption together, and of all domains.

    Args:
        results: Columns `RESULTS`, and `task` where there are several. Rows of several seeds, and of the levels of a
            corruption, are averaged, and their ties are unknown. A summary has `seeds`, `best`, `tied` and
            `few_failures` as well (0 or 1).
        metric: Which.
        csfs: Which, in this order; or the so many with the best mean rank; or all.

    Raises:
        ValueError: A column is missing, or there is no such metric or csf.
    """
    require("results", results, RESULTS)
    results = results.reset_index(drop=True)
    chosen = results[(results["domain"].fillna("all") == "all") & results["csf"].fillna("").ne("")]
    chosen = _over_levels(chosen.assign(task=chosen["task"].astype(str) if "task" in chosen.columns else ""))
    if metric not in set(chosen["metric"]):
        raise ValueError(
            f"The results hold no {metric} of all domains together; they hold "
            f"{', '.join(dict.fromkeys(map(str, chosen['metric']))) or 'none'}. Name one of these."
        )
    chosen = chosen[chosen["metric"] == metric].assign(csf=lambda t: t["csf"].astype(str))
    chosen = chosen.replace({"value": [np.inf, -np.inf]}, np.nan)
    keys = ["task", "test_set", "kind", "csf"]
    marked = {"best", "tied"} <= set(chosen.columns)
    if not marked:
        chosen = chosen.groupby(keys, sort=False)["value"].mean().reset_index()
    if chosen.duplicated(subset=keys).any():
        row = ", ".join(chosen.loc[chosen.duplicated(subset=keys), keys].iloc[0].astype(str))
        raise ValueError(
            f"A summary has one row a task, test set and csf; {row} comes more than once. Choose one training set."
        )
    about = METRICS.get(metric, Metric(metric, metric, 1, 4, True))
    names = chosen["csf"].unique().tolist()
    of_row = chosen.assign(_value=chosen["value"].round(DIGITS)).groupby(["task", "test_set"], sort=False)
    rank = of_row["_value"].rank(method="min", ascending=about.lower_is_better)
    chosen = chosen.assign(rank=rank, ranked=of_row["_value"].transform("count"))
    shown = _columns(chosen, names, csfs)
    few = chosen["few_failures"].astype(int) if "few_failures" in chosen.columns else 0
    best = chosen["best"].astype(int) if marked else (chosen["rank"] == 1).astype(int)
    chosen = chosen.assign(few=few, best=best, tied=chosen["tied"].astype(int) if marked else 0)
    chosen = chosen[chosen["csf"].isin(shown)]
    table = _whole(chosen, shown)
    all_few = table.groupby(["task", "test_set"], sort=False)["few"].transform(lambda few: few[few >= 0].min()) == 1
    value = table["value"] * about.scale
    low, high = float(value.min()), float(value.max())
    badness = (value - low) / ((high - low) or 1)
    table = table.assign(
        value=value.round(about.digits + 2),
        known=value.notna().astype(int),
        row=[
            f"{number:0{NUMBER}d}{name}{' †' if few else ''}"
            for number, name, few in zip(
                table.groupby(["task", "test_set"], sort=False).ngroup(), table["test_set"], all_few, strict=True
            )
        ],
        text=[
            _text(number, about.digits, tied=tied == 1 and best != 1, few=few == 1 and not whole)
            for number, tied, best, few, whole in zip(
                value, table["tied"], table["best"], table["few"], all_few, strict=True
            )
        ],
        by_rank=(1 - (table["rank"] - 1) / (table["ranked"] - 1).clip(lower=1)).fillna(0).round(4),
        by_value=(badness if about.lower_is_better else 1 - badness).fillna(0).round(4),
    )
    return Cells(table.drop(columns="few"), shown, len(names), marked)


def _over_levels(results: pd.DataFrame) -> pd.DataFrame:
    """Returns rows of level 0; of a corruption that has none, all levels under its name, to be averaged."""
    place = pd.MultiIndex.from_frame(results[["task", "shift"]])
    whole = results["level"] == 0
    alone = ~whole & ~place.isin(place[whole])
    return pd.concat([results[whole], results[alone].assign(test_set=results["shift"], level=0)])


def _columns(chosen: pd.DataFrame, names: list[str], csfs: Sequence[str] | int | None) -> list[str]:
    """Returns the CSFs that are shown, in order."""
    if csfs is None:
        return names
    if isinstance(csfs, int):
        if csfs < 1:
            raise ValueError(f"At least one csf is shown; got {csfs}.")
        # One that has no value somewhere has no rank there: its mean is over the other rows.
        return chosen.groupby("csf", sort=False)["rank"].mean().sort_values(kind="stable").index[:csfs].tolist()
    unknown = [name for name in csfs if name not in names]
    if unknown or not csfs:
        raise ValueError(f"The results hold no csf {', '.join(unknown)}; they hold {', '.join(names)}.")
    return list(csfs)


def _whole(chosen: pd.DataFrame, csfs: list[str]) -> pd.DataFrame:
    """Returns a row for each row of the map and csf, also where there is no value; the source first in a task."""
    parts = []
    for task, of_task in chosen.groupby("task", sort=False):
        kinds = dict(zip(of_task["test_set"], of_task["kind"], strict=True))
        places = [(task, name, kinds[name], csf) for name in source_first(of_task) for csf in csfs]
        parts.append(pd.DataFrame(places, columns=pd.Index(["task", "test_set", "kind", "csf"])))
    columns = ["task", "test_set", "kind", "csf", "value", "rank", "ranked", "best", "tied", "few"]
    table = pd.concat(parts, ignore_index=True).merge(chosen[columns], how="left", on=columns[:4], validate="1:1")
    return table.fillna({"best": 0, "tied": 0, "few": -1}).astype({"best": int, "tied": int, "few": int})


def _text(value: float, digits: int, *, tied: bool, few: bool) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.{digits}f}{'=' if tied else ''}{'†' if few else ''}"


def _legend(found: Cells, metric: Metric, table: pd.DataFrame) -> list[str]:
    direction = "Lower" if metric.lower_is_better else "Higher"
    ties = "=: not told from it by a paired comparison." if found.marked else "Ties are not known."
    lines = [f"{direction} is better. Bold and framed: best of the row. {ties}"]
    if any("†" in text for text in [*table["text"], *table["row"]]):
        lines[0] += " †: few failures."
    lines.append("By rank: the best are the strongest blue. By value: the worst are the strongest orange.")
    if len(found.csfs) < found.ranked:
        lines.append(f"{len(found.csfs)} of {found.ranked} scores are shown; ranks are among all of them.")
    return lines


def _in_words(table: pd.DataFrame) -> str:
    """Returns the best of each row."""
    best = table[table["best"] == 1]
    rows = best.groupby(["task", "test_set"], sort=False)
    said = [
        f"{' '.join(filter(None, map(str, place)))}: {', '.join(some['csf'])} {some['text'].iloc[0]}"
        for place, some in rows
    ]
    return f"Best: {'; '.join(said)}." if said else ""
