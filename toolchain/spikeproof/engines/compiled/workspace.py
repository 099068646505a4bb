"""The memory one thread runs samples in: bit arrays, sums, traces, and the kernels' frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.compiled import kernels as kn
from spikeproof.engines.compiled import tiles
from spikeproof.engines.compiled.bitmaps import BitMap, unpack
from spikeproof.engines.compiled.lanes import tag_of
from spikeproof.engines.compiled.layout import GradedTable
from spikeproof.engines.compiled.network import Feed, LaidOutLayer, Plan
from spikeproof.engines.compiled.rooms import Call, FeedRoom, Room, border_of, padded_shape
from spikeproof.engines.trace import LayerTrace
from spikeproof.ir.chip import INPUT_INDEX
from spikeproof.ir.readouts import answers, settled

Array = NDArray[Any]


class _Layer(NamedTuple):
    """One layer's memory, and what runs it: for all steps at once, and then step by step.

    Frames hold addresses only: arrays have to live here as long as they do.
    """

    laid: LaidOutLayer
    room: Room
    spikes: NDArray[np.uint8]
    sums: NDArray[np.int32]
    whole: list[Call]
    stepwise: list[Call]


class _Group(NamedTuple):
    """Layers that run together."""

    layers: list[_Layer]
    whole: list[Call]
    stepwise: list[Call]


class _Image(NamedTuple):
    """One connection that sums pixels."""

    laid: LaidOutLayer
    feed: Feed
    table: GradedTable
    room: FeedRoom
    bias: NDArray[np.int32]


class Workspace:
    """Room for up to ``samples`` samples of one network, used by one thread at a time."""

    def __init__(
        self, form: tuple[int, ...], timesteps: int, plan: Plan, samples: int, traced: bool
    ) -> None:
        """Allocate everything, so that running allocates nothing large.

        ``form`` is the shape of a sample: (C, H, W), or (T, C, H, W) of spikes.
        """
        self._timesteps, self._input, self._readout = timesteps, plan.input, plan.readout
        self.samples, self.traced = samples, traced
        layers = plan.layers
        # A group of samples that are multiplied together may reach past the last sample.
        room = samples + tiles.PAIR * tiles.ROWS // timesteps
        bits: dict[int, Array | None] = {s.index: s.target.room(room, timesteps) for s in layers}
        bits[INPUT_INDEX] = plan.input.room(room, timesteps) if plan.input else None
        self._bits = bits[INPUT_INDEX]
        last = max(layers, key=lambda laid: laid.index)
        self._kernel_answers = _kernel_answers(plan, last)
        numbers = samples * timesteps
        shared = np.zeros(
            numbers * max((s.lanes for s in layers if s.added and not s.stepwise), default=0),
            np.int32,
        )

        def layer(laid: LaidOutLayer) -> _Layer:
            kept = traced or (laid is last and not self._kernel_answers)
            room = Room(laid, samples, timesteps, form, kept, laid is last)
            sums = np.zeros(numbers * laid.lanes, np.int32) if laid.stepwise else shared
            calls = [
                room.adding(laid, feed, timesteps, bits[feed.origin], sums) for feed in laid.added
            ]
            arriving = bits[laid.direct.origin] if laid.direct else None
            spikes = bits[laid.index]
            assert spikes is not None
            calls.append(room.moving(laid, timesteps, arriving, sums, spikes))
            at_once = sum(not f.within for f in laid.added) if laid.stepwise else len(calls)
            return _Layer(laid, room, spikes, sums, calls[:at_once], calls[at_once:])

        self._groups = [_group([layer(laid) for laid in group]) for group in plan.groups]
        self._layers = [layer for group in self._groups for layer in group.layers]
        self._images = [image for layer in self._layers for image in _images(layer)]
        self._last = next(layer for layer in self._layers if layer.laid is last)
        self._final = _final(last, self._last.room, samples)

    def run(
        self, x: NDArray[np.uint8], after: Callable[[], None] | None = None
    ) -> NDArray[np.int64] | None:
        """Run samples and return their logits, or None if spikes other than 0 and 1 came in.

        ``after`` is called after each layer, once for each of a group that runs together.
        """
        if self._input is not None and not self._pack(x, self._input):
            return None
        for image in self._images:
            _sum_pixels(x, image)
        samples = len(x)
        for group in self._groups:
            for kernel, frame, constants in group.whole:
                kernel(frame, samples, *constants)
            if group.stepwise:
                for t in range(self._timesteps):
                    for call in group.stepwise:
                        call.run_step(samples, t)
            if after is not None:
                for _ in group.layers:
                    after()
        return self._logits(samples)

    def _pack(self, x: NDArray[np.uint8], source: BitMap) -> bool:
        steps = x.shape[1]
        if source.image:
            rows = x.shape[3]
            x = np.moveaxis(x, 2, -1) if x.shape[2] > 1 else x
        else:
            rows = 1
        flat = np.ascontiguousarray(x).reshape(-1)
        count = len(x) * steps * rows
        return bool(
            kn.pack_rows(
                flat,
                count,
                len(flat) // count,
                self._bits,
                source.stride,
                source.start,
                rows,
                source.pitch,
            )
        )

    def _logits(self, samples: int) -> NDArray[np.int64]:
        if not self._kernel_answers:
            trace = self._trace(self._last, samples)
            return answers(self._readout, trace.v, trace.s)
        found = self._final[:samples].astype(np.int64)
        return found if found.ndim == 2 else found.swapaxes(1, 2).reshape(samples, -1)

    def traces(self, samples: int) -> dict[str, LayerTrace]:
        """Return u, v and s of all layers of the samples run last (copies)."""
        ordered = sorted(self._layers, key=lambda layer: layer.laid.index)
        return {layer.laid.layer.name: self._trace(layer, samples) for layer in ordered}

    def _trace(self, layer: _Layer, samples: int) -> LayerTrace:
        laid, room, steps = layer.laid, layer.room, self._timesteps
        shape = (-1, steps, laid.places, laid.blocks.width)
        u, v = (_by_channel(a.reshape(shape)[:samples], laid) for a in (room.u, room.v))
        spikes = None
        if laid.layer.neuron.spiking:
            bits = unpack(layer.spikes, laid.target, samples, steps, laid.neurons)
            spikes = _by_channel(bits, laid)
        return LayerTrace(u, v, spikes)


def _group(layers: list[_Layer]) -> _Group:
    whole = [call for layer in layers for call in layer.whole]
    return _Group(layers, whole, [call for layer in layers for call in layer.stepwise])


def _images(layer: _Layer) -> Iterator[_Image]:
    for feed, room in zip(layer.laid.feeds, layer.room.feeds, strict=True):
        if isinstance(feed.table, GradedTable):
            yield _Image(layer.laid, feed, feed.table, room, layer.room.bias)


def _sum_pixels(x: NDArray[np.uint8], wanted: _Image) -> None:
    """Sum the pixels of all samples for one connection, as the host does if it is one of its."""
    laid, feed, table, room, bias = wanted
    border = border_of(feed.synapse)
    if border is None:
        room.image[: len(x)] = x.reshape(len(x), -1)
    else:
        image = room.image.reshape(len(room.image), *padded_shape(x.shape[1:], border))
        inside = tuple(slice(b, b + n) for b, n in zip(border, x.shape[2:], strict=True))
        image[(slice(len(x)), *inside)] = np.moveaxis(x, 1, -1)
    kn.graded_sums(
        room.image.reshape(-1),
        room.image.shape[1],
        table.window,
        table.segment,
        table.length,
        table.weight,
        len(x),
        laid.blocks.count,
        room.sums,
        tag_of(laid.blocks.lanes),
    )
    if feed.host:
        host = feed.host
        kn.host_bias(room.sums, len(x), host.offset, host.shift, host.exponent, bias)


def _kernel_answers(plan: Plan, last: LaidOutLayer) -> bool:
    """Tell whether what kernels leave of the last layer is the answer; else its trace says it."""
    spiking = last.layer.neuron.spiking
    return settled(plan.readout, spiking) == settled("auto", spiking)


def _final(laid: LaidOutLayer, room: Room, samples: int) -> NDArray[np.int32]:
    """Return the view of what the last layer leaves: (samples, neurons) or (.., places, ..)."""
    found = room.last.reshape(samples, laid.places, laid.blocks.width)[:, :, : laid.neurons]
    return found[:, 0] if laid.places == 1 else found


def _by_channel(values: Array, laid: LaidOutLayer) -> Array:
    """Turn (N, T, places, lanes) into (N, T, *neurons)."""
    chosen = values[..., : laid.neurons].swapaxes(2, 3)
    return chosen.copy().reshape(*values.shape[:2], *laid.layer.shape)  # the room is used again
