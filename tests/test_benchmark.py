"""The program as its users run it, on the `tiny` preset: files, resumption after a kill, refusals, own images."""

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from experiments import benchmark, report
from sfjax import interop, outputs, phantoms
from sfjax.study import PRESETS
from sfjax.study.config import settings_of
from sfjax.training import PUBLISHED

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> Path:
    """A finished run of the preset `tiny`."""
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert benchmark.main(["tiny", "--out", str(out)]) == 0
    return out


def start(out: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "experiments.benchmark", "tiny", "--out", str(out), *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stop_when(file: Path, process: subprocess.Popen, sign: signal.Signals) -> str:
    """Sends a signal as soon as a file is there; fails where the program ends before."""
    while not file.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    process.send_signal(sign)
    return process.communicate()[0]


def test_a_run_leaves_what_it_promises(undisturbed):
    record = json.loads((undisturbed / "config.json").read_text())
    assert record["config"]["seeds"] == [0] and record["versions"]["jax"] and "tiny" in record["command"]
    results = pd.read_csv(undisturbed / "results.csv")
    assert [*results.columns] == [
        *("task", "training_set", "network", "method", "seed", "test_set", "shift", "kind", "level", "domain"),
        *("csf", "metric", "value", "low", "high", "n", "undefined", "failures", "few_failures"),
    ]
    pd.testing.assert_frame_equal(pd.read_parquet(undisturbed / "results.parquet"), results, check_dtype=False)
    assert set(results["kind"]) == {"iid", "corruption", "acquisition", "manifestation"}
    csfs = {"msr", "energy", "mcd_msr", "mcd_mi", "mahalanobis"}
    # Every score has a probability of being right, from validation where it has none of its own; some have classes'.
    rows = {metric: set(some["csf"]) for metric, some in results.groupby("metric")}
    assert rows["silent_failure_rate"] == rows["aurc"] == csfs and rows["nll"] == {"msr", "mcd_msr"}
    defined = results.dropna(subset=["value", "low"])
    assert (defined["low"] <= defined["value"] + 1e-6).mean() > 0.99
    comparisons = pd.read_csv(undisturbed / "comparisons.csv")
    assert set(comparisons["csf"]) == csfs - {"msr"} and set(comparisons["baseline"]) == {"msr"}
    guarantees = pd.read_csv(undisturbed / "guarantees.csv")
    summary = pd.read_csv(undisturbed / "summary.csv")
    assert set(guarantees["kind"]) == {"sgr", "ltt", "crc"} and set(guarantees["test_set"]) == set(summary["test_set"])
    assert set(pd.read_csv(undisturbed / "groups.csv")["column"]) == {"label", "subclass"}
    for file in ("tables/comparisons_dermoscopy.md", "tables/comparisons_dermoscopy.tex", "tables/seeds_dermoscopy.md"):
        assert (undisturbed / file).stat().st_size > 500, file
    for file in ("tables/aurc.tex", "tables/ranks.md", "tables/groups.md", "tables/guarantees_dermoscopy.md"):
        assert (undisturbed / file).stat().st_size > 500, file
    assert not (undisturbed / "tables" / "costs.md").exists()
    for file in (
        "tables/aurc.md",
        "figures/ranks_aurc.svg",
        "tables/dermoscopy.md",
        "figures/risk_coverage_dermoscopy.svg",
        "report.html",
    ):
        assert (undisturbed / file).stat().st_size > 500, file
    assert json.loads((undisturbed / "figures" / "risk_coverage_dermoscopy.json").read_text())["$schema"]


def test_outputs_of_every_set_are_stored_and_train_has_no_passes(undisturbed):
    folder = undisturbed / "dermoscopy" / "cross_entropy" / "seed_0"
    names = {path.stem for path in (folder / "outputs").iterdir()}
    assert {"train", "val", "cal", "iid_test", "brightness-1", "brightness-5", "gaussian_noise-5"} <= names
    assert outputs.load(folder / "outputs" / "train.npz").mc is None
    test = outputs.load(folder / "outputs" / "iid_test.npz")
    assert test.mc is not None and test.features is not None
    head = outputs.read_npz(folder / "head.npz")
    np.testing.assert_allclose(np.asarray(test.features) @ head["weight"] + head["bias"], test.logits, atol=1e-4)


def test_no_file_name_and_no_patient_is_in_the_run_folder(undisturbed):
    table = pd.read_parquet(undisturbed / "dermoscopy" / "images.parquet")
    kept = {"row", "image_id", "label", "label_index", "split", "domain", "subclass", "shift_kind", "loss_weight"}
    assert {name for name in table.columns if not name.startswith("factor_")} == kept | {"patient"}


def test_the_same_seed_gives_the_same_table(undisturbed, tmp_path):
    assert benchmark.main(["tiny", "--out", str(tmp_path / "again")]) == 0
    for table in ("results.csv", "summary.csv", "comparisons.csv", "guarantees.csv", "groups.csv", "ranks_overall.csv"):
        assert (tmp_path / "again" / table).read_bytes() == (undisturbed / table).read_bytes()


def test_killed_three_times_and_continued_it_gives_the_undisturbed_table(undisturbed, tmp_path):
    out = tmp_path / "killed"
    task = out / "dermoscopy"
    network = "cross_entropy/seed_0"
    moments = (f"{network}/history.csv", f"{network}/outputs/iid_test.npz", "scores/iid_test.summary.parquet")
    for moment in moments:
        stop_when(task / moment, start(out), signal.SIGKILL)
        assert not (out / "results.csv").exists()
    process = start(out)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    for table in ("results.csv", "guarantees.csv"):
        assert (out / table).read_bytes() == (undisturbed / table).read_bytes()


def test_interrupted_it_says_how_to_go_on(tmp_path):
    process = start(tmp_path / "run")
    said = stop_when(tmp_path / "run" / "dermoscopy" / "images.parquet", process, signal.SIGINT)
    assert process.returncode == 130 and "The same command continues" in said and "Traceback" not in said


def test_an_interruption_that_was_swallowed_is_remembered(tmp_path, monkeypatch):
    from sfjax import study

    def swallowing(*_):
        with contextlib.suppress(KeyboardInterrupt):  # as a finalizer does
            signal.raise_signal(signal.SIGINT)
        yield "work", 0.5
        raise AssertionError("went on")

    before = signal.getsignal(signal.SIGINT)  # a shell starts background jobs with it ignored
    monkeypatch.setattr(study, "run", swallowing)
    assert benchmark.main(["tiny", "--out", str(tmp_path / "run")]) == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_what_is_done_is_not_done_again(undisturbed):
    def times() -> dict[str, int]:
        kept = [path for path in (undisturbed / "dermoscopy").rglob("*") if path.is_file()]
        return {str(path): path.stat().st_mtime_ns for path in kept}

    before = times()
    assert benchmark.main(["tiny", "--out", str(undisturbed)]) == 0
    assert times() == before


def test_another_configuration_is_refused_with_the_difference(undisturbed, capsys):
    assert benchmark.main(["tiny", "--out", str(undisturbed), "--epochs", "3"]) == 2
    assert "recipe.epochs: 2 -> 3" in capsys.readouterr().err


def test_the_report_can_be_made_again_and_is_the_same(undisturbed, tmp_path, capsys):
    again = tmp_path / "again.html"
    assert report.main([str(undisturbed), "--out", str(again)]) == 0
    assert again.read_bytes() == (undisturbed / "report.html").read_bytes()
    kept = {path.name for path in (undisturbed / "dermoscopy" / "report").iterdir()}
    assert "digest.txt" in kept and sum(name.startswith("embedding_") for name in kept) == 4
    # Names are shown only when they are asked for.
    points = pd.read_parquet(undisturbed / "dermoscopy" / "report" / "points.parquet")
    assert not {"file_name", "image_path", "patient_id"} & set(points)
    assert report.main([str(undisturbed), "--task", "lung_ct", "--out", str(again)]) == 2
    assert "has the tasks dermoscopy; got lung_ct" in capsys.readouterr().err


def test_a_run_is_an_experiment_too(undisturbed):
    found = interop.read(undisturbed)
    results = pd.read_csv(undisturbed / "results.csv").query(
        "domain == 'all' and metric == 'accuracy' and csf == 'msr'"
    )
    assert {one.name for one in found.test_sets} == set(results["test_set"])
    for row in results.itertuples():
        said = found.outputs[row.test_set]["cross_entropy"]
        assert float((said.logits.argmax(1) == said.labels).mean()) == pytest.approx(row.value, abs=1e-6)
    table = found.tables["iid_test"]
    assert table["label"].tolist() == [
        found.classes[label] for label in found.outputs["iid_test"]["cross_entropy"].labels
    ]


def test_without_a_preset_it_is_quick():
    assert benchmark.parse([])[0] == "quick"
    preset, arguments = benchmark.parse(["--seeds", "3", "4"])
    assert preset == "quick" and arguments.config.seeds == (3, 4)
    assert arguments.config.recipe == PRESETS["quick"].config.recipe


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["small"], "must be one of tiny, quick, standard, paper"),
        (["tiny", "--image-size", "4"], "image_size must be at least 16; got 4"),
        (["tiny", "--csfs", "msr", "nonsense"], "got nonsense"),
        (["tiny", "--csfs", "msr", "dg_res"], "Add one to methods"),
        (["tiny", "--methods", "confidnet", "--csfs", "confidnet_dg_res"], "dg_res reads what"),
        (["tiny", "--csfs", "all", "cross_entropy_msr"], "got msr and cross_entropy_msr"),
        (["tiny", "--metrics", "f1"], "metrics must be among accuracy, balanced_accuracy"),
        (["tiny", "--csfs", "tta_msr"], "Ask for some: num_augmentations"),
        (["tiny", "--methods", "bagging"], "methods must be among cross_entropy, confidnet"),
        (["tiny", "--methods", "deep_gamblers", "--rewards", "10", "--csfs", "all"], "at most the 2 classes"),
        (["tiny", "--accumulate", "3"], "batch_size must be a multiple of accumulate; got 32 and 3"),
        (["tiny", "--area", "0.5", "0.1"], "area must be two shares"),
        (["tiny", "--pretrained", "nowhere.pth"], "none at nowhere.pth"),
        (["tiny", "--pretrained", __file__], "A file of weights ends in one of .safetensors"),
        (["paper", "--batch-size", "8"], "recipe cannot be given for all of them. Take the preset of one task"),
        (["paper-phantoms", "--manifest", "nowhere.csv"], "manifest cannot be given"),
        (["paper", "--manifest", "nowhere.csv"], "training_sets are of prepared images"),
        (["paper"], "python -m experiments.prepare dermoscopy --raw"),
        (["tiny", "--prevalences", "malignant=2"], "A prior is CLASS=SHARE"),
        (["tiny", "--training-sets", "dermoscopy_none"], "training_sets must be among dermoscopy_all"),
        (["tiny", "--coordinator", "localhost:1"], "Add --distributed"),
        (["tiny", "--seeds", "1", "1"], "each once"),
        (["tiny", "--manifest", "nowhere.csv"], "nowhere.csv"),
        (["tiny", "--cost-matrix", "nowhere.csv"], "nowhere.csv"),
        (["tiny", "--target-risks", "1.5"], "target_risks must lie between 0 and 1; got 1.5"),
        (["tiny", "--target-risks", "0.1", "0.1"], "must not name one risk twice"),
        (["quick", "--cost-matrix", "costs.csv"], "Choose one with --tasks"),
        (["tiny", "--group-columns", "patient_id"], "would name images or patients"),
        (["tiny", "--group-columns", "nonsense"], "no column nonsense to group by"),
    ],
)
def test_errors_are_sentences(command, words, tmp_path, capsys):
    out = [] if command == ["small"] else ["--out", str(tmp_path / "run")]
    assert benchmark.main([*command, *out]) == 2
    assert words in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path, capsys):
    out = tmp_path / "run"
    assert benchmark.main(["paper", "--dry-run", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    for words in ("dermoscopy_but_barcelona", "rxrx1all_large_set1", "manif_calcified", "letter (5"):
        assert words in said, words
    assert "densenet161" in said and "TFLOP/s: arithmetic" in said and not out.exists()


def test_a_library_that_is_missing_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "weights.pth").write_bytes(b"")
    command = ["tiny", "--pretrained", str(tmp_path / "weights.pth"), "--out", str(tmp_path / "run")]
    assert benchmark.main(command) == 2
    assert "pip install torch" in capsys.readouterr().err


def test_a_task_of_the_paper_can_be_changed():
    preset, arguments = benchmark.parse(["paper-lung-ct", "--batch-size", "64"])
    recipe, published = arguments.config.recipe, PUBLISHED["lung_ct"]
    assert preset == "paper-lung-ct" and arguments.config.network == published.network == "densenet121"
    assert recipe == dataclasses.replace(published.recipe, batch_size=64)
    whole = benchmark.parse(["paper"])[1].config
    settings = {task: settings_of(whole, task) for task in PUBLISHED}
    assert {task: (one.network, one.image_size, one.recipe) for task, one in settings.items()} == PUBLISHED


def test_every_methods_networks_stand_side_by_side(tmp_path):
    out = tmp_path / "run"
    csfs = ["msr", "confidnet", "dg_res", "ensemble_msr", "deep_gamblers_msr", "tta_msr", "ensemble_vim", "sirc_plus"]
    command = ["tiny", "--methods", "confidnet", "deep_gamblers", "ensemble", "--members", "2", "--csfs", *csfs]
    command += ["--gambler-epochs", "1", "--rewards", "1.25", "1.75", "--confidence-epochs", "1"]
    command += ["--fine-tuning-epochs", "1", "--num-augmentations", "2", "--metrics", "nll", "silent_failure_rate"]
    assert benchmark.main([*command, "--out", str(out), "--corruptions", "--no-report-images"]) == 0
    results = pd.read_csv(out / "results.csv")
    methods = dict(results[["csf", "method"]].drop_duplicates().itertuples(index=False))
    assert methods == {
        **{"msr": "confidnet", "confidnet": "confidnet", "dg_res": "deep_gamblers"},
        **{"ensemble_msr": "ensemble", "deep_gamblers_msr": "deep_gamblers", "tta_msr": "confidnet"},
        **{"ensemble_vim": "ensemble", "sirc_plus": "confidnet"},
    }
    compared = pd.read_csv(out / "comparisons.csv").query("metric == 'aurc' and domain == 'all'")
    assert set(compared["csf"]) == set(csfs) - {"msr"}  # paired, across networks
    # A learned confidence is a probability of being right, and not one of classes.
    assert "confidnet" not in set(results.query("metric == 'nll'")["csf"])
    assert "confidnet" in set(results.query("metric == 'silent_failure_rate'")["csf"])
    facts = json.loads((out / "dermoscopy" / "deep_gamblers" / "seed_0" / "training.json").read_text())
    assert facts["reward"] in (1.25, 1.75) and set(facts["rewards"]) == {"1.25", "1.75"}
    test = outputs.load(out / "dermoscopy" / "ensemble" / "seed_0" / "outputs" / "iid_test.npz")
    head = outputs.read_npz(out / "dermoscopy" / "ensemble" / "seed_0" / "head.npz")
    np.testing.assert_allclose(np.asarray(test.features) @ head["weight"] + head["bias"], test.logits, atol=1e-4)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    """Phantom images as files with a manifest, as a hospital would have them."""
    folder = tmp_path_factory.mktemp("hospital")
    counts = {"train": 48, "val": 24, "cal": 0, "iid_test": 24, "acquisition": 12, "manifestation": 12}
    images, columns = phantoms.generate("lung_ct", seed=1, size=32, counts=counts)
    table = pd.DataFrame({name: columns[name] for name in ("label", "split", "domain", "patient_id")})
    table.insert(0, "image_path", [f"{i:03d}.png" for i in range(len(table))])
    for name, image in zip(table["image_path"], images, strict=True):
        Image.fromarray(image[..., 0]).save(folder / name)
    table.to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def test_failures_with_costs(manifest, tmp_path, capsys):
    table = pd.read_csv(manifest, dtype=str)
    table["loss_weight"] = np.where(table["domain"] == table["domain"].iloc[0], "1", "2")
    weighted = manifest.with_name("weighted.csv")
    table.assign(sex=np.resize(["f", "m"], len(table))).to_csv(weighted, index=False)
    classes = sorted(set(table["label"]))
    costs = manifest.with_name("costs.csv")
    costs.write_text(f"true,{classes[0]},{classes[1]}\n{classes[0]},0,1\n{classes[1]},20,0\n")
    command = ["tiny", "--manifest", str(weighted), "--cost-matrix", str(costs), "--out", str(tmp_path / "run"), *OWN]
    assert benchmark.main(command) == 2
    assert "Give --max-loss-weight" in " ".join(capsys.readouterr().err.split())
    command += ["--max-loss-weight", "2", "--group-columns", "sex"]
    assert benchmark.main(command) == 0
    results = pd.read_csv(tmp_path / "run" / "results.csv")
    assert {"mean_cost", "aurc_cost", "augrc_cost", "cost_correlation"} <= set(results["metric"])
    guarantees = pd.read_csv(tmp_path / "run" / "guarantees.csv")
    assert guarantees.query("loss == 'cost'")["target"].max() == pytest.approx(0.1 * 40)
    assert set(pd.read_csv(tmp_path / "run" / "groups.csv")["column"]) >= {"sex", "label"}
    assert "in cost" in (tmp_path / "run" / "tables" / "aurc_cost.md").read_text()
    assert "costly" in (tmp_path / "run" / "tables" / "costs.md").read_text()
    costs.write_text(costs.read_text().replace("20", "30"))
    assert benchmark.main(command) == 2
    assert "what failures cost" in capsys.readouterr().err
    costs.write_text(costs.read_text().replace("30", "0").replace(",1", ",0"))
    assert benchmark.main([*command, "--out", str(tmp_path / "other")]) == 2
    assert "no failure costs anything" in " ".join(capsys.readouterr().err.split())


OWN = ["--epochs", "1", "--corruptions", "elastic", "--levels", "3", "--no-report-images"]


def test_the_order_of_the_manifest_changes_no_score(manifest, tmp_path):
    table = pd.read_csv(manifest, dtype=str)
    shuffled = manifest.with_name("shuffled.csv")
    table.sample(frac=1, random_state=0).to_csv(shuffled, index=False)
    shuffled.rename(manifest.parent / "manifest_shuffled.csv")
    results = []
    for name in ("manifest.csv", "manifest_shuffled.csv"):
        out = tmp_path / name
        where = ["--images-in", "disk"] if name == "manifest_shuffled.csv" else []  # which changes nothing either
        assert benchmark.main(["tiny", "--manifest", str(manifest.parent / name), "--out", str(out), *OWN, *where]) == 0
        results.append(pd.read_csv(out / "results.csv").drop(columns=["task", "training_set"]))
        assert "elastic" in (out / "tables" / "aurc.md").read_text()  # of one level, too
        page = (out / "report.html").read_text()
        assert "UklGR" not in page  # the first bytes of every WebP
        assert not [name for name in table["image_path"] if name in page]
    pd.testing.assert_frame_equal(results[0], results[1], check_exact=True)
    per_domain = results[0][results[0]["kind"] == "acquisition"]["domain"]
    assert len(set(per_domain)) >= 2  # in total and by domain


def test_other_images_than_the_run_was_begun_with_are_refused(manifest, tmp_path, capsys):
    table = pd.read_csv(manifest, dtype=str)
    other = manifest.with_name("other.csv")
    command = ["tiny", "--manifest", str(other), "--out", str(tmp_path / "run"), *OWN]
    table.to_csv(other, index=False)
    process = start(tmp_path / "run", *command[1:])
    stop_when(tmp_path / "run" / "other" / "images.parquet", process, signal.SIGKILL)
    table.drop(index=table.index[table["split"] == "train"][:1]).to_csv(other, index=False)
    assert benchmark.main(command) == 2
    assert "begun with" in capsys.readouterr().err
