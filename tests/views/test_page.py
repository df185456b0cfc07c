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

import numpy as np
import pandas as pd
import pytest
from view_tables import CSFS, make_curves, make_points, make_results

from sfjax.views import TaskPage, page, thumbnails
from sfjax.views.tables import check_promises

EVIL = "<img src=x onerror=window.hacked=1>"


def make_task(
    name: str = "skin", classes: tuple[str, ...] = ("benign", "malignant"), *, images: bool = True
) -> TaskPage:
    points = make_points(classes=classes).assign(cluster=0, representative=0, weight=1.0)
    points.loc[points.groupby(["test_set", "label"]).head(1).index, "representative"] = 1
    for csf in CSFS:
        points[f"rank_{csf}"] = points[f"confidence_{csf}"].rank(ascending=False).astype(int)
    pictures = thumbnails(np.random.default_rng(0).integers(0, 255, (len(points), 16, 16, 3)).astype(np.uint8))
    return TaskPage(
        name=name,
        classes=classes,
        points=points,
        curves=make_curves(),
        results=make_results(name).drop(columns="task"),
        images=dict(zip(points["id"].tolist(), pictures, strict=True)) if images else {},
        probabilities=frozenset({"msr"}),
        notes=(f"A note {EVIL}",),
        promises=make_promises(),
    )


def make_promises() -> pd.DataFrame:
    cells = {"msr": ("2.0 % (80 %)", "kept"), "pe": ("none", "none")}, {"msr": ("30.0 % (70 %)", "broken")}
    rows = [
        {"promise": promise, "test_set": test_set, "kind": kind, "csf": csf, "text": text, "state": state}
        for promise in ("At most 5 %", f"At most {EVIL}")
        for (test_set, kind), of_set in zip((("iid_test", "iid"), ("acq", "acquisition")), cells, strict=True)
        for csf, (text, state) in of_set.items()
    ]
    return pd.DataFrame(rows)


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


@pytest.fixture(scope="module")
def content() -> str:
    tasks = [
        make_task(),
        make_task(f"cells {EVIL}", ("control", EVIL, *(f"type {i}" for i in range(10))), images=False),
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


def test_data_is_in_the_page_once_and_complete(content):
    packed = re.search(r'id="task-0">([^<]*)<', content)
    assert packed
    task = json.loads(gzip.decompress(base64.b64decode(packed[1])))
    points = make_points()
    assert task["points"]["id"] == points["id"].tolist()
    assert task["points"]["correct_pe"] == points["correct_pe"].tolist()
    assert "sf_points" not in task["latent"]["datasets"]
    assert "http" not in json.dumps({key: value for key, value in task["latent"].items() if key != "$schema"})


def test_notice_is_there_if_images_are(content):
    assert "patient data" in content
    assert "patient data" not in page([make_task(images=False)], title="t", subtitle="")


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
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver.get("about:blank")
        self.driver.get_log("performance")
        self.driver.get((folder / "report.html").as_uri())
        self.wait("return document.body.dataset.ready === 'true'")

    def wait(self, script: str, *arguments: object) -> None:
        for _ in range(200):
            if self.driver.execute_script(script, *arguments):
                return
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}")

    def one(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def signal(self, name: str) -> object:
        return self.driver.execute_script(
            "return document.querySelector('#panel-0 .space').view.signal(arguments[0])", name
        )

    def point(self, image: int) -> tuple[float, float]:
        """Where on the screen an image is drawn, from the projection's own parameters."""
        x, y = self.driver.execute_script(
            """const space = document.querySelector('#panel-0 .space'); const view = space.view;
            space.scrollIntoView({block: 'center'});
            const box = space.querySelector('canvas').getBoundingClientRect();
            const found = [];
            const wanted = arguments[0];
            const walk = (item) => {
              if (item.datum && item.datum.id === wanted && item.shape) found.push(item);
              for (const child of item.items || []) walk(child);
            };
            walk(view.scenegraph().root);
            const [left, top] = view.origin(); const padding = view.padding();
            return [box.left + left + padding.left + found[0].x, box.top + top + padding.top + found[0].y];""",
            image,
        )
        return x, y

    def pointer(self, *steps: tuple[str, float, float]) -> None:
        for kind, x, y in steps:
            parameters = {
                "type": kind,
                "x": x,
                "y": y,
                "button": "left",
                "buttons": int(kind != "mouseReleased"),
                "clickCount": 1,
            }
            if kind == "mouseWheel":
                parameters |= {"deltaX": 0, "deltaY": -240, "button": "none", "buttons": 0}
            self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", parameters)


@pytest.mark.browser
def test_the_page_in_a_browser(browser):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    points = make_points()
    # A card marks its point.
    card = browser.one("#panel-0 .cards .card")
    image = int(card.get_attribute("data-id"))
    card.click()
    assert browser.signal("sf_marked") == [image]
    assert card.get_attribute("aria-pressed") == "true"
    label = points.set_index("id").loc[image, "label"]
    assert str(label) in browser.one("#panel-0 .chosen").text
    # The first card is the most confident failure; the keyboard opens the next.
    wrong = points[(points["correct_msr"] == 0) & (points["test_set"] == "iid_test")]
    ranked = wrong.sort_values("confidence_msr", ascending=False)["id"].tolist()
    assert image == ranked[0]
    card.send_keys(Keys.TAB)
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.signal("sf_marked") == [ranked[1]]

    # A point shows its card and frames it.
    x, y = browser.point(image)
    browser.pointer(("mouseMoved", x, y))
    browser.wait("return !document.getElementById('tip').hidden")
    browser.pointer(("mousePressed", x, y), ("mouseReleased", x, y))
    browser.wait("return document.querySelector('#panel-0 .space').view.signal('sf_marked').length === 1")
    assert browser.signal("sf_marked") != [ranked[1]]

    # Dragging turns what is near along with the pointer; the wheel zooms; the slider turns from the keyboard.
    turn, tilt, scale = (browser.signal(name) for name in ("sf_turn", "sf_tilt", "sf_scale"))
    browser.pointer(("mousePressed", x, y), ("mouseMoved", x + 40, y + 20), ("mouseMoved", x + 80, y + 40))
    time.sleep(0.1)
    browser.pointer(("mouseReleased", x + 80, y + 40))
    assert browser.signal("sf_turn") > turn + 0.1
    assert browser.signal("sf_tilt") > tilt + 0.05
    browser.pointer(("mouseWheel", x, y))
    browser.wait(
        "return document.querySelector('#panel-0 .space').view.signal('sf_scale') > arguments[0] * 1.05", scale
    )
    browser.driver.execute_script("document.querySelector('#panel-0 details').open = true")
    browser.one("#panel-0 details button").click()
    assert browser.signal("sf_turn") == pytest.approx(turn) and browser.signal("sf_scale") == pytest.approx(scale)
    browser.one("#panel-0 details input[type=range]").send_keys(Keys.ARROW_RIGHT)
    assert browser.signal("sf_azimuth") == 36

    # One choice of csf and test set for all views.
    Select(browser.one("#csf-panel-0")).select_by_value("mcd_mi")
    Select(browser.one("#set-panel-0")).select_by_value("rare_kind")
    assert browser.signal("sf_csf") == "mcd_mi" and browser.signal("sf_test_set") == "rare_kind"
    titles = [title.text for title in browser.driver.find_elements("css selector", "#panel-0 .rows h3")]
    assert titles == ["iid_test", "rare_kind"]
    assert "%" in browser.one("#panel-0 .cards .card .facts").text  # a rank, for a score without a probability
    cells = browser.one("#panel-0 [aria-label=Results] tbody tr").text
    assert "50.0" in cells and "45.0 – 150.0" in cells
    Select(browser.one("#panel-0 section:last-of-type select")).select_by_value("accuracy")
    assert "20.0" in browser.one("#panel-0 [aria-label=Results] tbody tr").text

    # A promise is chosen, and its table says what became of it; text of the data stays text.
    table = browser.one("#panel-0 [aria-label=Promises]")
    assert [row.text for row in table.find_elements("tag name", "tr")] == [
        "test set kind msr pe", "iid_test iid 2.0 % (80 %) ✓ none", "acq acquisition 30.0 % (70 %) ✗"
    ]  # fmt: skip
    section = "#panel-0 section:has([aria-label=Promises])"
    Select(browser.one(f"{section} select")).select_by_value(f"At most {EVIL}")
    assert EVIL in table.find_element("tag name", "caption").get_attribute("textContent")

    # Dark, the other task, and names that would be code.
    browser.one("#theme").click()
    assert browser.signal("sf_dark") in (True, False)
    assert browser.driver.execute_script("return document.documentElement.dataset.theme") == "dark"
    browser.one("#tab-0").send_keys(Keys.ARROW_RIGHT)
    browser.wait("return !!document.querySelector('#panel-1 .space')?.view")
    assert EVIL in browser.one("#panel-1").get_attribute("textContent")
    assert browser.driver.execute_script("return window.hacked") is None
    assert not browser.driver.find_elements("css selector", "#panel-1 img")

    time.sleep(0.2)
    assert browser.driver.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith(("data:", "file:", "about:", "chrome:"))] == []
