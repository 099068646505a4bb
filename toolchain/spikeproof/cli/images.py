"""The images a command works on: read, recognised by content, and never assumed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.memory import check_fits
from spikeproof.errors import InputError
from spikeproof.io.checkpoint import Checkpoint
from spikeproof.io.known import DataRecord, describe
from spikeproof.io.slices import open_samples
from spikeproof.io.trained import Trained, trained_on
from spikeproof.io.zoo import zoo_calibration, zoo_images

if TYPE_CHECKING:
    from spikeproof.cli.console import Console

Purpose = Literal["calibration", "test"]
SHIPPED = "Fashion-MNIST"
_FILES = {"calibration": zoo_calibration, "test": zoo_images}
_WANTED = {
    "calibration": "images x {shape}, some of those it was trained on",
    "test": "images x {shape} and labels y, of the kind it was trained on but not those",
}


@dataclass(frozen=True, eq=False)
class Images:
    """Images uint8 (N, C, H, W), labels (N,) if there are any, and what they are."""

    x: NDArray[np.uint8]
    y: NDArray[np.int64] | None
    path: Path
    record: DataRecord

    def first(self, count: int | None) -> Images:
        """Return the first ``count`` images only; None: all."""
        y = None if self.y is None else self.y[:count]
        return Images(self.x[:count], y, self.path, self.record.used(count))


def load_images(
    path: Path | None, purpose: Purpose, checkpoint: Checkpoint, option: str | None
) -> Images:
    """Read images for a network from ``path``, or the shipped ones if it was trained on their set.

    Args:
        path: npz with x and perhaps y, npy with x, or a folder with x.npy and perhaps y.npy;
            or None.
        purpose: which of the shipped images would do.
        checkpoint: the trained network; its record says what it was trained on.
        option: how to name a file instead, for the message of an error; None: this command takes
            only the shipped ones.

    Raises:
        InputError: the file is unusable, or none was named and the network was not trained on the
            set that ships with the project, as far as its checkpoint tells.
    """
    shape = tuple(checkpoint.network.input_shape)
    if path is None:
        trained = trained_on(checkpoint)
        if trained.data is None or trained.data.name != SHIPPED or trained.data.shape != shape:
            wanted = _WANTED[purpose].format(shape=f"(N, {str(shape)[1:]}")
            raise InputError(
                f"was not trained on the images that ship with the project ({SHIPPED}), as far as "
                f"its checkpoint says: {_what_is_recorded(trained)}",
                where=checkpoint.network.name,
                hint="Give your own: convert --calibration TRAIN.npz, then verify --data TEST.npz."
                if option is None
                else f"Give {option} FILE: npz with {wanted}; or a folder with x.npy and y.npy.",
            )
    chosen = path or _FILES[purpose]()
    samples = open_samples(chosen, shape)
    check_fits(
        math.prod(samples.x.shape),
        f"holding {len(samples):,} images",
        where=str(chosen),
        hint="Give fewer: the first few thousand are enough for any check.",
    )
    x, y = samples.read(0, len(samples)), samples.labels
    return Images(x, y, chosen, describe(x, y, file=chosen.resolve().name))


def show_data(console: Console, record: DataRecord, what: str = "data") -> None:
    """Say which data were found."""
    console.note(f"{what}: {record.text()}")


def warn(console: Console, warnings: list[str]) -> list[str]:
    """Print warnings, also with ``-q``, and return them."""
    for line in warnings:
        console.warn(line)
    return warnings


def _what_is_recorded(trained: Trained) -> str:
    if trained.data is not None:
        return f"it was trained on {trained.data.name}"
    if trained.sha256 is not None:
        return f"its training data (SHA-256 {trained.sha256[:16]}…) are no published set we know"
    return "it does not record what it was trained on"
