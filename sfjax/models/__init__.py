"""Classifiers as pure functions, and the table that names them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from sfjax.models.base import Classifier, Heads, Variables, dropout, from_linen, mask_keys
from sfjax.models.small_cnn import small_cnn

MODELS: Final[Mapping[str, Callable[..., Classifier]]] = MappingProxyType({"small_cnn": small_cnn})
"""Networks by name: `MODELS[name](num_classes=...)`."""

__all__ = ["MODELS", "Classifier", "Heads", "Variables", "dropout", "from_linen", "mask_keys", "small_cnn"]
