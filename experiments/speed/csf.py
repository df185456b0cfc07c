"""Confidence scores beside NumPy, SciPy and scikit-learn, and every fitted score. About ten minutes on two CPU cores.

Sides take turns in one process. Features are drawn around a center for each class, and cut off at 0.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit, logsumexp, softmax
from sklearn.neighbors import NearestNeighbors

from experiments.speed import machine
from experiments.speed.programs import peak, reset_peak
from experiments.speed.timing import interleaved, markdown, table
from sfjax.csf import CSFS, FITTED
from sfjax.outputs import Head, Outputs

Numbers = np.ndarray
PASSES: Final = 10


@dataclass(frozen=True)
class Options:
    """How confidence scores are measured.

    Attributes:
        images: That scores of logits and of Monte Carlo dropout are computed for.
        train: Images that fitted scores learn from.
        test: Images that fitted scores are computed for.
        features: Of an image.
        classes: Of all but the second measurement of `mahalanobis`.
        many_classes: Of that one.
        k: The neighbor that `knn` goes by.
        parts: Which tables.
        names: Which of the fitted scores are in the last table.
        repeats: Of every measurement but the last table's; sides take turns.
        fitted_repeats: Of the last table's.
        processor_time: Count processor time, of all threads, instead of the clock's: for a busy machine and one core.
    """

    images: int = 100_000
    train: int = 20_000
    test: int = 20_000
    features: int = 1024
    classes: int = 10
    many_classes: int = 1000
    k: int = 50
    parts: tuple[Literal["unfitted", "knn", "mahalanobis", "fitted"], ...] = (
        "unfitted",
        "knn",
        "mahalanobis",
        "fitted",
    )
    names: tuple[str, ...] = tuple(FITTED)
    repeats: int = 3
    fitted_repeats: int = 1
    processor_time: bool = False

    @property
    def clock(self) -> Callable[[], float]:
        """What is counted."""
        return time.process_time if self.processor_time else time.perf_counter


def measure(options: Options) -> None:
    """Prints the tables."""
    versions = f"numpy {np.__version__}, scikit-learn {machine.version('scikit-learn')}, "
    print(f"{versions}{machine.describe(None).split(' torch')[0]}")
    if options.processor_time:
        print("Times are processor time.")
    if "unfitted" in options.parts:
        print(unfitted_tables(options), flush=True)
    train, test, validation, head = draw(options, options.classes)
    if "knn" in options.parts:
        print(knn_table(train, test, options), flush=True)
    if "mahalanobis" in options.parts:
        print(mahalanobis_table(train, test, options), flush=True)
        print(mahalanobis_table(*draw(options, options.many_classes)[:2], options), flush=True)
    if "fitted" in options.parts:
        print(fitted_table(train, test, validation, head, options), flush=True)


def draw(options: Options, classes: int) -> tuple[Outputs, Outputs, Outputs, Head]:
    """Returns outputs of training, test and validation images, and the head that made their logits."""
    rng = np.random.default_rng(0)
    d = options.features
    centers = rng.standard_normal((classes, d), dtype=np.float32)
    weight = centers.T / np.float32(np.sqrt(d))

    def outputs(n: int) -> Outputs:
        labels = np.arange(n) % classes
        features = np.maximum(centers[labels] + rng.standard_normal((n, d), dtype=np.float32), 0)
        return Outputs.from_numpy(features @ weight, labels, features=features)

    head = Head(jnp.asarray(weight), jnp.zeros(classes, jnp.float32))
    return outputs(options.train), outputs(options.test), outputs(max(options.test // 4, 1)), head


class Plain(NamedTuple):
    """A score in NumPy as one writes it, and the map from ours to it, which keeps or turns the order."""

    score: Callable[[dict[str, Numbers]], Numbers]
    of_ours: Callable[[Numbers], Numbers] = lambda ours: ours


def _entropy(p: Numbers) -> Numbers:
    return -(p * np.log(p)).sum(-1)


def _margin(logits: Numbers) -> Numbers:
    two = np.partition(softmax(logits, axis=-1), -2, axis=-1)[:, -2:]
    return two[:, 1] - two[:, 0]


def _gen(logits: Numbers) -> Numbers:
    p = np.sort(softmax(logits, axis=-1), axis=-1)[:, -100:]
    return -(p**0.1 * (1 - p) ** 0.1).sum(-1)


def _waic(mc: dict[str, Numbers]) -> Numbers:
    rows, top = np.arange(len(mc["log_mean"])), mc["log_mean"].argmax(-1)
    return np.exp(mc["log_mean"][rows, top]) - mc["std"][rows, top]


PLAIN: Final[Mapping[str, Plain]] = MappingProxyType(
    {
        "msr": Plain(lambda a: softmax(a["logits"], axis=-1).max(-1), expit),
        "pe": Plain(lambda a: _entropy(softmax(a["logits"], axis=-1)), lambda ours: np.exp(-ours)),
        "margin": Plain(lambda a: _margin(a["logits"]), lambda ours: -np.expm1(-ours)),
        "mls": Plain(lambda a: a["logits"].max(-1)),
        "energy": Plain(lambda a: np.asarray(logsumexp(a["logits"], axis=-1))),
        "gini": Plain(lambda a: np.square(softmax(a["logits"], axis=-1)).sum(-1), expit),
        "gen": Plain(lambda a: _gen(a["logits"])),
        "mcd_msr": Plain(lambda a: np.exp(a["log_mean"]).max(-1), expit),
        "mcd_pe": Plain(lambda a: _entropy(np.exp(a["log_mean"])), lambda ours: np.exp(-ours)),
        "mcd_ee": Plain(lambda a: -a["expected_entropy"]),
        "mcd_mi": Plain(lambda a: a["expected_entropy"] - _entropy(np.exp(a["log_mean"]))),
        "mcd_sv": Plain(lambda a: -a["std"].mean(-1)),
        "mcd_waic": Plain(_waic),
        "mcd_mls": Plain(lambda a: a["mean_logits"].max(-1)),
        "mcd_vr": Plain(lambda a: a["votes"].max(-1) / a["num_samples"]),
    }
)


def applicable() -> list[str]:
    """Returns the scores of logits and Monte Carlo dropout that a plain network with dropout has."""
    other = ("tta_", "gradnorm")
    return [name for name, csf in CSFS.items() if "cross_entropy" in csf.methods and not name.startswith(other)]


def unfitted_tables(options: Options) -> str:
    """Returns the time of all unfitted scores in one call, beside NumPy and the floor, and of each alone."""
    rng, n, c = np.random.default_rng(1), options.images, options.classes
    logits = 3 * rng.standard_normal((n, c), dtype=np.float32)
    passes = logits[:, None] + rng.standard_normal((n, PASSES, c), dtype=np.float32)
    made = Outputs.from_numpy(logits, logits.argmax(-1), mc_logits=passes)
    outputs = Outputs(logits=made.logits, labels=made.labels, mc=made.mc)
    arrays = {name: np.asarray(value) for name, value in vars(made.mc).items() if value is not None}
    arrays["logits"] = logits
    names = applicable()
    compiled = jax.jit(lambda outputs: {name: CSFS[name].score(outputs) for name in names})
    ours = compiled(outputs)
    for name, plain in PLAIN.items():
        off = np.abs(plain.of_ours(np.asarray(ours[name], np.float64)) - plain.score(arrays)).max()
        # In float32 NumPy's own 1 - p is off where p is near 1, which a power of 0.1 makes much of in gen.
        if not off < 1e-3:
            raise ValueError(f"The sides must agree before they are timed; {name} is off by {off:.2g}.")
    moved = sum(array.nbytes for array in arrays.values())
    block = np.ones(2**26, np.float32)
    target = np.empty_like(block)
    copied = interleaved({"": lambda: np.copyto(target, block)}, 5, clock=options.clock)[""]
    bandwidth = 2 * block.nbytes / statistics.median(copied)
    sides = {
        f"sfjax, all {len(names)} in one call": lambda: compiled(outputs),
        f"NumPy and SciPy, {len(PLAIN)} of them": lambda: [plain.score(arrays) for plain in PLAIN.values()],
    }
    measured = interleaved(sides, max(options.repeats, 5), clock=options.clock)
    counts = dict(zip(sides, (len(names), len(PLAIN)), strict=True))
    columns = {
        "ms a score": lambda side, seconds: f"{1e3 * seconds / counts[side]:.3g}",
        "times the floor": lambda _, seconds: f"{seconds * bandwidth / moved:.3g}",
    }
    title = f"Scores of logits and of Monte Carlo dropout, {n} images, {c} classes"
    text = table(title, measured, columns=columns)
    text += f"\n\nFloor: {moved / 1e6:.3g} MB read once, {1e3 * moved / bandwidth:.3g} ms at the {bandwidth / 1e9:.3g} "
    text += "GB/s that a copy reads and writes."
    rows = []
    for name in names:
        alone = jax.jit(CSFS[name].score)
        pair: dict[str, Callable[[], object]] = {"ours": lambda alone=alone: alone(outputs)}
        if name in PLAIN:
            pair["plain"] = lambda name=name: PLAIN[name].score(arrays)
        took = interleaved(pair, max(options.repeats, 5), clock=options.clock)
        ratio = statistics.median(took["plain"]) / statistics.median(took["ours"]) if name in PLAIN else None
        rows.append(
            [name, *(_spread(took.get(side), 1e3) for side in ("ours", "plain")), f"{ratio:.2f}" if ratio else ""]
        )
    return text + "\n" + markdown("Each alone", ["score", "sfjax, ms", "NumPy, ms", "NumPy / sfjax"], rows)


def knn_table(train: Outputs, test: Outputs, options: Options) -> str:
    """Returns the time of exact search for the k-th neighbor, its memory, and how far the sides are apart."""
    bank, queries = (_normalized(np.asarray(outputs.features)) for outputs in (train, test))
    search = NearestNeighbors(n_neighbors=min(options.k, len(bank)), algorithm="brute").fit(bank)
    csf = FITTED["knn"](train, k=options.k)
    reset_peak()
    ours = -np.asarray(csf.score(test))
    held = peak()
    theirs: list[Numbers] = []

    def searched() -> None:
        theirs[:] = [search.kneighbors(queries)[0][:, -1]]

    sides: dict[str, Callable[[], object]] = {"sfjax": lambda: csf.score(test), "scikit-learn, brute": searched}
    measured = interleaved({**sides, machine.PRODUCT: machine.product("float32")}, options.repeats, clock=options.clock)
    work: float = 2.0 * bank.shape[0] * bank.shape[1] * len(queries)
    operations: dict[str, float] = dict.fromkeys(sides, work)
    columns = machine.rates(len(queries), operations)
    apart = np.abs(ours - theirs[0]).max()
    title = f"knn, k = {options.k}, {len(queries)} images among {bank.shape[0]} with {bank.shape[1]} features"
    text = table(title, measured, unit="s", columns=columns)
    return (
        f"{text}\n\nLargest difference of a distance: {apart:.2g}. Most memory of the process in ours: {held:.2f} GiB."
    )


def _normalized(features: Numbers) -> Numbers:
    norm = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.where(norm > 0, norm, 1)


class PlainMahalanobis:
    """Squared distances to the nearest class mean in float32 NumPy: a whitened product, no loop over classes."""

    def __init__(self, features: Numbers, labels: Numbers) -> None:
        means = np.stack([features[labels == c].mean(0) for c in np.unique(labels)])
        deviations = features - means[labels]
        values, vectors = np.linalg.eigh(deviations.T @ deviations / np.float32(len(features)))
        self.whiten = vectors / np.sqrt(values)
        self.means = means @ self.whiten
        self.squares = np.square(self.means).sum(-1)

    def score(self, features: Numbers) -> Numbers:
        """Returns minus the distances."""
        at = features @ self.whiten
        distances = np.einsum("nd,nd->n", at, at)[:, None] - 2 * at @ self.means.T + self.squares
        return -distances.min(-1)


def mahalanobis_table(train: Outputs, test: Outputs, options: Options) -> str:
    """Returns the time to fit and to score by Mahalanobis distances, beside NumPy."""
    features, labels, images = np.asarray(train.features), np.asarray(train.labels), np.asarray(test.features)
    csf, plain = FITTED["mahalanobis"](train), PlainMahalanobis(features, labels)
    ours, theirs = np.asarray(csf.score(test)), plain.score(images)
    apart = np.abs(ours - theirs).max() / np.abs(ours).max()
    sides = {
        "sfjax, fit (float64)": lambda: FITTED["mahalanobis"](train),
        "NumPy, fit (float32)": lambda: PlainMahalanobis(features, labels),
    }
    fits = interleaved(sides, options.repeats, clock=options.clock)
    both = {"sfjax, score": lambda: csf.score(test), "NumPy, score": lambda: plain.score(images)}
    scores = interleaved(both, max(options.repeats, 5), clock=options.clock)
    c, d = train.logits.shape[-1], images.shape[1]
    work: float = 2.0 * len(images) * d * (d + c)
    operations: dict[str, float] = dict.fromkeys(scores, work)
    columns = {"GFLOP/s": machine.rates(len(images), operations)["GFLOP/s"]}
    title = f"mahalanobis, {c} classes, {len(features)} and {len(images)} images, {d} features"
    text = table(f"{title}: fit", fits, unit="s") + "\n" + table(f"{title}: score", scores, columns=columns)
    return f"{text}\n\nLargest difference of a distance: {apart:.2g} of the largest."


def fitted_table(train: Outputs, test: Outputs, validation: Outputs, head: Head, options: Options) -> str:
    """Returns the time to fit and to score by each of the fitted scores."""
    rows = []
    for name in options.names:
        fits = []
        csf: Any = None
        for _ in range(options.fitted_repeats):
            begun = options.clock()
            csf = FITTED[name](train, head=head, validation=validation)
            fits.append(options.clock() - begun)
        scores = interleaved({"": lambda csf=csf: csf.score(test)}, options.fitted_repeats, clock=options.clock)[""]
        rows.append([name, _spread(fits), _spread(scores), f"{1e6 * statistics.median(scores) / len(test):.3g}"])
    title = f"Every fitted score, {len(train)} and {len(test)} images, {options.features} features"
    head_row = ["score", "fit, with its compilation, s", "score, s", "µs an image"]
    return markdown(f"{title}, {options.classes} classes", head_row, rows)


def _spread(seconds: list[float] | None, factor: float = 1.0) -> str:
    if seconds is None:
        return ""
    least, middle, most = (factor * of(seconds) for of in (min, statistics.median, max))
    return f"{middle:.3g}" + (f" [{least:.3g}, {most:.3g}]" if len(seconds) > 1 else "")
