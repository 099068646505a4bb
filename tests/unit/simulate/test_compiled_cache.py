"""Compiled kernels are never older than their sources, and need no place on the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="numba is not installed: nothing is compiled")

import spikeproof
from spikeproof.simulate.fast import compiled

SOURCE = Path(spikeproof.__file__).parent
RUN = """
import numpy as np
from spikeproof.ir import chip
from spikeproof.simulate.fast import FastEngine
layer = chip.ChipLayer("l1", chip.DenseSynapse(np.full((3, 4), 2, np.int16)),
                       chip.LifNeuron(1, 0, np.zeros(1, np.int32)), (3,))
net = chip.ChipNetwork("n", (1, 2, 2), 5, (layer,), "spikes")
print(FastEngine(1).run(net, np.ones((1, 5, 1, 2, 2), np.uint8)).logits.tolist())
"""


def run(root: Path, cache: str, **more: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    env = {**kept, "PYTHONPATH": str(root), "NUMBA_CACHE_DIR": cache, **more}
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_change_in_any_source_reaches_the_kernels(tmp_path: Path) -> None:
    copy = shutil.copytree(SOURCE, tmp_path / "spikeproof")
    cache = str(tmp_path / "cache")
    assert run(tmp_path, cache) == "[[5, 5, 5]]"
    lanes = copy / "simulate" / "compiled" / "lanes.py"
    text = lanes.read_text(encoding="utf-8")
    compare = 'builder.icmp_signed(">", args[0], _splat'
    assert compare in text
    lanes.write_text(text.replace(compare, compare.replace('">"', '"<"')), encoding="utf-8")
    assert run(tmp_path, cache) == "[[0, 0, 0]]"  # kernels.py itself has not changed


@pytest.mark.parametrize(
    "settings",
    [
        {"NUMBA_CACHE_DIR": "/dev/null", "HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null"},
        {"NUMBA_CPU_NAME": "generic"},
        {"NUMBA_DISABLE_JIT": "1"},
    ],
    ids=["nowhere to keep kernels", "another processor", "nothing is compiled"],
)
def test_the_engine_runs_all_the_same(settings: dict[str, str], tmp_path: Path) -> None:
    more = {"NUMBA_CACHE_DIR": str(tmp_path), **settings}
    assert run(SOURCE.parent, more.pop("NUMBA_CACHE_DIR"), **more) == "[[5, 5, 5]]"


def test_doctor_and_engine_ask_the_same_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert not compiled()
