"""Reading lava-dl .net files: what is understood exactly, and what is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("h5py", reason="h5py is not installed")

import h5py

from spikeproof.engines.reference import ReferenceEngine
from spikeproof.errors import GraphError, InputError, RangeError, UnsupportedError
from spikeproof.formats.netx.read import load_netx
from spikeproof.ir.chip import ConvSynapse, DenseSynapse, LifNeuron, ReadoutNeuron

Layer = dict[str, Any]
NEURON: Layer = {"type": "CUBA", "iDecay": 1024, "vDecay": 128, "vThMant": 80, "refDelay": 1}


def neuron(**changes: Any) -> Layer:
    return {f"neuron/{key}": value for key, value in {**NEURON, **changes}.items()}


def source(*shape: int, **entries: Any) -> Layer:
    return {"type": "input", "shape": shape, **entries}


def dense(out: int, width: int, **entries: Any) -> Layer:
    weight = np.resize([2, -4, 6], (out, width))
    return {"type": "dense", "shape": (out, 1, 1), "weight": weight, **neuron(), **entries}


def conv(out: int, channels: int, shape: tuple[int, ...], **entries: Any) -> Layer:
    weight = np.resize([2.0, -4.0, 6.0], (out, channels, 3, 3, 1))
    return {"type": "conv", "shape": shape, "weight": weight, **neuron(), **entries}


FLAT: Layer = {"type": "flatten", "shape": (1, 1, 1)}


def write(path: Path, *layers: Layer, **simulation: int) -> Path:
    with h5py.File(path, "w") as file:
        for index, layer in enumerate(layers):
            for key, value in layer.items():
                if value is None:
                    continue
                stored = np.array([value], "S12") if key == "type" else value
                file.create_dataset(f"layer/{index}/{key}", data=stored)
        for key, number in simulation.items():
            file.create_dataset(f"simulation/{key}", data=number)
    return path


def refusal(path: Path, *layers: Layer) -> str:
    with pytest.raises(UnsupportedError) as caught:
        load_netx(write(path, *layers), 4)
    return str(caught.value)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return tmp_path / "my net.net"


def test_a_whole_network_is_read(net: Path) -> None:
    sizes = {"inChannels": 2, "outChannels": 4, "kernelSize": (3, 3)}
    place = {"stride": (2, 3), "padding": (1, 0), "dilation": (1, 1), "groups": 2}
    first = conv(4, 1, (4, 3, 2), bias=np.array([1.0, -2, 3, 4]), **sizes, **place)
    write(net, source(2, 6, 8), first, FLAT, dense(3, 24, delay=0, bias=np.arange(3)))
    network = load_netx(net, 5)
    assert (network.name, network.coding, network.timesteps) == ("my-net", "spikes", 5)
    assert [layer.name for layer in network.layers] == ["conv1", "dense3"]
    synapse, cuba = network.layers[0].synapse, network.layers[0].neuron
    assert isinstance(synapse, ConvSynapse) and isinstance(cuba, LifNeuron)
    assert (synapse.stride, synapse.padding, synapse.groups) == ((2, 3), (1, 0), 2)
    assert (synapse.sign, synapse.exponent, synapse.weight.dtype) == ("mixed", 0, np.int16)
    assert (cuba.du, cuba.dv, cuba.threshold, cuba.bias_exponent) == (1023, 128, 80, 6)
    np.testing.assert_array_equal(cuba.bias, np.array([1, -2, 3, 4]).reshape(4, 1, 1))
    assert network.layers[1].neuron.bias.tolist() == [0, 1, 2]


def test_steps_come_from_the_file_or_the_caller(net: Path) -> None:
    write(net, source(3), dense(2, 3), tSample=64, Ts=2)
    assert load_netx(net).timesteps == 32
    assert load_netx(net, 7).timesteps == 7
    with pytest.raises(UnsupportedError, match="--timesteps N"):
        load_netx(write(net, source(3), dense(2, 3)))


def test_a_file_without_input_begins_with_its_dense_layer(net: Path) -> None:
    assert load_netx(write(net, dense(2, 3)), 4).input_shape == (3, 1, 1)
    assert load_netx(write(net, source(3), dense(2, 3)), 4).input_shape == (3, 1, 1)


def test_flatten_order_is_channel_height_width(net: Path) -> None:
    weight = np.zeros((1, 12), int)
    weight[0, 7], weight[0, 0] = 200, 2
    write(net, source(2, 2, 3), FLAT, dense(1, 12, weight=weight, **neuron(iDecay=4096)))
    x = np.zeros((2, 4, 2, 2, 3), np.uint8)
    x[0, 0, 1, 0, 1] = 1  # channel 1, row 0, column 1: number 7
    x[1, 0, 0, 1, 1] = 1
    assert ReferenceEngine().run(load_netx(net, 4), x).logits.ravel().tolist() == [1, 0]


@pytest.mark.parametrize(
    ("weight", "stored", "sign", "exponent"),
    [
        ([4, -6, 0, 2], [4, -6, 0, 2], "mixed", 0),
        ([-256, 254, 0, 2], [-256, 254, 0, 2], "mixed", 0),
        ([1, -1, 0, 127], [2, -2, 0, 254], "mixed", -1),
        ([255, 0, 1, 3], [255, 0, 1, 3], "excitatory", 0),
        ([-255, -1, -2, -3], [-255, -1, -2, -3], "inhibitory", 0),
    ],
)
def test_weights_keep_their_value(
    net: Path, weight: list[int], stored: list[int], sign: str, exponent: int
) -> None:
    network = load_netx(write(net, dense(1, 4, weight=np.array([weight]))), 3)
    synapse = network.layers[0].synapse
    assert isinstance(synapse, DenseSynapse)
    assert (synapse.weight.ravel().tolist(), synapse.sign, synapse.exponent) == (
        stored,
        sign,
        exponent,
    )
    x = np.eye(4, dtype=np.uint8).reshape(4, 1, 4, 1, 1).repeat(3, axis=1)
    traces = ReferenceEngine().run(network, x, trace=True).traces
    assert traces is not None
    assert (traces["dense0"].u[:, 0, 0] // 64).tolist() == weight


def test_a_bias_per_neuron_is_stored_with_axes_reversed(net: Path) -> None:
    bias = np.arange(24).reshape(4, 3, 2)
    layer = conv(4, 2, (4, 3, 2), bias=bias.T.copy())
    found = load_netx(write(net, source(2, 5, 4), layer), 3).layers[0].neuron
    np.testing.assert_array_equal(found.bias, bias)


def test_an_input_block_with_neurons_takes_pixels(net: Path) -> None:
    block = source(2, 3, 4, weight=[5], bias=[-7], **neuron(iDecay=4096))
    write(net, block, FLAT, dense(3, 24))
    network = load_netx(net, 4)
    weight, host = network.layers[0].synapse.weight, network.layers[0].host
    assert network.coding == "pixels" and host
    assert (weight.ravel().tolist(), host.offset.item(), host.shift) == ([5, 5], -7, 0)
    skipped = load_netx(net, 4, skip_input=True)
    assert (skipped.coding, len(skipped.layers)) == ("spikes", 1)
    bare = load_netx(write(net, source(1, 2, 2, **neuron())), 4).layers[0]
    assert bare.host
    assert (bare.synapse.weight.item(), bare.host.offset.item()) == (64, 0)


@pytest.mark.parametrize("pixels", [(0.0, 1.0), (-0.5, 0.5), (0.0, 255.0), (1.0, 0.0)])
def test_pixel_values_are_mapped_exactly(net: Path, pixels: tuple[float, float]) -> None:
    write(net, source(1, 1, 256, weight=36, bias=34, **neuron()))
    layer = load_netx(net, 4, pixel_range=pixels).layers[0]
    host = layer.host
    assert host
    pixel = np.arange(256)
    total = pixel * int(layer.synapse.weight.flat[0]) + int(host.offset.flat[0])
    value = pixels[0] + pixel * (pixels[1] - pixels[0]) / 255
    expected = np.floor(36 * value + 34 + 0.5).astype(int)
    half = (1 << host.shift) >> 1
    np.testing.assert_array_equal((total + half) >> host.shift, expected)


def test_a_silent_last_layer_is_a_readout(net: Path) -> None:
    layer = dense(3, 4, **neuron(iDecay=4096, vDecay=0, vThMant=(1 << 18) - 1))
    assert isinstance(load_netx(write(net, layer), 4).layers[-1].neuron, ReadoutNeuron)


def test_a_network_that_ends_in_spikes_is_read_by_its_counts(net: Path) -> None:
    weight = np.array([[100, 0], [0, 100]])
    write(net, dense(2, 2, weight=weight, **neuron(iDecay=4096)))
    x = np.zeros((1, 6, 2, 1, 1), np.uint8)
    x[0, 0, 0], x[0, 2:5, 1] = 1, 1
    result = ReferenceEngine().run(load_netx(net, 6), x)
    assert (result.logits.tolist(), result.predictions.tolist()) == ([[1, 3]], [1])


IMAGE = source(2, 5, 4)
NO_NEURON: Layer = dict.fromkeys(neuron(), None)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([source(3), dense(2, 3, **neuron(type="SDNN"))], "layer 1 (dense): neurons of type"),
        ([dense(2, 3, **neuron(type="RF_PHASE"))], "neurons of type 'RF_PHASE'"),
        ([dense(2, 3, type="dense_rec")], "layer 0 (dense_rec): layers of this type"),
        ([source(3), {"type": "pool"}], "layer 1 (pool): layers of this type are not supported"),
        ([{"type": "average", "shape": 2}], "layer 0 (average)"),
        ([dense(2, 3, delay=np.array([0, 2]))], "delay is not 0: synaptic and axonal delays"),
        ([IMAGE, conv(3, 2, (3, 3, 2), delay=1)], "layer 1 (conv): delay is not 0"),
        ([dense(2, 3, **neuron(vDecay=np.array([1, 2])))], "neuron/vDecay differs between"),
        ([dense(2, 3, **neuron(iDecay=0))], "neuron/iDecay is 0, the chip takes 1..4096"),
        ([dense(2, 3, **neuron(vDecay=4097))], "neuron/vDecay is 4097"),
        ([dense(2, 3, **neuron(vThMant=131072))], "neuron/vThMant is 131072"),
        ([dense(2, 3, **neuron(refDelay=2))], "refDelay is not 1: refractory"),
        ([dense(2, 3, **neuron(gradedSpike=True))], "graded spikes are not supported"),
        ([dense(2, 3, **neuron(shadow=1))], "does not know: neuron/shadow"),
        ([dense(2, 3, weight=np.array([[1, -129, 2]] * 2))], "with 4 odd ones"),
        ([dense(2, 3, weight=np.array([[256, -2, 2]] * 2))], "weights span -2..256"),
        ([dense(2, 3, weight=np.array([[256, 2, 2]] * 2))], "weights span 2..256"),
        ([dense(2, 3, weight=np.full((2, 3), -64))], "lava-dl would load other numbers"),
        ([dense(2, 3, weight=np.full((2, 3), 0.5))], "weight holds 0.5 at [0, 0], 6 such"),
        ([dense(2, 3, weight=np.full((2, 3), np.nan))], "weight holds nan at [0, 0]"),
        ([dense(2, 3, weight=np.zeros((2, 3, 2)))], "weight has shape (2, 3, 2)"),
        ([IMAGE, {**conv(3, 2, (3, 3, 2)), **NO_NEURON}], "layer 1 (conv): has no neuron"),
        ([{"type": "dense", "weight": np.ones((2, 3)), "bias": [1, 0]}], "no neuron but a bias"),
        (
            [{"type": "dense", "weight": np.ones((2, 3))}, dense(2, 2)],
            "layer 1 (dense): gets nothing: the layer before it never fires",
        ),
        ([dense(2, 3, weight=np.ones(7))], "its 7 numbers cannot be cut into 2 rows"),
        ([dense(2, 3, **neuron(vThMant=1 << 60))], "vThMant holds 1152921504606846976 (beyond"),
        (
            [dense(2, 3, **neuron(vThMant=1 << 40))],
            "vThMant is 1099511627776, the chip takes 0..131071 (up to 262143 only for a readout",
        ),
        ([dense(2, 3, bias=np.array([1.5, 0]))], "bias holds 1.5 at [0], 1 such of 2"),
        ([dense(2, 3, bias=np.array([4096, 0]))], "bias spans 0..4096"),
        ([dense(2, 3, bias=np.arange(3))], "bias has shape (3,), expected (2,)"),
        ([dense(2, 3, shape=(5, 1, 1))], "shape is (5,), its weight gives (2,)"),
        ([dense(2, 3, inFeatures=7)], "inFeatures is 7, its weight says [3]"),
        ([source(4), dense(2, 3)], "expects 3 inputs, gets (4, 1, 1)"),
        ([IMAGE, conv(3, 2, (3, 3, 2)), dense(2, 18)], "needs a flatten in between"),
        ([IMAGE, FLAT, conv(3, 2, (3, 3, 2))], "after a flatten has no image"),
        ([conv(3, 2, (3, 3, 2))], "the shape of its input; give --input-shape C H W"),
        ([IMAGE, conv(3, 2, (3, 3, 2), kernelSize=(3, 5))], "kernelSize is [3, 5]"),
        ([IMAGE, conv(3, 2, (3, 3, 2), stride=(1, 2, 3))], "stride is [1, 2, 3], expected (h, w)"),
        ([source(2, 3), dense(2, 6)], "shape is [2, 3], expected (C, H, W) or (N,)"),
        ([{"type": "input"}, dense(2, 3)], "layer 0 (input): has no shape"),
        ([source(3)], "no layer of it has neurons"),
        ([dense(2, 3), source(2)], "an input can only be the first layer"),
        ([source(2, 2, 2, weight=[1, 2], **neuron())], "weight differs between"),
        ([source(2, 2, 2, weight=3)], "does not know: weight"),
    ],
)
def test_refusals_name_layer_and_reason(net: Path, layers: list[Layer], expected: str) -> None:
    message = refusal(net, *layers)
    assert expected in message
    assert "problems" not in message.split("\n")[0], "one cause, one problem"


def test_all_problems_are_named_at_once(net: Path) -> None:
    message = refusal(
        net,
        IMAGE,
        conv(3, 2, (3, 3, 2), delay=2),
        {"type": "pool", "shape": (3, 1, 1)},
        FLAT,
        dense(2, 3, weight=np.full((2, 3), 0.25), **neuron(type="RF")),
    )
    for part in (
        "4 problems",
        "layer 1 (conv): delay",
        "layer 2 (pool)",
        "layer 4 (dense): weight",
        "layer 4 (dense): neurons of type 'RF'",
    ):
        assert part in message


def test_complex_weights_are_refused(net: Path) -> None:
    layer = dense(2, 3)
    layer.pop("weight")
    layer |= {"weight/real": np.ones((2, 3)), "weight/imag": np.ones((2, 3))}
    assert "complex weights are not supported" in refusal(net, layer)


def test_sums_beyond_the_accumulator_are_refused(net: Path) -> None:
    wide = dense(1, 2000, weight=np.resize([254, -256], (1, 2000)))
    with pytest.raises(GraphError, match="a sum can reach 510000"):
        load_netx(write(net, wide), 4)


@pytest.mark.parametrize("steps", [0, -1, 5000])
def test_impossible_numbers_of_steps_are_refused(net: Path, steps: int) -> None:
    with pytest.raises(GraphError, match=f"timesteps is {steps}"):
        load_netx(write(net, dense(2, 3)), steps)


def test_an_impossible_pixel_range_is_refused(net: Path) -> None:
    with pytest.raises(InputError, match="two finite numbers"):
        load_netx(write(net, dense(2, 3)), 4, pixel_range=(0.0, float("nan")))
    with pytest.raises(InputError, match="black and white are the same value"):
        load_netx(write(net, dense(2, 3)), 4, pixel_range=(3.0, 3.0))


# --- what lava-dl reads, we read -----------------------------------------------------------------


def test_dense_weights_stored_flat_are_cut_into_rows(net: Path) -> None:
    weight = np.array([[2, -4, 6], [8, 10, -12]])
    synapse = load_netx(write(net, dense(2, 3, weight=weight.ravel())), 4).layers[0].synapse
    np.testing.assert_array_equal(synapse.weight, weight)


@pytest.mark.parametrize("bias", [np.array([7.0]), np.array(7)])
def test_one_bias_serves_all_neurons_of_a_dense_layer(net: Path, bias: Any) -> None:
    found = load_netx(write(net, dense(3, 2, bias=bias)), 4).layers[0].neuron
    assert found.bias.tolist() == [7, 7, 7]


def test_a_dense_layer_is_fed_by_a_flat_image(net: Path) -> None:
    """lava-dl's own mnist.net: an input of shape (784,) with neurons, then a dense layer."""
    block = source(784, weight=[76.0], bias=[64.0], **neuron(iDecay=4096))
    network = load_netx(write(net, block, dense(10, 784)), 16, pixel_range=(0, 1))
    assert (network.input_shape, network.coding) == ((784, 1, 1), "pixels")
    assert [layer.name for layer in network.layers] == ["input0", "dense1"]


def test_a_dense_layer_without_neuron_is_a_readout(net: Path) -> None:
    """lava-dl's default: iDecay 0 sums in u, vDecay 4096 makes v that sum, and it never fires."""
    layer = {"type": "dense", "shape": (2,), "weight": np.array([[100, -50], [2, 4]])}
    network = load_netx(write(net, layer), 5)
    assert isinstance(network.layers[0].neuron, ReadoutNeuron)
    x = np.ones((1, 5, 2, 1, 1), np.uint8)
    u = np.cumsum(np.full((5, 2), [50, 6]) * 64, axis=0)
    traces = ReferenceEngine().run(network, x, trace=True).traces
    assert traces is not None
    np.testing.assert_array_equal(traces["dense0"].v[0], u)


def test_a_layer_without_neuron_whose_sum_could_wrap_is_refused(net: Path) -> None:
    layer = {"type": "dense", "shape": (1,), "weight": np.full((1, 600), 200)}
    with pytest.raises(RangeError, match="dense0: has no neuron, and v could reach"):
        load_netx(write(net, layer), 50)


def test_dense_weights_of_zero_are_legal(net: Path) -> None:
    network = load_netx(write(net, dense(2, 3, weight=np.zeros((2, 3)))), 4)
    assert not network.layers[0].synapse.weight.any()


def test_the_input_shape_of_a_first_convolution_is_an_option(net: Path) -> None:
    write(net, conv(4, 2, (4, 3, 2)))
    assert load_netx(net, 4, input_shape=(2, 5, 4)).input_shape == (2, 5, 4)
    with pytest.raises(UnsupportedError, match=r"--input-shape says \(1, 5, 4\)"):
        load_netx(write(net, IMAGE, conv(4, 2, (4, 3, 2))), 4, input_shape=(1, 5, 4))
    assert load_netx(write(net, dense(2, 12)), 4, input_shape=(3, 2, 2)).input_shape == (3, 2, 2)


# --- readouts by proof ---------------------------------------------------------------------------

TOP = {"iDecay": 4096, "vDecay": 0, "vThMant": (1 << 17) - 1}


def test_a_regressor_that_can_never_fire_is_a_readout(net: Path) -> None:
    """The last layer of lava-dl's PilotNet: the highest threshold, no leak, no filter."""
    layer = dense(1, 10, weight=np.full(10, 42), bias=[3], **neuron(**TOP))
    network = load_netx(write(net, layer), 16)
    assert isinstance(network.layers[0].neuron, ReadoutNeuron)
    result = ReferenceEngine().run(network, np.ones((1, 16, 10, 1, 1), np.uint8))
    assert result.logits.tolist() == [[16 * (420 + 3) * 64]]


def test_a_regressor_that_might_fire_stays_a_spiking_layer(net: Path) -> None:
    layer = dense(1, 900, weight=np.full(900, 200), **neuron(**TOP))
    assert isinstance(load_netx(write(net, layer), 50).layers[0].neuron, LifNeuron)


@pytest.mark.parametrize("change", [{"vDecay": 1}, {"iDecay": 4095}, {"vThMant": 131070}])
def test_a_silent_layer_with_other_parameters_is_no_readout(net: Path, change: Layer) -> None:
    layer = dense(1, 10, **neuron(**{**TOP, **change}))
    assert isinstance(load_netx(write(net, layer), 4).layers[0].neuron, LifNeuron)
