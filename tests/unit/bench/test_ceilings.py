"""Counting work, and peaks of the right order: shares are only as good as both."""

from __future__ import annotations

import time
from collections import namedtuple

import numpy as np
import pytest

from spikeproof.bench.ceilings import (
    EVENT_ADDS,
    NEURON_UPDATES,
    PRODUCTS,
    TABLE_LOADS,
    aligned,
    measure_peaks,
    repeats,
    work_of,
)
from spikeproof.bench.nets import conv_net, mlp_net, zoo_net
from spikeproof.bench.shares import layer_times, shares
from spikeproof.engines.fast import FastEngine

Took = namedtuple("Took", "peak seconds")
PEAKS = {EVENT_ADDS: 1e9, TABLE_LOADS: 1e8, NEURON_UPDATES: 1e7, PRODUCTS: 1e10}


def test_the_work_of_the_dense_network_is_spikes_times_neurons() -> None:
    net = mlp_net()
    first, second = work_of(net)
    x = net.draw(np.random.default_rng(5), 200)
    assert first.peak == second.peak == EVENT_ADDS
    assert first.sums == pytest.approx(x.sum() / 200 * 512, rel=0.02)
    assert (first.neuron_updates, second.neuron_updates) == (512 * 16, 10 * 16)


def test_the_work_of_the_convolutions_is_the_table_rows_read() -> None:
    first, second, last = work_of(conv_net())
    assert (first.peak, second.peak, last.peak) == (TABLE_LOADS, TABLE_LOADS, EVENT_ADDS)
    assert first.sums == 16 * 28 * 28  # 9 inputs: one row of 16 int16 per place and step
    assert second.sums == 16 * 14 * 14 * 36  # 16 x 9 inputs in groups of 4, 32 int16 = 64 bytes


def test_a_dense_layer_that_is_multiplied_does_all_products_in_every_step() -> None:
    first, second = work_of(mlp_net(), {"l1": PRODUCTS})
    assert (first.peak, second.peak) == (PRODUCTS, EVENT_ADDS)
    assert first.sums == 16 * 784 * 512


def test_the_profile_finds_every_layer_and_adds_up_to_what_the_engine_takes() -> None:
    pytest.importorskip("numba")
    net = conv_net()
    times = layer_times(net)
    assert list(times) == ["l1", "l2", "l3"]
    x, engine = net.draw(np.random.default_rng(0), 128), FastEngine(workers=1)
    took = []
    for _ in range(5):
        start = time.perf_counter()
        engine.run(net.network, x)
        took.append((time.perf_counter() - start) / len(x))
    parts = sum(found.seconds for found in times.values())
    assert 0.3 * min(took) < parts < 2 * min(took)  # a crowded machine scatters


def test_a_layer_that_sees_pixels_is_counted_once_per_sample() -> None:
    first = work_of(zoo_net("fmnist-lif-natural"))[0]
    assert first.peak == PRODUCTS
    assert first.sums == 14 * 14 * 24 * 9


def test_a_share_is_the_floor_over_the_time_and_unknown_without_a_peak() -> None:
    net = mlp_net()
    found = shares(
        net, 100.0, {"l1": Took(EVENT_ADDS, 0.01)}, PEAKS, {k: 2 * v for k, v in PEAKS.items()}
    )
    floor = net.spikes["input"] * 512 / 1e9 + 512 * 16 / 1e7
    assert found.layers[0].share == pytest.approx(floor / 0.01)
    assert found.layers[1].share is None
    whole = sum(row.floor_seconds for row in found.layers) / 2
    assert found.share == pytest.approx(whole * 100)
    assert shares(net, 100.0, {}, {}, {}).share is None


def test_the_peaks_are_those_of_a_vector_unit() -> None:
    pytest.importorskip("numba")
    peaks = measure_peaks(1, 0.004)
    # A scalar loop does less than 4e9 adds per second; vectors of 16 bytes several times that.
    assert peaks[EVENT_ADDS] > 5e9
    assert peaks[EVENT_ADDS] > 2 * peaks[NEURON_UPDATES]  # 16 bits, one operation each
    assert peaks[TABLE_LOADS] > 1e8


def test_slow_work_is_not_repeated_as_often_as_fast_work() -> None:
    """An int8 product on a processor without instructions for it once took eight minutes."""
    calls = 0

    def work(thread: int, times: int) -> None:
        nonlocal calls
        calls += 1
        time.sleep(0.2)

    assert 1 < repeats(work, threads=1, seconds=0.05) <= 5
    assert calls <= 4


def test_the_bare_loops_compute_what_they_claim() -> None:
    """A loop the optimiser removed would be the fastest of all."""
    pytest.importorskip("numba")
    from spikeproof.bench import kernels

    rng = np.random.default_rng(0)
    table = rng.integers(-100, 100, 4 * 50 * 128).astype(np.int8)
    rows, out = rng.integers(0, 50, 40), np.zeros(512, np.int16)
    kernels.add_rows(table, rows, 4, out, (0,) * 8, 2)
    np.testing.assert_array_equal(out, table.reshape(4, 50, 128)[:, rows].sum(1).ravel())

    rows16 = rng.integers(-100, 100, (4, 8, 16, 32)).astype(np.int16)
    words = rng.integers(0, 1 << 32, 12)
    found = np.zeros(32, np.int16)
    kernels.look_up(rows16.ravel(), words, found, (0, 0), 1)
    picked = [rows16[n % 4, k, words[n] >> (4 * k) & 15] for n in range(12) for k in range(8)]
    np.testing.assert_array_equal(found, np.sum(picked, axis=0))

    currents = rng.integers(-9000, 12000, (16, 64)).astype(np.int32)
    v, expected = np.zeros(64, np.int64), []
    for drive in currents:
        v = np.sign(v) * (abs(v) * 4055 >> 12) + drive
        expected.append(v > 30000)
        v[v > 30000] = 0
    for kernel, packed in ((kernels.update_rows, False), (kernels.update_lanes, True)):
        state, spikes = np.zeros(64, np.int32), np.zeros(16 * 64, np.uint8)
        more = ((0, 0),) if packed else ()
        kernel(currents.ravel(), state, spikes, 4055, 30000, *more, 1)
        bits = np.unpackbits(spikes, bitorder="little")[: 16 * 64] if packed else spikes
        np.testing.assert_array_equal(bits.reshape(16, 64).astype(bool), expected)
        np.testing.assert_array_equal(state, v)


def test_aligned_copies_lie_on_cache_lines() -> None:
    copy = aligned(np.arange(5, dtype=np.int16))
    assert copy.ctypes.data % 64 == 0
    np.testing.assert_array_equal(copy, np.arange(5))
