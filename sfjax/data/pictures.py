"""Pictures as Pillow images of three modes, and one of them cut to a square: what all forms of images go through.

The modes are `L` and `RGB` for 8 bit, and `F` with values from 0 to 65535 for 16 bit: floats hold those exactly, while
resampling of Pillow's `I;16` differs between its versions.
"""

import io

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
"""What Pillow may try."""

_CUT = "cut to a square, losing more than a tenth of their area"
_ENLARGED = "smaller than the working size and were enlarged"
_REDUCED = "16-bit color, of which 8 bit are read"


class Unsupported(ValueError):
    """A file that can be read, but gives no image without a choice that is the user's."""


def picture(data: bytes) -> tuple[Image.Image, frozenset[str]]:
    """Returns the picture, upright, of a file's bytes in mode L, RGB or F, and what of it was not read.

    Raises:
        Unsupported: It is several pictures, partly transparent, or neither gray nor RGB.
        Exception: Whatever Pillow raises of a broken file.
    """
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # MPO: a camera's JPEG with a preview behind the picture
        raise Unsupported(f"{frames} pictures in one file; store each in its own")
    layout = str(image.tile[0].args).partition(",")[0] if image.tile else ""  # the file's own, gone after load()
    reduced = ";16" in layout and not image.mode.startswith("I")
    inverted = image.mode.startswith("I;16") and _is_min_is_white(image)
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    image = _gray_or_rgb(image)
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.float32)
        image = Image.fromarray(65535 - levels if inverted else levels)
    return image, frozenset([_REDUCED] if reduced else [])


def from_array(pixels: Shaped[np.ndarray, "h w k"]) -> tuple[Image.Image, ...]:
    """Returns uint8 or uint16 pixels as pictures: one of RGB, or one of each channel."""
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return (Image.fromarray(np.ascontiguousarray(pixels)),)
    pixels = pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)
    return tuple(Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(pixels, -1, 0))


def square(image: Image.Image, size: int) -> tuple[Shaped[np.ndarray, "{size} {size} k"], frozenset[str]]:
    """Returns the center of a picture, resized with antialiasing, as uint8 or uint16, and what was done to it.

    Args:
        image: In mode L, RGB or F.
        size: Side in pixels.
    """
    side = min(image.size)
    remarks = set()
    if side**2 < 0.9 * image.width * image.height:
        remarks.add(_CUT)
    if side < size:
        remarks.add(_ENLARGED)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))
    if image.mode == "F":
        pixels = np.rint(pixels).clip(0, 65535).astype(np.uint16)
    return pixels.reshape(size, size, -1), frozenset(remarks)


def _gray_or_rgb(image: Image.Image) -> Image.Image:
    """Returns the image in mode L, RGB or one of 16-bit gray, or raises where that needs a choice."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return image  # older Pillow gives 16-bit PNG as I
    if image.mode not in ("1", "L", "P", "RGB", "RGBX", "LA", "PA", "RGBA", "YCbCr"):
        raise Unsupported(f"pixel mode {image.mode} is neither gray nor RGB of 8 or 16 bit; convert the file")
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("L", "LA", "1") else "RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            raise Unsupported("it is partly transparent; store it on a background")
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
