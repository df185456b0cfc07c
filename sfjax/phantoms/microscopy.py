"""Fluorescence microscopy phantoms: stained cells in six channels, and which of twelve treatments they had."""

from types import MappingProxyType
from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax.phantoms import primitives as draw
from sfjax.phantoms.base import Factor, Factors, Phantom, Subclass, anatomy, by_domain, by_subclass, pose

CHANNELS: Final = ("nuclei", "reticulum", "actin", "nucleoli", "mitochondria", "golgi")

USUAL: Final = {
    "cell_count": 0.68, "cell_size": 0.45, "elongation": 0.10, "nucleus_size": 0.45, "nucleus_irregularity": 0.15,
    "fragmentation": 0.05, "reticulum": 0.50, "actin_fibers": 0.40, "actin_cortex": 0.50, "nucleoli": 0.65,
    "mitochondria": 0.50, "mitochondria_clumping": 0.20, "golgi": 0.50, "golgi_dispersal": 0.20,
}  # fmt: skip
"""Centers of the class factors in untreated cells."""

TREATMENTS: Final = {
    "control": {},
    "proliferation arrest": {"cell_count": 0.16, "cell_size": 0.75},
    "cell elongation": {"elongation": 1.0, "actin_fibers": 0.50},
    "nuclear enlargement": {"nucleus_size": 0.88},
    "apoptosis": {"fragmentation": 0.85, "cell_count": 0.45, "cell_size": 0.28},
    "reticulum stress": {"reticulum": 0.95},
    "stress fibers": {"actin_fibers": 0.90},
    "actin loss": {"actin_fibers": 0.10, "actin_cortex": 0.10},
    "nucleolar stress": {"nucleoli": 0.02, "nucleus_irregularity": 0.40},
    "mitochondrial clumping": {"mitochondria_clumping": 1.0},
    "mitochondrial loss": {"mitochondria": 0.04},
    "golgi dispersal": {"golgi_dispersal": 0.95},
}
"""What each treatment changes."""

ATYPICAL: Final = {"cell_size": 0.22, "elongation": 0.30, "nucleus_irregularity": 0.40, "nucleus_size": 0.15}
"""What the rare cell line adds to every factor's center."""

SPREADS: Final = {"cell_count": 0.11, "nucleus_irregularity": 0.06, "fragmentation": 0.07}

SUBCLASSES: Final = tuple(
    Subclass(f"{line}, {name}", name, share * (2 if name == "control" else 1))
    for line, share in (("epithelial", 1), ("giant spindle", 0))
    for name in TREATMENTS
)


def _class_factors() -> dict[str, Factor]:
    """Returns the class factors: the usual cells' centers for each treatment, then the rare cells'."""

    def centers(name: str) -> list[float]:
        usual = [{**USUAL, **changed}[name] for changed in TREATMENTS.values()]
        return usual + [min(1.0, center + ATYPICAL.get(name, 0.0)) for center in usual]

    return {name: by_subclass(*centers(name), spread=SPREADS.get(name, 0.06), stray=0.002) for name in USUAL}


FACTORS: Final[dict[str, Factor]] = {
    **_class_factors(),
    "crowding": anatomy(0.50, 0.20),
    "alignment": anatomy(0.40, 0.25),
    "angle": pose(0.0, 3.1416),
    # two plates of the training experiments, and a later experiment with other stains and lamps
    **{
        f"stain_{channel}": by_domain(1.0, 0.92, late, spread=0.05, low=0.0, high=2.5)
        for channel, late in zip(CHANNELS, (0.90, 1.20, 0.80, 0.80, 1.15, 0.85), strict=True)
    },
    "background": by_domain(0.030, 0.045, 0.060, spread=0.010, low=0.0, high=0.3),
    "uneven_lamp": by_domain(0.08, 0.14, 0.25, spread=0.04, low=0.0, high=0.8),
    "defocus": by_domain(0.010, 0.014, 0.018, spread=0.004, low=0.0, high=0.1),
    "noise": by_domain(0.020, 0.028, 0.040, spread=0.005, low=0.0, high=0.3),
}

CELLS: Final = 16  # a jittered lattice of four by four, of which `cell_count` decides how many are occupied


def _cells(
    dice: draw.Dice, f: Factors, y: Float[Array, "h w"], x: Float[Array, "h w"]
) -> tuple[Float[Array, "h w"], Float[Array, "h w"], Float[Array, "h w"], Float[Array, "h w"]]:
    """Returns where each pixel lies in its cell (along, across, in radii) and two random traits of the cell."""
    lattice = (jnp.arange(4, dtype=jnp.float32) - 1.5) * 0.56
    cy, cx = (axis.ravel() for axis in jnp.meshgrid(lattice, lattice, indexing="ij"))
    moved = (0.06 + 0.10 * f["crowding"]) * dice.normal(2, CELLS)
    cy, cx = cy + moved[0], cx + moved[1]
    angle = f["angle"] + (1.0 - f["alignment"]) * dice.uniform(CELLS, low=-1.57, high=1.57)
    radius = (0.15 + 0.20 * f["cell_size"]) * dice.uniform(CELLS, low=0.85, high=1.2)
    empty = dice.uniform(CELLS) > 0.15 + 0.95 * f["cell_count"]
    stretch = jnp.sqrt(1.0 + 2.4 * f["elongation"])
    traits = dice.uniform(2, CELLS)
    cells = (jnp.where(empty, 50.0, cy), cx, jnp.cos(angle) / radius, jnp.sin(angle) / radius, traits[0], traits[1])

    # The cell whose own measure says that it is nearest has the pixel; its texture is then drawn once, for all cells.
    def claim(nearest: tuple[Array, ...], cell: tuple[Array, ...]) -> tuple[tuple[Array, ...], None]:
        dy, dx, c, s = y - cell[0], x - cell[1], cell[2], cell[3]
        v, u = (c * dy - s * dx) * stretch, (s * dy + c * dx) / stretch
        distance = v * v + u * u
        closer = distance < nearest[0]
        here = (distance, v, u, cell[4], cell[5])
        return tuple(jnp.where(closer, new, old) for new, old in zip(here, nearest, strict=True)), None

    far = (jnp.full_like(y, jnp.inf), *(jnp.zeros_like(y),) * 4)
    (_, v, u, first, second), _ = jax.lax.scan(claim, far, cells)
    return v, u, first, second


def render(
    key: Key[Array, ""], factors: Factors, size: int, *, zoom: draw.Scalar | None = None
) -> Float[Array, "h w k"]:
    """Returns a field of cells, (size, size, 6) in [0, 1], with the channels of `CHANNELS`.

    Args:
        key: The key of everything random that is no factor.
        factors: The values of `FACTORS`.
        size: Pixels a side.
        zoom: How many times as large the cells are shown, from 1 up; lamp, lens and camera stay as they are.
    """
    f = factors
    of_shapes, of_sensor = jax.random.split(key)
    dice = draw.Dice(of_shapes, 8192, zoom)
    y, x = draw.grid(size, zoom)
    wobble = 0.035 * (1.0 + f["nucleus_irregularity"])
    warped_y = y + wobble * dice.noise(size, 7, 2)
    warped_x = x + wobble * dice.noise(size, 7, 2)
    v, u, first, second = _cells(dice, f, warped_y, warped_x)
    r = jnp.sqrt(v * v + u * u)
    cell = draw.soft(1.0 - r, 0.30)

    # The nucleus is rounder than its cell, lies a little off its middle, and falls to pieces in apoptosis.
    away = 0.25 * (first - 0.5)
    nucleus_radius = (0.24 + 0.30 * f["nucleus_size"]) * (0.9 + 0.2 * second)
    stretch = jnp.sqrt(1.0 + 2.4 * f["elongation"])
    nv, nu = (v - away) / stretch**0.5, (u + away) * stretch**0.5
    crumbs = dice.noise(size, 16)
    dent = 0.30 * f["nucleus_irregularity"] * jnp.sin(3.0 * jnp.arctan2(nv, nu) + 6.0 * first)
    nr = jnp.sqrt(nv * nv + nu * nu) / nucleus_radius - dent
    whole = draw.soft(1.0 - nr, 0.30)
    pieces = draw.soft(1.15 - nr, 0.3) * draw.soft(crumbs - 0.3, 0.6)
    dying = (first < f["fragmentation"]).astype(jnp.float32)
    nucleus = draw.mix(whole, 1.4 * pieces, dying)
    chromatin = dice.noise(size, 20, 2)
    nuclei = nucleus * (0.62 + 0.10 * chromatin + 0.15 * second)

    body = cell * (1.0 - 0.75 * whole)
    near = jnp.exp(-((jnp.maximum(nr - 1.0, 0.0) / 1.0) ** 2))
    mesh = dice.noise(size, 15, 2)
    reticulum = body * (0.18 + 0.85 * f["reticulum"] * (0.35 + 0.65 * near) * (0.75 + 0.25 * mesh))

    cortex = jnp.exp(-(((r - 0.92) / 0.14) ** 2))
    fibers = jax.nn.sigmoid(6.0 * jnp.cos(19.0 * v + 1.5 * mesh + 6.0 * first) - 2.5)
    actin = cell * (0.10 + 0.85 * f["actin_cortex"] * cortex + 0.75 * f["actin_fibers"] * fibers * (1.0 - 0.5 * whole))

    dots = draw.soft(dice.noise(size, 19) - 1.25, 0.5)
    center = jnp.exp(-((nr / 0.45) ** 2))
    condensed = 1.2 * f["nucleoli"] * jnp.clip(dots + 0.55 * center, 0.0, 1.0)
    nucleoli = (0.45 - 0.35 * f["nucleoli"]) * body + whole * (0.22 + condensed)

    ridge = jnp.exp(-((dice.noise(size, 18) / 0.35) ** 2))
    clump = jnp.exp(-((jnp.maximum(nr - 1.0, 0.0) / 0.45) ** 2)) * (1.0 - whole)
    spread_out = body * ridge * (0.4 + 0.6 * near)
    network = draw.mix(spread_out, 1.1 * clump * cell * (0.7 + 0.3 * ridge), f["mitochondria_clumping"])
    mitochondria = 0.08 * body + 1.5 * f["mitochondria"] * network

    toward = jnp.exp(-(((v - away) ** 2 + (u + away - 1.35 * nucleus_radius) ** 2) / 0.035))
    scattered = draw.soft(dice.noise(size, 22) - 1.0, 0.5) * body
    golgi = 0.10 * body + 1.5 * f["golgi"] * cell * draw.mix(1.1 * toward, 0.85 * scattered, f["golgi_dispersal"])

    stack = jnp.stack([nuclei, reticulum, actin, nucleoli, mitochondria, golgi], -1)
    gains = jnp.stack([f[f"stain_{channel}"] for channel in CHANNELS])[None, None, :]
    screen_y, screen_x = draw.grid(size)
    lamp = 1.0 - f["uneven_lamp"] * ((screen_y + 0.5) ** 2 + (screen_x - 0.4) ** 2)
    image = 0.85 * stack * gains * lamp[..., None] + f["background"]
    return jnp.clip(draw.sensor(of_sensor, draw.blur(image, f["defocus"]), f["noise"]), 0.0, 1.0)


LIGHTS: Final = ((0.10, 0.30, 1.00), (0.00, 0.55, 0.15), (0.85, 0.12, 0.05),
                 (0.00, 0.50, 0.50), (0.60, 0.05, 0.50), (0.65, 0.55, 0.00))  # fmt: skip
"""The color (red, green, blue) in which `composite` shows each channel: blue, green, red, cyan, magenta, yellow."""


def composite(image: Float[Array, "h w k"]) -> Float[Array, "h w 3"]:
    """Returns a picture for the eye, in [0, 1]: fluorescence channels as lights of different colors that add up.

    Args:
        image: One image in [0, 1]. One channel becomes grey, three are taken for red, green and blue, and any other
            number of channels, up to six, has the colors of `LIGHTS`.

    Raises:
        ValueError: There are more channels than colors.

    Example:
        >>> actin_alone = jnp.zeros((1, 1, 6)).at[0, 0, 2].set(1.0)
        >>> [round(value, 2) for value in composite(actin_alone)[0, 0].tolist()]
        [0.85, 0.12, 0.05]
    """
    channels = image.shape[-1]
    if channels > len(LIGHTS):
        raise ValueError(f"A composite has colors for {len(LIGHTS)} channels; the image has {channels}. Choose some.")
    if channels == 3:
        return image
    lights = jnp.ones((1, 3), jnp.float32) if channels == 1 else jnp.asarray(LIGHTS[:channels], jnp.float32)
    return jnp.clip(jnp.einsum("hwk,kc->hwc", image, lights), 0.0, 1.0)


PHANTOM: Final = Phantom(
    name="microscopy",
    title="Fluorescence microscopy",
    classes=tuple(TREATMENTS),
    channels=6,
    subclasses=SUBCLASSES,
    domains=("plate 1", "plate 2", "later experiment"),
    acquisition="acq_later_experiment",
    manifestation="manif_rare_cell_line",
    factors=MappingProxyType(FACTORS),
    render=render,
)
