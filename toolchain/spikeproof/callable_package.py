"""Let a package be called like the public function of its name.

``import spikeproof.convert.pipeline`` makes ``spikeproof.convert`` the package whatever it was
before, so the function of that name must be the package itself.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """A package that, called, is the function of its name in :mod:`spikeproof.api`."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the public function."""
        function = getattr(import_module("spikeproof.api"), self.__name__.rpartition(".")[2])
        return function(*args, **options)


def make_callable(name: str) -> None:
    """Make the package called ``name`` callable; Python allows a module's class to be changed."""
    sys.modules[name].__class__ = CallablePackage
