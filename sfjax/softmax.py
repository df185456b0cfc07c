"""What the softmax of one vector of logits, shape (c,), is, in the log domain: float32 keeps what is near 0 and near 1.

They are scores, higher is surer, and the terms of statistics over passes.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def log_odds(logits: Float[Array, " c"]) -> Float[Array, ""]:
    """Returns the log-odds of the top class, `max z - logsumexp(others)`; its sigmoid is the softmax maximum.

    It orders images as the maximum softmax response does, without that one's ties: in float32 the softmax maximum is
    exactly 1 from a logit margin of 17 on.

    Example:
        >>> import jax.numpy as jnp
        >>> float(log_odds(jnp.array([3.0, 1.0])))
        2.0

    References:
        Hendrycks and Gimpel, A baseline for detecting misclassified and out-of-distribution examples, ICLR 2017.
    """
    top = jnp.argmax(logits)
    others = jnp.where(jnp.arange(logits.shape[0]) == top, -jnp.inf, logits)
    return logits[top] - jax.nn.logsumexp(others)


def softmax_maximum(logits: Float[Array, " c"]) -> Float[Array, ""]:
    """Returns the softmax probability of the top class, in (0, 1]."""
    return jax.nn.sigmoid(log_odds(logits))


def negative_log_entropy(logits: Float[Array, " c"]) -> Float[Array, ""]:
    """Returns minus the logarithm of the softmax's entropy: the order of minus the entropy, at any margin.

    The top class's share of the entropy, `-p log p`, is lost to rounding when p is near 1. With `u = log(1/p - 1)`,
    minus the log-odds, it is `sigmoid(-u) * softplus(u)`, exact however small.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(jnp.exp(-negative_log_entropy(jnp.zeros(2)))), 4)  # log 2
        0.6931
    """
    odds = log_odds(logits)
    log_p = jax.nn.log_softmax(logits)
    # The others have p <= 1/2, so that log(-log p) is safe; the top class goes by its odds. A class of probability 0
    # adds 0.
    counted = (jnp.arange(logits.shape[0]) != jnp.argmax(logits)) & jnp.isfinite(log_p)
    rest = jnp.where(counted, log_p + jnp.log(-jnp.where(counted, log_p, -1.0)), -jnp.inf)
    top = jax.nn.log_sigmoid(odds) + log_softplus(-odds)
    return -jnp.logaddexp(jax.nn.logsumexp(rest), top)


def log_softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns `log(log(1 + exp(x)))`, exact for very negative `x`, where it is `x`."""
    small = x < -15.0
    return jnp.where(small, x, jnp.log(jax.nn.softplus(jnp.where(small, 0.0, x))))
