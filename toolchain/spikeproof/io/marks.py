"""Tell what a file is that we wrote and that is no container, by the mark that its writer leaves.

A user's page, drawing, note or model is none, whatever it mentions: only the exact mark counts.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from spikeproof.errors import SpikeproofError

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


def kind_of(path: Path) -> str | None:
    """Return what a file is that we wrote and that is no container; None if it is none."""
    return next((kind for kind, test in DOCUMENTS.items() if holds(path, test)), None)


def holds(path: Path, test: Callable[[Path], bool]) -> bool:
    """Run a test on a file; one that cannot be read as what the test expects does not hold."""
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


def _is_trace(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return bool(names) and all(_MEMBER.fullmatch(name) for name in names)


def _is_attack(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return {"x_adversarial.npy", "broken_by.npy", "suite.npy"} <= set(archive.namelist())


def _is_page(path: Path) -> bool:
    head = _start(path, _HEAD).decode("utf-8", "replace")
    return _PAGE.match(head) is not None or _is_old_page(path, head)


def _is_old_page(path: Path, head: str) -> bool:
    """Tell a page from before there was a mark by the report that was written beside it."""
    is_html = head.lstrip().startswith("<!doctype html>")
    return is_html and path.suffix == ".html" and _is_report(path.with_suffix(".json"))


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


def _are_faults(path: Path) -> bool:
    found = json.loads(_text(path))
    return (
        isinstance(found, dict)
        and found.get("generator") == GENERATOR
        and found.keys() >= {"schema", "faults", "seeds"}
    )


def _start(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _text(path: Path) -> str:
    if path.stat().st_size > _TEXT_LIMIT:
        raise ValueError("too large to be ours")
    return path.read_text(encoding="utf-8")


DOCUMENTS: dict[str, Callable[[Path], bool]] = {
    "trace": _is_trace,
    "attack results": _is_attack,
    "fault results": _are_faults,
    "report": _is_report,
    "report page": _is_page,
    "card": _is_card,
    "drawing": _is_drawing,
    "figures": _are_figures,
    "journal": _is_journal,
}
