"""Five ways to sum what reaches a block of neurons in one step, as numba functions.

``total`` picks the way by the type of its source, when a kernel is compiled. All arrays are flat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

from spikeproof.engines.compiled import lanes as ln
from spikeproof.engines.compiled import tiles
from spikeproof.engines.compiled.cache import inner

Array = Any
joined = njit(inline="always")
"""For parts of kernels that pass registers on: they become one function."""

INDEX_SLACK = 8
"""A list of events may be written up to 8 entries past its end."""


class Constant(NamedTuple):
    """The same sum at every step: int32 (samples, places, blocks x L)."""

    sums: Array
    per_sample: int
    per_place: int


class Steps(NamedTuple):
    """Sums that other kernels added up: int32 (samples, steps, places, blocks x L)."""

    sums: Array
    per_step: int
    per_place: int


class Events(NamedTuple):
    """Rows of a weight table, one per input bit, added where the bit is set."""

    bits: Array
    """uint8, ``stride`` bytes per step, whose first ``rows`` bits are the inputs."""
    stride: int
    weight: Array
    """int8 or int16 (blocks, rows, L)."""
    rows: int
    safe: int
    """With at most so many events no sum leaves the narrow accumulator."""
    narrow: Array
    wide: Array
    """int16 and int32 arrays that are never read: the types of the two accumulators."""
    index: Array
    count: Array
    """Room for one sample's events: int32 (steps, rows + slack), and their numbers (steps,)."""


class Lookups(NamedTuple):
    """A table row per group of 4 input bits, which holds the sum of the weights of those set."""

    bits: Array
    """uint8, ``stride`` bytes per step."""
    stride: int
    window: Array
    """(places,) the bit at which the window of a place begins."""
    words: Array
    """Byte offsets, from there, of the words that blocks read."""
    first: Array
    """(blocks + 1,) block b reads words first[b] to first[b + 1]."""
    table: Array
    """int16 or int32 (words, groups, 16, L)."""
    groups: tuple[int, ...]
    """One entry per group of 4 bits in a word."""


class Products(NamedTuple):
    """Sums of a whole group of samples at once, as a matrix product on tiles."""

    bits: Array
    """uint8, ``stride`` bytes per step."""
    stride: int
    weight: Array
    """int8, see tiles.weight_tiles."""
    depth: int
    """Tiles of 64 inputs."""
    pairs: int
    """Pairs of tiles of 16 neurons."""
    group: int
    """Samples multiplied together: ``halves`` x 16 rows hold their steps (or ``rounds`` times)."""
    rounds: int
    shape: Array
    """The tiles' configuration."""
    rows: Array
    """Room for the spikes of a group as bytes: uint8 (rows, depth x 64)."""
    sums: Array
    """Room for its sums: int32 (rows, pairs x 32)."""
    halves: tuple[int, ...]


_BYTE_BITS = np.array(
    [
        [b for b in range(8) if byte >> b & 1] + [0] * (8 - bin(byte).count("1"))
        for byte in range(256)
    ],
    np.int32,
).ravel()
_BYTE_COUNT = np.array([bin(byte).count("1") for byte in range(256)], np.int64)


def prepare(source: Any, sample: int, steps: int, begin: int, end: int) -> None:
    """Do what is done once per sample, before any place: what was sent at steps begin to end."""
    raise NotImplementedError  # numba takes the overload below


def locate(source: Any, sample: int, place: int, block: int, tag: Any) -> tuple[int, ...]:
    """Work out, once for all steps, where the sums of one block begin."""
    raise NotImplementedError  # numba takes the overload below


def total(source: Any, located: Any, sample: int, steps: int, step: int, tag: Any) -> Any:
    """Return the sums of one block in one step as 32-bit lanes."""
    raise NotImplementedError  # numba takes the overload below


def _is(source: Any, kind: type) -> bool:
    return isinstance(source, types.BaseNamedTuple) and source.instance_class is kind


@overload(prepare)
def _prepare(source: Any, sample: Any, steps: Any, begin: Any, end: Any) -> Callable[..., None]:
    def nothing(source: Any, sample: Any, steps: Any, begin: Any, end: Any) -> None:
        pass

    def events(source: Any, sample: Any, steps: Any, begin: Any, end: Any) -> None:
        room = source.rows + INDEX_SLACK
        for t in range(max(0, begin), end):
            start = (sample * steps + t) * source.stride
            source.count[t] = list_events(source.bits, start, source.rows, source.index, t * room)

    def products(source: Any, sample: Any, steps: Any, begin: Any, end: Any) -> None:
        if sample % source.group == 0:
            multiply_group(source, sample * steps, source.group * steps)

    if _is(source, Products):
        return products
    return events if _is(source, Events) else nothing


@inner
def multiply_group(source: Any, first: int, count: int) -> None:
    """Multiply ``count`` steps, from step ``first`` on, with all weights."""
    pitch, width = source.depth * tiles.DEPTH, source.pairs * tiles.PAIR * tiles.COLUMNS
    for row in range(count):
        start = (first + row) * source.stride
        for k in range(source.depth):
            tiles.spread_bits(source.bits, start + 8 * k, source.rows, row * pitch + 64 * k)
    tiles.configure(source.shape)
    high = len(source.halves) * tiles.ROWS
    for turn in range(source.rounds):
        for pair in range(source.pairs):
            tiles.multiply(
                source.rows,
                turn * high * pitch,
                pitch,
                source.weight,
                pair * source.depth * tiles.PAIR * tiles.ROWS * tiles.DEPTH,
                source.sums,
                turn * high * width + pair * tiles.PAIR * tiles.COLUMNS,
                width,
                source.depth,
                source.halves,
            )
    tiles.release()


@inner
def list_events(bits: Array, start: int, rows: int, index: Array, at: int) -> int:
    """Write the positions of all set bits without a branch: 8 numbers per byte, then move on."""
    first = at
    for byte in range((rows + 7) >> 3):
        value = ln.fetch(bits, start + byte)
        ln.copy_moved(index, at, _BYTE_BITS, value, 8 * byte)
        at += ln.fetch(_BYTE_COUNT, value)
    return at - first


@overload(locate)
def _locate(
    source: Any, sample: Any, place: Any, block: Any, tag: Any
) -> Callable[..., tuple[int, ...]] | None:
    found: list[tuple[type, Callable[..., tuple[int, ...]]]] = [
        (Constant, _place_sums),
        (Steps, _stepped_sums),
        (Events, _block_rows),
        (Lookups, _window),
        (Products, _columns),
    ]
    return next((function for kind, function in found if _is(source, kind)), None)


@overload(total)
def _total(
    source: Any, located: Any, sample: Any, steps: Any, step: Any, tag: Any
) -> Callable[..., Any] | None:
    sums: list[tuple[type, Callable[..., Any]]] = [
        (Constant, _constant),
        (Steps, _stepped),
        (Events, _events),
        (Lookups, _looked_up),
        (Products, _multiplied),
    ]
    return next((function for kind, function in sums if _is(source, kind)), None)


def _place_sums(source: Any, sample: Any, place: Any, block: Any, tag: Any) -> tuple[int, ...]:
    return (sample * source.per_sample + place * source.per_place + block * 16 * len(tag),)


def _constant(source: Any, located: Any, sample: Any, steps: Any, step: Any, tag: Any) -> Any:
    return ln.load(source.sums, located[0], ln.zeros(source.sums, tag))


def _stepped_sums(source: Any, sample: Any, place: Any, block: Any, tag: Any) -> tuple[int, ...]:
    return (place * source.per_place + block * 16 * len(tag),)


def _stepped(source: Any, located: Any, sample: Any, steps: Any, step: Any, tag: Any) -> Any:
    at = (sample * steps + step) * source.per_step + located[0]
    return ln.load(source.sums, at, ln.zeros(source.sums, tag))


def _block_rows(source: Any, sample: Any, place: Any, block: Any, tag: Any) -> tuple[int, ...]:
    return (block * source.rows * 16 * len(tag),)


def _events(source: Any, located: Any, sample: Any, steps: Any, step: Any, tag: Any) -> Any:
    width = 16 * len(tag)
    base = located[0]
    begin = step * (source.rows + INDEX_SLACK)
    count = ln.fetch(source.count, step)
    end = begin + count
    if count <= source.safe:
        small = ln.zeros(source.narrow, tag)
        for k in range(begin, end):
            row = base + ln.fetch(source.index, k) * width
            small = ln.add(small, ln.load(source.weight, row, small))
        return ln.widen(small)
    large = ln.zeros(source.wide, tag)
    for k in range(begin, end):
        row = base + ln.fetch(source.index, k) * width
        large = ln.add(large, ln.load(source.weight, row, large))
    return large


def _window(source: Any, sample: Any, place: Any, block: Any, tag: Any) -> tuple[int, ...]:
    window = ln.fetch(source.window, place)
    first, end = ln.fetch(source.first, block), ln.fetch(source.first, block + 1)
    return window >> 3, window & 7, first, end


def _looked_up(source: Any, located: Any, sample: Any, steps: Any, step: Any, tag: Any) -> Any:
    per_word = len(source.groups) * 16 * 16 * len(tag)
    byte, phase, first, end = located
    base = (sample * steps + step) * source.stride + byte
    found = ln.zeros(source.table, tag)
    for k in range(first, end):
        word = ln.load_word(source.bits, base + ln.fetch(source.words, k)) >> phase
        found = ln.add_looked_up(found, source.table, k * per_word, word, source.groups)
    return ln.widen(found)


def _columns(source: Any, sample: Any, place: Any, block: Any, tag: Any) -> tuple[int, ...]:
    return sample % source.group, block * 16 * len(tag)


def _multiplied(source: Any, located: Any, sample: Any, steps: Any, step: Any, tag: Any) -> Any:
    width = source.pairs * tiles.PAIR * tiles.COLUMNS
    at = (located[0] * steps + step) * width + located[1]
    return ln.load(source.sums, at, ln.zeros(source.sums, tag))
