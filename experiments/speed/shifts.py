"""Corruptions of batches of images, beside OpenCV image by image. About three minutes on a CPU."""

import importlib
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.speed.timing import interleaved, markdown
from sfjax import shifts
from sfjax.phantoms import COUNTS, generate

SEED = 3


@dataclass(frozen=True)
class Options:
    """What is measured.

    Attributes:
        names: Corruptions; none for all that take three channels.
        level: Of each.
        images: In a batch.
        image_size: Pixels a side.
        repeats: Of every measurement; sides take turns.
    """

    names: tuple[str, ...] = ()
    level: int = 3
    images: int = 64
    image_size: int = 224
    repeats: int = 7


def measure(options: Options) -> None:
    """Prints the table."""
    peers = _peers()
    print(
        f"{jax.devices()[0].device_kind}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, "
        f"jax {version('jax')}. {peers.describe() if peers else ''}"
    )
    if peers is None:
        print("OpenCV is not installed: its columns are missing. Install opencv-python-headless to compare.")
    counts = dict.fromkeys(COUNTS, 0) | {"train": options.images}
    drawn, _ = generate("dermoscopy", seed=SEED, size=options.image_size, counts=counts)
    pictures = drawn.astype(np.float32) / 255
    names = options.names or tuple(name for name, one in shifts.SHIFTS.items() if 3 in (one.channels or (3,)))
    rows = [_row(name, pictures, options, peers) for name in names]
    size = options.image_size
    title = f"Corruptions at level {options.level}, {options.images} images of {size} x {size} x 3"
    head = ["corruption", "ms an image", "least to most", "images a second"]
    head += ["beside", "its ms an image", "least to most", "ratio", "of least", "apart, of 255"]
    print(markdown(title, head if peers else head[:4], rows))


def _peers() -> ModuleType | None:
    """Returns `experiments.speed.opencv_peers`, or None where OpenCV is not installed."""
    try:
        return importlib.import_module("experiments.speed.opencv_peers")
    except ModuleNotFoundError as error:
        if error.name != "cv2":
            raise
        return None


def _row(name: str, pictures: np.ndarray, options: Options, peers: ModuleType | None) -> list[str]:
    """Returns one corruption's row: medians with least and most, and how far both sides' images are apart."""
    images, ids = jnp.asarray(pictures), jnp.arange(len(pictures), dtype=jnp.uint32)
    sides: dict[str, Callable[[], Any]] = {
        "ours": lambda: shifts.apply(name, jax.random.key(0), images, ids, level=options.level)
    }
    peer = peers.PEERS.get(name) if peers else None
    if peer:
        strength, rng = shifts.STRENGTHS[name][options.level - 1], np.random.default_rng(SEED)
        sides["theirs"] = lambda: [peer.run(image, strength, rng) for image in pictures]
    measured = interleaved(sides, options.repeats)
    factor = 1e3 / len(pictures)
    columns = {}
    for side, seconds in measured.items():
        low, middle, high = (factor * of(seconds) for of in (min, statistics.median, max))
        columns[side] = [f"{middle:.2f}", f"{low:.2f} to {high:.2f}"]
    ours = statistics.median(measured["ours"])
    row = [name, *columns["ours"], f"{len(pictures) / ours:.0f}"]
    if peer is None:
        return row + [""] * 6 * (peers is not None)
    apart = np.abs(np.clip(sides["theirs"](), 0, 1) - np.asarray(sides["ours"]())).mean() * 255
    ratios = [ours / statistics.median(measured["theirs"]), min(measured["ours"]) / min(measured["theirs"])]
    ratio = [f"{one:.2f}" for one in ratios]
    return [*row, peer.what, *columns["theirs"], *ratio, f"{apart:.2f}" if peer.same else "random"]
