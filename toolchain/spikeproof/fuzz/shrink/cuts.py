"""Cuts that make a failing network smaller: samples, steps, neurons, inputs, windows.

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

from spikeproof.fuzz.case import Task
from spikeproof.fuzz.shrink.layers import (
    gives_some,
    named,
    reads_some,
    rebuilt,
    take_channels,
    with_arrays,
)
from spikeproof.fuzz.shrink.wiring import (
    Candidates,
    Indices,
    cut_connections,
    cut_layers,
    plain_readout,
    shorter_lags,
    without_parts,
)
from spikeproof.ir.chip import (
    INPUT,
    INPUT_INDEX,
    ChipLayer,
    ChipNetwork,
    ConvSynapse,
    GeneralLifNeuron,
    Shape,
    TableLifNeuron,
)

Cut = Callable[[Task], Candidates]


def cut_samples(task: Task) -> Candidates:
    """Leave out samples."""
    network, x = task
    for kept in without_parts(len(x)):
        yield network, x[kept]


def cut_steps(task: Task) -> Candidates:
    """Leave out steps, in the input and in every table."""
    network, x = task
    for kept in without_parts(network.timesteps):
        yield partial(_some_steps, network, x, kept)


def _some_steps(network: ChipNetwork, x: Any, kept: Indices) -> Task:
    layers = []
    for layer in network.layers:
        neuron = layer.neuron
        if isinstance(neuron, TableLifNeuron | GeneralLifNeuron):
            leak, threshold = (
                table[kept] if len(table) == network.timesteps else table
                for table in (neuron.leak, neuron.threshold)
            )
            neuron = replace(neuron, leak=leak, threshold=threshold)
        layers.append(replace(layer, neuron=neuron))
    shorter = replace(network, layers=tuple(layers), timesteps=len(kept))
    return shorter, x[:, kept] if network.coding == "spikes" else x


def cut_outputs(task: Task) -> Candidates:
    """Leave out neurons or output channels of a layer, and what others read of them."""
    network, x = task
    for index in reversed(range(len(network.layers))):
        for kept in without_parts(network.layers[index].shape[0]):
            yield partial(_some_outputs, network, x, index, kept)


def _some_outputs(network: ChipNetwork, x: Any, index: int, kept: Indices) -> Task:
    old, axes = network.layers[index], len(network.layers[index].shape)
    layers = named(network)
    fewer = tuple(gives_some(one, axes, kept) for one in layers[index].inputs)
    neuron = with_arrays(old.neuron, lambda values: take_channels(values, axes, kept))
    shape = (len(kept), *old.shape[1:])
    layers[index] = replace(layers[index], inputs=fewer, neuron=neuron, shape=shape)
    return rebuilt(network, _reading_some(layers, old.name, old.shape, kept)), x


def _reading_some(
    layers: list[ChipLayer], name: str, source: Shape, kept: Indices
) -> list[ChipLayer]:
    """Leave out what every layer reads of some channels of one source."""
    return [
        replace(
            layer,
            inputs=tuple(
                reads_some(one, source, kept) if one.source == name else one for one in layer.inputs
            ),
        )
        for layer in layers
    ]


def cut_inputs(task: Task) -> Candidates:
    """Leave out input channels; any inputs where no convolution reads them."""
    network, x = task
    if not _is_image(network) and network.input_shape[1:] != (1, 1):
        yield partial(_flat_input, network, x)
        return
    for kept in without_parts(network.input_shape[0]):
        yield partial(_some_inputs, network, x, kept)


def _is_image(network: ChipNetwork) -> bool:
    """Tell whether a convolution reads the input."""
    return any(
        isinstance(one.synapse, ConvSynapse) and source == INPUT_INDEX
        for layer, sources in zip(network.layers, network.sources, strict=True)
        for one, source in zip(layer.inputs, sources, strict=True)
    )


def _some_inputs(network: ChipNetwork, x: Any, kept: Indices) -> Task:
    layers = _reading_some(named(network), INPUT, network.input_shape, kept)
    shape = (len(kept), *network.input_shape[1:])
    return rebuilt(network, layers, input_shape=shape), x.take(kept, x.ndim - 3)


def _flat_input(network: ChipNetwork, x: Any) -> Task:
    shape = (int(np.prod(network.input_shape)), 1, 1)
    return replace(network, input_shape=shape), x.reshape(*x.shape[:-3], *shape)


def cut_image(task: Task) -> Candidates:
    """Crop rows or columns of the image that a convolution reads."""
    network, x = task
    if _is_image(network):
        for axis in (1, 2):
            for kept in without_parts(network.input_shape[axis]):
                yield partial(_some_pixels, network, x, axis, kept)


def _some_pixels(network: ChipNetwork, x: Any, axis: int, kept: Indices) -> Task:
    shape = list(network.input_shape)
    shape[axis] = len(kept)
    cropped = rebuilt(network, named(network), input_shape=tuple(shape))
    return cropped, x.take(kept, x.ndim - 3 + axis)


def cut_window(task: Task) -> Candidates:
    """Simplify convolutions: smaller kernel, stride, padding, dilation, a single group."""
    network, x = task
    for index, layer in enumerate(network.layers):
        for place, one in enumerate(layer.inputs):
            if isinstance(one.synapse, ConvSynapse):
                for simpler in _simpler_windows(one.synapse):
                    yield partial(_with_window, network, x, (index, place), simpler)


def _with_window(network: ChipNetwork, x: Any, at: tuple[int, int], conv: ConvSynapse) -> Task:
    layers, (index, place) = named(network), at
    inputs = list(layers[index].inputs)
    inputs[place] = inputs[place].changed(synapse=conv)
    layers[index] = replace(layers[index], inputs=tuple(inputs))
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
    if conv.groups > 1:
        yield replace(conv, groups=1, weight=_ungrouped(conv))


def _ungrouped(conv: ConvSynapse) -> NDArray[Any]:
    """Return the weights of the same sums over all channels: 0 where a group reads none."""
    out, per_group, *window = conv.weight.shape
    weight = np.zeros((out, conv.input_shape[0], *window), conv.weight.dtype)
    for channel in range(out):
        first = channel // (out // conv.groups) * per_group
        weight[channel, first : first + per_group] = conv.weight[channel]
    return weight


CUTS: tuple[Cut, ...] = (
    cut_samples,
    cut_layers,
    cut_connections,
    shorter_lags,
    plain_readout,
    cut_steps,
    cut_outputs,
    cut_inputs,
    cut_image,
    cut_window,
)
