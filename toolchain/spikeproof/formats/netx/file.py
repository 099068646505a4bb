"""Read the datasets of a lava-dl ``.net`` file (HDF5) within limits, as plain arrays.

A file is somebody else's input: nothing but plain arrays and short strings is read, no link is
followed out of the file, and no claim of a size is believed before the bytes are seen.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import InputError, list_problems
from spikeproof.extras import need
from spikeproof.formats.netx.storage import storage_problem
from spikeproof.io.files import read_bytes, read_start
from spikeproof.io.foreign import HDF5 as MAGIC
from spikeproof.io.foreign import NIR
from spikeproof.text import counted

if TYPE_CHECKING:
    import h5py

FORMAT = "lava-dl .net"
LIMIT_BYTES = 1 << 30
LIMIT_LAYERS = 256
LIMIT_ENTRIES = 64
"""Entries of one group: the format has about a dozen."""
LIMIT_VALUES = 1 << 26
"""Numbers in all arrays of a file together."""
LIMIT_TEXT = 64

Value = NDArray[Any] | str


@dataclass(frozen=True, eq=False)
class RawLayer:
    """One entry of ``/layer``: its index, its type, and every dataset below it by path."""

    index: int
    kind: str
    values: dict[str, Value] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Return how messages call this layer."""
        return f"layer {self.index} ({self.kind})"

    @property
    def has_neuron(self) -> bool:
        """Tell whether the layer has a neuron of its own."""
        return any(key.startswith("neuron/") for key in self.values)


@dataclass(frozen=True, eq=False)
class RawNet:
    """All layers of a file in order, and what ``/simulation`` says."""

    layers: tuple[RawLayer, ...]
    simulation: dict[str, Value]


def is_netx(path: Path) -> bool:
    """Tell from its first bytes whether a file is HDF5.

    Raises:
        InputError: missing, a folder, a pipe, or unreadable.
    """
    return read_start(path, len(MAGIC)) == MAGIC


def need_h5py(purpose: str) -> Any:
    """Return the module h5py.

    Raises:
        MissingExtraError: it is not installed; ``purpose`` says what needs it.
    """
    need("h5py", extra="netx", purpose=purpose)
    import h5py

    return h5py


def read_raw(path: Path) -> RawNet:
    """Read every layer of a file as plain arrays.

    Raises:
        InputError: not readable as such a file, beyond a limit, or holding what is no plain
            array; all such entries are named. MissingExtraError: h5py is not installed.
    """
    h5 = need_h5py(f"reading {path}")
    data = read_bytes(path, LIMIT_BYTES)
    if not data.startswith(MAGIC):
        raise InputError("is not an HDF5 file", where=str(path), hint="Expected a lava-dl .net.")
    if path.suffix.lower() == ".nir":
        raise InputError(f"is {NIR[0]}, not a lava-dl .net", where=str(path), hint=NIR[1])
    reader = _Reader(h5)
    try:
        with h5.File(io.BytesIO(data), "r") as file:
            net = _read_file(reader, file, str(path))
    except InputError:
        raise
    except Exception as error:
        # Only the parsing of an untrusted file happens here; the HDF5 library reports damage
        # through almost any type of exception.
        raise InputError(
            f"is damaged: {error}", where=str(path), hint="Copy or create it again."
        ) from error
    if reader.problems:
        raise InputError(
            list_problems(reader.problems),
            where=str(path),
            hint="Of HDF5 files, only what lava-dl's export_hdf5 writes is read: export it again.",
        )
    return net


def _read_file(reader: _Reader, file: h5py.File, where: str) -> RawNet:
    layers = reader.group(file, "layer")
    if layers is None and "node" in file:
        raise InputError(f"is {NIR[0]}, not a lava-dl .net", where=where, hint=NIR[1])
    if layers is None:
        reader.problems.append("holds no group 'layer'; a lava-dl .net has one entry per layer")
        return RawNet((), {})
    count = len(layers)
    if not 1 <= count <= LIMIT_LAYERS:
        reader.problems.append(
            f"'layer' has {counted(count, 'entry', 'entries')}, expected 1..{LIMIT_LAYERS}"
        )
        return RawNet((), {})
    found = []
    for index in range(count):
        group = reader.group(layers, str(index))
        if group is None:
            reader.problems.append(
                f"'layer' has {counted(count, 'entry', 'entries')}, but no group {index!r} in it"
            )
            continue
        values = reader.values(group, f"layer {index}")
        found.append(RawLayer(index, _kind(reader, values.pop("type", None), index), values))
    simulation = reader.group(file, "simulation")
    extra = {} if simulation is None else reader.values(simulation, "simulation")
    return RawNet(tuple(found), extra)


def _kind(reader: _Reader, value: Value | None, index: int) -> str:
    if isinstance(value, str):
        return value
    reader.problems.append(f"layer {index}: its type is no text")
    return "?"


class _Reader:
    """Collect values and everything that is wrong with the file."""

    def __init__(self, h5: Any) -> None:
        self.h5, self.problems, self._left = h5, list[str](), LIMIT_VALUES

    def group(self, parent: h5py.Group, name: str) -> h5py.Group | None:
        """Return a group that really lies in the file, or None."""
        found = self._item(parent, name, name) if name in parent else None
        return found if isinstance(found, self.h5.Group) else None

    def values(self, group: h5py.Group, where: str, depth: int = 0) -> dict[str, Value]:
        """Return all datasets of a group and of the groups in it (one level), by path."""
        if len(group) > LIMIT_ENTRIES:
            self.problems.append(f"{where}: has {len(group)} entries, the limit is {LIMIT_ENTRIES}")
            return {}
        found: dict[str, Value] = {}
        for name in group:
            label = f"{where}: {str(name)[:LIMIT_TEXT]!r}"
            item = self._item(group, name, label)
            if isinstance(item, self.h5.Dataset):
                self._keep(found, name, item, label)
            elif isinstance(item, self.h5.Group) and depth == 0:
                inner = self.values(item, label, 1)
                found.update({f"{name}/{key}": value for key, value in inner.items()})
            elif item is not None:
                self.problems.append(f"{label} is no array")
        return found

    def _item(self, group: h5py.Group, name: str, label: str) -> Any:
        link = group.get(name, getlink=True)
        if type(link) is not self.h5.HardLink:
            self.problems.append(f"{label} is a {type(link).__name__}; links are not followed")
            return None
        return group[name]

    def _keep(self, found: dict[str, Value], name: str, item: h5py.Dataset, label: str) -> None:
        problem = self._problem(item)
        if problem is not None:
            self.problems.append(f"{label} {problem}")
            return
        if self.h5.check_string_dtype(item.dtype) is None:
            self._left -= item.size
            found[name] = np.asarray(item[()])
        else:
            raw = np.asarray(item[()]).reshape(-1)[0]
            text = raw.decode("ascii") if isinstance(raw, bytes) else str(raw)
            found[name] = text.rstrip("\0")[:LIMIT_TEXT]

    def _problem(self, item: h5py.Dataset) -> str | None:
        """Return why a dataset is not read, or None."""
        if item.shape is None or item.is_virtual or item.external:
            return "has no data of its own in this file"
        if self.h5.check_string_dtype(item.dtype) is not None:
            fits = item.size == 1 and item.dtype.itemsize <= LIMIT_TEXT
            return None if fits else f"holds {item.size} texts of type {item.dtype}, expected one"
        if item.dtype.kind not in "biuf" or item.dtype.itemsize > 8:
            return f"has type {item.dtype}, expected plain numbers"
        if item.size == 0:
            return "is empty"
        if item.size > self._left:
            return f"of shape {item.shape} is too large: {LIMIT_VALUES:,} values are read in all"
        return storage_problem(item)
