"""The memory one thread runs samples in: bit arrays, sums, traces, and the kernels' frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.compiled import kernels as kn
from spikeproof.engines.compiled import tiles
from spikeproof.engines.compiled.bitmaps import BitMap, unpack
from spikeproof.engines.compiled.lanes import tag_of
from spikeproof.engines.compiled.layout import GradedTable
from spikeproof.engines.compiled.network import Step
from spikeproof.engines.compiled.rooms import Room, bound_kernel
from spikeproof.engines.trace import LayerTrace
from spikeproof.ir import chip

Array = NDArray[Any]


class _Layer(NamedTuple):
    step: Step
    room: Room
    spikes: NDArray[np.uint8]
    kernel: Callable[..., None]
    constants: tuple[Any, ...]
    frame: NDArray[np.int64]


class Workspace:
    """Room for up to ``samples`` samples of one network, used by one thread at a time."""

    def __init__(
        self, form: tuple[int, ...], timesteps: int, steps: list[Step], samples: int, traced: bool
    ) -> None:
        """Allocate everything, so that running allocates nothing large.

        ``form`` is the shape of a sample: (C, H, W), or (T, C, H, W) of spikes.
        """
        self._timesteps, self._steps = timesteps, steps
        self.samples, self.traced = samples, traced
        # A group of samples that are multiplied together may reach past the last sample.
        room = samples + tiles.PAIR * tiles.ROWS // timesteps
        spikes = [step.target.room(room, timesteps) for step in steps]
        source = steps[0].source
        self._input = (
            source.room(room, timesteps) if source else _image_room(steps[0].layer, form, samples)
        )
        bits = [self._input, *spikes]
        rooms = [Room(s, samples, timesteps, traced, s is steps[-1]) for s in steps]
        self._layers = [
            _Layer(
                step,
                room,
                after,
                *bound_kernel(step, room),
                room.frame(step, timesteps, before, after),
            )
            for step, room, before, after in zip(steps, rooms, bits[:-1], spikes, strict=True)
        ]
        self._final = _final(steps[-1], rooms[-1], samples)

    def run(
        self, x: NDArray[np.uint8], after: Callable[[], None] | None = None
    ) -> NDArray[np.int64] | None:
        """Run samples and return their logits, or None if spikes other than 0 and 1 came in.

        ``after`` is called after each layer.
        """
        if self._steps[0].source is None:
            self._sum_pixels(x)
        elif not self._pack(x, self._steps[0].source):
            return None
        for layer in self._layers:
            layer.kernel(layer.frame, len(x), *layer.constants)
            if after is not None:
                after()
        return self._logits(len(x))

    def _pack(self, x: NDArray[np.uint8], source: BitMap) -> bool:
        steps = x.shape[1]
        if isinstance(self._steps[0].layer.synapse, chip.ConvSynapse):
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
                self._input,
                source.stride,
                source.start,
                rows,
                source.pitch,
            )
        )

    def _sum_pixels(self, x: NDArray[np.uint8]) -> None:
        step, room = self._layers[0].step, self._layers[0].room
        table = step.table
        if not isinstance(table, GradedTable):
            raise TypeError("pixels need a graded table")
        border = _border(step.layer)
        if border is None:
            self._input[: len(x)] = x.reshape(len(x), -1)
        else:
            image = self._input.reshape(len(self._input), *_padded_shape(x.shape[1:], border))
            inside = tuple(slice(b, b + n) for b, n in zip(border, x.shape[2:], strict=True))
            image[(slice(len(x)), *inside)] = np.moveaxis(x, 1, -1)
        kn.graded_sums(
            self._input.reshape(-1),
            self._input.shape[1],
            table.window,
            table.segment,
            table.length,
            table.weight,
            len(x),
            step.blocks.count,
            room.sums,
            tag_of(step.blocks.lanes),
        )
        if step.host:
            kn.host_bias(
                room.sums, len(x), step.host.offset, step.host.shift, step.host.exponent, room.bias
            )

    def _logits(self, samples: int) -> NDArray[np.int64]:
        found = self._final[:samples].astype(np.int64)
        return found if found.ndim == 2 else found.swapaxes(1, 2).reshape(samples, -1)

    def traces(self, samples: int) -> dict[str, LayerTrace]:
        """Return u, v and s of all layers of the samples run last (copies)."""
        steps, found = self._timesteps, {}
        for layer in self._layers:
            step, room = layer.step, layer.room
            shape = (-1, steps, step.places, step.blocks.width)
            u, v = (_by_channel(a.reshape(shape)[:samples], step) for a in (room.u, room.v))
            spikes = None
            if step.layer.neuron.spiking:
                bits = unpack(layer.spikes, step.target, samples, steps, step.neurons)
                spikes = _by_channel(bits, step)
            found[step.layer.name] = LayerTrace(u, v, spikes)
        return found


def _final(step: Step, room: Room, samples: int) -> NDArray[np.int32]:
    """Return the view of what the last layer leaves: (samples, neurons) or (.., places, ..)."""
    found = room.last.reshape(samples, step.places, step.blocks.width)[:, :, : step.neurons]
    return found[:, 0] if step.places == 1 else found


def _by_channel(values: Array, step: Step) -> Array:
    """Turn (N, T, places, lanes) into (N, T, *neurons)."""
    chosen = values[..., : step.neurons].swapaxes(2, 3)
    return chosen.copy().reshape(*values.shape[:2], *step.layer.shape)  # the room is used again


def _border(layer: chip.ChipLayer) -> tuple[int, int] | None:
    return layer.synapse.padding if isinstance(layer.synapse, chip.ConvSynapse) else None


def _padded_shape(image: tuple[int, ...], border: tuple[int, int]) -> tuple[int, int, int]:
    channels, height, width = image
    return height + 2 * border[0], width + 2 * border[1], channels


def _image_room(layer: chip.ChipLayer, image: tuple[int, ...], samples: int) -> NDArray[np.uint8]:
    border = _border(layer)
    shape = image if border is None else _padded_shape(image, border)
    return np.zeros((samples, int(np.prod(shape))), np.uint8)
