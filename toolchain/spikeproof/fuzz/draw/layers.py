"""Draw one layer of a random network: synapse, neuron, bias, in every form the dialect has.

Widths and channel counts crowd around 8, 16, 32 and 64, one below and one above included, because
engines work in blocks of such sizes and faults hide at their edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.fuzz.draw.neurons import draw_neuron
from spikeproof.ir import chip
from spikeproof.ir.limits import ACCUMULATOR_MAX, PIXEL_MAX, WEIGHT_LIMITS
from spikeproof.ir.synapses import shifted_magnitude
from spikeproof.ir.windows import window_outputs

Rng = np.random.Generator
Shape = tuple[int, ...]
_EDGES = (7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)
_SIGNS: tuple[chip.Sign, ...] = ("mixed", "mixed", "mixed", "excitatory", "inhibitory")
_TYPES: tuple[type[np.signedinteger[Any]], ...] = (np.int16, np.int16, np.int16, np.int32, np.int8)
_READOUT_BIAS_EXPONENT = 2
_HOST_SHARE, _READOUT_SHARE = 0.35, 0.6
_MANTISSA_BITS = 12


@dataclass(frozen=True)
class Place:
    """What a layer is drawn for: its input shape and largest payload, its steps, its position."""

    name: str
    shape: Shape
    payload: int
    steps: int
    last: bool
    nasty: bool


def draw_layer(rng: Rng, place: Place) -> chip.ChipLayer:
    """Draw a layer whose sums no accumulator can lose."""
    synapse = within_limit(
        draw_synapse(rng, place.shape, place.nasty), place.payload, ACCUMULATOR_MAX
    )
    shape = synapse.output_shape(place.shape)
    host = place.payload > 1 and rng.random() < _HOST_SHARE
    wanted = place.last and rng.random() < _READOUT_SHARE
    scale = 64 if host else typical_sum(synapse, place.payload)
    neuron: chip.Neuron = draw_neuron(rng, shape, place.steps, scale, place.nasty)
    if wanted and (host or readout_is_safe(synapse, place.payload, place.steps)):
        exponent = min(neuron.bias_exponent, _READOUT_BIAS_EXPONENT)
        neuron = chip.ReadoutNeuron(neuron.bias, exponent)
    if host:
        neuron = neuron.changed(bias=np.zeros((1,) * len(shape), np.int32))
        plain, current = host_current(rng, synapse)
        return chip.ChipLayer(place.name, (chip.Connection(plain, host=current),), neuron, shape)
    synapse = within_limit(synapse, place.payload, neuron.sum_limit)
    return chip.ChipLayer(place.name, (chip.Connection(synapse),), neuron, shape)


def draw_width(rng: Rng, limit: int = 600) -> int:
    """Draw a number of neurons or channels, at most ``limit``."""
    kind = rng.random()
    if kind < 0.5:
        width = int(rng.integers(1, 13))
    elif kind < 0.9:
        width = int(rng.choice(_EDGES))
    else:
        width = int(rng.integers(60, 601))
    return min(width, limit)


def draw_synapse(rng: Rng, shape: Shape, nasty: bool) -> chip.Synapse:
    """Draw a convolution or a dense layer with every form of weights and exponents."""
    sign = _SIGNS[int(rng.integers(len(_SIGNS)))]
    exponent = int(rng.integers(-8, 8)) if nasty or rng.random() < 0.25 else 0
    limit = int(rng.choice([2, 8, 64, 256]))
    if len(shape) == 3 and rng.random() < 0.6:
        return _conv(rng, shape, sign, exponent, limit, nasty)
    width = (draw_width(rng), int(np.prod(shape)))
    return chip.DenseSynapse(draw_weights(rng, width, sign, limit, nasty), sign, exponent)


def _conv(
    rng: Rng, shape: Shape, sign: chip.Sign, exponent: int, limit: int, nasty: bool
) -> chip.ConvSynapse:
    channels = shape[0]
    divisors = [g for g in range(1, channels + 1) if channels % g == 0]
    groups = int(rng.choice([1, 1, channels, int(rng.choice(divisors))]))
    kernel, stride, padding, dilation = _window(rng, shape[1:])
    pixels = int(np.prod(window_outputs(shape[1:], kernel, stride, padding, dilation)))
    per_group = max(1, draw_width(rng, max(1, 2000 // pixels)) // groups)
    form = (groups * per_group, channels // groups, *kernel)
    return chip.ConvSynapse(
        draw_weights(rng, form, sign, limit, nasty),
        (shape[0], shape[1], shape[2]),
        stride,
        padding,
        dilation,
        groups,
        sign,
        exponent,
    )


def _window(rng: Rng, size: Shape) -> tuple[tuple[int, int], ...]:
    """Draw kernel, stride, padding, dilation until the kernel fits the padded image."""
    while True:
        kernel, stride = _pair(rng, 1, 6), _pair(rng, 1, 4)
        padding, dilation = _pair(rng, 0, 4), _pair(rng, 1, 3)
        if rng.random() < 0.5:
            stride, dilation = (1, 1), (1, 1)
        if min(window_outputs(size, kernel, stride, padding, dilation)) >= 1:
            return kernel, stride, padding, dilation


def host_current(rng: Rng, synapse: chip.Synapse) -> tuple[chip.Synapse, chip.HostCurrent]:
    """Let the host compute it: larger weights, any offset, a shift for |mantissa| <= 4095."""
    wide = int(rng.choice([1, 1, 100]))
    weight = synapse.weight.astype(np.int32) * wide
    plain = synapse.changed(weight=weight, exponent=0)
    form: Shape = (len(weight),) + (1, 1) * (weight.ndim == 4)
    offset = rng.integers(-2000, 2001, (1,) * len(form) if rng.random() < 0.2 else form)
    worst = plain.largest_sum(PIXEL_MAX) + 2000
    shift = max(0, worst.bit_length() - _MANTISSA_BITS) + int(rng.random() < 0.2)
    return plain, chip.HostCurrent(in_random_form(rng, offset.astype(np.int64)), shift)


def within_limit(synapse: chip.Synapse, payload: int, limit: int) -> chip.Synapse:
    """Lower the exponent until no sum exceeds the limit of the accumulators."""
    exponent = synapse.exponent
    while shifted_magnitude(synapse.largest_sum(payload), exponent) > limit:
        exponent -= 1
    return synapse.changed(exponent=exponent)


def typical_sum(synapse: chip.Synapse, payload: int) -> int:
    """Return the size of a sum of random inputs, so that thresholds can be drawn near it."""
    weight = synapse.weight.astype(np.float64).reshape(len(synapse.weight), -1)
    size = float(np.sqrt((weight**2).sum(axis=1)).max()) * payload / 2
    return max(1, int(size * 2.0**synapse.exponent))


def readout_is_safe(synapse: chip.Synapse, payload: int, steps: int) -> bool:
    """Tell whether v surely stays within what a target can integrate without firing."""
    total = int(fx.shift_sum(synapse.largest_sum(payload), max(0, synapse.exponent)))
    bias = fx.BIAS_MANTISSA_MAX << _READOUT_BIAS_EXPONENT
    return steps * (int(fx.shift_sum(total, fx.CURRENT_SHIFT)) + bias) < fx.STATE_MAX - 64


def _pair(rng: Rng, low: int, high: int) -> tuple[int, int]:
    return int(rng.integers(low, high)), int(rng.integers(low, high))


def draw_weights(
    rng: Rng, shape: tuple[int, ...], sign: chip.Sign, limit: int, nasty: bool
) -> NDArray[Any]:
    """Draw legal weights of magnitude up to ``limit``; nasty ones hold many zeros and extremes."""
    low, high = (max(-limit, WEIGHT_LIMITS[sign][0]), min(limit, WEIGHT_LIMITS[sign][1]))
    weight = rng.integers(low, high + 1, shape)
    if rng.random() < 0.2:  # pruned
        weight = weight * (rng.random(shape) < rng.uniform(0.02, 0.5))
    if nasty:
        weight = np.where(rng.random(shape) < 0.3, rng.choice([0, low, high], shape), weight)
    if sign == "mixed":
        # Toward zero, so that rounding to the even grid cannot leave the range.
        weight = np.sign(weight) * (np.abs(weight) // 2 * 2)
    return in_random_form(rng, weight)


def in_random_form(rng: Rng, values: NDArray[Any]) -> NDArray[Any]:
    """Return the same integers in another type that holds them, at times in Fortran's order."""
    kind = _TYPES[int(rng.integers(len(_TYPES)))]
    order = rng.random() < 0.1
    limits = np.iinfo(kind)
    fits = values.size == 0 or (values.min() >= limits.min and values.max() <= limits.max)
    typed = values.astype(kind if fits else np.int32)
    return np.asfortranarray(typed) if order else typed
