"""Time several contenders so that the figures can be compared.

What goes wrong otherwise, and what is done about it:

* the machine's speed drifts: contenders take turns within each round, and what is reported is the
  median over rounds of the ratio within a round;
* a branch predictor learns a sample it sees again: each round draws new samples;
* the threads of one library still spin when the next one starts: every turn begins with a pause
  and one call that is not timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spikeproof.bench.nets import BenchNet, Images
from spikeproof.engines.trace import Progress

Runner = Callable[[Images], NDArray[np.int64]]
_PAUSE = 0.02
_POOL_BYTES = 64 << 20
_SCOUTING_ROUNDS = 2


@dataclass(frozen=True)
class Plan:
    """How long and how often to measure.

    rounds: turns of every contender. turn: seconds a turn should last. call: seconds a single
    call may last; larger batches are left out. batches: sizes that are tried.
    """

    rounds: int = 9
    turn: float = 0.2
    call: float = 2.0
    batches: tuple[int, ...] = (1, 16, 64, 256, 1024)


@dataclass(frozen=True, eq=False)
class Contender:
    """Something that turns samples into logits; ``group`` names those of which the best counts."""

    name: str
    group: str
    run: Runner
    exact: bool = False


@dataclass(frozen=True)
class Turns:
    """Samples per second of one contender at one batch size, by round."""

    contender: str
    batch: int
    rates: tuple[float, ...]

    @property
    def median(self) -> float:
        """Return the median over rounds."""
        return float(np.median(self.rates))


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Standing:
    """Final figures of a race: per contender batch 1 and its best batch."""

    turns: tuple[Turns, ...] = field(default=())

    def best(self, names: Iterable[str], batch: int | None = None) -> Turns | None:
        """Return the fastest turns of some contenders, at one batch size or at any."""
        wanted = set(names)
        found = [
            t for t in self.turns if t.contender in wanted and (batch is None or t.batch == batch)
        ]
        return max(found, key=lambda t: t.median, default=None)


def race(
    net: BenchNet,
    contenders: Sequence[Contender],
    plan: Plan,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> Standing:
    """Find each contender's two best batch sizes in short rounds, then time these and batch 1."""
    kept = []
    total = len(contenders) + plan.rounds
    for done, contender in enumerate(contenders, 1):
        tried = _scout(net, contender, plan, rng)
        best = sorted(tried, key=lambda t: -t.median)[:2]
        kept += [(contender, batch) for batch in sorted({1, *(t.batch for t in best)})]
        if progress:
            progress(done, total)
    rates: dict[tuple[str, int], list[float]] = {(c.name, b): [] for c, b in kept}
    for number in range(plan.rounds):
        pool = _pool(net, rng, max(batch for _, batch in kept))
        for index in rng.permutation(len(kept)):
            contender, batch = kept[index]
            rate = take_turn(contender.run, pool, batch, plan.turn)
            rates[contender.name, batch].append(rate)
        if progress:
            progress(len(contenders) + number + 1, total)
    return Standing(tuple(Turns(name, b, tuple(found)) for (name, b), found in rates.items()))


def _scout(
    net: BenchNet, contender: Contender, plan: Plan, rng: np.random.Generator
) -> list[Turns]:
    """Try the batch sizes in ascending order, as long as a call stays within its limit."""
    tried: list[Turns] = []
    for batch in sorted({1, *plan.batches}):
        if tried and batch / max(t.median for t in tried) > plan.call:
            break
        pool = _pool(net, rng, batch)
        turn = plan.turn / _SCOUTING_ROUNDS
        rates = [take_turn(contender.run, pool, batch, turn) for _ in range(_SCOUTING_ROUNDS)]
        tried.append(Turns(contender.name, batch, tuple(rates)))
    return tried


def _pool(net: BenchNet, rng: np.random.Generator, batch: int) -> Images:
    """Draw new samples: two batches, and more where they are small."""
    bytes_each = int(np.prod(net.network.input_shape))
    bytes_each *= net.network.timesteps if net.network.coding == "spikes" else 1
    return net.draw(rng, max(2 * batch, min(4096, _POOL_BYTES // bytes_each)))


def take_turn(run: Runner, pool: Images, batch: int, seconds: float) -> float:
    """Return samples per second over calls on samples of the pool, each used once.

    Ends after ``seconds`` or with the pool, after one timed call at the earliest.
    """
    time.sleep(_PAUSE)
    run(pool[:batch])
    done, start = 0, time.perf_counter()
    for first in range(batch, len(pool) - batch + 1, batch):
        run(pool[first : first + batch])
        done += batch
        if time.perf_counter() - start >= seconds:
            break
    return done / (time.perf_counter() - start)


def ratio(fast: Turns, other: Turns) -> Spread:
    """Return how many times faster ``fast`` is: median and quartiles of the ratios by round."""
    return spread([a / b for a, b in zip(fast.rates, other.rates, strict=True)])


def spread(values: Sequence[float]) -> Spread:
    """Return median and quartiles."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return Spread(float(median), float(low), float(high))
