"""Keep the result of every piece of work, so that a killed verification goes on where it was."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spikeproof.errors import InputError
from spikeproof.io.files import canonical_json, sha256, write_atomic

Json = dict[str, Any]


class Journal:
    """Results by name in ``folder``; each is valid only for the key it was computed under.

    Args:
        folder: made if missing.
        base: what every result depends on: data, settings, code, see
            :func:`spikeproof.verify.origin.code_identity`.
    """

    def __init__(self, folder: Path, base: Json) -> None:
        """Make the folder.

        Raises:
            InputError: the folder cannot be made.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot be made: {error.strerror or error}", where=str(folder)
            ) from error
        self._folder = folder
        self._base = canonical_json(base)
        self.seconds: dict[str, float] = {}

    def do(self, name: str, work: Callable[[], Json], depends: Any = None) -> Json:
        """Return the stored result of ``name``, or do the work and store it.

        The result always comes from its JSON text, so that fresh and stored ones are equal.
        """
        key = sha256(canonical_json({"base": self._base, "item": name, "depends": depends}))
        path = self._path(name)
        stored = _read(path, key)
        if stored is None:
            start = time.perf_counter()
            result = canonical_json(work())
            seconds = round(time.perf_counter() - start, 3)
            entry: Json = {"key": key, "seconds": seconds, "hash": sha256(result), "result": result}
            write_atomic(path, canonical_json(entry))
            stored = entry
        self.seconds[name] = float(stored["seconds"])
        found: Json = json.loads(stored["result"])
        return found

    def forget(self, name: str) -> None:
        """Drop a result whose files are gone."""
        self._path(name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Drop all results: nothing of an earlier run is taken over."""
        for path in self._folder.glob("*.json"):
            path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}.json"


def _read(path: Path, key: str) -> Json | None:
    """Return a stored entry; None if it is missing, damaged, or of another key."""
    try:
        entry = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or set(entry) != {"key", "seconds", "hash", "result"}:
        return None
    whole = isinstance(entry["result"], str) and isinstance(entry["seconds"], int | float)
    if not whole or entry["key"] != key or entry["hash"] != sha256(entry["result"]):
        return None
    return entry
