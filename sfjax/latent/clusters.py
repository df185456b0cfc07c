"""Concept clusters: groups of images that lie together, and the image that stands for each."""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from sfjax.latent.features import check_features, principal_components

PCA_DIMENSIONS: Final = 50
"""In so many principal components at most, clusters of features are sought."""


class Clusters(NamedTuple):
    """A partition of n images into k clusters, largest first.

    Attributes:
        assignment: The cluster of every image, from 0.
        representatives: The image nearest the center of each cluster.
        sizes: How many images each cluster has.
    """

    assignment: Int[np.ndarray, " n"]
    representatives: Int[np.ndarray, " k"]
    sizes: Int[np.ndarray, " k"]


def representatives(coordinates: Float[np.ndarray, "n d"], k: int = 9, *, seed: int) -> Clusters:
    """Returns k clusters of images with a representative of each; fewer where there are fewer distinct images.

    Args:
        coordinates: Where distance is measured; one row an image, at least one.
        k: How many clusters at most.
        seed: Of k-means.

    Raises:
        ValueError: There is no image, or k is below 1.

    Example:
        >>> import numpy as np
        >>> clusters = representatives(np.array([[0.0], [0.1], [0.2], [5.0]]), 2, seed=0)
        >>> clusters.representatives, clusters.sizes
        (array([1, 3]), array([3, 1]))
    """
    if len(coordinates) == 0 or k < 1:
        raise ValueError(f"Clusters need at least one image and k >= 1; got {len(coordinates)} images and k = {k}.")
    distinct = np.unique(coordinates, axis=0)
    if len(distinct) <= k:
        centers = distinct
    else:
        with threadpool_limits(1):  # or the order in which threads add decides the last bits
            fitted = KMeans(k, n_init=4, random_state=seed).fit(coordinates)  # pyright: ignore[reportArgumentType]
        centers = fitted.cluster_centers_
    distance = cdist(coordinates, centers)
    nearest = distance.argmin(axis=1)
    sizes = np.bincount(nearest, minlength=len(centers))
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]
    rank = np.empty(len(centers), dtype=np.int64)
    rank[order] = np.arange(len(order))
    own = np.where(nearest[:, None] == order[None, :], distance[:, order], np.inf)
    return Clusters(rank[nearest], own.argmin(axis=0), sizes[order])


def feature_clusters(features: Float[np.ndarray, "n d"], k: int = 9, *, seed: int) -> Int[np.ndarray, " n"]:
    """Returns the cluster of every image, from 0, the largest first: k-means in the space of principal components.

    The space is the network's and not an embedding's, which tears and squeezes neighborhoods; and all images can take
    part, where an embedding holds a sample.

    Args:
        features: One row an image, all of one network.
        k: How many clusters at most.
        seed: Of k-means.

    Raises:
        ValueError: The features are no finite matrix, or k is below 1.
    """
    check_features(features)
    return representatives(principal_components(features, PCA_DIMENSIONS), k, seed=seed).assignment
