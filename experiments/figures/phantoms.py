"""The contact sheet of the phantoms: for each task its classes and its two shifts, as `docs/phantoms.png`.

`python -m experiments.figures.phantoms --out docs/phantoms.png`
"""

from pathlib import Path
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont

from sfjax.phantoms import COUNTS, PHANTOMS, Phantom, generate
from sfjax.phantoms.microscopy import composite

TILE: Final = 94
GAP: Final = 6
COLUMNS: Final = 8
MARGIN: Final = 20
INK: Final = "#1b1f24"
PALE: Final = "#68707a"


def main(out: Path = Path("docs/phantoms.png"), seed: int = 3) -> None:
    """Draws the contact sheet.

    Args:
        out: The file.
        seed: Draws the images.
    """
    rows = [(phantom, *row) for phantom in PHANTOMS.values() for row in _rows(phantom, seed)]
    heading, caption = 30, 28
    width = 2 * MARGIN + COLUMNS * (TILE + GAP) - GAP
    height = MARGIN + len(rows) * (TILE + caption + 20) + len(PHANTOMS) * heading
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    large, medium, small = (ImageFont.load_default(size) for size in (17, 12, 9))
    top, last = MARGIN, None
    for phantom, title, images, captions in rows:
        if phantom is not last:
            pen.text((MARGIN, top), phantom.title, fill=INK, font=large)
            top, last = top + heading, phantom
        pen.text((MARGIN, top - 4), title, fill=PALE, font=medium)
        top += 13
        for place, (image, text) in enumerate(zip(images, captions, strict=True)):
            left = MARGIN + place * (TILE + GAP)
            sheet.paste(Image.fromarray(image), (left, top))
            pen.text((left, top + TILE + 1), _wrapped(text, small), fill=INK, font=small, spacing=1)
        top += TILE + caption + 7
    out.parent.mkdir(parents=True, exist_ok=True)
    # A palette makes the file a third as large, and grey levels and skin tones are most of what it has to hold.
    sheet.crop((0, 0, width, top)).quantize(256, kmeans=2).save(out, optimize=True)


def _rows(phantom: Phantom, seed: int) -> list[tuple[str, list[np.ndarray], list[str]]]:
    """Returns the sheet's rows for one task: their titles, images and captions."""
    counts = dict.fromkeys(COUNTS, 0) | {"train": 60, "acquisition": 40, "manifestation": 40}
    images, columns = generate(phantom.name, seed=seed, size=TILE, counts=counts)
    pictures = np.asarray(jax.vmap(composite)(jnp.asarray(images, jnp.float32) / 255))
    pictures = np.round(pictures * 255).astype(np.uint8)

    few = len(phantom.classes) == 2  # then there is room to name subclasses
    shown = columns["subclass" if few else "label"]
    order = [subclass.name for subclass in phantom.subclasses] if few else phantom.classes

    def row(split: str) -> tuple[list[np.ndarray], list[str]]:
        inside = np.flatnonzero(columns["split"] == split).tolist()
        present = [name for name in order if name in shown[inside]]
        chosen: list[int] = []
        for place in range(COLUMNS):
            name = present[place * min(len(present), COLUMNS) // COLUMNS]
            chosen.append(next(i for i in inside if shown[i] == name and i not in chosen))
        return [pictures[i] for i in chosen], [str(shown[i]) for i in chosen]

    titles = {
        "train": "i.i.d.",
        phantom.acquisition: f"acquisition shift: {phantom.domains[-1]}",
        phantom.manifestation: "manifestation shift: "
        + ", ".join(dict.fromkeys(s.name.split(",")[0] for s in phantom.subclasses if s.share == 0)),
    }
    return [(title, *row(split)) for split, title in titles.items()]


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Returns `text`, broken between words where it is wider than a tile."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if font.getlength(longer) <= TILE else [*lines, word]
    return "\n".join(lines)


if __name__ == "__main__":
    tyro.cli(main)
