"""Count in traces what a nasty case was drawn for: a label alone proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.engines.numpy_engine import lagged
from spikeproof.engines.trace import LayerTrace
from spikeproof.ir import chip
from spikeproof.numerics.correlation import correlate

Ints = NDArray[np.int64]
Traces = dict[str, LayerTrace]
Source = Any
Count = Callable[[chip.ChipNetwork, NDArray[np.uint8], Traces], int]
"""Counts in a network, its input and the traces of a run."""
Sums = list[tuple[chip.Synapse, Ints]]
EXTREME_LEAKS = (0, 1, 4095, 4096, 16383)
EXTREME_FILTERS = (0, 1, 4094)


def arriving(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> list[list[Source]]:
    """Return what each connection of each layer carries, (N, T, *inputs): 0 before its lag."""
    first = x
    if network.coding == "pixels":
        first = np.broadcast_to(x[:, None], (len(x), network.timesteps, *x.shape[1:]))
    # INPUT_INDEX: the last. A readout sends nothing, and nothing reads it.
    sent: list[Any] = [*(traces[layer.name].s for layer in network.layers), first]
    return [
        [
            lagged(sent[source], one.lag, network.timesteps)
            for one, source in zip(layer.inputs, sources, strict=True)
        ]
        for layer, sources in zip(network.layers, network.sources, strict=True)
    ]


def layer_sums(synapse: chip.Synapse, source: Source) -> Ints:
    """Return the synaptic sums of a connection before the exponent, (N, T, *neurons)."""
    if source.shape[1] > 1 and source.strides[1] == 0:  # pixels, the same at every step
        once = layer_sums(synapse, source[:, :1])
        return np.broadcast_to(once, (len(once), source.shape[1], *once.shape[2:]))
    # Sums below 2^53 are exact in floats, whose products are the fastest.
    payloads = source.reshape(-1, *source.shape[2:]).astype(np.float64)
    if isinstance(synapse, chip.ConvSynapse):
        window = (synapse.stride, synapse.padding, synapse.dilation, synapse.groups)
        sums = correlate(payloads, synapse.weight.astype(np.float64), *window)
    else:
        sums = payloads.reshape(len(payloads), -1) @ synapse.matrix().T.astype(np.float64)
    shape = synapse.output_shape(source.shape[2:])
    return np.asarray(sums, np.int64).reshape(*source.shape[:2], *shape)


def count_ties(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count states exactly on the threshold (they must stay silent)."""
    found = 0
    for layer in network.layers:
        if layer.neuron.spiking:
            for t in range(network.timesteps):
                threshold = layer.neuron.threshold_at(t)
                found += int((traces[layer.name].v[:, t] == threshold).sum())
    return found


def count_saturations(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count membranes at the edge of their range."""
    return sum(int((np.abs(trace.v) == fx.STATE_MAX).sum()) for trace in traces.values())


def count_wraps(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count steps at which u left 24 bits on either side and came back on the other."""
    found = 0
    for layer, sums in chip_sums(network, x, traces):
        u = traces[layer.name].u.astype(np.int64)
        before = np.concatenate([np.zeros_like(u[:, :1]), u[:, :-1]], axis=1)
        kept = fx.scale_toward_zero(before, layer.neuron.u_keep)
        found += int((kept + fx.shift_sum(total_of(sums), fx.CURRENT_SHIFT) != u).sum())
    return found


def count_edges(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count currents of exactly +2^23, which the one-step wrap admits."""
    return sum(int((trace.u == fx.WRAP_LIMIT).sum()) for trace in traces.values())


def count_floors(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count negative sums that a negative exponent floors: truncation would give another value."""
    found = 0
    for _, sums in chip_sums(network, x, traces):
        for one, raw in sums:
            if one.exponent < 0:
                found += int(((raw < 0) & (raw % (1 << -one.exponent) != 0)).sum())
    return found


def count_largest(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count sums over all connections that reach the very limit of the accumulators."""
    found = 0
    carried = arriving(network, x, traces)
    for layer, sources in zip(network.layers, carried, strict=True):
        most = sum(
            one.synapse.largest_shifted_sum(int(source.max(initial=0)))
            for one, source in zip(layer.inputs, sources, strict=True)
            if one.host is None
        )
        if most == layer.neuron.sum_limit:
            total = total_of(_sums_of(layer, sources))
            found += int((np.abs(total) == most).sum())
    return found


def count_host_halves(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count host currents that lie halfway between two mantissas, where rounding goes up."""
    found = 0
    for layer in network.layers:
        for one in layer.inputs:
            if one.host is not None and one.host.shift:
                total = layer_sums(one.synapse, x[:, None]) + one.host.offset
                half = 1 << (one.host.shift - 1)
                found += int((total % (1 << one.host.shift) == half).sum())
    return found


def count_extreme_decays(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count states that an extreme leak or filter acted on: non-zero ones a step before."""
    found = 0
    for layer in network.layers:
        trace = traces[layer.name]
        if trace.s is None:
            continue
        for t in range(1, network.timesteps):
            leaks = np.isin(layer.neuron.leak_at(t), EXTREME_LEAKS)
            found += int((leaks & (trace.v[:, t - 1] != 0) & (trace.s[:, t - 1] == 0)).sum())
            filters = np.isin(layer.neuron.du, EXTREME_FILTERS)
            found += int((filters & (trace.u[:, t - 1] != 0)).sum())
    return found


def count_soft_resets(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count spikes that left something of v for the step after."""
    found = 0
    for layer in network.layers:
        trace = traces[layer.name]
        if trace.s is not None:
            left = layer.neuron.after_spike(trace.v[:, :-1])
            found += int(((left != 0) & (trace.s[:, :-1] > 0)).sum())
    return found


def count_first_states(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count neurons that do not begin at 0 and keep something of it."""
    found = 0
    for layer in network.layers:
        kept = fx.scale_toward_zero(layer.neuron.initial, np.asarray(layer.neuron.leak_at(0)))
        found += int(np.broadcast_to(kept != 0, layer.shape).sum())
    return found


def count_own_thresholds(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count membranes that would not do the same at another neuron's threshold."""
    found = 0
    for layer in network.layers:
        trace = traces[layer.name]
        for t in range(network.timesteps if trace.s is not None else 0):
            threshold, v = np.asarray(layer.neuron.threshold_at(t)), trace.v[:, t]
            found += int(((v > threshold.min()) & (v <= threshold.max())).sum())
    return found


def count_zero_weights(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count connections whose weights are all zero."""
    return sum(not one.synapse.weight.any() for layer in network.layers for one in layer.inputs)


def count_single_steps(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count the samples that last a single step."""
    return len(x) if network.timesteps == 1 else 0


def count_silent(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count all-zero samples."""
    return int((x.reshape(len(x), -1).max(axis=1) == 0).sum())


def count_full(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count samples whose every value is the largest there is."""
    return int((x.reshape(len(x), -1).min(axis=1) == network.input_max).sum())


def chip_sums(
    network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces
) -> Iterator[tuple[chip.ChipLayer, Sums]]:
    """Go through the layers with synapses on the chip: each synapse, its sums before exponents."""
    carried = arriving(network, x, traces)
    for layer, sources in zip(network.layers, carried, strict=True):
        sums = _sums_of(layer, sources)
        if sums:
            yield layer, sums


def _sums_of(layer: chip.ChipLayer, sources: list[Source]) -> Sums:
    return [
        (one.synapse, layer_sums(one.synapse, source))
        for one, source in zip(layer.inputs, sources, strict=True)
        if one.host is None
    ]


def total_of(sums: Sums) -> Ints:
    """Add up sums after their exponents."""
    total = np.zeros(sums[0][1].shape, np.int64)
    for synapse, raw in sums:
        total += fx.shift_sum(raw, synapse.exponent)
    return total
