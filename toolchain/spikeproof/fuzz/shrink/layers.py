"""Bring the layers of a network back in line after something was cut out of one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import GraphError
from spikeproof.ir.chip import ChipLayer, ChipNetwork, ConvSynapse, HostCurrent

Indices = NDArray[np.int64]


def rebuilt(network: ChipNetwork, layers: list[ChipLayer]) -> ChipNetwork:
    """Bring declared shapes, biases and dense columns in line with what the layers before give.

    Raises:
        GraphError: a window no longer fits.
    """
    shape, made = network.input_shape, []
    for layer, old in zip(layers, network.layers, strict=True):
        before = _cropped_inputs(layer, old, shape)
        found = before.synapse.output_shape(shape)
        host = layer.host and HostCurrent(crop(layer.host.offset, found), layer.host.shift)
        neuron = layer.neuron.changed(bias=crop(layer.neuron.bias, found))
        made.append(before.changed(neuron=neuron, shape=found, host=host))
        shape = found
    return replace(network, layers=tuple(made))


def _cropped_inputs(layer: ChipLayer, old: ChipLayer, shape: tuple[int, ...]) -> ChipLayer:
    """Fit a layer to inputs of ``shape``: a convolution is told, dense columns are left out."""
    synapse = layer.synapse
    if isinstance(synapse, ConvSynapse):
        if len(shape) != 3:
            raise GraphError(f"a convolution needs an image, gets {shape}", where=layer.name)
        return layer.changed(synapse=synapse.changed(input_shape=shape))
    columns = int(np.prod(shape))
    if columns > synapse.fan_in:
        raise GraphError(f"{columns} inputs, {synapse.fan_in} columns", where=old.name)
    return layer.changed(synapse=synapse.changed(weight=synapse.weight[:, :columns]))


def reads_some(layer: ChipLayer, source: tuple[int, ...], kept: Indices) -> ChipLayer:
    """Leave out what a layer reads from channels of its source."""
    synapse, weight = layer.synapse, layer.synapse.weight
    if not isinstance(synapse, ConvSynapse):
        split = weight.reshape(len(weight), source[0], -1)[:, kept]
        fitted = synapse.changed(weight=split.reshape(len(split), -1))
    elif synapse.groups == 1:
        fitted = synapse.changed(weight=weight[:, kept])
    else:
        groups = len(kept) if weight.shape[1] == 1 else 1
        fewer = weight[kept] if len(weight) == source[0] else weight
        fitted = synapse.changed(weight=fewer, groups=groups)
    return layer.changed(synapse=fitted)


def take_channels(values: NDArray[Any], ndim: int, kept: Indices) -> NDArray[Any]:
    """Leave out channels of a bias that has one value per channel."""
    return values[kept] if values.ndim == ndim and values.shape[0] > 1 else values


def crop(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Cut a broadcastable array to a smaller population."""
    places: Any = tuple(slice(0, n) for n in shape[len(shape) - values.ndim :])
    # Without the dots an array of no dimensions would become a number.
    cropped: NDArray[Any] = values[(*places, ...)]
    return cropped
