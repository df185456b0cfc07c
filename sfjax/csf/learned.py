"""Scores that a network learned to give: a confidence head, or a deep gambler's reservation. Higher is surer.

They cost nothing beside the network's pass.
"""

import jax
from jaxtyping import Array, Float

from sfjax.csf.base import CSF, mc_statistics, required
from sfjax.csf.compose import of_mc_statistics, predict_plain
from sfjax.outputs import MCStatistics, Outputs


def confidence_logit(outputs: Outputs) -> Float[Array, " n"]:
    """Returns the logit of the learned confidence: its order, without the ties of a sigmoid near 1.

    Raises:
        ValueError: The network has no confidence head.
    """
    remedy = "Train the network by the method confidnet or devries, or give Outputs.from_numpy(..., confidence=...)."
    return required(outputs.confidence, "reads a learned confidence", "outputs.confidence", remedy)


def bet(outputs: Outputs) -> Float[Array, " n"]:
    """Returns the log-odds of betting against reserving: the order of 1 - r, without ties where r is near 0.

    Raises:
        ValueError: The network has no reservation.

    References:
        Liu et al., Deep Gamblers: Learning to abstain with portfolio theory, NeurIPS 2019.
    """
    remedy = "Train the network by the method deep_gamblers, or give Outputs.from_numpy(..., reservation=...)."
    reservation = required(outputs.reservation, "reads a reservation", "outputs.reservation", remedy)
    return jax.nn.logsumexp(outputs.logits, axis=-1) - reservation


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
    remedy = "Train the network by the method confidnet, or give Outputs.from_numpy(..., mc_confidence=...)."
    field = "outputs.mc.confidence_mean"
    return required(mc.confidence_mean, "reads a learned confidence of every pass", field, remedy)


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
