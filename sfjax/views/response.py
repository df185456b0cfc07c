"""Response curves: how metrics of every csf move while one cause, or the strength of one corruption, is turned up."""

import json
import textwrap
from typing import Any, Final

import altair as alt
import numpy as np
import pandas as pd

from sfjax.views import inline, palette, theme
from sfjax.views.palette import themed
from sfjax.views.results import METRICS, Metric
from sfjax.views.tables import check_responses

SHAPES: Final = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "triangle-down",
    "cross",
    "triangle-right",
    "triangle-left",
)
STEPS: Final = (1, 2, 2.5, 3, 4, 5, 6, 8, 10)
"""First digits of the ends of axes."""


def shift_response(
    responses: pd.DataFrame,
    *,
    title: str = "What each dial does",
    subtitle: str = "",
    columns: int | None = None,
    width: int = 200,
    height: int = 140,
    linked: bool = False,
) -> alt.ConcatChart:
    """Returns metrics against the dial of each cause: one panel a cause and metric, one line a csf.

    Lines are told apart by color, dashes and the shape of their points. The axis of a metric is the same in all panels.
    The band is the interval of the first csf; the legend isolates lines (shift-click adds one), which then show theirs.

    Args:
        responses: A table as `sfjax.views.tables.check_responses` wants it.
        title: Above the chart.
        subtitle: Below the title, such as what the band is; it is broken into lines.
        columns: Panels side by side; as many as there are metrics where there are several, else up to 3.
        width: Pixels of a panel.
        height: Pixels of a panel.
        linked: The chart stands in a page that has a heading and sets the theme; else it has both itself.

    Raises:
        ValueError: The table holds what it must not.
    """
    table = check_responses(responses)
    csfs, metrics = table["csf"].unique().tolist(), table["metric"].unique().tolist()
    pairs = [(cause, metric) for cause in table["cause"].unique() for metric in metrics]
    pairs = [pair for pair in pairs if (table["cause"].eq(pair[0]) & table["metric"].eq(pair[1])).any()]
    shown = {metric: METRICS.get(metric, Metric(metric, metric, 1, 2, True)) for metric in metrics}
    place = {pair: i for i, pair in enumerate(pairs)}
    scale = table["metric"].map(lambda metric: float(shown[metric].scale))
    table = table.assign(
        panel=[place[pair] for pair in zip(table["cause"], table["metric"], strict=True)],
        **{name: (table[name] * scale).round(3) for name in ("value", "low", "high")},
    )
    isolate = alt.selection_point(name="sf_isolate", fields=["csf"])
    domains = {metric: axis_domain(table["value"][table["metric"] == metric], shown[metric]) for metric in metrics}
    panels = [
        _panel(table, i, cause, shown[metric], domains[metric], csfs, isolate, width=width, height=height)
        for i, (cause, metric) in enumerate(pairs)
    ]
    side_by_side = columns or (len(metrics) if len(metrics) > 1 else min(len(pairs), 3))
    characters = 22 + min(len(panels), side_by_side) * (width + 60) // 7
    heading = {} if linked else {"title": alt.Title(title, subtitle=textwrap.wrap(subtitle, characters), offset=14)}
    # Added to a layer, the selection would be made once a layer, under one name: it is stated for the lines alone.
    selection = alt.TopLevelSelectionParameter(
        name="sf_isolate",
        select={"type": "point", "fields": ["csf"]},
        bind="legend",
        views=[f"sf_lines_{panel}" for panel in range(len(panels))],
    )
    return (
        alt.concat(*panels, columns=side_by_side, spacing={"row": 26, "column": 22}, params=[selection])
        .add_params(theme.dark_param(linked=linked))
        .properties(
            datasets=inline.dataset(table, "sf_responses"),
            description=f"{title}. {_in_words(table, shown, csfs[0])} {subtitle}",
            **heading,
        )
        .configure(**theme.config())
    )


def axis_domain(values: pd.Series, metric: Metric) -> tuple[float, float]:
    """Returns the ends of a metric's axis, in its shown unit, such that panels share an axis with round ends.

    Args:
        values: All that are drawn, in the shown unit.
        metric: A share of which higher is better ends at 100; any other begins at 0, or at a round number below it.
    """
    finite = values[np.isfinite(values)]
    lowest, highest = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if metric.scale == 100 and not metric.lower_is_better:
        return max(0.0, 10.0 * np.floor(min(lowest, 90.0) / 10.0)), 100.0
    least = 0.0 if lowest >= 0 else -_round_above(-lowest)
    return least, min(_round_above(highest), 1.0 * metric.scale) if metric.scale > 1 else _round_above(highest)


def _round_above(value: float) -> float:
    """Returns the least number of `STEPS`, times a power of ten, that is not below `value`."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(round(next(step for step in STEPS if step * power >= value * (1 - 1e-9)) * power, 9))


def _panel(
    table: pd.DataFrame,
    panel: int,
    cause: str,
    metric: Metric,
    domain: tuple[float, float],
    csfs: list[str],
    isolate: alt.Parameter,
    *,
    width: int,
    height: int,
) -> alt.LayerChart:
    """Returns the curves of one cause and metric."""
    rows = table[table["panel"] == panel]
    unit, dials = str(rows["unit"].iloc[0]), rows["dial"]
    colors = [alt.expr(_line_color(i)) for i in range(len(csfs))]
    dashes = [list(palette.DASHES[i % len(palette.DASHES)]) for i in range(len(csfs))]
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(csfs))]
    legend = alt.Legend(orient="bottom", columns=min(len(csfs), 8), symbolSize=80, symbolOpacity=1)
    color = alt.Color("csf:N", title=None, scale=alt.Scale(domain=csfs, range=colors), legend=legend)
    dash = alt.StrokeDash("csf:N", title=None, scale=alt.Scale(domain=csfs, range=dashes), legend=None)
    shape = alt.Shape("csf:N", title=None, scale=alt.Scale(domain=csfs, range=shapes), legend=legend)
    x = alt.X(
        "dial:Q",
        title=unit,
        scale=alt.Scale(domain=[float(dials.min()), float(dials.max())], nice=False, zero=False),
        axis=alt.Axis(tickCount=5),
    )
    scale = alt.Scale(domain=list(domain), nice=False, zero=False, clamp=True)
    y = alt.Y("value:Q", title=metric.short, scale=scale, axis=alt.Axis(tickCount=5))
    base = alt.Chart(inline.reference(table, "sf_responses")).transform_filter(f"datum.panel == {panel}")

    def band(name: str, some: alt.Chart, opacity: Any) -> alt.Chart:
        area = some.mark_area(aria=False, tooltip=None, clip=True)
        ends = {"y": alt.Y("low:Q", scale=scale, title=metric.short), "y2": "high:Q"}
        return area.encode(x=x, color=color, opacity=opacity, **ends).properties(name=f"sf_{name}_{panel}")

    strong = alt.condition(isolate, alt.value(1), alt.value(0.12))
    first = base.transform_filter(f"datum.csf == {json.dumps(csfs[0])}")
    lines = base.mark_line(aria=False, clip=True, strokeWidth=1.75).encode(
        x=x, y=y, color=color, strokeDash=dash, opacity=strong
    )
    tooltip = [
        alt.Tooltip("csf:N"),
        alt.Tooltip("dial:Q", title=unit, format=".3~g"),
        alt.Tooltip("value:Q", title=metric.short, format=f".{metric.digits}f"),
        alt.Tooltip("low:Q", title="from", format=f".{metric.digits}f"),
        alt.Tooltip("high:Q", title="to", format=f".{metric.digits}f"),
    ]
    points = base.mark_point(aria=False, size=26, filled=True, opacity=1).encode(
        x=x, y=y, shape=shape, color=color, fillOpacity=strong, strokeOpacity=strong, tooltip=tooltip
    )
    layers = [
        band("first_band", first, alt.value(0.14)),
        band("band", base, alt.condition(isolate, alt.value(0.16), alt.value(0), empty=False)),
        lines.properties(name=f"sf_lines_{panel}"),
        points.properties(name=f"sf_points_{panel}"),
    ]
    heading = alt.Title(cause, fontSize=12, offset=6)
    return alt.LayerChart(layer=layers).properties(width=width, height=height, title=heading)


def _in_words(table: pd.DataFrame, shown: dict[str, Metric], csf: str) -> str:
    """Returns what the first csf's metrics are at both ends of each dial."""
    sentences = []
    for (cause, metric), rows in table[table["csf"] == csf].groupby(["cause", "metric"], sort=False):
        ordered, about = rows.sort_values("dial"), shown[str(metric)]
        first, last = (
            f"{ordered[column].iloc[place]:.{about.digits}f}" for column, place in (("value", 0), ("value", -1))
        )
        sentences.append(f"{cause}: {about.short} of {csf} from {first} to {last}.")
    return " ".join(sentences)


def _line_color(line: int) -> str:
    """Returns the expression of the color of a line; colors come again where there are more lines."""
    return themed(lambda p: p.curves[line % len(p.curves)])
