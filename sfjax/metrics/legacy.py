"""The AURC of tables before 2024, for comparison with those and for nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from sfjax.metrics.ordering import PerImage, check_lengths, floating, on_host


def legacy_aurc(score: PerImage, loss: PerImage) -> Float[Array, ""]:
    """Returns the area under the curve of selective risk by the rule of FD-Shifts before 2024: lower is better.

    Not a metric to use: **it depends on the order of images of equal score**, since it ends a tie group after its first
    image instead of its last, and it leaves out the coverage below 1 / n, so that all wrong gives 1 - 1 / n. Here ties
    stand in the order of the input (a stable sort); the old tables used whatever order the processor's sort left.
    Without ties it is `aurc` but for that tail. NaN is the highest score, each a threshold of its own, as it was there.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.

    References:
        Jaeger et al., A call to reflect on evaluation practices for failure detection in image classification,
        ICLR 2023 (its code).
    """
    check_lengths(score=score, loss=loss)
    xp = np if on_host(score) else jnp  # as in `order_by_score`: in the score's own precision where it can be
    score = xp.asarray(score)
    order = xp.argsort(score, stable=True)
    score = score[order]
    return _area(floating(loss)[order], jnp.asarray(score[1:-1] != score[:-2]))


@jax.jit
def _area(loss: Float[Array, " n"], differs: Bool[Array, " _"]) -> Float[Array, ""]:
    """Returns the area of images in order of rising score; `differs` is where the score does from the one before."""
    n = loss.shape[0]
    if n == 1:
        return jnp.zeros((), loss.dtype)
    left = n - 1 - jnp.arange(n - 1)
    risk = jnp.cumsum(loss[::-1])[::-1][1:] / left.astype(loss.dtype)  # after one more image is rejected
    place = jnp.arange(1, n, dtype=jnp.int32)
    emitted = jnp.concatenate([jnp.array([True]), differs])
    # Risks by point, the whole set's first; each rejected image's step lies between the points around it.
    risks = jnp.concatenate([jnp.mean(loss)[None], risk])
    last = jnp.concatenate([jnp.zeros(1, jnp.int32), jax.lax.cummax(jnp.where(emitted, place, 0))])
    following = jax.lax.cummin(jnp.where(emitted, place, n), reverse=True)
    before = risks[last[:-1]]
    after = jnp.where(following < n, risks[jnp.minimum(following, n - 1)], before)
    return jnp.sum(before + after) / (2 * n)
