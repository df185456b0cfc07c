"""What a confidence scoring function is: pure functions of a classifier's outputs, and what they need of them."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

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


def required(value: Any, needs: str, field: str, remedy: str) -> Any:
    """Returns a field of outputs that a score reads.

    Args:
        value: The field's.
        needs: What the score does with it, after "This scoring function".
        field: Its name.
        remedy: How to have it, a sentence.

    Raises:
        ValueError: It is None.
    """
    if value is None:
        raise ValueError(f"This scoring function {needs}, and {field} is None. {remedy}")
    return value


def mc_statistics(outputs: Outputs) -> MCStatistics:
    """Returns the Monte Carlo statistics of `outputs`.

    Raises:
        ValueError: There are none.
    """
    remedy = "Make them with sfjax.inference.run(..., num_samples=50), or give Outputs.from_numpy(..., mc_logits=...)."
    return required(outputs.mc, "needs Monte Carlo dropout passes", "outputs.mc", remedy)


def augmented_statistics(outputs: Outputs) -> MCStatistics:
    """Returns the statistics of passes over augmented copies.

    Raises:
        ValueError: There are none.
    """
    remedy = (
        "Make them with sfjax.inference.run(..., augmentations=10), or give Outputs.from_numpy(..., tta_logits=...)."
    )
    return required(outputs.tta, "needs passes over augmented copies of the images", "outputs.tta", remedy)


def true_logits(outputs: Outputs) -> Float[Array, "n c"]:
    """Returns the logits of `outputs`, for scores that depend on what a constant added to them would change.

    Raises:
        ValueError: They are logarithms of probabilities, whose constant is lost.
    """
    if outputs.logits_are != "logits":
        raise ValueError(
            "This scoring function needs true logits, and these outputs were made of probabilities, which do not say "
            "how large the logits were. Take a score of probabilities, such as msr or pe, or store the logits."
        )
    return outputs.logits


def features_of(outputs: Outputs) -> Float[Array, "n d"]:
    """Returns the features of `outputs`.

    Raises:
        ValueError: There are none.
    """
    remedy = "Keep the penultimate layer: sfjax.inference.run does, and Outputs.from_numpy(..., features=...) takes it."
    return required(outputs.features, "needs features", "outputs.features", remedy)
