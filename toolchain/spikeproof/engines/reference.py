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
from spikeproof.ir.chip import ChipLayer, ChipNetwork

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Drive:
    """What reaches a layer's neurons in one step: a synaptic sum, or a host-written bias."""

    total: Ints | int = 0
    host_mantissa: Ints | int = 0


class ReferenceEngine(BatchedEngine):
    """Run a chip network exactly as the semantics say, sample by sample."""

    name = "reference"
    batch_values = 1
    most_samples = 16

    def run_batch(self, network: ChipNetwork, x: NDArray[np.uint8], trace: bool) -> RunResult:
        """Run one sample from zero state (the per-layer reset between samples)."""
        layers = _run_sample(network, x[0])
        v, s = layers[-1].v, layers[-1].s
        logits = v[-1].ravel() if s is None else s.sum(axis=0, dtype=np.int64).ravel()
        names = [layer.name for layer in network.layers]
        traces = {n: _one_of_many(t) for n, t in zip(names, layers, strict=True)} if trace else None
        return result_from_logits(logits[None], traces)


def _run_sample(network: ChipNetwork, sample: NDArray[np.uint8]) -> list[LayerTrace]:
    """Run T steps layer by layer: on its own clock a layer sees its source's step t at step t."""
    constant = network.coding == "pixels"
    source = (np.stack([sample] * network.timesteps) if constant else sample).astype(np.int64)
    traces = []
    for layer in network.layers:
        trace = _run_layer(layer, source)
        traces.append(trace)
        if trace.s is not None:
            source = trace.s.astype(np.int64)
    return traces


def _run_layer(layer: ChipLayer, source: Ints) -> LayerTrace:
    u = np.zeros(layer.shape, np.int64)
    v = u + layer.neuron.initial
    us, vs, spikes = [], [], []
    for t, payload in enumerate(source):
        u, v = _integrate(layer.neuron, u, v, drive(layer, payload), t)
        s = v > layer.neuron.threshold_at(t) if layer.neuron.spiking else np.zeros(v.shape, bool)
        us.append(u)
        vs.append(v)
        spikes.append(s)
        v = np.where(s, layer.neuron.after_spike(v), v)  # the reset; u is left alone
    return LayerTrace(
        np.stack(us).astype(np.int32),
        np.stack(vs).astype(np.int32),
        np.stack(spikes).astype(np.uint8) if layer.neuron.spiking else None,
    )


def _integrate(neuron: chip.Neuron, u: Ints, v: Ints, d: Drive, t: int) -> tuple[Ints, Ints]:
    """Section 1: decay and wrap u, decay v, add u and bias, saturate v."""
    arriving = fx.shift_sum(d.total, fx.CURRENT_SHIFT)
    u = fx.wrap_current(fx.scale_toward_zero(u, fx.DECAY_ONE - (neuron.du + 1)) + arriving)
    bias = fx.shift_sum(neuron.bias.astype(np.int64) + d.host_mantissa, neuron.bias_exponent)
    v = fx.saturate_voltage(fx.scale_toward_zero(v, neuron.leak_at(t)) + u + bias)
    return u, v


def drive(layer: ChipLayer, payload: Ints) -> Drive:
    """Section 2: the synaptic sum of one step's payloads, or the host's constant current."""
    total = synaptic_sum(layer.synapse, payload)
    if layer.host:
        return Drive(
            host_mantissa=fx.round_half_up_shift(total + layer.host.offset, layer.host.shift)
        )
    return Drive(total=fx.shift_sum(total, layer.synapse.exponent))


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


def _one_of_many(trace: LayerTrace) -> LayerTrace:
    return LayerTrace(trace.u[None], trace.v[None], None if trace.s is None else trace.s[None])
