"""What a run would do, before it does anything: its networks, its test sets, and about how long an accelerator takes.

Hours are arithmetic, not a measurement: operations by XLA's count, times images, epochs and passes, at a rate that is
assumed. The bootstrap and what else runs on the host are not among them.
"""

import functools
from types import MappingProxyType
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp

from sfjax.data import SOURCE_SPLITS, Findings, is_array_file, read_manifest
from sfjax.data.preparation import PREPARATIONS
from sfjax.data.selection import held_out_set, matches, parse_hold_out
from sfjax.data.splits import FRACTIONS
from sfjax.models import MODELS
from sfjax.phantoms import PHANTOMS
from sfjax.phantoms.generate import COUNTS
from sfjax.study.config import Config, settings_of
from sfjax.study.tasks import corruptions_of, load_task, prepared_manifest, prevalence_name, rows_of, task_names
from sfjax.study.training_sets import TRAINING_SETS
from sfjax.training import METHODS
from sfjax.training.fit import num_epochs

ASSUMED_RATE: Final = 50e12
"""Operations a second that one accelerator is taken to sustain in bfloat16: a twentieth of what an H100 is sold for."""
BACKWARD: Final = 3
"""A training step's operations, in forward passes."""
DOWNLOADS: Final = MappingProxyType(
    {
        **{"ham10000": 10_015, "d7p": 1_011, "isic_2020": 33_126, "ph2": 200},
        **{"chexpert": 223_648, "nih14": 112_120, "mimic": 377_110},
        **{"rxrx1": 125_510, "lidc_idri": 13_000, "camelyon17_wilds": 455_954},
    }
)
"""Images in the original downloads, by source, some of which preparing drops; of LIDC-IDRI about as many slices as are
cut out."""


class Outlook(NamedTuple):
    """What is to be done for one task of a run.

    Attributes:
        name: Of the task or training set.
        study_name: What the study calls the training set; "" where it has none.
        network: Its name.
        image_size: Pixels a side.
        networks: How many are trained: methods x seeds, an ensemble's members each.
        images: How many there are in all.
        images_are_known: Counted in the manifest; else at most as many as the downloads have.
        test_sets: Their names; the levels of a corruption as one.
        hours: Of one accelerator at `ASSUMED_RATE`.
    """

    name: str
    study_name: str
    network: str
    image_size: int
    networks: int
    images: int
    images_are_known: bool
    test_sets: tuple[str, ...]
    hours: float


class _Images(NamedTuple):
    """How many images there are, in how many classes, and which shifted sets they make."""

    total: int
    known: bool
    train: int
    classes: int
    channels: int
    shifted: tuple[str, ...]


def outlook(config: Config) -> list[Outlook]:
    """Returns what a run would do, task by task; no image file is opened.

    Args:
        config: The run, checked.

    Raises:
        ManifestError: A manifest cannot be read.
    """
    return [_of_task(config, name) for name in task_names(config)]


def _of_task(config: Config, name: str) -> Outlook:
    settings, images = settings_of(config, name), _images(config, name)
    prefix, suffix = operations(settings.network, settings.image_size, images.channels, images.classes)
    corruptions, levels = corruptions_of(config, name), len(config.levels)
    test = images.total * FRACTIONS["iid_test"]
    asked = images.train + test * (2 + len(images.shifted) + len(config.prevalences) + len(corruptions) * levels)
    per_seed, networks = 0.0, 0
    for method in config.methods:
        members = settings.recipe.members if METHODS[method].ensemble else 1
        passes = 0 if METHODS[method].ensemble else config.num_samples
        epochs = num_epochs(METHODS[method], settings.recipe, images.classes)
        per_seed += members * BACKWARD * (prefix + suffix) * images.train * epochs
        per_seed += members * asked * (prefix + (1 + passes) * suffix)
        networks += members
    sets = ("iid_test", *images.shifted, *map(prevalence_name, config.prevalences))
    if levels:
        which = f"level {config.levels[0]}" if levels == 1 else f"{levels} levels"
        sets += tuple(f"{corruption} ({which})" for corruption in corruptions)
    return Outlook(
        name=name,
        study_name=TRAINING_SETS[name].chosen.study_name if config.training_sets else "",
        network=settings.network,
        image_size=settings.image_size,
        networks=networks * len(config.seeds),
        images=images.total,
        images_are_known=images.known,
        test_sets=sets,
        hours=len(config.seeds) * per_seed / ASSUMED_RATE / 3600,
    )


def _images(config: Config, name: str) -> _Images:
    if config.training_sets:
        return _of_training_set(config, name)
    data = config.data
    if not data.given:
        phantom, share = PHANTOMS[name], config.phantom_test / COUNTS["iid_test"]
        others = round(sum(count * share for split, count in COUNTS.items() if split not in ("train", "iid_test")))
        total = config.phantom_train + config.phantom_test + others
        shifted = phantom.acquisition, phantom.manifestation
        return _Images(total, True, config.phantom_train, len(phantom.classes), phantom.channels, shifted)
    if data.manifest is None or is_array_file(data.manifest):
        dataset = load_task(config, name)  # these are read into memory as they are
        shifted = tuple(split for split in dataset.splits if split not in SOURCE_SPLITS)
        train, channels = len(dataset.rows("train")), dataset.images.shape[-1]
        return _Images(len(dataset.table), True, train, len(dataset.classes), channels, shifted)
    columns = {column: getattr(data, f"{column}_column") for column in ("image_path", "label", "split")}
    findings = Findings(data.manifest.name)
    renamed = {column: found for column, found in columns.items() if found != column}
    table = read_manifest(data.manifest, findings, columns=renamed)
    findings.raise_faults()
    given = tuple(sorted(set(table["split"]) - {*SOURCE_SPLITS, ""}))
    held = tuple(held_out_set([parse_hold_out(entry)])[0] for entry in data.hold_out)
    training = int((table["split"] == "train").sum()) or round(len(table) * FRACTIONS["train"])
    return _Images(len(table), True, training, table["label"].nunique(), 3, given + held)


def _of_training_set(config: Config, name: str) -> _Images:
    task, chosen = TRAINING_SETS[name]
    shifted = tuple(held_out_set([one])[0] for one in chosen.hold_out)
    channels = 6 if task == "microscopy" else 3
    try:
        path = prepared_manifest(config, task)
    except ValueError:
        sources = PREPARATIONS[task].needed
        named = [source for source in sources if f"source={source}" in chosen.pool]
        total = sum(DOWNLOADS[source] for source in named or sources)
        held = sum(
            DOWNLOADS[source] for source in sources for one in chosen.hold_out if one.where == f"source={source}"
        )
        # Of siRNAs there are too many to name; of HAM10000's diagnoses there are seven.
        classes = 7 if chosen.label == "dx" else len(PREPARATIONS[task].classes) or 1139
        return _Images(total, False, round((total - held) * FRACTIONS["train"]), classes, channels, shifted)
    table = read_manifest(path, Findings(path.name))
    table = table[matches(table, rows_of(chosen))]
    total, held = len(table), sum(int(matches(table, one.where).sum()) for one in chosen.hold_out)
    train = round((total - held) * FRACTIONS["train"])
    return _Images(total, True, train, table[chosen.label].nunique(), channels, shifted)


@functools.cache
def operations(network: str, size: int, channels: int, num_classes: int) -> tuple[float, float]:
    """Returns the operations of a network on one image before and after its first mask, by XLA's count.

    Args:
        network: A name in `MODELS`.
        size: Pixels a side.
        channels: Of the image.
        num_classes: Of the network.
    """
    classifier = MODELS[network](num_classes=num_classes)
    image = jax.ShapeDtypeStruct((size, size, channels), jnp.float32)
    variables = jax.eval_shape(classifier.init, jax.random.key(0), image)
    images = jax.ShapeDtypeStruct((1, *image.shape), jnp.float32)
    hidden = jax.eval_shape(classifier.prefix, variables, images)
    prefix = jax.jit(classifier.prefix).lower(variables, images)
    suffix = jax.jit(lambda variables, hidden: classifier.suffix(variables, hidden, None)).lower(variables, hidden)
    return _count(prefix), _count(suffix)


def _count(lowered: jax.stages.Lowered) -> float:
    return float((lowered.cost_analysis() or {}).get("flops", 0.0))
