"""The first steps of the study's networks at full input size: do they learn, how long does it take, how much memory?

    python -m experiments.full_size [--tasks dermoscopy chest_xray microscopy lung_ct] [options]

Images are phantoms of the task; network and recipe are the study's (`sfjax.training.PUBLISHED`), from random weights.
"""

import dataclasses
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax
import numpy as np
import tyro

from experiments.compilation import use_compilation_cache
from sfjax.data.dataset import class_order
from sfjax.models import MODELS
from sfjax.phantoms import generate
from sfjax.phantoms.generate import COUNTS
from sfjax.study.networks import compute_dtype
from sfjax.training import METHODS, PUBLISHED, Labelled, begin, initial_variables, train

STEPS_AN_EPOCH = 10


@dataclass(frozen=True)
class Options:
    """What is tried.

    Attributes:
        tasks: Whose networks.
        steps: How many, in tens.
        batch_size: Images a step; None is the study's.
        learning_rate: Adam's, at its highest; None is the study's, which is meant for pretrained weights.
        compute: What networks compute in; `auto` is bfloat16 on accelerators.
        recompute: Keep fewer activations and compute them again.
        seed: Of everything.
    """

    tasks: tuple[str, ...] = tuple(PUBLISHED)
    steps: int = 50
    batch_size: int | None = None
    learning_rate: float | None = None
    compute: str = "auto"
    recompute: bool = False
    seed: int = 0


def losses_and_seconds(task: str, options: Options) -> Iterator[tuple[float, float]]:
    """Yields each step's loss and the seconds that it took, the first with compilation."""
    published = PUBLISHED[task]
    batch_size = options.batch_size or published.recipe.batch_size
    recipe = dataclasses.replace(
        published.recipe,
        epochs=options.steps // STEPS_AN_EPOCH,
        batch_size=batch_size,
        learning_rate=options.learning_rate or published.recipe.learning_rate,
    )
    counts = {**dict.fromkeys(COUNTS, 0), "train": STEPS_AN_EPOCH * batch_size}
    images, columns = generate(task, seed=options.seed, size=published.image_size, counts=counts)
    classes = class_order(list(columns["label"]))
    labels = np.array([classes.index(label) for label in columns["label"]], np.int32)
    data = Labelled(images, labels, np.arange(len(images), dtype=np.uint32))
    classifier = MODELS[published.network](
        num_classes=len(classes), dtype=compute_dtype(options.compute), checkpoint=options.recompute
    )
    (stage,) = METHODS["cross_entropy"].stages(recipe, 0.0)
    key = jax.random.key(options.seed)
    state = begin(stage, recipe, initial_variables(classifier, images.shape[1:], key), len(images), key)
    begun, sum_before = time.perf_counter(), 0.0
    for number, progress in enumerate(train(classifier, data, stage=stage, recipe=recipe, state=state, every=1)):
        done = number % STEPS_AN_EPOCH + 1
        total = float(progress.loss) * done  # of the epoch so far
        yield total - (sum_before if done > 1 else 0.0), time.perf_counter() - begun
        begun, sum_before = time.perf_counter(), total


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line a task; returns the exit status: 1 where a loss did not fall."""
    options = tyro.cli(Options, prog="python -m experiments.full_size", description=__doc__, args=arguments)
    use_compilation_cache()
    fallen = True
    print("| task | network | px | batch | loss, first ten | last ten | first step, s | step, s | GiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for task in options.tasks:
        losses, seconds = zip(*losses_and_seconds(task, options), strict=True)
        first, last = statistics.mean(losses[:10]), statistics.mean(losses[-10:])
        fallen &= last < first
        stats = jax.devices()[0].memory_stats()
        held = (
            stats["peak_bytes_in_use"] / 2**30 if stats else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        )
        batch_size = options.batch_size or PUBLISHED[task].recipe.batch_size
        spread = f"{statistics.median(seconds[1:]):.2f} ({min(seconds[1:]):.2f} to {max(seconds[1:]):.2f})"
        print(
            f"| {task} | {PUBLISHED[task].network} | {PUBLISHED[task].image_size} | {batch_size} | {first:.3f} | "
            f"{last:.3f} | {seconds[0]:.0f} | {spread} | {held:.1f} |",
            flush=True,
        )
    print(f"\nDevice: {jax.devices()[0].device_kind}. Memory is the most that the process, or the device, has held.")
    return 0 if fallen else 1


if __name__ == "__main__":
    sys.exit(main())
