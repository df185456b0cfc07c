"""Scores that a network learned to give: a confidence head, or a deep gambler's reservation. Higher is surer."""

import jax
from jaxtyping import Array, Float

from sfjax.csf.base import CSF, mc_statistics
from sfjax.csf.compose import of_mc_statistics, predict_plain
from sfjax.outputs import MCStatistics, Outputs


def confidence_logit(outputs: Outputs) -> Float[Array, " n"]:
    """Returns the logit of the learned confidence: its order, without the ties of a sigmoid near 1.

    Raises:
        ValueError: The network has no confidence head.
    """
    if outputs.confidence is None:
        raise ValueError(
            "This scoring function reads a learned confidence, and outputs.confidence is None. "
            "Train the network by the method confidnet or devries."
        )
    return outputs.confidence


def bet(outputs: Outputs) -> Float[Array, " n"]:
    """Returns the log-odds of betting against reserving: the order of 1 - r, without ties where r is near 0.

    Raises:
        ValueError: The network has no reservation.

    References:
        Liu et al., Deep Gamblers: Learning to abstain with portfolio theory, NeurIPS 2019.
    """
    if outputs.reservation is None:
        raise ValueError(
            "This scoring function reads a reservation, and outputs.reservation is None. "
            "Train the network by the method deep_gamblers."
        )
    return jax.nn.logsumexp(outputs.logits, axis=-1) - outputs.reservation


def learned_confidence(method: str) -> CSF:
    """Returns the CSF of a confidence head; its sigmoid is a probability of being right.

    Args:
        method: The only one whose networks it applies to.
    """
    return CSF(
        score=confidence_logit,
        predict=predict_plain,
        probability=lambda outputs: jax.nn.sigmoid(confidence_logit(outputs)),
        methods=frozenset({method}),
    )


def mean_confidence(mc: MCStatistics) -> Float[Array, " n"]:
    """Returns the mean over passes of the learned confidence.

    Raises:
        ValueError: The network has no confidence head.
    """
    if mc.confidence_mean is None:
        raise ValueError(
            "This scoring function reads a learned confidence of every pass, and outputs.mc.confidence_mean is None. "
            "Train the network by the method confidnet."
        )
    return mc.confidence_mean


def steady_confidence(mc: MCStatistics) -> Float[Array, " n"]:
    """Returns the mean over passes of the learned confidence less its standard deviation.

    References:
        The score ext_waic of FD-Shifts (Jaeger et al., ICLR 2023).
    """
    mean = mean_confidence(mc)
    return mean - mc.confidence_std  # pyright: ignore[reportOperatorIssue]


_CONFIDNET = frozenset({"confidnet"})
MCD_CONFIDNET = of_mc_statistics(mean_confidence)._replace(
    probability=lambda outputs: mean_confidence(mc_statistics(outputs)), methods=_CONFIDNET
)
MCD_CONFIDNET_WAIC = of_mc_statistics(steady_confidence)._replace(methods=_CONFIDNET)
RESERVATION = CSF(score=bet, predict=predict_plain, methods=frozenset({"deep_gamblers"}))
