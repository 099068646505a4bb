"""Convolutions and dense layers of a ``.net`` file."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.formats.netx.rules import Ints, chip_weights, dense_loads_unchanged
from spikeproof.formats.netx.values import LayerValues
from spikeproof.ir.chip import ConvSynapse, DenseSynapse, Sign
from spikeproof.ir.shapes import Shape

Typed = tuple[NDArray[np.int16], Sign, int]


def read_conv(values: LayerValues, shape: Shape | None) -> ConvSynapse | None:
    """Return the convolution of an image of ``shape`` (None: not known); problems are noted."""
    weight = _weight(values, 4)
    stride, padding = values.pair("stride", 1), values.pair("padding", 0)
    dilation, groups = values.pair("dilation", 1), values.whole("groups", 1, 1 << 20, 1)
    if weight is None or groups is None:
        values.skip("inChannels", "outChannels", "kernelSize")
        return None
    _size(values, "inChannels", [weight.shape[1] * groups])
    _size(values, "outChannels", [weight.shape[0]])
    _size(values, "kernelSize", list(weight.shape[2:]))
    typed = _typed(values, weight)
    if shape is None or typed is None:
        return None
    if len(shape) != 3:
        values.refuse(f"needs an image (C, H, W), gets {shape}")
        return None
    image = (shape[0], shape[1], shape[2])
    return ConvSynapse(typed[0], image, stride, padding, dilation, groups, *typed[1:])


def read_dense(values: LayerValues) -> DenseSynapse | None:
    """Return the weights of a dense layer, (out, in); problems are noted."""
    weight = _weight(values, 2, _outputs(values))
    if weight is None:
        values.skip("inFeatures", "outFeatures")
        return None
    _size(values, "inFeatures", [weight.shape[1]])
    _size(values, "outFeatures", [weight.shape[0]])
    typed = _typed(values, weight)
    # lava-dl cannot load a dense layer of zeros; it says well enough what it does.
    changed = dense_loads_unchanged(weight) if typed and weight.any() else None
    if changed is not None:
        values.refuse(changed)
        return None
    return None if typed is None else DenseSynapse(*typed)


def _outputs(values: LayerValues) -> int:
    """Return how many neurons a dense layer says it has (0: it does not say)."""
    declared = values.array("shape")
    return 0 if declared is None else math.prod(declared.reshape(-1).tolist())


def _weight(values: LayerValues, dims: int, outputs: int = 0) -> Ints | None:
    """Return the weights with ``dims`` axes; more are dropped if they have length 1.

    Flat weights of a dense layer are cut into ``outputs`` rows, as lava-dl does.
    """
    values.fixed("delay", 0, "synaptic and axonal delays are not supported")
    complex_parts = {"weight/real", "weight/imag"} & set(values.raw.values)
    if complex_parts:
        values.refuse("complex weights are not supported")
        values.skip(*complex_parts)
        return None
    found = values.array("weight")
    if found is None:
        if "weight" not in values:
            values.refuse("has no weight")
        return None
    if dims == 2 and found.ndim == 1 and outputs > 0 and found.size % outputs == 0:
        return found.reshape(outputs, -1)
    if dims == 2 and found.ndim == 1:
        rows = f"{outputs} rows" if outputs > 0 else "rows without a shape"
        values.refuse(f"weight is flat: its {found.size:,} numbers cannot be cut into {rows}")
        return None
    if found.ndim < dims or math.prod(found.shape[dims:]) != 1:
        form = "(out, in/groups, kH, kW)" if dims == 4 else "(out, in)"
        values.refuse(f"weight has shape {found.shape}, expected {form}")
        return None
    return found.reshape(found.shape[:dims])


def _typed(values: LayerValues, weight: Ints) -> Typed | None:
    found = chip_weights(weight)
    if isinstance(found, str):
        values.refuse(found)
        return None
    return found


def _size(values: LayerValues, key: str, expected: list[Any]) -> None:
    """Refuse an entry that contradicts the weights; lava-dl itself does not read it."""
    found = values.array(key)
    if found is not None and sorted({*found.reshape(-1).tolist()}) != sorted({*expected}):
        values.refuse(f"{key} is {found.tolist()}, its weight says {expected}")
