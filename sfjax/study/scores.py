"""From outputs to numbers: every metric of every CSF on a test set, with intervals, differences and groups.

All CSFs and all networks see the same resamples of an image set, and so do all levels of a corruption, which are made
of the same images. So the difference of any two numbers of a set has an interval too, and ties can be told.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array

from sfjax import keys, metrics
from sfjax.data import patient_groups
from sfjax.metrics import Estimate
from sfjax.study.evaluation import Evaluated, FailureCosts, Said, Scorers, evaluate, padded_length, thresholds
from sfjax.study.evidence import EVENT, FEW_DISCORDANT, FEW_FAILURES, Evidence, baseline, evidence
from sfjax.study.measures import (
    ALL_DOMAINS,
    ALWAYS,
    COST_METRICS,
    METRICS,
    OF_CLASS_PROBABILITIES,
    OF_PROBABILITY,
    RANKED,
    RATES,
)
from sfjax.study.tasks import TestSet


class Part(NamedTuple):
    """Some images of a test set: those whose `column` holds `value`, or all of them."""

    column: str
    value: str
    rows: np.ndarray


class ScoredTables(NamedTuple):
    """What the scores of a group of test sets are.

    Attributes:
        results: A row a test set, domain, network, CSF and metric.
        summary: The same over networks, with intervals, spread over seeds, the best of a row and its ties.
        comparisons: A row a test set, domain, metric and CSF: its paired difference from the baseline.
        groups: Summaries by class, by subclass and by columns that were asked for.
        resamples: By `TEST_SET.METRIC`, the mean over networks on each resample, a row a CSF.
    """

    results: pd.DataFrame
    summary: pd.DataFrame
    comparisons: pd.DataFrame
    groups: pd.DataFrame
    resamples: dict[str, np.ndarray]


class Plan(NamedTuple):
    """How test sets are scored.

    Attributes:
        seeds: Of the networks, in the outputs' order.
        scorers: The scores of each seed's networks, all of the same entries.
        resamples: Of the bootstrap.
        key: Its key, the same for all test sets of a task.
        costs: What failures cost; None where each costs 1.
        group_columns: Columns of the images' table whose values are reported apart.
        only: Metrics besides accuracy and AURC; empty is all.
    """

    seeds: Sequence[int]
    scorers: Sequence[Scorers]
    resamples: int
    key: Array
    costs: FailureCosts | None = None
    group_columns: Sequence[str] = ()
    only: Sequence[str] = ()

    @property
    def csfs(self) -> tuple[str, ...]:
        """Names of the scores, in the order of tables (`sfjax.study.entries`)."""
        return tuple(self.scorers[0].csfs)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in the order of tables."""
        known = METRICS + (() if self.costs is None else COST_METRICS)
        return tuple(name for name in known if not self.only or name in (*ALWAYS, *self.only))


def score_test_sets(
    test_sets: Sequence[TestSet],
    outputs: Sequence[Sequence[Said]],
    validation: Sequence[Said],
    table: pd.DataFrame,
    plan: Plan,
) -> ScoredTables:
    """Returns the scores of test sets that are made of the same images: one set, or the levels of one corruption.

    Args:
        test_sets: Which.
        outputs: For each test set, what the networks of each seed say.
        validation: What they say of the validation set, for thresholds.
        table: A row an image.
        plan: How.
    """
    accepted_above = [thresholds(one) for one in _evaluated(validation, plan)]
    evaluated = [_evaluated(per_seed, plan) for per_seed in outputs]
    resamples: dict[str, np.ndarray] = {}
    rows: dict[str, list] = {name: [] for name in ScoredTables._fields if name != "resamples"}
    for part in parts(test_sets[0], table, plan.group_columns):
        images = table.iloc[part.rows]
        taken = [[one.take(part.rows) for one in per_seed] for per_seed in evaluated]
        of_sets = [estimates_of(one, accepted_above, images, part, test_sets[0], plan) for one in taken]
        seen = [evidence(one, accepted_above, images, plan.csfs) for one in taken]
        sets = list(zip(test_sets, of_sets, seen, strict=True))
        about = {"n": len(images)}
        if part.column != "domain":
            for test_set, estimates, counts in sets:
                place = {**_about(test_set), "column": part.column, "group": part.value, **about}
                rows["groups"] += [{**place, **row} for row in _summary(estimates, counts, plan)]
            continue
        about = {"domain": part.value, **about}
        for test_set, estimates, counts in sets:
            for row in _per_network(estimates, counts, plan):
                rows["results"].append({**_about(test_set), **about, **row})
        if test_sets[0].kind == "corruption":
            mean = {name: metrics.mean([one[name] for one in of_sets]) for name in plan.metrics}
            whole = TestSet(test_sets[0].shift, test_sets[0].split, test_sets[0].shift, test_sets[0].kind)
            sets.append((whole, mean, jax.tree.map(lambda *some: np.mean(some, axis=0), *seen)))
        for test_set, estimates, counts in sets:
            place = {**_about(test_set), **about}
            rows["summary"] += [{**place, **row} for row in _summary(estimates, counts, plan)]
            rows["comparisons"] += [{**place, **row} for row in comparisons(estimates, counts, plan)]
            if part.value == ALL_DOMAINS:
                for name in set(RANKED) & set(plan.metrics):
                    resamples[f"{test_set.name}.{name}"] = estimates[name].resamples.mean(0).astype(np.float32)
    return ScoredTables(**{name: pd.DataFrame(some) for name, some in rows.items()}, resamples=resamples)


def _evaluated(per_seed: Sequence[Said], plan: Plan) -> list[Evaluated]:
    return [evaluate(said, scorers) for said, scorers in zip(per_seed, plan.scorers, strict=True)]


def parts(test_set: TestSet, table: pd.DataFrame, group_columns: Sequence[str] = ()) -> list[Part]:
    """Returns all images of a test set, those of each domain, and those of each class, subclass and named group.

    Domains are told apart in shifted sets, and where there are several; other groups where there are several, and not
    under corruptions. A blank value is no group.
    """
    whole = [Part("domain", ALL_DOMAINS, np.arange(len(table)))]
    if test_set.kind == "corruption":
        return whole
    found = whole
    for column in dict.fromkeys(("domain", "label", "subclass", *group_columns)):
        if column not in table:
            continue
        text = table[column].fillna("").astype(str)
        values = sorted(value for value in text.unique() if value)
        if len(values) > 1 or (values and column == "domain" and test_set.kind != "iid"):
            found += [Part(column, value, np.flatnonzero(text == value)) for value in values]
    return found


Estimates = Mapping[str, Estimate]
"""By metric; the first axis is the networks', the second the CSFs'."""


def estimates_of(
    per_seed: Sequence[Evaluated],
    accepted_above: Sequence[np.ndarray],
    images: pd.DataFrame,
    part: Part,
    test_set: TestSet,
    plan: Plan,
) -> Estimates:
    """Returns every metric of every network and CSF on some images; all of them from one set of resamples."""
    n = len(images)
    padding = padded_length(n) - n
    weights = images["loss_weight"].to_numpy(np.float64)

    def padded(values: np.ndarray) -> np.ndarray:
        # Padded images weigh nothing; sets of similar size share one compilation.
        return np.pad(values, (0, padding))

    arranged = []
    for one, above in zip(per_seed, accepted_above, strict=True):
        costs = None if plan.costs is None else plan.costs.of(images["label"].to_numpy(str), weights, one)
        for i in range(len(plan.csfs)):
            arranged.append(
                metrics.scored(
                    padded(one.score[i]),
                    padded(one.predicted[i] != one.labels),
                    cost=None if costs is None else padded(costs[i]),
                    probability=padded(one.probability[i]),
                    accepted_above=above[i],
                    label=padded(one.labels),
                    num_classes=padded_length(one.num_classes, multiple=16),
                    nll=padded(one.nll[i]),
                    brier=padded(one.brier[i]),
                )
            )
    key = keys.stream(plan.key, test_set.split, *((part.value,) if part.column == "domain" else part[:2]))
    found = metrics.bootstrap(
        key,
        jax.tree.map(lambda *fields: jnp.asarray(np.stack(fields)), *arranged),
        patient_groups(images),
        num_resamples=plan.resamples,
        metrics=plan.metrics,
        padding=padding,
    )
    shape = (len(per_seed), len(plan.csfs))
    return {name: Estimate(*(field.reshape(*shape, *field.shape[1:]) for field in one)) for name, one in found.items()}


def _about(test_set: TestSet) -> dict[str, str | int]:
    return {"test_set": test_set.name, "shift": test_set.shift, "kind": test_set.kind, "level": test_set.level}


def _applies(metric: str, csf: str, plan: Plan) -> bool:
    scorers = plan.scorers[0]
    if metric in OF_CLASS_PROBABILITIES:
        return scorers.csfs[csf].log_probabilities is not None
    return metric not in OF_PROBABILITY or scorers.has_probability(csf)


def _per_network(estimates: Estimates, counts: Evidence, plan: Plan) -> Iterator[dict[str, object]]:
    for name in plan.metrics:
        low, high, undefined = interval_of(name, estimates[name], counts)
        rarer = counts.rarer[EVENT.get(name, "failure")]
        for k, seed in enumerate(plan.seeds):
            for i, csf in enumerate(plan.csfs):
                if _applies(name, csf, plan):
                    yield {
                        "seed": seed,
                        "csf": csf,
                        "metric": name,
                        "value": float(estimates[name].value[k, i]),
                        "low": float(low[k, i]),
                        "high": float(high[k, i]),
                        "undefined": float(undefined[k, i]),
                        "failures": int(counts.failures[k, i]),
                        "few_failures": bool(rarer[k, i] < FEW_FAILURES),
                    }


def _summary(estimates: Estimates, counts: Evidence, plan: Plan) -> Iterator[dict[str, object]]:
    """Yields a row a CSF and metric: the mean over networks with its intervals, and how it compares in its row."""
    for name in plan.metrics:
        mean = metrics.mean([estimates[name].at(k) for k in range(len(plan.seeds))])
        low, high, undefined = interval_of(name, mean, counts)
        rarer = counts.rarer[EVENT.get(name, "failure")]
        seeds = metrics.seed_interval(estimates[name].value)
        both = hierarchical(estimates[name])
        candidates = [i for i, csf in enumerate(plan.csfs) if _applies(name, csf, plan)]
        best, tied = _best(mean, candidates, name)
        for i in candidates:
            yield {
                "csf": plan.csfs[i],
                "metric": name,
                "value": float(mean.value[i]),
                "low": float(low[i]),
                "high": float(high[i]),
                "undefined": float(undefined[i]),
                "failures": float(counts.failures[:, i].mean()),
                "few_failures": bool(rarer[:, i].min() < FEW_FAILURES),
                "lowest_seed": float(estimates[name].value[:, i].min()),
                "highest_seed": float(estimates[name].value[:, i].max()),
                "seed_sd": float(seeds.sd[i]),
                "seed_low": float(seeds.low[i]),
                "seed_high": float(seeds.high[i]),
                "hierarchical_low": float(both.low[i]),
                "hierarchical_high": float(both.high[i]),
                "seeds": len(plan.seeds),
                "best": i == best,
                "tied": i in tied,
            }


def interval_of(name: str, estimate: Estimate, counts: Evidence) -> metrics.Interval:
    """Returns the BCa interval; none of a biased metric, nor where all resamples agree: it would claim to be certain.

    But of a rate that is 0 or 1, it is Clopper and Pearson's of as many patients: how far off 0 it may well be.
    """
    low, high, undefined = metrics.interval(estimate)
    given = (high > low) & (not metrics.METRICS[name].biased)
    low, high = np.where(given, low, np.nan), np.where(given, high, np.nan)
    if name in RATES:
        tail = 0.025 ** (1 / counts.patients)
        never, always = ~given & (estimate.value == 0), ~given & (estimate.value == 1)
        low = np.where(never, 0.0, np.where(always, tail, low))
        high = np.where(never, 1 - tail, np.where(always, 1.0, high))
    return metrics.Interval(low, high, undefined)


def hierarchical(estimate: Estimate) -> metrics.Interval:
    """Returns the interval over other seeds and images at once, NaN where the seeds are too few for it."""
    if len(estimate.value) < metrics.FEWEST_SEEDS:
        nothing = np.full(estimate.value.shape[1:], np.nan)
        return metrics.Interval(nothing, nothing, nothing)
    return metrics.hierarchical_interval(estimate)


def _best(mean: Estimate, candidates: Sequence[int], metric: str) -> tuple[int | None, set[int]]:
    """Returns the best CSF of a row and those whose paired difference from it may be 0, itself among them."""
    if metric == "cost_correlation" or metrics.METRICS[metric].biased:
        return None, set()  # no direction is a merit, or resamples say nothing about ties
    sign = -1 if metrics.METRICS[metric].higher_is_better else 1
    # Rounded, so that the last bit does not choose among equals: then the first one named is the best.
    defined = [i for i in candidates if np.isfinite(mean.value[i])]
    best = min(defined, key=lambda i: round(float(sign * mean.value[i]), 7), default=None)
    if best is None:
        return None, set()
    # An undefined interval is no tie.
    low, high, _ = metrics.interval(metrics.difference(mean, mean.at(slice(best, best + 1))), method="percentile")
    return best, {i for i in defined if i == best or low[i] <= 0 <= high[i]}


def comparisons(estimates: Estimates, counts: Evidence, plan: Plan) -> Iterator[dict[str, object]]:
    """Yields the paired difference of each CSF from the baseline, Holm over the CSFs of a metric."""
    for name in plan.metrics:
        if metrics.METRICS[name].biased:
            continue
        event = EVENT.get(name, "failure")
        chosen = [i for i, csf in enumerate(plan.csfs) if _applies(name, csf, plan)]
        held_against = plan.csfs.index(baseline(plan.csfs))
        if len(chosen) < 2 or held_against not in chosen:
            continue
        mean = metrics.mean([estimates[name].at(k) for k in range(len(plan.seeds))]).at(chosen)
        place_of_baseline = chosen.index(held_against)
        # Percentiles: they keep the family's level with few failures, and BCa does not (see `compare`).
        compared = metrics.compare(mean, place_of_baseline, method="percentile")
        for place, i in enumerate(chosen):
            if place != place_of_baseline:
                discordant = float(counts.discordant[event][:, i].mean())
                too_few = (name in RATES or name in EVENT) and discordant < FEW_DISCORDANT
                yield {
                    "metric": name,
                    "csf": plan.csfs[i],
                    "baseline": plan.csfs[held_against],
                    **{field: values[place].item() for field, values in compared._asdict().items()},
                    "different": bool(compared.different[place]) and not too_few,
                    "discordant": discordant,
                    "few_failures": bool(counts.rarer[event][:, [i, held_against]].min() < FEW_FAILURES),
                    "resamples": plan.resamples,
                }
