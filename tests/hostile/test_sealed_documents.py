"""Files that are correctly sealed and say absurd things: one error of ours, or they work."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.cli.app import run
from spikeproof.engines.self_test import make_bundle
from spikeproof.errors import SpikeproofError
from spikeproof.io import container
from spikeproof.io.bundle import load_bundle, save_bundle
from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.ir.chip import LifNeuron

ABSURD: list[Any] = [None, True, -1, 1e308, 10**400, "\x1b[2J", [], {"a": {"b": [[1]]}}]
Place = tuple[Any, ...]


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """Yield where every value of a document stands; of long lists the first two entries."""
    if here:
        yield here
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*here, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:2]):
            yield from places(inner, (*here, index))


def with_value(document: dict[str, Any], place: Place, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    part: Any = changed
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    return changed


def without(document: dict[str, Any], place: Place) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    part: Any = changed
    for step in place[:-1]:
        part = part[step]
    del part[place[-1]]
    return changed


def variants(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for place in places(document):
        name = ".".join(map(str, place))
        yield f"without {name}", without(document, place)
        for value in ABSURD:
            yield f"{name} = {str(value)[:20]!r}", with_value(document, place, value)


def check_all(
    path: Path, kind: str, use: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> int:
    """Write every variant, use it, and return how many were refused."""
    document, arrays = container.read(path, kind, 1)
    refused, foreign = 0, []
    for name, changed in variants(document):
        try:
            container.write(path, kind, 1, changed, arrays)
        except (ValueError, OverflowError):
            continue  # no file can say that
        try:
            use(path)
        except SpikeproofError:
            refused += 1
        except Exception as error:
            foreign.append(f"{name}: {type(error).__name__}: {error}")
            continue
        if run(["inspect", str(path), "--json"]) == 4:
            foreign.append(f"inspect, {name}: {capsys.readouterr().err[:200]}")
        capsys.readouterr()
    assert not foreign, f"{len(foreign)} foreign exceptions:\n" + "\n".join(foreign[:40])
    return refused


def test_absurd_bundles_end_in_one_of_our_errors(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_all(tiny_bundle, "bundle", load_bundle, capsys) > 500


def test_absurd_checkpoints_end_in_one_of_our_errors(
    tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_all(tiny_checkpoint, "checkpoint", load_checkpoint, capsys) > 200


def test_a_trained_checkpoint_with_an_absurd_training_record_is_refused(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.ckpt"
    path.write_bytes((root / "models/zoo/fmnist-lif-natural.ckpt").read_bytes())
    document, arrays = container.read(path, "checkpoint", 1)
    training = document["training"]
    arrays = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
    for key in ("recipe", "history", "selected_epoch", "training_data_sha256"):
        assert key in training
        for value in (["x"], {"a": 1e308}, "x" * 5_000, -3):
            changed = {**document, "training": {**training, key: value}}
            container.write(path, "checkpoint", 1, changed, arrays)
            if run(["inspect", str(path)]) != 0:
                assert "record cannot be used" in capsys.readouterr().err, (key, value)


@pytest.mark.parametrize(
    ("version", "words"),
    [(None, "a bundle comes from one of them"), ("as it is", "netx: not known")],
)
def test_a_second_origin_does_not_get_round_the_proof_of_ranges(
    version: str | None, words: str, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document, arrays = container.read(tiny_bundle, "bundle", 1)
    document["record"]["netx"] = {"name": "x.net", "hash": "0" * 64, "format": "lava-dl .net"}
    if version is None:  # the keys of an unknown writer are not known
        del document["record"]["spikeproof"]
    container.write(tiny_bundle, "bundle", 1, document, arrays)
    assert run(["run", str(tiny_bundle), "--self-test"]) == 2
    assert words in capsys.readouterr().err


def test_a_foreign_network_that_can_overflow_says_so_whenever_it_is_run(
    tiny_bundle: Path, tiny_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = load_bundle(tiny_bundle)
    first, layer, last = made.network.layers
    assert isinstance(layer.neuron, LifNeuron)
    bias = np.full_like(layer.neuron.bias, 4095)
    neuron = replace(layer.neuron, dv=0, threshold=131_071, bias=bias, bias_exponent=7)
    layers = (first, replace(layer, neuron=neuron), last)
    network = replace(made.network, timesteps=40, layers=layers)
    record = {"netx": {"name": "x.net", "hash": "0" * 64, "format": "lava-dl .net"}}
    save_bundle(tiny_bundle, make_bundle(network, record, made.stimulus))
    bundle, engine = str(tiny_bundle), ("--engine", "numpy", "--json")
    for args in (
        ["run", bundle, "--data", str(tiny_images), *engine],
        ["run", bundle, "--self-test", *engine],
        ["inspect", bundle, "--json"],
        ["export", bundle, "-o", str(tiny_bundle.with_suffix(".onnx")), "--json"],
    ):
        assert run(args) == 0
        shown = capsys.readouterr()
        warnings = json.loads(shown.out)["warnings"]
        lines = [line for line in warnings if "v could reach" in line and "saturates" in line]
        assert lines and all(shown.err.count(line) == 1 for line in lines), args


FEW: list[Any] = [None, "abc", [1], {"a": 1}, 1e308, -5]


def test_absurd_costs_of_a_profile_are_refused_when_read(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document, arrays = container.read(tiny_bundle, "bundle", 1)
    shares = ("accuracy_trained", "accuracy_default", "accuracy", "agreement_default", "agreement")
    cost: dict[str, Any] = {"profile": "loihi", "samples": 3, **dict.fromkeys(shares, 0.5)}
    cost["layers"] = [{"layer": "l1", "flips_default": 0.1, "flips": 0.2}]
    document["record"]["profile_cost"] = cost
    container.write(tiny_bundle, "bundle", 1, document, arrays)
    assert run(["inspect", str(tiny_bundle)]) == 0
    here = ("record", "profile_cost")
    harmless: list[Any] = [((), None), (("profile",), "abc"), (("layers", 0, "layer"), "abc")]
    for place in (here, *((*here, *inner) for inner in places(cost))):
        for value in FEW:
            container.write(tiny_bundle, "bundle", 1, with_value(document, place, value), arrays)
            code = run(["inspect", str(tiny_bundle), "--json"])
            shown = capsys.readouterr().err
            assert code == (0 if (place[2:], value) in harmless else 2), (place, value, shown)
            assert code == 0 or " profile_cost" in shown, (place, value, shown)
    absurd = with_value(document, (*here, "accuracy_trained"), None)
    container.write(tiny_bundle, "bundle", 1, absurd, arrays)
    assert run(["inspect", str(tiny_bundle)]) == 2


def test_absurd_options_of_a_net_file_are_refused_when_read(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("h5py")
    document, arrays = container.read(tiny_bundle, "bundle", 1)
    netx = {"name": "x.net", "hash": "0" * 64, "format": "lava-dl .net"}
    record = {"netx": netx, "options": {"pixel_range": [0, 1], "skip_input": False}}
    document["record"] = record
    out = str(tiny_bundle.with_suffix(".net"))
    for value in (*FEW, [1e300, -1e300], [True, None], ["a", "b"], [0, 0], [1, 0, 2]):
        changed = with_value(document, ("record", "options", "pixel_range"), value)
        container.write(tiny_bundle, "bundle", 1, changed, arrays)
        assert run(["export", str(tiny_bundle), "--format", "net", "-o", out]) == 2, value
        shown = capsys.readouterr().err
        # None means: as raw pixels; that file is refused for what a .net cannot hold.
        named = "biases with exponent" if value is None else "options.pixel_range"
        assert named in shown, (value, shown)
