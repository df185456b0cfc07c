"""Concept clusters: what a class looks like in each domain, by nine images that each stand for their likes."""

import json
from collections.abc import Mapping
from typing import Final

import altair as alt
import numpy as np
import pandas as pd

from sfjax.views import inline, scatter, theme
from sfjax.views.cards import Card, card_layers, heading_layer
from sfjax.views.palette import themed
from sfjax.views.tables import check_points, csf_names, require

REPRESENTATIVES: Final = ("id", "test_set", "kind", "label", "cluster", "n")
SIDE: Final = 3
"""Nine clusters of a class and test set, in a square."""
HEAD: Final = 22
"""Pixels of the heading of a panel."""
BETWEEN: Final = 22
"""Pixels between panels."""


def concept_clusters(
    representatives: pd.DataFrame,
    images: Mapping[int, str] | None = None,
    *,
    csf: str | None = None,
    label: str | None = None,
    title: str = "Concept clusters",
    subtitle: str = "",
    columns: int = 3,
    pixels: int = 76,
    linked: bool = False,
) -> alt.LayerChart:
    """Returns nine images of a class in every test set, each the nearest to the center of a cluster.

    Below each are the size of the cluster and the share of it that is right.
    A frame is blue with a circle where at least half of the cluster is right, orange with a cross where less is.

    Args:
        representatives: A table as `check_representatives` wants it; `representatives_table` makes it of points.
        images: Data URIs by id; of those that are missing the card says so.
        csf: Of whose predictions the accuracy is; the first one by default.
        label: The class; the last by name at first.
        title: Above the chart.
        subtitle: Below the title.
        columns: Test sets side by side.
        pixels: Of a side of an image.
        linked: A page sets the parameters; else the chart has inputs of its own.

    Raises:
        ValueError: The table is not as it must be, or there is no such csf or class.
    """
    table = check_representatives(representatives)
    table = table.assign(image=[(images or {}).get(key, "") for key in table["id"].tolist()])
    sets, classes = scatter.choices(table)
    csfs = _csfs(table)
    for what, value, known in (("csf", csf, csfs), ("class", label, classes)):
        if value not in (None, *known):
            raise ValueError(
                f"The clusters have no {what} {value!r}; there is {', '.join(known)}. Choose one of these."
            )

    # A card that was clicked is framed; in a page, one that holds a marked image.
    marked = (
        "indexof(sf_marked, datum.id) >= 0" if linked else "(isArray(sf_pick.id) && indexof(sf_pick.id, datum.id) >= 0)"
    )
    layers, width, height = cluster_layers(table, sets, columns=columns, pixels=pixels, marked=marked)
    if linked:
        parameters = [alt.param(name="sf_marked", value=[])]
    else:
        parameters = []
        pick = alt.selection_point(name="sf_pick", fields=["id"], on="click", clear="dblclick", empty=False)
        layers = [layer.add_params(pick) if layer.name == "sf_clusters" else layer for layer in layers]
    return (
        alt.LayerChart(layer=layers)
        .add_params(
            scatter.select("sf_csf", "Accuracy of ", csfs, value=csf, linked=linked),
            scatter.select("sf_class", "Class ", classes[::-1], value=label, linked=linked),
            *parameters,
            theme.dark_param(linked=linked),
        )
        .properties(
            width=width,
            height=height,
            datasets=inline.dataset(table, "sf_representatives"),
            description=f"{title}: the images nearest the centers of up to nine clusters of a class on "
            f"{', '.join(sets)}, each with the size of its cluster and the share of it that is right. {subtitle}",
            **scatter.heading(title, subtitle, linked=linked),
        )
        .configure(**theme.config())
    )


def cluster_layers(
    table: pd.DataFrame, sets: list[str], *, columns: int, pixels: int, marked: str
) -> tuple[list[alt.Chart], int, int]:
    """Returns the layers of the clusters, their width and height, without their parameters.

    Args:
        table: The checked representatives, with `image`.
        sets: Names of the test sets, in order.
        columns: Test sets side by side.
        pixels: Of a side of an image.
        marked: Expression of whether a card is the chosen one.
    """
    columns = min(columns, len(sets))
    accuracy = "datum['accuracy_' + sf_csf]"
    caption = f"['n = ' + format(datum.n, ','), format({accuracy}, '.0%') + ' right']"
    card = Card("datum.sf_x", "datum.sf_y", f"({accuracy} >= 0.5)", caption, 2, pixels, marked)
    across, down = SIDE * card.width + BETWEEN, HEAD + SIDE * card.height + 8
    place = json.dumps({name: i for i, name in enumerate(sets)})
    base = (
        alt.Chart(inline.reference(table, "sf_representatives"))
        .transform_filter("datum.label == sf_class")
        .transform_calculate(sf_set=f"({place})[datum.test_set]")
        .transform_calculate(
            sf_x=f"(datum.sf_set % {columns}) * {across} + (datum.cluster % {SIDE}) * {card.width}",
            sf_y=f"floor(datum.sf_set / {columns}) * {down} + {HEAD} + floor(datum.cluster / {SIDE}) * {card.height}",
        )
    )
    names = alt.Chart(alt.InlineData(values=[{"test_set": name, "at": i} for i, name in enumerate(sets)]))
    x, y = f"(datum.at % {columns}) * {across}", f"floor(datum.at / {columns}) * {down}"
    without = names.transform_filter(
        f"indexof({json.dumps(_without(table, sets))}, datum.test_set + '\\0' + sf_class) >= 0"
    )
    layers = [
        heading_layer(names, text="datum.test_set + ': ' + sf_class", x=x, y=y, name="sf_cluster_sets"),
        *card_layers(base, card, "sf_clusters"),
    ]
    if _without(table, sets):
        none = without.mark_text(
            text="no images of this class", align="left", baseline="top", fontSize=11, aria=False, tooltip=None,
            fill=alt.expr(themed(lambda p: p.muted)),
        ).encode(x=alt.XValue(alt.expr(x)), y=alt.YValue(alt.expr(f"{y} + {HEAD}")))  # fmt: skip
        layers.append(none.properties(name="sf_cluster_none"))
    return layers, columns * across - BETWEEN, -(-len(sets) // columns) * down


def representatives_table(points: pd.DataFrame) -> pd.DataFrame:
    """Returns the representatives of points whose clusters are known, as `concept_clusters` wants them.

    Args:
        points: A table as `sfjax.views.tables.check_points` wants it, with `cluster` (within test set and label) and
            `representative` (0 or 1); further, if there, `weight`, how many images a point stands for.

    Raises:
        ValueError: A column is missing, or a cluster has not exactly one representative.
    """
    require("points", points, ["cluster", "representative"])
    table = check_points(points)
    weight = table["weight"] if "weight" in table.columns else 1.0
    right = {f"accuracy_{csf}": table[f"correct_{csf}"] * weight for csf in csf_names(table)}
    sums = table.assign(n=1, _weight=weight, **right).groupby(["test_set", "label", "cluster"], sort=False)
    found = sums[["n", "_weight", *right]].sum().reset_index()
    for name in right:
        found[name] = found[name] / found["_weight"]
    chosen = table.loc[table["representative"] == 1, ["id", "test_set", "kind", "label", "cluster"]]
    if len(chosen) != len(found) or chosen.duplicated(["test_set", "label", "cluster"]).any():
        raise ValueError(
            f"Every cluster has one representative; {len(found)} clusters have {len(chosen)}. "
            "Cluster the points of every test set and label by sfjax.latent.representatives."
        )
    merged = chosen.merge(found.drop(columns="_weight"), on=["test_set", "label", "cluster"], validate="one_to_one")
    return merged.sort_values(["test_set", "label", "cluster"], kind="stable").reset_index(drop=True)


def check_representatives(representatives: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of representatives as the view reads it.

    Args:
        representatives: Columns `REPRESENTATIVES`, a row a cluster: the image that stands for it, its number from 0 to
            8 within test set and label, and its size; further `accuracy_<csf>`, the share of it that is right.

    Raises:
        ValueError: A column is missing or holds what it must not.
    """
    require("representatives", representatives, REPRESENTATIVES)
    csfs = _csfs(representatives)
    if not len(representatives) or not csfs:
        raise ValueError("The table of representatives has no row, or no column accuracy_<csf>. Give at least one.")
    if representatives["id"].duplicated().any() or representatives.duplicated(["test_set", "label", "cluster"]).any():
        raise ValueError("Every cluster of a test set and label stands once in the representatives, by its own id.")
    if not representatives["cluster"].isin(range(SIDE**2)).all():
        found = sorted(set(representatives["cluster"]) - set(range(SIDE**2)))
        raise ValueError(f"Clusters are numbered from 0 to {SIDE**2 - 1}; found {found[0]}. Make at most {SIDE**2}.")
    for csf in csfs:
        shares = representatives[f"accuracy_{csf}"].to_numpy(dtype=float)
        if not ((shares >= 0) & (shares <= 1)).all():
            bad = shares[~((shares >= 0) & (shares <= 1))][0]
            raise ValueError(f"The column accuracy_{csf} of the representatives must lie in [0, 1]; found {bad}.")
    columns = [*REPRESENTATIVES, *(f"accuracy_{csf}" for csf in csfs)]
    table = representatives[columns].reset_index(drop=True)
    return table.assign(**{f"accuracy_{csf}": np.round(table[f"accuracy_{csf}"], 4) for csf in csfs})


def _csfs(table: pd.DataFrame) -> list[str]:
    return [name.removeprefix("accuracy_") for name in table.columns if name.startswith("accuracy_")]


def _without(table: pd.DataFrame, sets: list[str]) -> list[str]:
    """Returns the pairs of test set and class that have no image."""
    there = set(zip(table["test_set"], table["label"]))
    return [f"{name}\0{label}" for label in sorted(set(table["label"])) for name in sets if (name, label) not in there]
