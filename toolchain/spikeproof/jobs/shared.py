"""What all items of a run need, sent once to each worker: packed, with its arrays beside it.

Local workers map one file, so that they share its pages; the arrays they get are ordinary ones
(a write would stay private). Distant workers get the same bytes. Nothing of this outlives the run.
"""

from __future__ import annotations

import mmap
import pickle
import struct
import threading
from pathlib import Path
from typing import Any

from spikeproof.errors import InputError
from spikeproof.jobs.journal import list_changes
from spikeproof.jobs.origin import code_identity
from spikeproof.jobs.threads import limit_process

_COUNT = struct.Struct("<Q")
_ALIGN = 64
_MUST_MATCH = ("spikeproof", "sources", "packages", "machine")

_lock = threading.Lock()
_loaded: dict[str, Any] = {}


def pack(value: Any) -> list[Any]:
    """Return byte parts that :func:`unpack` reads when they are joined; arrays are not copied."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [body, *(buffer.raw() for buffer in buffers)]
    sizes = [len(part) for part in parts]
    head = b"".join(map(_COUNT.pack, [len(parts), *sizes]))
    joined: list[Any] = [head, _fill(len(head))]
    for part, size in zip(parts, sizes, strict=True):
        joined += [part, _fill(size)]
    return joined


def unpack(data: Any) -> Any:
    """Rebuild the value over ``data``, a writable buffer that its arrays go on using."""
    view = memoryview(data)
    (count,) = _COUNT.unpack_from(view)
    sizes = [_COUNT.unpack_from(view, _COUNT.size * (i + 1))[0] for i in range(count)]
    offset = _aligned(_COUNT.size * (count + 1))
    parts = []
    for size in sizes:
        parts.append(view[offset : offset + size])
        offset += _aligned(size)
    return pickle.loads(parts[0], buffers=parts[1:])


def load_file(path: str) -> Any:
    """Return the value in a file of this run, once per process; the newest one is kept."""
    with _lock:
        if path not in _loaded:
            _loaded.clear()
            with Path(path).open("rb") as file:
                _loaded[path] = unpack(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        return _loaded[path]


def load_bytes(token: str, data: bytes, identity: dict[str, Any]) -> Any:
    """Return the value in ``data``, once per process, after a look at this process's code.

    Raises:
        InputError: this worker has other code or libraries than the process that asks.
    """
    with _lock:
        if token not in _loaded:
            _loaded.clear()
            check_code(identity)
            limit_process(1)
            _loaded[token] = unpack(bytearray(data))
        return _loaded[token]


def check_code(identity: dict[str, Any]) -> None:
    """Check that this process would compute what the asking one would.

    Raises:
        InputError: versions or sources differ; each difference is named.
    """
    here = code_identity()
    changed = list_changes(
        {k: identity.get(k) for k in _MUST_MATCH}, {k: here[k] for k in _MUST_MATCH}
    )
    if changed:
        import socket

        raise InputError(
            f"has other code than the command that uses it: {'; '.join(changed)}",
            where=f"worker on {socket.gethostname()}",
            hint="Install the same versions there ('was': the command's, 'is': the worker's).",
        )


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def _fill(size: int) -> bytes:
    return b"\0" * (_aligned(size) - size)
