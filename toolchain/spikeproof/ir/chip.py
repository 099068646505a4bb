"""The chip dialect: integers only, exactly what docs/semantics.md runs.

A network is a graph of layers; each layer is a neuron population and the connections that feed it.
The input enters as spikes, as graded pixels, or as a current that the host computes.
Array shapes: neurons (C, H, W) or (N,); weights (out, in) or (out, in/groups, kH, kW).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.ir.limits import HOST_WEIGHT_MAX, INPUT, LATER, PIXEL_MAX, integer_problems
from spikeproof.ir.neurons import (
    GeneralLifNeuron,
    LifNeuron,
    Neuron,
    ReadoutNeuron,
    TableLifNeuron,
)
from spikeproof.ir.order import Order, run_order
from spikeproof.ir.readouts import ReadoutRule
from spikeproof.ir.synapses import ConvSynapse, DenseSynapse, Ints, Sign, Synapse, weight_problems

__all__ = [
    "INPUT",
    "ChipLayer",
    "ChipNetwork",
    "Connection",
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
Coding = Literal["pixels", "spikes"]
INPUT_INDEX = -1
"""Where the input stands among the positions of layers."""
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
class Connection:
    """Synapses from one source to a population.

    source: the name of a layer, INPUT, or None: the layer listed before (the input, for the first
    one). lag: steps by which what the source sends arrives later on the target's own clock; before
    the sample's start nothing was sent. host: how the host makes a current of the pixels; None:
    payloads reach the chip's own synapses.
    """

    synapse: Synapse
    source: str | None = None
    lag: int = 0
    host: HostCurrent | None = None

    def changed(self, **fields: Any) -> Connection:
        """Return a copy with other values in some fields."""
        return dataclasses.replace(self, **fields)

    @property
    def kind(self) -> str:
        """Return what tables call it."""
        return f"host {self.synapse.title}" if self.host else self.synapse.title


@dataclass(frozen=True, eq=False)
class ChipLayer:
    """A neuron population and the connections that feed it."""

    name: str
    inputs: tuple[Connection, ...]
    neuron: Neuron
    shape: Shape
    """Shape of the neuron population, (C, H, W) or (N,)."""

    @property
    def neurons(self) -> int:
        """Return the number of neurons."""
        return prod(self.shape)

    @property
    def synapse(self) -> Synapse:
        """Return the synapse of a layer that has one connection."""
        (only,) = self.inputs
        return only.synapse

    @property
    def host(self) -> HostCurrent | None:
        """Return how the host makes a current for it, if it does."""
        return next((c.host for c in self.inputs if c.host is not None), None)

    def changed(self, **fields: Any) -> ChipLayer:
        """Return a copy with other values in some fields.

        ``synapse`` and ``host`` are those of the only connection of a layer that has one.
        """
        wired = {key: fields.pop(key) for key in ("synapse", "host") if key in fields}
        if wired:
            (only,) = self.inputs
            fields["inputs"] = (only.changed(**wired),)
        return dataclasses.replace(self, **fields)

    def parts(self) -> tuple[ChipLayer, ...]:
        """Return the population once for each of its connections, fed by that one alone."""
        if len(self.inputs) == 1:
            return (self,)
        return tuple(dataclasses.replace(self, inputs=(one,)) for one in self.inputs)

    def thresholds(self, steps: int) -> NDArray[np.int64]:
        """Return the thresholds in v-units, (T, ...) that broadcasts to (T, *neurons)."""
        table = self.neuron.thresholds(steps)
        missing = len(self.shape) - (table.ndim - 1)
        return table.reshape(steps, *(1,) * missing, *table.shape[1:])

    @property
    def connections(self) -> int:
        """Return the connected pairs: a kernel's weights once per place, borders included."""
        places = prod(self.shape[1:])
        return sum(int(one.synapse.weight.size) * places for one in self.inputs)

    @property
    def kind(self) -> str:
        """Return what tables call the way its input arrives."""
        return " + ".join(dict.fromkeys(one.kind for one in self.inputs))


@dataclass(frozen=True, eq=False)
class ChipNetwork:
    """A graph of layers, run for ``timesteps`` steps per sample.

    coding "pixels": input uint8 (C, H, W), the same graded payload at every step (or the
    host current); "spikes": input 0/1 of shape (T, C, H, W). A layer is listed after those whose
    spikes reach it in the same step. The last one is the readout (or a spiking layer, for networks
    that come from elsewhere); ``readout`` says what of it is the answer.
    """

    name: str
    input_shape: Shape
    timesteps: int
    layers: tuple[ChipLayer, ...]
    coding: Coding = "pixels"
    readout: ReadoutRule = field(default="auto", metadata=LATER)

    @property
    def input_max(self) -> int:
        """Return the largest value of an input: 255 for pixels, 1 for spikes."""
        return PIXEL_MAX if self.coding == "pixels" else 1

    @property
    def sample_shape(self) -> Shape:
        """Return the shape of one sample: (C, H, W) of pixels, (T, C, H, W) of spikes."""
        image = tuple(self.input_shape)
        return image if self.coding == "pixels" else (self.timesteps, *image)

    @cached_property
    def sources(self) -> tuple[tuple[int, ...], ...]:
        """Return the position of each connection's source; INPUT_INDEX is the input.

        Raises:
            KeyError: no layer is called so.
        """
        known = {INPUT: INPUT_INDEX} | {layer.name: i for i, layer in enumerate(self.layers)}
        return tuple(
            tuple(i - 1 if one.source is None else known[one.source] for one in layer.inputs)
            for i, layer in enumerate(self.layers)
        )

    @cached_property
    def order(self) -> Order:
        """Return what runs after what, and together."""
        return run_order(self.sources)

    def payload_of(self, source: int) -> int:
        """Return the largest payload that a source sends."""
        return self.input_max if source == INPUT_INDEX else 1

    def shape_of(self, source: int) -> Shape:
        """Return the shape of what a source sends."""
        return tuple(self.input_shape) if source == INPUT_INDEX else self.layers[source].shape

    def changed(self, layers: Sequence[ChipLayer]) -> ChipNetwork:
        """Return the same network with other layers."""
        return dataclasses.replace(self, layers=tuple(layers))
