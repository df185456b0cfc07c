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
import math
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import pandas as pd
import vl_convert

from sfjax.views import palette
from sfjax.views.curves import risk_coverage
from sfjax.views.inline import without
from sfjax.views.latent import in_radii, latent_3d
from sfjax.views.results import metric_titles, summarize
from sfjax.views.tables import SOURCE, check_curves, check_points, check_promises, csf_names, require
from sfjax.views.thumbnails import PREFIX


class TaskPage(NamedTuple):
    """What the page shows of one task.

    Attributes:
        name: Of the task.
        classes: Their names.
        points: The embedded images, with `cluster` and `representative` (0 or 1) within class and test set, `weight`
            (how many images of the test set a point stands for) and `rank_<csf>` (1 is the surest).
        curves: Risk-coverage curves.
        results: Tidy results of this task.
        images: Thumbnails as WebP data URIs, by id; may lack some or all.
        probabilities: The csfs whose confidence is a probability; that of others is a rank.
        notes: Sentences below the task's views.
        promises: What became of promises about risk, as `sfjax.views.tables.check_promises` wants it; may be empty.
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


def page(tasks: Sequence[TaskPage], *, title: str, subtitle: str) -> str:
    """Returns the page as HTML.

    Args:
        tasks: At least one; the first is shown first.
        title: Of the page.
        subtitle: Below it: what was run.

    Raises:
        ValueError: There is no task, or a table is not what its view wants.
    """
    if not tasks:
        raise ValueError("A page needs at least one task; got none.")
    script = _script()
    bundle = _bundle()
    count = sum(len(task.images) for task in tasks)
    blocks = [
        f'<script type="text/plain" id="task-{i}">{_packed(_task(task))}</script>\n'
        f'<script type="application/json" id="images-{i}">{_images(task.images)}</script>'
        for i, task in enumerate(tasks)
    ]
    values = {
        "policy": _policy(bundle, script),
        "title": html.escape(title),
        "subtitle": html.escape(subtitle),
        "colors": palette.css(),
        "style": _asset("page.css"),
        "notice": _notice(count),
        "names": html.escape(json.dumps([task.name for task in tasks])),
        "data": "\n".join(blocks),
        "bundle": bundle,
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], _asset("page.html"))


def _task(task: TaskPage) -> dict[str, Any]:
    points = in_radii(check_points(task.points))
    csfs = csf_names(points)
    require("points", points, ["cluster", "representative", "weight", *(f"rank_{csf}" for csf in csfs)])
    curves = check_curves(task.curves)
    results = summarize(task.results)
    # Labels that the network does not know come after the classes that it does.
    unknown = sorted(set(points["label"]) - set(task.classes))
    sets = points.drop_duplicates("test_set")[["test_set", "kind"]]
    sets = sets.sort_values("kind", key=lambda kind: kind.ne(SOURCE), kind="stable")
    return {
        "name": task.name,
        "classes": [*task.classes, *unknown],
        "csfs": csfs,
        "probabilities": sorted(task.probabilities),
        "sets": sets.to_dict("records"),
        "curveSets": curves.drop_duplicates("test_set")[["test_set", "kind"]].to_dict("records"),
        "points": _columns(points),
        "curves": _columns(curves),
        "results": _columns(results),
        "metrics": metric_titles(results["metric"].unique().tolist()),
        "promises": _columns(check_promises(task.promises)),
        "notes": list(task.notes),
        "latent": without(latent_3d(points, linked=True, title=f"Latent space of {task.name}").to_dict(), "sf_points"),
        "riskCoverage": without(risk_coverage(curves, linked=True).to_dict(), "sf_curves"),
    }


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Returns the table as one list a column, without NaN, which JSON has not."""
    return {
        name: [None if isinstance(value, float) and math.isnan(value) else value for value in table[name].tolist()]
        for name in table.columns
    }


def _packed(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _images(images: Mapping[int, str]) -> str:
    """Returns the thumbnails without their common beginning; Base64 needs no escaping."""
    for image in images.values():
        if not re.fullmatch(re.escape(PREFIX) + r"[A-Za-z0-9+/=]*", image):
            raise ValueError(
                f"Images of a page are WebP data URIs; one begins with {image[:30]!r}. Use views.thumbnails."
            )
    return json.dumps({str(key): image.removeprefix(PREFIX) for key, image in images.items()}, separators=(",", ":"))


def _notice(count: int) -> str:
    if not count:
        return ""
    return (
        '<p class="notice" role="note"><strong>Images inside.</strong> '
        f"This file holds small copies of {count:,} images. If they show patients, it is patient data: "
        "keep and share it under the same rules as the images themselves.</p>"
    )


def _policy(*scripts: str) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    # Vega compiles its expressions, hence unsafe-eval; vega-embed writes style elements.
    return (
        f"default-src 'none'; script-src {hashes} 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _script() -> str:
    """Returns the page's own script: its parts in order of use, in a scope of their own."""
    parts = "\n".join(
        _asset(f"{name}.js") for name in ("elements", "galleries", "results", "promises", "panel", "page")
    )
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
