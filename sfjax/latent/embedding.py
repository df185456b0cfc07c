"""PCA, then t-SNE, of the features of several test sets together.

Two embeddings that were fitted apart share no coordinates: the same image lies in different places. So all images that
are to be seen together, source and targets, go into one call.
"""

from typing import Final, Literal, NamedTuple

import numpy as np
import openTSNE
from jaxtyping import Float
from sklearn.manifold import TSNE, trustworthiness

PERPLEXITY: Final = 30.0
NEIGHBORS: Final = 12
"""Of how many neighbors the trustworthiness speaks."""
MIN_POINTS: Final = 5
"""Below this there are no neighborhoods, and the principal components are returned."""

# About half the time of the usual 250 and 500 steps at the same trustworthiness (n = 2 000, d = 64).
EARLY_STEPS: Final = 125
STEPS: Final = 250


class Embedding(NamedTuple):
    """Coordinates of n images, fitted together.

    Attributes:
        coordinates: Shape (n, dimensions), centered; distances within a neighborhood mean something, axes do not.
        trustworthiness: In [0, 1], higher is better: whether neighbors in the embedding are neighbors among the
            principal components; NaN below 27 images, where it is not defined for 12 neighbors.
        method: How it was made: "opentsne", "sklearn", or "pca" where there were too few or only equal images.
    """

    coordinates: Float[np.ndarray, "n k"]
    trustworthiness: float
    method: str


def embed(
    features: Float[np.ndarray, "n d"],
    *,
    seed: int,
    dimensions: int = 3,
    pca_dimensions: int = 50,
    method: Literal["opentsne", "sklearn"] = "opentsne",
    num_jobs: int = 1,
) -> Embedding:
    """Returns coordinates in which images with similar features lie close.

    Args:
        features: One row an image; all images that are to be seen together.
        seed: Same seed, same coordinates, bit for bit, for any `num_jobs`.
        dimensions: 2 or 3.
        pca_dimensions: The neighborhoods are those of so many principal components at most.
        method: "opentsne" (Barnes-Hut, several times faster) or "sklearn".
        num_jobs: Processor cores.

    Raises:
        ValueError: The features are no finite matrix, or `dimensions` is neither 2 nor 3.

    References:
        van der Maaten, Accelerating t-SNE using tree-based algorithms, JMLR 2014.
    """
    if dimensions not in (2, 3):
        raise ValueError(f"dimensions must be 2 or 3; got {dimensions}.")
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError(
            f"features must be a finite matrix, one row an image; got shape {features.shape} with "
            f"{int((~np.isfinite(features)).sum())} values that are not finite. Leave those images out."
        )
    components = principal_components(features, max(pca_dimensions, dimensions))
    n = len(components)
    if n < MIN_POINTS or not components.any():
        return Embedding(_padded(components, dimensions), float("nan"), "pca")
    perplexity = min(PERPLEXITY, (n - 1) / 3)
    # The first components, small: the layout starts from the global shape and not from chance.
    start = _padded(components, dimensions)
    start = start / (start[:, 0].std() * 1e4)
    if method == "opentsne":
        # Exact neighbors: the approximate ones depend on threads. The FFT gradient has no third dimension.
        fitted = openTSNE.TSNE(
            n_components=dimensions,
            perplexity=perplexity,  # pyright: ignore[reportArgumentType]
            initialization=start,
            neighbors="exact",
            negative_gradient_method="bh",
            early_exaggeration_iter=EARLY_STEPS,
            n_iter=STEPS,
            n_jobs=num_jobs,
            random_state=seed,
        ).fit(components)
    else:
        fitted = TSNE(
            n_components=dimensions,
            perplexity=perplexity,
            init=start.astype(np.float32),
            random_state=seed,
            n_jobs=num_jobs,
        ).fit_transform(components)
    coordinates = np.asarray(fitted, dtype=np.float64)
    return Embedding(coordinates - coordinates.mean(axis=0), quality(components, coordinates, seed=seed), method)


def principal_components(features: Float[np.ndarray, "n d"], dimensions: int) -> Float[np.ndarray, "n k"]:
    """Returns the projections on the first principal components, at most `dimensions`, with a fixed sign.

    Args:
        features: One row an image.
        dimensions: How many at most; n and d bound it too.

    Example:
        >>> import numpy as np
        >>> principal_components(np.array([[0.0, 0.0], [3.0, 4.0]]), 1).round(3)
        array([[-2.5],
               [ 2.5]])
    """
    centered = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    left, scale, right = np.linalg.svd(centered, full_matrices=False)
    sign = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    return (left * scale * sign)[:, :dimensions]


def quality(
    components: Float[np.ndarray, "n d"], coordinates: Float[np.ndarray, "n k"], *, seed: int, size: int = 1000
) -> float:
    """Returns the trustworthiness of `coordinates`, in [0, 1], higher is better, on at most `size` images.

    Args:
        components: Where the neighborhoods are taken from.
        coordinates: Where they are looked for.
        seed: Draws the images, if there are more than `size`.
        size: The cost grows with its square.

    References:
        Venna and Kaski, Neighborhood preservation in nonlinear projection methods, ICANN 2001.
    """
    n = len(components)
    chosen = np.random.default_rng(seed).permutation(n)[:size]
    if len(chosen) <= 2 * NEIGHBORS + 2:
        return float("nan")
    return float(trustworthiness(components[chosen], coordinates[chosen], n_neighbors=NEIGHBORS))


def _padded(components: Float[np.ndarray, "n d"], dimensions: int) -> Float[np.ndarray, "n k"]:
    missing = max(dimensions - components.shape[1], 0)
    return np.pad(components[:, :dimensions], ((0, 0), (0, missing)))
