"""Training of classifiers: losses, augmentation and the loop. Checkpoints are in `sfjax.training.checkpoints`."""

from sfjax.training.augment import augment
from sfjax.training.loop import Epoch, Recipe, TrainState, initial_state, train
from sfjax.training.losses import cross_entropy

__all__ = ["Epoch", "Recipe", "TrainState", "augment", "cross_entropy", "initial_state", "train"]
