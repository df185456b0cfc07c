"""Which score sees which cause: what is left of failure detection at the far end of each dial."""

import textwrap
from typing import Final

import altair as alt
import numpy as np
import pandas as pd

from sfjax.views import inline, theme
from sfjax.views.palette import themed
from sfjax.views.results_table import FEW, NUMBER, by_task
from sfjax.views.tables import _within, require  # pyright: ignore[reportPrivateUsage]

CAUSES: Final = (
    *("task", "cause", "dial", "csf", "verdict", "accuracy_usual", "accuracy_far"),
    *("auroc_f_usual", "auroc_f_far", "auroc_f_low", "auroc_f_high", "silent_failure_rate_low", "few_failures"),
)
VERDICTS: Final = ("sees", "misses", "unclear", "no failures")
ROW: Final = 32
"""Pixels of a row."""


def cause_table(
    causes: pd.DataFrame,
    *,
    title: str = "",
    subtitle: str = "",
    linked: bool = False,
) -> alt.FacetChart | alt.LayerChart:
    """Returns each csf's verdict on each cause, one cell each, the causes of a task together.

    Below the verdict stand the failure AUROC at the far end of the dial and how far it moved, in points; below a cause,
    where its dial ends and what accuracy does. `!` is where silent failures surely become more, `†` rests on few
    failures.

    Args:
        causes: A table as `check_causes` wants it.
        title: Above the chart; what it shows if empty.
        subtitle: Below the title; it is broken into lines.
        linked: The chart stands in a page that has a heading and sets the theme; else it has both itself.

    Raises:
        ValueError: The table holds what it must not.
    """
    table = check_causes(causes)
    csfs, tasks = table["csf"].unique().tolist(), table["task"].unique().tolist()
    title = title or f"{f'{tasks[0]}: which' if len(tasks) == 1 else 'Which'} score sees which cause"
    narrow = len(csfs) > FEW
    wide = 74 if narrow else 84
    ink, back = alt.expr(themed(lambda p: p.ink)), alt.expr(themed(lambda p: p.background))
    fill = (
        f"datum.verdict == 'sees' ? {themed(lambda p: p.correct[-1])} : datum.verdict == 'misses' ? "
        f"{themed(lambda p: p.failure[-1])} : datum.verdict == 'unclear' ? {themed(lambda p: p.line)} : "
        f"{themed(lambda p: p.surface)}"
    )
    strong = f"datum.verdict == 'sees' || datum.verdict == 'misses' ? {back.expr} : {ink.expr}"
    x = alt.X(
        "csf:N",
        title=None,
        scale=alt.Scale(domain=csfs, paddingInner=0, paddingOuter=0),
        axis=alt.Axis(orient="top", labelAngle=-90 if narrow else 0, labelLimit=180 if narrow else wide,
                      labelOverlap=False, domain=False, ticks=False),
    )  # fmt: skip
    label = f"split(slice(datum.label, {NUMBER}), '\\t')"
    y = alt.Y(
        "row:N",
        title=None,
        sort="ascending",
        scale=alt.Scale(paddingInner=0, paddingOuter=0),
        axis=alt.Axis(
            labelExpr=label,
            labelLimit=220,
            labelLineHeight=13,
            labelOffset=-7,
            labelOverlap=False,
            domain=False,
            ticks=False,
        ),
    )
    tooltip = [
        alt.Tooltip("task:N"),
        alt.Tooltip("cause:N"),
        alt.Tooltip("dial:Q", title="far end", format=".3~g"),
        alt.Tooltip("csf:N"),
        alt.Tooltip("verdict:N"),
        alt.Tooltip("auroc_f_usual:Q", title="failure AUROC, undisturbed", format=".1%"),
        alt.Tooltip("auroc_f_far:Q", title="at the far end", format=".1%"),
        alt.Tooltip("auroc_f_low:Q", title="change from", format="+.1%"),
        alt.Tooltip("auroc_f_high:Q", title="change to", format="+.1%"),
    ]
    base = alt.Chart()
    text = base.encode(x=x, y=y)
    about = {"fill": alt.expr(strong), "baseline": "middle", "aria": False, "tooltip": None}
    upper = text.mark_text(fontSize=11, fontWeight="bold", dy=-6, **about).encode(text="said:N")
    lower = text.mark_text(fontSize=10, dy=8, **about).encode(text="numbers:N")
    cells = base.mark_rect(fill=alt.expr(fill), stroke=back, strokeWidth=1, aria=False).encode(
        x=x, y=y, tooltip=tooltip
    )
    layers = alt.LayerChart(
        layer=[
            cells.properties(name="sf_cells"),
            upper.properties(name="sf_verdicts"),
            lower.properties(name="sf_numbers"),
        ],
        data=inline.reference(table, "sf_causes"),
    )
    lines = [
        "sees: failures still rank below successes. misses: they do so less, or not at all.",
        "Below: failure AUROC at the far end, %, and how far it moved. !: silent failures surely become more.",
    ]
    if table["few_failures"].all():
        lines.append("All of it rests on few failures, or on few successes.")
    elif table["few_failures"].any():
        lines.append("†: few failures, or few successes.")
    characters = max(90, 30 + len(csfs) * wide // 6)
    wrapped = [line for text in (*lines, subtitle) for line in textwrap.wrap(text, characters)]
    heading = {} if linked else {"title": alt.Title(title, subtitle=wrapped, offset=14)}
    return (
        by_task(layers.properties(width=alt.Step(wide), height=alt.Step(ROW)), tasks)
        .add_params(theme.dark_param(linked=linked))
        .properties(
            datasets=inline.dataset(table, "sf_causes"),
            description=f"{title}. {_in_words(table)} {' '.join(lines)} {subtitle}",
            **heading,
        )
        .configure(**theme.config())
    )


def check_causes(causes: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of causes as the view reads it, with the texts of its cells.

    Args:
        causes: Columns `CAUSES`, as `sfjax.study.responses.sights` makes them: a row a task, cause and csf. Of accuracy
            and `auroc_f`, the values on undisturbed images (`usual`) and at the far end of the dial (`far`), and the
            ends of the interval of the change; `auroc_f` may be NaN. `verdict` is one of `VERDICTS`.

    Raises:
        ValueError: A column is missing or holds what it must not.
    """
    require("causes", causes, CAUSES)
    if not len(causes):
        raise ValueError("The table of causes is empty. Turn at least one dial.")
    unknown = sorted(set(causes["verdict"]) - set(VERDICTS))
    if unknown:
        raise ValueError(f"The verdict on a cause is one of {', '.join(VERDICTS)}; got {', '.join(unknown)}.")
    keys = ["task", "cause", "csf"]
    if causes.duplicated(keys).any():
        found = ", ".join(causes.loc[causes.duplicated(keys), keys].iloc[0].astype(str))
        raise ValueError(f"The causes have one row a task, cause and csf; {found} comes more than once.")
    for column in ("accuracy_usual", "accuracy_far"):
        _within("causes", causes, column, 0.0, 1.0)
    table = causes[list(CAUSES)].reset_index(drop=True)
    first = table.groupby(["task", "cause"], sort=False)[["dial", "accuracy_usual", "accuracy_far"]].transform("first")
    number = table.groupby(["task", "cause"], sort=False).ngroup()
    change = 100 * (table["auroc_f_far"] - table["auroc_f_usual"])
    few = table["few_failures"].to_numpy(dtype=bool)
    table = table.assign(
        row=[
            f"{place:0{NUMBER}d}{cause} {dial:.3g}\taccuracy {100 * usual:.0f} → {100 * far:.0f} %"
            for place, cause, dial, usual, far in zip(number, table["cause"], *first.to_numpy().T, strict=True)
        ],
        said=table["verdict"]
        + np.where(table["silent_failure_rate_low"] > 0, " !", "")
        + np.where(few & ~few.all(), " †", ""),
        numbers=[
            "–" if np.isnan(far) or np.isnan(moved) else f"{100 * far:.0f} ({moved:+.0f})".replace("-", "−")
            for far, moved in zip(table["auroc_f_far"], change, strict=True)
        ],
        few_failures=few.astype(int),
    )
    floats = [name for name in table.columns if table[name].dtype.kind == "f"]
    return table.round(dict.fromkeys(floats, 4))


def _in_words(table: pd.DataFrame) -> str:
    """Returns which causes each csf sees and misses."""
    sentences = []
    for csf, rows in table.groupby("csf", sort=False):
        counts = rows["verdict"].value_counts()
        found = [f"{verdict} {counts[verdict]}" for verdict in VERDICTS if counts.get(verdict, 0)]
        sentences.append(f"{csf}: {', '.join(found)} of {len(rows)} causes.")
    return " ".join(sentences)
