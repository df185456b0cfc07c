"""What every corruption does at every level: the contact sheet `docs/shifts.png` and the table `docs/shifts.md`.

`python -m experiments.figures.shifts` writes both; about ten minutes. `--modality chest_xray` draws one task's sheet.
"""

import functools
from pathlib import Path
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont
from skimage.metrics import structural_similarity

from experiments.compilation import use_compilation_cache
from sfjax import shifts
from sfjax.files import write_whole
from sfjax.phantoms import COUNTS, PHANTOMS, generate
from sfjax.phantoms.microscopy import composite
from sfjax.shifts import SHIFTS, STRENGTHS

TILE: Final = 96
GAP: Final = 4
MARGIN: Final = 16
LABEL: Final = 128
INK: Final = "#1b1f24"
PALE: Final = "#68707a"
SEED: Final = 3
MEASURED_ON: Final = ("dermoscopy", "chest_xray")
"""Phantoms for the table's corruptions that belong to no modality."""


class Damage(NamedTuple):
    """What one strength does: mean absolute difference in grey levels of 255, and mean structural similarity."""

    difference: float
    similarity: float


def main(
    sheet: Path | None = Path("docs/shifts.png"),
    table: Path | None = Path("docs/shifts.md"),
    modality: str | None = None,
    images: int = 4,
    size: int = 224,
    even: tuple[str, float] | None = None,
) -> None:
    """Draws the contact sheet and writes the table.

    Args:
        sheet: The picture's file, or None for none.
        table: The table's file, or None for none.
        modality: A phantom task: the sheet shows what suits it, on its images alone.
        images: Of each phantom task, for the table.
        size: Pixels a side, for the table.
        even: A corruption and a strength: only says which strengths below it do even steps of damage.
    """
    if even is not None:
        print(", ".join(f"{strength:.3g}" for strength in even_steps(*even, images=images, size=size)))
        return
    if sheet is not None:
        write_whole(sheet, lambda path: _sheet(modality).save(path, format="PNG", optimize=True))
    if table is not None:
        text = "\n".join([*_introduction(images, size), *(_row(name, images, size) for name in SHIFTS), ""])
        write_whole(table, lambda path: path.write_text(text, encoding="utf-8"))


@functools.cache
def phantoms(task: str, count: int, size: int) -> jax.Array:
    """Returns images of a task, each of another subclass as far as there are some."""
    drawn, _ = generate(task, seed=SEED, size=size, counts=dict.fromkeys(COUNTS, 0) | {"train": count})
    return jnp.asarray(drawn, jnp.float32) / 255


def suits(name: str, task: str) -> bool:
    """Returns whether a corruption takes the images of a task and is natural for them."""
    corruption = SHIFTS[name]
    channels = corruption.channels or (PHANTOMS[task].channels,)
    return PHANTOMS[task].channels in channels and task in (corruption.modalities or tuple(PHANTOMS))


def damage(name: str, strength: float, *, images: int, size: int) -> Damage:
    """Returns what a strength does to phantoms at 224 pixels or another size, on average over tasks and images."""
    tasks = [task for task in PHANTOMS if suits(name, task)]
    tasks = tasks if SHIFTS[name].modalities else [task for task in tasks if task in MEASURED_ON]
    found = []
    for task in tasks:
        clean = phantoms(task, images, size)
        ids = jnp.arange(images, dtype=jnp.uint32)
        shifted = np.asarray(shifts.apply(name, jax.random.key(SEED), clean, ids, strength=strength))
        for one, other in zip(np.asarray(clean), shifted, strict=True):
            similarity = structural_similarity(one, other, channel_axis=-1, data_range=1.0)
            found.append((255 * np.abs(one - other).mean(), similarity))
    return Damage(*np.mean(found, axis=0))


def even_steps(name: str, last: float, *, images: int, size: int) -> list[float]:
    """Returns five strengths up to `last`, at which the mean absolute difference grows in even steps."""
    whole = damage(name, last, images=images, size=size).difference
    strengths = []
    for step in range(1, shifts.NUM_LEVELS):
        low, high = 0.0, last
        for _ in range(12):
            middle = (low + high) / 2
            less = damage(name, middle, images=images, size=size).difference < whole * step / shifts.NUM_LEVELS
            low, high = (middle, high) if less else (low, middle)
        strengths.append(high)
    return [*strengths, last]


def _introduction(images: int, size: int) -> list[str]:
    return [
        "# Corruptions",
        "",
        "![Every corruption at every level, on phantoms](shifts.png)",
        "",
        "`sfjax.shifts.apply(name, key, images, image_ids, level=3)`, or `strength=` in the unit below as a continuous",
        "dial. Several in order are `a+b`. Images are made when they are needed, from image id, name, strength, key.",
        "",
        "The study's strengths were never published, brightness up by x 1.25 apart: level 1 of `brightness`.",
        "Where ImageNet-C (Hendrycks and Dietterich, ICLR 2019) has a corruption, its levels are taken. Elsewhere",
        "level 5 is the bound that is named, and levels 1 to 4 are even steps towards it: of strength, or, where said,",
        "of the mean absolute difference. Tests hold that damage grows strictly from level to level.",
        "",
        "Each level: strength, mean absolute difference in grey levels of 255 / structural similarity (SSIM, windows",
        f"of 7 pixels). On phantoms at {size} px, {images} images a task, seed {SEED}: of the tasks that are named,",
        f"or of {' and '.join(MEASURED_ON)} where none is. `python -m experiments.figures.shifts` writes this page.",
        "",
        "| corruption | unit of strength | levels come from | tasks | channels | level 1 | 2 | 3 | 4 | 5 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]


def _row(name: str, images: int, size: int) -> str:
    corruption = SHIFTS[name]
    cells = [f"`{name}`", corruption.unit, corruption.source, ", ".join(corruption.modalities) or "any"]
    cells.append(", ".join(map(str, corruption.channels)) or "any")
    for strength in corruption.strengths:
        found = damage(name, strength, images=images, size=size)
        cells.append(f"{strength:g}: {found.difference:.1f} / {found.similarity:.2f}")
    return f"| {' | '.join(cells)} |"


def _sheet(modality: str | None) -> Image.Image:
    """Returns a row a corruption: an image that it suits, clean and at the five levels."""
    tasks = tuple(PHANTOMS) if modality is None else (modality,)
    rows = [(name, [task for task in tasks if suits(name, task)]) for name in SHIFTS]
    rows = [(name, fitting[place % len(fitting)]) for place, (name, fitting) in enumerate(rows) if fitting]
    top, step = MARGIN + 18, TILE + 2 * GAP
    columns = shifts.NUM_LEVELS + 1
    width = MARGIN + LABEL + columns * (TILE + GAP) - GAP + MARGIN
    picture = Image.new("RGB", (width, top + len(rows) * step + MARGIN), "white")
    pen = ImageDraw.Draw(picture)
    medium, small = (ImageFont.load_default(size) for size in (12, 9))
    for column in range(columns):
        text = f"level {column}" if column else "clean"
        pen.text((MARGIN + LABEL + column * (TILE + GAP), MARGIN), text, fill=PALE, font=medium)
    for row, (name, task) in enumerate(rows):
        y = top + row * step
        pen.text((MARGIN, y + 4), name, fill=INK, font=medium)
        pen.text((MARGIN, y + 20), PHANTOMS[task].title, fill=PALE, font=small)
        for line, text in enumerate(_wrapped(SHIFTS[name].unit, small)):
            pen.text((MARGIN, y + 34 + 11 * line), text, fill=PALE, font=small)
        # An image of its own for each row, so that nobody has to look at one lesion all the time.
        chosen = phantoms(task, 8, TILE)[row % 8][None]
        for column in range(columns):
            x = MARGIN + LABEL + column * (TILE + GAP)
            strength = STRENGTHS[name][column - 1] if column else 0.0
            shown = shifts.apply(name, jax.random.key(SEED), chosen, jnp.asarray([row], jnp.uint32), strength=strength)[
                0
            ]
            pixels = np.round(np.asarray(composite(shown)) * 255).astype(np.uint8)
            picture.paste(Image.fromarray(pixels), (x, y))
            if column:
                at = f"{STRENGTHS[name][column - 1]:g}"
                pen.text(
                    (x + TILE - 3, y + TILE - 2),
                    at,
                    fill="white",
                    font=small,
                    anchor="rs",
                    stroke_width=1,
                    stroke_fill=INK,
                )
    return picture


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """Returns the lines of `text`, broken between words where it is wider than its column."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if font.getlength(longer) <= LABEL - 6 else [*lines, word]
    return lines


if __name__ == "__main__":
    use_compilation_cache()
    tyro.cli(main)
