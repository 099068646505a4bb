"""Read TOML files of strangers: every way to be malformed is one error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from spikeproof.errors import InputError
from spikeproof.io.files import read_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LIMIT_BYTES = 1 << 20
_HINT = 'Write one "key = value" a line, texts in quotes, and [sections] in brackets.'


def read_toml(path: Path | str) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: unreadable, larger than a MiB, not UTF-8, not TOML, nested too deeply, or with
            a number of thousands of digits.
    """
    raw = read_bytes(path, limit=LIMIT_BYTES)
    try:
        return parse_toml(raw.decode(), str(path))
    except UnicodeDecodeError as error:
        raise InputError(f"is not TOML: {error}", where=str(path), hint=_HINT) from error


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Read TOML from a string; raises as :func:`read_toml`."""
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise InputError("is TOML nested too deeply to be read", where=where) from error
    except ValueError as error:  # not TOML, or digits beyond what Python converts
        raise InputError(f"is not TOML: {error}", where=where, hint=_HINT) from error
