"""Paired comparisons of one family, and intervals over seeds: by hand, by a slow definition, and by simulation."""

import numpy as np
import pytest
from scipy.special import stdtrit

from sfjax.metrics.compare import (
    compare,
    hierarchical_interval,
    holm,
    resample_seeds,
    resamples_needed,
    seed_interval,
)
from sfjax.metrics.intervals import Estimate, difference, interval, p_value


def resampled(losses: np.ndarray, weights: np.ndarray) -> Estimate:
    """Mean losses of CSFs, one row a CSF, one column an image."""
    return Estimate(losses.mean(-1), losses @ weights.T, losses - losses.mean(-1, keepdims=True))


def draws(rng: np.random.Generator, n: int, number: int) -> np.ndarray:
    return rng.multinomial(n, np.full(n, 1 / n), number) / n


@pytest.fixture
def estimates(rng) -> Estimate:
    """Four CSFs on 80 images: the first is like the second, the third is worse by 1, the fourth a little better."""
    shift = np.array([0.0, 0.0, 1.0, -0.3])
    losses = rng.normal(size=80) + 0.5 * rng.normal(size=(4, 80)) + shift[:, None]
    return resampled(losses, draws(rng, 80, 600))


# --- Holm ------------------------------------------------------------------------------------------------------------


def rejected(p: list[float], alpha: float) -> list[bool]:
    """Holm's procedure as he wrote it: from the smallest on, until one is above alpha over the number left."""
    found = [False] * len(p)
    left = len(p)
    for place in sorted(range(len(p)), key=lambda i: p[i]):
        if p[place] > alpha / left:
            break
        found[place] = True
        left -= 1
    return found


def test_holm_by_hand():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04, and never below the one before.
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.5, 0.9])), [1.0, 1.0])
    np.testing.assert_allclose(holm(np.array([0.02])), [0.02])
    assert holm(np.array([])).shape == (0,)


def test_holm_rejects_what_the_stepwise_procedure_rejects(rng):
    for _ in range(200):
        p = rng.beta(0.3, 2, rng.integers(1, 9))
        for alpha in (0.01, 0.05, 0.2):
            assert (holm(p) <= alpha).tolist() == rejected(p.tolist(), alpha)


def test_what_is_not_defined_does_not_count_in_the_family():
    adjusted = holm(np.array([np.nan, 0.01, np.nan, 0.04]))
    np.testing.assert_allclose(adjusted, [np.nan, 0.02, np.nan, 0.04])
    assert np.isnan(holm(np.array([np.nan, np.nan]))).all()


def test_p_values_lie_between_0_and_1():
    with pytest.raises(ValueError, match=r"\[0, 1\]; got 0.5 to 1.5"):
        holm(np.array([0.5, 1.5]))


# --- Against the baseline --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_each_comparison_is_the_paired_difference(estimates, method):
    found = compare(estimates, 1, method=method)
    for csf in (0, 2, 3):
        paired = difference(estimates.at([csf]), estimates.at([1]))
        ends = interval(paired, method=method)
        assert found.difference[csf] == pytest.approx(float(estimates.value[csf] - estimates.value[1]))
        assert (found.low[csf], found.high[csf]) == (ends.low[0], ends.high[0])
        assert found.p[csf] == p_value(paired, method=method)[0]
    np.testing.assert_allclose(found.p_holm[[0, 2, 3]], holm(found.p[[0, 2, 3]]))
    assert all(np.isnan(field[1]) for field in found if field.dtype.kind == "f")
    assert found.different.tolist() == [False, False, True, True]
    assert found.difference[2] > 0 > found.difference[3]


def test_pairing_tells_apart_what_unpaired_intervals_do_not(estimates):
    alone = interval(estimates)
    assert alone.high[3] > alone.low[1]
    assert compare(estimates, 1).different[3]


def test_a_csf_equal_to_the_baseline_is_not_different(estimates):
    twice = Estimate(*(np.concatenate([field, field[1:2]]) for field in estimates))
    found = compare(twice, 1)
    assert (found.difference[4], found.low[4], found.high[4], found.p[4], found.p_holm[4]) == (0, 0, 0, 1, 1)
    assert not found.different[4]


def test_a_csf_that_is_often_undefined_leaves_the_family(estimates):
    resamples = estimates.resamples.copy()
    resamples[0, :60] = np.nan  # 10 %
    resamples[3, :24] = np.nan  # 4 %
    found = compare(estimates._replace(resamples=resamples), 1)
    assert np.isnan([found.low[0], found.high[0], found.p[0], found.p_holm[0]]).all() and not found.different[0]
    np.testing.assert_allclose(found.undefined, [0.1, np.nan, 0, 0.04])
    assert found.p_holm[2] == pytest.approx(2 * found.p[2])
    value = np.where(np.arange(4) == 2, np.nan, estimates.value)
    unknown = compare(estimates._replace(value=value), 1)
    assert np.isnan([unknown.low[2], unknown.high[2], unknown.p[2]]).all() and not unknown.different[2]


def test_a_csf_or_baseline_without_the_metric_is_left_out(estimates):
    """As the silent failure rate of a score that is no probability."""
    nothing = Estimate(
        *(np.where(np.arange(4).reshape(-1, *[1] * (np.ndim(f) - 1)) == 1, np.nan, f) for f in estimates)
    )
    found = compare(nothing, 0)
    assert np.isnan([field[1] for field in found if field.dtype.kind == "f"][:5]).all() and found.undefined[1] == 1
    np.testing.assert_allclose(found.p_holm[[2, 3]], holm(found.p[[2, 3]]))
    assert found.different.tolist() == [False, False, True, True]
    alone = compare(nothing, 1)
    assert np.isnan([alone.difference, alone.low, alone.p, alone.p_holm]).all() and not alone.different.any()


def test_comparisons_that_cannot_be_are_refused(estimates):
    with pytest.raises(ValueError, match="two CSFs or more; got the shape \\(1,\\)"):
        compare(estimates.at([1]), 0)
    with pytest.raises(ValueError, match="two CSFs or more; got the shape \\(\\)"):
        compare(estimates.at(1), 0)
    with pytest.raises(ValueError, match="one of 4 CSFs, from 0; got 4"):
        compare(estimates, 4)
    with pytest.raises(ValueError, match="one of 4 CSFs, from 0; got -1"):
        compare(estimates, -1)
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match=f"between 0 and 1; got {level}"):
            compare(estimates, 1, level=level)


def test_too_few_resamples_are_refused_where_no_difference_could_be_found(estimates):
    # 3 comparisons at 5 %: 2 / (r + 1) <= 0.05 / 3 from r = 119 on.
    few = estimates._replace(resamples=estimates.resamples[:, :118])
    with pytest.raises(ValueError, match=r"with 118 resamples.*at least 119 resamples, better 600"):
        compare(few, 1)
    enough = estimates._replace(resamples=estimates.resamples[:, :119])
    assert compare(enough, 1, method="percentile").different[2]
    # 1 comparison at 10 %, of 2 / 20; in floating point, 1 - 0.9 is a little less than that.
    fewest = estimates._replace(resamples=estimates.resamples[:, :19]).at([1, 2])
    assert compare(fewest, 0, level=0.9, method="percentile").different[1]
    with pytest.raises(ValueError, match="at least 599 resamples, better 3000"):
        compare(enough, 1, level=0.99)


def test_resamples_needed_by_hand():
    assert resamples_needed(1) == 200  # 5 in each tail of 2.5 %
    assert resamples_needed(19) == 3800
    assert resamples_needed(1, level=0.9) == 100
    assert resamples_needed(3, level=0.99, beyond=1) == 600
    assert resamples_needed(1, level=0.93, beyond=1) == 29  # 28.57 is not enough
    with pytest.raises(ValueError, match="got 0 comparisons"):
        resamples_needed(0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        resamples_needed(1, level=1.0)


def test_a_family_of_equal_csfs_holds_its_error():
    """Six CSFs as good as the baseline: a difference in at most 5 % of families, where unadjusted it is in 20 %."""
    rng = np.random.default_rng(0)
    weights = draws(rng, 100, 399)
    wrong, unadjusted = 0, 0
    for _ in range(400):
        found = compare(resampled(rng.normal(size=100) + rng.normal(size=(7, 100)), weights), 0)
        wrong += bool(found.different.any())
        unadjusted += bool((found.p <= 0.05).any())
    assert 0.015 <= wrong / 400 <= 0.085  # 5 % and three standard errors
    assert unadjusted / 400 > 0.15


# --- Over seeds ------------------------------------------------------------------------------------------------------


def test_student_by_hand():
    # Mean 2, standard deviation 1 of three: 2 -+ 4.3027 / sqrt(3).
    found = seed_interval(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(found, [2, 1, 2 - 2.48414, 2 + 2.48414], rtol=1e-5)
    np.testing.assert_allclose(seed_interval(np.array([1.0, 2.0, 3.0]), level=0.9).high, 2 + 1.68585, rtol=1e-5)


def test_student_over_leading_seeds(rng):
    values = rng.normal(size=(5, 2, 3))
    found = seed_interval(values)
    assert found.low.shape == (2, 3)
    for place in np.ndindex(2, 3):
        one = values[(slice(None), *place)]
        reach = stdtrit(4, 0.975) * np.std(one, ddof=1) / np.sqrt(5)
        np.testing.assert_allclose([found.low[place], found.high[place]], [one.mean() - reach, one.mean() + reach])
    values[0, 1, 2] = np.nan
    holes = seed_interval(values)
    assert np.isnan([field[1, 2] for field in holes]).all() and np.isfinite([field[0, 0] for field in holes]).all()


def test_one_seed_has_a_mean_and_no_interval():
    found = seed_interval(np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(found.mean, [1, 2])
    assert np.isnan([found.sd, found.low, found.high]).all()
    with pytest.raises(ValueError, match="at least one seed; got none"):
        seed_interval(np.zeros((0, 2)))


def test_seeds_are_drawn_as_the_generator_says(rng):
    """Against a loop over resamples."""
    values = rng.normal(size=(9, 2, 50))
    drawn = np.random.default_rng(3).integers(0, 9, (9, 50))
    expected = np.stack([values[drawn[:, r], :, r].mean(axis=0) for r in range(50)], axis=-1)
    np.testing.assert_allclose(resample_seeds(values, rng_seed=3), expected)
    assert not np.allclose(resample_seeds(values, rng_seed=4), expected)


def test_a_seed_that_is_not_drawn_is_not_looked_at(rng):
    values = rng.normal(size=(8, 400))
    values[2] = np.nan
    drawn = (np.random.default_rng(0).integers(0, 8, (8, 400)) == 2).any(axis=0)
    np.testing.assert_array_equal(np.isnan(resample_seeds(values)), drawn)


def test_seven_seeds_are_too_few_to_draw_from(rng):
    estimate = Estimate(np.zeros(7), rng.normal(size=(7, 50)), np.zeros((7, 5)))
    with pytest.raises(ValueError, match=r"at least 8 seeds; got 7: .* = 0.93 .*seed_interval"):
        hierarchical_interval(estimate)
    eight = Estimate(np.zeros(8), rng.normal(size=(8, 50)), np.zeros((8, 5)))
    assert np.isfinite(hierarchical_interval(eight).low)


def test_the_hierarchical_interval_is_the_percentiles_of_both_draws(rng):
    estimate = Estimate(np.zeros((8, 2)), rng.normal(size=(8, 2, 500)), np.zeros((8, 2, 5)))
    found = hierarchical_interval(estimate, level=0.9, rng_seed=1)
    expected = np.quantile(resample_seeds(estimate.resamples, rng_seed=1), [0.05, 0.95], axis=-1)
    np.testing.assert_allclose([found.low, found.high], expected)
    np.testing.assert_array_equal(found.undefined, [0, 0])


def test_intervals_over_seeds_cover_what_they_speak_of():
    """A seed's effect, an image's, and noise: Student's is for these images, the hierarchical one for others too."""
    rng = np.random.default_rng(0)
    weights = draws(rng, 100, 300)
    student, for_others, hierarchical = 0, 0, 0
    for number in range(400):
        images = 0.9 * rng.normal(size=100)
        losses = images + 0.2 * rng.normal(size=(8, 1)) + 0.7 * rng.normal(size=(8, 100))
        found = seed_interval(losses.mean(axis=1))
        student += bool(found.low <= images.mean() <= found.high)
        for_others += bool(found.low <= 0 <= found.high)
        both = hierarchical_interval(resampled(losses, weights), rng_seed=number)
        hierarchical += bool(both.low <= 0 <= both.high)
    assert 0.915 <= student / 400 <= 0.985
    assert for_others / 400 < 0.87
    assert 0.915 <= hierarchical / 400 <= 0.985
