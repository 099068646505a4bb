"""Bring the layers of a network back in line after something was cut out of one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import GraphError
from spikeproof.ir.chip import (
    INPUT,
    INPUT_INDEX,
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    GeneralLifNeuron,
    HostCurrent,
    Neuron,
    Shape,
    Synapse,
)

Indices = NDArray[np.int64]
Values = NDArray[Any]


def named(network: ChipNetwork) -> list[ChipLayer]:
    """Return the layers with every source by its name, so that they can be moved about."""
    names = [*(layer.name for layer in network.layers), INPUT]  # INPUT_INDEX: the last
    return [
        replace(
            layer,
            inputs=tuple(
                one.changed(source=names[source])
                for one, source in zip(layer.inputs, sources, strict=True)
            ),
        )
        for layer, sources in zip(network.layers, network.sources, strict=True)
    ]


def joined(network: ChipNetwork, layers: Sequence[ChipLayer], **changes: Any) -> ChipNetwork:
    """Return the network of other layers; what reads the layer before says so in the short form.

    Raises:
        GraphError: a layer reads one that is not there.
    """
    made: list[ChipLayer] = []
    before = INPUT
    for layer in layers:
        inputs = (one.changed(source=None) if one.source == before else one for one in layer.inputs)
        made.append(replace(layer, inputs=tuple(inputs)))
        before = layer.name
    found = replace(network, layers=tuple(made), **changes)
    try:
        found.sources  # noqa: B018 (asked for its error)
    except KeyError as error:
        raise GraphError(f"reads {error}, which is gone", where=network.name) from None
    return found


def rebuilt(network: ChipNetwork, layers: Sequence[ChipLayer], **changes: Any) -> ChipNetwork:
    """Bring declared shapes, neurons and dense weights in line with what the sources give.

    Raises:
        GraphError: a window no longer fits.
    """
    whole = joined(network, layers, **changes)
    shapes: dict[int, Shape] = {INPUT_INDEX: tuple(whole.input_shape)}
    for index, layer in enumerate(whole.layers):
        shapes[index] = _shape(whole, index, shapes) or tuple(layer.shape)
    fitted = [_fitted_layer(whole, index, shapes) for index in range(len(whole.layers))]
    return whole.changed(_shared_again(network, fitted))


def _shared_again(network: ChipNetwork, layers: list[ChipLayer]) -> list[ChipLayer]:
    """Make one synapse of those that were one, and are still alike after the same cut."""
    old = {layer.name: layer.inputs for layer in network.layers}
    first: dict[int, Synapse] = {}
    made = []
    for layer in layers:
        inputs = []
        for was, one in zip(old[layer.name], layer.inputs, strict=False):
            kept = first.setdefault(id(was.synapse), one.synapse)
            inputs.append(one.changed(synapse=kept) if _alike(kept, one.synapse) else one)
        same = len(old[layer.name]) == len(layer.inputs)
        made.append(replace(layer, inputs=tuple(inputs)) if same else layer)
    return made


def _alike(first: Synapse, second: Synapse) -> bool:
    return type(first) is type(second) and all(
        np.array_equal(getattr(first, item.name), getattr(second, item.name))
        for item in fields(first)  # type: ignore[arg-type]
    )


def _shape(network: ChipNetwork, index: int, shapes: dict[int, Shape]) -> Shape | None:
    """Return what the first connection makes of a source whose shape is known by now."""
    layer = network.layers[index]
    for one, source in zip(layer.inputs, network.sources[index], strict=True):
        if source < index:
            synapse = _reading(one.synapse, shapes[source], layer.name)
            return synapse.output_shape(shapes[source])
    return None


def _fitted_layer(network: ChipNetwork, index: int, shapes: dict[int, Shape]) -> ChipLayer:
    layer, shape = network.layers[index], shapes[index]
    inputs = []
    for one, source in zip(layer.inputs, network.sources[index], strict=True):
        synapse = _reading(one.synapse, shapes[source], layer.name)
        if len(synapse.weight) > shape[0] and getattr(synapse, "groups", 1) == 1:
            synapse = synapse.changed(weight=synapse.weight[: shape[0]])
        host = one.host and HostCurrent(crop(one.host.offset, shape), one.host.shift)
        same = synapse is one.synapse and host is one.host
        inputs.append(one if same else one.changed(synapse=synapse, host=host))
    neuron = with_arrays(layer.neuron, lambda values: crop(values, shape))
    return replace(layer, inputs=tuple(inputs), neuron=neuron, shape=shape)


def _reading(synapse: Synapse, shape: Shape, name: str) -> Synapse:
    """Fit a synapse to inputs of ``shape``: a convolution is told, dense columns are left out."""
    if isinstance(synapse, ConvSynapse):
        if len(shape) != 3:
            raise GraphError(f"a convolution needs an image, gets {shape}", where=name)
        told = tuple(synapse.input_shape) == tuple(shape)
        return synapse if told else synapse.changed(input_shape=shape)
    columns = int(np.prod(shape))
    if columns > synapse.fan_in:
        raise GraphError(f"{columns} inputs, {synapse.fan_in} columns", where=name)
    if columns == synapse.fan_in:
        return synapse
    return synapse.changed(weight=synapse.weight[:, :columns])


def reads_some(one: Connection, source: Shape, kept: Indices) -> Connection:
    """Leave out what a connection reads from channels of its source."""
    synapse, weight = one.synapse, one.synapse.weight
    if not isinstance(synapse, ConvSynapse):
        split = weight.reshape(len(weight), source[0], -1)[:, kept]
        fitted = synapse.changed(weight=split.reshape(len(split), -1))
    elif synapse.groups == 1:
        fitted = synapse.changed(weight=weight[:, kept])
    else:
        groups = len(kept) if weight.shape[1] == 1 else 1
        fewer = weight[kept] if len(weight) == source[0] else weight
        fitted = synapse.changed(weight=fewer, groups=groups)
    return one.changed(synapse=fitted)


def gives_some(one: Connection, axes: int, kept: Indices) -> Connection:
    """Leave out what a connection gives to channels of its target, of so many axes."""
    host = one.host and HostCurrent(take_channels(one.host.offset, axes, kept), one.host.shift)
    return one.changed(synapse=one.synapse.changed(weight=one.synapse.weight[kept]), host=host)


def with_arrays(neuron: Neuron, change: Callable[[Values], Values]) -> Neuron:
    """Change every array of a neuron that broadcasts to its population."""
    tables = ("leak", "threshold")
    changed: dict[str, Any] = {}
    for name in (item.name for item in fields(neuron)):  # type: ignore[arg-type]
        values = getattr(neuron, name)
        if not isinstance(values, np.ndarray):
            continue
        if name not in tables:
            changed[name] = change(values)
        elif isinstance(neuron, GeneralLifNeuron):
            changed[name] = np.stack([change(row) for row in values])
    return neuron.changed(**changed)


def take_channels(values: Values, ndim: int, kept: Indices) -> Values:
    """Leave out channels of an array that has one value per channel."""
    return values[kept] if values.ndim == ndim and values.shape[0] > 1 else values


def crop(values: Values, shape: Shape) -> Values:
    """Cut a broadcastable array to a smaller population."""
    places: Any = tuple(slice(0, n) for n in shape[len(shape) - values.ndim :])
    # Without the dots an array of no dimensions would become a number.
    cropped: Values = values[(*places, ...)]
    return cropped
