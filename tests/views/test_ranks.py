"""The critical-difference diagram: what its tables must hold, and that it draws what they say."""

import re

import numpy as np
import pandas as pd
import pytest
import vl_convert

from sfjax.views import export, lint, palette
from sfjax.views.ranks import LANE, ROW, check_groups, check_ranks, rank_plot

WIDTH = 260


def make_ranks(means: dict[str, dict[str, float]] | None = None) -> pd.DataFrame:
    """Two variants of four CSFs; in the first, they come as d, b, a, c."""
    means = means or {
        "task and shift": {"a": 2.8, "b": 2.2, "c": 3.8, "d": 1.2},
        "tasks": {"a": 1.5, "b": 2.0, "c": 3.0, "d": 3.5},
    }
    rows = [
        {"variant": variant, "csf": csf, "mean": mean, "low": max(1, mean - 0.25), "high": min(len(of), mean + 0.5),
         "p_best": 0.25, "blocks": 24 if place == 0 else 4, "critical_difference": 0.96 if place == 0 else 2.35}
        for place, (variant, of) in enumerate(means.items())
        for csf, mean in of.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_groups() -> pd.DataFrame:
    rows = [("task and shift", 0, 2.2, 2.8), ("tasks", 0, 1.5, 3.0), ("tasks", 1, 2.0, 3.5)]
    return pd.DataFrame(rows, columns=pd.Index(["variant", "group", "start", "end"]))


@pytest.fixture
def ranks() -> pd.DataFrame:
    return make_ranks()


@pytest.fixture
def groups() -> pd.DataFrame:
    return make_groups()


def render(chart, **params) -> str:
    return vl_convert.vegalite_to_svg(vl_spec=export.with_params(chart.to_dict(), params))


def marks(svg: str, view: str) -> str:
    group = svg[svg.index(f"{view}_marks") :]
    return group[: group.index("</g>")]


def places(svg: str, view: str) -> np.ndarray:
    found = re.findall(r"translate\(([-\d.e]+),([-\d.e]+)\)", marks(svg, view))
    return np.array([[float(x) for x in pair] for pair in found])


def lines(svg: str, view: str) -> np.ndarray:
    """From and to of each line: x, y, x, y."""
    found = re.findall(r'translate\(([-\d.e]+),([-\d.e]+)\)" x2="([-\d.e]+)" y2="([-\d.e]+)"', marks(svg, view))
    at = np.array([[float(x) for x in line] for line in found])
    return np.concatenate([at[:, :2], at[:, :2] + at[:, 2:]], axis=1)


def texts(svg: str, view: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", marks(svg, view))


def across(mean: float | np.ndarray, count: int = 4) -> float | np.ndarray:
    return (mean - 1) / (count - 1) * WIDTH


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="p_best"), "lacks the columns p_best"),
        (lambda t: t.iloc[:0], "empty"),
        (lambda t: t.iloc[:1], "at least two CSFs, each once; task and shift has a"),
        (lambda t: t.assign(csf="a"), "each once; task and shift has a, a, a, a"),
        (lambda t: t.assign(mean=0.5), r"mean of the ranks must lie in \[1, 4\]; found 0.5"),
        (lambda t: t.assign(mean=np.nan), r"mean of the ranks must lie in \[1, 4\]; found nan"),
        (lambda t: t.assign(high=4.2), r"high of the ranks must lie in \[1, 4\]; found 4.2"),
        (lambda t: t.assign(p_best=25.0), r"p_best of the ranks must lie in \[0, 1\]; found 25"),
        (lambda t: t.assign(low=4.0, high=1.0), "two ends, the lower first"),
        (lambda t: t.assign(low=np.nan), "two ends"),
        (
            lambda t: t.assign(blocks=range(1, 9)),
            "blocks of the ranks must hold one integer a variant.* has 1, 2, 3, 4",
        ),
        (lambda t: t.assign(blocks=0), "blocks .*from 1 up; task and shift has 0"),
        (lambda t: t.assign(blocks=4.5), "one integer"),
        (lambda t: t.assign(critical_difference=-1.0), "critical_difference .*has -1.0"),
    ],
)
def test_ranks_that_break_the_contract_are_refused(ranks, change, message):
    with pytest.raises(ValueError, match=message):
        check_ranks(change(ranks))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="end"), "lacks the columns end"),
        (lambda t: t.assign(variant="other"), "from 2.2 to 2.8 other has 0"),
        (lambda t: t.assign(end=t["start"]), "from 2.2 to 2.2 task and shift has 1"),
    ],
)
def test_groups_that_break_the_contract_are_refused(ranks, groups, change, message):
    with pytest.raises(ValueError, match=message):
        check_groups(change(groups), check_ranks(ranks))


def test_bars_that_share_a_row_take_lanes_of_their_own(ranks):
    means = {"one": dict(zip("abcdef", (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), strict=True))}
    spans = [("one", i, start, end) for i, (start, end) in enumerate([(1, 2), (2, 4), (3, 5), (5, 6)])]
    groups = pd.DataFrame(spans, columns=pd.Index(["variant", "group", "start", "end"]))
    bars = check_groups(groups, check_ranks(make_ranks(means)))
    # A lane is free again one row after a bar, so that two bars do not read as one.
    assert bars[["first", "last", "lane"]].to_numpy().tolist() == [[0, 1, 0], [1, 3, 1], [2, 4, 2], [4, 5, 0]]


@pytest.mark.parametrize("linked", [False, True])
def test_the_diagram_names_nothing_that_is_not_there(ranks, groups, linked):
    spec = rank_plot(ranks, groups, linked=linked).to_dict()
    assert lint.problems(spec) == []
    assert ("title" in spec) != linked


def test_rows_stand_in_the_order_of_the_mean_ranks_with_1_at_the_left(ranks, groups):
    svg = render(rank_plot(ranks, groups))
    assert texts(svg, "sf_names_0") == ["d", "b", "a", "c"] and texts(svg, "sf_names_1") == ["a", "b", "c", "d"]
    for panel, means in enumerate(([1.2, 2.2, 2.8, 3.8], [1.5, 2.0, 3.0, 3.5])):
        points = places(svg, f"sf_means_{panel}")
        np.testing.assert_allclose(points[:, 0], across(np.array(means)), atol=0.1)
        baselines = places(svg, f"sf_names_{panel}")[:, 1]
        np.testing.assert_allclose(points[:, 1], baselines - 4, atol=0.1)
        np.testing.assert_allclose(np.diff(points[:, 1]), ROW, atol=0.5)
    ends = lines(svg, "sf_ends_0")
    expected = np.array([[1, 1.7], [1.95, 2.7], [2.55, 3.3], [3.55, 4]])
    np.testing.assert_allclose(np.sort(ends[:, [0, 2]]), across(expected), atol=0.1)


def test_bars_join_the_rows_of_a_group_in_lanes_at_the_right(ranks, groups):
    svg = render(rank_plot(ranks, groups))
    rows = [places(svg, f"sf_means_{panel}")[:, 1] for panel in (0, 1)]
    (bar,) = lines(svg, "sf_bars_0")
    np.testing.assert_allclose(sorted(bar[[1, 3]]), rows[0][[1, 2]], atol=0.1)
    first, second = lines(svg, "sf_bars_1")
    np.testing.assert_allclose(sorted(first[[1, 3]]), rows[1][[0, 2]], atol=0.1)
    np.testing.assert_allclose(sorted(second[[1, 3]]), rows[1][[1, 3]], atol=0.1)
    assert first[0] > WIDTH and second[0] - first[0] == pytest.approx(LANE)


def test_the_ruler_is_as_long_as_the_critical_difference_or_ends_in_an_arrow(ranks, groups):
    svg = render(rank_plot(ranks, groups))
    assert "critical difference 0.96" in svg and "critical difference 2.35" in svg and "▶" not in svg
    length = [float(x) for x in re.findall(r'<line transform="translate\(0,[\d.]+\)" x2="([\d.]+)"', svg)]
    assert any(abs(x - across(1.96)) < 0.1 for x in length) and any(abs(x - across(3.35)) < 0.1 for x in length)
    wide = render(rank_plot(ranks.assign(critical_difference=3.3), groups))
    assert wide.count("▶") == 2 and "critical difference 3.30" in wide
    without = render(rank_plot(ranks.assign(critical_difference=np.nan), groups))
    assert "critical difference" not in without


def test_what_is_not_known_is_not_drawn(ranks, groups):
    holes = ranks.copy()
    holes.loc[0, ["low", "high", "p_best"]] = np.nan  # csf a, third of its panel
    svg = render(rank_plot(holes, groups))
    assert len(lines(svg, "sf_ends_0")) == 3 and len(places(svg, "sf_means_0")) == 4
    assert texts(svg, "sf_best_0") == ["25 %", "25 %", "–", "25 %"]
    none = render(rank_plot(ranks, groups.iloc[:0]))
    assert "sf_bars" not in none and ">not told apart<" not in none


def test_a_chance_is_never_or_always_only_where_it_is(ranks, groups):
    shares = [0.0, 0.004, 0.996, 1.0, 0.005, 0.994, 0.5, 0.1]
    svg = render(rank_plot(ranks.assign(p_best=shares, mean=[1.0, 2.0, 3.0, 4.0] * 2), groups.iloc[:0]))
    assert texts(svg, "sf_best_0") == ["0 %", "&lt; 1 %", "&gt; 99 %", "100 %"]
    assert texts(svg, "sf_best_1") == ["0 %", "99 %", "50 %", "10 %"]


@pytest.mark.parametrize(("dark", "theme"), [(False, palette.LIGHT), (True, palette.DARK)])
def test_the_diagram_follows_the_theme(ranks, groups, dark, theme):
    svg = render(rank_plot(ranks, groups), sf_dark=dark)
    assert marks(svg, "sf_bars_0").count(theme.curves[0]) == 1
    assert marks(svg, "sf_means_0").count(theme.ink) == 4
    assert f'fill="{theme.background}"' in svg


def test_a_screen_reader_hears_the_order_and_what_is_not_told_apart(ranks, groups):
    spoken = rank_plot(ranks, groups, subtitle="Blocks share images.").to_dict()["description"]
    assert "task and shift, 24 blocks, best first: d 1.20, b 2.20, a 2.80, c 3.80. Not told apart: b, a." in spoken
    assert "Not told apart: a, b, c; b, c, d." in spoken and spoken.endswith("Blocks share images.")


@pytest.mark.parametrize(
    ("count", "labels"),
    [(2, [1, 2]), (12, list(range(1, 13))), (13, [1, 5, 10, 13]), (20, [1, 5, 10, 15, 20]), (21, [1, 5, 10, 15, 20])],
)
def test_the_axis_names_ranks_that_have_room(count, labels, groups):
    means = {"one": {f"csf_{i}": 1.0 + i for i in range(count)}}
    svg = render(rank_plot(make_ranks(means), groups.iloc[:0]))
    axis = svg[svg.index("role-axis-label") :]
    assert [int(text) for text in re.findall(r">(\d+)</text>", axis[: axis.index("</g>")])] == labels


def test_odd_names_are_drawn_as_they_are(groups):
    odd = {'it\'s "a", b': {"1": 1.0, "<b>, x": 2.0, "a\\b": 3.0}}
    ranks = make_ranks(odd)
    span = pd.DataFrame([(*odd, "g", 1.0, 2.0)], columns=groups.columns)
    svg = render(rank_plot(ranks, span))
    assert texts(svg, "sf_names_0") == ["1", "&lt;b&gt;, x", "a\\b"]
    assert len(lines(svg, "sf_bars_0")) == 1


def test_a_long_subtitle_is_broken_into_lines(ranks, groups):
    long = "Blocks of one task share networks and images, so they are not independent. " * 4
    chart = rank_plot(ranks, groups, subtitle=long)
    parts = chart.to_dict()["title"]["subtitle"]
    assert len(parts) > 1 and " ".join(parts) == long.strip()
    png = vl_convert.vegalite_to_png(vl_spec=chart.to_dict(), ppi=72)
    assert png.startswith(b"\x89PNG") and int.from_bytes(png[16:20], "big") < 1150
