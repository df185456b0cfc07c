"""Networks that say how sure they are: a reservation beside the classes, or a head that learns confidence."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sfjax import keys as key_streams
from sfjax.models.base import Classifier, Heads, Variables

CONFIDNET_WIDTHS = (400, 400, 400, 400)
"""Hidden layers of ConfidNet's head."""


@functools.cache
def with_reservation(classifier: Classifier) -> Classifier:
    """Returns the network with its last logit split off as the `reservation`, the share not bet on any class.

    Args:
        classifier: Built with one class more than there are.

    References:
        Liu et al., Deep Gamblers: Learning to abstain with portfolio theory, NeurIPS 2019.
    """

    def split(heads: Heads) -> Heads:
        return heads._replace(logits=heads.logits[:, :-1], reservation=heads.logits[:, -1])

    def suffix(variables: Variables, hidden: PyTree, keys: Array | None) -> Heads:
        return split(classifier.suffix(variables, hidden, keys))

    def train_forward(
        variables: Variables, images: Array, keys: Array | None, *, batch_statistics: bool
    ) -> tuple[Heads, Variables]:
        heads, statistics = classifier.train_forward(variables, images, keys, batch_statistics=batch_statistics)
        return split(heads), statistics

    def head(variables: Variables) -> tuple[Array, Array]:
        weight, bias = classifier.head(variables)
        return weight[:, :-1], bias[:-1]

    return Classifier(classifier.init, classifier.prefix, suffix, train_forward, head)


@functools.cache
def with_confidence(classifier: Classifier, *, widths: tuple[int, ...] = ()) -> Classifier:
    """Returns the network with a head that reads its features and gives `confidence`, the logit of being right.

    `params` then has the parts `network` and `confidence`. Where there is a part `encoder`, a copy of the network that
    was trained on for the sake of confidence, the head reads its features, and classes stay the network's. Batch
    statistics are the network's: an encoder is trained with frozen ones.

    Args:
        classifier: The network.
        widths: Hidden layers of the head, ReLU between them; none for DeVries and Taylor's linear head,
            `CONFIDNET_WIDTHS` for ConfidNet.

    References:
        DeVries and Taylor, Learning confidence for out-of-distribution detection in neural networks, 2018.
        Corbière et al., Addressing failure prediction by learning model confidence, NeurIPS 2019.
    """

    def init(key: Key[Array, ""], image: Float[Array, "h w k"]) -> Variables:
        variables = classifier.init(key_streams.stream(key, "network"), image)
        sizes = (classifier.head(variables)[0].shape[0], *widths, 1)
        confidence = _init_layers(key_streams.stream(key, "confidence"), sizes)
        return {**variables, "params": {"network": variables["params"], "confidence": confidence}}

    def prefix(variables: Variables, images: Array) -> PyTree:
        return {part: classifier.prefix(_part(variables, part), images) for part in _networks(variables)}

    def suffix(variables: Variables, hidden: PyTree, keys: Array | None) -> Heads:
        # An image's masks are the same in both: the encoder is a copy of the network.
        said = {part: classifier.suffix(_part(variables, part), hidden[part], keys) for part in _networks(variables)}
        return _with_logit(variables, said)

    def train_forward(
        variables: Variables, images: Array, keys: Array | None, *, batch_statistics: bool
    ) -> tuple[Heads, Variables]:
        heads, statistics = classifier.train_forward(
            _part(variables, "network"), images, keys, batch_statistics=batch_statistics
        )
        said = {"network": heads}
        if "encoder" in variables["params"]:
            said["encoder"], _ = classifier.train_forward(
                _part(variables, "encoder"), images, keys, batch_statistics=False
            )
        return _with_logit(variables, said), statistics

    def head(variables: Variables) -> tuple[Array, Array]:
        return classifier.head(_part(variables, "network"))

    return Classifier(init, prefix, suffix, train_forward, head)


def _networks(variables: Variables) -> list[str]:
    return [part for part in ("network", "encoder") if part in variables["params"]]


def _part(variables: Variables, part: str) -> Variables:
    return {**variables, "params": variables["params"][part]}


def _with_logit(variables: Variables, said: dict[str, Heads]) -> Heads:
    x = said.get("encoder", said["network"]).features
    *hidden, last = variables["params"]["confidence"]
    for layer in hidden:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"][None])
    logit = (x @ last["kernel"] + last["bias"][None])[:, 0]
    return said["network"]._replace(confidence=logit)


def _init_layers(key: Array, sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """Returns weights of linear layers from one size to the next: He's normal, biases 0."""
    return [
        {
            "kernel": jax.nn.initializers.he_normal()(jax.random.fold_in(key, i), (rows, columns), jnp.float32),
            "bias": jnp.zeros((columns,), jnp.float32),
        }
        for i, (rows, columns) in enumerate(itertools.pairwise(sizes))
    ]
