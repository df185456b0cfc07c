"""The figures of a run for a paper, from what a run leaves."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from experiments.figures.results import figures, main

CSFS = ("msr", "pe", "knn")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    sets = (("iid_test", "iid"), ("scanner", "acquisition"))
    summary = [
        {"task": "skin", "test_set": name, "shift": name, "kind": kind, "level": 0, "domain": "all", "csf": csf,
         "metric": "aurc", "value": 0.1 * (1 + (place + i) % 3), "seeds": 1, "best": place == 0, "tied": place == 0,
         "few_failures": False}
        for i, (name, kind) in enumerate(sets) for place, csf in enumerate(CSFS)
    ]  # fmt: skip
    pd.DataFrame(summary).to_parquet(folder / "summary.parquet")
    ranks = [
        {"metric": "aurc", "variant": "task x shift", "csf": csf, "mean": 1.0 + i, "low": 1.0, "high": 3.0,
         "p_best": 0.3, "blocks": 2, "critical_difference": 1.0}
        for i, csf in enumerate(CSFS)
    ]  # fmt: skip
    pd.DataFrame(ranks).to_parquet(folder / "ranks_overall.parquet")
    for name in ("per_set", "groups", "transfer"):
        pd.DataFrame().to_parquet(folder / f"ranks_{name}.parquet")
    curves = [
        {"csf": csf, "test_set": name, "kind": kind, "coverage": share, "selective_risk": 0.2 * share, "low": 0.0,
         "high": 0.4 * share}
        for csf in CSFS for name, kind in sets for share in (0.5, 1.0)
    ]  # fmt: skip
    (folder / "skin" / "report").mkdir(parents=True)
    pd.DataFrame(curves).to_parquet(folder / "skin" / "report" / "curves.parquet")
    return folder


def test_a_run_gives_its_table_ranks_and_curves_of_the_named_scores(run, tmp_path, capsys):
    main(run, out=tmp_path / "new" / "figures", csfs=("pe", "msr"), format="svg", dark=True)
    written = {path.name: path.read_text() for path in (tmp_path / "new" / "figures").iterdir()}
    assert set(written) == {"table_aurc.svg", "ranks_aurc.svg", "risk_coverage_skin.svg"}
    assert len(capsys.readouterr().out.splitlines()) == 3
    for name in ("table_aurc.svg", "risk_coverage_skin.svg"):
        assert ">pe<" in written[name] and ">knn<" not in written[name]
    assert ">knn<" in written["ranks_aurc.svg"]


def test_so_many_of_the_best_are_shown(run):
    charts = dict(figures(run, metric="aurc", csfs=(), best=1))
    # Mean ranks are 1.5, 2.5 and 2.
    assert "selective risk against coverage of msr on iid_test, scanner." in charts["risk_coverage_skin"].description


def test_what_cannot_be_drawn_is_named(run, tmp_path):
    with pytest.raises(ValueError, match="not both"):
        list(figures(run, metric="aurc", csfs=("msr",), best=2))
    with pytest.raises(ValueError, match="no finished run"):
        list(figures(tmp_path, metric="aurc", csfs=(), best=None))
    (tmp_path / "skin" / "report").mkdir(parents=True)
    for table in run.glob("*.parquet"):
        shutil.copy(table, tmp_path)
    with pytest.raises(ValueError, match=r"skin/report/curves.parquet is missing"):
        list(figures(tmp_path, metric="aurc", csfs=(), best=None))
