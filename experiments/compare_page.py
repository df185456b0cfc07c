"""The page of a comparison: the silent failures that a change brought or took, with their images."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from rich.markup import escape

from experiments.terminal import console
from sfjax import views
from sfjax.study import Config
from sfjax.study.compare import Compared
from sfjax.study.tasks import displayable, load_task
from sfjax.views import palette

SIDES: Final = ("before", "after")
MOST_IMAGES: Final = 48
"""Images of a test set and change on the page."""


def images_of(config: Config, folder: Path, name: str, changed: pd.DataFrame) -> dict[tuple[str, int], str]:
    """Returns by test set and image id the images that changed, as data URIs; none where they cannot be had.

    Corrupted images are not among them.
    """
    wanted = _on_page(changed)
    if not len(wanted):
        return {}
    try:
        dataset = load_task(config, name)
    except (ValueError, OSError, ImportError) as error:
        console.print(f"[yellow]{escape(name)}:[/] the page has no images: {escape(str(error))}", soft_wrap=True)
        return {}
    stored = pd.read_parquet(folder / name / "images.parquet")["image_id"].to_numpy()
    if not np.array_equal(stored, dataset.table["image_id"].to_numpy()):
        console.print(f"[yellow]{escape(name)}:[/] the images are no longer those of the run: the page has none.")
        return {}
    found = {}
    for test_set, rows in wanted.groupby("test_set", sort=False):
        images, table = dataset.subset(str(test_set))
        place = {key: at for at, key in enumerate(table["image_id"].tolist())}
        ids = rows["image_id"].tolist()
        pixels = displayable(np.stack([images[place[key]] for key in ids]))
        found |= {(str(test_set), key): uri for key, uri in zip(ids, views.thumbnails(pixels, pixels=96), strict=True)}
    return found


def _on_page(changed: pd.DataFrame) -> pd.DataFrame:
    shown = changed[changed["kind"] != "corruption"]
    return shown.groupby(["test_set", "change"], sort=False).head(MOST_IMAGES)


def page_text(
    title: str,
    found: Mapping[str, Compared],
    pictures: Mapping[str, Mapping[tuple[str, int], str]],
    broken: Sequence[str],
) -> str:
    """Returns one offline page of the silent failures that came and went, the most confident first."""
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        "<p>Gained: an image that fails silently after the change alone; lost: before it alone; by half of a side's "
        "networks or more. Prediction and confidence are those of each side's most confident network, of those by "
        "which it fails silently if there are any.</p>",
    ]
    if any(pictures.values()):
        parts.append("<p><strong>This page holds images of patients.</strong></p>")
    parts += [f"<p><strong>Limit exceeded:</strong> {html.escape(sentence)}</p>" for sentence in broken]
    for name, compared in found.items():
        parts.append(f"<h2>{html.escape(name)}</h2>")
        parts += [f"<p>{html.escape(note)}</p>" for note in compared.notes]
        shown = _on_page(compared.changed)
        if not len(shown):
            parts.append("<p>No silent failure came or went.</p>")
        for (test_set, change), rows in shown.groupby(["test_set", "change"], sort=False):
            total = int(((compared.changed["test_set"] == test_set) & (compared.changed["change"] == change)).sum())
            count = f"{total}" if total == len(rows) else f"{len(rows)} of {total}, the most confident"
            parts.append(f"<h3>{html.escape(f'{test_set}: silent failures {change}')} ({count})</h3><ul>")
            images = pictures.get(name, {})
            parts += [_card(row, images.get((str(test_set), int(row["image_id"])))) for row in rows.to_dict("records")]
            parts.append("</ul>")
    return PAGE.format(title=html.escape(title), colors=palette.css(), body="\n".join(parts))


def _card(row: Mapping, image: str | None) -> str:
    label, *said = (
        html.escape(text)
        for text in (
            str(row["label"]),
            f"A: {row['predicted_before']}, {row['confidence_before']:.3f}",
            f"B: {row['predicted_after']}, {row['confidence_after']:.3f}",
        )
    )
    counts = (
        f"{round(row[f'silent_{side}'] * row[f'networks_{side}'])} of {row[f'networks_{side}']}" for side in SIDES
    )
    silent = "silent by {} of A's networks, {} of B's".format(*counts)
    picture = "" if image is None else f'<img src="{image}" alt="image in row {row["row"]}, {label}">'
    return f"<li>{picture}<b>{label}</b><br>{said[0]}<br>{said[1]}<br><small>{silent}; row {row['row']}</small></li>"


PAGE: Final = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>
{colors}
:root {{ color-scheme: light; }}
body {{ background: var(--background); color: var(--ink); font: 14px/1.4 system-ui, sans-serif; margin: 2rem; }}
ul {{ display: flex; flex-wrap: wrap; gap: 12px; list-style: none; padding: 0; }}
li {{ background: var(--surface); border: 1px solid var(--line); border-radius: 6px; padding: 8px; width: 150px; }}
img {{ display: block; width: 96px; margin: 0 auto 6px; image-rendering: pixelated; }}
small {{ color: var(--muted); }}
</style></head><body>
{body}
</body></html>
"""
