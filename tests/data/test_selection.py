"""Which rows an expression means."""

import numpy as np
import pandas as pd
import pytest

from sfjax.data.selection import held_out_set, known, matches, parse_hold_out

TABLE = pd.DataFrame(
    {
        "dx": ["nv", "bkl", "akiec", "", None],
        "domain": ["vienna", "vienna", "barcelona", "vienna", "barcelona"],
        "batch set": [1.0, 2.0, 1.0, np.nan, 2.0],  # whole numbers that a gap has made floats
    }
)


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("dx=nv", [0]),
        ("dx = bkl | akiec", [1, 2]),
        ("dx!=nv", [1, 2]),  # what is not known is not another one
        ("dx=bkl|akiec & domain=vienna", [1]),
        ("domain!=vienna&dx!=nv", [2]),
        ("batch set=1", [0, 2]),
        ("dx=none", []),
        ("dx=*", [0, 1, 2]),
        ("batch set=* & domain=vienna", [0, 1]),
        ("dx!=*", []),
    ],
)
def test_matching_rows(expression, rows):
    assert np.flatnonzero(matches(TABLE, expression)).tolist() == rows


def test_rows_without_a_value_are_not_known():
    assert known(TABLE, "dx!=nv & domain=vienna").tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("expression", ["dx", "=nv", "dx=", "dx=a|", "dx=a &", "& dx=a"])
def test_what_is_no_condition_is_refused(expression):
    with pytest.raises(ValueError, match=r"A condition is COLUMN=VALUE.*got"):
        matches(TABLE, expression)


def test_a_column_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ValueError, match=r"'diagnosis'; there are dx, domain, batch set"):
        matches(TABLE, "diagnosis=nv")


@pytest.mark.parametrize(
    ("entry", "name", "kind", "where"),
    [
        ("domain=Hospital Clínic, B", "acq_Hospital_Clínic_B", "acquisition", "domain=Hospital Clínic, B"),
        ("subclass=a|b", "manif_a_b", "manifestation", "subclass=a|b"),
        ("subclass!=a", "manif_not_a", "manifestation", "subclass!=a"),
        ("manifestation:dx=bkl", "manif_bkl", "manifestation", "dx=bkl"),
        ("acquisition:new scanner:kernel=B30 & year=2020", "acq_new_scanner", "acquisition", "kernel=B30 & year=2020"),
        ("acquisition:a:time=10:30", "acq_a", "acquisition", "time=10:30"),
    ],
)
def test_hold_outs(entry, name, kind, where):
    found = parse_hold_out(entry)
    assert found[1:] == (kind, where) and held_out_set([found]) == (name, kind)
    assert parse_hold_out(found.text) == found


@pytest.mark.parametrize("entry", ["domain", "dx=bkl", "corruption:dx=bkl", "acquisition:", "acquisition:a:", "=b"])
def test_what_is_no_hold_out_is_refused(entry):
    with pytest.raises(ValueError, match=r"(A hold-out is domain=NAME|A condition is).*got"):
        parse_hold_out(entry)


def test_two_hold_outs_of_one_kind_share_a_set():
    both = held_out_set([parse_hold_out("domain=a"), parse_hold_out("acquisition:kernel=k")])
    assert both == ("acq_a_k", "acquisition")
