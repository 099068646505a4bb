"""Writing .net files: what fits comes back equal, what does not is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("h5py", reason="h5py is not installed")

import h5py

from spikeproof.errors import (
    InputError,
    MissingExtraError,
    SpikeproofError,
    UnsupportedError,
)
from spikeproof.formats.netx import file as netx_file
from spikeproof.formats.netx.form import netx_form
from spikeproof.formats.netx.pixels import mantissas
from spikeproof.formats.netx.read import load_netx
from spikeproof.formats.netx.write import netx_problems, save_netx
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
    TableLifNeuron,
)
from spikeproof.ir.serial import network_to_parts

STEPS = 6


def bias(*shape: int, value: int = 0) -> Any:
    return np.full(shape, value, np.int32)


def dense(weight: Any, neuron: Neuron | None = None, exponent: int = 0) -> ChipLayer:
    array = np.asarray(weight, np.int16)
    sign = "excitatory" if array.min() >= 0 else "mixed"
    chosen = neuron or LifNeuron(5, 100, bias(len(array)), 6, 2000)
    return ChipLayer("d", (Connection(DenseSynapse(array, sign, exponent)),), chosen, (len(array),))  # type: ignore[arg-type]


def network(*layers: ChipLayer, coding: str = "spikes", shape: Any = (2, 3, 3)) -> ChipNetwork:
    return ChipNetwork("net", shape, STEPS, layers, coding)  # type: ignore[arg-type]


def host(weight: int, offset: int, shift: int = 0, kernel: int = 1) -> ChipLayer:
    full = np.full((2, 1, kernel, kernel), weight, np.int16)
    padding = (kernel // 2, kernel // 2)
    inner = ConvSynapse(full, (2, 3, 3), (1, 1), padding, (1, 1), 2)
    current = HostCurrent(np.full((2, 1, 1), offset, np.int64), shift)
    return ChipLayer(
        "in", (Connection(inner, host=current),), LifNeuron(9, 50, bias(1, 1, 1), 6), (2, 3, 3)
    )


def host_conv() -> ChipLayer:
    """A convolution of the host, strided, with bits after the point and an offset per channel."""
    kernel = np.resize(np.array([211, -97, 3000, -12345], np.int32), (4, 2, 3, 3))
    inner = ConvSynapse(kernel, (2, 3, 3), (2, 2), (1, 1))
    offset = np.array([9, -300, 77, 0], np.int64).reshape(4, 1, 1)
    zero = bias(1, 1, 1)
    return ChipLayer(
        "l1",
        (Connection(inner, host=HostCurrent(offset, 9)),),
        LifNeuron(9, 50, zero, 6),
        (4, 2, 2),
    )


def host_dense() -> ChipLayer:
    weight = np.resize(np.array([500, -4000, 31], np.int32), (5, 18))
    current = HostCurrent(np.arange(5, dtype=np.int64), 8)
    return ChipLayer(
        "l1", (Connection(DenseSynapse(weight), host=current),), LifNeuron(9, 50, bias(1), 6), (5,)
    )


KERNEL = np.resize(np.array([2, -4, 6], np.int16), (4, 1, 3, 3))
CONV = ChipLayer(
    "c",
    (Connection(ConvSynapse(KERNEL, (2, 3, 3), (1, 1), (1, 1), (1, 1), 2)),),
    LifNeuron(7, 30, np.arange(36, dtype=np.int32).reshape(4, 3, 3), 6, 4095),
    (4, 3, 3),
)


def parts(given: ChipNetwork) -> Any:
    document, tensors = network_to_parts(replace(given, name="x"))
    return document, {k: (a.dtype.str, a.shape, a.tobytes()) for k, a in tensors.items()}


FITS = {
    "spikes": network(CONV, dense(np.resize([2, -6], (3, 36)))),
    "pixels": network(
        host(3, -9), dense(np.resize([1, -3], (3, 18)) * 2, exponent=-1), coding="pixels"
    ),
    "half a pixel": network(host(1, 0, 1), dense(np.resize([2, -6], (3, 18))), coding="pixels"),
    "host convolution": network(host_conv(), dense(np.resize([2, -6], (3, 16))), coding="pixels"),
    "host dense": network(host_dense(), dense(np.resize([2, -6], (3, 5))), coding="pixels"),
    "graded pixels": network(CONV, dense(np.resize([2, -6], (3, 36))), coding="pixels"),
    "flat graded pixels": network(dense(np.resize([2, -6], (3, 18))), coding="pixels"),
    "readout": network(dense(np.resize([2, 7], (3, 18)), ReadoutNeuron(bias(3, value=2), 6))),
    "exponents": network(
        dense(np.resize([2, -6], (3, 18)), LifNeuron(5, 1, bias(3, value=128), 1), exponent=3)
    ),
}


@pytest.mark.parametrize("name", FITS)
def test_what_fits_comes_back_equal(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    assert netx_problems(FITS[name]) == []
    save_netx(FITS[name], path)
    again = load_netx(path)
    assert parts(again) == parts(netx_form(FITS[name]))
    save_netx(again, tmp_path / "b.net")
    assert (tmp_path / "b.net").read_bytes() == path.read_bytes()


def test_intels_own_network_survives_the_round_trip(root: Path, tmp_path: Path) -> None:
    first = load_netx(root / "tests/golden/traces/tiny.net")
    save_netx(first, tmp_path / "tiny.net")
    assert parts(load_netx(tmp_path / "tiny.net")) == parts(first)


@pytest.mark.parametrize("pixels", [(0.0, 1.0), (-1.0, 1.0), (-0.4242, 2.8215)])
def test_a_network_read_with_a_pixel_range_is_written_back(
    pixels: tuple[float, float], root: Path, tmp_path: Path
) -> None:
    first = load_netx(root / "tests/golden/traces/tiny.net", pixel_range=pixels)
    save_netx(first, tmp_path / "tiny.net", pixel_range=pixels)
    assert parts(load_netx(tmp_path / "tiny.net", pixel_range=pixels)) == parts(first)
    with h5py.File(tmp_path / "tiny.net") as file:
        written = file["layer/0/weight"][()].item(), file["layer/0/bias"][()].item()
    assert mantissas(*written, pixels) == mantissas(36, 34, pixels)


def test_a_regressor_comes_back_as_the_readout_it_is(tmp_path: Path) -> None:
    regressor = LifNeuron((1 << 17) - 1, 0, bias(1, value=2), 6)
    save_netx(network(dense([[2] * 18], regressor)), tmp_path / "a.net")
    assert isinstance(load_netx(tmp_path / "a.net").layers[-1].neuron, ReadoutNeuron)


def test_the_file_says_it_in_lava_dls_words(tmp_path: Path) -> None:
    save_netx(FITS["spikes"], tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net") as file:
        layer = file["layer"]
        kinds = [layer[str(i)]["type"][0] for i in range(len(layer))]
        assert kinds == [b"input", b"conv", b"flatten", b"dense"]
        assert layer["1/weight"].shape == (4, 1, 3, 3, 1)
        assert layer["1/bias"].shape == (3, 3, 4)
        assert layer["3/neuron/iDecay"][()] == 2001 and layer["1/neuron/iDecay"][()] == 4096
        assert layer["3/shape"][()].tolist() == [3, 1, 1]
        assert file["simulation/tSample"][()] == STEPS


TABLE = TableLifNeuron(np.full(STEPS, 4000, np.int32), np.full(STEPS, 640, np.int32), bias(1), 6)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (network(dense([[2] * 18], TABLE)), "d: DLIF table neurons are a program"),
        (network(dense([[2, -4] * 9], exponent=-2)), "d: weight exponent -2 cuts bits off"),
        (network(dense([[2, -128] * 9], exponent=2)), "d: weights span -512..8"),
        (network(dense([[0] * 18])), "d: all weights are 0"),
        (network(dense([[2] * 18], LifNeuron(5, 1, bias(1, value=32), 0))), "no multiples of 64"),
        (network(dense([[2] * 18], LifNeuron(5, 1, bias(1, value=4095), 7))), "reaches 8190"),
        (
            network(replace(host(1, 0), neuron=LifNeuron(9, 5, bias(1, 1, 1), 2)), coding="pixels"),
            "in: the host writes biases with exponent 2",
        ),
    ],
)
def test_what_does_not_fit_is_named(given: ChipNetwork, expected: str, tmp_path: Path) -> None:
    (problem,) = netx_problems(given)
    assert expected in problem
    with pytest.raises(UnsupportedError) as caught:
        save_netx(given, tmp_path / "a.net")
    assert problem in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["host convolution", "host dense"])
def test_a_current_of_the_host_is_fed_to_lava_dl_as_it_is(name: str, tmp_path: Path) -> None:
    """Its input block adds 1 times what it gets plus 0 to the neurons of the first layer."""
    save_netx(FITS[name], tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net") as file:
        block = file["layer/0"]
        assert block["type"][0] == b"input"
        assert block["shape"][()].tolist() == list(FITS[name].layers[0].shape)
        assert (block["weight"][()].tolist(), block["bias"][()].tolist()) == ([1], [0])
        assert block["neuron/vThMant"][()] == 9 and block["host/inputShape"][()].tolist() == [
            2,
            3,
            3,
        ]


def test_fed_past_its_input_neurons_such_a_file_takes_their_spikes(tmp_path: Path) -> None:
    save_netx(FITS["host convolution"], tmp_path / "a.net")
    rest = load_netx(tmp_path / "a.net", skip_input=True)
    assert (rest.coding, rest.input_shape) == ("spikes", (4, 2, 2))


def test_pixels_as_graded_spikes_say_their_message_bits(tmp_path: Path) -> None:
    save_netx(FITS["graded pixels"], tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net") as file:
        assert "neuron" not in file["layer/0"] and file["layer/0/messageBits"][()] == 8


def test_the_refusal_names_the_option_that_avoids_it(tmp_path: Path) -> None:
    given = network(dense([[2] * 18], LifNeuron(5, 1, bias(1, value=32), 0)))
    with pytest.raises(UnsupportedError, match="with --profile loihi"):
        save_netx(given, tmp_path / "a.net")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("weight", [2], "weight is not 1"),
        ("bias", [7], "bias is not 0"),
        ("host/shift", 40, "host/shift is 40"),
        ("host/inputShape", [3, 3], "expected (C, H, W)"),
        ("host/weight", np.full((4, 2, 3, 3), 40_000), "host/weight spans 40000..40000"),
        ("host/weight", np.ones((4, 17)), "its images (2, 3, 3)"),
        ("host/offset", None, "has no host/offset"),
        ("host/more", 1, "does not know: host/more"),
        ("host/stride", [0, 0], "stride"),
        ("messageBits", 8, "does not know: messageBits"),
    ],
)
def test_wrong_entries_about_the_host_are_named(
    key: str, value: Any, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.net"
    save_netx(FITS["host convolution"], path)
    with h5py.File(path, "a") as file:
        if key in file["layer/0"]:
            del file["layer/0"][key]
        if value is not None:
            file["layer/0"][key] = np.asarray(value)
    with pytest.raises(SpikeproofError) as caught:
        load_netx(path)
    assert expected in str(caught.value)


def test_other_payloads_than_pixels_are_refused(tmp_path: Path) -> None:
    save_netx(FITS["graded pixels"], tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net", "a") as file:
        del file["layer/0/messageBits"]
        file["layer/0/messageBits"] = 16
    with pytest.raises(UnsupportedError, match="messageBits is not 8"):
        load_netx(tmp_path / "a.net")


def test_all_obstacles_are_named_at_once() -> None:
    given = network(
        replace(CONV, neuron=replace(TABLE, bias=bias(1, 1, 1))),
        dense([[0] * 36], LifNeuron(5, 1, bias(1, value=1))),
    )
    assert len(netx_problems(given)) == 3


def test_a_folder_that_is_missing_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not write"):
        save_netx(FITS["readout"], tmp_path / "nowhere" / "a.net")


def test_without_h5py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    for action in (
        lambda: save_netx(FITS["readout"], tmp_path / "a.net"),
        lambda: netx_file.read_raw(tmp_path / "a.net"),
    ):
        with pytest.raises(MissingExtraError, match="doctor --install netx"):
            action()
