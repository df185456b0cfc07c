"""The latent space as a scatter in three dimensions: where the failures are, and how sure the classifier was."""

import json
from typing import Final

import altair as alt
import numpy as np
import pandas as pd

from sfjax.views import camera, inline, theme
from sfjax.views.palette import themed
from sfjax.views.tables import SOURCE, check_points, csf_names

COLORINGS: Final = ("confidence", "source / target", "class confusion")
ALL: Final = "all"
OUTCOMES: Final = (("correct", "circle"), ("failure", "cross"))


def latent_3d(
    points: pd.DataFrame,
    *,
    title: str = "Latent space",
    subtitle: str = "",
    size: int = 520,
    linked: bool = False,
) -> alt.LayerChart:
    """Returns a scatter of the embedded images: drag rotates, the wheel zooms, a double click resets.

    A circle is a correct prediction and a cross a failure. Color is confidence (blue where correct, orange where not),
    source against target, or how a class was confused; near points are more opaque and lie above far ones.

    Args:
        points: A table as `sfjax.views.tables.check_points` wants it.
        title: Above the chart.
        subtitle: Below the title, such as how the images were sampled.
        size: Pixels a side.
        linked: A page sets the parameters and the width; else the chart has inputs of its own.
    """
    table = check_points(points)
    sets, classes = _choices(table)
    scaled = in_radii(table)
    correct, confidence = "datum['correct_' + sf_csf]", "datum['confidence_' + sf_csf]"
    predicted = "datum['predicted_' + sf_csf]"
    at = camera.project("datum.x", "datum.y", "datum.z")

    shown = f"(sf_test_set == '{ALL}' || datum.test_set == sf_test_set || (sf_source && datum.kind == '{SOURCE}'))"
    # Far points fade, and points below the threshold nearly vanish.
    veil = f"sf_opacity * clamp(0.75 + 0.35 * {at.depth}, 0.15, 1) * ({confidence} < sf_threshold ? 0.08 : 1)"
    base = alt.Chart(inline.reference(scaled, "sf_points")).transform_filter(shown)
    marks = (
        base.transform_calculate(sf_depth=at.depth)
        .mark_point(
            filled=True,
            clip=True,
            aria=False,
            size=alt.expr(f"sf_size * pow(1.25, 2 * {at.depth}) * ({correct} ? 1 : 1.7)"),
            opacity=1,
            stroke=None,
            fill=alt.expr(_fill(correct, confidence, predicted, classes)),
            fillOpacity=alt.expr(veil),
            shape=alt.expr(f"{correct} ? 'circle' : 'cross'"),
            tooltip={"content": "data"} if linked else alt.expr(_tooltip(predicted, confidence)),
        )
        .encode(x=alt.XValue(alt.expr(at.x)), y=alt.YValue(alt.expr(at.y)), order=alt.Order("sf_depth:Q"))
        .properties(name="sf_points")
    )
    if linked:
        marked = "indexof(sf_marked, datum.id) >= 0"
        selection: list[alt.Parameter] = [alt.param(name="sf_marked", value=[])]
    else:
        pick = alt.selection_point(name="sf_pick", fields=["id"], on="click", clear="dblclick", empty=False)
        marks, marked, selection = marks.add_params(pick), pick, []
    ring = (
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
        .encode(x=alt.XValue(alt.expr(at.x)), y=alt.YValue(alt.expr(at.y)))
        .properties(name="sf_ring")
    )
    edges = camera.cube(alt.expr(themed(lambda p: p.line)))
    layers = [camera.pad(), edges, marks, ring, _legend()]
    parameters = [
        *_inputs(_floors(table), sets, classes, linked=linked),
        *camera.parameters(linked=linked),
        *selection,
        theme.dark_param(linked=linked),
    ]
    heading = {} if linked else {"title": alt.Title(title, subtitle=[subtitle] if subtitle else [])}
    return (
        alt.LayerChart(layer=layers)
        .resolve_scale(x="independent", y="independent")
        .add_params(*parameters)
        .properties(
            width="container" if linked else size,
            height=size,
            datasets=inline.dataset(scaled, "sf_points"),
            description=f"{title}: {len(table)} images of {', '.join(sets)} in three dimensions; circles are correct "
            f"predictions and crosses failures. {subtitle}",
            **heading,
        )
        .configure(**theme.config())
    )


def _floors(points: pd.DataFrame) -> dict[str, float]:
    """Returns the least confidence of every csf in the table, to one decimal below: where the color ramp begins."""
    return {csf: float(np.floor(points[f"confidence_{csf}"].min() * 10) / 10) for csf in csf_names(points)}


def _choices(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Returns the test sets, source first, and the classes, in order of appearance."""
    order = table["kind"].ne(SOURCE).astype(int)
    sets = table.assign(_order=order).sort_values("_order", kind="stable")["test_set"].unique().tolist()
    return sets, sorted(table["label"].unique().tolist())


def in_radii(points: pd.DataFrame) -> pd.DataFrame:
    """Returns the points with centered coordinates, nearly all of them in the unit ball, whatever is shown of them."""
    coordinates = points[["x", "y", "z"]].to_numpy(dtype=float)
    centered = coordinates - coordinates.mean(axis=0)
    # A few points may lie outside: one stray would shrink all others.
    radius = np.quantile(np.linalg.norm(centered, axis=1), 0.98)
    scaled = np.round(centered / (radius if radius > 0 else 1.0), 4)
    return points.assign(**dict(zip("xyz", scaled.T, strict=True)))


def _fill(correct: str, confidence: str, predicted: str, classes: list[str]) -> str:
    step = f"clamp(floor((({confidence}) - sf_floor) / (1 - sf_floor) * 9), 0, 8)"
    ramp = f"({correct} ? {themed(lambda p: p.correct)} : {themed(lambda p: p.failure)})[{step}]"
    domain = f"(datum.kind == '{SOURCE}' ? {themed(lambda p: p.source)} : {themed(lambda p: p.target)})"
    # Of the class and found, of it and missed, called it wrongly, neither.
    is_class, called = "datum.label == sf_class", f"{predicted} == sf_class"
    confusion = f"{themed(lambda p: p.confusion)}[{is_class} ? ({called} ? 0 : 1) : ({called} ? 2 : 3)]"
    confidence_name, domain_name, _ = COLORINGS
    return f"sf_color == '{confidence_name}' ? {ramp} : sf_color == '{domain_name}' ? {domain} : {confusion}"


def _tooltip(predicted: str, confidence: str) -> str:
    return (
        f"{{'label': datum.label, 'prediction': {predicted}, 'confidence': format({confidence}, '.3f'), "
        "'test set': datum.test_set, 'domain': datum.domain}"
    )


def _inputs(floors: dict[str, float], sets: list[str], classes: list[str], *, linked: bool) -> list[alt.Parameter]:
    """Returns what a person chooses, and where the ramp begins for the chosen csf."""

    def parameter(name: str, value: object, bind: alt.Binding) -> alt.Parameter:
        return alt.param(name=name, value=value) if linked else alt.param(name=name, value=value, bind=bind)

    def select(name: str, label: str, options: list[str]) -> alt.Parameter:
        return parameter(name, options[0], alt.binding_select(options=options, name=label))

    def slider(name: str, label: str, value: float, low: float, high: float, step: float) -> alt.Parameter:
        return parameter(name, value, alt.binding_range(min=low, max=high, step=step, name=label))

    return [
        select("sf_color", "Color ", list(COLORINGS)),
        select("sf_csf", "Confidence ", list(floors)),
        select("sf_test_set", "Test set ", [ALL, *sets]),
        parameter("sf_source", True, alt.binding_checkbox(name="Always with source ")),
        select("sf_class", "Class ", classes[::-1]),
        slider("sf_threshold", "Fade below ", 0, 0, 1, 0.01),
        slider("sf_size", "Marker size ", 36, 8, 160, 4),
        slider("sf_opacity", "Opacity ", 0.9, 0.1, 1, 0.05),
        alt.param(name="sf_floor", expr=f"{json.dumps(floors)}[sf_csf]"),
    ]


def _legend() -> alt.LayerChart:
    """Returns a legend below the view that follows the coloring."""
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
    fill = (
        f"datum.ramp == 'correct' ? {themed(lambda p: p.correct)}[datum.step] : "
        f"datum.ramp == 'failure' ? {themed(lambda p: p.failure)}[datum.step] : "
        f"datum.ramp == '{domain_name}' ? {themed(lambda p: (p.source, p.target))}[datum.step] : "
        f"{themed(lambda p: p.confusion)}[datum.step]"
    )
    y = "height + 16 + 16 * datum.row"
    base = alt.Chart(alt.InlineData(values=rows)).transform_filter("datum.mode == sf_color")
    swatches = base.mark_point(
        filled=True, size=70, opacity=1, aria=False, tooltip=None, fill=alt.expr(fill), shape=alt.expr("datum.shape")
    ).encode(x=alt.XValue(alt.expr("datum.px")), y=alt.YValue(alt.expr(y)))
    texts = base.mark_text(
        align="left", baseline="middle", dx=9, fontSize=11, aria=False, tooltip=None,
        fill=alt.expr(themed(lambda p: p.muted)), text=alt.expr("replace(datum.text, '%', sf_class)"),
    ).encode(x=alt.XValue(alt.expr("datum.px")), y=alt.YValue(alt.expr(y)))  # fmt: skip
    return alt.LayerChart(layer=[swatches.properties(name="sf_swatches"), texts.properties(name="sf_texts")])
