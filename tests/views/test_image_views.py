"""Views with images: what they draw and say, against the tables; and what a browser does with them."""

import base64
import io
import re
import shutil
import time

import numpy as np
import pandas as pd
import pytest
import vl_convert
from PIL import Image
from scipy.stats import gaussian_kde
from view_tables import make_points

from sfjax import latent
from sfjax.views import (
    clusters,
    concept_clusters,
    corruption_strip,
    export,
    failure_gallery,
    failure_table,
    latent_2d,
    latent_3d,
    latent_dashboard,
    lint,
    palette,
    representatives_table,
    save,
    thumbnails,
)
from sfjax.views.corruption import check_strips
from sfjax.views.latent_2d import density_lines
from sfjax.views.tables import csf_names
from sfjax.views.thumbnails import PREFIX, to_jpeg

GREEN = (20, 200, 60)
"""Color of all images: none of the palette's, so that a blank shows."""


def make_flat(n: int = 90, **options) -> pd.DataFrame:
    points = make_points(n, **options)
    points = points.assign(u=points["x"], v=points["y"], cluster=0, representative=0)
    for rows in points.groupby(["test_set", "label"]).indices.values():
        found = latent.representatives(points[["x", "y", "z"]].to_numpy()[rows], seed=0)
        points.loc[rows, "cluster"] = found.assignment
        points.loc[rows[found.representatives], "representative"] = 1
    return points


@pytest.fixture(scope="module")
def points() -> pd.DataFrame:
    return make_flat()


@pytest.fixture(scope="module")
def images(points) -> dict[int, str]:
    pixels = np.full((len(points), 12, 12, 3), GREEN, np.uint8)
    return dict(zip(points["id"].tolist(), thumbnails(pixels), strict=True))


def make_strips(samples: tuple[int, ...] = (4, 7), levels: int = 6) -> pd.DataFrame:
    rows = [
        {"sample": sample, "corruption": corruption, "level": level, "csf": csf, "label": "melanoma",
         "predicted": "nevus" if level >= 3 + i else "melanoma", "confidence": 0.9 - 0.1 * level - 0.05 * i,
         "correct": int(level < 3 + i), "image": sample * 100 + 10 * j + level}
        for sample in samples
        for j, corruption in enumerate(("brightness", "noise"))
        for level in range(levels)
        for i, csf in enumerate(("msr", "mcd_mi"))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def render(chart, **params) -> str:
    return vl_convert.vegalite_to_svg(vl_spec=export.with_params(chart.to_dict(), params))


def marks(svg: str, view: str) -> str:
    start = re.search(rf"{view}(_\d)?_marks", svg)  # parts of a composed chart are numbered
    assert start
    group = svg[start.start() :]
    return group[: group.index("</g>")]


def fills(svg: str, view: str) -> list[str]:
    return re.findall(r'fill="(#[0-9a-f]{6})"', marks(svg, view))


def positions(svg: str, view: str) -> np.ndarray:
    found = re.findall(r"translate\(([-\d.e]+),([-\d.e]+)\)", marks(svg, view))
    return np.array([[float(x) for x in pair] for pair in found]).reshape(-1, 2)


def words(svg: str, view: str) -> list[str]:
    return re.findall(r">([^<>]+)<", marks(svg, view))


def pixels_of(chart, tmp_path, **params) -> np.ndarray:
    save(chart, tmp_path / "chart.png", params=params, ppi=72)
    return np.asarray(Image.open(tmp_path / "chart.png").convert("RGB")).astype(int)


def count_near(pixels: np.ndarray, color: str | tuple[int, ...], within: int = 24) -> int:
    rgb = color if isinstance(color, tuple) else tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))
    return int((np.abs(pixels - np.array(rgb)).max(axis=-1) <= within).sum())


def test_views_name_nothing_that_is_not_there_and_no_network(points, images):
    reps, strips = representatives_table(points), make_strips()
    for linked in (False, True):
        charts = [
            latent_3d(points, None if linked else images, linked=linked),
            latent_2d(points, None if linked else images, density=True, linked=linked),
            failure_gallery(points, images, linked=linked),
            concept_clusters(reps, images, linked=linked),
            corruption_strip(strips, {}, linked=linked),
        ]
        for chart in charts if linked else [*charts, latent_dashboard(points, images, density=True)]:
            spec = chart.to_dict()
            assert lint.problems(spec) == []
            names = [param["name"] for param in spec["params"]]
            assert len(names) == len(set(names)) and all(name.startswith("sf_") for name in names)
            assert any(isinstance(param.get("bind"), dict) for param in spec["params"]) != linked


# ---- The scatters ---------------------------------------------------------------------------------------------------


def test_flat_scatter_places_points_with_one_scale_for_both_axes(points):
    svg = render(latent_2d(points, size=400))
    found, centered = positions(svg, "sf_points"), points[["u", "v"]].to_numpy()
    low, high = centered.min(axis=0), centered.max(axis=0)
    half = (high - low).max() * 0.53
    expected = 200 + (centered - (low + high) / 2) / half * 200 * [1, -1]
    np.testing.assert_allclose(found, expected, atol=0.05)
    # Whatever is shown, nothing moves.
    some = render(latent_2d(points, size=400), sf_test_sets=["rare_kind"], sf_classes=["benign"])
    chosen = ((points["test_set"] == "rare_kind") & (points["label"] == "benign")).to_numpy()
    np.testing.assert_allclose(positions(some, "sf_points"), expected[chosen], atol=0.05)


def test_counts_follow_the_filters_and_the_csf(points):
    points = points.assign(correct_pe=1)
    chart = latent_2d(points)
    failures = int((points["correct_msr"] == 0).sum())
    assert words(render(chart), "sf_counts") == [f"correct: {90 - failures}", f"failures: {failures}", "of 90 shown"]
    one = points[points["test_set"] == "rare_kind"]
    wrong = int((one["correct_msr"] == 0).sum())
    shown = words(render(chart, sf_test_sets=["rare_kind"]), "sf_counts")
    assert shown == [f"correct: {30 - wrong}", f"failures: {wrong}", "of 30 shown"]
    assert words(render(chart, sf_csf="pe"), "sf_counts")[:2] == ["correct: 90", "failures: 0"]
    assert words(render(chart, sf_classes=["none such"]), "sf_counts")[-1] == "of 0 shown"


def test_images_are_in_the_tooltip_of_points_that_have_one(points, images):
    some = {key: images[key] for key in points["id"].tolist()[:3]}
    for view in (latent_2d, latent_3d):
        spec = view(points, some).to_dict()
        rows = pd.read_csv(io.StringIO(spec["datasets"]["sf_points"]), keep_default_na=False)
        assert dict(zip(rows["id"], rows["image"])) == {key: some.get(key, "") for key in points["id"]}
        marks = next(layer for layer in spec["layer"] if layer.get("name") == "sf_points")["mark"]
        assert "'image': datum.image" in marks["tooltip"]["expr"]
        assert "image" not in view(points).to_dict()["datasets"]["sf_points"].splitlines()[0]


def test_check_boxes_choose_several_test_sets(points):
    chart = latent_3d(points)
    assert len(fills(render(chart, sf_set_1=False), "sf_points")) == 60
    assert (
        len(fills(render(chart, sf_set_0=False, sf_set_1=False, sf_only="benign"), "sf_points"))
        == ((points["test_set"] == "rare_kind") & (points["label"] == "benign")).sum()
    )


def test_many_points_are_warned_of_and_too_many_are_refused(points):
    many = points.iloc[np.arange(20_001) % 90].assign(id=np.arange(20_001))
    with pytest.warns(UserWarning, match="20001 points"):
        latent_2d(many)
    with pytest.raises(ValueError, match="lacks the columns v"):
        latent_2d(points.drop(columns="v"))
    with pytest.raises(ValueError, match="u and v"):
        latent_2d(points.assign(u=np.nan))


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_lines_of_density_hold_their_share(rng, share):
    """Against SciPy's density: it has one value along the line, and the share of the points lies above that."""
    points = rng.normal(size=(800, 2)) * [3, 1] + np.where(rng.random((800, 1)) < 0.4, 8, 0)
    segments = density_lines(points, share)
    density = gaussian_kde(points.T)
    # SciPy's kernel turns with the cloud and ours does not: compare with an axis-parallel one.
    density.covariance = np.diag(points.var(axis=0)) * len(points) ** (-1 / 3)
    density.cho_cov = np.linalg.cholesky(density.covariance)
    density.log_det = 2 * np.log(np.diag(density.cho_cov * np.sqrt(2 * np.pi))).sum()
    along = density(segments.reshape(-1, 2).T)
    assert along.std() / along.mean() < 0.08
    assert (density(points.T) >= along.mean()).mean() == pytest.approx(share, abs=0.05)
    # Closed: every end is the end of another segment.
    ends = segments.reshape(-1, 2)
    near = np.linalg.norm(ends[:, None] - ends[None], axis=2) < 1e-9
    assert (near.sum(axis=1) == 2).all()
    assert 0.3 < len(density_lines(points, share, dashed=True)) / len(segments) < 0.7


def test_one_image_has_lines_and_a_scatter(points):
    svg = render(latent_2d(points.iloc[:1], density=True))
    assert len(fills(svg, "sf_points")) == 1 and "NaN" not in svg


# ---- Galleries ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "by"), [("failures", "confidence"), ("failures", "cost"), ("successes", "confidence")]
)
def test_gallery_shows_what_its_table_says(points, images, kind, by):
    costs = np.arange(90) // 3 % 4 + 1.0
    points = points.assign(cost_pe=costs, **{f"cost_{csf}": costs[::-1] for csf in csf_names(points) if csf != "pe"})
    table = failure_table(points, csf="pe", count=3, kind=kind, by=by)
    # By cost unless told otherwise.
    assert (failure_table(points, csf="pe", count=3, kind=kind)["id"].tolist() == table["id"].tolist()) == (
        by == "cost" or kind == "successes"
    )
    svg = render(failure_gallery(points, images, csf="pe", count=3, kind=kind, by=by))
    expected = []
    for name in ("iid_test", "other_scanner", "rare_kind"):
        rows = points[(points["test_set"] == name) & (points["correct_pe"] == (kind == "successes"))]
        keys = ["cost_pe", "confidence_pe"] if by == "cost" else ["confidence_pe"]
        rows = rows.sort_values(keys, ascending=kind == "successes").head(3)
        expected += rows["id"].tolist()
        number = ((points["test_set"] == name) & (points["correct_pe"] == (kind == "successes"))).sum()
        assert f">{name}: {kind} {number} of 30<" in svg
    assert table["id"].tolist() == expected
    assert table["rank"].tolist() == [1, 2, 3] * 3
    said = words(svg, "sf_cards_captions")
    lines = [[f"true: {row.label}", f"called: {row.predicted}", f"conf. {row.confidence:.3f}", f"cost {row.cost:g}"]
             for row in table.itertuples()]  # fmt: skip
    drawn = [said[i : i + 4] for i in range(0, len(said), 4)]
    places = positions(svg, "sf_cards_signs")
    assert [drawn[i] for i in np.lexsort((places[:, 0], places[:, 1]))] == lines
    color = palette.LIGHT.correct[-1] if kind == "successes" else palette.LIGHT.failure[-1]
    assert fills(svg, "sf_cards_signs") == [color] * 9


def test_ranks_tell_apart_what_rounding_does_not(points):
    points = points.assign(confidence_msr=1.0, rank_msr=np.arange(90, 0, -1))
    last = points[(points["correct_msr"] == 0) & (points["test_set"] == "iid_test")]["id"].iloc[-1]
    assert failure_table(points, count=1)["id"].iloc[0] == last
    assert words(render(failure_gallery(points, count=1)), "sf_cards_captions")[2] == "conf. &gt; 0.999"


def test_galleries_of_what_is_not_there(points):
    for message, options in (
        ("no csf 'none'", {"csf": "none"}),
        ("no ranking by 'cost'", {"by": "cost"}),
        ("got count = 25", {"count": 25}),
    ):
        with pytest.raises(ValueError, match=message):
            failure_table(points, **options)  # pyright: ignore[reportArgumentType]
    perfect = points.assign(correct_msr=1, test_set="only")
    svg = render(failure_gallery(perfect, kind="failures"))
    assert "only: failures 0 of 90" in svg and len(failure_table(perfect)) == 0


def test_images_are_drawn_and_missing_ones_are_named(points, images, tmp_path):
    few = points.iloc[:12]
    some = {key: images[key] for key in failure_table(few, count=2)["id"].tolist()[1:]}
    chart = failure_gallery(few, some, count=2, pixels=60)
    pixels = pixels_of(chart, tmp_path)
    assert count_near(pixels, GREEN, 40) > 0.6 * 56**2 * len(some)
    assert count_near(pixels, palette.LIGHT.failure[-1]) > 100
    assert render(chart).count(">no image<") == 1
    save(chart, tmp_path / "chart.pdf")
    assert len(re.findall(rb"/Subtype\s*/Image", (tmp_path / "chart.pdf").read_bytes())) == len(some)


def test_clusters_say_size_and_accuracy(points, images):
    weighted = points.assign(weight=np.where(points["correct_msr"] == 1, 1.0, 3.0))
    table = representatives_table(weighted)
    for row in table.itertuples():
        members = points[
            (points["test_set"] == row.test_set) & (points["label"] == row.label) & (points["cluster"] == row.cluster)
        ]
        right, wrong = (members["correct_msr"] == 1).sum(), (members["correct_msr"] == 0).sum()
        assert row.n == len(members) and row.accuracy_msr == pytest.approx(right / (right + 3 * wrong))
    svg = render(concept_clusters(table, images, label="benign", csf="pe"))
    benign = table[table["label"] == "benign"]
    said = words(svg, "sf_clusters_captions")
    expected = [f"{row.accuracy_pe:.0%} right" for row in benign.itertuples()]
    assert sorted(said[1::2]) == sorted(expected)
    assert said[0::2] == [f"n = {row.n}" for row in benign.itertuples()]
    assert fills(svg, "sf_clusters_signs").count(palette.LIGHT.failure[-1]) == (benign["accuracy_pe"] < 0.5).sum()
    assert len(np.unique(positions(svg, "sf_clusters_signs"), axis=0)) == len(benign)


def test_small_classes_have_fewer_clusters_and_absent_ones_say_so():
    points = make_flat(30)
    points = points[~((points["test_set"] == "iid_test") & (points["label"] == "benign"))].reset_index(drop=True)
    table = representatives_table(points)
    assert (table.groupby(["test_set", "label"]).size() < 9).any()
    svg = render(concept_clusters(table, label="benign"))
    assert "no images of this class" in svg and "no image<" in svg
    assert "no images of this class" not in render(concept_clusters(table, label="malignant"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="n"), "lacks the columns n"),
        (lambda t: t.assign(cluster=9), "stands once"),
        (lambda t: t.assign(cluster=t["cluster"] + 9), "from 0 to 8"),
        (lambda t: t.assign(accuracy_pe=1.5), r"\[0, 1\]; found 1.5"),
        (lambda t: t.iloc[:0], "no row"),
    ],
)
def test_representatives_that_break_the_contract_are_refused(points, change, message):
    with pytest.raises(ValueError, match=message):
        clusters.check_representatives(change(representatives_table(points)))


def test_every_cluster_has_one_representative(points):
    with pytest.raises(ValueError, match="has one representative"):
        representatives_table(points.assign(representative=0))


def test_a_thousand_classes_and_one():
    many = make_flat(40, classes=tuple(f"class {i:04d}" for i in range(1000)))
    chart = latent_dashboard(many, {})
    assert lint.problems(chart.to_dict()) == [] and len(fills(render(chart), "sf_points")) == 40
    one = make_flat(12).assign(label="only", test_set="iid_test", kind="iid", cluster=0, representative=0)
    one.loc[0, "representative"] = 1
    assert len(fills(render(latent_dashboard(one)), "sf_points")) == 12


def test_names_are_data_and_not_code(points):
    evil = 'it\'s "<img src=x onerror=alert(1)>", a\\b'
    odd = points.replace({"malignant": evil, "rare_kind": evil + "2"})
    svg = render(latent_dashboard(odd), sf_class=evil)
    assert "<img" not in svg and "onerror" in svg


# ---- Strips ---------------------------------------------------------------------------------------------------------


def test_strip_draws_levels_outcomes_and_the_flip(tmp_path):
    table = make_strips()
    keys = sorted(table["image"].unique().tolist())
    uris = dict(zip(keys, thumbnails(np.full((len(keys), 12, 12, 3), GREEN, np.uint8))))
    chart = corruption_strip(table, uris)
    svg = render(chart, sf_sample=7, sf_corruption="noise", sf_csf="mcd_mi")
    rows = table[(table["sample"] == 7) & (table["corruption"] == "noise") & (table["csf"] == "mcd_mi")]
    said = [f"{row.predicted} {row.confidence:.3f}" for row in rows.itertuples()]
    found = words(svg, "sf_strip_captions")
    assert [f"{a} {b}" for a, b in zip(found[::2], found[1::2])] == said
    colors = [palette.LIGHT.correct[-1] if right else palette.LIGHT.failure[-1] for right in rows["correct"]]
    assert fills(svg, "sf_strip_signs") == colors
    assert words(svg, "sf_flip_words") == ["flips to nevus"]
    places = positions(svg, "sf_strip_signs")
    flip = float(re.findall(r"translate\(([\d.]+),", marks(svg, "sf_flip"))[0])
    # Under the middle of the image of level 4, where this csf flips: the sign is in the corner of the 96 pixels.
    assert flip == pytest.approx(places[4, 0] + 9 - 96 / 2, abs=0.5)
    assert pixels_of(chart, tmp_path).shape[1] > 0 and count_near(pixels_of(chart, tmp_path), GREEN, 40) > 6 * 80**2
    assert "was not kept" not in svg
    absent = table[(table["sample"] == 4) | (table["corruption"] == "brightness")]
    assert "was not kept" in render(corruption_strip(absent), sf_sample=7, sf_corruption="noise")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="image"), "lacks the columns image"),
        (lambda t: t.iloc[:0], "empty"),
        (lambda t: t[t["level"] > 0], "begins with the clean image"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "more than once"),
        (lambda t: t.assign(correct=t["correct"] == 1), "must be integers"),
        (lambda t: t.assign(correct=2), "0 or 1"),
        (lambda t: t.assign(confidence=1.1), r"\[0, 1\]"),
    ],
)
def test_strips_that_break_the_contract_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        check_strips(change(make_strips()))


# ---- Files ----------------------------------------------------------------------------------------------------------


def test_pdf_refuses_many_translucent_points_and_avif(points, tmp_path):
    many = points.iloc[np.arange(2001) % 90].assign(id=np.arange(2001))
    assert export.translucent_points(latent_2d(many).to_dict()) == 2001
    with pytest.raises(ValueError, match=r"2001 translucent points.*png"):
        save(latent_2d(many), tmp_path / "chart.pdf")
    with pytest.raises(ValueError, match="AVIF"):
        save(failure_gallery(points, dict.fromkeys(points["id"], "data:image/avif;base64,AA")), tmp_path / "chart.png")
    assert not list(tmp_path.iterdir())


def test_thumbnails_are_of_images_of_any_size():
    small, large = np.zeros((3, 5, 3), np.uint8), np.full((90, 300, 3), GREEN, np.uint8)
    sizes = [
        Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(PREFIX)))).size for uri in thumbnails([small, large])
    ]
    assert sizes == [(5, 3), (64, 19)]
    with pytest.raises(ValueError, match=r"image 1 is uint8 .3, 5.*Map channels to RGB"):
        thumbnails([small, small[..., 0]])


def test_jpeg_is_the_same_image(images):
    uri = to_jpeg(next(iter(images.values())))
    assert uri.startswith("data:image/jpeg;base64,/9j/") and not uri.startswith(PREFIX)


# ---- In a browser ---------------------------------------------------------------------------------------------------

PLACE = """
const [name, test] = arguments, canvas = document.querySelector('canvas').getBoundingClientRect();
const padding = view.padding(), [ox, oy] = view.origin(), found = [];
(function walk(items, x, y) {
  for (const item of items) {
    if (item.marktype === 'group') {
      for (const group of item.items) walk(group.items, x + (group.x || 0), y + (group.y || 0));
    } else if (item.name?.replace(/_[0-9]_marks$/, '_marks') === name) for (const mark of item.items) {
      const box = mark.bounds;
      found.push({datum: mark.datum, at: [x + (box.x1 + box.x2) / 2, y + (box.y1 + box.y2) / 2]});
    }
  }
})([view.scenegraph().root], 0, 0);
const one = found.find(({datum}) => Object.entries(test).every(([key, value]) => datum[key] === value));
return one && [canvas.left + padding.left + ox + one.at[0], canvas.top + padding.top + oy + one.at[1]];
"""


@pytest.mark.browser
def test_dashboard_is_linked_both_ways(points, images, tmp_path):
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.action_chains import ActionChains

    path = tmp_path / "chart.html"
    save(latent_dashboard(points, images, count=3), path)
    content = path.read_text(encoding="utf-8")
    assert content.count(".catch(console.error)") == 1
    path.write_text(
        content.replace(".catch(console.error)", ".then((r) => { window.view = r.view; })"), encoding="utf-8"
    )
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking",
                 "disable-component-update", "disable-dev-shm-usage", f"user-data-dir={tmp_path / 'profile'}",
                 "window-size=1300,1400"):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.get(path.as_uri())

        def wait(script: str, *arguments: object) -> object:
            for _ in range(200):
                if found := driver.execute_script(script, *arguments):
                    return found
                time.sleep(0.05)
            raise AssertionError(f"never true: {script}")

        def move(name: str, **datum: object) -> tuple[ActionChains, list[float]]:
            x, y = place = driver.execute_script(PLACE, f"{name}_marks", datum)
            actions = ActionChains(driver, duration=20)
            actions.w3c_actions.pointer_action.move_to_location(round(x), round(y))
            return actions, place

        wait("return !!window.view")
        worst = failure_table(points, count=1)["id"].iloc[0].item()
        of = points.set_index("id")
        # An image marks its point, and its cluster.
        move("sf_cards", id=worst)[0].click().perform()
        wait("return JSON.stringify(view.signal('sf_pick').id) === JSON.stringify([arguments[0]])", worst)
        assert driver.execute_script(PLACE, "sf_ring_marks", {"id": worst})
        same = ["test_set", "label", "cluster"]
        members = of[(of[same] == of.loc[worst, same]).all(axis=1)].index.tolist()
        assert all(driver.execute_script(PLACE, "sf_ring_marks", {"id": key}) for key in members)
        # A representative marks its cluster.
        row = representatives_table(points).query("label == 'malignant'").iloc[0]
        move("sf_clusters", id=row["id"].item())[0].click().perform()
        wait(
            "const {cluster, test_set} = view.signal('sf_cluster');"
            "return cluster?.[0] === arguments[0] && test_set[0] === arguments[1]",
            int(row["cluster"]),
            row["test_set"],
        )
        # A point frames its card.
        move("sf_points", id=worst)[0].click().perform()
        wait("return JSON.stringify(view.signal('sf_pick').id) === JSON.stringify([arguments[0]])", worst)
        # Hovering shows the image.
        actions, place = move("sf_points", id=worst)
        actions.perform()
        assert wait("return document.querySelector('#vg-tooltip-element.visible img')?.src").startswith(PREFIX)  # pyright: ignore
        # A brush ranks the gallery anew, among what lies under it.
        pad = ActionChains(driver, duration=20)
        pointer = pad.w3c_actions.pointer_action
        # From the other side than the tooltip's.
        for step in (-25, -20, 5, 25):
            pointer.move_to_location(round(place[0]) + step, round(place[1]) + step)
            if step == -25:
                pointer.pointer_down()
        pointer.pointer_up()
        pad.perform()
        (u0, u1), (v0, v1) = (sorted(wait(f"return view.signal('sf_brush').{axis}")) for axis in "uv")  # pyright: ignore
        inside = points[points["u"].between(u0, u1) & points["v"].between(v0, v1)]
        expected = failure_table(inside, count=3)["id"].tolist()
        assert worst in expected and len(inside) < len(points)
        time.sleep(0.2)
        shown = [key for key in points["id"].tolist() if driver.execute_script(PLACE, "sf_cards_marks", {"id": key})]
        assert sorted(shown) == sorted(expected)
        assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    finally:
        driver.quit()
