"""Reliability, confidence, confusion and working points: that the charts draw what their tables say."""

import re

import numpy as np
import pandas as pd
import pytest
from score_tables import (
    CSFS,
    groups,
    make_bins,
    make_confusion,
    make_histogram,
    make_operating,
    render,
    texts,
)

from sfjax.views import confidence_histogram, confusion, lint, operating_point, palette, reliability
from sfjax.views.calibration import check_bins, check_histogram
from sfjax.views.confusion import check_confusion
from sfjax.views.operating import check_operating

SIZE = 190


def colors(svg: str, view: str, attribute: str = "fill") -> list[str]:
    return [one for group in groups(svg, view) for one in re.findall(rf'{attribute}="(#[0-9a-f]{{6}})"', group)]


@pytest.mark.parametrize(
    ("check", "make", "change", "message"),
    [
        (check_bins, make_bins, lambda t: t.drop(columns="n"), "lacks the columns n"),
        (check_bins, make_bins, lambda t: t.iloc[:0], "empty. Give a csf that has a probability"),
        (check_bins, make_bins, lambda t: t.assign(accuracy=1.2), r"accuracy of the bins must lie in \[0, 1\]"),
        (check_bins, make_bins, lambda t: t.assign(n=0), "found one with 0. Leave out empty"),
        (check_histogram, make_histogram, lambda t: t.iloc[:0], "empty"),
        (check_histogram, make_histogram, lambda t: t.assign(end=t["start"]), "ends above where it starts"),
        (check_histogram, make_histogram, lambda t: t.assign(correct=-1), "a number below 0"),
        (check_histogram, make_histogram, lambda t: t.assign(failures=np.nan), "failures .* 6|12 values"),
        (check_confusion, make_confusion, lambda t: t.iloc[:0], "empty"),
        (check_confusion, make_confusion, lambda t: pd.concat([t, t]), "msr, iid_test, class 0, class 0 comes more"),
        (check_confusion, make_confusion, lambda t: t.assign(n=0), "found 0"),
        (check_confusion, make_confusion, lambda t: t.assign(confidence=np.nan), "confidence .* found nan"),
        (check_operating, make_operating, lambda t: t[t["kind"] != "iid"], "kind iid, and the curves have none"),
        (check_operating, make_operating, lambda t: t[t["point"] < 20],
         "on strange accepts 0.73.*. Give the whole curve"),
        (check_operating, make_operating, lambda t: t.assign(point=1), "numbered from 1, each once"),
        (check_operating, make_operating, lambda t: t[(t["kind"] != "iid") | (t["point"] != 3)], "that iid_test lacks"),
        (check_operating, make_operating, lambda t: t.assign(low=np.nan), "low of the curves .* found nan"),
    ],
)  # fmt: skip
def test_tables_that_break_their_contract_are_refused(check, make, change, message):
    with pytest.raises(ValueError, match=message):
        check(change(make()))


@pytest.mark.parametrize("linked", [False, True])
def test_charts_name_nothing_that_is_not_there(linked):
    charts = [
        reliability(make_bins(), linked=linked),
        confidence_histogram(make_histogram(), linked=linked),
        confusion(make_confusion(31) if linked else make_confusion(), linked=linked),
        operating_point(make_operating(), linked=linked),
    ]
    for chart in charts:
        spec = chart.to_dict()
        assert lint.problems(spec) == []
        assert ("title" in spec) != linked and not (linked and any("bind" in param for param in spec["params"]))


@pytest.mark.parametrize(("dark", "theme"), [(False, palette.LIGHT), (True, palette.DARK)])
def test_reliability_draws_bins_where_they_are_and_says_who_is_too_sure(dark, theme):
    bins = make_bins()
    svg = render(reliability(bins), sf_csf="mcd_mi", sf_dark=dark)
    panels = groups(svg, "sf_bins")
    assert len(panels) == 2 and svg.index(">iid_test<") < svg.index(">other_scanner<")  # the source first
    for panel, name in zip(panels, ("iid_test", "other_scanner"), strict=True):
        rows = bins[(bins["test_set"] == name) & (bins["csf"] == "mcd_mi")]
        found = np.array(re.findall(r"translate\(([-\d.e]+),([-\d.e]+)\)", panel), dtype=float)
        expected = np.stack([rows["confidence"], 1 - rows["accuracy"]], axis=1)
        expected = SIZE * (expected + 0.04) / 1.08  # with a margin for markers at 0 and 1
        np.testing.assert_allclose(found, expected, atol=0.1)
        too_sure = (rows["accuracy"] < rows["confidence"]).tolist()
        fills = re.findall(r'fill="(#[0-9a-f]{6})"', panel)
        assert fills == [theme.failure[-1] if one else theme.correct[-1] for one in too_sure]
        # The second cue: the tip of a triangle, its corner in the middle, points down where too much is promised.
        paths = [re.findall(r"([-\d.e]+),([-\d.e]+)", path) for path in re.findall(r' d="(M[^"]*)"', panel)]
        tips = [next(float(y) for x, y in path if abs(float(x)) < 1e-6) for path in paths]
        assert [tip > 0 for tip in tips] == too_sure
    gap = {name: (rows["n"] * (rows["accuracy"] - rows["confidence"]).abs()).sum() / rows["n"].sum()
           for name, rows in bins[bins["csf"] == "mcd_mi"].groupby("test_set")}  # fmt: skip
    expected = [f"gap {100 * gap[name]:.1f}%, n = 60" for name in ("iid_test", "other_scanner")]
    assert texts(svg, "sf_words") == expected


def test_titles_of_panels_stand_in_a_line_though_a_bin_is_always_right():
    bins = make_bins()
    bins.loc[bins["test_set"] == "iid_test", ["accuracy", "high"]] = 1.0
    svg = render(reliability(bins), sf_csf="msr")
    at = [
        re.findall(r'role-title"><g transform="translate\([-\d.]+,([-\d.]+)\)', svg[: svg.index(f">{name}<")])[-1]
        for name in ("iid_test", "other_scanner")
    ]
    assert at[0] == at[1]


def test_the_histogram_counts_silent_failures_beyond_the_threshold():
    histogram = make_histogram()
    chart = confidence_histogram(histogram)
    for threshold in (0.8, 0.9):
        svg = render(chart, sf_csf="mcd_mi", sf_threshold=threshold)
        rows = histogram[(histogram["csf"] == "mcd_mi") & (histogram["test_set"] == "iid_test")]
        silent, wrong = rows.loc[rows["start"] >= threshold - 1e-9, "failures"].sum(), rows["failures"].sum()
        images = rows[["correct", "failures"]].to_numpy().sum()
        assert texts(svg, "sf_words") == [f"{silent} of {wrong} failures above; {images} images"] * 2
        (rule, _) = groups(svg, "sf_rule")
        assert float(re.findall(r"translate\(([-\d.]+),", rule)[0]) == pytest.approx(240 * threshold, abs=0.6)


@pytest.mark.parametrize("log", [False, True])
def test_bars_of_the_histogram_are_as_long_as_their_counts(log):
    histogram = make_histogram()
    svg = render(confidence_histogram(histogram, log=log, height=200), sf_panel="iid_test")
    rows = histogram[(histogram["csf"] == "msr") & (histogram["test_set"] == "iid_test")]

    def tall(count):
        return np.where(count > 0, 1 + np.log10(np.maximum(count, 1)), 0) if log else count

    lowest, highest = -1.05 * tall(histogram["failures"].max()), 1.25 * tall(histogram["correct"].max())
    for view, column in (("sf_up", "correct"), ("sf_down", "failures")):
        (panel,) = groups(svg, view)
        height = [float(x) for x in re.findall(r"v([-\d.]+)h", panel)] or None
        assert height is not None
        expected = tall(rows[column].to_numpy()) / (highest - lowest) * 200
        np.testing.assert_allclose(np.abs(height), expected, atol=0.15)
    assert set(colors(svg, "sf_down")) <= set(palette.LIGHT.failure)
    assert set(colors(svg, "sf_up")) <= set(palette.LIGHT.correct)


def test_confident_confusions_stand_out():
    table = make_confusion()
    svg = render(confusion(table), sf_panel="other_scanner")
    rows = table[(table["csf"] == "msr") & (table["test_set"] == "other_scanner")]
    assert sorted(texts(svg, "sf_numbers")) == sorted(rows["n"].astype(str))
    share = rows["n"] / rows.groupby("label")["n"].transform("sum")
    assert sorted(texts(svg, "sf_shares")) == sorted(f"{100 * one:.0f}%" for one in share)
    wrong = rows["label"] != rows["predicted"]
    found = colors(svg, "sf_cells")
    for confidence, step in ((0.95, 8), (0.4, 3)):
        assert found.count(palette.LIGHT.failure[step]) == (wrong & (rows["confidence"] == confidence)).sum() > 0
    assert found.count(palette.LIGHT.correct[1]) == (~wrong).sum()
    bold = re.findall(r'font-weight="bold"[^>]*>(\d+)<', "".join(groups(svg, "sf_numbers")))
    assert sorted(bold) == sorted(rows.loc[wrong & (rows["confidence"] > 0.9), "n"].astype(str))


def test_of_many_classes_the_pairs_that_are_confused_most_are_listed():
    table = make_confusion(31)
    chart = confusion(table, top=4)
    assert "4 pairs of classes that are confused most, of 31 classes" in " ".join(chart.to_dict()["title"]["subtitle"])
    wrong = table[(table["csf"] == "msr") & (table["test_set"] == "iid_test") & (table["label"] != table["predicted"])]
    svg = render(chart, sf_panel="iid_test")
    first = wrong.sort_values(["n", "confidence"], ascending=False)["n"].head(4).astype(str).tolist()
    assert [text.split(" ")[0] for text in texts(svg, "sf_words")] == first


def test_classes_come_in_the_given_order_and_none_may_be_missing():
    table = make_confusion()
    spec = confusion(table, classes=["class 2", "class 0", "class 1"]).to_dict()
    assert spec["spec"]["layer"][0]["encoding"]["y"]["scale"]["domain"] == ["class 2", "class 0", "class 1"]
    with pytest.raises(ValueError, match="not among those given: class 1, class 2"):
        confusion(table, classes=["class 0"])


def chosen_by_hand(table: pd.DataFrame, csf: str, name: str, rule: str, target: float, coverage: float):
    """The point of largest coverage on the source that the rule allows, and what it does on a test set."""
    of_csf = table[table["csf"] == csf]
    source = of_csf[of_csf["kind"] == "iid"].set_index("point")
    allowed = {"risk": source["selective_risk"] <= target, "upper bound": source["high"] <= target,
               "coverage": source["coverage"] <= coverage}[rule]  # fmt: skip
    if not allowed.any():
        return "no threshold", None
    point = source.index[allowed].max()
    row = of_csf[of_csf["test_set"] == name].set_index("point").loc[point]
    aim = source.loc[point, "selective_risk"] if rule == "coverage" else target
    if np.isnan(row["selective_risk"]):
        return "none accepted", row
    return "kept" if row["selective_risk"] <= aim else "broken" if row["low"] > aim else "above", row


@pytest.mark.parametrize(
    ("rule", "target", "coverage"),
    [("risk", 0.12, 0), ("upper bound", 0.12, 0), ("coverage", 0, 0.5), ("risk", 0.01, 0), ("coverage", 0, 0.3)],
)
def test_working_points_are_those_that_numpy_finds(rule, target, coverage):
    table = make_operating()
    chart = operating_point(table)
    svg = render(chart, sf_rule=rule, sf_target=target, sf_coverage=coverage, sf_csf="all")
    sets = ("iid_test", "far", "strange")
    found = [chosen_by_hand(table, csf, name, rule, target, coverage) for name in sets for csf in CSFS]
    # Of the source's own images a kept target says nothing: the first rows are its.
    states = ["chosen here," if i < len(CSFS) and state == "kept" else state for i, (state, _) in enumerate(found)]
    words = [state if row is None or np.isnan(row["selective_risk"]) else f"{state} {row['selective_risk']:.1%}"
             for state, (_, row) in zip(states, found, strict=True)]  # fmt: skip
    assert texts(svg, "sf_states") == words
    assert texts(svg, "sf_accepted_words") == ["0%" if row is None else f"{row['coverage']:.0%}" for _, row in found]
    whole = table[table["point"] == 20].set_index(["csf", "test_set"])["selective_risk"]
    missed = [0 if row is None else row["coverage"] * np.nan_to_num(row["selective_risk"]) for _, row in found]
    pairs = [(csf, name) for name in sets for csf in CSFS]
    assert texts(svg, "sf_missed_words") == [
        f"{one / whole[pair]:.0%}; {one:.1%}" for one, pair in zip(missed, pairs, strict=True)
    ]


def test_broken_promises_are_told_by_shape_and_color():
    svg = render(operating_point(make_operating()), sf_rule="coverage", sf_coverage=0.5, sf_csf="msr", sf_dark=True)
    states = [text.split(" ")[0] for text in texts(svg, "sf_states")]
    assert set(states) == {"chosen", "kept", "broken"}
    (marks,) = groups(svg, "sf_risks")
    drawn = re.findall(r'<path[^>]* d="([^"]*)"[^>]*fill="(#[0-9a-f]{6})"', marks)
    dark = palette.DARK
    expected = {**dict.fromkeys(("chosen", "kept"), (True, dark.correct[-1])), "broken": (False, dark.failure[-1])}
    assert [("A" in path, fill) for path, fill in drawn] == [expected[state] for state in states]


def test_the_number_of_accepted_images_is_said_where_it_is_known():
    table = make_operating()
    counted = table.assign(accepted=(50 * table["coverage"]).round().astype(int))
    svg = render(operating_point(counted), sf_rule="coverage", sf_coverage=0.5, sf_csf="msr")
    assert texts(svg, "sf_accepted_words") == ["50% (25)", "50% (25)", "2% (1)"]
    nothing = render(operating_point(counted), sf_rule="coverage", sf_coverage=0.0, sf_csf="msr")
    assert texts(nothing, "sf_accepted_words") == ["0% (0)"] * 3


def test_curves_without_points_accept_the_same_share_everywhere():
    table = make_operating().drop(columns=["point", "threshold"])
    table = table[table["test_set"] != "strange"]
    chart = operating_point(table, rule="coverage")
    assert "The same share of every test set is accepted." in chart.to_dict()["title"]["subtitle"]
    assert texts(render(chart, sf_coverage=0.6, sf_csf="all"), "sf_accepted_words") == ["60%"] * 4
    with pytest.raises(ValueError, match="one of risk, upper bound, coverage; got 'cost'"):
        operating_point(table, rule="cost")
