"""Graphs made by hand, one for each thing a chain does not have, for every engine's test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

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
from spikeproof.ir.graph import groups, is_recurrent
from spikeproof.ir.readouts import FROM_SPIKES, ReadoutRule

STEPS, IMAGE, WIDTH = 7, (2, 3, 4), 9
NONE = np.zeros(1, np.int32)
LIF = LifNeuron(180, 700, np.array([3], np.int32), 2)
READOUT = ReadoutNeuron(NONE)


def dense(seed: int, outputs: int, inputs: int, exponent: int = 0) -> DenseSynapse:
    """Draw even weights."""
    rng = np.random.default_rng(seed)
    weight = 2 * rng.integers(-100, 127, (outputs, inputs))
    return DenseSynapse(weight.astype(np.int16), "mixed", exponent)


def conv(seed: int, channels: int, exponent: int = 0) -> ConvSynapse:
    """Draw kernels that keep the image's size."""
    weight = 2 * np.random.default_rng(seed).integers(-100, 127, (channels, IMAGE[0], 3, 3))
    return ConvSynapse(weight.astype(np.int16), IMAGE, (1, 1), (1, 1), exponent=exponent)


def flat(seed: int, source: str, lag: int = 0, exponent: int = 0) -> Connection:
    """Connect WIDTH neurons with WIDTH neurons."""
    return Connection(dense(seed, WIDTH, WIDTH, exponent), source, lag)


def begin(seed: int = 0, lag: int = 0, exponent: int = 0) -> Connection:
    """Connect the input with WIDTH neurons."""
    size = int(np.prod(IMAGE))
    return Connection(dense(seed, WIDTH, size, exponent), INPUT, lag)


def layer(name: str, *inputs: Connection, neuron: Neuron = LIF) -> ChipLayer:
    """Make a population of WIDTH neurons."""
    return ChipLayer(name, inputs, neuron, (WIDTH,))


def network(
    layers: Sequence[ChipLayer], coding: Any = "spikes", readout: ReadoutRule = "auto"
) -> ChipNetwork:
    """Make a network of STEPS steps."""
    return ChipNetwork("wired", IMAGE, STEPS, tuple(layers), coding, readout)


def stimulus(net: ChipNetwork, samples: int = 3) -> NDArray[np.uint8]:
    """Draw spikes, or pixels of all values."""
    rng = np.random.default_rng(11)
    if net.coding == "pixels":
        x = rng.integers(0, 256, (samples, *net.input_shape), dtype=np.uint8)
        x[-1] |= 192  # one bright image, for the large sums
        return x
    return (rng.random((samples, net.timesteps, *net.input_shape)) < 0.4).astype(np.uint8)


PARTS = {"several", "shared", "lag", "loop", "cycle", *get_args(ReadoutRule)}
"""What a graph may have and a chain has not."""


def parts(net: ChipNetwork) -> set[str]:
    """Tell which of PARTS a network has."""
    inputs = [one for layer in net.layers for one in layer.inputs]
    found = {
        "several": any(len(layer.inputs) > 1 for layer in net.layers),
        "shared": len({id(one.synapse) for one in inputs}) < len(inputs),
        "lag": any(one.lag for one in inputs),
        "loop": is_recurrent(net),
        "cycle": any(len(group) > 1 for group in groups(net)),
    }
    return {name for name, has in found.items() if has} | {net.readout}


def _skip() -> ChipNetwork:
    """Images skip one and two hops; all three reach the last layer, flattened."""
    first = ChipLayer("a", (Connection(conv(1, 2), INPUT),), LIF, IMAGE)
    second = ChipLayer(
        "b", (Connection(conv(2, 2), "a"), Connection(conv(3, 2), INPUT)), LIF, IMAGE
    )
    size = int(np.prod(IMAGE))
    ends = [Connection(dense(4 + k, WIDTH, size), name) for k, name in enumerate(["b", "a", INPUT])]
    return network([first, second, layer("c", *ends, neuron=READOUT)])


def _lags() -> ChipNetwork:
    """Spikes and input arrive at once, later, at the last step and never."""
    late = [flat(2, "a", 2), flat(3, "a"), flat(4, "a", STEPS - 1), flat(5, "a", STEPS + 2)]
    return network(
        [
            layer("a", begin(1)),
            layer("b", *late, begin(6, 3)),
            layer("c", flat(7, "b", 2), neuron=READOUT),
        ]
    )


def _late_pixels(neuron: Neuron) -> ChipNetwork:
    """The same pixels at every step but the first ones, alone and beside spikes."""
    return network(
        [
            layer("a", begin(1, 2, -8), neuron=neuron),
            layer("b", begin(3, 4, -8), flat(4, "a"), begin(2, 0, -8), neuron=neuron),
            layer("c", begin(5, 0, -8), begin(6, 0, -7), neuron=neuron),
            layer("d", flat(7, "b"), flat(8, "c", 1), neuron=READOUT),
        ],
        "pixels",
    )


def _host(neuron: Neuron) -> ChipNetwork:
    """A host's current beside pixels, spikes and the layer's own."""
    rng = np.random.default_rng(5)
    weight = rng.integers(-30000, 30000, (WIDTH, int(np.prod(IMAGE)))).astype(np.int16)
    current = HostCurrent(rng.integers(-(1 << 20), 1 << 20, (WIDTH,)), 17)
    host = Connection(DenseSynapse(weight), INPUT, 0, current)
    return network(
        [
            layer("a", begin(1, 0, -8)),
            layer("b", flat(2, "a"), host, begin(3, 1, -8), flat(4, "b", 1), neuron=neuron),
            layer("c", flat(5, "b"), neuron=READOUT),
        ],
        "pixels",
    )


def _self_loop(neuron: Neuron) -> ChipNetwork:
    return network(
        [
            layer("a", begin(1), flat(2, "a", 1), flat(3, "a", 3), neuron=neuron),
            layer("b", flat(4, "a"), neuron=READOUT),
        ]
    )


def _cycle(neuron: Neuron) -> ChipNetwork:
    """Two layers feed each other; the second one hears of nothing else. Images on the way."""
    size = int(np.prod(IMAGE))
    back = Connection(conv(2, 2, -1), "b", 2)
    first = ChipLayer("a", (Connection(conv(1, 2), INPUT), back), neuron, IMAGE)
    second = ChipLayer("b", (Connection(conv(3, 2, 1), "a"),), neuron, IMAGE)
    return network(
        [first, second, layer("c", Connection(dense(4, WIDTH, size), "b"), neuron=READOUT)]
    )


def _wrapping(second: str, lag: int) -> ChipNetwork:
    """Only two connections together wrap u."""
    size, weight = 400, np.full((400, 400), 254, np.int16)
    ones = DenseSynapse(weight)
    both = (Connection(ones, INPUT), Connection(ones, second, lag))
    neuron = LifNeuron(0, 0, NONE)
    layers = [ChipLayer("a", (Connection(ones, INPUT),), neuron, (size,))]
    net = network([*layers, ChipLayer("b", both, neuron, (size,))])
    return replace(net, input_shape=(1, 1, size))


def _beyond_single() -> ChipNetwork:
    """Two sums that float32 holds, and their sum that it does not."""
    size = 251
    layers = [
        Connection(DenseSynapse(np.full((1, size), w, np.int16), "excitatory"), INPUT)
        for w in (255, 254)
    ]
    net = network([ChipLayer("a", tuple(layers), READOUT, (1,))], "pixels", "max")
    return replace(net, input_shape=(1, 1, size))


def _general() -> GeneralLifNeuron:
    rng = np.random.default_rng(3)
    return GeneralLifNeuron(
        leak=rng.integers(0, 5000, (STEPS, 1)).astype(np.int32),
        threshold=rng.integers(5000, 20000, (1, 1)).astype(np.int32),
        bias=rng.integers(-40, 40, (1,)).astype(np.int32),
        bias_exponent=3,
        du=rng.integers(500, 4096, (1,)).astype(np.int32),
        initial=rng.integers(0, 9000, (1,)).astype(np.int32),
        reset=rng.integers(3000, 16000, (1,)).astype(np.int32),
    )


def _per_neuron() -> GeneralLifNeuron:
    rng = np.random.default_rng(4)

    def each(low: int, high: int, *rows: int) -> NDArray[np.int32]:
        return rng.integers(low, high, (*rows, WIDTH)).astype(np.int32)

    return GeneralLifNeuron(
        leak=each(0, 5000, STEPS),
        threshold=each(5000, 20000, STEPS),
        bias=NONE,
        du=each(500, 4096),
        initial=each(-4000, 9000),
        reset=each(3000, 16000),
    )


def _table() -> TableLifNeuron:
    rng = np.random.default_rng(6)
    return TableLifNeuron(
        rng.integers(2000, 5000, STEPS).astype(np.int32),
        rng.integers(5000, 20000, STEPS).astype(np.int32),
        NONE,
    )


def _readout(rule: ReadoutRule, neuron: Neuron) -> ChipNetwork:
    layers = [layer("a", begin(1)), layer("b", flat(2, "a"), begin(3), neuron=neuron)]
    return network(layers, readout=rule)


def cases() -> dict[str, ChipNetwork]:
    """Return all graphs by what they show."""
    filtered = LifNeuron(150, 700, NONE, 0, 1500)
    shared = dense(2, WIDTH, WIDTH)
    found = {
        "skip": _skip(),
        "two exponents": network(
            [
                layer("a", begin(1)),
                layer("b", flat(2, "a", 0, -3), flat(3, "a", 0, 1), flat(4, "a")),
            ]
        ),
        "lags": _lags(),
        "late pixels": _late_pixels(LIF),
        "late pixels, filtered": _late_pixels(filtered),
        "self loop": _self_loop(LIF),
        "self loop, filtered": _self_loop(filtered),
        "self loop, table": _self_loop(_table()),
        "self loop, all differ": _self_loop(_per_neuron()),
        "cycle": _cycle(LIF),
        "cycle, soft reset": _cycle(_general()),
        "cycle of three": network(
            [
                layer("a", begin(1), flat(2, "c", 3), neuron=filtered),
                layer("b", flat(3, "a"), flat(4, "c", 5)),
                layer("c", flat(5, "b"), flat(6, "a", 1), flat(7, "c", 2)),
                layer("d", flat(8, "a"), flat(9, "c"), neuron=READOUT),
            ]
        ),
        "cycle that the input does not reach": network(
            [
                layer("a", flat(1, "a", 1), neuron=LIF.changed(bias=np.array([900], np.int32))),
                layer("b", flat(2, "a"), begin(3)),
            ]
        ),
        "host": _host(LIF.changed(bias=NONE)),
        "host, filtered": _host(filtered),
        "the last layer feeds one before": network(
            [layer("a", begin(1), flat(2, "b", 1)), layer("b", begin(3))]
        ),
        "the last layer is on a cycle": network(
            [layer("a", begin(1), flat(2, "b", 2)), layer("b", flat(3, "a"))], readout="mean"
        ),
        "shared weights": network(
            [
                layer("a", begin(1)),
                layer("b", Connection(shared, "a"), Connection(shared, "b", 1)),
                layer("c", Connection(shared, "b"), Connection(shared, "a"), neuron=READOUT),
            ]
        ),
        "wrap": _wrapping("a", 1),
        "wrap, self loop": _wrapping("b", 1),
        "beyond float32": _beyond_single(),
    }
    for rule in get_args(ReadoutRule):
        found[f"readout {rule} of spikes"] = _readout(rule, LIF)
        if rule not in FROM_SPIKES:
            found[f"readout {rule}"] = _readout(rule, READOUT)
    return found
