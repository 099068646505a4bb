"""Compare weights on the chip with the checkpoint's, and the biases that stand beside them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from spikeproof.convert.options import ConvertOptions
from spikeproof.ir import chip
from spikeproof.numerics.affine import Parallel
from spikeproof.verify.compensated import (
    Moments,
    error_ratio,
    mean_error,
    moments,
    sections,
    targets,
)
from spikeproof.verify.requantise.biases import (
    bias_exponent,
    compare_bias,
    compare_likely_bias,
)
from spikeproof.verify.requantise.exact import F64, Exact, held_weights
from spikeproof.verify.requantise.findings import ROUNDOFF, Findings

FEWEST = 16
"""Images, blank ones left aside, from which compensated rounding can be judged at all."""

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

Inputs = Callable[[], NDArray[np.uint8]]
"""Gives the payloads (N, T or 1, *shape) that reach a layer; asked for only where needed."""


def weight_grid(weight: F64, bits: int) -> tuple[str, int, int, int]:
    """Return the sign mode, step, least and largest weight that ``bits`` bits hold."""
    step = 2 ** (8 - bits)
    if weight.size and weight.min() >= 0 and weight.max() > 0:
        return "excitatory", step, 0, 256 - step
    if weight.size and weight.max() <= 0 and weight.min() < 0:
        return "inhibitory", step, step - 256, 0
    return "mixed", 2 * step, 2 * step - 256, 256 - 2 * step


def compare_chip_weights(
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
    room = step / 2 + ROUNDOFF * np.abs(wanted)
    found.rounding = "nearest"
    widest = max(part.stop - part.start for part in sections(wanted[0].size))
    replay = _REPLAY * step * max(1.0, widest / _EXACT_INPUTS)
    nearest = np.abs(held - np.clip(wanted, low, high)) <= room
    only = bias_exponent(options)
    plain_bias = not compare_bias(bias, built.neuron, layer.above, only, Findings(""))
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
        compare_likely_bias(bias, mean_error(wanted, held, second), built.neuron, only, found)
        found.clipped_share = _beyond(targets(wanted, held, second).weight, low, high, room)
        found.clipped_most = float(((held == low) | (held == high)).mean())
        return
    inside = np.clip(exact, low, high)
    found.compare("weight", held, inside - room, inside + room, expected=inside)
    found.clipped_share = _beyond(exact, low, high, room)
    spread = moved.reshape(-1, *(1,) * (bias.ndim - 1))
    uncertain = replay if found.rounding == "compensated" else 0.0
    compare_bias(bias + spread, built.neuron, layer.above, only, found, uncertain)


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
