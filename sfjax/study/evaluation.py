"""What every CSF says of a set of images, as plain arrays: the bridge from a network's outputs to its metrics."""

import functools
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from sfjax.metrics.calibration import brier_of_images, nll_of_images
from sfjax.outputs import Outputs, concatenate, take
from sfjax.study.entries import csf_of, method_of

ACCEPTED_OF_VALIDATION: Final = 0.8
"""`accepted_failure_rate` uses the threshold above which this share of the validation images lies."""


class Evaluated(NamedTuple):
    """What every CSF says of n images, one row a CSF.

    Attributes:
        score: Higher is surer.
        predicted: The class that the score speaks of.
        probability: Of being right; NaN where the CSF has none.
        nll: Negative log-likelihood of the true class; NaN where the CSF has no class probabilities.
        brier: Squared distance of the class probabilities from the truth; NaN likewise.
        labels: True classes; the number of classes stands for every class that the network does not know.
        num_classes: Of the network's classes and the unknown one.
    """

    score: Float[np.ndarray, "s n"]
    predicted: Int[np.ndarray, "s n"]
    probability: Float[np.ndarray, "s n"]
    nll: Float[np.ndarray, "s n"]
    brier: Float[np.ndarray, "s n"]
    labels: Int[np.ndarray, " n"]
    num_classes: int

    def take(self, rows: Int[np.ndarray, " m"]) -> "Evaluated":
        """Returns the same of some of the images."""
        taken = {name: getattr(self, name)[..., rows] for name in self._fields if name != "num_classes"}
        return self._replace(**taken)


Said = Outputs | Mapping[str, Outputs]
"""What one network says of n images, or what several say, by training method; the first one's features are shown."""


def together(parts: Sequence[Said]) -> Said:
    """Returns what the same networks say of several sets of images, as of one."""
    if all(isinstance(part, Outputs) for part in parts):
        return concatenate(parts)  # pyright: ignore[reportArgumentType]
    methods = list(parts[0])  # pyright: ignore[reportArgumentType]
    return {method: concatenate([part[method] for part in parts]) for method in methods}  # pyright: ignore


def first_network(said: Said) -> Outputs:
    """Returns what the first network says."""
    return said if isinstance(said, Outputs) else next(iter(said.values()))


def evaluate(said: Said, csfs: Sequence[str]) -> Evaluated:
    """Returns what all CSFs say.

    Args:
        said: What their networks say of n images.
        csfs: Entries (`sfjax.study.entries`).
    """
    by_method = {"": said} if isinstance(said, Outputs) else said
    place_of = {csf: "" if isinstance(said, Outputs) else method_of(csf, list(by_method)) for csf in csfs}
    first = first_network(said)
    n, c = first.logits.shape
    repeated = np.minimum(np.arange(padded_length(n)), n - 1)
    rows: dict[str, list[np.ndarray]] = {}
    for method, outputs in by_method.items():
        own = tuple(csf for csf in csfs if place_of[csf] == method)
        if own:
            found = [np.asarray(field)[:, :n] for field in _evaluate(own, take(outputs, repeated))]
            rows |= {csf: [field[i] for field in found] for i, csf in enumerate(own)}
    score, predicted, probability, nll, brier = (np.stack(field) for field in zip(*map(rows.get, csfs), strict=True))  # pyright: ignore
    # A class that the network does not know is a class of its own: always a failure, and never recalled.
    labels = np.where(np.asarray(first.labels) < 0, c, np.asarray(first.labels)).astype(np.int32)
    return Evaluated(score, predicted, probability, nll, brier, labels, c + 1)


@functools.partial(jax.jit, static_argnums=0)
def _evaluate(
    csfs: tuple[str, ...], outputs: Outputs
) -> tuple[Float[Array, "s n"], Int[Array, "s n"], Float[Array, "s n"], Float[Array, "s n"], Float[Array, "s n"]]:
    without = jnp.full(outputs.labels.shape, jnp.nan)
    rows = []
    for csf in map(csf_of, csfs):
        probability = nll = brier = without
        if csf.probability is not None:
            probability = csf.probability(outputs)
        if csf.log_probabilities is not None:
            log_p = csf.log_probabilities(outputs)
            nll, brier = nll_of_images(log_p, outputs.labels), brier_of_images(jnp.exp(log_p), outputs.labels)
        rows.append((csf.score(outputs), csf.predict(outputs), probability, nll, brier))
    return tuple(jnp.stack(field) for field in zip(*rows, strict=True))  # pyright: ignore[reportReturnType]


def padded_length(n: int, *, multiple: int = 256) -> int:
    """Returns n rounded up, so that sets of similar size share one compilation."""
    return -(-n // multiple) * multiple


def thresholds(validation: Evaluated) -> Float[np.ndarray, " s"]:
    """Returns for each CSF the score above which `ACCEPTED_OF_VALIDATION` of the validation images lie."""
    limits = np.quantile(validation.score, 1 - ACCEPTED_OF_VALIDATION, axis=1, method="lower")
    return limits.astype(np.float32)


class FailureCosts(NamedTuple):
    """What failures cost.

    Attributes:
        matrix: By true class of the data set, then by the network's class; None where every failure costs 1.
        classes: Names of the true classes, the matrix's rows.
        bound: The most that one failure can cost, loss weight included, stated beforehand.
    """

    matrix: Float[np.ndarray, "t c"] | None
    classes: tuple[str, ...]
    bound: float

    def of(
        self, labels: Shaped[np.ndarray, " n"], loss_weight: Float[np.ndarray, " n"], images: Evaluated
    ) -> Float[np.ndarray, "s n"]:
        """Returns what each image costs by each CSF's prediction: failure x cost x loss weight.

        Args:
            labels: Names of the true classes.
            loss_weight: How much a failure on each image weighs.
            images: What the CSFs say.
        """
        failure = images.predicted != images.labels
        # In float64, so that the largest cost is the bound and not its neighbor.
        cost = np.where(failure, np.asarray(loss_weight, np.float64), 0.0)
        if self.matrix is not None:
            place = {name: i for i, name in enumerate(self.classes)}
            cost = cost * self.matrix[np.array([place[name] for name in labels])[None, :], images.predicted]
        return cost
