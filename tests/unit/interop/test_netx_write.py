"""Writing .net files: what fits comes back equal, what does not is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("h5py", reason="h5py is not installed")

import h5py

from spikeproof.errors import InputError, MissingExtraError, UnsupportedError
from spikeproof.interop import netx_file
from spikeproof.interop.netx_form import netx_form
from spikeproof.interop.netx_read import load_netx
from spikeproof.interop.netx_write import netx_problems, save_netx
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
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
    return ChipLayer("d", DenseSynapse(array, sign, exponent), chosen, (len(array),))  # type: ignore[arg-type]


def network(*layers: ChipLayer, coding: str = "spikes", shape: Any = (2, 3, 3)) -> ChipNetwork:
    return ChipNetwork("net", shape, STEPS, layers, coding)  # type: ignore[arg-type]


def host(weight: int, offset: int, shift: int = 0, kernel: int = 1) -> ChipLayer:
    full = np.full((2, 1, kernel, kernel), weight, np.int16)
    padding = (kernel // 2, kernel // 2)
    inner = ConvSynapse(full, (2, 3, 3), (1, 1), padding, (1, 1), 2)
    current = HostCurrent(inner, np.full((2, 1, 1), offset, np.int64), shift)
    return ChipLayer("in", current, LifNeuron(9, 50, bias(1, 1, 1), 6), (2, 3, 3))


KERNEL = np.resize(np.array([2, -4, 6], np.int16), (4, 1, 3, 3))
CONV = ChipLayer(
    "c", ConvSynapse(KERNEL, (2, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    LifNeuron(7, 30, np.arange(36, dtype=np.int32).reshape(4, 3, 3), 6, 4095), (4, 3, 3),
)  # fmt: skip


def parts(given: ChipNetwork) -> Any:
    document, tensors = network_to_parts(replace(given, name="x"))
    return document, {k: (a.dtype.str, a.shape, a.tobytes()) for k, a in tensors.items()}


FITS = {
    "spikes": network(CONV, dense(np.resize([2, -6], (3, 36)))),
    "pixels": network(host(3, -9), dense(np.resize([1, -3], (3, 18)) * 2, exponent=-1),
                      coding="pixels"),
    "readout": network(dense(np.resize([2, 7], (3, 18)), ReadoutNeuron(bias(3, value=2), 6))),
    "exponents": network(dense(np.resize([2, -6], (3, 18)),
                               LifNeuron(5, 1, bias(3, value=128), 1), exponent=3)),
}  # fmt: skip


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


TABLE = TableLifNeuron(
    np.full(STEPS, 4000, np.int32), np.full(STEPS, 640, np.int32), bias(1), 6
)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (network(dense([[2] * 18], TABLE)), "d: leak and threshold change with the step"),
        (network(dense([[2] * 18]), coding="pixels"), "d: takes pixels as graded spikes"),
        (network(dense([[2, -4] * 9], exponent=-2)), "d: weight exponent -2 cuts bits off"),
        (network(dense([[2, -128] * 9], exponent=2)), "d: weights span -512..8"),
        (network(dense([[0] * 18])), "d: all weights are 0"),
        (network(dense([[2] * 18], LifNeuron(5, 1, bias(1, value=32), 0))), "no multiples of 64"),
        (network(dense([[2] * 18], LifNeuron(5, 1, bias(1, value=4095), 7))), "reaches 8190"),
        (network(host(1, 0, 1), coding="pixels"), "in: the host's current has 1 bits after"),
        (network(host(1, 0, 0, 3), coding="pixels"), "in: the host computes the first layer's"),
        (network(replace(host(1, 0), neuron=LifNeuron(9, 5, bias(1, 1, 1), 2)), coding="pixels"),
         "in: the host writes biases with exponent 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(given: ChipNetwork, expected: str, tmp_path: Path) -> None:
    (problem,) = netx_problems(given)
    assert expected in problem
    with pytest.raises(UnsupportedError) as caught:
        save_netx(given, tmp_path / "a.net")
    assert problem in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_all_obstacles_are_named_at_once() -> None:
    given = network(
        replace(CONV, neuron=replace(TABLE, bias=bias(1, 1, 1))),
        dense([[0] * 36], LifNeuron(5, 1, bias(1, value=1))),
    )  # fmt: skip
    assert len(netx_problems(given)) == 3


def test_a_folder_that_is_missing_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not write"):
        save_netx(FITS["readout"], tmp_path / "nowhere" / "a.net")


def test_without_h5py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    for action in (lambda: save_netx(FITS["readout"], tmp_path / "a.net"),
                   lambda: netx_file.read_raw(tmp_path / "a.net")):  # fmt: skip
        with pytest.raises(MissingExtraError, match=r"spikeproof\[netx\]"):
            action()
