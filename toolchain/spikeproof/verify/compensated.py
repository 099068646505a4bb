"""Recompute what compensated rounding had to round, weight by weight (check V2).

The rule: weights are rounded in order of the inputs, and the error of each is spread over the
inputs behind it, and last over the bias, so that the expected square of the membrane's error stays
least. With H the second moments of the leaky sums of the inputs (a constant input 1 stands for the
bias; 5 % of the mean power is added to the diagonal) and A the upper factor of H = A A^T, each
rounding can be judged by itself, given the ones before it: ``(S W - Q) A / diag(A)`` is what it
lost, at most half a step.

H depends on the images the conversion was calibrated with. Without them it is only estimated, and
the rounding judged by what it is for: the error it leaves in the membranes.
Source: Hassibi and Stork, 1992; Frantar et al., "GPTQ", 2022.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.ir.floats import Conv2d, Lif, Linear, Readout
from spikeproof.numerics.affine import Parallel
from spikeproof.numerics.correlation import unfold

F64 = NDArray[np.float64]
Moments = list[tuple[slice, F64]]
"""By section of the inputs: (groups, inputs + 1, inputs + 1); the last input is the constant 1."""

_DAMPING = 0.05
_CHUNK = 1 << 22
WHOLE, SECTION = 12_000, 6_000
"""Layers with more inputs per neuron are rounded section by section of the inputs, as many as are
needed for so many in each, as equal as whole numbers can be."""

_WORK, _PER_INPUT, _GOLDEN = 2e10, 2, 0.6180339887498949
"""Of a large layer's sums some are used: 2e10 products worth of them, at least two per input.
They are those whose number, by image, step and position, times the golden ratio leaves a fraction
below that share."""


@dataclass(frozen=True, eq=False)
class Targets:
    """What was rounded, in chip units: weights, and what each channel's bias takes up, (out,)."""

    weight: F64
    bias: F64


def sections(fan_in: int) -> list[slice]:
    """Return the sections that the inputs of a neuron are rounded in."""
    count = 1 if fan_in <= WHOLE else math.ceil(fan_in / SECTION)
    return [slice(k * fan_in // count, (k + 1) * fan_in // count) for k in range(count)]


def moments(
    linear: Conv2d | Linear | Parallel,
    end: Lif | Readout,
    inputs: NDArray[np.uint8],
    timesteps: int,
) -> Moments:
    """Return H before damping, by section, summed over all samples.

    Of a large layer over some sums only (``_WORK``).

    Args:
        linear: the folded map.
        end: its neurons, whose leak the sums decay with.
        inputs: payloads (N, T or 1, *shape) that reach the layer.
        timesteps: steps per sample.
    """
    leaks = _leaks(end, timesteps)
    parts = sections(linear.weight[0].size)
    return [(part, _moments(linear, leaks, inputs, part)) for part in parts]


def _moments(
    linear: Conv2d | Linear | Parallel, leaks: list[float], inputs: NDArray[np.uint8], part: slice
) -> F64:
    """Return H of one section, (groups, inputs + 1, inputs + 1)."""
    fan_in, width = linear.weight[0].size, part.stop - part.start
    groups = linear.groups if isinstance(linear, Conv2d) else 1
    total = np.zeros((groups, width + 1, width + 1))
    places = _rows(linear, inputs[:1, :1]).shape[1]
    per_sample = inputs.shape[1] * places * groups * fan_in
    size = max(1, _CHUNK // max(1, per_sample))
    sums = len(inputs) * len(leaks) * places
    share = max(_WORK / (width + 1) ** 2, _PER_INPUT * width) / sums
    waiting: list[list[NDArray[np.float32]]] = [[] for _ in range(groups)]
    for start in range(0, len(inputs), size):
        chunk = inputs[start : start + size]
        rows = _rows(linear, chunk)[..., part]
        rows = rows.reshape(groups, len(chunk), chunk.shape[1], -1, width)
        kept = np.zeros((groups, len(chunk), rows.shape[3], width + 1), np.float32)
        for t, leak in enumerate(leaks):
            kept *= np.float32(leak)
            kept[..., :-1] += rows[:, :, min(t, chunk.shape[1] - 1)]
            kept[..., -1] += 1
            image, place = np.mgrid[start : start + len(chunk), :places]
            number = ((image * len(leaks) + t) * places + place).reshape(-1)
            used = (number * _GOLDEN) % 1 < share if share < 1 else np.full(len(number), True)
            for group, flat in enumerate(kept.reshape(groups, -1, width + 1)):
                waiting[group].append(flat[used])
        # Few large products cost far less than many small ones.
        last = start + size >= len(inputs)
        if share >= 1 or last or sum(map(len, waiting[0])) * (width + 1) >= _CHUNK:
            for group, pieces in enumerate(waiting):
                joined = np.concatenate(pieces)
                total[group] += joined.T @ joined
                pieces.clear()
    return total


def _rows(linear: Conv2d | Linear | Parallel, inputs: NDArray[np.uint8]) -> NDArray[Any]:
    """Unfold inputs (N, T, *shape) into (groups, N * T * positions, fan-in)."""
    flat = inputs.reshape(-1, *inputs.shape[2:])
    if isinstance(linear, Parallel):  # what the maps read lies flat in a row
        starts = np.cumsum([0, *map(prod, linear.shapes)])
        pieces = [
            _rows(one, inputs[..., start : start + prod(shape)].reshape(*inputs.shape[:2], *shape))
            for one, shape, start in zip(linear.parts, linear.shapes, starts[:-1], strict=True)
        ]
        return np.concatenate(pieces, axis=2)
    if isinstance(linear, Linear):
        return flat.reshape(1, len(flat), -1)
    kernel = (linear.weight.shape[2], linear.weight.shape[3])
    rows = unfold(flat, kernel, linear.stride, linear.padding, linear.dilation, linear.groups)
    return rows.reshape(linear.groups, -1, rows.shape[-1])


def _leaks(end: Lif | Readout, timesteps: int) -> list[float]:
    """Return what v / a[t] keeps of itself per step; with a gain a that is leak a[t-1] / a[t]."""
    if isinstance(end, Readout):
        return [1.0] * timesteps
    if end.gain is None:
        return [float(np.mean(end.leak))] * timesteps
    ratios = (np.asarray(before / now) for before, now in pairwise(list(end.gain)))
    return [0.0, *(float(np.mean(end.leak * ratio)) for ratio in ratios)]


def targets(wanted: F64, found: F64, second: Moments) -> Targets:
    """Return what compensated rounding rounded each weight from, given those before it.

    Args:
        wanted: exact weights in chip units (out, ...).
        found: the integers, same shape as ``wanted``.
        second: :func:`moments` of the calibration inputs.
    """
    rows, held = wanted.reshape(len(wanted), -1), found.reshape(len(found), -1)
    weight, last = np.empty_like(rows), np.zeros(len(rows))
    for part, mine, moment in _each(second, len(rows)):
        root = _root(moment)
        off = rows[mine, part] - held[mine, part]
        weight[mine, part] = held[mine, part] + off @ root[:-1, :-1] / np.diag(root)[:-1]
        last[mine] += off @ root[:-1, -1] / root[-1, -1]
    return Targets(weight.reshape(wanted.shape), last)


def _each(second: Moments, outputs: int) -> Iterator[tuple[slice, slice, F64]]:
    """Yield inputs, outputs and their moments: of every section, and every group in it."""
    for part, groups in second:
        count = outputs // len(groups)
        for group, moment in enumerate(groups):
            yield part, slice(group * count, (group + 1) * count), moment


def _root(moment: F64) -> F64:
    """Return the upper A with A A^T = H + damping: the inverse of U."""
    damped = moment + _damping(moment) * np.eye(len(moment))
    return np.asarray(np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1], np.float64)


def _damping(moment: F64) -> float:
    """Return what is added to the diagonal."""
    return _DAMPING * float(np.trace(moment)) / len(moment) or 1.0


def error_ratio(wanted: F64, found: F64, second: Moments, grid: tuple[int, int, int]) -> F64:
    """Return per neuron how large the error of its sums is, over that of rounding to nearest.

    Mean squares over the inputs behind ``second``, the bias left aside; ``grid`` is (step, low,
    high). No less than the expected error of a rounding is divided by.
    """
    step, low, high = grid
    nearest = np.clip(step * np.rint(wanted / step), low, high)
    rows = [x.reshape(len(wanted), -1) for x in (wanted - found, wanted - nearest)]
    left, plain, expected = np.zeros((3, len(wanted)))
    for part, mine, moment in _each(second, len(wanted)):
        inner = _centred(moment)
        for total, errors in zip((left, plain), rows, strict=True):
            e = errors[mine, part]
            total[mine] += np.einsum("ni,ij,nj->n", e, inner, e, optimize=True)
        expected[mine] += step**2 / 12 * np.trace(inner)
    return np.asarray(np.sqrt(left / np.maximum(plain, np.maximum(expected, 1e-300))))


def mean_error(wanted: F64, found: F64, second: Moments) -> tuple[F64, F64]:
    """Return what each bias takes up of the error of its weights, and how far that may be off.

    Compensated rounding moves a bias by the mean of the error on the calibration images. These
    are others behind ``second``, and their mean may differ: by up to three times what the error
    deviates from its mean here, from step to step and image to image, and by half of itself.
    """
    rows = (wanted - found).reshape(len(wanted), -1)
    mean, reach = np.zeros((2, len(rows)))
    for part, mine, moment in _each(second, len(rows)):
        damping, constant = _damping(moment), moment[-1, -1]
        inner = _centred(moment) + damping * np.eye(len(moment) - 1)
        errors = rows[mine, part]
        square = np.einsum("ni,ij,nj->n", errors, inner, errors, optimize=True)
        moved = errors @ moment[:-1, -1] / (constant + damping)
        deviation = np.sqrt(np.maximum(square, 0) * constant) / (constant + damping)
        mean[mine] += moved
        reach[mine] += 3 * deviation + np.abs(moved) / 2
    return mean, reach


def _centred(moment: F64) -> F64:
    """Return the moments of the inputs after the best constant, the bias, is taken out."""
    best: F64 = moment[:-1, :-1] - np.outer(moment[:-1, -1], moment[-1, :-1]) / moment[-1, -1]
    return best
