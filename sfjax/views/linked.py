"""What a page carries of a table and of a chart: columns that are read once, and a specification without its rows."""

import math
from collections.abc import Callable, Mapping
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
    view: Callable[..., alt.TopLevelMixin],
    table: pd.DataFrame,
    *,
    name: str,
    title: str,
    hint: str,
    **options: Any,
) -> LinkedChart:
    """Returns a view as a section of a page: inputs that the view has by itself become those of the section.

    Args:
        view: Takes the table and `linked`.
        table: As the view wants and draws it.
        name: Of the view's data set.
        title: Of the section.
        hint: How it is read.
        **options: For the view.

    Raises:
        ValueError: The view has no such data set, or another one as text, which a page cannot hand over as rows.
    """
    spec = view(table, linked=True, **options).to_dict()
    texts = [key for key, rows in spec.get("datasets", {}).items() if isinstance(rows, str)]
    if texts != [name]:
        raise ValueError(
            f"The view for {title!r} must have the one data set {name} as text; it has {', '.join(texts) or 'none'}."
        )
    own = view(table, **options).to_dict().get("params", [])
    inputs = tuple(
        {key: param[key] for key in ("name", "bind", "value")}
        for param in own
        if "bind" in param and isinstance(param["bind"], dict) and "input" in param["bind"]
        if param["name"] not in FOLLOWED and "value" in param
    )
    return LinkedChart(title, hint, _without_inputs(without(spec, name)), {name: table}, inputs)


def packed_columns(table: pd.DataFrame) -> dict[str, Any]:
    """Returns the table as one list a column, without NaN, which JSON has not.

    Text is a list of its values and their places in it: a page's many rows share few of them.
    """
    return {name: _packed(table[name]) for name in table.columns}


def _packed(column: pd.Series) -> Any:
    values = column.to_numpy()
    if values.dtype.kind in "iu":
        return values.tolist()
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        return values.tolist() if finite.all() else [v if ok else None for v, ok in zip(values.tolist(), finite)]
    if any(isinstance(value, int | float | np.number) for value in column.dropna()):
        return [None if isinstance(value, float) and math.isnan(value) else value for value in column.tolist()]
    codes, levels = pd.factorize(column, use_na_sentinel=True)
    return {"levels": [str(level) for level in levels], "codes": codes.tolist()}


def _without_inputs(spec: dict[str, Any]) -> dict[str, Any]:
    params = [
        {key: value for key, value in param.items() if key != "bind" or not isinstance(value, dict)}
        for param in spec.get("params", [])
    ]
    return {**spec, "params": params} if params else spec
