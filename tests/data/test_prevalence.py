"""Sets resampled to other shares of the classes."""

import numpy as np
import pytest

from sfjax.data.prevalence import complete, parse_prior, resample_to_prior

LABELS = np.array(["a"] * 60 + ["b"] * 30 + ["c"] * 10)
SHA = [f"{i:08x}" for i in range(100)]


@pytest.mark.parametrize("prior", [{"a": 0.1}, {"a": 0.2, "b": 0.3}, {"c": 0.5}, {"a": 0.1, "b": 0.1, "c": 0.8}])
def test_the_shares_are_those_asked_for_and_no_larger_set_has_them(prior):
    rows = resample_to_prior(LABELS, prior, sha256=SHA, seed=0)
    assert len(set(rows)) == len(rows)
    counts = {name: int((LABELS[rows] == name).sum()) for name in "abc"}
    shares = complete(prior, LABELS)
    for name, share in shares.items():
        assert abs(counts[name] - share * len(rows)) <= 1
    available = {"a": 60, "b": 30, "c": 10}
    assert any(counts[name] == available[name] for name in "abc")


def test_classes_that_are_not_named_keep_their_proportion():
    assert complete({"c": 0.1}, LABELS) == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.1})


def test_the_draw_depends_on_content_and_seed_and_not_on_order():
    rows = resample_to_prior(LABELS, {"a": 0.1}, sha256=SHA, seed=0)
    order = np.random.default_rng(0).permutation(100)
    turned = resample_to_prior(LABELS[order], {"a": 0.1}, sha256=[SHA[i] for i in order], seed=0)
    assert sorted(order[turned]) == rows.tolist()
    assert resample_to_prior(LABELS, {"a": 0.1}, sha256=SHA, seed=1).tolist() != rows.tolist()


@pytest.mark.parametrize("text", ["a", "a=", "a=0", "a=1", "a=x", "=0.1", "a=0.1,a=0.2", "a=nan", ""])
def test_what_is_no_prior_is_refused(text):
    with pytest.raises(ValueError, match=r"A prior is CLASS=SHARE.*got"):
        parse_prior(text)


def test_a_class_may_have_an_equals_sign_in_its_name():
    assert dict(parse_prior("grade=3=0.25, b=0.5")) == {"grade=3": 0.25, "b": 0.5}


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"d": 0.1}, "classes of the set, a, b, c; got d"),
        ({"a": 0.7, "b": 0.6}, "add up to 1"),
        ({"a": 0.5, "b": 0.5}, "add up to 1, or to less where classes are left"),
        ({"a": 0.5, "b": 0.3, "c": 0.1}, "add up to 1"),
        ({"c": 0.0001}, r"no image is left of c \(10 images\)"),
    ],
)
def test_shares_that_cannot_be_are_refused(prior, message):
    with pytest.raises(ValueError, match=message):
        resample_to_prior(LABELS, prior, sha256=SHA, seed=0)
