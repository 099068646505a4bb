"""Code the first layer's constant current as a bias that the host computes once per image.

Under direct coding every step sees the same pixels, so the first current is a constant: computed
on the host with 16-bit weights, rounded to a 13-bit mantissa and shared exponent, written as
bias. 8-bit weights times 8-bit pixels would have to fit 131 071 units instead, which leaves
5 to 6 bits of weight. Which one is better for a network is measured, not assumed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from math import prod

import numpy as np

from spikeproof import fixedpoint as fx
from spikeproof.convert.quantise import (
    F64,
    V_UNITS,
    Candidate,
    FloatLayer,
    connections,
    neuron_of,
    round_layer,
    settle_scale,
)
from spikeproof.ir import chip
from spikeproof.ir.limits import HOST_WEIGHT_MAX
from spikeproof.numerics.affine import Parallel, apply, bias_map

_SHIFT_MAX = 31
_OFFSET_MAX = 2.0**40


def largest_current(layer: FloatLayer) -> float:
    """Return the largest magnitude of the current over all images and neurons, in float units."""
    white = np.full((1, *layer.input_shape), 255.0)
    bias = bias_map(layer.bias, layer.shape)
    low = apply(layer.linear, white, np.minimum(layer.weight, 0))[0] + bias
    high = apply(layer.linear, white, np.maximum(layer.weight, 0))[0] + bias
    return float(max(-low.min(), high.max(), 0.0))


def largest_host_scale(layer: FloatLayer, exponent: int) -> float:
    """Return the scale at which the largest possible current just fits the mantissa."""
    room = (fx.BIAS_MANTISSA_MAX - 1) * 2.0**exponent
    worst = largest_current(layer)
    return room / (V_UNITS * worst) if worst else room / V_UNITS


def round_host_layer(
    layer: FloatLayer, scale: float, exponent: int, lift: float = 0.0
) -> Candidate:
    """Round the first layer to a host current at one scale and bias exponent.

    ``lift`` is a share of a mantissa added to every current: a threshold that is a whole number of
    mantissas is passed only half a mantissa above it, which a small lift makes up for over the
    steps. It is for neurons that do not fire at equality; the others are raised anyway.

    The host's weights are as fine as 16 bits allow: K = units * 2**(shift - exponent) host units
    per unit of float current.
    """
    scale = settle_scale(layer, scale)
    units = V_UNITS * scale
    largest = float(np.abs(layer.weight).max(initial=0.0)) * units
    finer = math.floor(math.log2(HOST_WEIGHT_MAX / largest)) if largest else 8
    shift = min(max(finer + exponent, 0), _SHIFT_MAX)
    per_unit = units * 2.0 ** (shift - exponent)
    weight = np.rint(layer.weight * per_unit)
    offset = layer.bias * per_unit + lift * 2.0**shift
    problems = _fit_problems(weight, offset)
    offset = np.clip(offset, -_OFFSET_MAX, _OFFSET_MAX)
    whole = np.rint(offset).astype(np.int64)
    if layer.fires_at_equality:
        whole = _above(layer, offset, layer.weight * per_unit - weight, shift)
    held = np.clip(weight, -HOST_WEIGHT_MAX, HOST_WEIGHT_MAX).astype(np.int32)
    silent = np.zeros((1,) * len(layer.shape), np.int32)
    neuron, more = neuron_of(layer, scale, silent, exponent)
    (only,) = connections(layer, held, "mixed")
    current = only.changed(host=chip.HostCurrent(whole, shift))
    built = chip.ChipLayer(layer.name, (current,), neuron, layer.shape)
    return Candidate(built, scale, 0.0, tuple(more + problems))


def round_mixed_layer(
    layer: FloatLayer, scale: float, bits: int, exponent: int | None = None
) -> Candidate:
    """Round a layer that reads pixels and spikes: a host current, and weights on the chip.

    The bias exponent is the one given, or the finest that the host's largest current leaves.
    """
    scale = settle_scale(layer, scale)
    assert isinstance(layer.linear, Parallel)
    grey = next(k for k, wire in enumerate(layer.wires) if layer.is_pixels(wire))
    part, shape, wire = layer.parts[grey]
    alone = replace(part, bias=layer.linear.bias)
    pixels = replace(layer, linear=alone, input_shape=shape, wires=(wire,))
    fits = (e for e in range(fx.BIAS_EXPONENT_MAX) if largest_host_scale(pixels, e) >= scale)
    finest = next(fits, fx.BIAS_EXPONENT_MAX) if exponent is None else exponent
    first = round_host_layer(pixels, scale, finest)
    rest = round_layer(spikes_alone(layer), scale, bits, bias_exponent=0)
    inputs = list(rest.layer.inputs)
    inputs.insert(grey, first.layer.inputs[0])
    built = replace(first.layer, inputs=tuple(inputs))
    problems = tuple(dict.fromkeys((*first.problems, *rest.problems)))
    return Candidate(built, scale, rest.clipped_share, problems)


def spikes_alone(layer: FloatLayer) -> FloatLayer:
    """Return a layer that reads pixels and spikes without its pixels and bias."""
    parts = [part for part in layer.parts if not layer.is_pixels(part[2])]
    maps = tuple(replace(part, bias=None) for part, _, _ in parts)
    shapes, wires = tuple(shape for _, shape, _ in parts), tuple(wire for _, _, wire in parts)
    if len(maps) == 1:
        return replace(layer, linear=maps[0], input_shape=shapes[0], wires=wires, pixels=False)
    linear = Parallel(layer.linear.name, maps, shapes)
    width = (sum(prod(shape) for shape in shapes),)
    return replace(layer, linear=linear, input_shape=width, wires=wires, pixels=False)


def _above(layer: FloatLayer, offset: F64, lost: F64, shift: int) -> chip.Ints:
    """Raise the offset until every image's mantissa is strictly above its real current.

    ``lost`` is what rounding took from each weight; white pixels lose the most.
    """
    most = np.maximum(lost, 0).reshape(len(lost), -1).sum(axis=1) * 255
    margin = np.ceil(most).astype(np.int64).reshape(-1, *(1,) * (len(layer.shape) - 1))
    step = 2 ** (shift - 1) if shift else 1
    raised: chip.Ints = np.ceil(offset).astype(np.int64) + margin + step
    return raised


def _fit_problems(weight: F64, offset: F64) -> list[str]:
    problems = []
    if np.abs(weight).max(initial=0) > HOST_WEIGHT_MAX:
        problems.append(f"a host weight needs {np.abs(weight).max():.6g}, 16 bits hold 32767")
    if np.abs(offset).max(initial=0) > _OFFSET_MAX:
        problems.append(f"the host offset {np.abs(offset).max():.3g} exceeds 2^40")
    return problems
