"""From the original downloads of a task to a manifest that the benchmark reads.

    python -m experiments.prepare TASK --raw DIR [options]

Without a task it lists the tasks, the files that each needs, their sizes and where they come from. A preparation that
was stopped or killed goes on where it was when the same command is given again.
"""

import json
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import pandas as pd
import tyro
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from experiments.terminal import console, exit_status
from sfjax.data.preparation import PREPARATIONS, Preparation, Prepared, located, prepare
from sfjax.data.preparation.finish import absent_sources
from sfjax.data.preparation.originals import describe
from sfjax.data.preparation.training_sets import only, overview, set_names, training_set, with_reference_splits
from sfjax.files import write_whole

SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True)
class Arguments:
    """What the command line says."""

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help=f"One of {', '.join(PREPARATIONS)}.")]
    raw: Annotated[
        Path,
        tyro.conf.arg(
            help="Folder of the original downloads. Of lung_ct, cut slices go below it; else it is only read."
        ),
    ]
    out: Annotated[
        Path | None,
        tyro.conf.arg(
            help="The manifest, CSV or Parquet by its suffix. Without it TASK.csv in the folder of the downloads. "
            "Paths of images are relative if these are in the manifest's folder or below it, otherwise absolute."
        ),
    ] = None
    training_set: Annotated[
        str | None, tyro.conf.arg(help="Only the images that this training set is about, with its classes as labels.")
    ] = None
    reference_splits: Annotated[
        bool, tyro.conf.arg(help="Fill in splits as the study drew them (needs --training-set), val from training.")
    ] = False
    decode: Annotated[bool, tyro.conf.arg(help="Decode every image once, so that truncated files are found.")] = True
    workers: Annotated[int | None, tyro.conf.arg(help="Threads that read and decode.")] = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepares a task; returns the exit status."""
    command = list(sys.argv[1:] if arguments is None else arguments)
    if not command or command in (["-h"], ["--help"]):
        print(f"{__doc__}{listing_of(PREPARATIONS)}\nOptions of a task: python -m experiments.prepare TASK --help")
        return 0
    return exit_status(lambda: begin(command))


def begin(command: Sequence[str]) -> None:
    """Does what a command line says.

    Raises:
        ValueError: It asks for what there is not.
    """
    if not command[0].startswith("-") and command[0] not in PREPARATIONS:
        raise ValueError(f"A task must be one of {', '.join(PREPARATIONS)}; got {command[0]!r}.")
    chosen = tyro.cli(
        Arguments,
        prog="python -m experiments.prepare",
        description=f"{__doc__}{listing_of([name for name in PREPARATIONS if name in command])}",
        args=command,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    run(PREPARATIONS[chosen.task], chosen)


def listing_of(tasks: Iterable[str]) -> str:
    """Returns the tasks with the files that each needs, their sizes and access conditions."""
    lines = []
    for preparation in map(PREPARATIONS.__getitem__, tasks):
        lines += ["", f"{preparation.name}: {preparation.title}"]
        lines += [f"  {source}: {describe(needed)}" for source, needs in preparation.needed.items() for needed in needs]
        lines.append(f"  training sets: {', '.join(preparation.training_sets)}")
    return "\n".join([*lines, ""])


def run(preparation: Preparation, chosen: Arguments) -> None:
    """Writes the manifest and what is to be known of it, and prints an account.

    Args:
        preparation: The task's.
        chosen: The command line.
    """
    if not chosen.raw.is_dir():
        raise ValueError(f"--raw is the folder of the original downloads, and {chosen.raw} is no folder.")
    out = chosen.out or chosen.raw / f"{preparation.name}.csv"
    if out.suffix not in SUFFIXES:
        raise ValueError(f"A manifest ends with {' or '.join(SUFFIXES)}, and --out is {out}.")
    if chosen.reference_splits and chosen.training_set is None:
        there = ", ".join(preparation.training_sets)
        raise ValueError(f"The study draws splits for each training set anew. Add --training-set, one of {there}.")
    if chosen.training_set is not None:
        training_set(preparation, chosen.training_set)
    absent_sources(preparation, chosen.raw)  # before there is a bar
    out.parent.mkdir(parents=True, exist_ok=True)
    prepared = with_progress(preparation, chosen, out.with_suffix(".files.parquet"))
    table, lines = prepared
    if chosen.training_set is not None:
        said: list[str] = []
        if chosen.reference_splits:
            table, said = with_reference_splits(preparation, table, chosen.training_set)
        table, more = only(table, training_set(preparation, chosen.training_set))
        lines = [*lines, *more, *said]
    table, relative = located(table, chosen.raw, out.parent)
    lines.append(f"Paths of images are {'relative to the folder of the manifest' if relative else 'absolute'}.")
    write_table(out, table)
    record = {
        "task": preparation.name,
        "classes": preparation.classes,
        "images": len(table),
        "account": lines,
        "training_sets": training_sets(preparation, prepared, table, chosen),
        "decoded": chosen.decode,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("sfjax", "pandas", "pillow")},
    }
    text = json.dumps(record, indent=2, ensure_ascii=False)
    write_whole(out.with_suffix(".preparation.json"), lambda path: path.write_text(text, encoding="utf-8"))
    print_account(record)
    print(f"Manifest: {out}\nAccount:  {out.with_suffix('.preparation.json')}")


def with_progress(preparation: Preparation, chosen: Arguments, cache: Path) -> Prepared:
    """Returns the finished table, with a bar while it is made."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task(preparation.name, total=None)
        shown = ""

        def show(what: str, done: int, total: int) -> None:
            nonlocal shown
            if what != shown:
                progress.reset(bar, description=what, total=total, completed=done)
                if not console.is_terminal:  # a log has no bar
                    console.print(escape(what), soft_wrap=True)
                shown = what
            progress.update(bar, completed=done)

        return prepare(
            preparation, chosen.raw, cache=cache, decode=chosen.decode, workers=chosen.workers, progress=show
        )


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Writes a manifest, whole, as its suffix says."""
    if path.suffix == ".csv":
        write_whole(path, lambda file: table.to_csv(file, index=False))
    else:
        write_whole(path, lambda file: table.to_parquet(file, index=False))


def training_sets(
    preparation: Preparation, prepared: Prepared, written: pd.DataFrame, chosen: Arguments
) -> dict[str, list[dict[str, object]]]:
    """Returns by name what the sets of each training set hold, of the chosen one alone if there is one."""
    if chosen.training_set is None:
        return {
            name: overview(prepared.table, one, set_names(prepared.table, one))
            for name, one in preparation.training_sets.items()
        }
    one = training_set(preparation, chosen.training_set)._replace(label="label")
    sets = written["split"] if chosen.reference_splits else set_names(written, one)
    return {one.name: overview(written, one, sets)}


def print_account(record: dict) -> None:
    """Prints what became of the rows, and what each training set holds."""
    for line in record["account"]:
        print(line)
    lacking = {}
    for name, sets in record["training_sets"].items():
        if empty := [one["set"] for one in sets if not one["images"]]:
            lacking[name] = ", ".join(empty)
            continue
        print(f"\n{name}:")
        for one in sets:
            classes = one["classes"].items()
            shown = ", ".join(f"{count} {label}" for label, count in list(classes)[:10])
            more = f" and {len(classes) - 10} more classes" if len(classes) > 10 else ""
            print(f"  {one['set']}: {one['images']} images, {one['patients']} patients; {shown}{more}")
    if lacking:
        named = ", ".join(f"{name} ({empty})" for name, empty in lacking.items())
        print(f"\nNot to be made of these sources, because a set has no image: {named}.")
    print()


if __name__ == "__main__":
    sys.exit(main())
