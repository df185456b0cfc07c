"""What the networks are made of, in the formulations that are fast on a CPU and on accelerators."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from sfjax.models.base import Variables

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def check_options(num_classes: int, dropout_rate: float) -> None:
    """Raises a `ValueError` unless a network can have so many classes and such a dropout rate."""
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, and it is {num_classes}. Two classes have two logits here.")
    if not 0 <= dropout_rate < 1:
        raise ValueError(f"dropout_rate must be in [0, 1), and it is {dropout_rate}. It is the share that is dropped.")


def check_size(images: Float[Array, "n h w k"], smallest: int) -> None:
    """Raises a `ValueError` if a side of the images is shorter than `smallest` pixels."""
    if min(images.shape[1:3]) < smallest:
        raise ValueError(
            f"This network takes images of at least {smallest} x {smallest} px, and they are {images.shape[1]} x "
            f"{images.shape[2]}. Enlarge them."
        )


def last_layer(variables: Variables) -> tuple[Array, Array]:
    """Returns weight (d, c) and bias (c,) of the linear layer that is named `classify`."""
    layer = variables["params"]["classify"]
    return layer["kernel"], layer["bias"]


def normalize(images: Float[Array, "n h w k"]) -> Float[Array, "n h w k"]:
    """Returns images in [0, 1] as pretrained networks want them: ImageNet's mean 0 and standard deviation 1 a channel.

    Three channels are red, green and blue. Any other number of channels all get the means of those three numbers.
    """
    k = images.shape[-1]
    mean, std = (
        (IMAGENET_MEAN, IMAGENET_STD) if k == 3 else ((sum(IMAGENET_MEAN) / 3,) * k, (sum(IMAGENET_STD) / 3,) * k)
    )
    return (images - jnp.asarray(mean, images.dtype)[None, None, None]) / jnp.asarray(std, images.dtype)[
        None, None, None
    ]


def at_least_float32(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns `x` in float32, or in float64 if it is."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


class BatchNorm(nn.Module):
    """Batch normalization whose statistics and arithmetic are float32 at least, and whose output has the input's type.

    The running variance follows the batch's without the correction n / (n - 1), and everything moves by a tenth a step.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], batch_statistics: bool) -> Float[Array, "n h w c"]:
        """Returns `x` normalized by the running statistics, or by the batch's, which then move the running ones."""
        shape = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        wide = at_least_float32(x)
        mean, var = running_mean.value, running_var.value
        if batch_statistics:
            mean = wide.mean((0, 1, 2))
            var = jnp.maximum((wide * wide).mean((0, 1, 2)) - mean * mean, 0.0)
            running_mean.value = 0.9 * running_mean.value + 0.1 * mean
            running_var.value = 0.9 * running_var.value + 0.1 * var
        factor = jax.lax.rsqrt(var + 1e-5) * scale
        return ((wide - mean[None, None, None]) * factor[None, None, None] + bias[None, None, None]).astype(x.dtype)


def maximum_of_2x2(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    """Returns the maximum of each 2x2 square; an odd last row or column is left out.

    Spelled as slices because XLA's windowed maximum has a slow gradient on a CPU.
    """
    n, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)
    rows = jnp.maximum(x[:, :, 0], x[:, :, 1])
    return jnp.maximum(rows[:, :, :, 0], rows[:, :, :, 1])


def average_of_2x2(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    """Returns the mean of each 2x2 square; an odd last row or column is left out."""
    n, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))


def maximum_of_3x3(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    """Returns the maximum of each 3x3 square around every second pixel of every second row, from the first one on.

    Spelled as slices because XLA's windowed maximum takes twice the time on a CPU, and its gradient four times.
    """
    return _maximum_of_3(_maximum_of_3(x, axis=1), axis=2)


def _maximum_of_3(x: Float[Array, "n h w c"], axis: int) -> Float[Array, "n h2 w2 c"]:
    half = -(-x.shape[axis] // 2)
    at_the_end, at_the_beginning = [(0, 0)] * 4, [(0, 0)] * 4
    at_the_end[axis], at_the_beginning[axis] = (0, 2 * half - x.shape[axis]), (1, 0)
    x = jnp.pad(x, at_the_end, constant_values=-jnp.inf)
    pairs = x.reshape(*x.shape[:axis], half, 2, *x.shape[axis + 1 :])
    here, after = (jax.lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
    before = jnp.pad(after, at_the_beginning, constant_values=-jnp.inf)
    return jnp.maximum(jnp.maximum(jax.lax.slice_in_dim(before, 0, half, axis=axis), here), after)


class Depthwise(nn.Module):
    """A convolution of each channel with its own filter, without bias, padded by half the filter's size.

    On a CPU it is a sum of shifted products: XLA's grouped convolution takes many times as long there.

    Attributes:
        size: Of the square filter, odd.
        stride: Of rows and columns.
        dtype: What it computes in; None takes that of input and filter.
    """

    size: int
    stride: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
        kernel = self.param("kernel", nn.initializers.he_normal(), (self.size, self.size, 1, x.shape[-1]))
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        if jax.default_backend() == "cpu":
            return shifted_products(x, kernel, self.stride)
        padding = (self.size // 2, self.size // 2)
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (self.stride, self.stride),
            (padding, padding),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=x.shape[-1],
        )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def shifted_products(
    x: Float[Array, "n h w c"], kernel: Float[Array, "size size 1 c"], stride: int
) -> Float[Array, "n h2 w2 c"]:
    """Returns the depthwise convolution as the sum over the filter's places of shifted images times a weight a channel.

    Args:
        x: Images.
        kernel: A square filter of odd size a channel.
        stride: Of rows and columns.
    """
    size = kernel.shape[0]
    weights = kernel.reshape(size * size, 1, 1, 1, -1)
    return sum(
        (s * weight for s, weight in zip(_shifted(x, size, stride), weights, strict=True)), jnp.zeros((), x.dtype)
    )


def _shifted(x: Float[Array, "n h w c"], size: int, stride: int) -> list[Float[Array, "n h2 w2 c"]]:
    """Returns for each place of a filter the pixels that it meets."""
    n, h, w, c = x.shape
    rows, columns = (h - 1) // stride * stride + 1, (w - 1) // stride * stride + 1
    padded = jnp.pad(x, ((0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0)))
    return [
        jax.lax.slice(padded, (0, i, j, 0), (n, i + rows, j + columns, c), (1, stride, stride, 1))
        for i in range(size)
        for j in range(size)
    ]


def _forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return shifted_products(x, kernel, stride), (x, kernel)


def _backward(stride: int, saved: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    x, kernel = saved
    size = kernel.shape[0]
    # The slopes of all weights in one pass over the images: for sums one by one XLA copies every shifted image.
    products = tuple(at_least_float32(s * slope) for s in _shifted(x, size, stride))
    zero = jnp.zeros((), products[0].dtype)
    sums = jax.lax.reduce(
        products, (zero,) * len(products), lambda a, b: tuple(i + j for i, j in zip(a, b, strict=True)), (0, 1, 2)
    )
    # The slope of the images is a depthwise convolution too, by the filter turned around.
    spread = [(0, 0, 0)] * 4
    for axis in (1, 2):
        spread[axis] = (0, x.shape[axis] - 1 - (slope.shape[axis] - 1) * stride, stride - 1)
    spread_slope = jax.lax.pad(slope, jnp.zeros((), slope.dtype), spread)
    return (
        shifted_products(spread_slope, kernel[::-1, ::-1], 1),
        jnp.stack(sums).reshape(kernel.shape).astype(kernel.dtype),
    )


shifted_products.defvjp(_forward, _backward)
