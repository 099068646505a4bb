"""Shift, round, wrap and saturate the signed integers of the chip's state.

The reference, the fast engine, the certificate and the conversion take this arithmetic from here
and nowhere else; a target does its own, or a comparison with it would show nothing.
All functions work on int64 arrays (or Python integers) and return int64.
Source: docs/semantics.md, "Neuron" and "Synapses"; Loihi CUBA-LIF as in Lava 0.10.0 (``fixed_pt``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]

DECAY_BITS = 12
DECAY_ONE = 1 << DECAY_BITS
"""Decays and leaks are numerators over 4096."""

CURRENT_SHIFT = 6
"""A synaptic sum enters u shifted left by 6; the threshold mantissa is shifted likewise."""

CURRENT_UNIT = 1 << CURRENT_SHIFT
"""v-units per unit of synaptic sum."""

STATE_MAX = (1 << 23) - 1
"""Largest magnitude of v; larger values saturate."""

WRAP_LIMIT = 1 << 23
"""u wraps once when it leaves (-2^23, 2^23]."""

SUM_MAX = STATE_MAX >> CURRENT_SHIFT
"""Largest synaptic sum (131 071) whose shifted value still fits u."""

THRESHOLD_MAX = (1 << 17) - 1
BIAS_MANTISSA_MAX = (1 << 12) - 1
BIAS_EXPONENT_MAX = 7


def scale_toward_zero(x: ArrayLike, numerator: ArrayLike) -> IntArray:
    """Multiply by ``numerator / 4096`` and round toward zero (never floor)."""
    x64 = np.asarray(x, dtype=np.int64)
    return np.asarray(
        np.sign(x64) * ((np.abs(x64) * np.asarray(numerator, np.int64)) >> DECAY_BITS), np.int64
    )


def scale_exact_floats(
    x: NDArray[np.float64], numerator: ArrayLike, out: NDArray[np.float64]
) -> None:
    """Do what :func:`scale_toward_zero` does to integers held in float64, into ``out``.

    Exact: |x| <= 2^23, which holds for every u and v that keeps anything, times a 14-bit numerator
    over 2^12 needs 37 of float64's 53 bits. With numerator 0 any finite x becomes 0.
    """
    np.multiply(x, np.asarray(numerator) / DECAY_ONE, out=out)
    np.trunc(out, out=out)


def wrap_current(u: ArrayLike) -> IntArray:
    """Wrap u once by 2^24 where it leaves (-2^23, 2^23], as Lava's model does."""
    u64 = np.asarray(u, dtype=np.int64)
    lowered = np.where(u64 > WRAP_LIMIT, u64 - 2 * WRAP_LIMIT, u64)
    return np.where(u64 <= -WRAP_LIMIT, u64 + 2 * WRAP_LIMIT, lowered)


def saturate_voltage(v: ArrayLike) -> IntArray:
    """Clip v to ±(2^23 - 1)."""
    return np.clip(np.asarray(v, dtype=np.int64), -STATE_MAX, STATE_MAX)


def shift_sum(total: ArrayLike, exponent: int) -> IntArray:
    """Apply a weight exponent to a finished synaptic sum: left shift, or floor when negative."""
    t64 = np.asarray(total, dtype=np.int64)
    return t64 << exponent if exponent >= 0 else t64 >> -exponent


def round_half_up_shift(x: ArrayLike, shift: int) -> IntArray:
    """Divide by ``2**shift`` and round to nearest, ties toward plus infinity."""
    x64 = np.asarray(x, dtype=np.int64)
    return x64 if shift == 0 else (x64 + (1 << (shift - 1))) >> shift


def is_integer_array(x: object) -> bool:
    """Tell whether x is a NumPy array of an integer type (bool and float are not)."""
    return isinstance(x, np.ndarray) and np.issubdtype(x.dtype, np.integer)
