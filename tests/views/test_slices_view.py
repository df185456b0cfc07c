"""The chart of failure slices."""

import re

import numpy as np
import pandas as pd
import pytest
import vl_convert

from sfjax.views import failure_slices, lint, palette, thumbnails
from sfjax.views.export import with_params
from sfjax.views.slices import check_slices


def make_slices() -> pd.DataFrame:
    rows = [
        ("scanner", "B", "other", "msr", 35, 120, 0.02, 1, "3 4"),
        ("feature_cluster", "2", "all", "msr", 9, 60, 0.05, 0, ""),
        ("scanner", "B", "other", "energy", 20, 120, 0.03, 1, "4"),
    ]
    table = pd.DataFrame(
        rows,
        columns=["attribute", "value", "test_set", "csf", "failures", "n", "rest_rate", "significant", "exemplars"],
    )
    rate = table["failures"] / table["n"]
    return table.assign(
        slice=np.arange(3), rate=rate, low=rate * 0.7, high=rate * 1.3, p=[1e-9, 0.01, 1e-4],
        p_adjusted=[1e-7, 0.4, 0.01], tried=40, words=["", "domain = A (80 % of it, 40 % of all)", ""],
        text=["scanner = B: 35 of 120", "cluster 2: 9 of 60", "scanner = B: 20 of 120"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def spec() -> dict:
    pixels = np.zeros((2, 16, 16, 3), np.uint8)
    images = dict(zip((3, 4), thumbnails(pixels), strict=True))
    return failure_slices(make_slices(), images, subtitle="40 slices were tried.").to_dict()


def svg(spec: dict, **params: object) -> str:
    return vl_convert.vegalite_to_svg(vl_spec=with_params(spec, params))


def test_it_draws_the_chosen_csf_in_rank_order(spec):
    assert lint.problems(spec) == []
    drawn = svg(spec)
    words = [text for text in re.findall(r">([^<>]+)</text>", drawn) if "=" in text]
    assert words.index("scanner = B") < words.index("feature cluster = 2")
    assert "35 of 120" in drawn and "p &lt; 0.001" in drawn and "p = 0.4" in drawn
    assert "in all test sets, mostly domain = A" in drawn
    # What is longer goes on in a second line, whole.
    long = make_slices().assign(words="scanner = Aperio (80 % of it, 40 % of all), stage = advanced (71 % of it)")
    lines = re.findall(r">([^<>]+)</text>", svg(failure_slices(long).to_dict()))
    first = next(i for i, text in enumerate(lines) if text.startswith("in all test sets, mostly scanner = Aperio"))
    rest = [text for text in lines[first + 1 :] if text.endswith("stage = advanced (71 % of it)")]
    assert rest and not any("…" in text for text in lines)
    assert drawn.count("<image") == 2 and "20 of 120" not in drawn
    other = svg(spec, sf_csf="energy")
    assert "20 of 120" in other and other.count("<image") == 1


def test_rates_lie_where_they_belong_and_chance_is_hollow(spec):
    drawn = svg(spec)
    groups = re.findall(r'<g class="[^"]*sf_rates_marks"[^>]*>(.*?)</g>', drawn)
    at = [float(x) for x in re.findall(r"translate\(([\d.]+),", groups[0])]
    # The axis ends at the round share above the longest interval, 0.379.
    np.testing.assert_allclose(at, [280 * 35 / 120 / 0.4, 280 * 9 / 60 / 0.4], atol=0.1)
    fills = re.findall(r'fill="([^"]+)"', groups[0])
    assert fills == [palette.LIGHT.failure[-1], palette.LIGHT.surface]
    dark = svg(spec, sf_dark=True)
    assert palette.DARK.failure[-1] in dark and palette.LIGHT.failure[-1] not in dark


def test_in_a_page_it_has_no_inputs(spec):
    linked = failure_slices(make_slices(), linked=True).to_dict()
    assert lint.problems(linked) == []
    assert "bind" in str(spec["params"]) and "bind" not in str(linked["params"]) and "title" not in linked
    names = {param["name"] for param in linked["params"]}
    assert {"sf_csf", "sf_slice", "sf_dark"} <= names
    chosen = svg(linked, sf_slice=1)
    assert chosen.count(f'stroke="{palette.LIGHT.accent}"') == 1
    assert svg(linked).count(f'stroke="{palette.LIGHT.accent}"') == 0


def test_tables_are_checked():
    slices = make_slices()
    assert len(check_slices(slices.iloc[:0])) == 0
    with pytest.raises(ValueError, match="lacks the columns rate"):
        check_slices(slices.drop(columns="rate"))
    with pytest.raises(ValueError, match="slice of the slices must be integers"):
        check_slices(slices.assign(slice=1))
    with pytest.raises(ValueError, match=r"low of the slices must lie in \[0, 1\]; found -0.1"):
        check_slices(slices.assign(low=-0.1))
    with pytest.raises(ValueError, match="integers 0 or 1; got bool"):
        check_slices(slices.assign(significant=True))
    with pytest.raises(ValueError, match="is empty"):
        failure_slices(slices.iloc[:0])
