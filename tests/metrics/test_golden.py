"""Agreement with numbers that the reference implementation's own tests assert."""

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
SHUFFLED = np.concatenate([np.random.default_rng(0).permutation(part) for part in ALTERNATING.reshape(4, 25)])
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
    "p-plateau-perm": SHUFFLED,
    "all_correct": np.ones(100),
    "some_correct": ALTERNATING,
    "none_correct": np.zeros(100),
    "all_nan_correct": np.full(100, np.nan),
    "some_nan_correct": some(ALTERNATING),
}


def name(case: dict) -> str:
    return "-".join(str(value) for key, value in case.items() if key in ("metric", "confidence", "correct"))


@pytest.fixture(scope="module")
def compiled():
    """One compilation a metric for all cases, which are of one size."""
    names = ("aurc", "eaurc", "augrc", "auroc_f", "fpr_at_95tpr")
    return {metric: jax.jit(getattr(metrics, metric)) for metric in names}


@pytest.mark.parametrize("case", GOLDEN["risk_coverage"], ids=name)
def test_risk_coverage(case, compiled):
    # Doubles, so that the stated tolerance of 1.5e-7 applies; float32 is compared in test_definition.
    with jax.enable_x64(True):
        score, loss = jnp.asarray(CONFIDENCE[case["confidence"]]), jnp.asarray(1 - CORRECT[case["correct"]])
        for metric in ("aurc", "eaurc", "augrc"):
            value = float(compiled[metric](score, loss))
            assert value == pytest.approx(float(case[metric]), abs=GOLDEN["tolerance"], nan_ok=True), metric


@pytest.mark.parametrize("case", GOLDEN["failure_detection"], ids=name)
def test_failure_detection(case, compiled):
    score = jnp.asarray(CONFIDENCE[case["confidence"]], jnp.float32)
    failure = jnp.asarray(1 - CORRECT[case["correct"]], jnp.float32)
    value = float(compiled[case["metric"]](score, failure))
    assert value == pytest.approx(float(case["value"]), abs=1e-6, nan_ok=True)
