"""Procedural images in the style of four medical imaging tasks, with the cause of everything in them on record."""

from sfjax.phantoms.base import Factor, Phantom, Subclass
from sfjax.phantoms.causes import CAUSES, Cause, draw_under
from sfjax.phantoms.generate import COUNTS, PHANTOMS, generate

__all__ = ["CAUSES", "COUNTS", "PHANTOMS", "Cause", "Factor", "Phantom", "Subclass", "draw_under", "generate"]
