"""The images that ship with the package, and the command that makes their files again.

``python -m spikeproof_models.shipped [FOLDER]`` writes them; the bytes do not depend on the day.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from spikeproof.io.data import save_arrays
from spikeproof_models.datasets import load_fashion_mnist
from spikeproof_models.locations import zoo_dir

TEST_FILE = "fashion-mnist-test-1000.npz"
CALIBRATION_FILE = "fashion-mnist-calibration-512.npz"
_CALIBRATION_SEED = 2024


def write_shipped(folder: Path) -> tuple[Path, Path]:
    """Write both files and return their paths.

    The test file holds the first 1 000 images of the test split, in order; the calibration file
    512 images drawn without replacement from the training split.
    """
    test = load_fashion_mnist("test").take(np.arange(1000))
    train = load_fashion_mnist("train")
    drawn = np.random.default_rng(_CALIBRATION_SEED).choice(len(train), 512, replace=False)
    paths = folder / TEST_FILE, folder / CALIBRATION_FILE
    for path, images in zip(paths, (test, train.take(np.sort(drawn))), strict=True):
        save_arrays(path, {"x": images.x, "y": images.y.astype(np.uint8)})
    return paths


if __name__ == "__main__":
    write_shipped(Path(sys.argv[1]) if len(sys.argv) > 1 else zoo_dir() / "data")
