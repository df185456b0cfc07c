"""What inference and training are measured on: networks, images and their peers in PyTorch."""

from dataclasses import field
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.speed.machine import has_accelerator
from sfjax.models import MODELS, Classifier

CLASSES = 10
DROPOUT = 0.1
Work = tuple[str, int, int]
"""A network of `MODELS`, images a batch, pixels a side."""


def by_machine(cpu: Any, accelerator: Any) -> Any:
    """Returns a field of a dataclass whose default depends on whether JAX finds an accelerator."""
    return field(default_factory=lambda: accelerator if has_accelerator() else cpu)


def classifier_of(name: str, precision: str, *, checkpoint: bool = False) -> Classifier:
    """Returns a network of `MODELS` that computes in `float32` or `bfloat16`."""
    dtype = None if precision == "float32" else jnp.dtype(precision)
    return MODELS[name](num_classes=CLASSES, dropout_rate=DROPOUT, dtype=dtype, checkpoint=checkpoint)


def pictures(work: Work) -> np.ndarray:
    """Returns noise in [0, 1], float32, shape (n, h, w, 3)."""
    _, n, size = work
    return np.random.default_rng(0).random((n, size, size, 3), np.float32)


def heading(what: str, work: Work, precision: str) -> str:
    """Returns the title of a table."""
    name, n, size = work
    return f"{what}, {name}, {n} x {size} x {size} x 3, {precision}"


def same_network(work: Work, params: Any, peers: ModuleType) -> Any:
    """Returns the network in PyTorch.

    Raises:
        ValueError: It has not as many parameters as ours.
    """
    peer = peers.network(work[0], num_classes=CLASSES, dropout=DROPOUT)
    ours, theirs = sum(leaf.size for leaf in jax.tree.leaves(params)), peers.count_parameters(peer)
    if ours != theirs:
        raise ValueError(f"Both sides must be the same {work[0]}, and ours has {ours} parameters, theirs {theirs}.")
    return peer
