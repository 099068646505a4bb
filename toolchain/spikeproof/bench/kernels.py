"""Bare loops that show what this machine's cores can do; needs numba, imported late.

Each does nothing but one kind of work, from registers where it can, with no neuron, no format and
no bounds around it. An engine cannot be faster at that work; how near it comes is its share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from spikeproof.engines.compiled import lanes

bare = njit(nogil=True, cache=True)


@bare
def add_rows(table: Any, rows: Any, blocks: int, out: Any, tag: Any, times: int) -> None:
    """Add rows of a flat table (blocks, rows, lanes) into 16-bit registers, block by block."""
    width = 16 * len(tag)
    height = len(table) // (blocks * width)
    for _ in range(times):
        for block in range(blocks):
            total = lanes.zeros(out, tag)
            for row in rows:
                at = (block * height + row) * width
                total = lanes.add(total, lanes.load(table, at, total))
            lanes.store(out, block * width, total)


@bare
def look_up(table: Any, words: Any, out: Any, tag: Any, times: int) -> None:
    """Add one of 16 rows for every 4 bits of 32-bit words into two 16-bit sums in registers."""
    width = 16 * len(tag)
    for _ in range(times):
        first = lanes.zeros(out, tag)
        second = lanes.zeros(out, tag)
        for n in range(len(words)):
            word = words[n]
            base = (n % 4) * 128
            for k in range(4):
                low = base + 32 * k + (word >> (8 * k) & 15)
                high = base + 32 * k + 16 + (word >> (8 * k + 4) & 15)
                first = lanes.add(first, lanes.load(table, low * width, first))
                second = lanes.add(second, lanes.load(table, high * width, second))
        lanes.store(out, 0, lanes.add(first, second))


@bare
def update_lanes(
    currents: Any, v: Any, bits: Any, leak: int, limit: int, tag: Any, times: int
) -> None:
    """Advance neurons over all steps with v in registers: leak, add, compare, reset, write bits."""
    width = 16 * len(tag)
    blocks = len(v) // width
    steps = len(currents) // len(v)
    for _ in range(times):
        for block in range(blocks):
            state = lanes.load(v, block * width, lanes.zeros(v, tag))
            for t in range(steps):
                drive = lanes.load(currents, (t * blocks + block) * width, state)
                state = lanes.add(lanes.scale(state, leak), drive)
                fired = lanes.exceeds(state, limit)
                lanes.store_bits(bits, (t * blocks + block) * (width // 8), fired)
                state = lanes.reset(state, fired)
            lanes.store(v, block * width, state)


@bare
def update_rows(currents: Any, v: Any, spikes: Any, leak: int, limit: int, times: int) -> None:
    """Advance neurons step by step, as plain code the optimiser turns into vectors by itself."""
    k, top = np.int32(leak), np.int32(limit)
    width = len(v)
    steps = len(currents) // width
    for _ in range(times):
        for t in range(steps):
            for n in range(width):
                old = v[n]
                up = np.int32(np.int32(old >> np.int32(31)) & np.int32(4095))
                low = np.int32(np.int32(old & np.int32(4095)) * k)
                rest = np.int32(np.int32(low + up) >> np.int32(12))
                kept = np.int32(np.int32(np.int32(old >> np.int32(12)) * k) + rest)
                new = np.int32(kept + currents[t * width + n])
                fired = new > top
                spikes[t * width + n] = fired
                v[n] = np.int32(0) if fired else new
