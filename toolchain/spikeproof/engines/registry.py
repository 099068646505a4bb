"""Find an engine by name: three are built in, targets come through entry points."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import entry_points

from spikeproof.engines.fast import FastEngine
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import Engine
from spikeproof.errors import InputError

TARGET_GROUP = "spikeproof.targets"
_BUILT_IN: dict[str, type[Engine]] = {
    "reference": ReferenceEngine,
    "fast": FastEngine,
    "numpy": NumpyEngine,
}


def engine_names() -> list[str]:
    """Return the names of all engines installed here."""
    return [*_BUILT_IN, *sorted({e.name for e in entry_points(group=TARGET_GROUP)})]


def get_engine(name: str) -> Engine:
    """Return the engine called ``name``.

    Raises:
        InputError: no such engine, with the names that exist.
        MissingExtraError: the engine is known but what it needs is not installed.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]()
    for entry in entry_points(group=TARGET_GROUP):
        if entry.name == name:
            engine: Engine = entry.load()()
            return engine
    near = get_close_matches(name, engine_names(), n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(
        f"no engine {name!r}{guess}",
        where="--engine",
        hint=f"Engines installed here: {', '.join(engine_names())}.",
    )
