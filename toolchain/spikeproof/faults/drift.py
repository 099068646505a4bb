"""Drift of the neurons' own numbers: each is multiplied by a factor of its own.

Factors are lognormal: their logarithms have mean 0 and deviate by the rate, in per cent.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.faults.base import Fault, Faulted, Images, Labels, Pair
from spikeproof.ir.check_float import LARGEST, SMALLEST
from spikeproof.ir.chip import ChipLayer, GeneralLifNeuron, Neuron
from spikeproof.ir.floats import FloatNode, Lif
from spikeproof.ir.limits import LEAK_MAX

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Drift(Fault):
    """A number of every spiking neuron that drifts."""

    most = 100.0

    @property
    def text(self) -> str:
        """Return the deviation as tables show it."""
        return f"by {self.rate:g} %"

    def strike(self, pair: Pair, seed: int, x: Images, y: Labels) -> Faulted:
        """Multiply in both networks; on the chip with neurons that each have their own numbers."""
        layers: dict[str, ChipLayer] = {}
        nodes: dict[str, FloatNode] = {}
        for layer, built in zip(pair.layers, pair.chip.layers, strict=True):
            if not self.rate or not isinstance(layer.end, Lif) or not built.neuron.spiking:
                continue
            drawn = self.draws(seed, built.name).standard_normal(built.shape)
            factor = self.possible(layer.end, np.exp(self.rate / 100 * drawn))
            nodes[layer.end.name] = self.of_trained(layer.end, factor)
            neuron = self.of_chip(general(built.neuron, pair.chip.timesteps, built.shape), factor)
            layers[built.name] = built.changed(neuron=neuron)
        return Faulted(pair.with_nodes(nodes), pair.with_layers(layers))

    @abstractmethod
    def possible(self, lif: Lif, factor: F64) -> F64:
        """Return the factors cut off where no number of the trained network could follow."""

    @abstractmethod
    def of_trained(self, lif: Lif, factor: F64) -> Lif:
        """Return a trained population, its numbers multiplied."""

    @abstractmethod
    def of_chip(self, neuron: GeneralLifNeuron, factor: F64) -> GeneralLifNeuron:
        """Return a chip's population, its numbers multiplied and rounded."""


@dataclass(frozen=True)
class ThresholdDrift(Drift):
    """Thresholds drift."""

    kind = "threshold-drift"
    title = "thresholds drift"
    unit = "per cent"
    rates = (5.0, 20.0, 50.0)

    def possible(self, lif: Lif, factor: F64) -> F64:
        """Keep the threshold a number that a trained network may have."""
        size = np.asarray(lif.threshold, np.float64)
        return np.asarray(np.clip(factor, SMALLEST / size, LARGEST / size))

    def of_trained(self, lif: Lif, factor: F64) -> Lif:
        """Multiply the threshold; what a spike takes off v stays."""
        return replace(lif, threshold=lif.threshold * factor)

    def of_chip(self, neuron: GeneralLifNeuron, factor: F64) -> GeneralLifNeuron:
        """Multiply the table of thresholds."""
        return neuron.changed(threshold=_rounded(neuron.threshold * factor, fx.STATE_MAX))


@dataclass(frozen=True)
class DecayDrift(Drift):
    """What the membrane keeps of itself from step to step drifts, up to keeping all of it."""

    kind = "decay-drift"
    title = "decay factors drift"
    unit = "per cent"
    rates = (5.0, 20.0, 50.0)

    def possible(self, lif: Lif, factor: F64) -> F64:
        """Let no membrane grow by itself."""
        leak = np.broadcast_to(np.asarray(lif.leak, np.float64), factor.shape)
        most = np.divide(1, leak, out=np.ones(factor.shape), where=leak > 0)
        return np.asarray(np.minimum(factor, most), np.float64)

    def of_trained(self, lif: Lif, factor: F64) -> Lif:
        """Multiply the leak."""
        return replace(lif, leak=np.minimum(lif.leak * factor, 1.0))

    def of_chip(self, neuron: GeneralLifNeuron, factor: F64) -> GeneralLifNeuron:
        """Multiply the table of leaks."""
        return neuron.changed(leak=_rounded(neuron.leak * factor, LEAK_MAX))


def general(neuron: Neuron, steps: int, shape: tuple[int, ...]) -> GeneralLifNeuron:
    """Return the same population with leak and threshold of its own for every neuron."""
    return GeneralLifNeuron(
        leak=_table(neuron.leaks(steps), shape),
        threshold=_table(neuron.thresholds(steps), shape),
        bias=neuron.bias,
        du=np.asarray(neuron.du, np.int32).reshape(np.shape(neuron.du) or 1),
        initial=np.asarray(neuron.initial, np.int32).reshape(np.shape(neuron.initial) or 1),
        reset=neuron.reset,
        bias_exponent=neuron.bias_exponent,
    )


def _table(rows: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Return rows (T, ...) as (T or 1, *neurons): one row, if all are equal."""
    if (rows == rows[:1]).all():
        rows = rows[:1]
    missing = len(shape) - (rows.ndim - 1)
    wide = rows.reshape(len(rows), *(1,) * missing, *rows.shape[1:])
    return np.broadcast_to(wide, (len(rows), *shape)).astype(np.int32)


def _rounded(values: Any, most: int) -> NDArray[np.int32]:
    return np.asarray(np.clip(np.rint(values), 0, most), np.int32)
