"""Small networks and what they say of images, for the tests of scores."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.metrics import roc_auc_score

from sfjax.csf import CSF, CSFS, FITTED
from sfjax.outputs import Head, Outputs
from sfjax.passes import MCStatistics, Passes, mc_statistics

C, D, T = 4, 6, 5
CLUSTERS, WIDTH = 3, 8


def head(c: int = C, d: int = D) -> Head:
    rng = np.random.default_rng([c, d])
    return Head(jnp.asarray(rng.normal(size=(d, c)), jnp.float32), jnp.asarray(rng.normal(size=c), jnp.float32))


def passes(logits: Any, seed: int, n: int) -> tuple[MCStatistics, Passes]:
    """Returns statistics of passes around the logits, with a confidence and a reservation, and the passes."""
    rng = np.random.default_rng(seed)
    noise = jnp.asarray(rng.normal(size=(T, n, logits.shape[-1])), jnp.float32)
    reservation, confidence = (jnp.asarray(rng.normal(size=(T, n)), jnp.float32) for _ in range(2))
    mc, kept = mc_statistics(lambda t: Passes(logits + noise[t], reservation[t], confidence[t]), T, 3, keep_passes=True)
    assert kept is not None
    return mc, kept


@functools.cache
def plain(seed: int, n: int, c: int = C, d: int = D) -> Outputs:
    """Returns outputs of a network of random last layer on overlapping classes, a fifth of them labelled wrongly."""
    weight, bias = map(np.asarray, head(c, d))
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % c
    features = np.maximum(1 + weight.T[labels] + rng.normal(size=(n, d)), 0).astype(np.float32)
    # The first image of each class is labelled rightly, so that every class is there.
    wrong = (rng.uniform(size=n) < 0.2) & (np.arange(n) >= c)
    return of(features @ weight + bias, (labels + wrong) % c, features)


@functools.cache
def sample(seed: int, n: int, c: int = C, d: int = D) -> Outputs:
    """Returns the same with passes of dropout and over augmented copies, a confidence and a reservation."""
    outputs = plain(seed, n, c, d)
    mc, kept = passes(outputs.logits, seed + 1000, n)
    tta, _ = passes(outputs.logits, seed + 2000, n)
    assert kept.reservation is not None and kept.confidence is not None
    return dataclasses.replace(
        outputs,
        mc=mc,
        tta=tta,
        reservation=kept.reservation[:, 0],
        confidence=kept.confidence[:, 0],
        mc_logits=kept.logits,
    )


def of(logits: Any, labels: Any = None, features: Any = None) -> Outputs:
    """Returns the outputs of a plain network."""
    logits = np.asarray(logits)
    labels = np.zeros(len(logits), int) if labels is None else labels
    return Outputs.from_numpy(logits, labels, features=features)


def as_probabilities(outputs: Outputs) -> Outputs:
    """Returns the outputs of the same network of which only the softmax was kept; of passes those of dropout."""
    made = Outputs.from_numpy(
        jax.nn.softmax(outputs.logits),
        outputs.labels,
        features=outputs.features,
        mc_logits=None if outputs.mc_logits is None else jax.nn.softmax(outputs.mc_logits),
        reservation=None
        if outputs.reservation is None
        else outputs.reservation - jax.nn.logsumexp(outputs.logits, axis=-1),
        confidence=outputs.confidence,
        logits_are="probabilities",
    )
    if made.mc is None or outputs.mc is None:
        return made
    learned = {name: getattr(outputs.mc, name) for name in ("confidence_mean", "confidence_std")}
    mc = dataclasses.replace(made.mc, **learned)
    return dataclasses.replace(made, mc=mc, tta=mc)


@functools.cache
def fit(name: str, c: int = C, d: int = D, seed: int = 0, n: int = 200) -> CSF:
    """Returns a score of either table, fitted where it needs that, once a module."""
    if name in CSFS:
        return CSFS[name]
    return FITTED[name](plain(seed, n, c, d), head=head(c, d), validation=plain(seed + 1, max(n // 2, c), c, d))


def clusters(seed: int, n: int) -> Outputs:
    """Returns n images of three tight clusters, one a class, of a network that is right about all of them.

    Class i's features are 4 at i, noise of deviation 0.3 elsewhere in the first four, and almost nothing in the others.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % CLUSTERS
    features = rng.normal(size=(n, WIDTH)) * np.array([0.3] * 4 + [0.02] * (WIDTH - 4))
    features[np.arange(n), labels] += 4
    return read(features, labels)


def far(seed: int, n: int) -> Outputs:
    """Returns n images of no class, which go in a new direction, and which the network is sure of all the same."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, WIDTH)) * 0.3
    features[np.arange(n), rng.integers(0, CLUSTERS, n)] += 4.2
    features[:, 5] += 8
    return read(features, np.full(n, -1))


def last_layer() -> Head:
    weight = np.zeros((WIDTH, CLUSTERS), np.float32)
    weight[:CLUSTERS] = 2 * np.eye(CLUSTERS)
    return Head(jnp.asarray(weight), jnp.zeros(CLUSTERS))


def read(features: Any, labels: Any) -> Outputs:
    weight, bias = map(np.asarray, last_layer())
    features = np.asarray(features, np.float32)
    return of(features @ weight + bias, labels, features)


def auroc(score: Any, positive: Any) -> float:
    """Returns how often a score is higher for a positive than for a negative, by scikit-learn."""
    return float(roc_auc_score(positive, np.asarray(score, np.float64)))


def float64(x: Any) -> np.ndarray:
    return np.asarray(x, np.float64)


def softmax64(logits: Any) -> np.ndarray:
    z = float64(logits)
    p = np.exp(z - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)
