"""Let a package be called like the public function of its name.

``import spikeproof.convert.pipeline`` makes ``spikeproof.convert`` the package whatever it was
before, so the function of that name must be the package itself. It also looks like the function:
its signature, its help and its repr are the function's.
"""

from __future__ import annotations

import sys
from importlib import import_module
from inspect import Signature, signature
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """A package that, called, is the function of its name in :mod:`spikeproof.api`."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the public function."""
        return self._function(*args, **options)

    def __repr__(self) -> str:
        """Say in one line that it is both."""
        return f"<function {self.__name__}, also the package of this name>"

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]  # a property, for help() looks there
        """The function's."""
        text: str | None = self._function.__doc__
        return text

    @property
    def _function(self) -> Any:
        return getattr(import_module("spikeproof.api"), self.__name__.rpartition(".")[2])

    @property
    def __signature__(self) -> Signature:
        """How the function is called."""
        return signature(self._function)


def make_callable(name: str) -> None:
    """Make the package called ``name`` callable; Python allows a module's class to be changed."""
    sys.modules[name].__class__ = CallablePackage
