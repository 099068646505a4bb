"""Count what a chip does for one image: spikes, and the weights they add up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikeproof.document.values import Figure, Number, Record, Text
from spikeproof.engines.reference import synaptic_sum
from spikeproof.engines.trace import LayerTrace
from spikeproof.ir.chip import INPUT_INDEX, ChipNetwork, Connection, Synapse

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
    rows = []
    for layer, sources in zip(network.layers, network.sources, strict=True):
        spikes = traces[layer.name].s
        work = [
            _work(one, _arriving(network, x, traces, source, one.lag), len(x), network.timesteps)
            for one, source in zip(layer.inputs, sources, strict=True)
        ]
        synaptic, most, host = (sum(column) for column in zip(*work, strict=True))
        rows.append(
            LayerOperations(
                name=layer.name,
                spikes=None if spikes is None else float(spikes.sum(dtype=np.int64)) / len(x),
                synaptic=synaptic,
                synaptic_most=most,
                host=host,
            )
        )
    return rows


def _arriving(
    network: ChipNetwork, x: NDArray[np.uint8], traces: dict[str, LayerTrace], source: int, lag: int
) -> Counts:
    """Return how often each input of a connection arrives, over all images and steps."""
    steps = max(0, network.timesteps - lag)
    if source != INPUT_INDEX:
        sent = np.asarray(traces[network.layers[source].name].s)
        return np.asarray(sent[:, :steps].sum(axis=(0, 1), dtype=np.int64))
    if network.coding == "spikes":
        return np.asarray(np.count_nonzero(x[:, :steps], axis=(0, 1)), np.int64)
    return np.asarray(steps * np.count_nonzero(x, axis=0), np.int64)


def _work(one: Connection, arriving: Counts, images: int, steps: int) -> tuple[float, int, int]:
    """Return synaptic operations per image, the most there can be, and products on the host."""
    ones = np.ones_like(arriving)
    if one.host is not None:
        # The host computes this current once per image; no spike reaches the chip.
        return 0.0, 0, weights_met(one.synapse, ones)
    met = weights_met(one.synapse, arriving) / images
    return met, weights_met(one.synapse, max(0, steps - one.lag) * ones), 0


def weights_met(synapse: Synapse, arriving: Counts) -> int:
    """Return how many non-zero weights are added when each input arrives so many times."""
    present = synapse.changed(weight=(synapse.weight != 0).astype(np.int64))
    return int(synaptic_sum(present, arriving).sum())
