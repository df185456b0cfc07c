"""What a run of the benchmark does, as frozen values: the presets and the check against a run that was begun before."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_type_hints

from sfjax.data.prevalence import parse_prior
from sfjax.models import MODELS
from sfjax.phantoms import PHANTOMS
from sfjax.shifts import NUM_LEVELS, STUDY_CORRUPTIONS, lookup
from sfjax.study.entries import entries
from sfjax.study.measures import COST_METRICS, METRICS
from sfjax.study.training_sets import TRAINING_SETS
from sfjax.training import METHODS, PUBLISHED, Recipe
from sfjax.training.recipes import check as check_recipe

MIN_IMAGE_SIZE: Final = 16


@dataclass(frozen=True)
class ManifestConfig:
    """Own images instead of phantoms.

    Attributes:
        manifest: CSV or Parquet with a row an image; `image_path` and `label` are required. Or an array file (.npz),
            such as MedMNIST's, with SPLIT_images and SPLIT_labels.
        tfds: Or a classification set of TensorFlow Datasets that is prepared on this machine: NAME, NAME/CONFIG or
            NAME/CONFIG:VERSION. Columns are features then.
        tfds_data_dir: Folder of prepared sets, if another than TFDS's own.
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
        hold_out: `domain=NAME`, `subclass=NAME`, or of another column `KIND:COLUMN=VALUE|VALUE` or
            `KIND:NAME:COLUMN=VALUE & COLUMN=VALUE`, KIND being acquisition or manifestation: kept out of training, made
            a shifted test set.
        images_in: `disk` decodes images when they are needed, for sets that memory does not hold.
        skip_bad_images: Go on without files that cannot be read; how many is said.
        unknown_classes: `failure` counts shifted images of classes unseen in training as failures.
        group_columns: Further columns by whose values results are told apart, as they are by class and subclass. Their
            values then stand in the run folder.
    """

    manifest: Path | None = None
    tfds: str | None = None
    tfds_data_dir: Path | None = None
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
    images_in: Literal["memory", "disk"] = "memory"
    skip_bad_images: bool = False
    unknown_classes: Literal["error", "failure"] = "error"
    group_columns: tuple[str, ...] = ()

    @property
    def given(self) -> bool:
        """Whether there are own images."""
        return self.manifest is not None or self.tfds is not None


@dataclass(frozen=True)
class Config:
    """One run of the benchmark.

    Attributes:
        data: Own images instead of phantoms.
        tasks: Phantom tasks; ignored with own images.
        prepared: Folder in which `experiments.prepare` has left TASK/manifest.csv, for training sets.
        training_sets: Names in `sfjax.study.TRAINING_SETS`, instead of phantoms: which prepared images train, and
            which become shifted test sets. Of the study's corruptions each has those that the study gave it.
        phantom_train: Training images of a phantom task.
        phantom_test: Images of its i.i.d. test set; val, cal and the shifted sets are in proportion.
        image_size: Pixels a side.
        network: small_cnn, densenet121, densenet161 or efficientnet_b4.
        methods: Training methods: cross_entropy, confidnet, deep_gamblers, devries, ensemble; one network each. Scores
            that apply to any are scored on the first.
        recipe: How networks are trained.
        published: Each task has the network, the image size and the recipe that it has in the study, instead of those
            given here.
        pretrained: Weights of the network to begin with: a torchvision or timm file, .safetensors, .pth or .pt.
        seeds: One network each of every method.
        num_samples: Monte Carlo dropout passes.
        num_augmentations: Passes over augmented copies of each image, flipped and moved as in training; 0 for none.
        corruptions: Names in `sfjax.shifts.SHIFTS`, or several joined by `+`, applied to the i.i.d. test set; by
            default those of the study.
        levels: Which of the five strengths.
        prevalences: The i.i.d. test set resampled to other class shares, `CLASS=SHARE`, several with commas between
            them; classes that are not named share the rest as they do in the set.
        csfs: Names in `sfjax.csf.CSFS` and `FITTED`, or METHOD_CSF for one of any method on another one's network;
            `all` for all that the methods allow, `paper` for those of the paper among them.
        metrics: Those computed besides accuracy and AURC (`sfjax.study.measures`), none for all: with every score and
            many resamples, all of them take long.
        calibrate: How scores that have no probability of being right get one from validation images.
        resamples: Of the bootstrap behind every interval; at least as many as the comparison of all CSFs needs.
        cost_matrix: CSV of what a failure costs, true class x predicted class. Every risk then stands in cost too.
        max_loss_weight: The largest loss weight there can be, stated beforehand: guarantees about cost need it where
            loss weights are not all 1.
        target_risks: Risks that guarantees promise; about cost, as shares of the largest cost.
        delta: Chance that a guarantee about the selective risk may be broken.
        embedded_images: At most so many in the latent scatter of a task.
        compute: What networks compute in; `auto` is bfloat16 on accelerators. Weights, statistics and logits are
            float32 always.
        recompute: Keep fewer activations in training and compute them again, for large images.
        checkpoint_steps: Checkpoints after every so many steps besides those after epochs.
        inference_batch_size: Images at a time.
        passes_at_once: Monte Carlo passes, or those over copies, computed side by side; bounds memory.
        tensorboard: Write TensorBoard logs too.
        data_seed: Draws phantoms, splits, corruptions and resamples, which all networks share.
    """

    data: ManifestConfig = field(default_factory=ManifestConfig)
    tasks: tuple[str, ...] = tuple(PHANTOMS)
    prepared: Path | None = None
    training_sets: tuple[str, ...] = ()
    phantom_train: int = 1500
    phantom_test: int = 500
    image_size: int = 64
    network: str = "small_cnn"
    methods: tuple[str, ...] = ("cross_entropy",)
    recipe: Recipe = field(default_factory=Recipe)
    published: bool = False
    pretrained: Path | None = None
    seeds: tuple[int, ...] = (0, 1)
    num_samples: int = 50
    num_augmentations: int = 0
    corruptions: tuple[str, ...] = STUDY_CORRUPTIONS
    levels: tuple[int, ...] = tuple(range(1, NUM_LEVELS + 1))
    prevalences: tuple[str, ...] = ()
    csfs: tuple[str, ...] = ("all",)
    metrics: tuple[str, ...] = ()
    calibrate: Literal["platt", "isotonic", "none"] = "platt"
    resamples: int = 1400
    cost_matrix: Path | None = None
    max_loss_weight: float | None = None
    target_risks: tuple[float, ...] = (0.05, 0.1)
    delta: float = 0.05
    embedded_images: int = 2000
    compute: Literal["auto", "float32", "bfloat16"] = "auto"
    recompute: bool = False
    checkpoint_steps: int | None = None
    inference_batch_size: int = 256
    passes_at_once: int = 10
    tensorboard: bool = False
    data_seed: int = 0


class Settings(NamedTuple):
    """What the networks of one task are.

    Attributes:
        network: A name in `sfjax.models.MODELS`.
        image_size: Pixels a side.
        recipe: How they are trained.
    """

    network: str
    image_size: int
    recipe: Recipe


def settings_of(config: Config, task: str) -> Settings:
    """Returns what the networks of a task are: as configured, or as in the study."""
    if not config.published:
        return Settings(config.network, config.image_size, config.recipe)
    published = PUBLISHED[TRAINING_SETS[task].task if task in TRAINING_SETS else task]
    return Settings(published.network, published.image_size, published.recipe)


def entries_of(config: Config) -> tuple[str, ...]:
    """Returns the run's entries (`sfjax.study.entries`)."""
    return entries(config.csfs, config.methods, augmented=config.num_augmentations > 0)


def paper_preset(task: str) -> str:
    """Returns the name of the preset that has one task's settings of the study."""
    return f"paper-{task.replace('_', '-')}"


def check(config: Config) -> None:
    """Raises ValueError where a setting is out of its range; the message names it, its range and what was given."""
    for name, values, allowed in (
        ("tasks", config.tasks, PHANTOMS),
        ("network", (config.network,), MODELS),
        ("methods", config.methods, METHODS),
        ("metrics", config.metrics, METRICS + COST_METRICS),
        ("training_sets", config.training_sets, TRAINING_SETS),
        ("levels", config.levels, range(1, NUM_LEVELS + 1)),
    ):
        unknown = [value for value in values if value not in allowed]
        if unknown:
            raise ValueError(
                f"{name} must be among {', '.join(map(str, allowed))}; got {', '.join(map(str, unknown))}."
            )
        if len(set(values)) < len(values):
            raise ValueError(f"{name} must not name one thing twice; got {', '.join(map(str, values))}.")
    _check_corruptions(config)
    for name, value, least in (
        ("methods", len(config.methods), 1),
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
        ("num_augmentations", config.num_augmentations, 0),
        ("phantom_train", config.phantom_train, 20),
        ("phantom_test", config.phantom_test, 10),
        ("embedded_images", config.embedded_images, 1),
        ("inference_batch_size", config.inference_batch_size, 1),
        ("passes_at_once", config.passes_at_once, 1),
        ("checkpoint_steps", config.checkpoint_steps, 1),
    ):
        if value is not None and value < least:
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
    if alone and not config.data.given and len(config.tasks) > 1:
        raise ValueError(
            f"{' and '.join(alone)} speak of the classes or columns of one task; got the tasks "
            f"{', '.join(config.tasks)}. Choose one with --tasks."
        )
    if config.max_loss_weight is not None and not config.max_loss_weight > 0:
        raise ValueError(f"max_loss_weight must be above 0; got {config.max_loss_weight}.")
    entries_of(config)
    priors = [tuple(sorted(parse_prior(prior).items())) for prior in config.prevalences]
    if len(set(priors)) < len(priors):
        raise ValueError(f"prevalences must not name one thing twice; got {', '.join(config.prevalences)}.")
    if config.data.hold_out and not config.data.given:
        whose = "training sets hold out their own" if config.training_sets else "phantoms have their own shifted sets"
        raise ValueError(f"hold_out is of a manifest's or TFDS's images, and {whose}. Leave it out.")
    if config.prepared is not None and not config.training_sets:
        raise ValueError("prepared is where the images of training sets are. Name some with --training-sets.")
    if config.training_sets and config.data.given:
        raise ValueError("training_sets are of prepared images, manifest and tfds name others. Give one of them.")
    if config.published:
        plain = Config()
        given = [name for name in ("network", "image_size", "recipe") if getattr(config, name) != getattr(plain, name)]
        given += [name for name in ("manifest", "tfds") if getattr(config.data, name) is not None]
        given += ["pretrained"] if config.pretrained is not None else []
        unpublished = sorted({TRAINING_SETS[name].task for name in config.training_sets} - set(PUBLISHED))
        if unpublished:
            raise ValueError(
                f"The study has no settings for {', '.join(unpublished)}. Give network, image_size and recipe "
                "yourself: a preset other than paper, with --prepared and --training-sets."
            )
        if given:
            *first, last = map(paper_preset, PUBLISHED)
            raise ValueError(
                f"published gives each phantom task settings of its own, so that {' and '.join(given)} cannot be given "
                f"for all of them. Take the preset of one task: {', '.join(first)} or {last}."
            )
    if config.pretrained is not None and not config.pretrained.is_file():
        raise ValueError(f"pretrained must be a file of weights, and there is none at {config.pretrained}.")
    _check_data(config.data)
    check_recipe(config.recipe)


def _check_data(data: ManifestConfig) -> None:
    if data.manifest is not None and data.tfds is not None:
        raise ValueError(
            f"manifest and tfds are two sources of images, of which a run has one; got {data.manifest} and {data.tfds}."
        )
    if data.tfds_data_dir is not None and data.tfds is None:
        raise ValueError(f"tfds_data_dir is where the set of tfds is, which is not given; got {data.tfds_data_dir}.")
    if data.tfds is not None:
        refuse_settings_of_files(data, f"the TFDS set {data.tfds}", ("split_column",))


def refuse_settings_of_files(data: ManifestConfig, source: str, columns: tuple[str, ...]) -> None:
    """Raises ValueError where settings say something of image files that a source without them cannot do.

    Args:
        data: The settings.
        source: What the images come from, for the message.
        columns: Further settings that this source has no use for.
    """
    plain = ManifestConfig()
    given = [name for name in ("metadata", "images_in", *columns) if getattr(data, name) != getattr(plain, name)]
    if given:
        raise ValueError(
            f"{', '.join(given)} speak of a manifest's files, and the images are in {source}. Leave them out, or make "
            "a manifest."
        )


def _check_corruptions(config: Config) -> None:
    if len(set(config.corruptions)) < len(config.corruptions):
        raise ValueError(f"corruptions must not name one thing twice; got {', '.join(config.corruptions)}.")
    for name in config.corruptions:
        channels = lookup(name).channels
        # Which channels own images have is not known before they are read: `apply` says it then.
        tasks = () if config.data.given or config.training_sets or not channels else config.tasks
        unsuited = [task for task in tasks if PHANTOMS[task].channels not in channels]
        if unsuited:
            raise ValueError(
                f"The corruption {name} needs images with {' or '.join(map(str, channels))} channels, which "
                f"{', '.join(unsuited)} have not. Leave it out, or choose other tasks with --tasks."
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


def from_json(stored: Mapping[str, Any]) -> Config:
    """Returns the configuration that `as_json` made plain values of; what is missing has its default.

    Raises:
        ValueError: There is a setting of no such name.
    """
    return _rebuilt(Config, stored, "")


def _rebuilt(kind: Any, stored: Mapping[str, Any], prefix: str) -> Any:
    hints = get_type_hints(kind)
    if unknown := sorted(set(stored) - set(hints)):
        named = ", ".join(f"{prefix}{name}" for name in unknown)
        raise ValueError(f"The configuration has settings that this version does not know: {named}.")

    def plain(value: Any, hint: Any) -> Any:
        if isinstance(value, list):
            return tuple(plain(item, hint) for item in value)
        return Path(value) if isinstance(value, str) and "Path" in str(hint) else value

    values = {}
    for name, value in stored.items():
        nested = dataclasses.is_dataclass(hints[name])
        values[name] = _rebuilt(hints[name], value, f"{prefix}{name}.") if nested else plain(value, hints[name])
    return kind(**values)


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
