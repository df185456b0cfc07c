"""The controlled experiments as their users run them: files, continuation, refusals."""

import json
from pathlib import Path

import pandas as pd
import pytest

from experiments import root_cause

CSFS = ("msr", "mcd_mi", "mahalanobis")
TINY = [
    *("--task", "dermoscopy", "--seeds", "0", "--steps", "2", "--images", "40", "--training-images", "96"),
    *("--image-size", "32", "--epochs", "1", "--num-samples", "3", "--resamples", "100", "--csfs", *CSFS),
]


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A finished run of two causes."""
    out = tmp_path_factory.mktemp("runs") / "root_cause"
    assert root_cause.main([*TINY, "--causes", "noise", "subclass_frequency", "--out", str(out)]) == 0
    return out


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_run_leaves_what_it_promises(finished):
    responses = pd.read_csv(finished / "responses.csv")
    pd.testing.assert_frame_equal(pd.read_parquet(finished / "responses.parquet"), responses, check_dtype=False)
    assert set(responses["cause"]) == {"noise", "subclass_frequency"} and set(responses["task"]) == {"dermoscopy"}
    # A row a cause, value of its dial, csf and metric.
    assert (
        len(responses) == 2 * 2 * len(CSFS) * 4 and not responses.duplicated(["cause", "dial", "csf", "metric"]).any()
    )
    undisturbed = responses[responses["dial"] == 0].set_index(["cause", "csf", "metric"])["value"]
    pd.testing.assert_series_equal(undisturbed["noise"], undisturbed["subclass_frequency"])
    assert (responses["n"] == 40).all() and set(responses["csf"]) == set(CSFS)
    causes = pd.read_csv(finished / "causes.csv")
    assert set(causes["verdict"]) <= {"sees", "misses", "unclear", "no failures"} and len(causes) == 2 * len(CSFS)
    text = (finished / "causes.md").read_text()
    assert "1 network a task (seeds 0)" in text and "The sensor's noise." in text and "mahalanobis†" in text
    spec = json.loads((finished / "figures" / "responses_causes_dermoscopy.json").read_text())
    assert len(spec["concat"]) == 2 * 4
    assert (finished / "figures" / "responses_causes_dermoscopy.svg").stat().st_size > 5000
    table = (finished / "figures" / "causes.svg").read_text()
    assert "1 network a task (seeds 0)" in table and table.count(">subclass_frequency 1<") == 1
    assert (finished / "figures" / "causes.json").exists()


def test_what_is_done_is_not_done_again_and_a_corruption_may_join(finished, capsys):
    before = times(finished / "dermoscopy")
    first = pd.read_csv(finished / "responses.csv").query("cause == 'noise'")
    command = [*TINY, "--causes", "noise", "--corruptions", "brightness", "--out", str(finished)]
    assert root_cause.main(command) == 0
    after = times(finished / "dermoscopy")
    new = {Path(path).name for path in set(after) - set(before)}
    assert {path: after[path] for path in before} == before and new == {"brightness-2.parquet"}
    responses = pd.read_csv(finished / "responses.csv")
    assert set(responses["cause"]) == {"noise", "brightness"}
    pd.testing.assert_frame_equal(responses.query("cause == 'noise'"), first)
    assert (finished / "figures" / "responses_corruptions_dermoscopy.svg").exists()
    assert "accuracy of msr" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--causes", "window"], "causes must be among all, border, color_cast"),
        (["--corruptions", "fog"], "A corruption must be one of"),
        (["--tasks", "derm"], "tasks must be among"),
        (["--steps", "1"], "steps must be at least 2"),
        (["--csfs", "nonsense"], "got nonsense"),
        (["--images", "3"], "phantom_test must be at least 10"),
    ],
)
def test_errors_are_sentences(options, words, tmp_path, capsys):
    assert root_cause.main([*TINY, *options, "--out", str(tmp_path / "run")]) == 2
    assert words in capsys.readouterr().err


def test_other_settings_are_refused_with_the_difference(finished, capsys):
    options = ["--epochs", "2", "--causes", "noise", "--out", str(finished)]
    assert root_cause.main([*TINY, *options]) == 2
    assert "recipe.epochs: 1 -> 2" in capsys.readouterr().err
