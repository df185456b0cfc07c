"""What the case study says in numbers, counted from the outputs of every seed of a finished run."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pandas as pd
from jaxtyping import Bool

from experiments.figures.case_run import IID, KINDS, STATISTICS, UNSEEN, Case, set_of
from sfjax.metrics import by_patient
from sfjax.metrics.by_patient import Measured
from sfjax.report.separation import domain_auroc, neighbors_agree
from sfjax.study.tables import markdown

TARGET: Final = 0.1
ABOVE: Final = (0.8, 0.9)
FEW: Final = 10
"""Of fewer images nothing is compared."""


def commonest(case: Case) -> str:
    """Returns the subclass that most i.i.d. images have: what is compared within it is not a matter of the mixture."""
    return str(case.images.loc[case.images["set"] == IID, "subclass"].mode()[0])


def told_apart(case: Case) -> pd.DataFrame:
    """Returns how well each statistic alone tells a set's images from the i.i.d. ones, a row a set, mixture, statistic.

    Columns `set`, `of` (all, or the commonest subclass), `statistic`, `iid` and `mean` (of the images), `value`, `low`,
    `high`: the AUROC, above 0.5 where the set has the larger values.
    """
    rows = []
    for of in ("all", commonest(case)):
        images = case.images if of == "all" else case.images[case.images["subclass"] == of]
        for name in case.sets[1:]:
            target, both = images["set"] == name, images["set"].isin([IID, name]).to_numpy()
            if target.sum() < FEW:
                continue
            there, positive = images[both], target[both].to_numpy()
            for statistic in STATISTICS:
                values = there[statistic].to_numpy()
                found = by_patient.auroc(values, positive, there["owner"].to_numpy())
                rows.append((name, of, statistic, values[~positive].mean(), values[positive].mean(), *found))
    return pd.DataFrame(rows, columns=pd.Index(["set", "of", "statistic", "iid", "mean", "value", "low", "high"]))


def called(case: Case, name: str | None, *, csfs: tuple[str, ...] = ("msr",)) -> pd.DataFrame:
    """Returns how many images of each subclass are called a class, or fail, with how much confidence.

    A row a seed, csf, set, subclass and label, and rule: `any`, `> 0.8` and `> 0.9` (probability of being right), or
    `accepted`; with `count`, `n` and the share (`value`, `low`, `high`: by patient or lesion).

    Args:
        case: The run.
        name: The class; None counts failures.
        csfs: Of these scores.
    """
    rows = []
    chosen = case.verdicts[case.verdicts["csf"].isin(csfs)]
    for (seed, csf), said in chosen.groupby(["seed", "csf"], sort=False):
        event = said["wrong"].to_numpy() == 1 if name is None else said["predicted"].to_numpy() == name
        rules = {"any": np.ones(len(said), bool)}
        rules |= {f"> {above:g}": said["probability"].to_numpy() > above for above in ABOVE}
        rules["accepted"] = said["accepted"].to_numpy() == 1
        for keys, some in case.images.groupby(["set", "subclass", "label"], sort=True):
            at = some.index.to_numpy()
            for rule, sure in rules.items():
                hits = (event & sure)[at]
                found = by_patient.share(hits, some["owner"].to_numpy())
                rows.append((seed, csf, *keys, rule, int(hits.sum()), len(hits), *found))
    columns = ["seed", "csf", "set", "subclass", "label", "rule", "count", "n", "value", "low", "high"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def texts(case: Case, csf: str, name: str | None) -> Iterator[str]:
    """Yields the numbers of a run as Markdown, a section each.

    Args:
        case: The run.
        csf: The score that is looked at closely.
        name: The class that images are called; None counts failures.
    """
    images, seeds = case.images, case.seeds
    counts = []
    for one in case.sets:
        some = images[images["set"] == one]
        labels = ", ".join(f"{label} {count}" for label, count in some["label"].value_counts().items())
        counts.append([one, len(some), some["owner"].nunique(), labels])
    yield f"# {case.name}\n\nEach interval is of 95 %, by patient or lesion where it is known.\n"
    yield _section("Images", ["set", "images", "patients or lesions", "labels"], counts)
    splits = ", ".join(f"{name} {count}" for name, count in case.splits.items())
    yield f"Splits: {splits}. Patients or lesions both tested and learned from: {case.overlap}.\n"
    yield _section("Results, mean over seeds [interval] (lowest and highest seed)", *_results(case))
    yield _section(
        "AUROC of telling a set from the i.i.d. images; class separation (kNN) of the set", *_separability(case)
    )
    apart = told_apart(case)
    rows = [
        [r.set, r.of, r.statistic, f"{r.iid:.2f}", f"{r.mean:.2f}", _measured(r)] for r in apart.itertuples()
    ]  # fmt: skip
    yield _section("Statistics of the images", ["set", "of", "statistic", "i.i.d. mean", "mean", "AUROC"], rows)
    yield _section(f"Confidence ({csf})", *_confidence(case, csf))
    yield _section(f"Promises of {TARGET:.0%} failures, on each set", *_promises(case, csf))
    yield _section(f"Clusters of the features, seed {seeds[0]}: share of each set", *_clusters(case))
    for event in dict.fromkeys((name, None)):
        what = "failures" if event is None else f"called {event}"
        found = called(case, event, csfs=(csf,))
        rows = [
            [seed, *keys, some["n"].iloc[0], *(_counted(r) for r in some.itertuples())]
            for (seed, *keys), some in found.groupby(["seed", "set", "subclass", "label"], sort=False)
        ]
        head = ["seed", "set", "subclass", "label", "n", "any", *(f"> {a:g}" for a in ABOVE), "accepted"]
        yield _section(f"{what.capitalize()}, {csf}", head, rows)
    yield _section("Wrong and sure, by score", *_by_score(case))
    yield _section(f"Where failures are accepted ({csf})", *_where(case, csf, name))
    yield _section(f"Slices with more silent failures than the rest ({csf})", *_slices(uncorrupted_slices(case, csf)))


def _section(title: str, head: list[str], rows: list[list[Any]]) -> str:
    return f"## {title}\n\n{markdown(head, [[str(cell) for cell in row] for row in rows])}\n"


def _measured(found: Any, digits: int = 2) -> str:
    if np.isnan(found.value):
        return "–"
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _counted(found: Any) -> str:
    return f"{found.count} ({100 * found.value:.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}])"


def _results(case: Case) -> tuple[list[str], list[list[Any]]]:
    shown = ("accuracy", "balanced_accuracy", "auroc_f", "silent_failure_rate", "accepted_failure_rate")
    plain = case.summary[case.summary["level"] == 0]
    rows = []
    for (_, kind, domain, n), some in plain.groupby(["test_set", "kind", "domain", "n"], sort=False):
        if kind not in KINDS or (domain == "all") == (kind == "acquisition"):
            continue  # a domain of its own is a set only where it is what shifted
        for csf in dict.fromkeys(some["csf"]):
            own = some[some["csf"] == csf].set_index("metric")
            cells = [
                f"{_measured(own.loc[metric], 3)} ({own.loc[metric, 'lowest_seed']:.3f}, "
                f"{own.loc[metric, 'highest_seed']:.3f})"
                if metric in own.index and np.isfinite(own.loc[metric, "value"])
                else "–"
                for metric in shown
            ]  # fmt: skip
            rows.append([set_of(str(kind), str(domain)), n, csf, *cells])
    return ["set", "n", "csf", *shown], rows


def _separability(case: Case) -> tuple[list[str], list[list[Any]]]:
    images, rows = case.images, []
    statistics = images[list(STATISTICS)].to_numpy(float)
    labels, owners = pd.factorize(images["label"])[0], images["owner"].to_numpy()
    source = np.flatnonzero(images["set"] == IID)
    same = (images["subclass"] == commonest(case)).to_numpy()
    for name in case.sets:
        own = np.flatnonzero(images["set"] == name)

        def apart(values: np.ndarray, keep: Bool[np.ndarray, " n"], own: np.ndarray = own) -> Measured:
            at = np.concatenate([source, own])
            at = at[keep[at]]
            return domain_auroc(values[at], np.isin(at, own), owners[at], seed=0)

        for seed, values in case.components.items():
            near = neighbors_agree(
                values[source], labels[source], owners[source], values[own], labels[own], owners[own]
            )
            balanced = np.mean([near[labels[own] == one].mean() for one in np.unique(labels[own])])
            cells = ["–"] * 3
            if name != IID:
                everything = np.ones(len(images), bool)
                cells = [_measured(apart(values, everything)), "–", _measured(apart(statistics, everything))]
                if same[own].sum() >= FEW:
                    cells[1] = _measured(apart(values, same))
            rows.append([name, seed, *cells, _measured(by_patient.share(near, owners[own])), f"{balanced:.2f}"])
    head = ["set", "seed", "features", f"features, {commonest(case)} alone", f"the {len(STATISTICS)} statistics alone"]
    return [*head, "kNN agrees", "mean over classes"], rows


def _confidence(case: Case, csf: str) -> tuple[list[str], list[list[Any]]]:
    rows = []
    for seed in case.seeds:
        said = _of(case, seed, csf)
        iid = (case.images["set"] == IID).to_numpy()
        for name in case.sets:
            own = (case.images["set"] == name).to_numpy()
            right, both = said["wrong"].to_numpy() == 0, iid | own
            means = [f"{said.loc[some, 'probability'].mean():.2f}" for some in (own, own & right, own & ~right)]
            owners = case.images["owner"].to_numpy()
            lower = "–"
            if name != IID:
                lower = _measured(by_patient.auroc(said["score"].to_numpy(float)[both], iid[both], owners[both]))
            accepted = by_patient.share(said.loc[own, "accepted"].to_numpy() == 1, owners[own])
            rows.append([name, seed, *means, lower, _measured(accepted)])
    head = [
        "set",
        "seed",
        "mean probability",
        "of the right",
        "of the wrong",
        "AUROC, i.i.d. above the set",
        "accepted",
    ]
    return head, rows


def _promises(case: Case, csf: str) -> tuple[list[str], list[list[Any]]]:
    owners, rows = case.images["owner"].to_numpy(), []
    iid = case.guarantees[(case.guarantees["shift_kind"] == "iid") & (case.guarantees["target"] == TARGET)]
    for promise in iid[(iid["csf"] == csf) & (iid["loss"] == "failure")].itertuples():
        said = _of(case, int(str(promise.seed)), csf)
        if not promise.exists:
            rows.append([promise.kind, promise.seed, "", f"no threshold ({promise.calibration_images} images)", "", ""])
            continue
        accepted = said["score"].to_numpy() > np.float32(str(promise.threshold))
        wrong = said["wrong"].to_numpy() == 1
        for name in case.sets:
            own = (case.images["set"] == name).to_numpy()
            selective = by_patient.share(wrong[own & accepted], owners[own & accepted])
            generalized = by_patient.share((wrong & accepted)[own], owners[own])
            cells = [f"{accepted[own].mean():.2f}", _measured(selective), _measured(generalized)]
            rows.append([promise.kind, promise.seed, name, *cells])
    return ["promise", "seed", "set", "coverage", "wrong of the accepted", "wrong and accepted, of all"], rows


def _clusters(case: Case) -> tuple[list[str], list[list[Any]]]:
    wrong = _of(case, case.seeds[0], next(iter(dict.fromkeys(case.verdicts["csf"]))))["wrong"].to_numpy()
    rows = []
    for cluster, some in case.images.groupby("cluster"):
        shares = [
            f"{100 * (some['set'] == name).sum() / (case.images['set'] == name).sum():.0f} %" for name in case.sets
        ]
        rows.append([cluster, len(some), *shares, f"{100 * wrong[some.index.to_numpy()].mean():.0f} %"])
    return ["cluster", "images", *case.sets, "wrong"], rows


def _by_score(case: Case) -> tuple[list[str], list[list[Any]]]:
    """The seen classes' failures beside the unseen ones', of each score."""
    csfs = tuple(dict.fromkeys(case.verdicts["csf"]))
    found = called(case, None, csfs=csfs)
    chosen = found[found["set"].isin([IID, UNSEEN])]
    rows = [
        [csf, seed, *keys, some["n"].iloc[0], *(_counted(r) for r in some.itertuples())]
        for (csf, seed, *keys), some in chosen.groupby(["csf", "seed", "set", "subclass", "label"], sort=False)
        if some["count"].iloc[0] >= FEW
    ]
    return ["csf", "seed", "set", "subclass", "label", "n", "any", *(f"> {a:g}" for a in ABOVE), "accepted"], rows


def uncorrupted_slices(case: Case, csf: str) -> pd.DataFrame:
    """Returns the failure slices of a score among images that are not corrupted."""
    shown = case.slices["test_set"].isin([*case.images["test_set"].unique(), "all"])
    return case.slices[(case.slices["csf"] == csf) & shown].reset_index(drop=True)


def _slices(slices: pd.DataFrame) -> tuple[list[str], list[list[Any]]]:
    rows = []
    for one in slices.itertuples():
        rate = f"{one.rate:.3f} [{one.low:.3f}, {one.high:.3f}]"
        silent = f"{one.failures} of {one.n}"
        rows.append(
            [one.test_set, one.attribute, one.value, silent, rate, f"{one.rest_rate:.3f}", f"{one.p_adjusted:.2g}"]
        )
    head = ["test set", "column", "value", "silent", "rate", "of the rest", "p, adjusted"]
    return head, rows


def _where(case: Case, csf: str, name: str | None) -> tuple[list[str], list[list[Any]]]:
    """Of images that are not of the named class: which fail and are accepted, by what tells them apart."""
    rows = []
    images = case.images.assign(origin=case.images["subclass"] + " of " + case.images["domain"])
    columns = [column for column in _WHERE if column in images]
    for chosen in (UNSEEN, IID):
        own = images[(images["set"] == chosen) & (images["label"] != name)]
        for seed in case.seeds:
            said = _of(case, seed, csf)
            hit = (said["wrong"] * said["accepted"]).to_numpy() == 1
            # Of seen diagnoses only their origin, to hold the unseen ones against.
            for column in columns if chosen == UNSEEN else ("origin",):
                for value, some in own.groupby(column):
                    at = some.index.to_numpy()
                    found = by_patient.share(hit[at], some["owner"].to_numpy())
                    count = f"{int(hit[at].sum())} of {len(at)}"
                    shown = "not known" if value == "" else value
                    rows.append([chosen, seed, column, shown, count, _measured(found)])
    return ["set", "seed", "column", "value", "accepted failures", "share"], rows


_WHERE: Final = ("origin", "cluster", "sex", "age_quarter", "localization", "dx_type")


def _of(case: Case, seed: int, csf: str) -> pd.DataFrame:
    chosen = case.verdicts[(case.verdicts["seed"] == seed) & (case.verdicts["csf"] == csf)]
    return chosen.reset_index(drop=True)
