"""spikeproof: trained spiking networks as chip integers, with the evidence of what changed.

The whole chain from Python:

>>> import spikeproof
>>> bundle = spikeproof.convert("fmnist-lif-natural", calibration_samples=64)
>>> spikeproof.run(bundle, limit=100)
<Run of 100 samples on fast: 91.00 % right>

``load``, ``convert``, ``run``, ``verify``, ``export`` and ``inspect`` live in :mod:`spikeproof.api`
and are imported when they are first used. ``spikeproof.convert`` and ``spikeproof.verify`` are also
the packages of these names, which can be called.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikeproof.api import convert as convert
    from spikeproof.api import export as export
    from spikeproof.api import inspect as inspect
    from spikeproof.api import load as load
    from spikeproof.api import run as run
    from spikeproof.api import verify as verify

__version__ = "0.2.0"
__all__ = ["convert", "export", "inspect", "load", "run", "verify"]
_CALLABLE_PACKAGES = ("convert", "verify")


def __getattr__(name: str) -> Any:
    """Import a public function when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'spikeproof' has no attribute {name!r}")
    if name in _CALLABLE_PACKAGES:
        return import_module(f"spikeproof.{name}")
    return getattr(import_module("spikeproof.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
