"""Failure slices: where silent failures are surely more frequent than elsewhere, the surest first."""

import textwrap
from collections.abc import Mapping
from typing import Any, Final

import altair as alt
import numpy as np
import pandas as pd

from sfjax.views import inline, theme
from sfjax.views.palette import themed
from sfjax.views.tables import require

ALL_SETS: Final = "all"
"""In `test_set`: the slice is of the images of all test sets."""
ATTRIBUTE: Final = "attribute_"
"""Before the name of an attribute, in the table of points: a manifest's column may be called like one of its own."""
SLICES: Final = (
    *("slice", "test_set", "attribute", "value", "csf", "n", "failures", "rate", "rest_rate", "low", "high"),
    *("p", "p_adjusted", "exemplars", "text", "words", "significant", "tried"),
)
ROW: Final = 44
"""Pixels of a row: two lines of text, or a thumbnail."""
WORDS: Final = 340
THUMBNAIL: Final = 36
THUMBNAILS: Final = 4


def failure_slices(
    slices: pd.DataFrame,
    images: Mapping[int, str] | None = None,
    *,
    title: str = "Where the silent failures are",
    subtitle: str = "",
    most: int = 10,
    width: int = 280,
    linked: bool = False,
) -> alt.LayerChart:
    """Returns the silent-failure rate of each slice with its interval, beside that of the rest, the surest slice first.

    A row says what the slice is, its rate (a dot with its 95 % interval: filled where the slice is significant, hollow
    where chance explains it), the rest's rate (a bar across), the numbers behind, and shows its most confident silent
    failures. A click chooses a slice.

    Args:
        slices: A table as `check_slices` wants it.
        images: Data URIs by id of a point; ids without one, or all if left out, are not shown.
        title: Above the chart.
        subtitle: Below the title, such as how many slices were tried; it is broken into lines.
        most: Rows of a csf at most.
        width: Pixels of the axis.
        linked: A page chooses the csf (`sf_csf`) and the slice (`sf_slice`, or -1), and has the heading; else the chart
            has inputs of its own.

    Raises:
        ValueError: The table holds what it must not, or nothing.
    """
    table = check_slices(slices)
    if not len(table):
        raise ValueError("The table of slices is empty: nothing was tried. Leave the view out.")
    table = table.assign(row=table.groupby("csf", sort=False).cumcount())
    table = table[table["row"] < most].reset_index(drop=True)
    pictures = _pictures(table, images or {})
    drawn = _in_rows(table)
    csfs = table["csf"].unique().tolist()
    rows = int(table["row"].max()) + 1

    ink, muted, line, surface, accent, orange, blue = (
        alt.expr(themed(color))
        for color in (
            lambda p: p.ink,
            lambda p: p.muted,
            lambda p: p.line,
            lambda p: p.surface,
            lambda p: p.accent,
            lambda p: p.failure[-1],
            lambda p: p.source,
        )
    )
    ends = table[["high", "rate", "rest_rate"]].to_numpy(float)
    rate = alt.Scale(domain=[0, _above(float(ends.max()))], nice=False, zero=True)
    x = alt.X("rate:Q", title="silent failures, share of images", scale=rate, axis=alt.Axis(format=".0%", tickCount=5))
    place = alt.Scale(domain=[-1.1, rows - 0.45], reverse=True, nice=False, zero=False)
    y = alt.Y("row:Q", scale=place, axis=None)
    tooltip = [alt.Tooltip("text:N", title="slice"), alt.Tooltip("p_adjusted:Q", title="adjusted p", format=".2g")]
    base = alt.Chart(inline.reference(drawn, "sf_slices")).transform_filter("datum.csf == sf_csf")
    end = width + 140 + (THUMBNAILS * (THUMBNAIL + 4) if len(pictures) else 0)
    chosen, parameters = "datum.slice == sf_slice", [alt.param(name="sf_slice", value=-1)]
    bands = base.mark_rect(
        fill=surface, cornerRadius=4, aria=False, strokeWidth=1.5, cursor="pointer",
        stroke=alt.expr(f"{chosen} ? {themed(lambda p: p.accent)} : {themed(lambda p: p.surface)}"),
    ).encode(
        y=alt.Y("top:Q", scale=place, axis=None), y2="bottom:Q", x=alt.value(-WORDS - 12), x2=alt.value(end),
        tooltip=tooltip,
    )  # fmt: skip
    if not linked:
        pick = alt.selection_point(name="sf_pick", fields=["slice"], on="click", clear="dblclick", empty=False)
        bands = bands.add_params(pick)
        parameters = [alt.param(name="sf_slice", expr="isValid(sf_pick.slice) ? sf_pick.slice[0] : -1")]
    mark: dict[str, Any] = {"aria": False, "tooltip": None}

    def words(field: str, at: float, *, dy: float, fill: alt.ExprRef, size: float, limit: float) -> alt.Chart:
        left = alt.value(at)
        return base.mark_text(
            align="left", baseline="middle", dy=dy, fill=fill, fontSize=size, limit=limit, **mark
        ).encode(y=y, x=left, text=f"{field}:N")  # fmt: skip

    layers = [
        bands.properties(name="sf_rows"),
        words("name", -WORDS, dy=-8, fill=ink, size=12, limit=WORDS - 16).properties(name="sf_names"),
        words("where", -WORDS, dy=8, fill=muted, size=11, limit=WORDS - 16).properties(name="sf_where"),
        base.mark_rule(stroke=line, strokeDash=[2, 2], **mark).encode(y=y, x=alt.value(0), x2=alt.value(width)),
        base.mark_rule(stroke=orange, strokeWidth=2.5, **mark)
        .encode(y=y, x=alt.X("low:Q", scale=rate), x2="high:Q")
        .properties(name="sf_intervals"),
        base.mark_tick(orient="vertical", thickness=3, opacity=1, size=22, color=blue, **mark)
        .encode(x=alt.X("rest_rate:Q", scale=rate), y=y)
        .properties(name="sf_rest"),
        base.mark_point(filled=True, size=95, opacity=1, strokeWidth=2.5, stroke=orange, shape="circle", aria=False,
                        fill=alt.expr(f"datum.significant ? {themed(lambda p: p.failure[-1])} : "
                                      f"{themed(lambda p: p.surface)}"))
        .encode(x=x, y=y, tooltip=tooltip)
        .properties(name="sf_rates"),
        words("numbers", width + 16, dy=-8, fill=ink, size=12, limit=120).properties(name="sf_numbers"),
        words("chance", width + 16, dy=8, fill=muted, size=11, limit=120).properties(name="sf_chance"),
        *_legend(y, orange=orange, blue=blue, muted=muted, surface=surface),
    ]  # fmt: skip
    if len(pictures):
        layers.append(_thumbnails(pictures, y, at=width + 140, stroke=accent))
    bind = alt.Undefined if linked or len(csfs) < 2 else alt.binding_select(options=csfs, name="Confidence ")
    lines = textwrap.wrap(subtitle, (WORDS + end) // 6)
    heading = {} if linked else {"title": alt.Title(title, subtitle=lines, offset=8)}
    return (
        alt.LayerChart(layer=layers)
        .add_params(
            alt.param(name="sf_csf", value=csfs[0], bind=bind), *parameters, theme.dark_param(linked=linked)
        )
        .properties(
            width=width,
            height=round((rows + 0.65) * ROW),
            datasets=inline.dataset(drawn, "sf_slices"),
            description=f"{title}. By {csfs[0]}: {'. '.join(table.loc[table['csf'] == csfs[0], 'text'])}. {subtitle}",
            **heading,
        )
        .configure(**theme.config())
    )  # fmt: skip


def check_slices(slices: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of failure slices as views read it, in its order; it may be empty.

    Args:
        slices: Columns `SLICES`: a row a slice and csf. `slice` is its number; the slice's images are those of
            `test_set` (`ALL_SETS` for all) whose `attribute` is `value`; `rate` and `rest_rate` are shares of the slice
            and of the other images that fail silently, `low` and `high` the ends of the rate's interval; `p_adjusted`
            is of a family of `tried` slices; `significant` is 0 or 1; `exemplars` are ids of points with spaces
            between; `text` is the slice as a sentence, `words` what describes a cluster.

    Raises:
        ValueError: A column is missing or holds what it must not.
    """
    if not len(slices):
        return pd.DataFrame(columns=pd.Index(SLICES))
    require("slices", slices, SLICES)
    table = slices[list(SLICES)].reset_index(drop=True)
    if table["slice"].dtype.kind not in "iu" or table["slice"].duplicated().any():
        raise ValueError("The column slice of the slices must be integers, each once. Number the rows.")
    for column in ("rate", "rest_rate", "low", "high", "p", "p_adjusted"):
        values = table[column].to_numpy(dtype=float)
        wrong = values[~((values >= 0) & (values <= 1))]
        if len(wrong):
            raise ValueError(f"The column {column} of the slices must lie in [0, 1]; found {wrong[0]}.")
    flags = table["significant"].to_numpy()
    if flags.dtype.kind == "b" or not np.isin(flags, (0, 1)).all():
        raise ValueError(f"The column significant of the slices must be the integers 0 or 1; got {flags.dtype}.")
    texts = ("test_set", "attribute", "value", "csf", "exemplars", "text", "words")
    return table.assign(**{column: table[column].fillna("").astype(str) for column in texts})


def _in_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Returns what the rows say and where they are."""
    where = table["test_set"].map(lambda name: "in all test sets" if name == ALL_SETS else f"in {name}")
    words = table["words"].map(lambda text: f", mostly {text}" if text else "")
    return pd.DataFrame(
        {
            **{column: table[column] for column in ("slice", "csf", "row", "significant", "p_adjusted", "text")},
            **{column: table[column].round(5) for column in ("rate", "rest_rate", "low", "high")},
            "top": table["row"] - 0.46,
            "bottom": table["row"] + 0.46,
            "name": table["attribute"].str.replace("_", " ") + " = " + table["value"],
            "where": where + words,
            "numbers": table["failures"].astype(str) + " of " + table["n"].astype(str),
            "chance": [f"p {_p(p)}" for p in table["p_adjusted"]],
        }
    )


def _pictures(table: pd.DataFrame, images: Mapping[int, str]) -> list[dict[str, Any]]:
    rows = []
    for csf, row, slice_id, ids in table[["csf", "row", "slice", "exemplars"]].itertuples(index=False):
        there = [images[int(key)] for key in ids.split() if int(key) in images][:THUMBNAILS]
        rows += [
            {"csf": csf, "row": row, "slice": slice_id, "place": place, "image": image}
            for place, image in enumerate(there)
        ]
    return rows


def _thumbnails(pictures: list[dict[str, Any]], y: alt.Y, *, at: float, stroke: alt.ExprRef) -> alt.Chart:
    x = alt.XValue(alt.expr(f"{at + THUMBNAIL / 2} + {THUMBNAIL + 4} * datum.place"))
    return (
        alt.Chart(alt.InlineData(values=pictures))
        .transform_filter("datum.csf == sf_csf")
        .mark_image(width=THUMBNAIL, height=THUMBNAIL, aspect=True, aria=False, tooltip=None)
        .encode(x=x, y=y, url="image:N")
        .properties(name="sf_exemplars")
    )


def _legend(
    y: alt.Y, *, orange: alt.ExprRef, blue: alt.ExprRef, muted: alt.ExprRef, surface: alt.ExprRef
) -> list[alt.Chart]:
    """Returns the row above the first: what the marks mean."""
    entries = (
        (-WORDS + 8, "circle", orange, orange, "slice, significant"),
        (-WORDS + 136, "circle", surface, orange, "slice, chance explains it"),
        (-WORDS + 300, "stroke", blue, blue, "the rest"),
    )
    layers = []
    for at, shape, fill, stroke, text in entries:
        one = alt.Chart(alt.InlineData(values=[{"row": -0.8}])).encode(y=y)
        angle = 90 if shape == "stroke" else 0
        layers.append(
            one.mark_point(
                filled=True, shape=shape, fill=fill, stroke=stroke, strokeWidth=2.5, size=90, angle=angle, opacity=1,
                aria=False, tooltip=None,
            ).encode(x=alt.value(at))
        )  # fmt: skip
        layers.append(
            one.mark_text(
                text=text, align="left", baseline="middle", fill=muted, fontSize=11, aria=False, tooltip=None
            ).encode(x=alt.value(at + 11))
        )
    return layers


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


def _above(value: float) -> float:
    """Returns a round share a little above `value`."""
    steps = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    return next((step for step in steps if step >= value * 1.02), 1.0)
