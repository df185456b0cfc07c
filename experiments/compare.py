"""Before and after a change of model, data or score: what became better, worse, and which silent failures are new.

    python -m experiments.compare RUN_A RUN_B [--csf msr] [--max-silent-failure-rate 0.02] [--max-regression aurc=0.01]

Both are run folders of the benchmark; two scores of one run are compared by --csf and --csf-b. Every difference is B
less A on the images that both have, with a 95 % interval of paired resamples by patient. Exit status: 0; 1 where a
limit is exceeded (so that a pipeline stops), or a file cannot be read or written; 2 where the question is wrong.
"""

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import jax
import numpy as np
import pandas as pd
import tyro
from rich.markup import escape

from experiments.compare_page import images_of, page_text
from experiments.compilation import use_compilation_cache
from experiments.terminal import console, exit_status
from sfjax import keys, outputs, study
from sfjax.study import Config, Task, TestSet, storage
from sfjax.study.compare import Compared, Side, compare_sides
from sfjax.study.config import from_json
from sfjax.study.limits import exceeded
from sfjax.study.tables import SCALE, digits, markdown, number

RESAMPLED: Final = "prevalence"
"""Test sets that cannot be compared: which images they have does not stand in the run's folder."""


@dataclass(frozen=True)
class Arguments:
    """What the command line says.

    Attributes:
        run_a: Run folder before the change.
        run_b: Run folder after it.
        csf: Score of both, or of A where --csf-b names another.
        csf_b: Score of B.
        tasks: Which; all that both runs have.
        test_sets: Names of test sets or of corruptions; all that both runs have.
        metrics: Names of metrics; all that both scores have.
        max_silent_failure_rate: The most that B's silent failures may be, as a share of all images of any test set.
        max_regression: METRIC=DELTA: by how much a metric of B may be worse than A's, in its natural unit (a share, not
            percent).
        exceeded_when: surely, if the whole 95 % interval lies beyond a limit: few false alarms; possibly, if any of it
            does: B must be shown to keep the limit; estimated, if the value does.
        resamples: Of the bootstrap.
        seed: Of the resamples.
        out: Folder for tables and the page.
        images: Show the images that changed, where they can be had. They are patients' data.
    """

    run_a: Annotated[Path, tyro.conf.Positional]
    run_b: Annotated[Path, tyro.conf.Positional]
    csf: str = "msr"
    csf_b: str | None = None
    tasks: tuple[str, ...] = ()
    test_sets: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    max_silent_failure_rate: float | None = None
    max_regression: tuple[str, ...] = ()
    exceeded_when: Literal["surely", "estimated", "possibly"] = "surely"
    resamples: int = 1000
    seed: int = 0
    out: Path = Path("runs/compare")
    images: bool = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares two runs; returns the exit status."""
    chosen = tyro.cli(Arguments, prog="python -m experiments.compare", description=__doc__, args=arguments)
    return exit_status(lambda: begin(chosen), stopped="Stopped. Nothing is decided.")


def begin(chosen: Arguments) -> int:
    """Compares, and says which limits are exceeded; returns 1 where one is."""
    use_compilation_cache()
    broken = run(chosen)
    for sentence in broken:
        console.print(f"[bold red]Limit exceeded:[/] {escape(sentence)}", soft_wrap=True)
    return 1 if broken else 0


def run(chosen: Arguments) -> list[str]:
    """Compares, writes and prints; returns the limits that are exceeded, as sentences."""
    csfs = (chosen.csf, chosen.csf_b or chosen.csf)
    if chosen.run_a.resolve() == chosen.run_b.resolve() and csfs[0] == csfs[1]:
        raise ValueError("Both sides are the same run and score. Give another run, or another score by --csf-b.")
    limits = parse_limits(chosen.max_regression)
    configs = [read_config(path) for path in (chosen.run_a, chosen.run_b)]
    names = common_tasks(chosen)
    found: dict[str, Compared] = {}
    broken: list[str] = []
    for name in names:
        sides = [
            read_side(path, config, name, csf, label)
            for path, config, csf, label in zip((chosen.run_a, chosen.run_b), configs, csfs, "AB", strict=True)
        ]
        if configs[0].data_seed != configs[1].data_seed:  # their corrupted images are not the same images
            sides = [side._replace(test_sets=[x for x in side.test_sets if x.kind != "corruption"]) for side in sides]
            console.print("The runs have different data seeds: corrupted images differ and are left out.")
        key = keys.stream(jax.random.key(chosen.seed), "compare", name)
        compared = compare_sides(
            *sides, key=key, test_sets=chosen.test_sets, only=chosen.metrics, resamples=chosen.resamples
        )
        if resampled := sorted(resampled_sets(chosen.run_a / name) | resampled_sets(chosen.run_b / name)):
            left_out = (
                f"Test sets of another prevalence are left out, as their images are not known from the run's folder: "
                f"{', '.join(resampled)}."
            )
            compared = compared._replace(notes=(*compared.notes, left_out))
        for note in compared.notes:
            console.print(f"[yellow]{escape(name)}:[/] {escape(note)}", soft_wrap=True)
        found[name] = compared
        broken += [
            f"{name}, {sentence}"
            for sentence in exceeded(
                compared.differences,
                max_silent_failure_rate=chosen.max_silent_failure_rate,
                max_regression=limits,
                when=chosen.exceeded_when,
            )
        ]
    write(chosen, configs[0], found, broken)
    return broken


def parse_limits(given: Sequence[str]) -> dict[str, float]:
    """Returns by metric how much worse it may become.

    Raises:
        ValueError: An entry is not METRIC=DELTA.
    """
    limits = {}
    for one in given:
        metric, _, delta = one.partition("=")
        try:
            limits[metric] = float(delta)
        except ValueError:
            raise ValueError(f"max_regression must be METRIC=DELTA, such as aurc=0.01; got {one}.") from None
        if not 0 <= limits[metric] < np.inf:
            raise ValueError(f"The DELTA of max_regression must be a number from 0 up; got {one}.")
    return limits


def read_config(path: Path) -> Config:
    """Returns the configuration of a run folder.

    Raises:
        ValueError: It is none.
    """
    file = path / "config.json"
    if not file.is_file():
        raise ValueError(f"{path} is no run folder: it has no config.json. Give one that experiments.benchmark wrote.")
    try:
        return from_json(json.loads(file.read_text(encoding="utf-8"))["config"])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} is no configuration of a run ({error!r}). Give another run folder.") from error


def common_tasks(chosen: Arguments) -> list[str]:
    """Returns the tasks of both runs, those that were asked for."""
    both = [{file.parent.name for file in path.glob("*/images.parquet")} for path in (chosen.run_a, chosen.run_b)]
    common = sorted(both[0] & both[1])
    if missing := sorted(set(chosen.tasks) - set(common)):
        raise ValueError(f"Not both runs have the task {', '.join(missing)}. Both have {', '.join(common) or 'none'}.")
    if not common:
        has = " and ".join(", ".join(sorted(names)) or "none" for names in both)
        raise ValueError(f"The runs have no task in common; they have {has}.")
    if not chosen.tasks and (alone := sorted(both[0] ^ both[1])):
        console.print(f"Only one of the runs has the task {', '.join(alone)}: left out.")
    return list(chosen.tasks) or common


def resampled_sets(folder: Path) -> set[str]:
    """Returns the test sets of a task's folder that are samples of another one, and are not compared."""
    scored = [
        pd.read_parquet(file, columns=["test_set", "kind"]) for file in (folder / "scores").glob("*.results.parquet")
    ]
    return {name for table in scored for name in table.loc[table["kind"] == RESAMPLED, "test_set"]}


def read_side(path: Path, config: Config, name: str, csf: str, label: str) -> Side:
    """Returns what a run's networks say of a task's images, with one score.

    Args:
        path: The run folder.
        config: Its configuration.
        name: Of the task.
        csf: The score; the run need not have computed it.
        label: Of the side, A or B.

    Raises:
        ValueError: The run is not finished, or its networks do not have the score.
    """
    folder = path / name
    scored = [pd.read_parquet(file) for file in sorted((folder / "scores").glob("*.results.parquet"))]
    one_score = Config(
        methods=config.methods, seeds=config.seeds, csfs=(csf,), calibrate=config.calibrate,
        num_augmentations=config.num_augmentations,
    )  # fmt: skip
    networks = [folder / method / f"seed_{seed}" for method in config.methods for seed in config.seeds]
    if not scored or not all((network / "head.npz").is_file() for network in networks):
        raise ValueError(f"The run in {path} is not finished. Give its command again: it goes on where it was.")
    sets = pd.concat(scored)[["test_set", "shift", "kind", "level"]].drop_duplicates()
    sets = sets[sets["kind"] != RESAMPLED].sort_values("kind", key=lambda kind: kind != "iid", kind="stable")
    images = pd.read_parquet(folder / "images.parquet")
    known = images[images["label_index"] >= 0].drop_duplicates("label_index").sort_values("label_index")
    tested = [
        TestSet(test_set, "iid_test" if kind in ("iid", "corruption") else test_set, shift, kind, int(level))
        for test_set, shift, kind, level in sets.itertuples(index=False)
    ]

    def said(test_set: str) -> list[Mapping[str, outputs.Outputs]]:
        return [
            {
                method: outputs.load(folder / method / f"seed_{seed}" / "outputs" / f"{test_set}.npz")
                for method in config.methods
            }
            for seed in config.seeds
        ]

    task = Task(name, None, None, tested, folder)  # pyright: ignore[reportArgumentType]
    owned = images.assign(patient_id=images["patient"].astype(str))
    return Side(
        name=f"{label} ({path})",
        csf=csf,
        classes=tuple(known["label"]),
        test_sets=tested,
        outputs={one.name: said(one.name) for one in tested},
        tables={one.name: owned[owned["split"] == one.split].reset_index(drop=True) for one in tested},
        scorers=[study.scorers_of(one_score, task, seed) for seed in config.seeds],
        validation=said("val"),
    )


def write(chosen: Arguments, config: Config, found: Mapping[str, Compared], broken: Sequence[str]) -> None:
    """Writes tables, text and page, and prints the text."""
    for what in ("differences", "changed"):
        table = pd.concat([getattr(one, what).assign(task=name) for name, one in found.items()], ignore_index=True)
        storage.write_table(chosen.out / f"{what}.csv", table[["task", *(c for c in table if c != "task")]])
    text = report_text(chosen, found, broken)
    storage.write_text(chosen.out / "compare.md", text)
    print(text)
    pictures = {}
    if chosen.images:
        pictures = {name: images_of(config, chosen.run_a, name, one.changed) for name, one in found.items()}
    storage.write_text(chosen.out / "changed.html", page_text(sides_text(chosen), found, pictures, broken))
    print(f"Differences: {chosen.out / 'differences.csv'}\nChanged:     {chosen.out / 'changed.csv'}")
    print(f"Page:        {chosen.out / 'changed.html'}")


def report_text(chosen: Arguments, found: Mapping[str, Compared], broken: Sequence[str]) -> str:
    """Returns what became of every metric, and how many silent failures came and went, as Markdown."""
    lines = [
        f"# {sides_text(chosen)}",
        "",
        "Mean over networks, B less A, with the 95 % interval of paired resamples by patient. Areas are x 1000, "
        "everything else in percent but for `nll` (nats). An interval of a single difference errs once in twenty. "
        "Corruptions: mean over levels. `†`: on one side fewer than 30 patients have a failure (a silent or accepted "
        "one where those are counted), or none: intervals are too narrow as a rule. An image fails silently on a side "
        "where it does so by half of its networks or more.",
    ]
    for name, compared in found.items():
        lines += ["", f"## {name}", *(line for note in compared.notes for line in ("", note))]
        whole = compared.differences
        whole = whole[(whole["level"] == 0) | (whole["kind"] != "corruption")]
        for test_set, rows in whole.groupby("test_set", sort=False):
            changed = compared.changed[compared.changed["test_set"] == test_set]
            first = rows.iloc[0]
            count = {change: int((changed["change"] == change).sum()) for change in ("gained", "lost")}
            about = f"{first['n']} images"
            if first["only_before"] + first["only_after"]:
                about += f"; {first['only_before']} of A and {first['only_after']} of B are not in the other: left out"
            if first["kind"] != "corruption":
                about += f"; silent failures gained {count['gained']}, lost {count['lost']}"
            head = ["metric", "A", "B", "difference", "verdict"]
            cells = [_cells(row) for row in rows.to_dict("records")]
            lines += ["", f"### {test_set}", "", about, "", markdown(head, cells)]
    if broken:
        lines += ["", "## Limits exceeded", "", *(f"- {sentence}" for sentence in broken)]
    return "\n".join(lines) + "\n"


def sides_text(chosen: Arguments) -> str:
    """Returns what is compared, as a title."""
    return f"{chosen.run_a.name} ({chosen.csf}) against {chosen.run_b.name} ({chosen.csf_b or chosen.csf})"


def _cells(one: Mapping) -> list[str]:
    scale = SCALE.get(one["metric"], 100.0)
    before, after, low, high = (number(scale * one[name], digits(scale)) for name in ("before", "after", "low", "high"))
    change = f"{scale * one['difference']:+.{digits(scale)}f}" if np.isfinite(one["difference"]) else "–"
    return [
        one["metric"], before, after, f"{change} [{low}, {high}]{' †' if one['few_failures'] else ''}",
        one["verdict"],
    ]  # fmt: skip


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries; ours are errors in the tests
    sys.exit(main())
