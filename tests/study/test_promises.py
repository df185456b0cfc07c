import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from sfjax import metrics
from sfjax.csf import CSFS
from sfjax.outputs import Outputs
from sfjax.study import overviews, promises
from sfjax.study.evaluation import FailureCosts, learn
from sfjax.study.scores import Plan
from sfjax.study.tasks import TestSet

CSF_NAMES = ("msr", "energy")
IID = TestSet("iid_test", "iid_test", "none", "iid")


def make(seed: int, n: int, *, error: float) -> Outputs:
    """A network whose confident predictions are right, but for a share of failures that grows with `error`."""
    rng = np.random.default_rng(seed)
    labels, confidence = rng.integers(0, 3, n), rng.uniform(0, 1, n)
    wrong = rng.random(n) < 2 * error * (1 - confidence)
    predicted = np.where(wrong, (labels + 1) % 3, labels)
    logits = np.eye(3)[predicted] * (0.5 + 8 * confidence[:, None])
    return Outputs(logits=jnp.asarray(logits, jnp.float32), labels=jnp.asarray(labels, jnp.int32))


def images(n: int, per_patient: int = 1) -> pd.DataFrame:
    patients = [f"p{i // per_patient}" for i in range(n)]
    return pd.DataFrame({"patient_id": patients, "loss_weight": 1.0, "label": "x"})


def plan(**changes) -> Plan:
    default = Plan(seeds=(0,), scorers=[learn(CSF_NAMES, None, None)], resamples=200, key=jax.random.key(0))
    return default._replace(**changes)


def fit(**changes) -> list[promises.Promise]:
    cal, val = make(1, 600, error=0.15), make(2, 400, error=0.15)
    return promises.make_promises(
        [cal], [val], images(600), plan(**changes), target_risks=(0.05, 0.1), delta=0.05, seed=0
    )


@pytest.fixture(scope="module")
def made() -> list[promises.Promise]:
    return fit()


def test_every_csf_gets_every_promise(made):
    found = {(one.csf, one.loss, one.guarantee.kind, one.guarantee.target) for one in made}
    kinds, targets = ("sgr", "ltt", "crc"), (0.05, 0.1)
    assert found == {(csf, "failure", kind, target) for csf in (0, 1) for kind in kinds for target in targets}
    assert all(one.guarantee.exists for one in made if one.guarantee.target == 0.1)


def test_what_became_of_them_is_coverage_and_risk_above_the_threshold(made):
    outputs = make(3, 300, error=0.4)
    kept = promises.keep_promises(made, [IID], [[outputs]], images(300), plan())
    assert len(kept) == len(made)
    for one, (_, row) in zip(made, kept.iterrows(), strict=True):
        csf = CSFS[CSF_NAMES[one.csf]]
        failure = np.asarray(csf.predict(outputs)) != np.asarray(outputs.labels)
        coverage, selective, generalized = metrics.at_threshold(
            np.asarray(csf.score(outputs)), failure, one.guarantee.threshold
        )
        assert row["coverage"] == pytest.approx(float(coverage), abs=1e-6)
        expected = generalized if one.guarantee.kind == "crc" else selective
        assert row["risk"] == pytest.approx(float(expected), abs=1e-6, nan_ok=True)
        if one.guarantee.exists and row["risk"] > 0:
            assert row["low"] < row["risk"] < row["high"]
        if one.noise == 0:
            assert row["broken"] == (row["low"] > row["target"])


def test_on_images_like_those_of_calibration_promises_hold_and_under_a_shift_they_break():
    """By chance about one in twenty i.i.d. sets is called broken; four of them are allowed."""
    of_msr = plan(scorers=[learn(("msr",), None, None)])
    iid, shifted = [], []
    for seed in range(20):
        cal, val = make(100 + seed, 400, error=0.15), make(200 + seed, 400, error=0.15)
        arguments = {"target_risks": (0.1,), "delta": 0.05, "seed": 0}
        made = promises.make_promises([cal], [val], images(400), of_msr, **arguments)
        for found, error in ((iid, 0.15), (shifted, 1.0)):
            outputs = make(300 + seed, 400, error=error)
            found.append(promises.keep_promises(made, [IID], [[outputs]], images(400), of_msr))
    broken = pd.concat(iid).groupby("kind")["broken"].sum()
    assert set(broken.index) == {"sgr", "ltt", "crc"} and broken.max() <= 4
    apart = pd.concat(shifted).query("exists")
    assert (apart.groupby("kind")["broken"].mean() > 0.9).all()


def test_a_promise_of_a_mean_is_broken_only_beyond_the_noise_of_its_calibration(made):
    one = next(one for one in made if one.guarantee.kind == "crc" and one.guarantee.target == 0.1)
    outputs = make(3, 300, error=0.4)
    verdicts = []
    for noise in (0.0, 10.0):
        kept = promises.keep_promises([one._replace(noise=noise)], [IID], [[outputs]], images(300), plan())
        verdicts.append(kept["broken"].item())
    assert verdicts == [True, False] and one.noise > 0


def test_every_patient_counts_once(made):
    """Ten images of a patient whose images fail weigh as much as one of another patient; so they are resampled, too."""
    outputs = make(3, 100, error=0.4)
    failure = np.asarray(CSFS["msr"].predict(outputs)) != np.asarray(outputs.labels)
    first = np.argsort(~failure, kind="stable")[:10]
    patients = np.arange(100)
    patients[first] = first[0]
    table = images(100).assign(patient_id=[f"p{patient}" for patient in patients])
    accept_all = [one._replace(guarantee=one.guarantee._replace(threshold=-np.inf)) for one in made[:1]]
    row = promises.keep_promises(accept_all, [IID], [[outputs]], table, plan()).iloc[0]
    assert row["risk"] == pytest.approx((failure.sum() - 10 + 1) / 91, abs=1e-6) and row["coverage"] == pytest.approx(1)
    alone = promises.keep_promises(accept_all, [IID], [[outputs]], images(100), plan()).iloc[0]
    assert row["high"] < alone["high"]


@pytest.mark.parametrize("largest", [0.1, 0.3, 1.1, 1 / 3])
def test_the_largest_cost_is_within_its_bound(largest):
    costs = FailureCosts(np.full((1, 3), largest), ("x",), bound=largest)
    assert [one for one in fit(costs=costs) if one.loss == "cost"]


def test_levels_of_a_corruption_have_a_mean_of_their_own(made):
    sets = [TestSet(f"blur-{level}", "iid_test", "blur", "corruption", level) for level in (1, 2)]
    said = [[make(3, 300, error=0.2)], [make(4, 300, error=0.6)]]
    kept = promises.keep_promises(made, sets, said, images(300), plan()).query("csf == 'msr' and kind == 'crc'")
    by_level = kept[kept["target"] == 0.1].set_index("level")
    assert list(by_level.index) == [1, 2, 0] and by_level.loc[0, "test_set"] == "blur"
    assert by_level.loc[0, "risk"] == pytest.approx(by_level.loc[[1, 2], "risk"].mean())
    # Both levels are of the same resamples: their mean is between them in width, too.
    widths = by_level["high"] - by_level["low"]
    assert widths[0] < widths[[1, 2]].max()
    cells = overviews.promise_cells(kept.assign(task="t"), "t")
    assert cells["test_set"].tolist() == ["blur"] * 2  # two targets; no cell a level


def test_one_image_a_patient_calibrates():
    cal, val = make(1, 600, error=0.15), make(2, 400, error=0.15)
    arguments = {"target_risks": (0.1,), "delta": 0.05, "seed": 0}
    made = promises.make_promises([cal], [val], images(600, per_patient=3), plan(), **arguments)
    assert {one.guarantee.n for one in made} == {200}


def test_costs_are_promised_as_shares_of_the_largest():
    costs = FailureCosts(np.full((1, 3), 4.0), ("x",), bound=8.0)
    made = [one for one in fit(costs=costs) if one.loss == "cost"]
    assert {one.guarantee.kind for one in made} == {"ltt", "crc"}  # SGR knows failures only
    assert {one.guarantee.target for one in made} == {0.4, 0.8}
    outputs = make(3, 300, error=0.4)
    kept = promises.keep_promises(made, [IID], [[outputs]], images(300), plan(costs=costs))
    failure = np.asarray(CSFS["msr"].predict(outputs)) != np.asarray(outputs.labels)
    row = kept.query("csf == 'msr' and kind == 'crc' and target == 0.8").iloc[0]
    lost = failure & (np.asarray(CSFS["msr"].score(outputs)) > row["threshold"])
    assert row["risk"] == pytest.approx(4 * lost.mean(), abs=1e-5)


def test_the_table_says_kept_broken_and_none():
    row = {
        **{"task": "t", "csf": "msr", "kind": "sgr", "loss": "failure", "target": 0.05, "delta": 0.05, "level": 0},
        **{"test_set": "iid_test", "shift": "none", "shift_kind": "iid", "coverage": 0.5, "broken": False},
        "target_share": 0.05,
    }
    rows = [
        {**row, "seed": 0, "exists": True, "risk": 0.02},
        {**row, "seed": 1, "exists": False, "risk": np.nan, "coverage": 0.0},
        {**row, "seed": 0, "csf": "pe", "exists": False, "risk": np.nan, "coverage": 0.0},
    ]
    away = {"test_set": "acq_x", "shift": "acq_x", "shift_kind": "acquisition"}
    rows += [
        {**row, **away, "seed": 0, "exists": True, "risk": 0.3, "broken": True},
        {**row, **away, "seed": 0, "csf": "pe", "exists": True, "risk": 0.06},
    ]
    text = overviews.guarantee_table(pd.DataFrame(rows), "t")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| i"]
    lines += [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| a"]
    assert lines == [
        ["iid_test", "iid", "2.0 % (50 %) 1/2", "none"],
        ["acq_x", "acquisition", "**30.0 % (50 %)**", "> 6.0 % (50 %)"],
    ]
    assert "at most 5.0 %, with 95 % confidence" in text
    close = pd.DataFrame([{**one, "target": target} for one in rows for target in (0.0500, 0.0501)])
    assert overviews.guarantee_table(close, "t").count("## Selective risk at most 5.0 %") == 2
