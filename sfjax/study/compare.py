"""Before and after a change of model, data or score: paired differences, and silent failures gained and lost.

Both sides are compared on the images that they share, with the same resamples of their patients, so that what is hard
about the images cancels. Nothing here knows where outputs come from.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int, Key

from sfjax import metrics
from sfjax.metrics import Estimate
from sfjax.metrics.scored import SILENT_ABOVE
from sfjax.study.evaluation import Evaluated, Said, Scorers, evaluate, thresholds
from sfjax.study.evidence import EVENT, FEW_FAILURES, evidence
from sfjax.study.measures import ALL_DOMAINS, METRICS, OF_CLASS_PROBABILITIES, OF_PROBABILITY
from sfjax.study.scores import Part, Plan, estimates_of
from sfjax.study.tasks import TestSet

MAJORITY: Final = 0.5
"""An image fails silently on a side if it does by this share of the side's networks at least."""
DIFFERENCES: Final = (
    *("test_set", "kind", "level", "metric", "before", "after", "difference", "low", "high", "p"),
    *("after_low", "after_high", "verdict", "n", "only_before", "only_after", "few_failures"),
)
CHANGED: Final = (
    *("test_set", "kind", "level", "change", "image_id", "row", "label", "predicted_before", "confidence_before"),
    *("predicted_after", "confidence_after", "silent_before", "silent_after"),
    *("networks_before", "networks_after"),
)


class Side(NamedTuple):
    """One side of a comparison: what the networks of one task say, one a seed, and of which images.

    Attributes:
        name: For messages.
        csf: Entry of the score.
        classes: Their names, in the order of the logits.
        test_sets: What there is to compare.
        outputs: By test set, what the networks of each seed say.
        tables: By test set, a row an image: `label`; further `image_id` or `sha256`, by which images are matched (else
            by position), `row`, `patient_id` and `loss_weight`.
        scorers: Of each seed's networks.
        validation: What they say of validation images, for thresholds; empty if there are none.
    """

    name: str
    csf: str
    classes: tuple[str, ...]
    test_sets: Sequence[TestSet]
    outputs: Mapping[str, Sequence[Said]]
    tables: Mapping[str, pd.DataFrame]
    scorers: Sequence[Scorers]
    validation: Sequence[Said] = ()


class Compared(NamedTuple):
    """What a change did to one task.

    Attributes:
        differences: Columns `DIFFERENCES`: a row a test set and metric, `difference` being after less before, with its
            95 % percentile interval; `verdict` is better, worse or "" where the interval holds 0. Each corruption has a
            further row of level 0, the mean over its levels.
        changed: Columns `CHANGED`: a row an image that fails silently on one side alone, `gained` after the change or
            `lost` by it; `silent_before` and `silent_after` are the shares of each side's networks by which it does.
            Predictions and confidence are those of each side's most confident network, of those by which the image
            fails silently if there are any.
        notes: What was left out, as sentences.
    """

    differences: pd.DataFrame
    changed: pd.DataFrame
    notes: tuple[str, ...]


def compare_sides(
    before: Side,
    after: Side,
    *,
    key: Key[Array, ""],
    test_sets: Sequence[str] = (),
    only: Sequence[str] = (),
    resamples: int = 1000,
) -> Compared:
    """Returns the paired differences of all metrics on all test sets that both sides have, and what changed.

    Args:
        before: The one.
        after: The other.
        key: Draws the resamples.
        test_sets: Which; all that both have if left out.
        only: Metrics; all that both scores have if left out.
        resamples: Of the bootstrap.

    Raises:
        ValueError: The classes differ, a test set is asked for that is not on both sides, no image is, or an image has
            two labels.
    """
    if before.classes != after.classes:
        raise ValueError(
            f"{before.name} has the classes {', '.join(before.classes)} and {after.name} {', '.join(after.classes)}. "
            "Compare runs of the same classes."
        )
    notes: list[str] = []
    chosen = _common(before, after, test_sets, notes)
    names = _metrics(before, after, only, notes)
    limits = [_limits(side) for side in (before, after)]
    rows, changed = [], []
    for group in _groups(chosen):
        found, counts = [], {}
        for one in group:
            matched = _match(before, after, one.name)
            images = before.tables[one.name].iloc[matched.before].reset_index(drop=True)
            said = [
                [
                    evaluate(said, scorers).take(places)
                    for said, scorers in zip(side.outputs[one.name], side.scorers, strict=True)
                ]
                for side, places in ((before, matched.before), (after, matched.after))
            ]
            found.append(_estimates(said, limits, images, one, names, (key, resamples)))
            counts = {"n": len(images), "only_before": matched.only_before, "only_after": matched.only_after}
            rows += _differences(one, found[-1], counts, len(before.scorers))
            changed.append(_changed(one, said, limits, images, before, after))
        if group[0].kind == "corruption":
            whole = group[0]._replace(name=group[0].shift, level=0)
            mean = {name: metrics.mean([estimates[name] for estimates, _ in found]) for name in names}
            few = {name: any(fewer[name] for _, fewer in found) for name in names}
            rows += _differences(whole, (mean, few), counts, len(before.scorers))
    return Compared(
        pd.DataFrame(rows, columns=pd.Index(DIFFERENCES)),
        pd.concat(changed, ignore_index=True)[list(CHANGED)],
        tuple(notes),
    )


def _common(before: Side, after: Side, wanted: Sequence[str], notes: list[str]) -> list[TestSet]:
    """Returns the test sets of both sides, those that were asked for."""
    names = [[one.name for one in side.test_sets] for side in (before, after)]
    for side, own, other in ((before, *names), (after, *names[::-1])):
        alone = [name for name in own if name not in other and (not wanted or name in wanted)]
        if alone and not wanted:
            notes.append(f"Only {side.name} has the test sets {', '.join(alone)}: they are left out.")
    common = [one for one in before.test_sets if one.name in names[1]]
    if missing := [name for name in wanted if name not in {key for one in common for key in (one.name, one.shift)}]:
        there = ", ".join(one.name for one in common) or "none"
        raise ValueError(f"The test sets {', '.join(missing)} are not on both sides. There are {there}.")
    chosen = [one for one in common if not wanted or one.name in wanted or one.shift in wanted]
    if not chosen:
        raise ValueError(f"{before.name} and {after.name} have no test set in common. Compare runs of the same task.")
    return chosen


def _groups(test_sets: Sequence[TestSet]) -> list[list[TestSet]]:
    """Returns the levels of each corruption together, and every other test set alone."""
    groups: dict[str, list[TestSet]] = {}
    for one in test_sets:
        groups.setdefault(one.shift if one.kind == "corruption" else one.name, []).append(one)
    return list(groups.values())


def _metrics(before: Side, after: Side, only: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    """Returns the metrics that both scores have."""
    if unknown := [name for name in only if name not in METRICS]:
        raise ValueError(f"metrics must be among {', '.join(METRICS)}; got {', '.join(unknown)}.")
    lacking: set[str] = set()
    for side in (before, after):
        scorers = side.scorers[0]
        if not scorers.has_probability(side.csf):
            lacking |= OF_PROBABILITY
        if scorers.csfs[side.csf].log_probabilities is None:
            lacking |= OF_CLASS_PROBABILITIES
        if not side.validation:
            lacking |= {"accepted_failure_rate"}
    found = tuple(name for name in METRICS if name not in lacking and (not only or name in only))
    if refused := [name for name in only if name not in found]:
        raise ValueError(
            f"{before.csf} of {before.name} and {after.csf} of {after.name} do not both have {', '.join(refused)}: it "
            "takes probabilities, or validation images. Leave it out."
        )
    if silent := sorted(lacking & set(METRICS)):
        notes.append(f"Not both scores have {', '.join(silent)}.")
    return found


def _limits(side: Side) -> list[Float[np.ndarray, " 1"]]:
    """Returns of each network the threshold of accepted images; NaN without validation images."""
    if not side.validation:
        return [np.full(1, np.nan, np.float32) for _ in side.scorers]
    return [thresholds(evaluate(said, scorers)) for said, scorers in zip(side.validation, side.scorers, strict=True)]


class _Matched(NamedTuple):
    """Rows of the images that both sides have, in one order, and how many each has alone."""

    before: np.ndarray
    after: np.ndarray
    only_before: int
    only_after: int


def _match(before: Side, after: Side, name: str) -> _Matched:
    """Returns which rows are of the same image: of the same content, the k-th of those of one content with the k-th.

    Raises:
        ValueError: There are none, or labels differ.
    """
    one, other = before.tables[name], after.tables[name]
    content = next((key for key in ("sha256", "image_id") if key in one and key in other), None)
    if content is None:
        if len(one) != len(other):
            raise ValueError(
                f"{name} has {len(one)} images in {before.name} and {len(other)} in {after.name}, and nothing to match "
                "them by. Add a column image_id (a number an image, of its content) to both tables."
            )
        places = np.arange(len(one))
        matched = _Matched(places, places, 0, 0)
    else:
        keys = [table[[content]].assign(k=table.groupby(content).cumcount(), at=range(len(table))) for table in
                (one, other)]  # fmt: skip
        both = keys[0].merge(keys[1], on=[content, "k"], suffixes=("_before", "_after"))
        at_before, at_after = (both[f"at_{side}"].to_numpy() for side in ("before", "after"))
        matched = _Matched(at_before, at_after, len(one) - len(both), len(other) - len(both))
    if not len(matched.before):
        raise ValueError(
            f"{name} has no image that is both in {before.name} ({len(one)}) and in {after.name} ({len(other)}). "
            "Compare runs on the same images, or leave this test set out."
        )
    labels = [table["label"].astype(str).to_numpy()[at] for table, at in zip((one, other), matched[:2], strict=True)]
    if (differ := np.flatnonzero(labels[0] != labels[1])).size:
        first = differ[0]
        raise ValueError(
            f"{len(differ)} images of {name} have another label in {after.name} than in {before.name}, the first in "
            f"row {matched.before[first]}: {labels[0][first]} and {labels[1][first]}. Give both runs the same labels."
        )
    return matched


Found = tuple[Mapping[str, Estimate], Mapping[str, bool]]
"""By metric, estimates of all networks of both sides, and whether it rests on few failures."""


def _estimates(
    said: Sequence[Sequence[Evaluated]],
    limits: Sequence[Sequence[np.ndarray]],
    images: pd.DataFrame,
    test_set: TestSet,
    names: Sequence[str],
    drawn: tuple[Key[Array, ""], int],
) -> Found:
    """Returns every metric of every network of both sides from one set of resamples of the patients."""
    networks, above = [*said[0], *said[1]], [*limits[0], *limits[1]]
    blank = {"patient_id": "", "loss_weight": 1.0}
    table = images.assign(**{column: value for column, value in blank.items() if column not in images})
    # Only names and numbers of the plan are read: the networks have said what they say.
    one_score = [Scorers({"csf": None})] * len(networks)  # pyright: ignore[reportArgumentType]
    plan = Plan(range(len(networks)), one_score, drawn[1], drawn[0], only=names)
    part = Part("domain", ALL_DOMAINS, np.arange(len(table)))
    estimates = estimates_of(networks, above, table, part, test_set, plan)
    rarer = evidence(networks, above, table, plan.csfs).rarer
    few = {name: bool(rarer[EVENT.get(name, "failure")].min() < FEW_FAILURES) for name in names}
    return {name: estimates[name].at(slice(None), 0) for name in names}, few


def _differences(
    test_set: TestSet, found: Found, counts: Mapping[str, int], networks_before: int
) -> list[dict[str, object]]:
    """Returns a row a metric."""
    rows = []
    for name, estimate in found[0].items():
        networks = [estimate.at(k) for k in range(len(estimate.value))]
        sides = [metrics.mean(some) for some in (networks[:networks_before], networks[networks_before:])]
        change = metrics.difference(sides[1], sides[0])
        low, high, p, after_low, after_high = (float("nan"),) * 5
        if not metrics.METRICS[name].biased:
            p = float(metrics.p_value(change, method="percentile"))
            ends = [metrics.interval(one, method="percentile") for one in (change, sides[1])]
            (low, high), (after_low, after_high) = ((float(one.low), float(one.high)) for one in ends)
        sign = 1 if metrics.METRICS[name].higher_is_better else -1
        rows.append(
            {
                **{"test_set": test_set.name, "kind": test_set.kind, "level": test_set.level, "metric": name},
                "before": float(sides[0].value),
                "after": float(sides[1].value),
                "difference": float(change.value),
                **{"low": low, "high": high, "p": p, "after_low": after_low, "after_high": after_high},
                "verdict": "better" if min(sign * low, sign * high) > 0 else "worse" if max(sign * low, sign * high) < 0
                else "",
                **counts,
                "few_failures": int(found[1][name]),
            }
        )  # fmt: skip
    return rows


def _changed(
    test_set: TestSet,
    said: Sequence[Sequence[Evaluated]],
    limits: Sequence[Sequence[np.ndarray]],
    images: pd.DataFrame,
    before: Side,
    after: Side,
) -> pd.DataFrame:
    """Returns the images that fail silently on one side alone, the most confident failures first."""
    probable = all(side.scorers[0].has_probability(side.csf) for side in (before, after))
    by_network = [
        np.stack([_silent(one, limit, probable) for one, limit in zip(networks, above, strict=True)])
        for networks, above in zip(said, limits, strict=True)
    ]
    share = [one.mean(axis=0) for one in by_network]
    silent = [one >= MAJORITY for one in share]
    rows = np.flatnonzero(silent[0] != silent[1])
    classes = np.array([*before.classes, "(unknown)"], dtype=object)
    predicted, confidence = zip(*map(partial(_surest, probable=probable), said, limits, by_network), strict=True)
    table = pd.DataFrame(
        {
            "test_set": test_set.name,
            "kind": test_set.kind,
            "level": test_set.level,
            "change": np.where(silent[1][rows], "gained", "lost"),
            "image_id": images["image_id"].to_numpy()[rows] if "image_id" in images else rows,
            "row": images["row"].to_numpy()[rows] if "row" in images else rows,
            "label": images["label"].to_numpy()[rows],
            "predicted_before": classes[predicted[0][rows]],
            "confidence_before": confidence[0][rows],
            "predicted_after": classes[predicted[1][rows]],
            "confidence_after": confidence[1][rows],
            "silent_before": share[0][rows],
            "silent_after": share[1][rows],
            "networks_before": len(said[0]),
            "networks_after": len(said[1]),
        }
    )
    wrong = np.where(table["change"] == "gained", table["confidence_after"], table["confidence_before"])
    order = np.lexsort((-wrong, table["change"].to_numpy(str)))
    return table.iloc[order].reset_index(drop=True)


def _surest(
    said: Sequence[Evaluated], limits: Sequence[np.ndarray], silent: Bool[np.ndarray, "s n"], *, probable: bool
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Returns of each image the prediction and confidence of its most confident network, silent failures first."""
    predicted = np.stack([one.predicted[0] for one in said])
    confidence = np.stack([(one.probability if probable else one.score)[0] for one in said])
    # Scores without a probability are told apart by how far they lie above their own network's threshold.
    beyond = confidence if probable else confidence - np.nan_to_num(np.concatenate(limits))[:, None]
    network = np.lexsort((beyond, silent), axis=0)[-1]
    at = network, np.arange(len(network))
    return predicted[at], confidence[at]


def _silent(said: Evaluated, above: np.ndarray, probable: bool) -> Bool[np.ndarray, " n"]:
    """Returns which images fail silently, or, for scores without a probability, are accepted failures."""
    sure = said.probability[0] > SILENT_ABOVE if probable else said.score[0] > above[0]
    return (said.predicted[0] != said.labels) & sure
