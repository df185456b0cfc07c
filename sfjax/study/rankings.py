"""How CSFs rank: on each test set by its resamples, over test sets by critical differences, and whether it holds.

Blocks of the critical difference are (task, shift): averaged over networks, and over levels within a corruption. Blocks
of one task share networks and images, so that they are not as independent as the test takes them; a variant with a
block a task stands beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from sfjax import metrics
from sfjax.study.measures import ALL_DOMAINS

VARIANTS: Final = {"task x shift": ("task", "test_set"), "task": ("task",)}
"""What a block is."""
DIGITS: Final = 6
"""Decimals of the values that are ranked: scores of one order differ by rounding, which is no difference."""


class Rankings(NamedTuple):
    """Tables of ranks.

    Attributes:
        per_set: A row a task, test set, metric and CSF: mean rank over resamples, its interval, chance of being best.
        overall: A row a variant, metric and CSF: mean rank over blocks, its 95 % interval over resamples of the images,
            and the chance of being best on them.
        groups: A row a variant, metric and group of CSFs that the blocks do not tell apart: its span of mean ranks.
        transfer: A row a task, shifted set and metric: Kendall's tau with the i.i.d. ranking.
    """

    per_set: pd.DataFrame
    overall: pd.DataFrame
    groups: pd.DataFrame
    transfer: pd.DataFrame


def rankings(
    summary: pd.DataFrame,
    resamples: Mapping[str, Mapping[str, np.ndarray]],
    csfs: Sequence[str],
    ranked: Sequence[str],
) -> Rankings:
    """Returns how CSFs rank.

    Args:
        summary: Of all tasks.
        resamples: By task, then by `TEST_SET.METRIC`: a row a CSF.
        csfs: The rows' names.
        ranked: Metrics to rank by.
    """
    tables: dict[str, list[dict[str, object]]] = {name: [] for name in Rankings._fields}
    whole = summary[(summary["level"] == 0) & (summary["domain"] == ALL_DOMAINS)]
    if len(csfs) < 2:
        return Rankings(*(pd.DataFrame() for _ in Rankings._fields))
    for metric in ranked:
        chosen = whole[whole["metric"] == metric]
        higher = metrics.METRICS[metric].higher_is_better
        for (task, test_set), rows in chosen.groupby(["task", "test_set"], sort=False):
            about = {"task": task, "test_set": test_set, "kind": rows["kind"].iloc[0], "metric": metric}
            drawn = np.round(resamples[str(task)][f"{test_set}.{metric}"], DIGITS)
            found = metrics.rank_distribution(drawn, higher_is_better=higher)
            for i, csf in enumerate(csfs):
                place = {"rank": found.mean[i], "low": found.low[i], "high": found.high[i], "p_best": found.best[i]}
                tables["per_set"].append({**about, "csf": csf, **place})
            if rows["kind"].iloc[0] != "iid":
                iid = chosen[(chosen["task"] == task) & (chosen["kind"] == "iid")]
                values = [
                    one.set_index("csf")["value"].reindex(list(csfs)).to_numpy().round(DIGITS) for one in (iid, rows)
                ]
                tau = metrics.tau_interval(np.round(resamples[str(task)][f"iid_test.{metric}"], DIGITS), drawn)
                here = {"tau": float(metrics.kendall_tau(*values)), "low": float(tau.low), "high": float(tau.high)}
                tables["transfer"].append({**about, **here})
        for variant, block in VARIANTS.items():
            _add_overall(tables, chosen, resamples, csfs, metric, variant, block)
    return Rankings(**{name: pd.DataFrame(rows) for name, rows in tables.items()})


def _add_overall(
    tables: Mapping[str, list],
    chosen: pd.DataFrame,
    resamples: Mapping[str, Mapping[str, np.ndarray]],
    csfs: Sequence[str],
    metric: str,
    variant: str,
    block: Sequence[str],
) -> None:
    """Adds mean ranks over blocks, and the groups that the blocks do not tell apart, where there are two blocks."""
    higher = metrics.METRICS[metric].higher_is_better
    wide = chosen.pivot_table(index=["task", "test_set"], columns="csf", values="value", sort=False)
    wide = wide.reindex(columns=pd.Index(csfs)).dropna()
    names = wide.index.to_frame(index=False)
    of_block = names.groupby(list(block), sort=False).ngroup().to_numpy()
    if of_block.max(initial=0) < 1:
        return
    # First the images as they are, then each resample: its ranks on every test set, and their mean in every block.
    drawn = [resamples[task][f"{test_set}.{metric}"].T for task, test_set in names.itertuples(index=False)]
    values = np.round(np.concatenate([wide.to_numpy()[:, None], np.stack(drawn)], axis=1), DIGITS)
    ranked = metrics.ranks(values, higher_is_better=higher)
    of_blocks = np.stack([ranked[of_block == one].mean(axis=0) for one in range(of_block.max() + 1)])
    of_blocks = metrics.ranks(of_blocks, higher_is_better=False)
    found = metrics.critical_difference(of_blocks[:, 0], higher_is_better=False)
    spread = of_blocks[:, 1:].mean(axis=0)
    low, high = np.quantile(spread, [0.025, 0.975], axis=0)
    best = metrics.rank_distribution(spread.T, higher_is_better=False).best
    about = {"metric": metric, "variant": variant, "blocks": len(of_blocks)}
    of_all = {"critical_difference": found.difference, "p_friedman": found.p_friedman}
    for i, csf in enumerate(csfs):
        place = {"mean": found.mean[i], "low": low[i], "high": high[i], "p_best": best[i]}
        tables["overall"].append({**about, "csf": csf, **place, **of_all})
    for number, group in enumerate(found.groups):
        ends = {"start": min(found.mean[list(group)]), "end": max(found.mean[list(group)])}
        tables["groups"].append({**about, "group": number, **ends, "csfs": ", ".join(csfs[i] for i in group)})
