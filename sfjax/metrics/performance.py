"""How often a classifier is right."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sfjax.metrics.ranking import PerImage
from sfjax.metrics.risk_coverage import Weight, arrays


def accuracy(predicted: PerImage, labels: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the share of images that are classified right: higher is better.

    Args:
        predicted: Classes.
        labels: True classes.
        weight: How much each image counts; 1 if left out.
    """
    _, right, weight = arrays(labels, predicted == labels, weight)
    return jnp.sum(weight * right) / jnp.sum(weight)


def balanced_accuracy(
    predicted: PerImage, labels: PerImage, *, num_classes: int, weight: Weight = None
) -> Float[Array, ""]:
    """Returns the mean over classes of the share that is classified right: higher is better.

    Classes without images are left out of the mean; NaN where there are fewer than two classes.

    Args:
        predicted: Classes.
        labels: True classes, from 0.
        num_classes: At least one more than the largest label.
        weight: How much each image counts; 1 if left out.

    Example:
        >>> import jax.numpy as jnp
        >>> float(balanced_accuracy(jnp.array([0, 0, 0, 0]), jnp.array([0, 0, 0, 1]), num_classes=2))
        0.5
    """
    _, right, weight = arrays(labels, predicted == labels, weight)
    of_class = jax.ops.segment_sum(weight, labels, num_classes)
    recall = jax.ops.segment_sum(weight * right, labels, num_classes) / jnp.where(of_class > 0, of_class, 1)
    classes = jnp.sum(of_class > 0, dtype=recall.dtype)
    return jnp.where(classes >= 2, jnp.sum(recall) / classes, jnp.nan)
