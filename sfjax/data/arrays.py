"""Images in `.npz` files: one array, or one item of an array, read without unpickling anything.

Of an array that is stored as it is (`numpy.savez`) only the item's bytes are read. A compressed one
(`numpy.savez_compressed`) must be unpacked as a whole, so the last ones used are kept.
"""

import hashlib
import math
import zipfile
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped
from numpy.lib import format as npy

from sfjax.data.image_paths import MAX_CHANNELS
from sfjax.data.pictures import Unsupported

KEPT_BYTES = 2**30
"""Of unpacked arrays together, the newest apart."""

MAX_UNPACKED_BYTES = 2**32
"""Of one compressed array."""

_kept: OrderedDict[tuple, np.ndarray] = OrderedDict()
_lock = Lock()


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    length: int


def read_image(file: str, array: str, index: int | None) -> Shaped[np.ndarray, "h w k"]:
    """Returns an image as it is stored, uint8, uint16 or float, gray with one channel.

    Args:
        file: The `.npz` file.
        array: Name in it.
        index: Along the first axis, from 0; None where the array is one image.

    Raises:
        FileNotFoundError: There is no such file.
        Unsupported: There is no such array or item, or it is no image.
        Exception: Whatever a broken file makes `zipfile` and NumPy raise.
    """
    path = Path(file)
    with path.open("rb") as raw, zipfile.ZipFile(raw) as archive:
        try:
            member = archive.getinfo(f"{array}.npy")
        except KeyError:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            raise Unsupported(f"no array {array!r} in it; there are {', '.join(names[:10])}") from None
        with archive.open(member) as packed:
            header = _header(packed)
            shape = _image_shape(header, index)
            if member.compress_type == zipfile.ZIP_STORED and not header.fortran and not member.flag_bits & 1:
                # The local header, 30 bytes with the lengths of name and extra field at 26, stands before the data.
                raw.seek(member.header_offset + 26)
                gap = int.from_bytes(raw.read(2), "little") + int.from_bytes(raw.read(2), "little")
                count = math.prod(shape)
                start = member.header_offset + 30 + gap + header.length + (index or 0) * count * header.dtype.itemsize
                raw.seek(start)
                image = np.frombuffer(raw.read(count * header.dtype.itemsize), header.dtype).reshape(shape)
            else:
                stat = path.stat()
                key = (str(path.absolute()), array, stat.st_mtime_ns, stat.st_size)
                whole = _unpacked(key, packed, header, member.file_size)
                image = whole if index is None else whole[index]
    # In the machine's order of bytes, so that one image has one hash.
    image = image.astype(image.dtype.newbyteorder("="), copy=False)
    return image[:, :, None] if image.ndim == 2 else image


def levels(image: Shaped[np.ndarray, "h w k"]) -> Shaped[np.ndarray, "h w k"]:
    """Returns an image as uint8 or uint16: floats in [0, 1] as 16 bit, others as they are.

    Raises:
        Unsupported: A float is outside of [0, 1] or not a number.
    """
    if image.dtype.kind != "f":
        return image
    if not (image.min() >= 0 and image.max() <= 1):  # false for NaN
        raise Unsupported(
            f"its values are {image.min():.4g} to {image.max():.4g}, and floats must be in [0, 1]; rescale them"
        )
    return np.rint(image * np.float64(65535)).astype(np.uint16)


def content(image: Shaped[np.ndarray, "h w k"]) -> bytes:
    """Returns what is hashed of an image that has no file of its own: its type, shape and values."""
    image = np.ascontiguousarray(image)
    return f"{image.dtype.str}{image.shape}".encode() + image.tobytes()


def sha256_of_array(image: Shaped[np.ndarray, "h w k"]) -> str:
    """Returns the hash, in hexadecimal, of an image that has no file: of its type, shape and values."""
    return hashlib.sha256(content(image)).hexdigest()


def _header(packed: Any) -> _Header:
    version = npy.read_magic(packed)
    if version not in ((1, 0), (2, 0)):
        raise Unsupported(f"its array is in NumPy's format {version}; those of numbers have 1.0 or 2.0")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(packed)
    return _Header(shape, fortran and len(shape) > 1, dtype, packed.tell())


def _image_shape(header: _Header, index: int | None) -> tuple[int, ...]:
    """Returns the shape of the image, or raises where it is none."""
    shape = header.shape if index is None else header.shape[1:]
    if header.dtype.newbyteorder("=") not in (np.uint8, np.uint16) and header.dtype.kind != "f":
        raise Unsupported(f"its array is {header.dtype}; images are uint8, uint16 or floats in [0, 1]")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] > MAX_CHANNELS) or 0 in shape:
        items = "" if index is None else "an item of "
        raise Unsupported(
            f"{items}its array of shape {header.shape} is no image (h, w) or (h, w, k), k up to {MAX_CHANNELS}; "
            "of (n, h, w) or (n, h, w, k) write ::INDEX behind the name"
        )
    if index is not None and index >= header.shape[0]:
        raise Unsupported(f"no item {index} in its array; there are {header.shape[0]}, counted from 0")
    return shape


def _unpacked(key: tuple, packed: Any, header: _Header, size: int) -> np.ndarray:
    """Returns the whole array, which is kept; others wait meanwhile, so that no two threads unpack it."""
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
        # What the header claims is compared before memory is taken.
        if size != header.length + math.prod(header.shape) * header.dtype.itemsize:
            raise Unsupported("its array is not as long as its header says")
        if size > MAX_UNPACKED_BYTES:
            raise Unsupported(f"its compressed array has {size:,} bytes; store it with numpy.savez, uncompressed")
        flat = np.frombuffer(packed.read(), header.dtype)
        _kept[key] = flat.reshape(header.shape, order="F" if header.fortran else "C")
        while len(_kept) > 1 and sum(array.nbytes for array in _kept.values()) > KEPT_BYTES:
            _kept.popitem(last=False)
        return _kept[key]
