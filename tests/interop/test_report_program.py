"""The report program on what other programs leave: one file, the benchmark's tables, and text that stays text."""

import base64
import contextlib
import gzip
import io
import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from foreign_files import network, write_first_generation
from PIL import Image

from experiments import report
from sfjax.interop import read
from sfjax.report import Scored, only_csfs, score

HOSTILE = "<img src=x onerror=alert(1)>.png"
NAMED = {"mrn": "90210{}", "patient_name": "Doe {}", "filename": "doe{}.png", "letter": "ann@{}.org"}
"""Columns that name patients, though each has two values only."""
STUDIES = {"iid_study": "${data.dataset}", "in_class_study": "dermoscopyallbarcelona"}


@pytest.fixture(scope="module", autouse=True)
def one_core():
    """Of so few images threads make nothing faster: they wait for each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 1)
        yield


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Path:
    """An experiment of FD-Shifts with images, one of them with a name that is code where text becomes HTML."""
    folder = tmp_path_factory.mktemp("foreign") / "ms_dermoscopyall"
    said = network((30, 40, 30))
    write_first_generation(folder, said, STUDIES)
    (folder / "data").mkdir()
    for place in range(3):
        rows = np.flatnonzero(said.place == place)
        names = [HOSTILE if row == 30 else f"{row}.png" for row in rows]
        for name in names:
            Image.new("RGB", (8, 8), (200, 10, 10)).save(folder / "data" / name)
        columns = {
            "filepath": [f"data/{name}" for name in names],
            "attribution": "<b>isic</b>",
            "target": said.labels[rows],
            "scanner": [f"scanner {i // 2 % 2}" for i in range(len(rows))],
            **{column: [text.format(i % 2) for i in range(len(rows))] for column, text in NAMED.items()},
        }
        pd.DataFrame(columns).to_csv(folder / "test_results" / f"attributions{place}.csv")
    return folder


class Made(NamedTuple):
    """The page that the program writes, what it prints, and the tables behind."""

    page: str
    printed: str
    scored: Scored


@pytest.fixture(scope="module")
def made(experiment) -> Made:
    found = []

    def recorded(*arguments, **options):
        found.append(score(*arguments, **options))
        return found[-1]

    options = ["--resamples", "50", "--csfs", "msr", "energy", "--file-names", "--metrics", "auroc_f"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(report.report, "score", recorded)
        patch.setattr(report, "cache_folder", lambda name: experiment.parent / "caches" / name)
        assert report.main([str(experiment), *options]) == 0
    page = (experiment / "report.html").read_text(encoding="utf-8")
    return Made(page, printed.getvalue(), found[0])


def task_of(page: str) -> dict:
    block = re.search(r'id="task-0">([^<]*)<', page)
    assert block is not None
    return json.loads(gzip.decompress(base64.b64decode(block[1])))


def test_the_report_of_another_program_is_one_file_with_images(made, experiment):
    page, printed, _ = made
    task = task_of(page)
    assert task["csfs"] == ["msr", "energy"] and [one["test_set"] for one in task["sets"]] == ["iid_test", "barcelona"]
    assert page.count('":"UklGR') == 70  # the beginning of every WebP, each image once
    assert {path.name for path in experiment.iterdir()} == {"hydra", "test_results", "data", "report.html"}
    # Embeddings are kept among the user's caches: the folder is another program's.
    assert len(list((experiment.parent / "caches" / "embeddings").glob("embedding_*.npy"))) == 2
    # The table of areas is on standard output, as the benchmark prints it.
    assert "AURC x 1000" in printed and "of one network" in printed and "over seeds" not in printed
    assert "barcelona" in printed and "report.html" in printed


def test_a_file_name_stays_text(made):
    page = made.page
    assert HOSTILE not in page and "<img src=x" not in page and "<b>isic" not in page
    assert f"data/{HOSTILE}" in task_of(page)["points"]["file_name"]["levels"]


def test_columns_that_name_somebody_reach_the_page_only_if_asked_for(made, experiment, capsys):
    text = json.dumps(task_of(made.page))
    assert "scanner 1" in text and f"were left out: {', '.join(NAMED)}." in " ".join(made.scored.report.notes)
    assert not [value for value in NAMED.values() if value.format(0) in text + made.page]
    assert str(experiment) not in made.page + text
    options = ["--resamples", "50", "--csfs", "msr", "energy", "--metrics", "auroc_f", "--attributes", "mrn"]
    out = experiment.parent / "asked.html"
    assert report.main([str(experiment), *options, "--no-images", "--out", str(out)]) == 0
    text = json.dumps(task_of(out.read_text(encoding="utf-8")))
    assert "902100" in text and "scanner 1" not in text and "Doe" not in text
    # What is in no report is not warned of.
    assert "images of patients" in made.printed and "images of patients" not in capsys.readouterr().out
    assert report.main([str(experiment), *options[:-1], "mrm"]) == 2
    assert "has the column mrm" in capsys.readouterr().err


def test_every_table_of_the_report_is_made(made):
    """But strips: the shifted set is no corruption."""
    shown = made.scored.report
    for name in ("points", "curves", "diagnosis", "bins", "histogram", "confusion", "operating"):
        assert len(getattr(shown, name)), name
    assert "u" in shown.points and not len(shown.strips)
    fewer = only_csfs(shown, ["energy"])
    assert set(fewer.curves["csf"]) == {"energy"} and set(fewer.diagnosis["csf"]) == {"", "energy"}
    assert "correct_msr" not in fewer.points and "correct_energy" in fewer.points


def test_the_areas_are_those_of_the_outputs(experiment, made):
    """Against the selective risks of NumPy, tie by tie: there are none here."""
    said = read(experiment).outputs["barcelona"]["cross_entropy"]
    logits = np.asarray(said.logits, np.float64)
    failure = logits.argmax(1) != np.asarray(said.labels)
    order = np.argsort(-np.log(np.exp(logits).sum(1)))
    risks = np.cumsum(failure[order]) / np.arange(1, len(order) + 1)
    expected = (np.r_[risks[0], risks[:-1]] + risks).sum() / 2 / len(order)
    row = made.scored.summary.query(
        "test_set == 'barcelona' and csf == 'energy' and metric == 'aurc' and domain == 'all'"
    )
    assert row["value"].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--csfs", "mcd_msr"], "mcd_msr: This scoring function needs Monte Carlo dropout passes"),
        (["--task", "skin"], "only runs of the benchmark have tasks"),
        (["--out", "nowhere/report.html"], "--out is nowhere/report.html"),
        (["--size", "1"], "size must be at least 4"),
        (["--data", "nowhere"], "nowhere is no folder"),
    ],
)
def test_errors_of_the_program_are_sentences(experiment, options, words, capsys):
    assert report.main([str(experiment), *options]) == 2
    assert words in capsys.readouterr().err


def test_what_is_no_experiment_is_refused(tmp_path, capsys):
    assert report.main([str(tmp_path)]) == 2
    assert "is nothing that can be read" in capsys.readouterr().err


def test_nine_images_a_set_are_enough_for_a_report(tmp_path):
    """Nothing that takes more patients keeps the rest from being seen."""
    rng, labels, rows = np.random.default_rng(0), np.arange(9) % 2, []
    for name in ("iid_test", "other"):
        scores, features = 3 * rng.normal(size=(9, 2)), rng.normal(size=(9, 3))
        np.savez(tmp_path / f"{name}.npz", logits=scores, labels=labels, features=features)
        rows += [{"test_set": name, "label": "ab"[label], "scanner": "A"} for label in labels]
    pd.DataFrame(rows).to_csv(tmp_path / "manifest.csv", index=False)
    options = ["--resamples", "20", "--csfs", "msr", "--metrics", "auroc_f"]
    assert report.main([str(tmp_path), *options]) == 0
    task = task_of((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert task["points"]["row"] == [*range(9)] * 2 and not task["slices"]
    assert any("No slice was tried" in note for note in task["notes"])
