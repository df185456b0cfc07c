"""Training methods: how each makes its network from a plain one, and the stages that it trains in."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from sfjax.models import Classifier, Variables
from sfjax.models.confidence_heads import CONFIDNET_WIDTHS, with_confidence, with_reservation
from sfjax.training import losses
from sfjax.training.losses import Loss
from sfjax.training.recipes import Recipe


class Stage(NamedTuple):
    """A phase of training with one loss.

    Attributes:
        name: Also of its folder.
        loss: What is minimized.
        csf: The name in `sfjax.csf.CSFS` of the score that the validation AURC is of.
        epochs: How many.
        learning_rate: Adam's, at its highest.
        warmup: Share of the schedule in which it rises from 0.
        schedule: Epochs after which a cosine has brought it to 0; 0 keeps it constant.
        trains: Parts of `params` that change; None for all.
        dropout: Whether there is dropout.
        batch_statistics: Whether batch normalization uses and updates the statistics of the batch.
        decays: Whether weights decay; not where the gradient is so small that decay would be all there is.
        continues: Goes on with the optimizer and the schedule of the stage before, instead of new ones.
        begin: From the variables after the stage before to those that this one starts from.
    """

    name: str
    loss: Loss
    csf: str
    epochs: int
    learning_rate: float
    warmup: float = 0.0
    schedule: int = 0
    trains: tuple[str, ...] | None = None
    dropout: bool = True
    batch_statistics: bool = True
    decays: bool = True
    continues: bool = False
    begin: Callable[[Variables], Variables] | None = None


class Method(NamedTuple):
    """A training method.

    Attributes:
        stages: `(recipe, reward) -> stages`; only Deep Gamblers has a reward.
        wrap: From a plain network to the one that the method trains; None leaves it plain.
        extra_logits: How many logits more than classes the plain network has.
        chooses_reward: Whether its last stage is tried with several rewards.
        ensemble: Whether there are several members, trained as one program.
    """

    stages: Callable[[Recipe, float], tuple[Stage, ...]]
    wrap: Callable[[Classifier], Classifier] | None = None
    extra_logits: int = 0
    chooses_reward: bool = False
    ensemble: bool = False

    def plain(self, make: Callable[..., Classifier], num_classes: int) -> Classifier:
        """Returns the network that the method's is made from, the one that pretrained weights fit.

        Args:
            make: `make(num_classes=...)` gives a plain network, as the values of `sfjax.models.MODELS` do.
            num_classes: At least 2.
        """
        return make(num_classes=num_classes + self.extra_logits)

    def network(self, make: Callable[..., Classifier], num_classes: int) -> Classifier:
        """Returns the network that the method trains.

        Args:
            make: As for `plain`.
            num_classes: At least 2.
        """
        plain = self.plain(make, num_classes)
        return plain if self.wrap is None else self.wrap(plain)


def with_weights(variables: Variables, plain: Variables) -> Variables:
    """Returns a method's variables with the weights and statistics of the plain network in their place.

    Args:
        variables: Of the method's network.
        plain: Of the plain one, such as pretrained ones.
    """
    wrapped = set(variables["params"]) == {"network", "confidence"}
    params = {**variables["params"], "network": plain["params"]} if wrapped else plain["params"]
    return {**variables, **plain, "params": params}


def copy_encoder(variables: Variables) -> Variables:
    """Returns the variables with a copy of the network as `encoder`, for the confidence head to train on."""
    params = variables["params"]
    return {**variables, "params": {**params, "encoder": params["network"]}}


def _one_stage(name: str, loss: Loss, csf: str) -> Callable[[Recipe, float], tuple[Stage, ...]]:
    def stages(recipe: Recipe, reward: float) -> tuple[Stage, ...]:
        del reward
        return (Stage(name, loss, csf, recipe.epochs, recipe.learning_rate, recipe.warmup, recipe.epochs),)

    return stages


def _confidnet_stages(recipe: Recipe, reward: float) -> tuple[Stage, ...]:
    del reward
    epochs = recipe.backbone_epochs or recipe.epochs
    backbone = Stage("backbone", losses.cross_entropy, "msr", epochs, recipe.learning_rate, recipe.warmup, epochs)
    head = Stage(
        "confidence",
        losses.true_class_probability,
        "confidnet",
        recipe.confidence_epochs,
        recipe.confidence_learning_rate,
        trains=("confidence",),
        dropout=False,
        batch_statistics=False,
        decays=False,
    )
    tuned = head._replace(
        name="fine_tuning",
        epochs=recipe.fine_tuning_epochs,
        learning_rate=recipe.fine_tuning_learning_rate,
        trains=("confidence", "encoder"),
        begin=copy_encoder,
    )
    return (backbone._replace(trains=("network",)), head, *([tuned] if tuned.epochs else []))


def _gamblers_stages(recipe: Recipe, reward: float) -> tuple[Stage, ...]:
    whole = recipe.epochs + recipe.gambler_epochs
    first = Stage(
        "cross_entropy", losses.cross_entropy, "msr", recipe.epochs, recipe.learning_rate, recipe.warmup, whole
    )
    second = first._replace(
        name=f"gambling_{reward:g}",
        loss=losses.gamblers(reward),
        csf="dg_res",
        epochs=recipe.gambler_epochs,
        continues=True,
    )
    return first, second


METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "cross_entropy": Method(_one_stage("cross_entropy", losses.cross_entropy, "msr")),
        "confidnet": Method(_confidnet_stages, lambda plain: with_confidence(plain, widths=CONFIDNET_WIDTHS)),
        "deep_gamblers": Method(_gamblers_stages, with_reservation, extra_logits=1, chooses_reward=True),
        "devries": Method(_one_stage("confidence", losses.learned_confidence, "devries"), with_confidence),
        "ensemble": Method(_one_stage("cross_entropy", losses.cross_entropy, "msr"), ensemble=True),
    }
)
"""Training methods by the names that `sfjax.csf.CSF.methods` uses."""
