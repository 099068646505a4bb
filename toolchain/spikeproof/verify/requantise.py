"""Quantise the checkpoint a second time and compare every integer of the bundle with it (V2).

Nothing is taken from the conversion's own rounding code. From the folded checkpoint and the
declared options follows, at the bundle's scale of a layer, what each weight, bias, threshold,
decay, table entry and host number was rounded from, and how far rounding may have moved it. The
scale itself must put the threshold on its mantissa and lie where the conversion may choose it
(:mod:`spikeproof.verify.scales`). Source: docs/semantics.md; docs/guarantees.md, "Re-quantisation".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import float_layers
from spikeproof.convert.quantise import Wire
from spikeproof.ir import chip
from spikeproof.ir.floats import Conv2d, FloatNetwork, Lif, Linear, Readout
from spikeproof.ir.limits import INPUT
from spikeproof.ir.shapes import Shape, output_shape
from spikeproof.numerics.affine import Parallel
from spikeproof.verify.checked_relation import CheckedRelation, RoundedLayer, Violation
from spikeproof.verify.compensated import (
    Moments,
    error_ratio,
    mean_error,
    moments,
    sections,
    targets,
)
from spikeproof.verify.verdict import Verdict, combine

F64 = NDArray[np.float64]
FEWEST = 16
"""Images, blank ones left aside, from which compensated rounding can be judged at all."""
LISTED = 200
"""Violations listed per layer; the others are counted."""

_ROUNDOFF = 1e-9
"""Relative error of the float64 products that give the exact values."""

_REPLAY, _EXACT_INPUTS = 0.005, 1000
"""Steps a compensated target may be off, and the inputs from which on it may be off further.

The conversion measures its moments in single precision, 6e-8 of their size. The damping of a
twentieth of their mean keeps the condition number of the moments of n inputs below 20 n, so what
is made up for may be off by 1.2e-6 n of itself, and it is some steps: .005 of one per thousand
inputs.
"""

_BROKEN = 4.0
"""Error of a neuron's sums, in times that of rounding to nearest, on images not calibrated with.

More is wrong; less shows little, for small weights may all be wrong and leave no more.
"""


@dataclass(eq=False)
class Findings:
    """What was compared in one layer."""

    layer: str
    rounding: str = ""
    """nearest, compensated, objective (compensated, but its calibration images are not known)."""
    values: int = 0
    outside: int = 0
    largest: float = 0.0
    """Largest distance of an integer from its exact value, in units of its bound."""
    violations: list[Violation] = field(default_factory=list)
    undecided: str = ""
    doubts: list[str] = field(default_factory=list)
    """What a declared option excuses, so that right numbers show little."""
    unclaimed: list[str] = field(default_factory=list)
    """Columns of the conversion's table that say nothing of this layer."""
    error_ratio: float | None = None
    clipped_share: float | None = None
    clipped_most: float | None = None
    """Share of weights at the end of their range; where what was rounded is not known."""

    @property
    def verdict(self) -> Verdict:
        """Return fail if a number is wrong, inconclusive if one could not be judged."""
        if self.outside:
            return Verdict.FAIL
        doubtful = self.undecided or self.doubts or self.unclaimed or not self.values
        return Verdict.INCONCLUSIVE if doubtful else Verdict.PASS

    def compare(
        self, parameter: str, found: Any, low: Any, high: Any, *, expected: Any = None
    ) -> int:
        """Require low <= found <= high everywhere; broadcast. Returns how many are outside."""
        held, least, most = np.broadcast_arrays(
            *(np.asarray(x, np.float64) for x in (found, low, high))
        )
        exact = (least + most) / 2 if expected is None else np.broadcast_to(expected, held.shape)
        bound = np.maximum(np.maximum(most - exact, exact - least), 0)
        wrong = ~((least <= held) & (held <= most))
        off = np.abs(held - exact)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(bound > 0, off / bound, np.where(off > 0, np.inf, 0.0))
        count = int(wrong.sum())
        self.values += held.size
        self.outside += count
        finite = share[np.isfinite(share)]
        self.largest = max(self.largest, float(finite.max(initial=0.0)))
        places = np.argwhere(wrong)[: max(0, LISTED - len(self.violations))]
        for place in places:
            at = tuple(int(i) for i in place)
            self.violations.append(
                Violation(
                    parameter=parameter,
                    index=list(at),
                    expected=float(exact[at]),
                    found=float(held[at]),
                    low=float(least[at]),
                    high=float(most[at]),
                )
            )
        return count

    def equal(self, parameter: str, found: Any, expected: Any) -> int:
        """Require equality."""
        return self.compare(parameter, found, expected, expected)

    @property
    def row(self) -> RoundedLayer:
        """Return a row of the report."""
        return RoundedLayer(
            layer=self.layer,
            rounding=self.rounding,
            values=self.values,
            outside=self.outside,
            largest=self.largest,
            undecided=self.undecided,
            doubts=list(self.doubts),
            unclaimed=list(self.unclaimed),
            error_ratio=self.error_ratio,
            clipped_share=self.clipped_share,
            violations=list(self.violations),
            verdict=self.verdict,
        )


@dataclass(frozen=True, eq=False)
class Exact:
    """One layer of the folded checkpoint, and the payloads that reach it on given images."""

    linear: Conv2d | Linear | Parallel
    end: Lif | Readout
    input_shape: Shape
    timesteps: int
    pixels: bool
    wires: tuple[Wire, ...] = (Wire(),)

    @property
    def maps(self) -> tuple[Conv2d | Linear, ...]:
        """Return the map of each connection."""
        return self.linear.parts if isinstance(self.linear, Parallel) else (self.linear,)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Return the shape of what each map reads."""
        one = self.linear
        return one.shapes if isinstance(one, Parallel) else (self.input_shape,)

    def reads_pixels(self, k: int) -> bool:
        """Tell whether connection ``k`` carries pixels."""
        return self.pixels and self.wires[k].source in (None, INPUT)

    @property
    def weight(self) -> F64:
        """Return the weight of one payload unit: of one grey level of 255, or of one spike."""
        weight = np.asarray(self.linear.weight, np.float64)
        if not isinstance(self.linear, Parallel):
            return weight / 255.0 if self.pixels else weight
        levels = [255.0 if self.reads_pixels(k) else 1.0 for k in range(len(self.wires))]
        return np.asarray(weight / np.repeat(levels, self.linear.widths))

    def only(self, kept: list[int], bias: Any) -> Exact:
        """Return the layer with some of its connections alone, and a bias."""
        maps = [replace(self.maps[k], bias=bias if not i else None) for i, k in enumerate(kept)]
        shapes, wires = [self.shapes[k] for k in kept], tuple(self.wires[k] for k in kept)
        pixels = any(self.reads_pixels(k) for k in kept)
        if len(kept) == 1:
            return Exact(maps[0], self.end, shapes[0], self.timesteps, pixels, wires)
        linear = Parallel(self.linear.name, tuple(maps), tuple(shapes))
        width = (sum(math.prod(shape) for shape in shapes),)
        return Exact(linear, self.end, width, self.timesteps, pixels, wires)

    @property
    def shape(self) -> Shape:
        """Return the shape of the neurons."""
        return output_shape(self.linear, self.input_shape)

    @property
    def bias(self) -> F64:
        """Return the bias of every neuron or channel, broadcastable to the neurons."""
        dims = len(self.shape)
        if self.linear.bias is None:
            return np.zeros((self.shape[0], *(1,) * (dims - 1)))
        bias = np.asarray(self.linear.bias, np.float64)
        return bias.reshape(-1, *(1,) * (dims - 1)) if bias.ndim == 1 else bias

    @property
    def above(self) -> bool:
        """Tell whether the trained neuron fires at equality, so that its bias is rounded up."""
        return isinstance(self.end, Lif) and not self.end.strict


def exact_layers(folded: FloatNetwork) -> list[Exact]:
    """Pair the maps of a folded network with their neurons."""
    return [
        Exact(one.linear, one.end, one.input_shape, one.timesteps, one.pixels, one.wires)
        for one in float_layers(folded)
    ]


Inputs = Callable[[], NDArray[np.uint8]]
"""Gives the payloads (N, T or 1, *shape) that reach a layer; asked for only where needed."""


def requantise(
    layer: Exact,
    built: chip.ChipLayer,
    scale: float,
    options: ConvertOptions,
    inputs: Inputs | None,
    *,
    fitted: bool,
) -> Findings:
    """Compare one layer of a bundle with the checkpoint.

    Args:
        layer: what was trained, folded.
        built: what the bundle holds.
        scale: units of weight times spike per unit of float membrane, as the bundle declares.
        options: those the bundle declares; they decide step widths and which rounding is legal.
        inputs: what reaches the layer, to judge compensated rounding; None: too few are known.
        fitted: whether that is on the images compensated rounding was fitted to.
    """
    found = Findings(built.name)
    if _form(layer, built, options, found):
        return found
    _neuron(layer, built.neuron, scale, found)
    on_host = [k for k, one in enumerate(built.inputs) if one.host is not None]
    if not on_host:
        _chip_weights(layer, built, scale, options, inputs, fitted, found)
        return found
    pixels, alone = part_of(layer, built, on_host, layer.linear.bias)
    rest = [k for k in range(len(built.inputs)) if k not in on_host]
    if rest:  # beside a host current weights are rounded to nearest, and there is no other bias
        spikes, held = part_of(layer, built, rest, None)
        held = held.changed(neuron=built.neuron.changed(bias_exponent=0))
        if isinstance(spikes.end, Lif):  # what fires at equality is raised by the host's offset
            spikes = replace(spikes, end=replace(spikes.end, strict=True))
        nearest = options.model_copy(update={"compensate": False, "profile": "default"})
        _chip_weights(spikes, held, scale, nearest, None, fitted, found)
    clipped = found.clipped_share
    if alone.host is not None:
        _host(pixels, alone, alone.host, scale, options, found)
    found.clipped_share = clipped or 0.0
    return found


def part_of(
    layer: Exact, built: chip.ChipLayer, kept: list[int], bias: Any
) -> tuple[Exact, chip.ChipLayer]:
    """Return a layer and what was built of it with some of its connections alone."""
    inputs = tuple(built.inputs[k] for k in kept)
    return layer.only(kept, bias), built.changed(inputs=inputs)


def held_weights(layer: Exact, built: chip.ChipLayer) -> F64:
    """Return the integer weights, shaped as the layer's."""
    if not isinstance(layer.linear, Parallel):
        return built.synapse.weight.astype(np.float64)
    kernels = [one.synapse.weight.astype(np.float64) for one in built.inputs]
    maps = [replace(m, weight=kernel) for m, kernel in zip(layer.maps, kernels, strict=True)]
    return np.asarray(replace(layer.linear, parts=tuple(maps)).weight)


def _form(layer: Exact, built: chip.ChipLayer, options: ConvertOptions, found: Findings) -> int:
    """Compare kinds, shapes and strides; returns how many are wrong (values then mean nothing)."""
    neuron: type[Any] = chip.ReadoutNeuron
    if isinstance(layer.end, Lif):
        neuron = chip.LifNeuron if layer.end.gain is None else chip.TableLifNeuron
        neuron = chip.GeneralLifNeuron if layer.end.general else neuron
    wrong = found.equal("number of connections", len(built.inputs), len(layer.maps))
    if wrong:
        return wrong
    for k, one in enumerate(built.inputs):
        wrong += _connection_form(layer, k, one, options, found)
    wrong += found.equal("kind of neuron", isinstance(built.neuron, neuron), True)
    wrong += _same_numbers(found, "shape of the neurons", built.shape, layer.shape)
    return wrong


def _connection_form(
    layer: Exact, k: int, one: chip.Connection, options: ConvertOptions, found: Findings
) -> int:
    linear, shape, inner, host = layer.maps[k], layer.shapes[k], one.synapse, one.host is not None
    convolution = isinstance(linear, Conv2d)
    kinds: dict[bool, type[Any]] = {True: chip.ConvSynapse, False: chip.DenseSynapse}
    wrong = found.equal("kind of synapse", isinstance(inner, kinds[convolution]), True)
    allowed = {"bias": host, "graded": not host}.get(options.input_coding, True)
    wrong += found.equal("input coding", allowed if layer.reads_pixels(k) else not host, True)
    wrong += found.equal("source", (one.source, one.lag) == tuple(layer.wires[k]), True)
    wrong += _same_numbers(found, "shape of the weights", inner.weight.shape, linear.weight.shape)
    wrong += found.equal("weight exponent", inner.exponent, 0)
    if isinstance(linear, Conv2d) and isinstance(inner, chip.ConvSynapse):
        for name in ("stride", "padding", "dilation"):
            wrong += _same_numbers(found, name, getattr(inner, name), getattr(linear, name))
        wrong += found.equal("groups", inner.groups, linear.groups)
        wrong += _same_numbers(found, "shape of the input", inner.input_shape, shape)
    return wrong


def _same_numbers(found: Findings, parameter: str, held: Any, wanted: Any) -> int:
    same = len(held) == len(wanted)
    return found.equal(parameter, held, wanted) if same else found.equal(parameter, 0, 1)


def _neuron(layer: Exact, neuron: chip.Neuron, scale: float, found: Findings) -> None:
    """Compare decays and thresholds."""
    end = layer.end
    if isinstance(end, Readout) or not neuron.spiking:
        return
    found.equal("du", neuron.du, 4095)
    if isinstance(neuron, chip.GeneralLifNeuron):
        _general(layer, end, neuron, 64 * scale, found)
        return
    if isinstance(neuron, chip.LifNeuron):
        # The decay register ends at 4095, so a leak is at least 1/4096.
        leak = max(1.0, 4096 * end.leak)
        _near(found, "dv", 4096 - leak, neuron.dv, 0.5)
        _near(found, "threshold", scale * end.threshold, neuron.threshold, 0.0)
        return
    gain = np.asarray(end.gain, np.float64)
    leaks = np.concatenate([[end.leak], end.leak * gain[:-1] / gain[1:]])
    _near(found, "leak table", 4096 * leaks, neuron.leaks(layer.timesteps), 0.5)
    # Rounded down: for whole v, v > x and v > floor(x) are the same.
    thresholds = 64 * scale * end.threshold / gain
    slack = _ROUNDOFF * thresholds
    found.compare(
        "threshold table",
        neuron.thresholds(layer.timesteps),
        thresholds - 1 - slack,
        thresholds + slack,
        expected=thresholds,
    )


def _general(
    layer: Exact, end: Lif, neuron: chip.GeneralLifNeuron, units: float, found: Findings
) -> None:
    """Compare the numbers of neurons that are not all alike, or not reset to 0."""
    shape, steps = layer.shape, layer.timesteps
    exact = general_numbers(end, units, steps)
    threshold = _by_neuron(exact.pop("threshold"), steps, shape)
    slack = _ROUNDOFF * threshold
    found.compare(
        "threshold",
        _by_neuron(neuron.threshold, steps, shape),
        threshold - 1 - slack,
        threshold + slack,
        expected=threshold,
    )
    leaks = _by_neuron(_leaks(end, steps), steps, shape)
    _near(found, "leak", 4096 * leaks, _by_neuron(neuron.leak, steps, shape), 0.5)
    if found.equal("a reset by subtraction", neuron.reset is not None, end.reset is not None):
        return
    for key, values in exact.items():
        held = np.broadcast_to(np.asarray(getattr(neuron, key)), shape)
        _near(found, key, np.broadcast_to(values, shape), held, 0.5)


def _by_neuron(table: Any, steps: int, shape: Shape) -> NDArray[Any]:
    """Return a table of one row, or one for each step, as (T, *neurons)."""
    return np.stack([np.broadcast_to(table[t % len(table)], shape) for t in range(steps)])


def general_numbers(end: Lif, units: float, timesteps: int) -> dict[str, F64]:
    """Return threshold, initial state and reset in v-units, exact, thresholds by step."""
    gain = np.ones((timesteps, 1)) if end.gain is None else np.asarray(end.gain, np.float64)
    rows = [units * np.atleast_1d(end.threshold / row) for row in gain]
    numbers = {
        "threshold": np.array(rows),
        "initial": units * np.atleast_1d(end.initial / gain[0]),
    }
    if end.reset is not None:
        numbers["reset"] = units * np.atleast_1d(np.asarray(end.reset, np.float64))
    return numbers


def _leaks(end: Lif, timesteps: int) -> F64:
    """Return what w = v / a[t] keeps of itself, by step; the first acts on the initial state."""
    leak = np.atleast_1d(np.asarray(end.leak, np.float64))
    if end.gain is None:
        return np.stack([leak] * timesteps)
    gain = np.asarray(end.gain, np.float64)
    later = [leak * gain[t - 1] / gain[t] for t in range(1, timesteps)]
    return np.array(np.broadcast_arrays(leak, *later))


def _near(found: Findings, parameter: str, exact: Any, held: Any, bound: Any) -> int:
    reach = bound + _ROUNDOFF * np.maximum(1.0, np.abs(exact))
    return found.compare(parameter, held, exact - reach, exact + reach, expected=exact)


def bias_exponent(options: ConvertOptions) -> int | None:
    """Return the only exponent the profile allows a bias; None: the smallest that holds them.

    For hardware a bias counts whole units of weight times spike, 64 v-units.
    """
    return 6 if options.profile == "loihi" else None


def weight_grid(weight: F64, bits: int) -> tuple[str, int, int, int]:
    """Return the sign mode, step, least and largest weight that ``bits`` bits hold."""
    step = 2 ** (8 - bits)
    if weight.size and weight.min() >= 0 and weight.max() > 0:
        return "excitatory", step, 0, 256 - step
    if weight.size and weight.max() <= 0 and weight.min() < 0:
        return "inhibitory", step, step - 256, 0
    return "mixed", 2 * step, 2 * step - 256, 256 - 2 * step


def _chip_weights(
    layer: Exact,
    built: chip.ChipLayer,
    scale: float,
    options: ConvertOptions,
    inputs: Inputs | None,
    fitted: bool,
    found: Findings,
) -> None:
    """Compare weights on the chip, and the bias, which compensated rounding may have moved."""
    sign, step, low, high = weight_grid(layer.weight, options.weight_bits)
    held = held_weights(layer, built)
    found.equal("sign mode", all(one.synapse.sign == sign for one in built.inputs), True)
    _legal(held, step, low, high, found)
    wanted, bias = layer.weight * scale, layer.bias * scale
    exact, moved = wanted, np.zeros(len(wanted))
    room = step / 2 + _ROUNDOFF * np.abs(wanted)
    found.rounding = "nearest"
    widest = max(part.stop - part.start for part in sections(wanted[0].size))
    replay = _REPLAY * step * max(1.0, widest / _EXACT_INPUTS)
    nearest = np.abs(held - np.clip(wanted, low, high)) <= room
    only = bias_exponent(options)
    plain_bias = not _bias(bias, built.neuron, layer.above, only, Findings(""))
    missing = isinstance(layer.linear, Parallel) and layer.linear.grouped
    may = options.compensate and not missing
    if may and not (nearest.all() and plain_bias):
        if inputs is None:
            found.rounding = "objective"
            found.undecided = (
                f"not compared, for fewer than {FEWEST} of the images given show anything"
            )
            return
        second = moments(layer.linear, layer.end, inputs(), layer.timesteps)
        if fitted:
            target = targets(wanted, held, second)
            replayed = np.abs(held - np.clip(target.weight, low, high)) <= room + replay
            if (~replayed).sum() <= (~nearest).sum():
                found.rounding, exact, room = "compensated", target.weight, room + replay
                moved = target.bias
        else:
            found.rounding = "objective"
            _objective(wanted, held, (step, low, high), second, found)
    if found.rounding == "objective":
        _likely_bias(bias, mean_error(wanted, held, second), built.neuron, only, found)
        found.clipped_share = _beyond(targets(wanted, held, second).weight, low, high, room)
        found.clipped_most = float(((held == low) | (held == high)).mean())
        return
    inside = np.clip(exact, low, high)
    found.compare("weight", held, inside - room, inside + room, expected=inside)
    found.clipped_share = _beyond(exact, low, high, room)
    spread = moved.reshape(-1, *(1,) * (bias.ndim - 1))
    uncertain = replay if found.rounding == "compensated" else 0.0
    _bias(bias + spread, built.neuron, layer.above, only, found, uncertain)


def _beyond(exact: F64, low: int, high: int, room: F64) -> float:
    """Return the share of weights that rounding cuts off."""
    return float(((exact < low - room) | (exact > high + room)).mean())


def _legal(held: F64, step: int, low: int, high: int, found: Findings) -> None:
    """Require multiples of the step between the limits of the declared number of bits."""
    off = held - step * np.rint(held / step)
    if off.any():
        found.compare("weight off the grid of the declared bits", held, held - off, held - off)
    if held.size and (held.min() < low or held.max() > high):
        found.compare("weight beyond the declared bits", held, low, high)


def _objective(
    wanted: F64, held: F64, grid: tuple[int, int, int], second: Moments, found: Findings
) -> None:
    """Judge compensated weights by the error they leave, where the images behind are not known."""
    ratio = error_ratio(wanted, held, second, grid)
    found.error_ratio = float(ratio.max())
    found.compare(
        "error of the sums, in times that of rounding to nearest", ratio, 0.0, _BROKEN, expected=0.0
    )
    found.undecided = (
        f"compared only by the error they leave in each neuron's sums ({found.error_ratio:.2g} "
        "times that of rounding to nearest)"
    )


def _bias(
    bias: F64,
    neuron: chip.Neuron,
    above: bool,
    only: int | None,
    found: Findings,
    uncertain: float = 0.0,
) -> int:
    """Compare mantissas << exponent with the exact bias; ``uncertain`` in weight units."""
    exact, unit = 64 * bias, 2.0**neuron.bias_exponent
    roundoff = _ROUNDOFF * np.maximum(unit, np.abs(exact))
    slack = 64 * uncertain + roundoff
    least, most = exact - unit / 2, exact + unit / 2
    if above:
        least, most = exact, exact + unit
        if not uncertain:  # strictly above: a whole number of units becomes the next one
            nearest = unit * np.rint(exact / unit)
            least = np.where(np.abs(exact - nearest) <= roundoff, nearest + unit, exact)
    wrong = found.compare("bias", neuron.bias * unit, least - slack, most + slack, expected=exact)
    largest = float(np.abs(exact).max(initial=0.0)) + 64 * uncertain
    return wrong + _exponent(largest, neuron, only, found)


def _exponent(largest: float, neuron: chip.Neuron, only: int | None, found: Findings) -> int:
    """Require the smallest exponent whose 13-bit mantissas hold the largest bias, or the given."""
    if only is not None:
        return found.equal("bias exponent", neuron.bias_exponent, only)
    smallest = 0
    while smallest < 7 and largest / 2.0**smallest > 4094:
        smallest += 1
    return found.compare("bias exponent", neuron.bias_exponent, 0, smallest, expected=smallest)


def _likely_bias(
    bias: F64, taken: tuple[F64, F64], neuron: chip.Neuron, only: int | None, found: Findings
) -> None:
    """Compare biases that took up what compensated rounding left, on images not calibrated with.

    ``taken``: :func:`mean_error` of the weights in chip units, and how far it may be off.
    """
    mean, reach = (64 * x.reshape(-1, *(1,) * (bias.ndim - 1)) for x in taken)
    unit = 2.0**neuron.bias_exponent
    held = neuron.bias.astype(np.float64) * unit
    exact = 64 * bias + mean
    found.compare("bias", held, exact - reach - unit, exact + reach + unit, expected=exact)
    _exponent(float(np.abs(held).max(initial=0.0)) + unit, neuron, only, found)


def _host(
    layer: Exact,
    built: chip.ChipLayer,
    current: chip.HostCurrent,
    scale: float,
    options: ConvertOptions,
    found: Findings,
) -> None:
    """Compare 16-bit host weights, their shift and the offset."""
    found.rounding, found.clipped_share = "nearest", 0.0
    exponent, shift = built.neuron.bias_exponent, current.shift
    only = bias_exponent(options)
    if only is not None:
        found.equal("bias exponent", exponent, only)
    found.equal("sign mode", built.synapse.sign == "mixed", True)
    found.equal("bias beside a host current", built.neuron.bias, 0)
    units = 64 * scale
    largest = float(np.abs(layer.weight).max(initial=0.0)) * units
    # The finest weights that fit 16 bits; a layer without any gets 8 bits of fraction.
    finer = math.log2(32767 / largest) if largest else 8.0
    least, most = (min(max(math.floor(finer + e) + exponent, 0), 31) for e in (-1e-9, 1e-9))
    found.compare("host shift", shift, least, most)
    per_unit = units * 2.0 ** (shift - exponent)
    exact = layer.weight * per_unit
    weight = built.synapse.weight.astype(np.float64)
    _near(found, "host weight", exact, weight, 0.5)
    offset = layer.bias * per_unit
    if only is not None and options.search and not layer.above:
        # The profile may lift every current by one of these shares of a mantissa.
        lifts = offset + np.array([0.0, 0.125, 0.25]).reshape(-1, *(1,) * offset.ndim) * 2.0**shift
        offset = min(lifts, key=lambda lifted: float(np.abs(current.offset - lifted).max()))
    slack = _ROUNDOFF * np.maximum(1.0, np.abs(offset))
    if not layer.above:
        found.compare(
            "host offset",
            current.offset,
            offset - 0.5 - slack,
            offset + 0.5 + slack,
            expected=offset,
        )
        return
    # Every image's mantissa must be strictly above its exact current: white pixels lose most.
    lost = np.maximum(exact - weight, 0).reshape(len(weight), -1).sum(axis=1) * 255
    lost = lost.reshape(-1, *(1,) * (offset.ndim - 1))
    least = offset + lost + (2.0 ** (shift - 1) if shift else 1.0)
    found.compare(
        "host offset", current.offset, least - 1e-6 - slack, least + 2 + slack, expected=least
    )


def rounding_step(findings: list[Findings], options: list[str]) -> CheckedRelation:
    """Return the step of V2 that this is, with one row per layer; ``options``: not default."""
    return CheckedRelation(
        source="folded",
        target="integers",
        relation="rounding",
        bound=1.0,
        unit="of its rounding bound",
        max_difference=max((f.largest for f in findings), default=0.0),
        flipped_spikes=None,
        spikes=None,
        agreement=None,
        values=sum(f.values for f in findings),
        outside=sum(f.outside for f in findings),
        verdict=combine(f.verdict for f in findings),
        layers=[f.row for f in findings],
        options=options,
    )
