"""One offline page that links the views of several tasks: no server, no network, no file beside it.

The page carries the Vega bundle once and the tables of every task as one compressed block; its script draws galleries
and tables from the same rows that the charts read. Its content security policy forbids the network and runs the
two scripts of this page by their hash and no other, so that a name out of a data set can never become code.
"""

import base64
import functools
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Final, NamedTuple

import pandas as pd
import vl_convert

from sfjax.views import palette
from sfjax.views.corruption import check_strips
from sfjax.views.curves import risk_coverage
from sfjax.views.gallery import orders
from sfjax.views.inline import without
from sfjax.views.latent import in_radii, latent_3d
from sfjax.views.latent_2d import latent_2d
from sfjax.views.linked import LinkedChart, packed_columns
from sfjax.views.results import metric_titles, summarize
from sfjax.views.slices import check_slices
from sfjax.views.tables import POINTS_PER_CSF, SOURCE, check_curves, check_points, check_promises, csf_names, require
from sfjax.views.thumbnails import PREFIX

DIAGNOSIS: Final = ("sign", "test_set", "csf", "value", "low", "high", "text")
CSS: Final = ("page", "parts")
SCRIPTS: Final = (
    "elements", "charts", "findings", "galleries", "latent", "strips", "results", "promises", "panel", "layout", "page",
)  # fmt: skip
"""The parts of the page's own script, in order of use."""


class TaskPage(NamedTuple):
    """What the page shows of one task. Tables that may be empty leave their section out.

    Attributes:
        name: Of the task.
        classes: Their names.
        points: The embedded images, with `cluster` and `representative` (0 or 1) within class and test set, `weight`
            (how many images of the test set a point stands for) and `rank_<csf>` (1 is the surest); where costs are
            known, `cost_<csf>`. Further columns are shown of an image that is picked.
        curves: Risk-coverage curves.
        results: Tidy results of this task.
        images: Thumbnails as WebP data URIs, by id; may lack some or all.
        probabilities: The csfs whose confidence is a probability; that of others is a rank.
        notes: Sentences below the task's views.
        promises: What became of promises about risk, as `sfjax.views.tables.check_promises` wants it; may be empty.
        diagnosis: Findings by numbers, as `check_diagnosis` wants them; may be empty.
        slices: Groups of images with more silent failures than the rest, as `sfjax.views.slices.check_slices` wants
            them; may be empty. A point is in one if its column `attribute_<attribute>`, or where there is none
            `<attribute>`, has the text `value` in the same test set; one of all test sets is of the images that are
            neither corrupted nor resampled.
        strips: What csfs say of images through the levels of corruptions, as `sfjax.views.corruption.check_strips`
            wants it; may be empty.
        strip_images: WebP data URIs by the column image of `strips`.
        charts: Further charts, each a section.
    """

    name: str
    classes: tuple[str, ...]
    points: pd.DataFrame
    curves: pd.DataFrame
    results: pd.DataFrame
    images: Mapping[int, str]
    probabilities: frozenset[str]
    notes: tuple[str, ...]
    promises: pd.DataFrame = pd.DataFrame()
    diagnosis: pd.DataFrame = pd.DataFrame()
    slices: pd.DataFrame = pd.DataFrame()
    strips: pd.DataFrame = pd.DataFrame()
    strip_images: Mapping[int, str] = {}
    charts: tuple[LinkedChart, ...] = ()


def page(tasks: Sequence[TaskPage], *, title: str, subtitle: str, images: bool = True, strict_csp: bool = False) -> str:
    """Returns the page as HTML.

    Args:
        tasks: At least one; the first is shown first.
        title: Of the page.
        subtitle: Below it: what was run.
        images: Whether the page holds images at all.
        strict_csp: Whether the page forbids code made at run time too (`unsafe-eval`): charts are then interpreted,
            which draws two to four times slower.

    Raises:
        ValueError: There is no task, or a table is not what its view wants.
    """
    if not tasks:
        raise ValueError("A page needs at least one task; got none.")
    if not images:
        tasks = [task._replace(images={}, strip_images={}) for task in tasks]
    script = _script()
    bundle = _bundle()
    count = sum(len(task.images) + len(task.strip_images) for task in tasks)
    blocks = [
        f'<script type="text/plain" id="task-{i}">{_packed(_task(task, strict_csp))}</script>\n'
        f'<script type="application/json" id="images-{i}">{_images(task.images)}</script>'
        for i, task in enumerate(tasks)
    ]
    values = {
        "policy": _policy(bundle, script, strict=strict_csp),
        "title": html.escape(title),
        "subtitle": html.escape(subtitle),
        "colors": palette.css(),
        "style": "\n".join(_asset(f"{name}.css") for name in CSS),
        "notice": _notice(count),
        "names": html.escape(json.dumps([task.name for task in tasks])),
        "data": "\n".join(blocks),
        "bundle": bundle,
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], _asset("page.html"))


def check_diagnosis(diagnosis: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of findings as the page reads it; it may be empty.

    Args:
        diagnosis: Columns `DIAGNOSIS`: a row a finding, in the order of the page; `csf` and `test_set` are empty where
            it is of none; the ends of the interval may be NaN.

    Raises:
        ValueError: A column is missing.
    """
    if not len(diagnosis):
        return pd.DataFrame(columns=pd.Index(DIAGNOSIS))
    require("diagnosis", diagnosis, DIAGNOSIS)
    return diagnosis[list(DIAGNOSIS)].reset_index(drop=True)


def _task(task: TaskPage, strict: bool) -> dict[str, Any]:
    points = in_radii(check_points(task.points))
    csfs = csf_names(points)
    require("points", points, ["cluster", "representative", "weight", *(f"rank_{csf}" for csf in csfs)])
    curves = check_curves(task.curves)
    results = summarize(task.results)
    # Labels that the network does not know come after the classes that it does.
    unknown = sorted(set(points["label"]) - set(task.classes))
    per_csf = (*POINTS_PER_CSF, "rank", *(["cost"] if "cost" in orders(points) else []))
    scores = [f"{column}_{csf}" for csf in csfs for column in per_csf]
    tables, charts = [packed_columns(curves)], []
    for chart in task.charts:
        data = {}
        for name, table in chart.data.items():
            packed = packed_columns(table)
            if packed not in tables:
                tables.append(packed)
            data[name] = tables.index(packed)
        charts.append({"title": chart.title, "hint": chart.hint, "spec": chart.spec, "data": data,
                       "inputs": [dict(given) for given in chart.inputs]})  # fmt: skip
    sets = _test_sets(points)
    latent = latent_3d(points, linked=True, title=f"Latent space of {task.name}")
    return {
        "name": task.name,
        "strict": strict,
        "prefix": PREFIX,
        "classes": [*task.classes, *unknown],
        "csfs": csfs,
        "probabilities": sorted(task.probabilities),
        "sets": sets,
        "allSets": _test_sets(points, curves, results),
        "points": packed_columns(points.drop(columns=scores)),
        "scores": {
            csf: packed_columns(points[[f"{c}_{csf}" for c in per_csf]].set_axis(per_csf, axis=1)) for csf in csfs
        },
        "results": packed_columns(results),
        "metrics": metric_titles(results["metric"].unique().tolist()),
        "promises": packed_columns(check_promises(task.promises)),
        "diagnosis": packed_columns(check_diagnosis(task.diagnosis)),
        "slices": packed_columns(check_slices(task.slices)) if len(task.slices) else {},
        "strips": packed_columns(check_strips(task.strips)) if len(task.strips) else {},
        "stripImages": _bare(task.strip_images),
        "drawn": _drawn(points, csfs[0]),
        "notes": list(task.notes),
        "latent": without(latent.to_dict(), "sf_points"),
        "latent2d": without(latent_2d(points, linked=True).to_dict(), "sf_points"),
        "curves": 0,
        "riskCoverage": without(risk_coverage(curves, linked=True).to_dict(), "sf_curves"),
        "tables": tables,
        "charts": charts,
    }


def _test_sets(*tables: pd.DataFrame) -> list[dict[Any, Any]]:
    """Returns the test sets of these tables with their kind, source first."""
    sets = pd.concat([table[["test_set", "kind"]] for table in tables], ignore_index=True).drop_duplicates("test_set")
    return sets.sort_values("kind", key=lambda kind: kind.ne(SOURCE), kind="stable").to_dict("records")


def _drawn(points: pd.DataFrame, csf: str) -> str:
    """Returns how many of all images, and of all failures, a page shows."""
    fitted = points[points["placed"] == 0] if "placed" in points else points
    wrong = fitted[fitted[f"correct_{csf}"] == 0]
    total, failures = round(fitted["weight"].sum()), round(wrong["weight"].sum())
    if total <= len(fitted):
        return f"All {len(fitted):,} images are shown."
    found = f"all {failures:,}" if failures <= len(wrong) else f"{len(wrong):,} of {failures:,}"
    return f"{len(fitted):,} of {total:,} images are shown, {found} failures of {csf} among them."


def _packed(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _images(images: Mapping[int, str]) -> str:
    return json.dumps(_bare(images), separators=(",", ":"))


def _bare(images: Mapping[int, str]) -> dict[str, str]:
    """Returns the thumbnails without their common beginning; Base64 needs no escaping."""
    for image in images.values():
        if not re.fullmatch(re.escape(PREFIX) + r"[A-Za-z0-9+/=]*", image):
            raise ValueError(
                f"Images of a page are WebP data URIs; one begins with {image[:30]!r}. Use views.thumbnails."
            )
    return {str(key): image.removeprefix(PREFIX) for key, image in images.items()}


def _notice(count: int) -> str:
    if not count:
        return ""
    return (
        '<p class="notice" role="note"><strong>Images inside.</strong> '
        f"This file holds small copies of {count:,} images. If they show patients, it is patient data: "
        "keep and share it under the same rules as the images themselves.</p>"
    )


def _policy(*scripts: str, strict: bool) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    # Vega compiles its expressions, hence unsafe-eval where they are not interpreted; vega-embed writes style elements.
    evaluated = "" if strict else " 'unsafe-eval'"
    return (
        f"default-src 'none'; script-src {hashes}{evaluated}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _script() -> str:
    """Returns the page's own script: its parts in order of use, in a scope of their own."""
    parts = "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _asset(name: str) -> str:
    return resources.files("sfjax.views").joinpath("assets", name).read_text(encoding="utf-8")


@functools.cache
def _bundle() -> str:
    """Returns Vega, Vega-Lite and vega-embed as one script that can stand in a page."""
    bundle: str = vl_convert.javascript_bundle()  # pyright: ignore[reportCallIssue]
    bundle = bundle.replace("\r\n", "\n").replace("\r", "\n")
    # A closing tag inside a string would end the script element.
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")
