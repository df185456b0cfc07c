"""From outputs to the tables that views read: embedded images and risk-coverage curves.

Source and shifted images of a network are embedded together; corrupted images are not among them.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from sfjax import latent
from sfjax.data import patient_groups
from sfjax.keys import stream
from sfjax.metrics import resample_weights
from sfjax.metrics.ordering import order_by_score
from sfjax.metrics.risk_coverage import curve_of
from sfjax.study.evaluation import Said, Scorers, evaluate, first_network, together

GALLERY: Final = 12
"""Of each test set and csf, so many of the most confident failures are embedded whatever the sample is."""
_PADDED_TO: Final = 256
_BAND: Final = (0.025, 0.975)


class Points(NamedTuple):
    """The embedded images of a task.

    Attributes:
        table: What `TaskReport.points` wants; further `row`, the image's place in its test set, `weight`, how many
            images of its test set it stands for, and `rank_<csf>`, 1 for the surest of all images, which tells
            apart what the rounding of a probability does not.
        note: What was embedded and how well, as one sentence.
    """

    table: pd.DataFrame
    note: str


def points_table(
    outputs: Mapping[str, Said],
    tables: Mapping[str, pd.DataFrame],
    classes: Sequence[str],
    scorers: Scorers,
    *,
    size: int = 2000,
    seed: int = 0,
    num_jobs: int = 1,
) -> Points:
    """Returns a sample of the images of all test sets with what every csf says of them, embedded together.

    Failures fill up to about half of the sample, the most confident ones first; the rest is stratified
    by test set and label. The confidence of a csf without a probability is the image's rank among all images given, as
    a share.

    Args:
        outputs: By test set, with features: what one network says, or the networks of one seed.
        tables: By test set, a row an image: kind, domain, subclass, label (a class name).
        classes: Names of the classes that the outputs number.
        scorers: The scores of these networks.
        size: How many images at most.
        seed: Of the sample and the embedding.
        num_jobs: Processor cores.

    Raises:
        ValueError: The test sets differ, are of unequal length, or have no features.
    """
    _check(outputs, tables)
    first = {name: first_network(said) for name, said in outputs.items()}
    lacking = [name for name, output in first.items() if output.features is None]
    if lacking:
        raise ValueError(
            f"The outputs of {', '.join(lacking)} have no features to embed. "
            "Keep the penultimate layer in inference.run."
        )
    said = together(list(outputs.values()))
    whole = first_network(said)
    sets = np.repeat(list(outputs), [len(output) for output in first.values()])
    columns = ["kind", "domain", "subclass", "label"]
    about = pd.concat([tables[name][columns] for name in outputs], ignore_index=True)
    table = pd.DataFrame(
        {
            "id": np.arange(len(sets)),
            "test_set": sets,
            **{column: about[column].fillna("").astype(str) for column in columns},
            "row": np.concatenate([np.arange(len(output)) for output in first.values()]),
        }
    )
    names, labels = np.asarray([str(name) for name in classes]), np.asarray(whole.labels)
    failure = np.zeros(len(table), dtype=bool)
    of_csfs: dict[str, np.ndarray] = {}
    most_confident = []
    for csf, verdict in _verdicts(said, scorers).items():
        wrong = verdict.predicted != labels
        order = np.argsort(-verdict.score, kind="stable")
        of_csfs[f"predicted_{csf}"] = names[verdict.predicted]
        of_csfs[f"correct_{csf}"] = (~wrong).astype(np.int64)
        of_csfs[f"confidence_{csf}"] = verdict.confidence()
        of_csfs[f"rank_{csf}"] = pd.Series(-verdict.score).rank(method="min").to_numpy(np.int64)
        failure |= wrong
        most_confident += [order[wrong[order] & (sets[order] == name)][:GALLERY] for name in outputs]
    strata = (table["test_set"] + "\0" + table["label"]).to_numpy(dtype=str)
    chosen = _sample(strata, failure, np.unique(np.concatenate(most_confident)), size, seed)
    embedding = latent.embed(np.asarray(whole.features)[chosen], seed=seed, num_jobs=num_jobs)
    # All at once: sixty scores' columns, one by one, would each copy what is there.
    table = pd.concat(
        [table, pd.DataFrame(of_csfs), pd.DataFrame({"weight": _weights(strata, failure, chosen)})], axis=1
    )
    table = table.iloc[chosen].reset_index(drop=True)
    table = pd.concat([table, pd.DataFrame(embedding.coordinates, columns=list("xyz"))], axis=1)
    return Points(table, _note(embedding, len(sets), failure, chosen))


def curves_table(
    outputs: Mapping[str, Said],
    tables: Mapping[str, pd.DataFrame],
    scorers: Scorers,
    *,
    key: Key[Array, ""],
    num_resamples: int = 200,
    num_points: int = 100,
) -> pd.DataFrame:
    """Returns the risk-coverage curve of every csf on every test set, with its pointwise 95 % bootstrap band.

    Args:
        outputs: By test set: what one network says, or the networks of one seed.
        tables: By test set, a row an image: kind; further, where known, patient_id, by which it is resampled.
        scorers: The scores of these networks.
        key: Draws the resamples; all csfs share them.
        num_resamples: How many.
        num_points: Of a curve, at equal steps of coverage.
    """
    _check(outputs, tables)
    grid = np.arange(1, num_points + 1) / num_points
    verdicts = _verdicts(together(list(outputs.values())), scorers)
    start = 0
    parts = []
    for name, output in ((name, first_network(said)) for name, said in outputs.items()):
        table, n = tables[name], len(output)
        here = slice(start, start + n)
        start += n
        groups = patient_groups(table) if "patient_id" in table.columns else np.arange(n)
        # Padded images weigh nothing; sets of similar size share one compilation.
        padding = (0, -n % _PADDED_TO)
        weights = np.asarray(resample_weights(stream(key, name), groups, num_resamples))
        weights = np.pad(np.concatenate([np.ones((1, n), np.float32), weights]), [(0, 0), padding])
        for csf in scorers.csfs:
            score, failure = verdicts[csf].score[here], verdicts[csf].predicted[here] != np.asarray(output.labels)
            padded = (
                jnp.asarray(np.pad(score, padding)),
                jnp.asarray(np.pad(failure.astype(np.float32), padding)),
            )
            risk = np.asarray(_risks(*padded, jnp.asarray(weights), jnp.asarray(grid, jnp.float32)))
            low, high = np.quantile(risk[1:], _BAND, axis=0)
            part = {"coverage": grid, "selective_risk": risk[0], "low": low, "high": high}
            parts.append(pd.DataFrame({"csf": csf, "test_set": name, "kind": str(table["kind"].iloc[0]), **part}))
    return pd.concat(parts, ignore_index=True)


def _check(outputs: Mapping[str, Said], tables: Mapping[str, pd.DataFrame]) -> None:
    if not outputs or set(outputs) != set(tables):
        raise ValueError(
            f"Outputs and tables must be of the same test sets, at least one; got {', '.join(outputs) or 'none'} "
            f"and {', '.join(tables) or 'none'}."
        )
    for name, output in ((name, first_network(said)) for name, said in outputs.items()):
        if len(output) != len(tables[name]) or not len(output):
            raise ValueError(
                f"{name} has {len(output)} outputs and {len(tables[name])} rows; both must be equal, above 0."
            )


class _Verdict(NamedTuple):
    """What one csf says of n images."""

    score: Float[np.ndarray, " n"]
    predicted: Int[np.ndarray, " n"]
    probability: Float[np.ndarray, " n"] | None

    def confidence(self) -> Float[np.ndarray, " n"]:
        """Returns the probability of being right, or else the share of images with no higher score."""
        if self.probability is not None:
            return np.clip(self.probability.astype(np.float64), 0, 1)
        return pd.Series(self.score).rank(pct=True).to_numpy()


def _verdicts(outputs: Said, scorers: Scorers) -> dict[str, _Verdict]:
    said = evaluate(outputs, scorers)
    rows = zip(scorers.csfs, said.score, said.predicted, said.probability, strict=True)
    return {
        name: _Verdict(score, predicted, probability if scorers.has_probability(name) else None)
        for name, score, predicted, probability in rows
    }


def _sample(
    strata: Shaped[np.ndarray, " n"],
    failure: Bool[np.ndarray, " n"],
    first: Int[np.ndarray, " m"],
    size: int,
    seed: int,
) -> Int[np.ndarray, " s"]:
    """Returns sampled positions in order: those that come `first`, at most half of them, then a stratified sample."""
    n = len(strata)
    if n <= size:
        return np.arange(n)
    half = size // 2
    if len(first) > half:
        first = first[latent.stratified_sample(strata[first], half, seed)] if half else first[:0]
    others = np.setdiff1d(np.arange(n), first)
    drawn = latent.stratified_sample(strata[others], size - len(first), seed, keep=failure[others])
    return np.sort(np.concatenate([first, others[drawn]]))


@jax.jit
def _risks(
    score: Float[Array, " n"], loss: Float[Array, " n"], weights: Float[Array, "r n"], grid: Float[Array, " m"]
) -> Float[Array, "r m"]:
    """Returns the selective risk at the smallest reachable coverage of at least each in `grid`, for each weighting."""
    ordering = order_by_score(score)
    sorted_loss = loss[ordering.order]

    def risk(weight: Float[Array, " n"]) -> Float[Array, " m"]:
        curve = curve_of(ordering, sorted_loss, weight[ordering.order])
        place = jnp.searchsorted(curve.coverage, grid - 1e-6)
        return curve.selective_risk[jnp.minimum(place, curve.coverage.shape[0] - 1)]

    return jax.vmap(risk)(weights)


def _weights(
    strata: Shaped[np.ndarray, " n"], failure: Bool[np.ndarray, " n"], chosen: Int[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    """Returns how many images each one stands for: those of its test set, label and outcome over those sampled."""
    cell = np.unique(np.stack([np.unique(strata, return_inverse=True)[1], failure]), axis=1, return_inverse=True)[1]
    there, sampled = np.bincount(cell), np.bincount(cell[chosen], minlength=cell.max() + 1)
    return (there / np.maximum(sampled, 1))[cell]


def _note(embedding: latent.Embedding, n: int, failure: Bool[np.ndarray, " n"], chosen: Int[np.ndarray, " m"]) -> str:
    failures, shown = int(failure.sum()), int(failure[chosen].sum())
    which = (
        f"all {n} images" if len(chosen) == n else f"{len(chosen)} of {n} images with {shown} of {failures} failures"
    )
    method = "principal components" if embedding.method == "pca" else "PCA and t-SNE"
    quality = "" if np.isnan(embedding.trustworthiness) else f"; trustworthiness {embedding.trustworthiness:.3f} of 1"
    return f"Latent space: {which}, source and shifted images embedded together by {method}{quality}."
