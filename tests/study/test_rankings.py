import numpy as np
import pandas as pd
import pytest

from sfjax.study import overviews
from sfjax.study.rankings import rankings

CSFS = ("msr", "pe", "mls")


def summary(values: dict[tuple[str, str], list[float]]) -> pd.DataFrame:
    """One AURC a CSF on each (task, test set)."""
    rows = []
    for (task, test_set), row in values.items():
        kind = "iid" if test_set == "iid_test" else "acquisition"
        about = {"task": task, "test_set": test_set, "kind": kind, "level": 0, "domain": "all", "metric": "aurc"}
        rows += [{**about, "csf": csf, "value": value} for csf, value in zip(CSFS, row, strict=True)]
    return pd.DataFrame(rows)


def resamples(table: pd.DataFrame, noise: float) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    found: dict[str, dict[str, np.ndarray]] = {}
    for (task, test_set), rows in table.groupby(["task", "test_set"], sort=False):
        values = rows["value"].to_numpy()[:, None] + noise * rng.standard_normal((len(rows), 200))
        found.setdefault(str(task), {})[f"{test_set}.aurc"] = values
    return found


VALUES = {
    ("a", "iid_test"): [0.1, 0.2, 0.3],
    ("a", "acq_x"): [0.1, 0.2, 0.3],
    ("b", "iid_test"): [0.3, 0.2, 0.1],
    ("b", "acq_x"): [0.1, 0.2, 0.3],
}


@pytest.fixture(scope="module")
def found():
    table = summary(VALUES)
    return rankings(table, resamples(table, 1e-3), CSFS, ("aurc",))


def test_mean_ranks_by_hand(found):
    by_set = found.overall.query("variant == 'task x shift'").set_index("csf")
    assert by_set["mean"].tolist() == [1.5, 2.0, 2.5] and set(by_set["blocks"]) == {4}
    # By task: a ranks them 1, 2, 3; in b their mean ranks are 2, 2, 2, a tie.
    by_task = found.overall.query("variant == 'task'").set_index("csf")
    assert by_task["mean"].tolist() == [1.5, 2.0, 2.5] and set(by_task["blocks"]) == {2}
    assert (by_task["critical_difference"] > by_set["critical_difference"]).all()
    assert len(found.groups.query("variant == 'task'")) == 1  # two blocks tell nothing apart


def test_ranks_on_a_test_set_and_the_chance_of_being_best(found):
    rows = found.per_set.query("task == 'b' and test_set == 'iid_test'").set_index("csf")
    assert rows["rank"].tolist() == [3, 2, 1] and rows["p_best"].tolist() == [0, 0, 1]


def test_tau_says_whether_the_iid_ranking_holds(found):
    tau = found.transfer.set_index("task")["tau"]
    assert tau["a"] == 1 and tau["b"] == -1
    assert set(found.transfer["test_set"]) == {"acq_x"}


def test_noise_makes_the_ranks_uncertain():
    table = summary(VALUES)
    noisy = rankings(table, resamples(table, 1.0), CSFS, ("aurc",))
    first = noisy.per_set.query("task == 'a' and test_set == 'iid_test' and csf == 'msr'").iloc[0]
    assert first["low"] == 1 and first["high"] == 3 and 0.2 < first["p_best"] < 0.6
    wide = noisy.overall["high"] - noisy.overall["low"]
    assert (wide > 0.5).all()


def test_one_csf_has_no_rank():
    table = summary(VALUES).query("csf == 'msr'")
    found = rankings(table, {}, ("msr",), ("aurc",))
    assert not len(found.per_set) and "two scores or more" in overviews.ranking_tables(found)


def test_one_block_gives_no_critical_difference():
    table = summary({("a", "iid_test"): [0.1, 0.2, 0.3]})
    found = rankings(table, resamples(table, 1e-3), CSFS, ("aurc",))
    assert not len(found.overall) and len(found.per_set) == 3 and not len(found.transfer)
    assert "| a" in overviews.ranking_tables(found)


def test_the_text_names_blocks_groups_and_taus(found):
    text = overviews.ranking_tables(found)
    assert "Blocks: task x shift (4)" in text and "Blocks: task (2)" in text
    assert "{msr, pe, mls}" in text and "-1.00 [" in text
