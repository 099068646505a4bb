"""A data set that is read in slices: memory is bounded by the slice, not by the set.

x stays in its file, which the operating system maps: a ``.npy`` file, a folder with ``x.npy`` and
perhaps ``y.npy``, or an ``.npz``. A member of an npz that is stored plainly is mapped in place; a
compressed one is unpacked once to a file without a name, which is gone with the process.
"""

from __future__ import annotations

import errno
import hashlib
import math
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from spikeproof.errors import InputError
from spikeproof.io.checked import as_labels, as_uint8, check_names, check_shape
from spikeproof.io.known import DataRecord, Labels, images_hash, record
from spikeproof.text import counted

npy: Any = npy_format  # its functions have no types
Array = NDArray[Any]
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_CHUNK = 1 << 20
_LABEL_BYTES = 16
"""A label takes at most that much: no type of NumPy for whole numbers is wider."""
_LIMIT_RECOGNISED = 1 << 28
"""Bytes: larger than any set we know; reading one twice would cost more than its name is worth."""
_HINT = "Write it with numpy.savez(path, x=images, y=labels); objects are refused."
_IDX_HINT = (
    "Write it as .npz: numpy.savez(path, x=read_idx(images)[:, None], y=read_idx(labels)), with "
    "read_idx from spikeproof_models.datasets."
)
_IDX = b"\0\0\x08"
"""How the files of MNIST begin, and those of sets in its form: unsigned bytes."""
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class Samples:
    """x of a data set in its file, and its labels in memory.

    input_shape: of one sample, (C, H, W), or (T, C, H, W) for spikes.
    """

    path: Path
    x: Array
    labels: NDArray[np.int64] | None
    input_shape: tuple[int, ...]
    spikes: bool

    def __len__(self) -> int:
        return len(self.x)

    def first(self, count: int | None) -> Samples:
        """Return the first samples only."""
        labels = None if self.labels is None else self.labels[:count]
        return Samples(self.path, self.x[:count], labels, self.input_shape, self.spikes)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return a slice in memory, as uint8.

        Raises:
            InputError: values out of range, or a file that has become shorter.
        """
        found = as_uint8(
            np.array(self.x[start:stop]),
            self.input_shape,
            self.path,
            spikes=self.spikes,
            which=_which(start, stop, len(self)),
        )
        if len(found) != stop - start:
            raise InputError(f"holds no samples {start} to {stop}", where=str(self.path))
        return found

    def content_hash(self) -> str:
        """Return the SHA-256 of x, as it will be run, and the labels; reads everything once."""
        digest = hashlib.sha256(f"{[len(self), *self.input_shape]}".encode())
        for part in self._slices():
            digest.update(np.ascontiguousarray(part))
        if self.labels is not None:
            digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    def describe(self) -> DataRecord:
        """Return what the samples are, recognised by content; large sets are not read for it."""
        file, count = self.path.resolve().name, len(self)
        shape = (count, *self.input_shape)
        if math.prod(shape) > _LIMIT_RECOGNISED:
            labels: Labels = "absent" if self.labels is None else "other"
            return DataRecord(file=file, samples=count, held=count, labels=labels)
        return record(images_hash(shape, self._slices()), count, self.labels, file=file)

    def _slices(self) -> Iterator[NDArray[np.uint8]]:
        step = max(1, (_CHUNK << 3) // max(1, math.prod(self.input_shape)))
        for start in range(0, len(self), step):
            yield self.read(start, min(start + step, len(self)))


def open_samples(path: Path, input_shape: tuple[int, ...], *, steps: int | None = None) -> Samples:
    """Open a data set for reading in slices.

    Args:
        path: npz with x and perhaps y, npy with x, or a folder with x.npy and perhaps y.npy.
        input_shape: expected (C, H, W).
        steps: expected number of steps for spike input (N, T, C, H, W), None for images.

    Raises:
        InputError: missing or unusable files, wrong shape or type, y that does not match. Values
            are checked when they are read.
    """
    samples = map_samples(path, input_shape, steps=steps)
    samples.read(0, 1)  # what is wrong with the first is most likely wrong with all
    return samples


def map_samples(path: Path, input_shape: tuple[int, ...], *, steps: int | None = None) -> Samples:
    """Open a data set as :func:`open_samples` does, without a look at its values."""
    expected = tuple(input_shape) if steps is None else (steps, *input_shape)
    x, y = _open(path, expected)
    check_shape(x.shape, expected, path)
    return Samples(path, x, as_labels(y, len(x), path), expected, steps is not None)


def check_labels(y: NDArray[np.int64] | None, classes: int, path: Path) -> None:
    """Check that every label is a class of the network; labels may be absent.

    Raises:
        InputError: some are not; how many, and the largest, are named.
    """
    outside = 0 if y is None else int((y >= classes).sum())
    if y is not None and outside:
        raise InputError(
            f"{outside:,} of {counted(len(y), 'label')} {'is' if outside == 1 else 'are'} no class "
            f"of this network (largest {y.max()}, first at index "
            f"{int((y >= classes).argmax())}; classes 0..{classes - 1})",
            where=f"{path}: y",
            hint="Give the labels of the data this network was trained for.",
        )


def _which(start: int, stop: int, count: int) -> str:
    """Say which samples of a file those from ``start`` to ``stop`` are; nothing for all of them."""
    if start > 0:
        return f" of samples {start + 1:,} to {stop:,}"
    if stop >= count:
        return ""
    return " of the first sample" if stop == 1 else f" of the first {stop:,} samples"


def _open(path: Path, expected: tuple[int, ...]) -> tuple[Array, Array | None]:
    try:
        if path.is_dir():
            _check_folder(path)
            labels = path / "y.npy"
            y = np.array(_map_npy(labels)) if labels.exists() else None
            return _map_npy(path / "x.npy"), y
        if not path.is_file():
            found = "is a pipe or a device, not a file" if path.exists() else "No such file"
            raise InputError(f"cannot be read: {found}", where=str(path), hint="Check the path.")
        with path.open("rb") as file:
            start = file.read(6)
        if start == b"\x93NUMPY":
            return _map_npy(path), None
        if start.startswith((_IDX, _GZIP)):
            raise _no_arrays(path, start)
        return _open_npz(path, expected)
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            raise InputError(
                f"cannot be mapped, its {path.stat().st_size:,} bytes are more than this process "
                "may address",
                where=str(path),
                hint="Raise the limit (ulimit -v), or split it.",
            ) from error
        if path.is_file() and not path.stat().st_size:
            raise InputError(
                "is an empty file", where=str(path), hint="Copy or create it again."
            ) from error
        # Nothing but the parsing of an untrusted file happens here, and zipfile and NumPy raise a
        # dozen kinds of errors (MemoryError, for a header that promises too much, is one).
        raise InputError(
            f"is not a usable .npz or .npy file: {error}", where=str(path), hint=_HINT
        ) from error


def _check_folder(path: Path) -> None:
    """Raise InputError if a folder holds no x.npy; one of IDX files is named for what it is."""
    if (path / "x.npy").exists():
        return
    if any(path.glob("*-ubyte")) or any(path.glob("*-ubyte.gz")):
        raise InputError("is a folder of IDX files", where=str(path), hint=_IDX_HINT)
    raise InputError(
        "is a folder without x.npy",
        where=str(path),
        hint="Write images to x.npy in it, labels to y.npy; or give an .npz or .npy file.",
    )


def _no_arrays(path: Path, start: bytes) -> InputError:
    """Say what an IDX file or a gzip archive is, and the way to go."""
    if start.startswith(_IDX) or path.name.endswith("-ubyte.gz"):
        return InputError("is an IDX file", where=str(path), hint=_IDX_HINT)
    return InputError("is a gzip archive", where=str(path), hint="Unpack it first.")


def _map_npy(path: Path) -> Array:
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise ValueError(f"{path.name} is a pipe or a device, not a file")
    with path.open("rb") as file:
        return _map(file, 0)


def _open_npz(path: Path, expected: tuple[int, ...]) -> tuple[Array, Array | None]:
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        names = sorted(name.removesuffix(".npy") for name in archive.namelist())
        check_names(names, path)
        entry = archive.getinfo("x.npy")
        _check_member(archive, entry, expected, path)
        x = _map_member(archive, file, entry)
        y = None
        if "y" in names:
            most = _LABEL_BYTES * len(x) + _CHUNK
            if (found := archive.getinfo("y.npy").file_size) > most:
                with archive.open("y.npy") as member:  # its header tells one-hot rows and texts
                    shape, _, dtype = _header(member)
                as_labels(np.broadcast_to(np.zeros((), dtype), shape), len(x), path)
                raise ValueError(
                    f"y unpacks to {found:,} bytes, labels of {counted(len(x), 'sample')} do not"
                )
            with archive.open("y.npy") as member:
                y = npy.read_array(member, allow_pickle=False)
        return x, y


def _check_member(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, expected: tuple[int, ...], path: Path
) -> None:
    """Check what a member says it holds, and that there is room for it, before it is unpacked.

    Raises:
        InputError: another shape, or no room. ValueError: its size is not that of its header.
    """
    with archive.open(entry) as member:
        shape, _, dtype = _header(member)
        start = member.tell()
    if dtype.hasobject:
        raise ValueError("x holds objects, not numbers")
    check_shape(shape, expected, path)
    if start + math.prod(shape) * dtype.itemsize != entry.file_size:
        raise ValueError(f"x of {shape} and {dtype} unpacks to {entry.file_size:,} bytes")
    if entry.compress_type == zipfile.ZIP_STORED:
        return
    place = tempfile.gettempdir()
    if (free := shutil.disk_usage(place).free) < entry.file_size:
        raise InputError(
            f"unpacks to {entry.file_size:,} bytes, {free:,} are free in {place}",
            where=str(path),
            hint="Set TMPDIR to a larger place, or write the file with numpy.savez, which needs no "
            "unpacking.",
        )


def _map_member(archive: zipfile.ZipFile, file: IO[bytes], entry: zipfile.ZipInfo) -> Array:
    """Map a member in place if it is stored plainly, else a copy; either way its CRC is checked."""
    stored = entry.compress_type == zipfile.ZIP_STORED
    with archive.open(entry) as member, tempfile.TemporaryFile() as copy:
        for chunk in iter(lambda: member.read(_CHUNK), b""):
            if not stored:
                copy.write(chunk)
        if not stored:
            copy.flush()
            return _map(copy, 0)
    file.seek(entry.header_offset)
    magic, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if magic != b"PK\x03\x04":
        raise ValueError("a member's header is damaged")
    return _map(file, entry.header_offset + _LOCAL_HEADER.size + name + extra)


def _map(file: IO[bytes], offset: int) -> Array:
    """Map an npy file that begins at ``offset``; a header that promises too much is an error."""
    file.seek(offset)
    shape, fortran, dtype = _header(file)
    if not shape:
        raise ValueError("holds a single number, not an array")
    if 0 in shape:
        return np.zeros(shape, dtype)
    order: Any = "F" if fortran else "C"
    return np.memmap(file, dtype, "r", file.tell(), shape, order)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, order and type off the beginning of an npy file; objects are no type of ours."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("holds objects")
    return tuple(shape), bool(fortran), np.dtype(dtype)
