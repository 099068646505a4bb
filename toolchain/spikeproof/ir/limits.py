"""Number ranges of a chip network, and the sentences about what leaves them."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikeproof import fixedpoint as fx

Shape = tuple[int, ...]

WEIGHT_LIMITS: dict[str, tuple[int, int]] = {
    "mixed": (-256, 254),
    "excitatory": (0, 255),
    "inhibitory": (-255, 0),
}
LEAK_MAX = (1 << 14) - 1
HOST_WEIGHT_MAX = (1 << 15) - 1
RAW_SUM_MAX = (1 << 31) - 1
"""Before its exponent is applied, a sum lies in 32 bits on every target."""
ACCUMULATOR_MAX = (1 << 25) - (1 << 19)
"""Shifted left by 6 it is 2^31 - 2^25: what v and bias may add on top still fits 32 bits."""
FILTERED_SUM_MAX = 1 << 18
"""With a synaptic filter u adds up. A step that adds at most 2^24 is brought back into 24 bits by
one wrap, so u never grows; larger steps would let it leave 32 bits, where targets differ."""
PIXEL_MAX = 255
INPUT = "@input"
"""The source of what comes from a network's input; nothing in a network can be called so."""
DELAY_MAX = 62
"""Steps a synapse of Loihi can hold a spike back."""
LATER = {"later": True}
"""Marks fields that files of earlier releases lack: they are written only if they say something."""


def integer_problems(label: str, array: Any, low: int, high: int) -> list[str]:
    """Say what is wrong with an array that must hold integers in ``low..high``."""
    if not fx.is_integer_array(array):
        return [f"{label} has type {array.dtype}, expected integers"]
    if array.size and (array.min() < low or array.max() > high):
        return [f"{label} spans {array.min()}..{array.max()}, the chip takes {low}..{high}"]
    return []


def range_problems(label: str, value: int, low: int, high: int) -> list[str]:
    """Say that a number is outside of ``low..high``."""
    return [] if low <= value <= high else [f"{label} is {value}, the chip takes {low}..{high}"]


def broadcast_problems(label: str, found: Shape, shape: Shape) -> list[str]:
    """Say that an array of one shape does not broadcast to the neurons, or makes more of them."""
    try:
        fits = np.broadcast_shapes(found, shape) == tuple(shape)
    except ValueError:
        fits = False
    return [] if fits else [f"{label} of shape {found} does not fit the neurons {shape}"]
