"""``spikeproof export``: a proved file or none, the numbers said, and what docs/onnx.md shows."""

from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.cli.app import run
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.self_test import make_bundle
from spikeproof.errors import TargetError
from spikeproof.formats.onnx import check as onnx_check
from spikeproof.formats.onnx import exporter
from spikeproof.formats.onnx import graph as onnx_graph
from spikeproof.io.bundle import load_bundle, save_bundle
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

onnx = pytest.importorskip("onnx", reason="needs spikeproof[onnx]")
pytest.importorskip("onnxruntime", reason="needs spikeproof[onnx]")

Text = pytest.CaptureFixture[str]


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Path:
    """A host current, a dense layer and a readout; made here, for a conversion takes a second."""
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> Any:
        return (2 * rng.integers(-20, 21, shape)).astype(np.int16)

    def bias(*shape: int) -> Any:
        return rng.integers(-60, 61, shape).astype(np.int32)

    conv = ConvSynapse(weight(4, 1, 3, 3), (1, 8, 8), (2, 2), (1, 1))
    host = HostCurrent(bias(4, 1, 1), 6)
    layers = (
        ChipLayer(
            "l1", (Connection(conv, host=host),), LifNeuron(4, 41, 0 * bias(1, 1, 1)), (4, 4, 4)
        ),
        ChipLayer(
            "l2", (Connection(DenseSynapse(weight(12, 64))),), LifNeuron(60, 41, bias(12), 2), (12,)
        ),
        ChipLayer(
            "out", (Connection(DenseSynapse(weight(10, 12))),), ReadoutNeuron(bias(10)), (10,)
        ),
    )
    network = ChipNetwork("tiny", (1, 8, 8), 4, layers)
    x = rng.integers(0, 256, (4, 1, 8, 8), np.uint8)
    path = tmp_path / "tiny.spk"
    save_bundle(path, make_bundle(network, {}, x))
    return path


def files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_export_writes_a_model_and_says_what_was_compared(
    tiny_bundle: Path, tmp_path: Path, capsys: Text
) -> None:
    (tmp_path / "new").mkdir()
    path = tmp_path / "new" / "net.onnx"
    assert run(["export", str(tiny_bundle), "--format", "onnx", "-o", str(path), "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    network = load_bundle(tiny_bundle).network
    neurons = {layer.name: int(np.prod(layer.shape)) for layer in network.layers}
    # u, v and s of every neuron at 4 steps of 4 samples (a readout has no s), and 10 logits
    values = 4 * 4 * (3 * sum(neurons.values()) - neurons["out"]) + 4 * 10
    assert document == {
        "schema": 1,
        "format": "onnx",
        "output": str(path),
        "bytes": path.stat().st_size,
        "content_hash": load_bundle(tiny_bundle).content_hash,
        "compared": values,
        "mismatches": 0,
        "warnings": [],
    }
    assert f"{values:,} values compared, 0 differ" in err
    assert files(path.parent) == {"net.onnx"}
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    facts = {p.key: p.value for p in model.metadata_props}
    assert facts["spikeproof.bundle"] == document["content_hash"]


def test_traces_give_every_layer_and_the_default_name_is_that_of_the_bundle(
    tiny_bundle: Path, tmp_path: Path, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", str(tiny_bundle), "--traces", "-q"]) == 0
    model = onnx.load(tmp_path / "tiny.onnx")
    assert [o.name for o in model.graph.output] == [
        "l1/u",
        "l1/v",
        "l1/s",
        "l2/u",
        "l2/v",
        "l2/s",
        "out/u",
        "out/v",
        "logits",
    ]
    assert "0 differ" in capsys.readouterr().out


def test_a_name_that_no_format_has_is_no_onnx(
    tiny_bundle: Path, tmp_path: Path, capsys: Text
) -> None:
    path = tmp_path / "net.foo"
    assert run(["export", str(tiny_bundle), "-o", str(path)]) == 2
    error = capsys.readouterr().err
    assert "no format ends in .foo" in error and "*.onnx or *.net" in error
    assert not path.exists()
    assert run(["export", str(tiny_bundle), "-o", str(path), "--format", "onnx", "-q"]) == 0


def test_the_name_decides_the_format_and_may_not_contradict_the_option(
    tiny_bundle: Path, tmp_path: Path, capsys: Text
) -> None:
    """``-o NAME.net`` alone wrote ONNX under that name."""
    path = tmp_path / "a.onnx"
    assert run(["export", str(tiny_bundle), "-o", str(path), "-q"]) == 0
    assert onnx.load(path).graph.output
    assert run(["export", str(tiny_bundle), "-o", str(tmp_path / "a.net"), "-q"]) == 2
    assert ".net" in capsys.readouterr().err, "a host current with this bias has no place there"
    for form, name in (("onnx", "b.net"), ("net", "b.onnx")):
        words = ["export", str(tiny_bundle), "--format", form, "-o", str(tmp_path / name)]
        assert run(words) == 2
        assert f"--format {form} contradicts" in capsys.readouterr().err
        assert not (tmp_path / name).exists()


def test_the_same_bundle_gives_the_same_bytes(
    tiny_bundle: Path, tmp_path: Path, capsys: Text
) -> None:
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in paths:
        assert run(["export", str(tiny_bundle), "-o", str(path), "-q"]) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_file_that_differs_is_an_error_and_the_old_file_stays(
    tiny_bundle: Path, tmp_path: Path, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\x08\x08\x12\x0aspikeproof\x1a, an older file")
    older = path.read_bytes()
    before = files(tmp_path)

    def altered(model: Any) -> bytes:
        for initializer in model.graph.initializer:
            if initializer.name == "out/sum_weight":
                flipped = bytearray(initializer.raw_data)
                flipped[3::4] = bytes(b ^ 0x80 for b in flipped[3::4])  # the signs of all weights
                initializer.raw_data = bytes(flipped)
        data: bytes = model.SerializeToString(deterministic=True)
        return data

    monkeypatch.setattr(onnx_graph, "model_bytes", altered)
    assert run(["export", str(tiny_bundle), "-o", str(path), "--json"]) == TargetError.exit_code
    out, err = capsys.readouterr()
    assert re.search(r"\d+ values differ from the reference \(logits: \d+", err)
    assert json.loads(out)["error"]["type"] == "TargetError"
    assert path.read_bytes() == older and files(tmp_path) == before


def test_a_full_disk_names_the_file_that_was_asked_for(
    tiny_bundle: Path, tmp_path: Path, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = tmp_path / "a.onnx"
    monkeypatch.setattr(os, "fsync", full)
    assert run(["export", str(tiny_bundle), "-o", str(target)]) == 2
    assert f"error: {target}: could not write" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir() if "a.onnx" in p.name] == []


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_a_file_damaged_on_the_disk_is_an_error_and_no_file(
    damage: str, tiny_bundle: Path, tmp_path: Path, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = exporter.write_atomic
    spoil = {
        "cut": lambda d: d[: len(d) // 2],
        "garbage": lambda d: b"\xff" * 500,
        "empty": lambda d: b"",
    }[damage]
    monkeypatch.setattr(exporter, "write_atomic", lambda path, data, _: write(path, spoil(data)))
    before = files(tmp_path)
    assert run(["export", str(tiny_bundle), "-o", str(tmp_path / "net.onnx")]) == 2
    assert "is no valid ONNX model" in capsys.readouterr().err
    assert files(tmp_path) == before


def test_a_model_with_other_outputs_is_no_proof(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    model = onnx_graph.build_model(bundle.network, traces=True)
    del model.graph.output[0]
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_graph.model_bytes(model))
    with pytest.raises(TargetError, match=r"gives .*; expected .*l1/u"):
        onnx_check.replay(path, bundle.network, bundle.stimulus)


def test_wrong_use_is_refused(tiny_bundle: Path, tmp_path: Path, capsys: Text) -> None:
    before = tiny_bundle.read_bytes()
    for args, reason in (
        (["--format", "net", "--traces"], "--traces is for --format onnx"),
        (["--format", "tflite"], "tflite"),
        (["-o", str(tiny_bundle)], "is an input of this command"),
        (["-o", str(tmp_path)], "is a folder"),
    ):
        assert run(["export", str(tiny_bundle), *args]) == 2
        assert reason in capsys.readouterr().err
    assert tiny_bundle.read_bytes() == before


def test_without_the_runtime_the_file_is_written_and_said_to_be_unproved(
    tiny_bundle: Path, tmp_path: Path, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "is_installed", lambda name: False)
    path = tmp_path / "net.onnx"
    assert run(["export", str(tiny_bundle), "-o", str(path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert "not replayed: onnxruntime is not installed" in err
    assert json.loads(out)["compared"] is None and json.loads(out)["mismatches"] is None
    assert path.exists()


def test_without_onnx_the_extra_is_named_and_nothing_is_written(
    tiny_bundle: Path, tmp_path: Path, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikeproof.extras.find_spec", lambda name: None)
    before = files(tmp_path)
    assert run(["export", str(tiny_bundle), "-o", str(tmp_path / "net.onnx")]) == 2
    assert "doctor --install onnx" in capsys.readouterr().err
    assert files(tmp_path) == before


def test_the_net_format_is_written_or_refused_with_every_reason(
    tiny_bundle: Path, tmp_path: Path, capsys: Text
) -> None:
    h5py = pytest.importorskip("h5py", reason="needs spikeproof[netx]")
    path = tmp_path / "out.net"
    assert run(["export", str(tiny_bundle), "--format", "net", "-o", str(path)]) == 2
    refusal = capsys.readouterr().err
    assert "tiny as .net" in refusal and "* l1: the host writes" in refusal
    assert not path.exists()
    whole = load_bundle(tiny_bundle).network
    unbiased = (
        replace(layer, neuron=replace(layer.neuron, bias=0 * layer.neuron.bias))
        for layer in whole.layers[1:]
    )
    spikes = ChipNetwork("rest", (4, 4, 4), 4, tuple(unbiased), "spikes")
    bundle = tmp_path / "rest.spk"
    save_bundle(bundle, make_bundle(spikes, {}, np.ones((2, 4, 4, 4, 4), np.uint8)))
    assert run(["export", str(bundle), "--format", "net", "-o", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["format"], document["compared"]) == ("net", None)
    with h5py.File(path) as file:
        stored = [layer for layer in file["layer"].values() if "weight" in layer]
        assert len(stored) == 2


def test_arrays_of_another_form_differ_everywhere() -> None:
    ones = np.ones((2, 3), np.int32)
    assert onnx_check.differing(ones, ones) == 0
    assert onnx_check.differing(ones[:1], ones) == 6
    assert onnx_check.differing(ones.astype(np.int64), ones) == 6


def test_the_example_in_the_docs_runs_without_spikeproof(
    tiny_bundle: Path,
    tiny_images: Path,
    tmp_path: Path,
    root: Path,
    capsys: Text,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = (root / "docs" / "onnx.md").read_text(encoding="utf-8")
    program = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    assert "spikeproof" not in program.replace('"spikeproof.', "")
    monkeypatch.chdir(tmp_path)
    assert run(["export", str(tiny_bundle), "-o", "net.onnx", "-q"]) == 0
    capsys.readouterr()
    names: dict[str, Any] = {}
    exec(compile(program, "docs/onnx.md", "exec"), names)
    with np.load(tiny_images) as data:
        expected = ReferenceEngine().run(load_bundle(tiny_bundle).network, data["x"])
    np.testing.assert_array_equal(names["logits"], expected.logits)
    assert "predictions" in capsys.readouterr().out


def test_the_help_names_every_exporter_that_is_registered() -> None:
    from dataclasses import replace

    from spikeproof.cli.commands.export import format_help
    from spikeproof.io.formats import EXPORTERS

    assert format_help().startswith("onnx: standard operators, runs anywhere; net: Lava's netx. ")
    EXPORTERS.add("toy", replace(EXPORTERS.get("net"), kind="toy file", suffix=".toy"))
    try:
        assert "; toy: toy file. " in format_help()
    finally:
        EXPORTERS.remove("toy")
