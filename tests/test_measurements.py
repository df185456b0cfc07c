"""The programs that measure run and print what they promise; what they measure is nobody's test."""

import re

import numpy as np
import pandas as pd
import pytest

from experiments import coverage, speed
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
    score, failure = speed.draw(500)
    ties = np.round(score, 1)
    for drawn in (score, ties):
        expected = float(metrics.aurc(drawn, failure))
        assert speed.loop_aurc(drawn, failure) == pytest.approx(expected, rel=1e-5)
        assert speed.numpy_aurc(drawn, failure) == pytest.approx(expected, rel=1e-5)


def test_speed_prints_its_tables(capsys):
    assert speed.main(["metrics", "--repeats", "1", "--resamples", "20", "--sizes", "500"]) == 0
    out = capsys.readouterr().out
    assert "One AURC of 100 000 images" in out and "Growth" in out and "Most memory" in out
    assert speed.main(["nothing"]) == 2
    assert "must be one of metrics" in capsys.readouterr().err
