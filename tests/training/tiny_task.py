"""A task that is learned in a few steps, and a network small enough to be trained in a test."""

import functools

import flax.linen as nn
import jax
import numpy as np

from sfjax.models import Classifier, Heads, dropout, from_linen, mask_keys
from sfjax.training import Labelled


class Tiny(nn.Module):
    """One convolution with batch normalization, dropout before the linear layer."""

    num_classes: int

    def setup(self) -> None:
        self.convolution, self.norm = nn.Conv(8, (3, 3), strides=2, use_bias=False), nn.BatchNorm(momentum=0.9)
        self.classify = nn.Dense(self.num_classes)

    def prefix(self, images, keys, *, batch_statistics):
        x = nn.relu(self.norm(self.convolution(images - 0.5), use_running_average=not batch_statistics))
        return x.mean((1, 2))

    def suffix(self, hidden, keys, *, batch_statistics):
        return Heads(hidden, self.classify(dropout(hidden, mask_keys(keys, 0), 0.2)))


@functools.cache
def tiny(*, num_classes: int) -> Classifier:
    def head(variables):
        layer = variables["params"]["classify"]
        return layer["kernel"], layer["bias"]

    return from_linen(Tiny(num_classes), head=head)


def draw(n: int, seed: int) -> Labelled:
    """Bright images are of class 1."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int32) % 2
    images = rng.integers(0, 128, (n, 8, 8, 1)) + 120 * labels[:, None, None, None]
    return Labelled(images.astype(np.uint8), labels, rng.integers(0, 2**32, n, dtype=np.uint32))


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def equal(a, b) -> bool:
    """Whether two trees are equal bit for bit."""
    return all((x == y).all() for x, y in zip(leaves(a), leaves(b), strict=True))
