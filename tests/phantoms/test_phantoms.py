"""Phantoms: what every task keeps, the laws of the factors, and that each factor does what its name says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax.phantoms import COUNTS, PHANTOMS, Phantom, Subclass, generate
from sfjax.phantoms.base import by_domain, by_subclass, mark, pose, sample
from sfjax.phantoms.microscopy import CHANNELS, LIGHTS, composite
from sfjax.phantoms.primitives import Dice, blur, grid, mix, spots, strokes

SIZE = 32
TINY = {"train": 40, "val": 14, "cal": 14, "iid_test": 14, "acquisition": 26, "manifestation": 26}
EVERY = pytest.mark.parametrize("name", PHANTOMS)


@pytest.fixture(scope="module")
def sets() -> dict:
    return {name: generate(name, seed=0, size=SIZE, counts=TINY) for name in PHANTOMS}


def middle(name: str) -> dict:
    """Returns the middle of its range for every factor, but the first device's light and lens, and no noise."""
    factors = {
        factor: float(law.center[0, 0]) if law.kind == "acquisition" else (law.low + law.high) / 2
        for factor, law in PHANTOMS[name].factors.items()
    }
    return factors | {"noise": 0.0}


@functools.cache
def renderer(name: str):
    render = jax.vmap(lambda factors: PHANTOMS[name].render(jax.random.key(1), factors, 2 * SIZE))
    return jax.jit(render, compiler_options={"xla_backend_optimization_level": 1})


def drawn(name: str, changes: list[dict]) -> np.ndarray:
    """Returns the same image once for each of `changes` to the middle factors."""
    rows = [middle(name) | change for change in changes]
    rows += rows[-1:] * (80 - len(rows))  # one shape, one compilation
    factors = {factor: jnp.asarray([row[factor] for row in rows], jnp.float32) for factor in rows[0]}
    return np.asarray(renderer(name)(factors))[: len(changes)]


@EVERY
def test_images_and_columns_belong_together(name, sets):
    images, columns = sets[name]
    phantom, n = PHANTOMS[name], sum(TINY.values())
    assert images.shape == (n, SIZE, SIZE, phantom.channels) and images.dtype == np.uint8
    assert images.std((1, 2, 3)).min() > 5, "an image is blank"
    assert {"label", "split", "domain", "subclass", "patient_id", "shift_kind"} < set(columns)
    assert all(column.shape == (n,) for column in columns.values())
    label_of = {subclass.name: subclass.label for subclass in phantom.subclasses}
    assert [label_of[subclass] for subclass in columns["subclass"]] == columns["label"].tolist()
    for split in ("train", "val", "cal", "iid_test", phantom.acquisition):
        assert set(columns["label"][columns["split"] == split]) == set(phantom.classes)


@EVERY
def test_every_factor_of_every_image_is_on_record(name, sets):
    _, columns = sets[name]
    recorded = {column.removeprefix("factor_") for column in columns if column.startswith("factor_")}
    assert recorded == set(PHANTOMS[name].factors)
    for factor, law in PHANTOMS[name].factors.items():
        values = columns[f"factor_{factor}"]
        assert values.dtype == np.float32
        assert np.isfinite(values).all() and values.min() >= law.low - 1e-6 and values.max() <= law.high + 1e-6


@EVERY
def test_the_shifts_are_what_they_are_called(name, sets):
    _, columns = sets[name]
    phantom = PHANTOMS[name]
    rare = np.isin(columns["subclass"], [subclass.name for subclass in phantom.subclasses if subclass.share == 0])
    assert (rare == (columns["split"] == phantom.manifestation)).all()
    assert ((columns["domain"] == phantom.domains[-1]) == (columns["split"] == phantom.acquisition)).all()
    assert set(columns["domain"][columns["split"] == "train"]) == set(phantom.domains[:-1])
    assert set(columns["shift_kind"][columns["split"] == phantom.acquisition]) == {"acquisition"}
    assert set(columns["shift_kind"][columns["split"] == phantom.manifestation]) == {"manifestation"}
    assert set(columns["shift_kind"][np.isin(columns["split"], ("train", "val", "cal", "iid_test"))]) == {"iid"}
    assert phantom.acquisition.startswith("acq_") and phantom.manifestation.startswith("manif_")


@EVERY
def test_a_patient_is_in_one_split_and_keeps_its_anatomy(name, sets):
    images, columns = sets[name]
    patients, counts = np.unique(columns["patient_id"], return_counts=True)
    assert counts.max() >= 2
    for patient in patients[counts > 1]:
        rows = np.flatnonzero(columns["patient_id"] == patient)
        shared = [f"factor_{factor}" for factor, law in PHANTOMS[name].factors.items() if law.shared]
        for column in ("split", "domain", "subclass", *shared):
            assert len(set(columns[column][rows])) == 1, column
        assert (images[rows[0]] != images[rows[1]]).any()


@EVERY
def test_an_image_depends_on_seed_and_place_alone(name, sets):
    images, columns = sets[name]
    counts = dict.fromkeys(COUNTS, 0) | {"iid_test": 5, "acquisition": 3}
    fewer, of_fewer = generate(name, seed=0, size=SIZE, counts=counts)
    rows = [
        *np.flatnonzero(columns["split"] == "iid_test")[:5],
        *np.flatnonzero(columns["split"] == PHANTOMS[name].acquisition)[:3],
    ]
    np.testing.assert_array_equal(fewer, images[rows])
    for column, values in of_fewer.items():
        np.testing.assert_array_equal(values, columns[column][rows])
    other, _ = generate(name, seed=1, size=SIZE, counts=counts)
    assert (other != fewer).any((1, 2, 3)).all()


@EVERY
def test_a_finer_image_shows_the_same_things(name, sets):
    fine, _ = generate(name, seed=0, size=2 * SIZE, counts=dict.fromkeys(COUNTS, 0) | {"train": 4})
    pooled = fine.reshape(4, SIZE, 2, SIZE, 2, -1).mean((2, 4))
    for coarse, same in zip(sets[name][0][:4], pooled, strict=True):
        assert np.corrcoef(coarse.ravel(), same.ravel())[0, 1] > 0.9


@EVERY
def test_every_factor_changes_the_image(name):
    laws = PHANTOMS[name].factors
    # Not the whole range, because an angle's ends are the same.
    ends = [(factor, law.low + share * (law.high - law.low)) for factor, law in laws.items() for share in (0.0, 0.7)]
    images = drawn(name, [{factor: end} for factor, end in ends])
    assert np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1
    for factor, low, high in zip(laws, images[::2], images[1::2], strict=True):
        assert np.abs(low - high).max() > 0.02, f"{factor} does nothing"


def test_a_batch_is_a_loop():
    changes = [{"diameter": 0.2}, {"diameter": 0.5}]
    for change, image in zip(changes, drawn("lung_ct", changes), strict=True):
        factors = {factor: jnp.float32(value) for factor, value in (middle("lung_ct") | change).items()}
        alone = jax.jit(lambda f: PHANTOMS["lung_ct"].render(jax.random.key(1), f, 2 * SIZE))(factors)
        np.testing.assert_allclose(alone, image, atol=1e-4)


@EVERY
def test_classes_and_domains_differ_where_the_table_says(name):
    phantom = PHANTOMS[name]
    usual = [i for i, subclass in enumerate(phantom.subclasses) if subclass.share]
    label = np.array([phantom.subclasses[i].label for i in usual])
    of_class = np.stack([law.center[usual, 0] for law in phantom.factors.values() if law.kind == "class"], 1)
    means = np.stack([of_class[label == one].mean(0) for one in phantom.classes])
    spread = np.array([law.spread for law in phantom.factors.values() if law.kind == "class"])
    apart = np.sqrt((((means[:, None] - means[None]) / spread) ** 2).sum(-1))
    assert apart[~np.eye(len(means), dtype=bool)].min() > 1.5, "two classes have nearly the same factors"
    for factor, law in phantom.factors.items():
        if law.kind == "acquisition":
            assert np.abs(law.center[0, -1] - law.center[0, :-1]).min() > 0, f"{factor} is the same on every device"
    assert len(phantom.classes) >= {"microscopy": 12, "chest_xray": 8}.get(name, 2)
    assert COUNTS["train"] >= 1500


def test_factors_follow_their_laws():
    laws = {
        "size": by_subclass(0.3, 0.7, spread=0.05),
        "light": by_domain(1.0, 0.6, spread=0.1, low=0.0, high=2.0),
        "ruler": mark(0.0, 0.8),
        "angle": pose(2.0, 4.0),
        "mixed": by_subclass(0.0, 0.0, spread=0.0, stray=0.25),
    }
    pair = (Subclass("a", "A"), Subclass("b", "B"))
    phantom = Phantom("toy", "Toy", ("A", "B"), 1, pair, ("one", "two"), "acq_two", "manif_none", laws, lambda *_: None)  # pyright: ignore
    keys = jax.random.split(jax.random.key(0), 4000)
    draw = jax.vmap(lambda key: sample(key, jax.random.fold_in(key, 1), jnp.int32(1), jnp.int32(1), phantom=phantom))
    values = {name: np.asarray(column) for name, column in draw(keys).items()}
    # Tolerances are four standard errors of 4000 draws.
    assert values["size"].mean() == pytest.approx(0.7, abs=0.0035)
    assert values["size"].std() == pytest.approx(0.05, abs=0.0025)
    assert values["light"].mean() == pytest.approx(0.6, abs=0.0065)
    assert set(values["ruler"]) == {0.0, 1.0} and values["ruler"].mean() == pytest.approx(0.8, abs=0.026)
    assert values["angle"].min() >= 2 and values["angle"].max() <= 4
    assert values["angle"].mean() == pytest.approx(3.0, abs=0.037)
    assert (values["mixed"] > 0).mean() == pytest.approx(0.25, abs=0.028)
    assert values["mixed"][values["mixed"] > 0].mean() == pytest.approx(0.5, abs=0.037)
    assert abs(np.corrcoef(values["size"], values["light"])[0, 1]) < 0.065, "two factors share their numbers"


def test_factors_do_what_their_names_say():
    findings = ("edema", "consolidation", "pneumonia", "miliary", "atelectasis", "pneumothorax", "effusion", "cables")
    clear = dict.fromkeys(findings, 0.0) | {"side": 1.0}
    healthy, fluid, air = drawn("chest_xray", [clear, clear | {"effusion": 0.8}, clear | {"pneumothorax": 0.8}])
    half = SIZE  # of images of twice that size
    assert (fluid - healthy)[half:, half:].mean() > 0.05
    assert np.abs(fluid - healthy)[:, : half - 8].mean() < 0.002, "fluid on the healthy side"
    assert (air - healthy)[:, half:].mean() < -0.01

    small, large = drawn("lung_ct", [{"diameter": d, "wall_distance": 1.8, "solidity": 1.0} for d in (0.2, 0.6)])
    assert (large > 0.5).sum() > 3 * (small > 0.5).sum()

    dark, bright = drawn("dermoscopy", [{"illumination": 0.4}, {"illumination": 0.8}])
    assert bright.mean() == pytest.approx(2 * dark.mean(), rel=0.05)

    faint, strong = drawn("microscopy", [{"stain_actin": 0.5}, {"stain_actin": 1.0}])
    changed = np.abs(strong - faint).max((0, 1)) > 1e-3
    assert [channel for channel, differs in zip(CHANNELS, changed, strict=True) if differs] == ["actin"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "ultrasound"}, "no phantom 'ultrasound'.*dermoscopy"),
        ({"seed": -1}, "seed=-1"),
        ({"size": 4}, "size=4"),
        ({"counts": {"tain": 3}}, "tain"),
        ({"counts": {"train": -3}}, "from 0"),
        ({"counts": dict.fromkeys(COUNTS, 0)}, "above it"),
    ],
)
def test_wrong_requests_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        generate(**({"name": "lung_ct", "seed": 0, "size": SIZE} | change))


def test_composite_shows_any_number_of_channels():
    grey = jnp.full((2, 2, 1), 0.3)
    np.testing.assert_allclose(composite(grey), np.full((2, 2, 3), 0.3), atol=1e-6)
    rgb = jnp.arange(12, dtype=jnp.float32).reshape(2, 2, 3) / 12
    np.testing.assert_array_equal(composite(rgb), rgb)
    everything = composite(jnp.ones((1, 1, 6)))
    np.testing.assert_allclose(everything[0, 0], np.minimum(np.sum(LIGHTS, 0), 1), atol=1e-6)
    with pytest.raises(ValueError, match="7"):
        composite(jnp.ones((1, 1, 7)))


def test_primitives_against_their_definitions():
    y, x = grid(16)
    spot = spots(jnp.array([0.2]), jnp.array([-0.3]), jnp.array([0.25]), jnp.array([0.7]), 16)
    np.testing.assert_allclose(spot, 0.7 * np.exp(-((y - 0.2) ** 2 + (x + 0.3) ** 2) / (2 * 0.25**2)), atol=1e-6)

    line = strokes(y, x, jnp.array([[0.0, -0.5, 0.0, 0.5]]), jnp.array([0.5]))
    assert line[8, 8] == 1 and line[2, 8] == 0 and line[8, 0] == 0

    image = jnp.zeros((33, 33, 1)).at[16, 16].set(1.0)
    blurred = np.asarray(blur(image, 4 * 2 / 33))[..., 0]  # a deviation of four pixels
    assert blurred.sum() == pytest.approx(1, abs=0.01)
    distance = (np.arange(33) - 16.0) ** 2
    assert (blurred.sum(0) * distance).sum() == pytest.approx(16, rel=0.05)
    np.testing.assert_allclose(blur(image, 0.0), image, atol=1e-5)

    np.testing.assert_allclose(mix(jnp.zeros((1, 1, 3)), jnp.ones((1, 1, 3)), jnp.full((2, 2), 0.25)), 0.25)


def test_dice_have_the_moments_they_claim():
    dice = Dice(jax.random.key(0), 40_000)
    normal, uniform = np.asarray(dice.normal(10_000)), np.asarray(dice.uniform(10_000, low=-1.0, high=3.0))
    assert abs(normal.mean()) < 0.04 and normal.std() == pytest.approx(1, abs=0.03)
    assert uniform.min() >= -1 and uniform.max() < 3 and uniform.mean() == pytest.approx(1, abs=0.05)
    fields = np.stack([dice.noise(8, 6) for _ in range(200)])
    assert abs(fields.mean()) < 0.1 and fields.std(0).mean() == pytest.approx(1, abs=0.05)
    with pytest.raises(ValueError, match="Make more"):
        dice.normal(30_000)
