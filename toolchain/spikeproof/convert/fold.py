"""Fold everything that is linear into one convolution or one linear layer per neuron layer.

Input scaling and batch norm act per channel, pooling averages: each is a depthwise convolution,
so a whole chain between two neuron layers composes into one map, exactly over the reals. Where
zero padding meets a shifted input the bias becomes one value per neuron, (O, H, W).
"""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.convert.base import Condition, Pass
from spikeproof.convert.conversion import Relation
from spikeproof.errors import GraphError, UnsupportedError, list_problems
from spikeproof.ir.check_float import check_float, magnitude_problems
from spikeproof.ir.floats import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    FloatNetwork,
    FloatNode,
    InputScale,
    Lif,
    Linear,
    Readout,
)
from spikeproof.ir.shapes import Shape, output_shape
from spikeproof.numerics.affine import Affine, compose, padding_problem


@singledispatch
def as_affine(node: Any, shape: Shape) -> Affine | None:
    """Write a node as one float64 convolution or linear layer; None if it changes no number."""
    raise TypeError(f"{type(node).__name__} is not a linear node")


@as_affine.register(Conv2d)
@as_affine.register(Linear)
def _(node: Affine, shape: Shape) -> Affine:
    bias = None if node.bias is None else np.asarray(node.bias, np.float64)
    return replace(node, weight=np.asarray(node.weight, np.float64), bias=bias)


@as_affine.register
def _(node: Flatten, shape: Shape) -> None:
    return None


@as_affine.register
def _(node: InputScale, shape: Shape) -> Affine:
    std = np.asarray(node.std, np.float64)
    return _per_channel(node.name, 1 / std, -np.asarray(node.mean, np.float64) / std, shape)


@as_affine.register
def _(node: BatchNorm2d, shape: Shape) -> Affine:
    gamma, beta, mean, var = (
        np.asarray(a, np.float64) for a in (node.gamma, node.beta, node.mean, node.var)
    )
    factor = gamma / np.sqrt(var + node.eps)
    return _per_channel(node.name, factor, beta - mean * factor, shape)


@as_affine.register
def _(node: AvgPool2d, shape: Shape) -> Affine:
    kernel = np.full((shape[0], 1, *node.kernel), 1 / (node.kernel[0] * node.kernel[1]))
    return Conv2d(node.name, kernel, None, stride=node.stride, groups=shape[0])


def _per_channel(
    name: str, factor: NDArray[np.float64], shift: NDArray[np.float64], shape: Shape
) -> Affine:
    if len(shape) == 1:
        return Linear(name, np.diag(factor), shift)
    return Conv2d(name, factor[:, None, None, None], shift, groups=shape[0])


def fold(network: FloatNetwork) -> FloatNetwork:
    """Return the same function with only Conv2d / Linear, Lif and Readout nodes, in float64.

    Raises:
        UnsupportedError: two maps are not one because of padding, or their product is out of
            proportion (see :mod:`mappable`).
    """
    nodes: list[FloatNode] = []
    start = shape = tuple(network.input_shape)
    held: Affine | None = None
    name = ""
    for node in network.nodes:
        if isinstance(node, Lif | Readout):
            if held is None:
                raise UnsupportedError("no linear layer before it", where=node.name)
            nodes += [replace(held, name=name), node]
            held, name, start = None, "", shape
            continue
        held = _merge(held, as_affine(node, shape), start)
        if isinstance(node, Conv2d | Linear) or not name:
            name = node.name
        shape = output_shape(node, shape)
    return replace(network, nodes=tuple(nodes))


def _merge(held: Affine | None, new: Affine | None, start: Shape) -> Affine | None:
    if held is None or new is None:
        return _in_proportion(new) if held is None else held
    reason = padding_problem(held, new, start)
    if reason is not None:
        raise UnsupportedError(f"cannot be folded into {new.name}: {reason}", where=held.name)
    return _in_proportion(compose(held, new, start))


def _in_proportion(held: Affine | None) -> Affine | None:
    problems = [] if held is None else product_problems(held)
    if held is not None and problems:
        raise UnsupportedError(list_problems(problems), where=held.name)
    return held


def product_problems(held: Affine) -> list[str]:
    """List why the numbers of composed maps are out of proportion (empty: they are not)."""
    found = magnitude_problems("weight", held.weight)
    if held.bias is not None:
        found += magnitude_problems("bias", held.bias)
    return [f"folded with its neighbours, {p}" for p in found]


def _graph_problems(network: FloatNetwork) -> list[str]:
    try:
        check_float(network)
    except GraphError as error:
        return [error.what]
    return []


def _pattern_problems(network: FloatNetwork) -> list[str]:
    problems = []
    for i, node in enumerate(network.nodes):
        if not isinstance(node, Lif | Readout if i % 2 else Conv2d | Linear):
            problems.append(f"{node.name}: {type(node).__name__} at place {i}")
        if isinstance(node, Conv2d | Linear) and node.weight.dtype != np.float64:
            problems.append(f"{node.name}: weights are {node.weight.dtype}")
    return problems


CONSISTENT = Condition("a consistent network", _graph_problems)
ALTERNATING = Condition("one float64 linear map before each neuron layer", _pattern_problems)

FOLD: Pass[FloatNetwork, FloatNetwork] = Pass(
    "fold", Relation("exact"), fold, requires=(CONSISTENT,), ensures=(CONSISTENT, ALTERNATING)
)
