"""Dermoscopy phantoms: a pigmented skin lesion under a dermoscope, benign or malignant."""

from types import MappingProxyType
from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax.phantoms import primitives as draw
from sfjax.phantoms.base import Factor, Factors, Phantom, Subclass, anatomy, by_domain, by_subclass, mark, pose

SUBCLASSES: Final = (
    Subclass("common nevus", "benign", 3),
    Subclass("dermal nevus", "benign", 1),
    Subclass("seborrheic keratosis", "benign", 1),
    Subclass("superficial spreading melanoma", "malignant", 3),
    Subclass("nodular melanoma", "malignant", 1),
    Subclass("amelanotic melanoma", "malignant", 0),
    Subclass("Reed nevus", "benign", 0),
)

FACTORS: Final[dict[str, Factor]] = {
    # common nevus, dermal nevus, seborrheic keratosis, spreading, nodular and amelanotic melanoma, Reed nevus
    "asymmetry": by_subclass(0.20, 0.15, 0.25, 0.65, 0.50, 0.45, 0.15, spread=0.14),
    "border_irregularity": by_subclass(0.22, 0.15, 0.25, 0.62, 0.40, 0.45, 0.18, spread=0.13),
    "border_abruptness": by_subclass(0.35, 0.25, 0.80, 0.60, 0.70, 0.25, 0.75, spread=0.15),
    "variegation": by_subclass(0.20, 0.10, 0.25, 0.65, 0.55, 0.40, 0.15, spread=0.14),
    "pigment": by_subclass(0.50, 0.12, 0.45, 0.62, 0.80, 0.12, 0.72, spread=0.10),
    "redness": by_subclass(0.10, 0.45, 0.10, 0.20, 0.30, 0.60, 0.05, spread=0.10),
    "network": by_subclass(0.55, 0.05, 0.05, 0.50, 0.10, 0.05, 0.30, spread=0.18),
    "globules": by_subclass(0.25, 0.10, 0.20, 0.40, 0.30, 0.05, 0.45, spread=0.15),
    "milia_cysts": by_subclass(0.02, 0.05, 0.70, 0.04, 0.04, 0.02, 0.00, spread=0.10),
    "blue_white_veil": by_subclass(0.04, 0.00, 0.06, 0.32, 0.65, 0.22, 0.02, spread=0.16),
    "vessels": by_subclass(0.05, 0.25, 0.05, 0.12, 0.25, 0.55, 0.00, spread=0.12),
    "streaks": by_subclass(0.04, 0.00, 0.00, 0.25, 0.10, 0.00, 0.80, spread=0.14),
    "diameter": by_subclass(0.48, 0.44, 0.52, 0.60, 0.55, 0.48, 0.46, spread=0.08, low=0.25, high=0.8),
    "skin_tone": anatomy(0.35, 0.25),
    "hair": anatomy(0.10, 0.30),
    "elongation": anatomy(0.15, 0.10, 0.0, 0.5),
    "position_y": pose(-0.15, 0.15),
    "position_x": pose(-0.15, 0.15),
    "angle": pose(0.0, 6.2831),
    # handheld polarized, contact with gel, smartphone adapter
    "illumination": by_domain(1.00, 0.93, 0.78, spread=0.05, low=0.3, high=1.5),
    "warmth": by_domain(0.00, 0.04, 0.16, spread=0.03, low=-0.5, high=0.5),
    "saturation": by_domain(1.00, 0.92, 1.30, spread=0.05, low=0.0, high=2.0),
    "field_of_view": by_domain(1.50, 1.20, 0.98, spread=0.08, low=0.8, high=2.0),
    "blur": by_domain(0.008, 0.012, 0.024, spread=0.004, low=0.0, high=0.1),
    "noise": by_domain(0.010, 0.014, 0.030, spread=0.003, low=0.0, high=0.2),
    "gel_bubbles": mark(0.02, 0.35, 0.05),
    "ruler": mark(0.15, 0.10, 0.45),
    "ink": mark(0.04, 0.05, 0.35),
}


def _skin(dice: draw.Dice, factors: Factors, size: int) -> Float[Array, "h w k"]:
    base = draw.mix(draw.color(0.92, 0.74, 0.65), draw.color(0.66, 0.45, 0.34), factors["skin_tone"])
    shade = 0.035 * dice.noise(size, 3, 3) + 0.018 * dice.noise(size, 24, 2)
    return base * (1.0 + shade)[..., None] + shade[..., None] * draw.color(0.05, -0.15, -0.15)


def _honeycomb(y: Float[Array, "h w"], x: Float[Array, "h w"], frequency: float) -> Float[Array, "h w"]:
    """Returns the lines of a pigment network, about in [0, 1]: the ridges between the holes of a hexagonal lattice."""
    waves = sum(jnp.cos(frequency * (y * jnp.cos(turn) + x * jnp.sin(turn))) for turn in (0.0, 2.0944, 4.1888))
    return jnp.clip(0.55 - 0.45 * waves, 0.0, 1.0)


def _scattered(
    dice: draw.Dice, count: int, reach: Float[Array, ""], radius: float, shown: Float[Array, ""], size: int,
    center: tuple[Float[Array, ""], Float[Array, ""]],
) -> Float[Array, "h w"]:  # fmt: skip
    """Returns a field of round dots around `center`, of which the share `shown` is there."""
    at = reach * jnp.clip(0.5 * dice.normal(count, 2), -1.0, 1.0)
    radii = dice.uniform(count, low=0.6 * radius, high=1.4 * radius)
    height = (dice.uniform(count) < shown).astype(jnp.float32)
    return jnp.minimum(draw.spots(center[0] + at[:, 0], center[1] + at[:, 1], radii, height, size, dice.zoom), 1.2)


def render(
    key: Key[Array, ""], factors: Factors, size: int, *, zoom: draw.Scalar | None = None
) -> Float[Array, "h w k"]:
    """Returns a lesion on skin, (size, size, 3) in [0, 1].

    Args:
        key: The key of everything random that is no factor.
        factors: The values of `FACTORS`.
        size: Pixels a side.
        zoom: How many times as large the skin is shown, from 1 up; what is on or in the dermoscope stays as it is.
    """
    f = factors
    of_shapes, of_sensor = jax.random.split(key)
    dice = draw.Dice(of_shapes, 8192, zoom)
    y, x = draw.grid(size, zoom)
    skin = _skin(dice, f, size)

    center = (f["position_y"], f["position_x"])
    v, u = draw.local(y, x, *center, f["angle"])
    ragged = 0.075 * f["border_irregularity"]
    v = v + ragged * dice.noise(size, 7, 2)
    u = u + ragged * dice.noise(size, 7, 2)
    u, v = u * (1.0 - f["elongation"]), v * (1.0 + f["elongation"])
    # Asymmetry: one half is narrower than the other, and (below) darker.
    v_lopsided = v * (1.0 + 0.5 * f["asymmetry"] * jnp.tanh(3.0 * u))
    level = draw.star(dice, v_lopsided, u, f["diameter"], 0.22 * f["border_irregularity"])
    mask = draw.soft(level, 0.45 - 0.38 * f["border_abruptness"])
    depth = jnp.clip(level, 0.0, 1.0)

    patches = dice.noise(size, 5, 2)
    pigment = f["pigment"] * (0.55 + 0.45 * jnp.sqrt(depth))
    pigment = pigment + 0.30 * f["variegation"] * patches + 0.35 * f["asymmetry"] * jnp.tanh(2.5 * u)
    rim = jnp.exp(-(((depth - 0.25) / 0.3) ** 2))
    bent = 0.035 * patches
    lines = (_honeycomb(v + bent, u - bent, 58.0) - 0.4) * rim * draw.soft(0.8 + dice.noise(size, 6), 2.0)
    pigment = pigment + 0.60 * f["network"] * lines
    reach = 0.9 * f["diameter"]
    pigment = pigment + 0.45 * _scattered(dice, 40, reach, 0.021, f["globules"], size, center)
    streaks = jnp.clip(1.6 * (f["streaks"] - 0.25), 0.0, 1.0)
    spokes = jnp.cos(19.0 * jnp.arctan2(v, u) + 3.0 * patches) * (0.7 + 0.3 * patches) * jnp.exp(-((level / 0.22) ** 2))
    mask = jnp.clip(mask + jnp.where(level < 0.1, 0.6 * streaks * spokes, 0.0), 0.0, 1.0)
    pigment = jnp.clip(pigment + 0.4 * streaks * spokes, 0.0, 1.15)

    lesion = draw.mix(skin, draw.color(0.71, 0.47, 0.31), jnp.clip(pigment * 3.0, 0.0, 1.0))
    lesion = draw.mix(lesion, draw.color(0.42, 0.24, 0.15), jnp.clip(pigment * 2.5 - 0.75, 0.0, 1.0))
    lesion = draw.mix(lesion, draw.color(0.14, 0.09, 0.09), jnp.clip(pigment * 2.2 - 1.30, 0.0, 1.0))
    flush = f["redness"] * (0.7 + 0.3 * dice.noise(size, 4))
    lesion = draw.mix(lesion, draw.color(0.83, 0.42, 0.40), jnp.clip(0.9 * flush, 0.0, 0.8))
    veil = draw.soft(dice.noise(size, 3) + 1.2 * depth - 1.3 + f["blue_white_veil"], 0.8)
    lesion = draw.mix(lesion, draw.color(0.46, 0.51, 0.62), jnp.clip(1.1 * f["blue_white_veil"], 0.0, 0.9) * veil)
    scar = draw.soft(-patches - 1.5, 0.4) * f["variegation"]
    lesion = draw.mix(lesion, draw.color(0.90, 0.78, 0.75), 0.7 * jnp.clip(scar, 0.0, 1.0))
    cysts = _scattered(dice, 26, reach, 0.025, f["milia_cysts"], size, center)
    lesion = draw.mix(lesion, draw.color(0.93, 0.86, 0.74), jnp.clip(0.9 * cysts, 0.0, 1.0))
    threads = jnp.exp(-((dice.noise(size, 9) / 0.07) ** 2)) * draw.soft(dice.noise(size, 5) + 0.5, 1.0)
    lesion = draw.mix(lesion, draw.color(0.70, 0.16, 0.20), jnp.clip(1.2 * f["vessels"], 0.0, 1.0) * threads)
    image = draw.mix(skin, lesion, mask)

    bubbles = _scattered(dice, 8, jnp.float32(1.8), 0.05, 0.8 * f["gel_bubbles"], size, center)
    glint = bubbles - 2.0 * jnp.maximum(bubbles - 0.5, 0.0)
    image = image + 0.35 * jnp.where(bubbles > 0.25, glint, 0.0)[..., None]
    shown = dice.uniform(9) < f["hair"]
    hair = draw.arcs(dice, y, x, shown.astype(jnp.float32), bend=0.25, width=0.022, zoom=zoom)
    image = draw.mix(image, draw.color(0.16, 0.11, 0.09), 0.85 * hair)
    screen_y, screen_x = draw.grid(size)
    image = _marks(image, f, screen_y, screen_x, dice)
    return _camera(image, f, screen_y, screen_x, of_sensor)


def _marks(
    image: Float[Array, "h w k"], f: Factors, y: Float[Array, "h w"], x: Float[Array, "h w"], dice: draw.Dice
) -> Float[Array, "h w k"]:
    """Returns `image` with a ruler's ticks along the lower edge and a surgeon's pen stroke beside the lesion."""
    ticks = jnp.abs(jnp.mod(x * 5.0, 1.0) - 0.5) < 0.09
    long = jnp.mod(jnp.floor(x * 5.0), 5.0) == 0.0
    ruler = ticks & (y > jnp.where(long, 0.76, 0.85))
    image = draw.mix(image, draw.color(0.10, 0.10, 0.12), 0.9 * f["ruler"] * ruler.astype(jnp.float32))
    v, u = draw.local(y, x, 0.0, 0.0, dice.uniform(high=6.2831))
    r = jnp.sqrt(v * v + u * u)
    pen = jnp.exp(-(((r - 0.88) / 0.05) ** 2)) * draw.soft(u - 0.35, 0.3)
    return draw.mix(image, draw.color(0.27, 0.16, 0.52), 0.8 * f["ink"] * pen)


def _camera(
    image: Float[Array, "h w k"], f: Factors, y: Float[Array, "h w"], x: Float[Array, "h w"], key: Key[Array, ""]
) -> Float[Array, "h w k"]:
    grey = image.mean(2, keepdims=True)
    image = grey + f["saturation"] * (image - grey)
    image = image * (1.0 + f["warmth"] * draw.color(1.0, 0.1, -1.2)) * f["illumination"]
    image = image * (1.0 - 0.16 * (y * y + x * x))[..., None]
    image = draw.blur(image, f["blur"])
    image = image * draw.vignette(y, x, f["field_of_view"], 0.12)[..., None]
    return jnp.clip(draw.sensor(key, image, f["noise"]), 0.0, 1.0)


PHANTOM: Final = Phantom(
    name="dermoscopy",
    title="Dermoscopy",
    classes=("benign", "malignant"),
    channels=3,
    subclasses=SUBCLASSES,
    domains=("clinic A", "clinic B", "clinic C"),
    acquisition="acq_clinic_c",
    manifestation="manif_rare_lesions",
    factors=MappingProxyType(FACTORS),
    render=render,
)
