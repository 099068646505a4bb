"""Networks whose sums are the largest that the chip's limits allow, for every engine's test."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    DenseSynapse,
    LifNeuron,
    Neuron,
    TableLifNeuron,
)
from spikeproof.ir.limits import LEAK_MAX


def filtered(du: int) -> tuple[ChipNetwork, NDArray[np.uint8]]:
    """Return a network with a synaptic filter, and spikes that make its current wrap."""
    neuron = LifNeuron(131_071, 0, np.zeros(1, np.int32), 0, du)
    rng = np.random.default_rng(0)
    x = rng.random((3, 300, 1, 1, 1024)) < rng.uniform(0.3, 1.05, (3, 300, 1, 1, 1))
    return _at_the_limit(neuron, [-256] * 1024, 0, 300), x.astype(np.uint8)


def largest(exponent: int) -> ChipNetwork:
    """Return a network of the largest sums, with the largest leak, threshold and bias on top."""
    full, bias = np.full(4, 8388607, np.int32), np.array([4095, -4095], np.int32)
    neuron = TableLifNeuron(np.full(4, LEAK_MAX, np.int32), full, bias, 7)
    return _at_the_limit(neuron, [-256] * 1008, exponent, 4)


def _at_the_limit(neuron: Neuron, weights: list[int], exponent: int, steps: int) -> ChipNetwork:
    rows = np.array([weights, [-w - 2 for w in weights]], np.int16)
    layer = ChipLayer("l1", (Connection(DenseSynapse(rows, "mixed", exponent)),), neuron, (2,))
    return ChipNetwork("edge", (1, 1, len(weights)), steps, (layer,), "spikes")
