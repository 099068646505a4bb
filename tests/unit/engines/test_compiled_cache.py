"""Compiled kernels are never older than their sources, and need no place on the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numba", reason="numba is not installed: nothing is compiled")

import spikeproof
from spikeproof.engines.compiled import cache
from spikeproof.engines.compiled.cache import cache_folder, compiled_in, listening
from spikeproof.engines.fast import compiled

SOURCE = Path(spikeproof.__file__).parent
RUN = """
import numpy as np
from spikeproof.ir import chip
from spikeproof.engines.fast import FastEngine
layer = chip.ChipLayer("l1", (chip.Connection(chip.DenseSynapse(np.full((3, 4), 2, np.int16))),),
                       chip.LifNeuron(1, 0, np.zeros(1, np.int32)), (3,))
net = chip.ChipNetwork("n", (1, 2, 2), 5, (layer,), "spikes")
print(FastEngine(1).run(net, np.ones((1, 5, 1, 2, 2), np.uint8)).logits.tolist())
"""


def attempt(root: Path, cache: str, **more: str) -> tuple[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    env = {**kept, "PYTHONPATH": str(root), "NUMBA_CACHE_DIR": cache, **more}
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def run(root: Path, cache: str, **more: str) -> str:
    return attempt(root, cache, **more)[0]


def double(x: int) -> int:
    return 2 * x


def call_in_new_process_state(place: Path) -> int:
    """Return double(2) of a kernel that has not been loaded yet."""
    return int(compiled_in(place, double)(2))


def test_kernels_are_loaded_and_compiled_where_ctrl_c_cannot_reach(tmp_path: Path) -> None:
    """It would leave the lock on LLVM taken, and whoever waits for a kernel waiting for ever."""
    from llvmlite.binding import ffi

    used: set[str] = set()

    def notice() -> None:
        used.add(threading.current_thread().name)

    def nothing() -> None:
        pass

    for found in ("compiled", "loaded"):
        kernel = compiled_in(tmp_path, double)
        ffi.register_lock_callback(notice, nothing)
        try:
            assert kernel(2) == 4
        finally:
            ffi.unregister_lock_callback(notice, nothing)
        assert used == {"spikeproof kernels_0"}, found
        used.clear()


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]


def resealed(data: bytes) -> bytes:
    return sha256(b"no pickle").digest() + b"no pickle"


@pytest.mark.parametrize("damage", [truncated, flipped, resealed, lambda data: b""])
def test_a_damaged_kernel_is_named_removed_and_compiled_anew(
    damage: Callable[[bytes], bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert call_in_new_process_state(tmp_path) == 4
    [path] = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    spoiled = path.read_bytes()
    compiling: list[bool] = []
    with listening(lambda: compiling.append(True)):
        assert call_in_new_process_state(tmp_path) == 4
        assert str(path) in caplog.text and "compiled anew" in caplog.text
        assert compiling == [True]
        assert list(tmp_path.iterdir()) == [path] and path.read_bytes() != spoiled
        caplog.clear()
        assert call_in_new_process_state(tmp_path) == 4  # loads what was just made
    assert compiling == [True] and caplog.text == ""


def test_what_cannot_be_removed_or_kept_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert call_in_new_process_state(tmp_path) == 4
    [path] = tmp_path.iterdir()
    path.unlink()
    path.mkdir()  # neither readable nor replaceable
    (path / "full").touch()
    assert call_in_new_process_state(tmp_path) == 4
    assert "could not be kept" in caplog.text and str(path) in caplog.text


def test_a_user_with_damaged_kernels_gets_results_and_one_sentence(tmp_path: Path) -> None:
    assert attempt(SOURCE.parent, str(tmp_path)) == ("[[5, 5, 5]]", "")
    kernels = sorted(tmp_path.rglob("*.kernel"))
    assert len(kernels) == 2
    kernels[0].write_bytes(truncated(kernels[0].read_bytes()))
    out, err = attempt(SOURCE.parent, str(tmp_path))
    assert out == "[[5, 5, 5]]"
    assert str(kernels[0]) in err and len(err.splitlines()) == 1
    assert attempt(SOURCE.parent, str(tmp_path)) == ("[[5, 5, 5]]", "")


def test_every_specialisation_has_a_file_of_its_own(tmp_path: Path) -> None:
    """So processes that compile side by side cannot give one of them the code of another."""
    kernel = compiled_in(tmp_path, double)
    assert (kernel(2), kernel(2.5)) == (4, 5.0)
    assert len(list(tmp_path.iterdir())) == 2


def test_kernels_of_versions_that_nobody_uses_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    ages = {"kernels-unused": 100, "kernels-used": 10, "other": 100}
    for name, days in ages.items():
        folder = tmp_path / "spikeproof" / name
        folder.mkdir(parents=True)
        os.utime(folder, (0, time.time() - days * 24 * 3600))
    made = cache_folder()
    assert made is not None
    left = {path.name for path in made.parent.iterdir()}
    assert left == {"kernels-used", "other", made.name}


def test_compiling_is_said_when_it_happens_and_only_then(
    tiny_bundle: Path, tiny_images: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    env, said = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}, []
    for _ in range(2):
        done = cli("run", tiny_bundle, "--data", tiny_images, env=env)
        assert done.returncode == 0
        said.append("Compiling the fast engine's kernels (once on a machine)" in done.stderr)
    assert said == [True, False]
    assert "ompil" not in done.stderr


def test_a_change_in_any_source_reaches_the_kernels(tmp_path: Path) -> None:
    copy = shutil.copytree(SOURCE, tmp_path / "spikeproof")
    cache = str(tmp_path / "cache")
    assert run(tmp_path, cache) == "[[5, 5, 5]]"
    lanes = copy / "engines" / "compiled" / "lanes.py"
    text = lanes.read_text(encoding="utf-8")
    compare = 'builder.icmp_signed(">", args[0], splat'
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


@pytest.mark.parametrize("place", ["folder", "file"])
def test_kernels_that_others_may_write_are_never_read(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0o002)
    try:
        assert call_in_new_process_state(tmp_path) == 4
    finally:
        os.umask(before)
    [path] = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(cache.pickle, "loads", lambda data: pytest.fail("it was unpickled"))
    (tmp_path if place == "folder" else path).chmod(0o777)
    assert call_in_new_process_state(tmp_path) == 4
    tmp_path.chmod(0o700)
    monkeypatch.setattr(cache.os, "geteuid", lambda: os.getuid() + 1)
    assert call_in_new_process_state(tmp_path) == 4
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() is None
