"""One image to one array, whatever its `image_path` names: a picture, one file a channel, DICOM, or an array in `.npz`.

Every image is turned upright (EXIF), its shorter side resized to `size` with antialiasing and its center cut out. The
aspect ratio is kept because shape is diagnostic and because squeezing would make a shift of its own between cameras of
different formats; where much is cut off, that is noted. Gray levels are never stretched: the full range of the file's
type is 0 to 1 (of DICOM see `dicom`).
"""

import hashlib
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from sfjax.data import arrays
from sfjax.data.dicom import decode_dicom, is_dicom
from sfjax.data.image_paths import Source, sources
from sfjax.data.pictures import Unsupported, from_array, picture, square


class Problem(NamedTuple):
    """Why a file gave no image: `kind` is a key of `sfjax.data.findings.REMEDIES`."""

    kind: str
    detail: str


class Loaded(NamedTuple):
    """What one image path names.

    Attributes:
        pixels: uint8 or uint16, shape (size, size, k); None where there is a problem.
        sha256: Hash in hexadecimal of the file's bytes, of those of all files in the order of the channels, or of an
            array's type, shape and values; "" where they could not be read.
        problem: Why there are no pixels.
        remarks: What was done to the image that a person should know.
    """

    pixels: np.ndarray | None
    sha256: str
    problem: Problem | None = None
    remarks: frozenset[str] = frozenset()


def load(path: str | PathLike[str], size: int) -> Loaded:
    """Returns the image of a path, or why there is none, and the hash of its content in both cases.

    Args:
        path: In one of the forms of `sfjax.data.image_paths`.
        size: Side of the square image in pixels.
    """
    try:
        named = sources(fspath(path))
    except ValueError as error:
        return Loaded(None, "", Problem("undecodable image", str(error)))
    contents: list[bytes | np.ndarray] = []
    for source in named:
        try:
            contents.append(_content(source))
        except FileNotFoundError:
            return Loaded(None, "", Problem("missing file", "no such file" + _which(source, named)))
        except OSError as error:
            detail = f"the file cannot be opened: {error.strerror}{_which(source, named)}"
            return Loaded(None, "", Problem("undecodable image", detail))
        except Exception as error:  # of an array in a broken file; the text goes into the report
            return Loaded(None, "", Problem("undecodable image", _reason(error) + _which(source, named)))
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content if isinstance(content, bytes) else arrays.content(content))
    images: list[Image.Image] = []
    remarks: set[str] = set()
    for source, content in zip(named, contents, strict=True):
        try:
            decoded, said = _decode(source, content)
            if len(named) > 1:
                _check_channel(decoded, images)
            images += decoded
            remarks |= said
        except Exception as error:  # decoders of broken files raise anything; the text goes into the report
            problem = Problem("undecodable image", _reason(error) + _which(source, named))
            return Loaded(None, digest.hexdigest(), problem)
    pixels, said = zip(*(square(image, size) for image in images), strict=True)
    return Loaded(_stacked(pixels), digest.hexdigest(), None, frozenset(remarks.union(*said)))


def convert(pixels: Shaped[np.ndarray, "*n h w j"], k: int, dtype: np.dtype) -> Shaped[np.ndarray, "*n h w k"]:
    """Returns images with `k` channels in `dtype`: luminance (ITU-R BT.601) of RGB, gray repeated, white still white.

    In steps or at once is the same: to RGB, then to 16 bit, or the other way round.

    Args:
        pixels: uint8 or uint16.
        k: 1 or 3 where the images have 1 or 3 channels; else as many as they have.
        dtype: uint8, where the images are uint8, or uint16.

    Raises:
        ValueError: There is no rule that makes so many channels of these.
    """
    if not convertible(pixels.shape[-1], k):
        raise ValueError(
            f"Images of {pixels.shape[-1]} channels cannot be made ones of {k}: only gray and RGB become each other. "
            "Choose channels when the files are written."
        )
    if k == 1 and pixels.shape[-1] == 3:
        pixels = np.rint(pixels @ np.array([0.299, 0.587, 0.114])).astype(pixels.dtype)[..., None]
    if dtype == np.uint16 and pixels.dtype == np.uint8:
        pixels = pixels.astype(np.uint16) * np.uint16(257)
    return pixels if pixels.shape[-1] == k else np.repeat(pixels, k, axis=-1)


def convertible(j: int, k: int) -> bool:
    """Returns whether images of j channels can be made ones of k."""
    return j == k or {j, k} == {1, 3}


def _content(source: Source) -> bytes | np.ndarray:
    """Returns what is hashed and decoded: a file's bytes, or the image in an `.npz` file."""
    if source.array is not None:
        return arrays.read_image(source.file, source.array, source.item)
    return Path(source.file).read_bytes()


def _decode(source: Source, content: bytes | np.ndarray) -> tuple[tuple[Image.Image, ...], frozenset[str]]:
    """Returns the pictures that an image's channels are in, and what of them was not read."""
    if not isinstance(content, bytes):
        return from_array(arrays.levels(content)), frozenset()
    if is_dicom(content):
        return from_array(decode_dicom(content, source.window)), frozenset()
    if source.window is not None:
        raise Unsupported("a window is of DICOM files, and this is none")
    image, remarks = picture(content)
    return (image,), remarks


def _check_channel(decoded: Sequence[Image.Image], before: Sequence[Image.Image]) -> None:
    if len(decoded) > 1 or decoded[0].mode == "RGB":
        raise Unsupported("it has several channels, and where a row names one file a channel, each has one: convert it")
    if before and decoded[0].size != before[0].size:
        (width, height), (first_width, first_height) = decoded[0].size, before[0].size
        raise Unsupported(
            f"it has {width} x {height} pixels, and the first channel {first_width} x {first_height}: channels of one "
            "image have one size"
        )


def _stacked(pixels: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the channels as one image, of 16 bit if one of them is."""
    if len(pixels) == 1:
        return pixels[0]
    dtype = np.result_type(*pixels)
    return np.concatenate([convert(channel, channel.shape[2], dtype) for channel in pixels], axis=2)


def _which(source: Source, named: Sequence[Source]) -> str:
    """Returns which of several files a problem is about; of one file, the row says it."""
    return f" ({PurePath(source.file).name}, channel {named.index(source) + 1})" if len(named) > 1 else ""


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not a PNG, JPEG, TIFF or BMP file"
    if isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
        return f"more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels, Pillow's limit against decompression bombs"
    return str(error) if isinstance(error, Unsupported) else f"{error.__class__.__name__}: {error}"
