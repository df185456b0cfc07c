"""From original downloads, in the layout that providers ship, to one table a task with one row an image."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sfjax.data.preparation import chest_xray, dermoscopy, histopathology, lung_ct, microscopy
from sfjax.data.preparation.base import Account, HoldOut, Needed, Preparation, Progress, TrainingSet
from sfjax.data.preparation.finish import Prepared, located, prepare

PREPARATIONS: Final[Mapping[str, Preparation]] = MappingProxyType(
    {
        module.PREPARATION.name: module.PREPARATION
        for module in (dermoscopy, chest_xray, microscopy, lung_ct, histopathology)
    }
)

__all__ = [
    "PREPARATIONS",
    "Account",
    "HoldOut",
    "Needed",
    "Preparation",
    "Prepared",
    "Progress",
    "TrainingSet",
    "located",
    "prepare",
]
