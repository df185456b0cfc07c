"""The latent space as a scatter in three dimensions: where the failures are, and how sure the classifier was."""

from collections.abc import Mapping
from typing import Final

import altair as alt
import numpy as np
import pandas as pd

from sfjax.views import camera, inline, scatter, theme
from sfjax.views.palette import themed

FARTHEST: Final = 2.0
"""Points this many times as far from the center as 98 % of them are inside the view."""


def latent_3d(
    points: pd.DataFrame,
    images: Mapping[int, str] | None = None,
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
        images: Data URIs by id, which hovering shows; may lack some. A page shows its own.
        title: Above the chart.
        subtitle: Below the title, such as how the images were sampled.
        size: Pixels a side.
        linked: A page sets the parameters and the width; else the chart has inputs of its own.
    """
    table = scatter.prepared(points, images)
    sets, _ = scatter.choices(table)
    scaled = in_radii(table)
    at = camera.project("datum.x", "datum.y", "datum.z")
    # Far points fade, and points below the threshold nearly vanish.
    veil = f"sf_opacity * clamp(0.75 + 0.35 * {at.depth}, 0.15, 1) * ({scatter.CONFIDENCE} < sf_threshold ? 0.08 : 1)"
    base = alt.Chart(inline.reference(scaled, "sf_points")).transform_filter(scatter.SHOWN)
    marks = (
        base.transform_calculate(sf_depth=at.depth)
        .mark_point(
            filled=True,
            clip=True,
            aria=False,
            size=alt.expr(f"sf_size * pow(1.25, 2 * {at.depth}) * ({scatter.CORRECT} ? 1 : 1.7)"),
            opacity=1,
            stroke=None,
            fill=alt.expr(scatter.fill()),
            fillOpacity=alt.expr(veil),
            shape=alt.expr(f"{scatter.CORRECT} ? 'circle' : 'cross'"),
            tooltip={"content": "data"} if linked else alt.expr(scatter.tooltip(table)),
        )
        .encode(x=alt.XValue(alt.expr(at.x)), y=alt.YValue(alt.expr(at.y)), order=alt.Order("sf_depth:Q"))
        .properties(name="sf_points")
    )
    if linked:
        marked = "indexof(sf_marked, datum.id) >= 0"
    else:
        pick = alt.selection_point(name="sf_pick", fields=["id"], on="click", clear="dblclick", empty=False)
        marks, marked = marks.add_params(pick), pick
    ring = scatter.ring(base, marked, alt.XValue(alt.expr(at.x)), alt.YValue(alt.expr(at.y)))
    edges = camera.cube(alt.expr(themed(lambda p: p.line)))
    return (
        alt.LayerChart(layer=[camera.pad(), edges, marks, ring, scatter.legend()])
        .resolve_scale(x="independent", y="independent")
        .add_params(*camera.parameters(linked=linked), *scatter.parameters(table, linked=linked))
        .properties(
            width="container" if linked else size,
            height=size,
            datasets=inline.dataset(scaled, "sf_points"),
            description=f"{title}: {len(table)} images of {', '.join(sets)} in three dimensions; circles are correct "
            f"predictions and crosses failures. {subtitle}",
            **scatter.heading(title, subtitle, linked=linked),
        )
        .configure(**theme.config())
    )


def in_radii(points: pd.DataFrame) -> pd.DataFrame:
    """Returns the points with centered coordinates, in the unit ball, whatever is shown of them."""
    coordinates = points[["x", "y", "z"]].to_numpy(dtype=float)
    centered = coordinates - coordinates.mean(axis=0)
    distance = np.linalg.norm(centered, axis=1)
    # A far stray may lie outside: it would shrink all others to a dot.
    radius = min(distance.max(), FARTHEST * np.quantile(distance, 0.98))
    scaled = np.round(centered / (radius if radius > 0 else 1.0), 4)
    return points.assign(**dict(zip("xyz", scaled.T, strict=True)))
