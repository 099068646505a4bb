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

from spikeproof.engines.compiled.cache import dividing as compiled
from spikeproof.engines.compiled.cache import inner
from spikeproof.fixedpoint import STATE_MAX, WRAP_LIMIT

Array = Any
TRIANGLE, ARCTANGENT, RECTANGULAR, EXPONENTIAL, STRAIGHT, GAUSSIAN, ADAPTIVE = range(7)
"""Forms of slopes, as kernels know them."""


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
    after = np.empty(width, v_all.dtype)
    for n in range(samples):
        after[:] = initial
        for t in range(steps):
            arrives = drive[n, t if drive.shape[1] > 1 else 0]
            v, s = v_all[n, t], s_all[n, t]
            for k in range(width):
                now = leak[t, k] * after[k] + gain[t, k] * arrives[k]
                fired = now > threshold[t, k] if strict else now >= threshold[t, k]
                v[k] = now
                s[k] = 1 if fired else 0
                after[k] = (0 if hard else now - taken[k]) if fired else now


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
    after, u = np.empty(width), np.empty(width)
    for n in range(samples):
        after[:] = initial
        u[:] = 0
        added = bias[n if bias.shape[0] > 1 else 0]
        for t in range(steps):
            arrives = drive[n, t if drive.shape[1] > 1 else 0]
            v, s = v_all[n, t], s_all[n, t]
            for k in range(width):
                current = np.trunc(u[k] * keep[k]) + arrives[k]
                current = current - 2.0 * WRAP_LIMIT if current > WRAP_LIMIT else current
                current = current + 2.0 * WRAP_LIMIT if current <= -WRAP_LIMIT else current
                u[k] = current
                now = np.trunc(after[k] * leak[t, k]) + current + added[k]
                now = min(max(now, -float(STATE_MAX)), float(STATE_MAX))
                fired = now > threshold[t, k]
                v[k] = now
                s[k] = 1 if fired else 0
                after[k] = (0.0 if hard else now - taken[k]) if fired else now


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


@compiled
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
    out: Array,
) -> None:
    """Go back through all steps of a layer: write the gradient of what drives it, (N, T, K).

    from_spikes, from_v: gradients of spikes and of v, (N, T, K) or of length 0. keep: (K,), what u
    keeps, zero where nothing filters. first, second: of adaptive slopes, (N, T, K) or of length 0.
    ``out`` may be ``from_spikes``.
    """
    samples, steps, size = v_all.shape
    carried, filtered = np.empty(size, out.dtype), np.empty(size, out.dtype)
    slope = np.empty(size, out.dtype)
    none, zero = np.zeros(size, out.dtype), out.dtype.type(0)
    for n in range(samples):
        carried[:] = 0
        filtered[:] = 0
        for t in range(steps - 1, -1, -1):
            v, s = v_all[n, t], s_all[n, t]
            a = first[n, t] if len(first) else none
            b = second[n, t] if len(second) else none
            _slopes(form, width, v, threshold[t], unit[t], a, b, slope)
            spikes = from_spikes[n, t] if len(from_spikes) else none
            direct = from_v[n, t] if len(from_v) else none
            to = out[n, t]
            if attached:  # what came through the reset is taken off what came through spikes
                for k in range(size):
                    slope[k] *= spikes[k] - (v[k] if hard else taken[k]) * carried[k]
            else:
                for k in range(size):
                    slope[k] *= spikes[k]
            if hard:
                for k in range(size):
                    carried[k] = zero if s[k] else carried[k]
            for k in range(size):
                now = slope[k] + carried[k] + direct[k]
                carried[k] = leak[t, k] * now
                filtered[k] = now + keep[k] * filtered[k]
                to[k] = gain[t, k] * filtered[k]


@compiled
def adapt(
    v_all: Array, threshold: Array, unit: Array, started: bool, mean: Array, spread: Array
) -> None:
    """Move the running mean and deviation of each neuron's distance from its threshold, in units.

    Both move by a tenth of the way; the first time they begin at the distance and 0.
    """
    samples, steps, size = v_all.shape
    part = mean.dtype.type(0.1)
    for n in range(samples):
        for t in range(steps):
            m, d, v = mean[n, t], spread[n, t], v_all[n, t]
            for k in range(size):
                x = abs(v[k] - threshold[t, k]) / unit[t, k]
                m[k] = m[k] + part * (x - m[k]) if started else x
                d[k] = d[k] + part * (abs(x - m[k]) - d[k]) if started else 0 * x


@inner
def _add_rows(values: Array, found: Array, count: int, weight: Array, total: Array) -> None:
    """Add the rows of ``weight`` that were found, times their values, to ``total``; four a time."""
    j = 0
    while j + 4 <= count:
        a, b, c, d = found[j], found[j + 1], found[j + 2], found[j + 3]
        va, vb, vc, vd = values[j], values[j + 1], values[j + 2], values[j + 3]
        wa, wb, wc, wd = weight[a], weight[b], weight[c], weight[d]
        for o in range(len(total)):
            total[o] += (va * wa[o] + vb * wb[o]) + (vc * wc[o] + vd * wd[o])
        j += 4
    while j < count:
        v, w = values[j], weight[found[j]]
        for o in range(len(total)):
            total[o] += v * w[o]
        j += 1


@compiled
def dense(source: Array, weight: Array, out: Array) -> None:
    """Add W x to ``out`` (M, O): source (M, I), weight (I, O); zeros cost nothing."""
    found, values = np.empty(source.shape[1], np.int64), np.empty(source.shape[1], out.dtype)
    for m in range(len(source)):
        row, count = source[m], 0
        for i in range(len(row)):
            if row[i] != 0:
                found[count], values[count] = i, row[i]
                count += 1
        _add_rows(values, found, count, weight, out[m])


@inner
def _targets(size: int, taps: int, stride: int, padding: int, dilation: int, limit: int) -> Array:
    """Return where a value at each place goes by each tap of a kernel; -1: nowhere.

    Dividing here, once, leaves no division in the loop over all values.
    """
    found = np.empty((size, taps), np.int64)
    for place in range(size):
        for tap in range(taps):
            at = place + padding - tap * dilation
            inside = at >= 0 and at % stride == 0 and at // stride < limit
            found[place, tap] = at // stride if inside else -1
    return found


@compiled
def convolve(
    source: Array,
    weight: Array,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    out: Array,
) -> None:
    """Add a cross-correlation to ``out`` (M, H', W', O): source (M, H, W, I).

    weight: (kH, kW, I, O). Zeros cost nothing.
    """
    images, height, width, channels = source.shape
    found, values = np.empty(channels, np.int64), np.empty(channels, out.dtype)
    rows = _targets(height, weight.shape[0], stride[0], padding[0], dilation[0], out.shape[1])
    columns = _targets(width, weight.shape[1], stride[1], padding[1], dilation[1], out.shape[2])
    for m in range(images):
        for y in range(height):
            for x in range(width):
                place = source[m, y, x]
                count = 0
                for i in range(channels):
                    if place[i] != 0:
                        found[count], values[count] = i, place[i]
                        count += 1
                if count == 0:
                    continue
                for p in range(weight.shape[0]):
                    row = rows[y, p]
                    if row < 0:
                        continue
                    for q in range(weight.shape[1]):
                        column = columns[x, q]
                        if column >= 0:
                            _add_rows(values, found, count, weight[p, q], out[m, row, column])


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
    for m in range(images):
        for row in range(columns.shape[1]):
            for column in range(columns.shape[2]):
                window = columns[m, row, column]
                for p in range(kernel[0]):
                    y = row * stride[0] - padding[0] + p * dilation[0]
                    if y < 0 or y >= height:
                        continue
                    for q in range(kernel[1]):
                        x = column * stride[1] - padding[1] + q * dilation[1]
                        if x < 0 or x >= width:
                            continue
                        start = (p * kernel[1] + q) * channels
                        to = out[m, y, x]
                        for i in range(channels):
                            to[i] += window[start + i]
