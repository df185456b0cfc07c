"""What a classifier is to the rest of sfjax: pure functions of its variables."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Variables = dict[str, Any]
"""`params`, and `batch_stats` where there is batch normalization."""


class Heads(NamedTuple):
    """What a network says about a batch.

    Attributes:
        features: The penultimate layer, the input of the last linear map.
        logits: One a class.
    """

    features: Float[Array, "n d"]
    logits: Float[Array, "n c"]


class Classifier(NamedTuple):
    """A network as pure functions.

    Two switches, never one: `key` turns dropout on, `batch_statistics` lets batch normalization use and update the
    statistics of the batch. Monte Carlo dropout wants the first without the second.

    Attributes:
        init: `(key, image) -> variables`, from one image, shape (h, w, k).
        prefix: `(variables, images) -> hidden`: everything before the first dropout mask, so that Monte Carlo dropout
            pays for it once.
        suffix: `(variables, hidden, keys) -> Heads`: the rest. `keys` has one key an image, shape (n,), so that an
            image's masks do not depend on its batch-mates; None is without dropout.
        train_forward: `(variables, images, keys, *, batch_statistics) -> (Heads, statistics)`: both parts, and the new
            `batch_stats` ({} where there are none).
        head: `variables -> (weight, bias)` of the last linear layer, shapes (d, c) and (c,).
    """

    init: Callable[[Key[Array, ""], Float[Array, "h w k"]], Variables]
    prefix: Callable[[Variables, Float[Array, "n h w k"]], Array]
    suffix: Callable[[Variables, Array, Key[Array, " n"] | None], Heads]
    train_forward: Callable[..., tuple[Heads, Variables]]
    head: Callable[[Variables], tuple[Array, Array]]


def from_linen(module: nn.Module, *, head: Callable[[Variables], tuple[Array, Array]]) -> Classifier:
    """Returns a Linen module as a `Classifier`.

    Args:
        module: It has two methods, `prefix(images, *, batch_statistics)` and `suffix(hidden, keys) -> Heads`, and draws
            its dropout masks with `dropout` from the keys that it is given.
        head: From the variables, the weight (d, c) and bias (c,) of the last linear layer.
    """

    def both(module: Any, images: Array, keys: Array | None, batch_statistics: bool) -> Heads:
        return module.suffix(module.prefix(images, batch_statistics=batch_statistics), keys)

    @jax.jit  # one compilation instead of one an operation
    def init(key: Array, image: Array) -> Variables:
        return dict(module.init(key, image[None], None, False, method=both))

    def prefix(variables: Variables, images: Array) -> Array:
        return module.apply(variables, images, batch_statistics=False, method="prefix")  # pyright: ignore[reportReturnType]

    def suffix(variables: Variables, hidden: Array, keys: Array | None) -> Heads:
        return module.apply(variables, hidden, keys, method="suffix")  # pyright: ignore[reportReturnType]

    def train_forward(
        variables: Variables, images: Array, keys: Array | None, *, batch_statistics: bool
    ) -> tuple[Heads, Variables]:
        mutable = ["batch_stats"] if batch_statistics else []
        heads, updated = module.apply(variables, images, keys, batch_statistics, method=both, mutable=mutable)
        return heads, dict(updated.get("batch_stats", variables.get("batch_stats", {})))  # pyright: ignore

    return Classifier(init, prefix, suffix, train_forward, head)


def dropout(x: Float[Array, "n ..."], keys: Key[Array, " n"] | None, rate: float) -> Float[Array, "n ..."]:
    """Returns `x` with a share `rate` of each image's entries at 0 and the others scaled up to keep the mean.

    Args:
        x: A batch.
        keys: One key an image; None returns `x`.
        rate: In [0, 1).
    """
    if keys is None or rate == 0.0:
        return x
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1.0 - rate), 0.0)


def mask_keys(keys: Key[Array, " n"] | None, layer: int) -> Key[Array, " n"] | None:
    """Returns each image's key for the dropout masks of one layer, so that no two layers share one.

    Args:
        keys: One key an image; None stays None.
        layer: Its number in the network.
    """
    return None if keys is None else jax.vmap(lambda key: jax.random.fold_in(key, layer))(keys)
