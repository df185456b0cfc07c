"""Controlled experiments on phantoms: a dial changes its own cause, image by image, and nothing else."""

import functools

import numpy as np
import pytest

from sfjax.phantoms import CAUSES, COUNTS, PHANTOMS, draw_under, generate

SIZE, COUNT = 32, 36
EVERY = pytest.mark.parametrize(("task", "cause"), [(task, cause) for task in CAUSES for cause in CAUSES[task]])
EVERY_TASK = pytest.mark.parametrize("task", CAUSES)


@functools.cache
def drawn(task: str, cause: str, share: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images at a share of the way from the usual to the far end of a dial."""
    chosen = CAUSES[task][cause]
    dial = chosen.usual + share * (chosen.far - chosen.usual)
    return draw_under(task, cause, dial, seed=0, size=SIZE, count=COUNT)


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each pair of images, in levels of 255."""
    return np.abs(one.astype(float) - other.astype(float)).mean((1, 2, 3))


@EVERY_TASK
def test_undisturbed_they_are_the_images_of_the_data_set(task):
    whole, columns = generate(task, seed=0, size=SIZE, counts=dict.fromkeys(COUNTS, 0) | {"iid_test": COUNT})
    for cause in CAUSES[task]:
        images, found = drawn(task, cause, 0.0)
        np.testing.assert_array_equal(images, whole)
        assert list(found) == list(columns)
        for column, values in columns.items():
            np.testing.assert_array_equal(found[column], values)
    # So does the program that disturbs images, where it disturbs none: up to rounding to one of 255 levels.
    barely, _ = draw_under(task, "field_of_view", 1.0 + 1e-6, seed=0, size=SIZE, count=COUNT)
    assert np.abs(barely.astype(int) - whole.astype(int)).max() <= 1
    assert (barely != whole).mean() < 0.01


@EVERY
def test_a_dial_changes_one_cause_and_no_other_column(task, cause):
    chosen, laws = CAUSES[task][cause], PHANTOMS[task].factors
    (before, usual), (after, far) = drawn(task, cause, 0.0), drawn(task, cause, 1.0)
    changed = {column for column in usual if (usual[column] != far[column]).any()}
    if chosen.operation == "add":
        assert changed == {f"factor_{factor}" for factor in chosen.factors}
        for factor, sign in chosen.factors.items():
            expected = np.clip(usual[f"factor_{factor}"] + sign * chosen.far, laws[factor].low, laws[factor].high)
            np.testing.assert_allclose(far[f"factor_{factor}"], expected, atol=1e-6)
    elif chosen.operation == "magnify":
        assert changed == set()
    else:
        class_factors = {f"factor_{factor}" for factor, law in laws.items() if law.kind == "class"}
        assert "subclass" in changed and changed <= class_factors | {"subclass"}
    other = usual["subclass"] != far["subclass"] if chosen.operation == "rare subclasses" else np.ones(COUNT, bool)
    assert (distance(before, after)[other] > 0.1).all(), "an image stayed as it was"
    np.testing.assert_array_equal(before[~other], after[~other])


@EVERY
def test_the_further_the_dial_the_further_the_images(task, cause):
    distances = [distance(drawn(task, cause, share)[0], drawn(task, cause, 0.0)[0]) for share in (1 / 3, 2 / 3, 1.0)]
    means = [one.mean() for one in distances]
    assert 0 < means[0] < means[1] < means[2]


@EVERY_TASK
def test_rare_subclasses_come_patient_by_patient_and_stay(task):
    phantom = PHANTOMS[task]
    rare = {subclass.name: subclass.label for subclass in phantom.subclasses if subclass.share == 0}
    seen = []
    for share in (0.0, 0.5, 1.0):
        _, columns = drawn(task, "subclass_frequency", share)
        is_rare = np.isin(columns["subclass"], list(rare))
        assert all(rare[name] == label for name, label in zip(columns["subclass"], columns["label"]) if name in rare)
        for patient in np.unique(columns["patient_id"]):
            assert len(set(is_rare[columns["patient_id"] == patient])) == 1
        seen.append(is_rare)
    assert not seen[0].any()
    assert not (seen[1] & ~seen[2]).any(), "who is rare at some share is so at every larger one"
    could = np.isin(columns["label"], list(rare.values()))
    np.testing.assert_array_equal(seen[2], could)
    # Within four standard errors of one half of at least 12 patients.
    assert 0 < seen[1][could].mean() < 1 and abs(seen[1][could].mean() - 0.5) < 4 * 0.5 / np.sqrt(12)


@EVERY_TASK
def test_magnified_twice_the_middle_half_fills_the_image(task):
    usual, magnified = drawn(task, "field_of_view", 0.0)[0], drawn(task, "field_of_view", 1.0)[0]
    quarter = SIZE // 4
    middle = usual[:, quarter:-quarter, quarter:-quarter].astype(float)
    pooled = magnified.reshape(COUNT, SIZE // 2, 2, SIZE // 2, 2, -1).mean((2, 4))
    alike = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(middle, pooled, strict=True)]
    shifted = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(middle, np.roll(pooled, 4, 1))]
    # A lesion that fills the middle leaves little to be alike in: medians.
    assert np.median(alike) > 0.85 and np.median(alike) > np.median(shifted) + 0.1


def test_causes_do_what_they_are_called():
    warm, usual = drawn("dermoscopy", "color_cast", 1.0)[0], drawn("dermoscopy", "color_cast", 0.0)[0]
    red_to_blue = [image[..., 0].mean() / image[..., 2].mean() for image in (usual.astype(float), warm.astype(float))]
    assert red_to_blue[1] > 2 * red_to_blue[0]
    for task in CAUSES:
        rough = [np.abs(np.diff(drawn(task, "noise", share)[0].astype(float), axis=2)).mean() for share in (0.0, 1.0)]
        assert rough[1] > 1.5 * rough[0]
    soft, sharp = (
        drawn("chest_xray", "border", 1.0)[0].astype(float),
        drawn("chest_xray", "border", 0.0)[0].astype(float),
    )
    assert np.abs(np.diff(soft, axis=1)).mean() < np.abs(np.diff(sharp, axis=1)).mean()
    assert drawn("lung_ct", "window", 1.0)[0].mean() < 0.7 * drawn("lung_ct", "window", 0.0)[0].mean()
    assert drawn("chest_xray", "exposure", 1.0)[0].mean() > 1.2 * drawn("chest_xray", "exposure", 0.0)[0].mean()


@EVERY_TASK
def test_the_far_end_lies_far_beyond_what_training_saw(task):
    phantom = PHANTOMS[task]
    assert set(CAUSES[task]) >= {"border", "noise", "subclass_frequency", "field_of_view"}
    for cause in CAUSES[task].values():
        assert cause.description.endswith(".") and cause.unit and cause.dials(3)[0] == cause.usual
        for factor, sign in cause.factors.items():
            law = phantom.factors[factor]
            seen = law.center[:, :-1] if law.kind == "acquisition" else law.center
            moved = np.clip(law.center + sign * cause.far, law.low, law.high)
            if law.kind == "acquisition":
                assert np.abs(moved - seen.mean()).min() > 4 * law.spread, factor


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "ultrasound"}, "no phantom 'ultrasound'"),
        ({"cause": "color_cast"}, "lung_ct has no cause 'color_cast'.*window"),
        ({"dial": 0.4}, "from 0 to 0.3; got 0.4"),
        ({"dial": -0.1}, "got -0.1"),
        ({"count": 0}, "one above it"),
    ],
)
def test_wrong_requests_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        draw_under(**({"name": "lung_ct", "cause": "noise", "dial": 0.1, "seed": 0, "size": SIZE, "count": 4} | change))


def test_a_dial_has_two_values_or_more():
    assert CAUSES["lung_ct"]["field_of_view"].dials(3) == (1.0, 1.5, 2.0)
    with pytest.raises(ValueError, match="got 1"):
        CAUSES["lung_ct"]["noise"].dials(1)
