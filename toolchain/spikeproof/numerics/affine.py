"""Apply and compose convolutions and linear maps on plain arrays.

Composition rests on one observation: input scaling, batch norm (frozen) and average pooling are
depthwise convolutions, so a chain of them is a single convolution if, and only if, zero padding
in the middle of the chain agrees with zero padding at its start (:func:`padding_problem`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.ir import chip
from spikeproof.ir.floats import Conv2d, Linear
from spikeproof.ir.shapes import output_shape
from spikeproof.ir.windows import Shape
from spikeproof.numerics.correlation import unfold
from spikeproof.text import counted

Array = NDArray[Any]
Affine = Conv2d | Linear


@dataclass(frozen=True, eq=False)
class Elementwise:
    """y = weight x + bias, number by number, on the input flattened in (C, H, W) order; all (N,).

    As a matrix it would hold N x N numbers; it becomes one only where nothing else will do.
    """

    name: str
    weight: Array
    bias: Array | None


Step = Affine | Elementwise
"""What a way may consist of before it ends at a neuron."""


@dataclass(frozen=True, eq=False)
class Parallel:
    """Several maps whose results are added up, as one whose input is that of all, flat, in a row.

    Its weight is (out, K): a row has the kernels of all maps for one output, one after another. The
    first map has the bias of all.
    """

    name: str
    parts: tuple[Affine, ...]
    shapes: tuple[Shape, ...]
    """Of what each map reads."""

    @cached_property
    def weight(self) -> Array:
        """Return all weights; those of a map with groups with the zeros between them."""
        return np.concatenate([_kernel_rows(part) for part in self.parts], axis=1)

    @property
    def bias(self) -> Array | None:
        """Return the bias, (O,) or (O, H, W)."""
        return self.parts[0].bias

    @property
    def grouped(self) -> bool:
        """Tell whether some weights stand for connections that are not there."""
        return any(getattr(part, "groups", 1) > 1 for part in self.parts)

    @property
    def widths(self) -> tuple[int, ...]:
        """Return how many columns of the weight belong to each map."""
        return tuple(_kernel_rows(part).shape[1] for part in self.parts)

    def split(self, rows: Array) -> list[Array]:
        """Return numbers shaped as the weight in the shape of each map's own."""
        ends = np.cumsum(self.widths)[:-1]
        pieces = np.split(rows, ends, axis=1)
        return [_own_kernel(part, one) for part, one in zip(self.parts, pieces, strict=True)]


Map = Conv2d | Linear | Parallel | chip.Synapse


@output_shape.register
def _(node: Parallel, shape: Shape) -> Shape:
    return output_shape(node.parts[0], node.shapes[0])


@output_shape.register
def _(node: Elementwise, shape: Shape) -> Shape:
    return (prod(shape),)


def _kernel_rows(part: Affine) -> Array:
    kernel = dense_kernel(part) if isinstance(part, Conv2d) else part.weight
    return kernel.reshape(len(kernel), -1)


def _own_kernel(part: Affine, rows: Array) -> Array:
    """Return rows with zeros between the groups in the shape of a kernel with groups."""
    if not isinstance(part, Conv2d) or part.groups == 1:
        return rows.reshape(part.weight.shape)
    out, per_group, k_h, k_w = part.weight.shape
    full = rows.reshape(out, -1, k_h, k_w)
    group = np.arange(out) // (out // part.groups)
    channel = group[:, None] * per_group + np.arange(per_group)
    return np.take_along_axis(full, channel[:, :, None, None], axis=1)


def columns(node: Map, x: Array) -> Array:
    """Unfold inputs (N, *shape) into rows: (groups, N * positions, fan-in)."""
    if isinstance(node, Parallel):
        ends = np.cumsum([prod(shape) for shape in node.shapes])[:-1]
        pieces = np.split(x.reshape(len(x), -1), ends, axis=1)
        maps = [
            replace(part, groups=1, weight=dense_kernel(part)) if isinstance(part, Conv2d) else part
            for part in node.parts
        ]
        each = zip(maps, pieces, node.shapes, strict=True)
        return np.concatenate(
            [columns(part, one.reshape(len(x), *shape)) for part, one, shape in each], axis=2
        )
    if not isinstance(node, Conv2d | chip.ConvSynapse):
        return x.reshape(1, len(x), -1)
    kernel = (node.weight.shape[2], node.weight.shape[3])
    rows = unfold(x, kernel, node.stride, node.padding, node.dilation, node.groups)
    return rows.reshape(node.groups, -1, rows.shape[-1])


def product(node: Map, unfolded: Array, weight: Array) -> Array:
    """Multiply :func:`columns` with kernels of the node's shape: (N * positions, out)."""
    kernels = weight.reshape(unfolded.shape[0], -1, unfolded.shape[2])
    if len(kernels) == 1:
        return np.asarray(unfolded[0] @ kernels[0].T)
    return np.concatenate([u @ k.T for u, k in zip(unfolded, kernels, strict=True)], axis=1)


def to_neurons(rows: Array, shape: Shape) -> Array:
    """Arrange (N * positions, out) as (N, *shape) with shape (C, H, W) or (out,)."""
    return np.moveaxis(rows.reshape(-1, *shape[1:], shape[0]), -1, 1)


def apply(node: Map, x: Array, weight: Array | None = None) -> Array:
    """Return W x without the bias for inputs (N, *shape); ``weight`` replaces the node's."""
    kernels, shape = node.weight if weight is None else weight, output_shape(node, x.shape[1:])
    if isinstance(node, chip.Synapse) and not isinstance(node, chip.ConvSynapse):
        matrix = node.changed(weight=kernels).matrix()
        return np.asarray(x.reshape(len(x), -1) @ matrix.T).reshape(len(x), *shape)
    return to_neurons(product(node, columns(node, x), kernels), shape)


def bias_map(bias: Array, shape: Shape) -> Array:
    """Broadcast a bias of (O,) or (O, H, W) to the neurons' shape."""
    per_channel = bias.reshape(-1, *(1,) * (len(shape) - 1)) if bias.ndim == 1 else bias
    return np.broadcast_to(per_channel, shape)


def padding_problem(first: Step, second: Step, shape: Shape) -> str | None:
    """Say why two maps are not one convolution, or None if they are.

    Padding of the second map puts zeros where the first one, continued past the border, would
    still see part of its input: overlapping windows, or rows that it drops at the border.
    """
    if not (isinstance(first, Conv2d) and isinstance(second, Conv2d)):
        return None
    middle = output_shape(first, shape)
    final = output_shape(second, middle)
    for axis in (0, 1):
        reach = (first.weight.shape[2 + axis] - 1) * first.dilation[axis] + 1
        span = (second.weight.shape[2 + axis] - 1) * second.dilation[axis]
        step, pad = first.stride[axis], second.padding[axis]
        if pad and reach > step + first.padding[axis]:
            return "its windows overlap into the zero padding of the next convolution"
        last = (final[1 + axis] - 1) * second.stride[axis] + span - pad
        left_over = shape[1 + axis] - (middle[1 + axis] * step - first.padding[axis])
        if last >= middle[1 + axis] and left_over > 0:
            return (
                f"it drops {counted(left_over, 'row')} at the border that the next padding reaches"
            )
    return None


def compose(first: Step, second: Step, shape: Shape) -> Step:
    """Return the single map equal to ``second(first(x))`` for inputs of ``shape``.

    The caller has made sure that :func:`padding_problem` is None. The result carries the name
    of the second map and float64 arrays.
    """
    if isinstance(second, Elementwise):
        return _scale_rows(first, second, shape)
    middle = output_shape(first, shape)
    bias = _compose_bias(first, second, middle)
    if isinstance(second, Linear):
        if isinstance(first, Linear):
            return Linear(second.name, second.weight @ first.weight, bias)
        if isinstance(first, Elementwise):
            return Linear(second.name, second.weight * first.weight, bias)
        return Linear(second.name, _pull_back(first, second.weight, shape, middle), bias)
    if not isinstance(first, Conv2d):
        raise TypeError("a convolution cannot follow a map of flat images")
    return _compose_convs(first, second, bias)


def _scale_rows(first: Step, second: Elementwise, shape: Shape) -> Step:
    if isinstance(first, Conv2d):
        first = _per_place(first, shape) or as_matrix(first, shape)
    bias = second.bias
    if first.bias is not None:
        moved = second.weight * first.bias
        bias = moved if bias is None else moved + bias
    factor = second.weight if isinstance(first, Elementwise) else second.weight[:, None]
    return replace(first, name=second.name, weight=factor * first.weight, bias=bias)


def _per_place(node: Conv2d, shape: Shape) -> Elementwise | None:
    """Return a map that only scales and shifts channels as one of flat numbers, else None."""
    plain = node.weight.shape[2:] == (1, 1) and _is_depthwise(node) and len(node.weight) == shape[0]
    if not plain or output_shape(node, shape) != tuple(shape):
        return None
    bias = None if node.bias is None else bias_map(node.bias, shape).reshape(-1)
    return Elementwise(node.name, np.repeat(node.weight.reshape(-1), prod(shape[1:])), bias)


def as_matrix(node: Step, shape: Shape) -> Linear:
    """Write a map of inputs of ``shape`` as a matrix (outputs, inputs), flat in C-order."""
    if isinstance(node, Linear):
        return node
    if isinstance(node, Elementwise):
        return Linear(node.name, np.diag(node.weight), node.bias)
    middle = output_shape(node, shape)
    places = prod(middle[1:])
    weight = np.empty((prod(middle), prod(shape)))
    for start in range(0, len(weight), places):  # a channel at a time: no second matrix is held
        rows = np.eye(places, len(weight), start)
        weight[start : start + places] = _pull_back(node, rows, shape, middle)
    bias = None if node.bias is None else bias_map(node.bias, middle).reshape(-1)
    return Linear(node.name, weight, bias)


def add_maps(first: Step, second: Step, shape: Shape) -> Step | None:
    """Return the map equal to ``first(x) + second(x)`` for inputs of ``shape``.

    None where the sum has not the form of both: convolutions of different strides, dilations or
    groups, or whose kernels cannot be put on one grid.
    """
    if output_shape(first, shape) != output_shape(second, shape):
        return None  # images that are flat by now
    if isinstance(first, Conv2d) and isinstance(second, Conv2d):
        return _add_convs(first, second, shape)
    if isinstance(first, Conv2d) or isinstance(second, Conv2d):
        return None
    bias = _add_biases(first, second, shape)
    if type(first) is type(second):
        return replace(first, weight=first.weight + second.weight, bias=bias)
    matrix, diagonal = (first, second) if isinstance(first, Linear) else (second, first)
    weight = np.array(matrix.weight, np.float64)
    weight[np.diag_indices(len(weight))] += diagonal.weight
    return Linear(first.name, weight, bias)


def _add_convs(first: Conv2d, second: Conv2d, shape: Shape) -> Conv2d | None:
    form = (first.stride, first.dilation)
    if form != (second.stride, second.dilation):
        return None
    groups = first.groups
    kernels = [first.weight, second.weight]
    if first.groups != second.groups:
        kernels, groups = [dense_kernel(first), dense_kernel(second)], 1
    padding = tuple(map(max, first.padding, second.padding))
    placed = []
    for kernel, one in zip(kernels, (first, second), strict=True):
        before = [(p - q) for p, q in zip(padding, one.padding, strict=True)]
        if any(b % d for b, d in zip(before, one.dilation, strict=True)):
            return None
        placed.append((kernel, [b // d for b, d in zip(before, one.dilation, strict=True)]))
    extent = [max(b[axis] + k.shape[2 + axis] for k, b in placed) for axis in (0, 1)]
    total = np.zeros((*kernels[0].shape[:2], *extent))
    for kernel, (top, left) in placed:
        total[:, :, top : top + kernel.shape[2], left : left + kernel.shape[3]] += kernel
    bias = _add_biases(first, second, shape)
    found = Conv2d(
        first.name, total, bias, first.stride, (padding[0], padding[1]), first.dilation, groups
    )
    return found if output_shape(found, shape) == output_shape(first, shape) else None


def _add_biases(first: Step, second: Step, shape: Shape) -> Array | None:
    if first.bias is None or second.bias is None:
        return second.bias if first.bias is None else first.bias
    if first.bias.shape == second.bias.shape:
        return np.asarray(first.bias + second.bias)
    return np.asarray(
        bias_map(first.bias, output_shape(first, shape))
        + bias_map(second.bias, output_shape(second, shape))
    )


def _compose_bias(first: Step, second: Affine, middle: Shape) -> Array | None:
    if first.bias is None:
        return second.bias
    flat = isinstance(second, Conv2d) and not any(second.padding) and first.bias.ndim == 1
    field = first.bias.reshape(-1, 1, 1) if flat else bias_map(first.bias, middle)
    if flat and isinstance(second, Conv2d):  # the same sum everywhere: keep one bias per channel
        summed = second.weight.sum(axis=(2, 3))[:, :, None, None]
        moved = apply(Conv2d("sum", summed, None, groups=second.groups), field[None]).reshape(-1)
    else:
        moved = apply(second, field[None])[0]
    if second.bias is None:
        return np.asarray(moved)
    return np.asarray(moved + bias_map(second.bias, moved.shape))


def _pull_back(first: Conv2d, weight: Array, shape: Shape, middle: Shape) -> Array:
    """Carry linear weights on a convolution's output back to its input (the adjoint)."""
    depthwise = _is_depthwise(first)
    kernel = first.weight if depthwise else dense_kernel(first)
    out = weight.reshape(-1, *middle)
    (ph, pw), (dh, dw), (sh, sw) = first.padding, first.dilation, first.stride
    height, width = middle[1:]
    pulled = np.zeros((len(out), shape[0], shape[1] + 2 * ph, shape[2] + 2 * pw))
    for i in range(kernel.shape[2]):
        for j in range(kernel.shape[3]):
            rows = slice(i * dh, i * dh + (height - 1) * sh + 1, sh)
            cols = slice(j * dw, j * dw + (width - 1) * sw + 1, sw)
            if depthwise:
                pulled[:, :, rows, cols] += out * kernel[:, :1, i, j, None]
                continue
            tap = np.tensordot(out, kernel[:, :, i, j], axes=(1, 0))
            pulled[:, :, rows, cols] += np.moveaxis(tap, -1, 1)
    inner = pulled[:, :, ph : ph + shape[1], pw : pw + shape[2]]
    return inner.reshape(len(out), -1)


def dense_kernel(node: Conv2d) -> Array:
    """Write a grouped kernel as an ungrouped one (zeros between the groups)."""
    if node.groups == 1:
        return node.weight
    out, per_group, kh, kw = node.weight.shape
    full = np.zeros((out, per_group * node.groups, kh, kw), node.weight.dtype)
    for o in range(out):
        group = o // (out // node.groups)
        full[o, group * per_group : (group + 1) * per_group] = node.weight[o]
    return full


def _is_depthwise(node: Conv2d) -> bool:
    return node.groups == len(node.weight) and node.weight.shape[1] == 1


def _compose_convs(first: Conv2d, second: Conv2d, bias: Array | None) -> Conv2d:
    """Place the first kernel, weighted, at every tap of the second one."""
    w1, w2, groups = first.weight, second.weight, second.groups
    if _is_depthwise(second):
        groups = first.groups
    elif _is_depthwise(first):
        per_group, size = w2.shape[1], len(w2) // groups
        channel = np.arange(len(w2))[:, None] // size * per_group + np.arange(per_group)
        w1 = w1[channel, 0]
    else:
        w1, w2, groups = dense_kernel(first), dense_kernel(second), 1
    point = w2.shape[2:] == (1, 1)
    keep = point or w1.shape[2:] == (1, 1)
    dilation = (first.dilation if point else second.dilation) if keep else (1, 1)
    if not keep:
        w1, w2 = _dilate(w1, first.dilation), _dilate(w2, second.dilation)
    return Conv2d(
        second.name,
        _merge_taps(w1, w2, first.stride, second, first),
        bias,
        stride=(first.stride[0] * second.stride[0], first.stride[1] * second.stride[1]),
        padding=(
            first.padding[0] + first.stride[0] * second.padding[0],
            first.padding[1] + first.stride[1] * second.padding[1],
        ),
        dilation=dilation,
        groups=groups,
    )


def _merge_taps(
    w1: Array, w2: Array, stride: tuple[int, int], second: Conv2d, first: Conv2d
) -> Array:
    (sh, sw), (h1, v1), (h2, v2) = stride, w1.shape[2:], w2.shape[2:]
    per_tap = _is_depthwise(second) or _is_depthwise(first)
    merged = np.zeros((len(w2), w1.shape[1], h1 + sh * (h2 - 1), v1 + sw * (v2 - 1)))
    for i in range(h2):
        for j in range(v2):
            tap = w2[:, :, i, j]
            part = tap[:, :, None, None] * w1 if per_tap else np.tensordot(tap, w1, axes=(1, 0))
            merged[:, :, sh * i : sh * i + h1, sw * j : sw * j + v1] += part
    return merged


def _dilate(weight: Array, dilation: tuple[int, int]) -> Array:
    spread = [(n - 1) * d + 1 for n, d in zip(weight.shape[2:], dilation, strict=True)]
    full = np.zeros((*weight.shape[:2], *spread))
    full[:, :, :: dilation[0], :: dilation[1]] = weight
    return full
