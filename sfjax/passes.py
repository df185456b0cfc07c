"""What several passes over the same images amount to: of Monte Carlo dropout, of an ensemble, of augmented copies."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sfjax.pytree import pytree_dataclass
from sfjax.softmax import negative_log_entropy


@pytree_dataclass
class MCStatistics:
    """What passes over `n` images amount to, accumulated pass by pass.

    Attributes:
        log_mean: Logarithm of the mean softmax over passes.
        mean_logits: Mean logits over passes.
        expected_entropy: Mean over passes of the softmax's entropy, in nats.
        std: Population standard deviation of the softmax over passes.
        votes: In how many passes each class came first.
        num_samples: How many passes there were.
        confidence_mean: Mean over passes of the learned confidence, the sigmoid of its logit; None without such a head.
        confidence_std: Its population standard deviation over passes.
        reservation_mean: Mean over passes of the reservation's share in the softmax with the classes; None without one.
        reservation_std: Its population standard deviation over passes.
    """

    log_mean: Float[Array, "n c"]
    mean_logits: Float[Array, "n c"]
    expected_entropy: Float[Array, " n"]
    std: Float[Array, "n c"]
    votes: Int[Array, "n c"]
    num_samples: Int[Array, " n"]
    confidence_mean: Float[Array, " n"] | None = None
    confidence_std: Float[Array, " n"] | None = None
    reservation_mean: Float[Array, " n"] | None = None
    reservation_std: Float[Array, " n"] | None = None


class Passes(NamedTuple):
    """Logits of passes: of one pass with the images on the first axis, of several with images and passes."""

    logits: Array
    reservation: Array | None = None
    confidence: Array | None = None


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


def of_stored_passes(
    logits: Float[Array, "n t c"],
    reservation: Float[Array, "n t"] | None = None,
    confidence: Float[Array, "n t"] | None = None,
    *,
    passes_at_once: int = 10,
) -> MCStatistics:
    """Returns the statistics of passes whose logits are all there.

    Args:
        logits: Of every pass.
        reservation: Of every pass, of a deep gambler.
        confidence: The logit of a learned confidence of every pass.
        passes_at_once: How many of them are computed side by side; bounds memory.
    """
    stored = Passes(logits, reservation, confidence)
    # A last chunk asks for passes beyond the last one, which are not counted: the index stays at the last.
    one_pass = lambda index: jax.tree.map(lambda field: field[:, index], stored)  # noqa: E731
    statistics, _ = mc_statistics(one_pass, logits.shape[1], passes_at_once)
    return statistics


def _wide(counted: Array, like: Array) -> Array:
    return counted.reshape(-1, *(1,) * (like.ndim - 1))
