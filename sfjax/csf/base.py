"""What a confidence scoring function is: pure functions of a classifier's outputs."""

from collections.abc import Callable
from typing import Final, NamedTuple

from jaxtyping import Array, Float, Int

from sfjax.outputs import MCStatistics, Outputs

ANY: Final = frozenset({"cross_entropy", "confidnet", "deep_gamblers", "devries", "ensemble"})
"""Every training method: what a score applies to that reads nothing a special method makes."""


class CSF(NamedTuple):
    """A confidence scoring function.

    It is three functions, because a score speaks of a prediction, and that need not be the plain pass's: scores of
    Monte Carlo dropout speak of the class of the mean softmax.

    Attributes:
        score: Higher is surer; only the order counts. Shape (n,).
        predict: The classes that `score` speaks of. Shape (n,).
        probability: Of being right, in [0, 1], where the score has one. Shape (n,).
        log_probabilities: Logarithm of the class probabilities whose largest is `probability`, where it is that. Shape
            (n, c).
        methods: The training methods of the networks it applies to.
    """

    score: Callable[[Outputs], Float[Array, " n"]]
    predict: Callable[[Outputs], Int[Array, " n"]]
    probability: Callable[[Outputs], Float[Array, " n"]] | None = None
    log_probabilities: Callable[[Outputs], Float[Array, "n c"]] | None = None
    methods: frozenset[str] = ANY


def true_logits(outputs: Outputs) -> Float[Array, "n c"]:
    """Returns the logits of `outputs`, for scores that softmax does not take their level away from.

    Raises:
        ValueError: They are logarithms of probabilities.
    """
    if outputs.logits_are != "logits":
        raise ValueError(
            f"This scoring function needs logits, and the outputs have {outputs.logits_are}, which have lost their "
            "level. Give the logits to Outputs.from_numpy or from_torch, or take a score of the softmax, such as msr."
        )
    return outputs.logits


def mc_statistics(outputs: Outputs) -> MCStatistics:
    """Returns the Monte Carlo statistics of `outputs`.

    Raises:
        ValueError: There are none.
    """
    if outputs.mc is None:
        raise ValueError(
            "This scoring function needs Monte Carlo dropout passes, and outputs.mc is None. "
            "Make them with sfjax.inference.run(..., num_samples=50)."
        )
    return outputs.mc
