"""Images in order of their score, with ties as groups: what every metric of a ranking is made of.

Images of equal score are accepted together, so that no metric depends on the order of its input. An image of weight 0
is not there: neither its score nor its loss is looked at. NaN in the score, loss or weight of any other image, and a
negative loss or weight, give NaN; nothing is left out silently.
"""

from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Shaped

PerImage = Shaped[Array | np.ndarray, " n"]
"""One number or truth value an image; NumPy's arrays are welcome."""
Scalar = Shaped[Array | np.ndarray | np.generic, ""] | float
"""One number, as Python, NumPy or JAX has it."""
Weight = PerImage | None
"""How much each image counts, from 0 up; None counts each once."""

BLOCK: Final = 32
"""Values that `running_sum` adds at a time."""


class Ordering(NamedTuple):
    """The surest image first.

    Attributes:
        order: Indices that sort the images, shape (n,).
        before: For each place in that order, how many images have a higher score.
        through: How many have a higher or an equal one.
        threshold: The scores in that order.
        nan: Whether the score at each place is NaN; those stand last.
    """

    order: Int[Array | np.ndarray, " n"]
    before: Int[Array | np.ndarray, " n"]
    through: Int[Array | np.ndarray, " n"]
    threshold: Shaped[Array | np.ndarray, " n"]
    nan: Bool[Array | np.ndarray, " n"]


def order_by_score(score: PerImage) -> Ordering:
    """Returns the images in order of falling score, with their tie groups. Infinite scores have their place.

    Scores that are at hand in main memory are sorted there by NumPy: some times as fast as XLA's sort on a CPU, and
    float64 keeps its order where JAX would round it to float32. Within `jit` and `vmap`, and on an accelerator, it is
    XLA's sort. All of them leave images of equal score in the order they came.

    Args:
        score: Higher is surer.
    """
    if on_host(score):
        score, xp = np.asarray(score), np
        score = score if score.dtype.kind == "f" else score.astype(np.float64)
        order = falling(score) if score.dtype.itemsize <= 4 else np.argsort(-score, kind="stable")
    else:
        score, xp = floating(score), jnp
        order = jnp.argsort(-score)
    threshold = score[order]
    place = xp.arange(order.shape[0], dtype=np.int32)
    last = xp.asarray([True])
    ends = xp.concatenate([threshold[1:] != threshold[:-1], last])
    starts = xp.concatenate([last, ends[:-1]])
    before, through = xp.where(starts, place, 0), xp.where(ends, place + 1, order.shape[0])
    if xp is np:
        before, through = np.maximum.accumulate(before), np.minimum.accumulate(through[::-1])[::-1]
    else:
        before, through = jax.lax.cummax(before), jax.lax.cummin(through, reverse=True)
    return Ordering(order.astype(np.int32), before, through, threshold, xp.isnan(threshold))


def falling(score: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Returns what `np.argsort(-score, kind="stable")` does, in half of the time, for scores of up to 32 bits.

    NumPy sorts plain integers much faster than it sorts indices. So each score becomes the upper half of an integer, by
    the bits of a float, which rise with it once those of negative ones are turned over; its place is the lower half.
    """
    # Subtracted from 0 rather than negated: no -0.0, which has other bits than 0.0.
    bits = (np.float32(0) - score.astype(np.float32)).view(np.int32)
    rising = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)
    rising[np.isnan(score)] = 0x7FFFFFFF
    packed = (rising << 32) | np.arange(len(score), dtype=np.int64)
    packed.sort()
    return (packed & 0xFFFFFFFF).astype(np.int32)


def on_host(x: Shaped[Array | np.ndarray, "..."] | Scalar) -> bool:
    """Returns whether the values of an array are known now and lie in main memory."""
    if isinstance(x, Tracer):
        return False
    return not isinstance(x, jax.Array) or all(device.platform == "cpu" for device in x.devices())


def cumulative(x: Float[Array, " n"], ordering: Ordering) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Returns for each place the sum of `x` over the places before its tie group, and through it.

    Args:
        x: One value a place, in the ordering's order.
        ordering: Of the same images.
    """
    sums = jnp.concatenate([jnp.zeros(1, x.dtype), running_sum(x)])
    return sums[ordering.before], sums[ordering.through]


def running_sum(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """Returns the sums of the first 1, 2, ... n values, in blocks of blocks.

    Its error grows with the logarithm of n: 3e-7 relative at 10^7 values in float32, where adding one after the other
    is off by 1e-4. The sums within blocks are one product with a triangular matrix, which takes a half to a third of
    the time of `jnp.cumsum` (as accurate) over a batch of resamples.
    """
    n = x.shape[0]
    width = min(n, BLOCK)
    blocks = jnp.pad(x, (0, -n % width)).reshape(-1, width)
    inner = jnp.matmul(blocks, jnp.triu(jnp.ones((width, width), x.dtype)), precision="highest")
    if inner.shape[0] > 1:
        totals = running_sum(inner[:, -1])
        inner += jnp.concatenate([jnp.zeros(1, x.dtype), totals[:-1]])[:, None]
    return inner.reshape(-1)[:n]


def prepare(score: PerImage, loss: PerImage, weight: Weight) -> tuple[Ordering, Float[Array, " n"], Float[Array, " n"]]:
    """Returns the ordering by score, and losses and weights in its order as float arrays.

    Raises:
        ValueError: Unequal lengths, or no images.
    """
    check_lengths(score=score, loss=loss, weight=weight)
    ordering = order_by_score(score)
    loss = floating(_taken(loss, ordering.order))
    weight = jnp.ones_like(loss) if weight is None else floating(_taken(weight, ordering.order)).astype(loss.dtype)
    return ordering, loss, weight


def _taken(x: PerImage, order: Int[Array | np.ndarray, " n"]) -> PerImage:
    """Returns the values in order: by NumPy where both are at hand, which spares the way there and back."""
    return np.asarray(x)[order] if isinstance(order, np.ndarray) and on_host(x) else jnp.asarray(x)[order]


def defined(
    ordering: Ordering, loss: Float[Array, " n"], weight: Float[Array, " n"]
) -> tuple[Float[Array, " n"], Float[Array, ""]]:
    """Returns the losses with 0 for images of weight 0, and 0 where everything is defined or else NaN, to be added.

    Args:
        ordering: Of the scores.
        loss: In the ordering's order.
        weight: In the ordering's order.
    """
    there = weight != 0  # True of NaN
    bad = there & (ordering.nan | ~(loss >= 0) | jnp.isinf(loss) | ~(weight >= 0) | jnp.isinf(weight))
    undefined = bad.any() | ~there.any()
    return jnp.where(there, loss, 0), jnp.where(undefined, jnp.nan, jnp.zeros((), loss.dtype))


def ratio(numerator: Float[Array, "*shape"], denominator: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns the quotient, and 0 where the denominator is 0, with a gradient that is defined everywhere."""
    some = denominator > 0
    return jnp.where(some, numerator / jnp.where(some, denominator, 1), 0)


def check_lengths(**arrays: Shaped[Array | np.ndarray, "..."] | None) -> None:
    """Raises ValueError unless all arrays that are given are equally long and hold at least one image."""
    lengths = {name: jnp.shape(array) for name, array in arrays.items() if array is not None}
    if len(set(lengths.values())) > 1 or any(len(shape) != 1 or shape[0] == 0 for shape in lengths.values()):
        raise ValueError(
            "Metrics read arrays of one entry an image, equally long and with at least one image; got shapes "
            + ", ".join(f"{name} {shape}" for name, shape in lengths.items())
            + "."
        )


def floating(x: Shaped[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
    """Returns the array in float32, or in float64 where JAX works in it and the array is that or holds no floats."""
    x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.floating):
        return x if x.dtype == jnp.float64 else x.astype(jnp.float32)
    return x.astype(jnp.result_type(float))
