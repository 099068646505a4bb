"""The plain batched engine: NumPy only, the oracle and the fallback of the compiled one.

A layer that nothing comes back to is run with all T steps at once: one matrix product over
(samples x steps) for each connection, and T vectorised neuron updates. Layers on a cycle go on step
by step together. Sums go through the float matrix
library, which is exact as long as no partial sum can reach 2^24 (float32) or 2^53 (float64);
the bound is computed from the weights, never assumed. States are integers held in float64, where
every product and sum of the neuron update is exact (fixedpoint.scale_exact_floats).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.engines.base import BatchedEngine
from spikeproof.engines.trace import Channel, LayerTrace, RunResult, result_from_logits
from spikeproof.ir import chip
from spikeproof.ir.chip import INPUT_INDEX, ChipLayer, ChipNetwork, Connection
from spikeproof.ir.readouts import answers
from spikeproof.numerics.correlation import correlate

Floats = NDArray[np.floating[Any]]


class NumpyEngine(BatchedEngine):
    """Run a chip network in batches with matrix products; equal to the reference bit for bit.

    Args:
        channel: what becomes of spikes once they are fired; it sees the samples of one batch.
    """

    name = "numpy"
    batch_values = 1 << 20
    most_samples = 256

    def __init__(self, channel: Channel | None = None) -> None:
        """Take what happens to spikes on their way; None: all arrive."""
        self._channel = channel

    def run_batch(self, network: ChipNetwork, x: NDArray[np.uint8], trace: bool) -> RunResult:
        """Run one batch; a constant input keeps a step axis of length 1: its sum is made once."""
        sent: dict[int, NDArray[Any]] = {INPUT_INDEX: x[:, None] if x.ndim == 4 else x}
        last = len(network.layers) - 1
        kept: dict[int, LayerTrace] = {}
        for group, spent in zip(*network.order, strict=True):
            wanted = {i for i in group if trace or i == last}
            for i, done, spikes in _run_group(network, group, sent, wanted, len(x), self._channel):
                sent[i] = spikes
                if i in wanted:
                    kept[i] = done
            for i in spent:
                del sent[i]
        logits = answers(network.readout, kept[last].v, kept[last].s)
        names = [layer.name for layer in network.layers]
        traces = {names[i]: kept[i] for i in sorted(kept)} if trace else None
        return result_from_logits(logits, traces)


def run_alone(
    layer: ChipLayer, arriving: Sequence[NDArray[Any]], samples: int, steps: int
) -> LayerTrace:
    """Run one layer on what its connections carry, (N, T or 1, *shape), lags applied."""
    population = _Population(layer, (samples, steps), [(one, 0) for one in arriving], keep=True)
    for t in range(steps):
        population.step(t)
    return population.trace()


def layer_drive(
    layer: ChipLayer, arriving: Sequence[NDArray[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what arrives in u and what is added to v, each (N or 1, T or 1, *neurons).

    The first is the synaptic sum << 6, the second the bias << its exponent, with the host's
    current in it. Both are integers held in float64. ``arriving``: what each connection carries,
    (N, T or 1, *shape), lags applied.
    """
    steps = max(one.shape[1] for one in arriving)
    return _drive(layer, [(one, 0) for one in arriving], steps)


Sent = tuple[NDArray[Any], int]
"""What a source sends, (N, T or 1, *shape), and by how many steps it arrives later."""


def _drive(
    layer: ChipLayer, arriving: Sequence[Sent | None], steps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the same for what arrives later; None: nothing, or what is added step by step.

    Sums are made of what was sent and then put where they arrive: no payload is copied.
    """
    given = [pair for pair in zip(layer.inputs, arriving, strict=True) if pair[1] is not None]
    mantissa: NDArray[np.int64] | int = 0
    for one, sent in given:
        if one.host is not None and sent is not None:
            mantissa = one.host.mantissa(_sums(one.synapse, sent[0], layer.shape).astype(np.int64))
    bias = layer.neuron.bias_units(mantissa)
    bias = np.broadcast_to(bias, np.broadcast_shapes(bias.shape, (1, 1, *layer.shape)))
    carried = [(one.synapse, *sent) for one, sent in given if one.host is None and sent is not None]
    return _current(carried, layer.shape, steps), bias.astype(np.float64)


def _current(
    carried: Sequence[tuple[chip.Synapse, NDArray[Any], int]], shape: tuple[int, ...], steps: int
) -> NDArray[np.float64]:
    """Return the sum over connections << 6, (N or 1, T or 1, *neurons)."""
    total = np.zeros((1, 1, *shape))
    if len(carried) == 1 and not carried[0][2]:
        total = _sums(carried[0][0], carried[0][1], shape)
    elif carried:
        constant = all(not lag and sent.shape[1] == 1 for _, sent, lag in carried)
        total = np.zeros((len(carried[0][1]), 1 if constant else steps, *shape))
        for synapse, sent, lag in carried:
            if lag < steps:  # what would arrive after the last step is not summed
                total[:, lag:] += _sums(synapse, until(sent, steps - lag), shape)
    total *= fx.CURRENT_UNIT
    return total


def until(sent: NDArray[Any], end: int) -> NDArray[Any]:
    """Return the steps before ``end`` of what was sent, (N, T or 1, ...); one stands for all."""
    return sent[:, : max(0, end)]


def lagged(payloads: NDArray[Any], lag: int, steps: int) -> NDArray[Any]:
    """Return (N, T or 1, ...) payloads as they arrive: later by ``lag`` steps, none before.

    A lag makes a copy of all steps.
    """
    if lag == 0:
        return payloads
    full = np.broadcast_to(payloads, (len(payloads), steps, *payloads.shape[2:]))
    late = np.zeros_like(full)
    late[:, lag:] = until(full, steps - lag)
    return late


def _sums(
    synapse: chip.Synapse, source: NDArray[Any], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    samples, steps = source.shape[:2]
    # No partial sum can exceed it, in whatever order the library adds.
    peak = synapse.largest_sum(int(source.max(initial=0)))
    kind = np.float32 if peak < 1 << 24 else np.float64
    merged = source.astype(kind).reshape(samples * steps, *source.shape[2:])
    total: NDArray[Any] = _product(synapse, merged).reshape(samples, steps, *shape)
    if synapse.exponent:
        total = fx.shift_sum(total.astype(np.int64), synapse.exponent)
    return total.astype(np.float64)


def _product(synapse: chip.Synapse, x: Floats) -> Floats:
    """Multiply a batch (M, *inputs) of exact integers held in floats with the weights."""
    if not isinstance(synapse, chip.ConvSynapse):
        result: Floats = x.reshape(len(x), -1) @ synapse.matrix().T.astype(x.dtype)
        return result
    return correlate(
        x,
        synapse.weight.astype(x.dtype),
        synapse.stride,
        synapse.padding,
        synapse.dilation,
        synapse.groups,
    )


def _run_group(
    network: ChipNetwork,
    group: tuple[int, ...],
    sent: dict[int, NDArray[Any]],
    wanted: set[int],
    samples: int,
    channel: Channel | None,
) -> list[tuple[int, LayerTrace, NDArray[np.uint8]]]:
    """Run layers that feed each other, or one layer; ``sent``: what came out of all before.

    Returns for each its position, its trace (empty if not wanted) and its spikes (N, T, *neurons).
    """
    steps = network.timesteps
    populations = {}
    for i in group:
        layer, sources = network.layers[i], network.sources[i]
        arriving = [
            (sent[source], one.lag) if source in sent and source not in group else None
            for one, source in zip(layer.inputs, sources, strict=True)
        ]
        populations[i] = _Population(layer, (samples, steps), arriving, i in wanted, channel)
    within = {
        i: [
            (one, populations[source])
            for one, source in zip(network.layers[i].inputs, network.sources[i], strict=True)
            if source in group
        ]
        for i in group
    }
    for t in range(steps):
        for i, population in populations.items():
            population.step(
                t,
                [(one, source.spikes[:, t - one.lag]) for one, source in within[i] if t >= one.lag],
            )
    return [(i, one.trace(), one.spikes) for i, one in populations.items()]


class _Population:
    """All neurons of a layer for a batch: their state, and what they did so far."""

    def __init__(
        self,
        layer: ChipLayer,
        form: tuple[int, int],
        arriving: Sequence[Sent | None],
        keep: bool,
        channel: Channel | None = None,
    ) -> None:
        """Begin with what arrives from outside at all steps; ``form``: samples and steps."""
        self.layer, self.keep = layer, keep
        self.channel = channel if layer.neuron.spiking else None
        self.current, self.bias = _drive(layer, arriving, form[1])
        full = (*form, *layer.shape)
        kept = full if keep else (0, 0, *layer.shape)
        self.us, self.vs = np.empty(kept, np.int32), np.empty(kept, np.int32)
        self.spikes = np.empty(full, np.uint8)
        self.u, self.v = np.zeros((form[0], *layer.shape)), np.zeros((form[0], *layer.shape))
        neuron = layer.neuron
        self.v += neuron.initial
        self.taken = None if neuron.reset is None else np.broadcast_to(neuron.reset, self.v.shape)
        # Whether u has to be filtered or wrapped at all.
        self.full = (
            neuron.filters
            or any(sent is None for sent in arriving)
            or float(np.abs(self.current).max()) >= fx.WRAP_LIMIT
        )

    def step(self, t: int, within: Sequence[tuple[Connection, NDArray[np.uint8]]] = ()) -> None:
        """Go on by one step; ``within``: connections that carry spikes which were not there yet."""
        neuron, u, v = self.layer.neuron, self.u, self.v
        if self.full:
            fx.scale_exact_floats(u, neuron.u_keep, out=u)
            u += at_step(self.current, t)
            for one, spikes in within:
                u += _sums(one.synapse, spikes[:, None], self.layer.shape)[:, 0] * fx.CURRENT_UNIT
            u[...] = fx.wrap_current(u.astype(np.int64))
        else:
            u[...] = at_step(self.current, t)
        fx.scale_exact_floats(v, neuron.leak_at(t), out=v)
        v += u
        v += at_step(self.bias, t)
        np.clip(v, -fx.STATE_MAX, fx.STATE_MAX, out=v)
        if self.keep:
            self.us[:, t], self.vs[:, t] = u, v
        fired = np.greater(v, neuron.threshold_at(t), out=self.spikes[:, t].view(np.bool_))
        if self.taken is None:
            v[fired] = 0
        else:
            v[fired] -= self.taken[fired]
        if self.channel is not None:  # the neuron is reset by what it fired, not by what arrives
            fired[...] = self.channel(self.layer.name, t, fired)

    def trace(self) -> LayerTrace:
        """Return u, v and s of all steps."""
        return LayerTrace(self.us, self.vs, self.spikes if self.layer.neuron.spiking else None)


def at_step(values: NDArray[Any], t: int) -> NDArray[Any]:
    """Pick step t, or the only step of a constant drive."""
    result: NDArray[Any] = values[:, t if values.shape[1] > 1 else 0]
    return result
