"""One image file to one array: PNG, JPEG, TIFF and BMP, gray or RGB, 8 or 16 bit.

Every image is turned upright (EXIF), its shorter side resized to `size` with antialiasing and its center cut out. The
aspect ratio is kept because shape is diagnostic and because squeezing would make a shift of its own between cameras of
different formats; where much is cut off, that is noted. Gray levels are never stretched: the full range of the file's
type is 0 to 1.
"""

import hashlib
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped
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


class Loaded(NamedTuple):
    """What one file holds.

    Attributes:
        pixels: uint8 or uint16, shape (size, size, 1 or 3); None where there is a problem.
        sha256: Hash of the file's bytes in hexadecimal, "" where the file could not be read.
        problem: Why there are no pixels.
        remarks: What was done to the image that a person should know.
    """

    pixels: np.ndarray | None
    sha256: str
    problem: Problem | None = None
    remarks: frozenset[str] = frozenset()


class _Unsupported(ValueError):
    """A picture that can be decoded, but not without a choice that is the user's."""


def load(path: Path, size: int) -> Loaded:
    """Returns the image of a file, or why there is none, and the hash of the file in both cases.

    Args:
        path: The file.
        size: Side of the square image in pixels.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Loaded(None, "", Problem("missing file", "no such file"))
    except OSError as error:
        return Loaded(None, "", Problem("undecodable image", f"the file cannot be opened: {error.strerror}"))
    digest = hashlib.sha256(data).hexdigest()
    try:
        pixels, remarks = _decode(data, size)
    except Image.UnidentifiedImageError:
        return Loaded(None, digest, Problem("undecodable image", "not a PNG, JPEG, TIFF or BMP file"))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        detail = f"more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels, Pillow's limit against decompression bombs"
        return Loaded(None, digest, Problem("undecodable image", detail))
    except _Unsupported as error:
        return Loaded(None, digest, Problem("undecodable image", str(error)))
    except Exception as error:  # decoders of broken files raise anything; the text goes into the report
        return Loaded(None, digest, Problem("undecodable image", f"{error.__class__.__name__}: {error}"))
    return Loaded(pixels, digest, None, remarks)


def convert(pixels: Shaped[np.ndarray, "*n h w j"], k: int, dtype: np.dtype) -> Shaped[np.ndarray, "*n h w k"]:
    """Returns images with `k` channels in `dtype`: luminance (ITU-R BT.601) of RGB, gray repeated, white still white.

    In steps or at once is the same: to RGB, then to 16 bit, or the other way round.

    Args:
        pixels: uint8 or uint16 with 1 or 3 channels.
        k: 1 or 3.
        dtype: uint8, where the images are uint8, or uint16.
    """
    if k == 1 and pixels.shape[-1] == 3:
        pixels = np.rint(pixels @ np.array([0.299, 0.587, 0.114])).astype(pixels.dtype)[..., None]
    if dtype == np.uint16 and pixels.dtype == np.uint8:
        pixels = pixels.astype(np.uint16) * np.uint16(257)
    return pixels if pixels.shape[-1] == k else np.repeat(pixels, k, axis=-1)


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
