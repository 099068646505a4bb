"""The torch engine equals the reference in every u, v and s: on the CPU, and on a GPU if any."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wired

from spikeproof.convert.pipeline import convert_network
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.registry import TARGET_GROUP
from spikeproof.engines.torch import engine as torch_engine
from spikeproof.engines.torch import load as torch_load
from spikeproof.engines.torch.engine import TorchEngine
from spikeproof.engines.trace import RunResult
from spikeproof.errors import InputError, MissingExtraError, TargetError
from spikeproof.fuzz.draw.graphs import random_graph
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.io.data import load_data
from spikeproof.io.zoo import zoo_calibration, zoo_images, zoo_networks
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    HostCurrent,
    LifNeuron,
    ReadoutNeuron,
    TableLifNeuron,
)
from spikeproof.ir.limits import LEAK_MAX

torch = pytest.importorskip("torch", reason="needs torch")
Array = np.ndarray[Any, Any]

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    ),
]


def assert_same(expected: RunResult, found: RunResult) -> int:
    """Compare everything, types too; return how many values were compared."""
    assert expected.traces is not None
    assert found.traces is not None
    assert list(expected.traces) == list(found.traces)
    np.testing.assert_array_equal(expected.logits, found.logits)
    np.testing.assert_array_equal(expected.predictions, found.predictions)
    compared = 0
    for name, trace in expected.traces.items():
        for key in "uvs":
            left, right = getattr(trace, key), getattr(found.traces[name], key)
            assert (left is None) == (right is None)
            if left is not None:
                assert left.dtype == right.dtype
                np.testing.assert_array_equal(left, right, err_msg=f"{name}/{key}")
                compared += left.size
    return compared


def compare(engine: TorchEngine, network: ChipNetwork, x: Array) -> RunResult:
    """Compare a run with and without traces with the reference; return the reference's."""
    expected = ReferenceEngine().run(network, x, trace=True)
    assert assert_same(expected, engine.run(network, x, trace=True))
    plain = engine.run(network, x)
    assert plain.traces is None
    np.testing.assert_array_equal(plain.logits, expected.logits)
    return expected


@pytest.mark.parametrize("device", DEVICES)
def test_random_networks(device: str) -> None:
    engine = TorchEngine(device)
    rng = np.random.default_rng(20261123)
    seen: set[object] = set()
    ties = saturated = wrapped = 0
    for index in range(60):
        network = random_network(rng, nasty=index % 2 == 0)
        expected = compare(engine, network, random_input(rng, network, 3))
        seen |= {network.coding, "T=1" if network.timesteps == 1 else "T>1"}
        for layer in network.layers:
            trace = (expected.traces or {})[layer.name]
            seen |= {type(layer.host or layer.synapse), type(layer.neuron)}
            saturated += int((np.abs(trace.v) == (1 << 23) - 1).sum())
            wrapped += int((np.abs(trace.u) > 1 << 22).sum())
            if isinstance(layer.neuron, LifNeuron):
                ties += int((trace.v == 64 * layer.neuron.threshold).sum())
    # The test means nothing unless the hard cases really occurred.
    assert min(ties, saturated, wrapped) > 0
    parts = {ConvSynapse, DenseSynapse, HostCurrent, LifNeuron, TableLifNeuron, ReadoutNeuron}
    assert {"pixels", "spikes", "T=1", "T>1"} | parts <= seen


@pytest.mark.parametrize("device", DEVICES)
def test_random_graphs(device: str) -> None:
    engine = TorchEngine(device)
    seen: set[str] = set()
    for index in range(120):
        rng = np.random.default_rng([20261128, index])
        network = random_graph(rng, random_network(rng, nasty=index % 3 == 0))
        compare(engine, network, random_input(rng, network, 3))
        seen |= wired.parts(network)
    assert seen == wired.PARTS


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", sorted(wired.cases()))
def test_each_part_of_a_graph(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, engine = wired.cases()[name], TorchEngine(device)
    x = wired.stimulus(network)
    expected = compare(engine, network, x)
    monkeypatch.setitem(torch_engine._BATCH_VALUES, engine.device.type, 1)
    assert_same(expected, engine.run(network, x, trace=True))


def test_weights_that_connections_share_are_on_the_device_once() -> None:
    network = wired.cases()["shared weights"]
    copied: list[Array] = []

    def put(array: Array) -> Any:
        copied.append(array)
        return torch.from_numpy(array)

    torch_load.load_layers(network, put)
    assert sum(array.shape == (wired.WIDTH, wired.WIDTH) for array in copied) == 1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", sorted(zoo_networks()))
def test_trained_networks_on_real_images(name: str, device: str) -> None:
    floats = load_checkpoint(zoo_networks()[name]).network
    calibration = load_data(zoo_calibration(), floats.input_shape)[0][:64]
    network = convert_network(floats, calibration).chip
    x = load_data(zoo_images(), floats.input_shape)[0][:6]
    expected = compare(TorchEngine(device), network, x)
    spikes = [t.s for t in (expected.traces or {}).values() if t.s is not None]
    assert spikes
    assert all(s.any() for s in spikes), "a silent network shows nothing"


@pytest.mark.parametrize("device", DEVICES)
def test_batches_and_order_do_not_matter(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    engine = TorchEngine(device)
    for _ in range(6):
        network = random_network(rng, nasty=True)
        x = random_input(rng, network, 7)
        whole = engine.run(network, x, trace=True)
        order = rng.permutation(7)
        np.testing.assert_array_equal(engine.run(network, x[order]).logits, whole.logits[order])
        steps: list[tuple[int, int]] = []
        with monkeypatch.context() as patch:
            patch.setitem(torch_engine._BATCH_VALUES, engine.device.type, 1)
            patch.setitem(torch_engine._CHUNK_VALUES, engine.device.type, 1)
            one = engine.run(network, x, trace=True, progress=lambda i, n: steps.append((i, n)))  # noqa: B023
        assert_same(whole, one)
        assert steps == [(i, 7) for i in range(1, 8)]


@pytest.mark.parametrize("device", DEVICES)
def test_sums_beyond_single_precision_stay_exact(device: str) -> None:
    # Odd sums of 26 million: above 2^24 float32 knows even numbers only.
    synapse = DenseSynapse(np.full((1, 401), 255, np.int16), "excitatory")
    layer = ChipLayer("l1", (Connection(synapse),), ReadoutNeuron(np.zeros(1, np.int32)), (1,))
    network = ChipNetwork("wide", (1, 1, 401), 1, (layer,))
    x = np.full((2, 1, 1, 401), 255, np.uint8)
    x[1, 0, 0, 0] = 1
    compare(TorchEngine(device), network, x)
    total = 401 * 255 * 255
    assert int(np.float32(total)) != total


@pytest.mark.parametrize("device", DEVICES)
def test_a_host_current_whose_sum_needs_double_precision(device: str) -> None:
    # Sums of up to 5e8, where float32 counts in steps of 32; the mantissa in steps of 128.
    rng = np.random.default_rng(2)
    weight = rng.integers(-32767, 32768, (40, 64)).astype(np.int16)
    current = HostCurrent(rng.integers(-(1 << 17), 1 << 17, (40,)), 7)
    leak, threshold = np.full(3, 4000, np.int32), np.full(3, 999, np.int32)
    neuron = TableLifNeuron(leak, threshold, np.zeros(1, np.int32))
    layer = ChipLayer("l1", (Connection(DenseSynapse(weight), host=current),), neuron, (40,))
    network = ChipNetwork("host", (1, 8, 8), 3, (layer,))
    x = rng.integers(0, 256, (50, 1, 8, 8), dtype=np.uint8)
    compare(TorchEngine(device), network, x)


@pytest.mark.parametrize("device", DEVICES)
def test_a_current_on_the_edge_of_the_wrap(device: str) -> None:
    # u reaches -2^23, which wraps to 2^23, and 2^23, which stays.
    weight = np.array([[-256] * 512 + [0] * 5, [254] * 516 + [8]], np.int16)
    neuron = LifNeuron(131_071, 0, np.zeros(1, np.int32))
    layer = ChipLayer("l1", (Connection(DenseSynapse(weight)),), neuron, (2,))
    network = ChipNetwork("edge", (1, 1, 517), 1, (layer,), "spikes")
    expected = compare(TorchEngine(device), network, np.ones((1, 1, 1, 1, 517), np.uint8))
    assert (expected.traces or {})["l1"].u.ravel().tolist() == [1 << 23, 1 << 23]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("du", [0, 1, 2047, 4094])
def test_a_filtered_current_wraps_where_the_reference_wraps(device: str, du: int) -> None:
    synapse = DenseSynapse(np.array([[-256] * 1024, [254] * 1024], np.int16))
    layer = ChipLayer(
        "l1", (Connection(synapse),), LifNeuron(131_071, 0, np.zeros(1, np.int32), 0, du), (2,)
    )
    network = ChipNetwork("edge", (1, 1, 1024), 60, (layer,), "spikes")
    rng = np.random.default_rng(0)
    x = (rng.random((2, 60, 1, 1, 1024)) < rng.uniform(0.3, 1.05, (2, 60, 1, 1, 1))).astype(
        np.uint8
    )
    expected = compare(TorchEngine(device), network, x)
    u = (expected.traces or {})["l1"].u
    assert u.min() < -(1 << 22)
    assert u.max() > 1 << 22


@pytest.mark.parametrize("device", DEVICES)
def test_the_largest_legal_sums_wrap_once_only(device: str) -> None:
    synapse = DenseSynapse(np.array([[-256] * 1008, [254] * 1008], np.int16), "mixed", 7)
    full, leak = np.full(4, 8388607, np.int32), np.full(4, LEAK_MAX, np.int32)
    neuron = TableLifNeuron(leak, full, np.array([4095, -4095], np.int32), 7)
    layer = ChipLayer("l1", (Connection(synapse),), neuron, (2,))
    network = ChipNetwork("edge", (1, 1, 1008), 4, (layer,), "spikes")
    expected = compare(TorchEngine(device), network, np.ones((1, 4, 1, 1, 1008), np.uint8))
    assert abs(int((expected.traces or {})["l1"].u.min())) > 1 << 24, "one wrap was not enough"


def precision() -> list[str]:
    """The process's settings for float32 products, in the old and in the new words of torch."""
    new = torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)
    words = [getattr(setting, "fp32_precision", "") for setting in new]
    return [torch.get_float32_matmul_precision(), *words]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", ["high", "medium"])
def test_reduced_precision_of_the_process_is_off_during_a_run_and_restored(
    device: str, mode: str
) -> None:
    # Weights of 12 bits: bfloat16 keeps 8 of them, TF32 keeps 11. The sums stay below 2^24.
    rng = np.random.default_rng(0)
    weight = (2 * rng.integers(0, 2048, (40, 16)) + 1).astype(np.int16)
    current = HostCurrent(np.zeros(40, np.int64), 3)
    layer = ChipLayer(
        "l1",
        (Connection(DenseSynapse(weight), host=current),),
        ReadoutNeuron(np.zeros(1, np.int32)),
        (40,),
    )
    network = ChipNetwork("bits", (1, 4, 4), 1, (layer,))
    x = rng.integers(0, 256, (500, 1, 4, 4), dtype=np.uint8)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(mode)
    try:
        found = precision()
        with torch.autocast(device, dtype=torch.bfloat16):
            compare(TorchEngine(device), network, x)
            assert torch.is_autocast_enabled(device)
        assert precision() == found
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_device_that_drops_bits_is_refused() -> None:
    def shortened(array: Array) -> Any:
        return torch.from_numpy(array.astype(np.float32)).bfloat16().to(torch.float32)

    with pytest.raises(TargetError, match="lose bits of float32") as found:
        torch_load.prove_products(shortened, "some device")
    assert "--engine fast" in str(found.value)


def test_too_little_memory_halves_the_batch_and_then_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(8)
    network = random_network(rng)
    x = random_input(rng, network, 9)
    engine, plain = TorchEngine("cpu"), torch_engine.run_group
    whole, sizes, limit = engine.run(network, x, trace=True), [], 2

    def small(group: Any, sent: Any, form: Any, kept: Any) -> Any:
        sizes.append(form.samples)
        if form.samples > limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(group, sent, form, kept)

    monkeypatch.setattr(torch_engine, "run_group", small)
    assert_same(whole, engine.run(network, x, trace=True))
    assert sizes[:2] == [9, 4]
    limit = 0
    with pytest.raises(TargetError, match="cpu has too little memory for one sample"):
        engine.run(network, x)


def test_the_lack_of_memory_on_a_cpu_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    network = random_network(rng)

    def greedy(*_: Any, **__: Any) -> None:
        torch.empty(1 << 60, dtype=torch.uint8)  # the allocator's own words

    monkeypatch.setattr(torch_engine, "run_group", greedy)
    with pytest.raises(TargetError, match="cpu has too little memory"):
        TorchEngine("cpu").run(network, random_input(rng, network, 2))


def test_another_error_of_torch_is_not_taken_for_a_lack_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("shapes differ")

    rng = np.random.default_rng(8)
    network = random_network(rng)
    monkeypatch.setattr(torch_engine, "run_group", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        TorchEngine("cpu").run(network, random_input(rng, network, 2))


def test_the_entry_point_gives_the_engine(root: Path) -> None:
    declared = re.search(
        r'^torch = "(spikeproof\S+)"$', (root / "pyproject.toml").read_text(), re.M
    )
    assert declared, "pyproject.toml names the engine among the targets"
    engine = EntryPoint("torch", declared[1], TARGET_GROUP).load()()
    assert isinstance(engine, TorchEngine)
    assert engine.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("device", ["mps", "tpu", "cuda:99", "7 of 9"])
def test_unusable_devices_are_named(device: str) -> None:
    with pytest.raises(InputError, match=device) as found:
        TorchEngine(device)
    assert "cpu, cuda or cuda:N" in str(found.value)


def test_without_torch_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikeproof.extras.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="doctor --install torch"):
        TorchEngine()
