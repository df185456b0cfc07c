"""Scores that read how the dropout passes disagree. Higher is surer, shape (n,).

They cost c an image beside the passes. Entropies below float32's least number, at logit margins above 87, are 0.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sfjax.csf.rules import negative_log_entropy
from sfjax.outputs import MCStatistics


def negative_expected_entropy(mc: MCStatistics) -> Float[Array, " n"]:
    """Returns minus the mean entropy of a pass, in nats: how noisy the image looks to each single network.

    References:
        Gal and Ghahramani, Dropout as a Bayesian approximation, ICML 2016.
    """
    return -mc.expected_entropy


def negative_spread(mc: MCStatistics) -> Float[Array, " n"]:
    """Returns minus the standard deviation of the softmax over passes, its mean over classes.

    References:
        The score mcd_sv of FD-Shifts (Jaeger et al., ICLR 2023).
    """
    return -mc.std.mean(-1)


def waic(mc: MCStatistics) -> Float[Array, " n"]:
    """Returns the mean softmax of its top class less that probability's standard deviation over passes.

    References:
        Choi, Jang and Alemi, WAIC, but why? Generative ensembles for robust anomaly detection, 2018; as the score
        mcd_waic of FD-Shifts is meant (its code takes every deviation from the first image).
    """
    top = jnp.argmax(mc.log_mean, axis=-1)[:, None]
    return (jnp.exp(jnp.take_along_axis(mc.log_mean, top, -1)) - jnp.take_along_axis(mc.std, top, -1))[:, 0]


def maximum_mean_logit(mc: MCStatistics) -> Float[Array, " n"]:
    """Returns the largest of the mean logits.

    References:
        The score mcd_mls of FD-Shifts (Jaeger et al., ICLR 2023).
    """
    return mc.mean_logits.max(-1)


def agreement(mc: MCStatistics) -> Float[Array, " n"]:
    """Returns the share of passes that vote for the class with most votes: 1 minus the variation ratio.

    It has as many values as there are passes, so that many images tie.

    References:
        Freeman, Elementary applied statistics, 1965; Gal, Uncertainty in deep learning, 2016.
    """
    votes, passes = (count.astype(mc.std.dtype) for count in (mc.votes, mc.num_samples))
    return votes.max(-1) / passes


def most_voted(mc: MCStatistics) -> Int[Array, " n"]:
    """Returns the class that most passes vote for, which `agreement` speaks of."""
    return jnp.argmax(mc.votes, axis=-1)


def negative_mutual_information(mc: MCStatistics) -> Float[Array, " n"]:
    """Returns minus the mutual information of prediction and weights, in nats: minus how far the passes disagree.

    It is the entropy of the mean softmax less the mean entropy.

    References:
        Houlsby et al., Bayesian active learning for classification and preference learning, 2011.
    """
    entropy_of_mean = jnp.exp(-jax.vmap(negative_log_entropy)(mc.log_mean))
    return mc.expected_entropy - entropy_of_mean
