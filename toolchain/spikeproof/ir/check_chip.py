"""Check a chip network against every bit width of the chip and report every problem at once."""

from __future__ import annotations

import numpy as np

from spikeproof import fixedpoint as fx
from spikeproof.ir import chip
from spikeproof.ir.limits import RAW_SUM_MAX, broadcast_problems
from spikeproof.ir.problems import frame_problems, name_problems, next_shape, raise_problems
from spikeproof.ir.synapses import shifted_magnitude
from spikeproof.ir.windows import Shape


def check_chip(network: chip.ChipNetwork) -> None:
    """Raise GraphError with all problems of a chip network: shapes and every bit width."""
    frame = frame_problems(network.name, network.input_shape, network.timesteps)
    problems = frame + name_problems([layer.name for layer in network.layers])
    foreign = [f"{layer.name}: {p}" for layer in network.layers for p in _foreign_parts(layer)]
    raise_problems([*problems, *foreign] if foreign else [], network.name)
    shape: Shape | None = tuple(network.input_shape)
    for index, layer in enumerate(network.layers):
        found = layer.host.problems(layer.synapse) if layer.host else layer.synapse.problems()
        found = found or _sum_problems(layer, network.payload(index))
        own = layer.neuron.problems(network.timesteps, tuple(layer.shape))
        # What its registers are told of is not told again; steps are walked if they can be.
        found += own or ([] if frame else layer.neuron.step_problems(network.timesteps))
        found += _place_problems(network, layer, index)
        found += [] if shape is None else layer.synapse.input_problems(shape)
        problems += [f"{layer.name}: {p}" for p in found]
        shape = next_shape(layer.synapse, shape, layer.name, problems)
        if shape is not None and shape != tuple(layer.shape):
            problems.append(
                f"{layer.name}: declares shape {layer.shape}, its synapse gives {shape}"
            )
    if not network.layers:
        problems.append("a network needs at least one layer")
    raise_problems(problems, network.name)


def _foreign_parts(layer: chip.ChipLayer) -> list[str]:
    """Name parts that are none of the dialect: they answer none of the questions asked below."""
    parts = (("synapse", layer.synapse, chip.Synapse), ("neuron", layer.neuron, chip.Neuron))
    return [
        f"unknown {what} {type(part).__name__}"
        for what, part, kind in parts
        if not isinstance(part, kind)
    ]


def _place_problems(network: chip.ChipNetwork, layer: chip.ChipLayer, index: int) -> list[str]:
    problems = []
    if not layer.neuron.spiking and index != len(network.layers) - 1:
        problems.append("a readout must be the last layer")
    if layer.host:
        if index != 0 or network.coding != "pixels":
            problems.append("a host current can only feed the first layer of a pixel network")
        if layer.neuron.bias.any():
            problems.append("a layer fed by a host current has its bias in the current's offset")
        problems += broadcast_problems("host offset", layer.host.offset.shape, layer.shape)
    return problems


def _sum_problems(layer: chip.ChipLayer, payload: int) -> list[str]:
    """Refuse sums that could overflow the 32-bit accumulators every engine relies on."""
    worst, limit = layer.synapse.largest_sum(payload), layer.neuron.sum_limit
    if layer.host:
        worst += int(np.abs(layer.host.offset.astype(np.int64)).max(initial=0))
        limit, worst = fx.STATE_MAX, int(fx.round_half_up_shift(worst, layer.host.shift))
    elif worst > RAW_SUM_MAX:
        limit = RAW_SUM_MAX
    else:
        worst = shifted_magnitude(worst, layer.synapse.exponent)
    return [] if worst <= limit else [f"a sum can reach {worst}; the accumulator holds {limit}"]
