"""The first experiments as a newcomer runs them, on a handful of images."""

import json

import pytest

from experiments import first_steps

CHARTS = {
    "hidden_shift": {"latent_space"},
    "corruption": {"response", "strip"},
    "confident_failures": {"failures"},
}


def test_all_studies_say_what_they_found_and_leave_their_charts(tmp_path, capsys, monkeypatch):
    # How charts become files is tested with the views.
    monkeypatch.setattr(
        first_steps.views, "save", lambda chart, path, params: path.write_text(json.dumps(chart.to_dict()))
    )
    tiny = ("--images", "96", "--size", "32", "--epochs", "1")
    assert first_steps.main(["all", "--out", str(tmp_path), *tiny]) == 0
    for study, charts in CHARTS.items():
        files = {path.name for path in (tmp_path / study).iterdir()}
        assert files >= {f"{chart}.{suffix}" for chart in charts for suffix in ("svg", "html")}
    said = capsys.readouterr().out
    # Half of the images of the mixed set are of the clinic that training never saw.
    assert "The secret: 50% of the images are of clinic C" in said
    assert "mcd_mi: silent failures" in said and "iid_test: " in said and "of 32 are failures" in said


@pytest.mark.parametrize("study", ["d", "shift"])
def test_an_unknown_study_is_named(study, tmp_path, capsys):
    assert first_steps.main([study, "--out", str(tmp_path / "out")]) == 2
    assert f"got {study}" in capsys.readouterr().err and not (tmp_path / "out").exists()
