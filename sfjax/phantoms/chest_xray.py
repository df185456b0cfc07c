"""Chest X-ray phantoms: a frontal radiograph with one of seven findings or none."""

from types import MappingProxyType
from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax.phantoms import primitives as draw
from sfjax.phantoms.base import Factor, Factors, Phantom, Subclass, anatomy, by_domain, by_subclass, mark, pose

CLASSES: Final = (
    "No Finding", "Cardiomegaly", "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax",
    "Pleural Effusion",
)  # fmt: skip

SUBCLASSES: Final = (
    Subclass("no finding", "No Finding", 2),
    Subclass("cardiomegaly", "Cardiomegaly"),
    Subclass("edema", "Edema"),
    Subclass("lobar consolidation", "Consolidation"),
    Subclass("bronchopneumonia", "Pneumonia"),
    Subclass("basal atelectasis", "Atelectasis"),
    Subclass("pneumothorax", "Pneumothorax"),
    Subclass("pleural effusion", "Pleural Effusion"),
    Subclass("miliary pneumonia", "Pneumonia", 0),
    Subclass("apical consolidation", "Consolidation", 0),
    Subclass("small apical pneumothorax", "Pneumothorax", 0),
    Subclass("massive effusion", "Pleural Effusion", 0),
)


def _finding(spread: float, background: float, **centers: float) -> Factor:
    """Returns a class factor centered at `background`, but in the subclasses whose name holds a word of `centers`."""
    named = [[center for word, center in centers.items() if word in subclass.name] for subclass in SUBCLASSES]
    return by_subclass(*(found[0] if found else background for found in named), spread=spread, stray=0.005)


FACTORS: Final[dict[str, Factor]] = {
    "heart_size": _finding(0.06, 0.22, cardiomegaly=0.78, edema=0.35),
    "edema": _finding(0.10, 0.03, edema=0.80, cardiomegaly=0.08),
    "consolidation": _finding(0.10, 0.00, consolidation=0.85),
    "opacity_height": _finding(0.12, 0.70, apical=0.12),
    "pneumonia": _finding(0.09, 0.02, broncho=0.85),
    "miliary": _finding(0.08, 0.00, miliary=0.75),
    "atelectasis": _finding(0.11, 0.03, atelectasis=0.80),
    "pneumothorax": _finding(0.10, 0.00, small=0.30, pneumothorax=0.75),
    "effusion": _finding(0.09, 0.00, massive=1.0, effusion=0.65, edema=0.04),
    "side": anatomy(0.0, 50.0, -1.0, 1.0),
    "lung_width": anatomy(0.50, 0.20),
    "lung_height": anatomy(0.50, 0.20),
    "fat": anatomy(0.40, 0.20),
    "rib_contrast": anatomy(0.50, 0.15),
    "shift_y": pose(-0.06, 0.06),
    "shift_x": pose(-0.06, 0.06),
    "rotation": pose(-0.07, 0.07),
    # two upright units, and the portable one of an intensive care ward
    "magnification": by_domain(1.00, 1.02, 1.05, spread=0.02, low=0.8, high=1.3),
    "heart_magnification": by_domain(0.00, 0.01, 0.05, spread=0.02, low=0.0, high=0.5),
    "exposure": by_domain(0.00, 0.04, -0.06, spread=0.03, low=-0.3, high=0.3),
    "contrast": by_domain(1.00, 1.06, 0.92, spread=0.04, low=0.4, high=1.6),
    "scatter": by_domain(0.02, 0.02, 0.04, spread=0.015, low=0.0, high=0.3),
    "blur": by_domain(0.012, 0.010, 0.016, spread=0.003, low=0.0, high=0.1),
    "noise": by_domain(0.026, 0.040, 0.052, spread=0.010, low=0.0, high=0.2),
    "field_of_view": by_domain(1.05, 1.01, 0.97, spread=0.02, low=0.8, high=1.2),
    "letter": mark(0.90, 0.60, 0.05),
    "portable_letters": mark(0.00, 0.00, 0.85),
    "cables": by_domain(0.02, 0.02, 0.50, spread=0.12),
}


def render(
    key: Key[Array, ""], factors: Factors, size: int, *, zoom: draw.Scalar | None = None
) -> Float[Array, "h w k"]:
    """Returns a frontal radiograph, (size, size, 1) in [0, 1]; dense tissue is bright.

    The patient's left is on the right of the image, as on a light box. What is behind one another adds up, as in a
    projection.

    Args:
        key: The key of everything random that is no factor.
        factors: The values of `FACTORS`.
        size: Pixels a side.
        zoom: How many times as large the patient is shown, from 1 up; what lies on or in the detector stays as it is.
    """
    f = factors
    of_shapes, of_sensor = jax.random.split(key)
    dice = draw.Dice(of_shapes, 8192, zoom)
    screen_y, screen_x = draw.grid(size)
    scene_y, scene_x = draw.grid(size, zoom)
    y, x = draw.local(scene_y, scene_x, f["shift_y"], f["shift_x"], f["rotation"])
    y, x = y / f["magnification"], x / f["magnification"]
    side = jnp.where(f["side"] < 0, -1.0, 1.0)
    ax = jnp.abs(x)
    lungs, base, rim = _lungs(f, y, x, side)

    shoulders = draw.soft(y + 0.98 - 0.55 * jnp.maximum(ax - 0.28, 0.0) ** 1.2, 0.06)
    body = shoulders * draw.soft(0.98 + 0.12 * f["fat"] - ax + 0.10 * jnp.cos(3.0 * y), 0.08)
    thick = 0.50 + 0.10 * f["fat"] * (1.0 - lungs)
    density = body * (thick + 0.10 * draw.soft(y - 0.55, 0.5) + 0.03 * dice.noise(size, 4, 2))

    # Heart, great vessels, spine and windpipe.
    heart_width = 0.22 + 0.40 * f["heart_size"] + f["heart_magnification"]
    hy, hx = draw.local(y, x, 0.33, 0.02 + 0.45 * heart_width - 0.10, jnp.float32(-0.35))
    heart = draw.soft(draw.star(dice, hy * 1.15, hx * 0.92, heart_width + 0.04, 0.05), 0.22)
    band = draw.soft(0.135 + 0.05 * jnp.maximum(y, 0.0) + 0.03 * jnp.cos(4.0 * y) - ax, 0.07)
    knob = draw.soft(0.11 - jnp.sqrt((y + 0.26) ** 2 + (x - 0.14) ** 2), 0.06)
    middle = jnp.maximum(jnp.maximum(heart, band), knob)
    spine = draw.soft(0.075 - ax, 0.04) * (0.6 + 0.4 * jnp.cos(34.0 * y))
    windpipe = draw.soft(0.045 - jnp.abs(x - 0.01), 0.04) * draw.soft(-0.30 - y, 0.15)
    density = density + body * (0.05 * middle + 0.06 * spine - 0.13 * windpipe)

    density = density + _bones(f, y, x, lungs, body)
    solid = [0.92 * middle, _vessels(dice, f, y, x, size) * (1.0 - rim), *_opacities(dice, f, y, x, side, base, size)]
    # Free air: darker than lung, with no vessels in it, behind a fine line.
    line = jnp.exp(-(((rim - 0.5) / 0.30) ** 2)) * lungs * jnp.clip(4.0 * f["pneumothorax"], 0.0, 1.0)
    density = density - 0.16 * rim * lungs * (1.0 - middle) + 0.09 * line
    # Fluid sinks: a level that climbs at the chest wall.
    climb = 0.35 * jnp.clip(ax - 0.25, 0.0, 1.0) ** 2
    surface = base - 1.45 * f["effusion"] - climb + 0.14
    wet = draw.soft(y - surface, 0.16) * draw.soft(side * x - 0.10, 0.08) * jnp.clip(5.0 * f["effusion"], 0.0, 1.0)
    # What is solid takes the place of air, and none can take more than there is.
    air = lungs
    for filled in (*solid, 0.95 * wet):
        air = air * (1.0 - jnp.clip(filled, 0.0, 1.0))
    density = density - 0.36 * air + 0.07 * wet * lungs
    cables = draw.arcs(dice, screen_y, screen_x, f["cables"] * jnp.ones(4, jnp.float32), bend=0.5, width=0.03)
    density = density + 0.22 * cables
    return _detector(density, f, screen_y, screen_x, of_sensor)


def _lungs(
    f: Factors, y: Float[Array, "h w"], x: Float[Array, "h w"], side: Float[Array, ""]
) -> tuple[Float[Array, "h w"], Float[Array, "h w"], Float[Array, "h w"]]:
    """Returns where lungs are, the rows of the diaphragm, and where a collapsed lung has left room."""
    right = (x < 0).astype(jnp.float32)
    width = 0.34 + 0.08 * f["lung_width"]
    middle = 0.44 + 0.04 * f["lung_width"]
    dome = (jnp.abs(x) - 0.42) / 0.40
    raised = 0.26 * f["atelectasis"] * draw.soft(side * x, 0.05)
    # The right dome of the diaphragm, on the left of the image, stands higher.
    base = 0.52 + 0.14 * f["lung_height"] - 0.07 * right + 0.20 * dome * dome - raised
    top = -0.80
    height = jnp.clip((y - top) / 1.5, 0.0, 1.0)
    # A lung is narrow at its apex and widens downwards; its inner border is steeper than its outer one.
    reach = width * jnp.sqrt(jnp.clip(1.0 - (1.0 - height) ** 3.2, 0.0, 1.0))
    offset = (jnp.abs(x) - middle + 0.10 * (1.0 - height)) / jnp.maximum(reach, 0.02)
    level = 1.0 - jnp.abs(offset)
    lungs = draw.soft(level, 0.22) * draw.soft(y - top, 0.05) * draw.soft(base - y, 0.05)
    # The collapsed lung leaves the wall and the apex.
    gap = 0.95 * f["pneumothorax"]
    away = -jnp.logaddexp(8.0 * (gap - 1.0 + offset), 8.0 * (gap - (y - top) / 0.45)) / 8.0
    rim = draw.soft(-away, 0.10) * draw.soft(side * x, 0.05) * jnp.clip(6.0 * f["pneumothorax"], 0.0, 1.0)
    return lungs, base, rim


def _bones(
    f: Factors, y: Float[Array, "h w"], x: Float[Array, "h w"], lungs: Float[Array, "h w"], body: Float[Array, "h w"]
) -> Float[Array, "h w"]:
    """Returns the added density of ribs, behind and in front, and collar bones."""
    ax = jnp.abs(x)
    behind = jnp.cos(6.2831 * (y - 0.55 * ax + 0.75 * ax * ax) / 0.20)
    front = jnp.cos(6.2831 * (y + 0.70 * ax - 0.10) / 0.27)
    ribs = 0.55 * jax.nn.sigmoid(5.0 * behind - 1.5)
    ribs = ribs + 0.35 * jax.nn.sigmoid(5.0 * front - 2.5) * draw.soft(ax - 0.3, 0.2)
    ends = draw.soft(0.92 - ax, 0.12) * draw.soft(ax - 0.08, 0.1)
    ends = ends * draw.soft(0.75 - y, 0.2) * draw.soft(y + 0.80, 0.15)
    collar = jnp.exp(-(((y + 0.66 + 0.22 * ax - 0.10 * jnp.sin(5.0 * ax)) / 0.045) ** 2)) * draw.soft(0.8 - ax, 0.1)
    collar = collar * draw.soft(ax - 0.10, 0.06)
    return body * (f["rib_contrast"] * 0.17 * ribs * ends * (0.5 + 0.5 * lungs) + 0.12 * collar)


def _vessels(
    dice: draw.Dice, f: Factors, y: Float[Array, "h w"], x: Float[Array, "h w"], size: int
) -> Float[Array, "h w"]:
    """Returns the share of the air that vessels displace: ridges that radiate from the hila and fade outwards."""
    from_hilum = jnp.sqrt((jnp.abs(x) - 0.16) ** 2 + (0.8 * (y - 0.02)) ** 2)
    coarse, fine = dice.noise(size, 9), dice.noise(size, 17)
    ridges = jnp.exp(-((coarse / 0.25) ** 2)) + 0.6 * jnp.exp(-((fine / 0.25) ** 2))
    hilum = jnp.exp(-((from_hilum / 0.14) ** 2))
    return (0.34 + 0.2 * f["edema"]) * ridges * jnp.exp(-((from_hilum / 0.45) ** 2)) + 0.4 * hilum


def _opacities(
    dice: draw.Dice,
    f: Factors,
    y: Float[Array, "h w"],
    x: Float[Array, "h w"],
    side: Float[Array, ""],
    base: Float[Array, "h w"],
    size: int,
) -> list[Float[Array, "h w"]]:
    """Returns the shares of the air spaces that each disease fills."""
    ax = jnp.abs(x)
    # Edema: both sides, about the hila, like the wings of a bat.
    wings = jnp.exp(-(((ax - 0.34) / 0.24) ** 2 + ((y - 0.05) / 0.42) ** 2))
    edema = f["edema"] * wings * (0.8 + 0.25 * dice.noise(size, 8, 2))
    # Consolidation: one lobe, dense, sharply bounded by a fissure below or above.
    cy = -0.45 + 0.85 * f["opacity_height"]
    level = draw.star(dice, (y - cy) * 1.25, x - side * 0.45, 0.36, 0.16)
    lobe = draw.soft(level, 0.16) * (1.0 + 0.10 * dice.noise(size, 10))
    consolidation = 1.05 * f["consolidation"] * lobe
    # Bronchopneumonia: ill-defined patches, more on one side and below.
    where = jnp.exp(-(((y - 0.10) / 0.50) ** 2)) * (0.65 + 0.35 * draw.soft(side * x, 0.1))
    pneumonia = 1.25 * f["pneumonia"] * draw.soft(dice.noise(size, 11) + 0.1, 0.8) * where
    # Atelectasis: plates across the base of the lung with less air.
    plates = sum(
        jnp.exp(-(((y - base + height + slope * (ax - 0.4)) / 0.034) ** 2))
        for height, slope in ((0.10, 0.10), (0.20, -0.12), (0.32, 0.20))
    )
    plates = plates * draw.soft(side * x - 0.12, 0.1) * draw.soft(0.75 - ax, 0.2)
    atelectasis = f["atelectasis"] * (1.1 * plates + 0.3 * draw.soft(y - base + 0.28, 0.2) * draw.soft(side * x, 0.1))
    # Miliary pneumonia: fine grains everywhere.
    grains = draw.soft(dice.noise(size, 36) - 1.1, 0.8)
    return [edema, consolidation, pneumonia, atelectasis, 0.8 * f["miliary"] * grains]


def _detector(
    density: Float[Array, "h w"], f: Factors, y: Float[Array, "h w"], x: Float[Array, "h w"], key: Key[Array, ""]
) -> Float[Array, "h w k"]:
    """Returns the developed film: contrast, scattered light, blur, noise, letters and the collimator's edge."""
    image = (density - 0.42) * f["contrast"] * 1.45 + 0.52 + f["exposure"]
    image = draw.blur(image[..., None], f["blur"])
    image = image + f["scatter"] * (0.8 - image)
    image = draw.sensor(key, image, f["noise"])[..., 0]
    letters = jnp.maximum(
        f["letter"] * draw.text("L", y, x, -0.80, 0.82, 0.14),
        f["portable_letters"] * draw.text("AP", y, x, -0.78, -0.70, 0.14),
    )
    image = draw.mix(image, jnp.float32(0.97), letters)
    inside = draw.soft(f["field_of_view"] - jnp.maximum(jnp.abs(y), jnp.abs(x)), 0.02)
    return jnp.clip(image * inside, 0.0, 1.0)[..., None]


PHANTOM: Final = Phantom(
    name="chest_xray",
    title="Chest X-ray",
    classes=CLASSES,
    channels=1,
    subclasses=SUBCLASSES,
    domains=("hospital A", "hospital B", "portable unit"),
    acquisition="acq_portable",
    manifestation="manif_rare_findings",
    factors=MappingProxyType(FACTORS),
    render=render,
)
