"""The arrays of an FD-Shifts experiment: class scores, passes, features, external confidences and the last layer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax, logsumexp

from sfjax.foreign import SUM_TOLERANCE, Kind
from sfjax.interop.faults import Faults
from sfjax.interop.fd_shifts_config import Settings
from sfjax.interop.recognize import RAW
from sfjax.outputs import Head, Outputs

METHODS: Final[Mapping[str, str]] = {"tcp": "confidnet", "devries": "devries", "dg": "deep_gamblers"}
"""Training methods by `eval.ext_confid_name`, what the stored external confidence is."""
HALF_EXACT: Final = 2048
"""From here on, half precision does not tell neighboring integers apart."""
MATCHES_HEAD: Final = 2**-8
"""How far features times the last layer may be off the logits, as a share of the summed magnitudes: half precision."""


class Arrays(NamedTuple):
    """What is known of all images, row by row."""

    scores: np.ndarray
    kind: Kind
    labels: np.ndarray
    place: np.ndarray
    fields: dict[str, np.ndarray]

    def outputs(self, labels: np.ndarray) -> Outputs:
        """Returns what the network says of all images, whose labels are these."""
        return Outputs.from_numpy(self.scores, labels, logits_are=self.kind, **self.fields)


def raw_name(results: Path) -> str:
    """Returns the name of the file of class scores: of logits, if they were kept."""
    return next((name for name in RAW if (results / name).exists()), RAW[0])


def read_stored(results: Path, settings: Settings | None, faults: Faults, notes: list[str]) -> Arrays | None:
    """Returns what stands in all files of `test_results` with a row an image; None after faults."""
    name = raw_name(results)
    if not (results / name).exists():
        faults.add(results, " or ".join(RAW), "neither", "Run the test stage of the experiment.")
        return None
    raw = _array(results / name, 2, faults)
    if raw is None or settings is None:
        return None
    if raw.shape[1] < 4:
        faults.add(results / name, "2 classes or more, label and set in the columns", f"{raw.shape[1]} columns")
        return None
    scores, labels, place = raw[:, :-2].astype(np.float64), raw[:, -2], raw[:, -1]
    if (known := settings.num_classes) is not None and scores.shape[1] != known:
        faults.add(results / name, f"{known} classes, data.num_classes", f"{scores.shape[1]}")
    for what, column in (("labels", labels), ("numbers of sets", place)):
        if not np.array_equal(column, np.round(column)):
            faults.add(results / name, f"whole {what}", f"{column[column != np.round(column)][0]}")
            return None
    kind: Kind = "logits" if name == RAW[0] else "probabilities"
    optional = {
        "passes": (f"{name.removesuffix('.npz')}_dist.npz", 3),
        "features": ("encoded_output.npz", 2),
        "confidence": ("external_confids.npz", 1),
        "mc_confidence": ("external_confids_dist.npz", 2),
    }
    found = {}
    for field, (file, ndim) in optional.items():
        if (results / file).exists() and (array := _array(results / file, ndim, faults)) is not None:
            if len(array) != len(raw):
                faults.add(results / file, f"{len(raw)} rows, as many as {name} has", f"{len(array)}")
            else:
                found[field] = array
    other = f"{RAW[1 - RAW.index(name)].removesuffix('.npz')}_dist.npz"
    if "passes" not in found and (results / other).exists():
        notes.append(f"{other} is left out: it goes with another kind of outputs than {name}.")
    if "passes" in found:
        passes = found.pop("passes")
        if passes.shape[1] != scores.shape[1]:
            faults.add(results / optional["passes"][0], f"shape (n, {scores.shape[1]}, passes)", f"{passes.shape}")
        else:
            found["mc_logits"] = np.moveaxis(passes, 2, 1).astype(np.float64)
    if "features" in found:
        features = found["features"]
        if not np.array_equal(features[:, -1], place):
            faults.add(
                results / "encoded_output.npz", f"the last column of {name}", "other numbers of sets",
                "Both come from one test run.",
            )  # fmt: skip
        found["features"] = features[:, :-1].astype(np.float32)
    if raw.dtype == np.float16:
        notes.append(f"{name} is in half precision: confidences that differ by less than it resolves are ties.")
    arrays = Arrays(scores, kind, labels, place.astype(np.int64), found)
    return _with_confidence(arrays, settings, results, faults, notes)


def _array(file: Path, ndim: int, faults: Faults) -> np.ndarray | None:
    found = faults.arrays(file)
    if not found:
        return None
    (name, array), *more = found.items()
    if more or array.dtype.kind not in "fiu":
        faults.add(file, "one array of numbers", ", ".join(f"{key} ({one.dtype})" for key, one in found.items()))
        return None
    if array.ndim == ndim + 1 and array.shape[-1] == 1:  # some were stored with an axis of one
        array = array[..., 0]
    if array.ndim != ndim or not len(array):
        faults.add(file, f"{ndim} axes and at least one row", f"{name} of shape {array.shape}")
        return None
    return array


def _with_confidence(arrays: Arrays, settings: Settings, results: Path, faults: Faults, notes: list[str]) -> Arrays:
    """Returns the arrays with the external confidences as logits: of a head, or of a gambler's reservation."""
    fields, name = dict(arrays.fields), settings.confidence
    stored = {field: fields.pop(field) for field in ("confidence", "mc_confidence") if field in fields}
    if name not in METHODS:
        if stored:
            notes.append(f"external_confids ({name or 'of no name'}) are left out: they are no probability of success.")
        return arrays._replace(fields=fields)
    for field, values in stored.items():
        file = results / ("external_confids.npz" if field == "confidence" else "external_confids_dist.npz")
        if not ((values >= 0) & (values <= 1)).all():
            faults.add(file, f"numbers from 0 to 1 ({name})", f"{values.min():g} to {values.max():g}")
            return arrays._replace(fields=fields)
        if field == "mc_confidence" and ("mc_logits" not in fields or values.shape[1] != fields["mc_logits"].shape[1]):
            notes.append(f"{file.name} is left out: there are no class scores of as many passes.")
            continue
        if count := int(((values == 0) | (values == 1)).sum()):
            notes.append(f"{count} values in {file.name} are exactly 0 or 1, ties of {values.dtype}.")
        fields[field] = log_odds(values)
    if name != "dg":
        return arrays._replace(fields=fields)
    scores, kind = arrays.scores, arrays.kind
    remainder = None if "confidence" not in stored else stored["confidence"].astype(np.float64)
    if remainder is not None and _without_reservation(scores, remainder):
        notes.append(f"{raw_name(results)} holds probabilities without the reservation: they are divided by their sum.")
        scores, kind = scores / scores.sum(1, keepdims=True), "probabilities"
        if "mc_logits" in fields:
            passes = fields["mc_logits"]
            # The passes' file holds logits where this one holds probabilities, or the same as this one.
            of_passes = passes / passes.sum(-1, keepdims=True) if arrays.kind == "probabilities" else None
            fields["mc_logits"] = np.exp(log_softmax(passes, axis=-1)) if of_passes is None else of_passes
    scale = {"confidence": scores, "mc_confidence": fields.get("mc_logits")}
    for field, target in (("confidence", "reservation"), ("mc_confidence", "mc_reservation")):
        if field in fields:
            logits = scale[field]
            # The reservation's logit among those of the classes; with probabilities the log-odds of reserving.
            total = 0.0 if kind == "probabilities" or logits is None else logsumexp(logits, axis=-1)
            fields[target] = total - fields.pop(field)
    return arrays._replace(scores=scores, kind=kind, fields=fields)


def log_odds(probability: np.ndarray) -> np.ndarray:
    """Returns log(p / (1 - p)); a probability that rounding made 0 or 1 is half a step of its type away from that."""
    info = np.finfo(probability.dtype if probability.dtype.kind == "f" else np.float64)
    p = probability.astype(np.float64)
    inner = (p > 0) & (p < 1)
    safe = np.where(inner, p, 0.5)
    least = np.log(float(info.smallest_subnormal)) - np.log(2)
    return np.where(inner, np.log(safe) - np.log1p(-safe), np.where(p >= 1, -np.log(float(info.epsneg) / 2), least))


def _without_reservation(scores: np.ndarray, bet: np.ndarray) -> bool:
    return bool((scores >= 0).all() and (np.abs(scores.sum(1) - bet) <= SUM_TOLERANCE).all())


def read_train(
    results: Path, stored: Arrays, method: str, faults: Faults, notes: list[str]
) -> tuple[dict[str, dict[str, Outputs]], dict[str, Head]]:
    """Returns the training images' outputs and the last layer, for scores that learn from them, where both are."""
    files = {name: results / f"{name}.npz" for name in ("last_layer", "train_features")}
    if not files["last_layer"].exists():
        if files["train_features"].exists():
            notes.append("train_features.npz is left out: without last_layer.npz there are no logits of its images.")
        return {}, {}
    found = faults.arrays(files["last_layer"])
    if not {"w", "b"} <= set(found):
        faults.add(files["last_layer"], "the arrays w and b", ", ".join(found) or "none")
        return {}, {}
    weight, bias = found["w"].astype(np.float32), found["b"].astype(np.float32)
    features, c = stored.fields.get("features"), stored.scores.shape[1]
    if features is None or stored.kind != "logits":
        notes.append("last_layer.npz is left out: it needs raw_logits.npz and encoded_output.npz beside it.")
        return {}, {}
    if weight.shape[0] != len(bias):
        weight = weight.T
    if weight.shape != (len(bias), features.shape[1]) or len(bias) < c:
        faults.add(files["last_layer"], f"w of shape ({c}, {features.shape[1]})", f"{found['w'].shape}")
        return {}, {}
    weight, bias = weight[:c], bias[:c]  # a gambler's reservation comes last
    off = np.abs(features @ weight.T + bias - stored.scores)
    bound = MATCHES_HEAD * (np.abs(features) @ np.abs(weight.T) + np.abs(bias) + np.abs(stored.scores))
    if (off > bound).any():
        faults.add(files["last_layer"], "the layer that makes raw_logits of encoded_output",
                   f"logits that are up to {off.max():.3g} off", "Store both from one checkpoint.")  # fmt: skip
        return {}, {}
    heads = {method: Head(jnp.asarray(weight.T), jnp.asarray(bias))}
    if not files["train_features"].exists():
        return {}, heads
    train = _array(files["train_features"], 2, faults)
    if train is None or train.shape[1] != features.shape[1] + 1:
        if train is not None:
            faults.add(
                files["train_features"], f"{features.shape[1]} features and a label", f"{train.shape[1]} columns"
            )
        return {}, heads
    if train.dtype == np.float16 and train[:, -1].max() >= HALF_EXACT:
        faults.add(files["train_features"], "labels below 2048, as half precision holds", f"{train[:, -1].max():g}")
        return {}, heads
    of_train = train[:, :-1].astype(np.float32)
    try:
        said = Outputs.from_numpy(of_train @ weight.T + bias, train[:, -1].astype(np.int64), features=of_train)
    except ValueError as error:
        faults.say(files["train_features"], str(error))
        return {}, heads
    return {"train": {method: said}}, heads
