"""From images to a table of failure-detection metrics with intervals, and a report to look at.

    python -m experiments.benchmark [tiny|quick|standard|paper|paper-TASK] [options]

Without a preset it is `quick`. A run that was stopped or killed goes on where it was when the same command is given
again.
"""

import contextlib
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from experiments.compilation import use_compilation_cache
from experiments.outcome import write_outcome
from experiments.terminal import console, exit_status, print_areas
from sfjax import study
from sfjax.study import PRESETS, Config
from sfjax.study.outlook import ASSUMED_RATE, outlook
from sfjax.training.checkpoints import LONGEST_WAIT, wait_for_all

interrupted = threading.Event()
"""Set by Ctrl-C, and looked at after every unit of work: what is raised within a finalizer is swallowed."""


@dataclass(frozen=True)
class Arguments:
    """What the command line says."""

    config: Config
    out: Annotated[Path | None, tyro.conf.arg(help="Run folder. Without it runs/PRESET, or runs/PRESET-MANIFEST.")] = (
        None
    )
    dry_run: Annotated[
        bool, tyro.conf.arg(help="Say what would be trained, tested and how long it might take, and do nothing.")
    ] = False
    report_images: Annotated[bool, tyro.conf.arg(help="Put small images into the report.")] = True
    distributed: Annotated[
        bool,
        tyro.conf.arg(
            help="One of several processes that train together; the run folder is on a disk that all of them see. "
            "Cluster managers say who they are; without one, give the next three."
        ),
    ] = False
    coordinator: Annotated[str | None, tyro.conf.arg(help="HOST:PORT of the first process.")] = None
    num_processes: Annotated[int | None, tyro.conf.arg(help="How many there are.")] = None
    process_id: Annotated[int | None, tyro.conf.arg(help="Which of them this is, from 0.")] = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    return exit_status(lambda: begin(list(sys.argv[1:] if arguments is None else arguments)))


def begin(command: Sequence[str]) -> None:
    """Does what a command line says.

    Raises:
        ValueError: It asks for what there is not.
    """
    preset, chosen = parse(command)
    if chosen.dry_run:
        return print_outlook(chosen.config)
    if chosen.distributed:
        # One process scores at the end, for hours if it must, and the others then wait for it to leave.
        jax.distributed.initialize(
            chosen.coordinator, chosen.num_processes, chosen.process_id, shutdown_timeout_seconds=LONGEST_WAIT
        )
        console.quiet = jax.process_index() != 0
    elif (chosen.coordinator, chosen.num_processes, chosen.process_id) != (None, None, None):
        raise ValueError("coordinator, num_processes and process_id are of several processes. Add --distributed.")
    out = chosen.out or default_folder(preset, chosen.config)
    called = ["python", "-m", "experiments.benchmark", *command]
    if jax.process_index() == 0:
        study.open_folder(out, chosen.config, command=called)
    wait_for_all(f"{out} is open")
    study.open_folder(out, chosen.config, command=called)  # the others find it made, of the same settings
    use_compilation_cache()
    with remembered_interruption():
        run(chosen.config, out, images=chosen.report_images)


@contextlib.contextmanager
def remembered_interruption() -> Iterator[None]:
    """Within it, Ctrl-C sets `interrupted` besides raising KeyboardInterrupt; in a background job too."""

    def remember(*_: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    interrupted.clear()
    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def parse(command: Sequence[str]) -> tuple[str, Arguments]:
    """Returns the preset and what the command line makes of it; without a preset it is `quick`."""
    given = list(command)
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help")):
        given = ["quick", *given]
    if not given[0].startswith("-") and given[0] not in PRESETS:
        raise ValueError(f"A preset must be one of {', '.join(PRESETS)}; got {given[0]!r}. See --help.")
    arguments = tyro.extras.overridable_config_cli(
        {name: (preset.description, Arguments(preset.config)) for name, preset in PRESETS.items()},
        prog="python -m experiments.benchmark",
        description=__doc__,
        args=given,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return given[0], arguments


def print_outlook(config: Config) -> None:
    """Prints what a run would do; nothing is written and no image opened.

    Raises:
        ValueError: A setting is out of its range.
    """
    study.check(config)
    rows = outlook(config)
    what = "training set" if config.training_sets else "task"
    table = Table(title=f"{len(rows)} {what}{'s' * (len(rows) > 1)}", title_justify="left", show_lines=True)
    headings = (what, "network", "networks", "images", "test sets", "hours")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in (what, "network", "test sets") else "right")
    for row in rows:
        name = f"{row.name}\n({row.study_name})" if row.study_name else row.name
        images = f"{row.images:,}" if row.images_are_known else f"<= {row.images:,}"
        cells = (name, f"{row.network}\n{row.image_size} px", str(row.networks), images, ", ".join(row.test_sets))
        table.add_row(*map(escape, cells), f"{row.hours:.1f}" if row.hours >= 0.1 else "< 0.1")
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    methods, seeds = ", ".join(config.methods), ", ".join(map(str, config.seeds))
    print(
        f"{sum(row.networks for row in rows)} networks: methods {methods}; seeds {seeds}; {config.num_samples} Monte "
        f"Carlo passes; scores {', '.join(study.entries_of(config))}.\n"
        f"{sum(row.hours for row in rows):.0f} hours of one accelerator, if it sustains {ASSUMED_RATE / 1e12:.0f} "
        "TFLOP/s: arithmetic, not a measurement, and without what runs on the host."
    )
    if not all(row.images_are_known for row in rows):
        print("<=: not prepared yet; as many as the downloads have. See python -m experiments.prepare --help.")


def default_folder(preset: str, config: Config) -> Path:
    """Returns where a run goes that was not told."""
    return Path("runs") / (f"{preset}-{study.task_names(config)[0]}" if config.data.given else preset)


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
        # A tenth beside each task is for its embedding, figures and part of the report.
        bar = progress.add_task("images", total=len(names) * 1.1)

        def show(step: str, done: float | None = None) -> None:
            if interrupted.is_set():
                raise KeyboardInterrupt
            progress.update(bar, description=step, completed=done)
            if not console.is_terminal and done is not None:  # a log has no bar
                console.print(f"{done / (len(names) * 1.1):4.0%} {escape(step)}", soft_wrap=True)

        if (raised := study.num_resamples(config)) > config.resamples:
            compared = len(study.entries_of(config))
            said = f"{raised} resamples instead of {config.resamples}: comparing {compared} CSFs needs them."
            console.print(said, soft_wrap=True)
        tasks = []
        for task in study.load_tasks(config, out, lambda name, done, n: show(f"{name}: image {done} of {n}")):
            for note in task.dataset.notes:
                console.print(f"[yellow]{escape(task.name)}:[/] {escape(note)}", soft_wrap=True)
            for step, share in study.run(config, task):
                show(f"{task.name}: {step}", len(tasks) + share)
            tasks.append(task)
        if jax.process_index() != 0:
            return
        for number_of_task, step in enumerate(write_outcome(config, tasks, out, images=images, progress=show)):
            show(step, len(names) + 0.1 * number_of_task)
        show("done", len(names) * 1.1)
    print_summary(config, tasks, out)


def print_summary(config: Config, tasks: Sequence[study.Task], out: Path) -> None:
    """Prints the areas under the risk-coverage curves, and where everything is."""
    print_areas(study.collect(tasks, "summary"), study.entries_of(config))
    print(f"Results: {out / 'results.csv'}\nTables:  {out / 'tables'}\nReport:  {out / 'report.html'}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries; ours are errors in the tests
    sys.exit(main())
