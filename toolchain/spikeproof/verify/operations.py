"""Count what a chip does for one image: spikes, and the weights they add up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikeproof.document.values import Figure, Number, Record, Text
from spikeproof.engines.reference import synaptic_sum
from spikeproof.engines.trace import LayerTrace
from spikeproof.ir.chip import ChipLayer, ChipNetwork, Synapse

Counts = NDArray[np.int64]


class LayerOperations(Record):
    """What one image costs in one layer, on average."""

    name: Text
    spikes: Number
    """Spikes the layer fires; None for a readout."""
    synaptic: Figure
    """Synaptic operations: one for every non-zero weight that an arriving spike adds."""
    synaptic_most: Figure
    """As many if every input arrived at every step."""
    host: Figure
    """Multiplications on the host."""


def count_operations(
    network: ChipNetwork, x: NDArray[np.uint8], traces: dict[str, LayerTrace]
) -> list[LayerOperations]:
    """Return one row per layer, each figure the mean over the images.

    Args:
        network: the network that ran.
        x: its input: images (N, C, H, W) for coding "pixels", spikes (N, T, C, H, W) otherwise.
        traces: what every layer did on it.
    """
    steps = 1 if network.coding == "spikes" else network.timesteps
    arriving = steps * np.count_nonzero(x, axis=0).astype(np.int64)
    if network.coding == "spikes":
        arriving = arriving.sum(axis=0)
    rows = []
    for layer in network.layers:
        spikes = traces[layer.name].s
        fired = None if spikes is None else float(spikes.sum(dtype=np.int64)) / len(x)
        rows.append(_row(layer, fired, arriving, len(x), network.timesteps))
        if spikes is not None:
            arriving = spikes.sum(axis=(0, 1), dtype=np.int64)
    return rows


def _row(
    layer: ChipLayer, fired: float | None, arriving: Counts, images: int, steps: int
) -> LayerOperations:
    synapse, ones = layer.synapse, np.ones_like(arriving)
    if layer.host:
        # The host computes this layer's current once per image; no spike reaches the chip.
        met = weights_met(synapse, ones)
        return LayerOperations(
            name=layer.name, spikes=fired, synaptic=0.0, synaptic_most=0, host=met
        )
    return LayerOperations(
        name=layer.name,
        spikes=fired,
        synaptic=weights_met(synapse, arriving) / images,
        synaptic_most=weights_met(synapse, steps * ones),
        host=0,
    )


def weights_met(synapse: Synapse, arriving: Counts) -> int:
    """Return how many non-zero weights are added when each input arrives so many times."""
    present = synapse.changed(weight=(synapse.weight != 0).astype(np.int64))
    return int(synaptic_sum(present, arriving).sum())
