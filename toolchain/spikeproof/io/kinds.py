"""Tell whether a file is of a kind that we write: a container, a document or an export."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from spikeproof.io.container import header_kind
from spikeproof.io.formats import EXPORTERS
from spikeproof.io.marks import DOCUMENTS, holds

Kind = str
"""A name in ``_TESTS``, or the kind of an exporter."""


def is_kind(path: Path, kind: Kind) -> bool:
    """Tell whether a file is of a kind; an empty file is of every kind, for it holds nothing."""
    return holds(path, lambda found: found.stat().st_size == 0 or _test(kind)(found))


def in_the_way(path: Path, kind: Kind, *, force: bool, told: str) -> str | None:
    """Say what stands where a file of a kind is to be written; None: nothing, or one of its kind.

    Args:
        path: the place.
        kind: what will be written there.
        force: accept a file of another kind.
        told: how the user says so, for the message.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    if stat.S_ISDIR(mode):
        return "is a folder"
    if not stat.S_ISREG(mode):
        return "is a pipe or a device, not a file"
    if not force and not is_kind(path, kind):
        return f"exists and is no {kind}; {told} replaces it"
    return None


def _test(kind: Kind) -> Callable[[Path], bool]:
    if kind in _TESTS:
        return _TESTS[kind]
    return next(e.recognises for e in EXPORTERS.all().values() if e.kind == kind)


def _container(kind: str) -> Callable[[Path], bool]:
    return lambda path: header_kind(path) == kind


_TESTS = {
    "bundle": _container("bundle"),
    "checkpoint": _container("checkpoint"),
    "training state": _container("training-state"),
    **DOCUMENTS,
}
