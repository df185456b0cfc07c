"""What neither the schema of Vega-Lite nor its compiler finds in a specification: misspelt fields and parameters.

A field that no table has draws nothing, and no error is raised.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_NAMED: Final = re.compile(r"datum\.(\w+)")
_QUOTED: Final = re.compile(r"datum\['([^']+)'\]")
_STEM: Final = re.compile(r"datum\['([^']+)' \+")
_PARAMETER: Final = re.compile(r"(?<![\w.'\"])sf_\w+")
_URL: Final = re.compile(r"https?://|//\w+\.\w+/")
_NEVER_VARIED: Final = ("point", "circle", "square")


def problems(spec: Mapping[str, Any]) -> list[str]:
    """Returns what is wrong with a Vega-Lite specification, one sentence a problem; empty if nothing is.

    Checked are: fields and parameters that are named but nowhere defined, addresses of the network, a description for
    screen readers, and points whose opacity varies (it bloats PDF; fillOpacity does not).

    Args:
        spec: From `chart.to_dict()`.
    """
    columns = {name: _columns_of(rows) for name, rows in spec.get("datasets", {}).items()}
    known = {param["name"] for param in _params(spec)}
    found = [] if spec.get("description") else ["The chart has no description."]
    found += _check(
        spec, columns, set(), known | {view["name"] for view in _nodes(spec) if "mark" in view and "name" in view}
    )
    texts = [text for key, text in _strings({**spec, "datasets": {}}) if key != "$schema"]
    found += [f"The text {text[:60]!r} is an address of the network." for text in texts if _URL.search(text)]
    return list(dict.fromkeys(found))


def _check(view: Mapping[str, Any], tables: Mapping[str, set[str]], inherited: set[str], known: set[str]) -> list[str]:
    """Returns the problems of a view and those inside it, with the columns that each can see."""
    columns = _own_columns(view, tables) or set(inherited)
    found = []
    for transform in view.get("transform", []):
        found += _fields(transform, columns, known)
        made = transform.get("as", [])
        columns |= {made} if isinstance(made, str) else set(made)
        columns |= {step["as"] for key in ("window", "aggregate") for step in transform.get(key, [])}
    children = [child for key in ("layer", "hconcat", "vconcat", "concat") for child in view.get(key, [])]
    children += [view["spec"]] if "spec" in view else []
    rest = {key: value for key, value in view.items() if key in ("mark", "encoding", "facet", "params", "config")}
    found += _fields(rest, columns, known)
    mark = view["mark"] if isinstance(view.get("mark"), Mapping) else {}
    if mark.get("type") in _NEVER_VARIED and (
        "opacity" in view.get("encoding", {}) or not isinstance(mark.get("opacity", 1), int | float)
    ):
        found.append("The opacity of points varies. Vary fillOpacity instead.")
    for child in children:
        found += _check(child, tables, columns, known)
    return found


def _fields(node: Any, columns: set[str], known: set[str]) -> list[str]:
    found = []
    for key, text in _strings(node):
        if key == "field" and text not in columns:
            found.append(f"The field {text} is in no table; there are {', '.join(sorted(columns))}.")
        if key in ("expr", "filter", "calculate", "test"):
            for name in [*_NAMED.findall(text), *_QUOTED.findall(text)]:
                if name not in columns:
                    found.append(f"The expression {text[:80]} reads datum.{name}, which is in no table.")
            for stem in _STEM.findall(text):
                if not any(column.startswith(stem) for column in columns):
                    found.append(f"The expression {text[:80]} reads datum['{stem}...'], which is in no table.")
            for name in _PARAMETER.findall(text):
                if name not in known:
                    found.append(f"The expression {text[:80]} reads the parameter {name}, which is not defined.")
        if key == "param" and text not in known:
            found.append(f"The parameter {text} is used and not defined.")
    return found


def _own_columns(view: Mapping[str, Any], tables: Mapping[str, set[str]]) -> set[str]:
    data = view.get("data", {})
    return set(tables.get(data.get("name"), ())) | _columns_of(data.get("values", []))


def _columns_of(rows: Any) -> set[str]:
    if isinstance(rows, str):
        return set(next(csv.reader(rows.splitlines()), []))
    return {name for row in rows for name in row}


def _params(node: Any) -> Iterator[Mapping[str, Any]]:
    for view in _nodes(node):
        yield from view.get("params", []) if isinstance(view.get("params"), list) else []


def _nodes(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, Mapping):
        yield node
        for key, value in node.items():
            if key != "datasets":
                yield from _nodes(value)
    elif isinstance(node, list):
        for item in node:
            yield from _nodes(item)


def _strings(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yields every text with the nearest key above it."""
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, Mapping):
        for name, value in node.items():
            yield from _strings(value, name)
    elif isinstance(node, list):
        for item in node:
            yield from _strings(item, key)
