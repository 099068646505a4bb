"""ONNX Runtime equals the reference in every u, v and s, on ordinary and nasty networks."""

from __future__ import annotations

from typing import Any

import edges
import numpy as np
import pytest
import wired

from spikeproof.engines.reference import ReferenceEngine
from spikeproof.formats.onnx.engine import OnnxEngine
from spikeproof.fuzz.draw.graphs import random_graph
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.io.data import load_data
from spikeproof.io.zoo import zoo_calibration, zoo_images, zoo_networks
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

pytest.importorskip("onnx", reason="needs spikeproof[onnx]")
pytest.importorskip("onnxruntime", reason="needs spikeproof[onnx]")


def compare(network: ChipNetwork, x: Any) -> tuple[int, Any]:
    """Compare everything; return how many values were compared, and the reference's traces."""
    engine = OnnxEngine(1)
    found = engine.run(network, x, trace=True)
    expected = ReferenceEngine().run(network, x, trace=True)
    np.testing.assert_array_equal(found.logits, expected.logits)
    np.testing.assert_array_equal(found.predictions, expected.predictions)
    np.testing.assert_array_equal(engine.run(network, x).logits, expected.logits)
    assert found.traces is not None and expected.traces is not None
    assert list(found.traces) == list(expected.traces)
    compared = 0
    for name, trace in expected.traces.items():
        other = found.traces[name]
        assert (trace.s is None) == (other.s is None)
        for key, array in vars(trace).items():
            if array is not None:
                mine = getattr(other, key)
                assert (mine.dtype, mine.shape) == (array.dtype, array.shape)
                np.testing.assert_array_equal(mine, array, err_msg=f"{name}/{key}")
                compared += array.size
    return compared, expected.traces


def test_many_random_networks() -> None:
    rng = np.random.default_rng(20261123)
    compared = ties = saturated = single = 0
    parts, exponents = set(), set()
    for index in range(70):
        network = random_network(rng, nasty=True if index % 2 else None)
        count, traces = compare(network, random_input(rng, network, 3))
        compared += count
        single += network.timesteps == 1
        for layer in network.layers:
            v = traces[layer.name].v
            parts |= {type(layer.host or layer.synapse), type(layer.neuron)}
            saturated += int((np.abs(v) == (1 << 23) - 1).sum())
            exponents.add(np.sign(getattr(layer.synapse, "exponent", 0)))
            if isinstance(layer.neuron, LifNeuron):
                ties += int((v == 64 * layer.neuron.threshold).sum())
    # The test means nothing unless the hard cases really occurred.
    assert compared > 100_000 and ties > 30 and saturated > 100 and single > 3
    assert {ConvSynapse, DenseSynapse, HostCurrent} <= parts and len(parts) == 7
    assert exponents == {-1, 0, 1}


def test_many_random_graphs() -> None:
    seen: set[str] = set()
    for index in range(110):
        rng = np.random.default_rng([20261129, index])
        network = random_graph(rng, random_network(rng, nasty=index % 3 == 0))
        compare(network, random_input(rng, network, 3))
        seen |= wired.parts(network)
    assert seen == wired.PARTS


@pytest.mark.parametrize("name", sorted(wired.cases()))
def test_each_part_of_a_graph(name: str) -> None:
    network = wired.cases()[name]
    compare(network, wired.stimulus(network))


@pytest.mark.parametrize("name", sorted(zoo_networks()))
def test_the_shipped_networks_on_real_images(name: str) -> None:
    from spikeproof.convert.options import ConvertOptions
    from spikeproof.convert.pipeline import convert_network

    network = load_checkpoint(zoo_networks()[name]).network
    calibration, _ = load_data(zoo_calibration(), network.input_shape)
    options = ConvertOptions(calibration_samples=16, search=False, compensate=False)
    chip = convert_network(network, calibration[:16], options).chip
    x, _ = load_data(zoo_images(), network.input_shape)
    compared, traces = compare(chip, x[:8])
    assert compared > 500_000
    assert all(t.s is None or 0 < t.s.mean() < 1 for t in traces.values())


@pytest.mark.parametrize("du", [0, 1, 2047, 4094])
def test_a_filtered_current_wraps_like_the_reference(du: int) -> None:
    network, x = edges.filtered(du)
    _, traces = compare(network, x)
    u = traces["l1"].u.astype(np.int64)
    assert u.min() < -(1 << 22) and u.max() > 1 << 22, "it did wrap"


@pytest.mark.parametrize("exponent", [7, 0, -3])
def test_the_largest_legal_sums_fit_32_bits_with_v_and_bias_on_top(exponent: int) -> None:
    network = edges.largest(exponent)
    _, traces = compare(network, np.ones((2, 4, 1, 1, 1008), np.uint8))
    if exponent == 7:
        assert traces["l1"].u.min() == -64 * ACCUMULATOR_MAX + (1 << 24)


@pytest.mark.parametrize("u", [1 << 23, (1 << 23) + 64, -(1 << 23), 64 - (1 << 23)])
def test_the_edges_of_the_wrap(u: int) -> None:
    """Exactly +2^23 stays, exactly -2^23 wraps."""
    taps = [2 * (1 if u > 0 else -1)] * (abs(u) // 128)
    readout = ReadoutNeuron(np.zeros(1, np.int32))
    layer = ChipLayer("l1", (Connection(DenseSynapse(np.array([taps], np.int16))),), readout, (1,))
    network = ChipNetwork("edge", (1, 1, len(taps)), 2, (layer,), "spikes")
    _, traces = compare(network, np.ones((1, 2, 1, 1, len(taps)), np.uint8))
    inside = -(1 << 23) < 64 * sum(taps) <= 1 << 23
    assert (int(traces["l1"].u[0, 0, 0]) == 64 * sum(taps)) == inside


@pytest.mark.parametrize(
    ("sign", "low", "high"), [("mixed", -256, 254), ("excitatory", 0, 255), ("inhibitory", -255, 0)]
)
def test_every_weight_of_every_sign_keeps_its_value(sign: Any, low: int, high: int) -> None:
    weight = np.arange(low, high + 1, 2 if sign == "mixed" else 1, dtype=np.int16)[:, None]
    readout = ReadoutNeuron(np.zeros(1, np.int32))
    layer = ChipLayer("l1", (Connection(DenseSynapse(weight, sign)),), readout, (len(weight),))
    for coding, shape in (("spikes", (1, 1, 1, 1, 1)), ("pixels", (1, 1, 1, 1))):
        network = ChipNetwork("weights", (1, 1, 1), 1, (layer,), coding)  # type: ignore[arg-type]
        compare(network, np.ones(shape, np.uint8))
    assert weight.min() == low and weight.max() == high


def test_graded_sums_beyond_float32_stay_exact() -> None:
    weight = np.full((1, 301), 255, np.int16)  # 301 * 255 * 255 = 19.6 million > 2^24, and odd
    synapse = DenseSynapse(weight, "excitatory")
    layer = ChipLayer("l1", (Connection(synapse),), ReadoutNeuron(np.zeros(1, np.int32)), (1,))
    x = np.full((2, 1, 1, 301), 255, np.uint8)
    x[0, 0, 0, 0] = 254
    _, traces = compare(ChipNetwork("wide", (1, 1, 301), 1, (layer,)), x)
    # The wrapped current has lost no bit: the sum is odd in units of 64.
    assert int(traces["l1"].u[1, 0, 0]) // 64 % 2 == 1


@pytest.mark.parametrize("exponent", [0, -1, -8])
def test_graded_convolutions_beyond_float32_stay_exact(exponent: int) -> None:
    rng = np.random.default_rng(4)
    weight = rng.choice([-255, -254, -253], (4, 40, 3, 3)).astype(np.int16)
    synapse = ConvSynapse(weight, (80, 5, 6), (2, 1), (1, 0), (1, 2), 2, "inhibitory", exponent)
    neuron = LifNeuron(100, 41, np.zeros((1, 1, 1), np.int32))
    layer = ChipLayer("c1", (Connection(synapse),), neuron, (4, 3, 2))
    x = rng.choice(np.array([253, 254, 255], np.uint8), (3, 80, 5, 6))
    compare(ChipNetwork("wide", (80, 5, 6), 3, (layer,)), x)
    assert 255 * np.abs(weight.astype(np.int64)).sum(axis=(1, 2, 3)).max() > 1 << 24
