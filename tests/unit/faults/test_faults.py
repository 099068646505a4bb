"""Faults: laws that hold for every kind, a case by hand for each, and what they do to networks."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikeproof import fixedpoint as fx
from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.convert.quantise import V_UNITS, Candidate, dequantise
from spikeproof.engines.floats import run_float
from spikeproof.engines.numpy_engine import NumpyEngine, run_alone
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.errors import InputError
from spikeproof.faults import weights
from spikeproof.faults.base import Fault, Faulted, IllegalFaultError, Pair
from spikeproof.faults.drift import DecayDrift, Drift, ThresholdDrift, general
from spikeproof.faults.registry import FAULTS
from spikeproof.faults.run import chip_predictions, trained_predictions
from spikeproof.faults.spikes import (
    DeadNeurons,
    DroppedSpikes,
    JitteredSpikes,
    SpikeFault,
    StuckNeurons,
)
from spikeproof.faults.weights import WeightBits, from_stored, stored
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    DenseSynapse,
    LifNeuron,
    ReadoutNeuron,
    TableLifNeuron,
)
from spikeproof.ir.floats import FloatNetwork, Lif, Linear, Readout

LAWS = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
RANDOM = [kind for kind in FAULTS.names() if kind != "worst-bits"]
seeds = st.integers(0, 1 << 30)
X = np.random.default_rng(3).integers(0, 256, (12, 1, 8, 8), dtype=np.uint8)
Y = np.arange(12) % 10


@pytest.fixture
def pair(tiny_network: FloatNetwork) -> Pair:
    """The small network of the tests and its conversion; its pixels enter as graded spikes."""
    options = ConvertOptions(search=False, compensate=False, input_coding="graded")
    done = convert_network(tiny_network, X, options)
    return Pair(done.folded, done.chip, done.units)


def most(fault: type[Fault]) -> float:
    return fault.most


def fired_of(found: Faulted, x: Any, start: int = 0) -> dict[str, Any]:
    assert found.channels is not None
    run = NumpyEngine(found.channels(range(start, start + len(x)))).run(found.chip, x, trace=True)
    return {name: one.s for name, one in (run.traces or {}).items() if one.s is not None}


def trained_fired_of(found: Faulted, x: Any) -> dict[str, Any]:
    assert found.channels is not None
    run = run_float(found.trained, x, trace=True, channel=found.channels(range(len(x))))
    return {name: one.s for name, one in run.traces.items() if one.s is not None}


@pytest.mark.parametrize("kind", RANDOM)
@LAWS
@given(seed=seeds)
def test_rate_zero_changes_nothing(kind: str, seed: int, pair: Pair) -> None:
    found = FAULTS.get(kind)(0).applied(pair, seed, X, Y)
    assert found.chip is pair.chip and found.trained is pair.trained
    if found.channels is None:
        return
    plain = NumpyEngine().run(pair.chip, X, trace=True).traces or {}
    for name, spikes in fired_of(found, X).items():
        np.testing.assert_array_equal(spikes, plain[name].s)


@pytest.mark.parametrize("kind", RANDOM)
@LAWS
@given(seed=seeds, rate=st.floats(0.01, 0.6))
def test_equal_seeds_give_equal_faults_and_others_give_others(
    kind: str, seed: int, rate: float, pair: Pair
) -> None:
    fault = FAULTS.get(kind)
    rate *= most(fault)
    one, two, other = (fault(rate).applied(pair, s, X, Y) for s in (seed, seed, seed + 1))
    if one.channels is not None:
        assert all(
            (a == b).all()
            for a, b in zip(fired_of(one, X).values(), fired_of(two, X).values(), strict=True)
        )
        return
    assert pickle.dumps(one.chip) == pickle.dumps(two.chip) != pickle.dumps(other.chip)
    assert pickle.dumps(one.trained) == pickle.dumps(two.trained) != pickle.dumps(other.trained)


@pytest.mark.parametrize("sign", ["mixed", "excitatory", "inhibitory"])
@LAWS
@given(data=st.data())
def test_every_byte_is_a_weight_and_rate_one_flips_every_bit(sign: Any, data: Any) -> None:
    low, high = {"mixed": (-128, 127), "excitatory": (0, 255), "inhibitory": (-255, 0)}[sign]
    values = data.draw(st.lists(st.integers(low, high), min_size=1, max_size=20))
    synapse = DenseSynapse(np.array([values]) * (2 if sign == "mixed" else 1), sign)
    held = stored(synapse)
    np.testing.assert_array_equal(from_stored(synapse, held).weight, synapse.weight)
    every = from_stored(synapse, ~held)
    assert not every.problems()
    np.testing.assert_array_equal(stored(every) ^ held, 0xFF)


@LAWS
@given(seed=seeds)
def test_rate_one_flips_every_stored_bit_of_a_network(seed: int, pair: Pair) -> None:
    found = WeightBits(1).applied(pair, seed, X, Y)
    for (_, _, before), (_, _, after) in zip(
        weights.memories(pair.chip), weights.memories(found.chip), strict=True
    ):
        np.testing.assert_array_equal(stored(before) ^ stored(after), 0xFF)


@LAWS
@given(seed=seeds, rate=st.floats(0.01, 0.99))
def test_the_number_of_flipped_bits_follows_the_rate(seed: int, rate: float, pair: Pair) -> None:
    found = WeightBits(rate).applied(pair, seed, X, Y)
    flips, bits = 0, 0
    for (_, _, before), (_, _, after) in zip(
        weights.memories(pair.chip), weights.memories(found.chip), strict=True
    ):
        changed = stored(before) ^ stored(after)
        flips += int(np.unpackbits(changed).sum())
        bits += changed.size * 8
    assert abs(flips - rate * bits) < 6 * np.sqrt(bits * rate * (1 - rate))


def test_all_bits_of_a_byte_are_flipped_alike(pair: Pair) -> None:
    counts = np.zeros(8)
    for seed in range(20):
        found = WeightBits(0.1).applied(pair, seed, X, Y)
        for (_, _, a), (_, _, b) in zip(
            weights.memories(pair.chip), weights.memories(found.chip), strict=True
        ):
            changed = (stored(a) ^ stored(b)).reshape(-1, 1)
            counts += np.unpackbits(changed, axis=1).sum(axis=0)
    assert (abs(counts - counts.mean()) < 5 * np.sqrt(counts.mean())).all()


@pytest.mark.parametrize("kind", ["dead", "stuck", "dropped", "weight-bits"])
@LAWS
@given(seed=seeds, rates=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_larger_rate_strikes_where_a_smaller_one_does(
    kind: str, seed: int, rates: tuple[float, float], pair: Pair
) -> None:
    made = FAULTS.get(kind)
    less, more = (made(rate) for rate in sorted(rates))
    if isinstance(less, SpikeFault) and isinstance(more, SpikeFault):
        few, many = (f.of_spikes("l1", (4, 3, 2), seed, range(3)) for f in (less, more))
        assert not (few & ~many).any()
        few, many = (f.of_neurons("l1", (4, 3, 2), seed) for f in (less, more))
        assert not (few & ~many).any()
        return
    flips = []
    for fault in (less, more):
        chip = fault.applied(pair, seed, X, Y).chip
        both = zip(weights.memories(pair.chip), weights.memories(chip), strict=True)
        flips.append([stored(a) ^ stored(b) for (_, _, a), (_, _, b) in both])
    assert not any((few & ~many).any() for few, many in zip(*flips, strict=True))


@pytest.mark.parametrize("kind", ["dead", "stuck", "dropped", "jittered"])
def test_what_happens_to_an_image_does_not_depend_on_its_batch(kind: str, pair: Pair) -> None:
    found = FAULTS.get(kind)(0.3).applied(pair, 5, X, Y)
    whole = fired_of(found, X)
    parts = [fired_of(found, X[:5]), fired_of(found, X[5:], 5)]
    for name, spikes in whole.items():
        np.testing.assert_array_equal(spikes, np.concatenate([part[name] for part in parts]))


@pytest.mark.parametrize("kind", ["dead", "stuck"])
def test_both_networks_lose_or_gain_the_same_neurons(kind: str, pair: Pair) -> None:
    found = FAULTS.get(kind)(0.4).applied(pair, 5, X, Y)
    chip, trained = fired_of(found, X), trained_fired_of(found, X)
    wanted = 0 if kind == "dead" else 1
    made = FAULTS.get(kind)(0.4)
    assert isinstance(made, SpikeFault)
    for layer in pair.chip.layers[:-1]:
        struck = made.of_neurons(layer.name, (4, *layer.shape), 5)
        assert 0 < struck.sum() < struck.size
        assert (chip[layer.name][:, :, struck] == wanted).all()
        assert (trained[layer.name][:, :, struck] == wanted).all()


def test_every_image_and_step_loses_spikes_of_its_own() -> None:
    lost = DroppedSpikes(0.5).of_spikes("l1", (4, 50), 1, range(7, 10))
    assert len(np.unique(lost.reshape(12, 50), axis=0)) == 12
    other = DroppedSpikes(0.5).of_spikes("l2", (4, 50), 1, range(7, 10))
    assert (lost != other).any()


def test_a_dead_neuron_is_one_whose_threshold_nothing_reaches(pair: Pair) -> None:
    found = DeadNeurons(0.3).applied(pair, 2, X, Y)
    layers = {}
    for layer in pair.chip.layers[:-1]:
        dead = DeadNeurons(0.3).of_neurons(layer.name, (4, *layer.shape), 2)
        neuron = general(layer.neuron, 4, layer.shape)
        threshold = np.where(dead, fx.STATE_MAX, neuron.threshold).astype(np.int32)
        layers[layer.name] = layer.changed(neuron=neuron.changed(threshold=threshold))
    wanted = ReferenceEngine().run(pair.with_layers(layers), X)
    assert found.channels is not None
    engine = NumpyEngine(found.channels(range(len(X))))
    np.testing.assert_array_equal(engine.run(found.chip, X).logits, wanted.logits)


def test_with_all_neurons_stuck_the_readout_sees_nothing_but_spikes(pair: Pair) -> None:
    found = StuckNeurons(1).applied(pair, 0, X, Y)
    assert found.channels is not None
    run = NumpyEngine(found.channels(range(2))).run(found.chip, X[:2])
    out = pair.chip.layers[-1]
    ones = np.ones((2, 4, *pair.chip.layers[-2].shape), np.uint8)
    np.testing.assert_array_equal(run.logits, run_alone(out, [ones], 2, 4).v[:, -1])


@dataclass(frozen=True)
class _Struck:
    """Which places a test strikes."""

    neurons: Any = None
    spikes: Any = None

    def fit(self, fault: SpikeFault, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
        kind = type(fault)
        monkeypatch.setattr(kind, "of_neurons", lambda *_: np.array(self.neurons, bool))
        monkeypatch.setattr(kind, "of_spikes", lambda *_: np.array([self.spikes], bool))
        return fault.way("l", (4, 2), 0, range(1))


@pytest.mark.parametrize(
    ("fault", "struck", "sent"),
    [
        (DeadNeurons(0.5), _Struck(neurons=[1, 0]), [[0, 1], [0, 0], [0, 1], [0, 1]]),
        (StuckNeurons(0.5), _Struck(neurons=[1, 0]), [[1, 1], [1, 0], [1, 1], [1, 1]]),
        (
            DroppedSpikes(0.5),
            _Struck(spikes=[[1, 0], [1, 1], [0, 1], [0, 0]]),
            [[0, 1], [0, 0], [1, 0], [1, 1]],
        ),
        (  # late ones: 0 of the first; 0 at the end never arrives; 1 meets its next and is one
            JitteredSpikes(0.5),
            _Struck(spikes=[[1, 0], [1, 1], [0, 1], [1, 0]]),
            [[0, 1], [1, 0], [1, 0], [0, 1]],
        ),
    ],
    ids=lambda one: getattr(one, "kind", None),
)
def test_spikes_by_hand(
    fault: SpikeFault, struck: _Struck, sent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = struck.fit(fault, monkeypatch)
    fired = np.array([[1, 1], [0, 0], [1, 1], [1, 1]], bool)
    found = [way(t, fired[None, t])[0].astype(int).tolist() for t in range(4)]
    assert found == sent


def test_the_spike_resets_its_neuron_also_when_it_is_lost() -> None:
    """v: 3, 6 -> spike, reset; without the reset it would fire again at once."""
    neuron = LifNeuron(threshold=4, dv=0, bias=np.array([3]), bias_exponent=6)
    silent = Connection(DenseSynapse(np.zeros((1, 1), np.int32)))
    network = ChipNetwork("n", (1, 1, 1), 4, (ChipLayer("l", (silent,), neuron, (1,)),))
    x = np.zeros((1, 1, 1, 1), np.uint8)
    run = NumpyEngine(lambda _, t, fired: fired & (t != 1)).run(network, x, trace=True)
    trace = (run.traces or {})["l"]
    assert trace.v[0, :, 0].tolist() == [192, 384, 192, 384]
    assert trace.s is not None and trace.s[0, :, 0].tolist() == [0, 0, 0, 1]
    lif = FloatNetwork(
        "n", (1, 1, 1), 4, (Linear("w", np.ones((1, 1)), np.full(1, 3.0)), Lif("l", 1.0, 4.0))
    )
    seen = run_float(lif, x, trace=True, channel=lambda _, t, fired: fired & (t != 1)).traces["l"]
    assert seen.v is not None and seen.v[0, :, 0].tolist() == [3, 6, 3, 6]
    assert seen.s is not None and seen.s[0, :, 0].tolist() == [0, 0, 0, 1]


def test_stored_weights_by_hand() -> None:
    mixed = DenseSynapse(np.array([[-256, -2, 0, 254]], np.int32))
    assert stored(mixed).tolist() == [[0x80, 0xFF, 0x00, 0x7F]]
    top, lowest = np.full((1, 4), 0x80, np.uint8), np.full((1, 4), 1, np.uint8)
    assert from_stored(mixed, stored(mixed) ^ top).weight.tolist() == [[0, 254, -256, -2]]
    assert from_stored(mixed, stored(mixed) ^ lowest).weight.tolist() == [[-254, -4, 2, 252]]
    inhibitory = DenseSynapse(np.array([[-5, 0]], np.int8), "inhibitory")
    found = from_stored(inhibitory, stored(inhibitory) ^ np.array([[2, 255]], np.uint8))
    assert found.weight.tolist() == [[-7, -255]]


def test_trained_weights_change_by_what_the_integers_change(pair: Pair) -> None:
    found = WeightBits(0.05).applied(pair, 1, X, Y)
    nodes = {node.name: node for node in found.trained.nodes}
    moved = 0
    for layer, before, after in zip(pair.layers, pair.chip.layers, found.chip.layers, strict=True):
        scale = pair.units[before.name] / V_UNITS
        old, new = (dequantise(layer, Candidate(one, scale, 0.0, ()))[0] for one in (before, after))
        trained: Any = layer.parts[0][0]
        changed: Any = nodes[trained.name]
        difference = new.weight - old.weight  # type: ignore[union-attr]
        np.testing.assert_allclose(changed.weight - trained.weight, difference, atol=1e-6)
        np.testing.assert_array_equal(changed.bias, trained.bias)
        moved += int(np.count_nonzero(difference))
    assert moved > 50
    assert found.chip.layers[0].inputs[0].host is None  # pixels meet stored weights here


def test_what_the_host_computes_is_none_of_the_memory(tiny_network: FloatNetwork) -> None:
    options = ConvertOptions(search=False, compensate=False, input_coding="bias")
    done = convert_network(tiny_network, X, options)
    pair = Pair(done.folded, done.chip, done.units)
    found = WeightBits(1).applied(pair, 0, X, Y)
    assert found.chip.layers[0] is pair.chip.layers[0]
    assert found.trained.nodes[0] is pair.trained.nodes[0]
    assert found.chip.layers[1] is not pair.chip.layers[1]


def test_both_networks_go_the_same_way(pair: Pair) -> None:
    x = np.random.default_rng(8).integers(0, 256, (100, 1, 8, 8), dtype=np.uint8)
    clean = chip_predictions(pair.chip, x)
    for kind in RANDOM:
        made = FAULTS.get(kind)
        found = made(0.3 * made.most if kind != "weight-bits" else 0.05).applied(pair, 4, x, Y)
        chip = chip_predictions(found.chip, x, found.channels)
        trained = trained_predictions(found.trained, x, found.channels)
        assert (chip != clean).mean() > 0.02, kind
        assert (chip == trained).mean() > 0.8, kind


def test_drift_by_hand() -> None:
    lif = LifNeuron(threshold=10, dv=96, bias=np.zeros(2, np.int32))
    wide = general(lif, 3, (2,))
    assert wide.threshold.tolist() == [[640, 640]] and wide.leak.tolist() == [[4000, 4000]]
    factor = np.array([1.5, 0.8])
    assert ThresholdDrift(5).of_chip(wide, factor).threshold.tolist() == [[960, 512]]
    assert DecayDrift(5).of_chip(wide, np.array([1.01, 0.5])).leak.tolist() == [[4040, 2000]]
    table = TableLifNeuron(
        leak=np.array([0, 4000, 5000]), threshold=np.array([64, 65, 66]), bias=np.zeros(2, np.int32)
    )
    wide = general(table, 3, (2,))
    found = DecayDrift(5).of_chip(wide, factor).leak.tolist()
    assert found == [[0, 0], [6000, 3200], [7500, 4000]]
    assert ThresholdDrift(5).of_chip(wide, factor).threshold[2].tolist() == [99, 53]
    trained = Lif("l", 0.8, 2.0)
    assert DecayDrift(5).possible(trained, np.array([1.5, 0.5])).tolist() == [1.25, 0.5]
    assert DecayDrift(5).of_trained(trained, np.array([1.25, 0.5])).leak.tolist() == [1.0, 0.4]  # type: ignore[union-attr]
    assert ThresholdDrift(5).of_trained(trained, factor).threshold.tolist() == [3.0, 1.6]  # type: ignore[union-attr]
    assert DecayDrift(5).possible(Lif("l", 0.0, 1.0), np.array([3.0])).tolist() == [1.0]


@pytest.mark.parametrize("kind", [ThresholdDrift, DecayDrift])
@LAWS
@given(seed=seeds, rate=st.floats(0.1, 100))
def test_drift_is_lognormal_legal_and_the_same_in_both(
    kind: type[Drift], seed: int, rate: float, pair: Pair
) -> None:
    found = kind(rate).applied(pair, seed, X, Y)
    ends: dict[str, Any] = {node.name: node for node in found.trained.nodes}
    for layer, built, before in zip(pair.layers, found.chip.layers, pair.chip.layers, strict=True):
        if not isinstance(layer.end, Lif):
            assert built is before
            continue
        name = "threshold" if kind is ThresholdDrift else "leak"
        wide = general(before.neuron, 4, before.shape)
        numbers, was = getattr(built.neuron, name)[0], getattr(wide, name)[0]
        factor = getattr(ends[layer.name], name) / getattr(layer.end, name)
        np.testing.assert_allclose(numbers, np.minimum(was * factor, fx.STATE_MAX), atol=0.51)
        if kind is ThresholdDrift and rate < 20:
            logs = np.log(factor) * 100 / rate
            assert abs(logs.mean()) < 5 / np.sqrt(logs.size)
            assert abs(logs.std() - 1) < 4 / np.sqrt(logs.size)


def test_neurons_with_numbers_of_their_own_are_the_same_neurons(pair: Pair) -> None:
    layers = {
        layer.name: layer.changed(neuron=general(layer.neuron, 4, layer.shape))
        for layer in pair.chip.layers[:-1]
    }
    one, two = (
        ReferenceEngine().run(n, X, trace=True) for n in (pair.chip, pair.with_layers(layers))
    )
    for name, trace in (one.traces or {}).items():
        np.testing.assert_array_equal(trace.v, (two.traces or {})[name].v)


def test_a_fault_that_the_chip_cannot_hold_says_why() -> None:
    """All bits of 254 make -256, and 509 of them times a payload of 255 leave the accumulator."""
    dense = DenseSynapse(np.full((1, 509), 254, np.int32))
    out = ChipLayer("out", (Connection(dense),), ReadoutNeuron(np.zeros(1, np.int32)), (1,))
    chip = ChipNetwork("wide", (509, 1, 1), 2, (out,))
    trained = FloatNetwork(
        "wide", (509, 1, 1), 2, (Linear("w", np.ones((1, 509)), None), Readout("out"))
    )
    pair = Pair(trained, chip, {"out": 64.0})
    WeightBits(0).applied(pair, 0, X, Y)
    with pytest.raises(IllegalFaultError, match="33227520; the accumulator holds"):
        WeightBits(1).applied(pair, 0, X, Y)


@pytest.mark.parametrize(
    ("kind", "rate", "told"),
    [
        ("dead", 1.5, "dead at 1.5, expected 0 to 1"),
        ("dead", -0.1, "expected 0 to 1"),
        ("dropped", float("nan"), "expected 0 to 1"),
        ("threshold-drift", 101, "expected 0 to 100"),
        ("worst-bits", 2.5, "whole number"),
        ("worst-bits", 5000, "expected 0 to 1024"),
    ],
)
def test_rates_that_are_none(kind: str, rate: float, told: str) -> None:
    with pytest.raises(InputError, match=told):
        FAULTS.get(kind)(rate)


def test_faults_reach_spikes_that_come_back(pair: Pair) -> None:
    """A layer that feeds itself runs step by step: what is dropped does not come back either."""
    neuron = LifNeuron(threshold=1, dv=4096, bias=np.zeros(1, np.int32))
    start = Connection(DenseSynapse(np.full((1, 1), 2, np.int32)), source="@input")
    again = Connection(DenseSynapse(np.full((1, 1), 2, np.int32)), source="l", lag=1)
    layer = ChipLayer("l", (start, again), neuron, (1,))
    network = ChipNetwork("loop", (1, 1, 1), 4, (layer,), "spikes")
    x = np.zeros((1, 4, 1, 1, 1), np.uint8)
    x[0, 0] = 1
    plain = NumpyEngine().run(network, x, trace=True)
    assert (plain.traces or {})["l"].s[0, :, 0].tolist() == [1, 1, 1, 1]  # type: ignore[index]
    run = NumpyEngine(lambda _, t, fired: fired & (t != 1)).run(network, x, trace=True)
    assert (run.traces or {})["l"].s[0, :, 0].tolist() == [1, 0, 0, 0]  # type: ignore[index]


def test_every_fault_says_what_its_rates_are() -> None:
    for kind, made in FAULTS.all().items():
        assert made.kind == kind and list(made.rates) == sorted(set(made.rates))
        assert made.title and made(made.rates[0]).text
        assert replace(made(made.rates[0]), rate=made.rates[1]).rate == made.rates[1]
