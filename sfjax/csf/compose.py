"""From a score of one vector of logits to a confidence scoring function of a classifier's outputs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sfjax.csf.base import CSF, mc_statistics, true_logits
from sfjax.outputs import MCStatistics, Outputs

Rule = Callable[[Float[Array, " c"]], Float[Array, ""]]


def predict_plain(outputs: Outputs) -> Int[Array, " n"]:
    """Returns the class of the pass without dropout."""
    return jnp.argmax(outputs.logits, axis=-1)


def predict_mc(outputs: Outputs) -> Int[Array, " n"]:
    """Returns the class of the mean softmax over dropout passes."""
    return jnp.argmax(mc_statistics(outputs).log_mean, axis=-1)


def deterministic(rule: Rule, *, probability: Rule | None = None, of_softmax: bool = True) -> CSF:
    """Returns the CSF that applies `rule` to the pass without dropout.

    Args:
        rule: A score of one vector of logits, higher is surer.
        probability: The largest class probability of the same logits, if the score is about that.
        of_softmax: Whether the rule reads the same from log-probabilities. Where not, outputs of those are refused.
    """
    return CSF(
        score=lambda outputs: jax.vmap(rule)(outputs.logits if of_softmax else true_logits(outputs)),
        predict=predict_plain,
        probability=None if probability is None else lambda outputs: jax.vmap(probability)(outputs.logits),
        log_probabilities=None if probability is None else lambda outputs: jax.nn.log_softmax(outputs.logits),
    )


def mc_mean(rule: Rule, *, probability: Rule | None = None) -> CSF:
    """Returns the CSF that applies `rule` to the logarithm of the mean softmax over dropout passes.

    The logarithm of a distribution is its own logits, so every rule of logits serves.

    Args:
        rule: A score of one vector of logits, higher is surer.
        probability: The largest class probability of the same logits, if the score is about that.
    """
    return CSF(
        score=lambda outputs: jax.vmap(rule)(mc_statistics(outputs).log_mean),
        predict=predict_mc,
        probability=None
        if probability is None
        else lambda outputs: jax.vmap(probability)(mc_statistics(outputs).log_mean),
        log_probabilities=None if probability is None else lambda outputs: mc_statistics(outputs).log_mean,
    )


def of_mc_statistics(score: Callable[[MCStatistics], Float[Array, " n"]]) -> CSF:
    """Returns the CSF of a score of the Monte Carlo statistics; it speaks of the mean softmax's class."""
    return CSF(score=lambda outputs: score(mc_statistics(outputs)), predict=predict_mc)
