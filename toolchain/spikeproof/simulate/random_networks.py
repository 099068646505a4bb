"""Draw small legal chip networks and inputs, a good share of them nasty on purpose.

Nasty means: states exactly on the threshold, saturation and wrap at the 24-bit edge, zero
weights, one timestep, extreme decays, negative exponents. Used for differential tests between
engines.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.ir import chip
from spikeproof.ir.check_chip import (
    LEAK_MAX,
    SUM_MAX,
    WEIGHT_LIMITS,
    check_chip,
    largest_sum,
    shifted_magnitude,
    sum_limit,
)
from spikeproof.ir.shapes import output_shape

Rng = np.random.Generator
Shape = tuple[int, ...]
_NASTY_SHARE = 0.3
_READOUT_BIAS_EXPONENT = 2
_SIGNS: tuple[chip.Sign, ...] = ("mixed", "mixed", "mixed", "excitatory", "inhibitory")


def random_network(rng: Rng, *, nasty: bool | None = None) -> chip.ChipNetwork:
    """Draw a legal network of one to three layers; ``nasty=None`` makes 30 % of them nasty."""
    mean = rng.random() < _NASTY_SHARE if nasty is None else nasty
    steps = 1 if mean and rng.random() < 0.25 else int(rng.integers(2, 9))
    coding: Literal["pixels", "spikes"] = "pixels" if rng.random() < 0.5 else "spikes"
    shape: Shape = (int(rng.choice([1, 2, 4])), *(int(n) for n in rng.integers(4, 8, 2)))
    input_shape, layers = shape, []
    depth = int(rng.integers(1, 4))
    for index in range(depth):
        payload = 255 if index == 0 and coding == "pixels" else 1
        layer = _layer(rng, index, shape, payload, steps, mean, last=index == depth - 1)
        layers.append(layer)
        shape = layer.shape
    network = chip.ChipNetwork("random", input_shape, steps, tuple(layers), coding)
    check_chip(network)
    return network


def random_input(rng: Rng, network: chip.ChipNetwork, samples: int) -> NDArray[np.uint8]:
    """Draw inputs: pixels with many extremes, or spikes of a random rate."""
    if network.coding == "pixels":
        x = rng.integers(0, 256, (samples, *network.input_shape))
        extreme = rng.random(x.shape) < 0.2
        return np.where(extreme, rng.choice([0, 255], x.shape), x).astype(np.uint8)
    rate = rng.uniform(0.05, 0.9)
    full = (samples, network.timesteps, *network.input_shape)
    return (rng.random(full) < rate).astype(np.uint8)


def _layer(
    rng: Rng, index: int, shape: Shape, payload: int, steps: int, nasty: bool, last: bool
) -> chip.ChipLayer:
    synapse = _within(_synapse(rng, shape, nasty), payload, SUM_MAX)
    neurons = output_shape(synapse, shape)
    wrapped: chip.Synapse | chip.HostCurrent = synapse
    if payload > 1 and rng.random() < 0.4:
        wrapped = _host_current(rng, synapse)
    host = isinstance(wrapped, chip.HostCurrent)
    readout = last and rng.random() < 0.6 and _readout_is_safe(synapse, host, payload, steps)
    neuron = _neuron(rng, neurons, payload, steps, nasty, readout, host)
    if not isinstance(wrapped, chip.HostCurrent):
        wrapped = _within(wrapped, payload, sum_limit(neuron))
    return chip.ChipLayer(f"l{index + 1}", wrapped, neuron, neurons)


def _synapse(rng: Rng, shape: Shape, nasty: bool) -> chip.Synapse:
    sign = _SIGNS[int(rng.integers(len(_SIGNS)))]
    exponent = int(rng.integers(-3, 4)) if nasty else 0
    limit = int(rng.choice([2, 8, 64, 255]))
    if len(shape) == 3 and min(shape[1:]) >= 3 and rng.random() < 0.6:
        channels = shape[0]
        groups = int(rng.choice([g for g in (1, 2, 4) if channels % g == 0]))
        kernel = tuple(int(k) for k in rng.integers(1, 4, 2))
        weight = _weights(rng, (groups * int(rng.integers(1, 3)), channels // groups, *kernel),
                          sign, limit, nasty)  # fmt: skip
        dilation = (1, 1) if max(kernel) == 3 else tuple(int(d) for d in rng.integers(1, 3, 2))
        return chip.ConvSynapse(
            weight, (shape[0], shape[1], shape[2]), _pair(rng, 1, 3), _pair(rng, 0, 2),
            (dilation[0], dilation[1]), groups, sign, exponent,
        )  # fmt: skip
    width = (int(rng.integers(1, 12)), int(np.prod(shape)))
    return chip.DenseSynapse(_weights(rng, width, sign, limit, nasty), sign, exponent)


def _weights(rng: Rng, shape: Shape, sign: chip.Sign, limit: int, nasty: bool) -> NDArray[np.int16]:
    low, high = (max(-limit, WEIGHT_LIMITS[sign][0]), min(limit, WEIGHT_LIMITS[sign][1]))
    weight = rng.integers(low, high + 1, shape)
    if nasty:
        weight = np.where(rng.random(shape) < 0.3, rng.choice([0, low, high], shape), weight)
        weight = weight * int(rng.random() > 0.1)
    # Toward zero, so that rounding to the even grid cannot leave the range.
    return (2 * np.trunc(weight / 2) if sign == "mixed" else weight).astype(np.int16)


def _host_current(rng: Rng, synapse: chip.Synapse) -> chip.HostCurrent:
    plain: Any = type(synapse)(**{**vars(synapse), "exponent": 0})
    row = np.abs(plain.weight.astype(np.int64)).reshape(len(plain.weight), -1).sum(axis=1).max()
    offset = rng.integers(-2000, 2001, (len(plain.weight),) + (1, 1) * (plain.weight.ndim == 4))
    worst = int(row) * 255 + 2000
    shift = max(0, worst.bit_length() - 12)  # |mantissa| <= 4095 for every image
    return chip.HostCurrent(plain, offset.astype(np.int64), shift)


def _within(synapse: chip.Synapse, payload: int, limit: int) -> chip.Synapse:
    """Lower the exponent until no sum exceeds the limit of the accumulators."""
    exponent = synapse.exponent
    while shifted_magnitude(largest_sum(synapse, payload), exponent) > limit:
        exponent -= 1
    return replace(synapse, exponent=exponent)


def _readout_is_safe(synapse: chip.Synapse, host: bool, payload: int, steps: int) -> bool:
    """Tell whether v surely stays within what a target can integrate without firing."""
    worst = 0 if host else largest_sum(synapse, payload)
    total = int(fx.shift_sum(worst, max(0, synapse.exponent)))
    bias = fx.BIAS_MANTISSA_MAX << _READOUT_BIAS_EXPONENT
    return steps * (int(fx.shift_sum(total, fx.CURRENT_SHIFT)) + bias) < fx.STATE_MAX - 64


def _neuron(
    rng: Rng, shape: Shape, payload: int, steps: int, nasty: bool, readout: bool, host: bool
) -> chip.Neuron:
    bias = _bias(rng, shape) if not host else np.zeros((1,) * len(shape), np.int32)
    exponent = int(rng.integers(0, 8)) if nasty or host else int(rng.integers(0, 3))
    if readout:
        return chip.ReadoutNeuron(bias, min(exponent, _READOUT_BIAS_EXPONENT))
    du = (
        4095 if rng.random() < 0.6 else int(rng.choice([0, 1, 1024, 4094, int(rng.integers(4096))]))
    )
    threshold = int(rng.choice([0, 1, 2, 8, 64, 500])) * (payload if rng.random() < 0.5 else 1)
    if nasty and rng.random() < 0.3:
        threshold = int(rng.choice([fx.THRESHOLD_MAX, 100_000]))
    if rng.random() < 0.35:
        leak = rng.integers(0, LEAK_MAX + 1 if nasty else 5000, steps)
        grid = 64 if rng.random() < 0.5 else 1  # on the grid of the sums, ties are common
        raw = np.minimum(rng.integers(0, 128 * threshold // grid + 2, steps) * grid, fx.STATE_MAX)
        return chip.TableLifNeuron(leak.astype(np.int32), raw.astype(np.int32), bias, exponent, du)
    dv = int(rng.choice([0, 1, 41, 4095, 4096, int(rng.integers(4097))]))
    return chip.LifNeuron(threshold, dv, bias, exponent, du)


def _bias(rng: Rng, shape: Shape) -> NDArray[np.int32]:
    """Draw mantissas: zero, multiples of 64 (they put states exactly on a threshold), or any."""
    form = shape if rng.random() < 0.5 else (shape[0],) + (1,) * (len(shape) - 1)
    kind = rng.integers(3)
    if kind == 0:
        return np.zeros(form, np.int32)
    step = 64 if kind == 1 else 1
    limit = fx.BIAS_MANTISSA_MAX // step
    return (step * rng.integers(-limit, limit + 1, form)).astype(np.int32)


def _pair(rng: Rng, low: int, high: int) -> tuple[int, int]:
    return int(rng.integers(low, high)), int(rng.integers(low, high))
