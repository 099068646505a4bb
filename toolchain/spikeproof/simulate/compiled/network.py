"""A chip network made ready to run: one step per layer, each with its tables and its kernel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeproof.ir import chip
from spikeproof.ir.check_chip import RAW_SUM_MAX, largest_sum
from spikeproof.simulate.compiled import tiles
from spikeproof.simulate.compiled.bitmaps import BitMap, flat_map, image_map
from spikeproof.simulate.compiled.layout import (
    Blocks,
    EventTable,
    GradedTable,
    LookupTable,
    Moves,
    ProductTable,
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

Table = EventTable | ProductTable | LookupTable | GradedTable

_PIXEL_MAX = 255
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
        return int(np.prod(self.layer.shape)) // self.places

    @property
    def spiking(self) -> bool:
        """Tell whether the neurons fire at all."""
        return not isinstance(self.layer.neuron, chip.ReadoutNeuron)


def fits(network: chip.ChipNetwork) -> bool:
    """Tell whether the kernels can run a network.

    Not one whose host current needs sums beyond 32 bits, nor one with a convolution whose tables
    would be far larger than its weights (hundreds of groups).
    """
    first = network.layers[0].synapse
    if isinstance(first, chip.HostCurrent) and largest_sum(first.synapse, _PIXEL_MAX) > RAW_SUM_MAX:
        return False
    return all(_table_values(layer.synapse) <= _TABLE_VALUES for layer in network.layers)


def _table_values(synapse: chip.Synapse | chip.HostCurrent) -> int:
    """Return how many numbers are laid out for a convolution before unused ones are left out."""
    if not isinstance(synapse, chip.ConvSynapse):
        return 0
    out_channels, _, k_h, k_w = synapse.weight.shape
    span = (k_w - 1) * synapse.dilation[1] + 1
    return int(4 * k_h * span * (synapse.input_shape[0] + 64) * (out_channels + 64))


def lay_out(network: chip.ChipNetwork) -> list[Step]:
    """Lay out all layers of a checked network for which :func:`fits` holds."""
    blocks = [_blocks(layer) for layer in network.layers]
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


def _blocks(layer: chip.ChipLayer) -> Blocks:
    inner = layer.synapse.synapse if isinstance(layer.synapse, chip.HostCurrent) else layer.synapse
    events = isinstance(inner, chip.DenseSynapse) and not tiles.available()
    return choose_blocks(layer.shape[0], events)


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
    if isinstance(synapse, chip.HostCurrent):
        offset = np.broadcast_to(synapse.offset.astype(np.int64), layer.shape)
        rows = by_place(offset, blocks).ravel()
        host = HostRounding(rows, synapse.shift, layer.neuron.bias_exponent)
        synapse = synapse.synapse
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
    payload = _PIXEL_MAX if source is None else 1
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
