import numpy as np
import pandas as pd
import pytest

from sfjax.data.findings import Findings, ManifestError
from sfjax.data.splits import FRACTIONS, HELD_OUT_PATIENTS, assign_splits, patient_groups, shift_kind


def table(n: int, **columns) -> pd.DataFrame:
    """n images of distinct content; blank where not given."""
    blank = dict.fromkeys(("label", "split", "domain", "subclass", "patient_id", "shift_kind"), [""] * n)
    rows = pd.DataFrame({**blank, **columns}, dtype=object)
    return rows.assign(row=np.arange(2, n + 2), sha256=[f"{i:08x}" for i in range(n)])


def assign(rows: pd.DataFrame, *, seed: int = 0, hold_out=()) -> tuple[pd.DataFrame, Findings]:
    findings = Findings("m.csv")
    return assign_splits(rows, findings, seed=seed, hold_out=hold_out), findings


def test_drawn_splits_have_their_fractions_in_each_class():
    rows, _ = assign(table(300, label=["a"] * 200 + ["b"] * 100))
    for label, n in (("a", 200), ("b", 100)):
        counts = rows[rows["label"] == label]["split"].value_counts()
        for split, fraction in FRACTIONS.items():
            assert abs(counts[split] - fraction * n) <= 1
    assert set(rows["shift_kind"]) == {"iid"}


def test_four_patients_fill_four_sets():
    rows, _ = assign(table(4, label=["a"] * 4))
    assert sorted(rows["split"]) == ["cal", "iid_test", "train", "val"]


def test_patients_and_copies_stay_together():
    rng = np.random.default_rng(1)
    patients = [f"p{i}" for i in rng.integers(0, 40, 200)]
    rows = table(200, label=rng.choice(["a", "b"], 200).tolist(), patient_id=patients)
    rows.loc[:5, "patient_id"] = ""
    rows["sha256"] = [rows["sha256"][100 + i] if i < 5 else digest for i, digest in enumerate(rows["sha256"])]
    rows, _ = assign(rows)
    named = rows[rows["patient_id"] != ""]
    assert named.groupby("patient_id")["split"].nunique().max() == 1
    assert rows.groupby("sha256")["split"].nunique().max() == 1
    assert rows["split"].nunique() == 4


def test_draws_depend_on_seed_and_content_and_not_on_order_or_names():
    labels = ["a", "b"] * 60
    rows = table(120, label=labels, patient_id=[f"p{i // 2 if i % 3 else ''}" for i in range(120)])
    first, _ = assign(rows)
    shuffled = rows.sample(frac=1, random_state=3).reset_index(drop=True)
    again, _ = assign(shuffled.assign(patient_id=shuffled["patient_id"].str.upper()))
    assert again.sort_values("sha256")["split"].tolist() == first["split"].tolist()
    assert assign(rows, seed=1)[0]["split"].tolist() != first["split"].tolist()


def test_val_is_divided_by_patient_into_halves():
    n = 80
    given = ["train"] * 20 + ["val"] * 40 + ["iid_test"] * 20
    rows = table(n, label=["a", "b"] * 40, split=given, patient_id=[str(i // 4) for i in range(n)])
    divided, findings = assign(rows)
    assert (divided["split"][:20] == "train").all() and (divided["split"][60:] == "iid_test").all()
    assert divided["split"].value_counts()["cal"] == divided["split"].value_counts()["val"] == 20
    assert divided.groupby("patient_id")["split"].nunique().max() == 1
    assert findings.notes == ["No cal was given: 20 of 40 images of val are cal now."]


def test_given_cal_is_left_alone():
    given = ["train", "val", "val", "cal", "iid_test", "b"]
    assert assign(table(6, label=["a"] * 6, split=given))[0]["split"].tolist() == given


def test_hold_outs_of_drawn_splits():
    n = 60
    domain = ["x"] * 40 + ["scanner b"] * 20
    subclass = (["common"] * 9 + ["rare"]) * 6
    rows = table(n, label=["a", "b"] * 30, domain=domain, subclass=subclass)
    rows, findings = assign(rows, hold_out=["domain=scanner b", "subclass=rare"])
    counts = rows.groupby(["split", "shift_kind"]).size()
    assert counts["acq_scanner_b", "acquisition"] == 18
    assert counts["manif_rare", "manifestation"] == 4
    assert counts["acq_manif_scanner_b_rare", "acquisition+manifestation"] == 2
    assert (rows["shift_kind"] == "iid").sum() == 36
    assert not findings.notes and not findings.faults


def test_hold_outs_from_given_splits_keep_given_shifted_sets():
    given = ["train", "train", "iid_test", "hospital", "val", "cal"]
    rows = table(6, label=["a"] * 6, split=given, subclass=["r", "c", "r", "r", "c", "c"])
    rows, _ = assign(rows, hold_out=["subclass=r"])
    assert rows["split"].tolist() == ["manif_r", "train", "manif_r", "hospital", "val", "cal"]
    assert rows["shift_kind"].tolist() == ["manifestation", "iid", "manifestation", "named", "iid", "iid"]
    rows = table(6, label=["a"] * 6, split=given, domain=["r", "c", "r", "r", "c", "c"])
    rows, _ = assign(rows, hold_out=["domain=r"])
    assert rows["split"].tolist() == ["acq_r", "train", "acq_r", "hospital", "val", "cal"]


def test_other_images_of_held_out_patients_do_not_train():
    rows = table(6, label=["a"] * 6, domain=["x", "y", "x", "x", "x", "x"], patient_id=["p", "p", "p", "q", "", ""])
    given = ["train", "train", "iid_test", "train", "val", "cal"]
    divided, findings = assign(rows.assign(split=given), hold_out=["domain=y"])
    assert divided["split"].tolist() == [HELD_OUT_PATIENTS, "acq_y", "iid_test", "train", "val", "cal"]
    assert "1 further images of held-out patients" in findings.notes[0] and HELD_OUT_PATIENTS in findings.notes[0]
    drawn, _ = assign(rows, hold_out=["domain=y"])
    assert drawn["split"].tolist()[:3] == [HELD_OUT_PATIENTS, "acq_y", HELD_OUT_PATIENTS]
    assert drawn["shift_kind"].tolist()[:3] == ["named", "acquisition", "named"]


def test_hold_out_without_an_image_lists_what_there_is():
    _, findings = assign(table(3, label=["a"] * 3, domain=["x", "x", "y"]), hold_out=["domain=z", "subclass=z"])
    with pytest.raises(ManifestError) as error:
        findings.raise_faults()
    assert "domain=z; of domain there are x (2), y (1)" in str(error.value)
    assert "subclass=z; of subclass there are no values" in str(error.value)
    for entry in ("domain", "domain=", "patient=7"):
        with pytest.raises(ValueError, match=r"A (hold-out|condition) is .*got"):
            assign(table(1, label=["a"]), hold_out=[entry])


def test_kinds_of_sets():
    names = ["acq_manif_x", "acq", "manif_y", "b", "train", "iid_test"]
    kinds = ["acquisition+manifestation", "acquisition", "manifestation", "named", "iid", "iid"]
    assert [shift_kind(name) for name in names] == kinds
    rows = table(5, label=["a"] * 5, split=["train", "acq_b", "acq_b", "c", "c"])
    rows["shift_kind"] = ["named", "manifestation", "", "acquisition", "named"]
    given, findings = assign(rows)
    assert given["shift_kind"].tolist()[:3] == ["iid", "manifestation", "manifestation"]
    assert findings.faults[0].kind == "several shift_kinds in one set"
    assert findings.faults[0].where == "m.csv: c has acquisition, named"


def test_patient_groups_tell_all_patients_apart():
    codes = patient_groups(pd.DataFrame({"patient_id": ["a", "", "b", "a", "", "0"]}))
    assert codes.tolist() == [0, 1, 2, 0, 3, 4]


def test_hold_outs_by_any_column_make_sets_of_their_name_and_kind():
    rows = table(40, label=["a", "b"] * 20, domain=["x"] * 40).assign(kernel=["sharp"] * 30 + ["soft"] * 10)
    divided, findings = assign(rows, hold_out=["acquisition:new kernel:kernel=soft"])
    held = divided[divided["split"] == "acq_new_kernel"]
    assert len(held) == 10 and set(held["kernel"]) == {"soft"} and set(held["shift_kind"]) == {"acquisition"}
    assert not findings.faults


def test_rows_of_which_the_held_out_value_is_not_known_are_counted():
    rows = table(20, label=["a", "b"] * 10).assign(kernel=["sharp"] * 10 + ["soft"] * 7 + [""] * 3)
    _, findings = assign(rows, hold_out=["acquisition:kernel=soft"])
    assert findings.notes == ["Of 3 images it is not known whether kernel=soft holds: they are not held out."]


def test_two_hold_outs_of_one_name_are_refused():
    with pytest.raises(ValueError, match="acq_x would be made twice"):
        assign(table(4, label=["a"] * 4, domain=["x"] * 4), hold_out=["domain=x", "domain=x"])


@pytest.mark.parametrize(("column", "kind"), [("domain", "acquisition"), ("subclass", "manifestation"), ("domain", "")])
def test_a_given_shift_that_training_has_seen_is_refused(column, kind):
    given = ["train", "val", "cal", "iid_test", "acq_new", "acq_new"]
    rows = table(6, label=["a"] * 6, split=given, **{column: ["x", "x", "x", "y", "y", "x"]})
    rows["shift_kind"] = [""] * 4 + [kind] * 2
    _, findings = assign(rows)
    assert [fault.kind for fault in findings.faults] == ["shift leaks into training"]
    assert f"training has seen {column} x (1)" in findings.faults[0].where
    _, findings = assign(rows.assign(shift_kind=[""] * 4 + ["named"] * 2))
    assert not findings.faults
