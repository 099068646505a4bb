"""Drive single neurons as far as they go, through the reference (check V9).

A certificate says what no input can exceed. These inputs try: per layer, for the neurons with the
least headroom, all their inhibiting or all their exciting inputs at once; and, because a reset
caps v, inputs that bring v just under the threshold and then everything that excites. Whatever
such a run reaches, a sound certificate contains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.document.values import Record, Text
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.numpy_engine import NumpyEngine, run_alone
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import Engine
from spikeproof.ir.chip import ChipLayer, ConvSynapse
from spikeproof.verify.interval import Bounds, Ints, constants_of, resets, toward_zero
from spikeproof.verify.stages import run_one_layer

Images = NDArray[np.uint8]
_REFERENCE_WORK = 2e8
"""Multiplications the reference may do per layer; beyond it the fast engine, equal to it, runs."""


class Reached(Record):
    """What the inputs made of one layer: extremes of u and v, and where v was extreme."""

    inputs: int
    engine: Text
    u: int
    v_low: int
    v_high: int
    lowest: tuple[int, ...]
    highest: tuple[int, ...]


def reach(
    layer: ChipLayer,
    bounds: Bounds,
    inputs: Sequence[Ints],
    timesteps: int,
    *,
    pixels: Sequence[bool],
) -> Reached:
    """Run the extremal inputs of one layer.

    Args:
        layer: the layer, run alone.
        bounds: its bounds, which tell the neurons with the least headroom.
        inputs: for each connection the largest payload of each input: 255 for a pixel, 1 or, where
            nothing can come, 0.
        timesteps: steps per sample.
        pixels: for each connection, whether the same payloads act in every step; otherwise spikes,
            in every step anew.
    """
    drawn: list[Images] = []
    several = len(layer.inputs) > 1
    for neuron in _tightest(bounds):
        if several:
            drawn += _side_by_side(layer, neuron, inputs, pixels, timesteps, bounds)
        elif pixels[0]:
            drawn += _images(layer, neuron, weights_of(layer, neuron), inputs[0], timesteps)
        else:
            row, jump = weights_of(layer, neuron), int(bounds.jump[neuron])
            drawn += _spike_trains(layer, neuron, row, inputs[0], timesteps, jump)
    x = np.unique(np.stack(drawn), axis=0)
    if several:
        arriving = _apart(x, inputs)
        trace, engine = run_alone(layer, arriving, len(x), timesteps), NumpyEngine.name
    else:
        work = len(x) * timesteps * layer.neurons * layer.synapse.fan_in
        chosen: Engine = ReferenceEngine() if work <= _REFERENCE_WORK else FastEngine()
        run = run_one_layer(layer, x, timesteps, chosen, pixels=pixels[0])
        trace, engine = (run.traces or {})[layer.name], chosen.name
    v = trace.v.astype(np.int64)
    return Reached(
        inputs=len(x),
        engine=engine,
        u=int(np.abs(trace.u.astype(np.int64)).max()),
        v_low=int(v.min()),
        v_high=int(v.max()),
        lowest=_neuron_at(v, int(v.argmin())),
        highest=_neuron_at(v, int(v.argmax())),
    )


def _side_by_side(
    layer: ChipLayer,
    neuron: tuple[int, ...],
    inputs: Sequence[Ints],
    pixels: Sequence[bool],
    timesteps: int,
    bounds: Bounds,
) -> list[Images]:
    """Return payloads of all connections at every step, flat in a row, (T, inputs of all).

    All that inhibits, all that excites, and spikes up to the threshold, without any pixels.
    """
    pieces = [
        weights_of(part, neuron).ravel() * 2.0**part.synapse.exponent for part in layer.parts()
    ]
    row, most = np.concatenate(pieces), np.concatenate([one.ravel() for one in inputs])
    grey = np.repeat(pixels, [one.size for one in inputs])
    found = [
        np.repeat(np.where(sense, most, 0)[None], timesteps, axis=0) for sense in (row < 0, row > 0)
    ]
    for last in sorted({int(bounds.jump[neuron]), timesteps - 1}):
        spikes = np.where(grey, 0.0, row * most)
        found.append(_up_to_the_threshold(layer, neuron, spikes, 64.0, timesteps, last))
    return [np.asarray(train, np.uint8) for train in found]


def _apart(x: Images, inputs: Sequence[Ints]) -> list[Images]:
    """Cut payloads (N, T, inputs of all) into those of each connection, (N, T, *shape)."""
    ends = np.cumsum([one.size for one in inputs])[:-1]
    pieces = np.split(x, ends, axis=2)
    return [p.reshape(*x.shape[:2], *one.shape) for p, one in zip(pieces, inputs, strict=True)]


def _neuron_at(v: Ints, index: int) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(index, v.shape)[2:])


def _tightest(bounds: Bounds) -> list[tuple[int, ...]]:
    """Return the neurons that could go furthest in one sense or another."""
    most = [
        bounds.v_high.argmax(),
        bounds.v_low.argmin(),
        bounds.u.argmax(),
        bounds.mantissa.argmax(),
        np.argmax(bounds.total_high - bounds.total_low),
    ]
    found = [tuple(int(i) for i in np.unravel_index(int(m), bounds.v_low.shape)) for m in most]
    return list(dict.fromkeys(found))


def weights_of(layer: ChipLayer, neuron: tuple[int, ...]) -> Ints:
    """Return the weight from each input to one neuron; 0 where there is no synapse."""
    synapse = layer.synapse
    weight = synapse.weight.astype(np.int64)
    if not isinstance(synapse, ConvSynapse):
        return np.asarray(weight[neuron[0]])
    channel, row, column = neuron
    kernel = weight[channel]
    found = np.zeros(synapse.input_shape, np.int64)
    first = channel // (len(weight) // synapse.groups) * len(kernel)
    for i in range(kernel.shape[1]):
        y = row * synapse.stride[0] - synapse.padding[0] + i * synapse.dilation[0]
        for j in range(kernel.shape[2]):
            x = column * synapse.stride[1] - synapse.padding[1] + j * synapse.dilation[1]
            if 0 <= y < found.shape[1] and 0 <= x < found.shape[2]:
                found[first : first + len(kernel), y, x] = kernel[:, i, j]
    return found


def _images(
    layer: ChipLayer, neuron: tuple[int, ...], row: Ints, inputs: Ints, timesteps: int
) -> list[Images]:
    """Return constant payloads: all that inhibits, all that excites, and shares of the latter.

    With a share v comes just under the threshold at some step and goes over it at the next.
    """
    row, full = row.reshape(inputs.shape), inputs
    low, high = np.where(row < 0, full, 0), np.where(row > 0, full, 0)
    found = [low, high]
    current = _current(layer, neuron, row, high)
    silent = float(resets(layer, neuron)[0])
    for t in range(timesteps):
        _, leak, threshold = constants_of(layer, neuron, t)
        silent = silent * leak / 4096 + current
        if threshold is not None and silent > threshold:
            found += [(high * f).astype(np.int64) for f in (threshold / silent,)]
    return [np.asarray(x, np.uint8) for x in found]


def _current(layer: ChipLayer, neuron: tuple[int, ...], row: Ints, image: Ints) -> float:
    """Return roughly what one image adds to a neuron's v in each step, in v-units."""
    total = float((row * image).sum())
    if layer.host:
        offset = np.broadcast_to(layer.host.offset, layer.shape)[neuron]
        return float(total + offset) * 2.0 ** (layer.neuron.bias_exponent - layer.host.shift)
    bias = np.broadcast_to(layer.neuron.bias, layer.shape)[neuron]
    return 64 * total + float(bias) * 2.0**layer.neuron.bias_exponent


def _spike_trains(
    layer: ChipLayer, neuron: tuple[int, ...], row: Ints, inputs: Ints, timesteps: int, jump: int
) -> list[Images]:
    """Return spikes of every step: all that inhibits, all that excites, and up to the threshold."""
    row = row.reshape(inputs.shape) * inputs
    low, high = (row < 0).astype(np.uint8), (row > 0).astype(np.uint8)
    steady = [np.repeat(x[None], timesteps, axis=0) for x in (low, high)]
    edges = [
        _up_to_the_threshold(
            layer, neuron, row, 64.0 * 2.0**layer.synapse.exponent, timesteps, last
        )
        for last in sorted({jump, timesteps - 1})
    ]
    return [*steady, *edges]


def _up_to_the_threshold(
    layer: ChipLayer,
    neuron: tuple[int, ...],
    row: NDArray[Any],
    unit: float,
    timesteps: int,
    jump: int,
) -> Images:
    """Keep v as high as silence allows, then send at step ``jump`` everything that excites.

    ``unit``: v-units of a weight in ``row``.
    """
    bias = int(np.broadcast_to(layer.neuron.bias, layer.shape)[neuron])
    bias *= 2**layer.neuron.bias_exponent
    flat = row.reshape(-1)
    order = [int(i) for i in np.argsort(-flat, kind="stable") if flat[i] > 0]
    train = np.zeros((timesteps, flat.size), np.uint8)
    u, (v, amount) = 0, resets(layer, neuron)
    for t in range(jump + 1):
        kept, leak, threshold = constants_of(layer, neuron, t)
        u, v = _kept(u, kept), _kept(v, leak) + bias
        room: Any = np.inf if threshold is None or t == jump else threshold - (v + u)
        for i in order:
            step = int(unit * float(flat[i]))
            if step <= room:
                train[t, i] = 1
                u, room = u + step, room - step
        v += u
        if threshold is not None and v > threshold:
            v = 0 if amount is None else v - amount
    return train.reshape(timesteps, *row.shape)


def _kept(x: int, numerator: int) -> int:
    return int(toward_zero(np.asarray(x, np.int64), numerator))
