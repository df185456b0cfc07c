"""Configurations by name, each with its purpose, cost and what to expect."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from sfjax.study.config import Config, ManifestConfig, paper_preset
from sfjax.study.training_sets import CORRUPTIONS, STUDY
from sfjax.training import PUBLISHED, Recipe


@dataclass(frozen=True)
class Preset:
    """A configuration with its purpose, cost and what to expect."""

    description: str
    config: Config


_PAPER: Final = Config(
    phantom_train=6000,
    phantom_test=2000,
    methods=("confidnet", "deep_gamblers"),
    seeds=(0, 1, 2),
    embedded_images=5000,
    inference_batch_size=32,
    passes_at_once=2,
)

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
                csfs=("msr", "energy", "mcd_msr", "mcd_mi", "mahalanobis"),
                embedded_images=60,
            ),
        ),
        "quick": Preset(
            "All four phantom tasks at 64 px, two seeds. About 10 minutes on two CPU cores; i.i.d. accuracy 85-97 %.",
            Config(
                # Eight: more comparisons need more resamples.
                csfs=("msr", "pe", "energy", "mcd_msr", "mcd_pe", "mcd_mi", "mahalanobis", "knn")
            ),
        ),
        "standard": Preset(
            "All four phantom tasks at 224 px, DenseNet-121, three training methods, five seeds. Meant for an "
            "accelerator; days on a CPU.",
            Config(
                phantom_train=6000,
                phantom_test=2000,
                image_size=224,
                network="densenet121",
                methods=("confidnet", "deep_gamblers", "devries"),
                recipe=Recipe(epochs=30, learning_rate=1e-3, confidence_epochs=10, fine_tuning_epochs=5),
                seeds=(0, 1, 2, 3, 4),
                embedded_images=5000,
                inference_batch_size=64,
                passes_at_once=4,
            ),
        ),
        "paper": Preset(
            "The study: every training set and shift, each task's network, image size, recipe and methods, three "
            "seeds, on images that experiments.prepare has made ready (--prepared). --dry-run lists them. Meant for "
            "several accelerators.",
            dataclasses.replace(
                _PAPER,
                published=True,
                training_sets=STUDY,
                corruptions=CORRUPTIONS,
                data=ManifestConfig(images_in="disk"),
            ),
        ),
        "paper-phantoms": Preset(
            "As paper, on phantoms: four tasks, each with its network, image size, recipe and methods. Meant for an "
            "accelerator.",
            dataclasses.replace(_PAPER, published=True),
        ),
        **{
            paper_preset(task): Preset(
                f"One task of `paper`, with its settings to be changed and for real images (--manifest, --pretrained): "
                f"{published.network} at {published.image_size} px.",
                dataclasses.replace(
                    _PAPER,
                    tasks=(task,),
                    network=published.network,
                    image_size=published.image_size,
                    recipe=published.recipe,
                ),
            )
            for task, published in PUBLISHED.items()
        },
    }
)
"""Configurations by name."""
