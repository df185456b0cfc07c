import dataclasses

import numpy as np
import pytest

from sfjax.study import PRESETS, tasks

TINY = dataclasses.replace(PRESETS["tiny"].config, tasks=("lung_ct",), image_size=16, phantom_train=20, phantom_test=12)


@pytest.fixture(scope="module")
def dataset():
    return tasks.load_task(TINY, "lung_ct")


def test_test_sets_are_iid_shifted_and_every_level_of_every_corruption(dataset):
    sets = {one.name: one for one in tasks.test_sets(TINY, dataset)}
    assert sets["iid_test"].kind == "iid" and sets["brightness-5"].level == 5
    assert {one.kind for one in sets.values()} == {"iid", "corruption", "acquisition", "manifestation"}
    assert sum(one.kind == "corruption" for one in sets.values()) == 4
    assert {one.split for one in sets.values() if one.kind == "corruption"} == {"iid_test"}


def test_a_set_that_is_called_like_a_corruption_is_refused(dataset):
    renamed = dataset.table.replace({"split": {"acq_low_dose": "brightness-5"}})
    with pytest.raises(ValueError, match="names of corruptions"):
        tasks.test_sets(TINY, dataclasses.replace(dataset, table=renamed))


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_images_are_shown_in_color_whatever_their_channels(channels):
    images = np.random.default_rng(0).integers(0, 2**16, (2, 5, 4, channels)).astype(np.uint16)
    shown = tasks.displayable(images)
    assert shown.shape == (2, 5, 4, 3) and shown.dtype == np.uint8
    if channels == 3:
        np.testing.assert_allclose(shown / 255, images / (2**16 - 1), atol=1 / 255)
    if channels == 1:
        assert (shown[..., 0] == shown[..., 2]).all()
