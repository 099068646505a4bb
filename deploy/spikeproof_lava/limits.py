"""Published limits of the chips, and a first check of a network against them.

The numbers are what public sources report; where a chip replaced a fixed limit by shared memory
there is none here. A network that passes may still not fit once it is mapped: stored weights and
cores are lower bounds. One that fails exceeds a published limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from spikeproof.ir.chip import ChipLayer, ChipNetwork, Connection
from spikeproof.ir.graph import delays
from spikeproof.ir.limits import DELAY_MAX


@dataclass(frozen=True)
class ChipLimits:
    """What one chip offers; None where no fixed limit is published. ``source`` names where."""

    name: str
    cores: int
    neurons_per_core: int
    neurons: int
    synapses: int
    synapse_bytes_per_core: int
    fan_in: int | None
    source: str


LOIHI_1 = ChipLimits(
    name="Loihi 1",
    cores=128,
    neurons_per_core=1024,
    neurons=131_072,
    synapses=130_000_000,
    synapse_bytes_per_core=128 * 1024,
    fan_in=4096,
    source="Davies et al. 2018, IEEE Micro 38(1); nengo-loihi documentation; WikiChip",
)
LOIHI_2 = ChipLimits(
    name="Loihi 2",
    cores=120,
    neurons_per_core=8192,
    neurons=1_048_576,
    synapses=120_000_000,
    synapse_bytes_per_core=192 * 1024,
    fan_in=None,
    source="Intel Loihi 2 technology brief; WikiChip (128 cores, 120 reported usable)",
)
CHIPS = (LOIHI_1, LOIHI_2)
LOWER_BOUNDS = (
    "weights and cores are lower bounds: on three networks Intel's compiler needed 5, 5 and 74 "
    "cores where this count says 1, 1 and 20"
)


@dataclass(frozen=True)
class FitRow:
    """One resource of one chip: how much the network needs at least, and how much there is."""

    chip: str
    resource: str
    needed: int
    available: int
    source: str

    @property
    def fits(self) -> bool:
        """Tell whether the need is within the limit."""
        return self.needed <= self.available


def chip_fit(network: ChipNetwork, chips: tuple[ChipLimits, ...] = CHIPS) -> list[FitRow]:
    """Compare a network with each chip: neurons, stored weights, cores, fan-in, longest delay.

    Weights and cores are lower bounds: zeros are not counted, a kernel is counted once whatever
    the number of its positions (the chips can share it), each weight takes only the bits its
    layer needs, and nothing is added for addresses. A current computed on the host needs none.
    """
    neurons = sum(layer.neurons for layer in network.layers)
    stored = [count_weights(one) for layer in network.layers for one in layer.inputs]
    delay = _longest_delay(network)
    weights, size = sum(n for n, _ in stored), ceil(sum(n * bits for n, bits in stored) / 8)
    fan_in = max((_fan_in(layer) for layer in network.layers), default=0)
    rows = []
    for c in chips:
        cores = max(ceil(neurons / c.neurons_per_core), ceil(size / c.synapse_bytes_per_core))
        needs = [
            ("neurons", neurons, c.neurons),
            ("stored weights (at least)", weights, c.synapses),
            ("cores (at least)", cores, c.cores),
        ]
        if c.fan_in is not None:
            needs.append(("inputs to one neuron", fan_in, c.fan_in))
        if delay:
            needs.append(("longest synaptic delay", delay, DELAY_MAX))
        rows += [FitRow(c.name, name, need, limit, c.source) for name, need, limit in needs]
    return rows


def _longest_delay(network: ChipNetwork) -> int:
    """Return the most steps that synapses have to hold spikes back; the host writes when it may."""
    return max(
        (
            delay
            for layer, found in zip(network.layers, delays(network), strict=True)
            for one, delay in zip(layer.inputs, found, strict=True)
            if one.host is None
        ),
        default=0,
    )


def count_weights(one: Connection) -> tuple[int, int]:
    """Return how many non-zero weights are stored, and the bits one takes (0, 0 on the host).

    The lowest bit of a mixed-sign weight is always zero and is not stored.
    """
    synapse = one.synapse
    if one.host or not synapse.weight.any():
        return 0, 0
    low, high = int(synapse.weight.min()), int(synapse.weight.max())
    if synapse.sign != "mixed":
        bits = max(-low, high).bit_length()
    else:
        bits = max((high // 2).bit_length(), (-(low // 2) - 1).bit_length() if low < 0 else 0) + 1
    return int(np.count_nonzero(synapse.weight)), bits


def _fan_in(layer: ChipLayer) -> int:
    """Return the most non-zero weights that one neuron sums, over all its connections."""
    total = np.zeros(layer.neurons, np.int64)
    for one in layer.inputs:
        if one.host is None:
            counts = np.count_nonzero(one.synapse.rows, axis=1)  # of a channel, or of a neuron
            total += np.repeat(counts, layer.neurons // len(counts))
    return int(total.max())
