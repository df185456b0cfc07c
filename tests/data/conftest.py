"""Small sets of images on disk, with their manifest."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image


def write_images(folder: Path, count: int, seed: int = 0) -> list[str]:
    """Writes distinct gray images of 6 px and returns their paths relative to the folder."""
    (folder / "images").mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 6, 6), dtype=np.uint8)
    names = [f"images/{seed}-{i:03d}.png" for i in range(count)]
    for name, image in zip(names, pixels, strict=True):
        Image.fromarray(image).save(folder / name)
    return names


@pytest.fixture
def complete(tmp_path: Path) -> pd.DataFrame:
    """A faultless manifest: four images a source set and a shifted set, two of each class; its files are in tmp_path."""
    splits = [split for split in ("train", "val", "cal", "iid_test", "acq_b") for _ in range(4)]
    labels = ["benign", "malignant"] * 10
    return pd.DataFrame({"image_path": write_images(tmp_path, 20), "label": labels, "split": splits})
