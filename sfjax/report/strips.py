"""Images under growing corruption: which ones to show, what every csf says of them, and their pictures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped, UInt8

from sfjax import views
from sfjax.data import Dataset
from sfjax.inference import Transform, as_float
from sfjax.report.tables import confidences
from sfjax.study.evaluation import Evaluated, Said, Scorers, evaluate, first_network
from sfjax.study.tasks import TestSet, displayable

PIXELS: Final = 96

Draw = Callable[[TestSet, Int[np.ndarray, " m"]], UInt8[np.ndarray, "m h w 3"]]
"""From a test set and rows of it to those images as people see them, RGB."""


class Strips(NamedTuple):
    """Images at all levels of the corruptions.

    Attributes:
        table: As `sfjax.views.corruption.check_strips` wants it; `sample` is the row in the i.i.d. test set.
        images: The pictures as WebP data URIs, by the number in the table's column `image`; may be empty.
    """

    table: pd.DataFrame
    images: dict[int, str]


def strips_table(
    outputs: Mapping[str, Said],
    test_sets: Sequence[TestSet],
    classes: Sequence[str],
    scorers: Scorers,
    draw: Draw | None,
    *,
    samples: int = 6,
    seed: int = 0,
    pixels: int = PIXELS,
) -> Strips:
    """Returns a few images at every level of every corruption, first those that turn into confident failures.

    Images that the first csf has right when clean and wrong under a corruption come first, the most confident failure
    leading, in turn over the classes; others are drawn by chance, in turn too. Confidences are those of
    `sfjax.report.tables.confidences`.

    Args:
        outputs: By test set; of each its outputs are read once, so that the mapping may load them then. All are of the
            same images in the same order.
        test_sets: The i.i.d. test set and corruptions of it at some levels; others are left aside.
        classes: Names of the classes that the outputs number.
        scorers: The scores of these networks.
        draw: Makes the pictures; None for none.
        samples: How many images at most.
        seed: Of the images that are drawn by chance.
        pixels: Of the longer side of a picture.

    Raises:
        ValueError: There is no clean or no corrupted set, or one is of other images than the clean one.
    """
    clean = [one for one in test_sets if one.kind == "iid"]
    corrupted = sorted((one for one in test_sets if one.kind == "corruption"), key=lambda one: (one.shift, one.level))
    if len(clean) != 1 or not corrupted or samples < 1:
        raise ValueError(
            f"A strip needs one i.i.d. test set, corruptions of it and at least one sample; got {len(clean)}, "
            f"{len(corrupted)} and {samples}."
        )
    used = [*clean, *corrupted]
    said: dict[str, Evaluated] = {}
    for one in used:
        found = outputs[one.name]
        _check_aligned(first_network(found).labels, said, clean[0].name, one.name)
        said[one.name] = evaluate(found, scorers)
    start = said[clean[0].name]
    confidence = {name: confidences(one, scorers, start.score) for name, one in said.items()}
    danger = _danger(start, [(said[one.name], confidence[one.name]) for one in corrupted])
    rows = _chosen(start, danger.max(axis=0), samples, seed)
    # The class that the network does not know is named after those that it does.
    names = np.asarray([*map(str, classes), "(unknown)"])[: start.num_classes]
    number = {(one.name, row): i for i, (one, row) in enumerate((one, row) for one in used for row in rows.tolist())}
    parts = []
    # What is worst for the first image comes first.
    by_danger = [corrupted[i] for i in np.argsort(-danger[:, rows[0]], kind="stable")]
    for corruption in dict.fromkeys(one.shift for one in by_danger):
        for one in (clean[0], *(one for one in corrupted if one.shift == corruption)):
            here = said[one.name].take(rows)
            for i, csf in enumerate(scorers.csfs):
                about = {
                    "sample": rows,
                    "corruption": corruption,
                    "level": one.level,
                    "csf": csf,
                    "label": names[here.labels],
                    "predicted": names[here.predicted[i]],
                    "confidence": confidence[one.name][i, rows],
                    "correct": (here.predicted[i] == here.labels).astype(np.int64),
                    "image": [number[one.name, row] for row in rows.tolist()],
                }
                parts.append(pd.DataFrame(about))
    table = pd.concat(parts, ignore_index=True)
    place = {row: i for i, row in enumerate(rows.tolist())}
    table = table.sort_values("sample", key=lambda rows: rows.map(place), kind="stable").reset_index(drop=True)
    return Strips(table, {} if draw is None else strip_pictures(table, test_sets, draw, pixels=pixels))


def strip_pictures(
    table: pd.DataFrame, test_sets: Sequence[TestSet], draw: Draw, *, pixels: int = PIXELS
) -> dict[int, str]:
    """Returns the pictures of a table of strips as WebP data URIs, by its column `image`.

    Args:
        table: As `strips_table` makes it.
        test_sets: Those that it was made of.
        draw: Makes the pictures.
        pixels: Of the longer side of a picture.
    """
    places = {(one.shift, one.level): one for one in test_sets if one.kind == "corruption"}
    clean = next(one for one in test_sets if one.kind == "iid")
    images: dict[int, str] = {}
    shown = table.drop_duplicates("image")
    for _, rows in shown.groupby(["corruption", "level"], sort=False):
        shift, level = rows["corruption"].iloc[0], rows["level"].iloc[0]
        of = clean if level == 0 else places[shift, level]
        uris = views.thumbnails(draw(of, rows["sample"].to_numpy()), pixels=pixels)
        images |= zip(rows["image"].tolist(), uris, strict=True)
    return images


def corrupted_images(dataset: Dataset, transform: Callable[[TestSet], Transform]) -> Draw:
    """Returns the function that draws images of a data set as a network saw them.

    Args:
        dataset: Whose images.
        transform: From a test set to its corruption, as `sfjax.study.networks.corruption` makes it.
    """

    def draw(test_set: TestSet, rows: np.ndarray) -> np.ndarray:
        images, table = dataset.subset(test_set.split)
        pixels = np.stack([images[row] for row in rows.tolist()])
        if test_set.kind == "corruption":
            ids = table["image_id"].to_numpy(np.uint32)[rows]
            pixels = np.asarray(transform(test_set)(as_float(jnp.asarray(pixels)), jnp.asarray(ids)))
        return displayable(pixels)

    return draw


def _check_aligned(labels: Shaped[object, " n"], said: Mapping[str, Evaluated], clean: str, name: str) -> None:
    """Raises ValueError if a set's images are not those of the clean one."""
    if not said:
        return
    found, first = np.asarray(labels), said[clean].labels
    expected = np.where(first == said[clean].num_classes - 1, -1, first)
    if len(found) != len(expected) or (np.where(found < 0, -1, found) != expected).any():
        differing = "" if len(found) != len(expected) else f", {int((found != expected).sum())} labels differ"
        raise ValueError(
            f"{name} must be of the images of {clean} in the same order; {clean} has {len(expected)} images and {name} "
            f"{len(found)}{differing}. Store the outputs of both on the same split."
        )


def _danger(
    clean: Evaluated, corrupted: Sequence[tuple[Evaluated, Float[np.ndarray, "s n"]]]
) -> Float[np.ndarray, "c n"]:
    """Returns the first csf's confidence in the failures that each corruption makes; 0 where it makes none."""
    right = clean.predicted[0] == clean.labels
    return np.stack(
        [np.where(right & (one.predicted[0] != one.labels), confidence[0], 0.0) for one, confidence in corrupted]
    )


def _chosen(clean: Evaluated, danger: Float[np.ndarray, " n"], samples: int, seed: int) -> Int[np.ndarray, " m"]:
    """Returns the rows to show, the first one first."""
    chance = np.random.default_rng(seed).random(len(danger))
    order = np.lexsort((chance, -danger))
    turn = pd.Series(clean.labels[order]).groupby(clean.labels[order]).cumcount().to_numpy()
    # First the images that flip: the worst of every class, then their second worst; then the others alike.
    flips = danger[order] > 0
    return order[np.lexsort((-danger[order], turn, ~flips))][:samples]
