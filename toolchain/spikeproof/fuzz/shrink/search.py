"""Shrink a network and its input for as long as an engine still fails on it.

Candidates are tried from large cuts to small ones and the first that still fails is kept, until
none does: the result depends on the failure alone. A limit on tries and on time ends the search
early; what has been reached by then is returned.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from spikeproof.errors import SpikeproofError
from spikeproof.fuzz.case import Task
from spikeproof.fuzz.shrink.cuts import CUTS, Cut
from spikeproof.fuzz.shrink.values import SIMPLER_VALUES
from spikeproof.fuzz.shrink.wiring import as_matrices
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.check_input import check_input

Fails = Callable[[Sequence[Task]], list[bool]]
"""Tell of each candidate whether the engine still fails on it."""

SECONDS = 60.0
TRIES = 3000


@dataclass(frozen=True, eq=False)
class Shrunk:
    """The smallest failing network found; ``complete``: no candidate made it smaller."""

    task: Task
    tries: int
    complete: bool


class _Limits:
    """Count tries against the limits on number and time."""

    def __init__(self, seconds: float, tries: int) -> None:
        self.end, self.most, self.used = time.monotonic() + seconds, tries, 0

    def over(self) -> bool:
        return self.used >= self.most or time.monotonic() >= self.end


def shrink(
    task: Task, fails: Fails, *, together: int = 1, seconds: float = SECONDS, tries: int = TRIES
) -> Shrunk:
    """Return the smallest network and input reachable by cuts on which ``fails`` holds.

    Args:
        task: a network and an input that fail.
        fails: judges several candidates at once.
        together: how many candidates to judge at once (many, where starting is expensive).
        seconds: limit of time.
        tries: limit of candidates judged.
    """
    limits = _Limits(seconds, tries)
    changed = True
    while changed and not limits.over():
        changed = False
        for cut in (*CUTS, *SIMPLER_VALUES, as_matrices):
            smaller = _apply(task, cut, fails, together, limits)
            while smaller is not None:
                task, changed = smaller, True
                smaller = _apply(task, cut, fails, together, limits)
    return Shrunk(task, limits.used, complete=not limits.over())


def _apply(
    task: Task,
    cut: Cut,
    fails: Fails,
    together: int,
    limits: _Limits,
) -> Task | None:
    """Return the first legal candidate of one cut that still fails."""
    legal = (made for found in cut(task) if (made := _legal(found)) is not None)
    while not limits.over():
        group = list(itertools.islice(legal, together))
        if not group:
            return None
        limits.used += len(group)
        for candidate, failed in zip(group, fails(group), strict=True):
            if failed:
                return candidate
    return None


def _legal(found: Task | Callable[[], Task]) -> Task | None:
    """Return a candidate, made now if need be; None if it is no legal network."""
    try:
        network, x = found() if callable(found) else found
        check_chip(network)
        check_input(network, x)
    except SpikeproofError:
        return None
    return network, x


def size_of(task: Task) -> dict[str, int]:
    """Measure a network and its input in the terms a reader cares about."""
    network, x = task
    wires = [one for layer in network.layers for one in layer.inputs]
    return {
        "samples": len(x),
        "steps": network.timesteps,
        "layers": len(network.layers),
        "inputs": int(np.prod(network.input_shape)),
        "neurons": sum(layer.neurons for layer in network.layers),
        "connections": len(wires),
        "weights": sum(int(np.count_nonzero(one.synapse.weight)) for one in wires),
    }
