"""Count in traces what a nasty case was drawn for: a label alone proves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.engines.reference import synaptic_sum
from spikeproof.engines.trace import LayerTrace
from spikeproof.ir import chip

Ints = NDArray[np.int64]
Traces = dict[str, LayerTrace]
Source = Any
EXTREME_LEAKS = (0, 1, 4095, 4096, 16383)
EXTREME_FILTERS = (0, 1, 4094)


def sources(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> list[Source]:
    """Return what each layer receives, (N, T, *inputs): the input, then the spikes before it."""
    first = x
    if network.coding == "pixels":
        first = np.repeat(x[:, None], network.timesteps, axis=1)
    return [first, *(traces[layer.name].s for layer in network.layers[:-1])]


def layer_sums(synapse: chip.Synapse, source: Source) -> Ints:
    """Return the synaptic sums of a layer before the exponent, (N, T, *neurons)."""
    return np.array(
        [
            [synaptic_sum(synapse, payload.astype(np.int64)) for payload in sample]
            for sample in source
        ],
        np.int64,
    )


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
    for layer, source in _with_synapses(network, x, traces):
        u = traces[layer.name].u.astype(np.int64)
        before = np.concatenate([np.zeros_like(u[:, :1]), u[:, :-1]], axis=1)
        kept = fx.scale_toward_zero(before, layer.neuron.u_keep)
        sums = fx.shift_sum(layer_sums(layer.synapse, source), layer.synapse.exponent)
        arriving = fx.shift_sum(sums, fx.CURRENT_SHIFT)
        found += int((kept + arriving != u).sum())
    return found


def count_edges(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count currents of exactly +2^23, which the one-step wrap admits."""
    return sum(int((trace.u == fx.WRAP_LIMIT).sum()) for trace in traces.values())


def count_floors(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count negative sums that a negative exponent floors: truncation would give another value."""
    found = 0
    for layer, source in _with_synapses(network, x, traces):
        exponent = layer.synapse.exponent
        if exponent < 0:
            raw = layer_sums(layer.synapse, source)
            found += int(((raw < 0) & (raw % (1 << -exponent) != 0)).sum())
    return found


def count_largest(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count sums that reach the very limit of the accumulators."""
    found = 0
    for layer, source in _with_synapses(network, x, traces):
        synapse, limit = layer.synapse, layer.neuron.sum_limit
        if synapse.largest_shifted_sum(int(source.max(initial=0))) == limit:
            sums = fx.shift_sum(layer_sums(synapse, source), synapse.exponent)
            found += int((np.abs(sums) == limit).sum())
    return found


def count_host_halves(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count host currents that lie halfway between two mantissas, where rounding goes up."""
    host = network.layers[0].host
    if not host or host.shift == 0:
        return 0
    total = layer_sums(network.layers[0].synapse, x[:, None]) + host.offset
    return int((total % (1 << host.shift) == 1 << (host.shift - 1)).sum())


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
    """Count layers whose weights are all zero."""
    return sum(not layer.synapse.weight.any() for layer in network.layers)


def count_single_steps(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count the samples that last a single step."""
    return len(x) if network.timesteps == 1 else 0


def count_silent(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count all-zero samples."""
    return int((x.reshape(len(x), -1).max(axis=1) == 0).sum())


def count_full(network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces) -> int:
    """Count samples whose every value is the largest there is."""
    return int((x.reshape(len(x), -1).min(axis=1) == network.input_max).sum())


def _with_synapses(
    network: chip.ChipNetwork, x: NDArray[np.uint8], traces: Traces
) -> Iterator[tuple[chip.ChipLayer, Source]]:
    """Go through the layers that have synapses on the chip, with what each receives."""
    for layer, source in zip(network.layers, sources(network, x, traces), strict=True):
        if not layer.host:
            yield layer, source
