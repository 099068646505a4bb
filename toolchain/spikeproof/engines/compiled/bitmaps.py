"""Where the spikes that pass from one layer to the next lie, bit by bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.ir import chip

Int64s = NDArray[np.int64]
SLACK = 64
"""Bytes behind a bit array: words are read and written across its end."""


@dataclass(frozen=True, eq=False)
class BitMap:
    """The bits of one step.

    stride: bytes per step. pixel: bits per pixel, or per neuron of a dense layer 1. pitch: bits
    from one row to the next. start: the bit of the first pixel that is not border. at: the byte at
    which each place of the layer that writes begins (empty for the network's input). image: whether
    it has rows of pixels; else neurons lie one after another.
    """

    stride: int
    pixel: int
    pitch: int
    start: int
    at: Int64s
    image: bool

    @property
    def bits(self) -> int:
        """Return the bits of a step, without what fills the last byte of a flat map."""
        return self.stride * 8 if self.image else self.pitch

    def room(self, samples: int, steps: int) -> NDArray[np.uint8]:
        """Return an empty bit array for so many samples."""
        return np.zeros(samples * steps * self.stride + SLACK, np.uint8)


def flat_map(shape: tuple[int, ...], lanes: int) -> BitMap:
    """Lay out spikes for a dense layer: place by place, ``lanes`` bits each (0: C-order)."""
    places = int(np.prod(shape[1:])) if lanes else 0
    bits = places * lanes if lanes else int(np.prod(shape))
    at = np.arange(places, dtype=np.int64) * (lanes // 8)
    return BitMap(-(-bits // 8), lanes or 1, bits, 0, at, image=False)


def image_map(shape: tuple[int, ...], border: tuple[int, int], lanes: int) -> BitMap:
    """Lay out spikes for convolutions: rows of pixels, a zero border around them.

    ``border``: rows and columns, as many as the widest padding of all that read it. ``lanes`` bits
    per pixel as the layer before writes them; 0 for the network's input, whose pixels take as many
    bits as there are channels.
    """
    channels, height, width = shape
    pixel = lanes or channels
    border_h, border_w = border
    pitch = -(-(width + 2 * border_w) * pixel // 8) * 8
    start = border_h * pitch + border_w * pixel
    y, x = np.divmod(np.arange(height * width if lanes else 0, dtype=np.int64), width)
    at = (start + y * pitch + x * pixel) // 8
    return BitMap((height + 2 * border_h) * pitch // 8, pixel, pitch, start, at, image=True)


def map_for(readers: Sequence[chip.Synapse], shape: tuple[int, ...], lanes: int) -> BitMap:
    """Lay out spikes of ``shape`` so that all that read them find them in one place."""
    windows = [one.padding for one in readers if isinstance(one, chip.ConvSynapse)]
    if not windows:
        return flat_map(shape, lanes)
    return image_map(shape, (max(h for h, _ in windows), max(w for _, w in windows)), lanes)


def bit_of_neuron(bitmap: BitMap, shape: tuple[int, ...]) -> Int64s:
    """Return the bit at which each neuron of a map lies, in C-order of its shape."""
    order = np.arange(int(np.prod(shape)), dtype=np.int64)
    channel, place = np.divmod(order, int(np.prod(shape[1:])))
    if bitmap.at.size:
        return np.asarray(bitmap.at[place] * 8 + channel, np.int64)
    if not bitmap.image:
        return order
    y, x = np.divmod(place, shape[-1])
    found = bitmap.start + y * bitmap.pitch + x * bitmap.pixel + channel
    return np.asarray(found, np.int64)


def unpack(bits: NDArray[np.uint8], bitmap: BitMap, samples: int, steps: int, neurons: int) -> Any:
    """Return spikes uint8 (samples, steps, places, neurons) of the layer that wrote a map."""
    step_bytes = bits[: samples * steps * bitmap.stride].reshape(samples, steps, -1)
    at = bitmap.at[:, None] + np.arange(-(-neurons // 8))
    return np.unpackbits(step_bytes[:, :, at], axis=-1, count=neurons, bitorder="little")
