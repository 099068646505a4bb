"""A float network as a torch module: built from the float dialect and exported back to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spikeproof.attacks.estimators import Estimator
from spikeproof.errors import GraphError
from spikeproof.ir import floats
from spikeproof.ir.check_float import check_float
from spikeproof.ir.shapes import Shape, output_shape
from spikeproof_models.layers import build_layer, export_node
from spikeproof_models.neuron_choices import GainForm
from spikeproof_models.neurons import DEFAULT, LifLayer


@dataclass(frozen=True, eq=False)
class LayerRecord:
    """One Lif or Readout node over time, (T, B, ...): current before the gain, v, spikes."""

    current: Tensor
    v: Tensor | None
    s: Tensor | None


class LastLayer(NamedTuple):
    """Logits (B, K), and the last spiking layer's input current (T, B, ...) before its gain."""

    logits: Tensor
    current: Tensor
    gain: Tensor | None


class SpikingNetwork(nn.Module):
    """Run a float network with direct coding: the same image at every timestep.

    Everything before the first Lif is computed once per image. Later layers see time and batch
    merged, time-major. The forward pass takes images (B, C, H, W) in [0, 1] and returns logits
    (B, K), the mean over time of the readout's current.
    """

    def __init__(
        self,
        network: floats.FloatNetwork,
        gain_form: GainForm = "free",
        estimator: Estimator = DEFAULT,
    ) -> None:
        super().__init__()
        check_float(network)
        self.network = network
        self.layers = nn.ModuleList()
        shape: Shape = tuple(network.input_shape)
        for node in network.nodes:
            self.layers.append(build_layer(node, network.timesteps, gain_form, shape))
            shape = output_shape(node, shape)
        for layer in self.layers:
            if isinstance(layer, LifLayer):
                layer.estimator = estimator

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K)."""
        return self._run(x)

    def last_current(self, x: Tensor) -> LastLayer:
        """Return logits and what the last spiking layer receives (for MS-MPPD).

        Raises:
            GraphError: the network has no spiking layer.
        """
        records: dict[str, LayerRecord] = {}
        logits = self._run(x, records)
        lif = [m for m in self.layers if isinstance(m, LifLayer)]
        if not lif:
            raise GraphError("has no spiking layer", where=self.network.name)
        return LastLayer(logits, records[lif[-1].node.name].current, lif[-1].gain())

    def record(self, x: Tensor) -> tuple[Tensor, dict[str, LayerRecord]]:
        """Return logits and the records of all Lif and Readout nodes, by node name."""
        records: dict[str, LayerRecord] = {}
        return self._run(x, records), records

    def export(self) -> floats.FloatNetwork:
        """Return the network with the module's present numbers (float32)."""
        pairs = zip(self.network.nodes, self.layers, strict=True)
        return replace(self.network, nodes=tuple(export_node(n, m) for n, m in pairs))

    def _run(self, x: Tensor, records: dict[str, LayerRecord] | None = None) -> Tensor:
        steps, batch = 1, x.shape[0]
        for node, layer in zip(self.network.nodes, self.layers, strict=True):
            if isinstance(layer, LifLayer):
                current = x.unflatten(0, (steps, batch))
                s, v = layer(current)
                steps, x = layer.timesteps, s.flatten(0, 1)
                if records is not None:
                    records[node.name] = LayerRecord(current.expand_as(v), v, s)
            else:
                x = layer(x)
        current = x.unflatten(0, (steps, batch))
        if records is not None:
            shape = (self.network.timesteps, *current.shape[1:])
            records[self.network.nodes[-1].name] = LayerRecord(current.expand(shape), None, None)
        logits: Tensor = current.mean(0)
        return logits


@contextmanager
def surrogate_width(model: SpikingNetwork, width: float) -> Iterator[None]:
    """Use another half-width of the surrogate slope inside the block; spikes do not change.

    A network can hide its gradient from one surrogate and still be fooled through another.
    """
    neurons = [m for m in model.layers if isinstance(m, LifLayer)]
    before = [m.estimator for m in neurons]
    try:
        for neuron in neurons:
            neuron.estimator = replace(neuron.estimator, width=width)
        yield
    finally:
        for neuron, old in zip(neurons, before, strict=True):
            neuron.estimator = old


def build_module(
    network: floats.FloatNetwork,
    *,
    gain_form: GainForm = "free",
    dtype: torch.dtype = torch.float32,
    estimator: Estimator = DEFAULT,
) -> SpikingNetwork:
    """Return the network as a torch module in evaluation mode.

    Args:
        network: checked before it is built.
        gain_form: "free" keeps stored gains exactly; "positive" for training.
        dtype: of parameters; the input must have the same.
        estimator: how gradients flow through spikes and resets.
    """
    return SpikingNetwork(network, gain_form, estimator).to(dtype).eval()


def attacked_module(network: floats.FloatNetwork, estimator: Estimator) -> SpikingNetwork:
    """Return the module that attacks take gradients of, see :mod:`spikeproof.attacks.images`."""
    return build_module(network, estimator=estimator)
