"""The ONNX form of a network: valid, standard, named, deterministic, and free in batch and time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wired
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeproof.engines.reference import ReferenceEngine
from spikeproof.errors import GraphError, MissingExtraError, UnsupportedError
from spikeproof.formats.onnx import graph as onnx_graph
from spikeproof.formats.onnx.build import RUNTIME_MIN, check_runtime
from spikeproof.formats.onnx.graph import IR_VERSION, OPSET
from spikeproof.formats.onnx.synapse import FLOAT32_EXACT, float_parts
from spikeproof.fuzz.draw.graphs import random_graph
from spikeproof.fuzz.draw.networks import random_input, random_network
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

onnx = pytest.importorskip("onnx", reason="needs spikeproof[onnx]")


def drawn(seed: int, *, nasty: bool | None = None, coding: str | None = None) -> ChipNetwork:
    """Draw until the coding is the one asked for."""
    rng = np.random.default_rng(seed)
    while True:
        network = random_network(rng, nasty=nasty)
        if coding in (None, network.coding):
            return network


def graphs(graph: Any) -> list[Any]:
    """Return a graph and the bodies in it."""
    bodies = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return [graph, *(inner for body in bodies for inner in graphs(body))]


def check_form(network: ChipNetwork, *, traces: bool) -> None:
    """Check a model with full inference, and the names of all that is in it."""
    model = onnx_graph.build_model(network, traces=traces)
    again = onnx_graph.build_model(network, traces=traces)
    assert onnx_graph.model_bytes(model) == onnx_graph.model_bytes(again)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", onnx_graph.OPSET)]
    layers = {layer.name for layer in network.layers}
    shared = {
        "batch_size",
        "time_size",
        "step_numbers",
        "input_by_time",
        "last_values",
        "last_step",
        "spike_counts",
        "membrane_sums",
        "magnitudes",
        "largest",
        "largest_int64",
        "number_of_steps",
        "steps_left",
        "steps_left_by_time",
        "steps_left_where_fired",
        "left_at_first_spike",
        "logits",
    }
    values = []
    for graph in graphs(model.graph):
        assert graph.name and graph.doc_string
        values += [i.name for i in graph.initializer] + [i.name for i in graph.input]
        for node in graph.node:
            assert node.domain == ""
            assert node.op_type == "Scan" or list(node.output) == [node.name]
            assert node.name.split("/")[0] in layers or node.name in shared
            values += node.output
    optional = {onnx_graph.TIMESTEPS}  # an input with a default is listed in both places
    twice = {v for v in values if values.count(v) > 1}
    assert twice <= optional
    assert "" not in values


@pytest.mark.parametrize("seed", range(20))
def test_models_are_valid_standard_and_named(seed: int) -> None:
    check_form(drawn(seed, nasty=seed % 2 == 0), traces=seed % 3 == 0)


@pytest.mark.parametrize("name", sorted(wired.cases()))
def test_models_of_graphs_are_valid_standard_and_named(name: str) -> None:
    for traces in (False, True):
        check_form(wired.cases()[name], traces=traces)


def test_models_of_random_graphs_are_valid_standard_and_named() -> None:
    for index in range(100):
        rng = np.random.default_rng([31, index])
        check_form(random_graph(rng, random_network(rng)), traces=index % 2 == 0)


def test_every_operator_is_defined_by_the_standard_for_its_type() -> None:
    """Strict inference agrees with the declared type and shape of every output."""
    for network in [*map(drawn, range(10)), *wired.cases().values()]:
        model = onnx_graph.build_model(network, traces=True)
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        for declared, found in zip(model.graph.output, inferred.graph.output, strict=True):
            one, other = declared.type.tensor_type, found.type.tensor_type
            assert one.elem_type == other.elem_type
            for wanted, got in zip(one.shape.dim, other.shape.dim, strict=True):
                # The default of "timesteps" may be filled in: inference takes it for a constant.
                assert wanted == got or wanted.dim_param == "time"


@pytest.mark.parametrize("coding", ["pixels", "spikes"])
def test_the_same_network_gives_the_same_bytes_and_another_other_bytes(coding: str) -> None:
    first, again = (
        onnx_graph.model_bytes(onnx_graph.build_model(drawn(5, coding=coding))) for _ in range(2)
    )
    assert first == again
    other = onnx_graph.build_model(replace(drawn(5, coding=coding), name="other"))
    assert onnx_graph.model_bytes(other) != first


def test_the_model_says_what_it_is_and_where_it_comes_from() -> None:
    network = drawn(3, coding="spikes")
    model = onnx_graph.build_model(network, metadata={"spikeproof.bundle": "abc"})
    facts = {p.key: p.value for p in model.metadata_props}
    assert facts["spikeproof.bundle"] == "abc"
    assert facts["spikeproof.network"] == network.name
    assert facts["spikeproof.timesteps"] == str(network.timesteps)
    assert facts["spikeproof.coding"] == "spikes"
    assert "uint8 spikes" in model.doc_string
    assert [o.name for o in model.graph.output] == ["logits"]


def run(network: ChipNetwork, feeds: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Run a network's model on ONNX Runtime without any code of ours in between."""
    ort = pytest.importorskip("onnxruntime", reason="needs spikeproof[onnx]")
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = 1
    data = onnx_graph.model_bytes(onnx_graph.build_model(network, **options))
    session = ort.InferenceSession(data, settings, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def without_tables(network: ChipNetwork) -> ChipNetwork:
    plain = LifNeuron(3, 41, np.zeros(1, np.int32), 0, 100)
    layers = tuple(
        replace(
            layer, neuron=replace(plain, bias=layer.neuron.bias, du=int(np.min(layer.neuron.du)))
        )
        if layer.neuron.stepwise
        else layer
        for layer in network.layers
    )
    return replace(network, layers=layers)


@pytest.mark.parametrize("seed", range(6))
def test_one_spike_file_runs_with_any_batch_and_any_number_of_steps(seed: int) -> None:
    network = without_tables(drawn(seed, coding="spikes"))
    rng = np.random.default_rng(seed)
    for steps, batch in ((1, 1), (network.timesteps + 5, 4)):
        other = replace(network, timesteps=steps)
        x = random_input(rng, other, batch)
        found = run(network, {"input": x}, traces=True)
        expected = ReferenceEngine().run(other, x, trace=True)
        np.testing.assert_array_equal(found["logits"], expected.logits)
        for name, trace in (expected.traces or {}).items():
            np.testing.assert_array_equal(found[f"{name}/u"], trace.u)
            np.testing.assert_array_equal(found[f"{name}/v"], trace.v)


@pytest.mark.parametrize("name", sorted(wired.cases()))
def test_one_file_of_a_graph_runs_with_any_batch_and_any_number_of_steps(name: str) -> None:
    network = wired.cases()[name]
    tables = any(layer.neuron.stepwise for layer in network.layers)
    for steps, batch in ((1, 1), (4, 5), *([] if tables else [(network.timesteps + 9, 2)])):
        layers = tuple(
            replace(layer, neuron=shortened(layer.neuron, steps)) for layer in network.layers
        )
        other = replace(network, timesteps=steps, layers=layers)
        x = wired.stimulus(other, batch)
        feeds = {"input": x}
        if network.coding == "pixels":
            feeds["timesteps"] = np.array(steps)
        found = run(network, feeds, traces=True)
        expected = ReferenceEngine().run(other, x, trace=True)
        np.testing.assert_array_equal(found["logits"], expected.logits)
        np.testing.assert_array_equal(run(network, feeds)["logits"], expected.logits)
        for key, trace in (expected.traces or {}).items():
            np.testing.assert_array_equal(found[f"{key}/u"], trace.u)
            np.testing.assert_array_equal(found[f"{key}/v"], trace.v)


def shortened(neuron: Any, steps: int) -> Any:
    """Cut a neuron's tables."""
    if not neuron.stepwise:
        return neuron
    return replace(neuron, leak=neuron.leak[:steps], threshold=neuron.threshold[:steps])


def test_a_graph_costs_as_many_nodes_at_many_steps_as_at_few() -> None:
    for name in ("cycle of three", "lags", "late pixels", "readout first of spikes"):
        network = wired.cases()[name]
        sizes = {
            sum(len(g.node) for g in graphs(onnx_graph.build_model(other).graph))
            for other in (network, replace(network, timesteps=500))
        }
        assert len(sizes) == 1


def test_weights_that_connections_share_are_stored_once() -> None:
    model = onnx_graph.build_model(wired.cases()["shared weights"])
    stored = [tuple(i.dims) for g in graphs(model.graph) for i in g.initializer if i.data_type == 1]
    assert stored.count((wired.WIDTH, wired.WIDTH)) == 1


def test_the_model_says_what_its_answer_is() -> None:
    found = set()
    for name, network in wired.cases().items():
        model = onnx_graph.build_model(network)
        facts = {p.key: p.value for p in model.metadata_props}
        assert facts.get("spikeproof.readout", "auto") == network.readout
        if name.startswith("readout"):
            found.add(model.doc_string)
    # last of a readout and count of spikes are what auto stands for: one text for them.
    assert len(found) == 6


@pytest.mark.parametrize("seed", range(6))
def test_one_pixel_file_runs_with_any_number_of_steps_and_knows_its_own(seed: int) -> None:
    network = without_tables(drawn(seed, coding="pixels"))
    x = random_input(np.random.default_rng(seed), network, 3)
    np.testing.assert_array_equal(
        run(network, {"input": x})["logits"], ReferenceEngine().run(network, x).logits
    )
    for steps in (1, network.timesteps + 3):
        expected = ReferenceEngine().run(replace(network, timesteps=steps), x)
        found = run(network, {"input": x, "timesteps": np.array(steps)})
        np.testing.assert_array_equal(found["logits"], expected.logits)


def table_network(coding: Any, steps: int) -> ChipNetwork:
    leak = np.array([4096, 3000, 5000, 100, 4096, 2000], np.int32)[:steps]
    threshold = np.array([900, 10, 4000, 64, 128, 7], np.int32)[:steps]
    neuron = TableLifNeuron(leak, threshold, np.array([70, -3], np.int32))
    layer = ChipLayer(
        "l1", (Connection(DenseSynapse(np.array([[2, 4], [-2, 8]], np.int16))),), neuron, (2,)
    )
    return ChipNetwork("tables", (1, 1, 2), steps, (layer,), coding)


@pytest.mark.parametrize("coding", ["pixels", "spikes"])
def test_tables_allow_fewer_steps_and_refuse_more(coding: str) -> None:
    network = table_network(coding, 6)
    rng = np.random.default_rng(0)

    def feeds(steps: int) -> dict[str, Any]:
        x = random_input(rng, replace(network, timesteps=steps), 2)
        return {"input": x} if coding == "spikes" else {"input": x, "timesteps": np.array(steps)}

    short = feeds(4)
    expected = ReferenceEngine().run(table_network(coding, 4), short["input"])
    np.testing.assert_array_equal(run(network, short)["logits"], expected.logits)
    with pytest.raises(Exception, match=r"inconsistent|sequence length"):
        run(network, feeds(7))


@settings(max_examples=80, deadline=None)
@given(data=st.data(), payload=st.sampled_from([1, 255]))
def test_parts_of_weights_are_exact_and_add_up(data: Any, payload: int) -> None:
    width = data.draw(st.sampled_from([1, 300, 40_000]))
    low, high = data.draw(st.sampled_from([(-256, 254), (0, 255), (-255, 0), (-32767, 32767)]))
    seed = data.draw(st.integers(0, 2**32 - 1))
    weight = np.random.default_rng(seed).integers(low, high + 1, (2, width))
    parts = float_parts(weight, payload)
    assert parts
    assert (sum(part << shift for shift, part in parts) == weight).all()
    for _, part in parts:
        assert np.abs(part).sum(axis=1).max() * payload < FLOAT32_EXACT


def test_no_integer_product_is_used() -> None:
    """Runtimes add pairs of 8-bit products in 16 bits, or get tiles wrong: floats are proved."""
    for coding in ("pixels", "spikes"):
        for seed in range(6):
            model = onnx_graph.build_model(drawn(seed, coding=coding))
            assert not {n.op_type for n in model.graph.node} & {"MatMulInteger", "ConvInteger"}


def test_a_sum_that_float32_cannot_hold_in_any_digits_is_refused() -> None:
    synapse = ConvSynapse(np.ones((1, 70_000, 1, 1), np.int16), (70_000, 1, 1), sign="excitatory")
    layer = ChipLayer("c1", (Connection(synapse),), ReadoutNeuron(np.zeros(1, np.int32)), (1, 1, 1))
    network = ChipNetwork("wide", (70_000, 1, 1), 1, (layer,))
    with pytest.raises(UnsupportedError, match="c1: a sum over 70,000 inputs"):
        onnx_graph.build_model(network)


def test_a_model_too_large_for_its_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_graph, "MODEL_BYTES_MAX", 8)
    network = table_network("pixels", 2)
    with pytest.raises(UnsupportedError, match="weights and biases take 24 bytes; a model holds 8"):
        onnx_graph.build_model(network)


def test_an_illegal_network_is_refused_before_anything_else() -> None:
    layer = ChipLayer(
        "l1",
        (Connection(DenseSynapse(np.array([[3]], np.int16))),),
        ReadoutNeuron(np.zeros(1, np.int32)),
        (1,),
    )
    with pytest.raises(GraphError, match="must be even"):
        onnx_graph.build_model(ChipNetwork("odd", (1, 1, 1), 1, (layer,)))


def test_without_onnx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikeproof.extras.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="not installed") as caught:
        onnx_graph.build_model(table_network("spikes", 2))
    assert "doctor --install onnx" in str(caught.value.hint)


def test_a_host_current_with_16_bit_weights_in_a_convolution_is_exact() -> None:
    """Double precision would do, but ONNX Runtime's convolution has none: digits do."""
    rng = np.random.default_rng(1)
    weight = rng.choice([-32767, -1, 0, 1, 32767, 12345], (3, 40, 3, 3)).astype(np.int16)
    inner = ConvSynapse(weight, (40, 5, 5), (1, 1), (1, 1))
    host = HostCurrent(np.array([[[7]], [[-(10**9)]], [[10**9]]], np.int64), 22)
    neuron = LifNeuron(40, 41, np.zeros((1, 1, 1), np.int32), 3)
    layer = ChipLayer("c1", (Connection(inner, host=host),), neuron, (3, 5, 5))
    network = ChipNetwork("host", (40, 5, 5), 3, (layer,))
    x = rng.choice(np.array([0, 1, 254, 255], np.uint8), (4, 40, 5, 5))
    expected = (ReferenceEngine().run(network, x, trace=True).traces or {})["c1"]
    found = run(network, {"input": x}, traces=True)
    for key, array in (("u", expected.u), ("v", expected.v), ("s", expected.s)):
        np.testing.assert_array_equal(found[f"c1/{key}"], array)
    assert len(np.unique(expected.v)) > 100


def test_the_oldest_runtime_is_the_same_everywhere(root: Path) -> None:
    """ONNX Runtime 1.15 reads opset 19 and IR version 9; the extra and the page say 1.15, too."""
    assert (OPSET, IR_VERSION) <= (19, 9)
    least = ".".join(map(str, RUNTIME_MIN))
    assert f'"onnxruntime>={least}"' in (root / "pyproject.toml").read_text()
    assert f"runs on ONNX Runtime {least} or later" in (root / "docs" / "onnx.md").read_text()


@pytest.mark.parametrize(("found", "fine"), [("1.12.1", False), ("1.15.0", True), ("2.0", True)])
def test_a_runtime_that_is_too_old_is_named(found: str, fine: bool) -> None:
    if fine:
        check_runtime(found)
        return
    with pytest.raises(MissingExtraError, match=r"1.12.1 is too old; the models need 1.15"):
        check_runtime(found)
