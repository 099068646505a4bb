"""Audit states at the threshold, and force ties that every engine must break alike (V13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.engines.trace import LayerTrace
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    DenseSynapse,
    Neuron,
    ReadoutNeuron,
)
from spikeproof.ir.dynamics import neuron_step
from spikeproof.verify.stages import Membrane

Json = dict[str, Any]
_OFFSETS = (-1, 0, 1)
_BIASES = np.arange(-1000, 1001, dtype=np.int64)
_WEIGHT_MAX = 255
V_STEP = int(fx.shift_sum(1, fx.CURRENT_SHIFT))
"""v-units per unit of synaptic sum."""


def audit_layer(layer: ChipLayer, trace: LayerTrace, real: Membrane | None) -> Json:
    """Count states on and within one LSB of the threshold; ``real``: the float layer, if any."""
    steps = trace.v.shape[1]
    threshold = np.array([neuron_step(layer.neuron, t)[2] for t in range(steps)], np.int64)
    wide = threshold.reshape(-1, *(1,) * len(layer.shape))
    distance = np.abs(trace.v.astype(np.int64) - wide)
    margin = (distance / np.maximum(wide, 1)).ravel()
    quantiles = np.quantile(margin, [0.01, 0.1, 0.5], method="inverted_cdf")
    near = None
    if real is not None:
        lsb = real.lsb.reshape(wide.shape)
        near = int((np.abs(real.v - 1.0) * lsb <= 1.0).sum())
    return {
        "name": layer.name,
        "states": int(distance.size),
        "on_threshold": int((distance == 0).sum()),
        "within_1_lsb": int((distance <= 1).sum()),
        "float_within_1_lsb": near,
        "margin_quantiles": dict(zip(("p01", "p10", "p50"), quantiles.tolist(), strict=True)),
    }


def audit(network: ChipNetwork, traces: dict[str, LayerTrace], real: list[Membrane]) -> list[Json]:
    """Audit every spiking layer."""
    by_name = {m.name: m for m in real}
    return [
        audit_layer(layer, traces[layer.name], by_name.get(layer.name))
        for layer in network.layers
        if not isinstance(layer.neuron, ReadoutNeuron)
    ]


@dataclass(frozen=True, eq=False)
class TieCase:
    """A one-layer network and an input that put states exactly on the threshold.

    expected: how many states must then be exactly on it, so that a case that missed is noticed.
    """

    layer: str
    network: ChipNetwork
    x: NDArray[np.uint8]
    expected: int


def tie_cases(network: ChipNetwork) -> list[TieCase]:
    """Build one case per spiking layer, with that layer's own leak, threshold and filter."""
    cases = []
    for layer in network.layers:
        if not isinstance(layer.neuron, ReadoutNeuron):
            case = _tie_case(layer, network.timesteps)
            if case is not None:
                cases.append(case)
    return cases


def _tie_case(layer: ChipLayer, steps: int) -> TieCase | None:
    """Give each (step, offset) a neuron: at that step one volley lands on threshold + offset."""
    found = [
        (t, offset, solution)
        for t in range(steps)
        for offset in _OFFSETS
        if (solution := _solve(layer.neuron, t, offset)) is not None
    ]
    if not found:
        return None
    largest = max(total for _, _, (_, total) in found)
    inputs = max(1, -(-largest // _WEIGHT_MAX))
    weight = np.stack([_spread(total, inputs) for _, _, (_, total) in found]).astype(np.int16)
    bias = np.array([bias for _, _, (bias, _) in found], np.int32)
    fields = {**vars(layer.neuron), "bias": bias, "bias_exponent": 0}
    built = ChipLayer(
        layer.name, DenseSynapse(weight, "excitatory"), type(layer.neuron)(**fields), (len(found),)
    )
    x = np.zeros((steps, steps, inputs, 1, 1), np.uint8)
    x[range(steps), range(steps)] = 1  # sample k: all inputs fire at step k
    expected = sum(offset == 0 for _, offset, _ in found)
    return TieCase(
        layer.name, ChipNetwork("ties", (inputs, 1, 1), steps, (built,), "spikes"), x, expected
    )


def _spread(total: int, inputs: int) -> NDArray[np.int64]:
    """Split a sum over ``inputs`` weights of at most 255."""
    full, rest = divmod(total, _WEIGHT_MAX)
    weights = np.zeros(inputs, np.int64)
    weights[:full] = _WEIGHT_MAX
    if rest:
        weights[full] = rest
    return weights


def _solve(neuron: Neuron, step: int, offset: int) -> tuple[int, int] | None:
    """Find a bias and a synaptic sum that bring v to threshold + offset at ``step``.

    Before that step the neuron sees its bias only; the bias nearest to zero is taken.
    """
    v = np.zeros_like(_BIASES)
    for t in range(step):
        _, leak, threshold = neuron_step(neuron, t)
        v = fx.scale_toward_zero(v, leak) + _BIASES
        v = np.where(v > threshold, 0, v)
    _, leak, threshold = neuron_step(neuron, step)
    missing = threshold + offset - fx.scale_toward_zero(v, leak) - _BIASES
    total, rest = np.divmod(missing, V_STEP)
    usable = np.flatnonzero((rest == 0) & (total >= 0) & (total <= fx.SUM_MAX))
    if not len(usable):
        return None
    best = min(usable.tolist(), key=lambda i: abs(int(_BIASES[i])))
    return int(_BIASES[best]), int(total[best])


def count_ties(case: TieCase, trace: LayerTrace) -> int:
    """Count the states of a run that are exactly on the threshold."""
    neuron = case.network.layers[0].neuron
    threshold = np.array([neuron_step(neuron, t)[2] for t in range(trace.v.shape[1])], np.int64)
    return int((trace.v == threshold[None, :, None]).sum())
