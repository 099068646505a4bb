"""A chip network made ready to run: one step per layer, each with its tables and its kernel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.compiled import tiles
from spikeproof.engines.compiled.bitmaps import BitMap, flat_map, image_map
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
from spikeproof.ir.graph import chain_problems
from spikeproof.ir.limits import PIXEL_MAX, RAW_SUM_MAX

Table = EventTable | ProductTable | LookupTable | GradedTable

_SHARED_WIDTH_COST = 0.02
"""Share of a network's work that may be lost to a width that another layer needs anyway."""
_TABLE_VALUES = 1 << 26
"""Half a GiB while tables are built."""


@dataclass(frozen=True, eq=False)
class HostRounding:
    """What the host does to the sums of a first layer: offset by place and lane, shifts."""

    offset: NDArray[np.int64]
    shift: int
    exponent: int


@dataclass(frozen=True, eq=False)
class Step:
    """One layer: its blocks of neurons, the table of its synapse, where its spikes go."""

    layer: chip.ChipLayer
    blocks: Blocks
    places: int
    moves: Moves
    table: Table
    source: BitMap | None
    """Where the spikes that arrive lie; None for pixels."""
    target: BitMap
    host: HostRounding | None = None

    @property
    def neurons(self) -> int:
        """Return the neurons of one place."""
        return self.layer.neurons // self.places


def fits(network: chip.ChipNetwork) -> bool:
    """Tell whether the kernels can run a network.

    Not one whose host current needs sums beyond 32 bits, nor one with a convolution whose tables
    would be far larger than its weights (hundreds of groups), nor one with other synapses than
    dense ones and convolutions.
    """
    if chain_problems(network):
        return False
    known = chip.DenseSynapse | chip.ConvSynapse
    if not all(isinstance(layer.synapse, known) for layer in network.layers):
        return False
    first = network.layers[0]
    if first.host and first.synapse.largest_sum(PIXEL_MAX) > RAW_SUM_MAX:
        return False
    return all(
        layer.host is not None or _table_values(layer.synapse) <= _TABLE_VALUES
        for layer in network.layers
    )


def _table_values(synapse: chip.Synapse) -> int:
    """Return how many numbers are laid out for a convolution before unused ones are left out."""
    if not isinstance(synapse, chip.ConvSynapse):
        return 0
    out_channels, _, k_h, k_w = synapse.weight.shape
    span = (k_w - 1) * synapse.dilation[1] + 1
    return int(4 * k_h * span * (synapse.input_shape[0] + 64) * (out_channels + 64))


def lay_out(network: chip.ChipNetwork) -> list[Step]:
    """Lay out all layers of a checked network for which :func:`fits` holds."""
    blocks = _all_blocks(network)
    steps: list[Step] = []
    arriving: BitMap | None = None
    if network.coding == "spikes":
        arriving = _map_for(network.layers[0], network.input_shape, 0)
    for index, layer in enumerate(network.layers):
        following = network.layers[index + 1 : index + 2]
        target = (
            _map_for(following[0], layer.shape, blocks[index].width)
            if following
            else flat_map(layer.shape, blocks[index].width)
        )
        before = (network.layers[index - 1].shape, blocks[index - 1].width) if index else None
        steps.append(_step(network, layer, blocks[index], arriving, before, target))
        arriving = target
    return steps


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
    return isinstance(layer.synapse, chip.DenseSynapse) and not tiles.available()


def _work(layer: chip.ChipLayer, blocks: Blocks) -> int:
    """Return what a layer costs when it is cut so, in lanes visited per input."""
    places = int(np.prod(layer.shape[1:]))
    return places * layer.synapse.fan_in * block_cost(blocks, _sums_events(layer))


def _map_for(reader: chip.ChipLayer, shape: tuple[int, ...], lanes: int) -> BitMap:
    synapse = reader.synapse
    if isinstance(synapse, chip.ConvSynapse):
        return image_map(synapse, lanes)
    return flat_map(shape, lanes)


def _step(
    network: chip.ChipNetwork,
    layer: chip.ChipLayer,
    blocks: Blocks,
    source: BitMap | None,
    before: tuple[tuple[int, ...], int] | None,
    target: BitMap,
) -> Step:
    places = int(np.prod(layer.shape[1:]))
    synapse, host, halving = layer.synapse, None, 0
    if layer.host:
        offset = np.broadcast_to(layer.host.offset.astype(np.int64), layer.shape)
        rows = by_place(offset, blocks).ravel()
        host = HostRounding(rows, layer.host.shift, layer.neuron.bias_exponent)
    table: Table
    if source is None:
        table = graded_table(synapse, blocks)
    else:
        weight, halving = halved(synapse.weight)
        if isinstance(synapse, chip.ConvSynapse):
            table = lookup_table(synapse, weight, source.pixel, source.pitch, blocks)
        else:
            row_of_input, rows_in_all = _input_rows(before, weight.shape[1])
            if tiles.available() and fits_bytes(weight):
                table = product_table(weight, row_of_input, rows_in_all, blocks)
            else:
                table = event_table(weight, row_of_input, rows_in_all, blocks)
    payload = PIXEL_MAX if source is None else 1
    moves = neuron_moves(layer, network.timesteps, payload, synapse.exponent + halving, blocks)
    return Step(layer, blocks, places, moves, table, source, target, host)


def _input_rows(
    before: tuple[tuple[int, ...], int] | None, inputs: int
) -> tuple[NDArray[np.int64], int]:
    """Return the bit at which each input of a dense layer lies, and how many bits there are."""
    order = np.arange(inputs, dtype=np.int64)
    if before is None:
        return order, inputs
    shape, lanes = before
    places = int(np.prod(shape[1:]))
    channel, place = np.divmod(order, places)
    return place * lanes + channel, places * lanes
