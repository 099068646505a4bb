"""Keep compiled kernels on disk: one sealed file each, in a folder for this state of the sources.

Numba's own cache asks only whether the file that defines a function has changed, but kernels are
put together from several files. Two processes that fill it at once can give one specialisation the
code of another, and a damaged file of it ends in an exception or worse. Here the folder's name
holds a hash of all sources, every specialisation has a file of its own that appears in one step,
and a file whose hash does not fit is removed and made anew.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import njit
from numba.core import config
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from spikeproof import fixedpoint
from spikeproof.errors import InputError
from spikeproof.io.files import atomic_file, remove_temporary

_log = logging.getLogger(__name__)
_PREFIX, _SUFFIX = "kernels-", ".kernel"
_LOADER = "spikeproof kernels"
_SEAL = sha256().digest_size
_UNUSED_SECONDS = 90 * 24 * 3600.0
"""Kernels of other sources that nobody has used for so long are removed."""

_listeners: list[Callable[[], None]] = []


def kernel_hash() -> str:
    """Return a hash of everything that kernels are made from."""
    sources = [*sorted(Path(__file__).parent.glob("*.py")), Path(fixedpoint.__file__)]
    versions = f"numba {numba.__version__} llvmlite {llvmlite.__version__}".encode()
    return sha256(versions + b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def cache_places() -> list[Path]:
    """Return where kernels may be kept, in the order in which that is tried."""
    places = [
        Path(found) for found in (config.CACHE_DIR, os.environ.get("XDG_CACHE_HOME")) if found
    ]
    with contextlib.suppress(RuntimeError):  # no home
        places.append(Path.home() / ".cache")
    return places


def cache_folder() -> Path | None:
    """Return a writable folder for this state of the kernels, or None if there is none."""
    name = f"{_PREFIX}{kernel_hash()}"
    for place in cache_places():
        folder = place / "spikeproof" / name
        with contextlib.suppress(OSError):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, parents=True)
                _remove_unused(folder.parent)
            with tempfile.TemporaryFile(dir=folder):
                if _only_ours(folder):
                    return folder
    return None


def _only_ours(path: Path) -> bool:
    """Tell whether this user owns a file or folder and nobody else may write to it.

    Raises:
        FileNotFoundError: it is not there.
    """
    found = path.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _remove_unused(parent: Path) -> None:
    """Remove kernels of earlier versions, so that upgrades do not fill the disk."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _UNUSED_SECONDS:
                remove_temporary(folder)


folder = cache_folder()
"""Where this process keeps kernels; None: it compiles them for itself alone."""


@contextlib.contextmanager
def listening(compiling: Callable[[], None]) -> Iterator[None]:
    """Have ``compiling`` called whenever a kernel is compiled because none is on the disk."""
    _listeners.append(compiling)
    try:
        yield
    finally:
        _listeners.remove(compiling)


def is_filled() -> bool:
    """Tell whether any kernel is on the disk."""
    return folder is not None and any(folder.glob(f"*{_SUFFIX}"))


class KernelCache:
    """What numba asks before it compiles a specialisation of one function, and tells after."""

    def __init__(self, function: Callable[..., Any], place: Path) -> None:
        self._name, self._place = f"{function.__module__}.{function.__qualname__}", place

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return the compiled specialisation, or None if it has to be made."""
        target.refresh()
        path = self._path(signature, target.codegen())
        try:
            # The seal keeps damage out, not intent: numba's results are pickled, and unpickling
            # runs what the file says. So only this user may have written it or its folder.
            if not (_only_ours(self._place) and _only_ours(path)):
                raise ValueError("another user owns it or may write to it")
            sealed = path.read_bytes()
            if sha256(sealed[_SEAL:]).digest() != sealed[:_SEAL]:
                raise ValueError("its content does not fit its hash")
            found = CompileResult._rebuild(target, *pickle.loads(sealed[_SEAL:]))
        except FileNotFoundError:
            found = None
        except Exception as error:  # pickle and LLVM raise whatever they like
            self._discard(path, error)
            found = None
        if found is None:
            for listener in tuple(_listeners):
                listener()
        else:
            with contextlib.suppress(OSError):  # in use: nobody's upgrade shall remove it
                os.utime(self._place)
        return found

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep a specialisation; where that fails it is compiled again next time."""
        path = self._path(signature, result.codegen)
        data = dumps(result._reduce())
        try:
            with atomic_file(path, _SEAL + len(data)) as file:
                os.fchmod(file.fileno(), 0o600)  # some umasks let a group write
                file.write(sha256(data).digest() + data)
        except InputError as error:
            _log.warning("A compiled kernel could not be kept: %s", error)

    def _path(self, signature: Any, codegen: Any) -> Path:
        """Name a specialisation by the function, its types and the processor."""
        key = repr((self._name, str(signature), codegen.magic_tuple()))
        return self._place / f"{sha256(key.encode()).hexdigest()[:32]}{_SUFFIX}"

    def _discard(self, path: Path, error: Exception) -> None:
        with contextlib.suppress(OSError):
            path.unlink()
        _log.warning(
            "A compiled kernel on the disk was damaged (%s: %s); it is removed and compiled anew.",
            path,
            error,
        )


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a kernel that releases the interpreter; keep it on disk where that is possible."""
    return compiled_in(folder, function)


def dividing(function: Callable[..., Any]) -> Any:
    """Compile a kernel that divides: by zero it gives inf or nan, as NumPy does.

    Python's rule, an error, puts a branch into every loop that divides, and no vectors come of it.
    """
    return compiled_in(folder, function, error_model="numpy")


def compiled_in(
    place: Path | None, function: Callable[..., Any], error_model: str = "python"
) -> Any:
    """Compile a kernel that is kept in a certain folder, or nowhere."""
    dispatcher = njit(nogil=True, error_model=error_model)(function)
    if place is not None:
        dispatcher._cache = KernelCache(function, place)
    dispatcher.compile = _never_interrupted(dispatcher.compile)
    return dispatcher


def _never_interrupted(load: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Load or compile on a thread of its own, which Ctrl-C never reaches.

    Where it ends a thread between two lines of llvmlite, the lock on LLVM stays taken, and every
    thread that needs a kernel waits for ever. Waiting for this thread leaves nothing half-done.
    """

    def call(signature: Any) -> Any:
        if threading.current_thread().name.startswith(_LOADER):
            return load(signature)  # a kernel that another one uses
        return _loader(os.getpid()).submit(load, signature).result()

    return call


@lru_cache(maxsize=1)
def _loader(process: int) -> ThreadPoolExecutor:
    """Return the thread that loads; a new one in another process, which inherits none."""
    return ThreadPoolExecutor(1, _LOADER)


def inner(function: Callable[..., Any]) -> Any:
    """Compile a part of kernels, which only they call: no way in from Python, no file.

    It divides as in :func:`dividing`.
    """
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy"}
    return njit(nogil=True, **options)(function)
