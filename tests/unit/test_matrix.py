"""Kinds x functions: whatever exists is known to everything that must know it.

A kind without an example here, or a function that does not know a kind, fails.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.attacks.registry import ATTACKS, adversarial_kinds
from spikeproof.attacks.surrogates import SURROGATES
from spikeproof.attacks.weak import WEAK
from spikeproof.certify.overflow import possible_overflows
from spikeproof.certify.ranges import certify_ranges
from spikeproof.convert.board import BOARDS
from spikeproof.convert.fold import fold
from spikeproof.convert.pipeline import convert_network
from spikeproof.document.values import dump
from spikeproof.engines.floats import run_float
from spikeproof.engines.memory import sample_bytes, trace_bytes
from spikeproof.engines.registry import ENGINES, get_engine
from spikeproof.engines.self_test import make_bundle
from spikeproof.errors import UnsupportedError
from spikeproof.io.bundle import bundle_bytes, load_bundle
from spikeproof.io.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from spikeproof.io.formats import EXPORTERS, FRONTENDS
from spikeproof.io.kinds import is_kind
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.check_float import check_float
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    GeneralLifNeuron,
    HostCurrent,
    LifNeuron,
    ReadoutNeuron,
    TableLifNeuron,
)
from spikeproof.ir.floats import (
    FLOAT_NODES,
    Add,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    FloatNetwork,
    InputScale,
    Lif,
    Linear,
    MaxPool2d,
    Readout,
)
from spikeproof.ir.registry import NEURONS, SYNAPSES
from spikeproof.ir.serial import network_from_parts, network_to_parts
from spikeproof.ir.shapes import output_shape
from spikeproof.verify.checks.registry import CHECKS
from spikeproof.verify.config import config_model, load_config
from spikeproof.verify.interval import bound_network, constants
from spikeproof.verify.operations import count_operations

DOCS = Path(__file__).resolve().parents[2] / "docs"
STEPS = 3
SLOW = {"lava": "runs in a process of its own; tests/differential compares it on every kind"}


def chip_networks() -> dict[str, ChipNetwork]:
    """Return a small legal network for every kind of synapse and neuron, by the kind's name."""
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> Any:
        return (2 * rng.integers(-8, 9, shape)).astype(np.int16)

    def bias(*shape: int) -> Any:
        return rng.integers(-60, 61, shape).astype(np.int32)

    lif = LifNeuron(60, 41, bias(2, 4, 4), 2)
    conv = ConvSynapse(weight(2, 1, 3, 3), (1, 4, 4), (1, 1), (1, 1))
    host = HostCurrent(bias(2, 1, 1), 6)
    leak, threshold = np.array([4055, 4000, 4200]), np.array([4000, 4100, 4200])
    table = TableLifNeuron(leak.astype(np.int32), threshold.astype(np.int32), bias(2, 4, 4), 2)
    general = GeneralLifNeuron(
        leak=np.array([[[4000]], [[3000]]], np.int32)[None],
        threshold=rng.integers(2000, 6000, (STEPS, 2, 4, 4)).astype(np.int32),
        bias=bias(2, 4, 4),
        du=np.array([4095], np.int32),
        initial=rng.integers(-900, 900, (4, 4)).astype(np.int32),
        reset=np.array([2500], np.int32),
        bias_exponent=2,
    )
    dense, out = (
        DenseSynapse(weight(5, 32)),
        ChipLayer("out", (Connection(DenseSynapse(weight(3, 5))),), ReadoutNeuron(bias(3)), (3,)),
    )
    spiking = ChipLayer("l2", (Connection(dense),), LifNeuron(60, 41, bias(5), 2), (5,))

    def network(neuron: Any, host: HostCurrent | None = None) -> ChipNetwork:
        first = ChipLayer("l1", (Connection(conv, host=host),), neuron, (2, 4, 4))
        return ChipNetwork("small", (1, 4, 4), STEPS, (first, spiking, out))

    plain = network(lif)
    return {
        "DenseSynapse": plain,
        "ConvSynapse": plain,
        "HostCurrent": network(LifNeuron(60, 41, 0 * bias(1, 1, 1)), host),
        "LifNeuron": plain,
        "TableLifNeuron": network(table),
        "GeneralLifNeuron": network(general),
        "ReadoutNeuron": plain,
    }


CHIP = chip_networks()
KINDS = ["HostCurrent", *SYNAPSES.shipped, *NEURONS.shipped]
IMAGES = np.random.default_rng(1).integers(0, 256, (5, 1, 4, 4), np.uint8)


def parts_of(network: ChipNetwork) -> set[str]:
    return {
        type(part).__name__
        for x in network.layers
        for part in (x.synapse, x.neuron, x.host)
        if part is not None
    }


def test_every_kind_of_synapse_and_neuron_has_an_example() -> None:
    assert set(CHIP) == set(KINDS)
    for kind, network in CHIP.items():
        assert kind in parts_of(network)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_the_chip_is_checked_stored_bounded_and_counted(kind: str) -> None:
    network = CHIP[kind]
    check_chip(network)
    back = network_from_parts(*network_to_parts(network), ChipNetwork)
    assert parts_of(back) == parts_of(network)
    rows = certify_ranges(network)
    assert len(rows) == len(network.layers) and not possible_overflows(network)
    assert sample_bytes(network) > 0 and trace_bytes(network) > 0
    traces = get_engine("numpy").run(network, IMAGES, trace=True).traces
    assert traces is not None and count_operations(network, IMAGES, traces)
    for row, trace in zip(rows, traces.values(), strict=True):
        assert row.v_low <= trace.v.min() and trace.v.max() <= row.v_high
    for board in BOARDS.all().values():
        assert board.fit(network) and isinstance(board.problems(network), list)


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_judge_knows_every_kind_and_its_bounds_hold(kind: str) -> None:
    network = CHIP[kind]
    traces = get_engine("numpy").run(network, IMAGES, trace=True).traces or {}
    for layer, bounds in zip(network.layers, bound_network(network), strict=True):
        found = traces[layer.name]
        assert (bounds.v_low <= found.v).all() and (found.v <= bounds.v_high).all()
        assert (np.abs(found.u) <= bounds.u).all()
        for t in range(STEPS):
            neuron, (kept, leak, threshold) = layer.neuron, constants(layer.neuron, t)
            assert np.array_equal(kept, neuron.u_keep) and np.array_equal(leak, neuron.leak_at(t))
            fires_above = neuron.threshold_at(t) if neuron.spiking else None
            assert np.array_equal(threshold, fires_above)


@pytest.mark.parametrize("engine", [n for n in ENGINES.names() if n not in SLOW])
@pytest.mark.parametrize("kind", KINDS)
def test_every_engine_runs_every_kind_as_the_reference_does(kind: str, engine: str) -> None:
    for needed in {"onnx": ["onnx", "onnxruntime"], "torch": ["torch"]}.get(engine, []):
        pytest.importorskip(needed)
    target, network = get_engine(engine), CHIP[kind]
    assert target.name == engine and target.problems(network) == []
    found = target.run(network, IMAGES, trace=True)
    wanted = get_engine("reference").run(network, IMAGES, trace=True)
    np.testing.assert_array_equal(found.logits, wanted.logits)
    assert found.traces is not None and wanted.traces is not None
    for name, layer in wanted.traces.items():
        for part, values in vars(layer).items():
            np.testing.assert_array_equal(
                getattr(found.traces[name], part), values, f"{name}/{part}"
            )


@pytest.mark.parametrize("form", EXPORTERS.names())
@pytest.mark.parametrize("kind", KINDS)
def test_every_format_writes_every_kind_or_says_why_not(
    kind: str, form: str, tmp_path: Path
) -> None:
    from contextlib import nullcontext

    for needed in {"onnx": ["onnx"], "net": ["h5py"]}.get(form, []):
        pytest.importorskip(needed)
    exporter, bundle = EXPORTERS.get(form), make_bundle(CHIP[kind], {}, IMAGES)
    path = tmp_path / f"net{exporter.suffix}"
    try:
        exporter.write(bundle, path, False, lambda _: nullcontext())
    except UnsupportedError as refused:
        assert "l1" in str(refused) or "l2" in str(refused)
        assert not path.exists()
    else:
        assert is_kind(path, exporter.kind)
        assert [e.kind for e in EXPORTERS.all().values() if e.recognises(path)] == [exporter.kind]


def test_a_bundle_of_every_kind_is_read_back(tmp_path: Path) -> None:
    for kind, network in CHIP.items():
        path = tmp_path / f"{kind}.spk"
        path.write_bytes(bundle_bytes(make_bundle(network, {}, IMAGES)))
        assert parts_of(load_bundle(path).network) == parts_of(network)


# --- float nodes -------------------------------------------------------------------------------


def float_network() -> FloatNetwork:
    """Return a network with a node of every kind."""
    rng = np.random.default_rng(2)

    def draw(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    one, two = np.ones(1, np.float32), np.ones(2, np.float32)
    nodes = (
        InputScale("scale", 0.5 * one, 0.5 * one),
        Conv2d("conv", draw(2, 1, 3, 3), draw(2), (1, 1), (1, 1)),
        BatchNorm2d("norm", two, 0 * two, 0 * two, two),
        Add("sum"),
        Lif("l1", 0.5, 1.0),
        MaxPool2d("any", (2, 2), (2, 2)),
        AvgPool2d("pool", (2, 2), (2, 2)),
        Flatten("flat"),
        Linear("fc", draw(4, 2), draw(4)),
        Lif("l2", 0.5, 1.0, gain=np.linspace(0.5, 1.5, STEPS).astype(np.float32)),
        Linear("last", draw(3, 4), None),
        Readout("out"),
    )
    return FloatNetwork("every", (1, 4, 4), STEPS, nodes)


def test_every_kind_of_float_node_is_checked_shaped_stored_folded_and_converted(
    tmp_path: Path,
) -> None:
    network = float_network()
    assert {type(node) for node in network.nodes} == set(FLOAT_NODES)
    check_float(network)
    shape: tuple[int, ...] = network.input_shape
    for node in network.nodes:
        shape = output_shape(node, shape)
    assert shape == (3,)
    save_checkpoint(tmp_path / "net.ckpt", Checkpoint(network))
    stored = load_checkpoint(tmp_path / "net.ckpt").network
    whole = run_float(network, IMAGES)
    np.testing.assert_array_equal(run_float(stored, IMAGES).logits, whole.logits)
    folded = fold(network)
    assert {type(node) for node in folded.nodes} <= {Conv2d, Linear, Lif, Readout}
    np.testing.assert_allclose(run_float(folded, IMAGES).logits, whole.logits, rtol=1e-9)
    assert len(convert_network(network, IMAGES).chip.layers) == 4


def test_every_kind_of_float_node_has_a_torch_module() -> None:
    torch = pytest.importorskip("torch")
    from spikeproof_models.networks import build_module

    network = float_network()
    module = build_module(network)
    with torch.no_grad():
        found = module(torch.from_numpy(IMAGES / np.float32(255))).numpy()
    np.testing.assert_allclose(found, run_float(network, IMAGES).logits, atol=1e-5)
    assert [type(n) for n in module.export().nodes] == [type(n) for n in network.nodes]


# --- checks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.id)
def test_every_check_has_a_title_a_type_a_section_and_a_line_in_the_documents(check: Any) -> None:
    assert check.title and check.section and check.kind in ("proved", "tested", "measured")
    assert [c.id for c in CHECKS].count(check.id) == 1
    assert dump(check.result()) is not None and isinstance(check.tables(check.result()), dict)
    told = (DOCS / "guarantees.md").read_text(encoding="utf-8")
    assert f"\n| {check.id} | {check.kind} |" in told
    for job in check.jobs:
        assert job.name and (callable(job.cost) or job.cost > 0)


# --- attacks, surrogates, registries -----------------------------------------------------------


@pytest.mark.parametrize("kind", ATTACKS.names())
def test_every_attack_has_one_name_one_unit_and_settings(kind: str) -> None:
    attack = ATTACKS.get(kind)
    assert attack.kind == kind
    shared = WEAK.at(kind, 8)
    assert (shared.kind, shared.strength) == (kind, 8)
    assert shared.name.startswith(kind) and shared.label == f"{shared.name} 8/255"
    assert attack.adversarial == (kind in adversarial_kinds()) == (shared.gradients > 0)
    config = load_config()
    for part in (config.samples, config.perturbations, config.margins):
        assert hasattr(part, kind)
    assert len({a.stream() for a in ATTACKS.all().values()}) == len(ATTACKS.names())


def test_every_setting_of_an_attack_belongs_to_a_registered_one() -> None:
    others = {"accuracy", "clean", "stages", "boundary", "worst_case"}
    for part in ("samples", "perturbations", "margins"):
        section: Any = config_model().model_fields[part].annotation
        assert set(section.model_fields) - others == set(ATTACKS.names())


@pytest.mark.parametrize("kind", ATTACKS.names())
def test_every_attack_crafts_images_inside_its_ball(kind: str) -> None:
    torch = pytest.importorskip("torch")
    from spikeproof.attacks import perturb_images

    network = float_network()
    x = np.repeat(IMAGES, 4, 0)
    labels = run_float(network, x).predictions
    attack = WEAK.at(kind, 8)
    craft = partial(perturb_images, attack, network, x, labels)
    found = craft(seed=1)
    assert not np.array_equal(found, x)
    np.testing.assert_array_equal(found, craft(seed=1))
    if attack.bounded:
        assert np.abs(found.astype(int) - x).max() <= 8
    assert not torch.is_grad_enabled() or found.dtype == np.uint8


@pytest.mark.parametrize("name", SURROGATES.names())
def test_every_surrogate_is_a_slope_of_unit_area_around_the_threshold(name: str) -> None:
    torch = pytest.importorskip("torch")
    v = torch.linspace(-9, 11, 200_001, dtype=torch.float64)
    before = v.clone()
    for width in (0.25, 1.0, 2.0):
        slope = SURROGATES.get(name)(v, 1.0, width)
        assert torch.equal(v, before) and (slope >= 0).all()
        assert float(torch.trapezoid(slope, v)) == pytest.approx(1, abs=0.05)
        at_threshold = SURROGATES.get(name)(torch.ones(1, dtype=v.dtype), 1.0, width)
        assert float(at_threshold) == pytest.approx(float(slope.max()), rel=1e-9)


@pytest.mark.parametrize(
    "registry",
    [ATTACKS, BOARDS, ENGINES, EXPORTERS, FRONTENDS, NEURONS, SURROGATES, SYNAPSES],
    ids=lambda r: r.what,
)
def test_every_registry_names_what_exists_and_what_is_near(registry: Any) -> None:
    assert registry.names() and set(registry.all()) == set(registry.names())
    with pytest.raises(ValueError, match="already"):
        registry.add(registry.names()[0], None)
    assert f"`{registry.group}`" in (DOCS / "architecture.md").read_text(encoding="utf-8")
