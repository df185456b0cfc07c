"""A probability of being right for any score, learned from validation outputs; the score and its order stay.

Never from images that are tested, or that a guarantee is calibrated with.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import isotonic_regression
from scipy.special import expit

from sfjax.csf.base import CSF
from sfjax.csf.tuned import best_temperature, failures
from sfjax.outputs import Outputs

_STEPS = 100


class Line(NamedTuple):
    """A probability of being right as `sigmoid(slope * score + offset)`, with a slope of at least 0."""

    slope: float
    offset: float

    def __call__(self, score: Float[Array, " n"]) -> Float[Array, " n"]:
        """Returns the probabilities of images with such scores."""
        # A score may be infinite, of an image on which all but one class are ruled out.
        return jax.nn.sigmoid((self.slope * score if self.slope else jnp.zeros_like(score)) + self.offset)


class Steps(NamedTuple):
    """A probability of being right that rises from step to step, linear between them and level beyond."""

    score: Float[Array, " m"]
    probability: Float[Array, " m"]

    def __call__(self, score: Float[Array, " n"]) -> Float[Array, " n"]:
        """Returns the probabilities of images with such scores."""
        return jnp.clip(jnp.interp(score, self.score, self.probability), 0, 1)


Calibration = Line | Steps


def platt_line(score: Float[np.ndarray, " n"], failure: np.ndarray) -> Line:
    """Returns the logistic regression of success on the score, with Platt's targets; it never falls.

    Those are a little off 0 and 1, so that there is a line where nothing fails, or where a threshold tells all. Where
    success falls with the score, the best line that does not is level: the score says nothing of being right.

    Args:
        score: Images whose score is not finite are left out.
        failure: Which images fail.

    Raises:
        ValueError: No score is finite.

    References:
        Platt, Probabilistic outputs for support vector machines, 1999.
    """
    score, failure = _finite(score, failure)
    right, wrong = int((~failure).sum()), int(failure.sum())
    target = np.where(failure, 1 / (wrong + 2), (right + 1) / (right + 2))
    middle, spread = score.mean(), score.std()
    x = np.stack([(score - middle) / (spread if spread > 0 else 1), np.ones_like(score)], axis=-1)

    def loss(beta: np.ndarray) -> float:
        margin = x @ beta
        return float(np.sum(np.logaddexp(0, margin) - target * margin))

    beta = np.array([0.0, np.log((right + 1) / (wrong + 1))])
    for _ in range(_STEPS):  # Newton's, halved until it descends
        p = expit(x @ beta)
        hessian = (x * (p * (1 - p))[:, None]).T @ x
        step = np.linalg.solve(hessian + 1e-12 * np.eye(2), x.T @ (p - target))
        size = 1.0
        while loss(beta - size * step) > loss(beta) and size > 1e-8:
            size /= 2
        beta = beta - size * step
        if np.abs(size * step).max() < 1e-10:
            break
    if beta[0] <= 0:
        return Line(0.0, float(np.log(target.mean() / (1 - target.mean()))))
    slope = beta[0] / (spread if spread > 0 else 1)
    return Line(float(slope), float(beta[1] - slope * middle))


def platt(csf: CSF, validation: Outputs) -> CSF:
    """Returns the CSF with a probability of being right by logistic regression: it rises with the score, or is level.

    Args:
        csf: Any.
        validation: What the same network says of validation images.

    Raises:
        ValueError: There are no validation images.
    """
    return _with(csf, platt_line(np.asarray(csf.score(validation)), failures(csf, validation)))


def isotonic(csf: CSF, validation: Outputs) -> CSF:
    """Returns the CSF with a probability of being right by isotonic regression, between its steps linear.

    Images of different scores may share a probability; the score still tells them apart.

    Args:
        csf: Any.
        validation: What the same network says of validation images.

    Raises:
        ValueError: There are no validation images.

    References:
        Zadrozny and Elkan, Transforming classifier scores into accurate multiclass probability estimates, KDD 2002.
    """
    return _with(csf, isotonic_steps(np.asarray(csf.score(validation)), failures(csf, validation)))


def isotonic_steps(score: Float[np.ndarray, " n"], failure: np.ndarray) -> Steps:
    """Returns the rising steps that are nearest to the shares of successes, by squared distance.

    Args:
        score: Images whose score is not finite are left out.
        failure: Which images fail.

    Raises:
        ValueError: No score is finite.
    """
    score, failure = _finite(score, failure)
    places, which = np.unique(score, return_inverse=True)
    counts = np.bincount(which)
    level = isotonic_regression(np.bincount(which, ~failure) / counts, weights=counts).x
    return Steps(jnp.asarray(places, jnp.float32), jnp.asarray(level, jnp.float32))


def _with(csf: CSF, calibration: Calibration) -> CSF:
    return csf._replace(probability=lambda outputs: calibration(csf.score(outputs)), log_probabilities=None)


def temperature(csf: CSF, validation: Outputs) -> CSF:
    """Returns the CSF with its class probabilities at the temperature of least validation loss.

    Args:
        csf: One with class probabilities, such as msr or mcd_msr.
        validation: What the same network says of validation images.

    Raises:
        ValueError: The CSF has no class probabilities, or there are no validation images of known class.

    References:
        Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    of_classes = csf.log_probabilities
    if of_classes is None:
        raise ValueError("A temperature is of class probabilities, and this score has none. Take platt or isotonic.")
    if not bool((validation.labels >= 0).any()):
        raise ValueError("A temperature is learned from validation images of known class, and there are none.")
    factor = 1 / best_temperature(of_classes(validation), validation.labels)

    def log_probabilities(outputs: Outputs) -> Float[Array, "n c"]:
        return jax.nn.log_softmax(factor * of_classes(outputs))

    return csf._replace(
        probability=lambda outputs: jnp.exp(log_probabilities(outputs).max(-1)), log_probabilities=log_probabilities
    )


def _finite(score: np.ndarray, failure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    score, failure = np.asarray(score, np.float64), np.asarray(failure, bool)
    finite = np.isfinite(score)
    if not finite.any():
        raise ValueError("A probability is learned from validation images with finite scores, and there are none.")
    return score[finite], failure[finite]
