"""The table of results and that of causes: ranks, ties and verdicts as their tables say."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from score_tables import groups, render, texts

from sfjax.views import aurc_table, cause_table, lint, palette
from sfjax.views.causes import check_causes
from sfjax.views.results_table import cells

CSFS = ("msr", "pe", "mcd_mi", "knn")


def make_summary() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = [
        {"task": task, "test_set": name, "shift": "none" if kind == "iid" else name, "kind": kind, "level": 0,
         "domain": "all", "csf": csf, "metric": metric, "value": round(float(rng.random()), 3), "n": 30, "seeds": 2,
         "best": False, "tied": False, "few_failures": False}
        for task in ("skin", "chest")
        for name, kind in (("scanner", "acquisition"), ("iid_test", "iid"), ("noise", "corruption"))
        for csf in CSFS
        for metric in ("aurc", "auroc_f")
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    lowest = table[table["metric"] == "aurc"].groupby(["task", "test_set"])["value"].idxmin()
    table.loc[lowest, "best"] = table.loc[lowest, "tied"] = True
    return pd.concat([table, table.assign(domain="B", value=0.0), table.assign(level=2, test_set="noise-2", value=0.0)])


def make_causes() -> pd.DataFrame:
    rows = [
        {"task": task, "kind": "cause", "cause": cause, "dial": 0.4, "csf": csf,
         "verdict": ("sees", "misses", "unclear", "no failures")[(i + j) % 4], "accuracy_usual": 0.94,
         "accuracy_far": 0.6, "auroc_f_usual": 0.9, "auroc_f_far": 0.9 - 0.1 * i, "auroc_f_low": -0.2,
         "auroc_f_high": 0.1, "silent_failure_rate_low": 0.05 if j == 1 else -0.01, "few_failures": i == 2}
        for task in ("skin", "chest") for i, csf in enumerate(CSFS) for j, cause in enumerate(("noise", "border"))
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def summary() -> pd.DataFrame:
    return make_summary()


@pytest.mark.parametrize("linked", [False, True])
def test_heat_maps_name_nothing_that_is_not_there(summary, linked):
    for chart in (aurc_table(summary, linked=linked), cause_table(make_causes(), linked=linked)):
        spec = chart.to_dict()
        assert lint.problems(spec) == []
        assert ("title" in spec) != linked and not (linked and any("bind" in param for param in spec["params"]))


@pytest.mark.parametrize(("metric", "sign"), [("aurc", 1), ("auroc_f", -1)])
def test_ranks_are_those_of_pandas_and_scipy_whichever_are_shown(summary, metric, sign):
    chosen = summary[(summary["metric"] == metric) & (summary["level"] == 0) & (summary["domain"] == "all")]
    wide = chosen.pivot(index=["task", "test_set"], columns="csf", values="value")
    by_pandas = wide.rank(axis=1, method="min", ascending=sign > 0)
    by_scipy = stats.rankdata(sign * wide.to_numpy(), axis=1, method="min")
    found = cells(summary, metric=metric).table.pivot(index=["task", "test_set"], columns="csf", values="rank")
    pd.testing.assert_frame_equal(found, by_pandas)
    np.testing.assert_array_equal(found.to_numpy(), by_scipy)
    two = cells(summary, metric=metric, csfs=2)
    assert two.csfs == by_pandas.mean().sort_values(kind="stable").index[:2].tolist() and two.ranked == 4
    some = two.table.pivot(index=["task", "test_set"], columns="csf", values="rank")
    pd.testing.assert_frame_equal(some, by_pandas[sorted(two.csfs)])


@pytest.mark.parametrize(("dark", "theme"), [(False, palette.LIGHT), (True, palette.DARK)])
def test_cells_say_values_and_mark_the_best_and_its_ties(summary, dark, theme):
    tied = summary["csf"].eq("pe") & summary["test_set"].eq("scanner") & ~summary["best"]
    few = summary["csf"].eq("knn") & summary["test_set"].eq("scanner")
    marked = summary.assign(tied=summary["tied"] | tied, few_failures=few | summary["test_set"].eq("noise"))
    svg = render(aurc_table(marked), sf_dark=dark)
    shown = marked[(marked["metric"] == "aurc") & (marked["level"] == 0) & (marked["domain"] == "all")]
    marks = [
        ("=" if row.tied and not row.best else "") + ("†" if row.csf == "knn" and row.test_set == "scanner" else "")
        for row in shown.itertuples()
    ]
    expected = [f"{1000 * value:.1f}{mark}" for value, mark in zip(shown["value"], marks, strict=True)]
    assert sorted(texts(svg, "sf_numbers")) == sorted(expected)
    ties = sum("=" in mark for mark in marks)
    assert re.findall(r">(iid_test|scanner|noise †)</text>", svg) == ["iid_test", "scanner", "noise †"] * 2
    framed = re.findall(r"<path[^>]*>", "".join(groups(svg, "sf_best")))
    assert sum('stroke-width="2.5"' in path and theme.ink in path for path in framed) == 6
    assert sum('stroke-width="0"' in path for path in framed) == len(framed) - 6
    bold = re.findall(r'font-weight="bold"[^>]*>([^<]*)<', "".join(groups(svg, "sf_numbers")))
    assert sorted(text.rstrip("†") for text in bold) == sorted(
        f"{1000 * v:.1f}" for v in shown.loc[shown["best"], "value"]
    )
    assert "".join(groups(svg, "sf_tied")).count('stroke-width="1.5"') == ties > 0
    fills = re.findall(r'fill="(#[0-9a-f]{6})"', "".join(groups(svg, "sf_cells")))
    assert (
        fills.count(theme.correct[-1]) == 6 and fills.count(theme.correct[0]) == 6
    )  # of four ranks, the first and last


def test_colors_by_value_are_on_one_scale_and_worst_is_strongest(summary):
    for metric, worst in (("aurc", "max"), ("auroc_f", "min")):
        chart = aurc_table(summary, metric=metric)
        svg = render(chart, sf_color_by="value")
        fills = re.findall(r'fill="(#[0-9a-f]{6})"', "".join(groups(svg, "sf_cells")))
        table = cells(summary, metric=metric).table
        value = table["value"]
        share = (value - value.min()) / (value.max() - value.min())
        share = share if worst == "max" else 1 - share
        steps = np.minimum(8, np.floor(share * 9)).astype(int)
        assert sorted(fills) == sorted(palette.LIGHT.failure[step] for step in steps)


def test_results_of_seeds_are_averaged_without_ties_and_levels_under_their_corruption(summary):
    marks = ["best", "tied", "seeds", "few_failures"]
    rows = summary[(summary["metric"] == "aurc") & (summary["task"] == "skin")].drop(columns=[*marks, "task"])
    rows = rows[~((rows["kind"] == "corruption") & (rows["level"] == 0))]
    seeds = pd.concat([rows.assign(seed=0), rows.assign(seed=1, value=rows["value"] + 0.2)])
    found = cells(seeds)
    assert not found.marked and (found.table["tied"] == 0).all()
    assert "Ties are not known." in aurc_table(seeds).to_dict()["title"]["subtitle"][0]
    noise = found.table[found.table["test_set"] == "noise"]
    np.testing.assert_allclose(noise["value"], 100)  # 0 and 0.2 of level 2, times 1000
    (first,) = rows.query("test_set == 'iid_test' and level == 0 and domain == 'all' and csf == 'msr'")["value"]
    iid = found.table[found.table["test_set"] == "iid_test"].set_index("csf")["value"]
    assert iid["msr"] == pytest.approx(1000 * (first + 0.1))


def test_a_value_that_is_not_there_is_a_dash(summary):
    holes = summary[~((summary["csf"] == "knn") & (summary["test_set"] == "scanner"))].copy()
    holes.loc[(holes["csf"] == "pe") & (holes["test_set"] == "noise"), "value"] = np.inf
    assert texts(render(aurc_table(holes)), "sf_numbers").count("–") == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "ece"}, "hold no ece of all domains together; they hold aurc, auroc_f"),
        ({"csfs": ("msr", "best")}, "hold no csf best; they hold msr, pe, mcd_mi, knn"),
        ({"csfs": 0}, "At least one csf is shown; got 0"),
        ({"color_by": "size"}, "one of rank, value; got 'size'"),
    ],
)
def test_what_the_results_do_not_hold_is_refused(summary, arguments, message):
    with pytest.raises(ValueError, match=message):
        aurc_table(summary, **arguments)
    with pytest.raises(ValueError, match="skin, iid_test, iid, msr comes more than once"):
        aurc_table(pd.concat([summary.query("test_set == 'iid_test'")] * 2))


@pytest.mark.parametrize(("dark", "theme"), [(False, palette.LIGHT), (True, palette.DARK)])
def test_verdicts_are_words_and_colors(dark, theme):
    causes = make_causes()
    svg = render(cause_table(causes), sf_dark=dark)
    expected = [
        f"{row.verdict}{' !' if row.silent_failure_rate_low > 0 else ''}{' †' if row.few_failures else ''}"
        for row in causes.itertuples()
    ]
    assert sorted(texts(svg, "sf_verdicts")) == sorted(expected)
    numbers = [f"{100 * far:.0f} ({100 * (far - 0.9):+.0f})".replace("-", "−") for far in causes["auroc_f_far"]]
    assert sorted(texts(svg, "sf_numbers")) == sorted(numbers) and "60 (−30)" in numbers
    fills = re.findall(r'fill="(#[0-9a-f]{6})"', "".join(groups(svg, "sf_cells")))
    for verdict, color in (("sees", theme.correct[-1]), ("misses", theme.failure[-1]), ("unclear", theme.line)):
        assert fills.count(color) == (causes["verdict"] == verdict).sum() == 4
    assert svg.count(">accuracy 94 → 60 %<") == 4 and svg.count("noise 0.4<") == 2


def test_marks_that_all_would_have_are_said_once():
    chart = cause_table(make_causes().assign(few_failures=True))
    assert "All of it rests on few failures" in " ".join(chart.to_dict()["title"]["subtitle"])
    assert not any("†" in text for text in texts(render(chart), "sf_verdicts"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.iloc[:0], "empty"),
        (lambda t: t.drop(columns="verdict"), "lacks the columns verdict"),
        (lambda t: t.assign(verdict="maybe"), "one of sees, misses, unclear, no failures; got maybe"),
        (lambda t: pd.concat([t, t]), "skin, noise, msr comes more than once"),
        (lambda t: t.assign(accuracy_far=60.0), r"accuracy_far of the causes must lie in \[0, 1\]"),
    ],
)
def test_causes_that_break_the_contract_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        check_causes(change(make_causes()))


def test_one_task_has_one_panel_and_names_it(summary):
    for chart, title in (
        (aurc_table(summary.query("task == 'skin'")), "skin: AURC × 1000"),
        (cause_table(make_causes().query("task == 'skin'")), "skin: which score sees which cause"),
    ):
        spec = chart.to_dict()
        assert "spec" not in spec and spec["title"]["text"] == title and lint.problems(spec) == []
        assert f">{title}<" in render(chart, sf_dark=True)
