"""A camera for three dimensions in plain Vega-Lite: parameters, the pad that a pointer drags, and the projection.

The pad is an invisible layer with scales of its own. A drag pans them and the wheel zooms them; their domains are read
back as angles and zoom. A double click resets, and sliders do the same from the keyboard.
"""

from typing import Final, NamedTuple

import altair as alt

AZIMUTH: Final = 35
ELEVATION: Final = 20
DISTANCE: Final = 4.0
"""From the eye to the origin, in radii of the cloud: how strong the perspective is."""
FILL: Final = 0.465
"""Pixels of one radius, as a share of the shorter side: a ball of one radius looks 1.033 times as large through the
perspective, and with markers it lies inside the view."""


class Projected(NamedTuple):
    """Expressions of a projected point: pixels from the top left, and the depth, higher is nearer."""

    x: str
    y: str
    depth: str


def parameters(*, linked: bool) -> list[alt.Parameter]:
    """Returns the angles (degrees), the zoom and what follows from them, once a frame and not once a point.

    Args:
        linked: A page sets them; else they come with sliders.
    """

    def slider(name: str, label: str, value: float, low: float, high: float, step: float) -> alt.Parameter:
        if linked:
            return alt.param(name=name, value=value)
        return alt.param(name=name, value=value, bind=alt.binding_range(min=low, max=high, step=step, name=label))

    def middle(axis: str) -> str:
        return f"(sf_rotate.{axis} ? (sf_rotate.{axis}[0] + sf_rotate.{axis}[1]) / 2 : 0)"

    zoom = "(sf_rotate.sf_a ? 360 / (sf_rotate.sf_a[1] - sf_rotate.sf_a[0]) : 1)"
    return [
        slider("sf_azimuth", "Azimuth ", AZIMUTH, -180, 180, 1),
        slider("sf_elevation", "Elevation ", ELEVATION, -90, 90, 1),
        slider("sf_zoom", "Zoom ", 1, 0.5, 4, 0.1),
        alt.param(name="sf_turn", expr=f"(sf_azimuth - {middle('sf_a')}) * PI / 180"),
        alt.param(name="sf_tilt", expr=f"clamp(sf_elevation + {middle('sf_e')}, -90, 90) * PI / 180"),
        alt.param(name="sf_ca", expr="cos(sf_turn)"),
        alt.param(name="sf_sa", expr="sin(sf_turn)"),
        alt.param(name="sf_ce", expr="cos(sf_tilt)"),
        alt.param(name="sf_se", expr="sin(sf_tilt)"),
        alt.param(name="sf_scale", expr=f"{FILL} * min(width, height) * sf_zoom * clamp({zoom}, 0.2, 12)"),
    ]


def pad() -> alt.Chart:
    """Returns the layer that a pointer drags, zooms with the wheel and resets with a double click."""
    rotate = alt.selection_interval(
        name="sf_rotate",
        bind="scales",
        encodings=["x", "y"],
        translate="[pointerdown, window:pointerup] > window:pointermove!{16}",
    )
    angle = alt.Scale(domain=[-180, 180], nice=False, zero=False)
    return (
        alt.Chart(alt.InlineData(values=[{"sf_a": 0, "sf_e": 0}]), name="sf_pad")
        .mark_point(opacity=0, aria=False, tooltip=None)
        .encode(x=alt.X("sf_a:Q", axis=None, scale=angle), y=alt.Y("sf_e:Q", axis=None, scale=angle))
        .add_params(rotate)
    )


def project(x: str, y: str, z: str) -> Projected:
    """Returns the projection of a point in a square view, as expressions.

    Turned about the vertical by the azimuth, tilted by the elevation, and seen from `DISTANCE` radii away.

    Args:
        x: Expression of a coordinate, in radii; so `y` and `z`. The third is up.
        y: As `x`.
        z: As `x`.
    """
    right = f"({x} * sf_ca - {y} * sf_sa)"
    away = f"({x} * sf_sa + {y} * sf_ca)"
    depth = f"({z} * sf_se - {away} * sf_ce)"
    up = f"({away} * sf_se + {z} * sf_ce)"
    scale = f"sf_scale / (1 - {depth} / {DISTANCE})"
    return Projected(f"width / 2 + {right} * {scale}", f"height / 2 - {up} * {scale}", depth)


def cube(stroke: alt.ExprRef, half: float = 0.577) -> alt.Chart:
    """Returns the edges of a cube, for orientation.

    Args:
        stroke: Color of the edges.
        half: Half a side, in radii; the default is the cube in the unit ball.
    """
    corners = [(x, y, z) for x in (-half, half) for y in (-half, half) for z in (-half, half)]
    edges = [
        {"x0": a[0], "y0": a[1], "z0": a[2], "x1": b[0], "y1": b[1], "z1": b[2]}
        for i, a in enumerate(corners)
        for b in corners[i + 1 :]
        if sum(p != q for p, q in zip(a, b, strict=True)) == 1
    ]
    start = project("datum.x0", "datum.y0", "datum.z0")
    end = project("datum.x1", "datum.y1", "datum.z1")
    return (
        alt.Chart(alt.InlineData(values=edges), name="sf_cube")
        .mark_rule(stroke=stroke, strokeWidth=1, clip=True, aria=False, tooltip=None)
        .encode(
            x=alt.XValue(alt.expr(start.x)),
            y=alt.YValue(alt.expr(start.y)),
            x2=alt.X2Value(alt.expr(end.x)),
            y2=alt.Y2Value(alt.expr(end.y)),
        )
    )
