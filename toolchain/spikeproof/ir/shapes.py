"""Shapes that follow from a node and its input."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from spikeproof.errors import GraphError
from spikeproof.ir import chip, floats

Shape = tuple[int, ...]


def window_outputs(
    size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Shape:
    """Number of window positions along each axis; zero or less if the kernel does not fit."""
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )


@singledispatch
def output_shape(node: object, shape: Shape) -> Shape:
    """Return the shape a node produces from an input of ``shape``.

    Raises:
        GraphError: the input does not fit the node, with both shapes.
    """
    return shape


@output_shape.register(floats.Flatten)
def _flatten(node: floats.Flatten, shape: Shape) -> Shape:
    return (int(np.prod(shape)),)


@output_shape.register(floats.Linear)
@output_shape.register(chip.DenseSynapse)
def _dense(node: floats.Linear | chip.DenseSynapse, shape: Shape) -> Shape:
    out, width = _dims(node.weight.shape, 2)
    if int(np.prod(shape)) != width:
        raise GraphError(f"weight {node.weight.shape} expects {width} inputs, gets {shape}")
    return (out,)


@output_shape.register(floats.Conv2d)
@output_shape.register(chip.ConvSynapse)
def _conv(node: floats.Conv2d | chip.ConvSynapse, shape: Shape) -> Shape:
    out, per_group, *kernel = _dims(node.weight.shape, 4)
    if min(*node.stride, *node.dilation, node.groups) < 1 or min(node.padding) < 0:
        raise GraphError("stride, dilation and groups must be >= 1, padding >= 0")
    if len(shape) != 3 or shape[0] != per_group * node.groups or out % node.groups:
        raise GraphError(
            f"weight {node.weight.shape} with {node.groups} group(s) expects "
            f"{per_group * node.groups} input channels, gets {shape}"
        )
    return _windowed(out, shape, tuple(kernel), node.stride, node.padding, node.dilation)


@output_shape.register(floats.AvgPool2d)
def _pool(node: floats.AvgPool2d, shape: Shape) -> Shape:
    if len(shape) != 3 or min(*node.kernel, *node.stride) < 1:
        raise GraphError(f"pooling {node.kernel} needs an image (C, H, W), gets {shape}")
    return _windowed(shape[0], shape, node.kernel, node.stride, (0, 0), (1, 1))


@output_shape.register(chip.HostCurrent)
def _host(node: chip.HostCurrent, shape: Shape) -> Shape:
    return output_shape(node.synapse, shape)


def _windowed(
    channels: int, shape: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Shape:
    spatial = window_outputs(shape[1:], kernel, stride, padding, dilation)
    if min(spatial) < 1:
        raise GraphError(f"kernel {kernel} does not fit an input of {shape}")
    return (channels, *spatial)


def _dims(shape: Shape, count: int) -> Shape:
    if len(shape) != count:
        raise GraphError(f"weight has shape {shape}, expected {count} dimensions")
    return shape
