"""Training as a generator of epochs: pure steps, one jitted function, no files."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key

from sfjax import keys
from sfjax.inference import as_float
from sfjax.models import Classifier, Variables
from sfjax.training.augment import Flips, augment
from sfjax.training.losses import cross_entropy


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images a step; the last incomplete batch of an epoch is left out, and shuffling makes that another
            one each epoch.
        learning_rate: Adam's, at its highest: it rises over the first tenth of all steps and falls to 0 as a cosine.
        weight_decay: AdamW's, per step and unit of learning rate.
        flips: Random mirroring: none, horizontal (left and right), or all (also up and down, and transposed).
        max_shift: Largest random movement, as a share of each side.
    """

    epochs: int = 12
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    flips: Flips = "horizontal"
    max_shift: float = 0.06


class TrainState(NamedTuple):
    """Everything that the next epoch depends on, besides the recipe, the images and the key."""

    variables: Variables
    optimizer: Any
    epoch: Array


class Epoch(NamedTuple):
    """What one epoch left: the state after it, and the mean loss over its steps."""

    number: int
    state: TrainState
    loss: float


def initial_state(
    classifier: Classifier, recipe: Recipe, image_shape: tuple[int, ...], num_images: int, key: Key[Array, ""]
) -> TrainState:
    """Returns the state before the first epoch.

    Args:
        classifier: The network.
        recipe: How it will be trained.
        image_shape: (h, w, k).
        num_images: Size of the training set.
        key: The run's key; the weights come from its stream `init`.
    """
    variables = classifier.init(keys.stream(key, "init"), jnp.zeros(image_shape, jnp.float32))
    return TrainState(variables, optimizer(recipe, num_images).init(variables["params"]), jnp.zeros((), jnp.int32))


def steps_per_epoch(recipe: Recipe, num_images: int) -> int:
    """Returns the number of whole batches; a set smaller than a batch makes one of what there is."""
    return max(num_images // recipe.batch_size, 1)


@functools.cache
def optimizer(recipe: Recipe, num_images: int) -> optax.GradientTransformation:
    """Returns AdamW behind gradient clipping at norm 1, with warm-up and a cosine over the recipe's whole length."""
    steps = recipe.epochs * steps_per_epoch(recipe, num_images)
    schedule = optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, max(steps // 10, 1), max(steps, 2))
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=recipe.weight_decay))


def train(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    image_ids: np.ndarray,
    *,
    recipe: Recipe,
    key: Key[Array, ""],
    state: TrainState | None = None,
) -> Iterator[Epoch]:
    """Yields each epoch with the state after it. From a state that it yielded it goes on exactly as it would have.

    Args:
        classifier: The network.
        images: Shape (n, h, w, k), uint8, uint16 or float in [0, 1].
        labels: Shape (n,), from 0.
        image_ids: uint32 from the images' content, shape (n,): they key dropout and augmentation.
        recipe: How to train.
        key: The run's key. Order, augmentation and dropout have streams of their own below it.
        state: Where to go on; None starts anew.

    Raises:
        ValueError: The loss is not a number; the message names epoch and step.
    """
    n = len(images)
    if state is None:
        state = initial_state(classifier, recipe, images.shape[1:], n, key)
    steps, size = steps_per_epoch(recipe, n), min(recipe.batch_size, n)
    variables, optimizer_state = state.variables, state.optimizer
    for epoch in range(int(state.epoch), recipe.epochs):
        order = np.asarray(jax.random.permutation(keys.stream(key, "order", epoch), n))
        epoch_key = keys.stream(key, "epoch", epoch)
        losses = []
        for step in range(steps):
            index = order[step * size : (step + 1) * size]
            batch = jnp.asarray(images[index]), jnp.asarray(labels[index], jnp.int32), jnp.asarray(image_ids[index])
            # Strict dtype promotion is for our arithmetic; optax mixes a float32 rate with weakly typed constants.
            with jax.numpy_dtype_promotion("standard"):
                variables, optimizer_state, loss = _step(
                    classifier, recipe, n, variables, optimizer_state, *batch, epoch_key
                )
            losses.append(loss)
        values = np.asarray(jnp.stack(losses))
        if not np.isfinite(values).all():
            raise ValueError(
                f"The training loss must be finite, and in epoch {epoch + 1} it is {values[~np.isfinite(values)][0]} "
                f"from step {int(np.argmin(np.isfinite(values))) + 1} of {steps} on. Lower the learning rate "
                f"({recipe.learning_rate}), or look for images that are all one value."
            )
        state = TrainState(variables, optimizer_state, jnp.asarray(epoch + 1, jnp.int32))
        yield Epoch(epoch + 1, state, float(values.mean()))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _step(
    classifier: Classifier,
    recipe: Recipe,
    num_images: int,
    variables: Variables,
    optimizer_state: Any,
    images: Array,
    labels: Array,
    image_ids: Array,
    epoch_key: Array,
) -> tuple[Variables, Any, Array]:
    augment_keys = keys.per_image(keys.stream(epoch_key, "augment"), image_ids)
    dropout_keys = keys.per_image(keys.stream(epoch_key, "dropout"), image_ids)
    transform = functools.partial(augment, flips=recipe.flips, shift=recipe.max_shift)
    images = jax.vmap(transform)(augment_keys, as_float(images))

    def loss_of(params: Any) -> tuple[Array, Variables]:
        heads, statistics = classifier.train_forward(
            {**variables, "params": params}, images, dropout_keys, batch_statistics=True
        )
        return cross_entropy(heads.logits, labels), statistics

    (loss, statistics), gradient = jax.value_and_grad(loss_of, has_aux=True)(variables["params"])
    updates, optimizer_state = optimizer(recipe, num_images).update(gradient, optimizer_state, variables["params"])
    updated = {**variables, "params": optax.apply_updates(variables["params"], updates)}
    if statistics:
        updated["batch_stats"] = statistics
    return updated, optimizer_state, loss
