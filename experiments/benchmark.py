"""From images to a table of failure-detection metrics with intervals, and a report to look at.

    python -m experiments.benchmark [tiny|quick|standard] [options]

Without a preset it is `quick`. A run that was stopped or killed goes on where it was when the same command is given
again.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from experiments.outcome import write_outcome
from sfjax import study
from sfjax.study import PRESETS, Config
from sfjax.study.scores import ALL_DOMAINS
from sfjax.study.tables import SCALE, number

console = Console(stderr=True)


@dataclass(frozen=True)
class Arguments:
    """What the command line says."""

    config: Config
    out: Annotated[Path | None, tyro.conf.arg(help="Run folder. Without it runs/PRESET, or runs/PRESET-MANIFEST.")] = (
        None
    )
    report_images: Annotated[bool, tyro.conf.arg(help="Put small images into the report.")] = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    command = list(sys.argv[1:] if arguments is None else arguments)
    if not command or (command[0] not in PRESETS and command[0] not in ("-h", "--help")):
        command = ["quick", *command]
    try:
        chosen = tyro.extras.overridable_config_cli(
            {name: (preset.description, Arguments(preset.config)) for name, preset in PRESETS.items()},
            prog="python -m experiments.benchmark",
            description=__doc__,
            args=command,
            config=(tyro.conf.OmitArgPrefixes,),
        )
        out = chosen.out or default_folder(command[0], chosen.config)
        study.open_folder(out, chosen.config, command=["python", "-m", "experiments.benchmark", *command])
        use_compilation_cache()
        run(chosen.config, out, images=chosen.report_images)
    except ValueError as error:
        console.print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True)
        return 2
    except OSError as error:
        console.print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped. The same command continues from here.")
        return 130
    return 0


def default_folder(preset: str, config: Config) -> Path:
    """Returns where a run goes that was not told."""
    return Path("runs") / (preset if config.data.manifest is None else f"{preset}-{study.task_names(config)[0]}")


def use_compilation_cache() -> None:
    """Has JAX keep compiled programs in the user's cache folder, so that a second run starts at once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sfjax" / "xla"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def run(config: Config, out: Path, *, images: bool) -> None:
    """Does what is missing of the run in `out`, and prints its summary.

    Args:
        config: What to run.
        out: The run folder, opened.
        images: Put thumbnails into the report.
    """
    names = study.task_names(config)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console) as progress:
        # A hundredth is kept for embedding, figures and report of each task.
        bar = progress.add_task("images", total=len(names) * 1.1)
        tasks = []
        for task in study.load_tasks(
            config, out, lambda name, done, n: progress.update(bar, description=f"{name}: images {done} of {n}")
        ):
            for note in task.dataset.notes:
                console.print(f"[yellow]{escape(task.name)}:[/] {escape(note)}", soft_wrap=True)
            for step, share in study.run(config, task):
                progress.update(bar, description=f"{task.name}: {step}", completed=len(tasks) + share)
            tasks.append(task)
        for step in write_outcome(config, tasks, out, images=images):
            progress.update(bar, description=step, advance=0.1)
        progress.update(bar, description="done", completed=len(names) * 1.1)
    print_summary(config, tasks, out)


def print_summary(config: Config, tasks: Sequence[study.Task], out: Path) -> None:
    """Prints the areas under the risk-coverage curves, and where everything is."""
    summary = study.collect(list(tasks), "summary")
    summary = summary[(summary["level"] == 0) & (summary["domain"] == ALL_DOMAINS)]
    table = Table(title="AURC x 1000 (lower is better; mean over seeds; best in bold, = tied with it)")
    for heading in ("task", "test set", "accuracy %", "silent %", *config.csfs):
        table.add_column(heading, justify="left" if heading in ("task", "test set") else "right")
    for (task, test_set), group in summary.groupby(["task", "test_set"], sort=False):
        values = group.set_index(["metric", "csf"])
        first = config.csfs[0]
        silent = values["value"].get(("silent_failure_rate", first), float("nan"))
        cells = []
        for csf in config.csfs:
            row = values.loc[("aurc", csf)]
            text = number(row["value"] * SCALE["aurc"])
            cells.append(f"[bold]{text}[/]" if row["best"] else f"{text} =" if row["tied"] else text)
        accuracy = values["value"][("accuracy", first)]
        table.add_row(str(task), str(test_set), number(100 * accuracy), number(100 * silent), *cells)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    print(f"Results: {out / 'results.csv'}\nTables:  {out / 'tables'}\nReport:  {out / 'report.html'}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries; ours are errors in the tests
    sys.exit(main())
