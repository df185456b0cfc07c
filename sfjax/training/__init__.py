"""Training of classifiers: recipes, methods, losses, augmentation and the loop.

`sfjax.training.fit` runs all stages of a method with validation, checkpoints and logs.
"""

from sfjax.training.augment import Augmentation, augment
from sfjax.training.loop import (
    DivergedError,
    Labelled,
    Progress,
    begin,
    initial_variables,
    train,
)
from sfjax.training.losses import cross_entropy
from sfjax.training.methods import METHODS, Method, Stage, with_weights
from sfjax.training.recipes import PUBLISHED, Recipe
from sfjax.training.step import TrainState

__all__ = [
    "METHODS",
    "PUBLISHED",
    "Augmentation",
    "DivergedError",
    "Labelled",
    "Method",
    "Progress",
    "Recipe",
    "Stage",
    "TrainState",
    "augment",
    "begin",
    "cross_entropy",
    "initial_variables",
    "train",
    "with_weights",
]
