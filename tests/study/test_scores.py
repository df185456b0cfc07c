import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sfjax import metrics
from sfjax.csf import CSFS
from sfjax.metrics import Estimate
from sfjax.outputs import Outputs
from sfjax.study import evaluation, scores
from sfjax.study.evidence import Evidence, evidence
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
    return pd.DataFrame({"domain": domains, "patient_id": patients, "loss_weight": 1.0, "label": "x", "subclass": ""})


def plain(*names: str) -> evaluation.Scorers:
    return evaluation.learn(names, None, None)


def plan(**changes) -> scores.Plan:
    default = scores.Plan(seeds=(0,), scorers=[plain("msr")], resamples=100, key=jax.random.key(0))
    return default._replace(**changes)


@pytest.fixture(scope="module")
def scored(table):
    test_set = TestSet("acq_x", "acq_x", "acq_x", "acquisition")
    networks = [make(1), make(2)]
    return networks, scores.score_test_sets(
        [test_set], [networks], networks, table, plan(seeds=(0, 7), scorers=[plain(*CSF_NAMES)] * 2, resamples=200)
    )


def test_a_row_holds_the_public_metric_of_its_network_and_domain(scored, table):
    networks, (results, *_) = scored
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
    _, (results, summary, *_) = scored
    areas = summary.query("domain == 'all' and metric == 'aurc'").set_index("csf")
    each = results.query("domain == 'all' and metric == 'aurc' and csf == 'energy'")["value"]
    assert areas.loc["energy", "value"] == pytest.approx(each.mean())
    assert (areas.loc["energy", "lowest_seed"], areas.loc["energy", "highest_seed"]) == (each.min(), each.max())
    assert areas["best"].sum() == 1 and areas.loc[areas["best"], "value"].item() == areas["value"].min()
    assert areas.loc[["msr", "pe"], "tied"].all() and not areas.loc["energy", "tied"]
    accuracy = summary.query("domain == 'all' and metric == 'accuracy'")
    assert accuracy["tied"].all()  # the three scores share one prediction


def test_scores_without_a_probability_have_no_silent_failure_rate(scored):
    _, (results, *_) = scored
    assert set(results.query("metric == 'silent_failure_rate'")["csf"]) == {"msr"}
    assert set(results.query("metric == 'accepted_failure_rate'")["csf"]) == set(CSF_NAMES)


def test_thresholds_let_four_fifths_of_validation_pass():
    outputs = make(3)
    limit = evaluation.thresholds(evaluation.evaluate(outputs, plain(*CSF_NAMES)))
    for csf, threshold in zip(CSF_NAMES, limit, strict=True):
        assert (np.asarray(CSFS[csf].score(outputs)) > threshold).mean() == pytest.approx(0.8, abs=1.5 / N)


def test_an_unknown_class_is_a_failure_whatever_is_predicted(table):
    outputs = make(4)
    strange = Outputs(logits=outputs.logits, labels=jnp.full((N,), -1, jnp.int32))
    test_set = TestSet("acq_x", "acq_x", "acq_x", "acquisition")
    two = plan(seeds=(0, 1), scorers=[plain("msr")] * 2)
    results, *_ = scores.score_test_sets([test_set], [[strange] * 2], [outputs] * 2, table, two)
    values = results.query("domain == 'all' and seed == 0").set_index("metric")["value"]
    assert values["nll"] == np.inf and values["accuracy"] == 0
    assert np.isnan(values["balanced_accuracy"])  # they are of one class
    assert values["aurc"] == pytest.approx(1) and values["augrc"] == pytest.approx(0.5)
    assert np.isnan(values["auroc_f"])


def test_metrics_that_are_asked_for_stand_beside_accuracy_and_aurc(table):
    test_set, outputs = TestSet("iid_test", "iid_test", "none", "iid"), make(4)
    found = scores.score_test_sets([test_set], [[outputs]], [outputs], table, plan(only=("ece",)))
    assert set(found.results["metric"]) == {"accuracy", "ece", "aurc"}


def test_levels_of_a_corruption_share_their_resamples(table):
    sets = [TestSet(f"elastic-{level}", "iid_test", "elastic", "corruption", level) for level in (1, 2)]
    outputs = make(5)
    results, summary, *_ = scores.score_test_sets(sets, [[outputs], [outputs]], [outputs], table, plan())
    aurc = results.query("metric == 'aurc'").set_index("test_set")[["value", "low", "high"]]
    assert (aurc.loc["elastic-1"] == aurc.loc["elastic-2"]).all()
    mean = summary.query("metric == 'aurc' and test_set == 'elastic'").iloc[0]
    # The same outputs twice: their mean must be as uncertain as one of them, not more certain.
    assert [mean["value"], mean["low"], mean["high"]] == pytest.approx(aurc.loc["elastic-1"].tolist(), rel=1e-6)


def test_parts():
    table = pd.DataFrame({"domain": ["x", "y", "x"], "label": ["a", "a", "b"], "subclass": "", "sex": ["f", "", "f"]})
    one = pd.DataFrame({"domain": ["x", "x"]})
    iid, shifted = (TestSet("t", "t", "t", kind) for kind in ("iid", "named"))

    def found(*arguments) -> list[tuple[str, str]]:
        return [part[:2] for part in scores.parts(*arguments)]

    domains = [("domain", "all"), ("domain", "x"), ("domain", "y")]
    assert found(iid, table) == [*domains, ("label", "a"), ("label", "b")]  # no subclass is known
    assert found(iid, table.assign(sex=["f", "m", "f"]), ("sex",))[-2:] == [("sex", "f"), ("sex", "m")]
    assert found(iid, table, ("sex",))[-1] == ("label", "b")  # one value and a blank are no groups
    assert found(iid, one) == [("domain", "all")]
    assert found(shifted, one) == [("domain", "all"), ("domain", "x")]
    assert found(TestSet("t", "t", "t", "corruption", 1), table) == [("domain", "all")]
    assert scores.parts(iid, table)[1].rows.tolist() == [0, 2]


def test_groups_are_scored_apart(table):
    outputs = make(6)
    labels = np.where(np.asarray(outputs.labels) == 0, "zero", "other")
    test_set = TestSet("iid_test", "iid_test", "none", "iid")
    found = scores.score_test_sets([test_set], [[outputs]], [outputs], table.assign(label=labels), plan())
    failure = np.asarray(CSFS["msr"].predict(outputs)) != np.asarray(outputs.labels)
    chosen = found.groups.query("metric == 'accuracy' and column == 'label'").set_index("group")
    for name in ("zero", "other"):
        assert chosen.loc[name, "value"] == pytest.approx(1 - failure[labels == name].mean(), rel=1e-6)
        assert chosen.loc[name, "n"] == (labels == name).sum()


def test_costs_are_failure_times_entry_times_weight(table):
    outputs = make(7)
    names = np.array(["a", "b", "c"])
    matrix = np.array([[0, 2, 3], [5, 0, 7], [1, 4, 0]], float)
    images = table.assign(label=names[np.asarray(outputs.labels)], loss_weight=np.linspace(0.5, 2, N))
    costs = evaluation.FailureCosts(matrix, ("a", "b", "c"), bound=14.0)
    test_set = TestSet("iid_test", "iid_test", "none", "iid")
    found = scores.score_test_sets([test_set], [[outputs]], [outputs], images, plan(costs=costs))
    predicted, labels = np.asarray(CSFS["msr"].predict(outputs)), np.asarray(outputs.labels)
    expected = matrix[labels, predicted] * images["loss_weight"].to_numpy()
    values = found.results.query("domain == 'all'").set_index("metric")["value"]
    assert values["mean_cost"] == pytest.approx(expected.mean(), rel=1e-5)
    score = np.asarray(CSFS["msr"].score(outputs))
    assert values["aurc_cost"] == pytest.approx(float(metrics.aurc(score, expected.astype(np.float32))), rel=1e-5)
    assert values["aurc"] == pytest.approx(float(metrics.aurc(score, predicted != labels)), rel=1e-5)
    failed = predicted != labels
    assert values["cost_correlation"] == pytest.approx(stats.spearmanr(score[failed], expected[failed])[0], abs=1e-4)


def test_without_costs_there_are_no_columns_of_cost(scored):
    _, (results, *_) = scored
    assert set(results["metric"]) == set(scores.METRICS)


def test_comparisons_are_with_the_baseline_and_adjusted(scored):
    _, (_, summary, comparisons, *_) = scored
    chosen = comparisons.query("domain == 'all' and metric == 'aurc'").set_index("csf")
    assert list(chosen.index) == ["pe", "energy"] and set(chosen["baseline"]) == {"msr"}
    values = summary.query("domain == 'all' and metric == 'aurc'").set_index("csf")["value"]
    assert chosen.loc["energy", "difference"] == pytest.approx(values["energy"] - values["msr"])
    assert chosen.loc["energy", "different"] and not chosen.loc["pe", "different"]
    assert (chosen["p_holm"] >= chosen["p"]).all() and chosen["p_holm"].max() > chosen["p"].max() - 1e-12
    # Scores of one prediction have one accuracy: no difference, and none is invented.
    assert (comparisons.query("metric == 'accuracy'")["p"] == 1).all()


def test_evidence_counts_patients_of_each_event(table):
    said = evaluation.evaluate(make(8), plain("msr", "energy"))
    failure = said.predicted[0] != said.labels
    apart, above = table.assign(patient_id=[f"p{i}" for i in range(N)]), [np.array([1.0, 2.0])]
    found = evidence([said], above, apart, ("msr", "energy"))
    assert found.failures[0].tolist() == [failure.sum()] * 2 and found.patients == N
    assert found.rarer["failure"][0, 0] == failure.sum()  # failures are rarer than successes here
    assert found.rarer["silent"][0].tolist() == [(failure & (said.probability[0] > 0.9)).sum(), 0]
    accepted = [failure & (said.score[0] > 1), failure & (said.score[1] > 2)]
    assert found.rarer["accepted"][0].tolist() == [event.sum() for event in accepted]
    assert found.discordant["accepted"][0].tolist() == [0, (accepted[0] != accepted[1]).sum()]
    in_pairs = evidence([said], above, table, ("msr", "energy"))
    of_patients = pd.Series(accepted[0] != accepted[1]).groupby(table["patient_id"]).any().sum()
    assert in_pairs.discordant["accepted"][0, 1] == of_patients and in_pairs.patients == N // 2


def test_fewer_than_thirty_are_marked(table):
    for count, few in ((29, True), (30, False)):
        outputs = make(8)
        predicted = jnp.argmax(outputs.logits, axis=1).astype(jnp.int32)
        labels = jnp.where(jnp.arange(N) < count, (predicted + 1) % C, predicted)
        apart = table.assign(patient_id=[f"p{i}" for i in range(N)])
        test_set = TestSet("iid_test", "iid_test", "none", "iid")
        networks = [Outputs(logits=outputs.logits, labels=labels)]
        found = scores.score_test_sets([test_set], [networks], networks, apart, plan())
        rows = found.summary.query("domain == 'all'").set_index("metric")
        assert rows.loc["aurc", "few_failures"] == few and rows.loc["aurc", "failures"] == count
        assert rows.loc["silent_failure_rate", "few_failures"]  # there are fewer of those


def test_a_difference_of_rates_needs_ten_patients_who_tell_the_scores_apart():
    estimate = Estimate(np.array([[0.5, 0.4]]), np.tile([[[0.5], [0.4]]], (1, 1, 2000)), np.ones((1, 2, 3)))
    estimate = estimate._replace(resamples=estimate.resamples + np.linspace(0, 1e-3, 2000) * np.array([[[0], [1]]]))
    found = {}
    for discordant in (9, 10):
        counts = Evidence(
            failures=np.full((1, 2), 50),
            rarer=dict.fromkeys(("failure", "silent", "accepted"), np.full((1, 2), 50)),
            discordant=dict.fromkeys(("failure", "silent", "accepted"), np.array([[0, discordant]])),
            patients=np.asarray(500),
        )
        estimates = dict.fromkeys(scores.METRICS, estimate)
        rows = scores.comparisons(estimates, counts, plan(scorers=[plain("msr", "mcd_msr")], resamples=2000))
        found[discordant] = {row["metric"]: row["different"] for row in rows}
    assert not found[9]["accepted_failure_rate"] and found[10]["accepted_failure_rate"]
    assert found[9]["aurc"] and "ece" not in found[9]


def test_where_all_resamples_agree_there_is_no_interval_but_of_a_rate_an_exact_one(table):
    outputs = make(9)
    right = Outputs(logits=outputs.logits, labels=jnp.argmax(outputs.logits, axis=1).astype(jnp.int32))
    test_set = TestSet("iid_test", "iid_test", "none", "iid")
    found = scores.score_test_sets([test_set], [[right]], [right], table, plan())
    rows = found.results.query("domain == 'all'").set_index("metric")
    assert rows.loc["aurc", "value"] == 0 and np.isnan(rows.loc["aurc", "low"]) and rows.loc["aurc", "few_failures"]
    # 45 patients without a failure: Clopper and Pearson.
    upper = stats.binomtest(0, N // 2).proportion_ci().high
    assert rows.loc["silent_failure_rate", ["low", "high"]].tolist() == pytest.approx([0, upper])
    assert rows.loc["accuracy", ["low", "high"]].tolist() == pytest.approx([1 - upper, 1])


def test_a_biased_metric_has_neither_interval_nor_ties(scored):
    _, (results, summary, comparisons, *_) = scored
    assert results.query("metric == 'ece'")[["low", "high"]].isna().all(axis=None)
    assert not summary.query("metric == 'ece'")["tied"].any() and "ece" not in set(comparisons["metric"])


def test_from_eight_seeds_on_there_is_an_interval_over_seeds_and_images(table):
    test_set, seeds = TestSet("iid_test", "iid_test", "none", "iid"), tuple(range(8))
    networks = [make(seed) for seed in seeds]
    found = scores.score_test_sets(
        [test_set], [networks], networks, table, plan(seeds=seeds, scorers=[plain("msr")] * 8)
    )
    row = found.summary.query("domain == 'all' and metric == 'aurc'").iloc[0]
    assert row["seed_low"] < row["value"] < row["seed_high"]
    assert row["hierarchical_high"] - row["hierarchical_low"] > row["high"] - row["low"]


def test_with_seven_seeds_there_is_none():
    rng = np.random.default_rng(0)
    seven = Estimate(rng.random((7, 2)), rng.random((7, 2, 50)), rng.random((7, 2, 9)))
    assert np.isnan(scores.hierarchical(seven).low).all()
