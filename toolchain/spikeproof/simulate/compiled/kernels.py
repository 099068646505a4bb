"""The compiled kernels of the fast engine: all steps of one layer for some samples.

Spikes between layers are packed into bits, ``[sample, step, byte]``. A convolution sees its map with
the zero border already around it and the channels of a pixel side by side. Neurons come in blocks
of L lanes (L a multiple of 16), the last block filled up with neurons that have no input and never
fire. A *place* is a pixel of the output; a dense layer has one. Where things lie is worked out
once per network (layout.py), so kernels know no shapes.

Each kernel takes one array of numbers, which hold addresses, too: handing over twenty arrays would
cost more than running a small layer. Kernels release the interpreter, so that threads run samples
side by side.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import carray

from spikeproof.fixedpoint import STATE_MAX
from spikeproof.simulate.compiled import lanes as ln
from spikeproof.simulate.compiled.sources import (
    Constant,
    Events,
    Lookups,
    compiled,
    prepare,
    total,
)

Array = Any


class Frame(NamedTuple):
    """Numbers and addresses that every kernel takes, in this order; those of its source follow.

    An address is that of the first element of a flat array which lives as long as the frame is
    used. The weighted sum is shifted right, then left, and enters u. ``filter`` is 4095 - du;
    ``full`` tells whether u has to be filtered or wrapped at all. leak and threshold: int64
    (steps,). bias: int32, exponent applied, found at sample * bias_sample + place * bias_place +
    neuron. spikes: uint8, ``stride`` bytes per step; those of a place begin at byte at[place].
    u and v: int32 (samples, steps, places, blocks x L), or 0 if not wanted; last: v after the last
    step, int32 (samples, places, blocks x L), or 0.
    """

    places: int
    blocks: int
    steps: int
    right: int
    left: int
    filter: int
    full: int
    leak: int
    threshold: int
    bias: int
    bias_sample: int
    bias_place: int
    spikes: int
    stride: int
    at: int
    u: int
    v: int
    last: int


FRAME = len(Frame._fields)
_MANY = 1 << 48
"""Arrays at an address are read within bounds that the layout knows, not the kernel."""


@compiled
def run_constant(frame: Array, samples: int, tag: Any) -> None:
    """Run neurons whose sums never change: addresses and strides as in Constant."""
    source = Constant(_ints32(frame[FRAME]), frame[FRAME + 1], frame[FRAME + 2])
    _run(frame, samples, source, tag)


@compiled
def run_events8(frame: Array, samples: int, tag: Any) -> None:
    """Run neurons behind 8-bit weight rows: bits, stride, weight, rows, safe, index, count."""
    weight = carray(ln.to_pointer(frame[FRAME + 2]), (_MANY,), np.int8)
    _run(frame, samples, _events(frame, weight), tag)


@compiled
def run_events16(frame: Array, samples: int, tag: Any) -> None:
    """Run neurons behind 16-bit weight rows."""
    weight = carray(ln.to_pointer(frame[FRAME + 2]), (_MANY,), np.int16)
    _run(frame, samples, _events(frame, weight), tag)


@compiled
def run_lookups16(frame: Array, samples: int, tag: Any, groups: Any) -> None:
    """Run neurons behind a 16-bit table: bits, stride, window, words, first, table."""
    table = carray(ln.to_pointer(frame[FRAME + 5]), (_MANY,), np.int16)
    _run(frame, samples, _lookups(frame, table, groups), tag)


@compiled
def run_lookups32(frame: Array, samples: int, tag: Any, groups: Any) -> None:
    """Run neurons behind a 32-bit table."""
    table = carray(ln.to_pointer(frame[FRAME + 5]), (_MANY,), np.int32)
    _run(frame, samples, _lookups(frame, table, groups), tag)


@compiled
def _events(frame: Array, weight: Array) -> Any:
    p = frame[FRAME:]
    bits, index = carray(ln.to_pointer(p[0]), (_MANY,), np.uint8), _ints32(p[5])
    narrow = carray(ln.to_pointer(p[5]), (_MANY,), np.int16)
    return Events(bits, p[1], weight, p[3], p[4], narrow, index, index, _ints64(p[6]))


@compiled
def _lookups(frame: Array, table: Array, groups: Any) -> Any:
    p = frame[FRAME:]
    bits = carray(ln.to_pointer(p[0]), (_MANY,), np.uint8)
    return Lookups(bits, p[1], _ints64(p[2]), _ints64(p[3]), _ints64(p[4]), table, groups)


@compiled
def _ints32(address: int) -> Array:
    return carray(ln.to_pointer(address), (_MANY,), np.int32)


@compiled
def _ints64(address: int) -> Array:
    return carray(ln.to_pointer(address), (_MANY,), np.int64)


@compiled
def _run(frame: Array, samples: int, source: Any, tag: Any) -> None:
    """Integrate, fire and reset: docs/semantics.md, "Neuron", on blocks of lanes."""
    places, blocks, steps, right, left, kept, full = frame[:7]
    leak, threshold, biases = _ints64(frame[7]), _ints64(frame[8]), _ints32(frame[9])
    bias_sample, bias_place = frame[10], frame[11]
    spikes, stride = carray(ln.to_pointer(frame[12]), (_MANY,), np.uint8), frame[13]
    at, us, vs, last = (
        _ints64(frame[14]),
        _ints32(frame[15]),
        _ints32(frame[16]),
        _ints32(frame[17]),
    )
    width = 16 * len(tag)
    empty = ln.zeros(biases, tag)
    low, high = ln.fill(-STATE_MAX, empty), ln.fill(STATE_MAX, empty)
    down, up = ln.fill(right, empty), ln.fill(left, empty)
    for sample in range(samples):
        prepare(source, sample, steps)
        for place in range(places):
            for block in range(blocks):
                lane = block * width
                bias = ln.load(biases, sample * bias_sample + place * bias_place + lane, empty)
                u, v = empty, empty
                for t in range(steps):
                    arriving = total(source, sample, steps, t, place, block, tag)
                    arriving = ln.shift_left(ln.shift_right(arriving, down), up)
                    if full:
                        u = ln.wrap(ln.add(ln.scale(u, kept), arriving))
                    else:
                        u = arriving
                    v = ln.add(ln.add(ln.scale(v, leak[t]), u), bias)
                    v = ln.minimum(ln.maximum(v, low), high)
                    row = sample * steps + t
                    if frame[15]:
                        to = (row * places + place) * blocks * width + lane
                        ln.store(us, to, u)
                        ln.store(vs, to, v)
                    fired = ln.exceeds(v, threshold[t])
                    ln.store_bits(spikes, row * stride + at[place] + lane // 8, fired)
                    v = ln.reset(v, fired)
                if frame[17]:
                    ln.store(last, (sample * places + place) * blocks * width + lane, v)


@compiled
def graded_sums(
    x: Array, per_sample: int, window: Array, segment: Array, length: int, weight: Array,
    samples: int, blocks: int, sums: Array, tag: Any,
) -> None:  # fmt: skip
    """Sum graded inputs once: each place reads ``length`` values at each segment of its window.

    x: uint8 (samples, per_sample); weight: int16 (blocks, segments x length, L); sums: int32
    (samples, places, blocks x L).
    """
    width = 16 * len(tag)
    taps = len(segment) * length
    empty = ln.zeros(sums, tag)
    for sample in range(samples):
        for place in range(len(window)):
            base = sample * per_sample + window[place]
            for block in range(blocks):
                found = empty
                row = block * taps * width
                for k in range(len(segment)):
                    for j in range(length):
                        value = np.int64(x[base + segment[k] + j])
                        found = ln.add_product(found, weight, row, value)
                        row += width
                ln.store(sums, ((sample * len(window) + place) * blocks + block) * width, found)


@compiled
def host_bias(
    sums: Array, samples: int, offset: Array, shift: int, exponent: int, bias: Array
) -> None:
    """Round sum + offset to a bias mantissa (half up), as the host does, and apply the exponent.

    sums and bias: int32 (samples, places, blocks x L), may be the same; offset: int64 (places x
    blocks x L).
    """
    half = (1 << shift) >> 1
    for sample in range(samples):
        start = sample * len(offset)
        for k in range(len(offset)):
            mantissa = (np.int64(sums[start + k]) + offset[k] + half) >> shift
            bias[start + k] = np.int32(mantissa << exponent)


@compiled
def pack_rows(
    x: Array,
    rows: int,
    length: int,
    bits: Array,
    stride: int,
    start: int,
    per_step: int,
    pitch: int,
) -> bool:
    """Pack rows of 0/1 bytes into bits; return whether every byte was 0 or 1.

    Row r belongs to step r // per_step, whose bits begin at byte ``stride`` times that; within it
    rows lie ``pitch`` bits apart, the first at bit ``start``. ``bits`` is zero and has slack.
    """
    strange = 0
    for r in range(rows):
        step = r // per_step
        place = start + (r - step * per_step) * pitch
        for j in range(0, length, 32):
            count = min(32, length - j)
            at = r * length + j
            word = np.int64(0)
            if at + 32 <= len(x):
                word = ln.bits_of(x, at, 1) & ((1 << count) - 1)
                strange |= ln.bits_of(x, at, 254) & ((1 << count) - 1)
            else:  # the last bytes of the array: never read past its end
                for k in range(count):
                    word |= np.int64(x[at + k] & 1) << k
                    strange |= np.int64(x[at + k] & 254)
            bit = place + j
            ln.or_word(bits, step * stride + (bit >> 3), word << (bit & 7))
    return strange == 0


@compiled
def count_spikes(
    bits: Array, samples: int, steps: int, stride: int, at: Array, neurons: int, counts: Array
) -> None:
    """Count the spikes of each neuron over all steps: counts int64 (samples, places, neurons)."""
    for sample in range(samples):
        for t in range(steps):
            row = (sample * steps + t) * stride
            for place in range(len(at)):
                start = (sample * len(at) + place) * neurons
                for k in range(neurons):
                    byte = np.int64(bits[row + at[place] + (k >> 3)])
                    counts[start + k] += (byte >> (k & 7)) & 1
