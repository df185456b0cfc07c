"""Limits that a change must keep, so that a pipeline can stop at one that does not."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd

from sfjax import metrics

When = Literal["surely", "estimated", "possibly"]
"""When a limit is exceeded: by the whole 95 % interval, by the value, or by any part of the interval."""


def exceeded(
    differences: pd.DataFrame,
    *,
    max_silent_failure_rate: float | None = None,
    max_regression: Mapping[str, float] | None = None,
    when: When = "surely",
) -> list[str]:
    """Returns a sentence a limit that a change exceeds, over all test sets and corruptions (the mean of their levels).

    Args:
        differences: From `compare_sides`.
        max_silent_failure_rate: Most that the rate may be after the change.
        max_regression: By metric, by how much it may become worse, in its natural unit.
        when: `surely`, where the whole 95 % interval lies beyond the limit, so that chance alone seldom stops a change;
            `possibly`, where the interval reaches beyond it: to pass, the change must be shown to keep the limit;
            `estimated`, where the value does. Without an interval the value decides.

    Raises:
        ValueError: A limit is about a metric that was not compared.
    """
    limits = dict(max_regression or {})
    wanted = [*limits, *(["silent_failure_rate"] if max_silent_failure_rate is not None else [])]
    if missing := [name for name in wanted if name not in set(differences["metric"])]:
        raise ValueError(
            f"{', '.join(missing)} was not compared, so that no limit can be put on it; there are "
            f"{', '.join(dict.fromkeys(differences['metric']))}. Name one of these, or a score that has it."
        )
    rows = differences[(differences["level"] == 0) | (differences["kind"] != "corruption")]
    sentences = []
    for row in rows.to_dict("records"):
        metric, place = str(row["metric"]), f"{row['test_set']}: {row['metric']}"
        if metric == "silent_failure_rate" and max_silent_failure_rate is not None:
            ends = row["after_low"], row["after"], row["after_high"]
            if _decisive(ends, when) > max_silent_failure_rate:
                sentences.append(f"{place} is {_ends(ends)}, above {max_silent_failure_rate:g} ({when})")
        if metric in limits:
            ends = row["low"], row["difference"], row["high"]
            if metrics.METRICS[metric].higher_is_better:
                ends = -ends[2], -ends[1], -ends[0]
            if _decisive(ends, when) > limits[metric]:
                sentences.append(f"{place} is worse by {_ends(ends)}, more than {limits[metric]:g} ({when})")
    return sentences


def _decisive(ends: tuple[float, float, float], when: When) -> float:
    chosen = ends[{"surely": 0, "estimated": 1, "possibly": 2}[when]]
    return chosen if np.isfinite(chosen) else ends[1]


def _ends(ends: tuple[float, float, float]) -> str:
    return f"{ends[1]:.4g} [{ends[0]:.4g}, {ends[2]:.4g}]"
