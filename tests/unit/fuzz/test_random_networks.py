"""The generator draws what it claims to: every feature, every nasty kind, and that for real."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

from spikeproof.errors import GraphError
from spikeproof.fuzz.draw import events as events
from spikeproof.fuzz.draw import nasty, wirings
from spikeproof.fuzz.draw import wiring_events as wiring
from spikeproof.fuzz.draw.edges import in_two, largest_sums
from spikeproof.fuzz.draw.nasty import (
    CHAIN_KINDS,
    KINDS,
    count_events,
    draw_case,
    draw_chain,
    reference_traces,
)
from spikeproof.fuzz.draw.networks import Case, random_input, random_network
from spikeproof.ir import chip
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.check_input import check_input
from spikeproof.ir.graph import chain_problems
from spikeproof.ir.readouts import ReadoutRule

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
    assert min(kinds.count(kind) for kind in KINDS) >= 3


def test_nearly_half_of_the_ordinary_cases_are_graphs_and_so_are_some_nasty_ones(
    cases: list[Case],
) -> None:
    graphs = [case for case in cases if chain_problems(case.network)]
    assert 60 <= sum(case.kind is None for case in graphs) <= 110
    assert {case.kind for case in graphs} > {*wirings.KINDS, None}
    lags = {one.lag for c in graphs for layer in c.network.layers for one in layer.inputs}
    assert {0, 1, 2, 3} <= lags and max(lags) > 5
    assert {case.network.readout for case in graphs} == {*get_args(ReadoutRule)}


def test_chains_of_a_campaign_are_those_of_the_releases_before_graphs() -> None:
    for index in (1, 2, 44, 45):
        case, chain = draw_case(SEED, index), draw_chain(SEED, index)
        assert not chain_problems(chain.network)
        if index % 3:
            np.testing.assert_array_equal(case.x, chain.x)
    assert draw_chain(SEED, 45).kind == next(iter(CHAIN_KINDS)) != draw_case(SEED, 45).kind


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
            for one, other in zip(a.inputs, b.inputs, strict=True):
                assert (one.source, one.lag) == (other.source, other.lag)
                np.testing.assert_array_equal(one.synapse.weight, other.synapse.weight)
    other = draw_case(SEED + 1, 1)
    assert other.x.shape != cases[1].x.shape or (other.x != cases[1].x).any()


def test_every_feature_of_the_dialect_is_drawn(cases: list[Case]) -> None:
    layers = [layer for case in cases for layer in case.network.layers]
    inputs = [one for layer in layers for one in layer.inputs]
    synapses = [one.synapse for one in inputs]
    convs = [s for s in synapses if isinstance(s, chip.ConvSynapse)]
    neurons: list[Any] = [layer.neuron for layer in layers]
    tables = [n for n in neurons if isinstance(n, chip.TableLifNeuron)]
    general = [n for n in neurons if isinstance(n, chip.GeneralLifNeuron)]
    lasts = [type(case.network.layers[-1].neuron) for case in cases]
    seen = {
        "dense": any(isinstance(s, chip.DenseSynapse) for s in synapses),
        "host current": any(layer.host for layer in layers),
        "host convolution": any(c.host and isinstance(c.synapse, chip.ConvSynapse) for c in inputs),
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
    assert {c.weight.shape[2] for c in convs} == {*range(1, 7)}
    assert {s.exponent for s in synapses} == {*range(-8, 8)}
    assert {s.sign for s in synapses} == {"mixed", "excitatory", "inhibitory"}
    assert {s.weight.dtype.itemsize for s in synapses} == {1, 2, 4}
    assert {n.bias.ndim for n in neurons} == {0, 1, 3}
    assert {n.bias_exponent for n in neurons} == {*range(8)}
    assert {case.network.coding for case in cases} == {"pixels", "spikes"}


def test_sizes_lie_around_the_blocks_that_engines_work_in(cases: list[Case]) -> None:
    synapses = [one.synapse for c in cases for layer in c.network.layers for one in layer.inputs]
    dense = {n for s in synapses if isinstance(s, chip.DenseSynapse) for n in s.weight.shape}
    assert {7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65} <= dense and max(dense) > 500
    channels = {len(s.weight) for s in synapses if isinstance(s, chip.ConvSynapse)}
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
    never: nasty.Kinds = {"never": (nasty.KINDS["full input"][0], lambda *_: 0)}
    monkeypatch.setattr(nasty, "KINDS", never)
    with pytest.raises(GraphError, match="100 draws gave no case of kind 'never'"):
        draw_case(0, 0)


# --- wiring --------------------------------------------------------------------------------------

ZERO = np.zeros(1, np.int32)
FIRES = chip.LifNeuron(0, 4096, ZERO)
"""Fires at every step at which more than nothing arrives, and remembers nothing."""


def one_neuron(name: str, *inputs: chip.Connection, neuron: Any = FIRES) -> chip.ChipLayer:
    return chip.ChipLayer(name, inputs, neuron, (1,))


def wire(source: str | None, weight: int, lag: int = 0, exponent: int = 0) -> chip.Connection:
    synapse = chip.DenseSynapse(np.array([[weight]], np.int16), "mixed", exponent)
    return chip.Connection(synapse, source, lag)


def graph(spikes: list[list[int]], *layers: chip.ChipLayer, **fields: Any) -> Any:
    """Return a network that reads one input, its input (samples x steps) and its traces."""
    network = chip.ChipNetwork("g", (1, 1, 1), len(spikes[0]), layers, "spikes", **fields)
    check_chip(network)
    x = np.array(spikes, np.uint8)[..., None, None, None]
    return network, x, reference_traces(network, x)


def test_a_skip_counts_where_its_delay_matters() -> None:
    both = one_neuron("c", wire("b", 2), wire(chip.INPUT, -4))
    layers = (one_neuron("a", wire(None, 2)), one_neuron("b", wire(None, 2)), both)
    # Two steps too early, 1 0 0 1 0 would be 0 1 0 . .: three sums differ.
    assert wiring.count_skips(*graph([[1, 0, 0, 1, 0]], *layers)) == 3
    assert wiring.count_skips(*graph([[0, 0, 0, 0, 0]], *layers)) == 0
    assert wiring.count_skips(*graph([[1, 0, 0, 1, 0]], *layers[:2])) == 0


def test_exponents_floors_and_shared_synapses_count_where_all_carry_something() -> None:
    run = graph([[1, 1, 0]], one_neuron("a", wire(None, 2, exponent=-2), wire(None, 2, 1, -2)))
    # Two halves: each is floored to 0, together they are 1. They meet at step 1 alone.
    assert wiring.count_own_floors(*run) == 1 and wiring.count_exponents(*run) == 0
    run = graph([[1, 1, 0]], one_neuron("a", wire(None, 2, exponent=1), wire(None, 2, 1, -2)))
    assert wiring.count_exponents(*run) == 1 and wiring.count_own_floors(*run) == 0
    held = wire(None, 2)
    again = one_neuron("b", held.changed(lag=2), wire(chip.INPUT, 2))
    assert wiring.count_shared(*graph([[1, 1, 1]], one_neuron("a", held), again)) == 1
    assert wiring.count_shared(*graph([[0, 1, 1]], one_neuron("a", held), again)) == 0
    apart = one_neuron("b", wire(None, 2, 2), wire(chip.INPUT, 2))
    assert wiring.count_shared(*graph([[1, 1, 1]], one_neuron("a", held), apart)) == 0


def test_loops_lags_and_what_is_in_flight_count_spikes() -> None:
    own = one_neuron("a", wire(None, 2), wire("a", 2, 1))
    run = graph([[1, 0, 0], [0, 0, 0]], own)  # it never falls silent, and the next sample is
    assert wiring.count_self_loops(*run) == 2 and wiring.count_back_edges(*run) == 0
    assert wiring.count_in_flight(*run) == 1 and wiring.count_late_inputs(*run) == 0
    late = graph([[1, 0, 0], [0, 1, 1]], one_neuron("a", wire(None, 2, 1)))
    assert wiring.count_late_inputs(*late) == 2 and wiring.count_in_flight(*late) == 0
    back = one_neuron("a", wire(None, 2), wire("b", 2, 2)), one_neuron("b", wire(None, 2))
    run = graph([[1, 0, 0, 0]], *back)
    assert wiring.count_back_edges(*run) == 1 and wiring.count_self_loops(*run) == 0
    assert wiring.count_in_flight(*run) == 0, "no sample comes after the last"


def test_an_or_pool_counts_windows_in_which_spikes_meet() -> None:
    rng = np.random.default_rng(1)
    pool = wirings.or_pool(rng, (2, 2, 2))
    assert wiring.is_or(pool)
    assert not wiring.is_or(pool.changed(neuron=chip.LifNeuron(1, 4096, ZERO)))
    network = chip.ChipNetwork("p", (2, 2, 2), 2, (pool,), "spikes")
    x = np.zeros((1, 2, 2, 2, 2), np.uint8)
    x[0, 0, 0, 0, :] = x[0, 1, :, 1, 1] = 1  # two in one channel; then one in each
    traces = reference_traces(network, x)
    assert wiring.count_pooled(network, x, traces) == 1
    np.testing.assert_array_equal(traces["pool"].s[..., 0, 0], x.max(axis=(3, 4)))


def test_a_readout_counts_where_it_answers_otherwise() -> None:
    v = chip.ReadoutNeuron(ZERO)
    for rule, found in (("auto", 0), ("max", 1), ("mean", 1), ("max-abs", 2), ("last", 0)):
        silent = one_neuron("a", wire(None, -2), wire(None, 4, 1), neuron=v)
        run = graph([[1, 0, 0], [0, 0, 1], [0, 1, 1]], silent, readout=rule)
        assert wiring.count_readouts(*run) == found, rule


def test_pixels_count_beside_spikes_and_so_do_host_currents() -> None:
    pixels = chip.Connection(chip.DenseSynapse(np.array([[2]], np.int16)), chip.INPUT)
    host = pixels.changed(host=chip.HostCurrent(np.zeros(1, np.int64), 0))
    for one, counts in ((pixels, (2, 0)), (host, (0, 2))):
        layers = one_neuron("a", pixels), one_neuron("b", wire("a", -2), one)
        network = chip.ChipNetwork("g", (1, 1, 1), 2, layers)
        x = np.array([3, 0], np.uint8).reshape(2, 1, 1, 1)
        run = network, x, reference_traces(network, x)
        assert (wiring.count_beside_pixels(*run), wiring.count_beside_host(*run)) == counts


def test_two_connections_of_an_edge_add_up_to_the_sums_of_one() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        network, x = largest_sums(rng)
        two = in_two(rng, network)
        assert len(two.layers[0].inputs) == 2
        one, both = reference_traces(network, x), reference_traces(two, x)
        for name, trace in one.items():
            np.testing.assert_array_equal(trace.u, both[name].u)
        assert events.count_largest(two, x, both) == events.count_largest(network, x, one) > 0
