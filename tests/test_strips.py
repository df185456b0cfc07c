"""Which images are shown under corruption, and what is said of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax.data import dataset_from_arrays
from sfjax.outputs import Outputs
from sfjax.report import corrupted_images, strips_table
from sfjax.study import TestSet
from sfjax.study.evaluation import learn
from sfjax.views.corruption import check_strips

CLASSES = ("benign", "malignant")
LEVELS = (1, 3, 5)
CLEAN = TestSet("iid_test", "iid_test", "none", "iid")
SETS = [CLEAN, TestSet("other", "other", "other", "acquisition"),
        *(TestSet(f"{name}-{level}", "iid_test", name, "corruption", level)
          for name in ("noise", "blur") for level in LEVELS)]  # fmt: skip
SCORERS = learn(("msr", "mls"), None, None)
LABELS = np.arange(40) % 2


def said(margins: np.ndarray, labels: np.ndarray = LABELS) -> Outputs:
    """Outputs whose true class leads by these margins."""
    logits = np.zeros((len(labels), 2))
    logits[np.arange(len(labels)), labels] = margins
    return Outputs(logits=jnp.asarray(logits, jnp.float32), labels=jnp.asarray(labels, jnp.int32))


@pytest.fixture(scope="module")
def outputs() -> dict[str, Outputs]:
    """All are right, but rows 8 and 13 under blur, row 20 under noise; row 30 is wrong from the beginning."""
    found = {one.name: np.linspace(1, 2, 40) for one in SETS}
    for margins in found.values():
        margins[30] = -5.0
    found["blur-5"][[8, 13]] = -4.0, -1.0
    found["noise-5"][20] = -2.0
    return {name: said(margins) for name, margins in found.items()}


def draw(test_set: TestSet, rows: np.ndarray) -> np.ndarray:
    images = np.zeros((len(rows), 8, 8, 3), np.uint8)
    images[..., 0] = test_set.level * 50
    return images


def test_confident_failures_come_first_in_turn_over_the_classes(outputs):
    table = strips_table(outputs, SETS, CLASSES, SCORERS, draw, samples=4).table
    samples = table["sample"].drop_duplicates().tolist()
    # Row 8 of benign, 13 of malignant, then 20 of benign; the fourth is drawn from those that do not flip.
    assert samples[:3] == [8, 13, 20] and samples[3] not in samples[:3]
    assert table["corruption"].iloc[0] == "blur"  # the worst for the first of them
    again = strips_table(outputs, SETS, CLASSES, SCORERS, None, samples=4)
    assert again.table["sample"].drop_duplicates().tolist() == samples and again.images == {}
    alone = strips_table(outputs, SETS, CLASSES, SCORERS, None, samples=1).table
    assert alone["sample"].unique().tolist() == [8]


def test_strips_say_what_the_csfs_say_and_have_a_picture_each(outputs):
    strips = strips_table(outputs, SETS, CLASSES, SCORERS, draw, samples=3)
    table = check_strips(strips.table)
    assert len(table) == 3 * 2 * 4 * 2 and set(table["level"]) == {0, *LEVELS}
    row = table.query("sample == 8 and corruption == 'blur' and level == 5 and csf == 'msr'").iloc[0]
    softmax = np.asarray(jax.nn.softmax(outputs["blur-5"].logits[8]))
    assert (row["label"], row["predicted"], row["correct"], row["flip"]) == ("benign", "malignant", 0, 1)
    assert row["confidence"] == pytest.approx(softmax.max(), abs=1e-4)
    # A score without a probability: the share of clean images with no higher score.
    clean, noisy = (np.asarray(outputs[name].logits).max(axis=1) for name in ("iid_test", "noise-3"))
    row = table.query("sample == 13 and corruption == 'noise' and level == 3 and csf == 'mls'").iloc[0]
    assert row["confidence"] == (clean <= noisy[13]).mean() > 0
    # Clean pictures are shared by the corruptions.
    assert set(strips.images) == set(table["image"]) and len(strips.images) == 3 * (1 + 2 * 3)
    assert table.loc[table["level"] == 0, "image"].nunique() == 3


def test_outputs_of_other_images_are_refused(outputs):
    turned = outputs | {"blur-3": said(np.ones(40), LABELS[::-1])}
    with pytest.raises(ValueError, match=r"blur-3 must be of the images of iid_test.*40 labels differ"):
        strips_table(turned, SETS, CLASSES, SCORERS, draw)
    short = outputs | {"noise-1": said(np.ones(39), LABELS[:39])}
    with pytest.raises(ValueError, match="iid_test has 40 images and noise-1 39"):
        strips_table(short, SETS, CLASSES, SCORERS, draw)
    with pytest.raises(ValueError, match="corruptions of it"):
        strips_table(outputs, SETS[:2], CLASSES, SCORERS, draw)


def test_an_unknown_class_is_named(outputs):
    labels = LABELS.copy()
    labels[8] = -1
    unknown = {name: Outputs(logits=one.logits, labels=jnp.asarray(labels, jnp.int32)) for name, one in outputs.items()}
    table = strips_table(unknown, SETS, CLASSES, SCORERS, None, samples=40).table
    assert table.loc[table["sample"] == 8, "label"].unique().tolist() == ["(unknown)"]
    assert (table.loc[table["sample"] == 8, "correct"] == 0).all()


def test_images_are_drawn_as_the_network_saw_them():
    images = np.random.default_rng(0).integers(0, 255, (24, 4, 4, 3)).astype(np.uint8)
    columns = {
        "label": ["benign", "malignant"] * 12,
        "split": np.repeat(["train", "val", "cal", "iid_test"], 6).tolist(),
    }
    dataset = dataset_from_arrays("dermoscopy", images, columns, seed=0)
    seen = []

    def transform(test_set: TestSet):
        def darker(images, ids):
            seen.extend(np.asarray(ids).tolist())
            return images / (1 + test_set.level)

        return darker

    rows = np.array([4, 1])
    pixels, table = dataset.subset("iid_test")
    drawn = corrupted_images(dataset, transform)
    np.testing.assert_array_equal(drawn(CLEAN, rows), pixels[rows])
    assert seen == []
    half = drawn(TestSet("noise-1", "iid_test", "noise", "corruption", 1), rows)
    np.testing.assert_allclose(half, pixels[rows] / 2, atol=0.51)
    assert seen == table["image_id"].iloc[rows].tolist()
