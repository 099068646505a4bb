"""What a run on Lava's CPU backend takes, known before it is built.

A convolution is unrolled to one stored weight per connection, copied by Lava from the process to
its model; a network that other engines run in megabytes can need more memory than there is.
The constants were measured with ``python tests/benchmarks/lava_cost.py``, see docs/performance.md.
"""

from __future__ import annotations

from spikeproof.engines.memory import available_bytes, size_text
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.graph import delays

_SYNAPSE_BYTES = 34
_START_BYTES = 100 << 20
_PROCESS_BYTES, _ONE_LAYER = 7 << 20, 2
"""Of each process beyond those of a layer with one connection, which the start holds."""
_START_SECONDS, _BUILD_SECONDS = 5.0, 1.6e-7
"""Lava's start, and what unrolling and copying one connection takes."""
_STEP_SECONDS, _SYNAPSE_SECONDS = 0.001, 1e-9
"""Of a connection and of a weight of it, in every step."""


def count_all_synapses(network: ChipNetwork) -> int:
    """Return the connections on the chip, every convolution unrolled."""
    every = (one for layer in network.layers for one in layer.inputs)
    return sum(one.synapse.stored for one in every if one.host is None)


def count_processes(network: ChipNetwork) -> int:
    """Return the connections, and once more each that needs a delay line.

    Those of the neurons are left out, one for each layer.
    """
    return sum(
        1 + bool((delay or one.lag) and one.host is None)
        for layer, found in zip(network.layers, delays(network), strict=True)
        for one, delay in zip(layer.inputs, found, strict=True)
    )


def memory_bytes(network: ChipNetwork) -> int:
    """Return the memory that all processes of a run take together at its highest."""
    processes = count_processes(network) + len(network.layers)
    return (
        _START_BYTES
        + _PROCESS_BYTES * (processes - _ONE_LAYER)
        + _SYNAPSE_BYTES * count_all_synapses(network)
    )


def run_seconds(network: ChipNetwork, samples: int) -> float:
    """Return about how long a run takes on a machine that is not busy."""
    steps, synapses = samples * network.timesteps + len(network.layers), count_all_synapses(network)
    step = _STEP_SECONDS * count_processes(network) + _SYNAPSE_SECONDS * synapses
    return _START_SECONDS + _BUILD_SECONDS * synapses + steps * step


def memory_problem(network: ChipNetwork, available: int | None = None) -> str | None:
    """Return why a run cannot fit in memory, with figures and the ways out; None if it can.

    Args:
        network: a checked network.
        available: bytes that may be used; by default what the machine has free.
    """
    needed = memory_bytes(network)
    free = available_bytes() if available is None else available
    if free is None or needed <= free:
        return None
    return (
        f"Lava would need about {size_text(needed)} of memory for "
        f"{count_all_synapses(network):,} connections (convolutions are unrolled), "
        f"{size_text(free)} are free; --engine fast gives the same integers in far less, "
        "Lava itself needs a machine with more memory, and fewer samples do not help"
    )
