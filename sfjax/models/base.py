"""What a classifier is to the rest of sfjax: pure functions of its variables."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

Variables = dict[str, Any]
"""`params`, and `batch_stats` where there is batch normalization."""


class Heads(NamedTuple):
    """What a network says about a batch. Logits of every kind are float32, whatever the network computes in.

    Attributes:
        features: The penultimate layer, the input of the last linear map before its dropout.
        logits: One a class.
        reservation: The logit of not betting on any class, of a network trained as a deep gambler.
        confidence: The logit of a learned confidence head.
    """

    features: Float[Array, "n d"]
    logits: Float[Array, "n c"]
    reservation: Float[Array, " n"] | None = None
    confidence: Float[Array, " n"] | None = None


class Classifier(NamedTuple):
    """A network as pure functions.

    Two switches, never one: `keys` turns dropout on, `batch_statistics` lets batch normalization use and update the
    statistics of the batch. Monte Carlo dropout wants the first without the second.

    Attributes:
        init: `(key, image) -> variables`, from one image, shape (h, w, k).
        prefix: `(variables, images) -> hidden`: everything before the first dropout mask, so that Monte Carlo dropout
            pays for it once. `hidden` is a pytree of arrays with the images on their first axis.
        suffix: `(variables, hidden, keys) -> Heads`: the rest. `keys` has one key an image, shape (n,), so that an
            image's masks do not depend on its batch-mates; None is without dropout.
        train_forward: `(variables, images, keys, *, batch_statistics) -> (Heads, statistics)`: both parts, and the new
            `batch_stats` ({} where there are none). What is random in training alone, such as stochastic depth, is
            here and in no Monte Carlo pass.
        head: `variables -> (weight, bias)` of the last linear layer, shapes (d, c) and (c,).
    """

    init: Callable[[Key[Array, ""], Float[Array, "h w k"]], Variables]
    prefix: Callable[[Variables, Float[Array, "n h w k"]], PyTree]
    suffix: Callable[[Variables, PyTree, Key[Array, " n"] | None], Heads]
    train_forward: Callable[..., tuple[Heads, Variables]]
    head: Callable[[Variables], tuple[Array, Array]]


def from_linen(module: nn.Module, *, head: Callable[[Variables], tuple[Array, Array]]) -> Classifier:
    """Returns a Linen module as a `Classifier`.

    Args:
        module: It draws its dropout masks with `dropout` from the keys that it is given, and has two methods:
            `prefix(images, keys, *, batch_statistics) -> hidden`, whose keys are None but in training, where they may
            serve stochastic depth; and `suffix(hidden, keys, *, batch_statistics) -> Heads`. Without a method `prefix`
            all of it is the suffix, so that every Monte Carlo pass is a whole pass.
        head: From the variables, the weight (d, c) and bias (c,) of the last linear layer.
    """
    divided = hasattr(module, "prefix")

    def both(module: Any, images: Array, keys: Array | None, batch_statistics: bool) -> Heads:
        hidden = module.prefix(images, keys, batch_statistics=batch_statistics) if divided else images
        return module.suffix(hidden, keys, batch_statistics=batch_statistics)

    @jax.jit  # one compilation instead of one an operation
    def init(key: Array, image: Array) -> Variables:
        return dict(module.init(key, image[None], None, False, method=both))

    def prefix(variables: Variables, images: Array) -> PyTree:
        if not divided:
            return images
        return module.apply(variables, images, None, batch_statistics=False, method="prefix")

    def suffix(variables: Variables, hidden: PyTree, keys: Array | None) -> Heads:
        return module.apply(variables, hidden, keys, batch_statistics=False, method="suffix")  # pyright: ignore[reportReturnType]

    def train_forward(
        variables: Variables, images: Array, keys: Array | None, *, batch_statistics: bool
    ) -> tuple[Heads, Variables]:
        mutable = ["batch_stats"] if batch_statistics else []
        heads, updated = module.apply(variables, images, keys, batch_statistics, method=both, mutable=mutable)
        return heads, dict(updated.get("batch_stats", variables.get("batch_stats", {})))  # pyright: ignore

    return Classifier(init, prefix, suffix, train_forward, head)


def dropout(x: Float[Array, "n ..."], keys: Key[Array, " n"] | None, rate: float) -> Float[Array, "n ..."]:
    """Returns `x` with a share `rate` of each image's entries at 0 and the others scaled up to keep the mean.

    Masks are drawn from 16 random bits an entry, half of what a float takes: the share is the nearest multiple of
    2^-16, and the scale is that share's.

    Args:
        x: A batch.
        keys: One key an image; None returns `x`.
        rate: In [0, 1).

    Raises:
        ValueError: The rate is out of its range, or so near to 1 that nothing would be kept.
    """
    kept = round((1.0 - rate) * 2**16)
    if not 0 < kept <= 2**16:
        raise ValueError(f"A dropout rate must be at least 0 and below 1; got {rate}.")
    if keys is None or kept == 2**16:
        return x
    bits = jax.vmap(lambda key: jax.random.bits(key, x.shape[1:], jnp.uint16))(keys)
    return jnp.where(bits < kept, x * (2**16 / kept), 0.0)


def mask_keys(keys: Key[Array, " n"] | None, layer: int) -> Key[Array, " n"] | None:
    """Returns each image's key for the dropout masks of one layer, so that no two layers share one.

    Args:
        keys: One key an image; None stays None.
        layer: Its number in the network.
    """
    return None if keys is None else jax.vmap(lambda key: jax.random.fold_in(key, layer))(keys)
