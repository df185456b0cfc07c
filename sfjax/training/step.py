"""One step of training as a pure function: gradient, clipping, Adam; of one network, or of several at once."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from sfjax import keys
from sfjax.inference import as_float
from sfjax.models import Classifier, Variables
from sfjax.training.augment import augment
from sfjax.training.losses import Carry
from sfjax.training.methods import Stage
from sfjax.training.recipes import Recipe

Batch = tuple[Array, Array, Array, Array]
"""Images, labels, weights and ids."""


class TrainState(NamedTuple):
    """Everything that the next step depends on, besides the network, the recipe and the images.

    Several networks that train as one program have their variables, optimizers, carries, keys and losses stacked.

    Attributes:
        variables: Weights and statistics.
        optimizer: Its moments and step count, of the parts of `params` that the stage trains.
        carry: What the loss keeps.
        key: The run's key as plain numbers.
        epoch: Epochs of the stage that are done.
        step: Steps of the next epoch that are done.
        loss: Sum of their losses.
    """

    variables: Variables
    optimizer: Any
    carry: Carry
    key: Array
    epoch: Array
    step: Array
    loss: Array


@functools.cache
def optimizer(stage: Stage, recipe: Recipe, steps: int) -> optax.GradientTransformation:
    """Returns Adam behind gradient clipping, its rate constant or falling as a cosine."""
    rate: Any = stage.learning_rate
    if stage.schedule:
        total = max(stage.schedule * steps, 2)
        warm = int(total * stage.warmup)
        rate = optax.cosine_decay_schedule(rate, total)
        if warm:
            rate = optax.warmup_cosine_decay_schedule(0.0, stage.learning_rate, warm, total)
    clip, decay = optax.clip_by_global_norm(recipe.clip_norm), recipe.weight_decay if stage.decays else 0.0
    if recipe.decay == "decoupled":
        return optax.chain(clip, optax.adamw(rate, weight_decay=decay))
    return optax.chain(clip, optax.add_decayed_weights(decay), optax.adam(rate))


def trained_part(stage: Stage, params: Any) -> Any:
    """Returns the parts of the parameters that a stage changes."""
    return params if stage.trains is None else {part: params[part] for part in stage.trains}


def step(
    classifier: Classifier,
    stage: Stage,
    recipe: Recipe,
    steps: int,
    state: TrainState,
    batch: Batch,
    epoch_key: Array,
) -> tuple[TrainState, Array, Array]:
    """Returns the state after a step, its loss, and its gradient's norm; the last two one a network where stacked.

    Several networks are mapped but on a CPU, where one follows the other: mapped convolutions are grouped ones, for
    which XLA takes three times as long there; and gradients of convolutions within a loop of its own take a hundred
    times as long.

    Args:
        classifier: The network.
        stage: Of training.
        recipe: How to train.
        steps: An epoch.
        state: Before the step.
        batch: One for each network where the state is of several.
        epoch_key: What is random in the epoch, as plain numbers; likewise.
    """
    settings = (classifier, stage, recipe, steps)
    # Strict dtype promotion is for our arithmetic; optax mixes a float32 rate with weakly typed constants.
    with jax.numpy_dtype_promotion("standard"):
        if not (_is_stacked(state) and jax.default_backend() == "cpu"):
            return _step(*settings, state, batch, epoch_key)
        stepped, loss, norm = stack([_step(*settings, *one) for one in _unstack((state, batch, epoch_key))])
    return stepped._replace(epoch=stepped.epoch[0], step=stepped.step[0]), loss, norm


def _is_stacked(state: TrainState) -> bool:
    return state.key.ndim == 2


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _step(
    classifier: Classifier, stage: Stage, recipe: Recipe, steps: int, state: TrainState, batch: Batch, epoch_key: Array
) -> tuple[TrainState, Array, Array]:
    update = functools.partial(_update, classifier, stage, recipe, steps)
    if _is_stacked(state):
        update = jax.vmap(update)
    variables, moments, carry, loss, norm = update(state.variables, state.optimizer, state.carry, batch, epoch_key)
    state = state._replace(
        variables=variables, optimizer=moments, carry=carry, step=state.step + 1, loss=state.loss + loss
    )
    return state, loss, norm


@jax.jit
def _unstack(stacked: tuple[TrainState, Any, Array]) -> list[tuple[TrainState, Any, Array]]:
    state, batch, epoch_key = stacked
    in_all = {"epoch": state.epoch, "step": state.step}
    state = state._replace(epoch=None, step=None)
    parts = [jax.tree.map(lambda leaf, i=i: leaf[i], (state, batch, epoch_key)) for i in range(len(epoch_key))]
    return [(state._replace(**in_all), *rest) for state, *rest in parts]  # pyright: ignore[reportReturnType]


@jax.jit
def stack(trees: list[Any]) -> Any:
    """Returns trees of one structure as one, their arrays stacked on a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _update(
    classifier: Classifier,
    stage: Stage,
    recipe: Recipe,
    steps: int,
    variables: Variables,
    moments: Any,
    carry: Carry,
    batch: Batch,
    epoch_key: Array,
) -> tuple[Variables, Any, Carry, Array, Array]:
    """Returns one network's variables, moments and carry after a step, its loss, and its gradient's norm."""
    trained, key = trained_part(stage, variables["params"]), jax.random.wrap_key_data(epoch_key)

    def loss_of(trained: Any, statistics: Any, carry: Carry, part: Batch) -> Any:
        images, labels, weight, ids = part
        augment_keys, dropout_keys, loss_keys = (
            keys.per_image(keys.stream(key, name), ids) for name in ("augment", "dropout", "loss")
        )
        images = jax.vmap(functools.partial(augment, augmentation=recipe.augmentation))(augment_keys, as_float(images))
        params = trained if stage.trains is None else {**variables["params"], **trained}
        heads, statistics = classifier.train_forward(
            {**variables, "params": params, **statistics},
            images,
            dropout_keys if stage.dropout else None,
            batch_statistics=stage.batch_statistics,
        )
        loss, carry = stage.loss(heads, labels, weight, loss_keys, carry)
        return loss, ({"batch_stats": statistics} if statistics else {}, carry)

    gradient_of = jax.value_and_grad(loss_of, has_aux=True)
    statistics = {"batch_stats": variables["batch_stats"]} if "batch_stats" in variables else {}
    if recipe.accumulate == 1:
        (loss, (statistics, carry)), gradient = gradient_of(trained, statistics, carry, batch)
    else:
        # Interleaved, so that every device has its share of each part.
        parts = jax.tree.map(
            lambda field: jnp.swapaxes(field.reshape(-1, recipe.accumulate, *field.shape[1:]), 0, 1), batch
        )

        def add(so_far: Any, part: Any) -> tuple[Any, None]:
            loss, gradient, statistics, carry = so_far
            (more, (statistics, carry)), added = gradient_of(trained, statistics, carry, part)
            return (loss + more, jax.tree.map(jnp.add, gradient, added), statistics, carry), None

        zero = jnp.zeros((), jax.tree.leaves(trained)[0].dtype)
        start = (zero, jax.tree.map(jnp.zeros_like, trained), statistics, carry)
        # Unrolled on a CPU, where XLA takes a hundred times as long for gradients of convolutions within a loop.
        unroll = recipe.accumulate if jax.default_backend() == "cpu" else 1
        (loss, gradient, statistics, carry), _ = jax.lax.scan(add, start, parts, unroll=unroll)
        loss, gradient = jax.tree.map(lambda leaf: leaf / recipe.accumulate, (loss, gradient))
    updates, moments = optimizer(stage, recipe, steps).update(gradient, moments, trained)
    trained = optax.apply_updates(trained, updates)
    params = trained if stage.trains is None else {**variables["params"], **trained}  # pyright: ignore[reportGeneralTypeIssues]
    return {**variables, "params": params, **statistics}, moments, carry, loss, optax.tree.norm(gradient)
