"""Certify that no input whatever can leave the chip's number ranges (check V9).

Interval arithmetic on exact integers: every pixel in 0..255 or every spike in 0/1, over all T
steps. Truncated decay is monotone, so intervals propagate exactly below threshold; a reset puts
0 into the interval and caps its upper end at the threshold. The result is a proof, not a test.
Source: docs/semantics.md, "What rounding toward zero gives", item 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.errors import RangeError, list_problems
from spikeproof.ir.chip import ChipLayer, ChipNetwork, Synapse
from spikeproof.numerics.affine import apply

Ints = NDArray[np.int64]
_FAR = 1 << 40  # intervals are cut here: far outside every limit, safely inside int64


@dataclass(frozen=True)
class LayerRange:
    """Certified bounds of one layer over all inputs, steps and neurons.

    sum_bound: largest magnitude of the synaptic sum, in units of weight times payload.
    u_bound, v_low, v_high: in v-units, v before the reset. host_bound: largest magnitude of a
    host-written mantissa (0 without one). headroom_bits: log2(limit / bound), the worst of all.
    worst_neuron: index of the neuron with the widest v. problems: empty if everything fits.
    """

    name: str
    sum_bound: int
    u_bound: int
    v_low: int
    v_high: int
    headroom_bits: float
    ok: bool
    worst_neuron: tuple[int, ...]
    host_bound: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Drive:
    """Bounds of what reaches the neurons in one step, (low, high), each of the neurons' shape."""

    total: tuple[Ints, Ints]
    mantissa: tuple[Ints, Ints]


def certify_ranges(network: ChipNetwork) -> list[LayerRange]:
    """Bound every sum, u and v of every layer for every possible input."""
    highest: Ints = np.full(network.input_shape, network.input_max, np.int64)
    ranges = []
    for layer in network.layers:
        found, highest = certify_layer(layer, highest, network.timesteps)
        ranges.append(found)
    return ranges


def check_ranges(network: ChipNetwork) -> list[LayerRange]:
    """Return the certified ranges, or raise RangeError with all layers that could overflow."""
    ranges = certify_ranges(network)
    problems = [f"{r.name}: {p}" for r in ranges for p in r.problems]
    if problems:
        raise RangeError(
            list_problems(problems),
            where=network.name,
            hint="lower the scale of these layers, or let the automatic scale choose",
        )
    return ranges


def certify_layer(layer: ChipLayer, highest: Ints, timesteps: int) -> tuple[LayerRange, Ints]:
    """Bound one layer whose inputs lie between 0 and ``highest`` (one value per input).

    Returns the bounds and, for the next layer, 1 where a neuron could ever spike, else 0.
    """
    drive = _drive(layer, highest)
    u_bound, v_low, v_high, fires = _integrate(layer, drive, timesteps)
    widest = np.unravel_index(int(np.maximum(-v_low, v_high).argmax()), layer.shape)
    figures = {
        "synaptic sum": (_reach(*drive.total), fx.SUM_MAX),
        "u": (int(u_bound.max()), fx.WRAP_LIMIT - 1),
        "v": (_reach(v_low, v_high), layer.neuron.v_limit),
        "host mantissa": (_reach(*drive.mantissa), fx.BIAS_MANTISSA_MAX),
    }
    problems = tuple(
        f"{key} could reach {bound} (neuron {tuple(map(int, widest))}), the limit is {top}"
        for key, (bound, top) in figures.items()
        if bound > top
    )
    headroom = min(math.log2(top / max(bound, 1)) for bound, top in figures.values())
    found = LayerRange(
        layer.name,
        figures["synaptic sum"][0],
        figures["u"][0],
        int(v_low.min()),
        int(v_high.max()),
        headroom,
        not problems,
        tuple(map(int, widest)),
        figures["host mantissa"][0],
        problems,
    )
    return found, fires.astype(np.int64)


def _reach(low: Ints, high: Ints) -> int:
    return int(max(-low.min(), high.max()))


def _drive(layer: ChipLayer, highest: Ints) -> Drive:
    low, high = _sums(layer.synapse, highest)
    none = np.zeros_like(low)
    if layer.host:
        return Drive((none, none), (layer.host.mantissa(low), layer.host.mantissa(high)))
    exponent = layer.synapse.exponent
    return Drive((fx.shift_sum(low, exponent), fx.shift_sum(high, exponent)), (none, none))


def _sums(synapse: Synapse, highest: Ints) -> tuple[Ints, Ints]:
    """Return the smallest and largest sum per neuron; float64 products of integers are exact."""
    inputs = highest.astype(np.float64)[None]
    weight = synapse.weight.astype(np.float64)
    low = apply(synapse, inputs, np.minimum(weight, 0))[0]
    high = apply(synapse, inputs, np.maximum(weight, 0))[0]
    return low.astype(np.int64), high.astype(np.int64)


def _integrate(
    layer: ChipLayer, drive: Drive, timesteps: int
) -> tuple[Ints, Ints, Ints, NDArray[np.bool_]]:
    """Run the interval through all steps: bounds of |u|, v low, v high, and who could fire."""
    neuron, zero = layer.neuron, np.zeros(layer.shape, np.int64)
    bias = [neuron.bias_units(m) for m in drive.mantissa]
    arriving = [fx.shift_sum(a, fx.CURRENT_SHIFT) for a in drive.total]
    u_low, u_high, v_low, v_high = zero, zero, zero, zero
    u_bound, lowest, topmost, fires = zero, zero, zero, zero.astype(bool)
    keep = neuron.u_keep
    for t in range(timesteps):
        leak, threshold = neuron.leak_at(t), neuron.threshold_at(t)
        u_low = fx.scale_toward_zero(u_low, keep) + arriving[0]
        u_high = fx.scale_toward_zero(u_high, keep) + arriving[1]
        v_low = np.maximum(fx.scale_toward_zero(v_low, leak) + u_low + bias[0], -_FAR)
        v_high = np.minimum(fx.scale_toward_zero(v_high, leak) + u_high + bias[1], _FAR)
        u_bound = np.maximum(u_bound, np.maximum(-u_low, u_high))
        lowest = v_low if t == 0 else np.minimum(lowest, v_low)
        topmost = v_high if t == 0 else np.maximum(topmost, v_high)
        may = v_high > threshold
        fires = fires | may
        # Who stays silent is at most at the threshold; who must fire is at 0.
        v_high = np.where(may, np.where(v_low <= threshold, threshold, 0), v_high)
        v_low = np.where(may, np.minimum(v_low, 0), v_low)
    return u_bound, lowest, topmost, fires
