"""A run ends well or badly; either way nothing of it stays behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spikeproof.errors import RangeError, TargetError
from spikeproof.ir import chip
from spikeproof_lava import compat
from spikeproof_lava.jobs import write_job
from spikeproof_lava.run import Task, run_many
from spikeproof_lava.supervise import supervise

pytestmark = [
    pytest.mark.lava,
    pytest.mark.skipif(compat.installed_version() is None, reason="needs lava-nc"),
]
Look = Callable[[Path, int], list[str]]
Start = Callable[[], "subprocess.Popen[bytes]"]
_PATIENCE = 120
"""Seconds for what takes one on an idle machine."""


def test_success_reports_progress_and_leaves_nothing(
    tiny: chip.ChipNetwork, images: Any, private_temp: Path, leftovers: Look
) -> None:
    seen: list[tuple[int, int]] = []
    run_many(
        [Task(tiny, images(3)), Task(tiny, images(2))], progress=lambda a, b: seen.append((a, b))
    )
    assert seen[-1] == (5, 5)
    assert [a for a, _ in seen] == sorted(a for a, _ in seen)
    assert leftovers(private_temp, os.getpid()) == []


def test_crash_in_a_process_model_surfaces_its_traceback_at_once(
    tiny: chip.ChipNetwork, images: Any, private_temp: Path, leftovers: Look
) -> None:
    folder = private_temp / "spikeproof-crash"
    place = folder / "job_000000"
    place.mkdir(parents=True)
    write_job(place, tiny, images(2), trace=False)
    np.save(place / "frames.npy", np.zeros((2, 7), np.uint8))  # the port is 16 wide
    with pytest.raises(TargetError, match="Mismatch") as caught:  # not the limit: Lava hangs on
        supervise(folder, 100.0, lambda message: None)
    assert "in run_spk" in str(caught.value)
    assert "models.py" in str(caught.value)
    shutil.rmtree(folder)  # this test's own
    assert leftovers(private_temp, os.getpid()) == []


def test_time_limit_stops_everything_and_says_where_it_was(
    tiny: chip.ChipNetwork,
    private_temp: Path,
    leftovers: Look,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(late=0, monotonic=lambda: time.monotonic() + clock.late)
    monkeypatch.setattr("spikeproof_lava.supervise.time", clock)

    def jump(*_: int) -> None:  # past the limit, once Lava has run a sample
        clock.late = 300

    x = np.zeros((100_000, 1, 4, 4), np.uint8)
    with pytest.raises(TargetError, match=r"limit of 300 s; last stage: running") as caught:
        run_many([Task(tiny, x)], timeout=300, progress=jump)
    assert "timeout=SECONDS" in str(caught.value.hint)
    assert leftovers(private_temp, os.getpid()) == []


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_killed_parent_leaves_nothing(
    name: str, long_run: Start, tmp_path: Path, leftovers: Look
) -> None:
    process = long_run()
    process.send_signal(signal.Signals[name])
    process.wait(_PATIENCE)
    assert leftovers(tmp_path, process.pid) == []


def test_ctrl_c_leaves_nothing(long_run: Start, tmp_path: Path, leftovers: Look) -> None:
    process = long_run()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=_PATIENCE)
    assert b"KeyboardInterrupt" in error
    assert leftovers(tmp_path, process.pid) == []


def test_killed_worker_is_reported(long_run: Start, tmp_path: Path, leftovers: Look) -> None:
    process = long_run()
    guard = _children(process.pid)[0]
    os.kill(_children(guard)[0], signal.SIGKILL)
    _, error = process.communicate(timeout=_PATIENCE)
    assert b"TargetError" in error
    assert b"ended unexpectedly during: running" in error
    assert leftovers(tmp_path, process.pid) == []


def test_killed_guard_takes_lava_with_it(long_run: Start, tmp_path: Path, leftovers: Look) -> None:
    process = long_run()
    os.kill(_children(process.pid)[0], signal.SIGKILL)
    _, error = process.communicate(timeout=_PATIENCE)
    assert b"TargetError" in error
    assert leftovers(tmp_path, process.pid) == []


def test_memory_of_a_guard_that_died_by_itself_is_removed(
    private_temp: Path, monkeypatch: pytest.MonkeyPatch, leftovers: Look
) -> None:
    # Stands for Lava's memory at the moment guard, worker and resource tracker are all killed.
    monkeypatch.setattr(
        "spikeproof_lava.supervise._START",
        "import sys, pathlib; pathlib.Path('/dev/shm', sys.argv[3] + '-x').touch(); sys.exit(9)",
    )
    with pytest.raises(TargetError, match="ended unexpectedly"):
        supervise(private_temp, 60.0, lambda message: None)
    assert leftovers(private_temp, os.getpid()) == []


def test_foreign_shared_memory_is_not_touched(tiny: chip.ChipNetwork, images: Any) -> None:
    from multiprocessing.shared_memory import SharedMemory

    mine = SharedMemory(create=True, size=64)
    try:
        run_many([Task(tiny, images(1))])
        assert (Path("/dev/shm") / mine.name).exists()
    finally:
        mine.close()
        mine.unlink()


def test_error_of_the_worker_keeps_its_type_and_hint(
    tiny: chip.ChipNetwork, images: Any, private_temp: Path
) -> None:
    odd = chip.DenseSynapse(np.ones((3, 32), np.int16) * 3)
    broken = chip.ChipNetwork(
        "odd",
        tiny.input_shape,
        3,
        (
            tiny.layers[0],
            chip.ChipLayer("out", (chip.Connection(odd),), tiny.layers[1].neuron, (3,)),
        ),
    )
    place = private_temp / "job_000000"
    place.mkdir()
    write_job(place, broken, images(1), trace=False)
    with pytest.raises(TargetError, match="would change 96 weight") as caught:
        supervise(private_temp, 60.0, lambda message: None)
    assert caught.value.where == "out"
    assert "even" in str(caught.value.hint)


def test_firing_readout_is_an_error(tiny: chip.ChipNetwork, images: Any) -> None:
    heavy = chip.DenseSynapse(np.full((3, 16), 254, np.int16))
    readout = chip.ReadoutNeuron(np.full(3, 4095, np.int32), 7)
    layer = chip.ChipLayer("out", (chip.Connection(heavy),), readout, (3,))
    network = chip.ChipNetwork("heavy", (1, 4, 4), 40, (layer,), "spikes")
    x = np.ones((1, 40, 1, 4, 4), np.uint8)
    with pytest.raises(RangeError, match=r"the readout fired .* first at sample 0, step"):
        run_many([Task(network, x)])


def _children(pid: int) -> list[int]:
    text = (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text()
    return [int(child) for child in text.split()]
