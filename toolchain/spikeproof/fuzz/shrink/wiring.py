"""Cuts of the wiring: layers, connections, lags, and the readout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.reference import ReferenceEngine
from spikeproof.errors import GraphError
from spikeproof.fuzz.case import Task
from spikeproof.fuzz.draw.events import arriving
from spikeproof.fuzz.shrink.layers import joined, named, rebuilt, with_arrays
from spikeproof.ir.chip import (
    INPUT,
    INPUT_INDEX,
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    Sign,
    Synapse,
)
from spikeproof.ir.graph import chain_problems, delays

Candidates = Iterator[Task | Callable[[], Task]]
Indices = NDArray[np.int64]
_MOST_WEIGHTS, _FEW_WEIGHTS = 2_000_000, 50_000
"""A layer with more of them is not written as a matrix; nor is a whole network with many."""


def without_parts(count: int) -> Iterator[Indices]:
    """Yield index sets that leave out ever smaller runs of ``range(count)``, never all of it."""
    everything = np.arange(count)
    size = count - 1
    while size >= 1:
        for start in range(0, count, size):
            kept = np.delete(everything, np.arange(start, min(start + size, count)))
            if len(kept):
                yield kept
        size //= 2


def cut_layers(task: Task) -> Candidates:
    """Keep one layer, then several, then all but one.

    What fed those that are kept is replaced by the spikes it sends: one source of theirs, or of a
    single layer all of them.
    """
    network, x = task
    count = len(network.layers)
    for length in range(1, count):
        for start in range(count - length + 1):
            for source in _outside(network, range(start, start + length)):
                yield partial(_some_layers, network, x, range(start, start + length), source)
    for index, sources in enumerate(network.sources):
        if len({*sources}) > 1 or (count > 1 and sources == (index,)):
            for at_once in (True, False):
                yield partial(_alone, network, x, index, at_once)
    for index in range(count - 1):
        for rewired in (True, False):
            yield partial(_without_layer, network, x, index, rewired)


def _outside(network: ChipNetwork, kept: range) -> list[int]:
    """Return the sources of some layers that are none of them."""
    found = dict.fromkeys(source for i in kept for source in network.sources[i])
    return [source for source in found if source not in kept]


def _some_layers(network: ChipNetwork, x: Any, kept: range, source: int) -> Task:
    """Keep layers and what they read of each other and of one source, which becomes the input."""
    layers = [named(network)[i] for i in kept]
    name = INPUT if source == INPUT_INDEX else network.layers[source].name
    known = {name, *(layer.name for layer in layers)}
    fed = [
        replace(
            layer,
            inputs=tuple(
                one.changed(source=INPUT) if one.source == name else one
                for one in layer.inputs
                if one.source in known
            ),
        )
        for layer in layers
    ]
    if source == INPUT_INDEX:
        return joined(network, fed), x
    before = network.layers[source]
    spikes = (ReferenceEngine().run(network, x, trace=True).traces or {})[before.name].s
    shape = before.shape if len(before.shape) == 3 else (*before.shape, 1, 1)
    sent = np.asarray(spikes).reshape(len(x), network.timesteps, *shape)
    return joined(network, fed, input_shape=shape, coding="spikes"), sent


def _alone(network: ChipNetwork, x: Any, index: int, at_once: bool) -> Task:
    """Give a layer, as matrices, all that its connections carry as one input; loops are cut so.

    at_once: its connections become one, if they have one exponent.
    """
    layer = network.layers[index]
    traces = ReferenceEngine().run(network, x, trace=True).traces or {}
    graded = network.coding == "pixels"
    carried = [
        (one, np.asarray(sent).reshape(len(x), network.timesteps, -1))
        for one, sent, source in zip(
            layer.inputs, arriving(network, x, traces)[index], network.sources[index], strict=True
        )
        if not (graded and source == INPUT_INDEX)  # which are no spikes
    ]
    width = sum(sent.shape[2] for _, sent in carried)
    if not 0 < width * layer.neurons <= _MOST_WEIGHTS:
        raise GraphError(f"{width} inputs of {layer.neurons} neurons", where=layer.name)
    inputs, offset = list[Connection](), 0
    for one, sent in carried:
        weight = np.zeros((layer.neurons, width), np.int16)
        weight[:, offset : offset + sent.shape[2]] = _matrix(one.synapse)
        offset += sent.shape[2]
        inputs.append(Connection(DenseSynapse(weight, one.synapse.sign, one.synapse.exponent)))
    found = replace(_flat(layer), inputs=tuple(_merged(inputs) if at_once else inputs))
    spikes = np.concatenate([sent for _, sent in carried], axis=2).astype(np.uint8)
    shape = (width, 1, 1)
    alone = [replace(found, inputs=tuple(one.changed(source=INPUT) for one in found.inputs))]
    return (
        joined(network, alone, input_shape=shape, coding="spikes", readout="auto"),
        spikes.reshape(*spikes.shape[:2], *shape),
    )


def _matrix(synapse: Synapse) -> NDArray[Any]:
    matrix: Any = synapse.matrix()
    dense: NDArray[Any] = matrix.toarray() if hasattr(matrix, "toarray") else matrix
    return dense


def _flat(layer: ChipLayer) -> ChipLayer:
    """Put the neurons of a layer in a row."""

    def row(values: NDArray[Any]) -> NDArray[Any]:
        if values.size > 1:
            values = np.broadcast_to(values, layer.shape)
        return values.reshape(-1)

    return replace(layer, neuron=with_arrays(layer.neuron, row), shape=(layer.neurons,))


def as_matrices(task: Task) -> Candidates:
    """Write the windows of a small network as matrices, of which more can be left out."""
    network, x = task
    windows = [
        one.synapse
        for layer in network.layers
        for one in layer.inputs
        if isinstance(one.synapse, ConvSynapse)
    ]
    unrolled = sum(
        int(np.prod(w.input_shape)) * int(np.prod(w.output_shape(w.input_shape))) for w in windows
    )
    if 0 < unrolled <= _FEW_WEIGHTS:
        yield partial(_as_matrices, network, x)


def _as_matrices(network: ChipNetwork, x: Any) -> Task:
    made: dict[int, Synapse] = {}
    layers = []
    for layer in network.layers:
        inputs = []
        for one in layer.inputs:
            old, host = one.synapse, one.host
            if id(old) not in made:
                weight: Any = _matrix(old).astype(np.int16 if host is None else np.int32)
                made[id(old)] = DenseSynapse(weight, old.sign, old.exponent)
            if host is not None:
                offset = np.broadcast_to(host.offset, layer.shape).reshape(-1)
                host = replace(host, offset=offset)
            inputs.append(one.changed(synapse=made[id(old)], host=host))
        layers.append(replace(_flat(layer), inputs=tuple(inputs)))
    return network.changed(layers), x


def _merged(inputs: list[Connection]) -> list[Connection]:
    """Make one connection of several with one exponent that read other columns of one input."""
    if len({one.synapse.exponent for one in inputs}) > 1:
        raise GraphError("connections have different exponents")
    signs = {one.synapse.sign for one in inputs}
    sign: Sign = signs.pop() if len(signs) == 1 else "mixed"
    weight = np.stack([one.synapse.weight for one in inputs]).sum(axis=0, dtype=np.int16)
    return [Connection(DenseSynapse(weight, sign, inputs[0].synapse.exponent))]


def _without_layer(network: ChipNetwork, x: Any, index: int, rewired: bool) -> Task:
    """Leave out a layer; what read it reads what it read first, or nothing in its place."""
    layers = named(network)
    gone = layers.pop(index)
    instead = gone.inputs[0].source
    if rewired and instead == gone.name:
        raise GraphError("reads itself first", where=gone.name)
    fed = []
    for layer in layers:
        inputs = tuple(
            one.changed(source=instead) if one.source == gone.name else one
            for one in layer.inputs
            if rewired or one.source != gone.name
        )
        fed.append(replace(layer, inputs=inputs))
    return rebuilt(network, fed), x


def cut_connections(task: Task) -> Candidates:
    """Make a chain of a graph, or leave out connections of a layer that has several."""
    network, x = task
    if chain_problems(network):
        yield partial(_chain, network, x)
    for index, layer in enumerate(network.layers):
        for kept in without_parts(len(layer.inputs)):
            yield partial(_some_inputs, network, x, index, kept)


def _chain(network: ChipNetwork, x: Any) -> Task:
    layers, before = [], INPUT
    for layer in named(network):
        first = [one for one in layer.inputs if one.source == before and one.lag == 0][:1]
        layers.append(replace(layer, inputs=tuple(first)))
        before = layer.name
    return joined(network, layers, readout="auto"), x


def _some_inputs(network: ChipNetwork, x: Any, index: int, kept: Indices) -> Task:
    layers = named(network)
    inputs = layers[index].inputs
    layers[index] = replace(layers[index], inputs=tuple(inputs[i] for i in kept))
    return joined(network, layers), x


def shorter_lags(task: Task) -> Candidates:
    """Bring lags to the smallest that a synaptic delay can realise, or closer to it."""
    network, x = task
    for index, layer in enumerate(network.layers):
        for place, one in enumerate(layer.inputs):
            spare = min(delays(network)[index][place], one.lag)
            for less in sorted({spare, spare // 2, 1} & {*range(1, spare + 1)}, reverse=True):
                yield partial(_with_lag, network, x, (index, place), one.lag - less)


def _with_lag(network: ChipNetwork, x: Any, at: tuple[int, int], lag: int) -> Task:
    index, place = at
    layers = list(network.layers)
    inputs = list(layers[index].inputs)
    inputs[place] = inputs[place].changed(lag=lag)
    layers[index] = replace(layers[index], inputs=tuple(inputs))
    return network.changed(layers), x


def plain_readout(task: Task) -> Candidates:
    """Answer as layers of their kind ordinarily do."""
    network, x = task
    if network.readout != "auto":
        yield replace(network, readout="auto"), x
