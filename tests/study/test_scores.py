import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from sfjax import metrics
from sfjax.csf import CSFS
from sfjax.outputs import Outputs
from sfjax.study import scores
from sfjax.study.tasks import TestSet

N, C = 90, 3
CSF_NAMES = ("msr", "pe", "energy")


def make(seed: int) -> Outputs:
    """A network whose softmax maximum tells failures well, and whose logit scale tells nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, C, N)
    wrong = rng.random(N) < 0.3
    predicted = np.where(wrong, (labels + 1) % C, labels)
    margin = np.where(wrong, rng.uniform(0.1, 1.5, N), rng.uniform(1, 4, N))
    logits = np.eye(C)[predicted] * margin[:, None] + rng.uniform(-20, 20, (N, 1))
    return Outputs(logits=jnp.asarray(logits, jnp.float32), labels=jnp.asarray(labels, jnp.int32))


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    domains = np.where(np.arange(N) % 3 == 0, "a", "b")
    patients = [f"p{i // 2}" for i in range(N)]
    return pd.DataFrame({"domain": domains, "patient_id": patients, "loss_weight": 1.0})


@pytest.fixture(scope="module")
def scored(table):
    test_set = TestSet("acq_x", "acq_x", "acq_x", "acquisition")
    networks = [make(1), make(2)]
    return networks, scores.score_test_sets(
        [test_set], [networks], networks, table, seeds=(0, 7), csfs=CSF_NAMES, resamples=200, key=jax.random.key(0)
    )


def test_a_row_holds_the_public_metric_of_its_network_and_domain(scored, table):
    networks, (results, _) = scored
    assert set(results["seed"]) == {0, 7} and set(results["domain"]) == {"all", "a", "b"}
    of_domain = np.flatnonzero(table["domain"] == "a")
    for seed, outputs in zip((0, 7), networks, strict=True):
        failure = np.asarray(CSFS["energy"].predict(outputs)) != np.asarray(outputs.labels)
        score = np.asarray(CSFS["energy"].score(outputs))
        of_network = results[results["seed"] == seed]
        row = of_network.query("domain == 'a' and csf == 'energy' and metric == 'aurc'").iloc[0]
        assert row["value"] == pytest.approx(float(metrics.aurc(score[of_domain], failure[of_domain])), rel=1e-5)
        assert row["n"] == len(of_domain) and row["low"] < row["value"] < row["high"]


def test_the_summary_means_networks_and_tells_ties_from_differences(scored):
    _, (results, summary) = scored
    areas = summary.query("domain == 'all' and metric == 'aurc'").set_index("csf")
    each = results.query("domain == 'all' and metric == 'aurc' and csf == 'energy'")["value"]
    assert areas.loc["energy", "value"] == pytest.approx(each.mean())
    assert (areas.loc["energy", "lowest_seed"], areas.loc["energy", "highest_seed"]) == (each.min(), each.max())
    assert areas["best"].sum() == 1 and areas.loc[areas["best"], "value"].item() == areas["value"].min()
    assert areas.loc[["msr", "pe"], "tied"].all() and not areas.loc["energy", "tied"]
    accuracy = summary.query("domain == 'all' and metric == 'accuracy'")
    assert accuracy["tied"].all()  # the three scores share one prediction


def test_scores_without_a_probability_have_no_silent_failure_rate(scored):
    _, (results, _) = scored
    assert set(results.query("metric == 'silent_failure_rate'")["csf"]) == {"msr"}
    assert set(results.query("metric == 'accepted_failure_rate'")["csf"]) == set(CSF_NAMES)


def test_thresholds_let_four_fifths_of_validation_pass():
    outputs = make(3)
    limit = scores.thresholds(scores.evaluate(outputs, CSF_NAMES))
    for csf, threshold in zip(CSF_NAMES, limit, strict=True):
        assert (np.asarray(CSFS[csf].score(outputs)) > threshold).mean() == pytest.approx(0.8, abs=1.5 / N)


def test_an_unknown_class_is_a_failure_whatever_is_predicted(table):
    outputs = make(4)
    strange = Outputs(logits=outputs.logits, labels=jnp.full((N,), -1, jnp.int32))
    test_set = TestSet("acq_x", "acq_x", "acq_x", "acquisition")
    results, _ = scores.score_test_sets(
        [test_set], [[strange]], [outputs], table, seeds=(0,), csfs=("msr",), resamples=100, key=jax.random.key(0)
    )
    values = results.query("domain == 'all'").set_index("metric")["value"]
    assert values["accuracy"] == 0 and np.isnan(values["balanced_accuracy"])  # they are of one class
    assert values["aurc"] == pytest.approx(1) and values["augrc"] == pytest.approx(0.5)
    assert np.isnan(values["auroc_f"])


def test_levels_of_a_corruption_share_their_resamples(table):
    sets = [TestSet(f"elastic-{level}", "iid_test", "elastic", "corruption", level) for level in (1, 2)]
    outputs = make(5)
    results, summary = scores.score_test_sets(
        sets, [[outputs], [outputs]], [outputs], table, seeds=(0,), csfs=("msr",), resamples=100, key=jax.random.key(0)
    )
    aurc = results.query("metric == 'aurc'").set_index("test_set")[["value", "low", "high"]]
    assert (aurc.loc["elastic-1"] == aurc.loc["elastic-2"]).all()
    mean = summary.query("metric == 'aurc' and test_set == 'elastic'").iloc[0]
    # The same outputs twice: their mean must be as uncertain as one of them, not more certain.
    assert [mean["value"], mean["low"], mean["high"]] == pytest.approx(aurc.loc["elastic-1"].tolist(), rel=1e-6)


def test_parts():
    table = pd.DataFrame({"domain": ["x", "y", "x"]})
    one = pd.DataFrame({"domain": ["x", "x"]})
    iid, shifted = (TestSet("t", "t", "t", kind) for kind in ("iid", "named"))
    assert [part.domain for part in scores.parts(iid, table)] == ["all", "x", "y"]
    assert [part.domain for part in scores.parts(iid, one)] == ["all"]
    assert [part.domain for part in scores.parts(shifted, one)] == ["all", "x"]
    assert [part.domain for part in scores.parts(TestSet("t", "t", "t", "corruption", 1), table)] == ["all"]
