"""Agreement with numbers of the reference implementation; where it differs, and why, stands in the file itself."""

import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax import metrics

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text(encoding="utf-8"))


def some(values: np.ndarray) -> np.ndarray:
    return np.where(np.arange(100) % 3 > 0, values, np.nan)


ALTERNATING = np.arange(100) % 2.0
PLATEAUS = np.repeat([0.2, 0.4, 0.6, 0.8], 25)
CONFIDENCE = {
    "confid-all-equal": np.full(100, 0.5),
    "confid-01": ALTERNATING,
    "confid-10": 1 - ALTERNATING,
    "confid-asc": np.linspace(0, 1, 100),
    "confid-asc-u": np.arange(-50.0, 50),
    "confid-some-nan": some(ALTERNATING),
    "confid-plateaus": PLATEAUS,
    "all_confid": np.ones(100),
    "none_confid": np.zeros(100),
    "med_confid": np.repeat(np.arange(10) * 0.1, 10),
    "some_confid": ALTERNATING,
    "some_confid_inv": 1 - ALTERNATING,
    "unnormalized_confid": np.arange(-50.0, 50),
    "all_nan_confid": np.full(100, np.nan),
    "some_nan_confid": some(ALTERNATING),
}
CORRECT = {
    "p-all-one": np.ones(100),
    "p-all-zero": np.zeros(100),
    "p-01": ALTERNATING,
    "p-some-nan": some(ALTERNATING),
    "p-asc": np.linspace(0, 1, 100),
    "p-plateau": PLATEAUS,
    "p-plateau-perm": np.random.default_rng(0).permuted(ALTERNATING.reshape(4, 25), axis=1).ravel(),
    "all_correct": np.ones(100),
    "some_correct": ALTERNATING,
    "none_correct": np.zeros(100),
    "all_nan_correct": np.full(100, np.nan),
    "some_nan_correct": some(ALTERNATING),
}
LABEL = np.arange(100) // 5 % 2


class Comparison:
    """Collects what does not agree, so that a failure shows all of it."""

    def __init__(self, x64: bool):
        self.tolerance = {"rel": 0 if x64 else 1e-6, "abs": GOLDEN["tolerance"], "nan_ok": True}
        self.wrong = {}

    def add(self, name: str, value: object, expected: object) -> None:
        value, expected = np.asarray(value, np.float64), np.asarray(expected, np.float64)
        if value.shape != expected.shape or value != pytest.approx(expected, **self.tolerance):
            self.wrong[name] = (value, expected)


@pytest.fixture(params=[False, True], ids=["float32", "float64"])
def compare(request):
    """In doubles with the file's absolute tolerance, in float32 with 1e-6 relative besides."""
    with jax.enable_x64(request.param):
        comparison = Comparison(request.param)
        yield comparison
        assert not comparison.wrong


def read(case: dict) -> tuple[np.ndarray, np.ndarray]:
    """Returns the score and the loss of a case."""
    if "score" in case:
        return np.array(case["score"], float), 1 - np.array(case["correct"], float)
    return CONFIDENCE[case["confidence"]], 1 - CORRECT[case["correct"]]


def name(case: dict, what: str) -> str:
    return f"{what} {case['correct']} {case['confidence']}"


DETECTION = ("auroc_f", "fpr_at_95tpr", "ap_success", "ap_error")


@jax.jit
def compiled(score: np.ndarray, loss: np.ndarray, label: np.ndarray) -> dict:
    """Returns what one compilation for all sets of one size can."""
    areas = {
        metric: getattr(metrics, metric)(score, loss)
        for metric in ("aurc", "augrc", "eaurc", "eaugrc", "legacy_aurc", *DETECTION)
    }
    balanced = {
        metric: getattr(metrics, metric)(score, loss, label, num_classes=2)
        for metric in ("aurc_balanced", "augrc_balanced")
    }
    points = {at: metrics.working_point(score, loss, coverage=float(at)) for at in ("0.5", "0.95")}
    return {**areas, **balanced, "best_aurc": metrics.best_aurc(loss), "working_points": points}


def everything(score: np.ndarray, loss: np.ndarray, label: np.ndarray) -> dict:
    """Returns all areas of a set, and what goes with them, by the names of the golden file."""
    found = compiled(score, loss, label) | {"aurc_achievable": metrics.aurc_achievable(score, loss)}
    found["eaurc_achievable"] = found["aurc_achievable"] - found["best_aurc"]
    found["legacy_e-aurc"] = found["legacy_aurc"] - found["best_aurc"]
    return found


def test_risk_coverage(compare):
    for case in GOLDEN["risk_coverage"]:
        score, loss = read(case)
        found = everything(score, loss, LABEL)
        ours = case | case.get("ours", {})
        for metric in ("aurc", "eaurc", "augrc", "aurc_achievable", "eaurc_achievable"):
            compare.add(name(case, metric), found[metric], ours[metric])
        for metric in {"aurc_balanced", "augrc_balanced"} & set(case):
            compare.add(name(case, metric), found[metric], case[metric])
        for coverage, (reached, risk, threshold) in case["working_points"].items():
            threshold = score[0] if threshold == "constant" else threshold
            compare.add(name(case, f"at {coverage}"), found["working_points"][coverage], [reached, risk, threshold])
        if "identity" in case:
            right = CORRECT[case["correct"]].mean()
            auroc = 1 if right in (0, 1) else float(found["auroc_f"])
            expected = (1 - auroc) * right * (1 - right) + (1 - right) ** 2 / 2
            compare.add(name(case, "identity"), found["augrc"], expected)


def test_failure_detection(compare):
    for case in GOLDEN["failure_detection"]:
        value = getattr(metrics, case["metric"])(*read(case))
        compare.add(name(case, case["metric"]), value, case.get("ours", case["value"]))


def test_legacy(compare):
    best_aurc = jax.jit(metrics.best_aurc)
    best = 500 + 500 * np.log(0.5)
    # By whose value where the reference's is what its processor's sort made of ties and NaN.
    as_if = {
        "stable_sort": GOLDEN["stable_sort"],
        "as_unnormalized_confid": next(
            case["value"]
            for case in GOLDEN["legacy"]
            if case["metric"] == "aurc" and name(case, "") == " some_correct unnormalized_confid"
        ),
    }
    for case in GOLDEN["legacy"]:
        score, loss = read(case)
        value, expected = metrics.legacy_aurc(score, loss), case["value"]
        if case["metric"] == "e-aurc":
            value -= best_aurc(loss)
        if case.get("ours") == "nan_as_rising_numbers":
            rising = np.where(np.isnan(score), np.arange(2, 102), score)
            expected = 1000 * float(metrics.legacy_aurc(rising, loss)) - best
        elif "ours" in case:
            expected = as_if[case["ours"]] - (best if case["metric"] == "e-aurc" else 0)
        compare.add(name(case, case["metric"]), value, float(expected) / 1000)
    # What the area is today where the old one depends on the order of ties.
    compare.add("current", metrics.aurc(CONFIDENCE["med_confid"], 1 - ALTERNATING), 0.5)


def test_small_sets(compare):
    for case in GOLDEN["small"]:
        score, loss = read(case)
        order = np.array(case.get("legacy_order", range(8)))
        found = everything(score[order], loss[order], np.array(case["label"])[order])
        for metric in set(found) & set(case):
            scale = 1 if metric in DETECTION else 1000
            compare.add(f"{case['id']} {metric}", found[metric], case[metric] / scale)
        compare_curve(compare, case["id"], case)


def compare_curve(compare: Comparison, of: str, case: dict) -> None:
    # The reference's curve falls from coverage 1, and has no threshold at coverage 0.
    curve = metrics.risk_coverage_curve(*read(case)).distinct()
    compare.add(f"{of} coverages", curve.coverage[::-1], case["coverages"])
    compare.add(f"{of} selective risks", curve.selective_risk[::-1], case["selective_risks"])
    compare.add(f"{of} generalized risks", curve.generalized_risk[::-1], case["generalized_risks"])
    compare.add(f"{of} thresholds", curve.threshold[::-1], [*case["thresholds"], np.inf])


def test_class_aware_toy(compare):
    case = GOLDEN["class_aware"]
    for metric in ("aurc_balanced", "augrc_balanced"):
        value = getattr(metrics, metric)(*read(case), np.array(case["label"]), num_classes=2)
        compare.add(metric, value, case[metric])


def test_achievable_toys(compare):
    case = GOLDEN["achievable"]
    score, loss = read(case)
    compare_curve(compare, "toy", case)
    found = {
        metric: float(getattr(metrics, metric)(score, loss)) for metric in ("aurc", "eaurc", "augrc", "aurc_achievable")
    }
    for metric, value in found.items():
        compare.add(metric, value, case[metric])
    assert found["aurc_achievable"] < found["aurc"]

    case = GOLDEN["achievable_continuous"]
    found = everything(PLATEAUS, 1 - np.clip(np.linspace(-1, 1, 100), 0, 1), LABEL)
    for metric in ("best_aurc", "eaurc_achievable"):
        compare.add(f"{metric} of continuous losses", found[metric], case[metric])


def test_ranges_of_coverage(compare):
    equal, stratified = GOLDEN["coverage_range"]
    score, loss = read(equal)
    compare.add("one group", metrics.aurc(score, loss), equal["aurc"])
    for low in (0, 0.3, 0.6):
        for high in (0.4, 0.7, 1.0):
            if low < high:
                value = metrics.aurc_achievable(score, loss, between=(low, high))
                compare.add(f"one group in {low}, {high}", value, equal["aurc"] * (high - low))
    # An empty range is 0 in the reference; here it is refused.
    for empty in ((0.6, 0.4), (1.0, 1.0)):
        with pytest.raises(ValueError, match="rise within 0 and 1"):
            metrics.aurc_achievable(score, loss, between=empty)

    score, loss = read(stratified)
    for low in np.linspace(0, 0.6, 10).tolist():
        value = metrics.aurc_achievable(score, loss, between=(low, 1.0))
        compare.add(f"without failures below {low}", value, stratified["aurc_achievable"])
    for arrays in ((score, loss), np.random.default_rng(0).random((2, 100))):
        ends = metrics.risk_coverage_curve(*arrays).coverage.tolist()
        parts = [float(metrics.aurc_achievable(*arrays, between=part)) for part in itertools.pairwise(ends)]
        compare.add("sum of consecutive ranges", sum(parts), metrics.aurc_achievable(*arrays))


def test_one_group_of_continuous_losses(compare):
    case = GOLDEN["one_group"]
    compare.add("aurc", metrics.aurc(*read(case)), case["aurc"])


def test_a_working_point_needs_one_of_coverage_and_risk():
    for both_or_none in ({}, {"coverage": 0.5, "risk": 0.1}):
        with pytest.raises(ValueError, match="either a coverage or a risk"):
            metrics.working_point(np.arange(3.0), np.zeros(3), **both_or_none)


def test_class_balance_where_the_rare_class_differs():
    rng = np.random.default_rng(0)
    n = 10_000
    score, label, draw = rng.random(n), (rng.random(n) < 0.1).astype(np.int32), rng.random(n)

    def areas(score: np.ndarray, right: tuple[float, float], label: np.ndarray = label) -> tuple[float, float]:
        failure = draw >= np.array(right)[label]
        balanced = metrics.aurc_balanced(score, failure, label, num_classes=2)
        return float(metrics.aurc(score, failure)), float(balanced)

    assert areas(score, (1, 1)) == (0, 0)
    aurc, balanced = areas(score, (0, 0))
    assert aurc == pytest.approx(1, rel=1e-6)
    # Until an image of the second class is accepted, that class has the risk 0 (the old rule left it out).
    alone = np.flatnonzero(np.diff(label[np.argsort(-score)]))[0] + 1.5
    assert balanced == pytest.approx(1 - alone / n / 2, rel=1e-6)
    assert float(metrics.legacy_aurc(score, np.ones(n))) == pytest.approx(1 - 1 / n, rel=1e-6)
    aurc, balanced = areas(score, (0.5, 0.9))
    assert balanced < aurc
    aurc, balanced = areas(score, (0.5, 0.1))
    assert balanced > aurc
    first = (np.arange(n) < 1000).astype(np.int32)
    front = np.where(first == 1, 0, 0.5) + score / 2
    assert areas(front, (0.7, 0.4), first)[1] < areas(score, (0.7, 0.4), first)[1]


def test_every_name_of_an_input_is_used():
    cases = [case for part in ("risk_coverage", "failure_detection", "legacy") for case in GOLDEN[part]]
    assert {case["confidence"] for case in cases} == set(CONFIDENCE)
    assert {case["correct"] for case in cases} == set(CORRECT)
    assert [len(GOLDEN[part]) for part in ("risk_coverage", "failure_detection", "legacy")] == [43, 160, 74]


def test_order_of_equal_scores_within_the_old_area_alone():
    score, failure = CONFIDENCE["med_confid"], 1 - ALTERNATING
    order = np.random.default_rng(1).permutation(100)
    assert float(metrics.aurc(score[order], failure[order])) == pytest.approx(float(metrics.aurc(score, failure)))
    old = [float(metrics.legacy_aurc(jnp.asarray(score[k]), failure[k])) for k in (order, np.arange(100))]
    assert abs(old[0] - old[1]) > 1e-3
