"""Which corruptions a run may name."""

import dataclasses

import pytest

from sfjax.shifts import SHIFTS, STUDY_CORRUPTIONS
from sfjax.study import PRESETS, Config, check


def test_by_default_a_run_has_the_studys_corruptions():
    assert Config().corruptions == STUDY_CORRUPTIONS == ("brightness", "motion_blur", "elastic", "gaussian_noise")
    assert PRESETS["tiny"].config.corruptions == ("brightness", "gaussian_noise")
    assert len(SHIFTS) > 2 * len(STUDY_CORRUPTIONS)


@pytest.mark.parametrize("names", [("gamma", "jpeg"), ("motion_blur+gaussian_noise",), ("hue",)])
def test_every_corruption_and_chain_is_allowed(names):
    check(Config(tasks=("dermoscopy",), corruptions=names))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("fog",), "'fog'"),
        (("elastic+fog",), "'fog'"),
        (("jpeg", "jpeg"), "twice"),
        (("hue",), "hue needs images with 3 channels, which chest_xray have not"),
    ],
)
def test_others_are_refused(names, words):
    config = dataclasses.replace(Config(), tasks=("dermoscopy", "chest_xray"), corruptions=names)
    with pytest.raises(ValueError, match=words):
        check(config)
