"""Put together what is verified, and what is known of it beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.convert.board import chip_fit_rows
from spikeproof.errors import InputError
from spikeproof.io.bundle import Bundle
from spikeproof.io.checkpoint import Checkpoint, checkpoint_hash
from spikeproof.io.data import load_data
from spikeproof.io.slices import open_samples
from spikeproof.io.trained import trained_on
from spikeproof.io.zoo import zoo_calibration
from spikeproof.verify.document import FitRow
from spikeproof.verify.given import Subject, is_calibration


def subject_of(bundle: Bundle, checkpoint: Checkpoint) -> Subject:
    """Return bundle and checkpoint with what is known of the training and of the chips."""
    return Subject(
        bundle,
        checkpoint.network,
        checkpoint_hash(checkpoint),
        trained_on(checkpoint),
        [FitRow(**row) for row in chip_fit_rows(bundle.network)],
        checkpoint.training.source,
    )


def find_calibration(
    bundle: Bundle, data: NDArray[Any], path: Path | None = None
) -> NDArray[np.uint8] | None:
    """Read the images a bundle was calibrated with.

    Args:
        bundle: the bundle.
        data: the images it is verified with, which may begin with them.
        path: the file that was given to ``convert --calibration``.

    Returns:
        Those of the file; without one the data or the shipped ones, if it was them; else None.

    Raises:
        InputError: the file is unusable, or holds others (checked where they are used).
    """
    shape = bundle.network.input_shape
    if path is not None:
        samples = open_samples(path, shape)
        return samples.read(0, len(samples))
    if data.dtype == np.uint8 and is_calibration(bundle, data):
        return data
    try:
        images, _ = load_data(zoo_calibration(), shape)
    except InputError:  # not shipped with this installation, or of another shape
        return None
    return images if is_calibration(bundle, images) else None
