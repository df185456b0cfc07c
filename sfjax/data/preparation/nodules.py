"""From radiologists' outlines to nodules, and from a nodule to slices of the CT around it.

Annotations of different radiologists are one nodule where their voxels overlap, or where their centers are closer than
the radius of a ball of the larger one's volume. Pairs are united from the most to the least overlap (Dice) and then by
distance, and a union that would have two annotations of one radiologist is left out: a nodule has at most one of each.

A nodule's cube has 64 voxels of 1 mm to a side, around the middle of what at least half of its radiologists marked. It
gives 15 slices: five next to each other along each of the three axes, the middle one where the nodule has its largest
area *along that axis*. Hounsfield units are seen through the lung window, -1350 to 150.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw
from scipy import ndimage

from sfjax.data.dicom import through_window
from sfjax.data.preparation.ct_series import Series, read_hounsfield
from sfjax.data.preparation.lidc_annotations import Annotation, Outline

SIDE = 64
"""Of a cube, in voxels and in mm."""

WINDOW_CENTER_HU, WINDOW_WIDTH_HU = -600, 1500

PLANES = ("axial", "coronal", "sagittal")
OFFSETS = (-2, -1, 0, 1, 2)
"""In mm from the middle slice: towards the feet, to higher rows, to higher columns."""

NUM_SLICES = len(PLANES) * len(OFFSETS)

_POSITION_TOLERANCE_MM = 0.01
_LARGEST_GAP = 1.5
"""Of two neighboring slices, in the series' usual distance; above it, one is missing."""


class NotCut(ValueError):
    """Why a nodule gives no slices, as a reason that many can have."""


class Marked(NamedTuple):
    """Where a nodule is, by one radiologist.

    Attributes:
        reader: Which one.
        voxels: (slice, row, column) of each voxel.
    """

    reader: int
    voxels: Int[np.ndarray, "m 3"]


def marked(annotation: Annotation, series: Series) -> Marked | None:
    """Returns the voxels inside of a radiologist's outlines, None where the series lacks an outlined slice."""
    place = {one.sop_uid: i for i, one in enumerate(series.slices)}
    positions = np.array([one.z for one in series.slices])
    inside: set[tuple[int, int, int]] = set()
    holes: set[tuple[int, int, int]] = set()
    for outline in annotation.outlines:
        i = place.get(outline.sop_uid)
        if i is None:
            i = int(np.argmin(np.abs(positions - outline.z)))
            if abs(positions[i] - outline.z) > _POSITION_TOLERANCE_MM:
                return None
        rows, columns = series.shape
        pixels = {(i, y, x) for y, x in _filled(outline) if 0 <= y < rows and 0 <= x < columns}
        inside, holes = (inside | pixels, holes) if outline.included else (inside, holes | pixels)
    return Marked(annotation.reader, np.array(sorted(inside - holes), dtype=np.int64).reshape(-1, 3))


def match(marks: Sequence[Marked], series: Series) -> list[list[int]]:
    """Returns the nodules, each as positions of its annotations, in the order of their first annotations.

    Args:
        marks: Of one scan.
        series: The scan.
    """
    sets = [set(map(tuple, mark.voxels.tolist())) for mark in marks]
    places = [_in_mm(mark.voxels, series) for mark in marks]
    centers = [place.mean(axis=0) for place in places]
    depth = float(np.median(np.diff([one.z for one in series.slices]))) if len(series.slices) > 1 else 1.0
    voxel = depth * series.spacing[0] * series.spacing[1]
    radii = [(3 * voxel * len(one) / (4 * np.pi)) ** (1 / 3) for one in sets]
    pairs = []
    for j in range(len(marks)):
        for i in range(j):
            overlap = len(sets[i] & sets[j])
            distance = float(np.linalg.norm(centers[i] - centers[j]))
            if overlap or distance < max(radii[i], radii[j]):
                pairs.append((-2 * overlap / (len(sets[i]) + len(sets[j])), distance, i, j))
    nodules = {i: [i] for i in range(len(marks))}
    of = dict(zip(nodules, nodules, strict=True))
    for _, _, i, j in sorted(pairs):
        one, other = sorted((of[i], of[j]))
        readers = {marks[k].reader for k in nodules[one]} & {marks[k].reader for k in nodules[other]}
        if one != other and not readers:
            for k in nodules[other]:
                of[k] = one
            nodules[one] += nodules.pop(other)
    return [sorted(nodule) for nodule in nodules.values()]


def cut(marks: Sequence[Marked], series: Series) -> UInt8[np.ndarray, "slices 64 64"]:
    """Returns the slices around a nodule: by plane, in each by offset.

    Axial ones have the CT's rows and columns. The rows of the others go from the head to the feet.

    Args:
        marks: Of the nodule, one a radiologist.
        series: The scan.

    Raises:
        NotCut: The nodule is larger than a cube, or a slice near it is missing or cannot be decoded.
    """
    voxels, counts = np.unique(np.concatenate([mark.voxels for mark in marks]), axis=0, return_counts=True)
    half = len(marks) / 2
    agreed = counts >= half if (counts >= half).any() else counts > 0
    places = _in_mm(voxels[agreed], series)
    low, high = places.min(axis=0), places.max(axis=0)
    if (high - low).max() > SIDE - 1:
        raise NotCut(f"a nodule larger than {SIDE} mm")
    steps = np.arange(SIDE) - (SIDE - 1) / 2
    z, y, x = ((low[axis] + high[axis]) / 2 + steps for axis in range(3))
    positions = np.array([one.z for one in series.slices])
    z = z[::-1]  # head first
    index = [
        np.interp(z, positions, np.arange(len(positions)), left=-2, right=-2),
        y / series.spacing[0],
        x / series.spacing[1],
    ]
    limits = (len(positions), *series.shape)
    crop = [_cover(of_axis, limit) for of_axis, limit in zip(index, limits, strict=True)]
    gaps = np.diff(positions)
    if len(gaps) and gaps[crop[0].start : crop[0].stop - 1].max(initial=0) > _LARGEST_GAP * np.median(gaps):
        raise NotCut("a slice missing beside the nodule")
    try:
        hounsfield = read_hounsfield(series.slices[crop[0]], crop[1], crop[2], series.shape)
    except ValueError:
        raise NotCut("a slice that cannot be decoded beside the nodule") from None
    share = np.zeros(hounsfield.shape, np.float32)
    within = voxels - [one.start for one in crop]
    seen = ((within >= 0) & (within < hounsfield.shape)).all(axis=1)
    share[tuple(within[seen].T)] = counts[seen] / len(marks)
    grid = np.meshgrid(*(of_axis - one.start for of_axis, one in zip(index, crop, strict=True)), indexing="ij")
    outside = WINDOW_CENTER_HU - WINDOW_WIDTH_HU / 2  # black, where the scan ends
    cube = ndimage.map_coordinates(hounsfield, grid, order=1, mode="constant", cval=outside)
    nodule = ndimage.map_coordinates(share, grid, order=1, mode="constant", cval=0.0)
    levels = np.rint(255 * through_window(cube, WINDOW_CENTER_HU, WINDOW_WIDTH_HU)).astype(np.uint8)
    return np.stack(
        [
            np.take(levels, middle + (-offset if axis == 0 else offset), axis)  # head first: the feet are at the end
            for axis, middle in enumerate(_middles(nodule))
            for offset in OFFSETS
        ]
    )


def _middles(nodule: Float[np.ndarray, "z y x"]) -> list[int]:
    """Returns where along each axis a nodule's area is largest: the middle of such slices, away from the cube's ends.

    Args:
        nodule: Share of the radiologists who marked each voxel.
    """
    mask = nodule >= 0.5 if (nodule >= 0.5).any() else nodule >= nodule.max()
    middles = []
    for axis in range(3):
        area = mask.sum(axis=tuple(other for other in range(3) if other != axis))
        largest = np.flatnonzero(area == area.max())
        middles.append(int(np.clip(largest[len(largest) // 2], -OFFSETS[0], SIDE - 1 - OFFSETS[-1])))
    return middles


def _cover(index: Float[np.ndarray, " n"], limit: int) -> slice:
    """Returns the part of an axis that interpolation between some places needs."""
    inside = index[(index >= 0) & (index <= limit - 1)]
    return slice(int(np.floor(inside.min())), int(np.ceil(inside.max())) + 1)


def _in_mm(voxels: Int[np.ndarray, "m 3"], series: Series) -> Float[np.ndarray, "m 3"]:
    positions = np.array([one.z for one in series.slices])
    return np.stack(
        [positions[voxels[:, 0]], voxels[:, 1] * series.spacing[0], voxels[:, 2] * series.spacing[1]], axis=1
    )


def _filled(outline: Outline) -> list[tuple[int, int]]:
    """Returns (row, column) of the pixels inside of an outline; those of the line itself where it has no inside."""
    points = np.array(outline.points, dtype=np.int64).reshape(-1, 2)
    left, top = points.min(axis=0)
    width, height = points.max(axis=0) - (left, top) + 1
    canvas = Image.new("L", (int(width), int(height)))
    line = [(int(x - left), int(y - top)) for x, y in points]
    if len(line) > 1:
        ImageDraw.Draw(canvas).polygon(line, fill=1, outline=0)
    inside = np.argwhere(np.asarray(canvas))
    pixels = inside if len(inside) else np.array([(y, x) for x, y in line])
    return [(int(y + top), int(x + left)) for y, x in pixels]
