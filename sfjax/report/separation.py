"""How far classes, and domains, lie apart among features: neighbors of one class, and a classifier of domains."""

from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sfjax.metrics import by_patient
from sfjax.metrics.by_patient import Measured

NEIGHBORS: Final = 15
"""Odd: of two classes one has the majority."""
FOLDS: Final = 5


def neighbors_agree(
    source: Float[np.ndarray, "m k"],
    source_labels: Int[np.ndarray, " m"],
    source_owners: Int[np.ndarray, " m"],
    images: Float[np.ndarray, "n k"],
    labels: Int[np.ndarray, " n"],
    owners: Int[np.ndarray, " n"],
    *,
    k: int = NEIGHBORS,
) -> Bool[np.ndarray, " n"]:
    """Returns whether the class of an image is that of most of its k nearest source images that another owner has.

    Of classes with equally many, that of the nearest image wins; an image without such neighbors does not agree.

    Args:
        source: Where neighbors are looked for.
        source_labels: Classes, from 0.
        source_owners: One code a patient.
        images: Whose neighbors.
        labels: Their classes.
        owners: Their patients, in the same codes.
        k: How many neighbors at most.
    """
    if not len(source) or not len(images):
        return np.zeros(len(images), dtype=bool)
    most = min(k + int(np.bincount(source_owners).max()), len(source))
    with threadpool_limits(1):
        near = NearestNeighbors(n_neighbors=most).fit(source).kneighbors(images, return_distance=False)
    allowed = source_owners[near] != owners[:, None]
    place = np.cumsum(allowed, axis=1)
    allowed &= place <= k
    classes, codes = np.unique(source_labels, return_inverse=True)
    votes = np.zeros((len(images), len(classes)))
    # Halves of halves never add up to a vote, and the nearest outweighs all that follow: it decides between equals.
    weight = np.where(allowed, 1 + 0.5 ** np.minimum(place, 50), 0.0)
    for column in range(most):
        np.add.at(votes, (np.arange(len(images)), codes[near[:, column]]), weight[:, column])
    return (classes[votes.argmax(axis=1)] == labels) & allowed.any(axis=1)


def domain_auroc(
    components: Float[np.ndarray, "n k"], target: Bool[np.ndarray, " n"], owners: Int[np.ndarray, " n"], *, seed: int
) -> Measured:
    """Returns how well a logistic regression tells target from source images of patients that it has not seen.

    The AUROC is the mean over folds: scores of different fits are not compared. NaN where a side has one patient.

    Args:
        components: One row an image.
        target: Which side it is of.
        owners: One code a patient; all images of a patient are in one fold.
        seed: Draws the folds.
    """
    fewest = min(len(np.unique(owners[side])) for side in (target, ~target))
    if fewest < 2:
        return Measured(np.nan, np.nan, np.nan)
    folds = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    influence, values = np.zeros(len(target)), []
    classifier = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    with threadpool_limits(1):
        for train, test in folds.split(components, target, owners):
            if len(np.unique(target[test])) < 2 or len(np.unique(target[train])) < 2:
                continue  # a fold of one side tells nothing
            score = classifier.fit(components[train], target[train]).decision_function(components[test])
            value, influence[test] = by_patient.placements(score, target[test])
            values.append(value)
    if not values:
        return Measured(np.nan, np.nan, np.nan)
    return by_patient.auroc_interval(float(np.mean(values)), influence / len(values), target, owners)
