"""Run a network with a fault in it: what it says of images."""

from __future__ import annotations

import numpy as np

from spikeproof.engines import floats
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.floats import run_float
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.faults.base import Channels, Images, Labels
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.floats import FloatNetwork


def chip_predictions(network: ChipNetwork, x: Images, channels: Channels | None = None) -> Labels:
    """Return what the integers say of images, uint8 (N, C, H, W).

    Without faults of spikes the fast engine runs; with them the NumPy engine, batch by batch: both
    equal the reference in every integer.
    """
    if channels is None:
        return FastEngine(1).run(network, x).predictions
    size, found = NumpyEngine().batch_size(network), []
    for start in range(0, len(x), size):
        part = x[start : start + size]
        engine = NumpyEngine(channels(range(start, start + len(part))))
        found.append(engine.run(network, part).predictions)
    return np.concatenate(found)


def trained_predictions(
    network: FloatNetwork, x: Images, channels: Channels | None = None
) -> Labels:
    """Return what a trained network says of images, uint8 (N, C, H, W), in float64."""
    if channels is None:
        return run_float(network, x).predictions
    size, found = floats.batch_size(network), []
    for start in range(0, len(x), size):
        part = x[start : start + size]
        channel = channels(range(start, start + len(part)))
        found.append(run_float(network, part, channel=channel).predictions)
    return np.concatenate(found)
