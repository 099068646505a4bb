"""The input block of a ``.net`` file: pixels become biases, through weight and bias of the block.

The file does not say which numbers the pixels are. By default they are 0..255 as stored; for a
network trained on other values, ``pixel_range`` says what pixel 0 and pixel 255 stand for.
"""

from __future__ import annotations

import numpy as np

from spikeproof.formats.netx.pixels import WANTED_MAX, PixelRange, fixed_point, mantissas
from spikeproof.formats.netx.rules import DEFAULT_INPUT_WEIGHT
from spikeproof.formats.netx.values import LayerValues
from spikeproof.ir.chip import ConvSynapse, HostCurrent, Shape, Synapse

_MAX_WEIGHT = (1 << 15) - 1
_MAX_BIAS = 1 << 40


def read_input_shape(values: LayerValues) -> tuple[Shape | None, bool]:
    """Return (C, H, W) of an input layer, and whether the file calls it flat.

    A single number N is flat and gives (N, 1, 1): lava-dl feeds it to a dense layer as it is.
    """
    found = values.array("shape")
    if found is None:
        if "shape" not in values:
            values.refuse("has no shape")
        return None, False
    if found.ndim != 1 or len(found) not in (1, 3) or found.min() < 1:
        values.refuse(f"shape is {found.tolist()}, expected (C, H, W) or (N,)")
        return None, False
    sides = [int(n) for n in found]
    return (tuple(sides), False) if len(sides) == 3 else ((sides[0], 1, 1), True)


def read_host_current(
    values: LayerValues, shape: Shape | None, pixels: PixelRange
) -> tuple[Synapse, HostCurrent] | None:
    """Return what the host writes as bias: weight times pixel value plus bias, rounded half up."""
    weight = values.whole("weight", -_MAX_WEIGHT, _MAX_WEIGHT, DEFAULT_INPUT_WEIGHT)
    bias = values.whole("bias", -_MAX_BIAS, _MAX_BIAS, 0)
    if weight is None or bias is None or shape is None:
        return None
    found = fixed_point(weight, bias, pixels)
    if found is None:
        values.refuse(_no_fixed_point(weight, bias, pixels))
        return None
    return host_current(found, shape)


def host_current(found: tuple[int, int, int], shape: Shape) -> tuple[Synapse, HostCurrent]:
    """Return one map, (factor, offset, shift), for every pixel of an image (C, H, W)."""
    factor, offset, shift = found
    kernel = np.full((shape[0], 1, 1, 1), factor, np.int16)
    synapse = ConvSynapse(kernel, (shape[0], shape[1], shape[2]), groups=shape[0])
    return synapse, HostCurrent(np.full((1, 1, 1), offset, np.int64), shift)


def _no_fixed_point(weight: int, bias: int, pixels: PixelRange) -> str:
    low, high = pixels
    map_text = f"{weight} times a pixel in {low:g}..{high:g} plus {bias}"
    largest = max(map(abs, mantissas(weight, bias, pixels)))
    if largest > WANTED_MAX:
        return f"{map_text} reaches {largest:,}; a bias of the chip holds 4,095"
    return (
        f"{map_text}: no 16-bit factor with an offset and a shift rounds all 256 pixels alike "
        "(all were tried); another --pixel-range, or --skip-input, avoids it"
    )
