"""From outputs to tables and to one page."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from sfjax.csf import CSFS
from sfjax.metrics import risk_coverage_curve
from sfjax.outputs import Outputs
from sfjax.report import TaskReport, curves_table, points_table, write_report
from sfjax.study.evaluation import learn

CLASSES = ("benign", "malignant", "other")
KINDS = {"iid_test": "iid", "other_scanner": "acquisition"}
SIZES = {"iid_test": 60, "other_scanner": 40}
NAMES = ("msr", "mls")
SCORERS = learn(NAMES, None, None)


def make_outputs(n: int, seed: int) -> Outputs:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    logits = rng.normal(size=(n, 3)) * 2 + 3 * np.eye(3)[labels]
    features = np.concatenate([logits, rng.normal(size=(n, 3))], axis=1)
    return Outputs(
        logits=jnp.asarray(logits, jnp.float32),
        labels=jnp.asarray(labels, jnp.int32),
        features=jnp.asarray(features, jnp.float32),
    )


@pytest.fixture(scope="module")
def outputs() -> dict[str, Outputs]:
    return {name: make_outputs(n, i) for i, (name, n) in enumerate(SIZES.items())}


@pytest.fixture(scope="module")
def tables(outputs) -> dict[str, pd.DataFrame]:
    return {
        name: pd.DataFrame(
            {
                "kind": KINDS[name],
                "domain": "A",
                "subclass": "",
                "label": np.asarray(CLASSES)[np.asarray(output.labels)],
            }
        )
        for name, output in outputs.items()
    }


@pytest.fixture(scope="module")
def results() -> pd.DataFrame:
    rows = [
        {"task": "skin", "test_set": name, "shift": name, "kind": kind, "level": 0, "domain": "all", "csf": csf,
         "metric": "aurc", "value": 0.1, "low": 0.05, "high": 0.2, "n": SIZES[name], "seed": 0}
        for name, kind in KINDS.items() for csf in NAMES
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def curves(outputs, tables) -> pd.DataFrame:
    return curves_table(outputs, tables, SCORERS, key=jax.random.key(0), num_resamples=100, num_points=20)


def test_points_say_what_the_csfs_say(outputs, tables):
    table = points_table(outputs, tables, CLASSES, SCORERS).table
    assert len(table) == 100 and table["id"].is_unique
    for name, output in outputs.items():
        rows = table[table["test_set"] == name]
        assert rows["row"].tolist() == list(range(SIZES[name]))
        softmax = np.asarray(jax.nn.softmax(output.logits))
        np.testing.assert_allclose(rows["confidence_msr"], softmax.max(axis=1), atol=1e-6)
        predicted = np.asarray(CLASSES)[softmax.argmax(axis=1)]
        assert rows["predicted_mls"].tolist() == predicted.tolist()
        assert rows["correct_msr"].tolist() == (predicted == rows["label"]).astype(int).tolist()
        assert (rows["weight"] == 1).all()
    # A score without a probability: the share of images with no higher score among those of the i.i.d. set.
    largest = np.concatenate([np.asarray(output.logits).max(axis=1) for output in outputs.values()])
    expected = [(largest[: SIZES["iid_test"]] <= value).mean() for value in largest]
    np.testing.assert_allclose(table["confidence_mls"], expected, atol=1e-6)
    assert table.loc[table["rank_mls"] == 1, "confidence_mls"].tolist() == [1.0]
    # Where no image is i.i.d., those with no higher score among all.
    shifted = {"other_scanner": outputs["other_scanner"]}
    alone = points_table(shifted, {"other_scanner": tables["other_scanner"]}, CLASSES, SCORERS).table
    own = largest[SIZES["iid_test"] :]
    np.testing.assert_allclose(alone["confidence_mls"], [(own <= value).mean() for value in own], atol=1e-6)


def test_points_keep_the_most_confident_failures_and_stand_for_all(outputs, tables):
    whole = points_table(outputs, tables, CLASSES, SCORERS).table
    points = points_table(outputs, tables, CLASSES, SCORERS, size=40)
    assert len(points.table) == 40 and "40 of 100 images" in points.note
    for name in SIZES:
        failures = whole[(whole["test_set"] == name) & (whole["correct_msr"] == 0)]
        assert failures.sort_values("rank_msr")["id"].head(3).isin(points.table["id"]).all()
    # The weights undo the preference for failures.
    assert points.table["weight"].sum() == pytest.approx(100)
    accuracy = np.average(points.table["correct_msr"], weights=points.table["weight"])
    assert accuracy == pytest.approx(whole["correct_msr"].mean(), abs=1e-6)


def test_an_unknown_class_is_a_failure(outputs, tables):
    labels = outputs["iid_test"].labels.at[0].set(-1)
    changed = outputs | {
        "iid_test": Outputs(logits=outputs["iid_test"].logits, labels=labels, features=outputs["iid_test"].features)
    }
    table = points_table(changed, tables, CLASSES, SCORERS).table
    assert table.loc[0, "correct_msr"] == 0


def test_outputs_and_tables_must_agree(outputs, tables):
    with pytest.raises(ValueError, match="same test sets"):
        points_table(outputs, {}, CLASSES, SCORERS)
    with pytest.raises(ValueError, match="60 outputs and 59 rows"):
        points_table(outputs, tables | {"iid_test": tables["iid_test"].iloc[1:]}, CLASSES, SCORERS)
    bare = {name: Outputs(logits=output.logits, labels=output.labels) for name, output in outputs.items()}
    with pytest.raises(ValueError, match="no features"):
        points_table(bare, tables, CLASSES, SCORERS)


def test_curves_are_those_of_the_metric_within_their_band(outputs, curves):
    assert len(curves) == 2 * 2 * 20
    for (csf, name), rows in curves.groupby(["csf", "test_set"]):
        output = outputs[str(name)]
        failure = CSFS[str(csf)].predict(output) != output.labels
        curve = jax.jit(risk_coverage_curve)(CSFS[str(csf)].score(output), failure).distinct()
        expected = [curve.selective_risk[np.flatnonzero(curve.coverage >= c - 1e-6)[0]] for c in rows["coverage"]]
        np.testing.assert_allclose(rows["selective_risk"], expected, atol=1e-6)
        assert (rows["low"] <= rows["selective_risk"] + 1e-6).mean() > 0.9
        last = rows.iloc[-1]
        share = float(np.asarray(failure).mean())
        spread = 1.96 * np.sqrt(share * (1 - share) / len(output))
        assert last["high"] - last["low"] == pytest.approx(2 * spread, rel=0.4)


def test_patients_are_resampled_together(outputs, tables):
    """Two patients: the band at full coverage spans the failure rates of either."""
    output, table = outputs["iid_test"], tables["iid_test"]
    failure = np.asarray(CSFS["msr"].predict(output) != output.labels)
    owned = table.assign(patient_id=np.where(failure, "a", "b"))
    curves = curves_table(
        {"iid_test": output}, {"iid_test": owned}, SCORERS, key=jax.random.key(0), num_resamples=100, num_points=20
    )
    assert curves.iloc[-1]["low"] == 0 and curves.iloc[-1]["high"] == 1


def report_of(outputs, tables, curves, *, images: bool) -> TaskReport:
    points = points_table(outputs, tables, CLASSES, SCORERS)

    def draw(ids: np.ndarray) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 255, (len(ids), 64, 64, 3)).astype(np.uint8)

    return TaskReport(
        "skin", CLASSES, points.table, draw if images else None, curves, frozenset({"msr"}), (points.note,)
    )


def test_report_is_one_file_that_shrinks_to_its_limit(tmp_path, outputs, tables, curves, results, monkeypatch):
    monkeypatch.setattr("sfjax.report.page.CARDS", 3)
    task = report_of(outputs, tables, curves, images=True)
    counts, megabytes = [], 25.0
    for _ in range(3):
        write_report(tmp_path / "report.html", [task], results, title="t", max_megabytes=megabytes)
        content = (tmp_path / "report.html").read_text(encoding="utf-8")
        counts.append(content.count('":"UklGR'))  # the beginning of every WebP
        assert len(content.encode()) <= megabytes * 1e6
        megabytes = len(content.encode()) / 1e6 - 1e-3
    assert counts[0] == 100 > counts[1] > counts[2] == 0
    with pytest.raises(ValueError, match="raise max_megabytes"):
        write_report(tmp_path / "report.html", [task], results, title="t", max_megabytes=0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_large_page_says_so(tmp_path, outputs, tables, curves, results, monkeypatch):
    monkeypatch.setattr("sfjax.report.page.LARGE", 0.5)
    task = report_of(outputs, tables, curves, images=False)
    with pytest.warns(UserWarning, match=r"report.html: This page has 1.\d MB"):
        write_report(tmp_path / "report.html", [task], results, title="t")


def test_report_names_a_task_without_results(tmp_path, outputs, tables, curves, results):
    with pytest.raises(ValueError, match="no row of the task skin"):
        write_report(
            tmp_path / "report.html", [report_of(outputs, tables, curves, images=False)], results.iloc[:0], title="t"
        )
