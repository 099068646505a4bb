"""The certificate at the limit and one beyond it: exactly where the chip's numbers end."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    DenseSynapse,
    HostCurrent,
    LifNeuron,
    Neuron,
    ReadoutNeuron,
    Sign,
    TableLifNeuron,
)
from spikeproof.passes.ranges import certify_ranges
from spikeproof.simulate.reference import ReferenceEngine

TOP = 131_071
"""Largest synaptic sum; shifted left by 6 it is 8 388 544."""


def _bias(mantissa: int) -> Any:
    return np.array([mantissa], np.int32)


def _network(total: int, neuron: Neuron, steps: int = 1) -> ChipNetwork:
    """Build one neuron whose binary inputs add up to at most (or least) ``total``."""
    sign: Sign = "excitatory" if total > 0 else "inhibitory"
    count, rest = divmod(abs(total), 255)
    weight = np.sign(total) * np.array([[255] * count + [rest]], np.int16)
    layer = ChipLayer("l1", DenseSynapse(weight, sign), neuron, (1,))
    return ChipNetwork("limit", (1, 1, weight.size), steps, (layer,), "spikes")


def _host(offset: int) -> ChipNetwork:
    synapse = HostCurrent(DenseSynapse(np.array([[16]], np.int32)), np.array([offset]), 0)
    layer = ChipLayer("l1", synapse, LifNeuron(TOP, 0, _bias(0)), (1,))
    return ChipNetwork("limit", (1, 1, 1), 1, (layer,))


def _filtered(total: int, keep: int) -> ChipNetwork:
    """Let u keep keep/4096 for one step: it reaches ``total * keep // 64 + 64 total``."""
    return _network(total, LifNeuron(TOP, 4096, _bias(-4095), 0, 4095 - keep), 2)


CASES: dict[str, tuple[ChipNetwork, ChipNetwork]] = {
    "synaptic sum": (_network(TOP, ReadoutNeuron(_bias(0))),
                     _network(TOP + 1, ReadoutNeuron(_bias(-100)))),
    "u": (_filtered(129_773, 41), _filtered(126_770, 139)),  # 2^23 - 1 and 2^23
    "v": (_network(TOP, LifNeuron(TOP, 0, _bias(63))), _network(TOP, LifNeuron(TOP, 0, _bias(64)))),
    "v below": (_network(-TOP, LifNeuron(TOP, 0, _bias(-63))),
                _network(-TOP, LifNeuron(TOP, 0, _bias(-64)))),
    "v of a readout": (_network(TOP, ReadoutNeuron(_bias(0))),
                       _network(TOP, ReadoutNeuron(_bias(1)))),
    "host mantissa": (_host(15), _host(16)),
}  # fmt: skip


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
    layer = ChipLayer("l1", DenseSynapse(np.array([[2]], np.int16)), table, (1,))
    network = ChipNetwork("restart", (1, 1, 1), 4, (layer,), "spikes")
    x = np.array(list(product((0, 1), repeat=4)), np.uint8).reshape(16, 4, 1, 1, 1)
    traces = ReferenceEngine().run(network, x, trace=True).traces
    assert traces is not None
    v, found = traces["l1"].v, certify_ranges(network)[0]
    assert (int(v.min()), int(v.max())) == (100, 2735)
    assert found.v_low <= 100 and found.v_high >= 2735
