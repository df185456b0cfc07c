"""From a classifier and images to `Outputs`, with Monte Carlo dropout as one compiled loop over keys.

Images may be an array, or anything that gives batches by `images[index]` and says its `len`. Where it has a method
`prefetch`, from the index arrays of all batches to an iterator of batches, it is asked for them ahead, so that decoding
and computing overlap (`sfjax.data.ImageFiles`).
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Key, UInt32

from sfjax import keys as key_streams
from sfjax.csf.rules import negative_log_entropy
from sfjax.models import Classifier, Heads, Variables
from sfjax.outputs import MCStatistics, Outputs

Transform = Callable[[Float[Array, "n h w k"], UInt32[Array, " n"]], Float[Array, "n h w k"]]
Devices = Sequence[Any]
"""As in `jax.devices()`."""


def run(
    classifier: Classifier,
    variables: Variables,
    images: Any,
    labels: np.ndarray | Array,
    image_ids: np.ndarray | Array,
    *,
    key: Key[Array, ""],
    num_samples: int = 0,
    batch_size: int = 256,
    passes_at_once: int = 10,
    transform: Transform | None = None,
    keep_passes: bool = False,
    devices: Devices | None = None,
) -> Outputs:
    """Returns what the classifier says about the images: logits and features, and the Monte Carlo statistics.

    Every image's dropout masks come from `key` and the image's id: they are the same for any batch size, order and
    number of devices. Batch normalization keeps its running statistics throughout. What comes before the first mask is
    computed once.

    Args:
        classifier: The network.
        variables: Its weights and statistics.
        images: Shape (n, h, w, k); uint8, uint16 (both scaled to [0, 1]) or float in [0, 1].
        labels: True classes, shape (n,), -1 for a class that the network does not know.
        image_ids: One number an image from its content, uint32, shape (n,).
        key: Draws the dropout masks.
        num_samples: How many dropout passes; 0 leaves `mc` out.
        batch_size: Images at a time; the last batch is padded, so that one compilation serves all. Rounded up to a
            multiple of the number of devices.
        passes_at_once: Passes computed side by side; bounds memory.
        transform: Applied to each batch of float images, given with their ids, before the network sees it.
        keep_passes: Keep every pass's logits too (`mc_logits`), t times the memory.
        devices: Share each batch between these; None takes all of this process.

    Raises:
        ValueError: There are no images, or images, labels and ids are not equally many, or a number is out of range.
    """
    return _run(
        functools.partial(_forward, classifier, num_samples, passes_at_once, keep_passes),
        variables,
        images,
        labels,
        image_ids,
        key,
        batch_size=batch_size,
        transform=transform,
        devices=devices,
        counts={"num_samples": (num_samples, 0), "batch_size": (batch_size, 1), "passes_at_once": (passes_at_once, 1)},
    )


def run_ensemble(
    classifier: Classifier,
    variables: Variables,
    images: Any,
    labels: np.ndarray | Array,
    image_ids: np.ndarray | Array,
    *,
    batch_size: int = 256,
    members_at_once: int = 1,
    transform: Transform | None = None,
    keep_passes: bool = False,
    devices: Devices | None = None,
) -> Outputs:
    """Returns what a deep ensemble says about the images.

    `mc` has the statistics over its members, as over the passes of Monte Carlo dropout, so that the same scores read
    them. `logits` are the members' mean; `features` are those of all members side by side, which `ensemble_head` maps
    to them.

    Args:
        classifier: The members' network.
        variables: Of all members, stacked on a new first axis.
        images: As in `run`.
        labels: As in `run`.
        image_ids: As in `run`; only `transform` reads them.
        batch_size: As in `run`.
        members_at_once: Members computed side by side; bounds memory.
        transform: As in `run`.
        keep_passes: Keep every member's logits too (`mc_logits`).
        devices: As in `run`.

    References:
        Lakshminarayanan, Pritzel and Blundell, Simple and scalable predictive uncertainty estimation using deep
        ensembles, NeurIPS 2017.
    """
    members = len(jax.tree.leaves(variables)[0])
    return _run(
        functools.partial(_ensemble_forward, classifier, members, min(members_at_once, members), keep_passes),
        variables,
        images,
        labels,
        image_ids,
        jax.random.key(0),  # nothing is drawn
        batch_size=batch_size,
        transform=transform,
        devices=devices,
        counts={"batch_size": (batch_size, 1), "members_at_once": (members_at_once, 1)},
    )


def ensemble_head(classifier: Classifier, variables: Variables) -> tuple[Array, Array]:
    """Returns weight (members x d, c) and bias (c,) that map an ensemble's features to its mean logits.

    Args:
        classifier: The members' network.
        variables: Of all members, stacked on the first axis.
    """
    weights, biases = jax.vmap(classifier.head)(variables)
    members, d, c = weights.shape
    return weights.reshape(members * d, c) / members, biases.mean(0)


def batches(images: Any, indices: Iterable[np.ndarray]) -> Iterator[np.ndarray | Array]:
    """Yields the images at each array of indices, decoded ahead where the images can do that.

    Args:
        images: An array, or images on disk.
        indices: One array a batch.
    """
    if hasattr(images, "prefetch"):
        yield from images.prefetch(list(indices))
    else:
        for index in indices:
            yield images[index]


def as_float(images: Array) -> Float[Array, "*shape"]:
    """Returns images as floats in [0, 1], float32 or wider: integers are divided by the largest their type holds."""
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images.astype(jnp.promote_types(images.dtype, jnp.float32))
    return images.astype(jnp.float32) / float(jnp.iinfo(images.dtype).max)


def _run(
    forward: Callable[..., "_Said"],
    variables: Variables,
    images: Any,
    labels: np.ndarray | Array,
    image_ids: np.ndarray | Array,
    key: Array,
    *,
    batch_size: int,
    transform: Transform | None,
    devices: Devices | None,
    counts: dict[str, tuple[int, int]],
) -> Outputs:
    n = len(images)
    if n == 0 or len(labels) != n or len(image_ids) != n:
        raise ValueError(
            "Images, labels and image_ids must be equally many and at least one, "
            f"and they are {n}, {len(labels)} and {len(image_ids)}."
        )
    for name, (value, least) in counts.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}; got {value}.")
    mesh = Mesh(np.asarray(jax.local_devices() if devices is None else devices), ("images",))
    replicated, divided = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("images"))
    size = -(-batch_size // mesh.size) * mesh.size
    variables, key = jax.device_put((variables, key), replicated)
    # The last image again where the last batch is not full, cut off at the end.
    indices = [np.minimum(np.arange(start, start + size), n - 1) for start in range(0, n, size)]
    parts = []
    for index, batch in zip(indices, batches(images, indices), strict=True):
        ids = jax.device_put(np.asarray(image_ids)[index].astype(np.uint32), divided)
        batch = as_float(jax.device_put(batch, divided))
        if transform is not None:
            batch = transform(batch, ids)
        parts.append(jax.tree.map(np.asarray, forward(variables, batch, ids, key)))
    said = jax.tree.map(lambda *fields: jnp.asarray(np.concatenate(fields)[:n]), *parts)
    heads, mc, passes = said
    return Outputs(
        logits=heads.logits,
        labels=jnp.asarray(labels, jnp.int32),
        features=heads.features,
        mc=mc,
        reservation=heads.reservation,
        confidence=heads.confidence,
        mc_logits=passes.logits if passes else None,
        mc_reservation=passes.reservation if passes else None,
        mc_confidence=passes.confidence if passes else None,
    )


class Passes(NamedTuple):
    """Logits of passes: of one pass with the images on the first axis, of several with images and passes."""

    logits: Array
    reservation: Array | None = None
    confidence: Array | None = None


class _Said(NamedTuple):
    heads: Heads
    mc: MCStatistics | None
    passes: Passes | None


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _forward(
    classifier: Classifier,
    num_samples: int,
    passes_at_once: int,
    keep_passes: bool,
    variables: Variables,
    images: Array,
    image_ids: Array,
    key: Array,
) -> _Said:
    hidden = classifier.prefix(variables, images)
    heads = classifier.suffix(variables, hidden, None)
    if num_samples == 0:
        return _Said(heads, None, None)

    def one_pass(index: Array) -> Passes:
        image_keys = key_streams.per_image(jax.random.fold_in(key, index), image_ids)
        said = classifier.suffix(variables, hidden, image_keys)
        return Passes(said.logits, said.reservation, said.confidence)

    return _Said(heads, *mc_statistics(one_pass, num_samples, passes_at_once, keep_passes=keep_passes))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _ensemble_forward(
    classifier: Classifier,
    members: int,
    members_at_once: int,
    keep_passes: bool,
    variables: Variables,
    images: Array,
    image_ids: Array,
    key: Array,
) -> _Said:
    def of_member(index: Array) -> tuple[Passes, Array]:
        own = jax.tree.map(lambda leaf: leaf[index], variables)
        said = classifier.suffix(own, classifier.prefix(own, images), None)
        return Passes(said.logits, said.reservation, said.confidence), said.features

    # The members' features are wanted too, so that they are computed here and looked up there.
    said, features = jax.lax.map(of_member, jnp.arange(members, dtype=jnp.int32), batch_size=members_at_once)
    mc, passes = mc_statistics(
        lambda index: jax.tree.map(lambda field: field[index], said), members, members, keep_passes=keep_passes
    )
    mean = jax.tree.map(lambda field: field.mean(0), said)
    side_by_side = jnp.moveaxis(features, 0, 1).reshape(features.shape[1], -1)
    return _Said(Heads(side_by_side, *mean), mc, passes)


def mc_statistics(
    one_pass: Callable[[Array], Passes], num_samples: int, passes_at_once: int, *, keep_passes: bool = False
) -> tuple[MCStatistics, Passes | None]:
    """Returns the statistics of passes, accumulated over chunks so that few are held at once, and the passes if kept.

    Args:
        one_pass: From a pass's number to what it says of n images.
        num_samples: How many passes, at least 1.
        passes_at_once: How many of them are computed side by side.
        keep_passes: Return all passes too, images on the first axis.
    """
    chunk = min(passes_at_once, num_samples)
    numbers = jnp.arange(-(-num_samples // chunk) * chunk, dtype=jnp.int32).reshape(-1, chunk)

    def statistics_of_chunk(numbers: Array) -> tuple[dict[str, Any], Passes]:
        said = jax.vmap(one_pass)(numbers)
        counted = numbers < num_samples
        mask = counted[:, None, None]
        logits = said.logits
        log_p = jnp.where(mask, jax.nn.log_softmax(logits), -jnp.inf)
        entropy = jnp.exp(-jax.vmap(jax.vmap(negative_log_entropy))(logits))
        votes = mask & jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=bool)
        count = counted.sum(dtype=logits.dtype)
        shares = {"softmax": jnp.exp(log_p)}
        if said.confidence is not None:
            shares["confidence"] = jax.nn.sigmoid(said.confidence)
        if said.reservation is not None:
            shares["reservation"] = jax.nn.sigmoid(said.reservation - jax.nn.logsumexp(logits, axis=-1))
        shares = {name: jnp.where(_wide(counted, share), share, 0) for name, share in shares.items()}
        mean = {name: share.sum(0) / count for name, share in shares.items()}
        return {
            "count": count,
            "log_sum": jax.nn.logsumexp(log_p, axis=0),
            "logits": jnp.where(mask, logits, 0).sum(0),
            "entropy": jnp.where(counted[:, None], entropy, 0).sum(0),
            "votes": votes.sum(0, dtype=jnp.int32),
            "mean": mean,
            "squares": {
                name: jnp.where(_wide(counted, share), jnp.square(share - mean[name][None]), 0).sum(0)
                for name, share in shares.items()
            },
        }, said

    def merge(a: dict[str, Any], numbers: Array) -> tuple[dict[str, Any], Passes | None]:
        b, said = statistics_of_chunk(numbers)
        total = a["count"] + b["count"]
        merged = {name: a[name] + b[name] for name in ("count", "logits", "entropy", "votes")}
        merged["log_sum"] = jnp.logaddexp(a["log_sum"], b["log_sum"])
        # Squared deviations of two groups (Chan, Golub and LeVeque 1979): no difference of two large sums of squares.
        difference = jax.tree.map(jnp.subtract, b["mean"], a["mean"])
        merged["mean"] = jax.tree.map(lambda mean, d: mean + d * b["count"] / total, a["mean"], difference)
        merged["squares"] = jax.tree.map(
            lambda x, y, d: x + y + jnp.square(d) * a["count"] * b["count"] / total,
            a["squares"],
            b["squares"],
            difference,
        )
        return merged, said if keep_passes else None

    nothing = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(statistics_of_chunk, numbers[0])[0]
    )
    nothing["log_sum"] = jnp.full_like(nothing["log_sum"], -jnp.inf)
    total, passes = jax.lax.scan(merge, nothing, numbers)
    if passes is not None:
        passes = jax.tree.map(
            lambda field: jnp.moveaxis(field.reshape(-1, *field.shape[2:])[:num_samples], 0, 1), passes
        )
    n = total["entropy"].shape[0]
    std = jax.tree.map(lambda squares: jnp.sqrt(squares / total["count"]), total["squares"])
    statistics = MCStatistics(
        log_mean=total["log_sum"] - jnp.log(total["count"]),
        mean_logits=total["logits"] / total["count"],
        expected_entropy=total["entropy"] / total["count"],
        std=std["softmax"],
        votes=total["votes"],
        num_samples=jnp.full((n,), num_samples, jnp.int32),
        confidence_mean=total["mean"].get("confidence"),
        confidence_std=std.get("confidence"),
        reservation_mean=total["mean"].get("reservation"),
        reservation_std=std.get("reservation"),
    )
    return statistics, passes


def _wide(counted: Array, like: Array) -> Array:
    return counted.reshape(-1, *(1,) * (like.ndim - 1))
