"""How far the sums, u and v of a layer can go for any input: intervals of exact integers.

Every pixel in 0..255 or every spike in 0/1. Truncated decay is monotone, so intervals propagate
exactly below threshold; a spike splits them into who stays silent, at most at the threshold, and
what the reset leaves of those above it.
Arrays have the neurons' shape, or any that broadcasts to it, such as one value per channel.
Source: docs/semantics.md, "What rounding toward zero gives", item 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.ir.chip import ChipLayer, Synapse
from spikeproof.numerics.affine import apply

Ints = NDArray[np.int64]
Interval = tuple[Ints, Ints]
"""The smallest and the largest value."""
_FAR = 1 << 40  # intervals are cut here: far outside every limit, safely inside int64


@dataclass(frozen=True, eq=False)
class Drive:
    """What reaches the neurons in one step: a sum, exponent applied, and a host's mantissa."""

    total: Interval
    mantissa: Interval


class State(NamedTuple):
    """Bounds of one step: u, v before the reset, who may fire, and v after the reset."""

    u_low: Ints
    u_high: Ints
    v_low: Ints
    v_high: Ints
    may_fire: NDArray[np.bool_]
    kept_low: Ints
    kept_high: Ints


def weighted_sums(synapse: Synapse, highest: Ints) -> Interval:
    """Bound the sums of weight times input, inputs between 0 and ``highest`` (one per input)."""
    inputs = highest.astype(np.float64)[None]  # float64 products of integers are exact
    weight = synapse.weight.astype(np.float64)
    low = apply(synapse, inputs, np.minimum(weight, 0))[0]
    high = apply(synapse, inputs, np.maximum(weight, 0))[0]
    return low.astype(np.int64), high.astype(np.int64)


def drive_of(layer: ChipLayer, sums: Sequence[Interval]) -> Drive:
    """Bound what the sums of a layer's connections, one after another, make in its neurons."""
    none = np.zeros((), np.int64)
    low, high, mantissa = none, none, (none, none)
    for one, (least, most) in zip(layer.inputs, sums, strict=True):
        if one.host is not None:
            mantissa = (one.host.mantissa(least), one.host.mantissa(most))
        else:
            low = low + fx.shift_sum(least, one.synapse.exponent)
            high = high + fx.shift_sum(most, one.synapse.exponent)
    return Drive((low, high), mantissa)


def states(layer: ChipLayer, drive: Drive, timesteps: int) -> Iterator[State]:
    """Follow u and v through all steps."""
    neuron, zero = layer.neuron, np.zeros((), np.int64)
    bias = [neuron.bias_units(m) for m in drive.mantissa]
    arriving = [fx.shift_sum(a, fx.CURRENT_SHIFT) for a in drive.total]
    u_low, u_high = zero, zero
    low = high = zero + neuron.initial
    for t in range(timesteps):
        leak, threshold = neuron.leak_at(t), neuron.threshold_at(t)
        u_low = fx.scale_toward_zero(u_low, neuron.u_keep) + arriving[0]
        u_high = fx.scale_toward_zero(u_high, neuron.u_keep) + arriving[1]
        # Saturated, a v is no lower than the lower end, whatever would be its highest value.
        v_low = np.clip(fx.scale_toward_zero(low, leak) + u_low + bias[0], -_FAR, fx.STATE_MAX)
        v_high = np.clip(fx.scale_toward_zero(high, leak) + u_high + bias[1], -fx.STATE_MAX, _FAR)
        may = v_high > threshold
        # Who stays silent is at most at the threshold; who fires is above it before its reset.
        silent = v_low <= threshold
        fired_low = neuron.after_spike(np.maximum(v_low, np.asarray(threshold) + 1))
        fired_high = neuron.after_spike(v_high)
        high = np.where(
            may, np.where(silent, np.maximum(threshold, fired_high), fired_high), v_high
        )
        low = np.where(may, np.where(silent, np.minimum(v_low, fired_low), fired_low), v_low)
        yield State(u_low, u_high, v_low, v_high, may, low, high)
