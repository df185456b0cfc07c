"""Responses: pairing over the values of a dial, verdicts, and which dials there are."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from sfjax import keys, shifts
from sfjax.outputs import Outputs
from sfjax.phantoms import CAUSES
from sfjax.study import Config, evaluation, responses, scores
from sfjax.study.responses import Dial, check_dials, corruption_at, dials_of, response_table, sights, verdict

N, SEEDS = 120, (0, 1)


def says(seed: int, failing: int, *, surest_fail: bool) -> Outputs:
    """A network that fails on the first images, with its least or its greatest margins."""
    rng = np.random.default_rng(seed)
    margin = np.sort(rng.uniform(0.5, 6, N))
    order = margin[::-1] if surest_fail else margin
    labels = rng.integers(0, 2, N)
    predicted = np.where(np.arange(N) < failing, 1 - labels, labels)
    logits = np.eye(2)[predicted] * order[:, None]
    return Outputs(logits=jnp.asarray(logits, jnp.float32), labels=jnp.asarray(labels, jnp.int32))


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    """Three values of a dial: undisturbed, the same again, and one at which the surest half fails."""
    scorers = evaluation.learn(("msr", "energy"), None, None)
    steps = [(30, False), (30, False), (60, True)]
    evaluated = [
        [evaluation.evaluate(says(seed, failing, surest_fail=sure), scorers) for seed in SEEDS]
        for failing, sure in steps
    ]
    table = pd.DataFrame({"patient_id": [f"p{i // 2}" for i in range(N)], "label": "x", "loss_weight": 1.0})
    plan = scores.Plan(SEEDS, [scorers] * 2, 200, jax.random.key(0), only=responses.METRICS)
    above = [evaluation.thresholds(one) for one in evaluated[0]]
    dial = Dial("noise", "cause", "sd", (0.0, 0.1, 0.2))
    return response_table(dial, evaluated, above, table, plan).assign(task="lung_ct")


def test_values_are_those_of_the_network_and_the_same_images_differ_by_nothing(found):
    rows = found.set_index(["metric", "csf", "dial"])
    assert rows.loc[("accuracy", "msr", 0.0), "value"] == pytest.approx(0.75)
    assert rows.loc[("accuracy", "msr", 0.2), "value"] == pytest.approx(0.5)
    assert rows.loc[("auroc_f", "msr", 0.0), "value"] == 1 and rows.loc[("auroc_f", "msr", 0.2), "value"] == 0
    again = found[found["dial"] == 0.1]
    np.testing.assert_array_equal(again[["difference", "difference_low", "difference_high"]].dropna(), 0)
    assert set(found["metric"]) == {"accuracy", "aurc", "auroc_f", "silent_failure_rate"}


def test_differences_are_paired(found):
    """Images that fail at both values do not move the difference: 30 of 120 change, half of 60 patients each way."""
    row = found.query("metric == 'accuracy' and csf == 'msr' and dial == 0.2").iloc[0]
    assert row["difference"] == pytest.approx(-0.25)
    # 15 of 60 patients change from right to wrong: the standard error of their share.
    error = np.sqrt(0.25 * 0.75 / 60)
    assert row["difference_low"] == pytest.approx(-0.25 - 1.96 * error, abs=0.035)
    assert row["difference_high"] == pytest.approx(-0.25 + 1.96 * error, abs=0.035)
    separate = row["high"] - row["low"]
    assert row["difference_high"] - row["difference_low"] < separate + 0.01


def test_a_score_that_ranks_failures_first_misses_the_cause(found):
    seen = sights(found).set_index("csf")
    assert list(seen["verdict"]) == ["misses", "misses"]
    assert (
        seen.loc["msr", "auroc_f_usual"] == 1 and seen.loc["msr", "auroc_f_far"] == 0 and seen.loc["msr", "dial"] == 0.2
    )
    assert not seen["few_failures"].any() or seen["few_failures"].all()
    harmless = sights(found[found["dial"] < 0.2])
    assert set(harmless["verdict"]) == {"no failures"} and harmless["few_failures"].all()  # 15 patients fail


@pytest.mark.parametrize(
    ("accuracy", "auroc", "change", "expected"),
    [
        (0.01, (0.8, 0.9), (-0.5, -0.4), "no failures"),
        (np.nan, (0.8, 0.9), (-0.5, -0.4), "no failures"),
        (-0.1, (0.8, 0.9), (-0.09, -0.01), "sees"),
        (-0.1, (0.45, 0.6), (-0.05, 0.05), "unclear"),
        (-0.1, (0.6, 0.7), (-0.11, -0.01), "misses"),
        (-0.1, (0.6, 0.7), (-0.2, 0.01), "unclear"),
        (-0.1, (0.3, 0.5), (-0.2, 0.01), "misses"),
        (-0.1, (np.nan, np.nan), (np.nan, np.nan), "unclear"),
    ],
)
def test_verdicts_follow_their_rule(accuracy, auroc, change, expected):
    assert verdict(accuracy_change_high=accuracy, auroc=auroc, auroc_change=change) == expected


def test_dials_begin_with_the_undisturbed_images():
    dials = dials_of("lung_ct", causes=("noise", "color_cast"), corruptions=("brightness",), steps=3)
    assert [(dial.name, dial.kind, dial.values) for dial in dials] == [
        ("noise", "cause", (0.0, 0.15, 0.3)),
        ("brightness", "corruption", (0.0, 0.75, 1.5)),
    ]
    every = dials_of("microscopy", causes=("all",), corruptions=(), steps=2)
    assert [dial.name for dial in every] == list(CAUSES["microscopy"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"causes": ("nonsense",)}, "causes must be among all, border, window.*got nonsense"),
        ({"corruptions": ("fog", "snow")}, "A corruption must be one of .*it is 'fog'"),
        ({"tasks": ("derm",)}, "tasks must be among .*got derm"),
        ({"steps": 1}, "steps must be at least 2.*got 1"),
        ({"tasks": ("lung_ct", "dermoscopy"), "causes": ("window",)}, "dermoscopy would have nothing to turn"),
    ],
)
def test_dials_that_cannot_be_turned_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        check_dials(**({"tasks": ("lung_ct",), "causes": ("all",), "corruptions": (), "steps": 3} | change))


def test_a_corruption_has_any_strength_and_none_at_0(rng):
    images = jnp.asarray(rng.random((3, 16, 16, 1)), jnp.float32)
    ids = jnp.arange(3, dtype=jnp.uint32)
    np.testing.assert_allclose(corruption_at(Config(), "brightness", 0.0)(images, ids), images, atol=1e-6)
    weak, strong = (corruption_at(Config(), "gaussian_noise", s)(images, ids) for s in (0.05, 0.26))
    level = shifts.apply("gaussian_noise", keys.stream(jax.random.key(0), "corruption"), images, ids, level=4)
    np.testing.assert_allclose(strong, level, atol=1e-6)
    assert np.abs(weak - images).mean() < 0.3 * np.abs(strong - images).mean()
