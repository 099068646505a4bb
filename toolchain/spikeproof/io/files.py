"""Write files so that a reader sees the old file or the whole new one, never half of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from spikeproof.errors import InputError


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write ``data`` to a temporary file beside ``path``, flush it to disk, then rename it.

    Raises:
        InputError: the folder is missing, not writable, or the disk is full; nothing is left.
    """
    raw = data.encode() if isinstance(data, str) else data
    with atomic_file(path, len(raw)) as file:
        file.write(raw)


@contextlib.contextmanager
def atomic_file(path: Path, size: int) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path`` that takes its place once it is written and flushed.

    Args:
        path: the file to be.
        size: bytes that will be written, for the message of an error.

    Raises:
        InputError: the folder is missing, not writable, or the disk is full; nothing is left.
    """
    partial: str | None = None
    try:
        handle, partial = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".partial"
        )
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(partial).chmod(0o666 & ~_umask())
        Path(partial).replace(path)
    except OSError as error:
        raise InputError(
            f"could not write {size:,} bytes: {error.strerror or error}",
            where=str(path),
            hint="Choose another place with -o, or free space; no partial file was left.",
        ) from error
    finally:
        if partial is not None:
            Path(partial).unlink(missing_ok=True)


def read_bytes(path: Path, limit: int = 4 << 30) -> bytes:
    """Read a whole regular file; pipes and devices may have no end, so they are refused.

    Raises:
        InputError: missing, a folder, not a regular file, unreadable, or larger than ``limit``
            bytes.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise InputError(
                "cannot be read: it is a pipe or a device, not a file", where=str(path),
                hint="Write its content to a file first.",
            )  # fmt: skip
        if found.st_size > limit:
            raise InputError(
                f"has {found.st_size:,} bytes; the limit here is {limit:,}", where=str(path)
            )
        with path.open("rb") as file:
            return file.read(found.st_size)  # no more, should it grow meanwhile
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror or error}", where=str(path), hint="Check the path."
        ) from error


def canonical_json(value: Any) -> str:
    """Serialise to JSON with sorted keys and no spaces; NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256(data: bytes | str) -> str:
    """Return the SHA-256 of bytes (or UTF-8 text) in hex."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
