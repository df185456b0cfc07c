"""Scores of one vector of logits, shape (c,), as pure functions. Higher is surer in every one of them.

Sums of small probabilities are taken in the log domain, so that the order of very confident predictions, among which
the silent failures are, survives float32.
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


def log_share_of_others(logits: Float[Array, " c"]) -> Float[Array, " c"]:
    """Returns `log(1 - p)` of every class, exact where a `p` is near 1."""
    log_p = jax.nn.log_softmax(logits)
    top = jnp.arange(logits.shape[0]) == jnp.argmax(logits)
    # All but the top class have p <= 1/2, where the plain formula is exact; the top class goes by its odds.
    return jnp.where(top, jax.nn.log_sigmoid(-log_odds(logits)), jnp.log1p(-jnp.where(top, 0.0, jnp.exp(log_p))))


def margin(logits: Float[Array, " c"]) -> Float[Array, ""]:
    """Returns `-log(1 - (p1 - p2))`: the order of the two largest probabilities' difference, at any margin.

    What the difference lacks to 1 is `2 p2` and all smaller probabilities, a sum that nothing cancels.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(margin(jnp.log(jnp.array([0.5, 0.3, 0.2])))), 4)  # -log 0.8
        0.2231

    References:
        Scheffer, Decomain and Wrobel, Active hidden Markov models for information extraction, IDA 2001.
    """
    log_p = jax.nn.log_softmax(logits)
    first = jnp.argmax(log_p)
    others = jnp.where(jnp.arange(logits.shape[0]) == first, -jnp.inf, log_p)
    second = jnp.argmax(others)
    return -jnp.logaddexp(jax.nn.logsumexp(others), others[second])


def gini(logits: Float[Array, " c"]) -> Float[Array, ""]:
    """Returns `log(sum p^2 / (1 - sum p^2))`: minus the logarithm of DOCTOR's estimate of the odds of being wrong.

    `1 - sum p^2` is the Gini impurity, here `sum p (1 - p)` in the log domain.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(gini(jnp.log(jnp.array([0.5, 0.5])))), 4)
        0.0

    References:
        Granese et al., DOCTOR: A simple method for detecting misclassification errors, NeurIPS 2021.
    """
    log_p = jax.nn.log_softmax(logits)
    return jax.nn.logsumexp(2 * log_p) - log_gini_impurity(logits)


def log_gini_impurity(logits: Float[Array, " c"]) -> Float[Array, ""]:
    """Returns the logarithm of `1 - sum p^2`."""
    return jax.nn.logsumexp(jax.nn.log_softmax(logits) + log_share_of_others(logits))


def negative_generalized_entropy(
    logits: Float[Array, " c"], *, gamma: float = 0.1, most: int = 100
) -> Float[Array, ""]:
    """Returns minus the generalized entropy `sum p^gamma (1 - p)^gamma` over the most probable classes.

    Args:
        logits: Of one image.
        gamma: In (0, 1]: small values weigh small probabilities up.
        most: So many classes, the most probable ones, are counted.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(negative_generalized_entropy(jnp.zeros(2), gamma=0.5)), 4)  # two halves
        -1.0

    References:
        Liu, Lochman and Zach, GEN: Pushing the limits of softmax-based out-of-distribution detection, CVPR 2023.
    """
    log_p = jax.nn.log_softmax(logits)
    terms = jnp.exp(gamma * (log_p + log_share_of_others(logits)))
    counted = jax.lax.top_k(log_p, min(most, logits.shape[0]))[1]
    return -terms[counted].sum()


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
