"""The results table as a page shows it: one number a test set, csf and metric, over all seeds."""

from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from sfjax.views.tables import check_results

KEYS: Final = ("test_set", "shift", "kind", "level", "domain", "csf", "metric")


class Metric(NamedTuple):
    """How a metric is shown.

    Attributes:
        title: In words, with the unit.
        short: The same for small places.
        scale: What its natural value is multiplied by.
        digits: Decimals.
        lower_is_better: The direction.
    """

    title: str
    short: str
    scale: float
    digits: int
    lower_is_better: bool


METRICS: Final = {
    "aurc": Metric("AURC × 1000", "AURC × 1000", 1000, 1, True),
    "augrc": Metric("AUGRC × 1000", "AUGRC × 1000", 1000, 1, True),
    "augrc_balanced": Metric("AUGRC × 1000, every class counting the same", "balanced AUGRC × 1000", 1000, 1, True),
    "eaurc": Metric("excess AURC × 1000", "excess AURC × 1000", 1000, 1, True),
    "auroc_f": Metric("AUROC of failure detection, %", "failure AUROC, %", 100, 1, False),
    "ap_error": Metric("average precision of finding failures, %", "AP of failures, %", 100, 1, False),
    "fpr_at_95tpr": Metric("false-positive rate at 95 % true-positive rate, %", "FPR at 95 % TPR, %", 100, 1, True),
    "silent_failure_rate": Metric(
        "silent failures: of all images, failures with probability above 0.9, %",
        "silent failures, % of images",
        100,
        2,
        True,
    ),
    "accepted_failure_rate": Metric(
        "accepted failures: of all images, failures with a score that 80 % of val exceed, %",
        "accepted failures, % of images",
        100,
        2,
        True,
    ),
    "accuracy": Metric("accuracy, %", "accuracy, %", 100, 1, False),
    "balanced_accuracy": Metric("balanced accuracy, %", "balanced accuracy, %", 100, 1, False),
    "ece": Metric("expected calibration error, %", "ECE, %", 100, 1, True),
    "brier": Metric("Brier score, %", "Brier score, %", 100, 1, True),
    "nll": Metric("negative log-likelihood, nats", "NLL, nats", 1, 3, True),
    "aurc_cost": Metric("AURC × 1000, in cost", "AURC × 1000, in cost", 1000, 1, True),
    "augrc_cost": Metric("AUGRC × 1000, in cost", "AUGRC × 1000, in cost", 1000, 1, True),
    "mean_cost": Metric("mean cost of an image", "mean cost", 1, 3, True),
    "silent_cost": Metric("cost of silent failures, per image", "cost of silent failures", 1, 3, True),
    "accepted_cost": Metric("cost of accepted failures, per image", "cost of accepted failures", 1, 3, True),
    "cost_correlation": Metric(
        "rank correlation of score and cost among failures: above 0, the confident ones are the costly ones",
        "score and cost of failures, rank correlation",
        1,
        2,
        True,
    ),
}
"""The metrics that have a place in the page, in its order; others are shown as they are, after these."""


def summarize(results: pd.DataFrame) -> pd.DataFrame:
    """Returns one row a test set, domain, csf and metric, with the best of a row and its ties marked.

    Of results that have a row a seed, it is the mean over seeds, from the least lower bound to the greatest upper one,
    which is wider than an interval of the mean, and nothing is marked: that takes paired resamples.

    Args:
        results: Of one task, as `sfjax.views.tables.check_results` wants it; a table with the columns seeds, best and
            tied is taken for such a summary already.
    """
    # An infinite value, as of a likelihood where the true class is unknown, has no place on a page.
    table = check_results(results).replace([np.inf, -np.inf], np.nan)
    if {"seeds", "best", "tied"} <= set(table.columns):
        marks = {name: table[name].astype(int) for name in ("best", "tied", "few_failures") if name in table}
        return table.assign(**marks).dropna(subset=["value"]).reset_index(drop=True)
    filled = table.assign(csf=table["csf"].fillna(""), domain=table["domain"].fillna("all"))
    found = filled.groupby(list(KEYS), sort=False, dropna=False)
    summary = found.agg(
        value=("value", "mean"), low=("low", "min"), high=("high", "max"), n=("n", "max"), seeds=("n", "size")
    )
    summary = summary.assign(best=0, tied=0)
    return summary.reset_index().dropna(subset=["value"]).reset_index(drop=True)


def metric_titles(names: list[str]) -> dict[str, dict[str, Any]]:
    """Returns how to show the metrics of these names, in the page's order."""
    known = [name for name in METRICS if name in names]
    others = sorted(set(names) - set(known))
    shown = {name: METRICS[name] for name in known} | {name: Metric(name, name, 1, 4, True) for name in others}
    return {name: metric._asdict() | {"known": name in METRICS} for name, metric in shown.items()}
