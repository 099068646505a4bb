"""The same float network on other people's simulators: snnTorch, SpikingJelly, SLAYER's neurons.

Each is used as its own documentation shows inference: their neuron, torch's layers. Products are
those of :mod:`spikeproof_models.baselines`, so that only neurons and loops differ.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeproof.errors import MissingExtraError, UnsupportedError
from spikeproof.extras import is_installed, need
from spikeproof.ir import chip
from spikeproof_models.baselines import TorchLayer, torch_layer

Forward = Callable[[NDArray[np.uint8]], NDArray[Any]]
Neurons = Callable[[Tensor], Tensor]


def problems(network: chip.ChipNetwork) -> list[str]:
    """List why the other simulators' plain LIF neurons cannot express a network."""
    found = []
    for layer in network.layers:
        if not layer.neuron.uniform:
            found.append(f"{layer.name}: neurons that are not all alike, or no reset to zero")
        elif layer.neuron.stepwise:
            found.append(f"{layer.name}: leak and threshold change from step to step")
        elif layer.neuron.filters:
            found.append(f"{layer.name}: synaptic decay")
    return found


def snntorch_forward(network: chip.ChipNetwork) -> Forward:
    """Return inference with snnTorch's ``Leaky`` in a loop over time.

    Raises:
        MissingExtraError: snnTorch is not installed. UnsupportedError: it has no such neuron.
    """
    need("snntorch", extra="bench", purpose="bench")
    _check_runs("snntorch", network)
    import snntorch

    def make(layer: TorchLayer) -> Callable[[], Neurons]:
        neuron = snntorch.Leaky(
            beta=layer.leak[0],
            threshold=layer.threshold[0],
            reset_mechanism="zero",
            reset_delay=False,
        ).eval()

        def start() -> Neurons:
            held: list[Tensor | None] = [None]

            def step(drive: Tensor) -> Tensor:
                before = torch.zeros_like(drive) if held[0] is None else held[0]
                spikes, held[0] = neuron(drive, before)
                return spikes  # type: ignore[no-any-return]

            return step

        return start

    return _looped(network, make)


def spikingjelly_forward(network: chip.ChipNetwork) -> Forward:
    """Return inference with SpikingJelly's ``LIFNode`` in multi-step mode, layer by layer.

    Raises:
        MissingExtraError: SpikingJelly is not installed. UnsupportedError: it has no such neuron.
    """
    need("spikingjelly", extra="bench", purpose="bench")
    _check_runs("spikingjelly", network)
    from spikingjelly.activation_based import neuron

    def make(layer: TorchLayer) -> Neurons:
        node = neuron.LIFNode(
            tau=1 / (1 - layer.leak[0]),
            decay_input=False,
            v_threshold=layer.threshold[0],
            v_reset=0.0,
            step_mode="m",
            detach_reset=True,
        ).eval()

        def run(drive: Tensor) -> Tensor:
            node.reset()
            return node(drive)  # type: ignore[no-any-return]

        return run

    return _layer_by_layer(network, make, lambda layer: layer.readout or layer.leak[0] >= 1)


def slayer_forward(network: chip.ChipNetwork) -> Forward:
    """Return inference with the neuron of lava-dl's SLAYER, whose own loop runs over time.

    Raises:
        MissingExtraError: lava-dl is not installed. UnsupportedError: it has no such neuron.
    """
    if not is_installed("lava.lib.dl.slayer"):
        raise MissingExtraError(
            "lava-dl is not installed in this environment",
            where="bench",
            hint="Install: pip install --no-deps --ignore-requires-python lava-dl==0.6.0, then "
            "h5py and opencv-python-headless.",
        )
    _check_runs("lava-dl", network)
    # By name, because nothing here may need Lava: only this comparison uses it, where it exists.
    slayer: Any = import_module("lava.lib.dl.slayer")

    def make(layer: TorchLayer) -> Neurons:
        node = slayer.neuron.cuba.Neuron(
            threshold=layer.threshold[0],
            current_decay=1.0,
            voltage_decay=1 - layer.leak[0],
            persistent_state=False,
            requires_grad=False,
        ).eval()
        return lambda drive: node(drive.movedim(0, -1)).movedim(-1, 0)

    return _layer_by_layer(network, make, lambda layer: layer.readout)


LIBRARIES: dict[str, Callable[[chip.ChipNetwork], Forward]] = {
    "snntorch": snntorch_forward,
    "spikingjelly": spikingjelly_forward,
    "slayer": slayer_forward,
}
"""How to build a network's forward pass with each of them, by name."""


def _check_runs(simulator: str, network: chip.ChipNetwork) -> None:
    if reasons := problems(network):
        raise UnsupportedError("; ".join(reasons), where=f"{simulator}, {network.name}")


def _layers(network: chip.ChipNetwork) -> list[TorchLayer]:
    return [torch_layer(layer, network.timesteps, torch.float32) for layer in network.layers]


def _time_first(network: chip.ChipNetwork, x: NDArray[np.uint8]) -> Tensor:
    raw = torch.from_numpy(x)
    return (raw[None] if network.coding == "pixels" else raw.transpose(0, 1)).float()


def _layer_by_layer(
    network: chip.ChipNetwork,
    make: Callable[[TorchLayer], Neurons],
    silent: Callable[[TorchLayer], bool],
) -> Forward:
    """Run layer by layer, each over all steps; ``make`` gives a layer's neurons as a function.

    ``silent``: layers that are summed over time instead.
    """
    layers = _layers(network)
    nodes = [None if silent(layer) else make(layer) for layer in layers]

    @torch.inference_mode()
    def forward(x: NDArray[np.uint8]) -> NDArray[Any]:
        signal = _time_first(network, x)
        for layer, node in zip(layers, nodes, strict=True):
            drive = layer.current(signal.flatten(0, 1)).unflatten(0, signal.shape[:2])
            if len(drive) == 1:
                drive = drive.expand(network.timesteps, *drive.shape[1:])
            signal = drive.sum(0, keepdim=True) if node is None else node(drive)
        return signal.sum(0).flatten(1).numpy()

    return forward


def _looped(
    network: chip.ChipNetwork, make: Callable[[TorchLayer], Callable[[], Neurons]]
) -> Forward:
    """Run all layers step by step; ``make`` builds what starts a layer's neurons from rest."""
    layers = _layers(network)
    starts = [None if layer.readout else make(layer) for layer in layers]

    @torch.inference_mode()
    def forward(x: NDArray[np.uint8]) -> NDArray[Any]:
        steps = [start() if start else None for start in starts]
        source = _time_first(network, x)
        constant = layers[0].current(source[0]) if network.coding == "pixels" else None
        total: Tensor | None = None
        for t in range(network.timesteps):
            signal = source[0] if constant is not None else source[t]
            for layer, step in zip(layers, steps, strict=True):
                first = layer is layers[0] and constant is not None
                drive = constant if first and constant is not None else layer.current(signal)
                signal = drive if step is None else step(drive)
            total = signal.clone() if total is None else total.add_(signal)
        return np.asarray(0) if total is None else total.flatten(1).numpy()

    return forward
