"""Where the silent failures are: clusters of the latent space and values of attributes with surely more than the rest.

A slice is the images of a test set (or of all of them) for which an attribute has a value. Its silent failures are
those of the benchmark: failures with probability above 0.9, or, for a csf without a probability, with a score that 80 %
of the validation images exceed. Everything tried is in one family a csf, so that a false slice among those called
significant has a chance of 5 % at most.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from sfjax.data import patient_groups
from sfjax.metrics import holm
from sfjax.metrics.scored import SILENT_ABOVE
from sfjax.report.attributes import CLUSTER, NO_ATTRIBUTES, slice_attributes
from sfjax.report.slice_counts import slice_counts
from sfjax.report.tables import PLACED, cluster_images
from sfjax.study.evaluation import Evaluated, Said, Scorers, evaluate, first_network, thresholds, together
from sfjax.views.slices import ALL_SETS, SLICES

FEWEST_PATIENTS: Final = 10
"""A slice and its rest have so many patients at least. In a family of 100 against 2 % elsewhere, a slice of ten images
is found if four of them fail silently, one of a hundred if nine do."""
EXEMPLARS: Final = 6
LEVEL: Final = 0.05
ALSO_SHOWN: Final = 5
"""The table has so many slices a csf at least, if so many have more silent failures than their rest."""
SAME_IMAGES_AGAIN: Final = ("corruption", "prevalence")
"""Kinds of test sets that are made of another one's images; they are no part of all images."""
_MOST_OF: Final = 0.5
_LIFT: Final = 1.5


def failure_slices(
    outputs: Mapping[str, Said],
    tables: Mapping[str, pd.DataFrame],
    scorers: Scorers,
    *,
    validation: Said | None = None,
    clusters: Mapping[str, Int[np.ndarray, " _"]] | None = None,
    points: pd.DataFrame | None = None,
    level: float = LEVEL,
    seed: int = 0,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Returns the slices with surely more silent failures than the rest of their images, the surest first.

    Tried is every value of every attribute (`slice_attributes`) that `FEWEST_PATIENTS` have and as many have not,
    within each test set and over all of them; of attributes that select the same images the first stands for all. The
    test is Fisher's exact one, of one side: slices that are safer than the rest are not looked for. Where patients have
    several images, it is done on one image a patient, drawn `DRAWS` times, and p is twice the median, which is valid
    however the images of a patient and the draws depend on each other. Holm's adjustment is over all that was tried of
    a csf. The interval of a rate is Clopper and Pearson's, of as many images as the patients are worth.

    Slices that are not significant fill up to `ALSO_SHOWN` a csf.

    Args:
        outputs: By test set: what one network says, or the networks of one seed.
        tables: By test set, a row an image: kind, label, and any attribute; patient_id where it is known.
        scorers: The scores of these networks.
        validation: What the networks say of validation images; scores without a probability need it.
        clusters: By test set, the cluster of every image, -1 for none; those of the features if left out, and none
            where there are no features.
        points: The drawn points, with `test_set`, `row` and `id`, from which exemplars are taken.
        level: The chance of any false slice among the significant ones.
        seed: Of the draws and of k-means.
        columns: Attributes besides label, domain, subclass and cluster; None for all columns that name nobody.

    Returns:
        Columns `sfjax.views.slices.SLICES`; in `attrs`, `note` says what was tried. No row where no slice and its rest
        have as many patients as it takes.

    Raises:
        ValueError: Outputs and tables do not go together, or a score has neither probability nor threshold.

    References:
        Follmann, Proschan and Leifer, Multiple outputation, Biometrics 2003 (one image a patient, drawn repeatedly).
        Meinshausen, Meier and Bühlmann, p-Values for High-Dimensional Regression, JASA 2009 (twice the median: there
        the quantile of p-values at gamma = 1/2).
        Korn and Graubard, Confidence intervals for proportions with small expected number of positive counts, Survey
        Methodology 1998.
    """
    _check(outputs, tables, clusters)
    whole = together(list(outputs.values()))
    said = evaluate(whole, scorers)
    event = silent_failures(said, scorers, validation)
    if clusters is None:
        clusters = _clusters(outputs, tables, seed=seed)
    attributes, left_out = slice_attributes({name: tables[name] for name in outputs}, clusters, columns=columns)
    table = pd.concat([tables[name] for name in outputs], ignore_index=True)
    patients = patient_groups(table) if "patient_id" in table.columns else np.arange(len(table))
    kinds = np.repeat([str(tables[name]["kind"].iloc[0]) for name in outputs], [len(tables[name]) for name in outputs])
    about = pd.concat(list(attributes.values()), ignore_index=True)
    own = ~np.isin(kinds, SAME_IMAGES_AGAIN)
    rule = f"a slice and its rest have {FEWEST_PATIENTS} patients at least"
    tried = _try(event, about, own, patients, seed=seed)
    if tried is None:
        found = pd.DataFrame(columns=pd.Index(SLICES))
        found.attrs["note"] = f"No slice was tried for silent failures: {rule}, and none has as many."
        return found
    known = scorers.has_probability
    parts = [_of_csf(tried, i, csf, silent=known(csf), level=level) for i, csf in enumerate(scorers.csfs)]
    found = pd.concat(parts, ignore_index=True)
    exemplars = _exemplars(found, about, own, event, said, scorers, points)
    found = found.assign(slice=np.arange(len(found)), exemplars=exemplars)
    out = f" Columns that {NO_ATTRIBUTES} were left out: {', '.join(left_out)}." if left_out else ""
    count = len(tried.candidates)
    found.attrs["note"] = f"Up to {count} slices were tried a score ({rule}); p is adjusted for these (Holm).{out}"
    return found[[*SLICES, *(column for column in found.columns if column not in SLICES)]]


def silent_failures(said: Evaluated, scorers: Scorers, validation: Said | None = None) -> Bool[np.ndarray, "s n"]:
    """Returns which images fail silently by each csf, as `silent_failure_rate` and `accepted_failure_rate` count them.

    Args:
        said: Of the images.
        scorers: Of these networks.
        validation: What the networks say of validation images; scores without a probability need it.

    Raises:
        ValueError: A score has neither a probability nor a threshold.
    """
    known = [scorers.has_probability(csf) for csf in scorers.csfs]
    if validation is None and not all(known):
        lacking = [csf for csf, has in zip(scorers.csfs, known, strict=True) if not has]
        raise ValueError(
            f"{', '.join(lacking)} have no probability of being right, and which of their failures are accepted takes "
            "a threshold from validation images. Give `validation`, or calibrate the scores."
        )
    above = np.full(len(known), np.inf) if validation is None else thresholds(evaluate(validation, scorers))
    sure = np.where(np.array(known)[:, None], said.probability > SILENT_ABOVE, said.score > above[:, None])
    return (said.predicted != said.labels) & sure


def _clusters(
    outputs: Mapping[str, Said], tables: Mapping[str, pd.DataFrame], *, seed: int
) -> Mapping[str, Int[np.ndarray, " _"]] | None:
    """Returns by test set the cluster of every image, -1 in corrupted sets, as in the table of points."""
    if any(first_network(said).features is None for said in outputs.values()):
        return None
    found = {}
    if any(str(tables[name]["kind"].iloc[0]) != PLACED for name in outputs):
        found = cluster_images(outputs, tables, seed=seed)
    return {name: found.get(name, np.full(len(tables[name]), -1)) for name in outputs}


class _Tried(NamedTuple):
    """All candidates, a row each, and what was counted in them, a row a csf."""

    candidates: pd.DataFrame
    failures: Int[np.ndarray, "s k"]
    rest_failures: Int[np.ndarray, "s k"]
    low: Float[np.ndarray, "s k"]
    high: Float[np.ndarray, "s k"]
    p: Float[np.ndarray, "s k"]


def _try(
    event: Bool[np.ndarray, "s n"],
    about: pd.DataFrame,
    own: Bool[np.ndarray, " n"],
    patients: Int[np.ndarray, " n"],
    *,
    seed: int,
) -> _Tried | None:
    """Returns the test of every candidate of every test set and of all images; None where there is no candidate."""
    names = about["test_set"].to_numpy(str)
    sets = list(dict.fromkeys(names.tolist()))
    scopes = [(name, np.flatnonzero(names == name)) for name in sets]
    if len(set(names[own].tolist())) > 1:
        scopes.insert(0, (ALL_SETS, np.flatnonzero(own)))
    rng = np.random.default_rng(seed)
    parts, counts = [], []
    for scope, rows in scopes:
        candidates, member = _candidates(scope, about.iloc[rows].reset_index(drop=True), patients[rows])
        if not len(candidates):
            continue
        parts.append(candidates)
        counts.append(slice_counts(event[:, rows], member, patients[rows], rng))
    if not parts:
        return None
    return _Tried(pd.concat(parts, ignore_index=True), *(np.concatenate(one, axis=1) for one in zip(*counts)))


def _candidates(
    scope: str, about: pd.DataFrame, patients: Int[np.ndarray, " n"]
) -> tuple[pd.DataFrame, Float[np.ndarray, "n k"]]:
    """Returns the candidates of a scope and which images are in each; the same images come once."""
    rows: list[dict[str, str]] = []
    members: list[np.ndarray] = []
    seen: dict[bytes, int] = {}
    owner = np.unique(patients, return_inverse=True)[1]
    for column in about.columns:
        if column == "test_set" and scope != ALL_SETS:
            continue
        codes, values = pd.factorize(about[column], sort=True)
        for code, value in enumerate(values.tolist()):
            inside = codes == code
            have = min(int(np.count_nonzero(np.bincount(owner[rows]))) for rows in (inside, ~inside))
            if not value or have < FEWEST_PATIENTS:
                continue
            place = seen.setdefault(np.packbits(inside).tobytes(), len(rows))
            if place < len(rows):
                rows[place]["same"] += f", {column} = {value}"
                continue
            rows.append({"test_set": scope, "attribute": column, "value": value, "same": ""})
            members.append(inside)
    if not rows:
        return pd.DataFrame(), np.zeros((len(about), 0), np.float32)
    member = np.stack(members, axis=1).astype(np.float32)
    table = pd.DataFrame(rows).assign(n=member.sum(axis=0).astype(np.int64), images=len(about))
    return table.assign(words=_words(table, member)), member


def _words(candidates: pd.DataFrame, member: Float[np.ndarray, "n k"]) -> list[str]:
    """Returns of each cluster what describes it: values of most of its images that are rarer among all images."""
    attribute, value = candidates["attribute"].to_numpy(str), candidates["value"].to_numpy(str)
    named = np.flatnonzero(attribute != CLUSTER)
    words = ["" for _ in attribute]
    for place in np.flatnonzero(attribute == CLUSTER):
        inside = member[:, place] == 1
        share, usual = (member[rows][:, named].mean(axis=0, dtype=np.float64) for rows in (inside, slice(None)))
        lift = share / usual
        told: dict[str, str] = {}
        for i in np.argsort(-lift, kind="stable"):
            if share[i] >= _MOST_OF and lift[i] >= _LIFT and attribute[named[i]] not in told:
                shares = f"{_percent(float(share[i]))} of it, {_percent(float(usual[i]))} of all"
                told[attribute[named[i]]] = f"{attribute[named[i]]} = {value[named[i]]} ({shares})"
        words[place] = ", ".join(list(told.values())[:2])
    return words


def _of_csf(tried: _Tried, csf: int, name: str, *, silent: bool, level: float) -> pd.DataFrame:
    """Returns the slices of one csf with more silent failures than the rest, ranked."""
    failures, rest = tried.failures[csf], tried.rest_failures[csf]
    n = tried.candidates["n"].to_numpy()
    outside = tried.candidates["images"].to_numpy() - n
    # Where nothing fails silently there is nothing to find, and nothing is tried.
    p = np.where(failures + rest > 0, tried.p[csf], np.nan)
    table = tried.candidates.drop(columns="images").assign(
        csf=name,
        failures=failures,
        rate=failures / n,
        rest_rate=rest / outside,
        low=tried.low[csf],
        high=tried.high[csf],
        p=p,
        p_adjusted=holm(p),
        tried=int(np.isfinite(p).sum()),
    )
    table = table.assign(significant=(table["p_adjusted"] <= level).astype(np.int64))
    table = table[table["rate"] > table["rest_rate"]].sort_values(["p_adjusted", "p", "n"], kind="stable")
    shown = table.head(max(int(table["significant"].sum()), ALSO_SHOWN))
    what = "silent failures" if silent else "accepted failures"
    return shown.assign(text=[_sentence(row, what) for row in shown.itertuples()]).reset_index(drop=True)


def _sentence(row: tuple, what: str) -> str:
    one = row._asdict()  # pyright: ignore[reportAttributeAccessIssue]
    where = "" if one["test_set"] == ALL_SETS else f"in {one['test_set']}, "
    name = f"cluster {one['value']}" if one["attribute"] == CLUSTER else f"{one['attribute']} = {one['value']}"
    mostly = f", mostly {one['words']}" if one["words"] else ""
    same = f" (the same images as{one['same'][1:]})" if one["same"] else ""
    chance = "" if one["significant"] else "; may be chance"
    return (
        f"{where}{name}{mostly}{same}: {one['failures']} of {one['n']} are {what}, {_percent(one['rate'])}; "
        f"elsewhere {_percent(one['rest_rate'])}{chance}"
    )


def _exemplars(
    found: pd.DataFrame,
    about: pd.DataFrame,
    own: Bool[np.ndarray, " n"],
    event: Bool[np.ndarray, "s n"],
    said: Evaluated,
    scorers: Scorers,
    points: pd.DataFrame | None,
) -> list[str]:
    """Returns of each slice the ids of its most confident silent failures among the drawn points."""
    if points is None:
        return [""] * len(found)
    names = about["test_set"].to_numpy(str)
    ids = dict(zip(zip(points["test_set"], points["row"], strict=True), points["id"], strict=True))
    row = np.zeros(len(names), np.int64)
    for name in dict.fromkeys(names.tolist()):
        row[names == name] = np.arange((names == name).sum())
    drawn = np.array([ids.get(place, -1) for place in zip(names.tolist(), row.tolist(), strict=True)])
    csfs = {csf: i for i, csf in enumerate(scorers.csfs)}
    order = {csf: np.argsort(-said.score[i], kind="stable") for csf, i in csfs.items()}
    texts = []
    for test_set, attribute, value, csf in found[["test_set", "attribute", "value", "csf"]].itertuples(index=False):
        inside = (about[attribute].to_numpy(str) == value) & event[csfs[csf]] & (drawn >= 0)
        inside &= own if test_set == ALL_SETS else names == test_set
        chosen = order[csf][inside[order[csf]]][:EXEMPLARS]
        texts.append(" ".join(map(str, drawn[chosen].tolist())))
    return texts


def _percent(share: float) -> str:
    """Returns a share in percent, with a decimal where it is small."""
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.1f} %"


def _check(
    outputs: Mapping[str, Said],
    tables: Mapping[str, pd.DataFrame],
    clusters: Mapping[str, Int[np.ndarray, " _"]] | None,
) -> None:
    if not outputs or not set(outputs) <= set(tables):
        raise ValueError(
            f"Outputs and tables must be of the same test sets, at least one; got {', '.join(outputs) or 'none'} "
            f"and {', '.join(tables) or 'none'}."
        )
    for name, said in outputs.items():
        n, rows = len(first_network(said)), len(tables[name])
        if n != rows or not n:
            raise ValueError(f"{name} has {n} outputs and {rows} rows; both must be equal, above 0.")
        if "kind" not in tables[name].columns:
            raise ValueError(f"The table of {name} has no column kind. Say which kind of test set it is.")
        assigned = n if clusters is None else len(clusters.get(name, ()))
        if assigned != n:
            raise ValueError(f"{name} has {n} images and clusters of {assigned}. Give the cluster of every image.")
