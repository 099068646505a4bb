"""Write a large npz piece by piece, in any order, with memory for one piece.

Each member is a file in a folder until all pieces are there; then they become one npz whose bytes
depend only on its content, stored plainly, and the folder goes.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import DTypeLike, NDArray

from spikeproof.errors import InputError
from spikeproof.io.files import atomic_file

npy: Any = npy_format  # its functions have no types
Array = NDArray[Any]
_CHUNK = 1 << 20


class NpzWriter:
    """Arrays that share their first axis, written slice by slice.

    Args:
        folder: where the members wait; made if missing, and what it holds is kept, but for what
            lies beyond an array's end. Links in it are refused.
        members: dtype and whole shape of every array, by name.
        target: the file that was asked for, which errors name.

    Raises:
        InputError: the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        members: Mapping[str, tuple[DTypeLike, tuple[int, ...]]],
        target: Path,
    ) -> None:
        self._folder, self._target = folder, target
        self._members = {name: (np.dtype(d), shape) for name, (d, shape) in members.items()}
        self._paths = {name: folder / f"{i}.npy" for i, name in enumerate(sorted(members))}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, path in self._paths.items():
                self._open(path, self._size(name))
        except OSError as error:
            raise self._failed(error) from error

    @staticmethod
    def _open(path: Path, size: int) -> None:
        """Make a member's file if it is missing, and cut what an earlier, longer run left."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(handle).st_size > size:
                os.ftruncate(handle, size)
        finally:
            os.close(handle)

    def write(self, start: int, arrays: Mapping[str, Array]) -> None:
        """Write the slices that begin at ``start``; they are on the disk when this returns.

        Raises:
            InputError: names, types or shapes are not the announced ones; the disk is full.
        """
        if arrays.keys() != self._members.keys():
            raise InputError(f"found arrays {sorted(arrays)}, expected {sorted(self._members)}")
        for name, array in arrays.items():
            dtype, shape = self._members[name]
            inside = 0 <= start <= start + len(array) <= shape[0]
            if array.dtype != dtype or array.shape[1:] != shape[1:] or not inside:
                raise InputError(
                    f"found {array.dtype} {array.shape} at {start}, expected {dtype} {shape}",
                    where=name,
                )
            self._put(name, start, np.ascontiguousarray(array))

    def read(self, start: int, stop: int) -> dict[str, Array]:
        """Return the slices of all arrays; what was never written is short or zero."""
        found = {}
        for name, (dtype, shape) in self._members.items():
            size = self._row(name)
            with self._paths[name].open("rb") as file:
                file.seek(len(self._header(name)) + start * size)
                raw = file.read((stop - start) * size)
            rows = len(raw) // size if size else stop - start
            found[name] = np.frombuffer(raw[: rows * size], dtype).reshape(rows, *shape[1:])
        return found

    def assemble(self) -> None:
        """Write the target in one step, and remove the folder.

        Raises:
            InputError: the last piece is missing, or the disk is full; no partial file is left.
        """
        sizes = {name: self._size(name) for name in self._members}
        for name, size in sizes.items():
            found = self._paths[name].stat().st_size
            if found != size:
                raise InputError(
                    f"has {found:,} of {size:,} bytes", where=f"{self._target}: {name}"
                )
        with (
            atomic_file(self._target, sum(sizes.values())) as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
        ):
            for name in sorted(self._members):
                entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
                entry.file_size = sizes[name]
                with archive.open(entry, "w") as member, self._paths[name].open("rb") as part:
                    shutil.copyfileobj(part, member, _CHUNK)
        self.discard()

    def discard(self) -> None:
        """Remove the members, and the folder if nothing of others is in it."""
        for path in self._paths.values():
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: the rest is not ours
            self._folder.rmdir()

    def _put(self, name: str, start: int, array: Array) -> None:
        header = self._header(name)
        try:
            with self._paths[name].open("r+b") as file:
                file.write(header)
                file.seek(len(header) + start * self._row(name))
                file.write(array.data if array.size else b"")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def _size(self, name: str) -> int:
        return len(self._header(name)) + self._row(name) * self._members[name][1][0]

    def _row(self, name: str) -> int:
        dtype, shape = self._members[name]
        return int(dtype.itemsize * np.prod(shape[1:], dtype=np.int64))

    def _header(self, name: str) -> bytes:
        dtype, shape = self._members[name]
        buffer = io.BytesIO()
        fields = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(buffer, fields)
        return buffer.getvalue()

    def _failed(self, error: OSError) -> InputError:
        beside = self._folder.parent == self._target.parent
        what = "cannot be written" if beside else f"its arrays cannot be kept in {self._folder}"
        return InputError(
            f"{what}: {error.strerror or error}",
            where=str(self._target),
            hint="Free space, or choose another place.",
        )
