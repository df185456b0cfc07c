"""Training of one stage as a generator of states: no files."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

from sfjax import keys
from sfjax.inference import Devices, batches
from sfjax.models import Classifier, Variables
from sfjax.training.losses import first_carry
from sfjax.training.methods import Stage
from sfjax.training.recipes import Recipe
from sfjax.training.sharding import DataParallel
from sfjax.training.step import TrainState, optimizer, stack, trained_part
from sfjax.training.step import step as take_step

STEPS_BETWEEN_CHECKS = 50
"""Losses are looked at after so many steps, so that the host does not wait for every one."""


class Labelled(NamedTuple):
    """Images to learn from, or to validate with.

    Attributes:
        images: Shape (n, h, w, k), uint8, uint16 or float in [0, 1]: an array, or images on disk (`sfjax.inference`).
        labels: From 0.
        ids: From the images' content: they key dropout and augmentation.
    """

    images: Any
    labels: Int[np.ndarray, " n"]
    ids: UInt32[np.ndarray, " n"]


class Progress(NamedTuple):
    """Where training is.

    Attributes:
        epoch: Epochs that are done.
        step: Steps of the next one that are done; 0 at the end of an epoch.
        state: To go on from.
        loss: Mean over the steps of the epoch that has just ended, or that is going on; one a network if there are
            several.
    """

    epoch: int
    step: int
    state: TrainState
    loss: Float[np.ndarray, "*s"]


class DivergedError(ValueError):
    """The loss or the gradient is not finite.

    Attributes:
        epoch: In which, from 1.
        step: In which of its steps, from 1.
        image_ids: Of that step's images; of several processes, each knows its own.
    """

    def __init__(self, message: str, epoch: int, step: int, image_ids: np.ndarray) -> None:
        super().__init__(message)
        self.epoch, self.step, self.image_ids = epoch, step, image_ids


def steps_per_epoch(recipe: Recipe, num_images: int) -> int:
    """Returns the number of whole batches; a set smaller than a batch makes one of what there is."""
    return max(num_images // recipe.batch_size, 1)


def initial_variables(classifier: Classifier, image_shape: tuple[int, ...], key: Key[Array, "*s"]) -> Variables:
    """Returns the weights and statistics before training, stacked where there are several keys.

    Args:
        classifier: The network.
        image_shape: (h, w, k).
        key: The run's; the weights come from its stream `init`.
    """
    image = jnp.zeros(image_shape, jnp.float32)
    if key.ndim == 0:
        return classifier.init(keys.stream(key, "init"), image)
    # One after the other: mapped, each initializer would be compiled anew.
    return stack([classifier.init(keys.stream(one, "init"), image) for one in key])


def begin(
    stage: Stage,
    recipe: Recipe,
    variables: Variables,
    num_images: int,
    key: Key[Array, "*s"],
    *,
    before: TrainState | None = None,
) -> TrainState:
    """Returns the state before a stage's first step.

    Args:
        stage: Which.
        recipe: How networks are trained.
        variables: Those after the stage before.
        num_images: Size of the training set.
        key: The run's, or one a network that trains in the same program.
        before: The state after the stage before, for a stage that continues it.
    """
    if stage.begin is not None:
        variables = stage.begin(variables)
    init = optimizer(stage, recipe, steps_per_epoch(recipe, num_images)).init
    carry = first_carry(stage.loss)
    if key.ndim:
        init = jax.vmap(init)
        carry = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(key),)), carry)
    moments = (
        before.optimizer if stage.continues and before is not None else init(trained_part(stage, variables["params"]))
    )
    zero = jnp.zeros((), jnp.int32)
    return TrainState(
        variables, moments, carry, jax.random.key_data(key), zero, zero, jnp.zeros(key.shape, jnp.float32)
    )


def train(
    classifier: Classifier,
    data: Labelled,
    *,
    stage: Stage,
    recipe: Recipe,
    state: TrainState,
    every: int | None = None,
    devices: Devices | None = None,
) -> Iterator[Progress]:
    """Yields the state after each epoch. From any state that it yielded it goes on exactly as it would have.

    Order, augmentation and dropout of a step depend on the state's key, the epoch and the step alone; an image's
    augmentation and masks on the key, the epoch and the image.

    Args:
        classifier: The network.
        data: To learn from.
        stage: Of training.
        recipe: How to train.
        state: From `begin`, or where to go on.
        every: Yields after every so many steps too.
        devices: Each batch is divided between them; None takes all there are.

    Raises:
        DivergedError: The loss or the gradient is not finite; the message names epoch, step and images.
        ValueError: The batch cannot be divided between the devices.
    """
    parallel = DataParallel(devices)
    n = len(data.images)
    steps, size = steps_per_epoch(recipe, n), min(recipe.batch_size, n)
    if size % recipe.accumulate:
        raise ValueError(
            f"A batch of {size} images cannot be computed in {recipe.accumulate} equal parts. Change accumulate."
        )
    rows, weight = parallel.rows(size), _image_weights(recipe, data.labels)
    key = jax.random.wrap_key_data(state.key)
    state = parallel.replicate(state)
    while int(state.epoch) < stage.epochs:
        epoch = int(state.epoch)
        order = _order(keys_of(key, stage, "order", epoch), n)
        epoch_key = parallel.replicate(jax.random.key_data(keys_of(key, stage, "epoch", epoch)))
        chosen = [order[..., step * size : (step + 1) * size][..., rows] for step in range(int(state.step), steps)]
        unchecked = []
        arriving = batches(data.images, [index.reshape(-1) for index in chosen])
        for step, (index, images) in enumerate(zip(chosen, arriving, strict=True), int(state.step)):
            axis = index.ndim - 1
            batch = (
                parallel.divide(np.asarray(images).reshape(*index.shape, *images.shape[1:]), size, axis=axis),
                parallel.divide(data.labels[index].astype(np.int32), size, axis=axis),
                parallel.divide(weight[index], size, axis=axis),
                parallel.divide(data.ids[index].astype(np.uint32), size, axis=axis),
            )
            state, loss, norm = take_step(classifier, stage, recipe, steps, state, batch, epoch_key)
            unchecked.append((step, data.ids[index], loss, norm))
            due = every is not None and (step + 1) % every == 0 and step + 1 < steps
            if due or len(unchecked) == STEPS_BETWEEN_CHECKS or step + 1 == steps:
                _check(unchecked, stage, recipe, epoch, steps)
                unchecked = []
            if due:
                yield Progress(epoch, step + 1, state, np.asarray(state.loss) / (step + 1))
        mean = np.asarray(state.loss) / steps
        state = state._replace(epoch=state.epoch + 1, step=jnp.zeros_like(state.step), loss=jnp.zeros_like(state.loss))
        yield Progress(epoch + 1, 0, state, mean)


def keys_of(key: Key[Array, "*s"], stage: Stage, what: str, epoch: int) -> Key[Array, "*s"]:
    """Returns the key, or one a network, of something random in one epoch of a stage."""

    def of_network(key: Key[Array, ""]) -> Key[Array, ""]:
        return keys.stream(key, stage.name, what, epoch)

    return of_network(key) if key.ndim == 0 else jax.vmap(of_network)(key)


def _order(key: Key[Array, "*s"], n: int) -> np.ndarray:
    """Returns the order of n images in an epoch, a row a network where there are several."""
    if key.ndim == 0:
        return np.asarray(jax.random.permutation(key, n))
    return np.stack([np.asarray(jax.random.permutation(one, n)) for one in key])


def _image_weights(recipe: Recipe, labels: np.ndarray) -> Float[np.ndarray, " n"]:
    """Returns what each image weighs in the loss, of mean 1."""
    if recipe.class_weights == "none":
        return np.ones(len(labels), np.float32)
    counts = np.bincount(labels)
    return (len(labels) / (np.count_nonzero(counts) * counts[labels])).astype(np.float32)


def _check(unchecked: list, stage: Stage, recipe: Recipe, epoch: int, steps: int) -> None:
    for step, ids, loss, norm in unchecked:
        if np.isfinite(loss).all() and np.isfinite(norm).all():
            continue
        whose = "The step's" if jax.process_count() == 1 else "This process's part of the step's"
        what = f"loss is {loss}" if not np.isfinite(loss).all() else f"loss is {loss} and its gradient's norm {norm}"
        raise DivergedError(
            f"The loss and its gradient must be finite, and in step {step + 1} of {steps} of epoch {epoch + 1} of "
            f"{stage.name} the {what}. {whose} images have the ids {', '.join(map(str, ids.ravel().tolist()))}. "
            f"Lower the learning rate ({stage.learning_rate:g}), or look for images that are all one value.",
            epoch + 1,
            step + 1,
            ids,
        )
