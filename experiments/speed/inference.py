"""Forward passes and Monte Carlo dropout beside PyTorch, with memory, compile time and XLA's count of operations.

About ten minutes on two CPU cores. Sides take turns in one process, on the same cores or the same accelerator.
"""

import functools
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from experiments.speed import machine, programs
from experiments.speed.networks import Work, by_machine, classifier_of, heading, pictures, same_network
from experiments.speed.timing import interleaved, markdown, table
from sfjax import inference, keys
from sfjax.models import Classifier


@dataclass(frozen=True)
class Options:
    """How inference is measured. Larger by default where JAX finds an accelerator.

    Attributes:
        forward: Networks whose forward pass is timed, each with images a batch and pixels a side.
        monte_carlo: The same for Monte Carlo dropout.
        memory: The same for the memory that it takes, which is planned and not run.
        samples: Passes of Monte Carlo dropout.
        passes_at_once: Passes side by side. The first is timed, the memory of all is given.
        loop_passes: Passes that a loop over whole passes makes when it is timed; its time is scaled up to all.
        precisions: What is computed in.
        repeats: Of every measurement; sides take turns.
        run_memory: Run what memory is given of, too, and say what the process grew by: minutes on a CPU.
    """

    forward: tuple[Work, ...] = by_machine(
        (("small_cnn", 128, 64), ("densenet121", 8, 224), ("densenet161", 4, 224), ("efficientnet_b4", 2, 380)),
        (("small_cnn", 1024, 64), ("densenet121", 128, 224), ("densenet161", 128, 224), ("efficientnet_b4", 64, 380)),
    )
    monte_carlo: tuple[Work, ...] = by_machine(
        (("small_cnn", 128, 64), ("densenet121", 2, 224), ("efficientnet_b4", 2, 380)),
        (("small_cnn", 1024, 64), ("densenet121", 64, 224), ("efficientnet_b4", 64, 380)),
    )
    memory: tuple[Work, ...] = by_machine(
        (("small_cnn", 64, 64), ("densenet121", 64, 224), ("efficientnet_b4", 64, 380)),
        (("small_cnn", 64, 64), ("densenet121", 64, 224), ("densenet161", 64, 224), ("efficientnet_b4", 64, 380)),
    )
    samples: int = 50
    passes_at_once: tuple[int, ...] = (10, 1)
    loop_passes: int = 5
    precisions: tuple[str, ...] = by_machine(("float32",), ("float32", "bfloat16"))
    repeats: int = 7
    run_memory: bool = False


def measure(options: Options) -> None:
    """Prints the tables."""
    peers = machine.torch_peers()
    print(machine.describe(peers))
    for precision in options.precisions:
        for work in options.forward:
            print(forward_table(work, precision, options, peers), flush=True)
        for work in options.monte_carlo:
            print(monte_carlo_table(work, precision, options, peers), flush=True)
        for work in options.memory:
            print(memory_table(work, precision, options), flush=True)
    print(count_table(options), flush=True)


def whole_pass(classifier: Classifier) -> Callable[..., Array]:
    """Returns `(variables, images, ids, key) -> logits` of one pass; with key None it is the deterministic one."""

    def logits(variables: Any, images: Array, ids: Array, key: Key[Array, ""] | None) -> Array:
        image_keys = None if key is None else keys.per_image(key, ids)
        return classifier.suffix(variables, classifier.prefix(variables, images), image_keys).logits

    return logits


def monte_carlo(classifier: Classifier, samples: int, at_once: int) -> Callable[..., Any]:
    """Returns `(variables, images, ids, key) -> MCStatistics` of so many passes, the way `sfjax.inference.run` does."""

    def run(variables: Any, images: Array, ids: Array, key: Key[Array, ""]) -> Any:
        hidden = classifier.prefix(variables, images)

        def one_pass(index: Array) -> inference.Passes:
            image_keys = keys.per_image(jax.random.fold_in(key, index), ids)
            return inference.Passes(classifier.suffix(variables, hidden, image_keys).logits)

        return inference.mc_statistics(one_pass, samples, at_once)[0]

    return run


def mask_draws(classifier: Classifier, variables: Any, images: Any, image_keys: Array) -> list[programs.Draw]:
    """Returns what one pass draws for its masks, for each image."""
    hidden = jax.eval_shape(classifier.prefix, variables, images)
    return programs.draws(classifier.suffix, variables, hidden, image_keys)


def masks_alone(wanted: list[programs.Draw], samples: int, at_once: int) -> Callable[..., Any]:
    """Returns `(ids, key) -> numbers` that draws the random bits of so many passes, and does nothing with them."""

    def run(ids: Array, key: Key[Array, ""]) -> Any:
        def one_pass(index: Array) -> Any:
            return programs.drawn(wanted, keys.per_image(jax.random.fold_in(key, index), ids))

        return jax.lax.map(one_pass, jnp.arange(samples), batch_size=at_once)

    return run


def inputs(classifier: Classifier, work: Work) -> tuple[Any, Array, Array, Array]:
    """Returns variables, images, ids and a key."""
    images = jnp.asarray(pictures(work))
    variables = classifier.init(jax.random.key(0), images[0])
    return variables, images, jnp.arange(len(images), dtype=jnp.uint32), jax.random.key(1)


def forward_table(work: Work, precision: str, options: Options, peers: ModuleType | None) -> str:
    """Returns images a second of the deterministic pass."""
    classifier = classifier_of(work[0], precision)
    variables, images, ids, _ = inputs(classifier, work)
    program = programs.compile_program(whole_pass(classifier), variables, images, ids, None)
    sides: dict[str, Callable[[], object]] = {"sfjax": lambda: program.run(variables, images, ids, None)}
    if peers:
        peer = same_network(work, variables["params"], peers)
        for name, channels_last in (("torch eager", False), ("torch eager, channels_last", True)):
            sides[name] = peers.forward(peer, np.asarray(images), channels_last=channels_last, precision=precision)
    flops = programs.operations(whole_pass(classifier), variables, images, ids, None)
    measured = interleaved({**sides, machine.PRODUCT: machine.product(precision)}, options.repeats)
    text = table(heading("Forward", work, precision), measured, columns=machine.rates(len(images), {"sfjax": flops}))
    said = f"{flops / len(images) / 1e9:.3g} GFLOP an image as XLA counts."
    return f"{text}\n\n{said} {compilation(program)}"


def compilation(program: programs.Program) -> str:
    """Returns what the program took to compile, as a sentence."""
    return (
        f"Traced in {program.traced:.1f} s, compiled in {program.compiled:.1f} s; both in {program.again:.1f} s with "
        f"the persistent cache. Memory {program.gibibytes:.2f} GiB."
    )


def monte_carlo_table(work: Work, precision: str, options: Options, peers: ModuleType | None) -> str:
    """Returns what all passes take as multiples of one deterministic pass, and what loops over whole passes take."""
    classifier, samples, at_once = classifier_of(work[0], precision), options.samples, options.passes_at_once[0]
    variables, images, ids, key = inputs(classifier, work)
    once = programs.compile_program(whole_pass(classifier), variables, images, ids, None)
    all_passes = programs.compile_program(monte_carlo(classifier, samples, at_once), variables, images, ids, key)
    whole = programs.compile_program(whole_pass(classifier), variables, images, ids, key)
    draws = mask_draws(classifier, variables, images, keys.per_image(key, ids))
    alone = programs.compile_program(masks_alone(draws, samples, at_once), ids, key)
    sides: dict[str, Callable[[], object]] = {
        "one deterministic pass": lambda: once.run(variables, images, ids, None),
        f"sfjax, {samples} passes, {at_once} at once": lambda: all_passes.run(variables, images, ids, key),
        "their random bits alone": lambda: alone.run(ids, key),
    }
    _, passes, random_bits = sides
    looped = min(options.loop_passes, samples)
    scaled = f" (from {looped})" if looped < samples else ""

    def loop() -> Array:
        pass_keys = (jax.random.fold_in(key, index) for index in range(looped))
        total = sum(jax.nn.softmax(whole.run(variables, images, ids, pass_key)) for pass_key in pass_keys)
        return jnp.asarray(total / looped)

    loops: dict[str, Callable[[], object]] = {f"loop over a jitted pass, {samples}{scaled}": loop}
    if peers:
        peer = same_network(work, variables["params"], peers)
        call = peers.monte_carlo(peer, np.asarray(images), looped, precision=precision)
        loops[f"torch eager, loop over passes, {samples}{scaled}"] = call
    measured = interleaved({**sides, **loops}, options.repeats)
    for name in loops:
        measured[name] = [seconds * samples / looped for seconds in measured[name]]
    ours, drawing = statistics.median(measured[passes]), statistics.median(measured[random_bits])
    columns = {"of all passes of sfjax": lambda _, seconds: f"{seconds / ours:.3g}"}
    text = table(heading("Monte Carlo dropout", work, precision), measured, columns=columns)
    number = sum(int(np.prod(draw.shape)) for draw in draws)
    return (
        f"{text}\n\nRandom numbers, {number} a pass and image, are {100 * drawing / ours:.0f} % of the time of "
        f"all passes. {compilation(all_passes)}"
    )


def memory_table(work: Work, precision: str, options: Options) -> str:
    """Returns memory and compile time of all passes, for each number of passes at once."""
    classifier = classifier_of(work[0], precision)
    shapes = jax.eval_shape(functools.partial(inputs, classifier, work))
    found, growth = {}, []
    for at_once in options.passes_at_once:
        program = programs.compile_program(monte_carlo(classifier, options.samples, at_once), *shapes)
        found[f"{options.samples} passes, {at_once} at once"] = program
        if options.run_memory and (before := programs.reset_peak()) is not None:
            jax.block_until_ready(program.run(*inputs(classifier, work)))
            growth.append(f"{programs.peak() - before:.2f} with {at_once} at once")
    text = programs.programs_table(heading("Memory of Monte Carlo dropout", work, precision), found)
    return text if not growth else f"{text}\n\nRunning it, the process grew by GiB: {', '.join(growth)}."


def count_table(options: Options) -> str:
    """Returns all passes over one deterministic pass by XLA's count of operations, with and without masks.

    Prefix and suffix are counted apart, because XLA counts the body of a loop once. For the same reason it misses most
    rounds of the random number generator on a CPU: their share is for the clock to tell.
    """
    rows = []
    for work in options.monte_carlo:
        counts = count_operations(classifier_of(work[0], "float32"), work)
        once = counts["prefix"] + counts["suffix"]
        with_masks, without = (
            (counts["prefix"] + options.samples * counts[suffix]) / once for suffix in ("suffix with masks", "suffix")
        )
        shares = [f"{100 * counts[part] / once:.3g} %" for part in ("prefix", "suffix")]
        rows.append([f"{work[0]}, {work[2]} px", f"{once / 1e9:.3g}", *shares, f"{with_masks:.4g}", f"{without:.4g}"])
    head = ["network", "GFLOP a deterministic pass and image", "prefix", "suffix"]
    head += [f"{options.samples} passes over one", "without drawing masks"]
    return markdown("Monte Carlo dropout by XLA's count", head, rows)


def count_operations(classifier: Classifier, work: Work) -> Mapping[str, float]:
    """Returns operations an image of prefix, suffix, and suffix with masks."""
    variables, images, ids, key = jax.eval_shape(functools.partial(inputs, classifier, work))
    hidden = jax.eval_shape(classifier.prefix, variables, images)
    image_keys = jax.eval_shape(keys.per_image, key, ids)
    parts = {
        "prefix": programs.operations(classifier.prefix, variables, images),
        "suffix": programs.operations(classifier.suffix, variables, hidden, None),
        "suffix with masks": programs.operations(classifier.suffix, variables, hidden, image_keys),
    }
    return {name: count / work[1] for name, count in parts.items()}
