"""What every CSF says of a set of images, as plain arrays: the bridge from a network's outputs to its metrics."""

import functools
from collections.abc import Sequence
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from sfjax.csf import CSFS
from sfjax.csf.compose import log_probabilities
from sfjax.metrics.calibration import brier_of_images, nll_of_images
from sfjax.outputs import Outputs, take

ACCEPTED_OF_VALIDATION: Final = 0.8
"""`accepted_failure_rate` uses the threshold above which this share of the validation images lies."""


class Evaluated(NamedTuple):
    """What every CSF says of n images, one row a CSF.

    Attributes:
        score: Higher is surer.
        predicted: The class that the score speaks of.
        probability: Of being right; NaN where the CSF has none.
        nll: Negative log-likelihood of the true class; NaN where the CSF has no probability.
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


def evaluate(outputs: Outputs, csfs: Sequence[str]) -> Evaluated:
    """Returns what all CSFs say.

    Args:
        outputs: One network's, of n images.
        csfs: Names in `sfjax.csf.CSFS`.
    """
    n, c = outputs.logits.shape
    repeated = np.minimum(np.arange(padded_length(n)), n - 1)
    fields = [np.asarray(field)[:, :n] for field in _evaluate(tuple(csfs), take(outputs, repeated))]
    score, predicted, probability, nll, brier = fields
    # A class that the network does not know is a class of its own: always a failure, and never recalled.
    labels = np.where(np.asarray(outputs.labels) < 0, c, np.asarray(outputs.labels)).astype(np.int32)
    return Evaluated(score, predicted, probability, nll, brier, labels, c + 1)


@functools.partial(jax.jit, static_argnums=0)
def _evaluate(
    csfs: tuple[str, ...], outputs: Outputs
) -> tuple[Float[Array, "s n"], Int[Array, "s n"], Float[Array, "s n"], Float[Array, "s n"], Float[Array, "s n"]]:
    without = jnp.full(outputs.labels.shape, jnp.nan)
    rows = []
    for csf in (CSFS[name] for name in csfs):
        probability = nll = brier = without
        if csf.probability is not None:
            log_p = log_probabilities(csf, outputs)
            probability = csf.probability(outputs)
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
