"""The latent space as a flat scatter, with a brush that counts and lines of equal density: the view for print."""

from collections.abc import Mapping
from typing import Final

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from sfjax.views import inline, scatter, theme
from sfjax.views.palette import themed
from sfjax.views.tables import SOURCE, require

SHARES: Final = (0.5, 0.9)
"""The lines of density: around the densest regions that hold these shares of the images."""
GRID: Final = 56
INSIDE: Final = "(!isArray(sf_brush.u) || (inrange(datum.u, sf_brush.u) && inrange(datum.v, sf_brush.v)))"
"""Whether a point lies under the brush; all do, if there is none."""


def latent_2d(
    points: pd.DataFrame,
    images: Mapping[int, str] | None = None,
    *,
    density: bool = False,
    title: str = "Latent space",
    subtitle: str = "",
    size: int = 520,
    linked: bool = False,
) -> alt.LayerChart:
    """Returns a flat scatter of the embedded images, in the colors and shapes of `latent_3d`.

    A drag selects images (parameter `sf_brush`), and the legend counts what is right and wrong among them; a double
    click ends the selection.

    Args:
        points: A table as `sfjax.views.tables.check_points` wants it, with `u` and `v`.
        images: Data URIs by id, which hovering shows; may lack some. A page shows its own.
        density: Draw lines around the densest regions that hold 50 and 90 % of the source images (unbroken) and of the
            target images (dashed), whatever of them is shown.
        title: Above the chart.
        subtitle: Below the title, such as how the images were sampled.
        size: Pixels a side.
        linked: A page sets the parameters; else the chart has inputs of its own.

    Raises:
        ValueError: The table is not as it must be, or it has no `u` and `v`.
    """
    table = prepared(points, images)
    if linked:
        marked = "indexof(sf_marked, datum.id) >= 0"
        layers = flat_layers(table, "height", marked=marked, density=density, tooltip=False)
    else:
        pick = alt.selection_point(name="sf_pick", fields=["id"], on="click", clear="dblclick", empty=False)
        layers = flat_layers(table, size, marked=pick, density=density)
        at = next(i for i, layer in enumerate(layers) if layer.name == "sf_points")
        layers[at] = layers[at].add_params(pick)
    sets, _ = scatter.choices(table)
    return (
        alt.LayerChart(layer=layers)
        .add_params(*scatter.parameters(table, linked=linked))
        .properties(
            width=size,
            height=size,
            view=alt.ViewBackground(stroke=alt.expr(themed(lambda p: p.line))),
            datasets=inline.dataset(table, "sf_points"),
            description=f"{title}: {len(table)} images of {', '.join(sets)} in two dimensions; circles are correct "
            f"predictions and crosses failures. {subtitle}",
            **scatter.heading(title, subtitle, linked=linked),
        )
        .configure(**theme.config())
    )


def prepared(points: pd.DataFrame, images: Mapping[int, str] | None) -> pd.DataFrame:
    """Returns the checked points, in two dimensions, as `sfjax.views.scatter.prepared` does.

    Raises:
        ValueError: The table is not as it must be, or it has no `u` and `v`.
    """
    require("points", points, ["u", "v"])
    table = scatter.prepared(points, images)
    if not np.isfinite(table[["u", "v"]].to_numpy(dtype=float)).all():
        raise ValueError("The columns u and v of the points have values that are not finite. Leave those out.")
    return table


def flat_layers(
    table: pd.DataFrame,
    size: int | str,
    *,
    marked: str | alt.Parameter,
    density: bool = False,
    tooltip: bool = True,
    brush: bool = True,
) -> list[alt.Chart | alt.LayerChart]:
    """Returns the layers of the scatter, without its parameters.

    Args:
        table: What `prepared` returned.
        size: Pixels a side, or the expression of them where a page chooses.
        marked: Filter of the points that get a ring.
        density: Draw lines of equal density.
        tooltip: What hovering shows is made here, and not by a page.
        brush: Define `sf_brush`; else who composes the chart does, on the view `sf_pad`.
    """
    x, y = _axes(table)
    pad = (
        alt.Chart(alt.InlineData(values=[{"u": 0, "v": 0}]), name="sf_pad")
        .mark_point(opacity=0, aria=False, tooltip=None)
        .encode(x=x, y=y)
    )
    if brush:  # below the points, or its rectangle would take their clicks
        pad = pad.add_params(alt.selection_interval(name="sf_brush", encodings=["x", "y"], clear="dblclick"))
    base = alt.Chart(inline.reference(table, "sf_points")).transform_filter(scatter.SHOWN)
    marks = (
        base.mark_point(
            filled=True,
            clip=True,
            aria=False,
            size=alt.expr(f"sf_size * ({scatter.CORRECT} ? 1 : 1.7)"),
            opacity=1,
            stroke=None,
            fill=alt.expr(scatter.fill()),
            fillOpacity=alt.expr(f"sf_opacity * ({scatter.CONFIDENCE} < sf_threshold ? 0.08 : 1)"),
            shape=alt.expr(f"{scatter.CORRECT} ? 'circle' : 'cross'"),
            tooltip=alt.expr(scatter.tooltip(table)) if tooltip else {"content": "data"},
        )
        .encode(x=x, y=y)
        .properties(name="sf_points")
    )
    ring = scatter.ring(base, marked, x, y)
    lines = [_density(table, x, y), _key(size)] if density else []
    return [pad, *lines, marks, ring, scatter.legend(str(size)), _counts(inline.reference(table, "sf_points"), size)]


def _axes(table: pd.DataFrame) -> tuple[alt.X, alt.Y]:
    """Returns the channels: one unit is as long on both, and the view holds all points whatever is shown."""
    coordinates = table[["u", "v"]].to_numpy(dtype=float)
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    half = max(float((high - low).max()) * 0.53, 1e-3)
    (left, right), (bottom, top) = ([float(m - half), float(m + half)] for m in (low + high) / 2)
    across = alt.Scale(domain=[left, right], nice=False, zero=False)
    up = alt.Scale(domain=[bottom, top], nice=False, zero=False)
    # Axes of an embedding by neighborhoods mean nothing.
    return alt.X("u:Q", axis=None, scale=across), alt.Y("v:Q", axis=None, scale=up)


def _counts(data: alt.NamedData, size: int | str) -> alt.Chart:
    """Returns how many of the points under the brush are right and wrong, at the right of the legend."""
    # No filter: nothing would be left to say that there is none.
    where = "(isArray(sf_brush.u) ? 'selected' : 'shown')"
    words = (
        "['correct: ' + format(datum.right, ','), 'failures: ' + format(datum.all - datum.right, ','), "
        f"'of ' + format(datum.all, ',') + ' ' + {where}]"
    )
    return (
        alt.Chart(data)
        .transform_calculate(sf_in=f"{scatter.SHOWN} && {INSIDE} ? 1 : 0")
        .transform_calculate(sf_right=f"datum.sf_in * {scatter.CORRECT}")
        .transform_aggregate(right="sum(sf_right)", all="sum(sf_in)")
        .mark_text(
            align="right", baseline="top", fontSize=11, lineHeight=16, aria=False, tooltip=None,
            fill=alt.expr(themed(lambda p: p.ink)), text=alt.expr(words),
        )
        .encode(x=alt.XValue(alt.expr(f"{size}")), y=alt.YValue(alt.expr(f"{size} + 10")))
        .properties(name="sf_counts")
    )  # fmt: skip


def _density(table: pd.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    """Returns the lines of equal density of source and target, in the frame of all points."""
    parts = []
    for name, rows in table.groupby(table["kind"].eq(SOURCE).map({True: "source", False: "target"})):
        coordinates = rows[["u", "v"]].to_numpy(dtype=float)
        for share in SHARES:
            segments = density_lines(coordinates, share, dashed=name == "target")
            part = pd.DataFrame(segments.reshape(-1, 4), columns=["u", "v", "u2", "v2"]).round(3)
            parts.append(part.assign(of=name, share=share))
    lines = pd.concat(parts, ignore_index=True)
    csv = inline.dataset(lines, "lines")["lines"]
    data = alt.InlineData(values=csv, format=inline.reference(lines, "lines").format)
    return (
        alt.Chart(data)
        .mark_rule(
            aria=False,
            tooltip=None,
            clip=True,
            strokeCap="round",
            stroke=alt.expr(
                f"datum.of == 'source' ? {themed(lambda p: p.source)} : {themed(lambda p: p.target)}",
            ),
            strokeWidth=alt.expr(f"datum.share < {SHARES[-1]} ? 2 : 1"),
        )
        .encode(x=x, y=y, x2="u2:Q", y2="v2:Q")
        .properties(name="sf_density")
    )


def _key(size: int | str) -> alt.Chart:
    """Returns what the lines of density are, in words, inside the view at the bottom."""
    shares = " and ".join(f"{share:.0%}".replace("%", " %") for share in SHARES)
    return (
        alt.Chart(alt.InlineData(values=[{}]))
        .mark_text(
            text=f"Lines hold {shares} of source (unbroken) and target (dashed)",
            align="left", baseline="bottom", fontSize=10, aria=False, tooltip=None,
            fill=alt.expr(themed(lambda p: p.muted)),
        )
        .encode(x=alt.value(6), y=alt.YValue(alt.expr(f"{size} - 4")))
        .properties(name="sf_key")
    )  # fmt: skip


def density_lines(
    points: Float[np.ndarray, "n 2"], share: float, *, dashed: bool = False
) -> Float[np.ndarray, "s 2 2"]:
    """Returns the segments of the line around the smallest region that holds a share of the points.

    The density is a Gaussian kernel estimate on a grid, with the bandwidth of Scott's rule in each direction.

    Args:
        points: At least one.
        share: Above 0 and below 1.
        dashed: Leave out segments in every other cell of the grid.

    References:
        Hyndman, Computing and graphing highest density regions, The American Statistician 1996.
        Scott, Multivariate density estimation, 1992.
    """
    spread = points.std(axis=0)
    bandwidth = np.maximum(spread, max(float(spread.max()), 1.0) * 1e-3) * len(points) ** (-1 / 6)
    low, high = points.min(axis=0) - 3.5 * bandwidth, points.max(axis=0) + 3.5 * bandwidth
    counts = np.histogram2d(*points.T, bins=GRID, range=list(zip(low, high, strict=True)))[0]
    step = (high - low) / GRID
    density = gaussian_filter(counts, bandwidth / step, mode="constant")
    order = np.argsort(-density, axis=None)
    falling, held = density.ravel()[order], np.cumsum(counts.ravel()[order])
    last = int(np.searchsorted(held, share * len(points)))
    level = (falling[last] + falling[last + 1]) / 2  # at a value itself, the line would run through a corner
    segments = _contour(density, float(level))
    if dashed:
        segments = segments[np.floor(segments.mean(axis=1)).sum(axis=1) % 2 == 0]
    return low + (segments + 0.5) * step


def _contour(field: Float[np.ndarray, "h w"], level: float) -> Float[np.ndarray, "s 2 2"]:
    """Returns the segments where a field crosses a level, in units of its cells.

    Every square between four values is cut into two triangles: in a triangle a line has one way through.
    """
    h, w = field.shape
    i, j = (axis.ravel() for axis in np.meshgrid(np.arange(h - 1), np.arange(w - 1), indexing="ij"))
    corner = np.stack([i, j], axis=-1)
    lower, upper = np.array([[0, 0], [1, 0], [1, 1]]), np.array([[0, 0], [0, 1], [1, 1]])
    triangles = np.concatenate([corner[:, None, :] + lower, corner[:, None, :] + upper])
    values = field[triangles[..., 0], triangles[..., 1]]
    above = values >= level
    crossed = above.any(axis=1) & ~above.all(axis=1)
    triangles, values, above = triangles[crossed], values[crossed], above[crossed]
    # The vertex that is alone on its side of the line; the line cuts both of its edges.
    alone = np.where(above.sum(axis=1) == 1, above.argmax(axis=1), above.argmin(axis=1))
    rows = np.arange(len(triangles))
    tip, tip_value = triangles[rows, alone], values[rows, alone]
    ends = []
    for turn in (1, 2):
        other = (alone + turn) % 3
        part = (level - tip_value) / (values[rows, other] - tip_value)
        ends.append(tip + part[:, None] * (triangles[rows, other] - tip))
    return np.stack(ends, axis=1)
