"""The page of a report: how long it takes to build, how large it is, and how quickly it opens and redraws in Chromium.

The points are drawn by chance, with a thumbnail of 64 pixels each. About two minutes on a CPU.
"""

import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.speed.timing import markdown
from sfjax.report import TaskReport, write_report
from sfjax.views.page import _bundle  # pyright: ignore[reportPrivateUsage]

TEST_SETS = {"iid_test": "iid", "acquisition": "acquisition", "manifestation": "manifestation"}
READY = "return document.body.dataset.ready === 'true'"
# A redraw ends with the frame that shows it.
REDRAWS = {
    "rotate": "view.signal('sf_azimuth', (35 + 7 * turn) % 180)",
    "score": "choose('#csf-panel-0', turn % 2 ? 0 : 1)",
    "class": "choose('#class-panel-0', turn % 2 ? 0 : 1)",
    "mark": "panel.querySelectorAll('.gallery .card')[turn % 2].click()",
}
TIMED = """
const done = arguments[arguments.length - 1];
const panel = document.querySelector('#panel-0');
const view = panel.querySelector('.space').view;
const choose = (selector, index) => {
  const control = panel.querySelector(selector);
  control.selectedIndex = index;
  control.dispatchEvent(new Event('change'));
};
(async () => {
  const times = [];
  for (let turn = 0; turn < %d; turn++) {
    const begun = performance.now();
    %s;
    await view.runAsync();
    times.push(performance.now() - begun);
  }
  done(times);
})();
"""


@dataclass(frozen=True)
class Options:
    """How the report is measured.

    Attributes:
        sizes: Points.
        csfs: Confidence scores.
        repeats: Of every opening and redraw.
        images: Whether every point has a thumbnail.
        strict: Whether the page forbids code made at run time.
    """

    sizes: tuple[int, ...] = (5_000, 20_000, 50_000)
    csfs: int = 8
    repeats: int = 9
    images: bool = True
    strict: bool = False


def draw_report(n: int, csfs: int, *, images: bool, seed: int = 0) -> tuple[TaskReport, pd.DataFrame]:
    """Returns a report of n points and its results.

    Args:
        n: Points.
        csfs: Confidence scores.
        images: Whether there are thumbnails.
        seed: Of everything.
    """
    rng = np.random.default_rng(seed)
    classes = np.array(["benign", "malignant"])
    place, label = np.arange(n) % len(TEST_SETS), rng.integers(0, 2, n)
    wrong = rng.random(n) < 0.2
    names, kinds = np.array(list(TEST_SETS)), np.array(list(TEST_SETS.values()))
    columns: dict[str, Any] = {
        "id": np.arange(n), "test_set": names[place], "kind": kinds[place], "domain": "A", "subclass": "",
        "label": classes[label], "level": 0, "placed": 0, "embedding": "drawn", "feature_cluster": place, "weight": 1.0,
    }  # fmt: skip
    columns |= dict(zip("xyzuv", (rng.normal(size=(n, 5)) + 2 * label[:, None]).T, strict=True))
    scores = [f"score_{i}" for i in range(csfs)]
    for name in scores:
        columns[f"predicted_{name}"] = classes[np.where(wrong, 1 - label, label)]
        columns[f"correct_{name}"] = (~wrong).astype(np.int64)
        columns[f"confidence_{name}"] = 0.5 + 0.5 * rng.random(n)
    curve = np.arange(1, 101) / 100
    rows = [(csf, *test_set) for test_set in TEST_SETS.items() for csf in scores]
    curves = pd.concat(
        pd.DataFrame({"csf": csf, "test_set": test_set, "kind": kind, "coverage": curve, "selective_risk": 0.2 * curve,
                      "low": 0.15 * curve, "high": 0.25 * curve}) for csf, test_set, kind in rows
    )  # fmt: skip
    results = pd.DataFrame(
        {"task": "drawn", "test_set": test_set, "shift": test_set, "kind": kind, "level": 0, "domain": "all",
         "csf": csf, "metric": "aurc", "value": 0.1, "low": 0.05, "high": 0.2, "n": n} for csf, test_set, kind in rows
    )  # fmt: skip
    # Smooth, as images are: noise would not compress.
    coarse = rng.integers(40, 220, (64, 8, 8, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    pictures = (lambda ids: coarse[ids % len(coarse)]) if images else None
    report = TaskReport("drawn", ("benign", "malignant"), pd.DataFrame(columns), pictures, curves, frozenset(scores))
    return report, results


@contextmanager
def chromium(folder: Path) -> Iterator[Any]:
    """Yields a driver of headless Chromium whose profile is in `folder`.

    Raises:
        ValueError: There is no Chromium, or no driver of it.
    """
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        raise ValueError("Chromium or its driver is not installed. Run apt-get install chromium chromium-driver.")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-sync", "disable-dev-shm-usage",
                 "disable-background-networking", f"user-data-dir={folder / 'profile'}",
                 "window-size=1600,1000"):  # fmt: skip
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def opened(driver: Any, address: str) -> float:
    """Returns the milliseconds from asking for a page until its first scatter is drawn."""
    driver.get("about:blank")
    begun = time.perf_counter()
    driver.get(address)
    while not driver.execute_script(READY):
        if time.perf_counter() - begun > 60:
            raise ValueError(f"{address} was not ready after 60 s.")
        time.sleep(0.005)
    return 1e3 * (time.perf_counter() - begun)


def measure(options: Options) -> None:
    """Prints the tables."""
    _bundle()  # once a process, whatever is built
    head = ["points", "build, s", "page, MB", "ready, ms", *(f"{name}, ms" for name in REDRAWS)]
    rows = []
    with tempfile.TemporaryDirectory() as name, chromium(Path(name)) as driver:
        path = Path(name) / "report.html"
        for n in options.sizes:
            report, results = draw_report(n, options.csfs, images=options.images)
            begun = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that the page, or a view, is large
                write_report(path, [report], results, title="t", max_megabytes=100, strict_csp=options.strict)
            build = time.perf_counter() - begun
            ready = statistics.median(opened(driver, path.as_uri()) for _ in range(min(options.repeats, 3)))
            redraws = [driver.execute_async_script(TIMED % (options.repeats, act)) for act in REDRAWS.values()]
            medians = [f"{statistics.median(times):.0f}" for times in redraws]
            rows.append([f"{n:,}", f"{build:.1f}", f"{path.stat().st_size / 1e6:.2f}", f"{ready:.0f}", *medians])
    strict = ", no code made at run time" if options.strict else ""
    print(markdown(f"The report, {options.csfs} scores{strict}", head, rows))
