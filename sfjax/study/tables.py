"""The summary of a run as Markdown and LaTeX, for people to read and to paste."""

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from sfjax.metrics import METRICS, UNDEFINED_ALLOWED
from sfjax.study.evidence import FEW_DISCORDANT, FEW_FAILURES
from sfjax.study.measures import ALL_DOMAINS

SCALE: Final = {
    **dict.fromkeys(("aurc", "eaurc", "augrc", "augrc_balanced", "aurc_cost", "augrc_cost"), 1000.0),
    **dict.fromkeys(("nll", "mean_cost", "silent_cost", "accepted_cost", "cost_correlation"), 1.0),
}
"""The field prints areas x 1000; the rest is in percent, but for what has a unit of its own."""
TITLES: Final = {
    "accuracy": "Accuracy, %",
    "balanced_accuracy": "Balanced accuracy, %",
    "nll": "Negative log-likelihood, nats",
    "brier": "Brier score, %",
    "ece": "Expected calibration error, %",
    "aurc": "AURC x 1000",
    "eaurc": "Excess AURC x 1000",
    "augrc": "AUGRC x 1000",
    "augrc_balanced": "AUGRC x 1000, every class counting the same",
    "auroc_f": "Failure AUROC, %",
    "ap_error": "Average precision of finding failures, %",
    "fpr_at_95tpr": "False-positive rate at 95 % true-positive rate, %",
    "silent_failure_rate": "Silent failures: share of all images that are failures with probability above 0.9, %",
    "accepted_failure_rate": "Accepted failures: share of all images that fail with a score that 80 % of val exceed, %",
    "mean_cost": "Mean cost of an image",
    "aurc_cost": "AURC x 1000, in cost",
    "augrc_cost": "AUGRC x 1000, in cost",
    "silent_cost": "Cost of silent failures, per image",
    "accepted_cost": "Cost of accepted failures, per image",
}
LEGEND: Final = (
    "Mean over networks (seeds). **Bold**: best of the row. `=`: a statistical tie with it: the 95 % interval of the "
    "paired difference, from one set of resamples by patient for all scores, holds 0. Corruptions: mean over levels. "
    f"`†`: fewer than {FEW_FAILURES} patients with a failure (a silent or accepted one where those are counted), or "
    "without: intervals are too narrow as a rule. `?`: not defined in more than 5 % of resamples, so that nothing is "
    "said about ties."
)
AGAINST_BASELINE: Final = (
    " `▲` better and `▼` worse than `{baseline}`: paired difference, p at most 5 % after Holm's adjustment over the "
    "row, which speaks of all scores at once and so is stricter than the ties; of rates only where the two disagree "
    f"on {FEW_DISCORDANT} patients or more."
)
_LATEX: Final = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "=": "$^{=}$",
        "†": r"$^{\dagger}$",
        "▲": r"$^{\triangle}$",
        "▼": r"$^{\triangledown}$",
        "–": "--",
    }
)


def metric_table(summary: pd.DataFrame, comparisons: pd.DataFrame, metric: str) -> str:
    """Returns one metric as Markdown: a row a test set and domain, a column a CSF, with marks.

    Args:
        summary: The run's summary.
        comparisons: The run's comparisons with the baseline.
        metric: A name in `TITLES`.
    """
    head, rows = _cells(summary, comparisons, metric)
    better = "higher" if METRICS[metric].higher_is_better else "lower"
    direction = f"{better} is better"
    legend = LEGEND + (AGAINST_BASELINE.format(baseline=comparisons["baseline"].iloc[0]) if len(comparisons) else "")
    return f"## {TITLES[metric]} ({direction})\n\n{legend}\n\n{markdown(head, rows)}\n"


def latex_table(summary: pd.DataFrame, comparisons: pd.DataFrame, metric: str) -> str:
    """Returns the same table for a paper, to be read in with the package booktabs."""
    head, rows = _cells(summary, comparisons, metric)
    legend = LEGEND + (AGAINST_BASELINE.format(baseline=comparisons["baseline"].iloc[0]) if len(comparisons) else "")
    return tabular(TITLES[metric], legend, head, rows)


def tabular(title: str, legend: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in LaTeX, its title and legend as comments; the text of cells is escaped."""
    lines = [
        "% needs \\usepackage{booktabs}",
        *(f"% {line}" for line in (title, legend.replace("**", "").replace("`", ""))),
        f"\\begin{{tabular}}{{{'l' * 4}{'r' * (len(head) - 4)}}}",
        "\\toprule",
        " & ".join(latex(cell) for cell in head) + " \\\\",
        "\\midrule",
        *(" & ".join(latex(cell) for cell in row) + " \\\\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _cells(summary: pd.DataFrame, comparisons: pd.DataFrame, metric: str) -> tuple[list[str], list[list[str]]]:
    keys = ["task", "test_set", "domain"]
    chosen = summary[(summary["metric"] == metric) & (summary["level"] == 0)]
    csfs = list(dict.fromkeys(chosen["csf"]))
    higher = METRICS[metric].higher_is_better
    verdicts = {}
    if len(comparisons):
        found = comparisons[(comparisons["metric"] == metric) & (comparisons["level"] == 0) & comparisons["different"]]
        verdicts = {
            (*place, csf): " ▲" if (difference > 0) == higher else " ▼"
            for *place, csf, difference in found[[*keys, "csf", "difference"]].itertuples(index=False)
        }
    rows = []
    for place, group in chosen.groupby(keys, sort=False):
        cells = {
            row.csf: _marked(row, SCALE.get(metric, 100.0)) + verdicts.get((*place, row.csf), "")
            for row in group.itertuples()
        }
        first = group.iloc[0]
        about = [str(place[0]), str(place[1]), str(first["kind"]), str(place[2]), str(first["n"])]
        rows.append([*about, *(cells.get(csf, "") for csf in csfs)])
    return ["task", "test set", "kind", "domain", "n", *csfs], rows


def detail_table(summary: pd.DataFrame, task: str) -> str:
    """Returns a task as Markdown: a section a test set, a row a CSF, a column a metric, each with its 95 % interval."""
    chosen = summary[summary["task"] == task]
    metrics = list(dict.fromkeys(chosen["metric"]))
    lines = [
        f"# {task}",
        "",
        "Mean over networks with its 95 % bootstrap interval over images (by patient where patients are known). "
        "Areas are x 1000, everything else in percent but for `nll` (nats) and costs. "
        f"`†`: fewer than {FEW_FAILURES} patients with a failure (a silent or accepted one where those are counted), "
        "or without: intervals too narrow as a rule.",
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
            cells = {row.metric: with_interval(row, SCALE.get(str(row.metric), 100.0)) for row in of_csf.itertuples()}
            rows.append([str(csf), *(cells.get(metric, "") for metric in metrics)])
        lines.append(markdown(["csf", *metrics], rows))
    return "\n".join(lines) + "\n"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table with its columns aligned; the text of cells is escaped."""
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def latex(cell: str) -> str:
    """Returns the text of a cell of a Markdown table for LaTeX."""
    return re.sub(r"\*\*(.*?)\*\*", r"\\textbf{\1}", cell.translate(_LATEX))


def number(value: float, digits: int = 1) -> str:
    """Returns a number with so many decimals, or a dash where it is not defined."""
    return f"{value:.{digits}f}" if np.isfinite(value) else "–"


def _marked(row: Any, scale: float) -> str:
    text = number(row.value * scale, digits(scale))
    if row.best:
        text = f"**{text}**"
    elif row.tied:
        text = f"{text} ="
    elif row.undefined > UNDEFINED_ALLOWED and text != "–":
        text = f"{text} ?"
    return f"{text} †" if row.few_failures and text != "–" else text


def with_interval(row: Any, scale: float) -> str:
    """Returns the value of a row of the summary with its interval and mark."""
    value, low, high = (number(getattr(row, name) * scale, digits(scale)) for name in ("value", "low", "high"))
    text = f"{value} [{low}, {high}]" if low != "–" else value
    return f"{text} †" if row.few_failures and text != "–" else text


def digits(scale: float) -> int:
    """Returns the decimals of a value that is printed at this scale."""
    return 3 if scale == 1 else 1
