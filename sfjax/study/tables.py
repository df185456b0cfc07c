"""The summary of a run as Markdown, for people to read and to paste."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from sfjax.study.scores import ALL_DOMAINS, HIGHER_IS_BETTER, METRICS

SCALE: Final = {"aurc": 1000.0, "augrc": 1000.0}
"""The field prints areas x 1000; everything else is in percent."""
TITLES: Final = {
    "accuracy": "Accuracy, %",
    "balanced_accuracy": "Balanced accuracy, %",
    "aurc": "AURC x 1000",
    "augrc": "AUGRC x 1000",
    "auroc_f": "Failure AUROC, %",
    "fpr_at_95tpr": "False-positive rate at 95 % true-positive rate, %",
    "silent_failure_rate": "Silent failures: share of all images that are failures with probability above 0.9, %",
    "accepted_failure_rate": "Accepted failures: share of all images that fail with a score that 80 % of val exceed, %",
}
LEGEND: Final = (
    "Mean over networks (seeds). **Bold**: best of the row. `=`: a statistical tie with it: the 95 % interval of the "
    "paired difference, from one set of resamples by patient for all scores, holds 0. Corruptions: mean over levels."
)


def metric_table(summary: pd.DataFrame, metric: str) -> str:
    """Returns one metric as Markdown: a row a test set and domain, a column a CSF, best and ties marked.

    Args:
        summary: The run's summary.
        metric: A name in `METRICS`.
    """
    chosen = summary[(summary["metric"] == metric) & (summary["level"] == 0)]
    csfs = list(dict.fromkeys(chosen["csf"]))
    scale = SCALE.get(metric, 100.0)
    rows = []
    for (task, test_set, domain), group in chosen.groupby(["task", "test_set", "domain"], sort=False):
        cells = {row.csf: _marked(row, scale) for row in group.itertuples()}
        first = group.iloc[0]
        rows.append([task, test_set, first["kind"], domain, str(first["n"]), *(cells.get(csf, "") for csf in csfs)])
    better = "higher" if metric in HIGHER_IS_BETTER else "lower"
    head = ["task", "test set", "kind", "domain", "n", *csfs]
    return f"## {TITLES[metric]} ({better} is better)\n\n{LEGEND}\n\n{markdown(head, rows)}\n"


def detail_table(summary: pd.DataFrame, task: str) -> str:
    """Returns a task as Markdown: a section a test set, a row a CSF, a column a metric, each with its 95 % interval."""
    chosen = summary[summary["task"] == task]
    lines = [
        f"# {task}",
        "",
        "Mean over networks with its 95 % bootstrap interval over images (by patient where patients are known). "
        "Areas are x 1000, everything else in percent.",
    ]
    for (test_set, domain), group in chosen.groupby(["test_set", "domain"], sort=False):
        first = group.iloc[0]
        place = "" if domain == ALL_DOMAINS else f", domain {domain}"
        lines += [
            "",
            f"## {test_set}{place}",
            "",
            f"{first['kind']}; {first['n']} images; {first['seeds']} networks",
            "",
        ]
        rows = []
        for csf, of_csf in group.groupby("csf", sort=False):
            cells = {row.metric: _with_interval(row, SCALE.get(str(row.metric), 100.0)) for row in of_csf.itertuples()}
            rows.append([str(csf), *(cells.get(metric, "") for metric in METRICS)])
        lines.append(markdown(["csf", *METRICS], rows))
    return "\n".join(lines) + "\n"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table with its columns aligned; the text of cells is escaped."""
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def number(value: float) -> str:
    """Returns a number with one decimal, or a dash where it is not defined."""
    return f"{value:.1f}" if np.isfinite(value) else "–"


def _marked(row: Any, scale: float) -> str:
    text = number(row.value * scale)
    if row.best:
        return f"**{text}**"
    return f"{text} =" if row.tied else text


def _with_interval(row: Any, scale: float) -> str:
    value, low, high = (number(getattr(row, name) * scale) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]" if low != "–" else value
