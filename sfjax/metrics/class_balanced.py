"""Areas under risk-coverage curves in which every class counts the same, however rare it is."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sfjax.metrics.grouped import sum_by_group
from sfjax.metrics.ordering import Ordering, PerImage, Weight, check_lengths, cumulative, defined, prepare, ratio
from sfjax.metrics.risk_coverage import WHOLE, Steps, area_of, augrc_of


def aurc_balanced(
    score: PerImage, loss: PerImage, label: PerImage, *, num_classes: int, weight: Weight = None
) -> Float[Array, ""]:
    """Returns the area under the mean over classes of the selective risk: lower is better, at least 0.

    At each coverage of all images, a class's risk is the mean loss of its accepted images, and 0 where none of them is
    accepted. Classes without images are left out.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        label: True class, from 0. NaN comes out where one is not in 0, ... `num_classes` - 1.
        num_classes: At least one more than the largest label.
        weight: How much each image counts; 1 if left out.

    Example:
        >>> import jax.numpy as jnp
        >>> failure, label = jnp.array([False, True, False, True]), jnp.array([0, 0, 1, 1])
        >>> float(aurc_balanced(jnp.arange(4.0), failure, label, num_classes=2))
        0.5

    References:
        Traub et al., Overcoming common flaws in the evaluation of selective classification systems, NeurIPS 2024.
    """
    check_lengths(score=score, loss=loss, label=label, weight=weight)
    ordering, loss, weight = prepare(score, loss, weight)
    return aurc_balanced_of(
        ordering, loss, jnp.asarray(label).astype(jnp.int32)[ordering.order], weight, num_classes=num_classes
    )


@functools.partial(jax.jit, static_argnames="num_classes")
def aurc_balanced_of(
    ordering: Ordering,
    loss: Float[Array, " n"],
    label: Int[Array, " n"],
    weight: Float[Array, " n"],
    *,
    num_classes: int,
) -> Float[Array, ""]:
    """Returns `aurc_balanced` of ordered images."""
    loss, undefined = defined(ordering, _of_a_class(loss, label, num_classes), weight)

    def add(risks: tuple[Array, Array, Array], one: Array) -> tuple[tuple[Array, Array, Array], None]:
        of_class = jnp.where(label == one, weight, 0)
        (lost_before, lost), (seen_before, seen) = (cumulative(x, ordering) for x in (of_class * loss, of_class))
        before, through, present = risks
        there = (seen[-1] > 0).astype(loss.dtype)
        return (before + ratio(lost_before, seen_before), through + ratio(lost, seen), present + there), None

    zeros = jnp.zeros_like(loss)
    (before, through, present), _ = jax.lax.scan(
        add, (zeros, zeros, jnp.zeros((), loss.dtype)), jnp.arange(num_classes, dtype=label.dtype)
    )
    accepted_before, _ = cumulative(weight, ordering)
    before = jnp.where(accepted_before > 0, before, through)
    return area_of(ordering, Steps(weight, before, through), WHOLE) / present + undefined


def augrc_balanced(
    score: PerImage, loss: PerImage, label: PerImage, *, num_classes: int, weight: Weight = None
) -> Float[Array, ""]:
    """Returns the AUGRC of losses that are weighted up for rare classes: lower is better, at least 0.

    A loss counts n / (k n_c) times, with n images, n_c of them of its class, and k classes that have images.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        label: True class, from 0. NaN comes out where one is not in 0, ... `num_classes` - 1.
        num_classes: At least one more than the largest label.
        weight: How much each image counts; 1 if left out.

    Example:
        >>> import jax.numpy as jnp
        >>> failure, label = jnp.array([False, True, False, True]), jnp.array([0, 0, 1, 1])
        >>> float(augrc_balanced(jnp.arange(4.0), failure, label, num_classes=2))
        0.3125

    References:
        Traub et al., Overcoming common flaws in the evaluation of selective classification systems, NeurIPS 2024.
    """
    check_lengths(score=score, loss=loss, label=label, weight=weight)
    ordering, loss, weight = prepare(score, loss, weight)
    return augrc_balanced_of(
        ordering, loss, jnp.asarray(label).astype(jnp.int32)[ordering.order], weight, num_classes=num_classes
    )


@functools.partial(jax.jit, static_argnames="num_classes")
def augrc_balanced_of(
    ordering: Ordering,
    loss: Float[Array, " n"],
    label: Int[Array, " n"],
    weight: Float[Array, " n"],
    *,
    num_classes: int,
) -> Float[Array, ""]:
    """Returns `augrc_balanced` of ordered images."""
    of_class = sum_by_group(weight, label, num_classes)
    present = jnp.sum(of_class > 0, dtype=loss.dtype)
    up = jnp.sum(weight) / (present * jnp.where(of_class > 0, of_class, 1))
    return augrc_of(ordering, _of_a_class(loss * up[label], label, num_classes), weight)


def _of_a_class(loss: Float[Array, " n"], label: Int[Array, " n"], num_classes: int) -> Float[Array, " n"]:
    """Returns the losses, NaN where the label is none of the classes."""
    return jnp.where((label >= 0) & (label < num_classes), loss, jnp.nan)
