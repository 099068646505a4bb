"""Keep the result of every item, so that a killed run goes on where it was.

One file of sealed lines, only ever appended to; every line is on the disk before the next item
counts as done. A line holds a record, the length of its canonical JSON and the SHA-256 of that; it
is read by making it anew from what it says and comparing all bytes, so no changed bit goes
unnoticed. What a killed process or a full disk left torn at the end is cut off. A damaged record is
passed over, and its item is done again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, model_validator

from spikeproof import __version__
from spikeproof.document.values import Figure, Json, Record, dump
from spikeproof.errors import InputError
from spikeproof.io.files import canonical_json, open_locked, sha256
from spikeproof.text import counted

SCHEMA = 1
NAME = "journal.jsonl"
_START = b'{"hash":"'
"""How every sealed line begins."""
_ELSEWHERE = "Name another folder, or delete this journal to start afresh."


class Header(Record):
    """The first record: what wrote the journal, and all that its results depend on.

    Headers of other schemas are read as far as it takes to name them.
    """

    model_config = ConfigDict(extra="allow")

    format: Literal["spikeproof journal"]
    schema_version: Any = Field(validation_alias="schema", serialization_alias="schema")
    spikeproof: Any
    base: Json


class Entry(Record):
    """The result of one item, as canonical JSON, and the seconds it took."""

    key: str
    name: str
    seconds: Figure
    result: str
    result_hash: str

    @model_validator(mode="after")
    def _hashed(self) -> Entry:
        if self.result_hash != sha256(self.result):
            raise ValueError("the result is not the one that was hashed")
        return self


LineT = TypeVar("LineT", Header, Entry)


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
        self._header = Header(
            format="spikeproof journal", schema_version=SCHEMA, spikeproof=__version__, base=base
        )
        self.base = sha256(canonical_json(dump(self._header)))
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
        entry = _unseal(os.pread(self._handle, place[1], place[0]), Entry)
        if entry is None or entry.key != key:
            del self._places[key]
            return None
        return entry.result, float(entry.seconds)

    def put(self, key: str, name: str, text: str, seconds: float) -> None:
        """Append a result; it is on the disk when this returns.

        Raises:
            InputError: it could not be written; what was there before is whole.
        """
        line = _seal(
            Entry(key=key, name=name, seconds=seconds, result=text, result_hash=sha256(text))
        )
        self._places[key] = (self._append(line), len(line))

    def forget(self, key: str) -> None:
        """Stop using a result (its files are gone); a new one will follow it in the file."""
        self._places.pop(key, None)

    def clear(self) -> None:
        """Drop all results: nothing of an earlier run is taken over."""
        self._places, self.earlier = {}, 0
        os.ftruncate(self._handle, 0)
        self._append(_seal(self._header))

    def audit(self, used: Mapping[str, str]) -> Audit:
        """Read the whole file again and count the items whose record is what was used.

        ``used``: the SHA-256 of the result that went into the report, by the item's key.
        """
        found: dict[str, str] = {}
        with self.path.open("rb") as file:
            damaged: int = _unseal(file.readline(), Header) is None
            for _, line in _scan(file):
                if entry := _unseal(line, Entry):
                    found[entry.key] = entry.result_hash
                else:
                    damaged += 1
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
                if first[: len(_START)] != _START[: len(first)]:
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
        header = _unseal(first, Header)
        if header is None:
            if not first.startswith(_START):
                raise InputError("is no journal", where=str(self.path), hint=_ELSEWHERE)
            return "has a damaged header"
        old, new = dump(header), dump(self._header)
        for part in ("schema", "spikeproof"):
            if old[part] != new[part]:
                return f"was written by {part} {old[part]!r}, this is {new[part]!r}"
        before, now = header.base, self._header.base
        if before.get("samples") != now.get("samples"):  # the hash of the data follows from it
            before, now = ({k: v for k, v in b.items() if k != "data"} for b in (before, now))
        changed = list_changes(before, now)
        return f"belongs to another run: {'; '.join(changed)}" if changed else None

    def _index(self, file: IO[bytes]) -> None:
        damaged = 0
        for offset, line in _scan(file):
            entry = _unseal(line, Entry)
            if not line.endswith(b"\n"):
                self.notes.append(f"{self.path}: a torn last record was cut off")
                os.ftruncate(self._handle, offset)
            elif entry is None:
                damaged += 1
            else:
                self._places[entry.key] = (offset, len(line))
        if damaged:
            self.notes.append(
                f"{self.path}: {counted(damaged, 'damaged record')} ignored; what was in "
                f"{'it' if damaged == 1 else 'them'} is done again"
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


def _seal(record: Header | Entry) -> bytes:
    """Return the line of a record, with its end."""
    text = canonical_json(plain := dump(record))
    sealed = {"hash": sha256(text), "length": len(text.encode()), "record": plain}
    return canonical_json(sealed).encode() + b"\n"


def _unseal(line: bytes, kind: type[LineT]) -> LineT | None:
    """Return the record of a line; None if it is damaged, incomplete or of another kind."""
    try:
        record = kind.model_validate(json.loads(line)["record"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return record if _seal(record) == line else None


def _scan(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) from here on; the last line may lack its end."""
    offset = file.tell()
    for line in file:
        yield offset, line
        offset += len(line)


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
