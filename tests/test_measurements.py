"""The programs that measure run and print what they promise; what they measure is nobody's test."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from experiments import coverage, full_size
from experiments.speed import __main__ as speed
from experiments.speed import csf as of_csf
from experiments.speed import metrics as of_metrics
from sfjax import metrics


def test_coverage_prints_a_row_a_cell_and_writes_its_table(tmp_path, capsys):
    command = ["--sizes", "60", "--errors", "0.3", "--simulations", "20", "--resamples", "200"]
    assert coverage.main([*command, "--out", str(tmp_path / "coverage.csv")]) == 0
    out = capsys.readouterr().out
    assert "aurc, bca" in out and re.search(r"\| 60 +\| 0.3 +\| 18 ", out)
    table = pd.read_csv(tmp_path / "coverage.csv")
    assert len(table) == len(coverage.METRICS) * len(coverage.METHODS)
    assert table["covered"].between(0.6, 1).all()  # 20 data sets tell no more


def test_the_truth_of_the_simulation_is_the_mean_of_many_data_sets():
    true = coverage.truth(0.2, 1.5, points=20_000)
    rng = np.random.default_rng(0)
    failure = rng.random(200_000) < 0.2
    score = rng.standard_normal(200_000) - 1.5 * failure
    for name, value in true.items():
        assert float(getattr(metrics, name)(score, failure)) == pytest.approx(value, rel=0.02), name


def test_the_plain_ways_that_speed_compares_with_agree(capsys):
    score, failure = of_metrics.draw(500)
    ties = np.round(score, 1)
    for drawn in (score, ties):
        expected = float(metrics.aurc(drawn, failure))
        assert of_metrics.loop_aurc(drawn, failure) == pytest.approx(expected, rel=1e-5)
        assert of_metrics.numpy_aurc(drawn, failure) == pytest.approx(expected, rel=1e-5)


def test_speed_prints_its_tables(capsys):
    assert speed.main(["metrics", "--repeats", "1", "--resamples", "20", "--sizes", "500"]) == 0
    out = capsys.readouterr().out
    assert "One AURC of 100 000 images" in out and "Growth" in out and "Most memory" in out
    assert speed.main(["nothing"]) == 2
    assert "must be one of metrics" in capsys.readouterr().err


def test_confidence_scores_are_measured(capsys):
    command = ["csf", "--images", "300", "--train", "120", "--test", "50", "--features", "8", "--classes", "3"]
    command += ["--many-classes", "20", "--k", "4", "--names", "knn", "sirc", "temp_msr", "--repeats", "1"]
    assert speed.main(command) == 0
    out = capsys.readouterr().out
    for name in (*of_csf.PLAIN, "knn", "sirc", "temp_msr"):
        assert f"\n| {name} |" in out, name
    assert "mahalanobis, 3 classes" in out and "mahalanobis, 20 classes" in out and "Floor: " in out
    # Exact on either side: the same neighbors, and the same covariance within classes.
    apart = [float(found) for found in re.findall(r"Largest difference of a distance: (\S+?)\.? ", out)]
    assert len(apart) == 3 and max(apart) < 1e-3


def test_corruptions_are_measured_beside_the_same_operations(capsys):
    pytest.importorskip("cv2", reason="install opencv-python-headless to compare corruptions with it")
    names = ("contrast", "vignetting", "saturation", "gaussian_blur", "defocus", "jpeg", "motion_blur")
    command = ["shifts", "--names", *names, "--images", "2", "--image-size", "32", "--repeats", "1"]
    assert speed.main(command) == 0
    rows = re.findall(r"^\| (\w+) \| [\d.]+ \| .*\| (random|[\d.]+) \|$", capsys.readouterr().out, re.MULTILINE)
    assert [name for name, _ in rows] == list(names)
    # Grey levels of 255 by which both sides' images differ: JPEG rounds pixels, and disks differ at their edge.
    assert all(apart == "random" or float(apart) < 2.5 for _, apart in rows), rows


def test_inference_and_training_are_measured():
    small = ("small_cnn", "4", "16")
    inference = ["inference", "--forward", *small, "--monte-carlo", *small, "--memory", *small, "--samples", "3"]
    inference += ["--passes-at-once", "2", "--repeats", "1"]
    training = ["training", "--networks", *small, "--checkpoint", "False", "--repeats", "1"]
    # In processes of their own: to see what compilation takes, they clear what JAX has compiled.
    said = []
    for command in (inference, training):
        done = subprocess.run([sys.executable, "-m", "experiments.speed", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    for title in (
        "Forward, small_cnn, 4 x 16",
        "Monte Carlo dropout, small_cnn",
        "Memory of Monte Carlo",
        "XLA's count",
    ):
        assert title in said[0]
    # All is drawn behind the prefix: 3 passes of a network whose suffix is a small share cost little more than one.
    counted = re.search(r"\| small_cnn, 16 px \| [^|]+ \| ([\d.]+) % \| ([\d.]+) % \| [^|]+ \| ([\d.]+) \|", said[0])
    assert counted, said[0]
    prefix, suffix, ratio = map(float, counted.groups())
    assert prefix + suffix == pytest.approx(100, abs=0.2)
    assert ratio == pytest.approx((prefix + 3 * suffix) / 100, rel=0.01)
    assert "Training step, small_cnn, 4 x 16" in said[1]


def test_input_from_disk_is_measured(capsys):
    command = [
        "input",
        "--images",
        "12",
        "--formats",
        "40",
        "30",
        "--size",
        "24",
        "--batch-size",
        "5",
        "--repeats",
        "1",
    ]
    assert speed.main([*command, "--workers", "0", "2", "--processes"]) == 0
    out = capsys.readouterr().out
    assert "12 JPEGs of 40 x 30" in out and "prefetch, 2 threads" in out and "plain Pillow" in out


def test_first_steps_at_full_size_give_each_steps_loss(monkeypatch):
    published = full_size.PUBLISHED["lung_ct"]
    monkeypatch.setitem(
        full_size.__dict__, "PUBLISHED", {"lung_ct": published._replace(network="small_cnn", image_size=16)}
    )
    options = full_size.Options(tasks=("lung_ct",), steps=20, batch_size=4, learning_rate=1e-2)
    losses, seconds = zip(*full_size.losses_and_seconds("lung_ct", options), strict=True)
    assert len(losses) == 20 and min(losses) > 0 and min(seconds) > 0  # a cross-entropy each, and no running mean
