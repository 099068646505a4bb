"""Every way the compiled engine can take equals the reference in every u, v and s."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed: there is no compiled engine")

from spikeproof.engines import fast
from spikeproof.engines.compiled import tiles
from spikeproof.engines.compiled.batches import Batches
from spikeproof.engines.compiled.layout import EventTable, GradedTable, LookupTable, ProductTable
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import RunResult
from spikeproof.errors import InputError
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.ir import chip

HAVE_TILES = tiles.available()


@pytest.fixture(params=["events", "tiles"])
def dense_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Sum dense layers as events or, where the processor has them, on tiles."""
    if request.param == "tiles" and not HAVE_TILES:
        pytest.skip("this processor has no tile registers (AMX)")
    monkeypatch.setattr(tiles, "available", lambda: request.param == "tiles")
    yield request.param


def assert_same(expected: RunResult, found: RunResult) -> int:
    np.testing.assert_array_equal(found.logits, expected.logits)
    compared = 0
    assert expected.traces is not None and found.traces is not None
    for name, layer in expected.traces.items():
        for key in ("u", "v", "s"):
            left, right = getattr(layer, key), getattr(found.traces[name], key)
            assert (left is None) == (right is None)
            if left is not None:
                np.testing.assert_array_equal(right, left, err_msg=f"{name}/{key}")
                compared += left.size
    return compared


def check(network: chip.ChipNetwork, x: np.ndarray, workers: int = 1) -> int:
    compared = assert_same(
        ReferenceEngine().run(network, x, trace=True),
        FastEngine(workers).run(network, x, trace=True),
    )
    plain = FastEngine(workers).run(network, x)  # another chunk size, no traces
    np.testing.assert_array_equal(plain.logits, NumpyEngine().run(network, x).logits)
    return compared


def tables(network: chip.ChipNetwork) -> list[type]:
    return [type(feed.table) for laid in Batches(network).layers for feed in laid.feeds]


def lif(threshold: int = 60, **more: int) -> chip.LifNeuron:
    return chip.LifNeuron(threshold, 300, np.zeros(1, np.int32), **more)


def dense(rng: np.random.Generator, inputs: int, outputs: int, limit: int = 60) -> chip.ChipLayer:
    weight = (2 * rng.integers(-limit // 2, limit // 2, (outputs, inputs))).astype(np.int16)
    return chip.ChipLayer("l1", (chip.Connection(chip.DenseSynapse(weight)),), lif(), (outputs,))


def spikes(rng: np.random.Generator, network: chip.ChipNetwork, n: int, rate: float) -> np.ndarray:
    shape = (n, network.timesteps, *network.input_shape)
    return (rng.random(shape) < rate).astype(np.uint8)


def test_random_networks(dense_way: str) -> None:
    seen, compared = set(), 0
    for seed in range(150):
        rng = np.random.default_rng([20261122, seed])
        network = random_network(rng, nasty=seed % 2 == 0)
        compared += check(network, random_input(rng, network, 3), workers=1 + seed % 3)
        seen |= set(tables(network))
    dense_table = EventTable if dense_way == "events" else ProductTable
    assert {dense_table, LookupTable, GradedTable} <= seen and compared > 100_000


@pytest.mark.parametrize("steps", [1, 7, 16, 17, 33, 70])
@pytest.mark.parametrize("samples", [1, 3, 34])
def test_any_number_of_steps_and_samples(dense_way: str, steps: int, samples: int) -> None:
    rng = np.random.default_rng(steps * 100 + samples)
    network = chip.ChipNetwork("n", (1, 7, 11), steps, (dense(rng, 77, 70),), "spikes")
    check(network, spikes(rng, network, samples, 0.3), workers=2)


@pytest.mark.parametrize("width", [1, 15, 16, 17, 31, 33, 64, 65, 128, 257, 700])
def test_any_width(dense_way: str, width: int) -> None:
    rng = np.random.default_rng(width)
    first = dense(rng, 50, width)
    last = replace(dense(rng, width, 3), name="l2")
    network = chip.ChipNetwork("n", (2, 5, 5), 5, (first, last), "spikes")
    check(network, spikes(rng, network, 4, 0.4))


def test_sums_that_leave_16_bits(dense_way: str) -> None:
    """300 inputs of 254 give 76,200: some steps have few events, some more than 16 bits hold."""
    rng = np.random.default_rng(5)
    weight = np.full((20, 300), 254, np.int16)
    weight[::2] = -256
    layer = chip.ChipLayer("l1", (chip.Connection(chip.DenseSynapse(weight)),), lif(60_000), (20,))
    network = chip.ChipNetwork("n", (1, 10, 30), 12, (layer,), "spikes")
    x = np.stack([spikes(rng, network, 1, rate)[0] for rate in (0, 0.1, 0.5, 0.9, 1)])
    check(network, x)


@pytest.mark.parametrize("sign", ["excitatory", "inhibitory"])
def test_weights_beyond_8_signed_bits(dense_way: str, sign: chip.Sign) -> None:
    rng = np.random.default_rng(6)
    weight = rng.integers(0, 256, (40, 90)).astype(np.int16) * (1 if sign == "excitatory" else -1)
    layer = chip.ChipLayer(
        "l1", (chip.Connection(chip.DenseSynapse(weight, sign)),), lif(700), (40,)
    )
    network = chip.ChipNetwork("n", (1, 9, 10), 6, (layer,), "spikes")
    assert tables(network) == [EventTable]  # tiles hold 8 bits
    check(network, spikes(rng, network, 5, 0.3))


def test_a_convolution_whose_sums_leave_16_bits() -> None:
    weight = np.full((3, 64, 3, 3), 254, np.int16)
    synapse = chip.ConvSynapse(weight, (64, 5, 5), padding=(1, 1))
    network = chip.ChipNetwork(
        "n",
        (64, 5, 5),
        4,
        (chip.ChipLayer("l1", (chip.Connection(synapse),), lif(50_000), (3, 5, 5)),),
        "spikes",
    )
    rng = np.random.default_rng(7)
    check(network, spikes(rng, network, 3, 0.7))


@pytest.mark.parametrize("out", [16, 32, 48, 64, 65, 128, 200, 256, 512])
def test_wide_convolutions_of_several_blocks(out: int) -> None:
    """Every block visits all places; the second layer reads what the blocks wrote side by side."""
    rng = np.random.default_rng(out)
    first = (2 * rng.integers(-40, 41, (out, 8, 3, 3))).astype(np.int16)
    second = (2 * rng.integers(-40, 41, (out, out, 1, 1))).astype(np.int16)
    synapses = (
        chip.ConvSynapse(first, (8, 5, 3), padding=(1, 1)),
        chip.ConvSynapse(second, (out, 5, 3)),
    )
    layers = tuple(
        chip.ChipLayer(name, (chip.Connection(synapse),), lif(threshold), (out, 5, 3))
        for name, synapse, threshold in zip(("l1", "l2"), synapses, (90, 150), strict=True)
    )
    network = chip.ChipNetwork("n", (8, 5, 3), 4, layers, "spikes")
    found = ReferenceEngine().run(network, x := spikes(rng, network, 2, 0.2), trace=True)
    assert all(0.02 < (found.traces or {})[name].s.mean() < 0.9 for name in ("l1", "l2"))
    check(network, x)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 8, 12, 16, 20])
@pytest.mark.parametrize("groups", [1, 0])
def test_any_number_of_channels_and_groups(channels: int, groups: int) -> None:
    """Groups 0: one per channel. Two convolutions, so that maps written by a layer are read."""
    rng = np.random.default_rng(channels)
    groups = groups or channels
    layers, shape = [], (channels, 6, 9)
    for name, out in (("l1", 2 * channels), ("l2", 18 * channels)):
        split = groups if out % groups == 0 and shape[0] % groups == 0 else 1
        weight = 2 * rng.integers(-20, 20, (out, shape[0] // split, 3, 2))
        synapse = chip.ConvSynapse(
            weight.astype(np.int16), shape, (2, 1), (1, 2), (1, 2 if name == "l1" else 1), split
        )
        height, width = (shape[1] + 2 - 3) // 2 + 1, shape[2] + 4 - (2 if name == "l1" else 1)
        shape = (out, height, width)
        layers.append(chip.ChipLayer(name, (chip.Connection(synapse),), lif(30), shape))
    network = chip.ChipNetwork("n", (channels, 6, 9), 5, tuple(layers), "spikes")
    assert tables(network) == [LookupTable, LookupTable]
    check(network, spikes(rng, network, 3, 0.3), workers=3)


def test_threads_and_chunks_change_nothing() -> None:
    rng = np.random.default_rng(8)
    network = chip.ChipNetwork("n", (1, 7, 11), 9, (dense(rng, 77, 30),), "spikes")
    x = spikes(rng, network, 301, 0.2)
    expected = NumpyEngine().run(network, x).logits
    for workers in (1, 2, 5):
        seen: list[tuple[int, int]] = []

        def note(done: int, total: int, seen: list[tuple[int, int]] = seen) -> None:
            seen.append((done, total))

        found = FastEngine(workers).run(network, x, progress=note)
        np.testing.assert_array_equal(found.logits, expected)
        assert seen[-1] == (301, 301) and seen == sorted(seen)


def test_one_network_in_many_threads_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    rng = np.random.default_rng(9)
    network = chip.ChipNetwork("n", (1, 7, 11), 9, (dense(rng, 77, 30),), "spikes")
    inputs = [spikes(rng, network, n, 0.2) for n in range(1, 30)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: FastEngine(2).run(network, x, trace=True), inputs))
    for x, result in zip(inputs, found, strict=True):
        assert_same(NumpyEngine().run(network, x, trace=True), result)


def test_results_do_not_change_when_the_engine_runs_again() -> None:
    rng = np.random.default_rng(10)
    network = chip.ChipNetwork("n", (1, 4, 4), 5, (dense(rng, 16, 16),), "spikes")
    first = FastEngine(1).run(network, spikes(rng, network, 3, 0.5), trace=True)
    assert first.traces is not None
    before = first.traces["l1"].u.copy()
    FastEngine(1).run(network, spikes(rng, network, 3, 0.5), trace=True)
    np.testing.assert_array_equal(first.traces["l1"].u, before)


@pytest.mark.parametrize("position", [0, 63, 64, 76, -1])
def test_a_spike_that_is_no_spike_is_found_wherever_it_is(position: int) -> None:
    rng = np.random.default_rng(11)
    network = chip.ChipNetwork("n", (1, 7, 11), 3, (dense(rng, 77, 5),), "spikes")
    x = spikes(rng, network, 2, 0.5)
    x.reshape(2, 3, -1)[-1, -1, position] = 2
    with pytest.raises(InputError, match="holds 2, expected 0 or 1"):
        FastEngine(1).run(network, x)
    x.reshape(2, 3, -1)[-1, -1, position] = 1
    check(network, x)  # and the engine goes on


def test_host_sums_beyond_32_bits_take_the_plain_engine() -> None:
    weight = np.full((2, 400), 32767, np.int16)
    host = chip.HostCurrent(np.zeros(2, np.int64), 24)
    layer = chip.ChipLayer(
        "l1", (chip.Connection(chip.DenseSynapse(weight), host=host),), lif(100), (2,)
    )
    network = chip.ChipNetwork("n", (1, 20, 20), 4, (layer,))
    check(network, np.full((2, 1, 20, 20), 255, np.uint8))
    assert fast._laid_out[network] is None


def test_without_numba_the_plain_engine_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "compiled", lambda: False)
    rng = np.random.default_rng(12)
    network = chip.ChipNetwork("n", (1, 4, 4), 5, (dense(rng, 16, 16),), "spikes")
    check(network, spikes(rng, network, 3, 0.5))
    assert fast._laid_out[network] is None


def test_a_network_that_is_gone_leaves_nothing_behind() -> None:
    rng = np.random.default_rng(13)
    network = chip.ChipNetwork("n", (1, 4, 4), 5, (dense(rng, 16, 16),), "spikes")
    FastEngine(2).run(network, spikes(rng, network, 300, 0.5))
    before, plan = threading.active_count(), weakref.ref(fast._laid_out[network])
    for _ in range(5):
        FastEngine(2).run(replace(network, name="m"), spikes(rng, network, 300, 0.5))
    assert threading.active_count() <= before  # all networks share their threads
    del network
    gc.collect()
    assert plan() is None


def test_no_workers_are_refused() -> None:
    with pytest.raises(InputError, match="0 workers, expected 1 or more"):
        FastEngine(0)
