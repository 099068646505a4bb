"""Exact integers for "weight times pixel value plus bias", and the way back from them.

A pixel p of 0..255 stands for the value ``low + p (high - low) / 255``; the host writes
``round half up (weight * value + bias)``. Both searches below are complete: each condition is one
of 256 strips, linear in the two unknowns, so the pairs of strips bound the first unknown exactly
(intervals on a line that meet pairwise meet in a point), and the second follows from the first.
Ranges are the decimal numbers a user writes, taken as fractions: no rounding takes part.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor, lcm

import numpy as np

from spikeproof.formats.netx.rules import Ints
from spikeproof.ir.limits import HOST_WEIGHT_MAX

PixelRange = tuple[float, float]
RAW_PIXELS: PixelRange = (0.0, 255.0)
PIXELS = 256
WANTED_MAX = 1 << 20
"""Far beyond a bias of the chip (4095), and small enough for the sums below to fit int64."""
_MAX_SHIFT = 31
_MAX_CANDIDATES = 1 << 16


def exact_range(pixels: PixelRange) -> tuple[Fraction, Fraction]:
    """Return the two values as the decimal numbers they print as."""
    return Fraction(repr(float(pixels[0]))), Fraction(repr(float(pixels[1])))


def mantissas(weight: int, bias: int, pixels: PixelRange) -> list[int]:
    """Return what the host writes for every pixel 0..255, rounded half up, exactly."""
    low, high = exact_range(pixels)
    slope, start = weight * (high - low) / 255, weight * low + bias + Fraction(1, 2)
    whole, (first, rise) = _over_one_denominator(start, slope)
    return [(first + rise * pixel) // whole for pixel in range(PIXELS)]


def _over_one_denominator(*values: Fraction) -> tuple[int, list[int]]:
    whole = lcm(*(value.denominator for value in values))
    return whole, [value.numerator * (whole // value.denominator) for value in values]


def fixed_point(weight: int, bias: int, pixels: PixelRange) -> tuple[int, int, int] | None:
    """Find integers that give every pixel its mantissa: (factor, offset, shift).

    ``(factor * p + offset + half) >> shift`` equals :func:`mantissas` for all 256 pixels, with
    ``half`` = 2^(shift - 1), or 0 without a shift. The smallest possible shift is taken, and of
    its factors and offsets the ones next to the real line.

    Returns:
        None if no 16-bit factor does it with any shift up to 31, or a mantissa is beyond
        ``WANTED_MAX``. That is proved, not given up: every shift and every factor is covered.
    """
    wanted = np.array(mantissas(weight, bias, pixels), object)
    if max(abs(wanted)) > WANTED_MAX:
        return None
    low, high = exact_range(pixels)
    slope, start = weight * (high - low) / 255, weight * low + bias
    for shift in range(_MAX_SHIFT + 1):
        found = _at_shift(wanted.astype(np.int64), slope, start, shift)
        if found is not None:
            return (*found, shift)
    return None


def _at_shift(wanted: Ints, slope: Fraction, start: Fraction, shift: int) -> tuple[int, int] | None:
    one, half = 1 << shift, (1 << shift) >> 1
    least, most = _factors(wanted, one)
    least, most = max(least, -HOST_WEIGHT_MAX), min(most, HOST_WEIGHT_MAX)
    if least > most:
        return None
    factor = min(max(floor(slope * one + Fraction(1, 2)), least), most)
    pixel = np.arange(PIXELS, dtype=np.int64)
    lowest = int((wanted * one - factor * pixel).max()) - half
    highest = int(((wanted + 1) * one - 1 - factor * pixel).min()) - half
    return factor, min(max(floor(start * one + Fraction(1, 2)), lowest), highest)


def _factors(wanted: Ints, one: int) -> tuple[int, int]:
    """Return the smallest and largest factor for which an offset exists (empty if reversed).

    ``wanted[p] one <= factor p + c < (wanted[p] + 1) one`` for all p: each pair p < q bounds the
    factor from both sides, by its rise between the two strips.
    """
    first, second = np.triu_indices(PIXELS, 1)
    apart, rise = second - first, wanted[second] - wanted[first]
    least = -((-((rise - 1) * one + 1)) // apart)  # rounded up
    most = ((rise + 1) * one - 1) // apart
    return int(least.max()), int(most.min())


def file_numbers(given: list[int], pixels: PixelRange) -> tuple[int, int] | None:
    """Find weight and bias of an input block that give every pixel this mantissa, or None.

    The inverse of :func:`mantissas` for a known range. If several pairs do, all say the same; the
    one in the middle is taken, so that the choice depends on the mantissas and the range only.
    """
    low, high = exact_range(pixels)
    step = (high - low) / 255
    if step == 0:
        return (0, given[0]) if len(set(given)) == 1 else None
    least, most = _weights(given, step)
    if most - least > _MAX_CANDIDATES:  # nothing changes between the pixels: the bias says it all
        least, most = Fraction(0), Fraction(0)
    fitting = [
        pair
        for w in range(ceil(least), floor(most) + 1)
        if (pair := _with_bias(w, given, low, step)) is not None
    ]
    return fitting[len(fitting) // 2] if fitting else None


def _weights(given: list[int], step: Fraction) -> tuple[Fraction, Fraction]:
    """Bound the weight: between any two pixels the line rises less than their strips allow.

    The outermost pixels, a distance of 255 apart, bound it to about one; nothing more is needed,
    since every candidate is tried.
    """
    rise, run = given[-1] - given[0], abs(step) * (PIXELS - 1)
    sign = 1 if step > 0 else -1
    ends = sorted((sign * (rise - 1) / run, sign * (rise + 1) / run))
    return ends[0], ends[1]


def _with_bias(
    weight: int, given: list[int], low: Fraction, step: Fraction
) -> tuple[int, int] | None:
    """Return (weight, bias) if a whole bias makes this weight right for every pixel."""
    half = Fraction(1, 2)
    whole, (first, rise, one) = _over_one_denominator(
        -half - weight * low, -weight * step, Fraction(1)
    )
    # m - half - value <= bias < m + half - value for the mantissa m of each pixel.
    edges = [m * one + first + rise * pixel for pixel, m in enumerate(given)]
    lowest, highest = -(-max(edges) // whole), -(-(min(edges) + one) // whole) - 1
    return (weight, (lowest + highest) // 2) if lowest <= highest else None
