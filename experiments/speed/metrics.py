"""Areas under risk-coverage curves and their bootstrap, beside NumPy and a plain loop. About two minutes on a CPU."""

import resource
import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments.speed.timing import interleaved, table
from sfjax import metrics

CSFS_AT_ONCE = 10
FIVE = ("accuracy", "aurc", "augrc", "auroc_f", "fpr_at_95tpr")


@dataclass(frozen=True)
class Options:
    """How metrics are measured.

    Attributes:
        repeats: Of every measurement; sides take turns.
        resamples: Of the bootstrap.
        sizes: Images, for growth.
    """

    repeats: int = 7
    resamples: int = 1000
    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000)


def draw(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores, lower for failures, and failures, one in ten."""
    rng = np.random.default_rng(seed)
    failure = rng.random(n) < 0.1
    return (rng.standard_normal(n) - 1.5 * failure).astype(np.float32), failure


def loop_aurc(score: np.ndarray, failure: np.ndarray) -> float:
    """Returns the AURC the plain way: a loop over sorted images that ends a group where the score changes."""
    order = np.argsort(-score)
    scores, failures = score[order].tolist(), failure[order].tolist()
    n, lost, area, last_coverage, last_risk = len(scores), 0, 0.0, 0.0, None
    for place in range(n):
        lost += failures[place]
        if place + 1 == n or scores[place + 1] != scores[place]:
            risk, coverage = lost / (place + 1), (place + 1) / n
            area += (coverage - last_coverage) * (risk + (risk if last_risk is None else last_risk)) / 2
            last_coverage, last_risk = coverage, risk
    return area


def numpy_aurc(score: np.ndarray, failure: np.ndarray) -> float:
    """Returns the AURC by NumPy: sort, running sums, the last place of each group."""
    order = np.argsort(-score)
    sorted_score = score[order]
    ends = np.flatnonzero(np.append(sorted_score[1:] != sorted_score[:-1], True))
    risk = np.cumsum(failure[order], dtype=np.float64)[ends] / (ends + 1)
    coverage = (ends + 1) / len(score)
    return float(np.sum(np.diff(coverage, prepend=0) * (risk + np.concatenate([risk[:1], risk[:-1]])) / 2))


def numpy_bootstrap(scores: np.ndarray, failure: np.ndarray, resamples: int, seed: int = 0) -> np.ndarray:
    """Returns AURCs of resamples the plain way: each resample is drawn and sorted anew."""
    rng = np.random.default_rng(seed)
    found = np.empty((len(scores), resamples))
    for r in range(resamples):
        drawn = rng.integers(0, len(failure), len(failure))
        found[:, r] = [numpy_aurc(score[drawn], failure[drawn]) for score in scores]
    return found


def stack(n: int, csfs: int) -> metrics.Scored:
    """Returns several CSFs' scores of the same images."""
    _, failure = draw(n)
    scored = [metrics.scored(draw(n, seed)[0] - 1.5 * failure, failure) for seed in range(csfs)]
    return jax.tree.map(lambda *fields: jnp.asarray(np.stack(fields)), *scored)


def measure(options: Options) -> None:
    """Prints the tables."""
    score, failure = draw(100_000)
    compiled = jax.jit(metrics.aurc)
    device_score, device_failure = jnp.asarray(score), jnp.asarray(failure)
    values = {
        "sfjax.metrics.aurc, NumPy arrays": lambda: metrics.aurc(score, failure),
        "sfjax.metrics.aurc within jit": lambda: compiled(device_score, device_failure),
        "NumPy, sort and running sums": lambda: numpy_aurc(score, failure),
        "loop over sorted images": lambda: loop_aurc(score, failure),
    }
    results = [float(side()) for side in values.values()]
    if max(results) - min(results) > 1e-6:
        raise ValueError(f"The sides must agree before they are timed; got {results}.")
    print(table("One AURC of 100 000 images", interleaved(values, options.repeats)))

    n, groups = 10_000, np.arange(10_000)
    images = stack(n, CSFS_AT_ONCE)
    scores = np.stack([draw(n, seed)[0] for seed in range(CSFS_AT_ONCE)])
    sides = {
        f"sfjax, {CSFS_AT_ONCE} CSFs x 5 metrics x {options.resamples}, with influences": lambda: metrics.bootstrap(
            jax.random.key(0), images, groups, num_resamples=options.resamples, metrics=FIVE
        ),
        f"sfjax, {CSFS_AT_ONCE} CSFs x AURC x {options.resamples}, with influences": lambda: metrics.bootstrap(
            jax.random.key(0), images, groups, num_resamples=options.resamples, metrics=("aurc",)
        ),
    }
    begun = time.perf_counter()
    next(iter(sides.values()))()
    first = time.perf_counter() - begun
    measured = interleaved(sides, max(options.repeats // 2, 3))
    fewer = max(options.resamples // 20, 1)
    plain = interleaved({"": lambda: numpy_bootstrap(scores, draw(n)[1], fewer)}, 3)[""]
    scaled = [one * options.resamples / fewer for one in plain]
    measured[f"NumPy, AURC alone, each resample sorted anew (from {fewer} resamples)"] = scaled
    print(table(f"Bootstrap of {n} images", measured, unit="s"))
    print(f"\nThe first call, with compilation: {first:.1f} s.")

    growth = {}
    for size in options.sizes:
        of_size, patients = stack(size, 1), np.arange(size)
        sized_score, sized_failure = draw(size)
        growth[f"aurc, {size} images"] = interleaved(
            {"": lambda score=sized_score, failure=sized_failure: metrics.aurc(score, failure)}, options.repeats
        )[""]
        number = max(options.resamples // 100, 1)
        growth[f"bootstrap of AURC, {size} images, {number} resamples"] = interleaved(
            {
                "": lambda images=of_size, groups=patients, number=number: metrics.bootstrap(
                    jax.random.key(0), images, groups, num_resamples=number, metrics=("aurc",)
                )
            },
            3,
        )[""]
    print(table("Growth with the number of images", growth, ratios=False))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\nDevice: {jax.devices()[0].device_kind}. Most memory of the process: {peak:.2f} GiB.")
