"""Run the races of all networks and put the figures into one document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from spikeproof.bench.ceilings import measure_peaks
from spikeproof.bench.document import SCHEMA, NetFigures, Speeds
from spikeproof.bench.first_use import first_use
from spikeproof.bench.machine import machine
from spikeproof.bench.nets import BenchNet, conv_net, mlp_net, zoo_net
from spikeproof.bench.rivals import (
    FAST,
    TORCH_FLOAT,
    TORCH_SNN,
    TORCH_TUNED,
    LineUp,
    agreement,
    line_up,
    slow_engines,
    why_absent,
)
from spikeproof.bench.shares import Peaks, layer_times, shares
from spikeproof.bench.slow_start import SlowTurns, race_slow
from spikeproof.bench.timing import Plan, Spread, Standing, race, ratio
from spikeproof.engines.fast import usable_cores
from spikeproof.engines.trace import Progress
from spikeproof.errors import InputError, MissingExtraError
from spikeproof.io.zoo import zoo_networks
from spikeproof.jobs.threads import inner_threads

if TYPE_CHECKING:
    from spikeproof.bench.profile import LayerTime

ZOO = "zoo"
QUICK = Plan(rounds=3, turn=0.02, call=0.3, batches=(1, 64))
Stage = Callable[[str], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class Settings:
    """What is measured and how; ``slow_rounds`` 0 leaves out engines that take seconds to start."""

    nets: tuple[str, ...] = ("mlp", "conv", ZOO)
    threads: int = field(default_factory=usable_cores)
    plan: Plan = field(default_factory=Plan)
    slow_rounds: int = 3
    slow_seconds: float = 4.0
    peak_seconds: float = 0.1
    first_use: bool = True
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Measured:
    """All that was measured of one network; ``absent``: who did not take part, and why."""

    net: BenchNet
    entered: LineUp
    agreement: dict[str, float]
    standing: Standing
    slow: dict[str, SlowTurns]
    absent: dict[str, str]
    times: Mapping[str, LayerTime]


def bench(settings: Settings, stage: Stage) -> Speeds:
    """Measure everything and return the document (docs/performance.md explains it).

    Args:
        settings: networks, threads, rounds.
        stage: opens a named stage and gives what is told (done, all).

    Raises:
        InputError: a name is no network. TargetError: an engine is not exact.
    """
    names = net_names(settings.nets)
    about = machine(settings.threads)
    peaks, first = _Peaks(settings), None
    with inner_threads(settings.threads, load="torch"):  # engines are told when they are made
        if settings.first_use:
            with stage("First use in a new process, from cache and compiling"):
                first = first_use()
        measured = []
        for name in names:
            with stage(f"Peaks of this machine, before {name}"):
                peaks.measure()
            with stage(f"Building {name}"):
                net = build_net(name)
            measured.append(_measure(net, settings, stage))
        with stage("Peaks of this machine, at the end"):
            peaks.measure()
    return Speeds(
        schema_version=SCHEMA,
        machine=about,
        nets=[_figures(found, peaks) for found in measured],
        first_use_seconds=first,
        peaks={"threads_1": peaks.alone, f"threads_{settings.threads}": peaks.together},
    )


class _Peaks:
    """The best that was ever seen, because anything else that runs only lowers a peak."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.alone: Peaks = {}
        self.together: Peaks = {}

    def measure(self) -> None:
        """Measure once more, where numba is installed."""
        for count, best in ((1, self.alone), (self.settings.threads, self.together)):
            with suppress(MissingExtraError):
                for name, rate in measure_peaks(count, self.settings.peak_seconds).items():
                    best[name] = max(rate, best.get(name, 0.0))


def net_names(wanted: Sequence[str]) -> list[str]:
    """Return the networks meant: ``zoo`` stands for all that are shipped.

    Raises:
        InputError: a name is unknown; those that exist are listed.
    """
    shipped = list(zoo_networks())
    known = ["mlp", "conv", *shipped]
    found = [n for name in wanted for n in (shipped if name == ZOO else [name])]
    if unknown := [name for name in found if name not in known]:
        raise InputError(
            f"no network {', '.join(map(repr, unknown))}",
            where="bench --nets",
            hint=f"Networks: {', '.join([*known, ZOO])}.",
        )
    return list(dict.fromkeys(found))


def build_net(name: str) -> BenchNet:
    """Return one of the networks by name."""
    if name == "mlp":
        return mlp_net()
    return conv_net() if name == "conv" else zoo_net(name)


def _measure(net: BenchNet, settings: Settings, stage: Stage) -> Measured:
    rng = np.random.default_rng(settings.seed + 1)
    with stage(f"{net.name}: who can run it, and is it exact"):
        entered = line_up(net, settings.threads)
        inexact = {c.name: c.run for c in entered.contenders if not c.exact}
        agrees = agreement(net, inexact)
    with stage(f"{net.name}: {len(entered.contenders)} contenders") as progress:
        standing = race(net, entered.contenders, settings.plan, rng, progress)
    fast = next(c for c in entered.contenders if c.name == FAST)
    best = standing.best([FAST])
    slow: dict[str, SlowTurns] = {}
    absent = dict(entered.absent)
    for name in slow_engines():
        if not settings.slow_rounds or best is None:
            absent[name] = "left out"
            continue
        try:
            with stage(f"{net.name}: {name}") as progress:
                slow[name] = race_slow(
                    name,
                    net,
                    fast,
                    best.batch,
                    rounds=settings.slow_rounds,
                    seconds=settings.slow_seconds,
                    rng=rng,
                    progress=progress,
                )
        except (MissingExtraError, InputError) as error:
            absent[name] = why_absent(error)
    return Measured(net, entered, agrees, standing, slow, absent, layer_times(net))


def _figures(found: Measured, peaks: _Peaks) -> NetFigures:
    net, standing = found.net, found.standing
    groups = {FAST: [FAST]}
    groups |= {key: found.entered.names(key) for key in (TORCH_FLOAT, TORCH_TUNED, TORCH_SNN)}
    groups |= {c.name: [c.name] for c in found.entered.contenders}
    rates: dict[str, float] = {}
    batches: dict[str, int] = {}
    winners: dict[str, str] = {}
    ratios: dict[str, Spread] = {}
    turns: dict[str, dict[str, list[float]]] = {}
    for key, names in groups.items():
        for suffix, size in (("", None), ("_batch1", 1)):
            own, first = standing.best(names, size), standing.best([FAST], size)
            if own is None or first is None:
                continue
            rates[key + suffix], batches[key + suffix] = own.median, own.batch
            winners[key + suffix] = own.contender
            if key != FAST:
                ratios[key + suffix] = ratio(first, own)
    for run in standing.turns:
        turns.setdefault(run.contender, {})[str(run.batch)] = list(run.rates)
    for name, slow in found.slow.items():
        rates[name], ratios[name] = float(np.median(slow.rates)), slow.ratio
        turns[name] = {"1": slow.rates, f"{FAST}_beside": slow.beside}
    unknown = [key for key in (*groups, f"{TORCH_FLOAT}_batch1", *found.absent) if key != FAST]
    return NetFigures(
        net=net.name,
        timesteps=net.network.timesteps,
        neurons=sum(layer.neurons for layer in net.network.layers),
        activity=net.activity,
        samples_per_second=rates,
        ratios={**dict.fromkeys(unknown), **{key: s.median for key, s in ratios.items()}},
        quartiles={key: (s.low, s.high) for key, s in ratios.items()},
        batches=batches,
        winners=winners,
        absent=found.absent,
        turns=turns,
        agreement=found.agreement,
        ceilings=shares(net, rates[FAST], found.times, peaks.alone, peaks.together),
    )
