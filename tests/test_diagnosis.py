"""What the diagnosis says of worlds whose trouble is known."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from sfjax.metrics import auroc_f, by_patient, silent_failure_rate
from sfjax.outputs import Outputs
from sfjax.report.diagnosis import COLUMNS, _Images, _of_ranking, _of_source, diagnose
from sfjax.report.separation import domain_auroc, neighbors_agree
from sfjax.study.evaluation import learn

SCORERS = learn(("msr", "mls"), None, None)


def world(n: int, seed: int, *, apart: float, moved: float = 0.0) -> Outputs:
    """Two classes whose features are so far apart, moved along an axis that tells nothing of the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    features = rng.normal(size=(n, 6))
    features[:, 0] += apart * (2 * labels - 1)
    features[:, 1] += moved
    logits = np.stack([-features[:, 0], features[:, 0]], axis=1)
    return Outputs(
        logits=jnp.asarray(logits, jnp.float32),
        labels=jnp.asarray(labels, jnp.int32),
        features=jnp.asarray(features, jnp.float32),
    )


def about(n: int, kind: str, **columns) -> pd.DataFrame:
    return pd.DataFrame({"kind": [kind] * n} | columns)


SIZES = {"iid_test": 300, "same": 200, "moved": 200}
TABLES = {name: about(n, "iid" if name == "iid_test" else "acquisition") for name, n in SIZES.items()}


def worlds(apart: float) -> dict[str, Outputs]:
    moved = {"iid_test": 0.0, "same": 0.0, "moved": 8.0}
    return {name: world(n, i, apart=apart, moved=moved[name]) for i, (name, n) in enumerate(SIZES.items())}


@pytest.fixture(scope="module")
def overlapping() -> pd.DataFrame:
    found = diagnose(worlds(0.2), TABLES, SCORERS, validation=world(400, 9, apart=0.2))
    return found.set_index(["sign", "csf", "test_set"])


def test_separated_classes_are_told_from_overlapping_ones(overlapping):
    separated = diagnose(worlds(4.0), TABLES, SCORERS).set_index(["sign", "csf", "test_set"])
    for name in SIZES:
        apart, mixed = (table.loc[("Class separation", "", name)] for table in (separated, overlapping))
        assert apart["value"] > 0.99 and mixed["value"] < 0.7
        assert apart["low"] > mixed["high"]
        assert name == "iid_test" or "where they were" in apart["text"]
    said = [table.loc[("Class separation", "", "iid_test"), "text"] for table in (separated, overlapping)]
    assert "lie apart" in said[0] and "may not tell the classes apart" in said[1]


def test_images_amid_another_class_are_seen_whatever_the_shares_of_classes():
    """Nine of ten are of one class, which always guessing it would get right; and they lie where the other one is."""
    source = world(300, 0, apart=4.0)
    target = world(300, 1, apart=4.0)
    benign = np.flatnonzero(np.asarray(target.labels) == 0)[:90]
    rows = np.concatenate([benign, np.flatnonzero(np.asarray(target.labels) == 1)[:10]])
    features = np.asarray(target.features)[rows]
    features[:60, 0] *= -1
    moved = Outputs(logits=target.logits[rows], labels=target.labels[rows], features=jnp.asarray(features))
    found = diagnose(
        {"iid_test": source, "x": moved}, {"iid_test": about(300, "iid"), "x": about(100, "named")}, SCORERS
    )
    row = found.set_index(["sign", "test_set"]).loc[("Class separation", "x")].squeeze()
    assert row["value"] == pytest.approx(0.4, abs=0.03) and "60 percentage points more lie amid" in row["text"]


def test_shifted_domains_are_told_from_equal_ones(overlapping):
    same, moved = (overlapping.loc[("Domain separability", "", name)] for name in ("same", "moved"))
    assert same["low"] <= 0.5 <= same["high"] and "may be indistinguishable" in same["text"]
    assert moved["value"] > 0.99 and moved["low"] > 0.9 and "lie apart" in moved["text"]


def test_a_domain_that_is_none_is_seldom_seen():
    """Of sets drawn alike, patients of four images each, the intervals hold 0.5 as often as they say."""
    rng = np.random.default_rng(3)
    owners, held = np.repeat(np.arange(40), 4), []
    for seed in range(60):
        components = rng.normal(size=(40, 5))[owners] + 0.3 * rng.normal(size=(160, 5))
        found = domain_auroc(components, owners % 2 == 1, owners, seed=seed)
        held.append(found.low <= 0.5 <= found.high)
    # Below 50 of 60 with chance 0.002 if it were 95 %; images taken for independent ones hold it in about half.
    assert sum(held) >= 50


def test_a_corruption_is_told_apart_by_images_and_not_by_their_twins():
    """Twins are on one side of a fold, and none is its twin's neighbor."""
    source = world(120, 0, apart=0.0)
    same = {"iid_test": source, "blur-1": source}
    tables = {"iid_test": about(120, "iid"), "blur-1": about(120, "corruption", level=1)}
    found = diagnose(same, tables, SCORERS).set_index(["sign", "csf", "test_set"])
    twins = found.loc[("Class separation", "", "blur-1")]
    assert twins["value"] == found.loc[("Class separation", "", "iid_test"), "value"]  # each image's own twin left out
    assert found.loc[("Domain separability", "", "blur-1"), "value"] < 0.55


def test_neighbors_vote_without_their_own_patient(rng):
    source, labels, owners = rng.normal(size=(80, 3)), rng.integers(0, 3, 80), rng.integers(0, 30, 80)
    agree = neighbors_agree(source, labels, owners, source, labels, owners, k=5)
    expected = []
    for point, label, owner in zip(source, labels, owners, strict=True):
        others = np.flatnonzero(owners != owner)
        near = labels[others[np.argsort(((source[others] - point) ** 2).sum(axis=1))[:5]]]
        counts = np.bincount(near, minlength=3)
        best = next(one for one in near if counts[one] == counts.max())
        expected.append(best == label)
    assert agree.tolist() == expected


def test_failures_and_csfs_are_those_of_the_metrics(overlapping):
    outputs = worlds(0.2)
    for name, output in outputs.items():
        probability = np.asarray(jnp.exp(output.logits - jnp.logaddexp(*output.logits.T)[:, None]).max(axis=1))
        failure = np.asarray(output.logits.argmax(axis=1) != output.labels)
        silent = overlapping.loc[("Silent failures", "msr", name)]
        assert silent["value"] == pytest.approx(float(silent_failure_rate(probability, failure)))
        assert silent["low"] < silent["value"] < silent["high"]
        ranked = overlapping.loc[("AUROC_f", "msr", name)]
        assert ranked["value"] == pytest.approx(float(auroc_f(probability, failure)), abs=1e-6)
        largest, held_against = (
            np.asarray(output.logits).max(axis=1),
            np.asarray(world(400, 9, apart=0.2).logits).max(1),
        )
        accepted = (failure & (largest > np.quantile(held_against, 0.2, method="lower"))).mean()
        assert overlapping.loc[("Accepted failures", "mls", name), "value"] == pytest.approx(accepted)
    assert ("Silent failures", "mls", "same") not in overlapping.index


def test_the_summary_of_several_networks_stands_before_one(overlapping):
    summary = pd.DataFrame(
        [("same", "all", "msr", "auroc_f", 0.91, 0.86, 0.95)],
        columns=["test_set", "domain", "csf", "metric", "value", "low", "high"],
    )
    found = diagnose(worlds(0.2), TABLES, SCORERS, summary=summary).set_index(["sign", "csf", "test_set"])
    assert found.loc[("AUROC_f", "msr", "same"), ["value", "low", "high"]].tolist() == [0.91, 0.86, 0.95]
    assert "most failures" in found.loc[("AUROC_f", "msr", "same"), "text"]
    other = [table.loc[("AUROC_f", "msr", "moved"), "value"] for table in (found, overlapping)]
    assert other[0] == other[1]
    assert "no validation outputs" in found.loc[("Accepted failures", "mls", "same"), "text"]


def test_what_is_of_one_network_and_what_is_a_mean_say_so():
    outputs = {"iid_test": world(40, 0, apart=0.2)}
    rates = [("auroc_f", 0.91, 0.86, 0.95), ("silent_failure_rate", 0.043, 0.02, 0.08)]
    summary = pd.DataFrame(
        [("iid_test", "all", "msr", *row, 2) for row in rates],
        columns=["test_set", "domain", "csf", "metric", "value", "low", "high", "seeds"],
    )
    texts = []
    for networks in (2, 1):
        given = summary.assign(seeds=networks)
        found = diagnose(outputs, {"iid_test": about(40, "iid")}, SCORERS, summary=given)
        texts.append(found.set_index(["sign", "csf"])["text"])
    silent, ranking = (texts[0][sign, "msr"] for sign in ("Silent failures", "AUROC_f"))
    assert "the network shown; the mean over 2 networks is 4.3%" in silent
    assert "chance 0.91, in the mean over 2 networks" in ranking and "patients have a failure of the network" in ranking
    assert not texts[1].str.contains("network").any()


@pytest.mark.parametrize("n, words", [(2000, "hardly"), (120, "perhaps")])
def test_words_are_as_sure_as_the_interval(n, words):
    """Of an AUROC of 0.64 the interval lies below 0.7 with many images, and reaches above it with few."""
    failure = np.arange(n) % 2 == 1
    even = norm.ppf((np.arange(n) // 2 + 0.5) / (n // 2))
    score = np.where(failure, even, even + 0.5)
    text = _of_ranking(by_patient.auroc(score, ~failure, np.arange(n)), failure, n)
    assert ("The score hardly tells" in text) is (words == "hardly") and ("Perhaps" in text) is (words == "perhaps")


@pytest.mark.parametrize("right, words", [(0.52, "may be chance"), (0.65, "overlap widely"), (0.8, "touch")])
def test_classes_that_are_told_apart_in_part_are_not_called_mixed(right, words):
    n = 1000
    labels, owners = np.arange(n) % 2, np.arange(n)
    images = _Images("iid_test", "iid", np.zeros((n, 1)), labels, owners)
    assert words in _of_source(images, np.arange(n) < right * n)


def test_few_images_and_no_failure_are_said_and_not_hidden():
    one = Outputs(
        logits=jnp.asarray([[9.0, 0.0]] * 3, jnp.float32),
        labels=jnp.asarray([0, 0, -1], jnp.int32),
        features=jnp.ones((3, 2), jnp.float32),
    )
    tables = {"iid_test": about(3, "iid", patient_id="a"), "other": about(3, "acquisition", patient_id="b")}
    found = diagnose({"iid_test": one, "other": one}, tables, SCORERS)
    assert tuple(found.columns) == COLUMNS and found["text"].str.len().gt(20).all()
    rows = found.set_index(["sign", "csf", "test_set"])
    assert np.isnan(rows.loc[("Domain separability", "", "other"), "value"])
    assert "1 images of classes that the network does not know" in rows.loc[("Class separation", "", "other"), "text"]
    with pytest.raises(ValueError, match="there are 0 of those"):
        diagnose({"other": one}, {"other": tables["other"]}, SCORERS)
