"""Scores of logits with a number or a matrix that validation outputs choose. Higher is surer.

An image costs its c logits, and for `rel_u` c^2; to fit, validation is read once, or once a candidate.
"""

import functools
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.optimize import minimize_scalar

from sfjax.csf.base import CSF
from sfjax.csf.compose import MSR, deterministic, predict_plain
from sfjax.csf.rules import gini, log_odds, softmax_maximum
from sfjax.metrics import aurc
from sfjax.outputs import Head, Outputs

LARGEST_TEMPERATURE: Final = 1000.0
NORMS: Final = tuple(range(10))


def validation_of(validation: Outputs | None, name: str) -> Outputs:
    """Returns the validation outputs.

    Raises:
        ValueError: There are none, or none with a class that the network knows.
    """
    if validation is None or not bool((validation.labels >= 0).any()):
        raise ValueError(f"{name} is tuned on labelled validation outputs, and there are none. Give validation=...")
    return validation


def failures(csf: CSF, outputs: Outputs) -> Bool[np.ndarray, " n"]:
    """Returns on which images the class that a CSF speaks of is not the true one."""
    return np.asarray(csf.predict(outputs)) != np.asarray(outputs.labels)


def best_temperature(logits: Float[Array, "n c"], labels: Any) -> float:
    """Returns the temperature of least negative log-likelihood, between 1/1000 and 1000.

    Args:
        logits: Or logarithms of probabilities.
        labels: True classes; images of unknown ones, -1, are left out, and those whose class the network rules out by
            a logit of -inf: their loss is infinite at any temperature.

    References:
        Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    labels, z = np.asarray(labels), np.asarray(logits, np.float64)
    known = (labels >= 0) & np.isfinite(z[np.arange(len(z)), labels])
    if not known.any():
        return 1.0
    z, y = z[known] - z[known].max(-1, keepdims=True), labels[known]

    def nll(log_temperature: float) -> float:
        scaled = z / np.exp(log_temperature)
        return float(np.mean(np.log(np.exp(scaled).sum(-1)) - scaled[np.arange(len(y)), y]))

    limit = np.log(LARGEST_TEMPERATURE)
    return float(np.exp(minimize_scalar(nll, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-6}).x))


def temperature_msr(
    train: Outputs, *, head: Head | None = None, validation: Outputs | None = None, temperature: float | None = None
) -> CSF:
    """Returns the log-odds of the top class at the temperature of least validation loss.

    With two classes the order is that of `msr`; with more it is not, and with either the probability is calibrated.

    Args:
        train: Not read.
        head: Not read.
        validation: Chooses the temperature.
        temperature: Takes the choice's place.

    Raises:
        ValueError: There are no validation outputs.

    References:
        Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    del train, head
    if temperature is None:
        validation = validation_of(validation, "temp_msr")
        temperature = best_temperature(validation.logits, validation.labels)
    factor = 1 / temperature
    csf = deterministic(lambda z: log_odds(factor * z), probability=lambda z: softmax_maximum(factor * z))
    return csf._replace(log_probabilities=lambda outputs: jax.nn.log_softmax(factor * outputs.logits))


def normalized_maximum(logits: Float[Array, " c"], *, p: int) -> Float[Array, ""]:
    """Returns the largest centered logit over the centered logits' p-norm; p = 0 leaves the norm out.

    Equal logits have 0. A class of logit -inf, which the network rules out, is as if it were not there.
    """
    there = jnp.isfinite(logits)
    mean = jnp.where(there, logits, 0).sum() / there.sum(dtype=logits.dtype)
    centered = jnp.where(there, logits - mean, 0)
    if p == 0:
        return centered.max()
    scaled = centered / jnp.maximum(jnp.abs(centered).max(), jnp.finfo(logits.dtype).tiny)
    # The largest is 1, unless all are 0.
    return scaled.max() / jnp.maximum((jnp.abs(scaled) ** p).sum(), 1) ** (1 / p)


def maxlogit_pnorm(
    train: Outputs, *, head: Head | None = None, validation: Outputs | None = None, norms: tuple[int, ...] = NORMS
) -> CSF:
    """Returns the largest centered logit over the logits' p-norm, or `msr` where no p has a lower validation AURC.

    With two classes it is `msr`: centered logits are a and -a, which over their norm are one number for all images.

    Args:
        train: Not read.
        head: Not read.
        validation: Chooses p.
        norms: Candidates for p; 0 is without a norm.

    Raises:
        ValueError: There are no validation outputs.

    References:
        Cattelan and Silva, How to fix a broken confidence estimator: Evaluating post-hoc methods for selective
        classification with deep neural networks, UAI 2024.
    """
    del train, head
    validation = validation_of(validation, "maxlogit_pnorm")
    candidates = [MSR]
    norms = norms if validation.logits.shape[-1] > 2 else ()
    candidates += [deterministic(functools.partial(normalized_maximum, p=p)) for p in norms]
    failed = failures(candidates[0], validation)
    areas = [float(aurc(csf.score(validation), failed)) for csf in candidates]
    # The first of equals: msr where nothing is better. Its own probability is left out, as other choices have none.
    return candidates[int(np.argmin(areas))]._replace(probability=None, log_probabilities=None)


def rel_u(train: Outputs, *, head: Head | None = None, validation: Outputs | None = None, weight: float = 0.5) -> CSF:
    """Returns minus the relative uncertainty `p^T D p`, where D tells which classes are mixed up when it fails.

    `D = relu(weight E[p p^T | failure] - (1 - weight) E[p p^T | success])` without its diagonal, of norm 1. From a
    logit margin of 87 on, where float32 has no smaller probability, images tie at 0.

    Args:
        train: Not read.
        head: Not read.
        validation: Its failures and successes make D. Without any failure, or where D would be 0, the score is `gini`.
        weight: Of failures, in [0, 1].

    Raises:
        ValueError: There are no validation outputs, or the weight is out of its range.

    References:
        Dadalto et al., A data-driven measure of relative uncertainty for misclassification detection, ICLR 2024.
    """
    del train, head
    if not 0 <= weight <= 1:
        raise ValueError(f"The weight of failures must lie in [0, 1]; got {weight}.")
    validation = validation_of(validation, "rel_u")
    p = np.asarray(jax.nn.softmax(validation.logits), np.float64)
    failed = p.argmax(-1) != np.asarray(validation.labels)
    if failed.all() or not failed.any():
        return deterministic(gini)
    wrong, right = (some.T @ some / len(some) for some in (p[failed], p[~failed]))
    matrix = np.maximum(weight * wrong - (1 - weight) * right, 0)
    np.fill_diagonal(matrix, 0)
    norm = np.linalg.norm(matrix)
    if norm == 0:
        return deterministic(gini)
    learned = jnp.asarray(matrix / norm, jnp.float32)

    @jax.jit
    def score(outputs: Outputs) -> Float[Array, " n"]:
        p = jax.nn.softmax(outputs.logits)
        return -(jnp.matmul(p, learned, precision="highest") * p).sum(-1)

    return CSF(score=score, predict=predict_plain)
