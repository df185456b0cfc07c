"""Why confidence failed, by numbers: are classes apart, are domains apart, how much fails silently, does a csf see it.

Each number comes with the sentence that it implies. Read together they tell causes: classes that overlap among the
source's own images make failures near the border; a shifted set that lies apart can be seen by a csf that reads
features; one that cannot be told from the source and still fails, lies amid the wrong class, where every csf is sure.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from sfjax import latent
from sfjax.metrics import by_patient
from sfjax.metrics.by_patient import Measured
from sfjax.metrics.scored import SILENT_ABOVE
from sfjax.report.separation import NEIGHBORS, domain_auroc, neighbors_agree
from sfjax.report.tables import PLACED, check_outputs, features_of
from sfjax.study.evaluation import (
    ACCEPTED_OF_VALIDATION,
    Evaluated,
    Said,
    Scorers,
    evaluate,
    first_network,
    thresholds,
    together,
)
from sfjax.study.evidence import FEW_FAILURES
from sfjax.study.measures import ALL_DOMAINS
from sfjax.views.tables import SOURCE

COLUMNS: Final = ("sign", "test_set", "csf", "value", "low", "high", "text")
PCA_DIMENSIONS: Final = 50
LARGEST: Final = 5000
"""Of larger test sets, so many images are drawn for what is measured among features."""

HARDLY, EXCELLENT, OUTSTANDING = 0.7, 0.8, 0.9
"""What an AUROC below, or from there on, is called (Hosmer, Lemeshow and Sturdivant, Applied Logistic Regression, 2013,
section 5.2.4: 0.7 to 0.8 acceptable, to 0.9 excellent, above outstanding discrimination). Where not the whole interval
is there, it is called so perhaps."""
APART, MIXED = 0.8, 0.4
"""Of the way from guessing to being always right, in the mean over classes: from that on classes lie apart, below that
they overlap widely. These are bounds of agreement beyond chance (Landis and Koch, Biometrics 1977: above 0.8 almost
perfect, up to 0.4 fair)."""

_KINDS: Final = {True: "silent", False: "accepted"}
NO_THRESHOLD: Final = "Not known: this score has no probability, and no validation outputs were given for a threshold."


class _Images(NamedTuple):
    """One test set, as the features see it."""

    name: str
    kind: str
    components: Float[np.ndarray, "n k"]
    labels: Int[np.ndarray, " n"]
    owners: Int[np.ndarray, " n"]


def diagnose(
    outputs: Mapping[str, Said],
    tables: Mapping[str, pd.DataFrame],
    scorers: Scorers,
    *,
    validation: Said | None = None,
    summary: pd.DataFrame | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Returns the signs of why confidence failed, a row a sign, test set and csf, with the sentence that each implies.

    - Class separation: the share of images whose class is that of most of their 15 nearest i.i.d. images, among the
      first 50 principal components. The image itself, its other copies and its patient's images are no neighbors.
    - Domain separability: the AUROC of a logistic regression on those components that tells a test set from the i.i.d.
      one, cross-validated by patient. 0.5 is blind.
    - Silent failures: the share of images that are wrong with a probability of being right above 0.9; of a csf without
      a probability, accepted failures: wrong with a score that 80 % of the validation images exceed.
    - AUROC_f: the chance that a csf scores a success above a failure.

    The first two need features; without, they are left out. Intervals are of 95 %, by patient where patients are known.

    Args:
        outputs: By test set: what one network says, or the networks of one seed. One of them is i.i.d.
        tables: By test set, a row an image: kind; where known patient_id and image_id, which tell copies.
        scorers: The scores of these networks.
        validation: What the networks say of validation images, for accepted failures.
        summary: Results over networks, as a run has them; its AUROC_f stands instead of this network's, and where they
            are several, what is of this network says so, beside their mean.
        seed: Draws images of large sets, and folds.

    Raises:
        ValueError: Outputs and tables do not go together, or no test set is i.i.d.

    References:
        Ben-David et al., Analysis of representations for domain adaptation, NIPS 2006 (domain classifiers). Bungert,
        Kobelke and Jaeger, Understanding silent failures in medical image classification, MICCAI 2023.
    """
    check_outputs(outputs, tables)
    source = [name for name in outputs if str(tables[name]["kind"].iloc[0]) == SOURCE]
    if len(source) != 1:
        raise ValueError(
            f"A diagnosis holds every test set against the one of kind {SOURCE}; there are {len(source)} of those "
            f"among {', '.join(outputs)}. Give one."
        )
    rows: list[tuple] = []
    owners = _owners(tables, source[0])
    if all(first_network(said).features is not None for said in outputs.values()):
        images = _images(outputs, tables, owners, seed)
        rows += _class_separation(images[source[0]], list(images.values()))
        rows += _domains(images[source[0]], [one for one in images.values() if one.name != source[0]], seed)
    said = evaluate(together(list(outputs.values())), scorers)
    above = None if validation is None else thresholds(evaluate(validation, scorers))
    ends = np.cumsum([0, *(len(tables[name]) for name in outputs)])
    parts = {name: said.take(np.arange(ends[i], ends[i + 1])) for i, name in enumerate(outputs)}
    rows += _confident(parts, scorers, above, owners, summary)
    rows += _rankings(parts, scorers, owners, summary)
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def _owners(tables: Mapping[str, pd.DataFrame], source: str) -> dict[str, Int[np.ndarray, " _"]]:
    """Returns by test set one code a patient over all of them, or an image's own where the patient is not known."""
    keys: dict[str, list[object]] = {}
    for name, table in tables.items():
        # Corrupted images are the source's, in its order.
        copies = name == source or (str(table["kind"].iloc[0]) == PLACED and len(table) == len(tables[source]))
        own: list[object] = [("row", source if copies else name, i) for i in range(len(table))]
        for column in ("image_id", "patient_id"):
            if column in table.columns:
                text = table[column].astype(object).fillna("").astype(str)
                own = [(column, value) if value else one for value, one in zip(text, own, strict=True)]
        keys[name] = own
    flat = np.empty(sum(map(len, keys.values())), dtype=object)
    flat[:] = [key for own in keys.values() for key in own]
    codes = pd.factorize(flat)[0]
    return dict(zip(keys, np.split(codes, np.cumsum([len(own) for own in keys.values()])[:-1]), strict=True))


def _images(
    outputs: Mapping[str, Said], tables: Mapping[str, pd.DataFrame], owners: Mapping[str, np.ndarray], seed: int
) -> dict[str, _Images]:
    features = features_of(outputs).values
    ends = np.cumsum([0, *(len(tables[name]) for name in outputs)])
    kinds = {name: str(tables[name]["kind"].iloc[0]) for name in outputs}
    own = np.repeat([kind != PLACED for kind in kinds.values()], np.diff(ends))
    to_components = latent.fit_components(features[own], PCA_DIMENSIONS)
    found = {}
    for i, (name, kind) in enumerate(kinds.items()):
        n = ends[i + 1] - ends[i]
        # The same rows of sets of one length: copies of one image are all drawn or none.
        rows = np.sort(np.random.default_rng(seed).permutation(n)[:LARGEST])
        labels = np.asarray(first_network(outputs[name]).labels)[rows]
        found[name] = _Images(name, kind, to_components.of(features[ends[i] + rows]), labels, owners[name][rows])
    return found


def _class_separation(source: _Images, sets: list[_Images]) -> Iterator[tuple]:
    there = _known(source)

    def agree(one: _Images) -> Bool[np.ndarray, " n"]:
        return neighbors_agree(there.components, there.labels, there.owners, one.components, one.labels, one.owners)

    own = agree(there)
    for one in sets:
        some = _known(one)
        right = own if one is source else agree(some)
        found = by_patient.share(right, some.owners)
        says = _of_source(some, right) if one is source else _of_target(found, some.labels, there.labels, own)
        left_out = len(one.labels) - len(some.labels)
        without = f" {left_out} images of classes that the network does not know are left out." if left_out else ""
        said = (
            f"{_percent(found.value)} of the images have the class of most of their {NEIGHBORS} nearest i.i.d. images. "
        )
        said = said + says if len(some.labels) else "No image is of a class that the network knows."
        yield "Class separation", one.name, "", *found, said + without


def _known(one: _Images) -> _Images:
    """Returns the images of classes that the network knows."""
    rows = np.flatnonzero(one.labels >= 0)
    return one._replace(components=one.components[rows], labels=one.labels[rows], owners=one.owners[rows])


def _of_source(some: _Images, right: Bool[np.ndarray, " n"]) -> str:
    classes = np.unique(some.labels)
    if len(classes) < 2:
        return "With one class there is nothing to separate."
    # Of each class alike, or always guessing the commonest would pass for separation.
    shares = [by_patient.share(right[some.labels == one], some.owners[some.labels == one]) for one in classes]
    balanced, guessing = float(np.mean([share.value for share in shares])), 1 / len(classes)
    half = float(np.sqrt(np.sum([(share.high - share.low) ** 2 for share in shares]))) / 2 / len(classes)
    said = f"In the mean over classes it is {_percent(balanced)}, where guessing has {_percent(guessing)}: "
    if not balanced - half > guessing:
        return f"{said}that may be chance, and these features may not tell the classes apart, whatever the confidence."
    beyond = Measured(*((end - guessing) / (1 - guessing) for end in (balanced, balanced - half, balanced + half)))
    return said + _graded(
        beyond,
        (MIXED, "classes overlap widely, and failures are to be expected amid other classes, with any confidence."),
        (APART, "classes touch, and failures are to be expected at their border, with low confidence."),
        (np.inf, "classes lie apart, and failures are single images, not a border."),
    )


def _graded(found: Measured, *grades: tuple[float, str]) -> str:
    """Returns the words of the first grade that ends above the value: "perhaps" where the interval leaves the grade.

    Args:
        found: What is graded.
        grades: From the lowest: where each ends, and what it implies.
    """
    places = [next(i for i, (end, _) in enumerate(grades) if not value >= end) for value in found]
    words = grades[places[0]][1]
    return words if len(set(places)) == 1 else f"perhaps {words}"


def _of_target(
    found: Measured, labels: Int[np.ndarray, " n"], there: Int[np.ndarray, " m"], own: Bool[np.ndarray, " m"]
) -> str:
    """Returns how the agreement compares with that of i.i.d. images of the same classes, in the same shares."""
    classes, counts = np.unique(labels, return_counts=True)
    if not np.isin(classes, there).all():
        return "Some of their classes have no i.i.d. image to compare with."
    shares = counts / counts.sum()
    held = np.array([own[there == one].mean() for one in classes])
    sizes = np.array([(there == one).sum() for one in classes])
    expected = float(shares @ held)
    # Twice the standard error of the difference; the interval's ends are 3.92 of them apart.
    error = np.hypot((found.high - found.low) / 3.92, np.sqrt((shares**2 * held * (1 - held) / sizes).sum()))
    said = f"Of i.i.d. images of the same classes it is {_percent(expected)}: "
    if found.value < expected - 2 * error:
        more = _percent(expected - found.value).rstrip("%")
        return f"{said}{more} percentage points more lie amid another class, where a network can be sure and wrong."
    if found.value > expected + 2 * error:
        return f"{said}classes lie further apart than there."
    return f"{said}classes are where they were."


def _percent(value: float) -> str:
    return f"{value:.1%}" if 0 < value < 0.1 else f"{value:.0%}"


def _domains(source: _Images, targets: list[_Images], seed: int) -> Iterator[tuple]:
    for one in targets:
        target = np.repeat([False, True], [len(source.labels), len(one.labels)])
        found = domain_auroc(
            np.concatenate([source.components, one.components]),
            target,
            np.concatenate([source.owners, one.owners]),
            seed=seed,
        )
        yield "Domain separability", one.name, "", *found, _of_domains(found)


def _of_domains(found: Measured) -> str:
    if np.isnan(found.value):
        return "Too few patients on one side to tell whether the domains differ."
    said = f"A classifier tells these images from i.i.d. ones with AUROC {found.value:.2f}. "
    if not found.low > 0.5:
        return f"{said}They may be indistinguishable: no score that reads these features can see the shift."
    words = _graded(
        found,
        (HARDLY, "the shift is hardly visible in the features: scores that measure distance miss most of it."),
        (OUTSTANDING, "the shift is visible in the features, but many images lie among the i.i.d. ones."),
        (np.inf, "the images lie apart from the i.i.d. ones: a score that measures distance can see this shift."),
    )
    return f"{said}{words[0].upper()}{words[1:]}"


def _confident(
    parts: Mapping[str, Evaluated],
    scorers: Scorers,
    above: Float[np.ndarray, " s"] | None,
    owners: Mapping[str, np.ndarray],
    summary: pd.DataFrame | None,
) -> Iterator[tuple]:
    """Yields silent failures of csfs with a probability, and accepted failures of those without."""
    means = {silent: _over_networks(summary, f"{kind}_failure_rate") for silent, kind in _KINDS.items()}
    for silent, sign in ((True, "Silent failures"), (False, "Accepted failures")):
        for i, csf in enumerate(scorers.csfs):
            if scorers.has_probability(csf) is not silent:
                continue
            for name, part in parts.items():
                failure = part.predicted[i] != part.labels
                if silent:
                    event, what = failure & (part.probability[i] > SILENT_ABOVE), f"probability above {SILENT_ABOVE:g}"
                elif above is not None:
                    event = failure & (part.score[i] > above[i])
                    what = f"a score that is accepted, as those of {ACCEPTED_OF_VALIDATION:.0%} in validation are"
                else:
                    yield sign, name, csf, np.nan, np.nan, np.nan, NO_THRESHOLD
                    continue
                found = by_patient.share(event, owners[name])
                text = f"None of the {len(event)} images is wrong."
                if failure.any():
                    of_failures = _percent(event.sum() / failure.sum())
                    text = (
                        f"{int(event.sum())} of {len(event)} images are wrong with {what}: {_percent(found.value)} of "
                        f"all, and {of_failures} of the {int(failure.sum())} failures."
                    )
                if (name, csf) in means[silent] and (mean := means[silent][name, csf]).networks > 1:
                    text += (
                        f" That is the network shown; the mean over {mean.networks} networks is "
                        f"{_percent(mean.found.value)}."
                    )
                yield sign, name, csf, *found, text


def _rankings(
    parts: Mapping[str, Evaluated],
    scorers: Scorers,
    owners: Mapping[str, np.ndarray],
    summary: pd.DataFrame | None,
) -> Iterator[tuple]:
    """Yields how well each csf tells failures from successes: over networks from the summary, else of this network."""
    known = _over_networks(summary, "auroc_f")
    for i, csf in enumerate(scorers.csfs):
        for name, part in parts.items():
            failure = part.predicted[i] != part.labels
            if (name, csf) in known:
                found, networks = known[name, csf]
            else:
                found, networks = by_patient.auroc(part.score[i].astype(np.float64), ~failure, owners[name]), 1
            fewest = min(len(np.unique(owners[name][side])) for side in (failure, ~failure))
            yield "AUROC_f", name, csf, *found, _of_ranking(found, failure, fewest, networks)


class _OverNetworks(NamedTuple):
    """A mean over networks, and how many these are."""

    found: Measured
    networks: int


def _over_networks(summary: pd.DataFrame | None, metric: str) -> dict[tuple[str, str], _OverNetworks]:
    """Returns a metric of a summary by test set and csf."""
    if summary is None:
        return {}
    rows = summary[(summary["metric"] == metric) & (summary["domain"] == ALL_DOMAINS)]
    networks = rows["seeds"] if "seeds" in rows else [1] * len(rows)
    columns = zip(rows["test_set"], rows["csf"], rows["value"], rows["low"], rows["high"], networks, strict=True)
    return {
        (test_set, csf): _OverNetworks(Measured(value, low, high), int(n))
        for test_set, csf, value, low, high, n in columns
    }


def _of_ranking(found: Measured, failure: np.ndarray, fewest: int, networks: int = 1) -> str:
    if np.isnan(found.value):
        missing = "failure" if not failure.any() else "success" if failure.all() else "score for some images"
        return f"Not defined: there is no {missing}."
    over, of = (f", in the mean over {networks} networks", " of the network shown") if networks > 1 else ("", "")
    said = f"A success has a higher score than a failure with chance {found.value:.2f}{over}. "
    few = f" Only {fewest} patients have a failure{of}, or a success." if fewest < FEW_FAILURES else ""
    if found.high < 0.5:
        return f"{said}The score is turned round: failures look surer than successes.{few}"
    if not found.low > 0.5:
        return f"{said}That may be chance: the score does not tell failures from successes here.{few}"
    words = _graded(
        found,
        (HARDLY, "the score hardly tells failures from successes here."),
        (EXCELLENT, "the score finds part of the failures, and a threshold lets many through."),
        (np.inf, "the score tells most failures from successes here."),
    )
    return f"{said}{words[0].upper()}{words[1:]}{few}"
