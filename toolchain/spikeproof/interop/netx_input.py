"""The input block of a ``.net`` file: pixels become biases, through weight and bias of the block.

The file does not say which numbers the pixels are. By default they are 0..255 as stored; for a
network trained on other values, ``pixel_range`` says what pixel 0 and pixel 255 stand for.
"""

from __future__ import annotations

import math

import numpy as np

from spikeproof.interop.netx_rules import DEFAULT_INPUT_WEIGHT
from spikeproof.interop.netx_values import LayerValues
from spikeproof.ir.chip import ConvSynapse, HostCurrent
from spikeproof.ir.shapes import Shape

PixelRange = tuple[float, float]
RAW_PIXELS: PixelRange = (0.0, 255.0)
_MAX_WEIGHT = (1 << 15) - 1
_MAX_SHIFT = 16


def read_input_shape(values: LayerValues) -> Shape | None:
    """Return (C, H, W) of an input layer; a single number N gives (N, 1, 1)."""
    found = values.array("shape")
    if found is None:
        if "shape" not in values:
            values.refuse("has no shape")
        return None
    if found.ndim != 1 or len(found) not in (1, 3) or found.min() < 1:
        values.refuse(f"shape is {found.tolist()}, expected (C, H, W) or (N,)")
        return None
    sides = [int(n) for n in found]
    return tuple(sides) if len(sides) == 3 else (sides[0], 1, 1)


def read_host_current(
    values: LayerValues, shape: Shape | None, pixels: PixelRange
) -> HostCurrent | None:
    """Return what the host writes as bias: round(weight * pixel value + bias), per pixel."""
    weight = values.whole("weight", -_MAX_WEIGHT, _MAX_WEIGHT, DEFAULT_INPUT_WEIGHT)
    bias = values.whole("bias", -(1 << 40), 1 << 40, 0)
    if weight is None or bias is None or shape is None:
        return None
    low, high = pixels
    found = _fixed_point(weight * (high - low) / 255, weight * low + bias)
    if found is None:
        values.refuse(
            f"{weight} times a pixel in {low:g}..{high:g} plus {bias} cannot be written exactly "
            "in 16-bit integers"
        )
        return None
    factor, offset, shift = found
    kernel = np.full((shape[0], 1, 1, 1), factor, np.int16)
    inner = ConvSynapse(kernel, (shape[0], shape[1], shape[2]), groups=shape[0])
    return HostCurrent(inner, np.full((1, 1, 1), offset, np.int64), shift)


def _fixed_point(slope: float, intercept: float) -> tuple[int, int, int] | None:
    """Return (factor, offset, shift) that give every pixel the mantissa of slope and intercept."""
    pixel = np.arange(256)
    wanted = np.floor(slope * pixel + intercept + 0.5)
    for shift in range(_MAX_SHIFT + 1):
        factor, offset = (math.floor(x * (1 << shift) + 0.5) for x in (slope, intercept))
        half = (1 << shift) >> 1
        if abs(factor) > _MAX_WEIGHT:
            return None
        if ((factor * pixel + offset + half) // (1 << shift) == wanted).all():
            return factor, offset, shift
    return None
