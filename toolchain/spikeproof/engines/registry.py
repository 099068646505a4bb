"""Find an engine by name: three are built in, targets come through entry points."""

from __future__ import annotations

from typing import Any

from spikeproof.engines.trace import Engine
from spikeproof.errors import UnsupportedError, list_problems
from spikeproof.ir.chip import ChipNetwork
from spikeproof.registry import Registry

TARGET_GROUP = "spikeproof.targets"
ENGINES: Registry[type[Engine]] = Registry(
    "engine",
    TARGET_GROUP,
    {
        "reference": "spikeproof.engines.reference:ReferenceEngine",
        "fast": "spikeproof.engines.fast:FastEngine",
        "numpy": "spikeproof.engines.numpy_engine:NumpyEngine",
    },
    where="--engine",
)


def get_engine(name: str, workers: int | None = None) -> Engine:
    """Return the engine called ``name``; one with threads of its own gets ``workers`` of them.

    Raises:
        InputError: no such engine, with the names that exist.
        MissingExtraError: the engine is known but what it needs is not installed.
    """
    kind: Any = ENGINES.get(name)
    made: Engine = kind(workers) if getattr(kind, "threaded", False) else kind()
    return made


def refuse(engine: Engine, network: ChipNetwork) -> None:
    """Raise UnsupportedError with every reason why the engine cannot run the network."""
    problems = engine.problems(network)
    if problems:
        raise UnsupportedError(list_problems(problems), where=f"engine {engine.name}")
