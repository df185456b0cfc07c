"""The area that choosing among thresholds, and tossing a coin between two of them, can reach."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sfjax.metrics.ordering import PerImage, Weight, defined, on_host, prepare
from sfjax.metrics.risk_coverage import WHOLE, Coverages, check_range


def aurc_achievable(
    score: PerImage, loss: PerImage, *, weight: Weight = None, between: Coverages = WHOLE
) -> Float[Array, ""]:
    """Returns the area under the lowest curve of selective risk that thresholds on the score can reach.

    A coverage between two thresholds is reached by accepting, at random, some of the images between them; the
    generalized risk then lies on a straight line. So the best curve is the lower convex hull of the generalized risk
    over coverage (in ROC space, the convex hull), and this is the exact area under that hull over coverage. It exceeds
    `aurc` where the straight lines of the latter lie below what can be reached.

    The hull is SciPy's isotonic regression, on the host even within `jit`; there is no gradient.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        weight: How much each image counts; 1 if left out.
        between: Lowest and highest coverage; ranges add up to the whole.

    Example:
        >>> import jax.numpy as jnp
        >>> right = jnp.array([1, 0, 1, 0, 1, 1])
        >>> round(float(aurc_achievable(jnp.array([0, 0, 0.2, 0.4, 0.6, 0.8]), 1 - right)), 4)
        0.1502

    References:
        Provost and Fawcett, Robust classification for imprecise environments, Machine Learning 2001 (the hull).
        Traub et al., Overcoming common flaws in the evaluation of selective classification systems, NeurIPS 2024.
    """
    area = functools.partial(_area_under_hull, between=check_range(between))
    ordering, loss, weight = prepare(score, loss, weight)
    loss, undefined = defined(ordering, loss, weight)
    arguments = (loss, weight, jnp.asarray(ordering.through), undefined)
    if all(map(on_host, arguments)):
        return jnp.asarray(area(*arguments))
    return jax.pure_callback(area, jax.ShapeDtypeStruct((), loss.dtype), *arguments, vmap_method="sequential")


def _area_under_hull(loss, weight, through, undefined, *, between: Coverages) -> Float[np.ndarray, ""]:
    from scipy.optimize import isotonic_regression  # takes long to import

    if np.isnan(undefined):
        return np.asarray(undefined)
    loss, weight = (np.asarray(x, np.float64) for x in (loss, weight))
    group = np.unique(np.asarray(through), return_inverse=True)[1]
    weights, losses = np.bincount(group, weight), np.bincount(group, weight * loss)
    some = weights > 0
    weights, losses = weights[some], losses[some]
    # The hull's slopes are the means of the blocks that isotonic regression pools.
    fit = isotonic_regression(losses / weights, weights=weights)
    ends = fit.blocks[1:] - 1
    coverage = np.concatenate([[0.0], np.cumsum(weights)[ends] / weights.sum()])
    risk = np.concatenate([[0.0], np.cumsum(losses)[ends] / weights.sum()])
    start, end = (np.clip(x, *between) for x in (coverage[:-1], coverage[1:]))
    slope = np.diff(risk) / np.diff(coverage)
    offset = risk[:-1] - slope * coverage[:-1]
    # The first line starts at the origin: its offset is 0.
    logarithm = np.log(np.where(start > 0, end, 1) / np.where(start > 0, start, 1))
    return np.asarray(np.sum(offset * logarithm + slope * (end - start)), np.asarray(undefined).dtype)
