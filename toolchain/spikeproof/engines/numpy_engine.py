"""The plain batched engine: NumPy only, the oracle and the fallback of the compiled one.

A feed-forward chain can be run layer by layer with all T steps at once, so a layer is one matrix
product over (samples x steps) and T vectorised neuron updates. Sums go through the float matrix
library, which is exact as long as no partial sum can reach 2^24 (float32) or 2^53 (float64);
the bound is computed from the weights, never assumed. States are integers held in float64, where
every product and sum of the neuron update is exact (fixedpoint.scale_exact_floats).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.engines.base import BatchedEngine
from spikeproof.engines.trace import LayerTrace, RunResult, result_from_logits
from spikeproof.ir import chip
from spikeproof.ir.chip import ChipLayer, ChipNetwork
from spikeproof.numerics.correlation import correlate

Floats = NDArray[np.floating[Any]]


class NumpyEngine(BatchedEngine):
    """Run a chip network in batches with matrix products; equal to the reference bit for bit."""

    name = "numpy"
    batch_values = 1 << 20
    most_samples = 256

    def run_batch(self, network: ChipNetwork, x: NDArray[np.uint8], trace: bool) -> RunResult:
        """Run one batch; a constant input keeps a step axis of length 1: its sum is made once."""
        source: NDArray[Any] = x[:, None] if network.coding == "pixels" else x
        traces: dict[str, LayerTrace] = {}
        for layer in network.layers:
            kept = trace or layer is network.layers[-1]
            done, source = _run_neurons(layer, len(x), network.timesteps, source, kept)
            if kept:
                traces[layer.name] = done
        logits = done.v[:, -1] if done.s is None else done.s.sum(axis=1, dtype=np.int64)
        return result_from_logits(logits.reshape(len(x), -1), traces)


def layer_drive(
    layer: ChipLayer, source: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what arrives in u and what is added to v, each (N or 1, T or 1, *neurons).

    The first is the synaptic sum << 6, the second the bias << its exponent, with the host's
    current in it. Both are integers held in float64.
    """
    sums = _sums(layer.synapse, source, layer.shape)
    if layer.host:
        bias = layer.neuron.bias_units(layer.host.mantissa(sums.astype(np.int64)))
        arriving = np.zeros((1, 1) + (1,) * len(layer.shape))
    else:
        bias, arriving = layer.neuron.bias_units(), sums * float(fx.CURRENT_UNIT)
    bias = np.broadcast_to(bias, np.broadcast_shapes(bias.shape, (1, 1, *layer.shape)))
    return arriving, bias.astype(np.float64)


def _sums(
    synapse: chip.Synapse, source: NDArray[Any], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    samples, steps = source.shape[:2]
    merged = source.reshape(samples * steps, *source.shape[2:])
    # No partial sum can exceed it, in whatever order the library adds.
    peak = synapse.largest_sum(int(merged.max(initial=0)))
    kind = np.float32 if peak < 1 << 24 else np.float64
    total: NDArray[Any] = _product(synapse, merged.astype(kind)).reshape(samples, steps, *shape)
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


def _run_neurons(
    layer: ChipLayer, samples: int, steps: int, source: NDArray[Any], keep: bool
) -> tuple[LayerTrace, NDArray[np.uint8]]:
    """Update all neurons of a batch over T steps; return the trace (if kept) and the spikes."""
    arriving, bias = layer_drive(layer, source)
    full = (samples, steps, *layer.shape)
    kept = full if keep else (0, 0, *layer.shape)
    us, vs, spikes = np.empty(kept, np.int32), np.empty(kept, np.int32), np.empty(full, np.uint8)
    neuron = layer.neuron
    filters = neuron.filters or float(np.abs(arriving).max()) >= fx.WRAP_LIMIT
    u, v = np.zeros((samples, *layer.shape)), np.zeros((samples, *layer.shape))
    v += neuron.initial
    taken = None if neuron.reset is None else np.broadcast_to(neuron.reset, v.shape)
    for t in range(steps):
        if filters:
            fx.scale_exact_floats(u, neuron.u_keep, out=u)
            u += at_step(arriving, t)
            u[...] = fx.wrap_current(u.astype(np.int64))
        else:
            u[...] = at_step(arriving, t)
        fx.scale_exact_floats(v, neuron.leak_at(t), out=v)
        v += u
        v += at_step(bias, t)
        np.clip(v, -fx.STATE_MAX, fx.STATE_MAX, out=v)
        if keep:
            us[:, t], vs[:, t] = u, v
        fired = np.greater(v, neuron.threshold_at(t), out=spikes[:, t].view(np.bool_))
        if taken is None:
            v[fired] = 0
        else:
            v[fired] -= taken[fired]
    return LayerTrace(us, vs, spikes if neuron.spiking else None), spikes


def at_step(values: NDArray[Any], t: int) -> NDArray[Any]:
    """Pick step t, or the only step of a constant drive."""
    result: NDArray[Any] = values[:, t if values.shape[1] > 1 else 0]
    return result
