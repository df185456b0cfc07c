"""Artifacts of dermoscopy: hair, immersion fluid's bubbles, rulers, surgeons' ink and the dermoscope's dark corners.

Every artifact grows with its strength and is drawn by the key alone, so that the same key shows the same hairs, only
more and longer ones. Images have values in [0, 1] and any number of channels, unless a function says otherwise.

References:
    Katsch et al., Comparison of convolutional neural network architectures for robustness against common artefacts in
    dermatoscopic images, Dermatology Practical & Conceptual 2022.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sfjax.keys import stream
from sfjax.shifts.base import Corruption, Strength
from sfjax.shifts.drawing import axes, inside, smooth_field, stroke, tint

NUM_HAIRS: Final = 20
NUM_BUBBLES: Final = 25
SPREAD: Final = (0.7548777, 0.5698403)
"""Steps, modulo 1, between points that fill a square evenly: powers of the inverse of the plastic number."""

TICK_SPACING: Final = 0.05
"""One millimeter in a field of view of two centimeters."""
TICK_WIDTH: Final = 0.008
RULER_MARGIN: Final = 0.03

GENTIAN_VIOLET: Final = (1.0, 1.5, 0.45)
"""Optical densities of a full stroke in red, green and blue: crystal violet absorbs most around 590 nm."""


def hair(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image under dark, bent, tapered hairs, which grow from their roots one after the other.

    Args:
        key: Draws place, direction, bend, length, width and color of the hairs, which lie about the same way.
        image: Values in [0, 1].
        strength: Number of hairs, at most `NUM_HAIRS`; between whole numbers the last hair is part of its length.
    """
    y, x, pixel = axes(image)
    tall, wide = image.shape[0] * pixel, image.shape[1] * pixel
    draws = jax.random.uniform(stream(key, "hairs"), (NUM_HAIRS, 6), image.dtype)
    lean, shade = jax.random.uniform(stream(key, "head"), (2,), image.dtype)
    direction = jnp.pi * (2 * lean + 0.5 * (draws[:, 2] - 0.5))
    length = 0.6 + 0.6 * draws[:, 3]
    width = 0.008 + 0.008 * draws[:, 4]
    bend = 1.8 * (draws[:, 5] - 0.5)
    root_y = tall * (draws[:, 0] - 0.5) - length / 2 * jnp.sin(direction)
    root_x = wide * (draws[:, 1] - 0.5) - length / 2 * jnp.cos(direction)
    grown = length * jnp.clip(strength - jnp.arange(NUM_HAIRS, dtype=image.dtype), 0, 1)

    def draw(covered: Float[Array, "h w"], one: tuple[Array, ...]) -> tuple[Float[Array, "h w"], None]:
        root_y, root_x, sine, cosine, bend, width, grown = one
        dy, dx = y - root_y, x - root_x
        along, across = dy * sine + dx * cosine, dy * cosine - dx * sine
        # The middle is a cubic across = bend * along^2 * (1 - along / 2), seen at its slope.
        slope = bend * along * (2 - 1.5 * along)
        distance = jnp.abs(across - bend * along**2 * (1 - along / 2)) * jax.lax.rsqrt(1 + slope**2)
        share = jnp.clip(along * (1 / jnp.maximum(grown, pixel)), 0, 1)
        here = stroke(distance, width * (1 - 0.8 * share**2), pixel)
        ends = inside(jnp.minimum(along, grown - along), pixel) * jnp.minimum(1, grown / pixel)
        return jnp.maximum(covered, here * ends), None

    hairs = (root_y, root_x, jnp.sin(direction), jnp.cos(direction), bend, width, grown)
    covered, _ = jax.lax.scan(draw, jnp.zeros(image.shape[:2], image.dtype), hairs)
    passed = (0.6 + 0.8 * shade) * tint(0.19, 0.13, 0.10, image)
    return image * (1 - 0.95 * covered[..., None] * (1 - passed)[None, None, :])


def bubbles(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image under air bubbles in the immersion fluid, which swell one after the other.

    A bubble has a dark outline, a bright rim within it, brighter towards the lamp, a glint, and a pale inside.

    Args:
        key: Draws places, sizes and the lamp's direction.
        image: Values in [0, 1].
        strength: Number of bubbles, at most `NUM_BUBBLES`; between whole numbers the last one is part of its radius.
    """
    y, x, pixel = axes(image)
    tall, wide = image.shape[0] * pixel, image.shape[1] * pixel
    draws = jax.random.uniform(stream(key, "bubbles"), (NUM_BUBBLES, 3), image.dtype)
    lamp = 2 * jnp.pi * jax.random.uniform(stream(key, "lamp"), (), image.dtype)
    towards_y, towards_x = jnp.sin(lamp), jnp.cos(lamp)
    # Evenly spread, whatever their number, so that few overlap: real ones merge.
    start = jax.random.uniform(stream(key, "start"), (2,), image.dtype)
    order = jnp.arange(NUM_BUBBLES, dtype=image.dtype)[:, None]
    spread = order * jnp.asarray(SPREAD, image.dtype)[None, :] + start[None, :] + 0.1 * draws[:, :2]
    center_y, center_x = tall * (spread[:, 0] % 1 - 0.5), wide * (spread[:, 1] % 1 - 0.5)
    swollen = jnp.clip(strength - order[:, 0], 0, 1)
    # Small ones are common: radii from 0.015 to 0.085, by the square of a uniform number.
    radius = swollen * (0.015 + 0.07 * draws[:, 2] ** 2)

    def draw(seen: tuple[Array, Array], one: tuple[Array, ...]) -> tuple[tuple[Array, Array], None]:
        light, dark = seen
        center_y, center_x, r = one
        there = jnp.minimum(1, r / pixel)
        dy, dx = y - center_y, x - center_x
        squared = dy**2 + dx**2
        lit = (dy * towards_y + dx * towards_x) * (1 / jnp.maximum(r, pixel))
        outline = stroke(_from_circle(squared, r, pixel), 0.16 * r, pixel)
        rim = stroke(_from_circle(squared, 0.84 * r, pixel), 0.18 * r, pixel)
        within = 0.12 * inside(-_from_circle(squared, r, pixel, signed=True), pixel) * there
        glint = (dy - 0.45 * r * towards_y) ** 2 + (dx - 0.45 * r * towards_x) ** 2
        glint = there * jnp.clip(2 - glint * (2 / jnp.maximum(0.2 * r, pixel) ** 2), 0, 1)
        light = jnp.maximum(light, jnp.maximum(jnp.maximum(within, rim * (0.45 + 0.35 * lit)), 0.9 * glint))
        return (light, jnp.maximum(dark, outline * (0.55 - 0.2 * lit))), None

    none = jnp.zeros(image.shape[:2], image.dtype)
    (light, dark), _ = jax.lax.scan(draw, (none, none), (center_y, center_x, radius))
    shaded = image * (1 - dark)[..., None]
    return shaded + light[..., None] * (1 - shaded)


def _from_circle(
    squared: Float[Array, "h w"], radius: Float[Array, ""], pixel: float, *, signed: bool = False
) -> Float[Array, "h w"]:
    """Returns the distance from a circle, about: exact on it, and without the root that costs most.

    Args:
        squared: Squared distance from the circle's center.
        radius: Of the circle.
        pixel: Width of a pixel; a circle smaller than that is taken as this small.
        signed: Whether distances inside are negative.
    """
    r = jnp.maximum(radius, pixel)
    distance = squared * (0.5 / r) - 0.5 * r
    return distance if signed else jnp.abs(distance)


def ruler(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image with a ruler's black ticks along one edge, a longer one every five and every ten.

    Args:
        key: Draws the edge, the ruler's tilt and where its ticks begin.
        image: Values in [0, 1].
        strength: Length of the longest ticks as a share of the shorter side. Below 0.05 the ruler is also pale.
    """
    y, x, pixel = axes(image)
    tall, wide = image.shape[0] * pixel, image.shape[1] * pixel
    edge = jax.random.randint(stream(key, "edge"), (), 0, 4)
    tilt, phase = jax.random.uniform(stream(key, "pose"), (2,), image.dtype, -1, 1)
    from_edge = jnp.where(edge < 2, tall / 2 + jnp.where(edge == 0, y, -y), wide / 2 + jnp.where(edge == 2, x, -x))
    along = jnp.where(edge < 2, x, y)
    depth = from_edge - RULER_MARGIN - 0.06 * tilt * along
    place = (along + 0.06 * tilt * from_edge) / TICK_SPACING + 5 * phase
    number = jnp.round(place)
    share = jnp.where(number % 5 == 0, 0.75, 0.5)
    length = strength * jnp.where(number % 10 == 0, 1.0, share)
    ticks = stroke(jnp.abs(place - number) * TICK_SPACING, TICK_WIDTH, pixel)
    ticks = ticks * inside(jnp.minimum(depth, length - depth), pixel)
    line = stroke(jnp.abs(depth), TICK_WIDTH, pixel)
    shown = 0.9 * jnp.clip(strength / 0.05, 0, 1)
    return image * (1 - shown * jnp.maximum(ticks, line))[..., None]


def ink(key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength) -> Float[Array, "h w k"]:
    """Returns the image with a surgeon's violet pen line around the middle, where the lesion is.

    The ink absorbs light: it multiplies intensities, most of all green. It is patchy, as on skin.

    Args:
        key: Draws the line's start, radius, wobble and width, and the patches.
        image: Values in [0, 1], red, green and blue.
        strength: Length of the line in shorter sides; 2 is about a full turn, where the line ends.

    Raises:
        ValueError: The image has another number of channels than 3.
    """
    if image.shape[2] != 3:
        raise ValueError(
            f"Ink has a color, so it needs the 3 channels red, green and blue, and the image has {image.shape[2]}. "
            "Repeat a gray image's channel three times, or leave this corruption out."
        )
    y, x, pixel = axes(image)
    draws = jax.random.uniform(stream(key, "line"), (6,), image.dtype)
    y, x = y - 0.1 * (draws[0] - 0.5), x - 0.1 * (draws[1] - 0.5)
    radius, width = 0.30 + 0.08 * draws[2], 0.028 + 0.014 * draws[3]
    # The angle from the pen's start, in turns of one; negative just before the start, for a round beginning.
    angle = jnp.arctan2(y, x) / (2 * jnp.pi) + draws[4]
    turn = jnp.mod(angle + 0.05, 1) - 0.05
    phase = 2 * jnp.pi * draws[5]
    wobble = 0.06 * jnp.cos(4 * jnp.pi * angle + phase) + 0.04 * jnp.cos(6 * jnp.pi * angle + 2 * phase)
    distance = jnp.abs(jnp.sqrt(y**2 + x**2 + 1e-12) - radius * (1 + wobble))
    place = 2 * jnp.pi * radius * turn
    drawn = jnp.minimum(strength, 2 * jnp.pi * radius * 0.95)
    beyond = jnp.maximum(jnp.maximum(-place, place - drawn), 0)
    line = stroke(jnp.sqrt(distance**2 + beyond**2), width, 1.5 * pixel) * jnp.clip(drawn / width, 0, 1)
    patches = jnp.clip(0.8 + 0.25 * smooth_field(stream(key, "patches"), image, 40), 0.2, 1.3)
    density = (line * patches)[..., None] * jnp.asarray(GENTIAN_VIOLET, image.dtype)[None, None, :]
    return image * jnp.exp(-density)


def dermoscope_corner(
    key: Key[Array, ""], image: Float[Array, "h w k"], *, strength: Strength
) -> Float[Array, "h w k"]:
    """Returns the image as seen through the dermoscope's round opening, black outside of a sharp circle.

    Args:
        key: Draws how far off the middle the opening is.
        image: Values in [0, 1].
        strength: How far the circle's edge has come from the corners towards the middle, as a share of the half
            diagonal, below 1. A square image is black along all edges from 0.29 on.
    """
    y, x, pixel = axes(image)
    half_diagonal = (image.shape[0] ** 2 + image.shape[1] ** 2) ** 0.5 * pixel / 2
    off = 0.15 * strength * jax.random.uniform(stream(key, "place"), (2,), image.dtype, -1, 1)
    distance = jnp.sqrt((y - off[0]) ** 2 + (x - off[1]) ** 2)
    radius = half_diagonal * (1 - strength)
    edge = pixel + 0.012
    outside = jnp.clip((distance - radius) / edge, 0, 1)
    outside = outside**2 * (3 - 2 * outside)
    return image * (1 - 0.97 * outside)[..., None]


CORRUPTIONS: Final[Mapping[str, Corruption]] = MappingProxyType(
    {
        "hair": Corruption(
            hair,
            (4.0, 8.0, 12.0, 16.0, 20.0),
            "hairs",
            "even steps; level 5 covers about a tenth of the image, as unshaved skin does",
            modalities=("dermoscopy",),
        ),
        "bubbles": Corruption(
            bubbles,
            (5.0, 10.0, 15.0, 20.0, 25.0),
            "bubbles",
            "even steps; level 5 covers about a seventh of the image, as badly spread immersion fluid does",
            modalities=("dermoscopy",),
        ),
        "ruler": Corruption(
            ruler,
            (0.05, 0.1, 0.15, 0.2, 0.25),
            "length of the longest ticks, shares of the shorter side",
            "even steps; level 5 is a scale that reaches a quarter into the image, up to the lesion",
            modalities=("dermoscopy",),
        ),
        "ink": Corruption(
            ink,
            (0.4, 0.8, 1.2, 1.6, 2.0),
            "length of the pen's line, shorter sides",
            "even steps; level 5 is a line all around the lesion, as before an excision",
            modalities=("dermoscopy",),
            channels=(3,),
        ),
        "dermoscope_corner": Corruption(
            dermoscope_corner,
            (0.07, 0.14, 0.21, 0.28, 0.35),
            "way of the opening's edge from the corners to the middle, shares of the half diagonal",
            "even steps; level 5 shows the whole round field of view, as uncropped images do",
            modalities=("dermoscopy",),
        ),
    }
)
"""The artifacts of dermoscopy by name."""
