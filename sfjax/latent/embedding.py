"""PCA, then t-SNE, of the features of several test sets together.

Two embeddings that were fitted apart share no coordinates: the same image lies in different places. So all images that
are to be seen together, source and targets, go into one call, and what comes later is placed into what was fitted.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import openTSNE
from jaxtyping import Float
from openTSNE.affinity import PerplexityBasedNN
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from sfjax.files import write_whole
from sfjax.latent.features import Components, Features, check_features, fit_components, join
from sfjax.latent.quality import Quality, quality

PERPLEXITY: Final = 30.0
MIN_POINTS: Final = 5
"""Below this there are no neighborhoods, and the principal components are returned."""

# About a third of the time of the usual 250 and 500 steps at 0.5, at the same trustworthiness and preservation.
EARLY_STEPS: Final = 100
STEPS: Final = 200
THETA: Final = 0.8
"""Of Barnes and Hut: cells of points seen at so wide an angle count as one point."""
PLACING_STEPS: Final = 100

Method = Literal["opentsne", "sklearn"]
Progress = Callable[[int, int], object]


class Embedding(NamedTuple):
    """Coordinates of n images, fitted together, and of m images that were placed among them.

    Attributes:
        coordinates: Shape (n, dimensions), centered; distances within a neighborhood mean something, axes do not.
        placed: Shape (m, dimensions), in the same coordinates.
        quality: Of the n images' coordinates as to their principal components.
        method: How it was made: "opentsne", "sklearn", or "pca" where there were too few or only equal images.
        joined: Whether the m images took part in the fit, because the method cannot place.
        id: Of the fit: changes with the features, their network, the parameters, the seed and the versions.
    """

    coordinates: Float[np.ndarray, "n k"]
    placed: Float[np.ndarray, "m k"]
    quality: Quality
    method: str
    joined: bool
    id: str


def embed(
    features: Features | Float[np.ndarray, "n d"],
    *,
    seed: int,
    placed: Features | Float[np.ndarray, "m d"] | None = None,
    dimensions: int = 3,
    pca_dimensions: int = 50,
    method: Method = "opentsne",
    num_jobs: int = 1,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Embedding:
    """Returns coordinates in which images with similar features lie close.

    Args:
        features: One row an image; all images that are to be seen together (`sfjax.latent.join`).
        seed: Same seed, same coordinates, bit for bit, for any number of threads.
        placed: Images that take no part in the fit: each goes, independently of the others, where its neighbors among
            the fitted ones are. scikit-learn cannot place; there they join the fit.
        dimensions: 2 or 3.
        pca_dimensions: The neighborhoods are those of so many principal components at most.
        method: "opentsne" (Barnes-Hut, several times faster) or "sklearn".
        num_jobs: Processor cores.
        cache: Folder in which coordinates are kept, by what they are made of; None keeps nothing.
        progress: Called with (steps done, steps in all) of the fit; not where nothing is fitted.

    Raises:
        ValueError: The features are no finite matrices, or of different networks or widths; `dimensions` is neither 2
            nor 3.

    References:
        van der Maaten, Accelerating t-SNE using tree-based algorithms, JMLR 2014. Policar, Strazar and Zupan, Embedding
        to reference t-SNE space addresses batch effects in single-cell classification, Machine Learning 2023.
    """
    if dimensions not in (2, 3):
        raise ValueError(f"dimensions must be 2 or 3; got {dimensions}.")
    fitted = features if isinstance(features, Features) else Features(features)
    check_features(fitted.values)
    later = None
    if placed is not None and len(placed[0] if isinstance(placed, Features) else placed):
        later = placed if isinstance(placed, Features) else Features(placed, fitted.network)
        both = join([fitted, later])  # refuses those of another network
        if method == "sklearn":
            n = len(fitted.values)
            found = embed(both, seed=seed, dimensions=dimensions, pca_dimensions=pca_dimensions, method=method,
                          num_jobs=num_jobs, cache=cache, progress=progress)  # fmt: skip
            return found._replace(coordinates=found.coordinates[:n], placed=found.coordinates[n:], joined=True)
    to_components = fit_components(fitted.values, max(pca_dimensions, dimensions))
    components = to_components.of(fitted.values)
    settings = {"dimensions": dimensions, "pca_dimensions": pca_dimensions, "method": method, "seed": seed}
    name = _fingerprint(fitted, settings)
    if len(components) < MIN_POINTS or not components.any():
        later_at = _padded(_projected(to_components, later), dimensions)
        return Embedding(_padded(components, dimensions), later_at, Quality(np.nan, np.nan), "pca", False, name)
    fit = _fit_opentsne if method == "opentsne" else _fit_sklearn
    coordinates = _kept(
        cache, name, lambda: fit(components, dimensions, seed=seed, num_jobs=num_jobs, progress=progress)
    )
    later_at = np.zeros((0, dimensions))
    if later is not None:
        later_at = _kept(
            cache,
            f"{name}-{_fingerprint(later, {})}",
            lambda: _place(components, coordinates, _projected(to_components, later), seed=seed, num_jobs=num_jobs),
        )
    found = quality(components, coordinates, seed=seed)
    return Embedding(coordinates, later_at, found, method, False, name)


def _perplexity(n: int) -> float:
    return min(PERPLEXITY, (n - 1) / 3)


def _start(components: np.ndarray, dimensions: int) -> np.ndarray:
    # The first components, small: the layout starts from the global shape and not from chance.
    start = _padded(components, dimensions)
    return start / (start[:, 0].std() * 1e4)


def _fit_opentsne(
    components: np.ndarray, dimensions: int, *, seed: int, num_jobs: int, progress: Progress | None
) -> np.ndarray:
    done = 0

    def step(iteration: int, *_: object) -> None:
        nonlocal done
        done = iteration if iteration > done else EARLY_STEPS + iteration
        if progress is not None:
            progress(done, EARLY_STEPS + STEPS)

    start: Any = _start(components, dimensions)
    fitted = openTSNE.TSNE(
        n_components=dimensions,
        initialization=start,
        # The FFT gradient has no third dimension.
        negative_gradient_method="bh",
        theta=THETA,
        early_exaggeration_iter=EARLY_STEPS,
        n_iter=STEPS,
        n_jobs=num_jobs,
        random_state=seed,
        callbacks=step,
        callbacks_every_iters=10,
    ).fit(affinities=_affinities(components, seed=seed, num_jobs=num_jobs), initialization=start)
    return _centered(fitted)


def _fit_sklearn(
    components: np.ndarray, dimensions: int, *, seed: int, num_jobs: int, progress: Progress | None
) -> np.ndarray:
    start: Any = _start(components, dimensions).astype(np.float32)
    with threadpool_limits(num_jobs):  # its own argument rules the search for neighbors alone
        fitted = TSNE(
            n_components=dimensions,
            perplexity=_perplexity(len(components)),
            init=start,
            random_state=seed,
            n_jobs=num_jobs,
        ).fit_transform(components)
    if progress is not None:
        progress(1, 1)  # it says nothing before its end
    return _centered(fitted)


def _affinities(components: np.ndarray, *, seed: int, num_jobs: int) -> PerplexityBasedNN:
    # Exact neighbors: the approximate ones depend on threads.
    perplexity: Any = _perplexity(len(components))
    return PerplexityBasedNN(components, perplexity, method="exact", n_jobs=num_jobs, random_state=seed)


def _place(
    components: np.ndarray, coordinates: np.ndarray, later: np.ndarray, *, seed: int, num_jobs: int
) -> np.ndarray:
    """Returns where other images lie: first amid their neighbors, then where the fitted points pull and push them.

    With the perplexity of the fit, images held out of it keep more of their neighbors than with the peer's 5: 45 % of
    12 and not 41 % (n = 1 500, 3-D).
    """
    fitted = openTSNE.TSNEEmbedding(
        coordinates.copy(),
        _affinities(components, seed=seed, num_jobs=num_jobs),
        negative_gradient_method="bh",
        theta=THETA,
        n_jobs=num_jobs,
        random_state=seed,
    )
    # And not `transform`, which moves the fitted points.
    placed = fitted.prepare_partial(later, initialization="median", perplexity=_perplexity(len(components)))
    options: dict[str, Any] = {"learning_rate": 0.1, "exaggeration": 1.5, "momentum": 0.8}
    placed.optimize(PLACING_STEPS, inplace=True, max_grad_norm=0.25, max_step_norm=None, **options)
    return np.asarray(placed, dtype=np.float64)


def _centered(fitted: Any) -> np.ndarray:
    coordinates = np.asarray(fitted, dtype=np.float64)
    return coordinates - coordinates.mean(axis=0)


def _projected(to_components: Components, later: Features | None) -> np.ndarray:
    return np.zeros((0, to_components.axes.shape[1])) if later is None else to_components.of(later.values)


def _padded(components: np.ndarray, dimensions: int) -> np.ndarray:
    missing = max(dimensions - components.shape[1], 0)
    return np.pad(components[:, :dimensions], ((0, 0), (0, missing)))


def _fingerprint(features: Features, settings: Mapping[str, Any]) -> str:
    """Returns 16 hexadecimal digits that change with the features' values and whatever else coordinates depend on."""
    constants = [PERPLEXITY, MIN_POINTS, EARLY_STEPS, STEPS, THETA, PLACING_STEPS]
    versions = {name: version(name) for name in ("numpy", "openTSNE", "scikit-learn", "scipy")}
    about = [features.network, features.values.shape, settings, constants, versions]
    digest = hashlib.sha256(json.dumps(about).encode())
    digest.update(np.ascontiguousarray(features.values, np.float64).tobytes())
    return digest.hexdigest()[:16]


def _kept(folder: str | os.PathLike[str] | None, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """Returns the array that the folder keeps by this name, made and written first where it is missing."""
    if folder is None:
        return make()
    path = Path(folder) / f"embedding_{name}.npy"
    if not path.exists():
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: np.save(file, made, allow_pickle=False))
    return np.load(path, allow_pickle=False)
