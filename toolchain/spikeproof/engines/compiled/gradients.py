"""Kernels of networks that are attacked: neurons and maps, forward and backward over all steps.

Maps lie as images with the channels of a place side by side, (N, T, H, W, C), flat where neurons
are concerned: (N, T, K). Every kernel works in the type it is given: float32 for speed, float64
where gradients are compared. Whole numbers stay exact in either as long as they fit, so a chip's
network runs in the same maps; its neurons always calculate in float64. Inner loops run along
channels or neurons and hold no branch, so that the compiler makes vectors of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikeproof.engines.compiled.cache import compiled, dividing, inner
from spikeproof.engines.compiled.reals import (
    REALS_PER_TAG,
    add_reals,
    add_times,
    lowest,
    no_reals,
    not_zero,
    store_reals,
)
from spikeproof.fixedpoint import STATE_MAX, WRAP_LIMIT

Array = Any
TRIANGLE, ARCTANGENT, RECTANGULAR, EXPONENTIAL, STRAIGHT, GAUSSIAN, ADAPTIVE = range(7)
"""Forms of slopes, as kernels know them."""
_BLOCK = 1024
"""Neurons that go through all steps together: what they need stays in a core's nearest cache."""
_NEAR_BYTES = 1 << 17
"""Of weights that are used again and again before others: they stay in a core's own cache."""


@compiled
def neurons(
    drive: Array,
    leak: Array,
    gain: Array,
    threshold: Array,
    taken: Array,
    initial: Array,
    hard: bool,
    strict: bool,
    v_all: Array,
    s_all: Array,
) -> None:
    """Run real-valued neurons: v = leak v + gain drive; v and spikes of all steps are written.

    drive: (N, T or 1, K). leak, gain, threshold: (T, K). taken, initial: (K,); with ``hard`` a
    spike puts v to 0, else it takes ``taken`` off.
    """
    samples, steps, width = v_all.shape
    after, zero = np.empty(_BLOCK, v_all.dtype), v_all.dtype.type(0)
    for start in range(0, width, _BLOCK):
        stop = min(start + _BLOCK, width)
        size, off = stop - start, taken[start:stop]
        for n in range(samples):
            after[:size] = initial[start:stop]
            for t in range(steps):
                arrives = drive[n, t if drive.shape[1] > 1 else 0, start:stop]
                v, s = v_all[n, t, start:stop], s_all[n, t, start:stop]
                kept, times = leak[t, start:stop], gain[t, start:stop]
                limit = threshold[t, start:stop]
                for k in range(size):
                    v[k] = kept[k] * after[k] + times[k] * arrives[k]
                if strict:
                    for k in range(size):
                        s[k] = v[k] > limit[k]
                else:
                    for k in range(size):
                        s[k] = v[k] >= limit[k]
                if hard:
                    for k in range(size):
                        after[k] = zero if s[k] else v[k]
                else:
                    for k in range(size):
                        after[k] = v[k] - off[k] if s[k] else v[k]


@compiled
def chip_neurons(
    drive: Array,
    bias: Array,
    leak: Array,
    keep: Array,
    threshold: Array,
    taken: Array,
    initial: Array,
    hard: bool,
    v_all: Array,
    s_all: Array,
) -> None:
    """Run the chip's neurons on sums << 6, as docs/semantics.md says, in whole float64 numbers.

    drive: (N, T or 1, K). bias: (N or 1, K), exponent applied. leak, threshold: (T, K) and keep,
    (K,), in parts of 1 (x / 4096 is exact). taken, initial: (K,), as :func:`neurons`.
    """
    samples, steps, width = v_all.shape
    after, u, now = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK)
    most, turn = float(STATE_MAX), 2.0 * WRAP_LIMIT
    for start in range(0, width, _BLOCK):
        stop = min(start + _BLOCK, width)
        size, stays, off = stop - start, keep[start:stop], taken[start:stop]
        for n in range(samples):
            after[:size] = initial[start:stop]
            u[:size] = 0
            added = bias[n if bias.shape[0] > 1 else 0, start:stop]
            for t in range(steps):
                arrives = drive[n, t if drive.shape[1] > 1 else 0, start:stop]
                v, s = v_all[n, t, start:stop], s_all[n, t, start:stop]
                kept, limit = leak[t, start:stop], threshold[t, start:stop]
                for k in range(size):
                    current = np.trunc(u[k] * stays[k]) + arrives[k]
                    current = current - turn if current > WRAP_LIMIT else current
                    u[k] = current + turn if current <= -WRAP_LIMIT else current
                for k in range(size):
                    moved = np.trunc(after[k] * kept[k]) + u[k] + added[k]
                    now[k] = min(max(moved, -most), most)
                for k in range(size):
                    s[k] = now[k] > limit[k]
                for k in range(size):
                    v[k] = now[k]
                if hard:
                    for k in range(size):
                        after[k] = 0.0 if s[k] else now[k]
                else:
                    for k in range(size):
                        after[k] = now[k] - off[k] if s[k] else now[k]


@inner
def _slopes(
    form: int,
    width: float,
    v: Array,
    threshold: Array,
    unit: Array,
    first: Array,
    second: Array,
    out: Array,
) -> None:
    """Write what stands for the derivative of each spike of one step.

    ``first`` and ``second`` belong to the adaptive forms: the shift and the deviation of a Gaussian
    (in units), or the running mean and deviation of the distance from the threshold.
    """
    size = len(v)
    one = out.dtype.type(1)
    w = out.dtype.type(width)
    if form == TRIANGLE:
        for k in range(size):
            wide = w * unit[k]
            x = one - abs(v[k] - threshold[k]) / wide
            out[k] = (x if x > 0 else 0 * one) / wide
    elif form == ARCTANGENT:
        pi = out.dtype.type(np.pi)
        for k in range(size):
            wide = w * unit[k]
            x = pi * (v[k] - threshold[k])
            out[k] = wide / (wide * wide + x * x)
    elif form == RECTANGULAR:
        for k in range(size):
            x = abs(v[k] - threshold[k]) / unit[k]
            out[k] = one / (2 * w * unit[k]) if x < w else 0 * one
    elif form == EXPONENTIAL:
        for k in range(size):
            x = abs(v[k] - threshold[k]) / (w * unit[k])
            out[k] = np.exp(-x) / (2 * w * unit[k])
    elif form == STRAIGHT:
        for k in range(size):
            out[k] = one / (w * unit[k])
    elif form == GAUSSIAN:
        scale = out.dtype.type(1 / np.sqrt(2 * np.pi))
        for k in range(size):
            sigma = w * second[k]
            x = ((v[k] - threshold[k]) / unit[k] - first[k]) / sigma
            out[k] = scale * np.exp(-x * x / 2) / (sigma * unit[k])
    else:
        sharpness = out.dtype.type(2 / np.pi * np.tan(np.pi * width))
        half, more = out.dtype.type(np.pi / 2), out.dtype.type(1.5)
        least = out.dtype.type(1e-4)
        for k in range(size):  # a / 2 / unit / (1 + x^2) with a = sharpness / far
            far = (first[k] + more * second[k] + least) * unit[k]
            x = half * sharpness * (v[k] - threshold[k])
            out[k] = sharpness * far / (2 * (far * far + x * x))


@inner
def _adapt(
    started: bool,
    v: Array,
    threshold: Array,
    unit: Array,
    mean: Array,
    spread: Array,
    far: Array,
) -> None:
    """Move the running mean and deviation of each neuron's distance from its threshold, in units.

    Both move by a tenth of the way; the first time they begin at the distance and 0. ``far`` is
    room for the distances.
    """
    size = len(v)
    part = mean.dtype.type(0.1)
    for k in range(size):
        far[k] = abs(v[k] - threshold[k]) / unit[k]
    if started:
        for k in range(size):
            mean[k] += part * (far[k] - mean[k])
        for k in range(size):
            spread[k] += part * (abs(far[k] - mean[k]) - spread[k])
    else:
        mean[:], spread[:] = far, 0


@dividing
def neurons_back(
    v_all: Array,
    s_all: Array,
    from_spikes: Array,
    from_v: Array,
    leak: Array,
    keep: Array,
    gain: Array,
    threshold: Array,
    unit: Array,
    taken: Array,
    hard: bool,
    attached: bool,
    form: int,
    width: float,
    first: Array,
    second: Array,
    moves: int,
    out: Array,
) -> None:
    """Go back through all steps of a layer: write the gradient of what drives it, (N, T, K).

    from_spikes, from_v: gradients of spikes and of v, (N, T, K) or of length 0. keep: (K,), what u
    keeps, zero where nothing filters. first, second: of adaptive slopes, (N, T, K) or of length 0;
    moves: whether the running numbers stay (0), begin here (1) or move on (2) before they are used.
    ``out`` may be ``from_spikes``.
    """
    samples, steps, neurons = v_all.shape
    carried, filtered = np.empty(_BLOCK, out.dtype), np.empty(_BLOCK, out.dtype)
    now = np.empty(_BLOCK, out.dtype)
    none, zero = np.zeros(_BLOCK, out.dtype), out.dtype.type(0)
    filters = keep.any()
    for start in range(0, neurons, _BLOCK):
        stop = min(start + _BLOCK, neurons)
        size, stays, off = stop - start, keep[start:stop], taken[start:stop]
        slope = now[:size]
        for n in range(samples):
            carried[:] = 0
            filtered[:] = 0
            for t in range(steps - 1, -1, -1):
                v, s = v_all[n, t, start:stop], s_all[n, t, start:stop]
                limit, scale = threshold[t, start:stop], unit[t, start:stop]
                a = first[n, t, start:stop] if len(first) else none
                b = second[n, t, start:stop] if len(second) else none
                if moves:
                    _adapt(moves > 1, v, limit, scale, a, b, slope)
                _slopes(form, width, v, limit, scale, a, b, slope)
                spikes = from_spikes[n, t, start:stop] if len(from_spikes) else none
                to, kept, times = out[n, t, start:stop], leak[t, start:stop], gain[t, start:stop]
                if not attached:
                    for k in range(size):
                        slope[k] *= spikes[k]
                elif hard:  # what came through the reset is taken off what came through spikes
                    for k in range(size):
                        slope[k] *= spikes[k] - v[k] * carried[k]
                else:
                    for k in range(size):
                        slope[k] *= spikes[k] - off[k] * carried[k]
                if hard:
                    for k in range(size):
                        slope[k] += zero if s[k] else carried[k]
                else:
                    for k in range(size):
                        slope[k] += carried[k]
                if len(from_v):
                    direct = from_v[n, t, start:stop]
                    for k in range(size):
                        slope[k] += direct[k]
                for k in range(size):
                    carried[k] = kept[k] * slope[k]
                if filters:
                    for k in range(size):
                        filtered[k] = slope[k] + stays[k] * filtered[k]
                    for k in range(size):
                        to[k] = times[k] * filtered[k]
                else:
                    for k in range(size):
                        to[k] = times[k] * slope[k]


@inner
def _find(source: Array, start: int, size: int, first: int, found: Array, values: Array) -> int:
    """List what is not 0 of ``size`` numbers of a source from ``start``; return how many.

    found: which, the one at ``start`` being number ``first``. values: their values.
    """
    flat, count, i = source.reshape(-1), 0, 0
    while i < size:
        if i + 64 <= size:
            bits = not_zero(flat, start + i)
        else:
            bits = np.uint64(0)
            for j in range(size - i):
                bits |= np.uint64(flat[start + i + j] != 0) << np.uint64(j)
        while bits:
            at = i + lowest(bits)
            found[count], values[count] = first + at, flat[start + at]
            bits &= bits - np.uint64(1)
            count += 1
        i += 64
    return count


@inner
def _add_sum(total: Any, start: int, width: int, spare: Array, out: Array) -> None:
    """Add a sum to ``out`` from ``start``; what reaches beyond ``width`` is left out."""
    if start + len(spare) <= width:
        store_reals(out, start, add_reals(total, out, start))
    else:
        store_reals(spare, 0, total)
        for o in range(start, width):
            out[o] += spare[o - start]


@compiled
def dense(source: Array, weight: Array, tag: tuple[int, ...], out: Array) -> None:
    """Add W x to ``out`` (M, O): source (M, I); zeros cost nothing.

    weight: (I, O or more); its width is a multiple of the number of sums that ``tag`` stands for.
    """
    inputs, padded = weight.shape
    lanes, width = len(tag) * REALS_PER_TAG, out.shape[1]
    some = max(1, min(inputs, _NEAR_BYTES // (padded * weight.itemsize)))
    found, values = np.empty(some, np.int64), np.empty(some, out.dtype)
    spare = np.empty(lanes, out.dtype)
    for first in range(0, inputs, some):
        for m in range(len(source)):
            size = min(some, inputs - first)
            count = _find(source, m * inputs + first, size, first, found, values)
            for start in range(0, width, lanes):
                total = no_reals(weight, tag)
                for j in range(count):
                    total = add_times(total, weight, found[j] * padded + start, values[j])
                _add_sum(total, start, width, spare, out[m])


@compiled
def convolve(
    source: Array,
    weight: Array,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    tag: tuple[int, ...],
    out: Array,
) -> None:
    """Add a cross-correlation to ``out`` (M, H', W', O): source (M, H, W, I).

    weight: (kH, kW, I, O or more), as in :func:`dense`. Zeros cost nothing: what is not 0 is listed
    once per image, and a window's part of a line is one part of the list.
    """
    images, height, width, channels = source.shape
    high, wide, _, padded = weight.shape
    lanes, outputs = len(tag) * REALS_PER_TAG, out.shape[3]
    run = wide if dilation[1] == 1 else 1  # places of a window that lie side by side
    size = height * width * channels
    found, values = np.empty(size, np.int64), np.empty(size, out.dtype)
    ends = np.zeros(height * width + 1, np.int64)
    spare = np.empty(lanes, out.dtype)
    for m in range(images):
        count = _find(source, m * size, size, 0, found, values)
        place = 0
        for j in range(count):
            while found[j] >= (place + 1) * channels:
                place += 1
                ends[place] = j
        ends[place + 1 :] = count
        if count == 0:
            continue
        for start in range(0, outputs, lanes):
            for row in range(out.shape[1]):
                for column in range(out.shape[2]):
                    total = no_reals(weight, tag)
                    for p in range(high):
                        y = row * stride[0] - padding[0] + p * dilation[0]
                        if y < 0 or y >= height:
                            continue
                        for q in range(0, wide, run):
                            x = column * stride[1] - padding[1] + q * dilation[1]
                            left, right = y * width + max(x, 0), y * width + min(x + run, width)
                            moved = (p * wide + q - x - y * width) * channels
                            for j in range(ends[left], ends[max(left, right)]):
                                at = (moved + found[j]) * padded + start
                                total = add_times(total, weight, at, values[j])
                    _add_sum(total, start, outputs, spare, out[m, row, column])


@inner
def _add_run(window: Array, first: int, to: Array, start: int, size: int) -> None:
    """Add ``size`` values of ``window`` from ``first`` to ``to`` from ``start``."""
    tag, i = (0,), 0
    while i + REALS_PER_TAG <= size:
        total = add_reals(no_reals(to, tag), window, first + i)
        store_reals(to, start + i, add_reals(total, to, start + i))
        i += REALS_PER_TAG
    while i < size:
        to[start + i] += window[first + i]
        i += 1


@compiled
def scatter(
    columns: Array,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    out: Array,
) -> None:
    """Add windows back to the images (M, H, W, I) they were cut from.

    columns: (M, H', W', kH kW I).
    """
    images, height, width, channels = out.shape
    run = kernel[1] if dilation[1] == 1 else 1  # places of a window that lie side by side
    for m in range(images):
        for row in range(columns.shape[1]):
            for p in range(kernel[0]):
                y = row * stride[0] - padding[0] + p * dilation[0]
                if y < 0 or y >= height:
                    continue
                line = out[m, y].reshape(width * channels)
                for column in range(columns.shape[2]):
                    window = columns[m, row, column]
                    for q in range(0, kernel[1], run):
                        x = column * stride[1] - padding[1] + q * dilation[1]
                        left, right = max(x, 0), min(x + run, width)
                        first = (p * kernel[1] + q + left - x) * channels
                        size = (right - left) * channels
                        _add_run(window, first, line, left * channels, size)
