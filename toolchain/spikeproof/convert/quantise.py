"""Round one layer to chip integers at a given scale.

A scale S says how many units of weight times spike make one unit of float membrane; the chip's
v-units are 64 S. A LIF layer is positively homogeneous, so every S gives the same spikes up to
rounding: :mod:`spikeproof.convert.search` chooses it. A standard LIF's threshold must be a whole
mantissa, so S is re-derived from it, ``S = vth / theta``, and the threshold is exact.

Equality. The chip fires strictly above threshold. A float neuron that also fires *at* threshold
is lowered by making its bias the smallest integer *strictly above* the real one (one v-unit when
the bias is a whole number, 1/64 of a weight unit). A state on the threshold then lies above it
and fires; because truncation loses less than that unit in each step, no state at or above the
float threshold is ever missed when the parameters are exact. A state less than T units below may
fire too; moving the threshold by a whole mantissa would widen that to 64 units, and moving the
scale by 1/64 is undone by the rounding of the weights.

Leak. A standard LIF's decay is a 12-bit register, 0..4095: a trained leak below 1/4096, 0
included, becomes 1/4096. The dequantised network carries that leak too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.convert.gain import float_dynamics, leak_table
from spikeproof.ir import chip
from spikeproof.ir.floats import FloatNode, Lif, Linear, Readout
from spikeproof.ir.limits import INPUT
from spikeproof.ir.neurons import NO_FILTER
from spikeproof.ir.shapes import Shape, output_shape
from spikeproof.numerics.affine import Affine, Parallel

F64 = NDArray[np.float64]
Coding = Literal["spikes", "graded", "bias"]
WEIGHT_LIMIT = 256
V_UNITS = int(fx.shift_sum(1, fx.CURRENT_SHIFT))
"""v-units per unit of weight times spike."""


class Wire(NamedTuple):
    """Where a map's input comes from: a layer, INPUT or None (the layer before), and its lag."""

    source: str | None = None
    lag: int = 0


@dataclass(frozen=True, eq=False)
class FloatLayer:
    """One folded layer: its linear map, the neurons it ends in, and where its input comes from.

    A layer that reads several sources has them in one row: its map is a Parallel, its input flat.
    ``pixels`` marks a layer that reads the input: weights of pixels act on x / 255 with x in
    0..255.
    """

    linear: Affine | Parallel
    end: Lif | Readout
    input_shape: Shape
    timesteps: int
    pixels: bool
    wires: tuple[Wire, ...] = (Wire(),)

    @property
    def parts(self) -> tuple[tuple[Affine, Shape, Wire], ...]:
        """Return each map with the shape of what it reads, and where that comes from."""
        linear = self.linear
        if not isinstance(linear, Parallel):
            return ((linear, self.input_shape, self.wires[0]),)
        return tuple(zip(linear.parts, linear.shapes, self.wires, strict=True))

    def is_pixels(self, wire: Wire) -> bool:
        """Tell whether what a part reads are pixels."""
        return self.pixels and wire.source in (None, INPUT)

    @property
    def mixed(self) -> bool:
        """Tell whether it reads pixels and spikes."""
        return self.pixels and not all(self.is_pixels(wire) for wire in self.wires)

    @property
    def name(self) -> str:
        """Return the name the chip layer gets."""
        return self.end.name

    @property
    def shape(self) -> Shape:
        """Return the shape of the neuron population."""
        return output_shape(self.linear, self.input_shape)

    @property
    def weight(self) -> F64:
        """Return the weights per payload unit: per grey level for pixels, per spike otherwise."""
        weight = np.asarray(self.linear.weight, np.float64)
        if not self.mixed or not isinstance(self.linear, Parallel):
            return weight / 255 if self.pixels else weight
        grey = [255.0 if self.is_pixels(wire) else 1.0 for wire in self.wires]
        return np.asarray(weight / np.repeat(grey, self.linear.widths))

    @property
    def bias(self) -> F64:
        """Return the bias in a form that broadcasts to the neurons."""
        if self.linear.bias is None:
            return np.zeros((1,) * len(self.shape))
        bias = np.asarray(self.linear.bias, np.float64)
        return bias.reshape(-1, *(1,) * (len(self.shape) - 1)) if bias.ndim == 1 else bias

    @property
    def fires_at_equality(self) -> bool:
        """Tell whether the float neuron also fires exactly at its threshold."""
        return isinstance(self.end, Lif) and not self.end.strict


@dataclass(frozen=True, eq=False)
class Candidate:
    """A layer rounded at one scale. problems: why the chip cannot hold it (empty: it can)."""

    layer: chip.ChipLayer
    scale: float
    clipped_share: float
    problems: tuple[str, ...]

    @property
    def units(self) -> float:
        """Return v-units per unit of float membrane."""
        return V_UNITS * self.scale


class Grid(NamedTuple):
    """The weights a layer may use: multiples of ``step`` in low..high under a sign mode."""

    sign: chip.Sign
    step: int
    low: int
    high: int


def weight_grid(weight: F64, bits: int) -> Grid:
    """Return the weights a layer may use.

    Mixed signs lose the lowest bit and stay symmetric: -254..254 in steps of 2 with 8 bits.
    """
    one_sided = WEIGHT_LIMIT // (1 << bits)
    if weight.size and weight.min() >= 0 and weight.max() > 0:
        return Grid("excitatory", one_sided, 0, WEIGHT_LIMIT - one_sided)
    if weight.size and weight.max() <= 0 and weight.min() < 0:
        return Grid("inhibitory", one_sided, one_sided - WEIGHT_LIMIT, 0)
    step = 2 * one_sided
    return Grid("mixed", step, step - WEIGHT_LIMIT, WEIGHT_LIMIT - step)


def max_abs_scale(layer: FloatLayer, bits: int) -> float:
    """Return the scale at which the largest weight is the largest the chip can hold."""
    grid = weight_grid(layer.weight, bits)
    largest = float(np.abs(layer.weight).max(initial=0.0))
    if largest == 0:  # only a bias: any scale keeps it; take the threshold as yardstick
        largest = float(np.max(layer.end.threshold)) if isinstance(layer.end, Lif) else 1.0
    return max(grid.high, -grid.low) / largest


def settle_scale(layer: FloatLayer, scale: float) -> float:
    """Move a scale to the nearest one at which the layer's threshold is a whole mantissa."""
    if not isinstance(layer.end, Lif) or layer.end.gain is not None or layer.end.general:
        return scale
    threshold = float(layer.end.threshold)
    return max(1, round(scale * threshold)) / threshold


class Rounding(Protocol):
    """A way to put scaled weights on the grid."""

    def __call__(self, weight: F64, bias: F64, grid: Grid) -> tuple[F64, F64]:
        """Return multiples of the grid's step (clipped by the caller) and the adjusted bias.

        ``weight`` may be used up.
        """
        ...


def to_nearest(weight: F64, bias: F64, grid: Grid) -> tuple[F64, F64]:
    """Round every weight, in place, to the nearest grid value, whatever the others do."""
    weight /= grid.step
    np.rint(weight, out=weight)
    weight *= grid.step
    return weight, bias


def round_layer(
    layer: FloatLayer,
    scale: float,
    bits: int,
    rounding: Rounding = to_nearest,
    bias_exponent: int | None = None,
) -> Candidate:
    """Round a layer whose weights sit on the chip (spikes or graded pixels as input).

    ``bias_exponent`` forces the exponent of the biases; None takes the finest that holds them.
    """
    scale = settle_scale(layer, scale)
    grid = weight_grid(layer.weight, bits)
    wanted, bias = rounding(layer.weight * scale, layer.bias * scale, grid)
    clipped = np.less(wanted, grid.low)
    clipped |= wanted > grid.high
    weight = np.clip(wanted, grid.low, grid.high, out=wanted).astype(np.int16)
    mantissa, exponent, problems = round_bias(
        bias * V_UNITS, layer.fires_at_equality, bias_exponent
    )
    problems += _lost(layer, weight, bits)
    neuron, more = neuron_of(layer, scale, mantissa, exponent)
    built = chip.ChipLayer(layer.name, connections(layer, weight, grid.sign), neuron, layer.shape)
    return Candidate(built, scale, float(clipped.mean()), tuple(problems + more))


def _lost(layer: FloatLayer, weight: chip.Ints, bits: int) -> list[str]:
    """Say of which connection nothing is left, though it has weights."""
    if not isinstance(layer.linear, Parallel):
        text = f"every weight rounds to 0 in {bits} bits: nothing of the layer is left"
        return [text] if layer.weight.any() and not weight.any() else []
    kept, exact = layer.linear.split(weight), layer.linear.split(layer.weight)
    largest = np.abs(layer.weight).max()
    return [
        f"every weight of the connection from {wire.source} rounds to 0 in {bits} bits: its "
        f"largest is {np.abs(mine).max():.3g}, that of the layer {largest:.3g}, and the "
        "connections of a layer share one scale"
        for wire, held, mine in zip(layer.wires, kept, exact, strict=True)
        if mine.any() and not held.any()
    ]


def round_bias(
    bias: F64, above: bool, forced: int | None = None
) -> tuple[NDArray[np.int32], int, list[str]]:
    """Round a bias in v-units to mantissas and the smallest exponent that holds them.

    ``above`` rounds to the next value strictly above instead of the nearest; ``forced`` allows
    that exponent only.
    """
    mantissa = np.zeros(bias.shape)
    exponents = range(fx.BIAS_EXPONENT_MAX + 1) if forced is None else (forced,)
    for exponent in exponents:
        mantissa = _round(bias / 2.0**exponent, above)
        if np.abs(mantissa).max(initial=0) <= fx.BIAS_MANTISSA_MAX:
            return mantissa.astype(np.int32), exponent, []
    largest = float(np.abs(bias).max())
    limit = fx.BIAS_MANTISSA_MAX * 2 ** exponents[-1]
    held = np.clip(mantissa, -fx.BIAS_MANTISSA_MAX, fx.BIAS_MANTISSA_MAX).astype(np.int32)
    problem = f"the bias needs {largest:.6g} v-units, the chip's mantissa and exponent hold {limit}"
    return held, exponents[-1], [problem]


def _round(x: F64, above: bool) -> F64:
    nearest = np.rint(x)
    if not above:
        return nearest
    # A whole number computed as 63.99999999 is still that whole number.
    whole = np.abs(x - nearest) <= 1e-9 * np.maximum(1.0, np.abs(x))
    return np.where(whole, nearest, np.floor(x)) + 1


def connections(
    layer: FloatLayer, weight: chip.Ints, sign: chip.Sign
) -> tuple[chip.Connection, ...]:
    """Wrap integer weights, shaped as the layer's, in the chip form of its maps."""
    linear = layer.linear
    kernels = linear.split(weight) if isinstance(linear, Parallel) else [weight]
    return tuple(
        chip.Connection(synapse_of(part, shape, kernel, sign), *wire)
        for (part, shape, wire), kernel in zip(layer.parts, kernels, strict=True)
    )


def synapse_of(linear: Affine, shape: Shape, weight: chip.Ints, sign: chip.Sign) -> chip.Synapse:
    """Wrap integer weights in the chip form of a linear map of inputs of ``shape``."""
    if isinstance(linear, Linear):
        return chip.DenseSynapse(weight, sign)
    channels, height, width = shape
    return chip.ConvSynapse(
        weight,
        (channels, height, width),
        linear.stride,
        linear.padding,
        linear.dilation,
        linear.groups,
        sign,
    )


def held_weight(layer: FloatLayer, built: chip.ChipLayer) -> NDArray[Any]:
    """Return a layer's integer weights, shaped as the float layer's."""
    if not isinstance(layer.linear, Parallel):
        return built.synapse.weight
    pieces = [
        replace(part, weight=one.synapse.weight.astype(np.float64))
        for part, one in zip(layer.linear.parts, built.inputs, strict=True)
    ]
    return np.asarray(replace(layer.linear, parts=tuple(pieces)).weight)


def neuron_of(
    layer: FloatLayer, scale: float, bias: chip.Ints, exponent: int
) -> tuple[chip.Neuron, list[str]]:
    """Round a layer's neurons at a settled scale; also list what the chip cannot hold."""
    end = layer.end
    if isinstance(end, Readout):
        return chip.ReadoutNeuron(bias, exponent), []
    if end.general:
        return _general(layer, end, V_UNITS * scale, bias, exponent)
    if end.gain is None:
        mantissa = round(scale * float(end.threshold))
        problems, bits = [], mantissa.bit_length()
        if mantissa > fx.THRESHOLD_MAX:
            problems = [f"threshold {mantissa:.6g} needs {bits} bits, the chip has 17"]
        dv = fx.DECAY_ONE - _leak_numerator(end)
        return chip.LifNeuron(min(mantissa, fx.THRESHOLD_MAX), dv, bias, exponent), problems
    table, problems = _threshold_table(layer, end, V_UNITS * scale)
    leak = leak_table(end, layer.timesteps).astype(np.int32)
    return chip.TableLifNeuron(leak, table, bias, exponent), problems


def _leak_numerator(lif: Lif) -> int:
    """Round a leak to 1..4096 over 4096: the decay register cannot hold 4096, its opposite."""
    return max(1, round(fx.DECAY_ONE * float(lif.leak)))


def _general(
    layer: FloatLayer, lif: Lif, units: float, bias: chip.Ints, exponent: int
) -> tuple[chip.Neuron, list[str]]:
    """Round neurons that differ, begin elsewhere than at 0 or are not reset to 0."""
    threshold, problems = _threshold_table(layer, lif, units)
    leak = leak_table(lif, layer.timesteps).astype(np.int32)
    initial, more = _in_range("initial state", units * float_dynamics(lif, layer.timesteps).initial)
    reset, most = None, list[str]()
    if lif.reset is not None:
        reset, most = _in_range("reset", units * np.asarray(lif.reset, np.float64))
    neuron = chip.GeneralLifNeuron(
        leak=_once(leak),
        threshold=_once(threshold),
        bias=bias,
        du=np.array([NO_FILTER], np.int32),
        initial=initial,
        reset=reset,
        bias_exponent=exponent,
    )
    return neuron, problems + more + most


def _in_range(what: str, exact: F64) -> tuple[NDArray[np.int32], list[str]]:
    """Round numbers in v-units to integers that v can hold."""
    whole = np.atleast_1d(np.rint(exact))
    reach = np.abs(whole).max()
    problems = []
    if reach > fx.STATE_MAX:
        problems = [f"{what} {reach:.6g} v-units is above the largest v {fx.STATE_MAX}"]
    return np.clip(whole, -fx.STATE_MAX, fx.STATE_MAX).astype(np.int32), problems


def _once(table: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return a table that is the same at all steps as its one row."""
    return table[:1] if (table == table[:1]).all() else table


def _threshold_table(
    layer: FloatLayer, lif: Lif, units: float
) -> tuple[NDArray[np.int32], list[str]]:
    """Round thresholds down: for whole v, ``v > x`` and ``v > floor(x)`` are the same."""
    exact = units * float_dynamics(lif, layer.timesteps).threshold
    nearest = np.rint(exact)
    whole = np.abs(exact - nearest) <= 1e-9 * exact
    raw = np.where(whole, nearest, np.floor(exact))
    problems = []
    if raw.max() > fx.STATE_MAX:
        problems.append(f"threshold {raw.max():.6g} v-units is above the largest v {fx.STATE_MAX}")
    if raw.min() < 1:
        problems.append("a threshold is below one v-unit")
    return np.clip(raw, 1, fx.STATE_MAX).astype(np.int32), problems


def dequantise(layer: FloatLayer, candidate: Candidate) -> tuple[FloatNode, ...]:
    """Return the layer's nodes with the chip's rounded parameters as floats, states still real.

    A standard LIF keeps its threshold exactly and gets the leak of the 1/4096 grid. A DLIF table
    is written as a gain again, ``theta units / threshold[t]``: its thresholds are then exact and
    its leaks differ from the table by the rounding of the table (at most 1/8192 each). Firing is
    strict: equality, where it mattered, went into the bias.
    """
    built, units = candidate.layer, candidate.units
    neuron, host = built.neuron, built.host
    per_unit = units * 2.0 ** (host.shift - neuron.bias_exponent) if host else 0.0
    bias: Any = neuron.bias * (2.0**neuron.bias_exponent / units)
    if host:
        bias = host.offset / per_unit
    nodes: list[FloatNode] = []
    for (part, _, wire), one in zip(layer.parts, built.inputs, strict=True):
        weight = one.synapse.weight / (per_unit if one.host else candidate.scale)
        weight = weight * 255 if layer.is_pixels(wire) else weight
        first = _float_bias(bias, layer) if not nodes else None
        nodes.append(replace(part, weight=weight, bias=first))
    return (*nodes, _dequantise_end(layer, neuron, units))


def _float_bias(bias: F64, layer: FloatLayer) -> F64 | None:
    if not bias.any():
        return None
    channels = len(layer.linear.weight)
    if bias.shape[1:] == (1, 1):
        return np.broadcast_to(bias.reshape(-1), channels).copy()
    return np.broadcast_to(bias, layer.shape).copy()


def _dequantise_end(layer: FloatLayer, neuron: chip.Neuron, units: float) -> Lif | Readout:
    end = layer.end
    if isinstance(end, Readout):
        return end
    if isinstance(neuron, chip.GeneralLifNeuron):
        initial = neuron.initial / units
        end = replace(end, reset=None if neuron.reset is None else neuron.reset / units)
        if end.gain is None:
            threshold, leak = neuron.threshold[0] / units, neuron.leak[0] / fx.DECAY_ONE
            return replace(end, leak=leak, threshold=threshold, strict=True, initial=initial)
    elif not neuron.stepwise:
        return replace(end, leak=_leak_numerator(end) / fx.DECAY_ONE, strict=True)
    leak = np.rint(fx.DECAY_ONE * np.asarray(end.leak)) / fx.DECAY_ONE
    gain = end.threshold * units / neuron.thresholds(layer.timesteps)
    if isinstance(neuron, chip.GeneralLifNeuron):
        return replace(end, leak=leak, strict=True, gain=gain, initial=initial * gain[0])
    return replace(end, leak=float(leak), strict=True, gain=gain)
