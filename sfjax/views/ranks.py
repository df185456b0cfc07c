"""Critical-difference diagrams: mean ranks of CSFs, how sure they are, and which of them cannot be told apart."""

import textwrap
from collections.abc import Sequence
from typing import Final, Literal

import altair as alt
import numpy as np
import pandas as pd

from sfjax.views import inline, theme
from sfjax.views.palette import themed
from sfjax.views.tables import require

RANKS: Final = ("variant", "csf", "mean", "low", "high", "p_best", "blocks", "critical_difference")
GROUPS: Final = ("variant", "group", "start", "end")
ROW: Final = 22
"""Pixels of a row."""
LANE: Final = 10
"""Pixels from one bar of a group to the next."""


def rank_plot(
    ranks: pd.DataFrame,
    groups: pd.DataFrame,
    *,
    title: str = "Mean ranks of confidence scoring functions",
    subtitle: str = "",
    columns: int = 2,
    width: int = 260,
    linked: bool = False,
) -> alt.ConcatChart:
    """Returns the mean rank of every csf (1 is the best, at the left) with its interval, the best row first.

    One panel a variant. At the right of a row stands the chance of being the best; CSFs whose rows the same thick bar
    crosses cannot be told apart. The last row shows how far apart two mean ranks must be.

    Args:
        ranks: A table as `check_ranks` wants it.
        groups: A table as `check_groups` wants it.
        title: Above the chart.
        subtitle: Below the title, such as what the blocks share; it is broken into lines.
        columns: Panels side by side.
        width: Pixels of the axis of a panel.
        linked: The chart stands in a page that has a heading and sets the theme; else it has both itself.

    Raises:
        ValueError: A table holds what it must not.
    """
    table = check_ranks(ranks)
    bars = check_groups(groups, table)
    variants = table["variant"].unique().tolist()
    tables = {"sf_ranks": table.round(4), "sf_groups": bars.round(4)}
    panels = [_panel(tables, panel, variant, width=width) for panel, variant in enumerate(variants)]
    characters = 22 + min(len(panels), columns) * (width + 260) // 7
    heading = {} if linked else {"title": alt.Title(title, subtitle=textwrap.wrap(subtitle, characters), offset=14)}
    return (
        alt.concat(*panels, columns=columns, spacing=36)
        .add_params(theme.dark_param(linked=linked))
        .properties(
            datasets={key: inline.dataset(rows, key)[key] for key, rows in tables.items()},
            description=" ".join([f"{title}.", *(_in_words(table, bars, variant) for variant in variants), subtitle]),
            **heading,
        )
        .configure(**theme.config())
    )


def check_ranks(ranks: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of ranks as the diagram reads it: best first within a variant, with row and panel numbers.

    Args:
        ranks: Columns `RANKS`; one row a variant and csf. The mean rank lies in [1, s] of s CSFs, as do `low` and
            `high`, the ends of its interval, and `p_best`, the chance of being the best, in [0, 1]; these three may be
            NaN. `blocks` is how many blocks were ranked, `critical_difference` the one of a variant, or NaN.

    Raises:
        ValueError: A column is missing or holds what it must not.
    """
    require("ranks", ranks, RANKS)
    if not len(ranks):
        raise ValueError("The table of ranks is empty. Rank at least two CSFs.")
    parts = []
    for panel, (variant, rows) in enumerate(ranks[list(RANKS)].groupby("variant", sort=False)):
        count = len(rows)
        if count < 2 or rows["csf"].duplicated().any():
            raise ValueError(
                f"Every variant ranks at least two CSFs, each once; {variant} has {', '.join(map(str, rows['csf']))}. "
                "Give one row a variant and csf."
            )
        for column in ("mean", "low", "high"):
            _within(rows, column, 1, count, optional=column != "mean")
        _within(rows, "p_best", 0, 1, optional=True)
        if (rows["low"].isna() != rows["high"].isna()).any() or (rows["low"] > rows["high"] + 1e-9).any():
            raise ValueError(f"The interval of a rank has two ends, the lower first; not so in {variant}. Give both.")
        for column, least in (("blocks", 1), ("critical_difference", 0)):
            whole = column != "blocks" or rows[column].dtype.kind in "iu"
            if not whole or rows[column].nunique(dropna=False) > 1 or (rows[column] < least).any():
                raise ValueError(
                    f"The column {column} of the ranks must hold one {'integer' if least else 'number'} a variant, "
                    f"from {least} up; {variant} has {', '.join(map(str, rows[column].unique()))}. Repeat the same in "
                    "each row."
                )
        ordered = rows.sort_values("mean", kind="stable")
        parts.append(ordered.assign(panel=panel, row=np.arange(count), best=ordered["p_best"].map(_percent)))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(variant=table["variant"].astype(str), csf=table["csf"].astype(str))


def check_groups(groups: pd.DataFrame, ranks: pd.DataFrame) -> pd.DataFrame:
    """Returns the bars of the groups: the first and the last row that each crosses, and its lane.

    Args:
        groups: Columns `GROUPS`; one row a variant and group, of the CSFs whose mean ranks lie from `start` to `end`.
            It may be empty.
        ranks: What `check_ranks` returned.

    Raises:
        ValueError: A column is missing, a variant is not ranked, or a span holds fewer than two CSFs.
    """
    require("groups", groups, GROUPS)
    bars = []
    for variant, group, start, end in groups[list(GROUPS)].itertuples(index=False):
        rows = ranks[ranks["variant"] == str(variant)]
        inside = rows[rows["mean"].between(start - 1e-6, end + 1e-6)]
        if len(inside) < 2:
            raise ValueError(
                f"A group joins at least two CSFs of a ranked variant; from {start} to {end} {variant} has "
                f"{len(inside)}. Take its span from the mean ranks of the same table."
            )
        first, last = int(inside["row"].min()), int(inside["row"].max())
        taken = {bar["lane"] for bar in bars if bar["variant"] == str(variant) and bar["last"] >= first - 1}
        lane = next(lane for lane in range(len(groups)) if lane not in taken)
        bars.append({"variant": str(variant), "panel": int(rows["panel"].iloc[0]), "group": str(group),
                     "start": start, "end": end, "first": first, "last": last, "lane": lane})  # fmt: skip
    return pd.DataFrame(bars, columns=pd.Index([*GROUPS, "panel", "first", "last", "lane"]))


def _panel(tables: dict[str, pd.DataFrame], panel: int, variant: str, *, width: int) -> alt.LayerChart:
    """Returns the diagram of one variant. Names and numbers are drawn beside the axis, so that panels are alike."""
    rows = tables["sf_ranks"][tables["sf_ranks"]["panel"] == panel]
    bars = tables["sf_groups"][tables["sf_groups"]["panel"] == panel]
    count, blocks, apart = len(rows), int(rows["blocks"].iloc[0]), float(rows["critical_difference"].iloc[0])
    ink, muted, line, blue = (
        alt.expr(themed(color))
        for color in (lambda p: p.ink, lambda p: p.muted, lambda p: p.line, lambda p: p.curves[0])
    )
    ticks = _ticks(count)  # Vega draws every second one unless told their number
    x = alt.X(
        "mean:Q",
        title="mean rank (1 is the best)",
        scale=alt.Scale(domain=[1, count], nice=False, zero=False),
        axis=alt.Axis(values=ticks, tickCount=len(ticks), format="d", offset=4, labelFlush=False),
    )
    last = count - 0.4 + (not np.isnan(apart))
    scale = alt.Scale(domain=[-0.6, last], reverse=True, nice=False, zero=False)
    y = alt.Y("row:Q", scale=scale, axis=None)
    table, beside = inline.reference(tables["sf_ranks"], "sf_ranks"), width + 14
    of_csf = alt.Chart(table).transform_filter(f"datum.panel == {panel}")
    of_group = alt.Chart(inline.reference(tables["sf_groups"], "sf_groups")).transform_filter(f"datum.panel == {panel}")
    tooltip = [
        alt.Tooltip("csf:N"),
        *(alt.Tooltip(f"{name}:Q", title=title, format=".2f")
          for name, title in (("mean", "mean rank"), ("low", "from"), ("high", "to"))),
        alt.Tooltip("best:N", title="chance of being the best"),
    ]  # fmt: skip
    layers = [
        of_csf.mark_rule(stroke=line, aria=False, tooltip=None).encode(y=y, x=alt.value(0), x2=alt.value(width)),
        of_csf.mark_rule(stroke=muted, strokeWidth=2.5, aria=False, tooltip=None)
        .encode(y=y, x="low:Q", x2="high:Q")
        .properties(name=f"sf_ends_{panel}"),
        of_csf.mark_point(filled=True, size=70, opacity=1, fill=ink, aria=False)
        .encode(x=x, y=y, tooltip=tooltip)
        .properties(name=f"sf_means_{panel}"),
        of_csf.mark_text(align="right", baseline="middle", fill=ink, fontSize=12, limit=240, aria=False)
        .encode(y=y, x=alt.value(-12), text="csf:N", tooltip=tooltip)
        .properties(name=f"sf_names_{panel}"),
        of_csf.mark_text(align="right", baseline="middle", fill=ink, fontSize=12, aria=False, tooltip=None)
        .encode(y=y, x=alt.value(beside + 36), text="best:N")
        .properties(name=f"sf_best_{panel}"),
        _words("is best", x=beside + 36, row=-1, y=y, fill=muted, align="right"),
    ]
    if len(bars):
        lane = alt.expr(f"{beside + 62} + {LANE} * datum.lane")
        layers += [
            of_group.mark_rule(stroke=blue, strokeWidth=5, strokeCap="round", aria=False)
            .encode(
                x=alt.XValue(lane),
                y=alt.Y("first:Q", scale=scale, axis=None),
                y2="last:Q",
                tooltip=[alt.Tooltip("start:Q", format=".2f"), alt.Tooltip("end:Q", format=".2f")],
            )
            .properties(name=f"sf_bars_{panel}"),
            _words("not told apart", x=beside + 57, row=-1, y=y, fill=muted, align="left"),
        ]
    if not np.isnan(apart):
        layers += _ruler(apart, count=count, x=x, y=y, ink=ink, muted=muted)
    return alt.LayerChart(layer=layers).properties(
        width=width,
        height=round((last + 0.6) * ROW),
        title=alt.Title(
            f"{variant}: {blocks} {'block' if blocks == 1 else 'blocks'}", fontSize=12, offset=6, frame="bounds"
        ),
    )


def _ruler(apart: float, *, count: int, x: alt.X, y: alt.Y, ink: alt.ExprRef, muted: alt.ExprRef) -> list[alt.Chart]:
    """Returns the last row: a bar as long as the critical difference, or to the end of the axis with an arrow."""
    fits = apart <= count - 1
    base = alt.Chart(alt.InlineData(values=[{"row": count, "mean": 1, "to": min(1 + apart, count)}]))
    bar = base.mark_rule(stroke=ink, strokeWidth=1.5, aria=False, tooltip=None)
    end = base.mark_text(text="▶", fill=ink, fontSize=9, align="right", baseline="middle", aria=False, tooltip=None)
    tick = base.mark_tick(orient="vertical", color=ink, thickness=1.5, size=9, aria=False, tooltip=None)
    return [
        bar.encode(x=x, x2="to:Q", y=y),
        tick.encode(x=x, y=y),
        tick.encode(x="to:Q", y=y) if fits else end.encode(x="to:Q", y=y),
        _words(f"critical difference {apart:.2f}", x=-12, row=count, y=y, fill=muted, align="right"),
    ]


def _words(
    text: str, *, x: float, row: float, y: alt.Y, fill: alt.ExprRef, align: Literal["left", "right"]
) -> alt.Chart:
    return (
        alt.Chart(alt.InlineData(values=[{"row": row}]))
        .mark_text(text=text, fill=fill, fontSize=11, align=align, baseline="middle", aria=False, tooltip=None)
        .encode(x=alt.value(x), y=y)
    )


def _ticks(count: int) -> list[int]:
    """Returns the ranks that the axis names: all, or the first, round ones, and the last where there is room."""
    step = next((step for step in (1, 5, 10, 20, 50) if count <= 12 * step), 100)
    ticks = sorted({1, *range(step, count + 1, step)})
    return ticks if count - ticks[-1] < 0.4 * step else [*ticks, count]


def _in_words(ranks: pd.DataFrame, bars: pd.DataFrame, variant: str) -> str:
    rows = ranks[ranks["variant"] == variant]
    names = rows["csf"].tolist()
    order = ", ".join(f"{csf} {mean:.2f}" for csf, mean in zip(names, rows["mean"], strict=True))
    joined = [
        ", ".join(names[first : last + 1])
        for first, last in bars.loc[bars["variant"] == variant, ["first", "last"]].itertuples(index=False)
    ]
    apart = f" Not told apart: {'; '.join(joined)}." if joined else ""
    return f"{variant}, {int(rows['blocks'].iloc[0])} blocks, best first: {order}.{apart}"


def _percent(share: float) -> str:
    """Returns a chance in words that claim neither never nor always unless it is so."""
    if np.isnan(share):
        return "–"
    if 0 < share < 0.005 or 0.995 <= share < 1:
        return "< 1 %" if share < 0.5 else "> 99 %"
    return f"{share:.0%}".replace("%", " %")


def _within(rows: pd.DataFrame, column: str, low: float, high: float, *, optional: bool) -> None:
    values: Sequence[float] = rows[column].astype(float).tolist()
    for value in values:
        if not (low - 1e-9 <= value <= high + 1e-9 or (optional and np.isnan(value))):
            raise ValueError(f"The column {column} of the ranks must lie in [{low:g}, {high:g}]; found {value}.")
