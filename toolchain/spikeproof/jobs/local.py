"""Items in several processes of this machine, loky's (it comes with joblib).

A worker that dies (killed, out of memory, a crash in a library) takes the whole group of loky's
processes with it. Every worker leaves a mark while it is at an item, so afterwards the suspects
are known; they are repeated one at a time, and the one that keeps killing its worker is named.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from spikeproof.engines.fast import usable_cores
from spikeproof.errors import InputError, TargetError
from spikeproof.io.files import temporary_folder
from spikeproof.jobs.items import Done, Item, Task, execute
from spikeproof.jobs.shared import load_file, pack
from spikeproof.jobs.stream import stream
from spikeproof.jobs.threads import limit_process
from spikeproof.text import counted

_WATCH_SECONDS = 1.0
_AHEAD = 2
"""Tasks per worker that are handed out, so that none waits for the next one."""


class LocalProcesses:
    """Do items in processes of this machine.

    Args:
        workers: how many, 2 or more.
        retries: how often an item whose worker died is tried again.
        inner_threads: threads of the libraries in each; default: the cores shared out evenly.
    """

    def __init__(self, workers: int, retries: int, inner_threads: int | None) -> None:
        self._workers, self._retries = workers, retries
        self._inner = inner_threads or max(1, usable_cores() // workers)
        self._deaths: Counter[int] = Counter()

    def run(self, items: Sequence[tuple[int, Item]], shared: Any) -> Iterator[Done]:
        """Yield results as they come.

        Raises:
            TargetError: an item killed its worker again and again, or workers die before any
                item. InputError: no room for what all items share.
        """
        missing, suspects = dict(items), list[int]()
        self._deaths.clear()
        with _shared_file(shared) as path:
            while missing:
                chosen = suspects[:1] or list(missing)
                try:
                    for done in self._parallel([(i, missing[i]) for i in chosen], path):
                        missing.pop(done.index)
                        yield done
                except BrokenProcessPool as error:
                    self._blame(path, missing, error)
                suspects = [i for i in self._deaths if i in missing]

    def _blame(self, path: Path, missing: dict[int, Item], error: Exception) -> None:
        """Count a death against the items that were under way."""
        marks = [int(mark.name) for mark in _marks(path).iterdir()]
        for index in [i for i in marks if i in missing] or [-1]:
            self._deaths[index] += 1
        for mark in _marks(path).iterdir():
            mark.unlink()
        index, count = self._deaths.most_common(1)[0]
        if count > self._retries:
            who = f"the worker of item {missing[index].name!r}" if index >= 0 else "a worker"
            raise TargetError(
                f"{who} died {counted(count, 'time')}: {str(error).splitlines()[0]}",
                where="workers",
                hint="Often too little memory: use fewer workers, or --workers 1 to see the error.",
            ) from error

    def _parallel(self, items: list[tuple[int, Item]], path: Path) -> Iterator[Done]:
        from joblib.externals.loky import get_reusable_executor

        executor = get_reusable_executor(
            self._workers, timeout=None, initializer=_start, initargs=(os.getpid(), self._inner)
        )

        def submit(task: Task) -> Future[Done]:
            with children_without_ctrl_c():
                handed: Future[Done] = executor.submit(_in_worker, task, str(path))
            return handed

        return stream(items, submit, _AHEAD * self._workers)

    def close(self) -> None:
        """End the processes."""
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


@contextlib.contextmanager
def _shared_file(shared: Any) -> Iterator[Path]:
    """Put what all items share in a file of a private folder, with room for marks beside it."""
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(temporary_folder("workers")) / "shared"
            _marks(path).mkdir()
            with path.open("wb") as file:
                for part in pack(shared):
                    file.write(part)
        except OSError as error:
            raise InputError(
                f"no room for what the workers share: {error.strerror or error}",
                where=tempfile.gettempdir(),
                hint="Free space, or set TMPDIR to another place.",
            ) from error
        yield path


@contextlib.contextmanager
def children_without_ctrl_c() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach; it waits for the end of the block here.

    A terminal sends it to all processes of a command. Only the first is to end: it ends the others,
    while a worker that is just starting would print a traceback of its own.
    """
    resource_tracker.ensure_running()  # now: starting it later would let the signal in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _marks(path: Path) -> Path:
    return path.with_name("running")


def _in_worker(task: Task, path: str) -> Done:
    """Do one item in a worker, with a mark that tells who was at it should the worker die."""
    mark = _marks(Path(path)) / str(task.index)
    mark.touch()
    try:
        return execute(task, load_file(path))
    finally:
        mark.unlink(missing_ok=True)


def _start(parent: int, threads: int) -> None:
    """Begin a worker, which ends with its parent: a killed run leaves no processes behind."""
    limit_process(threads)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
