"""What the programs share at the terminal: how errors are told, and how a table of areas looks."""

import sys
from collections.abc import Callable, Sequence

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sfjax.study.measures import ALL_DOMAINS
from sfjax.study.tables import SCALE, number

console = Console(stderr=True)
"""Where progress, notes and errors go; what a program is asked for goes to standard output."""
GOES_ON = "Stopped. The same command continues from here."


def exit_status(work: Callable[[], int | None], *, stopped: str = GOES_ON) -> int:
    """Returns what a program ends with: what `work` returns, 0 for nothing, or after an error that is printed 1 or 2.

    2 is for what was asked, or a library that is missing; 1 for files; 130 for Ctrl-C, as shells count.

    Args:
        work: The program.
        stopped: What is said after Ctrl-C.
    """
    try:
        return work() or 0
    except (ValueError, ImportError) as error:
        console.print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True)
        return 2
    except OSError as error:
        console.print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print(stopped)
        return 130


def print_areas(summary: pd.DataFrame, csfs: Sequence[str], *, over: str = "mean over seeds") -> None:
    """Prints the areas under the risk-coverage curves, a table a task: a row a score, a column a test set.

    Args:
        summary: A run's, over networks.
        csfs: Scores in the order of rows.
        over: Of which networks the numbers are, for the title.
    """
    whole = summary[(summary["level"] == 0) & (summary["domain"] == ALL_DOMAINS)]
    terminal = Console(width=None if sys.stdout.isatty() else 160)
    for task, of_task in whole.groupby("task", sort=False):
        sets = list(dict.fromkeys(of_task["test_set"]))
        cells = {(row["metric"], row["csf"], row["test_set"]): row for row in of_task.to_dict("records")}
        title = f"{task}: AURC x 1000 (lower is better; {over}; best in bold, = tied with it)"
        table = Table(title=escape(title), title_justify="left")
        for heading in ("", *sets):
            table.add_column(escape(heading), justify="right" if heading else "left")
        for metric, name in (("accuracy", "accuracy"), ("silent_failure_rate", "silent failures")):
            first = next((csf for csf in csfs if (metric, csf, sets[0]) in cells), None)
            if first is not None:
                shares = (number(100 * float(cells[metric, first, one]["value"])) for one in sets)
                table.add_row(f"{name} of {first}, %", *shares)
        table.add_section()
        for csf in csfs:
            areas = [cells["aurc", csf, one] for one in sets]
            texts = [(number(SCALE["aurc"] * area["value"]), area["best"], area["tied"]) for area in areas]
            table.add_row(
                csf, *(f"[bold]{text}[/]" if best else f"{text} =" if tied else text for text, best, tied in texts)
            )
        terminal.print(table)
