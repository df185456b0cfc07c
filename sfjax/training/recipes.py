"""How networks are trained, as data: a recipe's numbers, and those of the study for its four tasks.

The study's settings are those that its code arrives at after all overrides (Bungert, Kobelke and Jaeger 2023, tag
0.1.1 of FD-Shifts). What was broken there is mended here:

* The cosine ends where its phase ends. There it turned back up for a quarter of the backbone's epochs (X-ray, RxRx1),
  and Deep Gamblers had no length at all.
* ConfidNet's three stages run. There the second could not be entered, and RxRx1's third had no epochs: of the 30 after
  the backbone's, 15 are fine-tuning here.
* The gambler's reward is at most the number of classes and chosen on validation images. There it was 10 or 20 for two
  classes, where it never pays to reserve.
* RxRx1 is trained and tested at one size; there it was trained on cut-outs of 224 px and tested on 512.
* X-ray's weight decay is 1e-5 for every method. There ConfidNet runs kept 1e-4.
* RxRx1 and LIDC are normalized as ImageNet, from whose weights they start, with the mean of its channels for stains.
* Weights do not decay where ConfidNet learns its confidence: there the gradient is so small that decay would be all
  there is.
* The cosine falls with every step, there with every epoch.

Augmentation runs on the device, and is of the same kinds as the study's without being its equal: see `augment`, whose
blur is along a line and whose square is gray, for the Gaussian blur and the black or random fill of the study; every
image is blurred, deformed and noisy to a random degree where some were there; a cut-out is enlarged and never shrunk,
and what lies outside an image is its edge repeated. CLAHE, median blur, lens distortion and hue of dermoscopy are left
out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from sfjax.training.augment import Augmentation
from sfjax.training.augment import check as check_augmentation


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: Passes over the training images, of the cross-entropy part.
        batch_size: Images a step; the last incomplete batch of an epoch is left out, and shuffling makes that another
            one each epoch.
        accumulate: Parts that a batch is computed in, one after the other, for less memory. Batch normalization sees
            one part at a time, and the weight of DeVries' confidence loss moves with each.
        learning_rate: Adam's, at its highest. It falls to 0 as a cosine by the end of its phase.
        warmup: Share of all steps in which it first rises from 0.
        weight_decay: Of weights.
        decay: `decoupled`, as in AdamW, per step and unit of learning rate; `coupled`, added to the gradient (L2).
        clip_norm: Largest norm of the gradient.
        class_weights: `balanced` weighs each image by the inverse of its class's frequency.
        augmentation: What happens to training images at random.
        patience: Stop a stage after so many epochs without a lower validation AURC; None never.
        select: Which epoch of a stage is used: the `last`, as in the study, or the `best` by validation AURC. Deep
            Gamblers' last stage goes on from it and from its place in the schedule, so that the cosine does not come
            to its end.
        backbone_epochs: ConfidNet's cross-entropy epochs; None is `epochs`.
        confidence_epochs: ConfidNet's, for the head.
        confidence_learning_rate: Constant.
        fine_tuning_epochs: ConfidNet's, for head and copied encoder.
        fine_tuning_learning_rate: Constant.
        gambler_epochs: Deep Gamblers', after the cross-entropy epochs.
        rewards: Deep Gamblers' candidates, each above 1 and at most the number of classes; None takes four, evenly
            spaced in their logarithm, up to the number of classes.
        members: Networks of a deep ensemble.
    """

    epochs: int = 12
    batch_size: int = 64
    accumulate: int = 1
    learning_rate: float = 2e-3
    warmup: float = 0.1
    weight_decay: float = 1e-4
    decay: Literal["decoupled", "coupled"] = "decoupled"
    clip_norm: float = 1.0
    class_weights: Literal["none", "balanced"] = "none"
    augmentation: Augmentation = field(default_factory=Augmentation)
    patience: int | None = None
    select: Literal["last", "best"] = "last"
    backbone_epochs: int | None = None
    confidence_epochs: int = 6
    confidence_learning_rate: float = 1e-3
    fine_tuning_epochs: int = 3
    fine_tuning_learning_rate: float = 1e-5
    gambler_epochs: int = 4
    rewards: tuple[float, ...] | None = None
    members: int = 5


class Published(NamedTuple):
    """A task as in the study.

    Attributes:
        network: A name in `sfjax.models.MODELS`.
        image_size: Pixels a side.
        recipe: How it is trained.
    """

    network: str
    image_size: int
    recipe: Recipe


def _published(**settings: object) -> Recipe:
    """Returns a recipe with what all of the study's tasks share."""
    shared = {"warmup": 0.0, "decay": "coupled", "confidence_learning_rate": 1e-4, "fine_tuning_learning_rate": 1e-6}
    return Recipe(**{**shared, **settings})  # pyright: ignore[reportArgumentType]


PUBLISHED: Final[Mapping[str, Published]] = MappingProxyType(
    {
        "dermoscopy": Published(
            "efficientnet_b4",
            512,
            _published(
                epochs=15,
                batch_size=16,
                learning_rate=3e-5,
                weight_decay=0.0,
                backbone_epochs=20,
                confidence_epochs=5,
                fine_tuning_epochs=5,
                gambler_epochs=5,
                augmentation=Augmentation(
                    flips="all",
                    max_shift=0.1,
                    max_rotation=15,
                    area=(0.81, 1.0),
                    brightness=0.2,
                    contrast=0.2,
                    saturation=0.2,
                    elastic=0.01,
                    motion_blur=0.01,
                    noise=0.02,
                    erase=0.375,
                ),
            ),
        ),
        "chest_xray": Published(
            "densenet121",
            256,
            _published(
                epochs=30,
                batch_size=96,
                learning_rate=5e-4,
                weight_decay=1e-5,
                backbone_epochs=40,
                confidence_epochs=10,
                fine_tuning_epochs=10,
                gambler_epochs=10,
                augmentation=Augmentation(flips="horizontal", max_shift=0.0, max_rotation=15),
            ),
        ),
        "microscopy": Published(
            "densenet161",
            512,
            _published(
                epochs=90,
                batch_size=70,
                learning_rate=1.5e-4,
                weight_decay=1e-5,
                backbone_epochs=120,
                confidence_epochs=15,
                fine_tuning_epochs=15,
                gambler_epochs=30,
                augmentation=Augmentation(flips="all", max_shift=0.0, max_rotation=15, area=(0.08, 1.0), aspect=4 / 3),
            ),
        ),
        "lung_ct": Published(
            "densenet121",
            64,
            _published(
                epochs=45,
                batch_size=512,
                learning_rate=1.5e-4,
                weight_decay=0.1,
                backbone_epochs=45,
                confidence_epochs=15,
                fine_tuning_epochs=15,
                gambler_epochs=15,
                augmentation=Augmentation(flips="all", max_shift=0.0, max_rotation=180, motion_blur=0.05, erase=0.5),
            ),
        ),
    }
)
"""The study's network, size and recipe by task."""


def check(recipe: Recipe) -> None:
    """Raises ValueError where a number is out of its range; the message names it, its range and what was given."""
    for name, least in (
        ("epochs", 1),
        ("batch_size", 2),
        ("accumulate", 1),
        ("confidence_epochs", 1),
        ("fine_tuning_epochs", 0),
        ("gambler_epochs", 1),
        ("members", 2),
        ("weight_decay", 0),
        ("patience", 1),
        ("backbone_epochs", 1),
    ):
        value = getattr(recipe, name)
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}; got {value}.")
    for name in ("learning_rate", "confidence_learning_rate", "fine_tuning_learning_rate", "clip_norm"):
        if not getattr(recipe, name) > 0:
            raise ValueError(f"{name} must be above 0; got {getattr(recipe, name)}.")
    if not 0 <= recipe.warmup < 1:
        raise ValueError(f"warmup must be at least 0 and below 1; got {recipe.warmup}.")
    if recipe.batch_size % recipe.accumulate:
        raise ValueError(
            f"batch_size must be a multiple of accumulate; got {recipe.batch_size} and {recipe.accumulate}."
        )
    check_augmentation(recipe.augmentation)


def rewards_for(recipe: Recipe, num_classes: int) -> tuple[float, ...]:
    """Returns the gambler's rewards to choose from.

    Args:
        recipe: Names them, or leaves them open.
        num_classes: c; candidates then are c^(1/4), c^(1/2), c^(3/4) and c.

    Raises:
        ValueError: A reward is not above 1 and at most the number of classes.

    Example:
        >>> [round(reward, 2) for reward in rewards_for(Recipe(), 16)]
        [2.0, 4.0, 8.0, 16.0]
    """
    if recipe.rewards is None:
        return tuple(round(num_classes ** (i / 4), 4) for i in (1, 2, 3, 4))
    outside = [reward for reward in recipe.rewards if not 1 < reward <= num_classes]
    if outside or not recipe.rewards:
        raise ValueError(
            f"rewards must be given, each above 1 and at most the {num_classes} classes: below, betting never pays; "
            f"above, reserving never does. Got {recipe.rewards}."
        )
    if len({f"{reward:g}" for reward in recipe.rewards}) < len(recipe.rewards):
        raise ValueError(f"rewards must not name one thing twice; got {recipe.rewards}.")
    return recipe.rewards
