"""Run a float network in float64 NumPy: what was trained, without torch.

float64 keeps rounding near 1e-16 of the state, so stages that are equal over the reals can be
compared at a tolerance far below any margin that matters. Batch norm uses its frozen statistics.
Everything before the first Lif sees the same image at every step and is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.base import in_batches
from spikeproof.engines.trace import Progress, join_traces
from spikeproof.errors import InputError
from spikeproof.io.data_hints import range_hint, shape_hint, type_hint
from spikeproof.ir import floats
from spikeproof.ir.floats import FloatNetwork
from spikeproof.numerics.correlation import correlate

F64 = NDArray[np.float64]
_BATCH_VALUES = 1 << 23


@dataclass(frozen=True, eq=False)
class FloatTrace:
    """One Lif or Readout: current before the gain, v before the reset, spikes; (N, T, *neurons).

    v and s are None for the Readout.
    """

    current: F64
    v: F64 | None
    s: NDArray[np.uint8] | None


@dataclass(frozen=True, eq=False)
class FloatResult:
    """Logits (N, K): mean readout current over the steps; argmax predictions; traces by name."""

    logits: F64
    predictions: NDArray[np.int64]
    traces: dict[str, FloatTrace]


def run_float(
    network: FloatNetwork,
    x: NDArray[Any],
    *,
    trace: bool = False,
    progress: Progress | None = None,
) -> FloatResult:
    """Run images x, uint8 (N, C, H, W) or float in [0, 1], through the network.

    Raises:
        InputError: wrong shape, wrong type, or float values outside [0, 1].
    """
    images = as_unit_images(network, x)
    size = max(1, _BATCH_VALUES // (64 * int(np.prod(network.input_shape)) * network.timesteps))
    parts = in_batches(images, size, lambda part: _run_batch(network, part, trace), progress)
    logits = np.concatenate([p[0] for p in parts])
    traces = join_traces([p[1] for p in parts]) if trace else {}
    return FloatResult(logits, logits.argmax(axis=1), traces)


def as_unit_images(network: FloatNetwork, x: NDArray[Any]) -> F64:
    """Return images as float64 in [0, 1]; uint8 is divided by 255."""
    if x.ndim != 4 or x.shape[1:] != tuple(network.input_shape) or len(x) == 0:
        raise InputError(
            f"images have shape {x.shape}, expected (N, {str(tuple(network.input_shape))[1:]}",
            where=network.name,
            hint=shape_hint(x.shape, tuple(network.input_shape)),
        )
    if x.dtype == np.uint8:
        return x.astype(np.float64) / 255
    if not np.issubdtype(x.dtype, np.floating) or not (x.min() >= 0 and x.max() <= 1):
        raise InputError(
            f"images are {x.dtype} in {x.min()}..{x.max()}, expected uint8 or floats in 0..1",
            where=network.name,
            hint=range_hint(x) if x.dtype.kind == "f" else type_hint(x),
        )
    return x.astype(np.float64)


def _run_batch(network: FloatNetwork, x: F64, trace: bool) -> tuple[F64, dict[str, FloatTrace]]:
    value = x[:, None]  # (N, 1 or T, ...): one step stands for all while the input is constant
    traces: dict[str, FloatTrace] = {}
    for node in network.nodes:
        if isinstance(node, floats.Lif):
            lif_trace = run_lif(node, value, network.timesteps)
            value = np.asarray(lif_trace.s, np.float64)
            if trace:
                traces[node.name] = lif_trace
        elif isinstance(node, floats.Readout):
            full = np.broadcast_to(value, (len(x), network.timesteps, *value.shape[2:]))
            if trace:
                traces[node.name] = FloatTrace(full.copy(), None, None)
            value = full.mean(axis=1)
        else:
            merged = value.reshape(-1, *value.shape[2:])
            out = apply_node(node, merged)
            value = out.reshape(len(x), -1, *out.shape[1:])
    return value.reshape(len(x), -1), traces


def run_lif(node: floats.Lif, current: F64, steps: int) -> FloatTrace:
    """Run one population over all steps; current (N, T or 1, *neurons)."""
    full = (len(current), steps, *current.shape[2:])
    current = np.broadcast_to(current, full)
    gain = np.ones(steps) if node.gain is None else node.gain.astype(np.float64)
    vs, spikes = np.empty(full), np.empty(full, np.uint8)
    v = np.zeros((full[0], *full[2:])) + node.initial
    for t in range(steps):
        v = node.leak * v + gain[t] * current[:, t]
        fired = v > node.threshold if node.strict else v >= node.threshold
        vs[:, t], spikes[:, t] = v, fired
        v = np.where(fired, 0.0 if node.reset is None else v - node.reset, v)
    return FloatTrace(np.ascontiguousarray(current), vs, spikes)


@singledispatch
def apply_node(node: Any, x: F64) -> F64:
    """Apply a stateless node to a batch (M, ...) of images."""
    raise TypeError(f"cannot apply {type(node).__name__}")


@apply_node.register
def _(node: floats.InputScale, x: F64) -> F64:
    result: F64 = (x - _per_channel(node.mean)) / _per_channel(node.std)
    return result


@apply_node.register
def _(node: floats.Conv2d, x: F64) -> F64:
    weight = node.weight.astype(np.float64)
    out = correlate(x, weight, node.stride, node.padding, node.dilation, node.groups)
    if node.bias is None:
        return np.asarray(out, np.float64)
    return np.asarray(out + (node.bias if node.bias.ndim == 3 else _per_channel(node.bias)))


@apply_node.register
def _(node: floats.Linear, x: F64) -> F64:
    out = x.reshape(len(x), -1) @ node.weight.T.astype(np.float64)
    return np.asarray(out if node.bias is None else out + node.bias, np.float64)


@apply_node.register
def _(node: floats.BatchNorm2d, x: F64) -> F64:
    factor = node.gamma.astype(np.float64) / np.sqrt(node.var.astype(np.float64) + node.eps)
    result: F64 = (x - _per_channel(node.mean)) * _per_channel(factor) + _per_channel(node.beta)
    return result


@apply_node.register
def _(node: floats.AvgPool2d, x: F64) -> F64:
    channels = x.shape[1]
    window = np.full((channels, 1, *node.kernel), 1 / (node.kernel[0] * node.kernel[1]))
    return np.asarray(correlate(x, window, node.stride, (0, 0), (1, 1), channels), np.float64)


@apply_node.register
def _(node: floats.Flatten, x: F64) -> F64:
    return x.reshape(len(x), -1)


def _per_channel(values: NDArray[Any]) -> F64:
    return values.astype(np.float64)[:, None, None]
