"""The latent space of a classifier: one joint embedding of all test sets, its quality, its clusters, a fair sample.

Host code on NumPy arrays. Everything is seeded, and the same input gives the same bits.
"""

from sfjax.latent.clusters import Clusters, feature_clusters, representatives
from sfjax.latent.embedding import Embedding, embed
from sfjax.latent.features import Components, Features, fit_components, join, principal_components
from sfjax.latent.quality import NEIGHBORS, Quality, quality
from sfjax.latent.sampling import sample_first, sample_weights, stratified_sample

__all__ = [
    "NEIGHBORS",
    "Clusters",
    "Components",
    "Embedding",
    "Features",
    "Quality",
    "embed",
    "feature_clusters",
    "fit_components",
    "join",
    "principal_components",
    "quality",
    "representatives",
    "sample_first",
    "sample_weights",
    "stratified_sample",
]
