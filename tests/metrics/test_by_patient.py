"""Intervals in closed form, of images that patients share."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from sfjax.metrics.by_patient import auroc, placements, share


@pytest.mark.parametrize("hits", [0, 1, 13, 40])
def test_a_share_of_single_images_has_the_exact_interval(hits):
    found = share(np.arange(40) < hits, np.arange(40))
    exact = binomtest(hits, 40).proportion_ci(0.95, method="exact")
    np.testing.assert_allclose(found, [hits / 40, exact.low, exact.high], atol=1e-9)


def test_copies_of_an_image_are_worth_nothing():
    hits = np.arange(30) < 6
    once, often = share(hits, np.arange(30)), share(np.repeat(hits, 5), np.repeat(np.arange(30), 5))
    assert often.value == once.value
    # Of 150 images taken for independent ones, the interval would be less than half as wide.
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.1)
    nothing = share(np.zeros(150, bool), np.repeat(np.arange(30), 5))
    assert nothing.high == pytest.approx(binomtest(0, 30).proportion_ci(0.95, method="exact").high, rel=0.1)


def test_auroc_is_that_of_scikit_learn_with_ties(rng):
    score, positive = np.round(rng.normal(size=200), 1), rng.random(200) < 0.3
    found = auroc(score + positive, positive, np.arange(200))
    assert found.value == pytest.approx(roc_auc_score(positive, score + positive))
    # DeLong's variance, from its definition: a comparison of every pair.
    wins = (np.sign((score + positive)[positive][:, None] - (score + positive)[~positive]) + 1) / 2
    variance = wins.mean(axis=1).var(ddof=1) / positive.sum() + wins.mean(axis=0).var(ddof=1) / (~positive).sum()
    _, influence = placements(score + positive, positive)
    assert (influence**2).sum() == pytest.approx(variance, rel=0.03)
    assert found.low < found.value < found.high


def test_auroc_intervals_cover_where_patients_have_several_images():
    """Three images a patient with one score in common: the true chance is known."""
    rng = np.random.default_rng(1)
    patients, covered = np.repeat(np.arange(60), 3), []
    for _ in range(400):
        common = rng.normal(size=60)[patients]
        positive = rng.random(180) < 0.4
        score = common + 0.5 * rng.normal(size=180)
        found = auroc(score, positive, patients)
        covered.append(found.low <= 0.5 <= found.high)
    assert 0.92 <= np.mean(covered) <= 0.98  # 2.5 standard errors around 95 %


def test_auroc_at_the_ends():
    patients, positive = np.arange(20), np.arange(20) >= 15
    best = auroc(np.arange(20.0), positive, patients)
    assert best.value == best.high == 1 and best.low == pytest.approx(0.025 ** (1 / 5))
    worst = auroc(-np.arange(20.0), positive, patients)
    assert worst.value == worst.low == 0 and worst.high == pytest.approx(1 - 0.025 ** (1 / 5))
    blind = auroc(np.ones(20), positive, patients)
    assert blind.value == 0.5 and np.isnan([blind.low, blind.high]).all()
    for undefined in (auroc(np.ones(20), np.ones(20, bool), patients), auroc(np.full(20, np.nan), positive, patients)):
        assert np.isnan(undefined).all()
