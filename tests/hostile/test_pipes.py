"""A pipe has no end: every command that reads a file refuses one at once instead of waiting."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = {
    "inspect": ["inspect", "{pipe}"],
    "convert": ["convert", "{pipe}", "-o", "{out}"],
    "convert calibration": ["convert", "{checkpoint}", "--calibration", "{pipe}", "-o", "{out}"],
    "convert config": ["convert", "{checkpoint}", "--config", "{pipe}", "-o", "{out}"],
    "run": ["run", "{pipe}", "--self-test"],
    "run data": ["run", "{bundle}", "--data", "{pipe}", "--engine", "numpy"],
    "verify": ["verify", "{pipe}", "--against", "{checkpoint}"],
    "verify against": ["verify", "{bundle}", "--against", "{pipe}"],
    "verify config": ["verify", "{bundle}", "--against", "{checkpoint}", "--config", "{pipe}"],
    "export": ["export", "{pipe}", "-o", "{out}", "--format", "onnx"],
    "report": ["report", "{pipe}"],
    "train": ["train", "{pipe}"],
    "fuzz replay": ["fuzz", "--replay", "{pipe}", "--engine", "numpy"],
}


SUFFIXES = [".net", ".npz", ".toml", ".ckpt"]
"""Some commands look at the suffix first."""
CASES = [(name, "") for name in COMMANDS] + [
    (name, suffix) for name in ("inspect", "convert", "run data") for suffix in SUFFIXES
]


@pytest.mark.parametrize(("name", "suffix"), CASES)
def test_a_pipe_is_refused_at_once(
    name: str, suffix: str, tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    if name == "train":
        pytest.importorskip("torch", reason="training needs torch")
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    places = {
        "pipe": pipe,
        "checkpoint": tiny_checkpoint,
        "bundle": tiny_bundle,
        "out": tmp_path / "out.spk",
    }
    words = [word.format(**places) for word in COMMANDS[name]]
    done = subprocess.run(
        [sys.executable, "-m", "spikeproof", *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 2, done.stderr
    assert "pipe" in done.stderr
