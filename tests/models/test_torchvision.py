"""Agreement with torchvision and timm through files of weights. It needs PyTorch, which nothing else here needs:

    pip install torch torchvision timm safetensors
    python -m pytest tests/models/test_torchvision.py

What these networks said is in `tests/golden/networks.json`, so that agreement is also tested without them.
"""

import json
import types
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from sfjax.models import MODELS, pretrained

GOLDEN = Path(__file__).parents[1] / "golden" / "networks.json"
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)

torch = pytest.importorskip(
    "torch", reason="pip install torch torchvision timm safetensors; python -m pytest tests/models/test_torchvision.py"
)


@pytest.fixture(scope="module")
def torchvision():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchvision
        except RuntimeError:
            # A build for another PyTorch: two of its operators are declared, which none of these networks calls.
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            import torchvision
    return torchvision


@pytest.fixture(params=networks.SHAPES)
def network(request, torchvision):
    """A PyTorch network with weights and statistics by the rule, its name, and ours."""
    library, _, name = request.param.rpartition(".")
    if library:
        timm = pytest.importorskip(library, reason="pip install timm")
        network = timm.create_model(name, num_classes=5)
    else:
        network = getattr(torchvision.models, name)(num_classes=5)
    ours, shapes = networks.SHAPES[request.param]
    theirs = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert {key: shape for key, shape in theirs.items() if not key.endswith("num_batches_tracked")} == shapes
    state = {key: torch.tensor(value) for key, value in networks.state_dict(shapes).items()}
    network.load_state_dict(state, strict=False)
    return types.SimpleNamespace(name=request.param, ours=MODELS[ours](num_classes=5), theirs=network.eval())


def said(network, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits and features of a PyTorch network."""
    features = []
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    hook = last.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].numpy()))
    with torch.no_grad():
        logits = network(torch.tensor(((images - MEAN) / STD).transpose(0, 3, 1, 2))).numpy()
    hook.remove()
    return logits, features[0]


def test_logits_and_features_agree_through_files(network, tmp_path):
    torch.save(network.theirs.state_dict(), tmp_path / "weights.pth")
    variables = pretrained.load(tmp_path / "weights.pth", network.ours)
    safetensors = pytest.importorskip("safetensors.torch", reason="pip install safetensors")
    safetensors.save_file(network.theirs.state_dict(), tmp_path / "weights.safetensors")
    jax.tree.map(
        np.testing.assert_array_equal, pretrained.load(tmp_path / "weights.safetensors", network.ours), variables
    )
    forward = jax.jit(lambda images: network.ours.suffix(variables, network.ours.prefix(variables, images), None))
    for shape in ((64, 64), (97, 130)):
        images = networks.images(*shape)
        logits, features = said(network.theirs, images)
        heads = forward(jnp.asarray(images))
        assert np.abs(heads.logits - logits).max() <= 1e-4 * np.abs(logits).max()
        assert np.abs(heads.features - features).max() <= 1e-4 * np.abs(features).max()


def test_the_golden_file_is_what_they_say(network):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    if network.name in golden["logits"]:
        logits, features = said(network.theirs, networks.images(*golden["size"]))
        np.testing.assert_allclose(logits, golden["logits"][network.name], atol=1e-4)
        np.testing.assert_allclose(features[:, :8], golden["features"][network.name], atol=1e-4)


@pytest.mark.parametrize("wrapped", ["state_dict", "model"])
def test_checkpoints_of_training_programs(wrapped, tmp_path):
    network = networks.small("densenet")
    state = {
        f"module.{name}": torch.tensor(value)
        for name, value in networks.state_dict(networks.densenet_shapes(8, (2, 1), 3)).items()
    }
    torch.save({wrapped: state, "epoch": 3}, tmp_path / "checkpoint.pt")
    torch.save({name: value.half() for name, value in state.items()}, tmp_path / "half.pt")
    full, half = (pretrained.load(tmp_path / name, network) for name in ("checkpoint.pt", "half.pt"))
    assert full["params"]["conv0"]["kernel"].dtype == half["params"]["conv0"]["kernel"].dtype == jnp.float32
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), full, half)


def test_what_is_no_file_of_weights_is_refused(tmp_path):
    network = networks.small("densenet")
    torch.save({"features.conv0.weight": torch.zeros(100, 100)}, tmp_path / "whole.pth")
    torch.save({"network": torch.nn.Linear(2, 2)}, tmp_path / "code.pth")
    torch.save({"features.conv0.weight": 3}, tmp_path / "number.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:1000])
    (tmp_path / "foreign.pth").write_text("<html>not found</html>")
    (tmp_path / "empty.pth").write_bytes(b"")
    for name in ("code", "number", "list", "cut", "foreign", "empty"):
        with pytest.raises(ValueError, match=f"{name}.pth"):
            pretrained.load(tmp_path / f"{name}.pth", network)
    with pytest.raises(ValueError, match="Unsupported global"):
        pretrained.load(tmp_path / "code.pth", network)
