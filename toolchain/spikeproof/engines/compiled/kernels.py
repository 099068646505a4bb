"""The compiled kernels of the fast engine: all steps of one layer for some samples.

Spikes between layers are packed into bits, ``[sample, step, byte]``. A convolution sees its map
with the zero border already around it and the channels of a pixel side by side. Neurons come in
blocks of L lanes (L a multiple of 16), the last block filled up with neurons that have no input
and never fire. A *place* is a pixel of the output; a dense layer has one. Where things lie is
worked out once per network (layout.py), so kernels know no shapes.

Each kernel takes one array of numbers, which hold addresses, too: handing over twenty arrays would
cost more than running a small layer. Kernels release the interpreter, so that threads run samples
side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import carray
from numba.extending import overload

from spikeproof.engines.compiled import lanes as ln
from spikeproof.engines.compiled.cache import compiled, inner
from spikeproof.engines.compiled.sources import (
    Constant,
    Events,
    Lookups,
    Products,
    joined,
    locate,
    prepare,
    total,
)
from spikeproof.fixedpoint import STATE_MAX

Array = Any


class Frame(NamedTuple):
    """Numbers and addresses that every kernel takes, in this order; those of its source follow.

    An address is that of the first element of a flat array which lives as long as the frame is
    used. The weighted sum is shifted right, then left, and enters u. ``filter`` is 4095 - du;
    ``full`` tells whether u has to be filtered or wrapped at all. leak and threshold: int64
    (steps,). bias: int32, exponent applied, found at sample * bias_sample + place * bias_place +
    neuron. spikes: uint8, ``stride`` bytes per step; those of a place begin at byte at[place].
    u and v: int32 (samples, steps, places, blocks x L), or 0 if not wanted; last: int32 (samples,
    places, blocks x L), or 0: what is left after the last step, v, or how often each fired if
    ``counted``.
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
    counted: int


FRAME = len(Frame._fields)
_AHEAD = 4096
"""How far ahead of its use input is asked for: the processor stops at the end of a page."""
_MANY = 1 << 48
"""Arrays at an address are read within bounds that the layout knows, not the kernel."""


@compiled
def run_constant(frame: Array, samples: int, tag: Any, mode: Any) -> None:
    """Run neurons whose sums never change: addresses and strides as in Constant."""
    source = Constant(_ints32(frame[FRAME]), frame[FRAME + 1], frame[FRAME + 2])
    _run(frame, samples, source, tag, mode)


@compiled
def run_events8(frame: Array, samples: int, tag: Any, mode: Any) -> None:
    """Run neurons behind 8-bit weight rows: bits, stride, weight, rows, safe, index, count."""
    weight = carray(ln.to_pointer(frame[FRAME + 2]), (_MANY,), np.int8)
    _run(frame, samples, _events(frame, weight), tag, mode)


@compiled
def run_events16(frame: Array, samples: int, tag: Any, mode: Any) -> None:
    """Run neurons behind 16-bit weight rows."""
    weight = carray(ln.to_pointer(frame[FRAME + 2]), (_MANY,), np.int16)
    _run(frame, samples, _events(frame, weight), tag, mode)


@compiled
def run_lookups16(frame: Array, samples: int, tag: Any, mode: Any, groups: Any) -> None:
    """Run neurons behind a 16-bit table: bits, stride, window, words, first, table."""
    table = carray(ln.to_pointer(frame[FRAME + 5]), (_MANY,), np.int16)
    _run(frame, samples, _lookups(frame, table, groups), tag, mode)


@compiled
def run_lookups32(frame: Array, samples: int, tag: Any, mode: Any, groups: Any) -> None:
    """Run neurons behind a 32-bit table."""
    table = carray(ln.to_pointer(frame[FRAME + 5]), (_MANY,), np.int32)
    _run(frame, samples, _lookups(frame, table, groups), tag, mode)


@compiled
def run_products(frame: Array, samples: int, tag: Any, mode: Any, halves: Any) -> None:
    """Run neurons behind tiles; after the frame come the fields of Products, in order."""
    p = frame[FRAME:]
    weight = carray(ln.to_pointer(p[2]), (_MANY,), np.int8)
    source = Products(
        _bytes(p[0]),
        p[1],
        weight,
        p[3],
        p[4],
        p[5],
        p[6],
        _bytes(p[7]),
        _bytes(p[8]),
        _ints32(p[9]),
        halves,
    )
    _run(frame, samples, source, tag, mode)


@inner
def _events(frame: Array, weight: Array) -> Any:
    p = frame[FRAME:]
    bits, index = carray(ln.to_pointer(p[0]), (_MANY,), np.uint8), _ints32(p[5])
    narrow = carray(ln.to_pointer(p[5]), (_MANY,), np.int16)
    return Events(bits, p[1], weight, p[3], p[4], narrow, index, index, _ints64(p[6]))


@inner
def _lookups(frame: Array, table: Array, groups: Any) -> Any:
    p = frame[FRAME:]
    bits = carray(ln.to_pointer(p[0]), (_MANY,), np.uint8)
    return Lookups(bits, p[1], _ints64(p[2]), _ints64(p[3]), _ints64(p[4]), table, groups)


@inner
def _bytes(address: int) -> Array:
    return carray(ln.to_pointer(address), (_MANY,), np.uint8)


@inner
def _ints32(address: int) -> Array:
    return carray(ln.to_pointer(address), (_MANY,), np.int32)


@inner
def _ints64(address: int) -> Array:
    return carray(ln.to_pointer(address), (_MANY,), np.int64)


class Change(NamedTuple):
    """What :func:`move` needs beside the state: shifts, filter numerator, limits of v."""

    right: Any
    left: Any
    filter: int
    full: int
    low: Any
    high: Any


def move(u: Any, v: Any, sums: Any, bias: Any, leak: int, change: Any, mode: Any) -> Any:
    """Return u and v of the next step: docs/semantics.md, "Neuron"."""
    raise NotImplementedError  # numba takes the overload below


@overload(move)
def _move(
    u: Any, v: Any, sums: Any, bias: Any, leak: Any, change: Any, mode: Any
) -> Callable[..., Any]:
    return (_move_any, _move_unclipped, _move_small)[len(mode)]


def _move_any(
    u: Any, v: Any, sums: Any, bias: Any, leak: Any, change: Any, mode: Any
) -> tuple[Any, Any]:
    new = ln.shift_left(ln.shift_right(sums, change.right), change.left)
    if change.full:
        new = ln.wrap(ln.add(ln.scale(u, change.filter), new))
    moved = ln.add(ln.add(ln.scale(v, leak), new), bias)
    return new, ln.minimum(ln.maximum(moved, change.low), change.high)


def _move_unclipped(
    u: Any, v: Any, sums: Any, bias: Any, leak: Any, change: Any, mode: Any
) -> tuple[Any, Any]:
    new = ln.shift_left(sums, change.left)
    return new, ln.add(ln.add(ln.scale(v, leak), new), bias)


def _move_small(
    u: Any, v: Any, sums: Any, bias: Any, leak: Any, change: Any, mode: Any
) -> tuple[Any, Any]:
    new = ln.shift_left(sums, change.left)
    return new, ln.add(ln.add(ln.scale_small(v, leak), new), bias)


@inner
def _run(frame: Array, samples: int, source: Any, tag: Any, mode: Any) -> None:
    """Run all places of all blocks, two at a time: while one waits for its sums the other moves.

    A block visits all its places before the next block begins: the part of the weight table that
    it reads stays in the cache.
    """
    blocks, steps = frame[1], frame[2]
    units = frame[0] * blocks
    for sample in range(samples):
        prepare(source, sample, steps)
        for first in range(0, units, 2):
            _run_two(frame, sample, first, min(first + 1, units - 1), source, tag, mode)


@joined
def _run_two(
    frame: Array, sample: int, first: int, second: int, source: Any, tag: Any, mode: Any
) -> None:
    """Run all steps of two neighbours in that order; the same twice for a last one left over."""
    places, blocks, steps = frame[:3]
    leaks, thresholds, biases = _ints64(frame[7]), _ints64(frame[8]), _ints32(frame[9])
    spikes, stride, traced = _bytes(frame[12]), frame[13], frame[15] != 0
    empty = ln.zeros(biases, tag)
    change = Change(
        ln.fill(frame[3], empty),
        ln.fill(frame[4], empty),
        frame[5],
        frame[6],
        ln.fill(-STATE_MAX, empty),
        ln.fill(STATE_MAX, empty),
    )
    block0 = first // places
    place0 = first - block0 * places
    block1 = second // places
    place1 = second - block1 * places
    lane0, lane1 = block0 * 16 * len(tag), block1 * 16 * len(tag)
    wide = blocks * 16 * len(tag)
    to0 = ln.fetch(_ints64(frame[14]), place0) + lane0 // 8
    to1 = ln.fetch(_ints64(frame[14]), place1) + lane1 // 8
    bias0 = ln.load(biases, sample * frame[10] + place0 * frame[11] + lane0, empty)
    bias1 = ln.load(biases, sample * frame[10] + place1 * frame[11] + lane1, empty)
    at0 = locate(source, sample, place0, block0, tag)
    at1 = locate(source, sample, place1, block1, tag)
    counted = frame[18] != 0
    u0, v0, n0, u1, v1, n1 = empty, empty, empty, empty, empty, empty
    for t in range(steps):
        row = sample * steps + t
        sums0 = total(source, at0, sample, steps, t, tag)
        sums1 = total(source, at1, sample, steps, t, tag) if second != first else sums0
        leak, threshold = ln.fetch(leaks, t), ln.fetch(thresholds, t)
        u0, v0 = move(u0, v0, sums0, bias0, leak, change, mode)
        u1, v1 = move(u1, v1, sums1, bias1, leak, change, mode)
        if traced:
            _keep(frame, (row * places + place0) * wide + lane0, u0, v0)
            _keep(frame, (row * places + place1) * wide + lane1, u1, v1)
        fired0, fired1 = ln.exceeds(v0, threshold), ln.exceeds(v1, threshold)
        ln.store_bits(spikes, row * stride + to0, fired0)
        ln.store_bits(spikes, row * stride + to1, fired1)
        v0, v1 = ln.reset(v0, fired0), ln.reset(v1, fired1)
        if counted:
            n0, n1 = ln.count_fired(n0, fired0), ln.count_fired(n1, fired1)
    if frame[17]:
        last = _ints32(frame[17])
        ln.store(last, (sample * places + place0) * wide + lane0, n0 if counted else v0)
        ln.store(last, (sample * places + place1) * wide + lane1, n1 if counted else v1)


@joined
def _keep(frame: Array, at: int, u: Any, v: Any) -> None:
    """Write one step of a block's u and v to the traces."""
    ln.store(_ints32(frame[15]), at, u)
    ln.store(_ints32(frame[16]), at, v)


@compiled
def graded_sums(
    x: Array,
    per_sample: int,
    window: Array,
    segment: Array,
    length: int,
    weight: Array,
    samples: int,
    blocks: int,
    sums: Array,
    tag: Any,
) -> None:
    """Sum graded inputs once: each place reads ``length`` values at each segment of its window.

    x: uint8 (samples, per_sample); weight: int16 (blocks, segments x length, L); sums: int32
    (samples, places, blocks x L).
    """
    width = 16 * len(tag)
    taps = len(segment) * length
    empty = ln.zeros(sums, tag)
    for sample in range(samples):
        for place in range(len(window)):
            base = sample * per_sample + ln.fetch(window, place)
            for block in range(blocks):
                found = empty
                row = block * taps * width
                for k in range(len(segment)):
                    start = base + ln.fetch(segment, k)
                    for j in range(length):
                        value = ln.fetch(x, start + j)
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
    rows lie ``pitch`` bits apart (whole bytes), the first at bit ``start``. Zeros are written up to
    16 bytes past a row: into borders, or where the next row follows, or into the array's slack.
    """
    strange = np.uint64(0)
    for r in range(rows):
        step = r // per_step
        place = start + (r - step * per_step) * pitch
        byte, phase = step * stride + (place >> 3), np.uint64(place & 7)
        waiting = np.uint64(0)  # bits that did not fill the last word
        for j in range(0, length, 64):
            count, at = min(64, length - j), r * length + j
            ln.prefetch(x, at + _AHEAD)
            word, more = np.uint64(0), np.uint64(0)
            if at + 64 <= len(x):
                unused = np.uint64(64 - count)
                word = (ln.bits_of(x, at, 1) << unused) >> unused
                more = (ln.bits_of(x, at, 254) << unused) >> unused
            else:  # the last bytes of the array: never read past its end
                for k in range(count):
                    word |= np.uint64(x[at + k] & 1) << np.uint64(k)
                    more |= np.uint64(x[at + k] & 254)
            strange |= more
            ln.store_word(bits, byte, waiting | (word << phase))
            # In two shifts: one by 64 would be undefined.
            waiting = (word >> np.uint64(1)) >> (np.uint64(63) - phase)
            byte += 8
        ln.store_word(bits, byte, waiting)
    return bool(strange == 0)
