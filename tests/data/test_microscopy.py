"""RxRx1 in miniature, in the provider's layout."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sfjax.data import ManifestError, load_dataset
from sfjax.data.preparation import microscopy
from sfjax.data.preparation.base import Account
from sfjax.phantoms.microscopy import CHANNELS, composite

EXPERIMENTS = [f"{microscopy.CELL_TYPES[i % 4]}-{i:02d}" for i in range(51)]
HEADER = "site_id,well_id,cell_type,dataset,experiment,plate,well,site,well_type,sirna,sirna_id"


def rows_of(experiments, wells=("B02", "B03"), sites=(1, 2)) -> list[str]:
    rows = []
    for e, experiment in enumerate(experiments):
        for w, well in enumerate(wells):
            for site in sites:
                sirna = 1138 if w == 0 else (e + w) % 7
                kind = "negative_control,EMPTY" if w == 0 else f"treatment,s{sirna}"
                well_id = f"{experiment}_1_{well}"
                about = f"{experiment.split('-')[0]},train,{experiment},1,{well},{site}"
                rows.append(f"{well_id}_{site},{well_id},{about},{kind},{sirna}")
    return rows


def raw_tree(folder, rows, *, newline="\n", mark="", header=HEADER, pictures=False):
    (folder / "rxrx1").mkdir(exist_ok=True)
    (folder / "rxrx1/metadata.csv").write_bytes((mark + newline.join([header, *rows]) + newline).encode())
    for i, row in enumerate(rows if pictures else ()):
        fields = row.split(",")
        plate = folder / f"rxrx1/images/{fields[4]}/Plate{fields[5]}"
        plate.mkdir(parents=True, exist_ok=True)
        for w in range(1, 7):
            Image.fromarray(np.full((8, 8), 10 * w + i, np.uint8)).save(plate / f"{fields[6]}_s{fields[7]}_w{w}.png")
    return folder


def prepared(folder):
    account = Account()
    table = microscopy.tables(folder, account, lambda what, done, total: None)
    return table, account.lines({"rxrx1": len(table)})


def test_rows_name_six_channels_in_order_and_load_as_such(tmp_path):
    rows = rows_of(["HEPG2-01", "RPE-02"])
    table, lines = prepared(raw_tree(tmp_path, rows, newline="\r\n", mark="\ufeff", pictures=True))
    assert lines == ["rxrx1: 8 rows read, 8 kept"]
    first = table.iloc[0]
    assert first["image_path"].split(";") == [f"rxrx1/images/HEPG2-01/Plate1/B02_s1_w{w}.png" for w in range(1, 7)]
    assert (first["label"], first["domain"], first["subclass"]) == ("1138", "HEPG2-01", "HEPG2")
    assert first["patient_id"] == "HEPG2-01_1_B02" and first["sirna"] == "EMPTY" and first["source"] == "rxrx1"
    split = ["train", "train", "val", "val", "cal", "cal", "iid_test", "iid_test"]
    manifest = table.assign(split=split, label=["a", "b"] * 4, patient_id="")
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    data = load_dataset(tmp_path / "manifest.csv", size=8, seed=0)
    assert data.images.shape == (8, 8, 8, 6)
    i = int(np.flatnonzero(data.table["image_path"] == first["image_path"])[0])
    assert data.images[i, 0, 0].tolist() == [10, 20, 30, 40, 50, 60]


def test_the_composite_shows_the_providers_channels_in_their_colors():
    # w1 nuclei blue, w2 endoplasmic reticulum green, w3 actin red, w4 nucleoli cyan, w5 mitochondria magenta, w6 Golgi
    # yellow: the colors that the provider's own views have.
    assert CHANNELS == ("nuclei", "reticulum", "actin", "nucleoli", "mitochondria", "golgi")
    colors = np.asarray(composite(jnp.eye(6)[None]))[0]
    assert colors[:3].argmax(axis=1).tolist() == [2, 1, 0]
    assert colors[3:].argmin(axis=1).tolist() == [0, 1, 2]


def test_rows_without_an_image_or_a_class_are_counted(tmp_path):
    rows = rows_of(["HUVEC-01"])
    rows[1] = rows[1].rsplit(",", 1)[0] + ","
    rows[2] = "," + rows[2].split(",", 1)[1]
    rows[3] = rows[3] + ".0"
    table, lines = prepared(raw_tree(tmp_path, [f"{row},later" for row in rows], header=HEADER + ",label"))
    assert table["label"].tolist() == ["1138", "1"] and table["original_label"].tolist() == ["later", "later"]
    (line,) = lines
    assert line.startswith("rxrx1: 4 rows read, 2 kept; 1 a blank that names the image or its well ()")
    assert "1 sirna_id is no class (HUVEC-01_1_B02_2)" in line


def test_a_truncated_table_or_one_without_its_columns_is_a_fault(tmp_path):
    rows = rows_of(["U2OS-01"])
    with pytest.raises(ManifestError, match="ragged row"):
        prepared(raw_tree(tmp_path, [*rows[:-1], rows[-1][:20]]))
    with pytest.raises(ManifestError, match=r"'sirna_id'; there are site_id"):
        prepared(raw_tree(tmp_path, rows, header=HEADER.replace("sirna_id", "target")))


def study_batches(table) -> list[set[str]]:
    """The batch sets by NumPy's global generator, step by step as the study draws them."""
    state = np.random.get_state()
    try:
        np.random.seed(2)
        wells = table["well_id"][table["cell_type"] != "RPE"].nunique()
        np.random.choice(wells, int(wells * 0.2), replace=False)
        order = np.random.choice(51, 51, replace=False)
    finally:
        np.random.set_state(state)
    names = table["experiment"].unique()
    return [set(names[order[a:b]]) for a, b in [(0, 11), (11, 21), (21, 31), (31, 41), (41, 51)]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    table, _ = prepared(raw_tree(tmp_path_factory.mktemp("raw"), rows_of(EXPERIMENTS, ("B02", "B03", "C04"))))
    return table


def test_batch_sets_continue_the_studys_generator(whole):
    expected = study_batches(whole)
    for k, names in enumerate(expected, start=1):
        assert set(whole["experiment"][whole["batch_set"] == str(k)]) == names
    # Right after the seed the order would be another: 42, 13, 49, ... (conformance_cases.json, split_rng).
    after_the_seed = {EXPERIMENTS[i] for i in (42, 13, 49, 24, 0, 30, 9, 23, 17, 47, 28)}
    assert set(whole["experiment"][whole["batch_set"] == "1"]) != after_the_seed


def test_batch_sets_do_not_depend_on_rows_that_are_lost(whole, tmp_path):
    rows = rows_of(EXPERIMENTS, ("B02", "B03", "C04"))
    rows[0] = rows[0].rsplit(",", 1)[0] + ","
    table, _ = prepared(raw_tree(tmp_path, rows))
    assert len(table) == len(whole) - 1
    np.testing.assert_array_equal(table["batch_set"], whole["batch_set"][1:])


@pytest.mark.parametrize("name", list(microscopy.PREPARATION.training_sets))
def test_reference_splits_are_by_well_and_hold_out_what_they_say(whole, name):
    split = microscopy.reference_splits(whole, name)
    chosen = microscopy.PREPARATION.training_sets[name]
    held = np.zeros(len(whole), bool)
    for hold_out in chosen.hold_out:
        column, _, value = hold_out.where.partition("=")
        held |= (whole[column] == value).to_numpy()
    assert held.any() == (name != "all")
    assert ((split == "") == held).all()
    wells = whole[split != ""].groupby("well_id").ngroup()
    assert split[split != ""].groupby(wells).nunique().max() == 1
    test = whole["well_id"][split == "iid_test"].nunique()
    assert test == int(0.2 * whole["well_id"][~held].nunique())


def test_a_fifth_of_all_wells_is_the_studys_number():
    assert int(62_755 * microscopy.TEST_SHARE) == 12_551
    # choice(10, 8) after seed(2) is 4, 1, 5, ... (conformance_cases.json): of ten wells a fifth is the first two.
    wells = pd.Series([str(i) for i in range(10)])
    assert microscopy._draw_wells(np.random.RandomState(microscopy.STUDY_SEED), wells) == {"4", "1"}
