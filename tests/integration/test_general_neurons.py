"""Neurons that no register of a chip holds, through every command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.cli.app import run
from spikeproof.engines.floats import run_float
from spikeproof.io.checkpoint import Checkpoint, save_checkpoint
from spikeproof.ir.floats import FloatNetwork

SETTINGS = """
lava_samples = 20

[samples]
accuracy = 200
gaussian = 40
fgsm = 40
pgd = 40
stages = 200
boundary = 40

[perturbations]
gaussian = [8]
fgsm = [8]
pgd = [8]
"""
NUMBERS: dict[str, dict[str, Any]] = {
    "soft reset": {"reset": 1.0},
    "own numbers": {
        "threshold": np.linspace(0.6, 1.4, 4).reshape(4, 1, 1),
        "leak": np.linspace(0.5, 1.0, 4).reshape(4, 1, 1),
        "initial": 0.2,
    },
}


@pytest.fixture
def files(tiny_network: FloatNetwork, tmp_path: Path) -> tuple[Path, Path]:
    """A place for a checkpoint, and 200 images; labels are what the network answers."""
    rng = np.random.default_rng(4)
    x = rng.integers(0, 256, (200, 1, 8, 8), np.uint8)
    np.savez(tmp_path / "x.npz", x=x, y=run_float(tiny_network, x).predictions)
    return tmp_path / "general.ckpt", tmp_path / "x.npz"


@pytest.mark.slow
@pytest.mark.parametrize("kind", NUMBERS)
def test_they_are_converted_inspected_run_and_verified(
    kind: str,
    tiny_network: FloatNetwork,
    files: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch", reason="verification needs torch")
    checkpoint, images = files
    nodes = [replace(n, **NUMBERS[kind]) if n.name == "l1" else n for n in tiny_network.nodes]
    save_checkpoint(checkpoint, Checkpoint(replace(tiny_network, nodes=tuple(nodes))))
    bundle = tmp_path / "general.spk"
    convert = ["convert", str(checkpoint), "--calibration", str(images), "-o", str(bundle)]
    assert run(convert) == 0
    capsys.readouterr()
    assert run(["inspect", str(bundle)]) == 0
    said = "needs a neuron program on a chip (Loihi 2 microcode): l1 (general LIF)\n"
    assert said in capsys.readouterr().out
    assert run(["inspect", str(bundle), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["layers"]
    assert [r["portability"] for r in rows] == ["neuron program", "portable", "portable"]

    (tmp_path / "small.toml").write_text(SETTINGS)
    verify = ["verify", str(bundle), "--against", str(checkpoint), "--data", str(images)]
    verify += ["--calibration", str(images), "--config", str(tmp_path / "small.toml")]
    run([*verify, "--engine", "fast", "-o", str(tmp_path / "run"), "--json"])
    checks = {c["id"]: c for c in json.loads(capsys.readouterr().out)["checks"]}
    assert {name: c["verdict"] for name, c in checks.items() if name in ("V1", "V9", "V13")} == {
        "V1": "pass",
        "V9": "pass",
        "V13": "pass",
    }
    steps = {r["relation"]: r["verdict"] for r in checks["V2"]["data"]["stages"]}
    assert steps.pop("behavioural") != "fail", "few images show little"
    assert steps == {"exact": "pass", "rounding": "pass", "bounded": "pass"}

    net = ["export", str(bundle), "--format", "net", "-o", str(tmp_path / "general.net")]
    assert run(net) == 2
    assert "a .net has one leak and threshold, and resets to 0" in capsys.readouterr().err
    loihi = [*convert[:-1], str(tmp_path / "loihi.spk"), "--profile", "loihi"]
    assert run(loihi) == 2
    assert "l1: its neurons differ" in capsys.readouterr().err
