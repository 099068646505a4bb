"""Items in this process: on this thread and, where they may run beside others, on a second one.

Libraries let go of Python's lock while they compute, and a target in processes of its own is only
waited for. This thread keeps the items that may wait: Ctrl-C reaches no other.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from spikeproof.engines.fast import usable_cores
from spikeproof.jobs.items import Done, Item, execute, make_task

Numbered = tuple[int, Item]
_TELL_AGAIN_SECONDS = 1.0


def run_here(items: Sequence[Numbered], shared: Any) -> Iterator[Done]:
    """Yield results as they come; what they are does not depend on the number of threads.

    The caller holds the threads inside libraries to one (:func:`jobs.threads.inner_threads`).
    """
    beside = deque(numbered for numbered in items if numbered[1].beside)
    own = deque(numbered for numbered in items if not numbered[1].beside)
    if usable_cores() < 2 or len(beside) < 2:
        own, beside = deque(items), deque()
    with _Helper(beside, shared) as helper:
        while (numbered := _take(own) or _take(beside)) is not None:
            yield execute(make_task(*numbered), shared)
            yield from helper.finished()
        yield from helper.rest()


def _take(items: deque[Numbered]) -> Numbered | None:
    try:
        return items.popleft()
    except IndexError:
        return None


class _Stopped(BaseException):
    """Raised in the second thread when the first one has left."""


class _Helper:
    """The second thread; it takes items as long as there are any."""

    def __init__(self, items: deque[Numbered], shared: Any) -> None:
        self._items, self._shared = items, shared
        self._found: SimpleQueue[Done | BaseException | None] = SimpleQueue()
        self._over, self._ending = False, Lock()
        self._thread = Thread(target=self._work, name="spikeproof items")

    def _work(self) -> None:
        try:
            self._do_items()
            with self._ending:
                self._over = True
        except _Stopped:
            self._over = True

    def _do_items(self) -> None:
        try:
            while (numbered := _take(self._items)) is not None:
                self._found.put(execute(make_task(*numbered), self._shared))
        except BaseException as error:
            self._found.put(error)
        self._found.put(None)

    def finished(self) -> Iterator[Done]:
        """Yield what is there.

        Raises:
            What an item raised.
        """
        try:
            while (found := self._found.get_nowait()) is not None:
                yield _result(found)
            self._found.put(None)
        except Empty:
            return

    def rest(self) -> Iterator[Done]:
        """Yield what is still to come."""
        while (found := self._found.get()) is not None:
            yield _result(found)

    def __enter__(self) -> _Helper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no thread behind: an item under way is ended at its next line of Python.

        It is told again until it ends: what is raised in a callback of C is lost.
        """
        self._items.clear()
        while self._thread.is_alive():
            with self._ending:  # never in the lines that end the thread: nobody would catch it
                if not self._over:
                    ident = ctypes.c_ulong(self._thread.ident or 0)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(_Stopped))
            self._thread.join(_TELL_AGAIN_SECONDS)


def _result(found: Done | BaseException) -> Done:
    if isinstance(found, BaseException):
        raise found
    return found
