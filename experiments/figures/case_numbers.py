"""What the case study says in numbers, counted from the outputs of every seed of a finished run.

Sets of images are told apart by where they come from: the i.i.d. ones, each acquisition by its domain, and diagnoses or
cells that training had none of, called `unseen`.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, UInt8

from sfjax import latent, study
from sfjax.data import patient_groups
from sfjax.metrics import by_patient
from sfjax.metrics.by_patient import Measured
from sfjax.outputs import Outputs, take
from sfjax.report.attributes import slice_attributes
from sfjax.report.diagnosis import PCA_DIMENSIONS
from sfjax.report.separation import domain_auroc, neighbors_agree
from sfjax.report.tables import cluster_images
from sfjax.study.evaluation import Scorers, evaluate, first_network, thresholds, together
from sfjax.study.tables import markdown

IID: Final = "i.i.d."
UNSEEN: Final = "unseen"
BOTH: Final = "both"
KINDS: Final = ("iid", "acquisition", "manifestation", "acquisition+manifestation")
TARGET: Final = 0.1
ABOVE: Final = (0.8, 0.9)
LUMA: Final = np.array([0.299, 0.587, 0.114])
FEW: Final = 10
"""Of fewer images nothing is compared."""


class Case(NamedTuple):
    """A finished run, image by image.

    Attributes:
        name: Of its task.
        images: A row an image that is not corrupted: `set`, `test_set`, `kind`, `label`, `subclass`, `owner` (one code
            a patient or lesion), `cluster`, what slices are made of, and the image's statistics.
        verdicts: A row a seed, csf and image: `predicted`, `wrong` and `accepted` (0 or 1), `probability`.
        components: By seed, the first principal components of the features, a row an image.
        outputs: By set, what the networks of the first seed say.
        scorers: The scores of these.
        summary: The run's results over seeds.
        guarantees: What became of its promises.
        slices: Its table of failure slices.
        points: Its latent space.
    """

    name: str
    images: pd.DataFrame
    verdicts: pd.DataFrame
    components: Mapping[int, Float[np.ndarray, "n k"]]
    outputs: Mapping[str, Mapping[str, Outputs]]
    scorers: Scorers
    summary: pd.DataFrame
    guarantees: pd.DataFrame
    slices: pd.DataFrame
    points: pd.DataFrame

    @property
    def sets(self) -> list[str]:
        """The sets of images, the i.i.d. one first."""
        names = list(dict.fromkeys(self.images["set"]))
        return [IID, *(name for name in names if name != IID)]

    @property
    def seeds(self) -> list[int]:
        """Those of the networks."""
        return list(self.components)


def read_case(run: Path, *, data: Path | None = None) -> Case:
    """Returns a finished run of one task on a manifest's images, which are decoded again.

    Args:
        run: Its folder.
        data: The folder that the manifest is in now, if it was moved.

    Raises:
        ValueError: The folder holds no finished run, or one of several tasks or without a report.
    """
    if not (run / "summary.parquet").exists():
        raise ValueError(f"{run} holds no finished run (no summary.parquet). Give a folder that the benchmark wrote.")
    config = study.config_from_json(json.loads((run / "config.json").read_text(encoding="utf-8"))["config"])
    if data is not None and config.data.manifest is not None:
        moved = dataclasses.replace(config.data, manifest=data / config.data.manifest.name)
        config = dataclasses.replace(config, data=moved)
    names = study.task_names(config)
    if len(names) != 1 or not (run / names[0] / "report" / "slices.parquet").exists():
        raise ValueError(f"{run} has the tasks {', '.join(names)}. Give a run of one task, with its report written.")
    (task,) = study.load_tasks(config, run, lambda name, done, n: None)
    tested = [one for one in task.test_sets if one.kind in KINDS]
    tables = {
        one.name: task.dataset.table.iloc[task.dataset.rows(one.split)].reset_index(drop=True).assign(kind=one.kind)
        for one in tested
    }
    pixels = np.concatenate([task.dataset.subset(one.split)[0] for one in tested])
    verdicts, components = [], {}
    images = pd.concat(tables.values(), ignore_index=True)
    images["set"] = [_set_of(kind, domain) for kind, domain in zip(images["kind"], images["domain"], strict=True)]
    first: dict[str, Any] = {}
    for seed in config.seeds:
        said = {one.name: task.said(config, seed, one.name) for one in tested}
        scorers = study.scorers_of(config, task, seed)
        whole = together(list(said.values()))
        verdicts.append(_verdicts(whole, task.said(config, seed, "val"), scorers, task.dataset.classes, seed))
        features = np.asarray(first_network(whole).features)
        components[seed] = latent.fit_components(features, PCA_DIMENSIONS).of(features)
        if not first:
            clusters = cluster_images(said, tables, seed=config.data_seed)
            attributes, _ = slice_attributes(tables, clusters)
            rows = {name: np.flatnonzero(images["set"] == name) for name in dict.fromkeys(images["set"])}
            outputs = {
                name: {method: take(one, some) for method, one in whole.items()}  # pyright: ignore
                for name, some in rows.items()
            }
            first = {"outputs": outputs, "scorers": scorers}
            images["cluster"] = np.concatenate([clusters[name] for name in tables])
            known = pd.concat(attributes.values(), ignore_index=True)
            images[[*known]] = known
    images["owner"] = patient_groups(images)
    return Case(
        name=task.name,
        images=pd.concat([images, image_statistics(pixels)], axis=1),
        verdicts=pd.concat(verdicts, ignore_index=True),
        components=components,
        summary=pd.read_parquet(run / "summary.parquet"),
        guarantees=pd.read_parquet(run / "guarantees.parquet"),
        slices=pd.read_parquet(task.folder / "report" / "slices.parquet"),
        points=pd.read_parquet(task.folder / "report" / "points.parquet"),
        **first,
    )


def _set_of(kind: str, domain: str) -> str:
    return {"iid": IID, "manifestation": UNSEEN, "acquisition+manifestation": BOTH}.get(kind, domain)


def _verdicts(whole: Any, validation: Any, scorers: Scorers, classes: Any, seed: int) -> pd.DataFrame:
    said, above = evaluate(whole, scorers), thresholds(evaluate(validation, scorers))
    parts = []
    for i, csf in enumerate(scorers.csfs):
        wrong = said.predicted[i] != said.labels
        part = {
            "image": np.arange(len(wrong)),
            "predicted": np.asarray(classes)[said.predicted[i]],
            "wrong": wrong.astype(int),
            "probability": said.probability[i],
            "score": said.score[i],
            "accepted": (said.score[i] > above[i]).astype(int),
        }
        parts.append(pd.DataFrame({"seed": seed, "csf": csf, **part}))
    return pd.concat(parts, ignore_index=True)


def image_statistics(images: UInt8[np.ndarray, "n h w 3"]) -> pd.DataFrame:
    """Returns simple statistics of RGB images, a row an image, in gray levels up to 255 if not said otherwise.

    - `red`, `green`, `blue`, `brightness` (luma): means over the image.
    - `contrast`: standard deviation of the luma.
    - `saturation`: mean of (largest - smallest channel) / largest channel, in percent.
    - `middle less corners`: mean luma of the middle half less that of the four corner eighths: above 0 a vignette, below
      0 a lesion or cell that is darker than what is around it.
    - `black`: percentage of pixels with a luma below 32, such as those of a border.
    - `sharpness`: mean absolute difference of the luma of neighboring pixels.
    """
    found = []
    for start in range(0, len(images), 256):
        rgb = images[start : start + 256].astype(np.float64)
        luma, (h, w) = rgb @ LUMA, images.shape[1:3]
        largest = rgb.max(axis=-1)
        across, down = np.abs(np.diff(luma, axis=2)), np.abs(np.diff(luma, axis=1))
        top, left = max(h // 8, 1), max(w // 8, 1)
        corners = [luma[:, rows, columns] for rows in (slice(top), slice(-top, None))
                   for columns in (slice(left), slice(-left, None))]  # fmt: skip
        middle = luma[:, h // 4 : h - h // 4, w // 4 : w - w // 4].mean(axis=(1, 2))
        found.append(
            pd.DataFrame(
                {
                    **{name: rgb[..., k].mean(axis=(1, 2)) for k, name in enumerate(("red", "green", "blue"))},
                    "brightness": luma.mean(axis=(1, 2)),
                    "contrast": luma.std(axis=(1, 2)),
                    "saturation": 100 * ((largest - rgb.min(axis=-1)) / np.maximum(largest, 1)).mean(axis=(1, 2)),
                    "middle less corners": middle - np.mean([corner.mean(axis=(1, 2)) for corner in corners], axis=0),
                    "black": 100 * (luma < 32).mean(axis=(1, 2)),
                    "sharpness": (across.mean(axis=(1, 2)) + down.mean(axis=(1, 2))) / 2,
                }
            )
        )
    return pd.concat(found, ignore_index=True)


STATISTICS: Final = tuple(image_statistics(np.zeros((1, 8, 8, 3), np.uint8)))


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
    counts = [
        [one, len(some), some["owner"].nunique(), ", ".join(f"{k} {v}" for k, v in some["label"].value_counts().items())]
        for one in case.sets for some in [images[images["set"] == one]]
    ]  # fmt: skip
    yield f"# {case.name}\n\nEach interval is of 95 %, by patient or lesion where it is known.\n"
    yield _section("Images", ["set", "images", "patients or lesions", "labels"], counts)
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
    yield _section(f"Where unseen failures are accepted ({csf})", *_where(case, csf, name))


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
    for (test_set, kind, domain, n), some in plain.groupby(["test_set", "kind", "domain", "n"], sort=False):
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
            rows.append([_set_of(str(kind), str(domain)), n, csf, *cells])
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
            near = neighbors_agree(values[source], labels[source], owners[source], values[own], labels[own], owners[own])
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
            right = said["wrong"].to_numpy() == 0
            both = iid | own
            cells = [f"{said.loc[own & right, 'probability'].mean():.2f}", f"{said.loc[own & ~right, 'probability'].mean():.2f}"]  # fmt: skip
            owners = case.images["owner"].to_numpy()
            lower = "–"
            if name != IID:
                lower = _measured(by_patient.auroc(said["score"].to_numpy(float)[both], iid[both], owners[both]))
            accepted = by_patient.share(said.loc[own, "accepted"].to_numpy() == 1, owners[own])
            rows.append([name, seed, f"{said.loc[own, 'probability'].mean():.2f}", *cells, lower, _measured(accepted)])
    head = ["set", "seed", "mean probability", "of the right", "of the wrong", "AUROC, i.i.d. above the set", "accepted"]
    return head, rows


def _promises(case: Case, csf: str) -> tuple[list[str], list[list[Any]]]:
    owners, rows = case.images["owner"].to_numpy(), []
    iid = case.guarantees[(case.guarantees["shift_kind"] == "iid") & (case.guarantees["target"] == TARGET)]
    for promise in iid[(iid["csf"] == csf) & (iid["loss"] == "failure")].itertuples():
        said = _of(case, int(str(promise.seed)), csf)
        if not promise.exists:
            rows.append([promise.kind, promise.seed, "", f"no threshold ({promise.calibration_images} images)", "", ""])
            continue
        accepted = said["score"].to_numpy() > np.float32(promise.threshold)
        wrong = said["wrong"].to_numpy() == 1
        for name in case.sets:
            own = (case.images["set"] == name).to_numpy()
            selective = by_patient.share(wrong[own & accepted], owners[own & accepted])
            generalized = by_patient.share((wrong & accepted)[own], owners[own])
            rows.append(
                [promise.kind, promise.seed, name, f"{accepted[own].mean():.2f}", _measured(selective), _measured(generalized)]
            )  # fmt: skip
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


def _where(case: Case, csf: str, name: str | None) -> tuple[list[str], list[list[Any]]]:
    images, rows = case.images, []
    unseen = (images["set"] == UNSEEN) & (images["label"] != name)
    columns = [column for column in _WHERE if column in images]
    for seed in case.seeds:
        said = _of(case, seed, csf)
        hit = (said["wrong"] * said["accepted"]).to_numpy() == 1
        for column in columns:
            for value, some in images[unseen].groupby(column):
                if len(some) >= FEW:
                    at = some.index.to_numpy()
                    found = by_patient.share(hit[at], some["owner"].to_numpy())
                    rows.append([seed, column, value or "not known", f"{int(hit[at].sum())} of {len(at)}", _measured(found)])  # fmt: skip
    return ["seed", "column", "value", "accepted failures", "share"], rows


_WHERE: Final = ("subclass", "domain", "cluster", "sex", "age_quarter", "localization", "dx_type")


def _of(case: Case, seed: int, csf: str) -> pd.DataFrame:
    chosen = case.verdicts[(case.verdicts["seed"] == seed) & (case.verdicts["csf"] == csf)]
    return chosen.reset_index(drop=True)
