"""The memory of one layer in one thread, and the numbers its kernel takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.compiled import kernels as kn
from spikeproof.engines.compiled import tiles
from spikeproof.engines.compiled.lanes import tag_of
from spikeproof.engines.compiled.layout import EventTable, GradedTable, ProductTable, aligned
from spikeproof.engines.compiled.network import Step, Table
from spikeproof.engines.compiled.sources import INDEX_SLACK

Array = NDArray[Any]


class Room:
    """Arrays of one layer beside its spikes; empty where they are not wanted."""

    def __init__(self, step: Step, samples: int, timesteps: int, traced: bool, last: bool) -> None:
        """Allocate for so many samples; ``last`` for the layer whose result is the logits."""
        lanes = step.places * step.blocks.width
        graded = isinstance(step.table, GradedTable)
        self.sums = np.zeros(samples * lanes if graded else 0, np.int32)
        self.bias = np.zeros(samples * lanes if step.host else 0, np.int32)
        self.u = np.zeros(samples * timesteps * lanes if traced else 0, np.int32)
        self.v = np.zeros(samples * timesteps * lanes if traced else 0, np.int32)
        self.last = np.zeros(samples * lanes if last else 0, np.int32)
        rows = step.table.rows + INDEX_SLACK if isinstance(step.table, EventTable) else 0
        self.index = np.zeros(timesteps * rows, np.int32)
        self.count = np.zeros(timesteps if rows else 0, np.int64)
        self.product = _ProductRoom(step.table, samples, timesteps)
        self.nothing = np.zeros(lanes if step.host else 0, np.int32)

    def frame(self, step: Step, timesteps: int, before: Array, after: Array) -> NDArray[np.int64]:
        """Collect what the kernel of this layer takes, see kernels.Frame."""
        moves, lanes = step.moves, step.places * step.blocks.width
        each, host = moves.each, step.host is not None
        frame = kn.Frame(
            places=step.places,
            blocks=step.blocks.count,
            steps=timesteps,
            right=moves.right,
            left=moves.left,
            filter=_at(each.filter.values) if each else moves.filter,
            full=int(moves.full),
            leak=_at(each.leak.values if each else moves.leak),
            threshold=_at(each.threshold.values if each else moves.threshold),
            bias=_at(self.bias if host else moves.bias.values),
            bias_sample=lanes if host else 0,
            bias_place=step.blocks.width if host else moves.bias.place,
            spikes=_at(after),
            stride=step.target.stride,
            at=_at(step.target.at),
            u=_at(self.u),
            v=_at(self.v),
            last=_at(self.last),
            counted=int(step.layer.neuron.spiking and self.last.size > 0),
            leak_step=each.leak.step if each else 0,
            leak_place=each.leak.place if each else 0,
            threshold_step=each.threshold.step if each else 0,
            threshold_place=each.threshold.place if each else 0,
            filter_place=each.filter.place if each else 0,
            initial=_at(each.initial.values) if each else 0,
            initial_place=each.initial.place if each else 0,
            taken=_at(each.taken.values) if each and each.taken else 0,
            taken_place=each.taken.place if each and each.taken else 0,
        )
        return np.array([*frame, *self._source(step, before)], np.int64)

    def _source(self, step: Step, before: Array) -> tuple[int, ...]:
        table, width, bits = step.table, step.blocks.width, _at(before)
        if isinstance(table, GradedTable):
            if step.host:  # everything is in the bias: no sum arrives
                return kn.ConstantFrame(_at(self.nothing), 0, width)
            return kn.ConstantFrame(_at(self.sums), step.places * width, width)
        stride = step.source.stride if step.source else 0
        if isinstance(table, ProductTable):
            room = self.product
            return kn.ProductFrame(
                bits=bits,
                stride=stride,
                weight=_at(table.weight),
                depth=table.depth,
                pairs=table.pairs,
                group=room.group,
                rounds=room.rounds,
                shape=_at(room.shape),
                rows=_at(room.rows),
                sums=_at(room.sums),
            )
        if isinstance(table, EventTable):
            return kn.EventFrame(
                bits=bits,
                stride=stride,
                weight=_at(table.weight),
                rows=table.rows,
                safe=table.safe,
                listed=_at(self.index),
                counts=_at(self.count),
            )
        return kn.LookupFrame(
            bits=bits,
            stride=stride,
            window=_at(table.window),
            words=_at(table.words),
            first=_at(table.first),
            table=_at(table.table),
        )


class _ProductRoom:
    """Where a group's spikes lie as bytes, and its sums; see sources.Products."""

    def __init__(self, table: Table, samples: int, timesteps: int) -> None:
        depth, pairs, self.group = 0, 0, 0
        if isinstance(table, ProductTable):
            depth, pairs = table.depth, table.pairs
            self.group = min(samples, table.group(timesteps))
        steps = self.group * timesteps
        self.halves = (0,) if steps <= tiles.ROWS else (0, 0)
        high = len(self.halves) * tiles.ROWS
        self.rounds = -(-steps // high)
        self.shape = tiles.configuration()
        self.rows = aligned(np.zeros((self.rounds * high, depth * tiles.DEPTH), np.uint8))
        self.sums = aligned(
            np.zeros((self.rounds * high, pairs * tiles.PAIR * tiles.COLUMNS), np.int32)
        )


def bound_kernel(step: Step, room: Room) -> tuple[Callable[..., None], tuple[Any, ...]]:
    """Return a layer's kernel and what it takes after a frame and the number of samples."""
    table = step.table
    tag, mode = tag_of(step.blocks.lanes), (0,) * step.moves.mode
    if isinstance(table, GradedTable):
        return kn.run_constant, (tag, mode)
    if isinstance(table, ProductTable):
        return kn.run_products, (tag, mode, room.product.halves)
    if isinstance(table, EventTable):
        return kn.run_events8 if table.weight.dtype == np.int8 else kn.run_events16, (tag, mode)
    look_up = kn.run_lookups16 if table.table.dtype == np.int16 else kn.run_lookups32
    return look_up, (tag, mode, (0,) * table.groups)


def _at(array: Array) -> int:
    """Return the address of an array's first element; 0 for an empty one."""
    return int(array.ctypes.data) if array.size else 0
