"""A finished run, image by image: what every seed's networks say, and what the images are like on average.

Sets of images are told apart by where they come from: the i.i.d. ones, each acquisition by its domain, and diagnoses or
cells that training had none of, called `unseen`.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8

from sfjax import latent, study
from sfjax.data import patient_groups
from sfjax.outputs import Outputs, take
from sfjax.report.attributes import slice_attributes
from sfjax.report.diagnosis import PCA_DIMENSIONS
from sfjax.report.tables import cluster_images
from sfjax.study.evaluation import Scorers, evaluate, first_network, thresholds, together

IID: Final = "i.i.d."
UNSEEN: Final = "unseen"
BOTH: Final = "both"
KINDS: Final = ("iid", "acquisition", "manifestation", "acquisition+manifestation")
LEARNED_FROM: Final = ("train", "val", "cal")
LUMA: Final = np.array([0.299, 0.587, 0.114])


class Case(NamedTuple):
    """A finished run, image by image.

    Attributes:
        name: Of its task.
        images: A row an image that is not corrupted: `set`, `test_set`, `kind`, `label`, `subclass`, `owner` (one code
            a patient or lesion), `cluster`, what slices are made of, and the image's statistics.
        verdicts: A row a seed, csf and image: `predicted`, `wrong` and `accepted` (0 or 1), `probability`.
        components: By seed, the first principal components of the features, a row an image.
        outputs: By set, what the networks of the first seed say.
        scorers: The scores of these.
        summary: The run's results over seeds.
        guarantees: What became of its promises.
        slices: Its table of failure slices.
        points: Its latent space.
        splits: How many images each split has.
        overlap: How many patients or lesions are both tested and among those that were learned from.
    """

    name: str
    images: pd.DataFrame
    verdicts: pd.DataFrame
    components: Mapping[int, Float[np.ndarray, "n k"]]
    outputs: Mapping[str, Mapping[str, Outputs]]
    scorers: Scorers
    summary: pd.DataFrame
    guarantees: pd.DataFrame
    slices: pd.DataFrame
    points: pd.DataFrame
    splits: Mapping[str, int]
    overlap: int

    @property
    def sets(self) -> list[str]:
        """The sets of images, the i.i.d. one first."""
        names = list(dict.fromkeys(self.images["set"]))
        return [IID, *(name for name in names if name != IID)]

    @property
    def seeds(self) -> list[int]:
        """Those of the networks."""
        return list(self.components)


def read_case(run: Path, *, data: Path | None = None) -> Case:
    """Returns a finished run of one task on a manifest's images, which are decoded again.

    Args:
        run: Its folder.
        data: The folder that the manifest is in now, if it was moved.

    Raises:
        ValueError: The folder holds no finished run, or one of several tasks or without a report.
    """
    if not (run / "summary.parquet").exists():
        raise ValueError(f"{run} holds no finished run (no summary.parquet). Give a folder that the benchmark wrote.")
    config = study.config_from_json(json.loads((run / "config.json").read_text(encoding="utf-8"))["config"])
    if data is not None and config.data.manifest is not None:
        moved = dataclasses.replace(config.data, manifest=data / config.data.manifest.name)
        config = dataclasses.replace(config, data=moved)
    names = study.task_names(config)
    if len(names) != 1 or not (run / names[0] / "report" / "slices.parquet").exists():
        raise ValueError(f"{run} has the tasks {', '.join(names)}. Give a run of one task, with its report written.")
    (task,) = study.load_tasks(config, run, lambda name, done, n: None)
    tested = [one for one in task.test_sets if one.kind in KINDS]
    tables = {
        one.name: task.dataset.table.iloc[task.dataset.rows(one.split)].reset_index(drop=True).assign(kind=one.kind)
        for one in tested
    }
    pixels = np.concatenate([np.asarray(task.dataset.subset(one.split)[0]) for one in tested])
    verdicts, components = [], {}
    images = pd.concat(tables.values(), ignore_index=True)
    images["set"] = [set_of(kind, domain) for kind, domain in zip(images["kind"], images["domain"], strict=True)]
    first: dict[str, Any] = {}
    for seed in config.seeds:
        said = {one.name: task.said(config, seed, one.name) for one in tested}
        scorers = study.scorers_of(config, task, seed)
        whole = together(list(said.values()))
        verdicts.append(_verdicts(whole, task.said(config, seed, "val"), scorers, task.dataset.classes, seed))
        features = np.asarray(first_network(whole).features)
        components[seed] = latent.fit_components(features, PCA_DIMENSIONS).of(features)
        if not first:
            clusters = cluster_images(said, tables, seed=config.data_seed)
            attributes, _ = slice_attributes(tables, clusters)
            rows = {name: np.flatnonzero(images["set"] == name) for name in dict.fromkeys(images["set"])}
            outputs = {
                name: {method: take(one, some) for method, one in whole.items()}  # pyright: ignore
                for name, some in rows.items()
            }
            first = {"outputs": outputs, "scorers": scorers}
            images["cluster"] = np.concatenate([clusters[name] for name in tables])
            known = pd.concat(attributes.values(), ignore_index=True)
            images = images.assign(**{str(column): known[column] for column in known})
    images["owner"] = patient_groups(images)
    source = task.dataset.table.iloc[np.concatenate([task.dataset.rows(one) for one in LEARNED_FROM])]
    return Case(
        name=task.name,
        images=pd.concat([images, image_statistics(pixels)], axis=1),
        verdicts=pd.concat(verdicts, ignore_index=True),
        components=components,
        summary=pd.read_parquet(run / "summary.parquet"),
        guarantees=pd.read_parquet(run / "guarantees.parquet"),
        slices=pd.read_parquet(task.folder / "report" / "slices.parquet"),
        points=pd.read_parquet(task.folder / "report" / "points.parquet"),
        splits={one: len(task.dataset.rows(one)) for one in task.dataset.splits},
        overlap=len((set(source["patient_id"]) & set(images["patient_id"])) - {""}),
        **first,
    )


def set_of(kind: str, domain: str) -> str:
    """Returns the set that the images of a domain and of a test set of this kind are of."""
    return {"iid": IID, "manifestation": UNSEEN, "acquisition+manifestation": BOTH}.get(kind, domain)


def _verdicts(whole: Any, validation: Any, scorers: Scorers, classes: Any, seed: int) -> pd.DataFrame:
    said, above = evaluate(whole, scorers), thresholds(evaluate(validation, scorers))
    parts = []
    for i, csf in enumerate(scorers.csfs):
        wrong = said.predicted[i] != said.labels
        part = {
            "image": np.arange(len(wrong)),
            "predicted": np.asarray(classes)[said.predicted[i]],
            "wrong": wrong.astype(int),
            "probability": said.probability[i],
            "score": said.score[i],
            "accepted": (said.score[i] > above[i]).astype(int),
        }
        parts.append(pd.DataFrame({"seed": seed, "csf": csf, **part}))
    return pd.concat(parts, ignore_index=True)


def image_statistics(images: UInt8[np.ndarray, "n h w 3"]) -> pd.DataFrame:
    """Returns simple statistics of RGB images, a row an image, in gray levels up to 255 if not said otherwise.

    - `red`, `green`, `blue`, `brightness` (luma): means over the image.
    - `contrast`: standard deviation of the luma.
    - `saturation`: mean of (largest - smallest channel) / largest channel, in percent.
    - `middle less corners`: mean luma of the middle half less that of the four corner eighths: above 0 a vignette,
      below 0 a lesion or cell that is darker than what is around it.
    - `black`: percentage of pixels with a luma below 32, such as those of a border.
    - `sharpness`: mean absolute difference of the luma of neighboring pixels.
    """
    found = []
    for start in range(0, len(images), 256):
        rgb = images[start : start + 256].astype(np.float64)
        luma, (h, w) = rgb @ LUMA, images.shape[1:3]
        largest = rgb.max(axis=-1)
        across, down = np.abs(np.diff(luma, axis=2)), np.abs(np.diff(luma, axis=1))
        top, left = max(h // 8, 1), max(w // 8, 1)
        corners = [luma[:, rows, columns] for rows in (slice(top), slice(-top, None))
                   for columns in (slice(left), slice(-left, None))]  # fmt: skip
        middle = luma[:, h // 4 : h - h // 4, w // 4 : w - w // 4].mean(axis=(1, 2))
        found.append(
            pd.DataFrame(
                {
                    **{name: rgb[..., k].mean(axis=(1, 2)) for k, name in enumerate(("red", "green", "blue"))},
                    "brightness": luma.mean(axis=(1, 2)),
                    "contrast": luma.std(axis=(1, 2)),
                    "saturation": 100 * ((largest - rgb.min(axis=-1)) / np.maximum(largest, 1)).mean(axis=(1, 2)),
                    "middle less corners": middle - np.mean([corner.mean(axis=(1, 2)) for corner in corners], axis=0),
                    "black": 100 * (luma < 32).mean(axis=(1, 2)),
                    "sharpness": (across.mean(axis=(1, 2)) + down.mean(axis=(1, 2))) / 2,
                }
            )
        )
    return pd.concat(found, ignore_index=True)


STATISTICS: Final = tuple(map(str, image_statistics(np.zeros((1, 8, 8, 3), np.uint8))))
