"""A run is a list of named items; each is a pure function of small arguments.

What all items of a run need (a network, images) is passed beside them, once per process. An item
gives plain JSON, and with it arrays where JSON would be a waste. Its result goes through its JSON
text even when nothing else does, so fresh, stored and distant results are equal byte for byte.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import InputError
from spikeproof.io.files import canonical_json, sha256

Json = dict[str, Any]
Arrays = dict[str, NDArray[Any]]
Work = Callable[..., Any]
"""Called as (shared, *arguments, *payload); returns JSON, or (JSON, arrays)."""


@dataclass(frozen=True)
class Item:
    """One piece of work.

    name: unique within the run, and telling in messages. function: importable on every worker.
    depends: plain JSON; what the result depends on besides the run's base and the name.
    payload: makes more arguments just before the item is handed out (a batch of images), so that
    not all of them are in memory at once. cost: in any unit, for progress. beside: in one process,
    a second thread may do it while the first does another item; there must be memory for both.
    """

    name: str
    function: Work
    arguments: tuple[Any, ...] = ()
    depends: Any = None
    payload: Callable[[], tuple[Any, ...]] | None = None
    cost: int = 1
    beside: bool = False

    def key(self, base: str) -> str:
        """Return the hash of everything the result depends on; ``base`` is the journal's."""
        return sha256(canonical_json({"base": base, "item": self.name, "depends": self.depends}))


@dataclass(frozen=True, eq=False)
class Task:
    """An item on its way to a worker: payload made, place in the list known."""

    index: int
    name: str
    function: Work
    arguments: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Done:
    """What came back: the result as canonical JSON, its arrays, and the seconds it took."""

    index: int
    text: str
    seconds: float
    arrays: Arrays = field(default_factory=dict)


def make_task(index: int, item: Item) -> Task:
    """Make the payload of an item that is about to be handed out."""
    more = item.payload() if item.payload else ()
    return Task(index, item.name, item.function, (*item.arguments, *more))


def execute(task: Task, shared: Any) -> Done:
    """Do the work of one item.

    Raises:
        InputError: not enough memory for it; anything else as the item's function raised it.
    """
    start = time.perf_counter()
    try:
        found = task.function(shared, *task.arguments)
    except MemoryError as error:
        raise InputError(
            f"not enough memory: {error}" if str(error) else "not enough memory",
            where=task.name,
            hint="Use fewer workers, smaller batches, or a machine with more memory.",
        ) from error
    result, arrays = found if isinstance(found, tuple) else (found, {})
    text = canonical_json(plain(result))
    return Done(task.index, text, round(time.perf_counter() - start, 3), arrays)


def check_names(items: Sequence[Item]) -> None:
    """Check that no two items share a name: one would pass for the other.

    Raises:
        InputError: some do.
    """
    counts = Counter(item.name for item in items)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise InputError(f"items share the names {', '.join(twice)}", where="work")


def plain(value: Any) -> Any:
    """Turn NumPy scalars into Python numbers and NaN or infinity into None, recursively."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
