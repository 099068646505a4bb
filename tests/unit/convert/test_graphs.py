"""Float graphs: folded exactly, converted with one scale per layer, verified integer by integer."""

from __future__ import annotations

import contextlib
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from residual import images, residual

from spikeproof.convert.conversion import Conversion
from spikeproof.convert.fold import fold
from spikeproof.convert.host import round_mixed_layer
from spikeproof.convert.mappable import preflight
from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network, float_layers
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.floats import run_float
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.torch.engine import TorchEngine
from spikeproof.errors import (
    ConversionError,
    GraphError,
    MissingExtraError,
    RangeError,
    SpikeproofError,
    UnsupportedError,
)
from spikeproof.formats.onnx.engine import OnnxEngine
from spikeproof.io.record import BundleRecord, read_record
from spikeproof.ir.check_float import check_float
from spikeproof.ir.chip import ChipLayer, ChipNetwork, ConvSynapse
from spikeproof.ir.floats import (
    Add,
    BatchNorm2d,
    Conv2d,
    Edge,
    Flatten,
    FloatNetwork,
    InputScale,
    Lif,
    Linear,
    MaxPool2d,
    Readout,
)
from spikeproof.ir.limits import INPUT
from spikeproof.ir.serial import network_from_parts, network_to_parts
from spikeproof.ir.shapes import arranged_neurons
from spikeproof.verify.rounding import check_rounding
from spikeproof.verify.stages import rebuild_stages, run_stages
from spikeproof.verify.verdict import Verdict

CALIBRATION = images(24)


def converted(**options: Any) -> Conversion:
    return convert_network(residual(strict=False), CALIBRATION, ConvertOptions(**options))


@pytest.fixture(scope="module")
def made() -> Conversion:
    return converted()


def record(found: Conversion, *, units: Any = None, **options: Any) -> BundleRecord:
    table = [row.model_dump() for row in found.table]
    held = {"units": found.units if units is None else units, "options": options, "table": table}
    return read_record(BundleRecord, held, found.chip.name)


@pytest.mark.parametrize("back", [False, True])
def test_folding_a_graph_leaves_the_same_function(back: bool) -> None:
    network, x = residual(back=back), images(6)
    folded = fold(network)
    check_float(folded)
    before, after = (run_float(n, x, trace=True) for n in (network, folded))
    np.testing.assert_allclose(after.logits, before.logits, atol=1e-12)
    assert set(after.traces) == set(before.traces)
    for name, trace in before.traces.items():
        np.testing.assert_allclose(after.traces[name].current, trace.current, atol=1e-12)
        if trace.s is not None:
            assert 0.01 < trace.s.mean() < 0.9, name
            np.testing.assert_array_equal(after.traces[name].s, trace.s)


def test_each_way_into_a_stream_becomes_one_connection(made: Conversion) -> None:
    wires = {
        layer.name: [(one.source, one.lag, one.host is not None) for one in layer.inputs]
        for layer in made.chip.layers
    }
    assert wires == {
        "a1": [(INPUT, 0, True)],
        "a2": [("a1", 0, False)],
        "a3": [("a2", 0, False), (INPUT, 0, True)],
        "a4": [("a3", 0, False), ("a5", 2, False)],
        "a5": [("a4", 0, False), ("a2", 0, False), (INPUT, 0, True), ("a3", 0, False)],
        "any": [("a5", 0, False)],
        "out": [("any", 0, False)],
    }


def test_ways_of_one_form_from_one_source_are_added_up() -> None:
    rng = np.random.default_rng(3)
    weights = [rng.normal(size=(2, 2, 3, 3)), rng.normal(size=(2, 2, 1, 1))]
    nodes = (
        Conv2d("in", rng.normal(size=(2, 1, 1, 1)), None),
        Lif("l1", 0.9, 0.5),
        Conv2d("wide", weights[0], rng.normal(size=2), padding=(1, 1)),
        Conv2d("point", weights[1], rng.normal(size=2)),
        Add("sum"),
        Lif("l2", 0.9, 0.5),
        Linear("fc", rng.normal(size=(2, 32)), None),
        Readout("out"),
    )
    names = ("in", "l1", "wide", "sum", "l2", "fc", "out")
    edges = [Edge(a, b) for a, b in zip((INPUT, *names), names, strict=False)]
    edges += [Edge("l1", "point"), Edge("point", "sum", 0, -2.0), Edge("l1", "sum", 0, 0.5)]
    network = FloatNetwork("sum", (1, 4, 4), 3, nodes, tuple(edges))
    folded = fold(network)
    assert not folded.edges, "one map per layer is left: a chain"
    (merged,) = [n for n in folded.nodes if n.name == "wide"]
    expected = weights[0].copy()
    expected[:, :, 1, 1] += -2 * weights[1][:, :, 0, 0] + 0.5 * np.eye(2)
    np.testing.assert_allclose(merged.weight, expected)  # type: ignore[union-attr]
    x = np.random.default_rng(0).integers(0, 256, (4, 1, 4, 4)).astype(np.uint8)
    np.testing.assert_allclose(run_float(folded, x).logits, run_float(network, x).logits)


def test_images_that_are_flat_by_now_meet_vectors() -> None:
    rng = np.random.default_rng(5)
    nodes = (
        Conv2d("in", rng.normal(size=(2, 1, 3, 3)), rng.normal(size=2), padding=(1, 1)),
        Lif("l1", 0.9, 0.5),
        Conv2d("conv", rng.normal(size=(2, 2, 3, 3)), rng.normal(size=2), padding=(1, 1)),
        Flatten("f1"),
        Flatten("f2"),
        Linear("fc", rng.normal(size=(18, 18)), rng.normal(size=18)),
        Add("sum"),
        Lif("l2", 0.9, 0.5),
        Linear("last", rng.normal(size=(2, 18)), None),
        Readout("out"),
    )
    pairs = [(INPUT, "in"), ("in", "l1"), ("l1", "conv"), ("conv", "f1"), ("f1", "sum")]
    pairs += [("l1", "f2"), ("f2", "fc"), ("fc", "sum"), ("sum", "l2"), ("l2", "last")]
    edges = [Edge(a, b) for a, b in [*pairs, ("last", "out")]] + [Edge("f2", "sum", 0, 0.5)]
    network = FloatNetwork("flat", (1, 3, 3), 3, nodes, tuple(edges))
    x = rng.integers(0, 256, (6, 1, 3, 3)).astype(np.uint8)
    expected = run_float(network, x).logits
    np.testing.assert_allclose(run_float(fold(network), x).logits, expected, atol=1e-12)
    chip = convert_network(network, x).chip
    assert np.mean(NumpyEngine().run(chip, x).predictions == expected.argmax(axis=1)) >= 0.8


def test_an_or_pool_fires_if_anything_in_its_window_does(made: Conversion) -> None:
    traces = NumpyEngine().run(made.chip, images(8, seed=5), trace=True).traces or {}
    pooled, spikes = traces["any"].s, traces["a5"].s
    assert pooled is not None and spikes is not None
    windows = spikes.reshape(*spikes.shape[:3], 4, 2, 4, 2).max(axis=(4, 6))
    np.testing.assert_array_equal(pooled, windows)
    assert 0.05 < pooled.mean() < 0.95


def test_a_converted_graph_does_what_the_trained_one_did(made: Conversion) -> None:
    x = images(30, seed=9)
    chip = NumpyEngine().run(made.chip, x, trace=True)
    reference = ReferenceEngine().run(made.chip, x[:3], trace=True)
    real = run_float(made.source, x, trace=True)
    for layer in made.chip.layers:
        found, expected = (chip.traces or {})[layer.name], (reference.traces or {})[layer.name]
        np.testing.assert_array_equal(found.v[:3], expected.v)
        if found.s is not None:
            flips = (found.s != real.traces[layer.name].s).mean()
            assert flips < (0.1 if layer.name == "any" else 0.06), (layer.name, flips)
    assert (chip.predictions == real.predictions).mean() >= 0.8


@pytest.mark.parametrize(
    "options",
    [{}, {"compensate": False}, {"input_coding": "graded"}, {"search": False}, {"weight_bits": 5}],
    ids=str,
)
def test_verification_finds_every_integer_of_a_graph_right(options: dict[str, Any]) -> None:
    found = converted(**options)
    stages = rebuild_stages(found.chip, found.source, record(found, **options))
    step = check_rounding(stages, CALIBRATION, images(20, seed=3))
    wrong = {row.layer: row.violations[:2] for row in step.layers or [] if row.violations}
    assert step.verdict is Verdict.PASS, wrong
    assert step.values and step.values > 3000


def with_layer(
    network: ChipNetwork, name: str, change: Callable[[ChipLayer], ChipLayer]
) -> ChipNetwork:
    return network.changed([change(one) if one.name == name else one for one in network.layers])


def _second_weight(layer: ChipLayer) -> ChipLayer:
    first, second, *rest = layer.inputs
    weight = second.synapse.weight.copy()
    place = np.unravel_index(int(np.abs(weight).argmax()), weight.shape)
    weight[place] -= 8 * np.sign(weight[place])
    return layer.changed(
        inputs=(first, second.changed(synapse=second.synapse.changed(weight=weight)), *rest)
    )


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("a5", _second_weight),
        (
            "a3",
            lambda layer: layer.changed(
                inputs=tuple(
                    one.changed(host=replace(one.host, offset=one.host.offset + 40))
                    if one.host
                    else one
                    for one in layer.inputs
                )
            ),
        ),
    ],
    ids=["a weight of the second connection", "an offset beside spikes"],
)
def test_a_wrong_integer_of_any_connection_is_found(
    made: Conversion, name: str, change: Callable[[ChipLayer], ChipLayer]
) -> None:
    wrong = with_layer(made.chip, name, change)
    stages = rebuild_stages(wrong, made.source, record(made))
    step = check_rounding(stages, CALIBRATION, images(20, seed=3))
    assert step.verdict is Verdict.FAIL
    assert {row.layer for row in step.layers or [] if row.violations} == {name}


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.changed(inputs=(layer.inputs[0], layer.inputs[1].changed(lag=3))),
        lambda layer: layer.changed(inputs=(layer.inputs[0].changed(source="a2"), layer.inputs[1])),
        lambda layer: layer.changed(inputs=layer.inputs[:1]),
    ],
    ids=["another lag", "another source", "a connection is missing"],
)
def test_other_wiring_than_the_checkpoints_is_found(
    made: Conversion, change: Callable[[ChipLayer], ChipLayer]
) -> None:
    wrong = with_layer(made.chip, "a4", change)
    with pytest.raises(ConversionError, match="the wiring is"):
        rebuild_stages(wrong, made.source, record(made))


def test_a_float_graph_comes_back_from_its_parts() -> None:
    network = residual()
    document, tensors = network_to_parts(network)
    back = network_from_parts(document, tensors, FloatNetwork)
    assert back.edges == network.edges
    x = images(3)
    np.testing.assert_array_equal(run_float(back, x).logits, run_float(network, x).logits)


def _edges(*pairs: Edge) -> FloatNetwork:
    network = residual(back=False)
    return replace(network, edges=(*network.edges, *pairs))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (_edges(Edge("nobody", "a1")), "edge nobody -> a1: there is no node nobody"),
        (_edges(Edge("a1", "nobody")), "edge a1 -> nobody: there is no node nobody"),
        (_edges(Edge("a1", "c1")), "edge a1 -> c1: is there twice"),
        (_edges(Edge("a4", "a2")), "edge a4 -> a2: leads back without a lag"),
        (_edges(Edge("a1", "a1")), "edge a1 -> a1: leads back without a lag"),
        (_edges(Edge("a1", "a3", -1)), "edge a1 -> a3: lag -1 is outside 0..4"),
        (_edges(Edge("a1", "a3", 9)), "edge a1 -> a3: lag 9 is outside 0..4"),
        (_edges(Edge("a1", "a3", 0, float("nan"))), "coefficient nan is none"),
        (_edges(Edge("any", "fc")), "fc: what reaches it has shapes that differ"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_edges_that_cannot_be_are_refused_in_words(network: FloatNetwork, words: str) -> None:
    with pytest.raises(GraphError, match=re.escape(words)):
        check_float(network)


def test_all_faults_of_the_edges_are_told_at_once() -> None:
    bad = _edges(Edge("x", "a1"), Edge("a4", "a2"), Edge("a1", "c1"))
    with pytest.raises(GraphError) as error:
        check_float(bad)
    assert all(words in str(error.value) for words in ("x -> a1", "a4 -> a2", "a1 -> c1"))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (_edges(Edge("a5", "a4", 1)), "a4: the connection from a5 lags 1 step"),
        (_edges(Edge("bn1", "a3", 1)), "a3: a lag behind a bias is no constant"),
    ],
)
def test_lags_the_chip_cannot_realise_are_refused_beforehand(
    network: FloatNetwork, words: str
) -> None:
    with pytest.raises(UnsupportedError, match=re.escape(words)):
        preflight(network)


def test_a_maximum_of_anything_but_spikes_is_refused() -> None:
    nodes = (
        Conv2d("conv", np.ones((1, 1, 1, 1)), None),
        MaxPool2d("max", (2, 2), (2, 2)),
        Linear("fc", np.ones((2, 4)), None),
        Readout("out"),
    )
    with pytest.raises(UnsupportedError, match="max: takes the maximum of something else"):
        preflight(FloatNetwork("n", (1, 4, 4), 2, nodes))


@pytest.mark.parametrize("rule", ["last", "mean", "max", "max-abs"])
def test_a_readout_of_the_membrane_is_that_of_both_sides(rule: Any) -> None:
    network = residual(back=False)
    network = replace(network, nodes=(*network.nodes[:-1], Readout("out", rule)))
    found = convert_network(network, CALIBRATION)
    x = images(30, seed=4)
    real, chip = run_float(network, x), NumpyEngine().run(found.chip, x)
    scale = found.units["out"] * (network.timesteps if rule == "mean" else 1)
    close = np.abs(chip.logits / scale - real.logits).mean() / np.abs(real.logits).mean()
    assert close < 0.15
    assert (real.predictions == chip.predictions).mean() >= 0.8


@pytest.mark.parametrize("rule", ["count", "first"])
def test_a_readout_of_spikes_needs_no_layer_of_its_own(rule: Any) -> None:
    network = residual(back=False)
    last = Lif("l6", 0.9, 1.0)
    edges = tuple(e for e in network.edges if e.target != "out")
    network = replace(
        network,
        nodes=(*network.nodes[:-1], last, Readout("out", rule)),
        edges=(*edges, Edge("fc", "l6"), Edge("l6", "out")),
    )
    found = convert_network(network, CALIBRATION)
    assert found.chip.layers[-1].name == "l6"
    assert found.chip.readout == rule
    x = images(30, seed=4)
    real, chip = run_float(network, x), NumpyEngine().run(found.chip, x)
    assert np.mean(real.logits == chip.logits) > 0.8
    with pytest.raises(SpikeproofError, match="put it right behind a Lif"):
        check_float(replace(residual(), nodes=(*residual().nodes[:-1], Readout("out", rule))))


def test_depthwise_parts_stay_depthwise(made: Conversion) -> None:
    relay = next(layer for layer in made.chip.layers if layer.name == "a4").inputs[1].synapse
    assert isinstance(relay, ConvSynapse)
    assert relay.groups == 6


def test_the_example_of_the_documents_runs_and_prints_the_wiring(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "howto.md").read_text(encoding="utf-8")
    code = page.split("## Graphs")[1].split("```python")[1].split("```")[0]
    exec(code, {})
    told = capsys.readouterr().out.splitlines()
    assert "l2 [('l1', 0, 'conv'), ('l2', 1, 'conv')]" in told


def small(*nodes: Any, edges: list[Edge], steps: int = 6) -> FloatNetwork:
    return FloatNetwork("small", (1, 5, 5), steps, nodes, tuple(edges))


def row(*names: str) -> list[Edge]:
    return [Edge(a, b) for a, b in pairwise(names)]


def conv(name: str, out: int, inputs: int, scale: float = 0.5, bias: bool = True) -> Conv2d:
    rng = np.random.default_rng(sum(map(ord, name)))
    weight = scale * rng.normal(size=(out, inputs, 3, 3))
    return Conv2d(name, weight, 0.1 * rng.normal(size=out) if bias else None, padding=(1, 1))


def head(width: int) -> tuple[Any, ...]:
    weight = np.random.default_rng(7).normal(size=(3, width))
    return (Flatten("flat"), Linear("fc", weight, None), Readout("out"))


def test_what_comes_back_through_a_map_that_is_listed_later_is_not_lost() -> None:
    nodes = (conv("c1", 2, 1), Add("s"), Lif("l1", 0.9, 1.0), conv("c2", 2, 2, 1.0, bias=False))
    edges = [*row(INPUT, "c1", "s", "l1", "c2"), Edge("c2", "s", 1, 0.5)]
    network = small(*nodes, *head(50), edges=[*edges, *row("l1", "flat", "fc", "out")])
    x = np.random.default_rng(0).integers(0, 256, (8, 1, 5, 5)).astype(np.uint8)
    folded = fold(network)
    assert sum(edge.lag for edge in folded.edges) == 1
    np.testing.assert_allclose(run_float(folded, x).logits, run_float(network, x).logits)
    chip = convert_network(network, x).chip
    assert [(one.source, one.lag) for one in chip.layers[0].inputs] == [(INPUT, 0), ("l1", 1)]


def test_a_cycle_without_a_neuron_is_refused() -> None:
    nodes = (conv("c1", 2, 1), Add("s"), Lif("l1", 0.9, 1.0))
    edges = [*row(INPUT, "c1", "s", "l1", "flat", "fc", "out"), Edge("s", "s", 1, 0.5)]
    with pytest.raises(UnsupportedError, match="s: lies on a cycle without a neuron"):
        preflight(small(*nodes, *head(50), edges=edges))


def test_connections_whose_scales_cannot_be_reconciled_are_refused() -> None:
    nodes = (
        conv("c0", 2, 1),
        Lif("l0", 0.9, 0.5),
        conv("c1", 2, 2, bias=False),
        Add("s"),
        Lif("l1", 0.9, 1.0),
    )
    edges = [*row(INPUT, "c0", "l0", "c1", "s", "l1", "flat", "fc", "out")]
    network = small(*nodes, *head(50), edges=[*edges, Edge("l1", "s", 1, -1e-4)])
    x = np.random.default_rng(0).integers(0, 256, (8, 1, 5, 5)).astype(np.uint8)
    with pytest.raises(RangeError, match="every weight of the connection from l1 rounds to 0"):
        convert_network(network, x)


def test_pixels_over_several_connections_enter_as_graded_spikes() -> None:
    wide = Conv2d("w", 0.3 * np.ones((2, 1, 2, 2)), None, padding=(1, 1), dilation=(2, 2))
    nodes = (conv("c1", 2, 1), wide, Add("s"), Lif("l1", 0.9, 1.0))
    edges = [*row(INPUT, "c1", "s", "l1", "flat", "fc", "out"), *row(INPUT, "w", "s")]
    network = small(*nodes, *head(50), edges=edges)
    x = np.random.default_rng(0).integers(0, 256, (8, 1, 5, 5)).astype(np.uint8)
    found = convert_network(network, x)
    assert [one.host for one in found.chip.layers[0].inputs] == [None, None]
    assert found.table[0].coding == "graded"
    with pytest.raises(UnsupportedError, match="pixels reach it over several connections"):
        convert_network(network, x, ConvertOptions(input_coding="bias"))


def far(*ways: Edge, steps: int = 6) -> FloatNetwork:
    """Make a network of two neurons and a node that adds up spikes on other ways between them."""
    nodes = (
        conv("c0", 2, 1),
        Lif("l0", 0.9, 0.5),
        Add("far"),
        conv("c1", 2, 2),
        Lif("l1", 0.9, 1.0),
    )
    edges = [*row(INPUT, "c0", "l0", "c1", "l1", "flat", "fc", "out"), *ways]
    return small(*nodes, *head(50), edges=edges, steps=steps)


def test_what_comes_later_than_the_last_step_is_left_out() -> None:
    network = far(Edge("l0", "far", 3), Edge("far", "c1", 2), steps=4)
    folded = fold(network)
    assert not folded.edges
    x = np.random.default_rng(0).integers(0, 256, (8, 1, 5, 5)).astype(np.uint8)
    np.testing.assert_allclose(run_float(folded, x).logits, run_float(network, x).logits)


def test_lags_on_one_way_add_up_and_ways_of_other_lags_stay_apart() -> None:
    ways = Edge("l0", "far", 1), Edge("far", "c1", 2, -0.5), Edge("l0", "c1", 1, 0.5)
    network = far(*ways)
    x = np.random.default_rng(0).integers(0, 256, (8, 1, 5, 5)).astype(np.uint8)
    np.testing.assert_allclose(run_float(fold(network), x).logits, run_float(network, x).logits)
    chip = convert_network(network, x).chip
    assert sorted(one.lag for one in chip.layers[1].inputs) == [0, 1, 3]


def test_names_that_are_made_up_meet_none_of_the_network() -> None:
    nodes = (
        conv("c0", 2, 1),
        Lif("l0", 0.9, 0.5),
        MaxPool2d("p", (1, 1), (1, 1)),
        conv("c", 2, 2),
        Lif("p.any", 0.9, 1.0),
    )
    edges = [*row(INPUT, "c0", "l0", "p", "c", "p.any", "flat", "fc", "out")]
    check_float(fold(small(*nodes, *head(50), edges=edges)))


def test_zeros_beside_a_current_of_the_host_are_not_excused_by_a_scale(made: Conversion) -> None:
    layer = next(x for x in float_layers(made.folded) if x.name == "a3")
    forged = round_mixed_layer(layer, 1.0, 8)
    assert not forged.layer.inputs[0].synapse.weight.any(), "the weights of spikes are all 0"
    wrong = with_layer(made.chip, "a3", lambda _: forged.layer)
    told = record(made, units=made.units | {"a3": forged.units})
    step = check_rounding(rebuild_stages(wrong, made.source, told), CALIBRATION, images(20, seed=3))
    found = next(one for one in step.layers or [] if one.layer == "a3")
    parameters = {violation.parameter for violation in found.violations}
    assert {"number of weights that are not zero", "scale"} <= parameters


def traced(network: FloatNetwork, x: Any) -> dict[str, Any]:
    return run_float(network, x, trace=True).traces


def same_function(network: FloatNetwork, seed: int = 0) -> FloatNetwork:
    """Fold a network of 5x5 images; every current, and every spike, is still the same."""
    check_float(network)
    folded = fold(network)
    check_float(folded)
    x = np.random.default_rng(seed).integers(0, 256, (8, *network.input_shape)).astype(np.uint8)
    before, after = traced(network, x), traced(folded, x)
    assert set(before) == set(after)
    for name, trace in before.items():
        np.testing.assert_allclose(after[name].current, trace.current, atol=1e-10, err_msg=name)
        if trace.s is not None:
            assert 0.01 < trace.s.mean() < 0.99, name
            np.testing.assert_array_equal(after[name].s, trace.s)
    return folded


def norm(name: str, count: int) -> BatchNorm2d:
    rng = np.random.default_rng(sum(map(ord, name)))
    gamma, beta, mean, var = (rng.uniform(0.5, 1.5, count) for _ in range(4))
    return BatchNorm2d(name, gamma, 0.2 * beta, 0.2 * mean, var)


def flat_neurons(gains: bool) -> FloatNetwork:
    """Neurons behind a flattened convolution, with numbers of their own, that feed themselves."""
    rng = np.random.default_rng(4)
    row_of_gains, resets = rng.uniform(0.5, 2.0, 50), rng.uniform(0.3, 0.8, 50)
    neuron = Lif(
        "l1",
        rng.uniform(0.7, 1.0, 50),
        rng.uniform(0.4, 1.2, 50),
        gain=np.stack([row_of_gains * (1 + 0.2 * t) for t in range(6)]) if gains else None,
        reset=None if gains else resets,
        initial=rng.uniform(-0.2, 0.2, 50),
    )
    nodes = (conv("c1", 2, 1), Flatten("f1"), Add("s"), neuron)
    edges = [*row(INPUT, "c1", "f1", "s", "l1", "fc", "out"), Edge("l1", "s", 1, -0.5)]
    return small(*nodes, *head(50)[1:], edges=edges)


@pytest.mark.parametrize("gains", [False, True])
def test_neurons_behind_a_flattened_image_are_arranged_as_the_image_in_every_stage(
    gains: bool,
) -> None:
    network = flat_neurons(gains)
    folded = same_function(network)
    x = np.random.default_rng(1).integers(0, 256, (40, 1, 5, 5)).astype(np.uint8)
    chip = convert_network(network, x).chip
    layer = chip.layers[0]
    assert layer.shape == (2, 5, 5)
    assert [type(one.synapse) for one in layer.inputs] == [ConvSynapse, ConvSynapse]
    threshold = arranged_neurons(network)["l1"].threshold
    assert isinstance(threshold, np.ndarray)
    assert threshold.shape == (2, 5, 5)
    real = run_float(network, x, trace=True).traces["l1"]
    expected = ReferenceEngine().run(chip, x[:6], trace=True)
    made = (expected.traces or {})["l1"]
    assert real.s is not None
    assert made.s is not None
    assert real.s.shape == (40, 6, 2, 5, 5) == (40, *made.s.shape[1:])
    assert real.v is not None
    assert run_float(folded, x, trace=True).traces["l1"].current.shape == real.current.shape
    assert (real.s[:6] != made.s).mean() < 0.05
    engines: list[Any] = [NumpyEngine(), FastEngine()]
    with contextlib.suppress(MissingExtraError):
        engines += [TorchEngine(), OnnxEngine()]
    for engine in engines:
        found = engine.run(chip, x[:6], trace=True)
        np.testing.assert_array_equal(found.logits, expected.logits, err_msg=engine.name)
        for key in ("u", "v", "s"):
            one = getattr((found.traces or {})["l1"], key)
            np.testing.assert_array_equal(one, getattr(made, key), err_msg=engine.name)


def test_the_stages_of_neurons_behind_a_flattened_image_are_compared() -> None:
    network = flat_neurons(gains=False)
    x = np.random.default_rng(1).integers(0, 256, (40, 1, 5, 5)).astype(np.uint8)
    found = convert_network(network, x)
    stages = rebuild_stages(found.chip, found.source, record(found))
    assert check_rounding(stages, x, x).verdict is Verdict.PASS
    runs = run_stages(stages, x)
    assert runs


def test_flat_numbers_stay_numbers_until_something_adds_them_up() -> None:
    """As matrices of 6,000 x 6,000 each of these would take 288 MB."""
    count = 6000
    rng = np.random.default_rng(8)
    nodes = (
        Linear("fc1", rng.normal(size=(count, 25)), rng.normal(size=count)),
        norm("bn", count),
        Lif("l1", 0.9, 1.0),
        Add("twice"),
        Linear("fc2", 0.1 * rng.normal(size=(3, count)), None),
        Lif("l2", 0.9, 1.0),
        Linear("fc3", rng.normal(size=(3, 3)), None),
        Readout("out"),
    )
    edges = [*row(INPUT, "fc1", "bn", "l1", "twice", "fc2", "l2", "fc3", "out")]
    edges[3] = Edge("l1", "twice", 0, 0.5)
    network = small(*nodes, edges=edges)
    tracemalloc.start()
    folded = fold(network)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    second = next(n for n in folded.nodes if n.name == "fc2")
    np.testing.assert_allclose(second.weight, 0.5 * nodes[4].weight)  # type: ignore[union-attr]
    same_function(network)


def test_norms_before_and_behind_a_flatten_stay_numbers() -> None:
    rng = np.random.default_rng(8)
    count = 8 * 30 * 30
    nodes = (conv("c1", 8, 1), Lif("l1", 0.9, 0.5), norm("bn1", 8), Flatten("f1"))
    rest = (norm("bn2", count), Linear("fc", 0.1 * rng.normal(size=(3, count)), None))
    edges = [*row(INPUT, "c1", "l1", "bn1", "f1"), Edge("f1", "bn2", 0, 0.5)]
    edges += row("bn2", "fc", "out")
    network = replace(small(*nodes, *rest, Readout("out"), edges=edges), input_shape=(1, 30, 30))
    tracemalloc.start()
    same_function(network)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # a matrix of 7,200 x 7,200 has 415 MB


def test_a_flattened_image_is_scaled_as_an_image() -> None:
    rng = np.random.default_rng(8)
    nodes = (conv("c1", 8, 1), Lif("l1", 0.9, 0.5), Flatten("f1"))
    fc = Linear("fc", rng.normal(size=(3, 8 * 30 * 30)), None)
    edges = [*row(INPUT, "c1", "l1", "f1"), Edge("f1", "fc", 0, 0.5), *row("fc", "out")]
    network = replace(small(*nodes, fc, Readout("out"), edges=edges), input_shape=(1, 30, 30))
    tracemalloc.start()
    folded = same_function(network)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # a matrix of 7,200 x 7,200 has 415 MB
    np.testing.assert_allclose(folded.nodes[-2].weight, 0.5 * fc.weight)  # type: ignore[union-attr]


def test_flat_ways_of_every_kind_come_to_the_same_sum() -> None:
    """An image, the same normalised, a matrix and what comes back, all flat, in one neuron."""
    rng = np.random.default_rng(6)
    nodes = (
        conv("c1", 2, 1),
        Lif("l1", 0.9, 0.5),
        Flatten("f1"),
        norm("bn", 50),
        Linear("fc1", 0.2 * rng.normal(size=(50, 50)), rng.normal(size=50)),
        Add("s"),
        norm("after", 50),
        Lif("l2", 0.9, 1.0),
    )
    edges = [*row(INPUT, "c1", "l1", "f1", "bn", "s", "after", "l2", "fc", "out")]
    edges += [Edge("f1", "s", 0, -0.5), *row("f1", "fc1", "s"), Edge("l2", "s", 1, -0.25)]
    edges += [Edge("l2", "after", 2, 0.5)]
    network = small(*nodes, *head(50)[1:], edges=edges)
    folded = same_function(network)
    into = [(e.source, e.lag) for e in folded.edges if e.source in {INPUT, "l1", "l2"}]
    assert sorted(into) == [(INPUT, 0), ("l1", 0), ("l2", 0), ("l2", 1), ("l2", 2)]
    x = np.random.default_rng(0).integers(0, 256, (8, 1, 5, 5)).astype(np.uint8)
    assert convert_network(network, x).chip.layers[1].shape == (50,)


def test_a_lag_behind_a_normalisation_that_adds_nothing_is_one_of_the_input() -> None:
    nodes = (
        InputScale("scale", np.zeros(1), np.full(1, 0.25)),
        conv("c0", 2, 1),
        Lif("l0", 0.9, 1.0),
    )
    edges = [Edge(INPUT, "scale"), Edge("scale", "c0", 1), *row("c0", "l0", "flat", "fc", "out")]
    network = small(*nodes, *head(50), edges=edges)
    preflight(network)
    assert [edge.lag for edge in same_function(network).edges if edge.source == INPUT] == [1]
    moved = replace(nodes[0], mean=np.full(1, 0.5))
    with pytest.raises(UnsupportedError, match="c0: a lag behind a bias is no constant"):
        preflight(small(moved, *nodes[1:], *head(50), edges=edges))
