"""Weights of PyTorch's networks without PyTorch: golden logits, and what may and may not differ."""

import json
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from sfjax.models import MODELS, pretrained

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "networks.json").read_text(encoding="utf-8"))
NETWORK = networks.small("densenet")
SHAPES = networks.densenet_shapes(8, (2, 1), 3)


@pytest.fixture
def state() -> dict[str, np.ndarray]:
    """What PyTorch would hold of the small DenseNet."""
    return networks.state_dict(SHAPES)


@pytest.mark.parametrize("name", GOLDEN["logits"])
def test_logits_and_features_of_other_libraries(name):
    ours, shapes = networks.SHAPES[name]
    classifier = MODELS[ours](num_classes=5)
    variables = pretrained.from_state_dict(networks.state_dict(shapes), classifier)
    found = networks.heads(classifier, variables, jnp.asarray(networks.images(*GOLDEN["size"])))
    logits, features = np.asarray(GOLDEN["logits"][name]), np.asarray(GOLDEN["features"][name])
    assert np.abs(found.logits - logits).max() <= 1e-4 * np.abs(logits).max()
    assert np.abs(found.features[:, :8] - features).max() <= 1e-4 * np.abs(features).max()


def test_names_of_old_files_and_of_parallel_training(state):
    expected = pretrained.from_state_dict(state, NETWORK)
    renamed = {"module." + re.sub(r"(denselayer\d\.\w+)([12])\.", r"\1.\2.", name): x for name, x in state.items()}
    assert "module.features.denseblock1.denselayer2.norm.1.running_mean" in renamed
    renamed["module.features.norm0.num_batches_tracked"] = np.asarray(7)
    jax.tree.map(np.testing.assert_array_equal, pretrained.from_state_dict(renamed, NETWORK), expected)


def test_a_head_for_other_classes_is_new():
    state = networks.state_dict(networks.densenet_shapes(8, (2, 1), 1000))
    first, second = (pretrained.from_state_dict(state, NETWORK, key=jax.random.key(seed)) for seed in (1, 2))
    weight, bias = NETWORK.head(first)
    assert weight.shape == (24, 3) and float(jnp.abs(weight).min()) > 0 and not bias.any()
    assert float(weight.std()) == pytest.approx(24**-0.5, rel=0.3)
    assert (weight != NETWORK.head(second)[0]).any()
    # A head that would fit is new too where it is asked for: its last output may mean something else.
    fitting = networks.state_dict(SHAPES)
    kept, new = (pretrained.from_state_dict(fitting, NETWORK, new_head=anew) for anew in (False, True))
    assert (NETWORK.head(kept)[0] != NETWORK.head(new)[0]).all() and not NETWORK.head(new)[1].any()
    del first["params"]["classify"], second["params"]["classify"]
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize(("channels", "taken", "factor"), [(6, (0, 1, 2, 0, 1, 2), 0.5), (2, (0, 1), 1.5)])
def test_first_convolution_for_more_channels(state, channels, taken, factor):
    kernel = pretrained.from_state_dict(state, NETWORK, channels=channels)["params"]["conv0"]["kernel"]
    for channel, original in enumerate(taken):
        expected = factor * state["features.conv0.weight"][:, original]
        np.testing.assert_allclose(np.asarray(kernel)[:, :, channel].transpose(2, 0, 1), expected, rtol=1e-6)


def test_first_convolution_for_one_channel_is_that_of_gray(state):
    kernel = pretrained.from_state_dict(state, NETWORK, channels=1)["params"]["conv0"]["kernel"]
    expected = state["features.conv0.weight"].sum(1, keepdims=True).transpose(2, 3, 1, 0)
    np.testing.assert_allclose(kernel, expected, atol=1e-6)


def test_all_that_does_not_fit_is_in_one_error(state):
    del state["features.norm5.bias"], state["features.transition1.conv.weight"]
    state["features.denseblock1.denselayer3.conv1.weight"] = np.zeros((32, 32, 1, 1), np.float32)
    state["features.conv0.weight"] = np.zeros((16, 3, 5, 5), np.float32)
    state["features.denseblock2.denselayer1.conv1.weight"] = np.zeros((32, 8, 1, 1), np.float32)
    state["classifier.weight"] = np.zeros((1000, 32), np.float32)
    with pytest.raises(ValueError) as caught:
        pretrained.from_state_dict(state, NETWORK, source="some/file.pth")
    for part in (
        "some/file.pth",
        "Missing: features.norm5.bias, features.transition1.conv.weight.",
        "Unknown: features.denseblock1.denselayer3.conv1.weight.",
        "features.conv0.weight (16, 3, 5, 5), wanted (16, 3, 7, 7)",
        "features.denseblock2.denselayer1.conv1.weight (32, 8, 1, 1), wanted (32, 16, 1, 1)",
        "classifier.weight (1000, 32), wanted (3, 24)",
    ):
        assert part in str(caught.value), part


@pytest.mark.parametrize("kind", ["efficientnet", "small_cnn"])
def test_another_network_is_refused(state, kind):
    with pytest.raises(ValueError, match="as the weights of torchvision's DenseNet"):
        pretrained.from_state_dict(state, networks.small(kind))


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"layer1.weight.*by hand"):
        pretrained.from_state_dict({"layer1.weight": np.zeros(3)}, NETWORK)


def test_safetensors(state, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy", reason="pip install safetensors")
    safetensors.save_file(state, tmp_path / "weights.safetensors")
    expected = pretrained.from_state_dict(state, NETWORK)
    jax.tree.map(np.testing.assert_array_equal, pretrained.load(tmp_path / "weights.safetensors", NETWORK), expected)
    for dtype in (np.float16, jnp.bfloat16):
        short = {name: value.astype(dtype) for name, value in state.items()}
        safetensors.save_file(short, tmp_path / "short.safetensors")
        found = pretrained.load(tmp_path / "short.safetensors", NETWORK)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=4e-3), found, expected)
        assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.float32)}
    whole = (tmp_path / "weights.safetensors").read_bytes()
    for name, content in {"cut": whole[:-100], "foreign": b"<html>not found</html>", "empty": b""}.items():
        (tmp_path / f"{name}.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}.safetensors cannot be read"):
            pretrained.load(tmp_path / f"{name}.safetensors", NETWORK)


def test_files_that_are_not_there_or_of_another_kind(tmp_path):
    with pytest.raises(ValueError, match="there is none at"):
        pretrained.load(tmp_path / "missing.pth", NETWORK)
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(ValueError, match=r"\.safetensors, \.pth, \.pt"):
        pretrained.load(tmp_path / "weights.h5", NETWORK)


@pytest.mark.parametrize(
    ("suffix", "library", "remedy"),
    [("pth", "torch", "to a .safetensors file"), ("safetensors", "safetensors", "pip install safetensors")],
)
def test_a_missing_library_is_named_with_the_remedy(monkeypatch, tmp_path, suffix, library, remedy):
    monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / f"weights.{suffix}").write_bytes(b"")
    with pytest.raises(ImportError, match=remedy):
        pretrained.load(tmp_path / f"weights.{suffix}", NETWORK)
