"""What a run of the benchmark does, as frozen values: the presets and the check against a run that was begun before."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from sfjax.csf import CSFS
from sfjax.models import MODELS
from sfjax.phantoms import PHANTOMS
from sfjax.shifts import NUM_LEVELS, SHIFTS
from sfjax.training import Recipe

MIN_IMAGE_SIZE: Final = 16


@dataclass(frozen=True)
class ManifestConfig:
    """Own images instead of phantoms.

    Attributes:
        manifest: CSV or Parquet with a row an image; `image_path` and `label` are required.
        metadata: Tables whose columns are joined to it by `image_path`. A relative path is looked for beside the
            manifest first.
        image_path_column: Its name in the manifest, if another; the same for the following.
        label_column: True class.
        split_column: train, val, cal, iid_test; any other name is a shifted test set.
        domain_column: Scanner, hospital, device.
        subclass_column: Finer class, for manifestation shifts.
        patient_id_column: Images of one patient stay on one side of a split and are resampled together.
        shift_kind_column: acquisition, manifestation, acquisition+manifestation or named.
        loss_weight_column: What a failure on this image weighs: its cost, or a factor of what a cost matrix says.
        hold_out: `domain=NAME` or `subclass=NAME`: kept out of training, made a shifted test set.
        skip_bad_images: Go on without files that cannot be read; how many is said.
        unknown_classes: `failure` counts shifted images of classes unseen in training as failures.
        group_columns: Further columns by whose values results are told apart, as they are by class and subclass. Their
            values then stand in the run folder.
    """

    manifest: Path | None = None
    metadata: tuple[Path, ...] = ()
    image_path_column: str = "image_path"
    label_column: str = "label"
    split_column: str = "split"
    domain_column: str = "domain"
    subclass_column: str = "subclass"
    patient_id_column: str = "patient_id"
    shift_kind_column: str = "shift_kind"
    loss_weight_column: str = "loss_weight"
    hold_out: tuple[str, ...] = ()
    skip_bad_images: bool = False
    unknown_classes: Literal["error", "failure"] = "error"
    group_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """One run of the benchmark.

    Attributes:
        data: Own images instead of phantoms.
        tasks: Phantom tasks; ignored with a manifest.
        phantom_train: Training images of a phantom task.
        phantom_test: Images of its i.i.d. test set; val, cal and the shifted sets are in proportion.
        image_size: Pixels a side.
        network: A name in `sfjax.models.MODELS`.
        recipe: How networks are trained.
        seeds: One network each.
        num_samples: Monte Carlo dropout passes.
        corruptions: Names in `sfjax.shifts.SHIFTS`, applied to the i.i.d. test set.
        levels: Which of the five strengths.
        csfs: Names in `sfjax.csf.CSFS`.
        resamples: Of the bootstrap behind every interval; at least as many as the comparison of all CSFs needs.
        cost_matrix: CSV of what a failure costs, true class x predicted class. Every risk then stands in cost too.
        max_loss_weight: The largest loss weight there can be, stated beforehand: guarantees about cost need it where
            loss weights are not all 1.
        target_risks: Risks that guarantees promise; about cost, as shares of the largest cost.
        delta: Chance that a guarantee about the selective risk may be broken.
        embedded_images: At most so many in the latent scatter of a task.
        data_seed: Draws phantoms, splits, corruptions and resamples, which all networks share.
    """

    data: ManifestConfig = field(default_factory=ManifestConfig)
    tasks: tuple[str, ...] = tuple(PHANTOMS)
    phantom_train: int = 1500
    phantom_test: int = 500
    image_size: int = 64
    network: str = "small_cnn"
    recipe: Recipe = field(default_factory=Recipe)
    seeds: tuple[int, ...] = (0, 1)
    num_samples: int = 50
    corruptions: tuple[str, ...] = tuple(SHIFTS)
    levels: tuple[int, ...] = tuple(range(1, NUM_LEVELS + 1))
    csfs: tuple[str, ...] = tuple(CSFS)
    resamples: int = 1400
    cost_matrix: Path | None = None
    max_loss_weight: float | None = None
    target_risks: tuple[float, ...] = (0.05, 0.1)
    delta: float = 0.05
    embedded_images: int = 2000
    data_seed: int = 0


@dataclass(frozen=True)
class Preset:
    """A configuration with its purpose, cost and what to expect."""

    description: str
    config: Config


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "tiny": Preset(
            "Tries the machinery: one task at 32 px, one seed, three passes. Half a minute; its numbers mean nothing.",
            Config(
                tasks=("dermoscopy",),
                phantom_train=96,
                phantom_test=40,
                image_size=32,
                recipe=Recipe(epochs=2, batch_size=32),
                seeds=(0,),
                num_samples=3,
                corruptions=("brightness", "gaussian_noise"),
                levels=(1, 5),
                resamples=200,
                csfs=("msr", "energy", "mcd_msr", "mcd_mi"),
                embedded_images=60,
            ),
        ),
        "quick": Preset(
            "All four phantom tasks at 64 px, two seeds. About 10 minutes on two CPU cores; i.i.d. accuracy 85-97 %.",
            Config(),
        ),
        "standard": Preset(
            "All four phantom tasks at 224 px, five seeds. Meant for an accelerator; many hours on a CPU.",
            Config(
                phantom_train=6000,
                phantom_test=2000,
                image_size=224,
                recipe=Recipe(epochs=30),
                seeds=(0, 1, 2, 3, 4),
                embedded_images=5000,
            ),
        ),
    }
)
"""Configurations by name."""


def check(config: Config) -> None:
    """Raises ValueError where a setting is out of its range; the message names it, its range and what was given."""
    for name, values, allowed in (
        ("tasks", config.tasks, PHANTOMS),
        ("network", (config.network,), MODELS),
        ("corruptions", config.corruptions, SHIFTS),
        ("csfs", config.csfs, CSFS),
        ("levels", config.levels, range(1, NUM_LEVELS + 1)),
    ):
        unknown = [value for value in values if value not in allowed]
        if unknown:
            raise ValueError(
                f"{name} must be among {', '.join(map(str, allowed))}; got {', '.join(map(str, unknown))}."
            )
        if len(set(values)) < len(values):
            raise ValueError(f"{name} must not name one thing twice; got {', '.join(map(str, values))}.")
    for name, value, least in (
        ("seeds", len(set(config.seeds)) if len(set(config.seeds)) == len(config.seeds) else 0, 1),
        ("csfs", len(config.csfs), 1),
        ("tasks", len(config.tasks), 1),
    ):
        if value < least:
            raise ValueError(f"{name} must be given, each once; got {getattr(config, name)}.")
    for name, value, least in (
        ("image_size", config.image_size, MIN_IMAGE_SIZE),
        ("resamples", config.resamples, 100),
        ("num_samples", config.num_samples, 1),
        ("phantom_train", config.phantom_train, 20),
        ("phantom_test", config.phantom_test, 10),
        ("embedded_images", config.embedded_images, 1),
        ("recipe.epochs", config.recipe.epochs, 1),
        ("recipe.batch_size", config.recipe.batch_size, 2),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}; got {value}.")
    for name, value in (("data_seed", config.data_seed), *(("seeds", seed) for seed in config.seeds)):
        if not 0 <= value < 2**32:
            raise ValueError(f"{name} must be from 0 to 2^32 - 1; got {value}.")
    for name, values in (("target_risks", config.target_risks), ("delta", (config.delta,))):
        outside = [value for value in values if not 0 < value < 1]
        if outside:
            raise ValueError(f"{name} must lie between 0 and 1; got {', '.join(map(str, outside))}.")
    if len(set(config.target_risks)) < len(config.target_risks):
        raise ValueError(f"target_risks must not name one risk twice; got {', '.join(map(str, config.target_risks))}.")
    of_one_task = {"cost_matrix": config.cost_matrix, "group_columns": config.data.group_columns}
    alone = [name for name, value in of_one_task.items() if value]
    if alone and config.data.manifest is None and len(config.tasks) > 1:
        raise ValueError(
            f"{' and '.join(alone)} speak of the classes or columns of one task; got the tasks "
            f"{', '.join(config.tasks)}. Choose one with --tasks."
        )
    if config.max_loss_weight is not None and not config.max_loss_weight > 0:
        raise ValueError(f"max_loss_weight must be above 0; got {config.max_loss_weight}.")
    recipe = config.recipe
    if not (recipe.learning_rate > 0 and recipe.weight_decay >= 0 and 0 <= recipe.max_shift < 0.5):
        raise ValueError(
            "learning_rate must be above 0, weight_decay at least 0, and max_shift at least 0 and below 0.5; "
            f"got {recipe.learning_rate}, {recipe.weight_decay} and {recipe.max_shift}."
        )


def as_json(config: Config) -> dict[str, Any]:
    """Returns the configuration as plain values for a JSON file."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(item) for name, item in value.items()}
        if isinstance(value, tuple | list):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    return plain(dataclasses.asdict(config))


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Returns one line a setting that differs, as `name: stored -> wanted`."""
    lines = []
    for name in sorted({*stored, *wanted}):
        old, new = stored.get(name), wanted.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            lines.append(f"{prefix}{name}: {old} -> {new}")
    return lines
