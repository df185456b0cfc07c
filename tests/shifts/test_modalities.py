"""The artifacts of single modalities: what all of them keep, and what each one is for."""

import functools
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from sfjax.phantoms import generate
from sfjax.shifts import dermoscopy, histopathology, microscopy, radiology

MODULES = (dermoscopy, histopathology, radiology, microscopy)
CORRUPTIONS = {name: corruption for module in MODULES for name, corruption in module.CORRUPTIONS.items()}
NAMES = sorted(CORRUPTIONS)
BATCH, HEIGHT, WIDTH = 16, 28, 40


def image_keys(count: int = BATCH) -> jax.Array:
    """Returns the keys of the images, the same in every test: new arrays, since a key must not be used twice."""
    return jnp.stack([jax.random.key(100 + i) for i in range(count)])


def task(name: str) -> str:
    """Returns the phantoms that a corruption is tried on; no phantom shows tissue, and skin has three channels too."""
    return (*CORRUPTIONS[name].modalities, "dermoscopy")[0]


@functools.cache
def phantoms(name: str) -> jax.Array:
    none = dict.fromkeys(("train", "val", "cal", "acquisition", "manifestation"), 0)
    images, _ = generate(name, seed=0, size=WIDTH, counts=none | {"iid_test": BATCH})
    first = (WIDTH - HEIGHT) // 2
    return jnp.asarray(images[:, first : first + HEIGHT], jnp.float32) / 255


@functools.cache
def compiled(name: str):
    shift = chex.assert_max_traces(CORRUPTIONS[name].shift, n=1)
    return jax.jit(jax.vmap(lambda key, image, strength: shift(key, image, strength=strength), (0, 0, None)))


def shifted(name: str, strength: float, images: jax.Array | None = None) -> np.ndarray:
    """Returns the images under a corruption at one of all strengths, by one program a corruption."""
    images = phantoms(task(name)) if images is None else images
    return np.asarray(compiled(name)(image_keys(), images, jnp.float32(strength)))


def level(name: str, number: int, images: jax.Array | None = None) -> np.ndarray:
    return shifted(name, CORRUPTIONS[name].strengths[number - 1], images)


def flat(value: float, channels: int) -> jax.Array:
    return jnp.full((BATCH, HEIGHT, WIDTH, channels), value, jnp.float32)


def damage(clean: np.ndarray, image: np.ndarray) -> tuple[float, float]:
    """Returns the mean absolute difference and the structural similarity of an image with what it was."""
    seen = np.clip(image, 0, 1)
    similarity = structural_similarity(clean, seen, data_range=1.0, channel_axis=2)
    return float(np.abs(seen - clean).mean()), float(similarity)


def assert_grows(clean: np.ndarray, levels: list[np.ndarray]) -> None:
    means = np.asarray([np.mean([damage(*pair) for pair in zip(clean, images)], axis=0) for images in levels])
    assert (np.diff(means[:, 0], prepend=0) > 0).all(), means
    assert (np.diff(means[:, 1], prepend=1) < 0).all(), means


@pytest.mark.parametrize("name", NAMES)
def test_strengths_are_even_steps(name):
    strengths = np.asarray(CORRUPTIONS[name].strengths)
    np.testing.assert_allclose(strengths, strengths[4] * np.arange(1, 6) / 5, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_strength_zero_is_the_image_bit_for_bit(name):
    np.testing.assert_array_equal(shifted(name, 0.0), phantoms(task(name)))


@pytest.mark.parametrize("name", NAMES)
def test_a_small_turn_of_the_dial_is_a_small_change(name):
    strongest = CORRUPTIONS[name].strengths[4]
    for share in (0.0, 0.2, 0.33, 0.9):
        before, after = shifted(name, share * strongest), shifted(name, (share + 1e-4) * strongest)
        assert np.abs(after - before).max() < 0.1, share
        assert np.abs(after - before).mean() < 1e-3, share


@pytest.mark.parametrize("name", NAMES)
def test_damage_grows_on_phantoms(name):
    assert_grows(np.asarray(phantoms(task(name))), [level(name, number) for number in range(1, 6)])


@pytest.mark.parametrize("name", NAMES)
def test_vmap_is_a_loop(name):
    corruption = CORRUPTIONS[name]
    whole = level(name, 3)
    alone = jax.jit(lambda key, image, strength: corruption.shift(key, image, strength=strength))
    for i in (0, 7):
        one = alone(jax.random.key(100 + i), phantoms(task(name))[i], jnp.float32(corruption.strengths[2]))
        np.testing.assert_allclose(one, whole[i], atol=1e-4)
    assert not np.array_equal(whole[0] - phantoms(task(name))[0], whole[7] - phantoms(task(name))[7])


@pytest.mark.parametrize("name", NAMES)
def test_any_size_and_all_channels_that_make_sense(name):
    corruption = CORRUPTIONS[name]
    for channels in (1, 3, 6):
        for height, width in ((28, 28), (150, 512)):
            image = jax.ShapeDtypeStruct((height, width, channels), jnp.float32)
            trace = functools.partial(jax.eval_shape, functools.partial(corruption.shift, strength=0.1))
            if corruption.channels and channels not in corruption.channels:
                with pytest.raises(ValueError, match=rf"channel.*{channels}.*[Ll]eave this corruption out"):
                    trace(jax.random.key(0), image)
            else:
                result = trace(jax.random.key(0), image)
                assert result.shape == image.shape and result.dtype == jnp.float32


def test_hair_only_darkens_and_covers_a_tenth_at_most():
    bare = np.asarray(flat(0.8, 3))
    few, many = level("hair", 1, flat(0.8, 3)), level("hair", 5, flat(0.8, 3))
    assert (many <= bare).all() and (many <= few + 1e-6).all()  # the same hairs, and more
    # Hair lets about a seventh of the light through.
    covered = [float((1 - images / bare).mean() / (6 / 7)) for images in (few, many)]
    assert 0.005 < covered[0] < 0.04 and 0.06 < covered[1] < 0.14


def test_hairs_are_thin_and_long():
    side = 160
    hairs = jax.jit(lambda key: dermoscopy.hair(key, jnp.ones((side, side, 1)), strength=1.0))
    for key in image_keys(4):
        dark = np.argwhere(np.asarray(hairs(key))[..., 0] < 0.9)
        if len(dark):
            length, width = np.sqrt(np.linalg.eigvalsh(np.cov(dark.T))[::-1] * 12)
            assert length > 4 * width and len(dark) < 0.03 * side**2


def test_bubbles_have_bright_and_dark_rims_and_leave_the_rest_alone():
    few, many = level("bubbles", 1, flat(0.5, 3)), level("bubbles", 5, flat(0.5, 3))
    assert (many > 0.7).any(axis=(1, 2, 3)).all() and (many < 0.46).any(axis=(1, 2, 3)).all()
    assert (few == 0.5).mean() > 0.8 and (many == 0.5).mean() > 0.5


def test_a_rulers_ticks_are_a_twentieth_of_the_side_apart_and_reach_in_from_one_edge():
    side, strength = 200, 0.2
    image = np.asarray(dermoscopy.ruler(jax.random.key(0), jnp.ones((side, side, 1)), strength=strength))[..., 0]
    strips = [image[:8], image[-8:], image[:, :8].T, image[:, -8:].T]
    from_edge = [image, image[::-1], image.T, image.T[::-1]][int(np.argmin([strip.mean() for strip in strips]))]
    assert (from_edge[int(side * (strength + 0.03 + 0.04)) :] == 1).all()
    row = from_edge[int(side * (0.03 + strength / 4)), 8:-8] < 0.6
    ticks = np.flatnonzero(row & ~np.roll(row, 1))
    assert len(ticks) == pytest.approx(0.92 / 0.05, abs=1.5) and abs(np.diff(ticks).mean() / side - 0.05) < 0.001


def test_ink_absorbs_green_most_and_keeps_off_the_lesion():
    marked = level("ink", 5, flat(0.8, 3))
    red, green, blue = np.moveaxis(-np.log(marked / 0.8), -1, 0)
    inked = green > 0.1
    assert 0.03 < inked.mean() < 0.25
    np.testing.assert_allclose(red[inked] / green[inked], 1 / 1.5, rtol=1e-4)
    np.testing.assert_allclose(blue[inked] / green[inked], 0.45 / 1.5, rtol=1e-3)
    np.testing.assert_array_equal(marked[:, 11:17, 17:23], np.asarray(flat(0.8, 3))[:, 11:17, 17:23])


def test_dermoscope_corner_leaves_the_middle_and_starts_in_the_corners():
    bare = np.asarray(flat(0.8, 3))
    round_field, barely = level("dermoscope_corner", 5, flat(0.8, 3)), level("dermoscope_corner", 1, flat(0.8, 3))
    np.testing.assert_array_equal(round_field[:, 8:20, 12:28], bare[:, 8:20, 12:28])
    for image in (round_field[:, ::27, ::39], barely[:, ::27, ::39]):
        assert (image < 0.5).any() and (image <= 0.8).all()
    assert (round_field[:, ::27, ::39] < 0.05).all()
    np.testing.assert_array_equal(barely[:, 2:26, 6:34], bare[:, 2:26, 6:34])


def test_stain_shift_keeps_white_and_multiplies_each_stain():
    amounts = np.linspace(0, 1, WIDTH)
    stains = [
        np.asarray(vector) / np.linalg.norm(vector) for vector in (histopathology.HEMATOXYLIN, histopathology.EOSIN)
    ]
    strength, log_factors = 0.4, []
    for stain in stains:
        row = np.exp(-amounts[:, None] * stain)
        images = jnp.asarray(np.broadcast_to(row, (BATCH, HEIGHT, WIDTH, 3)), jnp.float32)
        density = -np.log(shifted("stain_shift", strength, images)[:, 0])
        np.testing.assert_array_equal(density[:, 0], 0)  # white
        np.testing.assert_allclose(density[:, 20], density[:, -1] * amounts[20], atol=1e-5)  # as more of the same dye
        log_factors.append(np.log(density[:, -1] @ stain))
        turned = np.arccos(density[:, -1] @ stain / np.linalg.norm(density[:, -1], axis=1))
        np.testing.assert_allclose(turned, np.arctan(strength * histopathology.TILT), atol=2e-3)
    np.testing.assert_allclose(np.hypot(*log_factors), strength, rtol=1e-3)


def test_ct_noise_has_the_correlation_of_its_grain_and_grows_with_attenuation():
    side, strength = 256, 0.1
    halves = jnp.broadcast_to(jnp.where(jnp.arange(side) < side // 2, 0.2, 0.9)[:, None, None], (side, side, 3))
    noise = np.asarray(jax.jit(radiology.ct_noise)(jax.random.key(0), halves, strength=jnp.float32(strength)) - halves)
    np.testing.assert_allclose(noise[..., 0], noise[..., 2], atol=1e-6)
    noise = noise[..., 0]
    for part, value in ((noise[:64], 0.2), (noise[-64:], 0.9)):
        assert part.std() == pytest.approx(strength * np.sqrt(0.2 + 0.8 * value), rel=0.05)
        assert abs(part.mean()) < 0.002  # no power at frequency zero
    fine = (radiology.GRAIN * side) ** 2
    coarse = 4 * fine

    def covariance(distance: float) -> float:
        """Of white noise after the difference of two Gaussians of these variances, by their products."""
        terms = ((1, 2 * fine), (-2, fine + coarse), (1, 2 * coarse))
        return sum(sign / variance * np.exp(-(distance**2) / 2 / variance) for sign, variance in terms)

    for lag in (1, 2, 3, 5):
        measured = [(part[:, lag:] * part[:, :-lag]).mean() / part.var() for part in (noise[:64], noise[-64:])]
        assert np.mean(measured) == pytest.approx(covariance(lag) / covariance(0), abs=0.04)


def test_ct_window_is_a_linear_map_of_the_stated_size():
    ramp = jnp.broadcast_to(jnp.linspace(0, 1, WIDTH)[:, None], (BATCH, HEIGHT, WIDTH, 1))
    mapped = shifted("ct_window", 0.2, ramp)[:, 0, :, 0]
    np.testing.assert_allclose(np.diff(mapped, 2), 0, atol=1e-6)
    width = 1 / (mapped[:, -1] - mapped[:, 0])
    center = 0.5 - (mapped[:, 0] + mapped[:, -1] - 1) / 2 * width
    np.testing.assert_allclose(np.hypot(np.log(width) / 2, center - 0.5), 0.2, rtol=1e-4)


def test_xray_exposure_follows_the_curve_and_only_underexposure_is_mottled():
    def logit(gray):
        return np.log(gray / (1 - gray))

    stops = 1.5
    moved = logit(shifted("xray_exposure", stops, flat(0.5, 1)))
    over = moved.mean((1, 2, 3)) < 0
    assert 0 < over.sum() < BATCH
    np.testing.assert_allclose(moved[over], -radiology.GAMMA * stops * np.log(2), rtol=1e-4)
    pale = moved[~over]
    assert pale.mean() == pytest.approx(radiology.GAMMA * stops * np.log(2), rel=0.01)
    expected = radiology.GAMMA * radiology.MOTTLE * np.sqrt(2**stops - 1)  # at middle gray the exposure is 1
    assert pale.std() == pytest.approx(expected, rel=0.05)
    bone = logit(shifted("xray_exposure", stops, flat(0.9, 1)))[~over]
    assert bone.std() == pytest.approx(expected * 9 ** (0.5 / radiology.GAMMA), rel=0.05)


def test_xray_grid_is_periodic_along_one_axis_and_takes_light():
    gray, stops = 0.4, 1.0
    behind = shifted("xray_grid", stops, flat(gray, 1))[..., 0].astype(float)
    # Exposure lost, read from the film's curve.
    lost = (np.log(behind / (1 - behind)) - np.log(gray / (1 - gray))) / radiology.GAMMA / np.log(2)
    assert lost.min() > -1e-5 and 1 < lost.max() < stops * (1 + radiology.LINE_DEPTH) + 1e-5
    across_rows = np.ptp(lost, axis=2).max(1) < 1e-5
    assert (across_rows != (np.ptp(lost, axis=1).max(1) < 1e-5)).all() and 0 < across_rows.sum() < BATCH
    for image, rows in zip(lost, across_rows):
        profile = image[:, 0] if rows else image[0]
        bend = np.diff(profile, 2)  # the cutoff is straight but for one corner
        frequency = np.fft.rfftfreq(512)[np.abs(np.fft.rfft(bend * np.hanning(len(bend)), 512)).argmax()]
        assert 1 / 4.5 - 0.03 < frequency < 1 / 3 + 0.03  # from 3 pixels a line on


def test_bleed_through_reaches_neighbors_only_and_more_the_next_than_the_last():
    stained = flat(0.0, 6).at[..., 2].set(0.6)
    leaked = shifted("bleed_through", 0.4, stained)
    np.testing.assert_array_equal(leaked[..., [0, 4, 5]], 0)
    np.testing.assert_allclose(leaked[..., 2], 0.6, rtol=1e-6)
    before, after = leaked[:, 0, 0, 1] / 0.6, leaked[:, 0, 0, 3] / 0.6
    assert ((after >= 0.2 - 1e-6) & (after <= 0.4 + 1e-6) & (before >= 0) & (before <= 0.1 + 1e-6)).all()
    assert np.ptp(after) > 0.05
    first = shifted("bleed_through", 0.4, flat(0.0, 6).at[..., 0].set(0.6))
    np.testing.assert_array_equal(first[..., 2:], 0)  # the last channel is no neighbor of the first


def test_illumination_field_is_smooth_and_loses_the_stated_share():
    field = shifted("illumination_field", 0.5, flat(1.0, 6))
    np.testing.assert_allclose(field.max((1, 2, 3)), 1, atol=1e-6)
    np.testing.assert_allclose(field.min((1, 2, 3)), 0.5, atol=1e-6)
    np.testing.assert_array_equal(field[..., 0], field[..., 5])
    assert np.abs(np.diff(field, axis=1)).max() < 0.15 and np.abs(np.diff(field, axis=2)).max() < 0.15


def test_defocused_cells_blur_parts_of_the_field_by_the_stated_deviation():
    np.testing.assert_allclose(level("defocused_cells", 5, flat(0.4, 6)), 0.4, atol=1e-6)
    # A blur of variance v adds v to squared coordinates, whatever its shape.
    columns = jnp.arange(WIDTH, dtype=jnp.float32)[None, None, :, None]
    image = jnp.broadcast_to((columns - 20) ** 2, (BATCH, HEIGHT, WIDTH, 6))
    variance = (shifted("defocused_cells", 0.03, image) - np.asarray(image))[:, :, 6:-6]
    assert variance.max() == pytest.approx((0.03 * HEIGHT) ** 2, rel=1e-3) and variance.min() > -1e-3
    sharp = (variance < 1e-3).mean()
    assert 0.15 < sharp < 0.6


@pytest.mark.parametrize("name", [name for name in NAMES if CORRUPTIONS[name].modalities in (("dermoscopy",), ())])
def test_damage_grows_on_real_images(name, request):
    folder = request.config.getoption("--real-data")
    if folder is None:
        pytest.skip("needs real images: --real-data DIR, the folder with derm_ham10000 and wbc_stain")
    from PIL import Image

    for images in ("derm_ham10000",) if CORRUPTIONS[name].modalities else ("derm_ham10000", "wbc_stain"):
        paths = sorted((Path(folder) / images / "images").iterdir())
        chosen = paths[:: len(paths) // BATCH][:BATCH]
        clean = np.stack([np.asarray(Image.open(p).convert("RGB").resize((WIDTH, HEIGHT))) for p in chosen])
        clean = clean.astype(np.float32) / 255
        assert_grows(clean, [level(name, number, jnp.asarray(clean)) for number in range(1, 6)])
