"""How the layers of a chip network hang together: what runs together, and what delays it needs.

Each hop takes the chip one step. The input has depth 0, and a layer is one deeper than the deepest
of those whose spikes reach it in the same step; a connection that skips layers, or lags, needs a
synaptic delay that makes up for what the hops do not.
"""

from __future__ import annotations

from collections.abc import Sequence

from spikeproof.ir.chip import INPUT_INDEX, ChipNetwork
from spikeproof.ir.limits import DELAY_MAX
from spikeproof.ir.readouts import settled
from spikeproof.text import counted

Wiring = Sequence[Sequence[tuple[int, int]]]
"""The position of the source and the lag of each connection of each layer."""


def wiring(network: ChipNetwork) -> Wiring:
    """Return who feeds whom, and how late."""
    return [
        [(source, one.lag) for one, source in zip(layer.inputs, sources, strict=True)]
        for layer, sources in zip(network.layers, network.sources, strict=True)
    ]


def depths(network: ChipNetwork) -> list[int]:
    """Return the depth of each layer; without connections that do not lag it is 1."""
    return _depths(wiring(network))


def delays(network: ChipNetwork) -> list[tuple[int, ...]]:
    """Return how many steps each connection holds its spikes back; below 0 it cannot."""
    return _delays(wiring(network))


def _depths(wired: Wiring) -> list[int]:
    found: list[int] = []
    for layer in wired:
        direct = [0 if source == INPUT_INDEX else found[source] for source, lag in layer if not lag]
        found.append(1 + max(direct, default=0))
    return found


def _delays(wired: Wiring) -> list[tuple[int, ...]]:
    depth = [*_depths(wired), 0]  # the last is the input's, which is at -1
    return [
        tuple(depth[i] - depth[source] - 1 + lag for source, lag in layer)
        for i, layer in enumerate(wired)
    ]


def delay_problems(names: Sequence[str], wired: Wiring) -> list[str]:
    """List connections that no synaptic delay can realise, with the smallest lag that works."""
    problems = []
    for name, layer, found in zip(names, wired, _delays(wired), strict=True):
        for (source, lag), delay in zip(layer, found, strict=True):
            label = f"{name}: the connection from {names[source] if source >= 0 else 'the input'}"
            if delay < 0:
                problems.append(
                    f"{label} lags {counted(lag, 'step')}, but its spikes need "
                    f"{lag - delay} to get there: "
                    f"{lag - delay} is the smallest lag that works"
                )
            if delay > DELAY_MAX:
                problems.append(
                    f"{label} needs a delay of {delay} steps, a synapse holds at most "
                    f"{DELAY_MAX}: put a layer in between"
                )
    return problems


def chain_problems(network: ChipNetwork) -> list[str]:
    """List where a network is not a chain that answers with its last v, or spike counts."""
    problems = []
    for i, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
        if sources != (i - 1,) or layer.inputs[0].lag:
            read = ", ".join(
                source_name(one.source) + (f" {counted(one.lag, 'step')} later" if one.lag else "")
                for one in layer.inputs
            )
            problems.append(f"{layer.name}: it reads {read}; in a chain, the layer before alone")
    last = network.layers[-1]
    if settled(network.readout, last.neuron.spiking) != settled("auto", last.neuron.spiking):
        problems.append(f"{last.name}: its answer is the readout {network.readout!r}")
    return problems


def source_name(source: str | None) -> str:
    """Return what messages call a source."""
    if source is None:
        return "the layer before"
    return "the input" if source.startswith("@") else source


def groups(network: ChipNetwork) -> list[tuple[int, ...]]:
    """Return the layers that run one after another, those on a common cycle together."""
    return list(network.order.parts)


def is_recurrent(network: ChipNetwork) -> bool:
    """Tell whether some layer's spikes come back to it."""
    return any(steps_together(network, group) for group in groups(network))


def steps_together(network: ChipNetwork, group: tuple[int, ...]) -> bool:
    """Tell whether a group has to run step by step: its layers feed each other or themselves."""
    return len(group) > 1 or group[0] in network.sources[group[0]]
