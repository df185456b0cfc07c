"""Many image files to one array, or to a list of files that were checked: how they are read is in `decoding`."""

import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from os import PathLike, fspath
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Shaped, UInt32
from PIL import Image

from sfjax.data.decoding import Problem, convert, convertible, load
from sfjax.data.files import ImageFiles
from sfjax.data.image_paths import within

T = TypeVar("T")
S = TypeVar("S")
ImagesIn = Literal["memory", "disk"]
Images = np.ndarray | ImageFiles

_UNDER_WAY = 64
"""Files that are being read, or wait decoded for those before them: bounds memory."""


class DecodedImages(NamedTuple):
    """What `decode_images` read, in the order of the paths.

    Attributes:
        pixels: uint8, or uint16 if any image has 16 bit; shape (n, size, size, k). Where there was a problem, an array
            is 0, and `ImageFiles` raise.
        sha256: Hash of each image's content in hexadecimal (see `Loaded`), "" where it could not be read.
        problems: Position -> why there is no image.
        notes: What was done to images that a person should know.
    """

    pixels: Shaped[Images, "n h w k"]
    sha256: list[str]
    problems: dict[int, Problem]
    notes: list[str]


class _Facts(NamedTuple):
    """What is kept of a file beside its pixels; without an image it has 0 channels."""

    sha256: str
    problem: Problem | None
    remarks: frozenset[str]
    channels: int = 0
    deep: bool = False
    largest: int = 0


def decode_images(
    paths: Sequence[str | PathLike[str]],
    *,
    size: int,
    channels: Literal[1, 3] | None = None,
    images_in: ImagesIn = "memory",
    names: Sequence[str] | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> DecodedImages:
    """Returns the images as one array or as files, with each file's hash and what was wrong with those that have none.

    Gray images keep one channel. If there are also RGB images, all become RGB; if there are also 16-bit images, 8-bit
    values are multiplied by 257, so that white stays white. An image of any other number of channels has a problem if
    the first has not as many.

    Args:
        paths: Of the images, in the forms of `sfjax.data.image_paths`.
        size: Side of the square images in pixels, from 1.
        channels: 1 turns RGB to luminance (ITU-R BT.601), 3 repeats gray; None keeps what there is.
        images_in: "memory" keeps the pixels; "disk" reads and decodes every file as well, but keeps none, and gives
            `ImageFiles` that decode again when they are asked for.
        names: What the errors of `ImageFiles` call the files; None is their paths.
        workers: Threads; None leaves the number to Python.
        progress: Called with (files read, files in all).
    """
    if size < 1:
        raise ValueError(f"Images need a side of at least 1 pixel, and size is {size}. Common sizes are 64 and 224.")
    if images_in not in ("memory", "disk"):
        raise ValueError(f"Images are kept in memory or on disk, and images_in is {images_in!r}.")
    in_memory = images_in == "memory"

    # A thread lets go of pixels that are not kept, so that none wait for their turn.
    def read(path: str | PathLike[str]) -> tuple[_Facts, np.ndarray | None]:
        loaded = load(path, size)
        facts, pixels = _Facts(loaded.sha256, loaded.problem, loaded.remarks), loaded.pixels
        if pixels is None:
            return facts, None
        facts = facts._replace(channels=pixels.shape[2], deep=pixels.dtype == np.uint16, largest=int(pixels.max()))
        return facts, pixels if in_memory else None

    facts: list[_Facts] = []
    num_stored = len(paths) if in_memory else 0
    stored = np.zeros((num_stored, size, size, channels or 1), np.uint8)
    expected: int | None = channels  # what the first image has, where nothing is asked for
    # Filters are set once, around all threads, because they belong to the process. Pillow warns about odd metadata,
    # which does not matter here, and about huge pictures, which are refused.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        pool = ThreadPoolExecutor(workers)
        try:
            for of_file, pixels in _in_order(pool, read, paths):
                if of_file.channels and expected is None:
                    expected = of_file.channels
                    stored = np.zeros((num_stored, size, size, expected), np.uint8)
                if of_file.channels and expected is not None and not convertible(of_file.channels, expected):
                    whose = "those before it have" if channels is None else "asked for are"
                    problem = Problem("another number of channels", f"it has {of_file.channels}, {whose} {expected}")
                    of_file, pixels = _Facts(of_file.sha256, problem, frozenset()), None
                if pixels is not None:
                    stored = _with_room(stored, len(facts), channels or pixels.shape[2], pixels.dtype)
                    stored[len(facts)] = convert(pixels, stored.shape[3], stored.dtype)
                facts.append(of_file)
                if progress is not None:
                    progress(len(facts), len(paths))
        finally:
            pool.shutdown(cancel_futures=True)  # so that Ctrl-C does not wait for the rest
    k = channels or max((of_file.channels for of_file in facts), default=0) or 1
    sha256 = [of_file.sha256 for of_file in facts]
    problems = {i: of_file.problem for i, of_file in enumerate(facts) if of_file.problem is not None}
    if in_memory:
        return DecodedImages(stored, sha256, problems, _notes(facts, k))
    files = ImageFiles(
        paths=np.array([within(Path.cwd(), fspath(path)) for path in paths], dtype=object),
        names=np.array([str(path) for path in paths] if names is None else names, dtype=object),
        sha256=np.array(sha256, dtype=object),
        image_shape=(size, size, k),
        dtype=np.dtype(np.uint16 if any(of_file.deep for of_file in facts) else np.uint8),
    )
    return DecodedImages(files, sha256, problems, _notes(facts, k))


def image_ids(sha256: Sequence[str]) -> UInt32[np.ndarray, " n"]:
    """Returns one number an image, to seed its random keys: the first 32 bits of its hash.

    Example:
        >>> image_ids(["0000000fab"]).item()
        15
    """
    return np.array([int(digest[:8], 16) for digest in sha256], dtype=np.uint32)


def _in_order(pool: ThreadPoolExecutor, function: Callable[[T], S], items: Iterable[T]) -> Iterator[S]:
    """Yields what the threads make of each item, in the items' order."""
    under_way: deque[Future[S]] = deque()
    for item in items:
        under_way.append(pool.submit(function, item))
        if len(under_way) == _UNDER_WAY:
            yield under_way.popleft().result()
    for future in under_way:
        yield future.result()


def _with_room(stored: np.ndarray, count: int, k: int, dtype: np.dtype) -> np.ndarray:
    """Returns `stored`, or an array of the same images that also holds some of `k` channels and `dtype`.

    What the images have in common is known when all are decoded, and a list of them beside the array would double the
    memory. Only a first image of another kind makes a new array.
    """
    k, dtype = max(stored.shape[3], k), np.promote_types(stored.dtype, dtype)
    if (k, dtype) == (stored.shape[3], stored.dtype):
        return stored
    wider = np.zeros((*stored.shape[:3], k), dtype)
    for i in range(count):
        wider[i] = convert(stored[i], k, dtype)
    return wider


def _notes(facts: Sequence[_Facts], k: int) -> list[str]:
    present = [of_file for of_file in facts if of_file.channels]
    counts = Counter(remark for of_file in present for remark in of_file.remarks)
    notes = [f"{counts[remark]} of {len(present)} images are {remark}." for remark in sorted(counts)]
    gray = sum(of_file.channels == 1 for of_file in present)
    if 0 < gray < len(present):
        made = "RGB" if k == 3 else "gray"
        notes.append(f"{gray} gray and {len(present) - gray} RGB images: all are {made} now.")
    deep = sum(of_file.deep for of_file in present)
    if 0 < deep < len(present):
        notes.append(f"{len(present) - deep} 8-bit images among {deep} 16-bit ones: all are 16-bit now.")
    if deep and deep == len(present) and (largest := max(of_file.largest for of_file in present)) < 2**14:
        notes.append(f"No value of the 16-bit images is above {largest} of 65535: if they are 12-bit, rescale them.")
    return notes
