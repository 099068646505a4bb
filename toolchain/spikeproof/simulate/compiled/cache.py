"""Where compiled kernels are kept: a folder of their own for every state of their sources.

Numba asks only whether the file that defines a function has changed. Kernels are put together from
several files, so an upgrade could go on with old parts; here the folder's name holds a hash of all.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import njit
from numba.core import config

from spikeproof import fixedpoint


def kernel_hash() -> str:
    """Return a hash of everything that kernels are made from."""
    sources = [*sorted(Path(__file__).parent.glob("*.py")), Path(fixedpoint.__file__)]
    versions = f"numba {numba.__version__} llvmlite {llvmlite.__version__}".encode()
    return sha256(versions + b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def cache_folder() -> Path | None:
    """Return a writable folder for this state of the kernels, or None if there is none."""
    places = [
        Path(found) for found in (config.CACHE_DIR, os.environ.get("XDG_CACHE_HOME")) if found
    ]
    with contextlib.suppress(RuntimeError):  # no home
        places.append(Path.home() / ".cache")
    for place in places:
        folder = place / "spikeproof" / f"kernels-{kernel_hash()}"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
    return None


_folder = cache_folder()


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a kernel that releases the interpreter; keep it on disk where that is possible."""
    before = config.CACHE_DIR
    config.CACHE_DIR = str(_folder or "")
    try:
        return njit(nogil=True, cache=_folder is not None)(function)
    finally:
        config.CACHE_DIR = before
