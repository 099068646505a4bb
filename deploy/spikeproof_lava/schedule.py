"""When each layer's clock starts on Lava, where every hop over a synapse takes one step."""

from __future__ import annotations

from spikeproof.ir.chip import INPUT_INDEX, ChipNetwork
from spikeproof.ir.graph import depths


def takes_payloads(network: ChipNetwork) -> bool:
    """Tell whether the input reaches synapses: spikes or pixels, not a current of the host alone.

    Something has to send them then.
    """
    return any(
        source == INPUT_INDEX and one.host is None
        for layer, sources in zip(network.layers, network.sources, strict=True)
        for one, source in zip(layer.inputs, sources, strict=True)
    )


def starts(network: ChipNetwork) -> list[int]:
    """Return how many steps pass before each layer's clock starts.

    It is the depth: the first payload is sent in the first step. Where nothing is sent, and the
    host writes currents only, no layer has to wait for a hop from the input, and all start one
    step earlier; what delays connections need stays the same, as depths differ by the same.
    """
    waits = 0 if takes_payloads(network) else 1
    return [depth - waits for depth in depths(network)]


def run_steps(network: ChipNetwork, samples: int) -> int:
    """Return the steps of a run in which every layer does all steps of all samples."""
    return samples * network.timesteps + max(starts(network))
