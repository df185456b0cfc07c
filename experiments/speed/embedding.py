"""The joint embedding beside scikit-learn's t-SNE and openTSNE's own settings: time, and what neighborhoods survive."""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import openTSNE
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from experiments.speed.timing import markdown
from sfjax import latent

PCA_DIMENSIONS = 50


@dataclass(frozen=True)
class Options:
    """How embeddings are measured.

    Attributes:
        sizes: Images; a table each.
        features: Of an image.
        dimensions: Of the embedding, 2 or 3.
        threads: Of every side; 0 for as many as there are processors.
        repeats: Of every side; sides take turns.
    """

    sizes: tuple[int, ...] = (2000, 5000)
    features: int = 512
    dimensions: int = 3
    threads: int = 0
    repeats: int = 1


def draw(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Returns features as a penultimate layer has them: six classes that overlap along common directions, cut at 0."""
    rng = np.random.default_rng(seed)
    centers, directions = 1.2 * rng.normal(size=(6, d)), 0.5 * rng.normal(size=(8, d))
    features = centers[np.arange(n) % 6] + rng.normal(size=(n, 8)) @ directions + 0.5 * rng.normal(size=(n, d))
    return np.maximum(features, 0).astype(np.float32)


def sides(features: np.ndarray, dimensions: int, threads: int) -> dict[str, Callable[[], np.ndarray]]:
    """Returns what is compared: each from features to coordinates, by PCA and t-SNE.

    Args:
        features: One row an image.
        dimensions: 2 or 3.
        threads: Of each.
    """

    def ours() -> np.ndarray:
        return latent.embed(features, seed=0, dimensions=dimensions, num_jobs=threads).coordinates

    def theirs() -> np.ndarray:
        with threadpool_limits(threads):
            components = PCA(_components(features), random_state=0).fit_transform(features)
            return TSNE(dimensions, init="pca", random_state=0, n_jobs=threads).fit_transform(components)

    def usual() -> np.ndarray:
        with threadpool_limits(threads):
            components = PCA(_components(features), random_state=0).fit_transform(features)
        tsne = openTSNE.TSNE(dimensions, negative_gradient_method="bh", n_jobs=threads, random_state=0)
        return np.asarray(tsne.fit(components))

    return {"sfjax.latent.embed": ours, "scikit-learn": theirs, "openTSNE, its own steps and angle": usual}


def _components(features: np.ndarray) -> int:
    return min(PCA_DIMENSIONS, *features.shape)


def measure(options: Options) -> None:
    """Prints the tables."""
    threads = options.threads or os.cpu_count() or 1
    print(
        f"Embedding: {threads} threads a side, load {os.getloadavg()[0]:.1f}, openTSNE {version('openTSNE')}, "
        f"scikit-learn {version('scikit-learn')}. Quality: of {latent.NEIGHBORS} neighbors, among 1 000 images at most."
    )
    for n in options.sizes:
        features = draw(n, options.features)
        components = latent.principal_components(features, PCA_DIMENSIONS)
        seconds: dict[str, list[float]] = {}
        rows = {}
        # No call that does not count: nothing is compiled here, and these take minutes.
        for _ in range(options.repeats):
            for name, side in sides(features, options.dimensions, threads).items():
                begun = time.perf_counter()
                coordinates = np.asarray(side(), np.float64)
                seconds.setdefault(name, []).append(time.perf_counter() - begun)
                rows[name] = latent.quality(components, coordinates, seed=0)
        first = statistics.median(next(iter(seconds.values())))
        title = f"Embedding of {n} images of {options.features} features in {options.dimensions}-D"
        head = ["side", "median, s", "least to most", "ratio", "trustworthiness", "neighbors kept"]
        table = [
            [
                name,
                f"{statistics.median(taken):.3g}",
                f"{min(taken):.3g} to {max(taken):.3g}",
                f"{statistics.median(taken) / first:.2f}",
                f"{rows[name].trustworthiness:.4f}",
                f"{rows[name].preservation:.3f}",
            ]
            for name, taken in seconds.items()
        ]
        print(markdown(title, head, table))
