"""The reference against trajectories worked out by hand from docs/semantics.md."""

from typing import Any

import numpy as np
import pytest

from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import LayerTrace
from spikeproof.errors import GraphError, InputError
from spikeproof.fuzz.draw.graphs import random_graph
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.ir.chip import (
    INPUT,
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    GeneralLifNeuron,
    HostCurrent,
    LifNeuron,
    Neuron,
    ReadoutNeuron,
    TableLifNeuron,
)

NO_BIAS = np.zeros(1, np.int32)


def one_neuron(neuron: Neuron, spikes: list[int], weight: int = 10) -> LayerTrace:
    synapse = DenseSynapse(np.array([[weight]], np.int16))
    layer = ChipLayer("l1", (Connection(synapse),), neuron, (1,))
    network = ChipNetwork("one", (1, 1, 1), len(spikes), (layer,), "spikes")
    x = np.array(spikes, np.uint8).reshape(1, -1, 1, 1, 1)
    traces = ReferenceEngine().run(network, x, trace=True).traces
    assert traces is not None
    return traces["l1"]


def test_leak_rounds_toward_zero_then_integrates() -> None:
    # 640, trunc(640*4055/4096)=633, +640=1273 -> 1260.2->1260, +640=1900
    trace = one_neuron(LifNeuron(100, 41, NO_BIAS), [1, 0, 1, 1])
    assert trace.v.ravel().tolist() == [640, 633, 1266, 1893]


def test_equality_does_not_fire_and_one_more_does() -> None:
    at_threshold = one_neuron(LifNeuron(20, 0, NO_BIAS), [1, 1, 0])
    assert at_threshold.v.ravel().tolist() == [640, 1280, 1280]
    assert at_threshold.s is not None and at_threshold.s.sum() == 0
    above = one_neuron(LifNeuron(20, 0, np.array([1], np.int32)), [1, 1, 0])
    assert above.v.ravel().tolist() == [641, 1282, 1]
    assert above.s is not None and above.s.ravel().tolist() == [0, 1, 0]


def test_spike_resets_v_but_not_u() -> None:
    # du=2047: u halves each step: 640, 320+640, ...
    trace = one_neuron(LifNeuron(9, 0, NO_BIAS, du=2047), [1, 0, 0])
    assert trace.u.ravel().tolist() == [640, 320, 160]
    assert trace.v.ravel().tolist() == [640, 320, 480]


def test_du_zero_still_decays_by_one_part_in_4096() -> None:
    trace = one_neuron(LifNeuron(100_000, 4096, NO_BIAS, du=0), [1, 0, 0], weight=64)
    assert trace.u.ravel().tolist() == [4096, 4095, 4094]


def test_bias_is_shifted_by_its_own_exponent_only() -> None:
    trace = one_neuron(LifNeuron(1000, 0, np.array([-3], np.int32), bias_exponent=2), [0, 0])
    assert trace.v.ravel().tolist() == [-12, -24]


def test_tables_follow_the_layers_own_clock() -> None:
    neuron = TableLifNeuron(
        np.array([0, 2048, 8192], np.int32), np.array([639, 10_000, 1000], np.int32), NO_BIAS
    )
    trace = one_neuron(neuron, [1, 1, 1])
    # fires at once (640 > 639), restarts at 0; then 640; then doubled: 1280 + 640
    assert trace.v.ravel().tolist() == [640, 640, 1920]
    assert trace.s is not None and trace.s.ravel().tolist() == [1, 0, 1]


def general(**numbers: Any) -> GeneralLifNeuron:
    plain = {
        "leak": [4096],
        "threshold": [639],
        "bias": [0],
        "du": [4095],
        "initial": [0],
        **numbers,
    }
    arrays = {k: None if v is None else np.array(v, np.int32) for k, v in plain.items()}
    return GeneralLifNeuron(**arrays)


def test_a_soft_reset_takes_its_amount_off_and_leaves_the_rest() -> None:
    trace = one_neuron(general(reset=[600], leak=[2048]), [1, 1, 0, 1])
    # 640 fires, 40 stay; half of it and 640 fires, 60 stay; 30; 15 and 640 fires
    assert trace.v.ravel().tolist() == [640, 660, 30, 655]
    assert trace.s is not None and trace.s.ravel().tolist() == [1, 1, 0, 1]


def test_a_reset_of_more_than_the_membrane_leaves_it_below_zero() -> None:
    trace = one_neuron(general(reset=[1000]), [1, 0])
    assert trace.v.ravel().tolist() == [640, -360]


def test_a_neuron_without_a_reset_fires_as_long_as_it_is_above() -> None:
    trace = one_neuron(general(reset=[0]), [1, 0, 0])
    assert trace.v.ravel().tolist() == [640, 640, 640]
    assert trace.s is not None and trace.s.ravel().tolist() == [1, 1, 1]


def test_the_first_state_is_decayed_and_given_to_every_sample() -> None:
    trace = one_neuron(general(initial=[-101], leak=[2048], reset=None), [0, 0])
    assert trace.v.ravel().tolist() == [-50, -25]


def test_each_neuron_has_its_own_numbers_and_each_step_its_row() -> None:
    neuron = general(
        leak=[[4096, 2048]], threshold=[[640, 639], [1279, 0]], reset=[0, 5], du=[4095, 2047]
    )
    synapse = DenseSynapse(np.array([[10], [10]], np.int16), "excitatory")
    network = ChipNetwork(
        "two", (1, 1, 1), 2, (ChipLayer("l1", (Connection(synapse),), neuron, (2,)),), "spikes"
    )
    x = np.ones((3, 2, 1, 1, 1), np.uint8)
    traces = ReferenceEngine().run(network, x, trace=True).traces
    assert traces is not None
    trace = traces["l1"]
    # the second fires at 640 > 639, keeps 635, halved 317, and its u is 640 + half of 640
    assert trace.v.tolist() == 3 * [[[640, 640], [1280, 317 + 960]]]
    assert trace.u.tolist() == 3 * [[[640, 640], [640, 960]]]
    assert trace.s is not None and trace.s.tolist() == 3 * [[[0, 1], [1, 1]]]


def test_snntorchs_unleaked_subtraction_is_a_reset_of_threshold_over_leak() -> None:
    """m' = beta m + x - R theta, R by the membrane before: snnTorch's default, beta 1/2."""
    m, spikes, expected = 0, [], []
    for x in (1, 1, 0, 1, 1, 1, 0, 0):
        m = m // 2 + 640 * x - 640 * (m > 640)  # all states here are even
        spikes.append(int(m > 640))
        expected.append(m)
    trace = one_neuron(
        general(leak=[2048], threshold=[640], reset=[1280]), [1, 1, 0, 1, 1, 1, 0, 0]
    )
    assert trace.v.ravel().tolist() == expected
    assert trace.s is not None and trace.s.ravel().tolist() == spikes
    assert sum(spikes) > 1


def test_readout_integrates_without_decay_and_never_fires() -> None:
    trace = one_neuron(ReadoutNeuron(np.array([5], np.int32)), [1, 1, 0])
    assert trace.v.ravel().tolist() == [645, 1290, 1295]
    assert trace.s is None


def test_saturation_at_24_bits() -> None:
    neuron = LifNeuron(131_071, 0, np.array([-4095], np.int32), bias_exponent=7)
    trace = one_neuron(neuron, [0] * 20)
    assert trace.v.min() == -((1 << 23) - 1)


def test_host_current_is_rounded_once_and_written_as_bias() -> None:
    synapse, host = DenseSynapse(np.array([[3]], np.int16)), HostCurrent(np.array([1], np.int64), 2)
    layer = ChipLayer(
        "l1", (Connection(synapse, host=host),), LifNeuron(1000, 0, np.zeros(1, np.int32), 1), (1,)
    )
    network = ChipNetwork("host", (1, 1, 1), 2, (layer,))
    traces = ReferenceEngine().run(network, np.full((1, 1, 1, 1), 7, np.uint8), trace=True).traces
    assert traces is not None
    # (3*7 + 1) / 4 = 5.5 -> 6 (half up), << 1 = 12 per step, and u stays 0
    assert traces["l1"].v.ravel().tolist() == [12, 24]
    assert not traces["l1"].u.any()


def test_convolution_is_cross_correlation_with_stride_and_padding() -> None:
    weight = np.arange(2, 20, 2).reshape(1, 1, 3, 3).astype(np.int16)
    synapse = ConvSynapse(weight, (1, 3, 3), stride=(2, 2), padding=(1, 1))
    layer = ChipLayer(
        "l1", (Connection(synapse),), ReadoutNeuron(np.zeros((1, 1, 1), np.int32)), (1, 2, 2)
    )
    network = ChipNetwork("conv", (1, 3, 3), 1, (layer,))
    x = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 2]], np.uint8).reshape(1, 1, 3, 3)
    logits = ReferenceEngine().run(network, x).logits
    # top-left window sees the 1 under the centre weight 10; bottom-right sees the 2 there too
    assert (logits // 64).tolist() == [[10, 0, 0, 20]]


def test_samples_do_not_influence_each_other() -> None:
    layer = ChipLayer(
        "l1",
        (Connection(DenseSynapse(np.array([[10]], np.int16))),),
        LifNeuron(30, 41, NO_BIAS, du=100),
        (1,),
    )
    network = ChipNetwork("n", (1, 1, 1), 5, (layer,), "spikes")
    x = np.random.default_rng(0).integers(0, 2, (4, 5, 1, 1, 1)).astype(np.uint8)
    together = ReferenceEngine().run(network, x, trace=True).traces
    assert together is not None
    for i in range(4):
        alone = ReferenceEngine().run(network, x[i : i + 1], trace=True).traces
        assert alone is not None
        np.testing.assert_array_equal(alone["l1"].v[0], together["l1"].v[i])


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((2, 1, 2, 2), np.uint8), "shape"),
        (np.zeros((2, 1, 1, 1), np.float32), "float32"),
        (np.zeros((0, 1, 1, 1), np.uint8), "no samples"),
    ],
)
def test_wrong_input_is_refused(x: np.ndarray, words: str) -> None:
    layer = ChipLayer(
        "l1",
        (Connection(DenseSynapse(np.array([[10]], np.int16))),),
        LifNeuron(30, 41, NO_BIAS),
        (1,),
    )
    network = ChipNetwork("n", (1, 1, 1), 5, (layer,))
    with pytest.raises(InputError, match=words):
        ReferenceEngine().run(network, x)


def test_illegal_network_is_refused_with_every_problem() -> None:
    odd = DenseSynapse(np.array([[3]], np.int16))
    layer = ChipLayer("l1", (Connection(odd),), LifNeuron(1 << 17, 5000, NO_BIAS), (1,))
    network = ChipNetwork("n", (1, 1, 1), 5, (layer,))
    with pytest.raises(GraphError) as error:
        ReferenceEngine().run(network, np.zeros((1, 1, 1, 1), np.uint8))
    for words in ("even", "threshold is 131072", "dv is 5000"):
        assert words in str(error.value)


def graph(*layers: ChipLayer, steps: int = 4) -> ChipNetwork:
    return ChipNetwork("graph", (1, 1, 1), steps, layers, "spikes")


def wire(weight: int, source: str | None = None, lag: int = 0) -> Connection:
    return Connection(DenseSynapse(np.array([[weight]], np.int16)), source, lag)


def spikes_of(network: ChipNetwork, spikes: list[int]) -> dict[str, list[int]]:
    x = np.array(spikes, np.uint8).reshape(1, -1, 1, 1, 1)
    traces = ReferenceEngine().run(network, x, trace=True).traces or {}
    return {name: trace.u.ravel().tolist() for name, trace in traces.items()}


RELAY = LifNeuron(0, 4096, NO_BIAS)
"""Fires in the step in which something arrives, and forgets."""


def test_a_skip_meets_the_long_way_in_the_same_step() -> None:
    network = graph(
        ChipLayer("a", (wire(2, INPUT),), RELAY, (1,)),
        ChipLayer("b", (wire(2, "a"),), RELAY, (1,)),
        ChipLayer("c", (wire(6, "b"), wire(10, INPUT), wire(-4, "a")), RELAY, (1,)),
    )
    assert spikes_of(network, [1, 0, 1, 0])["c"] == [64 * 12, 0, 64 * 12, 0]


def test_a_lag_delays_and_nothing_arrives_before_the_sample_began() -> None:
    network = graph(ChipLayer("a", (wire(2, INPUT), wire(8, INPUT, 2)), RELAY, (1,)))
    assert spikes_of(network, [1, 1, 0, 0])["a"] == [128, 128, 512, 512]


def test_a_spike_comes_back_after_its_lag() -> None:
    network = graph(ChipLayer("a", (wire(2, INPUT), wire(4, "a", 2)), RELAY, (1,)), steps=6)
    assert spikes_of(network, [1, 0, 0, 0, 0, 0])["a"] == [128, 0, 256, 0, 256, 0]


def test_each_connection_is_shifted_before_all_are_added() -> None:
    half = Connection(DenseSynapse(np.array([[10]], np.int16), exponent=-2), INPUT)
    network = graph(ChipLayer("a", (half, half, wire(-2, INPUT)), RELAY, (1,)), steps=1)
    assert spikes_of(network, [1])["a"] == [64 * (2 + 2 - 2)]


def test_pixels_enter_as_a_current_beside_spikes() -> None:
    host = Connection(
        DenseSynapse(np.array([[3]], np.int16)), INPUT, host=HostCurrent(np.array([0], np.int64), 0)
    )
    first = ChipLayer("a", (wire(2, INPUT),), RELAY, (1,))
    both = ChipLayer("b", (wire(2, "a"), host), LifNeuron(100, 4096, NO_BIAS), (1,))
    network = ChipNetwork("graph", (1, 1, 1), 2, (first, both))
    traces = ReferenceEngine().run(network, np.full((1, 1, 1, 1), 7, np.uint8), trace=True).traces
    assert traces is not None
    assert traces["b"].v.ravel().tolist() == [128 + 21, 128 + 21]


@pytest.mark.parametrize("index", range(60))
def test_batches_of_graphs_equal_the_reference(index: int) -> None:
    rng = np.random.default_rng([5, index])
    network = random_graph(rng, random_network(rng))
    x = random_input(rng, network, 3)
    expected = ReferenceEngine().run(network, x, trace=True)
    found = NumpyEngine().run(network, x, trace=True)
    assert np.array_equal(NumpyEngine().run(network, x).logits, expected.logits)
    assert np.array_equal(found.logits, expected.logits)
    assert list(found.traces or {}) == list(expected.traces or {})
    for name, trace in (expected.traces or {}).items():
        other = (found.traces or {})[name]
        assert np.array_equal(trace.u, other.u)
        assert np.array_equal(trace.v, other.v)
        assert (trace.s is None and other.s is None) or np.array_equal(trace.s, other.s)  # type: ignore[arg-type]


def test_a_layer_that_only_feeds_itself_runs_on_every_plain_engine() -> None:
    biased = LifNeuron(1, 4096, np.array([100], np.int32))
    network = graph(
        ChipLayer("a", (wire(2, INPUT),), RELAY, (1,)),
        ChipLayer("b", (wire(2, "b", 1),), biased, (1,)),
        steps=3,
    )
    x = np.ones((2, 3, 1, 1, 1), np.uint8)
    expected = ReferenceEngine().run(network, x).logits
    np.testing.assert_array_equal(NumpyEngine().run(network, x).logits, expected)
    assert expected.tolist() == [[3], [3]]
