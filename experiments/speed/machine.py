"""What the tables were measured on: device, versions, threads, and how fast one large product is."""

import datetime
import importlib
import os
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import version
from types import ModuleType

import jax
import jax.numpy as jnp

PRODUCT = "product of two 2048 x 2048 matrices"
PRODUCT_FLOPS = 2.0 * 2048**3


def torch_peers() -> ModuleType | None:
    """Returns `experiments.speed.torch_peers`, or None where PyTorch or torchvision is not installed."""
    try:
        return importlib.import_module("experiments.speed.torch_peers")
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "torchvision"):
            raise
        return None


def has_accelerator() -> bool:
    """Returns whether JAX computes on something else than a CPU."""
    return jax.default_backend() != "cpu"


def product(precision: str) -> Callable[[], object]:
    """Returns a call that multiplies matrices: as a side of its own it says how fast the machine was in that table."""
    square = jnp.ones((2048, 2048), precision)
    compiled = jax.jit(jnp.matmul)
    return lambda: compiled(square, square)


def describe(peers: ModuleType | None) -> str:
    """Returns date, device, versions and threads as a paragraph."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    said = [
        f"{datetime.date.today()}, {jax.devices()[0].device_kind} ({platform.machine()}), threads of XLA: {threads},",
        f"jax {version('jax')}, jaxlib {version('jaxlib')}.",
        peers.describe() if peers else "torch or torchvision is not installed: their rows are missing.",
    ]
    if has_accelerator():
        said.append("Products of float32 may be computed in TensorFloat-32, on both sides.")
    return " ".join(said)


def rates(images: int, operations: Mapping[str, float]) -> dict[str, Callable[[str, float], str]]:
    """Returns columns for `table`: images a second, and operations a second where they are known.

    Args:
        images: That every side but the product treats in a call.
        operations: Of a call, by side.
    """
    known = {PRODUCT: PRODUCT_FLOPS, **operations}
    return {
        "images / s": lambda side, seconds: "" if side == PRODUCT else f"{images / seconds:.3g}",
        "GFLOP/s": lambda side, seconds: f"{known[side] / seconds / 1e9:.3g}" if side in known else "",
    }
