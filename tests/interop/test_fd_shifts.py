"""Experiments of FD-Shifts: every convention of its files, and what is wrong with them."""

from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from foreign_files import (
    beside,
    network,
    write_arrays,
    write_as_the_study,
    write_config,
    write_first_generation,
    write_present_generation,
)
from scipy.special import expit, log_softmax, logsumexp, softmax

from sfjax.csf import CSFS
from sfjax.interop import read, recognize
from sfjax.outputs import Outputs

SIZES = (20, 30, 25)
STUDIES = {"iid_study": "${data.dataset}", "noise_study": [], "in_class_study": ["dermoscopyallbarcelona"]}
OF_PRESENT = {
    "iid_study": {"dataset": "dermoscopyall", "num_classes": 3},
    "noise_study": [],
    "in_class_study": [{"dataset": "dermoscopyallbarcelona", "num_classes": 3}],
    "new_class_study": [],
}


def only(experiment, name: str) -> Outputs:
    (said,) = experiment.outputs[name].values()
    return said


def test_logits_of_the_first_release(tmp_path):
    said = network(SIZES)
    write_first_generation(tmp_path / "run_1", said, STUDIES, passes=True)
    assert recognize(tmp_path / "run_1") == "fd_shifts"
    found = read(tmp_path / "run_1")
    assert [(one.name, one.kind) for one in found.test_sets] == [("iid_test", "iid"), ("barcelona", "acquisition")]
    for place, name in enumerate(("val", "iid_test", "barcelona")):
        rows, outputs = said.place == place, only(found, name)
        np.testing.assert_allclose(outputs.logits, said.logits[rows], rtol=1e-6)
        np.testing.assert_array_equal(outputs.labels, said.labels[rows])
        np.testing.assert_allclose(outputs.features, said.features[rows])
        # Passes are stored behind the classes.
        mean = softmax(said.passes[rows], axis=1).mean(2)
        np.testing.assert_allclose(CSFS["mcd_msr"].probability(outputs), mean.max(1), rtol=1e-5)
        np.testing.assert_array_equal(CSFS["mcd_msr"].predict(outputs), mean.argmax(1))
    assert found.methods == ("cross_entropy",) and found.name == "run_1"


def test_half_precision_and_nested_settings_of_the_present_one(tmp_path):
    said = network(SIZES)
    write_present_generation(tmp_path, said, OF_PRESENT)
    found = read(tmp_path)
    assert list(found.outputs) == ["train", "val", "iid_test", "barcelona"]
    half = said.logits.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(only(found, "iid_test").logits, half[said.place == 1])
    assert any("half precision" in note for note in found.notes)
    # The training images' logits are their features through the last layer.
    np.testing.assert_allclose(only(found, "train").logits, said.logits[::2], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.heads["cross_entropy"].weight, said.weight.T, rtol=1e-6)


def test_softmax_is_kept_as_log_probabilities(tmp_path):
    said = network(SIZES)
    write_as_the_study(tmp_path, said, STUDIES)
    outputs = only(read(tmp_path), "iid_test")
    assert outputs.logits_are == "log_probabilities"
    np.testing.assert_allclose(outputs.logits, log_softmax(said.logits[said.place == 1], axis=1), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="needs true logits"):
        CSFS["energy"].score(outputs)


def test_names_and_numbers_of_sets(tmp_path):
    """Validation first, then the studies in their order; a corruption's two levels belong together."""
    noise = 15 * 5 * 2
    sizes = (4, noise, 6, 6, 5, 4)
    said = network(sizes)
    same = np.flatnonzero(said.place == 3)
    said.labels[same] = said.labels[said.place == 2]
    studies = {
        "new_class_study": ["svhn"],
        "in_class_study": ["dermoscopyallcorrbrhigh", "dermoscopyallcorrbrhighhigh", "dermoscopyallham10000subsmall"],
        "noise_study": "dermoscopyallnoise",
        "iid_study": "${data.dataset}",
    }
    write_first_generation(tmp_path, said, studies, val_tuning=False)
    found = read(tmp_path)
    sets = {one.name: one for one in found.test_sets}
    assert list(sets) == ["iid_test", *(f"noise-{k}" for k in range(1, 6)), "corrbrhigh", "corrbrhighhigh",
                          "ham10000subsmall", "svhn"]  # fmt: skip
    assert "val" not in found.outputs
    weak, strong = sets["corrbrhigh"], sets["corrbrhighhigh"]
    assert (weak.shift, weak.level, strong.shift, strong.level) == ("corrbrhigh", 1, "corrbrhigh", 2)
    assert sets["ham10000subsmall"].kind == "manifestation"
    # Fifteen kinds of noise, each in five levels of two images.
    rows = np.flatnonzero(said.place == 1).reshape(15, 5, 2)[:, 3].reshape(-1)
    np.testing.assert_allclose(only(found, "noise-4").logits, said.logits[rows], rtol=1e-6)
    # Classes that the network does not know.
    assert (np.asarray(only(found, "svhn").labels) == -1).all()


def test_settings_that_cannot_be_read(tmp_path):
    said = network(SIZES)
    write_first_generation(tmp_path, said, STUDIES | {"iid_study": "${data.nowhere}"})
    with pytest.raises(ValueError, match=r"hydra/config.yaml: \$\{data.nowhere\}: expected a value at data.nowhere"):
        read(tmp_path)
    file = tmp_path / "hydra" / "config.yaml"
    file.write_text(f"eval: !!python/object/apply:os.system ['touch {tmp_path}/executed']\n")
    with pytest.raises(ValueError, match="expected YAML of plain values"):
        read(tmp_path)
    assert not (tmp_path / "executed").exists()
    write_first_generation(tmp_path, said, STUDIES | {"in_class_study": []})
    with pytest.raises(ValueError, match="expected rows of the sets 0 val, 1 iid_test, found rows of 0, 1, 2"):
        read(tmp_path)


def test_all_faults_of_all_files_at_once(tmp_path):
    said = network(SIZES)
    write_first_generation(tmp_path, said, STUDIES)
    write_arrays(
        tmp_path,
        {
            "raw_logits_dist": said.passes[:-1],
            "encoded_output": beside(said.features, said.place[::-1]),
            "external_confids": np.array([{}], dtype=object),
        },
    )
    pd.DataFrame({"filepath": ["a.png"], "target": ["0"]}).to_csv(tmp_path / "test_results" / "attributions0.csv")
    with pytest.raises(ValueError) as raised:
        read(tmp_path)
    for words in (
        "4 faults",
        "test_results/raw_logits_dist.npz: expected 75 rows, as many as raw_logits.npz has, found 74",
        "test_results/encoded_output.npz: expected the last column of raw_logits.npz",
        "test_results/external_confids.npz: expected an .npz of plain arrays",
        "test_results/attributions0.csv: expected 20 rows, as many as the set has outputs, found 1",
    ):
        assert words in str(raised.value)


def test_labels_that_half_precision_does_not_hold(tmp_path):
    classes = 2100
    said = network((6, 6), classes=classes)
    said.labels[:] = [2049, 2051, 2099, 5, 7, 2053, 2049, 1, 2, 3, 4, 2055]
    studies = {"iid_study": "rxrx1all"}
    write_config(tmp_path, studies, dataset="rxrx1all", classes=classes)
    write_arrays(tmp_path, {"raw_logits": beside(said.logits.astype(np.float16), said.labels, said.place)})
    with pytest.raises(ValueError, match=r"attributions0\.csv: expected the labels, which half precision"):
        read(tmp_path)
    for place in (0, 1):
        own = said.labels[said.place == place]
        table = pd.DataFrame({"filepath": [f"{i}.png" for i in range(len(own))], "target": own})
        table.to_csv(tmp_path / "test_results" / f"attributions{place}.csv")
    assert np.asarray(only(read(tmp_path), "iid_test").labels).tolist() == [2049, 1, 2, 3, 4, 2055]


def test_a_learned_confidence_is_the_logit_of_what_is_stored(tmp_path):
    said = network(SIZES)
    confidence = expit(np.random.default_rng(1).normal(size=len(said.labels)) * 3).astype(np.float16)
    confidence[-1] = 1.0
    write_first_generation(tmp_path, said, STUDIES, confidence="devries")
    write_arrays(
        tmp_path, {"external_confids": confidence[:, None], "external_confids_dist": confidence[:, None] * np.ones(5)}
    )
    found = read(tmp_path)
    assert found.methods == ("devries",)
    outputs = only(found, "barcelona")
    np.testing.assert_allclose(CSFS["devries"].probability(outputs), confidence[said.place == 2], atol=1e-3)
    assert np.argmax(outputs.confidence) == len(outputs) - 1 and np.isfinite(outputs.confidence).all()
    assert any("external_confids.npz are exactly 0 or 1" in note for note in found.notes)
    write_config(tmp_path, STUDIES, confidence="maha")
    assert any("(maha) are left out" in note for note in read(tmp_path).notes)


@pytest.mark.parametrize("stored", ["logits", "probabilities"])
def test_a_gamblers_reservation_is_what_is_left_of_its_confidence(tmp_path, stored):
    """The present program keeps the first logits, the release of the study the probabilities beside the reservation."""
    said = network(SIZES, outputs=4)
    whole = softmax(said.logits, axis=1)
    of_passes = softmax(said.passes, axis=1)
    write_config(tmp_path, STUDIES, confidence="dg")
    scores = said.logits[:, :3] if stored == "logits" else whole[:, :3]
    write_arrays(
        tmp_path,
        {
            "raw_logits": beside(scores, said.labels, said.place),
            "raw_logits_dist": said.passes[:, :3],
            "external_confids": 1 - whole[:, 3],
            "external_confids_dist": 1 - of_passes[:, 3],
        },
    )
    found = read(tmp_path)
    assert found.methods == ("deep_gamblers",)
    rows, outputs = said.place == 1, only(found, "iid_test")
    expected = logsumexp(said.logits[rows, :3], axis=1) - said.logits[rows, 3]
    np.testing.assert_allclose(CSFS["dg_res"].score(outputs), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        CSFS["dg_msr"].probability(outputs), softmax(said.logits[rows, :3], axis=1).max(1), rtol=1e-4
    )
    mean = softmax(said.passes[rows, :3], axis=1).mean(2)
    np.testing.assert_allclose(CSFS["dg_mcd_msr"].probability(outputs), mean.max(1), rtol=1e-4)
    np.testing.assert_allclose(jax.nn.sigmoid(-outputs.mc_reservation + logits_of(outputs)), 1 - of_passes[rows, 3],
                               rtol=1e-3)  # fmt: skip


def logits_of(outputs: Outputs) -> np.ndarray:
    return logsumexp(np.asarray(outputs.mc_logits), axis=-1)


def test_a_last_layer_of_another_network_is_refused(tmp_path):
    said = network(SIZES)
    write_present_generation(tmp_path, said, OF_PRESENT)
    np.savez(tmp_path / "test_results" / "last_layer.npz", w=said.weight + 0.1, b=said.bias)
    with pytest.raises(ValueError, match=r"last_layer\.npz: expected the layer that makes raw_logits"):
        read(tmp_path)


@pytest.fixture
def with_tables(tmp_path) -> Path:
    """An experiment whose images are in a folder, with the paths of another machine."""
    said = network((3, 4, 2))
    write_first_generation(tmp_path / "run", said, STUDIES)
    images = tmp_path / "data" / "isic_2020" / "train"
    images.mkdir(parents=True)
    for i in range(9):
        (images / f"{i}_512.jpg").write_bytes(b"")
    for place in range(3):
        rows = np.flatnonzero(said.place == place)
        paths = [f"/cluster/data/isic_2020/train/{i}_512.jpg" for i in rows]
        table = pd.DataFrame(
            {"filepath": paths, "attribution": "isic", "patient_id": rows, "target": said.labels[rows]}
        )
        table.to_csv(tmp_path / "run" / "test_results" / f"attributions{place}.csv")
    return tmp_path


def test_images_are_found_by_the_ends_of_their_paths(with_tables):
    found = read(with_tables / "run", data=with_tables / "data")
    table = found.tables["iid_test"]
    assert table["image_path"].tolist() == [str(with_tables / f"data/isic_2020/train/{i}_512.jpg") for i in range(3, 7)]
    assert table["file_name"][0] == "/cluster/data/isic_2020/train/3_512.jpg"
    assert table["domain"].unique().tolist() == ["isic"] and table["patient_id"].tolist() == ["3", "4", "5", "6"]
    assert not found.notes


def test_images_elsewhere_are_left_out_and_counted(with_tables):
    file = with_tables / "run" / "test_results" / "attributions1.csv"
    table = pd.read_csv(file, dtype=str, index_col=0)
    (with_tables / "secret.jpg").write_bytes(b"")
    (with_tables / "data" / "link.jpg").symlink_to(with_tables / "secret.jpg")
    table["filepath"] = ["link.jpg", "../secret.jpg", str(with_tables / "secret.jpg"), "isic_2020/train/77_512.jpg"]
    table.to_csv(file)
    found = read(with_tables / "run", data=with_tables / "data")
    assert found.tables["iid_test"]["image_path"].tolist() == [""] * 4
    assert list(found.notes) == [
        "1 of 9 images are not shown, because they are not there.",
        "3 of 9 images are not shown, because they lie outside the folders that were given.",
    ]


def test_a_table_of_more_images_than_were_tested(with_tables):
    """The release tests the first rows of a table and writes all; which they are, the labels say."""
    file = with_tables / "run" / "test_results" / "attributions1.csv"
    table = pd.read_csv(file, dtype=str, index_col=0)
    more = table.assign(target="9", filepath="/cluster/other.jpg").iloc[:2]
    for order in ([table, more], [more, table]):
        pd.concat(order, ignore_index=True).to_csv(file)
        found = read(with_tables / "run", data=with_tables / "data")
        assert found.tables["iid_test"]["file_name"].tolist() == table["filepath"].tolist()
        assert any("attributions1.csv has 6 rows" in note for note in found.notes)
    table.assign(target="9").to_csv(file)
    with pytest.raises(ValueError, match=r"attributions1.csv: expected the labels of the set's 4 outputs"):
        read(with_tables / "run")


def test_validation_images_that_are_tested_too_are_counted(with_tables):
    results = with_tables / "run" / "test_results"
    table = pd.read_csv(results / "attributions0.csv", dtype=str, index_col=0)
    other = pd.read_csv(results / "attributions1.csv", dtype=str, index_col=0)
    table["filepath"] = other["filepath"].iloc[:3].to_numpy()
    table.to_csv(results / "attributions0.csv")
    notes = read(with_tables / "run", data=with_tables / "data").notes
    assert "3 of 3 validation images are i.i.d. test images too." in notes
