"""From a score of one image's logits, or of statistics over passes, to a confidence scoring function."""

import functools
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sfjax.csf.base import CSF, features_of, mc_statistics, true_logits
from sfjax.outputs import MCStatistics, Outputs
from sfjax.softmax import log_odds, softmax_maximum

Rule = Callable[[Float[Array, " c"]], Float[Array, ""]]
Statistics = Callable[[Outputs], MCStatistics]
FittedRule = Callable[[Any, Float[Array, " c"], Float[Array, " d"]], Float[Array, ""]]
"""`(learned, logits, features) -> score` of one image; `learned` is a pytree of arrays."""

MOST_AT_ONCE: Final = 2**25
"""Numbers that a fitted score holds for images side by side: 128 MiB."""


def predict_plain(outputs: Outputs) -> Int[Array, " n"]:
    """Returns the class of the pass without dropout."""
    return jnp.argmax(outputs.logits, axis=-1)


def most_probable(mc: MCStatistics) -> Int[Array, " n"]:
    """Returns the class of the mean softmax over passes."""
    return jnp.argmax(mc.log_mean, axis=-1)


def deterministic(rule: Rule, *, probability: Rule | None = None, needs_true_logits: bool = False) -> CSF:
    """Returns the CSF that applies `rule` to the pass without dropout.

    Args:
        rule: A score of one vector of logits, higher is surer.
        probability: The largest class probability of the same logits, if the score is about that.
        needs_true_logits: A constant added to all logits changes the rule, so that probabilities will not do.
    """
    return CSF(
        score=lambda outputs: jax.vmap(rule)(true_logits(outputs) if needs_true_logits else outputs.logits),
        predict=predict_plain,
        probability=None if probability is None else lambda outputs: jax.vmap(probability)(outputs.logits),
        log_probabilities=None if probability is None else lambda outputs: jax.nn.log_softmax(outputs.logits),
    )


def mc_mean(rule: Rule, *, probability: Rule | None = None, statistics: Statistics = mc_statistics) -> CSF:
    """Returns the CSF that applies `rule` to the logarithm of the mean softmax over passes.

    The logarithm of a distribution is its own logits, so every rule of logits serves.

    Args:
        rule: A score of one vector of logits, higher is surer.
        probability: The largest class probability of the same logits, if the score is about that.
        statistics: Which passes: of Monte Carlo dropout, or over augmented copies.
    """

    def of_mean(rule: Rule) -> Callable[[Outputs], Array]:
        return lambda outputs: jax.vmap(rule)(statistics(outputs).log_mean)

    return CSF(
        score=of_mean(rule),
        predict=lambda outputs: most_probable(statistics(outputs)),
        probability=None if probability is None else of_mean(probability),
        log_probabilities=None if probability is None else lambda outputs: statistics(outputs).log_mean,
    )


MSR: Final = deterministic(log_odds, probability=softmax_maximum)
"""The maximum softmax response as the log-odds of the top class: what other scores are built on and compared with."""


def of_mc_statistics(
    score: Callable[[MCStatistics], Float[Array, " n"]],
    *,
    statistics: Statistics = mc_statistics,
    predict: Callable[[MCStatistics], Int[Array, " n"]] = most_probable,
    needs_true_logits: bool = False,
) -> CSF:
    """Returns the CSF of a score of the statistics over passes.

    Args:
        score: Higher is surer.
        statistics: As for `mc_mean`.
        predict: The class that the score speaks of.
        needs_true_logits: As for `deterministic`.
    """

    def score_of(outputs: Outputs) -> Float[Array, " n"]:
        if needs_true_logits:
            true_logits(outputs)
        return score(statistics(outputs))

    return CSF(score=score_of, predict=lambda outputs: predict(statistics(outputs)))


def fitted(rule: FittedRule, learned: Any, *, width: int, needs_true_logits: bool = False) -> CSF:
    """Returns the CSF that applies a rule to each image's logits and features, with what was learned from others.

    Images are taken in parts, so that memory does not grow with their number, in full float32 precision on
    accelerators too, whose default would be shorter.

    Args:
        rule: A score of one image, higher is surer; a function of a module, so that another fit compiles nothing anew.
        learned: What it reads besides the image.
        width: The most numbers that it holds for one image, by which the parts' size is chosen.
        needs_true_logits: As for `deterministic`.
    """
    at_once = max(1, min(1024, MOST_AT_ONCE // width))

    def score(outputs: Outputs) -> Float[Array, " n"]:
        logits = true_logits(outputs) if needs_true_logits else outputs.logits
        return of_images(rule, at_once, learned, logits, features_of(outputs))

    return CSF(score=score, predict=predict_plain)


@functools.partial(jax.jit, static_argnums=(0, 1))
def of_images(
    rule: FittedRule, at_once: int, learned: Any, logits: Float[Array, "n c"], features: Float[Array, "n d"]
) -> Float[Array, " n"]:
    """Returns the rule's scores of n images, `at_once` side by side."""
    with jax.default_matmul_precision("highest"):
        return jax.lax.map(lambda image: rule(learned, *image), (logits, features), batch_size=at_once)
