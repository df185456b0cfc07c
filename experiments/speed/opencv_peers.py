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


def _shaded(image: Pixels, mask: Pixels) -> Pixels:
    return cv2.multiply(image, cv2.merge([mask] * image.shape[2]))


def _hair(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    side, mask = min(image.shape[:2]), np.full(image.shape[:2], 255, np.uint8)
    for _ in range(round(strength)):
        along = np.linspace(-0.4, 0.4, 20) * side
        angle, bend, start = rng.uniform(0, np.pi), rng.uniform(-0.9, 0.9), rng.uniform(0, side, 2)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        points = np.stack([along, bend * along**2 / side], -1) @ turn + start
        cv2.polylines(mask, [np.round(points * 16).astype(np.int32)], False, 40, 2, cv2.LINE_AA, 4)
    return _shaded(image, mask.astype(np.float32) / 255)


def _bubbles(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    h, w, _ = image.shape
    dark, light = np.zeros((2, h, w), np.uint8)
    for _ in range(round(strength)):
        center, radius = (int(rng.uniform(0, w)), int(rng.uniform(0, h))), int(rng.uniform(0.015, 0.085) * min(h, w))
        cv2.circle(light, center, radius, 30, -1, cv2.LINE_AA)
        cv2.circle(dark, center, radius, 140, 2, cv2.LINE_AA)
        cv2.circle(light, center, max(radius - 2, 1), 115, 2, cv2.LINE_AA)
    shaded = _shaded(image, 1 - dark.astype(np.float32) / 255)
    rims = cv2.merge([light.astype(np.float32) / 255] * 3)
    return cv2.add(shaded, cv2.multiply(rims, cv2.subtract(np.ones_like(shaded), shaded)))


def _ruler(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    h, w, _ = image.shape
    mask, first = np.full((h, w), 255, np.uint8), int(rng.uniform(0, 10))
    for number, x in enumerate(range(first, w, round(0.05 * min(h, w)))):
        length = strength * h * (1 if number % 10 == 0 else 0.75 if number % 5 == 0 else 0.5)
        cv2.line(mask, (x, round(0.03 * h)), (x, round(0.03 * h + length)), 25, 2, cv2.LINE_AA)
    return _shaded(image, mask.astype(np.float32) / 255)


def _ink(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    h, w, _ = image.shape
    line, side = np.zeros((h, w), np.uint8), min(h, w)
    turn, start = 360 * strength / (2 * np.pi * 0.34), rng.uniform(0, 360)
    axes = (round(0.34 * side), round(0.32 * side))
    cv2.ellipse(line, (w // 2, h // 2), axes, 0, start, start + turn, 255, round(0.035 * side), cv2.LINE_AA)
    patches = cv2.resize(rng.uniform(0.5, 1.1, (40, 40)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC)
    density = cv2.multiply(line.astype(np.float32) / 255, patches)
    return cv2.multiply(image, cv2.exp(cv2.merge([-share * density for share in (1.0, 1.5, 0.45)])))


def _dermoscope_corner(image: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    h, w, _ = image.shape
    mask = np.full((h, w), 8, np.uint8)
    cv2.circle(mask, (w // 2, h // 2), round((1 - strength) * np.hypot(h, w) / 2), 255, -1, cv2.LINE_AA)
    return _shaded(image, mask.astype(np.float32) / 255)


def _stain_shift(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    stains = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    factor = np.diag([*np.exp(strength * rng.standard_normal(2)), 1.0])
    change = np.linalg.inv(stains) @ factor @ stains
    density = cv2.log(cv2.max(image, 1 / 255))  # pyright: ignore[reportCallIssue, reportArgumentType]
    return cv2.exp(cv2.transform(density, change.T.astype(np.float32)))


def _ct_noise(image: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    white, side = cv2.randn(np.empty(image.shape[:2], np.float32), 0, 1), min(image.shape[:2])  # pyright: ignore
    grain = cv2.subtract(cv2.GaussianBlur(white, (0, 0), 0.007 * side), cv2.GaussianBlur(white, (0, 0), 0.014 * side))
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    organ = cv2.sqrt(cv2.GaussianBlur(gray, (0, 0), 0.06 * side))
    return cv2.scaleAdd(cv2.merge([cv2.multiply(grain, organ)] * 3), 5 * strength, image)


def _xray_exposure(image: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    inside = cv2.min(cv2.max(image, 0.002), 0.998)  # pyright: ignore[reportCallIssue, reportArgumentType]
    odds = cv2.log(cv2.divide(inside, cv2.subtract(np.ones_like(inside), inside)))
    noise = cv2.randn(np.empty(image.shape[:2], np.float32), strength, 0.1 * strength)  # pyright: ignore
    grown = cv2.exp(cv2.subtract(odds, cv2.merge([noise] * 3)))
    return cv2.divide(grown, cv2.add(np.ones_like(grown), grown))


def _xray_grid(image: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    h, w, _ = image.shape
    place = np.linspace(0, 1, w, dtype=np.float32)
    lost = strength * (place + 0.175 * (1 + np.cos(2 * np.pi * place / 0.03, dtype=np.float32)))
    inside = cv2.min(cv2.max(image, 0.002), 0.998)  # pyright: ignore[reportCallIssue, reportArgumentType]
    odds = cv2.divide(inside, cv2.subtract(np.ones_like(inside), inside))
    grown = _shaded(odds, np.repeat(np.exp(1.1 * lost)[None], h, 0))
    return cv2.divide(grown, cv2.add(np.ones_like(grown), grown))


def _bleed_through(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    leak = np.eye(3) + strength * (np.diag(rng.uniform(0.5, 1, 2), 1) + np.diag(rng.uniform(0, 0.25, 2), -1))
    return cv2.transform(image, leak.T.astype(np.float32))


def _illumination_field(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    h, w, _ = image.shape
    coarse = rng.uniform(0, 1, (4, 4)).astype(np.float32)
    smooth = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)
    field = cv2.normalize(smooth, np.empty_like(smooth), 1 - strength, 1, cv2.NORM_MINMAX)
    return _shaded(image, field)


def _defocused_cells(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    h, w, _ = image.shape
    coarse = rng.uniform(0, 1, (5, 5)).astype(np.float32)
    share = cv2.merge([cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)] * 3)
    result = image
    for sigma in (0.5 * strength, strength):
        blurred = cv2.GaussianBlur(image, (0, 0), sigma * min(h, w))
        result = cv2.add(result, cv2.multiply(share, cv2.subtract(blurred, result)))
    return result


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
        "hair": Peer("cv2.polylines, multiply", _hair, same=False),
        "bubbles": Peer("cv2.circle, multiply, add", _bubbles, same=False),
        "ruler": Peer("cv2.line, multiply", _ruler, same=False),
        "ink": Peer("cv2.ellipse, resize, exp, multiply", _ink, same=False),
        "dermoscope_corner": Peer("cv2.circle, multiply", _dermoscope_corner, same=False),
        "stain_shift": Peer("cv2.log, transform, exp", _stain_shift, same=False),
        "ct_noise": Peer("cv2.randn, GaussianBlur", _ct_noise, same=False),
        "ct_window": Peer("cv2.addWeighted", lambda x, s, _: cv2.addWeighted(x, 1 + s, x, 0, -s), same=False),
        "xray_exposure": Peer("cv2.log, randn, exp, divide", _xray_exposure, same=False),
        "xray_grid": Peer("cv2.divide, multiply", _xray_grid, same=False),
        "bleed_through": Peer("cv2.transform", _bleed_through, same=False),
        "illumination_field": Peer("cv2.resize, multiply", _illumination_field, same=False),
        "defocused_cells": Peer("cv2.GaussianBlur, resize, multiply", _defocused_cells, same=False),
    }
)
"""By the names of `SHIFTS`; where OpenCV has no such operation, NumPy's."""
