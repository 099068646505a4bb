"""Stand between the user's process and Lava, and leave nothing behind whatever happens.

Its arguments are FOLDER TOKEN STATUS_FD PARENT_PID. The guard forks one worker that runs Lava in
a process group of its own and waits for one of: the worker ends, the parent says stop on the
guard's stdin, or the parent is gone. Then it kills the whole group, waits until the last
descendant is reaped, and removes this run's shared memory; if the parent is gone, also the
private folder. If the guard itself is killed, the kernel kills the worker and its children
(parent-death signal), and Python's resource tracker removes the shared memory.

Imports are few on purpose: this process must start fast and must not fail.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import time
import traceback
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
STOPPED, ABANDONED = "stopped", "abandoned"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.02
_REAP_SECONDS = 10.0


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the one that started it ends (Linux)."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def sweep(token: str) -> list[str]:
    """Unlink the shared memory and semaphores named after ``token``; return their names."""
    swept: list[str] = []
    if not SHARED_MEMORY.is_dir():
        return swept
    for pattern in (f"{token}-*", f"sem.{token}-*"):
        for path in SHARED_MEMORY.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                swept.append(path.name)
    return swept


def main(argv: list[str]) -> int:
    """Guard one worker; return the worker's exit status (negative: killed by that signal)."""
    folder, token, status_fd, parent = argv[0], argv[1], int(argv[2]), int(argv[3])
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # the parent decides; its end is noticed below
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    worker = os.fork()
    if worker == 0:
        _become_worker(folder, token, status_fd)
    with contextlib.suppress(OSError):
        os.setpgid(worker, worker)  # also set by the worker: whoever is first
    status = _watch(worker, parent)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker, signal.SIGKILL)
    _reap_all()
    sweep(token)
    if status == ABANDONED or os.getppid() != parent:
        shutil.rmtree(folder, ignore_errors=True)
    return status if isinstance(status, int) else 1


def _become_worker(folder: str, token: str, status_fd: int) -> None:
    """Run Lava in this fork and leave without returning to the guard's code."""
    code = 70
    try:
        os.setpgid(0, 0)
        die_with_parent()
        os.register_at_fork(after_in_child=die_with_parent)
        for name in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)  # whatever Lava prints goes to the captured stderr
        from spikeproof_lava.worker import main as work

        code = work(Path(folder), token, status_fd)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _watch(worker: int, parent: int) -> int | str:
    """Wait for the worker's exit status, or STOPPED by the parent, or ABANDONED by it."""
    while True:
        pid, status = os.waitpid(worker, os.WNOHANG)
        if pid == worker:
            return os.waitstatus_to_exitcode(status)
        readable, _, _ = select.select([0], [], [], _POLL_SECONDS)
        if readable:
            return STOPPED if os.read(0, 1) else ABANDONED
        if os.getppid() != parent:
            return ABANDONED


def _reap_all() -> None:
    """Wait until no descendant is left; orphans come to this process (subreaper)."""
    end = time.monotonic() + _REAP_SECONDS
    while time.monotonic() < end:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.002)


def _prctl(option: int, value: int) -> None:
    """Call prctl where it exists (Linux); elsewhere the guard's own watching must do."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(option, value, 0, 0, 0)
