"""The fast engine runs graphs: equal to the reference in every u, v and s, traced or not."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any, Literal, get_args

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed: there is no compiled engine")

from spikeproof.engines import fast
from spikeproof.engines.compiled import batches, kernels, network, rooms, tiles
from spikeproof.engines.compiled.batches import Batches
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import LayerTrace, RunResult
from spikeproof.fuzz.draw.graphs import random_graph
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.ir import chip
from spikeproof.ir.chip import INPUT, ChipLayer, ChipNetwork, Connection
from spikeproof.ir.graph import groups, is_recurrent
from spikeproof.ir.readouts import ReadoutRule

GRAPHS, PARTS = 160, 8
Images = np.ndarray[Any, Any]


@pytest.fixture(params=["events", "tiles"])
def dense_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Sum dense layers as events or, where the processor has them, on tiles."""
    if request.param == "tiles" and not tiles.available():
        pytest.skip("this processor has no tile registers (AMX)")
    monkeypatch.setattr(tiles, "available", lambda: request.param == "tiles")
    yield request.param


def differences(expected: RunResult, found: RunResult) -> list[str]:
    """Name everything that is not equal."""
    assert expected.traces is not None and found.traces is not None
    assert list(expected.traces) == list(found.traces)
    wrong = [] if np.array_equal(expected.logits, found.logits) else ["logits"]
    for name, trace in expected.traces.items():
        for key in LayerTrace.__dataclass_fields__:
            left, right = getattr(trace, key), getattr(found.traces[name], key)
            assert (left is None) == (right is None)
            if left is not None and not np.array_equal(left, right):
                wrong.append(f"{name}/{key}")
    return wrong


def check(net: ChipNetwork, x: Images, workers: int = 1) -> RunResult:
    expected = ReferenceEngine().run(net, x, trace=True)
    assert differences(expected, FastEngine(workers).run(net, x, trace=True)) == []
    np.testing.assert_array_equal(FastEngine(workers).run(net, x).logits, expected.logits)
    assert fast._laid_out[net] is not None, "the kernels ran it, not NumPy"
    return expected


def drawn(seed: int) -> tuple[ChipNetwork, Images]:
    rng = np.random.default_rng([20261128, seed])
    net = random_graph(rng, random_network(rng, nasty=seed % 2 == 0))
    return net, random_input(rng, net, 3)


@pytest.mark.parametrize("part", range(PARTS))
def test_random_graphs(dense_way: str, part: int) -> None:
    for seed in range(part, GRAPHS, PARTS):
        net, x = drawn(seed)
        check(net, x, workers=1 + part % 2)


def test_the_graphs_that_are_drawn_hold_every_case(dense_way: str) -> None:
    seen: Counter[object] = Counter()
    for seed in range(GRAPHS):
        net, _ = drawn(seed)
        seen["cycle"] += is_recurrent(net)
        seen["long cycle"] += any(len(group) > 1 for group in groups(net))
        seen[net.readout] += 1
        for laid in Batches(net).layers:
            several = len(laid.feeds) > 1
            seen["host beside others"] += several and laid.host is not None
            seen["pixels beside spikes"] += len({feed.source is None for feed in laid.feeds}) > 1
            seen["late"] += any(feed.lag for feed in laid.feeds)
            seen["lag beyond the end"] += any(feed.lag >= net.timesteps for feed in laid.feeds)
            seen[type(laid.layer.neuron), several] += 1
            seen["soft reset", several] += laid.layer.neuron.reset is not None
            seen["filter", several] += laid.layer.neuron.filters
            seen["mode", laid.moves.mode, several] += 1
            for feed in laid.feeds:
                seen[type(feed.table).__name__, feed.within] += 1
    kinds = set(chip.Neuron.__subclasses__()) & {
        chip.LifNeuron,
        chip.TableLifNeuron,
        chip.GeneralLifNeuron,
        chip.ReadoutNeuron,
    }
    wanted: set[object] = {"cycle", "long cycle", "late", "lag beyond the end"}
    wanted |= {"host beside others", "pixels beside spikes"} | set(get_args(ReadoutRule))
    wanted |= {(key, True) for key in (*kinds, "soft reset", "filter")}
    wanted |= {("mode", mode, several) for mode, several in product(range(4), (True, False))}
    dense = "EventTable" if dense_way == "events" else "ProductTable"
    wanted |= {(dense, False), ("EventTable", True), ("LookupTable", False), ("LookupTable", True)}
    wanted |= {("GradedTable", False)}
    assert len(kinds) == 4 and {key for key in wanted if not seen[key]} == set()


def test_many_samples_in_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a few samples, the memory of one used again for the next."""
    monkeypatch.setattr(batches, "_MOST_SAMPLES", 7)
    for seed in (1, 2, 5, 8):
        net, _ = drawn(seed)
        x = random_input(np.random.default_rng(seed), net, 40)
        expected = NumpyEngine().run(net, x, trace=True)
        for workers in (1, 3):
            found = FastEngine(workers).run(net, x, trace=True)
            assert differences(expected, found) == []
            np.testing.assert_array_equal(FastEngine(workers).run(net, x).logits, found.logits)


@pytest.mark.parametrize("coding", ["spikes", "pixels"])
def test_one_source_read_with_several_borders(coding: Literal["spikes", "pixels"]) -> None:
    """Windows of three paddings and a dense layer find the same spikes in one map."""
    rng = np.random.default_rng(3)

    def weights(*shape: int) -> Any:
        return (2 * rng.integers(-30, 31, shape)).astype(np.int16)

    def window(source: str, channels: int, kernel: int, border: int) -> Connection:
        weight = weights(5, channels, kernel, kernel)
        synapse = chip.ConvSynapse(weight, (channels, 6, 7), (1, 1), (border, border))
        return Connection(synapse, source)

    def layer(name: str, shape: tuple[int, ...], *inputs: Connection) -> ChipLayer:
        return ChipLayer(name, inputs, chip.LifNeuron(90, 200, np.zeros(1, np.int32)), shape)

    first = layer("a", (5, 6, 7), window(INPUT, 3, 3, 1), window(INPUT, 3, 5, 2))
    second = layer("b", (5, 6, 7), window("a", 5, 3, 1), window("a", 5, 1, 0), window("a", 5, 5, 2))
    dense = chip.DenseSynapse(weights(4, 5 * 6 * 7))
    last = layer("c", (4,), Connection(dense, "a"), Connection(dense, "b"))
    net = ChipNetwork("n", (3, 6, 7), 6, (first, second, last), coding)
    x = random_input(rng, net, 4)
    traces = check(net, x).traces or {}
    assert all(0.05 < trace.s.mean() < 0.95 for trace in traces.values() if trace.s is not None)
    plain = replace(net, layers=(*net.layers[:2], layer("c", (4,), Connection(dense, "a"))))
    check(plain, x)  # what a kernel reads directly, past the layer before


Fault = Callable[[kernels.Frame], kernels.Frame]


def _late(frame: kernels.Frame) -> kernels.Frame:
    return frame._replace(lag=0)


def _unshifted(frame: kernels.Frame) -> kernels.Frame:
    return frame._replace(left=0, right=0) if frame.sums else frame


def _alone(frame: kernels.Frame) -> kernels.Frame:
    return frame._replace(first=1)


def _never_first(frame: kernels.Frame) -> kernels.Frame:
    return frame._replace(first=0)


@pytest.mark.parametrize("fault", [_late, _unshifted, _alone, _never_first])
def test_a_planted_fault_is_found(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lags, shifts or sums of before are forgotten, sums not cleared."""
    assert caught() == 0
    numbers = rooms._numbers
    monkeypatch.setattr(rooms, "_numbers", lambda frame, source: numbers(fault(frame), source))
    assert caught() >= 3


def test_a_forgotten_connection_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    added = network.LaidOutLayer.added.fget
    assert added is not None
    monkeypatch.setattr(network.LaidOutLayer, "added", property(lambda laid: added(laid)[:1]))
    assert caught() >= 3


@pytest.mark.parametrize("state", ["kept_u", "kept_v"])
def test_a_state_that_a_cycle_forgets_is_found(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_step = rooms.Call.run_step

    def forgetful(call: rooms.Call, samples: int, step: int) -> None:
        run_step(call, samples, step)
        frame = kernels.Frame(*map(int, call.frame[: kernels.FRAME]))
        if kept := getattr(frame, state):
            lanes = samples * frame.places * frame.blocks * 16 * len(call.constants[0])
            ctypes.memset(kept, 0, 4 * lanes)

    monkeypatch.setattr(rooms.Call, "run_step", forgetful)
    assert caught() >= 2


def caught() -> int:
    """Return how many of the first graphs come out wrong, laid out anew."""
    return sum(
        differences(expected, FastEngine(1).run(replace(net), x, trace=True)) != []
        for net, x, expected in known()
    )


@cache
def known() -> list[tuple[ChipNetwork, Images, RunResult]]:
    """Return graphs with what is right."""
    graphs = [drawn(seed) for seed in range(30)]
    return [(net, x, NumpyEngine().run(net, x, trace=True)) for net, x in graphs]
