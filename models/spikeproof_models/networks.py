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
from spikeproof.ir.readouts import ReadoutRule
from spikeproof.ir.shapes import network_shapes
from spikeproof_models.layers import AnySpike, build_layer, export_node
from spikeproof_models.neuron_choices import GainForm
from spikeproof_models.neurons import DEFAULT, LifLayer


@dataclass(frozen=True, eq=False)
class LayerRecord:
    """One node that spikes or answers, over time, (T, B, ...): current before the gain, v, spikes.

    The current of a MaxPool2d is the number of spikes in its windows, and v the same.
    """

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

    What no spike has reached is computed once per image. Layers see time and batch merged,
    time-major; those on a cycle run step by step. Coefficients of the network's edges are trained,
    but for a 1 that is not declared so; batch norm on a cycle sees one step at a time. The forward
    pass takes images (B, C, H, W) in [0, 1] and returns logits (B, K), what the readout's rule
    makes of its current.
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
        self._shapes = shapes = network_shapes(network)
        for node, incoming in zip(network.nodes, network.incoming, strict=True):
            shape = next(shapes[one.source] for one in incoming if one.source in shapes)
            self.layers.append(build_layer(node, network.timesteps, gain_form, shape))
        self.coefficients = nn.ParameterDict(
            {
                _key(i, k): nn.Parameter(torch.tensor(one.coefficient, dtype=torch.float64))
                for i, incoming in enumerate(network.incoming)
                for k, one in enumerate(incoming)
                if one.weighted
            }
        )
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
        """Return logits and the records of all Lif, MaxPool2d and Readout nodes, by node name."""
        records: dict[str, LayerRecord] = {}
        return self._run(x, records), records

    def export(self) -> floats.FloatNetwork:
        """Return the network with the module's present numbers (float32)."""
        pairs = zip(self.network.nodes, self.layers, strict=True)
        nodes = tuple(export_node(n, m) for n, m in pairs)
        counts: dict[str, int] = {}
        edges = []
        position = {node.name: i for i, node in enumerate(self.network.nodes)}
        for edge in self.network.edges:
            k = counts[edge.target] = counts.get(edge.target, -1) + 1
            key = _key(position[edge.target], k)
            if key in self.coefficients:
                factor = float(self.coefficients[key].item())
                edge = replace(edge, coefficient=factor, trained=edge.trained or factor == 1)
            edges.append(edge)
        return replace(self.network, nodes=nodes, edges=tuple(edges))

    def _run(self, x: Tensor, records: dict[str, LayerRecord] | None = None) -> Tensor:
        sent = {-1: x.unsqueeze(0)}  # (T, B, ...), or (1, B, ...) what is the same at every step
        incoming = self.network.incoming
        last = len(incoming) - 1
        for part, spent in zip(*self.network.order, strict=True):
            first = part[0]
            if len(part) > 1 or first in (one.source for one in incoming[first]):
                self._run_cycle(part, sent, records, x)
            else:
                sent[first] = self._run_node(first, self._received(first, sent), records)
            for i in spent:
                if i != last:
                    del sent[i]
        return sent[last][0]

    def _received(self, i: int, sent: dict[int, Tensor]) -> Tensor:
        """Add up what reaches a node of all that was sent, (T or 1, B, ...)."""
        total: Tensor | None = None
        for k, one in enumerate(self.network.incoming[i]):
            if one.source not in sent:
                continue
            value = self._late(sent[one.source], one.lag)
            if _key(i, k) in self.coefficients:
                value = self.coefficients[_key(i, k)] * value
            total = value if total is None else total + value
        if total is None:
            raise GraphError("nothing reaches it", where=self.network.nodes[i].name)
        return total

    def _late(self, value: Tensor, lag: int) -> Tensor:
        if not lag:
            return value
        steps = self.network.timesteps
        full = value.expand(steps, *value.shape[1:])
        none = torch.zeros_like(full[:1]).expand(min(lag, steps), *full.shape[1:])
        return torch.cat([none, full[: max(0, steps - lag)]])

    def _run_node(self, i: int, value: Tensor, records: dict[str, LayerRecord] | None) -> Tensor:
        """Run a node over all steps; of a readout return the logits, (1, B, K)."""
        node, layer = self.network.nodes[i], self.layers[i]
        if isinstance(layer, LifLayer):
            s, v = layer(value)
            if records is not None:
                records[node.name] = LayerRecord(value.expand_as(v), v, s)
            return torch.as_tensor(s)
        if isinstance(node, floats.Readout):
            if records is not None:
                full = value.expand(self.network.timesteps, *value.shape[1:])
                records[node.name] = LayerRecord(full, None, None)
            return answer(node.rule, value, self.network.timesteps).unsqueeze(0)
        out: Tensor = layer(value.flatten(0, 1))
        out = out.reshape(*value.shape[:2], *out.shape[1:])
        if records is not None and isinstance(layer, AnySpike):
            full = value.expand(self.network.timesteps, *value.shape[1:])
            counts = layer.counts(full.flatten(0, 1)).unflatten(0, full.shape[:2])
            records[node.name] = LayerRecord(counts, counts, out.expand_as(counts))
        return out

    def _run_cycle(
        self,
        part: tuple[int, ...],
        sent: dict[int, Tensor],
        records: dict[str, LayerRecord] | None,
        images: Tensor,
    ) -> None:
        """Run nodes that feed each other, one step after another."""
        incoming, steps = self.network.incoming, self.network.timesteps
        outside = {
            i: self._received(i, sent)
            for i in part
            if any(one.source in sent for one in incoming[i])
        }
        done: dict[int, list[Tensor]] = {i: [] for i in part}
        kept: dict[int, list[tuple[Tensor, Tensor]]] = {i: [] for i in part}
        after: dict[int, Tensor] = {}
        for t in range(steps):
            for i in part:
                value = images.new_zeros((len(images), *self._shapes[incoming[i][0].source]))
                if i in outside:
                    value = value + outside[i][t if len(outside[i]) > 1 else 0]
                for k, one in enumerate(incoming[i]):
                    if one.source in part and t >= one.lag:
                        back = done[one.source][t - one.lag]
                        key = _key(i, k)
                        back = self.coefficients[key] * back if key in self.coefficients else back
                        value = value + back
                layer = self.layers[i]
                if isinstance(layer, LifLayer):
                    out = layer.step(value, after.get(i), t)
                    after[i] = out.v_after
                    kept[i].append((value, out.v.detach()))
                    done[i].append(out.s)
                else:
                    done[i].append(layer(value))
                    if isinstance(layer, AnySpike):
                        counts = layer.counts(value)
                        kept[i].append((counts, counts.detach()))
        for i in part:
            sent[i] = torch.stack(done[i])
            if records is not None and kept[i]:
                currents, states = (torch.stack(one) for one in zip(*kept[i], strict=True))
                records[self.network.nodes[i].name] = LayerRecord(currents, states, sent[i])


def _key(node: int, edge: int) -> str:
    return f"{node}-{edge}"


def answer(rule: ReadoutRule, current: Tensor, steps: int) -> Tensor:
    """Return logits (B, ...) of what reaches a readout, (T or 1, B, ...); see floats.Readout."""
    if rule == "auto":
        return current.mean(0)
    full = current.expand(steps, *current.shape[1:])
    if rule == "count":
        return full.sum(0)
    if rule == "first":
        later = torch.arange(steps, 0, -1, dtype=full.dtype, device=full.device)
        return (full * later.reshape(-1, *[1] * (full.ndim - 1))).amax(0)
    membrane = full.cumsum(0)
    if rule == "last":
        return membrane[-1]
    if rule == "mean":
        return membrane.mean(0)
    return membrane.amax(0) if rule == "max" else membrane.abs().amax(0)


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
