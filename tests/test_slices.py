"""Where silent failures are: the test of slices, and what is said of them."""

import time

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, binomtest, fisher_exact

from sfjax.outputs import Outputs
from sfjax.report import failure_slices, slice_attributes
from sfjax.report.slices import FEWEST_PATIENTS
from sfjax.study.evaluation import evaluate, learn, thresholds
from sfjax.views.slices import SLICES, check_slices

MSR = learn(("msr",), None, None)


def outputs_of(silent: np.ndarray, rng: np.random.Generator, features: np.ndarray | None = None) -> Outputs:
    """Returns two-class outputs that fail silently where told: surely wrong there, right elsewhere."""
    n = len(silent)
    labels = rng.integers(0, 2, n)
    predicted = np.where(silent, 1 - labels, labels)
    logits = np.zeros((n, 2), np.float32)
    logits[np.arange(n), predicted] = 3 + rng.random(n)  # probability 0.95 to 0.98
    found = None if features is None else jnp.asarray(features, jnp.float32)
    return Outputs(logits=jnp.asarray(logits), labels=jnp.asarray(labels, jnp.int32), features=found)


def table_of(n: int, kind: str, rng: np.random.Generator, **columns: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"kind": kind, "label": rng.choice(["a", "b"], n), **columns})


def planted(seed: int = 0):
    """Two test sets; in the second, scanner B fails silently in 40 %, everything else in 2 %."""
    rng = np.random.default_rng(seed)
    outputs, tables = {}, {}
    for name, kind, n in (("iid_test", "iid", 400), ("other", "acquisition", 300)):
        scanner = rng.choice(["A", "B", "C"], n)
        bad = (scanner == "B") & (name == "other")
        silent = rng.random(n) < np.where(bad, 0.4, 0.02)
        features = rng.normal(size=(n, 4)) + 8 * (scanner == "B")[:, None]
        outputs[name] = outputs_of(silent, rng, features)
        columns = {"scanner": scanner, "age": rng.normal(60, 9, n), "sex": rng.choice(["f", "m", ""], n)}
        tables[name] = table_of(n, kind, rng, **columns, site=np.where(scanner == "B", "north", "south"))
    return outputs, tables


@pytest.fixture(scope="module")
def found():
    outputs, tables = planted()
    n = {name: len(table) for name, table in tables.items()}
    points = pd.DataFrame(
        {"test_set": np.repeat(list(n), list(n.values())), "row": np.concatenate([np.arange(k) for k in n.values()])}
    )
    points["id"] = 1000 + np.arange(len(points))
    return outputs, tables, failure_slices(outputs, tables, MSR, points=points)


def test_a_planted_slice_comes_first_with_its_numbers(found):
    outputs, tables, slices = found
    first = slices.iloc[0]
    assert (first["test_set"], first["attribute"], first["value"], first["significant"]) == ("other", "scanner", "B", 1)
    wrong = np.asarray(outputs["other"].logits).argmax(1) != np.asarray(outputs["other"].labels)
    inside = tables["other"]["scanner"].to_numpy() == "B"
    a, n = int(wrong[inside].sum()), int(inside.sum())
    assert (first["failures"], first["n"], first["rate"]) == (a, n, pytest.approx(a / n))
    assert first["rest_rate"] == pytest.approx(wrong[~inside].mean())
    cells = [[a, n - a], [int(wrong[~inside].sum()), int((~wrong[~inside]).sum())]]
    assert first["p"] == pytest.approx(fisher_exact(cells, alternative="greater").pvalue)
    ends = binomtest(a, n).proportion_ci()
    assert (first["low"], first["high"]) == (pytest.approx(ends.low), pytest.approx(ends.high))
    # Another column that selects the same images is said, and not tried again.
    assert f"{a} of {n} are silent failures" in first["text"] and "the same images as site = north" in first["text"]
    assert not ((slices["attribute"] == "site") & (slices["test_set"] == "other")).any()


def test_the_family_is_all_that_was_tried(found):
    _, _, slices = found
    tried = int(slices["tried"].iloc[0])
    assert f"{tried} slices were tried" in slices.attrs["note"]
    # The k-th smallest p of all is the k-th row here: Holm multiplies by what is left of the family.
    expected = np.maximum.accumulate(np.minimum(slices["p"] * (tried - np.arange(len(slices))), 1))
    np.testing.assert_allclose(slices["p_adjusted"], expected)
    assert (slices["p_adjusted"].diff().dropna() >= 0).all() and (slices["rate"] > slices["rest_rate"]).all()


def test_exemplars_are_the_most_confident_silent_failures_of_the_slice(found):
    outputs, tables, slices = found
    probability = np.asarray(evaluate(outputs["other"], MSR).probability[0])
    wrong = np.asarray(outputs["other"].logits).argmax(1) != np.asarray(outputs["other"].labels)
    rows = np.flatnonzero(wrong & (tables["other"]["scanner"].to_numpy() == "B"))
    rows = rows[np.argsort(-probability[rows], kind="stable")][:6]
    assert [int(key) for key in slices["exemplars"].iloc[0].split()] == (1000 + 400 + rows).tolist()


def test_a_cluster_is_told_in_words(found):
    _, _, slices = found
    clusters = slices[(slices["attribute"] == "feature_cluster") & (slices["significant"] == 1)]
    assert len(clusters) and clusters["words"].str.contains("scanner = B", regex=False).all()
    assert slices["text"].str.contains("mostly scanner = B", regex=False).any()
    check_slices(slices)
    assert list(slices.columns[: len(SLICES)]) == list(SLICES)


@pytest.mark.parametrize("images_a_patient", [1, 4])
def test_under_the_null_a_false_slice_is_rare(images_a_patient):
    """Failures come by patient, attributes too, and neither knows of the other."""
    runs, false = 60, 0
    for seed in range(runs):
        rng = np.random.default_rng([seed, images_a_patient])
        n = 240
        patient = np.arange(n) // images_a_patient
        silent = (rng.random(n) < 0.6) & (rng.random(n)[patient] < 0.3)
        columns = {f"c{i}": rng.choice(list("uvwx"), n)[patient] for i in range(5)}
        table = table_of(n, "iid", rng, patient_id=patient.astype(str), **columns)
        slices = failure_slices({"iid_test": outputs_of(silent, rng)}, {"iid_test": table}, MSR)
        false += int(slices["significant"].any())
    assert false <= binom.ppf(0.999, runs, 0.05)


def test_dependent_images_are_not_counted_as_independent():
    """One patient with forty failing images makes no slice; the same failures of forty patients do."""
    rng = np.random.default_rng(0)
    n = 400
    site = np.repeat(["north", "south"], n // 2)
    silent = np.arange(n) < 40
    table = table_of(n, "iid", rng, site=site)
    alone = failure_slices({"iid_test": outputs_of(silent, rng)}, {"iid_test": table}, MSR)
    assert alone.iloc[0]["value"] == "north" and alone.iloc[0]["p_adjusted"] < 1e-6
    one = table.assign(patient_id=np.where(silent, "one", np.arange(n).astype(str)))
    together = failure_slices({"iid_test": outputs_of(silent, rng)}, {"iid_test": one}, MSR)
    row = together[(together["attribute"] == "site") & (together["value"] == "north")].iloc[0]
    assert not row["significant"] and row["rate"] == 0.2
    assert row["high"] - row["low"] > 2 * (alone.iloc[0]["high"] - alone.iloc[0]["low"])


def test_images_of_a_patient_give_twice_the_median_over_draws():
    rng = np.random.default_rng(3)
    n = 600
    patient = np.arange(n) // 4
    site = np.where(patient % 3 == 0, "north", "south")
    silent = rng.random(n) < np.where(site == "north", 0.25, 0.05)
    table = table_of(n, "iid", rng, site=site, patient_id=patient.astype(str))
    slices = failure_slices({"iid_test": outputs_of(silent, rng)}, {"iid_test": table}, MSR)
    p = []
    for _ in range(400):
        rows = 4 * np.arange(n // 4) + rng.integers(0, 4, n // 4)
        failed, north = silent[rows], site[rows] == "north"
        cells = [[np.sum(failed & inside), np.sum(~failed & inside)] for inside in (north, ~north)]
        p.append(fisher_exact(cells, alternative="greater").pvalue)
    found = slices.set_index("value").loc["north", "p"]
    # The median of fifty draws has an error of its own; twice the mean is far above.
    low, high = 2 * np.quantile(p, [0.35, 0.65])
    assert low < found < high < 2 * np.mean(p)


def test_scores_without_a_probability_count_accepted_failures():
    rng = np.random.default_rng(1)
    scorers = learn(("mls",), None, None)
    outputs, tables = planted()
    with pytest.raises(ValueError, match="mls have no probability"):
        failure_slices(outputs, tables, scorers)
    validation = outputs_of(np.zeros(100, bool), rng)
    slices = failure_slices(outputs, tables, scorers, validation=validation)
    limit = thresholds(evaluate(validation, scorers))[0]
    logits = np.asarray(outputs["other"].logits)
    accepted = (logits.max(1) > limit) & (logits.argmax(1) != np.asarray(outputs["other"].labels))
    row = slices[(slices["test_set"] == "other") & (slices["attribute"] == "scanner")].iloc[0]
    assert row["failures"] == (accepted & (tables["other"]["scanner"] == "B")).sum() and "accepted" in row["text"]


def test_attributes_name_nobody_and_numbers_are_cut_at_quartiles():
    n = 200
    table = pd.DataFrame(
        {"kind": "iid", "label": "a", "age": np.arange(n), "level": np.arange(n) % 3,
         "file": [f"f{i}" for i in range(n)], "image_path": "x.png", "patient_id": "p", "sha256": "0", "blank": np.nan}
    )  # fmt: skip
    attributes, left_out = slice_attributes({"iid_test": table}, {"iid_test": np.arange(n) % 2})
    columns = attributes["iid_test"]
    assert list(columns) == ["test_set", "label", "age_quarter", "level", "blank", "feature_cluster"]
    assert left_out == ["file"]
    assert columns["age_quarter"].value_counts().tolist() == [50] * 4 and columns["level"].iloc[2] == "2"
    rng = np.random.default_rng(0)
    # A slice and its rest have at least so many patients; the columns left out are said.
    few = table.assign(rare=np.where(np.arange(n) < FEWEST_PATIENTS - 1, "yes", "no"))
    few["patient_id"] = ""
    slices = failure_slices({"iid_test": outputs_of(rng.random(n) < 0.5, rng)}, {"iid_test": few}, MSR, level=1.0)
    assert "rare" not in set(slices["attribute"]) and "left out: file" in slices.attrs["note"]


def test_a_hundred_columns_of_ten_thousand_images_take_seconds():
    rng = np.random.default_rng(0)
    n = 10_000
    columns = {f"c{i}": rng.choice(list("uvwxy"), n) for i in range(100)}
    table = table_of(n, "iid", rng, **columns)
    outputs = outputs_of(rng.random(n) < 0.03, rng)
    start = time.process_time()
    slices = failure_slices({"iid_test": outputs}, {"iid_test": table}, MSR)
    assert time.process_time() - start < 5 and slices["tried"].iloc[0] == 502


def test_few_patients_make_an_empty_table_that_says_so():
    rng = np.random.default_rng(0)
    n = 2 * FEWEST_PATIENTS - 1
    site = np.where(np.arange(n) < n // 2, "north", "south")
    slices = failure_slices(
        {"iid_test": outputs_of(rng.random(n) < 0.5, rng)}, {"iid_test": table_of(n, "iid", rng, site=site)}, MSR
    )
    assert list(slices.columns) == list(SLICES) and not len(check_slices(slices))
    assert "No slice was tried" in slices.attrs["note"]


def test_refusals():
    outputs, tables = planted()
    with pytest.raises(ValueError, match="400 outputs and 399 rows"):
        failure_slices(outputs, tables | {"iid_test": tables["iid_test"].iloc[1:]}, MSR)
    with pytest.raises(ValueError, match="clusters of 0"):
        failure_slices(outputs, tables, MSR, clusters={})
