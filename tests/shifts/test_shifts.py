"""Conformance of every corruption, and what each one is for."""

import functools
import inspect
import io
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, special

from sfjax import keys, shifts
from sfjax.phantoms import COUNTS, PHANTOMS, generate
from sfjax.shifts import SHIFTS, STRENGTHS, chain, draws, lookup

NAMES = sorted(SHIFTS)
SIZE = 28
COUNT = 12
IDS = jnp.asarray(np.arange(COUNT, dtype=np.uint32) + np.uint32(4_000_000_000))


@functools.cache
def phantoms(task: str) -> jax.Array:
    drawn, _ = generate(task, seed=3, size=SIZE, counts=dict.fromkeys(COUNTS, 0) | {"train": COUNT})
    return jnp.asarray(drawn, jnp.float32) / 255


def images_for(name: str) -> jax.Array:
    """Returns phantoms that a corruption can be applied to: of skin wherever it takes three channels."""
    corruption = SHIFTS[name]
    if 3 in (corruption.channels or (3,)) and "dermoscopy" in (corruption.modalities or ("dermoscopy",)):
        return phantoms("dermoscopy")
    return phantoms(corruption.modalities[0])


def run(name: str, images: jax.Array, **how) -> np.ndarray:
    return np.asarray(shifts.apply(name, jax.random.key(0), images, IDS, **how))


def flat(value: float, *, height: int = 32, width: int = 40, channels: int = 1) -> jax.Array:
    return jnp.full((height, width, channels), value)


def call(name: str, image: jax.Array, strength: float, seed: int = 0) -> np.ndarray:
    """Returns one image under a corruption, without a clip."""
    return np.asarray(compiled(name)(jax.random.key(seed), image, jnp.float32(strength)))


@functools.cache
def compiled(name: str):
    return jax.jit(lambda key, image, strength: SHIFTS[name].shift(key, image, strength=strength))


def structural_similarity(images: np.ndarray, others: np.ndarray) -> float:
    metrics = pytest.importorskip("skimage.metrics", reason="install scikit-image for structural similarity")
    pairs = zip(np.asarray(images), others, strict=True)
    return np.mean([metrics.structural_similarity(a, b, channel_axis=-1, data_range=1) for a, b in pairs])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_known_about_it(name):
    corruption = SHIFTS[name]
    parameters = inspect.signature(corruption.shift).parameters
    assert list(parameters) == ["key", "image", "strength"]
    assert parameters["strength"].kind is inspect.Parameter.KEYWORD_ONLY
    assert len(corruption.strengths) == shifts.NUM_LEVELS and (np.diff(corruption.strengths) > 0).all()
    assert corruption.strengths[0] > 0 and corruption.unit and corruption.source
    assert set(corruption.modalities) <= set(PHANTOMS)
    for modality in corruption.modalities:
        assert not corruption.channels or PHANTOMS[modality].channels in corruption.channels


@pytest.mark.parametrize("name", NAMES)
def test_shape_and_type_stay_at_any_number_of_channels(name):
    for channels in (1, 3, 6):
        for shape in ((28, 28, channels), (61, 40, channels)):
            image, key = jax.ShapeDtypeStruct(shape, jnp.float32), jax.eval_shape(lambda: jax.random.key(0))
            strength = jax.ShapeDtypeStruct((), jnp.float32)
            shift = functools.partial(jax.eval_shape, lambda k, i, s: SHIFTS[name].shift(k, i, strength=s))
            if SHIFTS[name].channels and channels not in SHIFTS[name].channels:
                with pytest.raises(ValueError, match=r"channels?.* has|channels?, and"):
                    shift(key, image, strength)
            else:
                assert shift(key, image, strength).shape == shape
                assert shift(key, image, strength).dtype == jnp.float32


@pytest.mark.parametrize("name", NAMES)
def test_strength_zero_is_the_image_and_little_strength_is_near_it(name):
    images = images_for(name)
    np.testing.assert_allclose(run(name, images, strength=0.0), images, atol=4e-6)
    low = STRENGTHS[name][0]
    little, first = (np.abs(run(name, images, strength=low * share) - images).mean() for share in (1e-3, 1.0))
    # No jump: a thousandth of level 1 does a small share of its damage.
    assert little < 0.1 * first


@pytest.mark.parametrize("name", NAMES)
def test_each_level_does_more_damage(name):
    images = images_for(name)
    levels = [run(name, images, level=level) for level in range(1, 6)]
    differences = [np.abs(level - images).mean() * 255 for level in levels]
    assert differences[0] > 0.05 and (np.diff(differences) > 0).all(), differences
    assert (np.diff([structural_similarity(images, level) for level in [np.asarray(images), *levels]]) < 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_damage_grows_on_real_images(name, request):
    folder = request.config.getoption("--real-data")
    if folder is None:
        pytest.skip("Give --real-data DIR: a folder with image sets, each with manifest.csv and images.")
    if 3 not in (SHIFTS[name].channels or (3,)):
        pytest.skip("These images have three channels.")
    sets = sorted(path.parent for path in Path(folder).glob("*/manifest.csv"))
    assert sets
    for one in sets:
        images = jnp.stack([_opened(path) for path in sorted((one / "images").iterdir())[::7][:COUNT]])
        levels = [run(name, images, level=level) for level in range(1, 6)]
        differences = [np.abs(level - images).mean() for level in levels]
        assert differences[0] > 0 and (np.diff(differences) > 0).all(), (one.name, differences)
        similarity = [structural_similarity(images, level) for level in [np.asarray(images), *levels]]
        assert (np.diff(similarity) < 0).all(), (one.name, similarity)


def _opened(path: Path, size: int = 96) -> jax.Array:
    with Image.open(path) as file:
        side = min(file.size)
        left, top = (file.width - side) // 2, (file.height - side) // 2
        cut = file.convert("RGB").crop((left, top, left + side, top + side)).resize((size, size))
    return jnp.asarray(np.asarray(cut), jnp.float32) / 255


@pytest.mark.parametrize("name", NAMES)
def test_one_compilation_for_all_strengths_and_a_batch_is_its_images(name):
    images = images_for(name)
    shift = chex.assert_max_traces(SHIFTS[name].shift, n=1)
    function = jax.jit(lambda key, image, strength: shift(key, image, strength=strength))
    whole = {level: run(name, images, level=level) for level in (1, 4)}
    for level, batch in whole.items():
        strength = jnp.float32(STRENGTHS[name][level - 1])
        for place in (0, 7):
            key = keys.per_image(keys.stream(jax.random.key(0), name), IDS)[place]
            alone = np.clip(function(key, images[place], strength), 0, 1)
            # JPEG rounds: a difference in the last bit may become a step, in few pixels.
            assert np.abs(batch[place] - alone).mean() < 1e-4, level
    turned = np.asarray(shifts.apply(name, jax.random.key(0), images[::-1], IDS[::-1], level=4))[::-1]
    assert np.abs(turned - whole[4]).mean() < 1e-4
    np.testing.assert_array_equal(run(name, images, level=4), whole[4])


@pytest.mark.parametrize("name", NAMES)
def test_flat_images_stay_numbers(name):
    images = images_for(name)
    for value in (0.0, 1.0):
        for strength in (0.0, *STRENGTHS[name][::4]):
            result = run(name, jnp.full_like(images, value), strength=strength)
            assert np.isfinite(result).all() and result.min() >= 0 and result.max() <= 1


def test_only_the_end_of_the_chain_clips():
    images = phantoms("dermoscopy")
    assert call("brightness", images[0], 1.5).max() > 1
    assert run("brightness", images, level=5).max() == 1


def test_brightness_level_1_is_the_measured_factor():
    np.testing.assert_allclose(run("brightness", flat(0.4)[None].repeat(COUNT, 0), level=1), 0.5, rtol=1e-6)


def test_darkness_undoes_brightness():
    image = phantoms("dermoscopy")[0]
    there = SHIFTS["brightness"].shift(jax.random.key(0), image, strength=0.75)
    np.testing.assert_allclose(call("darkness", there, 0.75), image, rtol=1e-6)


def test_contrast_keeps_the_mean_and_scales_the_deviation():
    image = phantoms("dermoscopy")[0]
    less = call("contrast", image, 0.7)
    np.testing.assert_allclose(less.mean((0, 1)), image.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(less.std((0, 1)), 0.3 * np.asarray(image.std((0, 1))), rtol=1e-4)


def test_gamma_is_a_power():
    ramp = jnp.asarray([0.0, 0.25, 0.5, 1.0]).reshape(2, 2, 1)
    np.testing.assert_allclose(call("gamma", ramp, 1.0).ravel(), [0, 0.0625, 0.25, 1], rtol=1e-5)


def test_vignetting_takes_light_from_the_corners():
    dimmed = call("vignetting", flat(0.5, height=31, width=41), 0.6)[..., 0]
    assert dimmed[15, 20] == 0.5 and dimmed[0, 0] == pytest.approx(0.2)
    np.testing.assert_allclose(dimmed, dimmed[::-1, ::-1], rtol=1e-5)


def test_hue_turns_either_way_and_keeps_luminance():
    image = phantoms("dermoscopy")[0]
    luminance = np.array([0.299, 0.587, 0.114])
    results = [call("hue", image, 0.2, seed) for seed in range(12)]
    for result in results:
        np.testing.assert_allclose(result @ luminance, np.asarray(image) @ luminance, atol=1e-3)
    assert len({round(float(result.std()), 4) for result in results}) == 2
    np.testing.assert_allclose(call("hue", image, 1.0), image, atol=1e-5)  # a full turn
    opposite = call("hue", jnp.asarray(results[0]), 0.5)
    np.testing.assert_allclose(call("hue", jnp.asarray(opposite), 0.5), results[0], atol=1e-5)
    grey = flat(0.3, channels=3)
    np.testing.assert_allclose(call("hue", grey, 0.3), grey, atol=1e-5)


def test_saturation_ends_at_grey():
    grey = call("saturation", phantoms("dermoscopy")[0], 1.0)
    np.testing.assert_allclose(grey[..., 0], grey[..., 2], atol=1e-6)
    red = call("saturation", flat(1.0, channels=3) * jnp.asarray([1.0, 0, 0])[None, None], 1.0)
    np.testing.assert_allclose(red, 0.299, atol=1e-6)


def test_motion_blur_moves_a_point_along_a_line_and_keeps_its_mass():
    point = jnp.zeros((41, 41, 1)).at[20, 20].set(1.0)
    blurred = call("motion_blur", point, 0.25, 4)[..., 0]
    assert blurred.sum() == pytest.approx(1, rel=1e-4)
    y, x = np.nonzero(blurred > 1e-4)
    covariance = np.cov(np.stack([y - 20.0, x - 20.0]), aweights=blurred[y, x], ddof=0)
    along, across = np.linalg.eigvalsh(covariance)[::-1]
    assert along == pytest.approx(10.25**2 / 12, rel=0.25)  # uniform over a quarter of 41 px
    assert across < 0.35


def variance_of_a_point(name: str, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns a point's image in the middle of 41 x 41 pixels, and its variance along both axes."""
    blurred = call(name, jnp.zeros((41, 41, 1)).at[20, 20].set(1.0), strength)[..., 0]
    squares = np.square(np.arange(41) - 20)
    return blurred, np.array([(blurred.sum(1 - axis) * squares).sum() for axis in (0, 1)])


@pytest.mark.parametrize("pixels", [0.2, 1.0, 3.0])
def test_gaussian_blur_has_the_variance_it_is_given(pixels):
    _, variance = variance_of_a_point("gaussian_blur", pixels / 41)
    np.testing.assert_allclose(variance, pixels**2, rtol=2e-3)


def test_gaussian_blur_is_scipys_and_keeps_the_mean(rng):
    image = rng.random((32, 40, 1), np.float32)
    blurred = call("gaussian_blur", jnp.asarray(image), 3 / 32)
    expected = ndimage.gaussian_filter(image[..., 0], 3, mode="reflect", truncate=8)
    np.testing.assert_allclose(blurred[..., 0], expected, atol=4e-3)  # the grid's Gaussian and the sampled one
    assert blurred.mean() == pytest.approx(image.mean(), rel=1e-5)


def test_defocus_spreads_a_point_over_a_disk(rng):
    radius = 4.0
    disk, variance = variance_of_a_point("defocus", radius / 41)
    y, x = np.mgrid[-20:21, -20:21]
    distance = np.hypot(y, x)
    assert disk.sum() == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(disk[distance < radius - 1], 1 / (np.pi * radius**2), rtol=0.1)
    assert np.abs(disk[distance > radius + 1.5]).max() < 1e-5
    # A disk's, and what is added by being linear between pixels, between 0 and 1/4.
    assert ((radius**2 / 4 < variance) & (variance < radius**2 / 4 + 0.25)).all()
    image = rng.random((32, 40, 1), np.float32)
    assert call("defocus", jnp.asarray(image), 0.08).mean() == pytest.approx(image.mean(), rel=1e-5)


def test_elastic_is_smooth_and_leaves_a_flat_image_alone():
    np.testing.assert_allclose(call("elastic", flat(0.4, height=64, width=64), 0.1), 0.4, atol=1e-6)
    ramp = jnp.broadcast_to(jnp.arange(64.0)[:, None, None], (64, 64, 1))
    moved = call("elastic", ramp, 0.03)[..., 0] - np.asarray(ramp)[..., 0]
    assert 0.3 < moved[8:-8, 8:-8].std() / (0.03 * 64) < 1.7
    assert np.abs(np.diff(moved[8:-8, 8:-8], axis=0)).max() < 1  # no folds


@pytest.mark.parametrize(("name", "value"), [("gaussian_noise", 0.12), ("speckle_noise", 0.06)])
def test_noise_has_the_deviation_it_is_given(name, value):
    image = flat(0.5, height=128, width=128, channels=3)
    noise = call(name, image, 0.12) - 0.5
    assert noise.std() == pytest.approx(value, rel=0.02) and abs(noise.mean()) < 0.003


@pytest.mark.parametrize("count", [0.2, 1.0, 3.0, 60.0])
def test_shot_noise_has_the_moments_of_a_count(count):
    strength = 0.25
    value = count * strength**2
    image = jnp.full((512, 512, 1), min(value, 1.0))
    strength = strength if value <= 1 else count**-0.5
    counts = call("shot_noise", image, strength) / strength**2
    n = counts.size
    # Mean, variance and third central moment of a Poisson count are its mean; the bounds are five standard errors.
    assert counts.mean() == pytest.approx(count, abs=5 * (count / n) ** 0.5)
    assert counts.var() == pytest.approx(count, rel=5 * ((2 + 1 / count) / n) ** 0.5 + 0.002)
    third = np.mean((counts - count) ** 3)
    assert third == pytest.approx(count, abs=1 / 54 + 5 * (15 * (count + 1) ** 3 / n) ** 0.5)


def test_fast_normals_are_jaxs_bit_for_bit():
    like = jnp.zeros((28, 28, 3))
    ours = jax.jit(lambda key: jax.vmap(lambda key: draws.normal(key, like))(jax.random.split(key, 2)))
    theirs = jax.jit(lambda key: jax.vmap(lambda key: jax.random.normal(key, like.shape))(jax.random.split(key, 2)))
    np.testing.assert_array_equal(ours(jax.random.key(5)), theirs(jax.random.key(5)))


def test_coarse_normals_are_normal():
    drawn = np.sort(np.asarray(draws.coarse_normal(jax.random.key(5), jnp.zeros((97, 101, 3)))).ravel())
    shares = (np.arange(drawn.size) + 0.5) / drawn.size
    # Kolmogorov's bound at a level of 1e-6, and no number is drawn for a second pixel.
    assert np.abs(special.ndtr(drawn) - shares).max() < 2.7 / drawn.size**0.5
    words = np.asarray(draws.coarse_normal(jax.random.key(5), jnp.zeros((16, 16, 1)))).ravel()
    assert len(np.unique(words)) > 250


@pytest.mark.parametrize("kind", ["rbg", "threefry2x32"])
def test_noise_takes_keys_of_any_kind(kind):
    for name in ("gaussian_noise", "shot_noise"):
        noisy = SHIFTS[name].shift(jax.random.key(0, impl=kind), flat(0.5), strength=0.1)
        assert 0.05 < float(noisy.std()) < 0.12


def test_shot_noise_leaves_black_alone():
    np.testing.assert_array_equal(call("shot_noise", flat(0.0), 0.5), 0)


@pytest.mark.parametrize("quality", [75, 50, 15])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows(quality, channels):
    picture = np.asarray(phantoms("dermoscopy")[0] * 255).round().astype(np.uint8)
    picture = picture if channels == 3 else picture[..., 1:2]
    stored = io.BytesIO()
    Image.fromarray(picture.squeeze()).save(stored, "JPEG", quality=quality)
    expected = np.asarray(Image.open(stored), np.float32).reshape(picture.shape)
    strength = 50 / quality if quality <= 50 else 2 - quality / 50
    ours = np.clip(call("jpeg", jnp.asarray(picture, jnp.float32) / 255, strength), 0, 1) * 255
    damage = np.abs(expected - picture).mean()
    assert np.abs(ours - expected).mean() < max(0.3 * damage, 0.6), (
        damage
    )  # Pillow rounds colors and pixels to whole numbers


def test_jpeg_takes_every_channel_of_six_as_a_grey_image():
    image = phantoms("dermoscopy")[0]
    six = call("jpeg", jnp.concatenate([image, image], -1), 2.0)
    np.testing.assert_allclose(six[..., 4:5], call("jpeg", image[..., 1:2], 2.0), atol=1e-5)


def test_pixelation_shows_means_of_squares(rng):
    image = rng.random((28, 32, 2), np.float32)
    squares = call("pixelation", jnp.asarray(image), 0.75)
    means = image.reshape(7, 4, 8, 4, 2).mean((1, 3))
    np.testing.assert_allclose(squares, means.repeat(4, 0).repeat(4, 1), rtol=1e-5)


def test_letters_stand_in_corners_and_have_the_height_they_are_given():
    sides = set()
    for seed in range(12):
        marked = call("letter", flat(0.2, height=64, width=80), 0.4, seed)[..., 0]
        rows, columns = np.nonzero(marked > 0.6)
        assert marked.min() == pytest.approx(0.2) and marked.max() == pytest.approx(1)
        assert np.ptp(rows) + 1 == pytest.approx(0.4 * 64 * (1 + 2 * 0.09), abs=2)
        assert rows.min() <= 8 or rows.max() >= 64 - 8
        right = columns.mean() > 40
        assert columns.max() >= 80 - 10 if right else columns.min() <= 10
        # An L has its foot alone on the right, an R has more above.
        middle = (columns.min() + columns.max()) / 2
        upper = marked[rows.min() : (rows.min() + rows.max()) // 2, round(middle) : columns.max() + 1]
        assert (upper.max() < 0.6) == right
        sides.add((bool(right), bool(rows.mean() > 32)))
    assert len(sides) == 4


@pytest.mark.parametrize("name", ["hue", "saturation"])
def test_color_needs_three_channels(name):
    with pytest.raises(ValueError, match="3 channels"):
        SHIFTS[name].shift(jax.random.key(0), flat(0.5, channels=6), strength=0.1)
    with pytest.raises(ValueError, match="3 channels, and these have 6"):
        shifts.apply(name, jax.random.key(0), jnp.zeros((2, 28, 28, 6)), IDS[:2], level=1)


def test_a_strength_between_levels():
    images = phantoms("dermoscopy")
    np.testing.assert_array_equal(run("contrast", images, level=2), run("contrast", images, strength=0.7))
    between = np.abs(run("motion_blur", images, strength=0.075) - images).mean()
    low, high = (np.abs(run("motion_blur", images, level=level) - images).mean() for level in (1, 2))
    assert low < between < high


def test_chains_apply_in_order_with_a_stream_of_the_key_each():
    image = flat(0.25, height=64, width=64)
    darker = chain(("brightness", 1.0), ("gamma", 1.0))(jax.random.key(0), image, strength=1.0)
    np.testing.assert_allclose(darker, 0.25, rtol=1e-5)  # (2 x 0.25)^2, and not 2 x 0.25^2
    noise = chain(("gaussian_noise", 0.1), ("gaussian_noise", 0.1))
    assert float(noise(jax.random.key(0), image, strength=1.0).std()) == pytest.approx(0.1 * 2**0.5, rel=0.05)
    np.testing.assert_array_equal(noise(jax.random.key(0), image, strength=0.0), image)


def test_joined_names_are_chains_at_the_parts_levels():
    images = phantoms("dermoscopy")
    name = "contrast+gaussian_noise"
    by_hand = chain(("contrast", STRENGTHS["contrast"][2]), ("gaussian_noise", STRENGTHS["gaussian_noise"][2]))
    key = keys.per_image(keys.stream(jax.random.key(0), name), IDS)[3]
    expected = np.clip(by_hand(key, images[3], strength=1.0), 0, 1)
    level = run(name, images, level=3)
    np.testing.assert_allclose(level[3], expected, atol=1e-5)
    np.testing.assert_array_equal(run(name, images, strength=3.0), level)
    np.testing.assert_array_equal(run(name, images, strength=0.0), images)
    assert lookup(name) is lookup(name)  # the same function, so that nothing compiles twice
    assert lookup("hue+jpeg").channels == (3,) and lookup("hue+jpeg").modalities == ("dermoscopy",)


@pytest.mark.parametrize(
    ("name", "how", "words"),
    [
        ("fog", {"level": 1}, "brightness.*joined by"),
        ("contrast+fog", {"level": 1}, "'fog'"),
        ("elastic", {"level": 0}, "from 1 to 5"),
        ("elastic", {}, "one of the two"),
        ("elastic", {"level": 1, "strength": 0.1}, "one of the two"),
        ("elastic", {"strength": -0.1}, "from 0"),
        ("elastic", {"strength": float("nan")}, "from 0"),
    ],
)
def test_what_there_is_not(name, how, words):
    with pytest.raises(ValueError, match=words):
        shifts.apply(name, jax.random.key(0), jnp.zeros((2, 28, 28, 3)), IDS[:2], **how)


def test_a_chain_of_nothing():
    with pytest.raises(ValueError, match="at least one"):
        chain()
    with pytest.raises(ValueError, match="'fog'"):
        chain(("fog", 1.0))
