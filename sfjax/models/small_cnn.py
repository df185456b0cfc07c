"""A small convolutional network for small images and two CPU cores."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax.models.base import Classifier, Heads, dropout, from_linen, mask_keys
from sfjax.models.layers import BatchNorm, at_least_float32, check_options, check_size, last_layer, maximum_of_2x2

WIDTHS = (32, 64, 128)


class SmallCNN(nn.Module):
    """Three blocks of convolution, batch normalization, ReLU and 2x2 maximum; two linear layers, dropout before each.

    Squares of 2x2 pixels enter as channels: a training step takes half the time of one that convolves at full size. All
    randomness lies behind the pooling, so that a Monte Carlo pass costs two small matrix products.
    """

    num_classes: int
    dropout_rate: float = 0.3
    hidden: int = 128
    dtype: Any = None
    checkpoint: bool = False

    def setup(self) -> None:
        self.convolutions = [nn.Conv(width, (3, 3), use_bias=False, dtype=self.dtype) for width in WIDTHS]
        self.norms = [BatchNorm() for _ in WIDTHS]
        self.dense = nn.Dense(self.hidden, dtype=self.dtype)
        # Feature scores multiply by this layer's weights again, so it is not left to an accelerator's short floats.
        self.classify = nn.Dense(self.num_classes, precision=jax.lax.Precision.HIGHEST)

    def prefix(
        self, images: Float[Array, "n h w k"], keys: Key[Array, " n"] | None, *, batch_statistics: bool
    ) -> Float[Array, "n d"]:
        check_size(images, 16)
        x = squares_as_channels((images - 0.5) / 0.25)
        block = nn.remat(_block, static_argnums=(2, 3)) if self.checkpoint else _block
        for i in range(len(WIDTHS)):
            x = block(self, x, i, batch_statistics)
        return jnp.concatenate([x.mean((1, 2)), x.max((1, 2))], axis=-1)

    def suffix(self, hidden: Float[Array, "n e"], keys: Key[Array, " n"] | None, *, batch_statistics: bool) -> Heads:
        features = at_least_float32(nn.relu(self.dense(dropout(hidden, mask_keys(keys, 0), self.dropout_rate))))
        return Heads(features=features, logits=self.classify(dropout(features, mask_keys(keys, 1), self.dropout_rate)))


def _block(network: SmallCNN, x: Float[Array, "n h w c"], i: int, batch_statistics: bool) -> Float[Array, "n h2 w2 c2"]:
    x = network.norms[i](network.convolutions[i](x), batch_statistics)
    return maximum_of_2x2(nn.relu(x))


def squares_as_channels(x: Float[Array, "n h w k"]) -> Float[Array, "n h2 w2 k4"]:
    """Returns each 2x2 square of pixels as one of four times the channels; an odd last row or column is left out."""
    n, h, w, k = x.shape
    squares = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, k)
    return squares.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 2, w // 2, 4 * k)


@functools.cache
def small_cnn(
    *, num_classes: int, dropout_rate: float = 0.3, dtype: Any = None, checkpoint: bool = False
) -> Classifier:
    """Returns the small network for images of at least 16 px with any number of channels.

    Args:
        num_classes: At least 2.
        dropout_rate: Share of inputs dropped before each of the two linear layers, in [0, 1).
        dtype: What convolutions and the first linear layer compute in. None takes that of images and variables. With
            bfloat16, parameters, statistics, features and logits stay float32.
        checkpoint: Whether the backward pass computes blocks again instead of keeping what they held, for memory. On a
            CPU, XLA merges the two computations again.

    Raises:
        ValueError: There are fewer than two classes, or the dropout rate is no share.
    """
    check_options(num_classes, dropout_rate)
    return from_linen(
        SmallCNN(num_classes=num_classes, dropout_rate=dropout_rate, dtype=dtype, checkpoint=checkpoint),
        head=last_layer,
    )
