"""Draw spiking neurons: fixed or per-step leak and threshold, any filter, any form of bias."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.ir import chip
from spikeproof.ir.limits import LEAK_MAX
from spikeproof.ir.neurons import NO_FILTER

Rng = np.random.Generator
Shape = tuple[int, ...]
DECAYS = (0, 1, 41, 4095, 4096)
FILTERS = (0, 1, 1024, 4094)
_FIXED_THRESHOLDS = (0, 1, 2, 8, 64, 500)
_ORDINARY_LEAK = 5000
_TABLE_SHARE = 0.35


def draw_neuron(
    rng: Rng, shape: Shape, steps: int, scale: int, nasty: bool
) -> chip.LifNeuron | chip.TableLifNeuron:
    """Draw a spiking neuron for sums of about ``scale``."""
    exponent = int(rng.integers(0, 8)) if nasty else int(rng.integers(0, 3))
    bias = draw_bias(rng, shape)
    du = NO_FILTER if rng.random() < 0.6 else int(rng.choice([*FILTERS, int(rng.integers(4096))]))
    threshold = _threshold(rng, scale, nasty)
    if rng.random() < _TABLE_SHARE:
        leak = rng.integers(0, LEAK_MAX + 1 if nasty else _ORDINARY_LEAK, steps)
        grid = 64 if rng.random() < 0.5 else 1  # on the grid of the sums, ties are common
        raw = rng.integers(0, 128 * threshold // grid + 2, steps) * grid
        return chip.TableLifNeuron(
            leak.astype(np.int32),
            np.minimum(raw, fx.STATE_MAX).astype(np.int32),
            bias,
            exponent,
            du,
        )
    dv = int(rng.choice([*DECAYS, int(rng.integers(4097))]))
    return chip.LifNeuron(threshold, dv, bias, exponent, du)


def _threshold(rng: Rng, scale: int, nasty: bool) -> int:
    """Draw a threshold: near the size of the sums, a small fixed one, or the largest."""
    if nasty and rng.random() < 0.2:
        return int(rng.choice([fx.THRESHOLD_MAX, 100_000]))
    if rng.random() < 0.6:
        return min(int(rng.uniform(0, 1.5) * scale), fx.THRESHOLD_MAX)
    return int(rng.choice(_FIXED_THRESHOLDS))


def draw_bias(rng: Rng, shape: Shape) -> NDArray[np.int32]:
    """Draw mantissas of every form; multiples of 64 put states exactly on a threshold."""
    channel = (shape[0],) + (1,) * (len(shape) - 1)
    forms: list[Shape] = [shape, shape, channel, channel, (1,) * len(shape), (), shape[-1:]]
    form = forms[int(rng.integers(len(forms)))]
    kind = rng.integers(4)
    if kind == 0:
        return np.zeros(form, np.int32)
    step, limit = (64, 4095) if kind == 1 else (1, 200 if kind == 2 else 4095)
    most = min(limit, fx.BIAS_MANTISSA_MAX) // step
    drawn: Any = rng.integers(-most, most + 1, form)
    return np.asarray(step * drawn, np.int32)
