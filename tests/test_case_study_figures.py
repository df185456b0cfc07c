"""The figures and numbers of the case study, on a made-up run of four sets."""

import numpy as np
import pandas as pd
import pytest
import vl_convert
from scipy.stats import binomtest

from experiments.figures.case_numbers import called, told_apart
from experiments.figures.case_run import IID, STATISTICS, UNSEEN, Case, image_statistics, read_case
from experiments.figures.case_study import confident_chart, latent_panels, risk_coverage, statistics_chart
from sfjax.csf import CSFS
from sfjax.outputs import Outputs
from sfjax.study.evaluation import Scorers
from sfjax.views import lint

SETS = {IID: "iid_test", "scanned": "acq_shift", UNSEEN: "manif_shift"}
N = 24


@pytest.fixture(scope="module")
def case() -> Case:
    rng = np.random.default_rng(0)
    names = np.repeat(list(SETS), N)
    label = np.tile(["benign", "malignant"], len(names) // 2)
    images = pd.DataFrame(
        {
            "set": names,
            "test_set": [SETS[name] for name in names],
            "domain": np.where(names == "scanned", "scanned", "clinic"),
            "label": label,
            "subclass": np.where(label == "benign", "nv", np.where(names == UNSEEN, "akiec", "mel")),
            "owner": np.arange(len(names)),
            # Scanned images are more saturated, whatever else they are.
            **{name: rng.normal(5.0 * (name == "saturation") * (names == "scanned")) for name in STATISTICS},
        }
    )
    logits = rng.normal(size=(len(names), 2)).astype(np.float32)
    predicted = np.array(["benign", "malignant"])[logits.argmax(axis=1)]
    probability = 1 / (1 + np.exp(-np.abs(np.diff(logits)[:, 0])))
    verdicts = pd.DataFrame(
        {"seed": 0, "csf": "msr", "image": images.index, "predicted": predicted, "probability": probability,
         "wrong": (predicted != label).astype(int), "score": probability, "accepted": (probability > 0.6).astype(int)}
    )  # fmt: skip
    points = images[["test_set", "domain"]].assign(
        kind="iid", correct_msr=1 - verdicts["wrong"], confidence_msr=probability, u=rng.normal(size=len(names)), v=0.5
    )
    codes = (label == "malignant").astype(np.int32)
    places = {name: names == name for name in SETS}
    said = {name: Outputs.from_numpy(logits[here], codes[here]) for name, here in places.items()}
    outputs = {name: {"cross_entropy": one} for name, one in said.items()}
    nothing = pd.DataFrame()
    scorers = Scorers({"msr": CSFS["msr"]})
    return Case("skin", images, verdicts, {0: logits}, outputs, scorers, nothing, nothing, nothing, points, {}, 0)


def test_called_counts_what_is_called_a_class_with_its_exact_interval(case):
    said = case.images.assign(**{name: case.verdicts[name] for name in ("predicted", "probability", "accepted")})
    found = called(case, "benign")
    found = found[(found["set"] == UNSEEN) & (found["subclass"] == "akiec")].set_index("rule")
    own = said[(said["set"] == UNSEEN) & (said["subclass"] == "akiec")]
    benign = own["predicted"] == "benign"
    counts = {"any": benign, "> 0.8": benign & (own["probability"] > 0.8), "accepted": benign & (own["accepted"] == 1)}
    assert 0 < counts["accepted"].sum() < counts["any"].sum() < len(own)
    for rule, hits in counts.items():
        row = found.loc[rule]
        exact = binomtest(int(hits.sum()), len(own)).proportion_ci(method="exact")
        assert (row["count"], row["n"]) == (hits.sum(), len(own))
        np.testing.assert_allclose([row["low"], row["high"]], [exact.low, exact.high], atol=1e-9)
    failures = called(case, None)
    assert failures.loc[failures["rule"] == "any", "count"].sum() == case.verdicts["wrong"].sum()


def test_statistics_of_images_are_those_of_their_pixels():
    rgb = np.zeros((1, 16, 16, 3), np.uint8)
    rgb[:, 4:12, 4:12] = (200, 100, 0)
    (row,) = image_statistics(rgb).to_dict("records")
    luma = 0.299 * 200 + 0.587 * 100
    assert row["red"] == pytest.approx(50) and row["blue"] == 0 and row["brightness"] == pytest.approx(luma / 4)
    assert row["middle less corners"] == pytest.approx(luma) and row["black"] == 75
    assert row["saturation"] == 25
    assert row["contrast"] == pytest.approx(luma * np.sqrt(3) / 4)
    assert row["sharpness"] == pytest.approx(luma * 16 / (16 * 15))


def test_a_set_is_told_apart_by_what_differs(case):
    apart = told_apart(case)
    apart = apart[apart["of"] == "all"].pivot(index="statistic", columns="set", values="value").to_dict()
    assert max(apart["scanned"], key=apart["scanned"].__getitem__) == "saturation"
    assert apart["scanned"]["saturation"] > 0.95 and apart[UNSEEN]["saturation"] < 0.75


@pytest.mark.parametrize("draw", [
    lambda case: latent_panels(case, "msr"),
    lambda case: statistics_chart(told_apart(case)),
    risk_coverage,
    lambda case: confident_chart(called(case, "benign"), "msr", "benign"),
])  # fmt: skip
def test_figures_are_drawn(case, draw):
    chart = draw(case)
    spec = chart.to_dict()
    assert not lint.problems(spec)
    svg = vl_convert.vegalite_to_svg(spec)
    assert "scanned" in svg and "NaN" not in svg


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no finished run"):
        read_case(tmp_path)
