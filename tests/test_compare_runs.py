"""Two runs against each other: the differences, what changed, the limits, and the program as pipelines call it."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments import compare, compare_page
from sfjax import metrics, outputs
from sfjax.csf import CSFS
from sfjax.data import dataset_from_arrays
from sfjax.outputs import Outputs
from sfjax.study import PRESETS, TestSet, storage
from sfjax.study.compare import Side, compare_sides
from sfjax.study.config import as_json, from_json
from sfjax.study.evaluation import learn
from sfjax.study.limits import exceeded
from sfjax.study.run import shareable

N = 120
CLASSES = ("benign", "malignant")
SOME, RESAMPLES = ("accuracy", "ece", "aurc", "silent_failure_rate"), 200
"""Same metrics and resamples everywhere: what is compiled once serves all tests."""
IID = TestSet("iid_test", "iid_test", "none", "iid")
NOISE = [TestSet(f"noise-{level}", "iid_test", "noise", "corruption", level) for level in (1, 3)]


def say(labels: np.ndarray, share_wrong: float, seed: int) -> Outputs:
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(labels)) < share_wrong
    predicted = np.where(wrong, 1 - labels, labels)
    logits = np.zeros((len(labels), 2))
    logits[np.arange(len(labels)), predicted] = rng.uniform(0.5, 5, len(labels))
    features = rng.normal(size=(len(labels), 4))
    return Outputs(
        logits=jnp.asarray(logits, jnp.float32),
        labels=jnp.asarray(labels, jnp.int32),
        features=jnp.asarray(features, jnp.float32),
    )


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, N)


def side(name: str, labels: np.ndarray, wrong: float, seeds: tuple[int, ...], csf: str = "msr") -> Side:
    sets = [IID, *NOISE]
    patients = [f"p{i // 2}" for i in range(N)]
    table = pd.DataFrame({"image_id": np.arange(N) + 5, "label": np.asarray(CLASSES)[labels], "patient_id": patients})
    said = {
        one.name: [say(labels, wrong + 0.05 * one.level, 10 * seed + one.level) for seed in seeds] for one in sets
    }  # fmt: skip
    validation = [say(labels, wrong, 99 + seed) for seed in seeds]
    scorers = [learn((csf,), None, None) for _ in seeds]
    return Side(name, csf, CLASSES, sets, said, {one.name: table for one in sets}, scorers, validation)


@pytest.fixture(scope="module")
def sides(labels) -> tuple[Side, Side]:
    return side("A", labels, 0.1, (1, 2)), side("B", labels, 0.3, (3,))


@pytest.fixture(scope="module")
def compared(sides):
    return compare_sides(*sides, key=jax.random.key(0), only=SOME, resamples=RESAMPLES)


def silent(said: Outputs) -> np.ndarray:
    wrong = np.asarray(said.logits).argmax(1) != np.asarray(said.labels)
    return wrong & (np.asarray(CSFS["msr"].probability(said)) > 0.9)


def test_differences_are_those_of_the_metrics(sides, compared):
    rows = compared.differences[compared.differences["test_set"] == "iid_test"].set_index("metric")

    def mean(one: Side, metric: str) -> float:
        values = []
        for said in one.outputs["iid_test"]:
            failure = CSFS["msr"].predict(said) != said.labels
            value = metrics.aurc(CSFS["msr"].score(said), failure) if metric == "aurc" else 1 - failure.mean()
            values.append(silent(said).mean() if metric == "silent_failure_rate" else float(value))
        return float(np.mean(values))

    for metric in ("aurc", "accuracy", "silent_failure_rate"):
        before, after = (mean(one, metric) for one in sides)
        assert rows.loc[metric, "before"] == pytest.approx(before, abs=1e-6)
        assert rows.loc[metric, "difference"] == pytest.approx(after - before, abs=1e-6)
    assert rows.loc["aurc", "verdict"] == "worse" and rows.loc["accuracy", "verdict"] == "worse"
    assert np.isnan(rows.loc["ece", "low"]) and rows.loc["ece", "verdict"] == ""
    noise = compared.differences[compared.differences["test_set"].str.startswith("noise")]
    mean_of_levels = noise[noise["level"] > 0].groupby("metric")["difference"].mean()
    whole = noise[noise["level"] == 0].set_index("metric")["difference"]
    pd.testing.assert_series_equal(whole.sort_index(), mean_of_levels.sort_index(), check_names=False, atol=1e-6)


def test_the_interval_of_a_difference_is_paired_and_by_patient(sides, compared):
    """Against an independent bootstrap; unpaired, it would be wider, and by image narrower."""
    rng = np.random.default_rng(0)
    wrong = [
        np.mean([np.asarray(CSFS["msr"].predict(said) != said.labels) for said in one.outputs["iid_test"]], axis=0)
        for one in sides
    ]
    change = (wrong[0] - wrong[1]).reshape(-1, 2).mean(axis=1)  # accuracy of B less A, by patient
    drawn = change[rng.integers(0, N // 2, (4000, N // 2))].mean(axis=1)
    row = compared.differences.query("test_set == 'iid_test' and metric == 'accuracy'").iloc[0]
    np.testing.assert_allclose([row["low"], row["high"]], np.quantile(drawn, [0.025, 0.975]), atol=0.02)


def test_silent_failures_gained_and_lost(sides, compared):
    shares = [np.mean([silent(said) for said in one.outputs["iid_test"]], axis=0) for one in sides]
    before, after = (share >= 0.5 for share in shares)
    changed = compared.changed[compared.changed["test_set"] == "iid_test"]
    for change, rows in (("gained", after & ~before), ("lost", before & ~after)):
        found = changed[changed["change"] == change]
        assert set(found["image_id"]) == set(np.flatnonzero(rows) + 5) and len(found) > 0
    confidence = changed.loc[changed["change"] == "gained", "confidence_after"]
    assert (confidence.diff().dropna() <= 0).all() and (confidence > 0.9).all()
    # By one of two networks it failed silently, and that one is shown, whichever it is.
    lost = changed[changed["change"] == "lost"]
    assert (lost["silent_before"] == 0.5).any() and (lost["networks_before"] == 2).all()
    assert (lost["confidence_before"] > 0.9).all() and (lost["predicted_before"] != lost["label"]).all()
    none_silent = changed[changed["silent_before"] == 0].iloc[0]
    here = np.asarray([CSFS["msr"].probability(said) for said in sides[0].outputs["iid_test"]])
    assert none_silent["confidence_before"] == pytest.approx(here[:, none_silent["image_id"] - 5].max(), abs=1e-6)


def test_images_are_matched_by_content_in_any_order(sides, compared):
    order = np.random.default_rng(1).permutation(N)[:100]
    shuffled = sides[1]._replace(
        test_sets=[IID],
        outputs={"iid_test": [outputs.take(said, order) for said in sides[1].outputs["iid_test"]]},
        tables={"iid_test": sides[1].tables["iid_test"].iloc[order].reset_index(drop=True)},
    )
    found = compare_sides(sides[0], shuffled, key=jax.random.key(0), only=SOME, resamples=RESAMPLES)
    row = found.differences.query("metric == 'accuracy'").iloc[0]
    assert (row["n"], row["only_before"], row["only_after"]) == (100, 20, 0)
    right = [
        np.mean([np.asarray(CSFS["msr"].predict(x) == x.labels)[order] for x in one.outputs["iid_test"]])
        for one in sides
    ]
    assert row["difference"] == pytest.approx(right[1] - right[0], abs=1e-6)
    assert any("noise-1, noise-3" in note for note in found.notes)


def test_limits_are_exceeded_surely_estimated_or_possibly():
    row = {"test_set": "iid_test", "kind": "iid", "level": 0, "before": 0.1}
    rate = {**row, "metric": "silent_failure_rate", "after": 0.05, "after_low": 0.03, "after_high": 0.08}
    accuracy = {**row, "metric": "accuracy", "difference": -0.04, "low": -0.06, "high": -0.01}
    level = {**rate, "kind": "corruption", "level": 5, "after": 1.0, "after_low": 1.0}
    table = pd.DataFrame([rate, accuracy, level])
    cases = {"surely": (0.02, 0.04), "estimated": (0.04, 0.06), "possibly": (0.07, 0.09)}
    for when, (over, kept) in cases.items():
        sentences = exceeded(table, max_silent_failure_rate=over, when=when)
        assert len(sentences) == 1 and "iid_test" in sentences[0]
        assert exceeded(table, max_silent_failure_rate=kept, when=when) == []
    # Accuracy is better when higher: it is worse by 0.04, surely by 0.01, possibly by 0.06.
    for when, (over, kept) in {"surely": (0.005, 0.02), "estimated": (0.03, 0.05), "possibly": (0.05, 0.07)}.items():
        assert len(exceeded(table, max_regression={"accuracy": over}, when=when)) == 1
        assert exceeded(table, max_regression={"accuracy": kept}, when=when) == []
    with pytest.raises(ValueError, match="aurc was not compared"):
        exceeded(table, max_regression={"aurc": 0.1})


def test_sides_that_do_not_go_together(sides):
    one, other = sides
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="has the classes benign, malignant and B a, b"):
        compare_sides(one, other._replace(classes=("a", "b")), key=key)
    with pytest.raises(ValueError, match="test sets fog are not on both sides"):
        compare_sides(one, other, key=key, test_sets=["fog"])
    table = other.tables["iid_test"]
    strange = {**other.tables, "iid_test": table.assign(image_id=table["image_id"] + 10_000)}
    with pytest.raises(ValueError, match=r"no image that is both in A \(120\) and in B \(120\)"):
        compare_sides(one, other._replace(tables=strange), key=key)
    relabelled = {**other.tables, "iid_test": table.assign(label="benign")}
    with pytest.raises(ValueError, match="images of iid_test have another label in B"):
        compare_sides(one, other._replace(tables=relabelled), key=key)
    with pytest.raises(ValueError, match="do not both have ece"):
        compare_sides(one, side("C", np.zeros(N, np.int64), 0.1, (1,), csf="mls"), key=key, only=["ece"])


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    split = np.repeat(["train", "val", "cal", "iid_test", "other"], [8, 40, 8, N, 60])
    elsewhere = split == "other"
    columns = {
        "label": np.tile(CLASSES, len(split) // 2),
        "split": split,
        "domain": np.where(elsewhere, "B", "A"),
        "shift_kind": np.where(elsewhere, "acquisition", "iid"),
    }
    return dataset_from_arrays("skin", rng.integers(0, 255, (len(split), 32, 32, 3)).astype(np.uint8), columns)


def write_run(folder, dataset, wrong: float, seeds: tuple[int, ...]) -> None:
    """Writes by hand what a run leaves that was trained on these images, a network a seed."""
    config = dataclasses.replace(PRESETS["tiny"].config, seeds=seeds)
    storage.open_folder(folder, config, command=["benchmark"])
    task = folder / "skin"
    storage.write_table(task / "images.parquet", shareable(dataset.table))
    head = {"weight": np.zeros((4, 2), np.float32), "bias": np.zeros(2, np.float32)}
    for seed in seeds:
        network = task / "cross_entropy" / f"seed_{seed}"
        (network / "outputs").mkdir(parents=True)
        outputs.write_npz(network / "head.npz", head)
        for at, name in enumerate(("train", "val", "cal", "iid_test", "other")):
            truth = dataset.subset(name)[1]["label_index"].to_numpy()
            outputs.save(say(truth, wrong, 10 * seed + at), network / "outputs" / f"{name}.npz")
    for name, kind in (("iid_test", "iid"), ("other", "acquisition"), ("half", "prevalence")):
        shift = "none" if kind == "iid" else name
        row = {"test_set": name, "shift": shift, "kind": kind, "level": 0}
        storage.write_table(task / "scores" / f"{name}.results.parquet", pd.DataFrame([row]))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, dataset):
    folder = tmp_path_factory.mktemp("runs")
    for name, wrong, seeds in (("old", 0.1, (1, 2)), ("<new>", 0.4, (2,))):
        write_run(folder / name, dataset, wrong, seeds)
    return str(folder / "old"), str(folder / "<new>")


FAST = ("--resamples", str(RESAMPLES), "--metrics", *SOME)


def test_the_program_writes_what_changed_and_stops_a_pipeline(runs, dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compare_page, "load_task", lambda config, name: dataset)
    assert compare.main([*runs, "--out", str(tmp_path), *FAST]) == 0
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"differences.csv", "changed.csv", "compare.md", "changed.html"}
    differences, changed = pd.read_csv(tmp_path / "differences.csv"), pd.read_csv(tmp_path / "changed.csv")
    assert set(differences["test_set"]) == {"iid_test", "other"} and set(differences["task"]) == {"skin"}
    assert (differences.loc[differences["metric"] == "accuracy", "verdict"] == "worse").all()
    page = (tmp_path / "changed.html").read_text()
    assert page.count('<img src="data:image/webp') == len(changed) > 0
    assert "&lt;new&gt;" in page and "<new>" not in page
    assert "silent by 0 of 2 of A's networks, 1 of 1 of B's" in page
    assert all("left out" in text and "half" in text for text in (page, (tmp_path / "compare.md").read_text()))
    assert "default-src 'none'" in page and "http" not in page.replace("http-equiv", "")
    assert "silent failures gained" in capsys.readouterr().out
    # An accuracy that falls by 30 points surely falls by more than 5.
    limit = ("--max-regression", "accuracy=0.05", "--no-images")
    assert compare.main([*runs, "--out", str(tmp_path), *FAST, *limit]) == 1
    assert "<img" not in (tmp_path / "changed.html").read_text()
    assert "Limit exceeded" in capsys.readouterr().err
    assert compare.main([*runs[::-1], "--out", str(tmp_path), *FAST, *limit]) == 0
    limit = ("--max-silent-failure-rate", "0.5", "--no-images")
    assert compare.main([*runs, "--out", str(tmp_path), *FAST, *limit]) == 0


def test_two_scores(runs, tmp_path, capsys):
    """The other score need not have been computed by the run; calibrated, it has a probability too."""
    assert compare.main([*runs, "--csf-b", "mls", "--out", str(tmp_path), *FAST, "--no-images"]) == 0
    differences = pd.read_csv(tmp_path / "differences.csv").set_index(["test_set", "metric"])
    assert set(differences.index.get_level_values("metric")) == set(SOME)
    said = outputs.load(Path(runs[1]) / "skin/cross_entropy/seed_2/outputs/iid_test.npz")
    area = metrics.aurc(CSFS["mls"].score(said), CSFS["mls"].predict(said) != said.labels)
    assert differences.loc[("iid_test", "aurc"), "after"] == pytest.approx(float(area), abs=1e-6)
    assert "old (msr) against <new> (mls)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--csf", "nonsense"], "got nonsense"),
        (["--tasks", "lung"], "Not both runs have the task lung"),
        (["--test-sets", "fog"], "fog are not on both sides"),
        (["--max-regression", "aurc"], "must be METRIC=DELTA"),
        (["--max-regression", "aurc=-1"], "must be a number from 0 up"),
        (["--metrics", "f1"], "got f1"),
    ],
)
def test_usage_errors(runs, options, words, tmp_path, capsys):
    assert compare.main([*runs, "--no-images", "--out", str(tmp_path / "out"), *options]) == 2
    assert words in " ".join(capsys.readouterr().err.split()) and not (tmp_path / "out").exists()


def test_a_folder_that_is_no_run(runs, tmp_path, capsys):
    assert compare.main([runs[0], str(tmp_path)]) == 2
    assert "it has no config.json" in capsys.readouterr().err
    assert compare.main([runs[0], runs[0]]) == 2


def test_a_configuration_comes_back():
    for preset in PRESETS.values():
        assert from_json(as_json(preset.config)) == preset.config
