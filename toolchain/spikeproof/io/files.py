"""Write files so that a reader sees the old file or the whole new one, never half of one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from spikeproof.errors import InputError

TEMPORARY = ".spikeproof-tmp"
"""How the names of all temporary files and folders end."""

_LONGEST_STEM = 100
"""Bytes of a name that a temporary one repeats: file systems take 255 in all."""
_OWNER = re.compile(
    r"\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)-(?P<started>\d+)-[0-9a-f]{12}" + re.escape(TEMPORARY)
)


def write_atomic(path: Path | str, data: bytes | str, shown: Path | None = None) -> None:
    """Write ``data`` to a temporary file beside ``path``, flush it to disk, then rename it.

    A symbolic link stays, and the file it leads to is written. ``shown`` is what an error names,
    where that is not the file itself.

    Raises:
        InputError: the folder is missing, not writable, or the disk is full; nothing is left.
    """
    raw = data.encode() if isinstance(data, str) else data
    with atomic_file(Path(path), len(raw), shown) as file:
        file.write(raw)


@contextlib.contextmanager
def atomic_file(path: Path, size: int, shown: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path`` that takes its place once it is written and flushed.

    Args:
        path: the file to be, or a symbolic link to it.
        size: bytes that will be written, for the message of an error.
        shown: what an error names, where that is not the file itself.

    Raises:
        InputError: the folder is missing, not writable, or the disk is full; nothing is left.
    """
    place = through_link(path)
    try:
        with temporary_beside(place) as partial:
            with _create(partial) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(place)
    except OSError as error:
        raise InputError(
            f"could not write {size:,} bytes: {error.strerror or error}",
            where=str(shown or path),
            hint="Choose another place, or free space; no partial file was left.",
        ) from error


@contextlib.contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Give the name of a file or folder beside ``path`` that nobody else uses.

    Nothing is made. What bears the name at the end is removed, also after Ctrl-C; only ``kill -9``
    leaves it, and the next run that writes to ``path`` removes it then.
    """
    remove_left_behind(path.parent, f".{path.name}")
    place = path.with_name(temporary_name(f".{path.name}"))
    try:
        yield place
    finally:
        remove_temporary(place)


@contextlib.contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """Make a private folder in the system's place for temporary files; remove it at the end.

    Raises:
        OSError: there is no room, or no such place.
    """
    parent = Path(tempfile.gettempdir())
    remove_left_behind(parent, f"spikeproof-{purpose}")
    place = parent / temporary_name(f"spikeproof-{purpose}")
    place.mkdir(mode=0o700)
    try:
        yield place
    finally:
        remove_temporary(place)


def temporary_name(stem: str) -> str:
    """Return a name used by nobody else, which tells the machine and process that made it.

    It is ``STEM.MACHINE-PROCESS-STARTED-RANDOM.spikeproof-tmp``; a long stem is cut.
    """
    owner = f"{_machine()}-{os.getpid()}-{_started(os.getpid())}"
    return f"{_shortened(stem)}.{owner}-{secrets.token_hex(6)}{TEMPORARY}"


def is_left_behind(path: Path) -> bool:
    """Tell whether ``path`` is named as a temporary one of a process of this machine that is gone.

    False for other names, for a process still running, and for one of another machine or
    container, which may still run.
    """
    found = _OWNER.search(path.name)
    if found is None or found.end() != len(path.name) or found["host"] != _machine():
        return False
    process = int(found["process"])
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's process
        pass
    except OverflowError:  # no process has such a number
        return False
    # Another start: the number was given out again. Not known (0): it may be the same.
    return _started(process) not in (0, int(found["started"]))


def left_behind(folder: Path, stem: str = "") -> list[Path]:
    """List what processes that are gone left in a folder under a temporary name.

    Args:
        folder: where to look; one that cannot be read holds nothing.
        stem: how the names begin, as given to :func:`temporary_name`.
    """
    try:
        entries = [p for p in folder.iterdir() if p.name.endswith(TEMPORARY)]
    except OSError:
        return []
    start = _shortened(stem)
    return sorted(p for p in entries if p.name.startswith(start) and is_left_behind(p))


def remove_left_behind(folder: Path, stem: str) -> None:
    """Remove what processes that are gone left in a folder; see :func:`left_behind`."""
    for path in left_behind(folder, stem):
        remove_temporary(path)


def remove_temporary(path: Path) -> None:
    """Remove a temporary file, or a folder with all it holds, as far as possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def read_bytes(path: Path | str, limit: int = 4 << 30) -> bytes:
    """Read a whole regular file; pipes and devices may have no end, so they are refused.

    Raises:
        InputError: missing, a folder, not a regular file, unreadable, or larger than ``limit``
            bytes.
    """
    return _read_regular(Path(path), limit, None)


def read_start(path: Path | str, count: int) -> bytes:
    """Read the first ``count`` bytes of a regular file of any size.

    Raises:
        InputError: missing, a folder, not a regular file, or unreadable.
    """
    return _read_regular(Path(path), None, count)


def _read_regular(path: Path, limit: int | None, count: int | None) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise InputError(
                "cannot be read: it is a pipe or a device, not a file",
                where=str(path),
                hint="Write its content to a file first.",
            )
        if limit is not None and found.st_size > limit:
            raise InputError(
                f"has {found.st_size:,} bytes; the limit here is {limit:,}", where=str(path)
            )
        with path.open("rb") as file:
            # No more than there was, should it grow meanwhile.
            return file.read(found.st_size if count is None else count)
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


def _shortened(stem: str) -> str:
    return os.fsencode(stem)[:_LONGEST_STEM].decode(errors="ignore")


def _create(path: Path) -> IO[bytes]:
    """Open a file that must not exist, readable for whom this user's files are."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "wb")


@lru_cache(maxsize=1)
def _machine() -> str:
    """Return a short name for everything that shares this process's numbers of processes.

    Machines of one name that share a folder differ in the start of their system, and whatever ran
    before this one started is gone anyway, though its files then stay.
    """
    space = boot = ""
    with contextlib.suppress(OSError):  # not Linux
        space = str(Path("/proc/self/ns/pid").readlink())
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return sha256(f"{platform.node()} {space} {boot}")[:8]


def _started(process: int) -> int:
    """Return when a process started, in ticks since the machine did; 0 where nobody knows."""
    try:
        text = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return 0
    return int(text.rpartition(b")")[2].split()[19])


def same_file(one: Path, other: Path) -> bool:
    """Tell whether two paths are one file, now or once it is written; links are followed."""
    try:
        return one.samefile(other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def through_link(path: Path) -> Path:
    """Return the file that is written under a name: where a symbolic link leads, else ``path``.

    Renaming something to a link's name would replace the link itself.
    """
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def make_folder(path: Path) -> None:
    """Make a folder and its parents.

    Raises:
        InputError: it cannot be made, or the path is a file.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot be made: {error.strerror or error}",
            where=str(path),
            hint="Choose another place.",
        ) from error


def open_locked(path: Path, shown: Path | None = None) -> int:
    """Open a file for reading and writing, making it if missing, for this process alone.

    Args:
        path: the file; folders above it are made.
        shown: what an error names, where that is not the file itself.

    Returns:
        Its descriptor; closing it, also by the end of the process, lets another one have the file.

    Raises:
        InputError: it cannot be opened or locked, or another process has it.
    """
    where = str(shown or path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise InputError(
            f"cannot be opened: {error.strerror or error}",
            where=where,
            hint="Choose another place.",
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise InputError(
                "is in use by another process",
                where=where,
                hint="Wait for it to end, or name another folder.",
            ) from error
        raise InputError(
            f"cannot be locked: {error.strerror or error}",
            where=where,
            hint="Some network file systems have no locks: name a folder on a local disk.",
        ) from error
    return handle


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep a file that is replaced as a whole to this process, by a locked one beside it.

    The lock is ``.NAME.lock`` and removed at the end; one that ``kill -9`` leaves locks nothing.

    Raises:
        InputError: another process holds it, or nothing can be locked there.
    """
    lock = path.with_name(f".{path.name}.lock")
    handle = open_locked(lock, path)
    while not _is_file(handle, lock):  # whoever held it removed it after we had opened it
        os.close(handle)
        handle = open_locked(lock, path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()
        os.close(handle)


def _is_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False
