"""The certificate at the limit and one beyond it: exactly where the chip's numbers end."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from spikeproof.certify.ranges import certify_ranges, check_ranges
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.errors import RangeError
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    DenseSynapse,
    HostCurrent,
    LifNeuron,
    Neuron,
    ReadoutNeuron,
    Sign,
    TableLifNeuron,
)

TOP = 131_071
"""Largest synaptic sum; shifted left by 6 it is 8 388 544."""


def _bias(mantissa: int) -> Any:
    return np.array([mantissa], np.int32)


def _network(total: int, neuron: Neuron, steps: int = 1) -> ChipNetwork:
    """Build one neuron whose binary inputs add up to at most (or least) ``total``."""
    sign: Sign = "excitatory" if total > 0 else "inhibitory"
    count, rest = divmod(abs(total), 255)
    weight = np.sign(total) * np.array([[255] * count + [rest]], np.int16)
    layer = ChipLayer("l1", (Connection(DenseSynapse(weight, sign)),), neuron, (1,))
    return ChipNetwork("limit", (1, 1, weight.size), steps, (layer,), "spikes")


def _host(offset: int) -> ChipNetwork:
    synapse, host = DenseSynapse(np.array([[16]], np.int32)), HostCurrent(np.array([offset]), 0)
    layer = ChipLayer("l1", (Connection(synapse, host=host),), LifNeuron(TOP, 0, _bias(0)), (1,))
    return ChipNetwork("limit", (1, 1, 1), 1, (layer,))


def _filtered(total: int, keep: int) -> ChipNetwork:
    """Let u keep keep/4096 for one step: it reaches ``total * keep // 64 + 64 total``."""
    return _network(total, LifNeuron(TOP, 4096, _bias(-4095), 0, 4095 - keep), 2)


CASES: dict[str, tuple[ChipNetwork, ChipNetwork]] = {
    "synaptic sum": (
        _network(TOP, ReadoutNeuron(_bias(0))),
        _network(TOP + 1, ReadoutNeuron(_bias(-100))),
    ),
    "u": (_filtered(129_773, 41), _filtered(126_770, 139)),  # 2^23 - 1 and 2^23
    "v": (_network(TOP, LifNeuron(TOP, 0, _bias(63))), _network(TOP, LifNeuron(TOP, 0, _bias(64)))),
    "v below": (
        _network(-TOP, LifNeuron(TOP, 0, _bias(-63))),
        _network(-TOP, LifNeuron(TOP, 0, _bias(-64))),
    ),
    "v of a readout": (
        _network(TOP, ReadoutNeuron(_bias(0))),
        _network(TOP, ReadoutNeuron(_bias(1))),
    ),
    "host mantissa": (_host(15), _host(16)),
}


@pytest.mark.parametrize("quantity", CASES)
def test_the_limit_is_certified_and_one_more_is_not(quantity: str) -> None:
    fits, too_much = CASES[quantity]
    (good,), (bad,) = certify_ranges(fits), certify_ranges(too_much)
    assert good.ok and good.problems == () and good.headroom_bits >= 0
    assert not bad.ok and bad.headroom_bits < 0
    key = quantity.split(" below")[0].split(" of ")[0]
    assert any(p.startswith(f"{key} could reach ") for p in bad.problems)


def test_the_bounds_at_the_limit_are_the_figures_of_the_chip() -> None:
    found = {k: certify_ranges(fits)[0] for k, (fits, _) in CASES.items()}
    assert found["synaptic sum"].sum_bound == TOP
    assert found["u"].u_bound == 2**23 - 1
    assert certify_ranges(CASES["u"][1])[0].u_bound == 2**23
    assert (found["v"].v_high, found["v below"].v_low) == (2**23 - 1, 1 - 2**23)
    assert found["v of a readout"].v_high == 2**23 - 64
    assert found["host mantissa"].host_bound == 4095


def test_a_neuron_that_may_have_fired_starts_again_at_zero() -> None:
    # The bias alone keeps v above 0. Who fired restarts at 0 and stays silent where who did not
    # fire would fire for certain; the growing last steps make that the highest v there is.
    table = TableLifNeuron(
        np.array([4096, 4096, 16383, 16383]), np.array([150, 150, 2**23 - 1, 2**23 - 1]), _bias(100)
    )
    layer = ChipLayer("l1", (Connection(DenseSynapse(np.array([[2]], np.int16))),), table, (1,))
    network = ChipNetwork("restart", (1, 1, 1), 4, (layer,), "spikes")
    x = np.array(list(product((0, 1), repeat=4)), np.uint8).reshape(16, 4, 1, 1, 1)
    traces = ReferenceEngine().run(network, x, trace=True).traces
    assert traces is not None
    v, found = traces["l1"].v, certify_ranges(network)[0]
    assert (int(v.min()), int(v.max())) == (100, 2735)
    assert found.v_low <= 100 and found.v_high >= 2735


def _one(neuron: Neuron, weights: list[list[int]], steps: int) -> Any:
    weight = np.array(weights, np.int16)
    layer = ChipLayer("l1", (Connection(DenseSynapse(weight)),), neuron, (len(weight),))
    return ChipNetwork("one", (1, 1, weight.shape[1]), steps, (layer,), "spikes")


def _table(steps: int, threshold: int, bias: int, leak: int = 4096) -> TableLifNeuron:
    full = np.ones(steps, np.int64)
    return TableLifNeuron(leak * full, threshold * full, _bias(bias))


def test_a_neuron_exactly_on_its_threshold_has_not_fired() -> None:
    # The bias alone puts v on 100, where it stays silent and goes on from 100, not from 0.
    network = _one(_table(2, 100, 100), [[2]], 2)
    x = np.array(list(product((0, 1), repeat=2)), np.uint8).reshape(4, 2, 1, 1, 1)
    traces = ReferenceEngine().run(network, x, trace=True).traces
    assert traces is not None
    assert traces["l1"].v.max() == 100 + 100 + 128
    assert certify_ranges(network)[0].v_high == 100 + 100 + 128


def test_a_neuron_that_must_fire_starts_again_at_zero_each_time() -> None:
    found = certify_ranges(_one(_table(4, 100, 200), [[2]], 4))[0]
    assert (found.v_low, found.v_high) == (200, 200 + 128)
    # With half of u kept the second current is the larger one, on top of exactly 0.
    rising = replace(_table(2, 100, 200), du=2047)
    assert certify_ranges(_one(rising, [[2]], 2))[0].v_high == 0 + 200 + 128 + 64
    falling = replace(_table(2, 100, 300), du=2047)
    assert certify_ranges(_one(falling, [[-2]], 2))[0].v_low == 0 + 300 - 128 - 64


@pytest.mark.parametrize(("weight", "reached"), [(10, 0), (12, 254 * 64)])
def test_only_a_neuron_that_can_pass_its_threshold_feeds_the_next_layer(
    weight: int, reached: int
) -> None:
    first = ChipLayer(
        "l1",
        (Connection(DenseSynapse(np.array([[weight]], np.int16))),),
        LifNeuron(10, 4096, _bias(0)),
        (1,),
    )
    last = ChipLayer(
        "out",
        (Connection(DenseSynapse(np.array([[254]], np.int16))),),
        ReadoutNeuron(_bias(0)),
        (1,),
    )
    network = ChipNetwork("chain", (1, 1, 1), 1, (first, last), "spikes")
    assert certify_ranges(network)[1].v_high == reached


def test_bounds_need_not_hold_zero() -> None:
    above = certify_ranges(_one(ReadoutNeuron(_bias(300)), [[-2]], 2))[0]
    assert (above.v_low, above.v_high) == (300 - 128, 600)
    below = certify_ranges(_one(ReadoutNeuron(_bias(-300)), [[2]], 2))[0]
    assert (below.v_low, below.v_high) == (2 * -300, -300 + 128)


def test_the_neuron_and_the_side_that_reach_furthest_decide() -> None:
    found = certify_ranges(_one(ReadoutNeuron(_bias(0)), [[-4, 2], [-20, 6], [8, -2]], 1))[0]
    assert (found.sum_bound, found.u_bound, found.worst_neuron) == (20, 20 * 64, (1,))
    assert (found.v_low, found.v_high) == (-20 * 64, 8 * 64)
    found = certify_ranges(_one(ReadoutNeuron(_bias(0)), [[4, -2], [20, -6], [-8, 2]], 1))[0]
    assert (found.sum_bound, found.u_bound, found.worst_neuron) == (20, 20 * 64, (1,))
    assert (found.v_low, found.v_high) == (-8 * 64, 20 * 64)


def test_a_filter_adds_up_currents_of_either_sign() -> None:
    neuron = LifNeuron(TOP, 4096, _bias(0), 0, 2047)  # half of u is kept
    found = certify_ranges(_one(neuron, [[64, -128]], 3))[0]
    assert found.u_bound == 128 * 64 * 7 // 4
    assert (found.v_low, found.v_high) == (-128 * 64 * 7 // 4, 64 * 64 * 7 // 4)


def test_grey_levels_count_255_times_and_a_host_current_no_sum() -> None:
    synapse = DenseSynapse(np.array([[8, -4]], np.int16))
    layer = ChipLayer("l1", (Connection(synapse),), ReadoutNeuron(_bias(0)), (1,))
    graded = certify_ranges(ChipNetwork("n", (1, 1, 2), 1, (layer,)))[0]
    assert (graded.sum_bound, graded.host_bound) == (8 * 255, 0)
    host = layer.changed(host=HostCurrent(np.array([0]), 0))
    found = certify_ranges(ChipNetwork("n", (1, 1, 2), 1, (host,)))[0]
    assert (found.sum_bound, found.u_bound, found.host_bound) == (0, 0, 8 * 255)


def test_headroom_is_told_in_bits_of_the_tightest_register() -> None:
    def bits(weight: int, neuron: Neuron) -> float:
        return certify_ranges(_one(neuron, [[weight]], 1))[0].headroom_bits

    # Even where nothing ever arrives the 4095 of a mantissa are what there is.
    assert bits(0, LifNeuron(5, 41, _bias(0))) == pytest.approx(np.log2(4095))
    assert bits(128, LifNeuron(5, 41, _bias(0))) == pytest.approx(np.log2(131_071 / 128))
    busy = LifNeuron(5, 41, _bias(4095), 7)
    assert bits(0, busy) == pytest.approx(np.log2((2**23 - 1) / (4095 * 128)))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_state_that_grows_without_end_is_refused_and_never_wraps(sign: int) -> None:
    """Four times as large in each of 64 steps: 2^128 would wrap in 64 bits."""
    table = _table(64, 2**23 - 1, sign * 4095, leak=16383)
    found = certify_ranges(_one(table, [[2]], 64))[0]
    assert not found.ok and found.headroom_bits < 0
    assert max(-found.v_low, found.v_high) > 2**24
    assert found.problems[0].startswith("v could reach")
    still = _one(replace(table, threshold=np.full(64, 2**60)), [[2]], 64)
    assert not certify_ranges(still)[0].ok


def test_problems_name_the_neuron_and_all_layers() -> None:
    weight = np.zeros((3, 600), np.int16)
    weight[1] = -254
    layer = ChipLayer("l1", (Connection(DenseSynapse(weight)),), LifNeuron(TOP, 0, _bias(0)), (3,))
    network = ChipNetwork("n", (1, 1, 600), 1, (layer,), "spikes")
    words = f"synaptic sum could reach {254 * 600} (neuron (1,)), the limit is {TOP}"
    assert words in certify_ranges(network)[0].problems
    with pytest.raises(RangeError) as error:
        check_ranges(network)
    for expected in (f"l1: {words}", "n:", "lower the scale of these layers"):
        assert expected in str(error.value)
    fits = _one(ReadoutNeuron(_bias(0)), [[2]], 1)
    assert [r.name for r in check_ranges(fits)] == ["l1"]
