"""The stopwatch: on contenders whose speed is known, and on the samples it hands out."""

from __future__ import annotations

import numpy as np
import pytest

from spikeproof.bench import timing
from spikeproof.bench.nets import mlp_net
from spikeproof.bench.timing import Contender, Plan, Turns, race, ratio, take_turn

PLAN = Plan(rounds=3, turn=0.01, call=0.05, batches=(1, 8))


class Clock:
    """Time that passes only where a contender works: a busy machine must not decide a test."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(timing, "time", found)
    return found


def sleeper(clock: Clock, per_call: float, per_sample: float):
    def run(x):
        clock.sleep(per_call + per_sample * len(x))
        return np.zeros((len(x), 10), np.int64)

    return run


def test_a_contender_ten_times_slower_comes_out_ten_times_slower(clock: Clock) -> None:
    net = mlp_net((16, 10), timesteps=2, inputs=64)
    entered = [
        Contender("quick", "a", sleeper(clock, 0, 5e-4)),
        Contender("slow", "b", sleeper(clock, 0, 5e-3)),
    ]
    standing = race(net, entered, PLAN, np.random.default_rng(0))
    quick, slow = standing.best(["quick"], 1), standing.best(["slow"], 1)
    assert quick is not None
    assert slow is not None
    assert ratio(quick, slow).median == pytest.approx(10)


def test_the_best_batch_is_found_and_batches_that_take_too_long_are_left_out(
    clock: Clock,
) -> None:
    net = mlp_net((16, 10), timesteps=2, inputs=64)
    entered = [
        Contender("batched", "a", sleeper(clock, 4e-3, 0)),
        Contender("slow", "b", sleeper(clock, 0, 0.02)),
    ]
    standing = race(net, entered, PLAN, np.random.default_rng(0))
    best = standing.best(["batched"])
    assert best is not None
    assert best.batch == 8
    assert {t.batch for t in standing.turns if t.contender == "slow"} == {1}
    assert standing.best(["nobody"]) is None


def test_no_sample_is_seen_twice_and_the_first_call_is_not_timed(clock: Clock) -> None:
    pool = np.arange(12, dtype=np.uint8)[:, None]
    seen: list[int] = []

    def run(x):
        clock.sleep(0.01 if seen else 0.2)
        seen.extend(int(n) for n in x[:, 0])
        return x

    rate = take_turn(run, pool, 3, 10.0)
    assert seen == list(range(12))
    assert rate == pytest.approx(9 / 0.03)


def test_ratios_are_taken_within_rounds_so_a_slow_phase_of_the_machine_cancels() -> None:
    fast, other = Turns("a", 1, (100.0, 10.0, 100.0)), Turns("b", 1, (10.0, 1.0, 10.0))
    found = ratio(fast, other)
    assert (found.low, found.median, found.high) == (10.0, 10.0, 10.0)
