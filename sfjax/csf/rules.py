"""Scores of one vector of logits, shape (c,), as pure functions. Higher is surer in every one of them.

Sums of small probabilities are taken in the log domain, so that the order of very confident predictions, among which
the silent failures are, survives float32. All cost c an image. Those that statistics over passes are made of too are in
`sfjax.softmax`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sfjax.softmax import log_odds, negative_log_entropy, softmax_maximum


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
    if logits.shape[0] <= most:
        return -terms.sum()
    return -terms[jax.lax.top_k(log_p, most)[1]].sum()


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
