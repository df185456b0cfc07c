"""A small convolutional network for small images and two CPU cores."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax.models.base import Classifier, Heads, Variables, dropout, from_linen, mask_keys

WIDTHS = (32, 64, 128)


class SmallCNN(nn.Module):
    """Three blocks of convolution, batch normalization, ReLU and 2x2 maximum; two linear layers, dropout before each.

    Squares of 2x2 pixels enter as channels: a training step takes half the time of one that convolves at full size. All
    randomness lies behind the pooling, so that a Monte Carlo pass costs two small matrix products.
    """

    num_classes: int
    dropout_rate: float = 0.3
    hidden: int = 128

    def setup(self) -> None:
        self.convolutions = [nn.Conv(width, (3, 3), use_bias=False) for width in WIDTHS]
        self.norms = [nn.BatchNorm(momentum=0.9) for _ in WIDTHS]
        self.dense = nn.Dense(self.hidden)
        # Feature scores multiply by this layer's weights again, so it is not left to an accelerator's short floats.
        self.classify = nn.Dense(self.num_classes, precision=jax.lax.Precision.HIGHEST)

    def prefix(self, images: Float[Array, "n h w k"], *, batch_statistics: bool) -> Float[Array, "n d"]:
        x = squares_as_channels((images - 0.5) / 0.25)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = maximum_of_2x2(nn.relu(norm(convolution(x), use_running_average=not batch_statistics)))
        return jnp.concatenate([x.mean((1, 2)), x.max((1, 2))], axis=-1)

    def suffix(self, hidden: Float[Array, "n e"], keys: Key[Array, " n"] | None) -> Heads:
        features = nn.relu(self.dense(dropout(hidden, mask_keys(keys, 0), self.dropout_rate)))
        return Heads(features=features, logits=self.classify(dropout(features, mask_keys(keys, 1), self.dropout_rate)))


def maximum_of_2x2(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    """Returns the maximum of each 2x2 square; an odd last row or column is left out.

    Spelled as slices because XLA's windowed maximum has a slow gradient on a CPU.
    """
    n, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)
    rows = jnp.maximum(x[:, :, 0], x[:, :, 1])
    return jnp.maximum(rows[:, :, :, 0], rows[:, :, :, 1])


def squares_as_channels(x: Float[Array, "n h w k"]) -> Float[Array, "n h2 w2 k4"]:
    """Returns each 2x2 square of pixels as one of four times the channels; an odd last row or column is left out."""
    n, h, w, k = x.shape
    squares = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, k)
    return squares.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 2, w // 2, 4 * k)


def last_layer(variables: Variables) -> tuple[Array, Array]:
    """Returns weight (d, c) and bias (c,) of the last linear layer."""
    layer = variables["params"]["classify"]
    return layer["kernel"], layer["bias"]


@functools.cache
def small_cnn(*, num_classes: int, dropout_rate: float = 0.3) -> Classifier:
    """Returns the small network for images of at least 16 px with any number of channels.

    Args:
        num_classes: At least 2.
        dropout_rate: Share of inputs dropped before each of the two linear layers, in [0, 1).
    """
    return from_linen(SmallCNN(num_classes=num_classes, dropout_rate=dropout_rate), head=last_layer)
