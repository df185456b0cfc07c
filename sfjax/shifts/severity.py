"""How strong each level of a corruption is: data, with its source.

The study's corrupted images were made by code that was never published. One strength could be measured from stored
figures: its brighter dermoscopy images are the clean ones times 1.25. That is level 1 of `brightness`. The others are
sfjax's own choice unless a source is named, in even steps from visible to severe.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

STRENGTHS: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType(
    {
        "brightness": (0.25, 0.5, 0.75, 1.0, 1.5),
        "motion_blur": (0.05, 0.1, 0.15, 0.2, 0.25),
        "elastic": (0.01, 0.02, 0.03, 0.04, 0.05),
        # ImageNet-C (Hendrycks and Dietterich, ICLR 2019).
        "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    }
)
"""Strength of levels 1 to 5, in the unit that the corruption's docstring names."""

NUM_LEVELS: Final = 5
