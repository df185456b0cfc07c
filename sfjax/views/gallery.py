"""The images that matter most: failures of which a score was sure, and successes of which it was not."""

import json
from collections.abc import Mapping
from typing import Final, Literal

import altair as alt
import pandas as pd

from sfjax.views import inline, scatter, theme
from sfjax.views.cards import Card, card_layers, heading_layer, share_text
from sfjax.views.tables import csf_names

By = Literal["confidence", "cost"]
Kind = Literal["failures", "successes"]
KINDS: Final[dict[Kind, str]] = {"failures": "Most confident failures", "successes": "Least confident successes"}
COSTLIEST: Final = "Costliest failures"
HEAD: Final = 22
"""Pixels of the heading of a test set."""
COST: Final = "datum['cost_' + sf_csf]"
MOST: Final = 24
"""Images of a test set, at most: more are no choice, and slow."""


def failure_gallery(
    points: pd.DataFrame,
    images: Mapping[int, str] | None = None,
    *,
    count: int = 2,
    csf: str | None = None,
    by: By | None = None,
    kind: Kind = "failures",
    title: str | None = None,
    subtitle: str = "",
    columns: int = 6,
    pixels: int = 96,
    linked: bool = False,
) -> alt.LayerChart:
    """Returns of each test set the failures of which a csf was surest, or the successes of which it was least sure.

    Args:
        points: A table as `sfjax.views.tables.check_points` wants it; further, if known, `rank_<csf>` (1 is the
            surest), which tells apart what rounding does not, and `cost_<csf>`, what the prediction costs.
        images: Data URIs by id; of those that are missing the card says so.
        count: How many of each test set.
        csf: The score; the first one by default.
        by: What failures are ranked by, `cost` with the confidence where costs are equal; by default by cost where
            the table has it.
        kind: `failures` or `successes`; successes are ranked by confidence.
        title: Above the chart.
        subtitle: Below the title.
        columns: Cards side by side.
        pixels: Of a side of an image.
        linked: A page sets the parameters; else the chart has inputs of its own.

    Raises:
        ValueError: The table is not as it must be, there is no such csf or cost, or the count is none of 1 to 24.
    """
    table = scatter.prepared(points, images or {})
    csf, by = _checked(table, count, csf, by, kind)
    sets, _ = scatter.choices(table)
    keep = pd.concat([failure_table(table, count=MOST, csf=one, by=order, kind=what)["id"]
                      for one in csf_names(table) for order in orders(table) for what in KINDS])  # fmt: skip
    totals = [{"test_set": name, "csf": one, "all": len(rows), "right": int(rows[f"correct_{one}"].sum())}
              for name, rows in table.groupby("test_set") for one in csf_names(table)]  # fmt: skip
    of_csf = alt.Chart(alt.InlineData(values=totals)).transform_filter("datum.csf == sf_csf")
    table = table[table["id"].isin(keep)] if len(keep) else table.iloc[:1]
    base = alt.Chart(inline.reference(table, "sf_points"))
    layers, width, height = gallery_layers(table, base, of_csf, sets, count, columns=columns, pixels=pixels)

    parameters = [
        scatter.select("sf_csf", "Confidence ", csf_names(table), value=csf, linked=linked),
        scatter.select("sf_kind", "Show ", list(KINDS), value=kind, linked=linked),
        scatter.select("sf_by", "Ranked by ", orders(table), value=by, linked=linked),
    ]
    # Without a title of its own the chart says what is chosen.
    head = scatter.heading(title or KINDS[kind], subtitle, linked=linked)
    if title is None and head:
        costly = f"sf_by == 'cost' && sf_kind == 'failures' ? '{COSTLIEST}' : ({json.dumps(KINDS)})[sf_kind]"
        head["title"].text = alt.expr(f"({costly}) + ', ' + sf_csf")
    title = title or (COSTLIEST if (by, kind) == ("cost", "failures") else KINDS[kind])
    return (
        alt.LayerChart(layer=layers)
        .add_params(*parameters, theme.dark_param(linked=linked))
        .properties(
            width=width,
            height=height,
            datasets=inline.dataset(table, "sf_points"),
            description=f"{title} of {csf} on {', '.join(sets)}, {count} of each, by {by}. {subtitle}",
            **head,
        )
        .configure(**theme.config())
    )


def gallery_layers(
    table: pd.DataFrame,
    base: alt.Chart,
    totals: alt.Chart,
    sets: list[str],
    count: int,
    *,
    columns: int,
    pixels: int,
    marked: str = "false",
) -> tuple[list[alt.Chart], int, int]:
    """Returns the layers of the gallery, its width and its height, without its parameters.

    Args:
        table: The points, with `image`.
        base: A chart of those points that are ranked.
        totals: A chart of a row a test set: how many of it are `right`, and how many there are in `all`.
        sets: Names of the test sets, from the top.
        count: How many of each.
        columns: Cards side by side.
        pixels: Of a side of an image.
        marked: Expression of whether a card is the chosen one.
    """
    columns = min(columns, count)
    place = json.dumps({name: i for i, name in enumerate(sets)})
    rows = -(-count // columns)
    parts = [
        "'true: ' + datum.label",
        f"'called: ' + {scatter.PREDICTED}",
        f"'conf. ' + {share_text(scatter.CONFIDENCE)}",
    ]
    costs = "cost" in orders(table)
    if costs:
        parts.append(f"'cost ' + format({COST}, '.3~g')")
    card = Card("datum.sf_x", "datum.sf_y", scatter.CORRECT, f"[{', '.join(parts)}]", len(parts), pixels, marked)
    block = HEAD + rows * card.height + 6
    top = f"{block} * ({place})[datum.test_set]"
    ranked = (
        base.transform_filter(f"{scatter.CORRECT} == (sf_kind == 'failures' ? 0 : 1)")
        .transform_calculate(
            sf_cost=f"sf_by == 'cost' && sf_kind == 'failures' ? -{COST} : 0" if costs else "0",
            sf_order=_order(table),
        )
        .transform_window(
            [alt.WindowFieldDef.from_dict({"op": "row_number", "as": "sf_rank"})],
            sort=[alt.SortField("sf_cost"), alt.SortField("sf_order"), alt.SortField("id")],
            groupby=["test_set"],
        )
        .transform_filter(f"datum.sf_rank <= {count}")
        .transform_calculate(
            sf_x=f"((datum.sf_rank - 1) % {columns}) * {card.width}",
            sf_y=f"{top} + {HEAD} + floor((datum.sf_rank - 1) / {columns}) * {card.height}",
        )
    )
    number = "(sf_kind == 'failures' ? datum.all - datum.right : datum.right)"
    heading = f"datum.test_set + ': ' + sf_kind + ' ' + format({number}, ',') + ' of ' + format(datum.all, ',')"
    layers = [
        heading_layer(totals, text=heading, x="0", y=f"{top} + 2", name="sf_gallery_sets"),
        *card_layers(ranked, card, "sf_cards"),
    ]
    return layers, max(columns * card.width, 260), block * len(sets)


def failure_table(
    points: pd.DataFrame,
    *,
    count: int = 2,
    csf: str | None = None,
    by: By | None = None,
    kind: Kind = "failures",
) -> pd.DataFrame:
    """Returns what `failure_gallery` shows, as a table: the same images in the same order.

    Args:
        points: As there.
        count: How many of each test set.
        csf: The score; the first one by default.
        by: What failures are ranked by; by default as there.
        kind: `failures` or `successes`.

    Raises:
        ValueError: As there.
    """
    table = scatter.check_points(points)
    csf, by = _checked(table, count, csf, by, kind)
    chosen = table[table[f"correct_{csf}"] == (kind == "successes")]
    surest = chosen[f"rank_{csf}"] if f"rank_{csf}" in table.columns else -chosen[f"confidence_{csf}"]
    chosen = chosen.assign(
        _cost=-chosen[f"cost_{csf}"] if by == "cost" and kind == "failures" else 0,
        _order=surest if kind == "failures" else -surest,
        _set=chosen["test_set"].map({name: i for i, name in enumerate(scatter.choices(table)[0])}),
    )
    chosen = (
        chosen.sort_values(["_set", "_cost", "_order", "id"], kind="stable").groupby("test_set", sort=False).head(count)
    )
    if "cost" in orders(table):
        chosen = chosen.assign(cost=chosen[f"cost_{csf}"])
    about = ["test_set", "id", "label", *(["cost"] if "cost" in orders(table) else []), "domain", "subclass"]
    found = chosen[about].assign(
        rank=chosen.groupby("test_set").cumcount() + 1,
        predicted=chosen[f"predicted_{csf}"],
        confidence=chosen[f"confidence_{csf}"],
        csf=csf,
    )
    first = ["test_set", "rank", "id", "label", "predicted", "confidence"]
    return found[[*first, *(name for name in found.columns if name not in first)]].reset_index(drop=True)


def _order(table: pd.DataFrame) -> str:
    """Returns the expression that is lowest for what comes first."""
    ranked = f"rank_{csf_names(table)[0]}" in table.columns
    surest = "datum['rank_' + sf_csf]" if ranked else f"-{scatter.CONFIDENCE}"
    return f"(sf_kind == 'failures' ? 1 : -1) * ({surest})"


def orders(table: pd.DataFrame) -> list[By]:
    """Returns what the failures of a table can be ranked by, the default first."""
    return ["cost", "confidence"] if all(f"cost_{csf}" in table.columns for csf in csf_names(table)) else ["confidence"]


def _checked(table: pd.DataFrame, count: int, csf: str | None, by: By | None, kind: str) -> tuple[str, By]:
    """Returns the csf, and what failures are ranked by.

    Raises:
        ValueError: There is no such thing.
    """
    csfs = csf_names(table)
    by = orders(table)[0] if by is None else by
    for what, value, known in (
        ("csf", csfs[0] if csf is None else csf, csfs),
        ("kind", kind, list(KINDS)),
        ("ranking by", by, orders(table)),
    ):
        if value not in known:
            raise ValueError(f"The gallery has no {what} {value!r}; there is {', '.join(known)}. Choose one of these.")
    if not 1 <= count <= MOST:
        raise ValueError(f"A gallery shows 1 to {MOST} images of a test set; got count = {count}. Choose another.")
    return csfs[0] if csf is None else csf, by
