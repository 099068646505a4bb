"""Turn the layers of a chip network into the tables and numbers that the kernels read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeproof import fixedpoint as fx
from spikeproof.engines.compiled import tiles
from spikeproof.engines.compiled.bitmaps import BitMap
from spikeproof.engines.compiled.bounds import EACH, update_mode
from spikeproof.ir import chip

Array = NDArray[Any]
Int64s = NDArray[np.int64]
_NARROW_MAX = (1 << 15) - 1
_LOOKUP_WIDTHS, _EVENT_WIDTHS = (16, 32, 64), (16, 64, 256)
_GROUP_ROWS = tiles.PAIR * tiles.ROWS
_LOOKUP_OVERHEAD, _EVENT_OVERHEAD = 64, 48
"""What visiting a block costs beside its lanes, counted in lanes."""


def aligned(values: Array) -> Array:
    """Copy to memory that begins at a multiple of 64 bytes, as vector loads like it; flat."""
    raw = np.empty(values.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    result: Array = raw[start : start + values.nbytes].view(values.dtype)
    result[...] = values.ravel()
    return result


@dataclass(frozen=True)
class Blocks:
    """How the neurons of a place are cut: ``count`` blocks of ``lanes``."""

    count: int
    lanes: int

    @property
    def width(self) -> int:
        """Return the lanes of all blocks."""
        return self.count * self.lanes


def choose_blocks(neurons: int, events: bool) -> Blocks:
    """Choose the width that wastes least."""
    widths = _EVENT_WIDTHS if events else _LOOKUP_WIDTHS
    choices = [Blocks(-(-neurons // lanes), lanes) for lanes in widths]
    return min(choices, key=lambda blocks: (block_cost(blocks, events), -blocks.lanes))


def block_cost(blocks: Blocks, events: bool) -> int:
    """Return what visiting all blocks of a place costs, in lanes."""
    return blocks.count * (blocks.lanes + (_EVENT_OVERHEAD if events else _LOOKUP_OVERHEAD))


class Rows(NamedTuple):
    """One number per lane, int32: of each step and place, or of all where the distance is 0."""

    values: NDArray[np.int32]
    step: int
    place: int


class Each(NamedTuple):
    """The numbers of neurons that are not alike. taken: None where a spike puts v to 0."""

    leak: Rows
    threshold: Rows
    filter: Rows
    initial: Rows
    taken: Rows | None


@dataclass(frozen=True, eq=False)
class Moves:
    """The numbers of a neuron population, see kernels.Frame."""

    right: int
    left: int
    filter: int
    full: bool
    leak: Int64s
    threshold: Int64s
    bias: Rows
    mode: int
    """Which update is needed, see bounds.py."""
    each: Each | None
    """For the update of that name, which takes its leak, threshold and filter from here."""


def neuron_moves(
    layer: chip.ChipLayer,
    steps: int,
    payloads: Sequence[int],
    exponent: int,
    blocks: Blocks,
    stepwise: bool = False,
) -> Moves:
    """Work out shifts, leaks, thresholds and bias.

    payloads: the largest input of each connection. exponent: what the kernel has to apply, which is
    that of stored weights, or 0 where sums were added up before. stepwise: whether the kernel must
    be able to go on from where it was; only one can.
    """
    neuron = layer.neuron
    arriving = fx.CURRENT_UNIT * sum(
        one.synapse.largest_shifted_sum(payload)
        for one, payload in zip(layer.inputs, payloads, strict=True)
        if one.host is None
    )
    full = neuron.filters or arriving >= fx.WRAP_LIMIT
    mode = EACH
    if not stepwise:
        mode = update_mode(layer, steps, payloads, plain_sum=exponent >= 0 and not full)
    each = _each(layer, steps, blocks) if mode == EACH else None
    none = np.zeros(0, np.int64)
    return Moves(
        right=max(0, -exponent),
        left=max(0, exponent) + fx.CURRENT_SHIFT,
        filter=0 if each else int(np.ravel(neuron.u_keep)[0]),
        full=full,
        leak=none if each else neuron.leaks(steps).ravel(),
        threshold=none if each else neuron.thresholds(steps).ravel(),
        bias=_rows(fx.shift_sum(neuron.bias, neuron.bias_exponent)[None], layer.shape, blocks),
        mode=mode,
        each=each,
    )


def _each(layer: chip.ChipLayer, steps: int, blocks: Blocks) -> Each:
    neuron, shape = layer.neuron, layer.shape

    def once(values: ArrayLike) -> Rows:
        return _rows(np.asarray(values)[None], shape, blocks)

    return Each(
        _rows(_without_repeats(neuron.leaks(steps)), shape, blocks),
        _rows(_without_repeats(neuron.thresholds(steps)), shape, blocks),
        once(neuron.u_keep),
        once(neuron.initial),
        None if neuron.reset is None else once(neuron.reset),
    )


def _without_repeats(table: Int64s) -> Int64s:
    return table[:1] if (table == table[:1]).all() else table


def _rows(table: Array, shape: tuple[int, ...], blocks: Blocks) -> Rows:
    """Lay out (T or 1, ...) numbers that broadcast to the neurons."""
    table = table.reshape(len(table), *(1,) * (len(shape) - table.ndim + 1), *table.shape[1:])
    shared = all(n == 1 for n in table.shape[2:])  # one number per channel is that of each place
    wanted = (shape[0], *(1,) * (len(shape) - 1)) if shared else shape
    rows = np.stack([by_place(np.broadcast_to(row, wanted), blocks) for row in table])
    place = 0 if rows.shape[1] == 1 else blocks.width
    step = 0 if len(rows) == 1 else rows.shape[1] * blocks.width
    return Rows(aligned(rows.astype(np.int32)), step, place)


def by_place(values: Array, blocks: Blocks) -> Array:
    """Turn (channels, *places) into (places, lanes), lanes without a neuron 0."""
    flat = values.reshape(len(values), -1).T
    rows = np.zeros((len(flat), blocks.width), values.dtype)
    rows[:, : len(values)] = flat
    return rows


def halved(weight: Array) -> tuple[Array, int]:
    """Divide weights by 2 if all are even; return them and the exponent that undoes it."""
    whole = weight.astype(np.int16)  # chip weights have 9 bits; large layers should stay small
    return (whole // 2, 1) if not (whole & 1).any() else (whole, 0)


def fits_bytes(weight: Array) -> bool:
    """Tell whether all weights fit 8 signed bits."""
    return bool(weight.min() >= -128 and weight.max() <= 127)


@dataclass(frozen=True, eq=False)
class EventTable:
    """Weight rows (blocks, rows, L), int8 or int16, and how many may be added in 16 bits."""

    weight: Array
    rows: int
    safe: int


def event_table(weight: Array, row_of_input: Int64s, rows: int, blocks: Blocks) -> EventTable:
    """Lay out a dense layer: weight (out, in), the bit at which each input lies."""
    kind = np.int8 if fits_bytes(weight) else np.int16
    table = np.zeros((rows, blocks.width), kind)
    table[row_of_input, : len(weight)] = weight.T
    cut = table.reshape(rows, blocks.count, blocks.lanes).transpose(1, 0, 2)
    return EventTable(aligned(cut), rows, _safe_events(weight))


def _safe_events(weight: Array) -> int:
    """Return how many inputs may fire so that no sum, whichever they are, leaves 16 bits."""
    largest = np.sort(np.abs(weight), axis=1)[:, ::-1]
    reached = np.cumsum(largest, axis=1, dtype=np.int32).max(axis=0)
    return int(np.searchsorted(reached, _NARROW_MAX, side="right"))


@dataclass(frozen=True, eq=False)
class ProductTable:
    """Weights of a dense layer in tiles, and how many samples are multiplied at a time."""

    weight: Array
    depth: int
    pairs: int

    def group(self, timesteps: int) -> int:
        """Return how many samples fill 32 rows; 1 if one alone has more steps."""
        return max(1, _GROUP_ROWS // timesteps)


def product_table(weight: Array, row_of_input: Int64s, rows: int, blocks: Blocks) -> ProductTable:
    """Lay out a dense layer for tiles: weight (out, in), -128..127."""
    full = np.zeros((rows, blocks.width), np.int8)
    full[row_of_input, : len(weight)] = weight.T
    cut = tiles.weight_tiles(full)
    return ProductTable(aligned(cut), cut.shape[1], cut.shape[0])


@dataclass(frozen=True, eq=False)
class LookupTable:
    """Sums of 4 weights at a time, and the words of a window they belong to; see Lookups."""

    window: Int64s
    words: Int64s
    first: Int64s
    table: Array
    groups: int


def lookup_table(
    synapse: chip.ConvSynapse, weight: Array, bits: BitMap, blocks: Blocks
) -> LookupTable:
    """Lay out a convolution over a bit map, whose border may be wider than its padding."""
    pixel, pitch = bits.pixel, bits.pitch
    beyond = bits.start - synapse.padding[0] * pitch - synapse.padding[1] * pixel
    rows = _window_rows(synapse, weight, pixel, blocks)
    span = rows.shape[1]
    groups = 1 if span <= 4 else 2 if span <= 8 else 4
    step = 4 * groups
    padded = np.zeros((len(rows), -(-span // step) * step, blocks.width), np.int64)
    padded[:, :span] = rows
    patterns = (np.arange(16)[:, None] >> np.arange(4)) & 1
    sums = patterns @ padded.reshape(-1, 4, blocks.width)
    sums = sums.reshape(-1, groups, 16, blocks.count, blocks.lanes).transpose(3, 0, 1, 2, 4)
    offsets = (
        np.arange(len(rows))[:, None] * (synapse.dilation[0] * pitch)
        + np.arange(padded.shape[1] // step) * step
    ).ravel() // 8
    used = [np.flatnonzero(block.any(axis=(1, 2, 3))) for block in sums]
    first = np.cumsum([0, *(len(u) for u in used)]).astype(np.int64)
    reach = np.abs(weight).reshape(len(weight), -1).sum(axis=1, dtype=np.int64).max()
    kind = np.int16 if reach <= _NARROW_MAX else np.int32
    table = np.concatenate([block[u] for block, u in zip(sums, used, strict=True)])
    words = np.concatenate([offsets[u] for u in used]).astype(np.int64)
    return LookupTable(
        beyond + window_starts(synapse, pixel, pitch),
        words,
        first,
        aligned(table.astype(kind)),
        groups,
    )


def _window_rows(synapse: chip.ConvSynapse, weight: Array, pixel: int, blocks: Blocks) -> Int64s:
    """Return the weight of each bit of a window's rows: (kernel height, span, lanes)."""
    out, per_group, k_h, k_w = weight.shape
    rows = np.zeros((k_h, (k_w - 1) * synapse.dilation[1] + 1, pixel, blocks.width), np.int64)
    members = out // synapse.groups
    for group in range(synapse.groups):
        outs = slice(group * members, (group + 1) * members)
        ins = slice(group * per_group, (group + 1) * per_group)
        rows[:, :: synapse.dilation[1], ins, outs] = weight[outs].transpose(2, 3, 1, 0)
    return rows.reshape(k_h, -1, blocks.width)


def window_starts(synapse: chip.ConvSynapse, pixel: int, pitch: int) -> Int64s:
    """Return where the window of each place begins, in the units of pixel and pitch."""
    _, height, width = synapse.input_shape
    (k_h, k_w), (d_h, d_w) = synapse.weight.shape[2:], synapse.dilation
    y = np.arange((height + 2 * synapse.padding[0] - d_h * (k_h - 1) - 1) // synapse.stride[0] + 1)
    x = np.arange((width + 2 * synapse.padding[1] - d_w * (k_w - 1) - 1) // synapse.stride[1] + 1)
    y, x = y * (synapse.stride[0] * pitch), x * (synapse.stride[1] * pixel)
    starts: Int64s = np.add.outer(y, x).ravel().astype(np.int64)
    return starts


@dataclass(frozen=True, eq=False)
class GradedTable:
    """Where graded inputs are read, and their weights int16 (blocks, segments x length, L)."""

    window: Int64s
    segment: Int64s
    length: int
    weight: Array


def graded_table(synapse: chip.Synapse, blocks: Blocks) -> GradedTable:
    """Lay out a synapse on images: dense ones flat, convolutions channels last with border."""
    if not isinstance(synapse, chip.ConvSynapse):
        rows = by_place(synapse.weight.astype(np.int16), blocks)
        window, segment = np.zeros(1, np.int64), np.zeros(1, np.int64)
    else:
        channels, _, width = synapse.input_shape
        pitch = (width + 2 * synapse.padding[1]) * channels
        kernels = _window_rows(synapse, synapse.weight.astype(np.int64), channels, blocks)
        segment = np.arange(len(kernels), dtype=np.int64) * (synapse.dilation[0] * pitch)
        window = window_starts(synapse, channels, pitch)
        rows = kernels.reshape(-1, blocks.width).astype(np.int16)
    length = len(rows) // len(segment)
    cut = rows.reshape(len(rows), blocks.count, blocks.lanes).transpose(1, 0, 2)
    return GradedTable(window, segment, length, aligned(cut))
