"""Tables inside a specification: one copy as CSV, however many layers read it."""

from typing import Any

import altair as alt
import pandas as pd


def reference(table: pd.DataFrame, name: str) -> alt.NamedData:
    """Returns what a layer names its data by, with the type of every column.

    Args:
        table: What `dataset` holds.
        name: Same as that of `dataset`.
    """
    # Class names such as "1" stay text.
    parse = {column: "number" if table[column].dtype.kind in "iuf" else "string" for column in table.columns}
    return alt.NamedData(name=name, format=alt.CsvDataFormat(type="csv", parse=parse))


def dataset(table: pd.DataFrame, name: str) -> dict[str, Any]:
    """Returns the `datasets` of a chart: a third of the size of one object a row."""
    return {name: table.to_csv(index=False, lineterminator="\n")}


def without(spec: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns the specification without the data set `name`, for a page that hands it rows instead of CSV."""

    def stripped(node: Any) -> Any:
        if isinstance(node, dict):
            found = node.get("data")
            plain = {"data": {"name": name}} if isinstance(found, dict) and found.get("name") == name else {}
            return {key: stripped(value) for key, value in node.items()} | plain
        return [stripped(item) for item in node] if isinstance(node, list) else node

    others = {key: rows for key, rows in spec.get("datasets", {}).items() if key != name}
    return stripped(spec) | {"datasets": others}
