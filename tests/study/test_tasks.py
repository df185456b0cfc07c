import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sfjax.study import PRESETS, Config, ManifestConfig, check, tasks
from sfjax.study.outlook import operations, outlook

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


def test_a_prevalence_is_a_test_set_of_iid_images_in_other_shares():
    config = dataclasses.replace(TINY, phantom_test=40, prevalences=("malignant=0.2",))
    with_prior = tasks.load_task(config, "lung_ct")
    name = "prevalence_malignant_0.2"
    found = next(one for one in tasks.test_sets(config, with_prior) if one.name == name)
    assert found.kind == "prevalence" and found.split == name
    images, table = with_prior.subset(name)
    iid_images, iid = with_prior.subset("iid_test")
    assert set(table["sha256"]) < set(iid["sha256"])
    assert (table["label"] == "malignant").mean() == pytest.approx(0.2, abs=0.5 / len(table))
    assert len(with_prior.rows("iid_test")) == 40 and name not in with_prior.splits
    place = iid["sha256"].tolist().index(table["sha256"][0])
    np.testing.assert_array_equal(images[0], iid_images[place])


@pytest.fixture
def prepared(tmp_path):
    """As `experiments.prepare` leaves it: more columns, no splits."""
    folder = tmp_path / "dermoscopy"
    folder.mkdir()
    rng, rows = np.random.default_rng(0), []
    for i in range(60):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        label, dx = ("malignant", "mel") if i % 2 else ("benign", "nv" if i % 3 else "bkl")
        source, domain = ("ham10000", "vidir_modern") if i < 40 else ("isic_2020", "barcelona")
        rows.append((f"{i}.png", label, domain, dx, f"p{i}", source, dx))
    columns = ["image_path", "label", "domain", "subclass", "patient_id", "source", "dx"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "manifest.csv", index=False)
    return tmp_path


def of(prepared, *names, **settings):
    return dataclasses.replace(TINY, prepared=prepared, training_sets=names, **settings)


def test_a_training_set_holds_out_its_domain_and_is_corrupted_by_what_it_names(prepared):
    config = of(prepared, "dermoscopy_but_barcelona", "dermoscopy_all")
    assert tasks.task_names(config) == config.training_sets
    held_out = tasks.load_task(config, "dermoscopy_but_barcelona")
    table = held_out.table
    assert set(table["split"][table["domain"] == "barcelona"]) == {"acq_barcelona"}
    assert {one.kind for one in tasks.test_sets(config, held_out)} == {"iid", "acquisition"}
    # What is none of the study's is done to every set whose user asks for it.
    more = dataclasses.replace(config, corruptions=("brightness", "jpeg", "motion_blur+hue"))
    assert tasks.corruptions_of(more, "dermoscopy_but_barcelona") == ("jpeg", "motion_blur+hue")
    everything = tasks.load_task(config, "dermoscopy_all")
    sets = tasks.test_sets(config, everything)
    assert {one.shift for one in sets if one.kind == "corruption"} == {"brightness", "gaussian_noise"}


def test_a_training_set_is_of_its_pool_and_its_label(prepared):
    config = of(prepared, "dermoscopy_ham10000_subclass", "dermoscopy_ham10000_multiclass")
    subclass = tasks.load_task(config, "dermoscopy_ham10000_subclass")
    assert set(subclass.table["source"]) == {"ham10000"} and len(subclass.table) == 40
    held = subclass.table[subclass.table["subclass"] == "bkl"]
    assert set(held["shift_kind"]) == {"manifestation"} and subclass.classes == ("benign", "malignant")
    assert tasks.load_task(config, "dermoscopy_ham10000_multiclass").classes == ("bkl", "mel", "nv")


def test_rows_of_which_the_held_out_value_is_not_known_are_no_part_of_a_training_set(prepared):
    path = prepared / "dermoscopy" / "manifest.csv"
    table = pd.read_csv(path)
    table.loc[:4, "domain"] = ""
    table.to_csv(path, index=False)
    dataset = tasks.load_task(of(prepared, "dermoscopy_but_barcelona"), "dermoscopy_but_barcelona")
    assert len(dataset.table) == 55 and not (dataset.table["domain"] == "").any()
    assert "55 of 60 rows are of domain=*." in dataset.notes


def test_all_tables_are_checked_before_anything_is_trained(prepared):
    tasks.check_tables(of(prepared, "dermoscopy_all", "dermoscopy_but_barcelona"))
    with pytest.raises(ValueError, match="chest_xray are not prepared"):
        tasks.check_tables(of(prepared, "dermoscopy_all", "chest_xray_all"))
    with pytest.raises(ValueError, match=r"but_mskcc holds out domain=mskcc, which is 0 of the 60 images"):
        tasks.check_tables(of(prepared, "dermoscopy_but_mskcc"))
    with pytest.raises(ValueError, match="A prior speaks of classes of the set"):
        tasks.check_tables(dataclasses.replace(TINY, tasks=("lung_ct", "chest_xray"), prevalences=("malignant=0.1",)))
    path = prepared / "dermoscopy" / "manifest.csv"
    pd.read_csv(path).assign(split="train").to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"has splits, those of one training set.*--manifest"):
        tasks.check_tables(of(prepared, "dermoscopy_all"))


def test_what_is_not_prepared_is_named_with_the_command_that_prepares_it(prepared):
    config = of(prepared, "chest_xray_all")
    with pytest.raises(ValueError, match=r"no chest_xray/manifest.csv in .*experiments.prepare chest_xray --raw"):
        tasks.load_task(config, "chest_xray_all")
    with pytest.raises(ValueError, match="--prepared names no folder"):
        tasks.load_task(dataclasses.replace(config, prepared=None), "chest_xray_all")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training_sets": ("dermoscopy_none",)}, "training_sets must be among dermoscopy_all.*got dermoscopy_none"),
        ({"training_sets": ("dermoscopy_all",), "data": ManifestConfig(Path("m.csv"))}, "Give one of them"),
        ({"training_sets": ("histopathology_wilds",), "published": True}, "no settings for histopathology"),
        ({"prevalences": ("malignant",)}, "A prior is CLASS=SHARE"),
        ({"prevalences": ("a=0.02", "a=0.020")}, "prevalences must not name one thing twice"),
        ({"data": ManifestConfig(hold_out=("domain=x",))}, "phantoms have their own shifted sets"),
        ({"prepared": Path("prepared")}, "Name some with --training-sets"),
    ],
)
def test_training_sets_and_prevalences_that_cannot_be_are_refused(settings, message):
    plain = Config(network=Config().network)
    with pytest.raises(ValueError, match=message):
        check(dataclasses.replace(plain, **settings))


def test_the_outlook_counts_what_is_prepared_and_says_what_is_not(prepared):
    config = of(prepared, "dermoscopy_but_barcelona", "chest_xray_all", methods=("confidnet", "ensemble"), seeds=(0, 1))
    derm, chest = outlook(config)
    assert (derm.images, derm.images_are_known, derm.study_name) == (60, True, "dermoscopyallbutbarcelona")
    assert derm.test_sets == ("iid_test", "acq_barcelona")
    assert derm.networks == 2 * (1 + config.recipe.members)
    assert not chest.images_are_known and chest.images == 223_648 + 112_120 + 377_110 and chest.hours > derm.hours > 0
    doubled = outlook(dataclasses.replace(config, seeds=(0, 1, 2, 3)))[0]
    assert doubled.hours == pytest.approx(2 * derm.hours)


def test_operations_of_a_network_are_those_of_its_layers():
    # torchvision counts 2.83e9 products for DenseNet-121 at 224 px, those with padding too, which XLA leaves out.
    before, after = operations("densenet121", 224, 3, 1000)
    assert 0.85 * 2 * 2.83e9 < before + after < 2 * 2.83e9 and before < 0.15 * after
