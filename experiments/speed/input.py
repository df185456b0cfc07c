"""How fast images come from disk: `sfjax.data.ImageFiles.prefetch` beside plain Pillow and torch's DataLoader."""

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grain
import numpy as np
from absl import flags
from PIL import Image

from experiments.speed.timing import markdown
from sfjax.data import ImageFiles, load_dataset

Batches = Callable[[], Iterator[Any]]
"""Starts one pass over all images, in batches."""


class Pass(NamedTuple):
    """What one pass took: by the clock, and of all processors together, which other work changes less."""

    seconds: float
    processor_seconds: float


@dataclass(frozen=True)
class Options:
    """How the input from disk is measured.

    Attributes:
        images: JPEG files of each format, quality 90.
        formats: Width and height of the files in pixels.
        size: Side of the images that are made of them, in pixels.
        batch_size: Images in a batch.
        workers: Numbers of threads of `prefetch`; 0 decodes when a batch is asked for.
        processes: Numbers of worker processes, for grain and for torch.
        repeats: Of every measurement; sides take turns.
    """

    images: int = 10_000
    formats: tuple[tuple[int, int], ...] = ((600, 450), (224, 224))
    size: int = 224
    batch_size: int = 64
    workers: tuple[int, ...] = (0, 1, 2)
    processes: tuple[int, ...] = (1, 2)
    repeats: int = 3


def write_photographs(folder: Path, count: int, width: int, height: int) -> int:
    """Returns the bytes of `count` JPEG files that were written: noise of all scales, as strong as in photographs.

    The amplitude falls with the frequency as 1/f, in octaves; every file has a pixel noise of its own.

    Args:
        folder: Where the files and their manifest.csv go.
        count: How many.
        width: Of the pictures, in pixels.
        height: Of the pictures, in pixels.

    References:
        Field, "Relations between the statistics of natural images and the response properties of cortical cells",
        Journal of the Optical Society of America A 4, 1987.
    """
    rng = np.random.default_rng(0)

    def octave(cells: int) -> np.ndarray:
        grid = rng.normal(0, 100 / cells, (cells, cells, 3)).astype(np.float32)
        smooth = [
            Image.fromarray(one).resize((width, height), Image.Resampling.BICUBIC) for one in np.moveaxis(grid, -1, 0)
        ]
        return np.stack([np.asarray(one) for one in smooth], axis=-1)

    scenes = [128 + sum(octave(2**power) for power in range(1, 9)) for _ in range(8)]

    def write(i: int) -> int:
        noise = np.random.default_rng([1, i]).standard_normal((height, width, 1), dtype=np.float32)
        picture = np.clip(scenes[i % len(scenes)] + 5 * noise, 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{i:06d}.jpg", quality=90)
        return (folder / f"{i:06d}.jpg").stat().st_size

    with ThreadPoolExecutor() as pool:
        total = sum(pool.map(write, range(count)))
    rows = [f"{i:06d}.jpg,{'ab'[i % 2]}" for i in range(count)]
    (folder / "manifest.csv").write_text("\n".join(["image_path,label", *rows]))
    return total


def plain(path: str, size: int) -> np.ndarray:
    """Returns an RGB file as an array the plain way: Pillow, the shorter side resized, the center cut out.

    Args:
        path: The file.
        size: Pixels a side.
    """
    with Image.open(path) as image:
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))


def sides(images: ImageFiles, options: Options) -> dict[str, Batches]:
    """Returns the ways to read the images in one random order, by what the table calls them."""
    order = np.random.default_rng(2).permutation(len(images))
    batches = np.split(order, range(options.batch_size, len(order), options.batch_size))
    found: dict[str, Batches] = {
        "JPEG decoded and not resized, one thread: the floor": lambda: (
            [Image.open(str(images.paths[row])).load() for row in batch] for batch in batches
        ),
        "plain Pillow, one thread": lambda: (
            np.stack([plain(str(images.paths[row]), options.size) for row in batch]) for batch in batches
        ),
    }
    for workers in options.workers:
        found[f"prefetch, {workers} threads" if workers else "prefetch, 0: none"] = lambda workers=workers: (
            images.prefetch(batches, workers=workers)
        )
    for processes in options.processes:
        found[f"grain, {processes} processes, a batch each"] = lambda processes=processes: in_processes(
            images, batches, processes
        )
        if loader := torch_loader(images, batches, processes, options.size):
            found[f"torch DataLoader, {processes} processes, plain Pillow"] = loader
    return found


def in_processes(images: ImageFiles, batches: list[np.ndarray], processes: int) -> Iterator[np.ndarray]:
    """Yields the batches from grain's worker processes."""
    flags.FLAGS.mark_as_parsed()  # grain asks for flags that only an absl program has read
    stream = grain.MapDataset.source(batches).map(images.__getitem__).to_iter_dataset(grain.ReadOptions(1, 1))
    found = iter(stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=processes, per_worker_buffer_size=2)))
    try:
        yield from found
    finally:
        found.close()


def torch_loader(images: ImageFiles, batches: list[np.ndarray], processes: int, size: int) -> Batches | None:
    """Returns torch's loader with the plain way in its processes, or None where torch is not installed."""
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        return None

    class Files:
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, row: int) -> Any:
            return torch.from_numpy(plain(str(images.paths[row]), size).copy())

    rows = [batch.tolist() for batch in batches]
    return lambda: iter(torch.utils.data.DataLoader(Files(), batch_sampler=rows, num_workers=processes))  # pyright: ignore


def seconds_to_first(batches: Batches) -> float:
    """Returns the seconds from the start of a pass to its first batch; the rest is left alone."""
    begun = time.perf_counter()
    stream = batches()
    next(stream)
    found = time.perf_counter() - begun
    if (close := getattr(stream, "close", None)) is not None:
        close()
    return found


def in_turns(sides: Mapping[str, Batches], repeats: int) -> dict[str, list[Pass]]:
    """Returns what whole passes over all images took, the sides taking turns."""
    found: dict[str, list[Pass]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            begun, times = time.perf_counter(), os.times()
            for _ in side():
                pass
            used = sum(os.times()[:4]) - sum(times[:4])  # of all threads, and of processes that have ended
            found[name].append(Pass(time.perf_counter() - begun, used))
    return found


def rates(title: str, passes: Mapping[str, list[Pass]], firsts: Mapping[str, list[float]], images: int) -> str:
    """Returns images a second, processor time and the time to the first batch as Markdown: median (least to most).

    Args:
        title: Of the table.
        passes: Over all images, by side.
        firsts: Seconds to the first batch, by side.
        images: How many a pass has.
    """

    def spread(values: Sequence[float], decimals: int) -> str:
        return f"{statistics.median(values):.{decimals}f} ({min(values):.{decimals}f} to {max(values):.{decimals}f})"

    rows = []
    for name, taken in passes.items():
        rate = spread([images / one.seconds for one in taken], 0)
        work = spread([1e3 * one.processor_seconds / images for one in taken], 2)
        rows.append([name, rate, work, spread([1e3 * first for first in firsts[name]], 0)])
    return markdown(title, ["side", "images / s", "processor ms / image", "first batch, ms"], rows)


def measure(options: Options) -> None:
    """Prints one table a format of the files."""
    found: dict[str, Batches] = {}
    for width, height in options.formats:
        with tempfile.TemporaryDirectory() as folder:
            total = write_photographs(Path(folder), options.images, width, height)
            begun = time.perf_counter()
            dataset = load_dataset(Path(folder) / "manifest.csv", size=options.size, seed=0, images_in="disk")
            checked = time.perf_counter() - begun
            images = dataset.images
            if not isinstance(images, ImageFiles):
                raise TypeError(f"The images must be on disk, and they are {type(images)}.")
            found = sides(images, options)
            alike = [np.asarray(next(batches())) for name, batches in found.items() if "floor" not in name]
            if not all(np.array_equal(one, alike[0]) for one in alike):
                raise ValueError("The sides must give the same pixels before they are timed, and they differ.")
            firsts = {name: [seconds_to_first(side) for _ in range(options.repeats)] for name, side in found.items()}
            passes = in_turns(found, options.repeats)
        kib = total / options.images / 2**10
        files = f"{options.images} JPEGs of {width} x {height} ({kib:.0f} KiB)"
        title = f"{files} to {options.size} px, batch {options.batch_size}"
        print(rates(title, passes, firsts, options.images))
        print(f"\nChecking them (`load_dataset(images_in='disk')`, threads as Python chooses): {checked:.1f} s.")
    if not any("torch" in name for name in found):
        print("\ntorch is not installed: its rows are missing.")
    own, child = (resource.getrusage(who).ru_maxrss / 2**20 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    pixels = options.images * options.size**2 * 3 / 2**30
    print(
        f"\n{os.cpu_count()} processors. Files come from the page cache. Most memory of the process {own:.2f} GiB, of "
        f"a worker process {child:.2f} GiB; all pixels together take {pixels:.2f} GiB."
    )
