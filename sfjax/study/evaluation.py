"""What every CSF says of a set of images, as plain arrays: the bridge from a network's outputs to its metrics."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from sfjax.csf import CSF, CSFS, FITTED
from sfjax.csf.calibrated import Calibration, isotonic_steps, platt_line
from sfjax.metrics.calibration import brier_of_images, nll_of_images
from sfjax.outputs import Head, Outputs, concatenate, take
from sfjax.study.entries import csf_name, method_of

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


class Scorers(NamedTuple):
    """The scores of a run for the networks of one seed, with what they learned from those networks' outputs.

    Attributes:
        csfs: By entry (`sfjax.study.entries`).
        calibration: By entry, the probability of being right of a score that has none of its own.
    """

    csfs: Mapping[str, CSF]
    calibration: Mapping[str, Calibration] = MappingProxyType({})

    def has_probability(self, entry: str) -> bool:
        """Returns whether an entry has a probability of being right."""
        return self.csfs[entry].probability is not None or entry in self.calibration


def learn(
    entries: Sequence[str],
    train: Said | None,
    validation: Said | None,
    heads: Mapping[str, Head] = MappingProxyType({}),
    *,
    calibrate: str = "none",
) -> Scorers:
    """Returns the scores of one seed's networks.

    Args:
        entries: Their names.
        train: What the networks say of their training images; only scores of `FITTED` read it.
        validation: What they say of the validation images.
        heads: By training method, the networks' last layers.
        calibrate: `platt` or `isotonic` for scores without a probability, or `none`.

    Raises:
        ValueError: A score lacks what it learns from.
    """
    csfs, calibration = {}, {}
    for entry in entries:
        name = csf_name(entry)
        if name in CSFS:
            csfs[entry] = CSFS[name]
            continue
        if train is None:
            raise ValueError(f"{entry} learns from the outputs on training images, and there are none.")
        method = _method(entry, train)
        own = None if validation is None else _by_method(validation)[method]
        csfs[entry] = FITTED[name](_by_method(train)[method], head=heads.get(method), validation=own)
    if calibrate != "none" and validation is not None:
        fit = {"platt": platt_line, "isotonic": isotonic_steps}[calibrate]
        plain = Scorers(csfs)
        said = evaluate(validation, plain)
        for i, entry in enumerate(csfs):
            if not plain.has_probability(entry):
                calibration[entry] = fit(said.score[i], said.predicted[i] != said.labels)
    return Scorers(csfs, calibration)


def _by_method(said: Said) -> Mapping[str, Outputs]:
    return {"": said} if isinstance(said, Outputs) else said


def _method(entry: str, said: Said) -> str:
    return "" if isinstance(said, Outputs) else method_of(entry, list(said))


def evaluate(said: Said, scorers: Scorers) -> Evaluated:
    """Returns what all scores say.

    Args:
        said: What their networks say of n images.
        scorers: Of these networks.
    """
    first = first_network(said)
    n, c = first.logits.shape
    repeated = np.minimum(np.arange(padded_length(n)), n - 1)
    rows: dict[str, list[np.ndarray]] = {}
    for method, outputs in _by_method(said).items():
        own = [entry for entry in scorers.csfs if _method(entry, said) == method]
        outputs = take(outputs, repeated)
        # Those of the table are one compiled function; those that learned are compiled by rule, whatever they learned.
        named = [entry for entry in own if csf_name(entry) in CSFS]
        parts = [(named, _evaluate_compiled)] if named else []
        parts += [([entry], _evaluate) for entry in own if entry not in named]
        for some, function in parts:
            found = [np.asarray(field)[:, :n] for field in function(tuple(scorers.csfs[e] for e in some), outputs)]
            rows |= {entry: [field[i] for field in found] for i, entry in enumerate(some)}
    fields = zip(*(rows[entry] for entry in scorers.csfs), strict=True)
    score, predicted, probability, nll, brier = (np.stack(field) for field in fields)
    for i, entry in enumerate(scorers.csfs):
        if entry in scorers.calibration:
            probability[i] = np.asarray(scorers.calibration[entry](jnp.asarray(score[i])))
    # A class that the network does not know is a class of its own: always a failure, and never recalled.
    labels = np.where(np.asarray(first.labels) < 0, c, np.asarray(first.labels)).astype(np.int32)
    return Evaluated(score, predicted, probability, nll, brier, labels, c + 1)


def _evaluate(
    csfs: tuple[CSF, ...], outputs: Outputs
) -> tuple[Float[Array, "s n"], Int[Array, "s n"], Float[Array, "s n"], Float[Array, "s n"], Float[Array, "s n"]]:
    without = jnp.full(outputs.labels.shape, jnp.nan)
    rows = []
    for csf in csfs:
        probability = nll = brier = without
        if csf.probability is not None:
            probability = csf.probability(outputs)
        if csf.log_probabilities is not None:
            log_p = csf.log_probabilities(outputs)
            nll, brier = nll_of_images(log_p, outputs.labels), brier_of_images(jnp.exp(log_p), outputs.labels)
        rows.append((csf.score(outputs), csf.predict(outputs), probability, nll, brier))
    return tuple(jnp.stack(field) for field in zip(*rows, strict=True))  # pyright: ignore[reportReturnType]


_evaluate_compiled = jax.jit(_evaluate, static_argnums=0)


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
