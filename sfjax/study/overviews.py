"""Guarantees, rankings, groups and costs of a run as Markdown."""

from typing import Any, Final

import numpy as np
import pandas as pd

from sfjax.study.evidence import FEW_DISCORDANT, FEW_FAILURES
from sfjax.study.measures import ALL_DOMAINS
from sfjax.study.rankings import Rankings
from sfjax.study.tables import SCALE, TITLES, digits, markdown, number, with_interval

PROMISES: Final = {
    "sgr": "Selective risk at most {target}, with {confidence} confidence (SGR)",
    "ltt": "Selective risk at most {target}, with {confidence} confidence (learn then test)",
    "crc": "Share of all images that are accepted failures at most {target}, on average (conformal risk control)",
}
COST_PROMISES: Final = {
    "ltt": "Mean cost of accepted images at most {target} ({share} of the largest cost), with {confidence} confidence "
    "(learn then test)",
    "crc": "Cost of accepted images, per image, at most {target} ({share} of the largest cost), on average (conformal "
    "risk control)",
}


def promise_cells(guarantees: pd.DataFrame, task: str) -> pd.DataFrame:
    """Returns what became of a task's promises: a row a promise, test set and CSF, over networks.

    Of a corruption it is the mean over levels.

    `text` is the risk and, in brackets, the accepted share; `state` is `none` (no threshold keeps the promise), `kept`,
    `above` (the target, as chance may explain) or `broken`.

    Args:
        guarantees: The run's.
        task: Which.
    """
    of_task = guarantees[(guarantees["task"] == task) & (guarantees["level"] == 0)]
    of_task = of_task.assign(number=of_task.groupby(["loss", "kind", "target"], sort=False).ngroup())
    cells = []
    for (place, loss, kind, shift), rows in of_task.groupby(["number", "loss", "kind", "shift"], sort=False):
        first = rows.iloc[0]
        words = (PROMISES if loss == "failure" else COST_PROMISES)[str(kind)]
        confidence = f"{100 * (1 - float(first['delta'])):g} %"
        about = {
            "number": place,
            "promise": words.format(
                target=_risk(float(first["target"]), str(loss)),
                share=f"{100 * float(first['target_share']):g} %",
                confidence=confidence,
            ),
            "test_set": str(first["test_set"] if shift == "none" else shift),
            "kind": str(first["shift_kind"]),
        }
        for csf, of_csf in rows.groupby("csf", sort=False):
            text, state = _promised(of_csf, str(loss))
            cells.append({**about, "csf": str(csf), "text": text, "state": state})
    return pd.DataFrame(cells)


def _promised(rows: pd.DataFrame, loss: str) -> tuple[str, str]:
    """Returns text and state of one CSF on one shift: all networks."""
    having = rows[rows["exists"]]
    seeds, found = rows["seed"].nunique(), having["seed"].nunique()
    if not found:
        return "none", "none"
    risk, coverage = having["risk"].mean(), having["coverage"].mean()
    text = f"{_risk(risk, loss) if np.isfinite(risk) else '–'} ({100 * coverage:.0f} %)"
    state = "kept"
    if risk > having["target"].iloc[0]:
        state = "broken" if having["broken"].any() else "above"
    return text if found == seeds else f"{text} {found}/{seeds}", state


def guarantee_table(guarantees: pd.DataFrame, task: str) -> str:
    """Returns what became of a task's promises on every test set: a section a promise, a column a CSF.

    Args:
        guarantees: The run's.
        task: Which.
    """
    lines = [
        f"# {task}: what became of the promises",
        "",
        "Thresholds were fitted on `cal`, one image a patient, and promise a risk on images like those. A cell is the "
        "risk on the test set at that threshold, in brackets the share that is still accepted, every patient counting "
        "once; mean over the networks that have a threshold. **Bold**: broken: the risk is above the target and, for "
        "some network, its whole 95 % interval by patient is (where the promise is of an average, widened by the "
        "chance of the calibration images). `>`: above the target, and chance may explain it. `none`: no threshold "
        "keeps the promise, for any network; `1/2`: for one of two. Corruptions: mean over levels. SGR bisects: where "
        "half of the images cannot be shown to be safe it looks among fewer only, and with few calibration images it "
        "often ends with none where learn then test, which tries looser thresholds too, finds one.",
    ]
    marks = {"broken": "**{}**", "above": "> {}", "kept": "{}", "none": "{}"}
    for (promise, _), cells in promise_cells(guarantees, task).groupby(["promise", "number"], sort=False):
        rows = [
            [str(test_set), str(kind), *(marks[str(cell.state)].format(cell.text) for cell in of_set.itertuples())]
            for (test_set, kind), of_set in cells.groupby(["test_set", "kind"], sort=False)
        ]
        lines += ["", f"## {promise}", "", markdown(["test set", "kind", *dict.fromkeys(cells["csf"])], rows)]
    return "\n".join(lines) + "\n"


def _risk(risk: float, loss: str) -> str:
    return f"{_short(100 * risk)} %" if loss == "failure" else _short(risk)


def _short(value: float) -> str:
    """Returns a number with one decimal, or with three digits where that would hide it."""
    return f"{value:.1f}" if value == 0 or abs(value) >= 1 else f"{value:.3g}"


def ranking_tables(rankings: Rankings) -> str:
    """Returns mean ranks over test sets, and whether the i.i.d. ranking holds under each shift."""
    lines = ["# Rankings of the confidence scores", ""]
    if not len(rankings.per_set):
        return "\n".join([*lines, "A ranking needs two scores or more.", ""])
    for metric in rankings.per_set["metric"].unique():
        lines += [f"## By {TITLES[metric]}", ""]
        if len(rankings.overall):
            lines += _overall(rankings, metric)
        of_sets = rankings.per_set[rankings.per_set["metric"] == metric]
        csfs = list(dict.fromkeys(of_sets["csf"]))
        transfer = rankings.transfer
        transfer = transfer[transfer["metric"] == metric] if len(transfer) else transfer
        rows = []
        for (task, test_set), rows_of_set in of_sets.groupby(["task", "test_set"], sort=False):
            tau = (
                transfer[(transfer["task"] == task) & (transfer["test_set"] == test_set)] if len(transfer) else transfer
            )
            cells = {row.csf: _ranked(row) for row in rows_of_set.itertuples()}
            rows.append([str(task), str(test_set), *(cells[csf] for csf in csfs), _tau(tau)])
        lines += [
            "Mean rank over resamples of the images (chance of being best), and Kendall's tau with the ranking on "
            "i.i.d. images: 1 is the same ranking, 0 none in common, -1 the reverse.",
            "",
            markdown(["task", "test set", *csfs, "tau [95 %]"], rows),
            "",
        ]
    return "\n".join(lines)


def _overall(rankings: Rankings, metric: str) -> list[str]:
    chosen = rankings.overall[rankings.overall["metric"] == metric]
    lines = []
    for variant, rows in chosen.groupby("variant", sort=False):
        first = rows.iloc[0]
        groups = rankings.groups
        if len(groups):
            groups = groups[(groups["metric"] == metric) & (groups["variant"] == variant)]
        told = "; ".join(f"{{{group}}}" for group in groups["csfs"]) if len(groups) else ""
        lines += [
            f"Blocks: {variant} ({first['blocks']}). Mean ranks that differ by less than "
            f"{first['critical_difference']:.2f} cannot be told apart (Nemenyi, 5 %; Friedman p = "
            f"{first['p_friedman']:.2g})" + (f": {told}." if told else "; all can."),
            "",
            markdown(
                ["csf", "mean rank", "95 % over images", "chance of the best mean rank"],
                [
                    [str(row.csf), f"{row.mean:.2f}", f"[{row.low:.2f}, {row.high:.2f}]", _percent(row.p_best)]
                    for row in rows.sort_values("mean", kind="stable").itertuples()
                ],
            ),
            "",
        ]
    return lines


def _ranked(row: Any) -> str:
    return f"{row.rank:.1f} ({_percent(row.p_best)})"


def _percent(share: Any) -> str:
    return f"{100 * share:.0f} %"


def _tau(rows: pd.DataFrame) -> str:
    if not len(rows):
        return ""
    row = rows.iloc[0]
    return f"{number(row['tau'], 2)} [{number(row['low'], 2)}, {number(row['high'], 2)}]"


GROUP_METRICS: Final = ("accuracy", "aurc", "auroc_f", "silent_failure_rate", "accepted_failure_rate", "mean_cost")
"""What the table of groups shows; the file has every metric."""


def group_table(groups: pd.DataFrame, csf: str) -> str:
    """Returns one CSF's results by class, subclass and other groups: a row a group, a column a metric.

    Args:
        groups: The run's.
        csf: Which.
    """
    lines = [
        f"# By group: `{csf}`",
        "",
        "Mean over networks with its 95 % interval. Areas are x 1000, costs per image, everything else in percent. "
        f"`†`: fewer than {FEW_FAILURES} patients with a failure, or with a success. Every other score and metric is "
        "in `groups.csv`.",
    ]
    chosen = groups[groups["csf"] == csf] if len(groups) else groups
    if not len(chosen):
        return "\n".join([*lines, "", "There are no groups: one class, no subclass, no `--group-columns`."]) + "\n"
    shown = [metric for metric in GROUP_METRICS if metric in set(chosen["metric"])]
    for (task, column), of_column in chosen.groupby(["task", "column"], sort=False):
        rows = []
        for (test_set, group), cells in of_column.groupby(["test_set", "group"], sort=False):
            by_metric = {
                row.metric: with_interval(row, SCALE.get(str(row.metric), 100.0)) for row in cells.itertuples()
            }
            rows.append([str(test_set), str(group), str(cells["n"].iloc[0]), *(by_metric.get(m, "") for m in shown)])
        lines += ["", f"## {task}, by {column}", "", markdown(["test set", str(column), "n", *shown], rows)]
    return "\n".join(lines) + "\n"


COMPARED: Final = (
    *("aurc", "augrc", "auroc_f", "silent_failure_rate", "accepted_failure_rate"),
    *("aurc_cost", "accepted_cost"),
)
"""What the tables of comparisons and of seeds show; the files have every metric."""


def comparison_cells(comparisons: pd.DataFrame, task: str) -> tuple[list[str], list[list[str]]]:
    """Returns head and rows of a task's paired differences from the baseline: a row a metric and test set.

    Args:
        comparisons: The run's.
        task: Which.
    """
    chosen = comparisons[
        (comparisons["task"] == task) & (comparisons["level"] == 0) & (comparisons["domain"] == ALL_DOMAINS)
    ]
    csfs = list(dict.fromkeys(chosen["csf"]))
    rows = []
    for metric in (name for name in COMPARED if name in set(chosen["metric"])):
        for test_set, of_set in chosen[chosen["metric"] == metric].groupby("test_set", sort=False):
            first = of_set.iloc[0]
            cells = {row.csf: _difference(row) for row in of_set.itertuples()}
            rows.append(
                [TITLES[metric], str(test_set), first["kind"], str(first["n"]), *(cells.get(c, "") for c in csfs)]
            )
    return ["metric", "test set", "kind", "n", *csfs], rows


def comparison_table(comparisons: pd.DataFrame, task: str) -> str:
    """Returns a task's paired differences from the baseline as Markdown."""
    head, rows = comparison_cells(comparisons, task)
    return f"# {task}: differences from the baseline\n\n{comparison_legend(comparisons)}\n\n{markdown(head, rows)}\n"


def comparison_legend(comparisons: pd.DataFrame) -> str:
    """Returns what a cell of the comparisons says."""
    return (
        f"Score less `{comparisons['baseline'].iloc[0]}` on the same images, mean over networks, with the 95 % "
        "interval of the paired difference by patient, in the metric's unit; `p` after Holm's adjustment over the row. "
        f"**Bold**: different at 5 % (of rates only where the two disagree on {FEW_DISCORDANT} patients or more)."
    )


def _difference(row: Any) -> str:
    scale = SCALE.get(row.metric, 100.0)
    value, low, high = (number(end * scale, digits(scale)) for end in (row.difference, row.low, row.high))
    if low == "–":
        return value
    p = "< 0.001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}"
    text = f"{value} [{low}, {high}], p {p}"
    return f"**{text}**" if row.different else text


def seed_table(summary: pd.DataFrame, task: str) -> str:
    """Returns how far networks of other seeds may lie: a row a metric and test set, a column a CSF.

    Args:
        summary: The run's.
        task: Which.
    """
    chosen = summary[(summary["task"] == task) & (summary["level"] == 0) & (summary["domain"] == ALL_DOMAINS)]
    csfs = list(dict.fromkeys(chosen["csf"]))
    rows = []
    for metric in ("accuracy", *(name for name in COMPARED if name in set(chosen["metric"]))):
        for test_set, of_set in chosen[chosen["metric"] == metric].groupby("test_set", sort=False):
            cells = {row.csf: _over_seeds(row) for row in of_set.itertuples()}
            rows.append([TITLES[metric], str(test_set), *(cells.get(csf, "") for csf in csfs)])
    return (
        f"# {task}: over {chosen['seeds'].iloc[0]} seeds\n\n"
        "Mean over networks; `images`: its 95 % interval over images, for these networks; `seeds`: Student's t "
        "interval over networks, for these images. The wider one says what is worth more of. `both`: over other "
        "networks and images at once, from 8 seeds on; with fewer, seeds drawn anew are too alike to tell.\n\n"
        + markdown(["metric", "test set", *csfs], rows)
        + "\n"
    )


def _over_seeds(row: Any) -> str:
    scale = SCALE.get(row.metric, 100.0)
    text = number(row.value * scale, digits(scale))
    for name, *ends in (
        ("images", row.low, row.high),
        ("seeds", row.seed_low, row.seed_high),
        ("both", row.hierarchical_low, row.hierarchical_high),
    ):
        low, high = (number(end * scale, digits(scale)) for end in ends)
        text += f"; {name} [{low}, {high}]" if low != "–" else ""
    return text


def cost_table(summary: pd.DataFrame) -> str:
    """Returns whether the most confident failures are the costly ones: a row a test set, a column a CSF."""
    chosen = summary[
        (summary["metric"] == "cost_correlation") & (summary["level"] == 0) & (summary["domain"] == ALL_DOMAINS)
    ]
    csfs = list(dict.fromkeys(chosen["csf"]))
    rows = []
    for (task, test_set), group in chosen.groupby(["task", "test_set"], sort=False):
        cells = {row.csf: _verdict(row) for row in group.itertuples()}
        rows.append([str(task), str(test_set), f"{group['failures'].mean():.0f}", *(cells[csf] for csf in csfs)])
    return (
        "# Are the most confident failures the costly ones?\n\n"
        "Rank correlation (Spearman) of score and cost among failures, with its 95 % interval by patient. Above 0 the "
        "most confident failures are the costly ones; **bold** where the interval says so. `–`: not defined, as where "
        f"all failures cost the same.\n\n{markdown(['task', 'test set', 'failures', *csfs], rows)}\n"
    )


def _verdict(row: Any) -> str:
    value, low, high = (number(end, 2) for end in (row.value, row.low, row.high))
    text = f"{value} [{low}, {high}]" if low != "–" else value
    text = f"**{text}**" if row.low > 0 else text
    return f"{text} †" if row.few_failures and value != "–" else text
