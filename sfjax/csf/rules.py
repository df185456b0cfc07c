"""Scores of one vector of logits, shape (c,), as pure functions. Higher is surer in every one of them.

Sums of small probabilities are taken in the log domain, so that the order of very confident predictions, among which
the silent failures are, survives float32. Those that statistics over passes are made of too are in `sfjax.softmax`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sfjax.softmax import log_odds, negative_log_entropy, softmax_maximum


def maximum_logit(logits: Float[Array, " c"]) -> Float[Array, ""]:
    """Returns the largest logit.

    References:
        Hendrycks et al., Scaling out-of-distribution detection for real-world settings, ICML 2022.
    """
    return jnp.max(logits)


def negative_energy(logits: Float[Array, " c"]) -> Float[Array, ""]:
    """Returns the logarithm of the sum of the exponentials of the logits: minus the free energy at temperature 1.

    References:
        Liu et al., Energy-based out-of-distribution detection, NeurIPS 2020.
    """
    return jax.nn.logsumexp(logits)


__all__ = ["log_odds", "maximum_logit", "negative_energy", "negative_log_entropy", "softmax_maximum"]
