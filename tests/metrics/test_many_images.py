"""Areas and ranks of a million images and more: float32 beside NumPy's float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from sfjax import metrics

C = 4


def test_an_area_that_no_score_can_beat_at_small_error_rates():
    for error in (1e-6, 1e-4, 1e-2, 0.5, 1):
        exact = np.float64(np.float32(error))
        exact += (1 - exact) * np.log1p(-exact) if error < 1 else 0
        value = float(metrics.risk_coverage.best_aurc_at(jnp.float32(error)))
        assert value == pytest.approx(exact, rel=1e-6, abs=1e-7 * error)


MILLION = 1_000_000


def large(kind: str) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    place = rng.permutation(MILLION).astype(np.float32)
    failure = rng.random(MILLION) < 0.05 + 0.3 * (1 - place / MILLION) ** 2
    label = rng.choice(C, MILLION, p=[0.9, 0.07, 0.02, 0.01]).astype(np.int32)
    weight = rng.gamma(2, 1, MILLION).astype(np.float32)
    score = {
        "smooth": place,
        "failures first": place + np.float32(2 * MILLION) * failure,
        "ten levels": np.floor(place / MILLION * 10),
    }[kind]
    return score, failure, label, weight


@pytest.mark.parametrize("kind", ["smooth", "failures first", "ten levels"])
def test_a_million_images_in_float32(kind):
    score, failure, label, weight = large(kind)
    order = np.argsort(-score, kind="stable")
    end = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    w, f = (array[order].astype(float) for array in (weight, failure))

    def through(x: np.ndarray) -> np.ndarray:
        """Returns sums by coverage, from 0."""
        return np.r_[0, np.cumsum(x)[end]]

    accepted, failed, all_of = through(w), through(w * f), w.sum()
    coverage, risk = accepted / all_of, failed[1:] / accepted[1:]
    classes = [label[order] == one for one in range(C)]
    balanced = np.mean([through(w * f * k)[1:] / np.maximum(through(w * k)[1:], 1e-9) for k in classes], axis=0)
    up = sum(k * all_of / C / w[k].sum() for k in classes)
    success = accepted - failed
    at_most = [x[-1] - x[:-1] for x in (failed, accepted)]
    half = np.r_[0.5, coverage[coverage > 0.5]]
    expected = {
        "aurc": np.trapezoid(np.r_[risk[0], risk], coverage),
        "augrc": np.trapezoid(failed / all_of, coverage),
        "aurc_between": np.trapezoid(np.interp(half, coverage, np.r_[risk[0], risk]), half),
        "aurc_balanced": np.trapezoid(np.r_[balanced[0], balanced], coverage),
        "augrc_balanced": np.trapezoid(through(w * f * up) / all_of, coverage),
        "auroc_f": np.sum(np.diff(failed) * (success[1:] + success[:-1]) / 2) / success[-1] / failed[-1],
        "ap_success": np.sum(np.diff(success) * success[1:] / accepted[1:]) / success[-1],
        "ap_error": np.sum(np.diff(failed) * at_most[0] / at_most[1]) / failed[-1],
    }
    for name, value in expected.items():
        function = getattr(metrics, name.removesuffix("_between"))
        options = {"between": (0.5, 1.0)} if name.endswith("_between") else {}
        arrays = (score, failure, label) if name.endswith("_balanced") else (score, failure)
        options |= {"num_classes": C} if name.endswith("_balanced") else {}
        found = function(*arrays, weight=weight, **options)
        assert float(found) == pytest.approx(value, rel=1e-6), name


def test_ten_million_images_in_float32():
    """Steps of coverage are 1e-7 here, which float32 loses beside 1: areas must not be sums of such differences."""
    n = 10_000_000
    rng = np.random.default_rng(0)
    score = rng.permutation(n).astype(np.float32)
    failure = rng.random(n) < 0.3 - 0.2 * score / n
    lost = np.cumsum(failure[np.argsort(-score)].astype(float))
    risk = lost / np.arange(1, n + 1)
    selective = (risk[0] / 2 + risk.sum() - risk[-1] / 2) / n  # held below the first image
    assert float(metrics.aurc(score, failure)) == pytest.approx(selective, rel=1e-6)
    assert float(metrics.augrc(score, failure)) == pytest.approx((lost[:-1].sum() + lost[-1] / 2) / n**2, rel=1e-6)
