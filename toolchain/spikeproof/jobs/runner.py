"""Do a list of items: take what the journal has, have the rest done, and count everything."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from spikeproof.engines.trace import Progress
from spikeproof.errors import TargetError
from spikeproof.io.files import sha256
from spikeproof.jobs.items import Arrays, Done, Item, Json, check_names
from spikeproof.jobs.journal import Journal
from spikeproof.jobs.pool import Pool
from spikeproof.text import counted

Store = Callable[[Item, Json, Arrays], None]
"""Keeps the arrays of a result, before the result itself is recorded."""
Whole = Callable[[Item, Json], bool]
"""Tells whether what was stored beside a recorded result is still there and unaltered."""


class Runner:
    """Do items through a journal and a pool.

    Args:
        pool: who does them.
        journal: where results are kept, or None.
        total: cost of all items there will be, for progress.
        progress: called with (cost done, total).
    """

    def __init__(
        self, pool: Pool, journal: Journal | None, total: int, progress: Progress | None = None
    ) -> None:
        self._pool, self._journal = pool, journal
        self._base = journal.base if journal else ""
        self._total, self._progress = total, progress
        self._cost = 0
        self.taken = 0
        self.used: dict[str, str] = {}
        self.seconds: dict[str, float] = {}

    def do(
        self,
        items: Sequence[Item],
        shared: Any,
        store: Store | None = None,
        whole: Whole | None = None,
    ) -> list[Json]:
        """Return the results of all items, in their order.

        Raises:
            InputError: two items share a name; what an item raised; the journal cannot be written.
            TargetError: workers died again and again, or results are missing at the end.
        """
        check_names(items)
        keys = [item.key(self._base) for item in items]
        found = {
            i: text for i, item in enumerate(items) if (text := self._stored(item, keys[i], whole))
        }
        self.taken += len(found)
        missing = [(i, item) for i, item in enumerate(items) if i not in found]
        for done in self._pool.run(missing, shared):
            item = items[done.index]
            if store is not None:
                store(item, json.loads(done.text), done.arrays)
            self._keep(item, keys[done.index], done)
            found[done.index] = done.text
        self._count(items, found)
        self.used |= {key: sha256(found[i]) for i, key in enumerate(keys)}
        return [json.loads(found[i]) for i in range(len(items))]

    def _stored(self, item: Item, key: str, whole: Whole | None) -> str | None:
        entry = self._journal.get(key) if self._journal else None
        if self._journal is None or entry is None:
            return None
        if whole is not None and not whole(item, json.loads(entry[0])):
            self._journal.forget(key)
            return None
        self._advance(item, entry[1])
        return entry[0]

    def _keep(self, item: Item, key: str, done: Done) -> None:
        if self._journal:
            self._journal.put(key, item.name, done.text, done.seconds)
        self._advance(item, done.seconds)

    def _advance(self, item: Item, seconds: float) -> None:
        self.seconds[item.name] = seconds
        self._cost += item.cost
        if self._progress:
            self._progress(min(self._cost, self._total), self._total)

    def _count(self, items: Sequence[Item], found: dict[int, str]) -> None:
        absent = [item.name for i, item in enumerate(items) if i not in found]
        if absent or len(found) != len(items):
            raise TargetError(
                f"{counted(len(found), 'result')} for {counted(len(items), 'item')}; "
                f"missing: {', '.join(absent[:5])}",
                where="workers",
                hint="Run the same command again.",
            )
