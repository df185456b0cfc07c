"""The program that measures embeddings runs, and its sides embed the same."""

import re

import numpy as np

from experiments.speed import __main__ as speed
from experiments.speed import embedding


def test_embeddings_are_measured_with_their_quality(capsys):
    command = [
        "report",
        "--parts",
        "embedding",
        "--embedding.sizes",
        "60",
        "--embedding.features",
        "8",
        "--embedding.threads",
        "1",
    ]
    assert speed.main([*command, "--embedding.dimensions", "2"]) == 0
    out = capsys.readouterr().out
    assert "Embedding of 60 images of 8 features in 2-D" in out
    row = r"^\| ([^|]+) \| [\d.e-]+ \| [^|]+ \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$"
    rows = re.findall(row, out, re.MULTILINE)
    assert [name for name, *_ in rows] == list(embedding.sides(np.ones((60, 8)), 2, 1))
    assert float(rows[0][1]) == 1
    for _, _, trustworthiness, preservation in rows:
        assert float(trustworthiness) > 0.85 and float(preservation) > 0.5
