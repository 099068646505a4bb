"""The engine "onnx" as an engine: sessions, batches, progress, errors."""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wired

from spikeproof.engines.self_test import make_bundle
from spikeproof.errors import InputError, MissingExtraError, TargetError, UnsupportedError
from spikeproof.formats.onnx import engine as onnx_engine
from spikeproof.formats.onnx import graph as onnx_graph
from spikeproof.formats.onnx.engine import OnnxEngine
from spikeproof.formats.onnx.exporter import ONNX
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    ReadoutNeuron,
)

pytest.importorskip("onnx", reason="needs spikeproof[onnx]")
pytest.importorskip("onnxruntime", reason="needs spikeproof[onnx]")


@pytest.mark.parametrize("name", ["cycle of three", "late pixels", "readout first of spikes"])
@pytest.mark.parametrize("traces", [False, True])
def test_a_graph_is_exported_and_replayed(name: str, traces: bool, tmp_path: Path) -> None:
    network = wired.cases()[name]
    bundle = make_bundle(network, {"made": "by hand"}, wired.stimulus(network))

    def stage(_: str) -> Any:
        return nullcontext()

    done = ONNX.write(bundle, tmp_path / "net.onnx", traces, stage)
    values = sum(
        layer.neurons * network.timesteps * len(bundle.stimulus) * (2 + layer.neuron.spiking)
        for layer in network.layers
    )
    assert done.compared == values + len(bundle.stimulus) * wired.WIDTH
    assert "0 differ" in done.notes[0]
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


@pytest.fixture
def case() -> tuple[ChipNetwork, Any]:
    rng = np.random.default_rng(2)
    network = random_network(rng)
    return network, random_input(rng, network, 7)


def test_small_batches_equal_one_big_batch_and_report_progress(
    case: tuple[ChipNetwork, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, x = case
    engine = OnnxEngine(1)
    whole = engine.run(network, x, trace=True)
    monkeypatch.setattr(OnnxEngine, "batch_values", 1)
    calls: list[tuple[int, int]] = []
    parts = engine.run(network, x, trace=True, progress=lambda i, n: calls.append((i, n)))
    np.testing.assert_array_equal(parts.logits, whole.logits)
    for name, trace in (whole.traces or {}).items():
        np.testing.assert_array_equal((parts.traces or {})[name].v, trace.v)
    assert calls == [(i, 7) for i in range(1, 8)]


def test_a_network_is_translated_once(
    case: tuple[ChipNetwork, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, x = case
    opened = []

    def count(model: bytes, threads: int, open_session: Any = onnx_engine.open_session) -> Any:
        opened.append(threads)
        return open_session(model, threads)

    monkeypatch.setattr(onnx_engine, "open_session", count)
    engine = OnnxEngine(1)
    for _ in range(3):
        engine.run(network, x)
    engine.run(network, x, trace=True)
    assert opened == [1, 1]


def test_an_engine_travels_to_another_process_without_its_sessions(
    case: tuple[ChipNetwork, Any],
) -> None:
    network, x = case
    engine = OnnxEngine(1)
    expected = engine.run(network, x).logits
    moved = pickle.loads(pickle.dumps(engine))
    assert moved.workers == 1
    np.testing.assert_array_equal(moved.run(network, x).logits, expected)


def test_threads_are_at_least_one() -> None:
    with pytest.raises(InputError, match="0 workers, expected 1 or more"):
        OnnxEngine(0)
    assert OnnxEngine().workers >= 1


def test_a_wrong_input_is_refused_before_the_runtime_sees_it(
    case: tuple[ChipNetwork, Any],
) -> None:
    network, x = case
    with pytest.raises(InputError, match="has shape"):
        OnnxEngine(1).run(network, x[..., :1])


def test_a_network_without_an_exact_form_is_named_and_refused() -> None:
    synapse = ConvSynapse(np.ones((1, 70_000, 1, 1), np.int16), (70_000, 1, 1), sign="excitatory")
    layer = ChipLayer("c1", (Connection(synapse),), ReadoutNeuron(np.zeros(1, np.int32)), (1, 1, 1))
    network = ChipNetwork("wide", (70_000, 1, 1), 1, (layer,))
    assert OnnxEngine(1).problems(network) == [
        "c1: a sum over 70,000 inputs does not fit float32 exactly"
    ]
    with pytest.raises(UnsupportedError, match="c1"):
        OnnxEngine(1).run(network, np.zeros((1, 70_000, 1, 1), np.uint8))


def test_an_ordinary_network_has_no_problems(case: tuple[ChipNetwork, Any]) -> None:
    assert OnnxEngine(1).problems(case[0]) == []


@pytest.mark.parametrize("damage", [b"", b"\x00" * 100, b"not a model"])
def test_what_is_no_model_is_refused_by_name(damage: bytes) -> None:
    with pytest.raises(TargetError, match=r"ONNX Runtime \S+ refuses the model"):
        onnx_engine.open_session(damage, 1)


def test_a_failure_inside_the_runtime_is_a_target_error(case: tuple[ChipNetwork, Any]) -> None:
    network, x = case
    session = onnx_engine.open_session(onnx_graph.model_bytes(onnx_graph.build_model(network)), 1)
    with pytest.raises(TargetError, match="ONNX Runtime failed"):
        onnx_engine.run_session(session, x[..., :1])


def test_without_the_runtime_the_extra_is_named(
    case: tuple[ChipNetwork, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikeproof.extras.find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=r"onnx and onnxruntime .*\n.*doctor --install onnx"
    ):
        OnnxEngine(1).run(*case)


def test_the_widest_layer_bounds_a_batch() -> None:
    readout = ReadoutNeuron(np.zeros(1, np.int32))
    layer = ChipLayer(
        "l1", (Connection(DenseSynapse(np.zeros((64, 4), np.int16))),), readout, (64,)
    )
    network = ChipNetwork("net", (1, 2, 2), 16, (layer,))
    assert OnnxEngine(1).batch_size(network) == OnnxEngine.batch_values // (64 * 16)
