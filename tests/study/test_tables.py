import re

import pandas as pd
import pytest

from sfjax.study import overviews, tables

ROW = {
    **{"task": "t", "test_set": "a|b_c", "kind": "acquisition", "domain": "all", "level": 0, "n": 9, "metric": "aurc"},
    **{"best": False, "tied": False, "few_failures": False, "failures": 40.0, "low": 0.1, "high": 0.2},
    **{"undefined": 0.0, "seeds": 2, "seed_low": 0.05, "seed_high": 0.3},
    **{"hierarchical_low": float("nan"), "hierarchical_high": float("nan")},
}


@pytest.fixture
def summary() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {**ROW, "csf": "msr", "value": 0.1234, "best": True, "tied": True},
            {**ROW, "csf": "pe", "value": 0.13, "tied": True, "few_failures": True},
            {**ROW, "csf": "mls", "value": float("nan"), "few_failures": True},
            {**ROW, "csf": "energy", "value": 0.5},
        ]
    )


@pytest.fixture
def comparisons() -> pd.DataFrame:
    row = {key: ROW[key] for key in ("task", "test_set", "domain", "level", "metric")}
    return pd.DataFrame(
        [
            {**row, "csf": "pe", "baseline": "msr", "difference": -0.1, "different": True},
            {**row, "csf": "energy", "baseline": "msr", "difference": 0.3, "different": True},
            {**row, "csf": "mls", "baseline": "msr", "difference": 0.3, "different": False},
        ]
    )


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.replace(r"\|", "BAR").strip("|").split("|")]


def test_markdown_marks_best_ties_few_failures_and_differences(summary, comparisons):
    text = tables.metric_table(summary, comparisons, "aurc")
    about = ["t", "aBARb_c", "acquisition", "all", "9"]
    assert cells(text.splitlines()[-1]) == [*about, "**123.4**", "130.0 = † ▲", "–", "500.0 ▼"]
    assert "lower is better" in text and "than `msr`" in text


def test_where_higher_is_better_a_positive_difference_is_better(summary, comparisons):
    text = tables.metric_table(summary.assign(metric="auroc_f"), comparisons.assign(metric="auroc_f"), "auroc_f")
    assert cells(text.splitlines()[-1])[-3:] == ["13.0 = † ▼", "–", "50.0 ▲"]
    assert "higher is better" in text


def test_latex_has_the_same_cells(summary, comparisons):
    text = tables.latex_table(summary, comparisons, "aurc")
    row = next(line for line in text.splitlines() if line.startswith("t & "))
    marks = {"$^{=}$": "=", r"$^{\dagger}$": "†", r"$^{\triangle}$": "▲", r"$^{\triangledown}$": "▼"}
    for command, mark in marks.items():
        row = row.replace(command, mark)
    about = ["t", r"a|b\_c", "acquisition", "all", "9"]
    assert [cell.strip() for cell in row.rstrip("\\ ").split("&")] == [
        *about, r"\textbf{123.4}", "130.0 = † ▲", "--", "500.0 ▼"
    ]  # fmt: skip
    columns = re.search(r"begin\{tabular\}\{([lr ]+)\}", text)
    assert columns is not None and len(columns.group(1).replace(" ", "")) == 9


@pytest.mark.parametrize("cell", ["50 % & more_than {x}", "a\\b~c^d", "#1 costs $2"])
def test_latex_escapes_what_it_reads_as_commands(cell):
    escaped = tables.latex(cell)
    assert not re.search(r"(?<!\\)[&%$#_]", escaped)
    assert escaped.count("{") == escaped.count("}")


def test_a_table_without_comparisons_has_no_marks_of_them(summary):
    text = tables.metric_table(summary.iloc[:1], pd.DataFrame(), "aurc")
    assert "▲" not in text


def test_where_ties_cannot_be_told_it_says_so(summary, comparisons):
    text = tables.metric_table(summary.assign(undefined=0.2, tied=False), comparisons, "aurc")
    assert cells(text.splitlines()[-1])[5:] == ["**123.4**", "130.0 ? † ▲", "–", "500.0 ? ▼"]


def test_differences_have_their_interval_and_adjusted_p(comparisons):
    row = {"kind": "iid", "n": 9, "domain": "all", "task": "t", "test_set": "a", "low": 0.01, "high": 0.02}
    table = comparisons.assign(**row, p_holm=[0.0004, 0.012, float("nan")])
    table.loc[2, ["low", "high"]] = float("nan")
    text = overviews.comparison_table(table, "t")
    expected = ["**-100.0 [10.0, 20.0], p < 0.001**", "**300.0 [10.0, 20.0], p 0.012**", "300.0"]
    assert cells(text.splitlines()[-1])[4:] == expected and "less `msr`" in text


def test_seeds_and_images_stand_side_by_side(summary):
    line = overviews.seed_table(summary.iloc[:1], "t").splitlines()[-1]
    assert cells(line)[-1] == "123.4; images [100.0, 200.0]; seeds [50.0, 300.0]"


def test_costs_are_shown_in_their_own_unit_with_their_verdict():
    row = {**ROW, "metric": "cost_correlation"}
    rows = [{**row, "csf": "msr", "value": 0.31, "low": 0.12, "high": 0.5}]
    rows += [{**row, "csf": "pe", "value": -0.1, "low": -0.3, "high": 0.2, "few_failures": True}]
    line = overviews.cost_table(pd.DataFrame(rows)).splitlines()[-1]
    assert cells(line)[-3:] == ["40", "**0.31 [0.12, 0.50]**", "-0.10 [-0.30, 0.20] †"]


def test_groups_are_a_row_each():
    row = {**ROW, "column": "sex", "csf": "msr", "metric": "accuracy"}
    rows = [{**row, "group": "f", "value": 0.5}, {**row, "group": "m", "value": 0.7, "low": float("nan")}]
    text = overviews.group_table(pd.DataFrame(rows), "msr")
    assert "## t, by sex" in text
    assert [cells(line)[1:] for line in text.splitlines()[-2:]] == [
        ["f", "9", "50.0 [10.0, 20.0]"],
        ["m", "9", "70.0"],
    ]
    assert "no groups" in overviews.group_table(pd.DataFrame(), "msr")
