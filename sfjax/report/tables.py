"""From outputs to the tables that views read: embedded images and risk-coverage curves.

Source and shifted images of a network are embedded together; corrupted images are placed among them.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int, Key

from sfjax import latent
from sfjax.data import patient_groups
from sfjax.keys import stream
from sfjax.metrics import resample_weights
from sfjax.metrics.ordering import order_by_score
from sfjax.metrics.risk_coverage import curve_of
from sfjax.outputs import Outputs
from sfjax.study.evaluation import Evaluated, FailureCosts, Said, Scorers, evaluate, first_network, together
from sfjax.views.tables import POINTS, SOURCE

GALLERY: Final = 12
"""Of each test set and csf, so many of the most confident failures are embedded whatever the sample is."""
PLACED: Final = "corruption"
"""The kind of test set whose images are placed into the embedding of the others."""
_KNOWN: Final = ("kind", "domain", "subclass", "label")
_OWN: Final = frozenset(POINTS) | {"row", "weight", "cluster", "representative"}
_OF_CSFS: Final = ("predicted_", "correct_", "confidence_", "rank_", "cost_")
_PADDED_TO: Final = 256
_BAND: Final = (0.025, 0.975)


class Points(NamedTuple):
    """The embedded images of a task.

    Attributes:
        table: What `TaskReport.points` wants; further `row`, the image's place in its test set, `weight`, how many
            images of its test set it stands for, and `rank_<csf>`, 1 for the surest of all images, which tells
            apart what the rounding of a probability does not; and `cost_<csf>`, where costs are known, what the
            prediction costs.
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
    placed: int = 500,
    seed: int = 0,
    network: str = "",
    shown: Sequence[str] = (),
    costs: FailureCosts | None = None,
    method: Literal["opentsne", "sklearn"] = "opentsne",
    num_jobs: int = 1,
    cache: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Points:
    """Returns a sample of the images of all test sets with what every csf says of them, embedded together.

    Failures fill up to about half of the sample, the most confident and the costliest ones first; the rest is
    stratified by test set and label. Confidences are those of `confidences`. Corrupted images, sampled likewise, take
    no part in the fit and are placed into it.

    Args:
        outputs: By test set, with features: what one network says, or the networks of one seed.
        tables: By test set, a row an image: kind, domain, subclass, label (a class name); level where it is corrupted.
            Of kind `corruption` are the sets that are placed.
        classes: Names of the classes that the outputs number.
        scorers: The scores of these networks.
        size: How many uncorrupted images at most.
        placed: How many corrupted images at most.
        seed: Of the samples, the clusters and the embedding.
        network: Which network's features these are, for the note and the embedding's id.
        shown: Further columns of the tables that may be seen, kept as text. Images, patients and files are named only
            if they are asked for here.
        costs: What failures cost, if known: a table's column loss_weight, 1 where there is none, weighs them.
        method: Of the embedding; scikit-learn cannot place, so that corrupted images join the fit.
        num_jobs: Processor cores.
        cache: Folder that keeps embeddings.
        progress: Called with (steps done, steps in all) of both fits.

    Raises:
        ValueError: The test sets differ, are of unequal length, have no features or no uncorrupted images, or no table
            has a column to show.
    """
    check_outputs(outputs, tables)
    first = {name: first_network(said) for name, said in outputs.items()}
    table = _about(first, tables, shown)
    features = features_of(outputs, network)
    names, labels = (
        np.asarray([str(name) for name in classes]),
        np.concatenate([np.asarray(one.labels) for one in first.values()]),
    )
    sets, fitted = table["test_set"].to_numpy(), table["placed"].to_numpy() == 0
    failure = np.zeros(len(table), dtype=bool)
    of_csfs: dict[str, np.ndarray] = {}
    most_confident = np.zeros(len(table), dtype=bool)
    for csf, verdict in verdicts_of(outputs, tables, scorers, costs).items():
        wrong = verdict.predicted != labels
        order = np.argsort(-verdict.score, kind="stable")
        of_csfs[f"predicted_{csf}"] = names[verdict.predicted]
        of_csfs[f"correct_{csf}"] = (~wrong).astype(np.int64)
        of_csfs[f"confidence_{csf}"] = verdict.confidence
        of_csfs[f"rank_{csf}"] = pd.Series(-verdict.score).rank(method="min").to_numpy(np.int64)
        failure |= wrong
        orders = [order]
        if verdict.cost is not None:
            of_csfs[f"cost_{csf}"] = verdict.cost
            orders.append(order[np.argsort(-verdict.cost[order], kind="stable")])
        for name in outputs:
            for one in orders:
                most_confident[one[wrong[one] & (sets[one] == name)][:GALLERY]] = True
    strata = (table["test_set"] + "\0" + table["label"]).to_numpy(dtype=str)
    drawn = []
    for rows, most in ((np.flatnonzero(fitted), size), (np.flatnonzero(~fitted), placed)):
        if len(rows) and most:
            first_rows = np.flatnonzero(most_confident[rows])
            drawn.append(rows[latent.sample_first(strata[rows], failure[rows], first_rows, most, seed)])
    chosen = np.concatenate(drawn)
    of_clusters = np.full(len(table), -1)
    of_clusters[fitted] = latent.feature_clusters(features.values[fitted], seed=seed)
    # All at once: sixty scores' columns, one by one, would each copy what is there.
    further = {"feature_cluster": of_clusters, "weight": latent.sample_weights(strata, failure, chosen)}
    table = pd.concat([table, pd.DataFrame(of_csfs), pd.DataFrame(further)], axis=1)
    later = np.flatnonzero(~fitted[chosen])
    embeddings = []
    for i, dimensions in enumerate((3, 2)):
        embeddings.append(
            latent.embed(
                features._replace(values=features.values[chosen][: len(chosen) - len(later)]),
                placed=features._replace(values=features.values[chosen][len(chosen) - len(later) :]),
                seed=seed,
                dimensions=dimensions,
                method=method,
                num_jobs=num_jobs,
                cache=cache,
                progress=None if progress is None else lambda done, total, i=i: progress(done + i * total, 2 * total),
            )
        )
    table = table.iloc[chosen].reset_index(drop=True)
    coordinates = [np.concatenate([one.coordinates, one.placed]) for one in embeddings]
    table = pd.concat([table, pd.DataFrame(np.concatenate(coordinates, axis=1), columns=list("xyzuv"))], axis=1)
    table["embedding"] = "-".join(one.id for one in embeddings)
    return Points(table, _note(embeddings, network, failure, fitted, chosen))


def cluster_images(
    outputs: Mapping[str, Said], tables: Mapping[str, pd.DataFrame], *, seed: int = 0
) -> dict[str, Int[np.ndarray, " _"]]:
    """Returns by uncorrupted test set the feature cluster of every image, as `points_table` numbers them.

    Args:
        outputs: By test set, with features.
        tables: By test set, a row an image: kind.
        seed: As of `points_table`.
    """
    check_outputs(outputs, tables)
    own = [name for name in outputs if str(tables[name]["kind"].iloc[0]) != PLACED]
    assigned = latent.feature_clusters(features_of({name: outputs[name] for name in own}).values, seed=seed)
    ends = np.cumsum([len(tables[name]) for name in own])[:-1]
    return dict(zip(own, np.split(assigned, ends), strict=True))


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
    check_outputs(outputs, tables)
    grid = np.arange(1, num_points + 1) / num_points
    verdicts = verdicts_of(outputs, tables, scorers)
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


def check_outputs(outputs: Mapping[str, Said], tables: Mapping[str, pd.DataFrame]) -> None:
    """Raises ValueError unless outputs and tables are of the same test sets, of equal length and not empty."""
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


def _about(outputs: Mapping[str, Outputs], tables: Mapping[str, pd.DataFrame], shown: Sequence[str]) -> pd.DataFrame:
    """Returns what is known of every image besides what csfs say."""
    shown = [column for column in shown if column not in _KNOWN]
    missing = [column for column in shown if not any(column in table.columns for table in tables.values())]
    taken = [column for column in shown if column in _OWN or column.startswith(_OF_CSFS)]
    if missing or taken:
        raise ValueError(
            f"Columns to show must be columns of a test set's table and not called like those of points; "
            f"{', '.join(missing + taken)} cannot be shown. The tables have "
            f"{', '.join(dict.fromkeys(column for table in tables.values() for column in table.columns))}."
        )
    parts = []
    for name, output in outputs.items():
        table = tables[name].reset_index(drop=True)
        level = table["level"].to_numpy(np.int64) if "level" in table.columns else np.zeros(len(table), np.int64)
        corrupted = (table["kind"] == PLACED).to_numpy()
        if (corrupted != (level > 0)).any():
            raise ValueError(
                f"The level of {name} must be 1 or more where its kind is {PLACED}, and 0 or left out elsewhere; got "
                f"kinds {', '.join(sorted(set(table['kind'])))} and levels {', '.join(map(str, np.unique(level)))}."
            )
        text = {column: _text(table, column) for column in (*_KNOWN, *shown)}
        own = {"row": np.arange(len(output)), "level": level, "placed": corrupted.astype(np.int64)}
        parts.append(pd.DataFrame({"test_set": name, **text, **own}))
    about = pd.concat(parts, ignore_index=True)
    if about["placed"].all():
        raise ValueError("All images are corrupted, and there is no embedding to place them in. Add uncorrupted ones.")
    about.insert(0, "id", np.arange(len(about)))
    return about


def _text(table: pd.DataFrame, column: str) -> pd.Series:
    return (
        table[column].astype(object).fillna("").astype(str) if column in table.columns else pd.Series("", table.index)
    )


def features_of(outputs: Mapping[str, Said], network: str = "") -> latent.Features:
    """Returns the features of the first network of all test sets, which are of one network or refused."""
    parts, lacking = [], []
    for name, said in outputs.items():
        features = first_network(said).features
        if features is None:
            lacking.append(name)
        else:
            method = "" if isinstance(said, Outputs) else next(iter(said))
            parts.append(latent.Features(np.asarray(features), " ".join(filter(None, [network, method]))))
    if lacking:
        raise ValueError(
            f"The outputs of {', '.join(lacking)} have no features to embed. "
            "Keep the penultimate layer in inference.run."
        )
    return latent.join(parts)


class Verdict(NamedTuple):
    """What one csf says of n images.

    Attributes:
        score: Higher is surer.
        predicted: The class that the score speaks of.
        confidence: As `confidences` defines it.
        cost: What its predictions cost; None where that is not known.
    """

    score: Float[np.ndarray, " n"]
    predicted: Int[np.ndarray, " n"]
    confidence: Float[np.ndarray, " n"]
    cost: Float[np.ndarray, " n"] | None


def verdicts_of(
    outputs: Mapping[str, Said],
    tables: Mapping[str, pd.DataFrame],
    scorers: Scorers,
    costs: FailureCosts | None = None,
) -> dict[str, Verdict]:
    """Returns by csf what it says of the images of all test sets, one set after the other.

    Args:
        outputs: By test set: what one network says, or the networks of one seed.
        tables: By test set, a row an image: kind. Confidences are held against the i.i.d. images; where there are none,
            against all uncorrupted ones, or else all.
        scorers: The scores of these networks.
        costs: What failures cost, if known.
    """
    said = evaluate(together(list(outputs.values())), scorers)
    kinds = np.concatenate([tables[name]["kind"].to_numpy(str) for name in outputs])
    known = (kinds == SOURCE, kinds != PLACED, np.ones(len(kinds), bool))
    reference = next(some for some in known if some.any())
    confidence = confidences(said, scorers, said.score[:, reference])
    cost: list[np.ndarray | None] = [None] * len(scorers.csfs)
    if costs is not None:
        labels = np.concatenate([tables[name]["label"].to_numpy(str) for name in outputs])
        weights = [tables[name].get("loss_weight", pd.Series(1.0, tables[name].index)) for name in outputs]
        cost = list(costs.of(labels, np.concatenate(weights).astype(np.float64), said))
    rows = zip(said.score, said.predicted, confidence, cost, strict=True)
    return {csf: Verdict(*row) for csf, row in zip(scorers.csfs, rows, strict=True)}


def confidences(said: Evaluated, scorers: Scorers, reference: Float[np.ndarray, "s m"]) -> Float[np.ndarray, "s n"]:
    """Returns how sure every csf is of every image, from 0 to 1: what all views show.

    It is the probability of being right where the csf has one, and else the share of the i.i.d. images with no higher
    score: the same image has the same confidence in every view, whatever else is shown beside it.

    Args:
        said: Of n images.
        scorers: Of these networks.
        reference: The scores of the i.i.d. images.
    """
    rows = []
    for csf, score, probability, against in zip(scorers.csfs, said.score, said.probability, reference, strict=True):
        if scorers.has_probability(csf):
            rows.append(np.clip(probability.astype(np.float64), 0, 1))
        else:
            share = np.searchsorted(np.sort(against), score, side="right") / len(against)
            rows.append(np.where(np.isnan(score), np.nan, share))
    return np.stack(rows)


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


def _note(
    embeddings: Sequence[latent.Embedding],
    network: str,
    failure: Bool[np.ndarray, " n"],
    fitted: Bool[np.ndarray, " n"],
    chosen: Int[np.ndarray, " m"],
) -> str:
    own = chosen[fitted[chosen]]
    n, later = int(fitted.sum()), len(chosen) - len(own)
    failures, shown = int(failure[fitted].sum()), int(failure[own].sum())
    which = f"all {n} images" if len(own) == n else f"{len(own)} of {n} images with {shown} of {failures} failures"
    one = embeddings[0]
    method = "principal components" if one.method == "pca" else f"PCA and t-SNE ({one.method})"
    of = f" of the features of {network}" if network else ""
    corrupted = ""
    if later:
        what = "in the same fit, as this method cannot place" if one.joined else "placed into that, after the fit"
        corrupted = f"; {later} of {len(fitted) - n} corrupted images {what}"
    measured = " and ".join(
        f"{each.quality.trustworthiness:.3f} and {each.quality.preservation:.2f} in {each.coordinates.shape[1]}-D"
        for each in embeddings
    )
    quality = (
        ""
        if np.isnan(one.quality).any()
        else f". Trustworthiness and share of the {latent.NEIGHBORS} nearest neighbors kept, of 1: {measured}"
    )
    return f"Latent space{of}: {which}, source and shifted images embedded together by {method}{corrupted}{quality}."
