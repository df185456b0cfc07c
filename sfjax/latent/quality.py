"""How far neighborhoods survive an embedding."""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

NEIGHBORS: Final = 12
"""Of how many neighbors both measures speak."""
SAMPLE: Final = 1000
"""Of more images, so many are drawn: the cost grows with the square."""


class Quality(NamedTuple):
    """How far the neighborhoods of an embedding are those of the space it shows; both in [0, 1], higher is better.

    Attributes:
        trustworthiness: Whether neighbors in the embedding are neighbors in the space; those that are not count by
            their rank there. NaN below 27 images, where it is not defined for 12 neighbors.
        preservation: Mean share of an image's 12 nearest neighbors in the space that are among its 12 nearest in the
            embedding. NaN likewise.
    """

    trustworthiness: float
    preservation: float


def quality(components: Float[np.ndarray, "n d"], coordinates: Float[np.ndarray, "n k"], *, seed: int) -> Quality:
    """Returns how far neighborhoods survive, among at most 1 000 of the images.

    Args:
        components: Where the neighborhoods are taken from.
        coordinates: Where they are looked for.
        seed: Draws the images, if there are more.

    References:
        Venna and Kaski, Neighborhood preservation in nonlinear projection methods, ICANN 2001.
    """
    chosen = np.random.default_rng(seed).permutation(len(components))[:SAMPLE]
    if len(chosen) <= 2 * NEIGHBORS + 2:
        return Quality(float("nan"), float("nan"))
    there, here = components[chosen], coordinates[chosen]
    kept = [np.isin(one, other).mean() for one, other in zip(_neighbors(there), _neighbors(here), strict=True)]
    return Quality(float(trustworthiness(there, here, n_neighbors=NEIGHBORS)), float(np.mean(kept)))


def _neighbors(points: np.ndarray) -> np.ndarray:
    return NearestNeighbors(n_neighbors=NEIGHBORS).fit(points).kneighbors(return_distance=False)
