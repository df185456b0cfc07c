"""The contact sheet of the phantoms: for each task its classes and its two shifts, as `docs/phantoms.png`.

`python -m experiments.figures.phantoms --out docs/phantoms.png`
"""

from pathlib import Path
from typing import Final

import jax
import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont

from sfjax.phantoms import COUNTS, PHANTOMS, Phantom, generate
from sfjax.phantoms.microscopy import composite

TILE: Final = 104
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
    heading, caption = 30, 17
    width = 2 * MARGIN + COLUMNS * (TILE + GAP) - GAP
    height = MARGIN + len(rows) * (TILE + caption + 20) + len(PHANTOMS) * heading
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    large, medium, small = (ImageFont.load_default(size) for size in (17, 12, 10))
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
            pen.text((left, top + TILE + 1), _fitted(text, small), fill=INK, font=small)
        top += TILE + caption + 7
    out.parent.mkdir(parents=True, exist_ok=True)
    # Few images have more than 256 colors to tell apart at this size, and the file is a third as large.
    sheet.crop((0, 0, width, top)).quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(out, optimize=True)


def _rows(phantom: Phantom, seed: int) -> list[tuple[str, list[np.ndarray], list[str]]]:
    """Returns the sheet's rows for one task: their titles, images and captions."""
    counts = dict.fromkeys(COUNTS, 0) | {"train": 60, "acquisition": 2 * COLUMNS, "manifestation": 2 * COLUMNS}
    images, columns = generate(phantom.name, seed=seed, size=TILE, counts=counts)
    pictures = np.asarray(jax.vmap(composite)(images.astype(np.float32) / 255))
    pictures = np.round(pictures * 255).astype(np.uint8)

    def row(split: str) -> tuple[list[np.ndarray], list[str]]:
        labels = columns["label"]
        chosen: list[int] = []
        inside = np.flatnonzero(columns["split"] == split)
        # All classes in turn, as far as they fit.
        present = [label for label in phantom.classes if label in labels[inside]]
        for place in range(COLUMNS):
            label = present[place * len(present) // COLUMNS] if len(present) < COLUMNS else present[place]
            chosen.append(next(i for i in inside if labels[i] == label and i not in chosen))
        return [pictures[i] for i in chosen], [str(labels[i]) for i in chosen]

    titles = {
        "train": "i.i.d.",
        phantom.acquisition: f"acquisition shift: {phantom.domains[-1]}",
        phantom.manifestation: "manifestation shift: "
        + ", ".join(dict.fromkeys(s.name.split(",")[0] for s in phantom.subclasses if s.share == 0)),
    }
    return [(title, *row(split)) for split, title in titles.items()]


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Returns `text`, shortened to the width of a tile."""
    if font.getlength(text) <= TILE:
        return text
    return next(cut for n in range(len(text), 0, -1) if font.getlength(cut := text[:n].rstrip() + "…") <= TILE)


if __name__ == "__main__":
    tyro.cli(main)
