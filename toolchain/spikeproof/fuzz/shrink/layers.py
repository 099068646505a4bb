"""Bring the layers of a network back in line after something was cut out of one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import GraphError
from spikeproof.ir.chip import ChipLayer, ChipNetwork, ConvSynapse, HostCurrent
from spikeproof.ir.shapes import output_shape

Indices = NDArray[np.int64]


def rebuilt(network: ChipNetwork, layers: list[ChipLayer]) -> ChipNetwork:
    """Bring declared shapes, biases and dense columns in line with what the layers before give.

    Raises:
        GraphError: a window no longer fits.
    """
    shape, made = network.input_shape, []
    for layer, old in zip(layers, network.layers, strict=True):
        before = _cropped_inputs(layer, old, shape)
        found = output_shape(before.synapse, shape)
        synapse = before.synapse
        if isinstance(synapse, HostCurrent):
            synapse = replace(synapse, offset=crop(synapse.offset, found))
        neuron = replace(layer.neuron, bias=crop(layer.neuron.bias, found))
        made.append(replace(layer, synapse=synapse, neuron=neuron, shape=found))
        shape = found
    return replace(network, layers=tuple(made))


def _cropped_inputs(layer: ChipLayer, old: ChipLayer, shape: tuple[int, ...]) -> ChipLayer:
    """Fit a layer to inputs of ``shape``: a convolution is told, dense columns are left out."""
    inner = inner_synapse(layer)
    if isinstance(inner, ConvSynapse):
        if len(shape) != 3:
            raise GraphError(f"a convolution needs an image, gets {shape}", where=layer.name)
        return replace(layer, synapse=with_inner(layer, replace(inner, input_shape=shape)))
    columns = int(np.prod(shape))
    if columns > inner.weight.shape[1]:
        raise GraphError(f"{columns} inputs, {inner.weight.shape[1]} columns", where=old.name)
    fitted = replace(inner, weight=inner.weight[:, :columns])
    return replace(layer, synapse=with_inner(layer, fitted))


def reads_some(layer: ChipLayer, source: tuple[int, ...], kept: Indices) -> ChipLayer:
    """Leave out what a layer reads from channels of its source."""
    inner = inner_synapse(layer)
    if isinstance(inner, ConvSynapse):
        if inner.groups > 1:
            groups = len(kept) if inner.weight.shape[1] == 1 else 1
            fewer = inner.weight[kept] if len(inner.weight) == source[0] else inner.weight
            return replace(
                layer, synapse=with_inner(layer, replace(inner, weight=fewer, groups=groups))
            )
        return replace(
            layer, synapse=with_inner(layer, replace(inner, weight=inner.weight[:, kept]))
        )
    split = inner.weight.reshape(len(inner.weight), source[0], -1)[:, kept]
    fitted = replace(inner, weight=split.reshape(len(split), -1))
    return replace(layer, synapse=with_inner(layer, fitted))


def inner_synapse(layer: ChipLayer) -> Any:
    """Return the synapse of a layer, of a host current the one inside."""
    synapse = layer.synapse
    return synapse.synapse if isinstance(synapse, HostCurrent) else synapse


def with_inner(layer: ChipLayer, inner: Any) -> Any:
    """Put a synapse in the place of a layer's, keeping the host current around it, if any."""
    host = layer.synapse
    return replace(host, synapse=inner) if isinstance(host, HostCurrent) else inner


def take_channels(values: NDArray[Any], ndim: int, kept: Indices) -> NDArray[Any]:
    """Leave out channels of a bias that has one value per channel."""
    return values[kept] if values.ndim == ndim and values.shape[0] > 1 else values


def crop(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Cut a broadcastable array to a smaller population."""
    places: Any = tuple(slice(0, n) for n in shape[len(shape) - values.ndim :])
    # Without the dots an array of no dimensions would become a number.
    cropped: NDArray[Any] = values[(*places, ...)]
    return cropped
