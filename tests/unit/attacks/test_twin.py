"""Twins: their forward is the network's, their gradient that of plain torch autograd."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("numba", reason="twins are compiled")

from spikeproof.attacks import Estimator
from spikeproof.attacks.twin import Memory, chip_twin, float_twin
from spikeproof.attacks.twin.maps import places
from spikeproof.convert.fold import fold
from spikeproof.engines.floats import run_float
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.errors import InputError, UnsupportedError
from spikeproof.fuzz.draw.graphs import random_graph
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.ir import floats
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    DenseSynapse,
    LifNeuron,
    ReadoutNeuron,
)
from spikeproof.ir.graph import is_recurrent
from spikeproof.ir.limits import INPUT
from spikeproof.ir.readouts import settled
from spikeproof_models import plain_loop

FORMS = ["triangle", "arctangent", "rectangular", "exponential", "straight-through"]
RESETS = ["attached", "detached"]


def draw(rng, *shape, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def chain(neuron, rule="auto", steps=5):
    """Two convolutions, pooling and a dense layer; neurons of the kind that is asked for."""
    rng = np.random.default_rng(3)
    ones = np.ones(4, np.float32)
    return floats.FloatNetwork(
        "chain",
        (2, 9, 7),
        steps,
        (
            floats.InputScale("scale", np.array([0.4, 0.6]), np.array([0.3, 0.5])),
            floats.Conv2d("c1", draw(rng, 4, 2, 3, 3, scale=0.5), None, (2, 1), (0, 0)),
            floats.BatchNorm2d("b1", ones, draw(rng, 4, scale=0.1), draw(rng, 4, scale=0.1), ones),
            neuron("l1", (4, 4, 5), rng),
            floats.Conv2d(
                "c2", draw(rng, 6, 2, 3, 2, scale=0.6), draw(rng, 6), (1, 1), (1, 2), (1, 2), 2
            ),
            floats.AvgPool2d("pool", (2, 2), (2, 2)),
            neuron("l2", (6, 2, 3), rng),
            floats.Flatten("flat"),
            floats.Linear("f3", draw(rng, 12, 36, scale=0.4), draw(rng, 12, scale=0.2)),
            neuron("l3", (12,), rng),
            floats.Linear("f4", draw(rng, 5, 12, scale=0.5), draw(rng, 5, scale=0.2)),
            floats.Readout("out", rule),
        ),
    )


def plain(name, shape, rng):
    return floats.Lif(name, 0.9, 1.0)


def dlif(name, shape, rng):
    gain = rng.uniform(0.6, 1.5, 5).astype(np.float32)
    return floats.Lif(name, 0.99, 0.8, gain=gain)


def soft(name, shape, rng):
    return floats.Lif(name, 0.8, 1.2, False, reset=1.1, initial=0.3)


def general(name, shape, rng):
    each = (shape[0],) + (1,) * (len(shape) - 1)
    return floats.Lif(
        name,
        rng.uniform(0.7, 1.0, each),
        0.9,
        gain=rng.uniform(0.6, 1.5, (5, *each)),
        reset=rng.uniform(0.2, 1.0, each),
        initial=rng.uniform(-0.3, 0.3, each),
    )


def graph():
    """A residual stream, a skip that lags, two maps into one neuron."""
    rng = np.random.default_rng(5)
    nodes = (
        floats.Linear("in", draw(rng, 9, 12, scale=0.8), draw(rng, 9, scale=0.3)),
        floats.Lif("a", 0.9, 1.0),
        floats.Linear("ab", draw(rng, 9, 9, scale=0.6), draw(rng, 9, scale=0.2)),
        floats.Linear("xb", draw(rng, 9, 12, scale=0.3), draw(rng, 9, scale=0.1)),
        floats.Lif("b", 0.7, 1.0, reset=1.0),
        floats.Linear("late", draw(rng, 4, 9, scale=0.6), None),
        floats.Linear("bo", draw(rng, 4, 9, scale=0.6), draw(rng, 4)),
        floats.Readout("out"),
    )
    edges = [
        floats.Edge(INPUT, "in"),
        floats.Edge("in", "a"),
        floats.Edge("a", "ab"),
        floats.Edge(INPUT, "xb"),
        floats.Edge("ab", "b"),
        floats.Edge("xb", "b"),
        floats.Edge("a", "late", 2),
        floats.Edge("b", "bo"),
        floats.Edge("late", "out"),
        floats.Edge("bo", "out"),
    ]
    return floats.FloatNetwork("graph", (3, 2, 2), 6, nodes, tuple(edges))


def counted():
    net = chain(plain)
    return replace(net, nodes=(*net.nodes[:-2], floats.Readout("out", "count")))


NETWORKS = {
    "LIF": chain(plain),
    "DLIF": chain(dlif),
    "soft reset": chain(soft),
    "all numbers of their own": chain(general),
    "graph": graph(),
    "counts": counted(),
    **{rule: chain(plain, rule) for rule in ("last", "mean", "max", "max-abs")},
}


def case(network, seed=0, samples=6):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (samples, *network.input_shape), dtype=np.uint8)
    return x, rng.standard_normal((samples, float_twin(fold(network)).classes))


def check_gradient(network, estimator):
    x, of_logits = case(network)
    twin = float_twin(fold(network), np.float64)
    run = twin.forward(x)
    logits, expected = plain_loop.gradient(network, x, of_logits, estimator, torch.float64)
    np.testing.assert_allclose(run.logits, logits, rtol=1e-9, atol=1e-9)
    found = twin.back(run, of_logits, estimator)
    assert float(np.abs(expected).max()) > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_gradient_is_that_of_autograd(name, reset):
    check_gradient(NETWORKS[name], Estimator(0.7, reset, "triangle"))


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("form", FORMS)
def test_every_slope_is_its_definition(form, reset):
    check_gradient(NETWORKS["DLIF"], Estimator(0.4, reset, form))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_gradient_without_the_leak_is_that_of_autograd(name):
    check_gradient(NETWORKS[name], Estimator(0.7, "detached", "triangle", leak="detached"))


def of_rates(network, x, of_logits, estimator):
    """Return the gradient of a static network whose neurons multiply, written with autograd."""
    traces = run_float(network, x, trace=True).traces
    point = torch.as_tensor(x, dtype=torch.float64).div(255).requires_grad_()
    sent = {-1: point}
    for i, node in enumerate(network.nodes):
        total = 0
        for one in network.incoming[i]:
            share = 1 - one.lag / network.timesteps
            total = total + share * one.coefficient * sent[one.source]
        if isinstance(node, floats.Lif):
            v, s = (
                torch.as_tensor(np.asarray(a, np.float64))
                for a in (traces[node.name].v, traces[node.name].s)
            )
            threshold = torch.as_tensor(np.asarray(node.threshold, np.float64))
            unit = float(np.mean(node.threshold))
            if estimator.surrogate == "fired":
                slope = s.amax(1) / (estimator.width * unit)
            elif estimator.surrogate == "ramp":
                after = (1 - s) * v if node.reset is None else v - s * torch.as_tensor(node.reset)
                start = torch.zeros_like(v[:, :1]) + torch.as_tensor(node.initial)
                before = torch.cat([start, after[:, :-1]], 1)
                mean = (v - torch.as_tensor(node.leak) * before).mean(1) / unit
                inside = ((mean > 0) & (mean < estimator.width)).double()
                slope = inside / (estimator.width * unit)
            else:
                slope = plain_loop.slope_of(estimator, unit)(v - threshold).mean(1)
            gain = (
                1
                if node.gain is None
                else torch.as_tensor(np.asarray(node.gain, np.float64).mean(0))
            )
            sent[i] = slope * gain * total
        elif isinstance(node, floats.Readout):
            sent[i] = total
        else:
            sent[i] = plain_loop.apply(node, total, torch.float64)
    (found,) = torch.autograd.grad(sent[len(network.nodes) - 1], point, torch.as_tensor(of_logits))
    return found.numpy()


@pytest.mark.parametrize("form", ["arctangent", "triangle", "fired", "ramp"])
@pytest.mark.parametrize("name", ["LIF", "DLIF", "soft reset", "all numbers of their own", "graph"])
def test_a_gradient_of_rates_is_that_of_a_static_network(name, form):
    network = NETWORKS[name]
    x, of_logits = case(network)
    estimator = Estimator(0.8, "detached", form, through="rates")
    twin = float_twin(fold(network), np.float64)
    found = twin.back(twin.forward(x), of_logits, estimator)
    expected = of_rates(network, x, of_logits, estimator)
    assert float(np.abs(expected).max()) > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_gradients_of_rates_adapt_and_remember():
    x, of_logits = case(NETWORKS["LIF"])
    twin = float_twin(fold(NETWORKS["LIF"]), np.float64)
    run = twin.forward(x)
    for form, width in (("assg", 0.425), ("pdsg", 1.0)):
        memory = Memory()
        found = twin.back(
            run, of_logits, Estimator(width, "detached", form, through="rates"), memory
        )
        assert np.isfinite(found).all() and found.any()
        assert bool(memory.running) == (form == "assg")


def test_ways_that_do_not_go_together_are_refused():
    with pytest.raises(InputError, match="reset is not"):
        Estimator(0.5, "attached", leak="detached")
    with pytest.raises(InputError, match="one of rates"):
        Estimator(0.5, "detached", "fired")
    with pytest.raises(InputError, match="through is"):
        Estimator(0.5, through="time")
    assert Estimator(0.5, "detached", leak="detached").name == "0.5 detached no leak"
    assert Estimator(1, surrogate="fired", through="rates").name == "1 rates fired"
    assert Estimator(0.5, "detached").describe() == {"width": 0.5, "reset": "detached"}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_float_forward_is_the_float_engines(name):
    network = NETWORKS[name]
    x, _ = case(network, 1, 20)
    run = float_twin(fold(network), np.float64).forward(x)
    expected = run_float(network, x, trace=True)
    np.testing.assert_allclose(run.logits, expected.logits, rtol=1e-9, atol=1e-9)
    twin = float_twin(fold(network), np.float64)
    for one, spikes in zip(twin.populations, run.s, strict=True):
        if one.spiking:
            trace = expected.traces[one.name].s
            flat = trace.reshape(len(x), network.timesteps, -1)[:, :, places(one.shape)]
            np.testing.assert_array_equal(spikes, flat)
            assert 0 < spikes.mean() < 1


def test_detaching_the_reset_changes_the_gradient():
    x, of_logits = case(NETWORKS["LIF"])
    twin = float_twin(fold(NETWORKS["LIF"]), np.float64)
    run = twin.forward(x)
    pair = [twin.back(run, of_logits, Estimator(0.7, reset)) for reset in RESETS]
    assert not np.allclose(*pair)


def test_the_chip_twin_is_the_reference_in_every_spike():
    ran, kinds = 0, set()
    for seed in range(120):
        rng = np.random.default_rng(seed)
        network = random_network(rng, coding="pixels")
        if seed % 3:
            network = random_graph(rng, network)
        x = random_input(rng, network, 2)
        if is_recurrent(network) or network.readout == "first":
            with pytest.raises(UnsupportedError):
                chip_twin(network)
            continue
        twin = chip_twin(network)
        run = twin.forward(x)
        expected = ReferenceEngine().run(network, x, trace=True)
        np.testing.assert_array_equal(run.logits, expected.logits)
        for i, layer in enumerate(network.layers):
            trace = expected.traces[layer.name]
            form = (len(x), network.timesteps, -1)
            order = places(layer.shape)
            np.testing.assert_array_equal(run.v[i], trace.v.reshape(form)[:, :, order])
            if trace.s is not None:
                np.testing.assert_array_equal(run.s[i], trace.s.reshape(form)[:, :, order])
            kinds.add(type(layer.neuron).__name__)
            kinds |= {type(one.synapse).__name__ for one in layer.inputs}
            kinds |= {"host" for one in layer.inputs if one.host is not None}
            kinds |= {"lag" for one in layer.inputs if one.lag}
            kinds |= {"soft reset"} if layer.neuron.reset is not None else set()
        kinds.add(settled(network.readout, network.layers[-1].neuron.spiking))
        ran += 1
    assert ran > 60
    wanted = {"TableLifNeuron", "GeneralLifNeuron", "LifNeuron", "host", "lag", "soft reset"}
    assert wanted | {"ConvSynapse", "DenseSynapse", "count", "max", "mean", "last"} <= kinds


def test_a_gradient_goes_straight_through_a_chips_rounding():
    """A chip network of large numbers that hardly rounds has the gradient of its float parent."""
    rng = np.random.default_rng(2)
    none = np.zeros(1, np.int32)
    first = 2 * rng.integers(-60, 90, (8, 12)).astype(np.int16)
    second = 2 * rng.integers(-100, 120, (4, 8)).astype(np.int16)
    chip = ChipNetwork(
        "chip",
        (3, 2, 2),
        5,
        (
            ChipLayer("a", (Connection(DenseSynapse(first)),), LifNeuron(60_000, 400, none), (8,)),
            ChipLayer("out", (Connection(DenseSynapse(second)),), ReadoutNeuron(none), (4,)),
        ),
    )
    trained = floats.FloatNetwork(
        "float",
        (3, 2, 2),
        5,
        (
            floats.Linear("w", first * (64.0 * 255), None),
            floats.Lif("a", 3696 / 4096, 60_000.0 * 64),
            floats.Linear("r", second * 64.0, None),
            floats.Readout("out", "last"),
        ),
    )
    x = rng.integers(0, 256, (40, 3, 2, 2), dtype=np.uint8)
    of_logits = rng.standard_normal((40, 4))
    twins = [chip_twin(chip, np.float64), float_twin(fold(trained), np.float64)]
    runs = [twin.forward(x) for twin in twins]
    same = (runs[0].s[0] == runs[1].s[0]).all(axis=(1, 2))
    assert same.sum() > 20
    for reset in RESETS:
        a, b = (
            twin.back(run, of_logits, Estimator(0.5, reset))
            for twin, run in zip(twins, runs, strict=True)
        )
        np.testing.assert_allclose(a[same], b[same], rtol=0, atol=1e-4 * np.abs(b).max())
        assert np.abs(b).max() > 0


def test_a_gaussian_is_as_wide_as_potentials_deviate():
    """One layer of neurons and a readout, by hand."""
    rng = np.random.default_rng(4)
    weight, read = draw(rng, 9, 12, scale=0.9), draw(rng, 4, 9)
    nodes = (
        floats.Linear("w", weight, draw(rng, 9, scale=0.4)),
        floats.Lif("l", 0.9, 1.0),
        floats.Linear("r", read, None),
        floats.Readout("out"),
    )
    network = floats.FloatNetwork("one", (3, 2, 2), 5, nodes)
    x, of_logits = case(network)
    twin = float_twin(fold(network), np.float64)
    run = twin.forward(x)
    distance = run.v[0] - 1.0
    sigma = 0.8 * distance.std(axis=2, keepdims=True)
    shifted = (distance - distance.std(axis=2, keepdims=True) / 2) / sigma
    slope = np.exp(-(shifted**2) / 2) / (sigma * np.sqrt(2 * np.pi))
    carried, drive = 0.0, 0.0
    for t in reversed(range(5)):
        now = slope[:, t] * (of_logits @ read) / 5 + (1 - run.s[0][:, t]) * carried
        carried = 0.9 * now
        drive = drive + now
    expected = (drive @ weight.reshape(9, 3, 2, 2).transpose(0, 2, 3, 1).reshape(9, 12)).reshape(
        6, 2, 2, 3
    )
    found = twin.back(run, of_logits, Estimator(0.8, "detached", "pdsg"))
    np.testing.assert_allclose(found.transpose(0, 2, 3, 1), expected, atol=1e-10)


def test_an_adaptive_slope_remembers_the_images():
    network = NETWORKS["LIF"]
    x, of_logits = case(network)
    twin = float_twin(fold(network), np.float64)
    memory, estimator = Memory(), Estimator(0.425, "detached", "assg")
    run = twin.forward(x)
    first = twin.back(run, of_logits, estimator, memory)
    np.testing.assert_array_equal(memory.running[0][0], np.abs(run.v[0] - 1))
    assert not memory.running[0][1].any()
    other = twin.forward(255 - x)
    twin.back(other, of_logits, estimator, memory)
    before, after = np.abs(run.v[0] - 1), np.abs(other.v[0] - 1)
    mean = before + 0.1 * (after - before)
    np.testing.assert_allclose(memory.running[0][0], mean)
    np.testing.assert_allclose(memory.running[0][1], 0.1 * np.abs(after - mean))
    again = twin.back(run, of_logits, estimator, memory)
    assert not np.allclose(first, again)
    part = memory.of(np.array([1, 3]))
    np.testing.assert_array_equal(part.running[0][0], memory.running[0][0][[1, 3]])


def test_gradients_of_images_do_not_depend_on_their_company():
    network = NETWORKS["DLIF"]
    x, of_logits = case(network)
    twin = float_twin(fold(network), np.float64)
    for form in (*FORMS, "pdsg", "assg"):
        estimator = Estimator(0.4, "detached", form)
        whole = twin.back(twin.forward(x), of_logits, estimator)
        alone = twin.back(twin.forward(x[2:3]), of_logits[2:3], estimator)
        np.testing.assert_allclose(whole[2:3], alone, rtol=1e-9, atol=1e-12)


def test_what_has_no_twin_is_refused_by_name():
    with pytest.raises(UnsupportedError, match="folded") as unfolded:
        float_twin(NETWORKS["LIF"])
    assert "fold" in unfolded.value.hint
    net = counted()
    first = replace(net, nodes=(*net.nodes[:-1], floats.Readout("out", "first")))
    with pytest.raises(UnsupportedError, match="time of the first spike"):
        float_twin(fold(first))
    loop = (*graph().edges, floats.Edge("b", "ab", 1))
    with pytest.raises(UnsupportedError, match="come back"):
        float_twin(fold(replace(graph(), edges=loop)))
    rng = np.random.default_rng(0)
    with pytest.raises(UnsupportedError, match="spikes"):
        chip_twin(random_network(rng, coding="spikes"))
    twin = float_twin(fold(graph()))
    with pytest.raises(InputError, match="expected uint8"):
        twin.forward(np.zeros((2, 3, 2, 2)))


def test_a_gradient_that_is_not_finite_names_the_layer():
    network = NETWORKS["LIF"]
    x, of_logits = case(network)
    twin = float_twin(fold(network))
    of_logits[0, 0] = np.nan
    with pytest.raises(InputError, match="not finite") as raised:
        twin.back(twin.forward(x), of_logits, Estimator())
    assert raised.value.where == "out"
