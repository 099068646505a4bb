"""The chip dialect: integers only, exactly what docs/semantics.md runs.

A network is a chain of layers; each layer is one synapse and the neuron population it feeds. The
input enters the first one: as spikes, as graded pixels, or as a current that the host computes.
Array shapes: neurons (C, H, W) or (N,); weights (out, in) or (out, in/groups, kH, kW).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.ir.limits import HOST_WEIGHT_MAX, PIXEL_MAX, integer_problems
from spikeproof.ir.neurons import (
    GeneralLifNeuron,
    LifNeuron,
    Neuron,
    ReadoutNeuron,
    TableLifNeuron,
)
from spikeproof.ir.synapses import ConvSynapse, DenseSynapse, Ints, Sign, Synapse, weight_problems

__all__ = [
    "ChipLayer",
    "ChipNetwork",
    "ConvSynapse",
    "DenseSynapse",
    "GeneralLifNeuron",
    "HostCurrent",
    "Ints",
    "LifNeuron",
    "Neuron",
    "ReadoutNeuron",
    "Shape",
    "Sign",
    "Synapse",
    "TableLifNeuron",
]
Shape = tuple[int, ...]
_OFFSET_MAX = 1 << 40
_SHIFT_MAX = 31


@dataclass(frozen=True, eq=False)
class HostCurrent:
    """How pixels enter as a constant current, computed once per image and written as bias.

    mantissa = round_half_up((W x + offset) / 2**shift); |mantissa| <= 4095 for every image.
    The layer's synapse W is then host arithmetic: its weights are not bound to 8 bits
    (|w| <= 32767), its exponent is 0; ``offset`` broadcasts to the neurons' shape.
    """

    offset: Ints
    shift: int

    def mantissa(self, sums: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bias mantissas of sums W x, (..., *neurons)."""
        return fx.round_half_up_shift(sums + self.offset, self.shift)

    def problems(self, synapse: Synapse) -> list[str]:
        """List what the host cannot compute, with the weights of the layer's synapse."""
        limit = HOST_WEIGHT_MAX
        problems = weight_problems("host weight", synapse.weight, -limit, limit)
        problems += integer_problems("host offset", self.offset, -_OFFSET_MAX, _OFFSET_MAX)
        if synapse.exponent != 0:
            problems.append("a host current's weight exponent must be 0")
        if not 0 <= self.shift <= _SHIFT_MAX:
            problems.append(f"host shift {self.shift} is outside 0..{_SHIFT_MAX}")
        return problems


@dataclass(frozen=True, eq=False)
class ChipLayer:
    """One synapse and the neurons it feeds."""

    name: str
    synapse: Synapse
    neuron: Neuron
    shape: Shape
    """Shape of the neuron population, (C, H, W) or (N,)."""
    host: HostCurrent | None = None
    """How the host makes a current of the pixels; None: payloads reach the chip's own synapse."""

    @property
    def neurons(self) -> int:
        """Return the number of neurons."""
        return prod(self.shape)

    def thresholds(self, steps: int) -> NDArray[np.int64]:
        """Return the thresholds in v-units, (T, ...) that broadcasts to (T, *neurons)."""
        table = self.neuron.thresholds(steps)
        missing = len(self.shape) - (table.ndim - 1)
        return table.reshape(steps, *(1,) * missing, *table.shape[1:])

    @property
    def connections(self) -> int:
        """Return the connections: a kernel's weights once per place, borders included."""
        return int(self.synapse.weight.size) * prod(self.shape[1:])

    @property
    def kind(self) -> str:
        """Return what tables call the way its input arrives."""
        return type(self.host or self.synapse).__name__


@dataclass(frozen=True, eq=False)
class ChipNetwork:
    """A chain of layers, run for ``timesteps`` steps per sample.

    coding "pixels": input uint8 (C, H, W), the same graded payload at every step (or the
    host current); "spikes": input 0/1 of shape (T, C, H, W). The last layer is the readout
    (or a spiking layer, for networks that come from elsewhere).
    """

    name: str
    input_shape: Shape
    timesteps: int
    layers: tuple[ChipLayer, ...]
    coding: Literal["pixels", "spikes"] = "pixels"

    @property
    def input_max(self) -> int:
        """Return the largest value of an input: 255 for pixels, 1 for spikes."""
        return PIXEL_MAX if self.coding == "pixels" else 1

    @property
    def sample_shape(self) -> Shape:
        """Return the shape of one sample: (C, H, W) of pixels, (T, C, H, W) of spikes."""
        image = tuple(self.input_shape)
        return image if self.coding == "pixels" else (self.timesteps, *image)

    def payload(self, index: int) -> int:
        """Return the largest payload that reaches layer ``index``."""
        return self.input_max if index == 0 else 1

    def source_shape(self, index: int) -> Shape:
        """Return the shape of what layer ``index`` reads: the input's, or the layer's before."""
        return self.layers[index - 1].shape if index else tuple(self.input_shape)
