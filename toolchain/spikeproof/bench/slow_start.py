"""Speed of engines that take seconds to start, as Lava does: the slope between two counts."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from spikeproof.bench.nets import BenchNet
from spikeproof.bench.rivals import check_exact
from spikeproof.bench.timing import Contender, Spread, spread, take_turn
from spikeproof.engines.registry import get_engine
from spikeproof.engines.trace import Engine, Progress

_FEW = 1
_MOST = 400
_PROBE = 8


@dataclass(frozen=True)
class SlowTurns:
    """Samples per second by round, and those of the fast engine, measured right after each."""

    rates: list[float]
    beside: list[float]

    @property
    def ratio(self) -> Spread:
        """Return how many times faster the fast engine is."""
        return spread([a / b for a, b in zip(self.beside, self.rates, strict=True)])


def race_slow(
    name: str,
    net: BenchNet,
    fast: Contender,
    batch: int,
    *,
    rounds: int,
    seconds: float,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> SlowTurns:
    """Time the engine called ``name``, and ``fast`` at ``batch`` beside it.

    ``seconds``: how long the samples between the two counts should take.

    Raises:
        MissingExtraError, InputError: it is not installed. TargetError: it failed, or differs
            from the reference.
    """
    engine = get_engine(name)
    check_exact(net, Contender(name, name, lambda x: engine.run(net.network, x).logits, True))
    per_sample = 1 / _slope(engine, net, _PROBE, rng)
    count = int(np.clip(seconds / per_sample, _PROBE, _MOST))
    found = SlowTurns([], [])
    for number in range(rounds):
        found.rates.append(_slope(engine, net, count, rng))
        found.beside.append(take_turn(fast.run, net.draw(rng, 3 * batch), batch, 1.0))
        if progress:
            progress(number + 1, rounds)
    return found


def _slope(engine: Engine, net: BenchNet, count: int, rng: np.random.Generator) -> float:
    """Return samples per second from the time of few samples and of ``count`` more."""
    times = []
    for samples in (_FEW, _FEW + count):
        x = net.draw(rng, samples)
        start = time.perf_counter()
        engine.run(net.network, x)
        times.append(time.perf_counter() - start)
    # A start that took longer the first time must not turn the slope negative.
    return count / max(times[1] - times[0], 0.2 * times[1])
