"""Lava's speed: the slope between two sample counts, because its start takes seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from spikeproof.bench.nets import BenchNet
from spikeproof.bench.rivals import check_exact
from spikeproof.bench.timing import Contender, take_turn
from spikeproof.engines.registry import get_engine
from spikeproof.engines.trace import Engine

Progress = Callable[[int, int], None]
_FEW = 1
_MOST = 400
_PROBE = 8


def race_lava(
    net: BenchNet,
    fast: Contender,
    batch: int,
    *,
    rounds: int,
    seconds: float,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> tuple[list[float], list[float]]:
    """Return the rates of Lava and, measured right after each, those of ``fast`` at ``batch``.

    ``seconds``: how long the samples between the two counts should take.

    Raises:
        MissingExtraError, InputError: Lava is not installed. TargetError: it failed, or differs
            from the reference.
    """
    engine = get_engine("lava")
    check_exact(net, Contender("lava", "lava", lambda x: engine.run(net.network, x).logits, True))
    per_sample = 1 / _slope(engine, net, _PROBE, rng)
    count = int(np.clip(seconds / per_sample, _PROBE, _MOST))
    rates, beside = [], []
    for number in range(rounds):
        rates.append(_slope(engine, net, count, rng))
        beside.append(take_turn(fast.run, net.draw(rng, 3 * batch), batch, 1.0))
        if progress:
            progress(number + 1, rounds)
    return rates, beside


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
