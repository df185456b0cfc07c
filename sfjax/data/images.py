"""Image files to arrays: PNG, JPEG, TIFF and BMP, gray or RGB, 8 or 16 bit.

Every image is turned upright (EXIF), its shorter side resized to `size` with antialiasing and its center cut out. The
aspect ratio is kept because shape is diagnostic and because squeezing would make a shift of its own between cameras of
different formats; where much is cut off, that is noted. Gray levels are never stretched: the full range of the file's
type is 0 to 1.
"""

import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt32
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
"""What Pillow may try."""

_CUT = "cut to a square, losing more than a tenth of their area"
_ENLARGED = "smaller than the working size and were enlarged"
_REDUCED = "16-bit color, of which 8 bit are read"


class Problem(NamedTuple):
    """Why a file gave no image: `kind` is a key of `sfjax.data.findings.REMEDIES`."""

    kind: str
    detail: str


class DecodedImages(NamedTuple):
    """What `decode_images` read, in the order of the paths.

    Attributes:
        pixels: uint8, or uint16 if any image has 16 bit; shape (n, size, size, k); 0 where there was a problem.
        sha256: Hash of each file's bytes in hexadecimal, "" where the file could not be read.
        problems: Position -> why there is no image.
        notes: What was done to images that a person should know.
    """

    pixels: Shaped[np.ndarray, "n h w k"]
    sha256: list[str]
    problems: dict[int, Problem]
    notes: list[str]


class _Loaded(NamedTuple):
    pixels: np.ndarray | None
    sha256: str
    problem: Problem | None = None
    remarks: frozenset[str] = frozenset()


class _Unsupported(ValueError):
    """A picture that can be decoded, but not without a choice that is the user's."""


def decode_images(
    paths: Sequence[str | PathLike[str]],
    *,
    size: int,
    channels: Literal[1, 3] | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> DecodedImages:
    """Returns the images as one array, with each file's hash and what was wrong with those that cannot be read.

    Gray images keep one channel. If there are also RGB images, all become RGB; if there are also 16-bit images, 8-bit
    values are multiplied by 257, so that white stays white.

    Args:
        paths: The files.
        size: Side of the square images in pixels, from 1.
        channels: 1 turns RGB to luminance (ITU-R BT.601), 3 repeats gray; None keeps what there is.
        workers: Threads; None leaves the number to Python.
        progress: Called with (files read, files in all).
    """
    if size < 1:
        raise ValueError(f"Images need a side of at least 1 pixel, and size is {size}. Common sizes are 64 and 224.")
    loaded: list[_Loaded] = []
    # Filters are set once, around all threads, because they belong to the process. Pillow warns about odd metadata,
    # which does not matter here, and about huge pictures, which are refused.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        pool = ThreadPoolExecutor(workers)
        try:
            for item in pool.map(lambda path: _load(Path(path), size), paths):
                loaded.append(item)
                if progress is not None:
                    progress(len(loaded), len(paths))
        finally:
            pool.shutdown(cancel_futures=True)  # so that Ctrl-C does not wait for the rest
    present = [item.pixels for item in loaded if item.pixels is not None]
    k = channels or max((pixels.shape[2] for pixels in present), default=1)
    dtype = np.uint16 if any(pixels.dtype == np.uint16 for pixels in present) else np.uint8
    stacked = np.zeros((len(loaded), size, size, k), dtype)
    for i, item in enumerate(loaded):
        if item.pixels is not None:
            stacked[i] = _convert(item.pixels, k, stacked.dtype)
    problems = {i: item.problem for i, item in enumerate(loaded) if item.problem is not None}
    return DecodedImages(stacked, [item.sha256 for item in loaded], problems, _notes(loaded, stacked))


def sha256_of_array(image: Shaped[np.ndarray, "h w k"]) -> str:
    """Returns the hash, in hexadecimal, of an image that has no file: of its type, shape and values."""
    image = np.ascontiguousarray(image)
    return hashlib.sha256(f"{image.dtype.str}{image.shape}".encode() + image.tobytes()).hexdigest()


def image_ids(sha256: Sequence[str]) -> UInt32[np.ndarray, " n"]:
    """Returns one number an image, to seed its random keys: the first 32 bits of its hash.

    Example:
        >>> image_ids(["0000000fab"]).item()
        15
    """
    return np.array([int(digest[:8], 16) for digest in sha256], dtype=np.uint32)


def _load(path: Path, size: int) -> _Loaded:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return _Loaded(None, "", Problem("missing file", "no such file"))
    except OSError as error:
        return _Loaded(None, "", Problem("undecodable image", f"the file cannot be opened: {error.strerror}"))
    digest = hashlib.sha256(data).hexdigest()
    try:
        pixels, remarks = _decode(data, size)
    except Image.UnidentifiedImageError:
        return _Loaded(None, digest, Problem("undecodable image", "not a PNG, JPEG, TIFF or BMP file"))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        detail = f"more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels, Pillow's limit against decompression bombs"
        return _Loaded(None, digest, Problem("undecodable image", detail))
    except _Unsupported as error:
        return _Loaded(None, digest, Problem("undecodable image", str(error)))
    except Exception as error:  # decoders of broken files raise anything; the text goes into the report
        return _Loaded(None, digest, Problem("undecodable image", f"{error.__class__.__name__}: {error}"))
    return _Loaded(pixels, digest, None, remarks)


def _decode(data: bytes, size: int) -> tuple[np.ndarray, frozenset[str]]:
    """Returns the image of a file's bytes as uint8 or uint16 of shape (size, size, 1 or 3), and what was done to it."""
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # MPO: a camera's JPEG with a preview behind the picture
        raise _Unsupported(f"{frames} pictures in one file; store each in its own")
    remarks = set()
    layout = str(image.tile[0].args).partition(",")[0] if image.tile else ""  # the file's own, gone after load()
    if ";16" in layout and not image.mode.startswith("I"):
        remarks.add(_REDUCED)
    inverted = image.mode.startswith("I;16") and _is_min_is_white(image)
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    image = _gray_or_rgb(image)
    side = min(image.size)
    if side**2 < 0.9 * image.width * image.height:
        remarks.add(_CUT)
    if side < size:
        remarks.add(_ENLARGED)
    if not image.mode.startswith("I"):
        pixels = np.asarray(_square(image, size))
        return pixels.reshape(size, size, -1), frozenset(remarks)
    # Through float, which holds 16 bit exactly: resampling of I;16 differs between Pillow's versions.
    levels = np.asarray(image).astype(np.float32)
    levels = np.asarray(_square(Image.fromarray(65535 - levels if inverted else levels), size))
    return np.rint(levels).clip(0, 65535).astype(np.uint16)[:, :, None], frozenset(remarks)


def _gray_or_rgb(image: Image.Image) -> Image.Image:
    """Returns the image in mode L, RGB or one of 16-bit gray, or raises where that needs a choice."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return image  # older Pillow gives 16-bit PNG as I
    if image.mode not in ("1", "L", "P", "RGB", "RGBX", "LA", "PA", "RGBA", "YCbCr"):
        raise _Unsupported(f"pixel mode {image.mode} is neither gray nor RGB of 8 or 16 bit; convert the file")
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("L", "LA", "1") else "RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            raise _Unsupported("it is partly transparent; store it on a background")
    was_palette = image.mode == "P"
    image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    if was_palette:
        red, green, blue = (np.asarray(channel) for channel in image.split())
        if np.array_equal(red, green) and np.array_equal(green, blue):
            return image.getchannel("R")
    return image


def _is_min_is_white(image: Image.Image) -> bool:
    # Pillow inverts such TIFFs ("0 is white") at 8 bit but not at 16 bit.
    return image.format == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0


def _square(image: Image.Image, size: int) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)


def _convert(pixels: np.ndarray, k: int, dtype: np.dtype) -> np.ndarray:
    if k == 1 and pixels.shape[2] == 3:
        pixels = np.rint(pixels @ np.array([0.299, 0.587, 0.114])).astype(pixels.dtype)[:, :, None]
    if dtype == np.uint16 and pixels.dtype == np.uint8:
        pixels = pixels.astype(np.uint16) * np.uint16(257)
    return pixels if pixels.shape[2] == k else np.repeat(pixels, k, axis=2)


def _notes(loaded: Sequence[_Loaded], stacked: np.ndarray) -> list[str]:
    present = [item for item in loaded if item.pixels is not None]
    counts = Counter(remark for item in present for remark in item.remarks)
    notes = [f"{counts[remark]} of {len(present)} images are {remark}." for remark in sorted(counts)]
    gray = sum(item.pixels.shape[2] == 1 for item in present if item.pixels is not None)
    if 0 < gray < len(present):
        made = "RGB" if stacked.shape[3] == 3 else "gray"
        notes.append(f"{gray} gray and {len(present) - gray} RGB images: all are {made} now.")
    deep = sum(item.pixels.dtype == np.uint16 for item in present if item.pixels is not None)
    if 0 < deep < len(present):
        notes.append(f"{len(present) - deep} 8-bit images among {deep} 16-bit ones: all are 16-bit now.")
    if deep and deep == len(present) and (largest := int(stacked.max())) < 2**14:
        notes.append(f"No value of the 16-bit images is above {largest} of 65535: if they are 12-bit, rescale them.")
    return notes
