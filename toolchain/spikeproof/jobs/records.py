"""Sealed lines: one JSON object per line that tells by itself whether it is whole and unaltered.

A line holds a record, the length of its canonical JSON and the SHA-256 of that. It is read by
making it anew from what it says and comparing all bytes, so no changed bit goes unnoticed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

from spikeproof.io.files import canonical_json, sha256

Json = dict[str, Any]
START = b'{"hash":"'
"""Every sealed line begins with this."""


def seal(record: Json) -> bytes:
    """Return the line of a record, with its end."""
    text = canonical_json(record)
    sealed = {"hash": sha256(text), "length": len(text.encode()), "record": record}
    return canonical_json(sealed).encode() + b"\n"


def unseal(line: bytes) -> Json | None:
    """Return the record of a line; None if the line is damaged or incomplete."""
    try:
        record = json.loads(line)["record"]
        return record if isinstance(record, dict) and seal(record) == line else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def scan(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) from here on; the last line may lack its end."""
    offset = file.tell()
    for line in file:
        yield offset, line
        offset += len(line)
