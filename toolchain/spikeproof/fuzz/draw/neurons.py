"""Draw spiking neurons: leak and threshold fixed, by step or by neuron; any filter, bias, reset."""

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
Ints = NDArray[np.int32]
DECAYS = (0, 1, 41, 4095, 4096)
FILTERS = (0, 1, 1024, 4094)
_FIXED_THRESHOLDS = (0, 1, 2, 8, 64, 500)
_ORDINARY_LEAK = 5000
_TABLE_SHARE = 0.35
_GENERAL_SHARE = 0.3


def draw_neuron(rng: Rng, shape: Shape, steps: int, scale: int, nasty: bool) -> chip.Neuron:
    """Draw a spiking neuron for sums of about ``scale``."""
    if rng.random() < _GENERAL_SHARE:
        return draw_general(rng, shape, steps, scale, nasty)
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


def draw_general(
    rng: Rng, shape: Shape, steps: int, scale: int, nasty: bool
) -> chip.GeneralLifNeuron:
    """Draw a neuron with numbers of each neuron or step, and any reset and first state."""
    top = min(128 * max(1, _threshold(rng, scale, nasty)) + 2, fx.STATE_MAX)
    highest_leak = LEAK_MAX if nasty else _ORDINARY_LEAK
    grid = 64 if rng.random() < 0.5 else 1  # on the grid of the sums, ties are common
    filters = (*FILTERS, int(rng.integers(4096))) if rng.random() < 0.4 else (NO_FILTER,)
    first = top * int(rng.random() < 0.5)
    return chip.GeneralLifNeuron(
        leak=_drawn(rng, 0, highest_leak, _table_form(rng, shape, steps)),
        threshold=_drawn(rng, 0, top // grid, _table_form(rng, shape, steps)) * grid,
        bias=draw_bias(rng, shape),
        du=np.asarray(rng.choice([*filters, NO_FILTER], _form(rng, shape)), np.int32),
        initial=_drawn(rng, -first, first, _form(rng, shape)),
        reset=_reset(rng, _drawn(rng, 0, top // grid, _form(rng, shape)), grid),
        bias_exponent=int(rng.integers(0, 8 if nasty else 3)),
    )


def _reset(rng: Rng, taken: Ints, grid: int) -> Ints | None:
    """Choose to zero, by subtraction, or none at all."""
    kind = rng.integers(5)
    return None if kind < 2 else np.asarray(taken * (grid * int(kind > 2)), np.int32)


def _drawn(rng: Rng, low: int, high: int, form: Shape) -> Ints:
    return np.asarray(rng.integers(low, high + 1, form), np.int32)


def _table_form(rng: Rng, shape: Shape, steps: int) -> Shape:
    return (1 if rng.random() < 0.5 else steps, *_form(rng, shape))


def _form(rng: Rng, shape: Shape) -> Shape:
    """Draw what an array may look like that broadcasts to the neurons."""
    channel = (shape[0],) + (1,) * (len(shape) - 1)
    forms: list[Shape] = [shape, shape, channel, channel, (1,) * len(shape), (), shape[-1:]]
    return forms[int(rng.integers(len(forms)))]


def _threshold(rng: Rng, scale: int, nasty: bool) -> int:
    """Draw a threshold: near the size of the sums, a small fixed one, or the largest."""
    if nasty and rng.random() < 0.2:
        return int(rng.choice([fx.THRESHOLD_MAX, 100_000]))
    if rng.random() < 0.6:
        return min(int(rng.uniform(0, 1.5) * scale), fx.THRESHOLD_MAX)
    return int(rng.choice(_FIXED_THRESHOLDS))


def draw_bias(rng: Rng, shape: Shape) -> NDArray[np.int32]:
    """Draw mantissas of every form; multiples of 64 put states exactly on a threshold."""
    form = _form(rng, shape)
    kind = rng.integers(4)
    if kind == 0:
        return np.zeros(form, np.int32)
    step, limit = (64, 4095) if kind == 1 else (1, 200 if kind == 2 else 4095)
    most = min(limit, fx.BIAS_MANTISSA_MAX) // step
    drawn: Any = rng.integers(-most, most + 1, form)
    return np.asarray(step * drawn, np.int32)
