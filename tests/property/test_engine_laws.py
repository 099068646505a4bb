"""Laws that hold for every engine without an oracle: change the network, predict the traces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.engines.registry import ENGINES as INSTALLED
from spikeproof.engines.registry import get_engine
from spikeproof.engines.trace import Engine, LayerTrace
from spikeproof.errors import GraphError
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    ConvSynapse,
    DenseSynapse,
    GeneralLifNeuron,
    LifNeuron,
    ReadoutNeuron,
    TableLifNeuron,
)
from spikeproof.ir.limits import WEIGHT_LIMITS
from spikeproof.ir.synapses import shifted_magnitude

Images = NDArray[np.uint8]
Drawn = tuple[ChipNetwork, Images]
seeds = st.integers(0, 2**32 - 1)
FILTERS = [HealthCheck.filter_too_much]  # the draws are cheap, and most are made to fit
ENGINES = [name for name in ("numpy", "fast", "onnx") if name in INSTALLED.names()]


@cache
def engine_of(name: str) -> Engine:
    if name == "onnx":
        pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    return get_engine(name)


def law(examples: int) -> Callable[[Any], Any]:
    """Check a law on each engine; ONNX builds a session per network, so it gets fewer examples."""

    def decorate(check: Callable[[Engine, int], None]) -> Any:
        @pytest.mark.parametrize("name", ENGINES)
        def test(name: str) -> None:
            engine = engine_of(name)
            count = max(3, examples // 8) if name == "onnx" else examples

            @settings(max_examples=count, deadline=None, suppress_health_check=FILTERS)
            @given(seeds)
            def run(seed: int) -> None:
                check(engine, seed)

            run()

        test.__doc__ = check.__doc__
        return test

    return decorate


def draw(seed: int, samples: int = 3, **options: Any) -> Drawn:
    rng = np.random.default_rng(seed)
    network = random_network(rng, **options)
    return network, random_input(rng, network, samples)


def draw_layer(
    seed: int, suits: Callable[[ChipNetwork, int], bool], **options: Any
) -> tuple[ChipNetwork, Images, int]:
    """Draw networks until one has a layer that suits; return it, an input, and that layer."""
    rng = np.random.default_rng(seed)
    while True:
        network = random_network(rng, **options)
        fitting = [i for i in range(len(network.layers)) if suits(network, i)]
        if fitting:
            return network, random_input(rng, network, 3), int(rng.choice(fitting))


def run(engine: Engine, network: ChipNetwork, x: Images) -> dict[str, LayerTrace]:
    return engine.run(network, x, trace=True).traces or {}


def assert_same(
    first: dict[str, LayerTrace], second: dict[str, LayerTrace], view: Any = None, only: str = ""
) -> None:
    """Compare all traces (or one layer's); ``view`` is applied to each array of the first."""
    for name, trace in first.items():
        if only and name != only:
            continue
        for key in ("u", "v", "s"):
            left, right = getattr(trace, key), getattr(second[name], key)
            assert (left is None) == (right is None)
            if left is not None:
                expected = left if view is None else view(left)
                np.testing.assert_array_equal(expected, right, err_msg=f"{name}/{key}")


def changed(network: ChipNetwork, index: int, **fields: Any) -> ChipNetwork:
    layers = list(network.layers)
    layers[index] = layers[index].changed(**fields)
    found = replace(network, layers=tuple(layers))
    try:
        check_chip(found)
    except GraphError:
        assume(False)
    return found


def by_channel(layer: ChipLayer, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Any:
    """Write all numbers of a layer's neurons in full, (*neurons), and change each array."""

    def changed(values: Any) -> NDArray[Any]:
        return np.ascontiguousarray(change(np.broadcast_to(values, layer.shape)))

    neuron: Any = layer.neuron
    if not isinstance(neuron, GeneralLifNeuron):
        return replace(neuron, bias=changed(neuron.bias))
    once = {key: changed(getattr(neuron, key)) for key in ("bias", "du", "initial")}
    tables = {
        key: np.stack([changed(row) for row in getattr(neuron, key)])
        for key in ("leak", "threshold")
    }
    reset = None if neuron.reset is None else changed(neuron.reset)
    return replace(neuron, **once, **tables, reset=reset)


@law(40)
def test_samples_do_not_see_each_other(engine: Engine, seed: int) -> None:
    """Any order and any batch of samples gives each the same answer."""
    network, x = draw(seed, 7)
    order = np.random.default_rng(seed).permutation(7)
    whole = run(engine, network, x)
    assert_same(whole, run(engine, network, x[order]), lambda a: a[order])
    assert_same(whole, run(engine, network, x[2:5]), lambda a: a[2:5])
    many = np.concatenate([x] * 10)
    logits = engine.run(network, many).logits
    np.testing.assert_array_equal(logits, np.tile(engine.run(network, x).logits, (10, 1)))


@law(40)
def test_no_step_sees_a_later_one(engine: Engine, seed: int) -> None:
    """The first k steps are the same whatever follows."""
    network, x = draw(seed)
    k = int(np.random.default_rng(seed).integers(1, network.timesteps + 1))
    layers = []
    for layer in network.layers:
        neuron = layer.neuron
        if isinstance(neuron, TableLifNeuron | GeneralLifNeuron):  # one row stays one
            neuron = replace(neuron, leak=neuron.leak[:k], threshold=neuron.threshold[:k])
        layers.append(replace(layer, neuron=neuron))
    shorter = replace(network, layers=tuple(layers), timesteps=k)
    cut = x[:, :k] if network.coding == "spikes" else x
    assert_same(run(engine, network, x), run(engine, shorter, cut), lambda a: a[:, :k])


@law(60)
def test_leading_silence_shifts_every_trace(engine: Engine, seed: int) -> None:
    """Without bias, tables and first states, k silent steps in front move everything by k."""

    def steady(network: ChipNetwork, index: int) -> bool:
        neurons = [layer.neuron for layer in network.layers]
        general = [n for n in neurons if isinstance(n, GeneralLifNeuron)]
        return not any(isinstance(n, TableLifNeuron) for n in neurons) and all(
            len(n.leak) == len(n.threshold) == 1 and not n.initial.any() for n in general
        )

    network, x, _ = draw_layer(seed, steady, coding="spikes")
    bare = [
        replace(y, neuron=replace(y.neuron, bias=np.zeros((), np.int32))) for y in network.layers
    ]
    k = int(np.random.default_rng(seed).integers(1, 6))
    network = replace(network, layers=tuple(bare))
    later = np.concatenate([np.zeros((len(x), k, *x.shape[2:]), np.uint8), x], axis=1)
    longer = run(engine, replace(network, timesteps=network.timesteps + k), later)

    def shifted(a: NDArray[Any]) -> NDArray[Any]:
        return np.pad(a, [(0, 0), (k, 0), *[(0, 0)] * (a.ndim - 2)])

    assert_same(run(engine, network, x), longer, shifted)


def doubles(layer: ChipLayer) -> bool:
    """Tell whether all weights of a layer times two are legal."""
    synapse = layer.synapse
    if layer.host:
        return False
    low, high = WEIGHT_LIMITS[synapse.sign]
    weight = synapse.weight.astype(np.int64) * 2
    return bool(low <= weight.min() and weight.max() <= high and weight.any())


@law(60)
def test_doubled_weights_and_one_exponent_less_are_the_same(engine: Engine, seed: int) -> None:
    """Weights times two with the exponent lowered by one give the same sums, floored or not."""
    network, x, index = draw_layer(
        seed, lambda n, i: doubles(n.layers[i]) and n.layers[i].synapse.exponent > -8
    )
    synapse: Any = network.layers[index].synapse
    weight = synapse.weight.astype(np.int16) * 2
    other = changed(
        network, index, synapse=replace(synapse, weight=weight, exponent=synapse.exponent - 1)
    )
    assert_same(run(engine, network, x), run(engine, other, x))


@law(60)
def test_a_layer_in_half_the_unit_fires_alike(engine: Engine, seed: int) -> None:
    """Where nothing is rounded or clipped, sums, bias and threshold times two change no spike."""

    def has_room(network: ChipNetwork, index: int) -> bool:
        layer = network.layers[index]
        neuron = layer.neuron
        registers = isinstance(neuron, LifNeuron)
        limit = fx.THRESHOLD_MAX if registers else fx.STATE_MAX
        numbers = (getattr(neuron, key, 0) for key in ("threshold", "initial", "reset"))
        largest = max(int(np.abs(0 if n is None else n).max()) for n in numbers)
        fits = 2 * largest <= limit and neuron.bias_exponent < 7
        if layer.host or not fits:
            return fits
        exponent, payload = layer.synapse.exponent, 255 if index == 0 else 1
        worst = shifted_magnitude(layer.synapse.largest_sum(payload), exponent + 1)
        return 0 <= exponent < 7 and worst <= fx.SUM_MAX  # no wrap, not even of twice the sum

    network, x, index = draw_layer(seed, has_room)
    layer = network.layers[index]
    neuron: Any = layer.neuron
    fields: dict[str, Any] = {"bias_exponent": neuron.bias_exponent}
    if isinstance(neuron, LifNeuron):
        fields = {"dv": 4096 if neuron.dv > 2048 else 0, "du": 4095}
        double = {"threshold": 2 * neuron.threshold}
    elif isinstance(neuron, TableLifNeuron):
        fields = {"leak": (neuron.leak // 4096 * 4096).astype(np.int32), "du": 4095}
        double = {"threshold": 2 * neuron.threshold}
    elif isinstance(neuron, GeneralLifNeuron):
        fields = {"leak": (neuron.leak // 4096 * 4096).astype(np.int32)}
        fields["du"] = np.full_like(neuron.du, 4095)
        double = {key: 2 * getattr(neuron, key) for key in ("threshold", "initial")}
        double["reset"] = None if neuron.reset is None else 2 * neuron.reset
    else:
        double = {}
    plain = replace(neuron, **fields)
    twice = replace(plain, bias_exponent=neuron.bias_exponent + 1, **double)
    synapse: Any = layer.synapse
    if not layer.host:
        synapse = replace(synapse, exponent=synapse.exponent + 1)
    small = changed(network, index, neuron=plain)
    large = changed(network, index, neuron=twice, synapse=synapse)
    first, second = run(engine, small, x), run(engine, large, x)
    found = first[layer.name]
    assume(2 * np.abs(found.v.astype(np.int64)).max() < fx.STATE_MAX)
    np.testing.assert_array_equal(2 * found.v, second[layer.name].v)
    np.testing.assert_array_equal(2 * found.u, second[layer.name].u)
    for name, trace in first.items():
        if trace.s is not None:
            np.testing.assert_array_equal(trace.s, second[name].s, err_msg=name)


def free_channels(network: ChipNetwork, index: int) -> bool:
    """Tell whether no groups tie a layer's channels to their places."""
    near = network.layers[index : index + 2]
    return not network.layers[index].host and all(
        getattr(y.synapse, "groups", 1) == 1 for y in near
    )


@law(60)
def test_channels_in_another_order_permute_their_traces_only(engine: Engine, seed: int) -> None:
    """Relabel a layer's channels, and the next layer's inputs: its traces move, no other does."""
    network, x, index = draw_layer(
        seed, lambda n, i: n.layers[i].shape[0] > 1 and free_channels(n, i)
    )
    layer = network.layers[index]
    order = np.random.default_rng(seed).permutation(layer.shape[0])
    moved = changed(
        network,
        index,
        synapse=replace(layer.synapse, weight=layer.synapse.weight[order]),
        neuron=by_channel(layer, lambda full: full[order]),
    )
    if index + 1 < len(network.layers):
        following: Any = network.layers[index + 1].synapse
        channels = following.weight.reshape(len(following.weight), layer.shape[0], -1)[:, order]
        weight = channels.reshape(following.weight.shape)
        moved = changed(moved, index + 1, synapse=replace(following, weight=weight))
    first, second = run(engine, network, x), run(engine, moved, x)
    for name in first:
        view = (lambda a: a[:, :, order]) if name == layer.name else None
        assert_same(first, second, view, only=name)


@law(60)
def test_silent_neurons_and_silent_inputs_change_nothing(engine: Engine, seed: int) -> None:
    """Neurons without input, wired to the next layer with any weights, are as good as absent."""
    network, x, index = draw_layer(seed, lambda n, i: i + 1 < len(n.layers) and free_channels(n, i))
    rng = np.random.default_rng(seed)
    layer, more = network.layers[index], int(rng.integers(1, 34))
    synapse, following = layer.synapse, network.layers[index + 1].synapse
    pad = np.zeros((more, *synapse.weight.shape[1:]), np.int16)
    grown = np.concatenate([synapse.weight.astype(np.int16), pad])

    def with_silent(full: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([full, np.zeros((more, *full.shape[1:]), full.dtype)])

    old: Any = following
    split = old.weight.astype(np.int16).reshape(len(old.weight), layer.shape[0], -1)
    low, high = WEIGHT_LIMITS[old.sign]
    wires = rng.integers(low, high + 1, (len(split), more, split.shape[2])) // 2 * 2
    weight = np.concatenate([split, np.clip(wires, low, high).astype(np.int16)], axis=1)
    form = (len(split), -1, *old.weight.shape[2:])
    layers = list(network.layers)
    shape = (layer.shape[0] + more, *layer.shape[1:])
    layers[index] = layer.changed(
        synapse=replace(synapse, weight=grown),
        shape=shape,
        neuron=by_channel(layer, with_silent),
    )
    wired = replace(old, weight=weight.reshape(form))
    if isinstance(wired, ConvSynapse):
        wired = replace(wired, input_shape=(shape[0], shape[1], shape[2]))
    layers[index + 1] = layers[index + 1].changed(synapse=wired)
    wider = replace(network, layers=tuple(layers))
    try:
        check_chip(wider)
    except GraphError:
        assume(False)
    first, second = run(engine, wider, x), run(engine, network, x)
    for name in first:
        view = (lambda a: a[:, :, : layer.shape[0]]) if name == layer.name else None
        assert_same(first, second, view, only=name)
    assert not np.asarray(first[layer.name].s)[:, :, layer.shape[0] :].any()


@law(40)
def test_black_and_full_bright_pixels_of_one_level_are_constant_spikes(
    engine: Engine, seed: int
) -> None:
    """Pixels of value 0 and 1 are spikes that come at every step."""
    network, x, _ = draw_layer(seed, lambda n, i: not n.layers[0].host, coding="pixels")
    image = x % 2
    spikes = np.repeat(image[:, None], network.timesteps, axis=1)
    assert_same(run(engine, network, image), run(engine, replace(network, coding="spikes"), spikes))


def single(network: ChipNetwork, synapse: Any, shape: tuple[int, ...]) -> ChipNetwork:
    """Keep the first layer alone, with another synapse."""
    layer = network.layers[0]
    made = layer.changed(synapse=synapse, shape=shape)
    return replace(network, layers=(made,))


@law(60)
def test_a_dense_layer_is_a_convolution_with_one_position(engine: Engine, seed: int) -> None:
    """A kernel as large as the image, unpadded, sees what a dense layer sees."""

    def plain_dense(network: ChipNetwork, index: int) -> bool:
        first = network.layers[0]
        return not first.host and isinstance(first.synapse, DenseSynapse)

    network, x, _ = draw_layer(seed, plain_dense)
    layer = network.layers[0]
    dense = layer.synapse
    assert isinstance(dense, DenseSynapse)
    shape = network.input_shape
    kernel = dense.weight.reshape(-1, *shape)
    conv = ConvSynapse(
        kernel, (shape[0], shape[1], shape[2]), sign=dense.sign, exponent=dense.exponent
    )
    alone = single(network, dense, layer.shape)
    other = single(network, conv, (*layer.shape, 1, 1))
    neuron = by_channel(layer, lambda full: full.reshape(-1, 1, 1))
    last = replace(other.layers[0], neuron=neuron)
    other = replace(other, layers=(last,))
    assert_same(run(engine, alone, x), run(engine, other, x), lambda a: a.reshape(*a.shape, 1, 1))


@law(60)
def test_a_grouped_convolution_is_a_full_one_with_zeros(engine: Engine, seed: int) -> None:
    """Groups only leave out weights that would be zero."""
    network, x, index = draw_layer(seed, lambda n, i: getattr(n.layers[i].synapse, "groups", 1) > 1)
    layer = network.layers[index]
    conv: Any = layer.synapse
    out, per_group = conv.weight.shape[:2]
    full = np.zeros((out, conv.input_shape[0], *conv.weight.shape[2:]), conv.weight.dtype)
    for channel in range(out):
        start = channel // (out // conv.groups) * per_group
        full[channel, start : start + per_group] = conv.weight[channel]
    whole: Any = replace(conv, weight=full, groups=1)
    assert_same(run(engine, network, x), run(engine, changed(network, index, synapse=whole), x))


def test_the_readout_is_among_what_the_laws_draw() -> None:
    kinds = {type(draw(seed)[0].layers[-1].neuron) for seed in range(30)}
    assert ReadoutNeuron in kinds and LifNeuron in kinds
