"""Lava and the reference agree on graphs: random ones, and each way in which time can go wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import LayerTrace, RunResult
from spikeproof.fuzz.draw.graphs import random_graph
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.ir import chip
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.chip import INPUT, ChipLayer, ChipNetwork, Connection, DenseSynapse, HostCurrent
from spikeproof.ir.graph import chain_problems, delays, is_recurrent
from spikeproof.ir.readouts import FROM_SPIKES, ReadoutRule
from spikeproof_lava import compat, hardware
from spikeproof_lava.run import Task, run_many

pytestmark = [
    pytest.mark.lava,
    pytest.mark.skipif(compat.installed_version() is None, reason="needs lava-nc"),
]
WIDTH = 4


def differences(task: Task, found: RunResult) -> list[str]:
    """Return the fields in which Lava differs from the reference."""
    expected = ReferenceEngine().run(task.network, task.x, trace=True)
    wrong = [] if np.array_equal(expected.logits, found.logits) else ["logits"]
    assert expected.traces is not None and found.traces is not None
    assert list(expected.traces) == list(found.traces)
    for name, trace in expected.traces.items():
        for field in "uvs":
            a, b = getattr(trace, field), getattr(found.traces[name], field)
            if (a is None) != (b is None) or (a is not None and not np.array_equal(a, b)):
                wrong.append(f"{name}.{field}")
    return wrong


@pytest.mark.slow
def test_random_graphs() -> None:
    tasks = []
    for index in range(45):
        rng = np.random.default_rng([90, index])
        network = random_graph(rng, random_network(rng))
        tasks.append(Task(network, random_input(rng, network, 3), True))
    networks = [task.network for task in tasks]
    assert sum(bool(chain_problems(network)) for network in networks) >= 40
    assert sum(map(is_recurrent, networks)) >= 8
    assert sum(any(d > 0 for found in delays(n) for d in found) for n in networks) >= 15
    results = run_many(tasks)
    wrong = {i: differences(t, r) for i, (t, r) in enumerate(zip(tasks, results, strict=True))}
    assert {i: w for i, w in wrong.items() if w} == {}


RNG = np.random.default_rng(17)


def dense(inputs: int = WIDTH, outputs: int = WIDTH, exponent: int = 0) -> DenseSynapse:
    weight = 2 * RNG.integers(-40, 61, (outputs, inputs)).astype(np.int16)
    return DenseSynapse(weight, exponent=exponent)


def reads(source: str, lag: int = 0, exponent: int = 0, **more: Any) -> Connection:
    return Connection(dense(exponent=exponent), source, lag, **more)


def host(shift: int = 6) -> Connection:
    offset = RNG.integers(-400, 900, WIDTH)
    return Connection(dense(), INPUT, host=HostCurrent(offset, shift))


def layer(name: str, *inputs: Connection, bias: int = 0, **numbers: Any) -> ChipLayer:
    """Return neurons that remember; a bias makes them fire even before their clock starts."""
    known = {"threshold": 60, "dv": 300, "du": 1500, "bias_exponent": 3, **numbers}
    return ChipLayer(name, inputs, chip.LifNeuron(bias=np.full(1, bias, np.int32), **known), (4,))


def readout(*inputs: Connection) -> ChipLayer:
    return ChipLayer("out", inputs, chip.ReadoutNeuron(np.zeros(1, np.int32)), (WIDTH,))


def graph(*layers: ChipLayer, steps: int = 5, rule: ReadoutRule = "auto", **more: Any) -> Any:
    coding = more.get("coding", "spikes")
    return ChipNetwork("graph", (1, 1, WIDTH), steps, layers, coding, rule)


def chain(*names: str) -> list[ChipLayer]:
    """Return layers that each read the one before; the first reads the input."""
    befores = zip(names, [INPUT, *names], strict=False)
    return [layer(name, reads(before), bias=300) for name, before in befores]


SHARED = dense()
FULL = [
    DenseSynapse(np.array([[row] * 4 for row in rows], np.int16), exponent=6)
    for rows in ((252, -252, 252, 0), (252, -252, -252, 252))
]
"""Together they reach all but 0.4 % of what an accumulator holds."""
GRAPHS = {
    "skips over one hop, two and three": graph(
        *chain("a", "b", "c"),
        layer("d", reads("c"), reads("b"), reads("a"), reads(INPUT)),
        readout(reads("d"), reads("a"), reads(INPUT)),
    ),
    "exponents shift before sums are added": graph(
        layer("a", reads(INPUT, exponent=-3), reads(INPUT, exponent=2), reads(INPUT)),
        layer("b", reads("a", exponent=-5), reads(INPUT, exponent=-1), reads("a", exponent=1)),
    ),
    "self loops, lags up to and beyond the sample": graph(
        layer("a", reads(INPUT), reads("a", 1), reads("a", 2)),
        layer("b", reads("a"), reads("b", 4), reads("b", 5), reads("a", 9), bias=200),
        layer("c", reads("b"), reads("c", 1), bias=300),
    ),
    "cycles over several layers, each with its smallest lag": graph(
        layer("a", reads(INPUT), reads("c", 3), bias=200),
        layer("b", reads("a"), reads("c", 2), reads("d", 3)),
        layer("c", reads("b"), reads("a"), bias=-100),
        layer("d", reads("c"), reads("a", 1)),
        rule="first",
    ),
    "fed by later layers alone": graph(
        layer("a", reads("b", 2), bias=300), layer("b", reads("a"), reads(INPUT))
    ),
    "pixels held back": graph(
        layer("a", reads(INPUT, 2), reads(INPUT), threshold=9000),
        layer("b", reads("a"), reads(INPUT, exponent=-2), threshold=9000),
        layer("c", reads("b"), reads(INPUT, 1, -2), reads(INPUT, 7), threshold=9000),
        coding="pixels",
    ),
    "a host current beside spikes, first and in the middle": graph(
        layer("a", host()),
        layer("b", reads("a"), host(), reads("a", 1)),
        readout(host(), reads("b"), reads("a")),
        coding="pixels",
    ),
    "a host current beside pixels": graph(
        layer("a", host(), reads(INPUT, exponent=-2), threshold=9000),
        layer("b", host(), reads("a"), reads(INPUT, exponent=-3), threshold=9000),
        coding="pixels",
    ),
    "parts that nothing joins": graph(
        layer("alone", host()),
        layer("turning", reads("turning", 1), bias=400),
        layer("a", host()),
        layer("b", reads("a")),
        layer("pair", reads("twin", 2), bias=300),
        layer("twin", reads("pair")),
        readout(reads("a")),
        coding="pixels",
    ),
    "the last layer is not the deepest": graph(
        *chain("a", "b", "c"), layer("out", reads("a"), reads("c", 2))
    ),
    "one step a sample": graph(
        layer("a", reads(INPUT), reads("a", 1)), readout(reads("a"), reads(INPUT)), steps=1
    ),
    "the longest delay": graph(
        layer("a", reads(INPUT), reads("a", 63)), readout(reads("a"), reads("a", 62)), steps=65
    ),
    "one synapse, several connections": graph(
        layer("a", Connection(SHARED, INPUT)),
        layer("b", Connection(SHARED, "a"), Connection(SHARED, INPUT), Connection(SHARED, "b", 1)),
    ),
    "sums that fill the accumulator": graph(
        layer("a", *(Connection(one, INPUT) for one in FULL), du=4095, threshold=131071),
        coding="pixels",
    ),
}
_FULL = "sums that fill the accumulator"


def answered(rule: ReadoutRule) -> ChipNetwork:
    """Return a network of two connections whose last layer is read in this way."""
    last = layer("b", reads("a"), reads(INPUT), bias=-200)
    if rule not in FROM_SPIKES:
        last = replace(readout(reads("a"), reads(INPUT)), name="b")
    return graph(layer("a", reads(INPUT)), last, rule=rule)


def _busy(trace: LayerTrace) -> bool:
    """Tell whether a layer is neither always silent nor never."""
    return trace.s is None or 0 < np.count_nonzero(trace.s) < trace.s.size


def test_chosen_graphs() -> None:
    networks = GRAPHS | {f"readout {rule}": answered(rule) for rule in get_args(ReadoutRule)}
    rng, tasks = np.random.default_rng(8), []
    for network in networks.values():
        check_chip(network)
        x = rng.integers(0, 256, (3, *network.input_shape)).astype(np.uint8)
        if network.coding == "spikes":
            x = (rng.random((3, network.timesteps, *network.input_shape)) < 0.6).astype(np.uint8)
        tasks.append(Task(network, x, True))
    tasks[list(networks).index(_FULL)].x[0] = 255
    results = run_many(tasks)
    wrong = {
        name: differences(task, result)
        for name, task, result in zip(networks, tasks, results, strict=True)
    }
    assert {name: w for name, w in wrong.items() if w} == {}
    for name, result in zip(networks, results, strict=True):
        assert all(_busy(t) for t in (result.traces or {}).values()) or name == _FULL, name
    most = np.abs((results[list(networks).index(_FULL)].traces or {})["a"].u)
    assert most.max() > 1 << 30, "the sums are small"


def kernel(channels: int, exponent: int = 0) -> chip.ConvSynapse:
    weight = 2 * RNG.integers(-30, 41, (2, channels, 3, 3)).astype(np.int16)
    return chip.ConvSynapse(weight, (channels, 3, 3), padding=(1, 1), exponent=exponent)


def maps(name: str, *inputs: Connection) -> ChipLayer:
    neuron = chip.LifNeuron(threshold=90, dv=300, bias=np.full(1, 2, np.int32), bias_exponent=7)
    return ChipLayer(name, inputs, neuron, (2, 3, 3))


IMAGES = chip.ChipNetwork(
    "images",
    (1, 3, 3),
    5,
    (
        maps("a", Connection(kernel(1), INPUT)),
        maps("b", Connection(kernel(2), "a"), Connection(kernel(1, 1), INPUT)),
        maps("c", Connection(kernel(2), "b"), Connection(kernel(2, 1), "a")),
        maps("d", Connection(kernel(2), "c"), Connection(kernel(2, 2), "a")),
        ChipLayer(
            "out",
            (Connection(dense(18, 4), "d"), Connection(dense(18, 4, 1), "b")),
            chip.ReadoutNeuron(np.zeros(1, np.int32)),
            (4,),
        ),
    ),
    "spikes",
)
CHIPS = [
    IMAGES,
    graph(
        *chain("a", "b", "c", "d"),
        layer(
            "e",
            *(reads("d"), reads("a", exponent=1), reads("a"), reads("c", exponent=2)),
            threshold=1000,
        ),
        rule="first",
    ),
    graph(
        layer("a", host(), bias_exponent=6, du=4095),
        layer("b", reads("a"), host(), bias_exponent=7, du=4095),
        layer("c", reads("b"), host(), reads("a", exponent=1), bias_exponent=6, du=4095),
        readout(reads("c"), reads("b"), reads("a")),
        coding="pixels",
    ),
    graph(
        layer("a", reads(INPUT), threshold=9000),
        layer("b", reads("a"), reads(INPUT), threshold=9000),
        readout(reads("b"), reads("a"), reads(INPUT)),
        coding="pixels",
    ),
]


def test_the_chips_process_graph_holds_spikes_back_with_lavas_own_processes() -> None:
    rng, tasks = np.random.default_rng(1), []
    for network in CHIPS:
        check_chip(network)
        assert hardware.problems(network) == []
        assert any(delay > 0 for found in delays(network) for delay in found)
        x = rng.integers(0, 256, (4, *network.sample_shape)).astype(np.uint8)
        x = x if network.coding == "pixels" else (x < 150).astype(np.uint8)
        tasks.append(Task(network, x, backend="portable"))
    for task, result in zip(tasks, run_many(tasks), strict=True):
        expected = ReferenceEngine().run(task.network, task.x, trace=True)
        assert all(map(_busy, (expected.traces or {}).values()))
        assert np.array_equal(result.logits, expected.logits), task.network.name
        assert len(np.unique(expected.logits)) > 3, "nothing was compared"
