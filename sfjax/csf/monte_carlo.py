"""Scores that read how the dropout passes disagree. Higher is surer, shape (n,)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sfjax.csf.rules import negative_log_entropy
from sfjax.outputs import MCStatistics


def negative_expected_entropy(mc: MCStatistics) -> Float[Array, " n"]:
    """Returns minus the mean entropy of a pass, in nats: how noisy the image looks to each single network.

    References:
        Gal and Ghahramani, Dropout as a Bayesian approximation, ICML 2016.
    """
    return -mc.expected_entropy


def negative_mutual_information(mc: MCStatistics) -> Float[Array, " n"]:
    """Returns minus the mutual information of prediction and weights, in nats: minus how far the passes disagree.

    It is the entropy of the mean softmax less the mean entropy.

    References:
        Houlsby et al., Bayesian active learning for classification and preference learning, 2011.
    """
    entropy_of_mean = jnp.exp(-jax.vmap(negative_log_entropy)(mc.log_mean))
    return mc.expected_entropy - entropy_of_mean
