"""What several test files share: a small trained-looking network, its images, and the command."""

from __future__ import annotations

import os

# Two test workers on two cores: one thread each, or they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.io.checkpoint import Checkpoint, save_checkpoint
from spikeproof.io.record import TrainingRecord
from spikeproof.ir.floats import (
    BatchNorm2d,
    Conv2d,
    Flatten,
    FloatNetwork,
    Lif,
    Linear,
    Readout,
)

# Started in the background (by nohup, by a shell's &), the tests would hand ignored signals on to
# the commands they start, which would rightly go on ignoring them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).resolve().parents[1]
_converted: dict[str, bytes] = {}
"""Bundles that were made already in this process."""


@pytest.fixture
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def tiny_network() -> FloatNetwork:
    """A convolution, two spiking layers and a readout on 8x8 images; spikes do occur."""
    rng = np.random.default_rng(0)

    def draw(*shape: int, scale: float) -> Any:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    ones = np.ones(4, np.float32)
    return FloatNetwork(
        "tiny",
        (1, 8, 8),
        4,
        (
            Conv2d("c1", draw(4, 1, 3, 3, scale=0.6), None, (2, 2), (1, 1)),
            BatchNorm2d("b1", ones, draw(4, scale=0.1), draw(4, scale=0.1), ones),
            Lif("l1", 1 - 41 / 4096, 1.0),
            Flatten("flat"),
            Linear("f2", draw(12, 64, scale=0.3), draw(12, scale=0.1)),
            Lif("l2", 1 - 41 / 4096, 1.0),
            Linear("f3", draw(10, 12, scale=0.5), draw(10, scale=0.1)),
            Readout("out"),
        ),
    )


@pytest.fixture
def tiny_checkpoint(tiny_network: FloatNetwork, tmp_path: Path) -> Path:
    """The small network as a checkpoint file."""
    path = tmp_path / "tiny.ckpt"
    save_checkpoint(
        path, Checkpoint(tiny_network, TrainingRecord(recipe={"name": "tiny", "seed": 0}))
    )
    return path


@pytest.fixture
def tiny_images(tmp_path: Path) -> Path:
    """24 images with labels for the small network."""
    rng = np.random.default_rng(1)
    path = tmp_path / "images.npz"
    x = rng.integers(0, 256, (24, 1, 8, 8), dtype=np.uint8)
    np.savez(path, x=x, y=rng.integers(0, 10, 24))
    return path


@pytest.fixture
def tiny_bundle(tiny_checkpoint: Path, tiny_images: Path, cli: Callable[..., Any]) -> Path:
    """The small network, converted: once, for equal inputs give equal bytes."""
    path = tiny_checkpoint.with_suffix(".spk")
    if "tiny" not in _converted:
        done = cli("convert", tiny_checkpoint, "--calibration", tiny_images, "-o", path, "-q")
        assert done.returncode == 0, done.stderr
        _converted["tiny"] = path.read_bytes()
    path.write_bytes(_converted["tiny"])
    return path


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line as a user does, in an empty folder."""
    work = tmp_path / "work"
    work.mkdir()

    def run(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "spikeproof", *map(str, args)]
        return subprocess.run(
            command, cwd=work, capture_output=True, text=True, timeout=300, check=False, **options
        )

    return run
