"""Bound every sum, u and v of a network a second time, plainly, to judge the certificate (V9).

Nothing here is taken from the certificate's own code (:mod:`spikeproof.certify.ranges`) or from the
arithmetic it uses: the rules of docs/semantics.md, "Neuron" and "Synapse", are written out once
more, tap by tap and step by step, so that one mistake cannot hide in both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import UnsupportedError
from spikeproof.ir.chip import (
    INPUT,
    ChipLayer,
    ChipNetwork,
    ConvSynapse,
    DenseSynapse,
    GeneralLifNeuron,
    HostCurrent,
    LifNeuron,
    ReadoutNeuron,
    Synapse,
    TableLifNeuron,
)

Ints = NDArray[np.int64]
SUM_TOP, STATE_TOP, MANTISSA_TOP = 131_071, 8_388_607, 4095
LowerRail = Literal["never", "may-saturate"]
"""Whether v of a spiking layer that receives spikes may saturate at its lower end."""
_BEYOND = 1 << 40
"""States are cut here: far beyond every limit, and their products still fit 64 bits. Where v cannot
but saturate it is at its end."""


@dataclass(frozen=True, eq=False)
class Bounds:
    """What one layer can reach for any input: arrays over its neurons.

    total_low, total_high: synaptic sum of one step. u: largest magnitude. v_low, v_high: over all
    steps, before the reset. jump: the step at which v is highest. mantissa: largest magnitude a
    host writes (0 without one). fires: who could ever spike.
    """

    name: str
    total_low: Ints
    total_high: Ints
    u: Ints
    v_low: Ints
    v_high: Ints
    jump: Ints
    mantissa: Ints
    fires: NDArray[np.bool_]
    top: int
    """Largest legal magnitude of v."""
    saturates: bool = False
    """v may go below its range and stay at its lower end, as was allowed; ``v_low`` ends there."""

    @property
    def figures(self) -> dict[str, tuple[int, int]]:
        """Return (largest magnitude, limit) of each quantity."""
        reach = np.maximum(np.abs(self.total_low), np.abs(self.total_high))
        v = np.abs(self.v_high)
        if not self.saturates:
            v = np.maximum(v, np.abs(self.v_low))
        return {
            "synaptic sum": (int(reach.max()), SUM_TOP),
            "u": (int(self.u.max()), STATE_TOP),
            "v": (int(v.max()), self.top),
            "host mantissa": (int(self.mantissa.max()), MANTISSA_TOP),
        }

    @property
    def headroom(self) -> float:
        """Return log2(limit / bound) of the quantity nearest to its limit."""
        return min(math.log2(top / max(found, 1)) for found, top in self.figures.values())


def bound_network(network: ChipNetwork, lower_rail: LowerRail = "never") -> list[Bounds]:
    """Bound all layers of a network; a neuron that can never spike sends nothing.

    Layers that come later in the list may send a spike back at any step.
    """
    names = [layer.name for layer in network.layers]
    sent: dict[str, Ints] = {layer.name: np.ones(layer.shape, np.int64) for layer in network.layers}
    sent[INPUT] = np.full(network.input_shape, 255 if network.coding == "pixels" else 1, np.int64)
    found = []
    for before, layer in zip([INPUT, *names], network.layers, strict=False):
        inputs = [sent[one.source or before] for one in layer.inputs]
        found.append(bound_layer(layer, inputs, network.timesteps, lower_rail))
        sent[layer.name] = found[-1].fires.astype(np.int64)
    return found


def bound_layer(
    layer: ChipLayer, inputs: Sequence[Ints], timesteps: int, lower_rail: LowerRail = "never"
) -> Bounds:
    """Bound one layer whose connections carry anything in 0..``inputs``, in every step anew."""
    none = np.zeros(layer.shape, np.int64)
    low, high, written = none, none, (none, none)
    for one, largest in zip(layer.inputs, inputs, strict=True):
        if one.host is not None:
            written = _written(one.synapse, one.host, largest)
        else:
            # A weight exponent shifts the finished sum; below zero that is a floor, like >>.
            sums = (_shifted(x, one.synapse.exponent) for x in extreme_sums(one.synapse, largest))
            low, high = (a + b for a, b in zip((low, high), sums, strict=True))
    states = _states(layer, (64 * low, 64 * high), written, timesteps)
    top = 64 * SUM_TOP if isinstance(layer.neuron, ReadoutNeuron) else STATE_TOP
    mantissa = np.maximum(np.abs(written[0]), np.abs(written[1]))
    widest, v_low, v_high, jump, fires = states
    readout = isinstance(layer.neuron, ReadoutNeuron)
    # Where pixels arrive, the same in all steps, the worst inhibition does happen.
    hosts = any(one.host is not None for one in layer.inputs)
    allowed = not (readout or hosts) and all((largest <= 1).all() for largest in inputs)
    saturates = lower_rail == "may-saturate" and allowed and bool((v_low < -top).any())
    if saturates:
        v_low = np.maximum(v_low, -top)
    return Bounds(
        layer.name, low, high, widest, v_low, v_high, jump, mantissa, fires, top, saturates
    )


def extreme_sums(synapse: Synapse, inputs: Ints) -> tuple[Ints, Ints]:
    """Return the least and the largest sum of weight times payload per neuron."""
    weight = synapse.weight.astype(np.int64)
    negative, positive = np.where(weight < 0, weight, 0), np.where(weight > 0, weight, 0)
    if type(synapse) not in (DenseSynapse, ConvSynapse):
        raise _unknown("synapse", synapse)
    if not isinstance(synapse, ConvSynapse):
        flat = inputs.reshape(-1)
        return negative @ flat, positive @ flat
    return _over_taps(synapse, negative, inputs), _over_taps(synapse, positive, inputs)


def _over_taps(synapse: ConvSynapse, weight: Ints, inputs: Ints) -> Ints:
    """Add up every kernel tap: which input it meets at each position, outside of the image none."""
    channels, height, width = inputs.shape
    out, per_group, k_h, k_w = weight.shape
    (p_h, p_w), (s_h, s_w), (d_h, d_w) = synapse.padding, synapse.stride, synapse.dilation
    rows = (height + 2 * p_h - d_h * (k_h - 1) - 1) // s_h + 1
    columns = (width + 2 * p_w - d_w * (k_w - 1) - 1) // s_w + 1
    total = np.zeros((out, rows, columns), np.int64)
    share = out // synapse.groups
    for i in range(k_h):
        y = np.arange(rows) * s_h - p_h + i * d_h
        for j in range(k_w):
            x = np.arange(columns) * s_w - p_w + j * d_w
            met = np.zeros((channels, rows, columns), np.int64)
            inside = np.ix_((y >= 0) & (y < height), (x >= 0) & (x < width))
            seen = inputs[:, y[(y >= 0) & (y < height)]][:, :, x[(x >= 0) & (x < width)]]
            met[:, inside[0], inside[1]] = seen
            for g in range(synapse.groups):
                mine, source = slice(g * share, (g + 1) * share), g * per_group
                part = met[source : source + per_group].reshape(per_group, -1)
                total[mine] += (weight[mine, :, i, j] @ part).reshape(-1, rows, columns)
    return total


def _written(synapse: Synapse, current: HostCurrent, inputs: Ints) -> tuple[Ints, Ints]:
    """Return the least and the largest mantissa the host writes: (W x + offset) / 2^shift."""
    low, high = extreme_sums(synapse, inputs)
    half, unit = (2 ** (current.shift - 1), 2**current.shift) if current.shift else (0, 1)
    return (low + current.offset + half) // unit, (high + current.offset + half) // unit


def _shifted(total: Ints, exponent: int) -> Ints:
    return np.asarray(total * 2**exponent if exponent >= 0 else total // 2**-exponent, np.int64)


def constants(neuron: Any, t: int) -> tuple[Any, Any, Any]:
    """Return what u and v keep of themselves, over 4096, and the threshold (None: never fires).

    Numbers, or arrays that broadcast to the neurons.
    """
    kind = type(neuron)
    if kind is ReadoutNeuron:
        return 0, 4096, None
    if kind not in (LifNeuron, TableLifNeuron, GeneralLifNeuron):
        raise _unknown("neuron", neuron)
    kept = 4096 - (neuron.du + 1)
    if kind is GeneralLifNeuron:
        leak, threshold = (rows[t % len(rows)] for rows in (neuron.leak, neuron.threshold))
        return kept, leak.astype(np.int64), threshold.astype(np.int64)
    if kind is TableLifNeuron:
        return kept, int(neuron.leak[t]), int(neuron.threshold[t])
    return kept, 4096 - neuron.dv, 64 * neuron.threshold


def _unknown(what: str, found: object) -> UnsupportedError:
    """Refuse a kind by name: asking it for its own rules would be no second judgement of them."""
    return UnsupportedError(
        f"{type(found).__name__} is a {what} whose rules are not written down a second time",
        where="verify",
        hint="It can be run (`spikeproof run`), but not verified: spikeproof/verify/interval.py "
        "says by rules of its own what each kind can reach, and has none for this one.",
    )


def constants_of(layer: ChipLayer, place: tuple[int, ...], t: int) -> tuple[int, int, int | None]:
    """Return the :func:`constants` of one neuron."""
    kept, leak, threshold = constants(layer.neuron, t)
    fires_above = None if threshold is None else _of(layer, place, threshold)
    return _of(layer, place, kept), _of(layer, place, leak), fires_above


def resets(layer: ChipLayer, place: tuple[int, ...]) -> tuple[int, int | None]:
    """Return v before the first step and what a spike takes off it (None: all) of one neuron."""
    neuron = layer.neuron
    if not isinstance(neuron, GeneralLifNeuron):
        return 0, None
    amount = None if neuron.reset is None else _of(layer, place, neuron.reset)
    return _of(layer, place, neuron.initial), amount


def _of(layer: ChipLayer, place: tuple[int, ...], values: Any) -> int:
    return int(np.broadcast_to(values, layer.shape)[place])


def _after(neuron: Any, v: Ints) -> Ints:
    """Return what a spike leaves of v: nothing, or v less an amount."""
    amount = neuron.reset if type(neuron) is GeneralLifNeuron else None
    return np.zeros_like(v) if amount is None else v - amount


def toward_zero(x: Ints, numerator: Any) -> Ints:
    """Return x * numerator / 4096 without its fraction."""
    return np.where(x < 0, -((-x * numerator) // 4096), (x * numerator) // 4096)


def _states(
    layer: ChipLayer, arriving: tuple[Ints, Ints], written: tuple[Ints, Ints], timesteps: int
) -> tuple[Ints, Ints, Ints, Ints, NDArray[np.bool_]]:
    """Follow the least and the largest u and v: (|u|, v low, v high, step of v high, who fires)."""
    scale = 2**layer.neuron.bias_exponent
    bias_low, bias_high = ((layer.neuron.bias.astype(np.int64) + m) * scale for m in written)
    zero = np.zeros(layer.shape, np.int64)
    first = layer.neuron.initial if type(layer.neuron) is GeneralLifNeuron else 0
    u_low, u_high, low, high = zero, zero, zero + first, zero + first
    widest, jump, fires = zero, zero, zero.astype(bool)
    lowest = np.full(layer.shape, _BEYOND, np.int64)
    highest = -lowest
    for t in range(timesteps):
        kept, leak, threshold = constants(layer.neuron, t)
        u_low = toward_zero(u_low, kept) + arriving[0]
        u_high = toward_zero(u_high, kept) + arriving[1]
        widest = np.maximum(widest, np.maximum(np.abs(u_low), np.abs(u_high)))
        low = np.clip(toward_zero(low, leak) + u_low + bias_low, -_BEYOND, STATE_TOP)
        high = np.clip(toward_zero(high, leak) + u_high + bias_high, -STATE_TOP, _BEYOND)
        jump = np.where(high > highest, t, jump)
        lowest, highest = np.minimum(lowest, low), np.maximum(highest, high)
        if threshold is None:
            continue
        may_fire, may_stay = high > threshold, low <= threshold
        fires = fires | may_fire
        # What goes on is either a membrane that stayed silent, or what a spike leaves of one above.
        silent_low = np.where(may_stay, low, _BEYOND)
        silent_high = np.where(may_stay, np.minimum(high, threshold), -_BEYOND)
        spent_low = _after(layer.neuron, np.maximum(low, threshold + 1))
        spent_high = _after(layer.neuron, high)
        low = np.where(may_fire, np.minimum(silent_low, spent_low), silent_low)
        high = np.where(may_fire, np.maximum(silent_high, spent_high), silent_high)
    return widest, lowest, highest, jump, fires
