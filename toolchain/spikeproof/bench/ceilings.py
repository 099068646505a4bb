"""What the machine can do at best, measured in the same run, and how near an engine comes to it.

Four peaks: adding int8 weight rows (one per spike) into 16-bit sums, adding 64-byte rows of lookup
tables, updating neurons, and int8 matrix products (torch, where installed). A layer's floor is the
time its work would take at these peaks; the share is floor / measured time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from spikeproof.bench.nets import BenchNet
from spikeproof.extras import need
from spikeproof.ir import chip

EVENT_ADDS, TABLE_LOADS = "event_adds", "table_loads"
NEURON_UPDATES, PRODUCTS = "neuron_updates", "int8_products"
_TABLE_BYTES = 64
_GROUP_BITS = 4
_WIDE_GROUP_BITS = 9
_TURNS = 40
"""Many short turns: one of them is not interrupted, even on a machine that has other work."""
_PATIENCE = 0.5
"""Seconds the turns may take together, where they were asked to take less."""


@dataclass(frozen=True)
class Work:
    """What one sample asks of one layer; ``sums`` counts work of the kind ``peak``."""

    layer: str
    peak: str
    sums: float
    neuron_updates: float

    def floor(self, peaks: dict[str, float]) -> tuple[float, float] | None:
        """Return the seconds of the sums and of the updates at the peaks; None if unknown."""
        if self.peak not in peaks or NEURON_UPDATES not in peaks:
            return None
        return self.sums / peaks[self.peak], self.neuron_updates / peaks[NEURON_UPDATES]


def work_of(net: BenchNet, methods: Mapping[str, str] | None = None) -> list[Work]:
    """Count the work of each layer per sample.

    Args:
        net: the network.
        methods: by layer, the peak that bounds how its sums are made. Layers not named: event adds
            for dense ones, table loads for convolutions, products for a first layer on pixels.

    Event adds: one per spike and neuron. Table loads: the rows to read when each holds the sums of
    4 inputs (up to 9 for a window as small) for 64 bytes of output channels. Products: all
    multiply-adds, in a first layer on pixels once per sample.
    """
    found, source = [], "input"
    steps = net.network.timesteps
    for index, layer in enumerate(net.network.layers):
        inner = layer.synapse
        constant = index == 0 and net.network.coding == "pixels"
        dense = isinstance(inner, chip.DenseSynapse)
        usual = PRODUCTS if constant else EVENT_ADDS if dense else TABLE_LOADS
        peak = (methods or {}).get(layer.name, usual)
        if peak == EVENT_ADDS:
            sums = net.spikes[source] * len(inner.weight)
        elif peak == PRODUCTS or not isinstance(inner, chip.ConvSynapse):
            sums = float(layer.connections * (1 if constant else steps))
        else:
            sums = float(steps * _table_loads(inner, layer.shape))
        updates = float(int(np.prod(layer.shape)) * steps)
        found.append(Work(layer.name, peak, sums, updates))
        source = layer.name
    return found


def _table_loads(synapse: chip.ConvSynapse, shape: tuple[int, ...]) -> int:
    window = int(np.prod(synapse.weight.shape[1:]))
    groups = 1 if window <= _WIDE_GROUP_BITS else -(-window // _GROUP_BITS)
    channels = len(synapse.weight) // synapse.groups
    rows = -(-2 * channels // _TABLE_BYTES)
    return synapse.groups * int(np.prod(shape[1:])) * groups * rows


def measure_peaks(threads: int, seconds: float = 0.1) -> dict[str, float]:
    """Return the peaks of ``threads`` threads together, in operations per second.

    Raises:
        MissingExtraError: numba is not installed.
    """
    need("numba", extra="fast", purpose="bench, ceilings")
    from spikeproof.bench import kernels

    peaks = {
        EVENT_ADDS: max(_row_peak(kernels, lanes, threads, seconds) for lanes in (128, 256)),
        TABLE_LOADS: _table_peak(kernels, threads, seconds),
        NEURON_UPDATES: max(_update_peaks(kernels, threads, seconds)),
    }
    if find_spec("torch") is not None:
        peaks[PRODUCTS] = _product_peak(threads, seconds)
    return peaks


def _row_peak(kernels: Any, lanes: int, threads: int, seconds: float) -> float:
    """Adds per second of int8 rows in random order from a table as large as a level-2 cache."""
    rng = np.random.default_rng(0)
    blocks, tag = 512 // lanes, _tag(lanes)
    table = aligned(rng.integers(-100, 100, 784 * 512).astype(np.int8))
    picks = [rng.integers(0, 784, 4096) for _ in range(threads)]
    outs = [aligned(np.zeros(512, np.int16)) for _ in range(threads)]

    def work(thread: int, times: int) -> None:
        kernels.add_rows(table, picks[thread], blocks, outs[thread], tag, times)

    return len(picks[0]) * 512 * repeats(work, threads, seconds)


def _table_peak(kernels: Any, threads: int, seconds: float) -> float:
    """Rows of 64 bytes per second, from a table of half a level-1 cache."""
    rng = np.random.default_rng(0)
    table = aligned(rng.integers(-100, 100, 4 * 8 * 16 * 32).astype(np.int16))
    words = [rng.integers(0, 1 << 32, 4096) for _ in range(threads)]
    outs = [aligned(np.zeros(32, np.int16)) for _ in range(threads)]

    def work(thread: int, times: int) -> None:
        kernels.look_up(table, words[thread], outs[thread], _tag(32), times)

    return 8 * len(words[0]) * repeats(work, threads, seconds)


def _update_peaks(kernels: Any, threads: int, seconds: float) -> Iterator[float]:
    """Neuron updates per second of two forms of the loop, 512 neurons, 16 steps."""
    rng = np.random.default_rng(0)
    steps, width, leak, limit = 16, 512, 4055, 30000
    currents = [
        aligned(rng.integers(-9000, 12000, steps * width).astype(np.int32)) for _ in range(threads)
    ]
    states = [aligned(np.zeros(width, np.int32)) for _ in range(threads)]
    spikes = [aligned(np.zeros(steps * width, np.uint8)) for _ in range(threads)]

    def rows(thread: int, times: int) -> None:
        kernels.update_rows(currents[thread], states[thread], spikes[thread], leak, limit, times)

    yield steps * width * repeats(rows, threads, seconds)
    for tag in (_tag(32), _tag(64), _tag(128)):

        def lanes(thread: int, times: int, tag: Any = tag) -> None:
            kernels.update_lanes(
                currents[thread], states[thread], spikes[thread], leak, limit, tag, times
            )

        yield steps * width * repeats(lanes, threads, seconds)


def _tag(lanes: int) -> tuple[int, ...]:
    return (0,) * (lanes // 16)


def _product_peak(threads: int, seconds: float) -> float:
    """Multiply-adds per second of torch's int8 matrix product; it brings its own threads."""
    import torch

    def rate(rows: int, depth: int, columns: int) -> float:
        a = torch.randint(-128, 128, (rows, depth), dtype=torch.int8)
        b = torch.randint(-128, 128, (depth, columns), dtype=torch.int8)

        def work(thread: int, times: int) -> None:
            for _ in range(times):
                torch._int_mm(a, b)

        return rows * depth * columns * repeats(work, 1, seconds)

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return max(rate(2048, 784, 512), rate(2048, 1024, 1024))
    finally:
        torch.set_num_threads(before)


def repeats(work: Callable[[int, int], None], threads: int, seconds: float) -> float:
    """Return how often per second all threads together can do ``work``: the best of some turns.

    Slow work gets fewer of them, as an int8 product does where the processor has no instructions
    for it and one turn takes seconds.
    """
    with ThreadPoolExecutor(threads) as pool:

        def turn(times: int) -> float:
            start = time.perf_counter()
            for done in [pool.submit(work, thread, times) for thread in range(threads)]:
                done.result()
            return time.perf_counter() - start

        turn(1)
        times = 1
        wanted = seconds / _TURNS
        while (elapsed := turn(times)) < wanted and times < 1 << 24:
            times = max(2 * times, int(times * wanted / max(elapsed, 1e-6)))
        turns = min(_TURNS, int(max(seconds, _PATIENCE) / elapsed))
        return threads * times / min([elapsed, *(turn(times) for _ in range(turns))])


def aligned(array: Any, boundary: int = 64) -> Any:
    """Copy an array to a multiple of ``boundary``, so that rows fill cache lines."""
    raw = np.empty(array.nbytes + boundary, np.uint8)
    start = -raw.ctypes.data % boundary
    copy = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
