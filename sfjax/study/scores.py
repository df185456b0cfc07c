"""From outputs to numbers: every metric of every CSF on a test set, with intervals, in total and per domain.

All CSFs and all networks see the same resamples of an image set, and so do all levels of a corruption, which are made
of the same images. So the difference of any two numbers of a set has an interval too, and ties can be told.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from sfjax import keys
from sfjax.csf import CSFS
from sfjax.data import patient_groups
from sfjax.metrics import bootstrap_metrics, percentile_interval, resample_weights
from sfjax.outputs import Outputs, take
from sfjax.study.tasks import TestSet

METRICS: Final = (
    "accuracy",
    "balanced_accuracy",
    "aurc",
    "augrc",
    "auroc_f",
    "fpr_at_95tpr",
    "silent_failure_rate",
    "accepted_failure_rate",
)
HIGHER_IS_BETTER: Final = frozenset({"accuracy", "balanced_accuracy", "auroc_f"})
ACCEPTED_OF_VALIDATION: Final = 0.8
"""`accepted_failure_rate` uses the threshold above which this share of the validation images lies."""
ALL_DOMAINS: Final = "all"


class Resampled(NamedTuple):
    """Each metric of each CSF: its value, shape (s,), and its values on the resamples, shape (s, r)."""

    value: dict[str, np.ndarray]
    resamples: dict[str, np.ndarray]


class Part(NamedTuple):
    """The images of a test set that a row of the results speaks of."""

    domain: str
    rows: np.ndarray


def parts(test_set: TestSet, table: pd.DataFrame) -> list[Part]:
    """Returns all images of a test set, and those of each domain: for shifted sets, and where there are several."""
    whole = [Part(ALL_DOMAINS, np.arange(len(table)))]
    domains = sorted(domain for domain in table["domain"].unique() if domain)
    if test_set.kind == "corruption" or not domains or (test_set.kind == "iid" and len(domains) == 1):
        return whole
    return whole + [Part(domain, np.flatnonzero(table["domain"] == domain)) for domain in domains]


class Evaluated(NamedTuple):
    """What every CSF says of n images, one row a CSF; `probability` is NaN where it has none."""

    score: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    labels: np.ndarray
    num_classes: int

    def take(self, rows: np.ndarray) -> "Evaluated":
        """Returns the same of some of the images."""
        score, predicted, probability = (field[:, rows] for field in (self.score, self.predicted, self.probability))
        return Evaluated(score, predicted, probability, self.labels[rows], self.num_classes)


def evaluate(outputs: Outputs, csfs: Sequence[str]) -> Evaluated:
    """Returns the scores, predictions and probabilities of all CSFs.

    Args:
        outputs: One network's, of n images.
        csfs: Names in `sfjax.csf.CSFS`.
    """
    n, c = outputs.logits.shape
    repeated = np.minimum(np.arange(padded_length(n)), n - 1)
    fields = _evaluate(tuple(csfs), take(outputs, repeated))
    scores, predicted, probability = (np.asarray(field)[:, :n] for field in fields)
    # A class that the network does not know is a class of its own: always a failure, and never recalled.
    labels = np.asarray(outputs.labels)
    return Evaluated(scores, predicted, probability, np.where(labels < 0, c, labels).astype(np.int32), c + 1)


@functools.partial(jax.jit, static_argnums=0)
def _evaluate(
    csfs: tuple[str, ...], outputs: Outputs
) -> tuple[Float[Array, "s n"], Int[Array, "s n"], Float[Array, "s n"]]:
    entries = [CSFS[name] for name in csfs]
    without = jnp.full(outputs.labels.shape, jnp.nan)
    return (
        jnp.stack([csf.score(outputs) for csf in entries]),
        jnp.stack([csf.predict(outputs) for csf in entries]),
        jnp.stack([without if csf.probability is None else csf.probability(outputs) for csf in entries]),
    )


def padded_length(n: int, *, multiple: int = 256) -> int:
    """Returns n rounded up, so that sets of similar size share one compilation."""
    return -(-n // multiple) * multiple


def thresholds(validation: Evaluated) -> np.ndarray:
    """Returns for each CSF the score above which `ACCEPTED_OF_VALIDATION` of the validation images lie, shape (s,)."""
    limits = np.quantile(validation.score, 1 - ACCEPTED_OF_VALIDATION, axis=1, method="lower")
    return limits.astype(np.float32)


def score(images: Evaluated, loss_weight: np.ndarray, weights: np.ndarray, *, accepted_above: np.ndarray) -> Resampled:
    """Returns every metric of every CSF on one set of images.

    Args:
        images: What one network's CSFs say of n images.
        loss_weight: What a failure on each image costs, shape (n,).
        weights: How often each image is in each resample, shape (r, n).
        accepted_above: A threshold a CSF, from `thresholds`.
    """
    n = len(images.labels)
    padding = padded_length(n) - n  # padded images weigh nothing

    def padded(values: np.ndarray) -> Array:
        return jnp.asarray(np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, padding)]))

    result = bootstrap_metrics(
        scores=padded(images.score),
        predicted=padded(images.predicted),
        labels=padded(images.labels),
        probabilities=padded(images.probability),
        thresholds=jnp.asarray(accepted_above),
        loss_weight=padded(loss_weight),
        weights=padded(np.concatenate([np.ones((1, n), np.float32), weights])),
        num_classes=padded_length(images.num_classes, multiple=16),
    )
    values = {name: np.asarray(metric) for name, metric in result.items()}
    return Resampled({name: v[:, 0] for name, v in values.items()}, {name: v[:, 1:] for name, v in values.items()})


def score_test_sets(
    test_sets: Sequence[TestSet],
    outputs: Sequence[Sequence[Outputs]],
    validation: Sequence[Outputs],
    table: pd.DataFrame,
    *,
    seeds: Sequence[int],
    csfs: Sequence[str],
    resamples: int,
    key: Array,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the results, a row a network, CSF and metric, and their summary over networks.

    Args:
        test_sets: Sets made of the same images: one set, or the levels of one corruption.
        outputs: For each test set the outputs of each network.
        validation: Each network's, for thresholds.
        table: A row an image.
        seeds: Each network's.
        csfs: Names in `sfjax.csf.CSFS`.
        resamples: Of the bootstrap.
        key: Its key, the same for all test sets of a task.
    """
    accepted_above = [thresholds(evaluate(one, csfs)) for one in validation]
    evaluated = [[evaluate(one, csfs) for one in per_seed] for per_seed in outputs]
    rows, summary = [], []
    for part in parts(test_sets[0], table):
        images = table.iloc[part.rows]
        groups = jnp.asarray(patient_groups(images), jnp.int32)
        weights = np.asarray(resample_weights(keys.stream(key, test_sets[0].split, part.domain), groups, resamples))
        loss_weight = images["loss_weight"].to_numpy(np.float32)
        scored = [
            [
                score(one.take(part.rows), loss_weight, weights, accepted_above=above)
                for one, above in zip(per_seed, accepted_above, strict=True)
            ]
            for per_seed in evaluated
        ]
        for test_set, per_seed in zip(test_sets, scored, strict=True):
            about = {**_about(test_set), "domain": part.domain, "n": len(images)}
            for seed, one in zip(seeds, per_seed, strict=True):
                rows += [{**about, "seed": seed, **row} for row in _intervals(one, csfs)]
            summary += [{**about, **row} for row in _summary(per_seed, csfs)]
        if len(test_sets) > 1:
            mean = [_mean([per_seed[i] for per_seed in scored]) for i in range(len(seeds))]
            about = {**_about(test_sets[0]), "test_set": test_sets[0].shift, "level": 0}
            summary += [{**about, "domain": part.domain, "n": len(images), **row} for row in _summary(mean, csfs)]
    return pd.DataFrame(rows), pd.DataFrame(summary)


def _about(test_set: TestSet) -> dict[str, str | int]:
    return {"test_set": test_set.name, "shift": test_set.shift, "kind": test_set.kind, "level": test_set.level}


def _mean(several: Sequence[Resampled]) -> Resampled:
    """Returns the mean over networks, or over levels, value by value and resample by resample."""
    return Resampled(
        {name: np.mean([one.value[name] for one in several], axis=0) for name in METRICS},
        {name: np.mean([one.resamples[name] for one in several], axis=0) for name in METRICS},
    )


def _applies(metric: str, csf: str) -> bool:
    return metric != "silent_failure_rate" or CSFS[csf].probability is not None


def _intervals(one: Resampled, csfs: Sequence[str]) -> Iterator[dict[str, object]]:
    for i, csf in enumerate(csfs):
        for metric in METRICS:
            if _applies(metric, csf):
                low, high = interval(one.resamples[metric][i])
                yield {"csf": csf, "metric": metric, "value": float(one.value[metric][i]), "low": low, "high": high}


def _summary(per_seed: Sequence[Resampled], csfs: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yields a row a CSF and metric: mean over networks, its interval over images, and the range over networks."""
    mean = _mean(per_seed)
    for metric in METRICS:
        candidates = [i for i, csf in enumerate(csfs) if _applies(metric, csf)]
        sign = -1 if metric in HIGHER_IS_BETTER else 1
        # Rounded, so that the last bit does not choose among equals: then the first one named is the best.
        defined = [i for i in candidates if np.isfinite(mean.value[metric][i])]
        best = min(defined, key=lambda i: round(float(sign * mean.value[metric][i]), 7), default=None)
        for i in candidates:
            low, high = interval(mean.resamples[metric][i])
            of_seeds = [float(one.value[metric][i]) for one in per_seed]
            tied = False
            if best is not None and i in defined:
                difference = interval(mean.resamples[metric][i] - mean.resamples[metric][best])
                tied = i == best or difference[0] <= 0 <= difference[1]  # an undefined interval is no tie
            yield {
                "csf": csfs[i],
                "metric": metric,
                "value": float(mean.value[metric][i]),
                "low": low,
                "high": high,
                "lowest_seed": min(of_seeds),
                "highest_seed": max(of_seeds),
                "seeds": len(of_seeds),
                "best": i == best,
                "tied": tied,
            }


def interval(resamples: np.ndarray) -> tuple[float, float]:
    """Returns the 95 % percentile interval of the resamples of one value."""
    low, high, *_ = percentile_interval(resamples)
    return float(low), float(high)
