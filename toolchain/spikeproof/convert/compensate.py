"""Round weights so that later roundings make up for earlier ones (optimal brain surgeon).

Rounding each weight to the nearest grid value minimises the error of the weights. What matters is
the error of the membrane, and inputs are strongly correlated, so the error of one weight can be
made up for by the weights not yet rounded. Minimising E |(W - Q) x|^2 greedily, input by input,
needs only the second moments of x: after input i is rounded, its error is spread over the rest
along row i of the Cholesky factor of the inverse moments. A constant input stands for the bias.
Source: Hassibi and Stork, "Second order derivatives for network pruning", 1992; Frantar et al.,
"GPTQ", 2022 (same update, weights only).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.convert.gain import float_dynamics
from spikeproof.convert.quantise import FloatLayer, Grid
from spikeproof.ir.floats import Lif
from spikeproof.numerics.affine import columns

F64 = NDArray[np.float64]
Inputs = NDArray[np.uint8]

_DAMPING = 0.05
"""Share of the mean input power added to every input: keeps rare inputs near their rounding."""

_WHOLE, _SECTION = 12_000, 6_000
"""Inputs up to which a layer is rounded as a whole, and in a section of a wider one.

Time grows with the cube of a section's inputs, and the whole factor would need gigabytes. Sections
lose only what inputs of different ones have in common, beyond their mean, which biases take up.
"""

_MOMENT_WORK = 2e10
"""Multiplications that the moments of a layer may cost before sums of inputs are left out."""

_SUMS_PER_INPUT = 2
"""Sums of inputs that are always used, per input: with fewer, moments say little. Measured with
VGG-11 (fan-in 4608, 5 bits): 3.6 % flips to nearest, then 1.76, 1.67, 1.60 and 1.59 with half, one,
two and four times as many sums as inputs."""

_PHI = 0.6180339887498949
"""Multiples of it, modulo 1, are spread evenly and never in step with a layer's sizes."""

_ROUND_WORK = 5e9
"""Multiplications from which rows are rounded in blocks of blocks: that changes the order of sums.
"""

_WIDE = 1024
"""Inputs in one of the outer blocks."""

_BLOCK = 64
_CHUNK_VALUES = 1 << 22
_ROW_VALUES = 1 << 25


@dataclass(frozen=True, eq=False)
class Compensation:
    """Cholesky factors of the inverse input moments, one per group: upper (fan-in + 1)^2."""

    factors: tuple[F64, ...]

    def __call__(self, weight: F64, bias: F64, grid: Grid) -> tuple[F64, F64]:
        """Round ``weight`` (out, ...) to the grid and let ``bias`` take up what is left.

        Where the bias differs between positions, all positions of a channel move together.
        """
        whole = bias.shape[0] == len(weight) and bias.size == len(weight)
        last = bias.reshape(-1, 1) if whole else np.zeros((len(weight), 1))
        rows = np.concatenate([weight.reshape(len(weight), -1), last], axis=1)
        split = rows.reshape(len(self.factors), -1, rows.shape[1])
        for group, factor in zip(split, self.factors, strict=True):
            _round_group(group, factor, grid)
        left = rows[:, -1].reshape(-1, *(1,) * (max(bias.ndim, 1) - 1))
        return rows[:, :-1].reshape(weight.shape), left if whole else bias + left


@dataclass(frozen=True, eq=False)
class Sections:
    """A wide layer's inputs, section by section: errors are made up for within each."""

    parts: tuple[tuple[slice, Compensation], ...]

    def __call__(self, weight: F64, bias: F64, grid: Grid) -> tuple[F64, F64]:
        """Round ``weight`` (out, ...) to the grid and let ``bias`` take up what is left."""
        rows = weight.reshape(len(weight), -1)
        for part, rounding in self.parts:
            rows[:, part], bias = rounding(rows[:, part], bias, grid)
        return rows.reshape(weight.shape), bias


def compensation(layer: FloatLayer, inputs: Inputs) -> Compensation | Sections:
    """Measure what the layer's membranes are made of: second moments of the leaky sums of inputs.

    Of a large layer's sums, one per image, position and step, some are used, evenly spread.

    Args:
        layer: the layer whose weights will be rounded.
        inputs: what the float layer received on calibration images, (N, T or 1, *shape).
    """
    fan_in = layer.linear.weight[0].size
    count = 1 if fan_in <= _WHOLE else -(-fan_in // _SECTION)
    edges = [fan_in * k // count for k in range(count + 1)]
    parts = [slice(*pair) for pair in pairwise(edges)]
    found = [_compensation(layer, inputs, part) for part in parts]
    return found[0] if count == 1 else Sections(tuple(zip(parts, found, strict=True)))


def _compensation(layer: FloatLayer, inputs: Inputs, part: slice) -> Compensation:
    """Measure one section of the layer's inputs."""
    fan_in, spatial = layer.linear.weight[0].size, int(np.prod(layer.shape[1:]))
    size = max(1, _CHUNK_VALUES // (fan_in * spatial * layer.timesteps))
    chunks = [inputs[start : start + size] for start in range(0, len(inputs), size)]
    available, width = len(inputs) * spatial * layer.timesteps, part.stop - part.start
    wanted = max(_MOMENT_WORK / (width + 1) ** 2, _SUMS_PER_INPUT * width)
    # Of small products of wide sections adding them up would be most of the work.
    if available <= wanted and width == fan_in:
        moments: NDArray[Any] = _moments(layer, chunks[0], part)
        for chunk in chunks[1:]:
            moments += _moments(layer, chunk, part)
    else:
        moments = _some_moments(layer, chunks, part, wanted / available)
    return Compensation(tuple(_factor(m) for m in moments))


def _round_group(rows: F64, factor: F64, grid: Grid) -> None:
    """Round all columns of ``rows`` but the last in place; the last takes up what is left.

    Columns are handled in blocks: the errors of a block reach the columns behind it as one product.
    """
    inputs = rows.shape[1] - 1
    outer = inputs if len(rows) * inputs**2 < _ROUND_WORK else _WIDE
    for begin in range(0, inputs, outer):
        # The last column belongs to the last of the outer blocks.
        end = begin + outer if begin + outer < inputs else inputs + 1
        block = rows if outer == inputs else np.ascontiguousarray(rows[:, begin:end])
        within = factor[begin:end, begin:end]
        errors = _round_block(block, within, grid, min(outer, inputs - begin))
        if block is not rows:
            rows[:, begin:end] = block
            _carry_on(rows[:, end:], errors, factor[begin:end, end:])


def _round_block(rows: F64, factor: F64, grid: Grid, inputs: int) -> F64:
    """Round the first ``inputs`` columns in place and return their errors (rows, inputs)."""
    found = np.empty((len(rows), inputs))
    for start in range(0, inputs, _BLOCK):
        stop = min(start + _BLOCK, inputs)
        columns_of_block = np.ascontiguousarray(rows[:, start:stop].T)
        errors = np.empty_like(columns_of_block)
        for i in range(stop - start):
            column, weights = columns_of_block[i], factor[start + i, start + i : stop]
            wanted = grid.step * np.rint(column / grid.step)
            errors[i] = (column - np.clip(wanted, grid.low, grid.high)) / weights[0]
            columns_of_block[i + 1 :] -= weights[1:, None] * errors[i]
            columns_of_block[i] = wanted
        rows[:, start:stop] = columns_of_block.T
        found[:, start:stop] = errors.T
        rows[:, stop:] -= np.ascontiguousarray(errors.T) @ factor[start:stop, stop:]
    return found


def _carry_on(rows: F64, errors: F64, factor: F64) -> None:
    """Spread errors over the columns behind, some at a time, in single precision.

    What a weight is moved by is a few steps of the grid at most, and a step is 2: the seventh
    digit of it decides nothing but ties.
    """
    single = errors.astype(np.float32)
    for start in range(0, rows.shape[1], _WIDE):
        part = factor[:, start : start + _WIDE].astype(np.float32)
        rows[:, start : start + _WIDE] -= single @ part


def _moments(layer: FloatLayer, chunk: Inputs, part: slice) -> F64:
    """Return the summed moments (groups, fan-in + 1, fan-in + 1) of one chunk."""
    total: NDArray[Any] | None = None
    for sums in _leaky_sums(layer, chunk, part):
        found = sums.transpose(0, 2, 1) @ sums
        total = found.astype(np.float64) if total is None else total + found
    return np.asarray(total)


def _some_moments(layer: FloatLayer, chunks: list[Inputs], part: slice, share: float) -> F64:
    """Return the moments of a share of the sums, merged into few large products.

    Which sums, check V2 has to know: those whose number, counted by image, step and position,
    times :data:`_PHI` leaves a fraction below ``share``. Single precision is enough for a product
    of some thousand sums of spikes: what it loses is far below the damping.
    """
    spatial = int(np.prod(layer.shape[1:]))
    total: F64 | None = None
    kept: list[NDArray[np.float32]] = []
    first = values = 0
    for k, chunk in enumerate(chunks):
        images = np.arange(first, first + len(chunk))[:, None]
        first += len(chunk)
        for t, sums in enumerate(_leaky_sums(layer, chunk, part)):
            number = (images * layer.timesteps + t) * spatial + np.arange(spatial)
            kept.append(sums[:, number.reshape(-1) * _PHI % 1 < share])
            values += kept[-1].size
        if values >= _ROW_VALUES or k == len(chunks) - 1:
            rows = np.concatenate(kept, axis=1)
            found = rows.transpose(0, 2, 1) @ rows
            total = found.astype(np.float64) if total is None else np.add(total, found, out=total)
            kept, values = [], 0
    return np.asarray(total)


def _leaky_sums(layer: FloatLayer, chunk: Inputs, part: slice) -> Iterator[NDArray[np.float32]]:
    """Yield per step what each membrane is made of: (groups, images * positions, fan-in + 1).

    ``part``: of the fan-in, which inputs.
    """
    unfolded = columns(layer.linear, chunk.reshape(-1, *chunk.shape[2:]).astype(np.float32))
    unfolded = unfolded[..., part]
    ones = np.ones((*unfolded.shape[:2], 1), np.float32)
    x = np.concatenate([unfolded, ones], axis=2)
    per_step = x.reshape(len(x), len(chunk), chunk.shape[1], -1, x.shape[2])
    leak = _leaks(layer)
    kept = np.zeros_like(per_step[:, :, 0])
    for t in range(layer.timesteps):
        kept = kept * np.float32(leak[t]) + per_step[:, :, min(t, chunk.shape[1] - 1)]
        yield kept.reshape(len(x), -1, x.shape[2])


def _leaks(layer: FloatLayer) -> F64:
    if isinstance(layer.end, Lif):
        leak = float_dynamics(layer.end, layer.timesteps).leak
        # Where neurons differ it is that of none of them: one choice of weights serves all.
        return np.asarray(leak.reshape(len(leak), -1).mean(axis=1))
    return np.ones(layer.timesteps)


def _factor(moments: F64) -> F64:
    """Return the upper U with U^T U = moments^-1, by one factorisation in reversed order.

    ``moments`` is used up: a layer's is too large to have twice.
    """
    from scipy.linalg import lapack  # half a second, and --help needs the options only

    power = float(np.trace(moments)) / len(moments)
    moments.flat[:: len(moments) + 1] += _DAMPING * power or 1.0
    _reverse(moments)
    # A lower matrix in rows is an upper one in the columns that LAPACK works on in place.
    lower, failed = lapack.dpotrf(moments.T, lower=0, clean=1, overwrite_a=1)
    inverse, singular = lapack.dtrtri(lower, lower=0, overwrite_c=1)
    if failed or singular:
        raise np.linalg.LinAlgError("the damped moments of a layer's inputs are singular")
    _reverse(inverse.T)
    return np.ascontiguousarray(inverse.T)


def _reverse(matrix: F64) -> None:
    """Reverse the order of rows and columns in place."""
    flat = matrix.reshape(-1)
    half = flat.size // 2
    for start in range(0, half, _CHUNK_VALUES):
        stop = min(start + _CHUNK_VALUES, half)
        first = flat[start:stop].copy()
        flat[start:stop] = flat[flat.size - stop : flat.size - start][::-1]
        flat[flat.size - stop : flat.size - start] = first[::-1]
