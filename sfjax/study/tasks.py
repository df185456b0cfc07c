"""What a run works on: a task's data set and the test sets that are made of it."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd

from sfjax.data import (
    Dataset,
    Findings,
    dataset_from_arrays,
    is_array_file,
    load_array_file,
    load_dataset,
    load_tfds,
    read_manifest,
    shift_kind,
)
from sfjax.data.preparation.base import TrainingSet
from sfjax.data.prevalence import complete, parse_prior, resample_to_prior
from sfjax.data.selection import ANY, file_safe, matches, parse
from sfjax.data.splits import SOURCE_SPLITS
from sfjax.phantoms import PHANTOMS, generate
from sfjax.phantoms.generate import COUNTS
from sfjax.phantoms.microscopy import composite
from sfjax.study.config import Config, refuse_settings_of_files, settings_of
from sfjax.study.training_sets import CORRUPTIONS, TRAINING_SETS


class TestSet(NamedTuple):
    """One set of images on which confidence is scored.

    Attributes:
        name: Unique in its task.
        split: The data set's split that the images come from.
        shift: What was done to them or where they come from; `none` for the i.i.d. test set.
        kind: iid, corruption, acquisition, manifestation, acquisition+manifestation, prevalence or named.
        level: 1 to 5 for a corruption, else 0.
    """

    __test__ = False  # no test of pytest's, whatever its name

    name: str
    split: str
    shift: str
    kind: str
    level: int = 0


def load_task(config: Config, name: str, *, progress: Callable[[int, int], object] | None = None) -> Dataset:
    """Returns the data set of a task: of a manifest, an array file, TFDS or a training set, or the phantom of the name.

    Args:
        config: The run.
        name: One of `task_names(config)`.
        progress: Called with (images read, images in all) while a manifest's images are decoded.

    Raises:
        ManifestError: The images or their table have faults; all of them are listed.
        ValueError: A training set's images or those of TFDS are not prepared, settings do not go with the images'
            source, or a prevalence cannot be had.
        ImportError: TensorFlow Datasets is needed and not installed.
    """
    dataset = _load(config, name, progress)
    _, table = dataset.subset("iid_test")
    labels, content = table["label"].to_numpy(str), list(table["sha256"])
    resampled = {
        prevalence_name(prior): resample_to_prior(labels, parse_prior(prior), sha256=content, seed=config.data_seed)
        for prior in config.prevalences
    }
    places = dataset.rows("iid_test")
    return dataclasses.replace(dataset, resampled={name: places[rows] for name, rows in resampled.items()})


def _load(config: Config, name: str, progress: Callable[[int, int], object] | None) -> Dataset:
    data, size = config.data, settings_of(config, name).image_size
    options = {
        "size": size,
        "seed": config.data_seed,
        "unknown_classes": data.unknown_classes,
        "progress": progress,
    }
    of_files = {"images_in": data.images_in, "skip_bad_images": data.skip_bad_images, "name": name}
    if config.training_sets:
        task, chosen = TRAINING_SETS[name]
        return load_dataset(
            prepared_manifest(config, task),
            where=rows_of(chosen),
            columns={} if chosen.label == "label" else {"label": chosen.label},
            hold_out=[one.text for one in chosen.hold_out],
            **options,
            **of_files,
        )
    if not data.given:
        share = config.phantom_test / COUNTS["iid_test"]
        counts = {split: max(round(count * share), 4) for split, count in COUNTS.items()}
        counts |= {"train": config.phantom_train, "iid_test": config.phantom_test}
        images, columns = generate(name, seed=config.data_seed, size=size, counts=counts)
        return dataset_from_arrays(name, images, columns, seed=config.data_seed)
    standard = ("image_path", "label", "split", "domain", "subclass", "patient_id", "shift_kind", "loss_weight")
    columns = {column: getattr(data, f"{column}_column") for column in standard}
    columns = {column: named for column, named in columns.items() if named != column}
    options |= {"columns": columns, "hold_out": data.hold_out}
    if data.tfds is not None:
        where, skip = data.tfds_data_dir, data.skip_bad_images
        return load_tfds(data.tfds, data_dir=where, skip_bad_images=skip, **options)
    assert data.manifest is not None  # `given` says so
    if is_array_file(data.manifest):
        refuse_settings_of_files(data, data.manifest.name, ("image_path_column", "split_column", "skip_bad_images"))
        return load_array_file(data.manifest, name=name, **options)
    folder = data.manifest.parent
    metadata = [folder / path if (folder / path).exists() else path for path in data.metadata]
    return load_dataset(data.manifest, metadata=metadata, **options, **of_files)


def rows_of(chosen: TrainingSet) -> str:
    """Returns which rows a training set is about: its pool, and only what is known to be held out or not.

    A row without a value might be of what training must not see.
    """
    asked = dict.fromkeys(condition.column for one in chosen.hold_out for condition in parse(one.where))
    return " & ".join([*filter(None, [chosen.pool]), *(f"{column}={ANY}" for column in asked)])


def check_tables(config: Config) -> None:
    """Raises where a training set or a prevalence cannot be made, which tables say without an image being opened.

    Raises:
        ManifestError: A manifest cannot be read.
        ValueError: A training set's images are not prepared, its manifest lacks a column, or one of its sets is empty;
            or a phantom task lacks a class of a prevalence.
    """

    @functools.cache  # several training sets are of one manifest, which may have a million rows
    def read(path: Path, label: str) -> pd.DataFrame:
        return read_manifest(path, Findings(path.name), columns={"label": label} if label != "label" else {})

    for name in config.training_sets:
        task, chosen = TRAINING_SETS[name]
        path = prepared_manifest(config, task)
        table = read(path, chosen.label)
        if (table["split"] != "").any():
            raise ValueError(
                f"{path} has splits, those of one training set. Training sets are drawn from a manifest without: "
                "prepare it without --reference-splits, or give this one by --manifest."
            )
        table = table[matches(table, rows_of(chosen))]
        for one in chosen.hold_out:
            held = matches(table, one.where)
            if not held.any() or held.all():
                raise ValueError(
                    f"The training set {name} holds out {one.where}, which is {int(held.sum())} of the {len(table)} "
                    f"images in {path} that it is about. Prepare the sources that it needs, or leave it out."
                )
    if not config.data.given and not config.training_sets:
        for task in config.tasks:
            for prior in map(parse_prior, config.prevalences):
                complete(prior, np.asarray(PHANTOMS[task].classes))


def prepared_manifest(config: Config, task: str) -> Path:
    """Returns the manifest that `experiments.prepare` has left of a task.

    Raises:
        ValueError: There is none.
    """
    folder = config.prepared
    for path in () if folder is None else (folder / task / "manifest.csv", folder / task / "manifest.parquet"):
        if path.is_file():
            return path
    where = "--prepared names no folder" if folder is None else f"there is no {task}/manifest.csv in {folder}"
    raise ValueError(
        f"The images of {task} are not prepared: {where}. Make it from the original downloads, python -m "
        f"experiments.prepare {task} --raw DOWNLOADS --out PREPARED/{task}/manifest.csv, and give --prepared PREPARED."
    )


def prevalence_name(prior: str) -> str:
    """Returns what the set of a prevalence is called, such as `prevalence_malignant_0.02`."""
    return file_safe(f"prevalence_{prior}")


def task_names(config: Config) -> tuple[str, ...]:
    """Returns the names of the run's tasks; with own images it is one, named after the TFDS set, file or its folder."""
    if config.training_sets:
        return config.training_sets
    path = config.data.manifest
    if config.data.tfds is not None:
        return (file_safe(config.data.tfds),)
    if path is None:
        return config.tasks
    return (path.absolute().parent.name if path.stem == "manifest" else path.stem,)


def corruptions_of(config: Config, name: str) -> tuple[str, ...]:
    """Returns what a task's i.i.d. test images are corrupted by.

    Of the study's corruptions (`sfjax.study.training_sets.CORRUPTIONS`), a training set has those that the study gave
    it; what else is asked for, every one has.
    """
    if not config.training_sets:
        return config.corruptions
    own = TRAINING_SETS[name].chosen.corruptions
    return tuple(one for one in config.corruptions if one not in CORRUPTIONS or one in own)


def test_sets(config: Config, dataset: Dataset) -> list[TestSet]:
    """Returns the test sets: i.i.d., shifted splits, prevalences, and each corruption of the i.i.d. set at each level.

    Raises:
        ValueError: A shifted set is called like a corruption.
    """
    shifted = [split for split in dataset.splits if split not in SOURCE_SPLITS]
    kinds = {split: dataset.subset(split)[1]["shift_kind"].iloc[0] for split in shifted}
    sets = [
        TestSet("iid_test", "iid_test", "none", "iid"),
        *(TestSet(split, split, split, shift_kind(split, kinds[split])) for split in shifted),
        *(TestSet(name, name, name, "prevalence") for name in dataset.resampled),
        *(
            TestSet(f"{corruption}-{level}", "iid_test", corruption, "corruption", level)
            for corruption in corruptions_of(config, dataset.name)
            for level in config.levels
        ),
    ]
    taken = {one.name for one in sets if one.kind == "corruption"} | set(config.corruptions)
    clashes = sorted(taken.intersection(shifted))
    if clashes:
        raise ValueError(f"The sets {', '.join(clashes)} have names of corruptions. Rename them in the split column.")
    return sets


test_sets.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]


def displayable(images: np.ndarray) -> np.ndarray:
    """Returns images as uint8 RGB, shape (n, h, w, 3), for people to look at.

    Grey is repeated; three channels are taken as RGB; six are the stains of fluorescence microscopy in false color. Of
    any other number the mean is shown in grey.
    """
    scaled = images.astype(np.float32) / (1.0 if images.dtype.kind == "f" else np.iinfo(images.dtype).max)
    k = images.shape[-1]
    if k == 6:
        scaled = np.stack([np.asarray(composite(jnp.asarray(image))) for image in scaled])
    elif k != 3:
        scaled = scaled.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    return np.round(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
