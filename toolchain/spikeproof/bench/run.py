"""Run the races of all networks and put the figures into one document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikeproof.bench.ceilings import measure_peaks
from spikeproof.bench.first_use import first_use
from spikeproof.bench.lava import race_lava
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
    threads,
)
from spikeproof.bench.shares import Peaks, layer_times, shares
from spikeproof.bench.timing import Plan, Spread, Standing, race, ratio, spread
from spikeproof.engines.fast import usable_cores
from spikeproof.errors import InputError, MissingExtraError
from spikeproof.io.zoo import zoo_networks

SCHEMA = 1
ZOO = "zoo"
QUICK = Plan(rounds=3, turn=0.02, call=0.3, batches=(1, 64))
Stage = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


@dataclass(frozen=True)
class Settings:
    """What is measured and how; ``lava_rounds`` 0 leaves Lava out."""

    nets: tuple[str, ...] = ("mlp", "conv", ZOO)
    threads: int = field(default_factory=usable_cores)
    plan: Plan = field(default_factory=Plan)
    lava_rounds: int = 3
    lava_seconds: float = 4.0
    peak_seconds: float = 0.1
    first_use: bool = True
    seed: int = 0


def bench(settings: Settings, stage: Stage) -> dict[str, Any]:
    """Measure everything and return the document (docs/performance.md explains its keys).

    Args:
        settings: networks, threads, rounds.
        stage: opens a named stage and gives what is told (done, all).

    Raises:
        InputError: a name is no network. TargetError: an engine is not exact.
    """
    names = net_names(settings.nets)
    document: dict[str, Any] = {"schema": SCHEMA, "machine": machine(settings.threads), "nets": []}
    peaks = _Peaks(settings)
    with threads(settings.threads):
        if settings.first_use:
            with stage("First use in a new process, from cache and compiling"):
                document["first_use_seconds"] = first_use()
        measured = []
        for name in names:
            with stage(f"Peaks of this machine, before {name}"):
                peaks.measure()
            with stage(f"Building {name}"):
                net = build_net(name)
            document["nets"].append(_bench_net(net, settings, stage))
            measured.append((net, layer_times(net)))
        with stage("Peaks of this machine, at the end"):
            peaks.measure()
    for (net, times), result in zip(measured, document["nets"], strict=True):
        rate = result["samples_per_second"][FAST]
        result["ceilings"] = shares(net, rate, times, peaks.alone, peaks.together)
    document["peaks"] = {"threads_1": peaks.alone, f"threads_{settings.threads}": peaks.together}
    return document


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


def _bench_net(net: BenchNet, settings: Settings, stage: Stage) -> dict[str, Any]:
    rng = np.random.default_rng(settings.seed + 1)
    with stage(f"{net.name}: who can run it, and is it exact"):
        entered = line_up(net, settings.threads)
        inexact = {c.name: c.run for c in entered.contenders if not c.exact}
        agrees = agreement(net, inexact)
    with stage(f"{net.name}: {len(entered.contenders)} contenders") as progress:
        standing = race(net, entered.contenders, settings.plan, rng, progress)
    result = _figures(net, entered, standing)
    result["agreement"] = agrees
    if settings.lava_rounds:
        with stage(f"{net.name}: Lava") as progress:
            _add_lava(result, net, entered, settings, rng, progress)
    else:
        result["absent"]["lava"] = "left out"
    return result


def _figures(net: BenchNet, entered: LineUp, standing: Standing) -> dict[str, Any]:
    groups = {
        FAST: [FAST],
        TORCH_FLOAT: entered.names(TORCH_FLOAT),
        TORCH_TUNED: entered.names(TORCH_TUNED),
        TORCH_SNN: entered.names(TORCH_SNN),
    }
    groups |= {c.name: [c.name] for c in entered.contenders}
    rates: dict[str, float] = {}
    batches: dict[str, int] = {}
    winners: dict[str, str] = {}
    ratios: dict[str, Spread] = {}
    for key, names in groups.items():
        for suffix, size in (("", None), ("_batch1", 1)):
            own, first = standing.best(names, size), standing.best([FAST], size)
            if own is None or first is None:
                continue
            rates[key + suffix], batches[key + suffix] = own.median, own.batch
            winners[key + suffix] = own.contender
            if key != FAST:
                ratios[key + suffix] = ratio(first, own)
    steps = net.network.timesteps
    return {
        "net": net.name,
        "timesteps": steps,
        "neurons": sum(int(np.prod(layer.shape)) for layer in net.network.layers),
        "activity": net.activity,
        "samples_per_second": rates,
        "ratios": {
            key: None for key in ("lava", TORCH_FLOAT, f"{TORCH_FLOAT}_batch1", "onnx", TORCH_SNN)
        }
        | {key: found.median for key, found in ratios.items()},
        "quartiles": {key: [found.low, found.high] for key, found in ratios.items()},
        "batches": batches,
        "winners": winners,
        "absent": dict(entered.absent),
        "turns": _turns(standing),
    }


def _turns(standing: Standing) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {}
    for turns in standing.turns:
        found.setdefault(turns.contender, {})[str(turns.batch)] = list(turns.rates)
    return found


def _add_lava(
    result: dict[str, Any],
    net: BenchNet,
    entered: LineUp,
    settings: Settings,
    rng: np.random.Generator,
    progress: Callable[[int, int], None],
) -> None:
    fast = next(c for c in entered.contenders if c.name == FAST)
    try:
        rates, beside = race_lava(
            net,
            fast,
            result["batches"][FAST],
            rounds=settings.lava_rounds,
            seconds=settings.lava_seconds,
            rng=rng,
            progress=progress,
        )
    except (MissingExtraError, InputError) as error:
        result["absent"]["lava"] = f"{error.what}{f' -> {error.hint}' if error.hint else ''}"
        return
    found = spread([a / b for a, b in zip(beside, rates, strict=True)])
    result["samples_per_second"]["lava"] = float(np.median(rates))
    result["ratios"]["lava"] = found.median
    result["quartiles"]["lava"] = [found.low, found.high]
    result["turns"]["lava"] = {"1": rates, "fast_beside": beside}
