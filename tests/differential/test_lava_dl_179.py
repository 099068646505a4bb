"""The network of lava-dl's issue 179: grouped convolutions, no input block.

1-64(s2)-128(g64)-256(s2,g128)-256(k1,g256)-64(k1,s2,g64), then dense 576-100-10. The weights are
random, as the issue gives none; 3x3 kernels unless it says k1, on images of 28x28.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py", reason="h5py is not installed")

import h5py

from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.registry import get_engine
from spikeproof.engines.trace import RunResult
from spikeproof.errors import UnsupportedError
from spikeproof.formats.netx.read import load_netx
from spikeproof.ir.chip import ChipNetwork

STEPS = 5
CONVS = [  # out, in, kernel, stride, groups
    (64, 1, 3, 2, 1),
    (128, 64, 3, 1, 64),
    (256, 128, 3, 2, 128),
    (256, 256, 1, 1, 256),
    (64, 256, 1, 2, 64),
]
DENSES = [(100, 576), (10, 100)]


def write(path: Path) -> None:
    rng = np.random.default_rng(179)

    def weight(*shape: int) -> np.ndarray:
        """Return even weights with a drift upwards, or the last layers would be silent."""
        return 2 * rng.integers(-20, 41, shape).astype(np.float32)

    with h5py.File(path, "w") as file:
        for index, (out, channels, kernel, stride, groups) in enumerate(CONVS):
            layer = file.create_group(f"layer/{index}")
            layer["type"] = np.array([b"conv"])
            layer["weight"] = weight(out, channels // groups, kernel, kernel)
            layer["stride"], layer["groups"] = (stride, stride), groups
            _neuron(layer, 100 if kernel > 1 else 20)
        file["layer/5/type"] = np.array([b"flatten"])
        for index, (out, channels) in enumerate(DENSES, 6):
            layer = file.create_group(f"layer/{index}")
            layer["type"], layer["weight"] = np.array([b"dense"]), weight(out, channels)
            _neuron(layer, 3000 if out == 100 else 900)


def _neuron(layer: h5py.Group, threshold: int) -> None:
    layer["neuron/type"] = "CUBA"
    for key, value in {"iDecay": 2048, "vDecay": 512, "vThMant": threshold}.items():
        layer[f"neuron/{key}"] = value


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> ChipNetwork:
    path = tmp_path_factory.mktemp("net") / "179.net"
    write(path)
    with pytest.raises(UnsupportedError, match="--input-shape C H W"):
        load_netx(path, STEPS)
    return load_netx(path, STEPS, input_shape=(1, 28, 28))


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return (np.random.default_rng(0).random((2, STEPS, 1, 28, 28)) < 0.4).astype(np.uint8)


@pytest.fixture(scope="module")
def expected(network: ChipNetwork, x: np.ndarray) -> RunResult:
    return ReferenceEngine().run(network, x, trace=True)


def test_shapes_are_those_of_the_issue(network: ChipNetwork, expected: RunResult) -> None:
    assert [layer.shape for layer in network.layers] == [
        (64, 13, 13),
        (128, 11, 11),
        (256, 5, 5),
        (256, 5, 5),
        (64, 3, 3),
        (100,),
        (10,),
    ]
    assert expected.traces is not None
    for trace in expected.traces.values():
        assert trace.s is not None and 0 < trace.s.sum() < trace.s.size


@pytest.mark.parametrize("engine", ["numpy", "fast", "onnx", "torch"])
def test_every_engine_runs_it_alike(
    engine: str, network: ChipNetwork, x: np.ndarray, expected: RunResult
) -> None:
    pytest.importorskip({"onnx": "onnxruntime", "torch": "torch"}.get(engine, "numpy"))
    assert_equal(get_engine(engine).run(network, x, trace=True), expected)


@pytest.mark.lava
def test_lava_runs_it_alike(network: ChipNetwork, x: np.ndarray, expected: RunResult) -> None:
    pytest.importorskip("lava", reason="Lava is not installed")
    assert_equal(get_engine("lava").run(network, x, trace=True), expected)


def assert_equal(found: RunResult, expected: RunResult) -> None:
    np.testing.assert_array_equal(found.logits, expected.logits)
    assert found.traces is not None and expected.traces is not None
    for name, trace in expected.traces.items():
        for key in ("u", "v", "s"):
            np.testing.assert_array_equal(getattr(found.traces[name], key), getattr(trace, key))
