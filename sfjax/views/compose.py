"""Several views as one specification, linked both ways: for notebooks, where no page does it."""

import re
from collections.abc import Mapping
from typing import Any, Final

import altair as alt
import pandas as pd

from sfjax.views import inline, scatter, theme
from sfjax.views.clusters import check_representatives, cluster_layers, representatives_table
from sfjax.views.gallery import KINDS, gallery_layers, orders
from sfjax.views.latent_2d import INSIDE, flat_layers, prepared
from sfjax.views.palette import themed

_CLUSTER: Final = ("test_set", "label", "cluster")
_CLICKED: Final = ["sf_points", "sf_cards", "sf_clusters"]
"""The views in which a click chooses an image and its cluster."""


def latent_dashboard(
    points: pd.DataFrame,
    images: Mapping[int, str] | None = None,
    *,
    density: bool = False,
    count: int = 4,
    title: str = "Latent space, its failures and its clusters",
    subtitle: str = "",
    size: int = 480,
    pixels: int = 84,
) -> alt.VConcatChart:
    """Returns the flat scatter beside the failure gallery, above the concept clusters, as one linked chart.

    A brush in the scatter ranks the gallery anew, among the images under it. A click on a point or on an image marks it
    and its cluster in all three; a double click ends that.

    Args:
        points: A table as `sfjax.views.tables.check_points` wants it, with `u`, `v`, and `cluster` and
            `representative` as `sfjax.views.clusters.representatives_table` wants them.
        images: Data URIs by id; may lack some.
        density: As in `latent_2d`.
        count: Images of a test set in the gallery.
        title: Above the chart.
        subtitle: Below the title, such as how the images were sampled.
        size: Pixels a side of the scatter.
        pixels: Of a side of an image.

    Raises:
        ValueError: The table is not as it must be.
    """
    representatives = check_representatives(representatives_table(points))
    table = prepared(points, images or {})
    pictures = table.set_index("id")["image"]
    representatives = representatives.assign(image=pictures.loc[representatives["id"]].to_numpy())
    sets, _ = scatter.choices(table)
    of_cluster = " && ".join(f"indexof(sf_cluster.{name} || [], datum.{name}) >= 0" for name in _CLUSTER)
    picked = "indexof(sf_pick.id || [], datum.id) >= 0"
    flat = flat_layers(table, size, marked=f"({picked}) || ({of_cluster})", density=density, brush=False)
    shown = alt.Chart(inline.reference(table, "sf_points")).transform_filter(scatter.SHOWN).transform_filter(INSIDE)
    totals = shown.transform_calculate(sf_right=scatter.CORRECT).transform_aggregate(
        right="sum(sf_right)", all="count()", groupby=["test_set"]
    )
    cards, width, height = gallery_layers(
        table, shown, totals, sets, count, columns=count, pixels=pixels, marked=picked
    )
    groups, across, down = cluster_layers(representatives, sets, columns=4, pixels=pixels, marked=of_cluster)
    border = alt.ViewBackground(stroke=alt.expr(themed(lambda p: p.line)))
    chart = alt.vconcat(
        alt.hconcat(
            alt.LayerChart(layer=flat, width=size, height=size, view=border),
            alt.LayerChart(layer=cards, width=width, height=height),
            spacing=30,
        ),
        alt.LayerChart(layer=groups, width=across, height=down),
        spacing=30,
    ).properties(
        datasets=inline.dataset(table, "sf_points") | inline.dataset(representatives, "sf_representatives"),
        description=f"{title}: {len(table)} images of {', '.join(sets)} in two dimensions, beside them the {count} "
        f"most confident failures of each test set, below them what each class looks like. {subtitle}",
        **scatter.heading(title, subtitle, linked=False),
    )
    own = [
        scatter.select("sf_kind", "Gallery of ", list(KINDS), linked=False),
        scatter.select("sf_by", "Ranked by ", orders(table), linked=False),
    ]
    # Altair gives a selection that is defined in a layer to all named layers: these say themselves where they are.
    names = _names(chart)
    clicked = [names[view] for view in _CLICKED]
    params = [
        *(param.param for param in [*scatter.parameters(table, linked=False), *own]),
        _selection("sf_brush", [names["sf_pad"]], type="interval", encodings=["x", "y"]),
        _selection("sf_pick", clicked, type="point", on="click", fields=["id"]),
        _selection("sf_cluster", clicked, type="point", on="click", fields=list(_CLUSTER)),
    ]
    return chart.properties(params=params).configure(**theme.config())


def _names(chart: Any) -> dict[str, str]:
    """Returns what the views of a composed chart are called there, by their own names: Altair numbers them."""
    names = {}
    for kind in ("vconcat", "hconcat", "layer"):
        for part in getattr(chart, kind, None) or []:
            if isinstance(name := getattr(part, "name", None), str):
                names[re.sub(r"_\d+$", "", name)] = name
            names |= _names(part)
    return names


def _selection(name: str, views: list[str], **select: Any) -> alt.TopLevelSelectionParameter:
    return alt.TopLevelSelectionParameter(name=name, select={**select, "clear": "dblclick"}, views=views)
