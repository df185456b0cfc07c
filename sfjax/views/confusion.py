"""Which class is called which, and how confidently: matrices, or the worst pairs where there are many classes."""

from collections.abc import Sequence
from typing import Final

import altair as alt
import pandas as pd

from sfjax.views import inline, theme
from sfjax.views.curves import ALL
from sfjax.views.palette import themed
from sfjax.views.tables import _finite, _rounded, _within, require, source_first  # pyright: ignore[reportPrivateUsage]

CONFUSION: Final = ("csf", "test_set", "kind", "label", "predicted", "n", "confidence")
MOST_CLASSES: Final = 30
"""Of more classes, the matrix could not be read: the pairs that are confused most are listed."""
SURE: Final = 0.9
"""From this mean confidence on, a number is bold."""
_CHARACTER: Final = 6.2
"""Pixels of a character of a label, about."""


def confusion(
    confusion: pd.DataFrame,
    *,
    classes: Sequence[str] | None = None,
    title: str = "Which class is called which, and how confidently",
    subtitle: str = "",
    top: int = 15,
    columns: int = 3,
    linked: bool = False,
) -> alt.FacetChart:
    """Returns a matrix of true against predicted class a test set, for one csf at a time.

    A cell says how many images it has and, where there is room, which share of the true class. Wrong cells are the
    stronger in orange the more confident they are on average, and bold from 90 % on; right ones are pale blue. Of more
    than 30 classes the pairs that are confused most are listed instead, which the subtitle says.

    Args:
        confusion: A table as `check_confusion` wants it.
        classes: The classes in order, if not by name.
        title: Above the chart.
        subtitle: Below the title.
        top: How many pairs are listed of many classes.
        columns: Panels side by side.
        linked: A page chooses the csf (`sf_csf`) and the panels (`sf_panel`); else the chart has inputs.

    Raises:
        ValueError: The table holds what it must not, or a class that is not among the given ones.
    """
    table = check_confusion(confusion)
    known = sorted({*table["label"], *table["predicted"]})
    names = known if classes is None else [str(name) for name in classes]
    unknown = ", ".join(name for name in known if name not in names)
    if unknown:
        raise ValueError(
            f"The confusion speaks of classes that are not among those given: {unknown}. "
            "Give all of them, those that the network does not know too."
        )
    of_class = table.groupby(["csf", "test_set", "label"], sort=False)["n"].transform("sum")
    table = table.assign(
        share=(table["n"] / of_class).round(4), right=table["label"].eq(table["predicted"]).astype(int)
    )
    csfs, sets = table["csf"].unique().tolist(), source_first(table)
    if len(names) > MOST_CLASSES:
        layers, independent = _pairs(table, top), True
        said = (
            f"The {top} pairs of classes that are confused most, of {len(names)} classes; a bar says how many images."
        )
    else:
        layers, independent = _matrix(table, names), False
        said = "Rows: true class. Orange: wrong, the stronger the more confident on average, bold from 90 % on."
    lines = [line for line in (said, subtitle) if line]
    heading = {} if linked else {"title": alt.Title(title, subtitle=lines, offset=12)}
    chart = layers.facet(facet=alt.Facet("test_set:N", title=None, sort=sets), columns=columns)
    chart = chart.resolve_scale(y="independent") if independent else chart
    return (
        chart.transform_filter(f"datum.csf == sf_csf && (sf_panel == '{ALL}' || datum.test_set == sf_panel)")
        .add_params(
            theme.choice("sf_csf", csfs, "Score", linked=linked),
            theme.choice("sf_panel", [ALL, *sets], "Test set", linked=linked),
            theme.dark_param(linked=linked),
        )
        .properties(
            datasets=inline.dataset(table, "sf_confusion"),
            autosize=theme.resized(),
            description=f"{title}; {', '.join(csfs)} on {', '.join(sets)}. {' '.join(lines)}",
            **heading,
        )
        .configure(**theme.config())
    )


def check_confusion(confusion: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of confused classes as the view reads it.

    Args:
        confusion: Columns `CONFUSION`: a row a csf, test set and pair of true and predicted class that has images; `n`
            is how many, and `confidence` their mean, in [0, 1].

    Raises:
        ValueError: A column is missing or holds what it must not.
    """
    require("confusion", confusion, CONFUSION)
    if not len(confusion):
        raise ValueError("The table of confusion is empty. Give at least one image.")
    keys = ["csf", "test_set", "label", "predicted"]
    if confusion.duplicated(keys).any():
        found = ", ".join(confusion.loc[confusion.duplicated(keys), keys].iloc[0].astype(str))
        raise ValueError(
            f"The confusion has one row a csf, test set and pair of classes; {found} comes more than once. Add them up."
        )
    _finite("confusion", confusion, ["n"])
    _within("confusion", confusion, "confidence", 0.0, 1.0)
    if (confusion["n"] < 1).any():
        raise ValueError(f"A cell of the confusion has images; found {confusion['n'].min()}. Leave out empty ones.")
    table = confusion[list(CONFUSION)].reset_index(drop=True)
    return _rounded(table.assign(label=table["label"].astype(str), predicted=table["predicted"].astype(str)))


def _fill() -> str:
    """Returns the expression of a cell's color."""
    wrong = f"{themed(lambda p: p.failure)}[min(8, floor(datum.confidence * 9))]"
    return f"datum.right ? {themed(lambda p: p.correct[1])} : {wrong}"


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("csf:N"),
        alt.Tooltip("test_set:N", title="test set"),
        alt.Tooltip("label:N", title="true class"),
        alt.Tooltip("predicted:N", title="called"),
        alt.Tooltip("n:Q", title="images"),
        alt.Tooltip("share:Q", title="share of the true class", format=".1%"),
        alt.Tooltip("confidence:Q", title="mean confidence", format=".1%"),
    ]


def _matrix(table: pd.DataFrame, names: list[str]) -> alt.LayerChart:
    """Returns a cell a pair of classes that there is."""
    count = len(names)
    side = 52 if count <= 6 else 30 if count <= 12 else 20
    font = {52: 12, 30: 10, 20: 8}[side]
    axis = {
        "grid": True,
        "domain": False,
        "ticks": False,
        "labelLimit": 110,
        "labelOverlap": False,
        "tickBand": "extent",
    }
    axis |= {"zindex": 0}  # lines lie between cells and below them
    upright = count > 2 or max(map(len, names)) * _CHARACTER > side
    x = alt.X(
        "predicted:N",
        title="predicted",
        scale=alt.Scale(domain=names),
        axis=alt.Axis(**axis, labelAngle=-90 if upright else 0),
    )
    y = alt.Y("label:N", title="true", scale=alt.Scale(domain=names), axis=alt.Axis(**axis))
    # Text stands out from a strong fill in the color of the background: the ramps run away from it.
    strong = "!datum.right && datum.confidence > 0.5"
    ink = alt.expr(f"{strong} ? {themed(lambda p: p.background)} : {themed(lambda p: p.ink)}")
    bold = alt.expr(f"!datum.right && datum.confidence >= {SURE} ? 'bold' : 'normal'")
    base = alt.Chart()
    cells = base.mark_rect(fill=alt.expr(_fill()), aria=False).encode(x=x, y=y, tooltip=_tooltip())
    shares = side == 52
    numbers = base.mark_text(
        fill=ink, fontSize=font, fontWeight=bold, dy=-6 if shares else 0, baseline="middle", aria=False, tooltip=None
    ).encode(x=x, y=y, text="n:Q")
    layers = [cells.properties(name="sf_cells"), numbers.properties(name="sf_numbers")]
    if shares:
        below = base.mark_text(fill=ink, fontSize=10, dy=8, baseline="middle", aria=False, tooltip=None)
        layers.append(below.encode(x=x, y=y, text=alt.Text("share:Q", format=".0%")).properties(name="sf_shares"))
    return alt.LayerChart(layer=layers, data=inline.reference(table, "sf_confusion")).properties(
        width=alt.Step(side), height=alt.Step(side)
    )


def _pairs(table: pd.DataFrame, top: int) -> alt.LayerChart:
    """Returns a bar a pair of classes that is confused, most images first."""
    base = (
        alt.Chart()
        .transform_filter("!datum.right")
        .transform_window(
            window=[alt.WindowFieldDef.from_dict({"op": "row_number", "as": "place"})],
            sort=[alt.SortField("n", order="descending"), alt.SortField("confidence", order="descending")],
            groupby=["test_set"],
        )
        .transform_filter(f"datum.place <= {top}")
        .transform_calculate(
            pair="datum.label + ' → ' + datum.predicted",
            words="datum.n + ' (' + format(datum.share, '.0%') + '), sure by ' + format(datum.confidence, '.0%')",
        )
    )
    most = int(table["n"].where(table["right"] == 0).max()) if (table["right"] == 0).any() else 1
    x = alt.X(
        "n:Q",
        title="images",
        scale=alt.Scale(domain=[0, 1.9 * most], nice=False),
        axis=alt.Axis(tickCount=4, grid=False),
    )
    y = alt.Y("pair:N", title=None, sort=alt.EncodingSortField("place", op="min"), axis=alt.Axis(labelLimit=240))
    bars = base.mark_bar(fill=alt.expr(_fill()), aria=False).encode(x=x, y=y, tooltip=_tooltip())
    bold = alt.expr(f"datum.confidence >= {SURE} ? 'bold' : 'normal'")
    ink = alt.expr(themed(lambda p: p.ink))
    words = base.mark_text(
        align="left", dx=4, fill=ink, fontSize=10, fontWeight=bold, baseline="middle", aria=False, tooltip=None
    ).encode(x=x, y=y, text="words:N")
    return alt.LayerChart(
        layer=[bars.properties(name="sf_pairs"), words.properties(name="sf_words")],
        data=inline.reference(table, "sf_confusion"),
    ).properties(width=200, height=alt.Step(18))
