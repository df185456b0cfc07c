"""Procedural images in the style of four medical imaging tasks, with the cause of everything in them on record."""

from sfjax.phantoms.base import Factor, Phantom, Subclass
from sfjax.phantoms.generate import COUNTS, PHANTOMS, generate

__all__ = ["COUNTS", "PHANTOMS", "Factor", "Phantom", "Subclass", "generate"]
