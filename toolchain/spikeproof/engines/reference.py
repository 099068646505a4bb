"""The specification in code: docs/semantics.md, one sample, one step, one layer at a time.

Written to be read next to that page, not to be fast. Every other engine must equal it in
every u, v and s. State is int64 throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.engines.base import BatchedEngine
from spikeproof.engines.trace import LayerTrace, RunResult, result_from_logits
from spikeproof.ir import chip
from spikeproof.ir.chip import INPUT_INDEX, ChipLayer, ChipNetwork
from spikeproof.ir.readouts import answers

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Drive:
    """What reaches a layer's neurons in one step: a synaptic sum, and a host-written bias."""

    total: Ints
    host_mantissa: Ints


class ReferenceEngine(BatchedEngine):
    """Run a chip network exactly as the semantics say, sample by sample."""

    name = "reference"
    batch_values = 1
    most_samples = 16

    def run_batch(self, network: ChipNetwork, x: NDArray[np.uint8], trace: bool) -> RunResult:
        """Run one sample from its initial state (the per-layer reset between samples)."""
        done = _run_sample(network, x[0])
        last = done[network.layers[-1].name]
        logits = answers(network.readout, last.v, last.s)
        return result_from_logits(logits, done if trace else None)


def _run_sample(network: ChipNetwork, sample: NDArray[np.uint8]) -> dict[str, LayerTrace]:
    """Run T steps: on its own clock a layer sees what its sources sent ``lag`` steps before."""
    constant = network.coding == "pixels"
    sent: dict[int, list[Ints]] = {i: [] for i in range(INPUT_INDEX, len(network.layers))}
    payloads = [sample] * network.timesteps if constant else sample
    sent[INPUT_INDEX] = [payload.astype(np.int64) for payload in payloads]
    states = [_State(layer) for layer in network.layers]
    for t in range(network.timesteps):
        for i, state in enumerate(states):
            arriving = [
                sent[source][t - one.lag] if t >= one.lag else None
                for one, source in zip(state.layer.inputs, network.sources[i], strict=True)
            ]
            sent[i].append(state.step(arriving, t))
    return {state.layer.name: state.trace() for state in states}


class _State:
    """u and v of one layer, and what they were."""

    def __init__(self, layer: ChipLayer) -> None:
        self.layer = layer
        self.u = np.zeros(layer.shape, np.int64)
        self.v = self.u + layer.neuron.initial
        self.us: list[Ints] = []
        self.vs: list[Ints] = []
        self.spikes: list[Ints] = []

    def step(self, arriving: list[Ints | None], t: int) -> Ints:
        """Go on by one step and return the spikes, 0 or 1."""
        neuron = self.layer.neuron
        self.u, v = _integrate(neuron, self.u, self.v, drive(self.layer, arriving), t)
        fires = v > neuron.threshold_at(t) if neuron.spiking else np.zeros(v.shape, bool)
        self.v = np.where(fires, neuron.after_spike(v), v)  # the reset; u is left alone
        self.us.append(self.u)
        self.vs.append(v)
        self.spikes.append(fires.astype(np.int64))
        return self.spikes[-1]

    def trace(self) -> LayerTrace:
        """Return all steps, of one sample."""
        return LayerTrace(
            np.stack(self.us).astype(np.int32)[None],
            np.stack(self.vs).astype(np.int32)[None],
            np.stack(self.spikes).astype(np.uint8)[None] if self.layer.neuron.spiking else None,
        )


def _integrate(neuron: chip.Neuron, u: Ints, v: Ints, d: Drive, t: int) -> tuple[Ints, Ints]:
    """Section 1: decay and wrap u, decay v, add u and bias, saturate v."""
    arriving = fx.shift_sum(d.total, fx.CURRENT_SHIFT)
    u = fx.wrap_current(fx.scale_toward_zero(u, fx.DECAY_ONE - (neuron.du + 1)) + arriving)
    bias = fx.shift_sum(neuron.bias.astype(np.int64) + d.host_mantissa, neuron.bias_exponent)
    v = fx.saturate_voltage(fx.scale_toward_zero(v, neuron.leak_at(t)) + u + bias)
    return u, v


def drive(layer: ChipLayer, arriving: list[Ints | None]) -> Drive:
    """Section 2: the sums of one step's payloads over all connections, and the host's current.

    ``arriving``: what each connection carries at this step; None before anything was sent.
    """
    total, mantissa = np.zeros(layer.shape, np.int64), np.zeros(layer.shape, np.int64)
    for one, payload in zip(layer.inputs, arriving, strict=True):
        if payload is None:
            continue
        sums = synaptic_sum(one.synapse, payload)
        if one.host is None:
            total += fx.shift_sum(sums, one.synapse.exponent)
        else:
            mantissa += fx.round_half_up_shift(sums + one.host.offset, one.host.shift)
    return Drive(total, mantissa)


def synaptic_sum(synapse: chip.Synapse, payload: Ints) -> Ints:
    """Sum weight x payload for every neuron, before the exponent."""
    if isinstance(synapse, chip.ConvSynapse):
        return _cross_correlate(synapse, payload)
    total: Ints = synapse.matrix().astype(np.int64) @ payload.ravel()
    return total.reshape(synapse.output_shape(payload.shape))


def _cross_correlate(synapse: chip.ConvSynapse, image: Ints) -> Ints:
    # The sum runs over every kernel tap; padding contributes zero.
    weight = synapse.weight.astype(np.int64)
    out_channels, per_group, k_h, k_w = weight.shape
    (p_h, p_w), (s_h, s_w), (d_h, d_w) = synapse.padding, synapse.stride, synapse.dilation
    padded = np.pad(image, ((0, 0), (p_h, p_h), (p_w, p_w)))
    out_h = (padded.shape[1] - d_h * (k_h - 1) - 1) // s_h + 1
    out_w = (padded.shape[2] - d_w * (k_w - 1) - 1) // s_w + 1
    grouped = weight.reshape(synapse.groups, -1, per_group, k_h, k_w)
    total = np.zeros((synapse.groups, out_channels // synapse.groups, out_h, out_w), np.int64)
    for i in range(k_h):
        for j in range(k_w):
            rows = slice(i * d_h, i * d_h + (out_h - 1) * s_h + 1, s_h)
            columns = slice(j * d_w, j * d_w + (out_w - 1) * s_w + 1, s_w)
            seen = padded[:, rows, columns].reshape(synapse.groups, per_group, out_h, out_w)
            total += np.einsum("goi,gihw->gohw", grouped[..., i, j], seen)
    return total.reshape(out_channels, out_h, out_w)
