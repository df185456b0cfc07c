"""One image under growing corruption: where the prediction flips, and which scores notice."""

from collections.abc import Mapping
from typing import Final

import altair as alt
import numpy as np
import pandas as pd

from sfjax.views import inline, palette, scatter, theme
from sfjax.views.cards import Card, card_layers, share_text
from sfjax.views.palette import themed
from sfjax.views.tables import require

STRIPS: Final = ("sample", "corruption", "level", "csf", "label", "predicted", "confidence", "correct", "image")
GAP: Final = 18
"""Pixels between captions and lines."""


def corruption_strip(
    strips: pd.DataFrame,
    images: Mapping[int, str] | None = None,
    *,
    title: str = "One image under corruption",
    subtitle: str = "",
    pixels: int = 96,
    height: int = 150,
    linked: bool = False,
) -> alt.LayerChart:
    """Returns an image at every level of a corruption, framed by outcome, over the confidence of several csfs.

    A mark on a line is a circle where the csf's prediction is right and a cross where it is a failure. A rule stands
    where the prediction of the chosen csf is first another than that of the clean image.

    Args:
        strips: A table as `check_strips` wants it; the first sample and corruption are shown first.
        images: Data URIs by the numbers in the column `image`; of those that are missing the card says so.
        title: Above the chart.
        subtitle: Below the title.
        pixels: Of a side of an image.
        height: Pixels of the lines.
        linked: A page sets the parameters; else the chart has inputs of its own.

    Raises:
        ValueError: The table is not as it must be.
    """
    table = check_strips(strips)
    csfs, samples = table["csf"].unique().tolist(), table.drop_duplicates("sample")
    levels = sorted(table["level"].unique().tolist())
    place = {level: i for i, level in enumerate(levels)}
    table = table.assign(at=table["level"].map(place).astype(int))
    words = [f"{sample}: {label}" for sample, label in zip(samples["sample"], samples["label"])]

    parameters = [
        scatter.select("sf_sample", "Image ", samples["sample"].tolist(), labels=words, linked=linked),
        scatter.select("sf_corruption", "Corruption ", table["corruption"].unique().tolist(), linked=linked),
        scatter.select("sf_csf", "Confidence ", csfs, linked=linked),
    ]
    caption = f"[datum.predicted, {share_text('datum.confidence')}]"
    card = Card(f"datum.at * {pixels + 14}", "0", "datum.correct", caption, 2, pixels)
    top, width = card.height + GAP, len(levels) * card.width
    chosen = alt.Chart(inline.reference(table, "sf_strips")).transform_filter(
        "datum.sample == sf_sample && datum.corruption == sf_corruption"
    )
    pictures = pd.DataFrame({"key": list(images or {}), "uri": list((images or {}).values())})
    pictures = pictures[pictures["key"].isin(table["image"])]
    datasets = inline.dataset(table, "sf_strips")
    cards = chosen.transform_filter("datum.csf == sf_csf")
    if len(pictures):
        datasets |= inline.dataset(pictures, "sf_pictures")
        source = alt.LookupData(data=inline.reference(pictures, "sf_pictures"), key="key", fields=["uri"])
        cards = cards.transform_lookup(lookup="image", from_=source, as_=["picture"], default="")
        cards = cards.transform_calculate(image="datum.picture")
    else:
        cards = cards.transform_calculate(image="''")
    names = [_level(level) for level in levels]
    x = alt.X(
        "at:Q",
        title="level",
        scale=alt.Scale(domain=[-0.5, len(levels) - 0.5], range=[-7, width - 7], nice=False, zero=False),
        axis=alt.Axis(values=list(place.values()), grid=False, labelExpr=f"{names}[datum.value]", offset=4),
    )
    y = alt.Y(
        "confidence:Q",
        title="confidence",
        scale=alt.Scale(domain=[0, 1], range=[top + height, top], nice=False),
        axis=alt.Axis(tickCount=5, titleY=top + height / 2),
    )
    return (
        alt.LayerChart(
            layer=[
                *card_layers(cards, card, "sf_strip"),
                *_flip(chosen, x, top=top, bottom=top + height),
                *_lines(chosen, csfs, x, y),
                _truth(chosen, top),
                _absent(table),
            ]
        )
        .add_params(*parameters, theme.dark_param(linked=linked))
        .properties(
            width=width - 14,
            height=top + height,
            datasets=datasets,
            description=f"{title}: what {', '.join(csfs)} say of it at every level, and where the prediction flips. "
            f"{subtitle}",
            **scatter.heading(title, subtitle, linked=linked),
        )
        .configure(**theme.config())
    )


def check_strips(strips: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of strips as the view reads it, with `flip`: 1 at the level where a prediction first changes.

    Args:
        strips: Columns `STRIPS`: a row an image (`sample`), corruption, level (0 is the clean image) and csf;
            `confidence` in [0, 1], `correct` 0 or 1, `image` the number of a picture.

    Raises:
        ValueError: A column is missing or holds what it must not, or a strip has no clean image.
    """
    require("strips", strips, STRIPS)
    if not len(strips):
        raise ValueError("The table of strips is empty. Give at least one image at two levels.")
    table = strips[list(STRIPS)].reset_index(drop=True)
    for column in ("sample", "level", "image", "correct"):
        if table[column].dtype.kind not in "iu":
            raise ValueError(f"The column {column} of the strips must be integers; got {table[column].dtype}.")
    if not table["correct"].isin((0, 1)).all():
        raise ValueError("The column correct of the strips must be the integers 0 or 1.")
    confidence = table["confidence"].to_numpy(dtype=float)
    if not ((confidence >= 0) & (confidence <= 1)).all():
        bad = confidence[~((confidence >= 0) & (confidence <= 1))][0]
        raise ValueError(f"The column confidence of the strips must lie in [0, 1]; found {bad}.")
    keys = ["sample", "corruption", "csf"]
    if table.duplicated([*keys, "level"]).any():
        row = table[table.duplicated([*keys, "level"])].iloc[0]
        found = ", ".join(str(row[key]) for key in [*keys, "level"])
        raise ValueError(f"The strips have one row a sample, corruption, csf and level; {found} comes more than once.")
    clean = table.loc[table["level"] == 0, [*keys, "predicted"]].rename(columns={"predicted": "_clean"})
    table = table.merge(clean, on=keys, how="left", validate="many_to_one")
    if table["_clean"].isna().any():
        row = table[table["_clean"].isna()].iloc[0]
        raise ValueError(
            f"A strip begins with the clean image, level 0; {', '.join(str(row[key]) for key in keys)} has none. "
            "Add it."
        )
    changed = table["predicted"] != table["_clean"]
    first = table["level"].where(changed).groupby([table[key] for key in keys]).transform("min")
    flip = (changed & (table["level"] == first)).astype(np.int64)
    return table.drop(columns="_clean").assign(flip=flip, confidence=table["confidence"].astype(float).round(4))


def _lines(chosen: alt.Chart, csfs: list[str], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Returns a line a csf with a mark a level; the chosen one is drawn strongly."""
    colors = [alt.expr(themed(lambda p, i=i: p.curves[i % len(p.curves)])) for i in range(len(csfs))]
    dashes = [list(palette.DASHES[i % len(palette.DASHES)]) for i in range(len(csfs))]
    legend = alt.Legend(
        orient="bottom", columns=min(len(csfs), 6), symbolType="stroke", symbolStrokeWidth=2.5, symbolSize=500,
        symbolLimit=len(csfs),
    )  # fmt: skip
    color = alt.Color("csf:N", title=None, scale=alt.Scale(domain=csfs, range=colors), legend=legend)
    dash = alt.StrokeDash("csf:N", title=None, scale=alt.Scale(domain=csfs, range=dashes), legend=legend)
    strong = "datum.csf == sf_csf"
    lines = chosen.mark_line(aria=False, tooltip=None).encode(
        x=x,
        y=y,
        color=color,
        strokeDash=dash,
        strokeWidth=alt.condition(strong, alt.value(3), alt.value(1.5)),
    )
    marks = chosen.mark_point(
        filled=True, opacity=1, aria=False, size=alt.expr(f"{strong} ? 90 : 45"),
        shape=alt.expr("datum.correct ? 'circle' : 'cross'"),
    ).encode(
        x=x,
        y=y,
        color=color,
        tooltip=[
            alt.Tooltip("csf:N"),
            alt.Tooltip("level:Q"),
            alt.Tooltip("label:N", title="true"),
            alt.Tooltip("predicted:N", title="called"),
            alt.Tooltip("confidence:Q", format=".3f"),
        ],
    )  # fmt: skip
    return [lines.properties(name="sf_confidence"), marks.properties(name="sf_confidence_marks")]


def _flip(chosen: alt.Chart, x: alt.X, *, top: int, bottom: int) -> list[alt.Chart]:
    """Returns the rule where the prediction of the chosen csf changes, and in words what into."""
    there = chosen.transform_filter("datum.csf == sf_csf && datum.flip")
    accent, muted = alt.expr(themed(lambda p: p.accent)), alt.expr(themed(lambda p: p.line))
    rule = there.mark_rule(stroke=muted, strokeWidth=6, aria=False, tooltip=None).encode(
        x=x, y=alt.value(top), y2=alt.value(bottom)
    )
    words = there.mark_text(
        text=alt.expr("'flips to ' + datum.predicted"), fill=accent, fontSize=11, fontWeight=600, baseline="bottom",
        align=alt.expr("datum.at > 3 ? 'right' : 'left'"), dx=alt.expr("datum.at > 3 ? 20 : -20"), aria=False,
        tooltip=None,
    ).encode(x=x, y=alt.value(top - 3))  # fmt: skip
    return [rule.properties(name="sf_flip"), words.properties(name="sf_flip_words")]


def _truth(chosen: alt.Chart, top: int) -> alt.Chart:
    """Returns the true class, in words, at the left above the lines."""
    return (
        chosen.transform_filter("datum.csf == sf_csf && datum.level == 0")
        .mark_text(
            text=alt.expr("'true: ' + datum.label"), align="left", baseline="bottom", fontSize=11, limit=130,
            fill=alt.expr(themed(lambda p: p.muted)), aria=False, tooltip=None,
        )
        .encode(x=alt.value(0), y=alt.value(top - 3))
        .properties(name="sf_truth")
    )  # fmt: skip


def _absent(table: pd.DataFrame) -> alt.Chart:
    """Returns the words that stand where the chosen image was not corrupted so."""
    pairs = [
        f"{sample} {corruption}" for sample, corruption in table[["sample", "corruption"]].drop_duplicates().values
    ]
    return (
        alt.Chart(alt.InlineData(values=[{"pairs": pairs}]))
        .transform_filter("indexof(datum.pairs, sf_sample + ' ' + sf_corruption) < 0")
        .mark_text(
            text="This image was not kept under this corruption.", align="left", baseline="top", fontSize=12,
            fill=alt.expr(themed(lambda p: p.ink)), aria=False, tooltip=None,
        )
        .encode(x=alt.value(0), y=alt.value(8))
        .properties(name="sf_absent")
    )  # fmt: skip


def _level(level: int) -> str:
    return "clean" if level == 0 else str(level)
