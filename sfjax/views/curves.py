"""Risk-coverage curves: how many failures are left when the least confident predictions are handed to a person."""

import json
from typing import Final

import altair as alt
import pandas as pd

from sfjax.views import inline, palette, theme
from sfjax.views.palette import themed
from sfjax.views.tables import SOURCE, check_curves, source_first

ALL: Final = "all"
MOST_TOLD_APART: Final = 12
"""Of more lines, a page shows the chosen one, and the others faintly behind it."""


def risk_coverage(
    curves: pd.DataFrame,
    *,
    title: str = "Selective risk against coverage",
    subtitle: str = "",
    columns: int = 3,
    width: int = 260,
    height: int = 200,
    linked: bool = False,
) -> alt.FacetChart:
    """Returns selective risk (share of accepted images that are failures, lower is better) against coverage.

    One panel a test set, source first; one line a csf, told apart by color and dashes, with its band. The legend
    isolates lines (shift-click adds one), and only isolated lines show their band where there are more than three. Of
    more than 12 csfs, one at a time (`sf_csf`) is drawn with its band before the others.

    Args:
        curves: A table as `sfjax.views.tables.check_curves` wants it.
        title: Above the chart.
        subtitle: Below the title, such as what the band is.
        columns: Panels side by side.
        width: Pixels of a panel.
        height: Pixels of a panel.
        linked: A page chooses the panels (`sf_panel`) and the emphasized csf (`sf_csf`); else the chart has inputs.
    """
    table = check_curves(curves)
    csfs = table["csf"].unique().tolist()
    sets = source_first(table)
    panel = f"sf_panel == '{ALL}' || datum.test_set == sf_panel || datum.kind == '{SOURCE}'"
    isolate = alt.selection_point(name="sf_isolate", fields=["csf"], bind="legend")
    many = len(csfs) > MOST_TOLD_APART
    parameters = [theme.choice("sf_panel", [ALL, *sets], "Test set", linked=linked)]
    if linked or many:
        parameters.append(theme.choice("sf_csf", csfs, "Score", linked=linked))
        strong = "datum.csf == sf_csf"
        others = alt.value(0.15 if many else 0.9)
        line_opacity = alt.condition(strong, alt.value(0.9), others)
        width_of_line = alt.condition(strong, alt.value(3), alt.value(1.25))
        band_opacity = alt.condition(strong, alt.value(0.18), alt.value(0))
    else:
        line_opacity, width_of_line = alt.condition(isolate, alt.value(1), alt.value(0.12)), alt.value(1.75)
        # Many bands on top of each other say nothing.
        band_opacity = alt.condition(isolate, alt.value(0.16), alt.value(0), empty=len(csfs) <= 3)

    legend = alt.Legend(
        orient="bottom", columns=min(len(csfs), 8), symbolType="stroke", symbolStrokeWidth=2.5, symbolSize=500,
        symbolOpacity=1, symbolLimit=len(csfs),
    )  # fmt: skip
    if many:
        legend = None  # the title, or the page, names the chosen one
    color = alt.Color(
        "csf:N",
        title=None,
        scale=alt.Scale(domain=csfs, range=[alt.expr(_line_color(i)) for i in range(len(csfs))]),
        legend=legend,
    )
    dashes = [list(palette.DASHES[i % len(palette.DASHES)]) for i in range(len(csfs))]
    dash = alt.StrokeDash("csf:N", title=None, scale=alt.Scale(domain=csfs, range=dashes), legend=legend)
    top = float(table["selective_risk"].max())
    x = alt.X("coverage:Q", title="coverage", scale=alt.Scale(domain=[0, 1], nice=False), axis=alt.Axis(format=".0%"))
    risk = alt.Scale(domain=[0, min(1.0, _above(top))], nice=False, clamp=True)
    y = alt.Y("selective_risk:Q", title="selective risk", scale=risk, axis=alt.Axis(format=".0%", tickCount=5))
    base = alt.Chart()
    band = (
        base.mark_area(aria=False, tooltip=None, clip=True)
        .encode(
            x=x, y=alt.Y("low:Q", scale=risk, title="selective risk"), y2="high:Q", color=color, opacity=band_opacity
        )
        .properties(name="sf_band")
    )
    lines = (
        base.mark_line(aria=False, clip=True, interpolate="linear", tooltip=True)
        .encode(
            x=x,
            y=y,
            color=color,
            strokeDash=dash,
            opacity=line_opacity,
            strokeWidth=width_of_line,
            tooltip=[
                alt.Tooltip("csf:N", title="csf"),
                alt.Tooltip("test_set:N", title="test set"),
                alt.Tooltip("coverage:Q", format=".1%"),
                alt.Tooltip("selective_risk:Q", title="selective risk", format=".2%"),
            ],
        )
        .properties(name="sf_lines")
    )
    lines = lines if linked or many else lines.add_params(isolate)
    text = alt.expr(f"{json.dumps(f'{title}: ')} + sf_csf") if many else title
    said = f"Thin: the other {len(csfs) - 1} scores." if many else ""
    heading = {} if linked else {"title": alt.Title(text, subtitle=[line for line in (said, subtitle) if line])}
    return (
        alt.layer(band, lines, data=inline.reference(table, "sf_curves"))
        .properties(width=width, height=height)
        .facet(facet=alt.Facet("test_set:N", title=None, sort=sets), columns=columns)
        .transform_filter(panel)
        .add_params(*parameters, theme.dark_param(linked=linked))
        .properties(
            datasets=inline.dataset(table, "sf_curves"),
            autosize=theme.resized(),
            description=f"{title} of {', '.join(csfs)} on {', '.join(sets)}. Lower is better. {subtitle}",
            **heading,
        )
        .configure(**theme.config())
    )


def _line_color(line: int) -> str:
    """Returns the expression of the color of a line; colors come again where there are more lines."""
    return themed(lambda p: p.curves[line % len(p.curves)])


def _above(value: float) -> float:
    """Returns a round number a little above `value`, so that panels share an axis that does not jump."""
    steps = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
    return next((step for step in steps if step >= value * 1.05), 1.0)
