"""What the tests of networks share: small networks of each kind, weights by a rule, and PyTorch's names and shapes."""

import functools
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sfjax.models import Classifier, Heads, Variables, from_linen
from sfjax.models.densenet import DenseNet
from sfjax.models.efficientnet import B4, EfficientNet, Stage
from sfjax.models.layers import last_layer
from sfjax.models.small_cnn import SmallCNN

KINDS = {
    "small_cnn": (SmallCNN, {}),
    "densenet": (DenseNet, {"growth": 8, "block_sizes": (2, 1)}),
    "efficientnet": (EfficientNet, {"stem": 8, "stages": (Stage(1, 3, 2, 8, 1), Stage(6, 5, 1, 8, 1)), "top": 24}),
}
"""Networks of every kind that compile in a second."""


@functools.cache
def small(kind: str, **options: Any) -> Classifier:
    """Returns a small network of a kind with three classes, always the same, so that what is compiled is shared."""
    module, sizes = KINDS[kind]
    return from_linen(module(**{"num_classes": 3, **sizes, **options}), head=last_layer)


@functools.partial(jax.jit, static_argnums=0)
def heads(classifier: Classifier, variables: Variables, images: jax.Array, keys: jax.Array | None = None) -> Heads:
    """Returns what a network says, with dropout if there are keys."""
    return classifier.suffix(variables, classifier.prefix(variables, images), keys)


def by_rule(name: str, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
    """Returns the array that belongs to a name: uniform numbers whose seed is the name's CRC-32.

    Variances are in [0.5, 1.5], scales of normalization in [0.7, 1.3], means and biases in [-0.2, 0.2], and weights
    have variance 2 / fan-in, a ninth of it in squeeze and excitation. So what an image says reaches the last layer, and
    rounding is not blown up on the way.
    """
    low, high = -0.2, 0.2
    if name.endswith("var"):
        low, high = 0.5, 1.5
    elif name.endswith(("weight", "scale", "kernel")):
        high = (6 / fan_in) ** 0.5 * (0.3 if any(part in name for part in (".fc", ".se.", "squeeze", "excite")) else 1)
        low, high = (0.7, 1.3) if len(shape) == 1 else (-high, high)
    return np.random.RandomState(zlib.crc32(name.encode())).uniform(low, high, shape).astype(np.float32)


def by_rule_throughout(shapes: Any) -> Any:
    """Returns variables of the shapes, by the rule: drawing them would take many times as long to compile."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.asarray(
            by_rule("/".join(part.key for part in path), leaf.shape, int(np.prod(leaf.shape[:-1])))
        ),
        shapes,
    )


def filled(classifier: Classifier, channels: int = 3) -> Variables:
    """Returns variables of a network by the rule."""
    image = jax.ShapeDtypeStruct((64, 64, channels), jnp.float32)
    return by_rule_throughout(jax.eval_shape(classifier.init, jax.random.key(0), image))


def state_dict(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns a PyTorch network's weights and statistics by the rule."""
    return {name: by_rule(name, shape, int(np.prod(shape[1:]))) for name, shape in shapes.items()}


def norm_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """Returns what a BatchNorm2d holds, without its counter of batches."""
    return {f"{name}.{entry}": (width,) for entry in ("weight", "bias", "running_mean", "running_var")}


def densenet_shapes(growth: int, block_sizes: tuple[int, ...], num_classes: int) -> dict[str, tuple[int, ...]]:
    """Returns names and shapes of torchvision's DenseNet."""
    width = 2 * growth
    shapes = {"features.conv0.weight": (width, 3, 7, 7), **norm_shapes("features.norm0", width)}
    for i, size in enumerate(block_sizes, start=1):
        for j in range(1, size + 1):
            layer = f"features.denseblock{i}.denselayer{j}"
            shapes |= norm_shapes(f"{layer}.norm1", width) | {f"{layer}.conv1.weight": (4 * growth, width, 1, 1)}
            shapes |= norm_shapes(f"{layer}.norm2", 4 * growth) | {f"{layer}.conv2.weight": (growth, 4 * growth, 3, 3)}
            width += growth
        if i < len(block_sizes):
            shapes |= norm_shapes(f"features.transition{i}.norm", width)
            shapes[f"features.transition{i}.conv.weight"] = (width // 2, width, 1, 1)
            width //= 2
    shapes |= norm_shapes("features.norm5", width)
    return shapes | {"classifier.weight": (num_classes, width), "classifier.bias": (num_classes,)}


def efficientnet_b4_shapes(num_classes: int, library: str) -> dict[str, tuple[int, ...]]:
    """Returns names and shapes of EfficientNet-B4 in torchvision or in timm."""
    timm = library == "timm"
    stem, stem_norm, top, top_norm, last = (
        ("conv_stem", "bn1", "conv_head", "bn2", "classifier")
        if timm
        else ("features.0.0", "features.0.1", "features.8.0", "features.8.1", "classifier.1")
    )
    inputs = 48
    shapes = {f"{stem}.weight": (inputs, 3, 3, 3), **norm_shapes(stem_norm, inputs)}
    for i, stage in enumerate(B4):
        for j in range(stage.blocks):
            inner = inputs * stage.expansion
            if timm:
                block = f"blocks.{i}.{j}"
                names = ["conv_pw", "bn1", "conv_dw", "bn2", "se.conv_reduce", "se.conv_expand", "conv_pwl", "bn3"]
                if stage.expansion == 1:
                    names = ["", "", "conv_dw", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pw", "bn2"]
            else:
                block = f"features.{i + 1}.{j}.block"
                names = ["0.0", "0.1", "1.0", "1.1", "2.fc1", "2.fc2", "3.0", "3.1"]
                if stage.expansion == 1:
                    names = ["", "", "0.0", "0.1", "1.fc1", "1.fc2", "2.0", "2.1"]
            expand, expand_norm, depthwise, depthwise_norm, reduce, excite, project, project_norm = (
                f"{block}.{name}" for name in names
            )
            if stage.expansion > 1:
                shapes |= {f"{expand}.weight": (inner, inputs, 1, 1)} | norm_shapes(expand_norm, inner)
            shapes |= {f"{depthwise}.weight": (inner, 1, stage.size, stage.size)} | norm_shapes(depthwise_norm, inner)
            squeezed = inputs // 4
            shapes |= {f"{reduce}.weight": (squeezed, inner, 1, 1), f"{reduce}.bias": (squeezed,)}
            shapes |= {f"{excite}.weight": (inner, squeezed, 1, 1), f"{excite}.bias": (inner,)}
            shapes |= {f"{project}.weight": (stage.width, inner, 1, 1)} | norm_shapes(project_norm, stage.width)
            inputs = stage.width
    shapes |= {f"{top}.weight": (1792, inputs, 1, 1)} | norm_shapes(top_norm, 1792)
    return shapes | {f"{last}.weight": (num_classes, 1792), f"{last}.bias": (num_classes,)}


SHAPES = {
    "densenet121": ("densenet121", densenet_shapes(32, (6, 12, 24, 16), 5)),
    "densenet161": ("densenet161", densenet_shapes(48, (6, 12, 36, 24), 5)),
    "efficientnet_b4": ("efficientnet_b4", efficientnet_b4_shapes(5, "torchvision")),
    "timm.efficientnet_b4": ("efficientnet_b4", efficientnet_b4_shapes(5, "timm")),
}
"""By the name of a PyTorch network with five classes: our name, and its names and shapes."""


def images(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Returns two images in [0, 1], of squares in random colors with noise."""
    random = np.random.RandomState(0)
    squares = random.uniform(size=(2, -(-height // 16), -(-width // 16), channels))
    squares = squares.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]
    return (0.7 * squares + 0.3 * random.uniform(size=squares.shape)).astype(np.float32)
