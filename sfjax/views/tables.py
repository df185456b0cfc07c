"""What the tables of the views hold, checked where they come in.

`id` is the one key between tables: an integer, one an image and test set. Outcomes are 0 or 1, never booleans: Vega
reads the text "False" of a CSV as true.
"""

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

POINTS: Final = (
    *("id", "test_set", "kind", "domain", "subclass", "label", "x", "y", "z"),
    *("u", "v", "level", "placed", "embedding", "feature_cluster"),
)
POINTS_PER_CSF: Final = ("predicted", "correct", "confidence")
CURVES: Final = ("csf", "test_set", "kind", "coverage", "selective_risk", "low", "high")
RESULTS: Final = ("test_set", "shift", "kind", "level", "domain", "csf", "metric", "value", "low", "high", "n")
RESPONSES: Final = ("cause", "unit", "dial", "csf", "metric", "value", "low", "high")
PROMISES: Final = ("promise", "test_set", "kind", "csf", "text", "state")
PROMISE_STATES: Final = ("none", "kept", "above", "broken")
MAX_POINTS: Final = 50_000
SOURCE: Final = "iid"
"""The kind of test set that is like the training set; every other kind is a target."""


def csf_names(points: pd.DataFrame) -> list[str]:
    """Returns the confidence scoring functions that a table of points speaks of, in its order."""
    return [name.removeprefix("confidence_") for name in points.columns if name.startswith("confidence_")]


def check_points(points: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of embedded images as views read it: its columns in order, rounded, with a fresh index.

    Args:
        points: Columns `POINTS`, and for every csf `predicted_<csf>` (class), `correct_<csf>` (0 or 1) and
            `confidence_<csf>` (in [0, 1]). x, y, z and u, v are the coordinates of one embedding in three and two
            dimensions, whose id is `embedding`; `placed` is 1 where the image took no part in its fit; `level` is that
            of a corruption, or 0; `feature_cluster` numbers clusters from 0, and is -1 where there is none. Further
            columns are kept.

    Raises:
        ValueError: A column is missing or holds what it must not, or the points are of several embeddings.
    """
    csfs = csf_names(points)
    if not csfs:
        raise ValueError("The table of points has no column confidence_<csf>. Add at least one csf.")
    for csf in csfs:
        if not re.fullmatch(r"[A-Za-z_]\w*", csf, re.ASCII):
            raise ValueError(f"The name of a csf must be made of letters, digits and _; got {csf!r}. Rename it.")
    wanted = [*POINTS, *(f"{column}_{csf}" for csf in csfs for column in POINTS_PER_CSF)]
    require("points", points, wanted)
    if not len(points):
        raise ValueError("The table of points is empty. Embed at least one image.")
    if len(points) > MAX_POINTS:
        raise ValueError(f"The table of points has {len(points)} rows; at most {MAX_POINTS} can be drawn. Sample them.")
    if not np.issubdtype(points["id"].to_numpy().dtype, np.integer) or points["id"].duplicated().any():
        raise ValueError("The column id of the points must be integers, each once. Number the images.")
    _finite("points", points, ["x", "y", "z", "u", "v"])
    embeddings = points["embedding"].unique()
    if len(embeddings) != 1:
        raise ValueError(
            f"The points are of {len(embeddings)} embeddings ({', '.join(map(str, embeddings[:3]))}...), which share "
            "no coordinates. Draw each alone, or embed all images together."
        )
    for column in ("level", "feature_cluster"):
        if not np.issubdtype(points[column].to_numpy().dtype, np.integer):
            raise ValueError(f"The column {column} of the points must be integers; got {points[column].dtype}.")
    _zero_or_one("points", points, "placed")
    for csf in csfs:
        _zero_or_one("points", points, f"correct_{csf}")
        _within("points", points, f"confidence_{csf}", 0.0, 1.0)
    table = points[[*wanted, *(name for name in points.columns if name not in wanted)]].reset_index(drop=True)
    return _rounded(table)


def check_curves(curves: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of risk-coverage curves as views read it.

    Args:
        curves: Columns `CURVES`; coverage and the risks in natural units; `low` and `high` bound the risk's band.

    Raises:
        ValueError: A column is missing or holds what it must not.
    """
    require("curves", curves, CURVES)
    _within("curves", curves, "coverage", 0.0, 1.0)
    _finite("curves", curves, ["selective_risk", "low", "high"])
    return _rounded(curves[list(CURVES)].reset_index(drop=True))


def check_responses(responses: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of metrics against dials as views read it.

    Args:
        responses: Columns `RESPONSES`: a row a cause (or a corruption), value of its dial, csf and metric. `unit` says
            what a cause's dial counts; the metric and the ends of its interval are in natural units. These three may be
            NaN: where a metric is not defined, its line has a gap.

    Raises:
        ValueError: A column is missing or holds what it must not.
    """
    require("responses", responses, RESPONSES)
    if not len(responses):
        raise ValueError("The table of responses is empty. Give at least two values of one dial.")
    table = responses[list(RESPONSES)].reset_index(drop=True)
    _finite("responses", table, ["dial"])
    keys = ["cause", "dial", "csf", "metric"]
    if table.duplicated(keys).any():
        row = table[table.duplicated(keys)].iloc[0]
        found = ", ".join(str(row[key]) for key in keys)
        raise ValueError(
            f"The responses must have one row a cause, dial, csf and metric; {found} comes more than once. Take the "
            "mean over networks first."
        )
    for cause, rows in table.groupby("cause", sort=False):
        if rows["dial"].nunique() < 2 or rows["unit"].nunique() != 1:
            raise ValueError(
                f"A cause has two values of its dial or more and one unit; {cause} has {rows['dial'].nunique()} and "
                f"{rows['unit'].nunique()}. Give each dial's values in one unit."
            )
    return table


def check_results(results: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of results as views read it: the columns `RESULTS` and what marks a summary over seeds.

    Raises:
        ValueError: A column is missing.
    """
    require("results", results, RESULTS)
    extra = [name for name in ("seeds", "best", "tied", "few_failures") if name in results.columns]
    return results[[*RESULTS, *extra]].reset_index(drop=True)


def check_promises(promises: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of what became of promises about risk; it may be empty.

    Args:
        promises: Columns `PROMISES`: a row a promise, test set and csf; `text` is what the cell says, `state` one of
            `PROMISE_STATES`.

    Raises:
        ValueError: A column is missing, or a state is none of these.
    """
    if not len(promises):
        return pd.DataFrame(columns=pd.Index(PROMISES))
    require("promises", promises, PROMISES)
    unknown = sorted(set(promises["state"]) - set(PROMISE_STATES))
    if unknown:
        raise ValueError(f"The state of a promise is one of {', '.join(PROMISE_STATES)}; got {', '.join(unknown)}.")
    return promises[list(PROMISES)].reset_index(drop=True)


def source_first(table: pd.DataFrame) -> list[str]:
    """Returns the test sets of a table with `test_set` and `kind`: the source, then the others in their order."""
    order = table["kind"].ne(SOURCE).astype(int)
    return table.assign(_order=order).sort_values("_order", kind="stable")["test_set"].unique().tolist()


def require(name: str, table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raises ValueError if a table lacks one of these columns."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(
            f"The table of {name} lacks the columns {', '.join(missing)}; it has {', '.join(table.columns)}."
        )


def _finite(name: str, table: pd.DataFrame, columns: Sequence[str]) -> None:
    for column in columns:
        bad = int((~np.isfinite(table[column].to_numpy(dtype=float))).sum())
        if bad:
            raise ValueError(
                f"The column {column} of the {name} has {bad} values that are not finite. Leave those out."
            )


def _zero_or_one(name: str, table: pd.DataFrame, column: str) -> None:
    values = table[column].to_numpy()
    if values.dtype.kind == "b" or not np.isin(values, (0, 1)).all():
        raise ValueError(f"The column {column} of the {name} must be the integers 0 or 1; got {values.dtype}.")


def _within(name: str, table: pd.DataFrame, column: str, low: float, high: float) -> None:
    values = table[column].to_numpy(dtype=float)
    outside = values[~((values >= low) & (values <= high))]
    if len(outside):
        raise ValueError(f"The column {column} of the {name} must lie in [{low:g}, {high:g}]; found {outside[0]}.")


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table with floats to four decimals: what a screen can show."""
    floats = [name for name in table.columns if table[name].dtype.kind == "f"]
    return table.assign(**{name: table[name].astype(float).round(4) for name in floats})
