"""Weights of a twin: add up what arrives, and bring gradients back; channels lie side by side."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.compiled import gradients as kernels
from spikeproof.engines.compiled.reals import REALS_PER_TAG, tag_of_reals

Array = NDArray[Any]
Pair = tuple[int, int]
Shape = tuple[int, ...]
_CHUNK_VALUES = 1 << 16
"""Values of the windows that are multiplied at a time: they stay in a core's cache."""


class Map(Protocol):
    """Weights from a source of I values to O neurons, both flat."""

    def add(self, source: Array, out: Array) -> None:
        """Add W x to ``out`` (M, O); source (M, I)."""
        ...

    def back(self, gradient: Array) -> Array:
        """Return the gradient (M, I) of what was multiplied, from that of the sums, (M, O)."""
        ...


@dataclass(frozen=True, eq=False)
class DenseMap:
    """weight: (I, O), padded (``padded``); back_weight: (I, O), in the type of gradients."""

    weight: Array
    back_weight: Array

    def add(self, source: Array, out: Array) -> None:
        """Add W x to ``out``."""
        kernels.dense(source, self.weight, _tag(self.weight), out)

    def back(self, gradient: Array) -> Array:
        """Return the gradient of the source."""
        return np.asarray(gradient @ self.back_weight.T)


@dataclass(frozen=True, eq=False)
class ConvMap:
    """weight: (kH, kW, I, O), padded; back_weight: (O, kH kW I); shapes are (H, W, C)."""

    weight: Array
    back_weight: Array
    source_shape: Shape
    shape: Shape
    stride: Pair
    padding: Pair
    dilation: Pair

    def add(self, source: Array, out: Array) -> None:
        """Add the cross-correlation to ``out``."""
        images, maps = (-1, *self.source_shape), (-1, *self.shape)
        form = (self.stride, self.padding, self.dilation)
        tag = _tag(self.weight)
        kernels.convolve(source.reshape(images), self.weight, *form, tag, out.reshape(maps))

    def back(self, gradient: Array) -> Array:
        """Return the gradient of the source: products of windows, added back to their places."""
        height, width, channels = self.shape
        taps = self.back_weight.shape[1]
        found = np.zeros((len(gradient), *self.source_shape), gradient.dtype)
        step = max(1, _CHUNK_VALUES // (height * width * taps))
        kernel = (self.weight.shape[0], self.weight.shape[1])
        for start in range(0, len(gradient), step):
            part = gradient[start : start + step].reshape(-1, channels)
            columns = (part @ self.back_weight).reshape(-1, height, width, taps)
            form = (kernel, self.stride, self.padding, self.dilation)
            kernels.scatter(columns, *form, found[start : start + step])
        return found.reshape(len(gradient), -1)


def dense_map(matrix: Array, source: Shape, target: Shape, kind: Any, back: Any) -> DenseMap:
    """Make a map of a matrix (O, I) on values in C-order; ``source``, ``target``: their shapes."""
    placed = matrix[places(target)][:, places(source)]
    return DenseMap(_padded(placed.T.astype(kind)), placed.T.astype(back))


def conv_map(
    weight: Array,
    source: Shape,
    target: Shape,
    form: tuple[Pair, Pair, Pair],
    kind: Any,
    back: Any,
) -> ConvMap:
    """Make a map of kernels (O, I, kH, kW) without groups; ``form``: stride, padding, dilation."""
    own = _padded(weight.transpose(2, 3, 1, 0).astype(kind))
    rows = np.ascontiguousarray(weight.transpose(0, 2, 3, 1).reshape(len(weight), -1).astype(back))
    pairs: list[Any] = [tuple(map(int, pair)) for pair in form]
    return ConvMap(own, rows, channels_last(source), channels_last(target), *pairs)


def _padded(weight: Array) -> Array:
    """Return weights whose last axis is filled up with zeros to what kernels add at a time."""
    unit = REALS_PER_TAG * len(_tag(weight))
    ends = [(0, 0)] * (weight.ndim - 1) + [(0, -weight.shape[-1] % unit)]
    return np.ascontiguousarray(np.pad(weight, ends))


def _tag(weight: Array) -> tuple[int, ...]:
    return tag_of_reals(weight.shape[-1])


def channels_last(shape: Shape) -> Shape:
    """Return (H, W, C) of (C, H, W); a flat shape stays."""
    return (*shape[1:], shape[0]) if len(shape) == 3 else tuple(shape)


def places(shape: Shape) -> NDArray[np.int64]:
    """Return where each value of a twin stands in C-order of ``shape``."""
    order = np.arange(prod(shape)).reshape(shape)
    return (order.transpose(1, 2, 0) if len(shape) == 3 else order).ravel()


def spread(values: Any, shape: Shape) -> Array:
    """Return one value per neuron in a twin's order, of what broadcasts to ``shape``."""
    return np.broadcast_to(np.asarray(values), shape).ravel()[places(shape)]
