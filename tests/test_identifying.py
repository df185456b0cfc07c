"""Which columns name images or patients: by what they are called, and by what stands in them."""

import numpy as np
import pandas as pd
import pytest

from sfjax.data.identifying import named_for_identity, values_identify
from sfjax.report import slice_attributes


@pytest.mark.parametrize(
    ("column", "names"),
    [
        *((one, True) for one in ("lesion_id", "PatientID", "StudyInstanceUID", "MRN", "git_blob", "manifest_sha256")),
        *((one, True) for one in ("fileName", "DateOfBirth", "dob", "exam date", "e-mail", "Home.Address", "patient")),
        *((one, False) for one in ("sex", "age", "localization", "scanner", "site", "dx_type", "patient_age")),
        *((one, False) for one in ("wide", "filament", "candidate", "pathology", "hashimoto", "domain", "subclass")),
    ],
)
def test_whole_words_of_a_name_say_so(column, names):
    assert named_for_identity(column) == names


@pytest.mark.parametrize(
    ("values", "identify"),
    [
        (["/data/ann", "b"], True),
        (["C:\\scans", "b"], True),
        (["scans/ann/left", "b"], True),
        (["ann.dcm", ""], True),
        (["ann@clinic.org", ""], True),
        (["file://ann", ""], True),
        (["2021-03-04", ""], True),
        (["n/a", "left/right", "0.5", "1.5 T", "St. Gallen", "nv", "<b>x"], False),
    ],
)
def test_values_that_look_like_paths_dates_or_addresses(values, identify):
    column = pd.Series(values * 10)
    assert values_identify(column, np.arange(len(column)), pd.Series("iid_test", index=column.index)) == identify


def test_values_of_one_patient_each():
    """Also where most have none, and where the same patients come again in another set."""
    n = 40
    sets = pd.Series(np.repeat(["iid_test", "blurred"], n))
    rare = pd.Series([f"case {i}" if i < 9 else "" for i in range(n)] * 2)
    assert values_identify(rare, np.arange(2 * n), sets)
    assert values_identify(rare, np.tile(np.arange(n), 2), sets)
    sites = pd.Series([f"site {i % 5}" if i < 30 else f"other {i}" for i in range(n - 6)] + ["site 1"] * 6)
    assert not values_identify(sites, np.arange(n), sets[:n])
    # Of fewer than ten patients it is not asked: values of seven images are not many.
    assert not values_identify(rare[:7], np.arange(7), sets[:7])


def test_columns_that_are_stated_are_attributes_whatever_they_are_called():
    table = pd.DataFrame({"label": "a", "kind": "iid", "mrn": np.tile(["1", "2"], 20), "site": "x", "split_hint": "y"})
    found, left_out = slice_attributes({"iid_test": table})
    assert list(found["iid_test"]) == ["test_set", "label", "site"] and left_out == ["mrn", "split_hint"]
    found, left_out = slice_attributes({"iid_test": table}, columns=["mrn"])
    assert list(found["iid_test"]) == ["test_set", "label", "mrn"] and not left_out
    with pytest.raises(ValueError, match="has the column mnr, which is to tell images apart; there are label, kind"):
        slice_attributes({"iid_test": table}, columns=["mnr"])
    many = table.loc[np.repeat(0, 60)].assign(mrn=[f"n{i}" for i in range(60)])
    with pytest.raises(ValueError, match="The column mrn has 60 values; images are told apart by 50 at most"):
        slice_attributes({"iid_test": many}, columns=["mrn"])
