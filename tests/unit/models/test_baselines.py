"""The float networks that the engines are timed against are the same networks."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from spikeproof.bench.nets import mlp_net, zoo_net
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.errors import UnsupportedError
from spikeproof.fuzz.draw.events import count_wraps
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.ir import chip
from spikeproof_models.baselines import STYLES, FloatForward
from spikeproof_models.baselines_snn import LIBRARIES, problems

zoo = cache(zoo_net)  # a conversion takes seconds


GENERAL = chip.GeneralLifNeuron


def without_rounding(network: chip.ChipNetwork) -> chip.ChipNetwork:
    """The same network with nothing to round: v is kept whole or not at all, sums are whole."""
    layers = []
    for layer in network.layers:
        neuron, synapse = layer.neuron, layer.synapse
        if isinstance(neuron, chip.LifNeuron):
            neuron = replace(neuron, dv=4096 if neuron.dv > 2048 else 0, du=4095)
        elif isinstance(neuron, chip.TableLifNeuron):
            neuron = replace(neuron, leak=neuron.leak // 2048 * 4096 % 16384, du=4095)
        if synapse.exponent < 0:
            synapse = replace(synapse, exponent=0)
        layers.append(layer.changed(neuron=neuron, synapse=synapse))
    return replace(network, layers=tuple(layers))


def rounds(network: chip.ChipNetwork) -> bool:
    host = network.layers[0].host
    return host is not None and host.shift > 0


@pytest.mark.parametrize("style", STYLES)
def test_where_nothing_is_rounded_the_float_network_is_exact(style) -> None:
    rng = np.random.default_rng(3)
    compared, spiking = 0, 0
    while compared < 25:
        network = without_rounding(random_network(rng, nasty=False))
        x = random_input(rng, network, 3)
        if rounds(network) or any(isinstance(y.neuron, GENERAL) for y in network.layers):
            continue
        traces = NumpyEngine().run(network, x, trace=True).traces
        if max(int(np.abs(t.v).max()) for t in traces.values()) >= (1 << 23) - 1:
            continue  # saturated, which floats are not
        if count_wraps(network, x, traces):
            continue  # nor do they wrap
        forward = FloatForward(network, style, dtype=torch.float64, normalise=False)
        np.testing.assert_array_equal(forward(x), NumpyEngine().run(network, x).logits)
        compared += 1
        spiking += any(t.s is not None and t.s.any() for t in traces.values())
    assert spiking > 10


@pytest.mark.parametrize("style", STYLES)
def test_with_leak_and_float32_the_predictions_are_those_of_the_chip(style) -> None:
    for net in (mlp_net(), zoo("fmnist-dlif-adversarial-mppd")):
        x = net.draw(np.random.default_rng(4), 64)
        expected = NumpyEngine().run(net.network, x)
        logits = FloatForward(net.network, style)(x)
        assert (logits.argmax(1) == expected.predictions).mean() >= 0.95
        if net.name == "mlp":
            assert np.abs(logits - expected.logits).mean() < 0.05  # spikes of 16 steps
            assert logits.dtype == np.float32


def test_a_synaptic_filter_is_followed_and_the_input_left_alone() -> None:
    weight = np.full((2, 4), 64, np.int16)
    bias = np.array([5, -3], np.int32)
    layers = (
        chip.ChipLayer(
            "l1",
            (chip.Connection(chip.DenseSynapse(weight)),),
            chip.LifNeuron(400, 100, bias, 2, 2000),
            (2,),
        ),
    )
    for coding in ("pixels", "spikes"):
        network = chip.ChipNetwork("filter", (1, 2, 2), 6, layers, coding)
        x = np.ones((1, 1, 2, 2) if coding == "pixels" else (1, 6, 1, 2, 2), np.uint8)
        expected = NumpyEngine().run(network, x).logits
        for style in STYLES:
            np.testing.assert_array_equal(FloatForward(network, style)(x), expected)
        assert (x == 1).all()
        assert expected.any()


@pytest.mark.parametrize("name", LIBRARIES)
def test_other_simulators_run_the_same_network(name: str) -> None:
    modules = {
        "snntorch": "snntorch",
        "spikingjelly": "spikingjelly.activation_based",
        "slayer": "lava.lib.dl.slayer",
    }
    pytest.importorskip(modules[name], reason=f"{name} is not installed: spikeproof[bench]")
    for net in (mlp_net(), zoo("fmnist-lif-natural")):
        x = net.draw(np.random.default_rng(4), 64)
        expected = NumpyEngine().run(net.network, x).predictions
        found = LIBRARIES[name](net.network)(x).argmax(1)
        assert (found == expected).mean() >= 0.9


def test_networks_that_plain_lif_neurons_cannot_express_are_named() -> None:
    network = zoo("fmnist-dlif-adversarial-mppd").network
    assert all("change from step to step" in p for p in problems(network))
    pytest.importorskip("snntorch", reason="snntorch is not installed: spikeproof[bench]")
    with pytest.raises(UnsupportedError, match="l1"):
        LIBRARIES["snntorch"](network)
