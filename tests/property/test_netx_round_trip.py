"""Whatever legal network fits into a .net file comes back with the same u, v and s."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("h5py", reason="h5py is not installed")

from spikeproof.engines.reference import ReferenceEngine
from spikeproof.formats.netx.form import netx_form
from spikeproof.formats.netx.pixels import file_numbers, fixed_point, mantissas
from spikeproof.formats.netx.read import load_netx
from spikeproof.formats.netx.write import netx_problems, save_netx
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    HostCurrent,
    LifNeuron,
    Neuron,
    ReadoutNeuron,
)
from spikeproof.ir.serial import network_to_parts
from spikeproof.ir.shapes import output_shape

Rng = np.random.Generator


def parts(network: ChipNetwork) -> Any:
    document, tensors = network_to_parts(replace(network, name="x"))
    return document, {k: (a.dtype.str, a.shape, a.tobytes()) for k, a in tensors.items()}


def fitting_network(rng: Rng) -> ChipNetwork:
    """Draw a network of everything the format has."""
    channels = int(rng.integers(1, 4))
    shape: tuple[int, ...] = (channels, *(int(n) for n in rng.integers(3, 7, 2)))
    input_shape, layers = shape, list[ChipLayer]()
    pixels = bool(rng.integers(2))
    first = int(rng.integers(3)) if pixels else 0
    if first == 1:
        layers.append(_hosted(rng, shape))
        shape = layers[0].shape
    elif first == 2:
        kernel = np.full((channels, 1, 1, 1), rng.integers(-16, 16), np.int16)
        inner = ConvSynapse(kernel, (shape[0], shape[1], shape[2]), groups=channels)
        current = HostCurrent(np.full((1, 1, 1), rng.integers(-9, 9), np.int64), 0)
        zero = np.zeros((1, 1, 1), np.int32)
        layers.append(
            ChipLayer("in", (Connection(inner, host=current),), LifNeuron(20, 99, zero, 6), shape)
        )
    for index in range(int(rng.integers(1, 4))):
        synapse = _synapse(rng, shape)
        shape = output_shape(synapse, shape)
        last = rng.random() < 0.3
        neuron = _neuron(rng, shape, last)
        if pixels and not layers and isinstance(neuron, LifNeuron):
            neuron = replace(neuron, du=4095)  # graded payloads: no filter holds such sums
        layers.append(ChipLayer(f"l{index}", (Connection(synapse),), neuron, shape))
        if last:
            break
    steps = int(rng.integers(1, 7))
    coding: Any = "pixels" if pixels else "spikes"
    network = ChipNetwork("net", input_shape, steps, tuple(layers), coding)
    check_chip(network)
    return network


def _hosted(rng: Rng, image: tuple[int, ...]) -> ChipLayer:
    """Draw a first layer whose current the host computes: a convolution, or all to all."""
    limit = int(rng.choice([9, 255, 4000]))
    inner: ConvSynapse | DenseSynapse
    if rng.random() < 0.5:
        inner = DenseSynapse(rng.integers(-limit, limit, (4, int(np.prod(image)))).astype(np.int32))
    else:
        weight = rng.integers(-limit, limit, (2, image[0], 2, 3)).astype(np.int32)
        inner = ConvSynapse(weight, (image[0], image[1], image[2]), (2, 1), (1, 0))
    shape = output_shape(inner, image)
    offset = rng.integers(-999, 999, (shape[0],) + (1,) * (len(shape) - 1))
    zero = np.zeros((1,) * len(shape), np.int32)
    current = HostCurrent(offset, int(rng.integers(0, 12)) + 8)
    return ChipLayer("in", (Connection(inner, host=current),), LifNeuron(20, 99, zero, 6), shape)


def _synapse(rng: Rng, shape: tuple[int, ...]) -> ConvSynapse | DenseSynapse:
    kind = int(rng.integers(4))
    drawn = {
        0: lambda size: (2 * rng.integers(-128, 128, size), "mixed", 0),
        1: lambda size: (rng.integers(0, 256, size), "excitatory", 0),
        2: lambda size: (2 * rng.integers(-128, 128, size), "mixed", -1),
        3: lambda size: (2 * rng.integers(-9, 10, size), "mixed", int(rng.integers(0, 4))),
    }[kind]
    if len(shape) == 3 and rng.random() < 0.6:
        groups = int(rng.choice([1, shape[0]]))
        kernel = [min(int(k), n) for k, n in zip(rng.integers(1, 4, 2), shape[1:], strict=True)]
        weight, sign, exponent = drawn((groups * 2, shape[0] // groups, *kernel))
        stride, padding = (
            tuple(int(n) for n in rng.integers(a, b, 2)) for a, b in ((1, 3), (0, 2))
        )
        return ConvSynapse(
            weight.astype(np.int16), shape, stride, padding, (1, 1), groups, sign, exponent
        )  # type: ignore[arg-type]
    weight, sign, exponent = drawn((int(rng.integers(1, 6)), int(np.prod(shape))))
    return DenseSynapse(weight.astype(np.int16), sign, exponent)  # type: ignore[arg-type]


def _neuron(rng: Rng, shape: tuple[int, ...], last: bool) -> Neuron:
    forms = [shape, (shape[0],) + (1,) * (len(shape) - 1), (1,) * len(shape)]
    bias = rng.integers(-50, 50, forms[int(rng.integers(3))]).astype(np.int32)
    exponent = int(rng.integers(5, 8))
    bias = bias * 2 if exponent == 5 else bias
    if last:
        return ReadoutNeuron(bias, exponent)
    du = int(rng.choice([0, 1024, 4095]))
    return LifNeuron(int(rng.integers(0, 500)), int(rng.integers(0, 4097)), bias, exponent, du)


def round_trip(network: ChipNetwork) -> ChipNetwork:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.net"
        save_netx(network, path)
        return load_netx(path)


def assert_equal_runs(rng: Rng, network: ChipNetwork, again: ChipNetwork) -> None:
    x = random_input(rng, network, 2)
    first, second = (ReferenceEngine().run(n, x, trace=True) for n in (network, again))
    np.testing.assert_array_equal(first.logits, second.logits)
    for a, b in zip((first.traces or {}).values(), (second.traces or {}).values(), strict=True):
        np.testing.assert_array_equal(a.u, b.u)
        np.testing.assert_array_equal(a.v, b.v)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_networks_of_the_format_come_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = fitting_network(rng)
    problems = netx_problems(network)
    # One draw in many cannot be loaded by lava-dl: weights that happen to be 0 or of one sign.
    assert all("lava-dl" in p for p in problems), problems
    if not problems:
        again = round_trip(network)
        assert parts(again) == parts(netx_form(network))
        assert parts(netx_form(again)) == parts(again), "the form is a fixed point"
        assert_equal_runs(rng, network, again)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_any_legal_network_is_equal_or_refused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    if not netx_problems(network):
        assert_equal_runs(rng, network, round_trip(network))


ENDS = st.integers(-3000, 3000).map(lambda n: n / 1000)


@settings(max_examples=60, deadline=None)
@given(st.integers(-255, 255), st.integers(-400, 400), ENDS, ENDS)
def test_pixel_maps_are_exact_and_come_back(
    weight: int, bias: int, low: float, high: float
) -> None:
    """Weight, bias and range give integers that round every pixel as the real numbers do."""
    wanted = mantissas(weight, bias, (low, high))
    again = file_numbers(wanted, (low, high))
    assert again is not None and mantissas(*again, (low, high)) == wanted
    found = fixed_point(weight, bias, (low, high))
    if found is not None:
        factor, offset, shift = found
        half = (1 << shift) >> 1
        assert [(factor * p + offset + half) >> shift for p in range(256)] == wanted
