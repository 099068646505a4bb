"""Items in this process: some of them on a second thread."""

from __future__ import annotations

import _thread
import sys
import threading
import time
from typing import Any

import pytest

from spikeproof.errors import InputError
from spikeproof.jobs import here
from spikeproof.jobs.items import Item
from spikeproof.jobs.pool import Pool

MAIN = threading.current_thread


def where(shared: Any, name: str) -> dict[str, Any]:
    """Wait until both threads are at an item, and tell on which this one is done."""
    shared["both"].wait(30)
    return {"name": name, "main": MAIN() is threading.main_thread()}


def numbered(*items: Item) -> list[tuple[int, Item]]:
    return list(enumerate(items))


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here, "usable_cores", lambda: 2)


def test_what_may_wait_stays_on_this_thread_while_the_rest_runs_beside_it() -> None:
    """The two items meet at a barrier: on one thread they would never pass it."""
    shared = {"both": threading.Barrier(2)}
    items = [
        Item("target", where, ("target",)),
        Item("craft 0", where, ("craft 0",), beside=True),
        Item("craft 1", lambda *_: {}, beside=True),
    ]
    done = {d.index: d.text for d in Pool().run(numbered(*items), shared)}
    assert sorted(done) == [0, 1, 2]
    assert '"main":true' in done[0]
    assert '"main":false' in done[1]


def test_items_that_may_not_run_beside_others_never_do() -> None:
    running: list[str] = []

    def alone(_: Any, name: str) -> dict[str, Any]:
        running.append(name)
        time.sleep(0.01)
        assert running == [name]
        running.remove(name)
        return {}

    items = [Item(f"{i}", alone, (f"{i}",)) for i in range(5)]
    assert len(list(here.run_here(numbered(*items), None))) == 5


def test_one_core_does_all_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here, "usable_cores", lambda: 1)
    seen = []
    items = [Item(f"{i}", lambda *_: seen.append(MAIN()) or {}, beside=True) for i in range(4)]
    list(here.run_here(numbered(*items), None))
    assert set(seen) == {threading.main_thread()}


def test_an_error_on_the_second_thread_ends_the_run_with_its_own_words() -> None:
    def fail(*_: Any) -> None:
        if MAIN() is threading.main_thread():
            time.sleep(0.05)
        raise InputError("no such image", where="item")

    items = [Item(f"{i}", fail, beside=True) for i in range(3)]
    with pytest.raises(InputError, match="no such image"):
        list(here.run_here(numbered(*items), None))
    assert not _left()


def test_ctrl_c_ends_the_second_thread_in_the_middle_of_its_item() -> None:
    started = threading.Event()

    def long(*_: Any) -> None:
        started.set()
        while True:
            time.sleep(0.001)

    def interrupt(*_: Any) -> None:
        assert started.wait(30)
        _thread.interrupt_main()
        time.sleep(30)

    items = [
        Item("target", interrupt),
        Item("craft 0", long, beside=True),
        Item("craft 1", long, beside=True),
    ]
    with pytest.raises(KeyboardInterrupt):
        list(here.run_here(numbered(*items), None))
    assert not _left()


def test_a_second_thread_whose_end_is_lost_in_a_callback_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """C can report no exception of a callback to the Python that called it."""
    monkeypatch.setattr(here, "_TELL_AGAIN_SECONDS", 0.1)
    started, ignored = threading.Event(), []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)

    class Swallows:
        def __del__(self) -> None:
            started.set()
            while True:
                time.sleep(0.001)

    def craft(*_: Any) -> None:
        Swallows()
        while True:
            time.sleep(0.001)

    def fail(*_: Any) -> None:
        assert started.wait(30)
        raise InputError("no")

    items = [Item("target", fail), *(Item(f"{i}", craft, beside=True) for i in range(2))]
    with pytest.raises(InputError):
        list(here.run_here(numbered(*items), None))
    assert not _left()
    assert len(ignored) == 1, "the first word was lost"


def test_no_item_starts_once_the_run_has_ended() -> None:
    """Not even where an item swallows what ended it."""
    started, running = [], threading.Event()

    def stubborn(_: Any, name: str) -> dict[str, Any]:
        started.append(name)
        try:
            running.set()
            for _ in range(3000):
                time.sleep(0.01)
        except BaseException:  # a library that catches everything
            return {}
        return {}

    def fail(*_: Any) -> None:
        assert running.wait(30)
        raise InputError("no")

    crafts = [Item(f"craft {i}", stubborn, (f"craft {i}",), beside=True) for i in range(3)]
    with pytest.raises(InputError):
        list(here.run_here(numbered(Item("target", fail), *crafts), None))
    assert started == ["craft 0"]
    assert not _left()


def test_the_end_of_the_second_thread_is_never_interrupted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Threads that change places as often as they can: nothing must hit its last lines."""
    items = numbered(*(Item(f"{i}", lambda *_: {}, beside=True) for i in range(2)))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(500):
            assert len(list(here.run_here(items, None))) == 2
    finally:
        sys.setswitchinterval(before)
    assert capsys.readouterr().err == ""


def _left() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "spikeproof items"]
