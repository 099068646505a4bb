"""Cuts that make a failing network smaller: samples, layers, steps, neurons, inputs, windows.

Each cut yields candidates, the largest cut first; one whose making may fail as what makes it. A
candidate need not compute the same as before; it only has to be a legal network on which the engine
still fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.reference import ReferenceEngine
from spikeproof.fuzz.case import Task
from spikeproof.fuzz.shrink.layers import reads_some, rebuilt, take_channels
from spikeproof.ir.chip import ChipNetwork, ConvSynapse, HostCurrent, TableLifNeuron

Candidates = Iterator[Task | Callable[[], Task]]
Cut = Callable[[Task], Candidates]
Indices = NDArray[np.int64]


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


def cut_samples(task: Task) -> Candidates:
    """Leave out samples."""
    network, x = task
    for kept in without_parts(len(x)):
        yield network, x[kept]


def cut_layers(task: Task) -> Candidates:
    """Keep one layer, then several: earlier ones are replaced by the spikes they send."""
    network, x = task
    count = len(network.layers)
    for length in range(1, count):
        for start in range(count - length + 1):
            yield partial(_some_layers, network, x, start, start + length)


def _some_layers(network: ChipNetwork, x: Any, start: int, end: int) -> Task:
    layers = network.layers[start:end]
    if start == 0:
        return replace(network, layers=layers), x
    before = network.layers[start - 1]
    traces = ReferenceEngine().run(network, x, trace=True).traces or {}
    shape = before.shape if len(before.shape) == 3 else (*before.shape, 1, 1)
    spikes = np.asarray(traces[before.name].s).reshape(len(x), network.timesteps, *shape)
    return replace(network, layers=layers, input_shape=shape, coding="spikes"), spikes


def cut_steps(task: Task) -> Candidates:
    """Leave out steps, in the input and in every table."""
    network, x = task
    for kept in without_parts(network.timesteps):
        yield partial(_some_steps, network, x, kept)


def _some_steps(network: ChipNetwork, x: Any, kept: Indices) -> Task:
    layers = []
    for layer in network.layers:
        neuron = layer.neuron
        if isinstance(neuron, TableLifNeuron):
            neuron = replace(neuron, leak=neuron.leak[kept], threshold=neuron.threshold[kept])
        layers.append(replace(layer, neuron=neuron))
    shorter = replace(network, layers=tuple(layers), timesteps=len(kept))
    return shorter, x[:, kept] if network.coding == "spikes" else x


def cut_outputs(task: Task) -> Candidates:
    """Leave out neurons or output channels of a layer, and what the next layer reads of them."""
    network, x = task
    for index in reversed(range(len(network.layers))):
        for kept in without_parts(network.layers[index].shape[0]):
            yield partial(_some_outputs, network, x, index, kept)


def _some_outputs(network: ChipNetwork, x: Any, index: int, kept: Indices) -> Task:
    layers = list(network.layers)
    layer = layers[index]
    synapse, host, axes = layer.synapse, layer.host, len(layer.shape)
    layers[index] = layer.changed(
        synapse=synapse.changed(weight=synapse.weight[kept]),
        neuron=layer.neuron.changed(bias=take_channels(layer.neuron.bias, axes, kept)),
        host=host and HostCurrent(take_channels(host.offset, axes, kept), host.shift),
    )
    if index + 1 < len(layers):
        layers[index + 1] = reads_some(layers[index + 1], layer.shape, kept)
    return rebuilt(network, layers), x


def cut_inputs(task: Task) -> Candidates:
    """Leave out input channels; of a dense first layer any inputs."""
    network, x = task
    conv = isinstance(network.layers[0].synapse, ConvSynapse)
    if not conv and network.input_shape[1:] != (1, 1):
        yield partial(_flat_input, network, x)
        return
    for kept in without_parts(network.input_shape[0]):
        yield partial(_some_inputs, network, x, kept)


def _some_inputs(network: ChipNetwork, x: Any, kept: Indices) -> Task:
    first = reads_some(network.layers[0], network.input_shape, kept)
    fewer = replace(network, input_shape=(len(kept), *network.input_shape[1:]))
    return rebuilt(fewer, [first, *network.layers[1:]]), x.take(kept, x.ndim - 3)


def _flat_input(network: ChipNetwork, x: Any) -> Task:
    shape = (int(np.prod(network.input_shape)), 1, 1)
    return replace(network, input_shape=shape), x.reshape(*x.shape[:-3], *shape)


def cut_image(task: Task) -> Candidates:
    """Crop rows or columns of the image that a convolution reads."""
    network, x = task
    if isinstance(network.layers[0].synapse, ConvSynapse):
        for axis in (1, 2):
            for kept in without_parts(network.input_shape[axis]):
                yield partial(_some_pixels, network, x, axis, kept)


def _some_pixels(network: ChipNetwork, x: Any, axis: int, kept: Indices) -> Task:
    shape = list(network.input_shape)
    shape[axis] = len(kept)
    cropped = replace(network, input_shape=tuple(shape))
    return rebuilt(cropped, list(network.layers)), x.take(kept, x.ndim - 3 + axis)


def cut_window(task: Task) -> Candidates:
    """Simplify convolutions: smaller kernel, stride, padding, dilation, a single group."""
    network, x = task
    for index, layer in enumerate(network.layers):
        if isinstance(layer.synapse, ConvSynapse):
            for simpler in _simpler_windows(layer.synapse):
                yield partial(_with_window, network, x, index, simpler)


def _with_window(network: ChipNetwork, x: Any, index: int, conv: ConvSynapse) -> Task:
    layers = list(network.layers)
    layers[index] = layers[index].changed(synapse=conv)
    return rebuilt(network, layers), x


def _simpler_windows(conv: ConvSynapse) -> Iterator[ConvSynapse]:
    for axis in (2, 3):
        for kept in without_parts(conv.weight.shape[axis]):
            yield replace(conv, weight=conv.weight.take(kept, axis))
    for field, least in (("stride", 1), ("dilation", 1), ("padding", 0)):
        pair = getattr(conv, field)
        for simpler in ((least, least), (least, pair[1]), (pair[0], least)):
            if simpler != pair:
                changes: dict[str, Any] = {field: simpler}
                yield replace(conv, **changes)
    if conv.groups > 1 and conv.weight.shape[1] == conv.input_shape[0]:
        yield replace(conv, groups=1)


CUTS: tuple[Cut, ...] = (
    cut_samples,
    cut_layers,
    cut_steps,
    cut_outputs,
    cut_inputs,
    cut_image,
    cut_window,
)
