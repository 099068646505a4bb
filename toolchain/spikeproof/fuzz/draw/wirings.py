"""Draw graphs for each nasty kind of wiring: skips, loops, lags, shared synapses, OR pools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.fuzz.draw import wiring_events as events
from spikeproof.fuzz.draw.events import Count
from spikeproof.fuzz.draw.graphs import random_graph, with_loop
from spikeproof.fuzz.draw.layers import Place, draw_layer
from spikeproof.fuzz.draw.networks import random_input, random_network, with_input
from spikeproof.ir import chip
from spikeproof.ir.check_chip import check_chip

Rng = np.random.Generator
Drawn = tuple[chip.ChipNetwork, NDArray[np.uint8]]


def _graph(rng: Rng, **wanted: Any) -> Drawn:
    return with_input(rng, random_graph(rng, random_network(rng, **wanted)))


def _loop(rng: Rng, *, own: bool) -> Drawn:
    """Send spikes of a layer back to itself, or to one before it."""
    network = with_loop(rng, random_network(rng), own=own)
    return with_input(rng, random_graph(rng, network) if rng.random() < 0.5 else network)


def _in_flight(rng: Rng) -> Drawn:
    """Run several samples, so that what lags in one could reach the next."""
    network, x = _graph(rng)
    return (network, x) if len(x) > 1 else (network, random_input(rng, network, 2))


def _pool(rng: Rng) -> Drawn:
    """Put a max pool of binary spikes behind an image, and a layer behind the pool."""
    network = random_network(rng, coding="spikes")
    images = [chip.INPUT_INDEX, *(i for i, y in enumerate(network.layers) if y.neuron.spiking)]
    images = [i for i in images if len(network.shape_of(i)) == 3 and network.shape_of(i)[1] > 1]
    if not images:
        return with_input(rng, network)
    source = images[int(rng.integers(len(images)))]
    pool = or_pool(rng, network.shape_of(source))
    place = Place("after", pool.shape, 1, network.timesteps, last=True, nasty=False)
    layers = (*network.layers[: source + 1], pool, draw_layer(rng, place))
    pooled = replace(network, layers=layers)
    check_chip(pooled)
    return with_input(rng, random_graph(rng, pooled) if rng.random() < 0.5 else pooled)


def or_pool(rng: Rng, shape: tuple[int, ...]) -> chip.ChipLayer:
    """Return a layer that fires where any spike of a window arrives: the maximum, without memory.

    shape: (C, H, W) of the spikes, H > 1. Windows lie side by side, overlap or leave gaps.
    """
    channels, height, width = shape
    kernel = (2, 2) if width > 1 else (2, 1)
    stride = int(rng.integers(1, 4))
    sign: chip.Sign = "mixed" if rng.random() < 0.5 else "excitatory"
    weight = np.full((channels, 1, *kernel), 2 if sign == "mixed" else 1, np.int16)
    synapse = chip.ConvSynapse(
        weight, (channels, height, width), (stride, stride), groups=channels, sign=sign
    )
    neuron = chip.LifNeuron(0, fx.DECAY_ONE, np.zeros((1, 1, 1), np.int32))
    return chip.ChipLayer("pool", (chip.Connection(synapse),), neuron, synapse.output_shape(shape))


KINDS: dict[str, tuple[Callable[[Rng], Drawn], Count]] = {
    "skip": (_graph, events.count_skips),
    "two exponents": (_graph, events.count_exponents),
    "own floors": (_graph, events.count_own_floors),
    "shared synapse": (_graph, events.count_shared),
    "self loop": (partial(_loop, own=True), events.count_self_loops),
    "back edge": (partial(_loop, own=False), events.count_back_edges),
    "late input": (_graph, events.count_late_inputs),
    "spikes in flight": (_in_flight, events.count_in_flight),
    "OR pool": (_pool, events.count_pooled),
    "readout": (_graph, events.count_readouts),
    "host and spikes": (partial(_graph, coding="pixels"), events.count_beside_host),
    "pixels and spikes": (partial(_graph, coding="pixels"), events.count_beside_pixels),
}
"""Every nasty kind of wiring: how it is drawn, and how it is counted in the traces of a run."""
