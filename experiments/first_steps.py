"""First steps: three short studies of silent failures, to be run, looked at and read from top to bottom.

    python -m experiments.first_steps [hidden_shift | corruption | confident_failures | all]

(a) `hidden_shift`: a test set holds images of a clinic that training never saw, and nobody says so. Clusters of the
    latent space, and a test of where the silent failures are, bring it to light.
(b) `corruption`: which confidence scores notice that images become noisy?
(c) `confident_failures`: the failures that the softmax was surest of, and what they have in common.

The images are drawn (phantoms of dermoscopy, benign or malignant), so that nothing is downloaded and the cause of every
failure is known. One small network serves all three; with everything it takes about a minute on two CPU cores, of which
half is compilation. Charts are written as SVG, for papers, and as HTML, which opens offline in any browser.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import tyro

from experiments.compilation import use_compilation_cache
from sfjax import inference, keys, metrics, report, shifts, views
from sfjax.data import Dataset, dataset_from_arrays, patient_groups
from sfjax.models import MODELS, Classifier, Variables
from sfjax.outputs import Outputs
from sfjax.phantoms import generate
from sfjax.study import TestSet
from sfjax.study.evaluation import Scorers, evaluate, learn
from sfjax.study.tasks import displayable
from sfjax.training import METHODS, Labelled, Recipe, begin, initial_variables, train

CSFS: Final = ("msr", "energy", "mcd_mi")
"""The largest softmax probability; the energy of the logits; what the passes of Monte Carlo dropout disagree on."""
NOISE: Final = "gaussian_noise"
SHOWN: Final = ("id", "test_set", "subclass", "label", "predicted_msr", "confidence_msr")


@dataclass(frozen=True)
class Arguments:
    """What the command line says.

    Attributes:
        study: hidden_shift (a), corruption (b), confident_failures (c), or all.
        out: Folder of the charts; each study has one of its own in it.
        images: Training images; test sets are in proportion.
        size: Pixels a side.
        epochs: Of training.
        seed: Of everything.
    """

    study: Annotated[str, tyro.conf.Positional] = "all"
    out: Path = Path("runs/first_steps")
    images: int = 900
    size: int = 48
    epochs: int = 10
    seed: int = 0


class Trained(NamedTuple):
    """A network and the images that it is asked about.

    Attributes:
        dataset: Of the phantom: train, val and cal, the i.i.d. test set `iid_test`, and two shifted ones.
        classifier: The network, as pure functions of its variables.
        variables: Its weights.
        scorers: The scores of its outputs.
        key: Draws dropout masks, noise and resamples, each from a stream of its own.
    """

    dataset: Dataset
    classifier: Classifier
    variables: Variables
    scorers: Scorers
    key: jax.Array

    def ask(self, images: Any, table: pd.DataFrame) -> Outputs:
        """Returns what the network says of images: logits, features, and statistics of 20 dropout passes."""
        return inference.run(
            self.classifier,
            self.variables,
            images,
            table["label_index"].to_numpy(np.int32),
            table["image_id"].to_numpy(np.uint32),
            key=keys.stream(self.key, "dropout"),
            num_samples=20,
        )


def prepare(chosen: Arguments) -> Trained:
    """Draws the images and trains the network."""
    # Images and what they show. Clinic C takes part in no training: it is the split acq_clinic_c, called by its shift.
    test = max(chosen.images // 3, 20)
    counts = {
        "train": chosen.images,
        "val": test,
        "cal": 20,
        "iid_test": test,
        "acquisition": test,
        "manifestation": test,
    }
    images, columns = generate("dermoscopy", seed=chosen.seed, size=chosen.size, counts=counts)
    columns = {name: values for name, values in columns.items() if not name.startswith("factor_")}
    dataset = dataset_from_arrays("dermoscopy", images, columns, seed=chosen.seed)

    # A small convolutional network with dropout, trained with cross-entropy. `train` yields after each epoch.
    classifier = MODELS["small_cnn"](num_classes=len(dataset.classes))
    recipe = Recipe(epochs=chosen.epochs, batch_size=64)
    (stage,) = METHODS["cross_entropy"].stages(recipe, 0.0)
    key = jax.random.key(chosen.seed)
    pixels, table = dataset.subset("train")
    data = Labelled(pixels, table["label_index"].to_numpy(np.int32), table["image_id"].to_numpy(np.uint32))
    state = begin(stage, recipe, initial_variables(classifier, pixels.shape[1:], key), len(pixels), key)
    for progress in train(classifier, data, stage=stage, recipe=recipe, state=state):
        state = progress.state
        print(f"  epoch {progress.epoch} of {recipe.epochs}: loss {float(progress.loss):.3f}", flush=True)

    # Energy and mutual information are no probabilities; Platt's scaling on validation images makes them some, so that
    # "a failure with probability above 0.9", a silent failure, means the same for all scores.
    plain = Trained(dataset, classifier, state.variables, learn(CSFS, None, None), key)
    scorers = learn(CSFS, None, plain.ask(*dataset.subset("val")), calibrate="platt")
    return plain._replace(scorers=scorers)


def hidden_shift(trained: Trained, out: Path) -> None:
    """(a) A test set with a secret: a part of it is of a clinic that training never saw."""
    splits = ("iid_test", "acq_clinic_c")
    parts = [trained.dataset.subset(split) for split in splits]
    images = np.concatenate([np.asarray(pixels) for pixels, _ in parts])
    table = pd.concat([rows for _, rows in parts], ignore_index=True).assign(kind="iid")
    said = trained.ask(images, table)

    # What somebody sees who knows the labels alone: columns that would give the clinic away are left out.
    known = table[["kind", "label", "patient_id"]].assign(domain="", subclass="")
    points = report.points_table({"mixed": said}, {"mixed": known}, trained.dataset.classes, trained.scorers).table
    slices = report.failure_slices({"mixed": said}, {"mixed": known}, trained.scorers, points=points)
    slices = slices[slices["csf"] == "msr"]
    print(f"\n{slices.attrs['note']}\nOf the softmax (msr), without knowing the clinics:")
    tell(slices)

    # The secret. Clusters were made of features alone, of all images; `row` says which point is which image.
    secret = table["domain"].to_numpy()[points["row"]] == "clinic C"
    by_cluster = pd.DataFrame(
        {
            "cluster": points["feature_cluster"],
            "images": 1,
            "of clinic C": secret,
            "accuracy": points["correct_msr"],
            "silent": (points["correct_msr"] == 0) & (points["confidence_msr"] > 0.9),
        }
    )
    shares = by_cluster.groupby("cluster").agg({"images": "sum", "of clinic C": "mean", "accuracy": "mean",
                                                "silent": "mean"})  # fmt: skip
    shares = shares.sort_values("of clinic C", ascending=False)
    print(f"\nThe secret: {secret.mean():.0%} of the images are of clinic C. By cluster of the features:")
    print(shares.to_string(float_format=lambda share: f"{share:.0%}"))
    pure = shares[(shares["of clinic C"] >= 0.9) | (shares["of clinic C"] <= 0.1)]["images"].sum() / len(points)
    print(f"{pure:.0%} of the images lie in clusters that are of clinic C, or of the others, to at least 90 %.")

    revealed = table[["kind", "label", "domain", "subclass", "patient_id"]]
    with_clinics = report.failure_slices({"mixed": said}, {"mixed": revealed}, trained.scorers, points=points)
    with_clinics = with_clinics[with_clinics["csf"] == "msr"]
    print("With the clinics in the table, the same test says:")
    tell(with_clinics)
    pictures = thumbnails(points, {"mixed": images})
    shown = points.assign(
        domain=np.where(secret, "clinic C", "clinics A and B"), kind=np.where(secret, "acquisition", "iid")
    )
    write(out, "latent_space", views.latent_3d(shown), sf_color="source / target")
    write_slices(out, "slices_unknown_clinic", slices, pictures)
    write_slices(out, "slices_known_clinic", with_clinics, pictures)
    print(f"Look at: {out / 'latent_space.html'}, where the target is clinic C: does it lie apart?")


def corruption(trained: Trained, out: Path) -> None:
    """(b) Noise is turned up: accuracy falls, and a good score should say so."""
    images, table = trained.dataset.subset("iid_test")
    test_sets = [TestSet("iid_test", "iid_test", "none", "iid")]
    test_sets += [TestSet(f"{NOISE}-{level}", "iid_test", NOISE, "corruption", level) for level in range(1, 6)]
    pixels: dict[str, np.ndarray] = {}
    said: dict[str, Outputs] = {}
    rows = []
    for one in test_sets:
        corrupted = inference.as_float(jnp.asarray(images))
        if one.level:
            ids = jnp.asarray(table["image_id"].to_numpy(np.uint32))
            corrupted = shifts.apply(NOISE, keys.stream(trained.key, "shifts"), corrupted, ids, level=one.level)
        pixels[one.name] = np.asarray(corrupted)
        said[one.name] = trained.ask(pixels[one.name], table)
        rows += measured(trained, said[one.name], table, one)
    responses = pd.DataFrame(rows)
    wide = responses.pivot(index=["metric", "csf"], columns="dial", values="value")
    print(f"\nLevel 0 is without noise. Shares, from `{trained.dataset.name}` test images ({len(table)}):")
    print(wide.to_string(float_format=lambda value: f"{value:.3f}"))
    for csf in CSFS:
        of = responses[(responses["csf"] == csf) & (responses["metric"] == "silent_failure_rate")].set_index("dial")
        first, last = of.loc[0], of.loc[5]
        print(
            f"{csf}: silent failures {first['value']:.1%} [{first['low']:.1%}, {first['high']:.1%}] without noise, "
            f"{last['value']:.1%} [{last['low']:.1%}, {last['high']:.1%}] at level 5."
        )

    def draw(test_set: TestSet, places: np.ndarray) -> np.ndarray:
        return displayable(pixels[test_set.name][places])

    strips = report.strips_table(said, test_sets, trained.dataset.classes, trained.scorers, draw, seed=0)
    words = "Bands: 95 % bootstrap interval by patient of the first score."
    write(out, "response", views.shift_response(responses, title="What noise does", subtitle=words))
    write(out, "strip", views.corruption_strip(strips.table, strips.images))
    print(f"Look at: {out / 'response.html'}: where accuracy falls, whose silent failures rise?")


def measured(trained: Trained, said: Outputs, table: pd.DataFrame, test_set: TestSet) -> list[dict[str, object]]:
    """Returns a row a score and metric, with the interval of 200 resamples by patient."""
    of = evaluate(said, trained.scorers)
    arranged = [
        metrics.scored(of.score[i], of.predicted[i] != of.labels, probability=of.probability[i])
        for i in range(len(CSFS))
    ]
    stacked = jax.tree.map(lambda *fields: jnp.asarray(np.stack(fields)), *arranged)
    names = ("accuracy", "auroc_f", "silent_failure_rate")
    found = metrics.bootstrap(
        keys.stream(trained.key, "bootstrap"), stacked, patient_groups(table), num_resamples=200, metrics=names
    )
    about = {"cause": NOISE, "unit": "level", "dial": test_set.level}
    rows = []
    for name in names:
        ends = metrics.interval(found[name], method="percentile")
        rows += [
            {**about, "csf": csf, "metric": name, "value": float(found[name].value[i]), "low": float(ends.low[i]),
             "high": float(ends.high[i])}
            for i, csf in enumerate(CSFS)
        ]  # fmt: skip
    return rows


def confident_failures(trained: Trained, out: Path) -> None:
    """(c) The failures that the softmax was surest of, on usual images and on lesions that training never saw."""
    splits = {"iid_test": "iid", "manif_rare_lesions": "manifestation"}
    parts = {name: trained.dataset.subset(name) for name in splits}
    tables = {name: rows.assign(kind=splits[name]) for name, (_, rows) in parts.items()}
    said = {name: trained.ask(*part) for name, part in parts.items()}
    points = report.points_table(said, tables, trained.dataset.classes, trained.scorers).table
    for name in splits:
        rows = points[points["test_set"] == name]
        failures = rows[rows["correct_msr"] == 0].sort_values("rank_msr")
        silent = (failures["confidence_msr"] > 0.9).sum()
        print(f"\n{name}: {len(failures)} of {len(rows)} are failures, {silent} of them silent. The surest five:")
        print(failures[list(SHOWN)].head(5).to_string(index=False))
    slices = report.failure_slices(said, tables, trained.scorers, points=points)
    slices = slices[slices["csf"] == "msr"]
    print(f"\nWhat they have in common. {slices.attrs['note']}")
    tell(slices)
    pictures = thumbnails(points, {name: np.asarray(pixels) for name, (pixels, _) in parts.items()})
    write(out, "failures", views.failure_gallery(points, pictures, count=6, csf="msr"))
    write_slices(out, "slices", slices, pictures)
    print(f"Look at: {out / 'failures.html'}, then {out / 'slices.html'}: is it one kind of lesion?")


def tell(slices: pd.DataFrame) -> None:
    """Prints the significant slices, or that there is none."""
    significant = slices[slices["significant"] == 1]
    for text, p in significant[["text", "p_adjusted"]].head(6).itertuples(index=False):
        print(f"  - {text} (adjusted p {p:.2g})")
    if not len(significant):
        print("  No slice has surely more silent failures than the rest.")


def thumbnails(points: pd.DataFrame, images: Mapping[str, np.ndarray]) -> dict[int, str]:
    """Returns the images of points as data URIs, by id."""
    places = zip(points["test_set"], points["row"], strict=True)
    pixels = displayable(np.stack([images[name][row] for name, row in places]))
    return dict(zip(points["id"].tolist(), views.thumbnails(pixels), strict=True))


def write_slices(out: Path, name: str, slices: pd.DataFrame, pictures: Mapping[int, str]) -> None:
    """Writes the chart of slices; there is none where no slice has more silent failures than the rest."""
    if len(slices):
        write(out, name, views.failure_slices(slices, pictures, subtitle=slices.attrs["note"]))


def write(out: Path, name: str, chart: Any, **params: object) -> None:
    """Writes a chart for papers and for the browser, with its parameters at other values than usual."""
    out.mkdir(parents=True, exist_ok=True)
    for suffix in ("svg", "html"):
        views.save(chart, out / f"{name}.{suffix}", params=params)


STUDIES: Final[Mapping[str, Callable[[Trained, Path], None]]] = {
    "hidden_shift": hidden_shift,
    "corruption": corruption,
    "confident_failures": confident_failures,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the studies; returns the exit status."""
    chosen = tyro.cli(Arguments, prog="python -m experiments.first_steps", description=__doc__, args=arguments)
    letters = dict(zip("abc", STUDIES, strict=True))
    wanted = letters.get(chosen.study, chosen.study)
    if wanted != "all" and wanted not in STUDIES:
        print(f"Error: study must be one of {', '.join(STUDIES)}, a, b, c or all; got {wanted}.", file=sys.stderr)
        return 2
    use_compilation_cache()
    print("Training a small network on drawn skin lesions.")
    trained = prepare(chosen)
    for name, study in STUDIES.items():
        if wanted in ("all", name):
            print(f"\n== {name}: {(study.__doc__ or '').splitlines()[0]}")
            study(trained, chosen.out / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
