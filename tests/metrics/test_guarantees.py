"""Promises by hand, against the reference, and kept in simulations where the true risk is known in closed form."""

import json
import math
from functools import partial
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from scipy import stats

from sfjax.metrics.guarantees import (
    Guarantee,
    binomial_upper,
    bisection,
    crc_threshold,
    hoeffding_bentkus,
    ltt_threshold,
    one_per_patient,
    sgr_threshold,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "guarantees.json").read_text(encoding="utf-8"))
CANDIDATES = np.linspace(0, 1, 41)[:-1]
DELTA = 0.1


def sgr(score, failure, target=0.2, **options) -> Guarantee:
    return sgr_threshold(score, failure, target=target, delta=DELTA, **options)


def ltt(score, loss, target=0.2, candidates=CANDIDATES, **options) -> Guarantee:
    return ltt_threshold(score, loss, target=target, delta=DELTA, candidates=candidates, **options)


def crc(score, loss, target=0.2, **options) -> Guarantee:
    return crc_threshold(score, loss, target=target, **options)


ALL = pytest.mark.parametrize("fit", [sgr, ltt, crc])


# By hand.


def test_sgr_by_hand():
    # 100 images, the 30 of lowest score fail; 8 steps at delta / 8 each. The bisection accepts 50, 75, 62, 68, 71, 73,
    # 72: the bound of 5, 3 and 2 failures is above 0.1, that of 1 in 71 is below.
    score, failure = np.arange(100.0), np.arange(100) < 30
    found = sgr_threshold(score, failure, target=0.1, delta=0.05)
    bounds = {k: stats.beta.ppf(1 - 0.05 / 8, k + 1, 70) for k in (1, 2)}
    assert bounds[1] < 0.1 < bounds[2]
    assert (found.kind, found.threshold, found.coverage, found.n, found.exists) == ("sgr", 28, 0.71, 100, True)
    assert found.risk == pytest.approx(1 / 71) and found.bound == pytest.approx(bounds[1])
    assert (score > found.threshold).mean() == found.coverage
    reference = sgr_threshold(score, failure, target=0.1, delta=0.05, reference_delta=True)
    assert reference.bound == pytest.approx(stats.beta.ppf(1 - 0.05 / 7, 2, 70))


def test_sgr_counts_only_what_lies_above_the_threshold():
    # The lower half ties at 0: a threshold of 0 accepts the upper half, and no threshold splits the lower.
    score, failure = np.repeat([0.0, 1.0], 64), np.repeat([True, False], 64)
    found = sgr(score, failure)
    assert (found.threshold, found.coverage, found.risk) == (0, 0.5, 0)
    assert found.bound == pytest.approx(1 - (DELTA / 8) ** (1 / 64))


def test_ltt_by_hand():
    # One chain: (1 - 0.2)^n <= 0.1 from 11 images on.
    score, right = np.arange(40.0), np.zeros(40, bool)
    assert ltt(score, right, candidates=np.array([0.0, 28.0]), chains=1).threshold == 0
    assert not ltt(score, right, candidates=np.array([0.0, 29.0]), chains=1).exists
    # With two, the second starts at 0, at half of delta, and the death of the first does not matter.
    assert ltt(score, right, candidates=np.array([29.0, 0.0]), chains=2).threshold == 0
    # A chain ends at its first candidate that is not shown, though one further down would be.
    failure = (score > 19) & (score < 27)
    candidates = np.array([26.0, 19.0, -1.0])
    exact = stats.binom.cdf([0, 7, 7], [13, 20, 40], [0.2, 0.2, 0.4])
    assert exact[0] < 0.1 < exact[1] and exact[2] < 0.1 / 3
    assert ltt(score, failure, candidates=candidates, chains=1).threshold == 26
    found = ltt(score, failure, target=0.4, candidates=candidates, chains=3)
    assert (found.threshold, found.coverage, found.risk, found.bound) == (-1, 1, 7 / 40, 0.4)


def test_ltt_shares_delta_among_chains():
    # Three images that are right: 0.5^3 = 0.125 is below 0.2, and above 0.2 / 2.
    score, right, candidates = np.arange(5.0), np.zeros(5, bool), np.array([1.0, 4.0])
    options = {"target": 0.5, "candidates": candidates}
    assert ltt_threshold(score, right, delta=0.2, chains=1, **options | {"candidates": candidates[:1]}).exists
    assert not ltt_threshold(score, right, delta=0.2, chains=2, **options).exists
    assert ltt_threshold(score, right, delta=0.25, chains=9, **options).exists  # no more chains than candidates


def test_crc_by_hand():
    # From the top: losses 0, 2, 0, 1. Accepted sums 0, 2, 2, 3; with the bound 2, over 5: 0.4, 0.8, 0.8, 1.
    score, loss = np.array([4.0, 3.0, 2.0, 1.0]), np.array([0.0, 2.0, 0.0, 1.0])
    expected = {0.3: (math.inf, 0), 0.4: (3, 0.25), 0.79: (3, 0.25), 0.8: (1, 0.75), 1.0: (-math.inf, 1)}
    for target, (threshold, coverage) in expected.items():
        found = crc(score, loss, target=target, bound=2.0)
        assert (found.threshold, found.coverage) == (threshold, coverage), target
    assert (found.risk, found.bound) == (0.75, 1.0) and math.isnan(found.delta)


def test_one_image():
    right, wrong = np.zeros(1, bool), np.ones(1, bool)
    score = np.array([0.5])
    assert sgr_threshold(score, right, target=0.5, delta=0.5) == ("sgr", -math.inf, 0.5, 0.5, 1, 0, 0.5, 1)
    assert not sgr_threshold(score, right, target=0.4, delta=0.5).exists
    assert sgr_threshold(score, right, target=0.6, delta=0.5, reference_delta=True).exists
    assert crc(score, right, target=0.5).threshold == -math.inf
    for fit in (sgr, ltt, crc):
        assert not fit(score, wrong).exists


@ALL
def test_all_right_and_all_wrong(fit):
    score = np.linspace(0.01, 1, 200)
    right, wrong = fit(score, np.zeros(200, bool)), fit(score, np.ones(200, bool))
    assert right.exists and (right.coverage, right.risk) == (1, 0) and right.bound <= 0.2
    if fit is crc:  # 39 accepted failures and one more, over 201, are below 0.2
        assert (wrong.coverage, wrong.risk) == (39 / 200, 39 / 200)
    else:
        assert not wrong.exists
        assert (wrong.threshold, wrong.coverage, wrong.n) == (math.inf, 0, 200)
        assert math.isnan(wrong.risk) and math.isnan(wrong.bound)


@ALL
def test_no_result_depends_on_the_order_of_the_images(fit, rng):
    score = rng.integers(0, 12, 300) / 12
    loss = rng.random(300) < 0.5 * (1 - score)
    costs = {} if fit is sgr else {"bound": 3.0}
    loss = loss * rng.uniform(0, 3, 300) if costs else loss
    first = fit(score, loss, target=0.6, **costs)
    assert first.exists
    for _ in range(20):
        shuffled = rng.permutation(300)
        assert fit(score[shuffled], loss[shuffled], target=0.6, **costs) == first
        assert (score > first.threshold).mean() == first.coverage


@ALL
def test_infinite_scores(fit):
    # +inf is above every finite threshold, -inf above none, not even -inf. SGR's first steps lie within the tie.
    score = np.concatenate([np.full(100, np.inf), np.full(20, -np.inf)])
    found = fit(score, np.isneginf(score))
    assert found.exists and (found.coverage, found.risk) == (100 / 120, 0)


# The pieces.


def test_binomial_upper_is_the_rate_whose_tail_is_delta():
    failures, n = np.array([0, 3, 10, 49]), np.array([20, 20, 400, 50])
    upper = binomial_upper(failures, n, 0.01)
    np.testing.assert_allclose(stats.binom.cdf(failures, n, upper), 0.01, rtol=1e-9)
    assert binomial_upper(5, 5, 0.01) == binomial_upper(0, 0, 0.01) == 1


@pytest.mark.parametrize("target", [0.05, 0.3, 1.0])
def test_hoeffding_bentkus_equals_its_formula(target):
    def kl(a: float, b: float) -> float:
        terms = [0 if x == 0 else (math.inf if y == 0 else x * math.log(x / y)) for x, y in ((a, b), (1 - a, 1 - b))]
        return sum(terms)

    means, n = np.array([0.0, 0.013, 0.05, 0.21, 0.3, 0.77, 1.0, 0.1]), np.array([30, 100, 7, 64, 1, 12, 9, 0])
    slow = [
        min(1, math.exp(-k * kl(min(r, target), target)), math.e * stats.binom.cdf(math.ceil(k * r), k, target))
        if k
        else 1
        for r, k in zip(means, n, strict=True)
    ]
    np.testing.assert_allclose(hoeffding_bentkus(means, n, target), slow, rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("n", [1, 2, 3, 6, 64, 65, 100])
def test_bisection_reaches_every_place_in_the_steps_that_share_delta(n):
    for lowest in range(n + 1):
        tried = set()
        assert bisection(n, lambda place: tried.add(place) or place >= lowest) == lowest  # noqa: B023
        assert len(tried) <= math.ceil(math.log2(n)) + 1


def test_one_per_patient():
    groups = np.array([7, 7, 2, 7, 9, 2, 7, 7, 7, 7])
    drawn = [one_per_patient(groups, seed=seed) for seed in range(2000)]
    assert all(sorted(groups[images]) == [2, 7, 9] and np.all(np.diff(images) > 0) for images in drawn)
    counts = np.bincount(np.concatenate(drawn), minlength=10) / 2000
    np.testing.assert_allclose(counts, np.where(groups == 7, 1 / 7, np.where(groups == 2, 1 / 2, 1)), atol=0.04)
    named = np.array(list("aazabzaaaa"))
    np.testing.assert_array_equal(one_per_patient(named, seed=3), one_per_patient(groups, seed=3))


# The reference.


def reference_sgr(score: np.ndarray, failure: np.ndarray, target: float, delta: float) -> tuple[int, float]:
    """Returns the place and the bound at which the reference's loop ends, written out."""
    failure, n = failure[np.argsort(score)], len(score)
    low, high = 0, n - 1
    for _ in range(math.ceil(math.log2(n)) + 1):
        place = math.ceil((low + high) / 2)
        failures, accepted = failure[place:].sum(), n - place
        each = delta / math.ceil(math.log2(n))
        bound = stats.beta.ppf(1 - each, failures + 1, accepted - failures) if failures < accepted else 1.0
        low, high = (place, high) if bound > target else (low, place)
    return place, bound


@pytest.mark.parametrize("mode", ["with_bound", "without_bound"])
def test_the_bisection_ends_where_the_reference_does(mode):
    expected, score = GOLDEN[mode], np.array(GOLDEN["score"])
    order = np.argsort(score)
    failure = 1 - np.array(GOLDEN["correct"])[order]

    def holds(place: int) -> bool:
        failures, accepted = failure[place:].sum(), 64 - place
        rate = binomial_upper(failures, accepted, expected["delta"] / 6) if "delta" in expected else failures / accepted
        return bool(rate <= GOLDEN["target"])

    place = min(bisection(64, holds), 63)  # the reference stays at the surest image where no bound held
    assert failure[place:].mean() == pytest.approx(expected["risk"], abs=1e-12)
    assert 1 - place / 64 == expected["coverage"]
    assert score[order][place] == expected["theta"]


def test_where_no_bound_holds_there_is_no_threshold():
    # The reference returns the surest image's score, 0.9807, though one image that is right bounds the risk by 0.99.
    score, failure = np.array(GOLDEN["score"]), 1 - np.array(GOLDEN["correct"])
    place, bound = reference_sgr(score, failure, GOLDEN["target"], 0.05)
    assert np.sort(score)[place] == GOLDEN["with_bound"]["theta"] and bound > 0.99
    assert not sgr_threshold(score, failure, target=GOLDEN["target"], delta=0.05, reference_delta=True).exists


@pytest.mark.parametrize("n", [2, 37, 64, 200])
def test_sgr_accepts_the_images_of_the_reference(n, rng):
    found = 0
    for target in np.linspace(0.2, 0.99, 40):
        score = rng.permutation(n).astype(float)
        failure = rng.random(n) < (1 - score / n)
        place, bound = reference_sgr(score, failure, target, 0.2)
        ours = sgr_threshold(score, failure, target=target, delta=0.2, reference_delta=True)
        if ours.coverage == 1:  # which the reference never tries
            assert place <= 1
        elif bound <= target:
            found += 1
            assert ours.bound == pytest.approx(bound) and round(ours.coverage * n) == n - place
            assert ours.threshold == place - 1  # theta, the lowest score that is accepted, is the next
        else:
            assert not ours.exists
    assert found > 5 or n == 2


# The promises. Scores are uniform on [0, 1], in levels or not; the chance of a failure is `slope (1 - score) + floor`.


class World:
    """Images of which the risk above every threshold is known."""

    def __init__(self, slope: float, floor: float = 0.0, levels: int | None = None):
        self.slope, self.floor, self.levels = slope, floor, levels

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        latent = rng.random(n)
        failure = rng.random(n) < self.slope * (1 - latent) + self.floor
        return (latent if self.levels is None else np.floor(latent * self.levels) / self.levels), failure

    def coverage(self, threshold: float) -> float:
        low = min(max(threshold, -1.0), 1.0)
        if self.levels is not None:  # the next level is the lowest that is accepted
            low = (math.floor(low * self.levels + 0.5) + 1) / self.levels
        return 1 - min(max(low, 0.0), 1.0)

    def selective_risk(self, threshold: float) -> float:
        return self.slope * self.coverage(threshold) / 2 + self.floor if self.coverage(threshold) > 0 else 0.0

    def generalized_risk(self, threshold: float) -> float:
        return self.selective_risk(threshold) * self.coverage(threshold)


SLOPED = World(slope=0.6)  # a risk of 0.2 at a coverage of 2/3
TIED = World(slope=0.6, levels=20)
NEVER = World(slope=0.0, floor=0.2001)  # above a target of 0.2 wherever the threshold lies: the worst case


def simulate(
    world: World, fit, *, repetitions: int = 1000, n: int = 400, cost=None
) -> tuple[np.ndarray, list[Guarantee]]:
    """Returns the true selective risk at each repetition's threshold (0 where nothing is accepted), and the results."""
    rng, results = np.random.default_rng(1), []
    for _ in range(repetitions):
        score, failure = world.draw(rng, n)
        results.append(fit(score, failure if cost is None else failure * cost(rng, n)))
    return np.array([world.selective_risk(found.threshold) for found in results]), results


def most(rate: float, repetitions: int) -> float:
    """Returns a share that chance exceeds about once in a thousand times where the true rate is `rate`."""
    return rate + 3 * math.sqrt(rate * (1 - rate) / repetitions)


@pytest.mark.parametrize("fit", [sgr, ltt])
@pytest.mark.parametrize("world", [SLOPED, TIED, NEVER], ids=["sloped", "tied", "never"])
def test_the_selective_risk_is_kept(fit, world):
    risk, results = simulate(world, fit)
    assert (risk > 0.2).mean() <= most(DELTA, 1000)
    if world is NEVER:  # some promises are broken: the world is hard enough to tell
        assert (risk > 0.2).mean() > 0
    else:  # the promise is not empty: the best threshold accepts 2/3 of the images
        assert np.mean([found.exists for found in results]) > 0.9
        assert np.mean([found.coverage for found in results]) > 0.35


def test_the_selective_risk_of_costs_is_kept():
    fit = partial(ltt, target=0.5, bound=5.0)
    # Costs of 0 to 5, 2.5 in the mean, each failure's own.
    risk, results = simulate(SLOPED, fit, n=800, cost=lambda rng, n: rng.uniform(0, 5, n))
    assert (2.5 * risk > 0.5).mean() <= most(DELTA, 1000)
    assert np.mean([found.exists for found in results]) > 0.8
    assert np.mean([found.coverage for found in results]) > 0.25
    # The worst case: a cost of the bound or of none, with a mean of 0.5005 at every threshold.
    risk, _ = simulate(World(slope=0.0, floor=0.1001), fit, n=800, cost=lambda rng, n: 5.0)
    assert 0 < (5 * risk > 0.5).mean() <= most(DELTA, 1000)


def test_a_threshold_without_a_bound_breaks_the_promise():
    def plug_in(score, failure):
        order = np.argsort(-score)
        risk = np.cumsum(failure[order]) / np.arange(1, len(score) + 1)
        place = np.flatnonzero(risk <= 0.2).max(initial=0)
        return Guarantee("sgr", score[order][place], 0.2, DELTA, math.nan, risk[place], math.nan, len(score))

    risk, _ = simulate(SLOPED, plug_in)
    assert (risk > 0.2).mean() > most(DELTA, 1000) + 0.2


@pytest.mark.parametrize("world", [SLOPED, TIED], ids=["sloped", "tied"])
@pytest.mark.parametrize("bound", [None, 5.0])
def test_the_generalized_risk_is_kept_in_the_mean(world, bound):
    # Few images, so that the image of largest loss, 1/51 of it, is many standard errors.
    scale, target = (1.0, 0.05) if bound is None else (2.5, 0.2)
    cost = None if bound is None else lambda rng, n: rng.uniform(0, bound, n)
    _, results = simulate(world, partial(crc, target=target, bound=bound), n=50, repetitions=2000, cost=cost)
    true = scale * np.array([world.generalized_risk(found.threshold) for found in results])
    assert true.mean() <= target + 3 * true.std() / math.sqrt(2000)
    assert true.mean() > target - 2.5 * (bound or 1) / 51
    assert np.mean([found.exists for found in results]) > 0.9


# Errors.

SCORE, RIGHT = np.arange(4.0), np.zeros(4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sgr(SCORE, RIGHT, target=0.0), r"at most the largest loss, 1\.0; got 0\.0"),
        (lambda: sgr(SCORE, RIGHT, target=math.nan), "got nan"),
        (lambda: ltt(SCORE, RIGHT, target=3.0, bound=2.0), r"largest loss, 2\.0; got 3\.0"),
        (lambda: sgr_threshold(SCORE, RIGHT, target=0.1, delta=0.0), r"between 0 and 1, such as 0\.05; got 0\.0"),
        (lambda: ltt_threshold(SCORE, RIGHT, target=0.1, delta=1.0, candidates=SCORE), r"got 1\.0"),
        (lambda: sgr(np.array([0, np.nan, 1, 2]), RIGHT), "score is NaN for 1 of 4 images"),
        (lambda: sgr(SCORE, np.array([0, np.nan, 1, 0])), "failure is NaN for 1 of 4 images"),
        (lambda: crc(SCORE, np.array([0, np.nan, 1, 0]), bound=2.0), "loss is NaN"),
        (
            lambda: sgr(SCORE, np.array([0, 0.5, 1, 0])),
            r"failure must be 0 or 1 .* got 0\.5\. Costs have `ltt_threshold`",
        ),
        (lambda: ltt(SCORE, np.array([0, 2.0, 1, 0])), r"got 2\.0\. State as `bound`"),
        (lambda: crc(SCORE, np.array([0, 2.0, 1, 0])), r"got 2\.0\. State as `bound`"),
        (lambda: ltt(SCORE, np.array([0, 2.5, 1, 0]), bound=2.0), r"between 0 and the bound 2\.0; got 2\.5"),
        (lambda: crc(SCORE, np.array([0, -1.0, 1, 0]), bound=2.0), r"got -1\.0"),
        (lambda: crc(SCORE, RIGHT, bound=0.0), r"positive and finite; got bound=0\.0"),
        (lambda: ltt(SCORE, RIGHT, candidates=np.zeros(0)), "one at least"),
        (lambda: ltt(SCORE, RIGHT, candidates=np.array([np.nan])), "must be numbers"),
        (lambda: ltt(SCORE, RIGHT, chains=0), "at least one chain of tests; got 0"),
        (lambda: sgr(np.zeros(0), np.zeros(0)), "at least one image"),
        (lambda: one_per_patient(np.zeros(0), seed=0), "at least one image"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@ALL
def test_unequal_lengths_are_refused(fit):
    # Without the shape checks of the tests, as a user meets it.
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match=r"score \(4,\), (failure|loss) \(3,\)"):
            fit(SCORE, RIGHT[:3])
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
