"""The images to calibrate or to verify with: read, recognised by content, and never assumed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.memory import check_fits
from spikeproof.errors import InputError, ShapeError
from spikeproof.io.arguments import COUNT, check_arguments
from spikeproof.io.bundle import Bundle
from spikeproof.io.checked import as_labels, as_uint8
from spikeproof.io.checkpoint import Checkpoint
from spikeproof.io.formats import FRONTENDS, TrainedFrontend
from spikeproof.io.known import DataRecord, describe
from spikeproof.io.slices import open_samples
from spikeproof.io.trained import Trained, trained_on
from spikeproof.io.zoo import zoo_calibration, zoo_images
from spikeproof.text import counted

Purpose = Literal["calibration", "test"]
Place = str | PathLike[str]
Data = Place | NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]
"""A file or folder of samples, an array x, or x and labels y."""
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
        """Return the first ``count`` images only; None: all.

        Raises:
            InputError: the count is no whole number, or below 1.
        """
        check_arguments("samples", limit=(count, COUNT.optional))
        count = None if count is None else int(count)  # NumPy's are no numbers of a document
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
    with naming_assumed_size(checkpoint, purpose):
        return _read(path or _FILES[purpose](), shape)


@contextmanager
def naming_assumed_size(checkpoint: Checkpoint, purpose: Purpose) -> Iterator[None]:
    """Say of images of another size that the network's was assumed, and how to give theirs.

    Raises:
        ShapeError: as it came, with that before its hint.
    """
    try:
        yield
    except ShapeError as error:
        assumed = assumed_size(checkpoint)
        seen = error.found[1:]
        if purpose == "calibration" and assumed and len(seen) == 3 and seen[0] == assumed[0]:
            error.advise(
                f"The file does not say the size, so {_size(assumed)} was assumed: for a network "
                f"of {_size(seen)} give --input-shape {' '.join(map(str, seen))}. Else: "
                f"{error.hint}"
            )
        raise


def assumed_size(checkpoint: Checkpoint) -> tuple[int, ...] | None:
    """Return (C, H, W) where neither a foreign file nor whoever read it said it; else None."""
    source = checkpoint.training.source
    if source is None or "input_shape" in source.settings:
        return None
    frontend = FRONTENDS.get(source.frontend)
    asks = frontend.settings if isinstance(frontend, TrainedFrontend) else None
    if asks is None or "input_shape" not in asks.model_fields:
        return None
    return tuple(checkpoint.network.input_shape)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def images_of(data: Data, input_shape: tuple[int, ...], steps: int | None = None) -> Images:
    """Return samples from a file, a folder, an array x, or arrays x and labels y.

    Args:
        data: x as (N, C, H, W), uint8 or floats in 0..1; or 0/1 (N, T, C, H, W) with ``steps``.
        input_shape: expected (C, H, W).
        steps: expected T of spikes, None for images.

    Raises:
        InputError: wrong type, shape or values, or labels that are not one for each sample.
    """
    if isinstance(data, str | PathLike):
        return _read(Path(data), tuple(input_shape), steps)
    x, y = data if isinstance(data, tuple) else (data, None)
    expected = tuple(input_shape) if steps is None else (steps, *input_shape)
    place = Path("array")
    found = as_uint8(_array(x, "x"), expected, place, spikes=steps is not None)
    labels = as_labels(None if y is None else _array(y, "y"), len(found), place)
    return Images(found, labels, place, describe(found, labels))


def _array(given: Any, name: str) -> NDArray[Any]:
    """Return what NumPy makes of it; rows of unequal length and tensors on a GPU are no array."""
    try:
        found = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"is no array: {error}", where=f"array: {name}") from error
    if found.dtype == object:
        held = type(found.flat[0]).__name__ if found.size else "nothing"
        raise InputError(
            f"holds objects of Python ({held}), not numbers",
            where=f"array: {name}",
            hint="Give an array of numbers x, or a pair (x, y).",
        )
    return found


def shipped_test_images(bundle: Bundle) -> Images:
    """Return the shipped test images, if a bundle was calibrated on images of their set.

    Raises:
        InputError: it was not, as far as its record tells.
    """
    calibration = bundle.record.calibration
    data = None if calibration is None else calibration.data
    if data is None or data.name != SHIPPED:
        raise InputError(
            f"was not calibrated on the images that ship with the project ({SHIPPED})",
            where=bundle.network.name,
            hint="Give images: an array, or an npz with x and perhaps y.",
        )
    return _read(zoo_images(), bundle.network.input_shape)


def _read(path: Path, shape: tuple[int, ...], steps: int | None = None) -> Images:
    samples = open_samples(path, shape, steps=steps)
    check_fits(
        math.prod(samples.x.shape),
        f"holding {counted(len(samples), 'image')}",
        where=str(path),
        hint="Give fewer: the first few thousand are enough for any check.",
    )
    x, y = samples.read(0, len(samples)), samples.labels
    return Images(x, y, path, describe(x, y, file=path.resolve().name))


def _what_is_recorded(trained: Trained) -> str:
    if trained.data is not None:
        return f"it was trained on {trained.data.name}"
    if trained.sha256 is not None:
        return f"its training data (SHA-256 {trained.sha256[:16]}…) are no published set we know"
    return "it does not record what it was trained on"
