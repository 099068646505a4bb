"""Shapes that follow from weights and their input, the same in both dialects."""

from __future__ import annotations

from math import prod
from typing import Any

from spikeproof.errors import GraphError
from spikeproof.text import counted

Shape = tuple[int, ...]


def window_outputs(
    size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Shape:
    """Return the window positions along each axis; zero or less if the kernel does not fit."""
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )


def dense_output(weight: Shape, shape: Shape) -> Shape:
    """Return the shape that a matrix (out, in) makes of an input.

    Raises:
        GraphError: the input does not fit, with both shapes.
    """
    out, width = _dims(weight, 2)
    if prod(shape) != width:
        raise GraphError(f"weight {weight} expects {counted(width, 'input')}, gets {shape}")
    return (out,)


def conv_output(conv: Any, shape: Shape) -> Shape:
    """Return the shape that a correlation of either dialect makes of an image (C, H, W).

    Raises:
        GraphError: the image does not fit, or the window is none.
    """
    out, per_group, *kernel = _dims(conv.weight.shape, 4)
    if min(*conv.stride, *conv.dilation, conv.groups) < 1 or min(conv.padding) < 0:
        raise GraphError("stride, dilation and groups must be >= 1, padding >= 0")
    if len(shape) != 3 or shape[0] != per_group * conv.groups or out % conv.groups:
        raise GraphError(
            f"weight {conv.weight.shape} with {counted(conv.groups, 'group')} expects "
            f"{counted(per_group * conv.groups, 'input channel')}, gets {shape}"
        )
    return windowed(out, shape, tuple(kernel), conv.stride, conv.padding, conv.dilation)


def windowed(
    channels: int, shape: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Shape:
    """Return (channels, H, W) after a window went over an image, or raise GraphError."""
    spatial = window_outputs(shape[1:], kernel, stride, padding, dilation)
    if min(spatial) < 1:
        raise GraphError(f"kernel {kernel} does not fit an input of {shape}")
    return (channels, *spatial)


def _dims(shape: Shape, count: int) -> Shape:
    if len(shape) != count:
        raise GraphError(f"weight has shape {shape}, expected {count} dimensions")
    return shape
