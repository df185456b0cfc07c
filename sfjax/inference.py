"""From a classifier and images to `Outputs`, with Monte Carlo dropout and augmented copies as compiled loops over keys.

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
from sfjax.models import Classifier, Heads, Variables
from sfjax.outputs import Outputs
from sfjax.passes import MCStatistics, Passes, mc_statistics

Transform = Callable[[Float[Array, "n h w k"], UInt32[Array, " n"]], Float[Array, "n h w k"]]
Augment = Callable[[Key[Array, ""], Float[Array, "h w k"]], Float[Array, "h w k"]]
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
    augmentations: int = 0,
    augmentation: Augment | None = None,
    batch_size: int = 256,
    passes_at_once: int = 10,
    transform: Transform | None = None,
    keep_passes: bool = False,
    devices: Devices | None = None,
) -> Outputs:
    """Returns what the classifier says about the images: logits and features, and the statistics over passes.

    Every image's dropout masks and augmented copies come from `key`, the pass and the image's id: they are the same for
    any batch size, order and number of devices. Batch normalization keeps its running statistics throughout. What comes
    before the first mask is computed once for all dropout passes, and for each augmented copy.

    Args:
        classifier: The network.
        variables: Its weights and statistics.
        images: Shape (n, h, w, k); uint8, uint16 (both scaled to [0, 1]) or float in [0, 1].
        labels: True classes, shape (n,), -1 for a class that the network does not know.
        image_ids: One number an image from its content, uint32, shape (n,).
        key: Draws the dropout masks, and in a stream of its own the augmented copies.
        num_samples: How many dropout passes; 0 leaves `mc` out.
        augmentations: How many passes over augmented copies, without dropout; 0 leaves `tta` out. Every pass has a copy
            of its own; the image as it is is among them only by chance.
        augmentation: `(key, image) -> image` of one float image, in [0, 1] as it is after `transform`. The program is
            compiled anew for another function, so keep it: two equal `functools.partial` are two functions.
        batch_size: Images at a time; the last batch is padded, so that one compilation serves all. Rounded up to a
            multiple of the number of devices.
        passes_at_once: Passes computed side by side; bounds memory. Of augmented copies these are whole passes.
        transform: Applied to each batch of float images, given with their ids, before augmentation and the network.
        keep_passes: Keep every pass's logits too (`mc_logits`), t times the memory.
        devices: Share each batch between these; None takes all of this process.

    Raises:
        ValueError: There are no images, or images, labels and ids are not equally many, or a number is out of range,
            or there are augmentations and no function that makes them.
    """
    if augmentations > 0 and augmentation is None:
        raise ValueError(
            f"augmentations are passes over copies that `augmentation` makes; got {augmentations} and no function. "
            "Give one, such as functools.partial(augment, augmentation=Augmentation()) of sfjax.training."
        )
    return _run(
        functools.partial(
            _forward,
            classifier,
            num_samples,
            augmentations,
            augmentation if augmentations > 0 else None,
            passes_at_once,
            keep_passes,
        ),
        variables,
        images,
        labels,
        image_ids,
        key,
        batch_size=batch_size,
        transform=transform,
        devices=devices,
        counts={
            "num_samples": (num_samples, 0),
            "augmentations": (augmentations, 0),
            "batch_size": (batch_size, 1),
            "passes_at_once": (passes_at_once, 1),
        },
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
    heads, mc, passes, tta = said
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
        tta=tta,
    )


class _Said(NamedTuple):
    heads: Heads
    mc: MCStatistics | None
    passes: Passes | None
    tta: MCStatistics | None = None


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def _forward(
    classifier: Classifier,
    num_samples: int,
    augmentations: int,
    augmentation: Augment | None,
    passes_at_once: int,
    keep_passes: bool,
    variables: Variables,
    images: Array,
    image_ids: Array,
    key: Array,
) -> _Said:
    hidden = classifier.prefix(variables, images)
    said = _Said(classifier.suffix(variables, hidden, None), None, None)

    def dropout_pass(index: Array) -> Passes:
        image_keys = key_streams.per_image(jax.random.fold_in(key, index), image_ids)
        return _passes(classifier.suffix(variables, hidden, image_keys))

    if num_samples > 0:
        mc, passes = mc_statistics(dropout_pass, num_samples, passes_at_once, keep_passes=keep_passes)
        said = said._replace(mc=mc, passes=passes)
    if augmentations == 0 or augmentation is None:
        return said
    augment, own_key = jax.vmap(augmentation), key_streams.stream(key, "tta")

    def augmented_pass(index: Array) -> Passes:
        copies = augment(key_streams.per_image(jax.random.fold_in(own_key, index), image_ids), images)
        return _passes(classifier.suffix(variables, classifier.prefix(variables, copies), None))

    tta, _ = mc_statistics(augmented_pass, augmentations, passes_at_once)
    return said._replace(tta=tta)


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
        return _passes(said), said.features

    # The members' features are wanted too, so that they are computed here and looked up there.
    said, features = jax.lax.map(of_member, jnp.arange(members, dtype=jnp.int32), batch_size=members_at_once)
    mc, passes = mc_statistics(
        lambda index: jax.tree.map(lambda field: field[index], said), members, members, keep_passes=keep_passes
    )
    mean = jax.tree.map(lambda field: field.mean(0), said)
    side_by_side = jnp.moveaxis(features, 0, 1).reshape(features.shape[1], -1)
    return _Said(Heads(side_by_side, *mean), mc, passes)


def _passes(heads: Heads) -> Passes:
    return Passes(heads.logits, heads.reservation, heads.confidence)
