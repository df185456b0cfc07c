"""Training losses: means over a batch, lower is better.

A loss is `(heads, labels, weight, keys, carry) -> (loss, carry)`: `weight` has one number an image, of mean 1 over the
training set; `keys` one key an image for what a loss draws; `carry` is what it keeps from step to step, {} for most.
Everything stays in the log domain, so that nothing needs to be clamped.
"""

import functools
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from sfjax.models import Heads

Carry = dict[str, Any]
Loss = Callable[[Heads, Int[Array, " n"], Float[Array, " n"], Key[Array, " n"], Carry], tuple[Float[Array, ""], Carry]]

BUDGET: Final = 0.3
"""What DeVries and Taylor's confidence loss is held at by its weight."""
FIRST_WEIGHT: Final = 0.1


def cross_entropy(
    heads: Heads, labels: Int[Array, " n"], weight: Float[Array, " n"], keys: Key[Array, " n"], carry: Carry
) -> tuple[Float[Array, ""], Carry]:
    """Returns the mean negative log-likelihood of the true classes, in nats.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> heads = Heads(features=jnp.zeros((1, 1)), logits=jnp.zeros((1, 2)))
        >>> loss, _ = cross_entropy(heads, jnp.array([1]), jnp.ones(1), jax.random.split(jax.random.key(0), 1), {})
        >>> round(float(loss), 4)  # log 2
        0.6931
    """
    del keys
    return -(weight * _of_true_class(jax.nn.log_softmax(heads.logits), labels)).mean(), carry


@functools.cache
def gamblers(reward: float) -> Loss:
    """Returns the loss of a gambler who bets on classes or keeps the money: -log(p_y + r / o), in nats.

    p and r are the softmax over classes and reservation.

    Args:
        reward: o, what a right bet pays: above 1 (else it never pays to bet), at most the number of classes (else it
            never pays to keep).

    References:
        Liu et al., Deep Gamblers: Learning to abstain with portfolio theory, NeurIPS 2019.
    """

    def loss(
        heads: Heads, labels: Int[Array, " n"], weight: Float[Array, " n"], keys: Key[Array, " n"], carry: Carry
    ) -> tuple[Float[Array, ""], Carry]:
        del keys
        if heads.reservation is None:
            raise ValueError("The gambler's loss needs a reservation: build the network by `with_reservation`.")
        log_p = jax.nn.log_softmax(jnp.concatenate([heads.logits, heads.reservation[:, None]], axis=-1))
        kept = log_p[:, -1] - jnp.log(jnp.asarray(reward, log_p.dtype))
        return -(weight * jnp.logaddexp(_of_true_class(log_p, labels), kept)).mean(), carry

    return loss


def true_class_probability(
    heads: Heads, labels: Int[Array, " n"], weight: Float[Array, " n"], keys: Key[Array, " n"], carry: Carry
) -> tuple[Float[Array, ""], Carry]:
    """Returns the mean squared difference of the confidence from the probability that the network gives the true class.

    References:
        Corbière et al., Addressing failure prediction by learning model confidence, NeurIPS 2019.
    """
    del keys
    p = jnp.exp(_of_true_class(jax.nn.log_softmax(jax.lax.stop_gradient(heads.logits)), labels))
    return (weight * jnp.square(jax.nn.sigmoid(_confidence(heads)) - p)).mean(), carry


def learned_confidence(
    heads: Heads, labels: Int[Array, " n"], weight: Float[Array, " n"], keys: Key[Array, " n"], carry: Carry
) -> tuple[Float[Array, ""], Carry]:
    """Returns the likelihood of predictions that were given hints as far as the network is unsure, and what hints cost.

    With confidence c the network is graded on c p + (1 - c) onehot, by a fair coin on half of the images only, and pays
    -lambda log c. lambda, the carry's `weight`, follows the budget of 0.3.

    References:
        DeVries and Taylor, Learning confidence for out-of-distribution detection in neural networks, 2018.
    """
    logit = _confidence(heads)
    log_c, log_hint = jax.nn.log_sigmoid(logit), jax.nn.log_sigmoid(-logit)
    log_p = _of_true_class(jax.nn.log_softmax(heads.logits), labels)
    hinted = jax.vmap(jax.random.bernoulli)(keys)
    graded = jnp.where(hinted, jnp.logaddexp(log_c + log_p, log_hint), log_p)
    price = -log_c.mean()
    loss = -(weight * graded).mean() + carry["weight"] * price
    cheaper, dearer = carry["weight"] / 1.01, carry["weight"] / 0.99
    return loss, {"weight": jnp.where(jax.lax.stop_gradient(price) < BUDGET, cheaper, dearer)}


def first_carry(loss: Loss) -> Carry:
    """Returns what a loss carries into the first step."""
    return {"weight": jnp.asarray(FIRST_WEIGHT, jnp.float32)} if loss is learned_confidence else {}


def _of_true_class(log_p: Float[Array, "n c"], labels: Int[Array, " n"]) -> Float[Array, " n"]:
    return jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0]


def _confidence(heads: Heads) -> Float[Array, " n"]:
    if heads.confidence is None:
        raise ValueError("This loss needs a confidence head: build the network by `with_confidence`.")
    return heads.confidence
