"""The report of a finished run, or of another program's outputs, as one file to open in a browser.

    python -m experiments.report PATH [--data DIR] [--out report.html] [options]

PATH is a run of experiments.benchmark, an FD-Shifts experiment, or a folder of arrays with a manifest
(docs/other_peoples_outputs.md). Of the latter two the benchmark's tables are computed and printed too.
"""

import dataclasses
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.markup import escape

from experiments.benchmark import remembered_interruption
from experiments.compilation import cache_folder, use_compilation_cache
from experiments.outcome import TITLE, write_run_report
from experiments.terminal import console, exit_status, print_areas
from sfjax import interop, report, study


@dataclass(frozen=True)
class Arguments:
    """What the command line says."""

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="Run, FD-Shifts experiment, or folder of arrays.")]
    data: Annotated[
        Path | None,
        tyro.conf.arg(
            help="Folder of the images, if they are not where the tables say. Images outside PATH and this one are "
            "left out, and counted. Of a run: the folder that its manifest is in now."
        ),
    ] = None
    out: Annotated[Path | None, tyro.conf.arg(help="The report. Without it PATH/report.html.")] = None
    images: Annotated[bool, tyro.conf.arg(help="Put small images into the report.")] = True
    file_names: Annotated[bool, tyro.conf.arg(help="Show the images' file names, which may name patients.")] = False
    attributes: Annotated[
        tuple[str, ...],
        tyro.conf.arg(
            help="Columns by whose values silent failures are searched, besides label, domain, subclass and cluster; "
            "their values are in the report. Without it all columns that seem to name nobody."
        ),
    ] = ()
    csfs: Annotated[
        tuple[str, ...],
        tyro.conf.arg(help="Scores that are shown; `all` for all that the outputs allow. Without it the usual ones."),
    ] = ()
    task: Annotated[str | None, tyro.conf.arg(help="Of a run with several, the only one that is shown.")] = None
    size: Annotated[int | None, tyro.conf.arg(help="Images that are embedded at most; of others 2000.")] = None
    per_pair: Annotated[
        bool, tyro.conf.arg(help="Of a run: a latent space for each shift with the i.i.d. set, not one for all.")
    ] = False
    metrics: Annotated[
        tuple[str, ...], tyro.conf.arg(help="Where tables are computed: besides accuracy and AURC; none is all.")
    ] = ()
    resamples: Annotated[int, tyro.conf.arg(help="Of the bootstrap, where tables are computed.")] = 1000
    seed: Annotated[int, tyro.conf.arg(help="Of sample, embedding and resamples, where tables are computed.")] = 0
    max_megabytes: Annotated[float, tyro.conf.arg(help="A larger report loses images, and says so.")] = 25


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the report; returns the exit status."""
    command = list(sys.argv[1:] if arguments is None else arguments)
    return exit_status(lambda: begin(command), stopped="Stopped. Nothing was written.")


def begin(command: Sequence[str]) -> None:
    """Does what a command line says.

    Raises:
        ValueError: It asks for what there is not.
    """
    chosen = tyro.cli(
        Arguments,
        prog="python -m experiments.report",
        description=__doc__,
        args=command,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    kind = interop.recognize(chosen.path)
    out = chosen.out or chosen.path / "report.html"
    if out.suffix not in (".html", ".htm") or not out.parent.is_dir():
        raise ValueError(f"A report ends with .html and lies in a folder that exists, and --out is {out}.")
    if chosen.size is not None and chosen.size < 4:
        raise ValueError(f"size must be at least 4; got {chosen.size}.")
    use_compilation_cache()
    with remembered_interruption(), console.status("reading") as status:

        def show(step: str) -> None:
            status.update(escape(step))
            if not console.is_terminal:  # a log has no moving line
                console.print(escape(step), soft_wrap=True)

        with_images = (of_run if kind == "run" else of_others)(chosen, out, show)
    print(f"Report: {out} ({out.stat().st_size / 1e6:.1f} MB)")
    if with_images:
        print("It may hold images of patients: keep and share it under the same rules as the images.")


def of_run(chosen: Arguments, out: Path, show: Callable[[str], object]) -> bool:
    """Writes the report of a run of the benchmark: without options the same file as the run itself wrote.

    Args:
        chosen: The command line.
        out: Of the report.
        show: Called with what comes next.

    Returns:
        Whether there are images in it.
    """
    file = chosen.path / "config.json"
    config = study.config_from_json(json.loads(file.read_text(encoding="utf-8"))["config"])
    if chosen.data is not None:
        if config.data.manifest is None:
            raise ValueError("The run's images are of no manifest: it makes or finds them itself. Leave out --data.")
        if not (manifest := chosen.data / config.data.manifest.name).is_file():
            raise ValueError(f"The run was begun with a manifest {manifest.name}, and there is none in {chosen.data}.")
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, manifest=manifest))
    names = study.task_names(config)
    if chosen.task is not None and chosen.task not in names:
        raise ValueError(f"{chosen.path} has the tasks {', '.join(names)}; got {chosen.task}.")
    tasks = []
    for task in study.load_tasks(config, chosen.path, lambda name, done, n: None):
        if chosen.task in (None, task.name):
            show(f"{task.name}: images")
            check_finished(chosen.path, task)
            tasks.append(task)
    show("report")
    write_run_report(
        config,
        tasks,
        out,
        images=chosen.images,
        show=("file_name",) if chosen.file_names else (),
        columns=chosen.attributes or None,
        size=chosen.size,
        csfs=chosen.csfs,
        per_pair=chosen.per_pair,
        progress=show,
        max_megabytes=chosen.max_megabytes,
    )
    return chosen.images


def check_finished(path: Path, task: study.Task) -> None:
    """Raises ValueError where a task of a run has no scores yet."""
    for table in study.TABLES:
        if not list((task.folder / "scores").glob(f"*.{table}.parquet")):
            raise ValueError(
                f"The run in {path} is not finished: {task.name} has no {table}. Give its command again, which is in "
                "config.json: it goes on where it was."
            )


def of_others(chosen: Arguments, out: Path, show: Callable[[str], object]) -> bool:
    """Writes the report of another program's outputs, and prints the table of areas.

    Args:
        chosen: The command line.
        out: Of the report.
        show: Called with what comes next.

    Returns:
        Whether there are images in it.
    """
    if chosen.per_pair:
        raise ValueError("per_pair is of runs of the benchmark. Leave it out, or give a folder with one shifted set.")
    experiment = interop.read(chosen.path, data=chosen.data, task=chosen.task)
    for note in experiment.notes:
        console.print(f"[yellow]{escape(experiment.name)}:[/] {escape(note)}", soft_wrap=True)
    scored = report.score(
        experiment,
        chosen.csfs,
        resamples=chosen.resamples,
        size=chosen.size or 2000,
        seed=chosen.seed,
        metrics=chosen.metrics,
        num_jobs=os.cpu_count() or 1,
        images=chosen.images,
        show=("file_name",) if chosen.file_names else (),
        columns=chosen.attributes or None,
        # Nothing but the report is written into a folder that is not ours.
        cache=cache_folder("embeddings"),
        progress=show,
    )
    show("report")
    report.write_report(
        out,
        [scored.report],
        scored.summary,
        title=TITLE,
        subtitle=f"{experiment.name}: outputs of another program",
        max_megabytes=chosen.max_megabytes,
    )
    print_areas(scored.summary, list(dict.fromkeys(scored.summary["csf"])), over="of one network")
    return scored.report.thumbnails is not None


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries; ours are errors in the tests
    sys.exit(main())
