"""A chip network made ready to run: one step per layer, with the tables of what feeds it.

A layer that one connection without lag feeds sums and moves in one kernel. Any other one has its
sums added up first, connection by connection, and moves afterwards. Layers on a cycle do so step by
step together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.compiled import tiles
from spikeproof.engines.compiled.bitmaps import BitMap, bit_of_neuron, map_for
from spikeproof.engines.compiled.layout import (
    Blocks,
    EventTable,
    GradedTable,
    LookupTable,
    Moves,
    ProductTable,
    block_cost,
    by_place,
    choose_blocks,
    event_table,
    fits_bytes,
    graded_table,
    halved,
    lookup_table,
    neuron_moves,
    product_table,
)
from spikeproof.ir import chip
from spikeproof.ir.chip import INPUT_INDEX
from spikeproof.ir.graph import groups, steps_together
from spikeproof.ir.limits import PIXEL_MAX, RAW_SUM_MAX
from spikeproof.ir.readouts import ReadoutRule

Table = EventTable | ProductTable | LookupTable | GradedTable

_SHARED_WIDTH_COST = 0.02
"""Share of a network's work that may be lost to a width that another layer needs anyway."""
_TABLE_VALUES = 1 << 26
"""Half a GiB while tables are built."""


@dataclass(frozen=True, eq=False)
class HostRounding:
    """What the host does to the sums of pixels: offset by place and lane, shifts."""

    offset: NDArray[np.int64]
    shift: int
    exponent: int


@dataclass(frozen=True, eq=False)
class Feed:
    """One connection: its table, and what is done to its sums.

    origin: the layer it comes from, INPUT_INDEX for the input. source: where the spikes that arrive
    lie; None for pixels. exponent: that of the stored weights. within: whether it closes a cycle or
    lies on one, so that its spikes come step by step. host: None if its sums reach the neurons.
    """

    synapse: chip.Synapse
    table: Table
    origin: int
    source: BitMap | None
    exponent: int
    lag: int
    within: bool
    host: HostRounding | None = None


@dataclass(frozen=True, eq=False)
class LaidOutLayer:
    """One layer: its blocks of neurons, the connections that feed it, where its spikes go.

    index: its place in the network. stepwise: whether it lies on a cycle.
    """

    layer: chip.ChipLayer
    index: int
    blocks: Blocks
    places: int
    moves: Moves
    feeds: tuple[Feed, ...]
    target: BitMap
    stepwise: bool = False

    @property
    def neurons(self) -> int:
        """Return the neurons of one place."""
        return self.layer.neurons // self.places

    @property
    def lanes(self) -> int:
        """Return the lanes of all blocks of all places."""
        return self.places * self.blocks.width

    @property
    def host(self) -> HostRounding | None:
        """Return how the host makes a current for it, if it does."""
        return next((feed.host for feed in self.feeds if feed.host), None)

    @property
    def direct(self) -> Feed | None:
        """Return the connection whose sums are made where the neurons move, if there is one."""
        return _direct(self.feeds, self.stepwise)

    @property
    def added(self) -> tuple[Feed, ...]:
        """Return the connections whose sums are added up first: those of a cycle come last."""
        if self.direct:
            return ()
        return tuple(sorted((f for f in self.feeds if not f.host), key=lambda feed: feed.within))


class Plan(NamedTuple):
    """A network laid out: groups of layers as they run, and where spikes of the input lie.

    A group is one layer, or the layers of a cycle in the order in which they take each step.
    readout: what of the last layer is the answer.
    """

    groups: tuple[tuple[LaidOutLayer, ...], ...]
    input: BitMap | None
    readout: ReadoutRule

    @property
    def layers(self) -> list[LaidOutLayer]:
        """Return all layers in the order in which they run."""
        return [laid for group in self.groups for laid in group]


def fits(network: chip.ChipNetwork) -> bool:
    """Tell whether the kernels can run a network.

    Not one whose host current needs sums beyond 32 bits, nor one with a convolution whose tables
    would be far larger than its weights (hundreds of groups), nor one with other synapses than
    dense ones and convolutions.
    """
    return all(_fits(one) for layer in network.layers for one in layer.inputs)


def _fits(one: chip.Connection) -> bool:
    if not isinstance(one.synapse, chip.DenseSynapse | chip.ConvSynapse):
        return False
    if one.host:
        return one.synapse.largest_sum(PIXEL_MAX) <= RAW_SUM_MAX
    return _table_values(one.synapse) <= _TABLE_VALUES


def _table_values(synapse: chip.Synapse) -> int:
    """Return how many numbers are laid out for a convolution before unused ones are left out."""
    if not isinstance(synapse, chip.ConvSynapse):
        return 0
    out_channels, _, k_h, k_w = synapse.weight.shape
    span = (k_w - 1) * synapse.dilation[1] + 1
    return int(4 * k_h * span * (synapse.input_shape[0] + 64) * (out_channels + 64))


def lay_out(network: chip.ChipNetwork) -> Plan:
    """Lay out all layers of a checked network for which :func:`fits` holds."""
    blocks = _all_blocks(network)
    maps = {
        index: map_for(_readers(network, index), layer.shape, blocks[index].width)
        for index, layer in enumerate(network.layers)
    }
    arriving: BitMap | None = None
    if network.coding == "spikes":
        arriving = map_for(_readers(network, INPUT_INDEX), network.input_shape, 0)
    found = []
    for group in groups(network):
        stepwise = steps_together(network, group)
        cycle = group if stepwise else ()
        bits = {INPUT_INDEX: arriving} | maps
        found.append(tuple(_lay_out(network, i, blocks[i], bits, cycle) for i in group))
    return Plan(tuple(found), arriving, network.readout)


def _readers(network: chip.ChipNetwork, origin: int) -> list[chip.Synapse]:
    return [
        one.synapse
        for layer, sources in zip(network.layers, network.sources, strict=True)
        for one, source in zip(layer.inputs, sources, strict=True)
        if source == origin
    ]


def _all_blocks(network: chip.ChipNetwork) -> list[Blocks]:
    """Choose how each layer is cut.

    A small dense layer takes the width of another one where that costs next to nothing: every
    width is compiled for itself, for seconds.
    """
    events = [_sums_events(layer) for layer in network.layers]
    chosen = [choose_blocks(la.shape[0], e) for la, e in zip(network.layers, events, strict=True)]
    work = [_work(la, b) for la, b in zip(network.layers, chosen, strict=True)]
    dense = [k for k, found in enumerate(events) if found]
    for k in sorted(dense, key=lambda k: work[k]):
        for lanes in sorted({chosen[j].lanes for j in dense if work[j] > work[k]}):
            blocks = Blocks(-(-network.layers[k].shape[0] // lanes), lanes)
            if _work(network.layers[k], blocks) - work[k] <= _SHARED_WIDTH_COST * sum(work):
                chosen[k] = blocks
                break
    return chosen


def _sums_events(layer: chip.ChipLayer) -> bool:
    """Tell whether a layer is dense, which all its connections are or none, and has no tiles."""
    return isinstance(layer.inputs[0].synapse, chip.DenseSynapse) and not tiles.available()


def _work(layer: chip.ChipLayer, blocks: Blocks) -> int:
    """Return what a layer costs when it is cut so, in lanes visited per input."""
    places = int(np.prod(layer.shape[1:]))
    fan_in = sum(one.synapse.fan_in for one in layer.inputs)
    return places * fan_in * block_cost(blocks, _sums_events(layer))


def _lay_out(
    network: chip.ChipNetwork,
    index: int,
    blocks: Blocks,
    maps: Mapping[int, BitMap | None],
    cycle: tuple[int, ...],
) -> LaidOutLayer:
    """Lay out one layer; ``cycle``: the layers it runs with step by step, if it lies on a cycle."""
    layer, sources = network.layers[index], network.sources[index]
    feeds = tuple(
        _feed(network, layer, one, source, maps[source], blocks, within=source in cycle)
        for one, source in zip(layer.inputs, sources, strict=True)
    )
    direct = _direct(feeds, stepwise=bool(cycle))
    moves = neuron_moves(
        layer,
        network.timesteps,
        [network.payload_of(source) for source in sources],
        direct.exponent if direct else 0,
        blocks,
        stepwise=bool(cycle),
    )
    target = maps[index]
    if target is None:
        raise TypeError("only the input can have no map")
    places = int(np.prod(layer.shape[1:]))
    return LaidOutLayer(layer, index, blocks, places, moves, feeds, target, bool(cycle))


def _direct(feeds: Sequence[Feed], stepwise: bool) -> Feed | None:
    """Return the only connection whose sums reach neurons, if they need not be added up first."""
    arriving = [feed for feed in feeds if not feed.host]
    return arriving[0] if len(arriving) == 1 and not arriving[0].lag and not stepwise else None


def _feed(
    network: chip.ChipNetwork,
    layer: chip.ChipLayer,
    one: chip.Connection,
    origin: int,
    bits: BitMap | None,
    blocks: Blocks,
    within: bool,
) -> Feed:
    synapse = one.synapse
    if bits is None:
        host = None
        if one.host:
            offset = np.broadcast_to(one.host.offset.astype(np.int64), layer.shape)
            rows = by_place(offset, blocks).ravel()
            host = HostRounding(rows, one.host.shift, layer.neuron.bias_exponent)
        table: Table = graded_table(synapse, blocks)
        return Feed(synapse, table, origin, None, synapse.exponent, one.lag, within, host)
    weight, halving = halved(synapse.weight)
    if isinstance(synapse, chip.ConvSynapse):
        table = lookup_table(synapse, weight, bits, blocks)
    else:
        rows_of = bit_of_neuron(bits, network.shape_of(origin))
        # A group of samples at a time cannot be multiplied where they come step by step.
        if tiles.available() and fits_bytes(weight) and not within:
            table = product_table(weight, rows_of, bits.bits, blocks)
        else:
            table = event_table(weight, rows_of, bits.bits, blocks)
    exponent = synapse.exponent + halving
    return Feed(synapse, table, origin, bits, exponent, one.lag, within)
