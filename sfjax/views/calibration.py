"""What a confidence is worth: reliability diagrams, and how many failures hide among the confident images."""

from typing import Final

import altair as alt
import pandas as pd

from sfjax.views import inline, theme
from sfjax.views.curves import ALL
from sfjax.views.palette import themed
from sfjax.views.tables import _finite, _rounded, _within, require, source_first  # pyright: ignore[reportPrivateUsage]

BINS: Final = ("csf", "test_set", "kind", "bin", "confidence", "accuracy", "low", "high", "n")
MARGIN: Final = 0.04
"""Beyond 0 and 1, so that markers and labels there lie inside a panel."""
QUARTERS: Final = (0, 0.25, 0.5, 0.75, 1)
HISTOGRAM: Final = ("csf", "test_set", "kind", "start", "end", "correct", "failures")


def reliability(
    bins: pd.DataFrame,
    *,
    title: str = "Reliability: accuracy against stated confidence",
    subtitle: str = "",
    columns: int = 3,
    size: int = 190,
    linked: bool = False,
) -> alt.FacetChart:
    """Returns accuracy against mean confidence in bins of equal mass, one panel a test set, for one csf at a time.

    A thick line joins each bin with the diagonal: orange and a triangle that points down where the csf promises too
    much, blue and one that points up where it promises too little. Thin lines are intervals; points grow with the
    number of images. In the corner of a panel stand the mean gap over its images and how many these are.

    Args:
        bins: A table as `check_bins` wants it.
        title: Above the chart.
        subtitle: Below the title.
        columns: Panels side by side.
        size: Pixels of a panel's side.
        linked: A page chooses the csf (`sf_csf`) and the panels (`sf_panel`); else the chart has inputs.
    """
    table = check_bins(bins)
    csfs, sets = table["csf"].unique().tolist(), source_first(table)
    ink, muted = alt.expr(themed(lambda p: p.ink)), alt.expr(themed(lambda p: p.muted))
    too_sure = "datum.accuracy < datum.confidence"
    color = alt.expr(f"{too_sure} ? {themed(lambda p: p.failure[-1])} : {themed(lambda p: p.correct[-1])}")
    # What reaches out of a panel would lift its title above the others'.
    unit = alt.Scale(domain=[-MARGIN, 1 + MARGIN], nice=False, zero=False)
    x = alt.X("confidence:Q", title="confidence", scale=unit, axis=alt.Axis(format=".0%", values=QUARTERS))
    y = alt.Y("accuracy:Q", title="accuracy", scale=unit, axis=alt.Axis(format=".0%", values=QUARTERS))
    base = alt.Chart()
    diagonal = base.mark_rule(stroke=muted, strokeDash=[4, 3], aria=False, tooltip=None).encode(
        x=alt.value(0), x2=alt.value(size), y=alt.value(size), y2=alt.value(0)
    )
    interval = base.mark_rule(stroke=muted, aria=False, tooltip=None).encode(
        x=x, y=alt.Y("low:Q", scale=unit, title="accuracy"), y2="high:Q"
    )
    gap = base.mark_rule(stroke=color, strokeWidth=4, strokeOpacity=0.55, aria=False, tooltip=None).encode(
        x=x, y=alt.Y("confidence:Q", scale=unit, title="accuracy"), y2="accuracy:Q"
    )
    points = base.mark_point(filled=True, fill=color, fillOpacity=1, strokeOpacity=0, aria=False).encode(
        x=x,
        y=y,
        shape=alt.ShapeValue(alt.expr(f"{too_sure} ? 'triangle-down' : 'triangle-up'")),
        size=alt.Size("n:Q", legend=None, scale=alt.Scale(domain=[0, int(table["n"].max())], range=[30, 130])),
        tooltip=[
            alt.Tooltip("csf:N"),
            alt.Tooltip("test_set:N", title="test set"),
            alt.Tooltip("confidence:Q", title="mean confidence", format=".1%"),
            alt.Tooltip("accuracy:Q", format=".1%"),
            alt.Tooltip("low:Q", title="from", format=".1%"),
            alt.Tooltip("high:Q", title="to", format=".1%"),
            alt.Tooltip("n:Q", title="images"),
        ],
    )
    words = (
        base.transform_calculate(lost="datum.n * abs(datum.accuracy - datum.confidence)")
        .transform_aggregate(lost="sum(lost)", images="sum(n)", groupby=["test_set", "kind"])
        .transform_calculate(
            words="'gap ' + format(datum.lost / datum.images, '.1%') + ', n = ' + format(datum.images, ',')"
        )
        .mark_text(align="left", baseline="top", fill=ink, fontSize=11, aria=False, tooltip=None)
        .encode(x=alt.value(6), y=alt.value(5), text="words:N")
    )
    layers = alt.LayerChart(
        layer=[
            diagonal,
            interval.properties(name="sf_intervals"),
            gap.properties(name="sf_gaps"),
            points.properties(name="sf_bins"),
            words.properties(name="sf_words"),
        ],
        data=inline.reference(table, "sf_reliability"),
    )
    said = "Orange and ▼: less is right than was promised. Blue and ▲: more. Bins of equal mass with 95 % intervals."
    return _panels(
        layers.properties(width=size, height=size),
        table,
        "sf_reliability",
        csfs,
        sets,
        title,
        [said, subtitle],
        columns,
        linked=linked,
    )


def confidence_histogram(
    histogram: pd.DataFrame,
    *,
    title: str = "How confident successes and failures are",
    subtitle: str = "",
    log: bool = False,
    threshold: float = 0.9,
    columns: int = 3,
    width: int = 240,
    height: int = 170,
    linked: bool = False,
) -> alt.FacetChart:
    """Returns how many images of each confidence are right, upwards, and wrong, downwards: one panel a test set.

    Right of a rule lie the silent failures, which are counted in the corner of the panel.

    Args:
        histogram: A table as `check_histogram` wants it.
        title: Above the chart.
        subtitle: Below the title.
        log: Count by powers of ten (`sf_log`), so that few failures beside many successes are seen.
        threshold: Where the rule stands (`sf_threshold`); it moves from bin to bin.
        columns: Panels side by side.
        width: Pixels of a panel.
        height: Pixels of a panel.
        linked: A page chooses the csf (`sf_csf`), the panels (`sf_panel`), `sf_log` and `sf_threshold`; else the chart
            has inputs.
    """
    table = check_histogram(histogram)
    csfs, sets = table["csf"].unique().tolist(), source_first(table)
    step = float((table["end"] - table["start"]).min())
    slider = alt.binding_range(min=0, max=1, step=round(step, 4), name="Threshold ")
    parameters = [
        theme.setting("sf_threshold", threshold, slider, linked=linked),
        theme.setting("sf_log", log, alt.binding_checkbox(name="Powers of ten "), linked=linked),
    ]
    ink, muted = alt.expr(themed(lambda p: p.ink)), alt.expr(themed(lambda p: p.muted))
    most = [max(int(table[column].max()), 1) for column in ("failures", "correct")]

    def tall(count: str) -> str:
        # One image is one step above none, and ten are two.
        return f"(sf_log ? ({count} > 0 ? 1 + log({count}) / LN10 : 0) : {count})"

    # A page hands over the panels that it shows, and one that it does not must not flatten them.
    domain = (
        alt.Scale(nice=False, padding=14)
        if linked
        else alt.Scale(
            domain=[alt.expr(f"-1.05 * {tall(str(most[0]))}"), alt.expr(f"1.25 * {tall(str(most[1]))}")], nice=False
        )
    )
    labels = (
        "sf_log ? (datum.value == 0 ? '0' : datum.value % 1 ? '' : format(pow(10, abs(datum.value) - 1), ',')) : "
        "format(abs(datum.value), '~s')"
    )
    ramp = "[min(8, floor(datum.end * 9))]"
    share = {"title": "confidence", "scale": alt.Scale(domain=[0, 1], nice=False), "axis": alt.Axis(format=".0%")}
    x = alt.X("start:Q", **share)
    # The domain comes from a parameter: both layers state the same one.
    y = {"scale": domain, "title": "wrong ↓   images   right ↑", "axis": alt.Axis(labelExpr=labels, tickCount=6)}
    tooltip = [
        alt.Tooltip("csf:N"),
        alt.Tooltip("test_set:N", title="test set"),
        alt.Tooltip("start:Q", title="above", format=".0%"),
        alt.Tooltip("end:Q", title="up to", format=".0%"),
        alt.Tooltip("correct:Q", title="right"),
        alt.Tooltip("failures:Q", title="wrong"),
    ]
    base = alt.Chart().transform_calculate(up=tall("datum.correct"), down=f"-{tall('datum.failures')}", none="0")
    bars = [
        base.mark_bar(fill=alt.expr(themed(color) + ramp), aria=False, binSpacing=0.5)
        .encode(x=x, x2="end:Q", y=alt.Y(f"{end}:Q", **y), y2="none:Q", tooltip=tooltip)
        .properties(name=f"sf_{end}")
        for end, color in (("up", lambda p: p.correct), ("down", lambda p: p.failure))
    ]
    rule = (
        alt.Chart()
        .transform_aggregate(bins="count()", groupby=["test_set", "kind"])
        .transform_calculate(threshold="sf_threshold")
        .mark_rule(stroke=ink, strokeDash=[4, 3], aria=False, tooltip=None)
        .encode(x=alt.X("threshold:Q", **share))
    )
    zero = base.mark_rule(stroke=muted, aria=False, tooltip=None).encode(y=alt.Y("none:Q", **y))
    silent = "datum.start >= sf_threshold - 1e-6 ? datum.failures : 0"
    words = (
        alt.Chart()
        .transform_calculate(silent=silent, images="datum.correct + datum.failures")
        .transform_aggregate(
            silent="sum(silent)", wrong="sum(failures)", images="sum(images)", groupby=["test_set", "kind"]
        )
        .transform_calculate(
            words="format(datum.silent, ',') + ' of ' + format(datum.wrong, ',') + ' failures above; ' + "
            "format(datum.images, ',') + ' images'"
        )
        .mark_text(align="left", baseline="top", fill=ink, fontSize=11, aria=False, tooltip=None)
        .encode(x=alt.value(6), y=alt.value(4), text="words:N")
    )
    layers = alt.LayerChart(
        layer=[*bars, zero, rule.properties(name="sf_rule"), words.properties(name="sf_words")],
        data=inline.reference(table, "sf_histogram"),
    )
    return _panels(
        layers.properties(width=width, height=height),
        table,
        "sf_histogram",
        csfs,
        sets,
        title,
        ["Blue, upwards: right. Orange, downwards: wrong.", subtitle],
        columns,
        linked=linked,
        parameters=parameters,
    )


def check_bins(bins: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of reliability as views read it.

    Args:
        bins: Columns `BINS`: a row a csf, test set and bin; mean confidence, accuracy and the ends of its interval lie
            in [0, 1], and `n` is how many images the bin has.

    Raises:
        ValueError: A column is missing or holds what it must not.
    """
    require("bins", bins, BINS)
    if not len(bins):
        raise ValueError("The table of bins is empty. Give a csf that has a probability of being right.")
    for column in ("confidence", "accuracy", "low", "high"):
        _within("bins", bins, column, 0.0, 1.0)
    if (bins["n"] < 1).any():
        raise ValueError(f"A bin has images; found one with {bins['n'].min()}. Leave out empty bins.")
    return _rounded(bins[list(BINS)].reset_index(drop=True))


def check_histogram(histogram: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of confidences as views read it.

    Args:
        histogram: Columns `HISTOGRAM`: a row a csf, test set and bin of confidence, above `start` up to `end` in
            [0, 1]; `correct` and `failures` are how many images it has.

    Raises:
        ValueError: A column is missing or holds what it must not.
    """
    require("histogram", histogram, HISTOGRAM)
    if not len(histogram):
        raise ValueError("The table of the histogram is empty. Give at least one bin with images.")
    for column in ("start", "end"):
        _within("histogram", histogram, column, 0.0, 1.0)
    _finite("histogram", histogram, ["correct", "failures"])
    if (histogram["end"] <= histogram["start"]).any():
        raise ValueError("A bin of the histogram ends above where it starts; not all do. Give both ends in order.")
    if (histogram[["correct", "failures"]] < 0).any(axis=None):
        raise ValueError("The histogram counts images; found a number below 0. Give counts.")
    return _rounded(histogram[list(HISTOGRAM)].reset_index(drop=True))


def _panels(
    layers: alt.LayerChart,
    table: pd.DataFrame,
    name: str,
    csfs: list[str],
    sets: list[str],
    title: str,
    subtitle: list[str],
    columns: int,
    *,
    linked: bool,
    parameters: list[alt.Parameter] | None = None,
) -> alt.FacetChart:
    """Returns one panel a test set, source first, of the chosen csf."""
    lines = [line for line in subtitle if line]
    heading = {} if linked else {"title": alt.Title(title, subtitle=lines, offset=12)}
    return (
        layers.facet(facet=alt.Facet("test_set:N", title=None, sort=sets), columns=columns)
        .transform_filter(f"datum.csf == sf_csf && (sf_panel == '{ALL}' || datum.test_set == sf_panel)")
        .add_params(
            theme.choice("sf_csf", csfs, "Score", linked=linked),
            theme.choice("sf_panel", [ALL, *sets], "Test set", linked=linked),
            *(parameters or []),
            theme.dark_param(linked=linked),
        )
        .properties(
            datasets=inline.dataset(table, name),
            autosize=theme.resized(),
            description=f"{title}; {', '.join(csfs)} on {', '.join(sets)}. {' '.join(lines)}",
            **heading,
        )
        .configure(**theme.config())
    )
