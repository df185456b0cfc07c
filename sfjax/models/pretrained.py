"""Pretrained weights: files of torchvision's and timm's networks as variables of the same networks here."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from sfjax.models.base import Classifier, Variables
from sfjax.models.efficientnet import B4

ENTRIES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
WRAPPERS = ("state_dict", "model")


def load(
    path: str | Path,
    model: Classifier,
    *,
    channels: int = 3,
    key: Key[Array, ""] | None = None,
    new_head: bool = False,
) -> Variables:
    """Returns the variables of `model` from a file with the same network's weights, all float32.

    The file is a `state_dict` of torchvision's `densenet121`, `densenet161` or `efficientnet_b4`, or of timm's
    `efficientnet_b4`, alone or as the entry `state_dict` or `model` of a checkpoint. timm's weights whose names begin
    with `tf_` must not be used: they have the same keys and shapes, other padding and another epsilon, so that nothing
    fails and the predictions are wrong.

    Two layers may differ. With another number of classes the last layer is a new one, random and untrained. With
    another number of channels k the first convolution is made of the one for red, green and blue: its filters in this
    order again and again, times 3/k, so that responses keep their size; for one channel, their sum.

    Args:
        path: A file that ends in `.safetensors`, `.pth` or `.pt`. The last two need PyTorch; nothing but tensors is
            read from them, and no code in them runs.
        model: Such as `densenet121(num_classes=8)`.
        channels: Of the images.
        key: Draws a new last layer; None is `jax.random.key(0)`.
        new_head: The last layer is a new one in any case.

    Raises:
        ValueError: The file cannot be read, or names are unknown or missing, or shapes are wrong: all are listed.
        ImportError: The library that reads such files is not installed.
    """
    path = Path(path)
    return from_state_dict(read(path), model, channels=channels, key=key, new_head=new_head, source=str(path))


def read(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a file by their names, floating ones as float32.

    Args:
        path: A file that ends in `.safetensors`, `.pth` or `.pt`.

    Raises:
        ValueError: It is no such file, is cut off, or has other things than tensors in it.
        ImportError: The library that reads such files is not installed.
    """
    if not path.is_file():
        raise ValueError(f"Weights are read from a file, and there is none at {path}. Download it first.")
    readers = {".safetensors": _read_safetensors, ".pth": _read_torch, ".pt": _read_torch}
    if path.suffix not in readers:
        raise ValueError(f"A file of weights ends in one of {', '.join(readers)}, and this is {path}. Convert it.")
    return readers[path.suffix](path)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        import safetensors
    except ImportError as error:
        raise ImportError(f"Reading {path} needs safetensors: pip install safetensors") from error
    try:
        with safetensors.safe_open(path, framework="np") as file:
            return {name: np.asarray(file.get_tensor(name), np.float32) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # whatever a foreign file makes of the reader
        raise _unreadable(path, error) from error


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            f"Reading {path} needs PyTorch: pip install torch. Or convert it where PyTorch is, by "
            "safetensors.torch.save_file(torch.load(path, weights_only=True), new_path), to a .safetensors file."
        ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign file makes of the reader
        raise _unreadable(path, error) from error
    for name in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(
            f"A file of weights holds tensors by name, alone or as {' or '.join(WRAPPERS)}, and {path} does not. "
            "Save the network's state_dict()."
        )
    return {name: value.detach().float().numpy() for name, value in state.items()}


def _unreadable(path: Path, error: Exception) -> ValueError:
    lines = str(error).splitlines() or [type(error).__name__]
    # PyTorch first explains at length how to read the file unsafely; the reason comes later.
    reason = next((line.strip() for line in lines if "WeightsUnpickler" in line), lines[0])
    return ValueError(
        f"A file of weights is whole and holds nothing but tensors, and {path} cannot be read: {reason} "
        "Download it again, or save the network's state_dict()."
    )


def from_state_dict(
    state: Mapping[str, np.ndarray],
    model: Classifier,
    *,
    channels: int = 3,
    key: Key[Array, ""] | None = None,
    new_head: bool = False,
    source: str = "The state_dict",
) -> Variables:
    """Returns the variables of `model` from arrays by PyTorch's names, in PyTorch's order of axes: see `load`.

    Args:
        state: Arrays by name.
        model: The network.
        channels: Of the images.
        key: Draws a new last layer; None is `jax.random.key(0)`.
        new_head: As for `load`.
        source: What errors call it.

    Raises:
        ValueError: Names are unknown or missing, or shapes are wrong: all are listed.
    """
    state = {_modern(name): value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    family = next((family for family in FAMILIES if any(name.startswith(family.sign) for name in state)), None)
    if family is None:
        raise ValueError(
            f"{source} must be the weights of one of {', '.join(family.title for family in FAMILIES)}, and its names "
            f"are {', '.join(list(state)[:3])}, ... Other networks are converted by hand: variables are plain dicts."
        )
    image = jax.ShapeDtypeStruct((64, 64, channels), jnp.float32)
    wanted, structure = jax.tree_util.tree_flatten_with_path(jax.eval_shape(model.init, jax.random.key(0), image))
    names = {path: _name(family, path) for path, _ in wanted}
    leaves, missing, shapes = [], [], []
    for path, leaf in wanted:
        layer, entry = path[-2].key, path[-1].key
        if names[path] not in state:
            missing.append(names[path])
            continue
        value = state[names[path]]
        if layer == "classify" and (new_head or _other_classes(value, leaf.shape, entry)):
            draw = nn.initializers.lecun_normal() if entry == "kernel" else nn.initializers.zeros
            leaves.append(draw(jax.random.key(0) if key is None else key, leaf.shape, leaf.dtype))
            continue
        translated = _translated(value, len(leaf.shape))
        if layer == "conv0" and translated.shape[2:3] == (3,):
            translated = _for_channels(translated, channels)
        if translated.shape != leaf.shape:
            shapes.append(f"{names[path]} {value.shape}, wanted {_in_their_order(leaf.shape, value.ndim)}")
        leaves.append(jnp.asarray(translated, leaf.dtype))
    unknown = sorted(set(state) - set(names.values()))
    problems = {"Missing": missing, "Unknown": unknown, "Of wrong shape": shapes}
    if any(problems.values()):
        lists = (f"{title}: {', '.join(names)}." for title, names in problems.items() if names)
        raise ValueError(
            f"{source} must fit the network, and as the weights of {family.title} it does not. {' '.join(lists)} "
            "Take the network that it was trained as, and the channels of its images."
        )
    return jax.tree.unflatten(structure, leaves)


def _modern(name: str) -> str:
    # Data-parallel training saves behind "module.", and torchvision's own DenseNet files have "norm.1" for "norm1".
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.", r"\1", name.removeprefix("module."))


def _other_classes(value: np.ndarray, wanted: tuple[int, ...], entry: str) -> bool:
    """Returns whether the last layer differs in nothing but its number of classes."""
    return value.shape[0] != wanted[-1] and value.shape[1:] == (wanted[:1] if entry == "kernel" else ())


def _translated(value: np.ndarray, rank: int) -> np.ndarray:
    """Returns a kernel with outputs last, and a 1x1 convolution as the matrix that it is."""
    if value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)
        return value[0, 0] if rank == 2 and value.shape[:2] == (1, 1) else value
    return value.T


def _in_their_order(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    if len(shape) == 4:
        return shape[3], shape[2], *shape[:2]
    return (*shape[::-1], 1, 1) if rank == 4 else shape[::-1]


def _for_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Returns a first convolution for `channels` channels from one for red, green and blue, shape (h, w, 3, o)."""
    if channels == 3:
        return kernel
    if channels == 1:
        return kernel.sum(2, keepdims=True)
    return kernel[:, :, np.arange(channels) % 3] * (3 / channels)


def _name(family: "Family", path: tuple[Any, ...]) -> str:
    """Returns the name that `family` has for a leaf of our variables."""
    _, first, *rest, entry = (part.key for part in path)
    kind, *numbers = first.split("_")
    layer = family.layer(kind, *map(int, numbers), *rest) if rest else family.layers.get(first, first)
    return f"{layer}.{ENTRIES[entry]}"


def _densenet(kind: str, number: int, *rest: Any) -> str:
    if kind == "transitions":
        return f"features.transition{number + 1}.{rest[0]}"
    return f"features.denseblock{number + 1}.denselayer{rest[0] + 1}.{rest[1]}"


def _torchvision_efficientnet(kind: str, stage: int, block: int, layer: str) -> str:
    parts = {
        "expand": (0, "0"),
        "expand_norm": (0, "1"),
        "depthwise": (1, "0"),
        "depthwise_norm": (1, "1"),
        "squeeze": (2, "fc1"),
        "excite": (2, "fc2"),
        "project": (3, "0"),
        "project_norm": (3, "1"),
    }
    place, part = parts[layer]
    # The first stage does not expand, and what comes after stands one place before.
    return f"features.{stage + 1}.{block}.block.{place - (stage == 0)}.{part}"


def _timm_efficientnet(kind: str, stage: int, block: int, layer: str) -> str:
    names = {
        "expand": "conv_pw",
        "expand_norm": "bn1",
        "depthwise": "conv_dw",
        "depthwise_norm": "bn2",
        "squeeze": "se.conv_reduce",
        "excite": "se.conv_expand",
        "project": "conv_pwl",
        "project_norm": "bn3",
    }
    if stage == 0:  # which does not expand
        names |= {"depthwise_norm": "bn1", "project": "conv_pw", "project_norm": "bn2"}
    return f"blocks.{stage}.{block}.{names[layer]}"


class Family(NamedTuple):
    """How one library names the layers of one kind of network.

    Attributes:
        title: What it is called in errors.
        sign: How a name begins that no other family has.
        layers: Its name of each layer outside the blocks, by ours.
        layer: From our parts of a name, such as `("blocks", 0, 3, "norm1")`, to its name of a layer of a block.
    """

    title: str
    sign: str
    layers: dict[str, str]
    layer: Callable[..., str]


FAMILIES = (
    Family(
        "torchvision's DenseNet",
        "features.denseblock",
        {name: f"features.{name}" for name in ("conv0", "norm0", "norm5")} | {"classify": "classifier"},
        _densenet,
    ),
    Family(
        "torchvision's EfficientNet",
        "features.0.0.",
        {
            "conv0": "features.0.0",
            "norm0": "features.0.1",
            "conv1": f"features.{len(B4) + 1}.0",
            "norm1": f"features.{len(B4) + 1}.1",
            "classify": "classifier.1",
        },
        _torchvision_efficientnet,
    ),
    Family(
        "timm's EfficientNet",
        "conv_stem.",
        {"conv0": "conv_stem", "norm0": "bn1", "conv1": "conv_head", "norm1": "bn2", "classify": "classifier"},
        _timm_efficientnet,
    ),
)
