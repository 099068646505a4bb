"""Keep workers busy with the items of a run, wherever they are, and take results as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice

from spikeproof.jobs.items import Done, Item, Task, make_task

_TICK_SECONDS = 1.0
Submit = Callable[[Task], "Future[Done]"]


def stream(
    items: Iterable[tuple[int, Item]],
    submit: Submit,
    window: int,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Done]:
    """Yield results in the order they are finished.

    Args:
        items: (index, item) pairs; a payload is made just before its item is handed out.
        submit: hands a task to a worker.
        window: how many are handed out at a time, so that few payloads are in memory.
        tick: called about once a second; what it raises ends the run.

    Raises:
        What an item or ``tick`` raised; results that are there already come first.
    """
    waiting, pending = iter(items), set[Future[Done]]()
    try:
        while True:
            for index, item in islice(waiting, window - len(pending)):
                pending.add(submit(make_task(index, item)))
            if not pending:
                return
            done, pending = wait(pending, _TICK_SECONDS, FIRST_COMPLETED)
            tick()
            for future in sorted(done, key=lambda ended: ended.exception() is not None):
                yield future.result()
    finally:
        for future in pending:
            future.cancel()
