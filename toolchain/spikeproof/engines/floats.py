"""Run a float network in float64 NumPy: what was trained, without torch.

float64 keeps rounding near 1e-16 of the state, so stages that are equal over the reals can be
compared at a tolerance far below any margin that matters. Batch norm uses its frozen statistics.
Everything before the first Lif sees the same image at every step and is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.base import in_batches
from spikeproof.engines.numpy_engine import at_step, until
from spikeproof.engines.trace import Channel, Progress, join_traces
from spikeproof.errors import InputError
from spikeproof.io.data_hints import range_hint, shape_hint, type_hint
from spikeproof.ir import floats
from spikeproof.ir.floats import FloatNetwork
from spikeproof.ir.readouts import FROM_SPIKES, answers
from spikeproof.ir.shapes import arranged_shapes, network_shapes
from spikeproof.numerics.correlation import correlate

F64 = NDArray[np.float64]
_BATCH_VALUES = 1 << 23


@dataclass(frozen=True, eq=False)
class FloatTrace:
    """One Lif or Readout: current before the gain, v before the reset, spikes; (N, T, *neurons).

    Neurons are arranged as on the chip (:func:`spikeproof.ir.shapes.arranged_shapes`), so that
    stages of a conversion can be compared. v and s are None for the Readout.
    """

    current: F64
    v: F64 | None
    s: NDArray[np.uint8] | None


@dataclass(frozen=True, eq=False)
class FloatResult:
    """Logits (N, K), what the readout's rule makes of it; argmax predictions; traces by name."""

    logits: F64
    predictions: NDArray[np.int64]
    traces: dict[str, FloatTrace]


def run_float(
    network: FloatNetwork,
    x: NDArray[Any],
    *,
    trace: bool = False,
    progress: Progress | None = None,
    channel: Channel | None = None,
) -> FloatResult:
    """Run images x, uint8 (N, C, H, W) or float in [0, 1], through the network.

    ``channel``: what becomes of spikes once they are fired; it sees the images of one batch, which
    are at most :func:`batch_size`.

    Raises:
        InputError: wrong shape, wrong type, or float values outside [0, 1].
    """
    images = as_unit_images(network, x)
    parts = in_batches(
        images,
        batch_size(network),
        lambda part: _run_batch(network, part, trace, channel),
        progress,
    )
    logits = np.concatenate([p[0] for p in parts])
    traces = join_traces([p[1] for p in parts]) if trace else {}
    return FloatResult(logits, logits.argmax(axis=1), traces)


def batch_size(network: FloatNetwork) -> int:
    """Return how many images are run at a time."""
    return max(1, _BATCH_VALUES // (64 * int(np.prod(network.input_shape)) * network.timesteps))


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


def _run_batch(
    network: FloatNetwork, x: F64, trace: bool, channel: Channel | None
) -> tuple[F64, dict[str, FloatTrace]]:
    """Run nodes one after another, all steps of each at once; those on a cycle step by step."""
    done: dict[int, F64] = {-1: x[:, None]}  # one step stands for all while the input is constant
    traces: dict[str, FloatTrace] = {}
    last = len(network.nodes) - 1
    for part, spent in zip(*network.order, strict=True):
        cyclic = len(part) > 1 or part[0] in [one.source for one in network.incoming[part[0]]]
        found = (
            _run_cycle(network, part, done, len(x), channel)
            if cyclic
            else _run_node(network, part[0], done, channel)
        )
        for i, (value, kept) in found.items():
            done[i] = value
            if trace and kept is not None:
                traces[network.nodes[i].name] = kept
        for i in spent:
            if i != last:
                del done[i]
    return done[last].reshape(len(x), -1), _arranged(network, traces)


def _arranged(network: FloatNetwork, traces: dict[str, FloatTrace]) -> dict[str, FloatTrace]:
    """Return traces in the order of the nodes, neurons arranged as on the chip."""
    shapes = arranged_shapes(network, network_shapes(network)) if traces else {}
    found = {}
    for i, node in enumerate(network.nodes):
        if node.name in traces:
            one = traces[node.name]
            full = (*one.current.shape[:2], *shapes[i])
            v, s = (None if a is None else a.reshape(full) for a in (one.v, one.s))
            found[node.name] = FloatTrace(one.current.reshape(full), v, s)
    return found


Ran = dict[int, tuple[F64, FloatTrace | None]]
"""What nodes send, (N, T or 1, ...), or a readout's answer (N, K), and the traces of some."""


def _run_node(network: FloatNetwork, i: int, done: dict[int, F64], channel: Channel | None) -> Ran:
    node, steps = network.nodes[i], network.timesteps
    value = _received(network.incoming[i], done, steps)
    if isinstance(node, floats.Lif | floats.MaxPool2d):
        kept = run_lif(_neuron(node), _current(node, value), steps, channel)
        return {i: (np.asarray(kept.s, np.float64), kept)}
    if isinstance(node, floats.Readout):
        full = np.broadcast_to(value, (len(value), steps, *value.shape[2:]))
        return {i: (answer(node, full), FloatTrace(full.copy(), None, None))}
    out = apply_node(node, value.reshape(-1, *value.shape[2:]))
    return {i: (out.reshape(len(value), -1, *out.shape[1:]), None)}


def _received(incoming: Sequence[floats.Incoming], done: dict[int, F64], steps: int) -> F64:
    """Add up what reaches a node, (N, T or 1, ...)."""
    first = incoming[0]  # check_float refuses a node that nothing feeds
    if len(incoming) == 1 and not first.lag:
        value = done[first.source]
        return value if first.coefficient == 1 else first.coefficient * value
    constant = all(not one.lag and done[one.source].shape[1] == 1 for one in incoming)
    samples, _, *shape = done[first.source].shape
    total = np.zeros((samples, 1 if constant else steps, *shape))
    for one in incoming:
        value = until(done[one.source], steps - one.lag)
        total[:, one.lag :] += value if one.coefficient == 1 else one.coefficient * value
    return total


def _run_cycle(
    network: FloatNetwork,
    part: tuple[int, ...],
    done: dict[int, F64],
    samples: int,
    channel: Channel | None,
) -> Ran:
    """Run nodes that feed each other, one step after another."""
    steps, shapes = network.timesteps, network_shapes(network)
    outside = {
        i: _received([one for one in network.incoming[i] if one.source not in part], done, steps)
        for i in part
        if any(one.source not in part for one in network.incoming[i])
    }
    sent: dict[int, list[F64]] = {i: [] for i in part}
    currents: dict[int, list[F64]] = {i: [] for i in part}
    states: dict[int, F64] = {}
    vs: dict[int, list[F64]] = {i: [] for i in part}
    for t in range(steps):
        for i in part:
            node = network.nodes[i]
            value = np.zeros((samples, *shapes[network.incoming[i][0].source]))
            if i in outside:
                value += at_step(outside[i], t)
            for one in network.incoming[i]:
                if one.source in part and t >= one.lag:
                    value += one.coefficient * sent[one.source][t - one.lag]
            if isinstance(node, floats.Lif | floats.MaxPool2d):
                value = _current(node, value[:, None])[:, 0]
                currents[i].append(value)
                v, fired, states[i] = lif_step(_neuron(node), states.get(i), value, t)
                vs[i].append(v)
                fired = fired if channel is None else channel(node.name, t, fired)
                value = fired.astype(np.float64)
            else:
                value = apply_node(node, value)
            sent[i].append(value)
    return {i: (np.stack(sent[i], axis=1), _cycle_trace(currents[i], vs[i], sent[i])) for i in part}


def _neuron(node: floats.Lif | floats.MaxPool2d) -> floats.Lif:
    return node if isinstance(node, floats.Lif) else node.neuron


def _current(node: floats.Lif | floats.MaxPool2d, value: F64) -> F64:
    """Return what drives a neuron, (N, T or 1, ...): what reaches it, or the spikes in a window."""
    if isinstance(node, floats.Lif):
        return value
    channels = value.shape[2]
    window = np.ones((channels, 1, *node.kernel))
    flat = value.reshape(-1, *value.shape[2:])
    counts = correlate(flat, window, node.stride, (0, 0), (1, 1), channels)
    return np.asarray(counts.reshape(*value.shape[:2], *counts.shape[1:]), np.float64)


def _cycle_trace(currents: list[F64], vs: list[F64], sent: list[F64]) -> FloatTrace | None:
    if not vs:
        return None
    current, v, spikes = (np.stack(one, axis=1) for one in (currents, vs, sent))
    return FloatTrace(current, v, spikes.astype(np.uint8))


def answer(node: floats.Readout, current: NDArray[Any]) -> NDArray[Any]:
    """Return the logits (N, ...) of the currents (N, T, ...) that reach a readout."""
    if node.rule in FROM_SPIKES:
        none = np.zeros(current.shape, np.int32)
        return answers(node.rule, none, current.astype(np.uint8)).astype(np.float64)
    if node.rule == "auto":
        return np.asarray(current.mean(axis=1))
    membrane = current.cumsum(axis=1)
    reads = {
        "last": lambda m: m[:, -1],
        "mean": lambda m: m.mean(axis=1),
        "max": lambda m: m.max(axis=1),
        "max-abs": lambda m: np.abs(m).max(axis=1),
    }
    return np.asarray(reads[node.rule](membrane))


def run_lif(
    node: floats.Lif, current: F64, steps: int, channel: Channel | None = None
) -> FloatTrace:
    """Run one population over all steps; current (N, T or 1, *neurons)."""
    full = (len(current), steps, *current.shape[2:])
    current = np.broadcast_to(current, full)
    vs, spikes = np.empty(full), np.empty(full, np.uint8)
    state: F64 | None = None
    for t in range(steps):
        vs[:, t], fired, state = lif_step(node, state, current[:, t], t)
        spikes[:, t] = fired if channel is None else channel(node.name, t, fired)
    return FloatTrace(np.ascontiguousarray(current), vs, spikes)


def lif_step(
    node: floats.Lif, state: F64 | None, current: F64, t: int
) -> tuple[F64, NDArray[np.bool_], F64]:
    """Go on by one step: return v before the reset, who fires, and v after it.

    ``state``: v after the step before, (N, *neurons); None before the first.
    """
    before = node.initial if state is None else state
    driven = current if node.gain is None else node.gain[t].astype(np.float64) * current
    v = np.asarray(node.leak * before + driven)
    fired = v > node.threshold if node.strict else v >= node.threshold
    return v, fired, np.where(fired, 0.0 if node.reset is None else v - node.reset, v)


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
    mean, factor, beta = (
        _per_channel(values, x.ndim - 1) for values in (node.mean, factor, node.beta)
    )
    return np.asarray((x - mean) * factor + beta)


@apply_node.register
def _(node: floats.AvgPool2d, x: F64) -> F64:
    channels = x.shape[1]
    window = np.full((channels, 1, *node.kernel), 1 / (node.kernel[0] * node.kernel[1]))
    return np.asarray(correlate(x, window, node.stride, (0, 0), (1, 1), channels), np.float64)


@apply_node.register
def _(node: floats.Add, x: F64) -> F64:
    return x


@apply_node.register
def _(node: floats.Flatten, x: F64) -> F64:
    return x.reshape(len(x), -1)


def _per_channel(values: NDArray[Any], dimensions: int = 3) -> F64:
    """Return one value per channel so that it broadcasts to images, or to flat ones."""
    return values.astype(np.float64).reshape(-1, *[1] * (dimensions - 1))
