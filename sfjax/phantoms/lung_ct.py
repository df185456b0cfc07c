"""Lung CT phantoms: an axial patch around a pulmonary nodule, benign or malignant."""

from types import MappingProxyType
from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax.phantoms import primitives as draw
from sfjax.phantoms.base import Factor, Factors, Phantom, Subclass, anatomy, by_domain, by_subclass, pose

SUBCLASSES: Final = (
    Subclass("granuloma", "benign", 2),
    Subclass("intrapulmonary lymph node", "benign", 1),
    Subclass("solid adenocarcinoma", "malignant", 2),
    Subclass("part-solid adenocarcinoma", "malignant", 1),
    Subclass("ground-glass adenocarcinoma", "malignant", 0),
    Subclass("calcified hamartoma", "benign", 0),
)

FACTORS: Final[dict[str, Factor]] = {
    # granuloma, lymph node, solid, part-solid, ground-glass adenocarcinoma, calcified hamartoma
    "diameter": by_subclass(0.24, 0.20, 0.33, 0.36, 0.34, 0.42, spread=0.07, low=0.1, high=0.65),
    "spiculation": by_subclass(0.15, 0.06, 0.65, 0.50, 0.15, 0.10, spread=0.21),
    "lobulation": by_subclass(0.20, 0.10, 0.50, 0.45, 0.25, 0.60, spread=0.15),
    "solidity": by_subclass(0.90, 0.85, 0.88, 0.55, 0.12, 0.95, spread=0.08),
    "edge_sharpness": by_subclass(0.75, 0.80, 0.60, 0.40, 0.20, 0.85, spread=0.12),
    "texture": by_subclass(0.12, 0.10, 0.35, 0.45, 0.40, 0.20, spread=0.12),
    "calcification": by_subclass(0.10, 0.00, 0.03, 0.00, 0.00, 0.85, spread=0.08),
    "pleural_tail": by_subclass(0.08, 0.15, 0.45, 0.40, 0.25, 0.05, spread=0.18),
    "vessel_density": anatomy(0.50, 0.20),
    "emphysema": anatomy(0.20, 0.25),
    "wall_distance": anatomy(0.95, 0.30, 0.35, 1.8),
    "elongation": anatomy(0.12, 0.08, 0.0, 0.4),
    "position_y": pose(-0.12, 0.12),
    "position_x": pose(-0.12, 0.12),
    "angle": pose(0.0, 6.2831),
    "wall_angle": pose(0.0, 6.2831),
    # scanner A, scanner B, low-dose screening scanner with a sharp kernel
    "noise": by_domain(0.025, 0.035, 0.065, spread=0.008, low=0.0, high=0.4),
    "streaks": by_domain(0.00, 0.01, 0.05, spread=0.008, low=0.0, high=0.3),
    "slice_blur": by_domain(0.016, 0.022, 0.010, spread=0.004, low=0.0, high=0.1),
    "kernel_sharpness": by_domain(0.10, 0.20, 1.10, spread=0.08, low=0.0, high=3.0),
    "window_center": by_domain(0.00, 0.02, -0.04, spread=0.012, low=-0.3, high=0.3),
    "window_width": by_domain(1.00, 0.95, 1.06, spread=0.03, low=0.5, high=2.0),
}


def _vessels(dice: draw.Dice, density: Float[Array, ""], size: int) -> Float[Array, "h w"]:
    """Returns vessels cut along (branches) and across (dots), about in [0, 1]."""
    y, x = draw.grid(size, dice.zoom)
    m = 5
    angle = dice.uniform(m, high=6.2831)
    a = dice.uniform(m, 2, low=-1.1, high=1.1)
    reach = dice.uniform(m, low=0.3, high=0.9)
    b = a + jnp.stack([jnp.sin(angle), jnp.cos(angle)], 1) * reach[:, None]
    # Each vessel gives off one branch to either side.
    fork = 0.5 * (a + b)
    ends = [fork + 0.7 * reach[:, None] * jnp.stack([jnp.sin(t), jnp.cos(t)], 1) for t in (angle + 0.6, angle - 0.7)]
    segments = jnp.concatenate([jnp.concatenate([a, b], 1), *(jnp.concatenate([fork, end], 1) for end in ends)])
    thickness = dice.uniform(m, low=0.035, high=0.085)
    thickness = jnp.where(dice.uniform(m) < density, thickness, 0.0) + 1e-4
    thickness = jnp.concatenate([thickness, 0.6 * thickness, 0.6 * thickness])
    bent_y, bent_x = y + 0.07 * dice.noise(size, 4), x + 0.07 * dice.noise(size, 4)
    branches = draw.strokes(bent_y, bent_x, segments, thickness, taper=0.75, zoom=dice.zoom)
    at = dice.uniform(2, 22, low=-1.0, high=1.0)
    radius = dice.uniform(22, low=0.012, high=0.045)
    height = (dice.uniform(22) < density).astype(jnp.float32)
    return jnp.clip(0.75 * branches + draw.spots(at[0], at[1], radius, height, size, dice.zoom), 0.0, 1.0)


def _spicules(dice: draw.Dice, v: Float[Array, "h w"], u: Float[Array, "h w"], f: Factors) -> Float[Array, "h w"]:
    """Returns fine strands that leave the nodule, about in [0, 1]."""
    m = 14
    angle = (jnp.arange(m, dtype=jnp.float32) + dice.uniform(m)) * (6.2831 / m)
    reach = f["diameter"] * (1.0 + f["spiculation"] * dice.uniform(m, low=0.0, high=1.6))
    direction = jnp.stack([jnp.sin(angle), jnp.cos(angle)], 1)
    segments = jnp.concatenate([0.6 * f["diameter"] * direction, reach[:, None] * direction], 1)
    strands = draw.strokes(v, u, segments, dice.uniform(m, low=0.04, high=0.10), taper=0.9, zoom=dice.zoom)
    return 0.9 * strands * jnp.clip(2.0 * f["spiculation"], 0.0, 1.0)


def render(
    key: Key[Array, ""], factors: Factors, size: int, *, zoom: draw.Scalar | None = None
) -> Float[Array, "h w k"]:
    """Returns a patch of lung with a nodule in it, (size, size, 1) in [0, 1], in a lung window.

    Args:
        key: The key of everything random that is no factor.
        factors: The values of `FACTORS`.
        size: Pixels a side.
        zoom: How many times as large the lung is shown, from 1 up; the scanner's kernel, streaks and window stay.
    """
    f = factors
    of_shapes, of_sensor = jax.random.split(key)
    dice = draw.Dice(of_shapes, 10240, zoom)
    y, x = draw.grid(size, zoom)

    air = 0.16 + 0.025 * dice.noise(size, 5, 4)
    holes = draw.soft(dice.noise(size, 8) - 1.0, 0.6) * f["emphysema"]
    density = air - 0.10 * holes
    density = jnp.maximum(density, 0.70 * _vessels(dice, f["vessel_density"], size))

    v, u = draw.local(y, x, f["position_y"], f["position_x"], f["angle"])
    level = draw.star(
        dice, v * (1.0 + f["elongation"]), u * (1.0 - f["elongation"]), f["diameter"], 0.30 * f["lobulation"]
    )
    mask = draw.soft(level, 0.75 - 0.60 * f["edge_sharpness"])
    mottled = dice.noise(size, 14, 2)
    core = draw.soft(level - 0.5 + 0.3 * mottled, 0.5) * draw.soft(jnp.full_like(v, 1.0) * (f["solidity"] - 0.3), 0.3)
    solid = jnp.maximum(core, jnp.clip(f["solidity"] * 2.4 - 1.3, 0.0, 1.0))
    tissue = 0.40 + 0.34 * solid + 0.10 * f["texture"] * mottled
    strands = _spicules(dice, v, u, f)
    density = jnp.maximum(density, 0.16 + (0.30 + 0.25 * f["solidity"]) * strands)
    density = draw.mix(density, tissue, mask)
    popcorn = draw.soft(dice.noise(size, 9) - 0.5, 0.5) * draw.soft(level - 0.25, 0.3)
    density = density + 0.45 * f["calcification"] * popcorn

    # The chest wall: pleura, muscle and a rib behind a gently curved line.
    w, t = draw.local(y, x, 0.0, 0.0, f["wall_angle"])
    beyond = w - f["wall_distance"] + 0.14 * t * t
    wall = 0.66 + 0.05 * dice.noise(size, 6, 2)
    rib = draw.soft(0.16 - jnp.abs(beyond - 0.28), 0.10) * draw.soft(0.5 - jnp.abs(t - 0.2), 0.2)
    density = draw.mix(density, wall + 0.35 * rib, draw.soft(beyond, 0.05))
    # The tail: a strand from the nodule to the pleura.
    _, along = draw.local(y, x, f["position_y"], f["position_x"], f["wall_angle"])
    tail = jnp.exp(-((along / 0.03) ** 2)) * draw.soft(w, 0.1) * draw.soft(-beyond, 0.05)
    density = jnp.maximum(density, 0.65 * jnp.clip(1.5 * f["pleural_tail"], 0.0, 1.0) * tail)

    image = draw.blur(density[..., None], f["slice_blur"])
    image = draw.sensor(of_sensor, image, 0.9 * f["noise"]) + f["noise"] * 0.6 * dice.noise(size, 24, 2)[..., None]
    image = image + f["kernel_sharpness"] * (image - draw.blur(image, 0.05))
    screen_y, screen_x = draw.grid(size)
    lean, beam = draw.local(screen_y, screen_x, -1.6, 0.4, dice.uniform(low=-0.6, high=0.6))
    fan = jnp.sin(70.0 * jnp.arctan2(beam, lean + 2.5)) + jnp.sin(113.0 * jnp.arctan2(beam, lean + 2.5))
    image = image + (f["streaks"] * fan)[..., None]
    return jnp.clip((image - 0.5 - f["window_center"]) / f["window_width"] + 0.5, 0.0, 1.0)


PHANTOM: Final = Phantom(
    name="lung_ct",
    title="Lung nodule CT",
    classes=("benign", "malignant"),
    channels=1,
    subclasses=SUBCLASSES,
    domains=("scanner A", "scanner B", "low-dose scanner"),
    acquisition="acq_low_dose",
    manifestation="manif_rare_nodules",
    factors=MappingProxyType(FACTORS),
    render=render,
)
