"""Describe a converted layer: its row of the table, and its rounding bound."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeproof import fixedpoint as fx
from spikeproof.convert.quantise import FloatLayer
from spikeproof.convert.search import Chosen
from spikeproof.io.record import TableRow
from spikeproof.ir.floats import Lif
from spikeproof.numerics.affine import apply

HOST_WEIGHT_BITS = 16


def table_row(
    layer: FloatLayer, best: Chosen, weight_bits: int, rates: dict[str, float]
) -> TableRow:
    """Return the row of the conversion table; ``rates``: the flip rate of each coding tried."""
    built, found = best.candidate.layer, best.range
    chip = any(one.host is None for one in built.inputs)
    threshold, dv = built.neuron.figures(layer.timesteps)
    return TableRow(
        layer=built.name,
        kind=built.kind,
        neuron=built.neuron.title,
        inputs=int(np.prod(layer.input_shape)),
        neurons=built.neurons,
        synapses=_synapses(layer),
        weight_bits=weight_bits if chip else HOST_WEIGHT_BITS,
        scale=best.candidate.scale,
        clipped_share=best.candidate.clipped_share,
        threshold=threshold,
        dv=dv,
        bias_exponent=built.neuron.bias_exponent,
        flip_rate_calibration=best.score.rate,
        coding=best.coding,
        coding_flip_rates={**rates},
        sum_bound=found.sum_bound,
        host_bound=found.host_bound,
        v_low=found.v_low,
        v_high=found.v_high,
        headroom_bits=round(found.headroom_bits, 3),
    )


def _synapses(layer: FloatLayer) -> int:
    """Count connections; taps that fall on zero padding are none."""
    return sum(
        int(apply(part, np.ones((1, *shape)), np.ones_like(part.weight)).sum())
        for part, shape, _ in layer.parts
    )


def rounding_bound(layer: FloatLayer, best: Chosen) -> float:
    """Bound |integer v - real v| in v-units for equal parameters, inputs and spikes.

    Each step truncates less than one unit; a host current adds half a step of its mantissa, a
    DLIF table the difference between its leak and the gain it is compared with, and the leak
    carries all of it on. That difference acts on the v carried over, which stayed silent in the
    step before: it is at most that step's threshold. Source: docs/semantics.md, "What rounding
    toward zero gives", item 3.
    """
    neuron = best.candidate.layer.neuron
    fresh = 2.0**neuron.bias_exponent / 2 if best.candidate.layer.host else 0.0
    off = _leak_difference(layer, best)
    begins = np.any(neuron.initial)
    error = fresh + _cuts(neuron.leak_at(0)) * begins
    worst = error
    for t in range(1, layer.timesteps):
        leak, silent = np.asarray(neuron.leak_at(t)), neuron.threshold_at(t - 1)
        # A spike that is not followed by a reset to 0 leaves what was above the threshold.
        left = best.range.v_high if neuron.reset is not None else silent
        kept = np.maximum(-best.range.v_low, np.minimum(left, best.range.v_high))
        error = error * (leak / fx.DECAY_ONE + off[t]) + off[t] * kept + _cuts(leak) + fresh
        worst = np.maximum(worst, error)
    return float(np.max(worst))


def _cuts(leak: ArrayLike) -> NDArray[np.float64]:
    """Return 1 where a step's leak rounds: any but all and nothing."""
    return np.where(np.isin(leak, (0, fx.DECAY_ONE)), 0.0, 1.0)


def _leak_difference(layer: FloatLayer, best: Chosen) -> list[Any]:
    """Per step: |leak of the table - leak implied by the dequantised gain|."""
    neuron = best.candidate.layer.neuron
    if not isinstance(layer.end, Lif) or layer.end.gain is None:
        return [0.0] * layer.timesteps
    leak = np.rint(fx.DECAY_ONE * np.asarray(layer.end.leak)) / fx.DECAY_ONE
    threshold = [neuron.threshold_at(t) for t in range(layer.timesteps)]
    implied = [leak, *(leak * (now / before) for before, now in pairwise(threshold))]
    return [np.abs(one - neuron.leak_at(t) / fx.DECAY_ONE) for t, one in enumerate(implied)]
