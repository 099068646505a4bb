"""The one file format: safetensors with one metadata key that holds canonical JSON.

The bytes are a function of the content: tensors in safetensors' own order, JSON canonical.
The document carries the SHA-256 of every tensor and of itself, and reading a file re-makes its
bytes and compares them, so a changed byte anywhere is noticed and named. No pickle anywhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from spikeproof.errors import BundleError
from spikeproof.io.files import canonical_json, read_bytes, sha256, write_atomic
from spikeproof.io.foreign import foreign_kind
from spikeproof.io.marks import kind_of

Tensors = dict[str, np.ndarray[Any, Any]]
Json = dict[str, Any]

_KEY = "spikeproof"
_BEGINNING = b'{"__metadata__":{"spikeproof"'
"""What follows the length of the header in every file of ours."""
_HEADER_LIMIT = 64 << 20


_WAYS = {
    "checkpoint": "Give the trained network, as train or save_checkpoint writes it.",
    "bundle": "Give a bundle, as convert writes it.",
}
"""How to get a file of a kind."""
_AGAIN = "Copy or create it again."


def pack(kind: str, schema: int, document: Json, tensors: Tensors) -> bytes:
    """Serialise a document and its tensors to bytes that depend on nothing else."""
    ordered = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    body = {
        "kind": kind,
        "schema": schema,
        "document": document,
        "tensors": {name: _hash(a) for name, a in ordered.items()},
    }
    sealed = {**body, "hash": sha256(canonical_json(body))}
    return save_tensors(ordered, metadata={_KEY: canonical_json(sealed)})


def unpack(data: bytes, kind: str, schema: int, where: str) -> tuple[Json, Tensors]:
    """Read what :func:`pack` wrote and check every byte of it.

    Raises:
        BundleError: not such a file, truncated, of another kind or schema, or altered.
    """
    sealed = _read_sealed(data, where, kind)
    if sealed.get("kind") != kind:
        raise BundleError(
            f"is a {sealed.get('kind')!r} file, expected a {kind!r}",
            where=where,
            hint=_WAYS.get(kind, "Check which file is meant."),
        )
    if sealed.get("schema") != schema:
        raise BundleError(
            f"has schema version {sealed.get('schema')!r}; this release reads version {schema}",
            where=where,
            hint="Convert the checkpoint again, or use the release that wrote the file.",
        )
    tensors = _load(data, where)
    document: Json = sealed["document"]
    try:
        _check_hashes(sealed, tensors, where)
        canonical = pack(kind, schema, document, tensors)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"cannot have been written by us: {error}", where=where, hint=_AGAIN
        ) from error
    if canonical != data:
        raise _changed(" after it was written (its bytes are not canonical)", where)
    return document, tensors


def write(path: Path | str, kind: str, schema: int, document: Json, tensors: Tensors) -> None:
    """Write a container atomically."""
    write_atomic(path, pack(kind, schema, document, tensors))


def read(path: Path | str, kind: str, schema: int) -> tuple[Json, Tensors]:
    """Read and check a container (see :func:`unpack`)."""
    return unpack(read_bytes(path), kind, schema, str(path))


def sniff_kind(path: Path | str) -> str:
    """Tell what kind of container a file is, without loading its tensors into a network."""
    return str(_read_sealed(read_bytes(path), str(path)).get("kind"))


def header_kind(path: Path) -> str:
    """Tell what kind of container a file is; only its header is read.

    Raises:
        OSError: it cannot be read. ValueError, KeyError, TypeError, RecursionError: it is none.
    """
    with path.open("rb") as file:
        start = file.read(8)
        header = file.read(min(int.from_bytes(start, "little"), _HEADER_LIMIT))
    return str(_parse(start + header).get("kind"))


def content_hash(data: bytes) -> str:
    """Return the hash the file's document carries (identity of its content)."""
    return str(_read_sealed(data, "data")["hash"])


def _hash(array: np.ndarray[Any, Any]) -> str:
    return sha256(f"{array.dtype.str}{list(array.shape)}".encode() + array.tobytes())


def _read_sealed(data: bytes, where: str, wanted: str = "") -> Json:
    """Parse the header; what is none of a container is called what it is instead."""
    try:
        return _parse(data)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what, hint = _describe(data, where)
        hint = hint or _WAYS.get(wanted, "Give a checkpoint, a bundle, a recipe or a .net file.")
        raise BundleError(f"is {what}", where=where, hint=hint) from error


def _parse(data: bytes) -> Json:
    """Parse the JSON header by hand: cheap, and no tensor is touched."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 0 < length <= min(_HEADER_LIMIT, len(data) - 8):
        raise ValueError("has no whole header")
    header = json.loads(data[8 : 8 + length])
    sealed = json.loads(header["__metadata__"][_KEY], parse_constant=_refuse)
    if not isinstance(sealed, dict) or not {"hash", "document", "tensors"} <= set(sealed):
        raise ValueError("has no sealed document")
    if not isinstance(sealed["document"], dict):
        raise ValueError("has no document")
    return sealed


def _describe(data: bytes, where: str) -> tuple[str, str]:
    """Say what a file without a readable header is, and the way to go if there is one."""
    if data[8:].startswith(_BEGINNING):
        return "a damaged or truncated spikeproof file", _AGAIN
    if not data:
        return "an empty file", _AGAIN
    if (ours := kind_of(Path(where))) is not None:
        return f"a {ours} of spikeproof", ""
    return foreign_kind(data, where) or ("no spikeproof file, or a truncated one", "")


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")


def _load(data: bytes, where: str) -> Tensors:
    try:
        return load_tensors(data)
    except Exception as error:  # whatever the parser trips over, it is the file's fault
        raise BundleError(f"is damaged: {error}", where=where, hint=_AGAIN) from error


def _check_hashes(sealed: Json, tensors: Tensors, where: str) -> None:
    body = {k: v for k, v in sealed.items() if k != "hash"}
    if sealed["hash"] != sha256(canonical_json(body)):
        raise _changed(": the hash of its description does not match", where)
    expected = sealed["tensors"]
    if not isinstance(expected, dict) or set(expected) != set(tensors):
        raise _changed(": tensors were added or removed", where)
    changed = [name for name, array in tensors.items() if _hash(array) != expected[name]]
    if changed:
        raise _changed(f": tensor {', '.join(sorted(changed))}", where)


def _changed(how: str, where: str) -> BundleError:
    return BundleError(f"was changed{how}", where=where, hint=_AGAIN)
