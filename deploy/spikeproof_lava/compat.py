"""Make Lava 0.10.0 importable and safe to run on Python 3.10 to 3.13, without touching its files.

Called in the child process only, before Lava's first import. The user's own process is never
patched. What is done, and why, in the order of :func:`prepare`:

1. NumPy 2.4 removed a keyword that Lava's virtual ports use; a connection that reshapes then
   hangs instead of failing. Refused with a message.
2. On Python 3.11 and later Lava's import fails, because instances of one plain dataclass,
   ``ByteEncoder``, are used as defaults of dataclass fields and have no hash. Only that class
   gets one.
3. Shared memory and semaphores get a name prefix of this run, so that a sweep can never
   touch another program's.
"""

from __future__ import annotations

import dataclasses
import multiprocessing.process
import multiprocessing.shared_memory
import re
import sys
from typing import Any

from spikeproof.errors import MissingExtraError, TargetError
from spikeproof.extras import install_command, version_of

NUMPY_CEILING = (2, 4)
LAVA_VERSION = "0.10.0"
_SHIMMED = ("lava.magma.compiler.var_model", "ByteEncoder")
_NAME_LENGTH = 40


def prepare(token: str) -> None:
    """Do everything Lava needs before its first import; ``token`` marks this run's resources.

    Raises:
        TargetError: NumPy is too new for Lava. MissingExtraError: Lava is not installed.
    """
    import numpy

    check_numpy(numpy.__version__)
    check_installed()
    if sys.version_info >= (3, 11):
        make_byte_encoder_hashable()
    name_resources(token)


def check_numpy(found: str) -> None:
    """Raise TargetError if this NumPy would make Lava's reshaping connections hang."""
    numbers = tuple(int(n) for n in re.findall(r"\d+", found)[:2])
    if numbers >= NUMPY_CEILING:
        raise TargetError(
            f"NumPy {found} makes Lava {LAVA_VERSION} hang (np.reshape lost a keyword Lava uses); "
            "the newest that works is 2.3",
            where="Lava",
            hint=f"Install an older one: {install_command('lava')}",
        )


def installed_version() -> str | None:
    """Return the version of the installed lava-nc, or None; nothing of Lava is imported."""
    return version_of("lava-nc")


def check_installed() -> None:
    """Raise MissingExtraError, with how to install it, if Lava is absent."""
    if installed_version() is None:
        raise MissingExtraError(
            "Lava (the package lava-nc) is not installed in this environment",
            where="engine lava",
            hint=f"Install: {install_command('lava')}",
        )


def make_byte_encoder_hashable() -> None:
    """Wrap ``dataclasses.dataclass`` so that Lava's ``ByteEncoder``, and only it, has a hash.

    Must run before Lava's first import. The class has no fields that change, so hashing by
    identity is right.
    """
    original = dataclasses.dataclass

    def dataclass(cls: type[Any] | None = None, /, **options: Any) -> Any:
        if cls is None:
            return lambda c: _hashable(original(**options)(c))
        return _hashable(original(cls, **options))

    module: Any = dataclasses
    module.dataclass = dataclass


def _hashable(cls: Any) -> Any:
    if (cls.__module__, cls.__name__) == _SHIMMED and cls.__hash__ is None:
        cls.__hash__ = object.__hash__
    return cls


def name_resources(token: str) -> None:
    """Prefix the names of all shared memory and semaphores this process will create.

    Two private names of the standard library are set; both exist in Python 3.8 to 3.14.

    Raises:
        TargetError: this Python has no such names, so leftovers could not be told apart.
    """
    memory: Any = multiprocessing.shared_memory
    config: Any = multiprocessing.process.current_process()
    if not (hasattr(memory, "_SHM_NAME_PREFIX") and "semprefix" in config._config):
        raise TargetError(
            "this Python version names shared memory in a way spikeproof does not know",
            where=f"Python {sys.version.split()[0]}",
            hint="Use Python 3.10 to 3.13.",
        )
    memory._SHM_NAME_PREFIX = f"/{token}-"
    memory._SHM_SAFE_NAME_LENGTH = _NAME_LENGTH
    config._config["semprefix"] = f"/{token}"
