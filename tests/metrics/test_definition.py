"""Each metric of a ranking against a slow definition in float64, and what holds for all of them."""

import inspect
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from sfjax import metrics
from sfjax.metrics.ordering import check_lengths

N, C = 40, 4
SEEDS = st.integers(0, 2**32 - 1)
LEVELS = st.sampled_from([2, 7, 1000])
RANGES = ((0.0, 0.33), (0.33, 1.0))


def close(expected: Any, rel: float = 2e-6) -> Any:
    return pytest.approx(expected, rel=rel, abs=rel / 10, nan_ok=True)


def draw(seed: int, levels: int = 7) -> tuple[np.ndarray, ...]:
    """Returns scores with ties, failures of both kinds, costs, labels of three of four classes, weights with zeros."""
    rng = np.random.default_rng(seed)
    failure = rng.random(N) < rng.uniform(0.1, 0.9)
    failure[:2] = [True, False]
    weight = rng.integers(0, 4, N).astype(np.float32)
    weight[:5] = [1, 1, 1, 1, 0]
    label = rng.integers(0, C - 1, N).astype(np.int32)
    cost = failure * rng.integers(1, 5, N).astype(np.float32) / 2
    return rng.integers(0, levels, N).astype(np.float32), failure, cost, label, weight


def repeated(weight: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    """Returns float64 arrays in which each image stands as often as it weighs."""
    return [np.repeat(array, weight.astype(int)).astype(np.float64) for array in arrays]


# The definitions, image by image.


def curve(score: np.ndarray, loss: np.ndarray, risk: Callable) -> tuple[list, list]:
    """Returns coverages and a risk of what is accepted, by rising coverage."""
    kept = [score >= threshold for threshold in sorted(set(score), reverse=True)]
    return [0, *(k.mean() for k in kept)], [risk(k) for k in kept]


def area(coverage: list, risk: list, low: float = 0.0, high: float = 1.0) -> float:
    at = np.array([low, *(c for c in coverage if low < c < high), high])
    return np.trapezoid(np.interp(at, coverage, risk), at)


def slow_aurc(score: np.ndarray, loss: np.ndarray, *between: float) -> float:
    coverage, risk = curve(score, loss, lambda kept: loss[kept].mean())
    return area(coverage, [risk[0], *risk], *between)


def slow_augrc(score: np.ndarray, loss: np.ndarray, *between: float) -> float:
    coverage, risk = curve(score, loss, lambda kept: loss[kept].sum() / len(loss))
    return area(coverage, [0, *risk], *between)


def slow_aurc_balanced(score: np.ndarray, loss: np.ndarray, label: np.ndarray) -> float:
    def risk(kept: np.ndarray) -> float:
        of_class = [loss[kept & (label == one)] for one in set(label)]
        return np.mean([one.mean() if len(one) else 0 for one in of_class])

    coverage, risks = curve(score, loss, risk)
    return area(coverage, [risks[0], *risks])


def slow_augrc_balanced(score: np.ndarray, loss: np.ndarray, label: np.ndarray) -> float:
    images_of = {one: (label == one).sum() for one in set(label)}
    return slow_augrc(score, loss * [len(loss) / len(images_of) / images_of[one] for one in label])


def slow_achievable(score: np.ndarray, loss: np.ndarray, low: float = 0.0, high: float = 1.0) -> float:
    coverage, risk = curve(score, loss, lambda kept: loss[kept].sum() / len(loss))
    points = list(zip(coverage, [0, *risk], strict=True))

    def on_hull(p: tuple[float, float]) -> bool:
        """Returns whether no chord between two other points passes below the point, or through it."""
        chords = [(a, b) for a in points for b in points if a[0] < p[0] < b[0]]
        return all(a[1] + (b[1] - a[1]) * (p[0] - a[0]) / (b[0] - a[0]) > p[1] + 1e-12 for a, b in chords)

    hull, total = [p for p in points if on_hull(p)], 0.0
    for (c, g), (d, h) in itertools.pairwise(hull):
        slope, start, end = (h - g) / (d - c), np.clip(c, low, high), np.clip(d, low, high)
        if end > start:  # the integral of (g + slope (x - c)) / x
            total += slope * (end - start) + (np.log(end / start) * (g - slope * c) if c > 0 else 0)
    return total


def slow_legacy(score: np.ndarray, loss: np.ndarray) -> float:
    """The loop of the reference's tables: a point after the first image of each tie group."""
    order, n = np.argsort(score, kind="stable"), len(score)
    risks, weights, weight, errors = [loss.sum() / n], [], 0.0, loss.sum()
    for i in range(n - 1):
        errors -= loss[order[i]]
        weight += 1 / n
        if i == 0 or score[order[i]] != score[order[i - 1]]:
            risks.append(errors / (n - 1 - i))
            weights.append(weight)
            weight = 0.0
    if weight > 0:
        risks.append(risks[-1])
        weights.append(weight)
    return sum(w * (a + b) / 2 for w, a, b in zip(weights, risks[:-1], risks[1:], strict=True))


def best(aurc: Callable, loss: np.ndarray, weight: np.ndarray) -> float:
    """Returns an area of the images in order of their loss, each a threshold of its own."""
    order = np.lexsort((weight, loss))
    place = np.empty(len(loss))
    place[order] = -np.arange(len(loss))
    return aurc(*repeated(weight, place, loss))


WEIGHTED = {
    "aurc": lambda score, loss, label, weight: metrics.aurc(score, loss, weight=weight),
    "augrc": lambda score, loss, label, weight: metrics.augrc(score, loss, weight=weight),
    "aurc_between": lambda score, loss, label, weight: jnp.stack(
        [metrics.aurc(score, loss, weight=weight, between=part) for part in RANGES]
    ),
    "augrc_between": lambda score, loss, label, weight: jnp.stack(
        [metrics.augrc(score, loss, weight=weight, between=part) for part in RANGES]
    ),
    "eaurc": lambda score, loss, label, weight: metrics.eaurc(score, loss, weight=weight),
    "eaugrc": lambda score, loss, label, weight: metrics.eaugrc(score, loss, weight=weight),
    "naurc": lambda score, loss, label, weight: metrics.naurc(score, loss, weight=weight),
    "aurc_balanced": lambda score, loss, label, weight: metrics.aurc_balanced(
        score, loss, label, num_classes=C, weight=weight
    ),
    "augrc_balanced": lambda score, loss, label, weight: metrics.augrc_balanced(
        score, loss, label, num_classes=C, weight=weight
    ),
    "aurc_achievable": lambda score, loss, label, weight: metrics.aurc_achievable(score, loss, weight=weight),
    "achievable_between": lambda score, loss, label, weight: jnp.stack(
        [metrics.aurc_achievable(score, loss, weight=weight, between=part) for part in RANGES]
    ),
    "auroc_f": lambda score, loss, label, weight: metrics.auroc_f(score, loss, weight=weight),
    "ap_success": lambda score, loss, label, weight: metrics.ap_success(score, loss, weight=weight),
    "ap_error": lambda score, loss, label, weight: metrics.ap_error(score, loss, weight=weight),
    "fpr_at_95tpr": lambda score, loss, label, weight: metrics.fpr_at_95tpr(score, loss, weight=weight),
    "silent_failure_rate": lambda score, loss, label, weight: metrics.silent_failure_rate(score, loss, weight=weight),
    "accepted_failure_rate": lambda score, loss, label, weight: metrics.accepted_failure_rate(
        score, loss, 3.0, weight=weight
    ),
    "at_threshold": lambda score, loss, label, weight: jnp.stack(metrics.at_threshold(score, loss, 2.5, weight=weight)),
    "risk_at_coverage": lambda score, loss, label, weight: metrics.risk_at_coverage(score, loss, 0.6, weight=weight),
    "coverage_at_risk": lambda score, loss, label, weight: metrics.coverage_at_risk(score, loss, 0.4, weight=weight),
    "working_point": lambda score, loss, label, weight: jnp.stack(
        [
            *metrics.working_point(score, loss, coverage=0.6, weight=weight),
            *metrics.working_point(score, loss, risk=0.4, weight=weight),
        ]
    ),
}
"""Every public metric of a ranking, of scores, losses, labels and weights."""


def of_arrays(score: Any, loss: Any, label: Any, weight: Any) -> dict[str, Any]:
    """Returns every public metric, those without weights too."""
    found = {name: metric(score, loss, label, weight) for name, metric in WEIGHTED.items()}
    found["best_aurc"] = metrics.best_aurc(loss, weight=weight)
    found["legacy_aurc"] = metrics.legacy_aurc(score, loss)
    found["risk_coverage_curve"] = metrics.risk_coverage_curve(score, loss, weight=weight)
    found["scod_loss"] = metrics.scod_loss(loss, label == 1, unknown_cost=2.0)
    return found


compiled = jax.jit(of_arrays)


def jitted(score: np.ndarray, loss: np.ndarray, label: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """Returns every public metric, by one compilation for all images of this module."""
    return jax.tree.map(np.asarray, compiled(score.astype(np.float32), loss.astype(np.float32), label, weight))


@settings(max_examples=30, deadline=None)
@given(SEEDS, LEVELS)
def test_areas_equal_the_slow_definitions_of_the_repeated_images(seed, levels):
    score, failure, cost, label, weight = draw(seed, levels)
    for loss in (failure, cost):
        found = jitted(score, loss, label, weight)
        s, lost, k = repeated(weight, score, loss, label)
        aurc, augrc, chance = slow_aurc(s, lost), slow_augrc(s, lost), lost.mean()
        if loss is failure:
            limit, limit_g = chance + (1 - chance) * np.log(1 - chance), chance**2 / 2
        else:
            limit, limit_g = best(slow_aurc, loss, weight), best(slow_augrc, loss, weight)
        assert float(found["aurc"]) == close(aurc)
        assert float(found["augrc"]) == close(augrc)
        assert found["aurc_between"] == close([slow_aurc(s, lost, *part) for part in RANGES])
        assert found["augrc_between"] == close([slow_augrc(s, lost, *part) for part in RANGES])
        assert float(found["eaurc"]) == close(aurc - limit)
        assert float(found["eaugrc"]) == close(augrc - limit_g)
        assert float(found["naurc"]) == close((aurc - limit) / (chance - limit), 1e-5)
        assert float(found["aurc_balanced"]) == close(slow_aurc_balanced(s, lost, k))
        assert float(found["augrc_balanced"]) == close(slow_augrc_balanced(s, lost, k))
        assert float(found["aurc_achievable"]) == close(slow_achievable(s, lost))
        assert found["achievable_between"] == close([slow_achievable(s, lost, *part) for part in RANGES])
        for name in ("aurc", "augrc", "achievable"):
            whole = found["aurc_achievable" if name == "achievable" else name]
            assert float(found[f"{name}_between"].sum()) == close(float(whole))


@settings(max_examples=30, deadline=None)
@given(SEEDS, LEVELS)
def test_detection_equals_scikit_learn(seed, levels):
    score, failure, _, label, weight = draw(seed, levels)
    found = jitted(score, failure, label, weight)
    success, options = ~failure, {"sample_weight": weight}
    assert found["auroc_f"] == close(reference.roc_auc_score(success, score, **options))
    assert found["ap_success"] == close(reference.average_precision_score(success, score, **options))
    assert found["ap_error"] == close(reference.average_precision_score(failure, -score, **options))
    rates, hits, _ = reference.roc_curve(success, score, **options, drop_intermediate=False)
    assert found["fpr_at_95tpr"] == close(rates[hits >= 0.95 - 1e-9].min())
    for name, threshold in (("silent_failure_rate", 0.9), ("accepted_failure_rate", 3)):
        assert found[name] == close((weight * (failure & (score > threshold))).sum() / weight.sum())


@settings(max_examples=20, deadline=None)
@given(SEEDS, LEVELS)
def test_augrc_is_what_auroc_and_accuracy_make_of_it(seed, levels):
    score, failure, _, label, weight = draw(seed, levels)
    found = jitted(score, failure, label, weight)
    error = (weight * failure).sum(dtype=float) / weight.sum(dtype=float)
    assert float(found["augrc"]) == close((1 - float(found["auroc_f"])) * error * (1 - error) + error**2 / 2)


@settings(max_examples=30, deadline=None)
@given(SEEDS, LEVELS, st.booleans())
def test_legacy_area_equals_its_loop(seed, levels, with_nan):
    score, failure, cost, *_ = draw(seed, levels)
    if with_nan:
        score[np.random.default_rng(seed).random(N) < 0.2] = np.nan
    for loss in (failure, cost):
        assert float(metrics.legacy_aurc(score, loss)) == close(slow_legacy(score, loss.astype(float)))


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_loss_with_unknown_classes(seed):
    score, failure, _, label, _ = draw(seed)
    loss = metrics.scod_loss(failure, label == 1, unknown_cost=2.5)
    expected = np.where(label == 1, 2.5, failure)
    np.testing.assert_array_equal(loss, expected)
    assert float(metrics.aurc(score, loss)) == close(slow_aurc(score, expected))
    with pytest.raises(ValueError, match=r"at least 0; got -1"):
        metrics.scod_loss(failure, label == 1, unknown_cost=-1)


def test_curve_by_hand():
    curve = metrics.risk_coverage_curve(jnp.array([0.9, 0.5, 0.5, 0.1]), jnp.array([False, True, False, True]))
    assert curve.coverage.shape == (5,)
    coverage, selective, generalized, threshold = curve.distinct()
    np.testing.assert_allclose(coverage, [0, 0.25, 0.75, 1])
    np.testing.assert_allclose(selective, [0, 0, 1 / 3, 0.5], rtol=1e-6)
    np.testing.assert_allclose(generalized, [0, 0, 0.25, 0.5])
    np.testing.assert_array_equal(threshold, np.float32([np.inf, 0.9, 0.5, 0.1]))
    # In the score's own precision, where a float32 would be 1 for both.
    precise = metrics.risk_coverage_curve(1 - 1e-12 * np.arange(2), np.array([False, True])).threshold
    np.testing.assert_array_equal(precise, [np.inf, 1, 1 - 1e-12])


# What holds for all.


def test_no_public_metric_is_missing_here():
    modules = ("risk_coverage", "class_balanced", "achievable", "legacy", "failure_detection", "working_points")
    public = {
        name
        for name in metrics.__all__
        if inspect.isfunction(function := getattr(metrics, name))
        and function.__module__.removeprefix("sfjax.metrics.") in modules
    }
    score, failure, _, label, weight = draw(0)
    assert public <= set(jax.eval_shape(of_arrays, score, failure, label, weight))
    assert len(public) > 20


def same(value: Any, expected: Any, of: str) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-7, err_msg=of), value, expected)


def test_jit_equals_eager_vmap_equals_a_loop_and_order_says_nothing():
    sets = [draw(k, levels) for k, levels in enumerate((7, 1000, 2))]
    sets = [(score, failure.astype(np.float32), label, weight) for score, failure, _, label, weight in sets]
    vmapped = jax.jit(jax.vmap(of_arrays))(*(jnp.asarray(np.stack(arrays)) for arrays in zip(*sets, strict=True)))
    for k, arrays in enumerate(sets):
        eager = of_arrays(*arrays)
        order = np.random.default_rng(k).permutation(N)
        permuted = jitted(*(array[order] for array in arrays))
        for name, value in jitted(*arrays).items():
            same(value, eager[name], f"jit {name}")
            same(jax.tree.map(lambda x, k=k: x[k], vmapped[name]), value, f"vmap {name}")
            if name not in ("legacy_aurc", "scod_loss"):  # by their nature
                same(permuted[name], value, f"permuted {name}")


# Those with a threshold are not of the order alone: see test_working_points.
OF_ORDER = [name for name in WEIGHTED if "threshold" not in name and "rate" not in name and name != "working_point"]


@pytest.mark.parametrize("name", OF_ORDER)
def test_float64_of_numpy_keeps_the_order_that_float32_would_lose(name):
    metric, falling = WEIGHTED[name], np.random.default_rng(0).permutation(N)
    arrays = falling >= N // 2, falling % 3, np.ones(N)
    near = np.asarray(metric(1 - 1e-12 * falling, *arrays))
    np.testing.assert_array_equal(near, metric(-falling, *arrays))
    assert (near != np.asarray(metric(np.ones(N), *arrays))).all()


def test_legacy_area_in_float64_of_numpy():
    failure = draw(2)[1]
    near, far = (metrics.legacy_aurc(score, failure) for score in (1 - 1e-12 * np.arange(N), -np.arange(N)))
    assert float(near) == float(far)


def test_infinite_scores_have_their_place():
    score, failure, _, label, weight = draw(3)
    score[:2] = [9, -9]
    infinite = score.copy()
    infinite[:2] = [np.inf, -np.inf]
    one, other = (jitted(s, failure, label, weight) for s in (score, infinite))
    for name in WEIGHTED:
        np.testing.assert_array_equal(one[name], other[name], name)
        assert not np.isnan(one[name]).all(), name


def test_an_image_of_weight_0_is_not_there_and_nothing_else_is_left_out():
    score, failure, _, label, weight = draw(3)
    arrays = [score, failure.astype(np.float32), label, weight]
    expected = jitted(*arrays)
    absent, present = 4, 2

    def changed(which: int, place: int, to: float) -> dict[str, np.ndarray]:
        copies = [array.copy() for array in arrays]
        copies[which][place] = to
        return jitted(*copies)

    for which, worst in ((0, np.nan), (0, np.inf), (0, -np.inf), (1, np.nan), (1, -1), (1, np.inf), (2, -1), (2, C)):
        with_it = changed(which, absent, worst)
        for name in WEIGHTED:
            same(with_it[name], expected[name], f"{name} {which} {worst}")
    for which, worst in ((0, np.nan), (1, np.nan), (1, -1), (1, np.inf), (3, np.nan), (3, -1), (3, np.inf)):
        undefined = changed(which, present, worst)
        for name in WEIGHTED:
            assert np.isnan(undefined[name]).all(), (name, which, worst)
        if which > 0:
            assert np.isnan(undefined["best_aurc"])
    for no_class in (-1, C):
        unlabelled = changed(2, present, no_class)
        assert np.isnan(unlabelled["aurc_balanced"]) and np.isnan(unlabelled["augrc_balanced"])
    nothing = jitted(*arrays[:3], np.zeros(N, np.float32))
    for name in (*WEIGHTED, "best_aurc"):
        assert np.isnan(nothing[name]).all(), name


EDGES = {
    # Metric: of images that are all right, and all wrong.
    "aurc": (0, 1),
    "augrc": (0, 0.5),
    "eaurc": (0, 0),
    "eaugrc": (0, 0),
    "naurc": (np.nan, np.nan),
    "aurc_balanced": (0, 1),
    "augrc_balanced": (0, 0.5),
    "aurc_achievable": (0, 1),
    "auroc_f": (np.nan, np.nan),
    "ap_success": (1, np.nan),
    "ap_error": (np.nan, 1),
    "fpr_at_95tpr": (np.nan, np.nan),
    "risk_at_coverage": (0, 1),
    "coverage_at_risk": (1, 0),
}


def test_all_right_and_all_wrong_and_one_image():
    for failure in (0, 1):
        label = np.zeros(N, np.int32)
        many = jitted(np.arange(N) // 2, np.full(N, failure), label, np.ones(N, np.float32))
        one = {name: WEIGHTED[name](np.zeros(1), np.full(1, failure), label[:1], None) for name in EDGES}
        for name, expected in EDGES.items():
            for found in (many, one):
                assert float(found[name]) == pytest.approx(expected[failure], abs=1e-7, nan_ok=True), name


def test_all_tied():
    label = (np.arange(N) >= 10).astype(np.int32)
    failure = np.isin(np.arange(N), [0, 3, 12, 25, 39])  # 2 of 10 and 3 of 30
    error, balanced = 1 / 8, (0.2 + 0.1) / 2
    limit = error + (1 - error) * np.log(1 - error)
    expected = {
        "aurc": error,
        "augrc": error / 2,
        "eaurc": error - limit,
        "eaugrc": error / 2 - error**2 / 2,
        "naurc": 1,
        "aurc_balanced": balanced,
        "augrc_balanced": balanced / 2,
        "aurc_achievable": error,
        "auroc_f": 0.5,
        "ap_success": 1 - error,
        "ap_error": error,
        "fpr_at_95tpr": 1,
        "risk_at_coverage": error,
        "coverage_at_risk": 1,
    }
    found = jitted(np.full(N, 0.3), failure, label, np.ones(N, np.float32))
    for name, value in expected.items():
        assert float(found[name]) == close(value), name


def test_where_all_costs_are_equal_no_score_is_better_than_another():
    score, _, _, label, weight = draw(0, 1000)
    for cost in (0.1, 0.7, 30):
        found = jitted(score, np.full(N, cost), label, weight)
        assert float(found["eaurc"]) == pytest.approx(0, abs=1e-6 * cost)
        assert np.isnan(found["naurc"])


def test_types_that_people_have():
    score, failure, _, label, weight = draw(3)
    for name in ("aurc", "auroc_f", "at_threshold", "augrc_balanced"):
        metric = WEIGHTED[name]
        expected = metric(score, failure, label, weight)
        for dtype in (jnp.float32, jnp.float16, jnp.bfloat16, jnp.int32, jnp.uint8):
            np.testing.assert_array_equal(metric(jnp.asarray(score, dtype), failure, label, weight), expected)
            np.testing.assert_array_equal(metric(score, jnp.asarray(failure, dtype), label, weight), expected)
            np.testing.assert_array_equal(metric(score, failure, label, jnp.asarray(weight, dtype)), expected)
        for arrays in (
            (score.astype(int), failure.astype(float), weight.astype(int)),
            (score, failure.tolist(), weight),
        ):
            s, f, w = map(np.asarray, arrays)
            np.testing.assert_array_equal(metric(s, f, label.astype(np.uint8), w), expected)


def test_unequal_lengths_and_no_images_are_refused():
    # Without the shape checks of the tests, as a user meets it.
    with pytest.raises(ValueError, match=r"score \(3,\), loss \(2,\)"):
        check_lengths(score=jnp.zeros(3), loss=jnp.zeros(2), weight=None)
    with pytest.raises(ValueError, match=r"score \(2, 2\)"):
        check_lengths(score=jnp.zeros((2, 2)))
    nothing = np.zeros(0)
    for name, metric in WEIGHTED.items():
        with pytest.raises(ValueError, match="at least one image"):
            metric(nothing, nothing, nothing.astype(int), None)
            pytest.fail(name)
    for wrong in ((0.5, 0.5), (0.6, 0.4), (-0.1, 1), (0, 1.1)):
        with pytest.raises(ValueError, match="rise within 0 and 1"):
            metrics.augrc(np.zeros(2), np.zeros(2), between=wrong)
