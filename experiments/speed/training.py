"""Training steps beside PyTorch: forward, backward and Adam, with memory and compile time.

About ten minutes on two CPU cores. Sides take turns in one process, on the same cores or the same accelerator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.speed import machine, programs
from experiments.speed.networks import (
    CLASSES,
    Work,
    by_machine,
    classifier_of,
    heading,
    pictures,
    same_network,
)
from experiments.speed.timing import interleaved, table
from sfjax import keys
from sfjax.models import Classifier

OPTIMIZER = optax.adam(1e-4)


@dataclass(frozen=True)
class Options:
    """How training is measured. Larger by default where JAX finds an accelerator.

    Attributes:
        networks: What is trained, each with images a batch and pixels a side.
        checkpoint: Whether blocks are computed again in the backward pass; each is measured.
        precisions: What is computed in; parameters are float32.
        repeats: Of every measurement; sides take turns.
    """

    networks: tuple[Work, ...] = by_machine(
        (("small_cnn", 128, 64), ("densenet121", 8, 64), ("efficientnet_b4", 2, 128)),
        (("small_cnn", 1024, 64), ("densenet121", 64, 224), ("densenet161", 32, 224), ("efficientnet_b4", 16, 380)),
    )
    checkpoint: tuple[bool, ...] = (False, True)
    precisions: tuple[str, ...] = by_machine(("float32",), ("float32", "bfloat16"))
    repeats: int = 7


def measure(options: Options) -> None:
    """Prints the tables."""
    peers = machine.torch_peers()
    print(machine.describe(peers))
    for precision in options.precisions:
        for work in options.networks:
            print(training_tables(work, precision, options, peers), flush=True)


class State(NamedTuple):
    """What a step changes."""

    params: Any
    statistics: Any
    moments: Any
    number: Array


def begin(classifier: Classifier, image: Array) -> State:
    """Returns fresh weights and Adam's moments."""
    variables = classifier.init(jax.random.key(0), image)
    params = variables["params"]
    return State(params, variables.get("batch_stats", {}), OPTIMIZER.init(params), jnp.zeros((), jnp.int32))


def training_step(classifier: Classifier) -> Callable[..., tuple[State, Array]]:
    """Returns `(state, images, labels, ids) -> (state, loss)`: what the plain step of PyTorch does, and no more."""

    def step(state: State, images: Array, labels: Array, ids: Array) -> tuple[State, Array]:
        dropout_keys = keys.per_image(jax.random.fold_in(jax.random.key(1), state.number), ids)

        def loss_of(params: Any) -> tuple[Array, Any]:
            variables = {"params": params, "batch_stats": state.statistics}
            heads, statistics = classifier.train_forward(variables, images, dropout_keys, batch_statistics=True)
            return optax.softmax_cross_entropy_with_integer_labels(heads.logits, labels).mean(), statistics

        (loss, statistics), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        with jax.numpy_dtype_promotion("standard"):  # where strict promotion is on, optax needs the usual one
            updates, moments = OPTIMIZER.update(gradient, state.moments, state.params)
        return State(optax.apply_updates(state.params, updates), statistics, moments, state.number + 1), loss

    return step


def training_tables(work: Work, precision: str, options: Options, peers: ModuleType | None) -> str:
    """Returns images a second of a training step, and what its programs took to compile and take of memory."""
    images = jnp.asarray(pictures(work))
    labels = jnp.arange(len(images), dtype=jnp.int32) % CLASSES
    ids = jnp.arange(len(images), dtype=jnp.uint32)
    found: dict[str, programs.Program] = {}
    sides: dict[str, Callable[[], object]] = {}
    flops, state = 0.0, None
    for checkpoint in options.checkpoint:
        name = "sfjax, blocks computed again" if checkpoint else "sfjax"
        classifier = classifier_of(work[0], precision, checkpoint=checkpoint)
        state = begin(classifier, images[0])
        step = training_step(classifier)
        found[name] = programs.compile_program(step, state, images, labels, ids, donate=(0,))
        flops = flops or programs.operations(step, state, images, labels, ids)
        sides[name] = repeated(found[name].run, state, images, labels, ids)
    if peers and state is not None:
        peer = same_network(work, state.params, peers)
        for name, channels_last in (("torch eager", False), ("torch eager, channels_last", True)):
            sides[name] = peers.training_step(
                peer, np.asarray(images), np.asarray(labels), channels_last=channels_last, precision=precision
            )
    measured = interleaved({**sides, machine.PRODUCT: machine.product(precision)}, options.repeats)
    columns = machine.rates(len(images), {next(iter(found)): flops})
    text = table(heading("Training step", work, precision), measured, columns=columns)
    compiled = programs.programs_table(heading("Its programs", work, precision), found)
    return f"{text}\n\n{flops / len(images) / 1e9:.3g} GFLOP an image and step as XLA counts.\n{compiled}"


def repeated(run: Callable[..., tuple[State, Array]], state: State, *batch: Array) -> Callable[[], object]:
    """Returns a call that makes one step more each time, and returns its loss when all is computed."""

    def call() -> Array:
        nonlocal state
        state, loss = run(state, *batch)
        jax.block_until_ready(state)
        return loss

    return call
