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
from numba.np.unsafe.ndarray import to_fixed_tuple

from spikeproof.engines.compiled import lanes as ln
from spikeproof.engines.compiled.bounds import EACH
from spikeproof.engines.compiled.cache import compiled, inner
from spikeproof.engines.compiled.sources import (
    Constant,
    Events,
    Lookups,
    Products,
    Steps,
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

    Where neurons are not alike, leak, threshold and filter are addresses of int32, one number per
    lane at step * leak_step + place * leak_place + neuron (and so on), initial and taken likewise;
    taken is 0 where a spike puts v to 0. Their kernel can run steps ``begin`` to ``end`` only and
    go on later: kept_u and kept_v are int32 (samples, places, blocks x L), or 0.

    A kernel that only adds up (mode ADD) writes what arrives at those steps, ``lag`` steps after it
    was sent, to sums: int32 (samples, steps, places, blocks x L), over what is there if ``first``.
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
    leak_step: int
    leak_place: int
    threshold_step: int
    threshold_place: int
    filter_place: int
    initial: int
    initial_place: int
    taken: int
    taken_place: int
    begin: int
    end: int
    kept_u: int
    kept_v: int
    sums: int
    lag: int
    first: int


class ConstantFrame(NamedTuple):
    """What follows the frame of a Constant; see there."""

    sums: int
    per_sample: int
    per_place: int


class StepFrame(NamedTuple):
    """What follows the frame of Steps; see there."""

    sums: int
    per_step: int
    per_place: int


class EventFrame(NamedTuple):
    """What follows the frame of Events; see there."""

    bits: int
    stride: int
    weight: int
    rows: int
    safe: int
    listed: int
    counts: int


class LookupFrame(NamedTuple):
    """What follows the frame of Lookups; see there."""

    bits: int
    stride: int
    window: int
    words: int
    first: int
    table: int


class ProductFrame(NamedTuple):
    """What follows the frame of Products; see there."""

    bits: int
    stride: int
    weight: int
    depth: int
    pairs: int
    group: int
    rounds: int
    shape: int
    rows: int
    sums: int


FRAME, CONSTANT, STEP, EVENT, LOOKUP, PRODUCT = (
    len(kind._fields)
    for kind in (Frame, ConstantFrame, StepFrame, EventFrame, LookupFrame, ProductFrame)
)
ADD = 4
"""The mode, beside those of bounds.py, in which a kernel adds up and moves no neurons."""
_AHEAD = 4096
"""How far ahead of its use input is asked for: the processor stops at the end of a page."""
_MANY = 1 << 48
"""Arrays at an address are read within bounds that the layout knows, not the kernel."""


@compiled
def run_constant(numbers: Array, samples: int, tag: Any, mode: Any) -> None:
    """Run neurons whose sums never change."""
    f = ConstantFrame(*to_fixed_tuple(numbers[FRAME:], CONSTANT))
    source = Constant(_ints32(f.sums), f.per_sample, f.per_place)
    _run(numbers, samples, source, tag, mode)


@compiled
def run_steps(numbers: Array, samples: int, tag: Any, mode: Any) -> None:
    """Run neurons whose sums were added up before."""
    f = StepFrame(*to_fixed_tuple(numbers[FRAME:], STEP))
    _run(numbers, samples, Steps(_ints32(f.sums), f.per_step, f.per_place), tag, mode)


@compiled
def run_events8(numbers: Array, samples: int, tag: Any, mode: Any) -> None:
    """Run neurons behind 8-bit weight rows."""
    f = EventFrame(*to_fixed_tuple(numbers[FRAME:], EVENT))
    _run(numbers, samples, _events(f, _signed_bytes(f.weight)), tag, mode)


@compiled
def run_events16(numbers: Array, samples: int, tag: Any, mode: Any) -> None:
    """Run neurons behind 16-bit weight rows."""
    f = EventFrame(*to_fixed_tuple(numbers[FRAME:], EVENT))
    _run(numbers, samples, _events(f, _ints16(f.weight)), tag, mode)


@compiled
def run_lookups16(numbers: Array, samples: int, tag: Any, mode: Any, groups: Any) -> None:
    """Run neurons behind a 16-bit table."""
    f = LookupFrame(*to_fixed_tuple(numbers[FRAME:], LOOKUP))
    _run(numbers, samples, _lookups(f, _ints16(f.table), groups), tag, mode)


@compiled
def run_lookups32(numbers: Array, samples: int, tag: Any, mode: Any, groups: Any) -> None:
    """Run neurons behind a 32-bit table."""
    f = LookupFrame(*to_fixed_tuple(numbers[FRAME:], LOOKUP))
    _run(numbers, samples, _lookups(f, _ints32(f.table), groups), tag, mode)


@compiled
def run_products(numbers: Array, samples: int, tag: Any, mode: Any, halves: Any) -> None:
    """Run neurons behind tiles."""
    f = ProductFrame(*to_fixed_tuple(numbers[FRAME:], PRODUCT))
    source = Products(
        _bytes(f.bits),
        f.stride,
        _signed_bytes(f.weight),
        f.depth,
        f.pairs,
        f.group,
        f.rounds,
        _bytes(f.shape),
        _bytes(f.rows),
        _ints32(f.sums),
        halves,
    )
    _run(numbers, samples, source, tag, mode)


@inner
def _events(f: EventFrame, weight: Array) -> Any:
    narrow, index = _ints16(f.listed), _ints32(f.listed)
    count = _ints64(f.counts)
    return Events(_bytes(f.bits), f.stride, weight, f.rows, f.safe, narrow, index, index, count)


@inner
def _lookups(f: LookupFrame, table: Array, groups: Any) -> Any:
    window, words, first = _ints64(f.window), _ints64(f.words), _ints64(f.first)
    return Lookups(_bytes(f.bits), f.stride, window, words, first, table, groups)


@inner
def _signed_bytes(address: int) -> Array:
    return carray(ln.to_pointer(address), (_MANY,), np.int8)


@inner
def _ints16(address: int) -> Array:
    return carray(ln.to_pointer(address), (_MANY,), np.int16)


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
def _run(numbers: Array, samples: int, source: Any, tag: Any, mode: Any) -> None:
    """Run all places of all blocks.

    A block visits all its places before the next block begins: the part of the weight table that
    it reads stays in the cache.
    """
    frame = Frame(*to_fixed_tuple(numbers[:FRAME], FRAME))
    for sample in range(samples):
        prepare(source, sample, frame.steps, frame.begin - frame.lag, frame.end - frame.lag)
        visit(frame, sample, source, tag, mode)


def visit(frame: Any, sample: Any, source: Any, tag: Any, mode: Any) -> None:
    """Run all places of all blocks for one sample."""
    raise NotImplementedError  # numba takes the overload below


@overload(visit)
def _visit(frame: Any, sample: Any, source: Any, tag: Any, mode: Any) -> Callable[..., None]:
    if len(mode) == ADD:
        return _visit_sums
    return _visit_each if len(mode) == EACH else _visit_pairs


def _visit_pairs(frame: Any, sample: Any, source: Any, tag: Any, mode: Any) -> None:
    """Go on two at a time: while one waits for its sums the other moves."""
    units = frame.places * frame.blocks
    for first in range(0, units, 2):
        _run_two(frame, sample, first, min(first + 1, units - 1), source, tag, mode)


def _visit_each(frame: Any, sample: Any, source: Any, tag: Any, mode: Any) -> None:
    for unit in range(frame.places * frame.blocks):
        _run_each(frame, sample, unit, source, tag)


def _visit_sums(frame: Any, sample: Any, source: Any, tag: Any, mode: Any) -> None:
    for unit in range(frame.places * frame.blocks):
        _add_up(frame, sample, unit, source, tag)


@joined
def _add_up(frame: Frame, sample: int, unit: int, source: Any, tag: Any) -> None:
    """Add what arrives at one place of one block, shifted as its connection says."""
    places, steps, lag = frame.places, frame.steps, frame.lag
    sums = _ints32(frame.sums)
    empty = ln.zeros(sums, tag)
    right, left = ln.fill(frame.right, empty), ln.fill(frame.left, empty)
    block = unit // places
    place = unit - block * places
    lane = block * 16 * len(tag)
    wide = frame.blocks * 16 * len(tag)
    found = locate(source, sample, place, block, tag)
    for t in range(frame.begin, frame.end):
        at = ((sample * steps + t) * places + place) * wide + lane
        before = empty if frame.first else ln.load(sums, at, empty)
        if t >= lag:
            new = ln.shift_left(
                ln.shift_right(total(source, found, sample, steps, t - lag, tag), right), left
            )
            ln.store(sums, at, ln.add(before, new))
        elif frame.first:
            ln.store(sums, at, empty)


@joined
def _run_two(
    frame: Frame, sample: int, first: int, second: int, source: Any, tag: Any, mode: Any
) -> None:
    """Run all steps of two neighbours in that order; the same twice for a last one left over."""
    places, steps = frame.places, frame.steps
    leaks, thresholds = _ints64(frame.leak), _ints64(frame.threshold)
    biases, spikes, at = _ints32(frame.bias), _bytes(frame.spikes), _ints64(frame.at)
    empty = ln.zeros(biases, tag)
    change = Change(
        ln.fill(frame.right, empty),
        ln.fill(frame.left, empty),
        frame.filter,
        frame.full,
        ln.fill(-STATE_MAX, empty),
        ln.fill(STATE_MAX, empty),
    )
    block0 = first // places
    place0 = first - block0 * places
    block1 = second // places
    place1 = second - block1 * places
    lane0, lane1 = block0 * 16 * len(tag), block1 * 16 * len(tag)
    wide = frame.blocks * 16 * len(tag)
    to0 = ln.fetch(at, place0) + lane0 // 8
    to1 = ln.fetch(at, place1) + lane1 // 8
    bias = sample * frame.bias_sample
    bias0 = ln.load(biases, bias + place0 * frame.bias_place + lane0, empty)
    bias1 = ln.load(biases, bias + place1 * frame.bias_place + lane1, empty)
    at0 = locate(source, sample, place0, block0, tag)
    at1 = locate(source, sample, place1, block1, tag)
    counted, traced = frame.counted != 0, frame.u != 0
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
        ln.store_bits(spikes, row * frame.stride + to0, fired0)
        ln.store_bits(spikes, row * frame.stride + to1, fired1)
        v0, v1 = ln.reset(v0, fired0), ln.reset(v1, fired1)
        if counted:
            n0, n1 = ln.count_fired(n0, fired0), ln.count_fired(n1, fired1)
    if frame.last:
        last = _ints32(frame.last)
        ln.store(last, (sample * places + place0) * wide + lane0, n0 if counted else v0)
        ln.store(last, (sample * places + place1) * wide + lane1, n1 if counted else v1)


@joined
def _run_each(frame: Frame, sample: int, unit: int, source: Any, tag: Any) -> None:
    """Run some or all steps of neurons that are not alike."""
    places, steps = frame.places, frame.steps
    leaks, thresholds = _ints32(frame.leak), _ints32(frame.threshold)
    biases, spikes, at = _ints32(frame.bias), _bytes(frame.spikes), _ints64(frame.at)
    empty = ln.zeros(biases, tag)
    right, left = ln.fill(frame.right, empty), ln.fill(frame.left, empty)
    low, high = ln.fill(-STATE_MAX, empty), ln.fill(STATE_MAX, empty)
    block = unit // places
    place = unit - block * places
    lane = block * 16 * len(tag)
    wide = frame.blocks * 16 * len(tag)
    to = ln.fetch(at, place) + lane // 8
    bias = ln.load(biases, sample * frame.bias_sample + place * frame.bias_place + lane, empty)
    keep = ln.load(_ints32(frame.filter), place * frame.filter_place + lane, empty)
    kept = (sample * places + place) * wide + lane
    u = empty
    v = ln.load(_ints32(frame.initial), place * frame.initial_place + lane, empty)
    taken, fired_so_far = empty, empty
    if frame.begin:
        u, v = (
            ln.load(_ints32(frame.kept_u), kept, empty),
            ln.load(_ints32(frame.kept_v), kept, empty),
        )
        if frame.counted:
            fired_so_far = ln.load(_ints32(frame.last), kept, empty)
    soft = frame.taken != 0
    if soft:
        taken = ln.load(_ints32(frame.taken), place * frame.taken_place + lane, empty)
    found = locate(source, sample, place, block, tag)
    for t in range(frame.begin, frame.end):
        row = sample * steps + t
        new = ln.shift_left(
            ln.shift_right(total(source, found, sample, steps, t, tag), right), left
        )
        u = ln.wrap(ln.add(ln.scale_each(u, keep), new)) if frame.full else new
        leak = ln.load(leaks, t * frame.leak_step + place * frame.leak_place + lane, empty)
        moved = ln.add(ln.add(ln.scale_each(v, leak), u), bias)
        v = ln.minimum(ln.maximum(moved, low), high)
        if frame.u != 0:
            _keep(frame, (row * places + place) * wide + lane, u, v)
        limit = t * frame.threshold_step + place * frame.threshold_place + lane
        fired = ln.exceeds_each(v, ln.load(thresholds, limit, empty))
        ln.store_bits(spikes, row * frame.stride + to, fired)
        v = ln.take_off(v, taken, fired) if soft else ln.reset(v, fired)
        if frame.counted:
            fired_so_far = ln.count_fired(fired_so_far, fired)
    if frame.kept_u:
        ln.store(_ints32(frame.kept_u), kept, u)
        ln.store(_ints32(frame.kept_v), kept, v)
    if frame.last:
        ln.store(_ints32(frame.last), kept, fired_so_far if frame.counted else v)


@joined
def _keep(frame: Frame, at: int, u: Any, v: Any) -> None:
    """Write one step of a block's u and v to the traces."""
    ln.store(_ints32(frame.u), at, u)
    ln.store(_ints32(frame.v), at, v)


# Its ten arguments stay: it runs once a batch and not once a layer and step, so that handing arrays
# over costs nothing that counts, and a frame would only hide their types from the one who calls.
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
