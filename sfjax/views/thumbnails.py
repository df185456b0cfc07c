"""Small copies of images as data URIs, so that a page needs no file beside it."""

import base64
import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

PREFIX: Final = "data:image/webp;base64,"
"""How every thumbnail begins. WebP is a third of the size of JPEG here; a PDF wants JPEG (`to_jpeg`)."""


def thumbnails(
    images: Shaped[np.ndarray, "n h w k"] | Sequence[np.ndarray], *, pixels: int = 64, quality: int = 70
) -> list[str]:
    """Returns a WebP data URI of every image, in order; about 0.5 kB each at 64 pixels.

    Args:
        images: RGB, 8 bit; a sequence may have images of several sizes.
        pixels: The longer side is at most so long; small images are not enlarged.
        quality: Of the compression, 1 to 100.

    Raises:
        ValueError: The images are no 8-bit RGB images.
    """
    for position, image in enumerate(images):
        if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(
                f"Thumbnails are made from uint8 images of shape (h, w, 3); image {position} is {image.dtype} "
                f"{image.shape}. Map channels to RGB and scale to 0..255 first."
            )
    return [_encode(image, pixels, quality) for image in images]


def _encode(pixels_of_image: UInt8[np.ndarray, "h w 3"], pixels: int, quality: int) -> str:
    image = Image.fromarray(pixels_of_image)
    image.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    return PREFIX + base64.b64encode(buffer.getvalue()).decode()


def to_jpeg(uri: str, *, quality: int = 90) -> str:
    """Returns a thumbnail as the data URI of a JPEG.

    Args:
        uri: Of a WebP image.
        quality: Of the compression, 1 to 100; high, since it is the second one.
    """
    image = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(PREFIX)))).convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
