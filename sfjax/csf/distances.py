"""Scores of how far an image's features are from those of training images. Higher is surer, that is nearer.

What is learned is computed in float64 on the host; images are scored in float32 at full precision.
"""

from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sfjax.csf.base import CSF, features_of, true_logits
from sfjax.csf.compose import fitted, of_images
from sfjax.outputs import Head, Outputs

TINY: Final = 1e-30
"""What a distance of 0 is taken for where it is divided by."""
ROWS_AT_ONCE: Final = 8192
"""Of features in float64, where a covariance is summed up."""


class Training(NamedTuple):
    """Features of training images and the classes that they are of."""

    features: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, " n"]
    classes: Int[np.ndarray, " m"]


def training_of(train: Outputs, name: str) -> Training:
    """Returns the features and labels of the training images whose class is known.

    Raises:
        ValueError: There are no features, none that are finite, or no labels.
    """
    features, labels = np.asarray(features_of(train), np.float32), np.asarray(train.labels)
    known = labels >= 0
    if not known.any():
        raise ValueError(f"{name} learns from labelled training images, and there are none. Give their outputs.")
    if not np.isfinite(features[known]).all():
        bad = int(np.flatnonzero(~np.isfinite(features).all(-1))[0])
        raise ValueError(
            f"{name} learns from finite features, and those of training image {bad} are not. Leave it out."
        )
    return Training(features[known], labels[known], np.unique(labels[known]))


def class_means(training: Training) -> Float[np.ndarray, "m d"]:
    """Returns the mean features of each class that there is, in float64."""
    return np.stack([training.features[training.labels == c].mean(0, dtype=np.float64) for c in training.classes])


def whitening(scatter: Float[np.ndarray, "d d"], name: str) -> Float[np.ndarray, "d r"]:
    """Returns the map after which a covariance is the identity, on the directions in which there is any spread.

    A direction whose variance is that of float32's rounding is none: its distances would be rounding errors divided by
    each other. So a singular covariance, from few images or from features that are always 0, has its pseudo-inverse.

    Raises:
        ValueError: There is no spread in any direction.
    """
    values, vectors = np.linalg.eigh(scatter)
    kept = values > max(values[-1], 0) * len(values) * float(np.finfo(np.float32).eps) ** 2
    if not kept.any():
        raise ValueError(
            f"{name} needs training features that vary around their means, and none does. Give more training images."
        )
    return vectors[:, kept] / np.sqrt(values[kept])


class Gaussians(NamedTuple):
    """Normal distributions of one covariance, around several means, in coordinates where it is the identity."""

    center: Float[Array, " d"]
    whiten: Float[Array, "d r"]
    means: Float[Array, "m r"]


def scatter(
    features: Float[np.ndarray, "n d"], origins: Float[np.ndarray, "m d"], which: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "d d"]:
    """Returns the mean outer product of features less their origins, in float64, a part of the images at a time.

    Args:
        features: Of any float type.
        origins: One or several.
        which: The origin of each image.
    """
    total = np.zeros((features.shape[1],) * 2)
    for start in range(0, len(features), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        deviations = features[rows] - origins[which[rows]]
        total += deviations.T @ deviations
    return total / len(features)


def gaussians(covariance: np.ndarray, center: np.ndarray, means: np.ndarray, name: str) -> Gaussians:
    """Returns normal distributions around `means` with a covariance, shape (d, d)."""
    whiten = whitening(covariance, name)
    parts = (center, whiten, (means - center) @ whiten)
    return Gaussians(*(jnp.asarray(part, jnp.float32) for part in parts))


def least_distance(learned: Gaussians, features: Float[Array, " d"]) -> Float[Array, ""]:
    """Returns the squared Mahalanobis distance to the nearest mean."""
    at = (features - learned.center) @ learned.whiten
    nearest = jnp.argmin(jnp.square(learned.means).sum(-1) - 2 * (learned.means @ at))
    # From the difference: squares of means far apart cancel, and what is left is their rounding.
    return jnp.square(at - learned.means[nearest]).sum()


def _minus_distance(learned: Gaussians, logits: Array, features: Array) -> Array:
    del logits
    return -least_distance(learned, features)


def _distance_beyond_class(learned: tuple[Gaussians, Gaussians], logits: Array, features: Array) -> Array:
    del logits
    of_classes, of_all = learned
    return least_distance(of_all, features) - least_distance(of_classes, features)


def _of_classes(training: Training, name: str) -> Gaussians:
    means = class_means(training)
    within = scatter(training.features, means, np.searchsorted(training.classes, training.labels))
    return gaussians(within, means.mean(0), means, name)


def mahalanobis(train: Outputs, *, head: Head | None = None, validation: Outputs | None = None) -> CSF:
    """Returns minus the squared Mahalanobis distance to the nearest class mean, with the covariance within classes.

    n d^2 to fit; c d an image.

    Args:
        train: With features; classes without images have no mean, those with one add no spread.
        head: Not read.
        validation: Not read.

    Raises:
        ValueError: There are no features, or they do not vary.

    References:
        Lee et al., A simple unified framework for detecting out-of-distribution samples and adversarial attacks,
        NeurIPS 2018.
    """
    del head, validation
    training = training_of(train, "mahalanobis")
    learned = _of_classes(training, "mahalanobis")
    return fitted(_minus_distance, learned, width=len(learned.means) + len(learned.center))


def relative_mahalanobis(train: Outputs, *, head: Head | None = None, validation: Outputs | None = None) -> CSF:
    """Returns how much nearer the nearest class mean is than the mean of all, in squared Mahalanobis distances.

    The distance to the mean of all is by the covariance of all; what makes an image unusual in any class cancels. Twice
    what `mahalanobis` costs.

    Args:
        train: With features.
        head: Not read.
        validation: Not read.

    Raises:
        ValueError: There are no features, or they do not vary.

    References:
        Ren et al., A simple fix to Mahalanobis distance for improving near-OOD detection, 2021.
    """
    del head, validation
    training = training_of(train, "relative_mahalanobis")
    of_classes = _of_classes(training, "relative_mahalanobis")
    mean = training.features.mean(0, dtype=np.float64)
    around_all = scatter(training.features, mean[None], np.zeros(len(training.labels), np.int64))
    of_all = gaussians(around_all, mean, mean[None], "relative_mahalanobis")
    width = len(of_classes.means) + len(mean)
    return fitted(_distance_beyond_class, (of_classes, of_all), width=width)


def unit(features: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """Returns features of norm 1; those of norm 0 stay 0."""
    norm = jnp.linalg.norm(features, axis=-1, keepdims=True)
    return features / jnp.where(norm > 0, norm, 1)


class Neighbors(NamedTuple):
    """Features of norm 1 of training images, and k numbers that say which neighbor counts."""

    features: Float[Array, "m d"]
    k: Int[Array, " k"]


def _minus_kth_distance(learned: Neighbors, logits: Array, features: Array) -> Array:
    del logits
    at = unit(features)
    nearest = jax.lax.top_k(learned.features @ at, learned.k.shape[0])[1][-1]
    # From the difference: 2 - 2 cos loses near neighbors to rounding.
    return -jnp.linalg.norm(learned.features[nearest] - at)


def knn(
    train: Outputs,
    *,
    head: Head | None = None,
    validation: Outputs | None = None,
    k: int = 50,
    coreset: int | None = None,
    seed: int = 0,
) -> CSF:
    """Returns minus the distance to the k-th nearest training image, of features scaled to norm 1.

    m d an image for m training images, and as many numbers at once.

    Args:
        train: With features.
        head: Not read.
        validation: Not read.
        k: Which neighbor; the farthest where there are fewer.
        coreset: So many training images, drawn at random, stand for all.
        seed: Of the draw.

    Raises:
        ValueError: There are no features, or a number is out of its range.

    References:
        Sun et al., Out-of-distribution detection with deep nearest neighbors, ICML 2022.
    """
    del head, validation
    features = training_of(train, "knn").features
    if k < 1 or (coreset is not None and coreset < 1):
        raise ValueError(f"k and coreset must be at least 1; got {k} and {coreset}.")
    if coreset is not None and coreset < len(features):
        features = features[np.sort(np.random.default_rng(seed).choice(len(features), coreset, replace=False))]
    counted = jnp.arange(min(k, len(features)), dtype=jnp.int32)
    return fitted(_minus_kth_distance, Neighbors(unit(jnp.asarray(features)), counted), width=len(features))


def _guided_energy(learned: Neighbors, logits: Array, features: Array) -> Array:
    similarity = jax.lax.top_k(learned.features @ unit(features), learned.k.shape[0])[0]
    return jax.nn.logsumexp(logits) * similarity.mean()


def nnguide(train: Outputs, *, head: Head | None = None, validation: Outputs | None = None, k: int = 10) -> CSF:
    """Returns the energy score times the mean similarity to the k most similar training images, by their energy.

    Similarity is the cosine of features times the training image's own energy score. Costs what `knn` does.

    Args:
        train: With features and true logits.
        head: Not read.
        validation: Not read.
        k: How many; all where there are fewer.

    Raises:
        ValueError: There are no features or no true logits, or k is out of its range.

    References:
        Park, Jung and Teoh, Nearest neighbor guidance for out-of-distribution detection, ICCV 2023.
    """
    del head, validation
    if k < 1:
        raise ValueError(f"k must be at least 1; got {k}.")
    energy = jax.nn.logsumexp(true_logits(train), axis=-1)[np.asarray(train.labels) >= 0]
    bank = unit(jnp.asarray(training_of(train, "nnguide").features)) * energy[:, None]
    counted = jnp.arange(min(k, len(bank)), dtype=jnp.int32)
    return fitted(_guided_energy, Neighbors(bank, counted), width=len(bank), needs_true_logits=True)


class Labelled(NamedTuple):
    """Training features, moved to have mean 0, and their classes."""

    center: Float[Array, " d"]
    features: Float[Array, "m d"]
    squares: Float[Array, " m"]
    labels: Int[Array, " m"]


def _log_trust(learned: Labelled, logits: Array, features: Array) -> Array:
    at = features - learned.center
    squares = learned.squares - 2 * (learned.features @ at)
    own = learned.labels == jnp.argmax(logits)

    def distance_within(some: Array) -> Array:
        nearest = jnp.argmin(jnp.where(some, squares, jnp.inf))
        return jnp.linalg.norm(learned.features[nearest] - at) + TINY

    return jnp.log(distance_within(~own)) - jnp.log(distance_within(own))


def trust_score(
    train: Outputs,
    *,
    head: Head | None = None,
    validation: Outputs | None = None,
    left_out: float = 0.0,
    k: int = 10,
) -> CSF:
    """Returns the log-ratio of the distances to the nearest training image of another and of the predicted class.

    Costs what `knn` does, twice over for the two minima. Which image is nearest is told by float32 squares around the
    training mean: classes whose means are a thousand times farther apart than the images of a class blur that.

    Args:
        train: With features, of every class.
        head: Not read.
        validation: Not read.
        left_out: Share of each class's training images that are left out, those farthest from their k-th neighbor.
        k: See `left_out`.

    Raises:
        ValueError: There are no features, a class has no training image, or a number is out of its range.

    References:
        Jiang et al., To trust or not to trust a classifier, NeurIPS 2018.
    """
    del head, validation
    if not 0 <= left_out < 1 or k < 1:
        raise ValueError(f"left_out must be in [0, 1) and k at least 1; got {left_out} and {k}.")
    training = every_class(train, "trust_score")
    kept = np.concatenate([_dense(training, int(c), left_out, k) for c in training.classes])
    center = training.features.mean(0)
    features = training.features[kept] - center
    parts = (center, features, np.square(features).sum(-1), training.labels[kept])
    return fitted(_log_trust, Labelled(*map(jnp.asarray, parts)), width=2 * len(kept))


def _dense(training: Training, c: int, left_out: float, k: int) -> np.ndarray:
    """Returns the rows of a class's images without the share that lies in the thinnest places."""
    rows = np.flatnonzero(training.labels == c)
    if left_out == 0 or len(rows) <= k:
        return rows
    features = jnp.asarray(training.features[rows] - training.features[rows].mean(0))  # squares stay small
    # The image itself is its own nearest neighbor.
    learned = features, jnp.square(features).sum(-1), jnp.arange(k + 1, dtype=jnp.int32)
    radius = of_images(_radius, 256, learned, features, features)
    return rows[np.argsort(np.asarray(radius), kind="stable")[: len(rows) - int(left_out * len(rows))]]


def _radius(learned: Any, logits: Array, features: Array) -> Array:
    del logits
    bank, squares, counted = learned
    nearest = jax.lax.top_k(2 * (bank @ features) - squares, counted.shape[0])[1][-1]
    return jnp.linalg.norm(bank[nearest] - features)


def every_class(train: Outputs, name: str) -> Training:
    """Returns what `training_of` does.

    Raises:
        ValueError: A class of the network has no training image.
    """
    training = training_of(train, name)
    missing = np.setdiff1d(np.arange(train.logits.shape[-1]), training.classes)
    if len(missing):
        raise ValueError(
            f"{name} needs training images of every class, and there are none of {', '.join(map(str, missing[:10]))}. "
            "Give outputs of the whole training set."
        )
    return training


def _similarity_to_pattern(learned: Array, logits: Array, features: Array) -> Array:
    return learned[jnp.argmax(logits)] @ features


def she(train: Outputs, *, head: Head | None = None, validation: Outputs | None = None) -> CSF:
    """Returns the inner product of the features with the mean features of the predicted class.

    The mean is of the class's training images that are predicted rightly; of all of them where none is. d an image.

    Args:
        train: With features, of every class.
        head: Not read.
        validation: Not read.

    Raises:
        ValueError: There are no features, or a class has no training image.

    References:
        Zhang et al., Out-of-distribution detection based on in-distribution data patterns memorization with modern
        Hopfield energy, ICLR 2023.
    """
    del head, validation
    training = every_class(train, "she")
    labels = np.asarray(train.labels)
    right = (np.asarray(train.logits).argmax(-1) == labels)[labels >= 0]
    patterns = []
    for c in training.classes:
        of_class = training.labels == c
        chosen = of_class & right if (of_class & right).any() else of_class
        patterns.append(training.features[chosen].mean(0, dtype=np.float64))
    learned = jnp.asarray(np.stack(patterns), jnp.float32)
    return fitted(_similarity_to_pattern, learned, width=learned.size)
