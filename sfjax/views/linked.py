"""What a page carries of a table and of a chart: columns that are read once, and a specification without its rows."""

import io
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from sfjax.views.inline import without

FOLLOWED: Final = frozenset({"sf_csf", "sf_panel", "sf_test_set", "sf_dark"})
"""The parameters that a page sets for every chart that has them; a chart's other inputs stand above it."""


class LinkedChart(NamedTuple):
    """A chart in a section of a page, which follows the page's choices.

    Attributes:
        title: Of the section.
        hint: How it is read, below the title.
        spec: Vega-Lite, whose data sets of `data` are empty.
        data: The tables by the name of their data set. Rows of test sets that are not chosen are not handed over.
        inputs: What a person may set besides: `name` of the parameter, `bind` and `value` as in Vega-Lite.
    """

    title: str
    hint: str
    spec: Mapping[str, Any]
    data: Mapping[str, pd.DataFrame]
    inputs: tuple[Mapping[str, Any], ...] = ()


def linked_chart(
    view: Callable[..., alt.TopLevelMixin], table: pd.DataFrame, *, title: str, hint: str, **options: Any
) -> LinkedChart:
    """Returns a view as a section of a page: inputs that the view has by itself become those of the section.

    Args:
        view: Takes the table and `linked`.
        table: As the view wants it.
        title: Of the section.
        hint: How it is read.
        **options: For the view.
    """
    spec = view(table, linked=True, **options).to_dict()
    data = {}
    for name, rows in list(spec.get("datasets", {}).items()):
        if isinstance(rows, str):  # a page hands over rows: reading CSV would run code made at run time
            data[name] = _read(rows, _types(spec, name))
            spec = without(spec, name)
    own = view(table, **options).to_dict().get("params", [])
    inputs = tuple(
        {key: param[key] for key in ("name", "bind", "value")}
        for param in own
        if "value" in param and "input" in param.get("bind", {}) and param["name"] not in FOLLOWED
    )
    return LinkedChart(title, hint, spec, data, inputs)


def packed_columns(table: pd.DataFrame) -> dict[str, Any]:
    """Returns the table as one list a column, without NaN, which JSON has not.

    Text is a list of its values and their places in it: a page's many rows share few of them.
    """
    return {str(name): _packed(table[name]) for name in table.columns}


def _packed(column: pd.Series) -> Any:
    values = column.to_numpy()
    if values.dtype.kind in "iu":
        return values.tolist()
    if values.dtype.kind == "f":
        return [value if math.isfinite(value) else None for value in values.tolist()]
    if any(isinstance(value, int | float | np.number) for value in column.dropna()):
        return [None if isinstance(value, float) and math.isnan(value) else value for value in column.tolist()]
    codes, levels = pd.factorize(column, use_na_sentinel=True)
    return {"levels": [str(level) for level in levels], "codes": codes.tolist()}


def _read(rows: str, types: Mapping[str, str]) -> pd.DataFrame:
    table = pd.read_csv(io.StringIO(rows), dtype=str, keep_default_na=False)
    numbers = [name for name in table.columns if types.get(name) == "number"]
    return table.assign(**{name: pd.to_numeric(table[name].replace("", None)) for name in numbers})


def _types(node: Any, name: str) -> Mapping[str, str]:
    """Returns the types of the columns of a data set, from where a layer reads it."""
    return next(
        (data["format"]["parse"] for data in _sources(node) if data.get("name") == name and "format" in data), {}
    )


def _sources(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, dict):
        if isinstance(node.get("data"), dict):
            yield node["data"]
        for key, value in node.items():
            if key != "datasets":
                yield from _sources(value)
    elif isinstance(node, list):
        for item in node:
            yield from _sources(item)
