"""Intel's own loader reads what we write: lava-dl runs our .net files on Lava, spike for spike.

Skipped unless lava-dl is installed; docs/howto.md, "lava-dl .net files", says how to get it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("h5py", reason="h5py is not installed")

import h5py

from spikeproof.engines.reference import ReferenceEngine
from spikeproof.formats.netx.read import load_netx
from spikeproof.formats.netx.rules import dense_loads_unchanged
from spikeproof.formats.netx.write import save_netx
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    HostCurrent,
    LifNeuron,
    ReadoutNeuron,
)

try:
    version("lava-dl")
except PackageNotFoundError:
    pytest.skip("lava-dl is not installed", allow_module_level=True)

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
T = 12


def in_lava_dl(folder: Path, first: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """Run the child program; Lava's processes live and die with it."""
    np.savez(folder / "in.npz", **arrays)
    command = [sys.executable, str(HERE / "lava_dl_child.py"), first]
    paths = os.pathsep.join(str(ROOT / part) for part in ("toolchain", "deploy"))
    done = subprocess.run(
        [*command, str(folder / "in.npz"), str(folder / "out.npz")],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "out.npz") as file:
        return dict(file)


def spiking_network(seed: int) -> ChipNetwork:
    """Grouped convolution and three dense layers: odd mixed, positive and negative weights."""
    rng = np.random.default_rng(seed)
    kernel = (2 * rng.integers(-20, 20, (4, 1, 3, 3))).astype(np.int16)
    conv = ConvSynapse(kernel, (2, 8, 8), (2, 2), (1, 1), (1, 1), 2)
    odd = rng.integers(-9, 10, (16, 64))
    odd[0, :2] = 7, -3
    positive = rng.integers(1, 128, (12, 16)).astype(np.int16)
    negative = rng.integers(-100, 0, (5, 12)).astype(np.int16)

    def bias(*shape: int, low: int = -5, high: int = 9) -> Any:
        return rng.integers(low, high, shape).astype(np.int32)

    layers = (
        ChipLayer("a", (Connection(conv),), LifNeuron(40, 512, bias(4, 4, 4), 6, 3000), (4, 4, 4)),
        ChipLayer(
            "b",
            (Connection(DenseSynapse((2 * odd).astype(np.int16), "mixed", -1)),),
            LifNeuron(12, 100, bias(16), 6),
            (16,),
        ),
        ChipLayer(
            "c",
            (Connection(DenseSynapse(positive, "excitatory")),),
            LifNeuron(700, 700, bias(12), 6, 2047),
            (12,),
        ),
        ChipLayer(
            "d",
            (Connection(DenseSynapse(negative, "inhibitory")),),
            LifNeuron(150, 900, bias(5, low=250, high=400), 6),
            (5,),
        ),
    )
    return ChipNetwork("net", (2, 8, 8), T, layers, "spikes")


@pytest.mark.parametrize("seed", range(3))
def test_lava_dl_runs_our_file_like_the_reference(seed: int, tmp_path: Path) -> None:
    network = spiking_network(seed)
    save_netx(network, tmp_path / "net.net")
    x = (np.random.default_rng(seed).random((6, T, 2, 8, 8)) < 0.3).astype(np.uint8)
    found = in_lava_dl(tmp_path, str(tmp_path / "net.net"), {"x": x, "steps": T})
    traces = ReferenceEngine().run(network, x, trace=True).traces
    assert traces is not None
    for index, trace in enumerate(traces.values()):
        assert trace.s is not None
        expected = trace.s.reshape(-1, *trace.s.shape[2:])
        assert 0 < expected.sum() < expected.size
        # Each hop over synapses costs a step; lava-dl staggers its resets alike.
        start = index + 1
        np.testing.assert_array_equal(found[str(index)][start : start + len(expected)], expected)


def test_lava_dl_runs_intels_network_after_a_round_trip(tmp_path: Path) -> None:
    folder = ROOT / "tests" / "golden" / "traces"
    save_netx(load_netx(folder / "tiny.net", 15), tmp_path / "again.net")
    with np.load(folder / "tinynet.npz") as file:
        mantissa = file["input_bias"].T
    found = in_lava_dl(tmp_path, str(tmp_path / "again.net"), {"x": mantissa, "steps": 15})
    network = load_netx(tmp_path / "again.net", pixel_range=(-34 / 36, 221 / 36))
    traces = ReferenceEngine().run(network, mantissa[None].astype(np.uint8), trace=True).traces
    assert traces is not None
    for index, trace in enumerate(traces.values()):
        assert trace.s is not None and trace.s.any()
        np.testing.assert_array_equal(found[str(index)][index : index + 15], trace.s[0])


def test_a_layer_without_neuron_sums_up_as_our_readout_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    path = tmp_path / "a.net"
    with h5py.File(path, "w") as file:
        for index, shape in enumerate(((6, 12), (4, 6))):
            layer = file.create_group(f"layer/{index}")
            layer["type"], layer["shape"] = np.array([b"dense"]), shape[:1]
            layer["weight"] = (2 * rng.integers(-20, 40, shape)).ravel()
        layer = file.create_group("layer/0/neuron")
        layer["type"] = "CUBA"
        for key, value in {"iDecay": 4096, "vDecay": 409, "vThMant": 60}.items():
            layer[key] = value
    network = load_netx(path, T)
    x = (rng.random((1, T, 12, 1, 1)) < 0.3).astype(np.uint8)
    found = in_lava_dl(tmp_path, str(path), {"x": x, "steps": T, "reset": 1000})
    logits = ReferenceEngine().run(network, x).logits
    assert logits.any()
    np.testing.assert_array_equal(found["v"].astype(int), logits[0])


def test_the_files_lava_dl_ships_are_read() -> None:
    """Its tests' networks: all of those with CUBA neurons and without delays."""
    shipped = {
        file.name: Path(str(file.locate()))
        for file in files("lava-dl") or ()
        if file.name in ("mnist.net", "tiny.net") or "pilotnet_lif/network.net" in str(file)
    }
    assert sorted(shipped) == ["mnist.net", "network.net", "tiny.net"]
    for name, layers in (("mnist.net", 4), ("network.net", 10), ("tiny.net", 3)):
        network = load_netx(shipped[name], pixel_range=(-1, 1))
        assert len(network.layers) == layers
        assert isinstance(network.layers[-1].neuron, ReadoutNeuron) is (name != "tiny.net")


def pixel_network(seed: int, first: str) -> ChipNetwork:
    """A first layer for pixels, either the host's (conv, dense) or graded, and a dense one."""
    rng = np.random.default_rng(seed)
    image = (2, 6, 6)
    weight = rng.integers(-3000, 3000, (4, 2, 3, 3)).astype(np.int32)
    synapse: Any = ConvSynapse(weight, image, (2, 2), (1, 1))
    shape: tuple[int, ...] = (4, 3, 3)
    if first == "dense":
        weight = rng.integers(-3000, 3000, (36, 72)).astype(np.int32)
        synapse, shape = DenseSynapse(weight), (36,)
    zero, host = (1,) * len(shape), None
    if first == "graded":
        kernel = (2 * rng.integers(-60, 61, (4, 2, 3, 3))).astype(np.int16)
        synapse = ConvSynapse(kernel, image, (2, 2), (1, 1))
        bias = rng.integers(-500, 4000, (4, 1, 1)).astype(np.int32)
    else:
        offset = rng.integers(-9000, 9000, (shape[0], *zero[1:]))
        host, bias = HostCurrent(offset, 11), np.zeros(zero, np.int32)
    hidden = (2 * rng.integers(-40, 41, (10, 36))).astype(np.int16)
    layers = (
        ChipLayer(
            "l1",
            (Connection(synapse, host=host),),
            LifNeuron(450 if host else 9000, 41, bias, 6),
            shape,
        ),
        ChipLayer(
            "l2",
            (Connection(DenseSynapse(hidden)),),
            LifNeuron(90, 41, rng.integers(-9, 20, 10).astype(np.int32), 6),
            (10,),
        ),
    )
    return ChipNetwork("net", image, T, layers, "pixels")


@pytest.mark.parametrize("first", ["conv", "dense"])
def test_lava_dl_takes_the_hosts_current_as_its_input(first: str, tmp_path: Path) -> None:
    from spikeproof_lava.jobs import host_mantissas

    network = pixel_network(1, first)
    save_netx(network, tmp_path / "net.net")
    x = np.random.default_rng(2).integers(0, 256, (1, 2, 6, 6), dtype=np.uint8)
    current = host_mantissas(network, x)[0].reshape(network.layers[0].shape)
    found = in_lava_dl(tmp_path, str(tmp_path / "net.net"), {"x": current, "steps": T})
    traces = ReferenceEngine().run(network, x, trace=True).traces
    assert traces is not None
    for index, trace in enumerate(traces.values()):
        assert trace.s is not None and 0 < trace.s.sum() < trace.s.size
        np.testing.assert_array_equal(found[str(index)][index : index + T], trace.s[0])


def test_lava_dl_takes_pixels_as_graded_spikes(tmp_path: Path) -> None:
    network = pixel_network(3, "graded")
    save_netx(network, tmp_path / "net.net")
    x = np.random.default_rng(4).integers(0, 256, (3, 2, 6, 6), dtype=np.uint8)
    streamed = np.repeat(x[:, None], T, axis=1)
    arrays = {"x": streamed, "steps": T, "bits": 8}
    found = in_lava_dl(tmp_path, str(tmp_path / "net.net"), arrays)
    traces = ReferenceEngine().run(network, x, trace=True).traces
    assert traces is not None
    for index, trace in enumerate(traces.values()):
        assert trace.s is not None and 0 < trace.s.sum() < trace.s.size
        expected = trace.s.reshape(-1, *trace.s.shape[2:])
        start = index + 1
        np.testing.assert_array_equal(found[str(index)][start : start + len(expected)], expected)


def test_we_know_which_dense_weights_lava_dl_keeps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    spans = [(-a, b) for a in (0, 1, 2, 64, 127, 128, 255, 256) for b in (0, 1, 2, 127, 128, 254)]
    spans += [(-a, -1) for a in (1, 2, 3, 64, 100, 255)] + [(1, 255), (3, 200), (0, 255)]
    matrices = []
    for low, high in spans:
        for step in (1, 2, 4, 16):
            drawn = rng.integers(low, high + 1, (6, 7)) // step * step
            drawn.flat[:2] = low, high
            matrices.append(drawn)
    found = in_lava_dl(tmp_path, "--weights", {"x": np.stack(matrices)})["kept"]
    ours = [dense_loads_unchanged(m.astype(np.int64)) is None for m in matrices]
    assert 20 < sum(ours) < len(ours) - 20
    assert found.tolist() == ours
