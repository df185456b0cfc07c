"""The same networks in PyTorch, eager: what a user of torchvision would write. Needs torch and torchvision.

Their weights are random: they are compared by the clock only. Sides agree in the number of parameters.
"""

import contextlib
import copy
import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from sfjax.models.small_cnn import WIDTHS


def _torchvision_models() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("torchvision.models")
        except RuntimeError:
            # A build for another PyTorch: two of its operators are declared, which none of these networks calls.
            library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            return importlib.import_module("torchvision.models")


models = _torchvision_models()
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# As XLA does where nothing else is asked for.
torch.backends.cuda.matmul.allow_tf32 = True
torch.backends.cudnn.allow_tf32 = True


class SmallCNN(nn.Module):
    """The network of `sfjax.models.small_cnn`."""

    def __init__(self, num_classes: int, dropout: float, channels: int = 3):
        super().__init__()
        inputs = (4 * channels, *WIDTHS[:-1])
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in zip(inputs, WIDTHS, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in WIDTHS)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(2 * WIDTHS[-1], 128)
        self.classify = nn.Linear(128, num_classes)

    def forward(self, x: Any) -> Any:
        x = functional.pixel_unshuffle(x, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = functional.max_pool2d(functional.relu(norm(convolution(x))), 2)
        x = torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)
        return self.classify(self.dropout(functional.relu(self.dense(self.dropout(x)))))


def network(name: str, *, num_classes: int, dropout: float) -> Any:
    """Returns a network of `sfjax.models.MODELS` in PyTorch, with dropout in the same places, on the device."""
    if name == "small_cnn":
        made = SmallCNN(num_classes, dropout)
    elif name.startswith("densenet"):
        made = getattr(models, name)(num_classes=num_classes, drop_rate=dropout)
    else:
        made = getattr(models, name)(num_classes=num_classes, dropout=dropout)
    return made.to(DEVICE)


def count_parameters(made: Any) -> int:
    """Returns how many parameters a network has."""
    return sum(parameter.numel() for parameter in made.parameters())


def describe() -> str:
    """Returns versions, device and threads."""
    version = importlib.import_module("torchvision").__version__
    where = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"threads: {torch.get_num_threads()}"
    return f"torch {torch.__version__}, torchvision {version}, {where}."


def forward(made: Any, images: np.ndarray, *, channels_last: bool, precision: str) -> Callable[[], Any]:
    """Returns a call that computes the logits of images (n, h, w, k) without dropout."""
    made, batch = _placed(made.eval(), images, channels_last)

    def call() -> Any:
        with torch.inference_mode(), _computing_in(precision):
            return _done(made(batch))

    return call


def monte_carlo(made: Any, images: np.ndarray, passes: int, *, precision: str) -> Callable[[], Any]:
    """Returns a call that computes the mean probabilities of so many passes with dropout, one after another."""
    made, batch = _placed(dropout_on(made), images, False)

    def call() -> Any:
        with torch.inference_mode(), _computing_in(precision):
            total = torch.zeros((), device=DEVICE)
            for _ in range(passes):
                total = total + made(batch).float().softmax(-1)
            return _done(total / passes)

    return call


def dropout_on(made: Any) -> Any:
    """Returns the network as for inference but for its dropout, which is on."""
    made.eval()
    for module in made.modules():
        # torchvision's dense layers ask whether they themselves are in training, and drop their output if so.
        if isinstance(module, nn.Dropout) or type(module).__name__ == "_DenseLayer":
            module.training = True
    return made


def training_step(
    made: Any, images: np.ndarray, labels: np.ndarray, *, channels_last: bool, precision: str
) -> Callable[[], Any]:
    """Returns a call that makes one step of Adam on the cross-entropy of images (n, h, w, k), and returns it."""
    made, batch = _placed(made.train(), images, channels_last)
    optimizer = torch.optim.Adam(made.parameters(), 1e-4)
    target = torch.tensor(labels, dtype=torch.int64, device=DEVICE)

    def call() -> Any:
        with _computing_in(precision):
            loss = functional.cross_entropy(made(batch).float(), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return _done(loss.detach())

    return call


def _placed(made: Any, images: np.ndarray, channels_last: bool) -> tuple[Any, Any]:
    made = copy.deepcopy(made)  # sides share neither the order of their weights in memory nor what they learn
    order = torch.channels_last if channels_last else torch.contiguous_format
    batch = torch.tensor(np.moveaxis(images, -1, 1), device=DEVICE)
    return made.to(memory_format=order), batch.to(memory_format=order)


def _computing_in(precision: str) -> Any:
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(DEVICE.type, dtype=getattr(torch, precision))


def _done(result: Any) -> Any:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return result
