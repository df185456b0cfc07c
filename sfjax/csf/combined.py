"""Scores made of several others. Higher is surer; they cost what their members do.

A combined score applies to the networks that all of its members apply to, and speaks of the first one's prediction.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from sfjax.csf import rules
from sfjax.csf.base import ANY, CSF, features_of
from sfjax.csf.calibrated import platt
from sfjax.csf.compose import MSR, Rule, predict_plain
from sfjax.csf.distances import knn, mahalanobis
from sfjax.csf.shaped import residual
from sfjax.csf.tuned import validation_of
from sfjax.outputs import Head, Outputs, take

LOG_UNCERTAINTY: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "msr": lambda logits: jax.nn.log_sigmoid(-rules.log_odds(logits)),
        "pe": lambda logits: -rules.negative_log_entropy(logits),
        "gini": rules.log_gini_impurity,
    }
)
"""The logarithm of what bounded scores lack to their largest value: `1 - p`, the entropy, `1 - sum p^2`."""

FEATURE_NORM: Final = CSF(score=lambda outputs: jnp.abs(features_of(outputs)).sum(-1), predict=predict_plain)
"""The 1-norm of the features, which images unlike all training images tend to have small."""

MOST_SEEN: Final = 10_000
"""Training images, drawn at random, from which SIRC takes a secondary score's mean and deviation."""


class Gate(NamedTuple):
    """Where a secondary score begins to count: three deviations below its training mean, and how sharply."""

    start: float
    slope: float


def sirc(primary: str, secondaries: Sequence[CSF], train: Outputs) -> CSF:
    """Returns a bounded score, lowered where secondary scores are lower than training images' nearly always are (SIRC).

    `-log u - sum log(1 + exp(-b (s - a)))` with u what the primary lacks to its bound, and of each secondary score s
    its mean less three deviations a, and one over its deviation b: minus the logarithm of the product that is meant,
    whose order is kept where the primary is at its bound in float32.

    Args:
        primary: A name in `LOG_UNCERTAINTY`.
        secondaries: Scores of the plain pass; several make SIRC+.
        train: What the network says of training images.

    Raises:
        ValueError: There is no such primary, or no secondary.

    References:
        Xia and Bouganis, Augmenting softmax information for selective classification with out-of-distribution data,
        ACCV 2022; Augmenting the softmax with additional confidence scores, IJCV 2024.
    """
    if primary not in LOG_UNCERTAINTY or not secondaries:
        raise ValueError(
            f"SIRC has a primary score among {', '.join(LOG_UNCERTAINTY)} and at least one secondary; got {primary} "
            f"and {len(secondaries)}."
        )
    log_uncertainty, gates = LOG_UNCERTAINTY[primary], []
    if len(train) > MOST_SEEN:
        train = take(train, np.sort(np.random.default_rng(0).choice(len(train), MOST_SEEN, replace=False)))
    for csf in secondaries:
        seen = np.asarray(csf.score(train), np.float64)
        # A secondary that does not vary in training says nothing: its gate is nowhere sharp.
        gates.append(Gate(float(seen.mean() - 3 * seen.std()), float(1 / seen.std()) if seen.std() > 0 else 0.0))

    def score(outputs: Outputs) -> Float[Array, " n"]:
        total = jax.vmap(log_uncertainty)(outputs.logits)
        for csf, gate in zip(secondaries, gates, strict=True):
            total = total + jax.nn.softplus(-gate.slope * (csf.score(outputs) - gate.start))
        return -total

    return CSF(score=score, predict=predict_plain, methods=_shared_methods(secondaries))


def average(csfs: Sequence[CSF]) -> CSF:
    """Returns the mean of several probabilities of being right: what `platt` or `isotonic` gives scores without one.

    Args:
        csfs: At least one, all with a probability.

    Raises:
        ValueError: One has no probability.
    """
    probabilities = _probabilities(csfs)

    def mean(outputs: Outputs) -> Float[Array, " n"]:
        return jnp.stack([probability(outputs) for probability in probabilities]).mean(0)

    return CSF(score=mean, predict=csfs[0].predict, probability=mean, methods=_shared_methods(csfs))


def product(csfs: Sequence[CSF]) -> CSF:
    """Returns the product of several probabilities of being right, as its logarithm: one doubt is enough.

    It is no probability of being right itself, since its factors are about the same event: `platt` makes one of it.

    Args:
        csfs: As for `average`.

    Raises:
        ValueError: One has no probability.
    """
    probabilities = _probabilities(csfs)

    def log_product(outputs: Outputs) -> Float[Array, " n"]:
        factors = [jnp.log(jnp.maximum(probability(outputs), 1e-30)) for probability in probabilities]
        return jnp.stack(factors).sum(0)

    return CSF(score=log_product, predict=csfs[0].predict, methods=_shared_methods(csfs))


def rank_average(csfs: Sequence[CSF], validation: Outputs) -> CSF:
    """Returns the mean of the shares of validation images that each score is above.

    Args:
        csfs: At least one.
        validation: Gives every score its ranks, so that an image's score does not depend on which others are tested.
    """
    return _of_ranks(csfs, validation, lambda shares: shares.mean(0))


def both(csfs: Sequence[CSF], validation: Outputs) -> CSF:
    """Returns the least of the shares of validation images that each score is above.

    A threshold t on it accepts an image where every score is above its own threshold, the one that a share t of
    validation images is below: all of them have to agree. `accept` takes thresholds that are chosen one by one.

    Args:
        csfs: As for `rank_average`.
        validation: As for `rank_average`.
    """
    return _of_ranks(csfs, validation, lambda shares: shares.min(0))


def accept(csfs: Sequence[CSF], thresholds: Sequence[float]) -> Callable[[Outputs], Bool[Array, " n"]]:
    """Returns the selector that accepts an image where every score is at least its threshold.

    Args:
        csfs: At least one.
        thresholds: One a score, such as `sfjax.metrics` promises a risk for.

    Raises:
        ValueError: There are not as many thresholds as scores, or none.
    """
    if not csfs or len(csfs) != len(thresholds):
        raise ValueError(f"Every score has a threshold; got {len(csfs)} scores and {len(thresholds)} thresholds.")

    def accepted(outputs: Outputs) -> Bool[Array, " n"]:
        return jnp.stack([csf.score(outputs) >= t for csf, t in zip(csfs, thresholds, strict=True)]).all(0)

    return accepted


def _shared_methods(csfs: Sequence[CSF]) -> frozenset[str]:
    shared = frozenset.intersection(ANY, *(csf.methods for csf in csfs))
    if not shared:
        raise ValueError(
            "Scores to combine must apply to one network, and no training method has all of these: "
            f"{'; '.join(', '.join(sorted(csf.methods)) for csf in csfs)}."
        )
    return shared


def _of_ranks(
    csfs: Sequence[CSF], validation: Outputs, combine: Callable[[Float[Array, "s n"]], Float[Array, " n"]]
) -> CSF:
    if not csfs:
        raise ValueError("Scores to combine must be at least one, and there is none.")
    ladders = []
    for csf in csfs:
        places, counts = np.unique(np.asarray(csf.score(validation)), return_counts=True)
        # Half of those of equal score count as below.
        shares = (np.cumsum(counts) - counts / 2) / counts.sum()
        ladders.append((csf, jnp.asarray(places, jnp.float32), jnp.asarray(shares, jnp.float32)))

    def score(outputs: Outputs) -> Float[Array, " n"]:
        return combine(jnp.stack([jnp.interp(csf.score(outputs), *ladder) for csf, *ladder in ladders]))

    return CSF(score=score, predict=csfs[0].predict, methods=_shared_methods(csfs))


def _probabilities(csfs: Sequence[CSF]) -> list[Callable[[Outputs], Float[Array, " n"]]]:
    found = [csf.probability for csf in csfs if csf.probability is not None]
    if len(found) < len(csfs) or not found:
        raise ValueError(
            f"What is combined are probabilities of being right, and {len(csfs) - len(found)} of {len(csfs)} scores "
            "have none. Give them one by platt(csf, validation)."
        )
    return found


def sirc_norm(
    train: Outputs, *, head: Head | None = None, validation: Outputs | None = None, primary: str = "msr"
) -> CSF:
    """Returns `sirc` with the features' 1-norm; arguments as for all of `FITTED`, and the primary score's name."""
    del head, validation
    return sirc(primary, [FEATURE_NORM], train)


def sirc_residual(
    train: Outputs, *, head: Head | None = None, validation: Outputs | None = None, primary: str = "msr"
) -> CSF:
    """Returns `sirc` with `residual`; arguments as for `sirc_norm`."""
    del validation
    return sirc(primary, [residual(train, head=head)], train)


def sirc_knn(
    train: Outputs, *, head: Head | None = None, validation: Outputs | None = None, primary: str = "msr"
) -> CSF:
    """Returns `sirc` with `knn`; arguments as for `sirc_norm`."""
    del head, validation
    return sirc(primary, [knn(train)], train)


def sirc_plus(
    train: Outputs, *, head: Head | None = None, validation: Outputs | None = None, primary: str = "msr"
) -> CSF:
    """Returns SIRC+: `sirc` with the features' 1-norm, `residual` and `knn`; arguments as for `sirc_norm`."""
    del validation
    return sirc(primary, [FEATURE_NORM, residual(train, head=head), knn(train)], train)


def average_msr_mahalanobis(train: Outputs, *, head: Head | None = None, validation: Outputs | None = None) -> CSF:
    """Returns `average` of msr and the calibrated Mahalanobis score; arguments as for all of `FITTED`."""
    del head
    return average([MSR, platt(mahalanobis(train), validation_of(validation, "average_msr_mahalanobis"))])


def product_msr_mahalanobis(train: Outputs, *, head: Head | None = None, validation: Outputs | None = None) -> CSF:
    """Returns `product` of msr and the calibrated Mahalanobis score; arguments as for all of `FITTED`."""
    del head
    return product([MSR, platt(mahalanobis(train), validation_of(validation, "product_msr_mahalanobis"))])


def rank_average_msr_knn(train: Outputs, *, head: Head | None = None, validation: Outputs | None = None) -> CSF:
    """Returns `rank_average` of msr and knn; arguments as for all of `FITTED`."""
    del head
    return rank_average([MSR, knn(train)], validation_of(validation, "rank_average_msr_knn"))


def both_msr_knn(train: Outputs, *, head: Head | None = None, validation: Outputs | None = None) -> CSF:
    """Returns `both` of msr and knn; arguments as for all of `FITTED`."""
    del head
    return both([MSR, knn(train)], validation_of(validation, "both_msr_knn"))
