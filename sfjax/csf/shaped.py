"""Scores of features together with the last layer: its null space, its boundaries, its gradient, features reshaped.

Higher is surer. Where a formula is about activations, features below 0 are taken for 0: `ash`, `scale`. With c classes
and d features, an image costs c d, or what its docstring says; to fit, training features are read once.
"""

from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sfjax.csf.base import CSF, features_of, true_logits
from sfjax.csf.compose import FittedRule, fitted, of_images, predict_plain
from sfjax.csf.distances import TINY, scatter, training_of
from sfjax.outputs import Head, Outputs

FITS_WITHIN: Final = 0.05
"""How far `features @ weight + bias` may be from the logits, as a share of the largest: networks use short floats."""
ROUNDING: Final = 1e-5
"""A residual below this share of the features is what float32 leaves of none."""
LARGEST_EXPONENT: Final = 60.0
"""Features are scaled by e^60 = 1e26 at most, so that products of them stay finite in float32."""


def head_of(head: Head | None, train: Outputs, name: str) -> Head:
    """Returns the last layer, in float32.

    Raises:
        ValueError: There is none, or it does not make the logits of the features.
    """
    if head is None:
        raise ValueError(
            f"{name} reads the last layer's weight and bias, and there is none. Give head=Head(weight, bias)."
        )
    weight, bias = (np.asarray(part, np.float32) for part in head)
    features, logits = np.asarray(features_of(train))[:100], np.asarray(train.logits)[:100]
    if weight.shape != (features.shape[1], logits.shape[1]) or bias.shape != logits.shape[1:]:
        raise ValueError(
            f"A head has a weight (d, c) = {(features.shape[1], logits.shape[1])} and a bias (c,); got {weight.shape} "
            f"and {bias.shape}. PyTorch keeps the weight transposed."
        )
    made = features @ weight + bias
    if train.logits_are != "logits":  # known but for a constant
        made, logits = made - made.max(-1, keepdims=True), logits - logits.max(-1, keepdims=True)
        made = np.where(logits < -80, logits, made)  # floored
    there = np.isfinite(logits)  # -inf: a class was ruled out behind the head
    off = np.abs((made - logits)[there]).max() / max(np.abs(logits[there]).max(), TINY)
    if not off <= FITS_WITHIN:
        raise ValueError(
            f"A head makes the logits of the features, and this one is off by {off:.2g} of the largest logit. Give the "
            "head and the features of one network: the input of its last linear layer, before dropout."
        )
    return Head(jnp.asarray(weight), jnp.asarray(bias))


class NullSpace(NamedTuple):
    """The directions in which training features hardly vary, from where all logits are 0."""

    origin: Float[Array, " d"]
    directions: Float[Array, "d r"]


def residual_norm(learned: NullSpace, features: Float[Array, " d"]) -> Float[Array, ""]:
    """Returns how far the features are in the directions in which training features hardly vary."""
    return jnp.linalg.norm((features - learned.origin) @ learned.directions)


def null_space(train: Outputs, head: Head | None, dimensions: int | None, name: str) -> NullSpace:
    """Returns the directions beyond the principal ones of the training features.

    Args:
        train: With features.
        head: Places the origin where all logits are 0.
        dimensions: Principal ones; None is 1000 of 2048 features and more, 512 of 768 and more, else half.
        name: What errors call it.

    Raises:
        ValueError: There are no features or no head, or none or all dimensions are principal.
    """
    weight, bias = (np.asarray(part, np.float64) for part in head_of(head, train, name))
    features = training_of(train, name).features
    d = features.shape[1]
    usual = 1000 if d >= 2048 else 512 if d >= 768 else d // 2
    principal = usual if dimensions is None else dimensions
    if not 0 < principal < d:
        raise ValueError(f"Principal dimensions must be at least 1 and fewer than the {d} features; got {principal}.")
    origin = -np.linalg.pinv(weight.T) @ bias
    nowhere_else = np.zeros(len(features), np.int64)
    directions = np.linalg.eigh(scatter(features, origin[None], nowhere_else))[1][:, : d - principal]
    return NullSpace(jnp.asarray(origin, jnp.float32), jnp.asarray(directions, jnp.float32))


def _minus_residual(learned: NullSpace, logits: Array, features: Array) -> Array:
    del logits
    return -residual_norm(learned, features)


def residual(
    train: Outputs, *, head: Head | None = None, validation: Outputs | None = None, dimensions: int | None = None
) -> CSF:
    """Returns minus the norm of the features in the directions in which training features hardly vary.

    n d^2 + d^3 to fit, d times the directions an image.

    Args:
        train: With features.
        head: Places the origin where all logits are 0.
        validation: Not read.
        dimensions: Principal ones, see `null_space`.

    Raises:
        ValueError: See `null_space`.

    References:
        Wang et al., ViM: Out-of-distribution with virtual-logit matching, CVPR 2022.
    """
    del validation
    learned = null_space(train, head, dimensions, "residual")
    return fitted(_minus_residual, learned, width=learned.directions.shape[1])


def _beyond_virtual_logit(learned: tuple[NullSpace, Array], logits: Array, features: Array) -> Array:
    space, alpha = learned
    return jax.nn.logsumexp(logits) - alpha * residual_norm(space, features)


def vim(
    train: Outputs, *, head: Head | None = None, validation: Outputs | None = None, dimensions: int | None = None
) -> CSF:
    """Returns the energy score less a virtual logit, the residual scaled to the largest logits of training images.

    There is no virtual logit where training features never leave the principal space, nor where the largest logit of
    training images is below 0 on average: it would reward what is far away. Costs what `residual` does.

    Args:
        train: With features and true logits.
        head: Places the origin where all logits are 0.
        validation: Not read.
        dimensions: Principal ones, see `null_space`.

    Raises:
        ValueError: See `null_space`; or the logits are logarithms of probabilities.

    References:
        Wang et al., ViM: Out-of-distribution with virtual-logit matching, CVPR 2022.
    """
    del validation
    largest = true_logits(train).max(-1).mean()
    space = null_space(train, head, dimensions, "vim")
    features = features_of(train)
    residuals = -of_images(_minus_residual, 1024, space, train.logits, features).mean()
    there = (residuals > ROUNDING * jnp.linalg.norm(features, axis=-1).mean()) & (largest > 0)
    alpha = jnp.where(there, largest / jnp.maximum(residuals, TINY), 0)
    return fitted(_beyond_virtual_logit, (space, alpha), width=space.directions.shape[1], needs_true_logits=True)


class Boundaries(NamedTuple):
    """How far apart the last layer's weights of any two classes are, and the training features' mean."""

    apart: Float[Array, "c c"]
    center: Float[Array, " d"]


def _distance_to_boundaries(learned: Boundaries, logits: Array, features: Array) -> Array:
    top = jnp.argmax(logits)
    apart = learned.apart[top]
    # Two classes of the same weights have no boundary; a class has none with itself, nor with one that is ruled out.
    there = (apart > 0) & jnp.isfinite(logits)
    distances = jnp.where(there, (logits[top] - logits) / jnp.where(there, apart, 1), 0)
    from_center = jnp.linalg.norm(features - learned.center)
    return distances.sum() / jnp.maximum(there.sum(dtype=logits.dtype), 1) / jnp.maximum(from_center, TINY)


def fdbd(train: Outputs, *, head: Head | None = None, validation: Outputs | None = None) -> CSF:
    """Returns the mean distance to the decision boundaries with the other classes, over that to the training mean.

    Args:
        train: With features.
        head: Says where the boundaries are.
        validation: Not read.

    Raises:
        ValueError: There are no features or no head.

    References:
        Liu and Qin, Fast decision boundary based out-of-distribution detector, ICML 2024.
    """
    del validation
    weight = np.asarray(head_of(head, train, "fdbd").weight, np.float64)
    squares = np.square(weight).sum(0)
    apart = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * weight.T @ weight, 0))
    apart[apart < 1e-6 * np.sqrt(squares.max())] = 0
    center = training_of(train, "fdbd").features.mean(0, dtype=np.float64)
    learned = Boundaries(jnp.asarray(apart, jnp.float32), jnp.asarray(center, jnp.float32))
    return fitted(_distance_to_boundaries, learned, width=2 * len(squares))


def _alignment(learned: tuple[Array, Array, Array], logits: Array, features: Array) -> Array:
    weight, center, alpha = learned
    moved = features - center
    towards_class = weight[:, jnp.argmax(logits)] @ moved / jnp.maximum(jnp.linalg.norm(moved), TINY)
    return towards_class + alpha * jnp.abs(features).sum()


def nci(train: Outputs, *, head: Head | None = None, validation: Outputs | None = None, alpha: float = 1e-3) -> CSF:
    """Returns how far centered features point along the predicted class's weights, plus alpha times their 1-norm.

    Args:
        train: With features.
        head: Has the weights.
        validation: Not read.
        alpha: Weight of the norm.

    Raises:
        ValueError: There are no features or no head.

    References:
        Liu and Qin, Detecting out-of-distribution through the lens of neural collapse, CVPR 2025.
    """
    del validation
    weight = head_of(head, train, "nci").weight
    center = training_of(train, "nci").features.mean(0, dtype=np.float64)
    learned = weight, jnp.asarray(center, jnp.float32), jnp.asarray(alpha, jnp.float32)
    return fitted(_alignment, learned, width=weight.size)


def _energy_clipped(learned: tuple[Head, Array], logits: Array, features: Array) -> Array:
    del logits
    head, most = learned
    return jax.nn.logsumexp(jnp.minimum(features, most) @ head.weight + head.bias)


def react(train: Outputs, *, head: Head | None = None, validation: Outputs | None = None, quantile: float = 0.9) -> CSF:
    """Returns the energy score of features clipped at a quantile of all training features.

    Args:
        train: With features.
        head: Makes logits of clipped features.
        validation: Not read.
        quantile: In (0, 1).

    Raises:
        ValueError: There are no features or no head, or the quantile is out of its range.

    References:
        Sun, Guo and Li, ReAct: Out-of-distribution detection with rectified activations, NeurIPS 2021.
    """
    del validation
    _check_share(quantile)
    head = head_of(head, train, "react")
    most = np.quantile(training_of(train, "react").features, quantile)
    return fitted(_energy_clipped, (head, jnp.asarray(most, jnp.float32)), width=sum(head.weight.shape))


def _check_share(share: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"A quantile or share must lie between 0 and 1; got {share}.")


class Shaping(NamedTuple):
    """The last layer, and the share of an image's smallest features that its scale is taken from."""

    head: Head
    share: Float[Array, ""]


def _of_rank(active: Float[Array, " d"], rank: Int[Array, ""]) -> Float[Array, ""]:
    """Returns the number that so many others of a vector are below, from 0; none is negative.

    Their bits are in their order, and the result's are found one by one from the highest: XLA's sort, which
    `jnp.quantile` calls, takes seventeen times longer on a CPU.
    """
    bits = jax.lax.bitcast_convert_type(active, jnp.int32)

    def next_bit(place: Array, found: Array) -> Array:
        tried = found | jnp.left_shift(1, 30 - place)
        return jnp.where((bits < tried).sum(dtype=jnp.int32) <= rank, tried, found)

    found = jax.lax.fori_loop(0, 31, next_bit, jnp.zeros((), jnp.int32))
    return jax.lax.bitcast_convert_type(found, jnp.float32)


def _scaled(learned: Shaping, features: Array) -> tuple[Array, Array]:
    """Returns features of at least 0 scaled by exp(sum of all / sum of the largest), and which are the largest."""
    active = jnp.maximum(features, 0)
    # At least the quantile means at least the first number that is not below it.
    rank = jnp.ceil(learned.share * (active.shape[0] - 1)).astype(jnp.int32)
    largest = active >= _of_rank(active, rank)
    kept = jnp.where(largest, active, 0).sum()
    ratio = jnp.where(kept > 0, active.sum() / jnp.maximum(kept, TINY), 1)
    return active * jnp.exp(jnp.minimum(ratio, LARGEST_EXPONENT)), largest


def _energy_scaled(learned: Shaping, logits: Array, features: Array) -> Array:
    del logits
    scaled, _ = _scaled(learned, features)
    return jax.nn.logsumexp(scaled @ learned.head.weight + learned.head.bias)


def _energy_pruned(learned: Shaping, logits: Array, features: Array) -> Array:
    del logits
    scaled, largest = _scaled(learned, features)
    return jax.nn.logsumexp(jnp.where(largest, scaled, 0) @ learned.head.weight + learned.head.bias)


def _shaped(rule: FittedRule, train: Outputs, head: Head | None, share: float, name: str) -> CSF:
    _check_share(share)
    learned = Shaping(head_of(head, train, name), jnp.asarray(share, jnp.float32))
    return fitted(rule, learned, width=sum(learned.head.weight.shape))


def ash(train: Outputs, *, head: Head | None = None, validation: Outputs | None = None, share: float = 0.9) -> CSF:
    """Returns the energy score of features of which the smallest are pruned and the others scaled up (ASH-S).

    Features below 0 are taken for 0.

    Args:
        train: With features.
        head: Makes logits of what is left.
        validation: Not read.
        share: Of an image's features that are pruned.

    Raises:
        ValueError: There are no features or no head, or the share is out of its range.

    References:
        Djurisic et al., Extremely simple activation shaping for out-of-distribution detection, ICLR 2023.
    """
    del validation
    return _shaped(_energy_pruned, train, head, share, "ash")


def scale(train: Outputs, *, head: Head | None = None, validation: Outputs | None = None, share: float = 0.85) -> CSF:
    """Returns the energy score of features scaled up by how little their largest ones make of their sum.

    Features below 0 are taken for 0.

    Args:
        train: With features.
        head: Makes logits of what is scaled.
        validation: Not read.
        share: Of an image's features that are not among the largest.

    Raises:
        ValueError: There are no features or no head, or the share is out of its range.

    References:
        Xu et al., Scaling for training time and post-hoc out-of-distribution detection enhancement, ICLR 2024.
    """
    del validation
    return _shaped(_energy_scaled, train, head, share, "scale")


def log_gradient_norm(outputs: Outputs) -> Float[Array, " n"]:
    """Returns the logarithm of the gradient's 1-norm: that of the cross-entropy with uniform labels, by the last layer.

    It is the product of two 1-norms, of the features and of the softmax less 1/c.

    References:
        Huang, Geng and Li, On the importance of gradients for detecting distributional shifts in the wild,
        NeurIPS 2021.
    """
    sizes = jnp.abs(features_of(outputs)).sum(-1)
    p = jax.nn.softmax(outputs.logits)
    unlike = jnp.abs(p - 1 / p.shape[-1]).sum(-1)
    return jnp.log(jnp.maximum(sizes, TINY)) + jnp.log(jnp.maximum(unlike, TINY))


GRADNORM = CSF(score=log_gradient_norm, predict=predict_plain)
