"""From outputs to tables of calibration, confidence, confusion and working points: against counts by hand."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sfjax.outputs import Outputs
from sfjax.report import ScoreTables, operating_table, score_tables
from sfjax.study.evaluation import learn

CLASSES = ("benign", "malignant", "other")
KINDS = {"other_scanner": "acquisition", "iid_test": "iid"}
SIZES = {"other_scanner": 40, "iid_test": 61}
SCORERS = learn(("msr", "mls"), None, None)


def make_outputs(n: int, seed: int) -> Outputs:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    logits = rng.normal(size=(n, 3)) * 2 + 2 * np.eye(3)[labels]
    # One class is unknown to the network.
    return Outputs(
        logits=jnp.asarray(logits, jnp.float32), labels=jnp.asarray(np.where(labels == 2, -1, labels), jnp.int32)
    )


@pytest.fixture(scope="module")
def outputs() -> dict[str, Outputs]:
    return {name: make_outputs(n, i) for i, (name, n) in enumerate(SIZES.items())}


@pytest.fixture(scope="module")
def tables(outputs) -> dict[str, pd.DataFrame]:
    names = np.asarray([*CLASSES, "never seen"])
    return {
        name: pd.DataFrame({"kind": KINDS[name], "label": names[np.asarray(output.labels)]})
        for name, output in outputs.items()
    }


@pytest.fixture(scope="module")
def found(outputs, tables) -> ScoreTables:
    return score_tables(outputs, tables, CLASSES, SCORERS, num_bins=5)


def softmax(output: Outputs) -> np.ndarray:
    exp = np.exp(np.asarray(output.logits, np.float64))
    return exp / exp.sum(axis=1, keepdims=True)


def test_bins_of_equal_mass_have_the_exact_interval(outputs, found):
    assert set(found.bins["csf"]) == {"msr"}  # the largest logit is no probability
    for name, output in outputs.items():
        p = softmax(output)
        right = p.argmax(axis=1) == np.asarray(output.labels)
        order = np.argsort(p.max(axis=1))
        rows = found.bins[found.bins["test_set"] == name]
        edges = np.round(np.linspace(0, len(output), 6)).astype(int)
        assert rows["n"].tolist() == np.diff(edges).tolist() and set(rows["kind"]) == {KINDS[name]}
        for row, start, end in zip(rows.itertuples(), edges[:-1], edges[1:], strict=True):
            inside = order[start:end]
            exact = stats.binomtest(int(right[inside].sum()), len(inside)).proportion_ci(method="exact")
            expected = (p.max(axis=1)[inside].mean(), right[inside].mean(), exact.low, exact.high)
            np.testing.assert_allclose((row.confidence, row.accuracy, row.low, row.high), expected, atol=1e-6)


def test_images_of_equal_confidence_share_their_outcome(tables):
    logits = np.tile([1.0, 0.0, 0.0], (61, 1))
    same = Outputs(logits=jnp.asarray(logits, jnp.float32), labels=jnp.asarray(np.arange(61) % 3 > 0, jnp.int32))
    bins = score_tables({"iid_test": same}, {"iid_test": tables["iid_test"]}, CLASSES, SCORERS, num_bins=4).bins
    np.testing.assert_allclose(bins["accuracy"], 21 / 61)


def test_images_of_one_patient_count_as_one(outputs, tables):
    output = outputs["other_scanner"]
    twice = Outputs(logits=jnp.repeat(output.logits, 2, axis=0), labels=jnp.repeat(output.labels, 2))
    rows = tables["other_scanner"].assign(kind="iid")
    owned = rows.loc[rows.index.repeat(2)].assign(patient_id=np.repeat(np.arange(40), 2).astype(str))
    owned = owned.reset_index(drop=True)
    for make in (
        lambda o, t: score_tables({"s": o}, {"s": t}, CLASSES, SCORERS, num_bins=4).bins,
        lambda o, t: operating_table({"s": o}, {"s": t}, SCORERS, num_points=5),
    ):
        once, doubled, unowned = make(output, rows), make(twice, owned), make(twice, owned.drop(columns="patient_id"))
        np.testing.assert_allclose(doubled[["low", "high"]], once[["low", "high"]], atol=1e-9)
        assert (unowned["high"] - unowned["low"]).mean() < 0.9 * (once["high"] - once["low"]).mean()


def test_the_histogram_counts_every_image_by_what_its_confidence_exceeds(outputs, found):
    for name, output in outputs.items():
        p = softmax(output)
        wrong = p.argmax(axis=1) != np.asarray(output.labels)
        of_source = np.asarray(outputs["iid_test"].logits).max(axis=1)
        rank = (of_source <= np.asarray(output.logits).max(axis=1)[:, None]).mean(axis=1)
        for csf, confidence in (("msr", p.max(axis=1)), ("mls", rank)):
            rows = found.histogram[(found.histogram["test_set"] == name) & (found.histogram["csf"] == csf)]
            for threshold in (0.5, 0.9):
                above = rows[rows["start"] >= threshold - 1e-9]
                assert above["failures"].sum() == (wrong & (confidence > threshold + 1e-6)).sum()
                assert above["correct"].sum() == (~wrong & (confidence > threshold + 1e-6)).sum()
            assert rows[["correct", "failures"]].to_numpy().sum() == len(output)


def test_a_confidence_at_an_edge_is_below_it(tables):
    probability = np.array([[0.9, 0.1], [0.5, 0.5], [1.0, 0.0]])
    edge = Outputs(logits=jnp.log(jnp.asarray(probability + 1e-12, jnp.float32)), labels=jnp.zeros(3, jnp.int32))
    histogram = score_tables({"s": edge}, {"s": tables["iid_test"].iloc[:3]}, CLASSES[:2], SCORERS).histogram
    assert histogram.loc[histogram["csf"] == "msr", "end"].round(6).tolist() == [0.5, 0.9, 1.0]


def test_confusion_is_the_cross_table_with_mean_confidences(outputs, tables, found):
    for name, output in outputs.items():
        p = softmax(output)
        predicted = np.asarray(CLASSES)[p.argmax(axis=1)]
        rows = found.confusion[(found.confusion["test_set"] == name) & (found.confusion["csf"] == "msr")]
        expected = pd.crosstab(tables[name]["label"], predicted)
        table = rows.pivot_table(index="label", columns="predicted", values="n", fill_value=0)
        assert (table.to_numpy() == expected.loc[table.index, table.columns].to_numpy()).all()
        assert table.to_numpy().sum() == len(output) and "never seen" in table.index
        for row in rows.itertuples():
            cell = (tables[name]["label"] == row.label).to_numpy() & (predicted == row.predicted)
            assert row.confidence == pytest.approx(p.max(axis=1)[cell].mean(), abs=1e-6)


def test_thresholds_of_the_source_are_applied_to_every_test_set(outputs, tables):
    points = operating_table(outputs, tables, SCORERS, num_points=10)
    assert len(points) == 2 * 2 * 10
    source = np.asarray(outputs["iid_test"].logits).max(axis=1)
    for name, output in outputs.items():
        score = np.asarray(output.logits).max(axis=1)
        wrong = np.asarray(output.logits).argmax(axis=1) != np.asarray(output.labels)
        rows = points[(points["test_set"] == name) & (points["csf"] == "mls")]
        for row in rows.itertuples():
            accepted = score > row.threshold
            assert row.coverage == pytest.approx(accepted.mean())
            assert abs((source > row.threshold).mean() - row.point / 10) <= 0.5 / 61 + 1e-9
            if accepted.any():
                exact = stats.binomtest(int(wrong[accepted].sum()), int(accepted.sum())).proportion_ci(method="exact")
                found = (row.selective_risk, row.low, row.high)
                np.testing.assert_allclose(found, (wrong[accepted].mean(), exact.low, exact.high), atol=1e-6)
        assert rows["coverage"].iloc[-1] == 1
    far = {
        **outputs,
        "other_scanner": Outputs(logits=outputs["other_scanner"].logits * 0.01, labels=jnp.zeros(40, int)),
    }
    nothing = operating_table(far, tables, SCORERS, num_points=4).query("test_set == 'other_scanner' and point == 1")
    assert (nothing["coverage"] == 0).all() and nothing[["selective_risk", "low", "high"]].isna().all(axis=None)


def test_tables_without_a_source_or_of_other_lengths_are_refused(outputs, tables):
    shifted = {"other_scanner": outputs["other_scanner"]}
    with pytest.raises(ValueError, match="kind iid, and there is none among other_scanner"):
        operating_table(shifted, {"other_scanner": tables["other_scanner"]}, SCORERS)
    with pytest.raises(ValueError, match="61 outputs and 60 rows"):
        score_tables(outputs, tables | {"iid_test": tables["iid_test"].iloc[1:]}, CLASSES, SCORERS)
