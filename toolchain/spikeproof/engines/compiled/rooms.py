"""The memory of one layer in one thread, and the numbers its kernels take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.compiled import kernels as kn
from spikeproof.engines.compiled import tiles
from spikeproof.engines.compiled.lanes import tag_of
from spikeproof.engines.compiled.layout import EventTable, GradedTable, ProductTable, aligned
from spikeproof.engines.compiled.network import Feed, LaidOutLayer, Table
from spikeproof.engines.compiled.sources import INDEX_SLACK
from spikeproof.ir import chip

Array = NDArray[Any]
_BEGIN, _END = kn.Frame._fields.index("begin"), kn.Frame._fields.index("end")


class Call(NamedTuple):
    """One kernel, its frame, and what it takes after that and the number of samples."""

    kernel: Callable[..., None]
    frame: NDArray[np.int64]
    constants: tuple[Any, ...]

    def run_step(self, samples: int, step: int) -> None:
        """Run one step."""
        self.frame[_BEGIN], self.frame[_END] = step, step + 1
        self.kernel(self.frame, samples, *self.constants)


class FeedRoom:
    """Arrays that making the sums of one connection takes; empty where they are not wanted."""

    def __init__(
        self, feed: Feed, laid: LaidOutLayer, samples: int, timesteps: int, image: tuple[int, ...]
    ) -> None:
        """Allocate for so many samples; ``image`` is the shape of what enters the network."""
        graded = isinstance(feed.table, GradedTable)
        self.image = _image_room(feed.synapse, image, samples if graded else 0)
        self.sums = np.zeros(samples * laid.lanes if graded else 0, np.int32)
        rows = feed.table.rows + INDEX_SLACK if isinstance(feed.table, EventTable) else 0
        self.index = np.zeros(timesteps * rows, np.int32)
        self.count = np.zeros(timesteps if rows else 0, np.int64)
        self.product = _ProductRoom(feed.table, samples, timesteps)

    def source(self, feed: Feed, laid: LaidOutLayer, bits: Array | None) -> tuple[int, ...]:
        """Collect what a kernel takes of the connection after its frame; ``bits`` arrive."""
        table, width, sent = feed.table, laid.blocks.width, 0 if bits is None else _at(bits)
        if isinstance(table, GradedTable):
            return kn.ConstantFrame(_at(self.sums), laid.lanes, width)
        stride = feed.source.stride if feed.source else 0
        if isinstance(table, ProductTable):
            room = self.product
            return kn.ProductFrame(
                bits=sent,
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
                bits=sent,
                stride=stride,
                weight=_at(table.weight),
                rows=table.rows,
                safe=table.safe,
                listed=_at(self.index),
                counts=_at(self.count),
            )
        return kn.LookupFrame(
            bits=sent,
            stride=stride,
            window=_at(table.window),
            words=_at(table.words),
            first=_at(table.first),
            table=_at(table.table),
        )


class Room:
    """Arrays of one layer beside its spikes; empty where they are not wanted."""

    def __init__(
        self,
        laid: LaidOutLayer,
        samples: int,
        timesteps: int,
        image: tuple[int, ...],
        traced: bool,
        last: bool,
    ) -> None:
        """Allocate for so many samples; ``last``: what is left after the last step is wanted."""
        lanes = laid.lanes
        self.feeds = [FeedRoom(feed, laid, samples, timesteps, image) for feed in laid.feeds]
        self.bias = np.zeros(samples * lanes if laid.host else 0, np.int32)
        self.u = np.zeros(samples * timesteps * lanes if traced else 0, np.int32)
        self.v = np.zeros(samples * timesteps * lanes if traced else 0, np.int32)
        self.last = np.zeros(samples * lanes if last else 0, np.int32)
        self.kept_u = np.zeros(samples * lanes if laid.stepwise else 0, np.int32)
        self.kept_v = np.zeros(samples * lanes if laid.stepwise else 0, np.int32)
        self.nothing = np.zeros(lanes if laid.host else 0, np.int32)

    def adding(
        self, laid: LaidOutLayer, feed: Feed, timesteps: int, bits: Array | None, sums: Array
    ) -> Call:
        """Return the call that adds what one connection brings to the sums of a layer."""
        frame = kn.Frame(**dict.fromkeys(kn.Frame._fields, 0))._replace(
            places=laid.places,
            blocks=laid.blocks.count,
            steps=timesteps,
            right=max(0, -feed.exponent),
            left=max(0, feed.exponent),
            end=timesteps,
            sums=_at(sums),
            lag=feed.lag,
            first=int(feed is laid.added[0]),
        )
        room = self.feeds[laid.feeds.index(feed)]
        kernel, constants = _kernel(feed, room, tag_of(laid.blocks.lanes), (0,) * kn.ADD)
        return Call(kernel, _numbers(frame, room.source(feed, laid, bits)), constants)

    def moving(
        self, laid: LaidOutLayer, timesteps: int, bits: Array | None, sums: Array, after: Array
    ) -> Call:
        """Return the call that moves the neurons.

        ``bits``: what arrives over the connection that is read directly. ``sums``: those that were
        added up. ``after``: where spikes go.
        """
        tag, mode = tag_of(laid.blocks.lanes), (0,) * laid.moves.mode
        frame, feed = self._frame(laid, timesteps, after), laid.direct
        if feed:
            room = self.feeds[laid.feeds.index(feed)]
            kernel, constants = _kernel(feed, room, tag, mode)
            return Call(kernel, _numbers(frame, room.source(feed, laid, bits)), constants)
        width = laid.blocks.width
        if not laid.added:  # everything is in the bias: no sum arrives
            constant = kn.ConstantFrame(_at(self.nothing), 0, width)
            return Call(kn.run_constant, _numbers(frame, constant), (tag, mode))
        stepped = kn.StepFrame(_at(sums), laid.lanes, width)
        return Call(kn.run_steps, _numbers(frame, stepped), (tag, mode))

    def _frame(self, laid: LaidOutLayer, timesteps: int, after: Array) -> kn.Frame:
        moves, each, host = laid.moves, laid.moves.each, laid.host is not None
        return kn.Frame(
            places=laid.places,
            blocks=laid.blocks.count,
            steps=timesteps,
            right=moves.right,
            left=moves.left,
            filter=_at(each.filter.values) if each else moves.filter,
            full=int(moves.full),
            leak=_at(each.leak.values if each else moves.leak),
            threshold=_at(each.threshold.values if each else moves.threshold),
            bias=_at(self.bias if host else moves.bias.values),
            bias_sample=laid.lanes if host else 0,
            bias_place=laid.blocks.width if host else moves.bias.place,
            spikes=_at(after),
            stride=laid.target.stride,
            at=_at(laid.target.at),
            u=_at(self.u),
            v=_at(self.v),
            last=_at(self.last),
            counted=int(laid.layer.neuron.spiking and self.last.size > 0),
            leak_step=each.leak.step if each else 0,
            leak_place=each.leak.place if each else 0,
            threshold_step=each.threshold.step if each else 0,
            threshold_place=each.threshold.place if each else 0,
            filter_place=each.filter.place if each else 0,
            initial=_at(each.initial.values) if each else 0,
            initial_place=each.initial.place if each else 0,
            taken=_at(each.taken.values) if each and each.taken else 0,
            taken_place=each.taken.place if each and each.taken else 0,
            begin=0,
            end=timesteps,
            kept_u=_at(self.kept_u),
            kept_v=_at(self.kept_v),
            sums=0,
            lag=0,
            first=0,
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


def border_of(synapse: chip.Synapse) -> tuple[int, int] | None:
    """Return the zeros around an image that a connection reads; None: it reads numbers in a row."""
    return synapse.padding if isinstance(synapse, chip.ConvSynapse) else None


def padded_shape(image: tuple[int, ...], border: tuple[int, int]) -> tuple[int, int, int]:
    """Return the shape (H, W, C) of an image (C, H, W) with its border."""
    channels, height, width = image
    return height + 2 * border[0], width + 2 * border[1], channels


def _image_room(synapse: chip.Synapse, image: tuple[int, ...], samples: int) -> NDArray[np.uint8]:
    border = border_of(synapse)
    shape = image if border is None or not samples else padded_shape(image, border)
    return np.zeros((samples, int(np.prod(shape))), np.uint8)


def _kernel(
    feed: Feed, room: FeedRoom, tag: tuple[int, ...], mode: tuple[int, ...]
) -> tuple[Callable[..., None], tuple[Any, ...]]:
    """Return the kernel that sums what a connection brings, and what it takes at the end."""
    table = feed.table
    if isinstance(table, GradedTable):
        return kn.run_constant, (tag, mode)
    if isinstance(table, ProductTable):
        return kn.run_products, (tag, mode, room.product.halves)
    if isinstance(table, EventTable):
        return kn.run_events8 if table.weight.dtype == np.int8 else kn.run_events16, (tag, mode)
    look_up = kn.run_lookups16 if table.table.dtype == np.int16 else kn.run_lookups32
    return look_up, (tag, mode, (0,) * table.groups)


def _numbers(frame: kn.Frame, source: tuple[int, ...]) -> NDArray[np.int64]:
    return np.array([*frame, *source], np.int64)


def _at(array: Array) -> int:
    """Return the address of an array's first element; 0 for an empty one."""
    return int(array.ctypes.data) if array.size else 0
