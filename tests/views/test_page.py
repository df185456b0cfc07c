"""The page: what is in the file, and what a real browser does with it."""

import base64
import gzip
import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest
from page_tables import EVIL, make_page, make_promises
from view_tables import make_curves, make_points, make_results

from sfjax.views import TaskPage, inline, linked_chart, page, risk_coverage
from sfjax.views.gallery import failure_table
from sfjax.views.linked import packed_columns
from sfjax.views.tables import check_promises, csf_names


def make_task(
    name: str = "skin", classes: tuple[str, ...] = ("benign", "malignant"), *, images: bool = True
) -> TaskPage:
    points = make_points(classes=classes)
    return make_page(
        points.assign(u=points["x"], v=points["y"]), make_curves(), make_results(name), name, images=images
    )


class Parsed(HTMLParser):
    """The elements and scripts of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag == "script"

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        (self.scripts if self._inside else self.texts).append(data)


def target(table: pd.DataFrame, *, linked: bool = False) -> alt.Chart:
    """A view in the manner of the others, with an input of its own."""
    own: dict[str, Any] = {} if linked else {"bind": alt.binding_range(min=0, max=1, step=0.1, name="Target ")}
    return (
        alt.Chart(inline.reference(table, "sf_rows"))
        .transform_filter("datum.csf == sf_csf && datum.selective_risk <= sf_target")
        .mark_point(aria=False)
        .encode(x="coverage:Q", y="selective_risk:Q")
        .add_params(alt.param(name="sf_csf", value="msr"), alt.param(name="sf_target", value=0.5, **own))
        .properties(datasets=inline.dataset(table, "sf_rows"), width=300, height=100)
    )


@pytest.fixture(scope="module")
def content() -> str:
    curves = make_curves()
    chart = linked_chart(target, curves, title="Target", hint="")
    tasks = [
        make_task()._replace(curves=curves, charts=(chart,)),
        make_task(f"cells {EVIL}", ("control", EVIL, *(f"type {i}" for i in range(14))), images=False),
    ]
    return page(tasks, title=f"Title {EVIL} {{{{script}}}}", subtitle='</script><script>window.hacked=1</script>"')


def test_text_of_the_data_is_never_markup(content):
    parsed = Parsed(content)
    assert not [attributes for tag, attributes in parsed.tags if tag == "img"]
    assert sum(tag == "script" for tag, _ in parsed.tags) == 2 * 2 + 2
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]
    assert any(f"Title {EVIL} {{{{script}}}}" in text for text in parsed.texts)


def test_policy_runs_the_scripts_of_the_page_and_forbids_the_network(content):
    parsed = Parsed(content)
    (policy,) = [a["content"] for tag, a in parsed.tags if tag == "meta" and "http-equiv" in a]
    assert policy and policy.startswith("default-src 'none'")
    assert "http" not in policy and "script-src 'unsafe-inline'" not in policy
    for script in parsed.scripts[-2:]:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    addresses = [value for _, a in parsed.tags for name, value in a.items() if name in ("src", "href", "action")]
    assert all(address and address.startswith("data:") for address in addresses)
    assert "'unsafe-eval'" in policy
    assert "'unsafe-eval'" not in page([make_task()], title="t", subtitle="", strict_csp=True)[:2000]


def unpacked(content: str, task: int = 0) -> dict[str, Any]:
    packed = re.search(rf'id="task-{task}">([^<]*)<', content)
    assert packed
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


def texts_of(packed: Any) -> list[str | None]:
    return [None if code < 0 else packed["levels"][code] for code in packed["codes"]]


def test_data_is_in_the_page_once_and_complete(content):
    task = unpacked(content)
    points = make_points()
    assert task["points"]["id"] == points["id"].tolist()
    assert texts_of(task["points"]["label"]) == points["label"].tolist()
    assert task["scores"]["pe"]["correct"] == points["correct_pe"].tolist()
    assert texts_of(task["scores"]["pe"]["predicted"]) == points["predicted_pe"].tolist()
    assert not any(name.endswith("_pe") for name in task["points"])
    assert "sf_points" not in task["latent"]["datasets"]
    assert "http" not in json.dumps({key: value for key, value in task["latent"].items() if key != "$schema"})


def test_columns_keep_what_they_hold():
    table = pd.DataFrame({"n": [1, 2], "x": [0.5, float("nan")], "t": ["a", None], "m": [0.5, "b"]})
    packed = packed_columns(table)
    assert (packed["n"], packed["x"], packed["m"]) == ([1, 2], [0.5, None], [0.5, "b"])
    assert texts_of(packed["t"]) == ["a", None]


def test_sections_without_rows_are_left_out_and_wrong_tables_refused():
    empty = make_task()._replace(diagnosis=pd.DataFrame(), slices=pd.DataFrame(), strips=pd.DataFrame())
    task = unpacked(page([empty], title="t", subtitle=""))
    assert texts_of(task["diagnosis"]["sign"]) == [] and (task["slices"], task["strips"]) == ({}, {})
    for name, column in (("diagnosis", "low"), ("slices", "p_adjusted"), ("strips", "predicted")):
        broken = make_task()._replace(**{name: getattr(make_task(), name).drop(columns=column)})
        with pytest.raises(ValueError, match=f"table of {name} lacks the columns {column}"):
            page([broken], title="t", subtitle="")


def test_a_chart_of_the_same_table_does_not_carry_it_again():
    curves = make_curves()
    chart = linked_chart(risk_coverage, curves, title="Again", hint="")
    task = unpacked(page([make_task()._replace(curves=curves, charts=(chart, chart))], title="t", subtitle=""))
    assert len(task["tables"]) == 1 and [chart["data"] for chart in task["charts"]] == [{"sf_curves": 0}] * 2
    assert chart.inputs == ()  # the page chooses the panels
    assert "sf_curves" not in task["charts"][0]["spec"]["datasets"]


def test_inputs_of_a_view_become_those_of_its_section():
    chart = linked_chart(target, make_curves(), title="Target", hint="")
    assert [given["name"] for given in chart.inputs] == ["sf_target"] and chart.inputs[0]["bind"]["max"] == 1


@pytest.mark.parametrize(("drawn", "failures", "sentence"), [
    (1.0, 1.0, "All 90 images are shown."),
    (3.0, 1.0, "shown, all 28 failures of msr among them."),
    (3.0, 2.0, "shown, 28 of 56 failures of msr among them."),
])  # fmt: skip
def test_the_page_says_what_it_leaves_out(drawn, failures, sentence):
    task = make_task(images=False)
    wrong = task.points["correct_msr"] == 0
    assert wrong.sum() == 28
    points = task.points.assign(weight=wrong.map({True: failures, False: drawn}))
    said = unpacked(page([task._replace(points=points)], title="t", subtitle=""))["drawn"]
    assert said.endswith(sentence) and (drawn == 1 or said.startswith(f"90 of {28 * failures + 62 * drawn:.0f} images"))


def test_notice_is_there_if_images_are(content):
    assert "patient data" in content
    for without in (page([make_task(images=False)], title="t", subtitle=""),
                    page([make_task()], title="t", subtitle="", images=False)):  # fmt: skip
        assert "patient data" not in without and "UklGR" not in without


def test_same_tables_same_bytes():
    assert page([make_task()], title="t", subtitle="") == page([make_task()], title="t", subtitle="")


def test_what_a_page_cannot_show_is_refused():
    with pytest.raises(ValueError, match="at least one task"):
        page([], title="t", subtitle="")
    with pytest.raises(ValueError, match="lacks the columns cluster"):
        page([make_task()._replace(points=make_points())], title="t", subtitle="")
    with pytest.raises(ValueError, match="WebP"):
        page([make_task()._replace(images={3: 'x"><b>'})], title="t", subtitle="")


def test_promises_may_be_missing_and_their_states_are_known():
    assert len(check_promises(pd.DataFrame())) == 0
    with pytest.raises(ValueError, match="one of none, kept, above, broken; got maybe"):
        check_promises(make_promises().assign(state="maybe"))
    with pytest.raises(ValueError, match="lacks the columns text"):
        check_promises(make_promises().drop(columns="text"))


# ---- In a browser ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory, content) -> Iterator["Browser"]:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    folder = tmp_path_factory.mktemp("browser")
    (folder / "report.html").write_text(content, encoding="utf-8")
    strict = page([make_task(images=False)], title="t", subtitle="", strict_csp=True)
    (folder / "strict.html").write_text(strict, encoding="utf-8")
    found = Browser(folder)
    yield found
    found.driver.quit()


class Browser:
    """A page in headless Chromium."""

    def __init__(self, folder: Path):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync",
                     "disable-background-networking", "disable-component-update", "disable-dev-shm-usage",
                     f"user-data-dir={folder / 'profile'}", "window-size=1280,1000"):  # fmt: skip
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.folder = folder
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver.get("about:blank")
        self.driver.get_log("performance")
        self.show("report.html")

    def show(self, name: str) -> None:
        self.driver.get((self.folder / name).as_uri())
        self.wait("return document.body.dataset.ready === 'true'")

    def wait(self, script: str, *arguments: object) -> None:
        for _ in range(200):
            if self.driver.execute_script(script, *arguments):
                return
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}")

    def one(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str):
        return self.driver.find_elements("css selector", selector)

    def open(self, details: str) -> None:
        self.driver.execute_script("document.querySelector(arguments[0]).open = true", details)

    def signal(self, name: str) -> object:
        return self.driver.execute_script(f"return {SPACE}.view.signal(arguments[0])", name)

    def drawn(self) -> set[int]:
        """Returns the ids of the images in the scatter."""
        return set(self.driver.execute_script(f"return {SPACE}.view.data('sf_points').map((point) => point.id)"))

    def point(self, image: int) -> tuple[float, float]:
        """Returns where on the screen an image is drawn, after the scatter was scrolled to the middle."""
        self.driver.execute_script(f"{SPACE}.scrollIntoView({{block: 'center'}})")
        return self.at(image)

    def at(self, image: int) -> tuple[float, float]:
        """Returns where on the screen an image is drawn, from the projection's own parameters."""
        x, y = self.driver.execute_script(
            f"""const space = {SPACE}; const view = space.view;
            const box = space.querySelector('canvas').getBoundingClientRect();
            const found = [];
            const walk = (item) => {{
              if (item.datum && item.datum.id === arguments[0] && item.shape) found.push(item);
              for (const child of item.items || []) walk(child);
            }};
            walk(view.scenegraph().root);
            const [left, top] = view.origin(); const padding = view.padding();
            return [box.left + left + padding.left + found[0].x, box.top + top + padding.top + found[0].y];""",
            int(image),
        )
        return x, y

    def pointer(self, *steps: tuple[str, float, float], shift: bool = False) -> None:
        for kind, x, y in steps:
            parameters = {
                "type": kind,
                "x": x,
                "y": y,
                "button": "left",
                "buttons": int(kind != "mouseReleased"),
                "clickCount": 1,
                "modifiers": 8 * shift,
            }
            if kind == "mouseWheel":
                parameters |= {"deltaX": 0, "deltaY": -240, "button": "none", "buttons": 0}
            self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", parameters)


SPACE = "document.querySelector('#panel-0 .space:not([hidden])')"
COUNT = "return document.querySelector('#panel-0 .counts tbody tr:last-child').textContent"


@pytest.mark.browser
def test_card_and_point_mark_each_other(browser):
    from selenium.webdriver.common.keys import Keys

    points = make_points()
    wrong = points[(points["correct_msr"] == 0) & (points["test_set"] == "iid_test")]
    ranked = wrong.sort_values("confidence_msr", ascending=False)["id"].tolist()
    # The first card is the most confident failure; the keyboard opens the next.
    card = browser.one("#panel-0 .gallery .card")
    assert int(card.get_attribute("data-id")) == ranked[0]
    card.click()
    assert browser.signal("sf_marked") == ranked[:1] and card.get_attribute("aria-pressed") == "true"
    assert str(points.set_index("id").loc[ranked[0], "label"]) in browser.one("#panel-0 .picked").text
    card.send_keys(Keys.TAB)
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.signal("sf_marked") == [ranked[1]]

    # A point shows its image on hovering; a click frames its card.
    x, y = browser.point(ranked[0])
    browser.pointer(("mouseMoved", x, y))
    browser.wait("return !!document.querySelector('#tip:not([hidden]) img')")
    browser.pointer(("mousePressed", x, y), ("mouseReleased", x, y))
    browser.wait(f"return {SPACE}.view.signal('sf_marked')[0] !== arguments[0]", ranked[1])
    (image,) = browser.signal("sf_marked")
    framed = browser.all("#panel-0 .gallery .card[aria-pressed=true]")
    assert [int(card.get_attribute("data-id")) for card in framed] == ([image] if image in ranked[:2] else [])

    # In the clusters, the card of the point's cluster is framed; a card marks all its images.
    browser.one("#panel-0 .beside [role=tab]:nth-child(3)").click()
    label = str(points.set_index("id").loc[image, "label"])
    assert label in browser.one("#panel-0 .gallery h3").text
    assert len(browser.all("#panel-0 .gallery .card[aria-pressed=true]")) == 1
    own = browser.one("#panel-0 .gallery .card")
    own.click()
    members = browser.signal("sf_marked")
    assert f"n = {len(members)}" in own.text and len(members) > 1
    assert set(points.set_index("id").loc[members, "label"]) == {label}
    browser.one("#panel-0 .beside [role=tab]:nth-child(1)").click()


@pytest.mark.browser
def test_camera_by_pointer_and_by_keyboard(browser):
    from selenium.webdriver.common.keys import Keys

    x, y = browser.point(make_points()["id"].iloc[0])
    turn, tilt, scale = (browser.signal(name) for name in ("sf_turn", "sf_tilt", "sf_scale"))
    browser.pointer(("mouseMoved", x, y), ("mousePressed", x, y))
    for step in (40, 80):
        time.sleep(0.05)
        browser.pointer(("mouseMoved", x + step, y + step / 2))
    time.sleep(0.1)
    browser.pointer(("mouseReleased", x + 80, y + 40))
    assert browser.signal("sf_turn") > turn + 0.1 and browser.signal("sf_tilt") > tilt + 0.05
    browser.pointer(("mouseWheel", x, y))
    browser.wait(f"return {SPACE}.view.signal('sf_scale') > arguments[0] * 1.05", scale)
    browser.open("#panel-0 .plot .menu")
    browser.one("#panel-0 .plot .menu .menu-body > button").click()
    assert browser.signal("sf_turn") == pytest.approx(turn) and browser.signal("sf_scale") == pytest.approx(scale)
    azimuth = browser.all("#panel-0 .plot .menu input[type=range]")[3]
    azimuth.send_keys(Keys.ARROW_RIGHT)
    assert browser.signal("sf_azimuth") == 36
    azimuth.send_keys(Keys.ESCAPE)
    assert browser.one("#panel-0 .plot .menu").get_attribute("open") is None


@pytest.mark.browser
@pytest.mark.parametrize("dimensions", [3, 2])
def test_a_rectangle_restricts_galleries_and_counts(browser, dimensions):
    """Dragged with shift in three dimensions, and without in two."""
    points = make_points()
    browser.one(f"#panel-0 .segments [role=tab]:nth-child({4 - dimensions})").click()
    browser.wait(f"return !!{SPACE}.view")
    assert [box.is_displayed() for box in browser.all("#panel-0 .space")] == [dimensions == 3, dimensions == 2]
    browser.point(3)
    before = browser.driver.execute_script(COUNT)
    assert f"● {(points['correct_msr'] == 1).sum()}" in before
    places = np.array([browser.at(i) for i in points["id"]])
    low, high = np.quantile(places, 0.2, axis=0) + 0.5, np.quantile(places, 0.7, axis=0) + 0.5
    browser.pointer(("mouseMoved", *low), ("mousePressed", *low), shift=dimensions == 3)
    for share in (0.5, 1.0):
        time.sleep(0.05)
        browser.pointer(("mouseMoved", *(low + share * (high - low))), shift=dimensions == 3)
    browser.pointer(("mouseReleased", *high), shift=dimensions == 3)
    browser.wait("return !!document.querySelector('#panel-0 .counts .clear')")
    found = points[((places >= low) & (places <= high)).all(axis=1)]
    assert 0 < len(found) < len(points)
    right = (found["correct_msr"] == 1).sum()
    browser.wait(f"{COUNT}.includes(arguments[0])", f"● {right}✚ {len(found) - right}")
    cards = [int(card.get_attribute("data-id")) for card in browser.all("#panel-0 .gallery .card")]
    failures = pd.DataFrame(found[found["correct_msr"] == 0])
    wrong = failures.sort_values("confidence_msr", ascending=False)
    assert cards == wrong.groupby("test_set", sort=False).head(2).sort_values("test_set", kind="stable")["id"].tolist()
    browser.one("#panel-0 .counts .clear").click()
    assert browser.driver.execute_script(COUNT) == before
    card = browser.all("#panel-0 .gallery .card")[dimensions - 2]
    card.click()
    assert browser.signal("sf_marked") == [int(card.get_attribute("data-id"))]
    browser.one("#panel-0 .segments [role=tab]:nth-child(1)").click()


@pytest.mark.browser
def test_one_choice_of_score_test_sets_and_class_for_all_views(browser):
    from selenium.webdriver.support.ui import Select

    points = make_points()
    Select(browser.one("#csf-panel-0")).select_by_value("mcd_mi")
    assert browser.signal("sf_csf") == "mcd_mi"
    assert "%" in browser.one("#panel-0 .gallery .card .confidence").text  # a rank, for a score without a probability
    browser.open("#panel-0 .toolbar .menu")
    browser.one("#panel-0 .toolbar .menu fieldset input").click()  # without the other scanner
    titles = [title.text.split(" ")[0] for title in browser.all("#panel-0 .gallery h3")]
    assert titles == ["iid_test", "rare_kind"]
    assert browser.drawn() == set(points.loc[points["test_set"] != "other_scanner", "id"])
    assert "other_scanner" not in browser.one("#panel-0 .findings").text
    browser.one("#panel-0 .toolbar .field.check input").click()  # without source
    Select(browser.one("#class-panel-0")).select_by_value("benign")
    chosen = points[(points["test_set"] == "rare_kind") & (points["label"] == "benign")]
    assert browser.drawn() == set(chosen["id"])
    assert f"● {(chosen['correct_mcd_mi'] == 1).sum()}" in browser.driver.execute_script(COUNT)
    Select(browser.one("#class-panel-0")).select_by_value("all")
    browser.one("#panel-0 .toolbar .field.check input").click()
    browser.open("#panel-0 .toolbar .menu")
    browser.one("#panel-0 .toolbar .menu-actions button").click()
    assert browser.drawn() == set(points["id"])
    Select(browser.one("#csf-panel-0")).select_by_value("msr")


@pytest.mark.browser
def test_slices_mark_their_images_and_findings_say_their_sentence(browser):
    points = make_points()
    findings = browser.all("#panel-0 .finding")
    assert len(findings) == 6 and EVIL in findings[0].text and "0.870 – 0.960" in findings[0].text
    dot = findings[0].find_element("css selector", ".dot")
    assert float(dot.get_attribute("cx")) == pytest.approx(5 + 150 * 0.92)
    button = browser.one("#panel-0 .slice")
    button.click()
    expected = points[(points["test_set"] == "other_scanner") & (points["domain"] == "B")]["id"]
    assert browser.signal("sf_marked") == expected.tolist() and button.get_attribute("aria-pressed") == "true"
    browser.one("#panel-0 .slices .exemplar").click()
    (image,) = browser.signal("sf_marked")
    row = points.set_index("id").loc[image]
    assert row["test_set"] == "other_scanner" and row["correct_msr"] == 0


@pytest.fixture(scope="module")
def manifest_columns() -> TaskPage:
    """A column of the manifest is called like one of the page, and a set is made of images of another."""
    task = make_task(images=False)
    points = task.points.assign(attribute_cluster=np.where(task.points["id"] % 2 == 0, "1", "2"))
    points.loc[points["test_set"] == "rare_kind", "kind"] = "prevalence"
    for csf in csf_names(points):
        points[f"cost_{csf}"] = (1 - points[f"correct_{csf}"]) * (points["id"] % 11 + (csf == "pe"))
    slices = task.slices.iloc[:1].assign(test_set="all", attribute="cluster", value="1")
    return task._replace(points=points, slices=slices)


@pytest.mark.browser
def test_slices_of_all_sets_by_a_column_called_like_the_pages_own(browser, manifest_columns):
    content = page([manifest_columns], title="t", subtitle="")
    (browser.folder / "columns.html").write_text(content, encoding="utf-8")
    browser.show("columns.html")
    points = manifest_columns.points
    browser.one("#panel-0 .slice").click()
    expected = points[(points["attribute_cluster"] == "1") & (points["kind"] != "prevalence")]["id"]
    assert browser.signal("sf_marked") == expected.tolist()
    browser.show("report.html")


@pytest.mark.browser
def test_failures_are_ranked_by_cost_where_there_is_one(browser, manifest_columns):
    from selenium.webdriver.support.ui import Select

    (browser.folder / "columns.html").write_text(page([manifest_columns], title="t", subtitle=""), encoding="utf-8")
    browser.show("columns.html")
    Select(browser.one("#csf-panel-0")).select_by_value("pe")
    first = failure_table(manifest_columns.points, csf="pe")
    ids = [int(card.get_attribute("data-id")) for card in browser.all("#panel-0 .gallery .card")]
    assert ids == first["id"].tolist()
    said = [card.text.rsplit("cost ", 1)[1] for card in browser.all("#panel-0 .gallery .card")]
    assert said == [f"{cost:g}" for cost in first["cost"]]
    browser.show("report.html")


@pytest.mark.browser
def test_galleries_have_an_equal_table_and_successes(browser):
    from selenium.webdriver.support.ui import Select

    points = make_points()
    boxes = "#panel-0 .beside .controls"
    Select(browser.one(f"{boxes} select")).select_by_value("6")
    cards = [int(card.get_attribute("data-id")) for card in browser.all("#panel-0 .gallery .card")]
    browser.one(f"{boxes} input[type=checkbox]").click()
    rows = [int(button.get_attribute("data-id")) for button in browser.all("#panel-0 .ranked button")]
    assert rows == cards and len(rows) == 18
    browser.one(f"{boxes} input[type=checkbox]").click()
    browser.one("#panel-0 .beside [role=tab]:nth-child(2)").click()
    right = points[(points["correct_msr"] == 1) & (points["test_set"] == "iid_test")]
    least = right.sort_values("confidence_msr")["id"].tolist()
    assert int(browser.one("#panel-0 .gallery .card").get_attribute("data-id")) == least[0]
    browser.one("#panel-0 .beside [role=tab]:nth-child(1)").click()


@pytest.mark.browser
def test_strips_say_where_the_answer_flips(browser):
    strip = browser.one("#panel-0 .strip")
    levels = strip.find_elements("css selector", ".level")
    assert [("flips" in level.text, "failure" in level.get_attribute("class")) for level in levels] == [
        (level == 3, level >= 3) for level in range(6)
    ]
    assert len(strip.find_elements("css selector", ".lines .curve")) == 3
    browser.all("#panel-0 .samples button")[1].click()
    assert browser.all("#panel-0 .samples button")[1].get_attribute("aria-pressed") == "true"


@pytest.mark.browser
def test_tables_and_charts_below(browser):
    from selenium.webdriver.support.ui import Select

    cells = browser.one("#panel-0 [aria-label=Results] tbody tr").text
    assert "50.0" in cells and "45.0 – 150.0" in cells
    Select(browser.one("#panel-0 section:has([aria-label=Results]) select")).select_by_value("accuracy")
    assert "20.0" in browser.one("#panel-0 [aria-label=Results] tbody tr").text
    # A promise is chosen, and its table says what became of it; text of the data stays text.
    table = browser.one("#panel-0 [aria-label=Promises]")
    assert [row.text for row in table.find_elements("tag name", "tr")] == [
        "test set kind msr pe", "iid_test iid 2.0 % (80 %) ✓ none", "other_scanner acquisition 30.0 % (70 %) ✗"
    ]  # fmt: skip
    Select(browser.one("#panel-0 section:has([aria-label=Promises]) select")).select_by_value(f"At most {EVIL}")
    assert EVIL in table.find_element("tag name", "caption").get_attribute("textContent")
    # A chart is drawn when it comes near, with its own input and the page's choice of score.
    browser.driver.execute_script("document.querySelector('#panel-0-target').scrollIntoView()")
    browser.wait("return !!document.querySelector('#panel-0-target .chart').view")
    view = "document.querySelector('#panel-0-target .chart').view"
    assert browser.driver.execute_script(f"return {view}.signal('sf_csf')") == "msr"
    browser.one("#panel-0-target input").send_keys("\ue012")  # arrow left
    assert browser.driver.execute_script(f"return {view}.signal('sf_target')") == pytest.approx(0.4)


@pytest.mark.browser
def test_dark_the_other_task_and_names_that_would_be_code(browser):
    before = browser.driver.execute_script("return document.documentElement.dataset.theme")
    browser.one("#theme").click()
    after = browser.driver.execute_script("return document.documentElement.dataset.theme")
    assert {before, after} == {"light", "dark"} and browser.signal("sf_dark") == (after == "dark")
    browser.one("#tab-0").send_keys("\ue014")  # arrow right
    browser.wait("return !!document.querySelector('#panel-1 .space')?.view")
    assert EVIL in browser.one("#panel-1").get_attribute("textContent")
    assert browser.driver.execute_script("return window.hacked") is None
    assert not browser.all("#panel-1 img")
    # Many classes are searched for: one that is no class changes nothing.
    box = browser.one("#class-panel-1 input")
    box.clear()
    box.send_keys("type 3")
    labels = "[...new Set(document.querySelector('#panel-1 .space').view.data('sf_points').map((p) => p.label))]"
    browser.wait(f"return String({labels}) === 'type 3'")


@pytest.mark.browser
def test_nothing_failed_and_nothing_was_asked_of_the_network(browser):
    """The last of the browser's tests: over all that the others did."""
    time.sleep(0.2)
    assert browser.driver.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith(("data:", "file:", "about:", "chrome:"))] == []
    browser.show("strict.html")
    assert len(browser.drawn()) == 90
    assert browser.driver.get_log("browser") == []


@pytest.mark.browser
def test_speed_of_the_page_is_printed(capsys):
    from experiments.speed import page as of_page

    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    of_page.measure(of_page.Options(sizes=(60,), csfs=2, repeats=1))
    row = capsys.readouterr().out.splitlines()[-1].split("|")
    assert row[1].strip() == "60" and 0.9 < float(row[3]) < 2 and all(float(time) >= 0 for time in row[4:-1])
