"""DenseNet-121 and DenseNet-161 with dropout after every layer."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax.models.base import Classifier, Heads, dropout, from_linen, mask_keys
from sfjax.models.layers import (
    BatchNorm,
    at_least_float32,
    average_of_2x2,
    check_options,
    check_size,
    last_layer,
    maximum_of_3x3,
    normalize,
)

he_normal = nn.initializers.he_normal()


class DenseLayer(nn.Module):
    """`growth` new channels from all channels before, through a 1x1 convolution to four times as many and a 3x3 one."""

    growth: int
    dtype: Any = None

    def setup(self) -> None:
        self.norm1 = BatchNorm()
        self.conv1 = nn.Dense(4 * self.growth, use_bias=False, dtype=self.dtype, kernel_init=he_normal)
        self.norm2 = BatchNorm()
        self.conv2 = nn.Conv(self.growth, (3, 3), use_bias=False, dtype=self.dtype, kernel_init=he_normal)

    def __call__(
        self, features: tuple[Float[Array, "n h w _"], ...], batch_statistics: bool
    ) -> Float[Array, "n h w g"]:
        # Joined in here, so that recomputation in the backward pass spares the copies, which grow with the square of
        # the depth.
        x = jnp.concatenate(features, axis=-1)
        x = self.conv1(nn.relu(self.norm1(x, batch_statistics)))
        return self.conv2(nn.relu(self.norm2(x, batch_statistics)))


class Transition(nn.Module):
    """Half the resolution at half the channels."""

    width: int
    dtype: Any = None

    def setup(self) -> None:
        self.norm = BatchNorm()
        self.conv = nn.Dense(self.width, use_bias=False, dtype=self.dtype, kernel_init=he_normal)

    def __call__(self, x: Float[Array, "n h w c"], batch_statistics: bool) -> Float[Array, "n h2 w2 c2"]:
        # The average and the 1x1 convolution commute, and in this order the product has a quarter of the rows.
        return self.conv(average_of_2x2(nn.relu(self.norm(x, batch_statistics))))


class DenseNet(nn.Module):
    """Blocks of layers that each see all layers before them in the block.

    The first dropout mask falls on the output of the first dense layer: the stem and that layer are the prefix.

    Attributes:
        num_classes: Logits.
        dropout_rate: Share of every dense layer's output that is dropped.
        growth: Channels that a dense layer adds.
        block_sizes: Dense layers a block.
        dtype: What it computes in.
        checkpoint: Whether dense layers and transitions are computed again in the backward pass.
    """

    num_classes: int
    dropout_rate: float = 0.1
    growth: int = 32
    block_sizes: tuple[int, ...] = (6, 12, 24, 16)
    dtype: Any = None
    checkpoint: bool = False

    def setup(self) -> None:
        layer = nn.remat(DenseLayer, static_argnums=(2,)) if self.checkpoint else DenseLayer
        transition = nn.remat(Transition, static_argnums=(2,)) if self.checkpoint else Transition
        width = 2 * self.growth
        self.conv0 = nn.Conv(width, (7, 7), 2, 3, use_bias=False, dtype=self.dtype, kernel_init=he_normal)
        self.norm0 = BatchNorm()
        self.blocks = [[layer(self.growth, self.dtype) for _ in range(size)] for size in self.block_sizes]
        transitions = []
        for size in self.block_sizes[:-1]:
            width = (width + size * self.growth) // 2
            transitions.append(transition(width, self.dtype))
        self.transitions = transitions
        self.norm5 = BatchNorm()
        # Feature scores multiply by this layer's weights again, so it is not left to an accelerator's short floats.
        self.classify = nn.Dense(self.num_classes, precision=jax.lax.Precision.HIGHEST)

    def prefix(
        self, images: Float[Array, "n h w k"], keys: Key[Array, " n"] | None, *, batch_statistics: bool
    ) -> tuple[Float[Array, "n h4 w4 c"], Float[Array, "n h4 w4 g"]]:
        check_size(images, 32)
        x = nn.relu(self.norm0(self.conv0(normalize(images)), batch_statistics))
        x = maximum_of_3x3(x)
        return x, self.blocks[0][0]((x,), batch_statistics)

    def suffix(
        self,
        hidden: tuple[Float[Array, "n h4 w4 c"], Float[Array, "n h4 w4 g"]],
        keys: Key[Array, " n"] | None,
        *,
        batch_statistics: bool,
    ) -> Heads:
        x, new = hidden
        number = 0
        for i, block in enumerate(self.blocks):
            features = (x,)
            for layer in block:
                if number > 0:
                    new = layer(features, batch_statistics)
                features += (dropout(new, mask_keys(keys, number), self.dropout_rate),)
                number += 1
            x = jnp.concatenate(features, axis=-1)
            if i < len(self.transitions):
                x = self.transitions[i](x, batch_statistics)
        x = at_least_float32(nn.relu(self.norm5(x, batch_statistics))).mean((1, 2))
        return Heads(features=x, logits=self.classify(x))


@functools.cache
def densenet121(
    *, num_classes: int, dropout_rate: float = 0.1, dtype: Any = None, checkpoint: bool = False
) -> Classifier:
    """Returns DenseNet-121, of 1024 features and 8 million parameters, for images of at least 32 px.

    Args:
        num_classes: At least 2.
        dropout_rate: Share of the output of every dense layer that is dropped, in [0, 1).
        dtype: What convolutions compute in. None takes that of images and variables. With bfloat16, parameters,
            statistics, features and logits stay float32.
        checkpoint: Whether the backward pass computes dense layers again instead of keeping what they held, for memory
            that grows with the depth instead of its square. On a CPU, XLA merges the two computations again.

    Raises:
        ValueError: There are fewer than two classes, or the dropout rate is no share.

    References:
        Huang, Liu, van der Maaten, Weinberger: Densely connected convolutional networks, CVPR 2017.
    """
    check_options(num_classes, dropout_rate)
    return from_linen(
        DenseNet(num_classes=num_classes, dropout_rate=dropout_rate, dtype=dtype, checkpoint=checkpoint),
        head=last_layer,
    )


@functools.cache
def densenet161(
    *, num_classes: int, dropout_rate: float = 0.1, dtype: Any = None, checkpoint: bool = False
) -> Classifier:
    """Returns DenseNet-161, of 2208 features and 29 million parameters: see `densenet121`, whose arguments it has."""
    check_options(num_classes, dropout_rate)
    return from_linen(
        DenseNet(
            num_classes=num_classes,
            dropout_rate=dropout_rate,
            growth=48,
            block_sizes=(6, 12, 36, 24),
            dtype=dtype,
            checkpoint=checkpoint,
        ),
        head=last_layer,
    )
