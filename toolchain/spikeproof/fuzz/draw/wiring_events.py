"""Count in traces what a graph was drawn for: spikes that took a skip, a loop, a lag, a pool."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.fuzz.draw.events import (
    Ints,
    Source,
    Traces,
    arriving,
    chip_sums,
    layer_sums,
    total_of,
)
from spikeproof.ir import chip
from spikeproof.ir.graph import delays
from spikeproof.ir.readouts import answers

Images = NDArray[np.uint8]


def count_skips(network: chip.ChipNetwork, x: Images, traces: Traces) -> int:
    """Count sums over a connection that skips layers which would be others without its delay."""
    found = 0
    for wire in _wires(network, x, traces):
        if wire.delay > 0 and wire.one.lag == 0:
            raw, delay = wire.sums, min(wire.delay, network.timesteps)
            early = np.zeros(raw.shape, np.int64)
            early[:, : network.timesteps - delay] = raw[:, delay:]
            found += int((raw != early).sum())
    return found


def count_exponents(network: chip.ChipNetwork, x: Images, traces: Traces) -> int:
    """Count steps at which connections of different exponents reach a neuron together."""
    found = 0
    for _, sums in chip_sums(network, x, traces):
        for (first, a), (second, b) in combinations(sums, 2):
            if first.exponent != second.exponent:
                found += int(((a != 0) & (b != 0)).sum())
    return found


def count_own_floors(network: chip.ChipNetwork, x: Images, traces: Traces) -> int:
    """Count sums that would be others if they were added before they are floored."""
    found = 0
    for _, sums in chip_sums(network, x, traces):
        lowest = min(synapse.exponent for synapse, _ in sums)
        if lowest < 0 and len(sums) > 1:
            finest = [raw << (one.exponent - lowest) for one, raw in sums]
            at_once = fx.shift_sum(np.sum(finest, axis=0), lowest)
            found += int(np.count_nonzero(total_of(sums) != at_once))
    return found


def count_shared(network: chip.ChipNetwork, x: Images, traces: Traces) -> int:
    """Count sums of synapses that serve several connections, where each of them carries spikes."""
    uses: dict[int, list[int]] = defaultdict(list)
    for wire in _wires(network, x, traces):
        uses[id(wire.one.synapse)].append(int(np.count_nonzero(wire.sums)))
    return sum(min(counts) for counts in uses.values() if len(counts) > 1)


def count_self_loops(network: chip.ChipNetwork, x: Images, traces: Traces) -> int:
    """Count sums of spikes that come back to the layer that sent them."""
    return _count_sums(network, x, traces, lambda wire: wire.source == wire.target)


def count_back_edges(network: chip.ChipNetwork, x: Images, traces: Traces) -> int:
    """Count sums of spikes that come from a layer listed later."""
    return _count_sums(network, x, traces, lambda wire: wire.source > wire.target)


def count_late_inputs(network: chip.ChipNetwork, x: Images, traces: Traces) -> int:
    """Count sums of an input that arrives with a lag."""
    return _count_sums(network, x, traces, lambda w: w.source == chip.INPUT_INDEX and w.one.lag > 0)


def count_in_flight(network: chip.ChipNetwork, x: Images, traces: Traces) -> int:
    """Count sums that a sample's last spikes would add to the next sample, had it not ended."""
    found = 0
    for layer, sources in zip(network.layers, network.sources, strict=True):
        for one, source in zip(layer.inputs, sources, strict=True):
            if one.lag and source != chip.INPUT_INDEX and len(x) > 1:
                sent: Source = traces[network.layers[source].name].s
                last = sent[:-1, max(0, network.timesteps - one.lag) :]
                found += int(np.count_nonzero(layer_sums(one.synapse, last)))
    return found


def count_pooled(network: chip.ChipNetwork, x: Images, traces: Traces) -> int:
    """Count windows of an OR population with several spikes, of which it makes one."""
    found = 0
    for layer, sums in chip_sums(network, x, traces):
        if is_or(layer):
            (synapse, raw), spikes = sums[0], traces[layer.name].s
            unit = int(synapse.weight.max())
            found += int(((raw > unit) & (spikes == (raw > 0))).sum())
    return found


def is_or(layer: chip.ChipLayer) -> bool:
    """Tell whether a layer fires when any spike of a window of its own channel arrives."""
    neuron, synapse = layer.neuron, layer.inputs[0].synapse
    return (
        len(layer.inputs) == 1
        and layer.host is None
        and isinstance(neuron, chip.LifNeuron)
        and isinstance(synapse, chip.ConvSynapse)
        and synapse.groups == synapse.input_shape[0] == len(synapse.weight)
        and synapse.weight.min() == synapse.weight.max() > 0
        and (neuron.threshold, neuron.dv, neuron.filters) == (0, fx.DECAY_ONE, False)
        and not neuron.bias.any()
    )


def count_readouts(network: chip.ChipNetwork, x: Images, traces: Traces) -> int:
    """Count answers that differ from those of the ordinary readout."""
    last = traces[network.layers[-1].name]
    found, ordinary = (answers(rule, last.v, last.s) for rule in (network.readout, "auto"))
    return int((found != ordinary).sum())


def count_beside_host(network: chip.ChipNetwork, x: Images, traces: Traces) -> int:
    """Count steps at which a neuron gets a current from the host and a sum of spikes."""
    found = 0
    for layer, sums in chip_sums(network, x, traces):
        for one in layer.inputs:
            if one.host is not None:
                current = one.host.mantissa(layer_sums(one.synapse, x[:, None]))
                found += sum(int(((raw != 0) & (current != 0)).sum()) for _, raw in sums)
    return found


def count_beside_pixels(network: chip.ChipNetwork, x: Images, traces: Traces) -> int:
    """Count steps at which graded pixels and spikes reach a neuron together."""
    if network.coding != "pixels":
        return 0
    graded: dict[int, NDArray[np.bool_]] = {}
    binary: dict[int, NDArray[np.bool_]] = {}
    for wire in _wires(network, x, traces):
        side, there = (graded if wire.source == chip.INPUT_INDEX else binary), wire.sums != 0
        side[wire.target] = side.get(wire.target, np.zeros_like(there)) | there
    return sum(int((graded[i] & binary[i]).sum()) for i in graded.keys() & binary.keys())


@dataclass(frozen=True, eq=False)
class _Wire:
    """A connection on the chip: whence and whither, its delay, its sums before the exponent."""

    one: chip.Connection
    source: int
    target: int
    delay: int
    sums: Ints


def _wires(network: chip.ChipNetwork, x: Images, traces: Traces) -> Iterator[_Wire]:
    carried, held = arriving(network, x, traces), delays(network)
    for target, layer in enumerate(network.layers):
        for i, one in enumerate(layer.inputs):
            if one.host is None:
                sums = layer_sums(one.synapse, carried[target][i])
                yield _Wire(one, network.sources[target][i], target, held[target][i], sums)


def _count_sums(
    network: chip.ChipNetwork, x: Images, traces: Traces, wanted: Callable[[_Wire], bool]
) -> int:
    """Count the sums that are not 0 over some of the connections."""
    wires = _wires(network, x, traces)
    return sum(int(np.count_nonzero(wire.sums)) for wire in wires if wanted(wire))
