"""Lava and the reference agree on every u, v and s, on random networks and on chosen corners."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import RunResult
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.ir import chip
from spikeproof_lava import compat
from spikeproof_lava.run import Task, run_many

pytestmark = [
    pytest.mark.lava,
    pytest.mark.skipif(compat.installed_version() is None, reason="needs lava-nc"),
]


def _differences(task: Task, found: RunResult) -> list[str]:
    """Return the fields in which Lava differs from the reference."""
    expected = ReferenceEngine().run(task.network, task.x, trace=True)
    wrong = [] if np.array_equal(expected.logits, found.logits) else ["logits"]
    assert expected.traces is not None
    assert found.traces is not None
    assert list(expected.traces) == list(found.traces)
    for name, trace in expected.traces.items():
        for field in "uvs":
            a, b = getattr(trace, field), getattr(found.traces[name], field)
            same = a is b if a is None or b is None else a.dtype == b.dtype
            if not same or (a is not None and not np.array_equal(a, b)):
                wrong.append(f"{name}.{field}")
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_random_networks(seed: int) -> None:
    rng = np.random.default_rng([2026, seed])
    networks = [random_network(rng) for _ in range(30)]
    tasks = [Task(n, random_input(rng, n, int(rng.integers(1, 4))), True) for n in networks]
    results = run_many(tasks)
    wrong = {i: _differences(t, r) for i, (t, r) in enumerate(zip(tasks, results, strict=True))}
    assert {i: w for i, w in wrong.items() if w} == {}


def _lif(**options: Any) -> chip.LifNeuron:
    return chip.LifNeuron(**{"bias": np.zeros(1, np.int32), **options})


def _dense(neuron: chip.Neuron, weight: Any, steps: int, **options: Any) -> chip.ChipNetwork:
    weights = np.asarray(weight, np.int16)
    synapse = chip.DenseSynapse(weights, **options)
    layer = chip.ChipLayer("l", (chip.Connection(synapse),), neuron, (len(weights),))
    return chip.ChipNetwork("corner", (1, 1, weights.shape[1]), steps, (layer,), "spikes")


def _table(steps: int) -> chip.TableLifNeuron:
    leak = np.linspace(0, 16383, steps).astype(np.int32)
    threshold = np.linspace(64, 6400, steps).astype(np.int32)
    return chip.TableLifNeuron(leak, threshold, np.array([-3], np.int32), 2, du=100)


_CORNERS = {
    "v exactly on the threshold": _dense(_lif(threshold=4, dv=0), [[2, 2], [4, 4], [2, 0]], 6),
    "one unit above": _dense(_lif(threshold=4, dv=0, bias=np.ones(1, np.int32)), [[4, 0]], 4),
    "threshold zero": _dense(_lif(threshold=0, dv=4096), [[2], [-2], [0]], 3),
    "du 0 still decays": _dense(_lif(threshold=9000, dv=0, du=0), [[254], [-256]], 12),
    "slow synapse, odd rounding": _dense(_lif(threshold=300, dv=41, du=1023), [[-6], [14]], 12),
    "negative sums are floored": _dense(
        _lif(threshold=1, dv=41), [[-2, -10], [6, -4]], 5, exponent=-3
    ),
    "positive exponent": _dense(_lif(threshold=500, dv=41), [[100, -6]], 5, exponent=3),
    "odd excitatory weights": _dense(
        _lif(threshold=300, dv=1), [[255, 1, 77]], 5, sign="excitatory"
    ),
    "odd inhibitory weights": _dense(
        _lif(threshold=1, dv=1), [[-255, -1, -77]], 5, sign="inhibitory"
    ),
    "tables": _dense(_table(5), [[40, -2], [-80, 12]], 5),
    "tables, one step": _dense(_table(1), [[40, -2], [-80, 12]], 1),
    "tables, v exactly on the threshold": _dense(
        chip.TableLifNeuron(
            np.full(6, 4096, np.int32), np.full(6, 256, np.int32), np.zeros(1, np.int32)
        ),
        [[2, 2], [4, 4], [2, 0]],
        6,
    ),
    "one step": _dense(_lif(threshold=1, dv=41), [[2, 4]], 1),
    "v saturates low": _dense(_lif(threshold=1, dv=0), [[-256] * 60], 40, exponent=3),
}


def _tables(leak: Any, threshold: Any, bias: int = 0, **options: Any) -> chip.TableLifNeuron:
    first, second = np.array(leak, np.int32), np.array(threshold, np.int32)
    return chip.TableLifNeuron(first, second, np.array([bias], np.int32), **options)


_HIGH = 2**23 - 1


def _general(**numbers: Any) -> chip.GeneralLifNeuron:
    plain: dict[str, Any] = {
        "leak": [4055],
        "threshold": [640],
        "bias": [0],
        "du": [4095],
        "initial": [0],
        **numbers,
    }
    exponent = plain.pop("bias_exponent", 0)
    return chip.GeneralLifNeuron(
        **{key: np.array(values, np.int32) for key, values in plain.items()},
        bias_exponent=exponent,
    )


_CORNERS |= {
    "soft reset, v exactly on the threshold": _dense(
        _general(leak=[4096], threshold=[256], reset=[256]), [[2, 2], [4, 4], [2, 0]], 6
    ),
    "soft reset below zero": _dense(_general(reset=[_HIGH]), [[254, 2], [14, 14]], 6),
    "no reset": _dense(_general(reset=[0]), [[254, 2], [14, 14]], 6),
    "first states at both ends": _dense(
        _general(initial=[_HIGH, -_HIGH], leak=[[4096], [16383]], reset=[3, 5]),
        [[254, 2], [-256, 14]],
        2,
    ),
    "own numbers of each neuron, step and filter": _dense(
        _general(
            leak=[[0, 4096], [4095, 1], [9000, 16383]],
            threshold=[[0, _HIGH], [63, 64], [1, 65]],
            du=[0, 4094],
            bias=[-4095, 4095],
            bias_exponent=3,
            initial=[700, -700],
            reset=[64, 0],
        ),
        [[40, -2], [-80, 12]],
        3,
    ),
    "general neurons, a different clock per layer": chip.ChipNetwork(
        "chain",
        (1, 1, 2),
        3,
        tuple(
            chip.ChipLayer(
                f"l{i}",
                (chip.Connection(chip.DenseSynapse(np.array([[40, -2], [12, 80]], np.int16))),),
                _general(initial=[300 * i, -40], leak=[[4096], [0], [9000]], reset=[640, 100 * i]),
                (2,),
            )
            for i in range(3)
        ),
        "spikes",
    ),
}
_CORNERS |= {
    "tables, growth into saturation on both sides": _dense(
        _tables([16383] * 9, [_HIGH] * 9, 4095, bias_exponent=7),
        [[254, 254], [-256, -256]],
        9,
        exponent=7,
    ),
    "tables, growth and slow synapse": _dense(
        _tables([4097, 16383, 8191, 4095], [_HIGH, 1, _HIGH, 63], -7, bias_exponent=2, du=7),
        [[254, 2], [-256, 14]],
        4,
        exponent=3,
    ),
    "tables, all and nothing": _dense(
        _tables([0, 4096, 1, 0, 4095], [0, 0, 1, _HIGH, 65], 1), [[40, -2], [-80, 12]], 5
    ),
    "tables, a different clock per layer": chip.ChipNetwork(
        "chain",
        (1, 1, 2),
        3,
        tuple(
            chip.ChipLayer(
                f"l{i}",
                (chip.Connection(chip.DenseSynapse(np.array([[40, -2], [12, 80]], np.int16))),),
                _tables([0, 9000, 2000], [640, 64 * i, 6400], 300),
                (2,),
            )
            for i in range(3)
        ),
        "spikes",
    ),
}


def test_host_currents_with_ties() -> None:
    rng = np.random.default_rng(11)
    weight, tasks = np.array([[1, 3], [-3, 1], [-5, -1]], np.int16), []
    for shift in (0, 1, 2, 5):
        host = chip.HostCurrent(np.array([1, -2, 3]), shift)
        for neuron in (_lif(threshold=9, dv=41, bias_exponent=3), _tables([7] * 3, [900] * 3)):
            layer = chip.ChipLayer(
                "l", (chip.Connection(chip.DenseSynapse(weight), host=host),), neuron, (3,)
            )
            network = chip.ChipNetwork("host", (1, 1, 2), 3, (layer,))
            tasks.append(Task(network, rng.integers(0, 256, (20, 1, 1, 2)).astype(np.uint8), True))
    results = run_many(tasks)
    assert [_differences(t, r) for t, r in zip(tasks, results, strict=True)] == [[]] * len(tasks)


def test_chosen_corners() -> None:
    rng = np.random.default_rng(3)
    tasks = []
    for network in _CORNERS.values():
        x = (rng.random((3, network.timesteps, *network.input_shape)) < 0.7).astype(np.uint8)
        tasks.append(Task(network, x, True))
    results = run_many(tasks)
    wrong = {
        name: _differences(task, result)
        for name, task, result in zip(_CORNERS, tasks, results, strict=True)
    }
    assert {name: w for name, w in wrong.items() if w} == {}


@pytest.mark.parametrize(
    "name", ["v exactly on the threshold", "tables, v exactly on the threshold"]
)
def test_the_corner_on_the_threshold_really_is_on_it(name: str) -> None:
    network = _CORNERS[name]
    x = np.ones((1, network.timesteps, *network.input_shape), np.uint8)
    trace = (run_many([Task(network, x, True)])[0].traces or {})["l"]
    assert trace.s is not None
    on_it = trace.v == 4 << 6
    assert on_it.any()
    assert not trace.s[on_it].any()
