"""Build layers whose sums land exactly on the edge of the wrap or on the largest legal sum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.fuzz.draw.networks import random_input
from spikeproof.ir import chip
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.limits import LEAK_MAX
from spikeproof.ir.neurons import NO_FILTER

Rng = np.random.Generator
Drawn = tuple[chip.ChipNetwork, NDArray[np.uint8]]
_TOP_EXPONENT = 7


def edge_of_wrap(rng: Rng) -> Drawn:
    """Bring u to exactly +2^23 or -2^23, or one unit of weight beside it."""
    rows = [
        [254, 254, 254, 254, 8],
        [-256, -256, -256, -256, 0],
        [254, 254, 254, 254, 10],
        [-256, -256, -256, -254, 0],
        [254, 254, 254, 254, 6],
        [-256, -256, -256, -256, -2],
    ]
    return _exact_rows(rng, rows, int(rng.integers(2, 6)))


def largest_sums(rng: Rng) -> Drawn:
    """Reach the very limit of the accumulators, with or without a filter, at the top exponent."""
    filtered = rng.random() < 0.5
    count = 8 if filtered else 1008
    row = np.full(count, -256)
    rows = [row, np.where(rng.random(count) < 0.5, row, 254), np.where(np.arange(count), 254, 252)]
    du = int(rng.choice([0, 1, 2047, 4094])) if filtered else NO_FILTER
    return _exact_rows(rng, rows, int(rng.integers(1, 12)), du)


def in_two(rng: Rng, network: chip.ChipNetwork) -> chip.ChipNetwork:
    """Let two connections share the inputs of a network of one layer; the sums stay the same."""
    layer = network.layers[0]
    synapse = layer.synapse
    first = np.arange(synapse.fan_in) < rng.integers(1, synapse.fan_in)
    inputs = tuple(
        chip.Connection(synapse.changed(weight=np.where(part, synapse.weight, 0).astype(np.int16)))
        for part in (first, ~first)
    )
    two = network.changed([layer.changed(inputs=inputs)])
    check_chip(two)
    return two


def _exact_rows(rng: Rng, rows: Any, steps: int, du: int = NO_FILTER) -> Drawn:
    """Build one layer of given mixed weights at exponent 7; sample 0 has every input active."""
    weight = np.array(rows, np.int16)
    weight = weight[np.sort(rng.integers(0, len(weight), int(rng.integers(1, 18))))]
    weight[0] = rows[0]
    synapse = chip.DenseSynapse(weight, "mixed", _TOP_EXPONENT)
    bias = rng.integers(-4095, 4096, (len(weight),)).astype(np.int32)
    neuron: chip.Neuron
    if rng.random() < 0.5:
        neuron = chip.LifNeuron(
            int(rng.choice([0, 1000, fx.THRESHOLD_MAX])),
            int(rng.choice([0, 41, 4096])),
            bias,
            int(rng.integers(0, 8)),
            du,
        )
    else:
        leak = rng.choice([0, 4055, LEAK_MAX], steps).astype(np.int32)
        threshold = rng.choice([0, 64, fx.STATE_MAX], steps).astype(np.int32)
        neuron = chip.TableLifNeuron(leak, threshold, bias, int(rng.integers(0, 8)), du)
    layer = chip.ChipLayer("l1", (chip.Connection(synapse),), neuron, (len(weight),))
    network = chip.ChipNetwork("random", (1, 1, weight.shape[1]), steps, (layer,), "spikes")
    check_chip(network)
    x = random_input(rng, network, int(rng.integers(1, 4)))
    x[0] = 1
    return network, x
