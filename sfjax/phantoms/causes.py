"""Controlled experiments: the i.i.d. test set of a phantom with one cause turned up, and everything else as it was.

Patients, subclasses, devices, every other factor and all random numbers of an image are those of the undisturbed image,
so that two settings of a dial differ in the one cause only, image by image. The far end of a dial lies far beyond what
training saw.
"""

import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8

from sfjax.phantoms.base import Phantom
from sfjax.phantoms.generate import checked, design, draw_split, drawer, generate

SPLIT: Final = "iid_test"


class Cause(NamedTuple):
    """What can be changed about the images of a test set, alone.

    Attributes:
        description: What changes in the images.
        unit: What the dial counts, as the title of an axis.
        far: The dial's last value.
        usual: Its first one, at which the images are the undisturbed ones.
        operation: What the dial does: it is added to `factors`, it magnifies the scene, or it is the share of patients
            with a rare subclass of their class.
        factors: By factor, what one unit of the dial adds to each image's own value. A factor keeps to the range of its
            law.
    """

    description: str
    unit: str
    far: float
    usual: float = 0.0
    operation: Literal["add", "magnify", "rare subclasses"] = "add"
    factors: Mapping[str, float] = MappingProxyType({})

    def dials(self, steps: int) -> tuple[float, ...]:
        """Returns so many values of the dial, evenly from the usual to the far one.

        Raises:
            ValueError: There are fewer than two.
        """
        if steps < 2:
            raise ValueError(f"A dial has the usual value and at least one other: two steps or more; got {steps}.")
        return tuple(np.linspace(self.usual, self.far, steps).round(6).tolist())


def _added(description: str, far: float, *factors: str, unit: str) -> Cause:
    """Returns a cause that adds the dial to factors, or takes it away from those whose name begins with a minus."""
    signs = {name.removeprefix("-"): -1.0 if name.startswith("-") else 1.0 for name in factors}
    return Cause(description, unit, far, factors=MappingProxyType(signs))


_RARE: Final = Cause(
    "Patients have a subclass of their class that training never saw; classes without one stay as they are.",
    "share of patients with a rare subclass",
    far=1.0,
    operation="rare subclasses",
)
_MAGNIFIED: Final = Cause(
    "The field of view shrinks: the middle of the scene is shown larger, by the same device.",
    "magnification",
    far=2.0,
    usual=1.0,
    operation="magnify",
)


def _causes(**own: Cause) -> Mapping[str, Cause]:
    return MappingProxyType(own | {"subclass_frequency": _RARE, "field_of_view": _MAGNIFIED})


CAUSES: Final[Mapping[str, Mapping[str, Cause]]] = MappingProxyType(
    {
        "dermoscopy": _causes(
            border=_added(
                "The lesion's border grows irregular, in benign lesions too.",
                0.8,
                "border_irregularity",
                unit="added border irregularity",
            ),
            color_cast=_added(
                "The light grows warm: red up, blue down.", 0.5, "warmth", unit="added warmth of the light"
            ),
            noise=_added("The sensor's noise.", 0.18, "noise", unit="added noise, standard deviation"),
        ),
        "chest_xray": _causes(
            border=_added(
                "Every border softens, as by a larger focal spot: a radiograph has no one object with a border.",
                0.08,
                "blur",
                unit="added blur, share of half the image",
            ),
            exposure=_added(
                "The film grows bright: a grey image has no color, and this is its global cast.",
                0.28,
                "exposure",
                unit="added brightness of the film",
            ),
            noise=_added("The detector's noise.", 0.16, "noise", unit="added noise, standard deviation"),
        ),
        "microscopy": _causes(
            border=_added(
                "The borders of nuclei are dented, whatever the treatment.",
                0.8,
                "nucleus_irregularity",
                unit="added irregularity of nuclei",
            ),
            color_cast=_added(
                "Every second stain is stronger and the others are weaker: the balance of the six channels.",
                0.6,
                *("stain_nuclei", "-stain_reticulum", "stain_actin", "-stain_nucleoli"),
                *("stain_mitochondria", "-stain_golgi"),
                unit="gain added to or taken from a stain",
            ),
            noise=_added("The camera's noise.", 0.25, "noise", unit="added noise, standard deviation"),
        ),
        "lung_ct": _causes(
            border=_added(
                "The nodule's border grows spiculated, in benign nodules too.",
                0.8,
                "spiculation",
                unit="added spiculation",
            ),
            window=_added(
                "The window is centered higher, and all is darker: a scan has no color, and this is its global cast.",
                0.28,
                "window_center",
                unit="added center of the window, share of its width",
            ),
            noise=_added("The scanner's noise.", 0.3, "noise", unit="added noise, standard deviation"),
        ),
    }
)
"""By task and name, what can be changed alone."""


def draw_under(
    name: str, cause: str, dial: float, *, seed: int, size: int, count: int
) -> tuple[UInt8[np.ndarray, "n h w k"], dict[str, np.ndarray]]:
    """Returns the first images of a task's i.i.d. test set under a cause, and their columns as `generate` has them.

    At the usual value of the dial they are those of `generate`, bit for bit.

    Args:
        name: A key of `PHANTOMS`.
        cause: A key of `CAUSES[name]`.
        dial: From the cause's `usual` to its `far`.
        seed: The data set's seed.
        size: Pixels a side.
        count: Number of images.

    Raises:
        ValueError: There is no such task or cause, or a number is out of its range.
    """
    counts = dict.fromkeys(("train", "val", "cal", "acquisition", "manifestation"), 0) | {SPLIT: count}
    phantom, _ = checked(name, seed, size, counts)
    if cause not in CAUSES[name]:
        raise ValueError(f"{name} has no cause {cause!r}. Use one of: {', '.join(CAUSES[name])}.")
    chosen = CAUSES[name][cause]
    if not chosen.usual <= dial <= chosen.far:
        raise ValueError(f"The dial of {cause} goes from {chosen.usual:g} to {chosen.far:g}; got {dial:g}.")
    if dial == chosen.usual:
        return generate(name, seed=seed, size=size, counts=counts)
    rows, added, zoom = design(phantom, SPLIT, count, seed), dict.fromkeys(phantom.factors, 0.0), 1.0
    if chosen.operation == "add":
        added |= {factor: sign * dial for factor, sign in chosen.factors.items()}
    elif chosen.operation == "magnify":
        zoom = dial
    else:
        rows["subclass"] = _with_rare(phantom, rows, dial, seed)
    draw = drawer(name, size, disturbed=True)
    moved = {factor: np.float32(value) for factor, value in added.items()}
    images = np.empty((count, size, size, phantom.channels), np.uint8)
    columns = draw_split(
        phantom, SPLIT, rows, lambda *of_chunk: draw(*of_chunk, moved, np.float32(zoom)), seed=seed, images=images
    )
    return images, columns


def _with_rare(phantom: Phantom, rows: Mapping[str, np.ndarray], share: float, seed: int) -> np.ndarray:
    """Returns the subclasses where `share` of the patients have a rare one of their class.

    Whoever has it at some share has it at every larger one.
    """
    label = [subclass.label for subclass in phantom.subclasses]
    rare = {subclass.label: i for i, subclass in enumerate(phantom.subclasses) if subclass.share == 0}
    usual = rows["subclass"]
    instead = np.asarray([rare.get(label[i], i) for i in range(len(label))])[usual]
    stream = np.random.default_rng([seed, zlib.crc32(f"{phantom.name} {SPLIT} rare".encode())])
    return np.where(stream.random(len(usual))[rows["patient"]] < share, instead, usual)
