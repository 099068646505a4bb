"""Journals that were torn, altered, foreign, shared or written to a full disk."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spikeproof.errors import InputError
from spikeproof.jobs import journal as module
from spikeproof.jobs.items import Item
from spikeproof.jobs.journal import Journal
from spikeproof.jobs.pool import Pool
from spikeproof.jobs.runner import Runner

BASE = {"bundle": "b", "seed": 0}
ITEMS = [Item(f"item {i}", lambda shared, i: {"square": i * i}, (i,)) for i in range(3)]
WHOLE = [{"square": i * i} for i in range(3)]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: these tests write hundreds of journals and pull no plug."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def raw(tmp_path: Path) -> bytes:
    """A complete journal of three items in ``tmp_path``."""
    assert finish(tmp_path) == (WHOLE, 0)
    return (tmp_path / module.NAME).read_bytes()


def finish(folder: Path, **options: Any) -> tuple[list[Any], int]:
    """Run to the end; return the results and how many were taken from the journal."""
    with Journal(folder, BASE, **options) as journal:
        runner = Runner(Pool(), journal, 3)
        results = runner.do(ITEMS, None)
        audit = journal.audit(runner.used)
        assert audit.recorded == audit.asked == 3
        return results, runner.taken


def test_a_journal_torn_at_any_byte_goes_on_to_the_same_file(
    tmp_path: Path, raw: bytes, hasty: None
) -> None:
    path = tmp_path / module.NAME
    last = raw.rstrip(b"\n").rindex(b"\n") + 1
    for cut in range(last, len(raw) + 1):
        path.write_bytes(raw[:cut])
        results, taken = finish(tmp_path)
        assert results == WHOLE
        assert taken == (3 if cut == len(raw) else 2), cut
        again = path.read_bytes()
        assert again[:last] == raw[:last] and again.count(b"\n") == 4


def test_a_header_torn_at_any_byte_starts_afresh(tmp_path: Path, raw: bytes, hasty: None) -> None:
    path = tmp_path / module.NAME
    header = raw[: raw.index(b"\n") + 1]
    for cut in range(len(header)):
        path.write_bytes(header[:cut])
        assert finish(tmp_path) == (WHOLE, 0)


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path, raw: bytes, hasty: None) -> None:
    path = tmp_path / module.NAME
    start = raw.index(b"\n") + 1
    end = raw.index(b"\n", start) + 1
    for place in range(start, end):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        results, taken = finish(tmp_path)
        assert results == WHOLE
        assert taken < 3, f"byte {place} was changed and the record used"


def test_a_damaged_header_is_never_used(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / module.NAME
    end = raw.index(b"\n")
    for place in range(0, end, 7):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"damaged header|is no journal"):
            Journal(tmp_path, BASE)
        assert path.read_bytes() == damaged


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": {"bundle": "c", "seed": 0}}, 'another run: bundle was "b", is "c"'),
        ({"version": "9.9"}, "was written by spikeproof '"),
        ({"schema": 2}, "was written by schema 1, this is 2"),
    ],
    ids=["bundle", "version", "schema"],
)
def test_a_foreign_journal_is_refused_or_left_behind_with_a_note(
    change: Any, message: str, tmp_path: Path, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "version" in change:
        monkeypatch.setattr(module, "__version__", change["version"])
    if "schema" in change:
        monkeypatch.setattr(module, "SCHEMA", change["schema"])
    base = change.get("base", BASE)
    with pytest.raises(InputError, match=message):
        Journal(tmp_path, base)
    assert (tmp_path / module.NAME).read_bytes() == raw, "a refused journal stays as it is"
    with Journal(tmp_path, base, restart=True) as journal:
        assert journal.earlier == 0
        assert message in journal.notes[0] and "started afresh" in journal.notes[0]


@pytest.mark.parametrize("content", [b"my notes", b"my notes\n", b'{"x": 1}\n'])
@pytest.mark.parametrize("restart", [False, True])
def test_a_file_that_is_no_journal_is_left_alone(
    content: bytes, restart: bool, tmp_path: Path
) -> None:
    (tmp_path / module.NAME).write_bytes(content)
    with pytest.raises(InputError, match="is no journal"):
        Journal(tmp_path, BASE, restart=restart)
    assert (tmp_path / module.NAME).read_bytes() == content


def test_a_journal_serves_one_process_at_a_time(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from spikeproof.jobs.journal import Journal\n"
        "Journal(pathlib.Path(sys.argv[1]), {})"
    )
    with Journal(tmp_path, {}) as journal:
        journal.put("k", "item", "1", 0)
        before = journal.path.read_bytes()
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "is in use by another process" in done.stderr
        assert journal.path.read_bytes() == before
    assert Journal(tmp_path, {}).earlier == 1


@pytest.mark.parametrize("written", [0, 1, 60])
def test_a_full_disk_loses_nothing(
    written: int, tmp_path: Path, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes some bytes of the record, then no more."""
    path, left = tmp_path / module.NAME, [written]
    path.write_bytes(raw[: raw.rstrip(b"\n").rindex(b"\n") + 1])  # two of three items
    before, write = path.read_bytes(), os.write

    def full(handle: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = write(handle, data[: left[0]])
        left[0] -= count
        return count

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(InputError, match=r"No space left on device\n.*Results so far are safe"):
            finish(tmp_path)
    assert path.read_bytes() == before
    assert finish(tmp_path) == (WHOLE, 2)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be opened"):
        Journal(tmp_path / "file" / "j", BASE)
