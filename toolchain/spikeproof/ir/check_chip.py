"""Check a chip network against every bit width of the chip and report every problem at once."""

from __future__ import annotations

from typing import get_args

import numpy as np

from spikeproof import fixedpoint as fx
from spikeproof.ir import chip
from spikeproof.ir.graph import delay_problems, source_name, wiring
from spikeproof.ir.limits import RAW_SUM_MAX, broadcast_problems
from spikeproof.ir.order import components
from spikeproof.ir.problems import (
    frame_problems,
    is_whole,
    name_problems,
    next_shape,
    raise_problems,
)
from spikeproof.ir.readouts import FROM_SPIKES, ReadoutRule
from spikeproof.ir.synapses import shifted_magnitude
from spikeproof.ir.windows import Shape


def check_chip(network: chip.ChipNetwork) -> None:
    """Raise GraphError with all problems of a chip network: wiring, shapes and every bit width."""
    frame = frame_problems(network.name, network.input_shape, network.timesteps)
    problems = frame + name_problems([layer.name for layer in network.layers])
    problems += _wiring_problems(network)
    sources = _known_sources(network)
    shapes: dict[int, Shape | None] = {chip.INPUT_INDEX: tuple(network.input_shape)}
    for index, layer in enumerate(network.layers):
        foreign = _foreign_parts(layer)
        if foreign:
            problems += [f"{layer.name}: {p}" for p in foreign]
            continue
        own = layer.neuron.problems(network.timesteps, tuple(layer.shape))
        # What its registers are told of is not told again; steps are walked if they can be.
        found = own or ([] if frame else layer.neuron.step_problems(network.timesteps))
        wired = list(zip(layer.inputs, sources[index], strict=True))
        found = _connection_problems(network, layer, wired) + found
        found += _place_problems(network, index, wired)
        problems += [f"{layer.name}: {p}" for p in found]
        shapes[index] = tuple(layer.shape)
        for one, source in wired:
            if source is None:
                continue
            shape = shapes[source] if source in shapes else network.shape_of(source)
            if shape is not None:
                problems += [f"{layer.name}: {p}" for p in one.synapse.input_problems(shape)]
            given = next_shape(one.synapse, shape, layer.name, problems)
            if given is None:  # what reads this layer is not told of a shape that nothing gives
                shapes[index] = None
            elif given != tuple(layer.shape):
                problems.append(
                    f"{layer.name}: declares shape {layer.shape}, its synapse gives {given}"
                )
    if network.coding not in get_args(chip.Coding):
        known = " or ".join(map(repr, get_args(chip.Coding)))
        problems.append(f"coding {network.coding!r} is none: {known}")
    if not network.layers:
        problems.append("a network needs at least one layer")
    else:
        problems += _readout_problems(network)
    raise_problems(problems, network.name)


Wired = list[tuple[chip.Connection, int | None]]
"""The connections of a layer, each with the position of its source; None: it has none."""


def _known_sources(network: chip.ChipNetwork) -> list[list[int | None]]:
    known: dict[str | None, int] = {layer.name: i for i, layer in enumerate(network.layers)}
    known[chip.INPUT] = chip.INPUT_INDEX
    return [
        [index - 1 if one.source is None else known.get(one.source) for one in layer.inputs]
        for index, layer in enumerate(network.layers)
    ]


def _foreign_parts(layer: chip.ChipLayer) -> list[str]:
    """Name parts that are none of the dialect: they answer none of the questions asked below."""
    parts: list[tuple[str, object, type[object]]] = [
        ("synapse", one.synapse, chip.Synapse) for one in layer.inputs
    ]
    parts.append(("neuron", layer.neuron, chip.Neuron))
    return [
        f"unknown {what} {type(part).__name__}"
        for what, part, kind in parts
        if not isinstance(part, kind)
    ]


def _wiring_problems(network: chip.ChipNetwork) -> list[str]:
    """List what is wrong with who feeds whom: unknown sources, cycles without lag, no input."""
    position = {layer.name: i for i, layer in enumerate(network.layers)}
    cycles, problems = _at_once(network, position), list[str]()
    for index, layer in enumerate(network.layers):
        if not layer.inputs:
            problems.append(f"{layer.name}: nothing feeds it; a layer needs a connection")
        for one in layer.inputs:
            label = f"{layer.name}: the connection from {source_name(one.source)}"
            known, source = one.source in position, _position(position, one, index)
            if one.source is not None and one.source != chip.INPUT and not known:
                names = ", ".join([chip.INPUT, *position])
                problems.append(f"{label} has no such source; there are {names}")
            elif not is_whole(one.lag) or one.lag < 0:
                problems.append(f"{label} has lag {one.lag}; expected 0 or more steps")
            elif known and source >= index and one.lag == 0:
                problems.append(
                    f"{label} closes a cycle without a lag: give it a lag of 1 or more"
                    if cycles[source] == cycles[index]
                    else f"{label} has no lag, so {one.source} must be listed before {layer.name}"
                )
            elif known and not _spikes(network.layers[source]):
                problems.append(f"{label} comes from a readout, which sends nothing")
    return problems or delay_problems([layer.name for layer in network.layers], wiring(network))


def _at_once(network: chip.ChipNetwork, position: dict[str, int]) -> dict[int, int]:
    """Return for each layer which ones its spikes come back from without any lag, as a number."""
    sources = [
        [_position(position, one, i) for one in layer.inputs if one.lag == 0]
        for i, layer in enumerate(network.layers)
    ]
    return {i: k for k, part in enumerate(components(sources)) for i in part}


def _position(position: dict[str, int], one: chip.Connection, index: int) -> int:
    if one.source is None:
        return index - 1
    return position.get(one.source, chip.INPUT_INDEX)


def _spikes(layer: chip.ChipLayer) -> bool:
    """Tell whether a layer sends spikes; one that is none of the dialect is told of elsewhere."""
    return not isinstance(layer.neuron, chip.Neuron) or layer.neuron.spiking


def _connection_problems(
    network: chip.ChipNetwork, layer: chip.ChipLayer, wired: Wired
) -> list[str]:
    problems = []
    for one, _ in wired:
        problems += one.host.problems(one.synapse) if one.host else one.synapse.problems()
    return problems or _sum_problems(network, layer, wired)


def _place_problems(network: chip.ChipNetwork, index: int, wired: Wired) -> list[str]:
    layer, problems = network.layers[index], []
    if not layer.neuron.spiking and index != len(network.layers) - 1:
        problems.append("a readout must be the last layer")
    hosts = [(one.host, one.lag, source) for one, source in wired if one.host is not None]
    for host, lag, source in hosts:
        if source not in (None, chip.INPUT_INDEX) or network.coding != "pixels" or lag:
            problems.append("a host current can only carry pixels of the input, without a lag")
        problems += broadcast_problems("host offset", host.offset.shape, layer.shape)
    if len(hosts) > 1:
        problems.append("one host current at most can feed a layer")
    if hosts and layer.neuron.bias.any():
        problems.append("a layer fed by a host current has its bias in the current's offset")
    return problems


def _readout_problems(network: chip.ChipNetwork) -> list[str]:
    last, known = network.layers[-1], get_args(ReadoutRule)
    if network.readout not in known:
        return [f"readout {network.readout!r} is none of {', '.join(known)}"]
    if network.readout in FROM_SPIKES and not _spikes(last):
        return [f"{last.name}: readout {network.readout!r} reads spikes, and it sends none"]
    return []


def _sum_problems(network: chip.ChipNetwork, layer: chip.ChipLayer, wired: Wired) -> list[str]:
    """Refuse sums that could overflow the 32-bit accumulators every engine relies on."""
    total, problems = 0, list[str]()
    limit = layer.neuron.sum_limit
    for one, source in wired:
        if source is None:
            continue
        worst = one.synapse.largest_sum(network.payload_of(source))
        if one.host:
            worst += int(np.abs(one.host.offset.astype(np.int64)).max(initial=0))
            held = int(fx.round_half_up_shift(worst, one.host.shift))
            problems += _too_large(held, fx.STATE_MAX)
        elif worst > RAW_SUM_MAX:
            problems += _too_large(worst, RAW_SUM_MAX)
        else:
            total += shifted_magnitude(worst, one.synapse.exponent)
    return problems or _too_large(total, limit)


def _too_large(worst: int, limit: int) -> list[str]:
    return [] if worst <= limit else [f"a sum can reach {worst}; the accumulator holds {limit}"]
