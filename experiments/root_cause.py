"""Controlled experiments on phantoms: one cause at a time is turned up, and the classifier stays as it is.

    python -m experiments.root_cause [--tasks dermoscopy ...] [--causes noise ...] [--corruptions brightness ...]

For each dial: accuracy, AURC, failure AUROC and silent failures of every score, at the undisturbed images and on to far
beyond what training saw; which scores see the cause, and which do not (`causes.md`). About 7 minutes on two CPU cores
without options. A run that was stopped goes on where it was when the same command is given again; further causes and
corruptions may be asked for later.
"""

import dataclasses
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import pandas as pd
import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from experiments.benchmark import interrupted, remembered_interruption
from experiments.compilation import use_compilation_cache
from experiments.outcome import save_figure
from sfjax import study, views
from sfjax.phantoms import CAUSES
from sfjax.study import PRESETS, Config, storage
from sfjax.study.evidence import FEW_FAILURES
from sfjax.study.responses import MARGIN, METRICS, check_dials, dials_of, responses_path, run_dials, sights
from sfjax.study.tables import markdown, number

console = Console(stderr=True)
QUICK: Final = PRESETS["quick"].config


@dataclass(frozen=True)
class Arguments:
    """What the command line says.

    Attributes:
        tasks: Phantom tasks.
        causes: Names in `sfjax.phantoms.CAUSES`, or `all`; a task turns those that it has.
        corruptions: Names in `sfjax.shifts.SHIFTS`, turned from strength 0 to that of level 5.
        csfs: Names of confidence scores, as of the benchmark.
        seeds: One network each.
        steps: Values of each dial, the undisturbed one included.
        images: Test images at each of them.
        training_images: How many the networks are trained on.
        image_size: Pixels a side.
        network: small_cnn, densenet121, densenet161 or efficientnet_b4.
        epochs: Of training.
        num_samples: Monte Carlo dropout passes.
        resamples: Of the bootstrap behind every interval.
        data_seed: Draws phantoms, corruptions and resamples.
        out: Run folder.
    """

    tasks: Annotated[tuple[str, ...], tyro.conf.arg(aliases=("--task",))] = tuple(CAUSES)
    causes: tuple[str, ...] = ("all",)
    corruptions: tuple[str, ...] = ()
    csfs: tuple[str, ...] = QUICK.csfs
    seeds: tuple[int, ...] = (0, 1)
    steps: int = 6
    images: int = 300
    training_images: int = QUICK.phantom_train
    image_size: int = QUICK.image_size
    network: str = QUICK.network
    epochs: int = QUICK.recipe.epochs
    num_samples: int = QUICK.num_samples
    resamples: int = QUICK.resamples
    data_seed: int = 0
    out: Path = Path("runs/root_cause")

    def config(self) -> Config:
        """Returns the run that trains the networks: no test set of its own, and the metrics of the responses."""
        return Config(
            tasks=self.tasks,
            phantom_train=self.training_images,
            phantom_test=self.images,
            image_size=self.image_size,
            network=self.network,
            recipe=dataclasses.replace(QUICK.recipe, epochs=self.epochs),
            seeds=self.seeds,
            num_samples=self.num_samples,
            corruptions=(),
            csfs=self.csfs,
            metrics=METRICS,
            resamples=self.resamples,
            data_seed=self.data_seed,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the experiments; returns the exit status."""
    command = list(sys.argv[1:] if arguments is None else arguments)
    chosen = tyro.cli(Arguments, prog="python -m experiments.root_cause", description=__doc__, args=command)
    try:
        check_dials(chosen.tasks, causes=chosen.causes, corruptions=chosen.corruptions, steps=chosen.steps)
        config = chosen.config()
        study.open_folder(chosen.out, config, command=["python", "-m", "experiments.root_cause", *command])
        use_compilation_cache()
        with remembered_interruption():
            run(chosen, config)
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


def run(chosen: Arguments, config: Config) -> None:
    """Does what is missing, writes tables and figures of the dials that were asked for, and prints the verdicts."""
    parts, found = [], pd.DataFrame()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("images", total=len(chosen.tasks))

        def show(step: str, done: float | None = None) -> None:
            if interrupted.is_set():
                raise KeyboardInterrupt
            progress.update(bar, description=step, completed=done)
            if not console.is_terminal and done is not None:  # a log has no bar
                console.print(f"{done / len(chosen.tasks):4.0%} {escape(step)}", soft_wrap=True)

        loaded = study.load_tasks(config, chosen.out, lambda name, done, n: show(f"{name}: image {done} of {n}"))
        for place, task in enumerate(loaded):
            dials = dials_of(task.name, causes=chosen.causes, corruptions=chosen.corruptions, steps=chosen.steps)
            # The disturbed images are the test sets; those of the benchmark are not asked about.
            for step, share in run_dials(config, task._replace(test_sets=[]), dials):
                show(f"{task.name}: {step}", place + share)
            parts += [pd.read_parquet(responses_path(task, dial)) for dial in dials]
            show(f"{task.name}: tables and figures", place + 1)
            found = write_outcome(pd.concat(parts, ignore_index=True), chosen)
            for name, chart in figures(pd.concat(parts[-len(dials) :]), chosen):
                save_figure(chosen.out / "figures" / name, chart)
            save_figure(chosen.out / "figures" / "causes", views.cause_table(found, subtitle=_about(chosen)))
    for title, head, rows in verdict_tables(found):
        print(f"{title}\n\n{markdown(head, rows)}")
    print(f"Verdicts:  {chosen.out / 'causes.md'}\nResponses: {chosen.out / 'responses.csv'}")
    print(f"Figures:   {chosen.out / 'figures'}")


def write_outcome(table: pd.DataFrame, chosen: Arguments) -> pd.DataFrame:
    """Writes the tables of the tasks that are done; returns which of their scores see which causes."""
    table = table[["task", *(column for column in table if column != "task")]]
    found = sights(table)
    for name, content in (("responses", table), ("causes", found)):
        for suffix in ("parquet", "csv"):
            storage.write_table(chosen.out / f"{name}.{suffix}", content)
    storage.write_text(chosen.out / "causes.md", causes_text(found, chosen))
    return found


def figures(table: pd.DataFrame, chosen: Arguments) -> Iterator[tuple[str, Any]]:
    """Yields by file name the figures of each task: its causes, and its corruptions if there are any."""
    words = {"cause": "one cause at a time", "corruption": "one corruption at a time"}
    for (task, kind), some in table.groupby(["task", "kind"], sort=False):
        yield (
            f"responses_{kind}s_{task}",
            views.shift_response(
                some,
                title=f"{task}: {words[str(kind)]}, the classifier fixed",
                subtitle=f"{chosen.network}, seeds {', '.join(map(str, chosen.seeds))}; {chosen.images} test images, "
                f"the same at every value. Band: 95 % interval of {chosen.csfs[0]} by patient.",
            ),
        )


def verdict_tables(found: pd.DataFrame) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yields of each task a title, a head and a row a cause: what accuracy does, and each score's verdict.

    A mark goes with the verdict where silent failures surely become more.
    """
    for task, of_task in found.groupby("task", sort=False):
        csfs = list(dict.fromkeys(of_task["csf"]))
        rows = []
        for cause, some in of_task.groupby("cause", sort=False):
            first = some.iloc[0]
            accuracy = f"{_percent(first['accuracy_usual'])} → {_percent(first['accuracy_far'])}"
            rises = some["silent_failure_rate_low"] > 0
            verdicts = dict(zip(some["csf"], some["verdict"] + rises.map({True: " !", False: ""}), strict=True))
            rows.append([str(cause), f"{first['dial']:g}", accuracy, *(verdicts[csf] for csf in csfs)])
        yield str(task), ["cause", "far end", f"accuracy of {csfs[0]}, %", *csfs], rows


LEGEND: Final = f"""\
Each dial is turned from the undisturbed test images to far beyond what training saw; patients, images, dropout masks,
resamples and networks stay the same. Values are means over networks; intervals are of 95 %, by patient, and those of
changes are paired. They are of single comparisons: of twenty changes that are none, one looks like one.

- `no failures`: the interval of the change in accuracy does not lie below 0.
- `sees`: failures still rank below successes: the failure AUROC at the far end lies above 50 % with its whole interval,
  and that of its change lies above -{100 * MARGIN:.0f} points.
- `misses`: the interval of the change lies below 0, and not above -{100 * MARGIN:.0f} points; or that of the AUROC does
  not reach above 50 %.
- `unclear`: the intervals allow both.

A score that sees a cause may still be too confident. `!`: silent failures (of all images, failures with probability
above 0.9) become more: the interval of the change lies above 0, whatever the verdict on the ranking.
`†`: fewer than {FEW_FAILURES} patients with a failure, or without, at one
end of the dial: intervals are too narrow as a rule.
"""


def causes_text(found: pd.DataFrame, chosen: Arguments) -> str:
    """Returns which scores see which causes, as Markdown: the verdicts of each task, then the numbers behind them."""
    lines = [
        "# Which scores see which causes",
        "",
        _about(chosen),
        "",
        LEGEND,
    ]
    for title, head, rows in verdict_tables(found):
        lines += [f"## {title}", "", markdown(head, rows)]
        own = CAUSES[title]
        lines += ["", *(f"- `{row[0]}`: {own[row[0]].description}" for row in rows if row[0] in own)]
        body = [
            [
                str(row["cause"]),
                f"{row['csf']}{'†' if row['few_failures'] else ''}",
                *(_change(row, metric) for metric in ("auroc_f", "silent_failure_rate")),
                f"{number(1000 * row['aurc_usual'], 0)} → {number(1000 * row['aurc_far'], 0)}",
                str(row["verdict"]),
            ]
            for row in found[found["task"] == title].to_dict("records")
        ]
        head = ["cause", "csf", "failure AUROC, % (change)", "silent failures, % (change)", "AURC x 1000", "verdict"]
        lines += ["", markdown(head, body)]
    return "\n".join(lines) + "\n"


def _about(chosen: Arguments) -> str:
    plural = "network" if len(chosen.seeds) == 1 else "networks"
    networks = f"{chosen.network}, {len(chosen.seeds)} {plural} a task (seeds {', '.join(map(str, chosen.seeds))})"
    size = f"{chosen.training_images} training and {chosen.images} test images of {chosen.image_size} px"
    return f"{networks}, {size}; seed of the data {chosen.data_seed}."


def _change(row: Mapping[Any, Any], metric: str) -> str:
    low, high = (number(100 * row[f"{metric}_{end}"]) for end in ("low", "high"))
    usual, far = (_percent(row[f"{metric}_{end}"]) for end in ("usual", "far"))
    difference = 100 * (row[f"{metric}_far"] - row[f"{metric}_usual"])
    return f"{usual} → {far} ({difference:+.1f} [{low}, {high}])"


def _percent(share: float) -> str:
    return number(100 * share)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries; ours are errors in the tests
    sys.exit(main())
