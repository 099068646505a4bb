"""The memory one thread runs samples in: bit arrays, sums, traces, and the kernels' frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.ir import chip
from spikeproof.simulate.compiled import kernels as kn
from spikeproof.simulate.compiled.bitmaps import BitMap, unpack
from spikeproof.simulate.compiled.lanes import tag_of
from spikeproof.simulate.compiled.layout import EventTable, GradedTable
from spikeproof.simulate.compiled.network import Step
from spikeproof.simulate.compiled.sources import INDEX_SLACK
from spikeproof.simulate.trace import LayerTrace

Array = NDArray[Any]


class Workspace:
    """Room for up to ``samples`` samples of one network, used by one thread at a time."""

    def __init__(
        self, network: chip.ChipNetwork, steps: list[Step], samples: int, traced: bool
    ) -> None:
        """Allocate everything, so that running allocates nothing large."""
        self._network, self._steps = network, steps
        self.samples, self.traced = samples, traced
        self._spikes = [s.target.room(samples, network.timesteps) for s in steps]
        source = steps[0].source
        self._input = source.room(samples, network.timesteps) if source else _image_room(
            network, samples)  # fmt: skip
        self._rooms = [_Room(s, samples, network.timesteps, traced, s is steps[-1]) for s in steps]
        bits = [self._input, *self._spikes]
        self._frames = [
            room.frame(step, network.timesteps, before, after)
            for room, step, before, after in zip(
                self._rooms, steps, bits[:-1], bits[1:], strict=True
            )
        ]
        self._kernels = [step.kernel for step in steps]

    def run(self, x: NDArray[np.uint8]) -> NDArray[np.int64] | None:
        """Run samples and return their logits, or None if spikes other than 0 and 1 came in."""
        if self._steps[0].source is None:
            self._sum_pixels(x)
        elif not self._pack(x, self._steps[0].source):
            return None
        for kernel, frame in zip(self._kernels, self._frames, strict=True):
            kernel(frame, len(x))
        return self._logits(len(x))

    def _pack(self, x: NDArray[np.uint8], source: BitMap) -> bool:
        steps = x.shape[1]
        self._input.fill(0)
        if isinstance(self._network.layers[0].synapse, chip.ConvSynapse):
            rows = x.shape[3]
            x = np.moveaxis(x, 2, -1) if x.shape[2] > 1 else x
        else:
            rows = 1
        flat = np.ascontiguousarray(x).reshape(-1)
        count = len(x) * steps * rows
        return bool(kn.pack_rows(
            flat, count, len(flat) // count, self._input,
            source.stride, source.start, rows, source.pitch,
        ))  # fmt: skip

    def _sum_pixels(self, x: NDArray[np.uint8]) -> None:
        step, room = self._steps[0], self._rooms[0]
        table = step.table
        if not isinstance(table, GradedTable):
            raise TypeError("pixels need a graded table")
        border = _border(step.layer)
        if border is None:
            self._input[: len(x)] = x.reshape(len(x), -1)
        else:
            image = self._input.reshape(len(self._input), *_padded_shape(self._network, border))
            inside = tuple(slice(b, b + n) for b, n in zip(border, x.shape[2:], strict=True))
            image[(slice(len(x)), *inside)] = np.moveaxis(x, 1, -1)
        kn.graded_sums(
            self._input.reshape(-1), self._input.shape[1], table.window, table.segment,
            table.length, table.weight, len(x), step.blocks.count, room.sums,
            tag_of(step.blocks.lanes),
        )  # fmt: skip
        if step.host:
            kn.host_bias(room.sums, len(x), step.host.offset, step.host.shift,
                         step.host.exponent, room.bias)  # fmt: skip

    def _logits(self, samples: int) -> NDArray[np.int64]:
        step, room = self._steps[-1], self._rooms[-1]
        counts: NDArray[np.int64]
        if step.spiking:
            counts = np.zeros((samples, step.places, step.neurons), np.int64)
            kn.count_spikes(self._spikes[-1], samples, self._network.timesteps,
                            step.target.stride, step.target.at, step.neurons,
                            counts.reshape(-1))  # fmt: skip
        else:
            shape = (-1, step.places, step.blocks.width)
            counts = room.last.reshape(shape)[:samples, :, : step.neurons].astype(np.int64)
        return counts.swapaxes(1, 2).reshape(samples, -1)

    def traces(self, samples: int) -> dict[str, LayerTrace]:
        """Return u, v and s of all layers of the samples run last (copies)."""
        found = {}
        for step, room, bits in zip(self._steps, self._rooms, self._spikes, strict=True):
            shape = (-1, self._network.timesteps, step.places, step.blocks.width)
            u, v = (_by_channel(a.reshape(shape)[:samples], step) for a in (room.u, room.v))
            spikes = None
            if step.spiking:
                steps = self._network.timesteps
                spikes = _by_channel(unpack(bits, step.target, samples, steps, step.neurons), step)
            found[step.layer.name] = LayerTrace(u, v, spikes)
        return found


class _Room:
    """Arrays of one layer beside its spikes; empty where they are not wanted."""

    def __init__(self, step: Step, samples: int, timesteps: int, traced: bool, last: bool) -> None:
        lanes = step.places * step.blocks.width
        graded = isinstance(step.table, GradedTable)
        self.sums = np.zeros(samples * lanes if graded else 0, np.int32)
        self.bias = np.zeros(samples * lanes if step.host else 0, np.int32)
        self.u = np.zeros(samples * timesteps * lanes if traced else 0, np.int32)
        self.v = np.zeros(samples * timesteps * lanes if traced else 0, np.int32)
        self.last = np.zeros(samples * lanes if last and not step.spiking else 0, np.int32)
        rows = step.table.rows + INDEX_SLACK if isinstance(step.table, EventTable) else 0
        self.index = np.zeros(timesteps * rows, np.int32)
        self.count = np.zeros(timesteps if rows else 0, np.int64)
        self.nothing = np.zeros(lanes if step.host else 0, np.int32)

    def frame(self, step: Step, timesteps: int, before: Array, after: Array) -> NDArray[np.int64]:
        """Collect what the kernel of this layer takes, see kernels.Frame."""
        moves, lanes = step.moves, step.places * step.blocks.width
        host = step.host is not None
        numbers = kn.Frame(
            step.places, step.blocks.count, timesteps, moves.right, moves.left, moves.filter,
            int(moves.full), _at(moves.leak), _at(moves.threshold),
            _at(self.bias if host else moves.bias), lanes if host else 0,
            step.blocks.width if host else moves.bias_place,
            _at(after), step.target.stride, _at(step.target.at), _at(self.u), _at(self.v),
            _at(self.last),
        )  # fmt: skip
        return np.array([*numbers, *self._source(step, before)], np.int64)

    def _source(self, step: Step, before: Array) -> list[int]:
        table, width = step.table, step.blocks.width
        if isinstance(table, GradedTable):
            if step.host:  # everything is in the bias: no sum arrives
                return [_at(self.nothing), 0, width]
            return [_at(self.sums), step.places * width, width]
        stride = step.source.stride if step.source else 0
        if isinstance(table, EventTable):
            return [_at(before), stride, _at(table.weight), table.rows, table.safe,
                    _at(self.index), _at(self.count)]  # fmt: skip
        return [_at(before), stride, _at(table.window), _at(table.words), _at(table.first),
                _at(table.table)]  # fmt: skip


def _at(array: Array) -> int:
    """Return the address of an array's first element; 0 for an empty one."""
    return int(array.ctypes.data) if array.size else 0


def _by_channel(values: Array, step: Step) -> Array:
    """Turn (N, T, places, lanes) into (N, T, *neurons)."""
    chosen = values[..., : step.neurons].swapaxes(2, 3)
    return chosen.copy().reshape(*values.shape[:2], *step.layer.shape)  # the room is used again


def _border(layer: chip.ChipLayer) -> tuple[int, int] | None:
    inner = layer.synapse.synapse if isinstance(layer.synapse, chip.HostCurrent) else layer.synapse
    return inner.padding if isinstance(inner, chip.ConvSynapse) else None


def _padded_shape(network: chip.ChipNetwork, border: tuple[int, int]) -> tuple[int, int, int]:
    channels, height, width = network.input_shape
    return height + 2 * border[0], width + 2 * border[1], channels


def _image_room(network: chip.ChipNetwork, samples: int) -> NDArray[np.uint8]:
    border = _border(network.layers[0])
    shape = network.input_shape if border is None else _padded_shape(network, border)
    return np.zeros((samples, int(np.prod(shape))), np.uint8)
