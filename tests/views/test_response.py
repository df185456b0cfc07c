"""Response curves: what their table must hold, and that they draw what it says."""

import re

import numpy as np
import pandas as pd
import pytest
import vl_convert

from sfjax.views import export, lint, palette, shift_response
from sfjax.views.response import axis_domain
from sfjax.views.results import METRICS
from sfjax.views.tables import check_responses

WIDTH, HEIGHT = 200, 140
CSFS = ("msr", "energy", 'it\'s "odd", 1')


def make_responses() -> pd.DataFrame:
    """Two causes of three values each; accuracy falls from 95 %, and silent failures rise to 18 %."""
    rows = [
        {"cause": cause, "unit": unit, "dial": dial, "csf": csf, "metric": metric, "value": value, "low": value - 0.01,
         "high": value + 0.02}
        for cause, unit, dials in (("border", "irregularity", (0.0, 0.4, 0.8)), ("zoom", "times", (1.0, 1.5, 2.0)))
        for place, csf in enumerate(CSFS)
        for i, dial in enumerate(dials)
        for metric, value in (("accuracy", 0.95 - 0.1 * i), ("silent_failure_rate", 0.02 + 0.02 * i * (1 + place)))
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def responses() -> pd.DataFrame:
    return make_responses()


def render(chart, **params) -> str:
    return vl_convert.vegalite_to_svg(vl_spec=export.with_params(chart.to_dict(), params))


def marks(svg: str, view: str) -> str:
    """All groups of a view: Vega makes one of each line."""
    return "".join(part[: part.index("</g>")] for part in svg.split(f"{view}_marks")[1:])


def places(svg: str, view: str) -> np.ndarray:
    found = re.findall(r"translate\(([-\d.e]+),([-\d.e]+)\)", marks(svg, view))
    return np.array([[float(x) for x in pair] for pair in found])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="unit"), "lacks the columns unit"),
        (lambda t: t.iloc[:0], "empty"),
        (lambda t: t.assign(dial=np.nan), "dial of the responses has 36 values that are not finite"),
        (lambda t: pd.concat([t, t.iloc[:1]]), r"border, 0.0, msr, accuracy comes more than once"),
        (lambda t: t.query("dial not in (1.5, 2.0)"), "zoom has 1 and 1"),
        (lambda t: t.assign(unit=[str(i) for i in range(len(t))]), "border has 3 and 18"),
    ],
)
def test_responses_that_break_the_contract_are_refused(responses, change, message):
    with pytest.raises(ValueError, match=message):
        check_responses(change(responses))


@pytest.mark.parametrize("linked", [False, True])
def test_the_chart_names_nothing_that_is_not_there(responses, linked):
    spec = shift_response(responses, linked=linked).to_dict()
    assert lint.problems(spec) == []
    assert ("title" in spec) != linked
    assert len(spec["concat"]) == 4 and spec["columns"] == 2  # a row a cause, a column a metric


def test_points_stand_where_the_table_says(responses):
    svg = render(shift_response(responses, width=WIDTH, height=HEIGHT))
    for panel, (cause, metric) in enumerate(
        (c, m) for c in ("border", "zoom") for m in ("accuracy", "silent_failure_rate")
    ):
        rows = responses[(responses["cause"] == cause) & (responses["metric"] == metric)]
        dial, value = rows["dial"].to_numpy(), 100 * rows["value"].to_numpy()
        least, most = (70, 100) if metric == "accuracy" else (0, 20)  # 14 % is the most silent failures
        x = (dial - dial.min()) / (dial.max() - dial.min()) * WIDTH
        y = HEIGHT - (value - least) / (most - least) * HEIGHT
        np.testing.assert_allclose(places(svg, f"sf_points_{panel}"), np.stack([x, y], 1), atol=0.1)


def test_lines_have_a_second_cue_and_the_first_one_its_band(responses):
    svg = render(shift_response(responses))
    lines = marks(svg, "sf_lines_0")
    dashes = re.findall(r'stroke-dasharray="([^"]+)"', lines)
    assert len(dashes) == len(set(dashes)) == len(CSFS)
    colors = re.findall(r'stroke="(#[0-9a-f]{6})"', lines)
    assert colors == list(palette.LIGHT.curves[:3])
    assert len(set(re.findall(r' d="([^"]+)"', marks(svg, "sf_points_0")))) == len(CSFS), "points share a shape"
    (band,) = re.findall(r'fill="(#[0-9a-f]{6})"', marks(svg, "sf_first_band_0"))
    assert band == palette.LIGHT.curves[0]
    assert all(float(opacity) == 0 for opacity in re.findall(r' opacity="([\d.]+)"', marks(svg, "sf_band_0")))


def test_the_band_is_the_interval(responses):
    svg = render(shift_response(responses, width=WIDTH, height=HEIGHT))
    (path,) = re.findall(r' d="([^"]+)"', marks(svg, "sf_first_band_0"))
    heights = [float(y) for y in re.findall(r"[ML][-\d.]+,([-\d.]+)", path)]
    ends = np.array([0.94, 0.84, 0.74, 0.77, 0.87, 0.97])
    np.testing.assert_allclose(sorted(heights), np.sort(HEIGHT - (100 * ends - 70) / 30 * HEIGHT), atol=0.1)


def test_what_is_not_defined_is_a_gap(responses):
    holes = responses.copy()
    holes.loc[holes["csf"].eq("msr") & holes["dial"].eq(0.4), ["value", "low", "high"]] = np.nan
    assert len(places(render(shift_response(holes)), "sf_points_0")) == 8


def test_one_metric_of_many_causes_fills_rows_and_unknown_metrics_are_shown_as_they_are(responses):
    one = responses[responses["metric"] == "accuracy"].assign(metric="own_metric")
    spec = shift_response(one).to_dict()
    assert spec["columns"] == 2 and lint.problems(spec) == []
    svg = render(shift_response(one, columns=1, width=WIDTH, height=HEIGHT))
    np.testing.assert_allclose(places(svg, "sf_points_0")[0], [0, HEIGHT * (1 - 0.95)], atol=0.1)


@pytest.mark.parametrize(
    ("metric", "values", "ends"),
    [
        ("accuracy", [93.0, 71.0], (70, 100)),
        ("accuracy", [99.0, 98.0], (90, 100)),
        ("aurc", [12.0, 431.0], (0, 500)),
        ("silent_failure_rate", [0.0, 0.0], (0, 1)),
        ("silent_failure_rate", [1.0, 96.0], (0, 100)),
        ("aurc", [np.nan, np.nan], (0, 1)),
        ("cost_correlation", [-0.13, 0.21], (-0.2, 0.25)),
    ],
)
def test_axes_have_round_ends_around_all_values(metric, values, ends):
    assert axis_domain(pd.Series(values), METRICS[metric]) == pytest.approx(ends)


def test_the_chart_follows_the_theme_and_speaks(responses):
    chart = shift_response(responses, subtitle="Mean over two networks. " * 12)
    assert palette.DARK.curves[1] in marks(render(chart, sf_dark=True), "sf_lines_0")
    spec = chart.to_dict()
    assert "border: accuracy, % of msr from 95.0 to 75.0." in spec["description"]
    assert len(spec["title"]["subtitle"]) > 1
