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

from dataclasses import dataclass
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

FAN_IN_MAX = 12_000
"""Wider layers are rounded to nearest: the factor would need more than a gigabyte."""

_BLOCK = 64
_CHUNK_VALUES = 1 << 22


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
        split = rows.reshape(len(self.factors), -1, rows.shape[1]).copy()
        for group, factor in zip(split, self.factors, strict=True):
            _round_group(group, factor, grid)
        flat = split.reshape(rows.shape)
        left = flat[:, -1].reshape(-1, *(1,) * (max(bias.ndim, 1) - 1))
        return flat[:, :-1].reshape(weight.shape), left if whole else bias + left


def compensation(layer: FloatLayer, inputs: Inputs) -> Compensation:
    """Measure what the layer's membranes are made of: second moments of the leaky sums of inputs.

    Args:
        layer: the layer whose weights will be rounded.
        inputs: what the float layer received on calibration images, (N, T or 1, *shape).
    """
    moments: NDArray[Any] | None = None
    fan_in = layer.linear.weight[0].size
    spatial = int(np.prod(layer.shape[1:]))
    size = max(1, _CHUNK_VALUES // (fan_in * spatial * layer.timesteps))
    for start in range(0, len(inputs), size):
        found = _moments(layer, inputs[start : start + size])
        moments = found if moments is None else moments + found
    return Compensation(tuple(_factor(m) for m in np.asarray(moments)))


def _round_group(rows: F64, factor: F64, grid: Grid) -> None:
    """Round all columns of ``rows`` but the last in place; the last takes up what is left.

    Columns are handled in blocks: the errors of a block reach the columns behind it as one product.
    """
    inputs = rows.shape[1] - 1
    for start in range(0, inputs, _BLOCK):
        stop = min(start + _BLOCK, inputs)
        errors = np.empty((len(rows), stop - start))
        for i in range(start, stop):
            wanted = grid.step * np.rint(rows[:, i] / grid.step)
            error = (rows[:, i] - np.clip(wanted, grid.low, grid.high)) / factor[i, i]
            rows[:, i + 1 : stop] -= error[:, None] * factor[i, i + 1 : stop]
            rows[:, i], errors[:, i - start] = wanted, error
        rows[:, stop:] -= errors @ factor[start:stop, stop:]


def _moments(layer: FloatLayer, chunk: Inputs) -> F64:
    """Return the summed moments (groups, fan-in + 1, fan-in + 1) of one chunk."""
    unfolded = columns(layer.linear, chunk.reshape(-1, *chunk.shape[2:]).astype(np.float32))
    ones = np.ones((*unfolded.shape[:2], 1), np.float32)
    x = np.concatenate([unfolded, ones], axis=2)
    per_step = x.reshape(len(x), len(chunk), chunk.shape[1], -1, x.shape[2])
    leak = _leaks(layer)
    total = np.zeros((len(x), x.shape[2], x.shape[2]))
    kept = np.zeros_like(per_step[:, :, 0])
    for t in range(layer.timesteps):
        kept = kept * np.float32(leak[t]) + per_step[:, :, min(t, chunk.shape[1] - 1)]
        flat = kept.reshape(len(x), -1, x.shape[2])
        total += flat.transpose(0, 2, 1) @ flat
    return total


def _leaks(layer: FloatLayer) -> F64:
    if isinstance(layer.end, Lif):
        leak = float_dynamics(layer.end, layer.timesteps).leak
        # Where neurons differ it is that of none of them: one choice of weights serves all.
        return np.asarray(leak.reshape(len(leak), -1).mean(axis=1))
    return np.ones(layer.timesteps)


def _factor(moments: F64) -> F64:
    """Return the upper U with U^T U = moments^-1, by one factorisation in reversed order."""
    power = float(np.trace(moments)) / len(moments)
    damped = moments + (_DAMPING * power or 1.0) * np.eye(len(moments))
    lower = np.linalg.cholesky(damped[::-1, ::-1])
    from scipy.linalg import solve_triangular  # half a second, and --help needs the options only

    inverse: F64 = solve_triangular(lower, np.eye(len(lower)), lower=True)
    return np.ascontiguousarray(inverse[::-1, ::-1])
