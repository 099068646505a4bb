"""The fast engine equals the reference in every u, v and s, on ordinary and nasty networks."""

from dataclasses import replace
from typing import Any

import edges
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeproof.engines.fast import FastEngine
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import LayerTrace, RunResult
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    HostCurrent,
    LifNeuron,
    ReadoutNeuron,
)
from spikeproof.ir.limits import ACCUMULATOR_MAX


def assert_same(a: RunResult, b: RunResult) -> int:
    """Compare everything; return how many values were compared."""
    assert a.traces is not None and b.traces is not None and list(a.traces) == list(b.traces)
    np.testing.assert_array_equal(a.logits, b.logits)
    compared = 0
    for name, trace in a.traces.items():
        for key in LayerTrace.__dataclass_fields__:
            left, right = getattr(trace, key), getattr(b.traces[name], key)
            assert (left is None) == (right is None)
            if left is not None:
                np.testing.assert_array_equal(left, right, err_msg=f"{name}/{key}")
                compared += left.size
    return compared


def both(network: ChipNetwork, x: np.ndarray[Any, Any]) -> int:
    return assert_same(
        ReferenceEngine().run(network, x, trace=True), FastEngine().run(network, x, trace=True)
    )


def test_many_random_networks() -> None:
    rng = np.random.default_rng(20261122)
    compared = ties = saturated = 0
    parts = set()
    for _ in range(300):
        network = random_network(rng)
        x = random_input(rng, network, 3)
        compared += both(network, x)
        traces = ReferenceEngine().run(network, x, trace=True).traces or {}
        for layer in network.layers:
            v = traces[layer.name].v
            parts |= {type(layer.host or layer.synapse), type(layer.neuron)}
            saturated += int((np.abs(v) == (1 << 23) - 1).sum())
            if isinstance(layer.neuron, LifNeuron):
                ties += int((v == 64 * layer.neuron.threshold).sum())
    # The test means nothing unless the hard cases really occurred.
    assert compared > 100_000 and ties > 100 and saturated > 100
    assert {ConvSynapse, DenseSynapse, HostCurrent} <= parts and len(parts) == 7


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_seed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng, nasty=True)
    both(network, random_input(rng, network, 2))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_batches_and_order_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    x = random_input(rng, network, 5)
    whole = FastEngine().run(network, x)
    order = rng.permutation(5)
    np.testing.assert_array_equal(FastEngine().run(network, x[order]).logits, whole.logits[order])
    for i in range(5):
        one = FastEngine().run(network, x[i : i + 1])
        np.testing.assert_array_equal(one.logits[0], whole.logits[i])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_relabelling_neurons_permutes_the_traces(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    layer = network.layers[-1]
    synapse = layer.synapse
    alike = layer.neuron.uniform and layer.neuron.bias.size == 1
    if layer.host or not isinstance(synapse, DenseSynapse) or not alike:
        return
    order = rng.permutation(len(synapse.weight))
    moved = layer.changed(synapse=replace(synapse, weight=synapse.weight[order]))
    relabelled = replace(network, layers=(*network.layers[:-1], moved))
    x = random_input(rng, network, 2)
    expected = FastEngine().run(network, x).logits[:, order]
    np.testing.assert_array_equal(FastEngine().run(relabelled, x).logits, expected)


def test_small_batches_equal_one_big_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    network = random_network(rng)
    x = random_input(rng, network, 7)
    whole = NumpyEngine().run(network, x, trace=True)
    monkeypatch.setattr(NumpyEngine, "batch_values", 1)
    steps: list[tuple[int, int]] = []
    parts = NumpyEngine().run(network, x, trace=True, progress=lambda i, n: steps.append((i, n)))
    assert_same(whole, parts)
    assert steps == [(i, 7) for i in range(1, 8)]


def test_sums_beyond_single_precision_stay_exact() -> None:
    # 401 inputs of 255 times 255 = 26 million > 2^24, and odd: float32 would drop the lowest bit.
    synapse = DenseSynapse(np.full((1, 401), 255, np.int16), "excitatory", -4)
    layer = ChipLayer("l1", (Connection(synapse),), ReadoutNeuron(np.zeros(1, np.int32)), (1,))
    network = ChipNetwork("wide", (1, 1, 401), 1, (layer,))
    x = np.full((1, 1, 1, 401), 255, np.uint8)
    both(network, x)
    both(replace(network, layers=(layer.changed(synapse=replace(synapse, exponent=0)),)), x // 16)


@pytest.mark.parametrize("du", [0, 1, 2047, 4094])
def test_one_wrap_keeps_a_filtered_current_within_24_bits(du: int) -> None:
    """The largest legal sums, for many steps: beyond them engines of 32 and 64 bits part."""
    network, x = edges.filtered(du)
    both(network, x)
    traces = ReferenceEngine().run(network, x, trace=True).traces or {}
    u = traces["l1"].u.astype(np.int64)
    assert u.min() < -(1 << 22) and u.max() > 1 << 22, "it did wrap"
    assert np.abs(u).max() <= 1 << 23


def test_the_largest_legal_sums_leave_room_for_v_and_bias_in_32_bits() -> None:
    network = edges.largest(7)
    x = np.ones((1, 4, 1, 1, 1008), np.uint8)
    both(network, x)
    traces = ReferenceEngine().run(network, x, trace=True).traces or {}
    assert traces["l1"].u.min() == -64 * ACCUMULATOR_MAX + (1 << 24)
    assert 64 * ACCUMULATOR_MAX < 1 << 31
    assert 64 * ACCUMULATOR_MAX - (1 << 24) + 4 * 8388607 + (4095 << 7) < 1 << 31
