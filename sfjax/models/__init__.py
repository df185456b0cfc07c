"""Classifiers as pure functions, and the table that names them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from sfjax.models.base import Classifier, Heads, Variables, dropout, from_linen, mask_keys
from sfjax.models.densenet import densenet121, densenet161
from sfjax.models.efficientnet import efficientnet_b4
from sfjax.models.small_cnn import small_cnn

MODELS: Final[Mapping[str, Callable[..., Classifier]]] = MappingProxyType(
    {
        "small_cnn": small_cnn,
        "densenet121": densenet121,
        "densenet161": densenet161,
        "efficientnet_b4": efficientnet_b4,
    }
)
"""Networks by name: `MODELS[name](num_classes=..., dropout_rate=..., dtype=..., checkpoint=...)`."""

__all__ = [
    "MODELS",
    "Classifier",
    "Heads",
    "Variables",
    "densenet121",
    "densenet161",
    "dropout",
    "efficientnet_b4",
    "from_linen",
    "mask_keys",
    "small_cnn",
]
