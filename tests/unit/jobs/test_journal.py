"""The journal: what goes in comes out, for its own run only, one process at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spikeproof import __version__
from spikeproof.errors import InputError
from spikeproof.io.files import sha256
from spikeproof.jobs.items import Item
from spikeproof.jobs.journal import NAME, Journal, list_changes
from spikeproof.jobs.pool import Pool
from spikeproof.jobs.runner import Runner

BASE = {"bundle": "b" * 64, "config": {"seed": 0}}


def test_results_survive_and_the_file_only_grows(tmp_path: Path) -> None:
    with Journal(tmp_path, BASE) as journal:
        journal.put("k1", "first", '{"a":1}', 0.5)
        before = journal.path.read_bytes()
        journal.put("k2", "second", '{"b":[1.5,null,"ü"]}', 0.25)
        assert journal.path.read_bytes().startswith(before)
    with Journal(tmp_path, BASE) as again:
        assert again.earlier == 2 and again.notes == []
        assert again.get("k1") == ('{"a":1}', 0.5)
        assert again.get("k2") == ('{"b":[1.5,null,"ü"]}', 0.25)
        assert again.get("k3") is None


def test_a_journal_of_the_first_release_is_read(tmp_path: Path) -> None:
    def line(record: dict[str, Any]) -> str:
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
        sealed = {"hash": sha256(text), "length": len(text), "record": record}
        return json.dumps(sealed, sort_keys=True, separators=(",", ":")) + "\n"

    header = {
        "format": "spikeproof journal",
        "schema": 1,
        "spikeproof": __version__,
        "base": BASE,
    }
    kept = {"key": "k", "name": "item", "seconds": 2, "result": "1", "result_hash": sha256("1")}
    (tmp_path / NAME).write_text(line(header) + line(kept))
    with Journal(tmp_path, BASE) as journal:
        assert journal.base == sha256(json.dumps(header, sort_keys=True, separators=(",", ":")))
        assert journal.get("k") == ("1", 2) and journal.notes == []


def test_the_newest_of_two_results_counts_and_forgetting_makes_room_for_it(tmp_path: Path) -> None:
    with Journal(tmp_path, BASE) as journal:
        journal.put("k", "item", "1", 0)
        journal.forget("k")
        assert journal.get("k") is None
        journal.put("k", "item", "2", 0)
        assert journal.get("k") == ("2", 0)
    with Journal(tmp_path, BASE) as again:
        assert again.get("k") == ("2", 0)


def test_a_cleared_journal_is_empty_and_still_of_its_run(tmp_path: Path) -> None:
    with Journal(tmp_path, BASE) as journal:
        journal.put("k", "item", "1", 0)
        journal.clear()
        assert journal.get("k") is None
    with Journal(tmp_path, BASE) as again:
        assert again.earlier == 0 and again.notes == []


def test_the_audit_reads_the_file_anew(tmp_path: Path) -> None:
    used = {"k1": sha256("1"), "k2": sha256("2")}
    with Journal(tmp_path, BASE) as journal:
        journal.put("k1", "first", "1", 0)
        journal.put("k2", "other", "2", 0)
        assert journal.audit({**used, "k3": sha256("3")}).recorded == 2
        assert journal.audit({"k1": sha256("another result")}).recorded == 0
        assert journal.audit({}).damaged == 0
        raw = journal.path.read_bytes()
        journal.path.write_bytes(raw.replace(b"other", b"0ther"))
        audit = journal.audit(used)
        assert (audit.asked, audit.recorded, audit.damaged) == (2, 1, 1)
        assert journal.get("k2") is None, "a record that went bad later is not used either"


def test_changes_of_a_base_are_named_with_both_values() -> None:
    new = {"bundle": "c" * 64, "config": {"seed": 1}, "more": None}
    assert list_changes(BASE, new) == [
        'bundle was "bbbbbbbbbbbb…", is "cccccccccccc…"',
        "config.seed was 0, is 1",
    ]


def test_equal_names_are_refused() -> None:
    with pytest.raises(InputError, match="share the names a"):
        Runner(Pool(), None, 1).do([Item("a", dict), Item("b", dict), Item("a", dict)], {})


def test_a_result_depends_on_name_base_and_what_it_says_it_depends_on(tmp_path: Path) -> None:
    def work(shared: Any, value: int) -> dict[str, int]:
        done.append(value)
        return {"value": value}

    done: list[int] = []
    with Journal(tmp_path, BASE) as journal:
        for item in (
            Item("a", work, (1,)),
            Item("a", work, (1,)),
            Item("a", work, (2,), depends=["x"]),
            Item("b", work, (3,)),
        ):
            Runner(Pool(), journal, 1).do([item], None)
    assert done == [1, 2, 3]


def test_side_files_that_are_gone_make_an_item_again(tmp_path: Path) -> None:
    item, kept = Item("a", dict), []
    with Journal(tmp_path, BASE) as journal:
        for whole in (True, True, False):
            runner = Runner(Pool(), journal, 1)
            runner.do([item], {}, store=lambda *a: kept.append(a), whole=lambda *_, w=whole: w)  # type: ignore[misc]
    assert len(kept) == 2
