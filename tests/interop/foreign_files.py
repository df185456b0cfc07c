"""Writers of what other programs leave: experiments of FD-Shifts in the formats of both generations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from scipy.special import softmax

CLASSES, FEATURES, PASSES = 3, 4, 5


class Network(NamedTuple):
    """What a linear network says of images, row by row of all sets."""

    features: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    logits: np.ndarray
    passes: np.ndarray
    labels: np.ndarray
    place: np.ndarray


def network(sizes: Sequence[int], *, classes: int = CLASSES, outputs: int = 0, seed: int = 0) -> Network:
    """Returns made-up outputs on sets of these sizes; `outputs` above `classes` are those of a gambler."""
    rng = np.random.default_rng(seed)
    n, width = sum(sizes), outputs or classes
    weight, bias = rng.normal(size=(width, FEATURES)), rng.normal(size=width)
    features = 2 * rng.normal(size=(n, FEATURES)).astype(np.float16).astype(np.float64)
    logits = features @ weight.T + bias
    labels = np.where(rng.random(n) < 0.7, logits[:, :classes].argmax(1), rng.integers(0, classes, n))
    passes = logits[:, :, None] + rng.normal(size=(n, width, PASSES))
    return Network(features, weight, bias, logits, passes, labels, np.repeat(np.arange(len(sizes)), sizes))


def write_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes files of `test_results`, each with the one array `arr_0`."""
    results = folder / "test_results"
    results.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.savez_compressed(results / f"{name}.npz", array)


def beside(array: np.ndarray, *columns: np.ndarray) -> np.ndarray:
    """Returns an array with further columns, all of the array's type."""
    return np.concatenate([array, *(column[:, None] for column in columns)], axis=1).astype(array.dtype)


def write_config(folder: Path, studies: Mapping[str, Any], *, nested: bool = False, **settings: Any) -> None:
    """Writes `hydra/config.yaml`, nested below `config` as the present generation does."""
    tree: dict[str, Any] = {
        "pkgversion": "0.1.1",
        "data": {"dataset": settings.get("dataset", "dermoscopyall"), "num_classes": settings.get("classes", CLASSES)},
        "eval": {
            "val_tuning": settings.get("val_tuning", True),
            "ext_confid_name": settings.get("confidence"),
            "confidence_measures": {"test": "${eval.confidence_measures.train}"},
            "query_studies": dict(studies),
        },
    }
    (folder / "hydra").mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({"config": tree} if nested else tree)
    (folder / "hydra" / "config.yaml").write_text(text, encoding="utf-8")


def write_first_generation(
    folder: Path, said: Network, studies: Mapping[str, Any], *, passes: bool = False, **settings: Any
) -> None:
    """Writes what the release of the study writes: logits and passes of 64 bit, features of 16."""
    write_config(folder, studies, **settings)
    write_arrays(
        folder,
        {
            "raw_logits": beside(said.logits, said.labels, said.place),
            "encoded_output": beside(said.features.astype(np.float16), said.place),
            **({"raw_logits_dist": said.passes} if passes else {}),
        },
    )


def write_present_generation(folder: Path, said: Network, studies: Mapping[str, Any], **settings: Any) -> None:
    """Writes what the present program writes: everything of 16 bit, the settings nested, with the last layer."""
    write_config(folder, studies, nested=True, **settings)
    half = {
        "raw_logits": beside(said.logits.astype(np.float16), said.labels, said.place),
        "encoded_output": beside(said.features.astype(np.float16), said.place),
        "train_features": beside(said.features[::2].astype(np.float16), said.labels[::2]),
    }
    write_arrays(folder, half)
    np.savez_compressed(folder / "test_results" / "last_layer.npz", w=said.weight, b=said.bias)


def write_as_the_study(folder: Path, said: Network, studies: Mapping[str, Any], **settings: Any) -> None:
    """Writes what the study's own program wrote: softmax of 64 bit."""
    write_config(folder, studies, **settings)
    write_arrays(
        folder,
        {
            "raw_output": beside(softmax(said.logits, axis=1), said.labels, said.place),
            "raw_output_dist": softmax(said.passes, axis=1),
            "encoded_output": beside(said.features.astype(np.float16), said.place),
        },
    )
