"""The layers of the folded checkpoint: what every integer of a bundle was rounded from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.convert.pipeline import float_layers
from spikeproof.convert.quantise import Wire
from spikeproof.ir import chip
from spikeproof.ir.floats import Conv2d, FloatNetwork, Lif, Linear, Readout
from spikeproof.ir.limits import INPUT
from spikeproof.ir.shapes import Shape, output_shape
from spikeproof.numerics.affine import Parallel

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Exact:
    """One layer of the folded checkpoint, and the payloads that reach it on given images."""

    linear: Conv2d | Linear | Parallel
    end: Lif | Readout
    input_shape: Shape
    timesteps: int
    pixels: bool
    wires: tuple[Wire, ...] = (Wire(),)

    @property
    def maps(self) -> tuple[Conv2d | Linear, ...]:
        """Return the map of each connection."""
        return self.linear.parts if isinstance(self.linear, Parallel) else (self.linear,)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Return the shape of what each map reads."""
        one = self.linear
        return one.shapes if isinstance(one, Parallel) else (self.input_shape,)

    def reads_pixels(self, k: int) -> bool:
        """Tell whether connection ``k`` carries pixels."""
        return self.pixels and self.wires[k].source in (None, INPUT)

    @property
    def weight(self) -> F64:
        """Return the weight of one payload unit: of one grey level of 255, or of one spike."""
        weight = np.asarray(self.linear.weight, np.float64)
        if not isinstance(self.linear, Parallel):
            return weight / 255.0 if self.pixels else weight
        levels = [255.0 if self.reads_pixels(k) else 1.0 for k in range(len(self.wires))]
        return np.asarray(weight / np.repeat(levels, self.linear.widths))

    def only(self, kept: list[int], bias: Any) -> Exact:
        """Return the layer with some of its connections alone, and a bias."""
        maps = [replace(self.maps[k], bias=bias if not i else None) for i, k in enumerate(kept)]
        shapes, wires = [self.shapes[k] for k in kept], tuple(self.wires[k] for k in kept)
        pixels = any(self.reads_pixels(k) for k in kept)
        if len(kept) == 1:
            return Exact(maps[0], self.end, shapes[0], self.timesteps, pixels, wires)
        linear = Parallel(self.linear.name, tuple(maps), tuple(shapes))
        width = (sum(math.prod(shape) for shape in shapes),)
        return Exact(linear, self.end, width, self.timesteps, pixels, wires)

    @property
    def shape(self) -> Shape:
        """Return the shape of the neurons."""
        return output_shape(self.linear, self.input_shape)

    @property
    def bias(self) -> F64:
        """Return the bias of every neuron or channel, broadcastable to the neurons."""
        dims = len(self.shape)
        if self.linear.bias is None:
            return np.zeros((self.shape[0], *(1,) * (dims - 1)))
        bias = np.asarray(self.linear.bias, np.float64)
        return bias.reshape(-1, *(1,) * (dims - 1)) if bias.ndim == 1 else bias

    @property
    def above(self) -> bool:
        """Tell whether the trained neuron fires at equality, so that its bias is rounded up."""
        return isinstance(self.end, Lif) and not self.end.strict


def exact_layers(folded: FloatNetwork) -> list[Exact]:
    """Pair the maps of a folded network with their neurons."""
    return [
        Exact(one.linear, one.end, one.input_shape, one.timesteps, one.pixels, one.wires)
        for one in float_layers(folded)
    ]


def part_of(
    layer: Exact, built: chip.ChipLayer, kept: list[int], bias: Any
) -> tuple[Exact, chip.ChipLayer]:
    """Return a layer and what was built of it with some of its connections alone."""
    inputs = tuple(built.inputs[k] for k in kept)
    return layer.only(kept, bias), built.changed(inputs=inputs)


def held_weights(layer: Exact, built: chip.ChipLayer) -> F64:
    """Return the integer weights, shaped as the layer's."""
    if not isinstance(layer.linear, Parallel):
        return built.synapse.weight.astype(np.float64)
    kernels = [one.synapse.weight.astype(np.float64) for one in built.inputs]
    maps = [replace(m, weight=kernel) for m, kernel in zip(layer.maps, kernels, strict=True)]
    return np.asarray(replace(layer.linear, parts=tuple(maps)).weight)
