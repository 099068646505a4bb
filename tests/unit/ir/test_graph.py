"""How layers hang together: what runs together, which delays make up for hops, what is refused."""

from __future__ import annotations

import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.errors import GraphError
from spikeproof.fuzz.draw.graphs import random_graph
from spikeproof.fuzz.draw.networks import random_network
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.chip import (
    INPUT,
    ChipLayer,
    ChipNetwork,
    Connection,
    DenseSynapse,
    HostCurrent,
    LifNeuron,
    ReadoutNeuron,
)
from spikeproof.ir.graph import chain_problems, delays, depths, groups, is_recurrent
from spikeproof.ir.order import components, run_order
from spikeproof.ir.readouts import answers
from spikeproof.ir.serial import network_from_parts, network_to_parts

LIF = LifNeuron(9, 41, np.zeros(1, np.int32))
READOUT = ReadoutNeuron(np.zeros(1, np.int32))
WEIGHT = DenseSynapse(np.full((2, 2), 2, np.int16))


def reads(*inputs: str | tuple[str, int], name: str = "a", neuron: object = LIF) -> ChipLayer:
    """Make a layer of two neurons that reads layers by name, or by name and lag."""
    pairs = [one if isinstance(one, tuple) else (one, 0) for one in inputs]
    made = tuple(Connection(WEIGHT, source, lag) for source, lag in pairs)
    return ChipLayer(name, made, neuron, (2,))  # type: ignore[arg-type]


def network(*layers: ChipLayer) -> ChipNetwork:
    return ChipNetwork("net", (1, 1, 2), 5, layers, "spikes")


def skip() -> ChipNetwork:
    """a -> b -> c, and a -> c."""
    return network(
        reads(INPUT, name="a"), reads("a", name="b"), reads("b", "a", name="c", neuron=READOUT)
    )


def test_a_skip_needs_the_delay_of_the_hops_it_leaves_out() -> None:
    check_chip(skip())
    assert depths(skip()) == [1, 2, 3]
    assert delays(skip()) == [(0,), (0,), (0, 1)]
    late = network(reads(INPUT, name="a"), reads("a", (INPUT, 3), name="b"))
    assert delays(late) == [(0,), (0, 4)]


def test_layers_on_a_cycle_run_together_and_after_what_feeds_them() -> None:
    cycle = network(
        reads(INPUT, name="a"),
        reads("a", ("c", 2), name="b"),
        reads("b", ("c", 1), name="c"),
        reads("c", name="d"),
    )
    check_chip(cycle)
    assert groups(cycle) == [(0,), (1, 2), (3,)]
    assert is_recurrent(cycle)
    assert delays(cycle)[1] == (0, 0)
    assert not is_recurrent(skip())
    assert groups(skip()) == [(0,), (1,), (2,)]


def test_a_group_waits_for_what_reaches_it_late() -> None:
    """A lag alone is no cycle: the layer listed last feeds the first, and nothing comes back."""
    late = network(reads(INPUT, ("b", 1), name="a"), reads(INPUT, name="b"))
    check_chip(late)
    assert groups(late) == [(1,), (0,)]
    assert not is_recurrent(late)


def test_large_graphs_are_ordered_in_time_proportional_to_their_edges() -> None:
    """Who asks each node for all that reach it needs minutes for this, and for the deep recursion
    of a textbook's search there is no stack.
    """
    count = 20_000
    ring = [[i - 1] for i in range(count)]
    ring[5] = [4, count - 1]
    assert components(ring) == [(0,), (1,), (2,), (3,), (4,), tuple(range(5, count))]
    turned = [[i + 1] for i in range(count - 1)] + [[-1]]
    assert components(turned) == [(i,) for i in reversed(range(count))]
    pairs = [[i + 1 if i % 2 == 0 else i - 1, i - 2] for i in range(count)]
    pairs[0], pairs[1] = [1, -1], [0]
    assert components(pairs) == [(i, i + 1) for i in range(0, count, 2)]


@pytest.mark.parametrize("seed", range(200))
def test_what_runs_has_all_it_reads_and_nothing_is_kept_for_nobody(seed: int) -> None:
    rng = np.random.default_rng([11, seed])
    count = int(rng.integers(1, 10))
    sources = [rng.integers(-1, count, rng.integers(1, 4)).tolist() for _ in range(count)]
    reach = np.zeros((count, count), bool)
    for i, feeding in enumerate(sources):
        reach[[s for s in feeding if s >= 0], i] = True
    for _ in range(count):
        reach |= reach @ reach
    found, held = run_order(sources), {-1}
    for place, (part, spent) in enumerate(zip(*found, strict=True)):
        assert set(part) == {part[0]} | set(np.flatnonzero(reach[part[0]] & reach[:, part[0]]))
        assert list(part) == sorted(part)
        held |= set(part)
        assert all(s in held for i in part for s in sources[i])
        held -= set(spent)
        assert held <= {s for later in found.parts[place + 1 :] for i in later for s in sources[i]}
    assert not held
    assert sorted(i for part in found.parts for i in part) == list(range(count))


def test_the_order_of_a_network_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(
        "spikeproof.ir.chip.run_order", lambda sources: calls.append(0) or run_order(sources)
    )
    late = network(reads(INPUT, ("b", 1), name="a"), reads(INPUT, name="b", neuron=LIF))
    x = np.ones((600, 5, 1, 1, 2), np.uint8)  # three batches
    NumpyEngine().run(late, x)
    assert is_recurrent(late) is False
    assert len(calls) == 1


def test_a_lag_costs_no_copy_of_what_was_sent() -> None:
    wide, steps, samples = 4096, 16, 32
    one = DenseSynapse(np.full((1, wide), 2, np.int16))
    made = tuple(Connection(one, INPUT, lag) for lag in range(12))
    layer = ChipLayer("a", made, LIF, (1,))
    late = ChipNetwork("net", (1, 1, wide), steps, (layer,), "spikes")
    x = np.random.default_rng(2).integers(0, 2, (samples, steps, 1, 1, wide)).astype(np.uint8)
    tracemalloc.start()
    found = NumpyEngine().run_batch(late, x, trace=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * x.nbytes  # one connection's spikes as float32, and what is small
    expected = ReferenceEngine().run(late, x[:2], trace=True)
    np.testing.assert_array_equal((found.traces or {})["a"].v[:2], (expected.traces or {})["a"].v)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ((reads(INPUT, "b"), reads("a", name="b")), "a: the connection from b closes a cycle"),
        ((reads(INPUT, "a"),), "a: the connection from a closes a cycle without a lag"),
        ((reads(INPUT, "b"), reads(INPUT, name="b")), "so b must be listed before a"),
        ((reads("x"),), "a: the connection from x has no such source; there are @input, a"),
        ((reads(),), "a: nothing feeds it"),
        ((reads((INPUT, -1)),), "the connection from the input has lag -1"),
        (
            (reads(INPUT, name="a", neuron=READOUT), reads("a", name="b")),
            "b: the connection from a comes from a readout",
        ),
        (
            (reads(INPUT, ("c", 1)), reads("a", name="b"), reads("b", name="c")),
            "the connection from c lags 1 step, but its spikes need 3 to get there: 3 is the "
            "smallest lag that works",
        ),
        ((reads((INPUT, 63)),), "needs a delay of 63 steps, a synapse holds at most 62"),
    ],
)
def test_wiring_that_cannot_be_is_refused_in_words(
    layers: tuple[ChipLayer, ...], words: str
) -> None:
    with pytest.raises(GraphError, match=re.escape(words)):
        check_chip(network(*layers))


def test_all_faults_of_the_wiring_are_told_at_once() -> None:
    with pytest.raises(GraphError) as error:
        check_chip(network(reads("x"), reads("y", "b", name="b")))
    assert all(words in str(error.value) for words in ("from x", "from y", "from b closes"))


def test_the_smallest_lag_that_is_named_works() -> None:
    check_chip(network(reads(INPUT, ("c", 3)), reads("a", name="b"), reads("b", name="c")))


def test_sums_of_all_connections_share_one_accumulator() -> None:
    wide = DenseSynapse(np.full((2, 2), 254, np.int16), exponent=7)
    check_chip(network(ChipLayer("a", (Connection(wide, INPUT),) * 500, LIF, (2,))))
    with pytest.raises(GraphError, match="a sum can reach 39014400; the accumulator"):
        check_chip(network(ChipLayer("a", (Connection(wide, INPUT),) * 600, LIF, (2,))))


def test_one_host_current_and_other_connections_feed_one_layer() -> None:
    host = Connection(WEIGHT, INPUT, host=HostCurrent(np.zeros(2, np.int64), 0))
    both = ChipLayer("b", (Connection(WEIGHT, "a"), host), LIF, (2,))
    pixels = replace(network(reads(INPUT), both), coding="pixels")
    check_chip(pixels)
    twice = replace(both, inputs=(host, host))
    with pytest.raises(GraphError, match="one host current at most"):
        check_chip(replace(pixels, layers=(pixels.layers[0], twice)))


def test_a_readout_of_spikes_needs_a_layer_that_spikes() -> None:
    with pytest.raises(GraphError, match="readout 'first' reads spikes, and it sends none"):
        check_chip(replace(skip(), readout="first"))


def test_where_a_network_is_no_chain_is_said() -> None:
    assert chain_problems(network(reads(INPUT), reads("a", name="b"))) == []
    assert chain_problems(skip()) == ["c: it reads b, a; in a chain, the layer before alone"]
    mean = replace(network(reads(INPUT)), readout="mean")
    assert chain_problems(mean) == ["a: its answer is the readout 'mean'"]
    assert chain_problems(replace(mean, readout="count")) == []


@pytest.mark.parametrize("index", range(40))
def test_a_graph_comes_back_from_its_parts(index: int) -> None:
    rng = np.random.default_rng([3, index])
    graph = random_graph(rng, random_network(rng))
    document, tensors = network_to_parts(graph)
    back = network_from_parts(document, tensors, ChipNetwork)
    again, same = network_to_parts(back)
    assert again == document
    assert list(same) == list(tensors)
    assert all(np.array_equal(same[key], tensors[key]) for key in tensors)
    assert back.sources == graph.sources
    assert back.readout == graph.readout


def test_layers_that_share_a_synapse_share_it_again() -> None:
    """Also where each has one connection; one that only begins alike is another."""
    numbers = np.arange(0, 200, 2, dtype=np.int16).reshape(1, 100)
    shared = DenseSynapse(numbers)
    other = DenseSynapse(np.where(np.arange(100) < 99, numbers, 0).astype(np.int16))
    layers = [
        ChipLayer(name, (Connection(synapse, INPUT),), LIF, (1,))
        for name, synapse in (("a", shared), ("b", shared), ("c", other))
    ]
    net = ChipNetwork("net", (1, 1, 100), 5, tuple(layers), "spikes")
    document, tensors = network_to_parts(net)
    tensors = {key: value.copy() for key, value in tensors.items()}
    back = network_from_parts(document, tensors, ChipNetwork)
    first, second, third = (layer.synapse for layer in back.layers)
    assert first is second
    assert third is not first
    assert np.array_equal(third.weight, other.weight)


def test_a_chain_is_written_as_the_first_release_wrote_it() -> None:
    document, _ = network_to_parts(
        ChipNetwork("net", (1, 1, 2), 5, (ChipLayer("a", (Connection(WEIGHT),), LIF, (2,)),))
    )
    assert set(document) == {"type", "name", "input_shape", "timesteps", "layers", "coding"}
    assert set(document["layers"][0]) == {"type", "name", "synapse", "neuron", "shape"}


V = np.array([[[3, -9], [7, 2], [5, -4]]], np.int32)
S = np.array([[[0, 0], [1, 0], [1, 0]]], np.uint8)


@pytest.mark.parametrize(
    ("rule", "spikes", "expected"),
    [
        ("auto", None, [5, -4]),
        ("auto", S, [2, 0]),
        ("last", S, [5, -4]),
        ("mean", None, [15, -11]),
        ("max", None, [7, 2]),
        ("max-abs", None, [7, 9]),
        ("count", S, [2, 0]),
        ("first", S, [2, 0]),
    ],
)
def test_what_each_readout_answers(
    rule: object, spikes: NDArray[np.uint8] | None, expected: list[int]
) -> None:
    assert answers(rule, V, spikes).tolist() == [expected]  # type: ignore[arg-type]


def test_who_fires_first_wins_and_ties_go_to_the_first_neuron() -> None:
    s = np.array([[[0, 1, 1], [1, 1, 1], [1, 0, 1]]], np.uint8)
    assert answers("first", V, s).argmax() == 1
