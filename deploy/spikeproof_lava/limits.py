"""Published limits of the chips, and a first check of a network against them.

The numbers are what public sources report; where a chip replaced a fixed limit by shared memory
there is none here. A network that passes may still not fit once it is mapped: the core counts
are lower bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from spikeproof.ir.chip import ChipNetwork, ConvSynapse, DenseSynapse
from spikeproof.ir.shapes import output_shape


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

    @property
    def warning(self) -> str | None:
        """Return a sentence if the network does not fit, else None."""
        if self.fits:
            return None
        return (
            f"{self.chip}: needs {self.needed:,} {self.resource}, the chip has {self.available:,}"
        )


def chip_fit(network: ChipNetwork, chips: tuple[ChipLimits, ...] = CHIPS) -> list[FitRow]:
    """Compare a network with each chip: neurons, synapses, cores (lower bound), fan-in.

    Synapses are counted unrolled, one per non-zero weight and output position; the chips'
    convolution modes can share them. A current computed on the host needs none.
    """
    neurons = sum(int(np.prod(layer.shape)) for layer in network.layers)
    synapses = sum(count_synapses(layer.synapse) for layer in network.layers)
    fan_in = max((_fan_in(layer.synapse) for layer in network.layers), default=0)
    rows = []
    for c in chips:
        cores = max(ceil(neurons / c.neurons_per_core), ceil(synapses / c.synapse_bytes_per_core))
        needs = [("neurons", neurons, c.neurons), ("synapses", synapses, c.synapses),
                 ("cores (at least)", cores, c.cores)]  # fmt: skip
        if c.fan_in is not None:
            needs.append(("inputs to one neuron", fan_in, c.fan_in))
        rows += [FitRow(c.name, name, need, limit, c.source) for name, need, limit in needs]
    return rows


def count_synapses(synapse: Any) -> int:
    """Return the number of non-zero weights after unrolling; 0 for a host current."""
    if isinstance(synapse, DenseSynapse):
        return int(np.count_nonzero(synapse.weight))
    if not isinstance(synapse, ConvSynapse):
        return 0
    _, *outputs = output_shape(synapse, synapse.input_shape)
    taps = np.count_nonzero(synapse.weight, axis=(0, 1))
    rows, columns = (_positions(synapse, axis, outputs[axis]) for axis in (0, 1))
    return int((taps * rows[:, None] * columns[None, :]).sum())


def _positions(conv: ConvSynapse, axis: int, outputs: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return, per kernel tap along an axis, how many outputs read inside the image with it."""
    taps = np.arange(conv.weight.shape[2 + axis])[:, None] * conv.dilation[axis]
    read = np.arange(outputs)[None, :] * conv.stride[axis] - conv.padding[axis] + taps
    inside = (read >= 0) & (read < conv.input_shape[1 + axis])
    return np.asarray(inside.sum(axis=1), np.int64)


def _fan_in(synapse: Any) -> int:
    if isinstance(synapse, DenseSynapse | ConvSynapse):
        return int(np.prod(synapse.weight.shape[1:]))
    return 0
