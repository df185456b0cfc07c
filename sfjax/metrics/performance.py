"""How often a classifier is right.

What holds of NaN and of weights stands in `sfjax.metrics.ordering`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sfjax.metrics.grouped import mean_of_images, sum_by_group, total_weight, weight_like
from sfjax.metrics.ordering import PerImage, Weight, check_lengths, ratio


def accuracy(predicted: PerImage, labels: PerImage, *, weight: Weight = None) -> Float[Array, ""]:
    """Returns the share of images that are classified right: higher is better.

    Args:
        predicted: Classes.
        labels: True classes; one that is none of the classifier's, such as -1, is never right.
        weight: How much each image counts; 1 if left out.

    Raises:
        ValueError: Unequal lengths, or no images.

    Example:
        >>> import jax.numpy as jnp
        >>> float(accuracy(jnp.array([0, 1, 1, 1]), jnp.array([0, 1, 2, 1])))
        0.75
    """
    right, unknown = _right(predicted, labels, weight)
    return mean_of_images(jnp.where(unknown, jnp.nan, right), weight)


def balanced_accuracy(
    predicted: PerImage, labels: PerImage, *, num_classes: int, weight: Weight = None
) -> Float[Array, ""]:
    """Returns the mean over classes of the share that is classified right: higher is better.

    Classes without images are left out of the mean; NaN where there are fewer than two classes, and where a label is
    not in 0, ... `num_classes` - 1. Give images of classes that the classifier does not know a class of their own.

    Args:
        predicted: Classes.
        labels: True classes, from 0.
        num_classes: At least one more than the largest label.
        weight: How much each image counts; 1 if left out.

    Raises:
        ValueError: Unequal lengths, or no images.

    Example:
        >>> import jax.numpy as jnp
        >>> float(balanced_accuracy(jnp.array([0, 0, 0, 0]), jnp.array([0, 0, 0, 1]), num_classes=2))
        0.5
    """
    right, unknown = _right(predicted, labels, weight)
    labels, weight = jnp.asarray(labels).astype(jnp.int32), weight_like(right, weight)
    total = total_weight(weight, unknown | (labels < 0) | (labels >= num_classes))
    of_class = sum_by_group(weight, labels, num_classes)
    recall = ratio(sum_by_group(weight * right, labels, num_classes), of_class)
    classes = jnp.sum(of_class > 0, dtype=recall.dtype)
    return jnp.where(classes >= 2, jnp.sum(recall) / classes, jnp.nan) + 0 * total


def _right(predicted: PerImage, labels: PerImage, weight: Weight) -> tuple[Float[Array, " n"], Bool[Array, " n"]]:
    """Returns 1 where the prediction is right and 0 elsewhere, and whether a class is NaN."""
    check_lengths(predicted=predicted, labels=labels, weight=weight)
    predicted, labels = jnp.asarray(predicted), jnp.asarray(labels)
    with jax.numpy_dtype_promotion("standard"):  # classes are classes, in whatever type of integer
        right = predicted == labels
    return right.astype(jnp.result_type(float)), jnp.isnan(predicted) | jnp.isnan(labels)
