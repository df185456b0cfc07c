"""What is known about a corruption besides its function."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Float

Shift = Callable[..., Float[Array, "h w k"]]
"""`(key, image, *, strength) -> image`."""

Strength = Float[Array, ""] | float


class Corruption(NamedTuple):
    """One corruption of an image, with its levels.

    Attributes:
        shift: `(key, image, *, strength) -> image`.
        strengths: Of levels 1 to 5, ascending, in the unit that `unit` names.
        unit: What strength is measured in.
        source: Where the strengths come from.
        modalities: Phantom tasks that it is natural for: dermoscopy, chest_xray, microscopy, lung_ct; empty is all.
        channels: Numbers of channels that it takes; empty is any.
    """

    shift: Shift
    strengths: tuple[float, ...]
    unit: str
    source: str
    modalities: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
