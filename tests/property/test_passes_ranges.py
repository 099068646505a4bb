"""Certified ranges are sound: no run, however nasty the input, leaves them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spikeproof.certify.ranges import certify_ranges
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.errors import GraphError
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    LifNeuron,
)


def _draw(rng: np.random.Generator, nasty: bool | None = None) -> ChipNetwork:
    try:
        return random_network(rng, nasty=nasty)
    except GraphError:  # drawn too large to be legal at all
        reject()


def _adversarial(network: ChipNetwork, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Build inputs that push single neurons of the first layer as far as they go."""
    inner = network.layers[0].synapse
    top = 255 if network.coding == "pixels" else 1
    images = [np.zeros(network.input_shape), np.full(network.input_shape, top)]
    if isinstance(inner, DenseSynapse):
        for row in inner.weight[rng.integers(0, len(inner.weight), 2)]:
            images += [(sign * row > 0).reshape(network.input_shape) * top for sign in (1, -1)]
    x = np.stack(images).astype(np.uint8)
    if network.coding == "pixels":
        return x
    return np.repeat(x[:, None], network.timesteps, axis=1)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_run_leaves_the_certified_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = _draw(rng)
    ranges = {r.name: r for r in certify_ranges(network)}
    if not all(r.ok for r in ranges.values()):
        return  # wrap and saturation void the bounds; such networks are refused
    x = np.concatenate([random_input(rng, network, 4), _adversarial(network, rng)])
    traces = ReferenceEngine().run(network, x, trace=True).traces
    assert traces is not None
    for name, trace in traces.items():
        found = ranges[name]
        assert found.v_low <= trace.v.min() and trace.v.max() <= found.v_high
        assert np.abs(trace.u.astype(np.int64)).max() <= found.u_bound


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_bound_on_a_single_step_is_reached_by_some_input(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = _draw(rng, nasty=False)
    first = network.layers[0]
    if first.host or not isinstance(first.synapse, DenseSynapse):
        return
    single = ChipNetwork("one", network.input_shape, 1, (_without_table(first),), network.coding)
    found = certify_ranges(single)[0]
    if not found.ok:
        return
    weight = first.synapse.weight.astype(np.int64)
    top = 255 if network.coding == "pixels" else 1
    images = np.concatenate([weight > 0, weight < 0]) * top
    x = images.reshape(-1, *network.input_shape).astype(np.uint8)
    trace = ReferenceEngine().run(single, x if top == 255 else x[:, None], trace=True).traces
    assert trace is not None
    assert trace[first.name].v.max() == found.v_high
    assert trace[first.name].v.min() == found.v_low


def _without_table(layer: ChipLayer) -> ChipLayer:
    neuron: Any = layer.neuron
    fields = dict(vars(neuron))
    for key in ("leak", "threshold"):
        if isinstance(fields.get(key), np.ndarray):
            fields[key] = fields[key][:1]
    return ChipLayer(layer.name, (Connection(layer.synapse),), type(neuron)(**fields), layer.shape)


def test_convolution_bounds_know_the_border() -> None:
    weight = np.full((1, 1, 3, 3), 100, np.int16)
    synapse = ConvSynapse(weight, (1, 4, 4), padding=(1, 1), sign="excitatory")
    neuron = LifNeuron(1000, 41, np.zeros((1, 1, 1), np.int32))
    network = ChipNetwork(
        "border",
        (1, 4, 4),
        2,
        (ChipLayer("l1", (Connection(synapse),), neuron, (1, 4, 4)),),
        "spikes",
    )
    found = certify_ranges(network)[0]
    assert found.sum_bound == 900
    assert found.v_low == 0
    assert found.worst_neuron in {(0, 1, 1), (0, 1, 2), (0, 2, 1), (0, 2, 2)}
