"""The figures of a run for a paper: its table of results, mean ranks, and risk-coverage curves.

`python -m experiments.figures.results runs/quick --out figures --csfs msr mcd_mi --format pdf`
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import tyro

from experiments.outcome import rank_figures
from sfjax import views
from sfjax.study.rankings import Rankings
from sfjax.views import results_table


def main(
    run: Annotated[Path, tyro.conf.Positional],
    out: Path = Path("figures"),
    metric: str = "aurc",
    csfs: tuple[str, ...] = (),
    best: int | None = None,
    format: Literal["pdf", "svg", "png"] = "pdf",
    dark: bool = False,
) -> None:
    """Draws the figures of a finished run.

    Args:
        run: Its folder.
        out: Where to; it is made where it is missing.
        metric: Of the table of results.
        csfs: Which confidence scores the table and the curves show; all if none is named.
        best: Instead, so many of the best mean rank.
        format: Of the files.
        dark: Light on dark.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, chart in figures(run, metric=metric, csfs=csfs, best=best):
        views.save(chart, out / f"{name}.{format}", params={"sf_dark": dark})
        print(out / f"{name}.{format}")


def figures(run: Path, *, metric: str, csfs: tuple[str, ...], best: int | None) -> Iterator[tuple[str, Any]]:
    """Yields by file name the figures of a run.

    Raises:
        ValueError: The folder holds no finished run, no curves of a task, or no such metric or score; or scores are
            named and counted.
    """
    if csfs and best is not None:
        raise ValueError("Name the scores (--csfs) or say how many of the best (--best), not both.")
    if not (run / "summary.parquet").exists():
        raise ValueError(f"{run} holds no finished run (no summary.parquet). Give a folder that the benchmark wrote.")
    summary = pd.read_parquet(run / "summary.parquet")
    shown = csfs or best
    yield f"table_{metric}", views.aurc_table(summary, metric=metric, csfs=shown)
    tables = {name: run / f"ranks_{name}.parquet" for name in Rankings._fields}
    ranks = Rankings(**{name: pd.read_parquet(path) for name, path in tables.items()})
    for name, chart in rank_figures(ranks):
        yield f"ranks_{name}", chart
    chosen = results_table.cells(summary, metric=metric, csfs=shown).csfs
    for task in dict.fromkeys(summary["task"]):
        path = run / str(task) / "report" / "curves.parquet"
        if not path.exists():
            raise ValueError(f"{path} is missing: the run has no report yet. Write it by experiments.report.")
        curves = pd.read_parquet(path)
        kept = curves[curves["csf"].isin(chosen)]
        yield f"risk_coverage_{task}", views.risk_coverage(kept, title=f"{task}: selective risk against coverage")


if __name__ == "__main__":
    try:
        tyro.cli(main, description=__doc__)
    except ValueError as error:
        sys.exit(f"Error: {error}")
