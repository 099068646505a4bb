"""Check a network of either dialect and report every problem at once."""

from __future__ import annotations

import re
from functools import singledispatch
from typing import Any

import numpy as np

from spikeproof import fixedpoint as fx
from spikeproof.errors import GraphError, list_problems
from spikeproof.ir import chip, floats
from spikeproof.ir.shapes import Shape, output_shape

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LIMIT_TIMESTEPS = 4096
WEIGHT_LIMITS: dict[str, tuple[int, int]] = {
    "mixed": (-256, 254), "excitatory": (0, 255), "inhibitory": (-255, 0),
}  # fmt: skip
LEAK_MAX = (1 << 14) - 1
HOST_WEIGHT_MAX = (1 << 15) - 1
ACCUMULATOR_LIMIT = 1 << 25
"""A synaptic sum of this size, shifted left by 6, would overflow the target's 32-bit current."""


def check_float(network: floats.FloatNetwork) -> None:
    """Raise GraphError with all problems of a float network: names, shapes, NaN, ranges."""
    problems = _check_frame(network.name, network.input_shape, network.timesteps)
    shape: Shape | None = tuple(network.input_shape)
    names = [node.name for node in network.nodes]
    problems += _check_names(names)
    for node in network.nodes:
        found = _node_problems(node, network.timesteps, shape)
        problems += [f"{node.name}: {p}" for p in found]
        shape = _next_shape(node, shape, node.name, problems)
    if not network.nodes or not isinstance(network.nodes[-1], floats.Readout):
        problems.append("the last node must be a Readout")
    if sum(isinstance(n, floats.Readout) for n in network.nodes) > 1:
        problems.append("only one Readout is allowed, at the end")
    _raise(problems, network.name)


def check_chip(network: chip.ChipNetwork) -> None:
    """Raise GraphError with all problems of a chip network: shapes and every bit width."""
    problems = _check_frame(network.name, network.input_shape, network.timesteps)
    problems += _check_names([layer.name for layer in network.layers])
    shape: Shape | None = tuple(network.input_shape)
    for index, layer in enumerate(network.layers):
        found = _synapse_problems(layer.synapse)
        found += _neuron_problems(layer.neuron, network.timesteps, tuple(layer.shape))
        found += _place_problems(network, layer, index)
        problems += [f"{layer.name}: {p}" for p in found]
        shape = _next_shape(layer.synapse, shape, layer.name, problems)
        if shape is not None and shape != tuple(layer.shape):
            problems.append(
                f"{layer.name}: declares shape {layer.shape}, its synapse gives {shape}"
            )
    if not network.layers:
        problems.append("a network needs at least one layer")
    _raise(problems, network.name)


def _check_frame(name: str, input_shape: Shape, timesteps: int) -> list[str]:
    problems = []
    if not _NAME.fullmatch(name):
        problems.append(f"network name {name!r} must be letters, digits, '_', '.', '-'")
    if len(input_shape) != 3 or min(input_shape, default=0) < 1:
        problems.append(f"input shape {input_shape} must be three positive numbers (C, H, W)")
    if not 1 <= timesteps <= _LIMIT_TIMESTEPS:
        problems.append(f"timesteps is {timesteps}, must be 1..{_LIMIT_TIMESTEPS}")
    return problems


def _check_names(names: list[str]) -> list[str]:
    problems = [f"node name {n!r} must be letters, digits, '_', '.', '-'"
                for n in names if not _NAME.fullmatch(n)]  # fmt: skip
    twice = sorted({n for n in names if names.count(n) > 1})
    return problems + ([f"node names are used twice: {', '.join(twice)}"] if twice else [])


def _next_shape(node: Any, shape: Shape | None, name: str, problems: list[str]) -> Shape | None:
    if shape is None:
        return None
    try:
        return output_shape(node, shape)
    except GraphError as error:
        problems.append(f"{name}: {error.what}")
        return None


def _raise(problems: list[str], where: str) -> None:
    if problems:
        raise GraphError(list_problems(problems), where=where)


# --- float nodes -------------------------------------------------------------------------------


def _node_problems(node: Any, timesteps: int, shape: Shape | None) -> list[str]:
    arrays = {k: v for k, v in vars(node).items() if isinstance(v, np.ndarray)}
    problems = []
    for key, array in arrays.items():
        if array.dtype not in (np.float32, np.float64):
            problems.append(f"{key} has type {array.dtype}, expected float32 or float64")
        elif not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            problems.append(f"{key} holds {bad} value(s) that are NaN or infinite")
    return problems or _own_problems(node, timesteps, shape)


@singledispatch
def _own_problems(node: object, timesteps: int, shape: Shape | None) -> list[str]:
    return []


@_own_problems.register
def _(node: floats.Conv2d, timesteps: int, shape: Shape | None) -> list[str]:
    if node.bias is None or node.weight.ndim != 4:
        return []
    full = _try_shape(node, shape)
    if node.bias.shape in {(node.weight.shape[0],), full}:
        return []
    return [f"bias has shape {node.bias.shape}, expected {node.weight.shape[0]} channels"]


@_own_problems.register
def _(node: floats.Linear, timesteps: int, shape: Shape | None) -> list[str]:
    if node.bias is None or node.weight.ndim != 2 or node.bias.shape == node.weight.shape[:1]:
        return []
    return [f"bias has shape {node.bias.shape}, expected {node.weight.shape[:1]}"]


@_own_problems.register
def _(node: floats.BatchNorm2d, timesteps: int, shape: Shape | None) -> list[str]:
    problems = []
    for key in ("gamma", "beta", "mean", "var"):
        found = getattr(node, key).shape
        if shape is not None and found != shape[:1]:
            problems.append(f"{key} has shape {found}, expected {shape[:1]}")
    if not np.isfinite(node.eps) or (node.var + node.eps <= 0).any():
        problems.append("var + eps must be positive")
    return problems


@_own_problems.register
def _(node: floats.InputScale, timesteps: int, shape: Shape | None) -> list[str]:
    channels = shape[:1] if shape is not None else node.mean.shape
    if node.mean.shape != channels or node.std.shape != channels:
        return [f"mean {node.mean.shape} and std {node.std.shape} must both be {channels}"]
    return [] if (node.std > 0).all() else ["std must be positive"]


@_own_problems.register
def _(node: floats.Lif, timesteps: int, shape: Shape | None) -> list[str]:
    problems = []
    if not 0 <= node.leak <= 1:
        problems.append(f"leak is {node.leak}, must be in 0..1")
    if not (np.isfinite(node.threshold) and node.threshold > 0):
        problems.append(f"threshold is {node.threshold}, must be positive")
    if node.gain is not None and node.gain.shape != (timesteps,):
        problems.append(f"gain has shape {node.gain.shape}, expected one per step ({timesteps},)")
    return problems


def _try_shape(node: Any, shape: Shape | None) -> Shape | None:
    try:
        return output_shape(node, shape) if shape is not None else None
    except GraphError:
        return None


# --- chip parts --------------------------------------------------------------------------------


@singledispatch
def _synapse_problems(synapse: object) -> list[str]:
    return [f"unknown synapse {type(synapse).__name__}"]


@_synapse_problems.register(chip.DenseSynapse)
@_synapse_problems.register(chip.ConvSynapse)
def _(synapse: chip.Synapse) -> list[str]:
    low, high = WEIGHT_LIMITS[synapse.sign]
    problems = _integer_problems("weight", synapse.weight, low, high)
    if not problems and synapse.sign == "mixed" and (synapse.weight % 2).any():
        problems.append("mixed-sign weights must be even (the chip drops the lowest bit)")
    if not -8 <= synapse.exponent <= 7:
        problems.append(f"weight exponent {synapse.exponent} is outside -8..7")
    return problems


@_synapse_problems.register
def _(synapse: chip.HostCurrent) -> list[str]:
    inner = synapse.synapse
    problems = _integer_problems("host weight", inner.weight, -HOST_WEIGHT_MAX, HOST_WEIGHT_MAX)
    problems += _integer_problems("host offset", synapse.offset, -(1 << 40), 1 << 40)
    if inner.exponent != 0:
        problems.append("a host current's weight exponent must be 0")
    if not 0 <= synapse.shift <= 31:
        problems.append(f"host shift {synapse.shift} is outside 0..31")
    return problems


@singledispatch
def _neuron_problems(neuron: Any, timesteps: int, shape: Shape) -> list[str]:
    return [f"unknown neuron {type(neuron).__name__}"]


@_neuron_problems.register
def _(neuron: chip.LifNeuron, timesteps: int, shape: Shape) -> list[str]:
    problems = _bias_problems(neuron, shape) + _range_problem("du", neuron.du, 0, 4095)
    problems += _range_problem("dv", neuron.dv, 0, fx.DECAY_ONE)
    return problems + _range_problem("threshold", neuron.threshold, 0, fx.THRESHOLD_MAX)


@_neuron_problems.register
def _(neuron: chip.TableLifNeuron, timesteps: int, shape: Shape) -> list[str]:
    problems = _bias_problems(neuron, shape) + _range_problem("du", neuron.du, 0, 4095)
    for key, table, high in (
        ("leak", neuron.leak, LEAK_MAX),
        ("threshold", neuron.threshold, fx.STATE_MAX),
    ):
        problems += _integer_problems(f"{key} table", table, 0, high)
        if table.shape != (timesteps,):
            problems.append(f"{key} table has shape {table.shape}, expected ({timesteps},)")
    return problems


@_neuron_problems.register
def _(neuron: chip.ReadoutNeuron, timesteps: int, shape: Shape) -> list[str]:
    return _bias_problems(neuron, shape)


def _bias_problems(neuron: chip.Neuron, shape: Shape) -> list[str]:
    limit = fx.BIAS_MANTISSA_MAX
    problems = _integer_problems("bias mantissa", neuron.bias, -limit, limit)
    problems += _range_problem("bias exponent", neuron.bias_exponent, 0, fx.BIAS_EXPONENT_MAX)
    return problems + _broadcast_problem("bias", neuron.bias.shape, shape)


def _place_problems(network: chip.ChipNetwork, layer: chip.ChipLayer, index: int) -> list[str]:
    problems = []
    last = index == len(network.layers) - 1
    if isinstance(layer.neuron, chip.ReadoutNeuron) and not last:
        problems.append("a readout must be the last layer")
    problems += _sum_problems(
        layer.synapse, 255 if network.coding == "pixels" and index == 0 else 1
    )
    if isinstance(layer.synapse, chip.HostCurrent):
        if index != 0 or network.coding != "pixels":
            problems.append("a host current can only feed the first layer of a pixel network")
        if layer.neuron.bias.any():
            problems.append("a layer fed by a host current has its bias in the current's offset")
        problems += _broadcast_problem("host offset", layer.synapse.offset.shape, layer.shape)
    return problems


def _sum_problems(synapse: chip.Synapse | chip.HostCurrent, payload: int) -> list[str]:
    """Refuse sums that could overflow the 32-bit accumulators every engine relies on."""
    inner = synapse.synapse if isinstance(synapse, chip.HostCurrent) else synapse
    if not fx.is_integer_array(inner.weight) or not inner.weight.size:
        return ["weight is empty"] if not inner.weight.size else []
    rows = np.abs(inner.weight.astype(np.int64)).reshape(len(inner.weight), -1).sum(axis=1)
    worst = int(rows.max()) * payload
    if isinstance(synapse, chip.HostCurrent):
        worst += int(np.abs(synapse.offset.astype(np.int64)).max(initial=0))
        limit, worst = fx.WRAP_LIMIT, int(fx.round_half_up_shift(worst, min(synapse.shift, 31)))
    else:
        limit, worst = ACCUMULATOR_LIMIT, int(fx.shift_sum(worst, synapse.exponent))
    return [] if worst < limit else [f"a sum can reach {worst}; the accumulator holds {limit - 1}"]


def _integer_problems(label: str, array: Any, low: int, high: int) -> list[str]:
    if not fx.is_integer_array(array):
        return [f"{label} has type {getattr(array, 'dtype', type(array))}, expected integers"]
    if array.size and (array.min() < low or array.max() > high):
        return [f"{label} spans {array.min()}..{array.max()}, the chip takes {low}..{high}"]
    return []


def _range_problem(label: str, value: int, low: int, high: int) -> list[str]:
    return [] if low <= value <= high else [f"{label} is {value}, the chip takes {low}..{high}"]


def _broadcast_problem(label: str, found: Shape, shape: Shape) -> list[str]:
    try:
        fits = np.broadcast_shapes(found, shape) == tuple(shape)
    except ValueError:
        fits = False
    return [] if fits else [f"{label} of shape {found} does not fit the neurons {shape}"]
