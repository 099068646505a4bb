"""Tell whether a file is one of ours, and of which kind, by the mark that its writer leaves.

A user's page, drawing, note or model is none, whatever it mentions: only the exact mark counts.
"""

from __future__ import annotations

import json
import re
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

from spikeproof.errors import SpikeproofError
from spikeproof.io.container import header_kind
from spikeproof.io.formats import EXPORTERS

Kind = str
"""A name among those at the end of this file, or the kind of an exporter."""

PAGE_MARK = '<meta name="generator" content="spikeproof">'
"""Stands in the head of a report page."""
CARD_MARK, CARD_END = "<!-- spikeproof card -->\n", "<!-- end of spikeproof card -->\n"
"""First and last line of a card: with a user's words before or after them it is the user's."""
DRAWING_MARK = "<!-- spikeproof drawing -->\n"
GENERATOR = "spikeproof"
"""What stands under "generator" in figures (JSON) and as an attribute of a .net file (HDF5)."""

_PAGE = re.compile(r"\s*<!doctype html>(?:(?!</head|<body|<script|<!--).)*?" + PAGE_MARK, re.S)
_HEAD = 4096
_MEMBER = re.compile(r"[^/]+/[suv]\.npy")
_TEXT_LIMIT = 64 << 20


def is_kind(path: Path, kind: Kind) -> bool:
    """Tell whether a file is of a kind; an empty file is of every kind, for it holds nothing."""
    return _holds(path, lambda found: found.stat().st_size == 0 or _test(kind)(found))


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


def kind_of(path: Path) -> Kind | None:
    """Return what a file is that we wrote and that is no container; None if it is none."""
    return next((kind for kind, test in _DOCUMENTS.items() if _holds(path, test)), None)


def _holds(path: Path, test: Callable[[Path], bool]) -> bool:
    try:
        return test(path)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
        zipfile.BadZipFile,
        SpikeproofError,
    ):
        return False


def _test(kind: Kind) -> Callable[[Path], bool]:
    if kind in _TESTS:
        return _TESTS[kind]
    return next(e.recognises for e in EXPORTERS.all().values() if e.kind == kind)


def _container(kind: str) -> Callable[[Path], bool]:
    return lambda path: header_kind(path) == kind


def _is_trace(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return bool(names) and all(_MEMBER.fullmatch(name) for name in names)


def _is_page(path: Path) -> bool:
    return _PAGE.match(_start(path, _HEAD).decode("utf-8", "replace")) is not None


def _is_card(path: Path) -> bool:
    text = _text(path)
    return text.startswith(CARD_MARK) and text.endswith(CARD_END) and text.count(CARD_END) == 1


def _is_drawing(path: Path) -> bool:
    mark = f"{DRAWING_MARK}<svg".encode()
    return _start(path, len(mark)) == mark


def _is_journal(path: Path) -> bool:
    return b'"format":"spikeproof journal"' in _start(path, 1 << 20).split(b"\n")[0]


def _is_report(path: Path) -> bool:
    found = json.loads(_text(path))
    return (
        isinstance(found, dict)
        and found.keys() >= {"schema", "checks", "verdict"}
        and "spikeproof" in found["provenance"]
    )


def _are_figures(path: Path) -> bool:
    found = json.loads(_text(path))
    return isinstance(found, dict) and found.get("generator") == GENERATOR and "series" in found


def _start(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _text(path: Path) -> str:
    if path.stat().st_size > _TEXT_LIMIT:
        raise ValueError("too large to be ours")
    return path.read_text(encoding="utf-8")


_DOCUMENTS: dict[Kind, Callable[[Path], bool]] = {
    "trace": _is_trace,
    "report": _is_report,
    "report page": _is_page,
    "card": _is_card,
    "drawing": _is_drawing,
    "figures": _are_figures,
    "journal": _is_journal,
}
_TESTS = {
    "bundle": _container("bundle"),
    "checkpoint": _container("checkpoint"),
    "training state": _container("training-state"),
    **_DOCUMENTS,
}
