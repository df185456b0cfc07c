"""Working points: a threshold chosen on the source, and what becomes of it on every test set."""

import json
import textwrap
from typing import Final

import altair as alt
import numpy as np
import pandas as pd

from sfjax.views import inline, theme
from sfjax.views.curves import ALL, _above  # pyright: ignore[reportPrivateUsage]
from sfjax.views.palette import themed
from sfjax.views.tables import CURVES, SOURCE, _within, require, source_first  # pyright: ignore[reportPrivateUsage]

RULES: Final = ("risk", "upper bound", "coverage")
"""What is chosen: the largest coverage whose risk on the source, or the upper end of its interval, is at most a target;
or a coverage."""
STATES: Final = ("kept", "above", "broken", "none accepted", "no threshold")
MOST_ROWS: Final = 24
"""Of more pairs of a test set and a csf, those of one csf are shown first."""
ROW: Final = 20
"""Pixels of a row."""
SLACK: Final = 1e-6
"""Risks and coverages are compared with this slack."""


def operating_point(
    curves: pd.DataFrame,
    *,
    rule: str = "risk",
    target: float | None = None,
    coverage: float = 0.8,
    title: str = "What a threshold that is chosen on the source does elsewhere",
    subtitle: str = "",
    width: int = 150,
    linked: bool = False,
) -> alt.HConcatChart:
    """Returns what one threshold a csf keeps, risks and misses on every test set; sliders choose the threshold.

    A row a test set and csf: the share of images that are accepted; the risk among those with its interval, and whether
    it is at most the target (`kept`, a circle), above it as chance may explain (`above`, a triangle), or surely above
    it (`broken`, a cross: the whole interval is); and the failures that are accepted. By coverage, the target is the
    risk on the source. A target met on the source's own images is no guarantee: those are made by
    `sfjax.metrics.guarantees`, on other images.

    Args:
        curves: A table as `check_operating` wants it. Where it has no `point`, the same share of the images of every
            test set is accepted, as if each had its own threshold.
        rule: One of `RULES`, at first (`sf_rule`).
        target: The risk that is aimed at (`sf_target`); if left out, half of the first csf's risk without a threshold.
        coverage: The share of the source that is accepted (`sf_coverage`).
        title: Above the chart.
        subtitle: Below the title; it is broken into lines.
        width: Pixels of a column.
        linked: A page sets `sf_rule`, `sf_target`, `sf_coverage`, and what is shown: `sf_csf` and `sf_panel`, either
            of which may be `all`; else the chart has inputs.

    Raises:
        ValueError: The table holds what it must not, or there is no such rule.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}; got {rule!r}.")
    table = check_operating(curves)
    csfs, sets = table["csf"].unique().tolist(), source_first(table)
    of_source = table[table["test_set"] == sets[0]]
    whole = float(of_source.loc[of_source["csf"] == csfs[0], "failure_rate"].iloc[0])
    target = float(f"{whole / 2:.1g}") if target is None else target
    top = min(1.0, _above(float(np.nanmax(table["selective_risk"]))))
    names = [*csfs, ALL] if len(csfs) * len(sets) > MOST_ROWS else [ALL, *csfs]
    shared = "" if "point" in curves.columns else "The same share of every test set is accepted."
    said = (
        "Circle, kept: the risk is at most the target (the upright line), as it is on the source, where the threshold "
        "was chosen. Triangle, above, as chance may explain. Cross, broken: the whole interval is above."
    )
    characters = 40 + 3 * width // 6
    lines = [line for text in (said, shared, subtitle) if text for line in textwrap.wrap(text, characters)]
    heading = {} if linked else {"title": alt.Title(title, subtitle=lines, offset=12)}
    return (
        alt.hconcat(*_columns(table, top, width), spacing=14)
        .add_params(
            *_choices(rule, target, coverage, top=top, linked=linked),
            theme.choice("sf_csf", names, "Score", linked=linked),
            theme.choice("sf_panel", [ALL, *sets], "Test set", linked=linked),
            theme.dark_param(linked=linked),
        )
        .properties(
            datasets=inline.dataset(table.drop(columns="kind"), "sf_operating"),
            autosize=theme.resized(),
            description=f"{title}; {', '.join(csfs)} on {', '.join(sets)}. {' '.join(lines)}",
            **heading,
        )
        .configure(**theme.config())
    )


def check_operating(curves: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of working points as the view reads it: with what each does on the source.

    Added are `row`, which orders and names the rows; `source_coverage`, `source_risk` and `source_high`;
    `failure_rate`, the risk without a threshold; `missed`, the accepted failures as a share of all images, and
    `missed_share`, of all failures; and as point 0 a threshold that accepts nothing.

    Args:
        curves: Columns `sfjax.views.tables.CURVES`, and `point`, which numbers the thresholds of a csf from 1 by rising
            coverage of the source, the same on all test sets; the last one accepts all images. Without `point`, that is
            the place in the order of coverage. The risk and the ends of its interval may be NaN where nothing is
            accepted. It may have `accepted`, how many images are.

    Raises:
        ValueError: A column is missing or holds what it must not, or no test set is the source.
    """
    require("curves", curves, CURVES)
    columns = [*CURVES, *(name for name in ("point", "threshold", "accepted") if name in curves.columns)]
    table = curves[columns].sort_values("coverage", kind="stable", ignore_index=True)
    pair = ["csf", "test_set"]
    if "point" not in table.columns:
        table["point"] = table.groupby(pair, sort=False).cumcount() + 1
    _within("curves", table, "coverage", 0.0, 1.0)
    for column in ("selective_risk", "low", "high"):
        _within("curves", table[table["coverage"] > 0], column, 0.0, 1.0)
    if not (table["kind"] == SOURCE).any():
        raise ValueError(f"Thresholds are chosen on a test set of kind {SOURCE}, and the curves have none. Add it.")
    if table.duplicated([*pair, "point"]).any() or (table["point"] < 1).any():
        raise ValueError("The points of a csf and test set are numbered from 1, each once. Number them.")
    table = table.sort_values("point", kind="stable")
    last = table.groupby(pair, sort=False)[["coverage", "selective_risk"]].last()
    if (last["coverage"] < 1 - SLACK).any():
        csf, name = last.index[int(last["coverage"].argmin())]
        raise ValueError(
            f"The last point of a curve accepts all images; that of {csf} on {name} accepts "
            f"{last['coverage'].min():g}. Give the whole curve."
        )
    sets, csfs = source_first(curves), list(dict.fromkeys(curves["csf"]))
    source = table.loc[table["test_set"] == sets[0], ["csf", "point", "coverage", "selective_risk", "high"]]
    names = {"coverage": "source_coverage", "selective_risk": "source_risk", "high": "source_high"}
    table = table.merge(source.rename(columns=names), how="left", on=["csf", "point"])
    if table["source_coverage"].isna().any():
        csf = table.loc[table["source_coverage"].isna(), "csf"].iloc[0]
        raise ValueError(f"Each point is one threshold on all test sets; {csf} has points that {sets[0]} lacks.")
    table = table.merge(last["selective_risk"].rename("failure_rate"), left_on=pair, right_index=True)
    missed = table["coverage"] * table["selective_risk"].fillna(0)
    table["missed"], table["missed_share"] = missed, missed / table["failure_rate"].where(table["failure_rate"] > 0)
    nothing = table.drop_duplicates(pair).assign(
        point=0, coverage=0.0, selective_risk=np.nan, low=np.nan, high=np.nan, source_coverage=0.0,
        source_risk=np.nan, source_high=np.nan, missed=0.0, missed_share=lambda t: 0 * t["missed_share"],
    )  # fmt: skip
    blank = {name: value for name, value in (("threshold", np.inf), ("accepted", 0)) if name in columns}
    nothing = nothing.assign(**blank)
    table = pd.concat([nothing, table], ignore_index=True)
    number = table["test_set"].map(sets.index) * len(csfs) + table["csf"].map(csfs.index)
    table["row"] = [
        f"{i:05d}\t{name}\t{csf}" for i, name, csf in zip(number, table["test_set"], table["csf"], strict=True)
    ]
    table = table.sort_values(["row", "point"], kind="stable", ignore_index=True)
    floats = [name for name in table.columns if table[name].dtype.kind == "f"]
    return table.round(dict.fromkeys(floats, 5))


def _choices(rule: str, target: float, coverage: float, *, top: float, linked: bool) -> list[alt.Parameter]:
    """Returns the parameters that choose a threshold."""
    inputs = {
        "sf_rule": alt.binding_radio(
            options=list(RULES),
            labels=["risk at most", "upper end of the risk at most", "share of the source"],
            name="Choose by ",
        ),
        "sf_target": alt.binding_range(min=0, max=top, step=0.005, name="Target risk "),
        "sf_coverage": alt.binding_range(min=0, max=1, step=0.02, name="Accepted share of the source "),
    }
    values = {"sf_rule": rule, "sf_target": target, "sf_coverage": coverage}
    return [theme.setting(name, values[name], bind, linked=linked) for name, bind in inputs.items()]


def _columns(table: pd.DataFrame, top: float, width: int) -> list[alt.LayerChart]:
    """Returns accepted images, risk, verdict and accepted failures, side by side."""
    ink, muted, correct, failure = (
        alt.expr(themed(color))
        for color in (lambda p: p.ink, lambda p: p.muted, lambda p: p.correct[3], lambda p: p.failure[3])
    )
    state_color = alt.expr(
        f"datum.state == 'kept' ? {themed(lambda p: p.correct[-1])} : datum.state == 'above' ? "
        f"{themed(lambda p: p.failure[3])} : {themed(lambda p: p.failure[-1])}"
    )
    shape = alt.expr("datum.state == 'kept' ? 'circle' : datum.state == 'above' ? 'triangle-up' : 'cross'")
    base = _chosen(table)
    label = "split(datum.label, '\\t')"
    names = f"sf_csf != '{ALL}' ? {label}[1] : sf_panel != '{ALL}' ? {label}[2] : {label}[1] + ' · ' + {label}[2]"
    named = alt.Axis(labelExpr=names, labelLimit=320, labelOverlap=False, domain=False, ticks=False)
    bare = alt.Axis(labels=False, domain=False, ticks=False)
    tooltip = [
        alt.Tooltip("test_set:N", title="test set"),
        alt.Tooltip("csf:N"),
        alt.Tooltip("state:N"),
        alt.Tooltip("aim:Q", title="target", format=".2%"),
        *([alt.Tooltip("threshold:Q", format=".4~g")] if "threshold" in table.columns else []),
        alt.Tooltip("coverage:Q", title="accepted", format=".1%"),
        alt.Tooltip("selective_risk:Q", title="risk among these", format=".2%"),
        alt.Tooltip("low:Q", title="from", format=".2%"),
        alt.Tooltip("high:Q", title="to", format=".2%"),
        alt.Tooltip("missed:Q", title="accepted failures, of images", format=".2%"),
        alt.Tooltip("missed_share:Q", title="accepted failures, of failures", format=".1%"),
    ]

    def column(axis: alt.Axis, title: str, *layers: alt.Chart, pixels: int = width) -> alt.LayerChart:
        y = alt.Y("row:N", title=None, sort="ascending", axis=axis)
        placed = [layer.encode(y=y) for layer in layers]
        heading = alt.Title(title, fontSize=12, fontWeight="normal", offset=4, frame="group")
        return alt.LayerChart(layer=placed).properties(width=pixels, height=alt.Step(ROW), title=heading)

    def bars(field: str, name: str, color: alt.ExprRef, words: str) -> tuple[alt.Chart, alt.Chart]:
        scale = alt.Scale(domain=[0, 1], nice=False)
        x = alt.X(f"{field}:Q", title=None, scale=scale, axis=alt.Axis(format=".0%", tickCount=3, grid=False))
        bar = base.mark_bar(fill=color, height=11, aria=False).encode(x=x, tooltip=tooltip)
        text = base.transform_calculate(words=words).mark_text(
            fill=ink, align="left", fontSize=11, baseline="middle", aria=False, tooltip=None
        )
        text = text.encode(x=alt.value(width + 8), text="words:N")
        return bar.properties(name=f"sf_{name}"), text.properties(name=f"sf_{name}_words")

    risk = alt.Scale(domain=[0, top], nice=False, clamp=True)
    axis = alt.Axis(format=".0%" if top >= 0.05 else ".1%", tickCount=3, grid=False)
    x = alt.X("selective_risk:Q", title=None, scale=risk, axis=axis)
    known = base.transform_filter("isValid(datum.selective_risk)")
    aim = base.mark_tick(color=ink, orient="vertical", thickness=1.5, height=ROW, aria=False, tooltip=None).encode(
        x=alt.X("aim:Q", title=None, scale=risk, axis=axis)
    )
    interval = known.mark_rule(stroke=muted, strokeWidth=1.5, aria=False, tooltip=None).encode(
        x=alt.X("low:Q", title=None, scale=risk, axis=axis), x2="high:Q"
    )
    points = known.mark_point(
        filled=True, fill=state_color, fillOpacity=1, strokeOpacity=0, size=75, aria=False
    ).encode(x=x, shape=alt.ShapeValue(shape), tooltip=tooltip)
    risky = "isValid(datum.selective_risk) ? ' ' + format(datum.selective_risk, '.1%') : ''"
    # On its own images a threshold keeps what it was chosen to keep.
    source = json.dumps(table.loc[table["kind"] == SOURCE, "test_set"].iloc[0])
    chosen = f"datum.test_set == {source} && datum.state == 'kept' ? 'chosen here,' : datum.state"
    said = f"({chosen}) + ({risky})"
    states = base.transform_calculate(words=said).mark_text(
        fill=ink, align="left", fontSize=11, baseline="middle", aria=False, tooltip=None,
        fontWeight=alt.expr("datum.state == 'broken' ? 'bold' : 'normal'"),
    )  # fmt: skip
    states = states.encode(x=alt.value(width + 8), text="words:N").properties(name="sf_states")
    number = " + ' (' + format(datum.accepted, ',') + ')'" if "accepted" in table.columns else ""
    accepted = bars("coverage", "accepted", correct, f"format(datum.coverage, '.0%'){number}")
    of_failures = "isValid(datum.missed_share) ? format(datum.missed_share, '.0%') : 'no failure'"
    missed = bars("missed_share", "missed", failure, f"({of_failures}) + '; ' + format(datum.missed, '.1%')")
    return [
        column(named, "accepted (images)" if number else "accepted", *accepted),
        column(
            bare,
            "risk among the accepted",
            aim.properties(name="sf_aims"),
            interval.properties(name="sf_intervals"),
            points.properties(name="sf_risks"),
            states,
        ),
        column(bare, "accepted, of failures; of images", *missed),
    ]


def _chosen(table: pd.DataFrame) -> alt.Chart:
    """Returns the rows of the chosen thresholds: of those that the rule allows, each csf's that accepts most."""
    allowed = (
        f"sf_rule == 'coverage' ? datum.source_coverage <= sf_coverage + {SLACK} : "
        f"sf_rule == 'risk' ? datum.source_risk <= sf_target + {SLACK} : datum.source_high <= sf_target + {SLACK}"
    )
    state = (
        "datum.point == 0 ? 'no threshold' : !isValid(datum.selective_risk) ? 'none accepted' : "
        f"datum.selective_risk <= datum.aim + {SLACK} ? 'kept' : datum.low > datum.aim ? 'broken' : 'above'"
    )
    return (
        alt.Chart(inline.reference(table.drop(columns="kind"), "sf_operating"))
        .transform_filter(
            f"(sf_csf == '{ALL}' || datum.csf == sf_csf) && (sf_panel == '{ALL}' || datum.test_set == sf_panel)"
        )
        .transform_calculate(allowed=f"datum.point > 0 && ({allowed}) ? datum.point : 0")
        .transform_joinaggregate(chosen="max(allowed)", groupby=["csf", "test_set"])
        .transform_filter("datum.point == datum.chosen")
        .transform_calculate(aim="sf_rule == 'coverage' ? datum.source_risk : sf_target")
        .transform_calculate(state=state)
    )
