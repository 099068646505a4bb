"""Items in one process and in several: same results, bounded retries, errors that name the item."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.errors import InputError, TargetError
from spikeproof.jobs import shared as packed
from spikeproof.jobs.items import Done, Item, execute, make_task, plain
from spikeproof.jobs.pool import Pool
from spikeproof.jobs.runner import Runner


def results(pool: Pool, items: list[Item], shared: Any = None, **options: Any) -> list[Any]:
    return Runner(pool, None, len(items), **options).do(items, shared)


def test_two_workers_give_what_one_gives_in_the_order_of_the_items() -> None:
    def work(shared: Any, i: int) -> Any:
        time.sleep(0.002 * (12 - i))  # the last ones are ready first
        return {"i": np.int64(i), "sum": shared["x"][i].sum() / 3, "bad": np.nan}

    shared = {"x": np.random.default_rng(0).normal(size=(12, 1000))}
    items = [Item(f"item {i}", work, (i,)) for i in range(12)]
    seen: list[tuple[int, int]] = []
    with Pool(1) as one, Pool(2) as two:
        first = results(one, items, shared)
        second = results(two, items, shared, progress=lambda a, b: seen.append((a, b)))
    assert json.dumps(first) == json.dumps(second)
    assert first[3]["i"] == 3 and first[0]["bad"] is None
    assert seen == [(i + 1, 12) for i in range(12)]


def test_a_worker_that_dies_once_costs_nothing_but_time(tmp_path: Path) -> None:
    def work(_: Any, i: int, mark: Path) -> Any:
        if i == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"i": i}

    items = [Item(f"item {i}", work, (i, tmp_path / "mark")) for i in range(6)]
    with Pool(2) as pool:
        assert results(pool, items) == [{"i": i} for i in range(6)]
    assert (tmp_path / "mark").exists()


WORKERS_AND_CTRL_C = """
import os, signal, sys
from pathlib import Path
from spikeproof.jobs.items import Item
from spikeproof.jobs.pool import Pool
from spikeproof.jobs.runner import Runner

def is_deaf():
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())

def work(_, i, mark):
    if i == 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return is_deaf()

items = [Item(f"item {i}", work, (i, Path(sys.argv[1]))) for i in range(6)]
with Pool(2) as pool:
    found = Runner(pool, None, len(items)).do(items, None)
print(found, is_deaf())
"""


def test_ctrl_c_in_a_terminal_reaches_no_worker_also_none_that_replaces_another(
    tmp_path: Path,
) -> None:
    # In a process of its own: what was started before in this one changes what joblib does.
    done = subprocess.run(
        [sys.executable, "-c", WORKERS_AND_CTRL_C, str(tmp_path / "mark")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == f"{[True] * 6} False\n"


def test_an_item_that_always_kills_its_worker_is_named() -> None:
    def work(_: Any, i: int) -> Any:
        if i == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"i": i}

    items = [Item(f"item {i}", work, (i,)) for i in range(6)]
    done: list[int] = []
    with Pool(2, retries=1) as pool, pytest.raises(TargetError, match="'item 4' died 2 times"):
        for found in pool.run(list(enumerate(items)), None):
            done.append(found.index)
    assert 4 not in done


def test_an_error_of_an_item_comes_back_as_it_was() -> None:
    def work(_: Any) -> Any:
        raise InputError("is wrong", where="x", hint="mend it")

    with Pool(2) as pool, pytest.raises(InputError, match="x: is wrong\n  -> mend it"):
        results(pool, [Item("a", work), Item("b", work)])


def test_an_error_in_making_a_payload_ends_the_run() -> None:
    def payload() -> Any:
        raise InputError("is unreadable", where="batch 7")

    items = [Item(f"{i}", dict, payload=payload if i == 7 else tuple) for i in range(9)]
    for workers in (1, 2):
        with Pool(workers) as pool, pytest.raises(InputError, match="batch 7: is unreadable"):
            results(pool, items, {})


def test_not_enough_memory_names_the_item() -> None:
    def work(_: Any) -> Any:
        raise MemoryError("Unable to allocate 9 PiB")

    with pytest.raises(InputError, match=r"big: not enough memory: Unable to allocate 9 PiB"):
        execute(make_task(0, Item("big", work)), None)


def test_missing_results_are_noticed() -> None:
    class Lossy(Pool):
        def run(self, items: Any, shared: Any) -> Any:
            return (Done(i, "{}", 0) for i, _ in items if i != 1)

    with pytest.raises(TargetError, match="2 results for 3 items; missing: b"):
        results(Lossy(), [Item(n, dict) for n in "abc"], {})


def test_payloads_are_made_one_at_a_time() -> None:
    alive: list[int] = []

    def payload(i: int) -> Any:
        alive.append(i)
        return (i,)

    def work(_: Any, i: int) -> Any:
        assert alive == list(range(i + 1))
        return i

    items = [Item(f"{i}", work, payload=lambda i=i: payload(i)) for i in range(4)]  # type: ignore[misc]
    assert results(Pool(), items) == [0, 1, 2, 3]


def test_what_is_shared_arrives_whole_and_as_ordinary_arrays(tmp_path: Path) -> None:
    value = {"a": np.arange(7, dtype=np.int16), "b": [np.ones((3, 5)), "text"], "n": None}
    path = tmp_path / "shared"
    path.write_bytes(b"".join(packed.pack(value)))
    for found in (packed.load_file(str(path)), packed.unpack(bytearray(path.read_bytes()))):
        assert type(found["a"]) is np.ndarray and found["a"].flags.writeable
        np.testing.assert_array_equal(found["a"], value["a"])
        np.testing.assert_array_equal(found["b"][0], np.ones((3, 5)))
        found["a"][0] = 99  # stays private
    assert packed.unpack(bytearray(path.read_bytes()))["a"][0] == 0


def test_a_worker_with_other_code_is_refused() -> None:
    from spikeproof.jobs.origin import code_identity

    packed.check_code(code_identity())
    other = {**code_identity(), "spikeproof": "0.0.9"}
    with pytest.raises(InputError, match=r'other code .*spikeproof was "0.0.9", is "'):
        packed.check_code(other)


@pytest.mark.parametrize(("workers", "cluster"), [(0, None), (-1, None), (2, "tcp://x:1")])
def test_impossible_pools_are_refused(workers: int, cluster: str | None) -> None:
    with pytest.raises(InputError, match="--workers"):
        Pool(workers, cluster)


def test_plain_leaves_nothing_of_numpy() -> None:
    value = {1: (np.float32(0.5), np.inf), "b": np.bool_(True)}
    assert plain(value) == {"1": [0.5, None], "b": True}
    assert type(plain(value)["1"][0]) is float
