"""Scores in order, with ties as groups: what every metric of a ranking is made of.

Images of equal score are accepted together, so that no metric depends on the order of its input.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

PerImage = Shaped[Array | np.ndarray, " n"]
"""One number or truth value an image; NumPy's arrays are welcome."""


class Ranking(NamedTuple):
    """The surest image first.

    Attributes:
        order: Indices that sort the images, shape (n,).
        before: For each place in that order, how many images have a higher score.
        through: How many have a higher or an equal one.
        threshold: The scores in order.
        defined: Whether no score is NaN.
    """

    order: Int[Array, " n"]
    before: Int[Array, " n"]
    through: Int[Array, " n"]
    threshold: Float[Array, " n"]
    defined: Bool[Array, ""]


def rank(score: PerImage) -> Ranking:
    """Returns the images in order of falling score, with their tie groups. Infinite scores have their place.

    Args:
        score: Higher is surer.
    """
    score = floating(score)
    order = jnp.argsort(-score)
    threshold = score[order]
    place = jnp.arange(order.shape[0])
    starts = jnp.concatenate([jnp.array([True]), threshold[1:] != threshold[:-1]])
    ends = jnp.concatenate([starts[1:], jnp.array([True])])
    before = jax.lax.cummax(jnp.where(starts, place, 0))
    through = jax.lax.cummin(jnp.where(ends, place + 1, order.shape[0]), reverse=True)
    return Ranking(order, before, through, threshold, ~jnp.isnan(score).any())


def cumulative(x: Float[Array, " n"], ranking: Ranking) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Returns for each place in the ranking the sum of `x` over the images before its tie group, and through it.

    Args:
        x: One value an image, in the images' own order.
        ranking: Of the same images.
    """
    sums = jnp.concatenate([jnp.zeros(1, x.dtype), jnp.cumsum(x[ranking.order])])
    return sums[ranking.before], sums[ranking.through]


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
    """Returns the array in float32, or in float64 where it is that already."""
    x = jnp.asarray(x)
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)
