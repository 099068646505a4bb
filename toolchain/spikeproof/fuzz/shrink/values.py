"""Simpler numbers for a failing network: weights and inputs to zero, plain parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.fuzz.case import Task
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    GeneralLifNeuron,
    HostCurrent,
    LifNeuron,
    Synapse,
    TableLifNeuron,
)
from spikeproof.ir.neurons import NO_FILTER

_KEEP_ALL, _ONE = 4096, 4096
_FEW = 24


def zero_input(task: Task) -> Iterator[Task]:
    """Set inputs to zero, many at a time, then make those that are left small."""
    network, x = task
    for simpler in _with_zeros(x):
        yield network, simpler
    if x.max(initial=0) > 1:
        yield network, np.minimum(x, 1).astype(np.uint8)
        yield network, (x // 2).astype(np.uint8)


def zero_weights(task: Task) -> Iterator[Task]:
    """Set weights to zero, many at a time, then make those that are left small."""
    network, x = task
    for synapse in _synapses(network):
        unit = 2 if synapse.sign == "mixed" else 1
        for weight in chain(_with_zeros(synapse.weight), _smaller(synapse.weight, unit)):
            yield _with_synapse(network, x, synapse, synapse.changed(weight=weight))


def _synapses(network: ChipNetwork) -> list[Synapse]:
    """Return every synapse once, though several connections share it."""
    every = (one.synapse for layer in network.layers for one in layer.inputs)
    return list({id(synapse): synapse for synapse in every}.values())


def _with_synapse(network: ChipNetwork, x: Any, old: Synapse, new: Synapse) -> Task:
    """Put a synapse in another's place, in every connection that has it."""
    return network.changed(
        [
            replace(
                layer,
                inputs=tuple(
                    one.changed(synapse=new) if one.synapse is old else one for one in layer.inputs
                ),
            )
            for layer in network.layers
        ]
    ), x


def _with_zeros(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Set ever smaller runs of the non-zero entries to zero."""
    places = np.flatnonzero(values)
    size = len(places)
    while size >= 1:
        for start in range(0, len(places), size):
            yield _put(values, places[start : start + size], 0)
        size //= 2


def _smaller(weight: NDArray[Any], unit: int) -> Iterator[NDArray[Any]]:
    """Shrink all weights to one unit, halve all, or (of a few) shrink or halve single ones."""
    places = np.flatnonzero(np.abs(weight.astype(np.int64)) > unit)
    single = [places[i : i + 1] for i in range(len(places))] if len(places) <= _FEW else []
    for some in [places, *single] if len(places) else []:
        old = weight.ravel()[some].astype(np.int64)
        yield _put(weight, some, np.sign(old) * unit)
        halved = np.abs(old) // (2 * unit) * unit
        yield _put(weight, some, np.sign(old) * np.maximum(halved, unit))


def _put(values: NDArray[Any], places: Any, value: Any) -> NDArray[Any]:
    copy = np.ascontiguousarray(values).copy()
    copy.reshape(-1)[places] = value
    return copy


def plain_synapses(task: Task) -> Iterator[Task]:
    """Bring exponents to 0, host offsets and shifts toward 0, and the array to int16."""
    network, x = task
    for index, layer in enumerate(network.layers):
        for place, one in enumerate(layer.inputs):
            for host in _simpler_currents(one.host) if one.host else ():
                inputs = list(layer.inputs)
                inputs[place] = one.changed(host=host)
                yield _changed(network, x, index, inputs=tuple(inputs))
    hosts = {id(c.synapse) for layer in network.layers for c in layer.inputs if c.host}
    for synapse in _synapses(network):
        for simpler in () if id(synapse) in hosts else _simpler_synapses(synapse):
            yield _with_synapse(network, x, synapse, simpler)


def _simpler_currents(host: HostCurrent) -> Iterator[HostCurrent]:
    if host.offset.any():
        yield replace(host, offset=host.offset * 0)
    yield from (replace(host, shift=s) for s in _toward_zero(host.shift))


def _simpler_synapses(synapse: Synapse) -> Iterator[Synapse]:
    yield from (synapse.changed(exponent=e) for e in _toward_zero(synapse.exponent))
    if synapse.weight.dtype != np.int16 or not synapse.weight.flags.c_contiguous:
        yield synapse.changed(weight=np.ascontiguousarray(synapse.weight, np.int16))


def plain_neurons(task: Task) -> Iterator[Task]:
    """Remove bias and filter, make leak and threshold constant and simple."""
    network, x = task
    for index, layer in enumerate(network.layers):
        for neuron in _simpler_neurons(layer):
            yield _changed(network, x, index, neuron=neuron)


def _simpler_neurons(layer: ChipLayer) -> Iterator[Any]:
    neuron: Any = layer.neuron
    bias = neuron.bias
    if bias.size > 1:
        yield replace(neuron, bias=bias.reshape(-1)[:1].reshape((1,) * len(layer.shape)))
        for simpler in _with_zeros(bias):
            yield replace(neuron, bias=simpler)
    elif bias.any():
        value = int(bias.reshape(-1)[0])
        for number in _toward_zero(value):
            yield replace(neuron, bias=np.full_like(bias, number))
    for number in _toward_zero(neuron.bias_exponent):
        yield replace(neuron, bias_exponent=number)
    if not neuron.spiking:
        return
    if isinstance(neuron, GeneralLifNeuron):
        yield from _simpler_general(neuron)
        return
    if neuron.du != NO_FILTER:
        yield replace(neuron, du=NO_FILTER)
    if isinstance(neuron, LifNeuron):
        yield from (replace(neuron, threshold=n) for n in _toward_zero(neuron.threshold))
        for place, plain in enumerate(order := (0, _KEEP_ALL)):
            if neuron.dv not in order[: place + 1]:
                yield replace(neuron, dv=plain)
    elif isinstance(neuron, TableLifNeuron):
        yield from _simpler_tables(neuron)


def _simpler_general(neuron: GeneralLifNeuron) -> Iterator[Any]:
    """Bring tables to one row and arrays to one number, the reset to zero, states to 0."""
    if neuron.reset is not None:
        yield replace(neuron, reset=None)
    plain = {"leak": _ONE, "threshold": 0, "du": NO_FILTER, "initial": 0, "reset": 0}
    for name, value in plain.items():
        values = getattr(neuron, name)
        if values is None:
            continue
        changes: dict[str, Any]
        if values.size > 1:
            first = (1,) * values.ndim
            for fewer in (values[:1], values.reshape(-1)[:1].reshape(first)):
                changes = {name: fewer}
                if fewer.shape != values.shape:
                    yield replace(neuron, **changes)
        for simpler in _toward(values, value):
            changes = {name: simpler}
            yield replace(neuron, **changes)


def _toward(values: NDArray[Any], plain: int) -> Iterator[NDArray[Any]]:
    """Set ever smaller runs of entries to their plain value."""
    for simpler in _with_zeros(values - plain):
        yield simpler + np.asarray(plain, values.dtype)


def _simpler_tables(neuron: TableLifNeuron) -> Iterator[Any]:
    if (neuron.leak != _ONE).any():
        yield replace(neuron, leak=np.full_like(neuron.leak, _ONE))
    for table in ("leak", "threshold"):
        for simpler in _with_zeros(getattr(neuron, table)):
            if table == "threshold" or (neuron.leak != _ONE).any():
                changes: dict[str, Any] = {table: simpler}
                yield replace(neuron, **changes)


def _toward_zero(value: int) -> Iterator[int]:
    """Yield simpler numbers of the same sign: 0, 1, the half, one less."""
    sign = -1 if value < 0 else 1
    size = abs(value)
    for smaller in sorted({0, 1, size // 2, size - 1} & set(range(size))):
        yield sign * smaller


def _changed(network: ChipNetwork, x: Any, index: int, **fields: Any) -> Task:
    layers = list(network.layers)
    layers[index] = layers[index].changed(**fields)
    return replace(network, layers=tuple(layers)), x


SIMPLER_VALUES = (zero_weights, zero_input, plain_synapses, plain_neurons)
