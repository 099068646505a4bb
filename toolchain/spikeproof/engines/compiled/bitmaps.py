"""Where the spikes that pass from one layer to the next lie, bit by bit."""

from __future__ import annotations

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
    which each place of the layer that writes begins (empty for the network's input).
    """

    stride: int
    pixel: int
    pitch: int
    start: int
    at: Int64s

    def room(self, samples: int, steps: int) -> NDArray[np.uint8]:
        """Return an empty bit array for so many samples."""
        return np.zeros(samples * steps * self.stride + SLACK, np.uint8)


def flat_map(shape: tuple[int, ...], lanes: int) -> BitMap:
    """Lay out spikes for a dense layer: place by place, ``lanes`` bits each (0: C-order)."""
    places = int(np.prod(shape[1:])) if lanes else 0
    bits = places * lanes if lanes else int(np.prod(shape))
    at = np.arange(places, dtype=np.int64) * (lanes // 8)
    return BitMap(-(-bits // 8), lanes or 1, bits, 0, at)


def image_map(synapse: chip.ConvSynapse, lanes: int) -> BitMap:
    """Lay out spikes for a convolution: rows of pixels, its zero border around them.

    ``lanes`` bits per pixel as the layer before writes them; 0 for the network's input, whose
    pixels take as many bits as there are channels.
    """
    channels, height, width = synapse.input_shape
    pixel = lanes or channels
    border_h, border_w = synapse.padding
    pitch = -(-(width + 2 * border_w) * pixel // 8) * 8
    start = border_h * pitch + border_w * pixel
    y, x = np.divmod(np.arange(height * width if lanes else 0, dtype=np.int64), width)
    at = (start + y * pitch + x * pixel) // 8
    return BitMap((height + 2 * border_h) * pitch // 8, pixel, pitch, start, at)


def unpack(bits: NDArray[np.uint8], bitmap: BitMap, samples: int, steps: int, neurons: int) -> Any:
    """Return spikes uint8 (samples, steps, places, neurons) of the layer that wrote a map."""
    step_bytes = bits[: samples * steps * bitmap.stride].reshape(samples, steps, -1)
    at = bitmap.at[:, None] + np.arange(-(-neurons // 8))
    return np.unpackbits(step_bytes[:, :, at], axis=-1, count=neurons, bitorder="little")
