"""EfficientNet-B4, with stochastic depth in training and one dropout before its last layer."""

import functools
import itertools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax.models.base import Classifier, Heads, dropout, from_linen, mask_keys
from sfjax.models.layers import (
    BatchNorm,
    Depthwise,
    at_least_float32,
    check_options,
    check_size,
    last_layer,
    normalize,
)

he_normal = nn.initializers.he_normal()


class Stage(NamedTuple):
    """Blocks of one resolution: `width` channels out of each, `expansion` times those in between."""

    expansion: int
    size: int
    stride: int
    width: int
    blocks: int


B4 = (
    Stage(expansion=1, size=3, stride=1, width=24, blocks=2),
    Stage(expansion=6, size=3, stride=2, width=32, blocks=4),
    Stage(expansion=6, size=5, stride=2, width=56, blocks=4),
    Stage(expansion=6, size=3, stride=2, width=112, blocks=6),
    Stage(expansion=6, size=5, stride=1, width=160, blocks=6),
    Stage(expansion=6, size=5, stride=2, width=272, blocks=8),
    Stage(expansion=6, size=3, stride=1, width=448, blocks=2),
)


class MBConv(nn.Module):
    """An inverted residual: expansion, depthwise convolution, squeeze and excitation, projection.

    Attributes:
        inputs: Channels in.
        width: Channels out.
        expansion: Times the channels in that the depthwise convolution has.
        size: Of its filter.
        stride: Of the block.
        drop_rate: Share of images that skip the block in training, where it has a way around.
        dtype: What it computes in.
    """

    inputs: int
    width: int
    expansion: int
    size: int
    stride: int
    drop_rate: float
    dtype: Any = None

    def setup(self) -> None:
        inner = self.inputs * self.expansion
        dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=he_normal)
        if self.expansion > 1:
            self.expand = dense(inner, use_bias=False)
            self.expand_norm = BatchNorm()
        self.depthwise = Depthwise(self.size, self.stride, self.dtype)
        self.depthwise_norm = BatchNorm()
        self.squeeze = dense(max(self.inputs // 4, 1))
        self.excite = dense(inner)
        self.project = dense(self.width, use_bias=False)
        self.project_norm = BatchNorm()

    def __call__(
        self, x: Float[Array, "n h w c"], keys: Key[Array, " n"] | None, batch_statistics: bool
    ) -> Float[Array, "n h2 w2 c2"]:
        way_around = x
        if self.expansion > 1:
            x = nn.silu(self.expand_norm(self.expand(x), batch_statistics))
        x = nn.silu(self.depthwise_norm(self.depthwise(x), batch_statistics))
        x = x * nn.sigmoid(self.excite(nn.silu(self.squeeze(x.mean((1, 2), keepdims=True)))))
        x = self.project_norm(self.project(x), batch_statistics)
        if self.stride > 1 or self.inputs != self.width:
            return x
        # One draw an image: the whole block is dropped, or scaled up to keep the mean.
        return way_around + x * dropout(jnp.ones((len(x), 1, 1, 1), x.dtype), keys, self.drop_rate)


class EfficientNet(nn.Module):
    """Inverted residual blocks behind a stem of stride 2.

    All randomness of Monte Carlo dropout lies before the last layer, so that a pass costs one small matrix product.

    Attributes:
        num_classes: Logits.
        dropout_rate: Share of the features that is dropped before the last layer.
        stem: Channels of the stem.
        stages: Its blocks.
        top: Features.
        drop_rate: Of stochastic depth, which grows from 0 at the first block towards this.
        dtype: What it computes in.
        checkpoint: Whether blocks are computed again in the backward pass.
    """

    num_classes: int
    dropout_rate: float = 0.2
    stem: int = 48
    stages: tuple[Stage, ...] = B4
    top: int = 1792
    drop_rate: float = 0.2
    dtype: Any = None
    checkpoint: bool = False

    def setup(self) -> None:
        self.conv0 = nn.Conv(self.stem, (3, 3), 2, 1, use_bias=False, dtype=self.dtype, kernel_init=he_normal)
        self.norm0 = BatchNorm()
        block = nn.remat(MBConv, static_argnums=(3,)) if self.checkpoint else MBConv
        inputs, number, total = self.stem, 0, sum(stage.blocks for stage in self.stages)
        blocks: list[list[MBConv]] = [[] for _ in self.stages]
        for stage, of_stage in zip(self.stages, blocks, strict=True):
            for i in range(stage.blocks):
                stride, drop_rate = stage.stride if i == 0 else 1, self.drop_rate * number / total
                of_stage.append(
                    block(inputs, stage.width, stage.expansion, stage.size, stride, drop_rate, dtype=self.dtype)
                )
                inputs, number = stage.width, number + 1
        self.blocks = blocks
        self.conv1 = nn.Dense(self.top, use_bias=False, dtype=self.dtype, kernel_init=he_normal)
        self.norm1 = BatchNorm()
        # Feature scores multiply by this layer's weights again, so it is not left to an accelerator's short floats.
        self.classify = nn.Dense(self.num_classes, precision=jax.lax.Precision.HIGHEST)

    def prefix(
        self, images: Float[Array, "n h w k"], keys: Key[Array, " n"] | None, *, batch_statistics: bool
    ) -> Float[Array, "n d"]:
        check_size(images, 32)
        x = nn.silu(self.norm0(self.conv0(normalize(images)), batch_statistics))
        for number, block in enumerate(itertools.chain(*self.blocks), start=1):
            x = block(x, mask_keys(keys, number), batch_statistics)
        x = nn.silu(self.norm1(self.conv1(x), batch_statistics))
        return at_least_float32(x).mean((1, 2))

    def suffix(self, hidden: Float[Array, "n d"], keys: Key[Array, " n"] | None, *, batch_statistics: bool) -> Heads:
        dropped = dropout(hidden, mask_keys(keys, 0), self.dropout_rate)
        return Heads(features=hidden, logits=self.classify(dropped))


@functools.cache
def efficientnet_b4(
    *, num_classes: int, dropout_rate: float = 0.2, dtype: Any = None, checkpoint: bool = False
) -> Classifier:
    """Returns EfficientNet-B4, of 1792 features and 18 million parameters, for images of at least 32 px.

    Args:
        num_classes: At least 2.
        dropout_rate: Share of the features that is dropped before the last layer, in [0, 1). Stochastic depth has a
            rate of its own, 0.2 at the last block, and acts in training only.
        dtype: What convolutions compute in. None takes that of images and variables. With bfloat16, parameters,
            statistics, features and logits stay float32.
        checkpoint: Whether the backward pass computes blocks again instead of keeping what they held, for memory. On a
            CPU, XLA merges the two computations again.

    Raises:
        ValueError: There are fewer than two classes, or the dropout rate is no share.

    References:
        Tan, Le: EfficientNet: rethinking model scaling for convolutional neural networks, ICML 2019.
        Huang, Sun, Liu, Sedra, Weinberger: Deep networks with stochastic depth, ECCV 2016.
    """
    check_options(num_classes, dropout_rate)
    return from_linen(
        EfficientNet(num_classes=num_classes, dropout_rate=dropout_rate, dtype=dtype, checkpoint=checkpoint),
        head=last_layer,
    )
