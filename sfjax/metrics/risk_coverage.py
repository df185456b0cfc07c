"""Risk-coverage curves and the areas under them.

Images are accepted from the surest down, those of equal score together. At coverage c, the *selective risk* is the mean
loss of the accepted images, the *generalized risk* their summed loss over all images. `loss` is whether the image is a
failure, or any cost from 0 up. Everything is in natural units (the literature prints areas x 1000). NaN in a score or
loss gives NaN; it is never left out.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sfjax.metrics.ranking import PerImage, Ranking, check_lengths, cumulative, floating, rank

Weight = PerImage | None


class RiskCoverageCurve(NamedTuple):
    """A curve of n + 1 points by rising coverage; images of equal score repeat their group's point.

    Attributes:
        coverage: Accepted share of the images, from 0 to 1.
        selective_risk: Mean loss of the accepted; at coverage 0 that of the first group.
        generalized_risk: Summed loss of the accepted over all images.
        threshold: The lowest accepted score; infinity at coverage 0.
    """

    coverage: Float[Array | np.ndarray, " m"]
    selective_risk: Float[Array | np.ndarray, " m"]
    generalized_risk: Float[Array | np.ndarray, " m"]
    threshold: Float[Array | np.ndarray, " m"]

    def distinct(self) -> "RiskCoverageCurve":
        """Returns the curve on the host with one point a tie group (arrays of NumPy, not for jit)."""
        coverage = np.asarray(self.coverage)
        keep = np.concatenate([coverage[1:] != coverage[:-1], [True]])
        return RiskCoverageCurve(*(np.asarray(field)[keep] for field in self))


def risk_coverage_curve(score: PerImage, loss: PerImage, *, weight: Weight = None) -> RiskCoverageCurve:
    """Returns the risk at every coverage that a threshold on the score can give.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        weight: How much each image counts; 1 if left out.

    Raises:
        ValueError: Unequal lengths, or no images.

    References:
        El-Yaniv and Wiener, On the foundations of noise-free selective classification, JMLR 2010.
    """
    score, loss, weight = arrays(score, loss, weight)
    return curve_of(rank(score), loss, weight)


def arrays(
    score: PerImage, loss: PerImage, weight: Weight
) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " n"]]:
    """Returns scores, losses and weights as float arrays of one length; missing weights are 1."""
    check_lengths(score=score, loss=loss, weight=weight)
    score, loss = (floating(x) for x in (score, loss))
    return score, loss, jnp.ones_like(loss) if weight is None else floating(weight).astype(loss.dtype)


def curve_of(ranking: Ranking, loss: Float[Array, " n"], weight: Float[Array, " n"]) -> RiskCoverageCurve:
    """Returns the curve of images that are ranked already; for resamples, which change the weights alone."""
    accepted, lost = (cumulative(x, ranking)[1] for x in (weight, weight * loss))
    total = accepted[-1]
    some = accepted > 0
    # Where nothing is accepted yet the first accepted group's risk holds, as it does at coverage 0.
    selective = jnp.where(some, lost / jnp.where(some, accepted, 1), 0)
    selective = jnp.where(some, selective, selective[jnp.argmax(some)])
    undefined = jnp.where(ranking.defined & ~jnp.isnan(loss).any() & (total > 0), 0, jnp.nan).astype(loss.dtype)
    start = jnp.zeros(1, loss.dtype)
    return RiskCoverageCurve(
        coverage=jnp.concatenate([start, accepted / total]) + undefined,
        selective_risk=jnp.concatenate([selective[:1], selective]) + undefined,
        generalized_risk=jnp.concatenate([start, lost / total]) + undefined,
        threshold=jnp.concatenate([start + jnp.inf, ranking.threshold.astype(loss.dtype)]),
    )


def area(coverage: Float[Array | np.ndarray, " m"], risk: Float[Array | np.ndarray, " m"]) -> Float[Array, ""]:
    """Returns the area under a curve by the trapezoidal rule."""
    return jnp.sum(jnp.asarray((coverage[1:] - coverage[:-1]) * (risk[1:] + risk[:-1]))) / 2


def aurc(score: PerImage, loss: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the area under the curve of selective risk: lower is better, at least 0.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        weight: How much each image counts; 1 if left out.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(aurc(jnp.array([3, 2, 1]), jnp.array([False, False, True]))), 4)  # (0 + 1/3) / 2 / 3
        0.0556

    References:
        Geifman, Uziel and El-Yaniv, Bias-reduced uncertainty estimation for deep neural classifiers, ICLR 2019.
    """
    curve = risk_coverage_curve(score, loss, weight=weight)
    return area(curve.coverage, curve.selective_risk)


def augrc(score: PerImage, loss: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the area under the curve of generalized risk: lower is better, at least 0.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        weight: How much each image counts; 1 if left out.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(augrc(jnp.array([3, 2, 1]), jnp.array([False, False, True]))), 4)  # (1/3)^2 / 2
        0.0556

    References:
        Traub et al., Overcoming common flaws in the evaluation of selective classification systems, NeurIPS 2024.
    """
    curve = risk_coverage_curve(score, loss, weight=weight)
    return area(curve.coverage, curve.generalized_risk)


def eaurc(score: PerImage, loss: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the AURC above that of a score that knows the losses: lower is better, 0 is perfect.

    For failures it is the AURC less `err + (1 - err) log(1 - err)`, the limit for many images, as in its source; for
    other losses it is the AURC less that of the ideal order of these images.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        weight: How much each image counts; 1 if left out.

    References:
        Geifman, Uziel and El-Yaniv, Bias-reduced uncertainty estimation for deep neural classifiers, ICLR 2019.
    """
    score, loss, weight = arrays(score, loss, weight)
    error = jnp.sum(weight * loss) / jnp.sum(weight)
    right = 1 - error
    limit = error + right * jnp.log(jnp.where(right > 0, right, 1))
    binary = jnp.all((loss == 0) | (loss == 1))
    return aurc(score, loss, weight=weight) - jnp.where(binary, limit, aurc(ideal_score(loss), loss, weight=weight))


def ideal_score(loss: Float[Array, " n"]) -> Float[Array, " n"]:
    """Returns a score without ties that accepts the images in order of rising loss."""
    return jnp.zeros_like(loss).at[jnp.argsort(loss)].set(-jnp.arange(loss.shape[0], dtype=loss.dtype))


def eaugrc(score: PerImage, loss: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the AUGRC above that of a score that knows the losses: lower is better, 0 is perfect.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        weight: How much each image counts; 1 if left out.

    References:
        Traub et al., Overcoming common flaws in the evaluation of selective classification systems, NeurIPS 2024.
    """
    score, loss, weight = arrays(score, loss, weight)
    error = jnp.sum(weight * loss) / jnp.sum(weight)
    binary = jnp.all((loss == 0) | (loss == 1))
    ideal = jnp.where(binary, error**2 / 2, augrc(ideal_score(loss), loss, weight=weight))
    return augrc(score, loss, weight=weight) - ideal


def risk_at_coverage(score: PerImage, loss: PerImage, coverage: float, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the selective risk at the smallest reachable coverage of at least `coverage`: lower is better.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        coverage: In (0, 1].
        weight: How much each image counts; 1 if left out.
    """
    curve = risk_coverage_curve(score, loss, weight=weight)
    return jnp.asarray(curve.selective_risk)[jnp.argmax(curve.coverage >= coverage - 1e-6)]


def coverage_at_risk(score: PerImage, loss: PerImage, risk: float, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the largest coverage whose selective risk is at most `risk`: higher is better, 0 where there is none.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        risk: At least 0.
        weight: How much each image counts; 1 if left out.
    """
    curve = risk_coverage_curve(score, loss, weight=weight)
    reached = jnp.where(curve.selective_risk <= risk, curve.coverage, 0)
    return jnp.max(reached) + 0 * curve.coverage[-1]  # NaN where the curve is
