"""The latent space of a classifier: one joint embedding of all test sets, its quality, its clusters, a fair sample.

Host code on NumPy arrays. Everything is seeded, and the same input gives the same bits.
"""

from sfjax.latent.clusters import Clusters, feature_clusters, representatives
from sfjax.latent.embedding import Embedding, embed, principal_components
from sfjax.latent.sampling import stratified_sample

__all__ = [
    "Clusters",
    "Embedding",
    "embed",
    "feature_clusters",
    "principal_components",
    "representatives",
    "stratified_sample",
]
