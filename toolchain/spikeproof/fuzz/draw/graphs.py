"""Turn a drawn chain into a graph: skips, several connections, shared synapses, lags, cycles."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np

from spikeproof.errors import GraphError
from spikeproof.fuzz.draw.layers import (
    draw_weights,
    host_current,
    readout_is_safe,
    within_limit,
)
from spikeproof.ir import chip
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.graph import depths
from spikeproof.ir.readouts import FROM_SPIKES, ReadoutRule
from spikeproof.ir.windows import window_outputs

Rng = np.random.Generator
Shape = tuple[int, ...]
_FORWARD_SHARE, _BACK_SHARE, _SHARED_SHARE, _HOST_SHARE = 0.7, 0.4, 0.3, 0.3
_KERNEL_MAX = 6
_WIDEST = 4000
"""Inputs of a dense connection, at most: wider ones would take all the time."""


def random_graph(rng: Rng, network: chip.ChipNetwork) -> chip.ChipNetwork:
    """Add connections to a drawn chain, and draw what of its last layer is the answer."""
    for index in range(len(network.layers)):
        while rng.random() < _FORWARD_SHARE:
            source = int(rng.integers(chip.INPUT_INDEX, index))
            network = _connected(rng, network, source, index, lag=0)
    for index in range(len(network.layers)):
        while rng.random() < _BACK_SHARE:
            source = int(rng.integers(chip.INPUT_INDEX, len(network.layers)))
            network = _connected(rng, network, source, index, lag=_lag(rng, network, source, index))
    graph = replace(network, readout=_readout(rng, network.layers[-1]))
    check_chip(graph)
    return graph


def with_loop(rng: Rng, network: chip.ChipNetwork, *, own: bool) -> chip.ChipNetwork:
    """Add a connection from a spiking layer to itself, or to one listed before it, if there is."""
    sources = [i for i, y in enumerate(network.layers) if y.neuron.spiking and (own or i)]
    if not sources:
        return network
    source = sources[int(rng.integers(len(sources)))]
    index = source if own else int(rng.integers(source))
    return _connected(rng, network, source, index, lag=_lag(rng, network, source, index))


def _connected(
    rng: Rng, network: chip.ChipNetwork, source: int, index: int, lag: int
) -> chip.ChipNetwork:
    """Add one connection, if one can be drawn whose sums no accumulator loses."""
    layer = network.layers[index]
    if source != chip.INPUT_INDEX and not network.layers[source].neuron.spiking:
        return network
    synapse = _shared(rng, network, source, layer) or _synapse(
        rng, network.shape_of(source), layer.shape
    )
    if synapse is None:
        return network
    name = chip.INPUT if source == chip.INPUT_INDEX else network.layers[source].name
    added = chip.Connection(synapse, name, lag)
    may_be_host = source == chip.INPUT_INDEX and _may_be_host(network, layer, lag)
    if may_be_host and rng.random() < _HOST_SHARE:
        plain, current = host_current(rng, synapse)
        added = chip.Connection(plain, name, host=current)
        layer = layer.changed(neuron=layer.neuron.changed(bias=np.zeros_like(layer.neuron.bias)))
    wired = replace(layer, inputs=(*layer.inputs, added))
    layers = list(network.layers)
    layers[index] = _within_limits(network, wired, (*network.sources[index], source))
    too_large = any(one.synapse.problems() for one in layers[index].inputs if one.host is None)
    unsafe = not layers[index].neuron.spiking and not _is_safe(network, layers, index)
    return network if too_large or unsafe else replace(network, layers=tuple(layers))


def _may_be_host(network: chip.ChipNetwork, layer: chip.ChipLayer, lag: int) -> bool:
    """Tell whether the host may make a current of the input for a layer."""
    graded = network.coding == "pixels" and lag == 0
    return graded and layer.host is None and layer.neuron.spiking


def _shared(
    rng: Rng, network: chip.ChipNetwork, source: int, layer: chip.ChipLayer
) -> chip.Synapse | None:
    """Return a synapse of the network that fits between both, at times, to be used twice."""
    if rng.random() > _SHARED_SHARE:
        return None
    shape = network.shape_of(source)
    every = (one for other in network.layers for one in other.inputs if one.host is None)
    return next((c.synapse for c in every if _makes(c.synapse, shape, layer.shape)), None)


def _makes(synapse: chip.Synapse, source: Shape, target: Shape) -> bool:
    try:
        return not synapse.input_problems(source) and synapse.output_shape(source) == target
    except GraphError:
        return False


def _synapse(rng: Rng, source: Shape, target: Shape) -> chip.Synapse | None:
    """Draw weights between two shapes; None if no window makes one of the other."""
    limit = int(rng.choice([2, 8, 64, 256]))
    sign: chip.Sign = ("mixed", "mixed", "excitatory", "inhibitory")[int(rng.integers(4))]
    exponent = int(rng.integers(-8, 8)) if rng.random() < 0.3 else 0
    if len(target) == 1:
        if int(np.prod(source)) > _WIDEST:
            return None
        form: Shape = (target[0], int(np.prod(source)))
        return chip.DenseSynapse(draw_weights(rng, form, sign, limit, False), sign, exponent)
    if len(source) != 3:
        return None
    rows, columns = (_windows(*sizes) for sizes in zip(source[1:], target[1:], strict=True))
    if not rows or not columns:
        return None
    (k_h, s_h, p_h), (k_w, s_w, p_w) = (
        options[int(rng.integers(len(options)))] for options in (rows, columns)
    )
    assert window_outputs(source[1:], (k_h, k_w), (s_h, s_w), (p_h, p_w), (1, 1)) == target[1:]
    shared = [g for g in range(1, source[0] + 1) if source[0] % g == 0 == target[0] % g]
    groups = int(rng.choice([1, *shared]))
    form = (target[0], source[0] // groups, k_h, k_w)
    weight = draw_weights(rng, form, sign, limit, False)
    image = (source[0], source[1], source[2])
    return chip.ConvSynapse(weight, image, (s_h, s_w), (p_h, p_w), (1, 1), groups, sign, exponent)


def _windows(size: int, wanted: int) -> list[tuple[int, int, int]]:
    """Return kernel, stride and padding that make ``wanted`` outputs of ``size`` inputs."""
    found = []
    for stride in (1, 2, 3):
        for padding in (0, 1, 2):
            kernel = size + 2 * padding - (wanted - 1) * stride
            if padding < kernel <= _KERNEL_MAX:
                found.append((kernel, stride, padding))
    return found


def _within_limits(
    network: chip.ChipNetwork, layer: chip.ChipLayer, sources: tuple[int, ...]
) -> chip.ChipLayer:
    """Lower exponents until all sums together fit the accumulator."""
    limit = layer.neuron.sum_limit // sum(one.host is None for one in layer.inputs)
    inputs = tuple(
        one
        if one.host is not None
        else one.changed(synapse=_fitted(one.synapse, network.payload_of(source), limit))
        for one, source in zip(layer.inputs, sources, strict=True)
    )
    return replace(layer, inputs=inputs)


def _fitted(synapse: chip.Synapse, payload: int, limit: int) -> chip.Synapse:
    """Return the very synapse if it fits, so that one that is shared stays so."""
    found = within_limit(synapse, payload, limit)
    return synapse if found.exponent == synapse.exponent else found


def _is_safe(network: chip.ChipNetwork, layers: list[chip.ChipLayer], index: int) -> bool:
    """Tell whether a readout surely stays within what a target can integrate without firing."""
    layer, sources = layers[index], replace(network, layers=tuple(layers)).sources[index]
    share = network.timesteps * len(layer.inputs)  # as if each connection drove it all the time
    return all(
        one.host is not None or readout_is_safe(one.synapse, network.payload_of(source), share)
        for one, source in zip(layer.inputs, sources, strict=True)
    ) and all(one.host is None for one in layer.inputs)


def _lag(rng: Rng, network: chip.ChipNetwork, source: int, index: int) -> int:
    """Draw a lag that a synaptic delay can realise, often the smallest."""
    depth = [*depths(network), 0]
    least = max(1, depth[source] + 1 - depth[index])
    return least + int(rng.choice([0, 0, 0, 1, 2, network.timesteps]))


def _readout(rng: Rng, last: chip.ChipLayer) -> ReadoutRule:
    rules: list[ReadoutRule] = [
        rule for rule in get_args(ReadoutRule) if last.neuron.spiking or rule not in FROM_SPIKES
    ]
    return rules[int(rng.integers(len(rules)))] if rng.random() < 0.5 else "auto"
