"""The command line with a lava-dl .net file: convert, inspect, run and what verify says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("h5py", reason="h5py is not installed")

from spikeproof.cli.app import run
from spikeproof.formats.netx.write import save_netx
from spikeproof.io.bundle import load_bundle
from spikeproof.io.files import sha256
from spikeproof.ir.chip import ChipLayer, ChipNetwork, Connection, DenseSynapse, LifNeuron

Json = dict[str, Any]
Command = Callable[..., Json]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command with --json; return its document, or the error with code 2."""

    def call(*args: object, code: int = 0) -> Json:
        capsys.readouterr()
        assert run([*map(str, args), "--json", "-q"]) == code
        document: Json = json.loads(capsys.readouterr().out)
        return document

    return call


@pytest.fixture
def tiny(root: Path) -> Path:
    return root / "tests" / "golden" / "traces" / "tiny.net"


@pytest.fixture
def recorded(root: Path, tmp_path: Path) -> Path:
    """Write Intel's recorded input spikes as data, labelled with the recorded winner."""
    with np.load(root / "tests" / "golden" / "traces" / "tinynet.npz") as file:
        x, out = file["input"].transpose(0, 4, 1, 2, 3)[:, 1:], file["output"]
    path = tmp_path / "spikes.npz"
    np.savez(path, x=x.astype(np.uint8), y=[int(out.sum(axis=-1).argmax())])
    return path


def test_spikes_of_a_file_run_on_every_engine(
    tiny: Path, recorded: Path, tmp_path: Path, command: Command
) -> None:
    bundle = tmp_path / "tiny.spk"
    made = command("convert", tiny, "-o", bundle, "--skip-input", "--timesteps", 15)
    assert [row["layer"] for row in made["layers"]] == ["conv1", "conv2"]
    assert made["options"] == {
        "timesteps": 15,
        "pixel_range": None,
        "skip_input": True,
        "input_shape": None,
    }
    engines = ["reference", "fast"]
    for engine in engines:
        done = command("run", bundle, "--data", recorded, "--engine", engine)
        assert (done["samples"], done["accuracy"]) == (1, 1.0)
        assert command("run", bundle, "--self-test", "--engine", engine)["self_test"] == "pass"
    shown = command("inspect", bundle)
    assert shown["record"]["netx"]["format"] == "lava-dl .net"


@pytest.mark.lava
def test_spikes_of_a_file_run_on_lava(
    tiny: Path, recorded: Path, tmp_path: Path, command: Command
) -> None:
    pytest.importorskip("lava", reason="Lava is not installed")
    bundle = tmp_path / "tiny.spk"
    command("convert", tiny, "-o", bundle, "--skip-input", "--timesteps", 15)
    done = command("run", bundle, "--data", recorded, "--engine", "lava")
    assert done["accuracy"] == 1.0
    assert command("run", bundle, "--self-test", "--engine", "lava")["self_test"] == "pass"


def test_pixels_and_the_origin_are_recorded(tiny: Path, tmp_path: Path, command: Command) -> None:
    path = tmp_path / "tiny.spk"
    command("convert", tiny, "-o", path, "--pixel-range", 0, 1)
    bundle = load_bundle(path)
    assert (bundle.network.coding, bundle.network.timesteps) == ("pixels", 64)
    assert bundle.record.document["netx"]["hash"] == sha256(tiny.read_bytes())
    assert bundle.expected["conv2/s"].any(), "the self-test must make the network spike"
    again = tmp_path / "again.spk"
    command("convert", tiny, "-o", again, "--pixel-range", 0, 1)
    assert again.read_bytes() == path.read_bytes()


def test_export_writes_for_the_range_the_network_was_read_with(
    tiny: Path, tmp_path: Path, command: Command
) -> None:
    bundle, again = tmp_path / "tiny.spk", tmp_path / "again.net"
    command("convert", tiny, "-o", bundle, "--pixel-range", -1, 1)
    command("export", bundle, "--format", "net", "-o", again)
    command("convert", again, "-o", tmp_path / "again.spk", "--pixel-range", -1, 1)
    first, second = load_bundle(bundle), load_bundle(tmp_path / "again.spk")
    for key, expected in first.expected.items():
        np.testing.assert_array_equal(second.expected[key], expected)


def test_own_data_become_the_self_test(
    tiny: Path, recorded: Path, tmp_path: Path, command: Command
) -> None:
    path, options = tmp_path / "tiny.spk", ("--skip-input", "--timesteps", 15)
    command("convert", tiny, "-o", path, *options, "--calibration", recorded)
    with np.load(recorded) as file:
        np.testing.assert_array_equal(load_bundle(path).stimulus, file["x"])


def test_pixels_that_overflow_the_bias_are_refused(
    tiny: Path, tmp_path: Path, command: Command
) -> None:
    error = command("convert", tiny, "-o", tmp_path / "a.spk", code=2)["error"]
    assert error["type"] == "RangeError"
    assert "host mantissa could reach 9214" in error["message"]
    assert "--pixel-range" in error["message"]
    assert not (tmp_path / "a.spk").exists()


def test_a_membrane_that_may_saturate_is_run_as_written(tmp_path: Path, command: Command) -> None:
    """No conversion chose these integers, and every engine saturates alike."""
    weight = np.full((1, 900), -254, np.int16)
    weight[0, 0] = 2
    neuron = LifNeuron(5, 0, np.zeros(1, np.int32), 6)
    layer = ChipLayer("d", (Connection(DenseSynapse(weight)),), neuron, (1,))
    save_netx(ChipNetwork("n", (900, 1, 1), 4, (layer,), "spikes"), tmp_path / "n.net")
    made = command("convert", tmp_path / "n.net", "-o", tmp_path / "n.spk")
    row = made["layers"][0]
    assert row["v_low"] < -(1 << 23) and row["headroom_bits"] < 0
    (warning,) = made["warnings"]
    assert warning.startswith("dense2: u could reach 14,614,144 for some input and then wraps at")
    assert "v could reach" in warning and "then saturates at 8,388,607" in warning
    assert "On the self-test's 4 samples 11 times (68.75%) v saturated." in warning
    (possible,) = command("inspect", tmp_path / "n.net")["warnings"]
    assert warning.startswith(possible.removesuffix("."))
    for engine in ("reference", "fast"):
        done = command("run", tmp_path / "n.spk", "--self-test", "--engine", engine)
        assert done["mismatches"] == 0


def test_inspect_takes_the_input_shape(root: Path, command: Command) -> None:
    export = root / "tests" / "golden" / "traces" / "spikingjelly.net"
    assert "give --input-shape C H W" in command("inspect", export, code=2)["error"]["message"]
    shown = command("inspect", export, "--input-shape", 1, 16, 16)
    assert (shown["input_shape"], shown["timesteps"]) == ([1, 16, 16], None)


def test_plan_and_inspection_write_nothing(tiny: Path, tmp_path: Path, command: Command) -> None:
    plan = command("convert", tiny, "-o", tmp_path / "a.spk", "--dry-run", "--skip-input")["plan"]
    assert plan["timesteps"] == 64 and not (tmp_path / "a.spk").exists()
    shown = command("inspect", tiny)
    assert (shown["kind"], shown["timesteps"], len(shown["layers"])) == ("netx", 64, 3)
    assert shown["layers"][1]["vThMant"] == 25


def test_verify_says_that_there_is_no_checkpoint(
    tiny: Path, tiny_checkpoint: Path, tmp_path: Path, command: Command
) -> None:
    command("convert", tiny, "-o", tmp_path / "a.spk", "--skip-input")
    error = command("verify", tmp_path / "a.spk", "--against", tiny_checkpoint, code=2)["error"]
    assert "read from a lava-dl .net file; no checkpoint of ours" in error["message"]


def test_options_that_do_not_apply_are_refused(
    tiny: Path, tiny_checkpoint: Path, tmp_path: Path, command: Command
) -> None:
    out = ("-o", tmp_path / "a.spk")
    error = command("convert", tiny, *out, "--weight-bits", 6, code=2)["error"]
    assert "--weight-bits does not apply to a .net file" in error["message"]
    error = command("convert", tiny_checkpoint, *out, "--timesteps", 5, code=2)["error"]
    assert "--timesteps does not apply to a checkpoint" in error["message"]
