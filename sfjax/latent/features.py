"""Features of one network, and the principal components that neighborhoods are taken from."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

EXACT_UP_TO: Final = 512
"""Above so many images and features both, the first components are found by random projections and power iterations."""


class Features(NamedTuple):
    """The penultimate layer of one network, of n images.

    Attributes:
        values: One row an image.
        network: Which network it is, such as task, training method and seed. Features of two networks share no axes,
            even where they are of one width: what is to lie in one space is of one network.
    """

    values: Float[np.ndarray, "n d"]
    network: str = ""


def join(parts: Sequence[Features]) -> Features:
    """Returns the features of several sets of images, one below the other.

    Args:
        parts: Of one network, at least one.

    Raises:
        ValueError: The parts are of different networks, of different widths, or no finite matrices.
    """
    for part in parts:
        check_features(part.values)
    networks = list(dict.fromkeys(part.network for part in parts))
    widths = sorted({part.values.shape[1] for part in parts})
    if len(networks) != 1 or len(widths) != 1:
        of = ", ".join(name or "(unnamed)" for name in networks) or "none"
        raise ValueError(
            f"Only features of one network lie in one space; got networks {of} of widths "
            f"{', '.join(map(str, widths)) or 'none'}. Embed each network's features apart."
        )
    return Features(np.concatenate([part.values for part in parts]), networks[0])


def check_features(values: np.ndarray) -> None:
    """Raises ValueError if features are no finite matrix."""
    finite = np.isfinite(values) if values.dtype.kind in "fiu" else np.zeros(values.shape, bool)
    if values.ndim != 2 or not len(values) or not finite.all():
        raise ValueError(
            f"features must be a finite matrix, one row an image; got shape {values.shape} with "
            f"{int((~finite).sum())} values that are not finite. Leave those images out."
        )


class Components(NamedTuple):
    """The map from features to their first principal components.

    Attributes:
        mean: Of the features that it was fitted on.
        axes: One row a feature, one column a component; each column's largest entry is positive.
    """

    mean: Float[np.ndarray, " d"]
    axes: Float[np.ndarray, "d k"]

    def of(self, values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """Returns the components of these or of other images' features."""
        with threadpool_limits(1):  # or the last bits depend on the number of threads, and t-SNE on the last bits
            return (values.astype(np.float64) - self.mean) @ self.axes


def fit_components(values: Float[np.ndarray, "n d"], dimensions: int) -> Components:
    """Returns the map to the first principal components, at most `dimensions`.

    Args:
        values: One row an image.
        dimensions: How many at most; n and d bound it too.

    References:
        Halko, Martinsson and Tropp, Finding structure with randomness, SIAM Review 2011.
    """
    mean = values.mean(axis=0, dtype=np.float64)
    centered = values.astype(np.float64) - mean
    k = min(dimensions, *centered.shape)
    with threadpool_limits(1):
        if min(centered.shape) <= max(EXACT_UP_TO, 2 * k):
            right = np.linalg.svd(centered, full_matrices=False)[2][:k]
        else:
            right = randomized_svd(centered, k, random_state=0)[2]
    sign = np.sign(right[np.arange(k), np.abs(right).argmax(axis=1)])
    return Components(mean, (right * sign[:, None]).T)


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
    return fit_components(features, dimensions).of(features)
