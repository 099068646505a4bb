"""Start the guarded worker, follow it, and end it: on success, error, time limit or Ctrl-C.

What this leaves behind in every case: no process, no shared memory, no temporary folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from spikeproof import errors
from spikeproof_lava.guard import SHARED_MEMORY, sweep

Message = dict[str, Any]

# The worker must import the very files this process does, so it takes over the search path.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from spikeproof_lava.guard import main; sys.exit(abs(main(sys.argv[2:])))"
)
_STOP_SECONDS = 15.0
_TAIL_CHARACTERS = 2000
_READ_SIZE = 65536
_NEEDED_SHARED = 1 << 20
_REFUSALS = (
    ("Errno 28]", "no space is left on the device", "Free some, or set TMPDIR to another place."),
    (
        "Errno 24]",
        "this process may open no more files: Lava opens some for every connection",
        "Raise the limit: ulimit -n 4096.",
    ),
    (
        "Errno 11]",
        "the system may start no more processes: Lava starts one for every layer",
        "Raise the limit: ulimit -u.",
    ),
    ("Errno 12]", "out of memory", "Run fewer samples, or without a trace."),
    ("MemoryError", "out of memory", "Run fewer samples, or without a trace."),
)
"""What stands in an error's text, what it means, what to do."""


@dataclass
class Worker:
    """A running guard: its process, the pipe it reports on, and what it printed."""

    process: subprocess.Popen[bytes]
    status: int
    log: IO[bytes]
    token: str
    pending: bytes = b""
    stage: str = field(default="starting")


def supervise(folder: Path, timeout: float, on_message: Callable[[Message], None]) -> None:
    """Run the jobs in ``folder`` to the end, passing each message on.

    Raises:
        TargetError: the worker failed (with its traceback), died, or exceeded ``timeout`` seconds.
        SpikeproofError: what the worker itself raised, with its own words.
    """
    worker = _start(folder)
    try:
        for message in _messages(worker, time.monotonic() + timeout, timeout):
            if message.get("error"):
                raise _error_of(folder)
            if message.get("done"):
                return
            on_message(message)
        raise _died(worker)
    finally:
        _stop(worker)


def _start(folder: Path) -> Worker:
    """Start the guard in a session of its own, so that Ctrl-C reaches only this process."""
    token = f"spkp{os.getpid():x}-{secrets.token_hex(4)}"
    reader, writer = os.pipe()
    log = (folder / "log").open("w+b")
    try:
        paths = json.dumps([p for p in sys.path if p])
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _START,
                paths,
                str(folder),
                token,
                str(writer),
                str(os.getpid()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd=folder,
            env=_environment(),
            pass_fds=(writer,),
            start_new_session=True,
        )
    except BaseException:
        os.close(reader)
        log.close()
        raise
    finally:
        os.close(writer)
    return Worker(process, reader, log, token)


def _environment() -> dict[str, str]:
    """Keep each of Lava's many processes on one core, and its warnings to itself."""
    quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return {**os.environ, **quiet}


def _messages(worker: Worker, deadline: float, timeout: float) -> Iterator[Message]:
    """Yield messages until the pipe ends; raise TargetError at the deadline."""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            # A process that died of what the system refused is waited for.
            raise _refused("", f"Lava, {worker.stage}") or errors.TargetError(
                f"took longer than the limit of {timeout:g} s; last stage: {worker.stage}",
                where="Lava",
                hint="Run fewer samples. In Python, run(..., timeout=SECONDS) sets another limit.",
            )
        readable, _, _ = select.select([worker.status], [], [], min(left, 1.0))
        if not readable:
            continue
        data = os.read(worker.status, _READ_SIZE)
        if not data:
            return
        *lines, worker.pending = (worker.pending + data).split(b"\n")
        for line in lines:
            message: Message = json.loads(line)
            worker.stage = message.get("stage", worker.stage)
            yield message


def _stop(worker: Worker) -> None:
    """Tell the guard to kill Lava and clean up; then make sure it did."""
    line = worker.process.stdin
    try:
        if line is not None:
            with contextlib.suppress(BrokenPipeError), line:
                line.write(b"q")
        worker.process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _kill(worker)
    except BaseException:  # a second Ctrl-C: nothing may stay behind all the same
        _kill(worker)
        raise
    finally:
        os.close(worker.status)
        worker.log.close()
        sweep(worker.token)  # the guard has done so, unless it died by itself


def _kill(worker: Worker) -> None:
    """End a guard that does not answer; the kernel then kills the worker and its children."""
    worker.process.kill()
    worker.process.wait()


def _error_of(folder: Path) -> errors.SpikeproofError:
    """Turn the worker's error file into an exception of this process."""
    found = json.loads((folder / "error.json").read_text())
    if found["known"]:
        kind = getattr(errors, found["type"], errors.TargetError)
        error: errors.SpikeproofError = kind(
            found["what"], where=found["where"], hint=found["hint"]
        )
        return error
    refused = _refused(f"{found['what']}\n{found['traceback']}", "a Lava process")
    return refused or errors.TargetError(
        f"{found['type']}: {found['what']}\n{found['traceback'].rstrip()}",
        where="a Lava process",
        hint="This is a defect, of Lava or of spikeproof: please report it with this text.",
    )


def _died(worker: Worker) -> errors.TargetError:
    """Describe a worker that ended without a word (killed, out of memory)."""
    worker.log.seek(0)
    tail = worker.log.read().decode(errors="replace")[-_TAIL_CHARACTERS:].strip()
    return _refused(tail, f"Lava, {worker.stage}") or errors.TargetError(
        f"the Lava process ended unexpectedly during: {worker.stage}"
        + (f"\n{tail}" if tail else ""),
        where="Lava",
        hint="Often memory: run fewer samples, or without a trace.",
    )


def _refused(text: str, where: str) -> errors.TargetError | None:
    """Find what the system refused in an error's text; return it in words, with what to do.

    Full shared memory shows as the death by SIGBUS of the process that first touched a page, so
    the place itself is looked at, too.
    """
    full = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free < _NEEDED_SHARED
    if full and ("Errno 28]" in text or "SIGBUS" in text or "Bus error" in text or not text):
        return errors.TargetError(
            f"{SHARED_MEMORY} is full: Lava's processes talk through it",
            where=where,
            hint=f"Remove what others left in {SHARED_MEMORY}, or make it larger (docker run "
            "--shm-size=1g).",
        )
    refusals = (
        errors.TargetError(what, where=where, hint=hint)
        for sign, what, hint in _REFUSALS
        if sign in text
    )
    return next(refusals, None)
