"""The generator draws what it claims to: every feature, every nasty kind, and that for real."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikeproof.errors import GraphError
from spikeproof.fuzz.draw import events as events
from spikeproof.fuzz.draw import nasty
from spikeproof.fuzz.draw.nasty import KINDS, count_events, draw_case, reference_traces
from spikeproof.fuzz.draw.networks import Case, random_input, random_network
from spikeproof.ir import chip
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.check_input import check_input

SEED = 2026


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [draw_case(SEED, index) for index in range(300)]


def test_every_case_is_legal_and_a_third_is_nasty_in_every_way(cases: list[Case]) -> None:
    for case in cases:
        check_chip(case.network)
        check_input(case.network, case.x)
    kinds = [case.kind for case in cases if case.kind]
    assert len(kinds) == 100 and {*kinds} == {*KINDS}
    assert min(kinds.count(kind) for kind in KINDS) >= 6


def test_what_a_nasty_case_is_for_really_happens(cases: list[Case]) -> None:
    counted = dict.fromkeys(KINDS, 0)
    for case in cases:
        if case.kind:
            found = count_events(case, reference_traces(case.network, case.x))
            assert found > 0, (case.index, case.kind)
            counted[case.kind] += found
    many = ("tie", "saturation", "wrap", "floored sum", "extreme decay", "host half")
    assert all(counted[kind] >= 50 for kind in many), counted


def test_the_same_case_comes_back_alone_and_others_do_not(cases: list[Case]) -> None:
    for index in (0, 1, 151, 299):
        again, case = draw_case(SEED, index), cases[index]
        np.testing.assert_array_equal(again.x, case.x)
        assert again.kind == case.kind
        for a, b in zip(again.network.layers, case.network.layers, strict=True):
            assert a.shape == b.shape and type(a.neuron) is type(b.neuron)
            np.testing.assert_array_equal(a.synapse.weight, b.synapse.weight)
    other = draw_case(SEED + 1, 1)
    assert other.x.shape != cases[1].x.shape or (other.x != cases[1].x).any()


def test_every_feature_of_the_dialect_is_drawn(cases: list[Case]) -> None:
    layers = [layer for case in cases for layer in case.network.layers]
    synapses = [layer.synapse for layer in layers]
    convs = [s for s in synapses if isinstance(s, chip.ConvSynapse)]
    neurons: list[Any] = [layer.neuron for layer in layers]
    tables = [n for n in neurons if isinstance(n, chip.TableLifNeuron)]
    general = [n for n in neurons if isinstance(n, chip.GeneralLifNeuron)]
    lasts = [type(case.network.layers[-1].neuron) for case in cases]
    seen = {
        "dense": any(isinstance(s, chip.DenseSynapse) for s in synapses),
        "host current": any(layer.host for layer in layers),
        "host convolution": any(x.host and isinstance(x.synapse, chip.ConvSynapse) for x in layers),
        "stride": any(c.stride[0] != c.stride[1] for c in convs),
        "padding": any(c.padding[0] != c.padding[1] for c in convs),
        "padding beyond the kernel": any(c.padding[0] >= c.weight.shape[2] for c in convs),
        "dilation": any(c.dilation != (1, 1) for c in convs),
        "groups": any(1 < c.groups < c.input_shape[0] for c in convs),
        "depthwise": any(c.groups == c.input_shape[0] > 1 for c in convs),
        "not square": any(c.weight.shape[2] != c.weight.shape[3] for c in convs),
        "growing leak": any((n.leak > 4096).any() for n in tables),
        "last": {*lasts}
        == {chip.LifNeuron, chip.TableLifNeuron, chip.GeneralLifNeuron, chip.ReadoutNeuron},
        "filter": any(n.filters for n in neurons),
        "own filters": any(n.du.size > 1 and n.filters for n in general),
        "table by neuron": any(len(n.leak) > 1 and n.leak.size > len(n.leak) for n in general),
        "by channel": any(n.leak.shape[2:] == (1, 1) != n.leak.shape[1:2] for n in general),
        "first state": any((n.initial < 0).any() for n in general),
        "to zero": any(n.reset is None for n in general),
        "by subtraction": any(n.reset is not None and n.reset.any() for n in general),
        "no reset": any(n.reset is not None and not n.reset.any() for n in general),
        "negative bias": any((n.bias < 0).any() for n in neurons),
        "fortran": any(not s.weight.flags.c_contiguous for s in synapses),
        "silent": any(not x.any() for case in cases for x in case.x),
    }
    assert [name for name, drawn in seen.items() if not drawn] == []
    assert {c.weight.shape[2] for c in convs} == {1, 2, 3, 4, 5}
    assert {s.exponent for s in synapses} == {*range(-8, 8)}
    assert {s.sign for s in synapses} == {"mixed", "excitatory", "inhibitory"}
    assert {s.weight.dtype.itemsize for s in synapses} == {1, 2, 4}
    assert {n.bias.ndim for n in neurons} == {0, 1, 3}
    assert {n.bias_exponent for n in neurons} == {*range(8)}
    assert {case.network.coding for case in cases} == {"pixels", "spikes"}


def test_sizes_lie_around_the_blocks_that_engines_work_in(cases: list[Case]) -> None:
    dense = {
        size
        for case in cases
        for layer in case.network.layers
        if isinstance(layer.synapse, chip.DenseSynapse)
        for size in layer.synapse.weight.shape
    }
    assert {7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65} <= dense and max(dense) > 500
    channels = {
        len(layer.synapse.weight)
        for case in cases
        for layer in case.network.layers
        if isinstance(layer.synapse, chip.ConvSynapse)
    }
    assert {15, 16, 17, 31, 32, 33} <= channels
    assert {1, 2, 8, 16, 33} <= {case.network.timesteps for case in cases}
    assert {1, 2, 3, 17, 33} <= {len(case.x) for case in cases}
    assert {1, 2, 3, 4} <= {len(case.network.layers) for case in cases}


def test_many_seeds_give_legal_networks() -> None:
    for seed in range(150):
        rng = np.random.default_rng([1, seed])
        network = random_network(rng, nasty=bool(seed % 2))
        check_input(network, random_input(rng, network, 2))


def tiny(neuron: chip.Neuron, weight: list[list[int]], steps: int, **options: Any) -> Any:
    values = np.array(weight, np.int16)
    layer = chip.ChipLayer(
        "l", (chip.Connection(chip.DenseSynapse(values, **options)),), neuron, (len(values),)
    )
    network = chip.ChipNetwork("tiny", (values.shape[1], 1, 1), steps, (layer,), "spikes")
    x = np.ones((1, steps, values.shape[1], 1, 1), np.uint8)
    return network, x, reference_traces(network, x)


def test_counts_of_a_network_worked_out_by_hand() -> None:
    zero = np.zeros(1, np.int32)
    # v is 256 at step 0, on the threshold; 512 at step 1, above it, then reset.
    run = tiny(chip.LifNeuron(4, 0, zero), [[2, 2]], 4)
    assert events.count_ties(*run) == 2
    assert events.count_saturations(*run) == events.count_wraps(*run) == 0
    # -12 and -2 eighths are floored to -2 and -1; 12 eighths are positive, -8 divide evenly.
    run = tiny(chip.LifNeuron(4, 0, zero), [[-10, -2], [0, -2], [6, 6], [-6, -2]], 3, exponent=-3)
    assert events.count_floors(*run) == 6
    # 254 * 8 << 7 is 260 096: times 64 it leaves 24 bits in each step, on one side.
    run = tiny(chip.LifNeuron(131_071, 4096, zero), [[254] * 8], 5, exponent=7)
    assert events.count_wraps(*run) == 5
    # The first keeps 40 of 640, the second nothing; after the last step nobody looks.
    numbers = {
        "leak": [4096],
        "threshold": [[0, 639]],
        "bias": [0],
        "du": [4095],
        "initial": [1, -1],
        "reset": [600, 641],
    }
    soft = chip.GeneralLifNeuron(**{k: np.array(v, np.int32) for k, v in numbers.items()})
    run = tiny(soft, [[10, 0], [10, 2]], 2)
    assert [trace.v.tolist() for trace in run[2].values()] == [[[[641, 767], [681, 894]]]]
    assert events.count_soft_resets(*run) == 2
    assert events.count_first_states(*run) == 2
    assert events.count_own_thresholds(*run) == 0
    run = tiny(soft, [[8, 0], [8, 2]], 2)  # 513, 425 and 639, 1279: above 0 and at most 639
    assert events.count_own_thresholds(*run) == 3
    # exactly 2^17 << 6 stays +2^23, and v saturates there.
    run = tiny(chip.LifNeuron(131_071, 4096, zero), [[254, 254, 254, 254, 8]], 2, exponent=7)
    assert events.count_edges(*run) == events.count_saturations(*run) == 2
    assert events.count_wraps(*run) == 0


def test_a_kind_that_never_happens_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    never = {"never": (nasty.KINDS["full input"][0], lambda *_: 0)}
    monkeypatch.setattr(nasty, "KINDS", never)
    with pytest.raises(GraphError, match="100 draws gave no case of kind 'never'"):
        draw_case(0, 0)
