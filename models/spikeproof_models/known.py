"""Make the table by which data sets are recognised again, from the official files.

``python -m spikeproof_models.known --mnist FOLDER [--fashion-mnist FOLDER]`` prints it; it is kept
as ``spikeproof/io/known.json``. The files are the IDX files of the sets' authors: of MNIST those
with MD5 6bbc9ace898e44ae57da46a324031adb, a25bea736e30d166cdddb491f175f624,
2646ac647ad5339dbf082846283269ea and 27ae3e4e09519cfbb04c329615203637, unpacked; of Fashion-MNIST
those of Debian's package ``dataset-fashion-mnist``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Literal

import numpy as np

from spikeproof.io.known import KnownPart, KnownSet, images_hash, labels_hash
from spikeproof_models.datasets import ImageSet, read_idx_folder
from spikeproof_models.shipped import calibration_order

NAMES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}
PREFIXES = (
    100,
    128,
    200,
    256,
    300,
    400,
    500,
    512,
    600,
    800,
    1000,
    1024,
    2000,
    2048,
    4096,
    5000,
    10_000,
    20_000,
    30_000,
    40_000,
    50_000,
)


def known_set(dataset: str, split: Literal["train", "test"], folder: Path) -> KnownSet:
    """Return the entry of one split, made from its IDX files."""
    images = read_idx_folder(folder, split)
    total = len(images)
    parts = [_part(f"all {total:,} images", images)]
    for count in (n for n in PREFIXES if n < total):
        parts.append(_part(f"first {count:,} images", images.take(np.arange(count))))
    if dataset == "fashion-mnist" and split == "train":
        order = calibration_order(total)
        parts.append(_part(f"{len(order)} images drawn for calibration", images.take(order)))
    shape = images.x.shape[1:]
    return KnownSet(
        dataset=dataset,
        name=NAMES[dataset],
        split=split,
        shape=shape,
        classes=CLASSES[dataset],
        parts=tuple(parts),
    )


def _part(what: str, images: ImageSet) -> KnownPart:
    return KnownPart(
        what=what,
        samples=len(images),
        images=images_hash(images.x.shape, [images.x]),
        labels=labels_hash(images.y),
        both=images.content_hash(),
    )


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m spikeproof_models.known", description=__doc__)
    parser.add_argument("--mnist", type=Path, required=True, help="folder of the four IDX files")
    parser.add_argument(
        "--fashion-mnist", type=Path, default=Path("/usr/share/datasets/fashion-mnist")
    )
    given = parser.parse_args(arguments)
    splits: tuple[Literal["train", "test"], ...] = ("train", "test")
    table = [
        known_set(dataset, split, folder).model_dump(mode="json")
        for dataset, folder in (("mnist", given.mnist), ("fashion-mnist", given.fashion_mnist))
        for split in splits
    ]
    sys.stdout.write(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
