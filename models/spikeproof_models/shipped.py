"""The images that ship with the package, and the command that makes their files again.

``python -m spikeproof_models.shipped [FOLDER]`` writes them; the bytes do not depend on the day.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeproof.io.files import write_atomic
from spikeproof_models.datasets import ImageSet, load_fashion_mnist
from spikeproof_models.locations import zoo_dir

TEST_FILE = "fashion-mnist-test-1000.npz"
CALIBRATION_FILE = "fashion-mnist-calibration-512.npz"
_CALIBRATION_SEED = 2024
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


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
        write_atomic(path, pack_npz(images))
    return paths


def pack_npz(images: ImageSet) -> bytes:
    """Return a compressed npz with ``x`` and ``y`` whose bytes depend on the content only."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in (("x", images.x), ("y", images.y.astype(np.uint8))):
            entry = zipfile.ZipInfo(f"{name}.npy", _ZIP_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, _npy(array))
    return buffer.getvalue()


def _npy(array: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


if __name__ == "__main__":
    write_shipped(Path(sys.argv[1]) if len(sys.argv) > 1 else zoo_dir() / "data")
