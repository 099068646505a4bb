"""Check a chip network against every bit width of the chip and report every problem at once."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from spikeproof import fixedpoint as fx
from spikeproof.ir import chip
from spikeproof.ir.problems import frame_problems, name_problems, next_shape, raise_problems
from spikeproof.ir.shapes import Shape

WEIGHT_LIMITS: dict[str, tuple[int, int]] = {
    "mixed": (-256, 254),
    "excitatory": (0, 255),
    "inhibitory": (-255, 0),
}
LEAK_MAX = (1 << 14) - 1
HOST_WEIGHT_MAX = (1 << 15) - 1
RAW_SUM_MAX = (1 << 31) - 1
"""Before its exponent is applied, a sum lies in 32 bits on every target."""
SUM_MAX = (1 << 25) - (1 << 19)
"""Shifted left by 6 it is 2^31 - 2^25: what v and bias may add on top still fits 32 bits."""
FILTERED_SUM_MAX = 1 << 18
"""With a synaptic filter u adds up. A step that adds at most 2^24 is brought back into 24 bits by
one wrap, so u never grows; larger steps would let it leave 32 bits, where targets differ."""


def check_chip(network: chip.ChipNetwork) -> None:
    """Raise GraphError with all problems of a chip network: shapes and every bit width."""
    problems = frame_problems(network.name, network.input_shape, network.timesteps)
    problems += name_problems([layer.name for layer in network.layers])
    shape: Shape | None = tuple(network.input_shape)
    for index, layer in enumerate(network.layers):
        payload = 255 if network.coding == "pixels" and index == 0 else 1
        found = _synapse_problems(layer.synapse)
        found = found or _sum_problems(layer.synapse, sum_limit(layer.neuron), payload)
        found += _neuron_problems(layer.neuron, network.timesteps, tuple(layer.shape))
        found += _place_problems(network, layer, index)
        found += _input_shape_problems(layer.synapse, shape)
        problems += [f"{layer.name}: {p}" for p in found]
        shape = next_shape(layer.synapse, shape, layer.name, problems)
        if shape is not None and shape != tuple(layer.shape):
            problems.append(
                f"{layer.name}: declares shape {layer.shape}, its synapse gives {shape}"
            )
    if not network.layers:
        problems.append("a network needs at least one layer")
    raise_problems(problems, network.name)


@singledispatch
def _synapse_problems(synapse: object) -> list[str]:
    return [f"unknown synapse {type(synapse).__name__}"]


@_synapse_problems.register(chip.DenseSynapse)
@_synapse_problems.register(chip.ConvSynapse)
def _(synapse: chip.Synapse) -> list[str]:
    low, high = WEIGHT_LIMITS[synapse.sign]
    problems = _weight_problems("weight", synapse.weight, low, high)
    if not problems and synapse.sign == "mixed" and (synapse.weight % 2).any():
        problems.append("mixed-sign weights must be even (the chip drops the lowest bit)")
    if not -8 <= synapse.exponent <= 7:
        problems.append(f"weight exponent {synapse.exponent} is outside -8..7")
    return problems


@_synapse_problems.register
def _(synapse: chip.HostCurrent) -> list[str]:
    inner = synapse.synapse
    problems = _weight_problems("host weight", inner.weight, -HOST_WEIGHT_MAX, HOST_WEIGHT_MAX)
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
    if isinstance(layer.synapse, chip.HostCurrent):
        if index != 0 or network.coding != "pixels":
            problems.append("a host current can only feed the first layer of a pixel network")
        if layer.neuron.bias.any():
            problems.append("a layer fed by a host current has its bias in the current's offset")
        problems += _broadcast_problem("host offset", layer.synapse.offset.shape, layer.shape)
    return problems


def _input_shape_problems(synapse: Any, shape: Shape | None) -> list[str]:
    """Compare the input shape a convolution declares with what the layer before gives."""
    inner = synapse.synapse if isinstance(synapse, chip.HostCurrent) else synapse
    if not isinstance(inner, chip.ConvSynapse) or shape in (None, tuple(inner.input_shape)):
        return []
    return [f"declares inputs {tuple(inner.input_shape)}, gets {shape}"]


def sum_limit(neuron: chip.Neuron) -> int:
    """Return the largest legal synaptic sum (exponent applied) into these neurons."""
    filtered = getattr(neuron, "du", fx.DECAY_ONE - 1) < fx.DECAY_ONE - 1
    return FILTERED_SUM_MAX if filtered else SUM_MAX


def largest_sum(synapse: chip.Synapse, payload: int) -> int:
    """Return the largest sum of |weight| times payload into one neuron, before the exponent."""
    rows = np.abs(synapse.weight.astype(np.int32)).reshape(len(synapse.weight), -1)
    return int(rows.sum(axis=1, dtype=np.int64).max()) * payload


def shifted_magnitude(worst: int, exponent: int) -> int:
    """Return the magnitude of a sum -worst after its exponent (the floor makes it the larger)."""
    return -int(fx.shift_sum(-worst, exponent))


def _sum_problems(synapse: chip.Synapse | chip.HostCurrent, limit: int, payload: int) -> list[str]:
    """Refuse sums that could overflow the 32-bit accumulators every engine relies on."""
    inner = synapse.synapse if isinstance(synapse, chip.HostCurrent) else synapse
    worst = largest_sum(inner, payload)
    if isinstance(synapse, chip.HostCurrent):
        worst += int(np.abs(synapse.offset.astype(np.int64)).max(initial=0))
        limit, worst = fx.STATE_MAX, int(fx.round_half_up_shift(worst, synapse.shift))
    elif worst > RAW_SUM_MAX:
        limit = RAW_SUM_MAX
    else:
        worst = shifted_magnitude(worst, synapse.exponent)
    return [] if worst <= limit else [f"a sum can reach {worst}; the accumulator holds {limit}"]


def _weight_problems(label: str, weight: Any, low: int, high: int) -> list[str]:
    problems = _integer_problems(label, weight, low, high)
    return problems or ([] if weight.ndim and weight.size else [f"{label} is empty"])


def _integer_problems(label: str, array: Any, low: int, high: int) -> list[str]:
    if not fx.is_integer_array(array):
        return [f"{label} has type {array.dtype}, expected integers"]
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
