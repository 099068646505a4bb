"""The images that ship with the package, and the command that makes their files again.

``python -m spikeproof_models.shipped [FOLDER]`` writes them; the bytes do not depend on the day.
With ``--all`` it writes all test images instead, for a verification on every one of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import SpikeproofError
from spikeproof.io.data import save_arrays
from spikeproof.io.zoo import shipped_folder
from spikeproof_models.datasets import ImageSet, load_dataset

TEST_FILE = "fashion-mnist-test-1000.npz"
CALIBRATION_FILE = "fashion-mnist-calibration-512.npz"
ALL_TEST_FILE = "fashion-mnist-test-10000.npz"
_CALIBRATION_SEED = 2024


def write_shipped(folder: Path, data_dir: Path | None = None) -> tuple[Path, Path]:
    """Write both files and return their paths.

    The test file holds the first 1 000 images of the test split, in order; the calibration file
    512 images drawn without replacement from the training split.
    """
    test = load_dataset("fashion-mnist", "test", data_dir).take(np.arange(1000))
    train = load_dataset("fashion-mnist", "train", data_dir)
    paths = folder / TEST_FILE, folder / CALIBRATION_FILE
    for path, images in zip(paths, (test, train.take(calibration_order(len(train)))), strict=True):
        _save(path, images)
    return paths


def calibration_order(total: int) -> NDArray[np.int64]:
    """Return which of the ``total`` training images are the shipped calibration images."""
    drawn = np.random.default_rng(_CALIBRATION_SEED).choice(total, 512, replace=False)
    return np.sort(drawn)


def write_all_test(folder: Path, data_dir: Path | None = None) -> Path:
    """Write all 10 000 test images to one file for ``--data`` and return its path."""
    path = folder / ALL_TEST_FILE
    _save(path, load_dataset("fashion-mnist", "test", data_dir))
    return path


def main(arguments: list[str] | None = None) -> None:
    """Write the shipped files, or all test images."""
    program = "python -m spikeproof_models.shipped"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="default: the zoo's, or here")
    parser.add_argument("--all", action="store_true", help=f"write {ALL_TEST_FILE} instead")
    parser.add_argument("--data-dir", type=Path, help="folder with the four IDX files")
    given = parser.parse_args(arguments)
    try:
        if given.all:
            write_all_test(given.folder or Path(), given.data_dir)
        else:
            write_shipped(given.folder or shipped_folder() / "data", given.data_dir)
    except SpikeproofError as error:
        parser.error(str(error))


def _save(path: Path, images: ImageSet) -> None:
    save_arrays(path, {"x": images.x, "y": images.y.astype(np.uint8)})


if __name__ == "__main__":
    main()
