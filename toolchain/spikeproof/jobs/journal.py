"""Keep the result of every item, so that a killed run goes on where it was.

One file of sealed lines (see :mod:`spikeproof.jobs.records`), only ever appended to; every line
is on the disk before the next item counts as done. What a killed process or a full disk left
torn at the end is cut off. A damaged record is passed over, and its item is done again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from spikeproof import __version__
from spikeproof.errors import InputError
from spikeproof.io.files import canonical_json, open_locked, sha256
from spikeproof.jobs.records import START, scan, seal, unseal

Json = dict[str, Any]
FORMAT, SCHEMA = "spikeproof journal", 1
NAME = "journal.jsonl"
_FIELDS = {"key", "name", "result", "result_hash", "seconds"}


@dataclass(frozen=True)
class Audit:
    """What a second reading of the whole file found."""

    asked: int
    recorded: int
    damaged: int


class Journal:
    """Results by key in one file, for one process at a time.

    Args:
        folder: made if missing; the file in it is ``journal.jsonl``.
        base: what every result depends on: bundle, data, settings, code. It is written into the
            header; a journal with another one is never used.
        restart: start afresh, with a note, where the file belongs to another run; else refuse.

    Raises:
        InputError: the folder or file cannot be made or read, another process uses it, it is no
            journal, or it belongs to another run and ``restart`` is false.
    """

    def __init__(self, folder: Path, base: Json, *, restart: bool = False) -> None:
        self.path = folder / NAME
        self.notes: list[str] = []
        self._header: Json = {
            "format": FORMAT,
            "schema": SCHEMA,
            "spikeproof": __version__,
            "base": base,
        }
        self.base = sha256(canonical_json(self._header))
        self._places: dict[str, tuple[int, int]] = {}
        self.earlier = 0
        self._handle = open_locked(self.path)
        try:
            self._read(restart)
        except BaseException:
            self.close()
            raise
        self.earlier = len(self._places)

    def get(self, key: str) -> tuple[str, float] | None:
        """Return a stored result's JSON text and seconds; None if there is none that is whole."""
        place = self._places.get(key)
        if place is None:
            return None
        record = _result(os.pread(self._handle, place[1], place[0]))
        if record is None or record["key"] != key:
            del self._places[key]
            return None
        return str(record["result"]), float(record["seconds"])

    def put(self, key: str, name: str, text: str, seconds: float) -> None:
        """Append a result; it is on the disk when this returns.

        Raises:
            InputError: it could not be written; what was there before is whole.
        """
        record = {
            "key": key,
            "name": name,
            "seconds": seconds,
            "result": text,
            "result_hash": sha256(text),
        }
        line = seal(record)
        self._places[key] = (self._append(line), len(line))

    def forget(self, key: str) -> None:
        """Stop using a result (its files are gone); a new one will follow it in the file."""
        self._places.pop(key, None)

    def clear(self) -> None:
        """Drop all results: nothing of an earlier run is taken over."""
        self._places, self.earlier = {}, 0
        os.ftruncate(self._handle, 0)
        self._append(seal(self._header))

    def audit(self, used: Mapping[str, str]) -> Audit:
        """Read the whole file again and count the items whose record is what was used.

        ``used``: the SHA-256 of the result that went into the report, by the item's key.
        """
        found: dict[str, str] = {}
        damaged = 0
        with self.path.open("rb") as file:
            for offset, line in scan(file):
                record = _result(line) if offset else unseal(line)
                damaged += record is None
                if offset and record is not None:
                    found[record["key"]] = record["result_hash"]
        return Audit(len(used), sum(found.get(key) == told for key, told in used.items()), damaged)

    def close(self) -> None:
        """Let another process have the file."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, restart: bool) -> None:
        """Check the header, find the records, cut off a torn end."""
        with self.path.open("rb") as file:
            first = file.readline()
            if not first.endswith(b"\n"):
                if first[: len(START)] != START[: len(first)]:
                    raise InputError("is no journal", where=str(self.path), hint=_ELSEWHERE)
                self.clear()  # nothing can stand behind a header that was never finished
                return
            problem = self._other(first)
            if problem is None:
                self._index(file)
                return
        if not restart:
            raise InputError(problem, where=str(self.path), hint=_ELSEWHERE)
        self.notes.append(f"{self.path}: {problem}; started afresh")
        self.clear()

    def _other(self, first: bytes) -> str | None:
        """Say why the file's results are not ours to use; None if they are."""
        header = unseal(first)
        if header is None or header.get("format") != FORMAT:
            if not first.startswith(START):
                raise InputError("is no journal", where=str(self.path), hint=_ELSEWHERE)
            return "has a damaged header"
        for part in ("schema", "spikeproof"):
            if header.get(part) != self._header[part]:
                return f"was written by {part} {header.get(part)!r}, this is {self._header[part]!r}"
        changed = list_changes(dict(header.get("base") or {}), dict(self._header["base"]))
        return f"belongs to another run: {'; '.join(changed)}" if changed else None

    def _index(self, file: IO[bytes]) -> None:
        damaged = 0
        for offset, line in scan(file):
            record = _result(line)
            if not line.endswith(b"\n"):
                self.notes.append(f"{self.path}: a torn last record was cut off")
                os.ftruncate(self._handle, offset)
            elif record is None:
                damaged += 1
            else:
                self._places[record["key"]] = (offset, len(line))
        if damaged:
            self.notes.append(
                f"{self.path}: {damaged} damaged record(s) ignored; their items are done again"
            )

    def _append(self, line: bytes) -> int:
        """Write at the end and flush to the disk; on an error the end is what it was."""
        start = os.lseek(self._handle, 0, os.SEEK_END)
        try:
            left = line
            while left:
                left = left[os.write(self._handle, left) :]
            os.fsync(self._handle)
        except OSError as error:
            with contextlib.suppress(OSError):  # else the torn end is cut off the next time
                os.ftruncate(self._handle, start)
            raise InputError(
                f"could not append {len(line):,} bytes: {error.strerror or error}",
                where=str(self.path),
                hint="Results so far are safe: free space and run the same command again.",
            ) from error
        return start


_ELSEWHERE = "Name another folder, or delete this journal to start afresh."


def list_changes(old: Json, new: Json, prefix: str = "") -> list[str]:
    """Name everything that differs between two bases, with both values cut to a line."""
    found = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += list_changes(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key} was {_brief(a)}, is {_brief(b)}")
    return found


def _brief(value: Any) -> str:
    text = json.dumps(value)
    if len(text) <= 20:
        return text
    return f"{text[:13]}…" + '"' * text.startswith('"')


def _result(line: bytes) -> Json | None:
    """Return the record of an item; None if it is damaged or something else."""
    record = unseal(line)
    if record is None or set(record) != _FIELDS or not isinstance(record["result"], str):
        return None
    whole = isinstance(record["seconds"], int | float) and isinstance(record["key"], str)
    return record if whole and record["result_hash"] == sha256(record["result"]) else None
