"""How often the 95 % intervals of the bootstrap hold the truth, by simulation.

    python -m experiments.coverage [options]

Failures and scores are drawn from a model whose metrics are known: an image fails with a given chance, and scores are
normal, lower by `separation` for failures. Prints a table; takes about half an hour on two CPU cores.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import tyro
from scipy.special import ndtri

from sfjax import keys, metrics
from sfjax.metrics.intervals import Method, interval
from sfjax.study import storage
from sfjax.study.tables import markdown

METRICS = ("aurc", "augrc", "auroc_f", "fpr_at_95tpr")
METHODS: tuple[Method, ...] = ("percentile", "bca")
AT_ONCE = 20  # data sets that share a compiled call, and its resamples


@dataclass(frozen=True)
class Arguments:
    """What is simulated.

    Attributes:
        sizes: Images of a data set.
        errors: Chances of failure.
        simulations: Data sets a cell; the coverage is known to about 0.7 points with 1000.
        resamples: Of the bootstrap.
        separation: How far failures score below successes, in standard deviations; 1.5 is a failure AUROC of 86 %.
        seed: Of everything.
        out: A CSV file for the table, if wanted.
    """

    sizes: tuple[int, ...] = (200, 1000, 5000)
    errors: tuple[float, ...] = (0.02, 0.05, 0.15, 0.3)
    simulations: int = 1000
    resamples: int = 1000
    separation: float = 1.5
    seed: int = 0
    out: Path | None = None


def truth(error: float, separation: float, points: int = 500_000) -> dict[str, float]:
    """Returns the metrics of the model itself: of its quantiles, weighted, in float64."""
    quantiles = ndtri((np.arange(points) + 0.5) / points)
    score = np.concatenate([quantiles, quantiles - separation])
    failure = np.repeat([False, True], points)
    weight = np.repeat([(1 - error) / points, error / points], points)
    with jax.enable_x64(True):
        return {name: float(getattr(metrics, name)(score, failure, weight=weight)) for name in METRICS}


def simulate(arguments: Arguments, n: int, error: float) -> pd.DataFrame:
    """Returns a row a metric and method: how many intervals lay below, above and around the truth."""
    true = truth(error, arguments.separation)
    rng = np.random.default_rng([arguments.seed, n, round(1000 * error)])
    rows = []
    for start in range(0, arguments.simulations, AT_ONCE):
        drawn = []
        for _ in range(min(AT_ONCE, arguments.simulations - start)):
            failure = rng.random(n) < error
            drawn.append(metrics.scored(rng.standard_normal(n) - arguments.separation * failure, failure))
        images = jax.tree.map(lambda *fields: jnp.stack(fields), *drawn)
        key = keys.stream(jax.random.key(arguments.seed), "coverage", n, round(1000 * error), start)
        found = metrics.bootstrap(key, images, np.arange(n), num_resamples=arguments.resamples, metrics=METRICS)
        for name, estimate in found.items():
            for method in METHODS:
                low, high, _ = interval(estimate, method=method)
                outcome = {"below": high < true[name], "above": low > true[name], "undefined": np.isnan(low)}
                rows.append(pd.DataFrame({"metric": name, "method": method, **outcome}))
    counted = pd.concat(rows).groupby(["metric", "method"], sort=False).mean().reset_index()
    counted.insert(0, "error", error)
    counted.insert(0, "n", n)
    covered = 1 - (counted["below"] + counted["above"]) / (1 - counted["undefined"]).where(counted["undefined"] < 1)
    return counted.assign(covered=covered)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the simulation and prints its table; returns the exit status."""
    wanted = tyro.cli(Arguments, args=arguments, prog="python -m experiments.coverage", description=__doc__)
    if min(wanted.sizes) < 2 or not all(0 < error < 1 for error in wanted.errors) or wanted.simulations < 1:
        print("sizes are at least 2, errors lie between 0 and 1, and simulations are at least 1.", file=sys.stderr)
        return 2
    cells = []
    for n in wanted.sizes:
        for error in wanted.errors:
            begun = time.perf_counter()
            cells.append(simulate(wanted, n, error))
            print(f"n {n}, error {error:g}: {time.perf_counter() - begun:.0f} s", file=sys.stderr)
            if wanted.out is not None:
                storage.write_table(wanted.out, pd.concat(cells, ignore_index=True))
    table = pd.concat(cells, ignore_index=True)
    wide = table.pivot_table(index=["n", "error"], columns=["metric", "method"], values="covered", sort=False)
    head = ["n", "error", "failures", *(f"{metric}, {method}" for metric, method in wide.columns)]
    rows = [
        [str(n), f"{error:g}", f"{n * error:g}", *(f"{100 * value:.1f}" for value in row)]
        for (n, error), row in zip(wide.index, wide.to_numpy(), strict=True)  # pyright: ignore[reportGeneralTypeIssues]
    ]
    print(f"Share of 95 % intervals that hold the truth, %, of {wanted.simulations} data sets a cell.\n")
    print(markdown(head, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
