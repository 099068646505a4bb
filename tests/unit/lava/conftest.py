"""What the Lava tests share: a tiny network, scripts that import Lava, and a look for leftovers."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.ir import chip

_PATIENCE = 120
"""Seconds after which a test gives up waiting for what takes one or two on an idle machine."""


def _network(timesteps: int = 3) -> chip.ChipNetwork:
    rng = np.random.default_rng(5)
    conv = (2 * rng.integers(-20, 21, (2, 1, 3, 3))).astype(np.int16)
    dense = (2 * rng.integers(-20, 21, (3, 32))).astype(np.int16)
    zero = np.zeros(1, np.int32)
    hidden = chip.LifNeuron(threshold=2000, dv=41, bias=zero, du=1000)
    layers = (
        chip.ChipLayer(
            "l1",
            (chip.Connection(chip.ConvSynapse(conv, (1, 4, 4), padding=(1, 1))),),
            hidden,
            (2, 4, 4),
        ),
        chip.ChipLayer(
            "out", (chip.Connection(chip.DenseSynapse(dense)),), chip.ReadoutNeuron(zero), (3,)
        ),
    )
    return chip.ChipNetwork("tiny", (1, 4, 4), timesteps, layers)


@pytest.fixture
def tiny() -> chip.ChipNetwork:
    """A convolution and a readout on 4x4 pixels."""
    return _network()


@pytest.fixture
def images() -> Callable[[int], Any]:
    """Random images for the tiny network."""
    return lambda n: np.random.default_rng(n).integers(0, 256, (n, 1, 4, 4)).astype(np.uint8)


@pytest.fixture
def lava_script() -> Callable[[str], str]:
    """Run code in a fresh Python in which Lava has been made importable; return its output."""

    def run(code: str) -> str:
        head = "from spikeproof_lava import compat\ncompat.prepare('spkptest')\n"
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", head + textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture
def private_temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let runs put their folders into this test's folder, where their processes can be found."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield tmp_path


@pytest.fixture
def leftovers() -> Callable[[Path, int], list[str]]:
    """List what a run in a folder, started by a process, never cleans up."""

    def look(folder: Path, pid: int) -> list[str]:
        found: list[str] = []
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            found = [*_processes(folder), *_memory(pid), *map(str, folder.glob("spikeproof-*"))]
            if not found:
                break
            time.sleep(0.05)
        return found

    return look


def _processes(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            place = str((entry / "cwd").readlink())
        except OSError:
            continue
        if place.startswith(f"{folder}/spikeproof-"):
            found.append(f"process {entry.name} in {place}")
    return found


def _memory(pid: int) -> list[str]:
    shared = Path("/dev/shm")
    return [str(p) for p in (*shared.glob(f"spkp{pid:x}-*"), *shared.glob(f"sem.spkp{pid:x}-*"))]


@pytest.fixture
def long_run(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start a process that runs Lava for a long time; return it once Lava has run a sample."""
    running = tmp_path / "running"
    script = tmp_path / "long_run.py"
    script.write_text(
        "import pathlib, sys; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np, conftest\n"
        "from spikeproof_lava.run import Task, run_many\n"
        "x = np.zeros((100_000, 1, 4, 4), np.uint8)\n"
        "running = pathlib.Path(sys.argv[2])\n"
        "run_many([Task(conftest._network(), x)], progress=lambda *_: running.touch())\n"
    )
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, str(script), str(Path(__file__).parent), str(running)],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stderr=subprocess.PIPE,
        )
        started.append(process)
        end = time.monotonic() + _PATIENCE
        while not running.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, "Lava did not start"
            time.sleep(0.05)
        assert _memory(process.pid)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
