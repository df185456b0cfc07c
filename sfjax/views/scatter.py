"""What the scatters of the latent space share, in two dimensions and in three: colors, inputs, tooltips and the legend.

What is drawn of a point follows the chosen csf: circle and blue where it was right, cross and orange where it was not.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Final

import altair as alt
import numpy as np
import pandas as pd

from sfjax.views import theme
from sfjax.views.palette import themed
from sfjax.views.tables import SOURCE, check_points, csf_names

COLORINGS: Final = ("confidence", "source / target", "class confusion")
ALL: Final = "all"
OUTCOMES: Final = (("correct", "circle"), ("failure", "cross"))
CORRECT: Final = "datum['correct_' + sf_csf]"
CONFIDENCE: Final = "datum['confidence_' + sf_csf]"
PREDICTED: Final = "datum['predicted_' + sf_csf]"
SMOOTH_POINTS: Final = 20_000
"""Above this a redraw takes longer than a tenth of a second."""

SHOWN: Final = (
    f"(sf_test_set == '{ALL}' || datum.test_set == sf_test_set || (sf_source && datum.kind == '{SOURCE}'))"
    " && (!length(sf_test_sets) || indexof(sf_test_sets, datum.test_set) >= 0)"
    " && (!length(sf_classes) || indexof(sf_classes, datum.label) >= 0)"
)
"""Whether a point is of the chosen test sets and classes; an empty list chooses all."""


def prepared(points: pd.DataFrame, images: Mapping[int, str] | None) -> pd.DataFrame:
    """Returns the checked points; with images, in the column `image`, which is empty where there is none.

    Args:
        points: A table as `sfjax.views.tables.check_points` wants it.
        images: Data URIs by id; None leaves the column out.
    """
    table = check_points(points)
    if len(table) > SMOOTH_POINTS:
        warnings.warn(
            f"{len(table)} points are drawn, and above {SMOOTH_POINTS} every redraw is slow. Sample them.",
            UserWarning,
            stacklevel=3,
        )
    return table if images is None else table.assign(image=[images.get(key, "") for key in table["id"].tolist()])


def choices(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Returns the test sets, source first and else in order of appearance, and the classes by name."""
    order = table["kind"].ne(SOURCE).astype(int)
    sets = table.assign(_order=order).sort_values("_order", kind="stable")["test_set"].unique().tolist()
    return sets, sorted(table["label"].unique().tolist())


def fill() -> str:
    """Returns the expression of a point's color under the chosen coloring."""
    step = f"clamp(floor((({CONFIDENCE}) - sf_floor) / (1 - sf_floor) * 9), 0, 8)"
    ramp = f"({CORRECT} ? {themed(lambda p: p.correct)} : {themed(lambda p: p.failure)})[{step}]"
    domain = f"(datum.kind == '{SOURCE}' ? {themed(lambda p: p.source)} : {themed(lambda p: p.target)})"
    # Of the class and found, of it and missed, called it wrongly, neither.
    is_class, called = "datum.label == sf_class", f"{PREDICTED} == sf_class"
    confusion = f"{themed(lambda p: p.confusion)}[{is_class} ? ({called} ? 0 : 1) : ({called} ? 2 : 3)]"
    confidence_name, domain_name, _ = COLORINGS
    return f"sf_color == '{confidence_name}' ? {ramp} : sf_color == '{domain_name}' ? {domain} : {confusion}"


def tooltip(table: pd.DataFrame) -> str:
    """Returns the expression of what hovering shows; the name `image` makes the tooltip draw it."""
    image = "'image': datum.image, " if "image" in table.columns else ""
    return (
        f"{{{image}'label': datum.label, 'prediction': {PREDICTED}, 'confidence': format({CONFIDENCE}, '.3f'), "
        "'test set': datum.test_set, 'domain': datum.domain}"
    )


def inputs(table: pd.DataFrame, *, linked: bool) -> list[alt.Parameter]:
    """Returns what a person chooses, and where the ramp begins for the chosen csf.

    Args:
        table: The checked points.
        linked: A page sets them: `sf_test_sets` and `sf_classes` are lists of names then, empty for all.
    """
    sets, classes = choices(table)
    # To one decimal below the least confidence; above 0.9 the ramp would have no length.
    floors = {csf: min(float(np.floor(table[f"confidence_{csf}"].min() * 10) / 10), 0.9) for csf in csf_names(table)}

    def slider(name: str, label: str, value: float, low: float, high: float, step: float) -> alt.Parameter:
        if linked:
            return alt.param(name=name, value=value)
        return alt.param(name=name, value=value, bind=alt.binding_range(min=low, max=high, step=step, name=label))

    return [
        select("sf_color", "Color ", COLORINGS, linked=linked),
        select("sf_csf", "Confidence ", list(floors), linked=linked),
        alt.param(name="sf_test_set", value=ALL),
        alt.param(name="sf_source", value=True),
        *_filters(sets, classes, linked=linked),
        select("sf_class", "Class ", classes[::-1], linked=linked),
        slider("sf_threshold", "Fade below ", 0, 0, 1, 0.01),
        slider("sf_size", "Marker size ", 36 if linked or len(table) <= 1000 else 20, 8, 160, 4),
        slider("sf_opacity", "Opacity ", 0.9, 0.1, 1, 0.05),
        alt.param(name="sf_floor", expr=f"{json.dumps(floors)}[sf_csf]"),
    ]


def _filters(sets: list[str], classes: list[str], *, linked: bool) -> list[alt.Parameter]:
    """Returns the chosen test sets and classes: lists that a page sets, or a check box a set and a drop-down."""
    if linked:
        return [alt.param(name=name, value=[]) for name in ("sf_test_sets", "sf_classes")]
    boxes = [
        alt.param(name=f"sf_set_{i}", value=True, bind=alt.binding_checkbox(name=f"Show {name} "))
        for i, name in enumerate(sets)
    ]
    chosen = ", ".join(f"sf_set_{i} ? {json.dumps(name)} : null" for i, name in enumerate(sets))
    return [
        *boxes,
        alt.param(name="sf_test_sets", expr=f"[{chosen}]"),
        select("sf_only", "Show class ", [ALL, *classes], linked=False),
        alt.param(name="sf_classes", expr=f"sf_only == '{ALL}' ? [] : [sf_only]"),
    ]


def select(
    name: str,
    label: str,
    options: Sequence[object],
    *,
    linked: bool,
    value: object = None,
    labels: Sequence[str] | None = None,
) -> alt.Parameter:
    """Returns a parameter with a drop-down, or without one where a page sets it.

    Args:
        name: Of the parameter.
        label: Beside the drop-down.
        options: Its values.
        linked: A page sets it.
        value: The one at first; the first one by default.
        labels: What the drop-down calls them.
    """
    value = options[0] if value is None else value
    if linked:
        return alt.param(name=name, value=value)
    names = alt.Undefined if labels is None else list(labels)
    return alt.param(
        name=name,
        value=value,
        bind=alt.BindRadioSelect(input="select", options=list(options), name=label, labels=names),
    )


def heading(title: str, subtitle: str, *, linked: bool) -> dict[str, alt.Title]:
    """Returns the title of a chart; a page has its own."""
    return {} if linked else {"title": alt.Title(title, subtitle=[subtitle] if subtitle else [], offset=12)}


def legend(bottom: str = "height") -> alt.LayerChart:
    """Returns a legend below the view that follows the coloring.

    Args:
        bottom: Expression of the height of the view, in pixels.
    """
    confidence_name, domain_name, confusion_name = COLORINGS
    rows = []
    for row, (name, shape) in enumerate(OUTCOMES):
        for step in range(9):
            entry = {"mode": confidence_name, "px": 12 + 9 * step, "row": row, "shape": "square", "text": ""}
            rows.append({**entry, "ramp": name, "step": step})
        rows.append({"mode": confidence_name, "px": 104, "row": row, "shape": shape, "ramp": name, "step": 8,
                     "text": f"{name}, low to high confidence"})  # fmt: skip
    named = {
        domain_name: ("source (like the training images)", "target (shifted)"),
        confusion_name: ("%, found", "%, missed", "wrongly called %", "neither"),
    }
    for mode, texts in named.items():
        rows += [
            {"mode": mode, "px": 12, "row": row, "shape": "square", "ramp": mode, "step": row, "text": text}
            for row, text in enumerate(texts)
        ]
    color = (
        f"datum.ramp == 'correct' ? {themed(lambda p: p.correct)}[datum.step] : "
        f"datum.ramp == 'failure' ? {themed(lambda p: p.failure)}[datum.step] : "
        f"datum.ramp == '{domain_name}' ? {themed(lambda p: (p.source, p.target))}[datum.step] : "
        f"{themed(lambda p: p.confusion)}[datum.step]"
    )
    y = f"{bottom} + 16 + 16 * datum.row"
    base = alt.Chart(alt.InlineData(values=rows)).transform_filter("datum.mode == sf_color")
    swatches = base.mark_point(
        filled=True, size=70, opacity=1, aria=False, tooltip=None, fill=alt.expr(color), shape=alt.expr("datum.shape")
    ).encode(x=alt.XValue(alt.expr("datum.px")), y=alt.YValue(alt.expr(y)))
    texts = base.mark_text(
        align="left", baseline="middle", dx=9, fontSize=11, aria=False, tooltip=None,
        fill=alt.expr(themed(lambda p: p.muted)), text=alt.expr("replace(datum.text, '%', sf_class)"),
    ).encode(x=alt.XValue(alt.expr("datum.px")), y=alt.YValue(alt.expr(y)))  # fmt: skip
    # The longest legend has room whichever is shown: a page gives a chart its size once.
    last = f"{bottom} + 16 + 16 * {len(named[confusion_name]) - 1}"
    room = (
        alt.Chart(alt.InlineData(values=[{}]))
        .mark_point(size=70, opacity=0, aria=False, tooltip=None)
        .encode(x=alt.value(12), y=alt.YValue(alt.expr(last)))
    )
    layers = [swatches.properties(name="sf_swatches"), texts.properties(name="sf_texts")]
    return alt.LayerChart(layer=[*layers, room.properties(name="sf_room")])


def parameters(table: pd.DataFrame, *, linked: bool) -> list[alt.Parameter]:
    """Returns the parameters that both scatters have."""
    marked = [alt.param(name="sf_marked", value=[])] if linked else []
    return [*inputs(table, linked=linked), *marked, theme.dark_param(linked=linked)]


def ring(base: alt.Chart, marked: str | alt.Parameter, x: alt.X | alt.XValue, y: alt.Y | alt.YValue) -> alt.Chart:
    """Returns the layer that rings what is marked.

    Args:
        base: The points that are shown.
        marked: Expression or selection of those that are marked.
        x: Where they lie.
        y: As `x`.
    """
    return (
        base.transform_filter(marked)
        .mark_point(
            filled=False,
            opacity=1,
            size=260,
            strokeWidth=2.5,
            clip=True,
            aria=False,
            tooltip=None,
            shape="circle",
            stroke=alt.expr(themed(lambda p: p.accent)),
        )
        .encode(x=x, y=y)
        .properties(name="sf_ring")
    )
