"""From a classifier and images to `Outputs`, with Monte Carlo dropout as one compiled loop over keys."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt32

from sfjax import keys as key_streams
from sfjax.csf.rules import negative_log_entropy
from sfjax.models import Classifier, Variables
from sfjax.outputs import MCStatistics, Outputs

Transform = Callable[[Float[Array, "n h w k"], UInt32[Array, " n"]], Float[Array, "n h w k"]]


def run(
    classifier: Classifier,
    variables: Variables,
    images: np.ndarray | Array,
    labels: np.ndarray | Array,
    image_ids: np.ndarray | Array,
    *,
    key: Key[Array, ""],
    num_samples: int = 0,
    batch_size: int = 256,
    passes_at_once: int = 10,
    transform: Transform | None = None,
) -> Outputs:
    """Returns what the classifier says about the images: logits and features, and the Monte Carlo statistics.

    Every image's dropout masks come from `key` and the image's id: they are the same for any batch size and order.
    Batch normalization keeps its running statistics throughout.

    Args:
        classifier: The network.
        variables: Its weights and statistics.
        images: Shape (n, h, w, k); uint8, uint16 (both scaled to [0, 1]) or float in [0, 1].
        labels: True classes, shape (n,), -1 for a class that the network does not know.
        image_ids: One number an image from its content, uint32, shape (n,).
        key: Draws the dropout masks.
        num_samples: How many dropout passes; 0 leaves `mc` out.
        batch_size: Images at a time; the last batch is padded, so that one compilation serves all.
        passes_at_once: Passes computed side by side; bounds memory.
        transform: Applied to each batch of float images, given with their ids, before the network sees it.

    Raises:
        ValueError: There are no images, or images, labels and ids are not equally many.
    """
    n = len(images)
    if n == 0 or len(labels) != n or len(image_ids) != n:
        raise ValueError(
            "Images, labels and image_ids must be equally many and at least one, "
            f"and they are {n}, {len(labels)} and {len(image_ids)}."
        )
    parts = []
    for start in range(0, n, batch_size):
        index = np.minimum(np.arange(start, start + batch_size), n - 1)  # the last image again, cut off at the end
        ids = jnp.asarray(np.asarray(image_ids)[index], jnp.uint32)
        batch = as_float(jnp.asarray(images[index]))
        if transform is not None:
            batch = transform(batch, ids)
        forward = _forward(classifier, num_samples, passes_at_once, variables, batch, ids, key)
        parts.append(jax.tree.map(np.asarray, forward))
    logits, features, mc = jax.tree.map(lambda *fields: jnp.asarray(np.concatenate(fields)[:n]), *parts)
    return Outputs(logits=logits, labels=jnp.asarray(labels, jnp.int32), features=features, mc=mc)


def as_float(images: Array) -> Float[Array, "*shape"]:
    """Returns images as float32 in [0, 1]: integers are divided by the largest number their type holds."""
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images.astype(jnp.float32)
    return images.astype(jnp.float32) / float(jnp.iinfo(images.dtype).max)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _forward(
    classifier: Classifier,
    num_samples: int,
    passes_at_once: int,
    variables: Variables,
    images: Array,
    image_ids: Array,
    key: Array,
) -> tuple[Array, Array, MCStatistics | None]:
    hidden = classifier.prefix(variables, images)
    heads = classifier.suffix(variables, hidden, None)
    if num_samples == 0:
        return heads.logits, heads.features, None

    def logits_of_pass(index: Array) -> Float[Array, "n c"]:
        image_keys = key_streams.per_image(jax.random.fold_in(key, index), image_ids)
        return classifier.suffix(variables, hidden, image_keys).logits

    return heads.logits, heads.features, mc_statistics(logits_of_pass, num_samples, passes_at_once)


def mc_statistics(
    logits_of_pass: Callable[[Array], Float[Array, "n c"]], num_samples: int, passes_at_once: int
) -> MCStatistics:
    """Returns the statistics of `num_samples` passes, accumulated over chunks, so that the passes are never all held.

    Args:
        logits_of_pass: From a pass's number to its logits.
        num_samples: How many passes, at least 1.
        passes_at_once: How many of them are computed side by side.
    """
    chunk = min(passes_at_once, num_samples)
    numbers = jnp.arange(-(-num_samples // chunk) * chunk, dtype=jnp.int32).reshape(-1, chunk)

    def statistics_of_chunk(numbers: Array) -> dict[str, Array]:
        logits = jax.vmap(logits_of_pass)(numbers)
        counted = numbers < num_samples
        mask = counted[:, None, None]
        log_p = jnp.where(mask, jax.nn.log_softmax(logits), -jnp.inf)
        p = jnp.exp(log_p)
        entropy = jnp.exp(-jax.vmap(jax.vmap(negative_log_entropy))(logits))
        votes = mask & jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=bool)
        count = counted.sum(dtype=jnp.float32)
        mean = p.sum(0) / count
        return {
            "count": count,
            "log_sum": jax.nn.logsumexp(log_p, axis=0),
            "logits": jnp.where(mask, logits, 0).sum(0),
            "entropy": jnp.where(counted[:, None], entropy, 0).sum(0),
            "mean": mean,
            "squares": jnp.where(mask, jnp.square(p - mean[None]), 0).sum(0),
            "votes": votes.sum(0, dtype=jnp.int32),
        }

    def merge(a: dict[str, Array], numbers: Array) -> tuple[dict[str, Array], None]:
        b = statistics_of_chunk(numbers)
        total = a["count"] + b["count"]
        difference = b["mean"] - a["mean"]
        merged = {name: a[name] + b[name] for name in ("count", "logits", "entropy", "votes")}
        merged["log_sum"] = jnp.logaddexp(a["log_sum"], b["log_sum"])
        # Squared deviations of two groups (Chan, Golub and LeVeque 1979): no difference of two large sums of squares.
        merged["mean"] = a["mean"] + difference * b["count"] / total
        merged["squares"] = a["squares"] + b["squares"] + jnp.square(difference) * a["count"] * b["count"] / total
        return merged, None

    first = statistics_of_chunk(numbers[0])
    total, _ = jax.lax.scan(merge, first, numbers[1:])
    n = total["entropy"].shape[0]
    return MCStatistics(
        log_mean=total["log_sum"] - jnp.log(total["count"]),
        mean_logits=total["logits"] / total["count"],
        expected_entropy=total["entropy"] / total["count"],
        std=jnp.sqrt(total["squares"] / total["count"]),
        votes=total["votes"],
        num_samples=jnp.full((n,), num_samples, jnp.int32),
    )
