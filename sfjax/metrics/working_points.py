"""Single thresholds: what is accepted above one, and which one to take for a coverage or a risk.

Risks and coverages are in natural units, as in `sfjax.metrics.risk_coverage`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from sfjax.metrics.grouped import total_weight, weight_like
from sfjax.metrics.ordering import PerImage, Scalar, Weight, check_lengths, floating, on_host, ratio
from sfjax.metrics.risk_coverage import risk_coverage_curve

TOLERANCE = 1e-6
"""Coverages are compared with this slack, which is float32's at one."""


class AtThreshold(NamedTuple):
    """What a threshold does.

    Attributes:
        coverage: Share of the images that are accepted.
        selective_risk: Mean loss of those; NaN where none is.
        generalized_risk: Their summed loss over all images.
    """

    coverage: Float[Array, ""]
    selective_risk: Float[Array, ""]
    generalized_risk: Float[Array, ""]


def at_threshold(score: PerImage, loss: PerImage, threshold: Scalar, *, weight: Weight = None) -> AtThreshold:
    """Returns coverage and risks of the images whose score is above a threshold.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        threshold: In units of the score; minus infinity accepts all but scores of minus infinity.
        weight: How much each image counts; 1 if left out.

    Example:
        >>> import jax.numpy as jnp
        >>> coverage, selective, _ = at_threshold(jnp.array([3, 2, 1]), jnp.array([False, True, True]), 1.5)
        >>> round(float(coverage), 4), float(selective)
        (0.6667, 0.5)
    """
    check_lengths(score=score, loss=loss, weight=weight)
    # In the score's own precision, at least float32, whether traced or not.
    xp = np if on_host(score) and on_host(threshold) else jnp
    score = np.asarray(score) if xp is np else floating(score)
    threshold = xp.asarray(threshold, np.result_type(score.dtype, np.float32))
    accepted, nan = score > threshold, xp.isnan(score) | xp.isnan(threshold)
    loss = floating(loss)
    weight = weight_like(loss, weight)
    return at_threshold_of(jnp.asarray(accepted), loss, jnp.asarray(nan), weight)


@jax.jit
def at_threshold_of(
    accepted: Shaped[Array, " n"], loss: Float[Array, " n"], nan: Shaped[Array, " n"], weight: Float[Array, " n"]
) -> AtThreshold:
    """Returns `at_threshold` of images that are accepted or not; `nan` is where that is not known."""
    total = total_weight(weight, nan | ~(loss >= 0) | jnp.isinf(loss))
    kept = jnp.where(accepted, weight, 0)
    lost = jnp.sum(jnp.where(weight != 0, kept * loss, 0))
    number = jnp.sum(kept)
    selective = jnp.where(number > 0, ratio(lost, number), jnp.nan)
    return AtThreshold(number / total, selective + 0 * total, lost / total)


def risk_at_coverage(score: PerImage, loss: PerImage, coverage: float, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the selective risk at the smallest reachable coverage of at least `coverage`: lower is better.

    Not the least risk of all larger coverages, which the images at hand would flatter: see `working_point` for that.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        coverage: In (0, 1].
        weight: How much each image counts; 1 if left out.

    Raises:
        ValueError: The coverage lies outside, or the lengths differ.
    """
    _check_coverage(coverage)
    curve = risk_coverage_curve(score, loss, weight=weight)
    return jnp.asarray(curve.selective_risk)[jnp.argmax(curve.coverage >= coverage - TOLERANCE)]


def coverage_at_risk(score: PerImage, loss: PerImage, risk: float, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the largest coverage whose selective risk is at most `risk`: higher is better, 0 where there is none.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        risk: At least 0.
        weight: How much each image counts; 1 if left out.
    """
    return working_point(score, loss, risk=risk, weight=weight).coverage


class WorkingPoint(NamedTuple):
    """A threshold that was chosen on the images at hand.

    Attributes:
        coverage: Accepted share.
        selective_risk: Mean loss of the accepted; NaN where nothing is.
        threshold: The lowest accepted score, to be compared by `>=`; infinity where nothing is. `at_threshold`, which
            compares by `>`, does the same at `numpy.nextafter(threshold, -inf)`.
    """

    coverage: Float[Array, ""]
    selective_risk: Float[Array, ""]
    threshold: Float[Array, ""]


def working_point(
    score: PerImage,
    loss: PerImage,
    *,
    coverage: float | None = None,
    risk: float | None = None,
    weight: Weight = None,
) -> WorkingPoint:
    """Returns the point of least risk with at least a coverage, or of largest coverage with at most a risk.

    It is chosen by looking at the losses, so that on other images its risk is higher as a rule: for a promise see
    `sfjax.metrics.guarantees`. Of points of equal risk it is that of larger coverage.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        coverage: In (0, 1]; either this
        risk: or this, at least 0.
        weight: How much each image counts; 1 if left out.

    Raises:
        ValueError: Both or none of coverage and risk are given, or the coverage lies outside.
    """
    if (coverage is None) == (risk is None):
        raise ValueError("A working point needs either a coverage or a risk, one of the two; got both or none.")
    if coverage is not None:
        _check_coverage(coverage)
    if risk is not None and not risk >= 0:
        raise ValueError(f"A risk is at least 0, such as 0.05 for 5 %; got {risk}.")
    curve = risk_coverage_curve(score, loss, weight=weight)
    reached, selective = jnp.asarray(curve.coverage), jnp.asarray(curve.selective_risk)
    if coverage is not None:
        candidates = jnp.where(reached >= coverage - TOLERANCE, selective, jnp.inf)
        chosen = candidates <= jnp.min(candidates)
    else:
        chosen = selective <= jnp.asarray(risk, selective.dtype)
    # The first of the largest coverage: what follows at the same one are images of weight 0.
    place = jnp.argmax(jnp.where(chosen, reached, 0))
    threshold = jnp.asarray(curve.threshold, selective.dtype)
    undefined = 0 * reached[-1]  # NaN where the curve is
    return WorkingPoint(
        reached[place] + undefined,
        jnp.where(chosen.any(), selective[place], jnp.nan),
        jnp.where(jnp.isnan(undefined), jnp.nan, threshold[place]),
    )


def _check_coverage(coverage: float) -> None:
    if not 0 < coverage <= 1:
        raise ValueError(f"A coverage lies in (0, 1], such as 0.8 for 80 % of the images; got {coverage}.")
