"""The contracts of the tables, and what the charts made of them say and draw."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import vl_convert
from view_tables import make_curves, make_points

from sfjax.views import export, latent_3d, lint, palette, risk_coverage, save
from sfjax.views.results import METRICS, metric_titles, summarize
from sfjax.views.tables import check_curves, check_points
from sfjax.views.thumbnails import PREFIX, thumbnails


@pytest.fixture
def points() -> pd.DataFrame:
    return make_points()


@pytest.fixture
def curves() -> pd.DataFrame:
    return make_curves()


def render(chart, **params) -> str:
    return vl_convert.vegalite_to_svg(vl_spec=export.with_params(chart.to_dict(), params))


def translations(svg: str, view: str) -> np.ndarray:
    """Positions of the marks of a named view, from their SVG."""
    group = svg[svg.index(f"{view}_marks") :]
    group = group[: group.index("</g>")]
    return np.array([[float(x) for x in m] for m in re.findall(r"translate\(([-\d.e]+),([-\d.e]+)\)", group)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="x"), "lacks the columns x"),
        (lambda t: t.assign(id=1), "each once"),
        (lambda t: t.assign(id=t["id"].astype(float)), "integers"),
        (lambda t: t.assign(correct_pe=t["correct_pe"] == 1), "0 or 1"),
        (lambda t: t.assign(confidence_pe=1.2), r"\[0, 1\]"),
        (lambda t: t.assign(confidence_pe=np.nan), r"\[0, 1\]"),
        (lambda t: t.assign(z=np.inf), "not finite"),
        (lambda t: t.assign(embedding=np.where(t.index < 9, "a", "b")), "2 embeddings"),
        (lambda t: t.assign(placed=t["placed"] == 1), "0 or 1"),
        (lambda t: t.assign(level=0.5), "column level"),
        (lambda t: t.assign(u=np.nan), "not finite"),
        (lambda t: t.iloc[:0], "empty"),
        (lambda t: t[["id", "test_set"]], "no column confidence_"),
        (lambda t: t.rename(columns={"confidence_pe": "confidence_p e"}), "letters, digits"),
    ],
)
def test_points_that_break_the_contract_are_refused(points, change, message):
    with pytest.raises(ValueError, match=message):
        check_points(change(points))


def test_curves_that_break_the_contract_are_refused(curves):
    with pytest.raises(ValueError, match="lacks the columns high"):
        check_curves(curves.drop(columns="high"))
    with pytest.raises(ValueError, match="coverage"):
        check_curves(curves.assign(coverage=2.0))


@pytest.mark.parametrize("linked", [False, True])
def test_charts_name_nothing_that_is_not_there(points, curves, linked):
    for chart in (latent_3d(points, linked=linked), risk_coverage(curves, linked=linked)):
        spec = chart.to_dict()
        assert lint.problems(spec) == []
        assert "http" not in json.dumps({key: value for key, value in spec.items() if key != "$schema"})


def test_lint_finds_what_the_compiler_does_not(points, curves):
    spec = json.dumps(latent_3d(points).to_dict())
    for right, wrong, message in (
        ("datum.kind ", "datum.kinds ", "datum.kinds"),
        ("sf_size *", "sf_sise *", "sf_sise"),
        ("'correct_' +", "'corect_' +", "corect_"),
        ("datum.test_set ==", "datum['set'] ==", "datum.set"),
    ):
        assert right in spec
        assert any(message in problem for problem in lint.problems(json.loads(spec.replace(right, wrong))))
    curve = json.dumps(risk_coverage(curves).to_dict()).replace('"field": "high"', '"field": "hihg"')
    assert any("hihg" in problem for problem in lint.problems(json.loads(curve)))
    bare = json.loads(spec)
    del bare["description"]
    assert lint.problems(bare) == ["The chart has no description."]


@pytest.mark.parametrize("azimuth, elevation, zoom", [(0, 0, 1), (35, 20, 1), (-120, -60, 0.6)])
def test_projection_is_that_of_a_turned_tilted_perspective_camera(points, azimuth, elevation, zoom):
    """Against rotation matrices: about the vertical, then about the horizontal, then a perspective divide."""
    points = points.iloc[:12]
    svg = render(latent_3d(points, size=400), sf_azimuth=azimuth, sf_elevation=elevation, sf_zoom=zoom)
    centered = points[["x", "y", "z"]].to_numpy() - points[["x", "y", "z"]].to_numpy().mean(axis=0)
    centered = centered / np.linalg.norm(centered, axis=1).max()
    a, e = np.radians([azimuth, elevation])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array(
        [[1, 0, 0], [0, np.cos(e), -np.sin(e)], [0, np.sin(e), np.cos(e)]]
    )  # seen from above: the top is near
    right, away, up = tilt @ turn @ centered.T  # the camera looks along `away` from 4 radii
    scale = 0.465 * 400 * zoom / (1 + away / 4.0)
    expected = np.stack([200 + right * scale, 200 - up * scale], axis=1)
    found = translations(svg, "sf_points")
    assert len(found) == 12
    far_to_near = np.argsort(-away)
    np.testing.assert_allclose(found, expected[far_to_near], atol=0.2)


def test_every_point_is_inside_the_view_from_every_side(points):
    """One point is farther out than the others, and each of these sides brings it near an edge."""
    points = points.iloc[:12].copy()
    points.loc[points.index[0], ["x", "y", "z"]] = [9.0, 0.0, 0.0]
    for azimuth, elevation in ((0, 0), (15, 0), (165, 0), (-90, 90), (-105, 80)):
        svg = render(latent_3d(points, size=300), sf_azimuth=azimuth, sf_elevation=elevation)
        found = np.array(translations(svg, "sf_points"))
        assert (found > 4).all() and (found < 296).all()
        assert np.abs(found - 150).max() > 90


def fills(svg: str) -> list[str]:
    group = svg[svg.index("sf_points_marks") :]
    return re.findall(r'fill="(#[0-9a-f]{6}|rgb\([^)]*\))"', group[: group.index("</g>")])


@pytest.mark.parametrize(("dark", "theme"), [(False, palette.LIGHT), (True, palette.DARK)])
def test_failures_are_drawn_as_failures(points, dark, theme):
    """A boolean read from CSV text would make every failure a success."""
    svg = render(latent_3d(points), sf_dark=dark)
    found = fills(svg)
    failures = int((points["correct_msr"] == 0).sum())
    assert sum(color in theme.failure for color in found) == failures
    assert sum(color in theme.correct for color in found) == len(points) - failures
    # The cue besides color: arcs make a circle, and a cross has none.
    marks = re.findall(r'<path[^>]* d="([^"]*)"[^>]*fill="(#[0-9a-f]{6})"', svg[svg.index("sf_points_marks") :])
    shapes = {(color in theme.failure, "A" in path) for path, color in marks[: len(points)]}
    assert shapes == {(True, False), (False, True)}


def test_the_longest_legend_has_room_whichever_is_shown(points):
    """A page gives a chart its size once."""
    heights = [
        float(re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', render(latent_3d(points), sf_color=color)).group(1))
        for color in ("confidence", "class confusion")
    ]
    assert heights[0] == heights[1]


def test_colors_of_domain_and_confusion(points):
    chart = latent_3d(points)
    domain = fills(render(chart, sf_color="source / target"))
    assert domain.count(palette.LIGHT.source) == (points["kind"] == "iid").sum()
    assert domain.count(palette.LIGHT.target) == (points["kind"] != "iid").sum()
    confusion = fills(render(chart, sf_color="class confusion", sf_class="malignant"))
    found, missed, called, neither = (confusion.count(color) for color in palette.LIGHT.confusion)
    truth = pd.crosstab(points["label"], points["predicted_msr"])
    assert found == truth.loc["malignant", "malignant"] and missed == truth.loc["malignant", "benign"]
    assert called == truth.loc["benign", "malignant"] and neither == truth.loc["benign", "benign"]


def test_only_the_chosen_test_set_is_drawn(points):
    chart = latent_3d(points)
    assert len(fills(render(chart, sf_test_set="rare_kind", sf_source=False))) == 30
    assert len(fills(render(chart, sf_test_set="rare_kind"))) == 60


def test_class_names_are_data_and_not_numbers_or_code(points):
    odd = {"benign": "1", "malignant": 'it\'s "<b>", a\\b'}
    renamed = points.replace(odd)
    svg = render(latent_3d(renamed), sf_color="class confusion", sf_class=odd["malignant"])
    assert fills(svg).count(palette.LIGHT.confusion[0]) > 0
    assert "<b>" not in svg


def test_one_image_can_be_drawn(points):
    assert len(fills(render(latent_3d(points.iloc[:1])))) == 1


def test_curves_have_a_line_a_csf_and_panel_in_the_colors_of_the_theme(curves):
    svg = render(risk_coverage(curves))
    lines = re.findall(r'<path[^>]*stroke="(#[0-9a-f]{6})"[^>]*stroke-dasharray="([^"]*)"', svg)
    for color in palette.LIGHT.curves[:3]:
        assert sum(stroke == color for stroke, _ in lines) >= 3, svg[:3000]
    assert len({dash for _, dash in lines}) == 3
    assert all(f">{name}<" in svg for name in ("iid_test", "other_scanner", "rare_kind"))
    only = render(risk_coverage(curves), sf_panel="rare_kind")
    assert ">other_scanner<" not in only and ">iid_test<" in only and ">rare_kind<" in only


@pytest.mark.parametrize("theme", [palette.LIGHT, palette.DARK])
def test_ramps_run_away_from_the_background(theme):
    def lightness(color: str) -> float:
        channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        return float(
            np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
            @ [0.2126, 0.7152, 0.0722]
        )

    for ramp in (theme.correct, theme.failure):
        contrast = [abs(lightness(color) - lightness(theme.background)) for color in ramp]
        assert len(ramp) == 9 and (np.diff(contrast) > 0).all()
    text = [(max(a, b) + 0.05) / (min(a, b) + 0.05) for a in [lightness(theme.background)]
            for b in map(lightness, (theme.ink, theme.muted, theme.correct[-1], theme.failure[-1]))]  # fmt: skip
    assert min(text) > 4.5  # what is readable, by WCAG


def test_charts_are_saved_as_what_their_name_says(tmp_path, curves):
    chart = risk_coverage(curves, width=120, height=80)
    for suffix, beginning in ((".svg", b"<svg"), (".png", b"\x89PNG"), (".pdf", b"%PDF"), (".json", b"{")):
        path = tmp_path / f"curves{suffix}"
        save(chart, path, params={"sf_panel": "rare_kind"}, ppi=72)
        assert path.read_bytes().startswith(beginning)
    written = json.loads((tmp_path / "curves.json").read_text())["params"]
    assert {param["name"]: param.get("value") for param in written}["sf_panel"] == "rare_kind"
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".pdf", ".png", ".svg"]
    with pytest.raises(ValueError, match="saved as one of"):
        save(chart, tmp_path / "curves.gif")
    with pytest.raises(ValueError, match="no parameter sf_nothing"):
        save(chart, tmp_path / "curves.svg", params={"sf_nothing": 1})


def test_results_are_means_over_seeds_within_the_widest_interval():
    rows = [{"test_set": "s", "shift": "s", "kind": "acquisition", "level": 0, "domain": "all", "csf": "msr",
             "metric": "aurc", "value": v, "low": v - 0.1, "high": v + 0.2, "n": 5, "seed": i}
            for i, v in enumerate((0.2, 0.4))]  # fmt: skip
    (row,) = summarize(pd.DataFrame(rows)).to_dict("records")
    assert (row["value"], row["low"], row["high"], row["seeds"]) == pytest.approx((0.3, 0.1, 0.6, 2))


def test_metrics_are_shown_in_the_order_of_the_page_and_unknown_ones_last():
    titles = metric_titles(["zeal", "accuracy", "aurc"])
    assert list(titles) == ["aurc", "accuracy", "zeal"]
    assert titles["aurc"]["scale"] == 1000 and not METRICS["accuracy"].lower_is_better


def test_thumbnails_are_small_webp_images():
    import base64
    import io

    from PIL import Image

    images = np.zeros((2, 100, 50, 3), np.uint8)
    images[1, :, :, 0] = 255
    uris = thumbnails(images, pixels=64)
    second = Image.open(io.BytesIO(base64.b64decode(uris[1].removeprefix(PREFIX)))).convert("RGB")
    assert second.size == (32, 64)
    assert np.allclose(np.asarray(second).mean(axis=(0, 1)), [255, 0, 0], atol=6)
    with pytest.raises(ValueError, match="uint8"):
        thumbnails(np.zeros((1, 4, 4, 3), np.float32))  # pyright: ignore[reportArgumentType]


def test_a_page_shows_the_chosen_one_of_many_scores_before_the_others(curves):
    one = curves[curves["csf"] == curves["csf"].iloc[0]]
    encodings = []
    for n in (3, 13):
        table = pd.concat([one.assign(csf=f"score {i}") for i in range(n)])
        layers = risk_coverage(table, linked=True).to_dict()["spec"]["layer"]
        encodings.append(next(layer for layer in layers if layer["name"] == "sf_lines")["encoding"])
    few, many = encodings
    assert few["opacity"]["value"] > 0.5 > many["opacity"]["value"]
    assert few["color"]["legend"] and many["color"]["legend"] is None


def test_of_many_scores_a_chart_of_its_own_draws_the_chosen_one_before_the_others(curves):
    one = curves[curves["csf"] == curves["csf"].iloc[0]]
    chart = risk_coverage(pd.concat([one.assign(csf=f"score {i}") for i in range(13)]))
    assert lint.problems(chart.to_dict()) == []
    svg = render(chart, sf_csf="score 4")
    assert ">Selective risk against coverage: score 4<" in svg and ">Thin: the other 12 scores.<" in svg
    color = palette.LIGHT.curves[4]  # of score 12 too, which comes again in the ninth color after it
    thick = re.findall(r'stroke="(#[0-9a-f]{6})" stroke-width="3"', svg)
    assert thick == [color] * 3
