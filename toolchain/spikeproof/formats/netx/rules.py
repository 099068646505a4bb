"""What lava-dl makes of the integers in a ``.net`` file, and which of them the chip dialect holds.

The weights in the file are meant as they are. lava-dl's loader shifts the weights of a dense
layer to the top of 8 bits, derives a number of bits and an exponent, and Lava truncates by them.
For most layers that changes nothing; where it would, the layer is refused rather than run with
other integers than the ones written.
Source: behaviour of lava-dl 0.6.0 on lava-nc 0.10.0, docs/formats.md.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.ir.chip import Sign

Ints = NDArray[np.int64]

BIAS_EXPONENT = 6
"""Biases of a .net file count whole units of weight times spike."""
SILENT_THRESHOLD = (1 << 18) - 1
"""The threshold lava-dl writes for a layer that shall never fire."""
DEFAULT_INPUT_WEIGHT = 64
PIXEL_BITS = 8
"""Payload of a first layer that takes pixels as graded spikes: lava-dl's input_message_bits."""
_HUGE = 1 << 52
"""Beyond this, not every whole number has a place in a float64."""


def integers(array: NDArray[Any]) -> Ints | None:
    """Return an array as int64, or None if it holds NaN, a fraction, or something huge."""
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (np.abs(array) > _HUGE).any():
            return None
        if (array != np.rint(array)).any():
            return None
    elif array.dtype.kind not in "biu" or (array.size and int(array.max()) > _HUGE):
        return None
    return array.astype(np.int64)


def odd_value(array: NDArray[Any]) -> str:
    """Name the first value of an array that is no whole number of sane size, with its index."""
    if array.dtype.kind not in "biuf":
        return f"values of type {array.dtype}"
    wrong = array > _HUGE if array.dtype.kind == "u" else ~(np.abs(array) <= _HUGE)
    if array.dtype.kind == "f":
        wrong |= array != np.rint(array)
    place = np.unravel_index(int(wrong.argmax()), array.shape)
    index = f" at {[int(i) for i in place]}" if array.size > 1 else ""
    count = f", {int(wrong.sum()):,} such of {array.size:,} values" if array.size > 1 else ""
    beyond = " (beyond 2^52)" if np.isfinite(array[place]) and abs(array[place]) > _HUGE else ""
    return f"{array[place]}{beyond}{index}{count}"


def chip_weights(weight: Ints) -> tuple[NDArray[np.int16], Sign, int] | str:
    """Return weights, sign mode and exponent of the chip for integers, or why there are none.

    One-signed weights use step 1. Mixed even weights are taken as they are; mixed odd ones are
    doubled and the sum halved again (exponent -1), which is exact.
    """
    low, high = int(weight.min()), int(weight.max())
    if low >= 0 and high <= 255:
        return weight.astype(np.int16), "excitatory", 0
    if low >= -255 and high <= 0:
        return weight.astype(np.int16), "inhibitory", 0
    span = f"weights span {low}..{high}"
    if low >= 0 or low < -256 or high > 254:
        return f"{span}, the chip takes 0..255, -255..0, or even numbers in -256..254"
    if not (weight % 2).any():
        return weight.astype(np.int16), "mixed", 0
    if low >= -128 and high <= 127:
        return (2 * weight).astype(np.int16), "mixed", -1
    odd = int((weight % 2 != 0).sum())
    return f"{span} with {odd} odd ones; beyond -128..127 mixed-sign weights must be even"


def dense_loads_unchanged(weight: Ints) -> str | None:
    """Return why lava-dl would not run a dense layer with just these integers, or None."""
    low, high = int(weight.min()), int(weight.max())
    if low == high == 0:
        return "all weights are 0; lava-dl cannot load such a dense layer"
    shift, bits = _derived(weight, low, high)
    stored = weight * (1 << max(shift, 0))
    mixed = int(stored.min() < 0 < stored.max())
    dropped = 8 - bits + mixed
    kept = np.clip(stored, -256 if mixed else -255, 255)
    if dropped < 0 or (kept != stored).any() or (stored % (1 << dropped)).any():
        return f"weights span {low}..{high}; lava-dl would load other numbers (its sign modes)"
    return None


def _derived(weight: Ints, low: int, high: int) -> tuple[int, int]:
    """Return the left shift and the number of bits that lava-dl's loader derives."""
    signed = int(high >= 0 > low)
    if signed:
        scale = min(127 / high if high > 0 else math.inf, -128 / low)
    else:
        scale = -256 / low if high < 0 else 255 / high
    shift = math.floor(math.log2(scale)) + signed
    zeros = next(n for n in range(8, -1, -1) if not (weight % (1 << n)).any())
    return shift, 8 - shift - (zeros - signed)
