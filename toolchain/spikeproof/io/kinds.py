"""Tell from the first bytes of a file whether it is one of ours, and of which kind."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from spikeproof.errors import SpikeproofError
from spikeproof.io.container import header_kind

Kind = Literal[
    "bundle", "checkpoint", "training state", "trace", "ONNX model", ".net file", "report",
    "report page", "card", "drawing", "figures", "journal",
]  # fmt: skip

_MEMBER = re.compile(r"[^/]+/[suv]\.npy")
_TEXT_LIMIT = 64 << 20
_HDF5 = b"\x89HDF\r\n\x1a\n"


def is_kind(path: Path, kind: Kind) -> bool:
    """Tell whether a file is of a kind; an empty file is of every kind, for it holds nothing."""
    try:
        return path.stat().st_size == 0 or _TESTS[kind](path)
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile, SpikeproofError):
        return False


def _container(kind: str) -> Callable[[Path], bool]:
    return lambda path: header_kind(path) == kind


def _is_trace(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return bool(names) and all(_MEMBER.fullmatch(name) for name in names)


def _is_onnx(path: Path) -> bool:
    return b"spikeproof" in _start(path, 256)  # the name of the producer comes second


def _is_net(path: Path) -> bool:
    """Tell whether it is HDF5 with layers; without h5py no .net can be written either."""
    if _start(path, len(_HDF5)) != _HDF5:
        return False
    try:
        import h5py
    except ImportError:
        return False
    with h5py.File(path, "r") as file:
        return "layer" in file


def _is_page(path: Path) -> bool:
    text = _text(path)
    return text.lstrip().lower().startswith("<!doctype html") and "spikeproof" in text


def _is_card(path: Path) -> bool:
    text = _text(path)
    return text.startswith("## ") and "spikeproof" in text


def _is_drawing(path: Path) -> bool:
    return _start(path, 4) == b"<svg"


def _is_journal(path: Path) -> bool:
    return b'"format":"spikeproof journal"' in _start(path, 1 << 20).split(b"\n")[0]


def _json_with(*keys: str) -> Callable[[Path], bool]:
    def test(path: Path) -> bool:
        found = json.loads(_text(path))
        return isinstance(found, dict) and found.keys() >= {"schema", *keys}

    return test


def _start(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _text(path: Path) -> str:
    if path.stat().st_size > _TEXT_LIMIT:
        raise ValueError("too large to be ours")
    return path.read_text(encoding="utf-8")


_TESTS: dict[Kind, Callable[[Path], bool]] = {
    "bundle": _container("bundle"),
    "checkpoint": _container("checkpoint"),
    "training state": _container("training-state"),
    "trace": _is_trace,
    "ONNX model": _is_onnx,
    ".net file": _is_net,
    "report": _json_with("checks", "verdict"),
    "report page": _is_page,
    "card": _is_card,
    "drawing": _is_drawing,
    "figures": _json_with("series"),
    "journal": _is_journal,
}
