"""The corruptions of `sfjax.shifts` as one would write them with OpenCV, of one float32 image at a time."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import cv2
import numpy as np

from sfjax.shifts import blur, color, geometry

Pixels = np.ndarray[Any, Any]


class Peer(NamedTuple):
    """How one corruption is made without sfjax.

    Attributes:
        what: The operation, for the table.
        run: (image, strength, generator) to image.
        same: Whether it gives the same image but for edges and rounding; otherwise it draws numbers of its own.
    """

    what: str
    run: Callable[[Pixels, float, np.random.Generator], Pixels]
    same: bool = True


def describe() -> str:
    """Returns the version and the threads of OpenCV."""
    return f"OpenCV {version('opencv-python-headless')}, threads: {cv2.getNumThreads()}."


def _multiply(image: Pixels, factor: float) -> Pixels:
    return cv2.multiply(image, (factor,) * 4)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _contrast(image: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    return cv2.add(_multiply(image, 1 - strength), tuple(strength * mean for mean in cv2.mean(image)))  # pyright: ignore[reportCallIssue, reportArgumentType]


def _vignetting(image: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    h, w, k = image.shape
    squares = np.square(np.linspace(-1, 1, h))[:, None] * (h - 1) ** 2 + np.square(np.linspace(-1, 1, w)) * (w - 1) ** 2
    light = (1 - strength * squares / ((h - 1) ** 2 + (w - 1) ** 2)).astype(np.float32)
    return cv2.multiply(image, cv2.merge([light] * k))


def _hue(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    angle = 2 * np.pi * strength * rng.choice((-1, 1))
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    return cv2.transform(image, (np.linalg.inv(color.YIQ) @ turn @ color.YIQ).astype(np.float32))


def _saturation(image: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, 1 - strength, grey, strength, 0)


def _motion_blur(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    length, angle = strength * min(image.shape[:2]), rng.uniform(0, np.pi)
    reach = int(length / 2) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for at in np.linspace(-length / 2, length / 2, blur.BLUR_TAPS):
        y, x = reach + at * np.sin(angle), reach + at * np.cos(angle)
        top, left = min(int(y), 2 * reach - 1), min(int(x), 2 * reach - 1)
        kernel[top : top + 2, left : left + 2] += np.outer((1 - y + top, y - top), (1 - x + left, x - left))
    return cv2.filter2D(image, -1, kernel / blur.BLUR_TAPS, borderType=cv2.BORDER_REPLICATE)


def _gaussian_blur(image: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    return cv2.GaussianBlur(image, (0, 0), strength * min(image.shape[:2]), borderType=cv2.BORDER_REFLECT)


def _defocus(image: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    radius = strength * min(image.shape[:2])
    at = np.arange(-int(radius) - 1, int(radius) + 2)
    kernel = np.clip(radius + 0.5 - np.hypot(at[:, None], at[None, :]), 0, 1).astype(np.float32)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def _elastic(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    h, w, _ = image.shape
    coarse = rng.standard_normal((geometry.ELASTIC_GRID, geometry.ELASTIC_GRID, 2), np.float32)
    field = strength * min(h, w) * cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[:h, :w].astype(np.float32)
    return cv2.remap(
        image, columns + field[..., 1], rows + field[..., 0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _normal(image: Pixels) -> Pixels:
    return cv2.randn(np.empty_like(image), 0, 1)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _jpeg(image: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    quality = round(50 / strength if strength >= 1 else 100 - 50 * strength)
    bytes_of = cv2.convertScaleAbs(image, alpha=255)
    stored = cv2.imencode(".jpg", bytes_of[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    read = cv2.imdecode(stored, cv2.IMREAD_COLOR)
    return np.asarray(read)[..., ::-1].astype(np.float32) / 255


def _pixelation(image: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    h, w, _ = image.shape
    small = (round(w * (1 - strength)), round(h * (1 - strength)))
    return cv2.resize(cv2.resize(image, small, interpolation=cv2.INTER_AREA), (w, h), interpolation=cv2.INTER_NEAREST)


def _letter(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    height = strength * min(image.shape[:2])
    start = (int(rng.uniform(0, 20)), int(height + rng.uniform(0, 20)))
    mark, width = np.zeros(image.shape[:2], np.uint8), max(1, round(0.18 * height))
    cv2.putText(mark, "R", start, cv2.FONT_HERSHEY_SIMPLEX, height / 22, 255, width, cv2.LINE_AA)
    return cv2.max(image, cv2.merge([mark.astype(np.float32) / 255] * image.shape[2]))


PEERS: Final[Mapping[str, Peer]] = MappingProxyType(
    {
        "brightness": Peer("cv2.multiply", lambda image, strength, _: _multiply(image, 1 + strength)),
        "darkness": Peer("cv2.multiply", lambda image, strength, _: _multiply(image, 1 / (1 + strength))),
        "contrast": Peer("cv2.mean, multiply, add", _contrast),
        "gamma": Peer("cv2.pow", lambda image, strength, _: cv2.pow(image, 1 + strength)),
        "vignetting": Peer("cv2.multiply with a mask", _vignetting),
        "hue": Peer("cv2.transform", _hue, same=False),
        "saturation": Peer("cv2.cvtColor, addWeighted", _saturation),
        "motion_blur": Peer("cv2.filter2D, the same taps", _motion_blur, same=False),
        "gaussian_blur": Peer("cv2.GaussianBlur", _gaussian_blur),
        "defocus": Peer("cv2.filter2D with a disk", _defocus),
        "elastic": Peer("cv2.resize of the field, remap", _elastic, same=False),
        "gaussian_noise": Peer("cv2.randn, add", lambda x, s, _: cv2.scaleAdd(_normal(x), s, x), same=False),
        "shot_noise": Peer(
            "NumPy's Poisson", lambda x, s, rng: (rng.poisson(x / s**2) * s**2).astype(np.float32), same=False
        ),
        "speckle_noise": Peer(
            "cv2.randn, multiply, add", lambda x, s, _: cv2.scaleAdd(cv2.multiply(_normal(x), x), s, x), same=False
        ),
        "jpeg": Peer("cv2.imencode, imdecode", _jpeg),
        "pixelation": Peer("cv2.resize, area and nearest", _pixelation),
        "letter": Peer("cv2.putText, max", _letter, same=False),
    }
)
"""By the names of `SHIFTS`; where OpenCV has no such operation, NumPy's."""
